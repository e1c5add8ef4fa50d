"""What a text has of a program while it is being written: all faults at once, and types as far as they can be known.

Where ``assemble`` stops at the first typing fault, a draft goes on: what a faulty instruction would have written is
unknown from there, whatever reads it is unknown too and says nothing. With a fault in control flow nothing is known. So
every type is one that the program has once its faults are mended without a change of what the other lines read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from pathlib import Path

from syurmy.assembler import syntax as s
from syurmy.assembler.assembler import Assembler
from syurmy.assembler.data import L1FromData
from syurmy.assembler.source import Sources
from syurmy.isa.errors import AssemblyError, Span, SyurmyError, TypeRuleError
from syurmy.isa.inference import Inference, State
from syurmy.isa.instruction import REGISTRY, Flow, L1Bounds
from syurmy.isa.path import DEFAULT_MAX_STEPS
from syurmy.isa.program import Instruction, Program
from syurmy.isa.types import TensorType
from syurmy.isa.wellformed import Problem


@dataclass(frozen=True)
class Typing:
    """Types of a program that may have faults, per instruction; None or nothing where they are not known.

    ``sums`` are the bounds on sums of absolute values of params that were used: (param, axes) to bound. ``varied`` are
    the instructions whose interval is that of several executions together.
    """

    results: Sequence[TensorType | None]
    operands: Sequence[tuple[TensorType, ...]]
    sums: Mapping[int, Mapping[tuple[str, tuple[int, ...]], int]]
    varied: AbstractSet[int]
    faults: Mapping[int, SyurmyError] = field(default_factory=dict)
    fault: SyurmyError | None = None  # of the program as a whole


@dataclass(frozen=True)
class Draft:
    """``program`` lacks the statements with faults. ``errors`` are all faults, in the order of the sources; ``places``:
    where names were declared; ``operands``: where the names of every instruction stand, first the one it writes."""

    program: Program
    typing: Typing
    errors: tuple[SyurmyError, ...]
    sources: Sources
    places: Mapping[str, Span]
    operands: Sequence[Mapping[str, Span]]


def draft(
    source: str,
    filename: str = "<string>",
    *,
    include_paths: Sequence[Path] = (),
    edited: Mapping[Path, str] | None = None,
    max_steps: int | None = None,
) -> Draft:
    """What there is of the program of a text. Raises nothing for a text, whatever it holds.

    ``edited``: texts that stand for files which are included, by resolved path.
    """
    sources = Sources(include_paths, None, edited or {})
    try:
        sources.read(source, filename, Path(filename).resolve())
        return _Drafting(sources).draft(max_steps)
    except RecursionError:
        error = AssemblyError("an expression is nested too deeply", code="A102")
        empty = Program("program", (), (), (), (), ())
        return Draft(empty, _no_types(empty), (error,), sources, {}, ())


def typing(
    program: Program,
    *,
    unknown: AbstractSet[str] = frozenset(),
    skipped: AbstractSet[int] = frozenset(),
    max_steps: int | None = None,
) -> Typing:
    """Types of ``program``. ``unknown``: names nothing is known of; ``skipped``: instructions with other faults."""
    if not program.code:
        return _no_types(program)
    declared = {i.name for i in program.inputs} | {p.name for p in program.params}
    rams = tuple(replace(r, init=r.init if r.init in declared else None) for r in program.rams)
    try:
        run = _Tolerant(replace(program, rams=rams), unknown, skipped, max_steps)
    except SyurmyError as e:  # blocks that do not match
        return _no_types(program, e)
    return run.typing()


def _no_types(program: Program, fault: SyurmyError | None = None) -> Typing:
    count = len(program.code)
    return Typing((None,) * count, ((),) * count, {}, frozenset(), fault=fault)


class _Drafting(Assembler):
    def __init__(self, sources: Sources) -> None:
        super().__init__(sources)
        self._faulty: set[int] = set()

    def draft(self, max_steps: int | None) -> Draft:
        program = self._collected()
        if self._path_is_unknown():
            found = _no_types(program)
        else:
            found = typing(program, unknown=self._damaged, skipped=self._faulty, max_steps=max_steps)
        for index, fault in found.faults.items():
            self._add(fault, self._code[index].calls)
        if found.fault is not None and not self._errors:
            self._add(found.fault, ())
        self._sort()
        return Draft(program, found, tuple(self._errors), self._sources, self._declared.places,
                     self._operand_places)  # fmt: skip

    def _report(self, p: Problem) -> None:
        if p.index is not None:
            self._faulty.add(p.index)
        if not self._is_library():
            super()._report(p)

    def _path_is_unknown(self) -> bool:
        """Whether a fault is one of control flow, or in the body of a macro that is used: then any type may differ."""
        control = {name for name, op in REGISTRY.items() if op.flow is not Flow.NEXT}
        used = {name for ins in self._code for name, _ in ins.calls}
        return bool(
            self._damaged & control
            or self._sources.broken & used
            or any(e.code in ("A130", "A131", "A135", "A136") for e in self._errors)
        )

    def _is_library(self) -> bool:
        """Whether the text only declares, for others to include: it needs no end then."""
        kinds = s.Statement | s.Label | s.For | s.ProgramName | s.OutputDecl
        return not any(isinstance(item.statement, kinds) for item in self._sources.items)


class _Unknown(TypeRuleError):
    """An operand of which nothing is known; told nobody, as its cause has been."""


class _Tolerant(Inference):
    def __init__(
        self, program: Program, unknown: AbstractSet[str], skipped: AbstractSet[int], max_steps: int | None
    ) -> None:
        self.sums = _Sums(L1FromData({p.name: dict(p.l1) for p in program.params}, program.data))
        super().__init__(program, self.sums, DEFAULT_MAX_STEPS if max_steps is None else max_steps)
        self.unknown = set(unknown) - set(self.fixed)
        self.lost: set[str] = set()  # what faulty instructions write
        self.skipped = skipped
        self.used: dict[int, dict[tuple[str, tuple[int, ...]], int]] = {}
        self.varied: set[int] = set()
        self.faults: dict[int, SyurmyError] = {}

    def typing(self) -> Typing:
        fault: SyurmyError | None = None
        try:
            self.run()
        except SyurmyError as e:
            if not (isinstance(e, _Unknown) or (e.code == "A232" and (self.unknown or self.lost))):
                fault = e
        known = [None if i in self.faults else t for i, t in enumerate(self.types.results)]
        return Typing(known, self.types.operands, self.used, self.varied, self.faults, fault)

    def step(self, pc: int, state: State) -> None:
        before = self.types.results[pc]
        self.sums.used = {}
        try:
            if pc in self.skipped:
                raise _Unknown("")
            super().step(pc, state)
        except TypeRuleError as e:
            if not isinstance(e, _Unknown):
                self.faults.setdefault(pc, e)
            self.types.results[pc] = None
            dst = self.code[pc].dst
            if dst is not None:
                self.lost.add(dst)
                state[dst] = None
            return
        if self.sums.used:
            self.used.setdefault(pc, {}).update(self.sums.used)
        if before is not None and before != self.types.results[pc]:
            self.varied.add(pc)

    def read(self, name: str, ins: Instruction, state: State) -> TensorType:
        if name in self.unknown or (name in self.lost and name not in self.counters and state.get(name) is None):
            raise _Unknown("")
        return super().read(name, ins, state)


class _Sums(L1Bounds):
    """Passes bounds on, and notes those that the current instruction uses."""

    def __init__(self, bounds: L1Bounds) -> None:
        self._bounds = bounds
        self.used: dict[tuple[str, tuple[int, ...]], int] = {}

    def __call__(self, name: str, axes: tuple[int, ...]) -> int | None:
        bound = self._bounds(name, axes)
        if bound is not None:
            self.used[name, axes] = bound
        return bound
