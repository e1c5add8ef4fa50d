"""The compiler's steps in order: load, sample, rewrite, lower, write.

The finer of two programs is made where the first one's error on the samples (``contract``) is more than half the
tolerance.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import syurmy.compiler.ops  # noqa: F401  (fills the registry)
from syurmy import host, inputs
from syurmy.assembler import assemble_file
from syurmy.assembler.disassembler import disassemble
from syurmy.compiler import cached, causal, graph, load, stepwise
from syurmy.compiler.calibration import Runs, given_samples, random_samples, split
from syurmy.compiler.causal import Greedy, Tail
from syurmy.compiler.channels import Channels, column_spans, thin, unlike
from syurmy.compiler.coding import Code
from syurmy.compiler.contract import Measured, OnScaleSamples, missed, on_held_out
from syurmy.compiler.cutting import cut_into
from syurmy.compiler.described import described
from syurmy.compiler.emit import Emitter, Tensor
from syurmy.compiler.errors import ModelError, Problem, UnsupportedModel
from syurmy.compiler.estimates import Estimates
from syurmy.compiler.folder import files_of, left_over, move, own_files, writing
from syurmy.compiler.lower import Context, Step, is_lowered, lower, own_units
from syurmy.compiler.model import CompiledModel
from syurmy.compiler.needs import Needs
from syurmy.compiler.options import Options
from syurmy.compiler.passes import rewritten
from syurmy.compiler.passes.unroll import flattened
from syurmy.compiler.questions import coded_inputs
from syurmy.compiler.readings import Reading, readings
from syurmy.compiler.recorded import (
    EXAMPLE,
    PROGRAM,
    RECORD,
    SEGMENTS,
    TABLES,
    TOKENIZER,
    WEIGHTS,
    Held,
    Port,
    Result,
    Row,
    default_folder,
    record,
    whole,
)
from syurmy.compiler.rounding import MOST, Whole
from syurmy.compiler.saturation import Watch
from syurmy.compiler.scales import Precision
from syurmy.compiler.stepwise import PAST, PRESENT, Caches
from syurmy.completions import begins
from syurmy.display import bytes_text
from syurmy.isa.arrays import F64
from syurmy.isa.attribution import costs
from syurmy.isa.errors import InputError
from syurmy.isa.program import Program
from syurmy.isa.refusal import refusing
from syurmy.isa.segments import cut
from syurmy.isa.system import build
from syurmy.isa.wellformed import MAX_SEGMENTS
from syurmy.vocabulary import Vocabulary

CALIBRATED_MARGIN, FINE_MARGIN, DEFAULT_MARGIN = 1.25, 1.4, 2.0
DRAWN_MARGIN = 1.5  # without data, of inputs that are drawn from all that they can be (tokens)
FEW_TIES = 50  # one token in so many may nearly tie on the samples without a finer program
ESTIMATED = 16  # samples on which the estimate of rounding is compared with the error
AT_ONCE = 2**25  # entries of all of them
SMALL = 2**14  # entries of a run: of a program that is cheap to try between samples
LOWERING = 0.7  # of the time of a trial, where samples are held out


def compile_onnx(path: Path, out_dir: Path | None, options: Options) -> CompiledModel:
    """See ``syurmy.compiler.compile_onnx``."""
    with refusing(lambda reason: ModelError(f"{path} cannot be compiled: {reason}")):
        own_files(out_dir or default_folder(path))  # refused before anything is read
        if isinstance(options.calibrate, str | Path):
            ports = load.input_ports(path, options.shapes)
            options = replace(options, calibrate=inputs.read([str(options.calibrate)], ports, tell=_told))
        options.tell("read", 0.0)
        change = functools.partial(generating, options=options) if options.generate else None
        Needs(options.memory, path).read(load.size_of(path))
        models = [load.load(path, options.shapes, change)]
        with path.open("rb") as file:
            source = hashlib.file_digest(file, "sha256").hexdigest()
        return compile_model(models.pop(), out_dir or default_folder(path), options, source)  # which lets go of it


def compile_model(model: onnx.ModelProto, out_dir: Path, options: Options, source: str | None = None) -> CompiledModel:
    """See ``syurmy.compiler.compile_model``; ``source`` is recorded."""
    own, o = own_files(out_dir), options
    if isinstance(o.calibrate, str | Path):
        o = replace(o, calibrate=inputs.read([str(o.calibrate)], load.ports_of(model, o.shapes), tell=_told))
    if o.generate:
        if causal.found(model) is None:
            model = load.prepare(*generating(model, o.shapes, o))
        o = replace(o, public_inputs=True)
    greedy = causal.found(model)
    vocabulary = None if o.tokenizer is None else Vocabulary.read(Path(o.tokenizer))
    model = load.inline_functions(model, is_lowered)
    load.refuse_unknown(model, is_lowered)
    random = o.calibrate is None
    if random:
        warnings.warn("no calibration data: scales come from random samples", stacklevel=3)
    assert isinstance(o.calibrate, Mapping | None)
    if greedy is not None and greedy.caches:
        samples = cached.samples_of(model, greedy, o.calibrate)
    elif o.calibrate is None:
        samples = random_samples(model)
    else:
        samples = given_samples(model, causal.tokens_of(greedy, o.calibrate))
    model = flattened(model, samples[0], is_lowered)
    precision = Precision(o.weights, o.activations, o.margin or (DEFAULT_MARGIN if random else CALIBRATED_MARGIN))
    near = next(p for p in (out_dir, *out_dir.absolute().parents) if p.is_dir())  # moving from there is renaming
    needs = Needs(o.memory, near)
    model, weights = graph.lightened(model)  # nothing holds the model itself any more, unless the caller does
    if weights:
        host.return_memory()
    runs = Runs(model, samples, weights)
    needs.observe(model, runs, o.weights // 8)
    if greedy is not None:
        greedy = (cached if greedy.caches else causal).observed(greedy, model, runs)
        if vocabulary is not None:
            vocabulary.refuse_other(greedy.vocabulary)
    scaling, held = split(runs.extremes(o.tell), precision.margin, random)
    observed = graph.graph_of(model, (runs[k] for k in scaling), weights, needs.store)
    read = readings(o.reads or {}, observed.inputs)
    for name, r in read.items():
        r.check(observed, name)
    observed = replace(observed, given=frozenset(read))
    trial = Trial(observed, held, runs, o, read, greedy, needs)
    with contextlib.ExitStack() as stack:
        with writing(near):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=".syurmy-", dir=near))
        made, refused = trial(precision, Path(folder) / "plain"), None
        featured = [i for i in observed.inputs if own_units(made.graph, i, 1.0) is not None]
        if not made.sure(o.tolerance) and any(unlike(observed, i) for i in featured):
            by_feature = replace(precision, channels=True)
            with contextlib.suppress(UnsupportedModel):
                made, precision = better(made, trial(by_feature, Path(folder) / "channels"), o.tolerance), by_feature
        settled = False
        if random and not o.margin and not made.within(o.tolerance) and _all_whole(observed):  # costs nothing
            closer = trial(replace(precision, margin=DRAWN_MARGIN), Path(folder) / "closer")
            settled = closer.within(o.tolerance)
            made = closer if settled else made
        if not settled and not made.sure(o.tolerance) and (o.weights, o.activations) == (16, 16):
            roomy = precision.margin if o.margin else max(precision.margin, FINE_MARGIN)  # bits to spare
            finer = replace(precision, fine=True, margin=roomy)
            more = [finer, replace(finer, sloped=True)]  # the later ones only where nothing else reaches the tolerance
            if featured and not precision.channels:
                more.append(replace(finer, channels=True))
            for k, p in enumerate(more):
                if k and made.within(o.tolerance):
                    break
                try:
                    made = better(made, trial(p, Path(folder) / f"fine{k}"), o.tolerance)
                except UnsupportedModel as e:  # more bits can be more than the machine's 61
                    refused = refused or e.problems[0]
        with writing(out_dir):
            if made.tail is not None and greedy is not None:
                causal.refuse_leaks(made.program, made.tail.generation, samples[0][greedy.tokens])
            few = made.entries <= MOST and greedy is None  # what a model writes is decided, and told as that
            count = min(ESTIMATED, AT_ONCE // max(made.entries, 1))
            estimated = (runs[k] for k in (held or scaling)[: count if few else 0])
            done = _written(out_dir, own, made, o, random, refused, source, vocabulary, estimated)
            done = replace(done, memory=needs.predicted)
    if done.missed is not None:
        warnings.warn(str(done.missed), stacklevel=3)
    for text in (*wrapping(made.context.out.wraps), *infinite(made.graph), *left_over(out_dir)):
        warnings.warn(text, stacklevel=3)
    return done


def wrapping(nodes: Iterable[tuple[str, str]]) -> list[str]:
    """One sentence for nodes (name and operator) whose results may leave int32; none for none."""
    told = [f"{op} '{name}'" for name, op in nodes]
    if not told:
        return []
    more = f" and {len(told) - 3} more" if len(told) > 3 else ""
    return [
        f"large inputs can take int32 sums or products beyond their type: {', '.join(told[:3])}{more}; they wrap, as in"
        " NumPy and ONNX's reference, where onnxruntime gives the largest or least int32"
    ]


def infinite(g: graph.Graph) -> list[str]:
    """One sentence for outputs that hold infinity on a sample, which no integer stands for; none for none."""
    held = [
        o for o in g.outputs if any(x.dtype.kind == "f" and np.isinf(x).any() for x in map(np.asarray, g.samples[o]))
    ]
    if not held:
        return []
    return [
        f"the float model gives infinity on the samples, in {', '.join(held)}: the program gives a finite number there,"
        " and does not tell where; guard the logarithm or the division in the model"
    ]


def generating(
    model: onnx.ModelProto, shapes: causal.Shapes | None, options: Options
) -> tuple[onnx.ModelProto, causal.Shapes]:
    """A language model as it is compiled to state what it writes: token by token with a cache, where ``options`` say so
    or the model has one of a fixed length; else all tokens at once. Raises ``ModelError``."""
    if causal.found(model) is not None:
        return model, shapes or {}
    if options.cache or cached.is_fixed(model):
        if options.show == "last" or options.prompt_tokens != 1:
            message = "show last and prompt_tokens are of models that read all tokens at once, without a cache"
            help = "--show all or topk=K shows logits of every step, which does not know whether it is the last"
            raise InputError(message, code="I110", help=help if options.show == "last" else "leave prompt_tokens out")
        return cached.wrapped(model, shapes, options.cache, options.chunk, options.show)
    if options.chunk != 1:
        raise InputError("chunk is of models with a cache", code="I110", help="--cache N, a multiple of it")
    return causal.wrapped(model, shapes, options.show, options.prompt_tokens)


def _told(note: str) -> None:
    """What is said of how calibration data were read."""
    warnings.warn(f"calibration: {note}", stacklevel=2)


def _all_whole(g: graph.Graph) -> bool:
    """Whether no input is real."""
    return all(g.values[i].dtype.kind != "f" for i in g.inputs)


@dataclass(frozen=True)
class Made:
    """A lowered graph, its program and what that is worth."""

    graph: graph.Graph
    context: Context
    steps: Sequence[Step]
    inputs: Sequence[Port]
    outputs: Mapping[str, Tensor | Channels]
    folder: Path
    program: Program
    measured: Measured
    tail: Tail | None = None
    choices: int = 0  # of tokens, on all samples

    @property
    def entries(self) -> int:
        """How many all instructions make."""
        return sum(t.size for t in self.context.out.types.values())

    @property
    def error(self) -> float:
        """The largest difference of a real output from the float model, over the range of that output."""
        return self.measured.error(self.graph.outputs)

    @property
    def total(self) -> float:
        """Of every sample's largest difference of real outputs, over their ranges."""
        return self.measured.total(self.graph.outputs)

    @property
    def wrong(self) -> int:
        """Entries of integer outputs that differ from the float model's."""
        return self.measured.wrong(self.graph.outputs)

    def within(self, tolerance: float) -> bool:
        return self.error <= tolerance and not self.wrong

    def steady(self, tolerance: float) -> bool:
        """Whether it is within the tolerance between samples, too."""
        return self.within(tolerance) and self.measured.steep <= tolerance

    def sure(self, tolerance: float) -> bool:
        """Whether it is well within the tolerance, and nothing is decided by less than it is off; of tokens, which
        always nearly tie somewhere, hardly any."""
        few = self.measured.near * FEW_TIES <= self.choices
        return self.within(tolerance / 2) and self.steady(tolerance) and few


def better(cheap: Made, dear: Made, tolerance: float) -> Made:
    """The dearer program only where it clearly gains: integers that were wrong, the tolerance, or half of the error, at
    its largest or on the whole; for a tolerance of 0 anything."""
    if dear.wrong != cheap.wrong:
        return min(cheap, dear, key=lambda made: made.wrong)
    if dear.within(tolerance) != cheap.within(tolerance):
        return dear if dear.within(tolerance) else cheap
    if dear.steady(tolerance) != cheap.steady(tolerance):
        return dear if dear.steady(tolerance) else cheap
    if not cheap.within(tolerance) and dear.total <= cheap.total / 2:
        return dear  # of quantised models, whose largest error is a step however many there are
    steep = not cheap.steady(tolerance)  # else only the samples count
    off, before = (max(made.error, made.measured.steep if steep else 0.0) for made in (dear, cheap))
    return dear if off <= before * (0.5 if tolerance else 1) else cheap


class Trial:
    """Lowers an observed model in one precision, and measures."""

    def __init__(
        self,
        observed: graph.Graph,
        held: Sequence[int],
        runs: Runs,
        options: Options,
        read: Mapping[str, Reading],
        greedy: Greedy | None,
        needs: Needs,
    ) -> None:
        self.greedy, self.needs = greedy, needs
        self.observed = observed
        self.read = read
        self.options = options
        self.held = held
        self.runs = runs

    def __call__(self, precision: Precision, folder: Path) -> Made:
        g, tell = rewritten(self.observed, precision), self.options.tell
        self._refuse_missing(g)
        self.needs.lower(g, precision.fine)
        options = self.options
        shown: Sequence[str] = g.outputs if self.greedy is None else self.greedy.shown
        ends = shown if self.greedy is None else self.greedy.outputs
        for said, known in ((options.commit_inputs, g.inputs), (options.commit_outputs, ends)):
            for name in said:
                if name not in known:
                    raise InputError(
                        f"'{name}' cannot be committed", code="I110", help=f"there are {', '.join(known) or 'none'}"
                    )
        count = len(next(iter(g.samples.values()), [0]))
        caches = Caches(self.greedy) if self.greedy is not None and self.greedy.caches else None
        committed = ([PAST], [PRESENT]) if caches is not None else (options.commit_inputs, options.commit_outputs)
        out = Emitter(g.name, count, options.committed_params, *committed, self.needs.store, options.narrow_weights)
        seen = OnScaleSamples(g, shown, count)
        phase = "finer program" if precision.fine or precision.channels else "program"
        phase += f" ({bytes_text(self.needs.predicted)})"
        within = {} if self.greedy is None else self.greedy.interval
        given = (options.public_inputs, lambda done: tell(phase, LOWERING * done), self.read, within)
        c, steps = lower(g, out, precision, *given, seen.step, caches)
        tell(phase, LOWERING)
        units = {name: r.port.unit for name, r in self.read.items()}
        own = [i for i in g.inputs if caches is None or i not in caches.names]
        inputs = [replace(_input_port(c, i), unit=units.get(i, "")) for i in own]
        outputs = {name: _leaving(c, name) for name in shown}
        tail = None
        if self.greedy is not None:
            tail = causal.tail(c, self.greedy) if caches is None else stepwise.tail(c, self.greedy, caches)
        folder.mkdir()
        out.write(folder, WEIGHTS, TABLES)
        measured = seen.left(outputs)
        outputs = {name: t.bare for name, t in outputs.items()}
        c.close()  # weights are read again
        program = assemble_file(folder / PROGRAM)
        ports = inputs if tail is None else [*inputs, *tail.inputs]
        if self.held:
            watch = Watch(program.code, out.ends.values(), out.decisions)
            for j, k in enumerate(self.held):
                tell(phase, LOWERING + (1 - LOWERING) * j / len(self.held))
                floats = self.runs[k] if tail is None else tail.given(self.runs[k])
                on_held_out(measured, program, watch, ports, steps, outputs, floats)
            measured.cut += watch.cut
            measured.near = watch.near.total()
        measured.near += out.near
        if sum(t.size for t in out.types.values()) <= SMALL and out.samples > 1 and self.greedy is None:
            fed = [{name: g.samples[name][k] for name in g.inputs} for k in range(out.samples)]
            estimates = Estimates(measured, program, inputs, outputs, _whole(steps, out))
            measured.steep = estimates.between(fed)
        each = 0 if self.greedy is None else 1 if caches is not None else self.greedy.total - self.greedy.least
        choices = (count + len(self.held)) * each
        return Made(g, c, steps, inputs, outputs, folder, program, measured, tail, choices)

    def _refuse_missing(self, g: graph.Graph) -> None:
        """NaN and infinity have integers where an input is only compared (``compiler.coding``), and nowhere else."""
        for name in sorted(set(g.inputs) - set(coded_inputs(g))):
            seen = (*g.samples[name], *(np.asarray(self.runs.samples[k][name]) for k in self.held))
            if any(x.dtype.kind == "f" and not np.isfinite(x).all() for x in seen):
                raise ModelError(
                    f"calibration data of '{name}' holds NaN or infinity, which the model computes with",
                    code="M109",
                    help="fill in what is missing before the model; trees and comparisons alone take it as it is",
                )


# ---- writing ---------------------------------------------------------------------------------------------------------


def _leaving(c: Context, name: str) -> Tensor | Channels:
    """An output of the program: at one scale, or where columns are unlike with a unit for each."""
    x = c.channels.get(name)
    if x is None or column_spans(c.graph, name) is None or (x.scales <= 0).any() or thin(x.scales).size != x.shape[-1]:
        return c.out.output(name, c.tensor(name))
    return Channels(c.out.output(name, x.q, "of each column"), x.scales)


def _port(x: Tensor | Channels, model_name: str, g: graph.Graph, code: Code | None = None) -> Port:
    labels = tuple(g.labels.get(model_name, ()))
    if isinstance(x, Channels):
        scales = x.scales.reshape(-1, x.shape[-1])[0]
        p = _port(x.q.scaled(float(scales.max())), model_name, g)
        return replace(p, scales=tuple(scales.tolist()))
    return Port(x.name, model_name, g.values[model_name].dtype.name, x.shape, x.scale, code, labels)


def _input_port(c: Context, name: str) -> Port:
    if name not in c.channels or not c.is_float(name):
        return _port(c.tensors[name], name, c.graph, c.coded.get(name))
    return _port(c.channels[name], name, c.graph)


def _written(
    folder: Path,
    own: set[str],
    made: Made,
    options: Options,
    random: bool,
    refused: Problem | None,
    source: str | None,
    vocabulary: Vocabulary | None,
    estimated: Iterable[Mapping[str, Any]],
) -> CompiledModel:
    """The files of a program, moved from where it was made in place of the files of its ``own``. ``refused``: why there
    is no finer program; ``estimated``: samples on which rounding is estimated, and the estimate compared."""
    g, c, steps = made.graph, made.context, made.steps
    rows = _with_costs(made.program, steps, _rows(made))
    sides = [*made.inputs], [_port(x, name, g) for name, x in made.outputs.items()]
    example: dict[str, Any] = {name: g.samples[name][0] for name in g.inputs}
    generation = None
    if made.tail is not None:
        sides[0].extend(made.tail.inputs)
        sides[1].extend(made.tail.outputs)
        example = {**made.tail.given(example)}
        generation = made.tail.generation
        if vocabulary is not None:
            (made.folder / TOKENIZER).write_bytes(vocabulary.data)
            generation = replace(generation, tokenizer=vocabulary.digest)
    inputs, outputs = described(options, *sides)
    miss = missed(made.measured, g, c, steps, options.tolerance, random)
    if miss is not None and refused is not None:
        miss = replace(miss, help=f"{miss.help}; there is no finer program: {refused}")
    ends = tuple(c.out.ends.values())
    np.savez_compressed(made.folder / EXAMPLE, **{p.model_name: np.asarray(example[p.model_name]) for p in inputs})  # type: ignore[arg-type]
    asserted = None if made.tail is None else begins(made.program)  # what verifiers read off the last segment's program
    cuts = cut_into(made.program, options.segments, asserted)
    chained = None if generation is None else generation.steps
    if chained is not None and (proofs := chained.most * (len(cuts) + 1)) > MAX_SEGMENTS:
        raise InputError(
            f"a text of {chained.most} steps in {len(cuts) + 1} segments has {proofs} proofs, {MAX_SEGMENTS} at most",
            code="I110",
            help="a smaller --cache, or fewer --segments",
        )
    _write_segments(made.program, cuts, made.folder, chained is not None)
    files = [*files_of(made.folder), RECORD]
    held = _held(steps)
    estimates = Estimates(made.measured, made.program, made.inputs, made.outputs, _whole(steps, c.out))
    limits, decisions = estimates.judged(estimated, c.out.decisions, options.tolerance)
    heard = bool(limits) or any(d.rest >= 0 for d in decisions)  # else no run is estimated
    told, rests = (c.out.steps, c.out.rests) if heard else ([], {})
    recorded = record(
        *(source, options.title, c.precision, made.error, inputs, outputs, rows, miss, ends, decisions, held),
        *(limits, files, generation, cuts, told, rests),
    )
    (made.folder / RECORD).write_text(json.dumps(recorded, indent=1) + "\n", encoding="utf-8")
    move(made.folder, folder, own)
    fine = c.precision.fine
    return CompiledModel(
        *(made.program, tuple(inputs), tuple(outputs), folder, tuple(rows), made.error, fine, miss, ends),
        *(tuple(decisions), options.title, source, held, limits, generation, cuts, tuple(told), rests),
    )


def _write_segments(program: Program, cuts: tuple[int, ...], folder: Path, stepped: bool) -> None:
    """The programs of the segments; their weights and tables are those of the whole. What is run in steps is one, if it
    is not cut."""
    up = "../.."
    for k, segment in enumerate(cut(program, cuts) if cuts or stepped else ()):
        target = folder / SEGMENTS / str(k) / PROGRAM
        target.parent.mkdir(parents=True)
        text = f"; segment {k} of {len(cuts) + 1}\n\n" + disassemble(segment, f"{up}/{WEIGHTS}", f"{up}/{TABLES}")
        target.write_text(text, encoding="utf-8")


def _held(steps: Sequence[Step]) -> tuple[Held, ...]:
    """Where the tensors of every step are."""
    return tuple(
        Held(
            k,
            tuple(i for i in s.node.inputs if i),
            tuple(
                Result(name, t.q.name, _compact(t.scales)) if isinstance(t, Channels) else Result(name, t.name, t.scale)
                for name, t in s.results
            ),
        )
        for k, s in enumerate(steps)
    )


def _whole(steps: Sequence[Step], out: Emitter) -> Whole:
    return whole(_held(steps), [(s.first, s.last) for s in steps], out.steps, out.rests)


def _compact(scales: F64) -> object:
    """Nested lists that broadcast to ``scales``: one entry along an axis on which they do not change."""
    for axis in range(scales.ndim):
        first = scales.take([0], axis)
        if (scales == first).all():
            scales = first
    return scales.tolist()


def _rows(made: Made) -> list[Row]:
    rows = []
    for s in made.steps:
        peak = scale = error = 0.0
        wrong = 0
        for name, t in s.results:
            v, d = made.graph.values[name], made.measured.tensors[name]
            if v.dtype.kind not in "fiub":
                continue
            peak, scale = max(peak, v.absmax), float(t.scales.max()) if isinstance(t, Channels) else t.scale
            error, wrong = max(error, d.error), wrong + d.wrong
        relative = error / peak if peak else error
        rows.append(Row(s.node.name, s.node.op, peak, scale, error, relative, 0, 0, wrong, s.first, s.last))
    return rows


def _with_costs(program: Program, steps: Sequence[Step], rows: Sequence[Row]) -> list[Row]:
    """Lookups and committed entries per node, from the constraint system."""
    found = costs(build(program))
    return [
        replace(
            r,
            lookups=int(found.lookups[s.first : s.last].sum()),
            committed=int(found.committed[s.first : s.last].sum()),
        )
        for s, r in zip(steps, rows, strict=True)
    ]
