"""Scan, and Loop with a known trip count, as loops of the program: one copy of the body, lowered once.

The body is a graph of its own, observed on every sample *and round* by running the float model's body round after
round. States have a power of two as their unit, chosen by what they reach in any round; rounding to it is the only
error that a round adds to what its operators do. Control flow whose course data decides is refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from syurmy.compiler import passes
from syurmy.compiler.bodies.engine import captured
from syurmy.compiler.emit import Tensor
from syurmy.compiler.errors import Unsupported
from syurmy.compiler.graph import Node, Runner, graph_of
from syurmy.compiler.loops import Loop
from syurmy.compiler.lower import Context, Result, lower_node, lowering
from syurmy.compiler.scales import FINE_BITS
from syurmy.compiler.sizes import ROUNDS, changes, stays
from syurmy.isa.arrays import Array
from syurmy.isa.types import DType, TensorType

IR_VERSION = 8
ROOM = 2  # bits above the samples that a fine program's state keeps


@dataclass(frozen=True)
class Scanned:
    """A tensor that gives round t its part t along an axis (counted from the end if backwards)."""

    name: str
    axis: int
    backwards: bool


@dataclass(frozen=True)
class Form:
    """What Scan and Loop have in common. ``inputs``: what the body's inputs are, in its order: a state's number, a
    scanned tensor, the iteration's number or the condition. Its outputs are (the condition and) states, then parts,
    which are joined along ``axes``."""

    body: onnx.GraphProto
    rounds: int
    initial: Sequence[str]
    inputs: Sequence[int | Scanned | str]
    skipped: int
    axes: Sequence[tuple[int, bool]]


@lowering("If")
def branch(c: Context, n: Node) -> Result:
    raise Unsupported("the condition is computed from the input", "a constant, or both branches and a Where")


@lowering("Scan")
def scan_over_batches(c: Context, n: Node) -> Result:
    raise Unsupported("Scan over a batch, as opset 8 has it", "opset 9 or newer")


@lowering("Scan", since=9)
def scan(c: Context, n: Node) -> Result:
    body, count = n.attr("body"), n.attr("num_scan_inputs")
    states = len(body.input) - count
    given = n.inputs[: len(body.input)]
    parts = len(body.output) - states
    into = [a % len(c.shape(i)) for a, i in zip(n.attr("scan_input_axes") or [0] * count, given[states:], strict=True)]
    back_in, back_out = (n.attr(f"scan_{k}put_directions") or [0] * m for k, m in (("in", count), ("out", parts)))
    axes = n.attr("scan_output_axes") or [0] * parts
    scanned = [Scanned(i, a, bool(b)) for i, a, b in zip(given[states:], into, back_in, strict=True)]
    form = Form(
        body, c.shape(given[states])[into[0]], given[:states], [*range(states), *scanned], 0,
        [(a, bool(b)) for a, b in zip(axes, back_out, strict=True)],
    )  # fmt: skip
    return _looped(c, n, form)


@lowering("Loop")
def loop(c: Context, n: Node) -> Result:
    body = n.attr("body")
    states = len(body.input) - 2
    trips = c.const(n.inputs[0]) if n.inputs[0] else None
    wanted = c.const(n.inputs[1]) if n.inputs[1] else np.array(True)
    node = helper.make_node("Loop", [], [], body=body)
    if trips is None or wanted is None or not wanted.all() or not stays(node):
        raise Unsupported("the trip count or the condition is computed from the input", "a constant number of rounds")
    initial = n.inputs[2 : 2 + states]
    axes = [(0, False)] * (len(body.output) - 1 - states)
    form = Form(body, int(trips.reshape(())), initial, ["number", "condition", *range(states)], 1, axes)
    return _looped(c, n, form)


# ---- the loop --------------------------------------------------------------------------------------------------------


def _looped(c: Context, n: Node, form: Form) -> Result:
    if form.rounds > ROUNDS:
        raise Unsupported(f"a loop of {form.rounds} rounds", f"at most {ROUNDS}")
    model, outer = _model(c, n, form)
    run = Runner(model)
    runs = [r for k in range(c.out.samples) for r in _rounds(c, form, run, outer, k)]
    states = len(form.initial)
    outputs = [o.name for o in form.body.output[form.skipped :]]
    seen = [[np.asarray(r[o]) for r in runs] for o in outputs]
    graph = passes.rewritten(graph_of(model, runs), c.precision)

    repeat = Loop(c, form.rounds)
    starts = [c.tensor(i) for i in form.initial]
    types = [_type(c, [*xs, *c.given(i)]) for xs, i in zip(seen, form.initial, strict=False)]
    names = []
    for j, (start, (t, unit)) in enumerate(zip(starts, types, strict=True)):
        own = form.body.input[list(form.inputs).index(j)].name
        before = [np.asarray(r[own], np.float64) for r in runs]
        rounds = [before[k : k + form.rounds] for k in range(0, len(before), form.rounds)]
        names.append(repeat.state(f"{n.outputs[0]}.state{j}", _as(c, start, t, unit), t, unit, rounds))
    rows = []
    for j, xs in enumerate(seen[states:]):
        t, unit = _type(c, xs)
        rows.append((repeat.rows(f"{n.outputs[0]}.rows{j}", t.shape, t.dtype), t, unit))
    sources = {x.name: _leading(c, c.tensor(x.name), x.axis) for x in form.inputs if isinstance(x, Scanned)}
    inner = Context(graph, c.out, c.precision)
    inner.narrowed = c.narrowed
    places = {m.outputs[0]: m for m in graph.nodes if _is_place(m, form)}
    located = {m.inputs[0]: c.tensor(m.inputs[0]) for m in places.values()}
    with repeat:
        for i, what in zip(form.body.input, form.inputs, strict=True):
            if isinstance(what, int):
                inner.tensors[i.name] = repeat.get(names[what])
            elif isinstance(what, Scanned):
                inner.tensors[i.name] = repeat.row(sources[what.name], what.backwards)
        for name in outer:
            if name not in graph.constants:
                inner.tensors[name] = repeat.inside(c.tensors[name])
        for m in graph.nodes:
            if m.outputs[0] in places:
                axis = m.attr("axis", 0) % len(c.shape(m.inputs[0]))
                inner.tensors[m.outputs[0]] = repeat.row(_leading(c, located[m.inputs[0]], axis))
            else:
                lower_node(inner, m)
        made = [inner.tensor(o) for o in outputs]
        for (name, t, unit), x, (_, backwards) in zip(rows, made[states:], form.axes, strict=True):
            repeat.keep(name, _as(c, x, t, unit), backwards)
        held = [_as(c, x, t, unit) for x, (t, unit) in zip(made, types, strict=False)]
        for name, x in zip(names, held, strict=True):
            repeat.set(name, x)
    joined = [repeat.result(name) for name in names]
    for (name, _, _), (axis, _) in zip(rows, form.axes, strict=True):
        joined.append(_trailing(c, repeat.result(name), axis))
    return joined


def _is_place(m: Node, form: Form) -> bool:
    """A part, at the iteration's number, of a tensor from outside."""
    if "number" not in form.inputs or m.op != "Gather" or m.domain:
        return False
    return bool(m.inputs[1] == form.body.input[list(form.inputs).index("number")].name)


def _model(c: Context, n: Node, form: Form) -> tuple[onnx.ModelProto, list[str]]:
    """The body as a model, and what it reads from outside. Constants from outside become its initializers."""
    outer = captured(helper.make_node(n.op, [], [], body=form.body))
    constants = [o for o in outer if c.const(o) is not None]
    infos = [_input(c, form, i.name, what) for i, what in zip(form.body.input, form.inputs, strict=True)]
    infos += [_info(o, c.value(o).dtype, c.shape(o)) for o in outer if o not in constants]
    initial = [*form.body.initializer, *(onnx.numpy_helper.from_array(np.asarray(c.const(o)), o) for o in constants)]
    outputs = [onnx.ValueInfoProto(name=o.name) for o in form.body.output[form.skipped :]]
    graph = helper.make_graph(form.body.node, form.body.name or "body", infos, outputs, initial)
    opsets = [helper.make_opsetid(domain, version) for domain, version in c.graph.opsets.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION), outer


def _input(c: Context, form: Form, name: str, what: int | Scanned | str) -> onnx.ValueInfoProto:
    if isinstance(what, int):
        initial = form.initial[what]
        return _info(name, c.value(initial).dtype, c.shape(initial))
    if isinstance(what, Scanned):
        shape = c.shape(what.name)
        return _info(name, c.value(what.name).dtype, (*shape[: what.axis], *shape[what.axis + 1 :]))
    return _info(name, np.dtype(np.int64 if what == "number" else np.bool_), ())


def _info(name: str, dtype: np.dtype[Any], shape: Sequence[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), shape)


def _rounds(c: Context, form: Form, run: Runner, outer: Sequence[str], k: int) -> list[dict[str, Any]]:
    """Every tensor of the float model's body in every round, on sample k."""
    states = [np.asarray(c.given(i)[k]) for i in form.initial]
    fixed = {o: np.asarray(c.given(o)[k]) for o in outer if c.const(o) is None}
    out = []
    for t in range(form.rounds):
        feeds = dict(fixed)
        for i, what in zip(form.body.input, form.inputs, strict=True):
            if isinstance(what, int):
                feeds[i.name] = states[what]
            elif isinstance(what, Scanned):
                at = form.rounds - 1 - t if what.backwards else t
                feeds[i.name] = np.take(np.asarray(c.given(what.name)[k]), at, axis=what.axis)
            else:
                feeds[i.name] = np.array(t if what == "number" else True)
        found = run(feeds)
        out.append(found)
        outputs = [np.asarray(found[o.name]) for o in form.body.output[form.skipped :]]
        for j, (old, new) in enumerate(zip(states, outputs, strict=False)):
            if old.shape != new.shape or old.dtype != new.dtype:
                raise Unsupported(*changes(j, old.shape, new.shape))
        states = outputs[: len(states)]
    return out


# ---- units -----------------------------------------------------------------------------------------------------------


def _type(c: Context, xs: Sequence[Array]) -> tuple[TensorType, float]:
    """Type and unit of a tensor that is these reals or integers in some round."""
    shape, kind = xs[0].shape, xs[0].dtype.kind
    if kind == "b":
        return TensorType(DType.I8, shape, 0, 1), 1.0
    if kind != "f":
        return TensorType(DType.I32, shape, DType.I32.lo, DType.I32.hi), 1.0
    finite = [np.abs(x[np.isfinite(x)]).max(initial=0.0) for x in (x.astype(np.float64) for x in xs)]
    reach = float(max(finite)) * c.precision.margin or 1.0
    bits, room = (FINE_BITS, ROOM) if c.precision.fine else (c.precision.activations - 1, 0)
    bound = 2 ** (bits + room)
    dtype = next(d for d in DType if d.lo <= -bound and bound - 1 <= d.hi)
    return TensorType(dtype, shape, -bound, bound - 1), 2.0 ** (math.ceil(math.log2(reach)) - bits)


def _as(c: Context, x: Tensor, t: TensorType, unit: float) -> Tensor:
    """``x`` in this type and unit. Integers trap where they leave it, reals saturate."""
    if x.scale == unit and t.lo <= x.type.lo and x.type.hi <= t.hi:
        y = x
    elif unit == 1.0 and x.scale == 1.0 and t.interval == (t.dtype.lo, t.dtype.hi):
        y = c.emit("cast", x, dtype=t.dtype)
    else:
        y = c.rescale_to(x, unit, t.dtype, t.lo, t.hi)
    return y if y.type.dtype is t.dtype else c.emit("cast", y, dtype=t.dtype)


def _leading(c: Context, x: Tensor, axis: int) -> Tensor:
    if axis == 0:
        return x
    return c.emit("transpose", x, perm=(axis, *(a for a in range(len(x.shape)) if a != axis)))


def _trailing(c: Context, x: Tensor, axis: int) -> Tensor:
    """The first axis moved to place ``axis``."""
    axis %= len(x.shape)
    if axis == 0:
        return x
    rest = list(range(1, len(x.shape)))
    return c.emit("transpose", x, perm=tuple([*rest[:axis], 0, *rest[axis:]]))
