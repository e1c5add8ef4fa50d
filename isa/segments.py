"""One program cut into several that compute the same, integer for integer: its segments.

    code = code_0 ++ code_1 ++ ... ++ halt,    segment k = the declarations that code_k names, code_k, halt

A register that is written in one segment and read in a later one crosses: it is an output of the one and an input of
the others, under its name, with the type that inference gives it, so that every later type is what it was. It is
committed on both sides, or public where it is a public output of the whole. An input that one segment reads stays what
it is; a private one that several read is committed in all of them, so that it can be shown to be the same.

A cut lies outside of blocks and jumps, and neither within the life of a buffer nor between two writes of a register:
what crosses is written once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from syurmy.isa.errors import InputError
from syurmy.isa.inference import Types, infer_types
from syurmy.isa.instruction import REGISTRY, Flow
from syurmy.isa.program import Input, Instruction, Output, Program
from syurmy.isa.records import cached_property
from syurmy.isa.types import TensorType
from syurmy.isa.wellformed import MAX_COMMITTED, MAX_NAME, MAX_SEGMENTS, problems


@dataclass(frozen=True)
class Crossing:
    """A register that may cross: what it is, the instruction that writes it, and those that read it, in order; an
    output is read at ``len(code)`` by nobody but the whole."""

    name: str
    type: TensorType
    written: int
    read: tuple[int, ...]


class Seams:
    """Where a program may be cut, and what crosses there. ``types``: those of the whole."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.types: Types = infer_types(program)
        code = program.code
        self.end = len(code) - 1  # the halt
        written: dict[str, list[int]] = {}
        read: dict[str, list[int]] = {}
        buffers: dict[str, list[int]] = {}
        for k, ins in enumerate(code):
            if ins.dst is not None:
                written.setdefault(ins.dst, []).append(k)
            for name in dict.fromkeys(ins.src):
                read.setdefault(name, []).append(k)
            if (buffer := ins.get("buffer")) is not None:
                buffers.setdefault(str(buffer), []).append(k)
        self.written, self.read, self.buffers = written, read, buffers

    @cached_property
    def positions(self) -> list[int]:
        """Before which instructions it may be cut, ascending; none of a program with routines, or that halts twice."""
        code = self.program.code
        flows = [REGISTRY[ins.op].flow for ins in code]
        if any(f in (Flow.CALL, Flow.RETURN) for f in flows) or flows.count(Flow.STOP) != 1 or flows[-1] != Flow.STOP:
            return []
        whole = [0] * (len(code) + 2)  # +1 and -1 where stretches that stay whole begin and end
        opened: list[int] = []
        for k, ins in enumerate(code):
            if flows[k] is Flow.OPEN:
                opened.append(k)
            elif flows[k] is Flow.CLOSE:
                _keep(whole, opened.pop(), k)
            elif (target := ins.get("target")) is not None:
                first, last = sorted((k, int(target)))  # type: ignore[arg-type]
                _keep(whole, first, last)
        for places in (*self.written.values(), *self.buffers.values()):
            _keep(whole, places[0], places[-1])
        out, depth = [], 0
        for k in range(1, self.end):
            depth += whole[k]
            if not depth:
                out.append(k)
        return out

    @cached_property
    def crossings(self) -> list[Crossing]:
        """Every register that is read or leaves the program, in the order in which they are written."""
        left = {o.name for o in self.program.outputs}
        out = []
        for name, places in self.written.items():
            reads = [*self.read.get(name, ()), *[len(self.program.code)] * (name in left)]
            t = self.types.results[places[-1]]
            if reads and t is not None:
                out.append(Crossing(name, t, places[-1], tuple(reads)))
        return out


def _keep(whole: list[int], first: int, last: int) -> None:
    """No cut before instructions ``first + 1 .. last``."""
    whole[first + 1] += 1
    whole[last + 1] -= 1


def cut(program: Program, at: Sequence[int], seams: Seams | None = None) -> tuple[Program, ...]:
    """The segments of a program that is cut before each of these instructions. They are well-formed, and their types
    are those of the whole. Raises ``InputError`` I160 where it cannot be cut so."""
    seams = Seams(program) if seams is None else seams
    allowed = set(seams.positions)
    if list(at) != sorted(set(at)) or not allowed.issuperset(at):
        raise refused("it cannot be cut there")
    if len(at) + 1 > MAX_SEGMENTS:
        raise refused(f"at most {MAX_SEGMENTS} segments are possible")
    return _Cutting(program, tuple(at), seams).segments()


def refused(why: str) -> InputError:
    """What is raised where a program cannot be cut as asked."""
    return InputError(
        f"the program cannot be cut into segments: {why}",
        code="I160",
        help="a cut lies outside of blocks, jumps and routines, and at most 16 tensors cross into and out of a segment",
    )


class _Cutting:
    def __init__(self, program: Program, at: tuple[int, ...], seams: Seams) -> None:
        self.program, self.seams = program, seams
        self.starts = (0, *at, seams.end)
        self.count = len(at) + 1
        self.fixed = {i.name for i in program.inputs} | {p.name for p in program.params}
        self.home: dict[str, int] = {}  # of a register: the segment that writes it
        self.uses: list[dict[str, None]] = [{} for _ in range(self.count)]  # names that a segment reads, in order
        for k in range(self.count):
            for ins in program.code[self.starts[k] : self.starts[k + 1]]:
                self.uses[k].update(dict.fromkeys(ins.src))
                if ins.dst is not None:
                    self.home[ins.dst] = k
                buffer = ins.get("buffer")
                init = None if buffer is None else program.ram(str(buffer)).init
                self.uses[k].update({} if init is None else {init: None})
        known = set().union(*self.uses)
        first = [i.name for i in program.inputs if i.name not in known]  # their intervals are part of the statement
        first += [o.name for o in program.outputs if o.name in self.fixed]
        first += [r.init for r in program.rams if r.init is not None and r.init not in known]
        self.uses[0].update(dict.fromkeys(first))

    def readers(self, name: str) -> list[int]:
        """The segments that read a name."""
        return [k for k, use in enumerate(self.uses) if name in use]

    def segments(self) -> tuple[Program, ...]:
        left = {o.name: o for o in self.program.outputs}
        inputs: list[list[Input]] = [[] for _ in range(self.count)]
        outputs: list[list[Output]] = [[] for _ in range(self.count)]
        for i in self.program.inputs:
            at = self.readers(i.name)
            shared = len(at) > 1 and not i.public
            for k in at:
                inputs[k].append(replace(i, committed=i.committed or shared))
        links: dict[str, Output] = {}
        for name, home in self.home.items():
            if any(k > home for k in self.readers(name)):
                public = name in left and left[name].public
                links[name] = Output(name, public, not public)
        for o in self.program.outputs:
            outputs[self.home.get(o.name, 0)].append(links.get(o.name, o))
        for name, link in links.items():
            if name not in left:
                outputs[self.home[name]].append(link)
        made: list[Program] = []
        crossed: dict[str, TensorType] = {}
        for k in range(self.count):
            mine = [n for n in links if n in self.uses[k] and self.home[n] < k]
            entered = [Input(n, crossed[n], links[n].public, links[n].committed) for n in mine]
            made.append(self.segment(k, (*inputs[k], *entered), tuple(outputs[k])))
            crossed |= self.checked(k, made[k])
        return tuple(made)

    def segment(self, k: int, inputs: tuple[Input, ...], outputs: tuple[Output, ...]) -> Program:
        whole, first = self.program, self.starts[k]
        last = self.starts[k + 1]
        code = tuple(_moved(ins, -first) for ins in whole.code[first:last]) + whole.code[-1:]
        named = set(self.uses[k]) | {o.name for o in outputs}
        tables = {str(v) for ins in code for a, v in ins.attrs if a in _lut_attributes(ins)}
        buffers = {str(b) for ins in code if (b := ins.get("buffer")) is not None}
        if k == 0:
            buffers |= {r.name for r in whole.rams} - set(self.seams.buffers)
        params = tuple(p for p in whole.params if p.name in named)
        return Program(
            name=f"{whole.name[: MAX_NAME - 8]}.{k}",
            inputs=inputs,
            params=params,
            luts=tuple(t for t in whole.luts if t.name in tables),
            outputs=outputs,
            code=code,
            data={p.name: whole.data[p.name] for p in params if p.name in whole.data},
            rams=tuple(r for r in whole.rams if r.name in buffers),
        )

    def checked(self, k: int, made: Program) -> dict[str, TensorType]:
        """The types of what leaves a segment. Raises ``InputError`` I160 where it is none, or types change."""
        committed = sum(i.committed for i in made.inputs) + sum(o.committed for o in made.outputs)
        if committed > MAX_COMMITTED:
            raise refused(f"{committed} tensors cross into and out of segment {k}")
        for problem in problems(made):
            raise refused(f"segment {k}: {problem.message}")
        types = infer_types(made)
        whole = self.seams.types.results[self.starts[k] : self.starts[k + 1]]
        if types.results[:-1] != whole:
            raise refused(f"the types of segment {k} are not those of the whole")
        return types.final


def _moved(ins: Instruction, by: int) -> Instruction:
    """The instruction where everything has moved."""
    if ins.get("target") is None:
        return ins
    attrs = tuple((a, v + by if a == "target" and isinstance(v, int) else v) for a, v in ins.attrs)
    return replace(ins, attrs=attrs)


def _lut_attributes(ins: Instruction) -> set[str]:
    return {s.name for s in REGISTRY[ins.op].attributes if s.kind == "lut"}
