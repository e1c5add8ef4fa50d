"""Levels of power spectra, ``log(max(M (re^2 + im^2), floor) + offset)``: mel spectrograms, decibels.

Power spans twice the orders of magnitude of a signal, and a logarithm shows all of them: what a speech model looks at
lies 80 dB, eight decimal orders, below the peak, where a power that was narrowed to 16 bits is 0. So between the
analysis (a convolution with sines and cosines) and the logarithm nothing is narrowed to 16 bits: parts keep
``PART_BITS``, their squares are summed exactly, and so are the bands of a filter M of constants that are not negative,
in as many bits as the machine's integers leave. The logarithm then takes the root (see ``root``).
"""

from __future__ import annotations

import math

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.graph import FUSED, Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.ops.linear import convolution, plane
from syurmy.compiler.ops.root import logarithm
from syurmy.isa.types import DType

PART_BITS = 24  # of a part's largest possible magnitude
SUM_BITS, REST_BITS = 59, 8  # of a band's, and of what rounding leaves of its weights
EXTRA_BITS = 4  # of the analysis beyond those of weights: rounded sines leak from the peak into other bands


@lowering("Analysis", domain=FUSED)
def analysis(c: Context, n: Node) -> Result:
    """A convolution with ``EXTRA_BITS``. The unit is a power of two, so that sines and cosines have the same."""
    w = c.operand(n.inputs[1])
    assert isinstance(w, np.ndarray)
    unit = 2.0 ** (math.ceil(math.log2(float(np.abs(w).max()))) - c.precision.weights + 1 - EXTRA_BITS)
    return convolution(c, c.factor(c.tensor(n.inputs[0])), c.constant(plane(w), unit, n.inputs[1]), n)


@lowering("Power", domain=FUSED)
def power(c: Context, n: Node) -> Result:
    """The sum of squares of the sources, each in up to ``PART_BITS`` bits, at one scale."""
    parts = [_part(c, c.tensor(i)) for i in n.inputs]
    scale = max(p.scale for p in parts)
    parts = [p if p.scale == scale else c.rescale_to(p, scale, DType.I32) for p in parts]
    total: Tensor | None = None
    for p in parts:
        square = c.emit("mul", p, p, scale=scale * scale)
        total = square if total is None else c.emit("add", total, square)
    assert total is not None
    return total


def _part(c: Context, x: Tensor) -> Tensor:
    shift = x.bound.bit_length() - PART_BITS
    return c.rescale_by(x, 1, shift, DType.I32) if shift > 0 else x


@lowering("Bands", domain=FUSED)
def bands(c: Context, n: Node) -> Result:
    """The product with a constant matrix on either side (a Gemm: plus a constant), in units that keep it in the
    machine's integers. A wide band has small weights: what rounding them leaves is multiplied apart, in finer units."""
    first = c.const(n.inputs[0]) is not None  # the constant matrix
    x, m = c.tensor(n.inputs[first]), c.operand(n.inputs[not first])
    assert isinstance(m, np.ndarray)
    m, label, axis = m.T if n.attr("transB", 0) else m, n.inputs[not first], -1 if first or m.ndim == 1 else -2
    most = 2.0**SUM_BITS / x.bound  # of the sum of a band's weights, in units
    unit = max(float(m.sum(axis).max()) / most, float(m.max()) / (2 ** (c.precision.weights - 1) - 1)) or 1.0

    def product(weights: Tensor) -> Tensor:
        return c.emit("matmul", *((weights, x) if first else (x, weights)), scale=x.scale * weights.scale)

    y = product(c.constant(m, unit, label))
    rest = m / unit - np.rint(m / unit)
    bits = min(REST_BITS, math.floor(math.log2(most / max(float(np.abs(rest).sum(axis).max()), 1e-9))) - 1)
    if bits > 0 and rest.any():
        fine = product(c.constant(rest * unit, unit / 2**bits, f"{label}.rest"))
        y = c.emit("add", y, c.emit("shr", fine, amount=bits, scale=y.scale))
    return c.emit("add", y, c.constant(np.asarray(c.operand(n.inputs[2])), y.scale)) if c.has(n, 2) else y


@lowering("Level", domain=FUSED)
def level(c: Context, n: Node) -> Result:
    return logarithm(c, c.tensor(n.inputs[0]), n.attr("floor"), n.attr("offset"))
