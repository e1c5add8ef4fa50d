"""The Python API: objects, bytes and paths where a user has them; sentences for the rest; nothing private in a repr."""

from __future__ import annotations

import multiprocessing
import re
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import syurmy
from syurmy import InputError, Proof, ProvingKey, Quantity, Rejected, Verifier, VerifyingKey
from syurmy.prover.protocol import arithmetic, plain

SOURCE = """
.program adder
.input secret : i16[64] private
.input factor : i16[] public
.param w : i16[64] committed = "w.npy"
.output y public
    mul   h, secret, w
    sum   s, h
    mul   y, s, factor
    halt
"""
SECRET = 20011 + np.arange(64) * 37
WEIGHTS = 10007 + np.arange(64) * 11


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with adder.tasm, its keys and a proof."""
    folder = tmp_path_factory.mktemp("adder")
    np.save(folder / "w.npy", WEIGHTS)
    (folder / "adder.tasm").write_text(SOURCE)
    key, verifying_key = syurmy.setup(folder / "adder.tasm")
    key.save(folder / "adder.pk")
    verifying_key.save(folder / "adder.vk")
    syurmy.prove(key, syurmy.run(folder / "adder.tasm", inputs(3))).save(folder / "adder.proof")
    return folder


def inputs(factor: int) -> dict[str, Any]:
    return {"secret": SECRET, "factor": factor}


def total(factor: int) -> int:
    return int((SECRET * WEIGHTS).sum()) * factor


def test_keys_and_proofs_are_objects_bytes_or_paths(folder: Path) -> None:
    vk, proof = folder / "adder.vk", folder / "adder.proof"
    for key in (
        vk,
        str(vk),
        vk.read_bytes(),
        VerifyingKey.load(vk),
        Verifier(vk),
        Verifier(VerifyingKey.load(str(vk))),
    ):
        for p in (proof, str(proof), proof.read_bytes(), bytearray(proof.read_bytes()), Proof.load(proof)):
            assert syurmy.verify(key, p).outputs["y"] == total(3)
    assert Proof.load(proof).key_digest == VerifyingKey.load(vk).digest()


@pytest.mark.parametrize(
    ("call", "code", "says"),
    [
        (lambda f: syurmy.verify(f / "adder.proof", f / "adder.vk"), "K120", "not a verifying key"),
        (lambda f: syurmy.verify(Proof.load(f / "adder.proof"), f / "adder.vk"), "I118", "this is a Proof"),
        (lambda f: syurmy.verify(f / "adder.vk", VerifyingKey.load(f / "adder.vk")), "I118", "this is a VerifyingKey"),
        (lambda f: syurmy.verify(f / "adder.vk", f / "adder.vk"), "K150", "adder.vk is not a proof"),
        (lambda f: syurmy.verify(f / "gone.vk", f / "adder.proof"), "F100", "cannot read"),
        (lambda f: syurmy.verify(f / "adder.vk", f / "gone.proof"), "F100", "cannot read"),
        (lambda f: syurmy.verify(f, f / "adder.proof"), "F100", "cannot read"),
        (lambda f: syurmy.verify(f / "adder.vk", None), "I118", "this is a NoneType"),  # type: ignore[arg-type]
        (lambda f: syurmy.verify(3, f / "adder.proof"), "I118", "a verifying key is expected"),  # type: ignore[arg-type]
        (lambda f: syurmy.verify(Verifier(f / "adder.vk"), b"", max_steps=3), "I118", "limits already"),
        (lambda f: syurmy.verify("\0", b""), "F100", "cannot read"),
        (lambda f: syurmy.setup(3), "I118", "a program is expected, this is an int"),  # type: ignore[arg-type]
        (lambda f: syurmy.run(None, {}), "I118", "a program is expected"),  # type: ignore[arg-type]
        (lambda f: syurmy.run(f / "gone.tasm", {}), "I101", "gone.tasm"),
        (lambda f: syurmy.prove(VerifyingKey.load(f / "adder.vk"), None), "I118", "a proving key is expected"),  # type: ignore[arg-type]
    ],
)
def test_other_kinds_get_a_sentence(folder: Path, call: Any, code: str, says: str) -> None:
    with pytest.raises(InputError) as e:
        call(folder)
    assert e.value.code == code
    assert says in e.value.message


def test_the_pair_of_keys_and_a_proving_key_are_told(folder: Path) -> None:
    program = syurmy.load(folder / "adder.tasm")
    pair = syurmy.setup(program)
    trace = syurmy.run(program, inputs(1))
    for given, help in ((pair, "proving_key, verifying_key"), (pair[0], "key.verifying_key")):
        with pytest.raises(InputError) as e:
            syurmy.verify(given, b"")  # type: ignore[arg-type]
        assert help in e.value.help
    with pytest.raises(InputError) as e:
        syurmy.prove(pair, trace)  # type: ignore[arg-type]
    assert "setup gives two keys" in e.value.help
    with pytest.raises(InputError) as e:
        syurmy.verify(pair[1], trace)  # type: ignore[arg-type]
    assert "makes the proof" in e.value.help


def test_bytes_that_are_no_proof_are_rejected(folder: Path) -> None:
    for data in (b"", b"SYURMYPF", bytes(100)):
        with pytest.raises(Rejected):
            syurmy.verify(folder / "adder.vk", data)


def test_names_of_the_api(folder: Path) -> None:
    for name in syurmy.__all__:
        assert getattr(syurmy, name) is not None
    with pytest.raises(AttributeError, match="did you mean 'verify'"):
        syurmy.verfy  # noqa: B018
    with pytest.raises(AttributeError, match=r"has no attribute 'xyzzy'$"):
        syurmy.xyzzy  # noqa: B018


def test_nothing_private_is_shown(folder: Path) -> None:
    program = syurmy.load(folder / "adder.tasm")
    trace = syurmy.run(program, inputs(3))
    key, vk = syurmy.setup(program)
    proof = syurmy.prove(key, trace)
    statement = syurmy.verify(vk, proof)
    private = {str(v) for v in (*SECRET.tolist(), *WEIGHTS.tolist())}
    for shown in (program, trace, key, vk, proof, statement, Verifier(vk)):
        text, page = repr(shown), shown._repr_html_()
        assert text.startswith(f"{type(shown).__name__}(")
        assert len(text) < 300
        assert "adder" in text or shown is proof
        words = set(re.findall(r"\d+", (text + page).replace(vk.digest().hex()[:16], "")))
        assert not private & words, shown
    assert str(total(3)) in statement._repr_html_()


def test_tables_escape_what_a_stranger_wrote(folder: Path) -> None:
    program = syurmy.load(folder / "adder.tasm")
    evil = "<script>alert(1)</script>"
    described = syurmy.Description(evil, outputs=(Quantity("y", evil, unit=evil),))
    key, vk = syurmy.setup(program, described)
    statement = syurmy.verify(vk, syurmy.prove(key, syurmy.run(program, inputs(1))))
    for shown in (vk, statement):
        assert "<script" not in shown._repr_html_()
    assert "&lt;script" in statement._repr_html_()


def proven(folder: Path, factor: int) -> bytes:
    """What a process does with the keys of others."""
    key = ProvingKey.load(folder / "adder.pk", syurmy.load(folder / "adder.tasm"))
    return syurmy.prove(key, syurmy.run(key.program, inputs(factor))).to_bytes()


@pytest.mark.slow
def test_threads_prove_and_verify_with_one_key(folder: Path) -> None:
    program = syurmy.load(folder / "adder.tasm")
    key, verifying_key = syurmy.setup(program, proofs=24)
    verifier = Verifier(verifying_key)

    def work(factor: int) -> int:
        proof = syurmy.prove(key, syurmy.run(program, inputs(factor)))
        bad = proof.data[:-1] + bytes([proof.data[-1] ^ 1])
        with pytest.raises(Rejected):
            verifier.verify(bad)
        with arithmetic.using(plain) if factor % 2 else arithmetic.using(arithmetic.current()):
            return int(verifier.verify(proof).outputs["y"])

    factors = list(range(-12, 12))
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(work, factors)) == [total(f) for f in factors]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_processes_prove_with_one_key(folder: Path, method: str) -> None:
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        proofs = list(pool.map(proven, [folder] * 6, range(6)))
    verifier = Verifier(folder / "adder.vk")
    assert [int(verifier.verify(p).outputs["y"]) for p in proofs] == [total(f) for f in range(6)]
