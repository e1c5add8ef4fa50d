"""The graph that lowerings see: nodes in order, every tensor with its concrete shape, constants folded.

Shapes, dtypes and ranges are *observed*: the float model runs on samples, and every tensor on the way is kept. A tensor
is constant if it depends on no input's values (weights, and the shape arithmetic of exporters, folds away whatever the
opset). Which implementation runs the model (onnxruntime, else the ONNX reference evaluator) changes no shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from syurmy.compiler.apart import Apart, without_inputs
from syurmy.compiler.bodies.engine import captured
from syurmy.compiler.errors import ModelError, Problem, UnsupportedModel
from syurmy.compiler.kept import Kept, Store
from syurmy.compiler.load import free_first
from syurmy.compiler.sizes import RANDOM
from syurmy.compiler.tabular import labels_of
from syurmy.isa.arrays import Array

FUSED = "fused"  # the domain of operators that only ``compiler.passes`` make
# what may read NaN and have none in its outputs without deciding by it: it is replaced, or left out
GUARDS = {
    "Where", "IsNaN", "Imputer", "Slice", "Gather", "GatherND", "GatherElements", "Split", "Shape", "Size", "If",
    "Compress",
}  # fmt: skip
VIEWS = {"Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}  # that move entries of weights
WITHOUT_WEIGHTS = {"BatchNormalization", "InstanceNormalization", "GroupNormalization"}  # that stay integers
_FIXED = "a mask or weights of fixed shape in its place"
DYNAMIC = {  # the result's shape depends on values
    "NonZero": _FIXED, "Unique": _FIXED, "Compress": f"a constant condition, or {_FIXED}",
    "NonMaxSuppression": "a model that ends with its boxes and scores; select among them outside",
}  # fmt: skip


@dataclass(frozen=True)
class Node:
    """One operator. ``version`` is the opset version that defined it; absent optional inputs are ''."""

    name: str
    op: str
    domain: str
    version: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any]

    def attr(self, name: str, default: Any = None) -> Any:
        return self.attrs.get(name, default)


@dataclass(frozen=True)
class Value:
    """A tensor of the float model: dtype, shape and the extremes over all samples (finite entries)."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    lo: float
    hi: float

    @property
    def absmax(self) -> float:
        return max(-self.lo, self.hi, 0.0)


@dataclass(frozen=True, eq=False)
class Graph:
    """``samples[name][k]``: the float model's tensor on sample k. ``constants`` are those that no input reaches;
    ``folded``: the DequantizeLinear nodes, and views behind them, that made some of them, by their outputs;
    ``opsets``: version by domain; ``labels``: names that the integers (or columns) of outputs stand for; ``given``:
    inputs whose integers another program has made."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    values: Mapping[str, Value]
    samples: Mapping[str, Sequence[Array]] = field(repr=False)
    folded: Mapping[str, Node] = field(default_factory=dict, repr=False)
    opsets: Mapping[str, int] = field(default_factory=dict, repr=False)
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)
    given: frozenset[str] = frozenset()

    def readers(self, name: str) -> list[str]:
        """Operators of the nodes that read a tensor."""
        return [n.op for n in self.reading.get(name, ())]

    def uses(self, name: str) -> int:
        """How many inputs of nodes and model outputs read a tensor."""
        return sum(n.inputs.count(name) for n in self.reading.get(name, ())) + self.outputs.count(name)

    @cached_property
    def reading(self) -> dict[str, list[Node]]:
        """The nodes that read each tensor, in order."""
        found: dict[str, list[Node]] = {}
        for n in self.nodes:
            for name in dict.fromkeys(n.inputs):
                found.setdefault(name, []).append(n)
        return found


def graph_of(
    model: onnx.ModelProto,
    runs: Iterable[Mapping[str, Any]],
    weights: Mapping[str, Array] | None = None,
    store: Store | None = None,
) -> Graph:
    """The graph of a loaded model, from what ``Runner`` gives on one sample after the other; ``weights``: large ones
    that are in memory already, by name; ``store``: where tensors on samples are."""
    runs = iter(runs)
    first = next(runs)
    held = weights or {}
    constants = {
        t.name: held[t.name] if t.name in held else _native(numpy_helper.to_array(t)) for t in model.graph.initializer
    }
    versions = {o.domain: o.version for o in model.opset_import}
    nodes: list[Node] = []
    folded: dict[str, Node] = {}
    readers: dict[str, set[str]] = {}
    for n in model.graph.node:
        for i in n.input:
            readers.setdefault(i, set()).add(n.op_type)
    for k, n in enumerate(model.graph.node):
        empty = {o: np.asarray(first[o]) for o in n.output if o and not np.size(first[o])}
        constants.update(empty)  # without entries there is nothing that depends on an input
        known = n.op_type == "DequantizeLinear" and all(i in constants for i in n.input)
        known &= bool(n.output) and readers.get(n.output[0], {""}) <= WITHOUT_WEIGHTS
        if known or folds(n, constants) or len(empty) == len([o for o in n.output if o]):
            constants.update({o: _native(np.asarray(first[o])) for o in n.output if o})
            if n.op_type == "DequantizeLinear" or (n.op_type in VIEWS and n.input[0] in folded):
                folded[n.output[0]] = _node(n, k, versions)
        else:
            nodes.append(_node(n, k, versions))
    outputs = tuple(o.name for o in model.graph.output)
    nodes = live(nodes, outputs)
    inputs = tuple(i.name for i in model.graph.input if i.name not in {t.name for t in model.graph.initializer})
    merged, values = _merged(first, runs, {name for name in first if name in constants}, store or Store())
    values.update({name: observed([x]) for name, x in constants.items()})
    return Graph(
        model.graph.name or "model",
        inputs,
        outputs,
        tuple(nodes),
        constants,
        values,
        merged,
        folded,
        versions,
        labels_of(model),
    )


def _merged(
    first: Mapping[str, Any], others: Iterable[Mapping[str, Any]], constant: set[str], store: Store
) -> tuple[dict[str, Sequence[Array]], dict[str, Value]]:
    """Every tensor on all samples, and what is known of it; those that are ``constant`` once for all."""
    merged = {name: Kept(store) for name in first if name not in constant}
    ends: dict[str, list[tuple[float, float] | None]] = {name: [] for name in merged}
    count = 0
    for run in chain((first,), others):
        count += 1
        for name, x in run.items():
            if np.shape(x) != np.shape(first[name]):
                raise UnsupportedModel([Problem(name, "tensor", "its shape depends on the input's values")])
            if name in merged:
                merged[name].append(np.asarray(x))
                ends[name].append(_ends(np.asarray(x)))
    values = {name: _value(np.asarray(first[name]), found) for name, found in ends.items()}
    return {name: merged.get(name, [np.asarray(first[name])] * count) for name in first}, values


class Runner:
    """The float model: every tensor on the way, or those of ``names``, on one set of inputs after the other.
    ``weights``: large ones that are in memory in place of in the model (``lightened``), and that its session shares."""

    def __init__(
        self, model: onnx.ModelProto, weights: Mapping[str, Array] | None = None, names: Sequence[str] = ()
    ) -> None:
        self.model, self.weights = (model, weights) if weights is not None else lightened(model)
        self.names = list(names) or [o for n in model.graph.node for o in n.output if o]
        self._fixed: dict[str, Any] = {}  # what no input reaches, since the first run
        self._session: Any = None
        try:
            import onnxruntime as ort

            options = ort.SessionOptions()
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.log_severity_level = 4
            options.intra_op_num_threads = 2
            options.enable_cpu_mem_arena = False  # which takes powers of two
            wide = onnx.ModelProto()
            wide.CopyFrom(self.model)
            outputs = {o.name for o in model.graph.output}
            wide.graph.output.extend(onnx.ValueInfoProto(name=n) for n in self.names if n not in outputs)
            if self.weights:
                self._values = [ort.OrtValue.ortvalue_from_numpy(x) for x in self.weights.values()]  # no copies
                options.add_external_initializers(list(self.weights), self._values)
            self._session = ort.InferenceSession(wide.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception:  # not installed, or the operator is too new for it: the reference evaluator decides
            self._session = None

    def _interruptibly(self, names: Sequence[str], feeds: Mapping[str, Array]) -> Sequence[Any]:
        """onnxruntime on a thread of its own, since Ctrl-C reaches this one only between two lines of Python."""
        import onnxruntime as ort

        options = ort.RunOptions()
        options.log_severity_level = 4
        with ThreadPoolExecutor(1) as pool:
            try:
                results: Sequence[Any] = pool.submit(self._session.run, names, dict(feeds), options).result()
                return results
            except KeyboardInterrupt:
                options.terminate = True
                raise

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Any]:
        """Tensors by name, the inputs among them. Raises ``ModelError``."""
        results: Sequence[Any] | None = None
        failed: Exception | None = None
        names = [name for name in self.names if name not in self._fixed]
        if self._session is not None:
            try:
                results = self._interruptibly(names, feeds)
            except Exception as e:  # an operator that it builds and cannot run, or inputs that no operator takes
                failed = e
        if results is None:
            results = _reference(_whole(self.model, self.weights), names, feeds, failed)
        made = dict(zip(names, results, strict=True))
        if not self._fixed:
            self._fixed = {name: made[name] for name in unreached(self.model.graph) if name in made}
        return {**feeds, **{name: made[name] if name in made else self._fixed[name] for name in self.names}}


def lightened(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """A model without its large weights, which are said to be in a file that nobody reads, and these; itself where they
    are few."""
    apart = Apart(model)
    light, weights = apart.light, dict[str, Array]()
    if apart.names:
        without_inputs(light.graph, apart.names)
    for t in model.graph.initializer:
        if t.name in apart.names:
            weights[t.name] = numpy_helper.to_array(t)
            stub = light.graph.initializer.add(name=t.name, data_type=t.data_type, dims=t.dims)
            stub.data_location = onnx.TensorProto.EXTERNAL
            for key, value in (("location", "none"), ("offset", "0"), ("length", str(weights[t.name].nbytes))):
                stub.external_data.add(key=key, value=value)
    return light, weights


def _whole(light: onnx.ModelProto, weights: Mapping[str, Array]) -> onnx.ModelProto:
    """What ``lightened`` was given."""
    if not weights:
        return light
    model = onnx.ModelProto()
    model.CopyFrom(light)
    for t in model.graph.initializer:
        if t.name in weights:
            t.CopyFrom(numpy_helper.from_array(weights[t.name], t.name))
    return model


def _reference(
    model: onnx.ModelProto, names: Sequence[str], feeds: Mapping[str, Array], failed: Exception | None
) -> list[Any]:
    """``failed``: what kept onnxruntime from running it, if that could begin: it is told where this fails, too."""
    from onnx.reference import ReferenceEvaluator

    try:
        evaluator = ReferenceEvaluator(model)
        found: Any = evaluator.run(None, dict(feeds), intermediate=True)
    except Exception as e:  # any error of any operator
        why, taken = failed or e, [f"--shape {name}=…" for name in free_first(model)]
        raise ModelError(
            f"the model does not run on the sample input: {type(why).__name__}: {str(why)[:300]}",
            code="M108",
            help=f"free first axes were taken for a batch of 1; else give {' '.join(taken)}" if taken else "",
        ) from e
    return [found[n] for n in names]


class Defined(Runner):
    """``Runner`` for samples: raises ``ModelError`` M111 where an output is NaN, or was decided by one; refuses models
    that have no fixed shapes first."""

    def __init__(self, model: onnx.ModelProto, weights: Mapping[str, Array] | None = None) -> None:
        _refuse_dynamic(model.graph)
        super().__init__(model, weights)

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Any]:
        tensors = super().__call__(feeds)
        _refuse_sequences(self.model, tensors)
        _refuse_nan(self.model, tensors)
        return tensors


def _refuse_sequences(model: onnx.ModelProto, tensors: Mapping[str, Any]) -> None:
    """Those that are no tensor, either; others are refused where they are made."""
    for n in model.graph.node:
        for parts in (tensors[o] for o in n.output if isinstance(tensors.get(o), list)):
            if len({np.shape(p) for p in parts}) > 1:
                why, need = "it makes a sequence of tensors of unlike shapes", "an output for each"
                raise UnsupportedModel([Problem(n.name or n.output[0], n.op_type, why, need)])


def _refuse_nan(model: onnx.ModelProto, tensors: Mapping[str, Any]) -> None:

    def holds_nan(name: str) -> bool:
        x = np.asarray(tensors[name]) if name in tensors else np.zeros(0)
        return x.dtype.kind == "f" and bool(np.isnan(x).any())

    missing = {i.name for i in model.graph.input if holds_nan(i.name)}  # given, not computed: the pipeline's matter
    for n in model.graph.node:
        if any(i in missing for i in n.input) and not any(holds_nan(i) for i in n.input if i not in missing):
            missing.update(o for o in n.output if holds_nan(o))

    def is_nan(name: str) -> bool:
        return name not in missing and holds_nan(name)

    needed = {o.name for o in model.graph.output}
    first: onnx.NodeProto | None = None
    decided: onnx.NodeProto | None = None
    for n in reversed(model.graph.node):
        if not needed.intersection(n.output):
            continue
        needed.update(n.input)
        if any(map(is_nan, n.output)):
            first = first if any(map(is_nan, n.input)) else n
        elif n.op_type not in GUARDS and any(map(is_nan, n.input)):
            decided = n
    spoilt = [o.name for o in model.graph.output if is_nan(o.name)]
    if not spoilt and decided is None:
        return
    source = f", from {first.op_type} '{first.name or first.output[0]}' on" if first is not None else ""
    what = f"output '{spoilt[0]}' is" if spoilt or decided is None else f"{decided.op_type} '{decided.name}' reads"
    raise ModelError(
        f"{what} NaN in the float model on a sample{source}: there is nothing to prove",
        code="M111",
        help="calibrate on inputs for which the model is defined, or guard the operation in the model",
    )


def _refuse_dynamic(graph: onnx.GraphProto) -> None:
    """Random operators, and results whose shape is data unless they fold."""
    fixed: dict[str, Any] = {t.name: None for t in graph.initializer}
    problems = []
    for n in graph.node:
        constant = folds(n, fixed)
        if constant:
            fixed.update(dict.fromkeys(n.output))
        if n.op_type in RANDOM:
            problems.append(Problem(n.name or n.op_type, n.op_type, "random values", "pass them as an input"))
        elif n.op_type in DYNAMIC and not constant and not (n.op_type == "Compress" and n.input[1] in fixed):
            problems.append(
                Problem(
                    n.name or n.op_type,
                    n.op_type,
                    "the result's shape depends on the input's values",
                    DYNAMIC[n.op_type],
                )
            )
    if problems:
        raise UnsupportedModel(problems)


def _native(x: Array) -> Array:
    """Integers of 2 and 4 bits, which NumPy lacks, in 8 bits."""
    small = x.dtype.name in ("int2", "int4", "uint2", "uint4")
    return x.astype(np.uint8 if x.dtype.name.startswith("u") else np.int8) if small else x


def folds(n: onnx.NodeProto, constants: Mapping[str, Any]) -> bool:
    """Whether a node's outputs depend on no input: all it reads is in ``constants``, or only shapes matter."""
    if n.op_type in ("Constant", "Shape", "Size"):
        return True
    if n.op_type == "DequantizeLinear" and np.size(constants.get(n.input[1], ())) == 1:
        return False  # weights with one scale stay integers at the model's own scale
    subgraphs = any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in n.attribute)
    return not subgraphs and n.op_type not in RANDOM and all(not i or i in constants for i in n.input)


def unreached(graph: onnx.GraphProto) -> set[str]:
    """Tensors that nodes compute from no input."""
    known: dict[str, Any] = {t.name: None for t in graph.initializer}
    made: set[str] = set()
    for n in graph.node:
        if folds(n, known) or (n.op_type == "DequantizeLinear" and all(not i or i in known for i in n.input)):
            known.update(dict.fromkeys(n.output))
            made.update(o for o in n.output if o)
    return made


def _node(n: onnx.NodeProto, index: int, versions: Mapping[str, int]) -> Node:
    domain = "" if n.domain == "ai.onnx" else n.domain
    opset = versions.get(n.domain, versions.get("", 1))
    try:
        version = onnx.defs.get_schema(n.op_type, opset, domain).since_version
    except onnx.defs.SchemaError:
        version = opset
    attrs = {a.name: _attribute(onnx.helper.get_attribute_value(a)) for a in n.attribute}
    inputs = (*n.input, *captured(n))  # what bodies read is read here
    return Node(n.name or f"{n.op_type}_{index}", n.op_type, domain, version, inputs, tuple(n.output), attrs)


def _attribute(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, list):
        return tuple(_attribute(v) for v in value)
    return value


def applied(n: Node, inputs: Sequence[Array | None]) -> Array:
    """The first output of one node of a standard domain, by the ONNX reference; None for absent inputs."""
    from onnx.reference import ReferenceEvaluator

    names = [f"i{k}" if x is not None else "" for k, x in enumerate(inputs)]
    attrs = {k: numpy_helper.from_array(v) if isinstance(v, np.ndarray) else v for k, v in n.attrs.items()}
    node = onnx.helper.make_node(n.op, names, ["o"], domain=n.domain, **attrs)
    given = {i: x for i, x in zip(names, inputs, strict=True) if i}
    infos = [onnx.ValueInfoProto(name=i) for i in given]
    graph = onnx.helper.make_graph([node], "one", infos, [onnx.ValueInfoProto(name="o")])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid(n.domain, n.version)])
    out: Any = ReferenceEvaluator(model).run(None, given)
    return np.asarray(out[0])


def live(nodes: Sequence[Node], outputs: Sequence[str]) -> list[Node]:
    """The nodes that an output needs."""
    needed, kept = set(outputs), []
    for n in reversed(nodes):
        if needed.intersection(n.outputs):
            kept.append(n)
            needed.update(n.inputs)
    return kept[::-1]


def observed(xs: Sequence[Array]) -> Value:
    """dtype, shape and extremes of a tensor on the samples."""
    return _value(xs[0], map(_ends, xs))


def _value(x: Array, ends: Iterable[tuple[float, float] | None]) -> Value:
    """Of a tensor like ``x`` that has these extremes on the samples."""
    known = [e for e in ends if e is not None]
    return Value(x.dtype, x.shape, min((e[0] for e in known), default=0.0), max((e[1] for e in known), default=0.0))


def _ends(x: Array) -> tuple[float, float] | None:
    """The extremes of the finite entries; None without any, and of what is no number."""
    if x.dtype.kind not in "fiub" or not x.size:
        return None
    lo, hi = float(x.min()), float(x.max())
    if np.isfinite(lo) and np.isfinite(hi):
        return lo, hi
    x = x[np.isfinite(x)]
    return (float(x.min()), float(x.max())) if x.size else None
