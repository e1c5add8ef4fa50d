"""The benchmark of graphics cards: its model without one, and its measurements on a device that is this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import gpu as bench
from syurmy.gpu import cuda
from tests.gpu.common import Apart


def test_without_a_card_it_prints_the_model_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cuda, "missing", lambda: "no driver is found")
    assert bench.main([]) == 0
    said = capsys.readouterr().out
    assert "No card, so nothing is measured: no driver is found" in said
    assert "It is no measurement" in said
    assert said.count("per leaf") == 1


@pytest.mark.parametrize("page", ["README.md", "docs/gpu.md"])
def test_the_documentation_shows_the_model(page: str) -> None:
    lines = (Path(__file__).parents[2] / page).read_text().splitlines()
    assert set(bench.modelled()) <= set(lines)


def test_an_item_is_bound_by_instructions_or_by_memory() -> None:
    card = bench.Model("a card", 100, 1e9, 1e12, 1e10)
    assert card.ns(128 * 100 * bench.RATE, 0) == pytest.approx(1)
    assert card.ns(1, 1000 * bench.BANDWIDTH) == pytest.approx(1)


def test_measurements_on_a_device(tmp_path: Path) -> None:
    memory = Apart(least=1 << 8)
    result = bench.run(memory, bench.arguments(["--log", "12", "--programs", "mlp64"]), runs=1)
    assert [name for name, _, _ in result["items"]] == list(bench.items())
    (case,) = result["programs"]
    assert case["same_bytes"]
    assert min(case["up"], case["down"], case["kept"], case["peak"], sum(case["launches"].values())) > 0
    text = "\n".join(bench.tables(json.loads(json.dumps(result))))
    assert "| mlp64 | " in text
    assert "not that of the CPU" not in text
    case["same_bytes"] = False
    assert "**The proof of mlp64 is not that of the CPU.**" in "\n".join(bench.tables(result))
