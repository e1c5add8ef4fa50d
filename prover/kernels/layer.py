"""The last rounds of a layer of the lookups' tree (prover/lookup.py) on a processor, or all of several small layers, at
once: sums, message, hash and challenge of each (challenges.py), then the layer's values and the challenge that merges
its halves.

Python between rounds of a few pairs takes more time than the rounds: 35 us, of which the sums are three.
"""

import numpy as np

from syurmy.prover.kernels import logup, mle
from syurmy.prover.kernels.challenges import LONGEST, answer
from syurmy.prover.kernels.field import ONE, SEVEN, P, add, kadd, kmul, ksub, mul, neg, power, sub
from syurmy.prover.kernels.jit import kernel, part

# compiled with what calls them: a first proof of a small program needs no machine code of theirs alone
first_round, second_round, next_round = (
    part(k.py_func) for k in (logup.first_round, logup.second_round, logup.next_round)
)
eq_suffixes = part(mle.eq_suffixes.py_func)


@part
def plus(a, b):
    return kadd(a[0], a[1], b[0], b[1])


@part
def minus(a, b):
    return ksub(a[0], a[1], b[0], b[1])


@part
def times(a, b):
    return kmul(a[0], a[1], b[0], b[1])


@part
def inverse(a):
    """Of an element of K; of zero, zero."""
    n = power(sub(mul(a[0], a[0]), mul(SEVEN, mul(a[1], a[1]))), P - np.uint64(2))
    return mul(a[0], n), mul(neg(a[1]), n)


@part
def between(a, b, t):
    """The line through a at 0 and b at 1, at t."""
    return plus(a, times(t, minus(b, a)))


@part
def entry(w, plane, i):
    return w[plane, i], w[plane + 1, i]


@part
def put(message, i, a):
    message[2 * i], message[2 * i + 1] = a


@part
def send(count, message, pads, at, nothing, text, behind, state, data, hashed, sent):
    """Sends ``count`` elements, under the pads from ``at`` on where there are any: the challenge."""
    for i in range(2 * count):
        sent[i] = message[i]
        if pads.shape[1] > 0:
            sent[i] = add(message[i], pads[i % 2, at + i // 2])
    data[:] = 0
    answer(sent, nothing[: 2 * count], text, behind, state, data, hashed)
    return sent[2 * count], sent[2 * count + 1]


@kernel
def layer_rounds(
    a, b, places, apart, first, drawing, factor, r, x, claim, pads, at, skipped, text, behind, last_text, last_behind,
    drawn, state, out, lo, hi,
):  # fmt: skip
    """The rounds from ``first`` on of a layer that is not the leaves', at r ``uint64[2, rounds]``, of one run of pairs
    each, where [lo, hi) is [0, 1); and, where ``drawing``, of the layers behind it, each at the point in which the one
    before ends, ``first`` 0, with the lambda that is drawn for each before its rounds.

    a, b: memory of the layers, flat. places ``int64[layers, 4]``: where in ``a`` the children of each are, how many
    words in 4 planes, and where in b how many words of room are. Children, in 8 planes, and that are the workspaces v
    and w, of which the second round writes w, the third binds w into v, the next one v into w, and so on, but the first
    of these rounds reads w. apart ``int64[*, 3]``: child, bind and pair of each round of all layers
    (kernels/logup.py). factor ``uint64[2]``: lambda. x ``uint64[2, *]``: the next claims' point, the last mu before the
    challenges, of which the first are given. claim ``uint64[4]``: the running one, then p and q at that point; p and q
    before, where ``drawing``. pads ``uint64[2, n]``, those of these messages from ``at`` on, n = 0 where there is none;
    behind each layer's values ``skipped`` are not used. text, behind and, of the values, last_text and last_behind, of
    lambda, drawn, and state: as of ``challenges.answer``. out ``uint64[*, 10]``: by message what is sent (4 words, the
    values 8, lambda none) and its challenge."""
    one = np.zeros((2, 1), np.uint64)
    one[0, 0] = ONE
    data, hashed = np.empty(LONGEST, np.uint8), np.empty(32, np.uint32)
    nothing, none, message = np.zeros(8, np.uint64), np.zeros((2, 0), np.uint64), np.empty(8, np.uint64)
    sent, before = 0, 0
    for n in range(places.shape[0]):
        rounds = r.shape[1] + n
        if n > 0:
            point = x[:, :rounds].copy()
        else:
            point = r
        near, many, far, room = places[n, 0], places[n, 1], places[n, 2], places[n, 3]
        layer, v = a[near : near + many].reshape((4, many // 4)), a[near : near + many].reshape((8, many // 8))
        w = b[far : far + room].reshape((8, room // 8))
        c = claim[0], claim[1]
        if drawing:
            factor[0], factor[1] = send(
                0, message, none, 0, nothing, drawn, 0, state, data, hashed, out[sent]
            )  # fmt: skip
            sent += 1
            c = plus(c, times((factor[0], factor[1]), (claim[2], claim[3])))
        k0, k1 = factor[0], factor[1]
        tables = np.empty(4 << (rounds - 1 - first), np.uint64)
        eq_suffixes(point, rounds - 1 - first, tables)
        t = entry(x, 0, first)
        for j in range(first, rounds):
            half = 1 << (rounds - 1 - j)
            inner = tables[2 * half : 4 * half].reshape((2, half))
            child, bind, pair = apart[before + j, 0], apart[before + j, 1], apart[before + j, 2]
            if j == 0:
                sums = first_round(layer, child, pair, k0, k1, one, inner, lo, half)
            elif j == 1:
                sums = second_round(layer, child, bind, pair, k0, k1, t[0], t[1], one, inner, w, lo, half)
            else:
                sums = next_round(w, bind, pair, t[0], t[1], one, inner, v, lo, half)
                v, w = w, v
            low, top = (sums[0], sums[1]), (sums[2], sums[3])
            slope = times(minus(c, low), inverse(entry(point, 0, j)))
            put(message, 0, slope)
            put(message, 1, top)
            t = send(2, message, pads, at, nothing, text, behind, state, data, hashed, out[sent])
            at += 2
            sent += 1
            x[0, j + 1], x[1, j + 1] = t
            c = plus(low, times(t, plus(slope, times((sub(t[0], ONE), t[1]), top))))
        if rounds == 1:  # of four nodes
            p, u = (
                between(entry(layer, 0, 0), entry(layer, 0, 1), t),
                between(entry(layer, 0, 2), entry(layer, 0, 3), t),
            )
            q, z = (
                between(entry(layer, 2, 0), entry(layer, 2, 1), t),
                between(entry(layer, 2, 2), entry(layer, 2, 3), t),
            )
        else:
            p, q = between(entry(w, 0, 0), entry(w, 0, 1), t), between(entry(w, 2, 0), entry(w, 2, 1), t)
            u, z = between(entry(w, 4, 0), entry(w, 4, 1), t), between(entry(w, 6, 0), entry(w, 6, 1), t)
            u = minus(u, times((k0, k1), z))
        put(message, 0, p)
        put(message, 1, u)
        put(message, 2, q)
        put(message, 3, z)
        mu = send(4, message, pads, at, nothing, last_text, last_behind, state, data, hashed, out[sent])
        at += 4 + skipped
        sent += 1
        before += rounds
        x[0, 0], x[1, 0] = mu
        put(claim, 0, between(p, u, mu))
        put(claim, 1, between(q, z, mu))
