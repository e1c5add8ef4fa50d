"""Tree ensembles, by the path that is taken: one memory read per tree and step, whatever the number of nodes.

At step k every tree is at a row of table k: an integer of the features, a cut, where to go on each side, and what is
added to the scores there. ``b = [q <= cut]`` chooses; scores are exact sums of the leaves' weights. A step costs two
reads and one comparison per tree, and the nodes of its table once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.errors import Unsupported
from syurmy.compiler.forest import AGGREGATES, TRANSFORMS, Decision, Forest, Level, decisions, forest, levels
from syurmy.compiler.graph import FUSED, Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.ops.decisions import Sources
from syurmy.compiler.ops.scores import label_of, pair_of, transformed
from syurmy.compiler.scales import power_of_two
from syurmy.compiler.tabular import DOMAIN
from syurmy.isa.arrays import F64, I64, Reals

BITS, ROOM = 44, 59  # of the largest weight, and of all sums


@dataclass(frozen=True)
class Walk:
    """``sums`` [rows, trees, targets] of the leaves reached, in units of ``unit``; trees that are one leaf are last."""

    sums: Tensor
    unit: float


def unit_of(numbers: F64, terms: int) -> float:
    """The largest power of two of which all ``numbers`` are multiples, so that sums of ``terms`` are exact; larger
    where they would need more bits than there are."""
    finite = numbers[numbers != 0]
    if not finite.size:
        return 1.0
    largest = power_of_two(float(np.abs(finite).max()))
    least = largest * 2.0 ** -min(BITS, ROOM - terms.bit_length())
    unit = min(largest, 1.0)
    while unit > least and (np.rint(finite / unit) * unit != finite).any():
        unit /= 2
    return max(unit, least)


def walk(c: Context, n: Node, f: Forest, extra: F64) -> Walk:
    """Every tree from its root to the leaf that is reached. ``extra``: what will be added to the sums."""
    of = n.attr("of")
    rows = of[0] if len(of) > 1 else 1
    entries = n.attr("entries")[: of[-1]]
    if f.features.max(initial=0) >= len(entries):
        raise Unsupported(f"a node reads feature {int(f.features.max())} of {len(entries)}", "features that exist")
    s = Sources(c, n, rows)
    by_entry: dict[object, list[int]] = {}
    for k, (feature, mode) in enumerate(zip(f.features, f.modes, strict=True)):
        if mode != "LEAF":
            by_entry.setdefault((entries[feature].base, entries[feature].maps), []).append(k)
    for nodes in by_entry.values():
        values = np.concatenate([f.members.get(k, f.values[k : k + 1]) for k in nodes])
        s.steps.prepare(entries[f.features[nodes[0]]], values)

    def decide(feature: int, mode: str, values: Reals, tracks: bool) -> Decision:
        return s.decide((entries[feature], mode, values, tracks))

    def place(feature: int) -> int:
        return s.place(entries[feature])

    g, roots = decisions(f, decide, s.copies, place, lambda k: s.top(place(k)))
    tables = levels(g, roots)
    unit = unit_of(np.concatenate([f.weights.reshape(-1), extra]), 2 * len(roots) * max(len(tables), 1) * 4)
    weights = np.vstack([np.rint(f.weights / unit), np.zeros((1, f.weights.shape[1]))]).astype(np.int64)
    alone = np.array([weights[-1 - r] for r in roots if r < 0], np.int64).reshape(-1, weights.shape[1])
    count = len(roots) - len(alone)
    parts = []
    if count:
        twice = any((t.sources >= s.copies).any() for t in tables)
        q = s.with_copies() if twice else s.x
        parts.append(_steps(c, tables, q, weights, rows, count, s.error))
    if len(alone):
        parts.append(c.broadcast(c.out.param(alone), (rows, *alone.shape)))
    sums = parts[0] if len(parts) == 1 else c.emit("concat", *parts, axis=1, scale=1.0)
    return Walk(sums, unit)


def _steps(c: Context, tables: list[Level], q: Tensor, weights: I64, rows: int, count: int, error: float) -> Tensor:
    """The walk of ``count`` trees over ``q`` [rows, integers], which are ``error`` off, for every row: sums [rows,
    trees, targets]."""
    width, targets = q.shape[1], weights.shape[1]
    flat = c.reshape(q, (q.type.size,))
    lead = np.repeat(np.arange(rows) * width, count)
    acc = following = None
    for k, t in enumerate(tables):
        table = _table(t, weights)
        if k == 0:
            row = c.out.param(np.tile(table, (rows, 1)), 1.0, "roots")
        else:
            assert following is not None
            row = c.emit("gather", c.out.param(table, 1.0, f"step{k}"), following, scale=1.0)
        source, cut, high, low, top, bottom = _columns(c, row, (1, 1, 1, 1, targets, targets))
        place = c.reshape(source, (rows * count,))
        if rows > 1 and k:
            place = c.emit("add", place, c.out.param(lead), scale=1.0)
        elif rows > 1:
            place = c.out.param(np.tile(table[:, 0], rows) + lead)
        x = c.reshape(c.emit("gather", flat, place, scale=1.0), (rows * count, 1))
        b = c.emit("le", x, cut, scale=1.0)
        c.out.decides_within("pair", x, error)
        if k + 1 < len(tables):
            step = c.emit("add", high, c.emit("mul", b, low, scale=1.0), scale=1.0)
            following = c.reshape(step, (rows * count,))
        value = c.emit("add", top, c.emit("mul", b, bottom, scale=1.0), scale=1.0)
        acc = value if acc is None else c.emit("add", acc, value, scale=1.0)
    assert acc is not None
    return c.reshape(acc, (rows, count, targets))


def _table(t: Level, weights: I64) -> I64:
    """Rows: integer, cut, next row on the high side, what is added on the low one, the same for the scores."""
    high, low = weights[t.high_leaf], weights[t.low_leaf]
    return np.column_stack([t.sources, t.cuts, t.high, t.low - t.high, high, low - high])


def _columns(c: Context, row: Tensor, widths: tuple[int, ...]) -> list[Tensor]:
    starts = np.cumsum([0, *widths])
    return [c.emit("slice", row, axis=1, start=int(a), len=w) for a, w in zip(starts, widths, strict=False)]


def _bounded(c: Context, x: Tensor, f: Forest, unit: float, trees: int) -> Tensor:
    """``x`` with the interval that sums of one leaf per tree have: that of the tables' rows is far wider."""
    lo = trees * int(np.floor(min(f.weights.min(initial=0.0), 0.0) / unit))
    hi = trees * int(np.ceil(max(f.weights.max(initial=0.0), 0.0) / unit))
    return c.emit("clamp", x, lo=lo, hi=max(hi, lo + 1)) if x.type.lo < lo or x.type.hi > hi else x


def _base(n: Node) -> F64:
    tensor = n.attr("base_values_as_tensor")
    return np.asarray(n.attr("base_values", ()) if tensor is None else tensor, np.float64).reshape(-1)


def _scores(c: Context, n: Node, f: Forest, extra: F64, aggregate: str = "SUM") -> Tensor:
    """[rows, targets] before base values, exact."""
    w = walk(c, n, f, extra)
    trees = w.sums.shape[1]
    if aggregate in ("SUM", "AVERAGE"):
        x = c.emit("sum", w.sums, axes=(1,), keepdims=False, scale=w.unit)
        return _bounded(c, x, f, w.unit, trees)
    if not f.given.all():
        raise Unsupported(f"{aggregate} over leaves without a weight for every target", "one for each")
    x = c.emit("transpose", _bounded(c, w.sums, f, w.unit, 1), perm=(0, 2, 1), scale=w.unit)
    return c.emit("reduce_max" if aggregate == "MAX" else "reduce_min", x, axis=-1, keepdims=False)


@lowering("TreeEnsembleRegressor", "TreeEnsemble", domain=FUSED)
def regressor(c: Context, n: Node) -> Result:
    f, base = forest(n), _base(n)
    aggregate, transform = n.attr("aggregate_function", "SUM"), n.attr("post_transform", "NONE")
    if n.op == "TreeEnsemble":
        aggregate, transform = AGGREGATES[n.attr("aggregate_function", 1)], TRANSFORMS[n.attr("post_transform", 0)]
    scale = len(f.roots) if aggregate == "AVERAGE" else 1
    extra = base * scale if base.size == f.weights.shape[1] else np.zeros(0)
    x = _scores(c, n, f, extra, aggregate)
    x = _plus(c, x, extra).scaled(x.scale / scale)
    y = transformed(c, x, transform if f.weights.shape[1] > 1 or transform == "PROBIT" else "NONE")
    return c.reshape(y, c.shape(n.outputs[0]))


def _plus(c: Context, x: Tensor, base: F64) -> Tensor:
    """``x + base``, in units of x."""
    if not base.any():
        return x
    return c.emit("add", x, c.out.param(np.rint(base / x.scale).astype(np.int64), 1.0, "base"), scale=x.scale)


@lowering("TreeEnsembleClassifier", domain=FUSED)
def classifier(c: Context, n: Node) -> Result:
    """Labels and scores as onnxruntime has them; where only one of two classes has weights, they decide alone."""
    f, base = forest(n), _base(n)
    labels = np.array(n.attr("classlabels_int64s"), np.int64)
    transform = n.attr("post_transform", "NONE")
    x = _scores(c, n, f, base)
    if len(labels) > 2:
        if not base.size:
            _certain(f, list(range(len(labels))))
        if base.size not in (0, len(labels)):
            raise Unsupported(f"{base.size} base values for {len(labels)} classes", "one for each")
        x = _plus(c, x, base) if base.size else x
        best = c.emit("argmax", x, axis=-1, keepdims=False, scale=1.0)
        c.out.decides_within("largest", x, _rounding(f, x), exact=len(np.unique(f.weights[f.weights != 0])) == 1)
        return label_of(c, best, labels), transformed(c, x, transform)
    return _binary(c, n, f, x, base, labels, transform)


def _binary(c: Context, n: Node, f: Forest, x: Tensor, base: F64, labels: I64, transform: str) -> Result:
    """One or two classes. A class without weights has the score 0; with weights of one class alone, that decides: above
    one half if no weight is negative, else above 0."""
    scored = sorted(np.flatnonzero(f.given.any(axis=0)).tolist())
    _certain(f, scored)
    columns = [c.emit("slice", x, axis=1, start=k, len=1) for k in range(len(labels))]
    nothing = c.muli(columns[0], 0)
    if base.size == 2 and 1 in scored:
        columns[1] = _plus(c, columns[0], base[1:])
        columns[0] = c.emit("neg", columns[1]) if 0 in scored else nothing
    elif base.size and 0 in scored:
        columns[0] = _plus(c, columns[0], base[:1])
    deciding = columns[scored[-1]]
    single = len(labels) == 2 and len(scored) == 1
    positive = single and not (f.weights < 0).any()
    cut = _half(f, x.scale) if positive and not base.size else int(np.floor(0.5 / x.scale)) if positive else 0
    yes = c.emit("gt", deciding, c.out.param(np.array(cut, np.int64)), scale=1.0)
    if len(np.unique(f.weights[f.weights != 0])) > 1 or base.size:
        c.out.decides_within("pair", deciding, _rounding(f, x))
    label = label_of(c, c.reshape(yes, (yes.shape[0],)), labels if single else np.array([0, 1]))
    if len(labels) == 1:
        return label, transformed(c, columns[0], transform if transform == "PROBIT" else "NONE")
    if scored == [0] and base.size < 2:
        return label, pair_of(c, columns[0], transform, positive)
    z = c.emit("concat", *(t if k in scored else nothing for k, t in enumerate(columns)), axis=1)
    return label, transformed(c, z, transform)


def _rounding(f: Forest, x: Tensor) -> float:
    """How many units the model's sums of float32 can be off from the exact ones on the samples, at worst."""
    return len(f.roots) * 2.0**-24 * x.peak


def _certain(f: Forest, scored: list[int]) -> None:
    """Refuses classes of which the model's operator would not say for every input whether they have a score: none of
    the trees gives them one at all of its leaves."""
    always = np.zeros(f.weights.shape[1], bool)
    for r in f.roots:
        always |= f.given[_leaves_under(f, r)].all(axis=0)
    uncertain = [k for k in scored if not always[k]]
    if uncertain and not ((f.weights >= 0).all() and (f.weights > 0).any(axis=1).all() and len(f.weights[0]) > 2):
        raise Unsupported(f"some leaves have no weight for class {uncertain[0]}", "a weight, 0 if need be")


def _leaves_under(f: Forest, root: int) -> list[int]:
    """Of one tree."""
    found, seen, stack = [], set(), [root]
    while stack:
        r = stack.pop()
        if r < 0:
            found.append(-1 - r)
        elif r not in seen:
            seen.add(r)
            stack += [int(f.yes[r]), int(f.no[r])]
    return found


def _half(f: Forest, unit: float) -> int:
    """The largest sum that onnxruntime takes for at most one half. Where all weights are equal, as in a forest whose
    leaves are pure, its sums of float32 are a function of how many there are."""
    each = np.unique(f.weights[f.weights != 0])
    cut = int(np.floor(0.5 / unit))
    if len(each) != 1 or float(np.float32(each[0])) != each[0]:
        return cut
    w, s, count = np.float32(each[0]), np.float32(0), 0
    while s <= np.float32(0.5) and count < len(f.roots):
        s, count = s + w, count + 1
    return int(count * round(each[0] / unit) - (1 if s > np.float32(0.5) else 0))


@lowering("TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor", domain=DOMAIN)
def untraced(c: Context, n: Node) -> Result:
    raise Unsupported("its input is not a tensor of numbers that the model computes", "real or integer features")
