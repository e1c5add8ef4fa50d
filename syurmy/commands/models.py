"""What commands are given to run: tensor assembly, or compiled models with reals in and out.

A program ``DIR/model.tasm`` with ``DIR/model.json`` beside it is a compiled model: its inputs are read and its outputs
shown as reals, by the recorded scales.
"""

from __future__ import annotations

import hashlib
import json as json_format
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import syurmy
from syurmy import descriptions, display, files
from syurmy.compiler import CompiledModel, Options, compile_onnx, needed
from syurmy.compiler.model import Entered
from syurmy.compiler.recorded import EXAMPLE, PROGRAM, RECORD, default_folder, told_missed
from syurmy.compiler.recorded import Port as ModelPort
from syurmy.compiler.rounding import Rounded, told_rounded
from syurmy.compiler.saturation import Saturation, told
from syurmy.compiler.undecided import Undecided, told_undecided
from syurmy.inputs import Port, beside, of_program, read
from syurmy.isa.arrays import Array
from syurmy.isa.errors import InputError, SyurmyError
from syurmy.isa.program import Program
from syurmy.isa.trace import Trace
from syurmy.outcome import tell, warn
from syurmy.prover.check import Unsatisfied, Violation, check
from syurmy.prover.protocol.description import Description

if TYPE_CHECKING:
    from syurmy.segmented import Segmented

NOT_SOURCE = {".vk": "a verifying key", ".pk": "a proving key", ".proof": "a proof", ".bin": "a program's encoding"}
GIVEN_MARGIN = 2.0  # room above a single input that is also the calibration


@dataclass(frozen=True)
class Opened:
    """A program that a command was given: its file, what it is, what its integers stand for, if that is said, and
    where it is cut into segments."""

    path: Path
    program: Program
    model: CompiledModel | None
    description: Description
    cuts: tuple[int, ...] = ()

    @property
    def segmented(self) -> Segmented | None:
        """The program as the segments that it is proven in, if it is cut, or run in steps."""
        from syurmy.segmented import Segmented

        steps = None if self.model is None else self.model.chained
        if not self.cuts and steps is None:
            return None
        return Segmented(self.path, self.program, self.cuts, self.description, steps)


def opened(path: Path, options: Sequence[str] | None, raw: bool = False, max_steps: int | None = None) -> Opened:
    """The program in ``PROG.tasm``, in a compiled model's folder, or of ``MODEL.onnx`` (see ``located``). ``raw``: its
    inputs and outputs are integers even if it is a model."""
    found = located(path, options)
    program = syurmy.load(found, max_steps=max_steps)
    described = Description() if raw else descriptions.beside(found, program)
    model = None
    with suppress(*(InputError,) * raw):  # integers need no record, but what is cut is proven in segments
        model = recorded(found, program, False)
    return Opened(found, program, None if raw else model, described, () if model is None else model.cuts)


def located(path: Path, options: Sequence[str] | None) -> Path:
    """The file of a program. ``MODEL.onnx`` is compiled to the folder ``MODEL``, unless that was made from the same
    file: the inputs given calibrate it, with room above them; without any, random ones do."""
    if path.is_dir():
        if not (path / PROGRAM).exists():
            raise InputError(f"{path} holds no {PROGRAM}: no compiled model", code="F112", help="syurmy-vm compile")
        return path / PROGRAM
    if path.suffix in NOT_SOURCE:
        what = NOT_SOURCE[path.suffix]
        raise InputError(
            f"{path} is {what}, a program is needed", code="F112", help="PROG.tasm, a folder or MODEL.onnx"
        )
    if path.suffix != ".onnx":
        return path
    folder = default_folder(path)
    if _recorded_source(folder) != hashlib.sha256(files.read_bytes(path)).hexdigest():
        with display.Working("compile") as working, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            chosen = Options()
            if options:
                given = read(options, needed().load.input_ports(path))
                chosen = Options(calibrate=given, margin=GIVEN_MARGIN)
            compile_onnx(path, folder, chosen, progress=working)
            if options:
                warnings.warn("scales come from the input given: compile with --calibrate for others", stacklevel=1)
        warned(caught)
    return folder / PROGRAM


def recorded(path: Path, program: Program, raw: bool) -> CompiledModel | None:
    """What the program's inputs and outputs stand for; None if it is not a compiled model, or with ``raw``."""
    if raw or path.name != PROGRAM or not (path.parent / RECORD).exists():
        return None
    return CompiledModel.read(path.parent, program)


def inputs(
    at: Opened, options: Sequence[str] | None, batch: bool = False, committed: Mapping[str, Array] | None = None
) -> Entered:
    """Integers for the program from what ``--input`` says, by the program's names or the model's, and what was beyond
    their range or rounded. Without any option the file beside the program is read, or a model's example.
    ``committed``: integers of inputs that are not read."""
    if at.model is None:
        found = read(beside(at.path) if options is None else options, of_program(at.program), batch, tell)
        return Entered(found | dict(committed or {}), (), {})
    sealed = committed or {}
    names = {p.name: p.model_name for p in at.model.inputs if p.name in sealed}
    reals = {p.model_name: p.quantity.values(sealed[p.name]) for p in at.model.inputs if p.name in sealed}
    read_in = at.model.entered(given(at.model, options, batch) | reals if options or not reals else reals)
    exact = {name: np.asarray(sealed[name], np.int64) for name in names}  # not through reals, which have fewer bits
    return Entered(
        read_in.integers | exact,
        tuple(s for s in read_in.saturated if s.node not in names.values()),
        read_in.rounded | {name: np.zeros(x.shape) for name, x in exact.items() if name in read_in.rounded},
    )


def committed(at: Opened, options: Sequence[str], names: set[str], batch: bool = False) -> dict[str, Array]:
    """Integers for those inputs that are to be committed, by the program's names; what is cut off is warned of."""
    if at.model is None:
        ports = {name: port for name, port in of_program(at.program).items() if name in names}
        return read(options, ports, batch, tell)
    mine = [p for p in at.model.inputs if p.name in names]
    known = {p.model_name: p for p in mine}
    ports = {n: _port(at.model, p) for p in mine for n in (p.name, p.model_name)}
    out, cut = {}, []
    for name, value in read(options, ports, batch, tell).items():
        p = known[at.model.names[name]]
        if p.name in out:
            raise InputError(f"input '{p.model_name}' is given twice", code="I107")
        out[p.name], beyond, _ = at.model.entered_input(p, value)
        cut += [] if beyond is None else [beyond]
    saturated(cut)
    return out


def given(model: CompiledModel, options: Sequence[str] | None, batch: bool = False) -> dict[str, Array]:
    """Reals for a compiled model by its own names; without any option its example."""
    ports = {p.name: _port(model, p) for p in model.inputs} | {p.model_name: _port(model, p) for p in model.inputs}
    return read(options or [str(model.folder / EXAMPLE)] * bool(model.inputs), ports, batch, tell)


def _port(model: CompiledModel, p: ModelPort) -> Port:
    real = np.dtype(p.dtype).kind == "f"
    return Port(p.model_name, p.shape, real, p.scale * model.program.input(p.name).type.hi if p.code is None else 0.0)


def saturated(cut: Sequence[Saturation]) -> None:
    """Warns of values beyond the calibrated range."""
    if cut:
        warn(told(cut))


def noticed(
    model: CompiledModel | None,
    cut: Sequence[Saturation],
    undecided: Sequence[Undecided] = (),
    rounded: Sequence[Rounded] = (),
    unestimated: Sequence[str] = (),
) -> dict[str, Any]:
    """What is told of a run besides its outputs, as fields of ``--json``: values beyond the calibrated range, what was
    decided by too little, what rounding did or that this is not known, and that the model misses its tolerance. Warns
    of all of it."""
    missed = None if model is None else model.missed
    saturated(cut)
    if undecided:
        warn(told_undecided(undecided))
    if rounded:
        warn(told_rounded(rounded))
    if missed is not None:
        warn(told_missed(missed))
    if unestimated:
        names = ", ".join(map(repr, unestimated))
        tell(
            f"how far rounding takes this run off is not estimated for {names}: it is too long, or the estimate did not"
            " fit the samples (of which `syurmy-vm info` says how far off they were)"
        )
    found: dict[str, Any] = {"saturated": [vars(s) for s in cut], "undecided": [vars(u) for u in undecided]}
    found |= {"rounded": [vars(r) for r in rounded], "unestimated": list(unestimated)}
    return found | {"missed": None if missed is None else str(missed)}


def too_far(found: Mapping[str, Any]) -> bool:
    """Whether what was ``noticed`` is an error with ``--strict``."""
    return bool(found["saturated"] or found["rounded"] or found["missed"])


def node_of(model: CompiledModel | None, instruction: int) -> str | None:
    """The model's node that an instruction belongs to."""
    rows = () if model is None else model.rows
    return next((f"{r.op} '{r.node}'" for r in rows if r.first <= instruction < r.last), None)


def violation_text(model: CompiledModel | None, v: Violation) -> str:
    """A violated constraint: its place, in the model's terms too, and its equation in numbers."""
    node = node_of(model, v.instruction)
    return "\n".join([f"{v}{'' if node is None else f' (node {node})'}", *(f"    {line}" for line in v.lines)])


def explain(e: SyurmyError, model: CompiledModel | None, trace: Trace) -> None:
    """Adds to the error of a proof that failed which constraints the trace violates."""
    if e.code not in ("I190", "V110"):
        return
    violations = e.violations if isinstance(e, Unsatisfied) else check(trace.program, trace)
    for v in violations:
        e.add_note(violation_text(model, v).replace("\n", "\n  "))
    if not violations:
        e.add_note("every constraint holds on the trace when it is evaluated directly")


def outputs(at: Opened, values: Mapping[str, Array]) -> dict[str, Array]:
    """Outputs as what they stand for, by the names to show; where nothing is said of them, the program's integers."""
    return at.description.output_values(values) if at.model is None else at.model.dequantise(values)


# ---- parts -----------------------------------------------------------------------------------------------------------


def warned(caught: Sequence[warnings.WarningMessage]) -> None:
    """Passes on what the library warned of."""
    for w in caught:
        if issubclass(w.category, UserWarning):
            warn(str(w.message))


def _recorded_source(folder: Path) -> str | None:
    try:
        record = json_format.loads((folder / RECORD).read_text())
        return str(record["source"]) if (folder / PROGRAM).exists() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
