"""A program that states "this model wrote this text", and how it writes one.

Tokens t [T], prompt length p and length n are public. With places i = f .. T-1, where f <= p is 1 or the least prompt
that the program was compiled for (of shorter ones nothing is computed), the program ends with

    (i >= p) (i < n) <= [t_i = argmax_v logits_{i-1, v}]    for every i    (the first of equals)

so that in every run that can be proven tokens p .. n-1 are what the program itself chooses greedily, given those before
them. Those from n on are padding, which a causal model does not read. ``syurmy.completions`` recognises this ending.

Any text is written in as many runs as it has tokens, or less: a run chooses at all places at once, and what it chooses
behind a token that was guessed right is right, too. The guesses are what the last run chose.

A program that reads some tokens and the caches of those before states one step of that: see ``compiler.stepwise``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.isa.errors import InputError, Trap

if TYPE_CHECKING:
    from syurmy.compiler.model import CompiledModel
    from syurmy.compiler.saturation import Saturation
    from syurmy.isa.program import Program
    from syurmy.isa.trace import Trace
    from syurmy.prover.protocol.bundle import Bundle, Steps
    from syurmy.prover.protocol.proof import Proof
    from syurmy.prover.verifier.verify import Statement
    from syurmy.vm.events import Listener

PROMPT, LENGTH, LAST, NEXT = "prompt", "length", "last_logits", "next_token"


@dataclass(frozen=True)
class Stepped:
    """Names in a program that reads so many tokens (``read``) at a time: the ``position`` of the first in and the
    ``place`` behind the last out, the ``rest`` of them behind the first if there are more, the ``next`` token, and by
    committed input of caches, of so many ``places``, the output that becomes it."""

    position: str
    place: str
    next: str
    caches: tuple[tuple[str, str], ...]
    places: int
    rest: str = ""
    read: int = 1

    @staticmethod
    def of(s: Mapping[str, Any]) -> Stepped:
        """From the record. Raises ``ValueError``, ``TypeError`` or ``KeyError``."""
        caches = tuple((str(past), str(present)) for past, present in s["caches"])
        position, place, following = (str(s[k]) for k in ("position", "place", "next"))
        places, read = int(s["places"]), int(s["read"])
        if not 1 <= read <= places or places % read:
            raise ValueError
        return Stepped(position, place, following, caches, places, str(s["rest"]), read)

    @property
    def tokens_text(self) -> str:
        """How many a proof is of, in words."""
        return "each token" if self.read == 1 else f"every {self.read} tokens"

    def fits(self, program: Program) -> bool:
        """Whether the program has such inputs and outputs."""
        inputs = {i.name: i for i in program.inputs}
        outputs = {o.name: o for o in program.outputs}
        return (
            all(name in inputs and inputs[name].public for name in (self.position, self.next))
            and (self.read == 1 or (self.rest in inputs and inputs[self.rest].type.size + 1 == self.read))
            and self.place in outputs
            and all(i in inputs and inputs[i].committed and o in outputs and outputs[o].committed
                    for i, o in self.caches)
        )  # fmt: skip


@dataclass(frozen=True)
class Generation:
    """Where a compiled model's tokens are: names of the program's inputs; ``chosen``: the instruction that chooses;
    ``vocabulary``: tokens are below it; ``total``: positions; ``least``: tokens of the shortest prompt, behind the last
    of which the first row of logits stands; ``show``: what of the logits is an output;
    ``tokenizer``: SHA-256 of the file beside the program, if there is one."""

    tokens: str
    prompt: str
    length: str
    chosen: int
    vocabulary: int
    total: int
    least: int = 1
    show: str = ""
    tokenizer: str | None = None
    step: Stepped | None = None

    @staticmethod
    def read(g: Mapping[str, Any]) -> Generation:
        """From the record. Raises ``ValueError``, ``TypeError`` or ``KeyError``."""
        chosen, vocabulary, total, least = (int(g[k]) for k in ("chosen", "vocabulary", "total", "least"))
        if min(chosen, vocabulary) < 0 or not 1 <= least < total:
            raise ValueError
        tokens, prompt, length, show = (str(g[k]) for k in ("tokens", "prompt", "length", "show"))
        bytes.fromhex(g["tokenizer"] or "")
        step = None if g.get("step") is None else Stepped.of(g["step"])
        return Generation(tokens, prompt, length, chosen, vocabulary, total, least, show, g["tokenizer"], step)

    @property
    def steps(self) -> Steps | None:
        """How a program that reads some tokens is run again and again; None of one that reads all."""
        from syurmy.prover.protocol.bundle import Carried, Steps

        if (s := self.step) is None:
            return None
        carried = [Carried(s.place, s.position, 0), Carried(s.next, self.tokens), Carried(self.prompt, self.prompt)]
        carried += [Carried(self.length, self.length)] * (s.read > 1)
        carried += [Carried(present, past) for past, present in s.caches]
        return Steps(s.places // s.read + 1, tuple(carried))

    def logits(self, program: Program) -> int | None:
        """The instruction that writes what is chosen among; None if there is none before the choice."""
        (register,) = program.code[self.chosen].src
        return next((k for k in reversed(range(self.chosen)) if program.code[k].dst == register), None)

    def fits(self, program: Program) -> bool:
        """Whether the program has such inputs and such an instruction."""
        shapes = {i.name: i.type.shape for i in program.inputs}
        code = program.code
        read = math.prod(shapes.get(self.tokens, (0,)))
        if self.step is None:
            named = read == self.total and shapes.get(self.length) == ()
        else:
            named = read == 1 and self.step.places + self.step.read + 1 == self.total and self.step.fits(program)
            named &= self.step.read == 1 or shapes.get(self.length) == ()
        return (
            named
            and shapes.get(self.prompt) == ()
            and self.chosen < len(code)
            and code[self.chosen].op == "argmax"
            and self.logits(program) is not None
        )


@dataclass(frozen=True)
class Generated:
    """``tokens``: prompt and completion; ``prompt``: how many of them are given; ``trace``: the run to prove;
    ``passes``: runs that it took; ``undecided``: places of tokens that were chosen by less than the program may be off
    from the float model; ``saturated``: values beyond the calibrated range; ``steps``: the inputs of every step, of a
    program that reads some tokens at a time (``trace`` is that of the last); ``proof`` and ``statement``: where it was
    proven."""

    tokens: tuple[int, ...]
    prompt: int
    trace: Trace
    passes: int
    undecided: tuple[int, ...]
    saturated: tuple[Saturation, ...] = ()
    steps: tuple[Mapping[str, I64], ...] = ()
    proof: Proof | Bundle | None = None
    statement: Statement | None = None

    @property
    def completion(self) -> tuple[int, ...]:
        return self.tokens[self.prompt :]


def generated(
    model: CompiledModel,
    prompt: Sequence[int],
    most: int | None = None,
    stop: Sequence[int] = (),
    heard: Callable[[Sequence[int]], None] = lambda tokens: None,
    max_steps: int | None = None,
) -> Generated:
    """Continues ``prompt`` by up to ``most`` tokens (as many as fit), to the first of ``stop`` at the latest; ``heard``
    gets them as they come. Raises ``InputError``: I140 for what does not fit, I141 for tokens that there are not, I144
    for a model that was compiled without ``generate``, I146 where a run at once does not give what was generated."""
    import syurmy

    g = model.generation
    if g is None:
        raise InputError(f"{model.folder} does not generate", code="I144", help="compile it with --generate greedy")
    end = end_of(g, prompt, most, stop)
    if g.step is not None:
        from syurmy.compiler.stepwise import written

        return written(model, g, prompt, end, stop, heard, max_steps)
    shape = model.program.input(g.tokens).type.shape
    tokens = np.zeros(g.total, np.int64)
    tokens[: len(prompt)] = prompt

    def run(start: int, stop: int, *listeners: Listener) -> Trace:
        given = {g.tokens: tokens.reshape(shape), g.prompt: np.array(start), g.length: np.array(stop)}
        return syurmy.run(model.program, given, max_steps=max_steps, listeners=listeners)

    known, passes, ended = len(prompt), 0, False
    while known < end and not ended:
        chosen = run(known, known).writes[g.chosen][-1].reshape(-1)[known - g.least : end - g.least]
        passes += 1
        right = 1
        while known + right < end and tokens[known + right - 1] == chosen[right - 1]:
            right += 1
        new = [int(t) for t in chosen[:right]]
        at = next((k for k, t in enumerate(new) if t in stop), None)
        new, ended = (new, False) if at is None else (new[: at + 1], True)
        in_vocabulary(g, new)
        tokens[known:end] = np.minimum(chosen, g.vocabulary - 1)
        tokens[known : known + len(new)] = new
        known += len(new)
        heard(new)
    tokens[known:] = 0
    watch = model.watch()
    try:
        trace = run(len(prompt), known, watch)
    except Trap as e:
        if e.code != "T110":
            raise
        raise not_chosen() from e
    near = undecided(model, trace)
    text = tuple(int(t) for t in tokens[:known])
    return Generated(
        text, len(prompt), trace, passes, tuple(i for i in near if len(prompt) <= i < known), watch.found(model.rows)
    )


def not_chosen() -> InputError:
    message = "run at once, the program does not choose these tokens: later tokens reach earlier logits"
    return InputError(message, code="I146", help="the model's mask must be exact, see explain M113")


def undecided(model: CompiledModel, trace: Trace) -> list[int]:
    """Places i whose token was chosen (at place i - 1) by no more than the program may be off."""
    g = model.generation
    assert g is not None
    ins, source = model.program.code[g.chosen], g.logits(model.program)
    assert source is not None
    found: set[int] = set()
    for d in model.decisions:
        if d.index == g.chosen:
            close = d.close(ins, [trace.writes[source][-1]])
            found.update((np.flatnonzero(close) + g.least).tolist())
    return sorted(found)


def end_of(g: Generation, prompt: Sequence[int], most: int | None, stop: Sequence[int] = ()) -> int:
    """How many tokens there are at most, prompt and completion. Raises ``InputError`` as ``generated`` does."""
    if len(prompt) < g.least:
        raise InputError(
            f"the prompt has {len(prompt)} tokens: this program continues {g.least} or more",
            code="I140",
            help="compile --prompt-tokens says how many" if g.least > 1 else "give one token or more",
        )
    if most is not None and most < 1:
        raise InputError(f"{most} tokens are wanted, at least 1 can be", code="I140")
    end = g.total if most is None else len(prompt) + most
    if end > g.total or len(prompt) >= g.total:
        more = f" and {most} more are wanted" if most is not None else ""
        raise InputError(
            f"the prompt has {len(prompt)} tokens{more}: this program is for {g.total} in all",
            code="I140",
            help=f"compile the model for more ({_more(g)}), or give less",
        )
    in_vocabulary(g, [*prompt, *stop])
    return end


def _more(g: Generation) -> str:
    return f"--shape {g.tokens}=1,N" if g.step is None else "--cache N"


def in_vocabulary(g: Generation, tokens: Sequence[int]) -> None:
    for t in tokens:
        if not 0 <= t < g.vocabulary:
            raise InputError(f"token {t} is outside the vocabulary, 0 to {g.vocabulary - 1}", code="I141")
