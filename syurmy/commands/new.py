"""``syurmy-vm new``: a folder with a program, its inputs and its test, to start from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from syurmy.commands.common import Debug, Json, print_json

PROGRAM = """\
; {name}.tasm: is the weighted sum of private readings above a public limit?
.program {name}
.input   readings : i16[8]  private
.input   limit    : i32[]   public
.param   weights  : i16[8]  committed = {{12, -3, 7, 31, 5, -8, 2, 9}}
.output  alarm    public

    dot      sum, readings, weights     ; exact in i64
    rescale  sum, sum, 4, i32           ; round(sum / 16)
    .expect  sum = 651                  ; for the inputs in {name}.inputs.json; no part of the program
    gt       alarm, sum, limit          ; 0 or 1
    .expect  alarm = 1
    halt
"""
INPUTS = '{"readings": [120, -40, 77, 250, 13, 9, -5, 64], "limit": 500}\n'
TEST = '''\
"""{name}.tasm does what it should, and a run of it can be proven. Run with pytest."""

import json
from pathlib import Path

import pytest
import syurmy

HERE = Path(__file__).parent
PROGRAM = syurmy.load(HERE / "{name}.tasm")
INPUTS = json.loads((HERE / "{name}.inputs.json").read_text())
WEIGHTS = [12, -3, 7, 31, 5, -8, 2, 9]


@pytest.mark.parametrize("limit", [-1000, 650, 651, 10000])
def test_alarm(limit: int) -> None:
    total = sum(a * b for a, b in zip(INPUTS["readings"], WEIGHTS))
    run = syurmy.run(PROGRAM, {{**INPUTS, "limit": limit}})
    assert run.outputs["alarm"] == ((total + 8 >> 4) > limit)


def test_a_run_is_proven() -> None:
    proving_key, verifying_key = syurmy.setup(PROGRAM)
    proof = syurmy.prove(proving_key, syurmy.run(PROGRAM, INPUTS)).to_bytes()
    assert syurmy.verify(verifying_key, proof).outputs["alarm"] == 1
    with pytest.raises(syurmy.Rejected):
        syurmy.verify(verifying_key, proof[:-1] + bytes([proof[-1] ^ 1]))
'''


def new(
    folder: Annotated[Path, typer.Argument(metavar="NAME", help="Folder to make; its name is the program's.")],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Make a folder with a program, its inputs and its test, and say what to do with them."""
    from syurmy import files
    from syurmy.isa.errors import InputError
    from syurmy.isa.wellformed import valid_name

    name = Path(os.path.realpath(folder)).name
    if not valid_name(name):
        message = f"'{name}' cannot name a program"
        raise InputError(message, code="A103", help="letters, digits and _, not beginning with a digit")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already and not empty", code="X190", help="give another name")
    texts = {f"{name}.tasm": PROGRAM, f"{name}.inputs.json": INPUTS, f"test_{name}.py": TEST}
    paths = [folder / file for file in texts]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise InputError(f"cannot write {folder}: {e.strerror or e}", code="F120") from e
    with files.written_whole(*paths) as temporary:
        for path, text in zip(temporary, texts.values(), strict=True):
            path.write_text(text if text is INPUTS else text.format(name=name))
    if json:
        print_json({"program": name, "files": [str(path) for path in paths]})
        return
    for path in paths:
        print(path)
    program = paths[0]
    print(f"\nsyurmy-vm test {program}            # its .expect lines")
    print(f"syurmy-vm run {program} --prove     # run, prove, verify")
