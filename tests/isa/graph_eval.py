"""Test utility: execute a program, build its constraint system, and check one against the other on integers.

``check_op`` is the usual entry: one instruction on given operands, in every kind of operand (private or public input,
committed or public param). ``Evaluated.violations`` takes other column values than the honest ones, for pinning tests.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import syurmy.isa.ops  # noqa: F401  (fills the registry)
from syurmy.isa import graph as g
from syurmy.isa.arrays import I64
from syurmy.isa.builder import ConstraintSystem
from syurmy.isa.inference import infer_types
from syurmy.isa.instruction import REGISTRY, Call
from syurmy.isa.path import Prepared, walk
from syurmy.isa.program import Input, Instruction, Lut, Output, Param, Program
from syurmy.isa.system import build
from syurmy.isa.trace import Trace
from syurmy.isa.types import DType, TensorType, smallest_dtype

KINDS = ("private", "public", "param", "public param")


@dataclass(frozen=True)
class Operand:
    """One operand of ``op_program``. ``dtype`` None: the smallest that holds the values; ``bounds`` None: the dtype's
    for inputs, the true ones for params. ``kind`` is one of ``KINDS``."""

    values: Any
    dtype: DType | None = None
    kind: str = "private"
    bounds: tuple[int, int] | None = None
    l1: tuple[tuple[tuple[int, ...], int], ...] = ()


def instruction(op: str, dst: str | None, *src: str, **attrs: Any) -> Instruction:
    """Attributes at their default are dropped, as a well-formed program has them."""
    defaults = {s.name: s.default for s in REGISTRY[op].attributes}
    return Instruction(op, dst, src, tuple(sorted((k, v) for k, v in attrs.items() if v != defaults.get(k))))


def program_of(
    operands: Mapping[str, Operand],
    code: Sequence[Instruction],
    outputs: Sequence[str] = (),
    luts: Sequence[Lut] = (),
    public_outputs: bool = False,
) -> tuple[Program, dict[str, I64]]:
    """A program over these declarations, and its inputs. ``halt`` is added."""
    inputs, params, given, data = [], [], {}, {}
    for name, o in operands.items():
        v = np.asarray(o.values, dtype=np.int64)
        ends = int(v.min()), int(v.max())
        dtype = o.dtype or smallest_dtype(*ends)
        assert dtype is not None
        if o.kind in ("param", "public param"):
            params.append(Param(name, TensorType(dtype, v.shape, *(o.bounds or ends)), o.kind == "param", o.l1))
            data[name] = v
        else:
            t = TensorType(dtype, v.shape, *(o.bounds or (dtype.lo, dtype.hi)))
            inputs.append(Input(name, t, o.kind == "public"))
            given[name] = v
    outs = tuple(Output(name, public_outputs) for name in outputs)
    full = (*code, instruction("halt", None))
    return Program("test", tuple(inputs), tuple(params), tuple(luts), outs, full, data), given


def execute(program: Program, inputs: Mapping[str, I64]) -> Trace:
    """Reference interpreter; asserts that every result has its static type."""
    types = infer_types(program)
    luts = {t.name: t for t in program.luts}
    registers: dict[str, I64] = {n: np.asarray(v, np.int64) for n, v in (*inputs.items(), *program.data.items())}
    trace = Trace(program, {n: np.asarray(v, np.int64) for n, v in inputs.items()})
    for pc, counters in walk(Prepared(program)):
        trace.path.append(pc)
        ins = program.code[pc]
        if REGISTRY[ins.op].control:
            continue
        call = Call(ins, luts)
        call.counters = dict(counters)
        values = [np.array(counters[s], np.int64) if s in counters else registers[s] for s in ins.src]
        out = np.asarray(call.op.execute(call, values))
        t = types.results[pc]
        assert t is not None
        assert out.dtype == np.int64, (ins.op, out.dtype)
        assert out.shape == t.shape, (ins.op, out.shape, t.shape)
        if out.size:
            assert t.lo <= int(out.min()) <= int(out.max()) <= t.hi, (ins.op, out.min(), out.max(), t.interval)
        trace.writes.setdefault(pc, []).append(out)
        if ins.dst is not None:
            registers[ins.dst] = out
    trace.outputs = {o.name: registers[o.name] for o in program.outputs}
    return trace


@dataclass
class Evaluated:
    """A built system beside one execution. ``columns`` holds the honest values of all committed columns."""

    system: ConstraintSystem
    trace: Trace
    columns: dict[g.Committed, I64]
    nodes: dict[g.Node, I64]

    def violations(self, columns: Mapping[g.Committed, I64]) -> list[str]:
        """Labels of what fails when some columns hold these values instead (deltas small enough for int64)."""
        nodes: dict[g.Node, I64] = dict(self.columns)
        nodes.update(columns)
        return _violations(self.system, _Evaluator(self.system, self.trace, nodes))

    def mutations(self, rng: np.random.Generator, deltas: Sequence[int] = (-1, 1, 2, 256)) -> list[str]:
        """Labels of columns, other than inputs, of which some single-entry change goes unnoticed."""
        free = []
        for c, honest in self.columns.items():
            if c.origin < 0:  # another input may be as good
                continue
            for delta in deltas:
                changed = honest.copy()
                changed.reshape(-1)[rng.integers(honest.size)] += delta
                if not self.violations({c: changed}):
                    free.append(f"{c.label} of instruction {c.origin} by {delta}")
        return free


class _Evaluator:
    def __init__(self, system: ConstraintSystem, trace: Trace, nodes: dict[g.Node, I64]) -> None:
        self.system, self.trace, self.nodes = system, trace, nodes

    def __call__(self, node: g.Node) -> I64:
        if node not in self.nodes:
            leaf = isinstance(node, (g.Committed, g.Public, g.ParamTensor))
            value = np.asarray(self._leaf(node) if leaf else node.forward([self(i) for i in node.inputs]))
            assert value.shape == node.shape, (type(node).__name__, node.label, value.shape, node.shape)
            self.nodes[node] = value
        return self.nodes[node]

    def _leaf(self, node: g.Node) -> I64:
        program, trace = self.system.program, self.trace
        if isinstance(node, g.ParamTensor):
            return np.asarray(program.data[node.name], np.int64)[None]
        if isinstance(node, g.Public):
            if node.values is not None:
                return node.values
            if node.source == "input":
                return trace.inputs[node.name][None]
            if node.source == "output":
                return trace.outputs[node.name][None]
            assert node.source == "reveal", node.source
            return trace.stacked(node.origin)
        assert isinstance(node, g.Committed)
        if node.hint is not None:
            return node.hint(self)
        if node.origin < 0:
            return trace.inputs[node.label.removeprefix("input ")][None]
        assert node.label == "result", node.label
        return trace.stacked(node.origin)


def leaves(t: g.Tuples, value: Callable[[g.Node], Any]) -> Iterator[tuple[tuple[tuple[int, ...], ...], int]]:
    """Tuples with their weights. Rows stand for themselves, not for fingerprints; trailing zeros do not count, as in
    those."""
    n = math.prod(t.shape)

    def rows(m: g.Node | None) -> list[tuple[int, ...]]:
        values = [[]] * n if m is None else value(m).reshape(n, -1).tolist()
        return [tuple(row[: max((i + 1 for i, v in enumerate(row) if v), default=0)]) for row in values]

    counted = t.multiplicity is not None
    weights = [-x for x in value(t.multiplicity).reshape(-1).tolist()] if counted else [t.sign] * n
    yield from zip(zip(*map(rows, t.members), strict=True), weights, strict=True)


def _violations(system: ConstraintSystem, value: _Evaluator) -> list[str]:
    out = []
    for e in system.equations:
        if value(e.expression).any():
            out.append(f"equation {e.label} of instruction {e.origin}")
    for lk in system.lookups:
        members = [value(m).reshape(-1) for m in lk.members]
        if lk.table.is_range:
            ok = bool(((members[0] >= 0) & (members[0] < 2**lk.table.log_size)).all())
        else:
            rows = set(zip(*(c.tolist() for c in lk.table.columns), strict=True))
            ok = set(zip(*(m.tolist() for m in members), strict=True)) <= rows
        if not ok:
            out.append(f"lookup {lk.label} of instruction {lk.origin} in {lk.table.name}")
    for space in system.spaces:
        net: Counter[Any] = Counter()
        for t in system.tuples:
            if t.space == space:
                for leaf, weight in leaves(t, value):
                    net[leaf] += weight
        if any(net.values()):
            out.append(f"tuples of {space}")
    return out


def check(program: Program, inputs: Mapping[str, I64], system: ConstraintSystem | None = None) -> Evaluated:
    """Executes, builds (unless the program's ``system`` is given), and asserts: every lookup and equation holds, every
    result node has the executed value, every node lies in its interval."""
    trace = execute(program, inputs)
    system = system or build(program)
    value = _Evaluator(system, trace, {})
    for pc, node in system.results.items():
        got, true = value(node), trace.stacked(pc)
        assert node.shape[1:] == true.shape[1:], (program.code[pc], node.shape, true.shape)
        assert np.array_equal(np.broadcast_to(got, true.shape), true), (program.code[pc], got, true)
    for name, node in system.outputs.items():
        assert np.array_equal(value(node)[0], trace.outputs[name]), name
    assert _violations(system, value) == []
    for node, v in value.nodes.items():
        if v.size:
            assert node.lo <= int(v.min()) <= int(v.max()) <= node.hi, (type(node).__name__, node.label, node.interval)
    return Evaluated(system, trace, {c: value(c) for c in system.columns}, value.nodes)


def op_program(
    op: str, operands: Sequence[Operand], luts: Sequence[Lut] = (), **attrs: Any
) -> tuple[Program, dict[str, I64]]:
    """One instruction on operands ``a, b, c ...``, result ``y``."""
    names = [chr(ord("a") + i) for i in range(len(operands))]
    dst = "y" if REGISTRY[op].has_dst else None
    code = [instruction(op, dst, *names, **attrs)]
    return program_of(dict(zip(names, operands, strict=True)), code, ["y"] if dst else [], luts)


def check_op(op: str, *operands: Operand | Any, luts: Sequence[Lut] = (), **attrs: Any) -> I64:
    """``check`` on one instruction; returns its executed result. Plain arrays are private inputs."""
    full = [o if isinstance(o, Operand) else Operand(o) for o in operands]
    program, inputs = op_program(op, full, luts, **attrs)
    return check(program, inputs).trace.writes[0][0]


def random_array(rng: np.random.Generator, shape: Sequence[int], dtype: DType = DType.I8, extreme: bool = False) -> I64:
    """Uniform entries; with ``extreme`` only the ends of the dtype, 0 and +-1."""
    if extreme:
        return rng.choice(np.array([dtype.lo, dtype.hi, -1, 0, 1], np.int64), size=tuple(shape))
    return rng.integers(dtype.lo, dtype.hi, size=tuple(shape), endpoint=True, dtype=np.int64).reshape(tuple(shape))


def random_shape(rng: np.random.Generator, rank: int, top: int = 5, cells: int = 400) -> tuple[int, ...]:
    """Lengths from 1 to ``top``, at most ``cells`` entries."""
    while True:
        shape = tuple(int(d) for d in rng.integers(1, top + 1, size=rank))
        if math.prod(shape) <= cells:
            return shape
