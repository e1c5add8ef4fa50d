"""What the pages say is so: their programs, commands and sessions run, in order, as they are written; the files and
targets that they name exist.

A page's blocks share one folder. ``tasm`` is saved under the name in its first line; ``sh`` and ``python`` run and must
succeed; ``pycon`` is a session; ``text`` after ``sh`` is what that printed last, but for the numbers and for what an
ellipsis at the end of a line stands for. A block that cannot run here says so: ``<!-- not run -->`` on the line before.
"""

from __future__ import annotations

import doctest
import importlib.util
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("benchmarks/*.md"), *ROOT.glob("docs/**/*.md")])
NAMES = [p.relative_to(ROOT).as_posix() for p in PAGES]
BLOCK = re.compile(r"(<!-- not run -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN = {"sh", "python", "pycon", "tasm", "text"}
DRAWN = {"mermaid"}
GENERATED = {
    "docs/isa.md": "tests/isa/test_manual.py",
    "docs/operators.md": "tests/compiler/test_node_cases.py",
    "docs/macros.md": "tests/assembler/test_library.py",
}
NEED_ONNX = {f"docs/{name}.md" for name in ("prove_your_model", "debugging", "large_models", "language_models")}
SHOWN = {  # what a page's commands print somewhere
    "docs/prove_your_model.md": ("least accurate", "verified: lenet/model.proof", "accepted: program", "same digit"),
}


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


def blocks(name: str) -> list[tuple[str, str]]:
    return [(kind, text) for skip, kind, text in BLOCK.findall(text_of(name)) if not skip and kind not in DRAWN]


def masked(text: str) -> list[str]:
    """Lines without the numbers, which differ from run to run and from version to version, and without what these
    change: the unit of a time, the room before a number."""
    lines = [re.sub(r"[0-9a-f]{16}|\d[\d.,]*", "#", line) for line in text.strip().splitlines()]
    return [" ".join(re.sub(r"# (ms|s)\b", "# s", line).split()) for line in lines]


class Page:
    """Runs the blocks of a page in ``folder``."""

    def __init__(self, folder: Path) -> None:
        (folder / "programs").symlink_to(ROOT / "programs")
        self.folder, self.shown, self.last = folder, "", ""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}

    def sh(self, text: str) -> None:
        self._process(["bash", "-e", "-c", text], text)

    def python(self, text: str) -> None:
        self._process([sys.executable, "-c", text], text)

    def _process(self, command: list[str], text: str) -> None:
        run = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=300
        )
        assert run.returncode == 0, f"{text}\n{run.stdout}\n{run.stderr}"
        self.last = run.stdout
        self.shown += run.stdout

    def tasm(self, text: str) -> None:
        name = re.match(r"; (\w+\.tasm)\n", text)
        assert name, f"the first line of a listing is its name:\n{text}"
        (self.folder / name[1]).write_text(text)

    def text(self, text: str) -> None:
        lines = masked(text)
        found = masked(self.last)[-len(lines) :]
        alike = [f.startswith(e[:-1]) if e.endswith("…") else f == e for f, e in zip(found, lines, strict=True)]
        assert all(alike), f"expected\n{text}\nprinted\n{self.last}"


def starts_processes(name: str) -> bool:
    return any(kind in ("sh", "python") for kind, _ in blocks(name))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in NEED_ONNX or starts_processes(name) else [])
        for name in NAMES
        if name not in GENERATED and blocks(name)
    ],
)
def test_blocks_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name in NEED_ONNX and importlib.util.find_spec("onnxruntime") is None:
        pytest.skip("the extra onnx is not installed")
    page, sessions = Page(tmp_path), ""
    for kind, text in blocks(name):
        assert kind in RUN, f"a block of kind {kind or 'none'} is neither run nor marked as not run:\n{text}"
        if kind == "pycon":
            sessions += text
        else:
            getattr(page, kind)(text)
    for expected in SHOWN.get(name, ()):
        assert expected in page.shown
    if sessions:
        monkeypatch.chdir(tmp_path)
        lines = traceback.format_exception_only  # of which early 3.11 compares the last alone, a note
        monkeypatch.setattr(traceback, "format_exception_only", lambda *e: ["".join(lines(*e))])
        test = doctest.DocTestParser().get_doctest(sessions, {}, name, None, 0)
        shown: list[str] = []
        results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=shown.append)
        assert results.attempted
        assert not results.failed, "".join(shown)


def test_pages_with_blocks_are_found() -> None:
    assert {"README.md", "docs/algorithms.md", "docs/prove_your_model.md"} <= {n for n in NAMES if blocks(n)}
    assert all(any(kind == "pycon" for kind, _ in blocks(n)) for n in ("docs/algorithms.md",))


def named(name: str) -> Iterator[str]:
    """What stands in backquotes or in blocks of a page."""
    text = text_of(name)
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    for _, _, block in BLOCK.findall(text):
        yield from block.splitlines()


@pytest.mark.parametrize("name", NAMES)
def test_files_and_targets_that_a_page_names_exist(name: str) -> None:
    tops = {p.name for p in ROOT.iterdir() if p.is_dir()}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    missing = []
    for words in named(name):
        path = re.fullmatch(r"((\w+)/[\w./-]*?)(:\w+)?", words)
        stands_for_another = path and re.search(r"/[A-Z]+\b", path[1])  # NAME.tasm
        if path and path[2] in tops and not stands_for_another and not (ROOT / path[1]).exists():
            missing.append(path[1])
        missing += [f"make {t}" for t in re.findall(r"^make ([a-z-]+)", words) if t not in targets]
    assert not missing, f"{name} names what is not there: {missing}"


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_files(name: str) -> None:
    """Between pages; ``make docs`` checks places in pages too."""
    links = re.findall(r"\]\(([^)#\s]+)", re.sub(r"`[^`\n]*`", "", text_of(name)))
    dead = [to for to in links if "://" not in to and not (ROOT / name).parent.joinpath(to).exists()]
    assert not dead, f"{name} links to {dead}"
