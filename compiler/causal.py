"""A causal language model as ``compile --generate greedy`` takes it: token ids in, at every position the next one out.

    next_i = argmax_v logits_{i, v}    (the first of equals)    for i = f-1 .. T-2

is added to the graph (f tokens are the shortest prompt), in one pass over the whole sequence. What else exporters have
as inputs is fixed: the attention mask to ones, positions to 0, 1, .., segments to 0, the cache of a model exported with
one to no positions. That logits do not depend on later tokens is tried on the float model, and on the program in exact
integers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from syurmy.compiler.calibration import Runs, rows_chosen
from syurmy.compiler.emit import narrowest
from syurmy.compiler.errors import ModelError
from syurmy.compiler.generation import LAST, LENGTH, PROMPT, Generation
from syurmy.compiler.lower import Context
from syurmy.compiler.recorded import Port
from syurmy.isa.arrays import Array
from syurmy.isa.errors import InputError
from syurmy.isa.program import Program

MARK = "syurmy.greedy"  # metadata of a wrapped model
WHOLE = {TensorProto.INT64, TensorProto.INT32}
REAL = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}
SAME = 1e-4  # of the logits' range: what sums in another order may differ by
Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Cache:
    """Names of a cache in the graph: the input ``past``, what becomes of it, the place that is ``new``; the ``axis`` of
    its places."""

    past: str
    present: str
    new: str
    axis: int


@dataclass(frozen=True)
class Greedy:
    """Names: ``tokens`` in, ``logits`` that choose and what is ``chosen`` out; ``show``: see ``Options``, ``shown``:
    outputs that proofs show because of it; ``least``: tokens of the shortest prompt. ``vocabulary`` and ``total`` are
    known once the model has run. Of a model that reads ``chunk`` tokens at a time (``compiler.cached``): its ``caches``
    of so many ``places``, and the input that is the ``position`` of the first of them."""

    tokens: str
    logits: str
    chosen: str
    least: int = 1
    show: str = ""
    shown: tuple[str, ...] = ()
    vocabulary: int = 0
    total: int = 0
    caches: tuple[Cache, ...] = ()
    places: int = 0
    position: str = ""
    chunk: int = 1

    @property
    def outputs(self) -> tuple[str, ...]:
        """Of the program."""
        return (LAST,) if self.show == "last" else self.shown

    @property
    def interval(self) -> dict[str, tuple[int, int]]:
        """Of the tokens, and of the position."""
        own = {self.position: (0, self.places)} if self.caches else {}
        return {self.tokens: (0, self.vocabulary - 1)} | own


def found(model: onnx.ModelProto) -> Greedy | None:
    """What ``wrapped`` noted in a model; None if it is another one."""
    said = next((p.value for p in model.metadata_props if p.key == MARK), None)
    if said is None:
        return None
    read = json.loads(said)
    caches = tuple(Cache(**c) for c in read["caches"])
    return Greedy(**{**read, "shown": tuple(read["shown"]), "caches": caches})


def wrapped(
    model: onnx.ModelProto, shapes: Shapes | None, show: str = "", least: int = 1
) -> tuple[onnx.ModelProto, Shapes]:
    """A copy with token ids as its only input, and the logits that choose and the choice as outputs; its shapes. Raises
    ``ModelError``: M107 where the number of tokens is open, M112 where it is no model of this form."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph, given = copy.graph, dict(shapes or {})
    fixed = {t.name for t in graph.initializer}
    inputs = [i for i in graph.input if i.name not in fixed]
    tokens = tokens_of_model(inputs)
    length = _length(tokens, given)
    for i in inputs:
        if i.name != tokens.name:
            graph.initializer.append(numpy_helper.from_array(_constant(i, length), i.name))
    if least >= length:
        message = f"a prompt of {least} tokens leaves none of {length} to write"
        raise ModelError(message, code="M112", help=f"--shape {tokens.name}=1,32, say")
    logits = logits_of(graph)
    taken = {o for n in graph.node for o in n.output} | fixed | {i.name for i in inputs}
    rows, chosen = free_name("next_logits", taken), free_name("next", taken)
    cut = {k: np.array([v], np.int64) for k, v in (("starts", least - 1), ("ends", length - 1), ("axes", -2))}
    names = [free_name(f"next_{k}", taken) for k in cut]
    graph.initializer.extend(numpy_helper.from_array(x, name) for x, name in zip(cut.values(), names, strict=True))
    graph.node.append(helper.make_node("Slice", [logits.name, *names], [rows], name=f"/{rows}"))
    graph.node.append(helper.make_node("ArgMax", [rows], [chosen], name=f"/{chosen}", axis=-1, keepdims=0))
    held = [i for i in graph.input if i.name == tokens.name]
    del graph.input[:], graph.output[:]
    graph.input.extend(held)
    real = logits.type.tensor_type.elem_type
    shown, more = shown_of(graph, rows, logits.type.tensor_type, show, taken)
    outputs = [(rows, real), (chosen, TensorProto.INT64), *more]
    graph.output.extend(helper.make_tensor_value_info(name, dtype, None) for name, dtype in outputs)
    greedy = Greedy(tokens.name, rows, chosen, least, show, shown)
    kept_props = {p.key: p.value for p in copy.metadata_props}
    helper.set_model_props(copy, {**kept_props, MARK: json.dumps(asdict(greedy))})
    others = {i.name for i in inputs} - {tokens.name}  # follow from the tokens
    return copy, {name: shape for name, shape in given.items() if name not in others}


def shown_of(
    graph: onnx.GraphProto, rows: str, logits: onnx.TypeProto.Tensor, show: str, taken: set[str]
) -> tuple[tuple[str, ...], list[tuple[str, int]]]:
    """What ``show`` makes outputs of a program, of ``rows`` of the model's logits; and those that the graph has not
    yet, with their types. Raises ``InputError`` I110 for more than there are."""
    if not show.startswith("topk="):
        return ((rows,) if show == "all" else ()), []
    most = logits.shape.dim[-1].dim_value if logits.shape.dim else 0
    if 0 < most < int(show[5:]):
        raise InputError(f"--show {show} is more than the {most} logits that the model has", code="I110")
    shown, many = (free_name("top_logits", taken), free_name("top_tokens", taken)), free_name("top_k", taken)
    graph.initializer.append(numpy_helper.from_array(np.array([int(show[5:])], np.int64), many))
    graph.node.append(helper.make_node("TopK", [rows, many], shown, name="/top", axis=-1))
    return shown, list(zip(shown, (logits.elem_type, TensorProto.INT64), strict=True))


def observed(greedy: Greedy, model: onnx.ModelProto, runs: Runs) -> Greedy:
    """With sizes, from a run of the float model. Raises ``ModelError``: M112 where there are no logits at every
    position, M113 where they depend on later tokens."""
    sample = dict(runs.samples[0])
    logits = np.asarray(runs[0][greedy.logits])
    ids = np.asarray(sample[greedy.tokens])
    total, count = ids.size, ids.size - greedy.least
    if logits.ndim < 2 or logits.shape[-2] != count or logits.size != count * logits.shape[-1]:
        raise ModelError(
            f"the model has no logits at each of {total} positions",
            code="M112",
            help="export logits of the whole sequence: [1, tokens, vocabulary]",
        )
    vocabulary = min(logits.shape[-1], rows_chosen(model).get(greedy.tokens, logits.shape[-1]))
    for cut in sorted({(greedy.least + total) // 2, total - 1}):
        other = np.asarray(runs.of({**sample, greedy.tokens: changed(ids, cut, vocabulary)})[greedy.logits])
        rows = cut - greedy.least + 1
        if differ(*(x.reshape(count, -1)[:rows] for x in (logits, other))):
            raise not_causal("the model's", cut)
    return replace(greedy, vocabulary=vocabulary, total=total)


def differ(before: Array, after: Array) -> bool:
    """Whether two tensors of a float model differ by more than what sums in another order do."""
    a, b = before.astype(np.float64), after.astype(np.float64)
    return bool(np.abs(b - a).max() > SAME * max(float(np.ptp(a)), 1e-30))


def changed(ids: Array, cut: int, vocabulary: int) -> Array:
    """Other tokens from place ``cut`` on."""
    flat = ids.reshape(-1).copy()
    flat[cut:] = (flat[cut:] + 1 + np.arange(len(flat) - cut)) % vocabulary
    return flat.reshape(ids.shape)


def refuse_leaks(program: Program, g: Generation, ids: Array) -> None:
    """Raises ``ModelError`` M113 where integer logits before a place change with the tokens from there on: a mask that
    is not exactly 0 behind softmax, say. Two runs of one sample, of a program that reads some tokens at a time as the
    first of a text."""
    from syurmy.compiler.stepwise import step_inputs
    from syurmy.vm.machine import run

    cut, source = (g.least + ids.size) // 2, g.logits(program)
    assert source is not None
    if cut == ids.size:
        return  # of one token

    def logits(tokens: Array) -> Array:
        x = tokens.astype(np.int64)
        if g.step is not None:
            return run(program, step_inputs(program, g, x.reshape(-1))).writes[source][-1]
        ends = {g.prompt: np.array(g.total), g.length: np.array(g.total)}
        return run(program, {g.tokens: x.reshape(program.input(g.tokens).type.shape), **ends}).writes[source][-1]

    first, second = (
        logits(x).reshape(ids.size - g.least + (g.step is not None), -1) for x in (ids, changed(ids, cut, g.vocabulary))
    )
    rows = cut - g.least + 1
    if not np.array_equal(first[:rows], second[:rows]):
        raise not_causal("the program's", cut)


@dataclass(frozen=True)
class Tail:
    """What ``tail`` adds to a program: inputs, with values for them with which nothing is claimed, and outputs.
    ``caches``: from the float model's tensors the integers of inputs that stand for several of its own."""

    generation: Generation
    inputs: Sequence[Port]
    outputs: Sequence[Port]
    example: Mapping[str, Array]
    caches: Callable[[Mapping[str, Any]], Mapping[str, Array]] = lambda floats: {}

    def given(self, floats: Mapping[str, Any]) -> Mapping[str, Any]:
        """The float model's tensors with what else are inputs."""
        return {**floats, **self.caches(floats), **self.example}


def tail(c: Context, greedy: Greedy) -> Tail:
    """Emits the ending (``compiler.generation``), before it the last logits if they are shown. On the samples nothing
    is completed, so that it holds on all of them."""
    out, total = c.out, greedy.total
    chosen, logits = c.tensors[greedy.chosen], c.tensors[greedy.logits]
    index = next((k for k, ins in enumerate(out.code) if ins.dst == chosen.name and ins.op == "argmax"), None)
    if index is None:
        raise ModelError("the choice among logits was rewritten into something else", code="M112")
    count, t = total - greedy.least, narrowest((), greedy.least, total)
    ends = [out.input(name, t, 1.0, [np.array(total)] * out.samples, public=True) for name in (PROMPT, LENGTH)]
    prompt, length = ends
    out.comment("greedy: every token of the completion is the first largest of the logits before it")
    inputs = [Port(x.name, name, "int64", (), 1.0) for x, name in zip(ends, (PROMPT, LENGTH), strict=True)]
    places = out.param(np.arange(greedy.least, total), label="places")
    out.open.add(places.name)
    outputs = []
    if greedy.show == "last":  # before place length - 1: a product with one row of ones and zeros
        here = c.emit("eq", places, c.emit("addi", length, value=-1, scale=1.0), scale=1.0)
        rows = c.reshape(logits, (count, logits.shape[-1]))
        row = c.emit("matmul", c.reshape(here, (1, count)), rows, scale=logits.scale)
        last = out.output(LAST, c.reshape(row, rows.shape[1:]))
        outputs.append(Port(last.name, LAST, "float32", last.shape, last.scale))
    given = c.reshape(c.tensors[greedy.tokens], (total,))
    given = c.emit("slice", given, axis=0, start=greedy.least, len=count, scale=1.0)
    same = c.emit("eq", c.reshape(chosen, (count,)), given, scale=1.0)
    after = c.emit("ge", places, prompt, scale=1.0)
    before = c.emit("lt", places, length, scale=1.0)
    part = c.emit("mul", after, before, scale=1.0)
    out.check(c.emit("le", part, same, scale=1.0))
    names = c.tensors[greedy.tokens].name, prompt.name, length.name
    g = Generation(*names, index, greedy.vocabulary, total, greedy.least, greedy.show)
    return Tail(g, inputs, outputs, {name: np.array(total) for name in (PROMPT, LENGTH)})


# ---- parts -----------------------------------------------------------------------------------------------------------


def tokens_of_model(inputs: Sequence[onnx.ValueInfoProto]) -> onnx.ValueInfoProto:
    found = [
        i
        for i in inputs
        if i.type.tensor_type.elem_type in WHOLE and len(_dims(i)) in (1, 2) and role_of(i.name) is None
    ]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(i.name for i in inputs) or "none"
    what = "several inputs" if found else "no input"
    raise ModelError(
        f"{what} could be the token ids, among {listed}",
        code="M112",
        help="a causal language model takes integers [1, tokens], and besides them at most attention_mask,"
        " position_ids, token_type_ids and a cache past_* of free length",
    )


def role_of(name: str) -> str | None:
    """What an input is besides tokens, by what exporters call it."""
    said = name.lower()
    roles = {"use_cache": "flag", "past": "past", "cache": "past", "mask": "mask", "position": "position"}
    roles |= {"token_type": "segment", "segment": "segment"}
    return next((role for part, role in roles.items() if part in said), None)


def _dims(i: onnx.ValueInfoProto) -> list[onnx.TensorShapeProto.Dimension]:
    return list(i.type.tensor_type.shape.dim)


def _length(tokens: onnx.ValueInfoProto, shapes: dict[str, Any]) -> int:
    dims = _dims(tokens)
    shape = list(shapes.get(tokens.name, [d.dim_value for d in dims]))
    if len(shape) != len(dims) or shape[-1] < 1:
        lead = "1," * (len(dims) - 1)
        raise ModelError(
            f"the number of tokens is not fixed: input '{tokens.name}'",
            code="M107",
            help=f"give --shape {tokens.name}={lead}32 for a prompt and a completion of 32 tokens together",
        )
    if len(shape) == 2 and shape[0] > 1:
        raise ModelError(
            f"input '{tokens.name}' is a batch of {shape[0]}", code="M112", help="one sequence: [1, tokens]"
        )
    return int(shape[-1])


def _constant(i: onnx.ValueInfoProto, length: int) -> Array:
    """What an input besides tokens is."""
    role, dims = role_of(i.name), _dims(i)
    dtype = helper.tensor_dtype_to_np_dtype(i.type.tensor_type.elem_type)
    lead = (1,) * (len(dims) - 1)
    if role == "flag":
        return np.zeros([1] * len(dims), dtype)
    if role == "past":
        return np.zeros(_empty(i), dtype)
    if role is None or len(dims) not in (1, 2) or (dims[-1].dim_value or length) != length:
        raise ModelError(
            f"input '{i.name}' is neither token ids nor one of those that can be fixed",
            code="M112",
            help="export the model with token ids alone (input_ids), or with attention_mask and position_ids",
        )
    row = {"mask": np.ones(length), "position": np.arange(length), "segment": np.zeros(length)}[role]
    return row.astype(dtype).reshape(*lead, length)


def _empty(i: onnx.ValueInfoProto) -> list[int]:
    """The shape of a cache of no positions."""
    dims = _dims(i)
    free = [k for k, d in enumerate(dims) if not d.dim_value and k > 0]
    named = [k for k in free if "past" in dims[k].dim_param.lower() or "seq" in dims[k].dim_param.lower()] or free
    if len(named) != 1 or len(free) != 1:
        raise ModelError(
            f"the cache '{i.name}' cannot be empty: its shape is {[d.dim_value or d.dim_param or '?' for d in dims]}",
            code="M112",
            help="all tokens are read at once: export the model without past inputs (use_cache=False), or with a free"
            " length of them; or give --cache N, to read one at a time",
        )
    return [0 if k == named[0] else d.dim_value or 1 for k, d in enumerate(dims)]


def logits_of(graph: onnx.GraphProto) -> onnx.ValueInfoProto:
    real = [o for o in graph.output if o.type.tensor_type.elem_type in REAL]
    named = [o for o in real if o.name == "logits"]
    other = [o for o in real if not any(part in o.name.lower() for part in ("present", "past", "hidden", "cache"))]
    if len(named or other) != 1:
        listed = ", ".join(o.name for o in graph.output) or "none"
        raise ModelError(
            f"the model has no output of logits, among {listed}",
            code="M112",
            help="export the language model with its head; the output is called logits, or is the only real one",
        )
    found: onnx.ValueInfoProto = (named or other)[0]
    return found


def free_name(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def not_causal(whose: str, cut: int) -> ModelError:
    return ModelError(
        f"{whose} logits before position {cut} change with the tokens from there on",
        code="M113",
        help="only a causal model writes token after token: export it with its causal mask",
    )


def tokens_of(greedy: Greedy | None, calibrate: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of calibration data, what is still an input."""
    if greedy is None or greedy.tokens not in calibrate:
        return calibrate
    return {greedy.tokens: calibrate[greedy.tokens]}
