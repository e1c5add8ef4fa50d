"""``CompiledModel.prove`` for a model that is cut into segments: reals in, a bundle and reals out. ``prove_text`` for
every model that generates."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import syurmy
from syurmy import chained, segmented
from syurmy.isa.errors import InputError
from syurmy.parts import Parts
from syurmy.prover.verifier.bundle import BundleVerifier

if TYPE_CHECKING:
    from syurmy.compiler.generation import Generated
    from syurmy.compiler.model import CompiledModel, ModelRun
    from syurmy.isa.source import Source
    from syurmy.prover.protocol.bundle import BundleCertificate, BundleKey
    from syurmy.prover.protocol.certificate import Certificate
    from syurmy.prover.prove import Progress


def proven(
    model: CompiledModel,
    inputs: Mapping[str, npt.ArrayLike] | npt.ArrayLike,
    progress: Progress | None,
    folder: Path | None,
    certificate: Certificate | BundleCertificate | Source | None = None,
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
    verifier = _verifier(key, certificate)
    entered = model.entered(model.given(inputs))
    rounding = model.rounding(entered)
    watch = model.watch(rounding)
    heard = (watch, *(() if rounding is None else (rounding,)))
    integers = {name: np.asarray(x) for name, x in entered.integers.items()}
    done = segmented.run(at, integers, listeners=heard, tell=tell)
    with _parts(folder, key.digest(), done.inputs) as parts:
        made = segmented.prove(at, key, at.load, done, {}, parts, tell, verifier=verifier)
    found = ModelRun(
        *(model.dequantise(done.outputs), None, entered.saturated + watch.found(model.rows), watch.undecided()),
        *(model.rounded(rounding), model.missed, model.unestimated(rounding)),
        proof=made.bundle,
        statement=made.statement,
    )
    for text in found.warnings:
        warnings.warn(text, stacklevel=3)
    return found


def proven_text(
    model: CompiledModel,
    text: Generated,
    progress: Progress | None,
    folder: Path | None,
    certificate: Certificate | BundleCertificate | Source | None = None,
) -> Generated:
    """See ``CompiledModel.prove_text``."""
    if not model.cuts and model.chained is None:
        proving, verifying = model.keys
        one: Any = certificate  # one of bundles is refused by what reads it
        proof = syurmy.prove(proving, text.trace, progress=progress, certificate=one)
        return replace(text, proof=proof, statement=syurmy.verify(verifying, proof, certificate=one))
    at, tell = model.segmented, progress or (lambda phase, fraction: None)
    key = segmented.obtain(at, agreed=lambda change: True, tell=tell).key
    verifier = _verifier(key, certificate)
    runs = [segmented.run(at, inputs) for inputs in text.steps or (text.trace.inputs,)]
    named = {f"{k} {name}": x for k, run in enumerate(runs) for name, x in run.inputs.items()}
    with _parts(folder, key.digest(), named) as parts:
        if at.steps is not None:
            made = chained.prove_steps(at, key, at.load, runs, parts, tell, verifier=verifier)
        else:
            made = segmented.prove(at, key, at.load, runs[0], {}, parts, tell, verifier=verifier)
    return replace(text, proof=made.bundle, statement=made.statement)


def certified(model: CompiledModel, progress: Progress | None, folder: Path | None) -> BundleCertificate:
    """See ``CompiledModel.certify``."""
    at, tell = model.segmented, progress or (lambda phase, fraction: None)
    key = segmented.obtain(at, agreed=lambda change: True, tell=tell).key
    with _parts(folder, key.digest(), {}) as parts:
        return segmented.certify(key, at.load, parts, tell).certificate


def _verifier(key: BundleKey, certificate: Certificate | BundleCertificate | Source | None) -> BundleVerifier:
    given: Any = certificate  # that of a program is refused by what reads it
    return BundleVerifier(key, certificate=given)


@contextmanager
def _parts(folder: Path | None, key: bytes, inputs: Mapping[str, npt.ArrayLike]) -> Iterator[Parts]:
    """Where finished proofs are kept, which goes when they are a bundle."""
    with (
        tempfile.TemporaryDirectory(prefix="syurmy-") as own,
        Parts(folder or Path(own) / "parts", key, inputs, {}) as parts,
    ):
        yield parts
        parts.finish()
