"""The verifier. Reads a key and a proof; accepts with the statement, or rejects with a step and a reason.

It mirrors prover/prove.py step by step: every message is read through ``Receiver``, which absorbs it, and every
challenge comes after what it must depend on. Imports: field, transcript, Merkle paths, encodings, multilinear
extensions, and the plan that both sides derive from the program; nothing of the prover.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from syurmy.isa import collector
from syurmy.isa.arrays import I64
from syurmy.isa.errors import SyurmyError
from syurmy.isa.graph import Public
from syurmy.isa.path import Path
from syurmy.isa.records import cached_property, dataclass
from syurmy.isa.refusal import refusing
from syurmy.isa.source import Source
from syurmy.isa.summary import Summary, listed
from syurmy.prover.field import ONE, ext_array, ext_list
from syurmy.prover.protocol import mle
from syurmy.prover.protocol.budget import Opening
from syurmy.prover.protocol.certificate import Certificate
from syurmy.prover.protocol.claims import Pulled
from syurmy.prover.protocol.contraction import Contraction
from syurmy.prover.protocol.description import Description
from syurmy.prover.protocol.hidden import Hidden, Ledger, Value, combination
from syurmy.prover.protocol.key import PROTOCOL_VERSION, VerifyingKey, renewed, unusable
from syurmy.prover.protocol.ladder import EqWeight
from syurmy.prover.protocol.mask import pad_row_weights, widened
from syurmy.prover.protocol.params_claims import combined_weights
from syurmy.prover.protocol.path import decode_path
from syurmy.prover.protocol.plan import Plan, fixed_plan
from syurmy.prover.protocol.proof import Proof
from syurmy.prover.protocol.soundness import TARGET_BITS, InsufficientSoundness
from syurmy.prover.protocol.statement import (
    MAGIC,
    NO_CERTIFICATE,
    absorb_statement,
    decode_statement,
    start_transcript,
    statement_size,
)
from syurmy.prover.protocol.tensors import TensorCommitment, named_size, read_named
from syurmy.prover.protocol.transcript import Receiver, Rejected, Transcript
from syurmy.prover.verifier.front import Ends
from syurmy.prover.verifier.opening import Matrix, claims_on_rows, verify_ladder
from syurmy.prover.verifier.outlined import Outlined

if TYPE_CHECKING:
    from syurmy.prover.verifier.certificate import Certified


@dataclass(frozen=True, repr=False)
class Statement(Summary):
    """What an accepted proof says: the program ran on inputs of which these are the public ones, and gave this.

    ``batch`` inputs were run; if more than one, ``inputs`` and ``outputs`` have a leading axis. ``branches``: public
    bits of every conditional branch, by instruction. ``description``: what the key says that the integers stand for.
    ``hiding``: the proof tells nothing else. ``commitments``: those that the proof names, of inputs and outputs.
    ``certificate``: the digest of the key's certificate that the verifier has checked, so that the params are proven to
    be as declared.
    """

    program: str
    key_digest: bytes
    inputs: dict[str, I64]
    outputs: dict[str, I64]
    reveals: list[tuple[int, I64]]
    soundness_bits: float
    soundness: list[tuple[str, float]]
    batch: int = 1
    branches: Mapping[int, Sequence[int]] = field(default_factory=dict)
    description: Description = Description()
    hiding: bool = False
    commitments: Mapping[str, TensorCommitment] = field(default_factory=dict)
    certificate: bytes | None = None

    @cached_property
    def input_values(self) -> dict[str, npt.NDArray[Any]]:
        """What the public inputs stand for (reals, by the scales in the key), under the names of the model."""
        return self.description.input_values(self.inputs)

    @cached_property
    def output_values(self) -> dict[str, npt.NDArray[Any]]:
        """What the outputs stand for (reals, by the scales in the key), under the names of the model."""
        return self.description.output_values(self.outputs)

    def summary(self) -> list[tuple[str, str]]:
        rows = [("of program", self.program), ("key", f"{self.key_digest.hex()[:16]}…")]
        rows += [("batch", str(self.batch))] if self.batch > 1 else []
        return [*rows, ("inputs", listed(self.input_values)), ("outputs", listed(self.output_values))]

    def table(self) -> list[tuple[str, str]]:
        from syurmy.described import rows  # around the verifier, which does without it

        return [*self.summary()[:2], *rows(self), ("soundness", f"{self.soundness_bits:.1f} bits")]


class Verifier(Summary):
    """A verifying key with its plan; verifies any number of proofs of at most ``max_steps`` steps, all inputs of a
    batch together (the key's own limit if that is less, or if none is given), and of batches of at most ``max_batch``
    inputs.

    The key is one, or its file or bytes; so is the ``certificate``, which is checked here, once. ``plan``: what
    ``fixed_plan`` gives for the key's program and limit, from who has made it already (a prover that checks its own
    proof), and ``certified`` what ``check_certificate`` gave for this key; the verifier trusts both. Raises
    ``SyurmyError`` if they cannot be used, ``Rejected`` for a certificate that does not hold. One verifier may be used
    by many threads at once.
    """

    def __init__(
        self,
        key: VerifyingKey | Source,
        *,
        certificate: Certificate | Source | None = None,
        max_steps: int | None = None,
        max_batch: int | None = None,
        plan: Plan | None = None,
        certified: Certified | None = None,
    ) -> None:
        self.vk = vk = VerifyingKey.load(key)
        self.max_steps = vk.max_steps if max_steps is None else min(max_steps, vk.max_steps)
        self.max_batch = self.max_steps if max_batch is None else max_batch
        with collector.held_back(), refusing(unusable, mistakes=True):
            self.program = vk.decoded
            # None where the path depends on data
            self.plan = fixed_plan(self.program, self.max_steps, vk.mode) if plan is None else plan
        if certificate is not None:
            from syurmy.prover.verifier.certificate import check_certificate  # it reads as _Run does

            certified = check_certificate(vk, certificate)
        self.certified = certified
        self._certified_plan = None if certified is None or self.plan is None else self.plan.certified()

    def plan_for(self, path: Path, certified: bool = False) -> Plan:
        """The plan for a path, of a proof that rests on the certificate where ``certified``; raises ``SyurmyError``
        where it is not a path of the program."""
        if path.batch > self.max_batch:
            raise Rejected("path", f"a batch of {path.batch} inputs, at most {self.max_batch} are verified")
        fixed = self._certified_plan if certified else self.plan
        if fixed is not None and path == Path():
            return fixed
        plan = Plan.of(self.program, path, self.max_steps, self.vk.mode)
        return plan.certified() if certified else plan

    def verify(self, proof: Proof | Source) -> Statement:
        """Accepts, or raises ``Rejected``; no other exception on any bytes. Raises ``InputError`` for a file that
        cannot be read, or is no proof."""
        data = Proof.given(proof).data
        with collector.held_back(), refusing(partial(Rejected, "format"), mistakes=True):
            return _Run(self, data).run()

    def summary(self) -> list[tuple[str, str]]:
        return [*self.vk.summary(), ("max_steps", f"{self.max_steps:,}"), ("max_batch", f"{self.max_batch:,}")]


def verify(
    vk: VerifyingKey | Source,
    proof: Proof | Source,
    *,
    certificate: Certificate | Source | None = None,
    max_steps: int | None = None,
    max_batch: int | None = None,
) -> Statement:
    """Accepts, or raises ``Rejected``. Raises another ``SyurmyError`` if the key itself cannot be used.

    The path that a proof names decides how much work its plan is: ``max_steps`` and ``max_batch`` limit it.
    """
    return Verifier(vk, certificate=certificate, max_steps=max_steps, max_batch=max_batch).verify(proof)


def check_magic(data: bytes, magic: bytes = MAGIC) -> None:
    """Refuses what is no proof, or certificate, and those of other versions."""
    what, command = ("proof", "prove") if magic == MAGIC else ("certificate", "certify")
    name, version = data[:8], int.from_bytes(data[8:10], "little")
    if name != magic[:8] or len(data) < len(magic):
        raise Rejected("format", f"this is not a {what}")
    if version != PROTOCOL_VERSION:
        todo = renewed(version, command)
        raise Rejected("format", f"the {what} has protocol version {version}, not {PROTOCOL_VERSION}: {todo}")


def rows_of(
    plan: Plan,
    opening: Opening,
    ends: Ends,
    root: bytes,
    params_root: bytes | None,
    tensor_roots: Sequence[bytes] = (),
) -> tuple[list[Matrix], list[tuple[EqWeight, Value]]]:
    """The matrices with the weights of their rows, and the evaluations that are claimed of the rows."""
    own = ends.point[len(ends.point) - plan.witness.log_entries :]
    split = plan.witness.log_rows
    opened = opening.matrices[0]
    weights = widened(mle.eq_vector(own[:split])[:, plan.witness.stored_rows], opened.shape)
    pads = tuple(pad_row_weights(opened.shape, i) for i in range(len(opened.places) - 1))
    matrices = [Matrix(opened, root, weights, pads)]
    on_rows: list[tuple[EqWeight, Value]] = [(EqWeight(opened.places[0][0].offset, tuple(own[split:])), ends.values[0])]
    if ends.claims:
        assert params_root is not None
        opened = opening.matrices[1]
        factors = mle.eq_vector(ends.delta, len(ends.claims))
        weights = widened(combined_weights(ends.claims, factors, opened.shape.rows), opened.shape)
        matrices.append(Matrix(opened, params_root, weights))
        at = EqWeight(opened.places[0][0].offset, tuple(ends.point[len(ends.point) - opened.shape.log_cols :]))
        on_rows.append((at, combination(zip(ends.values[1:], ext_list(factors), strict=True))))
    tensors = zip(opening.of_tensors, tensor_roots, ends.tensors, ends.of_tensors, strict=True)
    for opened, root, claim, value in tensors:
        weights = combined_weights([claim], ext_array([ONE]), opened.shape.rows)
        matrices.append(Matrix(opened, root, widened(weights, opened.shape)))
        (inside,) = claim.points
        offset = opened.places[0][0].offset + inside.offset
        on_rows.append((EqWeight(offset, inside.point), value))
    return matrices, on_rows


class Reading(Outlined):
    """One proof, or certificate, as its verifier reads it. ``planned`` says what of."""

    what, magic = "proof", MAGIC

    def __init__(self, vk: VerifyingKey, max_steps: int, proof: bytes) -> None:
        check_magic(proof, self.magic)
        self.vk, self.max_steps = vk, max_steps
        transcript = Transcript()
        start_transcript(transcript, self.magic)
        ledger = Ledger() if vk.mode.hiding else None
        super().__init__(Receiver(transcript, proof[len(self.magic) :], ledger))

    def planned(self, path: Path, certificate: bytes) -> Plan:
        """The plan for a path and the certificate that is named. Raises ``SyurmyError``."""
        raise NotImplementedError

    def accept(self) -> None:
        """All steps; raises ``Rejected``."""
        root = self.statement()
        alpha, beta, num, den = self.lookups()
        pulled, contractions, value = self.contract(alpha, beta, num, den)
        self.open(root, pulled, contractions, value)
        self.receiver.done()

    # ---- statement -----------------------------------------------------------------------------------------------

    def statement(self) -> bytes:
        """Root, key digest, public values: each inside its declared interval, so a value v + p cannot pass for v."""
        root = self.receiver.raw("witness root", 32)
        if (named := self.receiver.raw("key digest", 32)) != (own := self.vk.digest()):
            which = f"it names {named.hex()[:16]}, this is {own.hex()[:16]} of {self.vk.decoded.name}"
            raise Rejected("statement", f"the {self.what} belongs to another key: {which}")
        certificate = self.receiver.raw("certificate", 32)
        size = int.from_bytes(self.receiver.raw("path length", 4), "little")
        try:
            path = decode_path(self.receiver.raw("path", size), self.max_steps)
            self.plan = self.planned(path, certificate)
        except Rejected:
            raise
        except (ValueError, SyurmyError) as e:
            raise Rejected("path", str(e)) from None
        self.commitments = self.read_commitments()
        try:
            self.opening = Opening.of(self.plan, [c.layout for c in self.commitments.values()])
        except InsufficientSoundness as e:
            raise Rejected("soundness", str(e)) from None
        if not self.opening.budget.holds(TARGET_BITS):
            raise Rejected("soundness", f"{self.opening.budget.total_bits():.2f} bits, {TARGET_BITS} wanted")
        data = self.receiver.raw("statement", statement_size(self.plan))
        self.values = decode_statement(self.plan, data)
        for node, values in self.values.items():
            if values.size and (int(values.min()) < node.lo or int(values.max()) > node.hi):
                raise Rejected("statement", f"a value of '{node.name}' is outside [{node.lo}, {node.hi}]")
        absorb_statement(self.transcript, self.plan, self.vk, self.commitments)
        return root

    def read_commitments(self) -> dict[str, TensorCommitment]:
        """What the statement names of the committed inputs and outputs; the program says the rest of their types."""
        externals = self.plan.system.externals
        if not externals:
            return {}
        data = self.receiver.raw("commitments", named_size(externals))
        try:
            return read_named(externals, self.vk.mode.hiding, data)
        except ValueError as e:
            raise Rejected("statement", str(e)) from None

    def public_value(self, node: Public) -> I64:
        return self.values[node] if (known := node.values) is None else known

    # ---- openings ------------------------------------------------------------------------------------------------

    def open(self, root: bytes, pulled: list[Pulled], contractions: list[Contraction], target: Value) -> None:
        ends = self.claims(pulled, contractions, target)
        relations: list[Hidden] = []
        if self.receiver.ledger is not None:
            relations = self.receiver.ledger.relations
            self.receiver.ledger = None
        roots = [c.root for c in self.commitments.values()]
        matrices, on_rows = rows_of(self.plan, self.opening, ends, root, self.vk.params_root, roots)
        verify_ladder(self.receiver, self.opening, matrices, claims_on_rows(self.opening, on_rows, relations))


class _Run(Reading):
    def __init__(self, verifier: Verifier, proof: bytes) -> None:
        self.verifier = verifier
        super().__init__(verifier.vk, verifier.max_steps, proof)

    def planned(self, path: Path, certificate: bytes) -> Plan:
        """Fewer queries to the params only with the certificate that this verifier has checked itself."""
        known = self.verifier.certified
        if certificate == NO_CERTIFICATE:
            return self.verifier.plan_for(path)
        if known is None or known.digest != certificate:
            missing = "give it with --certificate" if known is None else f"this is {known.digest.hex()[:16]}"
            raise Rejected("certificate", f"the proof rests on certificate {certificate.hex()[:16]}: {missing}")
        return self.verifier.plan_for(path, certified=True)

    def run(self) -> Statement:
        self.accept()
        self.space.forget()
        return self.result(self.opening.budget.rows(), self.opening.budget.total_bits())

    def result(self, rows: list[tuple[str, float]], bits: float) -> Statement:
        inputs: dict[str, I64] = {}
        outputs: dict[str, I64] = {}
        description = self.vk.description
        for node, values in self.values.items():
            if node.source != "reveal":
                single = self.plan.system.flow.path.batch == 1
                mine = node.source == "input"
                (inputs if mine else outputs)[node.name] = values[0] if single else values
                meant = (description.input if mine else description.output)(node.name)
                if problem := meant.problem(node.shape[1:]):
                    raise Rejected("statement", f"the key describes another program: {problem}")
        reveals = [(i, self.values[n]) for i, n in self.plan.system.reveals]
        name = self.plan.system.program.name
        path = self.plan.system.flow.path
        return Statement(
            name,
            self.vk.digest(),
            inputs,
            outputs,
            reveals,
            bits,
            rows,
            path.batch,
            path.bits,
            description,
            self.vk.mode.hiding,
            self.commitments,
            None if self.verifier.certified is None else self.verifier.certified.digest,
        )
