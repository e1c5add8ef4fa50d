"""Ctrl-C before a command works and after it has answered: while modules are imported nothing can be caught, so a
handler ends the process with the line and the exit code that every command has for it. Imports nothing else here."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager

TYPE_CHECKING = False  # typing is not imported yet
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

EXIT = 130
LINE = "error[X130]: interrupted; nothing was written\n"
JSON = (
    '{"schema": "syurmy-vm/1", "command": "", "ok": false, "program": null, "key": null, '
    '"inputs": null, "outputs": null, "warnings": [], "notes": [], "seconds": {"total": 0.0}, '
    '"error": {"code": "X130", "message": "interrupted; nothing was written"}}\n'
)


def _end(number: int, frame: FrameType | None) -> None:
    if "--json" in sys.argv:
        os.write(1, JSON.encode())
    os.write(2, LINE.encode())
    os._exit(EXIT)


def ended_at_once() -> None:
    """From here on, unless the caller of the process ignores Ctrl-C or has a handler of its own."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


@contextmanager
def raised() -> Iterator[None]:
    """Inside, ``KeyboardInterrupt`` is raised as ever; behind it the answer is out, and what is left ends unharmed."""
    ours = signal.getsignal(signal.SIGINT) is _end
    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
