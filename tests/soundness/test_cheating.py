"""Cheating provers, one per step of the protocol: honest everywhere else, and rejected by the step that must see it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from syurmy.isa.graph import Committed, IndexMap, Lookup, Node
from syurmy.prover.commitment import Commitment
from syurmy.prover.field import U64, Ext, P, ext_array
from syurmy.prover.kernels.ntt import encode_ext
from syurmy.prover.keys import ProvingKey
from syurmy.prover.lookup import Leaves
from syurmy.prover.protocol import reduction as red
from syurmy.prover.protocol.claims import Term
from syurmy.prover.protocol.contraction import all_contractions
from syurmy.prover.protocol.mle import dot, dot_base, eq_vector, lagrange
from syurmy.prover.prove import Prover
from syurmy.prover.witness import Witness
from tests.soundness import common as c
from tests.soundness.common import (
    CONTRACTION,
    ENCODING,
    OPENING,
    PATH,
    ROOT,
    VALUE,
    Cheat,
    at,
    cheat,
    ext_bytes,
    exts,
    keys,
    refused,
    result_of,
    says,
    trace_of,
    written_out,
)

# ---- a wrong product, and the lies that cover it up ------------------------------------------------------------------


class Covering(Prover):
    """Claims a wrong product. Each of ``lies`` further messages is adapted, so that the check it enters holds."""

    lies = 0

    def run(self) -> Any:
        self.sender.hook = self.adapt  # type: ignore[attr-defined]
        self.drawn = self.transcript.drawn  # type: ignore[attr-defined]
        self.rounds: dict[str, list[list[Ext]]] = {"contraction round": [], "opening round": []}
        return super().run()

    def commit(self) -> tuple[Commitment, U64]:
        commitment, self.flat = super().commit()
        return commitment, self.flat

    def contract(self, num: Ext, den: Ext) -> Any:
        self.leaf = num, den
        return super().contract(num, den)

    def omega(self, columns: dict[Committed, list[Term]]) -> U64:
        self.columns = columns
        return super().omega(columns)

    def final(self, label: str, target: Ext) -> Ext:
        """The verifier's value after all rounds of a sumcheck."""
        for sent, x in zip(self.rounds[f"{label} round"], self.drawn.get(f"{label} challenge", []), strict=True):
            values = ext_array([sent[0], target - sent[0], *sent[1:]])
            target = dot(values, ext_array(lagrange(len(sent), x)))
        return target

    def adapt(self, label: str, before: int, data: bytes) -> bytes:
        if label == "opening round" and before == 0:
            self.sent = self.sender.bytes()
        if label in self.rounds:
            self.rounds[label].append(exts(data))
        steps = ["contraction sum", "contraction values", "opening values", "last vector", "witness columns"]
        if label in steps[: self.lies]:
            return (self.total, self.operands, self.value, self.row, self.opened)[steps.index(label)](data)
        return data

    def total(self, data: bytes) -> bytes:
        """A sum with which the claims on columns add up to what the verifier wants."""
        claims, target = red.leaf_claims(
            self.plan, self.sweep, self.alpha, self.beta, self.drawn["gamma"][0], *self.leaf,
            self.space.points[red.LOOKUP][-self.plan.log_leaves :],
        )  # fmt: skip
        first = self.sweep.run(claims)
        self.contraction = all_contractions(first.products, self.sweep)[0]
        on_columns = dot_base(super().omega(red.columns_of([first], self.sweep)), self.flat)
        self.claimed = target - red.known_part(first, self.sweep, self.witness) - on_columns
        return ext_bytes(self.claimed)

    def operands(self, data: bytes) -> bytes:
        a, _ = exts(data)
        return ext_bytes(a, self.final("contraction", self.claimed) * (self.contraction.coefficient * a).inverse())

    def value(self, data: bytes) -> bytes:
        wanted = self.final("opening", c.expected_target(self.pk, self.sent))
        point = self.drawn["opening challenge"]
        self.sent_value = wanted * red.omega_at(self.columns, self.plan.witness, self.sweep, point).inverse()
        return ext_bytes(self.sent_value)

    def row(self, data: bytes) -> bytes:
        values = exts(data)
        eq = eq_vector(self.drawn["opening challenge"][self.plan.witness.log_rows :])
        missing = self.sent_value - dot(as_array(values), eq)
        values[0] = values[0] + missing * Ext(int(eq[0, 0]), int(eq[1, 0])).inverse()
        self.sent_row = values
        return ext_bytes(*values)

    def opened(self, data: bytes) -> bytes:
        """Columns to which the row encodes: two entries of each are solved for."""
        layout = self.plan.witness
        positions = self.transcript.queried["witness positions"]  # type: ignore[attr-defined]
        wanted = encode_ext(as_array(self.sent_row), layout.shape.log_blowup)[:, positions].astype(object)
        weights = eq_vector(self.drawn["opening challenge"][: layout.log_rows])[:, layout.stored_rows].astype(object)
        columns = np.frombuffer(data, "<u8").reshape(len(positions), -1).astype(object)
        (p, q), (r, s) = weights[:, :2].tolist()
        determinant = pow(p * s - q * r, -1, P)
        for k, column in enumerate(columns):
            u, v = (int(w) for w in (wanted[:, k] - weights[:, 2:] @ column[2:]) % P)
            column[0], column[1] = (s * u - q * v) * determinant % P, (p * v - r * u) * determinant % P
        return columns.astype("<u8").tobytes()


def as_array(values: list[Ext]) -> U64:
    return np.array([[e.a for e in values], [e.b for e in values]], np.uint64)


@pytest.mark.parametrize(
    ("lies", "rejected"), list(enumerate([OPENING, CONTRACTION, OPENING, VALUE, ENCODING, PATH])), ids=str
)
def test_wrong_product(lies, rejected):
    """The product is one more than it is; whatever the prover adapts, the next check sees it."""

    class Liar(Covering):
        pass

    Liar.lies = lies
    how = Cheat(nodes=lambda pk: {result_of(pk, "dot"): [5]}, trace=says(s=5), prover=Liar)
    refused(c.DOT, cheat(c.DOT, how), *rejected)


# ---- false witnesses -------------------------------------------------------------------------------------------------


def huge_quotient(x: Any) -> Any:
    """For 4*y + r = x + 2 the y with another remainder r: an element of F that is no small integer."""
    return [(v + 2 - (v + 2 + 1) % 4) * pow(4, -1, P) % P for v in (5, -100, 77)]


FORGERIES = {
    "remainder out of range": (c.RESCALE, {"result": at(0, lambda y: y + 1)}, {}, ROOT),
    "compensating remainder mod p": (c.RESCALE, {"result": huge_quotient}, {}, ROOT),
    "input out of its dtype": (
        c.RESCALE,
        {"input x": at(0, lambda x: 200), "result": at(0, lambda y: 50)},
        {"y": [50, -25, 19]},
        ROOT,
    ),
    "selector two": (c.SELECT, {"less": at(0, lambda b: 2)}, {"y": [-1, 2, 1]}, ROOT),
    "selector of F": (c.SELECT, {"less": at(0, lambda b: pow(2, -1, P))}, {"y": [2, 2, 1]}, ROOT),
    "selector turned": (c.SELECT, {"less": at(0, lambda b: 1 - b)}, {"y": [3, 2, 1]}, ROOT),
    "argmax: the later of two equal": (c.ARGMAX, {"before": lambda u: [1, 1, 1, 0]}, {"y": 3}, ROOT),
    "argmax: a smaller one": (c.ARGMAX, {"before": lambda u: [0, 0, 0, 0]}, {"y": 0}, ROOT),
    "argmax: not one-hot": (c.ARGMAX, {"before": lambda u: [1, 0, 1, 0]}, {"y": 2}, ROOT),
    "table: another row": (c.LUT, {"result": at(0, lambda y: 9)}, {"y": [9, 0, 9]}, ROOT),
    "saturation that was not needed": (c.DENSE, {"excess": at(0, lambda v: 1)}, {}, ROOT),
    "assert: the true comparison": (c.ASSERT, {"input x": at(0, lambda x: 9), "less": lambda b: [0, 1]}, {}, OPENING),
    "assert: the false comparison": (c.ASSERT, {"input x": at(0, lambda x: 9)}, {}, ROOT),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_false_witness(name):
    source, columns, outputs, rejected = FORGERIES[name]
    proof = cheat(source, Cheat(columns=columns, trace=lambda t: None))
    changed = cheat(source, Cheat(columns=columns, trace=says(**outputs))) if outputs else proof
    refused(source, changed, *rejected)


def loop_values(source: str = c.LOOP) -> np.ndarray:
    pk = keys(source)
    return Witness(pk.plan.system, trace_of(source))(result_of(pk, "rescale"))


def step(r: np.ndarray) -> np.ndarray:
    return (r + 9 + 1) >> 1


@pytest.mark.parametrize(
    "states",
    [
        lambda r: [r[0], step(np.array([100, -50])), step(r[1])],  # reads the input again
        lambda r: [r[0], r[1], step(r[0])],  # the last round reads the first instead of the second
        lambda r: [r[0], r[1], r[1]],  # the last round is left out
        lambda r: [r[0], r[0], step(r[0])],  # one is done once too rarely
        lambda r: [step(r[0]), step(step(r[0])), step(step(step(r[0])))],  # once too often
    ],
)
def test_wrong_iterations(states):
    values = np.array(states(loop_values()))
    how = Cheat(columns={"result": lambda r: values}, trace=says(r=values[-1]))
    refused(c.LOOP, cheat(c.LOOP, how), *ROOT)


def test_iteration_reads_another():
    """The prover evaluates the wiring itself wrongly, so that all its lookups hold."""
    pk = keys(c.LOOP)
    wiring = next(n for n in walk(pk) if isinstance(n, IndexMap) and n.in_axes == (0,) and n.executions == 3)
    r = loop_values()
    values = np.array([r[0], r[1], step(r[0])])
    reads = np.array([[100, -50], r[0], r[0]])
    how = Cheat(columns={"result": lambda _: values}, nodes=lambda pk: {wiring: reads}, trace=says(r=values[-1]))
    refused(c.LOOP, cheat(c.LOOP, how), *OPENING)


def walk(pk: ProvingKey) -> list[Node]:
    """All nodes that constraints reach."""
    seen: dict[Node, None] = {}
    s = pk.plan.system
    stack = [m for lk in s.lookups for m in lk.members] + [e.expression for e in s.equations]
    while stack:
        n = stack.pop()
        if n not in seen:
            seen[n] = None
            stack.extend(n.inputs)
    return list(seen)


# ---- commitment and leaves -------------------------------------------------------------------------------------------


class Multiplicities(Prover):
    """One more of a row of the first table, and with ``move`` one less of another table's row."""

    move = False

    def multiplicities(self) -> dict[Committed, U64]:
        values = super().multiplicities()
        columns = list(self.plan.multiplicities.values())
        values[columns[0]][0, 1] += np.uint64(1)
        if self.move:
            last = columns[-1]
            row = int(np.argmax(values[last][0]))
            values[last][0, row] -= np.uint64(1)
        return values


@pytest.mark.parametrize("move", [False, True])
def test_wrong_multiplicity(move):
    prover = type("Moved", (Multiplicities,), {"move": move})
    refused(c.RESCALE, cheat(c.RESCALE, Cheat(prover=prover)), *ROOT)


class Dropping(Prover):
    """Leaves of the remainder's lookups count for nothing, so a value outside the table does no harm to the root."""

    def leaves(self) -> Leaves:
        leaves = written_out(super().leaves())
        for b in self.plan.blocks:
            if isinstance(b.source, Lookup) and b.source.label.startswith("remainder"):
                assert b.piece is not None
                true = np.zeros(b.dims, np.bool_)
                true[tuple(slice(0, d) for d in b.piece.true)] = True
                leaves.num[b.offset : b.offset + b.size][true.reshape(-1)] = 0
        return leaves


class DroppingRows(c.Forged):
    def multiplicities(self) -> Any:
        lookups = self.system.lookups
        self.system.lookups = [lk for lk in lookups if not lk.label.startswith("remainder")]
        try:
            used = super().multiplicities()
        finally:
            self.system.lookups = lookups
        return {t: used.get(t, np.zeros(2**t.log_size, np.int64)) for t in self.system.tables}


def test_dropped_lookup_block(monkeypatch):
    monkeypatch.setattr(c, "Forged", DroppingRows)
    y = [2, -25, 19]
    how = Cheat(columns={"result": lambda _: y}, trace=says(y=y), prover=Dropping)
    refused(c.RESCALE, cheat(c.RESCALE, how), *OPENING)


class PaddedLeaves(Prover):
    """A padded leaf takes part with a numerator or denominator of its own."""

    part = 0

    def leaves(self) -> Leaves:
        leaves = written_out(super().leaves())
        b = next(b for b in self.plan.blocks if b.size != b.true_size)
        if self.part == 0:
            leaves.num[b.offset + b.size - 1] = 5
        else:
            leaves.den[:, b.offset + b.size - 1] = 5
        return leaves


@pytest.mark.parametrize("part", [0, 1])
def test_padded_leaves_non_zero(part):
    prover = type("Padded", (PaddedLeaves,), {"part": part})
    refused(c.RESCALE, cheat(c.RESCALE, Cheat(prover=prover)), *ROOT)


# ---- claims ----------------------------------------------------------------------------------------------------------


def test_operands_swapped():
    """a*b = b*a keeps the sumcheck's end; the claims on the tensors see it."""

    def swap(label: str, before: int, data: bytes) -> bytes:
        return data[16:32] + data[:16] if label == "contraction values" else data

    refused(c.DOT, cheat(c.DOT, Cheat(hook=swap)), *OPENING)


@pytest.mark.parametrize("label", ["contraction values", "contraction sum"])
def test_claimed_values_changed(label):
    def change(name: str, before: int, data: bytes) -> bytes:
        return ext_bytes(exts(data)[0] + 1, *exts(data)[1:]) if name == label else data

    refused(c.DOT, cheat(c.DOT, Cheat(hook=change)), *CONTRACTION)


class FanOut(Prover):
    """One of the claims on a tensor with several readers is forgotten."""

    def omega(self, columns: dict[Committed, list[Term]]) -> U64:
        return super().omega({n: terms[1:] or terms for n, terms in columns.items()})

    def contract(self, num: Ext, den: Ext) -> Any:
        merge = self.sweep.merge
        self.sweep.merge = lambda terms, equal_only=False: merge(terms[1:] if len(terms) > 1 else terms, equal_only)  # type: ignore[method-assign]
        try:
            return super().contract(num, den)
        finally:
            self.sweep.merge = merge  # type: ignore[method-assign]


def test_fan_out_claim_dropped():
    how = Cheat(trace=says(t=[4, 3, 2, 2]))
    refused(c.FAN_OUT, cheat(c.FAN_OUT, how), *OPENING)
    refused(c.FAN_OUT, cheat(c.FAN_OUT, replace(how, prover=FanOut)), *OPENING)


# ---- params bound to their eq axes -----------------------------------------------------------------------------------

BOTH = [c.BOUND, c.hiding(c.BOUND)]
PARAMS = ("params", "the values of the params do not fit the reduction")


@pytest.mark.parametrize("source", BOTH)
def test_tables_swapped(source):
    """Two tables of one param, bound to two points: each value counts with its own weights."""

    def swap(label: str, before: int, data: bytes) -> bytes:
        return data[16:] + data[:16] if label == "params reduction values" else data

    c.accepted(source, cheat(source, Cheat()))
    refused(source, cheat(source, Cheat(hook=swap)), *(PARAMS if source == c.BOUND else VALUE))


class Elsewhere(Prover):
    """Binds a param to another claim's point. The rounds and the values fit each other; they are no claims on w there,
    which the opening sees."""

    def reduce_params(self, rest: list[red.Reduced]) -> list[red.ParamPoint]:
        swapped = [replace(r, fixed=other.fixed) for r, other in zip(rest, rest[::-1], strict=True)]
        return super().reduce_params(swapped)


@pytest.mark.parametrize("source", BOTH)
def test_tables_bound_to_other_points(source):
    refused(source, cheat(source, Cheat(prover=Elsewhere)), *(OPENING if source == c.BOUND else VALUE))
