"""Values on the wire: as many bytes as their interval needs."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from syurmy.prover.protocol.statement import decode_statement, encode_statement, statement_size, width
from tests.reference_verifier.files import value_bytes

EDGES = [x + d for w in range(1, 9) for x in (2 ** (8 * w - 1), 2 ** (8 * w - 2)) for d in (-1, 0, 1)]


@dataclass(frozen=True, eq=False)
class Node:
    lo: int
    hi: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))


@dataclass
class Plan:
    publics: list[Node] = field(default_factory=list)

    @property
    def system(self) -> "Plan":
        return self


def nodes() -> list[Node]:
    ends = [(lo, hi) for e in EDGES for lo in (0, -e, -e - 1, -1) for hi in (0, e, e - 1) if lo <= hi]
    return [Node(lo, hi, (3, 2)) for lo, hi in ends if lo >= -(2**63) and hi < 2**63] + [Node(0, 5, (0, 2))]


def test_values_have_the_fewest_bytes_of_their_interval() -> None:
    """Against ``int.to_bytes``, and the second verifier's rule."""
    plan = Plan(nodes())
    values = {n: np.resize(np.array([n.lo, n.hi, 0], np.int64), n.shape) for n in plan.publics}
    data = encode_statement(plan, values)  # type: ignore[arg-type]
    expected = b""
    for n, v in values.items():
        assert width(n) == value_bytes(n.lo, n.hi)  # type: ignore[arg-type]
        if (less := width(n) - 1) > 0:  # type: ignore[arg-type]
            with pytest.raises(OverflowError):
                b"".join(end.to_bytes(less, "little", signed=True) for end in (n.lo, n.hi))
        expected += b"".join(int(x).to_bytes(width(n), "little", signed=True) for x in v.reshape(-1))  # type: ignore[arg-type]
    assert data == expected
    assert len(data) == statement_size(plan)  # type: ignore[arg-type]
    found = decode_statement(plan, data)  # type: ignore[arg-type]
    assert all(found[n].dtype == np.int64 and np.array_equal(found[n], v) for n, v in values.items())  # type: ignore[index]
