"""Cheating provers against keys, openings and statements: each honest everywhere else, and rejected by one step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import syurmy
from syurmy.isa.errors import InputError
from syurmy.isa.graph import Public
from syurmy.isa.program import Param
from syurmy.isa.types import DType, TensorType
from syurmy.prover import prove as proving
from syurmy.prover.commitment import Commitment, ParamsCommitment, commit_params
from syurmy.prover.field import U64, P
from syurmy.prover.grinding import grinding_nonce
from syurmy.prover.keys import ProvingKey, check_bounds, params_matrix, setup
from syurmy.prover.protocol.grinding import grinding_seed
from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.statement import width
from syurmy.prover.protocol.transcript import Rejected
from syurmy.prover.prove import Prover
from tests.soundness import common as c
from tests.soundness.common import (
    CONTRACTION,
    ENCODING,
    OPENING,
    PATH,
    ROOT,
    VALUE,
    Cheat,
    accepted,
    at,
    cheat,
    ext_bytes,
    exts,
    keys,
    refused,
    result_of,
    says,
    trace_of,
    verifier_of,
)
from tests.soundness.test_cheating import Covering, FanOut, Multiplicities

# ---- params ----------------------------------------------------------------------------------------------------------


def other_weights(change: Any, source: str = c.DENSE) -> ProvingKey:
    """The prover's copy of a key with its weights changed; the verifying key is the true one."""
    pk = keys(source)
    program = replace(pk.program, data={"w": pk.program.data["w"].astype(np.int64) + np.array(change)})
    plan = Plan.of(program)
    assert plan.params is not None
    node = plan.system.params["w"]
    node.lo, node.hi = -(2**62), 2**62  # kernels choose their arithmetic by it
    c.deepened(source, plan)
    return ProvingKey(
        program, plan, pk.verifying_key, commit_params(params_matrix(program, plan.params), plan.params.shape)
    )


OTHER = [[1, 0], [0, 0], [0, 0]]
FIELD_SIZED = [[2**61, 0], [-(2**60), 0], [0, 0]]  # the same product with a row (1, 2, .)


def with_key(pk: ProvingKey) -> bytes:
    return Prover(pk, syurmy.run(pk.program, {"x": np.array([[1, 2, 3], [1, 2, 3]])})).run().data


@pytest.mark.parametrize("change", [OTHER, FIELD_SIZED])
@pytest.mark.parametrize(("source", "reason"), [(c.DENSE, ENCODING), (c.deep(c.DENSE), VALUE)], ids=["flat", "deep"])
def test_other_params(source, reason, change):
    pk = other_weights(change, source)
    refused(source, with_key(pk), "opening", "an opened column of 'params' is not under the root")
    true = keys(source).params
    assert pk.params is not None
    assert true is not None
    mixed = ParamsCommitment(true.commitment, pk.params.integers)
    proof = with_key(replace(pk, params=mixed))
    refused(source, proof, *reason)


def test_setup_refuses_weights_beyond_their_bounds():
    for change in (OTHER, FIELD_SIZED):
        with pytest.raises(InputError) as e:
            check_bounds(replace(keys(c.DENSE).program, data=other_weights(np.array(change) * 7).program.data))
        assert e.value.code == "K142"


# ---- openings --------------------------------------------------------------------------------------------------------


def test_row_of_another_matrix():
    """W after the commitment: another input. Everything is consistent but the columns under the root."""

    class Switching(Prover):
        def commit(self) -> tuple[Commitment, U64]:
            _, flat = super().commit()
            other = Prover(self.pk, trace_of(c.RESCALE, {"x": [9, 9, 9]}))
            return other.commit()[0], flat

    refused(c.RESCALE, cheat(c.RESCALE, Cheat(prover=Switching)), *PATH)


@pytest.mark.parametrize("source", [c.RESCALE, c.deep(c.RESCALE), c.WORDS])
def test_last_vector_changed(source):
    def change(label: str, before: int, data: bytes) -> bytes:
        return ext_bytes(exts(data)[0] + 1) + data[16:] if label == "last vector" else data

    refused(source, cheat(source, Cheat(hook=change)), *ENCODING)


@pytest.mark.parametrize("what", ["both", "columns", "path"])
def test_path_of_another_column(what, monkeypatch):
    def shifted(sender, matrices, grinding_bits):
        sender.raw("query nonce", grinding_nonce(grinding_seed(sender.transcript), grinding_bits))
        (m,) = matrices
        positions = sender.transcript.positions("witness positions", m.opened.queries, m.opened.shape.n)
        # neighbours in the tree, so that the path keeps its length
        others = sorted(p ^ 1 for p in positions)
        columns = m.commitment.codeword[others if what != "path" else positions]
        path = m.commitment.tree.multiproof(others if what != "columns" else positions)
        sender.base_array("witness columns", columns)
        sender.raw("witness path", path.tobytes())

    monkeypatch.setattr(proving.opening, "open_columns", shifted)
    refused(c.RESCALE, cheat(c.RESCALE, Cheat()), *PATH)


# ---- transcript and statement ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "label", "rejected"),
    [
        (c.RESCALE, "alpha", ROOT),
        (c.DOT, "alpha", OPENING),  # a sum that is zero for every alpha
        (c.DOT, "beta", OPENING),
        (c.DOT, "lookup lambda", ("lookup", "layer 1 sumcheck: the values sent do not satisfy the last claim")),
        (c.DOT, "lookup merge", OPENING),  # the merged variable is bound first in the next layer, so only leaves see it
        (c.DOT, "gamma", CONTRACTION),
        (c.DOT, "contraction challenge", CONTRACTION),
        (c.DOT, "eta", OPENING),
        (c.DOT, "opening challenge", OPENING),
        (c.SUM_PARAM, "zeta", OPENING),
        (c.ROWS, "params delta", ENCODING),
        (c.deep(c.DENSE), "level 1 beta", VALUE),
        (c.deep(c.DENSE), "level 1 challenge", VALUE),
        (c.deep(c.DENSE), "level 2 beta", VALUE),
        (c.deep(c.DENSE), "level 2 challenge", ENCODING),
        (c.DENSE, "grinding seed", ("opening", "a query nonce does not hold")),
        (c.FAN_OUT, "equation point", None),
    ],
)
def test_stale_challenge(source, label, rejected):
    """The prover uses another challenge than the transcript's."""
    proof = cheat(source, Cheat(stale=frozenset({label})))
    if rejected is None:  # a tree as large as the largest equation draws no further point
        accepted(source, proof)
    else:
        refused(source, proof, *rejected)


def statement_at(source: str) -> int:
    return next(o for name, o, _ in c.honest(source).fields if name == "statement")


@pytest.mark.parametrize("source", [c.DOT, c.RESCALE, c.DENSE, c.SELECT, c.ARGMAX, c.LOOP, c.ADD, c.ADD_PRIVATE])
def test_statement_changed_after_proving(source):
    proof = bytearray(c.honest(source).data)
    proof[statement_at(source)] ^= 1
    with pytest.raises(Rejected) as e:
        verifier_of(source).verify(bytes(proof))
    assert e.value.step == ("opening" if source == c.ADD else "lookup")


@pytest.mark.parametrize("shift", [P, -P, P - 2**64, 2**63, 2**31, 2**7])
def test_public_output_plus_p(shift, monkeypatch):
    """v + p has no place among the bytes of a value: what they hold is another small integer, and it is refused for
    its interval, or as the false value that it is."""

    def encode(plan: Plan, values: Any) -> bytes:
        out = b""
        for n in plan.system.publics:
            size = width(n)
            out += b"".join(((int(v) + shift) % 256**size).to_bytes(size, "little") for v in values(n).reshape(-1))
        return out

    monkeypatch.setattr(proving, "encode_statement", encode)
    for source, size in ((c.RESCALE, 1), (c.DOT, 3), (c.ADD_LONG, 8)):
        assert {width(n) for n in keys(source).plan.system.publics} == {size}
        proof = cheat(source, Cheat())
        if shift % 256**size == 0:
            accepted(source, proof)
        else:
            with pytest.raises(Rejected) as e:
                accepted(source, proof)
            assert e.value.step in ("statement", "lookup", "opening")
    if shift == 2**63:
        refused(c.ADD_LONG, cheat(c.ADD_LONG, Cheat()), "statement", "is outside [")


@pytest.mark.parametrize("value", [128, -129])
def test_public_output_outside_its_type(value):
    proof = cheat(c.RESCALE, Cheat(columns={"result": at(0, lambda y: value)}, trace=says(y=[value, -25, 19])))
    refused(c.RESCALE, proof, "statement", "a value of 'y' is outside [-64, 63]")


def test_false_output():
    refused(c.RESCALE, cheat(c.RESCALE, Cheat(trace=says(y=[2, -25, 19]))), *OPENING)


# ---- other programs --------------------------------------------------------------------------------------------------


def test_proof_of_another_program():
    others = [c.RESCALE, c.DENSE, c.SELECT, c.LOOP, c.LOOP.replace("repeat 3", "repeat 2"), c.DOT.replace("4]", "5]")]
    for source in others:
        inputs = c.INPUTS.get(source) or {"x": [1, 2]}
        if "5]" in source:
            inputs = {"x": [1] * 5, "z": [2] * 5}
        proof = Prover(keys(source), trace_of(source, inputs)).run().data
        refused(c.DOT, proof, "statement", "the proof belongs to another key")


@pytest.mark.parametrize("rounds", [1, 2, 4])
def test_rounds_of_another_program(rounds):
    """As many rounds as another program makes, under the name of this one."""
    other = c.LOOP.replace("repeat 3", f"repeat {rounds}")
    pk = replace(keys(other), verifying_key=keys(c.LOOP).verifying_key)
    proof = Prover(pk, trace_of(other, c.INPUTS[c.LOOP])).run().data
    with pytest.raises(Rejected) as e:
        verifier_of(c.LOOP).verify(proof)
    assert e.value.step == "lookup"


# ---- two and two -----------------------------------------------------------------------------------------------------


def five(source: str) -> list[Cheat]:
    """Every way of this file to claim 2 + 2 = 5 (or 2 * 2 = 5)."""
    claim = says(s=5)
    op = "mul" if source == c.MUL_PRIVATE else "add"
    out = [
        Cheat(trace=claim),
        Cheat(trace=claim, nodes=lambda pk: {result_of(pk, op): 5}),
        Cheat(trace=claim, prover=FanOut),
        *(Cheat(trace=claim, stale=frozenset({x})) for x in ("alpha", "gamma", "eta", "opening challenge")),
    ]
    if source != c.ADD:
        for value in (3, 5 * pow(2, -1, P), 3 - P):
            out.append(Cheat(trace=claim, columns={"input a": lambda _, v=value: v}))
        out.append(Cheat(trace=claim, prover=Multiplicities))
    if source == c.MUL_PRIVATE:
        for lies in range(6):
            prover = type("Liar", (Covering,), {"lies": lies})
            out.append(Cheat(trace=claim, nodes=lambda pk: {result_of(pk, op): 5}, prover=prover))
    return out


@pytest.mark.parametrize("source", [c.ADD, c.ADD_PRIVATE, c.MUL_PRIVATE], ids=["public", "private", "product"])
def test_two_and_two_is_not_five(source):
    assert int(accepted(source, c.honest(source).data).outputs["s"]) == 4
    for how in five(source):
        with pytest.raises(Rejected):
            accepted(source, cheat(source, how))
    proof = bytearray(c.honest(source).data)
    values = [n for n in keys(source).plan.system.publics if isinstance(n, Public)]
    proof[statement_at(source) + sum(width(n) * n.size for n in values[:-1])] = 5
    with pytest.raises(Rejected):
        accepted(source, bytes(proof))


# ---- bounds of params ------------------------------------------------------------------------------------------------


def test_l1_bounds_are_summed_exactly():
    """Nine weights whose sum is p + 5, recorded with an L1 norm of at most 5: a sum in 64 bits would believe it."""
    program = syurmy.assemble(
        ".input x : i8[9] public in 1..1\n.param w : i8[9] committed = {1, 1, 1, 1, 1, 1, 1, 1, 1}\n"
        ".output s public\n dot s, x, w\n halt"
    )
    weights = np.array([(P + 5 + i) // 9 for i in range(9)], np.int64)
    assert sum(int(w) for w in weights) == P + 5
    t = TensorType(DType.I64, (9,), int(weights.min()), int(weights.max()))
    with pytest.raises(InputError) as e:
        setup(replace(program, params=(Param("w", t, True, (((0,), 5),)),), data={"w": weights}))
    assert e.value.code == "K143"
