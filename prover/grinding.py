"""The prover's search for a grinding nonce (protocol/grinding.py), 16 candidates at a time."""

from __future__ import annotations

import numpy as np

from syurmy.prover.kernels.blake3 import nonce_kernel, words_of
from syurmy.prover.kernels.pool import for_ranges
from syurmy.prover.protocol.grinding import GRINDING_KEY

FEWEST = 1 << 13  # candidates of a thread: 70 us
AHEAD = 2  # log2 of how many times as often a nonce is looked for as one call tries candidates


def grinding_nonce(seed: bytes, bits: int) -> bytes:
    """The smallest nonce of 8 bytes that holds, 0 < bits <= 32."""
    count = max(FEWEST, 1 << max(0, bits - AHEAD))
    args = np.frombuffer(seed, "<u4").astype(np.uint32), words_of(GRINDING_KEY), np.uint64((1 << bits) - 1)
    start = 0
    while True:
        found = for_ranges(nonce_kernel, count, *args, np.uint64(start), min_chunk=FEWEST)
        if holding := [i for i in found if i >= 0]:  # in the order of the ranges
            return (start + int(holding[0])).to_bytes(8, "little")
        start += count
