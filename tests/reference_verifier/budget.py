"""The soundness budget (sections 7 and 11.7): how many queries every phase needs, and how many pads there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from tests.reference_verifier.errors import require
from tests.reference_verifier.field import P
from tests.reference_verifier.shapes import Level, Split, log, queries, queries_below, unique

K_SIZE = P * P
LOOKUP_GRINDING = 16


@dataclass(frozen=True)
class Sizes:
    """What the budget is a function of. ``tensors``: splits of committed tensors; ``levels``: of the ladder;
    ``certificate``: the queries to params are those of one; ``rests``: those of a proof that names one."""

    hiding: bool
    leaves: int
    tree: int | None
    width: int
    point: int
    equations: int
    instances: list[tuple[int, int]]
    reduced: list[int]
    param_rows: int
    witness: Split
    params: Split | None
    tensors: list[Split]
    levels: tuple[Level, ...]
    pad_rows: int
    proofs: int
    certificate: bool = False
    rests: bool = False

    @property
    def contraction(self) -> tuple[int, int]:
        """Rounds and degree."""
        return max((v for v, _ in self.instances), default=0), max((d for _, d in self.instances), default=0)

    @property
    def opening_rounds(self) -> int:
        return max(self.witness.m, self.params.c) if self.params and self.param_rows else self.witness.m

    @property
    def deltas(self) -> int:
        return log(self.param_rows) if self.param_rows else 0

    @property
    def groups(self) -> list[tuple[int, int]]:
        """Values and products of each group."""
        layers = [(4, 2)] * (self.tree or 0)
        return layers + ([(2 * len(self.instances), len(self.instances))] if self.instances else [])

    @property
    def padded(self) -> int:
        """Pads of messages and products."""
        count = sum(2 * k + 6 for k in range(self.tree or 0))
        if self.instances:
            rounds, degree = self.contraction
            count += 1 + degree * rounds + 3 * len(self.instances)
        if self.reduced:
            count += 1 + 2 * max(self.reduced) + len(self.reduced)
        return count + len(self.tensors) + 2 * self.opening_rounds + 1 + self.param_rows

    @property
    def shadows(self) -> int:
        return sum(values + products for values, products in self.groups)

    @property
    def pads(self) -> int:
        """|Y|."""
        return self.padded + self.shadows


def closeness(split: Split, hiding: bool, proofs: int) -> Fraction:
    """delta (section 11.7)."""
    most = (1 - split.rate) / 2
    for delta in (Fraction(1, 16), Fraction(1, 8), Fraction(1, 4)):
        if delta > most:
            continue
        first, second = queries(1 - delta, 94), queries(split.rate + delta, 94)
        if first <= split.n and (not hiding or first + (proofs - 1) * second < split.random):
            return delta
    return most


@dataclass
class Phase:
    """Queries to one matrix or level: ``miss`` of each, ``g`` bits of grinding, ``words`` that each is a claim on."""

    name: str
    miss: Fraction
    g: int
    n: int
    random: int
    words: int
    count: int = 0


@dataclass
class Budget:
    """Numbers of queries; grinding of the first phase, of later ones, and before alpha. ``errors``: by term."""

    first: int
    later: int
    lookups: int
    witness: int
    params: int
    tensors: list[int]
    levels: list[int]
    errors: dict[str, Fraction]

    @property
    def total(self) -> Fraction:
        return sum(self.errors.values(), Fraction(0))


def grinding(leaves: int, tensors: bool) -> tuple[int, int]:
    """Of the first phase, and of later ones; ``leaves``: those that blocks take."""
    if leaves >= 2**20:
        return 18, 16
    return (16, 16) if leaves >= 2**17 or tensors else (12, 12)


def phases_of(s: Sizes, first: int, later: int) -> list[Phase]:
    """Witness, params, tensors, levels."""
    w = s.witness
    phases = [Phase("witness", unique(w.rate), first, w.n, w.random, 1 + s.pad_rows)]
    if s.params and s.param_rows:
        delta = closeness(s.params, s.hiding, s.proofs)
        miss = 1 - delta if s.certificate else s.params.rate + delta if s.rests else unique(s.params.rate)
        phases.append(Phase("params", miss, first, s.params.n, s.params.random, 1))
    for i, t in enumerate(s.tensors):
        phases.append(Phase(f"tensor {i}", unique(t.rate), first, t.n, t.random, 1))
    for i, level in enumerate(s.levels, 1):
        n = 2 ** (level.c + level.b)
        miss = unique(Fraction(2**level.c + level.random, n))
        phases.append(Phase(f"level {i}", miss, later, n, level.random, 2 if level.hiding else 1))
    return phases


def budget(s: Sizes) -> Budget:
    first, later = grinding(s.leaves, bool(s.tensors))
    phases = phases_of(s, first, later)
    errors = fixed_terms(s)
    grind = LOOKUP_GRINDING if errors["lookups"] > Fraction(1, 2**102) else 0
    errors["lookups"] /= 2**grind

    most = [min(p.n, queries(p.miss, 128)) for p in phases]
    others = sum(errors.values()) + sum(level_terms(s, phases, most).values())
    left = Fraction(1, 2**100) - others
    require(left > 0, "plan", "nothing of the error is left for queries")
    for p, limit in zip(phases, most, strict=True):
        p.count = queries_below(p.miss, left / len(phases) * 2**p.g)
        require(p.count <= limit, "plan", "a phase needs too many queries")
        require(not p.random or p.count < p.random, "plan", "a phase would open too much")
    errors |= level_terms(s, phases, [p.count for p in phases])
    errors |= {f"{p.name} queries": p.miss**p.count / 2**p.g for p in phases}

    counts = {p.name: p.count for p in phases}
    tensors = [counts[f"tensor {i}"] for i in range(len(s.tensors))]
    levels = [counts[f"level {i + 1}"] for i in range(len(s.levels))]
    made = Budget(first, later, grind, counts["witness"], counts.get("params", 0), tensors, levels, errors)
    require(made.total <= Fraction(1, 2**100), "plan", "the errors add up to too much")
    return made


def fixed_terms(s: Sizes) -> dict[str, Fraction]:
    """All but queries, and what depends on their number."""
    rounds, degree = s.contraction
    units = {
        "lookups": s.leaves * (s.width + 2),
        "gkr": 1 + sum(3 * k + 2 for k in range(1, s.tree)) if s.tree is not None else 0,
        "equations at a point": s.point,
        "claims": 2 + s.equations,
        "operands": 2 * len(s.instances),
        "reduced params": len(s.reduced),
        "contraction": degree * rounds,
        "params reduction": 2 * max(s.reduced, default=0),
        "opening": 2 * s.opening_rounds,
        "params": s.deltas,
        "sacrifice": 2 if s.hiding else 0,
        "proximity of the witness": s.witness.row_variables * s.witness.n,
    }
    if s.params and s.param_rows and not s.rests:
        units["proximity of the params"] = (s.deltas + s.params.row_variables) * s.params.n
    for i, t in enumerate(s.tensors):
        units[f"proximity of tensor {i}"] = t.row_variables * t.n
    for i, level in enumerate(s.levels, 1):
        k, n = level.row_bits, 2 ** (level.c + level.b)
        units[f"rounds of level {i}"] = 2 * k
        units[f"proximity of level {i}"] = (k + 2 if level.hiding else k) * n
        units[f"mask of level {i}"] = 1 if level.hiding else 0
    return {name: Fraction(n, K_SIZE) for name, n in units.items()}


def level_terms(s: Sizes, phases: Sequence[Phase], counts: Sequence[int]) -> dict[str, Fraction]:
    """Of adding the claims on every level's vector, with so many queries in each phase."""
    claims = 1 + (1 if s.param_rows else 0) + len(s.tensors)
    if s.hiding:
        claims += (s.tree or 0) + 1 + (1 if s.instances else 0) + (1 if s.reduced else 0) + s.shadows
    out, open_now = {}, len(phases) - len(s.levels)
    claims += sum(p.words * t for p, t in zip(phases[:open_now], counts, strict=False))
    for i, (p, t) in enumerate(zip(phases[open_now:], counts[open_now:], strict=True), 1):
        out[f"claims of level {i}"] = Fraction(claims - 1, K_SIZE)
        claims = 1 + p.words * t
    return out
