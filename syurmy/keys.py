"""Keys kept beside a program as ``PROG.pk`` and ``PROG.vk``, reused while program, params and protocol are the same.

A proving key refuses to load for any other program or params, so stale and foreign keys are made again.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import syurmy
from syurmy.files import read_bytes, write_whole, written_whole
from syurmy.isa.errors import InputError
from syurmy.isa.program import Program

if TYPE_CHECKING:
    from syurmy.prover.keys import ProvingKey
    from syurmy.prover.protocol.key import VerifyingKey


def key_paths(program_path: Path) -> tuple[Path, Path]:
    """``PROG.pk`` and ``PROG.vk``."""
    return program_path.with_suffix(".pk"), program_path.with_suffix(".vk")


def obtain(
    program: Program, program_path: Path, no_zk: bool = False, proofs: int | None = None, renew: bool = False
) -> tuple[ProvingKey, bool]:
    """The program's key, and whether it was there already. Files are written both or none.

    A key that hides (or does not) otherwise than asked, or for another number of proofs, is replaced if ``proofs`` or
    ``renew`` is given. ``no_zk`` alone never replaces one that hides: ``InputError`` K146.
    """
    from syurmy.prover.keys import ProvingKey, used_path
    from syurmy.prover.protocol.key import DEFAULT_PROOFS, Mode

    mode = Mode.of(program, False if no_zk else None, DEFAULT_PROOFS if proofs is None else proofs)
    pk_path, vk_path = key_paths(program_path)
    key = None
    with suppress(InputError):
        key = None if renew else ProvingKey.load(pk_path, program)
    if key is not None and no_zk and key.mode.hiding:
        raise InputError(
            f"{pk_path} makes proofs that hide what is private",
            code="K146",
            help="`syurmy-vm setup PROG --no-zk --renew` replaces it, and its verifying key, by one that does not",
        )
    if key is None or (proofs is not None and key.mode != mode):
        key, verifying_key = syurmy.setup(program, zk=mode.hiding, proofs=mode.proofs or None)
        counted = [used_path(pk_path)] if key.allowance is not None else []
        with written_whole(*counted, pk_path, vk_path) as temporary:  # the count first: no key without it
            key.save(temporary[-2], temporary[0])
            temporary[-1].write_bytes(verifying_key.to_bytes())
        if key.allowance is not None:
            key.allowance.path = used_path(pk_path)
        return key, False
    data = key.verifying_key.to_bytes()
    if not vk_path.exists() or read_bytes(vk_path) != data:
        write_whole(vk_path, data)
    return key, True


def read_verifying_key(path: Path) -> VerifyingKey:
    """The key in a file; ``InputError`` if it cannot be read or is not one."""
    from syurmy.prover.protocol.key import VerifyingKey

    return VerifyingKey.from_bytes(read_bytes(path))


def read_program(path: Path) -> Program:
    """The program in tensor assembly, in a verifying key or in a binary encoding. The latter two hold no committed
    params, so it can be read but not run."""
    from syurmy.isa.encoding import decode

    if path.suffix == ".tasm":
        return syurmy.load(path)
    return decode(read_verifying_key(path).program if path.suffix == ".vk" else read_bytes(path))
