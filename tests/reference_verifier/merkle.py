"""Columns of a committed matrix and their paths (sections 2, 11.5)."""

from __future__ import annotations

from blake3 import blake3

from tests.reference_verifier.errors import require
from tests.reference_verifier.shapes import DIGEST, log
from tests.reference_verifier.transcript import Reader, digest

LEAF, NODE = digest(b"syurmy-vm merkle leaf v2"), digest(b"syurmy-vm merkle node v2")


def leaf(column: list[int]) -> bytes:
    return blake3(b"".join(x.to_bytes(8, "little") for x in column), key=LEAF).digest()


def node(left: bytes, right: bytes) -> bytes:
    gap = bytes(32 - DIGEST)
    return blake3(left[:DIGEST] + gap + right[:DIGEST] + gap, key=NODE).digest()


def read_columns(reader: Reader, name: str, root: bytes, n: int, positions: list[int], height: int) -> list[list[int]]:
    """The columns at these positions, ascending, each of so many elements of F; they lie under the root."""
    words = reader.base_elements(f"{name} columns", height * len(positions))
    columns = [words[i * height : (i + 1) * height] for i in range(len(positions))]
    known = {q: leaf(column) for q, column in zip(positions, columns, strict=True)}
    levels, missing, count = log(n), 0, dict.fromkeys(positions)
    for _ in range(levels):
        missing += sum(1 for q in count if q ^ 1 not in count)
        count = dict.fromkeys(q >> 1 for q in count)
    path = reader.bytes(f"{name} path", DIGEST * missing)
    at = 0
    for _ in range(levels):
        above: dict[int, bytes] = {}
        for q in sorted(known):
            if q >> 1 in above:
                continue
            if q ^ 1 in known:
                sibling = known[q ^ 1]
            else:
                sibling = path[at : at + DIGEST]
                at += DIGEST
            above[q >> 1] = node(sibling, known[q]) if q & 1 else node(known[q], sibling)
        known = above
    require(known[0] == root, "opening", f"the columns of {name} do not lie under its root")
    return columns
