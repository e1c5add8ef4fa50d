"""What the command ``verify`` answers, for ``syurmy-vm`` and for ``syurmy-verify``, as JSON data and as text."""

from __future__ import annotations

import sys
import time
import traceback
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import syurmy
from syurmy import display, files, keys
from syurmy.isa.errors import InputError
from syurmy.outcome import DONE, NOT_PRIVATE, REJECTED, TRUSTED, print_json
from syurmy.prover.protocol import arithmetic, plain
from syurmy.prover.protocol.statement import MAGIC
from syurmy.prover.protocol.transcript import Rejected
from syurmy.prover.verifier.verify import Statement


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
    key: Path, proof: Path, reference: bool = False, max_steps: int | None = None, max_batch: int | None = None
) -> Answer:
    """Verify the proof in one file under the key in another; see ``syurmy.verify`` for the limits. Raises
    ``SyurmyError`` where one cannot be used."""
    verifying_key = keys.read_verifying_key(key)
    data = files.read_bytes(proof)
    if data[:8] != MAGIC[:8]:
        raise InputError(f"{proof} is not a proof", code="K150")
    start = time.perf_counter()
    try:
        with arithmetic.using(plain) if reference else nullcontext():
            statement = syurmy.verify(verifying_key, data, max_steps=max_steps, max_batch=max_batch)
    except Rejected as e:
        text = f"error[V100]: proof rejected at step '{e.step}': {e.reason}"
        return Answer({"verified": False, "step": e.step, "reason": e.reason}, text, e)
    seconds = time.perf_counter() - start
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
        "seconds": seconds,
        "proof_bytes": len(data),
    }
    return Answer(result, "\n".join(_lines(statement, result)))


def _lines(statement: Statement, result: dict[str, Any]) -> list[str]:
    lines = [f"accepted: program {statement.program}, key {result['key_digest'][:16]}…"]
    lines += display.tensor_lines("public input", statement.inputs)
    lines += display.tensor_lines("output", statement.outputs)
    lines += display.tensor_lines("reveal", {f"@{i}": v for i, v in statement.reveals})
    if statement.batch > 1:
        lines.append(f"batch of {statement.batch:,} inputs: the first axis of inputs and outputs counts them")
    if result["branches"]:
        lines.append(f"path: {result['branches']:,} branches, their bits are public")
    took, size = display.seconds_text(result["seconds"]), display.bytes_text(result["proof_bytes"])
    lines.append(f"soundness {statement.soundness_bits:.1f} bits, {took}, {size}")
    budget = ", ".join(f"{name} {bits:.1f}" for name, bits in statement.soundness[:-1])
    return [*lines, f"errors in bits, added up: {budget}", NOT_PRIVATE, TRUSTED]
