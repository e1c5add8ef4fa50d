"""Copies of proving keys and openings: each with a part of the proofs that hide what is in them.

What is committed stays hidden in a number of proofs, all copies counted, and copies do not know of each other. So a
copy gets a count of its own (prover/allowance.py), and the original loses as much, before the copy exists.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from syurmy.files import read_head, written_whole
from syurmy.isa.errors import InputError
from syurmy.prover import keys, tensors


@dataclass(frozen=True)
class Shared:
    """``positions`` of the matrix were given to the copy; ``left`` to the original."""

    positions: int
    left: int


def share(source: Path, copy: Path, proofs: int) -> Shared:
    """Copies a proving key (``PROG.pk``) or an opening (``X.opening``), for so many of the proofs that it is for.

    Raises ``InputError``: F130 where ``copy`` is there, K176 where nothing is counted, or it is for fewer proofs, P180
    where fewer are left, K130 or K173 for what is neither, or damaged.
    """
    if read_head(source, len(tensors.MAGIC)) == tensors.MAGIC:
        opening = tensors.TensorOpening.load(source)
        allowance, whole, used = opening.allowance, opening.commitment.mode.proofs, tensors.used_path(copy)
    else:
        allowance, whole = keys.counted(source)
        used = keys.used_path(copy)
    if allowance is None:
        raise InputError(f"{source} hides nothing that is counted", code="K176", help="a plain copy does")
    if not 1 <= proofs <= whole:
        raise InputError(f"{source} is for {whole} proofs, {proofs} cannot be given away", code="K176")
    if copy.exists():
        raise InputError(f"{copy} is there already", code="F130", help="name another file, or remove it first")
    positions = proofs * (allowance.limit // whole)
    with written_whole(copy, mode=0o600) as (temporary,):
        shutil.copyfile(source, temporary)
        allowance.hand_over(positions, used)
    return Shared(positions, allowance.limit - allowance.used)
