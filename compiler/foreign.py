"""Files that are models, but not ONNX: what they are by their first bytes, and how to export from them."""

from __future__ import annotations

from pathlib import Path

POINTER = b"version https://git-lfs.github.com/spec/"
TORCH = "load it in PyTorch and write torch.onnx.export(model, example_inputs, 'model.onnx')"
KERAS = "python -m tf2onnx.convert --keras model --output model.onnx, or model.export('model.onnx', format='onnx')"
KINDS = (  # first bytes, how far into the file, what it is, how to export
    (POINTER, 0, "a Git LFS pointer, not the file itself", "fetch it with git lfs pull"),
    (b"TFL3", 4, "a TensorFlow Lite model", "python -m tf2onnx.convert --tflite model.tflite --output model.onnx"),
    (b"\x89HDF\r\n\x1a\n", 0, "an HDF5 file, as Keras writes models and weights", KERAS),
    (b"GGUF", 0, "a GGUF file", "export the original model: optimum-cli export onnx --model NAME folder"),
    (b"PK\x03\x04", 0, "a zip archive, as PyTorch and Keras save models", f"{TORCH}; of Keras: {KERAS}"),
    (b"\x80", 0, "a Python pickle, as older PyTorch and scikit-learn save models",
     f"{TORCH}; of scikit-learn: skl2onnx.to_onnx(model, X[:1])"),
    (b"{", 0, "JSON", "of XGBoost or LightGBM: load it there and convert it with onnxmltools"),
)  # fmt: skip


def recognised(path: Path) -> tuple[str, str] | None:
    """What the file is and how to export from it, if it is a model of another kind. Raises ``OSError``."""
    if path.is_dir():
        saved = (path / "saved_model.pb").is_file()
        how = f"python -m tf2onnx.convert --saved-model {path} --output model.onnx"
        return ("a TensorFlow SavedModel", how) if saved else None
    with path.open("rb") as f:
        head = f.read(64)
    for magic, at, what, how in KINDS:
        if head[at : at + len(magic)] == magic:
            return what, how
    length = int.from_bytes(head[:8], "little")  # of the header, which is JSON
    if head[8:9] == b"{" and 0 < length < 2**32:
        return "a safetensors file: weights without a model", "export the model whose weights these are"
    return None


def is_pointer(path: Path) -> bool:
    """Whether the file is what Git LFS puts in the place of a large one. Raises ``OSError``."""
    with path.open("rb") as f:
        return f.read(len(POINTER)) == POINTER
