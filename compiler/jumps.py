"""Operators whose result jumps where a real passes certain numbers (``compiler.undecided``), whatever they become.

Those that compare (an order, a largest entry, two operands) tell at the instruction that does so; these are read off
the node, since tables, shifts and comparisons stand for them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.undecided import POLE, off

if TYPE_CHECKING:
    from syurmy.compiler.graph import Node
    from syurmy.compiler.lower import Context

WHOLE, HALF, ZERO = ({"edges": (0.0,), "period": 1.0}, {"edges": (0.5,), "period": 1.0}, {"edges": (0.0,)})
Jumps = dict[str, Any]


def _cast(c: Context, n: Node) -> Jumps | None:
    kind = c.value(n.outputs[0]).dtype.kind
    return ZERO if kind == "b" else {"period": 1.0} if kind in "iu" else None


def _mod(c: Context, n: Node) -> Jumps | None:
    b = c.const(n.inputs[1])
    return None if b is None or b.size != 1 or not b.any() else {"edges": (0.0,), "period": abs(float(b.reshape(())))}


def _shrink(c: Context, n: Node) -> Jumps | None:
    bias, lambd = float(n.attr("bias", 0.0)), float(n.attr("lambd", 0.5))
    return None if bias == lambd else {"edges": (-lambd, lambd)}


def _threshold(default: float) -> Callable[[Context, Node], Jumps | None]:
    return lambda c, n: {"edges": (float(n.attr("alpha", n.attr("threshold", default))),)}


JUMPS: dict[str, Callable[[Context, Node], Jumps | None]] = {
    "Floor": lambda c, n: WHOLE,
    "Ceil": lambda c, n: WHOLE,
    "Round": lambda c, n: HALF,
    "Sign": lambda c, n: ZERO,
    "Cast": _cast,
    "CastLike": _cast,
    "Mod": _mod,
    "Shrink": _shrink,
    "ThresholdedRelu": _threshold(1.0),
    "Binarizer": _threshold(0.0),
}
DIVISORS = {"Div": 1, "Reciprocal": 0}


def told_apart(c: Context, n: Node, first: int) -> None:
    """Notes what the instructions from ``first`` on, which stand for the node, decide by its real operand."""
    if n.op in DIVISORS and c.is_float(n.outputs[0]):
        divides(c, n.inputs[DIVISORS[n.op]])
    if n.op not in JUMPS or not c.is_float(n.inputs[0]) or n.attr("entries"):
        return
    jumps, x = JUMPS[n.op](c, n), _held(c, n.inputs[0])
    if jumps is None or x is None:
        return
    period = jumps.get("period", 0.0) / x.scale
    edges = tuple(e / x.scale for e in jumps.get("edges", ()))
    read = {i for ins in c.out.code[first:] if ins.op == "lut" for i in ins.src} - {x.name}
    steps = max((c.out.scale_of(i) for i in read), default=0.0)  # a table reads what is narrowed
    kind = "edges" if edges else "toward 0"
    c.out.decides(kind, [x], [c.given(n.inputs[0])], steps / x.scale / 2, edges=edges, period=period)


def _held(c: Context, name: str) -> Tensor | None:
    return c.tensors[name] if name in c.tensors and c.const(name) is None else None


def divides(c: Context, name: str) -> None:
    """Notes that what the program holds of a real tensor is divided by: nearer to 0 than on any sample, by less than
    ``POLE`` times what it is off, its quotients are not those of the float model."""
    x = _held(c, name)
    if x is None:
        return
    error = error_of(c, name, x)
    seen = min((int(np.abs(v).min(initial=x.bound)) for v in x.values), default=0)
    limit = min(POLE * error, seen - 1)
    if limit >= 1:
        c.out.decides_within("edges", x, limit / 2, edges=(0.0,))


def error_of(c: Context, name: str, x: Tensor) -> float:
    """How many units of ``x`` it is off from the real tensor on the samples."""
    return max((off(q, f, x.scale) for q, f in zip(x.values, c.given(name), strict=True)), default=0.0)
