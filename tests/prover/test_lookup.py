"""The LogUp-GKR tree: a slow prover in Python whose transcript must be the same, and provers that cheat."""

import random
from collections.abc import Callable

import numpy as np
import pytest

from syurmy.prover import lookup
from syurmy.prover.field import ONE, U64, ZERO, Ext, P, eq_scalar, ext_array, ext_list, log2_ceil
from syurmy.prover.kernels import logup as kernels
from syurmy.prover.protocol import layout, mle
from syurmy.prover.protocol.hidden import TREE
from syurmy.prover.protocol.transcript import Receiver, Rejected, Sender, Transcript
from syurmy.prover.verifier.lookup import verify_tree

Fraction = tuple[Ext, Ext]


def used_values(n: int) -> list[int]:
    """Of trees of 2^n leaves."""
    full = 1 << n
    near = {
        2,
        3,
        full // 2 + 1,
        full * 5 // 8,
        full * 3 // 4,
        full * 3 // 4 + 1,
        full - 1,
        full,
    }
    return sorted(u for u in near if full // 2 < u <= full) + [1] * (n == 1)


def random_leaves(rng: random.Random, used: int, ones: range = range(0)) -> tuple[U64, U64]:
    """Fractions that sum to zero, with numerator 1 in a range."""
    num = [1 if i in ones else rng.choice([0, 1, P - 1, rng.randrange(P)]) for i in range(used)]
    den = [Ext(rng.choice([1, P - 1, rng.randrange(P)]), rng.randrange(P)) for _ in range(used)]
    rest = sum((d.inverse() * v for v, d in zip(num[:-1], den[:-1], strict=True)), ZERO)
    num[-1] = 1 if rest else 0
    den[-1] = -rest.inverse() if rest else den[-1]
    return np.array(num, dtype=np.uint64), ext_array(den)


def eq_table(point: list[Ext]) -> list[Ext]:
    k = len(point)
    return [eq_scalar(point, [Ext(i >> (k - 1 - j) & 1) for j in range(k)]) for i in range(1 << k)]


def place(i: int, n: int) -> int:
    """Of leaf i in a tree of 2^n."""
    bits = f"{i:0{n}b}"
    runs = max(0, n - layout.LOG_RUN)
    return int(bits[:runs][::-1] + bits[runs:], 2)


def slow_prove(sender: Sender, num: U64, den: U64, n: int) -> tuple[list[Ext], Ext, Ext]:
    """The definition: all 2^n leaves, full eq tables, round polynomials from three evaluations of h."""
    layer: list[Fraction] = [(ZERO, ONE)] * (1 << n)
    for i, (v, d) in enumerate(zip(num, ext_list(den), strict=True)):
        layer[place(i, n)] = Ext(int(v)), d
    layers = [layer]
    while len(layer) > 1:
        half = len(layer) // 2
        pairs = zip(layer[:half], layer[half:], strict=True)
        layer = [(p0 * q1 + p1 * q0, q0 * q1) for (p0, q0), (p1, q1) in pairs]
        layers.append(layer)
    p, q = layers[-1][0]
    point: list[Ext] = []
    for k in range(n):
        child = layers[n - 1 - k]
        factor = sender.transcript.challenge("lookup lambda") if k else ZERO
        sides = (child[: 1 << k], child[1 << k :])
        tables = [[f[i] for f in side] for side in sides for i in (0, 1)]  # p0, q0, p1, q1
        x: list[Ext] = []
        for i in range(k):
            half = len(tables[0]) // 2
            eq = eq_table(point[i + 1 :])
            h = []
            for t in range(3):
                value = ZERO
                for j in range(half):
                    p0, q0, p1, q1 = (a[j] + t * (a[j + half] - a[j]) for a in tables)
                    value = value + eq[j] * (p0 * q1 + p1 * q0 + factor * q0 * q1)
                h.append(value)
            top = (h[2] - 2 * h[1] + h[0]) * ((P + 1) // 2)
            sender.ext("lookup round", [h[1] - h[0], top])
            r = sender.transcript.challenge("lookup challenge")
            tables = [[a[j] + r * (a[j + half] - a[j]) for j in range(half)] for a in tables]
            x.append(r)
        p0, q0, p1, q1 = (a[0] for a in tables)
        sender.ext("lookup values", [p0, p1, q0, q1])
        sender.skip_pads(len(TREE))
        mu = sender.transcript.challenge("lookup merge")
        point, p, q = [mu, *x], p0 + mu * (p1 - p0), q0 + mu * (q1 - q0)
    return [point[n - place(1 << n - 1 - i, n).bit_length()] for i in range(n)], p, q


def fast_prove(sender: Sender, num: U64, den: U64, n: int) -> tuple[list[Ext], Ext, Ext]:
    return lookup.prove_tree(sender, lookup.Leaves.of(num, den))


def check_claims(point: list[Ext], p: Ext, q: Ext, num: U64, den: U64) -> None:
    eq = mle.eq_vector(point, len(num))
    assert p == mle.dot_base(eq, num)
    assert q == mle.dot(eq, den) + 1 - mle.dot_base(eq, np.ones(len(num), dtype=np.uint64))


@pytest.mark.parametrize(("n", "log_run"), [*((n, 9) for n in range(1, 6)), *((n, 1) for n in range(2, 8)), (7, 2)])
def test_against_the_slow_prover(n: int, log_run: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of two leaves make of small trees what those of 512 make of large ones: layers of which a part is stored."""
    monkeypatch.setattr(layout, "LOG_RUN", log_run)
    rng = random.Random(n)
    for used in used_values(n):
        ones = range(rng.randrange(used), used - 1) if used % 3 else range(0)  # corrections in a few runs only
        num, den = random_leaves(rng, used, ones)
        fast, slow = Sender(Transcript()), Sender(Transcript())
        out = lookup.prove_tree(fast, lookup.Leaves.of(num, den))
        assert out == slow_prove(slow, num, den, n)
        assert fast.bytes() == slow.bytes()
        check_claims(*out, num, den)
        receiver = Receiver(Transcript(), fast.bytes())
        assert verify_tree(receiver, n, Ext(3, 5), 0) == out
        receiver.done()


@pytest.mark.parametrize("log_run", [9, 2])
def test_rounds_under_pads(log_run: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever draws a challenge: messages, pads, challenges and what comes after them are the definition's."""
    monkeypatch.setattr(layout, "LOG_RUN", log_run)
    num, den = random_leaves(random.Random(3), 19)
    pads = np.random.default_rng(3).integers(0, P, (2, 60), np.uint64)
    senders = [Sender(Transcript()) for _ in range(2)]
    for sender, prover in zip(senders, (fast_prove, slow_prove), strict=True):
        sender.pad_with(pads)
        prover(sender, num, den, 5)
        sender.ext("next", [ONE])
        sender.transcript.challenge("next")
    fast, slow = senders
    assert fast.bytes() == slow.bytes()
    assert (fast.fields, fast.size) == (slow.fields, slow.size)
    assert (fast.transcript.log, fast.transcript.history) == (slow.transcript.log, slow.transcript.history)


def test_messages_without_pads_are_not_sent() -> None:
    """Of 32 leaves, where the layers that are not theirs are one call: it takes 2 pads a round, 4 of the values of each
    and those of the products."""
    num, den = random_leaves(random.Random(3), 19)
    needed = sum(2 * k + 4 + len(TREE) for k in range(4)) - len(TREE)  # of these layers; nothing is sent under the last
    for count, layer, reason in ((needed - 1, 1, "fewer pads"), (needed, 4, "zip")):
        sender = Sender(Transcript())
        sender.pad_with(np.ones((2, count), np.uint64))
        with pytest.raises(ValueError, match=reason):
            fast_prove(sender, num, den, 5)
        assert [label for label, _, _ in sender.fields].count("lookup values") == layer


@pytest.mark.parametrize("n", [12, 14])
def test_large_trees(n: int) -> None:
    """Several blocks of the eq tables and several threads."""
    rng = np.random.default_rng(n)
    for used in ((1 << n) - 5, (1 << n - 1) + 1, 1 << n, 5 << n - 3, 7 << n - 3):
        num = rng.integers(0, P, used, dtype=np.uint64)
        den = rng.integers(0, P, (2, used), dtype=np.uint64)
        # the sum is not zero: choose alpha such that the root is that of one padded leaf
        sender = Sender(Transcript())
        out = lookup.prove_tree(sender, lookup.Leaves.of(num, den))
        p0, p1, q0, q1 = Receiver(Transcript(), sender.bytes()).ext("lookup values", 4)
        check_claims(*out, num, den)
        alpha = q0 * q1 * (p0 * q1 + p1 * q0).inverse()
        assert verify_tree(Receiver(Transcript(), sender.bytes()), n, alpha, 1) == out


@pytest.mark.parametrize("used", [1, 2, 3, 4096, 4097, 8192, 8193, 65537, 100_000, 2**20 + 1])
def test_what_is_stored_is_what_is_used(used: int) -> None:
    """Of a layer, a fourth run and seven more at most; whatever a round reads is there."""
    leaves = lookup.Leaves.ones(used)
    n = leaves.log_size
    assert 1 << n - 1 < max(2, used) <= 1 << n
    for k in range(n + 1):
        size = leaves.stored(k)
        assert leaves.runs(k) << min(k, 9) <= size <= 1 << k
        assert size < (used >> n - k) + 9 * 512
        if k:
            assert leaves.stored(k - 1) * 2 >= size
    if k > 12:
        assert leaves.denominators().shape[1] < used + 4096 + kernels.PAD


def test_leaves_elsewhere_are_refused() -> None:
    """A prover whose tree has leaf i in place i (as if runs did not move) makes claims that are false."""
    used, n = 3000, 12
    rng = np.random.default_rng(5)
    num, den = rng.integers(0, P, used, dtype=np.uint64), rng.integers(0, P, (2, used), dtype=np.uint64)
    moved = [place(i, n) for i in range(1 << n)]
    wrong_num, wrong_den = np.zeros(1 << n, np.uint64), np.zeros((2, 1 << n), np.uint64)
    wrong_den[0] = 1
    wrong_num[:used], wrong_den[:, :used] = num, den
    out = lookup.prove_tree(Sender(Transcript()), lookup.Leaves.of(wrong_num[moved], wrong_den[:, moved]))
    with pytest.raises(AssertionError):
        check_claims(*out, num, den)
    check_claims(list(reversed(out[0][: n - 9])) + out[0][n - 9 :], *out[1:], num, den)


ALPHA, BETAS = Ext(2**40 + 3, 77), [Ext(5, 2**50), Ext(5, 2**50) * Ext(5, 2**50)]


def system(
    values: np.ndarray, padded: tuple[int, ...], multiplicity: np.ndarray, first: int = 0
) -> tuple[U64, U64, int, int]:
    """Lookups of (v, v*v) in a table of 16 rows, the first ones dropped: num, den, log_size, padding."""
    rows = np.arange(16, dtype=np.int64)
    size = int(np.prod(padded))
    den = np.empty((2, 16 + size), dtype=np.uint64)
    lookup.fill_denominators(den[:, :16], [rows, rows * rows], (16,), 4, ALPHA, BETAS)
    lookup.fill_denominators(den[:, 16:], [values, values * values], padded, 4, ALPHA, BETAS)
    num = np.concatenate([(P - multiplicity.astype(np.uint64)) % P, np.ones(size, dtype=np.uint64)])
    num[16 : 16 + first] = 0
    return num.astype(np.uint64), den, log2_ceil(16 + size), size - values.size


VALUES = np.array([[3, 15, 0], [3, 3, 7], [9, 0, 15]], dtype=np.int64)
COUNTS = np.bincount(VALUES.reshape(-1), minlength=16)


def refusal(proof: bytes, n: int, padding: int) -> Rejected:
    with pytest.raises(Rejected) as caught:
        verify_tree(Receiver(Transcript(), proof), n, ALPHA, padding)
    return caught.value


def prove(num: U64, den: U64, n: int) -> tuple[bytes, tuple[list[Ext], Ext, Ext]]:
    sender = Sender(Transcript())
    out = lookup.prove_tree(sender, lookup.Leaves.of(num, den))
    return sender.bytes(), out


def test_a_true_lookup_is_accepted() -> None:
    num, den, n, padding = system(VALUES, (4, 4), COUNTS)
    assert padding == 7
    proof, out = prove(num, den, n)
    assert verify_tree(Receiver(Transcript(), proof), n, ALPHA, padding) == out
    for wrong in (padding - 1, padding + 1, 0):
        assert "balance" in refusal(proof, n, wrong).reason


def test_unbalanced_lookups_are_refused() -> None:
    outside, wrong = VALUES.copy(), COUNTS.copy()
    outside[1, 1] = 16
    wrong[3] += 1
    moved = COUNTS.copy()
    moved[[3, 4]] += [-1, 1]
    cases = [
        system(outside, (4, 4), COUNTS),
        system(VALUES, (4, 4), wrong),
        system(VALUES, (4, 4), moved),
        system(VALUES, (4, 4), COUNTS, first=1),
    ]
    for num, den, n, padding in cases:
        caught = refusal(prove(num, den, n)[0], n, padding)
        assert caught.step == "lookup"
        assert "balance" in caught.reason


def forge(proof: bytes, at: int, change: Callable[[int], int] = lambda w: (w + 1) % P) -> bytes:
    word = change(int.from_bytes(proof[at : at + 8], "little"))
    return proof[:at] + word.to_bytes(8, "little") + proof[at + 8 :]


def test_every_tampered_word_is_refused_in_its_layer() -> None:
    num, den, n, padding = system(VALUES, (4, 4), COUNTS)
    sender = Sender(Transcript())
    out = lookup.prove_tree(sender, lookup.Leaves.of(num, den))
    proof = sender.bytes()
    layer = 0
    for label, start, size in sender.fields:
        for at in range(start, start + size, 8):
            forged = forge(proof, at)
            caught = refusal(forged, n, padding)
            assert caught.step == "lookup"
            if layer == 0:
                assert "balance" in caught.reason
            else:
                assert caught.reason.startswith(f"layer {layer} sumcheck")
        layer += label == "lookup values"
    assert layer == n
    assert verify_tree(Receiver(Transcript(), proof), n, ALPHA, padding) == out


def test_values_under_a_false_root_are_refused_by_the_next_layer() -> None:
    wrong = COUNTS.copy()
    wrong[3] += 1
    num, den, n, padding = system(VALUES, (4, 4), wrong)
    proof, _ = prove(num, den, n)
    _, p1, q0, q1 = Receiver(Transcript(), proof).ext("lookup values", 4)
    sender = Sender(Transcript())
    sender.ext("lookup values", [(q0 * q1 * padding * ALPHA.inverse() - p1 * q0) * q1.inverse(), p1, q0, q1])
    assert refusal(sender.bytes() + proof[64:], n, padding).reason.startswith("layer 1 sumcheck")


def test_zeros_are_left_to_the_claims() -> None:
    """P = Q = 0 satisfies the root's equation and every gate: what refuses it are the claims at the leaves."""
    num, den, n, padding = system(VALUES, (4, 4), COUNTS)
    proof, _ = prove(num, den, n)
    point, p, q = verify_tree(Receiver(Transcript(), bytes(len(proof))), n, ALPHA, padding)
    assert (p, q) == (ZERO, ZERO)
    with pytest.raises(AssertionError):
        check_claims(point, p, q, num, den)


def test_values_that_satisfy_the_gate_are_left_to_the_claims() -> None:
    """A consistent lie about the last values passes the tree: the caller must settle the claims, and they are false."""
    num, den, n, padding = system(VALUES, (4, 4), COUNTS)
    proof, _ = prove(num, den, n)
    # p0 += q0*e, p1 -= q1*e leaves p0*q1 + p1*q0 as it is
    p0, p1, q0, q1 = Receiver(Transcript(), proof[-64:]).ext("", 4)
    e = Ext(12345, 6)
    sender = Sender(Transcript())
    sender.ext("", [p0 + q0 * e, p1 - q1 * e, q0, q1])
    point, p, _ = verify_tree(Receiver(Transcript(), proof[:-64] + sender.bytes()), n, ALPHA, padding)
    assert p != mle.dot_base(mle.eq_vector(point, len(num)), num)


def test_truncated_and_garbage_proofs() -> None:
    num, den, n, padding = system(VALUES, (4, 4), COUNTS)
    proof, _ = prove(num, den, n)
    for size in [*range(0, 200), *range(200, len(proof), 37), len(proof) - 1]:
        assert refusal(proof[:size], n, padding).step == "format"
    rng = random.Random(8)
    for _ in range(30):
        assert refusal(rng.randbytes(len(proof)), n, padding).step in {"format", "lookup"}
    for at in range(0, len(proof), 8):
        assert refusal(forge(proof, at, lambda w: w + P if w + P < 2**64 else 2**64 - 1), n, padding).step == "format"


@pytest.mark.parametrize(
    ("shape", "padded"),
    [
        ((5,), (8,)),
        ((1,), (1,)),
        ((3, 5), (4, 8)),
        ((2, 3, 5), (2, 4, 8)),
        ((3, 1, 1, 2), (4, 1, 1, 2)),
        ((70, 130), (128, 256)),
        ((6,), (32,)),
    ],
)
def test_denominators(shape: tuple[int, ...], padded: tuple[int, ...]) -> None:
    rng = np.random.default_rng(len(shape))
    members = [rng.integers(-(2**62), 2**62, shape) for _ in range(2)]
    members[0].flat[0] = 0
    size = int(np.prod(padded))
    whole = np.zeros((2, size + 6), dtype=np.uint64)
    lookup.fill_denominators(whole[:, 3 : 3 + size], members, padded, 9, ALPHA, BETAS)
    assert not whole[:, :3].any()
    assert not whole[:, 3 + size :].any()
    for i, got in enumerate(ext_list(whole[:, 3 : 3 + size])):
        at = np.unravel_index(i, padded)
        inside = all(a < s for a, s in zip(at, shape, strict=True))
        f = [b * int(m[at]) for b, m in zip(BETAS, members, strict=True)] if inside else []
        assert got == (ALPHA - 9 - sum(f, ZERO) if inside else ALPHA)


def test_blocks_and_leaves_that_do_not_fit() -> None:
    out = np.zeros((2, 8), dtype=np.uint64)
    x = np.zeros(5, dtype=np.int64)
    for members, padded in (([x], (4,)), ([x], (16,)), ([x, x[:4]], (8,)), ([x], (4, 2)), ([x, x, x], (8,))):
        with pytest.raises(ValueError, match="block of leaves"):
            lookup.fill_denominators(out, members, padded, 1, ALPHA, BETAS)
    for num, den in ((out[0], out[:, :7]), (out[0, :0], out[:, :0]), (out[0], out[:1])):
        with pytest.raises(ValueError, match="leaves do not fit"):
            lookup.Leaves.of(num, den)
