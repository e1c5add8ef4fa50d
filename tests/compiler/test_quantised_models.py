"""Models that onnxruntime has quantised: bit for bit, whatever the format. And what makes that so: step functions."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper
from onnx.reference import ReferenceEvaluator

import syurmy
from benchmarks import models
from syurmy.compiler import steps
from syurmy.compiler.ops.quantised import Ratio
from tests.compiler.harness import check, compiled, evaluated, floats, model_of, outputs_of
from tests.drawing import SEEDS, examples

ort = pytest.importorskip("onnxruntime")
SOME = examples(12)


def quantised_lenet(folder: Path, form: str) -> Path:
    """LeNet-5, quantised statically on its calibration images."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    known, _ = models.MODELS["lenet5"].inputs(16, 0)

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(known)

        def get_next(self) -> Any:
            return next(self.left, None)

    prepared, path = folder / "prepared.onnx", folder / "quantised.onnx"
    quant_pre_process(str(models.MODELS["lenet5"].path()), str(prepared))
    model = onnx.load(prepared)
    model.opset_import[0].version, model.ir_version = 21, 10  # what the reference evaluator knows; no operator differs
    onnx.save(model, prepared)
    quantize_static(
        str(prepared), str(path), Reader(), per_channel=form == "QDQ per channel",
        quant_format=QuantFormat.QOperator if form == "QOperator" else QuantFormat.QDQ,
        reduce_range=form == "QOperator",  # 7-bit weights: onnxruntime's 8-bit sums saturate on some processors
        activation_type=QuantType.QInt8 if form == "QDQ int8" else QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    return path


@pytest.mark.parametrize("form", ["QDQ", "QDQ per channel", "QDQ int8", "QOperator"])
def test_a_quantised_network_is_exact(form: str, tmp_path: Path) -> None:
    """Real outputs are integers at the model's own scale: equality of reals is equality of integers."""
    path = quantised_lenet(tmp_path, form)
    _, new = models.MODELS["lenet5"].inputs(0, 20)
    known, _ = models.MODELS["lenet5"].inputs(8, 0)
    calibration = {"image": np.stack([s["image"] for s in known])}
    done = syurmy.compile_onnx(path, tmp_path / "made", calibrate=calibration)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    reference = None if form == "QOperator" else ReferenceEvaluator(onnx.load(path))
    unit = done.outputs[0].scale
    for s in new:
        ours = np.rint(outputs_of(done, s)["logits"] / unit)
        for want in (session.run(None, s)[0], *([reference.run(None, s)[0]] if reference else [])):
            np.testing.assert_array_equal(ours, np.rint(np.asarray(want, np.float64) / unit))
    trace = syurmy.run(done.program, done.quantise(new[0]))
    key, verifying_key = syurmy.setup(done.program)
    statement = syurmy.verify(verifying_key, syurmy.prove(key, trace).to_bytes())
    np.testing.assert_array_equal(statement.outputs[done.outputs[0].name], trace.outputs[done.outputs[0].name])


@SOME
@given(SEEDS, st.sampled_from([(-128, 127), (0, 255), (-32768, 32767)]), st.integers(4, 22), st.booleans())
def test_steps_and_maps(seed: int, limits: tuple[int, int], bits: int, tie: bool) -> None:
    """Thresholds against the function on every integer; a linear map where there is one, else one that is above."""
    rng = np.random.default_rng(seed)
    count = 3
    ratios = (limits[1] - limits[0]) / 2.0**bits * rng.uniform(0.2, 2, (count, 1))
    ratios = (2.0 ** np.rint(np.log2(ratios)) if tie else ratios).astype(np.float32)
    f = Ratio(ratios, rng.integers(-20, 20, (count, 1)), limits)
    lo, hi = -(2 ** (bits - 1)), 2 ** (bits - 1)
    s = steps.thresholds(f, count, lo, hi)
    a = np.unique(np.clip(np.concatenate([rng.integers(lo, hi + 1, 2000), [lo, hi], s.at.ravel()[:2000]]), lo, hi))
    a = np.broadcast_to(a, (count, len(a)))
    y = f(a, slice(0, count))
    for r in range(count):
        np.testing.assert_array_equal(y[r], s.first + np.searchsorted(s.at[r], a[r], side="right"))
    found = steps.linear(s)
    if found is not None:
        assert not steps.differs(s, f, found)
        np.testing.assert_array_equal(np.clip(found(a), s.first, s.last), y)
        worse = steps.Linear(found.mult, found.offset + (1 << found.shift), found.shift)
        assert len(s.levels) == 0 or steps.differs(s, f, worse)
    near = steps.above(s)
    assert near is not None
    assert set(np.unique(np.clip(near(a), s.first, s.last) - y)) <= {0, 1}


@SOME
@given(SEEDS, st.integers(8, 16), st.sampled_from([np.int8, np.uint8, np.int16]), st.booleans(), st.booleans())
def test_requantised_products(seed: int, inner: int, dtype: Any, channels: bool, relu: bool) -> None:
    """Dequantise, Gemm with bias, Relu or Clip, quantise: the correctly rounded function of the exact accumulator."""
    rng = np.random.default_rng(seed)
    info = np.iinfo(dtype)
    n = 5 if channels else 1
    c: dict[str, Any] = {
        "sx": np.float32(rng.uniform(0.001, 0.1)), "zx": np.array(rng.integers(0, 50), dtype),
        "w": rng.integers(-127, 128, (inner, 5)).astype(np.int8), "sw": rng.uniform(0.001, 0.05, n).astype(np.float32),
        "zw": np.zeros(n, np.int8), "b": floats(rng, 5), "sy": np.float32(rng.uniform(0.01, 0.2)),
        "zy": np.array(rng.integers(-20 if info.min else 0, 50), dtype)}  # fmt: skip
    if not channels:
        c["sw"], c["zw"] = c["sw"].reshape(()), c["zw"].reshape(())
    x = rng.integers(info.min, int(info.max) + 1, (4, inner)).astype(dtype)
    node = helper.make_node
    nodes = [node("DequantizeLinear", ["x", "sx", "zx"], ["xr"]),
             node("DequantizeLinear", ["w", "sw", "zw"], ["wr"], axis=1),
             node("Gemm", ["xr", "wr", "b"], ["g"])]  # fmt: skip
    nodes += [node("Relu", ["g"], ["r"])] if relu else []
    nodes.append(node("QuantizeLinear", ["r" if relu else "g", "sy", "zy"], ["y"]))
    model = model_of(nodes, {"x": x}, ["y"], c)
    with tempfile.TemporaryDirectory() as folder:
        done = compiled(model, {"x": x}, Path(folder))
        ours = outputs_of(done, {"x": x})["y"].astype(np.int64)
    acc = (x.astype(np.int64) - int(c["zx"])) @ c["w"].astype(np.int64)
    unit = float(c["sx"]) * np.float64(c["sw"]).reshape(-1)
    real = (acc * unit).astype(np.float32) + c["b"]
    real = np.maximum(real, 0) if relu else real
    exact = np.clip(np.rint(real / c["sy"]).astype(np.float64) + int(c["zy"]), info.min, info.max)
    np.testing.assert_array_equal(ours, exact)
    (reference,) = evaluated(model, {"x": x})
    assert np.abs(reference.astype(np.int64) - ours).max() <= 1  # its float32 sums are in an order of their own


@SOME
@given(SEEDS, st.sampled_from(["Add", "Mul", "Sub"]), st.booleans())
def test_functions_of_two_quantised_tensors(seed: int, op: str, equal: bool) -> None:
    rng = np.random.default_rng(seed)
    x, y = (rng.integers(0, 256, (3, 40)).astype(np.uint8) for _ in range(2))
    s = rng.uniform(0.005, 0.1, 3).astype(np.float32)
    c: dict[str, Any] = {"s0": s[0], "s1": s[0] if equal else s[1], "s2": s[2], "z0": np.uint8(7), "z1": np.uint8(120),
                         "z2": np.uint8(30)}  # fmt: skip
    node = helper.make_node
    nodes = [node("DequantizeLinear", ["x", "s0", "z0"], ["a"]), node("DequantizeLinear", ["y", "s1", "z1"], ["b"]),
             node(op, ["a", "b"], ["r"]), node("QuantizeLinear", ["r", "s2", "z2"], ["q"])]  # fmt: skip
    check(nodes, {"x": x, "y": y}, c, outputs=("q",))


@SOME
@given(SEEDS, st.sampled_from([1.0, 0.0, -3.0]))
def test_dynamic_quantisation(seed: int, shift: float) -> None:
    """Scale and integers as far as 16 bits of the source determine them: within one step. Then a product of it."""
    rng = np.random.default_rng(seed)
    x = floats(rng, 4, 12) + np.float32(shift)
    model = model_of([helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])], {"x": x}, ["y", "s", "z"])
    with tempfile.TemporaryDirectory() as folder:
        found = outputs_of(compiled(model, {"x": x}, Path(folder)), {"x": x})
    y, s, z = evaluated(model, {"x": x})
    assert np.abs(found["y"].astype(int) - y).max() <= 1
    assert abs(float(found["s"]) - float(s)) < 1e-3 * float(s)
    assert abs(int(found["z"]) - int(z)) <= 1
    node = helper.make_node
    c: dict[str, Any] = {"w": rng.integers(-127, 128, (12, 6)).astype(np.int8), "sw": np.float32(0.01),
                         "b": floats(rng, 6)}  # fmt: skip
    nodes = [node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]), node("MatMulInteger", ["q", "w", "z"], ["i"]),
             node("Cast", ["i"], ["f"], to=1), node("Mul", ["s", "sw"], ["u"]), node("Mul", ["f", "u"], ["p"]),
             node("Add", ["p", "b"], ["y"])]  # fmt: skip
    check(nodes, {"x": x}, c, tolerance=2e-2)


@pytest.mark.parametrize("signed", [True, False])
def test_scales_per_block(signed: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(-90, 90, (4, 6)).astype(np.int8)
    c = {"s": rng.uniform(0.1, 2, (2, 6)).astype(np.float32), "one": np.float32(1),
         "z": rng.integers(-9, 9, (2, 6)).astype(np.int8) if signed else np.zeros((2, 6), np.int8)}  # fmt: skip
    node = helper.make_node
    check([node("DequantizeLinear", ["x", "s", "z"], ["y"], axis=0, block_size=2)], {"x": x}, {k: c[k] for k in "sz"})
    nodes = [node("DequantizeLinear", ["x", "one"], ["r"]),
             node("QuantizeLinear", ["r", "s", "z"], ["y"], axis=0, block_size=2)]  # fmt: skip
    check(nodes, {"x": x}, c)
