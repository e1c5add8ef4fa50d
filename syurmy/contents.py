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
from syurmy.isa.program import Program, visibility
from syurmy.prover.protocol import tensors
from syurmy.prover.protocol.bundle import CERTIFICATE_MAGIC as BUNDLE_CERTIFICATE_MAGIC
from syurmy.prover.protocol.bundle import KEY_MAGIC as BUNDLE_KEY_MAGIC
from syurmy.prover.protocol.bundle import MAGIC as BUNDLE_MAGIC
from syurmy.prover.protocol.bundle import Bundle, BundleCertificate, BundleKey
from syurmy.prover.protocol.certificate import Certificate
from syurmy.prover.protocol.description import Description
from syurmy.prover.protocol.key import VK_MAGIC, Mode, VerifyingKey
from syurmy.prover.protocol.path import decode_path
from syurmy.prover.protocol.proof import Proof
from syurmy.prover.protocol.statement import CERTIFICATE_MAGIC, MAGIC, NO_CERTIFICATE
from syurmy.prover.protocol.transcript import Rejected

PK_MAGIC = b"SYURMYPK"
OPENING_MAGIC = b"SYURMYTO"
LONGEST_MANIFEST = 2**24  # bytes


@dataclass(frozen=True)
class Content:
    """``kind``: program, model, verifying key and key certificate (or those of bundles), proving key, proof, bundle,
    commitment or opening; ``program`` where it holds one; ``data``: for JSON; ``rows``: for people."""

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
    with_magic |= {tensors.MAGIC: _commitment, OPENING_MAGIC: _tensor_opening}
    with_magic |= {CERTIFICATE_MAGIC[:8]: _certificate, BUNDLE_CERTIFICATE_MAGIC[:8]: _bundle_certificate}
    with_magic |= {BUNDLE_KEY_MAGIC: _bundle_key, BUNDLE_MAGIC[:8]: _bundle}
    data = read_bytes(path)
    if (reader := with_magic.get(data[:8])) is not None:
        return reader(path, data)
    if data[: len(encoding.MAGIC)] == encoding.MAGIC:
        return Content("program", encoding.decode(data))
    help = "programs (.tasm or binary), folders of models, keys (.vk, .pk), certificates, proofs and commitments are"
    if path.suffix == ".onnx":
        help = "compile it, and ask for the folder"
    raise InputError(f"{path} is nothing that info knows", code="K151", help=help)


def _model(folder: Path) -> Content:
    from syurmy.compiler.model import CompiledModel

    model = CompiledModel.read(folder)
    data: dict[str, Any] = {
        "error": model.error,
        "fine": model.fine,
        "missed": None if model.missed is None else str(model.missed),
    }
    rows = {"off by": f"{model.error:.2g} of the output's range on the samples"}
    if model.missed is not None:
        rows["missed"] = str(model.missed)
    if model.chained is not None and (g := model.generation) is not None and g.step is not None:
        rows["proven in"] = f"steps, a proof for {g.step.tokens_text} but the last, {model.chained.most} at most"
        data["chained"] = model.chained.most
    if model.cuts:
        at = model.segmented
        data["segments"] = [{"program": p.name, "file": str(at.file(k))} for k, p in enumerate(at.segments)]
        rows["proven in"] = f"{len(at.segments)} segments, in {at.file(0).parent.parent}"
    return Content("model", model.program, model.description, data, rows)


def _verifying_key(path: Path, data: bytes) -> Content:
    key = VerifyingKey.from_bytes(data)
    root = None if key.params_root is None else key.params_root.hex()
    rows = {"key": key.digest().hex(), "params": "none committed" if root is None else f"committed, root {root[:16]}…"}
    rows |= {"runs of at most": f"{key.max_steps:,} instructions", "size": display.bytes_text(len(data))}
    rows["proofs hide"] = _hidden(key.mode)
    found = {"key": key.digest().hex(), "params_root": root, "max_steps": key.max_steps, "bytes": len(data)}
    found |= {"zero_knowledge": key.mode.hiding, "proofs": key.mode.proofs or None}
    return Content("verifying key", key.decoded, key.description, found, rows)


def _bundle_key(path: Path, data: bytes) -> Content:
    key = BundleKey.from_bytes(data)
    rows = {"key": key.digest().hex(), "segments": str(len(key.segments)), "size": display.bytes_text(len(data))}
    rows["proofs hide"] = "all that is not public" if key.hiding else "nothing"
    carried = [] if key.steps is None else key.steps.carried
    if key.steps is not None:
        rows["run in"] = f"1 to {key.steps.most} steps"
        for c in carried:
            first = "" if c.first is None else f", {c.first} in the first"
            rows[f"handed on {described.name_text(c.source)}"] = (
                f"the next step's {described.name_text(c.target)}{first}"
            )
    links = []
    for link in key.links:
        source = "the whole's inputs" if link.source is None else f"segment {link.source}"
        shown = "public" if link.public else "committed"
        rows[f"link {described.name_text(link.name)}"] = (
            f"{link.type} {shown}, from {source} to segment {', '.join(map(str, link.readers))}"
        )
        links.append(
            {"name": link.name, "type": str(link.type), "visibility": shown, "from": link.source, "to": link.readers}
        )
    segments = [
        {
            "program": p.name,
            "key": k.digest().hex(),
            "params_root": None if k.params_root is None else k.params_root.hex(),
            "max_steps": k.max_steps,
            "proofs": k.mode.proofs or None,
        }
        for p, k in zip(key.programs, key.segments, strict=True)
    ]
    found: dict[str, Any] = {"key": key.digest().hex(), "bytes": len(data), "zero_knowledge": key.hiding}
    found |= {"program": key.name, "shared_params": list(key.shared_params)}
    found |= {"most_steps": None if key.steps is None else key.steps.most, "carried": [vars(c) for c in carried]}
    if key.shared_params:
        rows["params in several segments"] = ", ".join(map(described.name_text, key.shared_params))
    for kind, ports in (("inputs", key.inputs), ("outputs", key.outputs)):
        for p in ports:
            word = visibility(p.public, p.committed)
            rows[f"{kind[:-1]} {described.name_text(p.name)}"] = word
    return Content(
        "verifying key of bundles", None, key.description, found | {"segments": segments, "links": links}, rows
    )


def _bundle(path: Path, data: bytes) -> Content:
    bundle = Bundle(data)
    try:
        proofs = bundle.proofs()
    except Rejected as e:
        raise InputError(f"{path} is a damaged bundle: {e.reason}", code="K150") from e
    digest = bundle.key_digest
    found: dict[str, Any] = {"bytes": len(data), "key": digest.hex(), "segments": [len(p) for p in proofs]}
    rows = {"for key": digest.hex(), "proofs": str(len(proofs)), "size": display.bytes_text(len(data))}
    _beside_bundle(path, digest, found, rows)
    return Content("bundle", data=found, rows=rows)


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
        named = data[len(MAGIC) + 64 : start]
        found["certificate"] = None if named == NO_CERTIFICATE else named.hex()
        rows["rests on"] = f"certificate {named.hex()}" if named != NO_CERTIFICATE else "no certificate"
        _beside(path, proof.key_digest, found, rows)
    return Content("proof", data=found, rows=rows)


def _commitment(path: Path, data: bytes) -> Content:
    return Content("commitment", **_committed(tensors.TensorCommitment.from_bytes(data)))


def _committed(c: tensors.TensorCommitment) -> dict[str, Any]:
    batch, *shape = c.shape
    rows = {"digest": c.digest().hex(), "of": f"{c.dtype}{shape}" + (f", a batch of {batch:,}" if batch > 1 else "")}
    rows["hides"] = f"the tensor, in {c.mode.proofs:,} proofs" if c.mode.hiding else "nothing"
    if c.described is not None:
        rows["its integers"] = tensors.told(c.described)
    found = {"digest": c.digest().hex(), "dtype": str(c.dtype), "shape": shape, "batch": batch}
    return {"data": found | {"zero_knowledge": c.mode.hiding, "proofs": c.mode.proofs or None}, "rows": rows}


def _tensor_opening(path: Path, data: bytes) -> Content:
    """What is public of it, and how much of its allowance is left; nothing of the tensor."""
    from syurmy.prover.tensors import TensorOpening

    opening = TensorOpening.load(path)
    content = _committed(opening.commitment)
    if (allowance := opening.allowance) is not None:
        left = allowance.limit - allowance.used
        content["data"] |= {"positions_left": left, "positions": allowance.limit}
        content["rows"]["left"] = f"{left:,} of {allowance.limit:,} positions, of which each proof opens some"
    content["rows"]["holds"] = "the tensor: not for others"
    return Content("opening", **content)


def _certificate(path: Path, data: bytes) -> Content:
    certificate, version = Certificate.load(data), int.from_bytes(data[8:10], "little")
    digest, key = certificate.digest().hex(), certificate.key_digest.hex()
    found: dict[str, Any] = {"protocol": version, "bytes": len(data), "certificate": digest, "key": key}
    rows = {"certificate": digest, "for key": key, "protocol": str(version), "size": display.bytes_text(len(data))}
    _beside(path, certificate.key_digest, found, rows)
    return Content("key certificate", data=found, rows=rows)


def _bundle_certificate(path: Path, data: bytes) -> Content:
    certificate, version = BundleCertificate(data), int.from_bytes(data[8:10], "little")
    try:
        parts = certificate.parts()
    except Rejected as e:
        raise InputError(f"{path} is a damaged certificate: {e.reason}", code="K152") from e
    digest, key = certificate.digest().hex(), certificate.key_digest.hex()
    found: dict[str, Any] = {"protocol": version, "bytes": len(data), "certificate": digest, "key": key}
    digests = [Certificate(part).digest().hex() if part else None for part in parts]  # what proofs name
    found["segments"] = [{"bytes": len(p), "certificate": d} for p, d in zip(parts, digests, strict=True)]
    rows = {"certificate": digest, "for key": key, "protocol": str(version), "size": display.bytes_text(len(data))}
    others = ", the others commit no param" * (not all(parts))
    rows["of segments"] = f"{sum(map(bool, parts))} of {len(parts)}{others}"
    _beside_bundle(path, certificate.key_digest, found, rows)
    return Content("key certificate of bundles", data=found, rows=rows)


def _beside_bundle(path: Path, digest: bytes, found: dict[str, Any], rows: dict[str, str]) -> None:
    """As ``_beside``, of keys of bundles."""
    if (beside := path.with_suffix(".vk")).exists():
        mine = BundleKey.load(beside)
        same = mine.digest() == digest
        found["matches"] = str(beside) if same else None
        rows["beside it"] = f"{beside} of {mine.name}{'' if same else ', which is another key'}"


def _beside(path: Path, digest: bytes, found: dict[str, Any], rows: dict[str, str]) -> None:
    """Whether the key of the same name is that with this digest."""
    key = path.with_suffix(".vk")
    if key.exists():
        mine = VerifyingKey.load(key)
        same = mine.digest() == digest
        found["matches"] = str(key) if same else None
        program = mine.decoded.name
        rows["beside it"] = f"{key} of {program}{'' if same else ', which is another key'}"


def description_data(d: Description) -> dict[str, Any]:
    """What is said of a program, as JSON data."""
    return {
        "title": d.title or None,
        "source": d.source.hex() or None,
        "inputs": [described.data_of(x) for x in d.inputs],
        "outputs": [described.data_of(x) for x in d.outputs],
    }
