"""Models that are cut into segments: compiled, run, proven in parts, resumed, verified; by command and in Python."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

import syurmy
from syurmy import keys, segmented
from syurmy.cli import app
from syurmy.isa.encoding import digest
from syurmy.isa.errors import InputError
from syurmy.isa.segments import Seams
from syurmy.parts import Parts, folder_of, run_digest
from syurmy.prover.keys import counted
from syurmy.prover.protocol.bundle import Bundle
from syurmy.prover.tensors import TensorOpening
from tests.bundles import INPUTS, example, interrupted
from tests.compiler.harness import helper, model_of
from tests.syurmy.commands import CERTIFY_KEYS, RECORD

DRAW = np.random.default_rng(3)
X = DRAW.standard_normal((6, 4)).astype(np.float32)
W = [DRAW.standard_normal((4, 4)).astype(np.float32) for _ in range(3)]


def model() -> onnx.ModelProto:
    """Three layers with a skip connection around the second."""
    nodes = [
        helper.make_node("Gemm", ["x", "w0"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Gemm", ["b", "w1"], ["c"]),
        helper.make_node("Tanh", ["c"], ["d"]),
        helper.make_node("Add", ["b", "d"], ["e"]),
        helper.make_node("Gemm", ["e", "w2"], ["y"]),
    ]
    return model_of(nodes, {"x": X[:1]}, ["y"], {f"w{k}": w for k, w in enumerate(W)})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model in three segments."""
    at = tmp_path_factory.mktemp("model")
    onnx.save(model(), at / "net.onnx")
    syurmy.compile_onnx(at / "net.onnx", calibrate={"x": X[:, None]}, segments=3, title="net")
    return at / "net"


def vm(*words: object, code: int = 0) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def test_the_folder(folder: Path) -> None:
    """Every segment is a program of its own, with the whole's weights; together they compute what the whole does."""
    compiled = syurmy.CompiledModel.read(folder)
    assert len(compiled.segmented.segments) == 3
    for k, program in enumerate(compiled.segmented.segments):
        assert digest(syurmy.load(folder / "segments" / str(k) / "model.tasm")) == digest(program)
    assert set(compiled.cuts) <= set(Seams(compiled.program).positions)
    inputs = compiled.quantise({"x": X[2:3]})
    heard: list[Any] = []
    parts = segmented.run(compiled.segmented, inputs, listeners=[heard.append])
    told: list[Any] = []
    whole = syurmy.run(compiled.program, inputs, listeners=[told.append])
    assert {k: v.tolist() for k, v in parts.outputs.items()} == {k: v.tolist() for k, v in whole.outputs.items()}
    written = [[(e.index, e.result.tolist()) for e in events if hasattr(e, "result")] for events in (heard, told)]
    assert written[0] == written[1]
    before = sorted(p.name for p in (folder / "segments").iterdir())
    assert before == ["0", "1", "2"]


def test_compiled_again_in_fewer_segments(folder: Path, tmp_path: Path) -> None:
    """Programs of segments go, and folders that are empty then; keys stay, and their owner is told."""
    at = tmp_path / "net"
    shutil.copytree(folder, at)
    (at / "segments" / "2" / "model.pk").write_bytes(b"made with care")

    def compiled(*options: object) -> list[str]:
        said = vm("compile", folder.parent / "net.onnx", "-o", at, *options)["warnings"]
        return [text for text in said if "calibration" not in text]

    (told,) = compiled("--segments", 2)
    assert told.startswith(f"keys of segments that this model no longer has stay in {at / 'segments' / '2'};")
    left = [p.relative_to(at / "segments").as_posix() for p in sorted((at / "segments").rglob("*"))]
    assert left == ["0", "0/model.tasm", "1", "1/model.tasm", "2", "2/model.pk"]
    (told,) = compiled()
    assert [p.name for p in sorted((at / "segments").rglob("*"))] == ["2", "model.pk"]
    (at / "segments" / "2" / "model.pk").unlink()
    (at / "segments" / "2").rmdir()
    assert compiled("--segments", 3) == []
    assert compiled() == []
    assert not (at / "segments").exists()


@pytest.mark.slow
def test_commands(folder: Path) -> None:
    said = vm("info", folder)
    assert [s["program"] for s in said["segments"]] == ["case.0", "case.1", "case.2"]
    ran = vm("run", folder, "-i", "x=[[1, 2, 3, 4]]")
    made = vm("prove", folder, "-i", "x=[[1, 2, 3, 4]]")
    assert made["outputs"] == ran["outputs"]
    assert made["verified"]
    assert made["soundness_bits"] >= 100
    assert len(made["segments"]) == 3
    assert made["links"]
    assert not folder_of(folder / "model.proof").exists()
    found = vm("verify", folder / "model.vk", folder / "model.proof", "--expect-key", made["key"])
    assert found["outputs"] == made["outputs"]
    assert found["links"] == made["links"]
    assert found["title"] == "net"
    assert vm("info", folder / "model.proof")["matches"]
    key = vm("info", folder / "model.vk")
    assert [s["key"] for s in key["segments"]] == [s["key"] for s in made["segments"]]
    kept = vm("setup", folder)
    assert kept["reused"]
    assert kept["key"] == made["key"]
    refused = vm("verify", folder / "segments" / "0" / "model.vk", folder / "model.proof", code=2)
    assert refused["error"]["code"] == "K156"
    other = vm("prove", folder, "-i", "x=[[4, 3, 2, 1]]", code=2)
    assert other["error"]["code"] == "F130"
    bent = bytearray((folder / "model.proof").read_bytes())
    bent[-1] ^= 1
    (folder / "bent.proof").write_bytes(bent)
    e = vm("verify", folder / "model.vk", folder / "bent.proof", code=1)["error"]
    assert e["step"].startswith("segment 2")
    assert vm("prove", folder, "--certificate", "c", code=2)["error"]["code"] == "F100"
    text = CliRunner().invoke(app, ["verify", str(folder / "model.vk"), str(folder / "model.proof")])
    assert "in 3 segments" in text.output
    assert vm("verify", folder / "model.vk", folder / "model.proof", "--expect", "y=[[0, 0, 0, 0]]", code=1)


def test_certify(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates of segments are made once, kept where it is interrupted, and bundles rest on them."""
    at, target = tmp_path / "net", tmp_path / "net" / "model.cert"
    shutil.copytree(folder, at, ignore=shutil.ignore_patterns("*.pk*", "*.vk", "*.proof"))
    assert vm("certify", at, code=2)["error"]["code"] == "K133"
    key = vm("setup", at, "--proofs", 32)["key"]
    with monkeypatch.context() as patch:
        interrupted(patch)
        e = vm("certify", at, code=130)["error"]
    assert e["message"] == f"interrupted; 1 of 3 segments are certified, in {target}.parts"
    assert not target.exists()
    spent = counted(at / "segments" / "0" / "model.pk")[0].used  # type: ignore[union-attr]
    with monkeypatch.context() as patch:
        full_after(patch, 1)
        e = vm("certify", at, code=2)["error"]
    assert e["message"].endswith(f"No space left on device; 2 of 3 segments are certified, in {target}.parts")
    assert (e["code"], e["help"]) == ("F120", "make room: the same command goes on from there")
    made = vm("certify", at)
    assert made.keys() == RECORD | CERTIFY_KEYS
    assert (made["key"], made["resumed"], made["notes"]) == (key, 2, ["2 segments were certified before"])
    assert not folder_of(target).exists()
    assert counted(at / "segments" / "0" / "model.pk")[0].used == spent  # type: ignore[union-attr]
    assert made["proofs_left"] > made["uncertified_proofs_left"] > 0
    found = vm("verify-key", at / "model.vk", target)
    assert [s["key"] for s in found["segments"]] == [s["key"] for s in vm("info", at / "model.vk")["segments"]]
    assert found["soundness_bits"] == made["soundness_bits"] == min(found["soundness"].values()) >= 100
    assert found["certificate"] == made["certificate"] == vm("info", target)["certificate"]
    about = vm("info", target)
    assert about["matches"] == str(at / "model.vk")
    assert [s["certificate"] for s in about["segments"]] == [s["certificate"] for s in found["segments"]]
    proven = vm("prove", at, "-i", "x=[[1, 2, 3, 4]]", "--certificate", target)
    assert proven["certificate"] == made["certificate"]
    said = vm("verify", at / "model.vk", at / "model.proof", "--certificate", target)
    assert said["certificate"] == made["certificate"]
    refused = vm("verify", at / "model.vk", at / "model.proof", code=1)["error"]
    assert (refused["code"], refused["step"]) == ("V100", "segment 0: certificate")
    text = CliRunner().invoke(app, ["verify-key", str(at / "model.vk"), str(target), "-v"]).output
    assert " bits in every certificate, " in text
    assert "errors in bits, of every certificate: segment 0 " in text
    (tmp_path / "bent.cert").write_bytes(target.read_bytes()[:-1] + b"?")
    for command in ("verify-key", at / "model.vk"), ("verify", at / "model.vk", at / "model.proof", "--certificate"):
        assert vm(*command, tmp_path / "bent.cert", code=1)["error"]["code"] == "V122"
    bent = ("--proof", tmp_path / "c", "--certificate", tmp_path / "bent.cert")
    assert vm("prove", at, "-i", "x=[[4, 2, 3, 4]]", *bent, code=1)["error"]["code"] == "V100"
    assert not (tmp_path / "c").exists()
    other = vm("certify", at, "-o", tmp_path / "b.cert", "--keys", tmp_path / "none", code=2)["error"]
    assert other["code"] == "K133"


@pytest.mark.parametrize("segments", [1, 2])
def test_certify_in_python(tmp_path: Path, segments: int) -> None:
    """The model's key, in one piece or of bundles: its proofs rest on what ``certify`` gives."""
    onnx.save(model(), tmp_path / "net.onnx")
    made = syurmy.compile_onnx(tmp_path / "net.onnx", calibrate={"x": X[:, None]}, segments=segments)
    certificate = made.certify(parts=tmp_path / "parts")
    assert isinstance(certificate, syurmy.BundleCertificate if segments > 1 else syurmy.Certificate)
    assert not (tmp_path / "parts").exists()
    key: Any = made.bundle_key() if segments > 1 else made.keys[1]
    done = made.prove(X[:1], certificate=certificate)
    assert done.proof is not None
    assert done.statement is not None
    assert done.statement.certificate == certificate.digest()
    assert syurmy.verify(key, done.proof, certificate=certificate.data).certificate == certificate.digest()
    with pytest.raises(syurmy.Rejected, match="rests on certificate"):
        syurmy.verify(key, done.proof)
    other: Any = syurmy.Certificate(certificate.data) if segments > 1 else syurmy.BundleCertificate(certificate.data)
    for attempt in (lambda: syurmy.verify_key(key, other), lambda: made.prove(X[:1], certificate=other)):
        with pytest.raises(InputError) as e:
            attempt()
        assert e.value.code == "I118"


def test_a_full_disk(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is finished is kept, and who is told so can go on."""
    command = ("prove", folder, "-i", "x=[[1, 2, 3, 5]]", "--proof", tmp_path / "a.proof", "--keys", tmp_path)
    write, full = syurmy.ProvingKey.write, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def second(self: syurmy.ProvingKey, path: Path, used: Path) -> None:
        if path.parent.name == "1":
            raise full
        write(self, path, used)

    with monkeypatch.context() as patch:
        patch.setattr(syurmy.ProvingKey, "write", second)
        e = vm(*command, code=2)["error"]
    assert e["message"].endswith("No space left on device; the keys of 1 of 3 segments are there")
    assert [p.name for p in (tmp_path / "segments" / "1").iterdir()] == []
    with monkeypatch.context() as patch:
        full_after(patch, 2)
        e = vm(*command, code=2)["error"]
    assert e["message"].endswith(f"No space left on device; 2 of 3 segments are proven, in {tmp_path}/a.proof.parts")
    assert e["help"] == "make room: the same command goes on from there"
    with monkeypatch.context() as patch:
        full_after(patch, 0)
        again = vm(*command, code=2)
    assert again["error"]["message"].endswith(f"2 of 3 segments are proven, in {tmp_path}/a.proof.parts")
    assert vm(*command)["resumed"] == 2


def test_a_key_of_bundles_is_not_replaced_by_that_of_a_program_unasked(tmp_path: Path) -> None:
    """The model was compiled into segments, others have its key, and it is compiled into one piece."""
    program = syurmy.assemble(".program p\n.input x : i8[2] public\n.output y public\nmov y, x\nhalt")
    bundles = example().key.to_bytes()
    (tmp_path / "p.vk").write_bytes(bundles)
    for _ in range(2):  # the second time the proving key is there and may be loaded
        with pytest.raises(InputError) as e:
            keys.obtain(program, tmp_path / "p.tasm")
        assert e.value.code == "K160"
        assert (tmp_path / "p.vk").read_bytes() == bundles
        kept = keys.obtain(program, tmp_path / "p.tasm", agreed=lambda change: True)
        assert kept.replaced == example().key.digest()
        assert keys.readable(tmp_path / "p.vk") == kept.key.verifying_key
        (tmp_path / "p.vk").write_bytes(bundles)


def full_after(patch: pytest.MonkeyPatch, count: int) -> None:
    """So many proofs can still be kept; then the disk is full."""
    keep, left = Parts.keep, [count]

    def filling(self: Parts, k: int, proof: bytes) -> None:
        left[0] -= 1
        if left[0] < 0:
            patch.setattr(os, "fsync", full)
        keep(self, k, proof)

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    patch.setattr(Parts, "keep", filling)


class Stopped(Exception):
    """The machine goes off."""


def stopping(k: int) -> Any:
    """Gives proving keys up to that of segment ``k``."""

    def load(asked: int) -> Any:
        if asked == k:
            raise Stopped
        return example().keys[asked]

    return load


def test_an_interrupted_bundle_goes_on(tmp_path: Path) -> None:
    """Finished proofs and their commitments are kept for their owner only; the rest is proven anew, and it verifies."""
    w, folder = example(), tmp_path / "b.proof.parts"
    done = segmented.run(w.at, INPUTS)
    openings = {n: syurmy.commit(w.at.program, n, done.values[n], proofs=16) for n in ("z", "c")}
    with Parts(folder, w.key.digest(), done.inputs, openings) as parts, pytest.raises(Stopped):
        segmented.prove(w.at, w.key, stopping(2), done, openings, parts)
    assert sorted(p.name for p in folder.glob("*.proof")) == ["0.proof", "1.proof"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o600 for p in folder.iterdir())
    first = (folder / "0.proof").read_bytes()
    (folder / ".2.proof.x1.tmp").write_bytes(first[:99])  # of a process that was killed while it wrote
    with pytest.raises(InputError) as e:
        Parts(folder, w.key.digest(), done.inputs | {"n": np.array(1)}, openings)
    assert e.value.code == "F131"
    with Parts(folder, w.key.digest(), done.inputs, openings) as parts:
        command = (
            "import sys; from syurmy.parts import Parts; from pathlib import Path\n"
            "try: Parts(Path(sys.argv[1]), b'', {}, {})\nexcept Exception as e: print(e.code)"
        )
        out = subprocess.run([sys.executable, "-c", command, str(folder)], capture_output=True, text=True, check=True)
        assert out.stdout.strip() == "F132"
        made = segmented.prove(w.at, w.key, w.keys.__getitem__, done, openings, parts)
        parts.finish()
    assert made.resumed == 2
    assert made.bundle.proofs()[0] == first
    assert syurmy.verify(w.key, made.bundle).links == made.statement.links  # type: ignore[attr-defined]
    assert not folder.exists()


def test_a_damaged_part_is_made_again(tmp_path: Path) -> None:
    """A kept proof that does not hold, or an opening that cannot be read, is replaced with what depends on it."""
    w, folder = example(), tmp_path / "parts"
    done = segmented.run(w.at, INPUTS)
    openings = {n: syurmy.commit(w.at.program, n, done.values[n], proofs=16) for n in ("z", "c")}
    with Parts(folder, w.key.digest(), done.inputs, openings) as parts, pytest.raises(Stopped):
        segmented.prove(w.at, w.key, stopping(3), done, openings, parts)
    (folder / "0.proof").write_bytes(b"no proof")
    number = next(n for n, link in enumerate(w.key.links) if link.name == "f")  # from 1 to 2
    (folder / f"{number}.opening").write_bytes(b"no opening")
    with Parts(folder, w.key.digest(), done.inputs, openings) as parts:
        made = segmented.prove(w.at, w.key, w.keys.__getitem__, done, openings, parts)
    assert made.resumed == 0
    assert syurmy.verify(w.key, made.bundle).batch == 1


def test_what_breaks_off_is_counted(tmp_path: Path) -> None:
    """Every proof that is begun takes its share of what may be opened of a commitment, finished or not; when too little
    is left for those to come, the commitment is made anew, and what named it is proven again."""
    w, folder = example(), tmp_path / "parts"
    done = segmented.run(w.at, INPUTS)
    openings = {n: syurmy.commit(w.at.program, n, done.values[n], proofs=64) for n in ("z", "c")}
    number = next(n for n, link in enumerate(w.key.links) if link.name == "f")
    with Parts(folder, w.key.digest(), done.inputs, openings) as parts, pytest.raises(Stopped):
        segmented.prove(w.at, w.key, stopping(2), done, openings, parts)
    opening = TensorOpening.load(folder / f"{number}.opening")
    assert opening.allowance is not None
    assert 0 < opening.allowance.used < opening.allowance.limit
    opening.allowance.take(opening.allowance.limit - opening.allowance.used - 1)
    named = opening.commitment.digest()
    with Parts(folder, w.key.digest(), done.inputs, openings) as parts:
        made = segmented.prove(w.at, w.key, w.keys.__getitem__, done, openings, parts)
    assert made.resumed == 1  # segment 0 does not name it
    assert dict(made.statement.links)["f"] != named


def test_runs_are_told_apart() -> None:
    salt = bytes(32)
    one = run_digest(salt, INPUTS, {})
    assert one == run_digest(salt, dict(reversed(INPUTS.items())), {})
    assert one != run_digest(salt, INPUTS | {"x": INPUTS["x"].reshape(2, 2)}, {})
    assert one != run_digest(salt, INPUTS | {"x": INPUTS["x"] + 1}, {})
    assert one != run_digest(b"\1" * 32, INPUTS, {})


@pytest.mark.slow
def test_interrupted_at_the_terminal(folder: Path, tmp_path: Path) -> None:
    """Ctrl-C says what is kept; the same command goes on, and writes a bundle that verifies."""
    target = tmp_path / "a.proof"
    slow = (
        "from syurmy import parts; from syurmy.cli import main\n"
        "keep = parts.Parts.keep\n"
        "def stop(self, k, proof):\n    keep(self, k, proof)\n    raise KeyboardInterrupt\n"
        "parts.Parts.keep = stop\nmain()"
    )
    words = ["prove", str(folder), "-i", "x=[[1, 1, 1, 1]]", "--proof", str(target), "--json"]
    done = subprocess.run([sys.executable, "-c", slow, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stdout + done.stderr
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "X130"
    assert "1 of 3 segments" in error["message"]
    assert not target.exists()
    assert os.listdir(folder_of(target))
    made = vm("prove", folder, "-i", "x=[[1, 1, 1, 1]]", "--proof", target)
    assert made["resumed"] == 1
    assert vm("verify", folder / "model.vk", target)["verified"]


def test_in_python(folder: Path) -> None:
    compiled = syurmy.CompiledModel.read(folder)
    key = compiled.bundle_key()
    made = compiled.prove(X[1:2])
    assert isinstance(made.proof, Bundle)
    assert np.array_equal(made.outputs["y"], compiled.run(X[1:2]).outputs["y"])
    assert np.array_equal(syurmy.verify(key, made.proof).output_values["y"], made.outputs["y"])
    for call in (lambda: compiled.keys, lambda: compiled.prove(X[1:2], syurmy.setup(compiled.program)[0])):
        with pytest.raises(InputError) as e:
            call()
        assert e.value.code == "I161"


@pytest.mark.parametrize("value", [0, -1, 1.5, "many", 2000, True])
def test_numbers_of_segments(value: Any) -> None:
    with pytest.raises(InputError) as e:
        syurmy.Options(segments=value)
    assert e.value.code == "I110"


def test_more_segments_than_places(tmp_path: Path) -> None:
    onnx.save(model(), tmp_path / "net.onnx")
    with pytest.raises(InputError) as e:
        syurmy.compile_onnx(tmp_path / "net.onnx", calibrate={"x": X[:, None]}, segments=1000)
    assert e.value.code == "I160"
    assert not (tmp_path / "net").exists()
    small = syurmy.compile_onnx(tmp_path / "net.onnx", calibrate={"x": X[:, None]}, segments="auto")
    assert small.cuts == ()
