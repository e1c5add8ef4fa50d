"""``syurmy-vm share``: a copy of a proving key or an opening, with a part of its proofs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from syurmy.commands.common import Debug, Json, print_json, terminal


def share(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="PROG.pk or X.opening.", show_default=False)],
    copy: Annotated[Path, typer.Argument(metavar="COPY", help="Where to write the copy.", show_default=False)],
    proofs: Annotated[
        int, typer.Option("--proofs", metavar="N", help="How many of its proofs are the copy's.", show_default=False)
    ],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Copy a proving key or an opening for others, or another machine, and divide the proofs in which it hides.

    All copies together make as many proofs as the key or commitment is for. COPY and COPY.used go together; FILE makes
    N proofs less from now on. A copy without a count makes none.
    """
    from syurmy.sharing import share as divide

    shared = divide(file, copy, proofs)
    if json:
        print_json({"file": str(file), "copy": str(copy), "proofs": proofs, "positions": shared.positions,
                    "positions_left": shared.left})  # fmt: skip
        return
    text = f"{copy} and {copy}.used: for {proofs:,} proofs; {file} has {shared.left:,} positions left"
    terminal().print(text, markup=False, soft_wrap=True)
