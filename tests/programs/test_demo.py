"""``make demo``: the digit, its proof, and the forgery that is told from it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("digit", ["0", "17"])
def test_the_demo_accepts_the_proof_and_rejects_the_forgery(tmp_path: Path, digit: str) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "programs" / "demo.py", "--digit", digit, "--folder", tmp_path],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout.count("█") > 20
    assert "accepted: program digits_mlp" in done.stdout
    assert "exit code 0" in done.stdout
    assert "error[V100]: proof rejected at step" in done.stdout
    assert done.stdout.rstrip().endswith("nothing else")
    assert {p.name for p in tmp_path.iterdir()} == {
        "digits_mlp.pk", "digits_mlp.pk.used", "digits_mlp.vk", "digits_mlp.proof", "forged.proof"
    }  # fmt: skip
