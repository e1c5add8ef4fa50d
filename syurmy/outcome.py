"""How a command ends: with an exit code, and where something is wrong with one coded error as text and as JSON.

With ``--json`` standard output is one object of one form, whatever the command and however it ended: ``record``.
"""

from __future__ import annotations

import atexit
import codecs
import gc
import io
import json as json_format
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from syurmy import interrupts

if TYPE_CHECKING:
    from syurmy.isa.errors import SyurmyError

DONE, REJECTED, UNUSABLE, MISSED, TRAPPED, INTERNAL, INTERRUPTED = 0, 1, 2, 3, 4, 70, 130
EXITS = {
    DONE: "done; of verify: the proof is accepted",
    REJECTED: "the proof is rejected, or does not show what was expected; nothing else",
    UNUSABLE: "a file cannot be read or written, an option or an input cannot be used",
    MISSED: "with --strict: a tolerance was missed or a value saturated",
    TRAPPED: "the run stopped at an error of the program (trap), or check or test failed",
    INTERNAL: "internal error, a defect of this software: please report it",
    INTERRUPTED: "interrupted",
}
_BY_ERROR = {
    "V100": REJECTED,
    "V110": INTERNAL,
    "V120": REJECTED,
    "V121": REJECTED,
    "V122": REJECTED,
    "X130": INTERRUPTED,
    "X170": INTERNAL,
}
_ASCII = {"…": "...", "→": "->", "²": "^2", "±": "+-", "µ": "u", "×": "x", "≤": "<=", "≥": ">="}

SCHEMA = "syurmy-vm/1"

NOT_PRIVATE = "not zero-knowledge: private values are not sent, not hidden"
HIDDEN = (
    "zero-knowledge: private inputs, params and all values between stay hidden\n"
    "not hidden: program, path, shapes, the values above, the time it took"
)
TRUSTED = "params: fixed by the key; ranges and bounds trusted from set-up, not proven"
CERTIFIED = (
    "params: fixed by the key; ranges and bounds proven by its certificate\n"
    "nothing that is proven rests on who made the key"
)


def params(certified: bool, shared: bool = False) -> str:
    """What is said of the params of a key; ``shared``: several segments have the same, which no certificate shows."""
    return CERTIFIED + ", but that several segments have the same params" * shared if certified else TRUSTED


def privacy(hiding: bool) -> str:
    """What is said of a proof's secrets."""
    return HIDDEN if hiding else NOT_PRIVATE


@dataclass
class _Running:
    """The command that this process runs: what its answer tells besides the result."""

    command: str = ""
    started: float = field(default_factory=time.perf_counter)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


_running = _Running()


def exit_of(code: str) -> int:
    """The exit code of an error's code."""
    return _BY_ERROR.get(code, TRAPPED if code.startswith("T") else UNUSABLE)


def warn(text: str) -> None:
    """A line on stderr, which ``--json`` lists too."""
    _running.warnings.append(text)
    print(f"warning: {text}", file=sys.stderr)


def tell(text: str) -> None:
    """As ``warn``, of what is as it should be."""
    _running.notes.append(text)
    print(f"note: {text}", file=sys.stderr)


def exit_code(work: Callable[[], int], command: str, json: bool, debug: bool) -> int:
    """What ``work`` returns, or the exit code of what it raises, once that is reported. ``command`` is its name."""
    from syurmy.isa.errors import InputError, SyurmyError

    global _running
    _running = _Running(command)
    try:
        with interrupts.raised():
            code = work()
            sys.stdout.flush()
        return code
    except SyurmyError as e:
        return report(e, json, debug)
    except KeyboardInterrupt:
        return report(InputError("interrupted; no file is half written", code="X130"), json, debug)
    except MemoryError:
        return report(InputError("not enough memory", code="X140"), json, debug)
    except OSError as e:
        return report(InputError(f"{e.filename or 'output'}: {e.strerror or e}", code="F100"), json, debug)
    except Exception as e:
        return report(internal(e), json, debug)


def internal(e: Exception) -> SyurmyError:
    """A defect as an error for people, with the place where it showed."""
    from syurmy.isa.errors import SyurmyError

    place = traceback.extract_tb(e.__traceback__)[-1]
    what = " ".join(f"{type(e).__name__}: {e}".split())[:200]
    message = f"internal error at {os.path.basename(place.filename)}:{place.lineno}: {what}"
    help = "a defect of this software: please report it, with the command and what --debug prints"
    return SyurmyError(message, code="X170", help=help)


def report(error: SyurmyError, json: bool, debug: bool) -> int:
    """Print the error: a line or more on stderr, with ``json`` an object on stdout, with ``debug`` the traceback.
    Returns its exit code."""
    from syurmy import display

    if debug:
        traceback.print_exc()
    print(display.error_text(error), file=sys.stderr)
    if json:
        print_json({"ok": False, "error": display.error_json(error)})
        with suppress(OSError):  # the code says what is wrong, not that nobody can read it
            sys.stdout.flush()
    return exit_of(error.code)


def misused(message: str, command: str) -> None:
    """The object of ``--json`` for a command line that is not understood; whoever reads it has the text."""
    global _running
    _running = _Running(command)
    print_json({"ok": False, "error": {"code": "X194", "message": message}})


def record(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of the command that runs: these are always there, its own ``fields`` beside them or in their place.

    ``schema``; ``command``; ``ok``: it did what was asked; ``program``: its name; ``key``: digest of the verifying key;
    ``inputs`` and ``outputs``: values by name, of what may be shown; ``warnings`` and
    ``notes``: sentences; ``seconds``: by name, ``total`` of the whole
    command; ``error``: code, message, and where there are some help, file, line, column. What is not known is null.
    """
    common = {
        "schema": SCHEMA,
        "command": _running.command,
        "ok": True,
        "program": None,
        "key": None,
        "inputs": None,
        "outputs": None,
        "warnings": _running.warnings,
        "notes": _running.notes,
        "seconds": {"total": time.perf_counter() - _running.started, **fields.get("seconds", {})},
        "error": None,
    }
    return common | {name: value for name, value in fields.items() if name != "seconds"}


def print_json(fields: Mapping[str, Any]) -> None:
    """Print the ``record`` with these fields on one line."""
    from syurmy.display import plain

    print(json_format.dumps(plain(record(fields))))


class _Stream(io.TextIOWrapper):
    """Standard output or error that a result survives: where the reader has left, the rest is dropped in silence and
    the exit code stays what the work deserves; characters that the terminal has not are spelt out."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as e:
            return self._lost(e) or len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as e:
            self._lost(e)

    def _lost(self, e: OSError) -> int:
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())  # what is still buffered goes there
        if not isinstance(e, BrokenPipeError):
            raise e
        return 0


def _spelt(e: UnicodeError) -> tuple[str, int]:
    if not isinstance(e, UnicodeEncodeError):
        raise e
    text = e.object[e.start : e.end]
    return "".join(_ASCII.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text), e.end


def settle_streams() -> None:
    """Make ``sys.stdout`` and ``sys.stderr`` of this process such streams; once, before the command line is read."""
    codecs.register_error("spelt", _spelt)
    for name in ("stdout", "stderr"):
        old = getattr(sys, name)
        if old is None:  # closed by the caller
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  (for the rest of the process)
        elif isinstance(old, io.TextIOWrapper):
            buffered = old.line_buffering
            setattr(sys, name, _Stream(old.buffer, old.encoding, "spelt", line_buffering=buffered))


def seldom_collect() -> None:
    """For a process that runs one command: imports make objects that stay, and looking for garbage among them, during
    the run and at the end of the process, took a quarter of the time of a small proof's command."""
    gc.set_threshold(200_000)
    atexit.register(gc.freeze)
