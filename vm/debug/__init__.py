"""The debugger's engine: one run of a program, forwards and backwards. It has no terminal and no protocol; front ends
(the command line, an editor's adapter, a test) drive it through ``Debugger``.

**Standing.** ``d = Debugger(program, inputs, nodes=...)`` validates the inputs and stands before step 0. Between calls
``d.step`` counts the instructions executed, ``d.index`` is the instruction that is next (None once the program has
halted), ``d.trap`` the trap if that instruction has just stopped with one. ``d.stack()`` gives the levels around it,
innermost first: macros with the line in the macro and the line of the use, routines with the line of the call.
``d.registers``, ``d.memories`` (RAM) and ``d.counters`` are what the machine holds there.

**Going.** Every command returns a ``Stop`` that says why it stopped (``reason``, the breakpoints, what watchpoints saw,
the trap): ``step_in`` (a statement, or with ``statement=False`` an instruction), ``next`` (over a macro, a call or a
whole loop that begins here), ``finish``, ``until``, ``resume``; backwards ``step_back``, ``reverse`` (to the last place
where going forwards would have stopped) and ``goto(step)`` in either direction. A run is a function of its inputs, so
going back is replay from a checkpoint (``history``): memory stays bounded, and nothing is executed twice that has an
effect outside. ``pause()`` may come from another thread or a signal handler; nothing else may.

**Stopping.** ``break_at("12")`` takes what ``Location.parse`` reads (lines, ``FILE:LINE``, labels, macros, ``@INDEX``,
nodes of a model, ``trap``) or a ``Location``; ``watch("h[3]", "change" | "write" | "read")`` a register, part of one,
or rows of a buffer. Both take a condition (``expressions``) and ``ignore``, how many times to pass; ``d.points`` holds
them by number, ``enable``, ``set_condition`` and ``delete`` change them. A watchpoint stops behind the write: its
``Change`` tells the instruction, the step, before and after, and what the element was made of.

**Asking.** ``evaluate("h.max() > 3")`` computes on what has a value here; ``target("h[0, :8]")`` and ``value(name)``
read; ``type_of(name)`` is the static type with its interval; ``listing`` knows lines, labels, macros, nodes and extents
(``listing.lines(file)``: the lines with code, for breakpoints that move); ``written(name)`` is the step of the last
write; ``execution(step)`` what a step behind or ahead (once reached) read and wrote; ``why("h[3, 1]")`` the chain of
instructions and elements that an element came from.

``summary.summarised`` describes a tensor (range, share at the ends of its interval, histogram) for people.

Whatever a user can get wrong raises ``DebugError`` (code, sentence, what to do) and changes nothing. One ``Debugger``
is driven by one thread; front ends that serve several clients make one for each.
"""

from syurmy.vm.debug.engine import Debugger
from syurmy.vm.debug.errors import DebugError
from syurmy.vm.debug.expressions import Expression, Target
from syurmy.vm.debug.listing import Frame, Listing, Location, ModelNode
from syurmy.vm.debug.points import Breakpoint, Change, Point, Source, Stop, Watch
from syurmy.vm.debug.provenance import Link
from syurmy.vm.debug.run import Execution

__all__ = [
    "Breakpoint",
    "Change",
    "DebugError",
    "Debugger",
    "Execution",
    "Expression",
    "Frame",
    "Link",
    "Listing",
    "Location",
    "ModelNode",
    "Point",
    "Source",
    "Stop",
    "Target",
    "Watch",
]
