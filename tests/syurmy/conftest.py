"""Folders with a small program and its input, as it is and proven."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.syurmy.commands import SOURCE, X, vm


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tiny.tasm").write_text(SOURCE)
    np.save(tmp_path / "x.npy", X)
    return tmp_path


@pytest.fixture(scope="module")
def proven_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("proven")
    (folder / "tiny.tasm").write_text(SOURCE)
    np.save(folder / "x.npy", X)
    result = vm("run", folder / "tiny.tasm", "--input", f"x={folder / 'x.npy'}", "--prove", "--json")
    assert result.exit_code == 0, result.stderr
    return folder, json.loads(result.stdout)


@pytest.fixture
def proven(proven_once: tuple[Path, dict[str, Any]], tmp_path: Path) -> Path:
    """A folder of its own with program, input, keys and proof."""
    shutil.copytree(proven_once[0], tmp_path, dirs_exist_ok=True)
    return tmp_path
