"""One debugging session: text of commands in, text out. It reads no terminal; ``prompt`` does, and tests drive it.

A command is a function in ``running``, ``stopping``, ``showing`` or ``proving`` under its name and short names; any
beginning of a name that only one has will do. What a user gets wrong is one coded line, and the session goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np

from syurmy import display
from syurmy.debugging import texts
from syurmy.isa.arrays import Array
from syurmy.isa.errors import InputError, SyurmyError
from syurmy.outcome import internal
from syurmy.vm.debug import Breakpoint, DebugError, Debugger, Expression, Frame, Stop

if TYPE_CHECKING:
    from syurmy.debugging.reals import Reals

Run = Callable[["Session", str], None]


@dataclass(frozen=True)
class Command:
    """``group``: under which heading ``help`` lists it."""

    name: str
    short: tuple[str, ...]
    usage: str
    group: str
    run: Run

    @property
    def help(self) -> str:
        return " ".join((self.run.__doc__ or "").split())


COMMANDS: dict[str, Command] = {}


def command(name: str, *short: str, usage: str = "", group: str) -> Callable[[Run], Run]:
    """Decorator: a function becomes the command ``name``."""

    def add(run: Run) -> Run:
        made = Command(name, short, f"{name} {usage}".strip(), group, run)
        COMMANDS.update(dict.fromkeys((name, *short), made))
        return run

    return add


def found(word: str) -> Command:
    """The command that a word means. Raises ``DebugError`` D120."""
    if word in COMMANDS:
        return COMMANDS[word]
    alike = sorted({c.name for name, c in COMMANDS.items() if name == c.name and name.startswith(word)})
    if len(alike) == 1:
        return COMMANDS[alike[0]]
    if alike:
        raise DebugError(f"'{word}' could be {', '.join(alike)}", code="D120")
    import difflib

    near = difflib.get_close_matches(word, COMMANDS, 1)
    help = f"did you mean '{near[0]}'?" if near else "help lists the commands"
    raise DebugError(f"there is no command '{word}'", code="D120", help=help)


class Session:
    """``say`` takes what is printed, line by line. ``reals``: what a compiled model's integers stand for."""

    def __init__(self, debugger: Debugger, say: Callable[[str], None], reals: Reals | None = None) -> None:
        self.d = debugger
        self.say = say
        self.reals = reals
        self.sources = texts.Sources()
        self.level = 0  # of the stack, 0 the innermost
        self.listed: tuple[str, int] | None = None  # file and line behind the last one that was listed
        self.shown: dict[str, Expression] = {}  # display
        self.scripts: dict[int, list[str]] = {}  # what runs where a breakpoint stops
        self.pending: list[str] = []  # commands of the breakpoint that stopped, still to be run
        self.recording: int | None = None  # the breakpoint whose commands are being typed
        self.before = 0  # the step before the last command that moved
        self.last = ""
        self.open = True

    # ---- commands ------------------------------------------------------------------------------------------------

    @property
    def prompt(self) -> str:
        return "(debug) " if self.recording is None else "(commands) "

    def execute(self, line: str) -> None:
        """One line: a command, or nothing for the last one again."""
        text = line.strip()
        if self.recording is not None:
            self._record(text)
            return
        text = text or self.last
        if not text or text.startswith("#"):
            return
        self.last = text
        self.pending = [text]
        while self.pending and self.open:  # a command that goes on may stop where further commands are to be run
            self._run(self.pending.pop(0))

    def _run(self, text: str) -> None:
        word, _, rest = text.partition(" ")
        try:
            found(word).run(self, rest.strip())
        except SyurmyError as e:
            self.say(display.error_text(e))
        except MemoryError:
            self.say(display.error_text(InputError("not enough memory", code="X140")))
        except Exception as e:  # the session goes on, whatever it is
            self.say(display.error_text(internal(e)))

    def _record(self, text: str) -> None:
        assert self.recording is not None
        if text == "end":
            self.recording = None
        elif text and not text.startswith("#"):
            self.scripts[self.recording].append(text)

    # ---- where it stands -----------------------------------------------------------------------------------------

    def frames(self) -> list[Frame]:
        return self.d.stack()

    def frame(self) -> Frame:
        """The level that is looked at. Raises ``DebugError``."""
        frames = self.frames()
        if not frames:
            raise DebugError("the program has halted", code="D112", help="sb, rc and goto go back")
        return frames[min(self.level, len(frames) - 1)]

    def tell(self, lines: list[str]) -> None:
        for line in lines:
            self.say(line)

    def stand(self) -> None:
        """Says where the debugger stands."""
        self.level, self.listed = 0, None
        self.tell(texts.where(self.d, self.sources))
        for text in self.shown:
            self.show(text)

    def show(self, text: str) -> None:
        """The value of an expression that is displayed."""
        try:
            self.say(f"{text}: {value_text(self.shown[text](self.d.scope()))}")
        except DebugError as e:
            self.say(f"{text}: {e.message}")

    def stopped(self, stop: Stop, before: int) -> None:
        """Says why a run stopped, and where; the commands of the breakpoints follow."""
        self.before = before
        for note in stop.notes:
            self.say(f"note: {note}")
        for p in stop.points:
            if isinstance(p, Breakpoint):
                self.say(f"breakpoint {p.id}, {p}, hit {p.hits} time{'s' if p.hits != 1 else ''}")
        for c in stop.changes:
            self.say(f"watchpoint {c.watch.id}, hit {c.watch.hits} time{'s' if c.watch.hits != 1 else ''}")
            self.tell(texts.change(self.d, c))
        match stop.reason:
            case "trap" if stop.trap is not None:
                self.say(display.error_text(stop.trap))
            case "end" if before != self.d.step:
                self.tell(display.tensor_lines("output", self.outputs()))
            case "start":
                self.say("nothing stops it before the start")
            case "pause":
                self.say("interrupted")
        self.stand()
        self.pending = [text for p in stop.points for text in self.scripts.get(p.id, ())]

    def outputs(self) -> Mapping[str, Array]:
        """The program's outputs at its end; of a compiled model as reals."""
        values = {o.name: self.d.value(o.name) for o in self.d.program.outputs}
        return values if self.reals is None else self.reals.outputs(values)


def value_text(value: object) -> str:
    """A value on one line if it is short."""
    if isinstance(value, np.ndarray):
        return display.tensor_text(value)
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def load() -> Mapping[str, Command]:
    """All commands, by every name."""
    for group in ("running", "stopping", "showing", "proving"):
        import_module(f"syurmy.debugging.{group}")
    return COMMANDS
