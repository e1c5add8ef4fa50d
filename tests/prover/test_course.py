"""Later proofs of a key are what a first proof is: claims that were worked out once get new values."""

import gc
import weakref
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import syurmy
from syurmy import inputs as given
from syurmy.prover import course
from syurmy.prover.course import Course, Recorded, Tape
from syurmy.prover.field import Ext, P

PROGRAMS = Path(__file__).resolve().parents[2] / "programs"


def runs(name):
    """A program, and runs of it with two inputs."""
    path = PROGRAMS / f"{name}.tasm"
    program = syurmy.load(path)
    first = given.read(given.beside(path), given.of_program(program))
    rng = np.random.default_rng(1)
    second = {k: rng.permutation(v.reshape(-1)).reshape(v.shape) if v.ndim else v for k, v in first.items()}
    return program, [syurmy.run(program, x) for x in (first, second)]


@pytest.mark.parametrize("name", ["digits_mlp", "attention", "rnn", "lenet"])
def test_later_proofs(name):
    """With and without a certificate: the bytes do not depend on what the key has proven before."""
    program, (a, b) = runs(name)
    key, verifying = syurmy.setup(program, zk=False)
    proofs = [syurmy.prove(key, trace).to_bytes() for trace in (a, b, a)]
    other, _ = syurmy.setup(program, zk=False)
    assert proofs[1] == syurmy.prove(other, b).to_bytes()
    assert proofs[0] == proofs[2] != proofs[1]
    syurmy.verify(verifying, proofs[1])


def test_later_batches():
    """They need no new plan either: of one size, of another and of one input between them."""
    program, _ = runs("digits_mlp")
    key, verifying = syurmy.setup(program, zk=False)
    x = np.load(PROGRAMS / "digits_test.npz")["images"][:, None]
    traces = [syurmy.run(program, {"x": x[lo:hi]}, batch=True) for lo, hi in ((0, 3), (3, 6), (0, 2), (0, 3))]
    single = syurmy.run(program, {"x": x[0]})
    proofs = [syurmy.prove(key, t).to_bytes() for t in (traces[0], traces[1], traces[2], single, traces[3])]
    for trace, proof in zip((traces[1], traces[2], single), proofs[1:], strict=False):
        assert proof == syurmy.prove(syurmy.setup(program, zk=False)[0], trace).to_bytes()
        syurmy.verify(verifying, proof)
    assert proofs[0] == proofs[4] != proofs[1]


def test_a_course_is_for_one_proof_at_a_time():
    program, (a, _) = runs("digits_mlp")
    key, _ = syurmy.setup(program, zk=False)
    syurmy.prove(key, a)
    kept = Course.of(key, True)
    assert kept._steps
    assert not Course.of(key, True)._steps
    assert Course.of(key, False) is not kept
    kept.end(key)
    assert Course.of(key, True) is kept


def test_nothing_of_a_proof_is_kept_but_challenges():
    """No array of weights, and no element that is not worked out again."""
    program, (a, _) = runs("attention")
    key, _ = syurmy.setup(program)
    syurmy.prove(key, a)
    space = Course.of(key, True).space
    weights = [*space._memo.values(), *space._ahead]
    assert weights
    assert not any("array" in vars(w) for w in weights)
    assert not space._sums | space._values | space._vectors


def test_elements_are_worked_out_again():
    tape = Tape()
    x, y = Recorded(Ext(3, 4), tape), Recorded(Ext(5, 6), tape)

    def work(x, y):
        return [x + y, y - x, 1 - x, x - 1, -x, x * y, 3 * x, x**5, x.inverse(), Ext(2, 1) - x, Ext(7, 8) * x + 2]

    with tape.recording():
        found = work(x, y)
    assert len(tape.steps) == 12
    for a, b in ((Ext(30, 2**40), Ext(9, 1)), (Ext(P - 1, P - 1), Ext(P - 1)), (Ext(0, 1), Ext(2**32, P - 2**32))):
        x.take(a), y.take(b)
        tape.again(0, len(tape.steps))
        assert found == work(a, b)
        assert work(x, y) == found
    assert len(tape.steps) == 12


@pytest.fixture
def spaces(monkeypatch):
    """Of the courses that are made, without the collector: what is recorded refers to itself."""
    found = []
    made = course.RecordedSpace.__init__

    def counted(self, tape):
        made(self, tape)
        found.append(weakref.ref(self))

    monkeypatch.setattr(course.RecordedSpace, "__init__", counted)
    gc.disable()
    yield found
    gc.enable()


def test_a_course_that_is_too_long_goes_at_once(monkeypatch, spaces):
    monkeypatch.setattr(course, "MOST", 10)
    program, (a, _) = runs("attention")
    key, _ = syurmy.setup(program, zk=False)
    for _ in range(3):
        syurmy.prove(key, a)
    assert [space() for space in spaces] == [None] * 3


def test_a_proof_that_is_broken_off_leaves_nothing(spaces):
    """Neither memory nor anything to the next proof."""
    program, (a, _) = runs("lenet")
    key, _ = syurmy.setup(program, zk=False)
    proof = syurmy.prove(key, a).to_bytes()

    def broken_off(at, phase, fraction):
        if phase == at:
            raise KeyboardInterrupt

    for phase in ("commit", "lookup", "contraction", "opening"):
        with pytest.raises(KeyboardInterrupt):
            syurmy.prove(key, a, partial(broken_off, phase))
    assert [space() for space in spaces] == [None] * 4
    assert syurmy.prove(key, a).to_bytes() == proof
