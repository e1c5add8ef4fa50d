"""What a file or folder is, and what it says of itself: programs, models, keys, proofs. For ``syurmy-vm info``.

Files are known by how they begin, not by their names. Nothing is verified here: what a proof shows is said by verify.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import syurmy
from syurmy import described, descriptions, display
from syurmy.files import read_bytes
from syurmy.isa import encoding
from syurmy.isa.errors import InputError
from syurmy.isa.path import MAX_STEPS
from syurmy.isa.program import Program
from syurmy.prover.protocol.description import Description
from syurmy.prover.protocol.key import VK_MAGIC, Mode, VerifyingKey
from syurmy.prover.protocol.path import decode_path
from syurmy.prover.protocol.proof import Proof
from syurmy.prover.protocol.statement import MAGIC

PK_MAGIC = b"SYURMYPK"
LONGEST_MANIFEST = 2**24  # bytes


@dataclass(frozen=True)
class Content:
    """``kind``: program, model, verifying key, proving key or proof; ``program`` where it holds one; ``data``: for
    JSON; ``rows``: for people."""

    kind: str
    program: Program | None = None
    description: Description = Description()  # noqa: RUF009  (immutable)
    data: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, str] = field(default_factory=dict)


def read(path: Path) -> Content:
    """What is at ``path``. Raises ``InputError`` for what cannot be read, or is none of these."""
    if path.is_dir():
        return _model(path)
    if path.suffix == ".tasm":
        program = syurmy.load(path)
        return Content("program", program, descriptions.beside(path, program))
    with_magic = {VK_MAGIC: _verifying_key, PK_MAGIC: _proving_key, MAGIC[:8]: _proof}
    data = read_bytes(path)
    if (reader := with_magic.get(data[:8])) is not None:
        return reader(path, data)
    if data[: len(encoding.MAGIC)] == encoding.MAGIC:
        return Content("program", encoding.decode(data))
    help = "programs (.tasm or binary), folders of compiled models, keys (.vk, .pk) and proofs are"
    if path.suffix == ".onnx":
        help = "compile it, and ask for the folder"
    raise InputError(f"{path} is nothing that info knows", code="K151", help=help)


def _model(folder: Path) -> Content:
    from syurmy.compiler.model import CompiledModel

    model = CompiledModel.read(folder)
    data = {"error": model.error, "fine": model.fine, "missed": None if model.missed is None else str(model.missed)}
    rows = {"off by": f"{model.error:.2g} of the output's range on the samples"}
    if model.missed is not None:
        rows["missed"] = str(model.missed)
    return Content("model", model.program, model.description, data, rows)


def _verifying_key(path: Path, data: bytes) -> Content:
    key = VerifyingKey.from_bytes(data)
    root = None if key.params_root is None else key.params_root.hex()
    rows = {"key": key.digest().hex(), "params": "none committed" if root is None else f"committed, root {root[:16]}…"}
    rows |= {"runs of at most": f"{key.max_steps:,} instructions", "size": display.bytes_text(len(data))}
    rows["proofs hide"] = _hidden(key.mode)
    found = {"key": key.digest().hex(), "params_root": root, "max_steps": key.max_steps, "bytes": len(data)}
    found |= {"zero_knowledge": key.mode.hiding, "proofs": key.mode.proofs or None}
    return Content("verifying key", encoding.decode(key.program), key.description, found, rows)


def _hidden(mode: Mode) -> str:
    text = "all that is not public" if mode.hiding else "nothing"
    return text + (f", params in {mode.proofs:,} proofs" if mode.proofs else "")


def _proving_key(path: Path, data: bytes) -> Content:
    length = int.from_bytes(data[8:16], "little")
    try:
        if length > min(len(data), LONGEST_MANIFEST):
            raise ValueError
        manifest = json.loads(data[16 : 16 + length])
        key = bytes.fromhex(manifest["key"]).hex()
        arrays = {str(name): math.prod(shape) for name, (_, shape, _) in manifest["arrays"].items()}
        version = int(manifest["version"])
        mode = Mode(bool(manifest["hiding"]), int(manifest["proofs"]))
        description = Description.from_bytes(bytes.fromhex(manifest["description"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        message = f"{path} is not a proving key, or is damaged"
        raise InputError(message, code="K130", help="run setup again") from e
    rows = {"for key": key, "protocol": str(version), "size": display.bytes_text(len(data))}
    rows["holds"] = "params and their encoding: not for others" if arrays else "no params"
    rows["proofs hide"] = _hidden(mode)
    found = {"key": key, "protocol": version, "bytes": len(data), "zero_knowledge": mode.hiding}
    return Content("proving key", None, description, found | {"proofs": mode.proofs or None}, rows)


def _proof(path: Path, data: bytes) -> Content:
    proof, version = Proof(data), int.from_bytes(data[8:10], "little")
    found: dict[str, Any] = {"protocol": version, "bytes": len(data)}
    rows = {"protocol": str(version), "size": display.bytes_text(len(data))}
    start = len(MAGIC) + 96
    if data[:10] == MAGIC and len(data) >= start + 4:
        found["key"] = rows["for key"] = proof.key_digest.hex()
        size = int.from_bytes(data[start : start + 4], "little")
        try:
            taken = decode_path(data[start + 4 : start + 4 + size], MAX_STEPS)
        except ValueError:
            raise InputError(f"{path} is a damaged proof", code="K150") from None
        branches = sum(map(len, taken.bits.values()))
        found |= {"batch": taken.batch, "branches": branches}
        rows |= {"inputs": f"{taken.batch:,}", "branches": f"{branches:,}"}
        key = path.with_suffix(".vk")
        if key.exists():
            mine = VerifyingKey.load(key)
            same = mine.digest() == proof.key_digest
            found["matches"] = str(key) if same else None
            program = encoding.decode(mine.program).name
            rows["beside it"] = f"{key} of {program}{'' if same else ', which is another key'}"
    return Content("proof", data=found, rows=rows)


def description_data(d: Description) -> dict[str, Any]:
    """What is said of a program, as JSON data."""
    return {
        "title": d.title or None,
        "source": d.source.hex() or None,
        "inputs": [described.data_of(x) for x in d.inputs],
        "outputs": [described.data_of(x) for x in d.outputs],
    }
