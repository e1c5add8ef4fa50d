"""Quantisation with a scale that is data: DynamicQuantizeLinear.

With X the source's integers at scale u, R = max(0, max X) - min(0, min X), and m = -min(0, min X):

    y_scale = R u / 255        y_zero = floor((510 m + R) / 2R)        y = clip(floor((510 X + R) / 2R) + y_zero)

These are exact; the source was rounded before, to 16 bits or those of a fine program (half a unit u), which can move
y by one. Halves go up: float32 leaves them to the rounding of y_scale. A source that is 0 everywhere has the scale
1 / 255.
"""

from __future__ import annotations

import math

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.graph import Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.stepping import Stepped

LEVELS = 255
ONE = 2**31  # the largest number of units that 1 may have where the source is 0 everywhere


@lowering("DynamicQuantizeLinear", since=11)
def dynamic_quantize_linear(c: Context, n: Node) -> Result:
    x = c.factor(c.tensor(n.inputs[0]))
    flat = c.reshape(x, (math.prod(x.shape),))
    zero = c.out.param(np.array(0))
    top = c.emit("max", c.emit("reduce_max", flat, axis=0), zero)
    bottom = c.emit("min", c.emit("reduce_min", flat, axis=0), zero)
    span = c.emit("sub", top, bottom)
    divisor = c.emit("max", span, c.out.param(np.array(1)))
    twice = c.muli(divisor, 2)

    def rounded(v: Tensor) -> Tensor:
        """``v * 255 / span`` to the nearest integer."""
        return c.emit("div", c.emit("add", c.muli(v, 2 * LEVELS), divisor), twice, scale=1.0)

    y_zero = c.emit("clamp", rounded(c.emit("neg", bottom)), lo=0, hi=LEVELS)
    y = c.emit("clamp", c.emit("add", rounded(x), y_zero), lo=0, hi=LEVELS)
    one = c.out.param(np.array(min(round(1 / x.scale), ONE)))
    y_scale = c.emit("select", c.emit("eq", span, zero), one, span, scale=x.scale / LEVELS)
    steps = (y, "integers"), (y_scale, "scale"), (y_zero, "zero")
    made = {ins.dst: k for k, ins in enumerate(c.out.code)}
    loose = n.inputs[0] not in c.graph.inputs
    c.out.steps += [Stepped(made[t.name], x.name, part, (x.scale,), (t.scale,), loose=loose) for t, part in steps]
    return y, y_scale, y_zero
