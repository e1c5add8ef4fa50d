"""Values of params and tables: inline braces, .npy, .npz and .safetensors; their bounds.

Everything is integer: an array of another dtype, shape or range than declared is refused with the reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from syurmy.assembler.source import LIBRARY
from syurmy.files import check_archive
from syurmy.isa.arrays import Array, Integers
from syurmy.isa.errors import AssemblyError, Span
from syurmy.isa.instruction import L1Bounds
from syurmy.isa.types import DType
from syurmy.isa.wellformed import l1_bound

_SUFFIXES = (".npy", ".npz", ".safetensors")
_PLAIN = re.compile(r"[-0-9,\s{}]*\Z")


def _refuse(message: str, span: Span, help: str = "", code: str = "A300") -> AssemblyError:
    return AssemblyError(message, code=code, span=span, help=help)


# ---- inline ----------------------------------------------------------------------------------------------------------


def parse_braces(text: str, span: Span, evaluate: Callable[[str, Span], int]) -> Any:
    """Nested lists of integers. ``evaluate`` computes an entry that is not a plain number (text, place)."""
    if _PLAIN.match(text):
        try:
            return json.loads(text.replace("{", "[").replace("}", "]"))
        except (ValueError, RecursionError):
            pass  # the slow reader finds the place
    return _Braces(text, span, evaluate).read()


class _Braces:
    def __init__(self, text: str, span: Span, evaluate: Callable[[str, Span], int]) -> None:
        self._text, self._span, self._evaluate = text, span, evaluate

    def _at(self, i: int, length: int = 1) -> Span:
        before = self._text[:i]
        row = before.count("\n")
        column = i - before.rfind("\n") if row else self._span.column + i
        return Span(self._span.file, self._span.line + row, column, length)

    def read(self) -> Any:
        stack: list[list[Any]] = []
        i, text = 0, self._text
        after_value = False
        while True:
            while i < len(text) and text[i].isspace():
                i += 1
            if i == len(text):
                raise _refuse("a brace is not closed", self._span, code="A100")
            c = text[i]
            if c == "{" and not after_value:
                stack.append([])
                i += 1
            elif c == "}":
                done = stack.pop()
                i += 1
                if not stack:
                    if text[i:].strip():
                        raise _refuse("unexpected text after the closing brace", self._at(i), code="A100")
                    return done
                stack[-1].append(done)
                after_value = True
            elif c == "," and after_value:
                after_value = False
                i += 1
            elif c in "{,":
                raise _refuse(f"unexpected '{c}' in data", self._at(i), "entries are separated by one comma", "A100")
            elif after_value:
                raise _refuse("expected ',' or '}' in data", self._at(i), code="A100")
            else:
                end = next((j for j in range(i, len(text)) if text[j] in ",{}\n"), len(text))
                entry = text[i:end].rstrip()
                stack[-1].append(self._evaluate(entry, self._at(i, len(entry))))
                after_value = True
                i = end


def nested_shape(value: Any) -> tuple[int, ...] | None:
    """Shape of nested lists; None if they are ragged."""
    if not isinstance(value, list):
        return ()
    inner = {nested_shape(v) for v in value}
    if len(inner) > 1 or None in inner:
        return None
    return (len(value), *(inner.pop() or ())) if inner else (0,)


def flat(value: Any) -> list[int]:
    """Entries of nested lists in row-major order."""
    out: list[int] = []
    stack = [value]
    while stack:
        v = stack.pop()
        if isinstance(v, list):
            stack.extend(reversed(v))
        else:
            out.append(v)
    return out


# ---- files -----------------------------------------------------------------------------------------------------------


def read_file(path: str, key: str | None, base: Path, span: Span) -> Array:
    """The array ``key`` of a file in ``base`` or else in the library, whatever its dtype. ``path`` may carry the key:
    ``weights.npz:w1``."""
    if key is None and ":" in path:
        stem, _, tail = path.rpartition(":")
        if Path(stem).suffix in _SUFFIXES:
            path, key = stem, tail
    full = base / path
    suffix = full.suffix
    if not full.is_file() and (LIBRARY / path).is_file():
        full = LIBRARY / path
    if suffix not in _SUFFIXES:
        raise _refuse(f"'{path}' is not a data file", span, "use .npy, .npz or .safetensors", "A301")
    if suffix == ".npy" and key is not None:
        raise _refuse("a .npy file holds one array and takes no key", span, code="A301")
    if suffix != ".npy" and key is None:
        raise _refuse(f"'{path}' holds named arrays", span, f'say which: "{path}:name"', "A301")
    if not full.is_file():
        raise _refuse(f"data file not found: {full}", span, "paths are relative to the file that names them", "A302")
    try:
        if suffix == ".npy":
            return np.asarray(np.load(full, allow_pickle=False))
        if suffix == ".npz":
            with np.load(full, allow_pickle=False) as archive:
                check_archive(full, archive)
                return _entry(archive, list(archive.files), key or "", path, span)
        from safetensors import safe_open

        with safe_open(str(full), framework="numpy") as tensors:
            names = list(tensors.keys())
            return _entry({key: tensors.get_tensor(key)} if key in names else {}, names, key or "", path, span)
    except AssemblyError:
        raise
    except Exception as e:  # three file formats, each with errors of its own
        reason = (str(e) or type(e).__name__).splitlines()[0]
        if "pickle" in reason:  # NumPy's advice for anything that is not an array
            reason = "it is not an array file"
        raise _refuse(f"'{path}' cannot be read: {reason}", span,
                      "the file is damaged or not of the type its name says", "A303") from None  # fmt: skip


def _entry(archive: Mapping[Any, Any], names: list[str], key: str, path: str, span: Span) -> Array:
    if key not in names:
        raise _refuse(f"'{path}' has no array '{key}'", span, f"it has {', '.join(sorted(names)[:20])}", "A304")
    return np.asarray(archive[key])


# ---- checks ----------------------------------------------------------------------------------------------------------


def checked(what: str, array: Array, dtype: DType, shape: tuple[int, ...], span: Span) -> Integers:
    """``array`` in the declared dtype; refuses reals, another shape and entries out of range."""
    if not np.issubdtype(array.dtype, np.integer):
        help = f"quantise it: scale, round and store it as {dtype}"
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            element = np.argwhere(~np.isfinite(array))[0].tolist()
            raise _refuse(f"{what} holds {array[tuple(element)]} at {element}", span,
                          f"remove NaN and infinity, then {help}", "A310")  # fmt: skip
        raise _refuse(f"{what} is declared {dtype}, the data is {array.dtype}", span, help, "A310")
    if array.shape != shape:
        raise _refuse(f"{what} is declared {list(shape)}, the data is {list(array.shape)}", span, code="A311")
    declared = np.dtype(f"<{numpy_name(dtype)}")
    if not np.can_cast(array.dtype, declared):
        wide = (array < dtype.lo) | (array > dtype.hi)
        if wide.any():
            element = np.argwhere(wide)[0].tolist()
            raise _refuse(f"{what}{element} is {array[tuple(element)]}, outside {dtype}", span,
                          f"{dtype} holds {dtype.lo} to {dtype.hi}", "A312")  # fmt: skip
    return array.astype(declared, order="C", copy=False)  # read for this program alone


def from_entries(what: str, value: Any, dtype: DType, shape: tuple[int, ...], span: Span) -> Integers:
    """Inline data in the declared dtype. A scalar is written ``{3}``."""
    found = nested_shape(value)
    if found is None:
        raise _refuse(f"{what}: rows of the data differ in length", span, code="A311")
    if found != shape and not (shape == () and found == (1,)):
        raise _refuse(f"{what} is declared {list(shape)}, the data is {list(found)}", span, code="A311")
    entries = flat(value)
    lo, hi = dtype.lo, dtype.hi
    bad = next((i for i, v in enumerate(entries) if not lo <= v <= hi), None)
    if bad is not None:
        element = [int(k) for k in np.unravel_index(bad, shape)] if shape else []
        raise _refuse(f"{what}{element} is {entries[bad]}, outside {dtype}", span,
                      f"{dtype} holds {dtype.lo} to {dtype.hi}", "A312")  # fmt: skip
    return np.array(entries, dtype=f"<{numpy_name(dtype)}").reshape(shape)


def numpy_name(dtype: DType) -> str:
    """The name that NumPy has for a dtype, such as ``i2`` for ``i16``."""
    return f"i{dtype.bits // 8}"


# ---- bounds ----------------------------------------------------------------------------------------------------------


class L1FromData(L1Bounds):
    """L1 bounds: declared ones, else computed from the data. ``asked`` records those that were given out."""

    def __init__(self, declared: Mapping[str, Mapping[tuple[int, ...], int]], data: Mapping[str, Integers]) -> None:
        self._declared, self._data = declared, data
        self.asked: dict[str, dict[tuple[int, ...], int]] = {}

    def __call__(self, name: str, axes: tuple[int, ...]) -> int | None:
        known = self.asked.setdefault(name, {})
        if axes not in known:
            bound = self._declared.get(name, {}).get(axes)
            if bound is None and name in self._data:
                bound = l1_bound(self._data[name], axes)
            if bound is None:
                return None
            known[axes] = bound
        return known[axes]
