"""Proving keys on disk: what is saved is loaded, and nothing else is."""

import struct
from dataclasses import replace

import numpy as np
import pytest

import syurmy
from syurmy.assembler import assemble
from syurmy.isa.encoding import decode, encode
from syurmy.isa.errors import InputError
from syurmy.prover.keys import PK_MAGIC, ProvingKey, VerifyingKey, leaves, setup
from syurmy.prover.protocol.key import PROTOCOL_VERSION, Mode
from syurmy.prover.prove import prove
from syurmy.prover.verifier.verify import verify
from syurmy.vm.machine import run
from tests.soundness import common as c

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


@pytest.mark.parametrize(("hiding", "limits"), [(False, {"KEPT": 0}), (True, {"KEPT": 0}), (True, {"ALWAYS": 0})])
def test_a_large_codeword_is_not_kept(hiding, limits, tmp_path, monkeypatch):
    """Its columns are encoded anew, from a key that says nothing of it: the proof is the same."""
    np.savez(tmp_path / "p.npz", w=np.random.default_rng(0).integers(-300, 300, (256, 256)), s=np.array(3))
    program = assemble(WIDE.replace("64, 64", "256, 256").replace("[64]", "[256]"), data_root=tmp_path)
    trace = run(program, {"x": np.arange(256) % 100})
    mode = Mode.of(program, hiding)
    with_codeword = setup(program, mode)
    with_codeword.save(tmp_path / "old.pk")
    assert b'"codeword"' in (tmp_path / "old.pk").read_bytes()
    for name, value in limits.items():
        monkeypatch.setattr(f"syurmy.prover.commitment.{name}", value)
    key = setup(program, mode)
    assert key.params is not None
    assert key.params.commitment.shape.aux == 0
    assert key.params.commitment.codeword is None
    key.save(tmp_path / "new.pk")
    assert b"codeword" not in (tmp_path / "new.pk").read_bytes()
    for known, at in ((with_codeword, "old.pk"), (key, "new.pk")):
        proof = prove(ProvingKey.load(tmp_path / at, program), trace)
        assert verify(known.verifying_key, proof.data).outputs["y"].shape == (256,)
        assert hiding or proof.data == prove(with_codeword, trace).data


@pytest.mark.parametrize("kept", [False, True])
def test_weights_of_four_bits_are_packed(kept, tmp_path, monkeypatch):
    """Two in a byte of the key, and the proof is that of one in a byte."""
    values = np.random.default_rng(0).integers(-8, 8, (512, 512), dtype=np.int8)
    np.savez(tmp_path / "p.npz", w=values, s=np.array(3))
    text = WIDE.replace("64, 64", "512, 512").replace("[64]", "[512]").replace("w : i16", "w : i8")
    program = assemble(text, data_root=tmp_path)
    trace = run(program, {"x": np.arange(512) % 100})
    monkeypatch.setattr("syurmy.prover.commitment.KEPT", 1 << 27 if kept else 0)
    sizes, proofs = [], []
    for name, worth in (("packed.pk", 1 << 18), ("plain.pk", 1 << 30)):
        monkeypatch.setattr("syurmy.prover.kernels.nibbles.WORTH", worth)
        setup(program, Mode.of(program, False)).save(tmp_path / name)
        sizes.append((tmp_path / name).stat().st_size)
        key = ProvingKey.load(tmp_path / name, program)
        proofs.append(prove(key, trace).data)
        verify(key.verifying_key, proofs[-1])
    assert sizes[1] - sizes[0] == 512 * 512 // 2
    assert proofs[0] == proofs[1]


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


def test_a_key_of_another_version_says_what_to_do(tmp_path):
    program = assemble(TEXT % 6)
    path = tmp_path / "small.pk"
    setup(program).save(path)
    again = "make it again with `syurmy-vm setup`"
    now, old = (f'"version": {v}'.encode() for v in (PROTOCOL_VERSION, PROTOCOL_VERSION - 1))
    assert path.read_bytes().count(now) == 1
    path.write_bytes(path.read_bytes().replace(now, old))
    with pytest.raises(InputError, match=f"protocol version {PROTOCOL_VERSION - 1}") as e:
        ProvingKey.load(path, program)
    assert (e.value.code, e.value.help) == ("K132", again)
    data = bytearray(setup(program).verifying_key.to_bytes())
    for version, todo in ((PROTOCOL_VERSION - 1, again), (PROTOCOL_VERSION + 1, "update syurmy-vm")):
        data[8] = version
        with pytest.raises(InputError, match=f"protocol version {version}") as e:
            VerifyingKey.from_bytes(bytes(data))
        assert (e.value.code, e.value.help) == ("K121", todo)


@pytest.mark.parametrize("value", ["Infinity", "1e999", "NaN", '"x"', "[1]", "[" * 99999])
def test_numbers_that_are_none_are_refused(tmp_path, value):
    """Where a key is opened; nothing is prepared for it before."""
    program, path = assemble(TEXT % 6), tmp_path / "small.pk"
    setup(program).save(path)
    assert leaves(path) > 0
    for name in ("leaves", "max_steps"):
        version = f'{{"version": {PROTOCOL_VERSION}, "arrays": {{}}'
        data = f'{version}, "hiding": true, "proofs": 1, "{name}": {value}}}'.encode()
        path.write_bytes(PK_MAGIC + len(data).to_bytes(8, "little") + data)
        assert leaves(path) == 0
        with pytest.raises(InputError) as e:
            ProvingKey.load(path, program)
        assert e.value.code == "K130"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"proofs": 16', '"proofs": -1'),
        ('"hiding": true', '"hiding": null'),
        ('"hiding": true', '"hidden": true'),
    ],
)
def test_a_mode_that_no_key_has_is_refused(tmp_path, old, new):
    program = assemble(TEXT % 6)
    path = tmp_path / "small.pk"
    setup(program).save(path)
    data = path.read_bytes()
    assert data.count(old.encode()) == 1
    path.write_bytes(data.replace(old.encode(), new.encode()))
    with pytest.raises(InputError) as e:
        ProvingKey.load(path, program)
    assert e.value.code == "K130"


def test_params_without_values_make_no_key():
    with pytest.raises(InputError) as e:
        setup(decode(encode(assemble(TEXT % 6))))
    assert e.value.code == "K140"


# ---- the verifying key's head ----------------------------------------------------------------------------------------

HEAD = struct.Struct("<8sHBIQQ")


def with_head(vk: VerifyingKey, **change: int) -> bytes:
    """The key's bytes, with other numbers in its head."""
    data = vk.to_bytes()
    magic, version, hiding, proofs, steps, size = HEAD.unpack_from(data)
    named = {"version": version, "hiding": hiding, "proofs": proofs, "steps": steps, "size": size} | change
    return HEAD.pack(magic, *named.values()) + data[HEAD.size :]


@pytest.fixture(scope="module")
def vks() -> dict[str, VerifyingKey]:
    """Of a program with committed params, of one without; hiding and not."""
    programs = {"params": syurmy.assemble(c.TWO_DENSE), "none": syurmy.assemble(c.DOT)}
    modes = {"hiding": True, "clear": False}
    return {
        f"{name}, {mode}": setup(p, Mode.of(p, hides)).verifying_key
        for name, p in programs.items()
        for mode, hides in modes.items()
    }


@pytest.mark.parametrize(
    ("name", "change", "good"),
    [
        ("params, hiding", {"steps": 0}, False),
        ("params, hiding", {"steps": 1}, True),
        ("params, hiding", {"steps": 1 << 24}, True),
        ("params, hiding", {"steps": (1 << 24) + 1}, False),
        ("params, hiding", {"proofs": 0}, False),
        ("params, hiding", {"proofs": 1}, True),
        ("params, hiding", {"proofs": 1 << 14}, True),
        ("params, hiding", {"proofs": (1 << 14) + 1}, False),
        ("params, hiding", {"hiding": 0}, False),
        ("params, hiding", {"hiding": 0, "proofs": 0}, True),
        ("params, hiding", {"hiding": 2}, False),
        ("params, clear", {"proofs": 1}, False),
        ("params, clear", {"hiding": 1}, False),
        ("none, hiding", {"proofs": 1}, False),
        ("none, hiding", {"hiding": 3}, False),
        ("none, clear", {"hiding": 1}, True),
        ("none, clear", {"proofs": 16}, False),
        ("none, clear", {"version": 2}, False),
        ("none, clear", {"version": 4}, False),
    ],
)
def test_numbers_of_a_verifying_key(vks, name, change, good):
    """Each is accepted to its last value and not beyond; whatever is accepted is another key."""
    data = with_head(vks[name], **change)
    if good:
        found = VerifyingKey.from_bytes(data)
        assert found.to_bytes() == data
        assert found.digest() != vks[name].digest()
    else:
        with pytest.raises(InputError):
            VerifyingKey.from_bytes(data)


def test_a_verifying_key_ends_where_it_says(vks):
    for vk in vks.values():
        data, size = vk.to_bytes(), HEAD.unpack_from(vk.to_bytes())[5]
        assert VerifyingKey.from_bytes(data) == vk
        for cut in {*range(0, HEAD.size + 2), *range(len(data) - 45, len(data))}:
            with pytest.raises(InputError):
                VerifyingKey.from_bytes(data[:cut])
        for other in (size - 1, size + 1, len(data) - HEAD.size, len(data) - HEAD.size - 1, 2**64 - 1):
            with pytest.raises(InputError):
                VerifyingKey.from_bytes(with_head(vk, size=other))
        with pytest.raises(InputError):
            VerifyingKey.from_bytes(data + b"\0")
        at = HEAD.size + size  # is there a root?
        for flag in {0, 1, 2} - {data[at]}:
            with pytest.raises(InputError):
                VerifyingKey.from_bytes(data[:at] + bytes([flag]) + data[at + 1 :])
        if data[at] == 1:
            with pytest.raises(InputError):
                VerifyingKey.from_bytes(data[:at] + b"\0" + data[at + 33 :])
        else:
            with pytest.raises(InputError):
                VerifyingKey.from_bytes(data[:at] + b"\1" + bytes(32) + data[at + 1 :])
