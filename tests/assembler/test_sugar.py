"""Numbers, parts of tensors and rows as operands; notes that are no part of the program."""

from __future__ import annotations

import numpy as np
import pytest

import syurmy
from syurmy.assembler import assemble
from syurmy.assembler.disassembler import disassemble
from syurmy.isa.encoding import encode
from syurmy.vm.notes import Notes

X = np.arange(24).reshape(4, 6) - 7
HEAD = ".input x : i16[4, 6] private\n.input i : i8[] private in 0..3\n.output y public\n.const N = 3\n"


def run(body: str, **inputs: object) -> np.ndarray:
    program = assemble(HEAD + body + "\n    halt\n")
    return syurmy.run(program, {"x": X, "i": 2} | inputs).outputs["y"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("add y, x, 1", X + 1),
        ("sub y, 10, x", 10 - X),
        ("add y, x, -N*2", X - 6),
        ("max y, x, N", np.maximum(X, 3)),
        ("mov y, x[1]", X[1]),
        ("mov y, x[N]", X[3]),
        ("mov y, x[0:2]", X[0:2]),
        ("mov y, x[:, 2]", X[:, 2]),
        ("mov y, x[1:N, 2:6]", X[1:3, 2:6]),
        ("mov y, x[2, 5]", X[2, 5]),
        ("mov y, x[:, :]", X),
        ("mov y, x[i]", X[2]),
        ("mov y, x[i, 1:4]", X[2, 1:4]),
        ("add y, x[0], x[i]", X[0] + X[2]),
        ("concat y, x[0:1], x[3:4], axis=0", X[[0, 3]]),
        ("mov y, 0\n repeat 3, t\n add s, x[t, 0], x[t+1, 2*t]\n mov y, s\n end", X[2, 0] + X[3, 4]),
    ],
)
def test_operands(body: str, expected: np.ndarray) -> None:
    if "repeat" in body:
        body = body.replace("mov y, 0", "cast y, 0, i16")
    assert np.array_equal(run(body), expected)


def test_rows() -> None:
    body = "cast y, 0, i32\n .for row in x\n sum s, row, axes=(0)\n add y, y, s\n cast y, y, i32\n end"
    assert run(body) == X.sum()


def test_nested_rows_and_macros() -> None:
    text = (
        ".input x : i8[3, 2] private\n.output y public\n.macro total(out, t, by)\n mul %p, t, by\n"
        " sum out, %p, axes=(0)\n.endmacro\n cast y, 0, i32\n"
        " .for row in x\n total s, row, 2\n repeat 2, k\n add s, s, row[k]\n end\n add y, y, s\n cast y, y, i32\n"
        " end\n halt\n"
    )
    x = np.array([[1, 2], [3, 4], [5, 6]])
    assert syurmy.run(assemble(text), {"x": x}).outputs["y"] == 3 * x.sum()


def test_equal_numbers_are_one_param() -> None:
    program = assemble(HEAD + "add a, x, 5\n mul b, a, 5\n add y, b, N+2\n halt\n")
    assert [(p.name, p.committed, program.data[p.name].tolist()) for p in program.params] == [("number.5", False, 5)]


def test_sugar_is_the_program_that_it_stands_for() -> None:
    program = assemble(HEAD + "add a, x[1, 0:2], 4\n add y, a, x[i, 0:2]\n halt\n")
    text = disassemble(program)
    again = assemble(text)
    assert encode(again) == encode(program)


def test_a_proof_of_sugar() -> None:
    program = assemble(HEAD + "cast y, 0, i32\n .for r in x\n add y, y, r[i]\n cast y, y, i32\n end\n halt\n"
                       .replace("r[i]", "r[2]"))  # fmt: skip
    trace = syurmy.run(program, {"x": X, "i": 1})
    pk, vk = syurmy.setup(program)
    assert syurmy.verify(vk, syurmy.prove(pk, trace).to_bytes()).outputs["y"] == X[:, 2].sum()


def test_notes_are_no_part_of_the_program() -> None:
    plain = assemble(HEAD + "repeat 3, t\n mov s, x[t]\n end\n add y, s, 0\n halt\n")
    noted = assemble(
        HEAD + ".print x\nrepeat 3, t\n mov s, x[t]\n .print t\n .print s\n .expect t = 1\n end\n add y, s, 0\n"
        ".expect y = {5, 6, 7, 8, 9, 99}\n halt\n"
    )
    assert encode(plain) == encode(noted)
    notes = Notes(noted, {"x": X, "i": np.array(0)})
    syurmy.run(noted, {"x": X, "i": 0}, listeners=[notes])
    assert [s.note.name for s in notes.seen] == ["x", *["t", "s", "t"] * 3, "y"]
    assert [int(s.value) for s in notes.seen if s.note.name == "t"] == [0, 0, 1, 1, 2, 2]
    assert [dict(s.counters) for s in notes.seen if s.note.name == "s"] == [{"t": 0}, {"t": 1}, {"t": 2}]
    failed = [s for s in notes.seen if not s.holds]
    assert [(s.note.name, s.difference) for s in failed] == [("t", ()), ("t", ()), ("y", (5,))]


def test_a_byte_order_mark_is_no_text(tmp_path) -> None:
    path = tmp_path / "a.tasm"
    path.write_bytes(b"\xef\xbb\xbf" + (HEAD + "add y, x, 1\n halt\n").encode())
    assert syurmy.load(path).outputs[0].name == "y"
