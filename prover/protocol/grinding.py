"""Grinding: a nonce that costs the prover about 2^bits hashes, so that a challenge drawn after it is not tried for
free.

Lookups grind where they would take too much of the budget. Every draw of positions grinds, by as many bits as the size
of the plan hides in its time, and saves queries: a phase that misses with probability e counts e * 2^-bits. In large
plans the first phase, whose columns are the longest, grinds more.
"""

from __future__ import annotations

import struct
from fractions import Fraction

from blake3 import blake3

from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.soundness import TARGET_BITS, logup
from syurmy.prover.protocol.transcript import Transcript

GRINDING_BITS = 16
GRINDING_ERROR = Fraction(1, 1 << (TARGET_BITS + 2))  # of the lookups, more than a quarter of the whole budget
GRINDING_LEAVES = 2**17
QUERY_GRINDING_BITS = ((0, 12, 12), (GRINDING_LEAVES, 16, 16), (2**20, 18, 16))  # from leaves, first phase, later ones
GRINDING_KEY = blake3(b"syurmy-vm grinding v2").digest()


def needs_grinding(plan: Plan) -> bool:
    return logup(plan.used_leaves, plan.width) > GRINDING_ERROR


def query_grinding_bits(plan: Plan) -> tuple[int, int]:
    """Of the phase that opens witness, params and committed tensors, and of every later one. Committed tensors are
    small, and add phases: with them it pays in small plans, too."""
    leaves = max(plan.used_leaves, GRINDING_LEAVES if plan.system.externals else 0)
    return [(first, later) for least, first, later in QUERY_GRINDING_BITS if leaves >= least][-1]


def grinding_seed(transcript: Transcript) -> bytes:
    """What a nonce is found for: a challenge, 16 bytes."""
    seed = transcript.challenge("grinding seed")
    return struct.pack("<QQ", seed.a, seed.b)


def grinding_holds(seed: bytes, nonce: bytes, bits: int) -> bool:
    """Are the lowest ``bits`` of the keyed hash of seed and nonce zero?"""
    digest = blake3(seed + nonce, key=GRINDING_KEY).digest()
    return int.from_bytes(digest[:8], "little") & ((1 << bits) - 1) == 0
