"""What every program must satisfy before types are inferred: names, operands, attributes, blocks, data.

Shared by the assembler (which adds the place in the source) and by the decoder of the binary form, so a program that
came as bytes obeys the same rules as one that came as text. The bounds of public params are checked against their
values here; those of committed params are checked when the key is made.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

import syurmy.isa.ops  # noqa: F401  (fills the registry)
from syurmy.isa.instruction import REGISTRY, AttrSpec, Flow, Op
from syurmy.isa.program import Affine, Attr, Input, Instruction, Lut, Output, Param, Program, Ram
from syurmy.isa.records import dataclass
from syurmy.isa.types import MAX_RANK, DType, TensorType

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*\Z")
RESERVED = frozenset([d.value for d in DType] + ["true", "false"])
MAX_NAME = 200
MAX_NESTING = 64  # of repeat blocks
MAX_SIZE = 2**31
MAX_TABLE = 2**16
MAX_COMMITTED = 16  # inputs and outputs together
MAX_SEGMENTS = 1 << 10  # of a program that is cut
MAX_INT = 2**62
BLOCK = 2**18  # entries whose magnitudes are taken at a time: an array of all of them is fresh memory


@dataclass(frozen=True)
class Problem:
    """One violated rule. ``index``: the instruction, if it is one; ``name``: the name it is about, if any;
    ``known``: names that would have been right."""

    message: str
    code: str
    index: int | None = None
    name: str | None = None
    help: str = ""
    known: Collection[str] = ()


def problems(program: Program) -> Iterator[Problem]:
    """Every violated rule, declarations first, then instructions in order."""
    if not valid_name(program.name):
        yield Problem(f"'{program.name}' cannot name a program", "A103", name=program.name)
    yield from _declarations(program)
    yield from _code(program)


def valid_name(name: str) -> bool:
    """Whether a program may declare the name."""
    return len(name) <= MAX_NAME and NAME.match(name) is not None and name not in RESERVED


# ---- declarations ----------------------------------------------------------------------------------------------------


def _declarations(program: Program) -> Iterator[Problem]:
    seen: set[str] = set()
    declared: list[Input | Param | Lut | Ram] = [*program.inputs, *program.params, *program.luts, *program.rams]
    for d in declared:
        if not valid_name(d.name):
            yield Problem(f"'{d.name}' cannot be a name", "A103", name=d.name)
        if d.name in seen:
            yield Problem(f"'{d.name}' is declared twice", "A104", name=d.name)
        seen.add(d.name)
    for i in program.inputs:
        yield from _tensor(i.name, i.type)
    for p in program.params:
        yield from _tensor(p.name, p.type)
        yield from _param(p, program)
    for t in program.luts:
        yield from _lut(t)
    tensors = {i.name: i.type for i in program.inputs} | {p.name: p.type for p in program.params}
    for r in program.rams:
        yield from _ram(r, tensors)
    outputs: set[str] = set()
    for o in program.outputs:
        if o.name in outputs:
            yield Problem(f"output '{o.name}' is declared twice", "A104", name=o.name)
        outputs.add(o.name)
    yield from _committed(program)


def _committed(program: Program) -> Iterator[Problem]:
    """Each committed input and output has a commitment under its own name."""
    inputs = {i.name for i in program.inputs if i.committed}
    outputs = [o.name for o in program.outputs if o.committed]
    either: list[Input | Output] = [*program.inputs, *program.outputs]
    for d in either:
        if d.public and d.committed:
            yield Problem(f"'{d.name}' is both public and committed", "A124", name=d.name)
    for name in outputs:
        if name in inputs:
            yield Problem(f"'{name}' is a committed input and a committed output", "A124", name=name,
                          help="as an output it can be private: its commitment is the input's")  # fmt: skip
    if len(inputs) + len(outputs) > MAX_COMMITTED:
        message = f"{len(inputs) + len(outputs)} inputs and outputs are committed, at most {MAX_COMMITTED} can be"
        yield Problem(message, "A124", help="join some of them: one tensor costs one commitment")


def _tensor(name: str, t: TensorType) -> Iterator[Problem]:
    if len(t.shape) > MAX_RANK:
        yield Problem(f"'{name}' has rank {len(t.shape)}, at most {MAX_RANK} is possible", "A105", name=name)
    elif any(d < 1 for d in t.shape):
        yield Problem(f"'{name}' has shape {list(t.shape)}, every length must be at least 1", "A105", name=name)
    elif math.prod(t.shape) >= MAX_SIZE:
        yield Problem(f"'{name}' has {math.prod(t.shape)} entries, at most 2^31 - 1 are possible", "A105", name=name)
    if not t.dtype.lo <= t.lo <= t.hi <= t.dtype.hi:
        message = f"bounds {t.lo}..{t.hi} of '{name}' are not an interval inside {t.dtype}"
        yield Problem(message, "A106", name=name, help=f"{t.dtype} holds {t.dtype.lo} to {t.dtype.hi}")


def _param(p: Param, program: Program) -> Iterator[Problem]:
    axes = [a for a, _ in p.l1]
    if axes != sorted(set(axes)) or any(list(a) != sorted({x for x in a if 0 <= x < len(p.type.shape)}) for a in axes):
        yield Problem(f"l1 bounds of '{p.name}' need distinct, sorted axes of the tensor", "A107", name=p.name)
        return
    if any(not 0 <= bound < MAX_INT for _, bound in p.l1):
        yield Problem(f"an l1 bound of '{p.name}' is outside 0 to 2^62 - 1", "A107", name=p.name)
    values = program.data.get(p.name)
    if values is None:
        if not p.committed:
            yield Problem(f"public param '{p.name}' has no data", "A108", name=p.name, help="add = {...} or a file")
        return
    if values.shape != p.type.shape:
        message = f"'{p.name}' is declared {list(p.type.shape)}, its data is {list(values.shape)}"
        yield Problem(message, "A311", name=p.name)
        return
    if values.size == 0:
        return
    if int(values.min()) < p.type.lo or int(values.max()) > p.type.hi:
        message = (
            f"data of '{p.name}' reaches {values.min()}..{values.max()}, outside its bounds {p.type.lo}..{p.type.hi}"
        )
        yield Problem(message, "A313", name=p.name)
    for a, bound in p.l1:
        if (true := l1_bound(values, a)) > bound:
            yield Problem(
                f"sum |{p.name}| over axes {list(a)} reaches {true}, above its bound {bound}", "A313", name=p.name
            )


def l1_bound(values: np.ndarray[tuple[int, ...], np.dtype[np.integer]], axes: tuple[int, ...]) -> int:
    """The maximum over the other axes of ``sum |w|`` over ``axes``, exact."""
    count = math.prod(values.shape[a] for a in axes)
    peak = max(-int(values.min()), int(values.max()))
    if peak * count < 2**63:
        wide = None if peak < np.iinfo(values.dtype).max else np.int64
        rows = max(BLOCK * len(values) // values.size, 1) if values.ndim else 1
        blocks = [values[k : k + rows] for k in range(0, len(values), rows)] if values.ndim else [values]
        sums: list[Any] = [np.abs(b, dtype=wide).sum(axis=axes, dtype=np.int64) for b in blocks]
        return int(sum(sums).max() if 0 in axes or -values.ndim in axes else max(s.max() for s in sums))
    return int(np.max(np.abs(values.astype(object)).sum(axis=axes)))


def _lut(t: Lut) -> Iterator[Problem]:
    if not 1 <= len(t.array) <= MAX_TABLE:
        yield Problem(f"table '{t.name}' has {len(t.array)} rows, 1 to 65536 are possible", "A109", name=t.name)
    elif t.lo < t.source.lo or t.hi > t.source.hi:
        yield Problem(f"domain {t.lo}..{t.hi} of '{t.name}' leaves {t.source}", "A109", name=t.name)
    elif int(t.array.min()) < t.target.lo or int(t.array.max()) > t.target.hi:
        yield Problem(f"a value of table '{t.name}' leaves {t.target}", "A109", name=t.name)


def _ram(r: Ram, tensors: Mapping[str, TensorType]) -> Iterator[Problem]:
    yield from _tensor(r.name, TensorType.full(r.dtype, r.shape))
    if not r.shape:
        yield Problem(f"buffer '{r.name}' has no axis, its rows", "A105", name=r.name)
    if r.init is None:
        return
    if r.init not in tensors:
        message = f"'{r.init}', the contents of '{r.name}', is no input or param"
        yield Problem(message, "A120", name=r.init, known=tensors)
        return
    t = tensors[r.init]
    if t.shape != r.shape or t.lo < r.dtype.lo or t.hi > r.dtype.hi:
        message = f"'{r.init}' ({t}) cannot fill '{r.name}' ({TensorType.full(r.dtype, r.shape)})"
        yield Problem(message, "A264", name=r.name)


# ---- instructions ----------------------------------------------------------------------------------------------------


def _code(program: Program) -> Iterator[Problem]:
    fixed = {i.name for i in program.inputs} | {p.name for p in program.params}
    luts = {t.name for t in program.luts}
    rams = {r.name for r in program.rams}
    targets = {t for ins in program.code if (t := ins.get("target")) is not None}
    all_written = {ins.dst for ins in program.code if ins.dst is not None}
    all_counters = {str(c) for ins in program.code if _flow(ins) is Flow.OPEN and (c := ins.get("counter"))}
    written: set[str] = set()
    last_write = {ins.dst: index for index, ins in enumerate(program.code) if ins.dst is not None}
    blocks: list[tuple[int, str | None]] = []
    for clash in sorted(all_counters & (fixed | luts | rams)):
        yield Problem(f"'{clash}' is a loop counter and something else", "A104", name=clash)
    for index, ins in enumerate(program.code):
        op = REGISTRY.get(ins.op)
        if op is None:
            yield Problem(f"unknown instruction '{ins.op}'", "A110", index, ins.op, known=REGISTRY.keys())
            continue
        counters = [c for _, c in blocks if c is not None]
        yield from _syntax(index, ins, op)
        yield from _attributes(index, ins, op, counters, luts)
        buffer = ins.get("buffer")
        if op.memory and buffer not in rams and buffer in fixed | all_written:
            yield Problem(f"'{buffer}' is a tensor, a buffer is needed here", "A121", index, str(buffer),
                          f"gather reads rows of tensors: gather row, {buffer}[index]")  # fmt: skip
        elif op.memory and buffer not in rams:
            yield Problem(f"unknown buffer '{buffer}'", "A120", index, str(buffer), known=rams)
        registers = all_written if targets else written  # where there are jumps, typing follows the paths
        for name in ins.src:
            if name not in registers and name not in fixed and name not in counters:
                readable = fixed | set(counters) | registers
                later = last_write.get(name, -1) >= index
                yield _unreadable(index, name, luts, rams, all_counters, readable, later)
        if ins.dst is not None:
            yield from _destination(index, ins.dst, fixed, luts, rams, all_counters)
            written.add(ins.dst)
        if op.flow is Flow.OPEN:
            counter = str(c) if (c := ins.get("counter")) else None
            if counter is not None and counter in counters:
                yield Problem(f"'{counter}' already counts an enclosing block", "A104", index, counter)
            count = ins.get("count")
            if isinstance(count, int) and not 1 <= count < 2**31:
                yield Problem(f"repeat count {count} is outside 1 to 2^31 - 1", "A132", index)
            blocks.append((index, counter))
            if len(blocks) == MAX_NESTING + 1:
                yield Problem(f"repeat blocks are nested more than {MAX_NESTING} deep", "A137", index)
        elif op.flow is Flow.CLOSE:
            if blocks:
                blocks.pop()
            else:
                yield Problem("end without repeat", "A130", index)
        elif op.flow is Flow.STOP:
            if blocks:
                yield Problem("halt inside a block", "A133", index, help="a program ends outside all repeat blocks")
            elif index != len(program.code) - 1 and index + 1 not in targets:
                yield Problem("halt is not the last instruction", "A133", index, help="what follows can never run")
        elif op.flow is Flow.RETURN and blocks:
            yield Problem("ret inside a block", "A133", index, help="a routine ends outside all repeat blocks")
    for index, _ in blocks:
        yield Problem("repeat without end", "A131", index)
    yield from _jumps(program)
    if not program.code or _flow(program.code[-1]) not in (Flow.STOP, Flow.RETURN, Flow.JUMP):
        yield Problem("the program does not end with halt", "A134", help="add halt as the last instruction")
    known = written | fixed
    for o in program.outputs:
        if o.name not in known:
            yield Problem(f"output '{o.name}' is never written", "A232", name=o.name, known=known)


def _flow(ins: Instruction) -> Flow | None:
    op = REGISTRY.get(ins.op)
    return None if op is None else op.flow


def _jumps(program: Program) -> Iterator[Problem]:
    """Jumps stay in their innermost block (its ``end`` included), calls go to code outside all blocks."""
    around: list[int] = []  # the innermost open block of every instruction, -1 outside
    blocks = [-1]
    for index, ins in enumerate(program.code):
        around.append(blocks[-1])
        if _flow(ins) is Flow.OPEN:
            blocks.append(index)
        elif _flow(ins) is Flow.CLOSE and len(blocks) > 1:
            blocks.pop()
    for index, ins in enumerate(program.code):
        target = ins.get("target")
        if not isinstance(target, int):
            continue
        if not 0 <= target < len(program.code):
            yield Problem(f"{ins.op} leads to instruction {target}, which does not exist", "A135", index, "target")
        elif _flow(ins) is Flow.CALL and around[target] != -1:
            yield Problem("a routine begins inside a repeat block", "A135", index, "target",
                          "move it behind the last halt")  # fmt: skip
        elif _flow(ins) is not Flow.CALL and around[target] != around[index]:
            yield Problem(f"{ins.op} enters or leaves a repeat block", "A135", index, "target",
                          "jump to a label of the same block, which may stand before its end")  # fmt: skip


def _unreadable(
    index: int, name: str, luts: set[str], rams: set[str], counters: set[str], readable: set[str], later: bool
) -> Problem:
    """``later``: it is written by this instruction or one behind it."""
    if name in counters:
        return Problem(f"counter '{name}' is read outside its block", "A122", index, name)
    if name in luts:
        return Problem(f"'{name}' is a table, a tensor is needed here", "A121", index, name)
    if name in rams:
        return Problem(f"'{name}' is a buffer, a tensor is needed here", "A121", index, name,
                       f"read its rows with load: load row, {name}[index]")  # fmt: skip
    if later:
        return Problem(f"'{name}' is read before it is written", "A230", index, name)
    return Problem(f"unknown name '{name}'", "A120", index, name, known=readable)


def _destination(
    index: int, dst: str, fixed: set[str], luts: set[str], rams: set[str], counters: set[str]
) -> Iterator[Problem]:
    if not valid_name(dst):
        yield Problem(f"'{dst}' cannot be a name", "A103", index, dst)
    elif dst in fixed:
        yield Problem(f"'{dst}' is an input or a param and cannot be written", "A123", index, dst,
                      "write to a register of another name")  # fmt: skip
    elif dst in rams:
        yield Problem(f"'{dst}' is a buffer and cannot be written as a whole", "A123", index, dst,
                      f"write rows with store: store {dst}[index], row")  # fmt: skip
    elif dst in luts or dst in counters:
        yield Problem(f"'{dst}' is a {'table' if dst in luts else 'loop counter'} and cannot be written", "A123", index,
                      dst)  # fmt: skip


def _syntax(index: int, ins: Instruction, op: Op) -> Iterator[Problem]:
    if (ins.dst is not None) != op.has_dst:
        yield Problem(f"{op.name} {'needs' if op.has_dst else 'has no'} destination", "A112", index)
    least = len(op.sources) + op.reads_dst
    if len(ins.src) < least or (len(ins.src) > least and not op.variadic):
        yield Problem(f"{op.name} takes {least} operands, not {len(ins.src)}", "A112", index)
    if op.reads_dst and ins.src[:1] != (ins.dst,):
        yield Problem(f"the first operand of {op.name} is its destination", "A112", index)


def _attributes(
    index: int, ins: Instruction, op: Op, counters: Collection[str], luts: Collection[str]
) -> Iterator[Problem]:
    specs = {s.name: s for s in op.attributes}
    names = [n for n, _ in ins.attrs]
    if names != sorted(set(names)):
        yield Problem(f"attributes of {op.name} are not sorted and distinct", "A113", index)
    for name, value in ins.attrs:
        if name not in specs:
            yield Problem(f"{op.name} has no attribute '{name}'", "A113", index, name, known=specs)
            continue
        spec = specs[name]
        if not of_kind(spec, value):
            yield Problem(f"attribute {name} of {op.name} must be {KINDS[spec.kind]}", "A114", index, name)
        elif value == spec.default:
            yield Problem(f"attribute {name} of {op.name} repeats its default", "A113", index, name)
        elif spec.kind == "lut" and value not in luts:
            yield Problem(f"unknown table '{value}'", "A120", index, str(value), known=luts)
        elif isinstance(value, Affine):
            for counter, _ in value.terms:
                if counter not in counters:
                    yield Problem(f"'{counter}' is not the counter of an enclosing block", "A122", index, counter,
                                  known=counters)  # fmt: skip
    for s in op.attributes:
        if s.default is None and not s.optional and s.name not in names:
            yield Problem(f"{op.name} needs attribute {s.name} ({s.doc})", "A115", index)


KINDS = {
    "int": "an integer",
    "ints": "a tuple of integers",
    "dtype": "a dtype (i8, i16, i32 or i64)",
    "str": "a string",
    "name": "a name",
    "lut": "the name of a table",
    "ram": "the name of a buffer",
    "label": "a label",
    "bool": "true or false",
    "affine": "an integer expression over loop counters",
}


def of_kind(spec: AttrSpec, value: Attr) -> bool:
    """Whether ``value`` is a canonical value of the attribute's kind."""
    match spec.kind:
        case "int":
            return _integer(value)
        case "ints":
            return isinstance(value, tuple) and len(value) <= 64 and all(_integer(v) for v in value)
        case "dtype":
            return isinstance(value, DType)
        case "bool":
            return isinstance(value, bool)
        case "str":
            return isinstance(value, str) and len(value) <= MAX_NAME and value.isprintable() and '"' not in value
        case "label":
            return _integer(value) and value >= 0  # type: ignore[operator]
        case "name" | "lut" | "ram":
            return isinstance(value, str) and valid_name(value)
        case "affine":
            if not isinstance(value, Affine):
                return _integer(value)
            names = [n for n, _ in value.terms]
            numbers = [value.constant, *(c for _, c in value.terms)]
            return bool(names) and names == sorted(set(names)) and all(map(_integer, numbers)) and 0 not in numbers[1:]
    return False


def _integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -MAX_INT < value < MAX_INT
