"""From the proof to an answer, with the verifier alone: reals, labels and units out of the key, expectations in them,
the Python API on objects, bytes and paths, forgeries and hostile keys."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import syurmy
from syurmy import (
    Description,
    InputError,
    Proof,
    Quantity,
    Rejected,
    Statement,
    SyurmyError,
    Verifier,
    VerifyingKey,
    described,
    expected,
    verification,
    verify_main,
)
from syurmy.isa import reals
from syurmy.prover.protocol.description import CODE, RANK

PRICES = [115, 2250, -7]


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
    assert data["integers"]["inputs"]["price"].tolist() == PRICES
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


def test_a_name_cannot_pass_for_a_line_of_ours() -> None:
    d = Description(inputs=(Quantity("x", "y = 7, accepted"),))
    assert described.lines(statement({"x": 3}, d)) == ['public input "y = 7, accepted" = 3']


def test_python_takes_objects_bytes_and_paths(shop: Path) -> None:
    vk, proof = shop / "shop.vk", shop / "shop.proof"
    for key in (vk, str(vk), vk.read_bytes(), VerifyingKey.load(vk), Verifier(vk)):
        for p in (proof, str(proof), proof.read_bytes(), Proof.load(proof)):
            s = syurmy.verify(key, p)
            assert isinstance(s, Statement)
            assert s.output_values["total"] == 45.94
            assert s.input_values["unit price"].tolist() == [1.15, 22.5, -0.07]
    assert Proof.load(proof).key_digest == VerifyingKey.load(vk).digest() == s.key_digest
    assert "45.94 EUR" in s._repr_html_()
    assert "a shop" in repr(VerifyingKey.load(vk))


def test_other_kinds_get_a_sentence(shop: Path) -> None:
    vk, proof = shop / "shop.vk", shop / "shop.proof"
    for key, p, says in (
        (proof, vk, "not a verifying key"),
        (vk, vk, "not a proof"),
        (Proof.load(proof), vk, "this is a Proof"),
        (vk, VerifyingKey.load(vk), "this is a VerifyingKey"),
        (None, proof, "this is a NoneType"),
        (vk, 3, "this is an int"),
        (shop / "gone.vk", proof, "cannot read"),
    ):
        with pytest.raises(InputError, match=says):
            syurmy.verify(key, p)  # type: ignore[arg-type]


def test_another_key_and_changed_proofs_are_rejected(shop: Path) -> None:
    data, rng = (shop / "shop.proof").read_bytes(), random.Random(1)
    with pytest.raises(Rejected, match="another key"):
        syurmy.verify(shop / "other.vk", data)
    verifier = Verifier(shop / "shop.vk")
    for _ in range(200):
        changed = bytearray(data)
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        with pytest.raises(Rejected):
            verifier.verify(bytes(changed))
    for cut in (0, 8, 10, 100, len(data) - 1):
        with pytest.raises(Rejected):
            verifier.verify(data[:cut])


def test_a_changed_key_is_refused_or_another(shop: Path) -> None:
    data, proof, rng = (shop / "shop.vk").read_bytes(), (shop / "shop.proof").read_bytes(), random.Random(2)
    kept = 0
    for _ in range(400):
        changed = bytearray(data)
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        try:
            key = VerifyingKey.load(bytes(changed))
        except SyurmyError:
            continue
        kept += 1
        assert key.to_bytes() == bytes(changed)
        with pytest.raises(SyurmyError):
            syurmy.verify(key, proof, max_steps=1000)
    assert kept > 20


def test_threads_share_a_verifier(shop: Path) -> None:
    verifier, proof = Verifier(shop / "shop.vk"), (shop / "shop.proof").read_bytes()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: int(verifier.verify(proof).outputs["total"]), range(20)))
    assert found == [4594] * 20


def test_the_command(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(shop / "shop.vk"), str(shop / "shop.proof")]
    assert verify_main.main(files) == 0
    assert 'output best = 1 ("pear")' in capsys.readouterr().out
    assert verify_main.main([*files, "--json", "--expect", "total=45.94"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["outputs"]["total"], answer["integers"]["outputs"]["total"]) == (45.94, 4594)
    assert verify_main.main([*files, "--expect", "total=45.95"]) == 1
    assert verify_main.main([str(shop / "other.vk"), files[1]]) == 1
    assert verify_main.main([files[1], files[0]]) == 2
    assert verify_main.main([files[0], str(shop / "gone")]) == 2
    digest = VerifyingKey.load(files[0]).digest().hex()
    assert verify_main.main([*files, "--expect-key", digest]) == 0
    assert verify_main.main([*files, "--expect-key", "0" * 64]) == 1
