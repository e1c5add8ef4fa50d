"""Products: terms on them as instances of the contraction sumcheck, and claims on their operands (sections 4, 11.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from syurmy.isa import graph as g
from tests.reference_verifier.field import K
from tests.reference_verifier.sweep import MOST_TERMS, Group, Sweep, Swept, Term, equal_runs, made
from tests.reference_verifier.weights import Weight, Weights, against_eq


@dataclass(frozen=True)
class Labels:
    """Of a product: which axis of A, of B and of the result has a label (where it is longer than 1), the length of
    each, and the shared labels in the order of an instance's variables."""

    a: dict[int, int]
    b: dict[int, int]
    out: dict[int, int]
    lengths: dict[int, int]
    shared: list[int]

    @staticmethod
    def of(node: g.Product) -> Labels:
        first, second = node.inputs
        found = []
        lengths: dict[int, int] = {}
        for labels, shape in (
            (node.labels_a, first.shape),
            (node.labels_b, second.shape),
            (node.labels_out, node.shape),
        ):
            found.append({x: axis for axis, (x, d) in enumerate(zip(labels, shape, strict=True)) if d > 1})
            lengths |= {x: d for x, d in zip(labels, shape, strict=True) if d > 1}
        a, b, out = found
        shared = [x for x in out if x in a and x in b]
        shared += [x for x in a if x in b and x not in out]
        return Labels(a, b, out, lengths, shared)

    def side(self, node: g.Product, group: Group) -> str:
        """Whether a group's labels are those of "both", of A or of B alone; "mixed" if of several kinds."""
        kinds = set()
        for axis in group[0]:
            x = node.labels_out[axis]
            kinds.add("both" if x in self.shared else "a" if x in self.a else "b")
        return kinds.pop() if len(kinds) == 1 else "mixed"


@dataclass(frozen=True)
class Instance:
    """coefficient * sum over the shared labels of (weights on both) * A' * B'. ``both``: groups over places among the
    shared labels; ``bound``: those of A and of B over their axes, with ones on what is summed there."""

    node: g.Product
    labels: Labels
    coefficient: K
    both: list[Group]
    bound: tuple[list[Group], list[Group]]

    @property
    def variables(self) -> int:
        return sum((self.labels.lengths[x] - 1).bit_length() for x in self.labels.shared)

    @property
    def degree(self) -> int:
        return 3 if self.both else 2

    def coordinates(self, rounds: int) -> dict[int, tuple[int, int]]:
        """Of every shared label its first coordinate of the point, and the one behind its last."""
        at, out = rounds - self.variables, {}
        for x in self.labels.shared:
            k = (self.labels.lengths[x] - 1).bit_length()
            out[x] = at, at + k
            at += k
        return out

    def weight_at(self, point: list[K]) -> K:
        """coefficient * (the weights on both, at the last coordinates of the point)."""
        where, result = self.coordinates(len(point)), self.coefficient
        for places, w in self.both:
            mine = [c for p in places for c in point[slice(*where[self.labels.shared[p]])]]
            result = result * against_eq(w, mine)
        return result

    def operand_terms(self, weights: Weights, rounds: int, counts: tuple[K, K]) -> list[tuple[g.Node, Term]]:
        """The claims on A and on B, counted so."""
        where, out = self.coordinates(rounds), []
        for node, axes, bound, count in zip(
            self.node.inputs, (self.labels.a, self.labels.b), self.bound, counts, strict=True
        ):
            groups = list(bound)
            for x in self.labels.shared:
                coordinates = [("contraction", i) for i in range(*where[x])]
                groups.append(((axes[x],), weights.eq(coordinates, self.labels.lengths[x])))
            out.append((node, made(count, groups)))
        return out


def instance(weights: Weights, node: g.Product, term: Term) -> Instance:
    labels = Labels.of(node)
    both: list[Group] = []
    bound: dict[str, list[Group]] = {"a": [], "b": []}
    for axes, w in term.groups:
        side = labels.side(node, (axes, w))
        names = [node.labels_out[axis] for axis in axes]
        if side == "both":
            both.append(_group([labels.shared.index(x) for x in names], w, weights))
        else:
            places = labels.a if side == "a" else labels.b
            bound[side].append(_group([places[x] for x in names], w, weights))
    for side, mine, other in (("a", labels.a, labels.b), ("b", labels.b, labels.a)):
        for x, axis in mine.items():
            if x not in other and x not in labels.out:
                bound[side].append(((axis,), weights.ones(labels.lengths[x])))
    return Instance(node, labels, term.coefficient, both, (bound["a"], bound["b"]))


def _group(axes: list[int], w: Weight, weights: Weights) -> Group:
    order = sorted(range(len(axes)), key=lambda i: axes[i])
    return tuple(axes[i] for i in order), weights.transpose(w, order)


def instances(weights: Weights, swept: Swept) -> list[Instance]:
    """By product's number, then in order of its terms."""
    return [instance(weights, node, t) for node, terms in swept.of(g.Product) for t in terms]  # type: ignore[arg-type]


def not_separable(swept: Swept) -> list[g.Node]:
    """The products, by number, that more than 256 terms reach, or one with a group that mixes labels."""
    out = []
    for node, terms in swept.of(g.Product):
        labels = Labels.of(node)  # type: ignore[arg-type]
        mixed = any(labels.side(node, group) == "mixed" for t in terms for group in t.groups)  # type: ignore[arg-type]
        if mixed or len(terms) > MOST_TERMS:
            out.append(node)
    return out


def apart(*members: g.Node) -> set[frozenset[int]]:
    """Pairs of axes on which no weight is to be together: products under one of the members have labels of two kinds
    there, or a committed tensor is subtracted, which has every axis by itself."""
    found: dict[g.Node, set[frozenset[int]]] = {}
    waiting = [m for m in members if m.has_product or any(isinstance(child, g.External) for child in m.inputs)]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found[node] = set()
            if not isinstance(node, g.Product):
                waiting += [child for child in node.inputs if child.has_product or isinstance(child, g.External)]
    for node in sorted(found, key=lambda n: n.id):  # what a node is made of has lower numbers
        wide = [a for a, d in enumerate(node.shape) if d > 1]
        if isinstance(node, g.Product):
            labels = Labels.of(node)
            side = {a: labels.side(node, ((a,), Weights({}).ones(1))) for a in wide}
            found[node] = {frozenset((a, b)) for a in wide for b in wide if side[a] != side[b]}
            continue
        if isinstance(node, g.External):
            found[node] = {frozenset((a, b)) for a in wide for b in wide if a != b}
        for child in node.inputs:
            for x, y in map(tuple, found.get(child, ())):
                pairs = ((a, b) for a in over(node, x) for b in over(node, y))
                found[node] |= {frozenset((a, b)) for a, b in pairs if a != b and a in wide and b in wide}
    return set().union(*(found[m] for m in members if m in found))


def over(node: g.Node, x: int) -> Sequence[int]:
    """The axes of a linear image whose weights come to axis x of what it is made of."""
    source = node.inputs[0].shape
    if isinstance(node, g.Reshape):
        return [a for ins, outs in equal_runs(source, node.shape) if x in ins for a in outs]
    if isinstance(node, g.Transpose):
        return [node.perm.index(x)]
    if isinstance(node, g.IndexMap):
        if x in node.in_axes:
            return node.out_axes
        place = [a for a in range(len(source)) if a not in node.in_axes].index(x)
        return [[a for a in range(len(node.shape)) if a not in node.out_axes][place]]
    return [x]


def claim_operands(sweep: Sweep, made_of: list[Instance], rounds: int, eta: K) -> None:
    """The claims on all operands count eta, eta^2, ..., A before B."""
    count = eta
    for i in made_of:
        for node, term in i.operand_terms(sweep.weights, rounds, (count, count * eta)):
            sweep.claim(node, term)
        count = count * eta * eta
