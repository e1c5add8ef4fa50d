"""Functions on 64-bit words that a compiled loop inlines without a branch, so that LLVM can vectorise the loop.

``word_function`` turns a Python function over ``Word`` into a Numba intrinsic: its operators become LLVM instructions,
its conditions ``select``. (Numba's own ``if`` becomes jumps, which the loop vectoriser refuses unless they happen to be
simplified before it, and inlining in Numba's own representation makes compiling slow.) Arguments and results are words
or nested tuples of words. The same function runs on ``Plain`` words, which are Python integers: that is how the tests
compare it with its definition.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_I64 = ir.IntType(64)


class Plain:
    """A word as a Python integer: what the operators mean."""

    def __init__(self, value: int) -> None:
        self.value = value % 2**64

    def __add__(self, o: Any) -> Plain:
        return Plain(self.value + int(o))

    def __sub__(self, o: Any) -> Plain:
        return Plain(self.value - int(o))

    def __rsub__(self, o: int) -> Plain:
        return Plain(o - self.value)

    def __mul__(self, o: Any) -> Plain:
        return Plain(self.value * int(o))

    def __and__(self, o: Any) -> Plain:
        return Plain(self.value & int(o))

    def __rshift__(self, o: int) -> Plain:
        return Plain(self.value >> o)

    def __lshift__(self, o: int) -> Plain:
        return Plain(self.value << o)

    def __lt__(self, o: Any) -> bool:
        return self.value < int(o)

    def __int__(self) -> int:
        return self.value


class Word:
    """A word in the making: an LLVM value and the builder that computes with it. Operands may be Python integers."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder = builder
        self.value = value

    def _of(self, o: Any) -> Any:
        return o.value if isinstance(o, Word) else ir.Constant(_I64, int(o))

    def __add__(self, o: Any) -> Word:
        return Word(self.builder, self.builder.add(self.value, self._of(o)))

    def __sub__(self, o: Any) -> Word:
        return Word(self.builder, self.builder.sub(self.value, self._of(o)))

    def __mul__(self, o: Any) -> Word:
        return Word(self.builder, self.builder.mul(self.value, self._of(o)))

    def __and__(self, o: Any) -> Word:
        return Word(self.builder, self.builder.and_(self.value, self._of(o)))

    def __rshift__(self, o: int) -> Word:
        return Word(self.builder, self.builder.lshr(self.value, self._of(o)))

    def __lshift__(self, o: int) -> Word:
        return Word(self.builder, self.builder.shl(self.value, self._of(o)))

    def __rsub__(self, o: Any) -> Word:
        return Word(self.builder, self.builder.sub(self._of(o), self.value))

    def __lt__(self, o: Any) -> Any:
        return Word(self.builder, self.builder.icmp_unsigned("<", self.value, self._of(o)))


def where(condition: Any, a: Any, b: Any) -> Any:
    """``a`` where the comparison holds, otherwise ``b``; both may be integers."""
    if isinstance(condition, bool):
        return Plain(int(a if condition else b))
    return Word(condition.builder, condition.builder.select(condition.value, condition._of(a), condition._of(b)))


_BaseTuple: Any = types.BaseTuple  # Numba's stubs know neither its elements nor its length


def _tree(result: Any) -> Any:
    """The Numba type of a result."""
    return _BaseTuple.from_types([_tree(r) for r in result]) if isinstance(result, tuple) else types.uint64


def _unpack(builder: Any, kind: Any, value: Any) -> Any:
    if isinstance(kind, _BaseTuple):
        return tuple(_unpack(builder, k, builder.extract_value(value, i)) for i, k in enumerate(kind))
    return Word(builder, value)


def _pack(context: Any, builder: Any, kind: Any, result: Any) -> Any:
    if isinstance(kind, _BaseTuple):
        parts = [_pack(context, builder, k, r) for k, r in zip(kind, result, strict=True)]
        return context.make_tuple(builder, kind, parts)
    return result.value


def plain(x: Any) -> Any:
    """Integers, or nested tuples of them, as ``Plain`` words."""
    return tuple(map(plain, x)) if isinstance(x, tuple) else Plain(int(x))


def word_function(function: Callable[..., Any]) -> Any:
    """The intrinsic of ``function``; ``function`` itself is its ``definition``."""
    arity = len(inspect.signature(function).parameters)

    def typed(typingctx: Any, *args: Any) -> Any:
        if len(args) != arity:
            return None
        zeros = [_zeros(a) for a in args]
        returned = _tree(function(*zeros))
        given = _BaseTuple.from_types([_words(a) for a in args])

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            words = _unpack(builder, signature.args[0], values[0])
            return _pack(context, builder, returned, function(*words))

        return returned(given), codegen

    typed.__name__ = typed.__qualname__ = function.__name__
    typed.__doc__ = function.__doc__
    made: Any = intrinsic(typed)
    made.definition = function
    return made


def _words(kind: Any) -> Any:
    """The type of an argument with 64-bit words in place of its integers."""
    return _BaseTuple.from_types([_words(k) for k in kind]) if isinstance(kind, _BaseTuple) else types.uint64


def _zeros(kind: Any) -> Any:
    return tuple(map(_zeros, kind)) if isinstance(kind, _BaseTuple) else Plain(0)
