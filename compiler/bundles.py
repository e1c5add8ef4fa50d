"""``CompiledModel.prove`` for a model that is cut into segments: reals in, a bundle and reals out."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from syurmy import segmented
from syurmy.isa.errors import InputError
from syurmy.parts import Parts

if TYPE_CHECKING:
    from syurmy.compiler.model import CompiledModel, ModelRun
    from syurmy.prover.prove import Progress


def proven(
    model: CompiledModel,
    inputs: Mapping[str, npt.ArrayLike] | npt.ArrayLike,
    progress: Progress | None,
    folder: Path | None,
) -> ModelRun:
    """See ``CompiledModel.prove``. Raises ``InputError`` P185 for a model with committed inputs or outputs, whose
    openings it could not return."""
    from syurmy.compiler.model import ModelRun

    at, tell = model.segmented, progress or (lambda phase, fraction: None)
    if any(i.committed for i in model.program.inputs) or any(o.committed for o in model.program.outputs):
        raise InputError(
            "inputs or outputs of the model are committed",
            code="P185",
            help="prove it with `syurmy-vm prove`, or segment by segment with syurmy.segmented",
        )
    key = segmented.obtain(at, agreed=lambda change: True, tell=tell).key
    entered = model.entered(model.given(inputs))
    rounding = model.rounding(entered)
    watch = model.watch(rounding)
    heard = (watch, *(() if rounding is None else (rounding,)))
    integers = {name: np.asarray(x) for name, x in entered.integers.items()}
    done = segmented.run(at, integers, listeners=heard, tell=tell)
    with (
        tempfile.TemporaryDirectory(prefix="syurmy-") as own,
        Parts(folder or Path(own) / "parts", key.digest(), done.inputs, {}) as parts,
    ):
        made = segmented.prove(at, key, lambda k: at.load(k), done, {}, parts, tell)
        parts.finish()
    found = ModelRun(
        *(model.dequantise(done.outputs), None, entered.saturated + watch.found(model.rows), watch.undecided()),
        *(model.rounded(rounding), model.missed, model.unestimated(rounding)),
        proof=made.bundle,
        statement=made.statement,
    )
    for text in found.warnings:
        warnings.warn(text, stacklevel=3)
    return found
