"""How often params may be opened: counted before a proof exists, across threads, processes and files."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import threading
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import syurmy
from syurmy.isa.errors import InputError
from syurmy.isa.types import DType
from syurmy.prover.allowance import Allowance
from syurmy.prover.certify import Certifier
from syurmy.prover.keys import ProvingKey, setup
from syurmy.prover.protocol.description import Description, Quantity
from syurmy.prover.protocol.key import MAX_PROOFS, Mode, VerifyingKey
from syurmy.prover.prove import Prover
from syurmy.prover.secrets import Secrets
from syurmy.prover.tensors import TensorOpening, seal
from tests.soundness import common as c

DIGEST = bytes(range(32))


def test_taken_until_spent(tmp_path):
    allowance = Allowance(DIGEST, 10)
    for _ in range(2):
        allowance.take(4)
    with pytest.raises(InputError, match="are left to be opened") as e:
        allowance.take(3)
    assert e.value.code == "P180"
    assert "copies" in e.value.help
    assert allowance.used == 8
    allowance.take(2)
    path = tmp_path / "key.pk.used"
    allowance.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Allowance(DIGEST, 10, path).used == 10


def test_the_file_counts_for_all_who_load_the_key(tmp_path):
    path = tmp_path / "key.pk.used"
    first = Allowance(DIGEST, 10)
    first.create(path)
    first.take(3)
    Allowance(DIGEST, 10, path).take(3)
    assert first.used == Allowance(DIGEST, 10, path).used == 6
    first.create(path)  # nothing is forgotten when the key is saved once more
    assert first.used == 6
    with pytest.raises(InputError, match="counted in") as e:
        first.create(tmp_path / "copy.pk.used")
    assert e.value.code == "K145"


def test_copies_in_memory_have_one_count(tmp_path):
    """They outlive each other; to another process goes only what counts in a file."""
    first = Allowance(DIGEST, 10)
    for other in (copy.copy(first), copy.deepcopy(first)):
        other.take(1)
        del other
    assert first.used == 2
    with pytest.raises(InputError, match="cannot be sent") as e:
        pickle.dumps(first)
    assert e.value.code == "K155"
    first.create(tmp_path / "key.pk.used")
    pickle.loads(pickle.dumps(first)).take(3)
    assert first.used == 5


def test_a_fork_does_not_go_on_counting_in_memory(tmp_path):
    """Once its parent counts in a file: it would spend what the parent spends again."""
    first = Allowance(DIGEST, 10)
    first.take(3)
    forked = Allowance.__new__(Allowance)
    forked.__dict__.update(first.__dict__)
    assert first._own is not None
    forked._own = os.dup(first._own)  # what a child has of it
    forked.take(1)
    first.create(tmp_path / "key.pk.used")
    assert first.used == 4
    with pytest.raises(InputError, match="are left to be opened"):
        forked.take(1)
    assert first.used == 4


@pytest.mark.parametrize("damage", ["missing", "empty", "longer", "of another key"])
def test_an_unknown_count_is_refused(tmp_path, damage):
    path = tmp_path / "key.pk.used"
    Allowance(DIGEST, 10).create(path)
    if damage == "missing":
        path.unlink()
    elif damage == "of another key":
        Allowance(DIGEST[::-1], 10).create(path)
    else:
        path.write_bytes(b"" if damage == "empty" else path.read_bytes() + b"\0")
    with pytest.raises(InputError, match="is not known") as e:
        Allowance(DIGEST, 10, path).take(1)
    assert e.value.code == "P181"
    assert "--renew" in e.value.help


def taking(path: Path | None, allowance: Allowance | None, results: Any) -> None:
    mine = Allowance(DIGEST, 50, path) if allowance is None else allowance
    got = 0
    for _ in range(20):
        try:
            mine.take(1)
            got += 1
        except InputError:
            pass
    results.put(got)


@pytest.mark.parametrize("shared", ["file", "forked"])
def test_processes_share_it(tmp_path, shared):
    """Four times twenty are asked for, fifty are given."""
    path = tmp_path / "key.pk.used"
    allowance = Allowance(DIGEST, 50)
    if shared == "file":
        allowance.create(path)
    fork = get_context("fork")
    results = fork.Queue()
    every = [
        fork.Process(target=taking, args=(path, None, results) if shared == "file" else (None, allowance, results))
        for _ in range(4)
    ]
    for p in every:
        p.start()
    for p in every:
        p.join()
    assert sum(results.get() for _ in every) == 50
    assert allowance.used == 50


def test_threads_share_it(tmp_path):
    path = tmp_path / "key.pk.used"
    Allowance(DIGEST, 50).create(path)
    import queue

    results: queue.Queue[int] = queue.Queue()
    every = [threading.Thread(target=taking, args=(path, None, results)) for _ in range(4)]
    for t in every:
        t.start()
    for t in every:
        t.join()
    assert sum(results.get() for _ in every) == 50


HOLD = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.lockf(fd, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_what_another_process_counts_is_waited_for(tmp_path):
    """Between reading and writing nobody else does either: else two proofs would take the same positions once."""
    path = tmp_path / "key.pk.used"
    allowance = Allowance(DIGEST, 10)
    allowance.create(path)
    arguments = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        taking = threading.Thread(target=allowance.take, args=(4,))
        taking.start()
        taking.join(0.5)
        waited, counted = taking.is_alive(), int.from_bytes(path.read_bytes()[-8:], "little")
        other.stdin.close()
    taking.join(30)
    assert (waited, counted, taking.is_alive(), allowance.used) == (True, 0, False, 4)


def test_the_count_is_on_disk_before_it_is_taken(tmp_path, monkeypatch):
    path = tmp_path / "key.pk.used"
    allowance = Allowance(DIGEST, 10)
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(int.from_bytes(os.pread(fd, 48, 0)[-8:], "little")))
    allowance.create(path)
    allowance.take(4)
    assert synced == [0, 4]


def test_the_count_is_its_owners_whatever_was_there(tmp_path):
    path = tmp_path / "key.pk.used"
    path.write_bytes(b"of an older key, readable by all")
    path.chmod(0o644)
    Allowance(DIGEST, 10).create(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_as_many_proofs_as_the_key_is_for(tmp_path):
    """A key for two makes two, and says no to one that it cannot hide; a copy of its file has nothing left either."""
    program = syurmy.assemble(c.TWO_DENSE)
    key = setup(program, Mode.of(program, proofs=2))
    path = tmp_path / "two.pk"
    key.save(path)
    trace = syurmy.run(program, {"x": np.array([1, 2, 3])})
    opened = Prover(key, trace).opening.matrices[1]
    made = (opened.shape.tail - 1) // opened.queries
    assert made >= 2
    for _ in range(made):
        proof = Prover(ProvingKey.load(path, program), trace).run()
        syurmy.verify(key.verifying_key, proof.data)
    for spent in (ProvingKey.load(path, program), key):  # the key in memory counts in the file too
        with pytest.raises(InputError, match="are left to be opened"):
            Prover(spent, trace).run()


def test_it_is_taken_before_anything_is_sent(monkeypatch):
    """A proof that fails on the way has used its share."""
    program = syurmy.assemble(c.TWO_DENSE)
    key = setup(program, Mode.of(program, proofs=2))
    assert key.allowance is not None

    def fails(self: Prover) -> Any:
        assert key.allowance is not None
        assert key.allowance.used > 0
        raise MemoryError

    monkeypatch.setattr(Prover, "commit", fails)
    with pytest.raises(MemoryError):
        Prover(key, syurmy.run(program, {"x": np.array([1, 2, 3])})).run()
    assert key.allowance.used > 0


def test_proofs_without_claims_on_params_take_nothing():
    key = setup(syurmy.assemble(c.DOT))
    assert key.allowance is None
    clear = setup(syurmy.assemble(c.DENSE), Mode(False))
    assert clear.allowance is None


def test_numbers_of_proofs():
    program = syurmy.assemble(c.TWO_DENSE)
    for bad in (0, -1, MAX_PROOFS + 1):
        with pytest.raises(InputError, match="proofs") as e:
            Mode.of(program, proofs=bad)
        assert e.value.code == "K147"
    shapes = [setup(program, Mode.of(program, proofs=n)).params for n in (1, 16, 64)]
    tails = [p.commitment.shape.tail for p in shapes if p is not None]
    assert tails == sorted(tails)
    vk = setup(program, Mode.of(program, proofs=3)).verifying_key
    assert VerifyingKey.from_bytes(vk.to_bytes()) == vk
    assert vk.mode == Mode(True, 3)


@pytest.mark.parametrize(
    ("at", "value"), [(10, 2), (10, 0), (11, 0), (14, 0xFF)], ids=["flag", "clear", "no proofs", "many"]
)
def test_a_key_that_contradicts_itself(at, value):
    data = bytearray(setup(syurmy.assemble(c.TWO_DENSE)).verifying_key.to_bytes())
    data[at] = value
    with pytest.raises(InputError):
        VerifyingKey.from_bytes(bytes(data))


# ---- where randomness comes from -------------------------------------------------------------------------------------


def test_elements_are_canonical_and_uniform():
    values = Secrets.fresh([b"test"]).elements(1 << 16)
    assert int(values.max()) < 2**64 - 2**32 + 1
    counts = np.bincount((values >> np.uint64(56)).astype(np.int64), minlength=256)
    assert ((counts - 256) ** 2 / 256).sum() < 255 + 6 * (2 * 255) ** 0.5


def test_words_beyond_the_field_are_skipped(monkeypatch):
    """They would be taken mod p, and small elements be twice as likely."""
    from syurmy.prover import secrets

    class Stream:
        def digest(self, length: int, seek: int) -> bytes:
            words = [2**64 - 1, 5, 2**64 - 2**32 + 1, 6, 7]
            return b"".join(words[(seek // 8 + i) % 5].to_bytes(8, "little") for i in range(length // 8))

    source = secrets.Secrets(b"")
    source._stream = Stream()  # type: ignore[assignment]
    assert source.elements(5).tolist() == [5, 6, 7, 5, 6]


def test_the_seed_covers_what_it_is_bound_to(monkeypatch):
    """An operating system that repeats itself gives equal pads only to equal statements and inputs."""
    monkeypatch.setattr(os, "urandom", lambda n: b"\7" * n)
    streams = [
        Secrets.fresh(bound).elements(4).tolist() for bound in ([b"a"], [b"a"], [b"b"], [b"a", b""], [b"", b"a"])
    ]
    assert streams[0] == streams[1]
    assert len({tuple(s) for s in streams}) == 4
    pk = c.keys(c.hiding(c.DOT))
    pads = []
    for x in ([1, -2, 3, 4], [1, -2, 3, 4], [4, 0, 0, 0]):
        prover = Prover(pk, c.trace_of(c.hiding(c.DOT), {"x": x, "z": [5, 6, -7, 8]}))
        prover.commit()
        assert prover.pads is not None
        pads.append(prover.pads.copy())
    assert (pads[0] == pads[1]).all()
    assert not (pads[0] == pads[2]).any()


def test_equal_bytes_serve_one_purpose_only(monkeypatch):
    """Of a system that repeats itself: no pad in a proof that rests on a certificate and in one that does not, or rests
    on another, or in the certificate itself; no coefficient in two keys, or under two names of a tensor."""
    monkeypatch.setattr(os, "urandom", lambda n: b"\7" * n)
    program = syurmy.assemble(c.SQUARES)
    pk = setup(program, Mode(True, 2))
    trace = syurmy.run(program, {})  # without inputs, so that only the purposes differ
    provers = [
        *(Prover(pk, trace, certificate=digest) for digest in (bytes(32), bytes([1] * 32), bytes([2] * 32))),
        Certifier(pk),
    ]
    pads = []
    for prover in provers:
        prover.commit()
        assert prover.pads is not None
        pads.append(prover.pads[0, :3].tolist())
    assert len(set(map(tuple, pads))) == 4
    described = Description(title="the same integers")
    other = [setup(program, Mode(True, 2), max_steps=9), setup(program, Mode(True, 2), description=described)]
    keys = [pk, setup(program, Mode(True, 3)), *other]
    assert len({key.params.commitment.tail[0, 0] for key in keys if key.params is not None}) == 4
    shapes = [(DType.I8, Mode(True, 1)), (DType.I16, Mode(True, 1)), (DType.I8, Mode(True, 2))]
    euros = Quantity("tensor", unit="EUR")
    sealed = [seal(np.array([[1, 2]]), *s) for s in shapes] + [seal(np.array([[1, 2]]), *shapes[0], meaning=euros)]
    sealed.append(seal(np.array([[1, 3]]), *shapes[0]))
    assert len({x.matrix.commitment.tail[0, 0] for x in sealed}) == 5  # type: ignore[index]
    assert len({x.commitment.root for x in sealed}) == 5


def test_one_coefficient_is_never_spent(tmp_path):
    """With as many columns as there are random coefficients, the leaves beside them say something to who guesses."""
    pk, opening = setup(syurmy.assemble(c.SQUARES)), seal(np.array([[1, 2]]), DType.I8, Mode(True, 2))
    pk.save(tmp_path / "p.pk")
    opening.save(tmp_path / "x.opening")
    for one in (pk, ProvingKey.load(tmp_path / "p.pk", pk.program)):
        assert one.allowance is not None
        assert one.params is not None
        assert one.allowance.limit == one.params.commitment.shape.tail - 1
    for x in (opening, TensorOpening.load(tmp_path / "x.opening")):
        assert x.allowance is not None
        assert x.allowance.limit == x.matrix.commitment.shape.tail - 1


def proven(results: Any) -> None:
    results.put(Prover(c.keys(c.hiding(c.DOT)), c.trace_of(c.hiding(c.DOT))).run().data)


@pytest.mark.slow
def test_forked_processes_share_no_randomness():
    """Two children of one process, and the process itself, prove the same: no element is equal."""
    mine = Prover(c.keys(c.hiding(c.DOT)), c.trace_of(c.hiding(c.DOT))).run().data
    fork = get_context("spawn")  # a forked child must not use its parent's threads; randomness is drawn in it anyway
    results = fork.Queue()
    every = [fork.Process(target=proven, args=(results,)) for _ in range(2)]
    for p in every:
        p.start()
    roots = {results.get()[10:42] for _ in every} | {mine[10:42]}
    for p in every:
        p.join()
    assert len(roots) == 3


def seeds(results: Any) -> None:
    results.put(Secrets.fresh([]).elements(4).tolist())


def test_forks_draw_their_own_bytes():
    Secrets.fresh([]).elements(4)
    fork = get_context("fork")
    results = fork.Queue()
    every = [fork.Process(target=seeds, args=(results,)) for _ in range(4)]
    for p in every:
        p.start()
    found = {tuple(results.get()) for _ in every}
    for p in every:
        p.join()
    assert len(found) == 4


# ---- copies ----------------------------------------------------------------------------------------------------------


def test_a_copy_takes_its_part(tmp_path):
    """What is handed over is gone here, whoever else counts; and no more than is left can be."""
    path, copy = tmp_path / "key.pk.used", tmp_path / "copy.pk.used"
    allowance = Allowance(DIGEST, 10)
    allowance.create(path)
    allowance.take(3)
    allowance.hand_over(4, copy)
    theirs = Allowance(DIGEST, 10, copy)
    assert (allowance.used, theirs.used) == (7, 6)
    with pytest.raises(InputError, match="are left to be opened"):
        theirs.take(5)
    theirs.take(4)
    with pytest.raises(InputError, match="are left to be opened"):
        allowance.hand_over(4, tmp_path / "another.pk.used")
    assert not (tmp_path / "another.pk.used").exists()
    allowance.take(3)
