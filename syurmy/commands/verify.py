"""``syurmy-vm verify``: accept or reject a proof, and print what it shows."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

import syurmy
from syurmy.commands.common import NOT_PRIVATE, TRUSTED, Clock, Debug, Json, print_json, terminal


def verify(
    key: Annotated[Path, typer.Argument(metavar="PROG.vk", help="Verifying key.", show_default=False)],
    proof: Annotated[Path, typer.Argument(metavar="FILE.proof", help="Proof.", show_default=False)],
    max_steps: Annotated[
        int | None,
        typer.Option("--max-steps", min=1, help="Reject longer runs before doing the work.", show_default="1,000,000"),
    ] = None,
    max_batch: Annotated[
        int | None, typer.Option("--max-batch", min=1, help="Reject proofs of more inputs than this.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Verify a proof and print its statement. Exit code 0 accepted, 1 rejected, 2 unreadable."""
    from syurmy import display, files, keys
    from syurmy.prover.protocol.transcript import Rejected

    verifying_key = keys.read_verifying_key(key)
    data = files.read_bytes(proof)
    clock = Clock()
    try:
        with display.Working("verify"):
            statement = clock(
                "verify", lambda: syurmy.verify(verifying_key, data, max_steps=max_steps, max_batch=max_batch)
            )
    except Rejected as e:
        if debug:
            traceback.print_exc()
        if json:
            print_json({"verified": False, "step": e.step, "reason": e.reason})
        else:
            print(f"error[V100]: proof rejected at step '{e.step}': {e.reason}", file=sys.stderr)
        raise typer.Exit(1) from None
    result = {
        "verified": True,
        "program": statement.program,
        "key_digest": statement.key_digest.hex(),
        "inputs": statement.inputs,
        "outputs": statement.outputs,
        "reveals": [{"instruction": i, "values": v} for i, v in statement.reveals],
        "batch": statement.batch,
        "branches": sum(map(len, statement.branches.values())),
        "soundness_bits": statement.soundness_bits,
        "soundness": dict(statement.soundness),
        "seconds": clock.seconds["verify"],
        "proof_bytes": len(data),
    }
    if json:
        print_json(result)
        return
    console = terminal()
    console.print(
        f"accepted: program {statement.program}, key {result['key_digest'][:16]}…", markup=False, soft_wrap=True
    )
    display.tensors(console, "public input", statement.inputs)
    display.tensors(console, "output", statement.outputs)
    display.tensors(console, "reveal", {f"@{i}": v for i, v in statement.reveals})
    if statement.batch > 1:
        console.print(f"batch of {statement.batch:,} inputs: the first axis of inputs and outputs counts them")
    if result["branches"]:
        console.print(f"path: {result['branches']:,} branches, their bits are public")
    took = display.seconds_text(clock.seconds["verify"])
    console.print(f"soundness {statement.soundness_bits:.1f} bits, {took}, {display.bytes_text(len(data))}")
    budget = ", ".join(f"{name} {bits:.1f}" for name, bits in statement.soundness[:-1])
    console.print(f"errors in bits, added up: {budget}", markup=False, soft_wrap=True)
    console.print(NOT_PRIVATE, TRUSTED, sep="\n", markup=False)
