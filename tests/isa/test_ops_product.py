"""Products: executed values and constraint graph against NumPy on Python integers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syurmy.isa import exact
from syurmy.isa import graph as g
from syurmy.isa.errors import TypeRuleError
from syurmy.isa.inference import infer_types
from syurmy.isa.ops import product
from syurmy.isa.system import build
from syurmy.isa.types import DType
from tests.drawing import SEEDS, examples
from tests.isa.graph_eval import (
    Operand,
    check,
    check_op,
    instruction,
    op_program,
    program_of,
    random_array,
    random_shape,
)


def slow(x: np.ndarray) -> np.ndarray:
    return x.astype(object)


def thinned(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape that broadcasts to ``shape``: lengths set to 1, leading axes dropped."""
    return tuple(1 if rng.random() < 0.3 else d for d in shape)[int(rng.integers(len(shape) + 1)) :]


@examples(25)
@given(SEEDS, st.integers(0, 3), st.sampled_from([DType.I8, DType.I32]))
def test_mul_and_dot(seed: int, rank: int, dtype: DType) -> None:
    rng = np.random.default_rng(seed)
    shape = random_shape(rng, rank)
    small = DType.I16 if dtype is DType.I32 else DType.I8
    a, b = random_array(rng, shape, dtype, extreme=True), random_array(rng, thinned(rng, shape), small, extreme=True)
    assert np.array_equal(check_op("mul", a, b), slow(a) * slow(b))
    assert np.array_equal(check_op("mul", b, a), slow(a) * slow(b))
    k = int(rng.integers(1, 5))
    a = random_array(rng, (*shape, k), dtype)
    b = random_array(rng, (*thinned(rng, shape), k), small)
    assert np.array_equal(check_op("dot", a, b), (slow(a) * slow(b)).sum(-1))


@examples(25)
@given(SEEDS, st.integers(0, 2), st.booleans(), st.booleans(), st.sampled_from(["private", "param"]))
def test_matmul(seed: int, batch: int, row: bool, column: bool, kind: str) -> None:
    rng = np.random.default_rng(seed)
    m, k, n = (int(d) for d in rng.integers(1, 5, size=3))
    lead = random_shape(rng, batch, 3)
    a = random_array(rng, (k,) if row else (*thinned(rng, lead), m, k), DType.I32)
    b = random_array(rng, (k,) if column else (*thinned(rng, lead), k, n), DType.I16)
    assert np.array_equal(check_op("matmul", a, Operand(b, kind=kind)), np.matmul(slow(a), slow(b)))


@pytest.mark.parametrize("columns", [0, 1, 3, exact.THIN, exact.THIN + 1])
def test_products_in_blocks(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every size, the last block shorter; the larger matrix on either side."""
    rng = np.random.default_rng(columns)
    a = rng.integers(-(2**15), 2**15, (67, 31)).astype(np.int16)
    b = rng.integers(-(2**20), 2**20, (31, columns))
    for block, threaded in ((2**20, 2**19), (700, 2000), (1, 2)):
        monkeypatch.setattr(exact, "BLOCK", block)
        monkeypatch.setattr(exact, "ONE_THREAD", threaded)
        for kind in (np.float64, np.int64):
            assert np.array_equal(exact._matmul(a, b, kind), slow(a) @ slow(b))
            assert np.array_equal(exact._matmul(b.T, a.T, kind), (slow(a) @ slow(b)).T)


@examples(25)
@given(SEEDS)
def test_einsum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = dict(zip("abcde", rng.integers(1, 4, size=5).tolist(), strict=True))
    letters = np.array(list(lengths))
    specs = [rng.permutation(letters)[: rng.integers(0, 5)].tolist() for _ in range(2)]
    one, two = (random_array(rng, [lengths[x] for x in spec], DType.I16) for spec in specs)
    for parts, arrays in ((specs[:1], [one]), (specs, [one, two])):
        known = sorted(set().union(*parts))
        out = rng.permutation(known)[: rng.integers(len(known) + 1)].tolist() if known else []
        spec = ",".join("".join(p) for p in parts) + "->" + "".join(out)
        assert np.array_equal(check_op("einsum", *arrays, spec=spec), np.einsum(spec, *arrays)), spec


def convolution(x, w, stride, pad, dilation, groups):  # type: ignore[no-untyped-def]
    """The definition, loop by loop, on ``[N, C, H, W]``."""
    top, left, bottom, right = pad
    p = np.pad(x, [(0, 0), (0, 0), (top, bottom), (left, right)])
    o, c, kh, kw = w.shape
    oh = (p.shape[2] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    ow = (p.shape[3] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    out = np.zeros((len(x), o, oh, ow), object)
    for k, i, ky, kx in itertools.product(range(o), range(c), range(kh), range(kw)):
        channel = p[:, k // (o // groups) * c + i]
        y, z = ky * dilation[0], kx * dilation[1]
        seen = channel[:, y : y + (oh - 1) * stride[0] + 1 : stride[0], z : z + (ow - 1) * stride[1] + 1 : stride[1]]
        out[:, k] += seen * int(w[k, i, ky, kx])
    return out


@examples(40)
@given(SEEDS, st.booleans(), st.sampled_from(["private", "param"]), st.sampled_from([1, 8, product.CHUNK]))
def test_conv2d(seed: int, batched: bool, kind: str, chunk: int) -> None:
    rng = np.random.default_rng(seed)
    groups, c, o, n = (int(d) for d in rng.integers(1, 4, size=4))
    kernel, stride, dilation = (tuple(rng.integers(1, 4, size=2).tolist()) for _ in range(3))
    pad = tuple(rng.integers(0, 3, size=4).tolist())
    span = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    h = max(1, span[0] - pad[0] - pad[2]) + int(rng.integers(3))
    v = max(1, span[1] - pad[1] - pad[3]) + int(rng.integers(3))
    x = random_array(rng, (n if batched else 1, groups * c, h, v), DType.I16)
    w = random_array(rng, (groups * o, c, *kernel), DType.I8)
    true = convolution(x, w, stride, pad, dilation, groups)
    attrs = {"stride": stride, "pad": pad, "dilation": dilation, "groups": groups}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(product, "CHUNK", chunk)
        got = check_op("conv2d", x if batched else x[0], Operand(w, kind=kind), **attrs)
    assert np.array_equal(got, true if batched else true[0])


def test_exact_beyond_float64() -> None:
    """Sums that float64 would round."""
    a, b = np.full((2, 3), 2**31 - 1), np.full((3, 2), 2**28 + 1)
    b[1] = 1
    assert np.array_equal(check_op("matmul", a, Operand(b, kind="param")), slow(a) @ slow(b))
    x, w = np.full((1, 2, 2), 2**31 - 1), np.full((1, 1, 2, 2), 2**27 + 1)
    assert check_op("conv2d", x, Operand(w, kind="param")).tolist() == [[[4 * (2**31 - 1) * (2**27 + 1)]]]


def test_l1_bounds_narrow_the_interval() -> None:
    rng = np.random.default_rng(1)
    w = rng.integers(-1, 2, size=(4, 3)) * 100
    l1 = int(np.abs(w).sum(0).max())
    operands = [Operand(rng.integers(-128, 128, size=(2, 4))), Operand(w, kind="param", l1=(((0,), l1),))]
    program, inputs = op_program("matmul", operands)
    t = infer_types(program).results[0]
    assert t is not None
    assert t.interval == (max(-l1 * 128, -128 * 100 * 4), min(l1 * 128, 128 * 100 * 4))
    assert check(program, inputs).system.results[0].interval == t.interval

    kernel = rng.integers(-1, 2, size=(2, 1, 3, 3)) * 100
    bound = int(np.abs(kernel).sum((1, 2, 3)).max())
    x = rng.integers(-128, 128, size=(1, 4, 4))
    program, inputs = op_program("conv2d", [Operand(x), Operand(kernel, kind="param", l1=(((1, 2, 3), bound),))])
    assert check(program, inputs).system.results[0].interval == (-128 * bound, 128 * bound)


def test_l1_bound_of_a_broadcast_axis() -> None:
    """The param's summed axes do not hold the letter i: its entries occur once per i."""
    w = np.array([[1, 2], [-3, 0]])
    operands = [Operand(np.full((3, 2), 127), DType.I8), Operand(w, kind="param", l1=(((0,), 4),))]
    program, inputs = op_program("einsum", operands, spec="ij,jk->k")
    assert check(program, inputs).system.results[0].interval == (-4 * 3 * 128, 4 * 3 * 128)


def test_padding_is_part_of_the_interval() -> None:
    """A positive image with zeros around gives sums below the unpadded minimum."""
    x = Operand(np.full((1, 2, 2), 10), bounds=(9, 10))
    w = Operand(np.ones((1, 1, 2, 2), np.int64), kind="param")
    program, inputs = op_program("conv2d", [x, w], pad=(1, 1))
    assert check(program, inputs).system.results[0].interval == (0, 40)


def test_a_param_stays_whole_and_a_product_is_committed_before_its_windows() -> None:
    rng = np.random.default_rng(2)
    code = [instruction("mul", "p", "x", "x"), instruction("conv2d", "y", "p", "w", pad=(1, 1))]
    operands = {"x": Operand(random_array(rng, (2, 4, 4))), "w": Operand(random_array(rng, (3, 2, 3, 3)), kind="param")}
    program, inputs = program_of(operands, code, ["y"])
    done = check(program, inputs)
    node = done.system.results[1]
    assert isinstance(node, g.Product)
    assert isinstance(node.inputs[1], g.ParamTensor)
    assert [c.shape for c in done.columns if c.defined_by is not None] == [(1, 2, 4, 4)]
    assert done.mutations(rng) == []


def test_products_in_a_loop() -> None:
    """Executions of the data meet one param."""
    rng = np.random.default_rng(3)
    w = random_array(rng, (3, 3))
    code = [
        instruction("mov", "s", "x"),
        instruction("repeat", None, count=3),
        instruction("matmul", "u", "s", "w"),
        instruction("rescale", "s", "u", shift=7, dtype=DType.I8),
        instruction("end", None),
    ]
    x = random_array(rng, (2, 3))
    program, inputs = program_of({"x": Operand(x), "w": Operand(w, kind="param")}, code, ["s", "u"])
    s = x
    for _ in range(3):
        s = np.clip((s @ w + 64) >> 7, -128, 127)
    done = check(program, inputs)
    assert np.array_equal(done.trace.outputs["s"], s)
    assert done.mutations(rng) == []


@pytest.mark.parametrize(
    ("op", "shapes", "attrs"),
    [
        ("mul", [(2,), (3,)], {}),
        ("dot", [(2,), ()], {}),
        ("dot", [(2, 3), (2, 1)], {}),
        ("matmul", [(2, 3), (2, 3)], {}),
        ("matmul", [(2, 1), (3, 2)], {}),
        ("matmul", [(2, 2, 3), (3, 3, 2)], {}),
        ("matmul", [(), (3,)], {}),
        ("einsum", [(2, 2)], {"spec": "ii->i"}),
        ("einsum", [(2, 2)], {"spec": "ij->ijj"}),
        ("einsum", [(2, 2)], {"spec": "ij->k"}),
        ("einsum", [(2, 2)], {"spec": "ij"}),
        ("einsum", [(2, 2)], {"spec": "i->i"}),
        ("einsum", [(2, 1), (2, 2)], {"spec": "ij,jk->ik"}),
        ("einsum", [(2,), (2,), (2,)], {"spec": "i,i,i->i"}),
        ("conv2d", [(2, 4, 4), (1, 1, 3, 3)], {}),
        ("conv2d", [(2, 4, 4), (3, 1, 3, 3)], {"groups": 2}),
        ("conv2d", [(1, 2, 2), (1, 1, 3, 3)], {}),
        ("conv2d", [(4, 4), (1, 1, 3, 3)], {}),
        ("conv2d", [(1, 4, 4), (1, 1, 3, 3)], {"stride": (0, 1)}),
        ("conv2d", [(1, 4, 4), (1, 1, 3, 3)], {"groups": 0}),
    ],
)
def test_refusals(op: str, shapes: list[tuple[int, ...]], attrs: dict[str, object]) -> None:
    program, _ = op_program(op, [Operand(np.ones(s, np.int64)) for s in shapes], **attrs)
    with pytest.raises(TypeRuleError):
        build(program)


def test_accumulator_overflow_is_refused() -> None:
    program, _ = op_program("matmul", [Operand(np.ones((1, 2)), DType.I32), Operand(np.ones((2, 1)), DType.I32)])
    with pytest.raises(TypeRuleError, match="beyond"):
        build(program)
