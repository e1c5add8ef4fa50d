"""What the command ``verify`` answers, for ``syurmy-vm`` and for ``syurmy-verify``, as JSON data and as text."""

from __future__ import annotations

import math
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from syurmy import completions, described, display, expected, files, keys
from syurmy.isa.errors import InputError
from syurmy.isa.path import StepLimit
from syurmy.isa.records import dataclass
from syurmy.outcome import DONE, REJECTED, params, print_json, privacy
from syurmy.prover.protocol import arithmetic, plain
from syurmy.prover.protocol.bundle import MAGIC as BUNDLE_MAGIC
from syurmy.prover.protocol.bundle import Bundle, BundleKey
from syurmy.prover.protocol.description import Description
from syurmy.prover.protocol.proof import Proof
from syurmy.prover.protocol.statement import MAGIC
from syurmy.prover.protocol.transcript import Rejected
from syurmy.prover.verifier.bundle import (
    BundleCertified,
    BundleStatement,
    BundleVerifier,
    check_bundle_certificate,
)
from syurmy.prover.verifier.certificate import Certified, check_certificate
from syurmy.prover.verifier.verify import Statement, Verifier


@dataclass(frozen=True)
class Answer:
    """``data`` for ``--json``; ``text`` for people; ``rejected`` where the proof is refused."""

    data: dict[str, Any]
    text: str
    rejected: Rejected | None = None

    def show(self, json: bool, debug: bool) -> int:
        """Print it; the exit code, 0 accepted, 1 rejected."""
        if self.rejected is not None and debug:
            traceback.print_exception(self.rejected)
        if json:
            print_json(self.data)
        else:
            print(self.text, file=sys.stdout if self.rejected is None else sys.stderr)
        return DONE if self.rejected is None else REJECTED


def answer(
    key: Path,
    proof: Path,
    reference: bool = False,
    max_steps: int | None = None,
    max_batch: int | None = None,
    expect: Sequence[str] | None = None,
    expect_key: str | None = None,
    verbose: bool = False,
    raw: bool = False,
    certificate: Path | None = None,
    tokenizer: Path | None = None,
) -> Answer:
    """Verify the proof in one file under the key in another, and compare it with what is expected (``expected.py``);
    see ``syurmy.verify`` for the limits. ``raw``: the program's integers instead of what the key says they stand for;
    ``certificate``: of the key, checked before; ``tokenizer``: for the text of what a language model wrote.
    Raises ``SyurmyError`` where a file or an option cannot be used."""
    verifying_key = keys.read_any_key(key)
    whole = isinstance(verifying_key, BundleKey)
    vocabulary = None
    if tokenizer is not None:
        from syurmy.vocabulary import Vocabulary

        vocabulary = Vocabulary.read(tokenizer)
    said, named = expected.commitments(expect or (), verifying_key)
    last = verifying_key.programs[-1] if isinstance(verifying_key, BundleKey) else verifying_key.decoded
    steps = verifying_key.steps if isinstance(verifying_key, BundleKey) else None
    texts = completions.SAID if completions.states(last, steps) else ()
    wanted = expected.values(said, Description() if raw else verifying_key.description, texts)
    if expect_key is not None and (other := expected.other_key(verifying_key.digest(), expect_key)):
        return _refused("V121", Rejected("expected key", other))
    data = files.read_bytes(proof)
    if data[:8] not in (MAGIC[:8], BUNDLE_MAGIC[:8]):
        raise InputError(f"{proof} is not a proof", code="K150")
    if whole != (data[:8] == BUNDLE_MAGIC[:8]):
        kinds = ("a bundle of segments' proofs", "one program's proof")
        message = f"{proof} is {kinds[whole]}, {key} is the key of {kinds[not whole]}"
        raise InputError(message, code="K156", help="the key of a bundle lies beside the whole model")
    start = time.perf_counter()
    try:
        with arithmetic.using(plain) if reference else nullcontext():
            try:
                verifier: Verifier | BundleVerifier
                if isinstance(verifying_key, BundleKey):
                    verifier = BundleVerifier(
                        verifying_key, certificate=certificate, max_steps=max_steps, max_batch=max_batch
                    )
                else:
                    verifier = Verifier(
                        verifying_key, certificate=certificate, max_steps=max_steps, max_batch=max_batch
                    )
            except Rejected as e:
                return _refused("V122", e)
            statement = verifier.verify(data)
    except Rejected as e:
        digest = (Bundle if whole else Proof)(data).key_digest
        other = "" if digest == verifying_key.digest() else keys.named(proof.with_suffix(".vk"), digest)
        return _refused("V100", Rejected(e.step, f"{e.reason}; {other}") if other else e)
    except StepLimit as e:
        return _refused("V100", Rejected("path", f"{e.message}, as many as may be verified"))
    seconds = time.perf_counter() - start
    other = expected.other_commitment(statement, named, verifying_key)
    written = completions.completions(statement, last, steps)
    spoken = expected.spoken(wanted, texts) if len(written) == 1 else {}
    other = other or (completions.other_text(written[0], spoken, vocabulary) if spoken else "")
    wanted = {name: value for name, value in wanted.items() if name not in spoken}
    if difference := other or expected.difference(statement, wanted, raw):
        return _refused("V120", Rejected("expected values", difference))
    implied = completions.implied(last, steps) if written else frozenset[str]()
    if vocabulary is not None and not written:
        raise InputError("the key's program states no text", code="I144", help="leave --tokenizer out")
    result = {
        "verified": True,
        "program": statement.program,
        "key": statement.key_digest.hex(),
        "generated": completions.data(written, vocabulary),
        **_about(statement.description),
        "inputs": statement.inputs if raw else statement.input_values,
        "outputs": statement.outputs if raw else statement.output_values,
        "labels": {} if raw else described.label_data(statement),
        "integers": {"inputs": statement.inputs, "outputs": statement.outputs},
        "reveals": [{"instruction": i, "values": v} for i, v in statement.reveals],
        "commitments": {name: c.digest().hex() for name, c in statement.commitments.items()},
        "zero_knowledge": statement.hiding,
        "certificate": None if statement.certificate is None else statement.certificate.hex(),
        **parts_data(statement),
        "batch": statement.batch,
        "branches": sum(map(len, statement.branches.values())),
        "soundness_bits": statement.soundness_bits,
        "soundness": {name: bits for name, bits in statement.soundness if math.isfinite(bits)},
        "seconds": {"verify": seconds},
        "proof_bytes": len(data),
    }
    text = _lines(statement, result, verbose, raw, completions.lines(written, vocabulary), implied)
    return Answer(result, "\n".join(text))


def answer_of_key(
    key: Path, certificate: Path, reference: bool = False, expect_key: str | None = None, verbose: bool = False
) -> Answer:
    """Check the certificate in one file of the key in another. Raises ``SyurmyError`` where a file cannot be used."""
    verifying_key = keys.read_any_key(key)
    if expect_key is not None and (other := expected.other_key(verifying_key.digest(), expect_key)):
        return _refused("V121", Rejected("expected key", other))
    start = time.perf_counter()
    try:
        with arithmetic.using(plain) if reference else nullcontext():
            found: Certified | BundleCertified
            if isinstance(verifying_key, BundleKey):
                found = check_bundle_certificate(verifying_key, certificate)
            else:
                found = check_certificate(verifying_key, certificate)
    except Rejected as e:
        return _refused("V122", e)
    seconds = time.perf_counter() - start
    result: dict[str, Any] = {
        "verified": True,
        "program": found.program,
        "key": found.key_digest.hex(),
        "certificate": found.digest.hex(),
        "soundness_bits": found.soundness_bits,
        "soundness": {name: bits for name, bits in found.soundness if math.isfinite(bits)},
        "seconds": {"verify": seconds},
    }
    whole = isinstance(found, BundleCertified)
    result |= _certified_parts(found) if isinstance(found, BundleCertified) else {"segments": [], "shared_params": []}
    lines = [
        f"accepted: program {found.program}, key {result['key'][:16]}…, certificate {result['certificate'][:16]}…",
        "params lie in their declared intervals, keep their bounds, and are well encoded, whoever made the key",
        *shared_line(result["shared_params"]),
        f"soundness {found.soundness_bits:.1f} bits{' in every certificate' * whole}, {display.seconds_text(seconds)}",
    ]
    return Answer(result, "\n".join(lines + _terms(result, "certificate") * verbose))


def _certified_parts(found: BundleCertified) -> dict[str, Any]:
    """What JSON says of the certificates of segments' keys; null of one that commits no param."""
    segments = [
        c and {"program": c.program, "key": c.key_digest.hex(), "certificate": c.digest.hex(),
               "soundness_bits": c.soundness_bits}
        for c in found.segments
    ]  # fmt: skip
    return {"segments": segments, "shared_params": list(found.shared_params)}


def parts_data(statement: Statement) -> dict[str, Any]:
    """What JSON says of a bundle's segments and links; none of a single proof's."""
    if not isinstance(statement, BundleStatement):
        return {"segments": [], "links": {}, "shared_params": [], "chained": None}
    segments = [
        {"program": s.program, "key": s.key_digest.hex(), "soundness_bits": s.soundness_bits}
        for s in statement.segments
    ]
    links = {name: digest.hex() for name, digest in statement.links}
    chained = len(statement.steps) or None
    return {"segments": segments, "links": links, "shared_params": list(statement.shared_params), "chained": chained}


def segments_text(segments: int, links: int) -> str:
    """How many there are, in words."""
    handed = "1 tensor" if links == 1 else f"{links} tensors"
    return f"{segments} segments, {handed} handed on by commitments"


def steps_text(steps: int, proofs: int) -> str:
    """How many steps there are, in words."""
    of_each = "" if steps == proofs else f" of {proofs // steps} segments each"
    return "1 step" + of_each if steps == 1 else f"{steps} steps{of_each}, each with what the one before hands on"


def parts_line(statement: Statement) -> list[str]:
    """The same in words."""
    if not isinstance(statement, BundleStatement):
        return []
    said = segments_text(len(statement.segments), len(statement.links))
    if statement.steps:
        said = steps_text(len(statement.steps), len(statement.segments))
    return [f"in {said}: every proof and every link holds", *shared_line(statement.shared_params)]


def shared_line(shared: Sequence[str]) -> list[str]:
    """What is trusted of params that several segments have."""
    if not shared:
        return []
    named = described.name_text(shared[0]) + (f" and {len(shared) - 1} more" if len(shared) > 1 else "")
    return [f"params in several segments ({named}): that they are the same is trusted from set-up"]


def _terms(result: dict[str, Any], each: str = "proof") -> list[str]:
    terms = [f"{name} {bits:.1f}" for name, bits in result["soundness"].items() if name != "total"]
    how = f"of every {each}" if result.get("segments") else "added up"
    return [f"errors in bits, {how}: {', '.join(terms)}"]


def _refused(code: str, e: Rejected) -> Answer:
    said = {"V100": "proof rejected", "V122": "certificate rejected"}.get(code, "not what is expected")
    text = f"error[{code}]: {said} at step '{e.step}': {e.reason}"
    error = {"code": code, "message": f"{said} at step '{e.step}': {e.reason}", "step": e.step, "reason": e.reason}
    return Answer({"ok": False, "verified": False, "error": error}, text, e)


def _about(d: Description) -> dict[str, Any]:
    return {"title": d.title or None, "source": d.source.hex() or None}


def _without(statement: Statement, names: frozenset[str]) -> Statement:
    """A statement to show, without these inputs and outputs."""
    sides = ({n: x for n, x in side.items() if n not in names} for side in (statement.inputs, statement.outputs))
    inputs, outputs = sides
    return replace(statement, inputs=inputs, outputs=outputs)


def _lines(
    statement: Statement,
    result: dict[str, Any],
    verbose: bool,
    raw: bool,
    written: Sequence[str],
    implied: frozenset[str],
) -> list[str]:
    """``implied``: what the text that was ``written`` says already."""
    lines = [f"accepted: program {statement.program}, key {result['key'][:16]}…"]
    lines += about_lines(statement.description)
    lines += parts_line(statement)
    lines += described.lines(_without(statement, frozenset() if verbose else implied), raw)
    lines += written
    lines += display.tensor_lines("reveal", {f"@{i}": v for i, v in statement.reveals})
    for name, c in statement.commitments.items():
        lines.append(f"committed {described.name_text(name)} = {c.digest().hex()}")
    if statement.batch > 1:
        lines.append(f"batch of {statement.batch:,} inputs: the first axis of inputs and outputs counts them")
    if result["branches"]:
        lines.append(f"path: {result['branches']:,} branches, their bits are public")
    took, size = display.seconds_text(result["seconds"]["verify"]), display.bytes_text(result["proof_bytes"])
    every = " in every proof" * isinstance(statement, BundleStatement)
    lines.append(f"soundness {statement.soundness_bits:.1f} bits{every}, {took}, {size}")
    lines += _terms(result) * verbose
    shared = isinstance(statement, BundleStatement) and bool(statement.shared_params)
    return [*lines, privacy(statement.hiding), params(statement.certificate is not None, shared)]


def about_lines(d: Description) -> list[str]:
    """What a key says of the whole, in the words of its maker."""
    said = [described.quoted(d.title)] * bool(d.title) + [f"model file SHA-256 {d.source.hex()[:16]}…"] * bool(d.source)
    return [f"the key's maker says: {', '.join(said)}"] * bool(said)
