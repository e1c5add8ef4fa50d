"""The types of a program line by line: dtype, shape, interval, and what the interval comes from.

An interval follows from the operands' by the instruction's rule; the table names both, with the sums of absolute
values of params that the rule used, and says where an interval is that of several executions, or was given up where
paths meet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from syurmy.assembler.disassembler import attributes_text
from syurmy.assembler.drafts import Typing
from syurmy.assembler.source import Call
from syurmy.isa.errors import Span
from syurmy.isa.instruction import REGISTRY
from syurmy.isa.program import Instruction, Program
from syurmy.isa.types import Interval, TensorType, join


@dataclass(frozen=True)
class Row:
    """A value and its type. ``place``: where the text defines it, None without a text; ``calls``: the macro calls
    around the instruction, outermost first; ``index``: the instruction, None for what is declared."""

    name: str
    type: TensorType
    why: str
    place: Span | None = None
    calls: tuple[Call, ...] = ()
    index: int | None = None


def type_table(program: Program, typing: Typing, places: Mapping[str, Span] | None = None) -> list[Row]:
    """Inputs, params and results of instructions, in the order of the program. Unknown types are left out.

    ``places`` of declarations as in ``drafts.Draft``.
    """
    return [*_declared(program, places or {}), *_written(program, typing)]


def interval_text(t: TensorType) -> str:
    return f"{t.lo}..{t.hi}"


def _declared(program: Program, places: Mapping[str, Span]) -> Iterator[Row]:
    for i in program.inputs:
        whole = i.type.interval == (i.type.dtype.lo, i.type.dtype.hi)
        yield Row(
            i.name, i.type, f"input, all of {i.type.dtype}" if whole else "input, as declared", places.get(i.name)
        )
    for p in program.params:
        values = program.data.get(p.name)
        exact = values is not None and values.size and p.type.interval == (int(values.min()), int(values.max()))
        why = "param, least and greatest entry" if exact else "param, declared bounds"
        yield Row(p.name, p.type, why, places.get(p.name))


def _written(program: Program, typing: Typing) -> Iterator[Row]:
    reached = _reached(program, typing)
    for index, ins in enumerate(program.code):
        t = typing.results[index]
        if ins.dst is not None and t is not None:
            yield Row(ins.dst, t, _why(ins, index, typing, reached), ins.span, ins.calls, index)


def _reached(program: Program, typing: Typing) -> dict[str, Interval]:
    """The interval of everything that is ever written to a name, as far as it is known."""
    out = {i.name: i.type.interval for i in program.inputs} | {p.name: p.type.interval for p in program.params}
    for ins, t in zip(program.code, typing.results, strict=True):
        if ins.dst is not None and t is not None:
            out[ins.dst] = join(out[ins.dst], t.interval) if ins.dst in out else t.interval
    return out


def _why(ins: Instruction, index: int, typing: Typing, reached: dict[str, Interval]) -> str:
    op = REGISTRY[ins.op]
    parts: dict[str, str] = {}
    for name, t in zip(ins.src, typing.operands[index], strict=False):
        written = reached.get(name)
        given_up = written is not None and (t.lo < written[0] or t.hi > written[1])
        parts[name] = f"{name} {t} {interval_text(t)}" + (" (given up where paths meet)" if given_up else "")
    attributes = attributes_text(op, ins)
    out = f"{ins.op} of {', '.join(parts.values())}" if parts else ins.op
    out += f"; {attributes}" if attributes else ""
    for (name, axes), bound in typing.sums.get(index, {}).items():
        over = "".join(f", {a}" for a in axes)[2:]
        out += f"; sums of |{name}| over axes ({over}) at most {bound}"
    if index in typing.varied:
        out += "; over all its executions"
    result = typing.results[index]
    if result is not None and result.interval == (result.dtype.lo, result.dtype.hi):
        out += f"; all of {result.dtype}"
    return out
