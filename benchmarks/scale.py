"""Large language models with random weights, made and proven part by part: ``python -m benchmarks.scale SHAPE``.

    python -m benchmarks.scale qwen3-0.6b --parts 0-1,head      its first layers and its head
    python -m benchmarks.scale llama2-7b --parts 0-2,head       three layers of 32, and the head

A part is one or several layers (``--layers-each``; RMSNorm, rotary positions, attention with grouped keys and values,
SwiGLU), or the head (RMSNorm, logits of the last position, the largest of which is the public output). Each is written
as ONNX, compiled, set up, proven and verified by the command line, in processes of its own, so that memory is that of
one part. The states between parts are committed tensors, and the commitment that one part makes is compared with the
one that the next names. Keys go when their part is proven.

Random weights cost what trained ones do; what is computed means nothing. Every line of standard output is a JSON
object: one for each part, then the sums, and what the whole model would take, which is computed from them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from benchmarks.measure import machine

T = TypeVar("T")
F32 = npt.NDArray[np.float32]
SAMPLES = 3
SERIAL = 0.21  # of a proof's processor time is not in kernels that share their work (measured on VGG16)


@dataclass(frozen=True)
class Shape:
    """Of a decoder. ``norms``: queries and keys are normalised per head."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head: int
    ffn: int
    vocabulary: int
    tokens: int
    norms: bool = False


SHAPES = {
    "small": Shape(2, 64, 4, 2, 16, 96, 500, 4, norms=True),
    "tinyllama-1.1b": Shape(22, 2048, 32, 4, 64, 5632, 32000, 8),
    "qwen3-0.6b": Shape(28, 1024, 16, 8, 128, 3072, 151936, 9, norms=True),
    "llama2-7b": Shape(32, 4096, 32, 32, 128, 11008, 32000, 8),
}


class Graph:
    """A model that is being written."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.held: dict[str, npt.NDArray[Any]] = {}
        self.nodes: list[Any] = []

    def constant(self, name: str, value: npt.ArrayLike, dtype: Any = np.float32) -> str:
        self.held.setdefault(name, np.asarray(value, dtype))
        return name

    def weight(self, name: str, *shape: int, mean: float = 0.0) -> str:
        drawn = self.rng.standard_normal(shape, np.float32)
        drawn *= np.float32(0.02)
        return self.constant(name, drawn + np.float32(mean) if mean else drawn)

    def node(self, op: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        from onnx import helper

        name = out or f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=f"/{name}", **attributes))
        return name

    def reshaped(self, x: str, *shape: int) -> str:
        return self.node("Reshape", x, self.constant(f"shape {shape}", shape, np.int64))

    def norm(self, x: str, name: str, size: int) -> str:
        squares = self.node("Pow", x, self.constant("two", 2.0))
        mean = self.node("ReduceMean", squares, axes=[-1], keepdims=1)
        root = self.node("Sqrt", self.node("Add", mean, self.constant("epsilon", 1e-6)))
        scaled = self.node("Mul", x, self.node("Div", self.constant("one", 1.0), root))
        return self.node("Mul", scaled, self.weight(f"{name}.g", size, mean=1.0))

    def rotated(self, x: str, half: int) -> str:
        """Rotary positions, as exporters of LLaMA write them."""
        axis = self.constant("last axis", [-1], np.int64)
        zero, middle, end = (self.constant(f"at {n}", [n], np.int64) for n in (0, half, 2 * half))
        first, second = self.node("Slice", x, zero, middle, axis), self.node("Slice", x, middle, end, axis)
        turned = self.node("Concat", self.node("Neg", second), first, axis=-1)
        return self.node("Add", self.node("Mul", x, "cos"), self.node("Mul", turned, "sin"))

    def layer(self, x: str, s: Shape, name: str) -> str:
        """A decoder layer, ``[1, tokens, hidden]`` to the same."""
        t, d = s.tokens, s.head
        a = self.norm(x, f"{name}.ln1", s.hidden)

        def heads(label: str, count: int, normed: bool) -> str:
            y = self.node("MatMul", a, self.weight(f"{name}.{label}", s.hidden, count * d))
            y = self.reshaped(y, 1, t, count, d)
            if normed:
                y = self.norm(y, f"{name}.{label}n", d)
            return self.node("Transpose", y, perm=[0, 2, 1, 3])

        def repeated(y: str) -> str:
            """Each head of keys or values for all heads of queries that share it."""
            if s.kv_heads == s.heads:
                return y
            shared = s.heads // s.kv_heads
            wide = self.constant("repeats", [1, s.kv_heads, shared, t, d], np.int64)
            y = self.node("Expand", self.reshaped(y, 1, s.kv_heads, 1, t, d), wide)
            return self.reshaped(y, 1, s.heads, t, d)

        q = self.rotated(heads("q", s.heads, s.norms), d // 2)
        k = repeated(self.rotated(heads("k", s.kv_heads, s.norms), d // 2))
        v = repeated(heads("v", s.kv_heads, False))
        scores = self.node("MatMul", q, self.node("Transpose", k, perm=[0, 1, 3, 2]))
        scores = self.node("Div", scores, self.constant("root", d**0.5))
        scores = self.node("Add", scores, self.constant("mask", np.triu(np.full((t, t), -1e9), 1)))
        mixed = self.node("MatMul", self.node("Softmax", scores, axis=-1), v)
        joined = self.reshaped(self.node("Transpose", mixed, perm=[0, 2, 1, 3]), 1, t, s.heads * d)
        x = self.node("Add", x, self.node("MatMul", joined, self.weight(f"{name}.o", s.heads * d, s.hidden)))
        b = self.norm(x, f"{name}.ln2", s.hidden)
        gate = self.node("MatMul", b, self.weight(f"{name}.gate", s.hidden, s.ffn))
        up = self.node("MatMul", b, self.weight(f"{name}.up", s.hidden, s.ffn))
        swish = self.node("Mul", gate, self.node("Sigmoid", gate))
        inner = self.node("Mul", swish, up)
        return self.node("Add", x, self.node("MatMul", inner, self.weight(f"{name}.down", s.ffn, s.hidden)))

    def save(self, path: Path, name: str, shape: Sequence[int], output: Sequence[int], whole: bool) -> None:
        """``x`` to ``y``, reals of this shape or (``whole``) a whole number."""
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        kind = TensorProto.INT64 if whole else TensorProto.FLOAT
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", kind, output)],
            [numpy_helper.from_array(value, label) for label, value in self.held.items()],
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def write_layers(path: Path, s: Shape, first: int, count: int) -> int:
    """``count`` layers from ``first`` on as ONNX; how many weights they have."""
    g = Graph(first + 1)
    angles = np.outer(np.arange(s.tokens), 1e4 ** (-np.arange(0, s.head, 2) / s.head))
    g.constant("cos", np.cos(np.concatenate([angles, angles], 1)))
    g.constant("sin", np.sin(np.concatenate([angles, angles], 1)))
    x = "x"
    for k in range(first, first + count):
        x = g.layer(x, s, str(k))
    g.node("Identity", x, out="y")
    shape = [1, s.tokens, s.hidden]
    g.save(path, f"layers_{first}_{first + count - 1}", shape, shape, whole=False)
    return sum(v.size for v in g.held.values())


def write_head(path: Path, s: Shape) -> int:
    """Norm, logits of the last position and the largest of them as ONNX; how many weights."""
    g = Graph(0)
    last = g.node("Gather", "x", g.constant("last", s.tokens - 1, np.int64), axis=1)
    logits = g.node("MatMul", g.norm(last, "ln", s.hidden), g.weight("head", s.hidden, s.vocabulary))
    g.node("ArgMax", logits, axis=1, keepdims=0, out="y")
    g.save(path, "head", [1, s.tokens, s.hidden], [1], whole=True)
    return sum(v.size for v in g.held.values())


class Run:
    """The parts in order, in a folder; ``states``: what goes into the next part, as floats, a few samples."""

    def __init__(self, s: Shape, folder: Path, clear: bool) -> None:
        self.s, self.folder, self.clear = s, folder, clear
        self.states: F32 = np.random.default_rng(7).standard_normal((SAMPLES, 1, s.tokens, s.hidden), np.float32)
        self.before: Path | None = None  # the compiled folder of the part before
        self.opening = self.committed = ""

    def part(self, name: str, first: int, count: int) -> dict[str, Any]:
        """Compile, set up, prove and verify one part; what that took."""
        path, out = self.folder / f"{name}.onnx", self.folder / name
        head = count == 0
        weights = apart(write_head, path, self.s) if head else apart(write_layers, path, self.s, first, count)
        np.savez(self.folder / "samples.npz", x=self.states)
        words = ["compile", str(path), "-o", str(out), "--calibrate", str(self.folder / "samples.npz")]
        words += ["--input-visibility", "private", "--tolerance", "0.01"]
        words += ["--commit-input", "x", "--read", f"x={self.before}"] if self.before else []
        words += [] if head else ["--commit-output", "y"]
        compiled, took = vm(*words)
        if not head:
            self.states = apart(floats, path, self.states)
        path.unlink()
        clear = ["--no-zk"] if self.clear else []
        made, set_up = vm("setup", str(out), *clear)
        given = ["-i", f"x=@{self.opening}"] if self.before else []
        done, proved = vm("prove", str(out), *given, *clear)
        checked, verified = vm("verify", str(out / "model.vk"), done["proof"], "--expect-key", made["key"])
        if self.before and checked["commitments"]["x"] != self.committed:
            raise SystemExit("two parts name different commitments")
        if not head:
            self.committed, self.opening = checked["commitments"]["y"], done["openings"]["y"]
        for old in (out / "model.pk", self.before):  # what the next part does not need
            if old is not None and old.is_dir():
                shutil.rmtree(old)
            elif old is not None:
                old.unlink()
        self.before = None if head else out
        return {
            "part": name,
            "layers": count,
            "weights": weights,
            "leaves": done["leaves"],
            "entries": done["committed_entries"],
            "key_bytes": made["proving_key_bytes"],
            "proof_bytes": done["proof_bytes"],
            "bits": done["soundness_bits"],
            "error": compiled["output_error"],
            "fine": compiled["fine"],
            "hiding": done["zero_knowledge"],
            "compile": took,
            "setup": set_up,
            "prove": {**proved, "phases": done["seconds"]},
            "verify": {**verified, "alone": checked["seconds"]["verify"]},
            "load": os.getloadavg()[0],
        }


def apart(work: Callable[..., T], *arguments: Any) -> T:
    """Calls a function in a process of its own: memory that this one has had would count as that of its children."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def vm(*words: str) -> tuple[dict[str, Any], dict[str, float]]:
    """A command's JSON, and what its process took: seconds, seconds of processor time, peak memory in MB."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([sys.executable, "-m", "syurmy", *words, "--json"], stdout=said)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read().decode()
    if process.returncode:
        raise SystemExit(f"{' '.join(words)}: exit code {process.returncode}\n{text}")
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    took = {"wall": time.perf_counter() - start, "cpu": usage.ru_utime + usage.ru_stime}
    return json.loads(text), took | {"peak_mb": usage.ru_maxrss / unit}


def floats(path: Path, states: F32) -> F32:
    """The float model's outputs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.enable_mem_pattern = False
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.stack([session.run(None, {"x": x})[0] for x in states])


def summed(s: Shape, parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the parts took together, and what the whole would: its layers at the mean of those measured, once the head.
    The embedding, a choice of rows, is in neither."""
    layers, heads = [p for p in parts if p["layers"]], [p for p in parts if not p["layers"]]
    steps, count = ("compile", "setup", "prove", "verify"), sum(p["layers"] for p in layers)
    out: dict[str, Any] = {
        "measured_layers": count,
        "measured_heads": len(heads),
        "peak_mb": max(p[step]["peak_mb"] for p in parts for step in steps),
        **{step: {k: sum(p[step][k] for p in parts) for k in ("wall", "cpu")} for step in steps},
    }
    if not layers or not heads:
        return out

    def whole(of: Callable[[dict[str, Any]], float]) -> float:
        return float(s.layers * sum(map(of, layers)) / count + of(heads[0]))

    far: dict[str, Any] = {"layers": s.layers}
    for step in steps:
        far[step] = {k: whole(lambda p, k=k, step=step: p[step][k]) for k in ("wall", "cpu")}  # type: ignore[misc]
    for name in ("weights", "leaves", "proof_bytes", "key_bytes"):
        far[name] = round(whole(lambda p, name=name: p[name]))  # type: ignore[misc]
    return {**out, "extrapolated": far, "predicted": predicted(far["prove"]["cpu"])}


def predicted(cpu: float) -> dict[str, float]:
    """Seconds of proving on other machines, from seconds of processor time here: computed, not measured. A share of
    ``SERIAL`` takes as long everywhere; the rest is divided by 16 cores, and on a card takes no time at all, so that
    the latter is a bound: kernels cannot make it faster, less work on the host can."""
    return {"on_16_cores": cpu * (SERIAL + (1 - SERIAL) / 16), "on_a_card_at_least": cpu * SERIAL}


def chosen(text: str, s: Shape, each: int) -> list[tuple[str, int, int]]:
    """The parts that ``--parts`` names: name, first layer, number of layers (0: the head)."""
    out = []
    for word in text.split(","):
        if word == "head":
            out.append(("head", s.layers, 0))
            continue
        low, _, high = word.partition("-")
        if not low.isdecimal() or not (high or low).isdecimal():
            raise SystemExit(f"--parts {word}: as in 0-2,head")
        first, last = int(low), int(high or low)
        if not 0 <= first <= last < s.layers:
            raise SystemExit(f"--parts {word}: there are layers 0 to {s.layers - 1}")
        for k in range(first, last + 1, each):
            out.append((f"layers{k}", k, min(each, last + 1 - k)))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("shape", choices=list(SHAPES))
    parser.add_argument("--parts", default="", help="layers and head, for example 0-2,head (all)")
    parser.add_argument("--layers-each", type=int, default=1, help="layers that are one program")
    parser.add_argument("--clear", action="store_true", help="proofs that hide nothing")
    parser.add_argument("--folder", type=Path, help="where to work (a temporary folder; see TMPDIR)")
    for name in ("hidden", "layers", "ffn", "vocabulary", "tokens"):
        parser.add_argument(f"--{name}", type=int, help=f"another {name} than the shape's")
    o = parser.parse_args()
    if o.folder is not None and not o.folder.is_dir():
        parser.error(f"--folder {o.folder}: there is no such folder")
    changes = {n: getattr(o, n) for n in ("hidden", "layers", "ffn", "vocabulary", "tokens") if getattr(o, n)}
    s = replace(SHAPES[o.shape], **changes)
    print(json.dumps({"shape": o.shape, **vars(s), "machine": machine()}), flush=True)
    done: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=o.folder) as folder:
        run = Run(s, Path(folder), o.clear)
        for part in chosen(o.parts or f"0-{s.layers - 1},head", s, o.layers_each):
            done.append(run.part(*part))
            print(json.dumps(done[-1]), flush=True)
    print(json.dumps(summed(s, done)))


if __name__ == "__main__":
    main()
