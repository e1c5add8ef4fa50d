"""Bundles that cheat: a segment swapped, repeated, left out, of another model or another run, links crossed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import syurmy
from syurmy.isa.encoding import encode
from syurmy.isa.errors import InputError
from syurmy.isa.inference import infer_types
from syurmy.prover.protocol import bundle
from syurmy.prover.protocol.bundle import MAGIC, Bundle, BundleKey, Port
from syurmy.prover.protocol.key import Mode, VerifyingKey
from syurmy.prover.protocol.transcript import Rejected
from syurmy.prover.verifier.bundle import joined
from tests.bundles import CUTS, INPUTS, SOURCE, example, rejoined, split, whole_of


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return example().proven(tmp_path_factory.mktemp("honest") / "parts").bundle.data


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Of another input: every proof of it is accepted."""
    inputs = INPUTS | {"x": np.array([2, 2, 2, 2])}
    return example().proven(tmp_path_factory.mktemp("other") / "parts", inputs).bundle.data


def refused(data: bytes, key: BundleKey | None = None) -> Rejected:
    with pytest.raises(Rejected) as e:
        syurmy.verify(example().key if key is None else key, data)
    return e.value


def test_an_honest_bundle_says_what_the_whole_would(honest: bytes) -> None:
    said = syurmy.verify(example().key, honest)
    trace = syurmy.run(example().at.program, INPUTS)
    assert {k: v.tolist() for k, v in said.inputs.items()} == {"n": 2}
    assert {k: v.tolist() for k, v in said.outputs.items()} == {k: trace.outputs[k].tolist() for k in ("big", "y")}
    assert set(said.commitments) == {"z", "c"}
    ((at, revealed),) = said.reveals
    assert example().at.program.code[at].op == "reveal"
    assert revealed == 2
    assert {name for name, _ in said.links} == {"x", "a", "b", "f", "c"}  # type: ignore[attr-defined]
    assert said.soundness_bits == min(s.soundness_bits for s in said.segments) >= 100  # type: ignore[attr-defined]


def test_a_segment_of_another_run(honest: bytes, other: bytes) -> None:
    """Whichever is taken from another run, a link breaks: what it reads or what is read of it is another tensor."""
    mine, theirs = split(honest), split(other)
    for k in range(len(mine)):
        e = refused(rejoined(example().key, [*mine[:k], theirs[k], *mine[k + 1 :]]))
        assert e.step.startswith("link")
        assert f"segment {k}" in e.reason or k == 0
    assert syurmy.verify(example().key, rejoined(example().key, theirs)).batch == 1


@pytest.mark.slow
def test_the_same_values_committed_anew(tmp_path: Path, honest: bytes) -> None:
    """Another commitment to the same tensor is not the same commitment: nobody has shown that it is the same tensor."""
    mine, again = split(honest), split(example().proven(tmp_path / "parts").bundle.data)
    e = refused(rejoined(example().key, [mine[0], again[1], *mine[2:]]))
    assert e.step.startswith("link")
    assert "another commitment" in e.reason


def test_swapped_repeated_left_out_and_too_many(honest: bytes) -> None:
    proofs, key = split(honest), example().key
    swapped = refused(rejoined(key, [proofs[0], proofs[2], proofs[1], proofs[3]]))
    assert (swapped.step, swapped.reason) == ("segment 1: statement", "it is the proof of segment 2")
    repeated = refused(rejoined(key, [proofs[0], proofs[0], *proofs[2:]]))
    assert (repeated.step, repeated.reason) == ("segment 1: statement", "it is the proof of segment 0")
    assert refused(rejoined(key, proofs[:-1])).reason == "it holds 3 proofs of 4 segments"
    assert refused(rejoined(key, [*proofs, proofs[-1]])).reason == "it holds 5 proofs of 4 segments"


def test_of_another_version(honest: bytes) -> None:
    key = example().key.to_bytes()
    for version, todo in ((2, "make it again with `syurmy-vm {}`"), (4, "update syurmy-vm")):
        said = f"protocol version {version}, not 3: {todo.format('prove')}"
        assert refused(honest[:8] + bytes([version]) + honest[9:]).reason == f"the bundle has {said}"
        with pytest.raises(InputError, match=f"protocol version {version}") as e:
            BundleKey.from_bytes(key[:8] + bytes([version]) + key[9:])
        assert (e.value.code, e.value.help) == ("K121", todo.format("setup"))


def test_of_another_model(honest: bytes) -> None:
    """Other weights, one segment's or all: the key says whose."""
    changed = syurmy.assemble(SOURCE.replace("{3, -1,", "{4, -1,"))
    theirs = whole_of(changed, CUTS)
    assert "belongs to another key" in refused(honest, theirs.key).reason
    named = MAGIC + theirs.key.digest() + honest[len(MAGIC) + 32 :]
    e = refused(named, theirs.key)
    assert e.step == "segment 0: statement"
    assert "another key" in e.reason
    mixed = replace(example().key, segments=(theirs.key.segments[0], *example().key.segments[1:]))
    assert mixed.digest() != example().key.digest()


def test_crossed_links(tmp_path: Path) -> None:
    """Two tensors of one type that change places: every proof holds, and reads what another has made, but the wrong
    one."""
    text = (
        ".program crossed\n.input x : i8[2] private\n.output y public\nadd a, x, 1\nadd b, x, 2\n"
        "clamp c, a, -9, 9\nclamp d, b, -9, 9\nmul e, c, 3\nsub f, e, d\nsum y, f\nhalt"
    )
    w = whole_of(syurmy.assemble(text), (4,))
    made = w.proven(tmp_path / "parts", {"x": np.array([1, 2])})
    parts = [w.verifier.part(k, p) for k, p in enumerate(split(made.bundle.data))]
    assert [(link.name, link.segments) for link in w.key.links] == [("c", (0, 1)), ("d", (0, 1))]
    c, d = (parts[1].commitments[name] for name in "cd")
    crossed = replace(parts[1], commitments={"c": d, "d": c})
    with pytest.raises(Rejected, match="link 'c'"):
        joined(w.key, [parts[0], crossed])
    # the same with proofs: segment 1 is run on d and c
    from syurmy.prover.tensors import TensorOpening

    def opening(values: list[int]) -> TensorOpening:
        return syurmy.commit(w.at.segments[0], "c", np.array(values), proofs=4)

    one, two = opening([2, 3]), opening([3, 4])
    first, second = w.at.segments
    proof = syurmy.prove(w.keys[0], syurmy.run(first, {"x": [1, 2]}), commitments={"c": one, "d": two})
    trace = syurmy.run(second, {"c": two.values[0], "d": one.values[0]})
    false = syurmy.prove(w.keys[1], trace, commitments={"c": two, "d": one})
    assert (
        syurmy.verify(w.key.segments[1], false.data).outputs["y"]
        != syurmy.run(w.at.program, {"x": [1, 2]}).outputs["y"]
    )
    e = refused(rejoined(w.key, [proof.data, false.data]), w.key)
    assert e.step == "link 'c'"


def test_a_public_value_that_differs(tmp_path: Path) -> None:
    """``n`` is read in one segment and shown; ``big`` is made in one and read in another, shown by both."""
    w = example(False)
    mine = split(w.proven(tmp_path / "one").bundle.data)
    theirs = split(w.proven(tmp_path / "two", INPUTS | {"n": np.array(3)}).bundle.data)
    e = refused(rejoined(w.key, [*mine[:3], theirs[3]]), w.key)
    assert e.step in ("link 'big'", "link 'c'")


@pytest.mark.slow
def test_batches_must_agree(tmp_path: Path, honest: bytes) -> None:
    inputs = {name: np.stack([x, x]) for name, x in INPUTS.items()}
    two = example().proven(tmp_path / "parts", inputs, batch=True)
    assert two.statement.batch == 2
    assert two.statement.outputs["y"].shape == (2,)
    e = refused(rejoined(example().key, [*split(honest)[:3], split(two.bundle.data)[3]]))
    assert (e.step, e.reason) == ("segment 3", "it is of 2 inputs, segment 0 of 1")


def test_bytes_that_are_no_bundle(honest: bytes) -> None:
    """Cut short, made longer, lengths moved: a reason, never another exception."""
    key, n = example().key, len(honest)
    head = len(MAGIC) + 36
    lengths = [honest[head + 8 * k : head + 8 * k + 8] for k in range(4)]
    moved = honest[:head] + lengths[1] + lengths[0] + honest[head + 16 :]
    count = bytearray(honest)
    count[head - 4] = 3
    huge = honest[:head] + b"\xff" * 8 + honest[head + 8 :]
    cases = [b"", honest[:5], honest[: head - 1], honest[: head + 7], honest[:-1], honest + b"\0", moved, bytes(count)]
    cases += [huge, b"SYURMYPF" + honest[8:], honest[:8] + b"\1\0" + honest[10:], honest[n // 2 :]]
    assert len({refused(data, key).step for data in cases}) >= 2


@pytest.mark.slow
def test_every_part_is_checked(honest: bytes) -> None:
    """A byte changed anywhere is refused, with the segment it is in."""
    draw = np.random.default_rng(0)
    sizes = [len(p) for p in split(honest)]
    start = len(honest) - sum(sizes)
    for k, size in enumerate(sizes):
        for at in (*draw.integers(0, size, 2), size - 1):
            bent = bytearray(honest)
            bent[start + sum(sizes[:k]) + int(at)] ^= 1 << int(draw.integers(8))
            e = refused(bytes(bent))
            assert e.step.startswith((f"segment {k}", "link")), (k, at, e)
    for at in range(len(MAGIC), len(MAGIC) + 32):
        bent = bytearray(honest)
        bent[at] ^= 1
        assert "another key" in refused(bytes(bent)).reason


def test_proofs_and_keys_of_other_kinds(honest: bytes) -> None:
    key = example().key
    with pytest.raises(InputError, match="a bundle is verified under the key of the whole"):
        syurmy.verify(key.segments[0], Bundle(honest))
    assert refused(split(honest)[0]).step == "format"
    with pytest.raises(Rejected):
        syurmy.verify(key.segments[0], honest)


def test_keys_whose_segments_do_not_fit() -> None:
    """Every way in which declarations of segments can fail to be one whole is refused when the key is made or read."""
    key = example().key
    a, b, c, d = key.segments
    x, n, z = key.inputs
    big, y, out, hidden = key.outputs

    def bad(**change: object) -> str:
        with pytest.raises(InputError) as e:
            replace(key, **change)  # type: ignore[arg-type]
        assert e.value.code == "K127"
        return e.value.message

    assert "nothing puts out" in bad(segments=(b, a, c, d))
    assert "segment 2 puts out 'f', which was there before" in bad(segments=(a, b, b, d))
    assert "segment 3 puts out 'c', which was there before" in bad(segments=(a, b, c, c))
    assert "declares the input 'n' public" in bad(inputs=(x, Port("n", False), z))
    assert "declares the input 'x'" in bad(inputs=(Port("x", True), n, z))
    assert "nothing puts out before" in bad(inputs=(x, n))
    assert "no segment declares the input 'u'" in bad(inputs=(x, n, z, Port("u", False)))
    assert "named twice" in bad(outputs=(big, y, y, out, hidden))
    assert "which is public and no output" in bad(outputs=(big, out, hidden))
    assert "declares the output 'c'" in bad(outputs=(big, y, Port("c", True), hidden))
    assert "no segment declares the output 'v'" in bad(outputs=(big, y, out, hidden, Port("v", True)))
    plain = example(False).key.segments
    assert "hide what others show" in bad(segments=(a, b, c, plain[3]))
    assert "no segment declares the output 'y'" in bad(segments=(a, b, c))
    assert "cannot be a name" in bad(name="1")


def test_key_files_are_canonical() -> None:
    data = example().key.to_bytes()
    assert BundleKey.from_bytes(data).to_bytes() == data
    assert BundleKey.from_bytes(data).digest() == example().key.digest()
    draw = np.random.default_rng(1)
    for at in (0, 8, 9, 10, 11, len(data) - 1, *draw.integers(0, len(data), 40)):
        bent = bytearray(data)
        bent[int(at)] ^= 1 << int(draw.integers(8))
        try:
            other = BundleKey.from_bytes(bytes(bent))
        except InputError:
            continue
        assert other.to_bytes() == bytes(bent)
        assert other.digest() != example().key.digest()
    for cut_at in (0, 7, 10, 30, len(data) // 2, len(data) - 1):
        with pytest.raises(InputError):
            BundleKey.from_bytes(data[:cut_at])
    with pytest.raises(InputError):
        BundleKey.from_bytes(data + b"\0")


def test_loops_of_all_segments_are_charged_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes of key are a hundred thousand instructions to follow: a thousand segments of them would take minutes
    before a proof is read."""

    def segment(k: int) -> VerifyingKey:
        source = f".input x : i64[] public in 0..1\n.output y{k} public\n mov y{k}, x\n repeat 90\n add y{k}, y{k}, x\n"
        return VerifyingKey(encode(syurmy.assemble(f"{source} end\n halt\n")), None, mode=Mode(False))

    keys = tuple(map(segment, range(4)))
    made = BundleKey("w", (Port("x", True),), tuple(Port(f"y{k}", True) for k in range(4)), keys)
    data = made.to_bytes()
    followed = [infer_types(program).followed - len(program.code) for program in made.programs]
    assert min(followed) > 80
    monkeypatch.setattr(bundle, "MAX_FOLLOWED", sum(followed))
    assert BundleKey.from_bytes(data) == made
    monkeypatch.setattr(bundle, "MAX_FOLLOWED", sum(followed) - 1)
    with pytest.raises(InputError, match="take too long") as e:
        BundleKey.from_bytes(data)
    assert e.value.code == "K127"
