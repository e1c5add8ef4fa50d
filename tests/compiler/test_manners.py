"""Folders that are not the compiler's stay as they are; what is given to a compiled model is a number or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from syurmy.cli import app
from syurmy.compiler import CompiledModel, ModelError, compile_onnx
from syurmy.compiler.emit import identifier
from syurmy.isa.errors import InputError
from syurmy.isa.wellformed import valid_name
from tests.compiler.harness import compiled, helper, model_of

X = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)


def saved(folder: Path, op: str = "Tanh") -> Path:
    onnx.save(model_of([helper.make_node(op, ["x"], ["y"])], {"x": X}, ["y"]), folder / "m.onnx")
    return folder / "m.onnx"


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "foreign",
    [
        {"notes.txt": "mine"},
        {"model.json": '{"name": "mine"}', "tables/a.csv": "1,2"},
        {"model.json": "[4]"},
        {"model.json": '{"format": 4, "source": 0, "precision": 0, "nodes": 0, "files": 3}'},
        {"model.tasm": "halt"},
    ],
    ids=str,
)
def test_a_foreign_folder_is_left_alone(foreign: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name, text in foreign.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text)
    before, path = files(out), saved(tmp_path)
    done = CliRunner().invoke(app, ["compile", str(path), "-o", str(out), "--json"])
    assert (done.exit_code, json.loads(done.stdout)["error"]["code"]) == (2, "F121"), done.output
    assert files(out) == before


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    path = saved(tmp_path)
    with pytest.raises(InputError) as e:
        compile_onnx(path, path, calibrate={"x": X})
    assert e.value.code == "F121"


def test_own_output_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    compile_onnx(saved(tmp_path), out, calibrate={"x": X})
    assert set(json.loads((out / "model.json").read_text())["files"]) == set(files(out))
    (out / "tables" / "mine.npy").write_bytes(b"kept")
    (out / "model.proof").write_bytes(b"kept")
    done = compile_onnx(saved(tmp_path, "Neg"), out, calibrate={"x": X})
    assert {n for n, data in files(out).items() if data == b"kept"} == {"model.proof", "tables/mine.npy"}
    assert set(files(out)) - {"model.proof", "tables/mine.npy"} == set(
        json.loads((out / "model.json").read_text())["files"]
    )
    assert CompiledModel.read(out).inputs == done.inputs


def test_a_record_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    out = tmp_path / "out"
    compile_onnx(saved(tmp_path), out, calibrate={"x": X})
    record = json.loads((out / "model.json").read_text())
    outside = [tmp_path / "a.npy", tmp_path / "b.npy"]
    for p in outside:
        p.write_bytes(b"kept")
    record["files"] += ["../a.npy", "tables/../../b.npy", str(outside[0])]
    (out / "model.json").write_text(json.dumps(record))
    compile_onnx(tmp_path / "m.onnx", out, calibrate={"x": X})
    assert all(p.read_bytes() == b"kept" for p in outside)


def test_a_record_of_other_types_is_refused(tmp_path: Path) -> None:
    """Whoever hands on a folder may have written anything into its record."""
    table = compile_onnx(saved(tmp_path, "Sigmoid"), tmp_path / "out", calibrate={"x": X}).program.luts[0]
    path = tmp_path / "out" / "model.json"
    good = json.loads(path.read_text())
    good["rests"] = {table.name: [0.0] * len(table.array)}
    good["ends"] = [[0, None, 5, None, None, "range"]]
    places: list[tuple[list[Any], list[Any]]] = [
        (["nodes", 0, "first"], [None, "x", [], True, 10**30]),
        (["ends", 0, 0], [{}, "x", 0.5]),
        (["ends", 0, 1], [[], 1e308, 10**30]),
        (["outputs", 0, "scale"], [[], [[1.0]], "x", None]),
        (["outputs", 0, "unit"], [5]),
        (["held", 0, "results", 0, "name"], [5, None]),
        (["rests", table.name, 0], [float("nan"), float("inf")]),
        (["missed"], [dict.fromkeys(("output", "error", "wrong", "node", "op", "cause", "what", "help"), "x")]),
    ]
    for place, values in places:
        for value in values:
            bad = json.loads(json.dumps(good))
            at = bad
            for k in place[:-1]:
                at = at[k]
            at[place[-1]] = value
            path.write_text(json.dumps(bad))
            with pytest.raises(InputError) as e:
                CompiledModel.read(tmp_path / "out")
            assert e.value.code == "F110", (place, value)
    path.write_text(json.dumps(good))
    CompiledModel.read(tmp_path / "out")


@pytest.mark.parametrize("order", [("a/b", "a_b"), ("a_b", "a/b")])
def test_names_that_look_alike_in_the_program(order: tuple[str, str], tmp_path: Path) -> None:
    given = {order[0]: X, order[1]: 3 * X + 1}
    model = model_of([helper.make_node("Sub", ["a/b", "a_b"], ["y"])], given, ["y"])
    done = compiled(model, given, tmp_path / "out")
    y = done.run(given).outputs["y"]
    np.testing.assert_allclose(y, given["a/b"] - given["a_b"], atol=5e-3)
    for one in given:
        with pytest.raises(InputError) as e:
            done.quantise({one: X})
        assert e.value.code == "I102"
    other = next(p for p in done.inputs if p.name != p.model_name and p.name not in order)
    with pytest.raises(InputError) as e:
        done.quantise({**given, other.name: X})
    assert e.value.code == "I107"


BAD: list[tuple[Any, str]] = [
    (np.full((2, 3), "a"), "I103"), (np.full((2, 3), None), "I103"), ([[1, 2], [3]], "I103"),
    (np.zeros((2, 3), "M8[s]"), "I103"), (X + 1j, "I103"), (np.zeros((2, 3), "V4"), "I103"),
    (X * np.nan, "I104"), (np.ma.masked_greater(X, X.mean()), "I104"),
    ([[10**30] * 3] * 2, "I106"), (X[0], "I105"), (np.zeros((1, 1, 2, 3)), "I105"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "code"), BAD, ids=str)
def test_what_is_no_input_of_reals(value: Any, code: str, tmp_path: Path) -> None:
    path = saved(tmp_path)
    done = compile_onnx(path, calibrate={"x": X})
    for attempt in (done.quantise, done.run):
        with pytest.raises(InputError) as e:
            attempt({"x": value})
        assert e.value.code == code
    with pytest.raises(ModelError) as m:
        compile_onnx(path, calibrate={"x": value})
    assert m.value.code == "M109"


@pytest.mark.parametrize(("value", "code"), [
    ([1.5, 0, 0], "I104"), ([np.nan, 0, 0], "I104"), ([300, 0, 0], "I106"), ([-1, 0, 0], "I106"),
    (np.array([2**64 - 1, 0, 0], np.uint64), "I106"), ([10**30, 0, 0], "I106"), ([1e300, 0, 0], "I106"),
])  # fmt: skip
def test_what_is_no_input_of_integers(value: Any, code: str, tmp_path: Path) -> None:
    x = np.array([1, 200, 3], np.uint8)
    done = compiled(model_of([helper.make_node("Add", ["x", "x"], ["y"])], {"x": x}, ["y"]), {"x": x}, tmp_path / "o")
    with pytest.raises(InputError) as e:
        done.quantise({"x": value})
    assert e.value.code == code
    np.testing.assert_array_equal(done.run({"x": [1.0, 200.0, 3.0]}).outputs["y"], x + x)


@pytest.mark.parametrize("change", [
    {"inputs": []}, {"inputs": 3}, {"ends": [[10**9, 0, 1]]}, {"ends": 1}, {"nodes": [1]}, {"format": 3},
    {"precision": []}, {"error": "x"}, {"missed": 3},
], ids=str)  # fmt: skip
def test_a_record_that_means_nothing(change: dict[str, Any], tmp_path: Path) -> None:
    done = compile_onnx(saved(tmp_path), calibrate={"x": X})
    record = json.loads((done.folder / "model.json").read_text())
    port = record["inputs"][0]
    ports = [{**port, **p} for p in ({"scale": 0}, {"scale": float("nan")}, {"dtype": "object"}, {"scales": [1]},
             {"code": 3}, {"shape": 1}, {"dtype": 3}, {"extra": 1})]  # fmt: skip
    for text in [
        json.dumps(record | change),
        "[]",
        "[" * 10**5,
        *(json.dumps(record | {"inputs": [p]}) for p in ports),
    ]:
        (done.folder / "model.json").write_text(text)
        with pytest.raises(InputError) as e:
            CompiledModel.read(done.folder)
        assert e.value.code == "F110"
        shown = CliRunner().invoke(app, ["run", str(done.folder / "model.tasm"), "--json"])
        assert (shown.exit_code, json.loads(shown.stdout)["error"]["code"]) == (2, "F110"), shown.output


def test_a_folder_as_model(tmp_path: Path) -> None:
    for name in ("m.onnx", "m"):
        (tmp_path / name).mkdir()
        done = CliRunner().invoke(app, ["compile", str(tmp_path / name), "--json"])
        assert (done.exit_code, json.loads(done.stdout)["error"]["code"]) == (2, "F100"), done.output


def test_weights_of_two_bits_in_an_order_of_their_own_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 32)).astype(np.float32)
    constants = {
        "w": rng.integers(0, 256, (4, 2, 4), np.uint8),
        "s": rng.uniform(0.1, 1, (4, 2)).astype(np.float32),
        "g": rng.permutation(np.arange(32) // 16).astype(np.int32),
    }
    node = helper.make_node(
        "MatMulNBits", ["x", "w", "s", "", "g"], ["y"], domain="com.microsoft", K=32, N=4, bits=2, block_size=16
    )
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", 1, x.shape)],
        [helper.make_tensor_value_info("y", 1, (3, 4))],
        [onnx.numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="2 bits with blocks in an order"):
        compile_onnx(tmp_path / "m.onnx", calibrate={"x": x})


def test_check_takes_reals_and_the_example(tmp_path: Path) -> None:
    done = compile_onnx(saved(tmp_path), calibrate={"x": X})
    program = str(done.folder / "model.tasm")
    np.save(tmp_path / "x.npy", 100 * X)
    for options, warned in (([], False), (["-i", f"x={tmp_path / 'x.npy'}"], True)):
        shown = CliRunner().invoke(app, ["check", program, *options, "--json"])
        assert shown.exit_code == 0, shown.output
        assert json.loads(shown.stdout)["ok"]
        assert ("cut off" in shown.stderr) == warned
    np.save(tmp_path / "x.npy", np.full((2, 3), 7))
    shown = CliRunner().invoke(app, ["check", program, "--raw", "-i", f"x={tmp_path / 'x.npy'}", "--json"])
    assert json.loads(shown.stdout)["ok"]


def test_flat_lists_calibrate(tmp_path: Path) -> None:
    path, many = saved(tmp_path), np.stack([X, 2 * X, -X])
    want = compile_onnx(path, tmp_path / "want", calibrate={"x": many})
    assert compile_onnx(path, tmp_path / "flat", calibrate={"x": many.reshape(3, 6)}).inputs == want.inputs
    one = compile_onnx(path, tmp_path / "one", calibrate={"x": X})
    assert compile_onnx(path, tmp_path / "list", calibrate={"x": X.reshape(-1).tolist()}).inputs == one.inputs


def test_long_names_stay_names() -> None:
    """Nodes of a long chain of masks are named after all of it, and so were registers, beyond what a name may be."""
    made = ".of(".join(f"/layer.{k}/attention/Where_output_{k}" for k in range(40))
    names = {identifier(f"{made}.{end}") for end in ("muli", "relu", "a" * 300)}
    assert len(names) == 3
    assert all(valid_name(f"{name}_1000") for name in names)
    assert identifier("/conv1/Conv_output_0.w") == "_conv1_Conv_output_0.w"
