"""Operators of the default domain whose definition by others came with a later opset than they did, or that onnxruntime
also writes into models of an older one."""

from __future__ import annotations

from syurmy.compiler.bodies.engine import body
from syurmy.compiler.bodies.norms import layer_norm, rms_norm
from syurmy.compiler.bodies.writer import Writer


@body("DepthToSpace", before=28)
def depth_to_space(w: Writer) -> str:
    x, b = w.input(0), w.attr("blocksize")
    batch, channels, height, width = w.shape(x)
    c = channels // b**2
    if w.attr("mode", "DCR") == "CRD":
        y = w.transposed(w.reshape(x, [batch, c, b, b, height, width]), 0, 1, 4, 2, 5, 3)
    else:
        y = w.transposed(w.reshape(x, [batch, b, b, c, height, width]), 0, 3, 4, 1, 5, 2)
    return w.reshape(y, [batch, c, height * b, width * b])


@body("SpaceToDepth", before=28)
def space_to_depth(w: Writer) -> str:
    x, b = w.input(0), w.attr("blocksize")
    batch, channels, height, width = w.shape(x)
    y = w.reshape(x, [batch, channels, height // b, b, width // b, b])
    if w.attr("mode", "DCR") == "CRD":
        y = w.transposed(y, 0, 1, 3, 5, 2, 4)
    else:
        y = w.transposed(y, 0, 3, 5, 1, 2, 4)
    return w.reshape(y, [batch, channels * b**2, height // b, width // b])


@body("ReduceL1", "ReduceSumSquare", "ReduceLogSum", before=18)
def reduce(w: Writer) -> str:
    """Axes are an attribute before opset 18; those below 0 came with 11."""
    x, axes = w.input(0), w.attr("axes")
    if axes is not None and min(axes) < 0:
        rank = w.rank(x)
        axes = [a % rank for a in axes]
    kind = w.node.op_type
    inner = w("Abs", x) if kind == "ReduceL1" else w("Mul", x, x) if kind == "ReduceSumSquare" else x
    y = w.reduce("ReduceSum", inner, axes, bool(w.attr("keepdims", 1)))
    return w("Log", y) if kind == "ReduceLogSum" else y


@body("LayerNormalization", before=17)
def layer_normalization(w: Writer) -> list[str]:
    """The operator that onnxruntime defines for every opset."""
    x = w.input(0)
    axes = list(range(w.attr("axis", -1), 0))
    if not axes:
        rank = w.rank(x)
        axes = list(range(w.attr("axis", -1) % rank, rank))
    return layer_norm(w, x, w.input(1), w.input(2), w.attr("epsilon", 1e-5), axes)


@body("SimplifiedLayerNormalization")
def simplified_layer_normalization(w: Writer) -> list[str]:
    x = w.input(0)
    axis = w.attr("axis", -1)
    if axis >= 0:
        axis -= w.rank(x)
    return rms_norm(w, x, w.input(1), w.attr("epsilon", 1e-5), list(range(axis, 0)))
