"""``syurmy-vm generate``: from a text to the proof of how it goes on, and what verifying that says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import syurmy
from syurmy.cli import app
from syurmy.compiler.cutting import cut_into
from syurmy.completions import begins, completions, greedy
from syurmy.isa.errors import InputError
from syurmy.prover.protocol.bundle import BundleKey
from syurmy.vocabulary import Vocabulary
from tests.bundles import interrupted, rejoined, split
from tests.compiler.language_models import saved

pytest.importorskip("onnxruntime")
ROOT = Path(__file__).resolve().parents[2]
LETTERS = "abcdefghijk"


def call(*arguments: object, code: int = 0) -> Any:
    """The parsed JSON of one command."""
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def said(*arguments: object) -> str:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("lm")
    (at / "letters.json").write_text(json.dumps(list(LETTERS)))
    calibration = np.random.default_rng(0).integers(0, 11, (8, 1, 12))
    np.savez(at / "data.npz", ids=calibration, attention_mask=np.ones_like(calibration), position_ids=calibration * 0)
    done = call(
        *("compile", saved(at, extra=True), "-o", at / "m", "--generate", "greedy", "--shape", "ids=1,12"),
        *("--tokenizer", at / "letters.json", "--calibrate", at / "data.npz", "--show", "last"),
    )
    assert [p["model_name"] for p in done["inputs"]] == ["ids", "prompt", "length"]
    return at


@pytest.mark.slow
def test_text_proof_verdict(folder: Path) -> None:
    proof = folder / "text.proof"
    made = call("generate", folder / "m", "--prompt", "dbe", "--max-tokens", 5, "--proof", proof)
    (text,) = made["generated"]
    assert made["verified"]
    assert (text["prompt_text"], text["prompt"]) == ("dbe", [3, 1, 4])
    assert text["completion_text"] == "".join(LETTERS[t] for t in text["completion"])
    assert len(text["completion"]) == 5
    assert made["undecided"] == made["saturated"] == []
    assert int(np.argmax(made["outputs"]["last_logits"])) == text["completion"][-1]
    key = folder / "m" / "model.vk"
    verdict = call("verify", key, proof, "--tokenizer", folder / "letters.json", "--reference")
    assert verdict["generated"] == [text]
    assert call("verify", key, proof)["generated"] == [text | {"prompt_text": None, "completion_text": None}]
    lines = said("verify", key, proof, "--tokenizer", folder / "letters.json").splitlines()
    assert 'prompt: "dbe" (3 tokens: 3, 1, 4)' in lines
    assert any(line.startswith(f'completion: "{text["completion_text"]}" (5 tokens: ') for line in lines)
    assert call("verify", key, proof, "--expect", "prompt=4", code=1)["error"]["code"] == "V120"
    other = call("generate", folder / "m", "--tokens", "0,1", "--max-tokens", 3, "--prove")
    assert other["verified"]
    again = call("generate", folder / "m", "--tokens", "0,2", "--prove", code=2)
    assert again["error"]["code"] == "F130"


def test_text_is_printed_as_it_comes(folder: Path) -> None:
    text = call("generate", folder / "m", "--prompt", "dbe", "--max-tokens", 5)["generated"][0]
    shown = said("generate", folder / "m", "--prompt", "dbe", "--max-tokens", 5)
    assert shown.splitlines()[0] == "dbe" + text["completion_text"]
    assert shown.splitlines()[1].startswith("output last_logits = ")
    stop = str(text["completion"][2])
    stopped = call("generate", folder / "m", "--prompt", "dbe", "--stop", stop)["generated"][0]["completion"]
    assert stopped == text["completion"][: text["completion"].index(int(stop)) + 1]


ERRORS: list[tuple[tuple[str, ...], str]] = [
    (("--prompt", "dbe", "--max-tokens", "10"), "I140"),
    (("--prompt", ""), "I140"),
    ((), "I140"),
    (("--prompt", "d", "--tokens", "1"), "I140"),
    (("--tokens", "1,x"), "I140"),
    (("--tokens", "1,11"), "I141"),
    (("--prompt", "dbz"), "I143"),
    (("--prompt", "d", "--tokenizer", "more.json"), "I142"),
    (("--prompt", "d", "--tokenizer", "none.json"), "F100"),
    (("--prompt", "d", "--tokenizer", "text.json"), "F110"),
    (("--prompt", "d", "--tokenizer", "words.json"), "F110"),
    (("--prompt", "d", "--no-zk", "--memory", "8G"), "X192"),
    (("--prompt", "d", "--prove", "--memory", "50M"), "P190"),
]


@pytest.mark.parametrize(("arguments", "code"), ERRORS, ids=[" ".join(a) or "nothing" for a, _ in ERRORS])
def test_errors(folder: Path, arguments: tuple[str, ...], code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "more.json").write_text(json.dumps(list(LETTERS + "l")))
    (folder / "text.json").write_text("{")
    (folder / "words.json").write_text(json.dumps(["ab", "c"]))
    assert call("generate", "m", *arguments, code=2)["error"]["code"] == code


def test_nothing_is_printed_of_what_is_refused(folder: Path) -> None:
    for words in (("--prompt", "dbe", "--max-tokens", "10"), ("--tokens", "1,11"), ("--prompt", "d", "--stop", "11")):
        done = CliRunner().invoke(app, ["generate", str(folder / "m"), *words])
        assert (done.exit_code, done.stdout) == (2, "")


def test_other_programs(folder: Path) -> None:
    for other in (folder / "lm.onnx", ROOT / "programs" / "digits_mlp.tasm"):
        assert call("generate", other, "--tokens", "1", code=2)["error"]["code"] == "I144"
    assert call("generate", folder, "--tokens", "1", code=2)["error"]["code"] == "F112"


def test_it_is_compared_with_its_float_model(folder: Path) -> None:
    found = call("compare", folder / "m", "--model", folder / "lm.onnx")
    assert (found["samples"], found["same_source"]) == (1, True)
    assert {t["tensor"] for t in found["tensors"]} >= {"ids", "next_logits", "next"}
    assert all(t["relative"] <= 1e-3 for t in found["tensors"])


def test_another_tokenizer_or_none(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "m", tmp_path / "m", ignore=shutil.ignore_patterns("model.pk*", "*.proof"))
    (tmp_path / "m" / "tokenizer.json").write_text(json.dumps(list(LETTERS[::-1])))
    assert call("generate", tmp_path / "m", "--prompt", "d", code=2)["error"]["code"] == "I142"
    record = json.loads((tmp_path / "m" / "model.json").read_text())
    record["generation"]["tokenizer"] = None
    (tmp_path / "m" / "model.json").write_text(json.dumps(record))
    assert call("generate", tmp_path / "m", "--prompt", "d", code=2)["error"]["code"] == "I145"
    assert call("generate", tmp_path / "m", "--tokens", "3", "--max-tokens", "1")["generated"][0]["prompt"] == [3]
    for change in ({"chosen": 0}, {"chosen": 10**6}, {"total": 13}, {"prompt": "ids"}, {"tokens": "x"}, {"total": "?"}):
        damaged = record | {"generation": record["generation"] | change}
        (tmp_path / "m" / "model.json").write_text(json.dumps(damaged))
        assert call("generate", tmp_path / "m", "--tokens", "3", code=2)["error"]["code"] == "F110"
    (tmp_path / "m" / "model.json").write_text(json.dumps(record | {"generation": None}))
    assert call("generate", tmp_path / "m", "--tokens", "3", code=2)["error"]["code"] == "I144"


def test_only_programs_that_assert_it_are_called_greedy(folder: Path) -> None:
    source = (folder / "m" / "model.tasm").read_text()

    def names(text: str) -> Any:
        (folder / "m" / "other.tasm").write_text(text)
        return greedy(syurmy.load(folder / "m" / "other.tasm"))

    assert names(source) == ("ids", "prompt", "length")
    held = next(line for line in source.splitlines() if line.strip().startswith("assert"))
    line = {op: [x for x in source.splitlines() if x.split()[:1] == [op]][-1] for op in ("le", "ge", "eq", "argmax")}
    name = {op: x.split()[1].rstrip(",") for op, x in line.items()}
    changes = {
        held: "",  # nothing is asserted
        "    halt": "    mov more, prompt\n    halt",  # not the last
        line["le"]: line["le"].replace(name["eq"], name["ge"]),  # something else is
        line["argmax"]: line["argmax"].replace("argmax ", "argmin "),
        "len=11, start=1": "len=11",  # its own token, not the next
        ".input   prompt : i8[] public in 1..12": ".input   prompt : i8[] public in 0..12",
        ".input   length : i8[] public": ".input   length : i8[] private",
        "i8[11] public": "i8[11] committed",  # places
    }
    for old, new in changes.items():
        assert old in source, old
        assert names(source.replace(old, new)) is None, (old, new)
    jumped = source.replace(held, f"    lt none, prompt, length\n    bz none, past\n{held}\npast:")
    assert names(jumped) is None
    program = syurmy.load(folder / "m" / "model.tasm")
    moved = {"places": np.asarray(program.data[next(p.name for p in program.params if not p.committed)]) + 1}
    shifted = replace(program, data={**program.data, **moved})
    assert greedy(shifted) is None


def test_a_tokenizer_of_words(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    words = {w: k for k, w in enumerate(["the", "cat", "sat", "on", "mat", "<unk>"])}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    vocabulary = Vocabulary.read(tmp_path / "tokenizer.json")
    assert vocabulary.size == 6
    assert vocabulary.encode("the cat sat") == [0, 1, 2]
    assert vocabulary.decode([0, 1, 2]) == "the cat sat"
    assert vocabulary.added([0, 1], [0, 1, 2]) == " sat"
    assert not vocabulary.misread("the  cat", [0, 1])
    assert vocabulary.misread("the dog", vocabulary.encode("the dog"))
    made.enable_truncation(2)
    made.enable_padding(length=5, pad_id=5, pad_token="<unk>")
    assert Vocabulary(made.to_str().encode(), "").encode("the cat sat") == [0, 1, 2]
    added = tokenizers.AddedToken("<s>", special=True)
    made.add_special_tokens([added])
    made.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 6)])
    begun = Vocabulary(made.to_str().encode(), "")
    assert (begun.encode("the cat"), begun.misread("the cat", [6, 0, 1])) == ([6, 0, 1], False)
    vocabulary.refuse_other(6)
    with pytest.raises(InputError) as e:
        vocabulary.refuse_other(5)
    assert e.value.code == "I142"
    (tmp_path / "bad.json").write_text('{"model": 3}')
    with pytest.raises(InputError) as e:
        Vocabulary.read(tmp_path / "bad.json")
    assert e.value.code == "F110"


def test_characters_that_a_tokenizer_drops(folder: Path, tmp_path: Path) -> None:
    """Those without a token for what they have not leave it out."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.BPE({c: k for k, c in enumerate(LETTERS)}, []))
    made.save(str(tmp_path / "t.json"))
    words = "generate", folder / "m", "--tokenizer", tmp_path / "t.json", "--max-tokens", 1, "--prompt"
    assert call(*words, "dbe")["warnings"] == []
    (warning,) = call(*words, "dzbe")["warnings"]
    assert warning == "the tokenizer reads the prompt as 'd b e'"


def test_without_the_package(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text("{}")
    script = "import sys; sys.modules['tokenizers'] = None\nfrom pathlib import Path\n"
    script += "from syurmy.vocabulary import Vocabulary\nVocabulary.read(Path(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "t.json"], capture_output=True, text=True)
    assert "X150" in done.stderr or "needs the package tokenizers" in done.stderr


@pytest.mark.slow
def test_in_segments(folder: Path, tmp_path: Path) -> None:
    """A model that is cut writes and states the same text; all of the assertion is in its last segment, and the text in
    it is the one that the first segment read."""
    out = tmp_path / "m"
    call(
        *("compile", folder / "lm.onnx", "-o", out, "--generate", "greedy", "--shape", "ids=1,12", "--segments", 2),
        *("--tokenizer", folder / "letters.json", "--calibrate", folder / "data.npz"),
    )
    model = syurmy.CompiledModel.read(out)
    assert len(model.cuts) == 1
    assert all(greedy(p) is None for p in model.segmented.segments[:-1])
    assert greedy(model.segmented.segments[-1]) == greedy(model.program)
    with pytest.raises(InputError) as e:
        cut_into(model.program, len(model.program.code), begins(model.program))
    assert e.value.code == "I160"
    bundles = []
    for k, prompt in enumerate(("dbe", "abe")):
        made = call("generate", out, "--prompt", prompt, "--max-tokens", 4, "--proof", tmp_path / f"{k}.proof")
        whole = call("generate", folder / "m", "--prompt", prompt, "--max-tokens", 4)
        assert made["generated"] == whole["generated"]
        assert len(made["segments"]) == 2
        verdict = call("verify", out / "model.vk", made["proof"], "--tokenizer", folder / "letters.json")
        assert verdict["generated"] == made["generated"]
        bundles.append(split(Path(made["proof"]).read_bytes()))
    key = BundleKey.load(out / "model.vk")
    statement = syurmy.verify(key, tmp_path / "0.proof")
    assert completions(statement, key.programs[-1])
    assert completions(replace(statement, inputs={}), key.programs[-1]) == []  # a text that only segments show
    (tmp_path / "mixed.proof").write_bytes(rejoined(key, [*bundles[0][:-1], bundles[1][-1]]))
    refused = call("verify", out / "model.vk", tmp_path / "mixed.proof", code=1)
    assert refused["error"]["step"].startswith("link '")


@pytest.mark.slow
def test_a_token_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model with a cache: a proof for each token but the last, one bundle, and who deals with it sees the text."""
    (tmp_path / "letters.json").write_text(json.dumps(list(LETTERS)))
    np.savez(tmp_path / "data.npz", ids=np.random.default_rng(0).integers(0, 11, (6, 1, 5)))
    path, out = saved(tmp_path, extra=True, cache=True), tmp_path / "m"
    call(
        *("compile", path, "-o", out, "--generate", "greedy", "--cache", 4),
        *("--tokenizer", tmp_path / "letters.json", "--calibrate", tmp_path / "data.npz"),
    )
    assert call("prove", out, code=2)["error"]["code"] == "I147"
    call("setup", out)
    certificate = call("certify", out)
    assert certificate["resumed"] == 0
    written = call("generate", out, "--prompt", "d", "--max-tokens", 2)
    assert (written["verified"], written["outputs"]) == (None, {})
    made = call("generate", out, "--prompt", "d", "--max-tokens", 2, "--prove")
    assert made["generated"] == written["generated"]
    assert (made["verified"], made["chained"], len(made["segments"])) == (True, 2, 2)
    text = made["generated"][0]
    key, proof = out / "model.vk", out / "model.proof"
    verdict = call("verify", key, proof, "--tokenizer", tmp_path / "letters.json")
    assert verdict["generated"] == made["generated"]
    given, rested = ("--certificate", out / "model.cert"), tmp_path / "rested.proof"
    smaller = call("generate", out, "--prompt", "d", "--max-tokens", 2, "--proof", rested, *given)
    assert smaller["proof_bytes"] < made["proof_bytes"]
    assert call("verify", key, rested, *given)["certificate"] == certificate["certificate"]
    assert call("verify", key, rested, code=1)["error"]["step"] == "step 0: certificate"
    assert np.reshape(verdict["inputs"]["ids"], -1).tolist() == [*text["prompt"], text["completion"][0]]
    assert verdict["outputs"] == {"place": [[1], [2]]}
    assert verdict["soundness_bits"] == min(verdict["soundness"].values()) >= 100
    assert list(verdict["soundness"]) == ["step 0", "step 1"]
    lines = said("verify", key, proof).splitlines()
    assert any(" bits in every proof, " in line for line in lines)
    assert "in 2 steps, each with what the one before hands on: every proof and every link holds" in lines
    assert f"completion: (2 tokens: {', '.join(map(str, text['completion']))})" in lines
    assert not any("public input" in line for line in lines)
    told = said("verify", key, proof, "-v")
    assert "public input prompt = [1, 1]" in told.splitlines()
    assert "errors in bits, of every proof: step 0 100" in told
    assert call("info", key)["most_steps"] == 5
    proofs = split(proof.read_bytes())
    (tmp_path / "bent.proof").write_bytes(rejoined(BundleKey.load(key), [proofs[1]]))
    assert call("verify", key, tmp_path / "bent.proof", code=1)["error"]["step"] == "link 'position_'"
    other = call("generate", out, "--prompt", "d", "--max-tokens", 2, "--proof", tmp_path / "again.proof")
    assert other["generated"] == made["generated"]
    again = split((tmp_path / "again.proof").read_bytes())
    (tmp_path / "bent.proof").write_bytes(rejoined(BundleKey.load(key), [proofs[0], again[1]]))
    refused = call("verify", key, tmp_path / "bent.proof", code=1)["error"]
    assert (refused["step"], refused["reason"]) == (
        *("link 'past'", "step 1 names another commitment to it than step 0 to 'present'"),
    )
    assert call("generate", out, "--prompt", "ab", "--prove", code=2)["error"]["code"] == "F130"
    assert call("setup", out)["reused"]
    with monkeypatch.context() as m:
        interrupted(m)
        call("generate", out, "--prompt", "d", "--max-tokens", 2, "--proof", tmp_path / "kept.proof", code=130)
    other = call("generate", out, "--prompt", "ab", "--proof", tmp_path / "kept.proof", code=2)
    assert other["error"]["code"] == "F131"  # naming the file does not drop what is finished
    call("setup", out, "--renew", "--proofs", 1)
    few = call("generate", out, "--prompt", "d", "--max-tokens", 2, "--proof", tmp_path / "few.proof", code=2)["error"]
    assert (few["code"], few["message"]) == (
        *("P180", "2 proofs are to be made, and the key's params stay hidden in 1 more"),
    )
    assert not list((tmp_path / "few.proof.parts").glob("*.proof"))
    call("setup", out, "--renew", "--proofs", 2)  # nothing was finished: nothing is in the way
    assert call("generate", out, "--prompt", "d", "--max-tokens", 2, "--proof", tmp_path / "few.proof")["verified"]


@pytest.mark.slow
def test_some_tokens_at_a_time_and_what_is_expected_of_them(tmp_path: Path) -> None:
    """Prompt and completion in one bundle of two steps; who expects another text than it states is told."""
    (tmp_path / "letters.json").write_text(json.dumps(list(LETTERS)))
    path, out = saved(tmp_path, extra=True, cache=True), tmp_path / "m"
    done = CliRunner().invoke(
        app,
        [*("compile", str(path), "-o", str(out), "--generate", "greedy", "--cache", "4", "--chunk", "4"),
         *("--show", "topk=2", "--tokenizer", str(tmp_path / "letters.json"))],
    )  # fmt: skip
    assert "a proof for every 4 tokens but the last, by `generate`: texts of up to 9 tokens" in done.stdout
    made = call("generate", out, "--prompt", "dbe", "--max-tokens", 4, "--prove")
    (text,) = made["generated"]
    assert (len(text["completion"]), made["chained"], made["verified"]) == (4, 2, True)
    key, proof, letters = out / "model.vk", out / "model.proof", tmp_path / "letters.json"
    whole = ("verify", key, proof, "--tokenizer", letters)
    said_so = ["prompt=3", "length=7", "prompt=[3,1,4]", "prompt=dbe", 'prompt="dbe"']
    said_so += [f"completion={text['completion_text']}", f"completion={json.dumps(text['completion'])}"]
    verdict = call(*whole, *(x for e in said_so[2:5:2] + said_so[5:6] for x in ("--expect", e)), code=2)
    assert verdict["error"]["code"] == "I107"  # twice
    for e in said_so:
        verdict = call(*whole, "--expect", e)
        assert verdict["generated"] == made["generated"]
    chosen = np.asarray(verdict["outputs"]["top_tokens"])[..., 0].reshape(-1)[2:6].tolist()
    assert chosen == text["completion"]  # the first of the largest at every place behind the prompt's last
    (tmp_path / "both.json").write_text(json.dumps({"prompt": "dbe", "completion": text["completion"]}))
    assert call(*whole, "--expect", tmp_path / "both.json")["verified"]
    refused = {
        "prompt=4": "prompt[0] is 3, 4 is expected",
        "prompt=dbf": 'the prompt is "dbe", "dbf" is expected',
        "prompt=[3,1]": "the prompt is [3, 1, 4], [3, 1] is expected",
        "completion=": f'the completion is "{text["completion_text"]}", "" is expected',
    }
    for e, reason in refused.items():
        error = call(*whole, "--expect", e, code=1)["error"]
        assert (error["code"], error["reason"]) == ("V120", reason)
    assert call("verify", key, proof, "--expect", "prompt=dbe", code=2)["error"]["code"] == "I145"
    (tmp_path / "short.proof").write_bytes(rejoined(BundleKey.load(key), split(proof.read_bytes())[:1]))
    shorter = call("verify", key, tmp_path / "short.proof", "--tokenizer", letters)["generated"][0]
    assert (shorter["prompt"], shorter["completion"]) == ([3, 1, 4], text["completion"][:2])
    shorter = call("verify", key, tmp_path / "short.proof", "--expect", said_so[-1], code=1)["error"]
    assert shorter["reason"].startswith("the completion is [")
