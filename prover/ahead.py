"""Rounds of a sumcheck on a device without the host between them: challenges are drawn there (kernels/challenges.py).

The host gets all messages at once, hashes them with its own transcript, and compares every challenge: what a proof
rests on is still drawn by one transcript. The last rounds are one launch of one block (kernels/rounds.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from syurmy import gpu
from syurmy.gpu.arrays import Scalars
from syurmy.prover.field import U64, ZERO, Ext
from syurmy.prover.kernels.challenges import LONGEST, product_kernel, round_kernel
from syurmy.prover.kernels.moves import cut_kernel
from syurmy.prover.kernels.pool import added, for_ranges
from syurmy.prover.kernels.rounds import lookup_rounds, product_rounds
from syurmy.prover.kernels.vectors import filled
from syurmy.prover.protocol.transcript import Sender, _head

if TYPE_CHECKING:
    from syurmy.gpu.grid import Grid


Part = tuple[gpu.Array, int, int]  # planes, and of each how many entries from where on


class OtherChallenge(AssertionError):
    """The device drew another challenge than the transcript."""


class Ahead:
    """``labels`` of message and challenge; ``words`` of a message; ``before``: the challenge before the first round;
    ``claim``: the running one; ``room``: words that come down with the messages; ``more``: what else the rounds read,
    which goes up with it (``self.more``)."""

    def __init__(
        self,
        memory: gpu.Memory,
        sender: Sender,
        labels: tuple[str, str],
        rounds: int,
        words: int,
        more: Sequence[Any],
        before: Ext = ZERO,
        claim: Ext = ZERO,
        room: int = 0,
    ) -> None:
        self.sender, self.labels = sender, labels
        text, self.behind = around(labels, 8 * words)
        end = (rounds + 1) * (words + 2)
        answers = np.zeros(end + 2 + room, np.uint64)
        answers[words : words + 2], answers[end : end + 2] = (before.a, before.b), (claim.a, claim.b)
        state = state_of(sender)
        pads = _pads(sender, rounds, words)
        parts = cast("Grid", memory).together(answers, state, text, pads, *more)
        self._answers, self.state, self.text, self.pads, *self.more = parts
        self.out = self._answers[:end].reshape(rounds + 1, words + 2)
        self.claim = self._answers[end : end + 2]

    def x(self, i: int) -> Scalars:
        """The challenge of round i."""
        return Scalars(self.out[i + 1, self.out.shape[1] - 2 : self.out.shape[1]])

    def sent(self, parts: Sequence[Part] = ()) -> tuple[list[Ext], Ext, list[U64]]:
        """Sends the messages; the challenges, the claim and, of arrays, parts. Raises ``OtherChallenge``."""
        end = self.out.size
        places = list(accumulate((len(planes) * count for planes, _, count in parts), initial=end + 2))
        for at, (planes, first, count) in zip(places, parts, strict=False):
            n = len(planes) * count
            for_ranges(cut_kernel, n, planes, first, self._answers[at : at + n].reshape(len(planes), count))
        found, answers = [], gpu.download(self._answers)
        for row in answers[:end].reshape(self.out.shape)[1:].tolist():
            *message, x = (Ext(a, b) for a, b in zip(row[::2], row[1::2], strict=True))
            self.sender.ext(self.labels[0], message)
            found.append(self.sender.transcript.challenge(self.labels[1]))
            if found[-1] != x:
                raise OtherChallenge(f"another challenge in round {len(found)} of '{self.labels[0]}'")
        a, b = answers[end : end + 2].tolist()
        read = [answers[at:after].reshape(-1, p[2]) for at, after, p in zip(places, places[1:], parts, strict=False)]
        return found, Ext(a, b), read


class LookupRounds(Ahead):
    """``constants``: of each round, scale, shift and inverse."""

    def __init__(
        self,
        memory: gpu.Memory,
        sender: Sender,
        labels: tuple[str, str],
        claim: Ext,
        constants: Sequence[Sequence[Ext]],
        room: int = 0,
    ) -> None:
        count = len(constants)
        super().__init__(memory, sender, labels, count, 4, [element_words(constants)], claim=claim, room=room)
        (self.constants,) = self.more
        self.sums = filled(memory.empty((count, 2, 2, 4)), 0)

    def main(self, i: int) -> Sums:
        """Where the sums of round i go, which are scaled and shifted."""
        return Sums(self.sums[i, 0])

    def added(self, i: int) -> Sums:
        """Where what is added to them goes."""
        return Sums(self.sums[i, 1])

    def finish(self, i: int) -> None:
        """The message and the challenge of round i."""
        for_ranges(
            round_kernel, 1, self.sums[i, 0], self.sums[i, 1], self.constants[i], self.pads[i], self.text, self.behind,
            self.state, self.claim, self.out[i + 1],
        )  # fmt: skip

    def last(self, first: int, *work: Any) -> None:
        """The rounds from ``first`` on, at once. ``work``: what ``lookup_rounds`` has before the sums."""
        for_ranges(
            lookup_rounds, 1, *work, self.sums, self.constants, self.pads, self.text, self.behind, self.state,
            self.claim, self.out, first,
        )  # fmt: skip


class ProductRounds(Ahead):
    """``constants``: three elements of each round, which are added to its sums; ``words`` of a message: twice as many
    as it has elements."""

    def __init__(
        self,
        memory: gpu.Memory,
        sender: Sender,
        labels: tuple[str, str],
        words: int,
        before: Ext,
        constants: Sequence[Sequence[Ext]],
        more: Sequence[Any],
    ) -> None:
        count = len(constants)
        super().__init__(memory, sender, labels, count, words, [element_words(constants), *more], before=before)
        self.constants, *self.more = self.more
        self.sums = filled(memory.empty((count, 2, 6)), 0)

    def main(self, i: int) -> Sums:
        """Where the sums of round i go."""
        return Sums(self.sums[i])

    def finish(self, i: int) -> None:
        """The message and the challenge of round i."""
        for_ranges(
            product_kernel, 1, self.sums[i], self.constants[i], self.pads[i], self.text, self.behind, self.state,
            self.out[i + 1],
        )  # fmt: skip

    def last(self, first: int, left: int, entered: gpu.Array, *work: Any) -> None:
        """The rounds from ``first`` on, at once, when ``left`` are left. ``entered``: how many instances are in each
        round; ``work``: the workspace, and what a round needs of it."""
        for_ranges(
            product_rounds, 1, *work, entered, self.sums, self.constants, self.pads, self.text, self.behind,
            self.state, self.out, first, left,
        )  # fmt: skip


class Sums:
    """Words that kernels on a device add to, as halves: ``uint64[2, n]``."""

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


def as_now(sender: Sender) -> Callable[[], None]:
    """What takes back all that a sender is going to send, and what its transcript absorbs of it."""
    kept = [(o, {k: v.copy() if isinstance(v, list | blake3) else v for k, v in vars(o).items()})
            for o in (sender, sender.transcript)]  # fmt: skip

    def back() -> None:
        for o, before in kept:
            vars(o).update(before)

    return back


def element_words(rows: Sequence[Sequence[Ext]]) -> U64:
    """``uint64[rounds, 6]`` of three elements each."""
    return np.array([[w for x in row for w in (x.a, x.b)] for row in rows], np.uint64).reshape(len(rows), 6)


def around(labels: tuple[str, str], size: int) -> tuple[npt.NDArray[np.uint8], int]:
    """What is hashed before and after a message of ``size`` bytes, and how much of it is before."""
    head = _head(b"A", labels[0]) + size.to_bytes(8, "little")
    tail = _head(b"C", labels[1]) + (64).to_bytes(8, "little")
    if 32 + len(head) + size + len(tail) > LONGEST:
        raise ValueError("labels that are too long")
    return np.array([*head, *tail], np.uint8), len(head)


def state_of(sender: Sender) -> npt.NDArray[np.uint32]:
    """Of the transcript, which has absorbed nothing since its last challenge; ``uint32[8]``, a copy."""
    transcript = sender.transcript
    if transcript._buffer.digest() != blake3(transcript._state).digest():
        raise ValueError("something was absorbed since the last challenge")
    return np.frombuffer(transcript._state, "<u4").astype(np.uint32)


def _pads(sender: Sender, count: int, words: int) -> Any:
    """Those under the next messages, ``uint64[count, words]``."""
    out = np.zeros((count, words), np.uint64)
    if sender._pads is not None:
        elements = count * words // 2
        out[:] = sender._pads[:, sender._padded : sender._padded + elements].T.reshape(count, words)
    return out
