"""What a proof of generated text states, read off the program of the key and the public inputs, not off what its maker
says.

A program is greedy if it ends, in every run, with the assertion

    (i >= p) (i < n) <= [t_i = argmax_v logits_{i-1, v}]    for i = f .. T-1

over public inputs t [T], p and n, where p cannot be below f and the places i are public as well: then tokens p .. n-1
are the first largest of what the program computed as logits in the place before. Whether that is a model's logits, and
a causal model's, is what the key's digest stands for.

A program that reads one token t at place p is a greedy step if it ends with

    (p + 1 >= n) <= [u = argmax_v logits_v]

over public inputs, and the steps of a bundle say it of a text if the key hands u on as t, p + 1 as p, from 0 on, and n
as n. One that reads C tokens, t and r, is one if it ends with

    (i >= n) (i < l) <= [x_i = argmax_v logits_{i-1, v}]    for i = p + 1 .. p + C,    x = r, u

and the key hands p + C on as p, and l as l besides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from syurmy.isa.errors import InputError
from syurmy.isa.program import Instruction, Program
from syurmy.isa.records import dataclass
from syurmy.prover.protocol.bundle import Carried, Steps
from syurmy.prover.verifier.verify import Statement

if TYPE_CHECKING:
    from syurmy.vocabulary import Vocabulary

MEANING = "every token of the completion is the first largest of the logits that the program computed before it"
SAID = "prompt", "completion"
ASSERTION = {"le", "mul", "ge", "lt", "eq", "argmax", "slice", "reshape"}
JUMPS = {"jmp", "call", "ret", "bz", "bnz"}


@dataclass(frozen=True)
class Completion:
    """A prompt and what was written behind it, as tokens; one of a batch."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]

    def texts(self, vocabulary: Vocabulary) -> tuple[str, str]:
        """Of the prompt, and what the completion adds to it. Raises ``InputError`` I142 for another vocabulary's."""
        whole = (*self.prompt, *self.completion)
        if max(whole) >= vocabulary.size:
            message = f"token {max(whole)} is none of {vocabulary.where}, which has {vocabulary.size}"
            raise InputError(message, code="I142")
        return vocabulary.decode(self.prompt), vocabulary.added(self.prompt, whole)


def completions(statement: Statement, program: Program, steps: Steps | None = None) -> list[Completion]:
    """What a statement says was written, one for each of its batch; nothing if the program is not greedy. Of a model in
    segments ``program`` is the last of them, in which all of the assertion is. ``steps``: how the key runs it."""
    if steps is not None:
        return _in_steps(statement, greedy_step(program, steps))
    names = greedy(program)
    if names is None or not set(names) <= set(statement.inputs):  # of a whole: public inputs of its last segment alone
        return []
    tokens, prompt, length = (np.asarray(statement.inputs[name]) for name in names)
    tokens = tokens.reshape(statement.batch, -1)
    out = []
    for row, p, n in zip(tokens.tolist(), prompt.reshape(-1).tolist(), length.reshape(-1).tolist(), strict=True):
        out.append(Completion(tuple(row[:p]), tuple(row[p:n])))
    return out


def greedy(program: Program) -> tuple[str, str, str] | None:
    """The inputs t, p and n of a greedy program; None of any other."""
    public = {i.name: i.type for i in program.inputs if i.public}
    shown = {p.name: program.data[p.name] for p in program.params if not p.committed}
    try:
        code = _Code(program)
        part, same = code.asserted("le")
        after, before = (code.made(x, op) for x, op in zip(code.made(part, "mul").src, ("ge", "lt"), strict=True))
        (places, prompt), (again, length) = after.src, before.src
        said, given = code.made(same, "eq").src
        cut, _ = code.made(given, "slice"), code.made(said, "argmax")
        tokens = code.source(cut.src[0])
    except (LookupError, ValueError):
        return None
    if not {tokens, prompt, length} <= set(public) or places != again or places not in shown:
        return None
    cuts, total = {"start": 0, "step": 1} | dict(cut.attrs), public[tokens].size
    first = cuts["start"] if isinstance(cuts["start"], int) else 0  # one that a counter moves is no constant
    right = (
        1 <= first <= public[prompt].lo
        and cuts == {"axis": 0, "start": first, "step": 1, "len": total - first}
        and np.array_equal(shown[places], np.arange(first, total))
        and public[prompt].shape == public[length].shape == ()
    )
    return (tokens, prompt, length) if right else None


def implied(program: Program, steps: Steps | None) -> frozenset[str]:
    """Public inputs and outputs of steps that their text, if they say one, says already."""
    names = None if steps is None else greedy_step(program, steps)
    return frozenset() if names is None else frozenset(x for x in vars(names).values() if x)


@dataclass(frozen=True)
class GreedyStep:
    """Names in a greedy step: the inputs t, r (if it reads more than one token), u, n, l (like r) and p, and the output
    that is the next p."""

    token: str
    rest: str
    then: str
    prompt: str
    length: str
    position: str
    place: str

    @property
    def text(self) -> tuple[str, ...]:
        """Inputs that say the text, of every step."""
        return tuple(x for x in (self.token, self.rest, self.then, self.prompt, self.length) if x)


def greedy_step(program: Program, steps: Steps) -> GreedyStep | None:
    """What a greedy step that is handed on as a text is has; None of any other."""
    public = {i.name: i.type for i in program.inputs if i.public}
    shown = {p.name: program.data[p.name] for p in program.params if not p.committed}
    by_target = {c.target: c for c in steps.carried}
    rest = length = ""
    ahead = np.array([1])
    try:
        code = _Code(program)
        part, same = code.asserted("le")
        said, given = code.made(same, "eq").src
        code.made(said, "argmax")
        if code.op(part) == "mul":
            after, before = (code.made(x, op) for x, op in zip(code.made(part, "mul").src, ("ge", "lt"), strict=True))
            (places, prompt), (again, length) = after.src, before.src
            joined = code.made(given, "concat")
            rest, then = (code.source(x) for x in joined.src)
            row, position = code.made(places, "add").src
            ahead, position = np.asarray(shown[row]).reshape(-1), code.source(position)
            last = {"axis": len(public[rest].shape) - 1}
            if again != places or {"axis": 0} | dict(joined.attrs) != last or public[rest].size + 1 != ahead.size:
                return None
        else:
            place, prompt = code.made(part, "ge").src
            then, position = code.source(given), code.source(code.made(place, "addi").src[0])
            places = code.source(place)
        place_out = by_target[position]
        counted = code.source(code.made(place_out.source, "mov").src[0])
        moved = code.made(counted, "addi")
        if not rest and counted != places:
            return None
        token = next(c.target for c in steps.carried if c.source == then)
    except (LookupError, ValueError, StopIteration):
        return None
    ends = [prompt, *[length] * bool(length)]
    right = (
        {position, then, *ends} <= set(public)
        and place_out.source in {o.name for o in program.outputs}  # not of another segment, with a register called so
        and np.array_equal(ahead, np.arange(1, ahead.size + 1))
        and code.source(moved.src[0]) == position
        and dict(moved.attrs) == {"value": ahead.size}
        and place_out.first == 0
        and all(public[x].shape == () and by_target.get(x) == Carried(x, x) for x in ends)
        and public[prompt].lo >= 1
        and public[then].size == 1
    )
    return GreedyStep(token, rest, then, prompt, length, position, place_out.source) if right else None


class _Code:
    """What is known of a program's registers: each is written once, on the one path that there is. Raises
    ``LookupError`` where that is not so."""

    def __init__(self, program: Program) -> None:
        code = program.code
        if any(ins.op in JUMPS for ins in code) or code[-1].op != "halt" or len(code) < 2:
            raise LookupError
        self.last = code[-2]
        self.written: dict[str, Instruction] = {}
        for ins in code:
            if ins.dst is not None:
                if ins.dst in self.written:  # of two writes either may be the one that is read
                    self.written[ins.dst] = Instruction("rewritten", ins.dst, ())
                else:
                    self.written[ins.dst] = ins

    def made(self, name: str, op: str) -> Instruction:
        """The instruction, of this kind, that made a register, whatever its shape is now."""
        ins = self.written.get(name)
        while ins is not None and ins.op == "reshape" and op != "reshape":
            ins = self.written.get(ins.src[0])
        if ins is None or ins.op != op:
            raise LookupError
        return ins

    def op(self, name: str) -> str:
        """By which kind of instruction a register was made."""
        return self.written[name].op

    def source(self, name: str) -> str:
        """The register that was reshaped into this one."""
        while name in self.written and self.written[name].op == "reshape":
            name = self.written[name].src[0]
        return name

    def asserted(self, op: str) -> tuple[str, ...]:
        """What the assertion with which the program ends compares."""
        if self.last.op != "assert":
            raise LookupError
        return self.made(self.last.src[0], op).src


def _in_steps(statement: Statement, names: GreedyStep | None) -> list[Completion]:
    """``completions`` of a statement about steps."""
    if names is None or not set(names.text) <= set(statement.inputs):
        return []
    shown = {name: np.asarray(statement.inputs[name]) for name in names.text}
    count, batch = len(shown[names.token]), statement.batch
    read = [shown[name].reshape(count, batch, -1) for name in (names.token, names.rest) if name]
    rows = np.concatenate(read, axis=2).swapaxes(0, 1).reshape(batch, -1)  # of each of the batch all steps
    rows = np.concatenate([rows, shown[names.then][-1].reshape(batch, 1)], axis=1)
    prompts = shown[names.prompt][0].reshape(-1).tolist()
    lengths = shown[names.length][0].reshape(-1).tolist() if names.length else [rows.shape[1]] * batch
    out = []
    for row, p, n in zip(rows.tolist(), prompts, lengths, strict=True):
        out.append(Completion(tuple(row[: min(p, n)]), tuple(row[p:n])))
    return out


def states(program: Program, steps: Steps | None = None) -> bool:
    """Whether proofs of this program, or bundles of which it is the last segment, say what was written."""
    return (greedy(program) if steps is None else greedy_step(program, steps)) is not None


def other_text(found: Completion, wanted: Mapping[str, Any], vocabulary: Vocabulary | None) -> str:
    """The first of ``SAID`` that is not as wanted, tokens or a text, as a sentence; empty if there is none. Raises
    ``InputError`` I142, and I145 for a text without a vocabulary."""
    for name, value in wanted.items():
        shown: Any = list(vars(found)[name])
        if isinstance(value, str):
            if vocabulary is None:
                message = f"there is no tokenizer to compare the {name} with a text"
                raise InputError(message, code="I145", help=f"give --tokenizer FILE, or --expect {name}=[1,2,3]")
            shown = found.texts(vocabulary)[SAID.index(name)]
        if shown != value:
            return f"the {name} is {json.dumps(shown)}, {json.dumps(value)} is expected"
    return ""


def begins(program: Program) -> int:
    """The first instruction of the assertion with which a greedy program ends: behind the logits, before the choice."""
    code = program.code
    first, wanted = len(code) - 2, set(code[-2].src)
    for k in range(len(code) - 3, -1, -1):
        if code[k].dst in wanted and code[k].op in ASSERTION:
            first = k
            wanted |= set() if code[k].op == "argmax" else set(code[k].src)
    return first


def lines(found: Sequence[Completion], vocabulary: Vocabulary | None) -> list[str]:
    """For people: tokens, and as text in a JSON string where a vocabulary is given."""
    out = []
    for k, c in enumerate(found):
        which = f" {k}" if len(found) > 1 else ""
        texts = (
            ("", "") if vocabulary is None else (f"{json.dumps(t, ensure_ascii=False)} " for t in c.texts(vocabulary))
        )
        for name, tokens, text in zip(("prompt", "completion"), (c.prompt, c.completion), texts, strict=True):
            out.append(f"{name}{which}: {text}({len(tokens)} tokens: {', '.join(map(str, tokens))})")
    return [*out, MEANING] if found else []


def data(found: Sequence[Completion], vocabulary: Vocabulary | None) -> list[dict[str, Any]]:
    """As JSON data."""
    out = []
    for c in found:
        prompt, completion = (None, None) if vocabulary is None else c.texts(vocabulary)
        tokens = {"prompt": list(c.prompt), "completion": list(c.completion)}
        out.append({**tokens, "prompt_text": prompt, "completion_text": completion})
    return out
