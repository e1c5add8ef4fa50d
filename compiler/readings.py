"""Inputs that are a tensor of another compiled model: what it gives, or what it takes too.

    real = scale * integer, with the other tensor's dtype, interval and scale

so that one commitment to its integers serves both programs. Such an input is never cut off: it holds whatever the other
program can give.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from syurmy.compiler.graph import Graph
from syurmy.compiler.model import CompiledModel
from syurmy.compiler.recorded import RECORD, Port
from syurmy.isa.arrays import F64
from syurmy.isa.errors import InputError
from syurmy.isa.inference import infer_types
from syurmy.isa.types import TensorType
from syurmy.prover.protocol.description import INTEGER, REAL


@dataclass(frozen=True)
class Reading:
    """The tensor that an input is: its integers' type, what they stand for, and where it is (``of``, for messages)."""

    type: TensorType
    port: Port
    of: str

    @property
    def scales(self) -> F64 | None:
        """One scale for each entry, where there is more than one."""
        return np.broadcast_to(self.port.scales, self.type.shape).copy() if self.port.scales else None

    def check(self, graph: Graph, name: str) -> None:
        """Raises ``InputError`` I119 where input ``name`` of a model cannot be this tensor."""
        v, form = graph.values[name], self.port.quantity.form
        if v.shape != self.type.shape:
            raise InputError(
                f"input '{name}' has shape {list(v.shape)}, {self.of} has {list(self.type.shape)}",
                code="I119",
                help="give --shape, or export the models to fit",
            )
        kind = REAL if v.dtype.kind == "f" else INTEGER
        if form not in (REAL, INTEGER):
            raise InputError(
                f"{self.of} has no scale: its model only compares it",
                code="I119",
                help="commit it for that model alone",
            )
        if kind != form or (kind == INTEGER and v.dtype != np.dtype(self.port.dtype)):
            raise InputError(f"input '{name}' is {v.dtype}, {self.of} is {self.port.dtype}", code="I119")


def readings(reads: Mapping[str, str | Path | CompiledModel], inputs: tuple[str, ...]) -> dict[str, Reading]:
    """What ``Options.reads`` names, for a model of these inputs. Raises ``InputError``."""
    out = {}
    for name, source in reads.items():
        if name not in inputs:
            near = difflib.get_close_matches(name, inputs, 1)
            help = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(inputs)}"
            raise InputError(f"the model has no input '{name}' that could be read", code="I101", help=help)
        out[name] = _reading(source)
    return out


def _reading(source: str | Path | CompiledModel) -> Reading:
    model, tensor = (source, "") if isinstance(source, CompiledModel) else _opened(str(source))
    ports = (*model.outputs, *model.inputs) if tensor else model.outputs
    known = {n: p for p in reversed(ports) for n in (p.name, p.model_name)}  # outputs before inputs
    if not tensor and len(model.outputs) > 1:
        names = ", ".join(p.model_name for p in model.outputs)
        raise InputError(f"{model.folder} has several outputs", code="I119", help=f"name one as DIR:NAME: {names}")
    port = known.get(tensor) if tensor else model.outputs[0]
    if port is None:
        near = difflib.get_close_matches(tensor, list(known), 1)
        help = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(p.model_name for p in ports)}"
        raise InputError(f"{model.folder} has no '{tensor}'", code="I119", help=help)
    given = {i.name: i.type for i in model.program.inputs}
    is_output = any(p is port for p in model.outputs)
    found = infer_types(model.program).final[port.name] if is_output else given[port.name]
    return Reading(found, port, f"'{port.model_name}' of {model.folder}")


def _opened(source: str) -> tuple[CompiledModel, str]:
    folder, tensor = source, ""
    if not (Path(source) / RECORD).exists():
        folder, _, tensor = source.rpartition(":")
    return CompiledModel.read(folder or source), tensor
