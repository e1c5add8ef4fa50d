"""Grinding: a nonce that costs the prover 2^GRINDING_BITS hashes, where lookups would take too much of the budget."""

from __future__ import annotations

import struct
from fractions import Fraction

from blake3 import blake3

from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.soundness import TARGET_BITS, logup
from syurmy.prover.protocol.transcript import Transcript

GRINDING_BITS = 16
GRINDING_ERROR = Fraction(1, 1 << (TARGET_BITS + 2))  # of the lookups, more than a quarter of the whole budget


def needs_grinding(plan: Plan) -> bool:
    return logup(plan.used_leaves, plan.width) > GRINDING_ERROR


def grinding_nonce(transcript: Transcript, bits: int) -> bytes:
    """The smallest nonce that the transcript's state accepts."""
    seed = transcript.challenge("grinding seed")
    nonce = 0
    while not grinding_holds((seed.a, seed.b), nonce.to_bytes(8, "little"), bits):
        nonce += 1
    return nonce.to_bytes(8, "little")


def grinding_holds(seed: tuple[int, int], nonce: bytes, bits: int) -> bool:
    digest = blake3(struct.pack("<QQ", *seed) + nonce).digest()
    return int.from_bytes(digest[:8], "little") & ((1 << bits) - 1) == 0
