"""Language models that read one token at a time: against NumPy, and against the program that reads all at once."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import syurmy
from syurmy.compiler import CompiledModel, ModelError, Options, compile_model, compile_onnx
from syurmy.compiler.compare import compare
from syurmy.completions import Completion, GreedyStep, completions, greedy_step, implied
from syurmy.isa.errors import InputError, Trap
from tests.bundles import interrupted
from tests.compiler.language_models import VOCABULARY, float_logits, language_model, saved
from tests.compiler.test_generation import continued

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.filterwarnings("ignore:no calibration data")
PLACES = 8


def compiled(folder: Path, how: dict[str, Any] | None = None, **options: Any) -> CompiledModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # no calibration data
        path = saved(folder, **{"extra": True, "cache": True, **(how or {})})
        return compile_onnx(path, folder / "m", generate="greedy", **options)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> CompiledModel:
    return compiled(tmp_path_factory.mktemp("lm"), cache=PLACES)


def step(model: CompiledModel, past: np.ndarray[Any, Any], token: int, place: int, then: int, prompt: int) -> Any:
    ids, position, cache, following, length = (i.name for i in model.program.inputs)
    one = {ids: np.array([[token]]), position: np.array([place]), cache: past}
    return syurmy.run(model.program, {**one, following: np.array([[then]]), length: np.array(prompt)})


def test_caches_are_committed_and_tokens_public(model: CompiledModel) -> None:
    shown = {i.name: i.visibility for i in model.program.inputs}
    assert list(shown.values()) == ["public", "public", "committed", "public", "public"]
    assert [o.visibility for o in model.program.outputs] == ["committed", "public"]
    assert model.program.input("past").type.shape == (2, 1, PLACES, 8)
    assert model.chained is not None
    assert model.chained.most == PLACES + 1
    assert [(c.source, c.first) for c in model.chained.carried] == [
        *(("place", 0), ("next_token", None), ("prompt", None), ("present", None))
    ]


def test_the_cache_is_not_rounded_again(model: CompiledModel) -> None:
    """What is rescaled is about the new token; the cache is read as it is."""
    trace = step(model, np.zeros((2, 1, PLACES, 8), np.int64), 3, 0, 0, 10)
    rescaled = [trace.writes[k][-1].size for k, ins in enumerate(model.program.code) if ins.op == "rescale"]
    assert 0 < max(rescaled) <= VOCABULARY < PLACES * 8


@pytest.mark.parametrize("prompt", [[3, 1, 4], [0], [10, 10, 2, 7, 5], list(range(9))])
def test_text_is_the_models(model: CompiledModel, prompt: list[int]) -> None:
    heard: list[int] = []
    done = model.generate(prompt, heard=heard.extend)
    assert list(done.tokens) == continued(prompt, PLACES + 2 - len(prompt))
    assert list(done.completion) == heard
    assert done.undecided == done.saturated == ()
    assert len(done.steps) == done.passes == PLACES + 1
    stopped = model.generate(prompt, stop=[heard[0]])
    assert stopped.completion == (heard[0],)
    assert model.generate(prompt, 1).tokens == stopped.tokens
    with pytest.raises(InputError, match=f"token {VOCABULARY} is outside"):
        model.generate(prompt, 1, stop=[VOCABULARY])


@pytest.mark.parametrize(
    ("prompt", "most", "code"),
    [([], 1, "I140"), ([1] * 10, None, "I140"), ([1] * 7, 4, "I140"), ([1], 0, "I140"), ([11], 1, "I141")],
)
def test_what_does_not_fit(model: CompiledModel, prompt: list[int], most: int | None, code: str) -> None:
    with pytest.raises(InputError) as e:
        model.generate(prompt, most)
    assert e.value.code == code


def test_every_step_says_what_the_float_model_says(model: CompiledModel) -> None:
    """Behind the prompt a step with another next token traps; before its end any token may follow."""
    text = list(model.generate([3, 1, 4]).tokens)
    past = np.zeros((2, 1, PLACES, 8), np.int64)
    for p in range(PLACES + 1):
        right = int(float_logits(np.array(text[: p + 1]))[-1].argmax())
        for then in (right, (right + 1) % VOCABULARY):
            for prompt in (p + 1, p + 2):
                if then != right and prompt == p + 1:
                    with pytest.raises(Trap):
                        step(model, past, text[p], p, then, prompt)
                else:
                    trace = step(model, past, text[p], p, then, prompt)
                    assert trace.outputs["place"] == p + 1
        past = trace.outputs["present"]


def test_nothing_before_the_text_is_read(model: CompiledModel) -> None:
    """Whatever the places of the cache before the text hold: logits, and what is put into the cache, are the same.
    A place of the text is read."""
    draw = np.random.default_rng(0)
    chosen = model.generation.chosen  # type: ignore[union-attr]
    (logits,) = model.program.code[chosen].src
    source = max(k for k in range(chosen) if model.program.code[k].dst == logits)
    t = model.program.input("past").type
    clean = np.zeros(t.shape, np.int64)
    for p, token in enumerate((3, 1, 4, 1)):
        dirty = draw.integers(t.lo, t.hi, t.shape, endpoint=True)
        dirty[:, :, PLACES - p :] = clean[:, :, PLACES - p :]
        a, b = (step(model, x, token, p, 0, 10) for x in (clean, dirty))
        assert np.array_equal(a.writes[source][-1], b.writes[source][-1])
        assert np.array_equal(
            a.outputs["present"][:, :, PLACES - p - 1 :], b.outputs["present"][:, :, PLACES - p - 1 :]
        )
        assert np.array_equal(b.outputs["present"][:, :, :-1], dirty[:, :, 1:])  # handed on as it is
        if p:
            dirty[:, :, PLACES - p] = t.hi
            assert not np.array_equal(step(model, dirty, token, p, 0, 10).writes[source][-1], a.writes[source][-1])
        clean = a.outputs["present"]


def test_a_cache_of_fixed_length_needs_no_option(tmp_path: Path) -> None:
    """And keys that are cached in another layout are a committed input of their own."""
    fixed = compiled(tmp_path, {"fixed": 5, "turned": True})
    assert {i.name: i.type.shape for i in fixed.program.inputs if i.committed} == {
        **{"past": (1, 1, 8, 5), "past_2": (1, 1, 5, 8)}
    }
    assert list(fixed.generate([3, 1, 4]).tokens) == continued([3, 1, 4], 4)
    assert CompiledModel.read(fixed.folder).generation == fixed.generation
    with pytest.raises(InputError) as e:
        compare(fixed, tmp_path / "lm.onnx", {})
    assert e.value.code == "I147"


def test_calibrated_on_texts(tmp_path: Path) -> None:
    texts = np.random.default_rng(1).integers(0, VOCABULARY, (5, 1, 6))
    path = saved(tmp_path, extra=True, cache=True)
    done = compile_onnx(path, tmp_path / "m", generate="greedy", cache=PLACES, calibrate={"ids": texts})
    assert list(done.generate([3, 1, 4], 4).tokens) == continued([3, 1, 4], 4)
    for wrong in ({"x": texts}, {"ids": texts * 0.5}):
        with pytest.raises(ModelError) as e:
            compile_onnx(path, tmp_path / "m", generate="greedy", cache=PLACES, calibrate=wrong)
        assert e.value.code == "M109"


REFUSED: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    ({"cache": False}, {"cache": 4}, "M112", "0 inputs are caches"),
    ({"extra": False}, {"cache": 4}, "M112", "no input attention_mask"),
    ({"hides": 1.0}, {"cache": 4}, "M112", "that the attention mask hides"),
    ({"fixed": 5}, {"cache": 4}, "M112", "have 5 places, not 4"),
    ({}, {"cache": 4, "shapes": {"ids": (1, 8)}}, "M107", r"'ids' is \[1, 1\], the shape given"),
    ({}, {"cache": 4, "show": "last"}, "I110", "show"),
    ({}, {"cache": 4, "prompt_tokens": 2}, "I110", "prompt_tokens"),
    ({}, {"cache": 1}, "I110", "2 to 1023"),
    ({}, {"cache": 16}, "M112", "has 16 positions"),
    ({}, {"cache": 4, "generate": ""}, "I110", "of models that generate"),
]


@pytest.mark.parametrize(("how", "options", "code", "said"), REFUSED, ids=[said for *_, said in REFUSED])
def test_what_is_refused(how: dict[str, Any], options: dict[str, Any], code: str, said: str, tmp_path: Path) -> None:
    path = saved(tmp_path, **{"extra": True, "cache": True, **how})
    with pytest.raises((ModelError, InputError), match=said) as e:
        compile_onnx(path, tmp_path / "m", **{"generate": "greedy", **options})
    assert e.value.code == code
    assert e.value.help or "expected" in e.value.message


def test_more_proofs_than_a_bundle_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syurmy.compiler.pipeline.MAX_SEGMENTS", 9)
    with pytest.raises(InputError, match="has 10 proofs, 9 at most") as e:
        compiled(tmp_path, cache=4, segments=2)
    assert e.value.code == "I110"


def test_caches_that_do_not_grow(tmp_path: Path) -> None:
    """Presents in another order than pasts, and lengths that do not follow."""
    model = language_model(extra=True, cache=True)
    key, value = model.graph.output[1], model.graph.output[2]
    swapped = onnx.ModelProto()
    swapped.CopyFrom(model)
    del swapped.graph.output[1:]
    swapped.graph.output.extend([value, key])
    options = Options(generate="greedy", cache=4)
    with pytest.warns(UserWarning, match="no calibration"), pytest.raises(ModelError, match="is not the cache") as e:
        compile_model(swapped, tmp_path / "m", options=options)
    assert e.value.code == "M112"
    for i in model.graph.input[-2:]:
        i.type.tensor_type.shape.dim[2].dim_param = "width"
    with pytest.raises(ModelError, match="does not become") as e:
        compile_model(model, tmp_path / "m", options=options)
    assert e.value.code == "M112"


CHUNK = 4


@pytest.fixture(scope="module")
def chunks(tmp_path_factory: pytest.TempPathFactory) -> CompiledModel:
    return compiled(tmp_path_factory.mktemp("chunks"), cache=PLACES, chunk=CHUNK, show="all")


@pytest.mark.parametrize("prompt", [[3, 1, 4], [0], [10, 10, 2, 7, 5], list(range(9)), [5] * 12])
def test_some_tokens_at_a_time(chunks: CompiledModel, prompt: list[int]) -> None:
    """The same text, in a quarter of the steps; each asserts its places of it, and no others."""
    total = PLACES + CHUNK + 1
    heard: list[int] = []
    done = chunks.generate(prompt, heard=heard.extend)
    assert list(done.tokens) == continued(prompt, total - len(prompt))
    assert (list(done.completion), len(done.steps)) == (heard, 3)
    assert done.undecided == done.saturated == ()
    assert done.passes <= len(heard) + 3
    for most in range(1, total - len(prompt)):
        short = chunks.generate(prompt, most)
        assert short.tokens == done.tokens[: len(prompt) + most]
        assert len(short.steps) == -(-(len(short.tokens) - 1) // CHUNK)
    stopped = chunks.generate(prompt, stop=[heard[0]])
    assert stopped.completion == (heard[0],)
    assert CompiledModel.read(chunks.folder).generation == chunks.generation


def test_what_a_step_of_some_tokens_asserts(chunks: CompiledModel) -> None:
    """Every token of the text behind the prompt, and neither the prompt nor what is behind the text."""
    g, program = chunks.generation, chunks.program
    assert g is not None
    assert g.step is not None
    done = chunks.generate([3, 1, 4], 7)  # places 0 .. 9, of which chunks read 0 .. 3, 4 .. 7 and 8 .. 11
    for k, given in enumerate(done.steps):
        trace = syurmy.run(program, given)
        assert trace.outputs["place"].tolist() == [CHUNK * (k + 1)]
        text = np.array(done.tokens[: CHUNK * (k + 1)])
        shown = trace.outputs[next(p.name for p in chunks.outputs if p.model_name == "logits")]
        real = shown.reshape(CHUNK, -1) * next(p.scale for p in chunks.outputs if p.model_name == "logits")
        read = len(text) - CHUNK * k
        assert np.allclose(real[:read], float_logits(text)[CHUNK * k :], atol=0.05)
        for j in range(1, CHUNK + 1):
            place, name = CHUNK * k + j, g.step.rest if j < CHUNK else g.step.next
            other = given | {name: given[name].copy()}
            at = other[name].reshape(-1)
            at[j - 1 if j < CHUNK else 0] = (at[j - 1 if j < CHUNK else 0] + 1) % VOCABULARY
            if 3 <= place < 10:
                with pytest.raises(Trap):
                    syurmy.run(program, other)
            elif place >= 10 or j == CHUNK:
                syurmy.run(program, other)  # (a prompt's other token changes what is chosen behind it)


def test_what_a_chunk_hands_on(chunks: CompiledModel) -> None:
    """The caches of the program that reads one token at a time, and with the last chunk nothing is lost."""
    done = chunks.generate([3, 1, 4])
    (past,) = (name for name, _ in chunks.generation.step.caches)  # type: ignore[union-attr]
    first, second, third = (given[past] for given in done.steps)
    assert not first.any()
    assert second[:, :, -CHUNK:].any()
    assert not second[:, :, :-CHUNK].any()
    assert np.array_equal(third[:, :, :CHUNK], second[:, :, -CHUNK:])


def test_only_chunks_that_assert_a_text_are_called_one(chunks: CompiledModel) -> None:
    program, steps, folder = chunks.program, chunks.chained, chunks.folder
    assert steps is not None
    position = program.inputs[0].name
    found = GreedyStep("ids", "ids_rest", "next_token", "prompt", "length", position, "place")
    assert greedy_step(program, steps) == found
    assert implied(program, steps) == {*vars(found).values()}
    source = (folder / "model.tasm").read_text()

    def of(old: str, new: str) -> GreedyStep | None:
        at = max((m for m in re.finditer(old, source)), key=re.Match.start)  # the assertion is at the end
        (folder / "other.tasm").write_text(source[: at.start()] + at.expand(new) + source[at.end() :])
        return greedy_step(syurmy.load(folder / "other.tasm"), steps)

    assert of(r"    halt", "    halt") == found
    line = {op: rf"    {op} (\S+), (\S+), (\S+)" for op in ("le", "mul", "lt", "ge", "eq", "concat", "add")}
    changes = {
        r"    assert \S+": "",
        line["le"]: r"    le \1, \3, \2",
        line["mul"]: r"    mul \1, \3, \2",
        line["lt"]: r"    le \1, \2, \3",
        line["ge"]: r"    gt \1, \2, \3",
        r"    concat (\S+), ids_rest, next_token, axis=1": r"    concat \1, next_token, ids_rest, axis=1",
        r"argmax ": "argmin ",
        r"    addi (\S+), \S+, value=4|    addi (\S+), (\S+), 4": r"    addi \1\2, \3, 3",
        r"prompt : i8\[\] public in 1": "prompt : i8[] public in 0",
        r"length : i8\[\] public": "length : i8[] private",
        r"places_2? : i8\[4\] public": "places_2 : i8[4] committed",
    }
    for old, new in changes.items():
        assert of(old, new) is None, old
    held = [c for c in steps.carried if c.target != "length"]
    assert greedy_step(program, replace(steps, carried=tuple(held))) is None
    ahead = next(p.name for p in program.params if not p.committed and p.type.shape == (CHUNK,))
    moved = {**program.data, ahead: np.asarray(program.data[ahead]) + 1}
    assert greedy_step(replace(program, data=moved), steps) is None


def test_a_text_is_proven_from_python(chunks: CompiledModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = chunks.generate([3, 1, 4], 4)
    assert (text.proof, text.statement) == (None, None)
    with monkeypatch.context() as m:
        interrupted(m)
        with pytest.raises(KeyboardInterrupt):
            chunks.prove_text(text, parts=tmp_path / "parts")
    assert len(list((tmp_path / "parts").glob("*.proof"))) == 1
    done = chunks.prove_text(text, parts=tmp_path / "parts")
    assert not (tmp_path / "parts").exists()
    assert done.proof is not None
    key = chunks.bundle_key()
    found = completions(syurmy.verify(key, done.proof), key.programs[-1], key.steps)
    assert found == completions(done.statement, key.programs[-1], key.steps)  # type: ignore[arg-type]
    assert found == [Completion(text.tokens[:3], text.completion)]


CHUNKS: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    ({}, {"cache": 6, "chunk": 4}, "I110", "a multiple of the 4 tokens"),
    ({}, {"cache": 4, "chunk": 0}, "I110", "1 to 131072 tokens"),
    ({}, {"chunk": 2}, "I110", "chunk is of models with a cache"),
    ({}, {"cache": 12, "chunk": 6}, "M112", "has 16 positions"),
    ({"fixed": 5}, {"chunk": 5}, "M112", "does not become"),
    ({"causal": False}, {"cache": 8, "chunk": 4}, "M113", "logits before position 2 change"),
    ({"leak": -4.0}, {"cache": 8, "chunk": 4}, "M113", "logits before position 2 change"),
]


@pytest.mark.parametrize(("how", "options", "code", "said"), CHUNKS, ids=[said for *_, said in CHUNKS])
def test_chunks_that_are_refused(
    how: dict[str, Any], options: dict[str, Any], code: str, said: str, tmp_path: Path
) -> None:
    path = saved(tmp_path, **{"extra": True, "cache": True, **how})
    with pytest.raises((ModelError, InputError), match=said) as e:
        compile_onnx(path, tmp_path / "m", **{"generate": "greedy", **options})
    assert e.value.code == code
    assert e.value.help or "expected" in e.value.message
