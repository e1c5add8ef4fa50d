"""A compiled folder: reals in and out, record, report, determinism, saturation; and a proof that verifies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

import syurmy
from syurmy import vm
from syurmy.compiler import CompiledModel, compile_model, compile_onnx, load
from syurmy.isa.arrays import Array
from syurmy.isa.encoding import encode
from syurmy.isa.errors import InputError
from tests.compiler.harness import floats, model_of


def network() -> tuple[onnx.ModelProto, Array]:
    """Convolution, relu, pooling, a dense layer and softmax; and eight samples."""
    rng = np.random.default_rng(0)
    node = helper.make_node
    nodes = [node("Conv", ["image", "w1", "b1"], ["c"], pads=[1, 1, 1, 1], name="first"), node("Relu", ["c"], ["r"]),
             node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]), node("Flatten", ["p"], ["f"]),
             node("Gemm", ["f", "w2", "b2"], ["g"], transB=1), node("Softmax", ["g"], ["class/scores"])]  # fmt: skip
    constants = {
        "w1": floats(rng, 4, 1, 3, 3),
        "b1": floats(rng, 4),
        "w2": floats(rng, 5, 64) / 8,
        "b2": floats(rng, 5),
    }
    model = model_of(nodes, {"image": floats(rng, 1, 1, 8, 8)}, ["class/scores"], constants)
    return load.prepare(model), floats(rng, 8, 1, 8, 8)


def run(done: CompiledModel, x: Array) -> Array:
    return done.dequantise(vm.run(done.program, done.quantise({"image": x})).outputs)["class/scores"]


def test_reals_in_reals_out(tmp_path: Path) -> None:
    model, samples = network()
    done = compile_model(model, tmp_path / "m", calibrate={"image": samples})
    again = CompiledModel.read(tmp_path / "m")
    assert again.inputs == done.inputs
    assert again.outputs == done.outputs
    assert encode(again.program) == encode(done.program)
    expected = ReferenceEvaluator(model).run(None, {"image": samples[:1]})[0]
    for d in (done, again):
        y = run(d, samples[:1])
        assert y.dtype == np.float32
        np.testing.assert_allclose(y, expected, atol=1e-3)
    with np.load(tmp_path / "m" / "example-input.npz") as example:
        np.testing.assert_array_equal(example["image"], samples[:1])
    assert "Conv 'first'" in (tmp_path / "m" / "model.tasm").read_text()
    assert "least accurate" in done.report()
    assert sum(r.lookups for r in again.rows) > 0


def test_compilation_is_deterministic(tmp_path: Path) -> None:
    model, samples = network()
    a, b = (compile_model(model, tmp_path / k, calibrate={"image": samples}) for k in "ab")
    assert encode(a.program) == encode(b.program)
    for name in ("model.tasm", "model.safetensors", "model.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_eight_bits_and_visibility(tmp_path: Path) -> None:
    model, samples = network()
    done = compile_model(model, tmp_path / "m", calibrate={"image": samples}, weights=8, activations=8,
                         public_inputs=True, committed_params=False)  # fmt: skip
    assert done.program.inputs[0].public
    assert not any(p.committed for p in done.program.params)
    agree = [
        run(done, x[None]).argmax() == ReferenceEvaluator(model).run(None, {"image": x[None]})[0].argmax()
        for x in samples
    ]
    assert sum(agree) >= len(agree) - 1
    with pytest.raises(InputError):
        compile_model(model, tmp_path / "n", weights=7)


def test_values_beyond_the_samples_saturate(tmp_path: Path) -> None:
    model, samples = network()
    done = compile_model(model, tmp_path / "m", calibrate={"image": samples})
    for x in (samples[:1] * 1000, -samples[:1] * 1000, np.full((1, 1, 8, 8), 1e30, np.float32)):
        trace = vm.run(done.program, done.quantise({"image": x}), check_intervals=True)
        assert np.isfinite(done.dequantise(trace.outputs)["class/scores"]).all()


def test_inputs_are_checked(tmp_path: Path) -> None:
    model, samples = network()
    done = compile_model(model, tmp_path / "m", calibrate={"image": samples})
    bad = ({}, {"image": samples[:1], "more": samples}, {"image": np.full((1, 1, 8, 8), np.nan, np.float32)})
    for inputs in bad:
        with pytest.raises(InputError):
            done.quantise(inputs)
    with pytest.raises(InputError):
        CompiledModel.read(tmp_path)


def test_a_compiled_model_is_proven(tmp_path: Path) -> None:
    model, samples = network()
    onnx.save(model, tmp_path / "model.onnx")
    done = compile_onnx(tmp_path / "model.onnx", tmp_path / "m", calibrate={"image": samples})
    trace = syurmy.run(done.program, done.quantise({"image": samples[:1]}))
    proving, verifying = syurmy.setup(done.program)
    statement = syurmy.verify(verifying, syurmy.prove(proving, trace).to_bytes())
    shown = done.dequantise(statement.outputs)["class/scores"]
    np.testing.assert_array_equal(shown, done.dequantise(trace.outputs)["class/scores"])
