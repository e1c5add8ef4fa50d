"""What the customer's tests need: a folder with keys and proofs, made here, or given where nothing can be made.

The distribution that only verifies runs these tests in an environment of its own (``SYURMY_SHOP`` names the folder).
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from syurmy.isa import reals

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


def make(folder: Path) -> None:
    """shop.tasm with its description, shop.vk, shop.proof, other.vk."""
    import syurmy
    from syurmy import keys

    (folder / "shop.tasm").write_text(SOURCE)
    (folder / "shop.description.json").write_text(json.dumps(TOLD))
    program = syurmy.load(folder / "shop.tasm")
    key = keys.obtain(program, folder / "shop.tasm").key
    syurmy.prove(key, syurmy.run(program, GIVEN)).save(folder / "shop.proof")
    syurmy.setup(program)[1].save(folder / "other.vk")


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder."""
    if "SYURMY_SHOP" in os.environ:
        return Path(os.environ["SYURMY_SHOP"])
    folder = tmp_path_factory.mktemp("shop")
    make(folder)
    return folder
