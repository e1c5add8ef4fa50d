"""The prover's side of contractions: binding operands to weights, and the tables of the batched sumcheck."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from functools import partial

import numpy as np

from syurmy.isa.arrays import Integers
from syurmy.isa.graph import IndexMap
from syurmy.isa.types import padded
from syurmy.prover.field import U64, lift, to_field
from syurmy.prover.kernels.bind import dot_rows
from syurmy.prover.kernels.matrix import SMALL, IntegerMatrix
from syurmy.prover.kernels.place import place
from syurmy.prover.patches import Source
from syurmy.prover.protocol import mle
from syurmy.prover.protocol.claims import Group, Sweep
from syurmy.prover.protocol.contraction import Contraction, Side
from syurmy.prover.sumcheck import Instance
from syurmy.prover.witness import Witness


def bind_operand(witness: Witness, side: Side, sweep: Sweep) -> U64:
    """The operand bound to its weights: ``uint64[2, *kept]`` flat, in the order of the shared labels (true lengths)."""
    bound = max(abs(side.node.lo), abs(side.node.hi))
    if side.bound and isinstance(side.node, IndexMap) and (source := Source.of(side)) is not None:
        return source.bound(witness, side)
    narrow = bool(side.bound) and bound < SMALL
    values = witness.moved(side.node, np.int32) if narrow else witness(side.node)
    bound_axes = [a for axes, _ in side.bound for a in axes]
    kept = math.prod(values.shape[a] for a in side.kept)
    unit = [a for a in range(values.ndim) if values.shape[a] == 1]
    if not bound_axes:
        flat = np.transpose(values, [*unit, *side.kept]).reshape(-1)
        return lift(to_field(flat.astype(np.int64)))
    weights = flat_weight(side.bound)
    leading = np.transpose(values, [*unit, *bound_axes, *side.kept])
    if kept > 1 and leading.flags.c_contiguous:
        return _matrix(leading.reshape(-1, kept), bound).bind(0, weights)
    return dot_rows(np.transpose(values, [*unit, *side.kept, *bound_axes]).reshape(kept, -1), weights, bound)


def _matrix(values: Integers, bound: int) -> IntegerMatrix:
    if bound < SMALL:
        narrow = values if values.dtype.itemsize <= 4 else values.astype(np.int32)
        return IntegerMatrix((narrow,), np.zeros(0, np.int64))
    return IntegerMatrix.of(values)


def flat_weight(groups: Sequence[Group]) -> U64:
    """Outer product of the groups' weights, flat, in the order of the groups."""
    out = groups[0][1].array.reshape(2, -1)
    for _, w in groups[1:]:
        out = mle.outer(out, w.array.reshape(2, -1)).reshape(2, -1)
    return out


def pad_table(values: U64, dims: Sequence[int]) -> U64:
    """``uint64[2, prod(dims)]`` as a table with every axis padded by zeros to a power of two."""
    wide = [padded(d) for d in dims]
    if list(dims) == wide:
        return np.ascontiguousarray(values.reshape(2, -1))
    out = np.zeros((2, *wide), np.uint64)
    out[(slice(None), *(slice(0, d) for d in dims))] = values.reshape(2, *dims)
    return out.reshape(2, -1)


def _batch_table(c: Contraction) -> U64:
    """w_b over all shared labels (constant along contracted ones)."""
    order = [a for axes, _ in c.batch for a in axes]
    flat = flat_weight(c.batch).reshape(2, *(c.dims[a] for a in order))
    perm = sorted(range(len(order)), key=lambda i: order[i])
    joint = np.transpose(flat, (0, *(i + 1 for i in perm)))
    missing = [i for i in range(len(c.dims)) if i not in order]
    for i in missing:
        joint = np.expand_dims(joint, i + 1)
    # along contracted labels the table is constant on padded entries too: its extension ignores those variables
    dims = [padded(c.dims[i]) if i in missing else c.dims[i] for i in range(len(c.dims))]
    return pad_table(np.ascontiguousarray(np.broadcast_to(joint, (2, *dims))), dims)


class Tables:
    """The tables of the contractions of one proof; those that several have are made once."""

    def __init__(self, witness: Witness, sweep: Sweep) -> None:
        self.witness, self.sweep = witness, sweep
        self._made: dict[Hashable, U64] = {}

    def instance(self, c: Contraction) -> Instance:
        tables = [self._once((side.key, c.dims), partial(self._table, side, c.dims)) for side in (c.a, c.b)]
        if c.batch:
            tables.insert(0, self._once(c.batch_key, partial(_batch_table, c)))
        return Instance(c.coefficient, tables)

    def _once(self, key: Hashable, make: Callable[[], U64]) -> U64:
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = make()
        return found

    def _table(self, side: Side, dims: Sequence[int]) -> U64:
        """The operand bound to its weights as a table; one that is bound to none is over F."""
        if side.bound:
            return pad_table(bind_operand(self.witness, side, self.sweep), dims)
        values, wide = self.witness(side.node), [padded(d) for d in dims]
        unit = [a for a in range(values.ndim) if values.shape[a] == 1]
        out = np.empty(math.prod(wide), np.uint64)
        place(values, (*unit, *side.kept), (*(1 for _ in unit), *wide), out, 0)
        return out
