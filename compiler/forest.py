"""Decision trees: what the attributes of ai.onnx.ml say, as tables that a program walks.

A decision is a step function of one integer ``q``: its result alternates at ``cuts``, ``first`` up to the first cut
(``q <= cuts[0]``), the opposite up to the second, and so on. Every mode is one (``BRANCH_LEQ`` has one cut, equality
two, membership in a set two for each member), whatever monotone function of q the feature is. It becomes a balanced
tree of nodes ``q <= cut``, so that a forest is a graph of such nodes only.

NaN lies above every q in one copy of the features, and below every q in a second one; a node reads the copy on whose
side NaN has to go.

``levels`` cuts the graph by the number of steps from the roots: a table per step, a row per node that can be reached
in so many. Leaves need no rows: the row of the node before says what is added on the way to each side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from syurmy.compiler.errors import Unsupported
from syurmy.compiler.graph import Node
from syurmy.isa.arrays import F64, I64, Reals

MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")
TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")


@dataclass(frozen=True, eq=False)
class Forest:
    """Nodes as the model has them. A reference is a node's number, or ``-1 - leaf``. ``weights[leaf, target]`` where
    ``given``; ``values``: the thresholds in the model's dtype, ``members`` the sets of ``BRANCH_MEMBER`` by node."""

    roots: tuple[int, ...]
    features: I64
    modes: tuple[str, ...]
    values: Reals
    members: dict[int, Reals]
    yes: I64
    no: I64
    tracks: npt.NDArray[np.bool_]
    weights: F64
    given: npt.NDArray[np.bool_]


def forest(n: Node) -> Forest:
    """The trees of a TreeEnsemble, TreeEnsembleClassifier or TreeEnsembleRegressor node."""
    return _flat(n) if n.op == "TreeEnsemble" else _by_tree(n)


def _numbers(n: Node, name: str) -> Reals:
    """A list of reals, from a tensor (versions 3 and 5) or a list of floats."""
    tensor = n.attr(f"{name}_as_tensor")
    return np.asarray(n.attr(name, ()), np.float32) if tensor is None else np.asarray(tensor)


def _flat(n: Node) -> Forest:
    splits = np.asarray(n.attr("nodes_splits"))
    modes = tuple(MODES[int(m)] for m in np.asarray(n.attr("nodes_modes")).reshape(-1))
    sides = []
    for side in ("true", "false"):
        at = np.array(n.attr(f"nodes_{side}nodeids"), np.int64)
        leaf = np.array(n.attr(f"nodes_{side}leafs"), np.int64) != 0
        sides.append(np.where(leaf, -1 - at, at))
    targets = np.array(n.attr("leaf_targetids"), np.int64)
    weights = np.zeros((len(targets), int(n.attr("n_targets"))))
    given = np.zeros(weights.shape, bool)
    weights[np.arange(len(targets)), targets] = np.asarray(n.attr("leaf_weights"), np.float64)
    given[np.arange(len(targets)), targets] = True
    tracks = np.array(n.attr("nodes_missing_value_tracks_true") or [0] * len(modes)) != 0
    members: dict[int, Reals] = {}
    pool = np.asarray(n.attr("membership_values") if n.attr("membership_values") is not None else ())
    ends = np.flatnonzero(np.isnan(pool))
    starts = np.concatenate([[0], ends + 1])
    for k, node in enumerate(i for i, m in enumerate(modes) if m == "BRANCH_MEMBER"):
        members[node] = pool[starts[k] : ends[k] if k < len(ends) else len(pool)]
    features = np.array(n.attr("nodes_featureids"), np.int64)
    roots = tuple(int(r) for r in n.attr("tree_roots"))
    return Forest(roots, features, modes, splits, members, sides[0], sides[1], tracks, weights, given)


def _together(a: float, b: float, aggregate: str) -> float:
    """Two weights that a leaf has for one target, as onnxruntime takes them: the first where there is one target."""
    return {"FIRST": a, "MAX": max(a, b), "MIN": min(a, b)}.get(aggregate, a + b)


def _by_tree(n: Node) -> Forest:
    kind = "class" if n.op == "TreeEnsembleClassifier" else "target"
    trees, ids = n.attr("nodes_treeids"), n.attr("nodes_nodeids")
    place = {pair: k for k, pair in enumerate(zip(trees, ids, strict=True))}
    modes = tuple(n.attr("nodes_modes"))
    leaves: dict[int, int] = {}
    for k, m in enumerate(modes):
        if m == "LEAF":
            leaves[k] = len(leaves)
    count = len(n.attr("classlabels_int64s", ())) if kind == "class" else int(n.attr("n_targets", 1))

    def reference(tree: int, node: int) -> int:
        if (tree, node) not in place:
            raise Unsupported(f"tree {tree} has no node {node}", "an existing one")
        k = place[tree, node]
        return -1 - leaves[k] if k in leaves else k

    sides = [
        np.array([reference(t, c) if m != "LEAF" else 0 for t, c, m in zip(trees, n.attr(f"nodes_{s}nodeids"), modes,
                                                                            strict=True)], np.int64)
        for s in ("true", "false")
    ]  # fmt: skip
    weights = np.zeros((len(leaves), count))
    given = np.zeros(weights.shape, bool)
    found = _numbers(n, f"{kind}_weights").astype(np.float64)
    aggregate = "FIRST" if kind == "target" and count == 1 else n.attr("aggregate_function", "SUM")
    for t, node, target, w in zip(n.attr(f"{kind}_treeids"), n.attr(f"{kind}_nodeids"), n.attr(f"{kind}_ids"), found,
                                  strict=True):  # fmt: skip
        leaf = leaves.get(place[t, node])
        if leaf is not None:
            before = float(weights[leaf, target])
            weights[leaf, target] = _together(before, w, aggregate) if given[leaf, target] else w
            given[leaf, target] = True
    roots, last = [], None
    for t, node in zip(trees, ids, strict=True):
        if t != last:
            roots.append(reference(t, node))
        last = t
    tracks = np.array(n.attr("nodes_missing_value_tracks_true") or [0] * len(modes)) != 0
    features = np.array(n.attr("nodes_featureids"), np.int64)
    return Forest(
        tuple(roots), features, modes, _numbers(n, "nodes_values"), {}, sides[0], sides[1], tracks, weights, given
    )


@dataclass(frozen=True)
class Decision:
    """A step function: see the module. ``nan``: the result where the feature is NaN."""

    cuts: tuple[int, ...]
    first: bool
    nan: bool


@dataclass(frozen=True, eq=False)
class Level:
    """Nodes that can be reached in so many steps: at row r, ``q[sources[r]] <= cuts[r]`` leads to ``low`` and else to
    ``high``: a row of the next level (0 after a leaf), and the leaf on the way (-1: none)."""

    sources: I64
    cuts: I64
    low: I64
    high: I64
    low_leaf: I64
    high_leaf: I64


class Graph:
    """Nodes ``q[source] <= cut ? low : high``; references as in ``Forest``."""

    def __init__(self) -> None:
        self.nodes: list[tuple[int, int, int, int]] = []
        self._known: dict[tuple[int, int, int, int], int] = {}

    def node(self, source: int, cut: int, low: int, high: int) -> int:
        """A node, equal ones once; its child where both are one."""
        if low == high:
            return low
        key = source, cut, low, high
        if key not in self._known:
            self._known[key] = len(self.nodes)
            self.nodes.append(key)
        return self._known[key]

    def decide(self, d: Decision, source: int, copies: int, top: int, yes: int, no: int) -> int:
        """``d`` on feature ``source`` (its copy with NaN below is ``source + copies``); NaN is ``top``."""
        refs = {True: yes, False: no}
        last = d.first ^ bool(len(d.cuts) % 2)
        if d.nan == last or d.nan != d.first:
            body = self._search(source, d.cuts, d.first, refs)
            return body if d.nan == last else self.node(source, top - 1, body, refs[d.nan])
        return self._search(source + copies, d.cuts, d.first, refs)

    def _search(self, source: int, cuts: Sequence[int], first: bool, refs: dict[bool, int]) -> int:
        if not cuts:
            return refs[first]
        k = len(cuts) // 2
        low = self._search(source, cuts[:k], first, refs)
        high = self._search(source, cuts[k + 1 :], not first ^ bool(k % 2), refs)
        return self.node(source, cuts[k], low, high)


def decisions(
    f: Forest, decide: Callable[[int, str, Reals, bool], Decision], copies: int,
    source: Callable[[int], int], top: Callable[[int], int],
) -> tuple[Graph, tuple[int, ...]]:  # fmt: skip
    """The graph and the references of its roots. ``decide(feature, mode, values, tracks)``: the step function of the
    feature's integer; ``source(feature)``: which integer, of ``copies``; ``top(feature)``: what NaN is there."""
    g = Graph()
    done: dict[Any, Any] = {}
    stack = [r for r in f.roots if r >= 0]
    open_: set[int] = set()
    while stack:
        k = stack[-1]
        if k in done:
            stack.pop()
            continue
        children = [int(c) for c in (f.yes[k], f.no[k])]
        waiting = [c for c in children if c >= 0 and c not in done]
        if waiting:
            if k in open_:
                raise Unsupported("its nodes form a cycle", "trees")
            open_.add(k)
            stack += waiting
            continue
        yes, no = (c if c < 0 else done[c] for c in children)
        feature, values = int(f.features[k]), f.members.get(k, f.values[k : k + 1])
        d = decide(feature, f.modes[k], values, bool(f.tracks[k]))
        done[k] = g.decide(d, source(feature), copies, top(feature), yes, no)
        open_.discard(k)
        stack.pop()
    return g, tuple(r if r < 0 else done[r] for r in f.roots)


def levels(g: Graph, roots: Sequence[int]) -> list[Level]:
    """The tables: the first with a row per root that is a node, every later one after a row that leads nowhere."""
    made: list[Level] = []
    current = [r for r in roots if r >= 0]
    while current:
        following: dict[int, int] = {}
        rows = []
        for r in current:
            source, cut, low, high = (0, 0, -1, -1) if r < 0 else g.nodes[r]
            out = [source, cut]
            for child in (low, high):
                if r >= 0 and child >= 0:
                    out += [following.setdefault(child, len(following) + 1), -1]
                else:
                    out += [0, -1 - child if r >= 0 else -1]
            rows.append(out)
        sources, cuts, low_row, low_leaf, high_row, high_leaf = np.array(rows, np.int64).T
        made.append(Level(sources, cuts, low_row, high_row, low_leaf, high_leaf))
        current = [-1, *following] if following else []
    return made
