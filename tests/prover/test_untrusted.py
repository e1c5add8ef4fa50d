"""Keys, paths and proofs made by strangers: refused, or answered with little work. Counts bound it, not clocks."""

import numpy as np
import pytest

from syurmy.assembler import assemble
from syurmy.isa.encoding import encode
from syurmy.isa.errors import SyurmyError
from syurmy.isa.path import Path
from syurmy.isa.program import Input, Instruction, Param, Program, Ram
from syurmy.isa.types import DType, TensorType
from syurmy.prover.field import ONE, Ext
from syurmy.prover.keys import setup
from syurmy.prover.protocol.claims import Sweep, Term
from syurmy.prover.protocol.grinding import needs_grinding
from syurmy.prover.protocol.key import VerifyingKey
from syurmy.prover.protocol.path import encode_path
from syurmy.prover.protocol.plan import MAX_TERMS, Plan
from syurmy.prover.protocol.statement import MAGIC
from syurmy.prover.protocol.transcript import Rejected
from syurmy.prover.protocol.weights import WeightSpace
from syurmy.prover.prove import prove
from syurmy.prover.verifier.verify import Verifier, verify
from syurmy.vm.machine import run

X = Input("x", TensorType.full(DType.I8, (4, 4)), False)
HALT = Instruction("halt", None, ())


def program(code, inputs=(X,), params=(), rams=()):
    return Program("stranger", tuple(inputs), tuple(params), (), (), (*code, HALT), {}, tuple(rams))


def load(p):
    """What a verifier does with a key."""
    root = bytes(32) if any(q.committed for q in p.params) else None
    return Verifier(VerifyingKey.from_bytes(VerifyingKey(encode(p), root).to_bytes()))


def shifts(layers, tail, n=64, head=("mov y, x",)):
    """y = y + (y shifted by k) along both axes: 2^layers different weights."""
    lines = [f".input x : i8[{n}, {n}] private in 0..1", ".output s public", *head]
    for k in range(1, layers + 1):
        lines += [
            f"slice a, y, axis=0, len={n - k}",
            f"slice a, a, axis=1, len={n - k}",
            f"pad a, a, axis=(0, 1), before=({k}, {k}), after=(0, 0)",
            "add y, y, a",
        ]
    return assemble("\n".join([*lines, *tail, "halt"]) + "\n")


@pytest.mark.parametrize(
    "tail", [("mul z, y, x", "sum s, z"), ("mul z, x, y", "sum s, z"), ("matmul z, y, x", "sum s, z"), ("sum s, y",)]
)
def test_no_sweep_doubles_with_every_layer(monkeypatch, tail):
    """Operands of products are pulled back by the second sweep: it is planned like the first."""
    terms = []
    merge = Sweep.merge
    monkeypatch.setattr(Sweep, "merge", lambda self, t, *a, **k: terms.append(len(t)) or merge(self, t, *a, **k))
    p = shifts(12, tail)
    pk = setup(p)
    trace = run(p, {"x": np.zeros((64, 64), int)})
    proof = prove(pk, trace)
    terms.clear()
    verify(pk.verifying_key, proof.data)
    assert max(terms) <= 4 * MAX_TERMS
    assert sum(terms) < 200 * MAX_TERMS


def test_forty_layers_under_a_product():
    plan = Plan.of(shifts(40, ("mul z, y, x", "sum s, z")))
    assert any(c.label == "value" for c in plan.system.columns)


def test_a_crowded_product_is_committed():
    head = ("mul p, x, x", "mov y, p")
    lines = [*head]
    for k in range(1, 41):
        lines += [f"slice a, p, axis=0, len={64 - k}", f"pad a, a, axis=0, before={k}, after=0", "add y, y, a"]
    plan = Plan.of(shifts(8, ("sum t, y, axes=(0)", "add s, y, t"), head=lines))
    assert plan.system.columns


@pytest.mark.parametrize("pad", [(2**36, 0), (2**61, 2**61), (0, 0, 2**40, 0), (2**27, 0)])
@pytest.mark.parametrize("kernel", [(1, 1), (4, 4)])
def test_padding_is_decided_by_shapes(pad, kernel):
    with pytest.raises(SyurmyError, match=r"2\^28"):
        load(program([Instruction("im2col", "y", ("x",), (("kernel", kernel), ("pad", pad)))]))


@pytest.mark.parametrize("rows", [2**31 - 1, 2**28])
def test_a_buffer_is_refused_by_its_size(rows):
    i = Input("i", TensorType(DType.I32, (), 0, 5), False)
    code = [Instruction("load", "y", ("i",), (("buffer", "m"),))]
    with pytest.raises(SyurmyError) as e:
        load(program(code, [i], rams=[Ram("m", DType.I8, (rows,))]))
    assert e.value.code in ("C110", "C112")


def test_params_cost_no_masks():
    """Stored rows are counted in closed form: 2^30 entries of params take no time and no memory."""
    w = [Param(f"w{i}", TensorType.full(DType.I8, (2**14, 2**14)), True) for i in range(4)]
    plan = load(program([Instruction("neg", "y", ("x",))], params=w)).plan
    assert plan.params.shape.rows << plan.params.shape.log_cols == 2**30


def test_a_long_vector_put_in_a_loop():
    one = Input("x", TensorType.full(DType.I8, (1,)), False)
    z = Input("z", TensorType.full(DType.I8, (1,)), False)
    code = [
        Instruction("broadcast", "y", ("x",), (("shape", (2**27,)),)),
        Instruction("repeat", None, (), (("count", 1000),)),
        Instruction("put", "y", ("y", "z")),
        Instruction("end", None, ()),
    ]
    with pytest.raises(SyurmyError) as e:
        load(program(code, [one, z]))
    assert e.value.code in ("C110", "C112")


LOOP = """
.input n : i8[] private in 1..9
.output s public
    sub i, n, n
    cast i, i, i8
again:
    addi i, i, 1
    clamp i, i, 0, 100
    cast i, i, i8
    lt more, i, n
    bnz more, again
    mov s, i
    halt
"""


def head(vk, path):
    """The first bytes of a proof with this path: all that a stranger needs to make the verifier plan."""
    wire = encode_path(path)
    return MAGIC + bytes(32) + vk.digest() + len(wire).to_bytes(4, "little") + wire


@pytest.mark.parametrize("path", [Path(1, {6: [1] * 999 + [0]}), Path(50, {6: [0] * 50})])
def test_the_path_is_limited_before_it_is_planned(monkeypatch, path):
    p = assemble(LOOP)
    vk = setup(p).verifying_key
    assert p.code[6].op == "bnz"
    with pytest.raises(Rejected, match="ends inside") as e:  # within the limits it is planned
        verify(vk, head(vk, path))
    planned = []
    monkeypatch.setattr(Plan, "of", lambda *a, **k: planned.append(a))
    with pytest.raises(Rejected) as e:
        verify(vk, head(vk, path), max_steps=100, max_batch=10)
    assert e.value.step == "path"
    assert not planned


def test_a_rejection_is_an_error_of_the_product():
    vk = setup(assemble(LOOP)).verifying_key
    with pytest.raises(SyurmyError) as e:
        verify(vk, b"nothing")
    assert isinstance(e.value, Rejected)
    assert (e.value.code, e.value.step) == ("V100", "format")


@pytest.mark.parametrize("error", [RecursionError(), MemoryError(), ValueError("v"), OverflowError(), KeyError("k")])
def test_whatever_goes_wrong_is_a_refusal(monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    vk = setup(assemble(LOOP)).verifying_key
    verifier = Verifier(vk)
    data = head(vk, Path(1, {6: [0]}))
    monkeypatch.setattr(Plan, "of", fail)
    with pytest.raises(Rejected):
        verifier.verify(data)
    monkeypatch.setattr("syurmy.prover.verifier.verify.fixed_plan", fail)
    with pytest.raises(SyurmyError, match="cannot be used") as e:
        Verifier(vk)
    assert e.value.code == "K123"
    assert e.value.__cause__ is error


@pytest.mark.parametrize("depth", [600, 5000])
def test_deep_nesting_is_refused(depth):
    code = [Instruction("repeat", None, (), (("count", 1),))] * depth
    code += [Instruction("neg", "y", ("x",))] + [Instruction("end", None, ())] * depth
    with pytest.raises(SyurmyError):
        load(program(code))


def test_a_value_of_too_high_a_rank_is_refused():
    one = Input("x", TensorType.full(DType.I8, (1,)), False)
    code = [Instruction("reshape", "y", ("x",), (("shape", (1,) * 64),)), Instruction("reveal", None, ("y",))]
    with pytest.raises(SyurmyError, match="rank 64"):
        load(program(code, [one]))


def test_terms_on_products_are_not_lost():
    """``_sum`` returned the first of several terms that have no weight to add in."""
    sweep = Sweep(WeightSpace(dry=True))
    with pytest.raises(ValueError, match="not merged"):
        sweep._sum([Term(ONE, ()), Term(ONE, ())], 0)
    assert sweep.merge([Term(ONE, ()), Term(ONE, ())]) == [Term(Ext(2), ())]


def test_grinding_starts_by_the_error():
    """2^24 leaves of 16 members leave 99.83 bits without grinding, 2^24 of one member do not need it."""

    class Sizes:
        used_leaves, width = 2**24, 16

    assert needs_grinding(Sizes)
    Sizes.width = 1
    assert not needs_grinding(Sizes)
