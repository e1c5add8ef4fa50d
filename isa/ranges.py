"""How wide the limbs of range checks are: one canonical function of what a program checks.

A check ``0 <= x < 2^k`` of n entries is made of ``L = ceil(k / w)`` limbs of w bits, the top one of the ``r`` bits that
are left: n L lookups, and n (L - 1) entries of columns, since the lowest limb is the linear rest. The table of w bits
has 2^w leaves and as many multiplicities, once for the whole program. A top limb t of r < w bits is looked up in a
table of its own, or twice in that of w bits,

    t in [0, 2^w)  and  2^(w - r) t in [0, 2^w)

(the first says that t is an integer, the second then that it is below 2^r), whichever is less; bits have a table of
two rows in any case. Chosen is the w with the least

    sum of n (2 L - 1)  +  sum over r of min(2^(r + 1), n_r)  +  2^(w + 1)  +  BLOCK (lookups and columns)

and the smallest of several: leaves and committed entries, which take about the same time each, and what every lookup
and column takes however small it is. A program that checks little gets a small table, one that checks much few limbs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from syurmy.isa.records import dataclass

WIDEST = 20  # bits of a range table
BLOCK = 512


@dataclass(frozen=True)
class Limbs:
    """``width`` bits, and the narrower widths that have a table of their own."""

    width: int
    own: frozenset[int] = frozenset()

    def tabled(self, bits: int) -> bool:
        """Whether a limb of so many bits has a table of exactly that size."""
        return bits == self.width or bits in self.own


def limbs_for(checks: Iterable[tuple[int, int]]) -> Limbs:
    """The widths for checks of (entries, bits), bits at least 1."""
    counted: Counter[tuple[int, int]] = Counter()  # by (entries, bits): how many checks
    for check in checks:
        counted[check] += 1
    return min((_with(w, counted) for w in range(1, WIDEST + 1)), key=lambda found: (found[0], found[1].width))[1]


def _with(width: int, counted: Counter[tuple[int, int]]) -> tuple[int, Limbs]:
    """What limbs of ``width`` bits cost, and which narrower ones have tables of their own then."""
    cost, full = 0, False
    entries: Counter[int] = Counter()  # of top limbs, by their bits
    blocks: Counter[int] = Counter()
    for (n, bits), count in counted.items():
        limbs = -(-bits // width)
        top = bits - width * (limbs - 1)
        cost += count * (n * (2 * limbs - 1) + BLOCK * (2 * limbs - 1))
        full |= limbs > 1 or top == width
        entries[top] += count * n
        blocks[top] += count
    own = set()
    for bits in sorted(entries.keys() - {width}):
        twice, once = entries[bits] + BLOCK * blocks[bits], (2 << bits) + 2 * BLOCK
        if bits == 1 or once <= twice:
            own.add(bits)
            cost += once
        else:
            cost += twice
            full = True
    if full:
        cost += (2 << width) + 2 * BLOCK
    return cost, Limbs(width, frozenset(own))
