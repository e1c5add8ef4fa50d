"""The assembler: from text to a typed ``Program``.

Statements are read in order, so a constant is defined before it is used; macros may be defined anywhere. What an
instruction's operands and attributes are is read from the registry. Faults are collected: syntax, names, attributes
and data of the whole program are reported in one run, types (which need all of that) up to the first fault.

Bounds of params. ``type.lo/hi`` are the true minimum and maximum of the data, and ``l1`` the true maxima of sum |w|
over those axes that typing rules ask for. A declaration may state wider ones (``bounds``, ``l1``), and must where it
has no data: then they are promises that set-up checks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from syurmy.assembler import syntax as s
from syurmy.assembler.data import Array, L1FromData, checked, from_entries, parse_braces, read_file
from syurmy.assembler.diagnostics import AssemblyErrors, suggestion
from syurmy.assembler.source import FRAME, MAX_EXPANSIONS, Call, Item, Sources, read_text
from syurmy.isa.errors import AssemblyError, Span, SyurmyError
from syurmy.isa.inference import infer_types
from syurmy.isa.instruction import REGISTRY, AttrSpec, Flow, Op
from syurmy.isa.manual import usage
from syurmy.isa.program import I64, Affine, Attr, Input, Instruction, Lut, Note, Output, Param, Program, Ram
from syurmy.isa.types import DType, TensorType, smallest_dtype
from syurmy.isa.wellformed import KINDS, MAX_TABLE, RESERVED, Problem, of_kind, problems

MAX_INSTRUCTIONS = 2**18
MAX_BITS = 512  # of an intermediate constant


def assemble(
    source: str | Path,
    *,
    filename: str = "<string>",
    include_paths: Sequence[str | Path] = (),
    data_root: str | Path | None = None,
    max_steps: int | None = None,
) -> Program:
    """The program of a text, or of a file (a ``Path``, or a string that ends in ``.tasm`` on one line).

    Includes are looked up beside the including file, then in ``include_paths``; data files beside the file that names
    them, or in ``data_root``; what is not there, in the library that is installed with the package.
    A program that cannot but take more than ``max_steps`` steps (10^6 unless given) is refused.
    Raises ``AssemblyErrors`` with every diagnostic, ``InputError`` for an unreadable file.
    """
    if isinstance(source, Path) or ("\n" not in source and source.endswith(".tasm")):
        return assemble_file(source, include_paths=include_paths, data_root=data_root, max_steps=max_steps)
    sources = Sources([Path(p) for p in include_paths], None if data_root is None else Path(data_root))
    try:
        sources.read(source, filename, Path(filename).resolve())
        return Assembler(sources).program(max_steps)
    except RecursionError:
        error = AssemblyError("an expression is nested too deeply", code="A102")
        raise AssemblyErrors([error], sources.texts) from None


def assemble_file(
    path: str | Path,
    *,
    include_paths: Sequence[str | Path] = (),
    data_root: str | Path | None = None,
    max_steps: int | None = None,
) -> Program:
    """The program of a file; see ``assemble``."""
    text = read_text(Path(path)) + "\n"
    return assemble(text, filename=str(path), include_paths=include_paths, data_root=data_root, max_steps=max_steps)


def with_bounds(program: Program, max_steps: int | None = None) -> Program:
    """``program`` with the true bounds of the params that have data, and the L1 bounds its typing rules ask for.

    For programs that are built rather than written. Raises ``TypeRuleError``.
    """
    params = tuple(
        replace(p, type=_bounded(p.type, program.data[p.name]), l1=()) if p.name in program.data else p
        for p in program.params
    )
    return _with_l1(replace(program, params=params), {}, max_steps)


def _with_l1(
    program: Program, declared: Mapping[str, Mapping[tuple[int, ...], int]], max_steps: int | None = None
) -> Program:
    known = {p.name: dict(p.l1) for p in program.params} | {n: dict(d) for n, d in declared.items()}
    bounds = L1FromData(known, program.data)
    infer_types(program, bounds, **({} if max_steps is None else {"max_steps": max_steps}))
    params = tuple(
        replace(p, l1=tuple(sorted((known.get(p.name, {}) | bounds.asked.get(p.name, {})).items())))
        for p in program.params
    )
    return replace(program, params=params)


def _bounded(t: TensorType, values: Array) -> TensorType:
    return replace(t, lo=int(values.min()), hi=int(values.max())) if values.size else t


class Assembler:
    """One run over parsed sources. ``assemble`` is its use; ``drafts`` keeps what a faulty text has of a program."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._errors: list[SyurmyError] = list(sources.errors)
        self._name = "program"
        self._named = False
        self._consts: dict[str, int] = {}
        self._inputs: list[Input] = []
        self._params: list[Param] = []
        self._luts: list[Lut] = []
        self._rams: list[Ram] = []
        self._outputs: list[Output] = []
        self._code: list[Instruction] = []
        self._data: dict[str, Array] = {}
        self._places: dict[str, Span] = {}  # where a name was declared
        self._output_places: dict[str, Span] = {}
        self._init_places: dict[str, Span] = {}  # names that fill buffers
        self._labels: dict[str, tuple[int, Span]] = {}  # the instruction that follows, and the place
        self._operand_places: list[dict[str, Span]] = []
        self._counters: list[str | None] = []  # of the open blocks
        self._notes: list[Note] = []
        self._numbers: dict[int, str] = {}  # public params that stand for numbers in the text
        self._parts = 0  # registers made for x[...] operands
        self._damaged = sources.damaged

    # ---- driving -------------------------------------------------------------------------------------------------

    def program(self, max_steps: int | None = None) -> Program:
        program = self._collected()
        self._raise()
        try:
            return _with_l1(program, {}, max_steps)
        except SyurmyError as e:
            calls = next((ins.calls for ins in self._code if ins.span is e.span), ())
            self._add(e, calls)
        self._raise()
        return program

    def _collected(self) -> Program:
        """Everything but types. Statements with faults are missing, and their faults collected."""
        for item in self._sources.items:
            self._item(item)
        self._resolve_labels()
        program = Program(
            self._name,
            tuple(self._inputs),
            tuple(self._params),
            tuple(self._luts),
            tuple(self._outputs),
            tuple(self._code),
            self._data,
            tuple(self._rams),
            tuple(self._notes),
            {name: index for name, (index, _) in self._labels.items()},
        )
        if len(self._code) > MAX_INSTRUCTIONS or self._sources.expansions > MAX_EXPANSIONS:
            self._add(_error(f"more than {MAX_INSTRUCTIONS} instructions or {MAX_EXPANSIONS} macro calls", "A117",
                             self._code[-1].span if self._code else None), ())  # fmt: skip
        else:
            for problem in problems(program):
                self._report(problem)
        return program

    def _item(self, item: Item) -> None:
        st = item.statement
        if self._sources.expansions > MAX_EXPANSIONS or len(self._code) > MAX_INSTRUCTIONS:
            return
        try:
            if isinstance(st, s.Statement) and st.mnemonic.value not in REGISTRY:
                if st.mnemonic.value not in self._sources.macros:
                    word = st.mnemonic.value
                    known = [*REGISTRY, *self._sources.macros]
                    help = suggestion(word, known) or suggestion(word.lower(), known)
                    help = help or "docs/isa.md lists all instructions"
                    if word.lower() in known:
                        help = f"instructions are written in small letters: {word.lower()}"
                    raise _error(f"unknown instruction '{word}'", "A110", st.mnemonic.span, help)
                for inner in self._sources.expand(st, item.calls):
                    self._item(inner)
            elif isinstance(st, s.Label):
                try:
                    self._label(st)
                except SyurmyError as e:  # what follows on the line stands for itself
                    self._add(e, item.calls)
                if st.statement is not None:
                    self._item(replace(item, statement=st.statement))
            else:
                self._statement(st, item)
        except SyurmyError as e:
            self._add(e, item.calls)
            if isinstance(st, s.Statement):
                self._damaged.add(st.mnemonic.value)
                if (op := REGISTRY.get(st.mnemonic.value)) is not None and op.flow is Flow.OPEN:
                    names = [o.value for o in st.operands if isinstance(o, s.Name)]
                    self._counters.append(names[-1] if names else None)
                self._damaged.update(o.value for o in st.operands if isinstance(o, s.Name))
            elif isinstance(st, s.For):
                self._damaged.update(("repeat", st.name.value))
                self._counters.append(None)
            elif hasattr(st, "name"):
                self._damaged.add(getattr(st.name, "value", ""))

    def _statement(self, st: s.Node, item: Item) -> None:
        match st:
            case s.ProgramName():
                if self._named:
                    raise _error(".program is given twice", "A104", st.span)
                self._name, self._named = self._new_name(st.name, declare=False), True
            case s.Const():
                value = self._integer(st.value)
                self._consts[self._new_name(st.name)] = value
            case s.InputDecl():
                t = self._tensor(st.tensor)
                if st.within is not None:
                    t = replace(t, lo=self._integer(st.within.lo), hi=self._integer(st.within.hi))
                public = self._public(st.visibility, "private", st)
                self._inputs.append(Input(self._new_name(st.name), t, public))
            case s.ParamDecl():
                self._param(st, item.base)
            case s.LutDecl():
                self._lut(st, item.base)
            case s.RamDecl():
                self._ram(st)
            case s.OutputDecl():
                public = self._public(st.visibility, "private", st)
                self._outputs.append(Output(_word(st.name, "a register"), public))
                self._output_places.setdefault(st.name.value, st.name.span)
            case s.For():
                self._for(st, item.calls)
            case s.Print():
                self._notes.append(Note(len(self._code), _word(st.name, "a register"), None, st.span))
            case s.Expect():
                self._notes.append(Note(len(self._code), _word(st.name, "a register"), self._expected(st), st.span))
            case s.Statement():
                self._instruction(st, item.calls)

    def _add(self, e: SyurmyError, calls: Iterable[Call]) -> None:
        if any(o.span == e.span and o.message == e.message for o in self._errors if e.span):
            return
        for macro, place in reversed(tuple(calls)):
            e.add_note(f"in expansion of macro {macro} at {place}")
        self._errors.append(e)

    def _raise(self) -> None:
        if self._errors:
            self._sort()
            raise AssemblyErrors(self._errors, self._sources.texts)

    def _sort(self) -> None:
        order = {file: k for k, file in enumerate(self._sources.texts)}
        self._errors.sort(key=lambda e: (order.get(e.span.file, 0), e.span.line, e.span.column) if e.span
                          else (len(order), 0, 0))  # fmt: skip

    def _report(self, p: Problem) -> None:
        """A violated rule, unless it may only follow from a statement already reported."""
        if p.name is not None and p.name in self._damaged:
            return
        if p.code in ("A130", "A131", "A134") and self._damaged & FRAME:
            return
        calls: tuple[Call, ...] = ()
        if p.index is not None:
            calls = self._code[p.index].calls
            if any(macro in self._sources.broken for macro, _ in calls):
                return
            span = self._operand_places[p.index].get(p.name or "", self._code[p.index].span)
        elif p.code == "A232" or (p.name in self._output_places and p.name not in self._places):
            span = self._output_places.get(p.name or "")
        else:
            span = self._places.get(p.name or "") or self._init_places.get(p.name or "")
        if span is None and self._code and p.code == "A134":
            span = self._code[-1].span
        help = p.help or (suggestion(p.name, p.known) if p.name is not None else "")
        self._add(AssemblyError(p.message, code=p.code, span=span, help=help), calls)

    # ---- declarations --------------------------------------------------------------------------------------------

    def _new_name(self, name: Any, declare: bool = True) -> str:
        word = _word(name, "a name")
        if word in RESERVED:
            raise _error(f"'{word}' is reserved and cannot be a name", "A103", name.span)
        if declare:
            if word in self._places:
                first = self._places[word]
                raise _error(f"'{word}' is declared twice", "A104", name.span, f"the first time at {first}")
            self._places[word] = name.span
        return word

    def _dtype(self, name: Any) -> DType:
        word = _word(name, "a dtype")
        try:
            return DType(word)
        except ValueError:
            known = [d.value for d in DType]
            raise _error(f"unknown dtype '{word}'", "A116", name.span, f"dtypes are {', '.join(known)}") from None

    def _tensor(self, t: s.Tensor) -> TensorType:
        dtype = self._dtype(t.dtype)
        shape = tuple(self._integer(d) for d in t.shape)
        for d, node in zip(shape, t.shape, strict=True):
            if d < 1:
                raise _error(f"a length of {d} is not possible", "A105", node.span, "lengths are at least 1")
        return TensorType.full(dtype, shape)

    def _public(self, visibility: s.Name | None, other: str, st: s.InputDecl | s.ParamDecl | s.OutputDecl) -> bool:
        if visibility is None or visibility.value not in ("public", other):
            span = st.name.span if visibility is None else visibility.span
            help = ""
            if visibility is not None and isinstance(st, s.ParamDecl):
                help = "write committed: a param is hidden by a commitment in the key, an input is private"
            elif visibility is not None:
                help = "write private: only params are committed, as they are fixed with the key"
            raise _error(f"say whether '{st.name.value}' is public or {other}", "A111", span, help)
        return visibility.value == "public"

    def _param(self, st: s.ParamDecl, base: Path) -> None:
        t = self._tensor(st.tensor)
        committed = not self._public(st.visibility, "committed", st)
        name = self._new_name(st.name)
        values: Array | None = None
        if isinstance(st.data, s.File):
            values = checked(f"'{name}'", read_file(st.data.path, st.data.key, base, st.data.span), t.dtype, t.shape,
                             st.data.span)  # fmt: skip
        elif st.data is not None:
            entries = parse_braces(st.data.text, st.data.span, self._entry)
            values = from_entries(f"'{name}'", entries, t.dtype, t.shape, st.data.span)
        elif st.bounds is None:
            raise _error(f"param '{name}' has neither data nor bounds", "A108", st.name.span,
                         'add = "file.npy", = {...} or, if committed, bounds lo..hi')  # fmt: skip
        if st.bounds is not None:
            t = replace(t, lo=self._integer(st.bounds.lo), hi=self._integer(st.bounds.hi))
        elif values is not None:
            t = _bounded(t, values)
        l1 = sorted((tuple(self._integer(a) for a in axes.items), self._integer(v)) for axes, v in st.l1)
        self._params.append(Param(name, t, committed, tuple(l1)))
        if values is not None:
            self._data[name] = values

    def _lut(self, st: s.LutDecl, base: Path) -> None:
        source, target = self._dtype(st.source), self._dtype(st.target)
        lo, hi = source.lo, source.hi
        if st.within is not None:
            lo, hi = self._integer(st.within.lo), self._integer(st.within.hi)
        name = self._new_name(st.name)
        if not 1 <= hi - lo + 1 <= MAX_TABLE:
            raise _error(f"table '{name}' has {hi - lo + 1} rows, 1 to 65536 are possible", "A109", st.span,
                         "give a domain: in lo..hi")  # fmt: skip
        shape = (hi - lo + 1,)
        if isinstance(st.data, s.File):
            array = read_file(st.data.path, st.data.key, base, st.data.span)
            values = checked(f"table '{name}'", array, target, shape, st.data.span)
        else:
            entries = parse_braces(st.data.text, st.data.span, self._entry)
            values = from_entries(f"table '{name}'", entries, target, shape, st.data.span)
        self._luts.append(Lut(name, source, target, lo, tuple(values.tolist())))

    def _ram(self, st: s.RamDecl) -> None:
        t = self._tensor(st.tensor)
        if not t.shape:
            raise _error("a buffer has at least one axis, its rows", "A105", st.tensor.span)
        init = None if st.init is None else _word(st.init, "an input or a param")
        if st.init is not None:
            self._init_places.setdefault(st.init.value, st.init.span)
        self._rams.append(Ram(self._new_name(st.name), t.dtype, t.shape, init))

    def _entry(self, text: str, span: Span) -> int:
        return self._integer(s.parse_expression(text, span))

    # ---- labels --------------------------------------------------------------------------------------------------

    def _label(self, st: s.Label) -> None:
        word = _word(st.name, "a label")
        if word in self._labels:
            help = f"the first time at {self._labels[word][1]}; labels of a macro start with %"
            raise _error(f"label '{word}' is defined twice", "A104", st.name.span, help)
        self._labels[word] = len(self._code), st.name.span

    def _resolve_labels(self) -> None:
        """Names of labels become instruction indices; a jump whose label is missing leads to itself."""
        for index, ins in enumerate(self._code):
            if not any(a.kind == "label" for a in REGISTRY[ins.op].attributes):
                continue
            name = str(ins.get("target"))
            target = index
            span = self._operand_places[index]["target"]
            if name in self._labels:
                following, place = self._labels[name]
                if following == len(self._code):
                    self._add(_error(f"no instruction follows label '{name}'", "A136", place), ())
                else:
                    target = following
            elif name not in self._damaged:
                error = _error(f"unknown label '{name}'", "A136", span, suggestion(name, self._labels))
                self._add(error, ins.calls)
            self._code[index] = replace(ins, attrs=(("target", target),))

    # ---- instructions --------------------------------------------------------------------------------------------

    def _instruction(self, st: s.Statement, calls: tuple[Call, ...]) -> None:
        op = REGISTRY[st.mnemonic.value]
        places: dict[str, Span] = {}
        positional = [o for o in st.operands if not isinstance(o, s.Named)]
        named = [o for o in st.operands if isinstance(o, s.Named)]
        for a, b in zip(st.operands, st.operands[1:], strict=False):
            if isinstance(a, s.Named) and not isinstance(b, s.Named):
                raise _error("a plain operand follows a named one", "A112", b.span, f"usage: {usage(op)}")
        if op.flow is Flow.CLOSE and self._counters:
            self._counters.pop()
        if op.indexed:
            positional, named = self._indexed(op, st, positional, named)
        registers = self._registers(op, st, positional, places, calls)
        dst = registers.pop(0) if op.has_dst else None
        rest = positional[len(registers) + op.has_dst :]
        src = ([dst] if op.reads_dst and dst is not None else []) + registers
        attrs = self._attributes(op, st, rest, named, places)
        if op.flow is Flow.OPEN:
            counter = attrs.get("counter")
            self._counters.append(None if counter is None else str(counter))
        defaults = {a.name: a.default for a in op.attributes}
        kept = tuple(sorted((k, v) for k, v in attrs.items() if v != defaults[k] or defaults[k] is None))
        self._code.append(Instruction(op.name, dst, tuple(src), kept, st.span, calls))
        self._operand_places.append(places)

    def _indexed(
        self, op: Op, st: s.Statement, positional: list[Any], named: list[s.Named]
    ) -> tuple[list[Any], list[s.Named]]:
        """The operands with ``name[idx]`` taken apart into sources in the registry's order, and a buffer's name."""
        place = int(op.has_dst)
        if len(positional) <= place or not isinstance(positional[place], s.Indexed):
            span = positional[place].span if len(positional) > place else st.span
            raise _error(f"{op.name} needs rows as name[index] here", "A112", span, f"usage: {usage(op)}")
        rows = positional[place]
        index = rows.subscripts[0]
        if len(rows.subscripts) > 1 or isinstance(index, s.Positions):
            raise _error(
                f"{op.name} takes one row number, or a vector of them", "A112", rows.span, f"usage: {usage(op)}"
            )
        parts = {"idx": index, op.indexed: rows.name}
        others = iter(positional[place + 1 :])
        sources = [parts[name] if name in parts else next(others, None) for name in op.sources]
        if op.indexed not in op.sources:
            named = [*named, s.Named(s.Name(op.indexed, rows.name.span), rows.name, rows.name.span)]
        return [*positional[:place], *(x for x in sources if x is not None), *others], named

    def _registers(
        self, op: Op, st: s.Statement, positional: list[Any], places: dict[str, Span], calls: tuple[Call, ...]
    ) -> list[str]:
        """Destination and sources, the leading operands. Numbers and parts of tensors become registers here."""
        count = op.has_dst + len(op.sources)
        if len(positional) < count:
            raise _error(f"{op.name} needs {count} operands, here are {len(positional)}", "A112", st.span,
                         f"usage: {usage(op)}")  # fmt: skip
        if op.variadic:
            while count < len(positional) and self._is_register(positional[count]):
                count += 1
        names = []
        for k, operand in enumerate(positional[:count]):
            is_source = k >= op.has_dst
            if is_source and isinstance(operand, s.Indexed):
                word = self._part(operand, calls)
            elif is_source and self._is_number(operand):
                word = self._number(self._integer(operand), operand.span)
            else:
                word = _destination(operand) if not is_source else _word(operand, "a register")
                if word in self._consts:
                    raise _error(f"'{word}' is a constant and cannot be written", "A121", operand.span)
            places.setdefault(word, operand.span)
            names.append(word)
        return names

    def _is_number(self, operand: Any) -> bool:
        """Whether an operand is a number as it stands: a loop counter alone is a register."""
        return isinstance(operand, s.Number | s.Operation) or (
            isinstance(operand, s.Name) and operand.value in self._consts
        )

    def _number(self, value: int, span: Span) -> str:
        """The public param that stands for a number in the text, one for all uses."""
        if value not in self._numbers:
            dtype = smallest_dtype(value, value)
            if dtype is None:
                raise _error(f"{value} does not fit into i64", "A118", span)
            name = f"number.{'minus' if value < 0 else ''}{abs(value)}"
            while name in self._places:
                name += "_"
            self._places[name] = span
            self._numbers[value] = name
            self._params.append(Param(name, TensorType(dtype, (), value, value), False))
            self._data[name] = np.array(value, f"i{dtype.bits // 8}")
        return self._numbers[value]

    # ---- parts of tensors ----------------------------------------------------------------------------------------

    def _part(self, x: s.Indexed, calls: tuple[Call, ...]) -> str:
        """The register of ``x[t, 0:8]``: a slice per subscript, and last, for row numbers that are data, a gather."""
        source, axis = _word(x.name, "a register"), 0
        rows: str | None = None
        for k, sub in enumerate(x.subscripts):
            if isinstance(sub, s.Positions):
                if sub.first is None and sub.end is None:
                    axis += 1
                    continue
                source = self._sliced(source, axis, sub, x, calls)
                axis += 1
            elif isinstance(sub, s.Name) and sub.value not in self._consts and sub.value not in self._counters:
                if k:
                    raise _error("only the first subscript can be data", "A112", sub.span, "transpose first")
                rows = _word(sub, "a register")
                axis += 1
            else:
                at = self._affine(sub)
                start = at if at.terms else at.constant
                source = self._emit("slice", (source,), {"axis": axis, "start": start}, x, calls)
        if rows is not None:
            return self._emit("gather", (source, rows), {}, x, calls)
        if source == x.name.value:
            source = self._emit("mov", (source,), {}, x, calls)
        return source

    def _sliced(self, source: str, axis: int, sub: s.Positions, x: s.Indexed, calls: tuple[Call, ...]) -> str:
        first = Affine(0) if sub.first is None else self._affine(sub.first)
        if sub.end is None:
            raise _error("say where the positions end", "A112", sub.span, "as in x[0:8]")
        count = _computed("-", [self._affine(sub.end), first])
        if count.terms or count.constant < 1:
            raise _error("the number of positions must be a constant, at least 1", "A118", sub.span)
        start = first if first.terms else first.constant
        return self._emit("slice", (source,), {"axis": axis, "start": start, "len": count.constant}, x, calls)

    def _emit(
        self, op: str, src: tuple[str, ...], attrs: Mapping[str, Attr], at: s.Indexed, calls: tuple[Call, ...]
    ) -> str:
        """An instruction that the text only implies; its result is a register of its own."""
        self._parts += 1
        dst = f"part.{self._parts}"
        while dst in self._places:
            dst += "_"
        self._places[dst] = at.span
        defaults = {a.name: a.default for a in REGISTRY[op].attributes}
        kept = tuple(sorted((k, v) for k, v in attrs.items() if v != defaults[k] or defaults[k] is None))
        self._code.append(Instruction(op, dst, src, kept, at.span, calls))
        self._operand_places.append({src[0]: at.name.span})
        return dst

    # ---- rows, and notes for people --------------------------------------------------------------------------------

    def _for(self, st: s.For, calls: tuple[Call, ...]) -> None:
        name, source = _word(st.name, "a name"), _word(st.source, "an input or a param")
        shapes = {i.name: i.type.shape for i in self._inputs} | {p.name: p.type.shape for p in self._params}
        if source not in shapes:
            help = suggestion(source, shapes) or "for a register write repeat with its number of rows, and x[t]"
            raise _error(f"'{source}' is no input or param", "A119", st.source.span, help)
        if not shapes[source]:
            raise _error(f"'{source}' is a scalar and has no rows", "A119", st.source.span)
        counter = f"{name}.number"
        attrs = (("count", shapes[source][0]), ("counter", counter))
        self._code.append(Instruction("repeat", None, (), attrs, st.span, calls))
        self._operand_places.append({})
        self._counters.append(counter)
        start = Affine(0, ((counter, 1),))
        attributes: tuple[tuple[str, Attr], ...] = (("axis", 0), ("start", start))
        self._code.append(Instruction("slice", name, (source,), attributes, st.span, calls))
        self._operand_places.append({name: st.name.span, source: st.source.span})

    def _expected(self, st: s.Expect) -> I64:
        if not isinstance(st.value, s.Braces):
            return np.array(self._integer(st.value), np.int64)
        entries = parse_braces(st.value.text, st.value.span, self._entry)
        return np.array(entries, np.int64)

    def _is_register(self, operand: Any) -> bool:
        return isinstance(operand, s.Indexed) or (
            isinstance(operand, s.Name)
            and not (
                operand.value in self._consts
                or operand.value in RESERVED
                or operand.value in {t.name for t in self._luts} | {r.name for r in self._rams}
            )
        )

    def _attributes(
        self, op: Op, st: s.Statement, rest: list[Any], named: list[s.Named], places: dict[str, Span]
    ) -> dict[str, Attr]:
        specs = {a.name: a for a in op.attributes}
        order = [a for a in op.attributes if a.positional]
        attrs: dict[str, Attr] = {}
        if len(rest) > len(order):
            extra = rest[len(order)]
            raise _error(f"{op.name} takes no operand here", "A112", extra.span, f"usage: {usage(op)}")
        pairs = [(spec, value, value.span) for spec, value in zip(order, rest, strict=False)]
        for n in named:
            if n.name.value not in specs:
                message = f"{op.name} has no attribute '{n.name.value}'"
                raise _error(message, "A113", n.name.span, suggestion(n.name.value, specs) or f"usage: {usage(op)}")
            pairs.append((specs[n.name.value], n.value, n.name.span))
        for spec, value, span in pairs:
            if spec.name in attrs:
                raise _error(f"attribute {spec.name} is given twice", "A113", span)
            attrs[spec.name] = self._attribute(op, spec, value)
            places.setdefault(spec.name, value.span)
            if isinstance(value, s.Name):
                places.setdefault(value.value, value.span)
        for a in op.attributes:
            if a.name not in attrs and a.default is None and not a.optional:
                raise _error(f"{op.name} needs attribute {a.name} ({a.doc})", "A115", st.span, f"usage: {usage(op)}")
        return attrs

    def _attribute(self, op: Op, spec: AttrSpec, node: s.Value) -> Attr:
        value: Attr
        match spec.kind:
            case "dtype":
                return self._dtype(node)
            case "name" | "lut" | "ram" if isinstance(node, s.Name):
                value = node.value
            case "label":
                return _word(node, "a label")  # an index once all labels are known
            case "str" if isinstance(node, s.Text):
                value = node.value
            case "bool" if isinstance(node, s.Name) and node.value in ("true", "false"):
                value = node.value == "true"
            case "int":
                value = self._integer(node)
            case "ints":
                items = node.items if isinstance(node, s.Sequence) else (node,)
                value = tuple(self._integer(v) for v in items)
            case "affine":
                a = self._affine(node)
                value = a if a.terms else a.constant
            case _:
                raise _error(f"attribute {spec.name} of {op.name} must be {KINDS[spec.kind]}", "A114", node.span)
        if not of_kind(spec, value):
            raise _error(f"attribute {spec.name} of {op.name} must be {KINDS[spec.kind]}", "A114", node.span)
        return value

    # ---- integers ------------------------------------------------------------------------------------------------

    def _integer(self, node: s.Value) -> int:
        a = self._affine(node)
        if a.terms:
            raise _error(f"'{a.terms[0][0]}' is a loop counter, a constant is needed here", "A118", node.span)
        return a.constant

    def _affine(self, node: s.Value) -> Affine:
        match node:
            case s.Number():
                return Affine(node.value)
            case s.Name():
                if node.value in self._consts:
                    return Affine(self._consts[node.value])
                if node.value in self._counters:
                    return Affine(0, ((node.value, 1),))
                known = [*self._consts, *(c for c in self._counters if c is not None)]
                raise _error(f"unknown constant '{node.value}'", "A120", node.span, suggestion(node.value, known))
            case s.Operation():
                try:
                    return _computed(node.op, [self._affine(o) for o in node.operands])
                except ArithmeticError as e:
                    raise _error(str(e), "A118", node.span) from None
            case _:
                raise _error("an integer is needed here", "A118", node.span)


def _computed(op: str, xs: list[Affine]) -> Affine:
    """One operation on affine expressions; ``ArithmeticError`` where the result is none."""
    if op == "neg":
        return _scaled(xs[0], -1)
    a, b = xs
    if op in "+-":
        b = b if op == "+" else _scaled(b, -1)
        terms = dict(a.terms)
        for name, c in b.terms:
            terms[name] = terms.get(name, 0) + c
        return _checked(a.constant + b.constant, terms)
    if op == "*" and not (a.terms and b.terms):
        return _scaled(a, b.constant) if not b.terms else _scaled(b, a.constant)
    if a.terms or b.terms:
        raise ArithmeticError(f"'{op}' of loop counters is not affine")
    x, y = a.constant, b.constant
    if op in ("//", "%"):
        if y == 0:
            raise ArithmeticError("division by zero")
        return Affine(x // y if op == "//" else x % y)
    if y < 0 or y * max(1, x.bit_length()) > MAX_BITS:
        raise ArithmeticError(f"power {x}**{y} is not a usable integer")
    return Affine(x**y)


def _scaled(a: Affine, k: int) -> Affine:
    return _checked(a.constant * k, {name: c * k for name, c in a.terms})


def _checked(constant: int, terms: dict[str, int]) -> Affine:
    if constant.bit_length() > MAX_BITS:
        raise ArithmeticError("the number is too large")
    return Affine(constant, tuple(sorted((n, c) for n, c in terms.items() if c)))


def _destination(node: Any) -> str:
    """The name of the register that is written, always the first operand."""
    if isinstance(node, s.Number | s.Operation | s.Indexed):
        what = "a part of a tensor" if isinstance(node, s.Indexed) else "a number"
        help = "write it with put" if isinstance(node, s.Indexed) else "numbers may stand where an operand is read"
        raise _error(f"{what} cannot be written, the first operand is the result", "A112", node.span, help)
    return _word(node, "a register")


def _word(node: Any, what: str) -> str:
    if not isinstance(node, s.Name):
        help = ".const NAME = VALUE names a number" if isinstance(node, s.Number) and what == "a name" else ""
        raise _error(f"{what} is needed here", "A112", node.span, help)
    if node.value.startswith("%"):
        raise _error(f"'{node.value}' is a local name outside a macro", "A145", node.span)
    return node.value


def _error(message: str, code: str, span: Span | None, help: str = "") -> AssemblyError:
    return AssemblyError(message, code=code, span=span, help=help)
