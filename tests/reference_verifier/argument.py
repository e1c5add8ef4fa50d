"""Steps 3 to 9: everything behind the statement (section 11.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from syurmy.isa import graph as g
from tests.reference_verifier import contraction
from tests.reference_verifier.affine import Affine, combined
from tests.reference_verifier.arrangement import Arrangement, Tensor
from tests.reference_verifier.contraction import Instance
from tests.reference_verifier.errors import require
from tests.reference_verifier.field import ONE, ZERO, K, eq, eq_at, powers
from tests.reference_verifier.files import Values
from tests.reference_verifier.layout import Piece, Word, entry_piece, eq_pieces, lying
from tests.reference_verifier.messages import Messages, scale
from tests.reference_verifier.opening import Claim, Opened, ladder, spread
from tests.reference_verifier.params import Evaluation, Row
from tests.reference_verifier.plan import Plan
from tests.reference_verifier.sweep import Sweep, Swept
from tests.reference_verifier.transcript import Reader
from tests.reference_verifier.weights import Weights


@dataclass
class Argument:
    """``values``: of the statement's publics, in order. ``target``: what the claims on columns and params, which are
    not known yet, add up to."""

    reader: Reader
    plan: Plan
    sizes: Arrangement
    roots: tuple[bytes, bytes | None]  # of the witness, of the params
    values: Sequence[Values]
    tensors: Sequence[Tensor]
    points: dict[str, list[K]] = field(default_factory=dict)
    target: Affine = field(default_factory=lambda: Affine(ZERO))

    def __post_init__(self) -> None:
        self.messages = Messages(self.reader, self.sizes.sizes.hiding)
        self.transcript = self.reader.transcript
        self.weights = Weights(self.points)
        self.public = {p.id: v.entries for p, v in zip(self.plan.system.publics, self.values, strict=True)}

    def run(self) -> None:
        first, second = self.sweeps()
        rows = self.param_rows([first, second])
        kappas = self.tensor_values(first)
        if self.messages.hiding:
            self.messages.sacrifice(self.sizes.sizes.padded)
        self.open(first, second, rows, kappas)
        require(self.messages.pads == self.sizes.sizes.padded * self.messages.hiding, "counts", "pads count otherwise")
        self.reader.end()

    def values_of(self, node: g.Public) -> Sequence[int]:
        """The entries of a public tensor, in C order."""
        if node.id in self.public:
            return self.public[node.id]
        assert node.values is not None
        out: list[int] = node.values.reshape(-1).tolist()
        return out

    # ---- lookups ---------------------------------------------------------------------------------------------------

    def lookups(self, alpha: K) -> tuple[Affine, Affine, list[K]]:
        """num, den and the leaves' point."""
        tree, t = self.plan.tree, self.transcript
        if tree.variables is None:
            return Affine(ZERO), Affine(ONE), []
        values, (cross, denominators) = self._nodes()
        self.messages.zero("lookup", cross * alpha - denominators * K(tree.padding))
        num, den, point = self._merged(values, [])
        for _ in range(1, tree.variables):
            lam = t.challenge("lookup lambda")
            claim, drawn = combined([(ONE, num), (lam, den)]), []
            for r in point:
                s, e = self.messages.read("lookup round", 2)
                x = t.challenge("lookup challenge")
                claim = combined([(ONE, claim), (x - r, s), (x * (x - ONE), e)])
                drawn.append(x)
            values, (cross, denominators) = self._nodes()
            self.messages.zero("lookup", claim - cross - denominators * lam)
            num, den, point = self._merged(values, drawn)
        runs = max(0, len(point) - 9)  # places of leaves: bits above the ninth are reversed
        return num, den, list(reversed(point[:runs])) + point[runs:]

    def _nodes(self) -> tuple[list[Affine], list[Affine]]:
        """p0, p1, q0, q1 and the products p0 q1 + p1 q0, q0 q1."""
        return self.messages.read_group("lookup values", 4, [[(0, 3), (1, 2)], [(2, 3)]])

    def _merged(self, values: list[Affine], point: list[K]) -> tuple[Affine, Affine, list[K]]:
        p0, p1, q0, q1 = values
        mu = self.transcript.challenge("lookup merge")
        return p0 + (p1 - p0) * mu, q0 + (q1 - q0) * mu, [mu, *point]

    # ---- claims ----------------------------------------------------------------------------------------------------

    def sweeps(self) -> tuple[Swept, Swept]:
        plan, t, points = self.plan, self.transcript, self.points
        if self.sizes.budget.lookups:
            self.reader.grind("lookup", "grinding nonce", self.sizes.budget.lookups)
        alpha, beta = t.challenge("alpha"), t.challenge("beta")
        points["fingerprint"] = t.challenges("fingerprint point", plan.tree.fingerprint)
        num, den, leaves = self.lookups(alpha)
        points["lookup"] = t.challenges("equation point", plan.variables - len(leaves)) + leaves
        gamma = t.challenge("gamma")
        first = plan.first_sweep(self.weights, beta, gamma).run(self.values_of)
        claimed = plan.claimed(points, alpha, beta, gamma) - first.known
        self.target = combined([(-ONE, den), (-gamma, num)]) + claimed
        instances = contraction.instances(self.weights, first)
        counted = [(i.variables, i.degree) for i in instances]
        require(counted == plan.counts.instances, "counts", "the sweeps count otherwise")
        second = Sweep(self.weights)
        if instances:
            self.contract(instances, second)
        swept = second.run(self.values_of)
        self.target = self.target - swept.known
        return first, swept

    def contract(self, instances: Sequence[Instance], second: Sweep) -> None:
        """The contraction sumcheck; claims on its operands are queued."""
        m = self.messages
        rounds, degree = self.sizes.sizes.contraction
        (total,) = m.read("contraction sum", 1)
        last, point = m.sumcheck("contraction", total, rounds, degree)
        self.points["contraction"] = point
        pairs = [[(2 * k, 2 * k + 1)] for k in range(len(instances))]
        values, products = m.read_group("contraction values", 2 * len(instances), pairs)
        counts = [i.weight_at(point) * scale(i.variables, rounds) for i in instances]
        m.zero("contraction", combined(zip(counts, products, strict=True)) - last)
        eta = self.transcript.challenge("eta")
        contraction.claim_operands(second, instances, rounds, eta)
        counted = powers(eta, len(values) + 1)[1:]
        self.target = self.target - total + combined(zip(counted, values, strict=True))

    def param_rows(self, swept: Sequence[Swept]) -> list[Row]:
        """The reduction of claims on params, and the rows that are evaluated then."""
        params, m, counts = self.plan.params, self.messages, self.plan.counts
        claims = params.claims(self.weights, swept)
        found = claims.rows, claims.reduced
        require(found == (counts.rows, counts.reduced), "counts", "the sweeps count otherwise")
        evaluations: list[Evaluation] = claims.evaluations
        if claims.tables:
            rounds = max(claims.reduced)
            (total,) = m.read("params reduction sum", 1)
            last, point = m.sumcheck("params reduction", total, rounds, 2)
            self.points["params"] = point
            values = m.read("params reduction values", len(claims.tables))
            weights = [t.weight_at(point) * scale(t.log_size, rounds) for t in claims.tables]
            m.zero("params", combined(zip(weights, values, strict=True)) - last)
            zeta = self.transcript.challenge("zeta")
            counted = powers(zeta, len(values) + 1)[1:]
            self.target = self.target - total + combined(zip(counted, values, strict=True))
            evaluations = params.after_reduction(self.weights, claims, zeta, rounds)
        rows = params.rows(self.weights, evaluations) if evaluations else []
        require(len(rows) == counts.rows, "counts", "the sweeps count otherwise")
        return rows

    def tensor_values(self, first: Swept) -> list[tuple[Affine, list[K]]]:
        """Of each committed tensor what it is said to be at its point, and the point in the order of its matrix."""
        if not self.tensors:
            return []
        values = self.messages.read("tensor values", len(self.tensors))
        terms = {node.id: found for node, found in first.of(g.External)}
        out = []
        for tensor, v in zip(self.tensors, values, strict=True):
            (term,) = terms[tensor.node.id]
            self.target = self.target - v * term.coefficient
            by_axis = {axes[0]: w.coordinates for axes, w in term.groups}
            block = tensor.stack.blocks[0]
            out.append((v, self.weights.point([c for a in block.axes for c in by_axis[a] or ()])))
        return out

    # ---- opening ---------------------------------------------------------------------------------------------------

    def open(self, first: Swept, second: Swept, rows: Sequence[Row], tensors: list[tuple[Affine, list[K]]]) -> None:
        m, a, plan = self.messages, self.sizes, self.plan
        sizes, witness, params = a.sizes, a.sizes.witness, a.sizes.params
        rounds = sizes.opening_rounds
        last, s = m.sumcheck("opening", self.target, rounds, 2)
        w_at, *g_at = m.read("opening values", 1 + len(rows))
        s_w = s[rounds - witness.m :]
        omega = ZERO
        for swept in (first, second):
            for node, terms in swept.of(g.Committed):
                for term in terms:
                    laid = Sweep(self.weights).reshaped(term, lying(node.shape), node.shape)
                    omega = omega + plan.place[node.id].mle(laid, s_w)
        found = [(omega * scale(witness.m, rounds), w_at)]
        if params is not None and rows:
            s_p = s[rounds - params.c :]
            for row, value in zip(rows, g_at, strict=True):
                found.append((row.weight_at(s_p) * scale(params.c, rounds), value))
        m.zero("opening", combined(found) - last)
        delta = eq(self.transcript.challenges("params delta", sizes.deltas))[: len(rows)]

        # claims on the first vector: relations, rows
        claims = []
        words, bits = iter(a.words), a.bits
        w = next(words)
        pad_words = [next(words) for _ in range(sizes.pad_rows)]
        size = 2**witness.c

        def pad_pieces(pads: dict[int, K]) -> list[Piece]:
            return [entry_piece(pad_words[i // size].place(i % size), bits, c) for i, c in pads.items()]

        for relation in m.relations:
            claims.append(Claim(pad_pieces(relation.pads), -relation.known))

        def row_claim(word: Word, point: list[K], value: Affine) -> Claim:
            """<word, eq(point)> = known + sum c_i pad_i."""
            negative = {i: -c for i, c in value.pads.items()}
            return Claim(eq_pieces(word, bits, point) + pad_pieces(negative), value.known)

        claims.append(row_claim(w, s_w[witness.m - witness.c :], w_at))
        opened = [self._witness(s_w, [w, *pad_words])]
        if params is not None and rows:
            h = next(words)
            claims.append(row_claim(h, s_p, combined(zip(delta, g_at, strict=True))))
            opened.append(self._params(rows, delta, h))
        for k, (tensor, (value, point)) in enumerate(zip(self.tensors, tensors, strict=True)):
            word, split = next(words), tensor.split
            full = [ZERO] * (split.m - len(point)) + point
            claims.append(row_claim(word, full[split.m - split.c :], value))
            weights = spread([eq_at(full[: split.m - split.c], r) for r in tensor.stack.stored(split.c)], tensor.height)
            root = tensor.commitment.root
            count = a.budget.tensors[k]
            opened.append(Opened(f"tensor {k}", root, split.n, tensor.height, count, [word], [weights]))
        ladder(self.reader, sizes.levels, claims, opened, a.used, bits, a.budget)

    def _witness(self, s_w: list[K], words: list[Word]) -> Opened:
        witness, height = self.sizes.sizes.witness, self.sizes.heights[0]
        stored = self.plan.stack.stored(witness.c)
        combine = [spread([eq_at(s_w[: witness.m - witness.c], r) for r in stored], height)]
        for i in range(len(words) - 1):  # a row of pads: two of F
            at = len(stored) + 2 * i
            combine.append(spread([*[ZERO] * at, ONE, K(0, 1)], height))
        return Opened("witness", self.roots[0], witness.n, height, self.sizes.budget.witness, words, combine)

    def _params(self, rows: Sequence[Row], delta: Sequence[K], h: Word) -> Opened:
        height, split = self.sizes.heights[1], self.sizes.sizes.params
        assert split is not None
        assert self.roots[1] is not None
        weights = [ZERO] * height
        for row, d in zip(rows, delta, strict=True):
            for i, u in enumerate(row.weights):
                weights[row.first + i] = weights[row.first + i] + d * u
        count = self.sizes.budget.params
        return Opened("params", self.roots[1], split.n, height, count, [h], [weights])
