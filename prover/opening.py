"""The opening, prover's side (verifier's: prover/verifier/opening.py; weights and claims: prover/protocol/ladder.py).

``prove_claims``: <Omega, W> + sum_j <g_j, k_j> = V by one sumcheck, g_j = u_j^T M combinations of the params' rows,
k_j a sum of eq vectors. It ends at s; W(s) and all g_j(s) are sent. With delta, drawn after them, the rows are one
each: w = eq(s_row)^T W and h = sum_j eq(delta, j) * g_j.

``prove_ladder``: the rows are not sent. They lie side by side in a vector that is committed as a matrix of its own,
level by level, and the last one is sent. Of a matrix, columns are opened when the next vector is fixed; that its row
encodes to them, and w and h have the values sent, are linear claims on that vector. As the weights of a row are random
and later than the matrix's root, the queries are the proximity test too.

Soundness of each: prover/protocol/soundness.py (sumcheck, batching, proximity, queries).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from syurmy import gpu
from syurmy.prover import sumcheck
from syurmy.prover.commitment import Commitment, commit
from syurmy.prover.field import ONE, U64, ZERO, Ext, log2_ceil
from syurmy.prover.grinding import grinding_nonce
from syurmy.prover.kernels.bind import dot_matrix
from syurmy.prover.kernels.matrix import IntegerMatrix, bind_columns, transpose
from syurmy.prover.kernels.mle import add_flat
from syurmy.prover.kernels.opening import power_sum
from syurmy.prover.kernels.pool import for_ranges
from syurmy.prover.kernels.vectors import add_scaled, cut, eq_vector, part, put, zeros
from syurmy.prover.protocol import mle
from syurmy.prover.protocol.budget import Opened, Opening
from syurmy.prover.protocol.grinding import grinding_seed
from syurmy.prover.protocol.hidden import Hidden, Ledger
from syurmy.prover.protocol.ladder import (
    DenseWeight,
    EqWeight,
    PowerWeights,
    SumOfWeights,
    Together,
    Weight,
    Word,
    batched,
    bind_opened,
)
from syurmy.prover.protocol.mask import mask_weights, masked_weights, unit_row
from syurmy.prover.protocol.params_claims import ParamsClaim, combined_weights
from syurmy.prover.protocol.reed_solomon import MatrixShape
from syurmy.prover.protocol.shapes import Level
from syurmy.prover.protocol.transcript import Receiver, Replay, Sender
from syurmy.prover.queries import Encoded
from syurmy.prover.secrets import Secrets
from syurmy.prover.verifier.sumcheck import verify as verify_rounds


@dataclass(frozen=True, eq=False)
class Committed:
    """A committed matrix that is opened as ``opened`` says."""

    opened: Opened
    commitment: Commitment


def instances_of(
    claims: Sequence[ParamsClaim], integers: IntegerMatrix, memory: gpu.Memory = gpu.HOST
) -> list[sumcheck.Instance]:
    """The terms <g_j, k_j>, those with the same k_j = eq(c) as one: <sum of their g_j, eq(c)>."""
    rows, cols = integers.shape
    together: dict[tuple[Ext, ...], U64] = {}  # row weights by point of a whole row
    out: list[sumcheck.Instance] = []
    for claim in claims:
        first = claim.points[0]
        if len(claim.points) > 1 or cols != 1 << len(first.point):
            row = integers.bind(claim.first_row, claim.weights, memory)
            weights: U64 = zeros(row.shape, memory)
            add_dense(weights, SumOfWeights(tuple(claim.points)))
            out.append(sumcheck.Instance(ONE, [row, weights]))
            continue
        found = together.setdefault(first.point, np.zeros((2, rows), np.uint64))
        part = found[:, claim.first_row : claim.first_row + claim.weights.shape[1]]
        part[:] = mle.add(part, mle.scale(claim.weights, first.coefficient))
    for point, found in together.items():
        out.append(sumcheck.Instance(ONE, [integers.combined(found, memory), eq_there(point, memory)]))
    return out


def eq_there(point: Sequence[Ext], memory: gpu.Memory) -> U64:
    """eq(point, .) in ``memory``."""
    out: U64 = mle.eq_vector(point) if memory is gpu.HOST else eq_vector(point, memory)
    return out


def prove_claims(
    sender: Sender, omega: U64, flat: U64, claims: Sequence[ParamsClaim], integers: IntegerMatrix | None
) -> tuple[list[Ext], list[Ext], Ext]:
    """``omega`` ``uint64[2, 2^m]``, which is used up, ``flat`` ``uint64[2^m]``, ``integers`` the params' rows if there
    are claims on them; the point s, delta, and the extension of omega at s.

    The rounds need no g_j by itself; at the end g_j(s) = <u_j, M eq(s)> for all j at once."""
    memory = gpu.beside(omega)
    instances = [sumcheck.Instance(ONE, [omega, flat], spent=True)]
    if claims:
        assert integers is not None
        instances += instances_of(claims, integers, memory)
    rounds = max(x.tables[0].shape[1].bit_length() - 1 for x in instances)
    point, finals = sumcheck.prove(sender, "opening", instances, rounds)
    del instances[1:]
    values = []
    if claims:
        assert integers is not None
        log_cols = integers.shape[1].bit_length() - 1
        at_s = dot_matrix(integers, eq_there(point[rounds - log_cols :], memory))
        for claim in claims:
            values.append(mle.dot(claim.weights, at_s[:, claim.first_row : claim.first_row + claim.weights.shape[1]]))
    sender.ext("opening values", [finals[0][1], *values])
    return point, sender.transcript.challenges("params delta", log2_ceil(max(1, len(claims)))), finals[0][0]


def combined_row(
    integers: IntegerMatrix, claims: Sequence[ParamsClaim], delta: Sequence[Ext], memory: gpu.Memory = gpu.HOST
) -> U64:
    """h = sum_j eq(delta, j) * g_j, ``uint64[2, C]``, in ``memory``, where the rows are kept."""
    weights = combined_weights(claims, mle.eq_vector(delta, len(claims)), integers.shape[0])
    return integers.combined(weights, memory)


@dataclass(frozen=True, eq=False)
class Row:
    """What lies in the vector for one matrix: combinations of its rows, ``uint64[2, C]``, each with that of their
    random coefficients, ``uint64[2, T]``."""

    entries: U64
    tail: U64 = field(default_factory=lambda: np.zeros((2, 0), np.uint64))

    @staticmethod
    def of(commitment: Commitment, weights: U64) -> Row:
        """The combination of all rows by ``uint64[2, all rows]``."""
        assert commitment.matrix is not None
        return Row(combination(commitment.matrix, commitment.shape, weights), tail_of(commitment, weights))

    def place(self, z: U64, word: Word) -> None:
        """Writes what ``word`` lists of it."""
        cols = self.entries.shape[1]
        for b in word:
            source, first = (self.entries, 0) if b.exponent < cols else (self.tail, cols)
            put(z, b.offset, cut(source, b.exponent - first, b.size))


def combination(matrix: U64, shape: MatrixShape, weights: U64) -> U64:
    """``bind_opened`` of all columns, where they are."""
    if gpu.on_host(matrix):
        return bind_opened(matrix, shape, weights)
    out = bind_columns(cut(matrix, 0, shape.every), weights)
    if shape.planes == 2:
        add_scaled(out, 0, bind_columns(cut(matrix, shape.every, shape.every), weights), Ext(0, 1))
    return out


def tail_of(commitment: Commitment, weights: U64) -> U64:
    """The combination of the random coefficients, ``uint64[2, T]``."""
    if commitment.tail is None:
        return np.zeros((2, 0), np.uint64)
    return bind_opened(np.asarray(commitment.tail), commitment.shape, weights)


def prove_ladder(
    sender: Sender,
    plan: Opening,
    matrices: Sequence[Committed],
    rows: Sequence[Sequence[Row]],
    values: Sequence[Weight],
    secrets: Secrets | None = None,
) -> None:
    """``rows``: of each matrix, its combinations, which are claimed to encode to the opened columns; ``values``: the
    weights of the other claims on them. ``secrets``: what the first level hides the vector with."""
    z = vector_of(matrices, rows, plan.used)
    omega: U64 = zeros(z.shape, gpu.beside(z))
    claims: list[Weight] = list(values)
    levels = plan.levels
    if plan.hiding is not None:
        assert secrets is not None
        matrices, omega, z = hide(sender, plan, matrices, z, claims, secrets)
        levels, claims = levels[1:], [SumOfWeights(())]
    prove_levels(sender, plan, levels, matrices, omega, z, claims)


def prove_levels(
    sender: Sender,
    plan: Opening,
    levels: Sequence[tuple[Level, Opened]],
    matrices: Sequence[Committed],
    omega: U64,
    z: U64,
    claims: list[Weight],
) -> None:
    """Levels that hide nothing, and the last vector. ``omega``: weights of a claim on z that are written out; they are
    changed."""
    for level, opened in levels:
        if gpu.place(z.shape[1]) is gpu.HOST:
            omega, z = gpu.download(omega), gpu.download(z)
        stored = cut(z, 0, level.shape.rows << level.shape.log_cols)
        commitment = commit(transpose(stored.reshape(level.shape.height, -1)), level.shape)
        sender.raw(f"{opened.label} root", commitment.root)
        claims += open_columns(sender, matrices, plan.grinding(matrices[0].opened))
        # the claim that an earlier level left comes first; its weights are written out already
        weights, _ = batched(claims, sender.transcript.challenge(f"{opened.label} beta"))
        add_dense(omega, weights)
        _, (omega, z) = sumcheck.prove_leading(sender, opened.label, [omega, z], level.log_rows)
        matrices = [Committed(opened, commitment)]
        claims = [SumOfWeights(())]
    sender.ext_array("last vector", part(z, 0, plan.last))
    open_columns(sender, matrices, plan.grinding(matrices[0].opened))


def hide(
    sender: Sender, plan: Opening, matrices: Sequence[Committed], z: U64, claims: list[Weight], secrets: Secrets
) -> tuple[list[Committed], U64, U64]:
    """The first level, which hides the vector (protocol/mask.py): its matrix, and the weights and the vector that it
    hands on."""
    level, opened = plan.levels[0]
    missing = (1 << level.log_size) - z.shape[1]  # it has two rows where the vector would fill one
    if missing > 0:
        short, z = z, zeros((2, z.shape[1] + missing), gpu.beside(z))
        put(z, 0, short)
    commitment, rows = commit_hiding(level, z, secrets)
    sender.raw(f"{opened.label} root", commitment.root)
    claims += open_columns(sender, matrices, plan.grinding(matrices[0].opened))
    weights, _ = batched(claims, sender.transcript.challenge(f"{opened.label} beta"))
    omega: U64 = zeros(z.shape, gpu.beside(z))
    add_dense(omega, weights)
    before = len(sender.transcript.history), sender.size
    sender.pad_with(rows[:, 0, : 2 * level.log_rows])
    point, (omega, u) = sumcheck.prove_leading(sender, opened.label, [omega, z], level.log_rows)
    sender.pad_with(None)
    value = replayed(sender, *before, opened.label, level)
    left = gpu.download(omega), gpu.download(u)
    return [Committed(opened, commitment)], *mask(sender, plan, commitment, rows, *left, value, point)


def vector_of(matrices: Sequence[Committed], rows: Sequence[Sequence[Row]], used: int) -> U64:
    """The words of all matrices in their places, ``uint64[2, 2^k]``, where the first one's row is."""
    z: U64 = zeros((2, 1 << log2_ceil(used)), gpu.beside(rows[0][0].entries))
    for m, parts in zip(matrices, rows, strict=True):
        for word, row in zip(m.opened.places, parts, strict=True):
            row.place(z, word)
    return z


def commit_hiding(level: Level, z: U64, secrets: Secrets) -> tuple[Commitment, U64]:
    """The hiding level: rows of the vector, the pads of its rounds, and two rows of masks; and these three rows,
    ``uint64[2, 3, C]``."""
    shape = level.shape
    pads, cols = 2 * level.log_rows, shape.cols
    more = np.zeros((2, 3, cols), np.uint64)
    more[:, 0, :pads] = secrets.ext(pads)
    more[:, 1] = secrets.ext(cols)
    more[:, 2, :pads] = secrets.ext(pads)
    matrix: U64 = gpu.beside(z).empty((2, shape.every * cols))
    put(matrix, 0, cut(z, 0, shape.rows * cols))
    put(matrix, shape.rows * cols, more.reshape(2, -1))
    tail = secrets.elements(shape.tail * shape.height).reshape(shape.tail, shape.height)
    commitment = commit(transpose(matrix.reshape(shape.height, cols)), shape, tail)
    return commitment, more


def replayed(sender: Sender, drawn: int, sent: int, label: str, level: Level) -> Hidden:
    """What the rounds that were just sent end in for a verifier, but for the known part: it has not the target."""
    receiver = Receiver(Replay(sender.transcript.history[drawn:]), sender.bytes()[sent:], Ledger())
    _, value = verify_rounds(receiver, label, ZERO, level.log_rows, 2)
    assert isinstance(value, Hidden)
    return value


def mask(
    sender: Sender,
    plan: Opening,
    commitment: Commitment,
    rows: U64,
    omega: U64,
    u: U64,
    value: Hidden,
    point: Sequence[Ext],
) -> tuple[U64, U64]:
    """Sends sigma; the weights of the claim on the next vector, and the vector: the masked row and the masked pads.
    ``rows``: y, g and g' (protocol/mask.py), ``u``: the rows of the vector combined, as its rounds left it."""
    assert plan.hiding is not None
    words, (level, _) = plan.levels[0][1].places, plan.levels[0]
    shape = level.shape
    next_omega = np.zeros((2, 1 << log2_ceil(plan.hiding.masked)), np.uint64)
    next_omega[:, : shape.cols] = omega
    for weight in masked_weights(plan.levels[0][1], SumOfWeights(()), value).parts:
        add_dense(next_omega, weight)
    y, *masks = (np.ascontiguousarray(rows[:, i]) for i in range(3))
    z = np.zeros_like(next_omega)
    for i, (word, row) in enumerate(zip(words, masks, strict=True), 1):
        Row(row, tail_of(commitment, unit_row(shape, i))).place(z, word)
    sender.ext("mask sum", [mle.dot(next_omega, z)])
    tau = sender.transcript.challenge("mask challenge")
    first, more = mask_weights(level, mle.eq_vector(point, shape.rows), tau)
    for word, row, hidden, weights in zip(words, masks, (u, y), (first, *more), strict=True):
        Row(mle.add(row, mle.scale(hidden, tau)), tail_of(commitment, weights)).place(z, word)
    return next_omega, z


def open_columns(sender: Sender, matrices: Sequence[Committed], grinding_bits: int) -> list[Encoded]:
    """Draws positions, sends columns and paths; the weights of the claims that the rows encode to them."""
    sender.raw("query nonce", grinding_nonce(grinding_seed(sender.transcript), grinding_bits))
    drawn = [
        sender.transcript.positions(f"{m.opened.label} positions", m.opened.queries, m.opened.shape.n) for m in matrices
    ]
    out = []
    for m, positions in zip(matrices, drawn, strict=True):
        columns, path = m.commitment.opened(positions)
        sender.base_array(f"{m.opened.label} columns", columns)
        sender.raw(f"{m.opened.label} path", path.tobytes())
        out += [Encoded(word, m.opened.shape.log_n, positions) for word in m.opened.places]
    return out


def add_dense(omega: U64, weight: Weight) -> None:
    """Adds the weights, written out, to ``uint64[2, 2^k]``."""
    if isinstance(weight, SumOfWeights | Together):
        for each in weight.parts:
            add_dense(omega, each)
        return
    if isinstance(weight, Encoded):
        if weight.few(gpu.beside(omega)):
            for offset, values in weight.written(gpu.beside(omega)):
                add_part(omega, offset, values)
            return
        sums = weight.sums(gpu.beside(omega))
        for b in weight.word:
            add_part(omega, b.offset, cut(sums, b.exponent, b.size))
        return
    if isinstance(weight, EqWeight) and not gpu.on_host(omega):
        add_scaled(omega, weight.offset, eq_vector(weight.point, gpu.beside(omega)), weight.coefficient)
        return
    if isinstance(weight, EqWeight):
        dense = mle.scale(mle.eq_vector(weight.point), weight.coefficient)
    elif isinstance(weight, DenseWeight):
        dense = weight.weights
    else:
        assert isinstance(weight, PowerWeights)
        coefficients = mle.scale(weight.coefficients, weight.factor)
        dense = power_sum(weight.x[0], coefficients, 1 << weight.log_block, gpu.beside(omega))
    add_part(omega, weight.offset, dense)


def add_part(omega: U64, offset: int, values: U64) -> None:
    """Adds ``uint64[2, n]`` to the entries from ``offset`` on."""
    if gpu.on_host(omega):
        for there, plane in zip(omega[:, offset : offset + values.shape[1]], values, strict=True):
            for_ranges(add_flat, len(plane), there, plane, there)
    else:
        add_scaled(omega, offset, values, ONE)
