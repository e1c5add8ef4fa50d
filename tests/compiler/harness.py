"""Compiles one-node models and compares the program with the ONNX reference evaluator, node by node exact in shape."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from syurmy import vm
from syurmy.compiler import CompiledModel, compile_model, load
from syurmy.isa.arrays import Array

OPSET = 21


def model_of(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Array],
    outputs: Sequence[str],
    constants: Mapping[str, Array] | None = None,
    opset: int = OPSET,
    runtime: bool = False,
) -> onnx.ModelProto:
    """A model from nodes; inputs are typed by sample arrays, outputs by shape inference."""

    def info(name: str, x: Array) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)

    outs = [onnx.ValueInfoProto(name=o) for o in outputs]
    graph = helper.make_graph(
        list(nodes),
        "case",
        [info(k, v) for k, v in inputs.items()],
        outs,
        [numpy_helper.from_array(v, k) for k, v in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    results = evaluated(model, inputs, runtime)
    del model.graph.output[:]
    model.graph.output.extend(info(o, np.asarray(r)) for o, r in zip(outputs, results, strict=True))
    return model


def evaluated(model: onnx.ModelProto, inputs: Mapping[str, Array], runtime: bool = False) -> list[Array]:
    """What the ONNX reference evaluator says; ``runtime``: onnxruntime, where the reference is known to be wrong."""
    if runtime:
        import onnxruntime

        options = onnxruntime.SessionOptions()  # not fused: integer kernels saturate at 16 bits on some processors
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return [np.asarray(y) for y in session.run(None, dict(inputs))]
    return [np.asarray(y) for y in ReferenceEvaluator(model).run(None, dict(inputs))]


def compiled(model: onnx.ModelProto, inputs: Mapping[str, Array], folder: Path, **options: Any) -> CompiledModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compile_model(load.prepare(model), folder, calibrate={k: v[None] for k, v in inputs.items()}, **options)


def outputs_of(done: CompiledModel, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The program's outputs as reals, every write compared with its static interval."""
    trace = vm.run(done.program, done.quantise(inputs), check_intervals=True)
    return done.dequantise(trace.outputs)


def check(
    op: str | Sequence[onnx.NodeProto],
    inputs: Mapping[str, Array],
    constants: Mapping[str, Array] | None = None,
    *,
    tolerance: float = 2e-4,
    outputs: Sequence[str] = ("y",),
    order: Sequence[str] | None = None,
    opset: int = OPSET,
    options: Mapping[str, Any] | None = None,
    runtime: bool = False,
    peak: float = 1e-6,
    rounded: bool = False,
    **attributes: Any,
) -> CompiledModel:
    """Compiles ``op`` (or nodes) calibrated on ``inputs`` and asserts that every output is within ``tolerance`` of the
    reference, relative to the output's peak (or ``peak``, where outputs cancel); integers and booleans must be equal.
    ``order``: names of the node's inputs, by default inputs, then constants. ``runtime``: see ``evaluated``.
    ``rounded``: the error that the lowering documents is, besides, what half a unit of an input does to the result,
    which is more than ``tolerance`` where the function is much steeper than its value is large (sin near pi)."""
    nodes = (
        [helper.make_node(op, list(order or (*inputs, *(constants or {}))), list(outputs), **attributes)]
        if isinstance(op, str)
        else list(op)
    )
    model = model_of(nodes, inputs, outputs, constants, opset, runtime)
    expected = evaluated(model, inputs, runtime)
    with tempfile.TemporaryDirectory() as folder:
        done = compiled(model, inputs, Path(folder), **(options or {}))
        found = outputs_of(done, inputs)
    moved = steepness(model, inputs, expected, runtime) if rounded else [np.zeros(())] * len(expected)
    for name, e, extra in zip(outputs, expected, moved, strict=True):
        y = found[name]
        assert y.shape == e.shape, f"{name}: shape {y.shape}, expected {e.shape}"
        assert y.dtype == e.dtype
        if e.dtype.kind == "f":
            error = (np.abs(y.astype(np.float64) - e) - extra).max()
            reach = max(float(np.abs(e).max()), peak)
            assert error <= tolerance * reach, f"{name}: error {error}, {error / reach:.2g} of {reach}"
        else:
            np.testing.assert_array_equal(y, e)
    return done


UNIT = 2**-12.7  # of the peak: the largest that one unit of 16 bits can be (docs/numerics.md)


def steepness(model: onnx.ModelProto, inputs: Mapping[str, Array], at: Sequence[Array], runtime: bool) -> list[Array]:
    """What half a unit of an input, up or down, does to each entry of the outputs, which are ``at`` for ``inputs``."""
    most = [np.zeros(y.shape) for y in at]
    for moved, x in inputs.items():
        for half in (UNIT / 2, -UNIT / 2):
            near = {**inputs, moved: np.asarray(x + half * np.abs(x).max(), x.dtype)}
            pairs = zip(most, evaluated(model, near, runtime), at, strict=True)
            most = [np.maximum(m, np.abs(y.astype(np.float64) - y0)) for m, y, y0 in pairs]
    return most


def floats(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


__all__ = ["TensorProto", "check", "compiled", "floats", "helper", "model_of", "outputs_of"]
