"""What the debugger prints: places, tensors, changes, chains of provenance. Plain text, the same in every run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from syurmy.assembler.disassembler import instruction_text
from syurmy.isa.arrays import Array
from syurmy.isa.errors import Span
from syurmy.vm.debug import Change, Debugger, Frame, Link, Source, Target
from syurmy.vm.debug.summary import summarised

SHORT = 64  # entries that are printed in full


class Sources:
    """Lines of source files, read once."""

    def __init__(self) -> None:
        self._files: dict[str, list[str]] = {}

    def lines(self, file: str) -> list[str]:
        """The lines of a file; none if it cannot be read."""
        if file not in self._files:
            try:
                self._files[file] = Path(file).read_text(encoding="utf-8-sig").splitlines()
            except (OSError, ValueError):
                self._files[file] = []
        return self._files[file]

    def line(self, span: Span | None) -> str | None:
        if span is None:
            return None
        lines = self.lines(span.file)
        return lines[span.line - 1] if span.line <= len(lines) else None


def place(span: Span | None) -> str:
    return "" if span is None else f"{span.file}:{span.line}"


def counters(values: Mapping[str, int]) -> str:
    return "".join(f", {name.removesuffix('.number')} = {value}" for name, value in values.items())


def where(d: Debugger, sources: Sources) -> list[str]:
    """Where the debugger stands: step, place, loops, macros around it, node of the model, and the line."""
    if d.index is None:
        return [f"step {d.step:,}: the program has halted"]
    frames = d.stack()
    node = d.listing.node(d.index)
    head = ", ".join([f"step {d.step:,}", *filter(None, [place(frames[0].span)]), f"instruction {d.index}"])
    lines = [head + counters(d.counters) + (f", {node.op} '{node.name}'" if node is not None else "")]
    lines += [f"   in {f}, used at {place(frames[k + 1].span)}" for k, f in enumerate(frames[:-1]) if f.kind == "macro"]
    lines += [
        f"   in {f}, called at {place(frames[k + 1].span)}" for k, f in enumerate(frames[:-1]) if f.kind == "routine"
    ]
    source = sources.line(frames[0].span)
    lines.append(f"-> {instruction_text(d.program.code[d.index])}" if source is None else f"-> {source.strip()}")
    return lines


def frame(f: Frame, sources: Sources, current: bool) -> list[str]:
    source = sources.line(f.span)
    lines = [f"{'>' if current else ' '} {place(f.span) or f'instruction {f.index}'} {f}"]
    return lines if source is None else [*lines, f"  -> {source.strip()}"]


def array(value: Array, entries: int = SHORT) -> str:
    """Entries, or the corners of more than ``entries``."""
    return np.array2string(np.asarray(value), separator=", ", max_line_width=100, threshold=entries, edgeitems=3)


def element(name: str, at: Sequence[int] | None) -> str:
    return f"{name}[{', '.join(map(str, at))}]" if at else name


def tensor(
    d: Debugger, target: Target, value: Array, scale: float | None, node: str | None, entries: int = SHORT
) -> list[str]:
    """A register, or a part of one: type, interval, range, entries at the ends, histogram, entries, reals."""
    type_ = d.type_of(target.name)
    s = summarised(value, type_)
    if value.ndim == 0:
        head = f"{target} = {int(value)}"
        if type_ is not None:
            head += f"    {type_.dtype} in {type_.lo}..{type_.hi}"
        return [head, *_reals(value, scale, node, entries)]
    head = f"{target}: {'' if type_ is None else type_.dtype}{list(value.shape)}"
    if type_ is not None:
        head += f" in {type_.lo}..{type_.hi}"
    if not s.size:
        return [f"{head}, no entries"]
    lines = [f"{head}, entries {s.lo}..{s.hi}, mean {s.mean:.6g}"]
    if s.at_lo or s.at_hi:
        lines.append(f"  at the ends {s.at_lo} low, {s.at_hi} high of {s.size} ({100 * s.saturated:.3g} %)")
    if s.size > 1 and s.lo != s.hi:
        lines.append(f"  {s.lo} |{s.histogram}| {s.hi}")
    lines += ["  " + line for line in array(value, entries).splitlines()]
    return lines + _reals(value, scale, node, entries)


def _reals(value: Array, scale: float | None, node: str | None, entries: int) -> list[str]:
    if scale is None:
        return [] if node is None else [f"  {node}"]
    with np.printoptions(precision=6):
        reals = array(np.asarray(value).astype(np.float64) * scale, entries)
    lines = reals.splitlines()
    return [f"  real{'' if node is None else f', {node}'}, scale {scale:.6g}:", *("  " + line for line in lines)]


def source(s: Source) -> str:
    return element(s.name, s.element) + ("" if s.value is None else f" = {s.value}")


def change(d: Debugger, c: Change) -> list[str]:
    """What a watchpoint saw."""
    ins = d.program.code[c.index]
    did = {"change": "changed", "write": "was written", "read": "was read"}[c.watch.access]
    at = f" ({place(ins.span)})" if ins.span else ""
    lines = [f"{c.watch.target} {did} at step {c.step:,} by instruction {c.index}{at}: {instruction_text(ins)}"]
    if c.watch.access != "read":
        before = ["nothing"] if c.before is None else array(c.before).splitlines()
        lines += [f"  before {before[0]}", *(f"         {line}" for line in before[1:])]
        after = array(c.after).splitlines()
        lines += [f"  after  {after[0]}", *(f"         {line}" for line in after[1:])]
        if c.sources:
            lines.append(f"  {element(c.watch.target.name, c.element)} from {', '.join(map(source, c.sources))}")
    return lines


def chain(d: Debugger, link: Link, depth: int = 0) -> list[str]:
    """A chain of provenance, a link on each line, indented under what it went into (a move stays at its depth)."""
    value = "" if link.value is None else f" = {link.value}"
    text = "  " * depth + element(link.name, link.element) + value
    chosen = f", chosen by {', '.join(map(source, link.by))}" if link.by else ""
    if link.step is not None and link.index is not None:
        ins = d.program.code[link.index]
        at = f", {place(ins.span)}" if ins.span else ""
        text += f"    step {link.step:,}{at}: {instruction_text(ins)}{chosen}"
    else:
        text += {
            "input": "    input",
            "param": "    param",
            "counter": "    loop counter",
            "initial": "    the buffer's first contents",
            "moved": "    the buffer's first contents",
            "more": "    ... (further with a number: why NAME N)",
        }.get(link.kind, "")
    text += {"constant": " (a constant of the instruction)", "seen": " (see above)"}.get(link.kind, "")
    lines = [text]
    named = {s.element for s in link.sources}
    if link.terms > max(len(link.sources), 1) and link.kind == "computed" and named:
        lines[0] += f"    of {link.terms} terms the largest"
    elif link.terms > 1 and link.kind == "moved":
        lines[0] += f"    the best of {link.terms}"
    for s in link.sources:
        lines += chain(d, s, depth + (link.kind != "moved"))
    return lines
