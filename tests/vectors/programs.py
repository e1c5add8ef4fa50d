"""What the vectors are of: programs that together use every argument of the protocol, and their inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """``program``: tensor assembly. ``hiding``: the key's mode, with ``proofs`` for params and committed tensors.
    ``inputs``: of one run, or with ``batch`` of several, along a leading axis. ``certified``: the proof rests on a
    certificate of the key."""

    program: str
    inputs: Mapping[str, Any]
    hiding: bool = False
    proofs: int = 1
    batch: bool = False
    certified: bool = False


@dataclass(frozen=True)
class Linked(Case):
    """A program that is cut before these instructions; a bundle of a run, which rests on a certificate of its key."""

    cuts: tuple[int, ...] = ()


def matrix(rows: int, cols: int, step: int) -> str:
    """A matrix of small integers in tensor assembly."""
    lines = ("{" + ", ".join(str((step * r + c) % 17 - 8) for c in range(cols)) + "}" for r in range(rows))
    return "{" + ", ".join(lines) + "}"


SUMS = """
.program sums
.input a : i16[3, 5] public
.input b : i8[5] public
.output s public
    add s, a, b
    sum r, s, axes=(0)
    reveal r
    halt
"""
DENSE = """
.program dense
.input x : i8[2, 3] private
.param w : i8[3, 2] committed = {{3, -1}, {0, 2}, {-5, 4}}
.param b : i8[2] committed = {7, -7}
.output y public
    matmul h, x, w
    add h, h, b
    rescale y, h, 2, i8
    halt
"""
PARAMS = f"""
.program params
.input x : i8[2, 24] private
.param w : i8[24, 20] committed = {matrix(24, 20, 3)}
.param v : i8[24, 20] committed = {matrix(24, 20, 5)}
.param p : i8[3] public = {{1, -2, 3}}
.output s public
    matmul a, x, w
    matmul c, x, v
    mul d, w, v                             ; entry by entry: claims on params that are no evaluations
    sum e, d, axes=(0, 1)
    sum f, w, axes=(0)
    add s, a, c
    add s, s, f
    add s, s, e
    dot q, p, p
    reveal q
    halt
"""
MIXED = """
.program mixed
.input x : i8[2, 6] private
.input z : i8[6, 2] private
.output y public
.output k public
    matmul h, x, z                          ; its claims mix rows and columns: it is committed
    reshape h, h, (4)
    sort t, h
    argmax k, t, 0
    mul g, t, t                             ; a product of products
    lt c, t, g
    select m, c, g, t
    flip y, m, 0
    halt
"""
MEMORY = """
.program memory
.input x : i8[4, 2] private
.input i : i8[3] private in 0..3
.ram buf : i8[4, 2] = x
.output y public
.output o private
    repeat 3, t
        slice at, i, axis=0, start=t
        cast at, at, i8
        load row, buf[at]
        addi row, row, 1
        clamp row, row, -20, 20
        cast row, row, i8
        store buf[at], row
    end
    gather g, x[i]
    mov o, g
    mov y, row
    halt
"""
BRANCHES = """
.program branches
.input n : i16[] private in 1..30
.input limit : i16[] public
.output s public
.output sign public
    sub s, n, n
    cast s, s, i16
    mov i, s
again:
    addi i, i, 1
    cast i, i, i16
    add s, s, i
    cast s, s, i16
    lt more, i, n
    bnz more, again
    lt below, s, limit
    assert below
    sign sign, s
    halt
"""
TABLES = """
.program tables
.input x : i8[2, 3] private in -4..3
.input d : i8[] private in 1..9
.lut square : i8 -> i16 in -4..3 = {16, 9, 4, 1, 0, 1, 4, 9}
.output y public
.output r public
    repeat 2
        lut q, x, square
        div y, q, d
        mod r, q, d
    end
    isqrt t, q
    max r, r, t
    halt
"""
WIDE = """
.program wide
.input x : i16[3] private
.input z : i16[5, 40, 80] private           ; so many that the ladder has a level: 200 by 80, as 128 + 64 + 8
.output s public
    dot s, x, x
    halt
"""

COMMITTED = """
.program committed
.input x : i8[3, 5] committed in -50..50
.input z : i8[5] private
.output y committed
.output total public
    matmul h, x, z
    rescale y, h, 3, i16
    sum total, y
    halt
"""
LINKED = """
.program linked
.input x : i8[3] private
.input n : i8[] public in 1..3
.param w : i8[3, 3] committed = {{1, -2, 3}, {4, 5, -6}, {0, 7, 1}}
.param v : i8[3] committed = {2, -1, 3}
.output y public
    matmul t, w, x                          ; segment 0
    rescale t, t, 2, i8
    mul u, t, n                             ; segment 1, which commits no param
    add u, u, x
    dot y, u, v                             ; segment 2
    halt
"""

_X = [[1, -2], [3, 4], [-5, 6], [7, -8]]
_COMMITTED = {"x": [[7 * i - 3 * j for j in range(5)] for i in range(3)], "z": [1, -2, 3, -4, 5]}
_PARAMS = {"x": [[(5 * i + 3 * j) % 23 - 11 for i in range(24)] for j in range(2)]}

CASES = {
    "sums-clear": Case(SUMS, {"a": [[300 * r - c for c in range(5)] for r in range(3)], "b": [1, -1, 127, -128, 0]}),
    "dense-clear": Case(DENSE, {"x": [[1, 2, 3], [-4, 5, -6]]}),
    "dense-hiding": Case(DENSE, {"x": [[1, 2, 3], [-4, 5, -6]]}, hiding=True, proofs=2),
    "dense-certified-hiding": Case(DENSE, {"x": [[1, 2, 3], [-4, 5, -6]]}, hiding=True, proofs=2, certified=True),
    "dense-certified-clear": Case(DENSE, {"x": [[1, 2, 3], [-4, 5, -6]]}, certified=True),
    "params-clear": Case(PARAMS, _PARAMS),
    "params-hiding": Case(PARAMS, _PARAMS, hiding=True),
    "mixed-clear": Case(MIXED, {"x": [[1, 2, 3, 4, 5, 6], [-6, 5, 4, -3, 2, 1]], "z": [[k, 3 - k] for k in range(6)]}),
    "memory-clear": Case(MEMORY, {"x": [_X, _X[::-1]], "i": [[1, 1, 3], [0, 3, 0]]}, batch=True),
    "memory-hiding": Case(MEMORY, {"x": _X, "i": [2, 2, 0]}, hiding=True),
    "committed-clear": Case(COMMITTED, _COMMITTED),
    "committed-hiding": Case(COMMITTED, _COMMITTED, hiding=True, proofs=2),
    "branches-clear": Case(BRANCHES, {"n": [4, 1, 7], "limit": [100, 50, 29]}, batch=True),
    "branches-hiding": Case(BRANCHES, {"n": 5, "limit": 16}, hiding=True),
    "tables-clear": Case(TABLES, {"x": [[-4, 3, 2], [1, 0, -1]], "d": 3}),
    "wide-clear": Case(
        WIDE,
        {
            "x": [5, -6, 7],
            "z": [
                [[k * k % 999 - 500 for k in range(80 * j, 80 * j + 80)] for j in range(40 * i, 40 * i + 40)]
                for i in range(5)
            ],
        },
    ),
}

BUNDLES = {
    "bundle-certified-clear": Linked(LINKED, {"x": [1, -2, 3], "n": 2}, certified=True, cuts=(2, 4)),
}
