"""The last rounds of a layer of the lookups' tree on a processor, which draws their challenges in one call
(kernels/layer.py); what was sent is then the sender's, and the transcript goes on from the kernel's state.

A wrong challenge would make a proof that is rejected; the tests compare all of them with the transcript's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from blake3 import blake3

from syurmy.isa.arrays import I64
from syurmy.prover.ahead import around, state_of
from syurmy.prover.field import U64, Ext, ext_array
from syurmy.prover.kernels.layer import layer_rounds
from syurmy.prover.kernels.pool import for_ranges
from syurmy.prover.protocol.hidden import TREE
from syurmy.prover.protocol.transcript import Sender

ROUND, VALUES = ("lookup round", "lookup challenge"), ("lookup values", "lookup merge")


TEXTS = (*around(ROUND, 32), *around(VALUES, 64))
NO_PADS = np.zeros((2, 0), np.uint64)


def last_rounds(
    sender: Sender, layer: U64, space: Sequence[U64], apart: I64, factor: Ext, r: U64, x: list[Ext], claim: Ext
) -> tuple[list[Ext], Ext, Ext]:
    """The rounds after the challenges ``x`` of a layer at r ``uint64[2, rounds]``, and its values: the next claims'
    point, and these. ``layer``, ``space``, ``apart``: as of ``layer_rounds``."""
    transcript, first, rounds = sender.transcript, len(x), r.shape[1]
    point, out = np.empty((2, rounds + 1), np.uint64), np.empty((rounds + 1, 10), np.uint64)
    if x:
        point[:, 1 : first + 1] = ext_array(x)
    state = state_of(sender)
    claims = np.array([claim.a, claim.b, 0, 0], np.uint64)
    pads, padded = NO_PADS, 0
    if sender._pads is not None:
        pads, padded = sender._pads, 2 * (rounds - first) + 4
        if sender._padded + padded > pads.shape[1]:  # the kernel would read on, or take none for nothing to hide
            raise ValueError("there are fewer pads than messages")
    for_ranges(
        layer_rounds, 1, layer, *space, apart, first, np.uint64(factor.a), np.uint64(factor.b), r, point, claims, pads,
        sender._padded, *TEXTS, state, out,
    )  # fmt: skip
    sender.skip_pads(padded + len(TREE))
    for j in range(first, rounds):
        _sent(sender, ROUND, out[j, :4], x, out[j, 4:6].tolist())
    mu: list[Ext] = []
    _sent(sender, VALUES, out[rounds, :8], mu, out[rounds, 8:].tolist())
    transcript._state = state.astype("<u4").tobytes()
    transcript._buffer = blake3(transcript._state)
    p0, p1, q0, q1 = claims.tolist()
    return mu + x, Ext(p0, p1), Ext(q0, q1)


def _sent(sender: Sender, labels: tuple[str, str], words: U64, challenges: list[Ext], drawn: list[int]) -> None:
    """What ``Sender.raw`` and ``Transcript.challenge`` keep of a message and its challenge."""
    transcript, size = sender.transcript, 8 * len(words)
    challenges.append(Ext(*drawn))
    transcript.history.append(challenges[-1])
    transcript.log += ("absorb", labels[0], size), ("challenge", labels[1], 64)
    sender.fields.append((labels[0], sender._size, size))
    sender._parts.append(words.astype("<u8").tobytes())
    sender._size += size
