"""The debugger and the proof: what a run costs to prove, which constraints hold, and which catch a wrong value."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from syurmy import display
from syurmy.commands.models import violation_text
from syurmy.debugging import texts
from syurmy.debugging.session import Session, command
from syurmy.isa.attribution import Costs, costs
from syurmy.isa.builder import ConstraintSystem
from syurmy.isa.errors import Trap
from syurmy.isa.path import Path
from syurmy.isa.system import build
from syurmy.outcome import DONE, TRAPPED
from syurmy.prover.check import Violation, check
from syurmy.vm.debug import DebugError, Debugger, Target
from syurmy.vm.debug.inject import injected
from syurmy.vm.machine import run

GROUP = "proof"


@dataclass(frozen=True)
class Whole:
    """The constraint system of the whole run, and what each instruction adds to it."""

    system: ConstraintSystem
    costs: Costs

    @staticmethod
    def of(d: Debugger) -> Whole:
        """Raises ``Trap`` where the run does not end, ``ConstraintError`` where it cannot be proven."""
        trace = run(d.program, d.inputs, max_steps=d.max_steps)
        system = build(d.program, Path(1, trace.bits), d.max_steps)
        return Whole(system, costs(system))


@command("check", usage="", group=GROUP)
def check_(s: Session, text: str) -> None:
    """Evaluate every constraint of the whole run directly, without a proof."""
    trace = run(s.d.program, s.d.inputs, max_steps=s.d.max_steps)
    found = check(s.d.program, trace)
    if not found:
        s.say(f"every constraint holds ({len(trace.path):,} steps)")
    _tell(s, found)


@command("inject", usage="NAME[I]=V@STEP", group=GROUP)
def inject(s: Session, text: str) -> None:
    """Let step STEP write V to NAME[I] instead, run on from that, and list the constraints that catch it, with their
    equations in numbers. The session stays where it is."""
    tell(s, text)


def told(s: Session, text: str) -> int:
    """``inject`` as a command of its own: the exit code is 0 if something catches the value, 4 if nothing does."""
    return DONE if tell(s, text) else TRAPPED


def tell(s: Session, text: str) -> Sequence[Violation]:
    """Injects and prints. Raises ``DebugError``, ``InputError``."""
    target, value, step = _parsed(s, text)
    try:
        trace = injected(s.d.program, s.d.inputs, step, target.selection, value, s.d.max_steps)
    except Trap as trap:
        s.say("the run traps with this value, so there is nothing to prove:")
        s.say(display.error_text(trap))
        return ()
    done = s.d.program.code[trace.path[step]]
    at = f" at {texts.place(done.span)}" if done.span is not None else ""
    s.say(f"{target} = {value} at step {step:,}, instruction {trace.path[step]} ({done.op}){at}")
    found = check(s.d.program, trace)
    if not found:
        s.say("no constraint catches it: the value is what the instruction gives")
    else:
        s.say(f"caught by {len(found)} constraint{'s' if len(found) != 1 else ''}:")
    _tell(s, found)
    return found


def _tell(s: Session, found: Sequence[Violation]) -> None:
    model = None if s.reals is None else s.reals.model
    for v in found:
        s.tell(violation_text(model, v).splitlines())


def _parsed(s: Session, text: str) -> tuple[Target, int, int]:
    """Target, value and step of ``NAME[I]=V@STEP``. Raises ``DebugError``."""
    m = re.fullmatch(r"\s*(.+?)\s*=\s*(-?\d[\d_]*)\s*@\s*([\d,_]+)\s*", text)
    if m is None:
        raise DebugError(f"'{text}' is not NAME[I]=V@STEP", code="D121", help="as in h[0, 3]=7@41")
    step = int(m[3].replace(",", "").replace("_", ""))
    expression = s.d.expression(m[1])
    with s.d.elsewhere(step + 1):
        if s.d.step != step + 1:
            raise DebugError(f"the run does not execute step {step}", code="D112")
        target = expression.target(s.d.scope())
        index = s.d.history.path[step]
        dst = s.d.program.code[index].dst
        if dst != target.name:
            last = s.d.writer(target.name, step)
            writes = f"writes '{dst}'" if dst is not None else "writes no register"
            where = f"step {last} is the last before it that does" if last is not None else ""
            raise DebugError(f"step {step} {writes}, not '{target.name}'", code="D112", help=where)
        target.of(s.d.value(target.name))
    return target, int(m[2].replace("_", "")), step
