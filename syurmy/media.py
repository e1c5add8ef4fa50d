"""Tables, images and sound as arrays, for the input that they are given for.

A pixel becomes a whole number from 0 to 255 where an input takes integers, and that number over 255 where it takes
reals; a sample of sound its 16-bit integer, or that over 2^15. Nothing is resized, resampled, mixed or cut: what a
model was trained on decides how that is done.
"""

from __future__ import annotations

import csv
import io
import math
import warnings
import wave
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from syurmy import files
from syurmy.isa.errors import InputError

Array = npt.NDArray[Any]
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
SOUNDS = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif")
MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # Pillow's, by number of channels
PLAIN = ("1", "L", "LA", "P", "RGB", "RGBA")  # of 8 bits a channel


def table(path: Path) -> dict[str, Array]:
    """Columns of a ``.csv`` by name, each of one entry per row; without a header they are called 0, 1, ...

    Raises ``ValueError`` for rows that differ in length, and for what is no number.
    """
    text = io.StringIO(files.read_bytes(path).decode("utf-8-sig"), newline="")
    rows = [[cell.strip() for cell in row] for row in csv.reader(text) if any(cell.strip() for cell in row)]
    if not rows:
        raise ValueError("it is empty")
    first = rows[0]
    numbers = all(_is_number(cell.replace("_", "")) for cell in first)  # with '_' refused below, and no header
    header = [str(k) for k in range(len(first))] if numbers else first
    entries = rows[header is first :]
    if len(set(header)) != len(header):
        raise ValueError("two columns have the same name")
    if any(len(row) != len(header) for row in entries) or not entries:
        raise ValueError("rows differ in length" if entries else "it has a header and no rows")
    columns = list(zip(*entries, strict=True))
    return {name: np.asarray([files.number(cell) for cell in c]) for name, c in zip(header, columns, strict=True)}


def _is_number(text: str) -> bool:
    try:
        files.number(text)
    except ValueError:
        return False
    return True


def image(path: Path, name: str, shape: tuple[int, ...], real: bool) -> tuple[Array, str]:
    """The pixels of an image in an input's shape, and what was done with them.

    ``shape``: [H, W], [C, H, W] or [H, W, C] of 1, 3 or 4 channels, with or without a batch axis of 1, or [H * W].
    Raises ``InputError``: X150 without Pillow, F110 for what is no image, I115 where it is not of the input's size.
    """
    try:
        from PIL import Image
    except ModuleNotFoundError as e:
        raise InputError("reading images needs Pillow", code="X150", help="pip install pillow") from e
    try:
        with warnings.catch_warnings():  # of many pixels: they are counted below, before any is unpacked
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(io.BytesIO(files.read_bytes(path)))
        with opened as found:
            if found.mode not in PLAIN:
                raise InputError(f"{path} has pixels of kind {found.mode}", code="F110", help="store 8 bits a channel")
            width, height = found.size
            channels, last = _channels(shape, width, height)
            if channels is None:
                message = f"{path} has {width} x {height} pixels, which are no input '{name}' of shape {list(shape)}"
                raise InputError(message, code="I115", help=_wanted(shape))
            found.load()
            pixels = np.asarray(found.convert(MODES[channels])).reshape(height, width, channels)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as e:
        raise InputError(f"{path} does not hold an image", code="F110", help=str(e).partition("\n")[0]) from e
    out = (pixels if last else pixels.transpose(2, 0, 1)).reshape(shape)
    scale = "0 to 1, black to white" if real else "0 to 255"
    said = f"{path}: {width} x {height} pixels, {('grey', '', 'RGB', 'RGBA')[channels - 1]}, {scale}"
    return (out.astype(np.float32) / np.float32(255) if real else out.astype(np.int64)), said


def _channels(shape: tuple[int, ...], width: int, height: int) -> tuple[int | None, bool]:
    """How many channels an image of this size has as an input of this shape (None: it does not fit), and whether they
    come last."""
    inner = shape[1:] if len(shape) > 1 and shape[0] == 1 else shape
    for s in (shape, inner):
        if s in ((height, width), (height * width,)):
            return 1, True
        if len(s) == 3 and s[0] in MODES and s[1:] == (height, width):
            return s[0], False
        if len(s) == 3 and s[2] in MODES and s[:2] == (height, width):
            return s[2], True
    return None, False


def _wanted(shape: tuple[int, ...]) -> str:
    inner = shape[1:] if len(shape) > 2 and shape[0] == 1 else shape
    if len(inner) == 3 and (inner[0] in MODES or inner[2] in MODES):
        height, width = inner[1:] if inner[0] in MODES else inner[:2]
    elif len(inner) == 2:
        height, width = inner
    else:
        return "that input is no image"
    return f"resize it as the model's training images were, to {width} x {height}"


def sound(path: Path, name: str, shape: tuple[int, ...], real: bool) -> tuple[Array, str]:
    """The samples of a sound in an input's shape ([N], [1, N], [C, N], ...), and what was done with them.

    Raises ``InputError``: X150 without the package soundfile where the format needs it, F110 for what is no sound, I115
    where it is not of the input's length.
    """
    samples, rate = _samples(path)
    frames, channels = samples.shape
    inner = shape[1:] if len(shape) > 1 and shape[0] == 1 else shape
    if math.prod(shape) != samples.size or (channels > 1 and (channels, frames) != inner[-2:] != (frames, channels)):
        message = (
            f"{path} has {frames:,} samples ({frames / rate:.3g} s) in {channels} channel{'s' * (channels > 1)}, which "
            f"are no input '{name}' of shape {list(shape)}"
        )
        raise InputError(message, code="I115", help="cut, mix and resample it as the model was trained")
    if channels > 1 and inner[-2:] == (channels, frames):
        samples = samples.T
    said = f"{path}: {frames:,} samples at {rate:,} Hz, {'-1 to 1' if real else '16-bit integers'}"
    out = samples.reshape(shape)
    return (out.astype(np.float32) / np.float32(2**15) if real else out), said


def _samples(path: Path) -> tuple[Array, int]:
    """``[frames, channels]`` as 16-bit integers (more bits are kept as fractions), and frames per second."""
    if path.suffix.lower() == ".wav":
        try:
            with wave.open(io.BytesIO(files.read_bytes(path))) as f:
                raw, width, channels = f.readframes(f.getnframes()), f.getsampwidth(), f.getnchannels()
                rate = f.getframerate()
            if not rate:
                raise ValueError("it has 0 samples a second")
            return _pcm(raw, width).reshape(-1, channels), rate
        except (EOFError, ValueError) as e:
            raise InputError(f"{path} does not hold a sound", code="F110", help=str(e)) from e
        except wave.Error as e:
            if "unknown format" not in str(e):
                raise InputError(f"{path} does not hold a sound", code="F110", help=str(e)) from e
    try:
        import soundfile
    except (ModuleNotFoundError, OSError) as e:
        message = f"reading {path} needs the package soundfile"
        raise InputError(message, code="X150", help="pip install soundfile, or store it as 16-bit .wav") from e
    try:
        data, rate = soundfile.read(path, dtype="float64", always_2d=True)
    except (RuntimeError, OSError) as e:
        raise InputError(f"{path} does not hold a sound", code="F110", help=str(e).partition("\n")[0]) from e
    scaled = data * 2**15
    return (scaled.astype(np.int64) if (scaled == np.rint(scaled)).all() else scaled), int(rate)


def _pcm(raw: bytes, width: int) -> Array:
    if width == 1:  # unsigned
        return (np.frombuffer(raw, np.uint8).astype(np.int64) - 128) * 256
    if width == 2:
        return np.frombuffer(raw, "<i2").astype(np.int64)
    if width == 3:
        wide = np.zeros((len(raw) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        return wide.view("<i4").reshape(-1) / 2**16
    return np.frombuffer(raw, "<i4") / 2**16
