"""Proving keys on disk: what is saved is loaded, and nothing else is."""

from dataclasses import replace

import numpy as np
import pytest

from syurmy.assembler import assemble
from syurmy.isa.errors import InputError
from syurmy.prover.keys import ProvingKey, VerifyingKey, setup
from syurmy.prover.prove import prove
from syurmy.prover.verifier.verify import verify
from syurmy.vm.machine import run

TEXT = """
.program small
.input x : i8[4, 3] private
.param w : i8[3, 2] committed = {{1, -2}, {3, 4}, {-5, %d}}
.output y public
    matmul  y, x, w
    rescale y, y, 3, i8
    halt
"""


def test_a_key_survives_its_file(tmp_path):
    program = assemble(TEXT % 6)
    key = setup(program)
    path = tmp_path / "small.pk"
    key.save(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["small.pk", "small.pk.used"]
    again = ProvingKey.load(path, program)
    assert again.verifying_key == key.verifying_key
    proof = prove(again, run(program, {"x": np.arange(12).reshape(4, 3)}))
    assert verify(key.verifying_key, proof.data).outputs["y"].shape == (4, 2)


def test_a_key_of_others_or_a_damaged_one_is_refused(tmp_path):
    program = assemble(TEXT % 6)
    path = tmp_path / "small.pk"
    setup(program).save(path)
    with pytest.raises(InputError) as e:
        ProvingKey.load(path, assemble(TEXT % 7))
    assert e.value.code == "K131"
    data = path.read_bytes()
    for cut in (0, 7, 20, 100, len(data) - 100):
        path.write_bytes(data[:cut])
        with pytest.raises(InputError):
            ProvingKey.load(path, program)


WIDE = """
.program wide
.input x : i8[64] private
.param w : i16[64, 64] committed = "p.npz:w"
.param s : i64[] committed = "p.npz:s"
.output y public
    matmul  y, x, w
    add     y, y, s
    halt
"""


def test_a_wide_scalar_leaves_other_params_narrow(tmp_path, monkeypatch):
    """And a key is laid out once: loading it maps what is in the file."""
    np.savez(tmp_path / "p.npz", w=np.full((64, 64), -300, np.int16), s=np.array(2**36))
    program = assemble(WIDE, data_root=tmp_path)
    key = setup(program)
    assert key.params is not None
    assert [g.dtype for g in key.params.integers.groups] == [np.int16, np.int64]
    path = tmp_path / "wide.pk"
    key.save(path)
    monkeypatch.setattr("syurmy.prover.keys.params_matrix", None)
    again = ProvingKey.load(path, program)
    assert again.params is not None
    assert all(not g.flags.owndata for g in again.params.integers.groups)
    proof = prove(again, run(program, {"x": np.arange(64)}))
    assert verify(key.verifying_key, proof.data).outputs["y"].shape == (64,)
    data = {**program.data, "w": program.data["w"].astype(np.int64)}
    assert ProvingKey.load(path, replace(program, data=data)).verifying_key == key.verifying_key  # however it is held
    data["w"][5, 5] += 2**16
    with pytest.raises(InputError) as e:
        ProvingKey.load(path, replace(program, data=data))
    assert e.value.code == "K142"
    content = bytearray(path.read_bytes())
    at = content.index(np.full(64, -300, np.int16).tobytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged") as e:
        ProvingKey.load(path, program)
    assert e.value.code == "K130"


@pytest.mark.parametrize("shape", ["", "1", "2"])
def test_params_may_be_wider_than_they_are_declared(shape):
    """Their values decide, not the array's dtype; a program that is not assembled may have any, in any shape."""
    values = np.full([int(n) for n in shape], 7, np.int64)
    param = f".param w : i8[{shape}] committed = {{{', '.join('7' * values.size)}}}\n"
    source = f".input x : i8[{shape}] private\n{param}.output y public\n"
    program = assemble(source + "    add y, x, w\n    halt\n")
    wide = replace(program, data={"w": values})
    key = setup(wide)
    proof = prove(key, run(wide, {"x": values}))
    assert (verify(key.verifying_key, proof.data).outputs["y"] == 14).all()
    with pytest.raises(InputError) as e:
        setup(replace(program, data={"w": values + 256}))
    assert e.value.code == "K142"


def test_a_key_of_version_one_says_what_to_do(tmp_path):
    program = assemble(TEXT % 6)
    path = tmp_path / "small.pk"
    setup(program).save(path)
    path.write_bytes(path.read_bytes().replace(b'"version": 2', b'"version": 1'))
    with pytest.raises(InputError, match="protocol version 1") as e:
        ProvingKey.load(path, program)
    assert (e.value.code, e.value.help) == ("K132", "run setup again")
    data = bytearray(setup(program).verifying_key.to_bytes())
    data[8] = 1
    with pytest.raises(InputError, match="protocol version 1") as e:
        VerifyingKey.from_bytes(bytes(data))
    assert e.value.code == "K121"
    assert "setup" in e.value.help
