"""What set-up and a proof hold at their peaks, from the plan: known before any of it is allocated.

Bytes of what lives at one time (prover/prove.py), for T entries in 2^m places, S of them in the rows that are stored,
L leaves in 2^n, and P entries of params in rows of C:

    held         the process with its kernels; the params and their rows of integers; what the run wrote, 8 a cell
    columns      T as integers, and what is computed from them
    commitment   all columns side by side, 8 * 2^m; the matrix, 8 * S; its codeword, 8 * S / rho; its tree, 64 * n
    lookup       denominators 16 * 2^n, the layers above them 32 * 2^n, 32 for each leaf that is not used; while
                 leaves are filled in, numerators 8 * L and images of columns
    contraction  the tables of products, 16 a table and entry, and half of that to fold them into
    opening      weights of all columns, 16 * 2^m, and as much to fold them into; of each row of params that is
                 evaluated the same, 48 * C; positions of the key's file that are read

The last three come one after the other; the peak is the largest of them on top of the others. The constants are from
measurements (``benchmarks.capacity``).

A *lean* proof keeps neither the codeword of the columns nor the columns side by side while lookups and contractions are
proven, nor images of columns: it lays them out again and encodes the columns that are opened anew. It is the same
proof, and takes hardly longer where it is large; so large proofs on the host are lean in any case (``prove.LARGE``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from syurmy.display import bytes_text
from syurmy.isa.errors import InputError

if TYPE_CHECKING:
    from syurmy.isa.types import TensorType
    from syurmy.prover.protocol.plan import Plan

PROCESS = 150_000_000  # with kernels
COLUMN, IMAGES = 8, 25  # an entry, and images of it that are kept
READ = 1 << 19  # of a mapped file that a read of one place brings in
UNUSED = 32  # a leaf that is not used: how its numerator is not 1
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
    from syurmy.prover.protocol.key import DEFAULT_PROOFS, Mode
    from syurmy.prover.protocol.tensors import tensor_layout
    from syurmy.prover.prove import LARGE

    program = plan.system.program
    given = Mode(plan.mode.hiding, DEFAULT_PROOFS if plan.mode.hiding else 0)  # of commitments that are not there yet
    tensors = [tensor_layout(x.shape, given) for x in plan.system.externals]
    opening = Opening.of(plan, tensors)
    data = sum(p.type.size * p.type.dtype.bits // 8 for p in program.params)
    held = PROCESS + data + 8 * (plan.trace_cells + sum(p.type.size for p in program.params if not p.committed))
    held += sum(8 * (t.shape.encoded + t.shape.every * t.shape.cols) + 64 * t.shape.n for t in tensors)
    setup, of_params = held, 0
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
            of_params = 48 * params.cols * evaluated_columns(plan) + sum(48 << size for size in opening.counts.reduced)
            window = opening.matrices[1].queries * READ
            of_params += min(25 * params.n, window) + params.n  # of the tree
            anew = 24 * params.cols + 8 * params.n  # one row, of which columns are encoded
            of_params += min(8 * params.encoded, window) if codeword_kept else anew
    shape = opening.matrices[0].shape
    held += COLUMN * plan.witness.true_entries + 8 * shape.every * shape.cols + 64 * shape.n
    images = IMAGES * plan.witness.true_entries
    flat, codeword = 8 << plan.witness.log_entries, 8 * shape.encoded
    places, used = (1 << plan.log_leaves, plan.used_leaves) if plan.blocks else (0, 0)
    filling, lookup = 16 * places + 8 * used, 48 * places + UNUSED * (places - used)
    contraction = sum(24 * degree << variables for variables, degree in opening.counts.contractions)
    opened = 4 * flat + of_params
    lean = held + max(images + max(flat + codeword, filling), lookup, contraction, flat + opened)
    whole = held + images + flat + codeword + max(lookup, contraction, opened)
    return Memory(setup, lean if plan.used_leaves >= LARGE else whole, lean)


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


def evaluated_columns(plan: Plan) -> int:
    """How many tables of a whole row the opening's sumcheck has for the params: claims at the same point of the columns
    are one, and those on tensors that share a row."""
    from syurmy.prover.protocol.counts import swept
    from syurmy.prover.protocol.weights import WeightSpace

    layout = plan.params
    if layout is None:
        return 0
    found: set[object] = set()
    _, points, rest = swept(plan, WeightSpace())
    reduced = [(r.param, r.fixed, list(r.place(layout).order)) for r in rest]
    for param, axes, left in [*((p.param, p.axes, list[int]()) for p in points), *reduced]:
        place = layout.places[param.name]
        if place.log_size <= layout.shape.log_cols:
            found.add(place.offset >> layout.shape.log_cols)
            continue
        bits: list[object] = []
        for axis, length in zip(place.order, place.dims, strict=True):
            known = axes.get(axis, ())
            bits += [*known, *((left[left.index(axis) :], i) for i in range(length.bit_length() - 1 - len(known)))]
        found.add(repr(bits[len(bits) - layout.shape.log_cols :]))
    return len(found)
