"""Logarithms of power spectra: everything that they show, far below the peak too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

import syurmy
from syurmy.compiler import CompiledModel
from syurmy.isa.arrays import Array
from tests.compiler.harness import compiled, evaluated, helper, model_of, outputs_of

LENGTH, STEP, BINS = 64, 32, 33


def sound(rng: np.random.Generator) -> Array:
    """A tone that fades by 70 dB, and noise 80 dB below it; whole numbers of 16 bits."""
    t = np.arange(1024)
    x = 32000 * 10 ** (-70 / 20 * t / len(t)) * np.sin(0.6 * t) + rng.normal(0, 3, len(t))
    x[0] = 32767
    return np.rint(x).astype(np.float32)[None, None]


def analysis() -> dict[str, Array]:
    """Hann windows times cosines and sines, and bands of 3 bins each."""
    t = np.arange(LENGTH)
    phase = 2 * np.pi * np.outer(np.arange(BINS), t) / LENGTH
    window = np.hanning(LENGTH)
    bands = np.kron(np.eye(11), np.ones((3, 1)) / 3) * np.linspace(1, 0.1, 11)
    parts = {"cos": window * np.cos(phase), "sin": window * np.sin(phase) * 0.9}
    return {**{k: v[:, None].astype(np.float32) for k, v in parts.items()}, "bands": bands.astype(np.float32),
            "bandsT": bands.T.astype(np.float32), "low": np.array(100.0, np.float32),
            "two": np.array(2, np.float32)}  # fmt: skip


def graph(bounded: str, left: bool) -> list[onnx.NodeProto]:
    node = helper.make_node
    nodes = [node("Conv", ["x", "cos"], ["re"], strides=[STEP]), node("Conv", ["x", "sin"], ["im"], strides=[STEP])]
    re, im = "re", "im"
    if not left:
        nodes += [node("Transpose", [k], [f"{k}T"], perm=[0, 2, 1]) for k in ("re", "im")]
        re, im = "reT", "imT"
    nodes += [node("Pow", [re, "two"], ["re2"]), node("Mul", [im, im], ["im2"]), node("Add", ["re2", "im2"], ["p"]),
              node("MatMul", ["bandsT", "p"] if left else ["p", "bands"], ["m"])]  # fmt: skip
    last = {"Clip": ["m", "low"], "Max": ["low", "m"], "Add": ["m", "low"]}[bounded]
    return [*nodes, node(bounded, last, ["f"]), node("Log", ["f"], ["y"])]


def make(nodes: Sequence[onnx.NodeProto], x: Array, folder: Path) -> tuple[onnx.ModelProto, CompiledModel]:
    constants = analysis()
    used = {k: v for k, v in constants.items() if any(k in n.input for n in nodes)}
    model = model_of(nodes, {"x": x}, ["y"], used)
    return model, compiled(model, {"x": x}, folder, margin=1.0)  # one unit of the input is one of the sound


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("bounded", ["Clip", "Max", "Add"])
def test_a_spectrum_over_eighty_decibels(bounded: str, left: bool, tmp_path: Path) -> None:
    """Errors are absolute in the logarithm, 0.01 is 0.04 dB; a second sound, and silence, were not calibrated on."""
    x = sound(np.random.default_rng(0))
    model, done = make(graph(bounded, left), x, tmp_path)
    other = x.copy()
    other[..., 512:] = 0
    other[..., :512] = sound(np.random.default_rng(1))[..., ::2]
    for sample in (x, other):
        (expected,) = evaluated(model, {"x": sample}, runtime=True)
        assert np.ptp(expected) > 18  # 78 dB
        error = np.abs(outputs_of(done, {"x": sample})["y"] - expected)
        assert error.max() < 0.02
        assert error.mean() < 0.002


def test_a_proof_of_a_spectrum(tmp_path: Path) -> None:
    x = sound(np.random.default_rng(0))[..., :256]
    _, done = make(graph("Clip", False), x, tmp_path)
    trace = syurmy.run(done.program, done.quantise({"x": x}))
    proving_key, verifying_key = syurmy.setup(done.program)
    statement = syurmy.verify(verifying_key, syurmy.prove(proving_key, trace).to_bytes())
    for name, value in trace.outputs.items():
        np.testing.assert_array_equal(statement.outputs[name], value)


def test_differences_are_no_powers(tmp_path: Path) -> None:
    """With a band of negative weight the logarithm's source can be anything: it keeps its own lowering."""
    x = sound(np.random.default_rng(0))
    nodes = graph("Max", False)
    constants = analysis()
    constants["bands"][0, 0] = -0.1
    model = model_of(nodes, {"x": x}, ["y"], {k: v for k, v in constants.items() if k != "bandsT"})
    done = compiled(model, {"x": x}, tmp_path)
    assert {r.op for r in done.rows} & {"MatMul", "Pow"} == {"MatMul", "Pow"}
    assert not {r.op for r in done.rows} & {"Bands", "Power", "Level"}
