"""Probabilities of classes from those of pairs, as support vector machines have them in onnxruntime.

``r[j, i]``: that it is class j of the two. The shares p minimise ``p Q p`` with sum 1,

    Q[i, i] = sum r[j, i]^2,    Q[i, j] = - r[j, i] r[i, j]

and onnxruntime takes what an iteration from ``p = 1/n`` on has when ``max |Q p - p Q p| < 0.005 / n`` for the first
time, up to 0.0025 away. So the same steps are made here, as many rounds as the samples took and ``SPARE`` more; a round
that comes after the end changes nothing. One of class i, with ``e = Q[i, i] / (Q[i, i] + p Q p - (Q p)[i])``:

    p <- e p + (1 - e) [i],    Q p <- e Q p + (1 - e) Q[i],
    p Q p <- e (e p Q p + 2 (1 - e) (Q p)[i]) + (1 - e) (1 - e) Q[i, i]

Units: p and e 2^-24, Q 2^-27. T.-F. Wu, C.-J. Lin, R. Weng, Probability Estimates for Multi-class Classification by
Pairwise Coupling, 2004, algorithm 2, as LIBSVM has it.
"""

from __future__ import annotations

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.errors import Unsupported
from syurmy.compiler.lower import Context
from syurmy.isa.arrays import F64, Array
from syurmy.isa.types import DType

ITERATIONS, STOP = 100, np.float32(0.005)  # onnxruntime's
CLASSES, ROUNDS, SPARE = 10, 12, 2
P_BITS, Q_BITS = 24, 27
ONE = 2**P_BITS
MOST = 16  # of e: a share falls to no less than a sixteenth of what it leaves to the others, in one step


def coupled(pairs: F64, classes: int) -> tuple[F64, Array]:
    """onnxruntime's probabilities [rows, classes] of pairs [rows, classes (classes - 1) / 2], in its float32; and how
    many rounds each row takes."""
    rows = len(pairs)
    r = np.zeros((rows, classes, classes), np.float32)
    for k, (i, j) in enumerate(places(classes)):
        r[:, i, j], r[:, j, i] = pairs[:, k], 1 - pairs[:, k]
    q = -r * r.swapaxes(1, 2)
    q[:, range(classes), range(classes)] = (r**2).sum(axis=1)
    p = np.full((rows, classes), np.float32(1) / np.float32(classes), np.float32)
    going, rounds = np.ones(rows, bool), np.zeros(rows, np.int64)
    for _ in range(ITERATIONS):
        qp = np.einsum("nij,nj->ni", q, p)
        pqp = (p * qp).sum(axis=1)
        going &= np.abs(qp - pqp[:, None]).max(axis=1) >= STOP / np.float32(classes)
        if not going.any():
            break
        rounds += going
        new = p.copy()
        for t in range(classes):
            d = (pqp - qp[:, t]) / q[:, t, t]
            new[:, t] += d
            pqp = (pqp + d * (d * q[:, t, t] + 2 * qp[:, t])) / (1 + d) / (1 + d)
            qp, new = (qp + d[:, None] * q[:, t]) / (1 + d)[:, None], new / (1 + d)[:, None]
        p = np.where(going[:, None], new, p)
    return p.astype(np.float64), rounds


def places(classes: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(classes) for j in range(i + 1, classes)]


def coupling(c: Context, pairs: Tensor, classes: int, rounds: int, error: float) -> Tensor:
    """``coupled`` of a tensor [rows, pairs], in units of 2^-24, that is ``error`` off; ``rounds``: as many as the
    samples took."""
    if classes > CLASSES or rounds > ROUNDS:
        raise Unsupported(f"probabilities of {classes} classes, coupled in {rounds} rounds",
                          f"{CLASSES} and {ROUNDS} at most, or probability=False")  # fmt: skip
    rows = pairs.shape[0]
    square = _products(c, pairs, classes, rows)
    least = round(float(STOP) / classes * 2**Q_BITS)
    p = c.broadcast(c.out.param(np.full(classes, ONE // classes), 1 / ONE), (rows, classes))
    going: Tensor | None = None
    blur = error * 2**Q_BITS  # of what the end is decided by
    c.out.near += blur > least / 32  # a finer program, then
    for k in range(rounds + SPARE + 1):
        qp = _narrowed(c, c.emit("matmul", square, c.reshape(p, (rows, classes, 1)), scale=2.0 ** -(P_BITS + Q_BITS)))
        qp = c.reshape(qp, (rows, classes))
        pqp = _narrowed(c, c.emit("sum", c.emit("mul", p, qp), axes=(1,), keepdims=True))
        apart = c.emit("reduce_max", c.emit("abs", c.emit("sub", qp, pqp)), axis=-1, keepdims=True)
        more = c.emit("ge", apart, c.out.param(np.array(least)), scale=1.0)
        c.out.decides_within("edges", apart, classes + blur, edges=(float(least),))
        going = more if going is None else c.emit("mul", going, more, scale=1.0)
        if k == rounds + SPARE:  # it should have ended
            left = c.emit("clamp", going, hi=1) if going.type.hi > 1 else going
            c.out.cuts_off(left, going, None, 1)
            break
        new = p
        for i in range(classes):
            new, qp, pqp = _step(c, new, qp, pqp, square, i)
        p = c.emit("select", going, new, p, scale=p.scale)
    return p


def _products(c: Context, r: Tensor, classes: int, rows: int) -> Tensor:
    """Q [rows, classes, classes] of pairs: column (j, i) of r is that it is j."""
    at = {pair: k for k, pair in enumerate(places(classes))}
    one = c.out.param(np.array(ONE), 1 / ONE)
    both = c.emit(
        "concat", r, c.emit("sub", c.broadcast(one, r.shape), r), c.broadcast(c.muli(one, 0), (rows, 1)), axis=1
    )
    size, none = len(at), 2 * len(at)
    column = {**{(i, j): at[i, j] for i, j in at}, **{(j, i): at[i, j] + size for i, j in at}}

    def chosen(pairs: list[tuple[int, int]]) -> Tensor:
        index = np.array([column.get(pair, none) for pair in pairs], np.int64)
        places_ = (np.arange(rows)[:, None] * (none + 1) + index).reshape(-1)
        x = c.emit("gather", c.reshape(both, (both.type.size,)), c.out.param(places_, 1.0, "pair"))
        return c.reshape(x, (rows, classes, classes))

    every = [(i, j) for i in range(classes) for j in range(classes)]
    r_ji, r_ij = chosen([(j, i) for i, j in every]), chosen(every)
    off = c.emit("neg", c.emit("mul", r_ji, r_ij))
    own = c.emit("sum", c.emit("mul", r_ji, r_ji), axes=(2,), keepdims=True)
    diagonal = c.emit("mul", own, c.out.param(np.eye(classes, dtype=np.int64)))
    q = c.emit("add", off, diagonal, scale=1.0 / ONE**2)
    return c.rescale_by(q, 1, 2 * P_BITS - Q_BITS, DType.I32, flat=(True, True))


def _narrowed(c: Context, x: Tensor) -> Tensor:
    """A product with a share, in the unit of the other factor."""
    return c.rescale_by(x, 1, P_BITS, DType.I32, flat=(True, True)).scaled(2.0**-Q_BITS)


def _step(c: Context, p: Tensor, qp: Tensor, pqp: Tensor, q: Tensor, i: int) -> tuple[Tensor, Tensor, Tensor]:
    """Share i is changed such that the i-th equation holds; [rows, ..]."""
    rows, classes = p.shape
    row = c.reshape(c.emit("slice", q, axis=1, start=i, len=1), (rows, classes))
    own, here = (c.emit("slice", x, axis=1, start=i, len=1) for x in (row, qp))
    own = c.emit("max", own, c.out.param(np.array(1)))
    below = c.emit("max", c.emit("sub", c.emit("add", own, pqp), here), c.out.param(np.array(1)))
    e = c.emit("clamp", c.emit("div", c.muli(own, ONE), below, scale=1 / ONE), hi=MOST * ONE)
    f = c.emit("addi", c.emit("neg", e), value=ONE)
    unit = c.out.param(np.where(np.arange(classes) == i, ONE, 0), 1 / ONE)
    shares = c.emit("add", c.emit("mul", p, e), c.emit("mul", f, unit))
    new = c.rescale_by(shares, 1, P_BITS, DType.I32, 0, ONE, flat=(True, True)).scaled(1 / ONE)
    ahead = _narrowed(c, c.emit("add", c.emit("mul", qp, e), c.emit("mul", f, row)))
    part = _narrowed(c, c.emit("add", c.emit("mul", pqp, e), c.emit("mul", c.muli(f, 2), here)))
    rest = _narrowed(c, c.emit("mul", f, own))
    total = _narrowed(c, c.emit("add", c.emit("mul", e, part), c.emit("mul", f, rest)))
    return new, ahead, total
