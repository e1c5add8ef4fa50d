"""Commands that show: the stack, the source, values, where they came from, what they cost."""

from __future__ import annotations

import fnmatch
from pathlib import Path as FilePath

import numpy as np

from syurmy.assembler.disassembler import instruction_text
from syurmy.debugging import texts
from syurmy.debugging.session import COMMANDS, Session, command, found, value_text
from syurmy.isa.arrays import Array
from syurmy.vm.debug import Breakpoint, DebugError, Target
from syurmy.vm.debug.summary import summarised

GROUP = "show"
AROUND = 5  # lines listed before and behind the current one
WIDE = 4096  # entries that pp prints


# ---- the stack and the source ----------------------------------------------------------------------------------------


@command("where", "w", "bt", usage="", group=GROUP)
def where(s: Session, text: str) -> None:
    """The levels around the instruction, outermost first: the program, routines by their calls, macros by uses."""
    frames = s.frames()
    current = s.frame()
    for f in reversed(frames):
        s.tell(texts.frame(f, s.sources, f is current or f == current))


def _level(s: Session, text: str, by: int) -> None:
    frames = s.frames()
    wanted = s.level + by * (int(text) if text.isdecimal() else 1)
    if not frames or not 0 <= wanted < len(frames):
        raise DebugError(f"there is no level further {'out' if by > 0 else 'in'}", code="D112")
    s.level, s.listed = wanted, None
    s.tell(texts.frame(frames[wanted], s.sources, True))


@command("up", "u", usage="[N]", group=GROUP)
def up(s: Session, text: str) -> None:
    """Look at the level of the use or the call."""
    _level(s, text, 1)


@command("down", "d", usage="[N]", group=GROUP)
def down(s: Session, text: str) -> None:
    """Look at the level further in."""
    _level(s, text, -1)


@command("list", "l", usage="[LINE]", group=GROUP)
def list_(s: Session, text: str) -> None:
    """The source around the current line, then what follows; or around a line."""
    f = s.frame()
    if f.span is None:
        dis(s, "")
        return
    if text and not text.isdecimal():
        raise DebugError(f"'{text}' is not a line", code="D110")
    if text:
        first = int(text) - AROUND
    elif s.listed is not None and s.listed[0] == f.span.file:
        first = s.listed[1]
    else:
        first = f.span.line - AROUND
    _lines(s, f.span.file, f.span.line, first, max(first, 1) + 2 * AROUND)


@command("ll", "longlist", usage="", group=GROUP)
def longlist(s: Session, text: str) -> None:
    """All of the file of the current level."""
    f = s.frame()
    if f.span is None:
        dis(s, f"0 {len(s.d.program.code)}")
        return
    _lines(s, f.span.file, f.span.line, 1, len(s.sources.lines(f.span.file)))


def _lines(s: Session, file: str, current: int, first: int, last: int) -> None:
    lines = s.sources.lines(file)
    if not lines:
        raise DebugError(f"{file} cannot be read", code="D110", help="dis shows the instructions")
    first, last = max(first, 1), min(last, len(lines))
    if first > last:
        s.say("(end of the file)")
        return
    starts = s.d.listing.lines(file)
    stops = {i for p in s.d.points.values() if isinstance(p, Breakpoint) for i in p.indices}
    for n in range(first, last + 1):
        mark = "B" if stops.intersection(starts.get(n, ())) else " "
        s.say(f"{n:5} {mark}{'->' if n == current else '  '} {lines[n - 1]}".rstrip())
    s.listed = file, last + 1


@command("dis", usage="[FIRST [LAST]]", group=GROUP)
def dis(s: Session, text: str) -> None:
    """The instructions around the current one, or from FIRST to LAST."""
    code = s.d.program.code
    numbers = [int(w) for w in text.split() if w.isdecimal()]
    if len(numbers) != len(text.split()) or len(numbers) > 2:
        raise DebugError("dis takes instruction numbers", code="D110", help=f"0 to {len(code) - 1}")
    here = s.d.index if s.d.index is not None else len(code) - 1
    first = numbers[0] if numbers else max(0, here - AROUND)
    last = numbers[1] if len(numbers) > 1 else first + 2 * AROUND
    if first >= len(code):
        raise DebugError(f"there is no instruction {first}", code="D110", help=f"0 to {len(code) - 1}")
    for i in range(first, min(last, len(code) - 1) + 1):
        label = f"{s.d.listing.labels[i]}: " if i in s.d.listing.labels else ""
        s.say(f"{i:5} {'->' if i == s.d.index else '  '} {label}{instruction_text(code[i])}")


# ---- values ----------------------------------------------------------------------------------------------------------


def _scale(s: Session, name: str) -> tuple[float | None, str | None]:
    """What one unit of a register stands for, and the model's node that it belongs to."""
    if s.reals is None:
        return None, None
    step = s.d.written(name)
    index = None if step is None else s.d.history.path[step]
    node = None if index is None else s.d.listing.node(index)
    return s.reals.scale(index, name), None if node is None else f"{node.op} '{node.name}'"


def _print(s: Session, text: str, entries: int) -> None:
    expression = s.d.expression(text)
    try:
        target: Target | None = expression.target(s.d.scope())
    except DebugError as e:
        if e.code != "D101":
            raise
        target = None
    if target is None or target.name in ("step", "index"):
        s.say(f"{text} = {value_text(expression(s.d.scope()))}")
    else:
        value = target.of(s.d.value(target.name))
        s.tell(texts.tensor(s.d, target, value, *_scale(s, target.name), entries=entries))


@command("print", "p", usage="EXPRESSION", group=GROUP)
def print_(s: Session, text: str) -> None:
    """A value. Of a register or a part of one (h, h[0, :8]) also its type, static interval, range, the share of entries
    at the ends of the interval, a histogram; of a compiled model the reals."""
    _print(s, text, texts.SHORT)


@command("pp", usage="EXPRESSION", group=GROUP)
def pp(s: Session, text: str) -> None:
    """A value with all of its entries."""
    _print(s, text, WIDE)


@command("shape", usage="NAME", group=GROUP)
def shape(s: Session, text: str) -> None:
    """The type of a register: dtype, shape, static interval, and which step wrote it."""
    target = s.d.target(text)
    value = target.of(s.d.value(target.name))
    t = s.d.type_of(target.name)
    typed = f"{t.dtype}{list(value.shape)} in {t.lo}..{t.hi}" if t is not None else f"i32{list(value.shape)}"
    step = s.d.written(target.name)
    s.say(f"{target}: {typed}" + ("" if step is None else f", written at step {step:,}"))


@command("stats", usage="NAME", group=GROUP)
def stats(s: Session, text: str) -> None:
    """Range, mean, entries at the ends of the interval, zeros, and a histogram of a register or a part of one."""
    target = s.d.target(text)
    value = target.of(s.d.value(target.name))
    t = s.d.type_of(target.name)
    x = summarised(value, t)
    if not x.size:
        s.say(f"{target}: no entries")
        return
    zeros = x.size - int(np.count_nonzero(value))
    s.say(f"{target}: {x.size} entries, {x.lo}..{x.hi}, mean {x.mean:.6g}, {zeros} zero")
    if t is not None:
        s.say(f"  static {t.dtype} {t.lo}..{t.hi}, {x.at_lo} low and {x.at_hi} high ({100 * x.saturated:.3g} %)")
    s.say(f"  {x.lo} |{x.histogram}| {x.hi}")


@command("regs", usage="[PATTERN]", group=GROUP)
def regs(s: Session, text: str) -> None:
    """Registers that have a value (params not), or those whose names match a pattern."""
    params = {p.name for p in s.d.program.params}
    names = [n for n in s.d.registers if (fnmatch.fnmatchcase(n, text) if text else n not in params)]
    counters = {n: r for n, r in s.d.counters.items() if not text or fnmatch.fnmatchcase(n, text)}
    for name, round in counters.items():
        s.say(f"{name} = {round}  (counter)")
    if not names and not counters:
        s.say("no registers" + (f" match {text}" if text else ""))
    for name in names:
        value, t = np.asarray(s.d.registers[name]), s.d.type_of(name)
        dtype = "" if t is None else str(t.dtype)
        if value.size == 1:
            s.say(f"{name} = {int(value.reshape(-1)[0])}  ({dtype}{list(value.shape) if value.ndim else ''})")
        elif value.size <= 8:
            s.say(f"{name} = {value.tolist()}  ({dtype}{list(value.shape)})")
        else:
            s.say(f"{name}: {dtype}{list(value.shape)}, {value.min()}..{value.max()}")


@command("ram", usage="[BUFFER[ROWS]]", group=GROUP)
def ram(s: Session, text: str) -> None:
    """The buffers; or rows of one, with the step that stored each last."""
    rams = {r.name: r for r in s.d.program.rams}
    if not text:
        for r in rams.values():
            stored = sum(s.d.storer(r.name, k, s.d.step) is not None for k in range(r.shape[0]))
            s.say(f"{r.name}: {r.dtype}{list(r.shape)}, {stored} of {r.shape[0]} rows stored")
        if not rams:
            s.say("the program has no buffers")
        return
    target = s.d.target(text)
    if target.name not in rams:
        raise DebugError(f"'{target.name}' is not a buffer", code="D102", help=f"there are {', '.join(rams) or 'none'}")
    value = s.d.memories[target.name]
    target.of(value)
    chosen = np.atleast_1d(np.arange(len(value))[target.selection[:1]]).tolist()
    for row in chosen[:WIDE]:
        part = value[row] if len(target.selection) < 2 else value[(row, *target.selection[1:])]
        step = s.d.storer(target.name, row, s.d.step)
        by = "first contents" if step is None else f"step {step:,}"
        s.say(f"{target.name}[{row}] = {' '.join(texts.array(part).split())}  ({by})")


@command("display", usage="[EXPRESSION]", group=GROUP)
def display(s: Session, text: str) -> None:
    """Show an expression at every stop; alone: show those that are displayed."""
    if text:
        s.shown[text] = s.d.expression(text)
        s.show(text)
        return
    for shown in s.shown:
        s.show(shown)


@command("undisplay", usage="[EXPRESSION]", group=GROUP)
def undisplay(s: Session, text: str) -> None:
    """Stop displaying an expression; alone: all."""
    if text and text not in s.shown:
        raise DebugError(f"'{text}' is not displayed", code="D102")
    for shown in [text] if text else list(s.shown):
        del s.shown[shown]


@command("why", usage="NAME[I, J] [LINKS]", group=GROUP)
def why(s: Session, text: str) -> None:
    """Where an element came from: the instructions and elements behind it, through views, put, mov and RAM, with
    values. LINKS is how many to follow."""
    target, _, links = text.rpartition(" ")
    if target and links.isdecimal() and "[" not in links:
        s.tell(texts.chain(s.d, s.d.why(target, int(links))))
    else:
        s.tell(texts.chain(s.d, s.d.why(text)))


@command("diff", usage="[STEP]", group=GROUP)
def diff(s: Session, text: str) -> None:
    """What registers and buffers hold here that they did not at a step (the one before the last command that moved)."""
    if text and not text.replace(",", "").isdecimal():
        raise DebugError(f"'{text}' is not a step", code="D112")
    step = int(text.replace(",", "")) if text else s.before
    new = dict(s.d.registers) | {n: v.copy() for n, v in s.d.memories.items()}
    with s.d.elsewhere(step):
        step = s.d.step  # the run may end before
        old = dict(s.d.registers) | {n: v.copy() for n, v in s.d.memories.items()}
    s.say(f"step {step:,} -> step {s.d.step:,}")
    same = True
    for name in [*new, *(n for n in old if n not in new)]:
        a, b = old.get(name), new.get(name)
        if a is b or (a is not None and b is not None and a.shape == b.shape and np.array_equal(a, b)):
            continue
        same = False
        if a is None or b is None or a.shape != b.shape:
            s.say(f"  {name}: {_brief(a)} -> {_brief(b)}")
            continue
        wrong = np.argwhere(a != b)
        at = tuple(int(i) for i in wrong[0])
        count = (
            f"{name}: "
            if a.size == 1
            else f"{name}: {len(wrong)} of {a.size} entries, first [{str(at)[1:-1].rstrip(',')}] "
        )
        s.say(f"  {count}{int(a[at])} -> {int(b[at])}")
    if same:
        s.say("  nothing differs")


def _brief(x: Array | None) -> str:
    if x is None:
        return "nothing"
    return str(int(x.reshape(-1)[0])) if x.size == 1 else f"a tensor {list(x.shape)}"


@command("cost", usage="[all]", group=GROUP)
def cost(s: Session, text: str) -> None:
    """What the current instruction adds to a proof of the whole run: lookups and committed entries, over all of its
    executions. With all: the instructions that add most."""
    from syurmy.debugging.proving import Whole

    whole = Whole.of(s.d)
    lookups, committed = whole.costs.lookups, whole.costs.committed
    total = int(lookups.sum()), int(committed.sum())

    def line(i: int) -> str:
        runs = whole.system.flow.runs[i]
        name = instruction_text(s.d.program.code[i])
        share = 100 * (int(lookups[i]) + int(committed[i])) / max(1, sum(total))
        return f"{i:5} {name}: {lookups[i]:,} lookups, {committed[i]:,} committed, {runs:,} runs ({share:.3g} %)"

    if text == "all":
        order = sorted(range(len(s.d.program.code)), key=lambda i: -int(lookups[i] + committed[i]))
        s.tell([line(i) for i in order[: 2 * AROUND] if lookups[i] or committed[i]])
    elif text:
        raise DebugError("cost takes nothing, or all", code="D121")
    elif s.d.index is not None:
        s.say(line(s.d.index))
    s.say(f"      the whole run: {total[0]:,} lookups, {total[1]:,} committed")


@command("cmp", "compare", usage="[all] [MODEL.onnx]", group=GROUP)
def compare(s: Session, text: str) -> None:
    """A compiled model beside its float original: of the tensors computed so far those that are off, where the error
    begins, and why. With all: every tensor. MODEL.onnx is the original, if it does not lie beside the folder."""
    from dataclasses import replace

    from syurmy.commands.compare import lines, paths
    from syurmy.compiler import needed

    if s.reals is None:
        raise DebugError("this is no compiled model: there is no float model beside it", code="D121")
    model, (word, _, rest) = s.reals.model, text.partition(" ")
    every, name = (True, rest.strip()) if word == "all" else (False, text)
    help = "cmp MODEL.onnx names it"
    original = paths(model.folder, FilePath(name) if name else s.reals.original, help)[1]
    found = needed("compare").compare(model, original, s.reals.given)
    if found.same_source is False:
        s.say(f"note: {original} is not the file that was compiled")
    here = [d for d in found.tensors if d.row < 0 or _computed(s, model.rows[d.row].last)]
    s.tell(lines(replace(found, tensors=tuple(here)), every, "cmp all"))
    if later := len(found.tensors) - len(here):
        s.say(f"computed further on: {later} tensor{'s' if later != 1 else ''}")


def _computed(s: Session, last: int) -> bool:
    """Whether a node's instructions up to ``last`` lie behind."""
    return last == 0 or s.d.history.last((last - 1,), s.d.step) is not None


@command("help", "h", "?", usage="[COMMAND]", group=GROUP)
def help_(s: Session, text: str) -> None:
    """What a command does; alone: all commands."""
    if text:
        c = found(text)
        short = f" ({', '.join(c.short)})" if c.short else ""
        s.say(f"{c.usage}{short}")
        s.say(f"    {c.help}")
        return
    for group in ("move", "stop", "show", "proof"):
        listed = {c.name: c for c in COMMANDS.values() if c.group == group}
        if listed:
            s.say(f"{group}:")
        for c in listed.values():
            s.say(f"    {c.usage:34} {c.help.split('. ')[0].split('; alone: ')[0].split(': ')[0].rstrip('.')}")
    s.say("A place is a line, FILE:LINE, a label, a macro, a node, @INSTRUCTION or trap. An empty line repeats.")
