"""The prover: a trace in, a proof out. The protocol in one place (docs/protocol.md); its mirror is
prover/verifier/verify.py.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from syurmy import gpu, host
from syurmy.host import peak_mb, return_memory
from syurmy.isa.arrays import I64
from syurmy.isa.errors import InputError
from syurmy.isa.graph import Committed, Node, Table, Tuples
from syurmy.isa.path import Path
from syurmy.isa.trace import Trace
from syurmy.prover import lookup, opening, sumcheck
from syurmy.prover.again import Again
from syurmy.prover.ahead import as_now
from syurmy.prover.check import Unsatisfied, check
from syurmy.prover.commitment import Commitment, commit, stored_matrix
from syurmy.prover.course import Course
from syurmy.prover.dense import Dense
from syurmy.prover.field import U64, ZERO, Ext, P, lift, to_field
from syurmy.prover.given import check_names, check_opening
from syurmy.prover.grinding import grinding_nonce
from syurmy.prover.kernels.bind import dot_rows
from syurmy.prover.kernels.place import place as placed
from syurmy.prover.keys import ProvingKey
from syurmy.prover.operands import Tables, bind_operand, pad_table
from syurmy.prover.pads import fill_pads, pad_rows, sacrificed
from syurmy.prover.protocol import mle
from syurmy.prover.protocol import reduction as red
from syurmy.prover.protocol.budget import Opening
from syurmy.prover.protocol.certificate import Certificate
from syurmy.prover.protocol.claims import Pulled, Term
from syurmy.prover.protocol.contraction import Contraction, Side, all_contractions
from syurmy.prover.protocol.counts import Counts
from syurmy.prover.protocol.grinding import GRINDING_BITS, grinding_seed, needs_grinding
from syurmy.prover.protocol.hidden import Hidden, Value
from syurmy.prover.protocol.layout import MatrixLayout
from syurmy.prover.protocol.leaves import Block
from syurmy.prover.protocol.params_claims import ParamsClaim
from syurmy.prover.protocol.path import encode_path
from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.proof import Proof, Report
from syurmy.prover.protocol.soundness import TARGET_BITS, InsufficientSoundness
from syurmy.prover.protocol.statement import (
    MAGIC,
    NO_CERTIFICATE,
    absorb_statement,
    encode_statement,
    start_transcript,
)
from syurmy.prover.protocol.tensors import named
from syurmy.prover.protocol.transcript import Sender, Transcript
from syurmy.prover.secrets import Secrets
from syurmy.prover.tensors import TensorOpening
from syurmy.prover.verifier.front import Ends
from syurmy.prover.verifier.opening import Matrix, claims_on_rows
from syurmy.prover.verifier.verify import rows_of
from syurmy.prover.witness import Witness

if TYPE_CHECKING:
    from syurmy.prover.placed import Placed

Progress = Callable[[str, float], None]
LARGE = 1 << 22  # leaves from which a proof on the host is lean
LEAF = 300  # bytes of a proof, about, by leaf
FRESH = 80  # of these, what proofs on the host take in any case
SHARE = 4  # a proof that takes more than this part of the memory gives it back to the system


def prove(
    pk: ProvingKey,
    trace: Trace,
    progress: Progress | None = None,
    commitments: Mapping[str, TensorOpening] | None = None,
    certificate: Certificate | None = None,
    lean: bool = False,
) -> Proof:
    """Prove a run; ``commitments``: the openings of its committed inputs and outputs, by name; in fewer bytes where the
    proof may rest on a ``certificate`` of the key: it is verified only together with that. ``lean``: the same proof in
    less memory and more time (syurmy/memory.py). Raises ``InputError`` K153 for a certificate of another key, P172
    where the memory of the device is too small, ``Unsatisfied`` where a value of the trace is not in a table that it
    should be in. Of a trace that is wrong elsewhere it makes a proof that is rejected."""
    course = Course.of(pk, pk.plan is not None, trace.batch)
    try:
        with host.objects_set_aside(), course.forgotten_if_broken_off():
            prover = Prover(pk, trace, progress, commitments, rests_on(pk, certificate), lean, course)
            host.keep_freed_memory(prover.keeps)
            proof = prover.run()
        course.end(pk, trace.batch == 1 or prover.keeps)
    except gpu.OutOfDeviceMemory as e:
        where, there = gpu.current().name, f", and {e.memory >> 20:,} MiB were free" if e.memory else ""
        raise InputError(
            f"the proof needs more than {(e.held + e.needed) >> 20:,} MiB of the memory of {where}{there}",
            code="P172",
            help="prove on the cpu, or a smaller batch",
        ) from None
    except InputError as e:
        if e.code != Unsatisfied.code:
            raise
        violations = check(pk.program, trace, max_steps=pk.verifying_key.max_steps)
        if not violations:
            raise
        raise Unsatisfied(violations) from e
    if not prover.keeps:
        return_memory()
    return proof


def keeps(leaves: int) -> bool:
    """Whether the process keeps what a proof with so many leaves frees, unless its memory is limited."""
    return SHARE * LEAF * leaves < (host.memory() or 8 << 30)


def fresh_pages(leaves: int, memory: int | None = None) -> int:
    """Bytes that a proof with so many leaves takes in any case and its process keeps, 0 of a small one; ``memory``: the
    most that it may take."""
    return FRESH * leaves if leaves >= LARGE and memory is None and keeps(leaves) else 0


def rests_on(pk: ProvingKey, certificate: Certificate | None) -> bytes:
    """What a proof names. Raises ``InputError`` K153."""
    if certificate is None:
        return NO_CERTIFICATE
    if certificate.key_digest != (own := pk.verifying_key.digest()):
        which = f"it is for {certificate.key_digest.hex()[:16]}, the key is {own.hex()[:16]}"
        raise InputError(f"the certificate is that of another key: {which}", code="K153")
    return certificate.digest()


class Prover:
    """One proof. The steps are methods, so that tests can cheat in exactly one of them. ``certificate``: the digest of
    the one on which it rests."""

    magic = MAGIC

    def __init__(
        self,
        pk: ProvingKey,
        trace: Trace,
        progress: Progress | None = None,
        commitments: Mapping[str, TensorOpening] | None = None,
        certificate: bytes = NO_CERTIFICATE,
        lean: bool = False,
        course: Course | None = None,
    ) -> None:
        self.pk = pk
        self.certificate = certificate
        self.course = Course(False) if course is None else course
        self.plan = self.planned(Path(trace.batch, trace.bits))
        self.witness = Witness(self.plan.system, trace, compiled=True)
        self.tensors = self.openings(commitments or {})
        try:
            self.opening = Opening.of(self.plan, [t.commitment.layout for t in self.tensors])
        except InsufficientSoundness as e:
            raise InputError(
                f"the run is too large for {TARGET_BITS} bits of soundness: {e}",
                code="P171",
                help="prove a smaller batch, or fewer steps",
            ) from None
        self.progress = progress or (lambda phase, fraction: None)
        self.transcript = Transcript()
        start_transcript(self.transcript, self.magic)
        self.sender = Sender(self.transcript)
        self.space, self.sweep = self.course.space, self.course.sweep
        self.secrets: Secrets | None = None
        self.pads: U64 | None = None
        self.on_operands: list[red.Claim] = []
        self.report = Report()
        self.alpha = self.beta = Ext(0)
        self._clock = time.perf_counter()
        self.placed = self.on_device()
        self.lean = lean or (self.placed is None and self.plan.used_leaves >= LARGE)
        self.keeps = not lean and keeps(self.plan.used_leaves)

    def planned(self, path: Path) -> Plan:
        pk = self.pk
        plan = pk.plan if path.batch == 1 else self.course.plan
        plan = plan or Plan.of(pk.program, path, pk.verifying_key.max_steps, pk.mode)
        if pk.plan is not None and path.batch > 1:
            self.course.plan = plan
        return plan if self.certificate == NO_CERTIFICATE else plan.certified()

    def on_device(self) -> Placed | None:
        """Where the selected device is worth it for a proof of this size; else None: everything is on the host."""
        memory = gpu.place(max(self.plan.used_leaves, self.plan.witness.true_entries))
        if memory is gpu.HOST:
            return None
        from syurmy.gpu.grid import Grid  # imports Numba's CUDA
        from syurmy.prover.placed import Placed

        return Placed(self.plan, self.witness, self.sweep, memory) if isinstance(memory, Grid) else None

    def run(self) -> Proof:
        start = time.perf_counter()
        if self.pk.allowance is not None and self.opening.counts.rows:
            self.pk.allowance.take(self.opening.matrices[1].queries)
        for tensor, opened in zip(self.tensors, self.opening.of_tensors, strict=True):
            if tensor.allowance is not None:
                tensor.allowance.take(opened.queries)
        commitment, flat = self.commit()
        self._lap("commit", 0.25)
        num, den = self.lookups()
        self._lap("lookup", 0.55)
        pulled, contractions = self.contract(num, den)
        self._lap("contraction", 0.75)
        self.let_go()
        self.open(commitment, self.flat() if flat is None else flat, pulled, contractions)
        self._lap("opening", 1.0)
        data, head = self.magic + self.sender.bytes(), len(self.magic)
        fields = [("magic", 0, head), *((n, o + head, s) for n, o, s in self.sender.fields)]
        r, plan = self.report, self.plan
        r.seconds["prove"] = time.perf_counter() - start
        r.instructions = len(plan.system.program.code)
        r.steps = plan.system.flow.steps
        r.leaves = plan.used_leaves
        r.columns = len(plan.witness.places)
        r.committed_entries = plan.witness.true_entries
        r.proof_bytes = len(data)
        r.soundness = self.opening.budget.rows()
        r.soundness_bits = r.soundness[-1][1]
        r.peak_mb = peak_mb()
        return Proof(data, fields, r)

    def _lap(self, phase: str, fraction: float) -> None:
        now = time.perf_counter()
        self.report.seconds[phase] = now - self._clock
        self._clock = now
        self.progress(phase, fraction)

    # ---- commitment and statement --------------------------------------------------------------------------------

    def openings(self, given: Mapping[str, TensorOpening]) -> list[TensorOpening]:
        """Those of the committed inputs and outputs, in the order of the statement."""
        externals = self.plan.system.externals
        check_names(externals, given)
        for external in externals:
            check_opening(self.pk, external, given[external.name], self.witness(external))
        return [given[external.name] for external in externals]

    def multiplicities(self) -> dict[Committed, U64]:
        """How often each row of the tables is looked up, as field values in the shape of their columns."""
        counts = self.witness.multiplicities()
        return {column: to_field(counts[table])[None] for table, column in self.plan.multiplicities.items()}

    def flat(self) -> U64:
        """The witness, ``uint64[2^m]``, on the device where one is used."""
        if self.placed is not None:
            on_device: U64 = self.placed.columns()
            return on_device
        flat = np.empty(1 << self.plan.witness.log_entries, np.uint64)
        self.fill(flat)
        return flat

    def fill(self, flat: U64) -> None:
        """All columns into their places of the witness matrix, as field elements, with zeros around them."""
        for column, place in self.plan.witness.places.items():
            assert isinstance(column, Committed)
            counts = self.counts.get(column)
            if counts is None:
                placed(self.witness(column).reshape(place.shape), place.order, place.dims, flat, place.offset)
                continue
            block = flat[place.offset : place.offset + place.size].reshape(place.dims)
            block[:] = 0
            block[place.true_part] = np.transpose(counts, place.order)
        flat[self.plan.witness.used :] = 0

    def commit(self) -> tuple[Commitment, U64 | None]:
        """And the columns side by side, unless the proof is lean: their memory is the codeword's then."""
        layout = self.plan.witness
        if self.placed is None:
            self.counts = self.multiplicities()
        else:
            self.placed.count()
        flat: U64 | None = self.flat()
        assert flat is not None
        shape = self.opening.matrices[0].shape
        aux = tail = None
        if self.opening.hiding is not None:
            self.secrets = self.fresh_secrets()
            self.pads = fill_pads(self.opening.hiding.pads, self.secrets)
            aux = pad_rows(self.pads, self.opening, self.secrets)
            tail = self.secrets.elements(shape.tail * shape.height).reshape(shape.tail, shape.height)
        matrix = stored_matrix(flat, layout.shape.log_cols, layout.stored_rows, aux)
        if self.lean:
            flat = None
        commitment = commit(matrix, shape, tail, keep=not self.lean)
        self.sender.raw("witness root", commitment.root)
        vk = self.pk.verifying_key
        self.sender.raw("key digest", vk.digest())
        self.sender.raw("certificate", self.certificate)
        path = encode_path(self.plan.system.flow.path)
        self.sender.raw("path length", len(path).to_bytes(4, "little"))
        self.sender.raw("path", path)
        commitments = {e.name: t.commitment for e, t in zip(self.plan.system.externals, self.tensors, strict=True)}
        if commitments:
            self.sender.raw("commitments", named(self.plan.system.externals, commitments))
        self.sender.raw("statement", encode_statement(self.plan, self.witness))
        absorb_statement(self.transcript, self.plan, vk, commitments)
        self.sender.pad_with(self.pads)
        self.after_statement = len(self.transcript.history), self.sender.size
        return commitment, flat

    def fresh_secrets(self) -> Secrets:
        """New for every proof, bound to all that it is a function of: a system that repeats its bytes gives equal pads
        only to equal proofs, never to one that rests on a certificate and one that does not."""
        inputs = self.witness.trace.inputs
        values = [np.ascontiguousarray(inputs[name]).tobytes() for name in sorted(inputs)]
        path = encode_path(self.plan.system.flow.path)
        commitments = [t.commitment.digest() for t in self.tensors]
        key = self.pk.verifying_key.digest()
        return Secrets.fresh([self.magic, key, self.certificate, path, *commitments, *values])

    # ---- lookups -------------------------------------------------------------------------------------------------

    def lookups(self) -> tuple[Ext, Ext]:
        """Draws alpha and beta, proves the tree; the common point; num and den at the leaves."""
        plan, transcript = self.plan, self.transcript
        if needs_grinding(plan):
            self.sender.raw("grinding nonce", grinding_nonce(grinding_seed(transcript), GRINDING_BITS))
        self.alpha = transcript.challenge("alpha")
        self.beta = transcript.challenge("beta")
        self.course.point(red.FINGERPRINT, transcript.challenges("fingerprint point", plan.fingerprint_bits))
        point: list[Ext] = []
        num, den = Ext(0), Ext(1)
        if plan.blocks:
            point, num, den = self.summed()
        extra = transcript.challenges("equation point", plan.point_length - len(point))
        self.course.point(red.LOOKUP, extra + point)
        return num, den

    def summed(self) -> tuple[list[Ext], Ext, Ext]:
        """Proves the tree; on the host where it does not fit on the device, or what its rounds need beside it: what
        these had sent is taken back, and is sent again."""
        back = as_now(self.sender)
        try:
            return lookup.prove_layers(self.sender, lookup.Tree.of(self.last_leaves()))
        except gpu.OutOfDeviceMemory:
            back()
        there, self.placed = self.placed, None
        self.counts = self.multiplicities()
        try:
            return lookup.prove_layers(self.sender, lookup.Tree.of(self.leaves()))
        finally:
            self.placed = there

    def last_leaves(self) -> lookup.Leaves:
        """The leaves, after which images of columns are not needed: whoever is given them holds them alone."""
        leaves = self.leaves()
        self.let_go()
        return leaves

    def let_go(self) -> None:
        """Of a lean proof: of images of columns, which are made again where they are asked for."""
        if self.lean:
            self.witness.forget_images()
            if not self.keeps:
                return_memory()

    def leaves(self) -> lookup.Leaves:
        plan = self.plan
        betas = [self.beta]
        while len(betas) < plan.width:
            betas.append(betas[-1] * self.beta)
        if self.placed is not None:
            return self.placed.leaves(self.alpha, betas)
        leaves = lookup.Leaves.ones(plan.used_leaves, others=plan.signed_leaves)
        num, den = leaves.num, leaves.denominators()
        factors: dict[tuple[int, int], U64] = {}  # by tag and number of members
        for b in plan.blocks:
            part = den[:, b.offset : b.offset + b.size]
            if isinstance(b.source, Tuples):
                self.fill_tuples(part, b, b.source, betas)
            elif isinstance(b.source, Table):
                columns = list(b.source.columns) or [np.arange(b.size, dtype=np.int64)]
                lookup.fill_denominators(part, columns, b.dims, b.tag, self.alpha, betas)
            else:
                assert b.piece is not None
                members = [b.piece.of(self.witness(m)) for m in b.source.members]
                key = b.tag, len(members)
                if key not in factors:
                    factors[key] = lookup.factors(b.tag, self.alpha, betas[: len(members)])
                lookup.fill_planes((part[0], part[1]), members, b.piece.true, b.dims, factors[key])
            part_num = num[b.offset : b.offset + b.size]
            if b.multiplicity is not None:
                known = self.counts.get(b.multiplicity)  # a gather's are a column with a hint
                counts = to_field(self.witness(b.multiplicity)) if known is None else known
                wide = np.zeros(b.dims, np.uint64)
                shape = counts.shape[len(counts.shape) - len(b.dims) :]
                wide[tuple(slice(0, d) for d in shape)] = counts.reshape(shape)
                part_num[:] = np.where(wide == 0, wide, np.uint64(P) - wide).reshape(-1)
            elif b.sign < 0:
                part_num[:] = P - 1
        return leaves

    def fill_tuples(self, part: U64, b: Block, tuples: Tuples, betas: list[Ext]) -> None:
        """Denominators of a block of tuples: plain members like a lookup's, rows by their fingerprints."""
        rank = len(tuples.shape)
        plain: list[tuple[Ext, I64]] = []
        rows: list[tuple[Ext, Node]] = []
        for beta, m in zip(betas, tuples.members, strict=False):
            if m is not None and len(m.shape) == rank:
                plain.append((beta, np.ascontiguousarray(self.witness(m))))
            elif m is not None:
                rows.append((beta, m))
        plain = plain or [(Ext(0), np.zeros(tuples.shape, np.int64))]
        lookup.fill_denominators(part, [v for _, v in plain], b.dims, b.tag, self.alpha, [c for c, _ in plain])
        true = (slice(None), *(slice(0, d) for d in tuples.shape))
        for beta, m in rows:
            groups = red.fingerprint_groups(self.space, m.shape, rank)
            values = np.ascontiguousarray(self.witness(m)).reshape(math.prod(tuples.shape), -1)
            if groups:
                _, w = self.sweep.joint(groups)
                marks = dot_rows(values, mle.scale(w.array.reshape(2, -1), -beta), max(abs(m.lo), abs(m.hi)))
            else:
                marks = mle.scale(lift(to_field(values[:, 0])), -beta)
            block = part.reshape(2, *b.dims)
            block[true] = mle.add(np.ascontiguousarray(block[true]), marks.reshape(2, *tuples.shape))

    # ---- claims and contractions ---------------------------------------------------------------------------------

    def contract(self, num: Ext, den: Ext) -> tuple[list[Pulled], list[Contraction]]:
        gamma = self.transcript.challenge("gamma")
        first, contractions = self.course.step("leaves", (self.beta, gamma), self.from_leaves)
        if not contractions:
            return [first], []
        rounds = max(c.variables for c in contractions)
        begun = sumcheck.begin(self.instances(contractions), rounds)
        self.sender.ext("contraction sum", [sumcheck.total(begun)])
        point, finals = sumcheck.prove(self.sender, "contraction", begun, rounds)
        self.course.point(red.CONTRACTION, point)
        self.sender.ext("contraction values", [v for f in finals for v in f[-2:]])
        self.sender.skip_pads(len(finals))
        eta = self.transcript.challenge("eta")
        self.on_operands, second = self.course.step(
            "operands", (eta,), lambda eta: self.from_operands(contractions, rounds, eta)
        )
        return [first, second], contractions

    def from_leaves(self, beta: Ext, gamma: Ext) -> tuple[Pulled, list[Contraction]]:
        """Where the claims at the leaves end, and the contractions."""
        point = self.space.points[red.LOOKUP]
        leaf_point = point[len(point) - self.plan.log_leaves :]
        first = self.sweep.run(red.claims_at_leaves(self.plan, self.sweep, beta, gamma, leaf_point))
        return first, all_contractions(first.products, self.sweep)

    def from_operands(self, contractions: list[Contraction], rounds: int, eta: Ext) -> tuple[list[red.Claim], Pulled]:
        """The claims in which the contractions end, and where these end."""
        on_operands = red.operand_claims(contractions, self.sweep, rounds, eta)
        second = self.sweep.run(on_operands)
        assert not second.products, "an operand of a product holds a product"
        return on_operands, second

    def instances(self, contractions: Sequence[Contraction]) -> list[sumcheck.Instance]:
        """Their tables, on the device where one is used, unless they are small."""
        here, there = Tables(self.witness, self.sweep), self.placed
        if there is None:
            return [here.instance(c) for c in contractions]
        small = [gpu.place(1 << c.variables) is gpu.HOST for c in contractions]
        return [here.instance(c) if s else there.instance(c) for c, s in zip(contractions, small, strict=True)]

    # ---- openings ------------------------------------------------------------------------------------------------

    def open(
        self,
        commitment: Commitment,
        flat: U64,
        pulled: list[Pulled],
        contractions: list[Contraction],
    ) -> None:
        plan, params, ways = self.plan, self.pk.params, self.opening
        points, rest, columns = self.course.step(
            "ends", (), lambda: (*red.split_params(pulled), red.columns_of(pulled, self.sweep))
        )
        if Counts.of(plan, contractions, points, rest) != ways.counts:
            raise InputError("the claims are not as many as the plan counts", code="P170", help="prove again")
        if rest:
            points = points + self.reduce_params(rest)
        tensors = red.tensor_claims(plan, pulled, ways.tensors, self.sweep)
        other_rows = [bind_tensor(t, claim) for t, claim in zip(self.tensors, tensors, strict=True)]
        if tensors:
            self.sender.ext("tensor values", tensor_values(tensors, other_rows))
        if ways.hiding is not None and self.pads is not None:
            e = self.transcript.challenge("sacrifice challenge")
            self.sender.ext_array("sacrifice", sacrificed(ways.hiding.pads, self.pads, e))
        claims = red.params_claims(plan, points, self.sweep)
        omega = self.omega(columns) if self.placed is None else self.placed.omega(columns)
        point, delta, of_omega = opening.prove_claims(
            self.sender, omega, flat, claims, None if params is None else params.integers
        )
        memory = gpu.beside(flat)
        del omega, flat  # what is opened is encoded in their memory
        self.sender.pad_with(None)
        relations: list[Hidden] = []
        values: list[Value] = [ZERO] * (1 + len(claims))
        of_tensors: list[Value] = [ZERO] * len(tensors)
        if ways.hiding is not None:
            self.again = Again(self, pulled, contractions, claims, tensors, of_omega)
            values, relations, of_tensors = self.again.ends.values, self.again.relations, self.again.ends.of_tensors
        ends = Ends(point, values, delta, claims, tensors, of_tensors)
        root = params.commitment.root if params is not None else None
        tensor_roots = [t.commitment.root for t in self.tensors]
        checked, on_rows = rows_of(plan, ways, ends, commitment.root, root, tensor_roots)
        matrices = [opening.Committed(ways.matrices[0], commitment)]
        if claims:
            assert params is not None
            matrices.append(opening.Committed(ways.matrices[1], params.commitment))
            other_rows.insert(0, opening.combined_row(params.integers, claims, delta, memory))
        for opened, tensor in zip(ways.of_tensors, self.tensors, strict=True):
            matrices.append(opening.Committed(opened, tensor.matrix.commitment))
        weights = [claim.weight for claim in claims_on_rows(ways, on_rows, relations)]
        rows = self.rows(matrices, checked, other_rows)
        opening.prove_ladder(self.sender, ways, matrices, rows, weights, self.secrets)

    def rows(
        self, matrices: list[opening.Committed], checked: list[Matrix], other_rows: list[U64]
    ) -> list[list[opening.Row]]:
        """What lies in the first vector: of the witness its row and the pads, of params and committed tensors a row."""
        rows = [[opening.Row.of(matrices[0].commitment, w) for w in checked[0].every]]
        for m, c, row in zip(matrices[1:], checked[1:], other_rows, strict=True):
            rows.append([opening.Row(row, opening.tail_of(m.commitment, c.weights))])
        return rows

    def reduce_params(self, rest: list[red.Reduced]) -> list[red.ParamPoint]:
        """Claims on params that are not evaluations: one sumcheck against their public weights, the params bound to
        their eq axes."""
        assert self.plan.params is not None
        instances, sizes = [], []
        for r in rest:
            place = r.place(self.plan.params)
            weights = np.empty((2, place.size), np.uint64)
            written = Dense()
            written.add(r.terms, place.shape, place.order, 0)
            written.into(weights)
            fixed = [((a,), self.space.eq(point, place.shape[a])) for a, point in sorted(r.fixed.items())]
            left = [a for a in place.order if place.shape[a] > 1]
            table = bind_operand(self.witness, Side(r.param, tuple(left), tuple(fixed)), self.sweep)
            wide = pad_table(table, [place.shape[a] for a in left])
            instances.append(sumcheck.Instance(Ext(1), [weights, wide]))
            sizes.append(place.log_size)
        rounds = max(sizes)
        begun = sumcheck.begin(instances, rounds)
        self.sender.ext("params reduction sum", [sumcheck.total(begun)])
        point, finals = sumcheck.prove(self.sender, red.PARAMS, begun, rounds)
        self.space.points[red.PARAMS] = point
        self.sender.ext("params reduction values", [f[1] for f in finals])
        return red.reduced_points(self.plan, rest, rounds, self.transcript.challenge("zeta"))

    def omega(self, columns: dict[Committed, list[Term]]) -> U64:
        """All claims on the witness as one weight tensor, ``uint64[2, 2^m]``."""
        layout: MatrixLayout = self.plan.witness
        out = np.empty((2, 1 << layout.log_entries), np.uint64)
        written, empty = self.course.kept("omega", lambda: self.written(columns))
        for lo, hi in empty:
            out[:, lo:hi] = 0
        written.into(out)
        return out

    def written(self, columns: dict[Committed, list[Term]]) -> tuple[Dense, list[tuple[int, int]]]:
        """How the claims on the witness are written out, and what lies between."""
        out, empty, at = Dense(), [], 0
        for node, place in sorted(self.plan.witness.places.items(), key=lambda item: item[1].offset):
            assert isinstance(node, Committed)
            assert place.offset == at
            if terms := columns.get(node):
                out.add(terms, place.shape, place.order, at)
            else:
                empty.append((at, at + place.size))
            at += place.size
        return out, [*empty, (at, 1 << self.plan.witness.log_entries)]


def bind_tensor(tensor: TensorOpening, claim: ParamsClaim) -> U64:
    """The row that a claim on a committed tensor is about, ``uint64[2, C]``."""
    return tensor.matrix.integers.bind(claim.first_row, claim.weights)


def tensor_values(claims: Sequence[ParamsClaim], rows: Sequence[U64]) -> list[Ext]:
    """The evaluations of committed tensors that their equations ask for."""
    out = []
    for claim, row in zip(claims, rows, strict=True):
        (at,) = claim.points
        out.append(mle.evaluate(np.ascontiguousarray(row[:, at.offset : at.offset + (1 << len(at.point))]), at.point))
    return out
