"""``syurmy-vm run`` and ``syurmy-vm prove``: run a program, and prove the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import syurmy
from syurmy.commands.common import (
    Batch,
    CertificatePath,
    Clock,
    Debug,
    Device,
    Inputs,
    Json,
    Keys,
    MaxSteps,
    Memory,
    NoZk,
    ProgramPath,
    Raw,
    Rekey,
    Scheduler,
    StoreUrl,
    agreed,
    elsewhere,
    params,
    print_json,
    privacy,
    rekeyed,
    sibling,
    terminal,
)
from syurmy.outcome import DONE, MISSED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    from syurmy.commands.models import Opened
    from syurmy.compiler.rounding import Rounded
    from syurmy.compiler.undecided import Undecided
    from syurmy.isa.arrays import I64
    from syurmy.isa.program import Program
    from syurmy.isa.trace import Trace
    from syurmy.prover.keys import ProvingKey
    from syurmy.prover.protocol.proof import Report
    from syurmy.prover.tensors import TensorOpening
    from syurmy.prover.verifier.verify import Statement, Verifier
    from syurmy.vm.notes import Notes

OUTPUT_PROOFS = 2  # the proof that makes an output, and one that reads it
PHASES = ("setup", "execute", "commit", "lookup", "contraction", "opening", "prove", "verify")

ProofPath = Annotated[
    Path | None,
    typer.Option("--proof", metavar="FILE", help="Where to write the proof.", show_default="PROG.proof beside PROG"),
]
Force = Annotated[bool, typer.Option("--force", help="Write PROG.proof over the proof of another run.")]
OutputProofs = Annotated[
    int,
    typer.Option(
        "--output-proofs", metavar="N", help="Proofs, this one counted, in which committed outputs stay hidden."
    ),
]
PerProof = Annotated[
    int | None,
    typer.Option(
        "--per-proof",
        metavar="K",
        min=1,
        help="With --batch: a proof of every K runs, PROG.0.proof, PROG.1.proof, …",
        show_default="all in one proof",
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit code 3 where a value was cut off or a tolerance missed.")]


def run(
    program: ProgramPath,
    input: Inputs = None,
    prove: Annotated[bool, typer.Option("--prove", help="Prove the run and verify the proof.")] = False,
    proof: ProofPath = None,
    keys: Keys = None,
    rekey: Rekey = False,
    force: Force = False,
    no_zk: NoZk = False,
    output_proofs: OutputProofs = OUTPUT_PROOFS,
    certificate: CertificatePath = None,
    scheduler: Scheduler = None,
    device: Device = None,
    store: StoreUrl = None,
    per_proof: PerProof = None,
    memory: Memory = None,
    batch: Batch = False,
    raw: Raw = False,
    max_steps: MaxSteps = None,
    strict: Strict = False,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Run a program or an ONNX model; with --prove also set up (once), prove, write PROG.proof and verify."""
    if not prove and proof is None and scheduler is None:
        refuse_unused(keys, rekey, force, no_zk, certificate, output_proofs, device, store, per_proof, memory)
        return _ran(program, input, None, batch, raw, max_steps, strict, json)
    refuse_both(device, memory, scheduler)
    proving = Proving(proof, keys, rekey, force, no_zk, certificate, output_proofs, scheduler, store, per_proof, memory)
    return _ran(program, input, proving, batch, raw, max_steps, strict, json)


def prove(
    program: ProgramPath,
    input: Inputs = None,
    proof: ProofPath = None,
    keys: Keys = None,
    rekey: Rekey = False,
    force: Force = False,
    no_zk: NoZk = False,
    output_proofs: OutputProofs = OUTPUT_PROOFS,
    certificate: CertificatePath = None,
    scheduler: Scheduler = None,
    device: Device = None,
    store: StoreUrl = None,
    per_proof: PerProof = None,
    memory: Memory = None,
    batch: Batch = False,
    raw: Raw = False,
    max_steps: MaxSteps = None,
    strict: Strict = False,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Run a program or an ONNX model, prove the run, write PROG.proof and verify it. Keys that are not there are made.

    The same as run --prove.
    """
    refuse_both(device, memory, scheduler)
    proving = Proving(proof, keys, rekey, force, no_zk, certificate, output_proofs, scheduler, store, per_proof, memory)
    return _ran(program, input, proving, batch, raw, max_steps, strict, json)


def refuse_unused(
    keys: Path | None,
    rekey: bool,
    force: bool,
    no_zk: bool,
    certificate: Path | None,
    output_proofs: int,
    device: str | None,
    store: str | None,
    per_proof: int | None,
    memory: str | None,
) -> None:
    """Raises ``InputError`` X192 for options that say how to prove, where nothing is proven."""
    from syurmy.isa.errors import InputError

    given = {
        "--keys": keys is not None,
        "--rekey": rekey,
        "--force": force,
        "--no-zk": no_zk,
        "--certificate": certificate is not None,
        "--output-proofs": output_proofs != OUTPUT_PROOFS,
        "--device": device is not None,
        "--store": store is not None,
        "--per-proof": per_proof is not None,
        "--memory": memory is not None,
    }
    if unused := [name for name, is_given in given.items() if is_given]:
        message = f"{', '.join(unused)} say{'s' * (len(unused) == 1)} how to prove, and nothing is to be proven"
        raise InputError(message, code="X192", help="add --prove, or leave them out")


def refuse_both(device: str | None, memory: str | None, scheduler: str | None) -> None:
    """Raises ``InputError`` X162 for a device or memory of this machine where others prove."""
    from syurmy.device import VARIABLE
    from syurmy.isa.errors import InputError

    if scheduler is None:
        return
    if device is not None:
        message = "--device is this machine's, and the workers of a cluster prove"
        raise InputError(message, code="X162", help=f"set {VARIABLE} where the workers run")
    if memory is not None:
        message = "--memory is this machine's, and the workers of a cluster prove"
        raise InputError(
            message, code="X162", help="start the workers with a memory limit: they take what fits into it"
        )


class Proving:
    """How a run is proven: where its keys and its proof are, what may be replaced, and whether nothing is hidden."""

    def __init__(
        self,
        proof: Path | None,
        keys: Path | None,
        rekey: bool,
        force: bool,
        no_zk: bool,
        certificate: Path | None,
        output_proofs: int,
        scheduler: str | None,
        store: str | None = None,
        per_proof: int | None = None,
        memory: str | None = None,
    ) -> None:
        from syurmy.host import Fresh
        from syurmy.isa.errors import InputError
        from syurmy.memory import read

        self.memory = None if memory is None else read(memory)
        self.fresh = Fresh(0)
        self.openings: dict[str, TensorOpening] = {}  # of the committed inputs
        self.output_proofs = output_proofs
        self.proof, self.keys, self.rekey, self.force = proof, keys, rekey, force or proof is not None
        self.drop = force  # finished parts of another run, which naming the file does not ask for
        self.no_zk, self.certificate = no_zk, certificate
        self.scheduler, self.store, self.per_proof = scheduler, store, per_proof
        if store is not None and scheduler is None:
            raise InputError("--store says where a cluster finds keys", code="X192", help="add --scheduler")

    def prepare(self, key: Path) -> None:
        """Takes pages for a large proof under a key that is there, while the program is read and run on one core."""
        from syurmy import gpu, host
        from syurmy.prover.keys import leaves
        from syurmy.prover.prove import fresh_pages

        if self.scheduler is None and self.per_proof is None and gpu.current().name == "cpu":
            self.fresh = host.Fresh(fresh_pages(leaves(key), self.memory))

    def refuse_larger(self, program: Program, key: Path, batch: int = 1) -> None:
        """Before anything runs: raises ``InputError`` P190 where a proof takes more memory than may be taken, or making
        the ``key``, if that file is not there. Of a path that depends on data nothing is known yet."""
        from syurmy.isa.path import Path as ExecutedPath
        from syurmy.memory import is_lean
        from syurmy.prover.protocol.key import DEFAULT_PROOFS, Mode
        from syurmy.prover.protocol.plan import Plan, branches

        if self.memory is not None and not branches(program):
            mode = Mode.of(program, False if self.no_zk else None, DEFAULT_PROOFS)
            is_lean(Plan.of(program, ExecutedPath(batch=batch), mode=mode), self.memory, making=not key.exists())

    def __call__(self, at: Opened, trace: Trace, max_steps: int | None, clock: Clock) -> dict[str, Any]:
        """Set up if need be, prove, verify, write the proof; what is told of it."""
        from syurmy import committing, display, files
        from syurmy import keys as kept
        from syurmy.commands import models
        from syurmy.isa.errors import SyurmyError
        from syurmy.prover.verifier.verify import Verifier

        target = self.proof or sibling(at.path, ".proof")
        paths = kept.key_paths(at.path, self.keys)
        with display.Working("set-up") as working:
            found = clock(
                "setup",
                lambda: kept.obtain(
                    at.program, at.path, self.keys, max_steps, working.around(agreed(self.rekey)), no_zk=self.no_zk
                ),
            )
            key = found.key
            rekeyed(found.replaced, key.verifying_key.digest())
            verifier = Verifier(key.verifying_key, certificate=self.certificate, plan=key.plan)
            old = None if self.force else _kept_proof(target, verifier, trace)
            working("prove", 0.0)
            outputs = committing.of_outputs(
                trace.program, trace.outputs, trace.batch > 1, key.mode.hiding, self.output_proofs, at.description,
                target.parent, target.stem, self.force,
            )  # fmt: skip
            self.fresh.release()
            commitments = self.openings | {name: opening for name, (_, opening) in outputs.items()}
            try:
                data, report = clock("prove", lambda: self._made(at, key, paths[0], trace, commitments, working))
                working("verify", 1.0)
                statement = clock("verify", lambda: verified_anew(verifier, data, paths[0]))
            except SyurmyError as e:
                models.explain(e, at.model, trace)
                raise
        if old is not None and not _alike(old.reveals, statement.reveals):
            raise another_run(target)
        files.write_whole(target, data)
        self._paced(key, trace, report)
        clock.seconds = report.seconds | clock.seconds
        return {
            "key": key.verifying_key.digest().hex(),
            "replaced_key": None if found.replaced is None else found.replaced.hex(),
            "inputs": statement.inputs,
            **{name: getattr(report, name) for name in ("leaves", "columns", "committed_entries")},
            "proof": str(target),
            "proof_bytes": len(data),
            "soundness_bits": statement.soundness_bits,
            "zero_knowledge": statement.hiding,
            "commitments": {name: c.digest().hex() for name, c in statement.commitments.items()},
            "openings": {name: str(path) for name, (path, _) in outputs.items()},
            "certificate": None if statement.certificate is None else statement.certificate.hex(),
            "verified": True,
        }

    def _paced(self, key: ProvingKey, trace: Trace, report: Report) -> None:
        """Remembers how fast this machine proves, for the next estimate, if it was the kernels that took the time."""
        from syurmy import costs, gpu, pace
        from syurmy.prover.kernels.cache import counted

        plain = self.scheduler is None and trace.batch == 1 and gpu.current().name == "cpu"
        if plain and key.plan is not None and not counted["compiled"]:
            pace.record(costs.counted(key.plan).fitted_seconds, report.seconds["prove"])

    def _made(
        self,
        at: Opened,
        key: ProvingKey,
        key_file: Path,
        trace: Trace,
        openings: Mapping[str, TensorOpening],
        working: Callable[[str, float], None],
    ) -> tuple[bytes, Report]:
        """The proof, made here or by a worker, and what it took."""
        if self.scheduler is None:
            made = syurmy.prove(
                key, trace, working, commitments=openings, certificate=self.certificate, memory=self.memory
            )
            return made.data, made.report
        from syurmy import files

        resting = None if self.certificate is None else files.read_bytes(self.certificate)
        with elsewhere(self.scheduler, self.store) as cluster:
            assert cluster is not None
            own = key.verifying_key.digest(), key_file
            program = at.program, at.path
            task = cluster.task(0, program[0].name, program, own, trace.inputs, openings, trace.batch > 1, resting)
            working("prove on the cluster", 0.0)
            ((_, data, report),) = cluster.proven([task])
        return data, report


def _ran(
    program: Path,
    options: Sequence[str] | None,
    proving: Proving | None,
    batch: bool,
    raw: bool,
    max_steps: int | None,
    strict: bool,
    json: bool,
) -> int:
    from syurmy import committing, display
    from syurmy.commands import models
    from syurmy.keys import key_paths

    clock = Clock()
    program = models.located(program, options)
    if proving is not None:
        proving.prepare(key_paths(program, proving.keys)[0])
    at = models.opened(program, options, raw, max_steps)
    options, openings = committing.opened(options, at.program)
    if proving is not None:
        proving.openings = openings
    entered = models.inputs(at, options, batch, committing.given_values(openings, batch))
    if proving is not None and proving.per_proof is not None:
        from syurmy.commands.many import ran as many

        return many(at, entered, proving, proving.per_proof, batch, max_steps, strict, json)
    if (whole := at.segmented) is not None:
        from syurmy.commands.bundles import ran

        if proving is not None:
            proving.fresh.release()
        return ran(at, whole, entered, proving, batch, max_steps, strict, json)
    given, cut, _ = entered
    watch = rounding = None
    count = len(next(iter(given.values()))) if batch and given else None
    if proving is not None:
        proving.refuse_larger(at.program, key_paths(at.path, proving.keys)[0], count or 1)
    if at.model is not None:
        rounding = at.model.rounding(entered, count)
        watch = at.model.watch(rounding)
    undecided: tuple[Undecided, ...] = ()
    rounded: tuple[Rounded, ...] = ()
    with display.Working("execute"):
        notes = _notes(at.program, given, batch)
        listeners = [tell for tell in (notes, watch, rounding) if tell is not None]
        trace = clock(
            "execute", lambda: syurmy.run(at.program, given, batch=batch, max_steps=max_steps, listeners=listeners)
        )
    if at.model is not None and watch is not None:
        cut += watch.found(at.model.rows)
        undecided, rounded = watch.undecided(), at.model.rounded(rounding)
    unestimated = () if at.model is None else at.model.unestimated(rounding)
    noticed = models.noticed(at.model, cut, undecided, rounded, unestimated)
    branches = sum(map(len, trace.bits.values()))
    result = told(at, trace.outputs, len(trace.path), trace.batch, branches) | noticed
    if proving is not None:
        result |= proving(at, trace, max_steps, clock)
    result |= measured(clock)
    if json:
        print_json(result)
    else:
        show(result, notes, output_lines(at, trace.outputs))
    return MISSED if strict and models.too_far(noticed) else DONE


def told(at: Opened, outputs: Mapping[str, I64], steps: int, batch: int, branches: int) -> dict[str, Any]:
    """What is told of a run, null what is not known without a proof."""
    from syurmy.commands import models

    result: dict[str, Any] = {"program": at.program.name, "outputs": models.outputs(at, outputs)}
    result |= {"instructions": len(at.program.code), "steps": steps, "batch": batch, "branches": branches}
    result |= dict.fromkeys(("leaves", "columns", "committed_entries"))
    result |= dict.fromkeys(("commitments", "openings", "certificate", "resumed"))
    result |= {"segments": [], "links": {}, "shared_params": [], "chained": None, "proofs": []}
    unknown = ("replaced_key", "proof", "proof_bytes", "soundness_bits", "zero_knowledge", "verified")
    return result | dict.fromkeys(unknown)


def measured(clock: Clock) -> dict[str, Any]:
    """Seconds by phase, and memory."""
    from syurmy import host

    return {"seconds": {name: clock.seconds.get(name) for name in PHASES}, "peak_mb": host.peak_mb()}


def show(result: dict[str, Any], notes: Notes | None, outputs: list[str]) -> None:
    """Print what is told."""
    from syurmy import display

    console = terminal()
    for seen in notes.seen if notes is not None else ():
        if seen.note.expected is None:
            console.print(display.note_text(seen), markup=False, highlight=False, soft_wrap=True)
    for line in outputs:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if result["verified"]:
        for name, digest in result["commitments"].items():
            where = f", opening {result['openings'][name]}" if name in result["openings"] else ""
            console.print(f"committed {name} = {digest}{where}", markup=False, highlight=False, soft_wrap=True)
        display.summary(console, summary(result))
        if result["segments"]:
            console.print(segments_line(result), markup=False, soft_wrap=True)
        many = [p["proof"] for p in result["proofs"]]
        where = f"{len(many)} proofs, {many[0]} to {many[-1]}" if many else result["proof"]
        console.print(f"verified: {where}", markup=False, soft_wrap=True)
        console.print(
            privacy(result["zero_knowledge"]),
            params(result["certificate"], bool(result.get("shared_params"))),
            sep="\n",
            markup=False,
        )


def segments_line(result: dict[str, Any]) -> str:
    """What is said of a bundle."""
    from syurmy.verification import segments_text, steps_text

    proofs, steps = len(result["segments"]), result["chained"]
    found = steps_text(steps, proofs) if steps else segments_text(proofs, len(result["links"]))
    return found + (f"; {result['resumed']} were proven before" if result["resumed"] else "")


def output_lines(at: Opened, outputs: Mapping[str, I64]) -> list[str]:
    """The outputs as ``verify`` shows them, private ones too: in reals and with labels."""
    from syurmy.described import name_text, value_text

    described = [(at.description.output(name), q) for name, q in outputs.items()]
    return [f"output {name_text(x.title)} = {value_text(x, q)}" for x, q in described]


def _notes(code: Program, inputs: Mapping[str, Any], batch: bool) -> Notes | None:
    """What follows the ``.print`` lines of a program that has any (of one input, not of a batch)."""
    from syurmy.vm.inputs import validated
    from syurmy.vm.notes import Notes

    if batch or not any(n.expected is None for n in code.notes):
        return None
    return Notes(code, validated(code, inputs))


def _kept_proof(target: Path, verifier: Verifier, trace: Trace) -> Statement | None:
    """What a proof that is there says, None if there is none. Raises ``InputError`` F130 if it is not of this run: if
    what it shows is not what a proof of this run would."""
    from syurmy import files
    from syurmy.prover.protocol.transcript import Rejected

    if not target.exists():
        return None
    try:
        old = verifier.verify(files.read_bytes(target))
    except Rejected:
        raise another_run(target) from None
    program = trace.program
    same = (old.batch, {pc: list(bits) for pc, bits in old.branches.items()}) == (
        trace.batch,
        {pc: list(bits) for pc, bits in trace.bits.items()},
    )
    if not same or not shows(old, program, trace.inputs, trace.outputs):
        raise another_run(target)
    return old


def shows(old: Statement, program: Program, inputs: Mapping[str, I64], outputs: Mapping[str, I64]) -> bool:
    """Whether a statement shows what one of a run with these inputs and outputs would."""
    shown = [(i.name, inputs[i.name]) for i in program.inputs if i.public]
    left = [(o.name, outputs[o.name]) for o in program.outputs if o.public]
    return _alike(sorted(old.inputs.items()), sorted(shown)) and _alike(sorted(old.outputs.items()), sorted(left))


def _alike(a: Sequence[tuple[Any, npt.ArrayLike]], b: Sequence[tuple[Any, npt.ArrayLike]]) -> bool:
    import numpy as np

    return len(a) == len(b) and all(m == n and np.array_equal(x, y) for (m, x), (n, y) in zip(a, b, strict=True))


def another_run(target: Path) -> Exception:
    from syurmy.isa.errors import InputError

    message = f"{target} is there already and no proof of this run"
    return InputError(message, code="F130", help="--force replaces it, --proof FILE writes another")


def verified_anew(verifier: Verifier, proof: bytes, proving_key: Path) -> Statement:
    """The statement of a proof just made. A rejection means a damaged proving key or a defect: nothing is written."""
    from syurmy.isa.errors import SyurmyError
    from syurmy.prover.protocol.transcript import Rejected

    try:
        return verifier.verify(proof)
    except Rejected as e:
        help = f"delete {proving_key} and try again; if it stays, please report it"
        message = f"the proof just made is rejected at step '{e.step}': {e.reason}"
        raise SyurmyError(message, code="V110", help=help) from e


def summary(result: dict[str, Any]) -> dict[str, str]:
    from syurmy import display

    seconds = {k: display.seconds_text(v) for k, v in result["seconds"].items() if v is not None}
    return {
        **_path_rows(result["steps"], result["branches"], result["batch"]),
        **display.cost_rows(result),
        **{f"{'  ' if name in PHASES[2:6] else ''}{name}": text for name, text in seconds.items()},
        "proof": display.bytes_text(result["proof_bytes"]),
        "soundness": f"{result['soundness_bits']:.1f} bits",
        "peak memory": f"{result['peak_mb']:.0f} MB",
    }


def _path_rows(steps: int, branches: int, batch: int) -> dict[str, str]:
    """What is said of the executed path; branches and batch only where there are some."""
    rows = {"steps": f"{steps:,}"}
    if branches:
        rows["branches"] = f"{branches:,} (their bits are public)"
    if batch > 1:
        rows["batch"] = f"{batch:,} inputs"
    return rows
