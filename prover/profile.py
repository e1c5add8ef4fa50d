"""Where a proof's cost comes from: every lookup leaf, committed entry, byte and second, by instruction.

Leaves of the lookup tree, entries of the witness and the work of contractions belong to the instruction that they were
made for; tables, committed params and the statement are rows of their own, because all share them. What a phase of the
prover took is divided in proportion to what it worked on:

    commit, opening  entries of the committed matrices, with their padding
    lookup           leaves, with their padding
    contraction      entries read and folded: both operands, and (degree) 2^variables of the sumcheck

and the bytes that it sent likewise; so the rows add up to the proof's totals. ``execute`` is measured per instruction.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np

from syurmy import gpu
from syurmy.isa.errors import Span
from syurmy.isa.graph import Committed, Table
from syurmy.prover.protocol.proof import Proof, Report
from syurmy.prover.prove import Prover
from syurmy.vm.events import Event, Executed, Fetched

if TYPE_CHECKING:
    from collections.abc import Iterator

    from syurmy.isa.trace import Trace
    from syurmy.prover.keys import ProvingKey
    from syurmy.prover.protocol.claims import Pulled
    from syurmy.prover.protocol.contraction import Contraction
    from syurmy.prover.tensors import TensorOpening

PHASES = ("execute", "commit", "lookup", "contraction", "opening")
PHASE = "phases"  # the line of the timeline that shows them
STATEMENT = ("magic", "witness root", "key digest", "certificate", "path length", "path", "statement")


@dataclass(frozen=True)
class Piece:
    """A stretch of time on one thread, in seconds since the run began: a phase of the machine or the prover, or a
    kernel's range."""

    name: str
    thread: str
    start: float
    end: float


@dataclass
class Row:
    """One instruction (``instruction`` is its index), table, param, or the statement. ``leaves`` and ``entries`` are
    padded counts, ``used`` and ``true`` those without padding; ``bytes`` of the proof; ``seconds`` by phase."""

    name: str
    instruction: int | None = None
    span: Span | None = None
    executions: int = 0
    leaves: int = 0
    used: int = 0
    entries: int = 0
    true: int = 0
    work: int = 0
    bytes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


@dataclass(frozen=True)
class Profile:
    """``rows`` add up to ``report`` (entries: of the witness; params have rows of their own) and to the proof's
    length; ``pieces`` is the timeline of the prover's phases and kernels."""

    program: str
    rows: tuple[Row, ...]
    report: Report
    proof: Proof
    pieces: tuple[Piece, ...]

    @property
    def seconds(self) -> dict[str, float]:
        """By phase."""
        return {phase: sum(r.seconds.get(phase, 0.0) for r in self.rows) for phase in PHASES}


class Stopwatch:
    """A listener of the machine: seconds and executions of every instruction."""

    def __init__(self) -> None:
        self.seconds: dict[int, float] = {}
        self.executions: dict[int, int] = {}
        self.began = self.ended = self._since = time.perf_counter()

    def __call__(self, event: Event) -> None:
        self.ended = now = time.perf_counter()
        if isinstance(event, Fetched):
            self.executions[event.index] = self.executions.get(event.index, 0) + 1
            self._since = now
        elif isinstance(event, Executed):
            self.seconds[event.index] = self.seconds.get(event.index, 0.0) + now - self._since


@contextmanager
def recording() -> Iterator[list[Piece]]:
    """Collects what every kernel takes on every thread while the block runs, by ``time.perf_counter``."""
    pieces: list[Piece] = []
    before = gpu.current()
    gpu.select(_Recorder(before, pieces))
    try:
        yield pieces
    finally:
        gpu.select(before)


class _Recorder:
    """A backend that runs kernels on another one and notes when."""

    def __init__(self, backend: gpu.Backend, pieces: list[Piece]) -> None:
        self.name = backend.name
        self.backend, self.pieces = backend, pieces

    def place(self, n: int) -> gpu.Memory:
        return self.backend.place(n)

    def run(self, kernel: Callable[..., Any], n: int, args: tuple[Any, ...], min_chunk: int) -> list[Any]:
        if gpu.beside(*args) is not gpu.HOST:  # on a device: as long as it waits
            start = time.perf_counter()
            result = self.backend.run(kernel, n, args, min_chunk)
            name = threading.current_thread().name
            self.pieces.append(Piece(kernel.__name__.strip("_"), name, start, time.perf_counter()))
            return result

        @wraps(kernel)  # a backend may look kernels up by name
        def timed(*given: Any) -> Any:
            start = time.perf_counter()
            out = kernel(*given)
            end = time.perf_counter()
            self.pieces.append(Piece(timed.__name__.strip("_"), threading.current_thread().name, start, end))
            return out

        return self.backend.run(timed, n, args, min_chunk)


class _Noted(Prover):
    """Keeps what the contractions were."""

    contractions: Sequence[Contraction] = ()

    def contract(self, *claims: Any) -> tuple[list[Pulled], list[Contraction]]:
        pulled, contractions = super().contract(*claims)
        self.contractions = contractions
        return pulled, contractions


def profile(
    pk: ProvingKey, trace: Trace, watch: Stopwatch, commitments: Mapping[str, TensorOpening] | None = None
) -> Profile:
    """Proves ``trace`` and says where the cost is. ``watch`` listened to the run. Raises as ``prove``."""
    laps = [Piece("execute", PHASE, watch.began, watch.ended)]

    def lap(phase: str, _: float = 0.0) -> None:
        laps.append(Piece(phase, PHASE, since if len(laps) == 1 else laps[-1].end, time.perf_counter()))

    with recording() as kernels:
        since = time.perf_counter()
        prover = _Noted(pk, trace, lap, commitments)
        lap("plan")
        proof = prover.run()
    rows = _rows(prover, watch)
    _divide(rows, proof)
    between = {True: watch.began, False: watch.began + since - watch.ended}  # set-up and warming up are not shown
    pieces = [
        replace(p, start=p.start - between[p is laps[0]], end=p.end - between[p is laps[0]]) for p in (*laps, *kernels)
    ]
    return Profile(trace.program.name, tuple(rows), proof.report, proof, tuple(sorted(pieces, key=lambda p: p.start)))


def _rows(prover: _Noted, watch: Stopwatch) -> list[Row]:
    """What every instruction, table and param brought."""
    plan = prover.plan
    code = plan.system.program.code
    rows = [Row(ins.op, i, ins.span, watch.executions.get(i, 0)) for i, ins in enumerate(code)]
    for i, seconds in watch.seconds.items():
        rows[i].seconds["execute"] = seconds
    declared = Row("declarations")
    tables = {t: Row(f"table {t.name}") for t in plan.system.tables}
    params = {p.name: Row(f"param {p.name}") for p in plan.system.program.params if p.committed}

    def of(origin: int) -> Row:
        return rows[origin] if origin >= 0 else declared

    multiplicity = {column: tables[t] for t, column in plan.multiplicities.items()}
    for b in plan.blocks:
        row = tables[b.source] if isinstance(b.source, Table) else of(b.source.origin)
        row.leaves += b.size
        row.used += b.true_size
    for column, place in plan.witness.places.items():
        assert isinstance(column, Committed)
        row = multiplicity.get(column) or of(column.origin)
        row.entries += place.size
        row.true += column.size
    if plan.params is not None:
        for name, place in plan.params.places.items():
            params[str(name)].entries += place.size
    for c in prover.contractions:
        of(c.product.origin).work += c.a.node.size + c.b.node.size + (c.degree << c.variables)
    return [*rows, *(r for r in (declared, *tables.values(), *params.values()) if r.entries or r.leaves)]


def _divide(rows: list[Row], proof: Proof) -> None:
    """Seconds and bytes of each phase, in proportion; what no row worked on goes to the statement's row."""
    statement = Row("statement")
    keys: Mapping[str, Callable[[Row], int]] = {
        "commit": lambda r: 0 if r.name.startswith("param ") else r.entries,
        "lookup": lambda r: r.leaves,
        "contraction": lambda r: r.work,
        "opening": lambda r: r.entries,
    }
    size = dict.fromkeys(keys, 0)
    for label, _, length in proof.fields:
        phase = phase_of(label)
        if phase in size:
            size[phase] += length
        else:
            statement.bytes += length
    for phase, key in keys.items():
        weights = [key(r) for r in rows]
        seconds = proof.report.seconds.get(phase, 0.0)
        if not sum(weights):
            statement.bytes += size[phase]
            statement.seconds[phase] = seconds
            continue
        for r, w, share in zip(rows, weights, shares(size[phase], weights), strict=True):
            r.bytes += share
            r.seconds[phase] = seconds * w / sum(weights)
    rows.append(statement)


def phase_of(label: str) -> str:
    """The phase that sends a field of the proof; ``statement`` for what only names things."""
    if label in STATEMENT:
        return "statement"
    if label.startswith(("lookup", "grinding")):
        return "lookup"
    return "contraction" if label.startswith("contraction") else "opening"


def shares(total: int, weights: Sequence[int]) -> list[int]:
    """``total`` in whole parts as near to proportion as can be (largest remainders first)."""
    every = sum(weights)
    parts = [total * w // every for w in weights]
    left = np.argsort([-(total * w % every) for w in weights], kind="stable")[: total - sum(parts)]
    for i in left.tolist():
        parts[i] += 1
    return parts
