"""Programs with memory, order, branches and batches, and a prover whose values of tensors a test replaces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

import syurmy
from syurmy.isa.graph import Committed, Node, Tuples
from syurmy.isa.trace import Trace
from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.statement import start_transcript
from syurmy.prover.prove import Prover
from tests.soundness import common as c
from tests.soundness.common import says

RAM = """
.input x : i8[4, 2] private
.input i : i8[] private in 0..7
.input j : i8[] private in 0..7
.input v : i8[2] private
.ram buf : i8[4, 2] = x
.ram other : i8[4, 2]
.output y public
.output z public
    load y, buf[i]
    store buf[i], v
    store other[i], v
    load z, buf[j]
    halt
"""
FIRST, STORE, OTHER, LAST = range(4)  # instructions; those on buf happen at times 1, 2 and 3
X = np.array([[1, 2], [3, 4], [5, 6], [5, 6]])
V = np.array([-1, -2])
GATHER = """
.input x : i8[4, 2] private
.input i : i8[3] private in 0..3
.output y public
    gather y, x[i]
    halt
"""
SORT = """
.input x : i8[4] private
.output y public
.output p public
    sort y, x
    argsort p, x
    halt
"""
LOOP = """
.input n : i8[] private in 1..9
.output s public
    sub i, n, n
    cast i, i, i8
    mov s, i
again:
    addi i, i, 1
    clamp i, i, 0, 100
    cast i, i, i8
    add s, s, i
    clamp s, s, 0, 100
    cast s, s, i8
    lt more, i, n
    bnz more, again
    halt
"""
TOPK = SORT.replace("sort y, x", "topk y, x, 2").replace("argsort p, x", "argsort p, x, descending=true")
BATCH = """
.input x : i8[4] private
.input i : i8[] private in 0..3
.ram buf : i8[4] = x
.output y public
    load y, buf[i]
    halt
"""
WIDE = """
.input x : i8[2, 4] private
.input i : i8[] private in 0..1
.ram buf : i8[2, 4] = x
.output y public
    load r, buf[i]
    slice y, r, axis=0, len=1
    halt
"""
INPUTS: dict[str, dict[str, Any]] = {
    RAM: {"x": X, "i": 2, "j": 2, "v": V},
    GATHER: {"x": X + np.arange(4)[:, None], "i": [2, 0, 2]},
    SORT: {"x": [3, -1, 3, 2]},
    LOOP: {"n": 3},
    TOPK: {"x": [3, -1, 3, 2]},
    BATCH: {"x": [[1, 2, 3, 4], [5, 6, 7, 8]], "i": [2, 2]},
    WIDE: {"x": [[1, 2, 3, 4], [5, 6, 7, 8]], "i": 1},
}
Replaced = Callable[[Plan], Mapping[Node, Any]]


def trace_of(source: str, inputs: Mapping[str, Any] | None = None) -> Trace:
    given = {k: np.array(v) for k, v in (inputs or INPUTS[source]).items()}
    return syurmy.run(c.keys(source).program, given, batch=source == BATCH)


def forged(
    source: str,
    replaced: Replaced = lambda plan: {},
    outputs: Mapping[str, Any] | None = None,
    prover: type[Prover] = Prover,
    trace: Trace | None = None,
    inputs: Mapping[str, Any] | None = None,
) -> bytes:
    """A proof with these values of tensors, and what follows from them."""
    trace = trace or trace_of(source, inputs)
    says(**(outputs or {}))(trace)
    liar = prover(c.keys(source), trace)
    liar.transcript = c.RecordingTranscript()
    start_transcript(liar.transcript)
    liar.sender = c.HookedSender(liar.transcript, lambda label, before, data: data)
    liar.witness = c.Forged(liar, trace, replaced(liar.plan))
    return liar.run().data


def named(plan: Plan, label: str, origin: int = -1) -> Committed:
    return next(n for n in plan.system.columns if n.label == label and n.origin == origin)


def block(plan: Plan, label: str, origin: int = -1) -> Tuples:
    return next(t for t in plan.system.tuples if t.label == label and t.origin == origin)


def other_run(monkeypatch: pytest.MonkeyPatch, n: int, flipped: set[int]) -> Trace:
    """A run in which these executions of the branch go the other way."""
    from syurmy.isa.ops.control import Bnz

    execute, seen = Bnz.execute, [0]

    def turned(self: Any, call: Any, values: Any) -> Any:
        seen[0] += 1
        out = execute(self, call, values)
        return 1 - out if seen[0] - 1 in flipped else out

    with monkeypatch.context() as m:
        m.setattr(Bnz, "execute", turned)
        return trace_of(LOOP, {"n": n})
