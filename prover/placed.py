"""What a proof computes with, on a device: columns and other tensors of the graph, weights, leaves, operands.

Up go the columns, inputs and publics that somebody reads, each once and in the narrowest dtype that holds it; params,
tables and indices once per key (``kept``). Everything that is made of them is made there: linear images, multiplicities
(a histogram), denominators, weights that are products, operands bound to weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from syurmy import gpu
from syurmy.gpu.grid import Grid
from syurmy.isa.arrays import I64, Integers
from syurmy.isa.graph import (
    Broadcast,
    Combine,
    Committed,
    IndexMap,
    Node,
    ParamTensor,
    Public,
    Reshape,
    Table,
    Transpose,
    Tuples,
)
from syurmy.isa.pieces import Piece
from syurmy.isa.types import padded
from syurmy.prover import lookup
from syurmy.prover.field import U64, Ext, P, ext_array
from syurmy.prover.kernels import compiled, moves
from syurmy.prover.kernels.matrix import SMALL, IntegerMatrix
from syurmy.prover.kernels.pool import for_ranges
from syurmy.prover.kernels.vectors import ONES, SHORT, eq_vector, filled, outer
from syurmy.prover.operands import flat_weight
from syurmy.prover.protocol import reduction as red
from syurmy.prover.protocol.claims import Group, Sweep, Term
from syurmy.prover.protocol.contraction import Contraction, Side
from syurmy.prover.protocol.layout import Place
from syurmy.prover.protocol.leaves import Block
from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.weights import Weight
from syurmy.prover.sumcheck import Instance
from syurmy.prover.trees import taken
from syurmy.prover.witness import Witness

Array = gpu.Array
INT32 = 1 << 31
TOGETHER = 1 << 16  # entries of a column, or of weights, that goes up with others
KEPT = 1 << 16  # entries of a product of weights that stays for the next claim, of an image that is looked up


class Placed:
    """The values of one proof on the device ``memory``."""

    def __init__(self, plan: Plan, witness: Witness, sweep: Sweep, memory: Grid) -> None:
        self.plan, self.witness, self.sweep, self.memory = plan, witness, sweep, memory
        self._values: dict[Node, Array] = {}
        self._images: dict[Node, Array] = {}
        self._weights: dict[Hashable, Array] = {}
        self._products: dict[tuple[Hashable, ...], Array] = {}  # of weights, unless they are long
        self._counts: dict[Committed, Array] = {}

    # ---- tensors of the graph ------------------------------------------------------------------------------------

    def columns_up(self) -> None:
        """All columns of a few entries in one copy."""
        counted = set(self.plan.multiplicities.values())
        few = [
            c for c in self.plan.witness.places if isinstance(c, Committed) and c.size <= TOGETHER and c not in counted
        ]
        self._values |= zip(few, self.memory.together(*(_flat(self.witness(c)) for c in few)), strict=True)

    def values(self, node: Node) -> Array:
        """The integers of a node, flat in C order, of any signed dtype."""
        if isinstance(node, Reshape):
            return self.values(node.inputs[0])
        if isinstance(node, Transpose | Broadcast | IndexMap | Combine):
            return self._image(node)
        found = self._values.get(node)
        if found is None:
            given: Integers = self.witness(node)
            keep = isinstance(node, ParamTensor) or (isinstance(node, Public) and node.values is given)
            found = self.memory.kept(given, _flat) if keep else self.memory.upload(_flat(given))
            self._values[node] = found
        return found

    def _image(self, node: Transpose | Broadcast | IndexMap | Combine) -> Array:
        """Made anew each time: these are larger than what they are made of."""
        sources = [self.values(x) for x in node.inputs]
        if isinstance(node, Combine):
            total, const = self.memory.empty(node.size, np.int64), np.uint64(node.const % 2**64).astype(np.int64)
            terms = [(x, np.int64(c)) for x, c in zip(sources, node.coefficients, strict=True)]
            terms += [(sources[0], np.int64(0))] * (len(terms) % 2)
            for k in range(0, len(terms), 2):
                for_ranges(moves.combine_kernel, node.size, *terms[k], *terms[k + 1], const * (k == 0), k > 0, total)
            return total
        shape = node.inputs[0].shape
        strides = c_strides(shape)
        if isinstance(node, Transpose):
            return self._moved(sources[0], node.shape, [strides[a] for a in node.perm])
        if isinstance(node, Broadcast):
            return self._moved(sources[0], node.shape, [s * (d > 1) for s, d in zip(strides, shape, strict=True)])
        others = [a for a in range(len(shape)) if a not in node.in_axes]
        rest = math.prod(shape[a] for a in others)
        index = self.memory.kept(node.index, np.ravel)
        axes = [*node.in_axes, *others]
        made = self.memory.empty(index.size * rest, sources[0].dtype)
        lengths, taken = index_set([shape[a] for a in axes], [strides[a] for a in axes])
        for_ranges(moves.indexed_kernel, made.size, sources[0], index, rest, lengths, taken, made)
        long = [*node.index.shape, *(shape[a] for a in others)]
        order = moved_axes(len(long), range(len(node.out_axes)), node.out_axes)
        steps = c_strides(long)
        return self._moved(made, node.shape, [steps[a] for a in order])

    def _moved(
        self, source: Array, shape: Sequence[int], strides: Sequence[int], dtype: npt.DTypeLike | None = None
    ) -> Array:
        """The entries at these strides, in C order, of another ``dtype`` where one is given."""
        lengths, taken = index_set(shape, strides)
        dtype = source.dtype if dtype is None else np.dtype(dtype)
        if len(lengths) == 1 and taken[0] == 1 and lengths[0] == source.size and dtype == source.dtype:
            return source
        out = self.memory.empty(math.prod(shape), dtype)
        for_ranges(moves.moved_kernel, out.size, source, lengths, taken, out)
        return out

    # ---- columns and multiplicities ------------------------------------------------------------------------------

    def count(self) -> None:
        """Counts how often each row of the tables is looked up. Raises as ``Witness.multiplicities``."""
        self.columns_up()
        tables = self.plan.system.tables
        ends = np.cumsum([0, *((1 << t.log_size) + 1 for t in tables)])
        every = filled(self.memory.empty(int(ends[-1])), 0)
        counts = {t: every[a:b] for t, a, b in zip(tables, ends.tolist(), ends[1:].tolist(), strict=False)}
        for lk in self.plan.system.lookups:
            if lk.table.is_range:
                rows = self.member(lk.members[0])
            else:
                rows = self.memory.upload(narrowed(self.witness.rows(lk.table, lk.members)))
            for_ranges(moves.count_kernel, rows.size, rows, counts[lk.table])
        if taken((every.reshape(-1, 1), (ends[1:] - 1).tolist()))[0].any():
            self.witness.multiplicities()
            raise AssertionError("a lookup that only a device does not find")
        for table, column in self.plan.multiplicities.items():
            self._counts[column] = counts[table][: 1 << table.log_size]

    def column(self, column: Committed) -> Array:
        """Its integers, flat."""
        found = self._counts.get(column)
        return self.values(column) if found is None else found

    def columns(self) -> Array:
        """All columns in their places of the witness matrix, one after the other, as field elements."""
        layout = self.plan.witness
        flat = filled(self.memory.empty(1 << layout.log_entries), 0)
        for column, place in layout.places.items():
            assert isinstance(column, Committed)
            strides = c_strides(place.shape)
            self._place(
                self.column(column), [place.shape[a] for a in place.order], [strides[a] for a in place.order],
                flat, place.offset, c_strides(place.dims),
            )  # fmt: skip
        return flat

    def _place(
        self, source: Array, shape: Sequence[int], strides: Sequence[int], out: Array, first: int, places: Sequence[int]
    ) -> None:
        """Integers as elements of F into a flat array."""
        lengths, taken, put = index_set(shape, strides, places)
        for_ranges(moves.place_kernel, math.prod(shape), source, lengths, taken, out, first, put)

    # ---- leaves --------------------------------------------------------------------------------------------------

    def leaves(self, alpha: Ext, betas: Sequence[Ext]) -> lookup.Leaves:
        """Denominators are made of what is kept of each block, where they are read."""
        blocks = self.plan.blocks
        made, factors = zip(*(self._block(b, alpha, betas) for b in blocks), strict=True)
        self._images.clear()
        there = self.memory.together(*factors)

        def fill(den: Array) -> None:
            for b, write, given in zip(blocks, made, there, strict=True):
                write([den[p, b.offset : b.offset + b.size] for p in range(2)], given)

        leaves = lookup.Leaves.ones(self.plan.used_leaves, self.memory, self.plan.signed_leaves, fill)
        for b in blocks:
            num = leaves.num[b.offset : b.offset + b.size]
            if b.multiplicity is not None:
                shape = b.multiplicity.shape[len(b.multiplicity.shape) - len(b.dims) :]
                wide = filled(self.memory.empty(b.size), 0)
                self._place(self.column(b.multiplicity), shape, c_strides(shape), wide, 0, c_strides(b.dims))
                for_ranges(moves.numerator_kernel, b.size, wide, num)
            elif b.sign < 0:
                filled(num, P - 1)
        return leaves

    def _block(self, b: Block, alpha: Ext, betas: Sequence[Ext]) -> tuple[Callable[[list[Array], Array], None], U64]:
        """What writes the denominators of a block into two planes, given the factors, and these."""
        if isinstance(b.source, Tuples):
            return self._tuples(b, b.source, alpha, betas)
        if isinstance(b.source, Table):
            columns, shape = [self.memory.kept(c, _flat) for c in b.source.columns], b.dims
        else:
            assert b.piece is not None
            columns, shape = [self._piece(m, b.piece) for m in b.source.members], b.piece.true

        def write(parts: list[Array], factors: Array) -> None:
            lookup.fill_planes(parts, columns or [self._counting(b.size)], shape, b.dims, factors)

        return write, lookup.factors(b.tag, alpha, betas[: max(1, len(columns))])

    def _piece(self, node: Node, piece: Piece) -> Array:
        """``Piece.of`` a node, in C order, of int32 where an image fits."""
        values, shape, steps = self.member(node), [node.size], [1]
        if not piece.whole or piece.first:
            strides = c_strides(piece.shape)
            steps = [strides[piece.last], *(strides[a] for a in piece.others)]
            values, shape = values[piece.lo * steps[0] :], [*piece.true]
        return self._moved(values, shape, steps, _narrow(node, values))

    def member(self, node: Node) -> Array:
        """``values``, of int32 where a short image fits, which is kept until the leaves are there."""
        found = self._images.get(node)
        if found is None:
            found = self.values(node)
            if found.dtype.itemsize > 4 and node.size <= KEPT:
                found = self._moved(found, [node.size], [1], _narrow(node, found))
                self._images[node] = found
        return found

    def _counting(self, size: int) -> Array:
        out = self.memory.empty(size, np.int64)
        for_ranges(moves.offsets_kernel, size, *index_set([size], [1]), out)
        return out

    def _tuples(
        self, b: Block, tuples: Tuples, alpha: Ext, betas: Sequence[Ext]
    ) -> tuple[Callable[[list[Array], Array], None], U64]:
        """``_block`` of tuples: plain members like a lookup's, rows by their fingerprints."""
        rank = len(tuples.shape)
        members = [(beta, m) for beta, m in zip(betas, tuples.members, strict=False) if m is not None]
        plain = [(beta, self.values(m)) for beta, m in members if len(m.shape) == rank]
        rows = []
        for beta, m in members:
            if len(m.shape) == rank:
                continue
            weights = ext_array([-beta])
            if groups := red.fingerprint_groups(self.sweep.space, m.shape, rank):
                _, w = self.sweep.joint(groups)
                weights = compiled.multiply(np.ascontiguousarray(w.array.reshape(2, -1)), weights)
            rows.append((m, self.memory.upload(weights)))

        def write(parts: list[Array], factors: Array) -> None:
            values = [v for _, v in plain] or [filled(self.memory.empty(math.prod(tuples.shape), np.int64), 0)]
            lookup.fill_planes(parts, values, tuples.shape, b.dims, factors)
            for m, weights in rows:
                strides = c_strides(m.shape)
                self._bind(
                    self.values(m), tuples.shape, strides[:rank], m.shape[rank:], strides[rank:], weights, parts,
                    c_strides(b.dims),
                )  # fmt: skip

        return write, lookup.factors(b.tag, alpha, [c for c, _ in plain] or [Ext(0)])

    # ---- weights -------------------------------------------------------------------------------------------------

    def weight(self, w: Weight) -> Array:
        """``uint64[2, size]``; a long eq vector is made from its point."""
        if w.key not in self._weights:
            if _long(w):
                assert w.point is not None
                self._weights[w.key] = eq_vector(self.sweep.space.coordinates(w.point), self.memory, w.size)
            else:
                self.weights_up([w])
        return self._weights[w.key]

    def weights_up(self, weights: Iterable[Weight]) -> None:
        """Those that are not made there, and are not there, in one copy."""
        wanted = {w.key: w for w in weights if w.key not in self._weights and not _long(w)}
        arrays = (w.array.reshape(2, -1) for w in wanted.values())
        self._weights |= zip(wanted, self.memory.together(*arrays), strict=True)

    def _joined(self, groups: Sequence[Group]) -> tuple[list[int], list[int], Array]:
        """The outer product of weights: its axes, their lengths, and ``uint64[2, size]``."""
        if not groups:
            return [], [], self.memory.kept(ONES)
        axes = [a for more, _ in groups for a in more]
        lengths = [d for _, w in groups for d in w.dims]
        key = tuple(w.key for _, w in groups)
        out = self._products.get(key)
        if out is None:
            out = self.weight(groups[0][1])
            for _, w in groups[1:]:
                out = outer(out, self.weight(w))
            if out.shape[1] <= KEPT:
                self._products[key] = out
        return axes, lengths, out

    def omega(self, columns: Mapping[Committed, list[Term]]) -> Array:
        """All claims on the witness as one weight tensor, ``uint64[2, 2^m]``."""
        layout = self.plan.witness
        out = self.memory.empty((2, 1 << layout.log_entries))
        filled(out, 0)
        self.weights_up(w for terms in columns.values() for term in terms for _, w in term.groups)
        for node, terms in columns.items():
            for term in terms:
                self._add_term(out, layout.places[node], term)
        self._weights.clear()
        self._products.clear()
        return out

    def _add_term(self, out: Array, place: Place, term: Term) -> None:
        """A term as the product of its largest weight and the others'."""
        groups = sorted(term.groups, key=lambda g: -g[1].size)
        halves = [self._joined(groups[:1]), self._joined(groups[1:])]
        sides = []
        for axes, long, _ in halves:
            steps = dict(zip(axes, c_strides(long), strict=True))
            sides.append([steps.get(a, 0) for a in place.order])
        shape = [place.shape[a] for a in place.order]
        lengths, s, t, put = index_set(shape, *sides, c_strides(place.dims))
        c = np.uint64(term.coefficient.a), np.uint64(term.coefficient.b)
        (_, _, a), (_, _, b) = halves
        for_ranges(moves.dense_kernel, math.prod(shape), a, s, b, t, *c, lengths, out, place.offset, put)

    # ---- contractions --------------------------------------------------------------------------------------------

    def instance(self, c: Contraction) -> Instance:
        tables = [self._operand(side, c.dims) for side in (c.a, c.b)]
        return Instance(c.coefficient, [self._batch(c), *tables] if c.batch else tables)

    def _operand(self, side: Side, dims: Sequence[int]) -> Array:
        """The operand bound to its weights, as a table with every axis padded by zeros to a power of two."""
        wide = [padded(d) for d in dims]
        out = self.memory.empty((2, math.prod(wide)))
        node, places = side.node, c_strides(wide)
        strides = c_strides(node.shape)
        kept, taken = [node.shape[a] for a in side.kept], [strides[a] for a in side.kept]
        bound = [a for axes, _ in side.bound for a in axes]
        values = self.values(node)
        if not bound:
            sets = tuple(np.array(x, np.int64) for x in (kept, taken, wide))
            for_ranges(moves.table_kernel, out.shape[1], values, *sets, out)
            return out
        lengths, steps = [node.shape[a] for a in bound], [strides[a] for a in bound]
        if max(abs(node.lo), abs(node.hi)) < SMALL and values.dtype.itemsize <= 4 and math.prod(kept) > 1:
            order = [a for a in (*bound, *side.kept) if node.shape[a] > 1]
            if order == sorted(order):  # rows one after the other
                matrix = values.reshape(math.prod(lengths), math.prod(kept))
                row = IntegerMatrix((matrix,), np.zeros(0, np.int64)).bind(0, flat_weight(side.bound))
                if list(dims) == wide:
                    return row
                filled(out, 0)
                spread, put = index_set(kept, places)
                for_ranges(moves.spread_kernel, math.prod(kept), row, spread, put, out)
                return out
        weights = self._joined(side.bound)[2]
        filled(out, 0)
        self._bind(values, kept, taken, lengths, steps, weights, [out[0], out[1]], places)
        return out

    def _bind(
        self,
        values: Array,
        kept: Sequence[int],
        taken: Sequence[int],
        bound: Sequence[int],
        steps: Sequence[int],
        weights: Array,
        out: Sequence[Array],
        places: Sequence[int],
    ) -> None:
        """Adds the sums over the bound axes of values times weights, ``uint64[2, prod(bound)]``, to two planes."""
        offsets = self.memory.empty(math.prod(bound), np.int64)
        for_ranges(moves.offsets_kernel, offsets.size, *index_set(bound, steps), offsets)
        lengths, strides, put = index_set(kept, taken, places)
        for_ranges(moves.bind_kernel, math.prod(kept), values, lengths, strides, offsets, weights, *out, put)

    def _batch(self, c: Contraction) -> Array:
        """``operands._batch_table``: constant along contracted labels, on padded entries too."""
        axes, long, weights = self._joined(c.batch)
        steps = dict(zip(axes, c_strides(long), strict=True))
        wide = [padded(d) for d in c.dims]
        shape = [d if i in axes else w for i, (d, w) in enumerate(zip(c.dims, wide, strict=True))]
        out = filled(self.memory.empty((2, math.prod(wide))), 0)
        lengths, s, put = index_set(shape, [steps.get(i, 0) for i in range(len(shape))], c_strides(wide))
        b, t = self.memory.kept(ONES), np.zeros(len(lengths), np.int64)
        one = np.uint64(1), np.uint64(0)
        for_ranges(moves.dense_kernel, math.prod(shape), weights, s, b, t, *one, lengths, out, 0, put)
        return out


def c_strides(shape: Sequence[int]) -> list[int]:
    """In entries, of an array in C order."""
    out = [1]
    for d in reversed(shape[1:]):
        out.append(out[-1] * d)
    return out[::-1][: len(shape)]


def index_set(shape: Sequence[int], *strides: Sequence[int]) -> tuple[I64, ...]:
    """Lengths and strides of the same entries in the same order with as few axes as that takes, at least one."""
    kept: list[list[int]] = []  # length, strides
    for d, *steps in zip(shape, *strides, strict=True):
        if d == 1:
            continue
        if kept and all(before == step * d for before, step in zip(kept[-1][1:], steps, strict=True)):
            kept[-1] = [kept[-1][0] * d, *steps]
        else:
            kept.append([d, *steps])
    kept = kept or [[1, *([1] * len(strides))]]
    return tuple(np.array(column, np.int64) for column in zip(*kept, strict=True))


def moved_axes(count: int, source: Sequence[int], target: Sequence[int]) -> list[int]:
    """Which axis comes to be which, as ``np.moveaxis`` moves them."""
    order = [a for a in range(count) if a not in source]
    for to, a in sorted(zip(target, source, strict=True)):
        order.insert(to, a)
    return order


def narrowed(values: Integers) -> Integers:
    """In the narrowest dtype that holds them."""
    lo, hi = (int(values.min()), int(values.max())) if values.size else (0, 0)
    for dtype in (np.int8, np.int16, np.int32):
        if np.iinfo(dtype).min <= lo and hi <= np.iinfo(dtype).max:
            return values.astype(dtype)
    return values


def _narrow(node: Node, values: Array) -> np.dtype[Any]:
    """The dtype of what is made of its values: int32 instead of int64 where these fit."""
    fits = values.dtype.itemsize > 4 and -INT32 <= node.lo <= node.hi < INT32
    return np.dtype(np.int32) if fits else values.dtype


def _long(w: Weight) -> bool:
    """Whether it is made on the device."""
    return w.point is not None and w.size > 1 << SHORT


def _flat(values: Any) -> Integers:
    out: Integers = np.ascontiguousarray(narrowed(values)).reshape(-1)
    return out
