"""Cheating provers against "this model wrote this text": each is honest but for its lie, and rejected by the step that
must see it. The model is a table: the logits behind a token are its row, in which two largest may tie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import syurmy
from syurmy.completions import Completion, completions, greedy
from syurmy.isa.trace import Trace
from tests.soundness import common as c
from tests.soundness.common import OPENING, ROOT, Cheat, accepted, cheat, honest, keys, refused, verifier_of

TABLE = [[1, 7, 3, 7], [0, 0, 5, 1], [9, 2, 2, 8], [4, 4, 4, 4]]  # after 0 and 3: ties
HELD = "    assert held\n"
GREEDY = f"""
.input tokens : i8[6] public in 0..3
.input prompt : i8[] public in 1..6
.input length : i8[] public in 1..6
.param table : i8[4, 4] committed = {{{", ".join("{" + ", ".join(map(str, row)) + "}" for row in TABLE)}}}
.param places : i8[5] public = {{1, 2, 3, 4, 5}}
    slice  read, tokens, axis=0, start=0, len=5
    gather logits, table[read]
    argmax best, logits, 1
    slice  given, tokens, axis=0, start=1, len=5
    eq     same, best, given
    ge     after, places, prompt
    lt     before, places, length
    mul    part, after, before
    le     held, part, same
{HELD}    halt
"""
WRITTEN = [3, 0, 1, 2, 0, 0]  # from 3: 0 (tie), 1 (tie), 2, 0; the last is padding
c.INPUTS[GREEDY] = {"tokens": WRITTEN, "prompt": 1, "length": 5}
FREE = syurmy.assemble(GREEDY.replace(HELD, "    mov held, held\n"))  # computes the same, asserts nothing


def claims(**inputs: Any) -> Any:
    """A trace of these public inputs, whatever they break; all that follows from them is as they make it."""

    def change(trace: Trace) -> None:
        free = syurmy.run(FREE, {k: np.array(v) for k, v in (c.INPUTS[GREEDY] | inputs).items()})
        trace.inputs.update(free.inputs)
        trace.writes.update({pc: v for pc, v in free.writes.items() if pc in trace.writes})

    return change


def test_what_is_stated() -> None:
    assert greedy(keys(GREEDY).program) == ("tokens", "prompt", "length")
    statement = accepted(GREEDY, honest(GREEDY).data)
    assert completions(statement, verifier_of(GREEDY).program) == [Completion((3,), (0, 1, 2, 0))]


EQUAL = {"less": lambda b: [0] * 5, "greater": lambda b: [0] * 5}  # the comparison's columns


def test_a_batch_of_texts() -> None:
    """Of different lengths, in one proof."""
    pk = keys(GREEDY)
    given = {"tokens": [WRITTEN, [2, 0, 1, 2, 1, 1]], "prompt": [1, 2], "length": [5, 4]}
    trace = syurmy.run(pk.program, {k: np.array(v) for k, v in given.items()}, batch=True)
    statement = verifier_of(GREEDY).verify(syurmy.prove(pk, trace))
    assert completions(statement, pk.program) == [Completion((3,), (0, 1, 2, 0)), Completion((2, 0), (1, 2))]


LIES: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[str, str]]] = {
    "another token": ({"tokens": [3, 0, 1, 3, 0, 0]}, {}, OPENING),
    "the tie goes to the higher index": ({"tokens": [3, 0, 3, 0, 1, 0]}, {}, OPENING),
    "a token of the prompt": ({"tokens": [1, 0, 1, 2, 0, 0]}, {}, OPENING),
    "shifted": ({"tokens": [3, 3, 0, 1, 2, 0]}, {}, OPENING),
    "one more token": ({"tokens": [3, 0, 1, 2, 0, 3], "length": 6}, {}, OPENING),
    "a completion that begins earlier": ({"tokens": [2, 1, 2, 0, 1, 0], "prompt": 1}, {}, OPENING),
    "another token, called equal": ({"tokens": [3, 0, 1, 3, 0, 0]}, EQUAL, ROOT),
    "the tie, with the other place first": (
        {"tokens": [3, 0, 3, 0, 1, 0]},
        {"before": lambda u: [[1] * 3 if k == 1 else row for k, row in enumerate(u)]},
        ROOT,
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies(lie: str) -> None:
    inputs, columns, rejected = LIES[lie]
    with pytest.raises(syurmy.SyurmyError) as e:
        syurmy.run(keys(GREEDY).program, {k: np.array(v) for k, v in (c.INPUTS[GREEDY] | inputs).items()})
    assert e.value.code == "T110"
    refused(GREEDY, cheat(GREEDY, Cheat(columns=columns, trace=claims(**inputs))), *rejected)
