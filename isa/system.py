"""Assembles the constraint system of a program on a path: declarations, instructions in order, outputs, memory.

``build`` is run by prover and verifier alike and depends on the program (and its executed path) alone. Here reads are
wired: what an instruction sees is a public index into the executions of those that wrote it (protocol section 5).
"""

from __future__ import annotations

import numpy as np

from syurmy.isa import graph as g
from syurmy.isa import memory_argument
from syurmy.isa.builder import Builder, ConstraintSystem
from syurmy.isa.cost import Account
from syurmy.isa.dataflow import COUNTER, Reads, Source, View, declaration_index, resolve
from syurmy.isa.errors import ConstraintError
from syurmy.isa.graph import Committed, Node, Public
from syurmy.isa.inference import infer_types
from syurmy.isa.instruction import REGISTRY, Call
from syurmy.isa.path import DEFAULT_MAX_STEPS, Path
from syurmy.isa.program import Input, Program
from syurmy.isa.progression import Part, Progression
from syurmy.isa.types import MAX_ENTRIES, TensorType


def build(program: Program, path: Path | None = None, max_steps: int = DEFAULT_MAX_STEPS) -> ConstraintSystem:
    """The constraint system of a program on a path. Raises ``TypeRuleError``, ``ConstraintError``."""
    return assemble(program, path, max_steps).system


def assemble(program: Program, path: Path | None = None, max_steps: int = DEFAULT_MAX_STEPS) -> Builder:
    """As ``build``; the builder can commit more nodes of its system."""
    assembly = Assembly(started(program, path, max_steps))
    assembly.run()
    return assembly.builder


def started(program: Program, path: Path | None = None, max_steps: int = DEFAULT_MAX_STEPS) -> Builder:
    """The builder of an empty system: types are inferred, reads resolved, nothing is constrained yet."""
    types = infer_types(program, max_steps=max_steps)
    account = Account()
    system = ConstraintSystem(program, types, resolve(program, types, path, max_steps, account))
    for t, runs, ins in zip(types.results, system.flow.runs, program.code, strict=True):
        if t is not None and t.size * runs > MAX_ENTRIES:  # before anything of that size is allocated
            raise ConstraintError(
                f"all {runs} executions of {ins.op} together have more than 2^28 entries",
                code="C110",
                span=ins.span,
            )
    return Builder(system, account)


class Assembly:
    """One walk over a program. ``producers``: the node of every result and, at negative numbers, declaration."""

    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        self.system = builder.system
        self.producers: dict[int, Node] = {}

    def run(self) -> None:
        """Declarations, forward declarations of loop-carried results, instructions, outputs, checks."""
        b, s, program = self.builder, self.system, self.system.program
        for k, i in enumerate(program.inputs):
            self.producers[-(1 + k)] = s.inputs[i.name] = self._input(i)
        for k, prm in enumerate(program.params, len(program.inputs)):
            if prm.committed:
                new = b.new((1, *prm.type.shape), prm.type.interval)
                node: Node = g.ParamTensor(*new, (), prm.name, name=prm.name, l1=prm.l1)
                s.params[prm.name] = node  # type: ignore[assignment]
            else:
                values = np.asarray(program.data[prm.name], dtype=np.int64)[None]
                node = Public(*b.new(values.shape, prm.type.interval), (), prm.name, "param", prm.name, values)
            self.producers[-(1 + k)] = node
        for pc in sorted(s.flow.loop_carried):
            b.origin = pc
            t = s.types.results[pc]
            assert t is not None
            c = Committed(*b.new((b.executions, *t.shape), t.interval), (), "result")
            s.columns.append(c)
            self.producers[pc] = b.forward[pc] = c
        luts = {t.name: t for t in program.luts}
        rams = {r.name: r for r in program.rams}
        for pc, ins in enumerate(program.code):
            if REGISTRY[ins.op].control or s.flow.executions[pc] == 0:
                continue
            b.origin = pc
            self._instruction(pc, Call(ins, luts, rams=rams))
        b.origin = -1
        for out in program.outputs:
            node = self._read(s.flow.final[out.name], s.types.final[out.name])
            s.outputs[out.name] = node
            if out.public:
                t = s.types.final[out.name]
                node = s.outputs[out.name] = b.broadcast(node, node.shape[1:], s.flow.path.batch)
                public = Public(*b.new(node.shape, t.interval), (), out.name, "output", out.name)
                s.publics.append(public)
                b.zero(node - public, f"output {out.name}")
            elif out.committed:
                node = s.outputs[out.name] = b.broadcast(node, node.shape[1:], s.flow.path.batch)
                self._external(node, "output", out.name, s.types.final[out.name])
        declared = declaration_index(program)
        for ram in program.rams:
            if s.flow.clocks.get(ram.name, 0):
                first = None if ram.init is None else self.producers[declared[ram.init]]
                memory_argument.buffer(b, ram, first)
        b.finish()

    def _input(self, declared: Input) -> Node:
        b, batch = self.builder, self.system.flow.path.batch
        name, t = declared.name, declared.type
        if declared.public:
            node = Public(*b.new((batch, *t.shape), t.interval), (), name, "input", name)
            self.system.publics.append(node)
            return node
        c = Committed(*b.new((batch, *t.shape), t.interval), (), f"input {name}")
        self.system.columns.append(c)
        b.interval(c, t.lo, t.hi, f"input {name}")
        if declared.committed:
            self._external(c, "input", name, t)
        return c

    def _external(self, node: Node, source: str, name: str, t: TensorType) -> None:
        """What a commitment of its own has of ``node``, which is the program's: every entry, and zeros around them."""
        b = self.builder
        external = g.External(*b.new(node.shape, t.interval), (), name, source, name, t.dtype)
        self.system.externals.append(external)
        b.zero(node - external, f"committed {source} {name}")

    def _instruction(self, pc: int, call: Call) -> None:
        b = self.builder
        s = self.system
        nodes = [self._read(sources, t) for sources, t in zip(s.flow.reads[pc], s.types.operands[pc], strict=True)]
        node = call.op.constrain(b, call, nodes)
        t = self.system.types.results[pc]
        if t is None:
            return
        if node.shape[1:] != t.shape:
            raise ConstraintError(f"{call.op.name}: constraint shape {node.shape[1:]} is not {t.shape}")
        if isinstance(node, Committed) and node.origin == pc:
            if node.lo < t.lo or node.hi > t.hi:
                raise ConstraintError(f"{call.op.name}: [{node.lo}, {node.hi}] is enforced, [{t.lo}, {t.hi}] is typed")
        elif not isinstance(node, (Public, g.ParamTensor)):
            node = b.narrowed(node, t)  # what typing knows and interval arithmetic on the expression does not
        forward = b.forward.get(pc)
        if forward is not None and node is not forward:
            forward.defined_by = b.broadcast(node, t.shape, b.executions)
            b.zero(forward - forward.defined_by, "loop-carried result")
            node = forward
        self.producers[pc] = node
        self.system.results[pc] = node

    # ---- reads ---------------------------------------------------------------------------------------------------

    def _read(self, reads: Reads, t: TensorType) -> Node:
        """What a read sees, in the interval of its type.

        The interval of a producer covers all its executions, that of a read (``t``, joined over every time that
        typing passes it) those that it sees: after a loop, the last round. It may be claimed by induction over the
        order of execution: a read sees what was written before it; where all that an execution reads lies in the
        types of these reads, its constraints leave one result, which lies in its type at that moment; and typing
        says that this holds at every later read of it.
        """
        return self.builder.narrowed(self._wire(reads), t)

    def _wire(self, reads: Reads) -> Node:
        """What a read sees, one source per execution: executions of producers, wired by a public index."""
        b = self.builder
        least = reads.producers.interval[0]  # of one producer, its number
        if least == COUNTER:
            return b.per_execution(reads.executions)
        if reads.views.interval[1] >= 0:
            return self._wire_views(reads)
        if reads.producers.size == 1 and (only := self.producers[least]).executions == 1:
            return only
        producers = np.unique(np.concatenate([p.rows for p in reads.producers.parts])).tolist()
        nodes = [self.producers[p] for p in producers]
        start = np.cumsum([0] + [n.executions for n in nodes[:-1]])
        several = np.array([n.executions > 1 for n in nodes])
        parts = []
        for p, x in zip(reads.producers.parts, reads.executions.parts, strict=True):
            which = np.searchsorted(producers, p.rows)
            rows = start[which] + np.where(several[which], x.rows, 0)
            parts.append(Part.of(rows) if x.times == 1 else Part(rows, np.where(several[which], x.shift, 0), x.times))
        index = Progression(tuple(parts))
        if index.level:
            index = Progression.of(np.array(index.interval[:1]))
        joined = nodes[0] if len(nodes) == 1 else b.stacked(nodes, 0)
        if index.size == joined.executions and index.counts:
            return joined
        return b.index_map(joined, (0,), (0,), index)

    def _wire_views(self, reads: Reads) -> Node:
        b, known = self.builder, self.system.flow.views
        fields = [reads.producers, reads.executions, reads.views]
        if all(f.level for f in fields):
            held, which = np.array([f.interval[:1] for f in fields]), np.zeros(1, np.int64)
        else:
            held, which = np.unique(np.stack([np.asarray(f) for f in fields]), axis=1, return_inverse=True)
        first = known[int(held[2].max())]
        axis, length = first.axis, len(first.producers)
        b.account.spend(length * int((held[2] < 0).sum()), "views")
        views = [known[k] if k >= 0 else View.whole(Source(p, e), axis, length) for p, e, k in held.T.tolist()]
        if any(v.axis != axis for v in views):
            raise ConstraintError("a register holds views along different axes at different times")
        if self._alike(views):
            views, which = views[:1], np.zeros(1, np.int64)
        b.account.spend(length * len(which), "views")
        producers = np.stack([v.producers for v in views])
        executions = np.stack([v.executions for v in views], dtype=np.int64)
        positions = np.stack([v.positions for v in views], dtype=np.int64)
        parts = []
        for p in sorted({p for v in views for p in v.distinct}):
            n = self.producers[p]
            row = executions if n.executions > 1 else np.zeros_like(executions)
            index = np.where(producers == p, row * n.shape[axis + 1] + positions, -1)[which]
            parts.append(b.index_map(n, (0, axis + 1), (0, axis + 1), index))
        if len(parts) == 1:
            return parts[0]
        # every position has exactly one source, so the sum lies in the join of the intervals
        total = b.combine(*((1, part) for part in parts))
        total.lo, total.hi = min(p.lo for p in parts), max(p.hi for p in parts)
        return total

    def _alike(self, views: list[View]) -> bool:
        for v in views[1:]:
            self.builder.account.spend(len(v.producers), "views")
            if not v.same(views[0]):
                return False
        return True
