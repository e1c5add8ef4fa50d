"""What a debugger's client shows as variables: scopes, tensors that open axis by axis and page by page, values.

References count from 1 and hold until the run moves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from syurmy.isa.types import TensorType
from syurmy.vm.debug import Debugger, Frame
from syurmy.vm.debug.summary import summarised

Array = npt.NDArray[Any]
PAGE = 1000  # children that a client gets that asks for all
SHORT = 8  # entries that are shown in one line

Made = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """A tensor, or the part of it at ``at``, under the name ``name``."""

    name: str
    at: tuple[int, ...] = ()

    def __str__(self) -> str:
        return self.name + (f"[{', '.join(map(str, self.at))}]" if self.at else "")


class Variables:
    """Everything that can be opened while a run stands. ``scale``: what one unit of a name stands for, if anything."""

    def __init__(self, d: Debugger, scale: Callable[[str], float | None] = lambda name: None) -> None:
        self._d = d
        self._scale = cache(scale)  # many entries ask for that of one name
        self._opened: list[Callable[[int, int | None, str], list[Made]]] = []
        self.places: dict[int, Place | None] = {}  # tensors by reference; None for scopes

    # ---- scopes --------------------------------------------------------------------------------------------------

    def scopes(self, frame: Frame | None) -> list[Made]:
        """The scopes of a level: a macro's own names first."""
        d, p = self._d, self._d.program
        inputs, params = [i.name for i in p.inputs], [x.name for x in p.params]
        written = [name for name in d.registers if name not in {*inputs, *params}]
        local = self.locals(frame)
        public = [i.name for i in p.inputs if i.public] + [o.name for o in p.outputs if o.public]
        groups = [
            (
                f"Names of {frame.name}" if frame else "",
                list(local.values()),
                "locals",
                {v: k for k, v in local.items()},
            ),
            ("Registers", written, "locals" if not local else "", {}),
            ("Loop counters", list(d.counters), "", {}),
            ("Inputs", inputs, "arguments", {}),
            ("RAM", list(d.memories), "", {}),
            ("Params", params, "", {}),
            ("Public statement", public, "", {}),
        ]
        out = []
        for title, names, hint, shown in groups:
            if names:
                made: Made = {"name": title, "expensive": False, "namedVariables": len(names)}
                made["variablesReference"] = self._open(partial(self._named, names, shown), None)
                out.append(made | ({"presentationHint": hint} if hint else {}))
        return out

    def locals(self, frame: Frame | None) -> dict[str, str]:
        """Names of a macro's expansion: as the macro writes them (``%t``), and as the program does."""
        prefix = self.prefix(frame)
        return {f"%{n[len(prefix) :]}": n for n in self._d.registers if prefix and n.startswith(prefix)}

    def prefix(self, frame: Frame | None) -> str:
        """What local names of a macro's expansion begin with; nothing outside of macros."""
        if frame is None or frame.kind != "macro":
            return ""
        depth = [name for name, _ in self._d.program.code[frame.index].calls].index(frame.name) + 1
        for pc in self._d.listing.expansion(frame.index, depth):
            ins = self._d.program.code[pc]
            for name in filter(None, (ins.dst, *ins.src)):
                if m := re.match(rf"{re.escape(frame.name)}\.\d+\.", name):
                    return m[0]
        return ""

    # ---- opening -------------------------------------------------------------------------------------------------

    def open(self, reference: int, start: int = 0, count: int | None = None, filter: str = "") -> list[Made] | None:
        """The children of a reference; None if it is none. ``filter``: "indexed" or "named" children only."""
        if not 1 <= reference <= len(self._opened):
            return None
        return self._opened[reference - 1](start, count, filter)

    def value(self, name: str, value: Any, place: Place | None = None, kind: TensorType | None = None) -> Made:
        """A value as a variable, or as the body of an answer but for ``name``."""
        if not isinstance(value, np.ndarray) or not value.ndim:
            text = f"{value:.9g}" if isinstance(value, float) else str(value)
            scale = self._scale(place.name) if place else None
            real = f" ({int(value) * scale:.6g})" if scale is not None and not isinstance(value, float) else ""
            made: Made = {"name": name, "value": text + real, "variablesReference": 0}
        else:
            made = {"name": name, "value": _text(value, kind), "indexedVariables": value.shape[0]}
            made["namedVariables"] = 0 if place is None or place.at else 5 - (place.name in self._d.memories)
            made["variablesReference"] = self._open(partial(self._entries, value, place, kind), place)
        if kind is not None:
            made["type"] = str(kind)
        if place is not None:
            made["evaluateName"] = str(place)
            if not place.at and isinstance(value, np.ndarray) and value.size:
                made["memoryReference"] = place.name
        return made

    def _open(self, children: Callable[[int, int | None, str], list[Made]], place: Place | None) -> int:
        self._opened.append(children)
        self.places[len(self._opened)] = place
        return len(self._opened)

    def _named(self, names: list[str], shown: dict[str, str], start: int, count: int | None, filter: str) -> list[Made]:
        chosen = names[start : None if not count else start + count]
        scope = self._d.scope()
        return [self._variable(shown.get(n, n), n, scope) for n in chosen]

    def _variable(self, shown: str, name: str, scope: Any) -> Made:
        if name not in scope:
            return {"name": shown, "value": "(no value yet)", "variablesReference": 0}
        value = scope[name]
        return self.value(shown, value if isinstance(value, int) else np.asarray(value), Place(name), self._type(name))

    def _type(self, name: str) -> TensorType | None:
        return self._d.type_of(name)

    def _entries(
        self, value: Array, place: Place | None, kind: TensorType | None, start: int, count: int | None, filter: str
    ) -> list[Made]:
        out: list[Made] = []
        if filter != "indexed" and place is not None and not place.at:
            out += self._described(value, place, kind)
        if filter != "named":
            end = min(len(value), start + (count or PAGE))
            for k in range(start, end):
                part = None if place is None else Place(place.name, (*place.at, k))
                entry = value[k]
                out.append(self.value(f"[{k}]", entry if entry.ndim else int(entry), part))
            if not count and end < len(value):
                out.append({"name": "...", "value": f"{len(value) - end:,} more", "variablesReference": 0})
        return out

    def _described(self, value: Array, place: Place, kind: TensorType | None) -> Iterator[Made]:
        found = summarised(value, kind)
        written = self._d.written(place.name)
        lines = {
            "interval": "" if kind is None else f"{kind.lo}..{kind.hi}, from its type",
            "range": f"{found.lo}..{found.hi}" + ("" if found.mean is None else f", mean {found.mean:.6g}"),
            "at the ends": f"{found.saturated:.2%} of the entries",
            "histogram": f"|{found.histogram}|",
            "written": "before the run" if written is None else f"at step {written:,}",
        }
        if place.name in self._d.memories:  # rows are written one by one
            del lines["written"]
        hint = {"kind": "virtual", "attributes": ["readOnly"]}
        for name, text in lines.items():
            yield {"name": name, "value": text, "variablesReference": 0, "presentationHint": hint}


def _text(value: Array, kind: TensorType | None) -> str:
    if value.size <= SHORT:
        return str(value.tolist())
    type = str(kind) if kind is not None and kind.shape == value.shape else str(list(value.shape))
    return f"{type} {int(value.min())}..{int(value.max())}" if value.dtype.kind in "iub" else type
