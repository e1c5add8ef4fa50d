"""Text that is proven: how often it is the float model's, and what a proof of a GPT-2-shaped model costs.

    python -m benchmarks.generation text                 character GPT of programs/onnx: agreement with the float model
    python -m benchmarks.generation shape --layers 2     GPT-2's shape with random weights: compile, prove, verify

``shape`` writes the model layer by layer as ONNX (hidden 768, 12 heads, vocabulary 50,257, head tied to the embedding;
12 layers are the 124 M of GPT-2) with 32 tokens, 16 of which are the prompt. Random weights cost what trained ones do;
what is written means nothing. Each line of standard output is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import syurmy
from syurmy import host
from syurmy.compiler import CompiledModel, compile_onnx
from syurmy.compiler.generation import generated
from syurmy.isa.arrays import I64

HERE = Path(__file__).resolve().parents[1] / "programs" / "onnx"
HIDDEN, HEADS, VOCABULARY = 768, 12, 50257


def text(prompts: int, most: int, given: int = 16) -> dict[str, Any]:
    """Continues windows of held-out text."""
    import onnxruntime

    data = np.load(HERE / "chargpt_test.npz")
    session = onnxruntime.InferenceSession(str(HERE / "chargpt.onnx"), providers=["CPUExecutionProvider"])
    with tempfile.TemporaryDirectory() as folder:
        calibrate = {"ids": data["calibration"][:, None].astype(np.int64)}
        model = compile_onnx(HERE / "chargpt.onnx", folder, generate="greedy", calibrate=calibrate)
        return agreement(model, session, data["ids"][:prompts, :given].astype(np.int64), most)


def agreement(model: CompiledModel, session: Any, prompts: I64, most: int) -> dict[str, Any]:
    """Continues each prompt. Of every completion each token is compared with the float model's choice behind the same
    text, and the whole with what the float model writes alone."""
    same = whole = tokens = told = untold = 0
    for window in prompts:
        given = len(window)
        done = generated(model, window.tolist(), most)
        says = best(session, done.tokens)
        apart = [i for i in range(given, len(done.tokens)) if says[i - 1] != done.tokens[i]]
        tokens += len(done.completion)
        same += len(done.completion) - len(apart)
        told += len(done.undecided)
        untold += len(set(apart) - set(done.undecided))
        alone = window.tolist()
        for _ in range(most):
            alone.append(int(best(session, alone)[len(alone) - 1]))
        whole += tuple(alone) == done.tokens
    return {
        "texts": len(prompts),
        "tokens": tokens,
        "same_tokens": same,
        "same_texts": whole,
        "told": told,
        "untold": untold,
    }


def best(session: Any, tokens: Any) -> I64:
    """The float model's choice behind every place."""
    ids = np.zeros(session.get_inputs()[0].shape, np.int64)
    ids[0, : len(tokens)] = tokens
    return np.asarray(session.run(None, {"ids": ids})[0][0].argmax(axis=1))


def shape(layers: int, total: int, prompt: int, clear: bool) -> dict[str, Any]:
    """Compile, write ``total - prompt`` tokens, prove, verify."""
    rng = np.random.default_rng(0)
    took: dict[str, float] = {}

    def timed(name: str, work: Any) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        out = work()
        took[name], took[f"{name}_cpu"] = time.perf_counter() - wall, time.process_time() - cpu
        return out

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        path = Path(folder) / "model.onnx"
        write_gpt2(path, layers, total)
        samples = {"ids": rng.integers(0, VOCABULARY, (2, 1, total))}
        options: dict[str, Any] = {"generate": "greedy", "calibrate": samples, "prompt_tokens": prompt}
        model: CompiledModel = timed("compile", lambda: compile_onnx(path, Path(folder) / "m", **options))
        done = timed("generate", lambda: generated(model, samples["ids"][0, 0, :prompt].tolist()))
        pk, vk = timed("setup", lambda: syurmy.setup(model, zk=not clear))
        proof = timed("prove", lambda: syurmy.prove(pk, done.trace))
        statement = timed("verify", lambda: syurmy.verify(vk, proof))
    report = proof.report
    return {
        "layers": layers,
        "tokens": total,
        "prompt": prompt,
        "passes": done.passes,
        "undecided": len(done.undecided),
        "leaves": report.leaves,
        "entries": report.committed_entries,
        "proof_bytes": len(proof.to_bytes()),
        "bits": statement.soundness_bits,
        "hiding": statement.hiding,
        "peak_mb": host.peak_mb(),
        "load": os.getloadavg()[0],
        "seconds": took,
    }


def write_gpt2(path: Path, layers: int, total: int) -> None:
    """GPT-2's graph as exporters write it, ids [1, total] -> logits [1, total, 50257], weights N(0, 0.02)."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(1)
    held: dict[str, npt.NDArray[Any]] = {
        "heads": np.array([0, 0, HEADS, HIDDEN // HEADS], np.int64),
        "flat": np.array([0, 0, HIDDEN], np.int64),
        "root": np.array((HIDDEN // HEADS) ** 0.5, np.float32),
        "mask": np.triu(np.full((total, total), -1e9, np.float32), 1),
        "cubic": np.array(0.044715, np.float32),
        "two": np.array((2 / np.pi) ** 0.5, np.float32),
        "one": np.array(1, np.float32),
        "half": np.array(0.5, np.float32),
        "three": np.array(3, np.float32),
    }
    nodes: list[Any] = []

    def weight(name: str, *shape: int, mean: float = 0.0) -> str:
        held[name] = (mean + 0.02 * rng.standard_normal(shape)).astype(np.float32)
        return name

    def node(op: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        name = out or f"{op.lower()}_{len(nodes)}"
        nodes.append(helper.make_node(op, list(inputs), [name], name=f"/{name}", **attributes))
        return name

    def dense(x: str, name: str, n: int, m: int) -> str:
        return node("Add", node("MatMul", x, weight(f"{name}.w", n, m)), weight(f"{name}.b", m))

    def norm(x: str, name: str) -> str:
        gain, bias = weight(f"{name}.g", HIDDEN, mean=1.0), weight(f"{name}.b", HIDDEN)
        return node("LayerNormalization", x, gain, bias, epsilon=1e-5)

    x = node("Add", node("Gather", weight("wte", VOCABULARY, HIDDEN), "ids"), weight("wpe", total, HIDDEN))
    for i in range(layers):
        joined = dense(norm(x, f"{i}.ln1"), f"{i}.attn", HIDDEN, 3 * HIDDEN)
        names = [f"{i}.q", f"{i}.k", f"{i}.v"]
        nodes.append(helper.make_node("Split", [joined], names, name=f"/{i}/split", axis=2))
        q, k, v = (node("Reshape", n, "heads") for n in names)
        q, v, k = (node("Transpose", n, perm=p) for n, p in ((q, [0, 2, 1, 3]), (v, [0, 2, 1, 3]), (k, [0, 2, 3, 1])))
        scores = node("Add", node("Div", node("MatMul", q, k), "root"), "mask")
        o = node("Transpose", node("MatMul", node("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
        x = node("Add", x, dense(node("Reshape", o, "flat"), f"{i}.proj", HIDDEN, HIDDEN))
        z = dense(norm(x, f"{i}.ln2"), f"{i}.fc", HIDDEN, 4 * HIDDEN)
        inner = node("Mul", node("Add", z, node("Mul", node("Pow", z, "three"), "cubic")), "two")
        gelu = node("Mul", node("Mul", z, "half"), node("Add", node("Tanh", inner), "one"))
        x = node("Add", x, dense(gelu, f"{i}.out", 4 * HIDDEN, HIDDEN))
    node("MatMul", norm(x, "ln"), node("Transpose", "wte", perm=[1, 0]), out="logits")
    graph = helper.make_graph(
        nodes,
        "gpt2",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, [1, total])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, total, VOCABULARY])],
        [numpy_helper.from_array(x, name) for name, x in held.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("text", "shape"))
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--clear", action="store_true", help="proofs that hide nothing")
    options = parser.parse_args()
    if options.what == "text":
        print(json.dumps(text(options.texts, 32)))
    else:
        print(json.dumps(shape(options.layers, options.tokens, options.tokens // 2, options.clear)))


if __name__ == "__main__":
    main()
