"""What a user of the debugger can get wrong. The session goes on after every one of them."""

from __future__ import annotations

from syurmy.isa.errors import SyurmyError


class DebugError(SyurmyError):
    """A command cannot be carried out: D101 an expression does not parse, D102 a name is unknown or has no value yet,
    D103 an element does not exist, D104 an expression has no value, D110 a place without code, D111 no such breakpoint,
    D112 a step that cannot be reached."""

    code = "D100"
