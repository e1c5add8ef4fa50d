"""ONNX's node tests in the form that they have at an older opset.

ONNX keeps its node tests in their newest form only. A case is one of an older opset too if its operator is defined
there, what became an input since is an attribute again (where the case holds it as a constant), nothing new is used,
and onnxruntime, or else the reference evaluator, makes of the older form what the case expects.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from syurmy.compiler.bodies import has_body
from syurmy.compiler.lower import is_lowered

OPSETS = (9, 11, 13, 15, 17, 18, 20)
RENAMED = {"constant_value": "value", "K": "k"}  # inputs that had another name as attributes


def versions(model: onnx.ModelProto, opset: int | None = None) -> tuple[tuple[str, int], ...] | None:
    """Operators with the versions that define them at an opset; None if one is not defined there."""
    own = {o.domain: o.version for o in model.opset_import}
    try:
        return tuple(
            (
                n.op_type,
                onnx.defs.get_schema(n.op_type, own[n.domain] if opset is None else opset, n.domain).since_version,
            )
            for n in model.graph.node
        )
    except (onnx.defs.SchemaError, KeyError):
        return None


def by_body(model: onnx.ModelProto) -> bool:
    """Whether an operator is replaced by a body, which is another at every opset."""
    return any(has_body(n.domain, n.op_type) or not is_lowered(n.domain, n.op_type) for n in model.graph.node)


def downgraded(
    model: onnx.ModelProto, inputs: dict[str, Any], outputs: dict[str, Any], opset: int
) -> onnx.ModelProto | None:
    """The case's model at an older opset, or None if there is none that gives the expected outputs."""
    newest = versions(model)
    older = versions(model, opset)
    if newest is None or older is None or any(n.domain for n in model.graph.node):
        return None
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.ir_version = min(copy.ir_version, 8)
    del copy.opset_import[:]
    copy.opset_import.append(helper.make_opsetid("", opset))
    constants = {t.name: t for t in copy.graph.initializer}
    for n, (op, version), (_, before) in zip(copy.graph.node, newest, older, strict=True):
        own, there = (onnx.defs.get_schema(op, v) for v in (version, before))
        if version != before and not _older_form(n, own, there, constants):
            return None
    read = {i for n in copy.graph.node for i in n.input} | {o.name for o in copy.graph.output}
    for name in set(constants) - read:
        copy.graph.initializer.remove(constants[name])
    return copy if _gives(copy, inputs, outputs) else None


def _older_form(n: NodeProto, own: Any, schema: Any, constants: dict[str, onnx.TensorProto]) -> bool:
    """Changes the node from its own schema to what the older one defines; False if that cannot say it."""
    formal = [i.name for i in schema.inputs]
    variadic = bool(formal) and schema.inputs[-1].option == onnx.defs.OpSchema.FormalParameterOption.Variadic
    names = [i.name for i in own.inputs]
    kept = []
    for k, name in enumerate(n.input):
        if variadic or k < len(formal):
            kept.append(name)
            continue
        attribute = RENAMED.get(names[k], names[k])
        if not name:
            continue
        if attribute not in schema.attributes or name not in constants:
            return False
        value = numpy_helper.to_array(constants[name])
        if not value.size:
            continue
        whole = schema.attributes[attribute].type in (
            onnx.defs.OpSchema.AttrType.INT,
            onnx.defs.OpSchema.AttrType.FLOAT,
        )
        n.attribute.append(helper.make_attribute(attribute, value.reshape(-1)[0].item() if whole else value.tolist()))
    del n.input[:]
    n.input.extend(kept)
    while n.input and not n.input[-1]:
        n.input.pop()
    for a in list(n.attribute):
        if a.name not in schema.attributes:
            default = own.attributes[a.name].default_value
            if default.SerializeToString() and helper.get_attribute_value(a) != helper.get_attribute_value(default):
                return False
            n.attribute.remove(a)
    return len(n.output) <= len(schema.outputs) and len(n.input) >= schema.min_input


def _gives(model: onnx.ModelProto, inputs: dict[str, Any], outputs: dict[str, Any]) -> bool:
    try:
        onnx.checker.check_model(onnx.shape_inference.infer_shapes(model, check_type=True), full_check=False)
    except Exception:  # not a model of that opset
        return False
    for evaluated in (_runtime, _reference):
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                found = evaluated(model, inputs)
        except Exception:  # not implemented there
            continue
        return all(map(_equal, found, outputs.values()))
    return False


def _equal(y: Any, want: Any) -> bool:
    """Up to the rounding of floats."""
    if np.shape(y) != np.shape(want):
        return False
    if np.asarray(want).dtype.kind in "OSU":
        return bool(np.array_equal(y, want))
    return bool(np.allclose(np.asarray(y, np.float64), np.asarray(want, np.float64), 1e-3, 1e-4, equal_nan=True))


def _runtime(model: onnx.ModelProto, inputs: dict[str, Any]) -> Sequence[Any]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, inputs))


def _reference(model: onnx.ModelProto, inputs: dict[str, Any]) -> Sequence[Any]:
    from onnx.reference import ReferenceEvaluator

    return list(ReferenceEvaluator(model).run(None, inputs))
