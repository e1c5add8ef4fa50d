"""From a ``Program`` to text that assembles to the same program (equal encodings), without any other file.

Tables and public params are written inline, or by reference where files of all of them are named. Committed params are
written with their bounds, and with a reference to a data file if one is named.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

import syurmy.isa.ops  # noqa: F401  (fills the registry)
from syurmy.isa.instruction import REGISTRY, Flow, Op
from syurmy.isa.program import Attr, Instruction, Lut, Param, Program, Ram


def disassemble(program: Program, data_file: str | None = None, tables: str | None = None) -> str:
    """The program's text. ``data_file``: a .npz or .safetensors that holds each committed param under its name;
    ``tables``: a folder of each table as NAME.npy, then the data file holds public params too."""
    lines = [f".program {program.name}"]
    for i in program.inputs:
        t = i.type
        within = "" if t.interval == (t.dtype.lo, t.dtype.hi) else f" in {t.lo}..{t.hi}"
        lines.append(f".input {i.name} : {t} {i.visibility}{within}")
    lines += [_param(p, program, data_file, tables is None) for p in program.params]
    lines += [_lut(t, tables) for t in program.luts]
    lines += [_ram(r) for r in program.rams]
    lines += [f".output {o.name} {o.visibility}" for o in program.outputs]
    lines.append("")
    depth = 1
    targets = {ins.get("target") for ins in program.code}
    for index, ins in enumerate(program.code):
        flow = REGISTRY[ins.op].flow
        depth -= flow is Flow.CLOSE
        if index in targets:
            lines.append("    " * (depth - 1) + f"L{index}:")
        lines.append("    " * depth + instruction_text(ins))
        depth += flow is Flow.OPEN
    return "\n".join(lines) + "\n"


def instruction_text(ins: Instruction) -> str:
    """One instruction as it is written; the label of instruction 12 is L12."""
    op = REGISTRY[ins.op]
    src = ins.src[1:] if op.reads_dst else ins.src
    attrs = dict(ins.attrs)
    parts = ([ins.dst] if ins.dst is not None else []) + _sources(op, src, attrs)
    for spec in op.attributes:
        if not spec.positional:
            continue
        if spec.name not in attrs or (op.variadic and spec.kind in ("lut", "name", "affine")):
            break  # those that follow need their names
        parts.append(_attribute(attrs.pop(spec.name), spec.kind))
    if attrs:
        parts.append(attributes_text(op, replace(ins, attrs=tuple(attrs.items()))))
    return f"{ins.op} {', '.join(parts)}".rstrip()


def attributes_text(op: Op, ins: Instruction) -> str:
    """The attributes of an instruction that are not at their defaults, all with their names."""
    kinds = {a.name: a.kind for a in op.attributes}
    return ", ".join(f"{name}={_attribute(value, kinds[name])}" for name, value in ins.attrs)


def _sources(op: Op, src: tuple[str, ...], attrs: dict[str, Attr]) -> list[str]:
    """Sources as written; a buffer that is indexed leaves ``attrs``."""
    if not op.indexed:
        return list(src)
    named = dict(zip(op.sources, src, strict=True))
    name = named.pop(op.indexed) if op.indexed in named else attrs.pop(op.indexed)
    return [f"{name}[{named.pop('idx')}]", *named.values()]


def _attribute(value: Attr, kind: str) -> str:
    if kind == "str":
        return f'"{value}"'
    if kind == "label":
        return f"L{value}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"({', '.join(map(str, value))})"
    return str(value)


def _param(p: Param, program: Program, data_file: str | None, inline: bool) -> str:
    text = f".param {p.name} : {p.type} {'committed' if p.committed else 'public'}"
    values = None if p.committed else np.asarray(program.data[p.name])
    if values is None or p.type.interval != (int(values.min()), int(values.max())):
        text += f" bounds {p.type.lo}..{p.type.hi}"
    if p.l1:
        text += " l1 " + ", ".join(f"{_attribute(axes, 'ints')}={bound}" for axes, bound in p.l1)
    if values is not None and inline:
        return f"{text} = {_braces(values.tolist())}"
    return text if data_file is None else f'{text} = "{data_file}:{p.name}"'


def _lut(t: Lut, tables: str | None) -> str:
    full = (t.lo, t.hi) == (t.source.lo, t.source.hi)
    within = "" if full else f" in {t.lo}..{t.hi}"
    data = _braces(t.array.tolist()) if tables is None else f'"{tables}/{t.name}.npy"'
    return f".lut {t.name} : {t.source} -> {t.target}{within} = {data}"


def _ram(r: Ram) -> str:
    init = "" if r.init is None else f" = {r.init}"
    return f".ram {r.name} : {r.dtype}[{', '.join(map(str, r.shape))}]{init}"


def _braces(value: Any) -> str:
    if not isinstance(value, list):
        return f"{{{value}}}"
    return str(value).replace("[", "{").replace("]", "}")
