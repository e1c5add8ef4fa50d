"""Operators by body against onnxruntime's own kernels: compiled, executed, and some of them proven."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import syurmy
from syurmy.compiler import UnsupportedModel, compile_model, load
from syurmy.compiler.bodies import replaced
from syurmy.isa.arrays import Array
from tests.compiler.harness import compiled, evaluated, floats, outputs_of

pytest.importorskip("onnxruntime")
RUNTIME = "com.microsoft"
TOLERANCE = 1e-3  # of the range
B, S, N, D = 2, 5, 2, 16  # batch, rows, heads, size of a head
H = N * D


def ints(rng: np.random.Generator, high: int, *shape: int, dtype: Any = np.int32) -> Array:
    return rng.integers(0, high, shape).astype(dtype)


@dataclass
class One:
    """One node. ``feeds`` are what it reads, in order (None: absent); ``fixed``: the places of those that are
    constants, by default all behind the first."""

    op: str
    feeds: Sequence[Array | None]
    attributes: dict[str, Any] = field(default_factory=dict)
    fixed: Sequence[int] | None = None
    outputs: Sequence[str] = ("y",)
    domain: str = RUNTIME
    opset: int = 17

    def model(self) -> tuple[onnx.ModelProto, dict[str, Array]]:
        names = ["" if x is None else f"x{k}" for k, x in enumerate(self.feeds)]
        fixed = set(range(1, len(names)) if self.fixed is None else self.fixed)
        given = {f"x{k}": x for k, x in enumerate(self.feeds) if x is not None}
        constants = {f"x{k}": given.pop(f"x{k}") for k in fixed if names[k]}
        node = helper.make_node(self.op, names, list(self.outputs), domain=self.domain, **self.attributes)
        return graph_of([node], given, constants, [o for o in self.outputs if o], self.opset), given


def info(name: str, x: Array) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)


def graph_of(
    nodes: Sequence[onnx.NodeProto], inputs: dict[str, Array], constants: dict[str, Array], outputs: Sequence[str],
    opset: int = 17,
) -> onnx.ModelProto:  # fmt: skip
    """Outputs are typed by what onnxruntime makes of them."""
    graph = helper.make_graph(
        list(nodes), "case",
        [info(k, v) for k, v in inputs.items()],
        [onnx.ValueInfoProto(name=o) for o in outputs],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )  # fmt: skip
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid(RUNTIME, 1)], ir_version=8
    )
    found = evaluated(model, inputs, runtime=True)
    for o, y in zip(model.graph.output, found, strict=True):
        o.CopyFrom(info(o.name, y))
    return model


def agrees(model: onnx.ModelProto, inputs: dict[str, Array], folder: Path) -> Any:
    """The compiled model's outputs are onnxruntime's of the model as it is."""
    want = evaluated(model, inputs, runtime=True)
    done = compiled(model, inputs, folder)
    found = outputs_of(done, inputs)
    for o, y in zip(model.graph.output, want, strict=True):
        z = found[o.name]
        assert z.shape == y.shape
        if y.dtype.kind == "f":
            assert np.abs(z - y).max() <= TOLERANCE * (np.ptp(y) or np.abs(y).max()), o.name
        else:
            np.testing.assert_array_equal(z, y)
    return done


def pointwise(rng: np.random.Generator) -> dict[str, One]:
    x, b = floats(rng, 3, 8), floats(rng, 8)
    image, kernel = floats(rng, 1, 4, 6, 6), floats(rng, 3, 4, 3, 3) / 5
    made = {
        "gelu": One("Gelu", [x]),
        "gelu_9": One("Gelu", [x], opset=9),
        "gelu_20": One("Gelu", [x], opset=20),
        "bias_gelu": One("BiasGelu", [x, b]),
        "fast_gelu": One("FastGelu", [x]),
        "fast_gelu_bias": One("FastGelu", [x, b], opset=20),
        "quick_gelu": One("QuickGelu", [x], {"alpha": 1.3}),
        "conv_sum": One("FusedConv", [image, kernel, b[:3], floats(rng, 1, 3, 4, 4)], {"activation": "Relu"}),
        "gemm": One("FusedGemm", [x, floats(rng, 5, 8), b[:5]], {"transB": 1, "alpha": 0.7, "activation": "Relu"}),
        "gemm_leaky": One("FusedGemm", [x, floats(rng, 8, 5)], {"activation": "LeakyRelu", "activation_alpha": 0.3}),
    }
    for name, values in {
        "Sigmoid": [],
        "Tanh": [],
        "LeakyRelu": [0.2],
        "Clip": [-0.5, 0.7],
        "HardSigmoid": [0.3, 0.4],
    }.items():
        extra = {"activation_params": [float(v) for v in values]} if values else {}
        made[f"conv_{name.lower()}"] = One(
            "FusedConv", [image, kernel, b[:3]], {"activation": name, "strides": [2, 2], "pads": [1, 1, 1, 1], **extra}
        )
    for ta, tb, ba, bb in [(0, 1, 0, 0), (1, 0, 0, 0), (1, 1, 0, 0), (0, 0, 1, 0), (0, 1, 0, 1), (1, 1, 1, 1)]:
        shapes = [[2, 3, 4, 6], [2, 3, 6, 5]]
        for k, (last, batch) in enumerate([(ta, ba), (tb, bb)]):
            s = shapes[k]
            s = [s[0], s[1], s[3], s[2]] if last else s
            shapes[k] = [s[2], s[0], s[1], s[3]] if batch else s
        made[f"matmul_{ta}{tb}{ba}{bb}"] = One(
            "FusedMatMul", [floats(rng, *shapes[0]), floats(rng, *shapes[1])],
            {"transA": ta, "transB": tb, "transBatchA": ba, "transBatchB": bb, "alpha": 0.3}, fixed=[1] if ta else [],
        )  # fmt: skip
    return made


def norms(rng: np.random.Generator) -> dict[str, One]:
    x, skip = floats(rng, B, S, H), floats(rng, B, S, H)
    g, b, bias = (floats(rng, H) for _ in range(3))
    words, places, kinds = floats(rng, 11, H), floats(rng, 7, H), floats(rng, 2, H)
    mask = np.array([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]], np.int32)
    embed = [ints(rng, 11, B, S), ints(rng, 2, B, S), words, places, kinds, g, b, mask]
    made = {
        "skip_all": One("SkipLayerNormalization", [x, skip, g, b, bias], fixed=[2, 3, 4], outputs=("y", "", "", "s")),
        "skip_no_beta": One("SkipLayerNormalization", [x, skip, g], fixed=[2], opset=11),
        "skip_shared": One("SkipLayerNormalization", [x, skip[0], g, b], {"epsilon": 1e-3}, fixed=[2, 3]),
        "skip_rms": One("SkipSimplifiedLayerNormalization", [x, skip, g], fixed=[2], outputs=("y", "", "", "s")),
        "skip_rms_bias": One("SkipSimplifiedLayerNormalization", [x, skip, g, bias], fixed=[2, 3], opset=13),
        "rms": One("SimplifiedLayerNormalization", [x, g], {"epsilon": 1e-6, "axis": -1}, domain=""),
        "rms_9": One("SimplifiedLayerNormalization", [x, g], {"axis": 2}, domain="", opset=9),
        "embed": One("EmbedLayerNormalization", embed, fixed=[2, 3, 4, 5, 6], outputs=("y", "m")),
        "embed_short": One("EmbedLayerNormalization", [embed[0], None, words, places, None, g, b],
                           outputs=("y", "m"), opset=12),
        "embed_places": One("EmbedLayerNormalization", [*embed[:7], None, ints(rng, 7, B, S)], fixed=[2, 3, 4, 5, 6],
                            outputs=("y", "", "s")),
    }  # fmt: skip
    for opset in (7, 10, 11, 16):
        made[f"layer_{opset}"] = One(
            "LayerNormalization", [x, g, b], {"axis": 2 if opset < 11 else -1}, domain="", opset=opset
        )
    return made


def attentions(rng: np.random.Generator) -> dict[str, One]:
    x, w, b = floats(rng, B, S, 6), floats(rng, 6, 3 * H), floats(rng, 3 * H)
    x, w = x / 2, w / 2
    tokens = np.array([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]], np.int32)
    q, k, v = (floats(rng, B, S, H) for _ in range(3))
    past = floats(rng, 2, B, N, 3, D)
    added = floats(rng, 1, N, S, S)
    gqa = {"num_heads": N, "kv_num_heads": 1}
    ends, total = np.full(B, S - 1, np.int32), np.array(S, np.int32)
    angles = rng.uniform(-3, 3, (12, D // 2))
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    one = {"num_heads": N}
    cache = [floats(rng, B, 1, 3, D) for _ in range(2)]
    last = np.full(B, S + 2, np.int32), np.array(S + 3, np.int32)
    return {
        "attention": One("Attention", [x, w, b], one),
        "attention_no_bias": One("Attention", [x, w], one, opset=11),
        "attention_tokens": One("Attention", [x, w, b, tokens], one, fixed=[1, 2]),
        "attention_lengths": One("Attention", [x, w, b, np.array([5, 3], np.int32)], one, fixed=[1, 2]),
        "attention_both_ends": One("Attention", [x, w, b, np.array([5, 4, 0, 1], np.int32)], one, fixed=[1, 2]),
        "attention_fixed_mask": One("Attention", [x, w, b, np.stack([tokens] * S, 1)], one),
        "attention_causal": One("Attention", [x, w, b], {**one, "unidirectional": 1}),
        "attention_causal_tokens": One("Attention", [x, w, b, tokens], {**one, "unidirectional": 1}, fixed=[1, 2]),
        "heads_far": One("MultiHeadAttention", [q, k, v, None, tokens],
                         {**one, "mask_filter_value": float(np.finfo(np.float32).min)}, fixed=[]),
        "attention_past": One("Attention", [x, w, b, None, past], {**one, "unidirectional": 1}, fixed=[1, 2],
                              outputs=("y", "present")),
        "attention_sizes": One("Attention", [x, floats(rng, 6, 2 * H + 6), floats(rng, 2 * H + 6)],
                               {**one, "qkv_hidden_sizes": [H, H, 6], "scale": 0.4}),
        "attention_bias": One("Attention", [x, w, b, None, None, added], one, fixed=[1, 2]),
        "heads": One("MultiHeadAttention", [q, k, v], one, fixed=[]),
        "heads_bias": One("MultiHeadAttention", [q, k, v, b], {**one, "scale": 0.3}, fixed=[3], opset=13),
        "heads_mask": One("MultiHeadAttention", [q, k, v, b, tokens], one, fixed=[3]),
        "heads_causal": One("MultiHeadAttention", [q, k, v], {**one, "unidirectional": 1}, fixed=[]),
        "heads_added": One("MultiHeadAttention", [q, k, v, None, None, added], one, fixed=[5]),
        "heads_past": One("MultiHeadAttention", [q, k, v, None, None, None, past[0], past[1]], one, fixed=[],
                          outputs=("y", "k", "v")),
        "heads_cross": One("MultiHeadAttention", [q, floats(rng, B, N, 7, D), floats(rng, B, N, 7, D)], one, fixed=[]),
        "groups": One("GroupQueryAttention", [q, k[..., :D], v[..., :D], None, None, ends, total], gqa, fixed=[5, 6],
                      outputs=("y", "k", "v")),
        "groups_turned": One("GroupQueryAttention", [q, k[..., :D], v[..., :D], None, None, ends, total, cos, sin],
                             {**gqa, "do_rotary": 1}, fixed=[5, 6, 7, 8], outputs=("y", "k", "v")),
        "groups_packed": One("GroupQueryAttention",
                             [floats(rng, B, S, H + 2 * D), None, None, None, None, ends, total, cos, sin],
                             {**gqa, "do_rotary": 1, "rotary_interleaved": 1}, fixed=[5, 6, 7, 8],
                             outputs=("y", "k", "v")),
        "groups_window": One("GroupQueryAttention", [q, k[..., :D], v[..., :D], None, None, ends, total],
                             {**gqa, "local_window_size": 2, "softcap": 1.5}, fixed=[5, 6], outputs=("y", "k", "v")),
        "groups_past": One("GroupQueryAttention", [q[:, :1], k[:, :1, :D], v[:, :1, :D], *cache,
                                                   np.full(B, 3, np.int32), np.array(4, np.int32), cos, sin],
                           {**gqa, "do_rotary": 1},
                           fixed=[5, 6, 7, 8], outputs=("y", "k", "v")),
        "groups_past_rows": One("GroupQueryAttention", [q[:1], k[:1, :, :D], v[:1, :, :D], *(c[:1] for c in cache),
                                                        last[0][:1], last[1], cos, sin], {**gqa, "do_rotary": 1},
                                fixed=[5, 6, 7, 8], outputs=("y", "k", "v")),
        "turned": One("RotaryEmbedding", [q, np.zeros(1, np.int64), cos, sin]),
        "turned_at": One("RotaryEmbedding", [q, ints(rng, 12, B, S, dtype=np.int64), cos, sin], {"interleaved": 1}),
        "turned_by_data": One("RotaryEmbedding", [q, ints(rng, 12, B, S, dtype=np.int64), cos, sin], fixed=[2, 3]),
        "turned_heads": One("RotaryEmbedding", [floats(rng, B, N, S, D), np.array([4]), cos, sin]),
        "turned_part": One("RotaryEmbedding", [q, np.zeros(1, np.int64), cos[:, :1], sin[:, :1]],
                           {"rotary_embedding_dim": 2, "num_heads": N}),
    }  # fmt: skip


def integers(rng: np.random.Generator) -> dict[str, One]:
    x = floats(rng, 3, 40)
    made = {}
    for bits, size, zeros in [
        (4, 16, True),
        (4, 32, False),
        (8, 16, True),
        (4, 16, None),
        (2, 16, True),
        (2, 16, False),
    ]:
        blocks = -(-40 // size)
        packed = ints(rng, 256, 6, blocks, size * bits // 8, dtype=np.uint8)
        scales = rng.uniform(0.02, 0.1, (6, blocks)).astype(np.float32)
        zero = ints(rng, 256, 6, -(-blocks * bits // 8), dtype=np.uint8) if zeros else None
        zero = rng.uniform(6, 9, (6, blocks)).astype(np.float32) if zeros is None else zero
        made[f"nbits_{bits}_{size}_{zeros}"] = One("MatMulNBits", [x, packed, scales, zero],
                                                   {"K": 40, "N": 6, "bits": bits, "block_size": size})  # fmt: skip
    packed, scales = ints(rng, 256, 6, 3, 8, dtype=np.uint8), rng.uniform(0.02, 0.1, (6, 3)).astype(np.float32)
    sizes = {"K": 40, "N": 6, "bits": 4, "block_size": 16}
    made["nbits_bias"] = One("MatMulNBits", [x, packed, scales.reshape(-1), None, None, floats(rng, 6)], sizes)
    blocks = rng.permutation(np.arange(48) // 16).astype(np.int32)
    made["nbits_order"] = One("MatMulNBits", [floats(rng, 3, 48), packed, scales, None, blocks], {**sizes, "K": 48})
    made.update(tables(rng))
    w8, scale, zero = ints(rng, 255, 40, 6, dtype=np.uint8), np.array(0.02, np.float32), np.array(120, np.uint8)
    a8 = ints(rng, 255, 3, 40, dtype=np.uint8)
    column = rng.uniform(0.01, 0.03, 6).astype(np.float32)
    made["dynamic"] = One("DynamicQuantizeMatMul", [x, w8, scale, zero, floats(rng, 6)])
    made["dynamic_columns"] = One("DynamicQuantizeMatMul", [x, (w8 // 2).astype(np.int8), column, np.zeros(6, np.int8)])
    made["to_float"] = One(
        "MatMulIntegerToFloat", [a8, w8, scale, column, zero, np.full(6, 120, np.uint8), floats(rng, 6)]
    )
    made["to_float_plain"] = One("MatMulIntegerToFloat", [a8, w8, scale, scale])
    kinds = {"forward": 1, "reverse": 1, "bidirectional": 2}
    for name, d in kinds.items():
        weights = [(floats(rng, d, size, 16) * 30).clip(-127, 127).astype(np.int8) for size in (6, 4)]
        scales = [np.full(d, 0.01, np.float32), np.zeros(d, np.int8)]
        made[f"lstm_{name}"] = One(
            "DynamicQuantizeLSTM",
            [floats(rng, 5, 1, 6), *weights, floats(rng, d, 32) / 4, None, None, None, None, *scales, *scales],
            {"hidden_size": 4, "direction": name}, outputs=("y", "h", "c"),
        )  # fmt: skip
    made["lstm_states"] = One(
        "DynamicQuantizeLSTM",
        [floats(rng, 5, 1, 6), *weights, None, None, floats(rng, 2, 1, 4) / 2, floats(rng, 2, 1, 4) / 2, None,
         np.full((2, 16), 0.01, np.float32), np.zeros((2, 16), np.int8),
         np.full((2, 16), 0.02, np.float32), np.zeros((2, 16), np.int8)],
        {"hidden_size": 4, "direction": "bidirectional"}, outputs=("y", "h", "c"),
    )  # fmt: skip
    weight = (floats(rng, 6, 3 * H) * 40).clip(-127, 127).astype(np.int8)
    made.update(channels_last(rng))
    made["attention"] = One(
        "QAttention",
        [ints(rng, 255, B, S, 6, dtype=np.uint8), weight, floats(rng, 3 * H), np.array(0.02, np.float32),
         np.array(0.01, np.float32), None, np.array(125, np.uint8), np.array(0, np.int8)],
        {"num_heads": N},
    )  # fmt: skip
    return made


def tables(rng: np.random.Generator) -> dict[str, One]:
    """Rows of quantised tables: bytes that hold one entry or several, int4 along either axis, the last block short."""
    at, made = np.array([[4, 0, -1]]), {}
    for bits, zeros, columns in ((4, True, 40), (4, False, 38), (8, True, 40), (8, False, 24), (2, True, 40)):
        packed, blocks = ints(rng, 256, 5, columns * bits // 8, dtype=np.uint8), -(-columns // 16)
        given = [packed, at, rng.uniform(0.02, 0.1, (5, blocks)).astype(np.float32)]
        given += [ints(rng, 256, 5, -(-blocks * bits // 8), dtype=np.uint8)] if zeros else []
        made[f"table_{bits}_{zeros}"] = One("GatherBlockQuantized", given, {"bits": bits, "block_size": 16},
                                            [0, *range(2, len(given))])  # fmt: skip
    for name, quantised, gathered, shape in (
        ("int4", 1, 0, (5, 2)),
        ("uint4", 0, 1, (1, 20)),
        ("int4", -1, -1, (5, 2)),
    ):
        kind = np.dtype(getattr(ml_dtypes, name))
        low = -8 if name == "int4" else 0
        q, zero = (rng.integers(low, low + 16, s).astype(kind) for s in ((5, 20), shape))
        given = [q, at, rng.uniform(0.02, 0.1, shape).astype(np.float32), zero]
        sizes = {"block_size": 16, "quantize_axis": quantised, "gather_axis": gathered}
        made[f"table_{name}_{quantised}"] = One("GatherBlockQuantized", given, sizes, [0, 2, 3], opset=21)
    made["table_int4"] = replace(made["table_int4_1"], feeds=made["table_int4_1"].feeds[:3], fixed=[0, 2])
    return made


def channels_last(rng: np.random.Generator) -> dict[str, One]:
    x = ints(rng, 255, 1, 6, 6, 4, dtype=np.uint8)
    scale, zero = np.array(0.02, np.float32), np.array(120, np.uint8)
    weights = ints(rng, 255, 3, 4, 3, 3, dtype=np.uint8)
    wide = np.array(0.4, np.float32)
    return {
        "pool_last": One("NhwcMaxPool", [x], {"kernel_shape": [2, 2], "strides": [2, 2]}),
        "conv_last": One("QLinearConv", [x, scale, zero, weights, scale, zero, wide, zero, ints(rng, 99, 3)],
                         {"channels_last": 1, "pads": [1, 1, 1, 1], "kernel_shape": [3, 3]}),
        "mean_last": One("QLinearGlobalAveragePool", [x, scale, zero, scale, zero], {"channels_last": 1}),
    }  # fmt: skip


CASES = {
    f"{family.__name__}-{name}": one
    for family in (pointwise, norms, attentions, integers)
    for name, one in family(np.random.default_rng(7)).items()
}


@pytest.mark.parametrize("name", CASES)
def test_body(name: str, tmp_path: Path) -> None:
    one = CASES[name]
    model, inputs = one.model()
    agrees(model, inputs, tmp_path)


def older(rng: np.random.Generator, opset: int) -> dict[str, One]:
    """Operators whose body came later, in the form of an opset."""
    x = floats(rng, 1, 8, 4, 6)
    axes = [1, -1] if opset >= 11 else [1, 3]
    modes = ("DCR", "CRD") if opset >= 11 else ("DCR",)
    made = {f"DepthToSpace-{m}": One("DepthToSpace", [x], {"blocksize": 2, "mode": m}) for m in modes}
    if opset < 11:
        made["DepthToSpace-DCR"].attributes.pop("mode")
    made["SpaceToDepth"] = One("SpaceToDepth", [x], {"blocksize": 2})
    for op in ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare", "ReduceSum", "ReduceMax"):
        feed = np.abs(x) + 0.1 if op == "ReduceLogSum" else x
        if opset < 18 and (op != "ReduceSum" or opset < 13):
            made[op] = One(op, [feed], {"axes": axes, "keepdims": 0})
        else:
            made[op] = One(op, [feed, np.array(axes)], {"keepdims": 0})
        made[f"{op}-all"] = One(op, [feed])
    for one in made.values():
        one.domain, one.opset = "", opset
    return made


HALF = [
    "norms-skip_rms",
    "norms-rms",
    "norms-skip_all",
    "norms-skip_no_beta",
    "pointwise-fast_gelu",
    "pointwise-quick_gelu",
]


@pytest.mark.parametrize("name", HALF)
def test_of_float16(name: str, tmp_path: Path) -> None:
    """Rows of squares that float16 does not hold; the optional outputs, which are float32, are left out."""
    one = CASES[name]
    size = 30 if "norms" in name else 1
    feeds = [x if x is None else (x * (size if k == 0 else 1)).astype(np.float16) for k, x in enumerate(one.feeds)]
    model, inputs = replace(one, feeds=feeds, outputs=("y",)).model()
    agrees(model, inputs, tmp_path)


def test_every_body_is_tested() -> None:
    tested = {f"{one.domain}.{one.op}" if one.domain else one.op for one in CASES.values()}
    tested |= {one.op for one in older(np.random.default_rng(0), 13).values()}
    assert len(tested) > 30
    fused = {
        "com.microsoft.TransposeMatMul",
        "com.microsoft.FusedMatMulActivation",
    }  # FusedMatMul's body, elsewhere run
    assert set(replaced()) - tested == fused


@pytest.mark.parametrize("opset", [7, 9, 11, 12, 13, 17, 18, 21])
def test_of_every_opset(opset: int, tmp_path: Path) -> None:
    for one in older(np.random.default_rng(opset), opset).values():
        model, inputs = one.model()
        agrees(model, inputs, tmp_path)


@pytest.mark.parametrize("window", [-1, 2])
def test_a_cache_that_is_not_full(window: int, tmp_path: Path) -> None:
    """How many keys count is data: new ones stand behind them, places and masks follow."""
    rng = np.random.default_rng(6)
    sizes, (cos, sin) = (B, 1, 4, D), (floats(rng, 12, D // 2) for _ in range(2))
    feeds = [floats(rng, B, 1, H), floats(rng, B, 1, D), floats(rng, B, 1, D), floats(rng, *sizes), floats(rng, *sizes)]
    given = {"num_heads": N, "kv_num_heads": 1, "do_rotary": 1, "local_window_size": window}
    one = One("GroupQueryAttention", [*feeds, np.array([4, 2], np.int32), np.array(5, np.int32), cos, sin], given,
              fixed=[6, 7, 8], outputs=("y", "k", "v"))  # fmt: skip
    model, inputs = one.model()
    full = {**inputs, "x5": np.array([4, 4], np.int32)}
    done = compile_model(
        load.prepare(model), tmp_path, calibrate={k: np.stack([v, full[k]]) for k, v in inputs.items()}
    )
    for sample, ends in ((inputs, (5, 3)), (full, (5, 5))):
        found = outputs_of(done, sample)
        for o, want in zip(model.graph.output, evaluated(model, sample, runtime=True), strict=True):
            rows = [(found[o.name], want)]
            if o.name != "y":  # behind the keys that count a cache holds anything
                rows = [(found[o.name][b, :, :e], want[b, :, :e]) for b, e in enumerate(ends)]
            for y, z in rows:
                assert np.abs(y - z).max() <= TOLERANCE * np.ptp(z), o.name


def test_inside_a_branch(tmp_path: Path) -> None:
    """Bodies replace nodes of If as well; the shape that a later one needs comes from an earlier one's body."""
    rng = np.random.default_rng(3)
    x = floats(rng, 4, 3)
    inner = [
        helper.make_node("BiasGelu", ["x", "b"], ["t"], domain=RUNTIME),
        helper.make_node("FusedMatMul", ["t", "m"], ["u"], domain=RUNTIME, transA=1),
        helper.make_node("FusedMatMul", ["u", "m"], ["z"], domain=RUNTIME, transA=1, transB=1),
    ]
    branch = helper.make_graph(inner, "branch", [], [onnx.ValueInfoProto(name="z")])
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    constants = {"c": np.array(True), "b": floats(rng, 3), "m": floats(rng, 4, 3)}
    agrees(graph_of([node], {"x": x}, constants, ["y"]), {"x": x}, tmp_path)


def test_what_no_body_says_is_refused() -> None:
    rng = np.random.default_rng(4)
    refused = {
        "a cache that is a buffer": One("Attention", [floats(rng, 1, 2, 4), floats(rng, 4, 12), None, None,
                                        floats(rng, 2, 1, 1, 3, 4), None, np.array([2], np.int32)],
                                        {"num_heads": 1, "past_present_share_buffer": 1}),
        "the activation Sinh": One("FusedConv", [floats(rng, 1, 1, 3, 3)] * 2, {"activation": "Sinh"}),
    }  # fmt: skip
    for reason, one in refused.items():
        graph = helper.make_graph(
            [helper.make_node(one.op, [f"x{k}" if x is not None else "" for k, x in enumerate(one.feeds)], ["y"],
                              domain=RUNTIME, **one.attributes)], "case",
            [helper.make_tensor_value_info("x0", TensorProto.FLOAT, one.feeds[0].shape)],  # type: ignore[union-attr]
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(x, f"x{k}") for k, x in enumerate(one.feeds) if k and x is not None],
        )  # fmt: skip
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid(RUNTIME, 1)]
        with pytest.raises(UnsupportedModel, match=reason):
            load.prepare(helper.make_model(graph, opset_imports=opsets, ir_version=8))


def encoder(rng: np.random.Generator, opset: int) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """A convolution and a layer of a transformer as exporters write them, for onnxruntime's optimiser to fuse."""
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, Array] = {}

    def w(op: str, *inputs: str | Array, **attributes: Any) -> str:
        names = []
        for x in inputs:
            if not isinstance(x, str):
                constants[f"c{len(constants)}"] = x
                x = f"c{len(constants) - 1}"
            names.append(x)
        nodes.append(helper.make_node(op, names, [f"t{len(nodes)}"], **attributes))
        return f"t{len(nodes) - 1}"

    def norm(x: str) -> str:
        mean = w("ReduceMean", x, axes=[-1])
        d = w("Sub", x, mean)
        v = w("ReduceMean", w("Pow", d, np.array(2, np.float32)), axes=[-1])
        y = w("Div", d, w("Sqrt", w("Add", v, np.array(1e-5, np.float32))))
        return w("Add", w("Mul", y, floats(rng, 8)), floats(rng, 8))

    def dense(x: str, a: int, b: int) -> str:
        return w("Add", w("MatMul", x, floats(rng, a, b) / np.float32(np.sqrt(a))), floats(rng, b))

    def split(x: str, perm: list[int]) -> str:
        return w("Transpose", w("Reshape", x, np.array([0, 0, 2, 4])), perm=perm)

    image = w("Relu", w("Conv", "x", floats(rng, 8, 2, 3, 3) / 4, floats(rng, 8), pads=[1, 1, 1, 1]))
    x = w("Transpose", w("Reshape", image, np.array([0, 8, -1])), perm=[0, 2, 1])
    q, k, v = (split(dense(x, 8, 8), p) for p in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]))
    p = w("Softmax", w("Div", w("MatMul", q, k), np.array(2, np.float32)), axis=3 if opset < 13 else -1)
    y = w("Reshape", w("Transpose", w("MatMul", p, v), perm=[0, 2, 1, 3]), np.array([0, 0, 8]))
    x = norm(w("Add", dense(y, 8, 8), x))
    h = dense(x, 8, 16)
    e = w("Add", w("Erf", w("Div", h, np.array(np.sqrt(2), np.float32))), np.array(1, np.float32))
    h = w("Mul", w("Mul", h, e), np.array(0.5, np.float32))
    nodes[-1].output[0] = "gelu"
    y = norm(w("Add", dense("gelu", 16, 8), x))
    nodes[-1].output[0] = "y"
    feeds = {"x": floats(rng, 1, 2, 4, 4)}
    return graph_of(nodes, feeds, constants, ["y"], opset), feeds


@pytest.mark.parametrize("opset", [11, 14, 17])
def test_saved_by_the_optimiser(opset: int, tmp_path: Path) -> None:
    """The file that onnxruntime saves at each level gives what the file gave that it read."""
    import onnxruntime as ort

    model, inputs = encoder(np.random.default_rng(opset), opset)
    (want,) = evaluated(model, inputs, runtime=True)
    fused = set()
    for level in ("BASIC", "EXTENDED", "ALL"):
        options = ort.SessionOptions()
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
        options.optimized_model_filepath = str(tmp_path / f"{level}.onnx")
        options.log_severity_level = 4
        kept = {"disabled_optimizers": ["NchwcTransformer"]}  # blocked layouts are those of one processor
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"], **kept)
        saved = load.load(tmp_path / f"{level}.onnx")
        fused |= {n.op_type for n in onnx.load(tmp_path / f"{level}.onnx").graph.node}
        done = compile_model(saved, tmp_path / level, calibrate={k: v[None] for k, v in inputs.items()})
        y = outputs_of(done, inputs)["y"]
        assert np.abs(y - want).max() <= TOLERANCE * np.ptp(want), level
    assert {"FusedConv", "FusedMatMul"} <= fused
    assert {"Gelu", "BiasGelu"} & fused
    assert {"LayerNormalization", "SkipLayerNormalization"} & fused


def test_blocked_layouts_are_refused(tmp_path: Path) -> None:
    x = floats(np.random.default_rng(0), 1, 16, 4, 4)
    node = helper.make_node("ReorderInput", ["x"], ["y"], domain="com.microsoft.nchwc")
    model = graph_of([helper.make_node("Relu", ["x"], ["y"])], {"x": x}, {}, ["y"])
    model.graph.node[0].CopyFrom(node)
    model.opset_import.append(helper.make_opsetid("com.microsoft.nchwc", 1))
    with pytest.raises(UnsupportedModel, match="laid the file out for one processor"):
        compiled(model, {"x": x}, tmp_path)


@pytest.mark.parametrize("name", ["norms-embed", "attentions-attention_tokens", "integers-nbits_4_16_True"])
def test_proven(name: str, tmp_path: Path) -> None:
    model, inputs = CASES[name].model()
    done = agrees(model, inputs, tmp_path)
    trace = syurmy.run(done.program, done.quantise(inputs))
    key, verifying_key = syurmy.setup(done.program)
    syurmy.verify(verifying_key, syurmy.prove(key, trace).to_bytes())
