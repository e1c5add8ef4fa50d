"""Terms, ranges and arguments of very different sizes: dead layers, clips of large values, functions that oscillate."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from syurmy.compiler import compile_model, load
from syurmy.compiler.emit import Emitter
from syurmy.compiler.narrowing import Narrowing
from syurmy.compiler.scales import Precision
from syurmy.isa.types import DType, TensorType
from tests.compiler.harness import check, evaluated, floats, helper, model_of

node = helper.make_node
FINE = {"tolerance": 1e-12}  # more than 16 bits can give: the finer program is tried


def rng() -> np.random.Generator:
    return np.random.default_rng(11)


@pytest.mark.parametrize("options", [{}, FINE, {"weights": 8}], ids=["plain", "fine", "8 bits"])
@pytest.mark.parametrize("size", [1e-25, 1e-41, 1e-12, 0.0])
def test_a_dead_layer_keeps_its_bias(size: float, options: dict[str, Any]) -> None:
    r = rng()
    x, w, b = floats(r, 1, 4), (floats(r, 3, 4) * size).astype(np.float32), np.array([0.5, -0.2, 0.25], np.float32)
    gemm = [node("Gemm", ["x", "w", "b"], ["a"], transB=1), node("Relu", ["a"], ["y"])]
    check(gemm, {"x": x}, {"w": w, "b": b}, options=options)
    apart = [node("MatMul", ["x", "w"], ["m"]), node("Add", ["m", "b"], ["y"])]
    check(apart, {"x": x}, {"w": np.ascontiguousarray(w.T), "b": b}, options=options)
    image = floats(r, 1, 2, 5, 5)
    kernel = (floats(r, 3, 2, 3, 3) * size).astype(np.float32)
    check("Conv", {"x": image}, {"w": kernel, "b": b}, options=options)
    check(
        [node("Mul", ["x", "s"], ["m"]), node("Add", ["m", "x"], ["y"])], {"x": x}, {"s": np.float32(size).reshape(())}
    )


@pytest.mark.parametrize("options", [{}, FINE], ids=["plain", "fine"])
def test_a_clip_of_large_values_keeps_the_small(options: dict[str, Any]) -> None:
    r = rng()
    x, w = (
        np.rint(floats(r, 2, 16) * 64) / 64,
        np.rint(floats(r, 16, 64) * 1000),
    )  # exact until the clip
    x[0, 1:] = 0
    x[0, 0] = 1 / 512
    bounds = {"lo": np.float32(0).reshape(()), "hi": np.float32(6).reshape(())}
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("Clip", ["h", "lo", "hi"], ["y"])]
    check(nodes, {"x": x}, {"w": w, **bounds}, options=options)
    bounds["lo"] = np.float32(-1).reshape(())
    check(nodes, {"x": x}, {"w": w, **bounds}, options=options)


@pytest.mark.parametrize("op", ["Cos", "Sin"])
@pytest.mark.parametrize("reach", [3, 30])
def test_functions_that_oscillate(op: str, reach: int) -> None:
    """Of an argument with more than 16 bits: two tables help a root, not a wave."""
    x = (rng().uniform(-reach, reach, (1, 4096))).astype(np.float32)
    nodes = [node("Mul", ["x", "x1"], ["p"]), node(op, ["p"], ["y"])]
    check(nodes, {"x": x, "x1": np.ones((1, 1), np.float32)}, options=FINE, tolerance=2e-4 if reach < 10 else 2e-3)


def test_functions_that_are_steep_near_zero() -> None:
    x = (rng().uniform(0, 1, (1, 8192)) ** 4).astype(np.float32) + np.float32(1e-4)
    nodes = [node("Mul", ["x", "x1"], ["p"]), node("Sqrt", ["p"], ["r"]), node("Erf", ["r"], ["y"])]
    check(nodes, {"x": x, "x1": np.ones((1, 1), np.float32)}, options=FINE, tolerance=5e-4)


def test_squeeze_and_excitation_of_deep_accumulators() -> None:
    """Blocks of convolution, hard swish, global average and gate: there is a finer program."""
    r = rng()
    channels, constants, nodes, last = 12, {}, [], "x"
    for k in range(4):
        constants |= {f"w{k}": floats(r, channels, channels, 3, 3) / 6, f"b{k}": floats(r, channels) / 4}
        constants |= {f"d{k}": floats(r, 4, channels, 1, 1), f"u{k}": floats(r, channels, 4, 1, 1)}
        nodes += [node("Conv", [last, f"w{k}", f"b{k}"], [f"c{k}"], pads=[1, 1, 1, 1]),
                  node("HardSwish", [f"c{k}"], [f"h{k}"]),
                  node("GlobalAveragePool", [f"h{k}"], [f"g{k}"]), node("Conv", [f"g{k}", f"d{k}"], [f"e{k}"]),
                  node("Relu", [f"e{k}"], [f"r{k}"]), node("Conv", [f"r{k}", f"u{k}"], [f"v{k}"]),
                  node("HardSigmoid", [f"v{k}"], [f"s{k}"]), node("Mul", [f"h{k}", f"s{k}"], [f"m{k}"]),
                  node("Add", [f"m{k}", f"h{k}"], [f"y{k}"])]  # fmt: skip
        last = f"y{k}"
    nodes.append(node("Identity", [last], ["y"]))
    done = check(nodes, {"x": floats(r, 1, channels, 12, 12)}, constants, options={"tolerance": 1e-5}, tolerance=6e-4)
    assert done.fine
    assert done.missed is None or "no finer program" not in done.missed.help


def test_products_of_unlike_columns_leave_weights_their_bits(tmp_path: Path) -> None:
    """Income times rate, the logarithm of income, a square and the rate itself, in one layer: their integers are so
    long that nothing was left for the weights."""
    r = rng()
    x = np.stack([r.lognormal(10.5, 0.6, 120), r.uniform(18, 90, 120), r.exponential(0.02, 120)], 1).astype(np.float32)
    places = {name: np.array(k) for k, name in enumerate(("zero", "one", "two"))}
    nodes = [
        *(node("Gather", ["x", place], [name], axis=1) for place, name in zip(places, "abc", strict=True)),
        *(node("Unsqueeze", [name, "axis"], [f"{name}1"]) for name in "abc"),
        node("Mul", ["a1", "c1"], ["p"]), node("Log", ["a1"], ["l"]), node("Mul", ["b1", "b1"], ["s"]),
        node("Concat", ["p", "l", "s", "c1"], ["z"], axis=1), node("Gemm", ["z", "w", "d"], ["y"]),
    ]  # fmt: skip
    z = np.stack([x[:, 0] * x[:, 2], np.log(x[:, 0]), x[:, 1] ** 2, x[:, 2]], 1)
    w = (np.array([0.8, -1.1, 0.6, 1.4]) / z.std(0)).astype(np.float32)[:, None]
    constants = {**places, "axis": np.array([1]), "w": w, "d": -(z.mean(0) @ w).astype(np.float32)}
    model = model_of(nodes, {"x": x[:1]}, ["y"], constants)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # whatever is missed
        done = compile_model(load.prepare(model), tmp_path / "m", calibrate={"x": x[:, None]})
    assert done.error < 5e-4
    want = [evaluated(model, {"x": row[None]})[0].item() for row in x]
    off = [abs(done.run({"x": row[None]}).outputs["y"].item() - y) for row, y in zip(x, want, strict=True)]
    assert max(off) < 5e-4 * np.ptp(want)


def test_interpolation_between_the_quantiles_of_unlike_features(tmp_path: Path) -> None:
    """As scikit-learn's QuantileTransformer is written: places of one flat table by comparisons, then a slope that is
    large where steps are small, times what is left of a step."""
    r, width = rng(), 6
    sizes = np.array([2e5, 3.0, 1e-2], np.float32)
    bins = np.cumsum(r.random((3, width)) + 0.1, axis=1)
    bins = (bins / bins[:, -1:] * sizes[:, None]).astype(np.float32)
    bins[1] = np.array([0, 0, 1, 2, 2, 3])  # steps of no length
    steps = [
        ("Unsqueeze", "x last", "u"), ("GreaterOrEqual", "u bins", "ge"), ("Cast", "ge", "ones"),
        ("ReduceSum", "ones last", "n"), ("Add", "n starts", "i"), ("Add", "i one", "j"),
        ("Gather", "edges i", "a"), ("Gather", "edges j", "b"), ("Sub", "b a", "step"), ("Sub", "x a", "left"),
        ("Gather", "heights i", "ya"), ("Gather", "heights j", "yb"), ("Sub", "yb ya", "dy"),
        ("Div", "dy step", "slope"), ("Mul", "slope left", "part"), ("Add", "ya part", "y"),
    ]  # fmt: skip
    options: dict[str, dict[str, int]] = {"Cast": {"to": 7}, "ReduceSum": {"keepdims": 0}}
    nodes = [node(op, read.split(), [made], **options.get(op, {})) for op, read, made in steps]
    ends = [bins[:, :1] - sizes[:, None], bins, bins[:, -1:] + sizes[:, None]]
    constants = {
        "last": np.array([-1]), "one": np.array(1), "starts": np.arange(3)[None] * (width + 2), "bins": bins[None],
        "edges": np.concatenate(ends, axis=1).reshape(-1),
        "heights": np.tile(np.linspace(0, 1, width + 2, dtype=np.float32), 3),
    }  # fmt: skip
    x = (r.random((40, 1, 3)) * sizes).astype(np.float32)
    x[::4, :, 1] = np.rint(x[::4, :, 1])
    model = model_of(nodes, {"x": x[0]}, ["y"], constants)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = compile_model(load.prepare(model), tmp_path / "m", calibrate={"x": x[:24]})
        assert done.missed is None
        for one in x[24:]:
            assert np.abs(done.run({"x": one}).outputs["y"] - evaluated(model, {"x": one})[0]).max() < 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_long_products(seed: int) -> None:
    """By halves, of integers of up to 60 bits of either sign: one in 2^50 of what the bounds allow."""
    r = np.random.default_rng(seed)
    out = Emitter("long", 4)
    c = Narrowing(out, Precision(fine=True, sloped=True))
    sides = []
    for name, bits in (("a", 59), ("b", 20 + 15 * seed)):
        values = [r.integers(-(2**bits), 2**bits, 8) for _ in range(4)]
        sides.append(out.input(name, TensorType(DType.I64, (8,), -(2**bits), 2**bits), 2.0**-bits, values, True))
    y = c._long(sides[0], sides[1])
    for a, b, found in zip(sides[0].values, sides[1].values, y.values, strict=True):
        want = a * sides[0].scale * (b * sides[1].scale)
        assert np.abs(found * y.scale - want).max() < 2.0**-50
