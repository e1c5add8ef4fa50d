"""The elements of steps 4 to 7: read under pads where a proof hides, and the relations that they must satisfy (9.2)."""

from __future__ import annotations

from dataclasses import dataclass

from tests.reference_verifier.affine import Affine, combined
from tests.reference_verifier.errors import require
from tests.reference_verifier.field import HALF, ONE, K, P, lagrange
from tests.reference_verifier.transcript import Reader, Transcript


@dataclass
class PaddedGroup:
    """Values that are multiplied, and the products of theirs: each a list of pairs of places among the values."""

    values: list[Affine]
    products: list[list[tuple[int, int]]]
    value_pads: list[int]
    product_pads: list[int]


class Messages:
    """``relations``: what has to be zero, in the order in which it arises; in a clear proof it is zero at once."""

    def __init__(self, reader: Reader, hiding: bool) -> None:
        self.reader = reader
        self.hiding = hiding
        self.pads = 0
        self.groups: list[PaddedGroup] = []
        self.relations: list[Affine] = []

    @property
    def transcript(self) -> Transcript:
        return self.reader.transcript

    def read(self, label: str, count: int) -> list[Affine]:
        known = self.reader.elements(label, count)
        if not self.hiding:
            return [Affine(x) for x in known]
        self.pads += count
        first = self.pads - count
        return [Affine(x, {first + i: K(-1)}) for i, x in enumerate(known)]

    def zero(self, step: str, form: Affine) -> None:
        if self.hiding:
            self.relations.append(form)
        else:
            require(not form.known, step, "what has to be zero is not")

    def read_group(
        self, label: str, count: int, products: list[list[tuple[int, int]]]
    ) -> tuple[list[Affine], list[Affine]]:
        """Values, and the sums of products of theirs."""
        first = self.pads
        values = self.read(label, count)
        if not self.hiding:
            sums = [sum_of([values[i].known * values[j].known for i, j in pairs]) for pairs in products]
            return values, [Affine(x) for x in sums]
        value_pads = list(range(first, first + count))
        product_pads = list(range(self.pads, self.pads + len(products)))
        self.pads += len(products)
        self.groups.append(PaddedGroup(values, products, value_pads, product_pads))
        out = []
        for pairs, pi in zip(products, product_pads, strict=True):
            terms = [(ONE, Affine(K(0), {pi: ONE}))]
            for i, j in pairs:
                x, y = values[i].known, values[j].known
                terms.append((ONE, Affine(x * y)))
                terms.append((ONE, Affine(K(0), {value_pads[j]: -x})))
                terms.append((ONE, Affine(K(0), {value_pads[i]: -y})))
            out.append(combined(terms))
        return values, out

    def sumcheck(self, name: str, claim: Affine, rounds: int, degree: int) -> tuple[Affine, list[K]]:
        """The last value and the point."""
        point = []
        for _ in range(rounds):
            sent = self.read(f"{name} round", degree)
            t = self.transcript.challenge(f"{name} challenge")
            values = [sent[0], claim - sent[0], *sent[1:]]
            claim = combined(zip(lagrange(degree + 1, t), values, strict=True))
            point.append(t)
        return claim, point

    def sacrifice(self, first: int) -> None:
        """The products of pads are what they are said to be (9.2). ``first``: the number of the first shadow; they
        come behind the pads of all messages, later ones included."""
        e = self.transcript.challenge("sacrifice challenge")
        sent = iter(self.reader.elements("sacrifice", sum(len(g.values) for g in self.groups)))
        for g in self.groups:
            shadows = list(range(first, first + len(g.values)))
            product_shadows = list(range(first + len(g.values), first + len(g.values) + len(g.products)))
            first += len(g.values) + len(g.products)
            hats = [next(sent) for _ in g.values]
            for hat, a, shadow in zip(hats, g.value_pads, shadows, strict=True):
                self.relations.append(Affine(hat, {a: -e, shadow: ONE}))
            for pairs, pi, shadow in zip(g.products, g.product_pads, product_shadows, strict=True):
                terms = [(ONE, Affine(K(0), {pi: e * e})), (K(-1), Affine(K(0), {shadow: ONE}))]
                for i, j in pairs:
                    terms.append((-hats[i], Affine(K(0), {shadows[j]: ONE})))
                    terms.append((-hats[j], Affine(K(0), {shadows[i]: ONE})))
                    terms.append((K(-1), Affine(hats[i] * hats[j])))
                self.relations.append(combined(terms))


def sum_of(values: list[K]) -> K:
    out = K(0)
    for v in values:
        out = out + v
    return out


def scale(variables: int, rounds: int) -> K:
    """2^(variables - rounds)."""
    return K(pow(HALF, rounds - variables, P))
