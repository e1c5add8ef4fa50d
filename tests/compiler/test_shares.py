"""Shares of next to nothing: quotients that floats compute to all digits, however small their parts are."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from syurmy.compiler import CompiledModel, compile_model, load
from syurmy.isa.arrays import Array
from tests.compiler.test_tabular import session

WEIGHTS = np.array([[1.2, 0.7, 0.3], [-0.4, 0.9, 1.1]], np.float32)


def made(nodes: list[onnx.NodeProto], samples: Array, folder: Path, outputs: tuple[str, ...] = ("y",)) -> Any:
    """The model of scores ``x @ W``, compiled on the samples, and its session."""
    constants: dict[str, Any] = {
        "w": WEIGHTS, "one": np.float32(1), "minus": np.float32(-1), "axis": np.array([1]), "three": np.float32(3),
        "column": np.array([-1, 1]),
    }  # fmt: skip
    fixed = [numpy_helper.from_array(np.asarray(c), name) for name, c in constants.items()]
    source = helper.make_node("MatMul", ["x", "w"], ["s"])
    graph = helper.make_graph(
        [source, *nodes], "case", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, [1, 3]) for o in outputs], fixed,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compile_model(load.prepare(model), folder, calibrate={"x": samples[:, None]}), session(model)


def odds() -> list[onnx.NodeProto]:
    """``p = 1 / (1 + exp -s)``, as scikit-learn's converter writes it."""
    return [helper.make_node("Mul", ["s", "minus"], ["m"]), helper.make_node("Exp", ["m"], ["e"]),
            helper.make_node("Add", ["e", "one"], ["d"]), helper.make_node("Reciprocal", ["d"], ["p"])]  # fmt: skip


def guarded(p: str) -> list[onnx.NodeProto]:
    """``p / sum p``, or one third each where the sum is 0."""
    return [helper.make_node("ReduceSum", [p, "axis"], ["t"]), helper.make_node("Cast", ["t"], ["b"], to=9),
            helper.make_node("Not", ["b"], ["n"]), helper.make_node("Cast", ["n"], ["z"], to=1),
            helper.make_node("Add", [p, "z"], ["up"]), helper.make_node("Mul", ["z", "three"], ["k"]),
            helper.make_node("Add", ["t", "k"], ["down"]), helper.make_node("Div", ["up", "down"], ["y"])]  # fmt: skip


def rows(reach: float, count: int = 40) -> Array:
    r = np.random.default_rng(0)
    return np.asarray(r.standard_normal((count, 2)) * reach, np.float32)


def compared(done: CompiledModel, run: Any, x: Array, tolerance: float = 1e-3) -> None:
    for row in x:
        ours, theirs = done.run({"x": row[None]}).outputs["y"], run.run(None, {"x": row[None]})[0]
        assert np.abs(ours - theirs).max() < tolerance, (row, ours, theirs)


@pytest.mark.parametrize("reach", [1.0, 8.0, 60.0])
def test_of_sigmoids(reach: float, tmp_path: Path) -> None:
    """Calibrated on rows that are never all small, run on some that are: sums from 1 down to 1e-38, and of 0."""
    done, run = made([*odds(), *guarded("p")], rows(reach), tmp_path / "m")
    small = np.array([[-1, -1], [-1, -0.3], [0.8, 1], [-0.05, -1], [1, -1], [-1, 0.8]], np.float32) * 2 * reach
    assert (small[0] @ WEIGHTS < -1.5 * reach).all()
    compared(done, run, np.concatenate([rows(reach)[:10], small]))


def test_of_joined_sigmoids(tmp_path: Path) -> None:
    """One sigmoid a column, as calibrated classifiers have them, whose arguments are of unlike size."""
    nodes = [
        *(helper.make_node("Slice", ["s", f"{k}", f"{k + 1}", "axis"], [f"s{k}"]) for k in range(3)),
        *(n for k in range(3) for n in (
            helper.make_node("Exp", [f"s{k}"], [f"e{k}"]), helper.make_node("Add", ["one", f"e{k}"], [f"d{k}"]),
            helper.make_node("Div", ["one", f"d{k}"], [f"p{k}"]))),
        helper.make_node("Concat", ["p0", "p1", "p2"], ["p"], axis=1), *guarded("p"),
    ]  # fmt: skip
    ends = [helper.make_node("Constant", [], [f"{k}"], value=numpy_helper.from_array(np.array([k]))) for k in range(4)]
    done, run = made([*ends, *nodes], rows(12.0), tmp_path / "m")
    compared(done, run, rows(12.0))


@pytest.mark.parametrize("last", ["Exp", "Sub"])
def test_of_likelihoods(last: str, tmp_path: Path) -> None:
    """``x - logsumexp x``, and its exponential."""
    nodes = [
        helper.make_node("ReduceLogSumExp", ["s"], ["t"], axes=[1], keepdims=0),
        helper.make_node("Reshape", ["t", "column"], ["r"]),
        helper.make_node("Sub", ["s", "r"], ["y" if last == "Sub" else "l"]),
        *([helper.make_node("Exp", ["l"], ["y"])] if last == "Exp" else []),
    ]
    done, run = made(nodes, rows(300.0), tmp_path / "m")
    compared(done, run, rows(300.0), 1e-3 if last == "Exp" else 1.0)


def test_of_exponentials(tmp_path: Path) -> None:
    """A softmax that is written out."""
    nodes = [helper.make_node("Exp", ["s"], ["e"]), helper.make_node("ReduceSum", ["e", "axis"], ["t"]),
             helper.make_node("Div", ["e", "t"], ["y"])]  # fmt: skip
    done, run = made(nodes, rows(6.0), tmp_path / "m")
    compared(done, run, np.concatenate([rows(6.0), np.array([[-12, 15]], np.float32)]))


@pytest.mark.parametrize("guard", ["clip", "max", "add", "none"])
def test_logarithms_of_shares_that_are_kept_from_0(guard: str, tmp_path: Path) -> None:
    """It was off by a third of its range: a share below 2^-16 was 0 before it was cut at 10^-7."""
    guards = {
        "clip": helper.make_node("Clip", ["p", "tiny", "one"], ["q"]),
        "max": helper.make_node("Max", ["tiny", "p"], ["q"]),
        "add": helper.make_node("Add", ["p", "tiny"], ["q"]),
        "none": helper.make_node("Identity", ["p"], ["q"]),
    }
    tiny = helper.make_node("Constant", [], ["tiny"], value=numpy_helper.from_array(np.float32(1e-7)))
    nodes = [tiny, helper.make_node("Softmax", ["s"], ["p"]), guards[guard], helper.make_node("Log", ["q"], ["y"])]
    done, run = made(nodes, rows(8.0), tmp_path / "m")
    compared(done, run, rows(7.0)[:20], 1e-3 * 8)


def test_a_written_out_logarithm_of_a_sum_of_exponentials(tmp_path: Path) -> None:
    """It was off by 10^-2 of its range: the sum spans ten binary orders of magnitude and more."""
    nodes = [helper.make_node("Exp", ["s"], ["e"]), helper.make_node("ReduceSum", ["e", "axis"], ["t"]),
             helper.make_node("Log", ["t"], ["l"]), helper.make_node("Sub", ["s", "l"], ["y"])]  # fmt: skip
    done, run = made(nodes, rows(8.0), tmp_path / "m")
    compared(done, run, rows(7.0)[:10], 1e-3 * 8)


def test_shares_from_their_logarithms_are_a_softmax(tmp_path: Path) -> None:
    """Mixtures and naive Bayes: ``exp(s - logsumexp s)`` with the log-shares read by something else, too."""
    nodes = [helper.make_node("ReduceLogSumExp", ["s"], ["t"], axes=[1]), helper.make_node("Sub", ["s", "t"], ["l"]),
             helper.make_node("Exp", ["l"], ["y"]), helper.make_node("Neg", ["l"], ["z"])]  # fmt: skip
    done, run = made(nodes, rows(8.0), tmp_path / "m", ("y", "z"))
    assert "Softmax" in [r.op for r in done.rows]
    compared(done, run, rows(7.0)[:10])


def test_shares_that_are_nearly_alike(tmp_path: Path) -> None:
    """They were multiples of 2^-15, whatever range they had."""
    tiny = helper.make_node("Constant", [], ["tiny"], value=numpy_helper.from_array(np.float32(0.01)))
    nodes = [tiny, helper.make_node("Mul", ["s", "tiny"], ["t"]), helper.make_node("Softmax", ["t"], ["y"])]
    done, run = made(nodes, rows(1.0), tmp_path / "m")
    want = np.concatenate([run.run(None, {"x": x[None]})[0] for x in rows(1.0)])
    compared(done, run, rows(1.0)[:10], 1e-3 * float(np.ptp(want)))


def test_what_is_no_share_stays(tmp_path: Path) -> None:
    """Over the sum of another axis."""
    nodes = [*odds(), helper.make_node("ReduceSum", ["p", "first"], ["t"]), helper.make_node("Div", ["p", "t"], ["y"])]
    first = helper.make_node("Constant", [], ["first"], value=numpy_helper.from_array(np.array([0])))
    done, run = made([first, *nodes], rows(1.0), tmp_path / "m")
    compared(done, run, rows(1.0))
