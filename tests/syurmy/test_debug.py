"""Whole sessions of ``syurmy-vm debug``: what a pipe is told, a script and a terminal are told as well.

``sessions/NAME.txt`` are transcripts: the command, then what it prints, with the prompts and what was typed. After a
change that means to change them, ``python -m tests.syurmy.test_debug`` writes them anew; read them before keeping them.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import syurmy
from syurmy.cli import app
from syurmy.debugging.prompt import candidates, completer
from syurmy.debugging.session import COMMANDS, Session, load
from syurmy.vm.debug import Debugger

SESSIONS = Path(__file__).parent / "sessions"
ROOT = Path(__file__).parents[2]
PROMPTS = ("(debug)", "(commands)")


def parts(transcript: str) -> tuple[list[str], list[str], str]:
    """Arguments of the command, lines that were typed, and what was printed."""
    first, _, printed = transcript.partition("\n")
    arguments = shlex.split(first.removeprefix("$ syurmy-vm"))
    typed = [line.partition(")")[2].strip() for line in printed.splitlines() if line.startswith(PROMPTS)]
    return arguments, typed, printed


def debugged(arguments: Sequence[str], typed: Sequence[str]) -> str:
    result = CliRunner().invoke(app, list(arguments), input="".join(f"{line}\n" for line in typed))
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("name", sorted(p.stem for p in SESSIONS.glob("*.txt")))
@pytest.mark.parametrize("how", ["pipe", "script"])
def test_transcripts(name: str, how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    arguments, typed, printed = parts((SESSIONS / f"{name}.txt").read_text())
    monkeypatch.chdir(SESSIONS)
    if how == "script":
        (tmp_path / "commands").write_text("\n".join(typed))
        arguments, typed = [*arguments, "-x", str(tmp_path / "commands")], []
    assert debugged(arguments, typed) == printed


def test_every_command_is_in_a_transcript() -> None:
    load()
    words = {w for p in SESSIONS.glob("*.txt") for line in parts(p.read_text())[1] for w in line.split(" ")[:1]}
    unused = {c.name for c in COMMANDS.values() if not words & {c.name, *c.short}}
    assert not unused
    promised = "b tb c s n r unt w u d p pp l ll display condition ignore commands q"
    promised += " sb rc goto watch rwatch why regs ram shape stats diff dis cost help"
    assert set(promised.split()) <= COMMANDS.keys()


def session(text: str, **inputs: object) -> tuple[Session, list[str]]:
    load()
    said: list[str] = []
    return Session(Debugger(syurmy.assemble(text), inputs), said.append), said  # type: ignore[arg-type]


LOOP = """
.input x : i16[4] private
.output y public
    mov   y, x
    repeat 3, t
        addi  y, y, 1
        cast  y, y, i16
    end
    halt
"""


def test_a_session_survives_any_line() -> None:
    s, said = session(LOOP, x=[1, 2, 3, 4])
    rng = np.random.default_rng(1)
    names = [c for c in COMMANDS if COMMANDS[c].name != "quit"]
    words = [*names, "x", "y[0]", "if", "1", "-1", "@3", "t", "(", "[", "3 4 5", "y[9]", "=", "é", "end", "\x00"]
    for _ in range(500):
        line = " ".join(rng.choice(words, size=rng.integers(1, 4)))
        s.execute(line)
        assert s.open
    s.recording = None
    s.execute("goto end")
    assert said[-1].startswith("step 12")


def test_what_is_told_of_loops_and_steps_is_where_the_session_stands() -> None:
    s, said = session(".input x : i8[] private\n.output y public\n repeat 2, t\n  add y, x, t\n end\n halt\n", x=1)
    s.execute("s")
    said.clear()
    s.execute("regs nothing")
    s.execute("diff 999")  # the run has fewer steps
    assert said[0] == "no registers match nothing"
    s.execute("goto end")
    end = s.d.step
    assert said[1] == f"step {end} -> step 1"
    s.execute("p t")
    assert "counts a loop that is not running" in said[-1]


def test_commands_of_a_breakpoint_may_go_on() -> None:
    """As often as it is hit, and what stands behind a command that goes on is left out, as in gdb."""
    s, said = session(LOOP.replace("repeat 3", "repeat 3000"), x=[1, 2, 3, 4])
    for line in ("b 6", "commands 1", "p y[0]", "c", "p x", "end", "c"):
        s.execute(line)
    assert sum(text.startswith("y[0] = ") for text in said) == 3000
    assert not any(text.startswith("x: ") for text in said)
    assert said[-1] == "step 9,003: the program has halted"


def test_completion_knows_commands_names_and_places() -> None:
    s, _ = session(LOOP, x=[1, 2, 3, 4])
    assert candidates(s, "wa") == ["watch"]
    assert candidates(s, "p ") == sorted(s.d.names)
    assert candidates(s, "b li") == []
    assert candidates(s, "p x.max() + y") == ["y"]
    assert candidates(s, "nosuch x") == []
    from prompt_toolkit.document import Document

    found = completer(s).get_completions(Document("p ste"), None)  # type: ignore[arg-type]
    assert [c.text for c in found] == ["step"]


def test_a_terminal_has_history_and_completion(tmp_path: Path) -> None:
    """Driven through a pseudo-terminal by prompt_toolkit's own test input."""
    from prompt_toolkit.application import create_app_session
    from prompt_toolkit.input import create_pipe_input
    from prompt_toolkit.output import DummyOutput

    from syurmy.debugging import prompt

    s, said = session(LOOP, x=[1, 2, 3, 4])
    with (
        pytest.MonkeyPatch.context() as patch,
        create_pipe_input() as keys,
        create_app_session(input=keys, output=DummyOutput()),
    ):
        patch.setenv("XDG_STATE_HOME", str(tmp_path))
        patch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
        patch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        keys.send_text("n\r\rp x[1\t]\r\x1b[A\rq\r")
        prompt.converse(s)
    assert said.count("x[1] = 2    i16 in -32768..32767") == 2
    assert "n" in (tmp_path / "syurmy" / "debug_history").read_text()


def test_interrupts_pause() -> None:
    s, said = session(LOOP, x=[1, 2, 3, 4])
    s.d._due = 0.0
    original = s.d._checkpoint
    s.d._checkpoint = lambda: (original(), s.d.pause(), setattr(s.d, "_due", 0.0))[0]  # type: ignore[method-assign]
    s.execute("c")
    assert "interrupted" in said


def test_a_batch_is_debugged_input_by_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loop.tasm").write_text(LOOP)
    np.save(tmp_path / "x.npy", np.arange(8).reshape(2, 4))
    monkeypatch.chdir(tmp_path)
    out = debugged(["debug", "loop.tasm", "-i", "x.npy", "--batch", "1"], ["p x", "goto end"])
    assert "[4, 5, 6, 7]" in out
    assert "output y = [ 7,  8,  9, 10]" in out
    refused = CliRunner().invoke(app, ["debug", "loop.tasm", "-i", "x.npy", "--batch", "2"])
    assert refused.exit_code == 2
    assert "error[I109]" in refused.stderr


def test_inject_is_a_command_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SESSIONS)
    arguments = ["debug", "sort.tasm", "-i", "list=[5,-3,9,0,4]", "--inject"]
    caught = CliRunner().invoke(app, [*arguments, "place=1@12"])
    assert caught.exit_code == 0
    assert "place'0 - before'0 = 1 - 0 = 1\n    must be 0" in caught.stdout
    same = CliRunner().invoke(app, [*arguments, "place=0@12"])
    assert same.exit_code == 4
    assert "no constraint catches it" in same.stdout
    assert CliRunner().invoke(app, [*arguments, "place"]).exit_code == 2


def test_a_compiled_model_is_compared_with_its_original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the inputs of the session, as far as it has come."""
    pytest.importorskip("onnxruntime")
    import onnx

    from syurmy.compiler import compile_onnx
    from tests.compiler.harness import floats, helper, model_of

    monkeypatch.chdir(tmp_path)
    x, w = floats(np.random.default_rng(5), 4, 2, 6), floats(np.random.default_rng(6), 6, 3)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"], name="first"),
             helper.make_node("Relu", ["h"], ["y"], name="cut")]  # fmt: skip
    onnx.save(model_of(nodes, {"x": x[0]}, ["y"], {"w": w}), "m.onnx")
    compile_onnx("m.onnx", "m", calibrate={"x": x})
    np.save("big.npy", 9 * x[0])
    np.save("all.npy", x)
    out = debugged(["debug", "m", "-i", "big.npy"], ["cmp", "goto end", "cmp all", "cmp nosuch.onnx"])
    begins = "the error begins at input 'x': saturation"
    assert out.count(begins) == 2
    before, after = out.split("(debug) goto end")
    assert "computed further on: 2 tensors" in before
    assert "Relu      y" not in before
    assert "Relu      y" in after
    assert "further on" not in after
    assert "error[F100]: no float model nosuch.onnx (cmp MODEL.onnx names it)" in after
    within = debugged(["debug", "m", "-i", "all.npy", "--batch", "2"], ["goto end", "cmp all"])
    assert "3 tensors agree within 0.001 of their range on 1 input" in within
    assert within.count("MatMul    h") == 1
    (tmp_path / "m.onnx").rename("other.onnx")
    assert "error[F100]" in debugged(["debug", "m", "-i", "big.npy"], ["cmp"])
    assert begins in debugged(["debug", "m", "-i", "big.npy"], ["cmp other.onnx"])
    (tmp_path / "loop.tasm").write_text(LOOP)
    assert "no compiled model" in debugged(["debug", "loop.tasm", "-i", "x=[1,2,3,4]"], ["cmp"])


@pytest.mark.slow
def test_a_compiled_model_shows_reals_and_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    made = CliRunner().invoke(app, ["compile", str(ROOT / "programs/onnx/lenet5.onnx"), "-o", "lenet"])
    assert made.exit_code == 0, made.stderr
    typed = ["b node conv2", "c", "n 3", "p c2.conv2d[0, 0, 0, :4]", "cost", "why c2.conv2d[0, 0, 0, 0]"]
    typed += ["inject c1.add[0, 0, 0, 0]=5@1", "goto end"]
    out = debugged(["debug", "lenet"], typed)
    assert "breakpoint 1: node conv2 at lenet/model.tasm:" in out
    assert "Conv '/conv2'" in out
    assert "real, Conv '/conv2', scale" in out
    assert "of 150 terms the largest" in out
    assert "c1.add[0, 0, 0, 0] = 5, but its operands give" in out
    assert "(node Conv '/conv1')" in out
    run = CliRunner().invoke(app, ["run", "lenet/model.tasm"])
    shown, printed = (
        [float(x) for x in re.findall(r"-?\d+\.\d+", text.split("output logits = ")[1].split("step")[0])]
        for text in (out, run.stdout)
    )
    assert len(shown) == 10
    assert shown == pytest.approx(printed, abs=1e-3)  # run prints what tells a value from its neighbours


if __name__ == "__main__":
    for path in sorted(SESSIONS.glob("*.txt")):
        arguments, typed, _ = parts(path.read_text())
        done = subprocess.run(
            [sys.executable, "-m", "syurmy", *arguments],
            input="".join(f"{line}\n" for line in typed),
            cwd=SESSIONS,
            env={"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        path.write_text(path.read_text().partition("\n")[0] + "\n" + done.stdout)
