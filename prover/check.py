"""Direct evaluation of every constraint on a trace, without a proof: which instruction, tensor and element fails."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.isa.builder import ConstraintSystem
from syurmy.isa.errors import Span
from syurmy.isa.graph import Committed, Node, Product, Public, Tuples
from syurmy.isa.path import Path
from syurmy.isa.program import Program
from syurmy.isa.system import build
from syurmy.isa.trace import Trace
from syurmy.prover.witness import NO_ROW, Witness

MAX_PER_CONSTRAINT = 3  # violations listed for one lookup or equation


@dataclass(frozen=True)
class Violation:
    """One constraint that does not hold. ``element``: execution, then the tensor's indices."""

    instruction: int
    op: str
    span: Span | None
    constraint: str
    tensor: str
    element: tuple[int, ...]
    message: str

    def __str__(self) -> str:
        place = f"{self.span}: " if self.span else ""
        where = f"{self.tensor}[{', '.join(map(str, self.element[1:]))}]"
        if self.element and self.element[0]:
            where += f" in execution {self.element[0]}"
        return f"{place}instruction {self.instruction} ({self.op}), {self.constraint}: {where} {self.message}"


def check(program: Program, trace: Trace, limit: int = 20) -> list[Violation]:
    """The first ``limit`` violations, in program order; empty if the trace satisfies every constraint."""
    system = build(program, Path(trace.batch, trace.bits))
    return check_system(system, Witness(system, trace), limit)


def check_system(system: ConstraintSystem, witness: Witness, limit: int = 20) -> list[Violation]:
    """As ``check``, on a witness whose columns may have been replaced."""
    found: list[Violation] = []
    for lk in system.lookups:
        rows = witness.rows(lk.table, lk.members).reshape(lk.members[0].shape)
        values = [witness(m) for m in lk.members]
        for at in np.argwhere(rows == NO_ROW)[:MAX_PER_CONSTRAINT]:
            e = tuple(at.tolist())
            got = ", ".join(str(int(v[e])) for v in values)
            found.append(
                _violation(system, lk.origin, lk.label, lk.members[0], e, f"= {got} is not in {lk.table.name}")
            )
    for space in system.spaces:
        for t, e in unbalanced([t for t in system.tuples if t.space == space], witness)[:MAX_PER_CONSTRAINT]:
            node = next(m for m in t.members[::-1] if m is not None)
            message = f"of '{t.label}' has no counterpart among the tuples of '{space}'"
            found.append(_violation(system, t.origin, f"tuples of {space}", node, e, message))
    for eq in system.equations:
        value = witness(eq.expression)
        for at in np.argwhere(value != 0)[:MAX_PER_CONSTRAINT]:
            e = tuple(at.tolist())
            found.append(
                _violation(system, eq.origin, eq.label, eq.expression, e, f"differs from zero by {int(value[e])}")
            )
    for pc, node in system.results.items():
        if node.origin != pc or isinstance(node, Public):
            expected = witness(node)  # the value of another tensor: the instruction only names it
        elif isinstance(node, Committed) or not node.inputs:
            continue
        else:
            expected = _forward(witness, node)
        written = witness.written(pc)
        for at in np.argwhere(written != expected)[:MAX_PER_CONSTRAINT]:
            e = tuple(at.tolist())
            message = f"= {int(written[e])}, but its operands give {int(expected[e])}"
            found.append(_violation(system, pc, "value", node, e, message))
    found.sort(key=lambda v: v.instruction)
    return found[:limit]


def unbalanced(blocks: list[Tuples], witness: Witness) -> list[tuple[Tuples, tuple[int, ...]]]:
    """Blocks and entries of tuples that do not cancel; ``blocks`` are all of one space."""
    rows: list[I64] = []
    weights: list[I64] = []
    widths = [1] * max(len(t.members) for t in blocks)
    for t in blocks:
        for k, m in enumerate(t.members):
            if m is not None:
                widths[k] = math.prod(m.shape[len(t.shape) :])
    for t in blocks:
        n = math.prod(t.shape)
        members = [np.zeros((n, w), np.int64) if m is None else np.asarray(witness(m), np.int64).reshape(n, w)
                   for m, w in zip(t.members, widths, strict=True)]  # fmt: skip
        rows.append(np.concatenate(members, axis=1))
        counted = None if t.multiplicity is None else -np.asarray(witness(t.multiplicity), np.int64).reshape(n)
        weights.append(np.full(n, t.sign, np.int64) if counted is None else counted)
    _, kind = np.unique(np.concatenate(rows), axis=0, return_inverse=True)
    each = np.concatenate(weights)
    net = np.zeros(int(kind.max()) + 1, np.int64)
    np.add.at(net, kind.reshape(-1), each)
    wrong = np.flatnonzero((net[kind.reshape(-1)] != 0) & (each != 0))
    starts = np.cumsum([0, *(len(w) for w in weights)])
    out = []
    for i in wrong.tolist():
        b = int(np.searchsorted(starts, i, side="right")) - 1
        element = np.unravel_index(i - int(starts[b]), blocks[b].shape)
        out.append((blocks[b], tuple(int(x) for x in element)))
    return out


def _forward(witness: Witness, node: Node) -> I64:
    """The result recomputed from the instruction's operands, through the nodes of the same instruction."""
    args = []
    for n in node.inputs:
        inside = n.origin == node.origin and n.inputs and not isinstance(n, Product)
        args.append(_forward(witness, n) if inside else witness(n))
    return node.forward(args)


def _violation(
    system: ConstraintSystem, origin: int, label: str, node: Node, element: tuple[int, ...], message: str
) -> Violation:
    if origin < 0:
        return Violation(origin, "declaration", None, label, node.label or label, element, message)
    ins = system.program.code[origin]
    return Violation(origin, ins.op, ins.span, label, ins.dst or ", ".join(ins.src) or ins.op, element, message)
