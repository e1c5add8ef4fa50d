"""From a file to a checked ONNX model with fixed input shapes, simplified, library functions inlined."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import onnx.shape_inference
from google.protobuf.message import DecodeError, Message
from onnx import TensorProto, numpy_helper
from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_model, uses_external_data

from syurmy import inputs
from syurmy.compiler import tabular
from syurmy.compiler.apart import Apart
from syurmy.compiler.bodies import expanded, without_selections
from syurmy.compiler.bodies.engine import typed
from syurmy.compiler.bounds import bounded, inlined
from syurmy.compiler.errors import ModelError, Problem, UnsupportedModel
from syurmy.compiler.foreign import is_pointer, recognised
from syurmy.compiler.held import without_held
from syurmy.compiler.ordered import sort
from syurmy.compiler.simplified import simplified

FREE_INITIALIZERS = 4  # the IR from which on they need not be inputs
OLDEST = 7
FREE = "syurmy.free"  # metadata: names of inputs
LIMIT = 2**31  # bytes of a protobuf message
Shapes = Mapping[str, Sequence[int]]
Change = Callable[[onnx.ModelProto, Shapes | None], tuple[onnx.ModelProto, Shapes | None]]


def load(path: Path, shapes: Shapes | None = None, change: Change | None = None) -> onnx.ModelProto:
    """The model in ``path``, or what ``change`` makes of it, with every input dimension fixed: by ``shapes``, else a
    first or batch dimension is 1.

    Raises ``ModelError`` (see ``compiler.errors`` for the codes).
    """
    model, size = _read(path)
    _external_data(model, path, size)
    return _prepared(*((model, shapes) if change is None else change(model, shapes)))


def size_of(path: Path) -> int:
    """Bytes of a model's file; 0 of what is none."""
    return path.stat().st_size if path.is_file() else 0


def _read(path: Path) -> tuple[onnx.ModelProto, int]:
    """The model without its external data, and the file's size."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ModelError(f"cannot read {path}: it is no regular file", code="F100", help="store the model in a file")
    try:
        other = recognised(path)
        if other is not None:
            raise ModelError(f"{path} is {other[0]}", code="M101", help=other[1])
        size = path.stat().st_size
        if size >= LIMIT:
            raise _too_large(path, size)
        model = onnx.load(str(path), load_external_data=False)
    except OSError as e:
        raise ModelError(f"cannot read {path}: {e.strerror or e}", code="F100") from e
    except DecodeError as e:
        raise ModelError(f"{path} is not an ONNX model, or it is truncated", code="M101") from e
    _check_text(model, str(path))
    if not model.graph.node and not model.graph.output:
        raise ModelError(f"{path} holds no graph: not an ONNX model, or truncated", code="M101")
    return model, size


def _check_text(message: Message, where: str) -> None:
    """Raises ``ModelError`` for a name that is not UTF-8, which protobuf hands on as bytes."""
    for field in message.DESCRIPTOR.fields:  # data of tensors is not asked for: that would copy it
        if field.type not in (field.TYPE_STRING, field.TYPE_MESSAGE):
            continue
        if field.is_repeated:
            several = getattr(message, field.name)
        else:
            several = [getattr(message, field.name)] if message.HasField(field.name) else []
        if field.type == field.TYPE_STRING and any(isinstance(v, bytes) for v in several):
            raise ModelError(f"{where} holds a name that is no text (UTF-8): damaged, or not ONNX", code="M101")
        if field.type == field.TYPE_MESSAGE:
            for v in several:
                _check_text(v, where)


def input_ports(path: Path, shapes: Shapes | None = None) -> dict[str, inputs.Port]:
    """The inputs of the model in ``path`` by name, those with a default left out. Their shapes are those of ``shapes``,
    else of the file with a first length of 1 where it has none, else unknown. Raises ``ModelError``."""
    model, _ = _read(path)
    return ports_of(model, shapes)


def ports_of(model: onnx.ModelProto, shapes: Shapes | None = None) -> dict[str, inputs.Port]:
    """``input_ports`` of a model in memory."""
    initialised = {t.name for t in model.graph.initializer}
    return {i.name: _port(i, shapes or {}) for i in model.graph.input if i.name not in initialised}


def _port(i: onnx.ValueInfoProto, shapes: Shapes) -> inputs.Port:
    t = i.type.tensor_type
    dims = [d.dim_value for d in t.shape.dim]
    if dims and dims[0] < 1:
        dims[0] = 1
    shape = tuple(shapes.get(i.name, dims)) if t.HasField("shape") or i.name in shapes else None
    real = t.elem_type in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
    return inputs.Port(i.name, shape if shape is None or all(d > 0 for d in shape) else None, real)


def prepare(model: onnx.ModelProto, shapes: Shapes | None = None) -> onnx.ModelProto:
    """``load`` for a model in memory; the argument is not changed."""
    _check_text(model, "the model")
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return _prepared(copy, shapes)


def _prepared(model: onnx.ModelProto, shapes: Shapes | None) -> onnx.ModelProto:
    """``prepare`` of a model that is nobody else's."""
    tabular.normalise(model)
    opset(model)
    sort(model.graph)
    _check_weights(model.graph)
    _fix_shapes(model, shapes or {})
    model = inlined(model)
    bounded(model)
    weights = Apart(without_selections(expanded(model)))
    light = weights.light
    try:
        with contextlib.suppress(onnx.shape_inference.InferenceError):  # outputs may come without a shape
            light = typed(light)
        onnx.checker.check_model(_shaped(light))
    except onnx.checker.ValidationError as e:
        raise ModelError(f"the model is not valid: {str(e).splitlines()[0]}", code="M108") from e
    bounded(light)
    light = weights.to_fold(without_held(light))
    return weights.back(simplified(light, weights.held()))


def _shaped(model: onnx.ModelProto) -> onnx.ModelProto:
    """For the checker, which asks for types and shapes that inference does not know of every operator, and until IR 4
    for initializers that are inputs, too."""
    if all(o.type.tensor_type.HasField("shape") for o in model.graph.output) and model.ir_version >= FREE_INITIALIZERS:
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.ir_version = max(copy.ir_version, FREE_INITIALIZERS)
    for o in copy.graph.output:
        if o.type.WhichOneof("value") in (None, "tensor_type"):
            t = o.type.tensor_type
            t.elem_type = t.elem_type or TensorProto.FLOAT
            t.shape.SetInParent()
    return copy


def opset(model: onnx.ModelProto) -> int:
    """Version of the default domain's operators; refuses versions that are too old or unknown."""
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    known = onnx.defs.onnx_opset_version()
    if len(versions) == 1 and versions[0] < OLDEST and _unchanged(model.graph, versions[0]):
        return int(versions[0])
    if len(versions) != 1 or not OLDEST <= versions[0] <= known:
        found = ", ".join(map(str, versions)) or "none"
        raise ModelError(
            f"the model's opset is {found}, supported are {OLDEST} to {known}",
            code="M104",
            help="export it again with another opset_version, or convert it with onnx.version_converter",
        )
    return int(versions[0])


def _unchanged(graph: onnx.GraphProto, version: int) -> bool:
    """Whether every operator is defined in opset ``version`` as in the oldest that is supported."""
    try:
        pairs = [
            [onnx.defs.get_schema(n.op_type, v, n.domain).since_version for v in (version, OLDEST)] for n in graph.node
        ]
    except onnx.defs.SchemaError:
        return False
    return all(a == b for a, b in pairs)


def refuse_unknown(model: onnx.ModelProto, lowered: Callable[[str, str], bool]) -> None:
    """Raises ``UnsupportedModel`` for the operators of which neither ONNX nor the compiler knows what they compute."""
    fixed = {t.name for t in model.graph.initializer}
    problems = []
    for n in model.graph.node:
        if not lowered(n.domain, n.op_type) and not onnx.defs.has(n.op_type, domain=n.domain):
            if n.domain == "com.microsoft" and fixed.issuperset(i for i in n.input if i):
                continue  # onnxruntime computes it once
            problems.append(_unknown(n))
    if problems:
        raise UnsupportedModel(problems)


def _unknown(n: onnx.NodeProto) -> Problem:
    name = n.name or next(iter(n.output), n.op_type)
    op = f"{n.domain}.{n.op_type}" if n.domain else n.op_type
    if "aten" in n.domain or n.op_type == "ATen":
        inner = [a.s.decode(errors="replace") for a in n.attribute if a.name == "operator"]
        reason = f"PyTorch's exporter had no ONNX for {inner[0] if inner else n.op_type}"
        return Problem(name, op, reason, "an export with a newer opset_version, or with dynamo=True")
    if n.domain == "com.microsoft.nchwc":
        need = "a file saved at ORT_ENABLE_EXTENDED, or with the NchwcTransformer disabled"
        return Problem(name, op, "onnxruntime laid the file out for one processor", need)
    if n.domain == "com.microsoft":
        return Problem(name, op, "an operator of onnxruntime's own", "the file before onnxruntime optimised it")
    return Problem(name, op, "an operator that ONNX does not define", "one that it does, or a function in the model")


def inline_functions(model: onnx.ModelProto, lowered: Callable[[str, str], bool]) -> onnx.ModelProto:
    """The model's own functions, and operators without a lowering that ONNX defines by others, replaced by bodies."""
    model = inlined(model)
    versions = {o.domain: o.version for o in model.opset_import}
    for _ in range(4):  # bodies may use functions again
        model = expanded(model)
        ids = {
            (n.domain, n.op_type)
            for n in model.graph.node
            if not lowered(n.domain, n.op_type) and _has_body(n.op_type, n.domain, versions.get(n.domain, 1))
        }
        if not ids:
            return model
        known = typed(_initializers_typed(model))
        try:
            written = onnx.inliner.inline_selected_functions(known, sorted(ids), inline_schema_functions=True)
        except RuntimeError:  # the node is reported as not lowered
            return model
        nameless = [v for v in written.graph.value_info if not v.name]
        for v in nameless:
            written.graph.value_info.remove(v)
        if [n.op_type for n in written.graph.node] == [n.op_type for n in model.graph.node]:
            return model
        model = written
    return model


def _initializers_typed(model: onnx.ModelProto) -> onnx.ModelProto:
    """With type and shape of each initializer among the graph's values, where the inliner looks for them; and with some
    type for '', an absent input, of which it asks too."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    known = {v.name for v in (*model.graph.value_info, *model.graph.input)}
    copy.graph.value_info.extend(
        onnx.helper.make_tensor_value_info(t.name, t.data_type, list(t.dims))
        for t in model.graph.initializer
        if t.name not in known
    )
    copy.graph.value_info.append(onnx.helper.make_tensor_value_info("", onnx.TensorProto.FLOAT, []))
    return copy


def _has_body(op: str, domain: str, version: int) -> bool:
    try:
        schema = onnx.defs.get_schema(op, version, domain)
    except onnx.defs.SchemaError:
        return False
    return any(getattr(schema, kind, False) for kind in ("has_function", "has_context_dependent_function"))


def _too_large(path: Path, size: int) -> ModelError:
    return ModelError(f"{path} has {size / 2**30:.1f} GiB, models up to 2 GiB can be compiled", code="M106")


def _external_data(model: onnx.ModelProto, path: Path, size: int) -> None:
    files: set[str] = set()
    for t in model.graph.initializer:
        if uses_external_data(t):
            files.add(ExternalDataInfo(t).location)
    missing = sorted(f for f in files if not (path.parent / f).is_file())
    if missing:
        raise ModelError(
            f"external data of {path} is missing: {', '.join(missing)}",
            code="M102",
            help=f"put the file beside the model, in {path.parent}",
        )
    pointers = sorted(f for f in files if is_pointer(path.parent / f))
    if pointers:
        what = f"external data of {path} is a Git LFS pointer, not the file itself: {', '.join(pointers)}"
        raise ModelError(what, code="M102", help="fetch it with git lfs pull")
    total = size + sum((path.parent / f).stat().st_size for f in files)
    if total >= LIMIT:
        raise _too_large(path, total)
    try:
        load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as e:
        raise ModelError(f"external data of {path} cannot be read: {e}", code="M102") from e


def _check_weights(graph: onnx.GraphProto) -> None:
    for t in graph.initializer:
        try:
            values = numpy_helper.to_array(t)
        except Exception as e:  # the parser has errors of its own for every kind of damage
            raise ModelError(f"weight '{t.name}' cannot be read: {e}", code="M101") from e
        if values.dtype.kind == "f" and np.isnan(values).any():
            at = np.argwhere(np.isnan(values))[0].tolist()
            raise ModelError(f"weight '{t.name}' is NaN at {at}", code="M105", help="the training diverged")


def free_first(model: onnx.ModelProto) -> list[str]:
    """The inputs whose first axis was free, and was taken for a batch of one."""
    return next((list(json.loads(p.value)) for p in model.metadata_props if p.key == FREE), [])


def _fix_shapes(model: onnx.ModelProto, shapes: Shapes) -> None:
    graph = model.graph
    initialised = {t.name for t in graph.initializer}
    inputs = [i for i in graph.input if i.name not in initialised]
    unknown = sorted(set(shapes) - {i.name for i in inputs})
    if unknown:
        listed = ", ".join(i.name for i in inputs)
        raise ModelError(f"the model has no input '{unknown[0]}'", code="M107", help=f"its inputs are {listed}")
    open_inputs, wanted, free = [], [], []
    for i in inputs:
        if not i.type.HasField("tensor_type"):
            raise ModelError(f"input '{i.name}' is not a tensor", code="M107")
        t = i.type.tensor_type
        if i.name in shapes:
            given = [int(d) for d in shapes[i.name]]
            if t.HasField("shape"):
                dims = [max(d.dim_value, 0) for d in t.shape.dim]  # 0: not fixed (some exporters write -1)
                if len(dims) != len(given) or any(d not in (0, g) for d, g in zip(dims, given, strict=True)):
                    found = [d or "?" for d in dims]
                    raise ModelError(
                        f"input '{i.name}' is {found}, the shape given is {given}",
                        code="M107",
                        help="leave it out; only lengths that are free can be given",
                    )
            t.shape.CopyFrom(onnx.TensorShapeProto(dim=[onnx.TensorShapeProto.Dimension(dim_value=d) for d in given]))
        elif not t.HasField("shape"):
            open_inputs.append(i.name)
            wanted.append(f"--shape {i.name}=...")
            continue
        for k, d in enumerate(t.shape.dim):
            fixed = d.HasField("dim_value") and d.dim_value > 0
            if not fixed and (k == 0 or "batch" in d.dim_param.lower()):
                free += [i.name] if k == 0 else []
                d.dim_value = 1
        if any(d.dim_value < 1 for d in t.shape.dim):
            open_inputs.append(i.name)
            wanted.append(
                f"--shape {i.name}={','.join(str(d.dim_value) if d.dim_value > 0 else '?' for d in t.shape.dim)}"
            )
    if free:
        kept = {p.key: p.value for p in model.metadata_props}
        onnx.helper.set_model_props(model, {**kept, FREE: json.dumps(free)})
    if open_inputs:
        raise ModelError(
            f"the shape of {', '.join(open_inputs)} is not fixed, or 0 along an axis",
            code="M107",
            help=f"give {' '.join(wanted)}",
        )
