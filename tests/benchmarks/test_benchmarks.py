"""The harness runs on the smallest case and its reports hold the raw numbers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import floors, leaves, measure, peers, programs, report
from benchmarks.__main__ import main
from syurmy.host import peak_mb

PEER = {
    "case": "mlp64",
    "system": "peer 1",
    "seconds": {"compile": 0.5, "reference string": 7.25, "setup": 1.0, "prove": 3.5, "verify": 0.02},
    "proof_bytes": 3072,
    "proving_key_bytes": 138_000_000,
    "peak_mb": 378.2,
}
COLD = {
    "cold_seconds": 70.0,
    "processes": {"syurmy-vm --help": 0.12, "syurmy-vm verify lenet.vk lenet.proof": 0.4},
    "cold_prove_seconds": 40.0,
    "warm_seconds": 1.5,
    "warm_prove_seconds": 0.125,
    "compile_seconds": 33.0,
    "kernels": 31,
}


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("bench") / "raw.json"
    assert main(["--quick", "--json", str(path)]) == 0
    out: dict[str, Any] = json.loads(path.read_text())
    return out


def test_a_quick_run_measures_a_verified_proof(quick: dict[str, Any]) -> None:
    assert quick["quick"]
    assert not quick["failures"]
    (case,) = quick["programs"]
    assert case["case"] == "mlp64"
    assert case["verified"]
    assert case["parameters"] == 2 * (64 * 64 + 64) + 64 * 10 + 10
    assert case["soundness_bits"] >= 100
    assert set(case["phases"]) == set(report.PHASES)
    assert 0.5 < sum(case["phases"].values()) / case["seconds"]["prove"] <= 1.01
    assert all(x > 0 for x in (*case["seconds"].values(), case["proof_bytes"], case["peak_mb"], case["leaves"]))


def test_a_quick_run_measures_certificates_and_committed_inputs(quick: dict[str, Any]) -> None:
    """In both modes; what rests on a certificate is no larger, and a committed input is not free."""
    (case,) = quick["commitments"]
    text = report.markdown(quick)
    for mode in ("zero_knowledge", "clear"):
        certificate, committed = case[mode]["certificate"], case[mode]["committed"]
        assert certificate["bytes"] <= certificate["plain_bytes"] < committed["bytes"]
        assert committed["entries"] == 64
        assert all(x > 0 for m in (certificate, committed) for x in m["seconds"].values())
        for expected in (certificate["certificate_bytes"], certificate["bytes"], committed["bytes"]):
            assert report.size(expected) in text


def test_a_quick_run_measures_every_kernel(quick: dict[str, Any]) -> None:
    rows = [(row["kernel"], row["size"]) for row in quick["kernels"]]
    assert len(rows) == len(set(rows)) == 16
    assert len({kernel for kernel, _ in rows}) == 12
    assert all(row["value"] > 0 for row in quick["kernels"])


def test_the_report_states_the_raw_numbers(quick: dict[str, Any]) -> None:
    case = quick["programs"][0]
    text = report.markdown({**quick, "peers": [PEER], "cold": COLD, "failures": ["vgg16: no result after 1 s"]})
    for expected in (
        quick["machine"]["cpu"],
        "MLP 64-64-64-10",
        f"{case['leaves']:,}",
        report.duration(case["seconds"]["prove"]),
        report.size(case["proof_bytes"]),
        f"| `syurmy-vm verify lenet.vk lenet.proof` | {report.duration(0.4)} |",
        "| peer 1 | 1.50 s | 3.50 s | 20.0 ms | 3.07 KB | 378 MiB | 138 MB |",
        "| **70.0 s** ✗ |",
        "| 1.50 s ✓ |",
        "- vgg16: no result after 1 s",
        "2–2.3 (1 thread)",
    ):
        assert expected in text


def test_results_replace_what_stands_between_the_markers(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.write_readme("new\n", readme)
    report.write_readme("newer\n", readme)
    assert readme.read_text() == f"before\n{report.BEGIN}\n\nnewer\n\n{report.END}\nafter\n"
    readme.write_text("nothing")
    with pytest.raises(ValueError, match="markers"):
        report.write_readme("new", readme)
    assert report.BEGIN in report.README.read_text()
    assert report.END in report.README.read_text()


def test_a_tree_is_measured_by_its_used_leaves() -> None:
    """The numbers are per used leaf; a quarter of them is a table's rows."""
    found = leaves.measure(5000, True)
    assert found["used"] == 5000
    assert 0 < found["user"] + found["system"] < 1e6
    tree = leaves.tree(5000)
    assert tree.others == [(2500, 3750)]
    assert (tree.num[2500:3750] != 1).all()
    assert (tree.denominators()[:, :5000] != 0).all()


def test_every_network_has_its_generator() -> None:
    from programs.generate import NETWORKS

    assert set(programs.CASES) <= set(NETWORKS)
    assert set(peers.CASES) <= set(programs.CASES)


def test_a_child_that_fails_is_one_line() -> None:
    with pytest.raises(measure.Failed, match="ValueError: no"):
        measure.child(["-c", "raise ValueError('no')"])
    with pytest.raises(measure.Failed, match="no result after"):
        measure.child(["-c", "import time; time.sleep(60)"], timeout=0.2)
    with pytest.raises(measure.Failed, match="cannot start"):
        measure.child(["-c", ""], python="/nonexistent/python")


def test_a_missing_peer_says_what_to_do() -> None:
    reason = peers.unavailable("/nonexistent/python")
    assert reason is not None
    assert "pip install" in reason


def test_peak_memory_is_the_childs_own() -> None:
    import numpy as np

    ballast = np.ones(1 << 25)  # 256 MiB in the parent
    code = "from syurmy.host import peak_mb; print(peak_mb())"
    if sys.platform.startswith("linux"):
        assert 1 < measure.child(["-c", code]) < ballast.nbytes / 2**20 < peak_mb()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(123.4, "123 s"), (1.0, "1.00 s"), (0.0164, "16.4 ms"), (2.5e-5, "25.0 µs"), (1e-7, "0.10 µs")],
)
def test_durations(seconds: float, text: str) -> None:
    assert report.duration(seconds) == text


@pytest.mark.slow
def test_kernels_stand_beside_their_floors() -> None:
    rows = [line.strip("| ").split(" | ") for line in floors.table(12, 1)[2:]]
    page = (Path(__file__).parents[2] / "docs" / "kernels.md").read_text()
    for kernel, products, moved, *numbers in rows:
        assert f"| {kernel} | {products} | {moved} | " in page
        assert all(float(x) > 0 for x in numbers)
    assert len(rows) == 12
