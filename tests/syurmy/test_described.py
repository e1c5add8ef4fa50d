"""From the proof to an answer: reals, labels and units out of the key alone, and expectations in them."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import syurmy
from syurmy import described, descriptions, expected, keys, verification, verify_main
from syurmy.isa import reals
from syurmy.isa.errors import InputError
from syurmy.prover.protocol.description import CODE, RANK, REAL, Description, Quantity, scale_of
from syurmy.prover.verifier.verify import Statement

SOURCE = """
.program shop
.input  price : i32[3] public
.input  code  : i32[2] public
.input  place : i8[2] public
.param  w : i16[3] committed = {1, 2, 3}
.output total public
.output best  public
.output scores public
    dot     total, price, w
    argmax  best, price, axis=0
    mov     scores, price
    halt
"""
TOLD = {
    "title": "a shop",
    "source": "ab" * 32,
    "inputs": {"price": {"name": "unit price", "scale": "1/100", "unit": "EUR"}},
    "outputs": {
        "total": {"scale": 0.01, "unit": "EUR"},
        "best": {"labels": ["apple", "pear", 'a "plum"']},
        "scores": {"columns": ["apple", "pear", "plum"], "scale": [1, 2, "1/3"]},
    },
}
GIVEN = {
    "price": [115, 2250, -7],
    "code": reals.code(np.array([0.1, np.inf], np.float32)),
    "place": [1, 2],
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with shop.tasm, its description, keys and a proof."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "shop.tasm").write_text(SOURCE)
    (folder / "shop.description.json").write_text(json.dumps(TOLD))
    program = syurmy.load(folder / "shop.tasm")
    kept = keys.obtain(program, folder / "shop.tasm")
    assert not kept.reused
    proof = syurmy.prove(kept.key, syurmy.run(program, GIVEN))
    (folder / "shop.proof").write_bytes(proof.to_bytes())
    return folder


def answer(shop: Path, *expect: str, raw: bool = False) -> verification.Answer:
    return verification.answer(shop / "shop.vk", shop / "shop.proof", expect=expect, raw=raw)


def test_people_read_reals_labels_and_units(shop: Path) -> None:
    text = answer(shop).text.splitlines()
    assert text[1] == f'the key\'s maker says: "a shop", model file SHA-256 {"ab" * 8}…'
    assert 'public input "unit price" = [1.15, 22.5, -0.07] EUR' in text
    assert "output total = 45.94 EUR" in text
    assert 'output best = 1 ("pear")' in text
    assert 'output scores = [115, 4500, -2.3] (largest: "pear")' in text
    raw = answer(shop, raw=True).text.splitlines()
    assert "public input price = [ 115, 2250,   -7]" in raw
    assert "output total = 4594" in raw
    assert "output best = 1" in raw


def test_programs_read_both(shop: Path) -> None:
    data = answer(shop).data
    assert (data["title"], data["source"]) == ("a shop", "ab" * 32)
    assert data["inputs"]["unit price"].tolist() == [1.15, 22.5, -0.07]
    assert data["integers"]["inputs"]["price"].tolist() == GIVEN["price"]
    assert data["outputs"]["total"] == 45.94
    assert data["integers"]["outputs"]["total"] == 4594
    assert data["labels"] == {"best": "pear", "scores": "pear"}
    raw = answer(shop, raw=True).data
    assert raw["outputs"]["total"] == 4594
    assert raw["integers"]["outputs"]["total"] == 4594


@pytest.mark.parametrize(
    "expect",
    [
        "total=45.94",
        "total=45.944",  # the nearest hundredth
        "best=pear",
        'best="pear"',
        "best=1",
        "unit price=[1.15, 22.5, -0.07]",
        "price=[1.15, 22.5, -0.07]",
        "scores=[115, 4500, -2.3333333]",
    ],
)
def test_what_is_expected_in_reals_is_accepted(shop: Path, expect: str) -> None:
    assert answer(shop, expect).rejected is None


@pytest.mark.parametrize(
    ("expect", "says"),
    [
        ("total=45.95", "total is 45.94 EUR, 45.95 is expected"),
        ("total=45.9451", "total is 45.94 EUR, 45.9451 is expected"),
        ("total=4594", "total is 45.94 EUR, 4594 is expected"),
        ("total=1e400", "45.94 EUR, inf is expected"),
        ("total=NaN", "45.94 EUR, nan is expected"),
        ("best=apple", 'best is 1 ("pear"), "apple" is expected'),
        ("best=2", 'best is 1 ("pear"), 2 is expected'),
        ("unit price=[1.15, 22.51, -0.07]", "unit price[1] is 22.5 EUR, 22.51 is expected"),
        ("scores=[115, 4500, -2]", "scores[2] is -2.3"),
    ],
)
def test_what_is_not_as_expected_is_told_in_reals(shop: Path, expect: str, says: str) -> None:
    found = answer(shop, expect)
    assert found.rejected is not None
    assert says in found.text


def test_integers_are_expected_with_raw(shop: Path) -> None:
    assert answer(shop, "total=4594", raw=True).rejected is None
    assert answer(shop, "total=45.94", raw=True).rejected is not None


@pytest.mark.parametrize(
    ("expect", "code", "help"),
    [
        ("best=paer", "I113", "did you mean 'pear'?"),
        ("totl=3", "I101", "did you mean 'total'?"),
        ("total=apple", "I113", "for example"),
    ],
)
def test_slips_are_told(shop: Path, expect: str, code: str, help: str) -> None:
    with pytest.raises(InputError) as e:
        answer(shop, expect)
    assert e.value.code == code
    assert help in e.value.help


def statement(inputs: dict[str, object], d: Description) -> Statement:
    arrays = {k: np.asarray(v, np.int64) for k, v in inputs.items()}
    return Statement("p", b"", arrays, {}, [], 100.0, [], description=d)


def test_floats_that_are_only_compared() -> None:
    codes = reals.code(np.array([0.1, np.inf, np.nan], np.float32))
    d = Description(inputs=(Quantity("c", "", CODE, "float32"), Quantity("r", "", RANK, "float64")))
    s = statement({"c": codes, "r": [3]}, d)
    assert described.lines(s) == [
        "public input c = [0.1, inf, nan]",
        "public input r = [3] (places among thresholds that the key does not tell)",
    ]
    wanted = {"c": np.array([0.1, np.inf, np.nan], object)}
    assert expected.difference(s, wanted) == ""
    assert "c[0] is 0.1, 0.11 is expected" in expected.difference(s, {"c": np.array([0.11, np.inf, np.nan], object)})
    with pytest.raises(InputError, match="does not tell"):
        expected.difference(s, {"r": np.array([0.5], object)})


def test_one_name_of_an_input_and_an_output_means_both() -> None:
    s = Statement("p", b"", {"x": np.array(1)}, {"x": np.array(2)}, [], 100.0, [])
    assert expected.difference(s, {"x": np.array(2, object)})
    assert expected.difference(s, {"x": np.array(1, object)})


@given(
    st.integers(-(2**40), 2**40),
    st.one_of(st.floats(1e-9, 1e9).map(scale_of), st.builds(Fraction, st.integers(1, 10**6), st.integers(1, 10**6))),
    st.sampled_from(["float32", "float64"]),
)
def test_what_is_printed_can_be_expected(q: int, scale: Fraction, dtype: str) -> None:
    x = Quantity("y", "", REAL, dtype, (scale,))
    s = statement({"y": q}, Description(inputs=(x,)))
    (line,) = described.lines(s)
    printed = float(line.partition(" = ")[2])
    assert expected.difference(s, {"y": np.array(printed, object)}) == ""
    wrong = float((q + (3 if dtype == "float64" else 2 + abs(q) / 2**22)) * scale)
    assert expected.difference(s, {"y": np.array(wrong, object)})


def test_a_name_cannot_pass_for_a_line_of_ours() -> None:
    d = Description(inputs=(Quantity("x", "y = 7, accepted"),))
    assert described.lines(statement({"x": 3}, d)) == ['public input "y = 7, accepted" = 3']


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"titel": "x"}, "I131", "did you mean 'title'?"),
        ({"outputs": {"totl": {}}}, "I131", "did you mean 'total'?"),
        ({"outputs": {"total": {"scal": 1}}}, "I131", "did you mean 'scale'?"),
        ({"outputs": {"total": 3}}, "I130", ""),
        ({"outputs": {"total": {"scale": "one"}}}, "K124", ""),
        ({"outputs": {"total": {"scale": "1/0"}}}, "K124", ""),
        ({"outputs": {"total": {"scale": 0}}}, "K124", ""),
        ({"outputs": {"total": {"scale": True}}}, "K124", ""),
        ({"outputs": {"total": {"labels": "apple"}}}, "K124", ""),
        ({"outputs": {"best": {"labels": ["a"], "columns": ["b"]}}}, "K124", ""),
        ({"inputs": {"price": {"columns": ["a"]}}}, "K124", ""),
        ({"source": "xyz"}, "K124", ""),
        ({"title": "a\nb"}, "K124", ""),
    ],
)
def test_a_file_that_describes_wrongly(shop: Path, tmp_path: Path, change: dict, code: str, says: str) -> None:
    program = syurmy.load(shop / "shop.tasm")
    file = tmp_path / "p.description.json"
    file.write_text(json.dumps(TOLD | change))
    with pytest.raises(InputError) as e:
        descriptions.read(file, program)
    assert (e.value.code, says in e.value.help) == (code, True)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"title": 1e999999999}', "[" * 100_000, "\xff"])
def test_a_file_that_is_no_description(shop: Path, tmp_path: Path, text: str) -> None:
    file = tmp_path / "p.description.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError):
        descriptions.read(file, syurmy.load(shop / "shop.tasm"))


def test_a_new_description_makes_a_new_key(shop: Path, tmp_path: Path) -> None:
    path = tmp_path / "shop.tasm"
    path.write_text(SOURCE)
    program = syurmy.load(path)
    first = keys.obtain(program, path).key
    assert keys.obtain(program, path).reused
    (tmp_path / "shop.description.json").write_text(json.dumps(TOLD))
    with pytest.raises(InputError, match="have changed"):
        keys.obtain(program, path)
    kept = keys.obtain(program, path, agreed=lambda change: True)
    second = kept.key
    assert (kept.reused, kept.replaced) == (False, first.verifying_key.digest())
    assert first.verifying_key.digest() != second.verifying_key.digest()
    assert keys.obtain(program, path).reused
    assert (tmp_path / "shop.vk").read_bytes() == (shop / "shop.vk").read_bytes()


def test_both_commands_take_raw(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for options in (("--raw",), ()):
        assert verify_main.main([str(shop / "shop.vk"), str(shop / "shop.proof"), *options]) == 0
        said.append(capsys.readouterr().out)
        command = [sys.executable, "-m", "syurmy", "verify", "shop.vk", "shop.proof", *options]
        done = subprocess.run(command, cwd=shop, capture_output=True, text=True, check=True)
        assert [x for x in done.stdout.splitlines() if "soundness" not in x] == [
            x for x in said[-1].splitlines() if "soundness" not in x
        ]
    assert said[0] != said[1]
