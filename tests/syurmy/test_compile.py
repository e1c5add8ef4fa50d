"""``syurmy-vm compile`` and reals in and out of ``run``; every bad model is one coded error and no folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

import syurmy
from syurmy.cli import app
from syurmy.compiler import CompiledModel
from syurmy.isa.errors import InputError

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow


def call(*arguments: object, code: int = 0) -> Any:
    """The parsed JSON of one command."""
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def dense(weights: np.ndarray[Any, Any] | None = None, batch: object = "batch", op: str = "Relu") -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    w = rng.standard_normal((4, 3)).astype(np.float32) if weights is None else weights
    nodes = [helper.make_node("MatMul", ["in.x", "w"], ["h"], name="product"), helper.make_node(op, ["h"], ["y/out"])]
    graph = helper.make_graph(
        nodes,
        "dense",
        [helper.make_tensor_value_info("in.x", TensorProto.FLOAT, [batch, 4])],
        [helper.make_tensor_value_info("y/out", TensorProto.FLOAT, [batch, 3])],
        [numpy_helper.from_array(w, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(dense(), tmp_path / "net.onnx")
    rng = np.random.default_rng(1)
    np.savez(tmp_path / "data.npz", **{"in.x": rng.standard_normal((8, 1, 4)).astype(np.float32)})
    np.save(tmp_path / "x.npy", np.array([[0.5, -1, 0.25, 1]], np.float32))
    return tmp_path / "net.onnx"


def expected(model: Path, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    import onnxruntime

    return np.asarray(onnxruntime.InferenceSession(model).run(None, {"in.x": x})[0])


def test_two_commands(model: Path) -> None:
    folder, x = model.parent / "out", model.parent / "x.npy"
    done = call("compile", model, "-o", folder, "--calibrate", model.parent / "data.npz")
    assert done["warnings"] == []
    assert done["inputs"][0]["model_name"] == "in.x"
    assert {n["op"] for n in done["nodes"]} == {"MatMul", "Relu"}
    shown = call("run", folder / "model.tasm", "--input", x, "--prove")
    assert shown["verified"]
    want = expected(model, np.load(x))
    np.testing.assert_allclose(shown["outputs"]["y/out"], want, atol=1e-3)
    verified = call("verify", folder / "model.vk", folder / "model.proof")
    assert verified["outputs"] == shown["outputs"]
    integers = {k: np.asarray(v) for k, v in verified["integers"]["outputs"].items()}
    np.testing.assert_allclose(CompiledModel.read(folder).dequantise(integers)["y/out"], want, atol=1e-3)
    for given in ("in.x=" + str(x), str(model.parent / "data.npz") + ":in.x"):
        call("run", folder / "model.tasm", "--input", given, code=0 if given.startswith("in.x") else 2)


def test_raw_integers(model: Path) -> None:
    folder = model.parent / "out"
    call("compile", model, "-o", folder, "--calibrate", model.parent / "data.npz")
    port = CompiledModel.read(folder).inputs[0]
    np.save(model.parent / "q.npy", np.rint(np.load(model.parent / "x.npy") / port.scale).astype(np.int64))
    raw = call("run", folder / "model.tasm", "--raw", "--input", f"{model.parent / 'q.npy'}")
    real = call("run", folder / "model.tasm", "--input", model.parent / "x.npy")
    out = CompiledModel.read(folder).outputs[0]
    np.testing.assert_allclose(np.asarray(raw["outputs"][out.name]) * out.scale, real["outputs"]["y/out"], rtol=1e-6)


def test_example_runs_without_input_and_report(model: Path) -> None:
    folder = model.parent / "out"
    done = CliRunner().invoke(app, ["compile", str(model), "-o", str(folder), "--report"])
    assert done.exit_code == 0
    assert "least accurate" in done.stdout
    assert "no calibration data" in done.stderr
    assert "y/out" in call("run", folder / "model.tasm")["outputs"]


def test_onnx_runs_at_once(model: Path) -> None:
    x = model.parent / "x.npy"
    first = call("run", model, "--input", x, "--prove")
    assert first["verified"]
    np.testing.assert_allclose(first["outputs"]["y/out"], expected(model, np.load(x)), atol=1e-3)
    made = (model.parent / "net" / "model.tasm").stat().st_mtime_ns
    assert call("run", model, "--input", x)["outputs"] == first["outputs"]
    assert (model.parent / "net" / "model.tasm").stat().st_mtime_ns == made
    onnx.save(dense(op="Tanh"), model)
    call("run", model, "--input", x)
    assert (model.parent / "net" / "model.tasm").stat().st_mtime_ns != made


WITHOUT = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("onnx", "onnxruntime", "onnxslim", "google"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
from syurmy.cli import main
sys.exit(main())
"""


def test_only_compiling_needs_the_package_onnx(model: Path) -> None:
    folder = model.parent / "out"
    call("compile", model, "-o", folder, "--calibrate", model.parent / "data.npz")

    def without(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", WITHOUT, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = without("run", folder / "model.tasm", "--input", model.parent / "x.npy", "--json")
    assert done.returncode == 0, done.stderr
    assert np.shape(json.loads(done.stdout)["outputs"]["y/out"]) == (1, 3)
    for command in (("compile", model), ("run", model)):
        refused = without(*command)
        assert refused.returncode != 0
        assert "X150" in refused.stderr
        assert "Traceback" not in refused.stderr


def test_options(model: Path) -> None:
    options = ("--shape", "in.x=2,4", "--weights", 8, "--input-visibility", "public", "--params", "public")
    done = call("compile", model, "-o", model.parent / "out", *options)
    assert done["inputs"][0]["shape"] == [2, 4]
    program = syurmy.load(model.parent / "out" / "model.tasm")
    assert program.inputs[0].public
    assert not program.params[0].committed


def test_from_python(model: Path) -> None:
    done = syurmy.compile_onnx(model, calibrate=dict(np.load(model.parent / "data.npz")))
    assert done.folder == model.parent / "net"
    x = np.load(model.parent / "x.npy")
    y = done.dequantise(syurmy.run(done.program, done.quantise({"in.x": x})).outputs)["y/out"]
    np.testing.assert_allclose(y, expected(model, x), atol=1e-3)


def bad_models(folder: Path) -> dict[str, tuple[Path, str]]:
    good = dense().SerializeToString()
    nan = dense(np.full((4, 3), np.nan, np.float32))
    old = dense()
    old.opset_import[0].version = 3
    cyclic = dense()
    cyclic.graph.node[0].input[0] = "y/out"
    free = dense()
    free.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "n"
    unknown = dense(op="NoSuchOperator")
    outside = dense()
    w = outside.graph.initializer[0]
    w.ClearField("raw_data")
    w.data_location = TensorProto.EXTERNAL
    w.external_data.add(key="location", value="gone.bin")
    models = {"truncated": good[: len(good) // 2], "text": b"hello\n", "empty": b"", "nan": nan, "old": old,
              "cyclic": cyclic, "free": free, "unknown": unknown, "outside": outside}  # fmt: skip
    codes = {"nan": "M105", "old": "M104", "cyclic": "M103", "free": "M107", "outside": "M102"}
    out = {}
    for name, m in models.items():
        path = folder / f"{name}.onnx"
        path.write_bytes(m if isinstance(m, bytes) else m.SerializeToString())
        out[name] = (path, codes.get(name, "M1"))
    return out | {"absent": (folder / "absent.onnx", "F100")}


def test_bad_models(tmp_path: Path) -> None:
    for name, (path, code) in bad_models(tmp_path).items():
        for command in (["compile", str(path), "-o", str(tmp_path / "out")], ["run", str(path)]):
            done = CliRunner().invoke(app, command)
            assert done.exit_code == 2, (name, done.output)
            assert done.stderr.startswith(f"error[{code}"), (name, done.stderr)
            errors = [line for line in done.stderr.splitlines() if not line.startswith("warning")]
            assert len(errors) == 1 or name == "unknown", (name, done.stderr)
            assert not (tmp_path / "out").exists(), name
            assert not path.with_suffix("").exists(), name


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--shape", "in.x=a,4"], "I111"),
        (["--shape", "4"], "I111"),
        (["--shape", "z=1,4"], "M107"),
        (["--shape", "in.x=1,5"], "M107"),
        (["--weights", "7"], "I110"),
        (["--calibrate", "gone.npz"], "F100"),
    ],
)
def test_bad_options(model: Path, options: list[str], code: str) -> None:
    assert call("compile", model, "-o", model.parent / "out", *options, code=2)["error"]["code"] == code
    assert not (model.parent / "out").exists()


def test_bad_calibration_and_inputs(model: Path) -> None:
    folder = model.parent
    np.savez(folder / "other.npz", z=np.zeros((1, 4), np.float32), y=np.zeros(1))
    np.save(folder / "wide.npy", np.zeros((3, 9), np.float32))
    np.save(folder / "nan.npy", np.full((1, 4), np.nan, np.float32))
    for file in ("other.npz", "wide.npy", "nan.npy"):
        error = call("compile", model, "-o", folder / "out", "--calibrate", folder / file, code=2)["error"]
        assert error["code"] in ("M109", "F111"), error
        assert not (folder / "out").exists()
    call("compile", model, "-o", folder / "out", "--calibrate", folder / "data.npz")
    for file in ("other.npz", "wide.npy", "nan.npy", "gone.npy", "z=x.npy"):
        assert "error" in call("run", folder / "out" / "model.tasm", "--input", folder / file, code=2)


def test_a_record_of_another_program_is_refused(model: Path) -> None:
    folder = model.parent / "out"
    call("compile", model, "-o", folder)
    record = json.loads((folder / "model.json").read_text())
    record["inputs"][0]["shape"] = [4, 1]
    (folder / "model.json").write_text(json.dumps(record))
    assert call("run", folder / "model.tasm", code=2)["error"]["code"] == "F110"
    with pytest.raises(InputError):
        CompiledModel.read(folder)
