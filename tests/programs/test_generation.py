"""Text generation as one proof: both programs against plain NumPy on integers, token by token, and their proofs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from programs.train import chargpt, common
from syurmy.assembler import assemble, assemble_file
from syurmy.isa.program import Program
from syurmy.prover.keys import setup
from syurmy.prover.prove import prove
from syurmy.prover.verifier.verify import verify
from syurmy.vm.machine import run, run_batch

PROGRAMS = Path(__file__).resolve().parents[2] / "programs"
NAMES = ("generate_text", "generate_text_ram")
CONTEXT, WIDTH, HEADS, STOP = 64, 64, 4, 0
RESIDUAL_SHIFT = chargpt.ACT + chargpt.WEIGHT - chargpt.RESIDUAL


def rescale(x: np.ndarray, shift: int) -> np.ndarray:
    return common.rescale(x, shift) if shift else np.clip(x, -32768, 32767)


# All positions at once, as far as the most probable next tokens.
FORWARD = """
.include "lib/chargpt.tasm"
.input tokens : i8[CONTEXT] public in 0..SYMBOLS-1
.output best public
.macro layer(e, gamma, beta, wq, bq, wk, bk, wv, bv, wo, bo, delta, eta, up, bup, down, bdown)
    project     %q, %k, %v, e, gamma, beta, wq, bq, wk, bk, wv, bv
    split_heads %q, %q, CONTEXT, HEADS, WIDTH // HEADS
    split_heads %k, %k, CONTEXT, HEADS, WIDTH // HEADS
    split_heads %v, %v, CONTEXT, HEADS, WIDTH // HEADS
    einsum      %s, %q, %k, spec="hid,hjd->hij"
    rescale     %s, %s, 15, i16
    select      %s, seen, %s, lowest
    softmax     %p, %s, exp9
    matmul      %o, %p, %v
    rescale     %o, %o, 15, i16
    join_heads  %o, %o, CONTEXT, HEADS, WIDTH // HEADS
    linear      %o, %o, wo, bo, 16
    add         %sum, e, %o
    rescale     e, %sum, 0, i16
    feed_forward e, delta, eta, up, bup, down, bdown
.endmacro
gather    e, embed[tokens]
add       e, e, position
rescale   e, e, 0, i16
reshape   column, rows, (CONTEXT, 1)
le        seen, rows, column
layer     e, gamma0, beta0, wq0, bq0, wk0, bk0, wv0, bv0, wo0, bo0, delta0, eta0, up0, bup0, down0, bdown0
layer     e, gamma1, beta1, wq1, bq1, wk1, bk1, wv1, bv1, wo1, bo1, delta1, eta1, up1, bup1, down1, bdown1
layernorm u, e, gamma, beta, WIDTH, ROOT
linear    scores, u, head, bhead, 16
argmax    best, scores, 1
halt
"""


class Model:
    """The integer network on a whole sequence at once: no cache, a triangular mask."""

    def __init__(self) -> None:
        self._generated: dict[str, list[int]] = {}
        self.w = {k: v.astype(np.int64) for k, v in load_file(PROGRAMS / "generate_text.safetensors").items()}
        with np.load(PROGRAMS / "lib" / "tables.npz") as file:
            self.exp, self.gelu = file["exp9"].astype(np.int64), file["gelu"].astype(np.int64)

    def linear(self, x: np.ndarray, weight: str, bias: str, shift: int) -> np.ndarray:
        return rescale(x @ self.w[weight] + self.w[bias], shift)

    def norm(self, x: np.ndarray, gamma: str, beta: str) -> np.ndarray:
        c = WIDTH * x - x.sum(axis=1, keepdims=True)
        length = np.array([[math.isqrt(int(row @ row))] for row in c])
        n = rescale(c * (round(2**16 * math.sqrt(WIDTH)) * 2**16 // np.maximum(length, 2**12)), 20)
        return rescale(n * self.w[gamma] + self.w[beta], 12)

    def scores(self, tokens: np.ndarray) -> np.ndarray:
        """Of the next character, after each position of ``tokens`` [n]."""
        n = len(tokens)
        e = self.w["embed"][tokens] + self.w["position"][:n]
        for i in "01":
            u = self.norm(e, "gamma" + i, "beta" + i)
            q, k, v = (self.linear(u, f"w{p}{i}", f"b{p}{i}", 14).reshape(n, HEADS, -1).swapaxes(0, 1) for p in "qkv")
            s = rescale(q @ k.swapaxes(1, 2), 15)
            s = np.where(np.tri(n, dtype=bool), s, -32768)
            s = np.pad(s, ((0, 0), (0, 0), (0, CONTEXT - n)), constant_values=-32768)
            power = self.exp[s - s.max(axis=2, keepdims=True) + 65535]
            p = rescale(power * (32767 * 2**20 // power.sum(axis=2, keepdims=True)), 20)
            o = rescale(p[:, :, :n] @ v, 15).swapaxes(0, 1).reshape(n, WIDTH)
            e = rescale(e + self.linear(o, "wo" + i, "bo" + i, RESIDUAL_SHIFT), 0)
            z = self.linear(self.norm(e, "delta" + i, "eta" + i), "up" + i, "bup" + i, 14)
            e = rescale(e + self.linear(self.gelu[z + 32768], "down" + i, "bdown" + i, RESIDUAL_SHIFT), 0)
        return self.linear(self.norm(e, "gamma", "beta"), "head", "bhead", 16)

    def generated(self, prompt: str) -> list[int]:
        """``prompt`` continued greedily up to the stop token, which is included, or ``CONTEXT`` tokens."""
        if prompt not in self._generated:
            self._generated[prompt] = self._generate(chargpt.tokens(prompt).tolist())
        return self._generated[prompt]

    def _generate(self, tokens: list[int]) -> list[int]:
        while len(tokens) < CONTEXT:
            tokens.append(int(self.scores(np.array(tokens))[-1].argmax()))
            if tokens[-1] == STOP:
                break
        return tokens


PROMPTS = (
    "Get the ",
    "Return True if the ",
    "A",
    "If the object",
    "Stop. Then go on",
    "Nothing left to say.",
    "x" * 64,
)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model()


@pytest.fixture(scope="module")
def programs() -> dict[str, Program]:
    return {name: assemble_file(PROGRAMS / f"{name}.tasm") for name in NAMES}


def text(tokens: list[int]) -> str:
    return "".join(chargpt.CHARACTERS[t] for t in tokens)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("prompt", PROMPTS)
def test_every_token_is_that_of_the_plain_network(
    name: str, prompt: str, programs: dict[str, Program], model: Model
) -> None:
    trace = run(programs[name], chargpt.prompt(prompt), check_intervals=True)
    got = "".join(map(chr, trace.outputs["text"].tolist()))
    expected = text(model.generated(prompt))
    assert got == expected.ljust(CONTEXT, ".")


def test_the_text_is_english_and_ends_with_the_full_stop(model: Model) -> None:
    got = text(model.generated(chargpt.PROMPT))
    assert got == "Get the current list of the specified in the selection."


def test_stored_inputs_are_the_default_prompt() -> None:
    for name in NAMES:
        with np.load(PROGRAMS / f"{name}.inputs.npz") as file:
            assert {k: v.tolist() for k, v in file.items()} == {
                k: v.tolist() for k, v in chargpt.prompt(chargpt.PROMPT).items()
            }


def test_the_loop_in_ram_ends_with_the_text(programs: dict[str, Program], model: Model) -> None:
    for prompt in PROMPTS[:3]:
        trace = run(programs["generate_text_ram"], chargpt.prompt(prompt))
        expected = model.generated(prompt)
        stopped = expected[-1] == STOP
        rounds = [pc for pc in trace.path if trace.program.code[pc].op == "argmax"]
        assert len(rounds) == len(expected) - stopped


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("prompt", [chargpt.PROMPT, "Return True if the "])
def test_proof_of_a_whole_text(name: str, prompt: str, programs: dict[str, Program], model: Model) -> None:
    p, arrays = programs[name], chargpt.prompt(prompt)
    pk = setup(p)
    statement = verify(pk.verifying_key, prove(pk, run(p, arrays)).to_bytes())
    got = "".join(map(chr, statement.outputs["text"].tolist()))
    assert got == text(model.generated(prompt)).ljust(CONTEXT, ".")
    assert statement.inputs["prompt"].tolist() == arrays["prompt"].tolist()


def test_decoding_costs_what_one_forward_pass_costs(programs: dict[str, Program], model: Model) -> None:
    prompt = "Return True if the "
    tokens = model.generated(prompt)
    assert len(tokens) == CONTEXT
    forward = assemble(FORWARD, include_paths=[PROGRAMS], data_root=PROGRAMS / "lib")
    passed = run(forward, {"tokens": np.array(tokens)})
    assert passed.outputs["best"][len(prompt) - 1 : -1].tolist() == tokens[len(prompt) :]
    once = prove(setup(forward), passed).report
    decoded = prove(setup(programs["generate_text"]), run(programs["generate_text"], chargpt.prompt(prompt))).report
    assert decoded.leaves < 1.01 * once.leaves
    assert decoded.committed_entries < 1.01 * once.committed_entries


@pytest.mark.parametrize("name", NAMES)
def test_every_token_costs_the_same(name: str, programs: dict[str, Program], model: Model) -> None:
    pk, cost = setup(programs[name]), []
    for prompt in ("Check that the ", "Get the ", "Return True if the "):
        trace = run(programs[name], chargpt.prompt(prompt))
        rounds = sum(trace.program.code[pc].op == "argmax" for pc in trace.path)
        cost.append((rounds, prove(pk, trace).report.committed_entries))
    (r0, e0), (r1, e1), (r2, e2) = cost
    assert r0 < r1 < r2
    each = (e2 - e1) / (r2 - r1)
    assert (e1 - e0) / (r1 - r0) == pytest.approx(each, rel=0.05)  # the width of limbs follows from the whole path


def test_a_batch_of_texts_of_different_lengths_in_one_proof(programs: dict[str, Program], model: Model) -> None:
    prompts = [chargpt.prompt(prompt) for prompt in PROMPTS[:4]]
    p = programs["generate_text_ram"]
    pk = setup(p)
    trace = run_batch(p, {name: np.stack([prompt[name] for prompt in prompts]) for name in prompts[0]})
    statement = verify(pk.verifying_key, prove(pk, trace).to_bytes())
    for prompt, row in zip(PROMPTS, statement.outputs["text"].tolist(), strict=False):
        expected = text(model.generated(prompt))
        assert "".join(map(chr, row)) == expected.ljust(CONTEXT, ".")
