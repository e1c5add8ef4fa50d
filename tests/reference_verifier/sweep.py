"""A sweep: claims on nodes are pulled back to what linear images are made of (section 11.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from syurmy.isa import graph as g
from syurmy.isa.graph import Node
from tests.reference_verifier.field import ONE, ZERO, K, product
from tests.reference_verifier.weights import Weight, Weights

Group = tuple[tuple[int, ...], Weight]  # ascending axes, the weight over them
MOST_TERMS = 256


@dataclass(frozen=True)
class Term:
    """coefficient * <T, the product of the groups' weights>; the groups cover the axes of T of length above 1."""

    coefficient: K
    groups: tuple[Group, ...]


def made(coefficient: K, groups: Sequence[Group]) -> Term:
    return Term(coefficient, tuple(sorted(groups, key=lambda group: group[0][0])))


def long_axes(shape: Sequence[int]) -> list[int]:
    return [a for a, d in enumerate(shape) if d > 1]


def logs(shape: Sequence[int]) -> int:
    """Coordinates that a tensor takes."""
    return sum((d - 1).bit_length() for d in shape)


def at_point(weights: Weights, name: str, variables: int, shape: Sequence[int], first: int = 0) -> list[Group]:
    """eq weights at the last coordinates of a point; the axes count from ``first``."""
    at, out = variables - logs(shape), []
    for a, d in enumerate(shape):
        k = (d - 1).bit_length()
        if d > 1:
            out.append(((first + a,), weights.eq([(name, i) for i in range(at, at + k)], d)))
        at += k
    return out


@dataclass
class Swept:
    """What a sweep ends with. ``columns`` (with multiplicities), ``params``, ``externals``, ``products``: terms by the
    node's number, in order. ``known``: what public tensors and constants contribute."""

    nodes: dict[int, Node] = field(default_factory=dict)
    terms: dict[int, list[Term]] = field(default_factory=dict)
    known: K = ZERO

    def of(self, kind: type[Node]) -> list[tuple[Node, list[Term]]]:
        return [(self.nodes[i], self.terms[i]) for i in sorted(self.terms) if isinstance(self.nodes[i], kind)]


class Sweep:
    """``crowded``: called with a linear image on which more than 256 terms meet, of a dry sweep; then it passes one eq
    term instead, at the last coordinates of a point of so many ``variables``."""

    def __init__(self, weights: Weights, crowded: Callable[[Node], None] | None = None, variables: int = 0) -> None:
        self.weights = weights
        self.crowded = crowded
        self.variables = variables
        self.heap: list[int] = []
        self.queue: dict[int, list[Term]] = {}
        self.swept = Swept()

    def claim(self, node: Node, term: Term) -> None:
        """Queue a claim."""
        if node.committed_as is not None:
            node = node.committed_as
        if node.id not in self.queue:
            self.queue[node.id] = []
            heappush(self.heap, -node.id)
        self.swept.nodes[node.id] = node
        self.queue[node.id].append(term)

    def run(self, public: Callable[[g.Public], Sequence[int]] | None = None) -> Swept:
        """``public``: the values of a public tensor; None: of a dry sweep."""
        swept = self.swept
        while self.heap:
            number = -heappop(self.heap)
            node, terms = swept.nodes[number], self.queue.pop(number)
            terms = merged(self.weights, terms, isinstance(node, g.ParamTensor))
            if isinstance(node, g.Committed | g.ParamTensor | g.External | g.Public | g.Product):
                swept.terms.setdefault(number, []).extend(terms)
                continue
            if self.crowded is not None and len(terms) > MOST_TERMS:
                self.crowded(node)
                terms = [made(ONE, at_point(self.weights, "lookup", self.variables, node.shape))]
            for term in terms:
                for child, passed in self.pulled_back(node, term):
                    self.claim(child, passed)
        for number, terms in swept.terms.items():
            node = swept.nodes[number]
            swept.terms[number] = merged(self.weights, terms, isinstance(node, g.ParamTensor))
        if public is not None:
            for node, terms in swept.of(g.Public):
                values = [K(v) for v in public(node)]  # type: ignore[arg-type]
                for t in terms:
                    swept.known = swept.known + t.coefficient * contracted(node.shape, values, t.groups)
        return swept

    # ---- transposed maps -----------------------------------------------------------------------------------------

    def pulled_back(self, node: Node, term: Term) -> list[tuple[Node, Term]]:
        """The terms that a term on a linear image becomes on its inputs."""
        if isinstance(node, g.Combine):
            if self.crowded is None and node.const:
                sums = product(w.sum() for _, w in term.groups)
                self.swept.known = self.swept.known + term.coefficient * node.const * sums
            pairs = zip(node.coefficients, node.inputs, strict=True)
            return [(child, Term(term.coefficient * c, term.groups)) for c, child in pairs]
        if isinstance(node, g.Concat):
            return self._concat(node, term)
        child = node.inputs[0]
        rules = {
            g.Reshape: self._reshape,
            g.Transpose: self._transpose,
            g.Broadcast: self._broadcast,
            g.Sum: self._sum,
            g.IndexMap: self._index_map,
        }
        return [(child, rules[type(node)](node, term))]

    def _summed(self, coefficient: K, group: Group, axis: int) -> tuple[K, Group | None]:
        """A group without one of its axes, over which it is summed."""
        axes, w = group
        if len(axes) == 1:
            return coefficient * self._sum_of(w), None
        at = axes.index(axis)
        return coefficient, (axes[:at] + axes[at + 1 :], self.weights.sum(w, at))

    def _sum_of(self, w: Weight) -> K:
        return ONE if self.crowded is not None else w.sum()

    def _transposed(self, axes: Sequence[int], w: Weight) -> Group:
        """A weight over axes in any order as a group."""
        order = sorted(range(len(axes)), key=lambda i: axes[i])
        return tuple(axes[i] for i in order), self.weights.transpose(w, order)

    def _joined(self, groups: Sequence[Group]) -> Group:
        """The outer product of groups, its axes ascending."""
        axes, w = groups[0]
        for more, v in groups[1:]:
            axes, w = axes + more, self.weights.outer(w, v)
        return self._transposed(axes, w)

    def _transpose(self, node: g.Transpose, term: Term) -> Term:
        groups = [self._transposed([node.perm[a] for a in axes], w) for axes, w in term.groups]
        return made(term.coefficient, groups)

    def _broadcast(self, node: g.Broadcast, term: Term) -> Term:
        source, coefficient, out = node.inputs[0].shape, term.coefficient, []
        for group in term.groups:
            left: Group | None = group
            for a in group[0]:
                if source[a] == 1 and left is not None:
                    coefficient, left = self._summed(coefficient, left, a)
            if left is not None:
                out.append(left)
        return made(coefficient, out)

    def _sum(self, node: g.Sum, term: Term) -> Term:
        shape = node.inputs[0].shape
        more = [((a,), self.weights.ones(shape[a])) for a in node.axes if shape[a] > 1]
        return made(term.coefficient, [*term.groups, *more])

    def _concat(self, node: g.Concat, term: Term) -> list[tuple[Node, Term]]:
        out, lo, axis = [], 0, node.axis
        for child in node.inputs:
            hi = lo + child.shape[axis]
            coefficient, groups = term.coefficient, []
            for axes, w in term.groups:
                group: Group | None = (axes, w)
                if axis in axes:
                    group = axes, self.weights.slice(w, axes.index(axis), lo, hi)
                    if hi - lo == 1:
                        coefficient, group = self._summed(coefficient, group, axis)
                if group is not None:
                    groups.append(group)
            out.append((child, made(coefficient, groups)))
            lo = hi
        return out

    def _reshape(self, node: g.Reshape, term: Term) -> Term:
        return self.reshaped(term, node.inputs[0].shape, node.shape)

    def reshaped(self, term: Term, before: Sequence[int], after: Sequence[int]) -> Term:
        """A term on what a reshape makes, as one on what it was made of."""
        runs = equal_runs(before, after)
        run_of = {a: k for k, (_, out_axes) in enumerate(runs) for a in out_axes}
        tied = list(range(len(runs)))  # the least run that each is tied to
        for axes, _ in term.groups:
            together = {tied[run_of[a]] for a in axes}
            tied = [min(together) if t in together else t for t in tied]
        groups = []
        for first in sorted(set(tied)):
            mine = [k for k, t in enumerate(tied) if t == first]
            on_them = [group for group in term.groups if tied[run_of[group[0][0]]] == first]
            _, w = self._joined(on_them)
            in_axes = tuple(a for k in mine for a in runs[k][0])
            groups.append((in_axes, self.weights.reshape(w, [before[a] for a in in_axes])))
        return made(term.coefficient, groups)

    def _index_map(self, node: g.IndexMap, term: Term) -> Term:
        source = node.inputs[0].shape
        out_long = [a for a in node.out_axes if node.shape[a] > 1]
        touching = [group for group in term.groups if set(group[0]) & set(out_long)]
        others = [group for group in term.groups if not set(group[0]) & set(out_long)]
        out_rest = [a for a in range(len(node.shape)) if a not in node.out_axes]
        in_rest = [a for a in range(len(source)) if a not in node.in_axes]
        renamed = dict(zip(out_rest, in_rest, strict=True))
        behind: list[int] = []
        if touching:
            axes, w = self._joined(touching)
            behind = [a for a in axes if a not in out_long]
            w = self.weights.transpose(w, [axes.index(a) for a in (*out_long, *behind)])
        else:
            w = self.weights.ones(1)
        count, rest, size = 1, 1, 1
        for a in node.out_axes:
            count *= node.shape[a]
        for a in behind:
            rest *= node.shape[a]
        for a in node.in_axes:
            size *= source[a]
        w = self.weights.reshape(w, (count, rest))
        w = self.weights.scatter(w, [int(i) for i in node.index.reshape(-1)], node.index.shape, size)
        in_axes = [a for a in node.in_axes if source[a] > 1] + [renamed[a] for a in behind]
        groups = [(tuple(renamed[a] for a in axes), v) for axes, v in others]
        coefficient = term.coefficient
        if in_axes:
            groups.append(self._transposed(in_axes, self.weights.reshape(w, [source[a] for a in in_axes])))
        else:
            coefficient = coefficient * self._sum_of(w)
        return made(coefficient, groups)


def equal_runs(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """The shortest runs of axes of length above 1 with equal products on both sides of a reshape."""
    ins, outs, runs = long_axes(before), long_axes(after), []
    while ins:
        mine, theirs = [ins.pop(0)], [outs.pop(0)]
        p, q = before[mine[0]], after[theirs[0]]
        while p != q:
            if p < q:
                mine.append(ins.pop(0))
                p *= before[mine[-1]]
            else:
                theirs.append(outs.pop(0))
                q *= after[theirs[-1]]
        runs.append((mine, theirs))
    return runs


def merged(weights: Weights, terms: Sequence[Term], only_equal: bool) -> list[Term]:
    """Terms on one tensor, merged. ``only_equal``: of a param."""
    added: dict[tuple[Group, ...], K] = {}
    for t in terms:
        added[t.groups] = added[t.groups] + t.coefficient if t.groups in added else t.coefficient
    out = [Term(c, groups) for groups, c in added.items()]
    if only_equal:
        return out
    while len(out) > 1:
        before = out
        for i in range(max(len(t.groups) for t in before)):
            out = _merged_at(weights, out, i)
        if len(out) == len(before):
            break
    return out


def _merged_at(weights: Weights, terms: Sequence[Term], i: int) -> list[Term]:
    """Terms that agree in all but the weight of group i become one."""
    classes: dict[tuple[object, ...], list[Term]] = {}
    for t in terms:
        if i < len(t.groups):
            rest = tuple((axes, None if k == i else w) for k, (axes, w) in enumerate(t.groups))
            classes.setdefault(rest, []).append(t)
        else:
            classes[("alone", *t.groups)] = [t]
    out = []
    for members in classes.values():
        if len(members) == 1:
            out.append(members[0])
            continue
        groups = members[0].groups
        w = weights.linear([(t.coefficient, t.groups[i][1]) for t in members])
        out.append(Term(ONE, (*groups[:i], (groups[i][0], w), *groups[i + 1 :])))
    return out


def contracted(shape: Sequence[int], values: list[K], groups: Sequence[Group]) -> K:
    """<T, the product of the groups' weights> with the entries of T in C order."""
    full = [K(1)]
    axes: list[int] = []
    for more, w in groups:
        axes += more
        full = [x * y for x in full for y in w.values()]
    stride = dict(zip(range(len(shape)), _strides(shape), strict=True))
    places = [0]
    for a in axes:
        places = [p + i * stride[a] for p in places for i in range(shape[a])]
    result = ZERO
    for at, w in zip(places, full, strict=True):
        result = result + values[at] * w
    return result


def _strides(shape: Sequence[int]) -> list[int]:
    out, s = [], 1
    for d in reversed(shape):
        out.append(s)
        s *= d
    return out[::-1]
