"""Commitments to inputs and outputs as files, for the command line: ``X.commitment`` for others, ``X.opening`` to keep.

``x=@FILE.opening`` among the inputs gives a committed input by its opening. Committed outputs are committed when a run
is proven, before the proof is made, so that no proof exists whose outputs nobody can open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from syurmy import described
from syurmy.isa.arrays import I64, Array
from syurmy.isa.errors import InputError
from syurmy.isa.inference import infer_types
from syurmy.isa.program import Program
from syurmy.isa.trace import Trace
from syurmy.isa.types import DType
from syurmy.prover.protocol.description import Description
from syurmy.prover.protocol.key import DEFAULT_PROOFS, Mode
from syurmy.prover.protocol.tensors import meaning_of
from syurmy.prover.tensors import TensorOpening, seal


def commit(
    program: Program,
    name: str,
    values: Array,
    *,
    hiding: bool,
    proofs: int = DEFAULT_PROOFS,
    batch: bool = False,
    description: Description = Description(),
) -> TensorOpening:
    """A new commitment to the committed input or output ``name`` of a program. ``values``: integers in its shape; of a
    ``batch`` one more axis before it. Raises ``InputError``."""
    source, dtype, shape = declared(program, name)
    given = np.asarray(values)
    if given.dtype.kind not in "biu":
        raise InputError(f"'{name}' is a tensor of integers, not of {given.dtype}", code="I103")
    stacked = given if batch else given[None]
    if stacked.shape[1:] != shape or stacked.ndim != len(shape) + 1:
        raise InputError(f"{source} '{name}' has shape {list(given.shape)}, expected {list(shape)}", code="I105")
    meant = description.input(name) if source == "input" else description.output(name)
    return seal(stacked, dtype, Mode(hiding, proofs if hiding else 0), meaning_of(meant))


def declared(program: Program, name: str) -> tuple[str, DType, tuple[int, ...]]:
    """Whether a committed tensor is an input or an output, its dtype and its shape. Raises ``InputError`` P185."""
    for i in program.inputs:
        if i.name == name and i.committed:
            return "input", i.type.dtype, i.type.shape
    for o in program.outputs:
        if o.name == name and o.committed:
            t = infer_types(program).final[name]
            return "output", t.dtype, t.shape
    names = [i.name for i in program.inputs if i.committed] + [o.name for o in program.outputs if o.committed]
    raise InputError(
        f"'{name}' is no committed input or output of {program.name}",
        code="P185",
        help=f"committed are: {', '.join(names) or 'none'}",
    )


def opened(options: Sequence[str] | None, program: Program) -> tuple[list[str] | None, dict[str, TensorOpening]]:
    """``options`` of inputs without those of the form NAME=@FILE, and the openings in these files."""
    rest, out = [], {}
    names = {i.name for i in program.inputs if i.committed}
    for option in options or ():
        name, _, text = option.partition("=@")
        if name in names and text:
            out[name] = TensorOpening.load(text)
        else:
            rest.append(option)
    return (rest if options else None), out


def given_values(openings: Mapping[str, TensorOpening], batch: bool) -> dict[str, I64]:
    """The inputs that openings hold. Raises ``InputError`` where one is a batch and the run is not."""
    out = {}
    for name, opening in openings.items():
        if not batch and len(opening.values) != 1:
            raise InputError(f"the commitment to '{name}' is to a batch of {len(opening.values)}", code="P187")
        out[name] = opening.values if batch else opening.values[0]
    return out


def of_outputs(
    program: Program,
    outputs: Mapping[str, I64],
    batch: bool,
    hiding: bool,
    proofs: int,
    description: Description,
    folder: Path,
    stem: str,
    replace: bool,
) -> dict[str, tuple[Path, TensorOpening]]:
    """Commitments to the committed outputs of a run (of a ``batch``: with one more axis), in ``STEM.NAME.opening`` and
    ``STEM.NAME.commitment``; one that is there and is to these values is taken again. Raises ``InputError`` F130 for
    one that is not."""
    out = {}
    for o in program.outputs:
        if not o.committed:
            continue
        path = folder / f"{stem}.{o.name}.opening"
        values = np.asarray(outputs[o.name], np.int64)
        stacked = values if batch else values[None]
        if path.exists() and not replace:
            opening = TensorOpening.load(path)
            if not np.array_equal(opening.values, stacked) or opening.commitment.mode.hiding != hiding:
                raise InputError(
                    f"{path} is there already and no commitment to output '{o.name}' of this run",
                    code="F130",
                    help="--force replaces it; its tensor cannot be proven any more then",
                )
        else:
            opening = commit(
                program, o.name, values, hiding=hiding, proofs=proofs, batch=batch, description=description
            )
            keep(opening, path)
            opening = TensorOpening.load(path)
        out[o.name] = path, opening
    return out


def in_memory(trace: Trace, hiding: bool, proofs: int) -> dict[str, TensorOpening]:
    """Commitments to all that is committed of a run, for proofs that are measured and thrown away."""
    program, out = trace.program, {}
    for declarations, values in ((program.inputs, trace.inputs), (program.outputs, trace.outputs)):
        for d in declarations:
            if d.committed:
                batch = trace.batch > 1
                out[d.name] = commit(program, d.name, values[d.name], hiding=hiding, proofs=proofs, batch=batch)
    return out


def keep(opening: TensorOpening, path: Path) -> Path:
    """Write the opening, and beside it what is for others; the latter's path."""
    opening.save(path)
    public = path.with_suffix(".commitment")
    opening.commitment.save(public)
    return public


def lines(commitments: Mapping[str, bytes]) -> list[str]:
    """What is told of the commitments that a proof names."""
    return [f"committed {described.name_text(name)} = {digest.hex()}" for name, digest in commitments.items()]
