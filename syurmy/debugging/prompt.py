"""Where a session's lines come from: a script, a pipe, or a person at a terminal with history and completion."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from syurmy.debugging.session import COMMANDS, Session, found
from syurmy.vm.debug import DebugError

if TYPE_CHECKING:
    from prompt_toolkit.completion import Completer

PLACES = ("break", "tbreak", "until")
NAMES = ("print", "pp", "display", "watch", "rwatch", "why", "shape", "stats", "regs", "ram", "inject")


def follow(session: Session, lines: Iterable[str], echo: bool) -> None:
    """Carries out lines until one quits. ``echo``: each is printed behind the prompt, as it stands at a terminal."""
    with interruptible(session):
        for line in lines:
            if echo:
                session.say(f"{session.prompt}{line.rstrip()}".rstrip())
            session.execute(line)
            if not session.open:
                return


def converse(session: Session) -> None:
    """Reads commands from standard input until one quits or there is no more: with history and completion from a
    terminal, as they are from a pipe."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        follow(session, sys.stdin, echo=True)
        return
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    path = _history()
    history = InMemoryHistory() if path is None else FileHistory(str(path))
    reader: PromptSession[str] = PromptSession(
        history=history, completer=completer(session), complete_while_typing=False
    )
    while session.open:
        try:
            line = reader.prompt(session.prompt)
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        with interruptible(session):
            session.execute(line)


@contextmanager
def interruptible(session: Session) -> Iterator[None]:
    """Ctrl-C pauses the run instead of ending the session."""

    def pause(number: int, frame: FrameType | None) -> None:
        session.d.pause()
        session.pending.clear()

    try:
        before = signal.signal(signal.SIGINT, pause)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def candidates(session: Session, line: str) -> list[str]:
    """What the last word of a line could be."""
    word, space, rest = line.lstrip().partition(" ")
    if not space:
        return sorted({name for name in COMMANDS if name.startswith(word)})
    try:
        name = found(word).name
    except DebugError:
        return []
    last = rest.split(" ")[-1].split(",")[-1].split("(")[-1]
    listing = session.d.listing
    if name in PLACES and " if " not in rest:
        known = {*session.d.program.labels, *listing.macros, *(n.name for n in listing.nodes)}
    elif name == "help":
        known = set(COMMANDS)
    elif name in (*NAMES, *PLACES, "condition"):
        known = set(session.d.names)
    else:
        return []
    return sorted(k for k in known if k.startswith(last))


def completer(session: Session) -> Completer:
    """``candidates`` for the terminal."""
    from prompt_toolkit.completion import Completer, Completion

    class _Completer(Completer):
        def get_completions(self, document: Any, complete_event: Any) -> Iterator[Completion]:
            line = document.text_before_cursor
            last = line.split(" ")[-1].split(",")[-1].split("(")[-1]
            for text in candidates(session, line):
                yield Completion(text, start_position=-len(last))

    return _Completer()


def _history() -> Path | None:
    """The file of the commands typed before; None if there can be none."""
    folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "syurmy"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "debug_history").touch()
    except OSError:
        return None
    return folder / "debug_history"
