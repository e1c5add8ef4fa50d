"""The batched product sumcheck, verifier's side (statement and messages: prover/sumcheck.py).

Soundness: the caller must compare the returned value with sum c_i * 2^(n_i - rounds) * product of the claimed
evaluations of instance i at the last n_i elements of the point, and must settle those evaluations. Error
degree*rounds/|K|.
"""

from __future__ import annotations

from collections.abc import Sequence

from syurmy.prover.field import ONE, Ext
from syurmy.prover.protocol.hidden import Value, combination
from syurmy.prover.protocol.mle import lagrange
from syurmy.prover.protocol.transcript import Receiver


def verify(receiver: Receiver, label: str, target: Value, rounds: int, degree: int) -> tuple[list[Ext], Value]:
    """Reads the rounds; the point and the final value to compare. A round cannot fail by itself: p(1) = target -
    p(0).
    """
    point: list[Ext] = []
    read: list[Sequence[Value]] = []
    for _ in range(rounds):
        read.append(receiver.ext(f"{label} round", max(1, degree)))
        point.append(receiver.transcript.challenge(f"{label} challenge"))
    # no challenge depends on a target but through what is read, so the targets are put together at the end: each is the
    # last one times the weight of p(1), and what was sent times others
    parts: list[tuple[Value, Ext]] = []
    scale = ONE
    for sent, x in zip(reversed(read), reversed(point), strict=True):
        at_0, at_1, *others = lagrange(max(1, degree), x)
        factors = [at_0 - at_1, *others]
        parts += [(v, w * scale) for v, w in zip(sent, factors, strict=True)]
        scale = scale * at_1
    return point, combination([(target, scale), *parts])
