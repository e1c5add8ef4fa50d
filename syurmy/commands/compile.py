"""``syurmy-vm compile``: an ONNX model to a program that runs on integers."""

from __future__ import annotations

import enum
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syurmy.commands.common import Debug, Json, Memory, print_json

if TYPE_CHECKING:
    from syurmy.compiler import CompiledModel


MISSED = 3  # exit code


class Visibility(enum.StrEnum):
    public = "public"
    private = "private"


class ParamVisibility(enum.StrEnum):
    public = "public"
    committed = "committed"


def compile(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="An ONNX model.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Folder to write.", show_default="MODEL beside MODEL.onnx"),
    ] = None,
    shape: Annotated[
        list[str] | None, typer.Option("--shape", metavar="NAME=1,3,32,32", help="Shape of an input; may be repeated.")
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option("--calibrate", metavar="FILE", help=".npz of real inputs by name, stacked; .npy of a single one."),
    ] = None,
    weights: Annotated[int, typer.Option("--weights", help="Bits of weights, 8 or 16.")] = 16,
    narrow_weights: Annotated[
        bool,
        typer.Option(
            "--narrow-weights",
            help="Integers of 8 bits and fewer of the model stay so in the key where that makes proofs dearer, too.",
        ),
    ] = False,
    activations: Annotated[int, typer.Option("--activations", help="Bits of activations, 8 or 16.")] = 16,
    margin: Annotated[
        float | None,
        typer.Option(
            "--margin",
            help="Room above the calibration's peaks.",
            show_default="1.25, fine 1.4; random data: 2",
        ),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option("--tolerance", help="What outputs may be off, over their range; more bits if needed."),
    ] = 1e-3,
    input_visibility: Annotated[
        Visibility, typer.Option("--input-visibility", help="What a proof shows of inputs.")
    ] = Visibility.private,
    commit_input: Annotated[
        list[str] | None,
        typer.Option(
            "--commit-input", metavar="NAME", help="An input that a proof names a commitment to; may be repeated."
        ),
    ] = None,
    commit_output: Annotated[
        list[str] | None,
        typer.Option("--commit-output", metavar="NAME", help="The same of an output."),
    ] = None,
    read: Annotated[
        list[str] | None,
        typer.Option(
            "--read",
            metavar="NAME=DIR[:TENSOR]",
            help="An input that is an output of the model compiled into DIR, or the input TENSOR of it; repeatable.",
        ),
    ] = None,
    params: Annotated[
        ParamVisibility, typer.Option("--params", help="What the verifying key holds of weights.")
    ] = ParamVisibility.committed,
    generate: Annotated[
        str,
        typer.Option(
            "--generate", metavar="greedy", help="A causal language model: proofs state the text that it writes."
        ),
    ] = "",
    show: Annotated[
        str,
        typer.Option(
            "--show", metavar="last|topk=K|all", help="What such proofs show of the logits; nothing unless given."
        ),
    ] = "",
    prompt_tokens: Annotated[
        int, typer.Option("--prompt-tokens", min=1, help="Tokens of the shortest prompt; more make proofs cheaper.")
    ] = 1,
    cache: Annotated[
        int | None,
        typer.Option(
            "--cache",
            metavar="N",
            min=2,
            help="With --generate: some tokens at a time, keys and values in a committed cache of N places.",
            show_default="all tokens at once, unless the model has a fixed cache",
        ),
    ] = None,
    chunk: Annotated[
        int, typer.Option("--chunk", metavar="C", min=1, help="With --cache: C tokens at a time, one proof for them.")
    ] = 1,
    tokenizer: Annotated[
        Path | None,
        typer.Option("--tokenizer", metavar="FILE", help="A tokenizer.json, or a JSON list of characters, to keep."),
    ] = None,
    segments: Annotated[
        str,
        typer.Option(
            "--segments", metavar="auto|N", help="Cut into N programs that are proven one by one; auto: each in 2 GiB."
        ),
    ] = "1",
    title: Annotated[str, typer.Option("--title", metavar="TEXT", help="What the key calls the model.")] = "",
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--labels",
            metavar="[OUTPUT=]FILE",
            help="What an output's integers or columns stand for, one a line or a JSON list; may be repeated.",
        ),
    ] = None,
    unit: Annotated[
        list[str] | None,
        typer.Option("--unit", metavar="NAME=TEXT", help="Unit of an input or output; may be repeated."),
    ] = None,
    memory: Memory = None,
    report: Annotated[bool, typer.Option("--report", help="Accuracy and cost of every node.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 3 where the tolerance is missed.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Compile an ONNX model to a program that runs on integers: DIR/model.tasm, weights, tables, scales, an example.

    A tolerance that is missed on the samples is warned of; with --strict the exit code is 3.
    """
    from syurmy import display
    from syurmy.commands import models
    from syurmy.compiler import Options, compile_onnx
    from syurmy.memory import read as bytes_of

    options = Options(
        shapes=dict(map(_shape, shape or [])),
        calibrate=calibrate,
        weights=weights,
        activations=activations,
        narrow_weights=narrow_weights,
        public_inputs=input_visibility is Visibility.public,
        commit_inputs=commit_input or [],
        commit_outputs=commit_output or [],
        reads=dict(_named("--read", option) for option in read or []),
        committed_params=params is ParamVisibility.committed,
        margin=margin,
        tolerance=tolerance,
        generate=generate,
        show=show,
        prompt_tokens=prompt_tokens,
        tokenizer=tokenizer,
        cache=cache or 0,
        chunk=chunk,
        segments=_segments(segments),
        memory=None if memory is None else bytes_of(memory),
        title=title,
        labels=_labels(labels or []),
        units=dict(_named("--unit", option) for option in unit or []),
    )
    start = time.perf_counter()
    with display.Working("compile") as working, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        done = compile_onnx(model, output, options, progress=working)
    models.warned(caught)
    if json:
        print_json(_described(done))
    else:
        _print(done, report, (weights, activations), time.perf_counter() - start)
    if strict and done.missed is not None:
        raise typer.Exit(MISSED)


def _print(done: CompiledModel, report: bool, bits: tuple[int, int], took: float) -> None:
    from syurmy import costs, display, host
    from syurmy.compiler.recorded import PROGRAM

    if report:
        print(done.report())
    for kind, ports in (("input", done.inputs), ("output", done.outputs)):
        for p in ports:
            to = f" to {p.scale:.4g}, by column" if p.scales else ""
            unit = f"{min(p.scales or (p.scale,)):.4g}{to} {p.unit}".rstrip()
            print(f"{kind} {p.model_name}: {p.dtype} {list(p.shape)}, one unit is {unit}")
    kind = f"{bits[1]} bits" if bits[0] == bits[1] else f"weights of {bits[0]} bits, activations of {bits[1]}"
    kind = "fine: more than 16 bits where products need them" if done.fine else kind
    print(f"off by up to {done.error:.2g} of the output's range on the samples ({kind})")
    cost = costs.of_program(done.program, batch=done.chained is None)
    print("\n".join([f"{len(done.program.code)} instructions", *(costs.lines(cost) if cost is not None else ())]))
    if (g := done.generation) is not None and g.step is not None:
        print(f"a proof for {g.step.tokens_text} but the last, by `generate`: texts of up to {g.total} tokens")
    for k, s in enumerate(_parts(done)):
        reads = ", ".join(t["name"] for t in s["takes_in"]) or "the inputs alone"
        leaves = "" if s["leaves"] is None else f"{s['leaves']:,} lookup leaves, "
        print(
            f"segment {k}: {s['instructions']} instructions, {leaves}{s['params_entries']:,} weights, "
            f"takes in {s['taken_in']:,} entries ({reads})"
        )
    of = f", {display.bytes_text(done.memory)} were predicted" if done.memory else ""
    peak = display.bytes_text(int(host.peak_mb() * 2**20))
    print(f"{done.folder / PROGRAM}: compiled in {display.seconds_text(took)}, peak memory {peak}{of}")


def _segments(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _parts(done: CompiledModel) -> list[dict[str, Any]]:
    """What each segment is, of a model that is cut; its cost where the path does not depend on data."""
    from syurmy import costs

    out = []
    inner = {i.name for i in done.program.inputs}
    for k, program in enumerate(done.segmented.segments if done.cuts else ()):
        cost = costs.of_program(program, batch=False)
        taken = [i for i in program.inputs if i.name not in inner]
        out.append(
            {
                "program": program.name,
                "file": str(done.segmented.file(k)),
                "instructions": len(program.code),
                "takes_in": [{"name": i.name, "type": str(i.type), "visibility": i.visibility} for i in taken],
                "taken_in": sum(i.type.size for i in taken),
                "params_entries": sum(p.type.size for p in program.params),
                "leaves": None if cost is None else cost[0].leaves,
                "cost": None if cost is None else cost[0].to_json(),
            }
        )
    return out


def _shape(option: str) -> tuple[str, tuple[int, ...]]:
    from syurmy.isa.errors import InputError

    name, eq, dims = option.rpartition("=")
    try:
        shape = tuple(int(d) for d in dims.split(",")) if dims else ()
    except ValueError:
        shape = (0,)
    if not eq or not name or any(d < 1 for d in shape):
        raise InputError(f"--shape {option} is no shape", code="I111", help="for example --shape x=1,3,32,32")
    return name, shape


def _named(option: str, text: str) -> tuple[str, str]:
    from syurmy.isa.errors import InputError

    name, eq, value = text.partition("=")
    if not eq or not name:
        raise InputError(f"{option} {text} names nothing", code="I111", help=f"use {option} NAME={text}")
    return name, value


def _labels(options: list[str]) -> dict[str, str] | str | None:
    if len(options) == 1 and ("=" not in options[0] or Path(options[0]).exists()):
        return options[0]
    return dict(_named("--labels", option) for option in options) or None


def _described(done: CompiledModel) -> dict[str, Any]:
    from syurmy import costs, host
    from syurmy.compiler.recorded import PROGRAM

    cost = costs.of_program(done.program, batch=done.chained is None)
    return {
        "program": done.program.name,
        "file": str(done.folder / PROGRAM),
        "inputs": [asdict(p) for p in done.inputs],
        "outputs": [asdict(p) for p in done.outputs],
        "nodes": [vars(r) | {"seconds": r.seconds} for r in done.rows],
        "output_error": done.error,
        "fine": done.fine,
        "missed": None if done.missed is None else vars(done.missed) | {"message": str(done.missed)},
        "instructions": len(done.program.code),
        "segments": _parts(done),
        "predicted_bytes": done.memory,
        "peak_mb": host.peak_mb(),
        "cost": None if cost is None else cost[0].to_json(),
        "cost_in_batch": None if cost is None or cost[1] is None else cost[1].to_json(),
    }
