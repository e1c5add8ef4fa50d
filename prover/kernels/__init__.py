"""CPU kernels of the prover: Numba functions over contiguous arrays, driven by one thread pool.

Importing this package fixes Numba's cache folder, where damage only costs time (cache.py). Numba does not notice a
change in a function that a kernel calls from another file, so the folder is keyed by a digest of all kernel sources,
the Numba version and the target (target.py): a stale kernel can never run. It also selects the compiled arithmetic for
the process (protocol/arithmetic.py).
"""

import hashlib
from pathlib import Path

import numba

from syurmy.host import cache_folder
from syurmy.prover.kernels import cache, target
from syurmy.prover.protocol import arithmetic


def _cache_key() -> str:
    h = hashlib.blake2b(digest_size=10)
    for source in sorted(Path(__file__).parent.glob("*.py")):
        h.update(source.name.encode() + b"\0" + source.read_bytes())
    h.update(numba.__version__.encode())
    h.update(f" {target.NAME} {target.VECTORS} {target.FEATURES}".encode())
    return h.hexdigest()


CACHE_DIR = cache.usable(cache_folder() / _cache_key())
cache.install()
target.configure()
setattr(numba.config, "CACHE_DIR", str(CACHE_DIR))  # noqa: B010  (numba's config is untyped)

from syurmy.prover.kernels import compiled  # noqa: E402  (the kernels need the folder)

arithmetic.select(compiled)
