"""Faulty texts: all faults at once, and only types that the mended program has; the table of types."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from syurmy.assembler import assemble_file, disassemble
from syurmy.assembler.drafts import draft, typing
from syurmy.assembler.typetable import type_table
from syurmy.isa.inference import infer_types
from syurmy.isa.program import Program
from tests.assembler.random_programs import programs
from tests.drawing import examples

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted(ROOT.glob("programs/*.tasm"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.name)
def test_types_are_those_of_the_assembler(path: Path) -> None:
    drawn = draft(path.read_text(), str(path))
    assert drawn.errors == ()
    program = assemble_file(path)
    types = infer_types(program)
    assert drawn.program.code == program.code
    assert list(drawn.typing.results) == types.results
    assert list(drawn.typing.operands) == types.operands
    rows = type_table(drawn.program, drawn.typing, drawn.places)
    assert all(row.place is not None for row in rows)
    written = {row.index: row.type for row in rows if row.index is not None}
    assert written == {i: types.results[i] for i, ins in enumerate(program.code) if ins.dst is not None}


@pytest.mark.parametrize("path", sorted(ROOT.glob("programs/lib/*.tasm")), ids=lambda p: p.name)
def test_a_library_needs_no_end(path: Path) -> None:
    assert draft(path.read_text(), str(path)).errors == ()


def test_all_typing_faults_at_once_and_none_that_follows() -> None:
    drawn = draft("""\
.input x : i8[2, 3] public
.input y : i8[4] public
.output o public
    add a, x, y
    add b, a, x
    matmul c, x, x
    addi d, x, 1
    mul o, d, c
    mul e, d, missing
    halt
""", "a.tasm")  # fmt: skip
    assert [(e.code, e.span.line) for e in drawn.errors] == [("A220", 4), ("A220", 6), ("A120", 9)]
    known = {row.name: str(row.type) for row in type_table(drawn.program, drawn.typing)}
    assert known == {"x": "i8[2, 3]", "y": "i8[4]", "d": "i64[2, 3]"}


def test_faults_of_every_kind_are_told_together() -> None:
    drawn = draft("""\
.input x : i8[2] public
.output y public
    add y x, 1
    ad z, x, 1
    cast w, x, i4
    add v, x, w
    rescale u, x, 70, i8
    .halt
""", "a.tasm")  # fmt: skip
    lines = [e.span.line for e in drawn.errors if e.span]
    assert lines == sorted(lines)
    assert {3, 4, 5, 7, 8} <= set(lines)
    assert 6 not in lines  # w is unknown for the reason told at line 5


def test_nothing_is_known_with_faulty_control_flow() -> None:
    text = ".input x : i8[] public\n.output y public\ncast y, x, i16\n"
    text += "again: addi y, y, 1\ncast y, y, i16\nlt b, y, x\nbnz b, {}\nhalt\n"
    whole, broken = draft(text.format("again")), draft(text.format("agan"))
    assert [str(t) for t in whole.typing.results if t] == ["i16[]", "i64[]", "i16[]", "i8[]", "i8[]"]
    assert [e.code for e in broken.errors] == ["A136"]
    assert not any(broken.typing.results)


def test_a_broken_macro_does_not_blame_its_calls() -> None:
    text = """\
.input x : i8[2] public
.output y public
.macro twice(dst, src)
    add %t src, src
    cast dst, %t, i16
.endmacro
    twice y, x
    halt
"""
    assert [(e.code, e.span.line) for e in draft(text).errors] == [("A100", 4)]


@examples(80, suppress_health_check=list(HealthCheck))
@given(programs(), st.randoms(use_true_random=False))
def test_broken_lines_leave_only_true_types(p: Program, draw: random.Random) -> None:
    lines = disassemble(p).split("\n")
    whole = draft("\n".join(lines))
    assert whole.errors == ()
    types = {ins.span.line: t for ins, t in zip(whole.program.code, whole.typing.results, strict=True) if ins.span}
    code = [k for k, line in enumerate(lines) if line.startswith("    ") and "halt" not in line]
    if not code:
        return
    broken = draw.choice(code)
    lines[broken] = draw.choice(
        [lines[broken] + " (", lines[broken].replace(",", " ", 1), "    wrong " + lines[broken]]
    )
    drawn = draft("\n".join(lines))
    for ins, t in zip(drawn.program.code, drawn.typing.results, strict=True):
        assert t is None or ins.span is None or ins.span.line == broken + 1 or t == types[ins.span.line]


@examples(60, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(SHIPPED), st.randoms(use_true_random=False))
def test_any_text_is_drafted(path: Path, draw: random.Random) -> None:
    text = path.read_text()
    for _ in range(draw.randrange(1, 6)):
        at = draw.randrange(len(text))
        end = at + draw.randrange(12)
        text = (
            text[:at]
            + draw.choice(["", ",", "{", '"', ".macro ", "%", "end", "[", ")", "\n", text[at - 5 : at]])
            + text[end:]
        )
    drawn = draft(text, str(path))
    type_table(drawn.program, drawn.typing, drawn.places)
    assert all(e.message for e in drawn.errors)


def test_unsaved_includes_count(tmp_path: Path) -> None:
    (tmp_path / "m.tasm").write_text(".macro f(dst, src)\n mov dst, src\n.endmacro\n")
    text = '.include "m.tasm"\n.input x : i8[] public\n.output y public\n f y, x\n halt\n'
    edited = {(tmp_path / "m.tasm").resolve(): ".macro f(dst, src)\n addi dst, src, 1\n.endmacro\n"}
    saved, unsaved = (draft(text, str(tmp_path / "a.tasm"), edited=e) for e in ({}, edited))
    assert [drawn.program.code[0].op for drawn in (saved, unsaved)] == ["mov", "addi"]


@pytest.mark.slow
def test_table_on_the_command_line(tmp_path: Path) -> None:
    program = tmp_path / "p.tasm"
    program.write_text("""\
.include "nn.tasm"
.input x : i8[1, 2] private in 0..3
.param w : i8[2, 1] committed = {{1}, {-2}}
.param b : i8[1] committed = {5}
.output y public
    linear y, x, w, b, 1
    halt
""")  # fmt: skip
    command = [sys.executable, "-m", "syurmy", "info", "--types", str(program)]
    run = subprocess.run([*command, "--json"], capture_output=True, text=True, cwd=ROOT, check=True)
    rows = json.loads(run.stdout)["types"]
    assert [(r["name"], r["line"], r["interval"]) for r in rows[:3]] == [
        ("x", 2, [0, 3]),
        ("w", 3, [-2, 1]),
        ("b", 4, [5, 5]),
    ]
    product = rows[3]
    assert (product["dtype"], product["shape"], product["interval"]) == ("i64", [1, 1], [-9, 6])
    assert product["macros"] == [{"name": "linear", "file": str(program), "line": 6}]
    assert product["why"] == "matmul of x i8[1, 2] 0..3, w i8[2, 1] -2..1; sums of |w| over axes (0) at most 3"
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert "6 > nn.tasm:15" in run.stdout
    program.write_text("mov y, x\n")
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 2
    assert "A134" in run.stderr


def test_programs_without_a_text_have_a_table() -> None:
    p = assemble_file(ROOT / "programs" / "kmeans.tasm")
    assert len(type_table(p, typing(p))) == len(p.inputs) + len(p.params) + sum(i.dst is not None for i in p.code)
