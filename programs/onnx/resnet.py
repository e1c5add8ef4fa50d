"""Train a small residual network on Fashion-MNIST and export it to ONNX.

    python -m programs.onnx.resnet       (needs the extra `onnx` and Debian's package dataset-fashion-mnist;
                                          a quarter of an hour on two cores)

ResNet-8: a convolution of 16 channels, three stages of 16, 32 and 64 with one basic block each (two 3x3 convolutions,
batch norm, ReLU; the last two stages halve the image and project the shortcut by a 1x1 convolution), the average over
the image, a dense layer of 10: 78 k parameters. All 60000 images train, mirrored at random; 10000 test. NumPy with the
backward pass written out; a convolution is a matrix product of windows, images are [n, height, width, channels].

Writes ``resnet.onnx`` in the form PyTorch exports when it keeps batch norm (opset 17; input ``image`` [1, 1, 28, 28],
pixels 0 to 1; output ``logits`` [1, 10]) and ``resnet_test.npz``: ``image`` [300, 1, 28, 28] uint8 of the test set,
``label``; and ``calibration``, 32 images of the training set.
"""

from __future__ import annotations

import argparse
import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import onnx
from onnx import TensorProto, helper, numpy_helper
from programs.onnx import FOLDER, save_model
from programs.train.common import Adam, cross_entropy_gradient, glorot
from syurmy.isa.arrays import F32, I64

DATA = Path("/usr/share/datasets/fashion-mnist")
CHANNELS = (16, 32, 64)
BATCH, RATE, DECAY, WARM = 100, 4e-3, 2e-2, 300
EPSILON, MOMENTUM = 1e-5, 0.05
KEPT, CALIBRATION = 300, 32

Backward = Callable[[F32], F32]


def fashion(folder: Path, part: str) -> tuple[I64, I64]:
    """Images [n, 1, 28, 28] and labels of ``train`` or ``t10k``, in the IDX format of MNIST."""
    try:
        raw = [gzip.decompress((folder / f"{part}-{f}-ubyte.gz").read_bytes()) for f in ("images-idx3", "labels-idx1")]
    except OSError as e:
        raise SystemExit(f"no Fashion-MNIST in {folder} ({e}): apt-get install dataset-fashion-mnist, or --data") from e
    images, labels = np.frombuffer(raw[0], np.uint8, offset=16), np.frombuffer(raw[1], np.uint8, offset=8)
    return images.reshape(-1, 1, 28, 28).astype(np.int64), labels.astype(np.int64)


def windows(x: F32, size: int, stride: int) -> F32:
    """Windows around every ``stride``-th pixel: [n, h, w, c] to [n, h', w', size*size*c]."""
    n, h, w, c = x.shape
    if size == 1:
        return np.ascontiguousarray(x[:, ::stride, ::stride])
    p = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    a, b, d, e = p.strides
    shape = (n, (h + 1) // stride if stride > 1 else h, (w + 1) // stride if stride > 1 else w, 3, 3 * c)
    rows = np.lib.stride_tricks.as_strided(p, shape, (a, b * stride, d * stride, b, e))
    return rows.reshape(*shape[:3], 9 * c)


def convolution(x: F32, w: F32, stride: int) -> tuple[F32, Callable[[F32], tuple[F32, F32]]]:
    """Padded so that stride 1 keeps the size; ``w`` [k, k, c, out]. The backward pass gives both gradients."""
    size, _, channels, out = w.shape
    columns = windows(x, size, stride)
    matrix = w.reshape(-1, out)

    def back(g: F32) -> tuple[F32, F32]:
        of_w = columns.reshape(-1, len(matrix)).T @ g.reshape(-1, out)
        spread = g
        if stride > 1:
            spread = np.zeros((*x.shape[:3], out), g.dtype)
            spread[:, ::stride, ::stride] = g
        turned = w[::-1, ::-1].transpose(0, 1, 3, 2).reshape(-1, channels)
        return windows(spread, size, 1) @ turned, of_w.reshape(w.shape)

    return columns @ matrix, back


@dataclass
class Network:
    """Weights, running statistics of the batch norms, and the gradients of the last backward pass, by name."""

    weights: dict[str, F32]
    statistics: dict[str, F32]
    gradients: dict[str, F32] = field(default_factory=dict)

    @staticmethod
    def initial(rng: np.random.Generator) -> Network:
        net = Network({}, {})
        for name, size, source, out, _ in units():
            net.weights[f"{name}.w"] = glorot(rng, size * size * source, size, size, source, out)
            net.weights |= {f"{name}.gamma": np.ones(out, np.float32), f"{name}.beta": np.zeros(out, np.float32)}
            net.statistics |= {f"{name}.mean": np.zeros(out, np.float32), f"{name}.var": np.ones(out, np.float32)}
        net.weights["fc.w"] = glorot(rng, CHANNELS[-1], CHANNELS[-1], 10)
        net.weights["fc.b"] = np.zeros(10, np.float32)
        return net

    def unit(self, name: str, x: F32, stride: int, training: bool) -> tuple[F32, Backward]:
        """Convolution and batch norm."""
        gamma, beta = self.weights[f"{name}.gamma"], self.weights[f"{name}.beta"]
        z, convolution_back = convolution(x, self.weights[f"{name}.w"], stride)
        if training:
            mean = z.mean((0, 1, 2))
            var = np.square(z - mean).mean((0, 1, 2))
            for key, now in ((f"{name}.mean", mean), (f"{name}.var", var)):
                self.statistics[key] += np.float32(MOMENTUM) * (now - self.statistics[key])
        else:
            mean, var = self.statistics[f"{name}.mean"], self.statistics[f"{name}.var"]
        inverse = 1 / np.sqrt(var + np.float32(EPSILON))
        normal = (z - mean) * inverse

        def back(g: F32) -> F32:
            of_gamma, of_beta = (g * normal).sum((0, 1, 2)), g.sum((0, 1, 2))
            count = np.float32(g.size // g.shape[-1])
            g = gamma * inverse * (g - of_beta / count - normal * (of_gamma / count))
            g, of_w = convolution_back(g)
            self.gradients |= {f"{name}.w": of_w, f"{name}.gamma": of_gamma, f"{name}.beta": of_beta}
            return g

        return normal * gamma + beta, back

    def forward(self, x: F32, training: bool = False) -> tuple[F32, Callable[[F32], None]]:
        """Logits [n, 10] of images [n, 28, 28, 1], and the backward pass from their gradient."""
        e, stem_back = self.unit("stem", x, 1, training)
        backs: list[Backward] = []
        stem, e = e, np.maximum(e, 0)
        for k in range(len(CHANNELS)):
            e, back = self.block(f"stage{k + 1}", e, 2 if k else 1, training)
            backs.append(back)
        mean, last = e.mean((1, 2)), e.shape

        def back_all(g: F32) -> None:
            self.gradients |= {"fc.w": mean.T @ g, "fc.b": g.sum(0)}
            g = (g @ self.weights["fc.w"].T)[:, None, None] / np.float32(last[1] * last[2])
            g = np.broadcast_to(g, last)
            for back in reversed(backs):
                g = back(g)
            stem_back(g * (stem > 0))

        return mean @ self.weights["fc.w"] + self.weights["fc.b"], back_all

    def block(self, name: str, x: F32, stride: int, training: bool) -> tuple[F32, Backward]:
        """Two units and the shortcut, projected where the size changes."""
        a, a_back = self.unit(f"{name}.a", x, stride, training)
        b, b_back = self.unit(f"{name}.b", np.maximum(a, 0), 1, training)
        short, short_back = self.unit(f"{name}.short", x, stride, training) if stride > 1 else (x, lambda g: g)
        total = b + short

        def back(g: F32) -> F32:
            g = g * (total > 0)
            return a_back(b_back(g) * (a > 0)) + short_back(g)

        return np.maximum(total, 0), back


def units() -> list[tuple[str, int, int, int, int]]:
    """Name, kernel size, input and output channels and stride of every convolution."""
    out, source = [("stem", 3, 1, CHANNELS[0], 1)], CHANNELS[0]
    for k, channels in enumerate(CHANNELS):
        stride = 2 if k else 1
        out += [(f"stage{k + 1}.a", 3, source, channels, stride), (f"stage{k + 1}.b", 3, channels, channels, 1)]
        if stride > 1:
            out.append((f"stage{k + 1}.short", 1, source, channels, stride))
        source = channels
    return out


def pixels(images: I64) -> F32:
    return (images.transpose(0, 2, 3, 1) / 255).astype(np.float32)


def accuracy(net: Network, images: I64, labels: I64) -> float:
    parts = [net.forward(pixels(images[k : k + 500]))[0].argmax(1) for k in range(0, len(images), 500)]
    return float(np.mean(np.concatenate(parts) == labels))


def train(images: I64, labels: I64, epochs: int, rng: np.random.Generator) -> Network:
    net = Network.initial(rng)
    adam = Adam(net.weights, RATE, DECAY)
    steps = epochs * (len(images) // BATCH)
    for epoch in range(epochs):
        right = 0
        for batch in rng.permutation(len(images))[: len(images) // BATCH * BATCH].reshape(-1, BATCH):
            x = pixels(images[batch])
            mirrored = rng.random(BATCH) < 0.5
            x[mirrored] = x[mirrored, :, ::-1]
            logits, back = net.forward(x, training=True)
            back(cross_entropy_gradient(logits, labels[batch]))
            adam.update(net.gradients, min(1.0, (adam.step + 1) / WARM) * (1 - adam.step / steps))
            right += int((logits.argmax(1) == labels[batch]).sum())
        print(f"epoch {epoch + 1}: accuracy in training {right / len(images):.4f}", flush=True)
    return net


def exported(net: Network) -> onnx.ModelProto:
    """The network in ONNX; kernels [out, in, k, k] and the dense weights transposed, as PyTorch has them."""
    constants: dict[str, F32] = dict(net.statistics)
    for name, w in net.weights.items():
        kernel = name.endswith(".w")
        constants[name] = w.transpose(*range(w.ndim)[::-1][:2], *range(w.ndim)[:-2]) if kernel else w
    nodes: list[onnx.NodeProto] = []

    def node(op: str, *inputs: str, out: str, **attributes: object) -> str:
        nodes.append(helper.make_node(op, list(inputs), [out], name=f"/{out}", **attributes))
        return out

    strides = {name: (size, stride) for name, size, _, _, stride in units()}

    def unit(name: str, x: str) -> str:
        size, stride = strides[name]
        z = node("Conv", x, f"{name}.w", out=f"{name}.conv", kernel_shape=[size] * 2, strides=[stride] * 2,
                 pads=[size // 2] * 4)  # fmt: skip
        parameters = (f"{name}.{p}" for p in ("gamma", "beta", "mean", "var"))
        return node("BatchNormalization", z, *parameters, out=f"{name}.bn", epsilon=EPSILON)

    e = node("Relu", unit("stem", "image"), out="stem.relu")
    for k in range(len(CHANNELS)):
        name = f"stage{k + 1}"
        a = node("Relu", unit(f"{name}.a", e), out=f"{name}.a.relu")
        short = unit(f"{name}.short", e) if k else e
        e = node("Relu", node("Add", unit(f"{name}.b", a), short, out=f"{name}.add"), out=f"{name}.relu")
    flat = node("Flatten", node("GlobalAveragePool", e, out="pool"), out="flat")
    node("Gemm", flat, "fc.w", "fc.b", out="logits", transB=1)
    graph = helper.make_graph(
        nodes,
        "resnet",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 28, 28])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(np.ascontiguousarray(v, np.float32), k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train resnet.onnx")
    parser.add_argument("--data", type=Path, default=DATA, help=f"folder of the four files, {DATA} by default")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    images, labels = fashion(options.data, "train")
    test_images, test_labels = fashion(options.data, "t10k")
    net = train(images, labels, options.epochs, rng)
    print(f"{sum(w.size for w in net.weights.values())} parameters")
    print(f"accuracy on the test set {accuracy(net, test_images, test_labels):.4f}")
    save_model(exported(net), "resnet")
    np.savez_compressed(
        FOLDER / "resnet_test.npz",
        image=test_images[:KEPT].astype(np.uint8),
        label=test_labels[:KEPT].astype(np.uint8),
        calibration=images[:CALIBRATION].astype(np.uint8),
    )


if __name__ == "__main__":
    main()
