"""Sequences in closed form are those that they stand for, written out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syurmy.isa.arrays import I64
from syurmy.isa.progression import MOST_RUNS, Part, Progression, Stretch
from tests.drawing import examples

SMALL = st.integers(-3, 3)


@st.composite
def parts(draw: st.DrawFn) -> Part:
    rows = draw(st.lists(SMALL, min_size=1, max_size=6))
    shift = draw(st.one_of(st.just([draw(SMALL)] * len(rows)), st.lists(SMALL, min_size=len(rows), max_size=len(rows))))
    if draw(st.booleans()):  # on a line, or with a few entries beside it
        step, start = draw(SMALL), draw(SMALL)
        rows = [start + step * i if draw(st.integers(0, 3)) else r for i, r in enumerate(rows)]
        shift = [step * len(rows) if draw(st.integers(0, 3)) else s for s in shift]
    return Part(np.array(rows), np.array(shift), draw(st.integers(1, 6)))


sequences = st.lists(parts(), min_size=1, max_size=4)


def written(given_parts: list[Part]) -> I64:
    """By definition."""
    return np.array(
        [int(p.rows[i] + t * p.shift[i]) for p in given_parts for t in range(p.times) for i in range(len(p.rows))]
    )


def placed(stretches: list[Stretch], size: int) -> tuple[I64, I64]:
    """How often each position is counted, and the sum of what is said of it."""
    often, values = np.zeros(size, np.int64), np.zeros(size, np.int64)
    for s in stretches:
        for k in range(s.length):
            often[s.first + k * s.stride] += s.sign
            values[s.first + k * s.stride] += s.sign * (s.value + k * s.step)
    return often, values


@examples(200)
@given(sequences)
def test_it_is_what_its_parts_say(of: list[Part]) -> None:
    p, a = Progression(tuple(of)), written(of)
    assert np.array_equal(p, a)
    assert np.array_equal(Progression.joined(of), a)
    assert np.array_equal(p.plus(5), a + 5)
    assert np.array_equal(np.asarray(p, np.int32), a)
    assert len(p) == p.size == len(a)
    assert [p[i] for i in range(len(a))] == a.tolist()
    assert p.interval == (a.min(), a.max())
    assert p.level == (a == a[0]).all()
    assert p.counts == np.array_equal(a, np.arange(len(a)))
    with pytest.raises(IndexError):
        p[len(a)]


@examples(200)
@given(sequences)
def test_stretches_say_every_entry_once(of: list[Part]) -> None:
    a = written(of)
    stretches = Progression(tuple(of)).stretches(1000)
    assert stretches is not None
    often, values = placed(stretches, len(a))
    assert (often == 1).all()
    assert np.array_equal(values, a)
    fewer = Progression(tuple(of)).stretches(len(stretches) - 1)
    assert fewer is None or len(fewer) < len(stretches)


@examples(200)
@given(sequences, st.data())
def test_names_are_those_of_the_entries(of: list[Part], data: st.DataObject) -> None:
    """However a sequence is divided, it has one name; another has another."""
    p, a = Progression(tuple(of)), written(of)
    cuts = sorted({0, len(a), *data.draw(st.lists(st.integers(0, len(a)), max_size=4))})
    again = Progression(tuple(Part.of(a[lo:hi]) for lo, hi in itertools.pairwise(cuts)))
    assert p.key() == again.key() == Progression.of(a).key()
    other = a.copy()
    other[data.draw(st.integers(0, len(a) - 1))] += 1
    assert Progression.of(other).key() != p.key()


def runs(a: I64) -> int:
    """How many arithmetic progressions, each as long as possible, from left to right."""
    count, at = 0, 0
    while at < len(a):
        end = at + 1
        while end < len(a) and a[end] - a[end - 1] == a[at + 1] - a[at]:
            end += 1
        count, at = count + 1, end
    return count


@pytest.mark.parametrize("times", [MOST_RUNS // 2, 42, 43, 44, MOST_RUNS, 3 * MOST_RUNS])
def test_names_of_many_runs(times: int) -> None:
    """On both sides of the number of runs from which a digest is the name."""
    rounds = Part(np.array([0, 1, 5]), np.array([3, 3, 3]), times)
    name = Progression((rounds,)).key()
    assert name == Progression.of(rounds.array()).key()
    assert isinstance(name, bytes) == (runs(rounds.array()) > MOST_RUNS)
    halves = (Part(rounds.rows, rounds.shift, times // 2), Part.of(rounds.array(times // 2)))
    assert Progression(halves).key() == name


def test_a_long_one_costs_as_much_as_a_short_one() -> None:
    p = Progression((Part.of(np.array([0, 0, 1])), Part(np.array([2, 3]), np.array([2, 2]), 2**40)))
    assert p.interval == (0, 2**41 + 1)
    assert not p.level
    assert not p.counts
    assert p.stretches(8) == [Stretch(0, 1, 0, 0, 2), Stretch(2, 1, 1, 0, 1), Stretch(3, 1, 2, 1, 2**41)]
    assert p.key() == ((0, 0, 2), (1, 1, 2**41 + 1))
    assert Progression.upto(2**40).counts
