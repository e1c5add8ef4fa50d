"""The command line as Typer reads it. Help in less time: what writes it imports renderers of Markdown and tracebacks
and a table of emoji, and needs none of them. With ``--json`` a line that is not understood is told as JSON, too."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING

from typer._click.exceptions import UsageError
from typer.core import TyperCommand, TyperGroup

from syurmy.outcome import misused

if TYPE_CHECKING:
    from typer._click import Command as Subcommand
    from typer._click import Context, HelpFormatter

UNUSED = {  # modules, with the one name of each that is imported, and what stands in for it
    "rich.markdown": ("Markdown", type("Markdown", (), {})),
    "rich.traceback": ("Traceback", type("Traceback", (), {})),
    "rich._emoji_codes": ("EMOJI", {}),
}


@contextmanager
def light() -> Iterator[None]:
    """While help is written, empty names stand in for what it does not use here: our help is no Markdown and has no
    emoji, and errors are reported by ``outcome``. Whoever imports those modules afterwards gets the real ones."""
    given = [name for name in UNUSED if name not in sys.modules]
    for name in given:
        sys.modules[name] = ModuleType(name)
        setattr(sys.modules[name], *UNUSED[name])
    try:
        yield
    finally:
        for name in given:
            del sys.modules[name]


@contextmanager
def told(args: list[str], command: str = "") -> Iterator[None]:
    """What is wrong with these arguments, as an object on standard output where they ask for one."""
    json = "--json" in args
    try:
        yield
    except UsageError as e:
        if json:
            misused(e.format_message(), command)
        raise


class Group(TyperGroup):
    """The command line as a whole."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        with told(args):
            return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Subcommand | None, list[str]]:
        with told(args):
            return super().resolve_command(ctx, args)

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:
        with light():
            super().format_help(ctx, formatter)


class Command(TyperCommand):
    """One of its commands."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        with told(args, self.name or ""):
            return super().parse_args(ctx, args)

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:
        with light():
            super().format_help(ctx, formatter)
