"""The commands and programs of the guide run, in order, as they are written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"(<!-- not run -->\n)?^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow


def blocks(name: str) -> list[tuple[str, str]]:
    return [(kind, text) for skip, kind, text in BLOCK.findall((ROOT / "docs" / name).read_text()) if not skip]


def test_prove_your_model(tmp_path: Path) -> None:
    (tmp_path / "programs").symlink_to(ROOT / "programs")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    found = blocks("prove_your_model.md")
    assert {kind for kind, _ in found} == {"sh", "python"}
    shown = ""
    for kind, text in found:
        command = ["bash", "-e", "-c", text] if kind == "sh" else [sys.executable, "-c", text]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        shown += done.stdout
    for expected in ("least accurate", "verified: lenet/model.proof", "accepted: program", "same digit"):
        assert expected in shown
    kept = {p.name for p in (tmp_path / "lenet").iterdir()}
    assert {"model.tasm", "model.safetensors", "tables", "model.json", "example-input.npz"} <= kept
