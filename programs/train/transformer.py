"""A causal transformer over characters with its backward pass, in NumPy: what both character models are trained with.

    e = E[character] + P[position]
    e = e + attention(norm(e))                  per layer
    e = e + gelu(norm(e) A + a) B + b
    scores = norm(e) V (+ c)                    of the next character

Weights and activations are dicts by name; those of layer l have the suffix l. Weights: embed, position; per layer
gamma and beta of the first norm, w and b of q, k, v and o, delta and eta of the second norm, up, bup, down, bdown;
gamma and beta of the last norm, head, and bhead if scores have a bias.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from programs.train.common import Adam, cross_entropy_gradient, erf, glorot, normalise, normalise_gradient, softmax
from syurmy.isa.arrays import F32, I64


def attention_gradients(go: F32, q: F32, k: F32, v: F32, s: F32) -> dict[str, F32]:
    """Of s @ v with s = softmax(q k^T / sqrt(width)): the gradients of q, k and v; all [batch, heads, positions, *]."""
    gs = go @ v.transpose(0, 1, 3, 2)
    gs = s * (gs - (gs * s).sum(axis=-1, keepdims=True)) / np.float32(math.sqrt(q.shape[-1]))
    return {"q": gs @ k, "k": gs.transpose(0, 1, 3, 2) @ q, "v": s.transpose(0, 1, 3, 2) @ go}


def dense_gradients(d: dict[str, F32], x: F32, g: F32, weight: str, bias: str = "") -> None:
    """Adds to ``d`` the gradients of the weights of x @ weight (+ bias)."""
    flat = g.reshape(-1, g.shape[-1])
    d[weight] = x.reshape(-1, x.shape[-1]).T @ flat
    if bias:
        d[bias] = flat.sum(0)


def loss(logits: F32, labels: I64) -> float:
    """Mean cross entropy, in nats per character."""
    p = np.take_along_axis(softmax(logits), labels[..., None], -1)
    return float(-np.log(p + 1e-9).mean())


@dataclass(frozen=True)
class Transformer:
    """The sizes, and the functions of weights that follow from them."""

    layers: int
    context: int
    width: int
    heads: int
    inner: int
    characters: int

    @property
    def head(self) -> int:
        """Width of one head."""
        return self.width // self.heads

    def split(self, x: F32) -> F32:
        """[batch, context, width] to [batch, heads, context, head]."""
        return x.reshape(-1, self.context, self.heads, self.head).transpose(0, 2, 1, 3)

    def joined(self, x: F32) -> F32:
        """The inverse of ``split``."""
        return x.transpose(0, 2, 1, 3).reshape(-1, self.context, self.width)

    @property
    def mask(self) -> F32:
        """[context, context]: 0, and -inf where a character would see a later one."""
        return np.triu(np.full((self.context, self.context), -np.inf, np.float32), 1)

    def initial(
        self, rng: np.random.Generator, *, embed: float, position: float, out: float, down: int, bias: bool
    ) -> dict[str, F32]:
        """Random weights. Standard deviations of the embeddings, the factor of ``wo``, by how much ``down`` is smaller
        than its width asks for, and whether scores have a bias."""
        w = {
            "embed": rng.normal(0, embed, (self.characters, self.width)).astype(np.float32),
            "position": rng.normal(0, position, (self.context, self.width)).astype(np.float32),
            "head": glorot(rng, 2 * self.width, self.width, self.characters),
        }
        if bias:
            w["bhead"] = np.zeros(self.characters, np.float32)
        for layer in map(str, range(self.layers)):
            for p in "qkvo":
                w["w" + p + layer] = glorot(rng, 2 * self.width, self.width, self.width)
                w["w" + p + layer] *= np.float32(out if p == "o" else 1)
                w["b" + p + layer] = np.zeros(self.width, np.float32)
            w["up" + layer] = glorot(rng, self.width, self.width, self.inner)
            w["down" + layer] = glorot(rng, down * self.inner, self.inner, self.width)
            w |= {"bup" + layer: np.zeros(self.inner, np.float32), "bdown" + layer: np.zeros(self.width, np.float32)}
            w |= {"delta" + layer: np.ones(self.width, np.float32), "eta" + layer: np.zeros(self.width, np.float32)}
        for name in ("", *map(str, range(self.layers))):
            w |= {"gamma" + name: np.ones(self.width, np.float32), "beta" + name: np.zeros(self.width, np.float32)}
        return w

    def forward(self, w: dict[str, F32], x: I64) -> dict[str, F32]:
        """All activations for token windows ``x`` [batch, context]; ``logits`` [batch, context, characters]."""
        e = w["embed"][x] + w["position"]
        mask = self.mask
        a: dict[str, F32] = {}
        for layer in map(str, range(self.layers)):
            a["n" + layer], a["i" + layer] = normalise(e)
            u = a["u" + layer] = a["n" + layer] * w["gamma" + layer] + w["beta" + layer]
            q, k, v = (self.split(u @ w[f"w{p}{layer}"] + w[f"b{p}{layer}"]) for p in "qkv")
            s = softmax(q @ k.transpose(0, 1, 3, 2) / np.float32(math.sqrt(self.head)) + mask)
            a |= {"q" + layer: q, "k" + layer: k, "v" + layer: v, "s" + layer: s}
            a["o" + layer] = self.joined(s @ v)
            e = a["e" + layer] = e + a["o" + layer] @ w["wo" + layer] + w["bo" + layer]
            a["m" + layer], a["j" + layer] = normalise(e)
            u = a["r" + layer] = a["m" + layer] * w["delta" + layer] + w["eta" + layer]
            z = a["z" + layer] = u @ w["up" + layer] + w["bup" + layer]
            a["phi" + layer] = (1 + erf(z * np.float32(math.sqrt(0.5)))) / 2
            a["g" + layer] = z * a["phi" + layer]
            e = a["f" + layer] = e + a["g" + layer] @ w["down" + layer] + w["bdown" + layer]
        a["n"], a["i"] = normalise(e)
        a["u"] = a["n"] * w["gamma"] + w["beta"]
        a["logits"] = a["u"] @ w["head"]
        if "bhead" in w:
            a["logits"] = a["logits"] + w["bhead"]
        return a

    def backward(self, w: dict[str, F32], a: dict[str, F32], x: I64, labels: I64) -> dict[str, F32]:
        """The gradients of the mean cross entropy; ``a`` as ``forward`` gave it, labels [batch, context]."""
        d: dict[str, F32] = {}

        def linear(source: F32, g: F32, weight: str, bias: str = "") -> F32:
            dense_gradients(d, source, g, weight, bias)
            return g @ w[weight].T

        def norm(g: F32, n: F32, inverse: F32, gamma: str, beta: str) -> F32:
            d[gamma], d[beta] = (g * n).sum((0, 1)), g.sum((0, 1))
            return normalise_gradient(g * w[gamma], n, inverse)

        logits = a["logits"].reshape(-1, self.characters)
        g = cross_entropy_gradient(logits, labels.reshape(-1)).reshape(a["logits"].shape)
        g = norm(linear(a["u"], g, "head", "bhead" if "bhead" in w else ""), a["n"], a["i"], "gamma", "beta")
        for layer in map(str, reversed(range(self.layers))):
            z, phi = a["z" + layer], a["phi" + layer]
            gz = linear(a["g" + layer], g, "down" + layer, "bdown" + layer)
            gz = gz * (phi + z * np.exp(-z * z / 2) / np.float32(math.sqrt(2 * math.pi)))
            gm = linear(a["r" + layer], gz, "up" + layer, "bup" + layer)
            g = g + norm(gm, a["m" + layer], a["j" + layer], "delta" + layer, "eta" + layer)
            go = self.split(linear(a["o" + layer], g, "wo" + layer, "bo" + layer))
            parts = attention_gradients(go, *(a[name + layer] for name in "qkvs"))
            gu = sum(linear(a["u" + layer], self.joined(gp), f"w{p}{layer}", f"b{p}{layer}") for p, gp in parts.items())
            g = g + norm(np.asarray(gu), a["n" + layer], a["i" + layer], "gamma" + layer, "beta" + layer)
        d["position"] = g.sum(0)
        d["embed"] = np.zeros_like(w["embed"])
        np.add.at(d["embed"], x, g)
        return d

    def train(self, w: dict[str, F32], text: I64, starts: Callable[[], I64], steps: int) -> None:
        """Adam on the windows of ``text`` that begin at ``starts()`` [batch], drawn anew for every step; in place."""
        adam = Adam(w, 3e-3, 5e-3)
        mean = 0.0
        for step in range(steps):
            window = starts()[:, None] + np.arange(self.context + 1)
            x, y = text[window[:, :-1]], text[window[:, 1:]]
            a = self.forward(w, x)
            mean += (loss(a["logits"], y) - mean) / min(step + 1, 100)
            gradients = self.backward(w, a, x, y)
            size = math.sqrt(sum(float((g * g).sum()) for g in gradients.values()))
            gradients = {k: g * np.float32(min(1.0, 1 / size)) for k, g in gradients.items()}
            adam.update(gradients, min(1.0, (step + 1) / 100) * (1 - step / steps))
            if step % 250 == 249:
                print(f"step {step + 1}: loss {mean:.3f}", flush=True)
