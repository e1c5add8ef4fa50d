"""Integers in program text: constants, loop counters, and the affine expressions that both may form."""

from __future__ import annotations

from typing import Any

from syurmy.assembler import syntax as s
from syurmy.assembler.diagnostics import suggestion
from syurmy.isa.errors import AssemblyError, Span
from syurmy.isa.program import Affine

MAX_BITS = 512  # of an intermediate constant


class Scope:
    """The names that stand for integers where the assembler is reading."""

    def __init__(self) -> None:
        self.consts: dict[str, int] = {}
        self.counters: list[str | None] = []  # of the open blocks

    def holds(self, name: str) -> bool:
        """Whether a name is a constant, or the counter of an open block."""
        return name in self.consts or name in self.counters

    def integer(self, node: s.Value) -> int:
        """The constant that an expression is. Raises ``AssemblyError``."""
        a = self.affine(node)
        if a.terms:
            raise fault(f"'{a.terms[0][0]}' is a loop counter, a constant is needed here", "A118", node.span)
        return a.constant

    def affine(self, node: s.Value) -> Affine:
        """The constant plus multiples of loop counters that an expression is. Raises ``AssemblyError``."""
        match node:
            case s.Number():
                return Affine(node.value)
            case s.Name():
                if node.value in self.consts:
                    return Affine(self.consts[node.value])
                if node.value in self.counters:
                    return Affine(0, ((node.value, 1),))
                known = [*self.consts, *(c for c in self.counters if c is not None)]
                raise fault(f"unknown constant '{node.value}'", "A120", node.span, suggestion(node.value, known))
            case s.Operation():
                try:
                    return computed(node.op, [self.affine(o) for o in node.operands])
                except ArithmeticError as e:
                    raise fault(str(e), "A118", node.span) from None
            case _:
                raise fault("an integer is needed here", "A118", node.span)

    def entry(self, text: str, span: Span) -> int:
        """The constant that the text of one entry in braces is. Raises ``AssemblyError``."""
        return self.integer(s.parse_expression(text, span))


def computed(op: str, xs: list[Affine]) -> Affine:
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


def word_of(node: Any, what: str) -> str:
    """The text of a name; ``AssemblyError`` says that ``what`` is needed here."""
    if not isinstance(node, s.Name):
        raise fault(f"{what} is needed here", "A112", node.span)
    if node.value.startswith("%"):
        raise fault(f"'{node.value}' is a local name outside a macro", "A145", node.span)
    return node.value


def fault(message: str, code: str, span: Span | None, help: str = "") -> AssemblyError:
    """The error that a place in a program's text has."""
    return AssemblyError(message, code=code, span=span, help=help)
