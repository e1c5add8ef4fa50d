"""Openings of committed inputs and outputs that a prover is given: one for each, of the same type, meaning, values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.isa.errors import InputError
from syurmy.isa.graph import External
from syurmy.prover.keys import ProvingKey
from syurmy.prover.protocol.tensors import meaning_of, same_meaning, told
from syurmy.prover.tensors import TensorOpening


def check_names(externals: Sequence[External], given: Mapping[str, TensorOpening]) -> None:
    """Is there an opening for every committed input and output, and for nothing else?"""
    names = [e.name for e in externals]
    for e in externals:
        if e.name not in given:
            raise InputError(
                f"{e.source} '{e.name}' is committed, and no commitment is given for it",
                code="P184",
                help=f"make one with commit, and give it as {e.name}=@FILE.opening",
            )
    for name in given:
        if name not in names:
            raise InputError(
                f"a commitment is given for '{name}', which is not committed",
                code="P185",
                help=f"committed are: {', '.join(names) or 'none'}",
            )


def check_opening(pk: ProvingKey, external: External, opening: TensorOpening, values: I64) -> None:
    """Raises ``InputError`` where this commitment cannot stand for this input or output."""
    c, what = opening.commitment, f"the commitment to {external.source} '{external.name}'"
    if c.mode.hiding != pk.mode.hiding:
        words = ("hides it, and proofs under this key hide nothing", "does not hide it, and proofs under this key do")
        raise InputError(f"{what} {words[pk.mode.hiding]}", code="P186", help="commit again in the key's mode")
    if (c.dtype, c.shape) != (external.dtype, external.shape):
        raise InputError(
            f"{what} is to {c.dtype}{list(c.shape[1:])} in a batch of {c.shape[0]},"
            f" the program has {external.dtype}{list(external.shape[1:])} in a batch of {external.shape[0]}",
            code="P187",
        )
    description = pk.verifying_key.description
    meant = meaning_of((description.input if external.source == "input" else description.output)(external.name))
    if meant is not None and c.described is not None and not same_meaning(meant, c.described):
        raise InputError(
            f"{what} says that its integers are {told(c.described)}; the key says {told(meant)}",
            code="P188",
            help="compile the program that reads it with --read",
        )
    if not np.array_equal(opening.values, values):
        raise InputError(f"{what} is to other values than those of the run", code="P189")
