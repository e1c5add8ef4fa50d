"""The set-ups of docs/editors.md, tried in the editors that are installed here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "editors.md").read_text()
PROGRAM = ".input x : i8[2] public\n.output y public\n    ad y, x, 1\n    halt\n"

# vim.lsp.start is there from version 0.8 on
OLDER = """
if not vim.lsp.start then
  vim.lsp.start = function(config) vim.lsp.buf_attach_client(0, vim.lsp.start_client(config)) end
end
"""
NEOVIM = """
vim.cmd("edit " .. PROGRAM)
vim.bo.filetype = "tasm"
vim.wait(20000, function() return #vim.diagnostic.get(0) > 0 end, 50)
for _, d in ipairs(vim.diagnostic.get(0)) do io.stdout:write(d.lnum .. ": " .. d.message .. "\\n") end
vim.cmd("qall!")
"""
EMACS = """
(package-initialize)
(require 'eglot)
(setq eglot-sync-connect 30)
(find-file (getenv "PROGRAM"))
(eglot--connect '(tasm-mode) (cons 'transient default-directory) 'eglot-lsp-server '("syurmy-vm" "lsp") "tasm")
(let ((left 100))
  (while (and (> left 0) (not (flymake-diagnostics)))
    (flymake-start)
    (accept-process-output nil 0.2)
    (setq left (1- left))))
(dolist (d (flymake-diagnostics)) (princ (flymake-diagnostic-text d)))
(kill-emacs 0)
"""


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def environment(tmp_path: Path) -> dict[str, str]:
    """Where ``syurmy-vm`` is the one of this tree."""
    command = tmp_path / "bin" / "syurmy-vm"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m syurmy "$@"\n')
    command.chmod(0o755)
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}


@pytest.mark.skipif(shutil.which("nvim") is None, reason="Neovim is not installed")
def test_neovim(tmp_path: Path) -> None:
    (tmp_path / "a.tasm").write_text(PROGRAM)
    (tmp_path / "init.lua").write_text(f'PROGRAM = "{tmp_path / "a.tasm"}"\n{OLDER}\n{blocks("lua")[0]}\n{NEOVIM}')
    run = subprocess.run(
        ["nvim", "--headless", "--clean", "-u", tmp_path / "init.lua"],
        env=environment(tmp_path), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "2: unknown instruction 'ad'" in run.stdout, run.stderr


@pytest.mark.skipif(shutil.which("emacs") is None, reason="Emacs is not installed")
def test_emacs(tmp_path: Path) -> None:
    (tmp_path / "a.tasm").write_text(PROGRAM)
    settings = blocks("elisp")[0].replace("(add-hook 'tasm-mode-hook #'eglot-ensure)", "")  # asks a terminal
    (tmp_path / "try.el").write_text(settings + EMACS)
    given = environment(tmp_path) | {"PROGRAM": str(tmp_path / "a.tasm")}
    there = subprocess.run(["emacs", "--batch", "--eval", "(progn (package-initialize) (require 'eglot))"],
                           env=given, capture_output=True, timeout=60, check=False)  # fmt: skip
    if there.returncode:
        pytest.skip("eglot is not installed")
    run = subprocess.run(["emacs", "--batch", "-l", tmp_path / "try.el"], env=given, capture_output=True, text=True,
                         timeout=90, check=False)  # fmt: skip
    assert "unknown instruction" in run.stdout, run.stderr


def test_helix() -> None:
    (text,) = blocks("toml")
    settings = tomllib.loads(text)
    (language,) = settings["language"]
    (server,) = language["language-servers"]
    assert [settings["language-server"][server][k] for k in ("command", "args")] == ["syurmy-vm", ["lsp"]]
    assert [language["debugger"][k] for k in ("command", "args")] == ["syurmy-vm", ["dap"]]
