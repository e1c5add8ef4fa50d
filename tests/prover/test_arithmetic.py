"""The plain arithmetic against Python integers, and against its compiled twin on random and edge values."""

import contextvars
import threading

import numpy as np
import pytest
from blake3 import blake3

from syurmy.prover.field import Ext, P, root_of_unity
from syurmy.prover.kernels import compiled
from syurmy.prover.protocol import arithmetic, plain

EDGES = np.array([0, 1, 7, P - 1, P - 2, 2**32 - 1, 2**32, 2**63, P - 2**32, (P - 1) // 2, (P + 1) // 2], np.uint64)


def words(rng, *shape):
    """Random elements of F, a third of them from the edges."""
    out = rng.integers(0, P, shape, dtype=np.uint64)
    edge = rng.random(shape) < 1 / 3
    out[edge] = rng.choice(EDGES, int(edge.sum()))
    return out


def pairs():
    """Every edge with every edge, and random elements."""
    a, b = (x.reshape(-1) for x in np.meshgrid(EDGES, EDGES))
    rng = np.random.default_rng(1)
    return np.concatenate([a, words(rng, 500)]), np.concatenate([b, words(rng, 500)])


@pytest.mark.parametrize(
    ("function", "meaning"),
    [
        (plain.add_f, lambda a, b: a + b),
        (plain.sub_f, lambda a, b: a - b),
        (plain.mul_f, lambda a, b: a * b),
    ],
)
def test_base_field(function, meaning):
    a, b = pairs()
    assert function(a, b).tolist() == [meaning(x, y) % P for x, y in zip(a.tolist(), b.tolist(), strict=True)]


def test_a_product_is_reduced_from_any_128_bits():
    """The last step of a product adds at most (2^32 - 1)^2 to any word."""
    any_word = np.array([0, P - 1, P, P + 5, 2**64 - 1], np.uint64)
    for most in (0, 1, 2**32 - 1, (2**32 - 1) ** 2):
        got = plain.add_f(any_word, np.full(5, most, np.uint64))
        assert got.tolist() == [(x + most) % P for x in any_word.tolist()]


@pytest.mark.parametrize("most", [1, 2**24 - 1, 2**24, 2**40, 2**47 - 1, 2**47, 2**63 - 1])
@pytest.mark.parametrize("shape", [(1, 1), (3, 9000), (40, 5)])
def test_sums_of_products_with_integers(most, shape):
    """In doubles as far as they are exact; a matrix, rows, and rows whose peak is known."""
    rng = np.random.default_rng(most % 1000)
    matrix = rng.choice([most, -most, 0, 1, -1, most // 2, -(most // 3)], shape)
    weights = words(rng, 2, shape[1])
    wanted = [
        [sum(v * w for v, w in zip(row, k, strict=True)) % P for row in matrix.tolist()] for k in weights.tolist()
    ]
    for rows in (matrix, [*matrix]):
        assert plain.combined_int(rows, weights).tolist() == wanted
        assert plain.combined_int(rows, weights, most).tolist() == wanted


def test_extension_products():
    a, b = (np.stack([x, x[::-1]]) for x in pairs())
    got = plain.mul_k(a, b)
    for i in range(a.shape[1]):
        a0, a1, b0, b1 = (int(x[k, i]) for x in (a, b) for k in (0, 1))
        assert got[:, i].tolist() == [(a0 * b0 + 7 * a1 * b1) % P, (a0 * b1 + a1 * b0) % P]


@pytest.mark.parametrize("n", [1, plain.BLOCK, 3 * plain.BLOCK + 1])
def test_the_largest_sums_of_products_are_exact(n):
    """Elements whose digits are as large as they can be, alone and as negative numbers."""
    for x in (P - 1, 0xFFFF_FFFE_FFFF_FFFF):
        f, k = np.full(n, x, np.uint64), np.full((2, n), x, np.uint64)
        square = n * x * x % P
        assert plain.dot(k, k) == Ext(8 * square, 2 * square)
        assert plain.dot_base(k, f) == Ext(square, square)
        assert plain.bind_columns(np.full((3, n), x, np.uint64), k).tolist() == [[square] * 3] * 2
        for v in (plain.WHOLE - 1, plain.WHOLE, 2**63 - 1):
            for sign in (1, -1):
                assert plain.dot_int(k, np.full(n, sign * v)) == Ext(sign * v * n * x, sign * v * n * x)


@pytest.mark.parametrize("n", [plain.MANY, plain.MANY + 2 * plain.BLOCK])
def test_many_of_the_largest_integers(n):
    """Where sums of blocks still fit an int64, and where they would not."""
    x, v = 0xFFFE_FFFF_FFFF_FFFF, plain.WHOLE - 1
    weights = np.broadcast_to(np.uint64(x), (2, n))
    for most in (v, -v):
        assert plain.dot_int(weights, np.broadcast_to(np.int64(most), n)) == Ext(most * n * x, most * n * x)


def test_encoding_is_evaluation():
    row = words(np.random.default_rng(2), 2, 8)
    omega = root_of_unity(5)
    got = plain.encode_ext(row, 2)
    for q in range(32):
        x = pow(omega, int(f"{q:05b}"[::-1], 2), P)
        for plane in range(2):
            assert int(got[plane, q]) == sum(int(c) * pow(x, i, P) for i, c in enumerate(row[plane])) % P


def test_hash_is_keyed_blake3():
    messages = np.random.default_rng(3).integers(0, 256, (3, 40), dtype=np.uint8)
    key = bytes(range(32))
    assert [bytes(d) for d in plain.hash_messages(messages, key)] == [
        blake3(bytes(m), key=key).digest() for m in messages
    ]


def calls(rng):
    """Name and arguments of every function of the interface, at sizes below, at and above a block and a thread."""
    for size, k in ((1, 0), (1, 1), (3, 2), (8, 3), (9, 4), (200, 8), (4096, 12), (5000, 13), (1 << 14, 14)):
        yield "eq_vector", words(rng, 2, k), size
    for n in (0, 1, 5, 2047, 2048, 2049, 9000):
        a, b = words(rng, 2, n), words(rng, 2, n)
        yield "dot", a, b
        yield "dot_base", a, b[0]
        yield "dot_int", a, rng.choice([0, 1, -1, 2**63 - 1, 1 - 2**63, 12345], n).astype(np.int64)
        yield "multiply", a, b
        yield "multiply", a, words(rng, 2, 1)
        yield "combination", [a], words(rng, 2, 1)
        yield "combination", [a, b, a[:, ::-1].copy()], words(rng, 2, 3)
        yield "add", a, b
        yield "add", a[0], b[0]
        yield "scatter_add", a, rng.integers(-1, 7, n), 7
        yield "scatter_add", a, np.sort(rng.integers(-1, 2 * n, n)), 2 * n
        yield "scatter_add", a, rng.permutation(n) - 1, n + 1
        yield "scatter_add", a, rng.integers(-1, n, n), 6 * n
    for n, m in ((1, 1), (3, 5), (70, 300), (2, 9000)):
        yield "outer", words(rng, 2, n), words(rng, 2, m)
        yield "bind_columns", words(rng, n, m), words(rng, 2, m)
        yield "sum_middle", words(rng, n, m, 3)
        yield "hash_messages", words(rng, n, m).view(np.uint8), rng.bytes(32)
    for cols, log_blowup in ((1, 0), (1, 2), (2, 1), (64, 3), (256, 2), (1 << 14, 1)):
        yield "encode_ext", words(rng, 2, cols), log_blowup


CALLS = list(calls(np.random.default_rng(4)))


@pytest.mark.parametrize("i", range(len(CALLS)), ids=lambda i: f"{CALLS[i][0]}-{i}")
def test_twins_agree(i):
    name, *arguments = CALLS[i]
    before = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
    one, other = getattr(plain, name)(*arguments), getattr(compiled, name)(*arguments)
    if isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert np.array_equal(one, other)
        assert one.flags.c_contiguous
    else:
        assert one == other
    assert all(np.array_equal(a, b) for a, b in zip(arguments, before, strict=True))


def test_largest_sums():
    """The exact sums of halves, where every term is the largest."""
    most = np.full((2, 5000), P - 1, np.uint64)
    index = np.zeros(5000, np.int64)
    for name, arguments in {
        "dot": (most, most),
        "dot_base": (most, most[0]),
        "scatter_add": (most, index, 1),
        "sum_middle": (most.reshape(2, 5000, 1),),
        "bind_columns": (most, most),
    }.items():
        one, other = getattr(plain, name)(*arguments), getattr(compiled, name)(*arguments)
        assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other, name


def test_every_function_of_the_interface_was_compared():
    interface = {n for n, v in vars(arithmetic.Arithmetic).items() if callable(v) and not n.startswith("_")}
    assert interface == {name for name, *_ in CALLS}
    assert interface <= set(compiled.__all__)


@pytest.mark.parametrize("module", [plain, compiled])
@pytest.mark.parametrize(("cols", "log_blowup"), [(3, 1), (0, 1), (2, 32)])
def test_sizes_without_a_domain(module, cols, log_blowup):
    with pytest.raises(ValueError, match=r"cannot encode|no root"):
        module.encode_ext(np.zeros((2, cols), np.uint64), log_blowup)


def test_a_choice_holds_inside_the_block_and_in_one_thread():
    assert arithmetic.current() is compiled  # importing the kernels selected it
    seen = []
    with arithmetic.using(plain):
        assert arithmetic.current() is plain
        thread = threading.Thread(target=lambda: seen.append(arithmetic.current().name))
        thread.start()
        thread.join()
        contextvars.copy_context().run(lambda: seen.append(arithmetic.current().name))
    assert arithmetic.current() is compiled
    assert seen == ["compiled", "plain"]
