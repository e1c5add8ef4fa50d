"""How much memory compiling a model takes, and how much of that tensors on samples may.

What a process has already is asked of the system, once the float model has run on its first sample: weights are there
then, and the session that runs it. To come are, for E weights of which a sample's tensors have F bytes in the float
model, S of N samples being those that scales come from:

    floats     N F, of many samples KEPT + S F
    integers   of every node that is lowered, of all that a later one reads: 8 bytes an entry, and of what is made on
               the way OWN times the largest, on S samples
    weights    2 E, where they have 8 bits E; of a finer program, beside the first, 4 E and the largest in 8 bytes
    a run      when those are gone, of one sample, with all of its integers: RUN F, of a finer program AGAIN F beside
               what the first one freed; ROUNDED F where rounding is estimated, BOUNDED F where nothing that was freed
               is kept

Floats and integers on samples are in a file where there is no room for them (``compiler.kept``). What else there is
must fit, or the model is refused.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx

from syurmy import host
from syurmy.compiler.calibration import KEPT, MAX_SAMPLES, Runs
from syurmy.compiler.graph import Graph, unreached
from syurmy.compiler.kept import Store
from syurmy.compiler.rounding import MOST
from syurmy.display import bytes_text
from syurmy.isa.errors import InputError

PROCESS = 150_000_000  # with the packages that read models
RUN, ROUNDED, AGAIN, BOUNDED = 4, 8, 1, 12
OWN = 4
SMALL = 0.02  # what else there is
AT_ONCE = 2**23  # bytes of what is computed of many samples at one time


class Needs:
    """``limit``: bytes that may be taken (None: what the machine has); ``predicted``: at the peak; ``store``: of
    tensors on samples, which get what is left."""

    def __init__(self, limit: int | None, folder: Path) -> None:
        self.limit = limit or host.memory() or None
        self.store = Store(folder=folder)
        self.predicted = 0

    def read(self, size: int) -> None:
        """A model of so many bytes is read, in which they are there twice. Raises ``InputError`` P190."""
        self._refuse(PROCESS + 2 * size, "reading the model")

    def observe(self, model: onnx.ModelProto, runs: Runs, width: int) -> None:
        """After the float model's first run; ``width``: bytes of a weight. Raises ``InputError`` P190."""
        fixed = unreached(model.graph)
        self.floats = sum(np.asarray(x).nbytes for name, x in runs[0].items() if name not in fixed)
        sizes = [math.prod(t.dims) for t in model.graph.initializer]
        self.weights, self.largest, self.width = sum(sizes), max(sizes, default=0), width
        count = min(len(runs.samples), MAX_SAMPLES)
        self._divide(min(count * self.floats, KEPT + count * self.floats * 3 // 4), 0, AT_ONCE, False)
        if self.store.room is not None:
            runs.room = min(runs.room, self.store.room // 4)

    def lower(self, g: Graph, fine: bool) -> None:
        """Before a program is made. Raises ``InputError`` P190."""
        sizes = {i: 8 * math.prod(v.shape) for i, v in g.values.items() if i not in g.constants}
        last = {i: k for k, n in enumerate(g.nodes) for i in (*n.inputs, *n.outputs)}
        kept, alive = {*g.inputs, *g.outputs}, set(g.inputs)
        live, most = sum(sizes[i] for i in alive), 0
        for k, n in enumerate(g.nodes):
            mine = [i for i in (*n.inputs, *n.outputs) if i in sizes]
            live += sum(sizes[i] for i in {*mine} - alive)
            alive.update(mine)
            most = max(most, live + OWN * max(map(sizes.__getitem__, mine), default=0))
            over = {i for i in mine if last[i] == k and i not in kept}
            live -= sum(sizes[i] for i in over)
            alive -= over
        count = len(next(iter(g.samples.values()), [0]))
        largest = count * max(sizes.values(), default=0)
        self._divide(0, count * most, OWN * largest if fine else min(2 * largest, AT_ONCE), fine)

    def _divide(self, floats: int, integers: int, once: int, fine: bool) -> None:
        """What there will be at most of memory, between tensors on samples and all else. Of these so many bytes are to
        come: ``floats``, and ``integers`` while nodes are lowered; ``once``: what one table takes."""
        if bounded := self.store.room is not None:
            host.return_memory()
        made = 4 * self.weights + 8 * self.largest if fine else self.width * self.weights
        apart = host.resident() - self.store.held + made + self.floats
        few = self.floats <= 3 * MOST  # rounding may be estimated: a node's entries are those of few instructions
        run = (BOUNDED if bounded else ROUNDED if few else AGAIN if fine else RUN) * self.floats
        least = apart + max(once, run)
        self._refuse(least, "a finer program of this" if fine else "compiling this")
        whole = apart + self.store.held + floats + max(integers + once, run)
        if self.limit is not None and whole > self.limit:
            ahead = 0 if fine or self.width == 1 else 4 * self.weights  # for a finer program
            self.store.room = max(self.limit - least - ahead, 0)
            whole = min(whole, least + self.store.room)
        self.predicted = max(self.predicted, int(host.peak_mb() * 2**20), whole + int(SMALL * whole))

    def _refuse(self, size: int, what: str) -> None:
        self.predicted = max(self.predicted, size)
        if self.limit is not None and size > self.limit:
            raise InputError(
                f"{what} takes about {bytes_text(size)}, {bytes_text(self.limit)} are allowed",
                code="P190",
                help="inputs of a smaller --shape; parts of the model, one by one (--read joins them); or more memory",
            )
