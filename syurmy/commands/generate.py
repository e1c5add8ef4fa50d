"""``syurmy-vm generate``: what a compiled language model writes behind a prompt, and the proof that it did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syurmy.commands.common import (
    CertificatePath,
    Clock,
    Debug,
    Device,
    Json,
    Keys,
    MaxSteps,
    Memory,
    NoZk,
    Rekey,
    Scheduler,
    StoreUrl,
    print_json,
)
from syurmy.commands.run import (
    OUTPUT_PROOFS,
    Force,
    ProofPath,
    Proving,
    measured,
    output_lines,
    refuse_both,
    refuse_unused,
    show,
    told,
)
from syurmy.outcome import DONE, MISSED, warn

if TYPE_CHECKING:
    from syurmy.compiler.generation import Generated
    from syurmy.compiler.model import CompiledModel
    from syurmy.compiler.saturation import Saturation
    from syurmy.vocabulary import Vocabulary

AGAIN = "compile the model again, or give --tokenizer FILE"


def generate(
    model: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="A model compiled with --generate greedy.", show_default=False),
    ],
    prompt: Annotated[str | None, typer.Option("--prompt", metavar="TEXT", help="What it continues.")] = None,
    tokens: Annotated[
        str | None, typer.Option("--tokens", metavar="1,2,3", help="The same as tokens; no tokenizer is needed.")
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option("--max-tokens", metavar="N", help="The most tokens to write.", show_default="as many as fit"),
    ] = None,
    stop: Annotated[
        list[int] | None, typer.Option("--stop", metavar="TOKEN", help="A token to end with; may be repeated.")
    ] = None,
    tokenizer: Annotated[
        Path | None, typer.Option("--tokenizer", metavar="FILE", help="Instead of the one kept with the model.")
    ] = None,
    prove: Annotated[bool, typer.Option("--prove", help="Prove what was written and verify the proof.")] = False,
    proof: ProofPath = None,
    keys: Keys = None,
    rekey: Rekey = False,
    force: Force = False,
    no_zk: NoZk = False,
    certificate: CertificatePath = None,
    scheduler: Scheduler = None,
    device: Device = None,
    store: StoreUrl = None,
    memory: Memory = None,
    max_steps: MaxSteps = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 3 where the float model may have chosen otherwise.")
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Write behind a prompt what a language model, compiled with --generate greedy, chooses token by token.

    With --prove the proof states prompt and completion, and that every token of the completion is the first largest of
    the model's logits. Other tokens than the float model's can follow where its logits nearly tie: that is told.
    """
    from syurmy import display
    from syurmy.commands import models
    from syurmy.compiler.generation import end_of
    from syurmy.isa.errors import InputError
    from syurmy.keys import key_paths

    clock = Clock()
    how = None
    if prove or proof is not None or scheduler is not None:
        refuse_both(device, memory, scheduler)
        how = Proving(proof, keys, rekey, force, no_zk, certificate, OUTPUT_PROOFS, scheduler, store, memory=memory)
    else:
        refuse_unused(keys, rekey, force, no_zk, certificate, OUTPUT_PROOFS, device, store, None, memory)
    if model.suffix == ".onnx":
        raise InputError(f"{model} is not compiled", code="I144", help="compile it with --generate greedy")
    at = models.opened(model, None, max_steps=max_steps)
    language = at.model
    if language is None or language.generation is None:
        raise InputError(f"{model} does not generate", code="I144", help="compile it with --generate greedy")
    vocabulary = _vocabulary(language, tokenizer, needed=prompt is not None)
    given = _prompt(prompt, tokens, vocabulary)
    end_of(language.generation, given, max_tokens, stop or ())  # before anything of it is printed
    whole = at.segmented
    if how is not None and whole is None:
        how.refuse_larger(at.program, key_paths(at.path, keys)[0])
    elif how is not None and whole is not None:
        for k, segment in enumerate(whole.segments):
            how.refuse_larger(segment, key_paths(whole.file(k), whole.keys_of(k, keys))[0])
    writer = _Writer(vocabulary, given, shown=not json)
    with display.Working("generate") if json else writer:
        done = clock(
            "execute", lambda: language.generate(given, max_tokens, stop=stop or (), heard=writer, max_steps=max_steps)
        )
    watched = _watched(language, done)
    result = (
        told(at, done.trace.outputs, len(done.trace.path), 1, 0)
        | writer.said(done)
        | ({"outputs": {}} if done.steps else {})  # of one step: the caches, which nobody reads
        | {"saturated": [vars(s) for s in watched]}
    )
    if how is not None:
        if whole is None:
            result |= how(at, done.trace, max_steps, clock)
        else:
            from syurmy import segmented
            from syurmy.commands.bundles import proven

            given_to = done.steps or [done.trace.inputs]
            parts = [segmented.run(whole, inputs, max_steps=max_steps) for inputs in given_to]
            result |= proven(at, whole, parts, how, max_steps, clock)
    result |= measured(clock)
    if json:
        print_json(result)
    else:
        show(result, None, [] if done.steps else output_lines(at, done.trace.outputs))
    return MISSED if strict and (done.undecided or watched) else DONE


class _Writer:
    """Prints text, or tokens where there is no vocabulary, as it comes."""

    def __init__(self, vocabulary: Vocabulary | None, prompt: Sequence[int], shown: bool) -> None:
        self.vocabulary, self.prompt, self.shown = vocabulary, prompt, shown
        self.tokens: list[int] = []

    def __enter__(self) -> _Writer:
        self(self.prompt)
        return self

    def __exit__(self, *_: object) -> None:
        if self.tokens:
            print(flush=True)

    def __call__(self, tokens: Sequence[int]) -> None:
        before, self.tokens = list(self.tokens), [*self.tokens, *tokens]
        if not self.shown:
            return
        if self.vocabulary is None:
            print(*(f"{',' * bool(before or k)}{t}" for k, t in enumerate(tokens)), sep="", end="", flush=True)
        else:
            print(self.vocabulary.added(before, self.tokens), end="", flush=True)

    def said(self, done: Generated) -> dict[str, Any]:
        """For ``--json``."""
        from syurmy.completions import Completion, data

        text = Completion(done.tokens[: done.prompt], done.completion)
        return {"generated": data([text], self.vocabulary), "passes": done.passes, "undecided": list(done.undecided)}


def _watched(model: CompiledModel, done: Generated) -> Sequence[Saturation]:
    """What was cut off in the run; warns of that, and of tokens that the float model may choose otherwise."""
    from syurmy.compiler.saturation import told as told_cut

    if done.undecided:
        places = ", ".join(map(str, done.undecided[:8])) + (", ..." if len(done.undecided) > 8 else "")
        warn(
            f"{len(done.undecided)} of {len(done.completion)} tokens were chosen by less than the program may be off"
            f" from the float model, which may choose otherwise: at {places} (the prompt begins at 0)"
        )
    if done.saturated:
        warn(told_cut(done.saturated))
    return done.saturated


def _vocabulary(model: CompiledModel, given: Path | None, needed: bool) -> Vocabulary | None:
    """The tokenizer given, else the one kept with the model. Raises ``InputError`` I142 for another model's, I145 where
    one is ``needed`` and there is none."""
    from syurmy.compiler.recorded import TOKENIZER
    from syurmy.isa.errors import InputError
    from syurmy.vocabulary import Vocabulary

    g = model.generation
    assert g is not None
    kept = model.folder / TOKENIZER
    if given is None and g.tokenizer is None:
        if needed:
            raise InputError(
                "there is no tokenizer to read the prompt with",
                code="I145",
                help="give --tokenizer FILE (here, or to compile), or the prompt as --tokens 1,2,3",
            )
        return None
    vocabulary = Vocabulary.read(kept if given is None else given)
    if given is None and vocabulary.digest != g.tokenizer:
        raise InputError(f"{kept} is not the tokenizer that the model was compiled with", code="I142", help=AGAIN)
    vocabulary.refuse_other(g.vocabulary)
    return vocabulary


def _prompt(text: str | None, tokens: str | None, vocabulary: Vocabulary | None) -> list[int]:
    from syurmy.isa.errors import InputError

    if (text is None) == (tokens is None):
        raise InputError("give --prompt TEXT or --tokens 1,2,3, and not both", code="I140")
    if text is not None and vocabulary is not None:
        read = vocabulary.encode(text)
        if vocabulary.misread(text, read):
            warn(f"the tokenizer reads the prompt as {vocabulary.decode(read)!r}")
        return read
    try:
        return [int(t) for t in (tokens or "").split(",")]
    except ValueError:
        raise InputError(f"--tokens {tokens} is no list of tokens", code="I140", help="as in --tokens 1,2,3") from None
