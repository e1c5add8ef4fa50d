"""The prover's search for a grinding nonce (protocol/grinding.py), many candidates at a time."""

from __future__ import annotations

import numpy as np

from syurmy.prover.kernels.blake3 import hash_into
from syurmy.prover.protocol.grinding import GRINDING_KEY

FEWEST, MOST = 12, 14  # log2 of the candidates at a time: their messages and digests stay in the second-level cache


def grinding_nonce(seed: bytes, bits: int) -> bytes:
    """The smallest nonce of 8 bytes that holds, 0 < bits <= 32."""
    count = 1 << min(max(FEWEST, bits - 2), MOST)
    messages, digests = np.zeros((count, 6), np.uint32), np.empty((count, 8), np.uint32)
    messages[:, :4] = np.frombuffer(seed, "<u4")
    messages[:, 4] = np.arange(count)
    mask = np.uint32((1 << bits) - 1)
    first = 0
    while True:
        hash_into(messages, GRINDING_KEY, digests)
        found = np.flatnonzero((digests[:, 0] & mask) == 0)
        if len(found):
            return (first + int(found[0])).to_bytes(8, "little")
        first += count
        messages[:, 4] += np.uint32(count)
        messages[:, 5] = first >> 32
