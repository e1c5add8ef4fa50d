"""What tests of the command line share: a small program, a command run in this process, the keys of its record."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from typer.testing import CliRunner, Result

from syurmy.cli import app

SOURCE = """\
.program  tiny
.input    x : i8[2, 3]   private
.param    w : i16[3, 2]  committed = {{3, -1}, {0, 2}, {-5, 4}}
.output   h   private
.output   y   public
.output   s   public
    matmul    h, x, w
    reveal    h
    rescale   y, h, 1, i8
    sum       s, y
    halt
"""
X = np.array([[1, 2, 3], [-4, 5, 6]])
H = X @ np.array([[3, -1], [0, 2], [-5, 4]])
Y = (H + 1) >> 1

RECORD = {
    "schema",
    "command",
    "ok",
    "program",
    "key",
    "inputs",
    "outputs",
    "warnings",
    "notes",
    "seconds",
    "error",
}
JSON_KEYS = RECORD | {
    "segments",
    "links",
    "shared_params",
    "resumed",
    "proofs",
    "certificate",
    "commitments",
    "openings",
    "instructions",
    "zero_knowledge",
    "steps",
    "batch",
    "branches",
    "leaves",
    "columns",
    "committed_entries",
    "replaced_key",
    "proof",
    "proof_bytes",
    "soundness_bits",
    "peak_mb",
    "verified",
    "saturated",
    "undecided",
    "rounded",
    "missed",
    "unestimated",
    "chained",
}
CERTIFY_KEYS = {
    "certificate",
    "certificate_file",
    "certificate_bytes",
    "soundness_bits",
    "zero_knowledge",
    "proofs_left",
    "uncertified_proofs_left",
    "resumed",
}
PHASES = {"total", "setup", "execute", "commit", "lookup", "contraction", "opening", "prove", "verify"}


def vm(*args: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in args])


def written(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def assert_one_line(result: Result, exit_code: int, code: str = "") -> None:
    assert result.exit_code == exit_code, (result.stdout, result.stderr)
    assert result.stdout == ""
    assert result.stderr.startswith(f"error[{code}")
    assert result.stderr.count("\n") == 1, result.stderr
