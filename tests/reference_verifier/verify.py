"""The verifier: a proof or a certificate under a key, and what it says (sections 0, 10 and 11)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from syurmy.isa.builder import Builder, ConstraintSystem
from syurmy.isa.declared import assemble_declared
from syurmy.isa.errors import SyurmyError
from syurmy.isa.graph import External
from syurmy.isa.path import Path
from syurmy.isa.program import Program
from syurmy.isa.system import assemble
from tests.reference_verifier.argument import Argument
from tests.reference_verifier.arrangement import Arrangement, Tensor, arranged, plan_of
from tests.reference_verifier.errors import Rejected, require
from tests.reference_verifier.files import (
    RECORD,
    VERSION,
    Bytes,
    Commitment,
    Key,
    Values,
    read_commitment,
    read_key,
    read_path,
    read_values,
    value_bytes,
)
from tests.reference_verifier.plan import Plan
from tests.reference_verifier.tensors import height, tensor_matrix
from tests.reference_verifier.transcript import Reader, Transcript, digest

PROOF, CERTIFICATE = b"SYURMYPF", b"SYURMYCT"
PARAMETERS = b"goldilocks u^2-7; blake3, digests of 25 bytes; reed-solomon ladder, unique decoding; 100 bits"
NONE = bytes(32)


@dataclass(frozen=True)
class Statement:
    """What an accepted proof says, under the key with this digest: ``values`` of public inputs, revealed tensors and
    public outputs, in order; ``commitments``: the digests that name committed inputs and outputs. ``error``: the sum
    of the budget's terms. ``log``: of the transcript."""

    program: Program
    key: bytes
    hiding: bool
    certificate: bytes | None
    path: Path
    values: list[Values]
    commitments: Mapping[str, bytes]
    sizes: Arrangement
    log: list[str]

    @property
    def error(self) -> Fraction:
        return self.sizes.budget.total


class Verifier:
    """Of proofs under one key. ``certificate``: one of the key, which is verified at once; a proof that rests on it is
    accepted then. Raises ``Rejected`` for a key or certificate that is none. Remembers what follows from a path."""

    def __init__(self, key: bytes, certificate: bytes | None = None) -> None:
        self.key = read_key(key)
        self.certificate: bytes | None = None
        self.certificate_log: list[str] = []
        self._plans: dict[bytes, Plan] = {}
        self._arranged: dict[tuple[object, ...], Arrangement] = {}
        if certificate is not None:
            self.certificate_log = verify_certificate(self.key, certificate)
            self.certificate = digest(b"syurmy-vm certificate" + certificate)

    def verify(self, proof: bytes) -> Statement:
        """What a proof says. Raises ``Rejected``."""
        key = self.key
        reader, root = begun(proof, PROOF, key)
        t = reader.transcript
        named = reader.bytes("certificate", 32)
        rests = named != NONE
        encoded = reader.bytes("path", int.from_bytes(reader.bytes("path length", 4), "little"))
        path = read_path(encoded, key.max_steps)
        require(not rests or named == self.certificate, "certificate", "the proof rests on one that is not known")
        if encoded not in self._plans:
            self._plans[encoded] = planned(key, lambda: assemble(key.program, path, key.max_steps))
        plan = self._plans[encoded]
        tensors = read_tensors(reader, key, plan.system)
        values = read_statement(reader, plan.system)
        if tensors:
            t.absorb("commitment digests", b"".join(tensor.digest for tensor in tensors))
        t.absorb("program", digest(b"syurmy-vm program" + key.encoded))
        t.absorb_zeros("trace cells", plan.cells)
        what = encoded, tuple(tensor.commitment.proofs for tensor in tensors), rests
        if what not in self._arranged:
            self._arranged[what] = arranged(key, plan, tensors, False, rests)
        sizes = self._arranged[what]
        Argument(reader, plan, sizes, (root, key.root), values, tensors).run()
        names = {tensor.node.name: tensor.digest for tensor in tensors}
        said = named if rests else None
        return Statement(key.program, key.digest, key.hiding, said, path, values, names, sizes, t.log)


def verify(key: bytes, proof: bytes, certificate: bytes | None = None) -> Statement:
    """What a proof says. Raises ``Rejected``."""
    return Verifier(key, certificate).verify(proof)


def verify_certificate(key: Key, data: bytes) -> list[str]:
    """That the committed params of a key are what its program declares. Returns the transcript's log."""
    require(key.root is not None, "certificate", "this key has no committed params")
    reader, root = begun(data, CERTIFICATE, key)
    plan = planned(key, lambda: assemble_declared(key.program))
    t = reader.transcript
    require(reader.bytes("certificate", 32) == NONE, "statement", "a certificate rests on none")
    path = reader.bytes("path", int.from_bytes(reader.bytes("path length", 4), "little"))
    require(path == b"\x01\x00", "path", "it is not that of one run")
    reader.bytes("statement", 0)
    t.absorb("program", digest(b"syurmy-vm program" + key.encoded))
    t.absorb_zeros("trace cells", 0)
    Argument(reader, plan, arranged(key, plan, [], True, False), (root, key.root), [], []).run()
    return t.log


def begun(data: bytes, magic: bytes, key: Key) -> tuple[Reader, bytes]:
    """Step 1 and the first two messages of step 2; the witness root."""
    reader = Reader(data, Transcript())
    require(reader.take(8) == magic, "format", "this is no such file")
    require(int.from_bytes(reader.take(2), "little") == VERSION, "format", "it is of another version")
    reader.transcript.absorb("protocol", magic + VERSION.to_bytes(2, "little") + PARAMETERS)
    root = reader.bytes("witness root", 32)
    require(reader.bytes("key digest", 32) == key.digest, "statement", "this is the proof of another key")
    return reader, root


def planned(key: Key, build: Callable[[], Builder]) -> Plan:
    try:
        return plan_of(key, build())
    except SyurmyError as e:
        raise Rejected("path", str(e)) from None


def read_tensors(reader: Reader, key: Key, system: ConstraintSystem) -> list[Tensor]:
    out: list[Tensor] = []
    if not system.externals:
        return out
    records = reader.bytes("commitments", RECORD * len(system.externals))
    for i, node in enumerate(system.externals):
        made = read_commitment(records[RECORD * i : RECORD * (i + 1)], key.hiding)
        out.append(tensor_of(node, made, key.hiding))
    return out


def tensor_of(node: External, made: Commitment, hiding: bool) -> Tensor:
    """A committed input or output, its matrix and its name."""
    stack, split = tensor_matrix(node, made.proofs)
    rows, all_rows = stack.rows(split.c), height(stack, split)
    name = made.digest(node, hiding, split.c, split.b, rows, all_rows - rows, split.random)
    return Tensor(node, made, stack, split, all_rows, name)


def read_statement(reader: Reader, system: ConstraintSystem) -> list[Values]:
    size = sum(value_bytes(*p.interval) * p.size for p in system.publics)
    f = Bytes(reader.bytes("statement", size), "statement")
    return [read_values(f, p.source, p.name, p.shape, p.interval) for p in system.publics]
