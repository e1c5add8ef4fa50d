"""The small networks in ezkl: the same shapes as ONNX, random weights, private input, fixed weights, scale 7.

Needs the optional extra ``bench``, or another interpreter that has ezkl, onnx and numpy. The reference string is made
locally: insecure, and it costs the same to use. Run one alone: ``python -m benchmarks.peers NAME FOLDER``.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measure import Failed, child
from syurmy.host import peak_mb

CASES = ("mlp64", "mlp784", "lenet5")
TIMEOUT = 3600.0
SCALE = 7


def unavailable(python: str = sys.executable) -> str | None:
    """Why ezkl cannot be measured with this interpreter, or None."""
    try:
        child(["-c", "import ezkl, numpy, onnx; print(1)"], python=python, timeout=120)
    except Failed as error:
        return f"ezkl skipped ({error}): install the extra with pip install '.[bench]'"
    return None


def measure(name: str, python: str = sys.executable) -> dict[str, Any]:
    """One network in a process of its own. Raises ``Failed``."""
    with tempfile.TemporaryDirectory(prefix="ezkl-bench-") as folder:
        out: dict[str, Any] = child(["-m", "benchmarks.peers", name, folder], python=python, timeout=TIMEOUT)
        return out


class _Network:
    """An ONNX graph of dense and convolutional layers in a row, float32."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        import numpy as np

        self.rng = np.random.default_rng(1)
        self.input = shape
        self.shape = shape
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.last = "x"

    def _node(self, op: str, weights: list[Any], shape: tuple[int, ...], **attributes: Any) -> _Network:
        from onnx import helper, numpy_helper

        names = [f"w{len(self.weights) + i}" for i in range(len(weights))]
        self.weights += [numpy_helper.from_array(w, n) for w, n in zip(weights, names, strict=True)]
        out = f"h{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, [self.last, *names], [out], **attributes))
        self.last, self.shape = out, shape
        return self

    def _random(self, shape: tuple[int, ...], fan_in: int) -> Any:
        return (self.rng.standard_normal(shape) / fan_in**0.5).astype("float32")

    def relu(self) -> _Network:
        return self._node("Relu", [], self.shape)

    def dense(self, out: int) -> _Network:
        size = self.shape[1]
        return self._node("Gemm", [self._random((size, out), size), self._random((out,), 64)], (1, out))

    def flatten(self) -> _Network:
        _, c, h, w = self.shape
        return self._node("Flatten", [], (1, c * h * w))

    def conv(self, out: int, kernel: int, pad: int = 0) -> _Network:
        _, c, h, w = self.shape
        weights = [self._random((out, c, kernel, kernel), c * kernel**2), self._random((out,), 64)]
        less = kernel - 1 - 2 * pad
        attributes = {"kernel_shape": [kernel] * 2, "pads": [pad] * 4, "strides": [1, 1]}  # ezkl wants all three
        return self._node("Conv", weights, (1, out, h - less, w - less), **attributes)

    def average_pool(self) -> _Network:
        n, c, h, w = self.shape
        return self._node("AveragePool", [], (n, c, h // 2, w // 2), kernel_shape=[2, 2], strides=[2, 2])

    def save(self, path: Path) -> int:
        """Writes the model; returns its number of parameters."""
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, list(self.input))
        y = helper.make_tensor_value_info(self.last, TensorProto.FLOAT, list(self.shape))
        graph = helper.make_graph(self.nodes, path.stem, [x], [y], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, str(path))
        return sum(numpy_helper.to_array(w).size for w in self.weights)


def _network(name: str) -> _Network:
    """The networks of programs/generate.py."""
    if name == "mlp64":
        return _Network((1, 64)).dense(64).relu().dense(64).relu().dense(10)
    if name == "mlp784":
        return _Network((1, 784)).dense(512).relu().dense(512).relu().dense(10)
    net = _Network((1, 1, 28, 28)).conv(6, 5, 2).relu().average_pool().conv(16, 5).relu().average_pool()
    return net.flatten().dense(120).relu().dense(84).relu().dense(10)


async def _run(name: str, folder: Path) -> dict[str, Any]:
    import ezkl

    net = _network(name)
    files = ("model.onnx", "input.json", "settings.json", "model.compiled", "srs", "vk", "pk", "witness.json", "proof")
    model, data, settings, compiled, srs, vk, pk, witness, proof = (str(folder / f) for f in files)
    parameters = net.save(Path(model))
    size = 1
    for d in net.input:
        size *= d
    Path(data).write_text(json.dumps({"input_data": [net.rng.standard_normal(size).tolist()]}))

    arguments = ezkl.PyRunArgs()
    arguments.input_visibility, arguments.param_visibility, arguments.output_visibility = "private", "fixed", "public"
    arguments.input_scale = arguments.param_scale = SCALE
    took: dict[str, float] = {}

    async def step(label: str, work: Callable[[], Any]) -> None:
        start = time.perf_counter()
        result = work()
        if inspect.isawaitable(result):  # differs between versions
            result = await result
        took[label] = took.get(label, 0.0) + time.perf_counter() - start
        if result is False:
            raise SystemExit(f"ezkl: {label} failed")

    await step("compile", lambda: ezkl.gen_settings(model, settings, py_run_args=arguments))
    await step("compile", lambda: ezkl.calibrate_settings(data, model, settings, "resources", scales=[SCALE]))
    await step("compile", lambda: ezkl.compile_circuit(model, compiled, settings))
    logrows = json.loads(Path(settings).read_text())["run_args"]["logrows"]
    await step("reference string", lambda: ezkl.gen_srs(srs, logrows))
    await step("setup", lambda: ezkl.setup(compiled, vk, pk, srs))
    await step("execute", lambda: ezkl.gen_witness(data, compiled, witness))
    await step("prove", lambda: ezkl.prove(witness, compiled, pk, proof, srs))
    await step("verify", lambda: ezkl.verify(proof, settings, vk, srs))
    return {
        "case": name,
        "system": f"ezkl {getattr(ezkl, '__version__', '')}".strip(),
        "parameters": parameters,
        "seconds": took,
        "logrows": logrows,
        "proof_bytes": len(_proof_bytes(json.loads(Path(proof).read_text()))),
        "proof_file_bytes": Path(proof).stat().st_size,
        "proving_key_bytes": Path(pk).stat().st_size,
        "verifying_key_bytes": Path(vk).stat().st_size,
        "peak_mb": peak_mb(),
        "verified": True,
    }


def _proof_bytes(proof: dict[str, Any]) -> bytes:
    """The proof proper of ezkl's JSON, which holds it as hexadecimal text or as a list of bytes."""
    value = proof.get("hex_proof") or proof["proof"]
    return bytes.fromhex(value.removeprefix("0x")) if isinstance(value, str) else bytes(value)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_run(sys.argv[1], Path(sys.argv[2])))))
