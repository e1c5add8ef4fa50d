"""Commands that move: forwards, backwards, to a step."""

from __future__ import annotations

from collections.abc import Callable

from syurmy.debugging.session import Session, command
from syurmy.vm.debug import DebugError, Location, Stop

GROUP = "move"


def _count(text: str, default: int = 1) -> int:
    """A number of times. Raises ``DebugError``."""
    if not text:
        return default
    if not text.isdecimal() or not 1 <= int(text) <= 10**9:
        raise DebugError(f"'{text}' is not a number of times", code="D121")
    return int(text)


def _repeated(s: Session, text: str, move: Callable[[], Stop]) -> None:
    before, stop = s.d.step, None
    for _ in range(_count(text)):
        stop = move()
        if stop.reason != "step":
            break
    assert stop is not None
    s.stopped(stop, before)


@command("step", "s", usage="[N]", group=GROUP)
def step(s: Session, text: str) -> None:
    """Execute one statement (N of them), into macros, routines and loops."""
    _repeated(s, text, s.d.step_in)


@command("stepi", "si", usage="[N]", group=GROUP)
def stepi(s: Session, text: str) -> None:
    """Execute one instruction; a line with operands such as x[t] has several."""
    _repeated(s, text, lambda: s.d.step_in(statement=False))


@command("next", "n", usage="[N]", group=GROUP)
def next_(s: Session, text: str) -> None:
    """Execute what begins here as a whole: a macro, a call, a loop with all its rounds, or a statement."""
    _repeated(s, text, s.d.next)


@command("finish", "r", "return", usage="", group=GROUP)
def finish(s: Session, text: str) -> None:
    """Run to behind the innermost macro or routine; outside of those, of the innermost loop."""
    before = s.d.step
    s.stopped(s.d.finish(), before)


@command("until", "unt", usage="[PLACE]", group=GROUP)
def until(s: Session, text: str) -> None:
    """Run until further on in the program, so out of a loop; or to a place."""
    before = s.d.step
    s.stopped(s.d.until(Location.parse(text) if text else None), before)


@command("continue", "c", "cont", usage="", group=GROUP)
def continue_(s: Session, text: str) -> None:
    """Run until something stops it: a breakpoint, a watchpoint, a trap, the end."""
    before = s.d.step
    s.stopped(s.d.resume(), before)


@command("sb", "stepback", usage="[N]", group=GROUP)
def step_back(s: Session, text: str) -> None:
    """Go back by one statement (N of them)."""
    _repeated(s, text, s.d.step_back)


@command("sbi", usage="[N]", group=GROUP)
def step_back_instruction(s: Session, text: str) -> None:
    """Go back by one instruction."""
    _repeated(s, text, lambda: s.d.step_back(statement=False))


@command("rc", "reverse", usage="", group=GROUP)
def reverse(s: Session, text: str) -> None:
    """Go back to the last place where running would have stopped, or to the start."""
    before = s.d.step
    s.stopped(s.d.reverse(), before)


@command("goto", usage="STEP | start | end", group=GROUP)
def goto(s: Session, text: str) -> None:
    """Go to the place before a step, back or on, stopping nowhere else."""
    before = s.d.step
    named = {"start": 0, "end": s.d.max_steps}
    if text not in named and not text.replace(",", "").isdecimal():
        raise DebugError(f"'{text}' is not a step", code="D112", help="as in goto 41, goto start, goto end")
    s.stopped(s.d.goto(named[text] if text in named else int(text.replace(",", ""))), before)


@command("quit", "q", "exit", usage="", group=GROUP)
def quit_(s: Session, text: str) -> None:
    """Leave the debugger."""
    s.open = False
