"""Weights of 8 bits and fewer: their integers are the param, scales come behind the product where that is worth it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import syurmy
from syurmy.compiler import CompiledModel, mantissas
from syurmy.compiler.emit import Emitter
from syurmy.compiler.graph import Graph, Node
from syurmy.compiler.narrowing import Narrowing
from syurmy.compiler.scales import Precision
from syurmy.isa.arrays import Array
from syurmy.prover.certify import certify
from syurmy.prover.keys import setup
from syurmy.prover.protocol.certificate import certificate_plan
from syurmy.prover.prove import prove
from syurmy.prover.verifier.certificate import check_certificate
from syurmy.prover.verifier.verify import verify
from tests.compiler.harness import compiled, outputs_of

Weights = dict[str, Array]


def model(nodes: list[onnx.NodeProto], x: Array, y: tuple[int, ...], weights: Weights, opset: int) -> onnx.ModelProto:
    shapes = (("x", x.shape), ("y", y))
    info = [helper.make_tensor_value_info(k, TensorProto.FLOAT, s) for k, s in shapes]
    stored = [numpy_helper.from_array(v, k) for k, v in weights.items()]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:], stored)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def right(
    made: onnx.ModelProto, x: Array, folder: Path, off: float = 1e-4, name: str = "x", **given: object
) -> CompiledModel:
    """Compiled, with outputs as onnxruntime's."""
    import onnxruntime

    done = compiled(made, {name: x}, folder, **given)
    options = onnxruntime.SessionOptions()  # which would quantise activations of blocks that it fuses
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    want = session.run(None, {name: x})[0]
    assert np.abs(outputs_of(done, {name: x})["y"] - want).max() <= off * np.ptp(want)
    return done


def by_bits(
    bits: int, size: int, zeros: bool, rows: int, k: int = 128, opset: int = 17
) -> tuple[onnx.ModelProto, Array]:
    """MatMulNBits ``[rows, k] @ [k, 24]``."""
    rng = np.random.default_rng(0)
    blocks = -(-k // size)
    weights = {"w": rng.integers(0, 256, (24, blocks, size * bits // 8), dtype=np.uint8)}
    weights["s"] = rng.uniform(0.02, 0.1, (24, blocks)).astype(np.float32)
    if zeros:
        points = rng.integers(0, 256, (24, -(-blocks * bits // 8)), dtype=np.uint8)
        weights["z"] = points if bits < 8 else np.full_like(points, 128)
    sizes = {"K": k, "N": 24, "bits": bits, "block_size": size}
    node = helper.make_node("MatMulNBits", ["x", *weights], ["y"], domain="com.microsoft", **sizes)
    x = rng.standard_normal((rows, k)).astype(np.float32)
    return model([node], x, (rows, 24), weights, opset), x


def dtypes(done: CompiledModel) -> dict[tuple[int, ...], str]:
    return {p.type.shape: str(p.type.dtype) for p in done.program.params}


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mantissas, "LEAST", 0)
    monkeypatch.setattr(mantissas, "WORTH", 2.0)  # a row and blocks of 16


@pytest.mark.parametrize(
    ("bits", "size", "zeros", "blocks"),
    [(4, 16, False, 8), (4, 16, True, 8), (4, 32, False, 4), (4, 32, True, 4), (4, 128, False, 1), (4, 128, True, 1),
     (8, 32, True, 4), (2, 16, True, 8)],
)  # fmt: skip
@pytest.mark.usefixtures("any_size")
def test_blocks_of_few_bits(bits: int, size: int, zeros: bool, blocks: int, tmp_path: Path) -> None:
    done = right(*by_bits(bits, size, zeros, 1), tmp_path)
    shape = (blocks, size, 24) if blocks > 1 else (128, 24)
    (q,) = (p for p in done.program.params if p.type.shape == shape)
    least = -(2**bits) + 1 if zeros and bits < 8 else -(2 ** (bits - 1))
    assert str(q.type.dtype) == "i8"
    assert least <= q.type.lo < q.type.hi <= -least
    assert dtypes(done)[blocks, 24] if blocks > 1 else dtypes(done)[24,] == "i32"


@pytest.mark.parametrize("kind", ["packed", "int4", "block", "row"])
@pytest.mark.usefixtures("any_size")
def test_rows_of_tables_of_few_bits(kind: str, tmp_path: Path) -> None:
    """An embedding of 4 bits in blocks, by onnxruntime's operator and ONNX's own: its integers are the param."""
    rng = np.random.default_rng(1)
    blocks = 1 if kind == "row" else 4
    scales = rng.uniform(0.02, 0.1, (64, blocks)).astype(np.float32)
    q = rng.integers(-8, 8, (64, 64)).astype(ml_dtypes.int4)
    given: Weights = {"w": q, "s": scales}
    if kind == "packed":
        given = {"w": rng.integers(0, 256, (64, 32), dtype=np.uint8), "s": scales}
        given["z"] = rng.integers(0, 256, (64, 2), dtype=np.uint8)
    if kind in ("packed", "int4"):
        sizes = {"bits": 4, "block_size": 16, "gather_axis": 0, "quantize_axis": 1}
        names = ["w", "ids", *[k for k in given if k != "w"]]
        nodes = [helper.make_node("GatherBlockQuantized", names, ["y"], domain="com.microsoft", **sizes)]
    else:
        how = {"axis": 1, "block_size": 16} if kind == "block" else {"axis": 0}
        given["s"] = scales if kind == "block" else scales[:, 0]
        nodes = [helper.make_node("DequantizeLinear", ["w", "s"], ["d"], **how)]
        nodes.append(helper.make_node("Gather", ["d", "ids"], ["y"], axis=0))
    made = model(nodes, np.zeros(1), (1, 64), given, 21)
    made.graph.input[0].CopyFrom(helper.make_tensor_value_info("ids", TensorProto.INT64, [1]))
    for k in range(5, 64, 19):
        done = right(made, np.array([k]), tmp_path / str(k), off=2e-5, name="ids")
    assert dtypes(done)[64, 64] == "i8"
    assert dtypes(done)[64, blocks] == "i32"


@pytest.mark.usefixtures("any_size")
def test_what_is_not_worth_its_columns(tmp_path: Path) -> None:
    """Of many rows, each block's sums would be more than the weights. An order of blocks of its own is no block."""
    many = right(*by_bits(4, 16, False, 16), tmp_path / "many")
    assert dtypes(many) == {(128, 24): "i16"}
    longer = right(*by_bits(4, 128, False, 8), tmp_path / "longer")
    assert dtypes(longer)[128, 24] == "i8"


@pytest.mark.parametrize("asked", [False, True])
def test_narrow_whatever_it_costs(asked: bool, tmp_path: Path) -> None:
    """16 rows and blocks of 32 have as many sums as half of the weights: only where that is asked for."""
    made, x = by_bits(4, 32, False, 16, k=4096)
    done = right(made, x, tmp_path, narrow_weights=asked)
    assert dtypes(done) == ({(128, 32, 24): "i8", (128, 24): "i32"} if asked else {(4096, 24): "i16"})


def test_few_weights_are_not_worth_an_instruction(tmp_path: Path) -> None:
    assert dtypes(right(*by_bits(4, 128, False, 1), tmp_path)) == {(128, 24): "i16"}


def test_a_loop_pays_for_a_column_in_every_round() -> None:
    c = Narrowing(Emitter("g", 1), Precision())
    assert mantissas.worth(c, 2**16, 1000)
    c.out.begin(4, "t")
    assert not mantissas.worth(c, 2**16, 1000)


@pytest.mark.parametrize("fine", [False, True])
@pytest.mark.usefixtures("any_size")
def test_dequantised_matrices_and_kernels(fine: bool, tmp_path: Path) -> None:
    """Blocks of int4 (opset 21), int8 by column, transposed with a factor, and kernels by channel with zero points;
    behind a Relu, since what reads an input can have a unit for each of its features."""
    rng = np.random.default_rng(3)
    relu = helper.make_node("Relu", ["x"], ["r"])
    more = {"tolerance": 0.0} if fine else {}
    few = {"w": rng.integers(-8, 8, (64, 8)).astype(ml_dtypes.int4)}
    few["s"] = rng.uniform(0.02, 0.1, (4, 8)).astype(np.float32)
    blocks = [relu, helper.make_node("DequantizeLinear", ["w", "s"], ["d"], axis=0, block_size=16)]
    blocks.append(helper.make_node("MatMul", ["r", "d"], ["y"]))
    x = rng.standard_normal((1, 64)).astype(np.float32)
    done = right(model(blocks, x, (1, 8), few, 21), x, tmp_path / "blocks", **more)
    assert dtypes(done)[4, 16, 8] == "i8"
    assert {(p.type.lo, p.type.hi) for p in done.program.params if p.type.shape == (4, 16, 8)} == {(-8, 7)}

    rows = {"w": rng.integers(-127, 128, (8, 64)).astype(np.int8)}
    rows["s"], rows["b"] = (rng.uniform(0.001, 0.1, 8).astype(np.float32) for _ in range(2))
    gemm = [relu, helper.make_node("DequantizeLinear", ["w", "s"], ["d"], axis=0)]
    gemm.append(helper.make_node("Gemm", ["r", "d", "b"], ["y"], transB=1, alpha=0.5))
    done = right(model(gemm, x, (1, 8), rows, 17), x, tmp_path / "gemm", **more)
    assert dtypes(done)[64, 8] == "i8"

    kernels = {"w": rng.integers(0, 256, (6, 16, 3, 3)).astype(np.uint8)}
    kernels["s"], kernels["z"] = rng.uniform(0.001, 0.1, 6).astype(np.float32), np.full(6, 128, np.uint8)
    conv = [relu, helper.make_node("DequantizeLinear", ["w", "s", "z"], ["d"], axis=0)]
    conv.append(helper.make_node("Conv", ["r", "d"], ["y"]))
    image = rng.standard_normal((1, 16, 4, 4)).astype(np.float32)
    done = right(model(conv, image, (1, 6, 2, 2), kernels, 17), image, tmp_path / "conv", **more)
    assert done.fine == fine
    assert dtypes(done)[6, 16, 3, 3] == "i8"


def test_integers_count_only_where_they_are_the_weights() -> None:
    q, s = np.arange(-8, 8, dtype=np.int8).reshape(8, 2), np.array([0.5, 0.25], np.float32)
    made = Node("d", "DequantizeLinear", "", 13, ("q", "s"), ("w",), {"axis": 1})
    graph = Graph("g", (), (), (), {"q": q, "s": s}, {}, {}, {"w": made})
    found = mantissas.given(graph, "w", q * s)
    assert found is not None
    np.testing.assert_array_equal(found.q, q)
    assert mantissas.given(graph, "w", q * s + 1e-3) is None
    zero = replace(made, inputs=("q", "s", "z"))
    wide = replace(graph, constants={"q": q, "s": s, "z": np.array([127, 0], np.int8)}, folded={"w": zero})
    assert mantissas.given(wide, "w", (q - np.array([127, 0])) * s) is None  # -135 takes more than 8 bits


def layers(rng: np.random.Generator, width: int) -> tuple[onnx.ModelProto, Array]:
    """A small matrix, Relu, and a large one whose columns differ in size."""
    weights = {"a": rng.standard_normal((4, width)).astype(np.float32)}
    weights["b"] = (rng.standard_normal((width, width)) * np.linspace(0.05, 1, width)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "a"], ["h"]), helper.make_node("Relu", ["h"], ["r"])]
    nodes.append(helper.make_node("MatMul", ["r", "b"], ["y"]))
    x = rng.standard_normal((1, 4)).astype(np.float32)
    return model(nodes, x, (1, width), weights, 17), x


def test_weights_of_8_bits_are_as_those_times_their_multipliers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same integers reach every output, the param and the key's rows are half as wide; and a proof of it, with a
    certificate of the narrower interval."""
    made, x = layers(np.random.default_rng(5), 256)
    narrow = right(made, x, tmp_path / "narrow", 2e-2, weights=8)
    monkeypatch.setattr(mantissas, "WORTH", 0.0)
    wide = right(made, x, tmp_path / "wide", 2e-2, weights=8)
    assert narrow.missed is not None  # the ordinary tolerance, and it is told
    assert (dtypes(narrow)[256, 256], dtypes(wide)[256, 256]) == ("i8", "i16")
    traces = [syurmy.run(m.program, m.quantise({"x": x})) for m in (narrow, wide)]
    np.testing.assert_array_equal(traces[0].outputs["y"], traces[1].outputs["y"])

    keys = [setup(m.program) for m in (narrow, wide)]
    bytes_of = [sum(g.nbytes for g in k.params.integers.groups) for k in keys if k.params is not None]
    assert bytes_of[0] < bytes_of[1] - 256 * 250
    leaves = [certificate_plan(m.program, k.mode).used_leaves for m, k in zip((narrow, wide), keys, strict=True)]
    assert leaves[0] < leaves[1]
    check_certificate(keys[0].verifying_key, certify(keys[0]))
    proof = prove(keys[0], traces[0])
    np.testing.assert_array_equal(verify(keys[0].verifying_key, proof.data).outputs["y"], traces[0].outputs["y"])
