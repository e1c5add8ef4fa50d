"""Grinding: a nonce that costs the prover 2^GRINDING_BITS hashes, where many leaves would leave fewer than 100 bits."""

from __future__ import annotations

import struct

from blake3 import blake3

from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.transcript import Transcript

GRINDING_BITS = 16
GRINDING_LEAVES = 2**24  # more leaves than this need the grinding bits to stay at 100


def needs_grinding(plan: Plan) -> bool:
    return plan.used_leaves > GRINDING_LEAVES


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
