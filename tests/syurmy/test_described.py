"""How descriptions come into keys and out of them: files beside programs, digits that are printed, both commands."""

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
from syurmy import described, descriptions, expected, keys, verify_main
from syurmy.isa.errors import InputError
from syurmy.prover.protocol.description import REAL, Description, Quantity, scale_of
from tests.verify.conftest import SOURCE, TOLD, make
from tests.verify.test_customer import statement


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with shop.tasm, its description, keys and a proof."""
    folder = tmp_path_factory.mktemp("shop")
    make(folder)
    return folder


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
    with pytest.raises(InputError, match="description changed"):
        keys.obtain(program, path)
    kept = keys.obtain(program, path, agreed=lambda change: True)
    second = kept.key
    assert (kept.reused, kept.replaced) == (False, first.verifying_key.digest())
    assert first.verifying_key.digest() != second.verifying_key.digest()
    assert keys.obtain(program, path).reused
    told, shops = (syurmy.VerifyingKey.load(folder / "shop.vk") for folder in (tmp_path, shop))
    assert (told.program, told.description) == (shops.program, shops.description)  # roots that hide are all different


@pytest.mark.slow
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
