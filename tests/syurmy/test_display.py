"""What people see: tensors, errors, the progress bar that waits."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest

from syurmy import display
from syurmy.isa.errors import InputError, Span, Trap


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.array(7), "7"),
        (np.array([3, -1]), "[ 3, -1]"),
        (np.array([[1, 2], [3, 4]]), "\n[[1, 2],\n [3, 4]]"),
    ],
)
def test_short_tensors_are_shown_whole(value: np.ndarray, text: str) -> None:
    assert display.tensor_text(value) == text


def test_long_tensors_show_shape_and_range() -> None:
    text = display.tensor_text(np.arange(10_000).reshape(100, 100))
    assert text.startswith("[100, 100], values 0 to 9999\n[[")
    assert "..." in text
    assert len(text) < 1000


def test_error_without_a_place_is_one_line() -> None:
    e = InputError("a file is missing", code="F100", help="make it")
    assert display.error_text(e) == "error[F100]: a file is missing (make it)"
    assert display.error_json(e) == {"code": "F100", "message": "a file is missing", "help": "make it"}


def test_trap_as_json_has_instruction_and_element() -> None:
    trap = Trap("division by zero", element=(1, 2), code="T120")
    trap.span, trap.instruction = Span("p.tasm", 3, 5), 4
    assert display.error_json(trap) == {
        "code": "T120",
        "message": "division by zero",
        "file": "p.tasm",
        "line": 3,
        "column": 5,
        "instruction": 4,
        "element": [1, 2],
    }


@pytest.mark.parametrize(("size", "text"), [(12, "12 B"), (2048, "2.0 KiB"), (3 << 20, "3.00 MiB")])
def test_sizes(size: int, text: str) -> None:
    assert display.bytes_text(size) == text


def test_plain_data() -> None:
    assert display.plain({"a": np.arange(2), "b": (np.int64(3), {"c": None})}) == {"a": [0, 1], "b": [3, {"c": None}]}


@pytest.mark.parametrize(
    ("patience", "terminal", "shown"), [(0.0, True, True), (60.0, True, False), (0.0, False, False)]
)
def test_progress_appears_on_a_terminal_after_a_while(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], patience: float, terminal: bool, shown: bool
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(display, "PATIENCE", patience)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with display.Working("set-up") as working:
        working("commit", 0.5)
        time.sleep(0.3)
        working("lookup", 0.75)
        time.sleep(0.2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert ("lookup" in captured.err) == shown
