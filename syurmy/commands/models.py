"""Reals in and out of compiled models, for the commands that run and compile them.

A program ``DIR/model.tasm`` with ``DIR/model.json`` beside it is a compiled model: its inputs are read and its outputs
shown as reals, by the recorded scales.
"""

from __future__ import annotations

import hashlib
import json as json_format
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from syurmy import display, files
from syurmy.compiler import CompiledModel, Options, compile_onnx, needed
from syurmy.compiler.model import EXAMPLE, PROGRAM, RECORD, default_folder
from syurmy.compiler.saturation import Saturation, told
from syurmy.isa.arrays import Array
from syurmy.isa.program import Program

GIVEN_MARGIN = 2.0  # room above a single input that is also the calibration


def located(path: Path, options: Sequence[str] | None) -> Path:
    """The program to run: ``path`` itself, or for ``MODEL.onnx`` what it compiles to, in the folder ``MODEL``.

    A folder compiled from the same file is used as it is. Otherwise the inputs given calibrate the model, with room
    above them; without any, random ones do.
    """
    if path.suffix != ".onnx":
        return path
    folder = default_folder(path)
    if _recorded_source(folder) != hashlib.sha256(files.read_bytes(path)).hexdigest():
        with display.Working("compile"), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            chosen = Options()
            if options:
                names = {name: name for name in needed().load.input_names(path)}
                chosen = Options(calibrate=files.read_named(options, names), margin=GIVEN_MARGIN)
            compile_onnx(path, folder, chosen)
            if options:
                warnings.warn("scales come from the input given: compile with --calibrate for others", stacklevel=1)
        notes(caught)
    return folder / PROGRAM


def recorded(path: Path, program: Program, raw: bool) -> CompiledModel | None:
    """What the program's inputs and outputs stand for; None if it is not a compiled model, or with ``raw``."""
    if raw or path.name != PROGRAM or not (path.parent / RECORD).exists():
        return None
    return CompiledModel.read(path.parent, program)


def inputs(
    model: CompiledModel | None, program: Program, options: Sequence[str], beside: Path, *batch: bool
) -> tuple[dict[str, Array], tuple[Saturation, ...]]:
    """Integers for the program from the files that ``--input`` names, by the program's names or the model's, and what
    was beyond their range. Without any option a compiled model runs on its example."""
    if model is None:
        return files.read_inputs(program, options, beside, *batch), ()
    integers, cut = model.entered(given(model, options))
    return dict(integers), cut


def given(model: CompiledModel, options: Sequence[str]) -> dict[str, Array]:
    """Reals for a compiled model by its own names; without any option its example."""
    out = dict(files.read_named(options or [str(model.folder / EXAMPLE)] * bool(model.inputs), model.names))
    for p in model.inputs:
        x = out.get(p.model_name)
        if x is not None and x.ndim == 1 and x.size == np.prod(p.shape, dtype=np.int64):
            out[p.model_name] = x.reshape(p.shape)  # a list of numbers has no shape of its own
    return out


def tell(cut: Sequence[Saturation]) -> None:
    """Warns of values beyond the calibrated range."""
    if cut:
        print(f"warning: {told(cut)}", file=sys.stderr)


def outputs(model: CompiledModel | None, values: Mapping[str, Array]) -> dict[str, Array]:
    """The model's outputs as reals by its names; without a model the program's integers."""
    return dict(values) if model is None else model.dequantise(values)


# ---- parts -----------------------------------------------------------------------------------------------------------


def notes(caught: Sequence[warnings.WarningMessage]) -> list[str]:
    notes = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    for note in notes:
        print(f"warning: {note}", file=sys.stderr)
    return notes


def _recorded_source(folder: Path) -> str | None:
    try:
        record = json_format.loads((folder / RECORD).read_text())
        return str(record["source"]) if (folder / PROGRAM).exists() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
