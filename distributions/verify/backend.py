"""Build backend of ``syurmy-verify``: the modules that the verifier imports are copied into a tree of their own, and
setuptools builds that tree.

Which modules these are is read from the import lines: from ``ROOTS`` on, imports of ``syurmy`` at the top of a module
are followed, those inside functions and under ``TYPE_CHECKING`` are not. tests/syurmy/test_verify_distribution.py
builds, installs and uses the result.
"""

from __future__ import annotations

import ast
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
ROOTS = ("syurmy", "syurmy.verify_main", "syurmy.verification", "syurmy.vocabulary", "syurmy.prover.verifier.verify")


def source_of(module: str) -> Path | None:
    """The module's file in the repository; None where the name is not that of a module."""
    base = REPOSITORY.joinpath(*module.split("."))
    return next((p for p in (base / "__init__.py", base.with_suffix(".py")) if p.is_file()), None)


def imported_by(source: Path) -> Iterator[str]:
    """Names that the top level of a file imports, whether modules or not."""
    for statement in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            yield statement.module
            yield from (f"{statement.module}.{alias.name}" for alias in statement.names)


def closure() -> dict[str, Path]:
    """The verifier's modules and the packages that they lie in, with their files."""
    found: dict[str, Path] = {}
    pending = list(ROOTS)
    while pending:
        module = pending.pop()
        source = source_of(module)
        if module in found or source is None or module.split(".")[0] != "syurmy":
            continue
        found[module] = source
        pending += [module.rpartition(".")[0], *imported_by(source)]
    return found


@contextmanager
def collected() -> Iterator[Path]:
    """The current folder is, inside the block, a temporary one from which setuptools builds the distribution."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="syurmy-verify-") as name:
        tree = Path(name)
        for source in closure().values():
            target = tree / source.relative_to(REPOSITORY)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        shutil.copyfile(REPOSITORY / "syurmy" / "py.typed", tree / "syurmy" / "py.typed")
        shutil.copyfile(REPOSITORY / "LICENSE", tree / "LICENSE")
        shutil.copyfile(HERE / "README.md", tree / "README.md")
        text = (HERE / "pyproject.toml").read_text(encoding="utf-8")
        own = 'build-backend = "backend"\nbackend-path = ["."]\n'
        assert own in text
        plain = text.replace(own, 'build-backend = "setuptools.build_meta"\n')  # the tree stands on its own
        (tree / "pyproject.toml").write_text(plain, encoding="utf-8")
        os.chdir(tree)
        try:
            yield tree
        finally:
            os.chdir(before)


def _built(hook: str, folder: str, settings: dict[str, Any] | None) -> str:
    from setuptools import build_meta

    target = Path(folder).resolve()
    with collected():
        name: str = getattr(build_meta, hook)(str(target), settings)
    return name


def build_wheel(
    wheel_directory: str, config_settings: dict[str, Any] | None = None, metadata_directory: str | None = None
) -> str:
    """PEP 517."""
    return _built("build_wheel", wheel_directory, config_settings)


def build_sdist(sdist_directory: str, config_settings: dict[str, Any] | None = None) -> str:
    """PEP 517. The sdist holds the collected tree and builds with setuptools alone."""
    return _built("build_sdist", sdist_directory, config_settings)
