"""Every macro of lib/nn.tasm against real arithmetic, within the error bound that its comment states."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from programs.train import tables
from syurmy.assembler import assemble
from syurmy.vm.machine import run

PROGRAMS = Path(__file__).resolve().parents[2] / "programs"
TABLES = """
.lut exp  : i32 -> i16 in -65535..0 = "lib/tables.npz:exp"
.lut gelu : i16 -> i16 = "lib/tables.npz:gelu"
"""


def evaluate(line: str, **tensors: np.ndarray) -> np.ndarray:
    """The output ``y`` of one macro call; every tensor is a private input, i16 or, beyond that, i32."""
    inputs = []
    for name, x in tensors.items():
        dtype = "i16" if np.abs(x).max() <= 32767 else "i32"
        inputs.append(f".input {name} : {dtype}[{', '.join(map(str, x.shape))}] private in {x.min()}..{x.max()}")
    text = "\n".join(['.include "lib/nn.tasm"', TABLES, *inputs, ".output y public", line, "halt", ""])
    program = assemble(text, include_paths=[PROGRAMS], data_root=PROGRAMS)
    return run(program, tensors, check_intervals=True).outputs["y"]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def test_tables_are_what_their_script_writes() -> None:
    with np.load(PROGRAMS / "lib" / "tables.npz") as file:
        stored = dict(file)
    fresh = tables.tables()
    assert sorted(stored) == sorted(fresh)
    for name, values in fresh.items():
        assert np.array_equal(stored[name], values)


def test_linear_and_conv(rng: np.random.Generator) -> None:
    x, w, b = rng.integers(-3000, 3000, (3, 20)), rng.integers(-3000, 3000, (20, 7)), rng.integers(-(10**6), 10**6, 7)
    exact = np.clip((x @ w + b) / 2**12, -32768, 32767)
    assert np.abs(evaluate("linear y, x, w, b, 12", x=x, w=w, b=b) - exact).max() <= 0.5
    x, w, b = rng.integers(-99, 99, (1, 3, 6, 6)), rng.integers(-99, 99, (4, 3, 3, 3)), rng.integers(-999, 999, 4)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), axis=(2, 3))
    exact = np.einsum("ncyxij,ocij->noyx", windows[:, :, ::2, ::2], w) + b[:, None, None]
    assert np.abs(evaluate("conv y, x, w, b, 4, shift=6, pad=1, stride=2", x=x, w=w, b=b) - exact / 2**6).max() <= 0.5


def test_pooling(rng: np.random.Generator) -> None:
    x = rng.integers(-32768, 32768, (1, 3, 8, 12))
    for size in (2, 4):
        blocks = x.reshape(1, 3, 8 // size, size, 12 // size, size)
        assert np.array_equal(evaluate(f"sum_pool y, x, {size}", x=x), blocks.sum(axis=(3, 5)))
        assert np.array_equal(evaluate(f"max_pool y, x, {size}", x=x), blocks.max(axis=(3, 5)))
        averages = evaluate(f"avg_pool y, x, {size // 2}", x=x)
        assert np.abs(averages - blocks.mean(axis=(3, 5))).max() <= 0.5


def test_gelu_on_every_i16() -> None:
    x = np.arange(-32768, 32768)
    exact = np.array([v / 2 * (1 + math.erf(v / 2**12 / math.sqrt(2))) for v in x])
    assert np.abs(evaluate("gelu y, x", x=x) - np.minimum(exact, 32767)).max() <= 0.5


@pytest.mark.parametrize("n", [1, 2, 8, 64])
@pytest.mark.parametrize("bits", [16, 20])
def test_softmax(n: int, bits: int, rng: np.random.Generator) -> None:
    rows = [rng.integers(-32768, 32768, n), rng.integers(-2048, 2048, n), np.full(n, -32768), np.arange(n) * 7 - 9]
    x = np.stack(rows)
    e = np.exp((x - x.max(axis=1, keepdims=True)) / 2**11)
    got = evaluate(f"softmax y, x, bits={bits}", x=x)
    assert np.abs(got / 32767 - e / e.sum(axis=1, keepdims=True)).max() <= (n + 2) / 65534 + n / 2**bits


@pytest.mark.parametrize("dim", [4, 16, 32, 64])
def test_layernorm(dim: int, rng: np.random.Generator) -> None:
    root = round(2**16 * math.sqrt(dim))
    rows = [rng.integers(-32768, 32768, dim), rng.normal(700, 4096, dim).astype(int), np.full(dim, 77),
            np.eye(dim, dtype=int)[0] * 30000 - 5, np.arange(dim) % 2]  # fmt: skip
    x = np.stack(rows)
    gamma, beta = rng.integers(-8192, 8192, dim), rng.integers(-(2**24), 2**24, dim)
    norm = np.maximum(x.std(axis=1, keepdims=True) * dim**1.5, 2**12)
    normal = math.sqrt(dim) * (dim * x - x.sum(axis=1, keepdims=True)) / norm
    bound = 0.5 + norm / 2**20 + math.sqrt(dim) * 2**12 * (1 / norm + 1 / (2 * root))
    exact = np.clip(normal * gamma + beta / 2**12, -32768, 32767)
    error = np.abs(evaluate(f"layernorm y, x, gamma, beta, {dim}, {root}", x=x, gamma=gamma, beta=beta) - exact)
    assert (error <= bound * np.abs(gamma) / 2**12 + 0.5).all()


def test_attention(rng: np.random.Generator) -> None:
    tokens, heads, width = 6, 2, 4
    d = heads * width
    x = rng.normal(0, 1, (tokens, d))
    w = {f"w{p}": rng.normal(0, 1 / math.sqrt(d), (d, d)) for p in "qkvo"}
    b = {f"b{p}": rng.normal(0, 0.1, d) for p in "qkvo"}
    integers = {"x": np.rint(x * 2**12).astype(int)}
    integers |= {k: np.rint(v * 2**14).astype(int) for k, v in w.items()}
    integers |= {k: np.rint(v * 2**26).astype(int) for k, v in b.items()}
    names = ", ".join(f"w{p}, b{p}" for p in "qkvo")
    got = evaluate(f"attention y, x, {names}, {tokens}, {heads}, {width}, shift=14, score=13", **integers)
    q, k, v = ((x @ w["w" + p] + b["b" + p]).reshape(tokens, heads, width) for p in "qkv")
    scores = np.einsum("ihd,jhd->hij", q, k)
    e = np.exp(scores)
    mixed = np.einsum("hij,jhd->ihd", e / e.sum(axis=2, keepdims=True), v).reshape(tokens, d)
    assert np.abs(got / 2**12 - (mixed @ w["wo"] + b["bo"])).max() <= 2**-9
