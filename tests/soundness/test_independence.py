"""Zero knowledge by linear algebra: which combinations of a proof's elements do not depend on its randomness?

With challenges fixed, and the padded messages and those of the sacrifice fixed too, everything else that proofs send is
affine in the random words. So the derivatives of all elements by all words tell which combinations of elements no
randomness moves. There must be as many of them as a verifier knows, and they must be the same for two witnesses, two
sets of params and two committed tensors of one statement. Two proofs under one key, or from one opening, are taken
together, and so are a key's certificate and a proof that rests on it. The numbers of queries, and with them all sizes,
are those of a few bits of soundness; nothing else is changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import syurmy
from syurmy.isa.path import DEFAULT_MAX_STEPS
from syurmy.prover.certify import Certifier
from syurmy.prover.field import U64, P
from syurmy.prover.keys import setup
from syurmy.prover.protocol import budget, grinding, shapes, soundness, tensors
from syurmy.prover.protocol.key import Mode
from syurmy.prover.protocol.plain import mul_f, sub_f
from syurmy.prover.protocol.plan import fixed_plan
from syurmy.prover.protocol.statement import NO_CERTIFICATE, start_transcript
from syurmy.prover.protocol.transcript import Sender
from syurmy.prover.prove import Prover
from syurmy.prover.secrets import Secrets
from syurmy.prover.tensors import seal
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
PARAMS = """
.input x : i8[2] private in 0..1
.param w : i8[2] committed bounds 0..1 = {%s}
.output s public
    dot s, x, w
    halt
"""
TENSORS = """
.input x : i8[2] committed in 0..1
.output y committed
.output s public
    flip y, x, 0
    sum s, x
    halt
"""
# program, params and inputs of a first run; of others, and is the statement the same?
CASES = {
    "params": (PARAMS, ("1, 0", [1, 1]), [("0, 1", [1, 1], True), ("1, 0", [1, 0], True), ("1, 0", [0, 1], False)]),
    "certificate": (PARAMS, ("1, 0", [1, 1]), [("0, 1", [1, 1], True), ("0, 1", [1, 0], False)]),
    "tensors": (TENSORS, ("", [1, 0]), [("", [0, 1], True), ("", [1, 1], False)]),
}
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
    monkeypatch.setattr(Secrets, "seeded", staticmethod(lambda seed, bound_to: tape))
    monkeypatch.setattr(budget, "hiding_ladder", one_level)
    cached = (shapes.room, shapes._nominal, shapes.ladder, shapes.hiding_ladder, tensors.tensor_layout)
    for f in cached:
        f.cache_clear()
    yield tape
    for f in cached:
        f.cache_clear()


def one_level(used: int) -> tuple[int, tuple[shapes.Level, ...]]:
    """Further levels are functions of the masked vector, which is sent instead."""
    size, levels = shapes.hiding_ladder(used)
    return size, levels[:1]


def drawn_by(prover: Prover, seed: int) -> Prover:
    """With programmed challenges."""
    prover.transcript = Programmed(seed)
    start_transcript(prover.transcript, prover.magic)
    prover.sender = Sender(prover.transcript)
    return prover


class Session:
    """What set-up, commitments and proofs give out. First what all proofs share is made, then they are, each from
    words of the tape of its own, so that one of them can be made again alone."""

    def __init__(self, tape: Tape, case: str, weights: str, x: list[int]) -> None:
        source = CASES[case][0]
        self.tape, self.case = tape, case
        self.program = syurmy.assemble(source % weights if "%" in source else source)
        self.plan = fixed_plan(self.program, DEFAULT_MAX_STEPS, Mode.of(self.program, True, PROOFS))
        self.trace = syurmy.run(self.program, {"x": np.array(x)})
        self.starts = [0]
        self.labels: list[tuple[int, str]] = []
        self.provers: list[Prover] = []
        tape.at = 0
        self.shared()
        self.parts = [self.one(k) for k in range(PROOFS)]
        self.starts.append(tape.at)

    def shared(self) -> None:
        made = setup(self.program, Mode.of(self.program, True, PROOFS))
        self.pk = replace(made, allowance=None, plan=self.plan)
        values = {**self.trace.inputs, **self.trace.outputs}
        externals = self.plan.system.externals if self.plan is not None else ()
        sealed = {e.name: seal(np.asarray(values[e.name])[None], e.dtype, Mode(True, PROOFS)) for e in externals}
        self.openings = {name: replace(opening, allowance=None) for name, opening in sealed.items()}

    def one(self, k: int) -> U64:
        """The elements of proof k."""
        if len(self.starts) == k + 1:
            self.starts.append(self.tape.at)
        self.tape.at = self.starts[k + 1]
        named = bytes(31) + b"\1" if self.case == "certificate" else NO_CERTIFICATE
        if self.case == "certificate" and k == 0:
            prover: Prover = Certifier(self.pk)
        else:
            prover = Prover(self.pk, self.trace, None, self.openings, named)
        proof = drawn_by(prover, k).run()
        parts = []
        first = len(self.provers) == k
        if first:
            self.provers.append(prover)
        for label, at, size in proof.fields:
            if label in UNDER_PADS | COLUMNS | {"level 1 round", "sacrifice", "mask sum", "last vector"}:
                parts.append(np.frombuffer(proof.data, "<u8", size // 8, at).astype(np.uint64))
                if first:
                    self.labels += [(k, label)] * (size // 8)
        return np.concatenate(parts)

    @property
    def elements(self) -> U64:
        return np.concatenate(self.parts)

    def with_raised(self, word: int) -> U64:
        """All elements where this word of the tape is greater by one."""
        self.tape.raised = word
        at = next(i for i, end in enumerate(self.starts[1:]) if word < end)
        if at == 0:  # all depend on what they share
            self.tape.at = 0
            self.shared()
            parts = [self.one(k) for k in range(PROOFS)]
            self.tape.raised = -1
            self.tape.at = 0
            self.shared()
        else:
            parts = [self.one(k) if k == at - 1 else self.parts[k] for k in range(PROOFS)]
            self.tape.raised = -1
        return np.concatenate(parts)


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
@pytest.mark.parametrize("case", CASES)
def test_what_is_independent_of_randomness_is_public(case: str, small: Tape) -> None:
    _, given, others = CASES[case]
    session = Session(small, case, *given)
    first, labels, used = session.elements, session.labels, session.starts[-1]
    moved = np.stack([sub_f(session.with_raised(word), first) for word in range(used)])

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
    known = unmoved(moved)
    of_levels = sum(2 * 2 * prover.opening.levels[0][1].queries + 2 for prover in session.provers)
    assert known.shape[1] == of_levels + opened_twice(session.provers)

    # with the same padded messages, another witness, other params or tensors of this statement; and of another one
    drawn = small.words.copy()
    for *other_given, same in others:
        small.words = drawn.copy()
        for columns, sign in ((padded, 1), (shadowed, -1)):
            found = Session(small, case, *other_given).elements
            for c in columns:
                at = own[c][0]
                small.words[at] = (int(small.words[at]) + sign * (int(first[c]) - int(found[c]))) % P
        other = Session(small, case, *other_given).elements
        assert np.array_equal(other[padded + shadowed], first[padded + shadowed])
        assert (values(known, other) == values(known, first)) is same


def opened_twice(provers: list[Prover]) -> int:
    """Elements of columns that both proofs open, of what was committed before them."""
    found = 0
    for before in provers[0].opening.matrices[1:]:
        drawn = []
        for k, prover in enumerate(provers):
            (opened,) = (m for m in prover.opening.matrices if m.label == before.label)
            assert opened.shape == before.shape
            drawn.append(set(Programmed(k).positions(f"{opened.label} positions", opened.queries, opened.shape.n)))
        found += len(drawn[0] & drawn[1]) * before.shape.height
    return found
