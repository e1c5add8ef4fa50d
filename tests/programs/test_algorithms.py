"""The algorithm programs: equal to plain Python on random inputs, and their proofs."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from programs import inputs
from syurmy.assembler import assemble_file
from syurmy.isa.errors import Trap
from syurmy.isa.program import Program
from syurmy.prover.keys import setup
from syurmy.prover.prove import prove
from syurmy.prover.verifier.verify import verify
from syurmy.vm.machine import run
from tests.drawing import examples

ROOT = Path(__file__).resolve().parents[2]
I16 = st.integers(-(2**15), 2**15 - 1)
I32 = st.integers(-(2**31), 2**31 - 1)
Arrays = dict[str, Any]
few = examples(30)


@cache
def program(name: str) -> Program:
    return assemble_file(ROOT / "programs" / f"{name}.tasm")


def outputs(name: str, arrays: Arrays) -> dict[str, Any]:
    return {k: v.tolist() for k, v in run(program(name), arrays, check_intervals=True).outputs.items()}


# ---- the same in plain Python ----------------------------------------------------------------------------------------


def binary_search(list: list[int], wanted: int) -> Arrays:
    place = bisect_left(list, wanted)
    return {"place": place, "found": int(wanted in list)}


def insertion_sort(list: list[int]) -> Arrays:
    return {"sorted": sorted(list)}


def hash_map(puts: list[int], keys: list[int], values: list[int]) -> Arrays:
    table: dict[int, int] = {}
    answers = []
    for put, key, value in zip(puts, keys, values, strict=True):
        if put:
            table[key] = value
        answers.append(table.get(key, -1))
    return {"answers": answers}


def bfs(first: list[int], ends: list[int], source: int) -> Arrays:
    lengths = {source: 0}
    queue = deque([source])
    while queue:
        u = queue.popleft()
        for v in ends[first[u] : first[u + 1]]:
            if v not in lengths:
                lengths[v] = lengths[u] + 1
                queue.append(v)
    return {"lengths": [lengths.get(v, -1) for v in range(32)]}


def kmeans(points: list[list[int]]) -> Arrays:
    centres = points[:4]
    still, rounds = False, 0
    while not still and rounds < 100:
        rounds += 1
        members: list[list[list[int]]] = [[] for _ in centres]
        for p in points:
            squares = [(p[0] - c[0]) ** 2 + (p[1] - c[1]) ** 2 for c in centres]
            members[squares.index(min(squares))].append(p)
        pairs = zip(members, centres, strict=True)
        means = [[sum(x) // len(m) for x in zip(*m, strict=True)] if m else c for m, c in pairs]
        still, centres = means == centres, means
    return {"centres": centres, "rounds": rounds}


def interpreter(code: list[list[int]], memory: list[int], limit: int = 10**6) -> Arrays | None:
    """None after ``limit`` steps; IndexError where the machine traps."""
    m, pc = list(memory), 0
    for _ in range(limit):
        if not 0 <= pc < len(code):
            raise IndexError(pc)
        op, a, b, c = code[pc]
        a, b, target, immediate = a % 64, b % 64, c, c
        c %= 64
        if not 0 <= op <= 8:
            raise IndexError(op)
        jump = op == 8 and m[a] != 0
        if op == 7:
            m[m[a] % 64] = m[b]
        elif op not in (0, 8):
            less = int(m[b] < m[c])
            value = [0, immediate, m[b] + m[c], m[b] - m[c], m[b] * m[c], less, m[m[c] % 64]][op]
            m[a] = (value + 2**15) % 2**16 - 2**15
        if op == 0:
            return {"result": m[0]}
        pc = target if jump else pc + 1
    return None


# ---- on random inputs ------------------------------------------------------------------------------------------------


@few
@given(st.lists(I32, min_size=256, max_size=256), st.data())
def test_binary_search(values: list[int], data: st.DataObject) -> None:
    values.sort()
    wanted = data.draw(I32 | st.sampled_from(values))
    assert outputs("binary_search", {"list": values, "wanted": wanted}) == binary_search(values, wanted)


@few
@given(st.lists(I32 | st.integers(0, 3), min_size=32, max_size=32))
def test_insertion_sort(values: list[int]) -> None:
    assert outputs("insertion_sort", {"list": values}) == insertion_sort(values)


KEYS = st.integers(1, 2**31 - 1) | st.builds(lambda low, high: low + 2**16 * high, st.integers(1, 2), st.integers(0, 9))


@few
@given(st.lists(st.tuples(st.integers(0, 1), KEYS, I32), min_size=32, max_size=32))
def test_hash_map_with_many_keys_in_one_chain(operations: list[tuple[int, int, int]]) -> None:
    puts, keys, values = map(list, zip(*operations, strict=True))
    assert outputs("hash_map", {"puts": puts, "keys": keys, "values": values}) == hash_map(puts, keys, values)


VERTEX = st.integers(0, 31)


@few
@given(st.lists(st.tuples(VERTEX, VERTEX), max_size=128), VERTEX)
def test_bfs(edges: list[tuple[int, int]], source: int) -> None:
    g = inputs.graph(edges)
    expected = bfs(g["first"].tolist(), g["ends"].tolist(), source)
    assert outputs("bfs", {**g, "source": source}) == expected


COORDINATE = st.integers(-10000, 10000) | st.integers(-3, 3)


@few
@given(st.lists(st.tuples(COORDINATE, COORDINATE), min_size=64, max_size=64))
def test_kmeans(points: list[tuple[int, int]]) -> None:
    arrays = [list(p) for p in points]
    assert outputs("kmeans", {"points": arrays}) == kmeans(arrays)


LINE = st.tuples(st.integers(0, 8), I16 | st.integers(0, 9), I16 | st.integers(0, 9), I16 | st.integers(0, 31))


@few
@given(st.lists(LINE, min_size=1, max_size=31), st.lists(I16, min_size=64, max_size=64))
def test_interpreter_on_random_programs(lines: list[tuple[int, int, int, int]], memory: list[int]) -> None:
    code = inputs.code(lines)
    try:
        expected = interpreter(code.tolist(), memory, 100)
    except IndexError:
        with pytest.raises(Trap):
            run(program("interpreter"), {"code": code, "memory": memory})
        return
    assume(expected is not None)
    assert outputs("interpreter", {"code": code, "memory": memory}) == expected


@few
@given(st.integers(1, 300), st.integers(1, 300))
def test_interpreter_on_a_program_with_loops(a: int, b: int) -> None:
    memory = np.zeros(64, np.int16)
    memory[1:3] = a, b
    got = outputs("interpreter", {"code": inputs.code(inputs.GCD), "memory": memory})
    assert got == {"result": int(np.gcd(a, b))}


def test_interpreter_traps_on_an_unknown_op() -> None:
    with pytest.raises(Trap):
        run(program("interpreter"), {"code": inputs.code([(9, 0, 0, 0)]), "memory": [0] * 64})


# ---- proofs ----------------------------------------------------------------------------------------------------------

NAMES = ("binary_search", "insertion_sort", "hash_map", "bfs", "kmeans", "interpreter")


def test_stored_inputs_are_what_their_script_makes() -> None:
    examples = inputs.examples()
    assert set(examples) == set(NAMES)
    for name, arrays in examples.items():
        with np.load(ROOT / "programs" / f"{name}.inputs.npz") as file:
            assert {k: v.tolist() for k, v in file.items()} == {k: v.tolist() for k, v in arrays.items()}


@pytest.mark.parametrize("name", NAMES)
def test_proof(name: str) -> None:
    p = program(name)
    arrays = inputs.examples()[name]
    trace = run(p, arrays)
    expected = globals()[name](**{k: v.tolist() for k, v in arrays.items()})
    assert {k: v.tolist() for k, v in trace.outputs.items()} == expected
    pk = setup(p)
    statement = verify(pk.verifying_key, prove(pk, trace).to_bytes())
    public = {o.name for o in p.outputs if o.public}
    assert {k: v.tolist() for k, v in statement.outputs.items()} == {k: expected[k] for k in public}
    assert set(statement.inputs) == {i.name for i in p.inputs if i.public}
