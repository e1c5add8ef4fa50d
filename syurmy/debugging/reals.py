"""What the integers of a compiled model stand for: scales by instruction, and the nodes of the model.

Scales of inputs and outputs are recorded; those of other registers stand in the comments of the program's text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from syurmy.compiler.model import CompiledModel
from syurmy.compiler.recorded import Port
from syurmy.isa.arrays import Array
from syurmy.vm.debug import ModelNode

SCALE = re.compile(r"; scale (\S+)$")


def _has_one(p: Port) -> bool:
    """Whether a real input has one scale."""
    return p.code is None and not p.scales and np.dtype(p.dtype).kind == "f"


class Reals:
    """``original``: the float model, if it is known; ``given``: the inputs as reals, by the model's names."""

    def __init__(self, model: CompiledModel, original: Path | None, given: Mapping[str, Array]) -> None:
        self.model = model
        self.original, self.given = original, given
        self.nodes = tuple(ModelNode(r.node, r.op, r.first, r.last) for r in model.rows)
        self._inputs = {p.name: p.scale for p in model.inputs if _has_one(p)}
        self._lines: dict[str, list[str]] = {}

    def scale(self, index: int | None, name: str) -> float | None:
        """What one unit stands for of what instruction ``index`` wrote (None: of an input); None if it is not known."""
        if index is None:
            return self._inputs.get(name)
        span = self.model.program.code[index].span
        if span is None:
            return None
        if span.file not in self._lines:
            try:
                self._lines[span.file] = Path(span.file).read_text(encoding="utf-8").splitlines()
            except (OSError, ValueError):
                self._lines[span.file] = []
        lines = self._lines[span.file]
        found = SCALE.search(lines[span.line - 1]) if span.line <= len(lines) else None
        try:
            return float(found[1]) if found is not None else None
        except ValueError:
            return None

    def outputs(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """The model's outputs, by its names, from the program's."""
        return self.model.dequantise(values)
