"""Random instances of linear maps and of control flow; see ``instances``."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from syurmy.isa.arrays import Array
from tests.compiler.instances import Draw, Instance, integers, of

FLOAT, INT, BOOL = (int(t) for t in (TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL))
node = helper.make_node


@of("DFT")
def dft(d: Draw, op: str) -> Instance:
    """Inverse ones and one-sided ones of real numbers; padded or cut to another length."""
    onesided, inverse = d.one((0, 0), (0, 1), (1, 0))
    shape = [*d.shape(1, 3), 1 if onesided else d.int(1, 2)]
    axis = d.int(0, len(shape) - 2)
    length = d.one(shape[axis], shape[axis] + 2, max(1, shape[axis] - 1))
    return {"inputs": {"x": d.floats(*shape)}, "opset": 20, "onesided": onesided, "inverse": inverse, "peak": 1,
            "constants": {"n": np.array(length), "a": np.array(axis - len(shape) * d.flag())},
            "tolerance": 5e-4}  # fmt: skip


@of("STFT")
def stft(d: Draw, op: str) -> Instance:
    frame, onesided = d.int(2, 6), d.flag()
    constants = {"s": np.array(d.int(1, 4)), "w": np.abs(d.floats(frame)) + np.float32(0.1), "n": np.array(frame)}
    return {"inputs": {"x": d.floats(d.int(1, 2), frame + d.int(0, 9), 1)}, "constants": constants, "peak": 1,
            "onesided": onesided, "tolerance": 5e-4}  # fmt: skip


@of("Col2Im")
def col2im(d: Draw, op: str) -> Instance:
    block, image = [d.int(1, 2), d.int(1, 3)], [d.int(3, 5), d.int(3, 5)]
    strides, pads = [d.int(1, 2), d.int(1, 2)], [d.flag() for _ in range(4)]
    counts = [(image[k] + pads[k] + pads[k + 2] - block[k]) // strides[k] + 1 for k in range(2)]
    x = d.floats(d.int(1, 2), 2 * math.prod(block), math.prod(counts))
    return {"inputs": {"x": x}, "constants": {"i": integers(*image), "b": integers(*block)}, "strides": strides,
            "pads": pads, "peak": 1, "tolerance": 5e-4}  # fmt: skip


@of("GridSample")
def grid_sample(d: Draw, op: str) -> Instance:
    batch = d.int(1, 2)
    grid = d.rng.uniform(-1.2, 1.2, (batch, 2, 3, 2)).astype(np.float32)
    return {"inputs": {"x": d.floats(batch, 2, 3, 4)}, "constants": {"g": grid}, "mode": d.one("linear", "nearest"),
            "padding_mode": d.one("zeros", "border", "reflection"), "align_corners": d.flag(), "peak": 1,
            "tolerance": 5e-4}  # fmt: skip


@of("RoiAlign")
def roi_align(d: Draw, op: str) -> Instance:
    count = d.int(1, 3)
    corner, size = d.rng.uniform(0, 3, (count, 2)), d.rng.uniform(1, 4, (count, 2))
    constants = {"r": np.concatenate([corner, corner + size], 1).astype(np.float32), "b": d.ints(0, 1, count)}
    return {"inputs": {"x": d.floats(2, 2, 6, 5)}, "constants": constants, "mode": d.one("avg", "max"),
            "sampling_ratio": d.int(0, 2), "output_height": d.int(1, 3), "output_width": d.int(1, 3), "peak": 1,
            "tolerance": 5e-4, "opset": d.one(16, 22)}  # fmt: skip


def body(name: str, nodes: Sequence[onnx.NodeProto], inputs: Sequence[tuple[str, int, Sequence[int] | None]],
         outputs: Sequence[str], **constants: Array) -> onnx.GraphProto:  # fmt: skip
    return helper.make_graph(list(nodes), name, [helper.make_tensor_value_info(*i) for i in inputs],
                             [helper.make_empty_tensor_value_info(o) for o in outputs],
                             [numpy_helper.from_array(v, k) for k, v in constants.items()])  # fmt: skip


@of("If")
def branch(d: Draw, op: str) -> Instance:
    """By a flag that folds, with an inner If that reads the outer input and a constant of the branch."""
    inner = [body(k, [node(f, ["x", f"w{k}"], [f"y{k}"])], [], [f"y{k}"], **{f"w{k}": d.floats(1)})
             for k, f in (("p", "Add"), ("q", "Mul"))]  # fmt: skip
    then = body("t", [node("If", ["c"], ["yt"], then_branch=inner[0], else_branch=inner[1])], [], ["yt"])
    other = body("e", [node("Neg", ["x"], ["ye"])], [], ["ye"])
    nodes = [node("Shape", ["x"], ["s"]), node("ReduceProd", ["s"], ["n"], keepdims=0), node("Less", ["n", "k"], ["c"]),
             node("If", ["c"], ["y"], then_branch=then, else_branch=other)]  # fmt: skip
    return {"op": nodes, "inputs": {"x": d.floats(*d.shape(1, 2))}, "constants": {"k": np.array(d.one(1, 100))}}


@of("Loop")
def loop(d: Draw, op: str) -> Instance:
    """A state, a stacked output, the iteration's number, a condition that ends it early."""
    inner = [node("Cast", ["i"], ["f"], to=FLOAT), node("Mul", ["a", "w"], ["m"]), node("Add", ["m", "f"], ["n"]),
             node("Add", ["n", "x"], ["o"]), node("Less", ["i", "most"], ["go"])]  # fmt: skip
    graph = body("b", inner, [("i", INT, []), ("c", BOOL, []), ("a", FLOAT, None)], ["go", "n", "o"],
                 w=np.array(0.5, np.float32), most=np.array(d.int(0, 4)))  # fmt: skip
    nodes = [node("Loop", ["trips", "", "x"], ["y", "z"], body=graph)]
    return {"op": nodes, "inputs": {"x": d.floats(*d.shape(1, 2))}, "constants": {"trips": np.array(d.int(1, 4))},
            "outputs": ("y", "z"), "tolerance": 5e-4, "runtime": True}  # fmt: skip


@of("Scan")
def scan(d: Draw, op: str) -> Instance:
    """A running sum along any axis, forwards or backwards, and its history."""
    inner = [node("Add", ["a", "p"], ["n"]), node("Mul", ["n", "w"], ["o"])]
    graph = body("b", inner, [("a", FLOAT, None), ("p", FLOAT, None)], ["n", "o"], w=np.array(0.5, np.float32))
    shape = [d.int(1, 4) for _ in range(3)]
    axis, out = d.int(0, 2), d.int(0, 2)
    state = [n for k, n in enumerate(shape) if k != axis]
    nodes = [node("Scan", ["s", "x"], ["y", "z"], body=graph, num_scan_inputs=1, scan_input_axes=[axis],
                  scan_input_directions=[d.flag()], scan_output_axes=[out],
                  scan_output_directions=[d.flag()])]  # fmt: skip
    return {"op": nodes, "inputs": {"s": d.floats(*state), "x": d.floats(*shape)}, "outputs": ("y", "z"), "peak": 2,
            "runtime": True}  # fmt: skip


@of("BlackmanWindow", "HammingWindow", "HannWindow", "Range", "MelWeightMatrix")
def folded(d: Draw, op: str) -> Instance:
    """Constants, multiplied by data."""
    inputs = {"Range": [np.float32(1), np.float32(7), np.float32(1)],
              "MelWeightMatrix": [np.array(k) for k in (6, 10, 8000)] + [np.float32(0), np.float32(4000)],
              }.get(op, [np.array(6)])  # fmt: skip
    constants = {f"c{k}": np.asarray(v) for k, v in enumerate(inputs)}
    nodes = [node(op, list(constants), ["w"]), node("Mul", ["x", "w"], ["y"])]
    return {"op": nodes, "inputs": {"x": d.floats(*d.one([6, 6], [2, 6, 6]))}, "constants": constants,
            "tolerance": 3e-4}  # fmt: skip
