"""Conditions and values in terms of registers: ``h.max() > 1000 and step > 40``, ``h[0, :8]``, ``abs(a - b).sum()``.

A small language of our own: it can read tensors, compute and compare, and nothing else, so an expression may come from
a file or a socket. Values are exact: arithmetic that could leave int64 goes on with Python's integers. ``and``, ``or``
and ``not`` take one truth value, as in Python; ``&``, ``|`` and ``~`` work entry by entry.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from syurmy.isa.arrays import Array
from syurmy.vm.debug.errors import DebugError

Value = Any  # int, float, bool, tuple of ints (a shape), or an array
NOWHERE = "it is written later, in another routine, or counts a loop that is not running"
MAX_LENGTH = 1000  # characters of an expression
MAX_ENTRIES = 2**26  # of a result
MAX_BITS = 4096  # of a number
INT64 = 2**63

COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
ARITHMETIC: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
}
REDUCTIONS = ("max", "min", "sum", "mean", "any", "all", "argmax", "argmin")
ATTRIBUTES = ("shape", "size", "ndim", "T")
FUNCTIONS = (*REDUCTIONS, "abs", "len")


@dataclass(frozen=True)
class Target:
    """A register, input, param, counter or buffer, or the part that ``selection`` (integers and slices) picks."""

    name: str
    selection: tuple[int | slice, ...] = ()

    def __str__(self) -> str:
        return self.name + (f"[{', '.join(map(_position_text, self.selection))}]" if self.selection else "")

    def of(self, value: Array) -> Array:
        """The part of a value of the name. Raises ``DebugError`` D103."""
        return picked(self.name, value, self.selection)


class Expression:
    """A parsed expression. ``names`` are those that it reads."""

    def __init__(self, text: str, tree: Any, names: frozenset[str]) -> None:
        self.text = text
        self.names = names
        self._tree = tree

    def __call__(self, scope: Mapping[str, Any]) -> Value:
        """Its value; ``scope`` maps names to integers or arrays. Raises ``DebugError``."""
        try:
            with np.errstate(all="ignore"):
                return _value(self._tree, scope)
        except DebugError:
            raise
        except (ArithmeticError, ValueError, TypeError, MemoryError, RecursionError) as e:
            raise DebugError(f"'{self.text}' has no value: {e}", code="D104") from None

    def holds(self, scope: Mapping[str, Any]) -> bool:
        """Its truth value. Raises ``DebugError``."""
        return _truth(self(scope))

    def target(self, scope: Mapping[str, Any]) -> Target:
        """What it names, if it is a name or an element or slice of one. Raises ``DebugError``."""
        tree: Any = self._tree
        subscripts: list[Any] = []
        if tree.data == "element" and tree.children[0].data == "name":
            tree, subscripts = tree.children[0], tree.children[1:]
        if tree.data != "name":
            raise DebugError(
                f"'{self.text}' is not a register or a part of one", code="D101", help="as in h or h[0, :8]"
            )
        selection = [s for s in (_subscript(s, scope) for s in subscripts) if not isinstance(s, np.ndarray)]
        if len(selection) < len(subscripts):
            raise DebugError(f"a position in '{self.text}' is not an integer", code="D103")
        return Target(str(tree.children[0]), tuple(selection))


def parse(text: str, known: Collection[str] | None = None) -> Expression:
    """The expression of a text. ``known``: the names that exist. Raises ``DebugError`` D101, D102 with the place."""
    from lark.exceptions import LarkError, UnexpectedInput

    if not text.strip():
        raise DebugError("an expression is missing", code="D101")
    if len(text) > MAX_LENGTH:
        raise DebugError(f"an expression of more than {MAX_LENGTH} characters", code="D101")
    try:
        tree = _parser().parse(text)
        names = frozenset(_named(tree, known))
    except UnexpectedInput as e:
        column = e.column if isinstance(e.column, int) and e.column > 0 else len(text) + 1
        raise DebugError(
            f"'{text}' cannot be read at column {column}", code="D101", help="as in h.max() > 1000 and step > 40"
        ) from None
    except (LarkError, RecursionError):
        raise DebugError(f"'{text[:60]}' cannot be read", code="D101") from None
    return Expression(text, tree, names)


def picked(name: str, value: Array, selection: Sequence[int | slice | Array]) -> Array:
    """``value[selection]``; raises ``DebugError`` D103 that names the axis."""
    array = np.asarray(value)
    if len(selection) > array.ndim:
        raise DebugError(
            f"{name} has {array.ndim} axes, not {len(selection)}", code="D103", help=f"its shape is {list(array.shape)}"
        )
    for axis, s in enumerate(selection):
        length = array.shape[axis]
        positions = np.atleast_1d(s) if not isinstance(s, slice) else ()
        for at in (int(i) for i in positions):
            if not -length <= at < length:
                raise DebugError(
                    f"element {at} is outside axis {axis} of {name}",
                    code="D103",
                    help=f"its shape is {list(array.shape)}",
                )
    return array[tuple(selection)]


# ---- reading ---------------------------------------------------------------------------------------------------------


@cache
def _parser() -> Any:
    from lark import Lark

    return Lark((Path(__file__).parent / "expression.lark").read_text(), parser="lalr", maybe_placeholders=True)


def _named(tree: Any, known: Collection[str] | None) -> set[str]:
    """Names that are read. A dotted name that is not known is a name and an attribute, and becomes that."""
    from lark import Token, Tree

    found: set[str] = set()
    for node in tree.iter_subtrees():
        if node.data == "call":
            word = str(node.children[0])
            name, dot, method = word.rpartition(".")
            if dot:
                node.data = "method"
                node.children = [Tree("name", [Token("NAME", name)]), Token("WORD", method), node.children[1]]
            elif word not in FUNCTIONS:
                raise _no(word, FUNCTIONS, "function")
        if node.data == "method" and str(node.children[1]) not in (*REDUCTIONS, "abs"):
            raise _no(str(node.children[1]), REDUCTIONS, "method")
        if node.data == "attribute" and str(node.children[1]) not in ATTRIBUTES:
            raise _no(str(node.children[1]), ATTRIBUTES, "attribute")
    for node in list(tree.iter_subtrees()):
        if node.data != "name":
            continue
        word = str(node.children[0])
        while known is not None and word not in known and word.rpartition(".")[2] in ATTRIBUTES:
            word, _, attribute = word.rpartition(".")
            node.data, node.children = "attribute", [Tree("name", [Token("NAME", word)]), Token("WORD", attribute)]
            node = node.children[0]
        if known is not None and word not in known:
            raise _no(word, known, "name")
        found.add(word)
    return found


def _no(word: str, known: Collection[str], what: str) -> DebugError:
    import difflib

    near = difflib.get_close_matches(word, list(known), 1)
    help = f"did you mean '{near[0]}'?" if near else ""
    if not help and what != "name":
        help = f"there are {', '.join(sorted(known))}"
    return DebugError(f"there is no {what} '{word}'", code="D102", help=help)


def _position_text(s: int | slice) -> str:
    if isinstance(s, int):
        return str(s)
    text = f"{'' if s.start is None else s.start}:{'' if s.stop is None else s.stop}"
    return text if s.step is None else f"{text}:{s.step}"


# ---- computing -------------------------------------------------------------------------------------------------------


def _value(tree: Any, scope: Mapping[str, Any]) -> Value:
    kind, parts = tree.data, tree.children
    match kind:
        case "integer":
            return int(str(parts[0]), 0) if str(parts[0]).startswith("0x") else int(parts[0])
        case "real":
            return float(parts[0])
        case "name":
            return _read(str(parts[0]), scope)
        case "disjunction":
            return any(_truth(_value(p, scope)) for p in parts)
        case "conjunction":
            return all(_truth(_value(p, scope)) for p in parts)
        case "negated":
            return not _truth(_value(parts[0], scope))
        case "comparison":
            return _chain(parts, scope)
        case "binary":
            return _computed(str(parts[1]), _value(parts[0], scope), _value(parts[2], scope))
        case "unary":
            return _signed(str(parts[0]), _value(parts[1], scope))
        case "element":
            subscripts = [_subscript(p, scope) for p in parts[1:]]
            return _plain(picked(_text(parts[0]), np.asarray(_value(parts[0], scope)), subscripts))
        case "attribute":
            return _attribute(np.asarray(_value(parts[0], scope)), str(parts[1]))
        case "method":
            return _applied(str(parts[1]), _value(parts[0], scope), *_arguments(parts[2], scope))
        case "call":
            given, named = _arguments(parts[1], scope)
            if not given:
                raise DebugError(f"{parts[0]}() needs an argument", code="D104")
            return _applied(str(parts[0]), given[0], given[1:], named)
    raise DebugError(f"'{kind}' has no value", code="D104")


def _read(name: str, scope: Mapping[str, Any]) -> Value:
    if name not in scope:
        raise DebugError(f"'{name}' has no value here", code="D102", help=NOWHERE)
    return _plain(scope[name])


def _plain(value: Any) -> Value:
    """Integers of tensors without axes are Python's own, which cannot wrap around; others are int64."""
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        if array.ndim == 0:
            return array.item()
        return array.astype(np.int64) if array.dtype.kind in "iu" and array.dtype != np.int64 else array
    return value


def _truth(value: Value) -> bool:
    if isinstance(value, np.ndarray) and value.size != 1:
        raise DebugError(
            "a tensor of several entries is neither true nor false", code="D104", help="say .any() or .all()"
        )
    return bool(value)


def _largest(value: Value) -> int | None:
    """The largest magnitude of integers; None for reals."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "iubO":
            return None
        return max(abs(int(value.min())), abs(int(value.max()))) if value.size else 0
    return abs(int(value)) if isinstance(value, int) else None


def _wide(value: Value) -> Value:
    return value.astype(object) if isinstance(value, np.ndarray) and value.dtype != object else value


def _number(value: Value) -> Value:
    """Truth values as the integers they count as."""
    return value.astype(np.int64) if isinstance(value, np.ndarray) and value.dtype.kind == "b" else value


def _broadcast(a: Value, b: Value) -> None:
    shapes = [np.shape(x) for x in (a, b)]
    try:
        entries = int(np.prod(np.broadcast_shapes(*shapes), dtype=np.float64))
    except ValueError:
        raise DebugError(f"shapes {list(shapes[0])} and {list(shapes[1])} do not fit together", code="D104") from None
    if entries > MAX_ENTRIES:
        raise DebugError(f"a result of more than {MAX_ENTRIES} entries", code="D104")


def _chain(parts: Sequence[Any], scope: Mapping[str, Any]) -> Value:
    """``a < b <= c``: each value once, and none behind the first that is false."""
    left = _value(parts[0], scope)
    for k in range(1, len(parts), 2):
        right = _value(parts[k + 1], scope)
        out = _compared(str(parts[k]), left, right)
        if k + 2 == len(parts) or not _truth(out):  # the last may be of several entries, as in Python
            break
        left = right
    return out


def _compared(sign: str, a: Value, b: Value) -> Value:
    if isinstance(a, tuple) or isinstance(b, tuple):
        return COMPARISONS[sign](a, b)
    _broadcast(a, b)
    if max(_largest(a) or 0, _largest(b) or 0) >= INT64:
        a, b = _wide(a), _wide(b)
    out = COMPARISONS[sign](a, b)
    return _plain(out.astype(bool) if isinstance(out, np.ndarray) and out.dtype == object else out)


def _computed(sign: str, a: Value, b: Value) -> Value:
    if isinstance(a, tuple) or isinstance(b, tuple):
        raise DebugError(f"'{sign}' of a shape", code="D104", help="take one of its lengths, as in h.shape[0]")
    _broadcast(a, b)
    if sign not in "&|^":
        a, b = _number(a), _number(b)
    if sign in ("/", "//", "%") and not np.all(np.asarray(b) != 0):
        raise DebugError("division by zero", code="D104")
    x, y = _largest(a), _largest(b)
    if x is not None and y is not None:
        if sign == "**":
            if bool(np.any(np.asarray(b) < 0)):
                raise DebugError("a negative power", code="D104")
            bits = x.bit_length() * y
            reach = 2**bits if bits <= 64 else INT64
            if bits > MAX_BITS:
                raise DebugError(f"a number of more than {MAX_BITS} bits", code="D104")
        else:
            reach = {"+": x + y, "-": x + y, "*": x * y}.get(sign, max(x, y))
        if reach.bit_length() > MAX_BITS:
            raise DebugError(f"a number of more than {MAX_BITS} bits", code="D104")
        if reach >= INT64:
            a, b = _wide(a), _wide(b)
    return _plain(_narrow(ARITHMETIC[sign](a, b)))


def _narrow(value: Value) -> Value:
    """int64 again, if all entries fit."""
    if isinstance(value, np.ndarray) and value.dtype == object:
        top = _largest(value)
        if top is not None and all(isinstance(x, int) for x in value.flat) and top < INT64:
            return value.astype(np.int64)
    return value


def _signed(sign: str, a: Value) -> Value:
    if sign == "~":
        if isinstance(a, bool):
            return not a
        return ~a
    return _number(a) if sign == "+" else _computed("-", 0, a)


def _subscript(tree: Any, scope: Mapping[str, Any]) -> int | slice | Array:
    if tree.data == "positions":
        start, stop, step = (None if p is None else _integer(_value(p, scope)) for p in (*tree.children, None)[:3])
        if step == 0:
            raise DebugError("a slice whose step is 0", code="D103")
        return slice(start, stop, step)
    value = _value(tree, scope)
    if isinstance(value, np.ndarray) and value.dtype.kind == "i":
        return value
    return _integer(value)


def _integer(value: Value) -> int:
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0].item()
    if isinstance(value, bool) or not isinstance(value, int):
        raise DebugError("a position is an integer", code="D103")
    return value


def _attribute(value: Array, name: str) -> Value:
    if name == "shape":
        return tuple(int(d) for d in value.shape)
    if name == "size":
        return value.size
    return value.ndim if name == "ndim" else value.T


def _arguments(tree: Any, scope: Mapping[str, Any]) -> tuple[list[Value], dict[str, Value]]:
    given: list[Value] = []
    named: dict[str, Value] = {}
    for p in tree.children:
        if p is None:
            continue
        if p.data == "named":
            named[str(p.children[0])] = _value(p.children[1], scope)
        else:
            given.append(_value(p, scope))
    return given, named


def _applied(name: str, value: Value, given: Sequence[Value], named: Mapping[str, Value]) -> Value:
    if name == "len":
        return len(value) if isinstance(value, tuple) else _length(np.asarray(value))
    if set(named) - {"axis"} or len(given) + len(named) > (0 if name == "abs" else 1):
        raise DebugError(f"{name}() takes {'nothing' if name == 'abs' else 'an axis'} more", code="D104")
    axis = None
    for a in (*given, *named.values()):
        axis = _integer(a)
    array = np.asarray(_plain(value))
    if axis is not None and not -array.ndim <= axis < array.ndim:
        raise DebugError(f"axis {axis} of a tensor of rank {array.ndim}", code="D103")
    if not array.size:
        raise DebugError(f"{name}() of no entries", code="D104")
    if name == "abs":
        return _plain(np.abs(array))
    if name in ("sum", "mean"):
        array = _number(array)
        top = _largest(array)
        if top is not None and top * array.size >= INT64:
            array = array.astype(object)
        total = array.sum(axis=axis)
        if name == "mean":
            total = total / (array.size if axis is None else array.shape[axis])
        return _plain(_narrow(total))
    return _plain(getattr(array, name)(axis=axis))


def _length(value: Array) -> int:
    if not value.ndim:
        raise DebugError("len() of a number", code="D104")
    return len(value)


def _text(tree: Any) -> str:
    return str(tree.children[0]) if tree.data == "name" else "the value"
