"""``syurmy-vm commit``: commit to inputs of a program, for any number of programs that read them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from syurmy.commands.common import Batch, Debug, Inputs, Json, NoZk, ProgramPath, Raw, print_json, terminal


def commit(
    program: ProgramPath,
    input: Inputs = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Where to write the commitments and openings.")
    ] = Path(),
    proofs: Annotated[
        int,
        typer.Option(
            "--proofs", metavar="N", help="Proofs, under all keys together, in which the committed tensors stay hidden."
        ),
    ] = 16,
    no_zk: NoZk = False,
    batch: Batch = False,
    raw: Raw = False,
    force: Annotated[bool, typer.Option("--force", help="Write over openings of other tensors.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Commit to inputs that are declared committed: NAME.commitment for others, and NAME.opening, which is secret.

    Proofs name the commitment by its digest: two proofs that name one speak of one tensor. Give the opening to run or
    prove with -i NAME=@NAME.opening. Each proof uses it up a little; copies (`share`) divide what is promised. Of a
    compiled model inputs are what run takes: reals, by the recorded scales.
    """
    from syurmy import committing
    from syurmy.commands import models
    from syurmy.isa.errors import InputError

    at = models.opened(program, None, raw)
    names = {i.name for i in at.program.inputs if i.committed}
    if not names:
        committing.declared(at.program, "x")
    given = models.committed(at, input or [], names, batch)
    if not given:
        raise InputError("no input to commit to is given", code="I102", help=f"-i {min(names)}=VALUE")
    result = {}
    for name, values in given.items():
        path = out / f"{name}.opening"
        if path.exists() and not force:
            raise InputError(
                f"{path} is there already", code="F130", help="--force replaces it; its tensor cannot be proven then"
            )
        opening = committing.commit(
            at.program, name, values, hiding=not no_zk, proofs=proofs, batch=batch, description=at.description
        )
        public = committing.keep(opening, path)
        digest = opening.commitment.digest().hex()
        result[name] = {"digest": digest, "commitment": str(public), "opening": str(path)}
    if json:
        print_json({"program": at.program.name, "commitments": result, "proofs": None if no_zk else proofs})
        return
    console = terminal()
    for name, row in result.items():
        text = f"{name}: {row['digest']}\n  {row['commitment']} for others, {row['opening']} to keep secret"
        console.print(text, markup=False, soft_wrap=True)
    if not no_zk:
        console.print(f"hidden in {proofs:,} proofs, those with copies of an opening counted", markup=False)
