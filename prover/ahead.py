"""Rounds of a sumcheck on a device without the host between them: challenges are drawn there (kernels/challenges.py).

The host gets all messages of a layer at once, hashes them with its own transcript, and compares every challenge: what a
proof rests on is still drawn by one transcript.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from blake3 import blake3

from syurmy import gpu
from syurmy.gpu.arrays import Scalars
from syurmy.prover.field import ZERO, Ext
from syurmy.prover.kernels.challenges import round_kernel
from syurmy.prover.kernels.pool import added, for_ranges
from syurmy.prover.kernels.vectors import filled
from syurmy.prover.protocol.transcript import Sender


class OtherChallenge(AssertionError):
    """The device drew another challenge than the transcript."""


class Ahead:
    """``constants``: of each round, scale, shift and inverse (kernels/challenges.py); the labels of message and
    challenge; ``claim``: the running one."""

    def __init__(
        self,
        memory: gpu.Memory,
        sender: Sender,
        labels: tuple[str, str],
        claim: Ext,
        constants: Sequence[Sequence[Ext]],
    ) -> None:
        count = len(constants)
        self.sender, self.labels = sender, labels
        self.claim = memory.upload(np.array([claim.a, claim.b], np.uint64))
        self.state = memory.upload(np.frombuffer(_state(sender), "<u4").astype(np.uint32))
        words = [[w for x in row for w in (x.a, x.b)] for row in constants]
        self.constants = memory.upload(np.array(words, np.uint64).reshape(count, 6))
        self.pads = memory.upload(_pads(sender, count))
        before = b"A" + _label(labels[0]) + (32).to_bytes(8, "little")
        after = b"C" + _label(labels[1]) + (64).to_bytes(8, "little")
        if len(before) + len(after) > 64:
            raise ValueError("labels that are too long")
        self.text = memory.upload(np.frombuffer(before + after, np.uint8))
        self.behind = len(before)
        self.sums = filled(memory.empty((count, 2, 2, 4)), 0)
        self.out = memory.empty((count, 6))

    def main(self, i: int) -> Sums:
        """Where the sums of round i go, which are scaled and shifted."""
        return Sums(self.sums[i, 0])

    def more(self, i: int) -> Sums:
        """Where what is added to them goes."""
        return Sums(self.sums[i, 1])

    def x(self, i: int) -> Scalars:
        """The challenge of round i."""
        return Scalars(self.out[i, 4:6])

    def finish(self, i: int) -> None:
        """The message and the challenge of round i."""
        for_ranges(
            round_kernel, 1, self.sums[i, 0], self.sums[i, 1], self.constants[i], self.pads[i], self.text, self.behind,
            self.state, self.claim, self.out[i],
        )  # fmt: skip

    def sent(self) -> tuple[list[Ext], Ext]:
        """Sends the messages; the challenges and the claim. Raises ``OtherChallenge``."""
        found = []
        for a, b, c, d, x0, x1 in gpu.download(self.out).tolist():
            self.sender.ext(self.labels[0], [Ext(a, b), Ext(c, d)])
            found.append(self.sender.transcript.challenge(self.labels[1]))
            if found[-1] != Ext(x0, x1):
                raise OtherChallenge(f"another challenge in round {len(found)} of '{self.labels[0]}'")
        a, b = gpu.download(self.claim).tolist()
        return found, Ext(a, b)


class Sums:
    """Four words that kernels on a device add to, as halves: ``uint64[2, 4]``."""

    def __init__(self, there: gpu.Array) -> None:
        self.there = there

    def __call__(self, kernel: Any, n: int, *args: Any) -> None:
        self.there.memory.add_sums(kernel, n, args, self.there)


class Now:
    """Two elements that kernels add to, known at once."""

    def __init__(self, least: int) -> None:
        self.low, self.top, self._least, self._first = ZERO, ZERO, least, True

    def __call__(self, kernel: Any, n: int, *args: Any) -> None:
        parts = for_ranges(kernel, n, *args, min_chunk=self._least)
        a, b, c, d = added(parts)
        low, top = Ext(a, b), Ext(c, d)
        self.low, self.top = (low, top) if self._first else (self.low + low, self.top + top)
        self._first = False


def _label(label: str) -> bytes:
    name = label.encode()
    return len(name).to_bytes(2, "little") + name


def _state(sender: Sender) -> bytes:
    """Of the transcript, which has absorbed nothing since its last challenge."""
    transcript = sender.transcript
    if transcript._buffer.digest() != blake3(transcript._state).digest():
        raise ValueError("something was absorbed since the last challenge")
    return transcript._state


def _pads(sender: Sender, count: int) -> Any:
    """Those under the next 2*count elements that are sent, ``uint64[count, 4]``."""
    out = np.zeros((count, 4), np.uint64)
    if sender._pads is not None:
        out[:] = sender._pads[:, sender._padded : sender._padded + 2 * count].T.reshape(count, 4)
    return out
