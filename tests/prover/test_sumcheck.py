"""The batched product sumcheck: a slow prover in Python, claims against tables, and provers that cheat."""

import random

import numpy as np
import pytest

from syurmy.prover import sumcheck
from syurmy.prover.field import ONE, U64, ZERO, Ext, P, ext_array, ext_list
from syurmy.prover.protocol import mle
from syurmy.prover.protocol.transcript import Receiver, Rejected, Sender, Transcript
from syurmy.prover.sumcheck import HALF, Instance
from syurmy.prover.verifier import sumcheck as verifier

Shape = tuple[int, str]  # variables, one letter per table: "k" over K, "f" over F

CASES: dict[str, tuple[int, list[Shape]]] = {
    "no rounds": (0, [(0, "kk"), (0, "f")]),
    "one variable": (1, [(1, "k")]),
    "linear": (3, [(3, "k"), (2, "f"), (0, "k")]),
    "product": (3, [(3, "kk")]),
    "product over F first": (3, [(3, "fk")]),
    "product over F last": (3, [(3, "kf")]),
    "both over F": (3, [(3, "ff"), (2, "kk")]),
    "triple": (3, [(3, "kkk")]),
    "triple, mixed": (3, [(3, "fkf"), (3, "fff"), (1, "kfk")]),
    "all sizes": (
        5,
        [(4, "kf"), (3, "fk"), (3, "ff"), (2, "kk"), (1, "kk"), (0, "kk"), (0, "f"), (5, "k"), (2, "kkk")],
    ),
    "nobody owns the first rounds": (6, [(2, "kk"), (3, "f")]),
}


def table(rng: random.Random, n: int, kind: str) -> U64:
    words = [[rng.choice([0, 1, P - 1, rng.randrange(P), rng.randrange(P)]) for _ in range(1 << n)] for _ in range(2)]
    return np.array(words if kind == "k" else words[0], dtype=np.uint64)


def scalars(t: U64) -> list[Ext]:
    return ext_list(t) if t.ndim == 2 else [Ext(int(x)) for x in t]


def make(seed: int, shapes: list[Shape]) -> list[Instance]:
    rng = random.Random(seed)
    return [
        Instance(Ext(rng.randrange(P), rng.randrange(P)), [table(rng, n, kind) for kind in kinds])
        for n, kinds in shapes
    ]


def product(values: list[Ext]) -> Ext:
    out = Ext(1)
    for v in values:
        out = out * v
    return out


def statement(instances: list[Instance]) -> Ext:
    """The target, by definition."""
    out = ZERO
    for x in instances:
        for entries in zip(*(scalars(t) for t in x.tables), strict=True):
            out = out + x.coefficient * product(list(entries))
    return out


def final(instances: list[Instance], rounds: int, values: list[list[Ext]]) -> Ext:
    """What the verifier's caller compares."""
    out = ZERO
    for x, v in zip(instances, values, strict=True):
        n = x.tables[0].shape[-1].bit_length() - 1
        out = out + x.coefficient * pow(HALF, rounds - n, P) * product(v)
    return out


def slow_prove(sender: Sender, instances: list[Instance], rounds: int) -> list[Ext]:
    """Every instance made a polynomial in all variables (its table repeated), every evaluation summed in full."""
    degree = max(len(x.tables) for x in instances)
    work = []
    for x in instances:
        copies = (1 << rounds) // x.tables[0].shape[-1]
        work.append((x.coefficient * pow(copies, P - 2, P), [scalars(t) * copies for t in x.tables]))
    point: list[Ext] = []
    for left in range(rounds, 0, -1):
        half = 1 << (left - 1)
        sent = []
        for t in [0, *range(2, degree + 1)]:
            value = ZERO
            for c, tables in work:
                for i in range(half):
                    value = value + c * product([a[i] + t * (a[i + half] - a[i]) for a in tables])
            sent.append(value)
        sender.ext("s round", sent)
        r = sender.transcript.challenge("s challenge")
        work = [(c, [[a[i] + r * (a[i + half] - a[i]) for i in range(half)] for a in tables]) for c, tables in work]
        point.append(r)
    return point


@pytest.mark.parametrize("small", [12, 2, 0])
@pytest.mark.parametrize("name", CASES)
def test_against_the_slow_prover(name: str, small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """``small``: all rounds but the first are one call, the last two, none."""
    monkeypatch.setattr(sumcheck, "SMALL", small)
    rounds, shapes = CASES[name]
    instances = make(1, shapes)
    before = [t.copy() for x in instances for t in x.tables]
    fast, slow = Sender(Transcript()), Sender(Transcript())
    point, values = sumcheck.prove(fast, "s", instances, rounds)
    assert slow_prove(slow, instances, rounds) == point
    assert fast.bytes() == slow.bytes()
    assert all((a == b).all() for a, b in zip(before, (t for x in instances for t in x.tables), strict=True))
    for x, finals in zip(instances, values, strict=True):
        for t, v in zip(x.tables, finals, strict=True):
            suffix = point[rounds - (t.shape[-1].bit_length() - 1) :]
            assert v == (mle.evaluate(t, suffix) if t.ndim == 2 else mle.evaluate_base(t, suffix))
    receiver = Receiver(Transcript(), fast.bytes())
    degree = max(len(x.tables) for x in instances)
    assert verifier.verify(receiver, "s", statement(instances), rounds, degree) == (
        point,
        final(instances, rounds, values),
    )
    receiver.done()


def test_large_and_small_instances_share_threads() -> None:
    rng = np.random.default_rng(5)

    def random_table(n: int, k: bool) -> U64:
        return rng.integers(0, P, (2, 1 << n) if k else 1 << n, dtype=np.uint64)

    shapes = [(14, "kf"), (14, "kkk"), (13, "kk"), (13, "f"), *[(n, "kk") for n in range(13)]]
    instances = [Instance(Ext(7 + n, n), [random_table(n, kind == "k") for kind in kinds]) for n, kinds in shapes]
    target = ZERO
    for x in instances:
        tables = [t if t.ndim == 2 else np.stack([t, np.zeros_like(t)]) for t in x.tables]
        tables += [ext_array([1] * tables[0].shape[1])] * (3 - len(tables))
        target = target + x.coefficient * mle.dot(mle.mul(tables[0], tables[1]), tables[2])
    sender = Sender(Transcript())
    point, values = sumcheck.prove(sender, "s", instances, 14)
    for x, finals in zip(instances, values, strict=True):
        for t, v in zip(x.tables, finals, strict=True):
            suffix = point[14 - (t.shape[-1].bit_length() - 1) :]
            assert v == (mle.evaluate(t, suffix) if t.ndim == 2 else mle.evaluate_base(t, suffix))
    got = verifier.verify(Receiver(Transcript(), sender.bytes()), "s", target, 14, 3)
    assert got == (point, final(instances, 14, values))


SPENT: dict[str, tuple[list[Shape], bool]] = {
    "alone": ([(6, "kf")], True),
    "others behind it": ([(7, "kk"), (5, "k"), (4, "k"), (3, "f"), (2, "k"), (1, "k"), (0, "k")], True),
    "others that fill it": ([(7, "kk"), (4, "kk"), (4, "kf"), (4, "kk")], True),
    "one too large": ([(6, "kf"), (5, "k")], False),
    "too many": ([(6, "kk"), (4, "kk"), (2, "k")], False),
    "one table": ([(5, "k"), (2, "kk")], True),
}


@pytest.mark.parametrize("small", [0, 2])
@pytest.mark.parametrize("name", SPENT)
def test_rounds_in_the_memory_of_a_table_send_the_same(name: str, small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As tables of their own do, whatever comes in bound and in whichever round the last ones begin to be one call."""
    (shapes, within), sent, used = SPENT[name], [], False
    for spent in (False, True):
        monkeypatch.setattr(sumcheck, "SMALL", small if spent else 12)
        instances = make(4, shapes)
        table, before = instances[0].tables[0], instances[0].tables[0].copy()
        instances[0].spent = spent
        sender = Sender(Transcript())
        found = sumcheck.prove(sender, "s", instances, shapes[0][0])
        sent.append((sender.bytes(), found))
        used = bool((table != before).any())
    assert sent[0] == sent[1]
    assert used == within


def test_rounds_under_pads() -> None:
    """Challenges, messages and pads of rounds that are one call, and what comes after them, are the definition's."""
    senders = [Sender(Transcript()) for _ in range(2)]
    pads = np.random.default_rng(3).integers(0, P, (2, 14), np.uint64)
    instances = make(5, [(4, "kkf"), (2, "k")])
    for sender, prover in zip(senders, (sumcheck.prove, lambda x, _, *more: slow_prove(x, *more)), strict=True):
        sender.pad_with(pads)
        prover(sender, "s", instances, 4)
        sender.ext("next", [ONE])
        sender.transcript.challenge("next")
    fast, slow = senders
    assert fast.bytes() == slow.bytes()
    assert (fast.fields, fast.size) == (slow.fields, slow.size)
    assert (fast.transcript.log, fast.transcript.history) == (slow.transcript.log, slow.transcript.history)
    short = Sender(Transcript())
    short.pad_with(pads[:, :11])
    with pytest.raises(ValueError, match="fewer pads"):
        sumcheck.prove(short, "s", instances, 4)
    assert len(short.fields) == 1


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_any_change_breaks_the_final_comparison(degree: int) -> None:
    instances = make(3, [(4, "k" * degree), (2, "f" * degree)])
    sender = Sender(Transcript())
    _, values = sumcheck.prove(sender, "s", instances, 4)
    target, expected, proof = statement(instances), final(instances, 4, values), sender.bytes()
    assert verifier.verify(Receiver(Transcript(), proof), "s", target, 4, degree)[1] == expected
    assert verifier.verify(Receiver(Transcript(), proof), "s", target + 1, 4, degree)[1] != expected
    for at in range(0, len(proof), 8):
        word = (int.from_bytes(proof[at : at + 8], "little") + 1) % P
        forged = proof[:at] + word.to_bytes(8, "little") + proof[at + 8 :]
        point, value = verifier.verify(Receiver(Transcript(), forged), "s", target, 4, degree)
        honest = [
            [mle.evaluate(t, point[4 - n :]) if t.ndim == 2 else mle.evaluate_base(t, point[4 - n :]) for t in x.tables]
            for x, n in zip(instances, (4, 2), strict=True)
        ]
        assert value != final(instances, 4, honest)


def test_short_proofs_are_refused() -> None:
    sender = Sender(Transcript())
    sumcheck.prove(sender, "s", make(4, [(3, "kk")]), 3)
    for size in range(len(sender.bytes())):
        with pytest.raises(Rejected, match="ends inside 's round'"):
            verifier.verify(Receiver(Transcript(), sender.bytes()[:size]), "s", ZERO, 3, 2)


@pytest.mark.parametrize("shapes", [[(3, "k")], [(1, "k")]])
def test_tables_that_do_not_fit(shapes: list[Shape]) -> None:
    instances = make(5, shapes)
    instances[0].tables.append(ext_array([1] * 4))
    with pytest.raises(ValueError, match="power of two"):
        sumcheck.prove(Sender(Transcript()), "s", instances, 2)
    with pytest.raises(ValueError, match="power of two"):
        sumcheck.prove(Sender(Transcript()), "s", [Instance(Ext(1), [ext_array([1] * 3)])], 2)
