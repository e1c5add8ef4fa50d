"""Generate the benchmark networks, and the looping programs at any number of steps.

    python -m programs.generate lenet5 --out build/          one of: see NETWORKS, `rnn`, `life`
    python -m programs.generate rnn --steps 1000 --out build/

Writes ``NAME.tasm``, ``NAME.safetensors`` and ``NAME.inputs.npz``. Weights are random 16-bit integers, scaled layer
by layer on the example input so that every activation has a standard deviation of about ``SPREAD``: it uses its 16
bits and hardly saturates. Every layer is a product, a bias and ``rescale`` to i16; max pooling comes before ReLU,
with which it commutes (a quarter of the ReLUs); average pooling is a sum at four times the scale, which is linear.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from syurmy.isa.arrays import I64, Integers

HERE = Path(__file__).resolve().parent
SPREAD = 2500
SHIFT = 16
WEIGHT_SPREAD = 8000  # the largest standard deviation of weights: four of them fit i16


@dataclass
class Network:
    """A program under construction together with the exact activation ``value`` of its example input.

    ``value`` starts as the input: ``[1, features]`` or ``[1, channels, height, width]``. At the end it is the output
    that the program must compute.
    """

    name: str
    value: I64
    seed: int = 0
    within: str = ""
    declarations: list[str] = field(default_factory=list)
    code: list[str] = field(default_factory=list)
    weights: dict[str, Integers] = field(default_factory=dict)
    input: I64 = field(init=False)

    def __post_init__(self) -> None:
        self.input = self.value
        self._rng = np.random.default_rng(self.seed)

    @property
    def parameters(self) -> int:
        return sum(w.size for w in self.weights.values())

    def _layer(self, shape: tuple[int, ...], bias: tuple[int, ...], product: Callable[[I64], I64], line: str) -> None:
        """Product with random weights of ``shape``, bias, rescale; ``line`` is the product's instruction."""
        number = len(self.weights) // 2 + 1
        unit = self._rng.standard_normal(shape)
        spread = float(np.std(product(np.rint(unit * 2**12).astype(np.int64)))) / 2**12  # per unit of weight
        shift = min(SHIFT, math.floor(math.log2(WEIGHT_SPREAD * spread / SPREAD)))
        scale = SPREAD * 2**shift / spread
        w = np.clip(np.rint(unit * scale), -32767, 32767).astype(np.int16)
        b = np.rint(self._rng.standard_normal(bias) * SPREAD / 8 * 2**shift).astype(np.int32)
        acc = product(w.astype(np.int64)) + b
        self.value = np.clip((acc + (1 << shift >> 1)) >> shift, -32768, 32767)
        for kind, array, dtype in (("w", w, "i16"), ("b", b, "i32")):
            key = f"{kind}{number}"
            self.weights[key] = array
            dims = ", ".join(map(str, array.shape))
            self.declarations.append(f'.param {key} : {dtype}[{dims}] committed = "{self.name}.safetensors:{key}"')
        self._emit(line.format(w=f"w{number}"), f"add h, h, b{number}", f"rescale h, h, {shift}, i16")

    def _emit(self, *lines: str) -> None:
        self.code.extend(lines)

    def dense(self, out: int) -> Network:
        if self.value.ndim > 2:
            self.value = self.value.reshape(1, -1)
            self._emit(f"reshape h, h, (1, {self.value.size})")
        x = self.value.astype(np.float64)  # exact: sums stay below 2^53
        self._layer((x.shape[1], out), (out,), lambda w: (x @ w).astype(np.int64), "matmul h, h, {w}")
        return self

    def conv(self, out: int, kernel: int, pad: int = 0) -> Network:
        x = np.pad(self.value[0], ((0, 0), (pad, pad), (pad, pad))).astype(np.float64)
        windows = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(1, 2))
        c, h, w = windows.shape[:3]
        columns = windows.transpose(0, 3, 4, 1, 2).reshape(c * kernel * kernel, h * w)
        self._layer(
            (out, c, kernel, kernel),
            (out, 1, 1),
            lambda k: (k.reshape(out, -1) @ columns).astype(np.int64).reshape(1, out, h, w),
            f"conv2d h, h, {{w}}, pad=({pad}, {pad})",
        )
        return self

    def relu(self) -> Network:
        self.value = np.maximum(self.value, 0)
        self._emit("relu h, h")
        return self

    def pool_relu(self, kind: str) -> Network:
        """2x2 pooling and ReLU: "max" in this order, "average" after ReLU and as a sum."""
        n, c, h, w = self.value.shape
        if kind == "average":
            self.relu()
        blocks = self.value.reshape(n, c, h // 2, 2, w // 2, 2)
        self._emit("im2col h, h, kernel=(2, 2), stride=(2, 2)")
        if kind == "average":
            self.value = blocks.sum(axis=(3, 5))
            self._emit("sum h, h, axes=(-2, -1)")
        else:
            self.value = blocks.max(axis=(3, 5))
            self._emit("reduce_max h, h, -1", "reduce_max h, h, -1")
            self.relu()
        return self

    def text(self) -> str:
        dims = ", ".join(map(str, self.input.shape))
        lines = [
            f"; {self.name}: {self.parameters} random 16-bit parameters, written by programs/generate.py",
            f".program {self.name}",
            f".input x : i16[{dims}] private{self.within}",
            *self.declarations,
            ".output y public",
            "",
            "    mov h, x",
            *("    " + line for line in self.code),
            "    mov y, h",
            "    halt",
            "",
        ]
        return "\n".join(lines)

    def write(self, folder: Path) -> Path:
        """The three files; returns the path of the program."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.weights, folder / f"{self.name}.safetensors")
        np.savez(folder / f"{self.name}.inputs.npz", x=self.input.astype(np.int16))
        path = folder / f"{self.name}.tasm"
        path.write_text(self.text())
        return path


def image(name: str, channels: int, size: int, seed: int) -> Network:
    pixels = np.random.default_rng(seed + 1).integers(0, 256, (1, channels, size, size))
    return Network(name, pixels, seed, " in 0..255")


def mlp(name: str, widths: tuple[int, ...], seed: int) -> Network:
    x = np.clip(np.rint(np.random.default_rng(seed + 1).standard_normal((1, widths[0])) * SPREAD), -32768, 32767)
    net = Network(name, x.astype(np.int64), seed)
    for width in widths[1:-1]:
        net.dense(width).relu()
    return net.dense(widths[-1])


def lenet5(name: str, pool: str, seed: int) -> Network:
    net = image(name, 1, 28, seed).conv(6, 5, 2).pool_relu(pool).conv(16, 5).pool_relu(pool)
    return net.dense(120).relu().dense(84).relu().dense(10)


def cnn(name: str, pool: str, seed: int) -> Network:
    """Two convolutions and three dense layers, 264 504 parameters, on a 32x32 colour image."""
    net = image(name, 3, 32, seed).conv(16, 5).pool_relu(pool).conv(32, 5).pool_relu(pool)
    return net.dense(256).relu().dense(170).relu().dense(10)


def vgg(name: str, blocks: tuple[tuple[int, int], ...], pool: str, seed: int) -> Network:
    """``blocks``: number of 3x3 convolutions and channels, each block ends in pooling; dense 512, 512, 10."""
    net = image(name, 3, 32, seed)
    for count, channels in blocks:
        for _ in range(count - 1):
            net.conv(channels, 3, 1).relu()
        net.conv(channels, 3, 1).pool_relu(pool)
    return net.dense(512).relu().dense(512).relu().dense(10)


VGG11 = ((1, 64), (1, 128), (2, 256), (2, 512), (2, 512))
VGG16 = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))

# name -> (pooling of the original, builder from name, pooling and seed)
NETWORKS: dict[str, tuple[str, Callable[[str, str, int], Network]]] = {
    "mlp64": ("max", lambda name, _, seed: mlp(name, (64, 64, 64, 10), seed)),
    "mlp784": ("max", lambda name, _, seed: mlp(name, (784, 512, 512, 10), seed)),
    "lenet5": ("average", lenet5),
    "cnn264k": ("max", cnn),
    "dense4m": ("max", lambda name, _, seed: mlp(name, (1024, 1024, 1024, 1024, 1024, 10), seed)),
    "vgg11": ("max", lambda name, pool, seed: vgg(name, VGG11, pool, seed)),
    "vgg16": ("max", lambda name, pool, seed: vgg(name, VGG16, pool, seed)),
}


def network(name: str, pool: str | None = None, seed: int = 0) -> Network:
    """The benchmark network ``name``; ``pool`` is "max" or "average", by default that of the original."""
    default, build = NETWORKS[name]
    return build(name, pool or default, seed)


def looping(name: str, steps: int, folder: Path) -> Path:
    """``rnn`` or ``life`` with another number of steps, as ``NAME_STEPS.tasm``; ``rnn`` at most 1000."""
    target = f"{name}_{steps}"
    text = (HERE / f"{name}.tasm").read_text()
    text = re.sub(r"(?m)^(\.const\s+STEPS\s*=\s*)\d+", rf"\g<1>{steps}", text).replace(
        f".program {name}", f".program {target}"
    )
    inputs = dict(np.load(HERE / f"{name}.inputs.npz"))
    folder.mkdir(parents=True, exist_ok=True)
    if name == "rnn":
        inputs = {"x": np.load(HERE / "rnn_test.npz")["rows"][:steps].astype(np.int8)}
        save_file(load_file(HERE / "rnn.safetensors"), folder / "rnn.safetensors")
    np.savez_compressed(folder / f"{target}.inputs.npz", **inputs)
    path = folder / f"{target}.tasm"
    path.write_text(text)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description="Generate a benchmark program")
    parser.add_argument("name", choices=[*NETWORKS, "rnn", "life"])
    parser.add_argument("--out", type=Path, default=Path("build"))
    parser.add_argument("--pool", choices=["max", "average"], help="by default that of the original network")
    parser.add_argument("--steps", type=int, default=1000, help="of rnn (at most 1000) and life")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.name in ("rnn", "life"):
        print(looping(options.name, options.steps, options.out))
        return
    net = network(options.name, options.pool, options.seed)
    path = net.write(options.out)
    print(f"{path}: {net.parameters} parameters, output in {net.value.min()}..{net.value.max()}")


if __name__ == "__main__":
    main()
