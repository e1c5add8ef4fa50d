"""The command line ``syurmy-vm``.

Exit codes: 0 done, 1 proof rejected, check failed or run trapped, 2 bad usage or input, 130 interrupted. With
``--json`` standard output is exactly one JSON object; errors then are ``{"error": {...}}`` beside the line on stderr.
"""

from __future__ import annotations

import functools
import json as json_format
import resource
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

import syurmy
from syurmy import compile as models
from syurmy import display, files, keys
from syurmy.isa.errors import InputError, SyurmyError
from syurmy.isa.path import DEFAULT_MAX_STEPS
from syurmy.isa.program import Program
from syurmy.isa.types import TensorType

if TYPE_CHECKING:
    from syurmy.prover.protocol.key import VerifyingKey
    from syurmy.prover.verifier.verify import Statement

app = typer.Typer(
    name="syurmy-vm",
    help="Run tensor programs on exact integers, prove the run, verify proofs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

NOT_PRIVATE = "not zero-knowledge: private values are not sent, not hidden"
TRUSTED = "params: trusted from set-up"

ProgramPath = Annotated[Path, typer.Argument(metavar="PROG.tasm", help="Tensor assembly.", show_default=False)]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        "-i",
        metavar="NAME=FILE",
        help=".npy, .npz (NAME=FILE:KEY), .json or a text list; FILE alone for a single input. "
        "Without it PROG.inputs.npz or PROG.inputs.json beside the program is read.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")]
MaxSteps = Annotated[int, typer.Option("--max-steps", min=1, help="Trap after this many instructions.")]
Batch = Annotated[bool, typer.Option("--batch", help="Every input has one more leading axis: many runs, one proof.")]
Target = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write.")]


def reported(command: Callable[..., None]) -> Callable[..., None]:
    """Turns what a command may raise into one coded error and an exit code."""

    @functools.wraps(command)
    def wrapper(*args: Any, **options: Any) -> None:
        json, debug = options.get("json", False), options.get("debug", False)
        try:
            command(*args, **options)
            sys.stdout.flush()
        except SyurmyError as e:
            _fail(e, json, debug, e.exit_code)
        except BrokenPipeError:
            sys.stderr.close()  # the reader left: nothing to say, nobody to say it to
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            _fail(InputError("interrupted; nothing was written", code="X130"), json, debug, 130)
        except MemoryError:
            _fail(InputError("not enough memory", code="X140"), json, debug, 2)
        except OSError as e:
            _fail(InputError(f"{e.filename or 'file'}: {e.strerror or e}", code="F100"), json, debug, 2)

    return wrapper


def _fail(error: SyurmyError, json: bool, debug: bool, exit_code: int) -> None:
    if debug:
        traceback.print_exc()
    print(display.error_text(error), file=sys.stderr)
    if json:
        _print_json({"error": display.error_json(error)})
    raise typer.Exit(exit_code)


def _print_json(value: dict[str, Any]) -> None:
    print(json_format.dumps(display.plain(value)))


def _console() -> Console:
    return Console(highlight=False)


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)


def _sibling(program_path: Path, suffix: str) -> Path:
    return program_path.with_suffix(suffix)


class _Clock:
    """Seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        out = work()
        self.seconds[name] = time.perf_counter() - start
        return out


PHASES = ("setup", "execute", "commit", "lookup", "contraction", "opening", "prove", "verify")


@app.command()
@reported
def run(
    program: ProgramPath,
    input: Inputs = None,
    prove: Annotated[bool, typer.Option("--prove", help="Prove the run and verify the proof.")] = False,
    proof: Annotated[Path | None, typer.Option("--proof", metavar="FILE", help="Where to write the proof.")] = None,
    batch: Batch = False,
    raw: models.Raw = False,
    max_steps: MaxSteps = DEFAULT_MAX_STEPS,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Run a program or an ONNX model; with --prove also set up (once), prove, write PROG.proof and verify."""
    program = models.located(program, input)
    clock = _Clock()
    code = syurmy.load(program)
    model = models.recorded(program, code, raw)
    inputs = models.inputs(model, code, input or [], program, batch)
    with display.Working("execute"):
        trace = clock("execute", lambda: syurmy.run(code, inputs, batch=batch, max_steps=max_steps))
    result: dict[str, Any] = {"outputs": models.outputs(model, trace.outputs), "steps": len(trace.path)}
    result |= {"batch": trace.batch, "branches": sum(map(len, trace.bits.values()))}
    result |= dict.fromkeys(("leaves", "columns", "committed_entries"))
    result |= {"seconds": {}, "proof_bytes": None, "soundness_bits": None, "peak_mb": None, "verified": None}
    target = proof or _sibling(program, ".proof")
    if prove or proof is not None:
        with display.Working("set-up") as working:
            key, _ = clock("setup", lambda: keys.obtain(code, program))
            working("prove", 0.0)
            made = clock("prove", lambda: syurmy.prove(key, trace, working))
            data = made.to_bytes()
            working("verify", 1.0)
            statement = clock("verify", lambda: _verified(key.verifying_key, data, program))
        files.write_whole(target, data)
        report = made.report
        result |= {name: getattr(report, name) for name in ("leaves", "columns", "committed_entries")}
        result |= {"proof_bytes": len(data), "soundness_bits": statement.soundness_bits, "verified": True}
        clock.seconds = report.seconds | clock.seconds
    result["seconds"] = {name: clock.seconds.get(name) for name in PHASES}
    result["peak_mb"] = _peak_mb()
    if json:
        _print_json(result)
        return
    console = _console()
    display.tensors(console, "output", result["outputs"])
    if result["verified"]:
        display.summary(console, _summary(result))
        console.print(f"verified: {target}", markup=False, soft_wrap=True)
        console.print(NOT_PRIVATE, TRUSTED, sep="\n", markup=False)


app.command("compile")(reported(models.compile))


def _verified(key: VerifyingKey, proof: bytes, program: Path) -> Statement:
    """The statement of a proof just made. A rejection means a damaged proving key or a defect: nothing is written."""
    from syurmy.prover.protocol.transcript import Rejected

    try:
        return syurmy.verify(key, proof)
    except Rejected as e:
        help = f"delete {keys.key_paths(program)[0]} and try again; if it stays, please report it"
        error = SyurmyError(f"the proof just made is rejected at step '{e.step}': {e.reason}", code="V110", help=help)
        error.exit_code = 1
        raise error from e


def _summary(result: dict[str, Any]) -> dict[str, str]:
    seconds = {k: display.seconds_text(v) for k, v in result["seconds"].items() if v is not None}
    return {
        **_path_rows(result["steps"], result["branches"], result["batch"]),
        "lookup leaves": f"{result['leaves']:,}",
        "columns": f"{result['columns']:,} ({result['committed_entries']:,} entries)",
        **{f"{'  ' if name in PHASES[2:6] else ''}{name}": text for name, text in seconds.items()},
        "proof": display.bytes_text(result["proof_bytes"]),
        "soundness": f"{result['soundness_bits']:.1f} bits",
        "peak memory": f"{result['peak_mb']:.0f} MB",
    }


def _path_rows(steps: int, branches: int, batch: int) -> dict[str, str]:
    """What is said of the executed path; branches and batch only where there are some."""
    rows = {"instructions": f"{steps:,}"}
    if branches:
        rows["branches"] = f"{branches:,} (their bits are public)"
    if batch > 1:
        rows["batch"] = f"{batch:,} inputs"
    return rows


@app.command()
@reported
def verify(
    key: Annotated[Path, typer.Argument(metavar="PROG.vk", help="Verifying key.", show_default=False)],
    proof: Annotated[Path, typer.Argument(metavar="FILE.proof", help="Proof.", show_default=False)],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Verify a proof and print its statement. Exit code 0 accepted, 1 rejected, 2 unreadable."""
    from syurmy.prover.protocol.transcript import Rejected

    verifying_key = keys.read_verifying_key(key)
    data = files.read_bytes(proof)
    clock = _Clock()
    try:
        with display.Working("verify"):
            statement = clock("verify", lambda: syurmy.verify(verifying_key, data))
    except Rejected as e:
        if debug:
            traceback.print_exc()
        if json:
            _print_json({"verified": False, "step": e.step, "reason": e.reason})
        else:
            print(f"error[V100]: proof rejected at step '{e.step}': {e.reason}", file=sys.stderr)
        raise typer.Exit(1) from None
    result = {
        "verified": True,
        "program": statement.program,
        "key_digest": statement.key_digest.hex(),
        "inputs": statement.inputs,
        "outputs": statement.outputs,
        "reveals": [{"instruction": i, "values": v} for i, v in statement.reveals],
        "batch": statement.batch,
        "branches": sum(map(len, statement.branches.values())),
        "soundness_bits": statement.soundness_bits,
        "soundness": dict(statement.soundness),
        "seconds": clock.seconds["verify"],
        "proof_bytes": len(data),
    }
    if json:
        _print_json(result)
        return
    console = _console()
    console.print(
        f"accepted: program {statement.program}, key {result['key_digest'][:16]}…", markup=False, soft_wrap=True
    )
    display.tensors(console, "public input", statement.inputs)
    display.tensors(console, "output", statement.outputs)
    display.tensors(console, "reveal", {f"@{i}": v for i, v in statement.reveals})
    if statement.batch > 1:
        console.print(f"batch of {statement.batch:,} inputs: the first axis of inputs and outputs counts them")
    if result["branches"]:
        console.print(f"path: {result['branches']:,} branches, their bits are public")
    took = display.seconds_text(clock.seconds["verify"])
    console.print(f"soundness {statement.soundness_bits:.1f} bits, {took}, {display.bytes_text(len(data))}")
    budget = ", ".join(f"{name} {bits:.1f}" for name, bits in statement.soundness[:-1])
    console.print(f"errors in bits, added up: {budget}", markup=False, soft_wrap=True)
    console.print(NOT_PRIVATE, TRUSTED, sep="\n", markup=False)


@app.command()
@reported
def setup(program: ProgramPath, json: Json = False, debug: Debug = False) -> None:
    """Make PROG.pk and PROG.vk beside the program, unless they are there and nothing changed."""
    code = syurmy.load(program)
    clock = _Clock()
    with display.Working("set-up"):
        _, reused = clock("setup", lambda: keys.obtain(code, program))
    pk, vk = keys.key_paths(program)
    result = {
        "proving_key": str(pk),
        "verifying_key": str(vk),
        "proving_key_bytes": pk.stat().st_size,
        "verifying_key_bytes": vk.stat().st_size,
        "reused": reused,
        "seconds": clock.seconds["setup"],
    }
    if json:
        _print_json(result)
        return
    console = _console()
    for path in (pk, vk):
        size = display.bytes_text(path.stat().st_size)
        console.print(f"{path}: {size}{', reused' if reused else ''}", markup=False, soft_wrap=True)
    console.print(f"set-up {display.seconds_text(clock.seconds['setup'])}")


@app.command()
@reported
def check(
    program: ProgramPath,
    input: Inputs = None,
    batch: Batch = False,
    max_steps: MaxSteps = DEFAULT_MAX_STEPS,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Run a program and evaluate every constraint directly, without a proof. Exit code 1 if one is violated."""
    code = syurmy.load(program)
    inputs = files.read_inputs(code, input or [], program, batch)
    trace = syurmy.run(code, inputs, batch=batch, max_steps=max_steps)
    with display.Working("check"):
        violations = syurmy.check(code, trace)
    found = [
        {
            "instruction": v.instruction,
            "source": str(v.span) if v.span else None,
            "constraint": v.constraint,
            "tensor": v.tensor,
            "execution": v.element[0],
            "element": v.element[1:],
            "message": v.message,
        }
        for v in violations
    ]
    if json:
        _print_json({"ok": not found, "steps": len(trace.path), "violations": found})
    elif not found:
        _console().print(f"every constraint holds ({len(trace.path):,} steps)")
    for v in violations if not json else ():
        print(f"error[K100]: {v}", file=sys.stderr)
    if found:
        raise typer.Exit(1)


@app.command()
@reported
def asm(program: ProgramPath, output: Target = None, json: Json = False, debug: Debug = False) -> None:
    """Assemble a program to its canonical binary encoding (PROG.bin unless --output)."""
    from syurmy.isa.encoding import digest, encode

    code = syurmy.load(program)
    data = encode(code)
    target = output or _sibling(program, ".bin")
    files.write_whole(target, data)
    result: dict[str, Any] = {
        "program": code.name,
        "digest": digest(code).hex(),
        "file": str(target),
        "bytes": len(data),
    }
    if json:
        _print_json(result | {"instructions": len(code.code)})
    else:
        size = f"{len(code.code)} instructions, {display.bytes_text(len(data))}"
        _console().print(f"{target}: {size}, digest {result['digest'][:16]}…", markup=False, soft_wrap=True)


@app.command()
@reported
def disasm(
    program: Annotated[Path, typer.Argument(metavar="FILE", help="Binary encoding, PROG.vk or PROG.tasm.")],
    output: Target = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Print a program as tensor assembly, macros expanded."""
    from syurmy.assembler import disassemble

    text = disassemble(keys.read_program(program))
    if output is not None:
        files.write_whole(output, text.encode())
    if json:
        _print_json({"file": str(output) if output else None, "text": text})
    elif output is None:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")


@app.command()
@reported
def info(
    program: Annotated[Path, typer.Argument(metavar="FILE", help="PROG.tasm, PROG.vk or a binary encoding.")],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Declarations, size and constraints of a program."""
    from syurmy.isa.builder import build
    from syurmy.isa.encoding import digest
    from syurmy.isa.instruction import REGISTRY

    code = keys.read_program(program)
    result = _declarations(code) | {"digest": digest(code).hex()}
    counted = ("steps", "tensor_entries", "columns", "lookups", "tables", "equations")
    result |= dict.fromkeys(counted)
    result["branches"] = sum(REGISTRY[ins.op].branch for ins in code.code)
    if not result["branches"]:
        with display.Working("constraints"):
            system = build(code)
        sizes = (system.columns, system.lookups, system.tables, system.equations)
        values = (system.flow.steps, system.trace_cells(), *map(len, sizes))
        result |= dict(zip(counted, values, strict=True))
    if json:
        _print_json(result)
        return
    console = _console()
    for kind in ("inputs", "params", "tables_declared", "buffers", "outputs"):
        for d in result[kind]:
            text = " ".join(str(v) for v in d.values())
            console.print(f"{kind.partition('_')[0].rstrip('s'):7} {text}", markup=False, soft_wrap=True)
    console.print(f"program {code.name}, digest {result['digest']}", markup=False, soft_wrap=True)
    names = [n for n in ("instructions", "branches", *counted) if result[n] is not None]
    display.summary(console, {n.replace("_", " "): f"{result[n]:,}" for n in names})
    if result["branches"]:
        console.print("the rest depends on the path: run shows it")


def _declarations(code: Program) -> dict[str, Any]:
    return {
        "program": code.name,
        "inputs": [
            {"name": i.name, "type": str(i.type), "visibility": "public" if i.public else "private"}
            for i in code.inputs
        ],
        "params": [
            {"name": p.name, "type": str(p.type), "visibility": "committed" if p.committed else "public"}
            for p in code.params
        ],
        "tables_declared": [{"name": t.name, "type": f"{t.source} -> {t.target}"} for t in code.luts],
        "buffers": [
            {"name": r.name, "type": str(TensorType.full(r.dtype, r.shape)), "contents": r.init or "zeros"}
            for r in code.rams
        ],
        "outputs": [{"name": o.name, "visibility": "public" if o.public else "private"} for o in code.outputs],
        "instructions": len(code.code),
    }


def main() -> None:
    """Entry point of ``syurmy-vm``."""
    try:
        app()
    except KeyboardInterrupt:  # before a command started
        print("error[X130]: interrupted", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
