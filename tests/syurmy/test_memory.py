"""What a proof takes is known before, and bounded or refused."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import syurmy
from syurmy import memory
from syurmy.assembler import assemble
from syurmy.cli import app
from syurmy.heap import Heap
from syurmy.isa.errors import InputError
from syurmy.isa.path import Path as ExecutedPath
from syurmy.isa.program import Program
from syurmy.isa.system import assemble as system_of
from syurmy.prover.commitment import Commitment, commit
from syurmy.prover.keys import setup
from syurmy.prover.protocol.counts import swept
from syurmy.prover.protocol.key import Mode
from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.weights import WeightSpace
from syurmy.prover.prove import prove as construct
from syurmy.prover.verifier.verify import verify
from syurmy.prover.witness import Witness

TEXT = """
.program small
.input x : i8[64, 64] private
.param w : i8[64, 64] committed = "w.npz:w"
.output y public
    matmul  y, x, w
    rescale y, y, 8, i16
    halt
"""


WINDOWS = """
.program windows
.input x : i8[1, 1, 1, 5119] private
.param w : i8[1, 1, 1, {width}] committed bounds -99..99
.output y public
    conv2d y, x, w
    rescale y, y, 8, i16
    halt
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    folder = tmp_path_factory.mktemp("small")
    np.savez(folder / "w.npz", w=np.random.default_rng(0).integers(-99, 99, (64, 64)))
    return assemble(TEXT, data_root=folder)


@pytest.mark.parametrize(
    ("text", "size"),
    [("8G", 8 << 30), ("1.5g", 3 << 29), ("500M", 500 << 20), ("64KiB", 1 << 16), ("1T", 1 << 40), ("7", 7)],
)
def test_amounts(text: str, size: int) -> None:
    assert memory.read(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1G", "8X", "G", "1 2", "nan"])
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(InputError) as e:
        memory.read(text)
    assert e.value.code == "X193"


def test_what_is_allowed_decides(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan.of(program)
    need = memory.of_plan(plan)
    assert need.lean < need.prove
    assert not memory.is_lean(plan, None)
    assert not memory.is_lean(plan, need.prove)
    assert memory.is_lean(plan, need.prove - 1)
    assert memory.is_lean(plan, need.lean)
    with pytest.raises(InputError, match="a proof of this takes about") as e:
        memory.is_lean(plan, need.lean - 1)
    assert e.value.code == "P190"
    monkeypatch.setattr(memory, "of_plan", lambda plan: memory.Memory(30, 20, 10))
    assert memory.is_lean(plan, 15)
    with pytest.raises(InputError, match="set-up of this takes about 30 B"):
        memory.is_lean(plan, 29, making=True)
    assert not memory.is_lean(plan, 30, making=True)


def test_setup_holds_no_large_codeword() -> None:
    text = TEXT.replace("x : i8[64, 64]", "x : i8[1, 16384]").replace("i8[64, 64]", "i8[16384, 16384]")
    plan = Plan.of(assemble(text.replace('= "w.npz:w"', "bounds -99..99")))
    assert plan.params is not None
    shape = plan.params.shape
    assert (shape.log_blowup, 8 * shape.encoded) == (2, 8 << 30)
    assert memory.of_plan(plan).setup < 2 << 30


@pytest.mark.parametrize("hiding", [False, True])
def test_a_lean_proof_is_the_same_proof(hiding: bool, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    key = setup(program, Mode.of(program, hiding))
    trace = syurmy.run(program, {"x": np.arange(64 * 64).reshape(64, 64) % 200 - 100})
    need = memory.of_plan(Plan.of(program, mode=key.mode))
    kept: list[bool] = []

    def noted(*given: object, keep: bool) -> Commitment:
        kept.append(keep)
        return commit(*given, keep=keep)  # type: ignore[arg-type]

    monkeypatch.setattr("syurmy.prover.prove.commit", noted)
    whole = syurmy.prove(key, trace, memory=need.prove)
    lean = syurmy.prove(key, trace, memory=need.lean)
    assert kept == [True, False]
    assert hiding or lean.data == whole.data
    assert (verify(key.verifying_key, lean.data).outputs["y"] == trace.outputs["y"]).all()
    with pytest.raises(InputError) as e:
        syurmy.prove(key, trace, memory=need.lean - 1)
    assert e.value.code == "P190"

    monkeypatch.setattr("syurmy.prover.prove.LARGE", 1)
    large = syurmy.prove(key, trace)
    assert kept == [True, False, False]
    assert hiding or large.data == whole.data
    assert (verify(key.verifying_key, large.data).outputs["y"] == trace.outputs["y"]).all()
    monkeypatch.setattr("syurmy.prover.prove.keeps", lambda leaves: False)
    need = memory.of_plan(Plan.of(program, mode=key.mode))
    assert need.prove == need.lean


@pytest.mark.parametrize("lean", [False, True])
def test_what_is_there_at_one_time_is_what_was_counted(program: Program, lean: bool) -> None:
    """The arrays that a proof holds at its peak, measured; keeping what is freed takes somewhat more."""
    key, count = setup(program), 16
    rows = np.random.default_rng(1).integers(-99, 99, (count, 64, 64))
    trace = syurmy.run(program, {"x": rows}, batch=True)
    sizes = memory.Sizes(Plan.of(program, ExecutedPath(batch=count), mode=key.mode))
    construct(key, trace, lean=lean)  # what is worked out once
    tracemalloc.start()
    try:
        construct(key, trace, lean=lean)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    apart, kept = (sizes.proof(lean, keep) - memory.PROCESS - memory.READ for keep in (False, True))
    assert 0.85 * peak < apart < kept < 1.1 * peak


def test_a_heap_gives_out_the_smallest_place_that_fits() -> None:
    heap = Heap()
    heap.take(a=10, b=1, c=6, d=1)
    heap.give("ac")
    assert (heap.live, heap.held, heap.peak) == (2, 18, 18)
    heap.take(e=5)  # where c was
    heap.take(f=10)  # where a was
    assert heap.held == 18
    heap.give("def")
    heap.take(g=9)
    assert heap.held == 18  # what is free at the end is joined, and grows
    heap.take(h=20)
    assert (heap.peak, heap.live) == (31, 30)
    heap.give("g")
    heap.trim()
    assert heap.held == heap.live == 21
    heap.take(i=4)
    assert (heap.held, heap.peak) == (25, 31)
    with pytest.raises(ValueError, match="i is there already"):
        heap.take(i=1)


def test_large_arrays_go_back_at_once() -> None:
    heap = Heap(mapped=8)
    heap.take(a=8, b=7)
    heap.give("ab")
    assert (heap.live, heap.held, heap.peak) == (0, 7, 15)


def test_images_of_columns_are_made_again(program: Program) -> None:
    trace = syurmy.run(program, {"x": np.arange(64 * 64).reshape(64, 64) % 200 - 100})
    system = system_of(program).system
    witness = Witness(system, trace)
    members = [m for lk in system.lookups for m in lk.members]
    before = [witness(m).copy() for m in members]
    held = len(witness._values)
    witness.forget_images()
    assert len(witness._values) < held
    assert all(np.array_equal(witness(m), v) for m, v in zip(members, before, strict=True))


def test_claims_on_params_are_counted_as_the_prover_joins_them(program: Program) -> None:
    """More claims at one point of the columns take one table."""
    plan, space = Plan.of(program), WeightSpace()
    _, points, rest = swept(plan, space)
    assert memory.evaluated_rows(plan, space, points, rest) == 1


def test_windows_take_their_weights() -> None:
    """A window at every place of a long signal: what a claim on it has as weights is more than all columns."""
    need = [memory.of_plan(Plan.of(assemble(WINDOWS.format(width=w)))) for w in (4, 1024)]
    assert need[1].prove - need[0].prove > 16 * 1000 * 4096
    assert need[1].setup - need[0].setup > 12 * 1000 * 4096


def test_more_of_anything_takes_more(program: Program) -> None:
    one, many = (memory.of_plan(Plan.of(program, ExecutedPath(batch=n))) for n in (1, 8))
    assert one.prove < many.prove
    assert one.lean < many.lean
    assert one.setup <= many.setup


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.mark.parametrize("seen", ["committed", "public"])
def test_committed_tensors_take_some_too(seen: str) -> None:
    """With params or without, hidden or not; and what has no columns at all."""
    text = f".input x : i8[32] {seen}\n.output y {seen}\n    neg y, x\n    halt\n"
    for mode in (Mode(False), Mode(True)):
        need = memory.of_plan(Plan.of(assemble(text), mode=mode))
        assert memory.PROCESS < need.lean <= need.prove < 2 * memory.PROCESS


def test_refused_before_anything_runs(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", w=np.ones((64, 64), np.int8))
    path = tmp_path / "small.tasm"
    path.write_text(TEXT)
    np.savez(tmp_path / "small.inputs.npz", x=np.ones((64, 64), np.int8))
    before = sorted(tmp_path.iterdir())
    refused = invoke("prove", path, "--memory", "50M")
    assert refused.exit_code == 2
    assert "P190" in refused.stderr
    assert sorted(tmp_path.iterdir()) == before
    unused = invoke("run", path, "--memory", "8G")
    assert "X192" in unused.stderr
    none = invoke("prove", path, "--memory", "much")
    assert "X193" in none.stderr


def test_compile_says_what_it_takes(tmp_path: Path) -> None:
    lenet = Path(__file__).parents[2] / "programs/onnx/lenet5.onnx"
    refused = invoke("compile", lenet, "-o", tmp_path / "out", "--memory", "50M")
    assert refused.exit_code == 2
    assert "P190" in refused.stderr
    assert not (tmp_path / "out").exists()
    none = invoke("compile", lenet, "-o", tmp_path / "out", "--memory", "much")
    assert "X193" in none.stderr
    done = invoke("compile", lenet, "-o", tmp_path / "out", "--json")
    said = json.loads(done.stdout)
    assert 0.8 < said["predicted_bytes"] / 2**20 / said["peak_mb"] < 1.3
