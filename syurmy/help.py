"""Help in less time: Typer imports renderers of Markdown and tracebacks for it, a fifth of its time, and needs none."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from typer._click import Context, HelpFormatter

UNUSED = {"rich.markdown": "Markdown", "rich.traceback": "Traceback"}  # of what typer.rich_utils imports


def load() -> None:
    """Imports what writes help, with empty classes for what it does not use here: our help is no Markdown, and errors
    are reported by ``outcome``. Whoever imports those modules afterwards gets the real ones."""
    if "typer.rich_utils" in sys.modules:
        return
    given = {name: kind for name, kind in UNUSED.items() if name not in sys.modules}
    for name, kind in given.items():
        sys.modules[name] = ModuleType(name)
        setattr(sys.modules[name], kind, type(kind, (), {}))
    try:
        import typer.rich_utils  # noqa: F401
    finally:
        for name in given:
            del sys.modules[name]


class Group(TyperGroup):
    """The command line as a whole."""

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:
        load()
        super().format_help(ctx, formatter)


class Command(TyperCommand):
    """One of its commands."""

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:
        load()
        super().format_help(ctx, formatter)
