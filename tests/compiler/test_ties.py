"""One matrix read in several places, as it is or transposed, is one committed param."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from syurmy import vm
from syurmy.compiler import CompiledModel
from syurmy.compiler.ties import LEAST
from syurmy.isa.arrays import Array
from syurmy.prover.keys import setup
from syurmy.prover.prove import prove
from syurmy.prover.verifier.verify import verify
from tests.compiler.harness import compiled, evaluated, model_of, outputs_of

ROWS, WIDTH, LENGTH = 300, 64, 5
IDS = {"ids": np.array([[3, 299, 0, 17, 3]])}


def language_model(head: str, rows: int = ROWS, length: int = LENGTH) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """Embedding, a layer, and the embedding again as the head, as ``head`` writes it; and its input."""
    rng = np.random.default_rng(0)
    embed = rng.standard_normal((rows, WIDTH)).astype(np.float32)
    constants = {"embed": embed, "w": rng.standard_normal((WIDTH, WIDTH)).astype(np.float32)}
    constants["gain"] = rng.standard_normal(WIDTH).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["embed", "ids"], ["x"]),
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("LayerNormalization", ["h", "gain"], ["t"]),
    ]
    if head == "copy":
        constants["head"] = np.ascontiguousarray(embed.T)
    elif head == "other":
        constants["head"] = np.ascontiguousarray(embed.T)
        constants["head"][-1, -1] += 1e-3
    if head == "transpose":
        nodes.append(helper.make_node("Transpose", ["embed"], ["head"], perm=[1, 0]))
    if head == "gemm":
        nodes.append(helper.make_node("Reshape", ["t", "flat"], ["rows"]))
        nodes.append(helper.make_node("Gemm", ["rows", "embed", "bias"], ["y"], transB=1))
        constants |= {"flat": np.array([-1, WIDTH]), "bias": rng.standard_normal(rows).astype(np.float32)}
    else:
        nodes.append(helper.make_node("MatMul", ["t", "head"], ["y"]))
    inputs = {"ids": np.resize(IDS["ids"], (1, length))}
    return model_of(nodes, inputs, ["y"], constants), inputs


def made(model: onnx.ModelProto, inputs: dict[str, Array], folder: Path, **options: object) -> CompiledModel:
    """Compiled, with outputs that are right."""
    done = compiled(model, inputs, folder, **options)
    (ours,), (theirs,) = outputs_of(done, inputs).values(), evaluated(model, inputs)
    assert np.abs(ours - theirs).max() <= (5e-2 if "weights" in options else 1e-3) * np.abs(theirs).max()
    return done


def matrices(done: CompiledModel) -> int:
    """How many params have the size of the embedding."""
    return sum(p.type.size == ROWS * WIDTH for p in done.program.params)


@pytest.mark.parametrize("head", ["copy", "transpose", "gemm"])
def test_the_embedding_is_the_head(head: str, tmp_path: Path) -> None:
    done = made(*language_model(head), tmp_path)
    assert matrices(done) == 1


@pytest.mark.slow
def test_one_place_serves_rows_and_products_in_a_proof(tmp_path: Path) -> None:
    done = made(*language_model("copy"), tmp_path)
    trace = vm.run(done.program, done.quantise(IDS))
    key = setup(done.program)
    statement = verify(key.verifying_key, prove(key, trace).data)
    assert all((statement.outputs[name] == x).all() for name, x in trace.outputs.items())


def test_another_matrix_is_another_param(tmp_path: Path) -> None:
    assert matrices(made(*language_model("other"), tmp_path)) == 2


def test_in_a_fine_program(tmp_path: Path) -> None:
    done = made(*language_model("copy"), tmp_path, tolerance=1e-9)
    assert done.fine
    assert matrices(done) == 1


@pytest.mark.parametrize("head", ["copy", "transpose", "gemm"])
def test_rows_of_8_bits_keep_units_of_their_own(head: str, tmp_path: Path) -> None:
    """The embedding's rows are the head's columns: one param of mantissas, one of what they stand for."""
    done = made(*language_model(head), tmp_path, weights=8)
    (q,) = (p for p in done.program.params if p.type.size == ROWS * WIDTH)
    assert str(q.type.dtype) == "i8"
    assert any(p.type.shape == (ROWS, 1) for p in done.program.params)


def test_columns_of_8_bits_are_no_rows(tmp_path: Path) -> None:
    """Of a matrix whose columns are one reader's channels, and whose rows are another's."""
    rng = np.random.default_rng(2)
    side = int(LEAST**0.5)
    weights = {"w": (rng.standard_normal((side, side)) * np.linspace(0.1, 1, side)).astype(np.float32)}
    x = {"x": rng.standard_normal((2, side)).astype(np.float32)}
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("MatMul", ["r", "w"], ["h"])]
    nodes.append(helper.make_node("Gemm", ["h", "w"], ["y"], transB=1))
    done = made(model_of(nodes, x, ["y"], weights), x, tmp_path, weights=8)
    assert sum(p.type.size == side * side for p in done.program.params) == 2


def test_many_results_count_more_than_the_matrix(tmp_path: Path) -> None:
    model, inputs = language_model("copy", length=WIDTH + 1)
    assert matrices(made(model, inputs, tmp_path)) == 2


def test_a_layer_that_runs_three_times(tmp_path: Path) -> None:
    """Its products have inputs and results of unlike sizes, and one param."""
    rng = np.random.default_rng(1)
    side = int(LEAST**0.5)
    x = {"x": rng.standard_normal((2, side)).astype(np.float32)}
    nodes, last = [], "x"
    for k in range(3):
        nodes.append(helper.make_node("MatMul", [last, "w"], [f"y{k}"]))
        last = f"y{k}"
        if k < 2:
            nodes.append(helper.make_node("Relu", [last], [last := f"z{k}"]))
    model = model_of(nodes, x, [last], {"w": rng.standard_normal((side, side)).astype(np.float32)})
    done = compiled(model, x, tmp_path)
    (ours,), (theirs,) = outputs_of(done, x).values(), evaluated(model, x)
    assert np.abs(ours - theirs).max() <= 1e-3 * np.abs(theirs).max()
    assert [p.type.shape for p in done.program.params if p.type.size >= LEAST] == [(side, side)]
