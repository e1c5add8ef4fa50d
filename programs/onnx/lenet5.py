"""Train a LeNet-5 on MNIST digits and export it to ONNX.

    python -m programs.onnx.lenet5       (needs the extras `onnx` and `train`; a minute)

The network and the training of ``programs.train.lenet``, in floats. Writes ``lenet5.onnx`` (opset 17; input ``image``
[1, 1, 28, 28], pixels 0 to 1; output ``logits`` [1, 10]) and ``lenet5_test.npz``: ``image`` [300, 1, 28, 28] uint8 of
the test set, ``label``; and ``calibration``, 32 images of the training set.
"""

from __future__ import annotations

import numpy as np

import onnx
from onnx import TensorProto, helper, numpy_helper
from programs.onnx import FOLDER, save_model
from programs.train.common import arguments
from programs.train.lenet import KEPT, TEST, forward, mnist, train
from syurmy.isa.arrays import F32

CALIBRATION = 32


def exported(w: dict[str, F32]) -> onnx.ModelProto:
    """The network in ONNX; dense weights transposed, as PyTorch's Linear layers have them."""
    node = helper.make_node
    nodes = [
        node("Conv", ["image", "w1", "b1"], ["c1"], name="/conv1", pads=[2, 2, 2, 2]),
        node("Relu", ["c1"], ["r1"], name="/relu1"),
        node("AveragePool", ["r1"], ["p1"], name="/pool1", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p1", "w2", "b2"], ["c2"], name="/conv2"),
        node("Relu", ["c2"], ["r2"], name="/relu2"),
        node("AveragePool", ["r2"], ["p2"], name="/pool2", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["p2"], ["f"], name="/flatten"),
        node("Gemm", ["f", "w3", "b3"], ["g3"], name="/fc1", transB=1),
        node("Relu", ["g3"], ["r3"], name="/relu3"),
        node("Gemm", ["r3", "w4", "b4"], ["g4"], name="/fc2", transB=1),
        node("Relu", ["g4"], ["r4"], name="/relu4"),
        node("Gemm", ["r4", "w5", "b5"], ["logits"], name="/fc3", transB=1),
    ]
    constants = {k: v.T if k in ("w3", "w4", "w5") else v for k, v in w.items()}
    constants |= {"w1": w["w1"].reshape(6, 1, 5, 5), "w2": w["w2"].reshape(16, 6, 5, 5)}
    graph = helper.make_graph(
        nodes,
        "lenet5",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 28, 28])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(np.ascontiguousarray(v, np.float32), k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main() -> None:
    options = arguments("Train lenet5.onnx", epochs=15)
    rng = np.random.default_rng(options.seed)
    images, labels = mnist()
    order = rng.permutation(len(images))
    test, kept, held = order[:TEST], order[:KEPT], order[TEST:]
    x = (images / 255).astype(np.float32)
    w = train(x[held], labels[held], options.epochs, rng)
    print(f"accuracy {np.mean(forward(w, x[test])['logits'].argmax(1) == labels[test]):.4f}")
    save_model(exported(w), "lenet5")
    np.savez_compressed(
        FOLDER / "lenet5_test.npz",
        image=images[kept].astype(np.uint8),
        label=labels[kept].astype(np.uint8),
        calibration=images[held[:CALIBRATION]].astype(np.uint8),
    )


if __name__ == "__main__":
    main()
