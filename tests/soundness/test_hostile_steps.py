"""Steps of several segments each, put together by who wants to have another text accepted: proofs swapped, repeated,
left out, of another segment, another prompt, another cache, another run of the same text. Every proof of theirs is
accepted alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import syurmy
from syurmy.completions import Completion, completions
from syurmy.isa.arrays import Array
from syurmy.prover.protocol import bundle
from syurmy.prover.protocol.bundle import BundleKey, Carried, Steps
from syurmy.prover.protocol.transcript import Rejected
from syurmy.prover.verifier.bundle import BundleStatement, joined
from syurmy.prover.verifier.verify import Statement
from syurmy.segmented import SPARE
from tests.bundles import WALK, WALKED, Whole, rejoined, split, walk, walking, whole_of
from tests.reference_verifier import bundle as second
from tests.reference_verifier import errors as ours

CUTS = (4,)  # in front of the choice: 'logits' and 'seen' cross, and 'd' is the second segment's
STEPS = 3
RUNS: dict[str, tuple[list[int], tuple[int, int, int]]] = {
    "a": ([3, 1], (0, 0, 0)),
    "again": ([3, 1], (0, 0, 0)),  # the same run, committed to anew
    "cache": ([3, 1], (0, 1, 0)),  # the same text, begun with another cache
    "prompt": ([3, 1, 0], (0, 0, 0)),
}


@cache
def key_of(source: str = WALK) -> Whole:
    return whole_of(syurmy.assemble(source), CUTS, True, WALKED)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, tuple[list[bytes], list[Statement]]]:
    """Of each run its proofs, and what they say."""
    out = {}
    for name, (prompt, first) in RUNS.items():
        done = key_of().walked(tmp_path_factory.mktemp(name) / "parts", walk(prompt, STEPS, first))
        out[name] = split(done.bundle.data), list(done.statement.segments)
    return out


def refused(proofs: Sequence[bytes]) -> tuple[str, str]:
    with pytest.raises(Rejected) as e:
        syurmy.verify(key_of().key, rejoined(key_of().key, proofs))
    return e.value.step, e.value.reason


def test_what_honest_ones_say(made: Mapping[str, tuple[list[bytes], list[Statement]]]) -> None:
    key = key_of().key
    said = syurmy.verify(key, rejoined(key, made["a"][0]))
    assert isinstance(said, BundleStatement)
    assert (len(said.steps), len(said.segments)) == (STEPS, 2 * STEPS)
    text = [int(one["t"]) for one in walk([3, 1], STEPS + 1)]
    assert completions(said, key.programs[-1], key.steps) == [Completion((3, 1), tuple(text[2:]))]
    inner = {f"step {k}: {name}" for k in range(STEPS) for name in ("logits", "seen")}
    assert {name for name, _ in said.links} == inner | {"step 1: c", "step 2: c"}


HOSTILE = {
    "segments of a step swapped": ("1 0 2 3 4 5", "step 0, segment 0: statement", "it is the proof of segment 1"),
    "steps swapped": ("0 1 4 5 2 3", "link 'p'", "step 1 shows"),
    "one segment of two steps swapped": ("0 3 2 1 4 5", "step 0: link 'seen'", "another commitment"),
    "first segments of two steps swapped": ("2 1 0 3 4 5", "step 0: link 'seen'", "another commitment"),
    "a step repeated": ("0 1 2 3 2 3", "link 'p'", "step 2 shows [1], step 1 says 'q' = [2]"),
    "a segment repeated": ("0 0 2 3 4 5", "step 0, segment 1: statement", "it is the proof of segment 0"),
    "a step left out": ("0 1 4 5", "link 'p'", "step 1 shows [2], step 0 says 'q' = [1]"),
    "the first step left out": ("2 3 4 5", "link 'p'", "0 is where steps begin"),
    "a segment left out": ("0 2 3 4 5", "steps", "it holds 5 proofs of 1 to 5 steps of 2 segments each"),
    "the last segment left out": ("0 1 2 3 4", "steps", "it holds 5 proofs"),
    "more than there may be": ("0 1 2 3 4 5 " * 2, "steps", "it holds 12 proofs"),
    "links crossed to another run": ("0 again1 2 3 4 5", "step 0: link 'seen'", "another commitment"),
    "a step of another run": ("0 1 again2 again3 4 5", "link 'c'", "step 1 names another commitment"),
    "a step of another cache": ("0 1 2 3 cache4 cache5", "link 'c'", "step 2 names another commitment"),
    "a step of another prompt": ("prompt0 prompt1 2 3 4 5", "link 'n'", "step 1 shows [2], step 0 says 'n' = [3]"),
    "the choice of another prompt": ("0 1 2 prompt3 4 5", "step 1: link 'seen'", "another commitment"),
}


@pytest.mark.parametrize("how", HOSTILE)
def test_every_hostile_bundle_is_rejected(how: str, made: Mapping[str, tuple[list[bytes], list[Statement]]]) -> None:
    """``again3``: proof 3 of the run called ``again``."""
    names, step, reason = HOSTILE[how]
    proofs = [made[name.rstrip("012345") or "a"][0][int(name[-1])] for name in names.split()]
    found = refused(proofs)
    assert (found[0], reason in found[1]) == (step, True), found


def test_the_second_verifier_rejects_them(made: Mapping[str, tuple[list[bytes], list[Statement]]]) -> None:
    """One that has a wrong link inside of a step, one between two steps."""
    key = key_of().key
    a, again = made["a"][0], made["again"][0]
    for proofs, reason in (([a[0], again[1]], "the segments' commitments to seen differ"),
                           ([*a[:2], *again[2:4]], "the commitment to c is not handed on")):  # fmt: skip
        with pytest.raises(ours.Rejected, match=reason):
            second.verify_bundle(key.to_bytes(), rejoined(key, proofs))


def test_no_other_choice_of_proofs_is_accepted(made: Mapping[str, tuple[list[bytes], list[Statement]]]) -> None:
    """All bundles of two steps that can be put together of all proofs of two runs each: only what was run is a whole.
    (Each is accepted alone, so what ``joined`` says of their statements is the verdict.)"""
    key = key_of().key
    for other in ("again", "cache", "prompt"):
        every = [(name, k, made[name][1][k]) for name in ("a", other) for k in range(2 * STEPS)]
        accepted = set()
        for chosen in product(every, repeat=4):
            if any(x[1] % 2 != i % 2 for i, x in enumerate(chosen)):
                continue  # the proof of another segment: another key
            try:
                joined(key, [said for *_, said in chosen])
            except Rejected:
                continue
            accepted.add(tuple((name, k) for name, k, _ in chosen))
        assert accepted == {tuple((name, k) for k in range(4)) for name in ("a", other)}


def test_of_another_model(made: Mapping[str, tuple[list[bytes], list[Statement]]], tmp_path: Path) -> None:
    theirs = key_of(WALK.replace("{3, -1,", "{2, -1,")).walked(tmp_path / "parts", walk([3, 1], 2))
    proofs = split(theirs.bundle.data)
    step, reason = refused([*made["a"][0][:2], proofs[2], made["a"][0][3]])
    assert step == "step 1, segment 0: statement"
    assert "another key" in reason
    assert refused(proofs)[0] == "step 0, segment 0: statement"


def test_what_is_carried_from_an_input_on(tmp_path: Path) -> None:
    """Committed inputs that every step has alike, or that the next one has under another name: one commitment each,
    and a bundle with another one is rejected."""
    source = """
.program on
.input   a : i8[2] committed
.input   b : i8[2] committed
.input   same : i8[2] committed
.input   p : i8[]  public
.output  q public
.output  s public
.output  m committed
    addi  q, p, 1
    mul   m, a, same
    add   s, m, b
    halt
"""
    steps = Steps(3, (Carried("q", "p", 0), Carried("a", "b"), Carried("same", "same")))
    w = whole_of(syurmy.assemble(source), (2,), True, steps)  # 'm' leaves the first segment, and is read by the second
    a, same = [np.array(x) for x in ([1, 2], [3, 4], [5, 6], [7, 8])], np.array([2, -1])

    def inputs(k: int) -> dict[str, Array]:
        return {"a": a[k + 1], "b": a[k], "same": same, "p": np.array(k)}

    done = w.walked(tmp_path / "a", [inputs(k) for k in range(3)])
    assert done.statement.outputs["s"].tolist() == [(a[k + 1] * same + a[k]).tolist() for k in range(3)]
    digests = [{n: c.digest() for n, c in s.commitments.items()} for s in done.statement.steps]
    assert len({d["same"] for d in digests}) == 1
    assert [d["b"] for d in digests[1:]] == [d["a"] for d in digests[:2]]
    assert len({x for d in digests for x in d.values()}) == 5 + 3
    named = done.statement.steps[1].commitments
    assert {n: c.mode.proofs - SPARE for n, c in named.items()} == {"a": 2, "b": 2, "same": 3, "m": 2}
    proofs = split(done.bundle.data)
    assert second.verify_bundle(w.key.to_bytes(), rejoined(w.key, proofs[:4]))
    other = split(w.walked(tmp_path / "b", [inputs(k) for k in range(3)]).bundle.data)
    with pytest.raises(Rejected, match="step 1 names another commitment to it than step 0 to 'a'"):
        syurmy.verify(w.key, rejoined(w.key, [*proofs[:2], *other[2:]]))
    with pytest.raises(syurmy.InputError, match="'same' of step 2 is not what step 1 hands on as 'same'"):
        w.walked(tmp_path / "c", [*(inputs(k) for k in range(2)), inputs(2) | {"same": a[0]}])


def test_how_many_names_a_key_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both verifiers refuse more before they read them."""
    data = walking(False).key.to_bytes()  # five inputs, two outputs, four that are carried
    assert bundle.MAX_PORTS == second.MAX_NAMED == 2**12
    for most, refusal in ((5, False), (4, True), (3, True)):
        monkeypatch.setattr(bundle, "MAX_PORTS", most)
        monkeypatch.setattr(second, "MAX_NAMED", most)
        if not refusal:
            assert BundleKey.from_bytes(data) == walking(False).key
            second.read_bundle_key(data)
            continue
        with pytest.raises(syurmy.InputError, match="it is damaged"):
            BundleKey.from_bytes(data)
        with pytest.raises(ours.Rejected):
            second.read_bundle_key(data)
