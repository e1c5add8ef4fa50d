"""Estimates follow what proofs have taken on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from syurmy import costs, host, pace
from syurmy.costs import Cost

COST = Cost(instructions=1, steps=1, leaves=1_000_000, columns=10, committed_entries=10**6, params_entries=0)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYURMY_CACHE", str(tmp_path / "cache"))


def test_the_median_of_the_last_proofs_is_what_an_estimate_is_multiplied_by() -> None:
    assert pace.factor() == 1
    assert COST.seconds == COST.fitted_seconds
    for measured in (3.0, 2.0, 40.0):  # while others worked, the last one
        pace.record(2.0, measured)
    assert pace.factor() == 1.5
    assert COST.to_json()["estimated_seconds"] == pytest.approx(1.5 * COST.fitted_seconds)
    for _ in range(pace.LAST):
        pace.record(2.0, 1.0)
    assert pace.factor() == 0.5  # older ones are forgotten


def test_a_sentence_says_where_it_is_of(tmp_path: Path) -> None:
    assert "to prove on two cores" in costs.lines((COST, None))[0]
    pace.record(1.0, 0.5)
    assert "to prove here" in costs.lines((COST, None))[0]


@pytest.mark.parametrize("kept", ["", "{}", "[", "[0]", '["1"]', "[1e9]", "[[1]]", "[true]", "[NaN]", "[" * 9999])
def test_a_file_that_is_not_ours_is_no_proof(kept: str, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    pace._path().write_text(kept)
    assert pace.factor() == 1
    pace.record(1.0, 3.0)
    assert pace.factor() == 3
    assert json.loads(pace._path().read_text()) == [3.0]


def test_a_cache_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("not a folder")
    pace.record(1.0, 3.0)
    assert pace.factor() == 1


def test_proofs_of_tests_are_not_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert pace._path().parent != host.cache_folder()
    theirs = host.cache_folder() / pace._path().name
    before = theirs.read_bytes() if theirs.exists() else None
    pace.record(1.0, 3.0)
    assert pace._path().exists()
    assert (theirs.read_bytes() if theirs.exists() else None) == before
