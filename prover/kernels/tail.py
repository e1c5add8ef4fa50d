"""The last rounds of a sumcheck of products (prover/sumcheck.py) on a processor at once: sums, message, hash and
challenge of each. ``rounds.product_rounds`` is what a device has for them.
"""

import numpy as np

from syurmy.prover.kernels import sumcheck
from syurmy.prover.kernels.challenges import LONGEST
from syurmy.prover.kernels.field import add
from syurmy.prover.kernels.jit import kernel, part
from syurmy.prover.kernels.layer import send

round_all = part(sumcheck.round_all.py_func)


@kernel
def last_products(
    w, at, tables, coefficient, degree, entered, left, constants, r0, r1, pads, padded, text, behind, state, out, lo, hi
):  # fmt: skip
    """The rounds when ``left`` variables are left, and all after it, where [lo, hi) is [0, 1).

    w, at, tables, coefficient, degree: as of ``round_all``. Of round j the first entered[j] instances are in w, of
    which a variable is bound first; (r0, r1): the challenge before. constants ``uint64[rounds, 6]`` are added to the
    sums. Of pads ``uint64[2, n]``, n = 0 where there are none, those from ``padded`` on. text, behind, state: as of
    ``challenges.answer``. out ``uint64[rounds, *]``: what is sent, as many elements as there is room for, and the
    challenge."""
    data, hashed = np.empty(LONGEST, np.uint8), np.empty(32, np.uint32)
    nothing, message = np.zeros(8, np.uint64), np.empty(8, np.uint64)
    count = out.shape[1] // 2 - 1
    for j in range(entered.shape[0]):
        half, m = 1 << (left - 1 - j), entered[j]
        for i in range(6):
            message[i] = constants[j, i]
        if m > 0:
            sums = round_all(w, at, tables, half, m, coefficient, degree, r0, r1, lo, m * half)
            for i in range(6):
                message[i] = add(message[i], sums[i])
        r0, r1 = send(count, message, pads, padded, nothing, text, behind, state, data, hashed, out[j])
        padded += count
