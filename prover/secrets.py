"""Randomness that hides: uniform elements of F and K from 32 bytes of the operating system.

Every proof and every key draws its own bytes when it needs them, never before: nothing is kept that a forked process or
the next proof could use again. ``bound_to`` is hashed in, so that not even an operating system that repeats itself
(a virtual machine that is set back) gives two different statements or witnesses the same pads.

The stream is the extended output of BLAKE3. A word of p or more is skipped, which happens to one of 2^32.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np
from blake3 import blake3

from syurmy.prover.field import U64, P

SEED = 32  # bytes


class Secrets:
    """A stream of uniform elements."""

    def __init__(self, seed: bytes) -> None:
        self._stream = blake3(b"syurmy-vm secrets" + seed)
        self._at = 0

    @staticmethod
    def fresh(bound_to: Iterable[bytes]) -> Secrets:
        """From new bytes of the operating system."""
        return Secrets.seeded(os.urandom(SEED), bound_to)

    @staticmethod
    def seeded(seed: bytes, bound_to: Iterable[bytes]) -> Secrets:
        """From a seed that is kept secret."""
        bound = b"".join(blake3(part).digest() for part in bound_to)
        return Secrets(seed + bound)

    def elements(self, count: int) -> U64:
        """``uint64[count]``, uniform in F."""
        parts: list[U64] = []
        missing = count
        while missing > 0:
            data = self._stream.digest(length=8 * missing, seek=self._at)
            self._at += 8 * missing
            words = np.frombuffer(data, "<u8").astype(np.uint64)
            parts.append(words[words < P])
            missing -= len(parts[-1])
        return np.concatenate(parts) if parts else np.zeros(0, np.uint64)

    def ext(self, count: int) -> U64:
        """``uint64[2, count]``, uniform in K."""
        return self.elements(2 * count).reshape(2, count)
