"""Shared by the training scripts: Adam, power-of-two quantisation, files.

Fixed point: a tensor at scale ``s`` holds ``round(value * 2^s)``. A linear layer multiplies activations at scale ``s``
by weights at scale ``k``; its accumulator has scale ``s + k``, and ``rescale acc, 16`` brings it to ``s + k - 16``. One
shift for all layers keeps the proof to one range table, so ``k`` alone sets the scale of the next activation.

Training is seeded. Float sums still depend on the processor and the number of BLAS threads, so a rerun elsewhere can
end in other weights; those in the repository were made with OPENBLAS_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from syurmy.isa.arrays import F32, I64, Integers

PROGRAMS = Path(__file__).resolve().parent.parent
SHIFT = 16
EPSILON = 1e-6  # of normalise


class Adam:
    """Adam (Kingma and Ba, 2015) with decoupled weight decay over a dict of float32 arrays, updated in place."""

    def __init__(self, weights: dict[str, F32], rate: float, decay: float = 0.0) -> None:
        self.weights, self.rate, self.decay, self.step = weights, rate, decay, 0
        self.first = {k: np.zeros_like(w) for k, w in weights.items()}
        self.second = {k: np.zeros_like(w) for k, w in weights.items()}

    def update(self, gradients: dict[str, F32], factor: float = 1.0) -> None:
        self.step += 1
        scale = factor * self.rate * math.sqrt(1 - 0.999**self.step) / (1 - 0.9**self.step)
        for k, g in gradients.items():
            self.first[k] += 0.1 * (g - self.first[k])
            self.second[k] += 0.001 * (g * g - self.second[k])
            self.weights[k] -= scale * self.first[k] / (np.sqrt(self.second[k]) + 1e-8)
            self.weights[k] *= 1 - factor * self.rate * self.decay


def softmax(logits: F32) -> F32:
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True), dtype=np.float32)


def normalise(x: F32) -> tuple[F32, F32]:
    """(x - mean) / std over the last axis, and 1 / std."""
    c = x - x.mean(axis=-1, keepdims=True)
    inverse = 1 / np.sqrt((c * c).mean(axis=-1, keepdims=True) + EPSILON)
    return c * inverse, inverse


def normalise_gradient(g: F32, n: F32, inverse: F32) -> F32:
    return (g - g.mean(axis=-1, keepdims=True) - n * (g * n).mean(axis=-1, keepdims=True)) * inverse


def erf(x: F32) -> F32:
    """Abramowitz and Stegun 7.1.26, error below 1.5e-7."""
    t = 1 / (1 + 0.3275911 * np.abs(x))
    p = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.asarray(np.sign(x) * (1 - p * np.exp(-x * x)), dtype=x.dtype)


def cross_entropy_gradient(logits: F32, labels: I64) -> F32:
    """d(mean cross entropy)/d(logits)."""
    g = softmax(logits)
    g[np.arange(len(labels)), labels] -= 1
    return g / np.float32(len(labels))


def glorot(rng: np.random.Generator, fan_in: int, *shape: int) -> F32:
    return (rng.standard_normal(shape) * math.sqrt(2 / fan_in)).astype(np.float32)


def weight_scale(weights: F32, in_scale: int, peak: float, shift: int = SHIFT) -> int:
    """The largest weight scale with which weights fit i16 and the rescaled activation, of size ``peak``, fits too."""
    fits_weights = math.floor(math.log2(32767 / float(np.abs(weights).max())))
    fits_output = math.floor(math.log2(32767 / peak)) + shift - in_scale
    return min(fits_weights, fits_output)


def quantise(x: F32, scale: int, dtype: type[np.signedinteger]) -> Integers:
    """``round(x * 2^scale)``; ``OverflowError`` if an entry leaves the dtype."""
    q = np.rint(x.astype(np.float64) * 2.0**scale)
    if np.abs(q).max(initial=0) > np.iinfo(dtype).max:
        raise OverflowError(f"a weight leaves {np.dtype(dtype)} at scale {scale}")
    return q.astype(dtype)


def rescale(acc: I64, shift: int = SHIFT) -> I64:
    """The instruction ``rescale acc, shift, i16``."""
    return np.clip((acc + (1 << shift >> 1)) >> shift, -32768, 32767)


def save(name: str, weights: dict[str, Integers]) -> Path:
    path = PROGRAMS / f"{name}.safetensors"
    save_file({k: np.ascontiguousarray(w) for k, w in weights.items()}, path)
    path.chmod(0o644)
    return path


def arguments(description: str, epochs: int) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()
