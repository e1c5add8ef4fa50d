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

from collections.abc import Callable

TYPE_CHECKING = False  # little is imported here: until a command heeds it, Ctrl-C ends in a traceback
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    import numpy.typing as npt

    from syurmy.assembler import AssemblyErrors
    from syurmy.compiler import CompiledModel, ModelError, Options, UnsupportedModel, compile_onnx
    from syurmy.isa.errors import AssemblyError, ConstraintError, InputError, SyurmyError, Trap
    from syurmy.isa.program import Program
    from syurmy.isa.source import Source
    from syurmy.isa.trace import Trace
    from syurmy.prover.check import Violation
    from syurmy.prover.keys import ProvingKey
    from syurmy.prover.protocol.bundle import Bundle, BundleCertificate, BundleKey
    from syurmy.prover.protocol.certificate import Certificate
    from syurmy.prover.protocol.description import Description, Quantity
    from syurmy.prover.protocol.key import VerifyingKey
    from syurmy.prover.protocol.proof import Proof
    from syurmy.prover.protocol.tensors import TensorCommitment
    from syurmy.prover.protocol.transcript import Rejected
    from syurmy.prover.tensors import TensorOpening
    from syurmy.prover.verifier.bundle import BundleCertified, BundleStatement, BundleVerifier
    from syurmy.prover.verifier.certificate import Certified
    from syurmy.prover.verifier.verify import Statement, Verifier
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
    "syurmy.prover.protocol.bundle": "Bundle BundleCertificate BundleKey",
    "syurmy.prover.protocol.certificate": "Certificate",
    "syurmy.prover.protocol.description": "Description Quantity",
    "syurmy.prover.protocol.key": "VerifyingKey",
    "syurmy.prover.protocol.transcript": "Rejected",
    "syurmy.prover.protocol.proof": "Proof",
    "syurmy.prover.protocol.tensors": "TensorCommitment",
    "syurmy.prover.tensors": "TensorOpening",
    "syurmy.prover.verifier.bundle": "BundleCertified BundleStatement BundleVerifier",
    "syurmy.prover.verifier.certificate": "Certified",
    "syurmy.prover.verifier.verify": "Statement Verifier",
    "syurmy.vm": "Listener",
}

__all__ = [
    "AssemblyError",
    "AssemblyErrors",
    "Bundle",
    "BundleCertificate",
    "BundleCertified",
    "BundleKey",
    "BundleStatement",
    "BundleVerifier",
    "Certificate",
    "Certified",
    "CompiledModel",
    "ConstraintError",
    "Description",
    "InputError",
    "Listener",
    "ModelError",
    "Options",
    "Program",
    "Progress",
    "Proof",
    "ProvingKey",
    "Quantity",
    "Rejected",
    "Statement",
    "SyurmyError",
    "TensorCommitment",
    "TensorOpening",
    "Trace",
    "Trap",
    "UnsupportedModel",
    "Verifier",
    "VerifyingKey",
    "Violation",
    "assemble",
    "certify",
    "check",
    "commit",
    "compile_onnx",
    "load",
    "prove",
    "run",
    "setup",
    "verify",
    "verify_key",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names.split():
            from importlib import import_module

            value = globals()[name] = getattr(import_module(module), name)
            return value
    from difflib import get_close_matches

    near = "".join(f"; did you mean '{n}'?" for n in get_close_matches(name, __all__, 1))
    raise AttributeError(f"module 'syurmy' has no attribute '{name}'{near}")


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
    from pathlib import Path

    from syurmy import assembler

    return assembler.assemble_file(Path(path), max_steps=max_steps)


def run(
    program: Program | str | Path,
    inputs: Mapping[str, npt.ArrayLike],
    *,
    batch: bool = False,
    max_steps: int | None = None,
    listeners: Sequence[Listener] = (),
) -> Trace:
    """Run ``program`` (or the one in a file) on integer arrays by input name; the result's ``outputs`` maps names to
    int64 arrays.

    ``batch``: every input has one more leading axis, and so have the outputs; one proof shows all of these runs.
    ``max_steps``: trap after this many instructions (a million unless given).
    Raises ``InputError`` for inputs that do not fit and ``Trap`` where execution stops early; see ``vm.machine.run``.
    """
    from syurmy import vm

    execute = vm.run_batch if batch else vm.run
    limit: dict[str, Any] = {} if max_steps is None else {"max_steps": max_steps}
    return execute(_program(program), inputs, listeners=listeners, **limit)


def setup(
    program: Program | CompiledModel | str | Path,
    description: Description | None = None,
    *,
    max_steps: int | None = None,
    zk: bool | None = None,
    proofs: int | None = None,
) -> tuple[ProvingKey, VerifyingKey]:
    """The keys of ``program``: its constraints and the commitment to its params, for runs of at most ``max_steps``
    instructions (a million unless given, at most 2^24). Once per program and weights. They are for many proofs in one
    process: with up to 1 GiB of the weights' encoding, which those of the command line do not have, if that saves much.

    ``description``: what its integers stand for, a part of the key. A compiled model has one, and beside a file there
    may be ``PROG.description.json``; then the keys are those that ``syurmy-vm setup`` makes.
    ``zk``: whether proofs hide what is not public, by default where an input is private or a param committed. Committed
    params stay hidden in ``proofs`` proofs (16 unless given), after which the key refuses to make another.
    Raises ``ConstraintError`` if the program cannot be proven, ``InputError`` if a param leaves its declared bounds.
    """
    from pathlib import Path

    from syurmy.isa.path import DEFAULT_MAX_STEPS
    from syurmy.prover import keys
    from syurmy.prover.protocol.key import DEFAULT_PROOFS, Mode

    if getattr(program, "cuts", ()):
        from syurmy.isa.errors import InputError

        message = "the model is cut into segments, which have a key each"
        raise InputError(message, code="I161", help="model.bundle_key(), or setup(model.program) for one key of it all")
    code = _program(program)
    if description is None and isinstance(program, str | Path):
        from syurmy import descriptions

        description = descriptions.beside(Path(program), code)
    elif description is None and code is not program:
        description = getattr(program, "description", None)
    mode = Mode.of(code, zk, DEFAULT_PROOFS if proofs is None else proofs)
    limit = DEFAULT_MAX_STEPS if max_steps is None else max_steps
    key = keys.setup(code, mode, description=description, max_steps=limit)
    return key, key.verifying_key


def commit(
    program: Program | CompiledModel | str | Path,
    name: str,
    values: npt.ArrayLike,
    *,
    proofs: int = 16,
    zk: bool = True,
    batch: bool = False,
) -> TensorOpening:
    """A commitment to integers for the committed input or output ``name`` of a program, and of any other that declares
    one of the same dtype and shape. What it returns is secret (``save``, ``TensorOpening.load``); its ``commitment`` is
    for others. It hides the tensor in ``proofs`` proofs, those with copies of it counted; ``zk=False`` hides nothing,
    for keys that do not either. ``batch``: one more axis before the tensor's. Raises ``InputError``."""
    import numpy as np

    from syurmy.committing import commit as commit_to
    from syurmy.prover.protocol.description import Description

    description = getattr(program, "description", None) or Description()
    return commit_to(
        _program(program), name, np.asarray(values), hiding=zk, proofs=proofs, batch=batch, description=description
    )


def prove(
    key: ProvingKey,
    trace: Trace,
    progress: Progress | None = None,
    *,
    commitments: Mapping[str, TensorOpening] | None = None,
    certificate: Certificate | Source | None = None,
    memory: int | None = None,
) -> Proof:
    """A proof that ``trace`` is an execution of the key's program. Its ``report`` holds sizes and seconds per phase.
    ``commitments``: what ``commit`` gave for each committed input and output, by name, outputs' made after the run.
    Threads and processes may prove with one key at once. With the key's ``certificate`` it is smaller, and accepted
    only by who has that too. ``memory``: bytes that this process may take, by estimate; the proof is made slower where
    it would be more, or refused (P190). Raises ``InputError`` for other kinds of objects."""
    from syurmy.device import settle
    from syurmy.isa.path import Path as ExecutedPath
    from syurmy.isa.source import other_kind
    from syurmy.isa.trace import Trace
    from syurmy.memory import is_lean
    from syurmy.prover.keys import ProvingKey
    from syurmy.prover.protocol.certificate import Certificate
    from syurmy.prover.protocol.plan import Plan
    from syurmy.prover.prove import prove as construct

    if not isinstance(key, ProvingKey):
        raise other_kind(key, "a proving key")
    if not isinstance(trace, Trace):
        raise other_kind(trace, "the trace of a run")
    settle()
    resting = None if certificate is None else Certificate.load(certificate)
    lean = False
    if memory is not None:
        kept = key.plan if trace.batch == 1 else None
        path = ExecutedPath(trace.batch, trace.bits)
        lean = is_lean(kept or Plan.of(key.program, path, key.verifying_key.max_steps, key.mode), memory)
    return construct(key, trace, progress, commitments, resting, lean)


def certify(key: ProvingKey, progress: Progress | None = None) -> Certificate:
    """A certificate that the key's params are what its program declares, for those who verify: nothing in a
    verification rests on who made the key then. Where params are hidden it uses up what several proofs may open of
    them; one less than the key is for are left, if these rest on it."""
    from syurmy.device import settle
    from syurmy.isa.source import other_kind
    from syurmy.prover.certify import certify as construct
    from syurmy.prover.keys import ProvingKey

    if not isinstance(key, ProvingKey):
        raise other_kind(key, "a proving key")
    settle()
    return construct(key, progress)


def verify_key(
    key: VerifyingKey | BundleKey | Source, certificate: Certificate | BundleCertificate | Source
) -> Certified | BundleCertified:
    """What the certificate shows of the key, be it that of a program or of a whole. Raises ``Rejected``, or another
    ``SyurmyError`` for files and objects that cannot be used."""
    from syurmy.prover.protocol.bundle import KEY_MAGIC, BundleKey
    from syurmy.prover.verifier.bundle import check_bundle_certificate
    from syurmy.prover.verifier.certificate import check_certificate

    own: Any = key
    given: Any = certificate  # one of another kind is refused by what reads it
    whole = isinstance(key, BundleKey) or _begins(key, KEY_MAGIC)
    return check_bundle_certificate(own, given) if whole else check_certificate(own, given)


def verify(
    key: VerifyingKey | Verifier | BundleKey | BundleVerifier | Source,
    proof: Proof | Bundle | Source,
    *,
    certificate: Certificate | BundleCertificate | Source | None = None,
    max_steps: int | None = None,
    max_batch: int | None = None,
) -> Statement:
    """What the proof shows: public inputs, outputs and revealed values. Raises ``Rejected``.

    Key, proof and the key's ``certificate``, which is checked first, are objects, bytes, or paths of files. A
    ``Verifier`` made once for a key saves its preparation on every proof. A proof names the path that its run took,
    which decides how much work verifying it is: runs of more than ``max_steps`` instructions (those that the key allows
    unless fewer are given) or ``max_batch`` inputs are rejected before it is done. The key of a model that is cut into
    segments takes a bundle of their proofs. Raises another ``SyurmyError`` for files and objects that cannot be used.
    """
    from syurmy.isa.errors import InputError
    from syurmy.prover.protocol.bundle import KEY_MAGIC, Bundle, BundleKey
    from syurmy.prover.verifier.bundle import BundleVerifier
    from syurmy.prover.verifier.verify import Verifier
    from syurmy.prover.verifier.verify import verify as decide

    its: Any = certificate  # one of another kind is refused by what reads it
    if isinstance(key, BundleVerifier | BundleKey) or _begins(key, KEY_MAGIC):
        given: Any = proof  # and so is a proof
        if not isinstance(key, BundleVerifier):
            whole: Any = key
            key = BundleVerifier(whole, certificate=its, max_steps=max_steps, max_batch=max_batch)
        elif max_steps is not None or max_batch is not None or certificate is not None:
            raise InputError("a BundleVerifier has its limits already", code="I118")
        return key.verify(given)
    if isinstance(proof, Bundle):
        raise InputError("a bundle is verified under the key of the whole", code="K156")
    if isinstance(key, Verifier):
        if max_steps is not None or max_batch is not None or certificate is not None:
            raise InputError("a Verifier has its limits already", code="I118", help="give them to Verifier(key, ...)")
        return key.verify(proof)
    return decide(key, proof, certificate=its, max_steps=max_steps, max_batch=max_batch)


def _begins(source: object, magic: bytes) -> bool:
    """Whether bytes, or a file, begin so."""
    from pathlib import Path

    if isinstance(source, str | Path):
        try:
            with Path(source).open("rb") as f:
                return f.read(len(magic)) == magic
        except (OSError, ValueError):
            return False  # who reads it says why
    return isinstance(source, bytes | bytearray | memoryview) and bytes(source[: len(magic)]) == magic


def check(program: Program | str | Path, trace: Trace, *, max_steps: int | None = None) -> list[Violation]:
    """Evaluate every constraint on ``trace`` without a proof: the first violated ones, none if it is an execution.
    ``max_steps`` as for ``setup``."""
    from syurmy.isa.path import DEFAULT_MAX_STEPS
    from syurmy.prover.check import check as evaluate

    return evaluate(_program(program), trace, max_steps=DEFAULT_MAX_STEPS if max_steps is None else max_steps)


def _program(given: Program | CompiledModel | str | Path) -> Program:
    """The program that is given, in a file, or of a compiled model."""
    from pathlib import Path

    from syurmy.isa.program import Program
    from syurmy.isa.source import other_kind

    if isinstance(given, str | Path):
        return load(given)
    found = given if isinstance(given, Program) else getattr(given, "program", None)
    if not isinstance(found, Program):
        raise other_kind(given, "a program")
    return found
