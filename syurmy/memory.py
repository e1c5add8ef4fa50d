"""What set-up and a proof hold at their peaks, from the plan: known before any of it is allocated.

Bytes of what lives at one time (prover/prove.py), for T entries in 2^m places, S of them in the rows that are stored,
L leaves, R of them not with numerator 1, and P entries of params in rows of C:

    held         the process with its kernels; the params and their rows of integers; what the run wrote, 8 a cell
    columns      T as integers, and what is computed from them
    commitment   all columns side by side, 8 * 2^m; the matrix, 8 * S; its codeword, 8 * S / rho; its tree, 64 * n
    lookup       denominators 16 * L, the layers above them 32 * L, how numerators are not 1, 28 * R; while leaves are
                 filled in, numerators 8 * L and images of columns
    contraction  the tables of products, 16 a table and entry, over F 8, and 8 to fold them into
    opening      weights of all columns, 16 * 2^m, in which all are folded, or as much again where params are large
                 beside them; of each row of params that is evaluated 48 * C
    queries      positions of the key's file that are read, on top of what the process keeps of what it has freed

The last four come one after the other; the peak is the largest of lookup, contraction and opening on top of the others,
and the queries' on top of that, where what is freed is kept by the process. The constants are from measurements
(``benchmarks.capacity``).

A *lean* proof keeps neither the codeword of the columns nor the columns side by side while lookups and contractions are
proven, nor images of columns: it lays them out again and encodes the columns that are opened anew. It is the same
proof, and takes hardly longer where it is large; so large proofs on the host are lean in any case (``prove.LARGE``).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from syurmy.display import bytes_text
from syurmy.isa.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syurmy.isa.types import TensorType
    from syurmy.prover.protocol.contraction import Contraction
    from syurmy.prover.protocol.plan import Plan
    from syurmy.prover.protocol.reduction import ParamPoint, Reduced
    from syurmy.prover.protocol.weights import WeightSpace

PROCESS = 150_000_000  # with kernels
COLUMN, IMAGES = 8, 25  # an entry, and images of it that are kept
READ = 1 << 20  # of a mapped file that a read of one place brings in
WASTE, MOST = 0.2, 512 << 20  # what lies free between arrays, of all but the process; and the most (syurmy/host.py)
LARGE_WASTE = 0.25  # of a large proof
LEAF, OTHER = 48, 28  # a leaf with the layers above it; more of one whose numerator is not 1
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
    from syurmy.costs import proof_seconds
    from syurmy.prover.commitment import kept, strip_rows
    from syurmy.prover.protocol.budget import Opening
    from syurmy.prover.protocol.counts import swept
    from syurmy.prover.protocol.key import DEFAULT_PROOFS, Mode
    from syurmy.prover.protocol.tensors import tensor_layout
    from syurmy.prover.protocol.weights import WeightSpace
    from syurmy.prover.prove import LARGE, keeps

    program = plan.system.program
    given = Mode(plan.mode.hiding, DEFAULT_PROOFS if plan.mode.hiding else 0)  # of commitments that are not there yet
    tensors = [tensor_layout(x.shape, given) for x in plan.system.externals]
    opening = Opening.of(plan, tensors)
    data = sum(p.type.size * p.type.dtype.bits // 8 for p in program.params)
    held = PROCESS + data + 8 * (plan.trace_cells + sum(p.type.size for p in program.params if not p.committed))
    held += sum(8 * (t.shape.encoded + t.shape.every * t.shape.cols) + 64 * t.shape.n for t in tensors)
    setup, of_params, queries = held, 0, 0
    rows = of_row = 0
    products, points, rest = swept(plan, space := WeightSpace())
    if plan.params is not None:
        params = plan.params.shape
        committed = [p.type for p in program.params if p.committed]
        width = sum(t.size * _bits(t) for t in committed) / (8 * sum(t.size for t in committed))
        integers = int(width * params.rows * params.cols)
        strip = min(strip_rows(params), params.height)
        strips = 8 * strip * (params.cols + params.n)
        codeword_kept = kept(params, proof_seconds(plan))
        if not codeword_kept:  # strips and what was hashed of the columns; then the tree
            chunks = -(-params.height // CHUNK)
            setup += integers + max(strips + 32 * params.n * (2 + (chunks - 1).bit_length()), 58 * params.n)
        else:
            strips = strips if strip < params.height else 8 * params.height * params.cols
            setup += integers + 8 * params.encoded + 58 * params.n + strips
        held += integers
        if opening.counts.rows:
            rows, of_row = evaluated_rows(plan, space, points, rest), params.cols
            of_params = 48 * rows * of_row
            of_params += sum(48 << size for size in opening.counts.reduced)
            window = opening.matrices[1].queries * READ
            queries = min(25 * params.n, window) + params.n  # of the tree
            anew = 24 * params.cols + 8 * params.n  # one row, of which columns are encoded
            queries += min(8 * params.encoded, window) if codeword_kept else anew
    shape = opening.matrices[0].shape
    held += COLUMN * plan.witness.true_entries + 8 * shape.every * shape.cols + 64 * shape.n
    images = IMAGES * plan.witness.true_entries
    flat, codeword = 8 << plan.witness.log_entries, 8 * shape.encoded
    others = sum(b.size for b in plan.blocks if b.multiplicity is not None or b.sign < 0)
    filling, lookup = 24 * plan.used_leaves, LEAF * plan.used_leaves + OTHER * others
    sizes = space.sizes()
    space.forget()
    weights = 16 * sum(sizes)
    setup = max(setup, PROCESS + data + 16 * max(sizes, default=0))  # the plan goes through the same positions
    contraction = contraction_bytes(products) + weights
    within = (rows + 1) * of_row <= 1 << plan.witness.log_entries - 1 >= 2 * of_row  # sumcheck._behind
    opened = (2 if within else 4) * flat + of_params + weights
    committing, later = images + flat + codeword, max(lookup, contraction, flat + opened)
    before = max(committing, images + filling, later)
    asked = max(codeword, min(before, MOST)) + queries  # with what the process keeps of what it has freed
    lean = held + max(before, asked)
    whole = held + committing + max(lookup, contraction, opened) + queries
    if plan.used_leaves < LARGE:
        whole = wasted(whole)
        lean = wasted(lean)
    else:  # of what comes later, seven tenths find no place in what the commitment took
        lean = wasted(lean, LARGE_WASTE)
        whole = held + committing + 7 * later // 10 + queries if keeps(plan.used_leaves) else lean
    return Memory(setup, max(whole, lean), lean)


def wasted(size: int, share: float = WASTE) -> int:
    """With what the process wastes."""
    return size + int(min(share * (size - PROCESS), MOST))


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


def contraction_bytes(contractions: Sequence[Contraction]) -> int:
    """The tables of products (``operands.Tables``), over F where no weights are bound, and what they are folded
    into; and the largest operand that has the entries of another tensor in other places (``Witness.moved``)."""
    from syurmy.isa.graph import IndexMap

    sides = [side.node for c in contractions for side in (c.a, c.b)]
    out = max((8 * math.prod(node.shape) for node in sides if isinstance(node, IndexMap)), default=0)
    for c in contractions:
        tables = [16 if side.bound else 8 for side in (c.a, c.b)] + [16] * (c.degree - 2)
        out += sum(tables) + 8 * len(tables) << c.variables
    return out
