"""A compiled model: the files of a folder, reals in and reals out, and the report on accuracy and cost.

``model.tasm``, ``model.safetensors`` and ``tables/`` are the program; ``model.json`` records what its inputs and
outputs stand for; ``example-input.npz`` is one sample, in reals. Reading and running one needs none of the packages
that compiling does.
"""

from __future__ import annotations

import difflib
import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from syurmy import costs
from syurmy.compiler.generation import Generated, Generation, generated
from syurmy.compiler.recorded import (
    FORMAT,
    PROGRAM,
    RECORD,
    Held,
    Limit,
    Missed,
    Port,
    Row,
    entered,
    rounded_off,
    told_missed,
    typed,
    whole,
)
from syurmy.compiler.rounding import Rounded, Rounding, Whole, largest_off, told_rounded
from syurmy.compiler.saturation import End, Saturation, Watch, told
from syurmy.compiler.stepping import Stepped
from syurmy.compiler.undecided import Decision, Undecided, told_undecided
from syurmy.compiler.values import accepted
from syurmy.isa.arrays import F64, I64, Array, Integers
from syurmy.isa.errors import InputError
from syurmy.isa.path import DEFAULT_MAX_STEPS
from syurmy.isa.program import Program
from syurmy.isa.summary import Summary, listed
from syurmy.prover.protocol.description import (
    Description,
    checked_text,
)

if TYPE_CHECKING:
    from syurmy.isa.source import Source
    from syurmy.isa.trace import Trace
    from syurmy.prover.check import Violation
    from syurmy.prover.keys import ProvingKey
    from syurmy.prover.protocol.bundle import Bundle, BundleCertificate, BundleKey, Steps
    from syurmy.prover.protocol.certificate import Certificate
    from syurmy.prover.protocol.key import VerifyingKey
    from syurmy.prover.protocol.proof import Proof
    from syurmy.prover.prove import Progress
    from syurmy.prover.verifier.verify import Statement
    from syurmy.segmented import Segmented
    from syurmy.vm.events import Listener


class Entered(NamedTuple):
    """Inputs in the program's integers by its names, those that were cut off, and by how many units entering rounded
    the others."""

    integers: dict[str, I64]
    saturated: tuple[Saturation, ...]
    rounded: dict[str, F64]


@dataclass(frozen=True, eq=False, repr=False)
class ModelRun(Summary):
    """One run: real outputs by the model's names, the trace to prove (None where it was proven in segments), where
    values were cut off, what was decided by too little, and which outputs rounding takes further off than the
    tolerance; ``missed``: how far the model was off on the samples, if by more; ``unestimated``: outputs of which
    nothing says how far off they are; ``proof`` and its ``statement``, if it was proven."""

    outputs: dict[str, Array]
    trace: Trace | None
    saturated: tuple[Saturation, ...]
    undecided: tuple[Undecided, ...] = ()
    rounded: tuple[Rounded, ...] = ()
    missed: Missed | None = None
    unestimated: tuple[str, ...] = ()
    proof: Proof | Bundle | None = None
    statement: Statement | None = None

    def summary(self) -> list[tuple[str, str]]:
        rows = [*(() if self.trace is None else self.trace.summary()[:-1]), ("outputs", listed(self.outputs))]
        return rows + ([("proof", f"{len(self.proof.data):,} bytes")] if self.proof is not None else [])

    @property
    def warnings(self) -> tuple[str, ...]:
        cut = (told(self.saturated),) if self.saturated else ()
        near = (told_undecided(self.undecided),) if self.undecided else ()
        off = (told_rounded(self.rounded),) if self.rounded else ()
        return (*cut, *near, *off, *(() if self.missed is None else (told_missed(self.missed),)))


@dataclass(frozen=True)
class Accuracy(Summary):
    """How a compiled model does on ``samples`` inputs, by output. ``error``: the largest difference from the real
    values expected, over their range; ``agreement``: the share of samples with the same decision (integers all equal;
    of reals the largest of every row of the last axis); ``saturated``: samples with a value beyond the calibrated
    range."""

    samples: int
    error: dict[str, float]
    agreement: dict[str, float]
    saturated: int

    def summary(self) -> list[tuple[str, str]]:
        rows = [("samples", str(self.samples))]
        rows += [(f"{name} same decision", f"{share:.2%}") for name, share in self.agreement.items()]
        rows += [(f"{name} largest error", f"{e:.2g} of its range") for name, e in self.error.items()]
        return rows + ([("saturated", str(self.saturated))] if self.saturated else [])

    __repr__ = Summary.__repr__


@dataclass(frozen=True, eq=False, repr=False)
class CompiledModel(Summary):
    """A program with the meaning of its inputs and outputs. ``error``: the largest difference of a real output from the
    float model on all samples, over that output's range; ``missed``: what is wrong where that, or an integer output,
    is not as asked; ``fine``: see ``compiler.scales``; ``ends``: where values beyond the samples are cut off;
    ``decisions``: where reals are told apart; ``title``: what the model is called; ``source``: SHA-256 of its file;
    ``held``: where the model's tensors are; ``limits``: how far rounding may take real outputs before that is told;
    ``generation``: where its tokens are, if it generates; ``cuts``: the instructions before which it is cut into
    segments, which are proven one by one; ``steps``: where reals become integers of the model;
    ``rests``: what rounding took from small params and tables; ``memory``: bytes that compiling it was predicted to
    take, where this process did."""

    program: Program
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    folder: Path
    rows: tuple[Row, ...] = field(default=(), repr=False)
    error: float = 0.0
    fine: bool = False
    missed: Missed | None = None
    ends: tuple[End, ...] = field(default=(), repr=False)
    decisions: tuple[Decision, ...] = field(default=(), repr=False)
    title: str = ""
    source: str | None = None
    held: tuple[Held, ...] = field(default=(), repr=False)
    limits: Mapping[str, Limit] = field(default_factory=dict, repr=False)
    generation: Generation | None = None
    cuts: tuple[int, ...] = field(default=(), repr=False)
    steps: tuple[Stepped, ...] = field(default=(), repr=False)
    rests: Mapping[str, Sequence[float]] = field(default_factory=dict, repr=False)
    memory: int | None = field(default=None, repr=False, compare=False)

    @property
    def description(self) -> Description:
        """What the keys of this model say of it."""
        sides = [tuple(p.quantity for p in ports) for ports in (self.inputs, self.outputs)]
        return Description(self.title, bytes.fromhex(self.source or ""), *sides)

    @staticmethod
    def read(folder: str | Path, program: Program | None = None) -> CompiledModel:
        """What ``compile_onnx`` wrote into a folder; ``program`` if it is assembled already. Raises ``InputError`` if
        there is no readable record, or if it is not the program's."""
        folder = Path(folder)
        try:
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            if record["format"] != FORMAT:
                raise ValueError
            ports = [tuple(map(Port.read, record[k])) for k in ("inputs", "outputs")]
            rows = tuple(typed(Row(**r)) for r in record["nodes"])
            error, fine = float(record["error"]), bool(record["precision"]["fine"])
            missed = None if record["missed"] is None else typed(Missed(**record["missed"]))
            ends = tuple(typed(End(*e)) for e in record["ends"])
            decisions = tuple(map(Decision.read, record["decisions"]))
            held = tuple(map(Held.read, record["held"]))
            if not all(0 <= h.row < len(rows) for h in held):
                raise ValueError
            limits = {str(name): Limit.read(x) for name, x in record["limits"].items()}
            cuts = tuple(map(int, record.get("cuts", ())))
            steps = tuple(map(Stepped.read, record["steps"]))
            rests = {str(name): tuple(map(float, r)) for name, r in record["rests"].items()}
            if not all(map(math.isfinite, chain.from_iterable(rests.values()))):
                raise ValueError
            title, source = checked_text(record.get("title", "")), record["source"]
            bytes.fromhex(source or "")
            said_of = record.get("generation")
            generation = None if said_of is None else Generation.read(said_of)
            if not all(map(Port.usable, (*ports[0], *ports[1]))):
                raise ValueError
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as e:
            message = f"{folder / RECORD} is not the record of a compiled model of this version"
            raise InputError(message, code="F110", help="compile the model again") from e
        if program is None:
            from syurmy.assembler import assemble_file

            program = assemble_file(folder / PROGRAM)
        found = [[(x.name, x.type.shape) for x in program.inputs], [x.name for x in program.outputs]]
        if found != [[(p.name, p.shape) for p in ports[0]], [p.name for p in ports[1]]]:
            raise InputError(f"{folder / RECORD} is the record of another program", code="F110")
        places = (*(e.index for e in ends), *(d.index for d in decisions), *(s.index for s in steps), *cuts)
        read = {name for ins in program.code for name in ins.src}
        lengths = {t.name: len(t.array) for t in program.luts} | {p.name: p.type.size for p in program.params}
        known = all(s.source in read for s in steps) and all(lengths.get(n) == len(r) for n, r in rests.items() if r)
        if not known or not all(0 <= k < len(program.code) for k in places):
            raise InputError(f"{folder / RECORD} tells of instructions that are not the program's", code="F110")
        if generation is not None and not generation.fits(program):
            raise InputError(f"{folder / RECORD} is the record of another program", code="F110")
        said = (rows, error, fine, missed, ends, decisions, title, source, held, limits, generation, cuts)
        return CompiledModel(program, ports[0], ports[1], folder, *said, steps, rests)

    def run(
        self,
        inputs: Mapping[str, npt.ArrayLike] | npt.ArrayLike,
        *,
        max_steps: int = DEFAULT_MAX_STEPS,
        listeners: Sequence[Listener] = (),
    ) -> ModelRun:
        """Real outputs for real inputs (by name, or the only one), with the trace to prove. Values beyond the
        calibrated range, and what was decided by less than the program may be off, are warned of, and in the result's
        ``saturated`` and ``undecided``; so are outputs that rounding takes too far off (``rounded``), and every run of
        a model that is further off than its tolerance on the samples (``missed``). Raises as ``quantise`` and
        ``syurmy.run``."""
        from syurmy.vm.machine import run

        entered = self.entered(self.given(inputs))
        rounding = self.rounding(entered)
        watch = self.watch(rounding)
        listening = (watch, *(() if rounding is None else (rounding,)), *listeners)
        trace = run(self.program, entered.integers, max_steps=max_steps, listeners=listening)
        found, undecided = watch.found(self.rows), watch.undecided()
        cut, rounded = entered.saturated + found, self.rounded(rounding)
        noticed = (cut, undecided, rounded, self.missed, self.unestimated(rounding))
        done = ModelRun(self.dequantise(trace.outputs), trace, *noticed)
        for text in done.warnings:
            warnings.warn(text, stacklevel=2)
        return done

    @cached_property
    def keys(self) -> tuple[ProvingKey, VerifyingKey]:
        """The model's keys, made when they are first asked for: those of ``syurmy.setup(model)``. Of one that is cut
        into segments see ``bundle_key``."""
        import syurmy

        return syurmy.setup(self)

    @cached_property
    def segmented(self) -> Segmented:
        """The model as the segments that it is cut into. Raises ``InputError`` I161 where it is not."""
        from syurmy.segmented import Segmented

        if not self.cuts and self.chained is None:
            raise InputError("the model is not cut into segments", code="I161", help="compile it with segments=N")
        return Segmented(self.folder / PROGRAM, self.program, self.cuts, self.description, self.chained)

    @property
    def chained(self) -> Steps | None:
        """How it is run in steps, of a model that reads one token at a time."""
        return None if self.generation is None else self.generation.steps

    def bundle_key(
        self, *, zk: bool | None = None, proofs: int | None = None, progress: Progress | None = None
    ) -> BundleKey:
        """The key that verifies bundles of a model that is cut into segments. It and the segments' keys are in the
        model's folder, made where they are not there or of something else. ``zk``, ``proofs``: see ``syurmy.setup``.
        Raises ``InputError``."""
        from syurmy.segmented import obtain

        told = progress or (lambda phase, fraction: None)
        no_zk = zk is not None and not zk
        return obtain(self.segmented, agreed=lambda change: True, no_zk=no_zk, proofs=proofs, tell=told).key

    def certify(
        self, *, parts: str | Path | None = None, progress: Progress | None = None
    ) -> Certificate | BundleCertificate:
        """``syurmy.certify`` of the model's key: of ``keys``, or of ``bundle_key()`` where the model is cut into
        segments or reads some tokens at a time. ``parts``: see ``prove``."""
        import syurmy

        if not self.cuts and self.chained is None:
            return syurmy.certify(self.keys[0], progress)
        from syurmy.compiler.bundles import certified

        return certified(self, progress, None if parts is None else Path(parts))

    def prove(
        self,
        inputs: Mapping[str, npt.ArrayLike] | npt.ArrayLike,
        key: ProvingKey | None = None,
        *,
        max_steps: int = DEFAULT_MAX_STEPS,
        progress: Progress | None = None,
        parts: str | Path | None = None,
        certificate: Certificate | BundleCertificate | Source | None = None,
    ) -> ModelRun:
        """``run``, with a proof, and what verifying it gave. ``key``: the model's own unless given. Where the model is
        cut into segments the proof is a bundle, under ``bundle_key()``; finished segments are kept in the folder
        ``parts`` until it is made, and taken from there by the next call for the same inputs. ``certificate``: of the
        key; the proof rests on it."""
        from syurmy.prover.protocol.certificate import Certificate
        from syurmy.prover.prove import prove
        from syurmy.prover.verifier.verify import verify

        if self.cuts:
            if key is not None:
                raise InputError(
                    "the model is cut into segments, which are proven with the keys in its folder", code="I161"
                )
            from syurmy.compiler.bundles import proven

            return proven(self, inputs, progress, None if parts is None else Path(parts), certificate)
        own = self.keys[0] if key is None else key
        done = self.run(inputs, max_steps=max_steps)
        assert done.trace is not None
        one: Any = certificate  # one of bundles is refused by what reads it
        resting = None if one is None else Certificate.load(one)
        proof = prove(own, done.trace, progress, certificate=resting)
        said = verify(own.verifying_key, proof, certificate=resting, max_steps=max_steps)
        return replace(done, proof=proof, statement=said)

    def generate(
        self,
        prompt: Sequence[int],
        most: int | None = None,
        *,
        stop: Sequence[int] = (),
        heard: Callable[[Sequence[int]], None] = lambda tokens: None,
        max_steps: int | None = None,
    ) -> Generated:
        """What a language model writes behind the tokens ``prompt``: see ``compiler.generation.generated``."""
        return generated(self, prompt, most, stop, heard, max_steps)

    def prove_text(
        self,
        text: Generated,
        *,
        parts: str | Path | None = None,
        progress: Progress | None = None,
        certificate: Certificate | BundleCertificate | Source | None = None,
    ) -> Generated:
        """What ``generate`` gave, with a proof and what verifying it gave: under ``keys``, or, of a model that is cut
        into segments or reads some tokens at a time, a bundle under ``bundle_key()``. ``parts``, ``certificate``: see
        ``prove``. Raises ``InputError``: P180 where the key is for fewer proofs."""
        from syurmy.compiler.bundles import proven_text

        return proven_text(self, text, progress, None if parts is None else Path(parts), certificate)

    def check(self, inputs: Mapping[str, npt.ArrayLike] | npt.ArrayLike) -> list[Violation]:
        """Every constraint, evaluated on a run without a proof: the first violated ones, none if all hold."""
        from syurmy.prover.check import check

        trace = self.run(inputs).trace
        assert trace is not None
        return check(self.program, trace)

    def accuracy(
        self,
        data: Mapping[str, npt.ArrayLike] | str | Path,
        expected: Mapping[str, npt.ArrayLike] | npt.ArrayLike | None = None,
    ) -> Accuracy:
        """Runs every sample and compares. ``data``: inputs by name, stacked along a leading axis, or the .npz with
        them. ``expected``: outputs by name, stacked (those of the float model), or an array for the only one;
        whole numbers for a real output are the places of its largest entries, as labels of data sets are. Without it,
        ``data`` holds the outputs as well. Raises ``InputError``."""
        from syurmy.compiler.accuracy import measured

        return measured(self, data, expected)

    def summary(self) -> list[tuple[str, str]]:
        def ports(of: Sequence[Port]) -> str:
            return listed(f"{p.model_name}: {p.dtype}{list(p.shape)}" for p in of)

        rows = [("title", repr(self.title))] if self.title else []
        rows += [("program", self.program.name), ("inputs", ports(self.inputs)), ("outputs", ports(self.outputs))]
        return [*rows, ("instructions", str(len(self.program.code))), ("error", f"{self.error:.2g} of the range")]

    def given(self, inputs: Mapping[str, npt.ArrayLike] | npt.ArrayLike) -> Mapping[str, npt.ArrayLike]:
        """Inputs by name; of the only one the name may be left out."""
        if isinstance(inputs, Mapping):
            return inputs
        if len(self.inputs) != 1:
            raise InputError(f"the model has inputs {', '.join(p.model_name for p in self.inputs)}", code="I108")
        return {self.inputs[0].model_name: inputs}

    @property
    def names(self) -> dict[str, str]:
        """The model's names of inputs, by what they may be called: those, and the program's where they are not another
        input's."""
        return {p.name: p.model_name for p in self.inputs} | {p.model_name: p.model_name for p in self.inputs}

    def watch(self, rounding: Rounding | None = None) -> Watch:
        """A listener that counts values beyond the calibrated range, and decisions by too little: by less than
        ``rounding``, which listens after it, or else the samples show."""
        return Watch(self.program.code, self.ends, self.decisions, rounding)

    def rounding(self, entered: Entered, batch: int | None = None) -> Rounding | None:
        """A listener that estimates what rounding does to the outputs; None where that is not known to be right.
        ``batch``: of how many inputs."""
        if not self.limits and all(d.rest < 0 for d in self.decisions):
            return None
        read = [p.name for p in self.outputs if p.model_name in self.limits]
        return Rounding(self.program, entered.rounded, self._whole, read, batch)

    @cached_property
    def _whole(self) -> Whole:
        return whole(self.held, [(r.first, r.last) for r in self.rows], self.steps, self.rests)

    def rounded(self, rounding: Rounding | None) -> tuple[Rounded, ...]:
        """The outputs that rounding takes too far off."""
        found = []
        for name, off in self._off(rounding).items():
            limit, share = self.limits[name], max((x for x in off if not math.isnan(x)), default=0.0)
            found += [Rounded(name, share / limit.span)] if share > limit.least else []
        return tuple(found)

    def unestimated(self, rounding: Rounding | None) -> tuple[str, ...]:
        """The real outputs of which nothing says how far off a run is: the program is too long for an estimate, or that
        is not known to be right."""
        off = self._off(rounding)
        real = (p.model_name for p in self.outputs if np.dtype(p.dtype).kind == "f")
        return tuple(name for name in real if any(map(math.isnan, off.get(name, [math.nan]))))

    def _off(self, rounding: Rounding | None) -> dict[str, list[float]]:
        """How far off outputs are by estimates, in reals, one for every run; NaN where that was too long."""
        if rounding is None:
            return {}
        found = {}
        for p in self.outputs:
            if p.model_name in self.limits:
                unit = np.array(p.scales or p.scale) / np.array(self.limits[p.model_name].spans or 1.0)
                found[p.model_name] = [largest_off(run[p.name], unit) for run in rounding.found]
        return found

    def quantise(self, inputs: Mapping[str, npt.ArrayLike]) -> dict[str, I64]:
        """Integers for the program from the model's inputs, by either name. What is beyond the input's range is cut
        off, with a warning."""
        out, cut, _ = self.entered(inputs)
        if cut:
            warnings.warn(told(cut), stacklevel=2)
        return out

    def entered(self, inputs: Mapping[str, npt.ArrayLike]) -> Entered:
        """``quantise``, and what it cut off and rounded."""
        out, cut, off = {}, [], {}
        given: dict[str, npt.ArrayLike] = {}
        for name, value in inputs.items():
            if name not in self.names:
                near = difflib.get_close_matches(name, list(self.names), 1)
                help = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(self.names)}"
                raise InputError(f"the model has no input '{name}'", code="I101", help=help)
            if self.names[name] in given:
                raise InputError(f"input '{self.names[name]}' is given twice", code="I107")
            given[self.names[name]] = value
        for p in self.inputs:
            if p.model_name not in given:
                raise InputError(f"no value for input '{p.model_name}'", code="I102")
            out[p.name], saturated, rounded = self.entered_input(p, given[p.model_name])
            if saturated is not None:
                cut.append(saturated)
            if rounded is not None:
                off[p.name] = rounded
        return Entered(out, tuple(cut), off)

    def entered_input(self, p: Port, value: npt.ArrayLike) -> tuple[I64, Saturation | None, F64 | None]:
        """Of one input the integers, what was cut off, and by how many units entering rounded the others, where it is
        real. Raises ``InputError``."""
        x = accepted(p.model_name, value, np.dtype(p.dtype))
        if x.shape[max(x.ndim - len(p.shape), 0) :] != p.shape or x.ndim > len(p.shape) + 1:
            message = f"input '{p.model_name}' has shape {list(x.shape)}, expected {list(p.shape)}"
            raise InputError(message, code="I105")
        if p.code is None and x.dtype.kind == "f" and not np.isfinite(x).all():
            raise InputError(f"input '{p.model_name}' holds NaN or infinity", code="I104")
        x = x.astype(np.float64) if p.code is None and x.dtype.kind == "f" else x
        q, beyond = entered(x, self.program.input(p.name).type, p)
        cut = Saturation(p.model_name, "input", beyond, beyond / x.size) if beyond else None
        return q, cut, rounded_off(x, q, p) if x.dtype.kind == "f" and p.code is None else None

    def dequantise(self, outputs: Mapping[str, Integers]) -> dict[str, Array]:
        """The model's outputs, by its names and in its dtypes, from the program's."""
        return {p.model_name: _real(outputs[p.name], p) for p in self.outputs}

    def report(self) -> str:
        """A table, one line per node, then the fixed part of a proof (tables, params) and the whole; and what costs
        most accuracy and most time."""
        names = ("peak", "scale", "error", "relative", "leaves", "entries", "est. ms")
        lines = [f"{'node':32} {'operator':20}" + "".join(f" {name:>10}" for name in names)]
        for r in self.rows:
            lines.append(
                f"{r.node[:32]:32} {r.op[:20]:20} {r.peak:10.4g} {r.scale:10.3g} {r.error:10.3g} {r.relative:10.2g} "
                f"{r.lookups:10} {r.committed:10} {1000 * r.seconds:10.3g}"
            )
        if self.rows:
            worst = max(self.rows, key=lambda r: r.relative)
            dearest = max(self.rows, key=lambda r: r.seconds)
            nodes: list[float] = [
                sum(v) for v in zip(*((r.lookups, r.committed, r.seconds) for r in self.rows), strict=True)
            ]
            whole = [0.0, 0.0, 0.0]
            if (cost := costs.of_program(self.program)) is not None:
                whole = [cost[0].leaves, cost[0].committed_entries, cost[0].seconds]
            parts = {"all nodes": nodes}
            if cost is not None:
                parts |= {"fixed part": [w - n for w, n in zip(whole, nodes, strict=True)], "a proof": whole}
            lines += [f"{name:97}{v[0]:11}{v[1]:11} {1000 * v[2]:10.3g}" for name, v in parts.items()]
            lines += [
                f"least accurate: {worst.op} '{worst.node}', {worst.relative:.2g} of its range",
                f"most costly: {dearest.op} '{dearest.node}', {dearest.lookups:,} lookup leaves, "
                f"{dearest.committed:,} committed entries",
            ]
        return "\n".join(lines)


def _real(q: Integers, p: Port) -> Array:
    return p.quantity.values(np.asarray(q, np.int64))
