"""Programs that ask for far more work than they are long: each is answered soon, with a coded error or a type."""

from __future__ import annotations

import pytest

from syurmy.assembler import AssemblyErrors, assemble
from syurmy.isa import inference
from syurmy.isa.encoding import decode, encode
from syurmy.isa.inference import infer_types
from syurmy.isa.program import Instruction, Output, Program
from syurmy.isa.wellformed import problems

HEAD = ".param zero : i32[] public = {0}\n.output s public\n mov s, zero\n"


def refused(text: str) -> str:
    with pytest.raises(AssemblyErrors) as e:
        assemble(text)
    return e.value.errors[0].code


def test_nesting_has_a_limit() -> None:
    deep = HEAD + " repeat 1\n" * 600 + " mov s, zero\n" + " end\n" * 600 + " halt\n"
    assert refused(deep) == "A137"
    assemble(HEAD + " repeat 1\n" * 60 + " mov s, zero\n" + " end\n" * 60 + " halt\n")


def test_routines_that_call_one_another_have_a_limit() -> None:
    def chain(n: int) -> str:
        return HEAD + " call r0\n halt\n" + "".join(f"r{k}: call r{k + 1}\n ret\n" for k in range(n)) + f"r{n}: ret\n"

    assert refused(chain(600)) == "A234"
    assemble(chain(50))


@pytest.mark.parametrize("line", ["reshape s, zero, (" + "1, " * 63 + "1)", "broadcast s, zero, (" + "1, " * 63 + "1)"])
def test_every_value_has_a_rank(line: str) -> None:
    assert refused(HEAD + line + "\n halt\n") == "A105"


BODY = " addi s, s, 1\n clamp s, s, hi=1000000\n cast s, s, i32\n"


def test_steps_that_are_known_are_counted_before_anything_runs() -> None:
    assert refused(HEAD + " repeat 8\n" * 6 + BODY + " end\n" * 6 + " halt\n") == "T101"


@pytest.mark.slow
def test_nested_blocks_are_widened() -> None:
    """7^6 rounds in which an interval grows: types after a bounded number of instructions."""
    program = assemble(HEAD + " repeat 7\n" * 6 + BODY + " end\n" * 6 + " halt\n")
    work = inference.Inference(program, inference.recorded_l1(program), 10**6)
    types = work.run()
    assert work.spent < 2 * inference.PRECISE
    assert types.final["s"].hi == 1_000_000
    assert types.final["s"].lo <= 7**6


def test_short_loops_stay_exact() -> None:
    program = assemble(HEAD.replace("mov s, zero", "cast s, zero, i64") + " repeat 100\n addi s, s, 3\n end\n halt\n")
    assert infer_types(program).final["s"].interval == (300, 300)


def test_routines_that_loop_over_each_other_are_followed_once_per_state() -> None:
    names = "abcde"
    text = HEAD + " call a\n halt\n"
    for k, name in enumerate(names):
        inner = f" call {names[k + 1]}\n" if k + 1 < len(names) else " addi q, zero, 1\n"
        text += f"{name}: mov p, zero\n repeat 8\n{inner} end\n ret\n"
    program = assemble(text)
    work = inference.Inference(program, inference.recorded_l1(program), 10**6)
    work.run()
    assert work.spent < 2000


def test_what_is_copied_where_paths_meet_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "MAX_COPIED", 10_000)
    many = "".join(f" addi r{k}, zero, {k}\n" for k in range(200))
    jumps = "".join(f" bz zero, l{k}\nl{k}: mov s, zero\n" for k in range(200))
    assert refused(HEAD + many + jumps + " halt\n") == "A236"


def test_rules_cost_per_instruction() -> None:
    """Twenty thousand registers: every set is built once, not per instruction."""
    n = 20_000
    code = [Instruction("addi", "r0", ("x",), (("value", 1),))]
    code += [Instruction("addi", f"r{k}", (f"r{k - 1}",), (("value", 1),)) for k in range(1, n)]
    code.append(Instruction("halt", None, ()))
    program = assemble(".input x : i8[] private\n.output r0 public\n addi r0, x, 1\n halt\n")
    long = Program("p", program.inputs, (), (), (Output("r0", True),), tuple(code))
    assert not list(problems(long))
    assert decode(encode(long)).code[-2].dst == f"r{n - 2}"  # r0 is an output
