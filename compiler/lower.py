"""The registry of lowerings, what a lowering may use, and the driver that runs them over a graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from syurmy.compiler.channels import Channels, input_interval, input_scales, levelled, uniform
from syurmy.compiler.coding import Code
from syurmy.compiler.emit import Emitter, Tensor, narrowest
from syurmy.compiler.errors import Problem, Unsupported, UnsupportedModel
from syurmy.compiler.graph import Graph, Node, Value
from syurmy.compiler.jumps import told_apart
from syurmy.compiler.kept import GONE
from syurmy.compiler.mantissas import coarse, reach
from syurmy.compiler.questions import code_of, coded_inputs
from syurmy.compiler.readings import Reading
from syurmy.compiler.recorded import quantise_input
from syurmy.compiler.saturation import WRAPS
from syurmy.compiler.scales import COARSE, FINE_BITS, ROOM_BITS, Precision, power_of_two
from syurmy.compiler.tables import Tables
from syurmy.compiler.ties import Tie, ties
from syurmy.isa.arrays import Array
from syurmy.isa.types import MAX_RANK, DType, TensorType

Result = Tensor | Channels | Sequence[Tensor | Channels | None]
Lowering = Callable[["Context", Node], Result]
Absorbing = Callable[["Context", Node], Result | None]
Lowered = TypeVar("Lowered", bound=Callable[..., Result])

VIEWS = {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Expand", "Tile"}
_REGISTRY: dict[tuple[str, str], dict[int, Lowering]] = {}
_ABSORBING: dict[tuple[str, str], Absorbing] = {}


def lowering(*ops: str, since: int = 1, domain: str = "") -> Callable[[Lowered], Lowered]:
    """Registers a function as the lowering of ``ops`` from opset version ``since`` on (until a later one)."""

    def register(f: Lowered) -> Lowered:
        for op in ops:
            versions = _REGISTRY.setdefault((domain, op), {})
            if since in versions:
                raise ValueError(f"{op} since {since} is lowered twice")
            versions[since] = f
        return f

    return register


def lowerings(op: str, domain: str = "") -> tuple[Lowering, ...]:
    """Those registered for an operator, oldest first."""
    return tuple(f for _, f in sorted(_REGISTRY.get((domain, op), {}).items()))


def absorbing(*ops: str, domain: str = "") -> Callable[[Absorbing], Absorbing]:
    """Registers what ``ops`` do with a source whose entries have scales of their own (``compiler.channels``); None
    from it: the lowering gets the tensor at one scale, as all others do."""

    def register(f: Absorbing) -> Absorbing:
        _ABSORBING.update({(domain, op): f for op in ops})
        return f

    return register


def absorbs(n: Node) -> bool:
    return (n.domain, n.op) in _ABSORBING


def is_lowered(domain: str, op: str) -> bool:
    return ("" if domain == "ai.onnx" else domain, op) in _REGISTRY


def operators() -> list[tuple[str, str]]:
    """(domain, operator) of everything that has a lowering."""
    return sorted(_REGISTRY)


@dataclass(frozen=True)
class Step:
    """What one node became: instructions ``first .. last - 1``, and the tensors of its outputs."""

    node: Node
    first: int
    last: int
    results: tuple[tuple[str, Tensor | Channels], ...]


class _Tensors(dict[str, Tensor]):
    """Tensors by name; one with scales of its entries' own is brought to one scale when it is asked for. ``held``:
    names of those whose integers on samples are there."""

    def __init__(self, c: Context) -> None:
        super().__init__()
        self._context = c
        self.held: dict[str, None] = {}

    def __setitem__(self, name: str, x: Tensor) -> None:
        super().__setitem__(name, x)
        self.held[name] = None

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in self._context.channels

    def __missing__(self, name: str) -> Tensor:
        self[name] = uniform(self._context, self._context.channels[name])
        return self[name]


class Tied(NamedTuple):
    """A shared matrix: its integers; where they have 8 bits, what a unit of each row is beside that of all
    (``[rows, 1]``); and whether the matrix that was asked for is its transpose."""

    q: Tensor
    rows: Tensor | None
    turned: bool


class Context(Tables):
    """What a lowering sees: the graph's constants, ranges and shapes, the tensors made so far, and fixed-point
    arithmetic (``Scales``, ``Narrowing``, ``Tables``)."""

    def __init__(self, graph: Graph, out: Emitter, precision: Precision) -> None:
        super().__init__(out, precision)
        self.graph = graph
        self.channels: dict[str, Channels] = {}
        self.tensors = _Tensors(self)
        self._tied: dict[str, tuple[Tensor, Tensor | None]] = {}
        self.coded: dict[str, Code] = {}  # inputs whose integers have the order of the reals, and no scale

    # ---- operands ------------------------------------------------------------------------------------------------

    def has(self, n: Node, i: int) -> bool:
        """Whether the optional input i is present."""
        return i < len(n.inputs) and n.inputs[i] != ""

    def const(self, name: str) -> Array | None:
        """The constant's array in its ONNX dtype, or None."""
        return self.graph.constants.get(name)

    def operand(self, name: str) -> Tensor | Array:
        """A tensor, or the constant's array (reals as float64)."""
        c = self.const(name)
        if c is None:
            return self.tensors[name]
        return c.astype(np.float64) if c.dtype.kind in "fiub" else c

    def weight(self, name: str) -> Tensor | Array:
        """``operand``, a constant of float32 as it is: large ones are not copied."""
        c = self.const(name)
        return self.operand(name) if c is None or c.dtype != np.float32 else c

    def tensor(self, name: str) -> Tensor:
        """A tensor; a real constant is quantised to the weights' width, an integer one is exact."""
        c = self.const(name)
        if c is None:
            return self.tensors[name]
        if c.dtype.kind == "f":
            if (tied := self.tied(name)) is not None and tied.rows is None:
                return self.emit("transpose", tied.q, perm=(1, 0)) if tied.turned else tied.q
            return self.quantised(c, label=name)
        return self.out.param(c if c.dtype.kind in "iu" else c.astype(np.int64), 1.0, name)

    @cached_property
    def ties(self) -> Mapping[str, Tie]:
        return ties(self.graph, self.precision.weights <= COARSE)

    def tied(self, name: str) -> Tied | None:
        """The param that a matrix shares with all that it is tied to (``compiler.ties``)."""
        tie = self.ties.get(name)
        if tie is None:
            return None
        if tie.name not in self._tied:
            w = self.graph.constants[tie.name]
            if self.precision.weights > COARSE or reach(w) == 0:
                self._tied[tie.name] = self.finest(w, tie.name), None
            else:
                q, m, unit = coarse(w, 0, 2 ** (self.precision.weights - 1) - 1, 0.0)
                rows = self.out.param(m, 1.0, f"{tie.name}.rows")
                self._tied[tie.name] = self.out.param(q, unit, tie.name), rows
        return Tied(*self._tied[tie.name], tie.turned)

    def ints(self, n: Node, i: int, what: str) -> tuple[int, ...]:
        """Input i as constant integers (axes, shapes, ...); refuses data."""
        c = self.const(n.inputs[i])
        if c is None:
            raise Unsupported(f"{what} is computed from the input", "a constant")
        return tuple(int(v) for v in np.asarray(c).reshape(-1))

    def axes(self, n: Node, i: int, rank: int, attr: str = "axes") -> tuple[int, ...] | None:
        """Axes from attribute ``attr`` or from input i, counted from 0; None if absent."""
        found = n.attr(attr)
        if found is None and self.has(n, i):
            found = self.ints(n, i, attr)
        return None if found is None else tuple(int(a) % rank for a in found)

    def give_up(self, names: Iterable[str]) -> None:
        """No node to come reads these tensors: what they were on the samples goes, and with it what was narrowed of
        them."""
        for name in names:
            if name in self.channels:
                self.channels[name] = self.channels[name].bare
            if name in self.tensors.held:
                self.tensors[name] = self.tensors[name].bare
                del self.tensors.held[name]
        read = {x.q.name for x in self.channels.values() if x.q.values is not GONE}
        read.update(self.tensors[name].name for name in self.tensors.held)
        for (register, bits), (y, _) in [*self.narrowed.items()]:  # in the order in which they were made
            if register in read:
                read.add(y.name)
            else:
                del self.narrowed[register, bits]

    def close(self) -> None:
        """Nothing will be emitted any more, and the weights are written: lets go of them, and of all tensors."""
        for held in (self.tensors, self.tensors.held, self.channels, self.narrowed, self._tied):
            held.clear()
        self.out.close()

    # ---- what the float model knows --------------------------------------------------------------------------------

    def value(self, name: str) -> Value:
        return self.graph.values[name]

    def shape(self, name: str) -> tuple[int, ...]:
        return self.graph.values[name].shape

    def peak(self, name: str) -> float:
        """The largest magnitude on the samples."""
        return self.graph.values[name].absmax

    def given(self, name: str) -> Sequence[Array]:
        """The float model's tensor on every sample."""
        c = self.const(name)
        return self.graph.samples[name] if c is None else [c] * self.out.samples

    def is_float(self, name: str) -> bool:
        return self.graph.values[name].dtype.kind == "f"

    # ---- integers --------------------------------------------------------------------------------------------------

    def wrapped(self, x: Tensor, dtype: np.dtype[Any]) -> Tensor:
        """``x`` modulo 2^bits in the range of an integer dtype; itself if it is there already."""
        info = np.iinfo(dtype)
        lo, hi = int(info.min), int(info.max)
        if lo <= x.type.lo and x.type.hi <= hi:
            return x
        if info.bits > 32:
            raise Unsupported(f"a value of {dtype} that can overflow", "32 bits or less")
        y = self.emit("addi", x, value=-lo) if lo else x
        y = self.emit("mod", y, self.out.param(np.array(1 << info.bits)), scale=1.0)
        return self.emit("addi", y, value=lo) if lo else y

    def wraps(self, x: Tensor, dtype: np.dtype[Any]) -> None:
        """Notes that the last instruction made ``x``, a sum or product that goes on modulo 2^32 where onnxruntime gives
        the end of int32: told when the model is compiled, and of runs in which it happens."""
        info = np.iinfo(np.int32)
        if dtype == np.int32 and (x.type.lo < info.min or x.type.hi > info.max):
            self.out.wraps[self.out.node] = None
            self.out.cuts_off(x, x, int(info.min) - 1, int(info.max) + 1, cause=WRAPS)


def input_type(v: Value, precision: Precision, unsigned: bool = False) -> tuple[TensorType, float]:
    """Register type and scale of a model input. Integers enter exactly, with the interval of their dtype cut to that of
    i32 (of 32 bits without a sign if ``unsigned``); reals at the least power of two that covers the samples, so that
    whole numbers, halves and the like (pixels, counts, thresholds) are exact and equal ones stay equal."""
    if v.dtype.kind == "f":
        bits = FINE_BITS if precision.fine else precision.activations - 1
        scale = power_of_two((v.absmax * precision.margin or 1.0) / (2**bits - 1))
        bits += ROOM_BITS * precision.fine  # as other factors have
        dtype = next(d for d in DType if d.bits > bits)
        return TensorType(dtype, v.shape, -(2**bits), 2**bits - 1), float(np.float64(scale))
    if v.dtype.kind == "b":
        return TensorType(DType.I8, v.shape, 0, 1), 1.0
    if v.dtype.kind not in "iu":
        raise Unsupported(f"dtype {v.dtype}", "numbers")
    return input_interval(v.dtype, v.shape, unsigned), 1.0


def whole_input(graph: Graph, name: str) -> tuple[TensorType, float] | None:
    """Type and scale of a real input that is cast to integers and nothing else, whole on all samples: it enters as the
    integers that it holds."""
    v = graph.values[name]
    if v.dtype.kind != "f" or v.absmax > DType.I32.hi or name in graph.outputs:
        return None
    waiting, casts = [name], 0
    while waiting:
        at = waiting.pop()
        for n in graph.nodes:
            if at in n.inputs[:1] and n.op in VIEWS and not set(n.outputs) & set(graph.outputs):
                waiting += n.outputs
            elif at in n.inputs and not (n.op == "Cast" and graph.values[n.outputs[0]].dtype.kind in "iu"):
                return None
            casts += at in n.inputs and n.op == "Cast"
    whole = all((np.isfinite(x) & (np.rint(x) == x)).all() for x in graph.samples[name])
    return (TensorType(DType.I32, v.shape, DType.I32.lo, DType.I32.hi), 1.0) if casts and whole else None


def quantised_input(graph: Graph, name: str) -> tuple[TensorType, float] | None:
    """Type and scale of a real input that the model does nothing with but quantise, in one way: it enters as the
    integers of that QuantizeLinear, less the zero point, and is exact."""
    ways = set()
    for n in graph.nodes:
        if name not in n.inputs:
            continue
        if n.op != "QuantizeLinear" or n.attr("precision"):
            return None
        given = [graph.constants[i] for i in n.inputs[1:] if i in graph.constants]
        to = graph.values[n.outputs[0]].dtype
        if to.kind not in "iu" or to.itemsize > 2:
            return None
        absent = len(given) != sum(map(bool, n.inputs[1:]))
        if absent or any(g.size != 1 for g in given) or given[0].dtype != np.float32:
            return None
        ways.add((float(given[0].reshape(())), int(given[1].reshape(())) if len(given) > 1 else 0, to))
    if len(ways) != 1 or name in graph.outputs or graph.values[name].dtype != np.float32:
        return None
    scale, zero, to = ways.pop()
    lo, hi = int(np.iinfo(to).min) - zero, int(np.iinfo(to).max) - zero
    dtype = next(d for d in DType if d.lo <= lo and hi <= d.hi)
    return TensorType(dtype, graph.values[name].shape, lo, hi), scale


def own_units(graph: Graph, name: str, margin: float) -> tuple[TensorType, Array] | None:
    """``input_scales`` of an input that a reader can take up so; of integers, where something computes with reals."""
    readers = [n for n in graph.reading.get(name, ()) if absorbs(n)]
    if graph.values[name].dtype.kind != "f":
        readers = [n for n in readers if n.domain or (n.op == "Cast" and graph.values[n.outputs[0]].dtype.kind == "f")]
    return input_scales(graph, name, margin) if readers else None


class Apart(Protocol):
    """Declares inputs of a graph, of these names, itself, and sees every node before it is lowered."""

    @property
    def names(self) -> frozenset[str]: ...

    def enter(self, c: Context) -> None: ...

    def before(self, c: Context, n: Node) -> None: ...


def lower(
    graph: Graph,
    out: Emitter,
    precision: Precision,
    public: bool,
    tell: Callable[[float], None],
    readings: Mapping[str, Reading],
    within: Mapping[str, tuple[int, int]],
    done: Callable[[Step], None],
    apart: Apart | None = None,
) -> tuple[Context, list[Step]]:
    """Emits the whole graph; ``tell`` hears which part of it is done; ``within``: intervals of integer inputs that are
    narrower than their dtypes'; ``done`` gets every node's results while their integers on samples are there: of those
    that are returned only the model's inputs and outputs have them; ``apart``: inputs that something else declares.
    Raises ``UnsupportedModel`` with everything that cannot be compiled."""
    c = Context(graph, out, precision)
    problems = [p for n in graph.nodes if (p := _unknown(n)) is not None]
    problems += [p for name in (*graph.inputs, *graph.outputs) if (p := _unusable(name, graph)) is not None]
    compared = coded_inputs(graph)
    for name in graph.inputs:
        if apart is not None and name in apart.names:
            continue
        if name in readings:
            _read_input(c, name, readings[name], public)
            continue
        if name in compared:
            _coded_input(c, name, code_of(graph, name, compared[name]), public)
            continue
        try:
            recast = set(graph.readers(name)) == {"BitCast"}  # nothing is computed that could leave 61 bits
            exact = quantised_input(graph, name) or whole_input(graph, name)
            if name in within:
                exact = narrowest(graph.values[name].shape, *within[name]), 1.0
            t, scale = exact or input_type(graph.values[name], precision, recast)
            if any(
                x.size and not t.lo <= x.min() <= x.max() <= t.hi for x in graph.samples[name] if x.dtype.kind in "iu"
            ):
                raise Unsupported("a sample beyond 32 bits", f"integers in {t.lo} .. {t.hi}")
        except Unsupported as e:
            problems.append(Problem(name, "input", e.reason, e.need))
            continue
        if precision.channels and (found := own_units(graph, name, precision.margin)) is not None:
            _channelled_input(c, name, *found, public)
            continue
        if math.prod(t.shape):
            samples = (quantise_input(np.asarray(x), t, scale) for x in graph.samples[name])
            c.tensors[name] = out.input(name, t, scale, samples, public)
    if apart is not None and not problems:
        apart.enter(c)
    steps = []
    last = {name: k for k, n in enumerate(graph.nodes) for name in (*n.outputs, *n.inputs)}  # that makes or reads it
    over: dict[int, list[str]] = {}
    for name in last.keys() - {*graph.inputs, *graph.outputs}:
        over.setdefault(last[name], []).append(name)
    for k, n in enumerate(graph.nodes):
        tell(k / len(graph.nodes))
        if not all(not i or i in c.tensors or i in graph.constants for i in n.inputs):
            continue  # behind a node that was reported
        first = len(out.code)
        try:
            if apart is not None:
                apart.before(c, n)
            step = lower_node(c, n)
        except Unsupported as e:
            problems.append(Problem(n.name, n.op, e.reason, e.need))
            continue
        except ArithmeticError as e:  # a constant or a scale beyond what numbers can hold
            problems.append(Problem(n.name, n.op, f"its numbers: {e}", "a smaller range"))
            continue
        done(Step(n, first, len(out.code), step))
        steps.append(Step(n, first, len(out.code), tuple((name, t.bare) for name, t in step)))  # not the integers
        c.give_up(over.get(k, ()))
    reported = {p.node: p for p in problems}
    if problems:
        raise UnsupportedModel(list(reported.values()))
    return c, steps


def _channelled_input(c: Context, name: str, t: TensorType, scales: Array, public: bool) -> None:
    """An input whose features have scales of their own. One of integers is that, too, for its readers that compute
    with reals."""
    samples = (quantise_input(np.asarray(x), t, scales) for x in c.graph.samples[name])
    x = c.out.input(name, t, 1.0, samples, public)
    if c.is_float(name):
        c.channels[name] = Channels(x, scales)
    else:
        c.tensors[name], c.channels[name] = x, levelled(c, x)


def _read_input(c: Context, name: str, r: Reading, public: bool) -> None:
    """An input that has the integers of another program's tensor."""
    if r.scales is not None:
        _channelled_input(c, name, r.type, r.scales, public)
        return
    samples = (quantise_input(np.asarray(x), r.type, r.port.scale) for x in c.graph.samples[name])
    c.tensors[name] = c.out.input(name, r.type, r.port.scale, samples, public)


def _coded_input(c: Context, name: str, code: Code, public: bool) -> None:
    """An input by order: its integers need no scale, and no range but that of its floats."""
    shape = c.shape(name)
    lo, hi = code.ends(shape)
    dtype = next(d for d in DType if d.lo <= lo.min() and hi.max() <= d.hi)
    t = TensorType(dtype, shape, int(lo.min()), int(hi.max()))
    samples = (code.encode(np.asarray(x)) for x in c.graph.samples[name])
    c.coded[name] = code
    c.tensors[name] = c.out.input(name, t, 1.0, samples, public)


def lower_node(c: Context, n: Node) -> tuple[tuple[str, Tensor | Channels], ...]:
    """Emits one node; its results, which the context keeps. Raises ``Unsupported``."""
    f, g = _find(n), _ABSORBING.get((n.domain, n.op))
    if f is None:
        raise Unsupported("no lowering")
    out = n.outputs[0] or n.name
    c.out.prefix, c.out.node = out, (n.name, n.op)
    shown = ", ".join(f"{o} {list(c.shape(o))}" for o in n.outputs if o in c.graph.values)
    c.out.comment(f"{n.op} '{n.name}' -> {shown}")
    first = len(c.out.code)
    real = n.domain != "" or out not in c.graph.values or c.is_float(out)
    real = any(i in c.channels and (real or c.is_float(i)) for i in n.inputs)
    taken = g(c, n) if g is not None and real else None  # integers stay at scale 1 among themselves
    result = f(c, n) if taken is None else taken
    tensors = [result] if isinstance(result, Tensor | Channels) else list(result)
    made = []
    for name, t in zip(n.outputs, tensors, strict=False):
        if not name or t is None:
            continue
        v = c.value(name)
        if isinstance(t, Channels):
            pass  # reals
        elif v.dtype.kind in "iu" and v.dtype.itemsize <= 4:
            squares = n.op == "Mul" and n.inputs[0] == n.inputs[1] and c.graph.readers(name) == ["ReduceSum"]
            if n.op == "ReduceSum" or squares:  # the body of ReduceSumSquare
                c.wraps(t, v.dtype)
            t = c.wrapped(t, v.dtype)
        elif v.dtype.kind == "u" and t.type.lo < 0 and c.out.code[first:] and c.out.code[-1].dst == t.name:
            c.out.cuts_off(t, t, -1, None)  # 64 bits do not wrap here: it is told where they would
        if t.shape != c.shape(name):
            raise Unsupported(f"the lowering gives shape {list(t.shape)}, the model {list(c.shape(name))}", "a fix")
        if isinstance(t, Channels):
            c.channels[name] = t
        else:
            c.tensors[name] = t
        made.append((name, t))
    told_apart(c, n, first)
    return tuple(made)


def _find(n: Node) -> Lowering | None:
    versions = _REGISTRY.get((n.domain, n.op), {})
    usable = [v for v in versions if v <= n.version]
    return versions[max(usable)] if usable else None


def _unknown(n: Node) -> Problem | None:
    if _find(n) is not None:
        return None
    domain = f"{n.domain}." if n.domain else ""
    return Problem(n.name, f"{domain}{n.op}", f"no lowering at version {n.version}", "another operator, or a lowering")


def _unusable(name: str, graph: Graph) -> Problem | None:
    v = graph.values[name]
    if v.dtype.kind not in "fiub":
        return Problem(name, "tensor", f"dtype {v.dtype}", "numbers")
    if len(v.shape) > MAX_RANK:
        return Problem(name, "tensor", f"it has {len(v.shape)} axes", f"{MAX_RANK} axes at most")
    if not math.prod(v.shape):
        return Problem(name, "tensor", f"shape {list(v.shape)} has no entries", "one entry or more")
    return None
