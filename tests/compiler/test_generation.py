"""Language models that are compiled to state what they write: against NumPy, one token after the other."""

from __future__ import annotations

import warnings
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import syurmy
from syurmy import costs
from syurmy.compiler import CompiledModel, ModelError, compile_onnx
from syurmy.compiler.causal import refuse_leaks
from syurmy.compiler.generation import generated, undecided
from syurmy.isa.errors import InputError
from tests.compiler.language_models import VOCABULARY, float_logits, language_model, saved

pytest.importorskip("onnxruntime")
TOTAL = 12
PROMPTS = [[3, 1, 4], [0], [10, 10, 2, 7, 5], list(range(11))]


def compiled(folder: Path, how: dict[str, Any] | None = None, **options: Any) -> CompiledModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # no calibration data
        path = saved(folder, **(how or {}))
        return compile_onnx(path, folder / "m", generate="greedy", shapes={"ids": (1, TOTAL)}, **options)


def continued(ids: list[int], most: int, ties: bool = False) -> list[int]:
    """By the float model, token after token."""
    for _ in range(most):
        ids = [*ids, int(float_logits(np.array(ids), ties)[-1].argmax())]
    return ids


def step_by_step(model: CompiledModel, ids: list[int], most: int) -> list[int]:
    """By the program's own logits, one run for every token, tokens behind left at 0."""
    ins = model.program.code[model.generation.chosen]
    source = [k for k, i in enumerate(model.program.code) if i.dst == ins.src[0]][-1]
    for _ in range(most):
        padded = np.zeros((1, TOTAL), np.int64)
        padded[0, : len(ids)] = ids
        trace = syurmy.run(model.program, {"ids": padded, "prompt": np.array(1), "length": np.array(1)})
        ids = [*ids, int(trace.writes[source][-1].reshape(TOTAL - 1, -1)[len(ids) - 1].argmax())]
    return ids


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> CompiledModel:
    return compiled(tmp_path_factory.mktemp("lm"))


@pytest.mark.parametrize("prompt", PROMPTS)
def test_text_is_the_models(model: CompiledModel, prompt: list[int]) -> None:
    heard: list[int] = []
    most = min(6, TOTAL - len(prompt))
    done = model.generate(prompt, most, heard=heard.extend)
    assert list(done.tokens) == step_by_step(model, prompt, most)
    assert list(done.completion) == heard
    assert done.undecided == ()
    assert list(done.tokens) == continued(prompt, most)
    assert 1 <= done.passes <= most
    assert {k: v.reshape(-1).tolist() for k, v in done.trace.inputs.items()} == {
        "ids": [*done.tokens, *[0] * (TOTAL - len(done.tokens))],
        "prompt": [len(prompt)],
        "length": [len(done.tokens)],
    }


def test_it_stops(model: CompiledModel) -> None:
    whole = generated(model, [3, 1, 4]).completion
    at = whole.index(whole[4])
    done = generated(model, [3, 1, 4], stop=(whole[4],))
    assert done.completion == whole[: at + 1]


@pytest.mark.parametrize(
    ("prompt", "most", "code"),
    [
        *(([], 1, "I140"), ([1] * 12, None, "I140"), ([1] * 7, 6, "I140"), ([1], 0, "I140")),
        *(([11], 1, "I141"), ([-1], 1, "I141")),
    ],
)
def test_what_does_not_fit(model: CompiledModel, prompt: list[int], most: int | None, code: str) -> None:
    with pytest.raises(InputError) as e:
        generated(model, prompt, most)
    assert e.value.code == code


def test_a_run_of_other_tokens_traps(model: CompiledModel) -> None:
    """Exactly where a token of the completion is not what the float model says."""
    written = list(generated(model, [3, 1, 4], 5).tokens)
    trapped = 0
    for place, prompt, length in product(range(8), (1, 4, 7), range(2, 9, 2)):
        ids = np.zeros((1, TOTAL), np.int64)
        ids[0, :8] = written
        ids[0, place] = (ids[0, place] + 1) % VOCABULARY
        says = float_logits(ids[0]).argmax(axis=1)
        right = all(ids[0, i] == says[i - 1] for i in range(prompt, length))
        given = {"ids": ids, "prompt": np.array(prompt), "length": np.array(length)}
        if right:
            syurmy.run(model.program, given)
            continue
        trapped += 1
        with pytest.raises(syurmy.SyurmyError) as e:
            syurmy.run(model.program, given)
        assert e.value.code == "T110"
    assert trapped > 20


FORMS: list[dict[str, Any]] = [{"extra": True}, {"cache": True}, {"cache": True, "extra": True}]


@pytest.mark.parametrize("how", FORMS)
def test_what_exporters_add_changes_nothing(model: CompiledModel, how: dict[str, Any], tmp_path: Path) -> None:
    other = compiled(tmp_path, how)
    assert [p.model_name for p in other.inputs] == ["ids", "prompt", "length"]
    assert generated(other, [3, 1, 4]).tokens == generated(model, [3, 1, 4]).tokens


def test_ties_go_to_the_lowest(tmp_path: Path) -> None:
    """Token 7 is scored like token 4: it is never written."""
    tied = compiled(tmp_path, {"ties": True})
    seen: set[int] = set()
    for prompt in ([3, 1, 4], [7, 7], [9, 0, 4]):
        done = generated(tied, prompt)
        assert list(done.tokens) == continued(prompt, TOTAL - len(prompt), ties=True)
        seen |= set(done.completion)
        assert done.undecided == ()  # equal in the float model, too
    assert 4 in seen
    assert 7 not in seen


@pytest.mark.parametrize("show", ["last", "topk=3", "all"])
def test_what_is_shown(show: str, tmp_path: Path) -> None:
    shown = compiled(tmp_path, show=show)
    done = generated(shown, [3, 1, 4], 5)
    outputs = shown.dequantise(done.trace.outputs)
    want = float_logits(np.array([*done.tokens, 0, 0, 0, 0]))[:-1]
    if show == "last":
        np.testing.assert_allclose(outputs["last_logits"], want[6], atol=5e-3)
        assert outputs["last_logits"].argmax() == done.tokens[-1]
    elif show == "all":
        np.testing.assert_allclose(outputs["next_logits"][0], want, atol=5e-3)
    else:
        np.testing.assert_allclose(outputs["top_logits"][0], np.sort(want)[:, :-4:-1], atol=5e-3)
        assert outputs["top_tokens"][0, 2:7, 0].tolist() == list(done.completion)


def test_programs_for_longer_prompts(model: CompiledModel, tmp_path: Path) -> None:
    later = compiled(tmp_path, prompt_tokens=5)
    assert costs.of_program(later.program)[0].leaves < costs.of_program(model.program)[0].leaves
    for prompt in ([3, 1, 4, 1, 5], list(range(8))):
        assert generated(later, prompt).tokens == generated(model, prompt).tokens
    for prompt, code in (([3, 1, 4, 1], "I140"), ([], "I140")):
        with pytest.raises(InputError) as e:
            generated(later, prompt)
        assert e.value.code == code
    assert refused(language_model(), tmp_path / "m", prompt_tokens=8) == "M112"


def test_near_ties_are_told(tmp_path: Path) -> None:
    """Of weights with 8 bits some choices are by less than that is off; exactly those are listed."""
    coarse = compiled(tmp_path, weights=8, activations=8, tolerance=1.0)
    d = next(d for d in coarse.decisions if d.index == coarse.generation.chosen)
    ins = coarse.program.code[d.index]
    source = [k for k, i in enumerate(coarse.program.code) if i.dst == ins.src[0]][-1]
    told = 0
    for first in range(VOCABULARY):
        done = generated(coarse, [first])
        logits = np.sort(done.trace.writes[source][-1].reshape(TOTAL - 1, -1), axis=1)
        gaps = logits[:, -1] - logits[:, -2]
        assert undecided(coarse, done.trace) == [i + 1 for i in range(TOTAL - 1) if gaps[i] <= d.units]
        assert done.undecided == tuple(i for i in range(1, len(done.tokens)) if gaps[i - 1] <= d.units)
        float_says = float_logits(np.array(done.tokens)).argmax(axis=1)[:-1]
        apart = {i + 1 for i in range(TOTAL - 1) if float_says[i] != done.tokens[i + 1]}
        assert apart <= set(done.undecided)
        told += len(done.undecided)
    assert told > 0


def refused(model: onnx.ModelProto, folder: Path, **options: Any) -> str:
    onnx.save(model, folder / "bad.onnx")
    given = {"generate": "greedy", "shapes": {"ids": (1, 8)}} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        with pytest.raises(ModelError) as e:
            compile_onnx(folder / "bad.onnx", folder / "m", **given)
    assert not (folder / "m").exists()
    return str(e.value.code)


def test_models_of_other_forms_are_refused(tmp_path: Path) -> None:
    assert refused(language_model(causal=False), tmp_path) == "M113"
    assert refused(language_model(leak=-3.0), tmp_path) == "M113"
    assert refused(language_model(), tmp_path, shapes=None) == "M107"
    assert refused(language_model(), tmp_path, shapes={"ids": (1, 8), "idz": (1, 8)}) == "M107"
    assert refused(language_model(), tmp_path, shapes={"ids": (1, 1)}) == "M112"
    assert refused(language_model(), tmp_path, shapes={"ids": (2, 8)}) == "M112"
    headless = language_model()
    headless.graph.output[0].name = "last_hidden_state"
    headless.graph.node[-1].output[0] = "last_hidden_state"
    assert refused(headless, tmp_path) == "M112"
    pixels = language_model()
    pixels.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    assert refused(pixels, tmp_path) == "M112"
    fixed = language_model(cache=True)
    for i in fixed.graph.input[1:]:
        i.type.tensor_type.shape.dim[1].dim_value = 5
    assert refused(fixed, tmp_path) == "M112"
    one = language_model()
    nodes = [onnx.helper.make_node("Gather", ["all", "last"], ["logits"], axis=1)]
    one.graph.node[-1].output[0] = "all"
    one.graph.node.extend(nodes)
    assert refused(one, tmp_path) == "M112"


def test_integer_logits_that_see_later_tokens_are_refused(model: CompiledModel, tmp_path: Path) -> None:
    """A mask that vanishes for floats within the tolerance and not in the program."""
    ids = np.arange(TOTAL)[None] % VOCABULARY
    refuse_leaks(model.program, model.generation, ids)
    assert refused(language_model(leak=-11.0), tmp_path) == "M113"


def test_outputs_that_are_not_shown_cannot_be_committed(tmp_path: Path) -> None:
    for show, name in (("", "next_logits"), ("last", "next_logits"), ("all", "last_logits")):
        with pytest.raises(InputError) as e:
            compiled(tmp_path, show=show, commit_outputs=[name])
        assert e.value.code == "I110"
    sealed = compiled(tmp_path, show="last", commit_outputs=["last_logits"])
    assert [o.visibility for o in sealed.program.outputs] == ["committed"]


def test_more_logits_than_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="more than the 11 logits") as e:
        compiled(tmp_path, show="topk=12")
    assert e.value.code == "I110"


def test_options_are_checked(tmp_path: Path) -> None:
    for bad in (
        {"generate": "beam"},
        {"generate": "greedy", "show": "topk=0"},
        {"generate": "greedy", "prompt_tokens": 0},
        {"prompt_tokens": 2},
        {"show": "all"},
        {"tokenizer": "x.json"},
        {"generate": "greedy", "commit_inputs": ["ids"]},
    ):
        with pytest.raises(InputError) as e:
            compile_onnx("none.onnx", tmp_path / "m", **bad)
        assert e.value.code == "I110"
