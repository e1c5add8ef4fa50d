"""Where a type came from that an instruction cannot take, and the line that mends it.

Asked only once typing has failed: the lines that wrote a register are looked for then, and a ``cast`` is proposed only
if the instruction takes what it gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from syurmy.isa.errors import Span, TypeRuleError
from syurmy.isa.instruction import Call
from syurmy.isa.program import Instruction, Program
from syurmy.isa.types import DType, TensorType

NARROWER = (DType.I32, DType.I16, DType.I8)


def widened(
    error: TypeRuleError,
    program: Program,
    results: Sequence[TensorType | None],
    call: Call,
    types: Sequence[TensorType],
) -> None:
    """Names in the help of A210 the operand with the widest interval, the line it has that from, and the line to add.
    ``results``: of every instruction, as far as they are known."""
    ins = call.instruction
    if not types:
        return
    name, t = max(zip(ins.src, types, strict=True), key=lambda x: max(abs(x[1].lo), abs(x[1].hi)))
    said = f"'{name}' is {t.dtype} in [{t.lo}, {t.hi}]{_since(program, results, name, t)}"
    written = any(other.dst == name for other in program.code)
    narrow = next((d for d in NARROWER if d is not t.dtype and _takes(call, types, name, d)), None)
    if narrow is None:
        error.help = f"{said}; {error.help}"
    elif written:
        error.help = f"{said}; add before this line: cast {name}, {name}, {narrow}"
    elif any(i.name == name for i in program.inputs):
        error.help = f"{said}; declare what it can be: in {narrow.lo}..{narrow.hi}"
    else:
        error.help = f"{said}; add before this line: cast {name}_{narrow}, {name}, {narrow}, and read that"


def differing(
    error: TypeRuleError,
    program: Program,
    results: Sequence[TensorType | None],
    name: str,
    now: TensorType | None = None,
) -> None:
    """Names in the help of A231 the lines that give ``name`` one type and another, and the lines to add."""
    writers = [(ins, t) for ins, t in zip(program.code, results, strict=True) if ins.dst == name and t is not None]
    kinds: dict[tuple[DType, tuple[int, ...]], Instruction] = {}
    for ins, t in writers:
        kinds.setdefault((t.dtype, t.shape), ins)
    if now is not None:
        writer = next((ins for ins in reversed(program.code) if ins.dst == name), None)
        if writer is not None:
            kinds.setdefault((now.dtype, now.shape), writer)
    if len(kinds) < 2:
        return
    (one, a), (other, b) = list(kinds.items())[:2]
    said = f"'{name}' is {_kind(one)}{_line(a.span)}, {_kind(other)}{_line(b.span)}"
    if one[1] == other[1]:
        wide = max(one[0], other[0], key=lambda d: d.bits)
        narrow = wide if wide is not DType.I64 else DType.I32  # an interval must not grow from round to round
        error.help = f"{said}; add behind both lines: cast {name}, {name}, {narrow}"
    else:
        error.help = f"{said}; give it one shape, or write to two registers"


def _takes(call: Call, types: Sequence[TensorType], name: str, dtype: DType) -> bool:
    """Whether the instruction takes ``name`` once it is cast."""

    def cast(t: TensorType) -> TensorType:
        return replace(t, dtype=dtype, lo=max(t.lo, dtype.lo), hi=min(t.hi, dtype.hi))

    try:
        call.op.infer(call, [cast(t) if s == name else t for s, t in zip(call.instruction.src, types, strict=True)])
    except TypeRuleError:
        return False
    return True


def _since(program: Program, results: Sequence[TensorType | None], name: str, t: TensorType) -> str:
    """Which line gave a register the end of its interval that is furthest out; that of a declaration needs none. Where
    typing has widened it, the line that writes it last."""
    writers = [(ins, r) for ins, r in zip(program.code, results, strict=True) if ins.dst == name and r is not None]
    for ins, r in writers:
        if r.hi >= t.hi if abs(t.hi) >= abs(t.lo) else r.lo <= t.lo:
            return _line(ins.span)
    if not writers or writers[-1][0].span is None:
        return ""
    return f", widened because line {writers[-1][0].span.line} writes it again and again"


def _line(span: Span | None) -> str:
    return f" since line {span.line}" if span is not None else ""


def _kind(kind: tuple[DType, tuple[int, ...]]) -> str:
    return f"{kind[0]}[{', '.join(map(str, kind[1]))}]"
