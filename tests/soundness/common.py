"""Small programs and a prover to cheat with: honest everywhere except in the step that a test replaces.

A forged witness is evaluated in field arithmetic: columns may hold any field element, virtual tensors follow from
them, and lookups that have no row are left out of the multiplicities. The integers stand for their residues.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import pytest

import syurmy
from syurmy.isa.arrays import I64
from syurmy.isa.graph import Committed, Node, Table
from syurmy.isa.trace import Trace
from syurmy.prover.field import ZERO, Ext
from syurmy.prover.keys import ProvingKey, setup
from syurmy.prover.lookup import Leaves
from syurmy.prover.protocol.budget import Opening
from syurmy.prover.protocol.key import Mode
from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.proof import Proof
from syurmy.prover.protocol.reed_solomon import MatrixShape
from syurmy.prover.protocol.shapes import Level
from syurmy.prover.protocol.statement import MAGIC, start_transcript
from syurmy.prover.protocol.transcript import Rejected, Sender, Transcript
from syurmy.prover.prove import Prover
from syurmy.prover.tensors import TensorOpening, seal
from syurmy.prover.verifier import verify as verifier
from syurmy.prover.verifier.verify import Statement, Verifier
from syurmy.prover.witness import NO_ROW, Witness
from tests.isa.constraints import centred, evaluate, to_field

ROOT = ("lookup", "lookups and tables do not balance")
OPENING = ("opening", "the values of witness and params do not fit their sumcheck")
CONTRACTION = ("contraction", "the operands' values do not fit the sumcheck")
ENCODING = ("opening", "the last vector does not encode to the opened columns")
VALUE = ("opening", "the last vector does not have the claimed values")
PATH = ("opening", "an opened column of 'witness' is not under the root")
STATEMENT = (
    *("protocol", "witness root", "key digest", "certificate", "path length", "path", "statement"),
    *("program", "trace cells"),
)
STEPS = {"format", "certificate", "path", "statement", "lookup", "contraction", "params", "opening", "soundness"}

DOT = """
.input x : i8[4] private
.input z : i8[4] private
.output s public
    dot s, x, z
    halt
"""
TWO_DOTS = """
.input x : i8[4] private
.input z : i8[4] private
.output s public
.output t public
    dot s, x, z
    flip f, x, 0
    dot t, x, f
    halt
"""
RESCALE = """
.input x : i8[3] private
.output y public
    rescale y, x, 2, i8
    halt
"""
DENSE = """
.input x : i8[2, 3] private
.param w : i8[3, 2] committed = {{3, -1}, {0, 2}, {-5, 4}}
.output y public
    matmul h, x, w
    rescale y, h, 2, i8
    halt
"""
TWO_DENSE = """
.input x : i8[3] private
.param w : i8[3] committed = {3, -1, 2}
.param v : i8[3] committed = {1, 4, -2}
.output s public
    dot a, x, w
    dot b, x, v
    add s, a, b
    halt
"""
SELECT = """
.input x : i8[3] private
.input z : i8[3] private
.output y public
    lt c, x, z
    select y, c, x, z
    halt
"""
ARGMAX = """
.input x : i8[5] private
.output y public
    argmax y, x, 0
    halt
"""
FAN_OUT = """
.input x : i8[4] private
.output s public
.output t public
    muli s, x, 3
    flip t, x, 0
    halt
"""
LOOP = """
.input x : i8[2] private
.output r public
    mov r, x
    repeat 3
        addi d, r, 9
        rescale r, d, 1, i8
    end
    halt
"""
ASSERT = """
.input x : i8[2] private
.input z : i8[2] private
.output s public
    lt c, x, z
    assert c
    sum s, x
    halt
"""
LUT = """
.input x : i8[3] private
.lut square : i8 -> i16 in -4..3 = {16, 9, 4, 1, 0, 1, 4, 9}
.output y public
    lut y, x, square
    halt
"""
ADD = """
.input a : i8[] public
.input b : i8[] public
.output s public
    add s, a, b
    halt
"""
ADD_LONG = """
.input a : i64[] public in -1000000000000000000..1000000000000000000
.input b : i64[] public in -1000000000000000000..1000000000000000000
.output s public
    add s, a, b
    halt
"""
ADD_WIDE = """
.input a : i8[4] public
.input b : i8[4] public
.output s public
    add s, a, b
    halt
"""
SQUARES = """
.param w : i8[3] committed = {3, -1, 2}
.output s public
    dot s, w, w
    halt
"""
SUM_PARAM = """
.input x : i8[2] private
.param w : i8[2, 3] committed = {{1, -2, 3}, {4, 5, -6}}
.output s public
    sum r, w, axes=(1)
    add s, r, x
    halt
"""
BOUND = """
.input x : i8[2, 4] private
.param w : i8[4, 3] committed = {{1, -2, 3}, {4, 5, -6}, {-7, 8, 9}, {2, 0, -3}}
.output s public
.output r public
    matmul h, x, w
    slice s, h, axis=1, start=1, len=2      ; a claim on w at a point of its rows, with other weights of its columns
    sum r, w, axes=(1)                      ; and one at another point
    halt
"""
ADD_PRIVATE = """
.input a : i8[] private
.input b : i8[] private
.output s public
    reveal a
    reveal b
    add s, a, b
    halt
"""
MUL_PRIVATE = """
.input a : i8[] private
.input b : i8[] private
.output s public
    reveal a
    reveal b
    mul s, a, b
    halt
"""
COMMITTED = """
.input x : i16[4] committed in -300..300
.input v : i16[4] committed in -300..300
.input z : i16[4] private
.output y committed
.output s public
    add y, x, v
    dot s, y, z
    halt
"""
COMMITTED_3 = """
.input x : i16[3] committed in -300..300
.input z : i16[3] private
.output s public
    dot s, x, z
    halt
"""
WORDS = """
.input x : i16[3] private
.input z : i16[16000] private               ; so much that there is a level
.param w : i8[3] committed = {3, -1, 2}
.output s public
    dot s, x, w
    halt
"""


def _square(step: int) -> str:
    rows = ["{" + ", ".join(str((step * r + k) % 17 - 8) for k in range(32)) + "}" for r in range(32)]
    return "{" + ", ".join(rows) + "}"


ROWS = f"""
.input x : i8[1, 32] private
.param w : i8[32, 32] committed = {_square(3)}
.param v : i8[32, 32] committed = {_square(5)}
.output s public
    matmul a, x, w
    matmul b, x, v
    add s, a, b
    halt
"""
INPUTS: dict[str, dict[str, Any]] = {
    ROWS: {"x": [list(range(-16, 16))]},
    WORDS: {"x": [30000, -30000, 7], "z": [0] * 16000},
    DOT: {"x": [1, -2, 3, 4], "z": [5, 6, -7, 8]},
    COMMITTED: {"x": [1, -2, 3, 4], "v": [9, 0, 0, -1], "z": [5, 6, -7, 8]},
    COMMITTED_3: {"x": [1, -2, 3], "z": [5, 6, -7]},
    TWO_DOTS: {"x": [1, -2, 3, 4], "z": [5, 6, -7, 8]},
    RESCALE: {"x": [5, -100, 77]},
    DENSE: {"x": [[1, 2, 3], [-4, 5, 6]]},
    TWO_DENSE: {"x": [1, 2, 3]},
    SELECT: {"x": [1, 2, 3], "z": [3, 2, 1]},
    ARGMAX: {"x": [3, 9, -1, 9, 2]},
    FAN_OUT: {"x": [1, 2, 3, 4]},
    LOOP: {"x": [100, -50]},
    ASSERT: {"x": [1, 2], "z": [3, 4]},
    LUT: {"x": [-4, 0, 3]},
    ADD: {"a": 2, "b": 2},
    ADD_LONG: {"a": 3000000000, "b": -7},
    ADD_WIDE: {"a": [1, 2, 3, 4], "b": [2, 2, 2, 2]},
    SUM_PARAM: {"x": [1, 2]},
    BOUND: {"x": [[1, 2, -3, 4], [5, -6, 7, 8]]},
    ADD_PRIVATE: {"a": 2, "b": 2},
    MUL_PRIVATE: {"a": 2, "b": 2},
}


_DEEP = "; with a ladder of two levels"
_HIDING = "; with all that is not public hidden"


def deep(source: str) -> str:
    """The program opened through a ladder of two levels, which one of its size would not have."""
    INPUTS[source + _DEEP] = INPUTS[source]
    return source + _DEEP


def hiding(source: str) -> str:
    """The program with keys whose proofs hide what is not public; without this, proofs of the tests hide nothing."""
    INPUTS[source + _HIDING] = INPUTS[source]
    return source + _HIDING


def two_levels(used: int) -> tuple[Level, ...]:
    log_size = (used - 1).bit_length()
    return Level(log_size, MatrixShape(-(-used >> 5), 5, 3, 2)), Level(5, MatrixShape(2, 4, 4, 2))


def deepened(source: str, plan: Plan | None) -> None:
    if source.endswith(_DEEP) and plan is not None:
        plan.opening = Opening.with_ladder(plan, two_levels)


@cache
def keys(source: str) -> ProvingKey:
    program = syurmy.assemble(source)
    pk = setup(program, Mode.of(program, source.endswith(_HIDING)))
    pk = replace(pk, allowance=None)  # tests make any number of proofs
    deepened(source, pk.plan)
    return pk


@cache
def verifier_of(source: str) -> Verifier:
    verifier = Verifier(keys(source).verifying_key)
    deepened(source, verifier.plan)
    return verifier


def trace_of(source: str, inputs: Mapping[str, Any] | None = None) -> Trace:
    """A trace of its own, which a test may change."""
    given = {k: np.array(v) for k, v in (inputs or INPUTS[source]).items()}
    return syurmy.run(keys(source).program, given)


@cache
def openings_of(source: str) -> dict[str, TensorOpening]:
    """Commitments to its committed inputs and outputs, as an honest run has them; for two proofs where they hide."""
    return sealed(source, trace_of(source))


def sealed(source: str, trace: Trace) -> dict[str, TensorOpening]:
    """New commitments to what is committed of this run."""
    pk = keys(source)
    if not any(d.committed for d in (*pk.program.inputs, *pk.program.outputs)):
        return {}
    assert pk.plan is not None
    witness = Witness(pk.plan.system, trace)
    mode = Mode(True, 2) if pk.mode.hiding else Mode(False)
    made = {e.name: seal(witness(e), e.dtype, mode) for e in pk.plan.system.externals}
    return {name: replace(opening, allowance=None) for name, opening in made.items()}


@cache
def honest(source: str) -> Proof:
    return Prover(keys(source), trace_of(source), commitments=openings_of(source)).run()


def column(pk: ProvingKey, label: str, nth: int = 0) -> Committed:
    return [c for c in pk.plan.system.columns if c.label == label][nth]


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


def written_out(leaves: Leaves) -> Leaves:
    """Leaves all of whose numerators are there to be changed: those that are 1 are not written otherwise."""
    num = np.ones_like(leaves.num)
    for lo, hi in leaves.others or ():
        num[lo:hi] = leaves.num[lo:hi]
    return replace(leaves, num=num, others=None)


class Forged(Witness):
    """A witness over the field. ``replaced``: values of columns, or of virtual tensors about which the prover lies."""

    def __init__(self, base: Prover, trace: Trace, replaced: Mapping[Node, Any]) -> None:
        super().__init__(base.plan.system, trace)
        for node in self.system.results.values():
            if node.inputs:
                self._values.pop(node, None)
        for node, values in replaced.items():
            array = np.asarray(values, dtype=object)
            self._values[node] = centred(to_field(np.broadcast_to(array, node.shape)))

    def _compute(self, node: Node) -> I64:
        if not node.inputs:
            return super()._compute(node)
        return centred(evaluate(node, [to_field(self(n)) for n in node.inputs]))

    def multiplicities(self) -> dict[Table, I64]:
        counts = {t: np.zeros(2**t.log_size, np.int64) for t in self.system.tables}
        for lk in self.system.lookups:
            rows = self.rows(lk.table, lk.members)
            counts[lk.table] += np.bincount(rows[rows != NO_ROW], minlength=2**lk.table.log_size)
        return counts


Hook = Callable[[str, int, bytes], bytes]


class HookedSender(Sender):
    """Gives every message to a hook before it is sent and absorbed: label, how many of this label came before."""

    def __init__(self, transcript: Transcript, hook: Hook) -> None:
        super().__init__(transcript)
        self.hook = hook

    def raw(self, label: str, data: bytes) -> None:
        before = sum(name == label for name, _, _ in self.fields)
        super().raw(label, self.hook(label, before, data))


class RecordingTranscript(Transcript):
    """Remembers challenges by label; ``stale`` labels give a wrong one to its owner."""

    def __init__(self, stale: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self.drawn: dict[str, list[Ext]] = {}
        self.queried: dict[str, list[int]] = {}
        self.states: list[tuple[str, Ext]] = []  # all challenges in order
        self.stale = stale

    def challenge(self, label: str) -> Ext:
        value = super().challenge(label)
        if label in self.stale:
            value = value + 1
        self.drawn.setdefault(label, []).append(value)
        self.states.append((label, value))
        return value

    def positions(self, label: str, count: int, bound: int) -> list[int]:
        self.queried[label] = super().positions(label, count, bound)
        return self.queried[label]


@dataclass
class Cheat:
    """What a cheating prover does differently."""

    columns: Mapping[str, Any] = field(default_factory=dict)  # by label; value, or a function of the honest one
    nodes: Callable[[ProvingKey], Mapping[Node, Any]] = lambda pk: {}
    trace: Callable[[Trace], None] = lambda trace: None
    hook: Hook = lambda label, before, data: data
    stale: frozenset[str] = frozenset()
    prover: type[Prover] = Prover


def cheat(source: str, how: Cheat) -> bytes:
    """The proof that this prover makes."""
    pk = keys(source)
    trace = trace_of(source)
    clean = Witness(pk.plan.system, trace)
    replaced: dict[Node, Any] = {}
    for label, value in how.columns.items():
        c = column(pk, label)
        replaced[c] = value(clean(c).astype(object)) if callable(value) else value
    replaced.update(how.nodes(pk))
    how.trace(trace)
    prover = how.prover(pk, trace, commitments=openings_of(source))
    prover.transcript = RecordingTranscript(how.stale)
    start_transcript(prover.transcript)
    prover.sender = HookedSender(prover.transcript, how.hook)
    prover.witness = Forged(prover, trace, replaced)
    return prover.run().data


def refused(source: str, proof: bytes, step: str, reason: str) -> None:
    """The proof is rejected in this step for this reason."""
    assert step in STEPS
    with pytest.raises(Rejected) as e:
        verifier_of(source).verify(proof)
    assert (e.value.step, reason in e.value.reason) == (step, True), str(e.value)


def accepted(source: str, proof: bytes) -> Statement:
    return verifier_of(source).verify(proof)


class _Captured(Exception):
    pass


def expected_target(pk: ProvingKey, messages: bytes) -> Ext:
    """What the verifier, given the messages so far, wants <Omega, W> (with params) to be."""
    got = ZERO

    class Run(verifier._Run):
        def open(self, root: Any, pulled: Any, contractions: Any, target: Ext) -> Any:
            nonlocal got
            got = target
            raise _Captured

    try:
        Run(Verifier(pk.verifying_key), MAGIC + messages).run()
    except _Captured:
        return got
    raise AssertionError("the verifier did not reach the opening")


def ext_bytes(*values: Ext) -> bytes:
    return b"".join(v.a.to_bytes(8, "little") + v.b.to_bytes(8, "little") for v in values)


def exts(data: bytes) -> list[Ext]:
    words = [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]
    return [Ext(words[i], words[i + 1]) for i in range(0, len(words), 2)]
