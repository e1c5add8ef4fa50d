"""The example programs: accuracy over real test images in the VM, and outputs equal to plain NumPy on integers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from programs import generate
from programs.train import common, lenet
from syurmy.assembler import assemble_file
from syurmy.isa.program import Program
from syurmy.isa.trace import Trace
from syurmy.vm.machine import run

PROGRAMS = Path(__file__).resolve().parents[2] / "programs"
NAMES = (
    "attention",
    "bfs",
    "binary_search",
    "bitwise",
    "digits_mlp",
    "generate_text",
    "generate_text_ram",
    "hash_map",
    "insertion_sort",
    "interpreter",
    "kmeans",
    "lenet",
    "life",
    "rnn",
)


def data(name: str) -> dict[str, np.ndarray]:
    with np.load(PROGRAMS / f"{name}.npz") as file:
        return dict(file)


def weights(name: str) -> dict[str, np.ndarray]:
    return {k: v.astype(np.int64) for k, v in load_file(PROGRAMS / f"{name}.safetensors").items()}


def program(name: str) -> Program:
    return assemble_file(PROGRAMS / f"{name}.tasm")


def outputs(p: Program, name: str, images: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs of one run per image, stacked."""
    runs = [run(p, {name: image}).outputs for image in images.astype(np.int64)]
    return {k: np.stack([r[k].reshape(-1) for r in runs]) for k in runs[0]}


def test_every_program_is_listed() -> None:
    assert sorted(p.stem for p in PROGRAMS.glob("*.tasm")) == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_default_inputs_run_inside_the_static_intervals(name: str) -> None:
    trace: Trace = run(program(name), data(f"{name}.inputs"), check_intervals=True)
    assert trace.outputs


def test_digits_mlp_names_97_percent_of_the_test_images() -> None:
    test, w = data("digits_test"), weights("digits_mlp")
    got = outputs(program("digits_mlp"), "x", test["images"][:, None])
    x = test["images"].astype(np.int64)
    h = np.maximum(common.rescale(x @ w["w1"] + w["b1"], 8), 0)
    scores = common.rescale(h @ w["w2"] + w["b2"], 16)
    assert np.array_equal(got["scores"], scores)
    assert np.array_equal(got["digit"][:, 0], scores.argmax(1))
    assert (got["digit"][:, 0] == test["labels"]).sum() == 352  # of 360: 97.8 %


def test_lenet_names_98_percent_of_the_test_images() -> None:
    test = data("mnist_test")
    got = outputs(program("lenet"), "x", test["images"][:, None, None])
    images = test["images"][:, None].astype(np.int64)
    assert np.array_equal(got["scores"], lenet.integer_logits(weights("lenet"), images))
    assert (got["digit"][:, 0] == test["labels"]).sum() == 295  # of 300: 98.3 %


def attention_scores(w: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """attention.tasm on images (n, 8, 8) in plain integers."""

    def linear(x: np.ndarray, weight: str, bias: str, shift: int = 14) -> np.ndarray:
        return common.rescale(x @ w[weight] + w[bias], shift)

    def norm(x: np.ndarray, k: str) -> np.ndarray:
        c = 32 * x - x.sum(axis=-1, keepdims=True)
        length = np.vectorize(math.isqrt)((c * c).sum(axis=-1, keepdims=True))
        n = common.rescale(c * (370728 * 2**16 // np.maximum(length, 2**12)), 20)
        return common.rescale(n * w["gamma" + k] + w["beta" + k], 12)

    tables = data("lib/tables")
    e = linear(x, "embed", "position", 6)
    u = norm(e, "1")
    q, k, v = (linear(u, "w" + p, "b" + p).reshape(-1, 8, 4, 8).transpose(0, 2, 1, 3) for p in "qkv")
    s = common.rescale(q @ k.transpose(0, 1, 3, 2), 13)
    power = tables["exp"].astype(np.int64)[s - s.max(axis=-1, keepdims=True) + 65535]
    p = common.rescale(power * (32767 * 2**20 // np.maximum(power.sum(axis=-1, keepdims=True), 32767)), 20)
    o = common.rescale(p @ v, 15).transpose(0, 2, 1, 3).reshape(-1, 8, 32)
    e = e + linear(o, "wo", "bo")
    z = linear(norm(np.clip(e, -32768, 32767), "2"), "up", "bup")
    e = e + linear(tables["gelu"].astype(np.int64)[z + 32768], "down", "bdown")
    return linear(e.sum(axis=1), "head", "bhead", 18)


def test_attention_names_98_percent_of_the_test_images() -> None:
    test = data("digits_test")
    images = test["images"].reshape(-1, 8, 8)
    got = outputs(program("attention"), "x", images)
    assert np.array_equal(got["scores"], attention_scores(weights("attention"), images.astype(np.int64)))
    assert (got["digit"][:, 0] == test["labels"]).sum() == 355  # of 360: 98.6 %


def test_bitwise_names_89_percent_of_the_test_images() -> None:
    test, protos = data("digits_test"), weights("bitwise")["protos"].astype(np.int8)
    images = np.packbits((test["images"] > 7).reshape(-1, 8, 8), axis=2)[:, :, 0].view(np.int8)
    got = outputs(program("bitwise"), "image", images[:, None])
    distance = np.unpackbits((images[:, None] ^ protos[None]).view(np.uint8), axis=2).sum(2)
    assert np.array_equal(got["nearest"][:, 0], distance.argmin(1))
    assert np.array_equal(got["distance"][:, 0], distance.min(1))
    assert (got["digit"][:, 0] == test["labels"]).sum() == 321  # of 360: 89.2 %


@pytest.mark.parametrize("steps", [1, 10, 100, 1000])
def test_rnn_at_any_length(steps: int, tmp_path: Path) -> None:
    test, w = data("rnn_test"), weights("rnn")
    path = generate.looping("rnn", steps, tmp_path)
    with np.load(path.with_suffix(".inputs.npz")) as inputs:
        digits = run(assemble_file(path), dict(inputs)).outputs["digits"]
    h, expected = np.zeros(48, np.int64), []
    for row in test["rows"][:steps].astype(np.int64):
        h = common.rescale(((row @ w["w"]) << 10) + h @ w["u"] + w["b"], 13)
        expected.append(common.rescale(h @ w["v"] + w["c"], 18).argmax())
    assert np.array_equal(digits, expected)
    if steps == 1000:
        assert (digits[7::8] == test["labels"]).sum() == 121  # of 125 images in a row: 96.8 %


@pytest.mark.parametrize("steps", [1, 10, 100, 1000])
def test_life_at_any_length(steps: int, tmp_path: Path) -> None:
    path = generate.looping("life", steps, tmp_path)
    rng = np.random.default_rng(steps)
    board = start = rng.integers(0, 2, (32, 32))
    for _ in range(steps):
        neighbours = sum(np.roll(board, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)) - board
        board = ((neighbours == 3) | ((board == 1) & (neighbours == 2))).astype(np.int64)
    assert np.array_equal(run(assemble_file(path), {"start": start}).outputs["board"], board)


@pytest.mark.parametrize("name", ["mlp64", "mlp784", "lenet5", "cnn264k"])
@pytest.mark.parametrize("pool", ["max", "average"])
def test_generated_networks_compute_what_the_generator_says(name: str, pool: str, tmp_path: Path) -> None:
    net = generate.network(name, pool)
    path = net.write(tmp_path)
    trace = run(assemble_file(path), {"x": net.input}, check_intervals=True)
    assert np.array_equal(trace.outputs["y"], net.value)
    for written in (w[0] for pc, w in trace.writes.items() if trace.program.code[pc].op == "rescale"):
        assert np.mean(np.abs(written) >= 32767) < 0.001, "activations saturate"
        assert np.std(written) > generate.SPREAD / 2, "activations vanish"


@pytest.mark.parametrize(
    ("name", "parameters"), [("mlp784", 669_706), ("lenet5", 61_706), ("cnn264k", 264_504), ("dense4m", 4_208_650)]
)
def test_sizes_of_generated_networks(name: str, parameters: int) -> None:
    assert generate.network(name).parameters == parameters
