"""Keys kept beside a program as ``PROG.pk`` and ``PROG.vk``, reused while program, params, description and protocol are
the same.

A proving key refuses to load for any other program or params, so stale and foreign keys are made again.
"""

from __future__ import annotations

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


def obtain(program: Program, program_path: Path) -> tuple[ProvingKey, bool]:
    """The program's key, and whether it was there already. Files are written both or none."""
    from syurmy import descriptions
    from syurmy.prover.keys import ProvingKey

    pk_path, vk_path = key_paths(program_path)
    description = descriptions.beside(program_path, program)
    try:
        key = ProvingKey.load(pk_path, program)
        if key.verifying_key.description != description:
            raise InputError("the proving key was made for another description", code="K131")
    except InputError:
        key, verifying_key = syurmy.setup(program, description)
        with written_whole(pk_path, vk_path) as (pk_temporary, vk_temporary):
            key.save(pk_temporary)
            vk_temporary.write_bytes(verifying_key.to_bytes())
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
