"""The layout of the formatter: a fixed point, with every comment, of the same program."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from syurmy.assembler import AssemblyErrors, assemble, assemble_file, disassemble
from syurmy.assembler.formatter import format_text
from syurmy.isa.encoding import encode
from syurmy.isa.program import Program
from tests.assembler.random_programs import programs
from tests.drawing import examples

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted([*ROOT.glob("programs/**/*.tasm")])
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
SNIPPETS = [text for page in PAGES for text in re.findall(r"^```tasm\n(.*?)^```$", page.read_text(), re.M | re.S)]


def remarks(text: str) -> list[str]:
    """All comments, in order, without what stands before them."""
    found = []
    for line in text.split("\n"):
        quoted = False
        for i, c in enumerate(line):
            quoted ^= c == '"'
            if c == ";" and not quoted:
                found.append(line[i:].rstrip())
                break
    return found


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.name)
def test_shipped_programs_are_formatted(path: Path) -> None:
    assert format_text(path.read_text(), path.name) == path.read_text()


def messed(text: str, draw: random.Random) -> str:
    """The text with blanks added and removed where they mean nothing."""
    out = []
    for line in text.split("\n"):
        code = line.split(";")[0]
        if '"' in line or "{" in line or "}" in line or not code.strip():
            out.append(line)
            continue
        code = re.sub(r" *, *", lambda _: draw.choice([",", " , ", ",\t"]), code.strip())
        code = re.sub(r"(?<=\w) (?=\w)", lambda _: draw.choice([" ", "   ", "\t"]), code)
        indent = draw.choice(["", " ", "\t", " " * 11])
        remark = line[len(line.split(";")[0]) :]
        out.append(indent + code + (draw.choice(["", " ", " " * 30]) + remark if remark else ""))
    return draw.choice(["\n", "\r\n"]).join(out)


@lru_cache
def shipped(path: Path) -> bytes:
    return encode(assemble_file(path))


@pytest.mark.slow
@examples(60, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(SHIPPED), st.randoms(use_true_random=False))
def test_layout_is_that_of_the_statements(path: Path, data: random.Random) -> None:
    text = messed(path.read_text(), data)
    formatted = format_text(text)
    assert format_text(formatted) == formatted
    assert remarks(formatted) == remarks(path.read_text())
    if path.parent.name == "programs":
        assert encode(assemble(formatted, filename=str(path))) == shipped(path)


@examples(60, suppress_health_check=list(HealthCheck))
@given(programs(), st.randoms(use_true_random=False))
def test_every_instruction_keeps_its_program(p: Program, data: random.Random) -> None:
    text = messed(disassemble(p), data)
    formatted = format_text(text)
    assert format_text(formatted) == formatted == format_text(disassemble(p))
    assert encode(assemble(formatted)) == encode(p)


@examples(150, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(
    ["", "; x", "   ; y", " " * 30 + "; z", "    add y, x, 1 ; one", "mov y, x;two", "again: lt b, x, y ; l",
     "long_label_of_a_loop:",
     "repeat 3, t", "end", ".const N = 2**8-1", ".input x : i8[N,4] private in -3 .. N ; in", ".output y public",
     ".macro m(a,b=(1,2))", ".endmacro", '.param w:i8[2] committed bounds 0..1 l1 (0)=3,(1) = 2 = "w.npz":"w"',
     ".param v : i8[2] public = {1, ; a\n  2}  ; b", "add %t, x[ 0:8 , :,N], -1", "a: b: halt", "m y,N%M, x %y, 3 - -2",
     ".for row in x", ".expect y={1,2}", ".lut f:i8->i8 in 0..1={1,2}"]), max_size=12))  # fmt: skip
def test_any_lines_settle_at_once(lines: list[str]) -> None:
    text = "\n".join(lines)
    formatted = format_text(text)
    assert format_text(formatted) == formatted
    assert remarks(formatted) == remarks(text)


def test_standard_layout() -> None:
    text = """\
.program  p
.input x:i8[2,4] private in -3..3   ; readings
.param w : i16[4]  committed  bounds -1..1  l1 (0)=4 = "w.npz" : "w"


; a table

.lut f:i8->i8 in 0 .. 1={0,
   1 } ; kept
.macro m(dst,src,axis = -1)
sum dst,src,axes=(axis)
.endmacro
repeat 2*N+1,t
loop:m y,x
add y , y,x[ t,0 : 8 ]; part
   ; of it
bnz y,loop
end
halt
"""
    assert (
        format_text(text)
        == """\
.program p
.input x : i8[2, 4] private in -3..3             ; readings
.param w : i16[4]   committed bounds -1..1 l1 (0)=4 = "w.npz":"w"


; a table

.lut f : i8 -> i8 in 0..1 = {0,
   1 } ; kept
.macro m(dst, src, axis=-1)
    sum dst, src, axes=(axis)
.endmacro
        repeat 2*N+1, t
    loop:   m      y, x
            add    y, y, x[t, 0:8]               ; part
            ; of it
            bnz    y, loop
        end
        halt
"""
    )


@pytest.mark.slow
def test_what_cannot_be_parsed_is_told_and_left_alone(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.tasm", tmp_path / "bad.tasm"
    good.write_text("halt")
    bad.write_text("add y x\nmul (\nhalt\n")
    with pytest.raises(AssemblyErrors) as caught:
        format_text(bad.read_text(), "bad.tasm")
    assert [e.span.line for e in caught.value.errors] == [1, 2]
    command = [sys.executable, "-m", "syurmy", "fmt"]
    run = subprocess.run([*command, "--check", good], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (run.returncode, run.stdout) == (2, f"would change {good}\n")
    assert good.read_text() == "halt"
    run = subprocess.run([*command, tmp_path], capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 2
    assert "bad.tasm:1:7: error[A100]" in run.stderr
    assert bad.read_text() == "add y x\nmul (\nhalt\n"
    assert good.read_text() == "    halt\n"
    run = subprocess.run([*command, "--check", good], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (run.returncode, run.stdout) == (0, "")


@pytest.mark.parametrize("text", SNIPPETS, ids=range(len(SNIPPETS)))
def test_programs_of_the_pages_settle(text: str) -> None:
    assert format_text(format_text(text)) == format_text(text)
