"""Bad models get one clear error each, and nothing is written."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from syurmy.compiler import (
    ModelError,
    UnsupportedModel,
    apart,
    bounds,
    compile_model,
    compile_onnx,
    graph,
    load,
    scales,
    sizes,
)
from syurmy.compiler.bodies import engine
from syurmy.compiler.ordered import sort
from syurmy.isa import exact, wellformed
from tests.compiler.harness import floats, model_of


def linear(opset: int = 21) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    node = helper.make_node("Gemm", ["x", "w"], ["y"], name="fc")
    return model_of([node], {"x": floats(rng, 1, 64)}, ["y"], {"w": floats(rng, 64, 10)}, opset)


def refused(path: Path, code: str, out: Path, **options: object) -> str:
    with pytest.raises(ModelError) as caught:
        compile_onnx(path, out, **options)  # type: ignore[arg-type]
    assert caught.value.code == code
    assert not out.exists()
    return f"{caught.value.message} | {caught.value.help}"


@pytest.mark.parametrize("kept", [0, 1, 40, 0.5, 0.99])
def test_truncated(tmp_path: Path, kept: float) -> None:
    data = linear().SerializeToString()
    (tmp_path / "m.onnx").write_bytes(data[: int(kept if kept > 1 or kept in (0, 1) else kept * len(data))])
    with pytest.raises(ModelError) as caught:
        compile_onnx(tmp_path / "m.onnx", tmp_path / "out")
    assert caught.value.code in ("M101", "M103", "M104")
    assert not (tmp_path / "out").exists()


def test_not_onnx_and_missing(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("this is not a model, but a sentence")
    refused(tmp_path / "m.onnx", "M101", tmp_path / "out")
    refused(tmp_path / "none.onnx", "F100", tmp_path / "out")


FOREIGN = {
    b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1\n": "git lfs pull",
    b"\x1c\x00\x00\x00TFL3\x14\x00": "tf2onnx.convert --tflite",
    b"PK\x03\x04\x00\x00": "torch.onnx.export",
    b"\x80\x02\x8a\nl\xfc": "torch.onnx.export",
    b"\x89HDF\r\n\x1a\n\x00": "tf2onnx.convert --keras",
    b"GGUF\x03\x00": "optimum-cli export onnx",
    b'\x40\x00\x00\x00\x00\x00\x00\x00{"w":{"dtype"': "whose weights these are",
    b'{"learner": {}}': "onnxmltools",
}


@pytest.mark.parametrize("start", FOREIGN)
def test_models_of_other_kinds_say_how_to_export(start: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(start + bytes(200))
    assert FOREIGN[start] in refused(tmp_path / "m.onnx", "M101", tmp_path / "out")


def test_a_folder_of_tensorflow_says_how_to_export(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "saved_model.pb").write_bytes(b"x")
    assert "--saved-model" in refused(tmp_path / "m", "M101", tmp_path / "out")


def test_external_data_that_was_not_fetched(tmp_path: Path) -> None:
    onnx.save(linear(), tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    (tmp_path / "w.bin").write_bytes(next(iter(FOREIGN)))
    assert "git lfs pull" in refused(tmp_path / "m.onnx", "M102", tmp_path / "out")


def test_operators_that_nobody_defines_are_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ATen", ["x"], ["t"], name="bag", domain="org.pytorch.aten", operator="embedding_bag"),
        helper.make_node("Fancy", ["t"], ["y"], name="mine", domain="my.own"),
    ]
    info = [helper.make_tensor_value_info(k, TensorProto.FLOAT, [4]) for k in "xy"]
    opsets = [helper.make_opsetid(d, 1 if d else 17) for d in ("", "org.pytorch.aten", "my.own")]
    model = helper.make_model(helper.make_graph(nodes, "g", info[:1], info[1:]), opset_imports=opsets, ir_version=8)
    onnx.save(model, tmp_path / "m.onnx")
    said = refused(tmp_path / "m.onnx", "M110", tmp_path / "out", calibrate={"x": np.ones((1, 4))})
    assert "embedding_bag" in said
    assert "opset_version" in said
    assert "my.own.Fancy 'mine'" in said


@pytest.mark.parametrize("name", ["true", "false", "i8"])
def test_a_graph_with_a_reserved_name(name: str, tmp_path: Path) -> None:
    model = linear()
    model.graph.name = name
    onnx.save(model, tmp_path / "m.onnx")
    compile_onnx(tmp_path / "m.onnx", tmp_path / "out", calibrate={"x": np.ones((1, 64))})


def test_external_data(tmp_path: Path) -> None:
    onnx.save(linear(), tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    compile_onnx(tmp_path / "m.onnx", tmp_path / "ok", calibrate={"x": np.ones((1, 64))})
    (tmp_path / "w.bin").rename(tmp_path / "elsewhere.bin")
    assert "w.bin" in refused(tmp_path / "m.onnx", "M102", tmp_path / "out")


def test_too_large(tmp_path: Path) -> None:
    with (tmp_path / "m.onnx").open("wb") as f:
        f.truncate(2**31)  # sparse: takes no space
    assert "2.0 GiB" in refused(tmp_path / "m.onnx", "M106", tmp_path / "out")


def test_cycle_and_undefined(tmp_path: Path) -> None:
    m = linear()
    m.graph.node.insert(0, helper.make_node("Add", ["x", "b"], ["a"], name="first"))
    m.graph.node.insert(1, helper.make_node("Relu", ["a"], ["b"], name="second"))
    (tmp_path / "m.onnx").write_bytes(m.SerializeToString())
    message = refused(tmp_path / "m.onnx", "M103", tmp_path / "out")
    assert "first" in message
    assert "second" in message
    m.graph.node[1].input[0] = "nothing"
    (tmp_path / "m.onnx").write_bytes(m.SerializeToString())
    assert "'nothing'" in refused(tmp_path / "m.onnx", "M103", tmp_path / "out")


def rounds_of(nodes: list[onnx.NodeProto]) -> list[str]:
    """The definition: all that read nothing which is still to be written, again and again."""
    done: list[str] = []
    while nodes:
        written = {o for n in nodes for o in n.output}
        ready = [n for n in nodes if not written.intersection(n.input)]
        done += [n.output[0] for n in ready]
        nodes = [n for n in nodes if n not in ready]
    return done


@pytest.mark.parametrize("seed", range(6))
def test_order_of_nodes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    nodes = []
    for k in range(40):
        read = [f"t{j}" if j >= 0 else "x" for j in rng.integers(-2, k, 3) if j < k]
        nodes.append(helper.make_node("Sum", [*read, "x"], [f"t{k}"]))
    nodes = [nodes[k] for k in rng.permutation(40)] if seed else nodes
    shape = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph(nodes, "case", [shape], [helper.make_tensor_value_info("t39", TensorProto.FLOAT, [1])])
    sort(graph)
    assert [n.output[0] for n in graph.node] == rounds_of(nodes)


def test_unsorted_nodes_are_sorted(tmp_path: Path) -> None:
    m = linear()
    m.graph.node[0].output[0] = "h"
    m.graph.node.insert(0, helper.make_node("Relu", ["h"], ["y"]))
    compile_model(load.prepare(m), tmp_path / "out", calibrate={"x": np.ones((1, 64))})


@pytest.mark.parametrize("version", [6, 99])
def test_opset(tmp_path: Path, version: int) -> None:
    m = linear()
    m.opset_import[0].version = version
    (tmp_path / "m.onnx").write_bytes(m.SerializeToString())
    assert str(version) in refused(tmp_path / "m.onnx", "M104", tmp_path / "out")


def test_nan_weight(tmp_path: Path) -> None:
    m = linear()
    w = numpy_helper.to_array(m.graph.initializer[0]).copy()
    w[3, 4] = np.nan
    m.graph.initializer[0].CopyFrom(numpy_helper.from_array(w, "w"))
    (tmp_path / "m.onnx").write_bytes(m.SerializeToString())
    assert "'w' is NaN at [3, 4]" in refused(tmp_path / "m.onnx", "M105", tmp_path / "out")


def test_shapes(tmp_path: Path) -> None:
    m = linear()
    dims = m.graph.input[0].type.tensor_type.shape.dim
    dims[1].dim_param = "width"
    path = tmp_path / "m.onnx"
    path.write_bytes(m.SerializeToString())
    assert "--shape x=1,?" in refused(path, "M107", tmp_path / "out")
    refused(path, "M107", tmp_path / "out", shapes={"x": [2, 64]})  # the model says 1
    refused(path, "M107", tmp_path / "out", shapes={"z": [1, 64]})
    dims[0].dim_param = "batch"
    path.write_bytes(m.SerializeToString())
    done = compile_onnx(path, tmp_path / "a", shapes={"x": [3, 64]}, calibrate={"x": np.ones((3, 64))})
    assert done.inputs[0].shape == (3, 64)


def test_calibration_data(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(linear().SerializeToString())
    for data in ({}, {"x": np.ones(3)}, {"x": np.ones((1, 64)), "z": np.ones(1)}, {"x": np.full((1, 64), np.nan)}):
        refused(path, "M109", tmp_path / "out", calibrate=data)
    with pytest.warns(UserWarning, match="random samples"):
        compile_onnx(path, tmp_path / "ok")


def test_everything_unsupported_at_once(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("NonMaxSuppression", ["boxes", "scores"], ["picked"], name="nms"),
        helper.make_node("RandomNormalLike", ["boxes"], ["noise"], name="noise"),
    ]
    boxes = helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 4, 4])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 1, 4])
    outs = [
        helper.make_tensor_value_info("picked", TensorProto.INT64, None),
        helper.make_tensor_value_info("noise", TensorProto.FLOAT, [1, 4, 4]),
    ]
    graph = helper.make_graph(nodes, "g", [boxes, scores], outs)
    m = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "m.onnx"
    path.write_bytes(m.SerializeToString())
    with pytest.warns(UserWarning, match="random samples"), pytest.raises(UnsupportedModel) as caught:
        compile_onnx(path, tmp_path / "out")
    assert {p.node for p in caught.value.problems} == {"nms", "noise"}
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("known", ["no shape", "no type"])
def test_outputs_that_inference_knows_nothing_of(known: str, tmp_path: Path) -> None:
    """A runtime finds out by itself; the function MeanVarianceNormalization has no inference of its own."""
    x = floats(np.random.default_rng(1), 8, 2, 3, 4, 4)
    model = model_of([helper.make_node("MeanVarianceNormalization", ["x"], ["y"])], {"x": x[0]}, ["y"])
    output = model.graph.output[0]
    output.type.tensor_type.ClearField("shape") if known == "no shape" else output.ClearField("type")
    done = compile_model(load.prepare(model), tmp_path / "m", calibrate={"x": x})
    assert done.outputs[0].shape == (2, 3, 4, 4)


def test_old_files_whose_initializers_are_no_inputs(tmp_path: Path) -> None:
    """IR 3 asks for both; runtimes do not."""
    model = linear(11)
    model.ir_version = 3
    x = floats(np.random.default_rng(1), 8, 1, 64)
    assert compile_model(load.prepare(model), tmp_path / "m", calibrate={"x": x}).outputs[0].shape == (1, 10)


def test_large_weights_are_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing depends on which weights are outside the model while it is simplified and runs, nor on blocks in which
    large ones are taken."""
    rng = np.random.default_rng(3)
    nodes = [
        helper.make_node("Conv", ["x", "k", "b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["g"], alpha=2.0),
        helper.make_node("MatMul", ["g", "v"], ["y"]),
    ]
    x = floats(rng, 1, 2, 4, 4)
    constants = {"k": floats(rng, 3, 2, 2, 2), "b": floats(rng, 3), "w": floats(rng, 27, 9), "v": floats(rng, 9, 4)}
    model = model_of(nodes, {"x": x}, ["y"], constants)
    made, sessions = [], []
    for least in (apart.LARGE, 40):  # bytes
        monkeypatch.setattr(apart, "LARGE", least)
        monkeypatch.setattr(apart, "WORTH", least)
        for module in (exact, scales, wellformed) if made else ():
            monkeypatch.setattr(module, "BLOCK", 8)
        ready = load.prepare(model)
        runner = graph.Runner(ready)
        assert runner._session is not None
        assert sorted(runner.weights) == ([] if least > 40 else ["k", "v", "w"])
        sessions.append(runner({"x": x})["y"])
        folder = compile_model(ready, tmp_path / str(least), calibrate={"x": x}).folder
        made.append({p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()})
    assert (sessions[0] == sessions[1]).all()
    assert made[0] == made[1]


def test_a_free_first_axis_that_is_not_a_batch_is_named(tmp_path: Path) -> None:
    """What a model that cannot be run says is what onnxruntime says, and which shape was taken for granted."""
    w = np.ones((1, 4, 3), np.float32)
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]),
        helper.make_node("Unsqueeze", ["t", "zero"], ["u"]),
        helper.make_node("Conv", ["u", "w"], ["y"]),
    ]
    model = model_of(nodes, {"x": np.ones((8, 4), np.float32)}, ["y"], {"w": w, "zero": np.array([0])})
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "time"
    model.graph.output[0].ClearField("type")
    onnx.save(model, tmp_path / "m.onnx")
    said = refused(tmp_path / "m.onnx", "M108", tmp_path / "out")
    assert "Conv" in said
    assert "--shape x=" in said
    assert compile_onnx(tmp_path / "m.onnx", tmp_path / "out", shapes={"x": (8, 4)}).outputs[0].shape == (1, 1, 6)


def test_bodies_read_after_what_they_read_is_written(tmp_path: Path) -> None:
    """An If is not ready when its condition is: silero's models for voices were "not topologically sorted"."""
    value = helper.make_tensor_value_info("b", TensorProto.FLOAT, None)
    bodies = [helper.make_graph([helper.make_node(op, ["h"], ["b"])], op, [], [value]) for op in ("Relu", "Neg")]
    nodes = [
        helper.make_node("Neg", ["x"], ["g"]),
        helper.make_node("Tanh", ["g"], ["h"]),
        helper.make_node("If", ["yes"], ["y"], then_branch=bodies[0], else_branch=bodies[1]),
    ]
    x = np.array([[-1.0, 0.5, 2.0]], np.float32)
    onnx.save(model_of(nodes, {"x": x}, ["y"], {"yes": np.array(True)}), tmp_path / "m.onnx")
    done = compile_onnx(tmp_path / "m.onnx", tmp_path / "out", calibrate={"x": x})
    assert np.abs(done.run({"x": x}).outputs["y"] - np.maximum(np.tanh(-x), 0)).max() < 1e-4


def nested(depth: int, last: str) -> onnx.ModelProto:
    """Functions each of which calls the one before twice; the first is a Relu, or calls ``last``."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]

    def function(k: int) -> onnx.FunctionProto:
        called = f"f{k - 1}" if k else last
        domain = "own" if called.startswith("f") else ""
        nodes = [helper.make_node(called, [a], [b], domain=domain) for a, b in ("xt", "ty")]
        return helper.make_function("own", f"f{k}", ["x"], ["y"], nodes, opsets)

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node(f"f{depth - 1}", ["x"], ["y"], domain="own")], "g", ends[:1], ends[1:])
    functions = [function(k) for k in range(depth)]
    return helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=8)


def test_functions_that_multiply_or_recur_are_refused_before_they_are_written_out(tmp_path: Path) -> None:
    assert len(load.prepare(nested(3, "Relu")).graph.node) <= 8
    for depth, last, code in ((16, "Relu", "M114"), (40, "Relu", "M114"), (3, "f2", "M108")):
        onnx.save(nested(depth, last), tmp_path / "m.onnx")
        assert "function" in refused(tmp_path / "m.onnx", code, tmp_path / "out")
    assert bounds.inlined(nested(14, "Relu")).graph.node


def unevaluated(nodes: list[onnx.NodeProto], shape: list[int], constants: dict[str, np.ndarray]) -> onnx.ModelProto:
    """``model_of`` without running it: from 'x' to 'y' of one shape."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy"]
    weights = [numpy_helper.from_array(v, k) for k, v in constants.items()]
    made = helper.make_graph(nodes, "case", ends[:1], ends[1:], weights)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def grown(kind: str, to: int) -> onnx.ModelProto:
    """A model of a few nodes that makes about ``to`` entries."""
    count = np.array([to], np.int64)
    scales = np.array([to**0.5, to**0.5], np.float32)
    made: dict[str, tuple[list[onnx.NodeProto], dict[str, np.ndarray]]] = {
        "ConstantOfShape": ([helper.make_node("ConstantOfShape", ["n"], ["t"])], {"n": count}),
        "Pow": (
            [helper.make_node("Pow", ["n", "two"], ["m"]), helper.make_node("ConstantOfShape", ["m"], ["t"])],
            {"n": np.array([round(to**0.5)]), "two": np.array(2)},
        ),
        "Range": (
            [helper.make_node("Range", ["a", "n", "b"], ["r"]), helper.make_node("Cast", ["r"], ["t"], to=1)],
            {"a": np.array(0), "n": np.array(to), "b": np.array(1)},
        ),
        "Expand": ([helper.make_node("Expand", ["x", "n"], ["t"])], {"n": np.array([to, 1, 1])}),
        "Tile": ([helper.make_node("Tile", ["x", "n"], ["t"])], {"n": np.array([to, 1])}),
        "Pad": ([helper.make_node("Pad", ["x", "n"], ["t"])], {"n": np.array([to, 0, 0, 0])}),
        "Resize": ([helper.make_node("Resize", ["x", "", "n"], ["t"])], {"n": scales}),
        "Concat": (
            [
                helper.make_node("Concat", [f"x{k}" if k else "x"] * 2, [f"x{k + 1}"], axis=1)
                for k in range(to.bit_length())
            ]
            + [helper.make_node("Identity", [f"x{to.bit_length()}"], ["t"])],
            {},
        ),
    }
    nodes, constants = made[kind]
    nodes = [
        *nodes,
        helper.make_node("ReduceSum", ["t"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    return unevaluated(nodes, [1, 4], constants)


KINDS = ["ConstantOfShape", "Pow", "Range", "Expand", "Tile", "Pad", "Resize", "Concat"]


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_are_known_before_anything_is_computed(kind: str, tmp_path: Path) -> None:
    onnx.save(grown(kind, 2**40), tmp_path / "m.onnx")
    assert "entries" in refused(tmp_path / "m.onnx", "M114", tmp_path / "out")
    load.prepare(grown(kind, 16))


def test_tensors_that_no_machine_holds_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes.host, "memory", lambda: 1000)
    load.prepare(grown("Tile", 4))
    with pytest.raises(ModelError, match="together") as e:
        load.prepare(grown("Tile", 64))
    assert e.value.code == "M114"


STATE = {  # what a round makes of its state s
    "Concat": ([helper.make_node("Concat", ["s", "s"], ["t"], axis=1)], {}),
    "Tile": ([helper.make_node("Tile", ["s", "n"], ["t"])], {"n": np.array([1, 3])}),
    "Pad": ([helper.make_node("Pad", ["s", "n"], ["t"])], {"n": np.array([0, 0, 0, 10**5])}),
    "Reshape": (
        [
            helper.make_node("Reshape", ["s", "n"], ["a"]),
            helper.make_node("Reshape", ["s", "m"], ["b"]),
            helper.make_node("Mul", ["a", "b"], ["t"]),
        ],
        {"n": np.array([-1, 1]), "m": np.array([1, -1])},
    ),
    "Expand": (
        [
            helper.make_node("Shape", ["s"], ["a"]),
            helper.make_node("Mul", ["a", "n"], ["b"]),
            helper.make_node("Unsqueeze", ["s", "m"], ["f"]),
            helper.make_node("Concat", ["n", "a"], ["g"], axis=0),
            helper.make_node("Expand", ["f", "g"], ["e"]),
            helper.make_node("Reshape", ["e", "b"], ["t"]),
        ],
        {"n": np.array([4]), "m": np.array([0])},
    ),
}


def growing(kind: str, rounds: int, first: str = "true", ends: str = "c", bodies: int = 1) -> onnx.ModelProto:
    """Loops, one inside the other, whose state grows; ``ends``: what says whether the next round runs."""
    nodes, constants = STATE[kind]
    for k in range(bodies):
        body = helper.make_graph(
            [*nodes, helper.make_node("Identity", [ends if k == 0 else "c"], ["d"])],
            f"body{k}",
            [
                helper.make_tensor_value_info("i", TensorProto.INT64, []),
                helper.make_tensor_value_info("c", TensorProto.BOOL, []),
                helper.make_tensor_value_info("s", TensorProto.FLOAT, None),
            ],
            [helper.make_tensor_value_info(o, t, None) for o, t in (("d", TensorProto.BOOL), ("t", TensorProto.FLOAT))],
        )
        inside = k + 1 < bodies
        nodes = [helper.make_node("Loop", ["rounds", first, "s" if inside else "x"], ["t"], body=body)]
    nodes += [helper.make_node("ReduceSum", ["t"], ["sum"], keepdims=0), helper.make_node("Add", ["x", "sum"], ["y"])]
    weights = {**constants, "rounds": np.array(rounds), "true": np.array(True)}
    shape = [2] if kind == "Expand" else [1, 4]
    return unevaluated(nodes, shape, weights)


@pytest.mark.parametrize("kind", STATE)
def test_states_that_grow_are_refused_before_a_round_is_run(kind: str) -> None:
    with pytest.raises(UnsupportedModel, match="state 0 changes its shape"):
        load.prepare(growing(kind, 30))
    load.prepare(growing(kind, 3))  # is written out


@pytest.mark.parametrize("kind", ["Concat", "Reshape"])
def test_states_that_grow_without_an_end_that_is_known(kind: str) -> None:
    """What ends the loop is data, or never; or a loop is run by every round of another."""
    data = growing(kind, 2**13)
    data.graph.node[0].input[1] = "begins"
    data.graph.node.insert(0, helper.make_node("Cast", ["sum0"], ["begins"], to=TensorProto.BOOL))
    data.graph.node.insert(0, helper.make_node("ReduceSum", ["x"], ["sum0"], keepdims=0))
    for model in (data, growing(kind, 7, bodies=5)):
        with pytest.raises(ModelError, match="entries") as e:
            load.prepare(model)
        assert e.value.code == "M114"


def test_all_rounds_together_must_fit_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes.host, "memory", lambda: 10**6)
    with pytest.raises(ModelError, match="together"):
        load.prepare(growing("Pad", 7))
    monkeypatch.setattr(sizes.host, "memory", lambda: 10**8)
    load.prepare(growing("Pad", 7))


@pytest.mark.parametrize("place", ["initializer", "node", "body", "input"])
def test_long_vectors_are_no_shapes(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inference that asks what integers are takes 200 bytes for each entry of a vector of them."""
    asked: list[bool] = []
    infer = onnx.shape_inference.infer_shapes
    monkeypatch.setattr(
        onnx.shape_inference,
        "infer_shapes",
        lambda m, **options: asked.append(options.get("data_prop", False)) or infer(m, **options),
    )
    for length, expected in ((8, True), (engine.LONG + 2, False)):
        asked.clear()
        v = numpy_helper.from_array(np.arange(length), "v")
        add = helper.make_node("Add", ["v", "v"], ["w"])
        nodes, weights = [add], []
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])]
        if place == "initializer":
            weights = [v]
        elif place == "input":
            inputs.append(helper.make_tensor_value_info("v", TensorProto.INT64, [length]))
        else:
            nodes = [helper.make_node("Constant", [], ["v"], value=v), add]
        if place == "body":
            end = helper.make_tensor_value_info("w", TensorProto.INT64, None)
            sides = {f"{k}_branch": helper.make_graph(nodes, k, [], [end]) for k in ("then", "else")}
            nodes = [helper.make_node("If", ["true"], ["w"], **sides)]
            weights = [numpy_helper.from_array(np.array(True), "true")]
        graph = helper.make_graph(nodes, "case", inputs, [helper.make_tensor_value_info("w", 7, None)], weights)
        found = engine.typed(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
        assert any(asked) == expected
        assert found.graph.output[0].type.tensor_type.shape.dim[0].dim_value == length


def test_a_float_model_that_does_not_end_is_stopped() -> None:
    body = helper.make_graph(
        [helper.make_node("Add", ["s", "s"], ["t"]), helper.make_node("Identity", ["c"], ["d"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("s", TensorProto.FLOAT, [4]),
        ],
        [
            helper.make_tensor_value_info("d", TensorProto.BOOL, []),
            helper.make_tensor_value_info("t", TensorProto.FLOAT, [4]),
        ],
    )
    nodes = [helper.make_node("Loop", ["n", "", "x"], ["y"], body=body)]
    endless = unevaluated(nodes, [4], {"n": np.array(2**40)})
    with pytest.raises(ModelError, match="rounds") as e:
        load.prepare(endless)
    assert e.value.code == "M114"
    run = graph.Runner(endless)
    timer = threading.Timer(0.3, signal.pthread_kill, (threading.get_ident(), signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored by who runs the tests
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            run({"x": np.zeros(4, np.float32)})
    finally:
        signal.signal(signal.SIGINT, before)
