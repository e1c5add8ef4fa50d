"""Syurmy: prove that a quantised model was run exactly, on data that need not be sent.

>>> program = syurmy.load("programs/digits_mlp.tasm")
>>> trace = syurmy.run(program, {"x": image})
>>> proving_key, verifying_key = syurmy.setup(program)
>>> proof = syurmy.prove(proving_key, trace)
>>> statement = syurmy.verify(verifying_key, proof.to_bytes())

Proofs are zero-knowledge unless all inputs and params are public: they show nothing but the program, its path and
shapes, and its public values. The ranges of committed params are trusted from set-up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

    from syurmy.assembler import AssemblyErrors
    from syurmy.compiler import CompiledModel, ModelError, Options, UnsupportedModel, compile_onnx
    from syurmy.isa.errors import AssemblyError, ConstraintError, InputError, SyurmyError, Trap
    from syurmy.isa.program import Program
    from syurmy.isa.trace import Trace
    from syurmy.prover.check import Violation
    from syurmy.prover.keys import ProvingKey
    from syurmy.prover.protocol.key import VerifyingKey
    from syurmy.prover.protocol.transcript import Rejected
    from syurmy.prover.prove import Proof
    from syurmy.prover.verifier.verify import Statement
    from syurmy.vm import Listener

__version__ = "0.1.0"  # the only place: the package's metadata are read from here

_HOMES = {  # the names above at run time: a module is imported when one of its names is first used
    "syurmy.assembler": "AssemblyErrors",
    "syurmy.compiler": "CompiledModel ModelError Options UnsupportedModel compile_onnx",
    "syurmy.isa.errors": "AssemblyError ConstraintError InputError SyurmyError Trap",
    "syurmy.isa.program": "Program",
    "syurmy.isa.trace": "Trace",
    "syurmy.prover.check": "Violation",
    "syurmy.prover.keys": "ProvingKey",
    "syurmy.prover.protocol.key": "VerifyingKey",
    "syurmy.prover.protocol.transcript": "Rejected",
    "syurmy.prover.prove": "Proof",
    "syurmy.prover.verifier.verify": "Statement",
    "syurmy.vm": "Listener",
}

__all__ = [
    "AssemblyError",
    "AssemblyErrors",
    "CompiledModel",
    "ConstraintError",
    "InputError",
    "Listener",
    "ModelError",
    "Options",
    "Program",
    "Progress",
    "Proof",
    "ProvingKey",
    "Rejected",
    "Statement",
    "SyurmyError",
    "Trace",
    "Trap",
    "UnsupportedModel",
    "VerifyingKey",
    "Violation",
    "assemble",
    "check",
    "compile_onnx",
    "load",
    "prove",
    "run",
    "setup",
    "verify",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names.split():
            value = globals()[name] = getattr(import_module(module), name)
            return value
    raise AttributeError(f"module 'syurmy' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


Progress = Callable[[str, float], None]
"""Called with the phase (commit, lookup, contraction, opening) and how much of it is done, 0 to 1."""


def assemble(text: str, *, filename: str = "<string>", folder: str | Path = ".") -> Program:
    """The program written in ``text`` (tensor assembly). ``.include`` and data files are looked up from ``folder``,
    then in the library (``nn.tasm``, ``tables.npz``); ``filename`` is what diagnostics show.
    Raises ``AssemblyErrors`` with every diagnostic."""
    from syurmy import assembler

    return assembler.assemble(text + "\n", filename=filename, include_paths=[folder], data_root=folder)


def load(path: str | Path, *, max_steps: int | None = None) -> Program:
    """The program in a ``.tasm`` file. Raises ``InputError`` if it cannot be read, ``AssemblyErrors`` if it is wrong,
    or cannot but take more than ``max_steps`` steps (10^6 unless given)."""
    from syurmy import assembler

    return assembler.assemble_file(Path(path), max_steps=max_steps)


def run(
    program: Program,
    inputs: Mapping[str, npt.ArrayLike],
    *,
    batch: bool = False,
    max_steps: int | None = None,
    listeners: Sequence[Listener] = (),
) -> Trace:
    """Run ``program`` on integer arrays by input name; the result's ``outputs`` maps names to int64 arrays.

    ``batch``: every input has one more leading axis, and so have the outputs; one proof shows all of these runs.
    ``max_steps``: trap after this many instructions (a million unless given).
    Raises ``InputError`` for inputs that do not fit and ``Trap`` where execution stops early; see ``vm.machine.run``.
    """
    from syurmy import vm

    execute = vm.run_batch if batch else vm.run
    limit: dict[str, Any] = {} if max_steps is None else {"max_steps": max_steps}
    return execute(program, inputs, listeners=listeners, **limit)


def setup(program: Program, *, zk: bool | None = None, proofs: int | None = None) -> tuple[ProvingKey, VerifyingKey]:
    """The keys of ``program``: its constraints and the commitment to its params. Once per program and weights.

    ``zk``: whether proofs hide what is not public, by default where an input is private or a param committed. Committed
    params stay hidden in ``proofs`` proofs (16 unless given), after which the key refuses to make another.
    Raises ``ConstraintError`` if the program cannot be proven, ``InputError`` if a param leaves its declared bounds.
    """
    from syurmy.prover import keys
    from syurmy.prover.protocol.key import DEFAULT_PROOFS, Mode

    key = keys.setup(program, Mode.of(program, zk, DEFAULT_PROOFS if proofs is None else proofs))
    return key, key.verifying_key


def prove(key: ProvingKey, trace: Trace, progress: Progress | None = None) -> Proof:
    """A proof that ``trace`` is an execution of the key's program. Its ``report`` holds sizes and seconds per phase."""
    from syurmy.prover.prove import prove as construct

    return construct(key, trace, progress)


def verify(key: VerifyingKey, proof: bytes, *, max_steps: int | None = None, max_batch: int | None = None) -> Statement:
    """What the proof shows: public inputs, outputs and revealed values. Raises ``Rejected``.

    A proof names the path that its run took, which decides how much work verifying it is: runs of more than
    ``max_steps`` instructions (a million unless given) or ``max_batch`` inputs are rejected before it is done.
    """
    from syurmy.prover.verifier.verify import verify as decide

    limit: dict[str, Any] = {} if max_steps is None else {"max_steps": max_steps}
    return decide(key, proof, max_batch=max_batch, **limit)


def check(program: Program, trace: Trace) -> list[Violation]:
    """Evaluate every constraint on ``trace`` without a proof: the first violated ones, none if it is an execution."""
    from syurmy.prover.check import check as evaluate

    return evaluate(program, trace)
