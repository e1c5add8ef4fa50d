"""Keys kept beside a program, reused while program, params and protocol are the same.

``PROG.keys`` records what ``PROG.pk`` and ``PROG.vk`` were made from and their digests, so keys that are stale, foreign
or damaged are made again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from blake3 import blake3

import syurmy
from isa.errors import InputError
from isa.program import Program
from syurmy.files import read_bytes, written_whole

if TYPE_CHECKING:
    from prover.setup import ProvingKey, VerifyingKey


def fingerprint(program: Program) -> str:
    """Digest of everything that keys depend on: protocol version, program encoding, values of all params."""
    from isa.encoding import encode
    from prover.setup import PROTOCOL_VERSION

    h = blake3(f"syurmy keys, protocol {PROTOCOL_VERSION}\n".encode())
    encoded = encode(program)
    h.update(len(encoded).to_bytes(8, "little") + encoded)
    for p in program.params:
        data = np.ascontiguousarray(program.data[p.name])
        h.update(f"{p.name} {data.dtype.str} {data.shape}\n".encode())
        h.update(data.tobytes())
    return h.hexdigest()


def key_paths(program_path: Path) -> tuple[Path, Path, Path]:
    """``PROG.pk``, ``PROG.vk`` and the record of what they were made from."""
    return program_path.with_suffix(".pk"), program_path.with_suffix(".vk"), program_path.with_suffix(".keys")


def cached(program: Program, program_path: Path) -> tuple[ProvingKey, VerifyingKey] | None:
    """The keys beside the program if they are its own and undamaged."""
    from prover.setup import ProvingKey, VerifyingKey

    pk_path, vk_path, record_path = key_paths(program_path)
    try:
        record = json.loads(record_path.read_text())
        if record != _record(program, pk_path, vk_path):
            return None
        return ProvingKey.load(pk_path), VerifyingKey.from_bytes(vk_path.read_bytes())
    except (OSError, ValueError, InputError):
        return None


def obtain(program: Program, program_path: Path) -> tuple[tuple[ProvingKey, VerifyingKey], bool]:
    """The keys of a program, and whether they were there already."""
    found = cached(program, program_path)
    return (found, True) if found is not None else (make(program, program_path), False)


def make(program: Program, program_path: Path) -> tuple[ProvingKey, VerifyingKey]:
    """Set up and store the keys, all files or none."""
    pk, vk = syurmy.setup(program)
    with written_whole(*key_paths(program_path)) as (pk_path, vk_path, record_path):
        pk.save(pk_path)
        vk_path.write_bytes(vk.to_bytes())
        record_path.write_text(json.dumps(_record(program, pk_path, vk_path)))
    return pk, vk


def read_verifying_key(path: Path) -> VerifyingKey:
    """The key in a file; ``InputError`` if it cannot be read or is not one."""
    from prover.setup import VerifyingKey

    return VerifyingKey.from_bytes(read_bytes(path))


def read_program(path: Path) -> Program:
    """The program in tensor assembly, in a verifying key or in a binary encoding. The latter two hold no committed
    params, so it can be read but not run."""
    from isa.encoding import decode

    if path.suffix == ".tasm":
        return syurmy.load(path)
    if path.suffix == ".vk":
        return read_verifying_key(path).program
    return decode(read_bytes(path))


def _record(program: Program, pk_path: Path, vk_path: Path) -> dict[str, str]:
    return {"made_from": fingerprint(program), "pk": _digest(pk_path), "vk": _digest(vk_path)}


def _digest(path: Path) -> str:
    h = blake3()
    with path.open("rb") as f:
        while chunk := f.read(1 << 22):
            h.update(chunk)
    return h.hexdigest()
