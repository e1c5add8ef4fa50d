"""Train the recurrent network of ``rnn.tasm`` on digits read row by row, and quantise it to 16 bits.

    python -m programs.train.rnn        (needs scikit-learn, the optional extra `train`)

Step t reads one row of 8 pixels: ``h = hardtanh(x W + h U + b)``, hardtanh(z) = min(max(z, -1), 1); the ten scores
are ``h V + c``. Images follow each other without a break, 8 steps each; the network is trained to name, at the
last row of every image, the image just read, so it must forget the ones before. It then runs for any number of steps.

In the integer network h has scale 15, so that the saturation of ``rescale`` *is* hardtanh.
Writes ``rnn.safetensors``, ``rnn_test.npz`` (1000 rows: 125 test images) and ``rnn.inputs.npz`` (their first ten rows).
"""

from __future__ import annotations

import numpy as np

from programs.train.common import PROGRAMS, Adam, arguments, cross_entropy_gradient, glorot, quantise, rescale, save
from programs.train.digits_mlp import PIXEL_SCALE, split
from syurmy.isa.arrays import F32, I64

HIDDEN, ROWS = 48, 8
W_SCALE, U_SCALE, V_SCALE, H_SCALE = 14, 13, 14, 15
ALIGN = H_SCALE + U_SCALE - PIXEL_SCALE - W_SCALE  # x W is shifted left by this to the scale of h U
SCORE_SHIFT = 18


def states(w: dict[str, F32], x: F32) -> list[F32]:
    """h before the first and after every step; x (n, steps, 8)."""
    hs = [np.zeros((len(x), HIDDEN), np.float32)]
    for t in range(x.shape[1]):
        hs.append(np.clip(x[:, t] @ w["w"] + hs[-1] @ w["u"] + w["b"], -1, 1))
    return hs


def gradients(w: dict[str, F32], x: F32, labels: I64) -> dict[str, F32]:
    """Backpropagation through time of the loss at the last row of every image; labels (n, images)."""
    hs = states(w, x)
    d = {k: np.zeros_like(v) for k, v in w.items()}
    gh = np.zeros_like(hs[0])
    for t in reversed(range(x.shape[1])):
        h, before = hs[t + 1], hs[t]
        if t % ROWS == ROWS - 1:
            g = cross_entropy_gradient(h @ w["v"] + w["c"], labels[:, t // ROWS])
            d["v"] += h.T @ g
            d["c"] += g.sum(0)
            gh = gh + g @ w["v"].T
        gz = gh * (np.abs(h) < 1)
        d["w"] += x[:, t].T @ gz
        d["u"] += before.T @ gz
        d["b"] += gz.sum(0)
        gh = gz @ w["u"].T
    norm = np.sqrt(sum(float((g * g).sum()) for g in d.values()))
    return {k: g * np.float32(min(1.0, 2.0 / (norm + 1e-9))) for k, g in d.items()}


def train(x: F32, y: I64, epochs: int, rng: np.random.Generator) -> dict[str, F32]:
    w = {
        "w": glorot(rng, 16, ROWS, HIDDEN),
        "u": (0.9 * np.linalg.qr(rng.standard_normal((HIDDEN, HIDDEN)))[0]).astype(np.float32),
        "b": np.zeros(HIDDEN, np.float32),
        "v": glorot(rng, HIDDEN, HIDDEN, 10),
        "c": np.zeros(10, np.float32),
    }
    adam = Adam(w, 3e-3, 1e-2)
    for epoch in range(epochs):
        order = np.concatenate([rng.permutation(len(x)) for _ in range(3)])
        order = order[: len(order) // 3 * 3].reshape(-1, 3)  # sequences of three images
        for batch in np.array_split(order, len(order) // 32):
            sequence = x[batch].reshape(len(batch), 3 * ROWS, 8)
            noisy = sequence + rng.normal(0, 0.1, sequence.shape).astype(np.float32)
            adam.update(gradients(w, noisy, y[batch]), 1 - epoch / epochs)
    return w


def integer_labels(q: dict[str, np.ndarray], rows: I64) -> I64:
    """What ``rnn.tasm`` computes: the best digit after every row; rows (steps, 8)."""
    w = {k: v.astype(np.int64) for k, v in q.items()}
    h = np.zeros((1, HIDDEN), np.int64)
    hs = []
    for row in rows:
        h = rescale(((row[None] @ w["w"]) << ALIGN) + h @ w["u"] + w["b"], U_SCALE)
        hs.append(h[0])
    return rescale(np.stack(hs) @ w["v"] + w["c"], SCORE_SHIFT).argmax(1)


def main() -> None:
    options = arguments("Train rnn.tasm's network", epochs=40)
    xi, xti, y, yt = split()
    x, xt = ((a.reshape(-1, ROWS, 8) / 2**PIXEL_SCALE).astype(np.float32) for a in (xi, xti))
    w = train(x, y, options.epochs, np.random.default_rng(options.seed))
    q = {
        "w": quantise(w["w"], W_SCALE, np.int16),
        "u": quantise(w["u"], U_SCALE, np.int16),
        "b": quantise(w["b"], H_SCALE + U_SCALE, np.int32),
        "v": quantise(w["v"], V_SCALE, np.int16),
        "c": quantise(w["c"], H_SCALE + V_SCALE, np.int32),
    }
    ends = slice(ROWS - 1, None, ROWS)
    whole = states(w, xt.reshape(1, -1, 8))
    floats = np.concatenate(whole[1:])[ends] @ w["v"] + w["c"]
    ints = integer_labels(q, xti.reshape(-1, 8))[ends]
    print(f"one sequence of {8 * len(yt)} rows: float accuracy {np.mean(floats.argmax(1) == yt):.4f}, "
          f"16-bit accuracy {np.mean(ints == yt):.4f}; first 125 images {np.mean((ints == yt)[:125]):.4f}")  # fmt: skip
    print(f"largest score {np.abs(floats).max():.1f}")
    save("rnn", q)
    rows = xti.reshape(-1, 8)[:1000].astype(np.uint8)
    np.savez_compressed(PROGRAMS / "rnn_test.npz", rows=rows, labels=yt[:125].astype(np.uint8))
    np.savez_compressed(PROGRAMS / "rnn.inputs.npz", x=rows[:10].astype(np.int8))


if __name__ == "__main__":
    main()
