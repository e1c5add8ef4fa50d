"""A causal language model that reads one token at a time, or ``--chunk`` C of them, and hands keys and values on, as
``compile --generate greedy --cache N`` takes it.

Exporters write a *growing* cache: ``present = concat(past, new)``, one place longer in every step, so a program (and a
key) for each length. Here one program serves all steps: its cache has N places, filled from the end, and a step drops
the first C and appends the new ones,

    cache' = concat(cache[C:], new),     visible at position p: places N - p .. N - 1

which is what the same export computes of a text that is padded on the left. ``attention_mask`` and ``position_ids``
become functions of the position, a public input. All caches of one shape are one committed input and one committed
output, integers layer by layer, each with the unit of its own; the hidden places are multiplied by 0 before anything
reads them, so that no step depends on what was in the cache before the text began.

What a step asserts, and how steps are chained, is in ``compiler.stepwise``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from syurmy.compiler import causal
from syurmy.compiler.calibration import Runs, rows_chosen
from syurmy.compiler.causal import MARK, Cache, Greedy, Shapes
from syurmy.compiler.errors import ModelError
from syurmy.isa.arrays import Array

POSITION = "position"
TEXTS = 4  # random ones, where there is no calibration data
STEPS = 48  # samples, evenly of all steps of all texts
Tensors = Mapping[str, Any]


def is_fixed(model: onnx.ModelProto) -> bool:
    """Whether a model has past inputs, all of a fixed length: it cannot read a text at once."""
    pasts = _pasts(model.graph)
    return bool(pasts) and all(d.dim_value for i in pasts for d in _dims(i)[1:])


def wrapped(
    model: onnx.ModelProto, shapes: Shapes | None, places: int, chunk: int = 1, show: str = ""
) -> tuple[onnx.ModelProto, Shapes]:
    """A copy with ``chunk`` tokens, the position of the first and the caches as inputs; as outputs the logits, the
    choices, what ``show`` asks for, and of every cache the new places and the whole. ``places``: of the cache, 0: those
    of the model. Raises ``ModelError`` M112 where the model is of no such form."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    fixed = {t.name for t in graph.initializer}
    inputs = [i for i in graph.input if i.name not in fixed]
    tokens, logits = causal.tokens_of_model(inputs), causal.logits_of(graph)
    pasts, presents = _pasts(graph), [o for o in graph.output if o is not logits and _is_present(o.name)]
    if not pasts or len(pasts) != len(presents):
        raise ModelError(
            f"{len(pasts)} inputs are caches by their names, {len(presents)} outputs are what becomes of them",
            code="M112",
            help="export the model with its cache (optimum-cli: --task text-generation-with-past): inputs"
            " past_key_values.0.key, ... and outputs present.0.key, ..., in one order; or leave --cache out",
        )
    axes = [_axis(i, o, chunk) for i, o in zip(pasts, presents, strict=True)]
    places = _places(pasts, axes, places, chunk)
    if (read := _dims(tokens)[-1].dim_value) not in (0, chunk):
        raise ModelError(
            f"the model reads {read} tokens at a time, not {chunk}",
            code="M112",
            help=f"--chunk {read}" if read > 1 and not places % read else "export it with a free number of tokens",
        )
    roles = {i.name: causal.role_of(i.name) for i in inputs}
    for role, name in (("mask", "attention_mask"), ("position", "position_ids")):
        if role not in roles.values():
            raise ModelError(
                f"the model has no input {name}: a step could not tell filled places of the cache from others",
                code="M112",
                help=f"export it with {name}, as optimum-cli does; or without past inputs, to read all tokens at once",
            )
    rows = rows_chosen(model)
    _refuse_long(next((rows[name] for name in rows if roles.get(name) == "position"), None), places, chunk)
    taken = {o for n in graph.node for o in n.output} | fixed | {i.name for i in inputs}
    build = _Nodes(graph, taken)
    position = causal.free_name(POSITION, taken)
    for i in inputs:
        _fixed(build, i, roles[i.name] if i is not tokens else "tokens", position, places, chunk)
    build.before()
    chosen = build.node("ArgMax", [logits.name], "next", axis=-1, keepdims=0)
    caches = []
    for i, o, axis in zip(pasts, presents, axes, strict=True):
        ends = [build.constant(np.array([v], np.int64)) for v in (places, places + chunk, axis)]
        caches.append(Cache(i.name, o.name, build.node("Slice", [o.name, *ends], "new"), axis))
    build.after()
    kinds = {i.name: i.type.tensor_type.elem_type for i in pasts}
    shape = {i.name: [places if k == axis else d.dim_value or 1 for k, d in enumerate(_dims(i))]
             for i, axis in zip(pasts, axes, strict=True)}  # fmt: skip
    del graph.input[:]
    graph.input.extend(
        [
            helper.make_tensor_value_info(tokens.name, tokens.type.tensor_type.elem_type, _row(tokens, chunk)),
            helper.make_tensor_value_info(position, TensorProto.INT64, [1]),
            *(helper.make_tensor_value_info(i.name, kinds[i.name], shape[i.name]) for i in pasts),
        ]
    )
    real = logits.type.tensor_type.elem_type
    shown, more = causal.shown_of(graph, logits.name, logits.type.tensor_type, show, taken)
    outputs = [(logits.name, real), (chosen, TensorProto.INT64), *more]
    outputs += [(name, kinds[c.past]) for c in caches for name in (c.new, c.present)]
    del graph.output[:], graph.value_info[:]
    graph.output.extend(helper.make_tensor_value_info(name, kind, None) for name, kind in outputs)
    greedy = Greedy(
        *(tokens.name, logits.name, chosen), show=show, shown=shown, caches=tuple(caches), places=places,
        position=position, chunk=chunk,
    )  # fmt: skip
    held = {p.key: p.value for p in copy.metadata_props}
    helper.set_model_props(copy, {**held, MARK: json.dumps(asdict(greedy))})
    return copy, dict(shapes or {})  # tokens and N places: any other is refused where shapes are fixed


def samples_of(model: onnx.ModelProto, greedy: Greedy, given: Mapping[str, Any] | None) -> list[dict[str, Array]]:
    """Steps of texts, each with the caches that the float model has made of the tokens before; ``given``: the texts,
    tokens along the last axis, random ones where it is None. Raises ``ModelError`` M109, M112."""
    from syurmy.compiler.graph import Defined

    dtypes = {i.name: helper.tensor_dtype_to_np_dtype(i.type.tensor_type.elem_type) for i in model.graph.input}
    shapes = {i.name: tuple(d.dim_value for d in _dims(i)) for i in model.graph.input}
    chunk = greedy.chunk
    _refuse_long(rows_chosen(model).get(greedy.position), greedy.places, chunk)
    run = Defined(model)
    start = {c.past: np.zeros(shapes[c.past], dtypes[c.past]) for c in greedy.caches}
    found: list[dict[str, Array]] = []
    for text in _texts(model, greedy, given):
        caches = dict(start)
        for p in range(0, min(len(text), greedy.places + chunk), chunk):
            read = np.resize(text[p : p + chunk], chunk)  # of what is behind a text anything is as good
            step = {greedy.tokens: read.reshape(shapes[greedy.tokens]).astype(dtypes[greedy.tokens])}
            step[greedy.position] = np.array([p])
            found.append({**step, **caches})
            made = run(found[-1])
            if p == 0:
                _refuse_other(greedy, run, found[-1], made)
            for c in greedy.caches:
                rest = caches[c.past].take(range(chunk, greedy.places), c.axis)
                caches[c.past] = np.concatenate([rest, made[c.new]], c.axis)
    count = min(len(found), STEPS)
    return [found[(k + 1) * len(found) // count - 1] for k in range(count)]


def observed(greedy: Greedy, model: onnx.ModelProto, runs: Runs) -> Greedy:
    """With the sizes that a run of the float model shows. Raises ``ModelError``: M112 where it has not the logits of
    every token, M113 where these, or what becomes of the caches, depend on later tokens."""
    first, chunk = runs[0], greedy.chunk
    logits = np.asarray(first[greedy.logits])
    if logits.ndim < 2 or logits.size != chunk * logits.shape[-1]:
        read = "one token" if chunk == 1 else f"{chunk} tokens"
        message = f"the model has logits of shape {list(logits.shape)} for {read}"
        raise ModelError(message, code="M112", help=f"[1, {chunk}, vocabulary]")
    vocabulary = min(logits.shape[-1], rows_chosen(model).get(greedy.tokens, logits.shape[-1]))
    sample = dict(runs.samples[0])
    for cut in sorted({(chunk + 1) // 2, chunk - 1} - {0, chunk}):
        ids = causal.changed(np.asarray(sample[greedy.tokens]), cut, vocabulary)
        other = runs.of({**sample, greedy.tokens: ids})
        rows = [np.asarray(x[greedy.logits]).reshape(chunk, -1)[:cut] for x in (first, other)]
        news = [[np.asarray(x[c.new]).take(range(cut), c.axis) for x in (first, other)] for c in greedy.caches]
        if any(causal.differ(a, b) for a, b in (rows, *news)):
            raise causal.not_causal("the model's", cut)
    return replace(greedy, vocabulary=vocabulary, total=greedy.places + chunk + 1)


# ---- parts -----------------------------------------------------------------------------------------------------------


class _Nodes:
    """Nodes and constants that are added to a graph."""

    def __init__(self, graph: onnx.GraphProto, taken: set[str]) -> None:
        self.graph, self.taken, self.nodes = graph, taken, list[onnx.NodeProto]()

    def constant(self, x: Array, name: str = "") -> str:
        name = name or causal.free_name("step_constant", self.taken)
        self.graph.initializer.append(numpy_helper.from_array(x, name))
        return name

    def node(self, op: str, reads: Sequence[str], label: str = "step", out: str = "", **attributes: Any) -> str:
        name = out or causal.free_name(label, self.taken)
        self.nodes.append(helper.make_node(op, list(reads), [name], name=f"/{name}", **attributes))
        return name

    def before(self) -> None:
        """Puts what was added before all others."""
        rest = list(self.graph.node)
        del self.graph.node[:]
        self.graph.node.extend([*self.nodes, *rest])
        self.nodes = []

    def after(self) -> None:
        self.graph.node.extend(self.nodes)
        self.nodes = []


def _fixed(build: _Nodes, i: onnx.ValueInfoProto, role: str | None, position: str, places: int, chunk: int) -> None:
    """Makes an input other than the tokens and the caches a function of the position, or a constant."""
    kind, rank = i.type.tensor_type.elem_type, len(_dims(i))
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    if role in ("tokens", "past"):
        return
    if role == "flag":
        build.constant(np.ones([1] * rank, dtype), i.name)
    elif role == "segment" and rank <= 2:
        build.constant(np.zeros(_row(i, chunk), dtype), i.name)
    elif role == "position" and rank <= 2:
        shaped = build.node("Reshape", [position, build.constant(np.array([1] * rank, np.int64))])
        if chunk > 1:
            shaped = build.node("Add", [shaped, build.constant(np.arange(chunk).reshape(_row(i, chunk)))])
        build.node("Cast", [shaped], out=i.name, to=kind)
    elif role == "mask" and rank in (1, 2):
        first = build.node("Sub", [build.constant(np.array([places], np.int64)), position])
        row = build.constant(np.arange(places + chunk).reshape(_row(i, places + chunk)))
        build.node("Cast", [build.node("Not", [build.node("Less", [row, first])])], out=i.name, to=kind)
    else:
        raise ModelError(
            f"input '{i.name}' is neither the token, a cache, nor one of those that follow from the position",
            code="M112",
            help="export the model with input_ids, attention_mask [1, all], position_ids [1, tokens] and"
            " past_key_values.*",
        )


def _row(i: onnx.ValueInfoProto, count: int) -> list[int]:
    """The shape of an input that has so many entries along its last axis."""
    return [1] * (len(_dims(i)) - 1) + [count] * bool(_dims(i))


def _dims(i: onnx.ValueInfoProto) -> list[onnx.TensorShapeProto.Dimension]:
    return list(i.type.tensor_type.shape.dim)


def _pasts(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    fixed = {t.name for t in graph.initializer}
    return [i for i in graph.input if i.name not in fixed and causal.role_of(i.name) == "past"]


def _is_present(name: str) -> bool:
    return any(part in name.lower() for part in ("present", "past", "cache"))


def _axis(past: onnx.ValueInfoProto, present: onnx.ValueInfoProto, chunk: int) -> int:
    """Along which axis places are: the only free one behind the batch, or the one that the present is longer in."""
    given, then = _dims(past), _dims(present)
    free = [k for k, d in enumerate(given) if k and not d.dim_value]
    longer = [
        k
        for k, (a, b) in enumerate(zip(given, then, strict=False))
        if a.dim_value and b.dim_value == a.dim_value + chunk
    ]
    found = free if free else longer
    if len(found) != 1:
        shapes = [[d.dim_value or d.dim_param or "?" for d in dims] for dims in (given, then)]
        raise ModelError(
            f"the cache '{past.name}' {shapes[0]} does not become '{present.name}' {shapes[1]} with"
            f" {'one place' if chunk == 1 else f'{chunk} places'} more",
            code="M112",
            help="export caches [1, heads, places, size] with a free number of places, or with P places in and"
            f" P + {chunk} out",
        )
    return found[0]


def _places(pasts: Sequence[onnx.ValueInfoProto], axes: Sequence[int], places: int, chunk: int) -> int:
    own = {_dims(i)[axis].dim_value for i, axis in zip(pasts, axes, strict=True)} - {0}
    if len(own) > 1 or (own and places and own != {places}):
        listed = " or ".join(map(str, sorted(own)))
        message = f"the model's caches have {listed} places" + (f", not {places}" if places else "")
        raise ModelError(message, code="M112", help="leave --cache out, or export with a free number of places")
    found = places or own.pop()
    if found % chunk:
        raise ModelError(
            f"a cache of {found} places is not filled by chunks of {chunk} tokens",
            code="M112",
            help=f"--cache {found + chunk - found % chunk}, a multiple" if not own else "--chunk that divides them",
        )
    return found


def _texts(model: onnx.ModelProto, greedy: Greedy, given: Mapping[str, Any] | None) -> Array:
    if given is None:
        rows = rows_chosen(model).get(greedy.tokens, 2)
        return np.random.default_rng(0).integers(0, rows, (TEXTS, greedy.places + greedy.chunk))
    if greedy.tokens not in given:
        raise ModelError(f"no calibration data for input '{greedy.tokens}'", code="M109")
    texts = np.asarray(given[greedy.tokens])
    if texts.dtype.kind not in "iu" or not texts.size or not texts.ndim:
        raise ModelError(
            f"calibration data of '{greedy.tokens}' are no tokens: {texts.dtype} {list(texts.shape)}",
            code="M109",
            help="give texts as whole numbers [texts, tokens]",
        )
    return texts.reshape(-1, texts.shape[-1])


def _refuse_long(known: int | None, places: int, chunk: int) -> None:
    """``known``: how many positions the model has, if it has so many vectors of them."""
    if known is not None and places + chunk > known:
        raise ModelError(
            f"the model has {known} positions: a cache of {places} places is for {places + chunk}",
            code="M112",
            help=f"--cache {max(known // chunk - 1, 1) * chunk} at most",
        )


def _refuse_other(greedy: Greedy, run: Callable[[Mapping[str, Array]], Tensors], step: Tensors, made: Tensors) -> None:
    """Raises ``ModelError`` M112 where a first step depends on what the cache holds, or hands on something else than
    the cache with a new place."""
    rng = np.random.default_rng(1)
    full = {c.past: rng.standard_normal(step[c.past].shape).astype(step[c.past].dtype) for c in greedy.caches}
    other = run({**step, **full})
    for c in greedy.caches:
        before = np.asarray(other[c.present]).take(range(greedy.places), c.axis)
        if before.shape != full[c.past].shape or not np.array_equal(before, full[c.past]):
            raise ModelError(
                f"'{c.present}' is not the cache '{c.past}' with one place more behind it",
                code="M112",
                help="export caches that grow by concatenation, pasts and presents in one order",
            )
    if causal.differ(*(np.asarray(x[greedy.logits]) for x in (made, other))):
        raise ModelError(
            "the logits of a first token depend on places of the cache that the attention mask hides",
            code="M112",
            help="export the model such that attention_mask hides places of the cache",
        )
