"""Rounds of sumchecks on a processor whose challenges are drawn in one call (kernels/layer.py, kernels/tail.py); what
was sent is then the sender's, and the transcript goes on from the kernel's state.

A wrong challenge would make a proof that is rejected; the tests compare all of them with the transcript's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from blake3 import blake3

from syurmy.isa.arrays import I64
from syurmy.prover.ahead import around, state_of
from syurmy.prover.field import U64, Ext, ext_array
from syurmy.prover.kernels.layer import layer_rounds
from syurmy.prover.kernels.pool import for_ranges
from syurmy.prover.protocol.hidden import TREE
from syurmy.prover.protocol.transcript import Sender, _head

Labels = tuple[str, str]
ROUND, VALUES, FACTOR = ("lookup round", "lookup challenge"), ("lookup values", "lookup merge"), "lookup lambda"
TEXTS = (*around(ROUND, 32), *around(VALUES, 64))
DRAWN = np.frombuffer(_head(b"C", FACTOR) + (64).to_bytes(8, "little"), np.uint8).copy()
NO_PADS = np.zeros((2, 0), np.uint64)


class Messages:
    """What a kernel sends in a sender's place: the transcript's ``state``, which it replaces, ``pads`` from ``at`` on,
    of ``elements`` that are sent, and ``out`` ``uint64[*, width]``, by message its words and its challenge. Raises
    ``ValueError`` where there are fewer pads: the kernel would read on, or take none for nothing to hide."""

    def __init__(self, sender: Sender, elements: int, messages: int, width: int) -> None:
        self.sender, self.elements = sender, elements
        self.state = state_of(sender)
        self.pads, self.at = NO_PADS, sender._padded
        if sender._pads is not None:
            self.pads = np.ascontiguousarray(sender._pads)  # another layout would be another kernel
            if self.at + elements > self.pads.shape[1]:
                raise ValueError("there are fewer pads than messages")
        self.out = np.empty((messages, width), np.uint64)

    def sent(self, kinds: Sequence[tuple[Labels, int]]) -> list[Ext]:
        """After the kernel: what ``Sender.raw`` and ``Transcript.challenge`` keep of messages of these labels and so
        many words each, 0 where only a challenge was drawn; the challenges."""
        sender, transcript = self.sender, self.sender.transcript
        sender.skip_pads(self.elements)
        drawn: list[Ext] = []
        for row, words, (labels, count) in zip(self.out.astype("<u8"), self.out.tolist(), kinds, strict=True):
            drawn.append(Ext(words[count], words[count + 1]))
            if count:
                size = 8 * count
                transcript.log.append(("absorb", labels[0], size))
                sender.fields.append((labels[0], sender._size, size))
                sender._parts.append(row[:count].tobytes())
                sender._size += size
            transcript.log.append(("challenge", labels[1], 64))
        transcript.history += drawn
        transcript._state = self.state.astype("<u4").tobytes()
        transcript._buffer = blake3(transcript._state)
        return drawn


def last_rounds(
    sender: Sender, space: Sequence[U64], apart: I64, factor: Ext, r: U64, x: list[Ext], claim: Ext
) -> tuple[list[Ext], Ext, Ext]:
    """The rounds after the challenges ``x`` of a layer at r ``uint64[2, rounds]``, and its values: the next claims'
    point, and these. ``space``, ``apart``: the workspaces and the distances of ``layer_rounds``."""
    first, rounds = len(x), r.shape[1]
    messages = Messages(sender, 2 * (rounds - first) + 4, rounds - first + 1, 10)
    point = np.empty((2, rounds + 1), np.uint64)
    point[:, 1 : first + 1] = ext_array(x)
    a, b = (w.reshape(-1) for w in space)
    places = np.array([[0, a.size, 0, b.size]], np.int64)
    claims = np.array([claim.a, claim.b, 0, 0], np.uint64)
    factors = np.array([factor.a, factor.b], np.uint64)
    _run(messages, a, b, places, apart, first, False, factors, r, point, claims)
    *drawn, mu = messages.sent([(ROUND, 4)] * (rounds - first) + [(VALUES, 8)])
    sender.skip_pads(len(TREE))
    p0, p1, q0, q1 = claims.tolist()
    return [mu, *x, *drawn], Ext(p0, p1), Ext(q0, q1)


def top_layers(
    sender: Sender, memory: U64, places: I64, apart: I64, point: Sequence[Ext], p: Ext, q: Ext
) -> tuple[list[Ext], Ext, Ext]:
    """Layers one after the other, the first at a point with as many rounds, from its claims p, q; ``memory``,
    ``places``, ``apart``: as of ``layer_rounds``."""
    first, layers = len(point), len(places)
    every = [first + k for k in range(layers)]
    elements = sum(2 * rounds + 4 + len(TREE) for rounds in every)
    messages = Messages(sender, elements - len(TREE), sum(every) + 2 * layers, 10)
    next_point = np.empty((2, first + layers), np.uint64)
    claims = np.array([p.a, p.b, q.a, q.b], np.uint64)
    factors, r = np.empty(2, np.uint64), ext_array(point)
    _run(messages, memory, memory, places, apart, 0, True, factors, r, next_point, claims)
    messages.sent([kind for rounds in every for kind in ((("", FACTOR), 0), *[(ROUND, 4)] * rounds, (VALUES, 8))])
    sender.skip_pads(len(TREE))
    p0, p1, q0, q1 = claims.tolist()
    return [Ext(a, b) for a, b in next_point.T.tolist()], Ext(p0, p1), Ext(q0, q1)


def _run(messages: Messages, a: U64, b: U64, *more: Any) -> None:
    m = messages
    for_ranges(layer_rounds, 1, a, b, *more, m.pads, m.at, len(TREE), *TEXTS, DRAWN, m.state, m.out)
