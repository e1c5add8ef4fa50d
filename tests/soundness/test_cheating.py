"""Cheating provers, one per step of the protocol: honest everywhere else, and rejected by the step that must see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import syurmy
from syurmy.isa.errors import InputError
from syurmy.isa.graph import Committed, IndexMap, Lookup, Node, Public
from syurmy.isa.program import Param
from syurmy.isa.trace import Trace
from syurmy.isa.types import DType, TensorType
from syurmy.prover import prove as proving
from syurmy.prover.commitment import Commitment, ParamsCommitment, commit_params
from syurmy.prover.field import U64, Ext, P
from syurmy.prover.grinding import grinding_nonce
from syurmy.prover.kernels.ntt import encode_ext
from syurmy.prover.keys import ProvingKey, check_bounds, params_matrix, setup
from syurmy.prover.protocol import reduction as red
from syurmy.prover.protocol.claims import Term
from syurmy.prover.protocol.contraction import all_contractions
from syurmy.prover.protocol.grinding import grinding_seed
from syurmy.prover.protocol.mle import dot, dot_base, eq_vector, interpolate
from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.statement import width
from syurmy.prover.protocol.transcript import Rejected
from syurmy.prover.prove import Prover
from syurmy.prover.witness import Witness
from tests.soundness import common as c
from tests.soundness.common import Cheat, accepted, cheat, ext_bytes, exts, keys, refused, trace_of, verifier_of

ROOT = ("lookup", "lookups and tables do not balance")
OPENING = ("opening", "the values of witness and params do not fit their sumcheck")
CONTRACTION = ("contraction", "the operands' values do not fit the sumcheck")
ENCODING = ("opening", "the last vector does not encode to the opened columns")
VALUE = ("opening", "the last vector does not have the claimed values")
PATH = ("opening", "an opened column of 'witness' is not under the root")


def result_of(pk: ProvingKey, op: str) -> Node:
    pc = next(i for i, ins in enumerate(pk.program.code) if ins.op == op)
    return pk.plan.system.results[pc]


def says(**outputs: Any) -> Callable[[Trace], None]:
    """The statement claims these outputs."""

    def change(trace: Trace) -> None:
        for name, value in outputs.items():
            trace.outputs[name] = np.array(value)

    return change


def at(index: int, change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A column with one entry changed."""

    def new(values: Any) -> Any:
        out = values.copy()
        out.reshape(-1)[index] = change(out.reshape(-1)[index])
        return out

    return new


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
            target = interpolate([sent[0], target - sent[0], *sent[1:]], x)
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
    "saturation that was not needed": (c.DENSE, {"over": at(0, lambda v: 1)}, {}, ROOT),
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

    def column_values(self) -> dict[Committed, U64]:
        values = super().column_values()
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
    """Leaves of one lookup count for nothing, so a value outside the table does no harm to the root."""

    def leaves(self) -> tuple[U64, U64]:
        num, den = super().leaves()
        for b in self.plan.blocks:
            if isinstance(b.source, Lookup) and b.source.label == "remainder":
                true = np.zeros(b.dims, np.bool_)
                true[tuple(slice(0, d) for d in b.source.members[0].shape)] = True
                num[b.offset : b.offset + b.size][true.reshape(-1)] = 0
        return num, den


class DroppingRows(c.Forged):
    def multiplicities(self) -> Any:
        lookups = self.system.lookups
        self.system.lookups = [lk for lk in lookups if lk.label != "remainder"]
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

    def leaves(self) -> tuple[U64, U64]:
        num, den = super().leaves()
        b = next(b for b in self.plan.blocks if b.size != b.true_size)
        if self.part == 0:
            num[b.offset + b.size - 1] = 5
        else:
            den[:, b.offset + b.size - 1] = 5
        return num, den


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


# ---- params ----------------------------------------------------------------------------------------------------------


def other_weights(change: Any, source: str = c.DENSE) -> ProvingKey:
    """The prover's copy of a key with its weights changed; the verifying key is the true one."""
    pk = keys(source)
    program = replace(pk.program, data={"w": pk.program.data["w"].astype(np.int64) + np.array(change)})
    plan = Plan.of(program)
    assert plan.params is not None
    node = plan.system.params["w"]
    node.lo, node.hi = -(2**62), 2**62  # kernels choose their arithmetic by it
    c.deepened(source, plan)
    return ProvingKey(
        program, plan, pk.verifying_key, commit_params(params_matrix(program, plan.params), plan.params.shape)
    )


OTHER = [[1, 0], [0, 0], [0, 0]]
FIELD_SIZED = [[2**61, 0], [-(2**60), 0], [0, 0]]  # the same product with a row (1, 2, .)


def with_key(pk: ProvingKey) -> bytes:
    return Prover(pk, syurmy.run(pk.program, {"x": np.array([[1, 2, 3], [1, 2, 3]])})).run().data


@pytest.mark.parametrize("change", [OTHER, FIELD_SIZED])
@pytest.mark.parametrize(("source", "reason"), [(c.DENSE, ENCODING), (c.deep(c.DENSE), VALUE)], ids=["flat", "deep"])
def test_other_params(source, reason, change):
    pk = other_weights(change, source)
    refused(source, with_key(pk), "opening", "an opened column of 'params' is not under the root")
    true = keys(source).params
    assert pk.params is not None
    assert true is not None
    mixed = ParamsCommitment(true.commitment, pk.params.integers)
    proof = with_key(replace(pk, params=mixed))
    refused(source, proof, *reason)


def test_setup_refuses_weights_beyond_their_bounds():
    for change in (OTHER, FIELD_SIZED):
        with pytest.raises(InputError) as e:
            check_bounds(replace(keys(c.DENSE).program, data=other_weights(np.array(change) * 7).program.data))
        assert e.value.code == "K142"


# ---- openings --------------------------------------------------------------------------------------------------------


def test_row_of_another_matrix():
    """W after the commitment: another input. Everything is consistent but the columns under the root."""

    class Switching(Prover):
        def commit(self) -> tuple[Commitment, U64]:
            _, flat = super().commit()
            other = Prover(self.pk, trace_of(c.RESCALE, {"x": [9, 9, 9]}))
            return other.commit()[0], flat

    refused(c.RESCALE, cheat(c.RESCALE, Cheat(prover=Switching)), *PATH)


@pytest.mark.parametrize("source", [c.RESCALE, c.deep(c.RESCALE), c.WORDS])
def test_last_vector_changed(source):
    def change(label: str, before: int, data: bytes) -> bytes:
        return ext_bytes(exts(data)[0] + 1) + data[16:] if label == "last vector" else data

    refused(source, cheat(source, Cheat(hook=change)), *ENCODING)


@pytest.mark.parametrize("what", ["both", "columns", "path"])
def test_path_of_another_column(what, monkeypatch):
    def shifted(sender, matrices, grinding_bits):
        sender.raw("query nonce", grinding_nonce(grinding_seed(sender.transcript), grinding_bits))
        (m,) = matrices
        positions = sender.transcript.positions("witness positions", m.opened.queries, m.opened.shape.n)
        # neighbours in the tree, so that the path keeps its length
        others = sorted(p ^ 1 for p in positions)
        columns = m.commitment.codeword[others if what != "path" else positions]
        path = m.commitment.tree.multiproof(others if what != "columns" else positions)
        sender.base_array("witness columns", columns)
        sender.raw("witness path", path.tobytes())

    monkeypatch.setattr(proving.opening, "open_columns", shifted)
    refused(c.RESCALE, cheat(c.RESCALE, Cheat()), *PATH)


# ---- transcript and statement ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "label", "rejected"),
    [
        (c.RESCALE, "alpha", ROOT),
        (c.DOT, "alpha", OPENING),  # a sum that is zero for every alpha
        (c.DOT, "beta", OPENING),
        (c.DOT, "lookup lambda", ("lookup", "layer 1 sumcheck: the values sent do not satisfy the last claim")),
        (c.DOT, "lookup merge", OPENING),  # the merged variable is bound first in the next layer, so only leaves see it
        (c.DOT, "gamma", CONTRACTION),
        (c.DOT, "contraction challenge", CONTRACTION),
        (c.DOT, "eta", OPENING),
        (c.DOT, "opening challenge", OPENING),
        (c.SUM_PARAM, "zeta", OPENING),
        (c.ROWS, "params delta", ENCODING),
        (c.deep(c.DENSE), "level 1 beta", VALUE),
        (c.deep(c.DENSE), "level 1 challenge", VALUE),
        (c.deep(c.DENSE), "level 2 beta", VALUE),
        (c.deep(c.DENSE), "level 2 challenge", ENCODING),
        (c.DENSE, "grinding seed", ("opening", "a query nonce does not hold")),
        (c.FAN_OUT, "equation point", None),
    ],
)
def test_stale_challenge(source, label, rejected):
    """The prover uses another challenge than the transcript's."""
    proof = cheat(source, Cheat(stale=frozenset({label})))
    if rejected is None:  # a tree as large as the largest equation draws no further point
        accepted(source, proof)
    else:
        refused(source, proof, *rejected)


def statement_at(source: str) -> int:
    return next(o for name, o, _ in c.honest(source).fields if name == "statement")


@pytest.mark.parametrize("source", [c.DOT, c.RESCALE, c.DENSE, c.SELECT, c.ARGMAX, c.LOOP, c.ADD, c.ADD_PRIVATE])
def test_statement_changed_after_proving(source):
    proof = bytearray(c.honest(source).data)
    proof[statement_at(source)] ^= 1
    with pytest.raises(Rejected) as e:
        verifier_of(source).verify(bytes(proof))
    assert e.value.step == ("opening" if source == c.ADD else "lookup")


@pytest.mark.parametrize("shift", [P, -P, P - 2**64, 2**63, 2**31, 2**7])
def test_public_output_plus_p(shift, monkeypatch):
    """v + p has no place among the bytes of its dtype: what they hold is another small integer, and it is refused for
    its interval, or as the false value that it is."""

    def encode(plan: Plan, values: Any) -> bytes:
        out = b""
        for n in plan.system.publics:
            size = width(n)
            out += b"".join(((int(v) + shift) % 256**size).to_bytes(size, "little") for v in values(n).reshape(-1))
        return out

    monkeypatch.setattr(proving, "encode_statement", encode)
    for source, size in ((c.RESCALE, 1), (c.DOT, 4), (c.ADD_LONG, 8)):
        assert {width(n) for n in keys(source).plan.system.publics} == {size}
        proof = cheat(source, Cheat())
        if shift % 256**size == 0:
            accepted(source, proof)
        else:
            with pytest.raises(Rejected) as e:
                accepted(source, proof)
            assert e.value.step in ("statement", "lookup", "opening")
    if shift == 2**63:
        refused(c.ADD_LONG, cheat(c.ADD_LONG, Cheat()), "statement", "is outside [")


@pytest.mark.parametrize("value", [128, -129])
def test_public_output_outside_its_type(value):
    proof = cheat(c.RESCALE, Cheat(columns={"result": at(0, lambda y: value)}, trace=says(y=[value, -25, 19])))
    refused(c.RESCALE, proof, "statement", "a value of 'y' is outside [-64, 63]")


def test_false_output():
    refused(c.RESCALE, cheat(c.RESCALE, Cheat(trace=says(y=[2, -25, 19]))), *OPENING)


# ---- other programs --------------------------------------------------------------------------------------------------


def test_proof_of_another_program():
    others = [c.RESCALE, c.DENSE, c.SELECT, c.LOOP, c.LOOP.replace("repeat 3", "repeat 2"), c.DOT.replace("4]", "5]")]
    for source in others:
        inputs = c.INPUTS.get(source) or {"x": [1, 2]}
        if "5]" in source:
            inputs = {"x": [1] * 5, "z": [2] * 5}
        proof = Prover(keys(source), trace_of(source, inputs)).run().data
        refused(c.DOT, proof, "statement", "the proof belongs to another key")


@pytest.mark.parametrize("rounds", [1, 2, 4])
def test_rounds_of_another_program(rounds):
    """As many rounds as another program makes, under the name of this one."""
    other = c.LOOP.replace("repeat 3", f"repeat {rounds}")
    pk = replace(keys(other), verifying_key=keys(c.LOOP).verifying_key)
    proof = Prover(pk, trace_of(other, c.INPUTS[c.LOOP])).run().data
    with pytest.raises(Rejected) as e:
        verifier_of(c.LOOP).verify(proof)
    assert e.value.step == "lookup"


# ---- two and two -----------------------------------------------------------------------------------------------------


def five(source: str) -> list[Cheat]:
    """Every way of this file to claim 2 + 2 = 5 (or 2 * 2 = 5)."""
    claim = says(s=5)
    op = "mul" if source == c.MUL_PRIVATE else "add"
    out = [
        Cheat(trace=claim),
        Cheat(trace=claim, nodes=lambda pk: {result_of(pk, op): 5}),
        Cheat(trace=claim, prover=FanOut),
        *(Cheat(trace=claim, stale=frozenset({x})) for x in ("alpha", "gamma", "eta", "opening challenge")),
    ]
    if source != c.ADD:
        for value in (3, 5 * pow(2, -1, P), 3 - P):
            out.append(Cheat(trace=claim, columns={"input a": lambda _, v=value: v}))
        out.append(Cheat(trace=claim, prover=Multiplicities))
    if source == c.MUL_PRIVATE:
        for lies in range(6):
            prover = type("Liar", (Covering,), {"lies": lies})
            out.append(Cheat(trace=claim, nodes=lambda pk: {result_of(pk, op): 5}, prover=prover))
    return out


@pytest.mark.parametrize("source", [c.ADD, c.ADD_PRIVATE, c.MUL_PRIVATE], ids=["public", "private", "product"])
def test_two_and_two_is_not_five(source):
    assert int(accepted(source, c.honest(source).data).outputs["s"]) == 4
    for how in five(source):
        with pytest.raises(Rejected):
            accepted(source, cheat(source, how))
    proof = bytearray(c.honest(source).data)
    values = [n for n in keys(source).plan.system.publics if isinstance(n, Public)]
    proof[statement_at(source) + sum(width(n) * n.size for n in values[:-1])] = 5
    with pytest.raises(Rejected):
        accepted(source, bytes(proof))


# ---- bounds of params ------------------------------------------------------------------------------------------------


def test_l1_bounds_are_summed_exactly():
    """Nine weights whose sum is p + 5, recorded with an L1 norm of at most 5: a sum in 64 bits would believe it."""
    program = syurmy.assemble(
        ".input x : i8[9] public in 1..1\n.param w : i8[9] committed = {1, 1, 1, 1, 1, 1, 1, 1, 1}\n"
        ".output s public\n dot s, x, w\n halt"
    )
    weights = np.array([(P + 5 + i) // 9 for i in range(9)], np.int64)
    assert sum(int(w) for w in weights) == P + 5
    t = TensorType(DType.I64, (9,), int(weights.min()), int(weights.max()))
    with pytest.raises(InputError) as e:
        setup(replace(program, params=(Param("w", t, True, (((0,), 5),)),), data={"w": weights}))
    assert e.value.code == "K143"
