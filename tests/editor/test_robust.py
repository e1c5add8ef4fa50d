"""Whatever a text holds, and whatever is asked of it or of a debugger, there is an answer or a sentence, no defect."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from syurmy.commands.debug import opened
from syurmy.editor import language
from syurmy.editor.adapter import _HANDLERS, Adapter
from syurmy.editor.arguments import Refused
from syurmy.editor.project import Project
from syurmy.isa.errors import SyurmyError
from tests.drawing import examples

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted(ROOT.glob("programs/**/*.tasm"))
SUMS = Path(__file__).with_name("sums.tasm")


@examples(40, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(SHIPPED), st.randoms(use_true_random=False))
def test_any_place_of_any_text(path: Path, draw: random.Random) -> None:
    text = path.read_text()
    for _ in range(draw.randrange(4)):
        at = draw.randrange(len(text))
        text = (
            text[:at]
            + draw.choice(["", "{", '"', ".macro m(a", "%x", " y[", "\n", ";", "=", "é😋"])
            + text[at + draw.randrange(9) :]
        )
    project = Project()
    project.edit(path, text)
    programs = [project.analysis(path)]
    own = programs[0]
    assert own.file(path) is not None
    language.hints(programs, path)
    language.macro_ends(own, own.file(path) or "")
    lines = text.split("\n")
    for _ in range(30):
        row = draw.randrange(len(lines))
        column = draw.randrange(len(lines[row]) + 2)
        shown = language.hover(programs, path, row + 1, column + 1)
        assert shown is None or shown.strip()
        list(language.proposals(own, path, row + 1, lines[row][:column]))
        here = own.symbols.at(own.file(path) or "", row + 1, column + 1)
        if here is not None:
            own.symbols.definition(here)
            assert project.everywhere(path, here.symbol)
            language.why_not(here.symbol, draw.choice(["fresh", "x", "add", "%t", "1", "", "i8", "a b"]), programs)


TEXTS = st.sampled_from(["", "x", "t", "kept", "kept[1]", "x[9]", "total", "%t", "0x3", "-1", "half", "twice", "often",
                         "% 2", "statement", "instruction", str(SUMS), "/no/such", "indexed", "why x", "trap", "1 +",
                         "{t}"])  # fmt: skip
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 40) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(
        st.sampled_from(["path", "name", "line", "condition", "hitCondition", "logMessage", "dataId", "accessType",
                         "instructionReference", "offset", "filter"]), inner, max_size=4),
    max_leaves=6)  # fmt: skip
KEYS = st.sampled_from(["source", "breakpoints", "name", "line", "endLine", "variablesReference", "expression",
                        "context", "frameId", "start", "count", "filter", "filters", "targetId", "memoryReference",
                        "offset", "instructionOffset", "instructionCount", "granularity", "threadId", "levels",
                        "startFrame", "text", "column"])  # fmt: skip
COMMANDS = sorted({*_HANDLERS} - {"launch", "attach"})


@examples(150, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(COMMANDS), st.dictionaries(KEYS, VALUES, max_size=5)), max_size=8))
def test_any_request(requests: list[tuple[str, dict[str, Any]]]) -> None:
    events: list[str] = []
    adapter = Adapter(lambda name, body: events.append(name))
    adapter._begin(opened(SUMS, ["x=[1,2,3,4]", "n=0"], None, False, None), {})
    for command, arguments in [*requests, ("evaluate", {"expression": "step"})]:
        with contextlib.suppress(Refused, SyurmyError):
            adapter.request(command, arguments)
        while adapter.moving:
            adapter.told(adapter.motion()())
    assert adapter.request("evaluate", {"expression": "zero"})["result"] == "0"


def test_the_adapter_without_a_program() -> None:
    adapter = Adapter(lambda name, body: None)
    arguments = {"source": {}, "line": 1, "name": "x", "memoryReference": "0", "instructionCount": 1, "count": 1,
                 "variablesReference": 1, "expression": "x", "text": "x", "column": 1, "targetId": 1}  # fmt: skip
    for command in COMMANDS:
        if command not in ("initialize", "disconnect", "terminate", "setExceptionBreakpoints"):
            with pytest.raises(Refused, match=r"launched|no such target"):
                adapter.request(command, arguments)
