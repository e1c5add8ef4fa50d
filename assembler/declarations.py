"""Declarations: inputs, params, tables and buffers, with their data.

Bounds of params. ``type.lo/hi`` are the true minimum and maximum of the data, and ``l1`` the true maxima of sum |w|
over those axes that typing rules ask for. A declaration may state wider ones (``bounds``, ``l1``), and must where it
has no data: then they are promises that set-up checks.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from syurmy.assembler import syntax as s
from syurmy.assembler.data import checked, from_entries, parse_braces, read_file
from syurmy.assembler.expressions import Scope, fault, word_of
from syurmy.isa.arrays import Integers
from syurmy.isa.errors import Span
from syurmy.isa.program import Input, Lut, Param, Ram
from syurmy.isa.types import DType, TensorType, smallest_dtype
from syurmy.isa.wellformed import MAX_TABLE, RESERVED


def bounded(t: TensorType, values: Integers) -> TensorType:
    """``t`` with the least and the largest of ``values`` as its interval."""
    return replace(t, lo=int(values.min()), hi=int(values.max())) if values.size else t


class Declarations:
    """What a program declares, in the order of its text. Every method raises ``AssemblyError``."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.inputs: list[Input] = []
        self.params: list[Param] = []
        self.luts: list[Lut] = []
        self.rams: list[Ram] = []
        self.data: dict[str, Integers] = {}
        self.places: dict[str, Span] = {}  # where a name was declared
        self.init_places: dict[str, Span] = {}  # names that fill buffers
        self.numbers: dict[int, str] = {}  # public params that stand for numbers in the text

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of inputs and params, by name."""
        return {i.name: i.type.shape for i in self.inputs} | {p.name: p.type.shape for p in self.params}

    def new_name(self, name: Any, declare: bool = True) -> str:
        """A name that is not reserved; with ``declare`` it is taken from here on."""
        word = word_of(name, "a name")
        if word in RESERVED:
            raise fault(f"'{word}' is reserved and cannot be a name", "A103", name.span)
        if declare:
            if word in self.places:
                first = self.places[word]
                raise fault(f"'{word}' is declared twice", "A104", name.span, f"the first time at {first}")
            self.places[word] = name.span
        return word

    def dtype(self, name: Any) -> DType:
        """The dtype that a name stands for."""
        word = word_of(name, "a dtype")
        try:
            return DType(word)
        except ValueError:
            known = [d.value for d in DType]
            raise fault(f"unknown dtype '{word}'", "A116", name.span, f"dtypes are {', '.join(known)}") from None

    def tensor(self, t: s.Tensor) -> TensorType:
        """A dtype and a shape; the interval is the dtype's."""
        dtype = self.dtype(t.dtype)
        shape = tuple(self.scope.integer(d) for d in t.shape)
        for d, node in zip(shape, t.shape, strict=True):
            if d < 1:
                raise fault(f"a length of {d} is not possible", "A105", node.span, "lengths are at least 1")
        return TensorType.full(dtype, shape)

    def visibility(self, st: s.InputDecl | s.ParamDecl | s.OutputDecl) -> str:
        """The word of a declaration, which must have one that fits it."""
        words = ("public", "committed") if isinstance(st, s.ParamDecl) else ("public", "private", "committed")
        if st.visibility is None or st.visibility.value not in words:
            span = st.name.span if st.visibility is None else st.visibility.span
            help = ""
            if st.visibility is not None:  # "private" of a param
                help = "write committed: a param is hidden by a commitment in the key, an input is private"
            said = f"{', '.join(words[:-1])} or {words[-1]}"
            raise fault(f"say whether '{st.name.value}' is {said}", "A111", span, help)
        return st.visibility.value

    def param(self, st: s.ParamDecl, base: Path) -> None:
        """``.param``; data files are looked up from ``base``."""
        t = self.tensor(st.tensor)
        committed = self.visibility(st) == "committed"
        name = self.new_name(st.name)
        values: Integers | None = None
        if isinstance(st.data, s.File):
            values = checked(f"'{name}'", read_file(st.data.path, st.data.key, base, st.data.span), t.dtype, t.shape,
                             st.data.span)  # fmt: skip
        elif st.data is not None:
            entries = parse_braces(st.data.text, st.data.span, self.scope.entry)
            values = from_entries(f"'{name}'", entries, t.dtype, t.shape, st.data.span)
        elif st.bounds is None:
            raise fault(f"param '{name}' has neither data nor bounds", "A108", st.name.span,
                         'add = "file.npy", = {...} or, if committed, bounds lo..hi')  # fmt: skip
        if st.bounds is not None:
            t = replace(t, lo=self.scope.integer(st.bounds.lo), hi=self.scope.integer(st.bounds.hi))
        elif values is not None:
            t = bounded(t, values)
        l1 = sorted((tuple(self.scope.integer(a) for a in axes.items), self.scope.integer(v)) for axes, v in st.l1)
        self.params.append(Param(name, t, committed, tuple(l1)))
        if values is not None:
            self.data[name] = values

    def lut(self, st: s.LutDecl, base: Path) -> None:
        """``.lut``; data files are looked up from ``base``."""
        source, target = self.dtype(st.source), self.dtype(st.target)
        lo, hi = source.lo, source.hi
        if st.within is not None:
            lo, hi = self.scope.integer(st.within.lo), self.scope.integer(st.within.hi)
        name = self.new_name(st.name)
        if not 1 <= hi - lo + 1 <= MAX_TABLE:
            raise fault(f"table '{name}' has {hi - lo + 1} rows, 1 to 65536 are possible", "A109", st.span,
                         "give a domain: in lo..hi")  # fmt: skip
        shape = (hi - lo + 1,)
        if isinstance(st.data, s.File):
            array = read_file(st.data.path, st.data.key, base, st.data.span)
            values = checked(f"table '{name}'", array, target, shape, st.data.span)
        else:
            entries = parse_braces(st.data.text, st.data.span, self.scope.entry)
            values = from_entries(f"table '{name}'", entries, target, shape, st.data.span)
        self.luts.append(Lut(name, source, target, lo, values))

    def ram(self, st: s.RamDecl) -> None:
        """``.ram``."""
        t = self.tensor(st.tensor)
        if not t.shape:
            raise fault("a buffer has at least one axis, its rows", "A105", st.tensor.span)
        init = None if st.init is None else word_of(st.init, "an input or a param")
        if st.init is not None:
            self.init_places.setdefault(st.init.value, st.init.span)
        self.rams.append(Ram(self.new_name(st.name), t.dtype, t.shape, init))

    def number(self, value: int, span: Span) -> str:
        """The public param that stands for a number in the text, one for all uses."""
        if value not in self.numbers:
            dtype = smallest_dtype(value, value)
            if dtype is None:
                raise fault(f"{value} does not fit into i64", "A118", span)
            name = f"number.{'minus' if value < 0 else ''}{abs(value)}"
            while name in self.places:
                name += "_"
            self.places[name] = span
            self.numbers[value] = name
            self.params.append(Param(name, TensorType(dtype, (), value, value), False))
            self.data[name] = np.array(value, f"i{dtype.bits // 8}")
        return self.numbers[value]
