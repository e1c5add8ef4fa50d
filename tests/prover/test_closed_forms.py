"""What is worked out of rounds in closed form is what following every round and writing every vector gives: the same
plan, the same proof to the byte, the same answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syurmy import prove, setup, verify
from syurmy.assembler import assemble
from syurmy.isa import builder, dataflow, system
from syurmy.prover.protocol import strands, weights
from syurmy.vm import run_batch
from tests.drawing import examples

HEAD = ".input x : i16[7, 3] private in 0..9\n.input y : i8[2] private in 0..1\n.param one : i16[] public = {1}\n"
HEAD += ".param three : i16[3] public = {1, 2, 3}\n.ram m : i16[8]\n.output a public\n"
START = " cast a, one, i32\n cast b, one, i32\n cast c, one, i32\n"
END = " clamp a, a, lo=0, hi=99\n cast a, a, i32\n"

LOOPS = {
    "delay": "repeat 9\n mov c, b\n mov b, a\n add a, a, c\n END end",
    "counter": "repeat 9, t\n add a, a, t\n END end",
    "nested": "repeat 5, s\n mov b, s\n repeat 6, t\n add b, b, t\n clamp b, b, lo=0, hi=50\n cast b, b, i32\n end\n"
    " add a, a, b\n END end",
    "thrice": "repeat 4\n repeat 3\n add a, a, one\n END repeat 5, t\n add a, a, t\n END end\n end\n end",
    "memory": "repeat 9\n load v, m[one]\n add a, a, v\n END cast w, a, i16\n store m[one], w\n end",
    "rows": "repeat 7, t\n slice r, x, axis=0, start=t\n sum s, r, axes=(0)\n add a, a, s\n END end",
    "backwards": "repeat 7, t\n slice r, x, axis=0, start=6-t\n sum s, r, axes=(0)\n add a, a, s\n END end",
    "gather": "repeat 6\n add a, a, one\n clamp i, a, lo=0, hi=2\n cast i, i, i8\n gather r, three[i]\n"
    " add a, a, r\n END end",
    "vector": "broadcast v, one, (3)\n cast v, v, i32\n repeat 8\n add v, v, three\n clamp v, v, lo=0, hi=40\n"
    " cast v, v, i32\n mul w, v, v\n end\n sum a, w, axes=(0)\n END",
    "put": "broadcast v, one, (7)\n cast v, v, i32\n repeat 7, t\n add a, a, one\n END reshape p, a, (1)\n"
    " put v, p, axis=0, at=t\n end\n sum a, v, axes=(0)\n END",
}


@contextmanager
def written_out() -> Iterator[None]:
    """Every sequence and vector is an array, and every round is followed."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (builder, weights):
            patch.setattr(module, "LONG", 2**62)
        patch.setattr(system, "resolve", partial(dataflow.resolve, derive=False))
        yield


@contextmanager
def closed() -> Iterator[None]:
    """Everything that can be is in closed form, however short."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (builder, weights):
            patch.setattr(module, "LONG", 1)
        patch.setattr(strands, "cost", lambda parts: 0)
        patch.setattr(strands, "_MEETS", 0)
        yield


def agree(text: str, batch: int) -> None:
    program = assemble(text)
    inputs = {"x": np.arange(21 * batch).reshape(batch, 7, 3) % 10, "y": np.ones((batch, 2), np.int64)}
    trace = run_batch(program, inputs)
    made = {}
    for name, way in (("arrays", written_out), ("closed", closed)):
        with way():
            pk, vk = setup(program, zk=False)
            made[name] = prove(pk, trace).data
    assert made["arrays"] == made["closed"]
    for way in (written_out, closed):
        with way():
            verify(vk, made["arrays"])


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("batch", [1, 4])
def test_proofs_are_the_same(name: str, batch: int) -> None:
    agree(HEAD + START + " " + LOOPS[name].replace("END", END.strip() + "\n") + "\n halt\n", batch)


@examples(10)
@given(st.data())
def test_proofs_of_random_nests_are_the_same(data: st.DataObject) -> None:
    def block(depth: int) -> str:
        lines = []
        for _ in range(data.draw(st.integers(1, 3))):
            kind = data.draw(st.sampled_from(["mov", "add", "count", "load", "store", "loop"][: 6 if depth < 3 else 5]))
            u, v = (data.draw(st.sampled_from("abc")) for _ in range(2))
            lines.append(
                {
                    "mov": f"mov {u}, {v}",
                    "add": f"add {u}, {u}, {v}\n clamp {u}, {u}, lo=0, hi=9\n cast {u}, {u}, i32",
                    "count": f"add {u}, {v}, k0\n clamp {u}, {u}, lo=0, hi=9\n cast {u}, {u}, i32",
                    "load": f"load {u}, m[one]\n cast {u}, {u}, i32",
                    "store": f"clamp w, {u}, lo=0, hi=9\n cast w, w, i16\n store m[one], w",
                    "loop": "",
                }[kind]
                or f"repeat {data.draw(st.integers(1, 7))}, k{depth}\n {block(depth + 1)}\n end"
            )
        return "\n ".join(lines)

    loop = f" repeat {data.draw(st.integers(1, 9))}, k0\n {block(1)}\n end\n"
    agree(HEAD + START + loop + " halt\n", data.draw(st.integers(1, 4)))
