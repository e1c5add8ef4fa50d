"""Models as scikit-learn, XGBoost and LightGBM converters write them, made into graphs of tensors of numbers.

Three things are undone: domains that are imported twice (or the default one not at all), labels that are strings (a
label becomes its number in a table, the operators that make it give the number), and ZipMap (the map from labels to
scores becomes the tensor of scores, in the order of the map's keys). The tables travel in the model's metadata, under
``LABELS``, and end up in the record of the compiled model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from syurmy.compiler.distances import without_scans
from syurmy.compiler.errors import Problem, UnsupportedModel

DOMAIN = "ai.onnx.ml"
LABELS = "syurmy.labels"
DEFAULT_OPSET = 15  # where only operators of other domains occur
CLASSIFIERS = {
    "TreeEnsembleClassifier": "classlabels_int64s",
    "LinearClassifier": "classlabels_ints",
    "SVMClassifier": "classlabels_ints",
}
PASSING = {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Gather", "ArrayFeatureExtractor", "Transpose"}
"""Operators that pass strings of their first input on."""


def normalise(model: onnx.ModelProto) -> None:
    """Rewrites ``model`` in place. Raises ``UnsupportedModel`` where a string is more than a label."""
    _imports(model)
    without_scans(model.graph, next((o.version for o in model.opset_import if o.domain == ""), 0))
    labels: dict[str, list[str]] = {}
    for n in model.graph.node:
        if n.domain == DOMAIN and n.op_type == "ZipMap":
            _zip_map(model.graph, n, labels)
    _strings(model.graph, labels)
    kept = {o.name: labels[o.name] for o in model.graph.output if o.name in labels}
    if kept:
        helper.set_model_props(model, {**{p.key: p.value for p in model.metadata_props}, LABELS: json.dumps(kept)})


def labels_of(model: onnx.ModelProto) -> dict[str, list[str]]:
    """Names of outputs, and what their numbers (of a ZipMap: their columns) stand for."""
    return next((dict(json.loads(p.value)) for p in model.metadata_props if p.key == LABELS), {})


def _imports(model: onnx.ModelProto) -> None:
    """Every domain once, at the largest version that is imported; the default domain always."""
    versions: dict[str, int] = {}
    for o in model.opset_import:
        domain = "" if o.domain == "ai.onnx" else o.domain
        versions[domain] = max(versions.get(domain, 0), o.version)
    if "" not in versions and not any(n.domain in ("", "ai.onnx") for n in model.graph.node):
        versions[""] = DEFAULT_OPSET
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(d, v) for d, v in versions.items())


def _attribute(n: onnx.NodeProto, name: str) -> onnx.AttributeProto | None:
    return next((a for a in n.attribute if a.name == name), None)


def _texts(n: onnx.NodeProto, name: str) -> list[str]:
    a = _attribute(n, name)
    return [s.decode("utf-8", "replace") for s in a.strings] if a else []


def _replace(n: onnx.NodeProto, old: str, new: str, values: Sequence[int]) -> None:
    kept = [a for a in n.attribute if a.name not in (old, new)]
    del n.attribute[:]
    n.attribute.extend([*kept, helper.make_attribute(new, list(values))])


def _zip_map(graph: onnx.GraphProto, n: onnx.NodeProto, labels: dict[str, list[str]]) -> None:
    """The map's values, keys in order, are the node's input."""
    keys = _texts(n, "classlabels_strings")
    numbers = _attribute(n, "classlabels_int64s")
    labels[n.output[0]] = keys or [str(k) for k in (numbers.ints if numbers else ())]
    n.op_type, n.domain = "Identity", ""
    del n.attribute[:]
    for o in graph.output:
        if o.name == n.output[0]:
            o.CopyFrom(helper.make_tensor_value_info(o.name, TensorProto.FLOAT, [None, len(labels[o.name])]))


def _strings(graph: onnx.GraphProto, labels: dict[str, list[str]]) -> None:
    """Labels that are strings become their numbers, from where they are made to where they leave the model."""
    tables: dict[str, list[str]] = {}
    for t in graph.initializer:
        if t.data_type == TensorProto.STRING:
            texts = (
                [s.decode("utf-8", "replace") for s in numpy_helper.to_array(t).reshape(-1).tolist()]
                if any(isinstance(s, bytes) for s in numpy_helper.to_array(t).reshape(-1).tolist())
                else [str(s) for s in numpy_helper.to_array(t).reshape(-1).tolist()]
            )
            tables[t.name] = sorted(set(texts), key=texts.index)
            numbers = np.array([tables[t.name].index(s) for s in texts], np.int64).reshape(list(t.dims))
            t.CopyFrom(numpy_helper.from_array(numbers, t.name))
    for n in graph.node:
        if n.domain == DOMAIN and n.op_type in CLASSIFIERS and (texts := _texts(n, "classlabels_strings")):
            _replace(n, "classlabels_strings", CLASSIFIERS[n.op_type], range(len(texts)))
            tables[n.output[0]] = texts
        elif n.domain == DOMAIN and n.op_type == "LabelEncoder" and (texts := _texts(n, "values_strings")):
            default = _attribute(n, "default_string")
            table = [*dict.fromkeys([*texts, default.s.decode("utf-8", "replace") if default else "_Unused"])]
            _replace(n, "values_strings", "values_int64s", [table.index(s) for s in texts])
            _replace(n, "default_string", "default_int64", ())
            n.attribute.pop()
            n.attribute.append(helper.make_attribute("default_int64", len(table) - 1))
            tables[n.output[0]] = table
        elif n.input and n.input[0] in tables:
            if n.op_type not in PASSING and not _is_cast(n, TensorProto.STRING):
                raise UnsupportedModel([Problem(n.name or n.op_type, n.op_type, "it computes with strings", "numbers")])
            if n.op_type == "Cast":
                n.op_type = "Identity"
                del n.attribute[:]
            tables[n.output[0]] = tables[n.input[0]]
    for v in (*graph.output, *graph.value_info):
        if v.name in tables and v.type.tensor_type.elem_type == TensorProto.STRING:
            v.type.tensor_type.elem_type = TensorProto.INT64
    labels.update({o.name: tables[o.name] for o in graph.output if o.name in tables})


def _is_cast(n: onnx.NodeProto, to: int) -> bool:
    a = _attribute(n, "to")
    return n.op_type == "Cast" and a is not None and a.i == to
