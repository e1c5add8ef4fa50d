"""Large models part by part: what is written is a decoder, and what is computed from measurements is what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from benchmarks import scale

S = scale.SHAPES["small"]


def decoder(x: np.ndarray[Any, Any], w: dict[str, Any], s: scale.Shape) -> np.ndarray[Any, Any]:
    """A layer, plainly: ``[tokens, hidden]`` to the same."""
    t, d = s.tokens, s.head

    def norm(x: Any, name: str) -> Any:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * w[f"0.{name}.g"]

    def rotated(x: Any) -> Any:
        """Pairs of entries as complex numbers, turned by the position."""
        turn = np.exp(1j * np.outer(np.arange(t), 1e4 ** (-np.arange(0, d, 2) / d)))
        z = (x[..., : d // 2] + 1j * x[..., d // 2 :]) * turn[:, None]
        return np.concatenate([z.real, z.imag], -1)

    a = norm(x, "ln1")
    q = rotated(norm((a @ w["0.q"]).reshape(t, s.heads, d), "qn"))
    k = rotated(norm((a @ w["0.k"]).reshape(t, s.kv_heads, d), "kn"))
    v = (a @ w["0.v"]).reshape(t, s.kv_heads, d)
    mixed = np.zeros((t, s.heads, d))
    for i in range(t):
        for h in range(s.heads):
            g = h // (s.heads // s.kv_heads)
            e = np.exp(k[: i + 1, g] @ q[i, h] / d**0.5)
            mixed[i, h] = e @ v[: i + 1, g] / e.sum()
    x = x + mixed.reshape(t, -1) @ w["0.o"]
    b = norm(x, "ln2")
    gate = b @ w["0.gate"]
    return np.asarray(x + (gate / (1 + np.exp(-gate)) * (b @ w["0.up"])) @ w["0.down"])


def test_a_layer_is_that_of_a_decoder(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "layer.onnx"
    count = scale.write_layers(path, S, 0, 1)
    held = {t.name: numpy_helper.to_array(t) for t in onnx.load(str(path)).graph.initializer}
    assert count == sum(x.size for x in held.values())
    x = np.random.default_rng(0).standard_normal((1, 1, S.tokens, S.hidden)).astype(np.float32)
    assert np.allclose(scale.floats(path, x)[0, 0], decoder(x[0, 0].astype(float), held, S), atol=1e-5)
    scale.write_head(path, S)
    head = {t.name: numpy_helper.to_array(t) for t in onnx.load(str(path)).graph.initializer}
    last = x[0, 0, -1].astype(float)
    logits = (last / np.sqrt((last**2).mean() + 1e-6) * head["ln.g"]) @ head["head"]
    assert scale.floats(path, x).tolist() == [[logits.argmax()]]


def test_parts() -> None:
    qwen = scale.SHAPES["qwen3-0.6b"]
    assert scale.chosen("0-4,head", qwen, 2) == [
        ("layers0", 0, 2),
        ("layers2", 2, 2),
        ("layers4", 4, 1),
        ("head", 28, 0),
    ]
    with pytest.raises(SystemExit):
        scale.chosen("27-28", qwen, 1)


def test_what_is_computed() -> None:
    def part(layers: int, seconds: float) -> dict[str, Any]:
        took = {"wall": seconds, "cpu": 1.5 * seconds, "peak_mb": 100 * seconds}
        steps = {step: took for step in ("compile", "setup", "verify")}
        sizes = {"weights": layers or 5, "leaves": 10, "proof_bytes": 7, "key_bytes": 3}
        return {"layers": layers, **sizes, **steps, "prove": {**took, "phases": {"prove": seconds / 2}}}

    shape = scale.Shape(10, 64, 4, 2, 16, 96, 500, 4)
    found = scale.summed(shape, [part(2, 4.0), part(1, 2.0), part(0, 1.0)])
    far = found["extrapolated"]
    assert (found["measured_layers"], found["peak_mb"]) == (3, 400.0)
    assert far["prove"]["wall"] == pytest.approx(10 * 2 + 1)
    assert far["leaves"] == round(10 * 20 / 3) + 10
    assert far["weights"] == 15
    cpu = 1.5 * far["prove"]["wall"]
    assert far["prove"]["cpu"] == pytest.approx(cpu)
    assert found["predicted"]["on_a_card_at_least"] == pytest.approx(0.21 * cpu)
    assert found["predicted"]["on_16_cores"] == pytest.approx((0.21 + 0.79 / 16) * cpu)
