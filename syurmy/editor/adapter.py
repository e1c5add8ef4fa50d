"""One debug session of an editor: requests of the Debug Adapter Protocol on the debugger's engine, without any stream.

A program has one thread. An instruction's reference is its index in hexadecimal; disassembly counts in instructions.
``goto`` travels to a step at which a line was, or will be, reached: what lies between is executed, as everywhere.
What a request gets wrong raises an error with a sentence, and the session goes on.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from syurmy import display
from syurmy.assembler.disassembler import instruction_text
from syurmy.debugging.session import Session, found
from syurmy.editor import arguments
from syurmy.editor.arguments import Body, Refused
from syurmy.editor.stops import Breakpoints, source_of
from syurmy.editor.variables import Place, Variables
from syurmy.isa.errors import Trap
from syurmy.isa.instruction import Flow
from syurmy.isa.types import TensorType
from syurmy.vm.debug import DebugError, Debugger, Frame, Location, Stop

if TYPE_CHECKING:
    from syurmy.debugging.reals import Reals

THREAD = 1
TARGETS = 20  # steps that a line is offered to go to
CAPABILITIES: dict[str, Any] = {
    "supportsConfigurationDoneRequest": True,
    "supportsFunctionBreakpoints": True,
    "supportsConditionalBreakpoints": True,
    "supportsHitConditionalBreakpoints": True,
    "supportsLogPoints": True,
    "supportsDataBreakpoints": True,
    "supportsInstructionBreakpoints": True,
    "supportsBreakpointLocationsRequest": True,
    "exceptionBreakpointFilters": [
        {"filter": "trap", "label": "Traps", "description": "Errors of the program at run time", "default": True}
    ],
    "supportsExceptionInfoRequest": True,
    "supportsSteppingGranularity": True,
    "supportsStepBack": True,
    "supportsGotoTargetsRequest": True,
    "supportsDisassembleRequest": True,
    "supportsReadMemoryRequest": True,
    "supportsEvaluateForHovers": True,
    "supportsCompletionsRequest": True,
    "supportsLoadedSourcesRequest": True,
    "supportsTerminateRequest": True,
}
Send = Callable[[str, Body], None]


class Adapter:
    """``send`` takes events (name, body). A request may ask for a motion: whoever serves runs it once it has answered,
    and tells how it ended."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.session: Session | None = None
        self.over = False  # whether the client wants no more
        self._again: Callable[[], Stop] | None = None  # takes up the motion under way if a request interrupts it
        self.ended = False  # whether the client was told that the run has ended
        self._options: Body = {}
        self._lines_from, self._columns_from = 1, 1
        self._stop = Stop("entry")
        self._variables: Variables | None = None
        self._targets: dict[int, int | Location] = {}
        self._points: Breakpoints | None = None
        self._traps = True
        self._motion: Callable[[], Stop] | None = None

    # ---- requests ------------------------------------------------------------------------------------------------

    def request(self, command: str, arguments: Body) -> Body:
        """The body of the answer. Raises ``Refused`` or ``SyurmyError`` with a sentence."""
        handler = _HANDLERS.get(command)
        if handler is None:
            raise Refused(f"there is no request '{command}'")
        return handler(self, arguments) or {}

    @property
    def moving(self) -> bool:
        """Whether the last request asked for a motion."""
        return self._motion is not None

    def motion(self) -> Callable[[], Stop]:
        """The motion that was asked for: it is to be run, and ``told`` how it ended."""
        motion, self._motion = self._motion, None
        assert motion is not None
        self._variables, self._targets = None, {}
        return motion

    def interrupt(self) -> None:
        """Makes a motion under way stop soon; from any thread."""
        if self.session is not None:
            self.session.d.pause()

    @property
    def resuming(self) -> bool:
        """Whether the motion under way may be interrupted and taken up again."""
        return self._again is not None

    def resume(self) -> None:
        """Asks for the rest of the motion that was interrupted."""
        assert self._again is not None
        self._go(self._again, self._again)

    def standing(self) -> Stop:
        """A stop where the run stands, for no other reason."""
        return Stop("pause")

    @property
    def d(self) -> Debugger:
        if self.session is None:
            raise Refused("no program has been launched")
        return self.session.d

    # ---- beginning and end ---------------------------------------------------------------------------------------

    def initialize(self, a: Body) -> Body:
        self._lines_from = 1 if a.get("linesStartAt1", True) else 0
        self._columns_from = 1 if a.get("columnsStartAt1", True) else 0
        return CAPABILITIES

    def launch(self, a: Body) -> None:
        from syurmy.commands.debug import opened

        program = arguments.text(a, "program")
        inputs = a.get("inputs", [])
        if isinstance(inputs, dict):
            inputs = [f"{name}={value}" for name, value in inputs.items()]
        if not isinstance(inputs, list) or not all(isinstance(x, str) for x in inputs):
            raise Refused('\'inputs\' is a list such as ["x=x.npy", "limit=500"], or an object of names and values')
        if not os.path.exists(program):  # also where a name is too long for one
            raise Refused(f"{program} does not exist")
        steps = a.get("maxSteps")
        if steps is not None and not (arguments.whole(steps) and steps > 0):
            raise Refused("'maxSteps' is a positive number")
        batch = a.get("batch")
        if batch is not None and not (arguments.whole(batch) and batch >= 0):
            raise Refused("'batch' is the number of an input, from 0")
        made = opened(Path(program), inputs, batch, bool(a.get("raw", False)), steps)
        made.say = lambda text: self.send("output", {"category": "console", "output": text + "\n"})
        self._begin(made, a)

    def attach(self, a: Body) -> None:
        if self.session is None:
            raise Refused("there is no session to attach to: launch one")
        self._begin(self.session, a | {"stopOnEntry": True})

    def _begin(self, session: Session, options: Body) -> None:
        self.session, self._options, self.ended = session, options, False
        self._points = Breakpoints(session.d, self._log)
        self._stop = Stop("entry")
        self._variables = None
        self.send("initialized", {})

    def configuration_done(self, a: Body) -> None:
        _ = self.d
        if self._options.get("noDebug"):
            self._go(self._without_stops)
        elif self._options.get("stopOnEntry", True):
            self._go(lambda: Stop("entry"))
        else:
            self._go(self._first, self.d.resume)

    def _first(self) -> Stop:
        """On from the start, where there may be a breakpoint already."""
        return self.d.here() or self.d.resume()

    def _without_stops(self) -> Stop:
        for p in [*self.d.points]:
            self.d.delete(p)
        return self.d.resume()

    def disconnect(self, a: Body) -> None:
        self.over = True

    def terminate(self, a: Body) -> None:
        self._end(0)

    def _end(self, code: int) -> None:
        if not self.ended:
            self.ended = True
            self.send("exited", {"exitCode": code})
            self.send("terminated", {})

    # ---- breakpoints ---------------------------------------------------------------------------------------------

    @property
    def points(self) -> Breakpoints:
        if self._points is None:
            raise Refused("no program has been launched")
        return self._points

    def set_breakpoints(self, a: Body) -> Body:
        source = arguments.object_(a, "source")
        wanted = [
            {**b, "line": arguments.number(b, "line") + 1 - self._lines_from}
            for b in arguments.objects(a, "breakpoints")
        ]
        made = self.points.lines(str(source.get("path") or source.get("name") or ""), wanted)
        for b in made:
            if "line" in b:
                b["line"] += self._lines_from - 1
        return {"breakpoints": made}

    def set_function_breakpoints(self, a: Body) -> Body:
        return {"breakpoints": self.points.functions(arguments.objects(a, "breakpoints"))}

    def set_instruction_breakpoints(self, a: Body) -> Body:
        wanted = arguments.objects(a, "breakpoints")
        for b in wanted:
            b["index"] = arguments.index_of(arguments.text(b, "instructionReference")) + arguments.optional(b, "offset")
        return {"breakpoints": self.points.instructions(wanted)}

    def set_data_breakpoints(self, a: Body) -> Body:
        return {"breakpoints": self.points.data(arguments.objects(a, "breakpoints"))}

    def set_exception_breakpoints(self, a: Body) -> Body:
        filters = a.get("filters", [])
        self._traps = isinstance(filters, list) and "trap" in filters
        return {}

    def data_breakpoint_info(self, a: Body) -> Body:
        name = arguments.text(a, "name")
        reference = a.get("variablesReference")
        place = self.variables.places.get(reference) if isinstance(reference, int) else None
        if place is not None and (m := re.fullmatch(r"\[(\d+)\]", name)):
            name = str(Place(place.name, (*place.at, int(m[1]))))
        try:
            target = self.d.target(self._expanded(name, a))
        except DebugError as e:
            return {"dataId": None, "description": e.message}
        return {"dataId": str(target), "description": str(target), "accessTypes": ["read", "write", "readWrite"]}

    def breakpoint_locations(self, a: Body) -> Body:
        source = arguments.object_(a, "source")
        first = arguments.number(a, "line") + 1 - self._lines_from
        last = (arguments.optional(a, "endLine") or arguments.number(a, "line")) + 1 - self._lines_from
        listing = self.d.listing
        lines = listing.lines(listing.file_of(str(source.get("path") or source.get("name") or "")))
        return {"breakpoints": [{"line": n + self._lines_from - 1} for n in lines if first <= n <= last]}

    # ---- motion --------------------------------------------------------------------------------------------------

    def _go(self, motion: Callable[[], Stop], again: Callable[[], Stop] | None = None) -> None:
        self._motion, self._again = motion, again

    def continue_(self, a: Body) -> Body:
        if self.d.ended or self.d.trap is not None:  # the run stood at its end: the client has seen it
            self._go(lambda: Stop("over"))
        else:
            self._go(self.d.resume, self.d.resume)
        return {"allThreadsContinued": True}

    def next(self, a: Body) -> None:
        d = self.d
        call = d.index is not None and d.listing.flows[d.index] is Flow.CALL
        self._go(d.next if call or not arguments.by_instruction(a) else lambda: d.step_in(statement=False))

    def step_in(self, a: Body) -> None:
        d, statement = self.d, not arguments.by_instruction(a)
        self._go(lambda: d.step_in(statement))

    def step_out(self, a: Body) -> None:
        self._go(self.d.finish)

    def step_back(self, a: Body) -> None:
        d, statement = self.d, not arguments.by_instruction(a)
        self._go(lambda: d.step_back(statement))

    def reverse_continue(self, a: Body) -> None:
        d, points = self.d, self.points

        def back() -> Stop:
            points.logging = False  # a log tells what was reached going forwards
            try:
                return d.reverse()
            finally:
                points.logging = True

        self._go(back, back)

    def pause(self, a: Body) -> None:
        """By the time that it is answered the run stands: the server interrupts it (see ``dap``)."""
        _ = self.d
        if not self.moving:
            self._go(lambda: Stop("pause"))

    def goto_targets(self, a: Body) -> Body:
        source, d = arguments.object_(a, "source"), self.d
        file = d.listing.file_of(str(source.get("path") or source.get("name") or ""))
        line = arguments.number(a, "line") + 1 - self._lines_from
        indices = d.listing.find(Location("line", file, line))
        steps = np.flatnonzero(np.isin(np.asarray(d.history.path), indices)).tolist()
        near = sorted(sorted(steps, key=lambda s: (abs(s - d.step), s))[:TARGETS])
        out = []
        for step in near:
            side = "back" if step < d.step else "on" if step > d.step else "here"
            out.append(self._target(step, f"step {step:,} ({side})", line))
        if not d.ended and not any(s > d.step for s in steps):
            out.append(self._target(Location("line", file, line), "the next time it is reached", line))
        return {"targets": out}

    def _target(self, to: int | Location, label: str, line: int) -> Body:
        self._targets[len(self._targets) + 1] = to
        return {"id": len(self._targets), "label": label, "line": line + self._lines_from - 1}

    def goto(self, a: Body) -> None:
        d, to = self.d, self._targets.get(arguments.number(a, "targetId"))
        if to is None:
            raise Refused("there is no such target: ask for gotoTargets where the run stands now")
        self._go(lambda: d.goto(to) if isinstance(to, int) else d.until(to))

    # ---- how a motion ended --------------------------------------------------------------------------------------

    def told(self, stop: Stop) -> None:
        self._stop = stop
        for note in stop.notes:
            self.send("output", {"category": "important", "output": f"note: {note}\n"})
        body: Body = {"threadId": THREAD, "allThreadsStopped": True, "reason": stop.reason}
        match stop.reason:
            case "over":
                self._end(4 if self.d.trap is not None else 0)
                return
            case "end":
                self.send("output", {"category": "stdout", "output": self._outputs()})
                if not self._options.get("stopOnEnd"):
                    self._end(0)
                    return
                body |= {"reason": "pause", "description": "the program has halted"}
            case "trap":
                trap = stop.trap
                assert trap is not None
                self.send("output", {"category": "stderr", "output": display.error_text(trap) + "\n"})
                if not self._traps:
                    self._end(4)
                    return
                body |= {"reason": "exception", "description": f"trap {trap.code}", "text": trap.message}
            case "watch":
                texts = [f"{c.watch.target} {_did(c.watch.access)} at step {c.step:,}" for c in stop.changes]
                body |= {"reason": "data breakpoint", "description": "; ".join(texts), "text": "; ".join(texts)}
            case "breakpoint":
                body["reason"] = self.points.reason(stop.points)
            case "start":
                body |= {"reason": "entry", "description": "the start: nothing stops it further back"}
        if ids := [p.id for p in stop.points]:
            body["hitBreakpointIds"] = ids
        self.send("stopped", body)

    def _outputs(self) -> str:
        assert self.session is not None
        return "".join(f"{line}\n" for line in display.tensor_lines("output", self.session.outputs()))

    def _log(self, message: str) -> None:
        """A log point's message, with the values of expressions in braces."""

        def value(m: re.Match[str]) -> str:
            try:
                return str(self.d.evaluate(m[1]))
            except DebugError as e:
                return f"<{e.message}>"

        self.send("output", {"category": "stdout", "output": re.sub(r"\{([^{}]*)\}", value, message) + "\n"})

    # ---- the stack, values ---------------------------------------------------------------------------------------

    def threads(self, a: Body) -> Body:
        return {"threads": [{"id": THREAD, "name": self.d.program.name}]}

    def stack_trace(self, a: Body) -> Body:
        d = self.d
        frames = [self._frame(k, f) for k, f in enumerate(d.stack(), 1)]
        if d.index is None:
            last = len(d.program.code) - 1
            place = Frame("program", d.program.name, last, d.program.code[last].span)
            frames = [self._frame(1, place) | {"name": f"{d.program.name} (halted)"}]
        start = arguments.optional(a, "startFrame")
        levels = arguments.optional(a, "levels") or len(frames)
        return {"stackFrames": frames[start : start + levels], "totalFrames": len(frames)}

    def _frame(self, id: int, f: Frame) -> Body:
        node = self.d.listing.node(f.index)
        name = str(f) if node is None or f.kind != "program" else f"{f} ({node.op} '{node.name}')"
        out: Body = {"id": id, "name": name, "line": 0, "column": 0, "instructionPointerReference": f"0x{f.index:x}"}
        if f.span is not None:
            out |= {
                "source": source_of(f.span.file),
                "line": f.span.line + self._lines_from - 1,
                "column": f.span.column + self._columns_from - 1,
            }
        return out

    @property
    def variables(self) -> Variables:
        d = self.d
        if self._variables is None:
            self._variables = Variables(d, self._scale)
        return self._variables

    def _scale(self, name: str) -> float | None:
        reals: Reals | None = None if self.session is None else self.session.reals
        if reals is None:
            return None
        step = self.d.written(name)
        return reals.scale(None if step is None else self.d.history.path[step], name)

    def _level(self, a: Body) -> Frame | None:
        frames = self.d.stack()
        id = a.get("frameId")
        return frames[id - 1] if isinstance(id, int) and 1 <= id <= len(frames) else frames[0] if frames else None

    def scopes(self, a: Body) -> Body:
        return {"scopes": self.variables.scopes(self._level(a))}

    def variables_(self, a: Body) -> Body:
        _ = self.d
        start, count = arguments.optional(a, "start"), arguments.optional(a, "count") or None
        if start < 0 or (count or 1) < 0:
            raise Refused("'start' and 'count' are not negative")
        found = self.variables.open(arguments.number(a, "variablesReference"), start, count, str(a.get("filter") or ""))
        if found is None:
            raise Refused("these variables are of a place that the run has left")
        return {"variables": found}

    def _expanded(self, text: str, a: Body) -> str:
        """Local names of a macro's expansion as those of the program."""
        prefix = self.variables.prefix(self._level(a))
        return re.sub(r"%(?=[A-Za-z_])", prefix, text) if prefix else text

    def evaluate(self, a: Body) -> Body:
        text = arguments.text(a, "expression").strip()
        d, context = self.d, a.get("context")
        expanded = self._expanded(text, a)
        try:
            value = d.evaluate(expanded)
        except DebugError as e:
            if context == "repl" and (answer := self._command(text)) is not None:
                return {"result": answer, "variablesReference": 0}
            raise Refused(e.message + (f" ({e.help})" if e.help else "")) from None
        place = kind = None
        if re.fullmatch(r"[A-Za-z_][\w.]*", expanded) and expanded not in ("step", "index"):
            place, kind = Place(expanded), d.type_of(expanded)
        made = self.variables.value(text, value, place, kind)
        made["result"] = made.pop("value")
        del made["name"]
        made.pop("evaluateName", None)
        return made

    def _command(self, text: str) -> str | None:
        """What a command of the terminal shows; None if it is none. Those that move the run are the editor's."""
        assert self.session is not None
        word = text.partition(" ")[0]
        try:
            command = found(word)
        except DebugError:
            return None
        if command.run.__module__.rpartition(".")[2] not in ("showing", "proving"):
            raise Refused(f"'{command.name}' is a button of the editor")
        lines: list[str] = []
        say, self.session.say = self.session.say, lines.append
        try:
            self.session.execute(text)
        finally:
            self.session.say = say
        return "\n".join(lines)

    def completions(self, a: Body) -> Body:
        text = arguments.text(a, "text")[: max(0, arguments.number(a, "column") - self._columns_from)]
        begun = re.search(r"[A-Za-z_%][\w.]*$", text)
        word = begun[0] if begun else ""
        names = sorted({*self.d.names, *self.variables.locals(self._level(a))})
        start = len(text) - len(word)
        return {"targets": [{"label": n, "type": "variable", "start": start, "length": len(word)} for n in names
                            if n.startswith(word)]}  # fmt: skip

    def exception_info(self, a: Body) -> Body:
        trap: Trap | None = self.d.trap
        if trap is None:
            raise Refused("the run has not stopped at a trap")
        notes = "\n".join(getattr(trap, "__notes__", ()))
        place = f"{trap.span}\n" if trap.span else ""
        return {
            "exceptionId": trap.code,
            "description": trap.message + (f"\nhelp: {trap.help}" if trap.help else ""),
            "breakMode": "always",
            "details": {"message": trap.message, "typeName": "trap", "stackTrace": place + notes},
        }

    # ---- code and memory -----------------------------------------------------------------------------------------

    def disassemble(self, a: Body) -> Body:
        code = self.d.program.code
        first = (
            arguments.index_of(arguments.text(a, "memoryReference"))
            + arguments.optional(a, "offset")
            + arguments.optional(a, "instructionOffset")
        )
        count = arguments.number(a, "instructionCount")
        if not 0 <= count <= 10**5:
            raise Refused("'instructionCount' is a number up to 100,000")
        return {"instructions": [self._line(k, code) for k in range(first, first + count)]}

    def _line(self, index: int, code: Any) -> Body:
        if not 0 <= index < len(code):
            address = f"0x{index:x}" if index >= 0 else f"-0x{-index:x}"
            return {"address": address, "instruction": "", "presentationHint": "invalid"}
        ins = code[index]
        out: Body = {"address": f"0x{index:x}", "instruction": instruction_text(ins)}
        if index in self.d.listing.labels:
            out["symbol"] = self.d.listing.labels[index]
        if ins.span is not None:
            out |= {"location": source_of(ins.span.file), "line": ins.span.line + self._lines_from - 1}
        return out

    def read_memory(self, a: Body) -> Body:
        name = arguments.text(a, "memoryReference")
        offset, count = arguments.optional(a, "offset"), arguments.number(a, "count")
        if not 0 <= count <= 2**24:
            raise Refused("'count' is a number up to 2^24")
        value, kind = self.d.value(name), self.d.type_of(name)
        bits = kind.dtype.bits if isinstance(kind, TensorType) else 64
        data = np.ascontiguousarray(value).astype(f"<i{bits // 8}").tobytes()
        part = data[max(0, offset) : max(0, offset + count)]
        before = min(count, max(0, -offset))
        body: Body = {"address": f"0x{max(0, offset):x}"}
        if part:
            body["data"] = base64.b64encode(part).decode()
        if len(part) + before < count or not part:
            body["unreadableBytes"] = count - len(part)
        return body

    def loaded_sources(self, a: Body) -> Body:
        return {"sources": [source_of(file) for file in self.d.listing.files]}


_HANDLERS: dict[str, Callable[[Adapter, Body], Body | None]] = {
    "initialize": Adapter.initialize,
    "launch": Adapter.launch,
    "attach": Adapter.attach,
    "configurationDone": Adapter.configuration_done,
    "disconnect": Adapter.disconnect,
    "terminate": Adapter.terminate,
    "setBreakpoints": Adapter.set_breakpoints,
    "setFunctionBreakpoints": Adapter.set_function_breakpoints,
    "setInstructionBreakpoints": Adapter.set_instruction_breakpoints,
    "setDataBreakpoints": Adapter.set_data_breakpoints,
    "setExceptionBreakpoints": Adapter.set_exception_breakpoints,
    "dataBreakpointInfo": Adapter.data_breakpoint_info,
    "breakpointLocations": Adapter.breakpoint_locations,
    "continue": Adapter.continue_,
    "next": Adapter.next,
    "stepIn": Adapter.step_in,
    "stepOut": Adapter.step_out,
    "stepBack": Adapter.step_back,
    "reverseContinue": Adapter.reverse_continue,
    "pause": Adapter.pause,
    "gotoTargets": Adapter.goto_targets,
    "goto": Adapter.goto,
    "threads": Adapter.threads,
    "stackTrace": Adapter.stack_trace,
    "scopes": Adapter.scopes,
    "variables": Adapter.variables_,
    "evaluate": Adapter.evaluate,
    "completions": Adapter.completions,
    "exceptionInfo": Adapter.exception_info,
    "disassemble": Adapter.disassemble,
    "readMemory": Adapter.read_memory,
    "loadedSources": Adapter.loaded_sources,
}


def _did(access: str) -> str:
    return {"change": "changed", "write": "was written", "read": "was read"}[access]
