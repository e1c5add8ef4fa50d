"""A program that states one step of "this model wrote this text": it reads token t at position p, and the caches.

    (p + 1 >= n) <= [u = argmax_v logits_v]    (the first of equals)

t, u, p and the prompt's length n are public; so is p + 1, an output. Steps are chained (protocol section 12.1): the
next step's t is this one's u, its p is p + 1, its n is n, its caches are those that this one committed to. The first
has p = 0. Together they say what ``compiler.generation`` says of a program that reads all tokens at once.

One that reads C tokens, t and r_1 .. r_{C-1}, with u behind them, says so of each place of a text of length l:

    (i >= n) (i < l) <= [x_i = argmax_v logits_{i-1, v}]    for i = p + 1 .. p + C,    x = r, u

with l handed on like n, and p + C as the next p. A text is proven when it is written, so its completion is read in
chunks like its prompt; what the last chunk has behind the end is padding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from syurmy.compiler.causal import Cache, Greedy, Tail
from syurmy.compiler.emit import Tensor, narrowest
from syurmy.compiler.errors import ModelError
from syurmy.compiler.generation import (
    LENGTH,
    NEXT,
    PROMPT,
    Generated,
    Generation,
    Stepped,
    in_vocabulary,
    not_chosen,
    undecided,
)
from syurmy.compiler.graph import Node, Value
from syurmy.compiler.lower import Context, input_type
from syurmy.compiler.recorded import Port, quantise_input
from syurmy.isa.arrays import I64, Array
from syurmy.isa.types import TensorType

if TYPE_CHECKING:
    from syurmy.compiler.model import CompiledModel
    from syurmy.isa.program import Program
    from syurmy.isa.trace import Trace
    from syurmy.vm.events import Listener

PAST, PRESENT, PLACE = "past", "present", "place"
MOST_GROUPS = 8  # a program has 16 committed inputs and outputs


class Caches:
    """The caches of a model as committed inputs: one for all of a shape, stacked along a new first axis. ``read``: the
    first token and the rest of them, if there are more than one, which are inputs apart then."""

    def __init__(self, greedy: Greedy) -> None:
        self.greedy = greedy
        self.read: tuple[Tensor, ...] = ()
        self.names = frozenset([*(c.past for c in greedy.caches), *[greedy.tokens] * (greedy.chunk > 1)])
        self.units: dict[str, tuple[TensorType, float]] = {}
        self.stacked: list[tuple[Tensor, list[Cache]]] = []

    def enter(self, c: Context) -> None:
        """Declares the inputs, and gives the graph what is visible of them."""
        if self.greedy.chunk > 1:
            self._tokens(c)
        groups: dict[tuple[tuple[int, ...], int], list[Cache]] = {}
        for cache in self.greedy.caches:
            groups.setdefault((c.shape(cache.past), cache.axis), []).append(cache)
        if len(groups) > MOST_GROUPS:
            raise ModelError(
                f"the caches have {len(groups)} shapes, at most {MOST_GROUPS} can be committed to",
                code="M112",
                help="leave --cache out: all tokens are read at once then",
            )
        position = c.reshape(c.tensors[self.greedy.position], ())
        first = c.emit("addi", c.emit("muli", position, value=-1, scale=1.0), value=self.greedy.places, scale=1.0)
        places = c.out.param(np.arange(self.greedy.places), label="places")
        c.out.open.add(places.name)
        visible = c.emit("ge", places, first, scale=1.0)
        for (shape, axis), caches in groups.items():
            self.units |= {x.past: self._unit(c, x) for x in caches}
            t = self.units[caches[0].past][0]
            joined = TensorType(t.dtype, (len(caches), *shape), t.lo, t.hi)
            values = [self._stack(caches, {x.past: c.graph.samples[x.past][k] for x in caches})
                      for k in range(c.out.samples)]  # fmt: skip
            past = c.out.input(PAST, joined, 1.0, values)
            self.stacked.append((past, caches))
            seen = c.reshape(visible, (self.greedy.places, *[1] * (len(shape) - axis - 1)))
            shown = c.emit("mul", past, seen, scale=1.0)
            for k, x in enumerate(caches):
                one = c.reshape(c.emit("slice", shown, axis=0, start=k, len=1, scale=1.0), shape)
                c.tensors[x.past] = one.scaled(self.units[x.past][1])

    def _tokens(self, c: Context) -> None:
        """Two inputs, of which the first is handed on from the step before."""
        name = self.greedy.tokens
        shape, samples = c.shape(name), [np.asarray(x, np.int64) for x in c.graph.samples[name]]
        sizes = [(*shape[:-1], n) for n in (1, self.greedy.chunk - 1)]
        types = [narrowest(s, *self.greedy.interval[name]) for s in sizes]
        first = c.out.input(name, types[0], 1.0, [x[..., :1] for x in samples], public=True)
        rest = c.out.input(f"{name}_rest", types[1], 1.0, [x[..., 1:] for x in samples], public=True)
        self.read = first, rest
        c.tensors[name] = c.emit("concat", first, rest, axis=len(shape) - 1, scale=1.0)

    def before(self, c: Context, n: Node) -> None:
        """Brings what is appended to a cache to the cache's unit, so that nothing of the cache is rounded again."""
        for x in self.greedy.caches:
            if n.op == "Concat" and n.outputs[0] == x.present and c.const(n.inputs[-1]) is None:
                c.tensors[n.inputs[-1]] = self._in_unit(c, x, c.tensors[n.inputs[-1]])

    def _in_unit(self, c: Context, x: Cache, one: Tensor) -> Tensor:
        own, scale = self.units[x.past]
        if (one.scale, one.type.dtype) == (scale, own.dtype) and own.lo <= one.type.lo and one.type.hi <= own.hi:
            return one
        return c.rescale_to(one, scale, own.dtype, own.lo, own.hi)

    @staticmethod
    def _unit(c: Context, x: Cache) -> tuple[TensorType, float]:
        """One unit for what a cache holds and what is put into it."""
        v, new = c.value(x.past), c.value(x.new)
        return input_type(Value(v.dtype, v.shape, min(v.lo, new.lo), max(v.hi, new.hi)), c.precision)

    def _stack(self, caches: Sequence[Cache], floats: Mapping[str, Any]) -> I64:
        return np.stack([quantise_input(np.asarray(floats[x.past]), *self.units[x.past]) for x in caches])

    def given(self, floats: Mapping[str, Any]) -> dict[str, Array]:
        """The inputs' integers, from the float model's tokens and caches."""
        tokens = np.asarray(floats[self.greedy.tokens])
        parts = zip(self.read, (tokens[..., :1], tokens[..., 1:]), strict=False)
        return {x.name: part for x, part in parts} | {x.name: self._stack(group, floats) for x, group in self.stacked}

    def leave(self, c: Context) -> list[Tensor]:
        """The outputs: of each input its last places, and the new ones."""
        out = []
        for past, caches in self.stacked:
            axis, t = caches[0].axis + 1, past.type
            new = []
            for x in caches:
                one = self._in_unit(c, x, c.tensors[x.new])
                new.append(c.reshape(one, (1, *one.shape)).scaled(1.0))
            last = c.emit("concat", *new, axis=0, scale=1.0) if len(new) > 1 else new[0]
            chunk, places = self.greedy.chunk, past.shape[axis]
            if chunk < places:
                rest = c.emit("slice", past, axis=axis, start=chunk, len=places - chunk, scale=1.0)
                last = c.emit("concat", rest, last, axis=axis, scale=1.0)
            present = c.out.output(PRESENT, last)
            if present.type.dtype != t.dtype:
                raise ModelError(f"the caches leave a step in {present.type.dtype}, not {t.dtype}", code="M112")
            out.append(present)
        return out


def tail(c: Context, greedy: Greedy, caches: Caches) -> Tail:
    """Emits the ending. On the samples nothing is completed, so that it holds on all of them."""
    out = c.out
    chosen, chunk = c.tensors[greedy.chosen], greedy.chunk
    token, *rest = caches.read or (c.tensors[greedy.tokens],)
    index = next((k for k, ins in enumerate(out.code) if ins.dst == chosen.name and ins.op == "argmax"), None)
    if index is None:
        raise ModelError("the choice among logits was rewritten into something else", code="M112")
    most = np.array(greedy.total)
    nothing = np.zeros(token.shape, np.int64)
    then = out.input(NEXT, token.type, 1.0, [nothing] * out.samples, public=True)
    prompt = out.input(PROMPT, narrowest((), 1, greedy.total), 1.0, [most] * out.samples, public=True)
    out.comment("greedy: behind the prompt the next token is the first largest of the logits")
    position, ends = c.tensors[greedy.position], [prompt]
    place = c.emit("addi", position, value=chunk, scale=1.0)
    if rest:
        ends.append(out.input(LENGTH, prompt.type, 1.0, [most] * out.samples, public=True))
        ahead = out.param(np.arange(1, chunk + 1), label="places")
        out.open.add(ahead.name)
        places = c.emit("add", ahead, c.reshape(position, ()), scale=1.0)
        said = c.emit("concat", *rest, then, axis=len(then.shape) - 1, scale=1.0)
        before = c.emit("lt", places, ends[1], scale=1.0)
        part = c.emit("mul", c.emit("ge", places, prompt, scale=1.0), before, scale=1.0)
    else:
        said, part = then, c.emit("ge", c.reshape(place, ()), prompt, scale=1.0)
    shape = part.shape
    same = c.emit("eq", c.reshape(chosen, shape), c.reshape(said, shape), scale=1.0)
    held = c.emit("le", part, same, scale=1.0)
    presents = caches.leave(c)
    counted = out.output(PLACE, place)
    out.check(held)
    pasts = [x for x, _ in caches.stacked]
    inputs = [Port(x.name, x.name, "int64", x.shape, 1.0) for x in (*caches.read, *pasts, then, *ends)]
    outputs = [Port(x.name, x.name, "int64", x.shape, 1.0) for x in (*presents, counted)]
    pairs = tuple((a.name, b.name) for a, b in zip(pasts, presents, strict=True))
    names = *(x.name for x in rest), ""
    step = Stepped(position.name, counted.name, then.name, pairs, greedy.places, names[0], chunk)
    length = ends[1].name if rest else ""
    g = Generation(token.name, prompt.name, length, index, greedy.vocabulary, greedy.total, show=greedy.show, step=step)
    example = {then.name: nothing} | {x.name: most for x in ends}
    return Tail(g, inputs, outputs, example, caches.given)


# ---- writing ---------------------------------------------------------------------------------------------------------


def step_inputs(
    program: Program,
    g: Generation,
    tokens: Sequence[int] | I64,
    position: int = 0,
    caches: Mapping[str, I64] | None = None,
    then: int = 0,
    ends: tuple[int, int] | None = None,
) -> dict[str, I64]:
    """The inputs of a step that reads these tokens at a position, with ``then`` behind them; without ``ends``, the
    lengths of the prompt and of the whole, nothing is said of them; without ``caches`` these are 0."""
    step = g.step
    assert step is not None
    known = dict(caches or {past: np.zeros(program.input(past).type.shape, np.int64) for past, _ in step.caches})
    one = program.input(g.tokens).type.shape
    read = np.zeros(step.read, np.int64)
    read[: len(tokens)] = tokens
    prompt, length = (g.total, g.total) if ends is None else ends
    given = known | {
        g.tokens: read[:1].reshape(one),
        step.position: np.array([position]),
        step.next: np.full(one, then),
        g.prompt: np.array(prompt),
    }
    if step.read > 1:
        given |= {step.rest: read[1:].reshape((*one[:-1], -1)), g.length: np.array(length)}
    return given


def written(
    model: CompiledModel,
    g: Generation,
    prompt: Sequence[int],
    end: int,
    stop: Sequence[int],
    heard: Callable[[Sequence[int]], None],
    max_steps: int | None,
) -> Generated:
    """``generation.generated`` for such a program: of each chunk as many runs as it has tokens to write, and one. What
    a run chooses behind a token that was guessed right is right, too; the guesses are what the last run chose."""
    import syurmy

    step, program = g.step, model.program
    assert step is not None
    tokens, near, watch, passes, ended = list(prompt), [], model.watch(), 0, False
    caches: dict[str, I64] | None = None
    chunks: list[tuple[int, dict[str, I64] | None]] = []

    def run(fed: Sequence[int], p: int, *listeners: Listener) -> tuple[Trace, list[int]]:
        given = step_inputs(program, g, fed, p, caches)
        trace = syurmy.run(program, given, max_steps=max_steps, listeners=listeners)
        return trace, trace.writes[g.chosen][-1].reshape(-1).tolist()

    def choose(token: int) -> bool:
        """Whether the text goes on behind it."""
        in_vocabulary(g, [token])
        tokens.append(token)
        heard([token])
        return token not in stop

    for p in range(0, end - 1, step.read):
        guessed: list[int] = []
        while not ended and len(tokens) < min(p + step.read, end):
            fed = (tokens[p:] + guessed)[: step.read]
            passes, (_, chosen) = passes + 1, run(fed, p)
            while not ended and (k := len(tokens) - p) < min(step.read, end - p):
                ended = not choose(chosen[k - 1])
                if fed[k : k + 1] != tokens[-1:]:
                    break
            guessed = [min(t, g.vocabulary - 1) for t in chosen[len(tokens) - p - 1 :]]
        passes, (trace, chosen) = passes + 1, run(tokens[p : p + step.read], p, watch)
        if not ended and len(tokens) == p + step.read < end:
            ended = not choose(chosen[-1])
        told = range(max(len(prompt), p + 1), min(len(tokens), p + step.read + 1))
        if any(chosen[i - p - 1] != tokens[i] for i in told):
            raise not_chosen()
        near += [p + i for i in undecided(model, trace) if p + i in told]
        chunks.append((p, caches))
        caches = {past: trace.outputs[present] for past, present in step.caches}
        if ended:
            break
    ends = len(prompt), len(tokens)
    runs = []
    for p, before in chunks:
        behind = p + step.read
        then = tokens[behind] if behind < len(tokens) else 0
        runs.append(step_inputs(program, g, tokens[p:behind], p, before, then, ends))
    return Generated(tuple(tokens), ends[0], trace, passes, tuple(near), watch.found(model.rows), tuple(runs))
