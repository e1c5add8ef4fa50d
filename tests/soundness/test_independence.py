"""Zero knowledge by linear algebra: which combinations of a proof's elements do not depend on its randomness?

With challenges fixed, and the padded messages and those of the sacrifice fixed too, everything else that proofs send is
affine in the random words. So the derivatives of all elements by all words tell which combinations of elements no
randomness moves. There must be as many of them as a verifier knows, and they must be the same for two witnesses and two
sets of params of one statement. Two proofs under one key are taken together. The numbers of queries, and with them all
sizes, are those of a few bits of soundness; nothing else is changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import syurmy
from syurmy.prover.field import U64, P
from syurmy.prover.keys import setup
from syurmy.prover.protocol import budget, grinding, shapes, soundness
from syurmy.prover.protocol.key import Mode
from syurmy.prover.protocol.plain import mul_f, sub_f
from syurmy.prover.protocol.statement import start_transcript
from syurmy.prover.protocol.transcript import Sender
from syurmy.prover.prove import Prover
from syurmy.prover.secrets import Secrets
from tests.soundness.simulator import Programmed
from tests.soundness.test_simulator import COLUMNS, PADDED

PROOFS = 2
BITS = 2
SMALL: list[tuple[Any, str, Any]] = [
    *((module, "TARGET_BITS", BITS) for module in (soundness, budget, grinding)),
    *((module, "MAX_BITS", BITS + 8) for module in (shapes, budget)),
    (shapes, "NOMINAL_BITS", BITS),
    (shapes, "HIDING_BITS", BITS + 3),
    (shapes, "MIN_LEVEL_LOG_COLS", 2),
    (shapes, "PADS_NOMINAL", 64),
    (shapes, "MIN_ROWS", 1),
    (grinding, "QUERY_GRINDING_BITS", ((0, 1, 1),)),
]
SOURCE = """
.input x : i8[2] private in 0..1
.param w : i8[2] committed = {%s}
.output s public
    dot s, x, w
    halt
"""
UNDER_PADS = PADDED - {"level 1 round"}


class Tape(Secrets):
    """Randomness that is read again from its beginning; ``raised``: one word of it is greater by one."""

    def __init__(self) -> None:
        self.words = np.random.default_rng(1).integers(0, P, 1 << 13, dtype=np.uint64)
        self.at, self.raised = 0, -1

    def elements(self, count: int) -> U64:
        out = self.words[self.at : self.at + count].copy()
        assert len(out) == count
        if 0 <= (k := self.raised - self.at) < count:
            out[k] = (int(out[k]) + 1) % P
        self.at += count
        return out


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[Tape]:
    tape = Tape()
    for module, name, value in SMALL:
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(Secrets, "fresh", staticmethod(lambda bound_to: tape))
    for cached in (shapes.ladder, shapes.hiding_ladder):
        cached.cache_clear()
    yield tape
    for cached in (shapes.ladder, shapes.hiding_ladder):
        cached.cache_clear()


def elements(tape: Tape, weights: str, x: list[int]) -> tuple[U64, list[tuple[int, str]], Prover]:
    """What set-up and proofs give out, with the number of the proof and the label of each element."""
    tape.at = 0
    program = syurmy.assemble(SOURCE % weights)
    pk = replace(setup(program, Mode.of(program, True, PROOFS)), allowance=None)
    parts: list[U64] = []
    labels: list[tuple[int, str]] = []
    for k in range(PROOFS):
        prover = Prover(pk, syurmy.run(program, {"x": np.array(x)}))
        prover.transcript = Programmed(k)
        start_transcript(prover.transcript)
        prover.sender = Sender(prover.transcript)
        proof = prover.run()
        for label, at, size in proof.fields:
            if label in UNDER_PADS | COLUMNS | {"level 1 round", "sacrifice", "mask sum", "last vector"}:
                parts.append(np.frombuffer(proof.data, "<u8", size // 8, at).astype(np.uint64))
                labels += [(k, label)] * (size // 8)
    return np.concatenate(parts), labels, prover


def unmoved(moved: U64) -> U64:
    """A basis, ``uint64[n, d]``, of the combinations that are zero on every row of ``uint64[words, n]``."""
    a = moved.copy()
    pivots: list[int] = []
    for c in range(a.shape[1]):
        r = len(pivots)
        found = r + np.flatnonzero(a[r:, c])
        if not len(found):
            continue
        a[[r, found[0]]] = a[[found[0], r]]
        a[r, c:] = mul_f(a[r, c:], np.array([pow(int(a[r, c]), P - 2, P)], np.uint64))
        others = np.flatnonzero(a[:, c])
        others = others[others != r]
        a[others, c:] = sub_f(a[others, c:], mul_f(a[others, c, None], a[None, r, c:]))
        pivots.append(c)
    free = [c for c in range(a.shape[1]) if c not in pivots]
    out = np.zeros((a.shape[1], len(free)), np.uint64)
    out[free, range(len(free))] = 1
    out[pivots] = sub_f(np.zeros((len(pivots), len(free)), np.uint64), a[: len(pivots), free])
    return out


def values(combinations: U64, of: U64) -> list[int]:
    products = mul_f(combinations, of[:, None])
    return [sum(map(int, column)) % P for column in products.T]


@pytest.mark.slow
def test_what_is_independent_of_randomness_is_public(small: Tape) -> None:
    first, labels, prover = elements(small, "1, 0", [1, 1])
    used = small.at
    moved = np.empty((used, len(first)), np.uint64)
    for small.raised in range(used):
        moved[small.raised] = sub_f(elements(small, "1, 0", [1, 1])[0], first)
    small.raised = -1

    # every padded message has a word of its own, and every one of the sacrifice the word of a shadow
    padded = [c for c, (_, label) in enumerate(labels) if label in UNDER_PADS]
    shadowed = [c for c, (_, label) in enumerate(labels) if label == "sacrifice"]
    own = {c: np.flatnonzero(moved[:, c]) for c in padded}
    assert all(len(words) == 1 and moved[words[0], c] == 1 for c, words in own.items())
    for c in shadowed:
        candidates = np.flatnonzero(moved[:, c] == P - 1)
        own[c] = candidates[np.count_nonzero(moved[candidates][:, shadowed], axis=1) == 1]
    assert {len(words) for words in own.values()} == {1}
    assert len({int(words[0]) for words in own.values()}) == len(own)

    # a verifier knows what u* and y* encode to at the queries of level 1, and sigma; a column that is opened twice
    opened = [Programmed(k).positions("params positions", *asked(prover)) for k in range(PROOFS)]
    twice = len(set(opened[0]) & set(opened[1])) * prover.opening.matrices[1].shape.height
    known = unmoved(moved)
    assert len(prover.opening.levels) == 1
    assert known.shape[1] == PROOFS * (2 * 2 * prover.opening.levels[0][1].queries + 2) + twice

    # with the same padded messages, another witness and other params of this statement, and those of another one
    drawn = small.words.copy()
    for weights, x, same in (("0, 1", [1, 1], True), ("1, 0", [1, 0], True), ("1, 0", [0, 1], False)):
        small.words = drawn.copy()
        for columns, sign in ((padded, 1), (shadowed, -1)):
            found = elements(small, weights, x)[0]
            for c in columns:
                at = own[c][0]
                small.words[at] = (int(small.words[at]) + sign * (int(first[c]) - int(found[c]))) % P
        other = elements(small, weights, x)[0]
        assert np.array_equal(other[padded + shadowed], first[padded + shadowed])
        assert (values(known, other) == values(known, first)) is same


def asked(prover: Prover) -> tuple[int, int]:
    """Number of queries to the params, and of their columns."""
    params = prover.opening.matrices[1]
    return params.queries, params.shape.n
