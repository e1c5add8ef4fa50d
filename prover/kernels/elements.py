"""Many single elements of K, each made of others (prover/course.py)."""

from syurmy.prover.kernels.field import kadd, kmul, ksub
from syurmy.prover.kernels.jit import kernel


@kernel
def steps_kernel(values, steps, first, lo, hi):
    """values[first + k] = x + y, x - y, y - x or x*y for row k = (0 to 3, i, j) of ``steps`` ``int64[n, 3]``, one after
    the other, where x = values[i], y = values[j]; values ``uint64[*, 2]``; where [lo, hi) is [0, 1)."""
    for k in range(lo * steps.shape[0], hi * steps.shape[0]):
        x, y = values[steps[k, 1]], values[steps[k, 2]]
        a, b, c, d = x[0], x[1], y[0], y[1]
        how = steps[k, 0]
        if how == 3:
            a, b = kmul(a, b, c, d)
        elif how == 0:
            a, b = kadd(a, b, c, d)
        elif how == 1:
            a, b = ksub(a, b, c, d)
        else:
            a, b = ksub(c, d, a, b)
        values[first + k, 0] = a
        values[first + k, 1] = b
