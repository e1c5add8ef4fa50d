"""``syurmy-vm certify`` and ``verify-key``: that a key's params are what its program declares."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import syurmy
from syurmy.commands.common import Clock, Debug, Device, Json, Keys, ProgramPath, Target, print_json, terminal


def certify(
    program: ProgramPath,
    output: Target = None,
    keys: Keys = None,
    device: Device = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Prove that the params of PROG.pk are what the program declares; write PROG.cert, for those who verify.

    Where params are hidden, a certificate uses up what several proofs may open of them: of N proofs that the key is for
    N - 1 are left, if they rest on it, fewer if they do not. Make one and keep it.
    """
    from syurmy import display
    from syurmy import keys as kept
    from syurmy.commands import models
    from syurmy.isa.errors import InputError
    from syurmy.prover.certify import proofs_left
    from syurmy.prover.keys import ProvingKey
    from syurmy.prover.verifier.certificate import check_certificate

    at = models.opened(program, None)
    if at.segmented is not None:
        parts = "in segments" if at.segmented.steps is None else "in steps"
        message = f"certificates are of the keys of single programs, this model is proven {parts}"
        raise InputError(message, code="K156")
    paths = kept.key_paths(at.path, keys)
    target = output or paths[1].with_suffix(".cert")
    clock = Clock()
    with display.Working("certify") as working:
        key = ProvingKey.load(kept.existing(paths[0]), at.program)
        certificate = clock("certify", lambda: syurmy.certify(key, working))
        working("verify", 1.0)
        found = clock("verify", lambda: check_certificate(key.verifying_key, certificate))
    certificate.save(target)
    left = proofs_left(key)
    if json:
        print_json({
            "program": at.program.name,
            "key": found.key_digest.hex(),
            "certificate": found.digest.hex(),
            "certificate_file": str(target),
            "certificate_bytes": len(certificate.data),
            "soundness_bits": found.soundness_bits,
            "zero_knowledge": key.mode.hiding,
            "proofs_left": None if left is None else left[0],
            "uncertified_proofs_left": None if left is None else left[1],
            "seconds": clock.seconds,
        })  # fmt: skip
        return
    console = terminal()
    size = display.bytes_text(len(certificate.data))
    console.print(f"{target}: {size}, certificate {found.digest.hex()}", markup=False, soft_wrap=True)
    console.print(f"certified {display.seconds_text(clock.seconds['certify'])}")
    if left is not None:
        resting, others = left
        console.print(
            f"params stay hidden in {resting} more proofs that rest on it (prove --certificate), or in {others} that "
            "do not: keep it, as another would use up as much again",
            markup=False,
            soft_wrap=True,
        )


def verify_key(
    key: Annotated[Path, typer.Argument(metavar="PROG.vk", help="Verifying key.", show_default=False)],
    certificate: Annotated[Path, typer.Argument(metavar="PROG.cert", help="Its certificate.", show_default=False)],
    reference: Annotated[
        bool, typer.Option("--reference", help="Verify in plain NumPy even where compiled kernels are loaded.")
    ] = False,
    expect_key: Annotated[
        str | None, typer.Option("--expect-key", metavar="DIGEST", help="What the key's digest must begin with.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Every term of the soundness error.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Check a key's certificate: params are what the program declares, whoever made the key. Exit codes as verify."""
    from syurmy.display import Working
    from syurmy.verification import answer_of_key

    with Working("verify"):
        found = answer_of_key(key, certificate, reference, expect_key, verbose)
    return found.show(json, debug)
