"""Keys kept as ``PROG.pk`` and ``PROG.vk``, beside a program or in a folder of their own, reused while program, params,
description, step limit and protocol are the same.

A proving key refuses to load for any other program or params. Whoever verifies has the old verifying key, so another
one in its place is agreed to first.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import syurmy
from syurmy.files import read_bytes, write_whole, written_whole
from syurmy.isa.errors import InputError
from syurmy.isa.program import Program
from syurmy.isa.records import dataclass

if TYPE_CHECKING:
    from syurmy.prover.keys import ProvingKey
    from syurmy.prover.protocol.bundle import BundleKey
    from syurmy.prover.protocol.description import Description
    from syurmy.prover.protocol.key import VerifyingKey


@dataclass(frozen=True)
class Kept:
    """A key in its files; ``reused``: it was there; ``replaced``: digest of the verifying key that it took the place
    of."""

    key: ProvingKey
    reused: bool
    replaced: bytes | None = None


def key_paths(program_path: Path, folder: Path | None = None) -> tuple[Path, Path]:
    """``PROG.pk`` and ``PROG.vk``, beside the program unless a folder is given."""
    path = program_path if folder is None else folder / program_path.name
    return path.with_suffix(".pk"), path.with_suffix(".vk")


def obtain(
    program: Program,
    program_path: Path,
    folder: Path | None = None,
    max_steps: int | None = None,
    agreed: Callable[[str], bool] = lambda change: False,
    no_zk: bool = False,
    proofs: int | None = None,
    renew: bool = False,
    description: Description | None = None,
    hiding: bool | None = None,
    usual: int | None = None,
) -> Kept:
    """The program's key, with the description beside the program, in the files ``key_paths``. They are written both or
    none, and only if ``agreed``, which is told the digests, where another verifying key is in the way. Of a segment,
    ``description`` is what its key says, ``hiding`` whether the whole's proofs hide anything. ``usual``: for how many
    proofs a new key is where ``proofs`` does not say.

    ``max_steps``: see ``syurmy.setup``; of a key that is there, unless given. A key for another number of proofs stays
    unless ``proofs`` or ``renew`` is given. Raises ``InputError`` K160 where it is not agreed, K146 where ``no_zk``
    alone asks for a key in place of one that hides, K148 where the key that is there does not hide and nobody asked for
    that: it may have come with somebody else's program, and the inputs are private.
    """
    from syurmy import descriptions
    from syurmy.isa.path import DEFAULT_MAX_STEPS
    from syurmy.prover.keys import ProvingKey, used_path
    from syurmy.prover.keys import setup as make
    from syurmy.prover.protocol.key import DEFAULT_PROOFS, Mode, VerifyingKey

    mode = Mode.of(program, False if no_zk else hiding, (usual or DEFAULT_PROOFS) if proofs is None else proofs)
    pk_path, vk_path = key_paths(program_path, folder)
    there = readable(vk_path)
    old = there if isinstance(there, VerifyingKey) else None
    description = descriptions.beside(program_path, program) if description is None else description
    key = None
    with suppress(InputError):
        key = None if renew else ProvingKey.load(pk_path, program, max_steps)
    if key is not None and key.verifying_key.description != description:
        key = None
    if no_zk and not renew and old is not None and old.mode.hiding:
        raise InputError(
            f"{vk_path} is of a key whose proofs hide what is private",
            code="K146",
            help="`syurmy-vm setup PROG --no-zk --renew` replaces it by one whose proofs do not, --keys DIR keeps both",
        )
    if key is not None and proofs is None and mode.hiding and not key.mode.hiding:
        raise InputError(
            f"{pk_path} is of a key whose proofs do not hide what is private",
            code="K148",
            help="--no-zk if that is meant; `syurmy-vm setup PROG --renew` replaces it by one whose proofs hide, --keys"
            " DIR keeps both",
        )
    reused = key is not None and (proofs is None or key.mode == mode)
    if key is None or not reused:
        limit = old.max_steps if max_steps is None and old is not None else max_steps
        limit = DEFAULT_MAX_STEPS if limit is None else limit
        key = make(program, mode, description=description, max_steps=limit, single=True)
    new, replaced = key.verifying_key, None
    if there is not None and there.digest() != new.digest():
        replaced = there.digest()
        change = f"{vk_path} is {replaced.hex()[:16]}…, the key of this program is {new.digest().hex()[:16]}…"
        if not agreed(change):
            what = "the key there is that of segments" if old is None else _changed(old, new)
            raise InputError(f"{what}: {change}", code="K160", help="--rekey replaces it, --keys DIR keeps both")
    data = new.to_bytes()
    if not reused:
        try:
            vk_path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise InputError(f"cannot write {vk_path.parent}: {e.strerror or e}", code="F120") from e
        counted = [used_path(pk_path)] if key.allowance is not None else []
        with written_whole(*counted, pk_path, vk_path) as temporary:  # the count first: no key without it
            key.write(temporary[-2], temporary[0])
            temporary[-1].write_bytes(data)
        if key.allowance is not None:
            key.allowance.path = used_path(pk_path)
    elif not vk_path.exists() or read_bytes(vk_path) != data:
        write_whole(vk_path, data)
    return Kept(key, reused, replaced)


def _changed(old: VerifyingKey, new: VerifyingKey) -> str:
    """What makes them two keys."""
    pairs = {
        "program": (old.program, new.program),
        "description": (old.description, new.description),
        "step limit": (old.max_steps, new.max_steps),
        "what proofs hide": (old.mode, new.mode),
    }
    names = [name for name, (a, b) in pairs.items() if a != b]
    return f"{', '.join(names)} changed" if names else "params, or the secrets in the .pk that hide them, changed"


def readable(path: Path) -> BundleKey | VerifyingKey | None:
    """The verifying key in a file, of one program or of bundles, None if there is none of this version."""
    try:
        return read_any_key(path) if path.exists() else None
    except InputError:
        return None


def existing(path: Path) -> Path:
    """The file of a proving key. ``InputError`` K133 where there is none."""
    if not path.exists():
        raise InputError(f"there is no {path}", code="K133", help="make it with `syurmy-vm setup PROG`")
    return path


def read_verifying_key(path: Path) -> VerifyingKey:
    """The key in a file; ``InputError`` if it cannot be read or is not one."""
    from syurmy.prover.protocol.key import VerifyingKey

    return VerifyingKey.from_bytes(read_bytes(path))


def read_any_key(path: Path) -> VerifyingKey | BundleKey:
    """The key in a file, of one program or of bundles; ``InputError`` if it cannot be read or is neither."""
    from syurmy.prover.protocol.bundle import KEY_MAGIC, BundleKey
    from syurmy.prover.protocol.key import VK_MAGIC, VerifyingKey

    data = read_bytes(path)
    if data[:8] not in (KEY_MAGIC, VK_MAGIC):
        raise InputError(f"{path} is not a verifying key", code="K120", help="PROG.vk comes first, then the proof")
    return BundleKey.from_bytes(data) if data[:8] == KEY_MAGIC else VerifyingKey.from_bytes(data)


def named(path: Path, digest: bytes) -> str:
    """A clause that names the program of the key in a file, if it is there and has this digest."""
    try:
        key = read_verifying_key(path)
    except InputError:
        return ""
    return f"{path} is that of {key.decoded.name}" if key.digest() == digest else ""


def read_program(path: Path) -> Program:
    """The program in tensor assembly, in a verifying key or in a binary encoding. The latter two hold no committed
    params, so it can be read but not run."""
    from syurmy.isa.encoding import decode

    if path.suffix == ".tasm":
        return syurmy.load(path)
    return decode(read_verifying_key(path).program if path.suffix == ".vk" else read_bytes(path))
