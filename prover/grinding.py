"""The prover's search for a grinding nonce (protocol/grinding.py), many candidates at a time."""

from __future__ import annotations

import numpy as np

from syurmy.prover.kernels.blake3 import hash_messages
from syurmy.prover.protocol.grinding import GRINDING_KEY

FEWEST, MOST = 12, 16  # log2 of the candidates at a time: for several threads a quarter of those that it takes


def grinding_nonce(seed: bytes, bits: int) -> bytes:
    """The smallest nonce of 8 bytes that holds, 0 < bits <= 32."""
    count = 1 << min(max(FEWEST, bits - 2), MOST)
    messages = np.zeros((count, 6), np.uint32)
    messages[:, :4] = np.frombuffer(seed, "<u4")
    mask = np.uint32((1 << bits) - 1)
    first = 0
    while True:
        nonces = np.arange(first, first + count, dtype=np.uint64)
        messages[:, 4:] = nonces.astype("<u8").view(np.uint32).reshape(-1, 2)
        found = np.flatnonzero((hash_messages(messages, GRINDING_KEY)[:, 0] & mask) == 0)
        if len(found):
            return int(nonces[found[0]]).to_bytes(8, "little")
        first += count
