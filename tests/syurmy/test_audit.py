"""docs/audit.md lists the files that a verifier consists of, in an order to read them in, with their sizes."""

from __future__ import annotations

from pathlib import Path

from tests.syurmy.test_verify_distribution import ROOT, loaded_from

audit, backend = loaded_from("audit"), loaded_from("backend")
TEXT = audit.PAGE.read_text(encoding="utf-8")
ROWS = audit.ROW.findall(TEXT)


def listed(source: Path) -> str:
    """The file's name at the top of the repository, without the links in syurmy/."""
    return source.resolve().relative_to(ROOT).as_posix()


def test_every_file_of_the_verifier_is_listed_once():
    """Packages whose file only says what is in them are not."""
    wanted = {listed(p) for m, p in backend.closure().items() if p.name != "__init__.py" or m == "syurmy"}
    assert sorted(name for name, _, _ in ROWS) == sorted(wanted)
    assert len(ROWS) == TEXT.count(".py` | ")


def test_line_counts_are_about_right():
    for name, lines, _ in ROWS:
        actual = audit.lines(name)
        assert abs(actual - int(lines)) <= max(20, actual // 5), f"{name} has {actual} lines: make audit"


def test_a_file_imports_only_files_above_it():
    modules = backend.closure()
    names = {module: listed(path) for module, path in modules.items()}
    place = {name: i for i, (name, _, _) in enumerate(ROWS)}
    for module, path in modules.items():
        for other in backend.imported_by(path):
            if names.get(other) in place and names[module] in place and other != module:
                assert place[names[other]] < place[names[module]], f"{names[module]} imports {names[other]}"
