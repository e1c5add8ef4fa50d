"""The arithmetic of the kernels' loops: ``limbs`` and ``wide`` against Python integers, on edge and random values, and
kernels compiled for every width of vectors against each other."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

from syurmy.prover.field import P
from syurmy.prover.kernels import limbs, target, wide
from syurmy.prover.kernels.words import Plain, plain

EDGES = [
    0, 1, 7, 2**32 - 2, 2**32 - 1, 2**32, 2**32 + 1, 2**48 - 1, 2**48, 2**63, 2**64 - 2**48, P - 2**32, P - 2**32 - 1,
    P - 2, P - 1, (P + 1) // 2,
]  # fmt: skip
RNG = np.random.default_rng(5)


def elements(count):
    return [int(x) for x in RNG.integers(0, P, count, dtype=np.uint64)]


def tuples(width, count=400):
    """Of elements, many of them edges; all pairs of edges in the first two."""
    for a, b in itertools.product(EDGES, EDGES):
        yield (a, b, *(int(x) for x in RNG.choice(np.array(EDGES, np.uint64), max(0, width - 2))))[:width]
    for _ in range(count):
        mixed = [
            e if RNG.random() < 0.5 else x
            for e, x in zip(RNG.choice(np.array(EDGES, np.uint64), width), elements(width), strict=True)
        ]
        yield tuple(int(x) for x in mixed)


def kmul(a, b):
    return (a[0] * b[0] + 7 * a[1] * b[1]) % P, (a[0] * b[1] + a[1] * b[0]) % P


def kfold(x, y, r):
    d = kmul(((y[0] - x[0]) % P, (y[1] - x[1]) % P), r)
    return (x[0] + d[0]) % P, (x[1] + d[1]) % P


def kgate(a, b, c, d):
    return tuple((x + y) % P for x, y in zip(kmul(a, b), kmul(c, d), strict=True))


DEFINITIONS = {
    "add": (2, lambda a, b: (a + b) % P),
    "sub": (2, lambda a, b: (a - b) % P),
    "mul": (2, lambda a, b: a * b % P),
    "turn": (1, lambda a: a * 2**48 % P),
    "kmul": (4, lambda a, b, c, d: kmul((a, b), (c, d))),
    "fold": (6, lambda a, b, c, d, e, f: kfold((a, b), (c, d), (e, f))),
    "kmul_by": (4, lambda a, b, c, d: kmul((a, b), (c, d))),
    "gate": (8, lambda a, b, c, d, e, f, g, h: kgate((a, b), (c, d), (e, f), (g, h))),
}
PREPARED = {"kmul_by": 3, "fold": 5}  # these take 7*r1 as well


def integers(x):
    return tuple(map(integers, x)) if isinstance(x, tuple) else int(x)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_words_have_the_values_of_their_definitions(name):
    """The functions that become instructions, on words that are Python integers."""
    width, meaning = DEFINITIONS[name]
    for x in tuples(width):
        more = (7 * x[PREPARED[name]] % P,) if name in PREPARED else ()
        assert integers(getattr(limbs, name).definition(*map(Plain, x + more))) == meaning(*x), x


@pytest.mark.parametrize("module", [limbs, wide], ids=["limbs", "wide"])
def test_compiled_functions_have_the_values_of_their_definitions(module):
    from numba import njit

    for name, (width, meaning) in DEFINITIONS.items():
        function = getattr(module, name)
        scope = {"function": function, "njit": njit}
        names = ", ".join(f"x{i}" for i in range(width + (name in PREPARED)))
        exec(f"@njit\ndef call({names}):\n    return function({names})", scope)
        for x in tuples(width, 100):
            more = (7 * x[PREPARED[name]] % P,) if name in PREPARED else ()
            got = scope["call"](*(np.uint64(v) for v in x + more))
            assert integers(got) == meaning(*x), (name, x)


def test_sums_of_few_products():
    """As many of the largest products as a sum may have, and mixed ones."""
    x, y = P - 1, P - 1
    s = (0,) * 6
    for _ in range(limbs.FEW):
        s = tuple(int(v) for v in limbs.few_mac.definition(plain(s), Plain(x), Plain(y)))
    assert max(s) < 2**63
    assert int(limbs.few_reduce.definition(plain(s))) == limbs.FEW % P
    for a, b, c, d in tuples(4, 200):
        s = limbs.few_mac.definition(limbs.few_mac.definition(plain((0,) * 6), Plain(a), Plain(b)), Plain(c), Plain(d))
        assert int(limbs.few_reduce.definition(s)) == (a * b + c * d) % P


def test_limbs_become_elements():
    """Signed words up to 2^62, by the definition and compiled."""
    from numba import njit

    edges = [0, 1, -1, 2**31, -(2**31), 2**32, -(2**32), 2**61 + 5, 2**62, -(2**62)]
    pairs = list(itertools.product(edges, edges)) + RNG.integers(-(2**62), 2**62, (100, 2)).tolist()
    scope = {"njit": njit, "limbs": limbs.from_limbs, "wide": wide.from_limbs}
    for name in ("limbs", "wide"):
        exec(f"@njit\ndef compiled_{name}(lo, hi):\n    return {name}(lo, hi)", scope)
    for lo, hi in pairs:
        meaning = (lo + 2**32 * hi) % P
        assert int(limbs.from_limbs.definition(Plain(lo), Plain(hi))) == meaning, (lo, hi)
        for name in ("limbs", "wide"):
            assert int(scope[f"compiled_{name}"](np.int64(lo), np.int64(hi))) == meaning, (name, lo, hi)


def test_long_sums_are_exact():
    """As many products of the largest elements as a strip of the longest kernel has, and many more."""
    for count in (1, 2, 4096, 2**20):
        one = tuple(int(d) for d in limbs._product(Plain(P - 1), Plain(P - 1)))
        assert int(limbs.reduce.definition(plain(tuple(d * count for d in one)))) == count % P
        s = tuple(tuple(d * count * k for d in one) for k in (1, 1, 2))
        assert integers(limbs.kreduce.definition(plain(s))) == (8 * count % P, 2 * count % P)


def test_sums_of_products_and_elements():
    for a, b, c, d in tuples(4, 200):
        s = limbs.mac.definition(plain((0, 0, 0, 0)), Plain(a), Plain(b))
        s = limbs.total.definition(limbs.mac.definition(s, Plain(c), Plain(d)), Plain(a))
        assert int(limbs.reduce.definition(s)) == (a * b + c * d + a) % P
        sums = limbs.kmac.definition(plain(((0,) * 4,) * 3), *map(Plain, (a, b, c, d)))
        assert integers(limbs.kreduce.definition(sums)) == kmul((a, b), (c, d))


RUN = """
import hashlib, numpy as np, sys
from syurmy.prover import lookup, sumcheck
from syurmy.prover.field import P, Ext
from syurmy.prover.kernels import compiled, target
from syurmy.prover.protocol.transcript import Sender, Transcript
rng = np.random.default_rng(3)
edges = np.array([0, 1, P - 1, 2**32 - 1, 2**32, P - 2**32], np.uint64)
def elements(*shape):
    out = rng.integers(0, P, shape, np.uint64)
    chosen = rng.random(shape) < 0.25
    out[chosen] = rng.choice(edges, int(chosen.sum()))
    return out
sender = Sender(Transcript())
den, num = elements(2, 3000), np.ones(3000, np.uint64)
num[700:1200] = elements(500)
den[0, den[0] == 0] = 5
lookup.prove_tree(sender, lookup.Leaves.of(num, den))
tables = [elements(2, 2048), elements(2, 2048), elements(2, 2048)], [elements(2, 512), elements(512)], [elements(2, 8)]
sumcheck.prove(sender, "test", [sumcheck.Instance(Ext(3, i), list(t)) for i, t in enumerate(tables)], 11)
a, b = elements(2, 1000), elements(2, 1000)
some = compiled.multiply(a, b), compiled.outer(a[:, :30], b), compiled.eq_vector(elements(2, 14), 9001)
for x in (*some, compiled.add(a, b)):
    sender.raw("x", np.ascontiguousarray(x).tobytes())
v = rng.integers(-2**62, 2**62, 1000)
for x in (compiled.dot(a, b), compiled.dot_base(a, b[0]), compiled.dot_int(a, v)):
    sender.ext("x", [x])
print(target.VECTORS, hashlib.blake2b(sender.bytes()).hexdigest())
"""


@pytest.mark.slow
def test_every_width_of_vectors_gives_the_same_bytes(tmp_path):
    """Each choice compiles kernels of its own and proves the same."""
    found = {}
    for choice in target.CHOICES:
        environment = {**os.environ, "SYURMY_VECTORS": choice, "SYURMY_CACHE": str(tmp_path)}
        done = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, env=environment, check=True)
        name, digest = done.stdout.split()
        found[name] = digest
    assert list(found) == list(target.CHOICES)
    assert len(set(found.values())) == 1


def test_the_processor_decides():
    assert target._chosen("+sse2,+avx2,-avx512f") == "256"
    assert target._chosen("+avx2,+avx512f,+avx512vbmi2") == "512"
    assert target._chosen("+avx2,+avx512f,-avx512vbmi2") == "256"
    assert target._chosen("+neon") == "scalar"
    assert "-prefer-256-bit" in target._features("+avx512f,+prefer-256-bit", "512").split(",")
    assert target._features("+avx2", "256") == "+avx2"


def test_an_unknown_width_is_refused(monkeypatch):
    monkeypatch.setenv("SYURMY_VECTORS", "1024")
    with pytest.raises(ValueError, match="SYURMY_VECTORS"):
        target._chosen("+avx2")
