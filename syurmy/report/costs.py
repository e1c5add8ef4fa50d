"""Costs by instruction, source line or node of the model, and the run's timeline in Chrome's trace format.

The format is that of chrome://tracing and Perfetto ("Trace Event Format", Google): complete events ``X`` with start and
duration in microseconds, and ``M`` for the names of threads.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from syurmy.report import By

if TYPE_CHECKING:
    from syurmy.compiler import CompiledModel
    from syurmy.prover.profile import Piece, Profile, Row


@dataclass
class Cost:
    """A group of rows: ``place`` is the source line, or the instructions of a node."""

    name: str
    place: str
    rows: list[Row] = field(default_factory=list)

    def sum(self, what: str) -> int:
        return sum(getattr(r, what) for r in self.rows)

    @property
    def seconds(self) -> float:
        return sum(r.total for r in self.rows)

    def phase(self, name: str) -> float:
        return sum(r.seconds.get(name, 0.0) for r in self.rows)


def grouped(found: Profile, by: By, model: CompiledModel | None = None) -> list[Cost]:
    """The rows of a profile in groups, in the program's order; what belongs to no instruction stays by itself."""
    groups: dict[Any, Cost] = {}
    nodes = {i: r for r in (model.rows if model is not None else ()) for i in range(r.first, r.last)}
    for row in found.rows:
        i = row.instruction
        node = nodes.get(i) if i is not None else None
        key: object
        if i is None:
            key, name, place = row.name, row.name, ""
        elif by is By.node and node is not None:
            key, name, place = (node.node, node.first), f"{node.op} {node.node}", f"{node.first}-{node.last - 1}"
        elif by is By.line and row.span is not None:
            key, name, place = (row.span.file, row.span.line), row.name, f"line {row.span.line}"
        else:
            key, name, place = i, row.name, f"{i}" if row.span is None else f"{i}, line {row.span.line}"
        group = groups.setdefault(key, Cost(name, place))
        if by is By.line and i is not None and row.name not in group.name.split(", "):
            group.name += f", {row.name}"
        group.rows.append(row)
    return list(groups.values())


def chrome_trace(pieces: Sequence[Piece]) -> str:
    """The timeline as JSON for Perfetto or chrome://tracing."""
    threads = {name: k for k, name in enumerate(dict.fromkeys(p.thread for p in pieces))}
    events: list[dict[str, Any]] = [
        {"name": "thread_name", "ph": "M", "pid": 1, "tid": k, "args": {"name": name}} for name, k in threads.items()
    ]
    for p in pieces:
        at = {"ts": round(1e6 * p.start, 3), "dur": round(1e6 * (p.end - p.start), 3)}
        events.append({"name": p.name, "ph": "X", "pid": 1, "tid": threads[p.thread], "cat": "prover"} | at)
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ms"})
