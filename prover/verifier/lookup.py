"""LogUp-GKR, verifier's side (equation, messages and soundness error: prover/lookup.py).

Soundness: the two nodes under the root must give P*alpha = padding*Q, and every further layer's claim must equal the
gate at the values sent. Q != 0 is not asked: prover/lookup.py. The caller must settle the two claims at the leaves,
extended by 0/1, must have drawn alpha and the betas after all members and multiplicities were fixed, and must have
bounded the sum of multiplicities below p.
"""

from __future__ import annotations

from syurmy.prover.field import Ext
from syurmy.prover.protocol import layout
from syurmy.prover.protocol.hidden import TREE, Value, combination
from syurmy.prover.protocol.transcript import Receiver

STEP = "lookup"


def verify_tree(receiver: Receiver, log_size: int, alpha: Ext, padding: int) -> tuple[list[Ext], Value, Value]:
    """Reads the layers; the point and the claims num(point), den(point) on 2^log_size leaves, log_size > 0.

    The point is that of the leaves in their order (protocol/layout.py). ``padding`` counts the padded leaves, each
    +1/alpha.
    """
    values = p0, p1, q0, q1 = receiver.ext("lookup values", 4)
    total, product = receiver.products(values, TREE)
    reason = "the root is not the sum of the padded leaves: lookups and tables do not balance"
    receiver.zero(total * alpha - product * padding, STEP, reason)
    mu = receiver.transcript.challenge("lookup merge")
    point, p, q = [mu], p0 + (p1 - p0) * mu, q0 + (q1 - q0) * mu
    for k in range(1, log_size):
        factor = receiver.transcript.challenge("lookup lambda")
        parts: list[tuple[Value, Ext]] = [(q, factor)]
        x: list[Ext] = []
        for r in point:
            slope, top = receiver.ext("lookup round", 2)
            t = receiver.transcript.challenge("lookup challenge")
            parts += [(slope, t - r), (top, t * (t - 1))]
            x.append(t)
        claim = combination(parts, p)
        values = p0, p1, q0, q1 = receiver.ext("lookup values", 4)
        total, product = receiver.products(values, TREE)
        reason = f"layer {k} sumcheck: the values sent do not satisfy the last claim"
        receiver.zero(claim - total - product * factor, STEP, reason)
        mu = receiver.transcript.challenge("lookup merge")
        point, p, q = [mu, *x], p0 + (p1 - p0) * mu, q0 + (q1 - q0) * mu
    return layout.leaf_point(point), p, q
