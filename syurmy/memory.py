"""What set-up and a proof hold at their peaks, from the plan: known before any of it is allocated.

A proof takes and gives back large arrays in a fixed order (prover/prove.py), each of a size that the plan has: these
are gone through here as the prover does, with what its process keeps of what is freed (``syurmy.heap``). For columns in
2^m places, S of them in the rows that are stored, whose codeword has n columns, L leaves, R of them not with numerator
1, and rows of C params:

    held         the process with its kernels; the params, and their rows of integers; tables, which a program has twice
                 and its system as columns; index maps; what the run wrote, 8 a cell
    columns      those that are computed, and images of all that is looked up, 8 an entry each
    commitment   all columns side by side, 8 * 2^m; the matrix, 8 * S; its codeword, 8 * S / rho; its tree, 64 * n
    lookup       denominators 16 * L, numerators 8 * L until they are known where they are not 1, 16 * R; the layers
                 above, 16 * L, 8 * L, ...
    contraction  the tables of products, 16 a table and entry, over F 8, and 8 to fold them into
    opening      weights of all columns, 16 * 2^m, in which all are folded, or as much again where params are large
                 beside them; what is multiplied to write them; of each row of params that is evaluated 48 * C

A *lean* proof keeps neither the codeword of the columns nor the columns side by side while lookups and contractions are
proven, nor images of columns: it lays them out again and encodes the columns that are opened anew. It is the same
proof, and takes hardly longer where it is large; so large proofs on the host are lean in any case (``prove.LARGE``).

Measured (``benchmarks.capacity``) are what a process takes that does nothing else, and what small arrays come to.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from syurmy import host
from syurmy.display import bytes_text
from syurmy.heap import Heap
from syurmy.isa.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syurmy.isa.builder import ConstraintSystem
    from syurmy.isa.graph import Node
    from syurmy.isa.types import TensorType
    from syurmy.prover.protocol.contraction import Contraction
    from syurmy.prover.protocol.plan import Plan
    from syurmy.prover.protocol.reduction import ParamPoint, Reduced
    from syurmy.prover.protocol.weights import WeightSpace

PROCESS = 150_000_000  # with kernels
SETUP = 132_000_000  # that of set-up, which loads fewer
SMALL = 0.08, 0.03  # what else is in a heap that keeps what is freed, or large arrays apart; of all but the process
READ = 8 << 20  # of the key's file, what is there at one time of the positions that are read (host.rows_of)
CHUNK = 128  # elements of a column that BLAKE3 hashes to one value
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak of set-up (with saving), and of a proof under a key that is there, with its run: ``prove``, and
    ``lean``."""

    setup: int
    prove: int
    lean: int


def of_plan(plan: Plan) -> Memory:
    """What a proof by this plan takes. Raises ``InsufficientSoundness`` for a plan that has none."""
    from syurmy.prover.prove import LARGE, keeps

    sizes = Sizes(plan)
    large, kept = plan.used_leaves >= LARGE, keeps(plan.used_leaves)
    whole, lean = sizes.proof(large, kept), sizes.proof(True, False)
    return Memory(sizes.setup(), whole, min(whole, lean))


class Sizes:
    """Bytes of everything that a proof by a plan, or set-up for it, holds."""

    def __init__(self, plan: Plan) -> None:
        from syurmy.costs import new_tensors
        from syurmy.prover.dense import dense_bytes
        from syurmy.prover.protocol import reduction as red
        from syurmy.prover.protocol.budget import Opening
        from syurmy.prover.protocol.claims import Sweep
        from syurmy.prover.protocol.counts import sweeps
        from syurmy.prover.protocol.weights import WeightSpace

        self.plan, self.system = plan, plan.system
        self.tensors = new_tensors(plan)
        self.opening = Opening.of(plan, self.tensors)
        sweep = Sweep(space := WeightSpace())
        products, pulled = sweeps(plan, sweep)
        points, rest = red.split_params(pulled)
        self.tables, self.folded, self.moved = contraction_bytes(products)
        self.rows = evaluated_rows(plan, space, points, rest) if self.opening.counts.rows else 0
        written = red.columns_of(pulled, sweep).items()
        places = plan.witness.places
        self.written = dense_bytes((terms, places[node].shape, places[node].order) for node, terms in written)
        sizes = space.sizes()  # of the columns' claims too
        space.forget()
        self.weights = 16 * sum(sizes)
        self.maps, largest = _index_maps(self.system)
        self.made = 3 * largest  # while it is narrowed

    @cached_property
    def program(self) -> dict[str, int]:
        """With its constraint system."""
        program = self.system.program
        return {
            "params": sum(p.type.size * p.type.dtype.bits // 8 for p in program.params),
            "constants": 8 * sum(p.type.size for p in program.params if not p.committed),
            "tables": 16 * sum(len(t.array) for t in program.luts),
            "columns of tables": sum(8 * t.width << t.log_size for t in self.system.tables if not t.is_range),
            "index maps": self.maps,
        }

    @cached_property
    def integers(self) -> int:
        """The params' rows, of a proof pages of the key's file."""
        if self.plan.params is None:
            return 0
        committed = [p.type for p in self.system.program.params if p.committed]
        width = sum(t.size * _bits(t) for t in committed) / (8 * sum(t.size for t in committed))
        return int(width * self.plan.params.shape.rows * self.plan.params.shape.cols)

    def setup(self) -> int:
        """The peak of set-up."""
        from syurmy.prover.commitment import kept, strip_rows

        held = sum(self.program.values())
        peak = held + self.made
        if self.plan.params is not None:
            shape = self.plan.params.shape
            strip = min(strip_rows(shape), shape.height)
            held += self.integers + 8 * shape.n  # and the powers of its domain
            strips, tree = 8 * strip * (shape.cols + shape.n), 58 * shape.n
            if kept(shape, single=True):
                if strip == shape.height:  # they are the codeword
                    strips = 8 * strip * shape.cols
                held += 8 * shape.encoded
            else:  # beside a strip what was hashed of the columns
                chunks = -(-shape.height // CHUNK)
                strips += 32 * shape.n * (2 + (chunks - 1).bit_length())
            peak = max(peak, held + max(strips, tree))
        return SETUP + peak + int(SMALL[True] * peak)

    def proof(self, lean: bool, keep: bool) -> int:
        """The peak of a proof whose process keeps what it frees, or not."""
        from syurmy.prover.commitment import strip_rows
        from syurmy.prover.prove import fresh_pages

        plan, shape = self.plan, self.opening.matrices[0].shape
        leaves, others = plan.used_leaves, _others(plan)
        flat, matrix = 8 << plan.witness.log_entries, 8 * shape.every * shape.cols
        heap = Heap(None if keep else host.APART)
        heap.take(fresh=fresh_pages(leaves) if lean and keep else 0)
        heap.take(**self.program, cells=8 * plan.trace_cells, tensors=self._of_tensors())
        planned = heap.live + self.made
        heap.give(["fresh"])

        images, computed = _witness(self.system)
        counts = 8 * sum(1 << t.log_size for t in self.system.tables)
        heap.take(images=images, computed=computed, counted=counts, counts=counts)
        heap.give(["counted"])
        heap.take(flat=flat, matrix=matrix)
        if lean:
            strip = min(strip_rows(shape), shape.height)
            heap.give(["flat"])
            heap.take(powers=8 * shape.n, strips=8 * strip * shape.n, hashing=64 * shape.n, cut=8 * strip * shape.cols)
            heap.give(["strips", "cut", "hashing"])
        else:
            heap.take(powers=8 * shape.n, codeword=8 * shape.encoded)
        heap.take(tree=64 * shape.n)

        heap.take(denominators=16 * leaves, numerators=8 * leaves)
        if lean:
            heap.give(["images"])
            if not keep:
                heap.trim()
        heap.take(corrections=16 * others)
        heap.give(["numerators"])
        layers = {f"layer {k}": 16 * leaves >> k for k in range(leaves.bit_length())}
        heap.take(**layers)
        heap.give(list(layers)[1:])
        heap.take(rounds=12 * others)
        heap.give(["rounds", "layer 0", "denominators", "corrections"])

        heap.take(weights=self.weights, moved=self.moved, products=self.tables, folded=self.folded)
        heap.give(["moved", "products", "folded"])
        if lean:
            if not keep:
                heap.trim()
            heap.take(flat=flat)
        cols = 0 if plan.params is None else plan.params.shape.cols
        of_params = 48 * self.rows * cols + sum(48 << size for size in self.opening.counts.reduced)
        within = (self.rows + 1) * cols <= 1 << plan.witness.log_entries - 1 >= 2 * cols  # sumcheck._behind
        heap.take(omega=2 * flat, written=self.written)
        if keep:  # else these are many below ``APART``, and stay
            heap.give(["written"])
        heap.take(evaluated=of_params, folds=0 if within else 2 * flat)
        peak = max(planned, heap.peak)
        return PROCESS + self.integers + (READ if self.rows else 0) + peak + int(SMALL[not keep] * peak)

    def _of_tensors(self) -> int:
        shapes = [t.shape for t in self.tensors]
        return sum(8 * (s.encoded + s.every * s.cols) + 64 * s.n for s in shapes)


def _others(plan: Plan) -> int:
    """Leaves whose numerator is not 1."""
    return sum(b.size for b in plan.blocks if b.multiplicity is not None or b.sign < 0)


def _witness(system: ConstraintSystem) -> tuple[int, int]:
    """Bytes of the images of columns that lookups ask for, with what these are computed from, and of the columns that
    are not the trace's (``prover.witness``)."""
    from syurmy.isa.graph import Broadcast, Committed, Public, Reshape, Transpose

    given: set[Node] = {*system.inputs.values(), *system.params.values(), *system.publics, *system.externals}
    given.update(node for _, node in system.reveals)
    given.update(n for pc, n in system.results.items() if n.origin == pc and not isinstance(n, Public))
    images = 0
    for node in _reached(_looked_up(system), lambda n: n in given or isinstance(n, Committed | Public)):
        if not isinstance(node, Reshape | Transpose | Broadcast):  # these are views
            images += 8 * node.size
    return images, sum(8 * c.size for c in system.columns if c not in given)


def _looked_up(system: ConstraintSystem) -> list[Node]:
    members = [m for lk in system.lookups for m in lk.members]
    return members + [m for t in system.tuples for m in t.members if m is not None]


def _index_maps(system: ConstraintSystem) -> tuple[int, int]:
    """Bytes of the indices that have no closed form, and of the largest."""
    from syurmy.isa.graph import IndexMap

    roots = _looked_up(system) + [e.expression for e in system.equations]
    maps = (n for n in _reached(roots, lambda n: False) if isinstance(n, IndexMap))
    sizes = [n.where.nbytes for n in maps if isinstance(n.where, np.ndarray)]
    return sum(sizes), max(sizes, default=0)


def _reached(roots: list[Node], known: Callable[[Node], bool]) -> set[Node]:
    """All nodes that these are computed from, themselves included, but for those that are ``known``."""
    todo = list(roots)
    out: set[Node] = set()
    while todo:
        if (node := todo.pop()) not in out and not known(node):
            out.add(node)
            todo += node.inputs
    return out


def _bits(t: TensorType) -> int:
    """Of an entry of a param in its row."""
    from syurmy.prover.kernels.nibbles import WORTH

    return 4 if t.lo >= -8 and t.hi <= 7 and t.size >= WORTH else t.dtype.bits


def read(text: str) -> int:
    """Bytes of ``8G``, ``500M``, ``8GiB`` or a number; K, M, G are powers of 1024. Raises ``InputError`` X193."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    size = int(float(found[1]) * UNITS[found[2].upper()]) if found else 0
    if size <= 0:
        raise InputError(f"{text} is no amount of memory", code="X193", help="for example 8G or 500M")
    return size


def is_lean(plan: Plan, limit: int | None, making: bool = False) -> bool:
    """Whether a proof by this plan must be lean to take at most ``limit`` bytes; ``making``: its key too. Raises
    ``InputError`` P190 where that is not enough."""
    if limit is None:
        return False
    need = of_plan(plan)
    least = max(need.lean, need.setup if making else 0)
    if least > limit:
        what = "set-up" if least > need.lean else "a proof"
        raise InputError(
            f"{what} of this takes about {bytes_text(least)}, {bytes_text(limit)} are allowed",
            code="P190",
            help="a smaller batch; or a model compiled with --segments, each of which takes less; or more memory",
        )
    return need.prove > limit


def evaluated_rows(plan: Plan, space: WeightSpace, points: Sequence[ParamPoint], rest: Sequence[Reduced]) -> int:
    """How many tables of a whole row the opening's sumcheck has for the params (``opening.instances_of``): claims on
    several rows at the same point of the columns are one, those on one row another. All but ``plan`` is from
    ``counts.swept``."""
    from syurmy.prover.field import ONE, Ext
    from syurmy.prover.protocol import reduction as red
    from syurmy.prover.protocol.claims import Sweep

    layout = plan.params
    if layout is None:
        return 0
    if rest:
        rounds = max(r.place(layout).log_size for r in rest)
        space.points[red.PARAMS] = [Ext(i, 1) for i in range(rounds)]  # no other point's elements
        points = [*points, *red.reduced_points(plan, rest, rounds, ONE)]
    found: set[object] = set()
    for claim in red.params_claims(plan, points, Sweep(space)):
        point = claim.points[0].point
        alone = len(claim.points) > 1 or len(point) < layout.shape.log_cols
        found.add(claim.first_row if alone else point)
    return len(found)


def contraction_bytes(contractions: Sequence[Contraction]) -> tuple[int, int, int]:
    """The tables of products (``operands.Tables``), over F where no weights are bound; what they are folded into;
    and the largest operand that has the entries of another tensor in other places (``Witness.moved``)."""
    from syurmy.isa.graph import IndexMap

    sides = [side.node for c in contractions for side in (c.a, c.b)]
    moved = max((8 * math.prod(node.shape) for node in sides if isinstance(node, IndexMap)), default=0)
    given = folded = 0
    for c in contractions:
        tables = [16 if side.bound else 8 for side in (c.a, c.b)] + [16] * (c.degree - 2)
        given += sum(tables) << c.variables
        folded += 8 * len(tables) << c.variables
    return given, folded, moved
