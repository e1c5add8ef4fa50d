"""Ranges of a kernel on the threads of the pool."""

import threading

import pytest

from syurmy.prover.kernels import pool


@pytest.fixture(autouse=True)
def _four_threads(monkeypatch):
    monkeypatch.setattr(pool, "THREADS", 4)
    monkeypatch.setattr(pool, "_tasks", [])  # threads of its own


def test_results_come_in_the_order_of_their_ranges():
    assert pool.for_ranges(lambda a, lo, hi: (a, lo, hi), 40, "x", min_chunk=10) == [
        ("x", 10 * i, 10 * i + 10) for i in range(4)
    ]
    assert pool.for_ranges(lambda lo, hi: (lo, hi), 40, min_chunk=21) == [(0, 40)]


@pytest.mark.parametrize("where", [0, 10, 30])
def test_an_error_is_told_when_all_ranges_have_ended(where):
    done = []

    def kernel(lo, hi):
        if lo == where:
            raise ZeroDivisionError(lo)
        done.append(lo)

    with pytest.raises(ZeroDivisionError, match=str(where)):
        pool.for_ranges(kernel, 40, min_chunk=10)
    assert sorted([*done, where]) == [0, 10, 20, 30]
    assert len(pool.for_ranges(lambda lo, hi: lo, 40, min_chunk=10)) == 4  # the threads live


def test_ranges_run_side_by_side_also_for_several_callers():
    meeting = threading.Barrier(2, timeout=20)
    assert len(pool.for_ranges(lambda lo, hi: meeting.wait(), 20, min_chunk=10)) == 2
    found = []
    callers = [
        threading.Thread(target=lambda k=k: found.append(pool.for_ranges(lambda k, lo, hi: k, 400, k, min_chunk=10)))
        for k in range(6)
    ]
    for c in callers:
        c.start()
    for c in callers:
        c.join()
    assert sorted(found) == [[k] * 4 for k in range(6)]


def test_words_are_added_as_integers():
    assert pool.added([(2**63, 1)]) == [2**63, 1]
    assert pool.added([(2**63, 1), (2**63, 2), (5, 3)]) == [2**64 + 5, 6]
