"""The batched product sumcheck, verifier's side (statement and messages: prover/sumcheck.py).

Soundness: the caller must compare the returned value with sum c_i * 2^(n_i - rounds) * product of the claimed
evaluations of instance i at the last n_i elements of the point, and must settle those evaluations. Error
degree*rounds/|K|.
"""

from __future__ import annotations

from syurmy.prover.field import Ext
from syurmy.prover.protocol.hidden import Value
from syurmy.prover.protocol.mle import interpolate
from syurmy.prover.protocol.transcript import Receiver


def verify(receiver: Receiver, label: str, target: Value, rounds: int, degree: int) -> tuple[list[Ext], Value]:
    """Reads the rounds; the point and the final value to compare. A round cannot fail by itself: p(1) = target -
    p(0).
    """
    point: list[Ext] = []
    for _ in range(rounds):
        sent = receiver.ext(f"{label} round", max(1, degree))
        values = [sent[0], target - sent[0], *sent[1:]]
        x = receiver.transcript.challenge(f"{label} challenge")
        target = interpolate(values, x)
        point.append(x)
    return point, target
