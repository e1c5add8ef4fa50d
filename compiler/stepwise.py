"""A program that states one step of "this model wrote this text": it reads token t at position p, and the caches.

    (p + 1 >= n) <= [u = argmax_v logits_v]    (the first of equals)

t, u, p and the prompt's length n are public; so is p + 1, an output. Steps are chained (protocol section 12.1): the
next step's t is this one's u, its p is p + 1, its n is n, its caches are those that this one committed to. The first
has p = 0. Together they say what ``compiler.generation`` says of a program that reads all tokens at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from syurmy.compiler.causal import Cache, Greedy, Tail
from syurmy.compiler.emit import Tensor, narrowest
from syurmy.compiler.errors import ModelError
from syurmy.compiler.generation import NEXT, PROMPT, Generated, Generation, Stepped, in_vocabulary, undecided
from syurmy.compiler.graph import Node, Value
from syurmy.compiler.lower import Context, input_type
from syurmy.compiler.recorded import Port, quantise_input
from syurmy.isa.arrays import I64, Array
from syurmy.isa.types import TensorType

if TYPE_CHECKING:
    from syurmy.compiler.model import CompiledModel

PAST, PRESENT, PLACE = "past", "present", "place"
MOST_GROUPS = 8  # a program has 16 committed inputs and outputs


class Caches:
    """The caches of a model as committed inputs: one for all of a shape, stacked along a new first axis."""

    def __init__(self, greedy: Greedy) -> None:
        self.greedy = greedy
        self.names = frozenset(c.past for c in greedy.caches)
        self.units: dict[str, tuple[TensorType, float]] = {}
        self.stacked: list[tuple[Tensor, list[Cache]]] = []

    def enter(self, c: Context) -> None:
        """Declares the inputs, and gives the graph what is visible of them."""
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
        """The inputs' integers, from the float model's caches."""
        return {past.name: self._stack(caches, floats) for past, caches in self.stacked}

    def leave(self, c: Context) -> list[Tensor]:
        """The outputs: of each input the places from the second on, and the new one."""
        out = []
        for past, caches in self.stacked:
            axis, t = caches[0].axis + 1, past.type
            new = []
            for x in caches:
                one = self._in_unit(c, x, c.tensors[x.new])
                new.append(c.reshape(one, (1, *one.shape)).scaled(1.0))
            last = c.emit("concat", *new, axis=0, scale=1.0) if len(new) > 1 else new[0]
            rest = c.emit("slice", past, axis=axis, start=1, len=past.shape[axis] - 1, scale=1.0)
            present = c.out.output(PRESENT, c.emit("concat", rest, last, axis=axis, scale=1.0))
            if present.type.dtype != t.dtype:
                raise ModelError(f"the caches leave a step in {present.type.dtype}, not {t.dtype}", code="M112")
            out.append(present)
        return out


def tail(c: Context, greedy: Greedy, caches: Caches) -> Tail:
    """Emits the ending. On the samples nothing is completed, so that it holds on all of them."""
    out = c.out
    chosen, token = c.tensors[greedy.chosen], c.tensors[greedy.tokens]
    index = next((k for k, ins in enumerate(out.code) if ins.dst == chosen.name and ins.op == "argmax"), None)
    if index is None:
        raise ModelError("the choice among logits was rewritten into something else", code="M112")
    most = np.array(greedy.total)
    nothing = np.zeros(token.shape, np.int64)
    then = out.input(NEXT, token.type, 1.0, [nothing] * out.samples, public=True)
    prompt = out.input(PROMPT, narrowest((), 1, greedy.total), 1.0, [most] * out.samples, public=True)
    out.comment("greedy: behind the prompt the next token is the first largest of the logits")
    place = c.emit("addi", c.tensors[greedy.position], value=1, scale=1.0)
    after = c.emit("ge", c.reshape(place, ()), prompt, scale=1.0)
    same = c.emit("eq", c.reshape(chosen, ()), c.reshape(then, ()), scale=1.0)
    held = c.emit("le", after, same, scale=1.0)
    presents = caches.leave(c)
    counted = out.output(PLACE, place)
    out.check(held)
    pasts = [x for x, _ in caches.stacked]
    inputs = [Port(x.name, x.name, "int64", x.shape, 1.0) for x in (*pasts, then, prompt)]
    outputs = [Port(x.name, x.name, "int64", x.shape, 1.0) for x in (*presents, counted)]
    pairs = tuple((a.name, b.name) for a, b in zip(pasts, presents, strict=True))
    step = Stepped(c.tensors[greedy.position].name, counted.name, then.name, pairs, greedy.places)
    g = Generation(token.name, prompt.name, "", index, greedy.vocabulary, greedy.total, step=step)
    example = {then.name: nothing, prompt.name: most}
    return Tail(g, inputs, outputs, example, caches.given)


# ---- writing ---------------------------------------------------------------------------------------------------------


def written(
    model: CompiledModel,
    g: Generation,
    prompt: Sequence[int],
    end: int,
    stop: Sequence[int],
    heard: Callable[[Sequence[int]], None],
    max_steps: int | None,
) -> Generated:
    """``generation.generated`` for such a program: one run for every token but the last."""
    import syurmy

    step, program = g.step, model.program
    assert step is not None
    tokens, near, watch, runs = list(prompt), [], model.watch(), []
    caches = {past: np.zeros(program.input(past).type.shape, np.int64) for past, _ in step.caches}
    shape = program.input(g.tokens).type.shape
    trace = None
    for p in range(end - 1):
        known = p + 1 < len(tokens)
        given = caches | {
            g.tokens: np.full(shape, tokens[p]),
            step.position: np.array([p]),
            step.next: np.full(shape, tokens[p + 1] if known else 0),
            g.prompt: np.array(g.total),
        }
        trace = syurmy.run(program, given, max_steps=max_steps, listeners=[watch])
        if not known:
            new = int(trace.writes[g.chosen][-1].reshape(()))
            in_vocabulary(g, [new])
            near += [p + 1] if undecided(model, trace) else []
            tokens.append(new)
            heard([new])
        runs.append(given | {step.next: np.full(shape, tokens[p + 1]), g.prompt: np.array(len(prompt))})
        caches = {past: trace.outputs[present] for past, present in step.caches}
        if not known and new in stop:
            break
    assert trace is not None
    return Generated(tuple(tokens), len(prompt), trace, len(runs), tuple(near), watch.found(model.rows), tuple(runs))
