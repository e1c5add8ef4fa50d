"""Every instruction in a proof of its own: once in straight code, once in a loop whose rounds feed each other.

The walk is over the registry: an instruction without a case fails. Each program is run, checked, proven and verified,
the result is compared with plain NumPy, the proof is rejected as soon as one entry of its outputs is changed, and no
forgery of the columns satisfies the constraints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import syurmy
import syurmy.isa.ops
from syurmy.isa.graph import Public
from syurmy.isa.instruction import REGISTRY
from syurmy.prover.keys import setup
from syurmy.prover.protocol.key import CLEAR
from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.statement import width
from syurmy.prover.protocol.transcript import Rejected
from syurmy.prover.prove import Proof, Prover
from syurmy.prover.verifier.verify import Verifier
from tests.soundness.forgeries import Host

WALK = [op for op in REGISTRY.values() if not op.control]

HEAD = """
.input x : i8[4] private in -8..7
.input z : i8[4] private in -8..7
.input n : i8[4] private in 1..4
.input bits : i8[4] private in 0..1
.param one : i8[] public = {1}
.param w : i8[4] committed = {1, -2, 0, 3}
.param m : i8[4, 4] committed = {{1, 0, -1, 2}, {0, 2, 1, -1}, {3, 0, 0, 1}, {-2, 1, 1, 0}}
.param k : i8[2, 1, 2, 2] committed = {{{{1, -1}, {2, 0}}}, {{{0, 3}, {-1, 1}}}}
.ram buf : i8[4] = x
.ram rows : i8[4, 4]
.lut square : i8 -> i8 in -8..7 = {64, 49, 36, 25, 16, 9, 4, 1, 0, 1, 4, 9, 16, 25, 36, 49}
"""
X, Z = np.array([-7, 3, 7, 0]), np.array([4, 3, -8, 0])
N, BITS = np.array([1, 3, 2, 4]), np.array([0, 1, 1, 0])
GIVEN = {"x": X, "z": Z, "n": N, "bits": BITS}
W = np.array([1, -2, 0, 3])
M = np.array([[1, 0, -1, 2], [0, 2, 1, -1], [3, 0, 0, 1], [-2, 1, 1, 0]])
K = np.array([[[1, -1], [2, 0]], [[0, 3], [-1, 1]]])
ROUNDS = 3


@dataclass(frozen=True)
class Case:
    """``once`` writes y. ``loop`` is a round t of ROUNDS over the state s, which is ``start`` before the first."""

    once: str
    expected: Callable[[], Any]
    loop: str
    start: str = "x"


NARROW = "rescale s, u, 1, i8"  # a state keeps its dtype
NEGATED = "neg v, s; addi v, v, 1; cast v, v, i8; "
BACK = f"add u, s, y; {NARROW}"

CASES = {
    "mov": Case("mov y, x", lambda: X, "mov c, t; mov v, s; add u, v, c; " + NARROW),
    "reshape": Case("reshape y, x, (2, 2)", lambda: X.reshape(2, 2),
                    "reshape v, s, (2, 2); transpose v, v, (1, 0); reshape s, v, (4)"),
    "transpose": Case("transpose y, m, (1, 0); add y, y, x", lambda: M.T + X,
                      "reshape v, s, (2, 2); transpose v, v, (1, 0); slice a, v, axis=1, len=1; "
                      "slice b, v, axis=1, start=1, len=1; concat v, b, a, axis=1; reshape s, v, (4)"),
    "slice": Case("slice y, x, axis=0, start=1, len=2", lambda: X[1:3],
                  "slice h, s, axis=0, start=-1*t+3, len=1; slice v, s, axis=0, len=3; concat s, h, v, axis=0"),
    "put": Case("slice h, z, axis=0, len=2; mov y, x; put y, h, axis=0, at=1", lambda: np.array([-7, 4, 3, 0]),
                "slice h, s, axis=0, start=t, len=1; add h, h, h; cast h, h, i8; put s, h, axis=0, at=t+1"),
    "concat": Case("concat y, x, w, z, axis=0", lambda: np.concatenate([X, W, Z]),
                   "slice h, s, axis=0, start=t, len=1; slice v, s, axis=0, len=3; concat s, v, h, axis=0"),
    "pad": Case("pad y, x, axis=0, before=1, after=2, value=5", lambda: np.pad(X, (1, 2), constant_values=5),
                "slice v, s, axis=0, start=1, len=3; pad s, v, axis=0, before=0, after=1"),
    "broadcast": Case("broadcast y, x, (2, 4)", lambda: np.stack([X, X]),
                      "slice h, s, axis=0, start=t, len=1; broadcast y, h, (4); " + BACK),
    "flip": Case("flip y, x, 0", lambda: X[::-1],
                 "slice v, s, axis=0, len=3; slice h, s, axis=0, start=3, len=1; flip v, v, 0; concat s, h, v, axis=0"),
    "im2col": Case("reshape v, x, (2, 2); im2col y, v, kernel=(1, 2), pad=(0, 1)",
                   lambda: np.array([[[[0, -7]], [[-7, 3]], [[3, 0]]], [[[0, 7]], [[7, 0]], [[0, 0]]]]),
                   "reshape v, s, (2, 2); im2col v, v, kernel=(1, 2), pad=(0, 0, 0, 1); sum y, v, axes=(3); "
                   "reshape y, y, (4); " + BACK),
    "add": Case("add y, x, w", lambda: X + W, "add u, s, z; " + NARROW),
    "sub": Case("sub y, w, x", lambda: W - X, "sub u, z, s; " + NARROW),
    "neg": Case("neg y, x", lambda: -X, "neg v, s; add u, v, w; " + NARROW),
    "addi": Case("addi y, x, -100", lambda: X - 100, "addi u, s, 77; " + NARROW),
    "muli": Case("muli y, x, -3", lambda: X * -3, "muli u, s, -3; rescale s, u, 1, i8"),
    "sum": Case("sum y, x, axes=(0)", lambda: X.sum(), "sum y, s, axes=(0); " + BACK),
    "mul": Case("mul y, x, z; mul y, y, w", lambda: X * Z * W, "mul u, s, z; rescale s, u, 2, i8"),
    "matmul": Case("reshape v, x, (1, 4); matmul y, v, m", lambda: (X @ M)[None],
                   "reshape v, s, (1, 4); matmul u, v, m; reshape u, u, (4); rescale s, u, 1, i8"),
    "dot": Case("dot y, x, w", lambda: X @ W, "dot y, s, w; " + BACK),
    "einsum": Case('einsum y, x, m, spec="i,ij->ji"', lambda: (X[:, None] * M).T,
                   'einsum u, s, m, spec="i,ij->j"; rescale s, u, 1, i8'),
    "conv2d": Case("reshape v, x, (1, 2, 2); conv2d y, v, k, pad=(0, 0, 1, 1)",
                   lambda: np.array([[[(np.pad(X.reshape(2, 2), (0, 1))[i:i + 2, j:j + 2] * k).sum() for j in (0, 1)]
                                      for i in (0, 1)] for k in K]),
                   "reshape v, s, (1, 2, 2); slice k1, k, axis=0, len=1; conv2d u, v, k1, pad=(0, 0, 1, 1); "
                   "reshape u, u, (4); rescale s, u, 1, i8"),
    "rescale": Case("mul p, x, z; rescale y, p, 2, i8", lambda: (X * Z + 2) >> 2,
                    "muli u, s, 5; add u, u, z; rescale s, u, 2, i8"),
    "clamp": Case("clamp y, x, -2, 5", lambda: X.clip(-2, 5), "add u, s, z; clamp u, u, -10, 5; cast s, u, i8"),
    "cast": Case("mul p, x, z; cast y, p, i8", lambda: X * Z, "add u, s, z; cast s, u, i8"),
    "lut": Case("lut y, x, square", lambda: X * X, "clamp v, s, -8, 7; lut v, v, square; sub u, v, s; " + NARROW),
    "relu": Case("relu y, x", lambda: X.clip(0), "sub u, z, s; relu u, u; rescale s, u, 1, i8"),
    "abs": Case("abs y, x", lambda: abs(X), "sub u, s, z; abs u, u; rescale s, u, 1, i8"),
    "sign": Case("sign y, x", lambda: np.sign(X), "sign y, s; add u, s, y; sub u, u, z; " + NARROW),
    "lt": Case("lt y, x, z", lambda: X < Z, "lt y, s, z; add u, s, y; cast s, u, i8"),
    "le": Case("le y, x, z", lambda: X <= Z, "le y, s, z; add u, s, y; cast s, u, i8"),
    "gt": Case("gt y, x, z", lambda: X > Z, "gt y, s, z; sub u, s, y; cast s, u, i8"),
    "ge": Case("ge y, x, z", lambda: X >= Z, "ge y, s, z; sub u, s, y; cast s, u, i8"),
    "eq": Case("eq y, x, z", lambda: X == Z, "eq y, s, z; add u, s, s; sub u, u, y; cast s, u, i8"),
    "ne": Case("ne y, x, z", lambda: X != Z, "ne y, s, z; sub u, s, y; cast s, u, i8"),
    "select": Case("select y, bits, x, z", lambda: np.where(BITS, X, Z),
                   "lt c, s, z; flip v, s, 0; select s, c, z, v"),
    "max": Case("max y, x, z", lambda: np.maximum(X, Z), "flip v, s, 0; max s, v, z"),
    "min": Case("min y, x, z", lambda: np.minimum(X, Z), "flip v, s, 0; min s, v, z"),
    "reduce_max": Case("reduce_max y, x, 0", lambda: X.max(), "reduce_max y, s, 0; sub u, z, y; " + NARROW),
    "reduce_min": Case("reduce_min y, x, 0", lambda: X.min(), "reduce_min y, s, 0; sub u, z, y; " + NARROW),
    "argmax": Case("argmax y, z, 0; argmax b, bits, 0; add y, y, b", lambda: 1,
                   "argmax y, s, 0; sub u, s, y; " + NARROW),
    "argmin": Case("argmin y, z, 0; argmin b, bits, 0; add y, y, b", lambda: 2,
                   "argmin y, s, 0; sub u, z, y; " + NARROW),
    "div": Case("div y, x, n", lambda: X // N, "add u, s, z; div u, u, n; cast s, u, i8"),
    "mod": Case("mod y, x, n", lambda: X % N, "flip v, s, 0; mod y, v, n; sub u, z, y; cast s, u, i8"),
    "isqrt": Case("mul p, x, x; isqrt y, p", lambda: abs(X), "abs v, s; isqrt y, v; sub u, z, y; cast s, u, i8"),
    "shl": Case("shl y, x, 3", lambda: X << 3, "shl u, s, 1; rescale s, u, 2, i8"),
    "shr": Case("shr y, x, 2", lambda: X >> 2, "shr y, s, 1; sub u, z, y; cast s, u, i8"),
    "and": Case("and y, x, z; and b, bits, bits; add y, y, b", lambda: (X & Z) + BITS,
                NEGATED + "and s, v, bits", "bits"),
    "or": Case("or y, x, z", lambda: X | Z, NEGATED + "or s, v, bits", "bits"),
    "xor": Case("xor y, x, z", lambda: X ^ Z, NEGATED + "xor s, v, bits", "bits"),
    "not": Case("not y, x", lambda: ~X, "not v, s; max s, v, z"),
    "load": Case("addi i, n, -1; load y, buf[i]", lambda: X[N - 1],
                 "load h, buf[t]; add u, s, h; rescale s, u, 1, i8; addi i, n, -1; store buf[i], s"),
    "store": Case("addi i, n, -1; store buf[i], z; flip i, i, 0; load y, buf[i]; broadcast i, one, (4); "
                  "store rows[i], m; load v, rows[one]; add y, y, v", lambda: Z[::-1] + M[-1],
                  "addi i, n, -1; load v, buf[i]; store buf[i], s; add u, v, z; " + NARROW),
    "gather": Case("addi i, n, -1; gather y, m[i]", lambda: M[N - 1],
                   "clamp i, s, 0, 3; gather y, s[i]; gather v, z[i]; sub y, y, v; " + BACK),
    "sort": Case("sort y, x; sort v, bits, descending=true; add y, y, v", lambda: np.sort(X) + np.sort(BITS)[::-1],
                 "sort v, s; sub u, v, z; " + NARROW),
    "argsort": Case("argsort y, z, descending=true; argsort v, bits; muli v, v, 10; add y, y, v",
                    lambda: np.array([0, 31, 13, 22]), "argsort y, s; " + BACK),
    "topk": Case("topk y, z, 2", lambda: [4, 3], "topk y, s, 2; concat y, y, y, axis=0; sub u, y, z; " + NARROW),
    "bz": Case("mov y, x; slice b, bits, axis=0, len=1; bz b, over; mov y, z; over:; add y, y, w", lambda: X + W,
               "slice h, s, axis=0, start=t, len=1; lt b, h, one; bz b, up; sub u, z, s; jmp on; up:; add u, s, z; "
               "on:; " + NARROW),
    "bnz": Case("mov y, x; slice b, bits, axis=0, start=1, len=1; bnz b, over; mov y, z; over:; add y, y, w",
                lambda: X + W,
                "slice h, s, axis=0, start=t, len=1; lt b, h, one; bnz b, up; sub u, z, s; jmp on; up:; add u, s, z; "
                "on:; " + NARROW),
    "assert": Case("le c, x, x; assert c; mov y, c", lambda: [1] * 4,
                   "le c, s, s; assert c; add u, s, c; cast s, u, i8"),
    "reveal": Case("add y, x, z; reveal x; reveal y", lambda: X + Z, "add u, s, z; cast s, u, i8; reveal s"),
}  # fmt: skip


def program_text(case: Case, rounds: int | None = None) -> str:
    """The straight program, or a loop of ``rounds`` that shows its state after every round, too."""
    if rounds is None:
        lines = [".output y public", *case.once.split(";"), "halt"]
    else:
        lines = [".param none : i8[] public = {0}", ".output s public", ".output history public"]
        lines += [f"mov s, {case.start}", f"broadcast history, none, ({ROUNDS}, 4)", f"repeat {rounds}, t"]
        lines += [*case.loop.split(";"), "reshape row, s, (1, 4)", "put history, row, axis=0, at=t", "end", "halt"]
    return HEAD + "\n".join(line.strip() for line in lines)


def outputs_begin(proof: Proof, plan: Plan) -> int:
    """Offset in the proof of the first entry of the outputs; reveals come before them."""
    (at,) = (o for name, o, _ in proof.fields if name == "statement")
    return at + sum(width(n) * n.size for n in plan.system.publics if n.source != "output")


def prove_and_verify(text: str) -> dict[str, Any]:
    """The verified outputs of an honest run; every changed entry of the outputs is rejected."""
    program = syurmy.assemble(text)
    trace = syurmy.run(program, GIVEN)
    assert syurmy.check(program, trace) == []
    key = setup(program, CLEAR)
    prover = Prover(key, trace)
    proof = prover.run()
    verifier = Verifier(key.verifying_key)
    statement = verifier.verify(proof.data)
    assert statement.outputs.keys() == trace.outputs.keys()
    for name, value in trace.outputs.items():
        assert np.array_equal(statement.outputs[name], value), name
    for i, value in statement.reveals:
        assert np.array_equal(value, trace.stacked(i))
    offset = outputs_begin(proof, prover.plan)
    for node in prover.plan.system.publics:
        if node.source == "output":
            refuse_changed(verifier, proof.data, offset, node)
            offset += width(node) * node.size
    return statement.outputs


def refuse_changed(verifier: Verifier, proof: bytes, offset: int, node: Public) -> None:
    """An entry changed inside its interval, so that the arguments and not the range of the statement must see it."""
    size = width(node)
    assert node.lo < node.hi
    for i in {0, node.size // 2, node.size - 1}:
        at = offset + size * i
        old = int.from_bytes(proof[at : at + size], "little", signed=True)
        new = old + 1 if old < node.hi else old - 1
        forged = proof[:at] + new.to_bytes(size, "little", signed=True) + proof[at + size :]
        with pytest.raises(Rejected) as e:
            verifier.verify(forged)
        assert e.value.step in {"lookup", "contraction", "opening"}, str(e.value)


def test_every_instruction_has_a_case() -> None:
    assert len(WALK) >= 51
    assert {op.name for op in WALK} == CASES.keys()
    for name, case in CASES.items():
        for code in (case.once, case.loop):
            assert name in [line.split()[0] for line in code.split(";")], f"{name} is not in its own case"


@pytest.mark.parametrize("op", WALK, ids=lambda op: op.name)
def test_once(op: Any) -> None:
    case = CASES[op.name]
    got = prove_and_verify(program_text(case))["y"]
    assert np.array_equal(got, np.asarray(case.expected(), np.int64)), got


@pytest.mark.parametrize("op", WALK, ids=lambda op: op.name)
def test_in_a_loop(op: Any) -> None:
    """The last state and every earlier one are public; a loop of fewer rounds ends in one of them."""
    case = CASES[op.name]
    got = prove_and_verify(program_text(case, ROUNDS))
    assert np.array_equal(got["history"][-1], got["s"])
    for rounds in range(1, ROUNDS):
        shorter = syurmy.run(syurmy.assemble(program_text(case, rounds)), GIVEN)
        assert np.array_equal(got["history"][rounds - 1], shorter.outputs["s"])
    assert not np.array_equal(got["history"][0], GIVEN[case.start]), "the first round changes nothing"
    assert len({row.tobytes() for row in got["history"]}) > 1, "the rounds do not feed each other"


@pytest.mark.parametrize("op", WALK, ids=lambda op: op.name)
@pytest.mark.parametrize("rounds", [None, ROUNDS], ids=["once", "in a loop"])
def test_no_forgery_is_accepted(op: Any, rounds: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    Host(syurmy.assemble(program_text(CASES[op.name], rounds)), GIVEN).refuse_all(monkeypatch, seeds=1)
