"""The arithmetic of the kernels' inner loops, and the loops over a strip that several kernels share.

Kernels compute with these functions only, so the same source serves processors with and without vectors (target.py).
A loop vectorises where its index counts from 0 over one-dimensional contiguous arrays (slices): a kernel takes a strip
of its range at a time, all of which stays in the first-level cache, and passes slices of it here. A result that is
written over an operand is written through the same name: of two slices LLVM would have to assume that they overlap.
"""

from syurmy.prover.kernels import limbs, wide
from syurmy.prover.kernels.jit import part
from syurmy.prover.kernels.target import VECTORS

STRIP = 512  # elements: 4 KiB per plane

_chosen = wide if VECTORS == "scalar" else limbs
NO_SUMS, ZERO_SUM = _chosen.NO_SUMS, _chosen.ZERO_SUM
add, sub, mul, mac, total, reduce = _chosen.add, _chosen.sub, _chosen.mul, _chosen.mac, _chosen.total, _chosen.reduce
kmul, kmul_by, kmac, kreduce = _chosen.kmul, _chosen.kmul_by, _chosen.kmac, _chosen.kreduce
few_mac, few_reduce, ZERO_FEW = _chosen.few_mac, _chosen.few_reduce, _chosen.ZERO_FEW
fold, gate, turn, from_limbs = _chosen.fold, _chosen.gate, _chosen.turn, _chosen.from_limbs


@part
def dot_strip(a0, a1, b0, b1):
    """Inner product over K."""
    s = NO_SUMS
    for k in range(a0.shape[0]):
        s = kmac(s, a0[k], a1[k], b0[k], b1[k])
    return kreduce(s)


@part
def dot_base_strip(a0, a1, b):
    """Inner product of a over K and b over F."""
    s = ZERO_SUM
    t = ZERO_SUM
    for k in range(b.shape[0]):
        s = mac(s, a0[k], b[k])
        t = mac(t, a1[k], b[k])
    return reduce(s), reduce(t)


@part
def sum_strip(a):
    """Sum over F."""
    s = ZERO_SUM
    for k in range(a.shape[0]):
        s = total(s, a[k])
    return reduce(s)


@part
def fold_in_place(x0, x1, y0, y1, r0, r1, r7):
    """x += r*(y - x) over K; r7 = 7*r1."""
    for k in range(x0.shape[0]):
        x0[k], x1[k] = fold(x0[k], x1[k], y0[k], y1[k], r0, r1, r7)


@part
def fold_strip(x0, x1, y0, y1, r0, r1, r7, out0, out1):
    """out = x + r*(y - x) over K; r7 = 7*r1."""
    for k in range(x0.shape[0]):
        out0[k], out1[k] = fold(x0[k], x1[k], y0[k], y1[k], r0, r1, r7)


@part
def scale_strip(x0, x1, c0, c1, out0, out1):
    """out = x * c over K."""
    for k in range(x0.shape[0]):
        out0[k], out1[k] = kmul(x0[k], x1[k], c0, c1)


@part
def multiply_strip(x0, x1, y0, y1, out0, out1):
    """out = x * y over K."""
    for k in range(x0.shape[0]):
        out0[k], out1[k] = kmul(x0[k], x1[k], y0[k], y1[k])
