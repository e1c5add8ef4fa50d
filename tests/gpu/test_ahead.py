"""Challenges that a device draws are those of the transcript."""

from __future__ import annotations

import numpy as np
import pytest

from syurmy import gpu
from syurmy.prover import ahead
from syurmy.prover.field import Ext, P
from syurmy.prover.kernels import mle, pool
from syurmy.prover.protocol.transcript import Sender, Transcript
from tests.gpu.common import Apart


def ext(draw: np.random.Generator) -> Ext:
    a, b = draw.integers(0, P, 2, np.uint64).tolist()
    return Ext(a, b)


@pytest.mark.parametrize("labels", [("lookup round", "lookup challenge"), ("m", "c"), ("a" * 60, "b" * 60)])
@pytest.mark.parametrize("hiding", [True, False], ids=["hiding", "no-zk"])
def test_rounds_on_a_device_are_those_of_the_transcript(labels: tuple[str, str], hiding: bool) -> None:
    draw, backend = np.random.default_rng(8), Apart()
    vectors = draw.integers(0, P, (4, 2, 300), np.uint64)
    constants = [[ext(draw) for _ in range(3)] for _ in range(4)]
    pads = draw.integers(0, P, (2, 8), np.uint64)
    claim = ext(draw)
    senders = []
    for _ in range(2):
        senders.append(Sender(Transcript()))
        senders[-1].transcript.absorb("statement", b"x")
        senders[-1].transcript.challenge("first")
        if hiding:
            senders[-1].pad_with(pads)
    gpu.select(backend)
    try:
        there = ahead.LookupRounds(backend, senders[0], labels, claim, constants)
        for i in range(4):
            a, b = (backend.upload(vectors[k]) for k in (i, 3 - i))
            for add, j in ((there.main(i), i), (there.added(i), 0)):
                add(four_words, 300, a, b, np.uint64(j))
            there.finish(i)
        x, last, _ = there.sent()
    finally:
        gpu.select(pool.CPU)
    expected = []
    for i, (scale, shift, inverse) in enumerate(constants):
        low, top = words(vectors[i], vectors[3 - i], i)
        more = words(vectors[i], vectors[3 - i], 0)
        low, top = scale * low - shift + more[0], scale * top + more[1]
        slope = (claim - low) * inverse
        senders[1].ext(labels[0], [slope, top])
        expected.append(senders[1].transcript.challenge(labels[1]))
        claim = low + expected[-1] * (slope + (expected[-1] - 1) * top)
    assert (x, last) == (expected, claim)
    assert senders[0].bytes() == senders[1].bytes()
    assert senders[0].transcript.challenge("next") == senders[1].transcript.challenge("next")


def four_words(a, b, j, lo, hi):
    """A sum and another, as a kernel gives them."""
    c0, c1 = mle.dot(a, b, lo, hi)
    return c0, c1, c1, j


def words(a: np.ndarray, b: np.ndarray, j: int) -> tuple[Ext, Ext]:
    c0, c1 = map(int, mle.dot(a, b, 0, a.shape[1]))
    return Ext(c0, c1), Ext(c1, j)


def test_another_challenge_is_refused() -> None:
    backend, sender = Apart(), Sender(Transcript())
    sender.transcript.challenge("first")
    gpu.select(backend)
    try:
        there = ahead.LookupRounds(backend, sender, ("m", "c"), Ext(1), [[Ext(1), Ext(0), Ext(2)]])
        there.finish(0)
        there.out.raw[1, 4] ^= np.uint64(1)
        with pytest.raises(ahead.OtherChallenge, match="round 1 of 'm'"):
            there.sent()
    finally:
        gpu.select(pool.CPU)


def test_what_was_absorbed_is_not_left_out() -> None:
    sender = Sender(Transcript())
    sender.raw("more", b"x")
    with pytest.raises(ValueError, match="absorbed since"):
        ahead.LookupRounds(Apart(), sender, ("m", "c"), Ext(1), [[Ext(1), Ext(0), Ext(2)]])
