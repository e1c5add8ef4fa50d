"""A program with other names for its registers and loop counters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from syurmy.isa.program import Affine, Attr, Instruction, Program


def renamed(p: Program, name: Callable[[int], str]) -> Program:
    """``name(k)`` is the new name of the k-th register or counter to appear (destination, sources, attributes)."""
    declared = {d.name for kind in (p.inputs, p.params, p.luts, p.rams, p.outputs) for d in kind}
    names: dict[str, str] = {}

    def new(old: str) -> str:
        return old if old in declared else names.setdefault(old, name(len(names)))

    def attribute(key: str, value: Attr) -> Attr:
        if isinstance(value, Affine):
            return Affine(value.constant, tuple(sorted((new(n), c) for n, c in value.terms)))
        return new(str(value)) if key == "counter" else value

    def instruction(ins: Instruction) -> Instruction:
        dst = None if ins.dst is None else new(ins.dst)
        src = tuple(new(s) for s in ins.src)
        return replace(ins, dst=dst, src=src, attrs=tuple((k, attribute(k, v)) for k, v in ins.attrs))

    return replace(p, code=tuple(map(instruction, p.code)))
