"""What a compilation may be told, and what it may not: one place for names, defaults and limits."""

from __future__ import annotations

import difflib
import inspect
import math
import numbers
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy.typing as npt

from syurmy.isa.errors import InputError
from syurmy.isa.wellformed import MAX_SEGMENTS
from syurmy.prover.protocol.description import checked_text

if TYPE_CHECKING:
    from syurmy.compiler.model import CompiledModel

TOLERANCE = 1e-3
BITS = (8, 16)
MAX_PLACES = 1 << 17  # of a cache
Progress = Callable[[str, float], None]
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a model is compiled. Raises ``InputError`` I110 for a value that cannot be used.

    ``shapes``: input dimensions by name; a free first dimension is 1. ``calibrate``: arrays by input name, one sample
    of the input's shape or several stacked along a leading axis, or the file that holds them; without it random samples
    are used, with a warning. ``weights``, ``activations``: bits, 8 or 16. ``narrow_weights``: integers of 8 bits and
    fewer that the model gives are so in key and memory where that costs a proof much, too (``compiler.mantissas``).
    ``public_inputs``: proofs show them.
    ``commit_inputs``, ``commit_outputs``: names of those that a proof names commitments to instead. ``reads``: inputs
    that are a tensor of another compiled model, by name: the model, its folder (its only output), or ``DIR:NAME`` (an
    output or input of it). They enter as its integers, by its scale, so that one commitment serves both.
    ``segments``: how many programs the model is cut into, which are proven one by one; "auto": as many as keep each
    within about 2 GiB. ``committed_params``: the verifying key holds a commitment to weights, not the weights.
    ``margin``: largest integer over the samples' peak (1.25, 1.4 if the program is made finer, 2 for random samples).
    ``tolerance``: what a real output may be off, over its range. If it is off by more than half of that on the samples,
    the program is made finer, which costs up to a third more to prove (16 bits only), where that clearly gains; 0: the
    most accurate one is taken.
    ``generate``: "greedy" for a causal language model whose proofs state what it writes (``compiler.generation``), with
    ``show``, what they show of its logits: nothing, "last", "topk=K" or "all"; ``prompt_tokens``: of
    the shortest prompt (logits before its last cost nothing then); ``tokenizer``: a file to keep with it; ``cache``:
    places of the cache of a model that reads ``chunk`` tokens at a time (0: all tokens at once, unless its cache is
    fixed).
    What the key says besides: ``title``; ``labels``: of an output's integers or columns, by output name, or a sequence
    or file for every output that they fit; ``units`` by input or output name. ``memory``: bytes that compiling may
    take, else what the machine has: tensors on samples are in a file where they would be more, and what cannot be is
    refused (``compiler.needs``). ``progress`` is called with what is being done, with the memory that this is predicted
    to take, and how much of it is, from 0 to 1.
    """

    shapes: Mapping[str, Sequence[int]] | None = None
    calibrate: Mapping[str, npt.ArrayLike] | str | Path | None = None
    weights: int = 16
    activations: int = 16
    public_inputs: bool = False
    commit_inputs: Sequence[str] = ()
    commit_outputs: Sequence[str] = ()
    reads: Mapping[str, str | Path | CompiledModel] | None = None
    committed_params: bool = True
    margin: float | None = None
    tolerance: float = TOLERANCE
    progress: Progress | None = field(default=None, compare=False, repr=False)
    generate: str = ""
    show: str = ""
    prompt_tokens: int = 1
    tokenizer: str | Path | None = None
    cache: int = 0
    chunk: int = 1
    title: str = ""
    labels: Mapping[str, Sequence[str] | str | Path] | Sequence[str] | str | Path | None = None
    units: Mapping[str, str] | None = None
    segments: int | str = 1
    memory: int | None = None
    narrow_weights: bool = False

    def __post_init__(self) -> None:
        for name in ("weights", "activations"):
            if not (_is_whole(getattr(self, name)) and int(getattr(self, name)) in BITS):
                raise _bad(name, getattr(self, name), "8 or 16 bits")
        for name in ("public_inputs", "committed_params", "narrow_weights"):
            if not isinstance(getattr(self, name), bool):
                raise _bad(name, getattr(self, name), "True or False")
        for name in ("commit_inputs", "commit_outputs"):
            value = getattr(self, name)
            if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(x, str) for x in value):
                raise _bad(name, value, "names of the model's inputs or outputs")
        if not isinstance(self.reads, Mapping | None):
            raise _bad("reads", self.reads, "compiled models or their folders by input name")
        if self.segments != "auto" and not (_is_whole(self.segments) and 1 <= int(self.segments) <= MAX_SEGMENTS):
            raise _bad("segments", self.segments, f"auto, or a number from 1 to {MAX_SEGMENTS}")
        if self.memory is not None and not (_is_whole(self.memory) and self.memory > 0):
            raise _bad("memory", self.memory, "a number of bytes")
        if self.margin is not None and not (_is_real(self.margin) and self.margin >= 1):
            raise _bad("margin", self.margin, "a finite number, 1 or more")
        if not (_is_real(self.tolerance) and self.tolerance >= 0):
            raise _bad("tolerance", self.tolerance, "a finite number, 0 or more")
        if self.progress is not None and not callable(self.progress):
            raise _bad("progress", self.progress, "a function of a phase and a fraction")
        if not isinstance(self.calibrate, Mapping | str | Path | None):
            raise _bad("calibrate", type(self.calibrate).__name__, "arrays by input name, or a file")
        shapes = {} if self.shapes is None else self.shapes
        if not isinstance(shapes, Mapping) or not all(map(_is_shape, shapes.values())):
            raise _bad("shapes", self.shapes, "whole numbers, 1 or more, by input name")
        self._check_generation()
        checked_text(self.title)
        if not isinstance(self.labels, Mapping | Sequence | Path | None):
            raise _bad("labels", self.labels, "labels, a file of them, or either by output name")
        units = {} if self.units is None else self.units
        if not isinstance(units, Mapping):
            raise _bad("units", self.units, "texts by input or output name")
        for unit in units.values():
            checked_text(unit)

    def _check_generation(self) -> None:
        if self.generate not in ("", "greedy"):
            raise _bad("generate", self.generate, "greedy")
        if not isinstance(self.show, str) or not re.fullmatch(r"|last|all|topk=[1-9]\d{0,8}", self.show):
            raise _bad("show", self.show, "last, topk=K or all")
        if not (_is_whole(self.prompt_tokens) and self.prompt_tokens >= 1):
            raise _bad("prompt_tokens", self.prompt_tokens, "1 or more")
        if not (_is_whole(self.chunk) and 1 <= self.chunk <= MAX_PLACES):
            raise _bad("chunk", self.chunk, f"1 to {MAX_PLACES} tokens")
        most = min((MAX_SEGMENTS - 1) * self.chunk, MAX_PLACES)
        if not (_is_whole(self.cache) and (self.cache == 0 or 2 <= self.cache <= most)):
            raise _bad("cache", self.cache, f"2 to {most} places" + " (more with --chunk)" * (self.chunk == 1))
        if self.cache % self.chunk:
            raise _bad("cache", self.cache, f"a multiple of the {self.chunk} tokens that a step reads")
        used = (self.show, self.tokenizer, self.prompt_tokens, self.cache, self.chunk)
        if not self.generate and used != ("", None, 1, 0, 1):
            message = "show, tokenizer, prompt_tokens, cache and chunk are of models that generate"
            raise InputError(message, code="I110", help="--generate greedy")
        if self.generate and self.commit_inputs:
            raise InputError("the tokens of a model that generates are public, not committed", code="I110")

    def tell(self, phase: str, fraction: float) -> None:
        if self.progress is not None:
            self.progress(phase, fraction)

    @staticmethod
    def of(options: Options | None, changes: Mapping[str, Any]) -> Options:
        """``options`` (the defaults) with ``changes`` by name. Raises ``InputError`` I112 for a name there is not."""
        known = [f.name for f in fields(Options)]
        for name in changes:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                help = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known)}"
                raise InputError(f"compiling has no option '{name}'", code="I112", help=help)
        return replace(options or Options(), **changes)


def with_options(function: F) -> F:
    """Shows the fields of ``Options`` in the signature of a function that takes them by name as well."""
    own = inspect.signature(function)
    kept = [p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    named = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in inspect.signature(Options).parameters.values()]
    function.__dict__["__signature__"] = own.replace(parameters=[*kept, *named])
    return function


def _is_real(x: Any) -> bool:
    return isinstance(x, numbers.Real) and not isinstance(x, bool) and math.isfinite(x)


def _is_whole(x: Any) -> bool:
    return isinstance(x, numbers.Integral) and not isinstance(x, bool)


def _is_shape(shape: Any) -> bool:
    if isinstance(shape, str) or not isinstance(shape, Sequence):
        return False
    return all(_is_whole(d) and int(d) >= 1 for d in shape)


def _bad(name: str, value: object, expected: str) -> InputError:
    return InputError(f"{name} is {value!r:.60}, expected {expected}", code="I110")
