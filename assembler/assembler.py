"""The assembler: from text to a typed ``Program``.

Statements are read in order, so a constant is defined before it is used; macros may be defined anywhere. What an
instruction's operands and attributes are is read from the registry. Faults are collected: syntax, names, attributes
and data of the whole program are reported in one run, types (which need all of that) up to the first fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from syurmy.assembler import syntax as s
from syurmy.assembler.data import L1FromData, parse_braces
from syurmy.assembler.declarations import Declarations, bounded
from syurmy.assembler.diagnostics import AssemblyErrors, suggestion
from syurmy.assembler.expressions import Scope, computed, destination, fault, word_of
from syurmy.assembler.source import FRAME, MAX_EXPANSIONS, Call, Item, Sources, read_text
from syurmy.isa import collector
from syurmy.isa.arrays import I64
from syurmy.isa.errors import AssemblyError, Span, SyurmyError
from syurmy.isa.inference import infer_types
from syurmy.isa.instruction import REGISTRY, AttrSpec, Flow, Op
from syurmy.isa.manual import usage
from syurmy.isa.program import Affine, Attr, Input, Instruction, Note, Output, Program
from syurmy.isa.wellformed import KINDS, RESERVED, Problem, of_kind, problems

MAX_INSTRUCTIONS = 2**18


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
        with collector.held_back():
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
        replace(p, type=bounded(p.type, program.data[p.name]), l1=()) if p.name in program.data else p
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


class Assembler:
    """One run over parsed sources. ``assemble`` is its use; ``drafts`` keeps what a faulty text has of a program."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._scope = Scope()
        self._declared = Declarations(self._scope)
        self._errors: list[SyurmyError] = list(sources.errors)
        self._name = "program"
        self._named = False
        self._outputs: list[Output] = []
        self._code: list[Instruction] = []
        self._output_places: dict[str, Span] = {}
        self._labels: dict[str, tuple[int, Span]] = {}  # the instruction that follows, and the place
        self._operand_places: list[dict[str, Span]] = []
        self._notes: list[Note] = []
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
            tuple(self._declared.inputs),
            tuple(self._declared.params),
            tuple(self._declared.luts),
            tuple(self._outputs),
            tuple(self._code),
            self._declared.data,
            tuple(self._declared.rams),
            tuple(self._notes),
            {name: index for name, (index, _) in self._labels.items()},
        )
        if len(self._code) > MAX_INSTRUCTIONS or self._sources.expansions > MAX_EXPANSIONS:
            self._add(fault(f"more than {MAX_INSTRUCTIONS} instructions or {MAX_EXPANSIONS} macro calls", "A117",
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
                    raise fault(f"unknown instruction '{word}'", "A110", st.mnemonic.span, help)
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
                    self._scope.counters.append(names[-1] if names else None)
                self._damaged.update(o.value for o in st.operands if isinstance(o, s.Name))
            elif isinstance(st, s.For):
                self._damaged.update(("repeat", st.name.value))
                self._scope.counters.append(None)
            elif hasattr(st, "name"):
                self._damaged.add(getattr(st.name, "value", ""))

    def _statement(self, st: s.Node, item: Item) -> None:
        match st:
            case s.ProgramName():
                if self._named:
                    raise fault(".program is given twice", "A104", st.span)
                self._name, self._named = self._declared.new_name(st.name, declare=False), True
            case s.Const():
                value = self._scope.integer(st.value)
                self._scope.consts[self._declared.new_name(st.name)] = value
            case s.InputDecl():
                t = self._declared.tensor(st.tensor)
                if st.within is not None:
                    t = replace(t, lo=self._scope.integer(st.within.lo), hi=self._scope.integer(st.within.hi))
                word = self._declared.visibility(st)
                name = self._declared.new_name(st.name)
                self._declared.inputs.append(Input(name, t, word == "public", word == "committed"))
            case s.ParamDecl():
                self._declared.param(st, item.base)
            case s.LutDecl():
                self._declared.lut(st, item.base)
            case s.RamDecl():
                self._declared.ram(st)
            case s.OutputDecl():
                word = self._declared.visibility(st)
                name = word_of(st.name, "a register")
                self._outputs.append(Output(name, word == "public", word == "committed"))
                self._output_places.setdefault(st.name.value, st.name.span)
            case s.For():
                self._for(st, item.calls)
            case s.Print():
                self._notes.append(Note(len(self._code), word_of(st.name, "a register"), None, st.span))
            case s.Expect():
                self._notes.append(Note(len(self._code), word_of(st.name, "a register"), self._expected(st), st.span))
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
        elif p.code == "A232" or (p.name in self._output_places and p.name not in self._declared.places):
            span = self._output_places.get(p.name or "")
        else:
            span = self._declared.places.get(p.name or "") or self._declared.init_places.get(p.name or "")
        if span is None and self._code and p.code == "A134":
            span = self._code[-1].span
        help = p.help or (suggestion(p.name, p.known) if p.name is not None else "")
        self._add(AssemblyError(p.message, code=p.code, span=span, help=help), calls)

    # ---- labels --------------------------------------------------------------------------------------------------

    def _label(self, st: s.Label) -> None:
        word = word_of(st.name, "a label")
        if word in self._labels:
            help = f"the first time at {self._labels[word][1]}; labels of a macro start with %"
            raise fault(f"label '{word}' is defined twice", "A104", st.name.span, help)
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
                    self._add(fault(f"no instruction follows label '{name}'", "A136", place), ())
                else:
                    target = following
            elif name not in self._damaged:
                error = fault(f"unknown label '{name}'", "A136", span, suggestion(name, self._labels))
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
                raise fault("a plain operand follows a named one", "A112", b.span, f"usage: {usage(op)}")
        if op.flow is Flow.CLOSE and self._scope.counters:
            self._scope.counters.pop()
        if op.indexed:
            positional, named = self._indexed(op, st, positional, named)
        registers = self._registers(op, st, positional, places, calls)
        dst = registers.pop(0) if op.has_dst else None
        rest = positional[len(registers) + op.has_dst :]
        src = ([dst] if op.reads_dst and dst is not None else []) + registers
        attrs = self._attributes(op, st, rest, named, places)
        if op.flow is Flow.OPEN:
            counter = attrs.get("counter")
            self._scope.counters.append(None if counter is None else str(counter))
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
            raise fault(f"{op.name} needs rows as name[index] here", "A112", span, f"usage: {usage(op)}")
        rows = positional[place]
        index = rows.subscripts[0]
        if len(rows.subscripts) > 1 or isinstance(index, s.Positions):
            raise fault(
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
            raise fault(f"{op.name} needs {count} operands, here are {len(positional)}", "A112", st.span,
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
                word = self._declared.number(self._scope.integer(operand), operand.span)
            else:
                word = destination(operand) if not is_source else word_of(operand, "a register")
                if word in self._scope.consts:
                    raise fault(f"'{word}' is a constant and cannot be written", "A121", operand.span)
            places.setdefault(word, operand.span)
            names.append(word)
        return names

    def _is_number(self, operand: Any) -> bool:
        """Whether an operand is a number as it stands: a loop counter alone is a register."""
        return isinstance(operand, s.Number | s.Operation) or (
            isinstance(operand, s.Name) and operand.value in self._scope.consts
        )

    # ---- parts of tensors ----------------------------------------------------------------------------------------

    def _part(self, x: s.Indexed, calls: tuple[Call, ...]) -> str:
        """The register of ``x[t, 0:8]``: a slice per subscript, and last, for row numbers that are data, a gather."""
        source, axis = word_of(x.name, "a register"), 0
        rows: str | None = None
        for k, sub in enumerate(x.subscripts):
            if isinstance(sub, s.Positions):
                if sub.first is None and sub.end is None:
                    axis += 1
                    continue
                source = self._sliced(source, axis, sub, x, calls)
                axis += 1
            elif isinstance(sub, s.Name) and not self._scope.holds(sub.value):
                if k:
                    raise fault("only the first subscript can be data", "A112", sub.span, "transpose first")
                rows = word_of(sub, "a register")
                axis += 1
            else:
                at = self._scope.affine(sub)
                start = at if at.terms else at.constant
                source = self._emit("slice", (source,), {"axis": axis, "start": start}, x, calls)
        if rows is not None:
            return self._emit("gather", (source, rows), {}, x, calls)
        if source == x.name.value:
            source = self._emit("mov", (source,), {}, x, calls)
        return source

    def _sliced(self, source: str, axis: int, sub: s.Positions, x: s.Indexed, calls: tuple[Call, ...]) -> str:
        first = Affine(0) if sub.first is None else self._scope.affine(sub.first)
        if sub.end is None:
            raise fault("say where the positions end", "A112", sub.span, "as in x[0:8]")
        count = computed("-", [self._scope.affine(sub.end), first])
        if count.terms or count.constant < 1:
            raise fault("the number of positions must be a constant, at least 1", "A118", sub.span)
        start = first if first.terms else first.constant
        return self._emit("slice", (source,), {"axis": axis, "start": start, "len": count.constant}, x, calls)

    def _emit(
        self, op: str, src: tuple[str, ...], attrs: Mapping[str, Attr], at: s.Indexed, calls: tuple[Call, ...]
    ) -> str:
        """An instruction that the text only implies; its result is a register of its own."""
        self._parts += 1
        dst = f"part.{self._parts}"
        while dst in self._declared.places:
            dst += "_"
        self._declared.places[dst] = at.span
        defaults = {a.name: a.default for a in REGISTRY[op].attributes}
        kept = tuple(sorted((k, v) for k, v in attrs.items() if v != defaults[k] or defaults[k] is None))
        self._code.append(Instruction(op, dst, src, kept, at.span, calls))
        self._operand_places.append({src[0]: at.name.span})
        return dst

    # ---- rows, and notes for people --------------------------------------------------------------------------------

    def _for(self, st: s.For, calls: tuple[Call, ...]) -> None:
        name, source = word_of(st.name, "a name"), word_of(st.source, "an input or a param")
        shapes = self._declared.shapes()
        if source not in shapes:
            help = suggestion(source, shapes) or "for a register write repeat with its number of rows, and x[t]"
            raise fault(f"'{source}' is no input or param", "A119", st.source.span, help)
        if not shapes[source]:
            raise fault(f"'{source}' is a scalar and has no rows", "A119", st.source.span)
        counter = f"{name}.number"
        attrs = (("count", shapes[source][0]), ("counter", counter))
        self._code.append(Instruction("repeat", None, (), attrs, st.span, calls))
        self._operand_places.append({})
        self._scope.counters.append(counter)
        start = Affine(0, ((counter, 1),))
        attributes: tuple[tuple[str, Attr], ...] = (("axis", 0), ("start", start))
        self._code.append(Instruction("slice", name, (source,), attributes, st.span, calls))
        self._operand_places.append({name: st.name.span, source: st.source.span})

    def _expected(self, st: s.Expect) -> I64:
        if not isinstance(st.value, s.Braces):
            return np.array(self._scope.integer(st.value), np.int64)
        entries = parse_braces(st.value.text, st.value.span, self._scope.entry)
        return np.array(entries, np.int64)

    def _is_register(self, operand: Any) -> bool:
        return isinstance(operand, s.Indexed) or (
            isinstance(operand, s.Name)
            and not (
                operand.value in self._scope.consts
                or operand.value in RESERVED
                or operand.value in {t.name for t in self._declared.luts} | {r.name for r in self._declared.rams}
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
            raise fault(f"{op.name} takes no operand here", "A112", extra.span, f"usage: {usage(op)}")
        pairs = [(spec, value, value.span) for spec, value in zip(order, rest, strict=False)]
        for n in named:
            if n.name.value not in specs:
                message = f"{op.name} has no attribute '{n.name.value}'"
                raise fault(message, "A113", n.name.span, suggestion(n.name.value, specs) or f"usage: {usage(op)}")
            pairs.append((specs[n.name.value], n.value, n.name.span))
        for spec, value, span in pairs:
            if spec.name in attrs:
                raise fault(f"attribute {spec.name} is given twice", "A113", span)
            attrs[spec.name] = self._attribute(op, spec, value)
            places.setdefault(spec.name, value.span)
            if isinstance(value, s.Name):
                places.setdefault(value.value, value.span)
        for a in op.attributes:
            if a.name not in attrs and a.default is None and not a.optional:
                raise fault(f"{op.name} needs attribute {a.name} ({a.doc})", "A115", st.span, f"usage: {usage(op)}")
        return attrs

    def _attribute(self, op: Op, spec: AttrSpec, node: s.Value) -> Attr:
        value: Attr
        match spec.kind:
            case "dtype":
                return self._declared.dtype(node)
            case "name" | "lut" | "ram" if isinstance(node, s.Name):
                value = node.value
            case "label":
                return word_of(node, "a label")  # an index once all labels are known
            case "str" if isinstance(node, s.Text):
                value = node.value
            case "bool" if isinstance(node, s.Name) and node.value in ("true", "false"):
                value = node.value == "true"
            case "int":
                value = self._scope.integer(node)
            case "ints":
                items = node.items if isinstance(node, s.Sequence) else (node,)
                value = tuple(self._scope.integer(v) for v in items)
            case "affine":
                a = self._scope.affine(node)
                value = a if a.terms else a.constant
            case _:
                raise fault(f"attribute {spec.name} of {op.name} must be {KINDS[spec.kind]}", "A114", node.span)
        if not of_kind(spec, value):
            raise fault(f"attribute {spec.name} of {op.name} must be {KINDS[spec.kind]}", "A114", node.span)
        return value
