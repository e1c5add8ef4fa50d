"""What a proof of generated text states, read off the program of the key and the public inputs, not off what its maker
says.

A program is greedy if it ends, in every run, with the assertion

    (i >= p) (i < n) <= [t_i = argmax_v logits_{i-1, v}]    for i = f .. T-1

over public inputs t [T], p and n, where p cannot be below f and the places i are public as well: then tokens p .. n-1
are the first largest of what the program computed as logits in the place before. Whether that is a model's logits, and
a causal model's, is what the key's digest stands for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from syurmy.isa.errors import InputError
from syurmy.isa.program import Instruction, Program
from syurmy.prover.verifier.verify import Statement
from syurmy.vocabulary import Vocabulary

MEANING = "every token of the completion is the first largest of the logits that the program computed before it"
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


def completions(statement: Statement, program: Program) -> list[Completion]:
    """What a statement says was written, one for each of its batch; nothing if the program is not greedy. Of a model in
    segments ``program`` is the last of them, in which all of the assertion is."""
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
    code = program.code
    public = {i.name: i.type for i in program.inputs if i.public}
    if any(ins.op in JUMPS for ins in code) or code[-1].op != "halt" or len(code) < 2:
        return None
    written: dict[str, Instruction] = {}
    for ins in code:
        if ins.dst is not None:
            if ins.dst in written:
                written[ins.dst] = Instruction("mov", ins.dst, ())  # of two writes either may be the one that is read
            else:
                written[ins.dst] = ins
    shown = {p.name: program.data[p.name] for p in program.params if not p.committed}

    def made(name: str, op: str) -> Instruction:
        ins = written.get(name)
        while ins is not None and ins.op == "reshape" and op != "reshape":
            ins = written.get(ins.src[0])
        if ins is None or ins.op != op:
            raise LookupError
        return ins

    def source(name: str) -> str:
        while name in written and written[name].op == "reshape":
            name = written[name].src[0]
        return name

    try:
        if code[-2].op != "assert":
            return None
        part, same = made(code[-2].src[0], "le").src
        after, before = (made(x, op) for x, op in zip(made(part, "mul").src, ("ge", "lt"), strict=True))
        (places, prompt), (again, length) = after.src, before.src
        said, given = made(same, "eq").src
        cut, _ = made(given, "slice"), made(said, "argmax")
        tokens = source(cut.src[0])
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
