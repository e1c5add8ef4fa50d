"""The kernels of a first proof, compiled ahead of it by processes beside it: on an empty cache, compiling takes nearly
all of its time, and Numba compiles one function at a time in a process.

Helpers take the kernels from the last one on, while the proof takes them as it needs them: each looks into the cache
first, and where they meet, at most one kernel is compiled twice. They end with the process that started them. There are
none where there is one core (``SYURMY_THREADS``), where another process has some, and once half of the kernels are
in the cache.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any

from numba.core import sigutils

MOST = 3  # helpers
_T, _W = "uint64[:,::1]", "uint64[::1]"
_TYPES = {
    **{"T": _T, "W": _W, "u": "uint64", "i": "int64", "b": "boolean", "I": "int64[::1]", "J": "int64[:,::1]"},
    **{"S": "int16[:,::1]", "L": "int32[:,::1]"},
    **{"Y": "uint8[::1]", "h": "uint32[::1]", "H": "uint32[:,::1]", "B": "uint32[:,:,::1]"},
}
FIRST = {
    "matrix.transpose_integers_kernel": "LTiii",
    "ntt.powers_kernel": "uuWii",
    "ntt.ntt_pass_kernel": "TTTWiiiiiii",
    "blake3.hash_kernel": "HiiBhHii",
    "place.count_kernel": "IIii",
    "place.place_kernel": "IIIWiIii",
    "matrix.transpose_kernel": "TTiii",
    "blake3.nodes_kernel": "Hiihii",
    "logup.fill": "WWJIITii",
    "logup.numerators": "WIiTii",
    "logup.combine_ones": "TiTii",
    "logup.combine_corrections": "TIiTTii",
    "logup.combine": "TiTii",
    "layer.layer_rounds": "WWJJibWTTWTiiYiYiYhTii",
    "logup.shift": "TIiTuuii",
    "mle.eq_suffixes": "TiW",
    "logup.ones_round": "TiiiuuuubTiTTii",
    "logup.corrections": "TJuubiuuTTii",
    "logup.leaf_rows": "TiiTibuuuuiTii",
    "mle.eq_prefix": "TiiT",
    "matrix.signed_limbs_kernel": "TLii",
    "bind.dot_rows_limbs": "SLTii",
    "sumcheck.first_round": "TTTibii",
    "tail.last_products": "TJITiIiTuuTiYihTii",
    "mle.multiply": "TTiTii",
    "mle.add_flat": "WWWii",
    "mle.multiple": "TuubTii",
    "mle.scatter_add": "TIT",
    "place.outer_sums_kernel": "TJTTii",
    "matrix.bind_limbs_kernel": "LiLTii",
    "matrix.bind_modular_kernel": "IuuTii",
    "bind.dot_rows_modular": "JTTii",
    "mle.dot": "TTii",
    "matrix.bind_columns_kernel": "TTTii",
    "blake3.nonce_kernel": "hhuuii",
    "opening.power_table_kernel": "WTii",
    "opening.split_sum_kernel": "TTWIWWTii",
    "opening.power_sum_kernel": "TTWTii",
    "sumcheck.fold_first": "TuuTiii",
    "sumcheck.round_all": "TJIiiTiuuii",
}  # in the order in which a proof needs them, with the types of their arguments


def kernels() -> list[tuple[Any, tuple[Any, ...]]]:
    """Each with the types of its arguments."""
    out = []
    for name, letters in FIRST.items():
        module, _, function = name.partition(".")
        kernel = getattr(import_module(f"syurmy.prover.kernels.{module}"), function)
        out.append((kernel, sigutils.normalize_signature(f"({', '.join(_TYPES[c] for c in letters)})")[0]))
    return out


def help_with(folder: Path, threads: int) -> None:
    """Starts helpers where that pays. ``folder``: of the prover's kernels in this installation, whose cache it is."""
    enough = 2 * sum(1 for _ in folder.glob("*.nbi")) > len(FIRST)
    if threads < 2 or enough or not sys.executable or hasattr(sys, "frozen"):  # frozen: this is no interpreter
        return
    try:
        import fcntl  # not on Windows
    except ImportError:
        return
    lock = (folder / "helpers").open("w")  # held as long as this process lives
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    count = min(threads - 1, MOST)
    quiet: Any = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    for share in range(count):
        arguments = json.dumps([sys.path, os.getpid(), share, count])
        code = (
            f"import sys; p, *a = {arguments}; sys.path[:] = p; from syurmy.prover.kernels import first; first.work(*a)"
        )
        with contextlib.suppress(OSError):
            helper = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "SYURMY_THREADS": "1"}, **quiet)
            Thread(target=helper.wait, daemon=True).start()  # else one that has ended stays in the system's table
            atexit.register(helper.kill)
    _locks.append(lock)


_locks: list[Any] = []


def work(parent: int, share: int, count: int) -> None:
    """Compiles every ``count``-th kernel, the last ones first, as long as the process ``parent`` waits."""
    for kernel, arguments in kernels()[::-1][share::count]:
        if os.getppid() != parent:
            return
        kernel.compile(arguments)
