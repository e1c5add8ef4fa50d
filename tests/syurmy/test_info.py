"""``info`` says what a file is by how it begins, and refuses the rest in a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import syurmy
from syurmy.cli import app
from syurmy.contents import read
from syurmy.isa.encoding import encode
from syurmy.isa.errors import InputError

SOURCE = """
.program shop
.input  price : i32[3] public
.param  w : i16[3] committed = {1, 2, 3}
.output total public
    dot     total, price, w
    halt
"""
TOLD = {"title": "a shop", "outputs": {"total": {"scale": "1/100", "unit": "EUR", "name": "sum"}}}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    (folder / "shop.tasm").write_text(SOURCE)
    (folder / "shop.description.json").write_text(json.dumps(TOLD))
    key, verifying_key = syurmy.setup(folder / "shop.tasm")
    key.save(folder / "shop.pk")
    verifying_key.save(folder / "shop.vk")
    syurmy.prove(key, syurmy.run(key.program, {"price": [1, 2, 3]})).save(folder / "shop.proof")
    (folder / "shop.bin").write_bytes(encode(key.program))
    return folder


def said(path: Path, *options: str) -> str:
    done = CliRunner().invoke(app, ["info", str(path), *options])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize(
    ("name", "kind"),
    [("shop.tasm", "program"), ("shop.bin", "program"), ("shop.vk", "verifying key"), ("shop.pk", "proving key"),
     ("shop.proof", "proof")],
)  # fmt: skip
def test_every_kind_is_known(shop: Path, tmp_path: Path, name: str, kind: str) -> None:
    assert f"{name}: {kind}\n" in said(shop / name)
    data = json.loads(said(shop / name, "--json"))
    assert data["kind"] == kind
    if name in ("shop.tasm", "shop.vk", "shop.pk"):
        assert data["description"]["title"] == "a shop"
        assert 'the key\'s maker says: "a shop"' in said(shop / name)
    if name in ("shop.vk", "shop.pk", "shop.proof"):
        assert data["key"] == syurmy.VerifyingKey.load(shop / "shop.vk").digest().hex()
        (tmp_path / "other.name").write_bytes((shop / name).read_bytes())
        assert read(tmp_path / "other.name").kind == kind
    if name in ("shop.tasm", "shop.vk"):
        assert "output  total public (is sum, float64, one unit is 0.01 EUR)" in said(shop / name)


def test_a_proof_finds_its_key(shop: Path, tmp_path: Path) -> None:
    assert "shop.vk of shop\n" in said(shop / "shop.proof")
    (tmp_path / "shop.proof").write_bytes((shop / "shop.proof").read_bytes())
    assert "beside it" not in said(tmp_path / "shop.proof")
    syurmy.setup(syurmy.load(shop / "shop.tasm"))[1].save(tmp_path / "shop.vk")
    assert "which is another key" in said(tmp_path / "shop.proof")


def test_what_is_none_of_these(shop: Path, tmp_path: Path) -> None:
    for name, data in {
        "empty": b"",
        "m.onnx": b"\x08\x08",
        "cut.pk": (shop / "shop.pk").read_bytes()[:40],
        "bad.pk": b"SYURMYPK" + (9).to_bytes(8, "little") + b"[[[[[[[[[",
        "cut.vk": (shop / "shop.vk").read_bytes()[:-1],
        "bad.proof": (shop / "shop.proof").read_bytes()[:106] + b"\xff" * 8,
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError):
            read(tmp_path / name)
    for path in (tmp_path, tmp_path / "gone"):
        with pytest.raises(InputError):
            read(path)
    (tmp_path / "old.proof").write_bytes(b"SYURMYPF\1\0" + bytes(200))
    assert "protocol: 1" in said(tmp_path / "old.proof")


def test_a_model_is_compiled_as_other_commands_do(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from tests.compiler.harness import model_of

    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    onnx.save(model_of([node], {"x": np.ones((2, 3), np.float32)}, ["y"]), tmp_path / "m.onnx")
    text = said(tmp_path / "m.onnx")
    assert text.startswith(f"{tmp_path / 'm'}: model\n")
    assert text == said(tmp_path / "m")
    for asked in (tmp_path / "m.onnx", tmp_path / "m"):
        result = CliRunner().invoke(app, ["info", "--types", str(asked)])
        assert (result.exit_code, "i16[2, 3]" in result.output) == (0, True)
    (tmp_path / "m.onnx").write_bytes(b"\x08\x08")
    refused = CliRunner().invoke(app, ["info", str(tmp_path / "m.onnx")])
    assert refused.exit_code == 2
