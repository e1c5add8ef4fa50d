"""Train the transformer block of ``attention.tasm`` on digits read as eight row tokens, and quantise it to 16 bits.

    python -m programs.train.attention        (needs scikit-learn, the optional extra `train`; about a minute)

    e = x E + P                    8 tokens of 8 pixels to width 32, P one vector per row
    e = e + attention(norm(e))     4 heads
    e = e + gelu(norm(e) A + a) B + b
    scores = (sum of tokens) V + c

NumPy with the backward pass written out. Writes ``attention.safetensors`` and ``attention.inputs.npz``.
"""

from __future__ import annotations

import math

import numpy as np

from programs.train.common import (
    PROGRAMS,
    Adam,
    arguments,
    cross_entropy_gradient,
    erf,
    glorot,
    normalise,
    normalise_gradient,
    quantise,
    save,
    softmax,
)
from programs.train.digits_mlp import PIXEL_SCALE, split
from programs.train.transformer import attention_gradients, dense_gradients
from syurmy.isa.arrays import F32, I64

TOKENS, WIDTH, HEADS, INNER = 8, 32, 4, 64
ACT, WEIGHT = 12, 14  # scales of activations and weights; biases of a layer ACT + WEIGHT
HEAD = WIDTH // HEADS


def heads(x: F32) -> F32:
    return x.reshape(len(x), TOKENS, HEADS, HEAD).transpose(0, 2, 1, 3)


def joined(x: F32) -> F32:
    return x.transpose(0, 2, 1, 3).reshape(len(x), TOKENS, WIDTH)


def forward(w: dict[str, F32], x: F32) -> dict[str, F32]:
    a = {"x": x, "e": x @ w["embed"] + w["position"]}
    a["n1"], a["i1"] = normalise(a["e"])
    a["u"] = a["n1"] * w["gamma1"] + w["beta1"]
    q, k, v = (heads(a["u"] @ w["w" + p] + w["b" + p]) for p in "qkv")
    a |= {"q": q, "k": k, "v": v}
    a["s"] = softmax(q @ k.transpose(0, 1, 3, 2) / np.float32(math.sqrt(HEAD)))
    a["o"] = joined(a["s"] @ v)
    a["f"] = a["e"] + a["o"] @ w["wo"] + w["bo"]
    a["n2"], a["i2"] = normalise(a["f"])
    a["m"] = a["n2"] * w["gamma2"] + w["beta2"]
    a["z"] = a["m"] @ w["up"] + w["bup"]
    a["phi"] = (1 + erf(a["z"] / np.float32(math.sqrt(2)))) / 2
    a["g"] = a["z"] * a["phi"]
    a["pooled"] = (a["f"] + a["g"] @ w["down"] + w["bdown"]).sum(axis=1)
    a["logits"] = a["pooled"] @ w["head"] + w["bhead"]
    return a


def backward(w: dict[str, F32], a: dict[str, F32], labels: I64) -> dict[str, F32]:
    d: dict[str, F32] = {}
    g = cross_entropy_gradient(a["logits"], labels)
    dense_gradients(d, a["pooled"], g, "head", "bhead")
    gf = np.repeat((g @ w["head"].T)[:, None], TOKENS, axis=1)
    dense_gradients(d, a["g"], gf, "down", "bdown")
    density = np.exp(-a["z"] * a["z"] / 2) / np.float32(math.sqrt(2 * math.pi))
    gz = (gf @ w["down"].T) * (a["phi"] + a["z"] * density)
    dense_gradients(d, a["m"], gz, "up", "bup")
    gm = gz @ w["up"].T
    d["gamma2"], d["beta2"] = (gm * a["n2"]).sum((0, 1)), gm.sum((0, 1))
    gf = gf + normalise_gradient(gm * w["gamma2"], a["n2"], a["i2"])
    dense_gradients(d, a["o"], gf, "wo", "bo")
    go = heads(gf @ w["wo"].T)
    parts = attention_gradients(go, a["q"], a["k"], a["v"], a["s"])
    gu = np.zeros_like(a["u"])
    for p, g in parts.items():
        dense_gradients(d, a["u"], joined(g), "w" + p, "b" + p)
        gu += joined(g) @ w["w" + p].T
    d["gamma1"], d["beta1"] = (gu * a["n1"]).sum((0, 1)), gu.sum((0, 1))
    ge = gf + normalise_gradient(gu * w["gamma1"], a["n1"], a["i1"])
    d["embed"] = a["x"].reshape(-1, 8).T @ ge.reshape(-1, WIDTH)
    d["position"] = ge.sum(0)
    return d


def initial(rng: np.random.Generator) -> dict[str, F32]:
    w = {"embed": glorot(rng, 8, 8, WIDTH), "position": glorot(rng, 8, TOKENS, WIDTH)}
    for i, name in enumerate(("wq", "wk", "wv", "wo")):
        w[name] = glorot(rng, 2 * WIDTH, WIDTH, WIDTH) * np.float32(0.5 if i == 3 else 1)
        w["b" + name[1]] = np.zeros(WIDTH, np.float32)
    w |= {"up": glorot(rng, WIDTH, WIDTH, INNER), "down": glorot(rng, 4 * INNER, INNER, WIDTH)}
    w |= {"head": glorot(rng, TOKENS * WIDTH, WIDTH, 10)}
    w |= {"bup": np.zeros(INNER, np.float32), "bdown": np.zeros(WIDTH, np.float32), "bhead": np.zeros(10, np.float32)}
    for k in "12":
        w |= {"gamma" + k: np.ones(WIDTH, np.float32), "beta" + k: np.zeros(WIDTH, np.float32)}
    return w


def train(x: F32, y: I64, epochs: int, rng: np.random.Generator) -> dict[str, F32]:
    w = initial(rng)
    adam = Adam(w, 2e-3, 2e-2)
    for epoch in range(epochs):
        for batch in np.array_split(rng.permutation(len(x)), len(x) // 32):
            noisy = x[batch] + rng.normal(0, 0.1, x[batch].shape).astype(np.float32)
            adam.update(backward(w, forward(w, noisy), y[batch]), 1 - epoch / epochs)
    return w


def quantised(w: dict[str, F32]) -> dict[str, np.ndarray]:
    """Integer weights; 1 / sqrt(head width) is folded into the queries."""
    w = dict(w)
    for name in ("wq", "bq"):
        w[name] = w[name] / np.float32(math.sqrt(HEAD))
    q = {name: quantise(w[name], WEIGHT, np.int16) for name in ("wq", "wk", "wv", "wo", "up", "down", "head", "embed")}
    q |= {name: quantise(w[name], ACT + WEIGHT, np.int32) for name in ("bq", "bk", "bv", "bo", "bup", "bdown", "bhead")}
    q["position"] = quantise(w["position"], PIXEL_SCALE + WEIGHT, np.int32)
    for k in "12":
        q["gamma" + k] = quantise(w["gamma" + k], ACT, np.int16)
        q["beta" + k] = quantise(w["beta" + k], 2 * ACT, np.int32)
    return q


def main() -> None:
    options = arguments("Train attention.tasm's network", epochs=60)
    xi, xti, y, yt = split()
    x, xt = ((a.reshape(-1, TOKENS, 8) / 2**PIXEL_SCALE).astype(np.float32) for a in (xi, xti))
    w = train(x, y, options.epochs, np.random.default_rng(options.seed))
    a = forward(w, xt)
    print(f"float accuracy {np.mean(a['logits'].argmax(1) == yt):.4f}")
    scores = a["q"] @ a["k"].transpose(0, 1, 3, 2) / math.sqrt(HEAD)
    sizes = {k: float(np.abs(a[k]).max()) for k in ("e", "u", "q", "k", "v", "o", "f", "m", "z", "g", "logits")}
    sizes["scores"] = float(np.abs(scores).max())
    print("largest values: " + ", ".join(f"{k} {v:.2f}" for k, v in sizes.items()))
    print(f"smallest std {float(min((1 / a['i1']).min(), (1 / a['i2']).min())):.3f}, "
          f"weights {max(float(np.abs(v).max()) for k, v in w.items() if v.ndim == 2):.2f}")  # fmt: skip
    q = quantised(w)
    save("attention", q)
    np.savez_compressed(PROGRAMS / "attention.inputs.npz", x=xti[:1].reshape(TOKENS, 8).astype(np.int8))


if __name__ == "__main__":
    main()
