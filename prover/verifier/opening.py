"""The opening, verifier's side (messages and statement: prover/opening.py; weights and claims: protocol/ladder.py).

The caller fixes roots, shapes and numbers of queries from the statement, the key and the budget, has absorbed the roots
before any point in the weights was drawn, and has settled the target otherwise. Shapes and claims that do not fit each
other are errors of the caller (``ValueError``); every proof that is not accepted is ``Rejected``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from syurmy.isa.records import dataclass
from syurmy.prover.field import U64, Ext, P, ext_array, log2_ceil
from syurmy.prover.protocol import mle
from syurmy.prover.protocol.budget import Opened, Opening
from syurmy.prover.protocol.grinding import grinding_holds, grinding_seed
from syurmy.prover.protocol.hidden import Hidden, Ledger, Value, combination
from syurmy.prover.protocol.ladder import Claim, EqWeight, PadWeights, PowerWeights, Together, batched, bind_opened
from syurmy.prover.protocol.mask import mask_weights, masked_claim
from syurmy.prover.protocol.merkle import DIGEST, ROOT, hash_columns, proof_length, verify_multiproof
from syurmy.prover.protocol.params_claims import ParamsClaim
from syurmy.prover.protocol.transcript import Receiver, Rejected
from syurmy.prover.verifier import sumcheck

STEP = "opening"
HALF = (P + 1) // 2


@dataclass(frozen=True, eq=False)
class Matrix:
    """A matrix under ``root``, of which the combination by ``weights``, ``uint64[2, all rows]``, lies in the vector;
    ``more``: weights of further combinations that do (rows of pads)."""

    opened: Opened
    root: bytes
    weights: U64
    more: tuple[U64, ...] = ()

    def __post_init__(self) -> None:
        wanted = (2, self.opened.shape.every)
        if any(w.shape != wanted for w in self.every) or len(self.every) != len(self.opened.places):
            raise ValueError("weights do not fit the shape")

    @property
    def every(self) -> tuple[U64, ...]:
        """Weights of each word."""
        return (self.weights, *self.more)


def verify_claims(
    receiver: Receiver,
    target: Value,
    log_entries: int,
    omega_at: Callable[[list[Ext]], Ext],
    claims: Sequence[ParamsClaim],
    log_cols: int,
) -> tuple[list[Ext], list[Value], list[Ext]]:
    """<Omega, W> + all ``claims`` = target; ``omega_at`` evaluates Omega at log_entries elements;
    rows of the params have 2^log_cols entries. The point s, the values W(s), g_0(s), ... that are claimed, and delta.

    Error: sumcheck(2, rounds), delta batching(len(delta)).
    """
    rounds = max(log_entries, log_cols) if claims else log_entries
    point, value = sumcheck.verify(receiver, "opening", target, rounds, 2)
    values = list(receiver.ext("opening values", 1 + len(claims)))
    own = point[rounds - log_entries :]
    weights = [omega_at(own) * pow(HALF, rounds - log_entries, P)]
    half = pow(HALF, rounds - log_cols, P)
    weights += [claim.weight_at(point[rounds - log_cols :]) * half for claim in claims]
    expected = combination(zip(values, weights, strict=True))
    receiver.zero(expected - value, STEP, "the values of witness and params do not fit their sumcheck")
    return point, values, receiver.transcript.challenges("params delta", log2_ceil(max(1, len(claims))))


def claims_on_rows(
    opening: Opening, values: Sequence[tuple[EqWeight, Value]], relations: Sequence[Hidden] = ()
) -> list[Claim]:
    """What is claimed about the first vector, beside queries: ``relations`` between the pads that lie in it, and the
    rows' evaluations, whose claimed values may be hidden."""
    out = []
    if opening.hiding is not None:
        known = ext_array([-r.known for r in relations])
        out.append(Claim(PadWeights.of(opening.hiding.places, relations), known))
    for weight, value in values:
        if isinstance(value, Hidden):
            assert opening.hiding is not None
            pads = PadWeights.of(opening.hiding.places, [-value])
            out.append(Claim(Together((weight, pads)), ext_array([value.known])))
        else:
            out.append(Claim(weight, ext_array([value])))
    return out


def verify_ladder(receiver: Receiver, plan: Opening, matrices: Sequence[Matrix], values: Sequence[Claim]) -> None:
    """The vector of the matrices' rows has the claimed ``values``, and each row encodes to the columns of its matrix.

    Error: per level batching, sumcheck(2, log_rows), proximity; the queries. A hiding level adds 1/|K| for its mask.
    """
    claims = list(values)
    hiding = plan.hiding is not None
    for level, opened in plan.levels:
        root = receiver.raw(f"{opened.label} root", ROOT)
        claims += open_columns(receiver, matrices, plan.grinding(matrices[0].opened))
        weights, factors = batched([c.weight for c in claims], receiver.transcript.challenge(f"{opened.label} beta"))
        target = mle.dot(factors, np.concatenate([c.values for c in claims], axis=1))
        receiver.ledger = Ledger() if hiding else None
        point, value = sumcheck.verify(receiver, opened.label, target, level.log_rows, 2)
        receiver.ledger = None
        folded = weights.folded(level.log_size, point)
        eq = mle.eq_vector(point, level.shape.rows)
        if hiding:
            assert isinstance(value, Hidden)
            sigma = receiver.open_ext("mask sum", 1)[0]
            mask = receiver.transcript.challenge("mask challenge")
            claims = [masked_claim(opened, folded, value, sigma, mask)]
            matrices = [Matrix(opened, root, *mask_weights(level, eq, mask))]
            hiding = False
        else:
            assert isinstance(value, Ext)
            claims = [Claim(folded, ext_array([value]))]
            matrices = [Matrix(opened, root, eq)]
    vector = receiver.ext_array("last vector", plan.last)
    size = 1 << log2_ceil(plan.last)
    if size != plan.last:
        vector = np.concatenate([vector, np.zeros((2, size - plan.last), np.uint64)], axis=1)
    encoded = open_columns(receiver, matrices, plan.grinding(matrices[0].opened))
    if not all(holds(claim, vector) for claim in encoded):
        raise Rejected(STEP, "the last vector does not encode to the opened columns")
    if not all(holds(claim, vector) for claim in claims):
        raise Rejected(STEP, "the last vector does not have the claimed values")


def holds(claim: Claim, vector: U64) -> bool:
    return np.array_equal(claim.weight.values(vector), claim.values)


def open_columns(receiver: Receiver, matrices: Sequence[Matrix], grinding_bits: int) -> list[Claim]:
    """Reads the columns at fresh positions and checks their paths; the claims that the rows encode to them."""
    seed = grinding_seed(receiver.transcript)
    if not grinding_holds(seed, receiver.raw("query nonce", 8), grinding_bits):
        raise Rejected(STEP, "a query nonce does not hold")
    draw = receiver.transcript.positions
    drawn = [draw(f"{m.opened.label} positions", m.opened.queries, m.opened.shape.n) for m in matrices]
    out = []
    for m, positions in zip(matrices, drawn, strict=True):
        label, shape = m.opened.label, m.opened.shape
        columns = receiver.base_array(f"{label} columns", len(positions) * shape.height)
        columns = columns.reshape(len(positions), shape.height)
        path = receiver.raw(f"{label} path", DIGEST * proof_length(shape.log_n, positions))
        digests = np.frombuffer(path, np.uint8).reshape(-1, DIGEST)
        if not verify_multiproof(m.root, shape.log_n, positions, hash_columns(columns), digests):
            raise Rejected(STEP, f"an opened column of '{label}' is not under the root")
        for word, weights in zip(m.opened.places, m.every, strict=True):
            out.append(Claim(PowerWeights.of(word, shape.log_n, positions), bind_opened(columns, shape, weights)))
    return out
