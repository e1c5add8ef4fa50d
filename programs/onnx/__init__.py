"""Networks trained here on real data and exported to ONNX, with a few inputs to compare on.

``lenet5.onnx`` (MNIST digits), ``resnet.onnx`` (Fashion-MNIST) and ``chargpt.onnx`` (English prose); ``python -m
programs.onnx.NAME`` trains again.
``minilm`` makes the encoder of a sentence embedding from the weights of a package.
"""

from __future__ import annotations

from pathlib import Path

import onnx

FOLDER = Path(__file__).resolve().parent


def save_model(model: onnx.ModelProto, name: str) -> Path:
    """Checks the model and writes ``NAME.onnx`` beside this file."""
    onnx.checker.check_model(model, full_check=True)
    path = FOLDER / f"{name}.onnx"
    onnx.save(model, path)
    return path
