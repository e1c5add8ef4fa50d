"""All sizes of a proof before its first challenge: matrices, words, levels, queries (sections 11.4 to 11.7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from syurmy.isa import graph as g
from syurmy.isa.builder import Builder, ConstraintSystem
from tests.reference_verifier.budget import Budget, Sizes, budget
from tests.reference_verifier.files import Commitment, Key
from tests.reference_verifier.layout import Stack, Word, words_of
from tests.reference_verifier.params import Params
from tests.reference_verifier.plan import Plan
from tests.reference_verifier.shapes import (
    PARAM_RATES,
    WITNESS_RATES,
    Level,
    Split,
    filled,
    hiding_ladder,
    ladder,
    least_size,
    log,
    param_split,
    rounded,
    witness_split,
)


@dataclass(frozen=True)
class Tensor:
    """A committed input or output: its commitment, matrix, and the digest that names it."""

    node: g.External
    commitment: Commitment
    stack: Stack
    split: Split
    height: int
    digest: bytes


@dataclass(frozen=True)
class Arrangement:
    """``words``: of the first vector, of ``used`` entries; ``heights``: of the witness and of the params."""

    sizes: Sizes
    budget: Budget
    words: list[Word]
    used: int
    heights: tuple[int, int]

    @property
    def bits(self) -> int:
        """Of an index of the first vector."""
        levels = self.sizes.levels
        return levels[0].row_bits + levels[0].c if levels else log(self.used)


def plan_of(key: Key, builder: Builder) -> Plan:
    def params(system: ConstraintSystem) -> Params:
        nodes = list(system.params.values())
        if not nodes:
            return Params([], Stack([], 0), None)
        least = least_size(PARAM_RATES, key.proofs if key.hiding else None, 4)
        stack = Stack([n.shape for n in nodes], least)
        return Params(nodes, stack, param_split(stack.m, stack.rows, key.hiding, key.proofs))

    return Plan(builder, params, least_size(WITNESS_RATES[:1], 1 if key.hiding else None, 6))


def arranged(key: Key, plan: Plan, tensors: Sequence[Tensor], certificate: bool, rests: bool) -> Arrangement:
    """``certificate``: of one; ``rests``: of a proof that names one."""
    params, counts, tree = plan.params.split, plan.counts, plan.tree
    witness = witness_split(plan.stack.m, plan.stack.rows, key.hiding, params)

    def sizes(levels: tuple[Level, ...], pad_rows: int) -> Sizes:
        return Sizes(
            hiding=key.hiding,
            leaves=tree.leaves,
            tree=tree.variables,
            width=tree.width,
            point=plan.variables,
            equations=len(plan.system.equations),
            instances=counts.instances,
            reduced=counts.reduced,
            param_rows=counts.rows,
            witness=witness,
            params=params,
            tensors=[t.split for t in tensors],
            levels=levels,
            pad_rows=pad_rows,
            proofs=key.proofs,
            certificate=certificate,
            rests=rests,
        )

    size, pad_rows = 2**witness.c, 0
    parts = [(size, size, witness.random)]
    if key.hiding:
        pads = sizes((), 0).pads
        pad_rows = -(-pads // size)
        parts += [(min(size, rounded(pads - i * size)), size, witness.random) for i in range(pad_rows)]
    if counts.rows:
        assert params is not None
        parts.append((2**params.c, 2**params.c, params.random))
    parts += [(2**t.split.c, 2**t.split.c, t.split.random) for t in tensors]
    words, used = words_of(parts)
    made = sizes((hiding_ladder(used) if key.hiding else ladder(used))[1], pad_rows)
    heights = (
        filled(plan.stack.rows(witness.c) + 2 * pad_rows, key.hiding),
        filled(len(plan.params.stored), key.hiding),
    )
    return Arrangement(made, budget(made), words, used, heights)
