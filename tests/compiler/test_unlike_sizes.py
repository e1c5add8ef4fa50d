"""Terms, ranges and arguments of very different sizes: dead layers, clips of large values, functions that oscillate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.compiler.harness import check, floats, helper

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
