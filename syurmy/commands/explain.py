"""``syurmy-vm explain``: what an error code means and what to do."""

from __future__ import annotations

import difflib
import textwrap
from typing import Annotated

import typer

from syurmy.commands.common import Debug, Json, print_json
from syurmy.explanations import EXPLANATIONS, FAMILIES


def explain(
    code: Annotated[
        str | None, typer.Argument(metavar="CODE", help="Such as A210; without one, all.", show_default=False)
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what an error code means, where it comes from and what to do."""
    from syurmy.isa.errors import InputError

    wanted = sorted(EXPLANATIONS) if code is None else [code.strip().upper().removeprefix("ERROR[").rstrip("]:")]
    for name in wanted:
        if name not in EXPLANATIONS:
            near = difflib.get_close_matches(name, EXPLANATIONS, 1)
            help = f"did you mean {near[0]}?" if near else "syurmy-vm explain lists all"
            raise InputError(f"there is no error {name[:20]}", code="X191", help=help)
    if json:
        print_json({"codes": {name: EXPLANATIONS[name] for name in wanted}})
        return
    for name in wanted:
        if code is not None:
            print(f"{name} ({FAMILIES[name[0]]})")
        print(textwrap.fill(EXPLANATIONS[name], 96, initial_indent="" if code else f"{name}  ", subsequent_indent="  "))
