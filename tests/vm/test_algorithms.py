"""Data-dependent programs against plain Python, on random inputs, alone and as batches; small ones are proven."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syurmy.isa.errors import InputError, Trap
from syurmy.isa.program import Program
from syurmy.isa.trace import Trace
from syurmy.prover.check import check
from syurmy.prover.keys import ProvingKey, setup
from syurmy.prover.prove import prove
from syurmy.prover.verifier.verify import verify
from syurmy.vm import run, run_batch
from tests.drawing import examples

sys.path.insert(0, str(Path(__file__).parent))
import algorithms as a

I16 = st.integers(-(2**15), 2**15 - 1)
N = 6
SEARCH = a.program(a.BINARY_SEARCH, N)
SORT = a.program(a.INSERTION_SORT, N)
COLLATZ = a.program(a.COLLATZ, 1)
ROUTINES = a.program(a.ROUTINES, 4)
NESTED = a.program(a.NESTED, 3)


def lists(low: int, high: int, n: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(low, high), min_size=n, max_size=n)


@examples(60)
@given(st.lists(I16, min_size=N, max_size=N).map(sorted), I16, st.integers(0, N - 1))
def test_binary_search(x: list[int], key: int, at: int) -> None:
    for k in (key, x[at]):
        trace = run(SEARCH, {"x": x, "key": k}, check_intervals=True)
        assert int(trace.outputs["lo"]) == a.search(x, k) == np.searchsorted(x, k)


@examples(60)
@given(st.lists(I16, min_size=N, max_size=N) | lists(-1, 1, N))
def test_insertion_sort(x: list[int]) -> None:
    trace = run(SORT, {"x": x}, check_intervals=True)
    assert trace.outputs["y"].tolist() == sorted(x)
    contents, times = trace.final["m"][0]
    assert contents.tolist() == sorted(x)
    accesses = sum(len(times) for times in trace.read_times.values()) - 1 + N  # the last one is a vector
    assert max(times.tolist()) == accesses


@examples(60)
@given(st.integers(1, 1000))
def test_a_loop_that_data_ends(x: int) -> None:
    trace = run(COLLATZ, {"x": x}, check_intervals=True)
    assert (int(trace.outputs["steps"]), int(trace.outputs["peak"])) == a.collatz(x)


@examples(60)
@given(lists(-128, 127, 4) | lists(-1, 1, 4))
def test_routines_and_counters(x: list[int]) -> None:
    trace = run(ROUTINES, {"x": x}, check_intervals=True)
    assert (int(trace.outputs["total"]), int(trace.outputs["biggest"])) == a.routines(x)


@examples(60)
@given(st.lists(lists(-128, 127, 3), min_size=3, max_size=3))
def test_branches_in_nested_blocks(x: list[list[int]]) -> None:
    trace = run(NESTED, {"x": x}, check_intervals=True)
    assert (int(trace.outputs["odd"]), trace.outputs["rows"].tolist()) == a.nested(x)


@examples(20)
@given(st.lists(st.lists(I16, min_size=N, max_size=N), min_size=2, max_size=4))
def test_a_batch_is_its_runs_one_after_the_other(xs: list[list[int]]) -> None:
    batch = run_batch(SORT, {"x": xs})
    runs = [run(SORT, {"x": x}) for x in xs]
    assert batch.batch == len(xs)
    assert batch.outputs["y"].tolist() == [sorted(x) for x in xs]
    assert batch.inputs["x"].tolist() == xs
    assert batch.path == [pc for r in runs for pc in r.path]
    for pc in range(len(SORT.code)):
        assert batch.bits.get(pc, []) == [b for r in runs for b in r.bits.get(pc, [])]
        for name in ("writes", "read_times"):
            values = [v.tolist() for r in runs for v in getattr(r, name).get(pc, [])]
            assert [v.tolist() for v in getattr(batch, name).get(pc, [])] == values
    assert [[v.tolist() for v in final] for final in batch.final["m"]] == [
        [v.tolist() for v in r.final["m"][0]] for r in runs
    ]


def test_a_batch_of_one_is_a_run() -> None:
    one, alone = run_batch(SORT, {"x": [[3, 1, 2, 0, 5, 4]]}), run(SORT, {"x": [3, 1, 2, 0, 5, 4]})
    assert one.batch == 1
    assert one.outputs["y"].tolist() == alone.outputs["y"].tolist() == [0, 1, 2, 3, 4, 5]
    assert one.inputs["x"].shape == alone.inputs["x"].shape


@pytest.mark.parametrize(
    ("inputs", "code", "says"),
    [
        ({"x": [1, 2, 3, 4, 5, 6], "key": [1]}, "I105", "has shape [6], expected [batch, 6]"),
        ({"x": [[1] * 6], "key": 1}, "I105", "'key' has shape [], expected [batch]"),
        ({"x": [[1] * 6], "key": [1, 2]}, "I109", "'x' 1, 'key' 2"),
        ({"x": np.zeros((0, 6), int), "key": np.zeros(0, int)}, "I109", "not empty"),
        ({"x": [[1] * 6, [1] * 5 + [40000]], "key": [1, 2]}, "I106", "'x'[1, 5] is 40000"),
        ({"x": [[1] * 6]}, "I102", "no value for input 'key'"),
        ({"x": [[1], [2, 3]], "key": [1]}, "I103", "not a rectangular array"),
    ],
)
def test_bad_batches_are_named(inputs: dict[str, Any], code: str, says: str) -> None:
    with pytest.raises(InputError) as e:
        run_batch(SEARCH, inputs)
    assert e.value.code == code
    assert says in e.value.message


def test_the_step_limit_covers_the_batch_and_says_where() -> None:
    steps = len(run(COLLATZ, {"x": 27}).path)
    assert len(run_batch(COLLATZ, {"x": [27, 27]}, max_steps=2 * steps).path) == 2 * steps
    with pytest.raises(Trap, match=f"more than {2 * steps - 1} steps") as e:
        run_batch(COLLATZ, {"x": [27, 27]}, max_steps=2 * steps - 1)
    notes = "\n".join(e.value.__notes__)
    assert e.value.code == "T101"
    assert "in input 1 of the batch" in notes
    assert "the last 1000 steps ran instructions 3 to 16, lines 16 to 31" in notes  # the loop
    assert "--max-steps" in e.value.help


@pytest.mark.parametrize(("rows", "element"), [("a", None), ("b", (1,))])
@pytest.mark.parametrize("access", ["load y, m[{}]", "store m[{}], {}", "gather y, t[{}]"])
def test_rows_outside_a_buffer_trap(rows: str, element: tuple[int, ...] | None, access: str) -> None:
    p = a.assemble(f"""
.input a : i8[] private
.input b : i8[2] private
.input t : i8[4] private
.ram m : i8[4]
    {access.format(rows, rows)}
    halt
""")
    good = {"a": 3, "b": [0, 3], "t": [1, 2, 3, 4]}
    run(p, good)
    for bad in (-1, 4):
        with pytest.raises(Trap, match=f"row {bad} is outside 0 to 3") as e:
            run(p, good | {"a": bad, "b": [2, bad]})
        assert (e.value.code, e.value.instruction, e.value.element or None) == ("T150", 0, element)


def proven(key: ProvingKey, program: Program, trace: Trace) -> None:
    assert check(program, trace) == []
    statement = verify(key.verifying_key, prove(key, trace).to_bytes())
    public = [o.name for o in program.outputs if o.public]
    assert {n: v.tolist() for n, v in statement.outputs.items()} == {n: trace.outputs[n].tolist() for n in public}
    assert statement.batch == trace.batch
    assert {pc: list(bits) for pc, bits in statement.branches.items()} == trace.bits


CASES: list[tuple[Program, dict[str, Any]]] = [
    (SEARCH, {"x": [[-5, -5, 0, 3, 9, 11], [1, 2, 3, 4, 5, 6]], "key": [3, 100]}),
    (SORT, {"x": [[5, -1, 3, 3, 0, 2], [1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1]]}),
    (COLLATZ, {"x": [1, 7, 2]}),
    (ROUTINES, {"x": [[-128, 3, 0, 127], [0, 0, 0, 0]]}),
    (NESTED, {"x": [[[1, 2, 3], [2, 2, 2], [-1, 5, 7]], [[0] * 3] * 3]}),
]


@pytest.mark.parametrize(("program", "inputs"), CASES, ids=["search", "sort", "collatz", "routines", "nested"])
def test_runs_and_batches_are_proven(program: Program, inputs: dict[str, Any]) -> None:
    key = setup(program)
    size = len(next(iter(inputs.values())))
    for k in range(size):
        proven(key, program, run(program, {name: values[k] for name, values in inputs.items()}))
    proven(key, program, run_batch(program, inputs))


def test_operands_of_another_rank_in_loops_are_proven() -> None:
    p = a.assemble("""
.input x : i16[2, 3] private
.input one : i16[] private in 1..7
.output y public
    mov y, x
    repeat 3, t
        add s, one, t
        cast s, s, i16
        mod r, y, s
        xor y, s, r
        max y, s, y
        clamp y, y, 1, 100
        cast y, y, i16
    end
    halt
""")
    key = setup(p)
    x = np.arange(18).reshape(3, 2, 3)
    proven(key, p, run(p, {"x": x[0], "one": 3}))
    proven(key, p, run_batch(p, {"x": x, "one": [1, 7, 2]}))
