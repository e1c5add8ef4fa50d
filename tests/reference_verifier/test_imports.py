"""The second verifier stands alone: no NumPy, and nothing of the project but the constraint system."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
ISA = {
    "builder",
    "declared",
    "encoding",
    "errors",
    "graph",
    "inference",
    "path",
    "program",
    "system",
    "types",
    "wellformed",
}
ALLOWED = {"blake3", *(f"syurmy.isa.{name}" for name in ISA)}
FILES = [f for f in sorted(FOLDER.glob("*.py")) if not f.name.startswith("test_")]


def imported(source: str) -> set[str]:
    """Modules that a file names; of ``from a import b`` both ``a`` and ``a.b``, where b may be a module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            name = str(node.module)
            found |= {f"{name}.{a.name}" for a in node.names} if name in ("syurmy", "syurmy.isa") else {name}
    return found


def other_than_allowed(source: str) -> set[str]:
    own = {f"tests.reference_verifier.{f.stem}" for f in FILES} | {"tests.reference_verifier"}
    return {m for m in imported(source) if m not in ALLOWED | own and m.split(".")[0] not in sys.stdlib_module_names}


def test_imports_of_every_file():
    for file in FILES:
        source = file.read_text()
        assert not other_than_allowed(source), file.name
        names = {n.id for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Name)}
        assert not names & {"__import__", "eval", "exec", "importlib"}, file.name


def test_other_imports_are_found():
    for line in ("import numpy", "from syurmy.prover import field", "from syurmy import prover", "import syurmy"):
        assert other_than_allowed(line), line


def test_what_it_loads():
    """Nothing of prover, machine or compiler, not even through the constraint system."""
    code = "import sys, tests.reference_verifier.verify; print('\\n'.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    ours = {m for m in loaded if m.startswith("syurmy.")}
    assert "syurmy.isa.system" in ours
    assert all(m == "syurmy.isa" or m.startswith("syurmy.isa.") for m in ours), ours
