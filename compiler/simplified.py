"""The model folded and fused by onnxslim, where what comes out computes the same: that is looked at.

Its patterns are not all right: a product with one factor for each column of a picture becomes one for each channel
where there are as many of both, and what is left out is not always idle (a Dropout that is in training). So both models
run on random inputs; later steps do not depend on its work, and take the model as it is where that is not alike.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from syurmy.compiler import tabular
from syurmy.compiler.apart import Apart
from syurmy.compiler.ordered import sort

Array = npt.NDArray[Any]
UNSURE = ["FusionConvMul", "FusionConvTransposeMul", "FusionGemmMul", "FusionPadConv"]  # left out of a second attempt
ALIKE, COARSE = 1e-3, 2e-2  # of the peak; of 16-bit reals


def simplified(model: onnx.ModelProto, weights: Mapping[str, Array]) -> onnx.ModelProto:
    """``weights``: those that the model has as inputs meanwhile. Not with operators of ai.onnx.ml: ONNX infers shapes
    for some of them that they do not have, and views that seem idle are dropped."""
    if any(n.domain == tabular.DOMAIN for n in model.graph.node):
        return model
    for skipped in ([], UNSURE):
        slim = _slim(model, skipped)
        if slim is None:
            return model
        if _alike(model, slim, weights):
            return slim
    return model


def _slim(model: onnx.ModelProto, skipped: list[str]) -> onnx.ModelProto | None:
    """None where it fails, or where names mean others."""
    import onnxslim

    given = model
    if any(a.HasField("g") or a.graphs for n in model.graph.node for a in n.attribute):
        given = onnx.ModelProto()  # it renames tensors of bodies in the model that it is given
        given.CopyFrom(model)
    level = logging.root.manager.disable
    try:
        logging.disable(logging.CRITICAL)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            slim = onnxslim.slim(given, skip_fusion_patterns=skipped)
        onnx.checker.check_model(Apart(slim).light)
        sort(slim.graph)
    except Exception:  # a simplifier that stumbles over a valid model must not stop the compiler
        return None
    finally:
        logging.disable(level)
    same = [i.name for i in slim.graph.input] == [i.name for i in model.graph.input] and [
        o.name for o in slim.graph.output
    ] == [o.name for o in model.graph.output]
    places = {o: (n.op_type, k) for n in model.graph.node for k, o in enumerate(n.output) if o}
    moved = (  # where an output folds onnxslim can drop it, so that the ones behind it mean others
        places.get(o, (n.op_type, k)) != (n.op_type, k)
        for n in slim.graph.node
        for k, o in enumerate(n.output)
        if o and places.get(o, ("", 0))[0] == n.op_type
    )
    return slim if same and not any(moved) else None


def _alike(model: onnx.ModelProto, slim: onnx.ModelProto, weights: Mapping[str, Array]) -> bool:
    """Whether both give the same on random inputs; not where the model does not run on any."""
    from syurmy.compiler.calibration import random_samples
    from syurmy.compiler.graph import Runner

    names = [o.name for o in model.graph.output]
    try:
        samples = random_samples(model, 1, weights)
        runners = Runner(model, names=names), Runner(slim, names=names)
        for sample in samples:
            both = [run(sample) for run in runners]
            if not all(_close(*(np.asarray(found[name]) for found in both)) for name in names):
                return False
    except Exception:  # of any operator, on inputs that nobody has looked at
        return False
    return True


def _close(a: Array, b: Array) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    finite = np.abs(a[np.isfinite(a)]).astype(np.float64)
    most = (ALIKE if a.dtype.itemsize > 2 else COARSE) * float(finite.max(initial=0.0))
    return bool(np.allclose(a.astype(np.float64), b.astype(np.float64), rtol=0, atol=most, equal_nan=True))
