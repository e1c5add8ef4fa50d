"""Keys, paths and proofs made by strangers: refused, or answered with little work. Counts bound it, not clocks."""

import sys
import time
import tracemalloc
from types import FrameType

import numpy as np
import pytest

from syurmy.assembler import assemble
from syurmy.isa import cost, inference
from syurmy.isa.builder import Builder
from syurmy.isa.dataflow import View, resolve
from syurmy.isa.encoding import encode
from syurmy.isa.errors import SyurmyError
from syurmy.isa.inference import infer_types
from syurmy.isa.path import Path, StepLimit
from syurmy.isa.program import Input, Instruction, Param, Program, Ram
from syurmy.isa.types import DType, TensorType
from syurmy.prover.field import ONE, Ext
from syurmy.prover.keys import setup
from syurmy.prover.protocol.claims import Sweep, Term
from syurmy.prover.protocol.grinding import needs_grinding
from syurmy.prover.protocol.key import Mode, VerifyingKey
from syurmy.prover.protocol.plan import MAX_TERMS, Plan
from syurmy.prover.protocol.transcript import Rejected
from syurmy.prover.protocol.weights import WeightSpace
from syurmy.prover.prove import prove
from syurmy.prover.verifier.verify import Verifier, verify
from syurmy.vm.machine import run
from tests.fuzz import growth
from tests.fuzz.measure import answer, head

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
    "tail",
    [
        ("mul z, y, x", "sum s, z"),
        pytest.param(("mul z, x, y", "sum s, z"), marks=pytest.mark.slow),
        pytest.param(("matmul z, y, x", "sum s, z"), marks=pytest.mark.slow),
        pytest.param(("sum s, y",), marks=pytest.mark.slow),
    ],
)
def test_no_sweep_doubles_with_every_layer(monkeypatch, tail):
    """Operands of products are pulled back by the second sweep: it is planned like the first."""
    terms = []
    merge = Sweep.merge
    monkeypatch.setattr(Sweep, "merge", lambda self, t, *a, **k: terms.append(len(t)) or merge(self, t, *a, **k))
    p = shifts(12, tail, n=32)
    pk = setup(p)
    trace = run(p, {"x": np.zeros((32, 32), int)})
    proof = prove(pk, trace)
    terms.clear()
    verify(pk.verifying_key, proof.data)
    assert max(terms) <= 4 * MAX_TERMS
    assert sum(terms) < 200 * MAX_TERMS


def test_forty_layers_under_a_product():
    plan = Plan.of(shifts(40, ("mul z, y, x", "sum s, z")))
    assert any(c.label == "value" for c in plan.system.columns)


@pytest.mark.slow
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


def test_fuzzing_and_measuring_reach_what_is_behind_the_path():
    p, path = growth.a_batch_that_branches_over_code(3, batch=5)
    said = answer(VerifyingKey(encode(p), None).to_bytes(), path)
    assert said.startswith("proof: ")
    assert "path" not in said


def test_a_rejection_is_an_error_of_the_product():
    vk = setup(assemble(LOOP)).verifying_key
    with pytest.raises(SyurmyError) as e:
        verify(vk, b"nothing")
    assert isinstance(e.value, Rejected)
    assert (e.value.code, e.value.step) == ("V100", "format")


# ---- work per view, round, input, operand and jump (tests/fuzz/growth.py measures the families) ----------------------


def planned(member, allowed=2**26):
    """Memory in bytes that a plan takes, and the code with which it is refused where so many entries are allowed."""
    tracemalloc.start()
    try:
        with pytest.MonkeyPatch.context() as m:
            m.setattr(cost, "FREE", allowed)
            m.setattr(cost, "MOST", allowed)
            Plan.of(*member)
        code = None
    except SyurmyError as e:
        code = e.code
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak, code


def lines(member):
    """Lines of Python in isa/ that following a path takes: a measure of work that no clock disturbs."""
    program, path = member
    types, count = infer_types(program), 0

    def local(frame: FrameType, event: str, arg: object) -> object:
        nonlocal count
        count += event == "line"
        return local

    sys.settrace(lambda frame, event, arg: local if frame.f_globals["__name__"].startswith("syurmy.isa") else None)
    try:
        resolve(program, types, path)
    finally:
        sys.settrace(None)
    return count


@pytest.mark.parametrize("family", [growth.views_that_change_places, growth.a_view_and_a_write_in_turn])
def test_views_are_charged_before_they_are_spread_over_rounds(family):
    """2^12 positions in each of 2000 rounds would be arrays of 64 MB."""
    peak, code = planned(family(2**12, 2000), allowed=2**20)
    assert code == "C112"
    assert peak < 2**24


@pytest.mark.parametrize(
    ("member", "most"),
    [
        (growth.puts_that_are_read(2000, 2**12), 5 * 2**19),  # 12 bytes a position, for which nine entries are charged
        (growth.vectors_that_are_padded(20, 2**16), 2**20),
    ],
)
def test_what_is_charged_takes_little_memory(member, most):
    peak, code = planned(member, allowed=2**20)
    assert code == "C112"
    assert peak < most


def test_a_view_that_all_rounds_read_is_one_view():
    peak, code = planned(growth.a_view_read_in_rounds(2**16, 10_000))
    assert code is None
    assert peak < 2**25


@pytest.mark.slow
def test_equal_views_are_compared_at_a_price(monkeypatch):
    """Reading one of two equal views in every round compares them once, however many rounds there are; that many
    instructions do so is charged."""
    compared = []
    same = View.same
    monkeypatch.setattr(View, "same", lambda self, other: compared.append(len(self.producers)) or same(self, other))
    peak, code = planned(growth.equal_views_that_change_places(2**12, 2000), allowed=2**20)
    assert (code, len(compared)) == (None, 1)
    assert peak < 2**24
    compared.clear()
    code = planned(growth.views_read_by_many(2000, 2**12), allowed=2**20)[1]
    assert code == "C112"
    assert sum(compared) <= 2**20


def test_rounds_are_derived_from_those_before_alone():
    """Blocks inside a round: what earlier rounds of the outer block read costs nothing again."""
    few, many = (lines(growth.derived_rounds_with_views(n)) for n in (10, 40))
    assert many < 5 * few


@pytest.mark.parametrize("family", [growth.a_batch_that_jumps_over_code, growth.a_batch_that_branches_over_code])
def test_code_is_prepared_once_for_a_batch(family):
    n = 3000
    few, many = (lines(family(n, batch)) for batch in (4, 104))
    assert many - few < 100 * n / 10


@pytest.mark.parametrize(
    "family", [growth.a_batch_of_named_inputs_that_branches, growth.a_batch_of_buffers_that_branches]
)
def test_an_input_of_a_batch_costs_what_its_run_touches(family):
    """Names and buffers that a run does not use cost it nothing, outputs are charged."""
    few, many = (lines(family(10, batch)) for batch in (4, 104))
    unused = [lines(family(400, batch)) for batch in (4, 104)]
    spread = 400 if family is growth.a_batch_of_named_inputs_that_branches else 0  # its outputs
    assert unused[1] - unused[0] <= many - few + 100 * 20 * spread
    if spread:
        assert planned(family(400, 200), allowed=2**20)[1] == "C112"


def test_outputs_of_a_batch_are_charged():
    """Two inputs are followed, the others derived: in arrays, whose size is charged."""
    peak, code = planned(growth.a_batch_of_named_inputs(1000, 10_000), allowed=2**20)
    assert code == "C112"
    assert peak < 2**26


def test_operands_are_charged_in_every_round():
    peak, code = planned(growth.a_loop_with_many_operands(2000, 300_000), allowed=2**22)
    assert code == "C112"
    assert peak < 2**27


def test_blocks_cost_what_their_rounds_run():
    """What is looked at to see whether a round repeats is what it runs, not the code that it jumps over."""

    def spent(jumped):
        p, path = growth.blocks_that_jump_over_code(jumped, 1000)
        account = cost.Account()
        flow = resolve(p, infer_types(p), path, account=account)
        assert flow.runs[jumped] == 0
        return account.spent

    assert spent(3000) == spent(10)


def test_registers_that_a_block_does_not_name_cost_it_nothing():
    work = []
    for registers in (10, 1000):
        many = [growth.op("mov", f"r{k}", "x") for k in range(registers)]
        p, _ = growth.program(
            [*many, *(ins for _ in range(50) for ins in growth.repeat(2, [growth.op("mov", "y", "x")]))]
        )
        types = inference.Inference(p, inference.recorded_l1(p), 10**6)
        assert types.run().results[-3] is not None
        work.append(types.copied)
    assert work[0] == work[1]


def test_a_system_is_refused_before_it_is_made():
    """What claims on its nodes will cost is owed from the first on."""
    made = []
    with pytest.MonkeyPatch.context() as m:
        new = Builder.new
        m.setattr(Builder, "new", lambda self, *a: made.append(1) or new(self, *a))
        m.setattr(cost, "FREE", 1000 * (cost.PER_NODE + cost.PER_TERM))
        with pytest.raises(SyurmyError) as e:
            Plan.of(*growth.a_long_chain(10_000))
    assert e.value.code == "C112"
    assert len(made) < 1100


@pytest.mark.slow
def test_types_of_many_jump_targets():
    """40,000 branches, each to a place of its own: 100 s of processor time where every place searches those ahead."""
    start = time.process_time()
    infer_types(growth.branches_far_ahead(40_000)[0])
    assert time.process_time() - start < 20


def test_operands_of_followed_instructions_are_counted(monkeypatch):
    read = []
    step = inference.Inference.step
    monkeypatch.setattr(inference, "MAX_FOLLOWED", 10**4)
    monkeypatch.setattr(
        inference.Inference, "step", lambda self, pc, s: read.append(len(self.code[pc].src)) or step(self, pc, s)
    )
    with pytest.raises(StepLimit):
        infer_types(growth.operands_in_growing_loops(1000)[0])
    assert sum(read) < 10 * 10**4


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


@pytest.mark.parametrize("error", [NameError("n"), AttributeError("a"), ImportError("i"), TypeError("t")])
def test_a_mistake_of_ours_is_no_refusal(monkeypatch, error):
    """It says nothing about the key or the proof."""

    def fail(*args, **kwargs):
        raise error

    vk = setup(assemble(LOOP)).verifying_key
    data = head(vk, Path(1, {6: [0]}))
    verifier = Verifier(vk)
    monkeypatch.setattr(Plan, "of", fail)
    monkeypatch.setattr("syurmy.isa.refusal.OURS", ("syurmy.", __name__))
    with pytest.raises(type(error)):
        verifier.verify(data)
    monkeypatch.setattr("syurmy.isa.refusal.OURS", ("syurmy.",))  # as raised in a library
    with pytest.raises(Rejected):
        verifier.verify(data)


@pytest.mark.parametrize("error", [NameError("n"), AttributeError("a"), ImportError("i"), TypeError("t")])
def test_outside_of_tests_a_verifier_answers_even_then(monkeypatch, error):
    """And says whose mistake it is."""

    def fail(*args, **kwargs):
        raise error

    vk = setup(assemble(LOOP)).verifying_key
    data = head(vk, Path(1, {6: [0]}))
    verifier = Verifier(vk)
    monkeypatch.setattr("syurmy.isa.refusal.STRICT", False)
    monkeypatch.setattr("syurmy.isa.refusal.OURS", ("syurmy.", __name__))
    monkeypatch.setattr(Plan, "of", fail)
    with pytest.raises(Rejected, match="a mistake in this software"):
        verifier.verify(data)
    monkeypatch.setattr("syurmy.prover.verifier.verify.fixed_plan", fail)
    with pytest.raises(SyurmyError, match="a mistake in this software") as e:
        Verifier(vk)
    assert e.value.code == "K123"


def test_a_wrong_name_in_our_code_is_raised(monkeypatch):
    monkeypatch.delattr("syurmy.isa.system.resolve")
    with pytest.raises(NameError):
        load(program([Instruction("neg", "y", ("x",))]))


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
    sweep = Sweep(WeightSpace())
    with pytest.raises(ValueError, match="not merged"):
        sweep._sum([Term(ONE, ()), Term(ONE, ())], 0)
    assert sweep.merge([Term(ONE, ()), Term(ONE, ())]) == [Term(Ext(2), ())]


def test_grinding_starts_by_the_error():
    """2^24 leaves of 16 members leave 99.83 bits without grinding, 2^24 of one member do not need it."""

    class Sizes:
        used_leaves, width = 2**24, 16
        mode = Mode(False)

    assert needs_grinding(Sizes)
    Sizes.width = 1
    assert not needs_grinding(Sizes)
