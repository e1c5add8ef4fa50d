"""``syurmy-vm certify`` and ``verify-key``: that a key's params are what its program declares."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import syurmy
from syurmy.commands.common import (
    Clock,
    Debug,
    Device,
    Json,
    Keys,
    ProgramPath,
    Target,
    going_on,
    print_json,
    tell,
    terminal,
)

if TYPE_CHECKING:
    from syurmy import display
    from syurmy.commands.models import Opened
    from syurmy.prover.protocol.bundle import BundleCertificate, BundleKey
    from syurmy.prover.protocol.certificate import Certificate
    from syurmy.prover.verifier.bundle import BundleCertified
    from syurmy.prover.verifier.certificate import Certified
    from syurmy.segmented import Certifying, Segmented


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
    N - 1 are left, if they rest on it, fewer if they do not. Make one and keep it. Of a model in segments or steps the
    file holds one for the key of each segment.
    """
    from syurmy import display
    from syurmy import keys as kept
    from syurmy.commands import models
    from syurmy.prover.protocol.bundle import BundleKey

    at = models.opened(program, None)
    vk_path = kept.key_paths(at.path, keys)[1]
    target = output or vk_path.with_suffix(".cert")
    clock = Clock()
    with display.Working("certify") as working:
        certificate: Certificate | BundleCertificate
        found: Certified | BundleCertified
        resumed = None
        if (whole := at.segmented) is None:
            certificate, found, hiding, left = _of_program(at, keys, target, clock, working)
        else:
            key = BundleKey.load(kept.existing(vk_path))
            made = _of_bundles(whole, key, keys, target, clock, working)
            certificate, found, left, resumed = made.certificate, made.certified, made.left, made.resumed
            hiding = key.hiding
    if resumed:
        tell(f"{resumed} segments were certified before")
    if json:
        print_json({
            "program": at.program.name,
            "key": found.key_digest.hex(),
            "certificate": found.digest.hex(),
            "certificate_file": str(target),
            "certificate_bytes": len(certificate.data),
            "soundness_bits": found.soundness_bits,
            "zero_knowledge": hiding,
            "proofs_left": None if left is None else left[0],
            "uncertified_proofs_left": None if left is None else left[1],
            "resumed": resumed,
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


def _of_program(
    at: Opened, keys: Path | None, target: Path, clock: Clock, working: display.Working
) -> tuple[Certificate, Certified, bool, tuple[int, int] | None]:
    """A certificate of the key of a program in one piece, in its file, what it says, whether the key hides, and what is
    left."""
    from syurmy import keys as kept
    from syurmy.prover.certify import proofs_left
    from syurmy.prover.keys import ProvingKey
    from syurmy.prover.verifier.certificate import check_certificate

    key = ProvingKey.load(kept.existing(kept.key_paths(at.path, keys)[0]), at.program)
    made = clock("certify", lambda: syurmy.certify(key, working))
    working("verify", 1.0)
    found = clock("verify", lambda: check_certificate(key.verifying_key, made))
    made.save(target)
    return made, found, key.mode.hiding, proofs_left(key)


def _of_bundles(
    whole: Segmented, key: BundleKey, keys: Path | None, target: Path, clock: Clock, working: display.Working
) -> Certifying:
    """That of the key of a whole: those of segments are kept as they are made, and go when the file is written."""
    from syurmy import segmented
    from syurmy.parts import Parts, folder_of

    folder = folder_of(target)
    with Parts(folder, key.digest(), {}, {}, others="delete it, or write elsewhere with -o FILE") as parts:
        with going_on(parts, len(key.segments), "segments are certified"):
            made: Certifying = clock(
                "certify", lambda: segmented.certify(key, lambda k: whole.load(k, keys), parts, working)
            )
            made.certificate.save(target)
        parts.finish()
    return made


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
