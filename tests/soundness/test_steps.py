"""Steps that cheat: one swapped, repeated, left out, of another text, another cache or another model. Each proof of
theirs is accepted alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import syurmy
from syurmy.chained import prove_steps
from syurmy.completions import Completion, GreedyStep, completions, greedy_step, implied
from syurmy.isa.errors import InputError, Trap
from syurmy.parts import Parts
from syurmy.prover.protocol.bundle import Bundle, BundleKey, Carried, Steps
from syurmy.prover.protocol.transcript import Rejected
from syurmy.prover.tensors import TensorOpening
from syurmy.prover.verifier.bundle import BundleStatement, joined
from syurmy.segmented import run
from tests.bundles import CARRIED, WALK, WALKED, rejoined, split, walk, walking, whole_of
from tests.reference_verifier import errors as ours
from tests.reference_verifier.bundle import read_bundle_key, verify_bundle

PROMPT = [3, 1]


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    made = walking().walked(tmp_path_factory.mktemp("honest") / "parts", walk(PROMPT, 4))
    return split(made.bundle.data)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The same text, begun with another cache."""
    made = walking().walked(tmp_path_factory.mktemp("other") / "parts", walk(PROMPT, 4, (0, 1, 0)))
    return split(made.bundle.data)


def said(proofs: list[bytes]) -> BundleStatement:
    found = syurmy.verify(walking().key, rejoined(walking().key, proofs))
    assert isinstance(found, BundleStatement)
    return found


def refused(proofs: list[bytes]) -> tuple[str, str]:
    with pytest.raises(Rejected) as e:
        said(proofs)
    return e.value.step, e.value.reason


def texts(found: BundleStatement) -> list[Completion]:
    return completions(found, walking().key.programs[-1], walking().key.steps)


def test_what_honest_steps_say(honest: list[bytes]) -> None:
    found = said(honest)
    inputs = walk(PROMPT, 4)
    for name in "tpun":
        assert found.inputs[name].tolist() == [int(one[name]) for one in inputs]
    assert found.outputs["q"].tolist() == [1, 2, 3, 4]
    text = [int(one["t"]) for one in inputs] + [int(inputs[-1]["u"])]
    assert texts(found) == [Completion(tuple(text[:2]), tuple(text[2:]))]
    assert len(found.steps) == 4
    assert [name for name, _ in found.links] == [f"step {k}: c" for k in (1, 2, 3)]
    for before, after in zip(found.steps, found.steps[1:], strict=False):
        assert before.commitments["d"].digest() == after.commitments["c"].digest()
    assert found.commitments["c"] == found.steps[0].commitments["c"]
    assert found.commitments["d"] == found.steps[3].commitments["d"]
    assert found.soundness_bits == min(s.soundness_bits for s in found.segments) >= 100
    assert set(found.inputs) == set("tpun")  # neither caches nor logits
    assert set(found.outputs) == {"q"}


def test_steps_swapped_repeated_and_left_out(honest: list[bytes]) -> None:
    a, b, c, d = honest
    assert refused([a, c, b, d]) == ("link 'p'", "step 1 shows [2], step 0 says 'q' = [1]")
    assert refused([a, b, b, c]) == ("link 'p'", "step 2 shows [1], step 1 says 'q' = [2]")
    assert refused([a, b, d]) == ("link 'p'", "step 2 shows [3], step 1 says 'q' = [2]")
    assert refused([b, c, d]) == ("link 'p'", "step 0 shows [1], 0 is where steps begin")
    assert refused([d, c, b, a])[0] == "link 'p'"
    assert texts(said([a, b, c])) == [replace(x, completion=x.completion[:-1]) for x in texts(said(honest))]
    assert refused([*honest, *honest]) == ("steps", "it holds 8 proofs of 1 to 5 steps")
    assert refused([])[0] == "format"


def test_another_cache(honest: list[bytes], other: list[bytes]) -> None:
    """What is shown is the same in both, at every step."""
    assert texts(said(honest)) == texts(said(other))
    for k in (1, 2, 3):
        mixed = refused([*honest[:k], *other[k:]])
        assert mixed == ("link 'c'", f"step {k} names another commitment to it than step {k - 1} to 'd'")
    assert refused([honest[0], other[1], *honest[2:]])[1].startswith("step 1 names another commitment")


def test_another_text(honest: list[bytes], tmp_path: Path) -> None:
    """A step of a text that begins alike, of one with a longer prompt, and one that feeds what was not written."""
    longer = split(walking().walked(tmp_path / "longer", walk([3, 1, 0], 4)).bundle.data)
    assert refused([*honest[:1], *longer[1:]])[0] == "link 'n'"
    fed = int(walk(PROMPT, 4)[2]["t"])
    forged = walk([*PROMPT, (fed + 1) % 4], 4)
    for one in forged:
        one["n"] = np.array(2)
    run(walking().at, forged[0])
    run(walking().at, forged[2])
    with pytest.raises(Trap):  # the token that was not chosen cannot be said to be the next
        run(walking().at, forged[1])
    with pytest.raises(Trap):
        walking().walked(tmp_path / "trap", forged)
    alone = walking().walked(tmp_path / "one", [forged[2] | {"p": np.array(0)}])  # so it is proven at another place,
    assert refused([honest[0], honest[1], *split(alone.bundle.data)])[0] == "link 'p'"


def test_a_token_that_was_not_chosen_before(honest: list[bytes], tmp_path: Path) -> None:
    """Proven by itself, at its place, with the cache that it would have."""
    w, steps = walking(), walk(PROMPT, 4)
    fed = (int(steps[2]["t"]) + 1) % 4
    seen = np.array([*steps[2]["c"][1:], fed])
    weights = np.array([[3, -1, 2], [0, 2, 1], [-5, 4, 1], [1, 1, 1]])
    inputs = steps[2] | {"t": np.array(fed), "u": np.array(int((weights @ seen).argmax()))}
    c, d = (syurmy.commit(w.at.program, name, np.asarray(x), proofs=4) for name, x in (("c", inputs["c"]), ("d", seen)))
    trace = syurmy.run(w.at.segments[0], inputs)
    proof = syurmy.prove(w.keys[0], trace, commitments={"c": c, "d": d}).data
    step, reason = refused([*honest[:2], proof])
    assert (step, reason) == ("link 't'", f"step 2 shows [{fed}], step 1 says 'u' = [{int(steps[2]['t'])}]")


def test_of_another_model(honest: list[bytes], tmp_path: Path) -> None:
    """Other weights: one step's, or all under the name of this key."""
    theirs = whole_of(syurmy.assemble(WALK.replace("{3, -1,", "{2, -1,")), (), True, WALKED)
    made = split(theirs.walked(tmp_path / "parts", walk(PROMPT, 2)).bundle.data)
    for proofs, k in (([honest[0], made[1]], 1), (made, 0)):
        step, reason = refused(proofs)
        assert step == f"step {k}: statement"
        assert "another key" in reason


def test_a_byte_of_any_step(honest: list[bytes]) -> None:
    for k, proof in enumerate(honest):
        bent = bytearray(proof)
        bent[len(bent) // 2] ^= 1
        step, _ = refused([*honest[:k], bytes(bent), *honest[k + 1 :]])
        assert step.startswith((f"step {k}:", "link"))


def test_links_are_all_compared(honest: list[bytes]) -> None:
    """Each carried name alone, by statements that differ in nothing else."""
    parts = list(said(honest).segments)
    key = walking().key
    joined(key, parts)
    for name, step in (("t", "link 't'"), ("n", "link 'n'"), ("p", "link 'p'")):
        changed = replace(parts[2], inputs=parts[2].inputs | {name: parts[2].inputs[name] + 1})
        with pytest.raises(Rejected) as e:
            joined(key, [*parts[:2], changed, parts[3]])
        assert e.value.step == step
    for name in "cd":
        crossed = replace(parts[2], commitments={**parts[2].commitments, name: parts[0].commitments["c"]})
        with pytest.raises(Rejected) as e:
            joined(key, [*parts[:2], crossed, parts[3]])
        assert e.value.step == "link 'c'"
    with pytest.raises(Rejected) as e:
        joined(key, [*parts[:3], replace(parts[3], batch=2)])
    assert (e.value.step, e.value.reason) == ("step 3", "it is of 2 inputs, step 0 of 1")


def test_a_public_input_that_is_a_committed_output() -> None:
    """It is what steps show of it that is compared, and what is committed of inputs is the first step's."""
    both = """
.program both
.input   x : i8[2] public
.input   y : i8[2] committed
.output  x committed
.output  y public
    add  s, x, y
    halt
"""
    w = whole_of(syurmy.assemble(both), (), True, Steps(3, (Carried("y", "x"),)))
    steps, proofs = [np.array(v) for v in ([5, 5], [1, 2], [3, 4], [0, 7])], []
    for k in range(3):
        trace = syurmy.run(w.at.segments[0], {"x": steps[k], "y": steps[k + 1]})
        made = {n: syurmy.commit(w.at.program, n, steps[k + i], proofs=8) for i, n in enumerate("xy")}
        proofs.append(syurmy.prove(w.keys[0], trace, commitments=made).data)
    found = syurmy.verify(w.key, rejoined(w.key, proofs))
    assert isinstance(found, BundleStatement)
    assert verify_bundle(w.key.to_bytes(), rejoined(w.key, proofs))
    assert found.commitments["y"] == found.steps[0].commitments["y"]
    assert found.commitments["x"] == found.steps[2].commitments["x"]
    with pytest.raises(Rejected, match="step 1 shows"):
        syurmy.verify(w.key, rejoined(w.key, [proofs[0], proofs[2]]))
    with pytest.raises(ours.Rejected, match="x is not handed on"):
        verify_bundle(w.key.to_bytes(), rejoined(w.key, [proofs[0], proofs[2]]))


def test_keys_whose_steps_do_not_fit() -> None:
    key = walking().key

    def bad(*carried: Carried, most: int = 5) -> str:
        with pytest.raises(InputError) as e:
            replace(key, steps=Steps(most, carried))
        assert e.value.code == "K127"
        return e.value.message

    assert "hand nothing on" in bad()
    assert "no single input" in bad(*CARRIED, Carried("q", "t"))
    assert "no single input" in bad(Carried("q", "d"))
    assert "no single input" in bad(Carried("v", "t"))
    assert "'d' is committed, 't' is public" in bad(Carried("d", "t"))
    assert "'q' is public, 'c' is committed" in bad(Carried("q", "c"))
    assert "in the first step" in bad(Carried("q", "p", 5))
    assert "in the first step" in bad(Carried("d", "c", 0))
    assert "0 proofs" in bad(*CARRIED, most=0)
    assert "1025 proofs" in bad(*CARRIED, most=1025)
    assert len({replace(key, steps=s).digest() for s in (None, *(Steps(n, CARRIED) for n in (5, 17, 1024)))}) == 4
    wide = WALK.replace("c : i8[3] committed in 0..3", "c : i8[3] committed").replace("d committed", "e committed")
    wide = wide.replace("mov     d, seen", "mul e, seen, 3")
    with pytest.raises(InputError, match=r"'e' is i64\[3\], 'c' is i8\[3\]"):
        whole_of(syurmy.assemble(wide), (), True, Steps(5, (Carried("e", "c"),)))


def test_key_files_are_canonical() -> None:
    data, key = walking().key.to_bytes(), walking().key
    assert BundleKey.from_bytes(data) == key
    others = [Steps(6, CARRIED), Steps(5, CARRIED[:3]), Steps(5, CARRIED[::-1])]
    others += [Steps(5, (Carried("q", "p", 1), *CARRIED[1:])), Steps(5, (Carried("q", "p"), *CARRIED[1:]))]
    keys = [key, *(replace(key, steps=s) for s in others)]
    assert len({k.digest() for k in keys}) == len({k.to_bytes() for k in keys}) == 6
    assert all(BundleKey.from_bytes(k.to_bytes()) == k for k in keys)
    for at in range(10, 60):
        bent = bytearray(data)
        bent[at] ^= 1
        try:
            found = BundleKey.from_bytes(bytes(bent))
        except InputError:
            continue
        assert found.to_bytes() == bytes(bent)
        assert found.digest() != key.digest()


def test_steps_begin_with_any_integer_of_the_input() -> None:
    source = ".program far\n.input p : i64[] public\n.output q public\n    mov q, p\n    halt\n"
    w = whole_of(syurmy.assemble(source), (), False, Steps(2, (Carried("q", "p", 2**60),)))
    assert BundleKey.from_bytes(w.key.to_bytes()) == w.key
    (carried,) = read_bundle_key(w.key.to_bytes()).carried
    assert carried.first == 2**60


def test_only_steps_that_assert_a_text_are_called_one() -> None:
    program = walking().at.program
    assert greedy_step(program, WALKED) == GreedyStep("t", "", "u", "n", "", "p", "q")
    more = syurmy.assemble(WALK.replace(".output   q", ".input    z : i8[]  public\n.output   q"))
    assert implied(more, WALKED) == set("tunpq")  # z is shown
    assert implied(program, None) == set()
    changes = {
        "    assert  held": "",
        "    ge      after, place, n": "    gt      after, place, n",
        "le      held, after, same": "le      held, same, after",
        "argmax  best, logits": "argmin  best, logits",
        "addi    place, p, 1": "addi    place, p, 2",
        "mov     q, place": "mov     q, p",
        "n : i8[]  public in 1..6": "n : i8[]  public in 0..6",
        "eq      same, best, u": "eq      same, best, t",
    }
    for old, new in changes.items():
        assert old in WALK
        assert greedy_step(syurmy.assemble(WALK.replace(old, new)), WALKED) is None, new
    assert greedy_step(replace(program, outputs=program.outputs[:1]), WALKED) is None  # q is another segment's
    first, fed, prompt, cache = CARRIED
    for other in ((Carried("q", "p"), fed, prompt), (first, prompt), (first, fed), (fed, prompt)):
        assert greedy_step(program, Steps(5, (*other, cache))) is None


def test_an_interrupted_chain_goes_on(tmp_path: Path) -> None:
    """Finished steps are taken, with the commitments that they name; of another run none is."""
    w, steps = walking(), walk(PROMPT, 3)
    runs = [run(w.at, one) for one in steps]
    named = {f"{k} {name}": x for k, one in enumerate(steps) for name, x in one.items()}

    def stop(phase: str, fraction: float) -> None:
        if phase.startswith("step 3"):
            raise KeyboardInterrupt

    with Parts(tmp_path / "parts", w.key.digest(), named, {}) as parts, pytest.raises(KeyboardInterrupt):
        prove_steps(w.at, w.key, w.keys.__getitem__, runs, parts, stop)
    with Parts(tmp_path / "parts", w.key.digest(), named, {}) as parts:
        opening = TensorOpening.load(parts.opening(3))  # what step 2 hands on, which no proof names yet
        assert opening.allowance is not None
        opening.allowance.take(opening.allowance.limit - opening.allowance.used - 1)
        kept = [parts.proof(k) for k in range(3)]
        assert [x is not None for x in kept] == [True, True, False]
        made = prove_steps(w.at, w.key, w.keys.__getitem__, runs, parts)
    assert made.resumed == 2
    assert split(made.bundle.data)[:2] == kept[:2]
    assert syurmy.verify(w.key, Bundle(made.bundle.data)).commitments["d"].digest() != opening.commitment.digest()


def test_a_commitment_that_is_used_up_takes_both_proofs_along(tmp_path: Path) -> None:
    w, steps = walking(), walk(PROMPT, 3)
    runs = [run(w.at, one) for one in steps]

    def stop(phase: str, fraction: float) -> None:
        if phase.startswith("step 3"):
            raise KeyboardInterrupt

    with Parts(tmp_path / "parts", w.key.digest(), {}, {}) as parts:
        with pytest.raises(KeyboardInterrupt):
            prove_steps(w.at, w.key, w.keys.__getitem__, runs, parts, stop)
        opening = TensorOpening.load(parts.opening(2))  # step 1 names it, and step 2 would
        assert opening.allowance is not None
        opening.allowance.take(opening.allowance.limit - opening.allowance.used)
        made = prove_steps(w.at, w.key, w.keys.__getitem__, runs, parts)
    assert made.resumed == 1
    assert opening.commitment.digest() not in {digest for _, digest in made.statement.links}
