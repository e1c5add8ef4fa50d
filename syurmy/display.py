"""What people see: errors, values, tables, and a progress bar for work that takes more than two seconds."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import numpy.typing as npt

from syurmy.isa.errors import SyurmyError, Trap

if TYPE_CHECKING:  # the distribution that only verifies has neither rich nor an assembler
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from syurmy.assembler.diagnostics import AssemblyErrors
    from syurmy.vm.notes import Seen

PATIENCE = 2.0  # seconds without a progress bar


def error_text(e: SyurmyError) -> str:
    """``error[CODE]: message (help)`` on one line; with place, source line and caret where there is a source."""
    if e.span is not None or _is_several(e):
        from syurmy.assembler.diagnostics import render

        return render(e)
    notes = "".join(f"\n  = note: {note}" for note in getattr(e, "__notes__", ()))
    return f"error[{e.code}]: {e.message}" + (f" ({e.help})" if e.help else "") + notes


def error_json(e: SyurmyError) -> dict[str, Any]:
    """The error as JSON data; of several diagnostics the first, and all under ``errors``."""
    if _is_several(e):
        return error_json(e.errors[0]) | {"errors": [error_json(x) for x in e.errors]}
    out: dict[str, Any] = {"code": e.code, "message": e.message}
    if e.help:
        out["help"] = e.help
    if e.span is not None:
        out |= {"file": e.span.file, "line": e.span.line, "column": e.span.column}
    if isinstance(e, Trap):
        out |= {"instruction": e.instruction, "element": None if e.element is None else list(e.element)}
    return out


def _is_several(e: SyurmyError) -> TypeGuard[AssemblyErrors]:
    """Is it all diagnostics of a source? Only if the assembler, which raises them, has been imported."""
    diagnostics = sys.modules.get("syurmy.assembler.diagnostics")
    return diagnostics is not None and isinstance(e, diagnostics.AssemblyErrors)


def plain(value: Any) -> Any:
    """``value`` as JSON data: arrays become nested lists; JSON has no NaN and no infinity, they become null."""
    if isinstance(value, np.ndarray | np.generic):
        whole = value.dtype.kind != "f" or np.isfinite(value).all()  # then no entry is looked at by itself
        return value.tolist() if whole else plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


def tensor_text(value: npt.ArrayLike, digits: Callable[[float], str] | None = None) -> str:
    """A tensor on one line if it is short; shape, range and corners if it is long. ``digits``: how entries are
    written, unless NumPy's way."""
    array = np.asarray(value)
    options: dict[str, Any] = {"separator": ", ", "max_line_width": 100}
    if digits is not None:
        options["formatter"] = {"float_kind": digits}
    if array.size <= 64:
        text = np.array2string(array, threshold=64, **options)
        return text if "\n" not in text else "\n" + text
    shown = np.array2string(array, threshold=0, edgeitems=3, **options)
    low, high = (digits(v) if digits else v for v in (array.min(), array.max()))
    return f"{list(array.shape)}, values {low} to {high}\n{shown}"


def tensor_lines(title: str, values: Mapping[str, npt.ArrayLike]) -> list[str]:
    return [f"{title} {name} = {tensor_text(value)}" for name, value in values.items()]


def note_text(seen: Seen) -> str:
    """A ``.print`` line: its place, the counters of its loops, and the value."""
    span = seen.note.span
    line = f"line {span.line}, " if span is not None else ""
    counters = "".join(f", {name} = {value}" for name, value in seen.counters.items())
    value = "nothing yet" if seen.value is None else tensor_text(seen.value)
    return f"[{line}step {seen.step}{counters}] {seen.note.name} = {value}"


def summary(console: Console, rows: Mapping[str, str]) -> None:
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(justify="right")
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)


def columns(rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Rows of cells as lines of a table, as wide as its cells; the columns ``right`` are aligned there."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    aligned = set(right)
    cells = (
        [cell.rjust(w) if k in aligned else cell.ljust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True))]
        for row in rows
    )
    return "\n".join("  ".join(line).rstrip() for line in cells)


def cost_rows(cost: Mapping[str, Any]) -> dict[str, str]:
    """What a proof consists of (``syurmy.costs``), as rows of a summary."""
    return {
        "lookup leaves": f"{cost['leaves']:,}",
        "columns": f"{cost['columns']:,} ({cost['committed_entries']:,} entries)",
    }


def seconds_text(s: float) -> str:
    return f"{1000 * s:.1f} ms" if s < 1 else f"{s:.2f} s"


def bytes_text(n: int) -> str:
    if n >= 1 << 30:
        return f"{n / (1 << 30):.2f} GiB"
    return f"{n} B" if n < 1024 else f"{n / 1024:.1f} KiB" if n < 1 << 20 else f"{n / (1 << 20):.2f} MiB"


class Working:
    """A progress bar on stderr, with an estimate of what is left of a phase, shown once the work has taken ``PATIENCE``
    seconds. Call it with phase and fraction."""

    def __init__(self, phase: str) -> None:
        self._phase = phase
        self._fraction: float | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(PATIENCE, self._show)
        self._timer.daemon = True
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Working:
        if sys.stderr.isatty():
            self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            if self._bar is not None:
                self._bar.stop()
            self._bar = None
            self._task = None
            self._phase = ""

    def __call__(self, phase: str, fraction: float) -> None:
        with self._lock:
            if self._bar is not None and self._task is not None and phase != self._phase:
                self._bar.reset(self._task)  # an estimate is of one phase
            self._phase, self._fraction = phase, fraction
            if self._bar is not None and self._task is not None:
                self._bar.update(self._task, description=phase, completed=fraction, total=1.0)

    def around(self, ask: Callable[[str], bool]) -> Callable[[str], bool]:
        """``ask`` with the bar out of its way."""

        def asked(question: str) -> bool:
            self._timer.cancel()
            with self._lock:
                if self._bar is not None:
                    self._bar.stop()
            return ask(question)

        return asked

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        with self._lock:
            if not self._phase:
                return  # finished while the timer fired
            bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = bar.add_task(self._phase, total=None)
            if self._fraction is not None:
                bar.update(self._task, total=1.0, completed=self._fraction)
            bar.start()
            self._bar = bar
