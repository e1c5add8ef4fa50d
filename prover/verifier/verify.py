"""The verifier. Reads a key and a proof; accepts with the statement, or rejects with a step and a reason.

It mirrors prover/prove.py step by step: every message is read through ``Receiver``, which absorbs it, and every
challenge comes after what it must depend on. Imports: field, transcript, Merkle paths, encodings, multilinear
extensions, and the plan that both sides derive from the program; nothing of the prover.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.isa.encoding import decode
from syurmy.isa.errors import SyurmyError
from syurmy.isa.graph import ParamTensor, Public
from syurmy.isa.path import DEFAULT_MAX_STEPS, Path
from syurmy.isa.refusal import refusing
from syurmy.prover.field import ONE, ZERO, Ext, P, ext_array
from syurmy.prover.protocol import mle
from syurmy.prover.protocol import reduction as red
from syurmy.prover.protocol.budget import Opening
from syurmy.prover.protocol.claims import Pulled, Sweep, Term
from syurmy.prover.protocol.contraction import Contraction, all_contractions
from syurmy.prover.protocol.counts import Counts
from syurmy.prover.protocol.grinding import GRINDING_BITS, grinding_holds, grinding_seed, needs_grinding
from syurmy.prover.protocol.key import PROTOCOL_VERSION, VerifyingKey, unusable
from syurmy.prover.protocol.ladder import Claim, EqWeight
from syurmy.prover.protocol.params_claims import combined_weights
from syurmy.prover.protocol.path import decode_path
from syurmy.prover.protocol.plan import Plan, fixed_plan
from syurmy.prover.protocol.soundness import TARGET_BITS, InsufficientSoundness
from syurmy.prover.protocol.statement import MAGIC, absorb_statement, decode_statement, start_transcript, statement_size
from syurmy.prover.protocol.transcript import Receiver, Rejected, Transcript
from syurmy.prover.protocol.weights import WeightSpace
from syurmy.prover.verifier import lookup, sumcheck
from syurmy.prover.verifier.opening import Matrix, verify_claims, verify_ladder

HALF = (P + 1) // 2


@dataclass(frozen=True)
class Statement:
    """What an accepted proof says: the program ran on inputs of which these are the public ones, and gave this.

    ``batch`` inputs were run; if more than one, ``inputs`` and ``outputs`` have a leading axis. ``branches``: public
    bits of every conditional branch, by instruction.
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


class Verifier:
    """A verifying key with its plan; verifies any number of proofs of at most ``max_steps`` steps, all inputs of a
    batch together, and of batches of at most ``max_batch`` inputs.

    Raises ``SyurmyError`` if the key cannot be used.
    """

    def __init__(self, vk: VerifyingKey, *, max_steps: int = DEFAULT_MAX_STEPS, max_batch: int | None = None) -> None:
        self.vk = vk
        self.max_steps = max_steps
        self.max_batch = max_steps if max_batch is None else max_batch
        with refusing(unusable):
            self.program = decode(vk.program)
            self.plan = fixed_plan(self.program, max_steps)  # None where the path depends on data

    def plan_for(self, path: Path) -> Plan:
        """The plan for a path; raises ``SyurmyError`` where it is not one of the program."""
        if path.batch > self.max_batch:
            raise Rejected("path", f"a batch of {path.batch} inputs, at most {self.max_batch} are verified")
        if self.plan is not None and path == Path():
            return self.plan
        return Plan.of(self.program, path, self.max_steps)

    def verify(self, proof: bytes) -> Statement:
        """Accepts, or raises ``Rejected``; no other exception on any bytes."""
        with refusing(partial(Rejected, "format")):
            return _Run(self, proof).run()


def verify(
    vk: VerifyingKey, proof: bytes, *, max_steps: int = DEFAULT_MAX_STEPS, max_batch: int | None = None
) -> Statement:
    """Accepts, or raises ``Rejected``. Raises another ``SyurmyError`` if the key itself cannot be used.

    The path that a proof names decides how much work its plan is: ``max_steps`` and ``max_batch`` limit it.
    """
    return Verifier(vk, max_steps=max_steps, max_batch=max_batch).verify(proof)


def check_magic(proof: bytes) -> None:
    """Refuses what is no proof, and proofs of other versions."""
    name, version = proof[:8], int.from_bytes(proof[8:10], "little")
    if name != MAGIC[:8] or len(proof) < len(MAGIC):
        raise Rejected("format", "this is not a proof")
    if version != PROTOCOL_VERSION:
        todo = "make it again with `syurmy-vm prove`" if version < PROTOCOL_VERSION else "update syurmy-vm to verify it"
        raise Rejected("format", f"the proof has protocol version {version}, not {PROTOCOL_VERSION}: {todo}")


class _Run:
    def __init__(self, verifier: Verifier, proof: bytes) -> None:
        check_magic(proof)
        self.vk, self.verifier = verifier.vk, verifier
        self.transcript = Transcript()
        start_transcript(self.transcript)
        self.receiver = Receiver(self.transcript, proof[len(MAGIC) :])
        self.space = WeightSpace()
        self.sweep = Sweep(self.space)

    def run(self) -> Statement:
        root = self.statement()
        alpha, beta, num, den = self.lookups()
        pulled, contractions, value = self.contract(alpha, beta, num, den)
        rows, bits = self.open(root, pulled, contractions, value)
        self.receiver.done()
        return self.result(rows, bits)

    # ---- statement -----------------------------------------------------------------------------------------------

    def statement(self) -> bytes:
        """Root, key digest, public values: each inside its declared interval, so a value v + p cannot pass for v."""
        root = self.receiver.raw("witness root", 32)
        if (named := self.receiver.raw("key digest", 32)) != (own := self.vk.digest()):
            which = f"the proof names {named.hex()[:16]}, this is {own.hex()[:16]} of {self.verifier.program.name}"
            raise Rejected("statement", f"the proof belongs to another key: {which}")
        size = int.from_bytes(self.receiver.raw("path length", 4), "little")
        try:
            path = decode_path(self.receiver.raw("path", size), self.verifier.max_steps)
            self.plan = self.verifier.plan_for(path)
        except Rejected:
            raise
        except (ValueError, SyurmyError) as e:
            raise Rejected("path", str(e)) from None
        try:
            self.opening = Opening.of(self.plan)
        except InsufficientSoundness as e:
            raise Rejected("soundness", str(e)) from None
        if not self.opening.budget.holds(TARGET_BITS):
            raise Rejected("soundness", f"{self.opening.budget.total_bits():.2f} bits, {TARGET_BITS} wanted")
        data = self.receiver.raw("statement", statement_size(self.plan))
        self.values = decode_statement(self.plan, data)
        for node, values in self.values.items():
            if values.size and (int(values.min()) < node.lo or int(values.max()) > node.hi):
                raise Rejected("statement", f"a value of '{node.name}' is outside [{node.lo}, {node.hi}]")
        absorb_statement(self.transcript, self.plan, self.vk)
        return root

    def public_value(self, node: Public) -> I64:
        return self.values[node] if node.values is None else node.values

    # ---- lookups -------------------------------------------------------------------------------------------------

    def lookups(self) -> tuple[Ext, Ext, Ext, Ext]:
        plan = self.plan
        if needs_grinding(plan):
            seed = grinding_seed(self.transcript)
            if not grinding_holds(seed, self.receiver.raw("grinding nonce", 8), GRINDING_BITS):
                raise Rejected("lookup", "the grinding nonce does not hold")
        alpha = self.transcript.challenge("alpha")
        beta = self.transcript.challenge("beta")
        self.space.points[red.FINGERPRINT] = self.transcript.challenges("fingerprint point", plan.fingerprint_bits)
        point: list[Ext] = []
        num, den = ZERO, ONE
        if plan.blocks:
            point, num, den = lookup.verify_tree(self.receiver, plan.log_leaves, alpha, plan.padding)
        extra = self.transcript.challenges("equation point", plan.point_length - len(point))
        self.space.points[red.LOOKUP] = extra + point
        return alpha, beta, num, den

    # ---- claims and contractions ---------------------------------------------------------------------------------

    def contract(self, alpha: Ext, beta: Ext, num: Ext, den: Ext) -> tuple[list[Pulled], list[Contraction], Ext]:
        """Where the claims ended, and what their columns and params must add up to."""
        gamma = self.transcript.challenge("gamma")
        point = self.space.points[red.LOOKUP]
        leaf_point = point[len(point) - self.plan.log_leaves :]
        claims, target = red.leaf_claims(self.plan, self.sweep, alpha, beta, gamma, num, den, leaf_point)
        first = self.sweep.run(claims)
        target = target - red.known_part(first, self.sweep, self.public_value)
        contractions = all_contractions(first.products, self.sweep)
        if not contractions:
            return [first], [], target
        total = self.receiver.ext("contraction sum", 1)[0]
        rounds = max(c.variables for c in contractions)
        degree = max(c.degree for c in contractions)
        point, value = sumcheck.verify(self.receiver, "contraction", total, rounds, degree)
        self.space.points[red.CONTRACTION] = point
        finals = self.receiver.ext("contraction values", 2 * len(contractions))
        expected = ZERO
        for i, c in enumerate(contractions):
            scale = (
                c.coefficient * pow(HALF, rounds - c.variables, P) * c.batch_value(self.sweep, red.CONTRACTION, rounds)
            )
            expected = expected + scale * finals[2 * i] * finals[2 * i + 1]
        if expected != value:
            raise Rejected("contraction", "the operands' values do not fit the sumcheck")
        eta = self.transcript.challenge("eta")
        operands = red.operand_claims(contractions, self.sweep, rounds, eta)
        second = self.sweep.run(operands)
        if second.products:
            raise Rejected("contraction", "an operand of a product holds a product")
        target = target - total - red.known_part(second, self.sweep, self.public_value)
        for (_, term), v in zip(operands, finals, strict=True):
            target = target + term.coefficient * v
        return [first, second], contractions, target

    # ---- openings ------------------------------------------------------------------------------------------------

    def open(
        self, root: bytes, pulled: list[Pulled], contractions: list[Contraction], target: Ext
    ) -> tuple[list[tuple[str, float]], float]:
        plan = self.plan
        opening = self.opening
        points, rest = red.split_params(pulled)
        if Counts.of(plan, contractions, points, rest) != opening.counts:
            raise Rejected("soundness", "the claims are not as many as the plan counts")
        if rest:
            target, reduced = self.reduce_params(rest, target)
            points = points + reduced
        claims = red.params_claims(plan, points, self.sweep)
        columns = red.columns_of(pulled, self.sweep)
        point, values, delta = verify_claims(
            self.receiver,
            target,
            plan.witness.log_entries,
            lambda point: red.omega_at(columns, plan.witness, self.sweep, point),
            claims,
            plan.params.shape.log_cols if plan.params is not None else 0,
        )
        factors = mle.eq_vector(delta, max(1, len(claims)))
        own = point[len(point) - plan.witness.log_entries :]
        split = plan.witness.log_rows
        weights = np.ascontiguousarray(mle.eq_vector(own[:split])[:, plan.witness.stored_rows])
        matrices = [Matrix(opening.matrices[0], root, weights)]
        on_rows = [Claim(EqWeight(opening.matrices[0].offset, tuple(own[split:])), ext_array(values[:1]))]
        if claims:
            assert plan.params is not None
            assert self.vk.params_root is not None
            shape = plan.params.shape
            weights = combined_weights(claims, factors, shape.rows)
            matrices.append(Matrix(opening.matrices[1], self.vk.params_root, weights))
            at = EqWeight(opening.matrices[1].offset, tuple(point[len(point) - shape.log_cols :]))
            on_rows.append(Claim(at, ext_array([mle.dot(factors, ext_array(values[1:]))])))
        verify_ladder(self.receiver, opening, matrices, on_rows)
        return opening.budget.rows(), opening.budget.total_bits()

    def reduce_params(self, rest: dict[ParamTensor, list[Term]], target: Ext) -> tuple[Ext, list[red.ParamPoint]]:
        """The target with these claims replaced by evaluations, and the evaluation claims."""
        plan = self.plan
        assert plan.params is not None
        total = self.receiver.ext("params reduction sum", 1)[0]
        rounds = max(plan.params.places[p.name].log_size for p in rest)
        point, value = sumcheck.verify(self.receiver, red.PARAMS, total, rounds, 2)
        self.space.points[red.PARAMS] = point
        finals = self.receiver.ext("params reduction values", len(rest))
        expected = ZERO
        for (param, terms), v in zip(rest.items(), finals, strict=True):
            place = plan.params.places[param.name]
            weight = ZERO
            for t in terms:
                weight = weight + red.term_at(t, place, self.sweep, point)
            expected = expected + weight * v * pow(HALF, rounds - place.log_size, P)
        if expected != value:
            raise Rejected("params", "the values of the params do not fit the reduction")
        points = red.reduced_points(plan, rest, rounds, self.transcript.challenge("zeta"))
        for p, v in zip(points, finals, strict=True):
            target = target + p.coefficient * v
        return target - total, points

    def result(self, rows: list[tuple[str, float]], bits: float) -> Statement:
        inputs: dict[str, I64] = {}
        outputs: dict[str, I64] = {}
        for node, values in self.values.items():
            if node.source != "reveal":
                single = self.plan.system.flow.path.batch == 1
                (inputs if node.source == "input" else outputs)[node.name] = values[0] if single else values
        reveals = [(i, self.values[n]) for i, n in self.plan.system.reveals]
        name = self.plan.system.program.name
        path = self.plan.system.flow.path
        return Statement(name, self.vk.digest(), inputs, outputs, reveals, bits, rows, path.batch, path.bits)
