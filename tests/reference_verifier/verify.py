"""The verifier: steps 1 to 9 of the transcript (protocol, section 0), in order."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from blake3 import blake3

from syurmy.isa.declared import assemble_declared
from syurmy.isa.errors import SyurmyError
from syurmy.isa.graph import Public
from syurmy.isa.path import Path
from syurmy.isa.system import assemble
from tests.reference_verifier.affine import Affine, Value
from tests.reference_verifier.budget import Opened, Opening, Rows, opening_of
from tests.reference_verifier.contraction import Instance, instances
from tests.reference_verifier.field import HALF, ONE, ZERO, K, P, U, eq_vector, inner, log2_ceil, powers
from tests.reference_verifier.ladder import (
    DIGEST,
    Claim,
    Fold,
    Part,
    combined,
    encoded_at,
    leaf,
    missing,
    pads_part,
    root_of,
    row_weights,
    scaled,
)
from tests.reference_verifier.plan import Plan
from tests.reference_verifier.reduction import (
    ParamPoint,
    Rest,
    RowClaim,
    Spot,
    counts_of,
    known_part,
    leaf_claims,
    omega_at,
    operand_claims,
    reduced_points,
    reduced_weight,
    row_claims,
    split_params,
    tensor_claims,
)
from tests.reference_verifier.statement import (
    CERTIFICATE_MAGIC,
    MAGIC,
    PARAMETERS,
    RECORD,
    Commitment,
    decode_path,
    read_commitments,
    read_key,
    read_values,
    width,
)
from tests.reference_verifier.sweep import Ends, Sweep
from tests.reference_verifier.transcript import Reader, Rejected, Transcript
from tests.reference_verifier.weights import Weights

NONE = bytes(32)  # what a proof names that rests on no certificate
GRINDING = blake3(b"syurmy-vm grinding v2").digest()


@dataclass
class Held:
    """A matrix under a root; per word of it the weights of rows that it is the combination of."""

    opened: Opened
    root: bytes
    words: list[dict[int, K]]


class Verifier:
    """Of one key, with a certificate or without; remembers what follows from a path."""

    def __init__(self, key: bytes, certificate: bytes | None = None) -> None:
        self.key = read_key(key)
        self.certificate: bytes | None = None  # its digest, once it is checked
        self._plans: dict[bytes, Plan] = {}
        self._openings: dict[tuple[bytes, bytes, tuple[int, ...]], Opening] = {}
        self.certificate_log: list[str] = []
        if certificate is not None:
            run = Certifying(self, certificate)
            run.all()
            self.certificate_log = run.transcript.log
            self.certificate = blake3(b"syurmy-vm certificate" + certificate).digest()

    def planned(self, path: bytes, certificate: bytes) -> Plan:
        """Of proofs that name this certificate."""
        key, found = self.key, decode_path(path, self.key.max_steps)
        if certificate not in (NONE, self.certificate):
            raise Rejected("certificate", "a certificate that is not known")
        if path not in self._plans:
            try:
                plan = Plan(assemble(key.program, found, key.max_steps), key.program, key.hiding, key.proofs, key.more)
            except SyurmyError as e:
                raise Rejected("path", f"no path of the program: {e}") from e
            self._plans[path] = plan
        return self._plans[path]

    def opening(self, path: bytes, certificate: bytes, commitments: list[Commitment]) -> Opening:
        key = path, certificate, tuple(c.proofs for c in commitments)
        if key not in self._openings:
            rows = Rows.TESTED if certificate == NONE else Rows.CERTIFIED
            self._openings[key] = opening_of(self._plans[path], rows, [c.matrix for c in commitments])
        return self._openings[key]

    def verify(self, proof: bytes) -> Run:
        """Returns the finished run; ``Rejected`` if the proof is not accepted."""
        run = Run(self, proof)
        run.all()
        return run


class Run:
    """One verification. ``values``: the statement's tensors, once it is read; ``transcript.log``."""

    magic = MAGIC
    plan: Plan
    opening: Opening
    values: dict[Public, list[int]]

    def __init__(self, verifier: Verifier, proof: bytes) -> None:
        if proof[: len(self.magic)] != self.magic:
            raise Rejected("format", "not a proof of this version")
        self.verifier, self.key = verifier, verifier.key
        self.transcript = Transcript()
        self.transcript.absorb("protocol", self.magic + PARAMETERS)
        self.reader = Reader(self.transcript, proof[len(self.magic) :])
        self.space = Weights()
        self.sweep = Sweep(self.space)

    def all(self) -> None:
        root = self.statement()
        self.reader.pads = 0 if self.key.hiding else None
        alpha, beta, num, den = self.lookups()
        sweeps, found, target = self.contract(alpha, beta, num, den)
        point, values, claims = self.claims(sweeps, found, target)
        self.reader.pads = None
        self.ladder(*self.on_vector(root, point, values, claims))
        self.reader.done()

    def planned(self, path: bytes, certificate: bytes) -> Plan:
        return self.verifier.planned(path, certificate)

    def opened(self, path: bytes, certificate: bytes) -> Opening:
        return self.verifier.opening(path, certificate, self.commitments)

    def grind(self, step: str, label: str, bits: int) -> None:
        seed = self.transcript.challenge("grinding seed")
        nonce = self.reader.raw(label, 8)
        digest = blake3(struct.pack("<QQ", seed.a, seed.b) + nonce, key=GRINDING).digest()
        if int.from_bytes(digest[:8], "little") % 2**bits:
            raise Rejected(step, f"{label} does not hold")

    def sumcheck(self, label: str, target: Value, rounds: int, degree: int) -> tuple[list[K], Value]:
        """The point, and what the summand must be there. A round's polynomial comes as its values at 0, 2, 3, ..."""
        point = []
        for _ in range(rounds):
            sent = self.reader.messages(f"{label} round", degree)
            x = self.transcript.challenge(f"{label} challenge")
            values = [sent[0], target - sent[0], *sent[1:]]
            target = ZERO
            for i, v in enumerate(values):  # Lagrange
                numerator, denominator = ONE, 1
                for j in range(len(values)):
                    if j != i:
                        numerator, denominator = numerator * (x - j), denominator * (i - j)
                target = target + v * (numerator * pow(denominator, -1, P))
            point.append(x)
        return point, target

    # ---- step 2 --------------------------------------------------------------------------------------------------

    def statement(self) -> bytes:
        root = self.reader.raw("witness root", 32)
        if self.reader.raw("key digest", 32) != self.key.digest:
            raise Rejected("statement", "a proof under another key")
        certificate = self.reader.raw("certificate", 32)
        size = int.from_bytes(self.reader.raw("path length", 4), "little")
        path = self.reader.raw("path", size)
        self.plan = self.planned(path, certificate)
        publics, externals = self.plan.system.publics, self.plan.system.externals
        self.commitments: list[Commitment] = []
        if externals:
            records = self.reader.raw("commitments", RECORD * len(externals))
            self.commitments = read_commitments(externals, self.key.hiding, records)
        self.opening = self.opened(path, certificate)
        self.values = read_values(publics, self.reader.raw("statement", sum(width(n) * n.size for n in publics)))
        if externals:
            self.transcript.absorb("commitment digests", b"".join(c.digest for c in self.commitments))
        self.transcript.absorb("program", blake3(b"syurmy-vm program" + self.key.encoded).digest())
        self.transcript.absorb_zeros("trace cells", self.plan.cells)
        return root

    # ---- steps 3 and 4 -------------------------------------------------------------------------------------------

    def lookups(self) -> tuple[K, K, Value, Value]:
        plan = self.plan
        if self.opening.logup_grinding:
            self.grind("lookup", "grinding nonce", 16)
        alpha, beta = self.transcript.challenge("alpha"), self.transcript.challenge("beta")
        self.space.points["fingerprint"] = self.transcript.challenges("fingerprint point", plan.fingerprint)
        point: list[K] = []
        num: Value = ZERO
        den: Value = ONE
        if plan.blocks:
            point, num, den = self.tree(alpha)
        extra = self.transcript.challenges("equation point", plan.point_length - len(point))
        self.space.points["lookup"] = extra + point
        return alpha, beta, num, den

    def tree(self, alpha: K) -> tuple[list[K], Value, Value]:
        """The leaves' point and the claims num and den there."""
        point: list[K] = []
        p: Value = ZERO
        q: Value = ZERO
        for k in range(self.plan.log_leaves):
            claim: Value = ZERO
            factor, x = ZERO, []
            if k:
                factor = self.transcript.challenge("lookup lambda")
                claim = p + q * factor
                for r in point:
                    slope, top = self.reader.messages("lookup round", 2)
                    t = self.transcript.challenge("lookup challenge")
                    claim = claim + slope * (t - r) + top * (t * (t - 1))
                    x.append(t)
            p0, p1, q0, q1 = self.reader.messages("lookup values", 4)
            numerator = self.reader.sum_of_products([(p0, q1), (p1, q0)])
            denominator = self.reader.sum_of_products([(q0, q1)])
            if k:
                self.reader.zero(claim - numerator - denominator * factor, "lookup", f"layer {k} of the lookup tree")
            else:
                self.reader.zero(numerator * alpha - denominator * self.plan.padding, "lookup", "lookups and tables")
            mu = self.transcript.challenge("lookup merge")
            point, p, q = [mu, *x], p0 + (p1 - p0) * mu, q0 + (q1 - q0) * mu
        return point, p, q

    # ---- step 5 --------------------------------------------------------------------------------------------------

    def known(self, ends: Ends) -> K:
        values: dict[Public, list[int]] = {}
        for node in ends.publics:
            values[node] = self.values[node] if node.values is None else node.values.reshape(-1).tolist()
        return known_part(ends, self.sweep, values)

    def contract(self, alpha: K, beta: K, num: Value, den: Value) -> tuple[list[Ends], list[Instance], Value]:
        gamma = self.transcript.challenge("gamma")
        claims, target = leaf_claims(self.plan, self.space, alpha, beta, gamma, num, den)
        first = self.sweep.run(claims)
        target = target - self.known(first)
        found = instances(first.products, self.sweep)
        if not found:
            return [first], [], target
        (whole,) = self.reader.messages("contraction sum", 1)
        rounds = max(c.variables for c in found)
        point, value = self.sumcheck("contraction", whole, rounds, max(c.degree for c in found))
        self.space.points["contraction"] = point
        finals = self.reader.messages("contraction values", 2 * len(found))
        expected: Value = ZERO
        for i, c in enumerate(found):
            product = self.reader.sum_of_products([(finals[2 * i], finals[2 * i + 1])])
            expected = expected + product * c.factor(self.sweep, rounds)
        self.reader.zero(expected - value, "contraction", "operands of the contraction")
        eta = self.transcript.challenge("eta")
        second = self.sweep.run(operand_claims(found, self.sweep, rounds, eta))
        assert not second.products
        target = target - whole - self.known(second)
        for v, power in zip(finals, powers(eta, len(finals) + 1)[1:], strict=True):
            target = target + v * power
        return [first, second], found, target

    # ---- steps 6 and 7 -------------------------------------------------------------------------------------------

    def claims(
        self, sweeps: list[Ends], found: list[Instance], target: Value
    ) -> tuple[list[K], list[Value], list[RowClaim]]:
        plan, opening = self.plan, self.opening
        points, rest = split_params(sweeps)
        if counts_of(plan, found, points, rest) != opening.counts:
            raise Rejected("soundness", "the claims are not as many as were counted")
        if rest:
            target, more = self.reduce(rest, target)
            points += more
        matrices = [c.matrix for c in self.commitments]
        self.tensors = tensor_claims(sweeps, plan.system.externals, matrices, self.space)
        self.of_tensors: list[Value] = []
        if self.tensors:
            self.of_tensors = self.reader.messages("tensor values", len(self.tensors))
            for c, v in zip(self.tensors, self.of_tensors, strict=True):
                target = target - v * c.spots[0].coefficient
        if self.key.hiding:
            self.sacrifice()
        claims = row_claims(plan.params, points, self.space) if plan.params else []
        log_cols = plan.params.code.log_cols if claims and plan.params else 0
        rounds = max(plan.witness.log_entries, log_cols)
        point, value = self.sumcheck("opening", target, rounds, 2)
        values = self.reader.messages("opening values", 1 + len(claims))
        own = point[rounds - plan.witness.log_entries :]
        weights = [omega_at(plan, sweeps, self.sweep, own) * pow(HALF, rounds - len(own), P)]
        for c in claims:
            weights.append(c.at(point[rounds - log_cols :]) * pow(HALF, rounds - log_cols, P))
        expected: Value = ZERO
        for v, w in zip(values, weights, strict=True):
            expected = expected + v * w
        self.reader.zero(expected - value, "opening", "values of witness and params")
        return point, values, claims

    def reduce(self, rest: Rest, target: Value) -> tuple[Value, list[ParamPoint]]:
        """Claims on params that are no evaluations, as evaluations."""
        matrix = self.plan.params
        assert matrix is not None
        (whole,) = self.reader.messages("params reduction sum", 1)
        places = [r.place(matrix) for r in rest]
        rounds = max(p.log_size for p in places)
        point, value = self.sumcheck("params reduction", whole, rounds, 2)
        self.space.points["params"] = point
        finals = self.reader.messages("params reduction values", len(rest))
        expected: Value = ZERO
        for r, place, v in zip(rest, places, finals, strict=True):
            expected = expected + v * reduced_weight(r.terms, place, self.space, point)
        self.reader.zero(expected - value, "params", "values of the params reduction")
        points = reduced_points(self.plan, rest, rounds, self.transcript.challenge("zeta"))
        for p, v in zip(points, finals, strict=True):
            target = target + v * p.coefficient
        return target - whole, points

    def sacrifice(self) -> None:
        """Relations that make every product's pad the sum of products that it stands for."""
        groups, shadow = self.opening.groups, self.opening.messages
        e = self.transcript.challenge("sacrifice challenge")
        sent = self.reader.elements("sacrifice", sum(g.size for g in groups))
        for g in groups:
            u, sent = sent[: g.size], sent[g.size :]
            for i, x in enumerate(u):
                self.reader.relations.append(Affine(x, {g.first + i: -e, shadow + i: ONE}))
            for k, pairs in enumerate(g.sums):
                relation = Affine(ZERO, {g.first + g.size + k: e * e, shadow + g.size + k: -ONE})
                for i, j in pairs:
                    relation = relation - Affine(u[i] * u[j], {shadow + j: u[i]}) - Affine(ZERO, {shadow + i: u[j]})
                self.reader.relations.append(relation)
            shadow += g.pads

    # ---- steps 8 and 9 -------------------------------------------------------------------------------------------

    def on_vector(
        self, root: bytes, point: list[K], values: list[Value], claims: list[RowClaim]
    ) -> tuple[list[Held], list[Claim]]:
        """The matrices, and what is claimed of the first vector beside their columns."""
        plan, opening = self.plan, self.opening
        delta = self.transcript.challenges("params delta", log2_ceil(max(1, len(claims))))
        witness = opening.matrices[0]
        own = point[len(point) - plan.witness.log_entries :]
        split = plan.witness.log_rows
        words = [row_weights(own[:split], plan.witness.stored)]
        for i in range(len(witness.words) - 1):
            behind = witness.code.rows + 2 * i
            words.append({behind: ONE, behind + 1: U})
        held = [Held(witness, root, words)]
        out = [Claim(pads_part(opening.pad_blocks, dict(r.pads)), -r.known) for r in self.reader.relations]
        out.append(self.row_value(witness, own[split:], values[0]))
        if claims:
            params = opening.matrices[1]
            factors = eq_vector(delta)[: len(claims)]
            rows: dict[int, K] = {}
            value: Value = ZERO
            for f, c, v in zip(factors, claims, values[1:], strict=True):
                value = value + v * f
                for row, w in c.weights.items():
                    rows[row] = rows.get(row, ZERO) + w * f
            held.append(Held(params, self.key.root, [rows]))
            out.append(self.row_value(params, point[len(point) - params.code.log_cols :], value))
        named = zip(self.opening.matrices[len(held) :], self.commitments, self.tensors, self.of_tensors, strict=True)
        for opened, commitment, c, v in list(named):
            held.append(Held(opened, commitment.root, [c.weights]))
            out.append(self.row_value(opened, c.spots[0].point, v, c.spots[0].offset))
        return held, out

    def row_value(self, opened: Opened, point: Sequence[K], value: Value, inside: int = 0) -> Claim:
        """The evaluation of a matrix's combined row, whose value may be hidden."""
        parts: list[Part] = [Spot(opened.words[0][0].offset + inside, tuple(point), ONE)]
        if isinstance(value, Affine):
            hidden = {i: -c for i, c in value.pads.items()}
            return Claim(parts + pads_part(self.opening.pad_blocks, hidden), value.known)
        return Claim(parts, value)

    def ladder(self, held: list[Held], claims: list[Claim]) -> None:
        for i, (level, opened) in enumerate(self.opening.levels):
            hides = self.key.hiding and i == 0
            root = self.reader.raw(f"{opened.label} root", 32)
            claims = claims + self.columns(held)
            beta = powers(self.transcript.challenge(f"{opened.label} beta"), len(claims))
            parts = [scaled(part, b) for c, b in zip(claims, beta, strict=True) for part in c.parts]
            target = inner([c.target for c in claims], beta)
            self.reader.pads = 0 if hides else None
            point, value = self.sumcheck(opened.label, target, level.log_rows, 2)
            self.reader.pads = None
            parts = list(map(Fold(level.log_size, point), parts))
            rows = row_weights(point, range(level.code.rows))
            if not isinstance(value, Affine):
                held, claims = [Held(opened, root, [rows])], [Claim(parts, value)]
                continue
            (sigma,) = self.reader.elements("mask sum", 1)
            tau = self.transcript.challenge("mask challenge")
            y = level.code.rows  # then g, g'
            masked = {row: w * tau for row, w in rows.items()} | {y + 1: ONE}
            held = [Held(opened, root, [masked, {y: tau, y + 2: ONE}])]
            blocks = [b for b in opened.words[1] if b.exponent < level.code.cols]
            parts += pads_part(blocks, {i: -c for i, c in value.pads.items()})
            claims = [Claim(parts, sigma + tau * value.known)]
        vector = self.reader.elements("last vector", self.opening.last)
        vector += [ZERO] * ((1 << log2_ceil(len(vector))) - len(vector))
        for claim in self.columns(held) + claims:
            if not claim.holds(vector):
                raise Rejected("opening", "the last vector is not what is claimed")

    def columns(self, held: list[Held]) -> list[Claim]:
        """Columns at fresh positions, under their roots; what each word encodes to there."""
        self.grind("opening", "query nonce", held[0].opened.grinding)
        drawn = [
            self.transcript.positions(f"{h.opened.label} positions", h.opened.queries, h.opened.code.n) for h in held
        ]
        out = []
        for h, positions in zip(held, drawn, strict=True):
            label, code = h.opened.label, h.opened.code
            words = self.reader.words(f"{label} columns", len(positions) * code.height)
            columns = [words[i : i + code.height] for i in range(0, len(words), code.height)]
            path = self.reader.raw(f"{label} path", DIGEST * missing(code.log_n, positions))
            if root_of(code.log_n, positions, list(map(leaf, columns)), path) != h.root:
                raise Rejected("opening", f"a column of {label} is not under its root")
            for word, weights in zip(h.opened.words, h.words, strict=True):
                for q, column in zip(positions, columns, strict=True):
                    out.append(Claim(encoded_at(word, code.log_n, q), combined(column, code, weights)))
        return out


class Certifying(Run):
    """One certificate: the messages of a proof of another system, without path and values."""

    magic = CERTIFICATE_MAGIC

    def planned(self, path: bytes, certificate: bytes) -> Plan:
        key = self.key
        if decode_path(path, 1) != Path() or certificate != NONE or not key.root:
            raise Rejected("statement", "a certificate is about params alone")
        return Plan(assemble_declared(key.program), key.program, key.hiding, key.proofs, key.more)

    def opened(self, path: bytes, certificate: bytes) -> Opening:
        return opening_of(self.plan, Rows.CERTIFYING)


def verify(key: bytes, proof: bytes, certificate: bytes | None = None) -> Run:
    """Accepts, or raises ``Rejected``."""
    return Verifier(key, certificate).verify(proof)
