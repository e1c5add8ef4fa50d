import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syurmy.isa.errors import Trap, TypeRuleError
from syurmy.isa.types import DType
from tests.drawing import SEEDS, examples
from tests.isa.forgery import Forger, pin_op
from tests.isa.graph_eval import KINDS, Operand, check, check_op, instruction, op_program, program_of, random_array

I8, I16, I32, I64 = DType

EDGE = {"shift": 30, "dtype": I32, "lo": 2**30 - 2, "hi": 2**30}  # where one excess for both ends would reach too far


@examples(60)
@given(
    st.sampled_from(list(DType)),
    st.sampled_from([I8, I16, I32]),
    st.sampled_from([0, 1, 8, 15, 16, 17, 32, 33, 48]),
    st.sampled_from([1, 3, 2**31 - 1]),
    SEEDS,
    st.sampled_from(KINDS),
)
def test_rescale_equals_python(source, target, shift, mult, seed, kind):
    rng = np.random.default_rng(seed)
    x = random_array(rng, (2, 4), source, extreme=bool(seed % 2))
    bounds = None
    if source.hi * mult >= 2**61:
        bounds = (-(2**61 // mult), 2**61 // mult - 1)
        x = np.clip(x, *bounds)
    got = check_op("rescale", Operand(x, source, kind, bounds), shift=shift, dtype=target, mult=mult)
    half = (1 << shift) >> 1
    assert got.tolist() == [[min(max((v * mult + half) >> shift, target.lo), target.hi) for v in r] for r in x.tolist()]


@examples(60)
@given(
    st.sampled_from(list(DType)), st.sampled_from([0, 1, 8, 17]), st.sampled_from([1, 3]), st.integers(-130, 130),
    st.integers(1, 300), st.sampled_from("lhb"), SEEDS,
)  # fmt: skip
def test_rescale_between_bounds(source, shift, mult, lo, width, which, seed):
    x = random_array(np.random.default_rng(seed), (2, 4), source, extreme=bool(seed % 2))
    bounds = (-(2**59), 2**59) if source is I64 else None
    x = x if bounds is None else np.clip(x, *bounds)
    attrs = {k: v for k, v in (("lo", lo), ("hi", lo + width)) if which in (k[0], "b")}
    got = check_op("rescale", Operand(x, source, bounds=bounds), shift=shift, dtype=I16, mult=mult, **attrs)
    low, high = attrs.get("lo", I16.lo), attrs.get("hi", I16.hi)
    half = (1 << shift) >> 1
    assert got.tolist() == [[min(max((v * mult + half) >> shift, low), high) for v in r] for r in x.tolist()]


@pytest.mark.parametrize("attrs", [{"lo": 3, "hi": 3}, {"lo": 4, "hi": 3}, {"lo": -129}, {"hi": 128}, {"hi": -128}])
def test_rescale_bounds_are_in_order_inside_the_dtype(attrs):
    with pytest.raises(TypeRuleError):
        check_op("rescale", [1], shift=1, dtype=I8, **attrs)


@pytest.mark.parametrize(
    ("shift", "mult", "dtype"), [(49, 1, I8), (-1, 1, I8), (3, 0, I8), (3, 2**31, I8), (3, 1, I64)]
)
def test_rescale_attributes(shift, mult, dtype):
    with pytest.raises(TypeRuleError):
        check_op("rescale", [1], shift=shift, mult=mult, dtype=dtype)


@examples(40)
@given(
    st.sampled_from(list(DType)),
    st.integers(-200, 200),
    st.integers(0, 300),
    st.sampled_from("lhb"),
    st.integers(0, 99),
)
def test_clamp_equals_python(dtype, lo, width, which, seed):
    lo = min(max(lo, dtype.lo), dtype.hi)
    hi = min(lo + width, dtype.hi)
    x = random_array(np.random.default_rng(seed), (2, 4), dtype, extreme=bool(seed % 2))
    attrs = {k: v for k, v in (("lo", lo), ("hi", hi)) if which in (k[0], "b")}
    got = check_op("clamp", Operand(x, dtype), **attrs)
    low, high = attrs.get("lo", -(2**63)), attrs.get("hi", 2**63)
    assert got.tolist() == [[min(max(v, low), high) for v in r] for r in x.tolist()]


def test_clamp_refusals():
    for attrs in ({}, {"lo": 3, "hi": 2}, {"lo": 200}):
        with pytest.raises(TypeRuleError):
            check_op("clamp", Operand([1], I8), **attrs)


@examples(30)
@given(
    st.sampled_from(list(DType)),
    st.sampled_from(list(DType)),
    st.booleans(),
    st.integers(0, 99),
    st.sampled_from(KINDS),
)
def test_cast_keeps_values(source, target, positive, seed, kind):
    x = random_array(np.random.default_rng(seed), (2, 4), min(source, target, key=lambda d: d.bits), bool(seed % 2))
    x = np.maximum(x, 0) if positive else x
    bounds = (0 if positive else source.lo, source.hi)
    assert np.array_equal(check_op("cast", Operand(x, source, kind, bounds), dtype=target), x)


@pytest.mark.parametrize("x", [128, -129])
def test_cast_traps(x):
    with pytest.raises(Trap, match="does not fit i8") as caught:
        check_op("cast", Operand([[5, x]], I16), dtype=I8)
    assert caught.value.element == (0, 1)


def test_cast_of_a_product_becomes_a_column():
    values = {"c": Operand([0, 1], bounds=(0, 1)), "a": Operand([100, -100], I32), "b": Operand([7, 7], I32)}
    code = [instruction("select", "s", "c", "a", "b"), instruction("cast", "y", "s", dtype=I8)]
    honest = check(*program_of(values, code, ["y"]))
    assert not honest.system.results[1].has_product


@pytest.mark.parametrize(
    ("op", "x", "attrs"),
    [
        pytest.param("rescale", Operand([300, -77, -129], I16), {"shift": 3, "dtype": I8}, marks=pytest.mark.slow),
        pytest.param(
            "rescale", Operand([3000000, -77, -12900000], I32), {"shift": 17, "dtype": I8}, marks=pytest.mark.slow
        ),
        pytest.param("rescale", Operand([-77, 2**40], I64), {"shift": 20, "dtype": I16}, marks=pytest.mark.slow),
        pytest.param(
            "rescale", Operand([3000000, 32768, -32769], I32), {"shift": 0, "dtype": I16}, marks=pytest.mark.slow
        ),
        ("rescale", Operand([300, -77, -129], I16), {"shift": 3, "dtype": I16, "lo": 0}),
        pytest.param(
            "rescale",
            Operand([3000000, -77, -12900000], I32),
            {"shift": 4, "dtype": I32, "lo": 0, "hi": 2**20 - 1},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "rescale",
            Operand([(2**30 + 1) << 30, (2**30 - 3) << 30, 5], I64, bounds=(-(2**61), 2**61 - 1)),
            EDGE,
            marks=pytest.mark.slow,
        ),
        ("clamp", Operand([100, -5, 5], I8), {"lo": -3, "hi": 20}),
        pytest.param("clamp", Operand([100000, -77777777, 5], I32), {"lo": -3, "hi": 20}, marks=pytest.mark.slow),
        ("cast", Operand([100, -77, 5], I32), {"dtype": I8}),
        pytest.param("cast", Operand([100, -77, 5], I64), {"dtype": I32}, marks=pytest.mark.slow),
    ],
)
def test_pinned(op, x, attrs):
    assert pin_op(op, x, **attrs) == {}


@pytest.mark.slow
def test_only_the_upper_check_stops_a_result_beyond_it():
    """21 for 20 takes result, excess and bit together: more than the search for forgeries changes at once."""
    source, attrs = Operand([2752512, -917504, 400000], I32), {"shift": 17, "dtype": I16, "lo": -5, "hi": 20}
    assert pin_op("rescale", source, **attrs) == {"deletion": ["Lookup 'result upper'"]}
    forger = Forger(*op_program("rescale", [source], **attrs))
    columns = {c.label: c for c in forger.system.columns}
    forged = {columns[label]: forger.base[columns[label]].copy() for label in ("result", "excess", "above")}
    for values, value in zip(forged.values(), (21, 0, 0), strict=True):
        values.reshape(-1)[0] = value
    failed = {forger.constraints[i].label.removesuffix(" limb 0") for i in forger.failed(forged)}
    assert failed == {"result upper"}
