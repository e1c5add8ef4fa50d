"""Cheating provers against the memory argument, permutations, branches and batches.

Where it can, a forgery makes all tuples cancel and lies in one place only, so that exactly one rule has to see it: the
range of the elapsed time, the public row numbers, the claims on the leaves, the order of commitment and fingerprint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

import syurmy
from syurmy.isa import builder
from syurmy.isa.errors import Trap
from syurmy.isa.graph import Committed, Node, Public, Tuples
from syurmy.isa.path import Path
from syurmy.isa.ranges import Limbs
from syurmy.isa.trace import Trace
from syurmy.prover import prove as proving
from syurmy.prover.check import check_system
from syurmy.prover.field import U64, Ext, P
from syurmy.prover.kernels.bind import dot_rows
from syurmy.prover.keys import setup
from syurmy.prover.protocol.mle import eq_vector
from syurmy.prover.protocol.path import decode_path, encode_path
from syurmy.prover.protocol.plan import Block, Plan
from syurmy.prover.protocol.statement import start_transcript
from syurmy.prover.protocol.transcript import Rejected
from syurmy.prover.prove import Prover
from syurmy.prover.verifier.verify import Verifier
from tests.soundness import common as c
from tests.soundness.forgeries import Host
from tests.soundness.test_cheating import OPENING, ROOT, says
from tests.soundness.test_replay import leave_out

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


def refused(source: str, proof: bytes, step: str, reason: str) -> None:
    with pytest.raises(Rejected) as e:
        c.verifier_of(source).verify(proof)
    assert e.value.step == step, str(e.value)
    assert reason in e.value.reason, str(e.value)


def named(plan: Plan, label: str, origin: int = -1) -> Committed:
    return next(n for n in plan.system.columns if n.label == label and n.origin == origin)


def block(plan: Plan, label: str, origin: int = -1) -> Tuples:
    return next(t for t in plan.system.tuples if t.label == label and t.origin == origin)


def accesses(
    read: Mapping[int, Any] | None = None,
    elapsed: Mapping[int, int] | None = None,
    final: Any = None,
    times: Any = None,
) -> Replaced:
    """Columns of the accesses of ``RAM``, by instruction, and of its final contents."""

    def columns(plan: Plan) -> dict[Node, Any]:
        out: dict[Node, Any] = {plan.system.results[pc]: v for pc, v in (read or {}).items()}
        out |= {named(plan, "elapsed", pc): v for pc, v in (elapsed or {}).items()}
        if final is not None:
            out[named(plan, "final buf")] = final
        if times is not None:
            out[named(plan, "final times of buf")] = times
        return out

    return columns


@pytest.mark.parametrize("source", INPUTS)
def test_honest(source):
    trace = trace_of(source)
    statement = c.verifier_of(source).verify(forged(source))
    for name, value in trace.outputs.items():
        assert np.array_equal(statement.outputs[name], value)


def rows(*last: Any) -> list[Any]:
    return [X[0], X[1], *last]


NINE = np.array([9, 9])
FORGERIES: dict[str, tuple[Replaced, dict[str, Any]]] = {
    "stale read of what the first load left": (accesses({LAST: X[2]}, {LAST: 1}), {"z": X[2]}),
    "stale read of the initial row": (accesses({LAST: X[2]}, {LAST: 2}), {"z": X[2]}),
    "lost write": (accesses({LAST: X[2]}, {LAST: 1}, rows(X[2], X[3]), [0, 0, 3, 0]), {"z": X[2]}),
    "lost write, an older time at the end": (
        accesses({LAST: X[2]}, {LAST: 1}, rows(V, X[3]), [0, 0, 2, 0]),
        {"z": X[2]},
    ),
    "read from the future": (  # all tuples cancel
        accesses({FIRST: V, STORE: V, LAST: X[2]}, {FIRST: -2, LAST: 2}, rows(X[2], X[3]), [0, 0, 3, 0]),
        {"y": V, "z": X[2]},
    ),
    "read of its own write": (  # all tuples cancel
        accesses({LAST: NINE}, {LAST: -1}, rows(V, X[3]), [0, 0, 2, 0]),
        {"z": NINE},
    ),
    "a time of F between two times": (accesses({LAST: V}, {LAST: pow(2, -1, P)}), {}),
    "read of another row": (accesses({LAST: X[1]}, {LAST: 2}), {"z": X[1]}),
    "read of another buffer": (accesses({LAST: [0, 0]}, {LAST: 2}), {"z": [0, 0]}),
    "one entry of the row read differs": (accesses({LAST: [-1, 7]}), {"z": [-1, 7]}),
    "row changed between accesses": (accesses({STORE: NINE}), {}),
    "row changed at the end": (accesses(final=rows(V, NINE)), {}),
    "entries of a row swapped": (accesses(final=rows(V, X[3][::-1])), {}),
    "final time of another access": (accesses(times=[0, 0, 2, 0]), {}),
    "final time before the initial one": (accesses(times=[0, 0, 3, -1]), {}),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_access(name):
    replaced, outputs = FORGERIES[name]
    refused(RAM, forged(RAM, replaced, outputs), *ROOT)


def test_row_out_of_range():
    """No initial tuple has the row, whatever time is claimed; the machine traps."""
    with pytest.raises(Trap, match="row 4"):
        trace_of(RAM, {**INPUTS[RAM], "j": 4})
    for read, elapsed in ((NINE, 2), (NINE, -1), ([0, 0], 2)):

        def replaced(plan: Plan, read: Any = read, elapsed: int = elapsed) -> dict[Node, Any]:
            columns = accesses({LAST: read}, {LAST: elapsed}, rows(V, X[3]), [0, 0, 2, 0])(plan)
            return {**columns, plan.system.inputs["j"]: 4}

        refused(RAM, forged(RAM, replaced, {"z": read}), *ROOT)


def test_initial_and_final_row_twice():
    """Row 2 twice and row 3 never, by false row numbers: the tuples cancel, the public numbers do not agree."""

    def replaced(plan: Plan) -> dict[Node, Any]:
        row = block(plan, "final contents").members[1]
        assert isinstance(row, Public)
        assert row is block(plan, "initial contents").members[1]
        columns = accesses({LAST: X[2]}, {LAST: 2}, rows(V, X[2]), [0, 0, 2, 3])(plan)
        return {**columns, row: [0, 1, 2, 2]}

    refused(RAM, forged(RAM, replaced, {"z": X[2]}), *OPENING)


class Leaves(Prover):
    """Other values in one member of one block of tuples, in the leaves only."""

    label, origin, member = "", -1, 0
    false: Any = None

    def fill_tuples(self, part: U64, b: Block, tuples: Tuples, betas: list[Ext]) -> None:
        node = tuples.members[self.member]
        if (tuples.label, tuples.origin) != (self.label, self.origin) or node is None:
            return super().fill_tuples(part, b, tuples, betas)
        kept = self.witness(node)
        self.witness._values[node] = np.broadcast_to(np.array(self.false, np.int64), node.shape)
        super().fill_tuples(part, b, tuples, betas)
        self.witness._values[node] = kept


def leaves(label: str, origin: int, member: int, values: Any) -> type[Prover]:
    return type("Lying", (Leaves,), {"label": label, "origin": origin, "member": member, "false": values})


LIES: dict[str, tuple[Replaced, dict[str, Any], type[Prover]]] = {
    "a load that does not write back": (
        accesses({STORE: NINE}, {}),
        {},
        leaves("write", FIRST, 2, NINE),
    ),
    "a store of something else": (
        accesses({LAST: NINE}, {}, rows(NINE, X[3])),
        {"z": NINE},
        leaves("write", STORE, 2, NINE),
    ),
    "a load at another time": (
        accesses({LAST: X[2]}, {LAST: 1}, rows(V, X[3]), [0, 0, 2, 0]),
        {"z": X[2]},
        leaves("write", LAST, 3, 1),
    ),
    "a load of another row": (
        accesses({LAST: X[3]}, {LAST: 2}, rows(V, X[3]), [0, 0, 2, 0]),
        {"z": X[3]},
        leaves("read", LAST, 1, 3),
    ),
    "a final row of another number": (accesses(), {}, leaves("final contents", -1, 1, [[0, 1, 2, 2]])),
    "an initial row of another number": (accesses(), {}, leaves("initial contents", -1, 1, [[0, 1, 2, 2]])),
    "initial contents of another input": (
        accesses({FIRST: NINE, STORE: NINE}),
        {"y": NINE},
        leaves("initial contents", -1, 2, [[X[0], X[1], NINE, X[3]]]),
    ),
}
UNBALANCED = {"a load of another row", "a final row of another number", "an initial row of another number"}


@pytest.mark.parametrize("name", LIES)
def test_leaves_of_other_tuples(name):
    replaced, outputs, prover = LIES[name]
    refused(RAM, forged(RAM, replaced, outputs, prover), *(ROOT if name in UNBALANCED else OPENING))


def test_elapsed_time_by_limbs(monkeypatch):
    """-1 has no limbs: neither a lowest limb of -1 nor an upper one."""
    monkeypatch.setattr(builder, "limbs_for", lambda checks: Limbs(1))
    key = setup(syurmy.assemble(RAM + "\n"))
    verifier = Verifier(key.verifying_key)
    trace = trace_of(RAM)
    assert verifier.verify(Prover(key, trace).run().data)
    base = accesses({LAST: NINE}, {LAST: -1}, rows(V, X[3]), [0, 0, 2, 0])
    for limb in (0, 1, -1, (-1 - 1) * pow(2, -1, P) % P):
        trace = trace_of(RAM)
        says(z=NINE)(trace)
        liar = Prover(key, trace)
        columns = {**base(liar.plan), named(liar.plan, "elapsed limb 1", LAST): limb}
        liar.witness = c.Forged(liar, trace, columns)
        with pytest.raises(Rejected) as e:
            verifier.verify(liar.run().data)
        assert e.value.step == ROOT[0]
        assert ROOT[1] in e.value.reason


# ---- pinning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [RAM, GATHER, SORT, LOOP, TOPK])
def test_every_column_is_pinned_and_every_constraint_needed(source, monkeypatch):
    """What single entries and pairs do not show to be needed, ``test_single_violations`` does."""
    given = {k: np.array(v) for k, v in INPUTS[source].items()}
    left = Host(c.keys(source).program, given).refuse_all(monkeypatch, 16)
    assert {label for _, label in left} <= {"elapsed", "ascending", "branch"}


def violated(source: str, replaced: Replaced, outputs: Mapping[str, Any], trace: Trace | None = None) -> set[str]:
    """Labels of the constraints that a forgery violates."""
    trace = trace or trace_of(source)
    says(**outputs)(trace)
    liar = Prover(c.keys(source), trace)
    witness = c.Forged(liar, trace, replaced(liar.plan))
    return {v.constraint for v in check_system(liar.plan.system, witness) if v.constraint != "value"}


def test_single_violations(monkeypatch):
    """Forgeries that would pass if one constraint was left out."""
    for name in ("read from the future", "read of its own write"):
        assert violated(RAM, *FORGERIES[name]) == {"elapsed"}
    for name in ("stale read of the initial row", "one entry of the row read differs", "row changed at the end"):
        assert violated(RAM, *FORGERIES[name]) == {"tuples of buf"}
    assert violated(SORT, *order([-1, 2, 3, 3], [1, 3, 2, 0])) == {"ascending"}
    assert violated(LOOP, lambda plan: {}, {}, other_run(monkeypatch, 3, {1})) == {"branch"}


# ---- fingerprints ----------------------------------------------------------------------------------------------------


def collision() -> bytes:
    """Another row of the same fingerprint, chosen when its point is known: entry 0 is one more, two others make up."""
    drawn: dict[str, list[Ext]] = {}

    class First(Prover):
        def lookups(self) -> tuple[Ext, Ext]:
            out = super().lookups()
            drawn.update(self.transcript.drawn)  # type: ignore[attr-defined]
            return out

    forged(WIDE, outputs={"y": [6]}, prover=First)
    w = eq_vector(drawn["fingerprint point"]).astype(object)
    assert w.shape == (2, 4)
    (a, b), (d, e) = w[:, 1], w[:, 2]  # a*u + d*v = -w0, b*u + e*v = -w0'
    inverse = pow(int(a * e - b * d) % P, -1, P)
    u = int(-w[0, 0] * e + w[1, 0] * d) * inverse % P
    v = int(-w[1, 0] * a + w[0, 0] * b) * inverse % P
    assert not ((w[:, 0] + w[:, 1] * u + w[:, 2] * v) % P).any()
    return forged(WIDE, lambda plan: {plan.system.results[0]: [6, 6 + u, 7 + v, 8]}, {"y": [6]})


def test_fingerprint_collision(monkeypatch):
    # the kernel for small entries would cut field elements short
    monkeypatch.setattr(proving, "dot_rows", lambda values, weights, bound: dot_rows(values, weights, 2**62))
    refused(WIDE, collision(), *ROOT)
    leave_out(monkeypatch, "witness root")
    statement = c.verifier_of(WIDE).verify(collision())
    assert statement.outputs["y"].tolist() == [6], "the attack works where the point does not depend on the root"


def test_fingerprint_point_comes_after_the_root():
    for source in (RAM, GATHER, WIDE):
        prover = Prover(c.keys(source), trace_of(source))
        run = c.verifier._Run(c.verifier_of(source), prover.run().data)
        run.run()
        for log in (prover.transcript.log, run.transcript.log):
            order = [label for _, label, _ in log]
            first = order.index("fingerprint point")
            for message in ("witness root", "key digest", "path length", "path", "statement", "program", "trace cells"):
                assert order.index(message) < first
            assert order.index("alpha") < order.index("beta") < first < order.index("lookup values")


# ---- gather, order ---------------------------------------------------------------------------------------------------


def test_gather_of_another_row():
    x = INPUTS[GATHER]["x"]
    for counts in (None, [1, 1, 1, 0], [1, 0, 2, 0], [1, pow(2, -1, P), 1, 0]):

        def replaced(plan: Plan, counts: Any = counts) -> dict[Node, Any]:
            out: dict[Node, Any] = {plan.system.results[0]: [x[2], x[1], x[2]]}
            if counts is not None:
                out[named(plan, "multiplicity", 0)] = counts
            return out

        refused(GATHER, forged(GATHER, replaced, {"y": [x[2], x[1], x[2]]}), *ROOT)


@pytest.mark.parametrize("counts", [[1, 0, 1, 1], [2, 0, 1, 0], [1, 0, 2 - P, 1]])
def test_multiplicity_of_a_gather(counts):
    refused(GATHER, forged(GATHER, lambda plan: {named(plan, "multiplicity", 0): counts}), *ROOT)


def order(values: Any, places: Any) -> tuple[Replaced, dict[str, Any]]:
    """Columns of both instructions of ``SORT``, whose honest values are [-1, 2, 3, 3] and [1, 3, 0, 2]."""

    def columns(plan: Plan) -> dict[Node, Any]:
        return {named(plan, label, pc): v for pc in (0, 1) for label, v in (("sorted", values), ("places", places))}

    small = all(-128 <= v < 128 for v in values) and all(0 <= v < 4 for v in places)
    return columns, {"y": values, "p": places} if small else {}


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ([-1, 2, 2, 3], [1, 3, 3, 0]),  # one dropped, another twice
        ([-1, 2, 3, 4], [1, 3, 0, 2]),  # one that is not there
        ([-1, 2, 3, 3], [1, 3, 2, 0]),  # ties in the other order
        ([-1, 2, 3, 3], [1, 3, 0, 0]),  # one place twice
        ([-1, 3, 2, 3], [1, 0, 3, 2]),  # not sorted
        ([3, 3, 2, -1], [0, 2, 3, 1]),  # the other way round
        ([-1 - pow(4, -1, P), 2, 3, 3], [2, 3, 0, 2]),  # the same key
    ],
)
def test_forged_order(values, places):
    replaced, outputs = order(values, places)
    refused(SORT, forged(SORT, replaced, outputs), *ROOT)


# ---- branches --------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("flipped", [{0}, {1}, {2}], ids=["one round", "two rounds", "four rounds"])
def test_wrong_branch(flipped, monkeypatch):
    """The false bit, with everything on that path computed honestly; then with a comparison that fits the bit."""
    trace = other_run(monkeypatch, 3, flipped)
    assert trace.bits != trace_of(LOOP).bits
    refused(LOOP, forged(LOOP, trace=trace), *OPENING)

    def less(plan: Plan) -> dict[Node, Any]:
        column = next(n for n in plan.system.columns if n.label == "less")
        (bits,) = trace.bits.values()
        return {column: np.array(bits).reshape(column.shape)}

    refused(LOOP, forged(LOOP, less, trace=other_run(monkeypatch, 3, flipped)), *ROOT)


def with_path(path: bytes, source: str = LOOP, length: int | None = None) -> bytes:
    """The honest proof with other bytes in the place of its path."""
    proof = Prover(c.keys(source), trace_of(source)).run()
    places = {label: (at, n) for label, at, n in proof.fields}
    at, end = places["path length"][0], sum(places["path"])
    size = len(path) if length is None else length
    return proof.data[:at] + size.to_bytes(4, "little") + path + proof.data[end:]


def bits_of(*bits: int, pc: int | None = None, batch: int = 1) -> bytes:
    return encode_path(Path(batch, {branch_pc() if pc is None else pc: bits}))


def branch_pc() -> int:
    return next(i for i, ins in enumerate(c.keys(LOOP).program.code) if ins.op == "bnz")


PATHS: dict[str, tuple[Callable[[], bytes], str]] = {
    "truncated": (lambda: bits_of(1, 1), "no bit"),
    "nothing": (lambda: encode_path(Path()), "no bit"),
    "extra bits": (lambda: bits_of(1, 1, 0, 0), "more branch bits"),
    "bits of another instruction": (lambda: bits_of(1, 1, 0, pc=0), "no bit"),
    "bits of an instruction that is not there": (
        lambda: encode_path(Path(1, {branch_pc(): (1, 1, 0), 1000: (1,)})),
        "more branch bits",
    ),
    "never ends": (lambda: bits_of(*[1] * 200_000), "steps"),
    "longer than the step limit": (lambda: b"\x01\x01\x0b\x02\x00\xff\xff\xff\xff\xff\xff\xff\x7f", "steps"),
    "no input": (lambda: encode_path(Path(0)), "canonical"),
    "a batch beyond the step limit": (lambda: encode_path(Path(2**40)), "canonical"),
    "another batch": (lambda: bits_of(1, 1, 0, batch=2), "no bit"),
    "trailing bytes": (lambda: bits_of(1, 1, 0) + b"\0", "canonical"),
    "an empty run at the end": (lambda: b"\x01\x01" + bytes([branch_pc()]) + b"\x04\x00\x02\x01\x00", "canonical"),
    "an empty run in between": (lambda: b"\x01\x01" + bytes([branch_pc()]) + b"\x05\x00\x01\x00\x01\x01", "canonical"),
    "a long number": (lambda: b"\x81\x00" + bits_of(1, 1, 0)[1:], "canonical"),
    "an endless number": (lambda: b"\xff" * 40, "truncated"),
    "a branch twice": (lambda: b"\x01\x02" + 2 * (bytes([branch_pc()]) + b"\x03\x00\x02\x01"), "canonical"),
    "a branch without bits": (lambda: b"\x01\x02\x00\x01\x00" + bits_of(1, 1, 0)[2:], "canonical"),
    "no bytes": (lambda: b"", "truncated"),
}


@pytest.mark.parametrize("name", PATHS)
def test_other_paths(name):
    path, reason = PATHS[name]
    refused(LOOP, with_path(path()), "path", reason)


def test_path_length():
    path = bits_of(1, 1, 0)
    assert with_path(path) == Prover(c.keys(LOOP), trace_of(LOOP)).run().data
    for length in (0, len(path) - 1, len(path) + 1, 1000):
        refused(LOOP, with_path(path, length=length), "path", "")
    refused(LOOP, with_path(path, length=2**32 - 1), "format", "ends inside 'path'")


@pytest.mark.parametrize("bits", [(0,), (1, 0), (1, 1, 1, 0)])
def test_path_of_another_run(bits):
    """A path that the program has, under a proof of another."""
    with pytest.raises(Rejected) as e:
        c.verifier_of(LOOP).verify(with_path(bits_of(*bits)))
    assert e.value.step in c.STEPS - {"path"}


def test_path_of_another_program():
    for other in (RAM, SORT):
        refused(other, with_path(bits_of(1, 1, 0), other), "path", "more branch bits")
    refused(BATCH, with_path(encode_path(Path(1, {0: (1,)})), BATCH), "path", "more branch bits")


def test_paths_are_canonical():
    rng = np.random.default_rng(0)
    for _ in range(200):
        pcs = rng.choice(50, rng.integers(0, 4), replace=False).tolist()
        bits = {pc: rng.integers(0, 2, rng.integers(1, 9)).tolist() for pc in pcs}
        path = Path(int(rng.integers(1, 300)), bits)
        data = encode_path(path)
        found = decode_path(data)
        assert (found.batch, dict(found.bits)) == (path.batch, bits)
        changed = bytearray(data)
        changed[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        try:
            assert encode_path(decode_path(bytes(changed))) == changed
        except ValueError:
            continue


def test_tampered_paths():
    """Every bit of the path and its length."""
    proof = Prover(c.keys(LOOP), trace_of(LOOP)).run()
    for label, at, size in proof.fields:
        for bit in range(8 * size) if label in ("path", "path length") else ():
            changed = bytearray(proof.data)
            changed[at + bit // 8] ^= 1 << bit % 8
            with pytest.raises(Rejected) as e:
                c.verifier_of(LOOP).verify(bytes(changed))
            assert e.value.step in c.STEPS


# ---- batches ---------------------------------------------------------------------------------------------------------


def test_outputs_of_a_batch_swapped():
    assert trace_of(BATCH).outputs["y"].tolist() == [3, 7]
    refused(BATCH, forged(BATCH, outputs={"y": [7, 3]}), *OPENING)
    refused(BATCH, forged(BATCH, lambda plan: {plan.system.results[0]: [7, 3]}, {"y": [7, 3]}), *ROOT)


def test_rows_of_another_input():
    """Each input reads the other's row: without the input's number in the tuples they would cancel."""

    def replaced(plan: Plan) -> dict[Node, Any]:
        final = named(plan, "final buf")
        return {plan.system.results[0]: [7, 3], final: [[1, 2, 7, 4], [5, 6, 3, 8]]}

    refused(BATCH, forged(BATCH, replaced, {"y": [7, 3]}), *ROOT)

    def numbered(plan: Plan) -> dict[Node, Any]:
        which = block(plan, "read", 0).members[0]
        assert isinstance(which, Public)
        final = {named(plan, "final buf"): [[1, 2, 3, 4], [5, 6, 7, 8]]}
        return {which: [1, 0], plan.system.results[0]: [7, 3], **final}

    refused(BATCH, forged(BATCH, numbered, {"y": [7, 3]}), *OPENING)


def test_batch_of_another_size():
    for batch in (1, 3, 64):
        with pytest.raises(Rejected) as e:
            c.verifier_of(BATCH).verify(with_path(encode_path(Path(batch)), BATCH))
        assert e.value.step in c.STEPS - {"path"}
