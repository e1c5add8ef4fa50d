"""What is fitted to measurements, and what is written of them."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import capacity
from syurmy import fitted

SECONDS = {phase: {name: 0.01 * 1.5**k for k, name in enumerate(terms)} for phase, terms in fitted.SECONDS.items()}


def rows() -> list[dict[str, Any]]:
    """Programs whose phases take exactly what ``SECONDS`` says."""
    draw = np.random.default_rng(3)
    out = []
    for k in range(12):
        r: dict[str, Any] = {name: int(draw.integers(1, 100)) for name in capacity.COUNTS}
        of = {p: sum(s * r.get(name, 1) for name, s in terms.items()) for p, terms in SECONDS.items()}
        of["opening"] += 0.5
        whole = sum(of.values())
        r |= {"name": f"p{k}", "encoding_seconds": 0.5, "estimated_seconds": 0.0, "phases": of, "load": 0.0}
        r |= {"seconds": {"setup": 1.0, "prove": whole, "verify": 1.0}, "key_bytes": 1, "proof_bytes": 1}
        r |= {"predicted": {"setup": 1 << 20, "prove": 1 << 20}, "peak_mb": {"setup": 1.0, "prove": 1.0}}
        out.append(r)
    return out


def test_constants_are_found_again() -> None:
    found = capacity.fit(rows())
    for phase, terms in SECONDS.items():
        assert found[phase] == pytest.approx(terms, rel=0.01)


def test_what_takes_no_time_is_left_out() -> None:
    given = rows()
    for r in given:
        r["phases"]["commit"] -= SECONDS["commit"]["encoded_entries"] * 1.2 * r["encoded_entries"]
    found = capacity.fit(given)["commit"]
    assert found["encoded_entries"] == 0
    assert min(found.values()) >= 0


def test_renewing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The constants of a file of measurements, and the table, between what is there."""
    docs, module = tmp_path / "docs.md", tmp_path / "fitted.py"
    docs.write_text(f"before\n{capacity.BEGIN}\nold\n{capacity.END}\nafter\n")
    module.write_text(capacity.FITTED.read_text())
    monkeypatch.setattr(capacity, "DOCS", docs)
    monkeypatch.setattr(capacity, "FITTED", module)
    machine = dict.fromkeys(("cpu", "cores", "memory_gb", "system", "blas", "commit", "load"), "x")
    capacity.renew({"machine": machine | {"date": "2027-01-02 03:04 UTC"}, "rows": rows()}, "x.json")
    found = runpy.run_path(str(module))
    assert (found["DATE"], found["FIXED"]) == ("2027-01-02T0304", fitted.FIXED)
    assert found["SECONDS"] == capacity.fit(rows())
    assert module.read_text().startswith(capacity.FITTED.read_text().partition("DATE = ")[0])
    text = docs.read_text()
    assert text.startswith("before\n")
    assert text.endswith(f"{capacity.END}\nafter\n")
    assert "old" not in text
    assert "off by 0 % (median), 0 % at most" in text
    assert all(f"| p{k} |" in text for k in range(12))
    assert json.dumps(found["SECONDS"]["lookup"]) in module.read_text()


def test_the_documentation_has_a_place_for_it() -> None:
    text = capacity.DOCS.read_text()
    assert 0 < text.index(capacity.BEGIN) < text.index(capacity.END)
