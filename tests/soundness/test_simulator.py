"""Zero knowledge: a simulator without a witness, and proofs that are distributed as its are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import syurmy
from syurmy.isa.arrays import I64
from syurmy.isa.graph import Public
from syurmy.prover import pads as of_pads
from syurmy.prover.commitment import commit_params
from syurmy.prover.keys import ProvingKey, setup
from syurmy.prover.protocol.key import Mode
from syurmy.prover.protocol.statement import MAGIC, start_transcript
from syurmy.prover.protocol.transcript import Rejected, Sender
from syurmy.prover.prove import Prover
from syurmy.prover.secrets import Secrets
from tests.soundness import common as c
from tests.soundness import memory_programs as memory
from tests.soundness.simulator import Programmed, Simulator, verified

c.INPUTS.update(memory.INPUTS)
Fields = dict[str, bytes]


def statement_of(pk: ProvingKey, source: str) -> dict[Public, I64]:
    """The public values of an honest run."""
    trace = syurmy.run(pk.program, {k: np.array(v) for k, v in c.INPUTS[source].items()})
    prover = Prover(pk, trace, commitments=c.openings_of(c.hiding(source)))
    return {node: prover.witness(node) for node in prover.plan.system.publics}


@pytest.mark.parametrize(
    "source",
    [c.DOT, c.DENSE, c.TWO_DENSE, c.SUM_PARAM, c.LUT, c.ADD_WIDE, c.ROWS, c.COMMITTED, memory.RAM, memory.SORT],
)
def test_simulated_proofs_are_accepted(source):
    """Without a witness, and for params that nobody knows."""
    program = syurmy.assemble(source)
    values = statement_of(setup(program), source)
    simulator = Simulator(program, np.random.default_rng(1))
    proof = simulator.proof(dict(zip(simulator.plan.system.publics, values.values(), strict=True)), seed=7)
    statement = verified(simulator.key, proof, seed=7)
    assert statement.hiding
    with pytest.raises(Rejected):  # it is the programming that makes it possible
        syurmy.verify(simulator.key, proof)


def test_a_false_statement_can_be_simulated_too():
    """The simulator has no witness to be honest with: 1 + 1 = 3."""
    program = syurmy.assemble(c.ADD_PRIVATE)
    simulator = Simulator(program, np.random.default_rng(1))
    values = {n: np.full(n.shape, 3 if n.source == "output" else 1) for n in simulator.plan.system.publics}
    assert verified(simulator.key, simulator.proof(values, 3), 3).outputs["s"] == 3


# ---- distribution ----------------------------------------------------------------------------------------------------

# What a proof of the hiding mode consists of; nothing else may be in it.
PUBLIC = {"magic", "key digest", "certificate", "path length", "path", "commitments", "statement"}
TENSORS = ("tensor 0", "tensor 1", "tensor 2")
DIGESTS = {"witness root", "level 1 root", "witness path", "params path", "level 1 path"}
DIGESTS |= {f"{tensor} path" for tensor in TENSORS}
PADDED = {
    "lookup round", "lookup values", "contraction sum", "contraction round", "contraction values",
    "params reduction sum", "params reduction round", "params reduction values", "opening round", "opening values",
    "level 1 round", "tensor values",
}  # fmt: skip
MASKED = {"sacrifice", "mask sum"}  # under a pad that is used nowhere else; sigma, which the mask determines
COMMITTED_BEFORE = {"params columns", *(f"{tensor} columns" for tensor in TENSORS)}
COLUMNS = {"witness columns", "level 1 columns"} | COMMITTED_BEFORE
OF_TRANSCRIPT = {"grinding nonce", "query nonce"}
OF_MASKED_VECTOR = {"last vector", "level 2 root", "level 2 round", "level 2 columns", "level 2 path", "level 3 root",
                    "level 3 round", "level 3 columns", "level 3 path"}  # fmt: skip
SECRET = PADDED | MASKED | COLUMNS | OF_MASKED_VECTOR - {"level 2 root", "level 2 path", "level 3 root", "level 3 path"}
EVERY = PUBLIC | DIGESTS | PADDED | MASKED | COLUMNS | OF_TRANSCRIPT | OF_MASKED_VECTOR


def fields_of(fields: list[tuple[str, int, int]], data: bytes) -> list[tuple[str, bytes]]:
    return [(label, data[at : at + size]) for label, at, size in fields]


class Fixed(Prover):
    """Its challenges are programmed."""

    def __init__(self, pk: ProvingKey, trace: Any, seed: int = 5, commitments: Any = None) -> None:
        super().__init__(pk, trace, commitments=commitments)
        self.transcript = Programmed(seed)
        start_transcript(self.transcript)
        self.sender = Sender(self.transcript)


@pytest.mark.parametrize("source", [c.DOT, c.DENSE, c.SUM_PARAM, c.ROWS, c.COMMITTED, memory.RAM])
def test_every_byte_is_of_a_known_kind(source):
    """The pieces of a proof are all listed, and cover it."""
    pk = c.keys(c.hiding(source))
    proof = Prover(pk, c.trace_of(c.hiding(source)), commitments=c.openings_of(c.hiding(source))).run()
    assert {label for label, _, _ in proof.fields} <= EVERY
    at = 0
    for _, offset, size in proof.fields:
        assert offset == at
        at += size
    assert at == len(proof.data)


@pytest.mark.parametrize("source", [c.DOT, c.DENSE, c.SUM_PARAM, c.COMMITTED, memory.RAM])
@pytest.mark.parametrize("fixed", [False, True])
def test_two_proofs_agree_nowhere(source, fixed):
    """Not even where their challenges are equal, but for columns of the params and of committed tensors at equal
    positions (one key, one commitment), the entries of a vector that nothing fills, and what is public."""
    source = c.hiding(source)
    pk = c.keys(source)
    made = Fixed if fixed else Prover
    one, two = (made(pk, c.trace_of(source), commitments=c.openings_of(source)).run() for _ in range(2))
    pairs = zip(fields_of(one.fields, one.data), fields_of(two.fields, two.data), strict=True)
    for (label, a), (other, b) in pairs:
        assert label == other
        if label in PUBLIC:
            assert a == b
        elif label in SECRET - COMMITTED_BEFORE:
            x, y = (np.frombuffer(v, "<u8") for v in (a, b))
            if len(x) == len(y):
                assert not ((x == y) & (x != 0)).any(), label
                assert (x == 0).mean() < 0.01 or label.startswith("level 2"), label


Inputs = dict[str, list[int]]
WITNESSES: dict[str, tuple[Inputs, Inputs, int, int]] = {  # two of one output, this, and how many proofs of each
    c.DOT: ({"x": [1, -2, 3, 4], "z": [5, 6, -7, 8]}, {"x": [4, 0, 0, 0], "z": [1, 99, 98, 97]}, 4, 128),
    c.COMMITTED: (
        {"x": [1, -2, 3, 4], "v": [9, 0, 0, -1], "z": [5, 6, -7, 8]},
        {"x": [41, 0, 0, 0], "v": [0, 300, -300, 7], "z": [1, 0, 0, 0]},
        41,
        64,
    ),
}


def samples(make: Callable[[int], bytes], labels: Any, count: int) -> np.ndarray:
    return np.stack([np.frombuffer(make(i), "<u8") for i in range(count)])


def secret_part(fields: list[tuple[str, int, int]], data: bytes) -> bytes:
    return b"".join(data[at : at + size] for label, at, size in fields if label in SECRET)


def deviation(values: np.ndarray) -> tuple[float, float]:
    """Of ``[proofs, elements]``: how unevenly the top 3 bits of each element are spread, and how much products of
    neighbouring elements' signs are, both as the largest |z| over all elements' chi^2."""
    count = len(values)
    top = (values >> np.uint64(61)).astype(np.int64)
    chi = sum((np.sum(top == k, axis=0) - count / 8) ** 2 / (count / 8) for k in range(8))
    sign = np.where(values >> np.uint64(63), 1.0, -1.0)
    rng = np.random.default_rng(0)
    pairs = rng.permutation(values.shape[1])
    correlation = (sign * sign[:, pairs]).sum(axis=0)[pairs != np.arange(len(pairs))] / np.sqrt(count)
    return float(np.max((chi - 7) / np.sqrt(14))), float(np.abs(correlation).max())


def proofs(source: str, inputs: Inputs, count: int) -> np.ndarray:
    """Each with commitments of its own."""
    source = c.hiding(source)
    pk = c.keys(source)

    def make(i: int) -> bytes:
        trace = c.trace_of(source, inputs)
        made = Fixed(pk, trace, commitments=c.sealed(source, trace)).run()
        return secret_part(made.fields, made.data)

    return samples(make, SECRET, count)


def simulations(source: str, output: int, count: int) -> np.ndarray:
    program, rng = syurmy.assemble(source), np.random.default_rng(9)
    simulator = Simulator(program, rng)

    def make(i: int) -> bytes:
        nonlocal simulator
        if simulator.tensors:  # each with commitments of its own
            simulator = Simulator(program, rng)
        values = {n: np.full(n.shape, output) for n in simulator.plan.system.publics}
        data = simulator.proof(values, 5)
        return secret_part(simulated_fields(simulator), data)

    return samples(make, SECRET, count)


def simulated_fields(simulator: Simulator) -> list[tuple[str, int, int]]:
    sender: Any = simulator.receiver
    return [(label, at + len(MAGIC), size) for label, at, size in sender.sender.fields]


@pytest.mark.slow
@pytest.mark.parametrize("source", WITNESSES, ids=["private", "committed"])
def test_proofs_of_two_witnesses_and_simulations_look_alike(source):
    """With equal challenges, every element of every secret message is spread evenly over many proofs, whichever of two
    witnesses of one statement they are made with, and so are those of simulated proofs; elements are not correlated
    beyond chance. Elements that nothing fills are zero in all three. Of committed inputs and outputs both witnesses
    have others, and there the columns of their commitments belong to it."""
    one, two, output, count = WITNESSES[source]
    of = [proofs(source, w, count) for w in (one, two)] + [simulations(source, output, count)]
    assert len({x.shape[1] for x in of}) == 1
    constant = [(x == x[0]).all(axis=0) for x in of]
    assert all((a == constant[0]).all() for a in constant)
    assert all((x[:, k] == 0).all() for x, k in zip(of, constant, strict=True))
    for x, k in zip(of, constant, strict=True):
        spread, correlation = deviation(x[:, ~k])
        assert spread < 12, spread  # chi^2 with 7 degrees among 10^4 elements reaches z = 9 by chance
        assert correlation < 6.5, correlation
    means = [np.where(x[:, ~constant[0]] >> np.uint64(63), 1.0, -1.0).mean(axis=0) for x in of]
    for a in means[1:]:  # two samples: the difference of their means has variance 2/count
        assert np.abs(a - means[0]).max() / np.sqrt(2 / count) < 6.5


@pytest.mark.parametrize("without", ["pads", "random coefficients", "mask"])
def test_what_is_left_out_shows(without, monkeypatch):
    """The tests above see it when pads, random coefficients or masks are missing: elements stand still."""
    original = Secrets.elements

    def weak(self: Secrets, count: int) -> Any:
        return np.zeros(count, np.uint64) if weak.off else original(self, count)  # type: ignore[attr-defined]

    weak.off = False  # type: ignore[attr-defined]
    monkeypatch.setattr(Secrets, "elements", weak)
    if without == "pads":
        fill = of_pads.fill_pads

        def zero(pads: Any, secrets: Secrets) -> Any:
            return np.zeros_like(fill(pads, secrets))

        monkeypatch.setattr("syurmy.prover.prove.fill_pads", zero)
        still = "lookup values"
    elif without == "random coefficients":
        commit = Prover.commit

        def bare(self: Prover) -> Any:
            weak.off = True  # type: ignore[attr-defined]
            try:
                return commit(self)
            finally:
                weak.off = False  # type: ignore[attr-defined]

        monkeypatch.setattr(Prover, "commit", bare)
        still = "witness columns"
    else:
        from syurmy.prover import opening

        hide = opening.hide

        def open_(*args: Any) -> Any:
            weak.off = True  # type: ignore[attr-defined]
            try:
                return hide(*args)
            finally:
                weak.off = False  # type: ignore[attr-defined]

        monkeypatch.setattr(opening, "hide", open_)
        still = None
    pk = c.keys(c.hiding(c.DOT))
    made = [Fixed(pk, c.trace_of(c.hiding(c.DOT))).run() for _ in range(2)]
    found = [dict(fields_of(m.fields, m.data)) for m in made]
    if still is not None:
        x, y = (np.frombuffer(f[still], "<u8") for f in found)
        assert (x == y).any()
    else:  # u* is tau times the folded row; the pads' entries in it are fresh, the witness's are its own
        x, y = (np.frombuffer(f["last vector"], "<u8") for f in found)
        assert ((x == y) & (x != 0)).any() or (x == 0).mean() > 0.01


# ---- params over several proofs of one key ---------------------------------------------------------------------------


def test_a_weight_changed_does_not_show():
    """Set up again after one weight changed by 17: the difference of the two keys' columns is not 17 times a power of
    the point, as it was with equal random coefficients."""
    keys_ = [setup(syurmy.assemble(c.TWO_DENSE.replace("{3, -1, 2}", w))) for w in ("{3, -1, 2}", "{20, -1, 2}")]
    one, two = (k.params.commitment.codeword.astype(object) for k in keys_ if k.params is not None)
    assert not (one[:4] == two[:4]).any()
    tails = [k.params.commitment.tail for k in keys_ if k.params is not None]
    assert not (np.asarray(tails[0]) == np.asarray(tails[1])).any()


def test_a_hiding_commitment_needs_random_coefficients():
    pk = c.keys(c.hiding(c.DENSE))
    assert pk.plan is not None
    assert pk.plan.params is not None
    assert pk.params is not None
    with pytest.raises(ValueError, match="random coefficients"):
        commit_params(pk.params.integers, pk.plan.params.shape)


@pytest.mark.parametrize(
    "source", [c.DOT, c.DENSE, c.TWO_DENSE, c.SUM_PARAM, c.ADD, c.RESCALE, c.ROWS, c.COMMITTED, memory.RAM]
)
def test_leaves_are_too_wide_to_guess(source):
    """Every hiding matrix has four rows over F or more, and more random coefficients than its queries."""
    pk = c.keys(c.hiding(source))
    assert pk.plan is not None
    opening = Prover(pk, c.trace_of(c.hiding(source)), commitments=c.openings_of(c.hiding(source))).opening
    for opened in (*opening.matrices, opening.levels[0][1]):
        assert opened.shape.height >= 4
        assert opened.queries < opened.shape.tail
    for opened, tensor in zip(opening.of_tensors, c.openings_of(c.hiding(source)).values(), strict=True):
        assert tensor.commitment.mode.proofs * opened.queries < opened.shape.tail
    if opening.counts.rows:
        assert pk.mode.proofs * opening.matrices[1].queries < opening.matrices[1].shape.tail


def test_modes():
    """Hiding is the default where an input is private or a param committed."""
    assert Mode.of(syurmy.assemble(c.DOT)) == Mode(True)
    assert Mode.of(syurmy.assemble(c.DENSE)) == Mode(True, 16)
    assert Mode.of(syurmy.assemble(c.DENSE), proofs=3) == Mode(True, 3)
    assert Mode.of(syurmy.assemble(c.DENSE), False) == Mode(False)
    assert Mode.of(syurmy.assemble(c.ADD)) == Mode(False)
    assert Mode.of(syurmy.assemble(c.ADD), True) == Mode(True)
