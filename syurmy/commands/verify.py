"""``syurmy-vm verify``: accept or reject a proof, and print what it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from syurmy.commands.common import Debug, Json


def verify(
    key: Annotated[Path, typer.Argument(metavar="PROG.vk", help="Verifying key.", show_default=False)],
    proof: Annotated[Path, typer.Argument(metavar="FILE.proof", help="Proof.", show_default=False)],
    reference: Annotated[
        bool, typer.Option("--reference", help="Verify in plain NumPy even where compiled kernels are loaded.")
    ] = False,
    max_steps: Annotated[
        int | None,
        typer.Option(
            "--max-steps", min=1, help="Reject longer runs before doing the work.", show_default="what the key allows"
        ),
    ] = None,
    max_batch: Annotated[
        int | None, typer.Option("--max-batch", min=1, help="Reject proofs of more inputs than this.")
    ] = None,
    expect: Annotated[
        list[str] | None,
        typer.Option(
            "--expect", metavar="NAME=VALUE", help="What an input or output must be; NAME=FILE or FILE; repeatable."
        ),
    ] = None,
    expect_key: Annotated[
        str | None, typer.Option("--expect-key", metavar="DIGEST", help="What the key's digest must begin with.")
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option("--certificate", metavar="PROG.cert", help="The key's certificate, checked before the proof."),
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option("--tokenizer", metavar="FILE", help="For the text of what a language model wrote."),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Every term of the soundness error.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="The program's integers, not what they stand for.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Verify a proof and print its statement. Exit code 0 accepted, 1 rejected or not as expected, 2 unreadable."""
    from syurmy.display import Working
    from syurmy.verification import answer

    with Working("verify"):
        limits = (max_steps, max_batch, expect, expect_key)
        found = answer(key, proof, reference, *limits, verbose, raw, certificate, tokenizer)
    return found.show(json, debug)
