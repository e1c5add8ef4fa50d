"""Train the 64-32-10 network of ``digits_mlp.tasm`` on scikit-learn's 8x8 digits and quantise it to 16 bits.

    python -m programs.train.digits_mlp        (needs scikit-learn, the optional extra `train`)

Writes ``digits_mlp.safetensors``, ``digits_mlp.inputs.npz`` (one test image) and ``digits_test.npz``: the 360 test
images, which were not used for training. Pixels are 0 to 16, that is scale 4.
"""

from __future__ import annotations

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

HIDDEN = 32
PIXEL_SCALE = 4
SHIFT_1 = 8  # of the first layer: small pixels make a small accumulator


def split() -> tuple[I64, I64, I64, I64]:
    """Images (n, 64) with pixels 0 to 16 and labels: train, test. The same split for every program on these digits."""
    # scikit-learn is only needed to train, not by those who import the numerics
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    x, xt, y, yt = train_test_split(images.astype(np.int64), labels, test_size=360, stratify=labels, random_state=0)
    return x, xt, y, yt


def train(x: F32, y: I64, epochs: int, rng: np.random.Generator) -> dict[str, F32]:
    weights = {
        "w1": glorot(rng, 64, 64, HIDDEN),
        "b1": np.zeros(HIDDEN, np.float32),
        "w2": glorot(rng, HIDDEN, HIDDEN, 10),
        "b2": np.zeros(10, np.float32),
    }
    adam = Adam(weights, 3e-3, 3e-2)
    for epoch in range(epochs):
        for batch in np.array_split(rng.permutation(len(x)), len(x) // 64):
            a, labels = x[batch] + rng.normal(0, 0.1, (len(batch), 64)).astype(np.float32), y[batch]
            h = np.maximum(a @ weights["w1"] + weights["b1"], 0)
            g = cross_entropy_gradient(h @ weights["w2"] + weights["b2"], labels)
            gh = (g @ weights["w2"].T) * (h > 0)
            adam.update({"w2": h.T @ g, "b2": g.sum(0), "w1": a.T @ gh, "b1": gh.sum(0)}, 1 - epoch / epochs)
    return weights


def main() -> None:
    options = arguments("Train digits_mlp.tasm's network", epochs=100)
    xi, xti, y, yt = split()
    x, xt = ((a / 2**PIXEL_SCALE).astype(np.float32) for a in (xi, xti))
    w = train(x, y, options.epochs, np.random.default_rng(options.seed))
    h = np.maximum(x @ w["w1"] + w["b1"], 0)
    logits = h @ w["w2"] + w["b2"]
    reach = np.abs(w["w1"]).sum(0) + np.abs(w["b1"])  # no input with pixels up to 16 can saturate the hidden layer
    k1 = weight_scale(w["w1"], PIXEL_SCALE, float(reach.max()), SHIFT_1)
    s1 = PIXEL_SCALE + k1 - SHIFT_1
    k2 = weight_scale(w["w2"], s1, 2 * float(np.abs(logits).max()))
    q = {
        "w1": quantise(w["w1"], k1, np.int16),
        "b1": quantise(w["b1"], PIXEL_SCALE + k1, np.int32),
        "w2": quantise(w["w2"], k2, np.int16),
        "b2": quantise(w["b2"], s1 + k2, np.int32),
    }
    hidden = np.maximum(rescale(xti @ q["w1"].astype(np.int64) + q["b1"], SHIFT_1), 0)
    scores = rescale(hidden @ q["w2"].astype(np.int64) + q["b2"], SHIFT)
    floats = np.maximum(xt @ w["w1"] + w["b1"], 0) @ w["w2"] + w["b2"]
    right = [float(np.mean(s.argmax(1) == yt)) for s in (floats, scores)]
    print(f"float accuracy {right[0]:.4f}, 16-bit accuracy {right[1]:.4f}")
    print(f"scales: w1 {k1}, hidden {s1}, w2 {k2}, logits {s1 + k2 - SHIFT}; largest hidden value {hidden.max()}")
    save("digits_mlp", q)
    np.savez_compressed(PROGRAMS / "digits_test.npz", images=xti.astype(np.uint8), labels=yt.astype(np.uint8))
    np.savez_compressed(PROGRAMS / "digits_mlp.inputs.npz", x=xti[:1].astype(np.int8))


if __name__ == "__main__":
    main()
