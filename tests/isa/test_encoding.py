"""The binary form: canonical, strict, and the identity of a program."""

import contextlib

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import example, given
from hypothesis import strategies as st

from syurmy.assembler import assemble
from syurmy.isa.encoding import MAGIC, decode, digest, encode
from syurmy.isa.errors import InputError
from syurmy.isa.program import Affine, Instruction, Program, Ram
from tests.drawing import examples
from tests.isa.renaming import renamed

SOURCE = """
.program net.v2
.input x : i8[1, 4] private in -5..9
.input k : i32[] public
.param w : i16[4, 2] committed = {{1, 2}, {3, 4}, {-5, 6}, {7, -8}}
.param b : i32[1, 2] public = {{-1, 70000}}
.lut sq : i8 -> i16 in -2..2 = {4, 1, 0, 1, 4}
.output y public
.output b private
    repeat 3, t
        rescale y, b, 2, i16, mult=3
    end
    halt
"""


def program() -> Program:
    return assemble(SOURCE)


def test_bytes_are_pinned() -> None:
    """The format is stable: a change of it must raise VERSION."""
    data = encode(program())
    assert data[:8] == MAGIC + b"\x02"
    assert data[8:15] == b"\x06net.v2"
    assert blake3(data).hexdigest()[:32] == "1d3c62f566ecfa410661199247e915b5"
    assert digest(program()) == blake3(data, derive_key_context="syurmy-vm 2026 program digest v1").digest()


def test_what_counts_and_what_does_not() -> None:
    same = [
        SOURCE.replace(".input k", "; a comment\n.input k"),  # source positions
        SOURCE.replace("{1, 2}, {3, 4}", "{2, 1}, {4, 3}"),  # values of committed params within their bounds
        SOURCE.replace("2, i16, mult=3", "mult=3, dtype=i16, shift=2"),
        SOURCE.replace("3, t", "3, u"),  # names of registers and counters
    ]
    changes = [("net.v2", "net"), ("-5..9", "-5..8"), ("private in", "public in"), ("7, -8", "7, -9"), ("70000", "7"),
               ("0, 1, 4}", "0, 1, 5}"), ("b private", "b public"), ("repeat 3", "repeat 4"), ("3, t", "3"),
               ("mult=3", "mult=1"), ("y, b", "y, k"), (".output b private\n", ""), ("i16 in", "i32 in"),
               ("committed =", "public =")]  # fmt: skip
    base = digest(program())
    assert [digest(assemble(s)) for s in same] == [base] * len(same)
    others = {digest(assemble(SOURCE.replace(a, b))) for a, b in changes if a in SOURCE}
    assert len(others - {base}) == len(changes)


def test_decode_gives_the_program_without_committed_values() -> None:
    p, q = program(), decode(encode(program()))
    assert (q.name, q.inputs, q.params, q.luts, q.outputs, q.code) == (
        p.name, p.inputs, p.params, p.luts, p.outputs, renamed(p, "r{}".format).code)  # fmt: skip
    assert set(q.data) == {"b"}
    assert np.array_equal(q.data["b"], p.data["b"])
    assert q.data["b"].dtype == np.dtype("<i4")


def code_of(data: bytes) -> str:
    with pytest.raises(InputError) as e:
        decode(data)
    return e.value.code


def test_truncated_extended_and_foreign_bytes_are_refused() -> None:
    data = encode(program())
    for n in range(len(data)):
        assert code_of(data[:n]) in ("I121", "I122", "I123")
    assert code_of(data + b"\x00") == "I122"
    assert code_of(data + data) == "I122"
    assert code_of(b"") == "I122"
    assert code_of(b"\x00" * 64) == "I121"
    assert code_of(data[:7] + b"\x01" + data[8:]) == "I121"


def test_numbers_have_one_form() -> None:
    data = encode(program())
    assert code_of(data[:7] + b"\x82\x00" + data[8:]) == "I122"  # version 2 in two bytes
    assert code_of(data[:8] + b"\x86\x00" + data[9:]) == "I122"  # a length in two bytes
    assert code_of(data[:8] + b"\xff" * 12) == "I122"


def test_every_single_byte_change_is_refused_or_canonical() -> None:
    data = encode(program())
    accepted = 0
    for i in range(len(data)):
        for value in {data[i] ^ 1, data[i] ^ 0x80, 0, 255, (data[i] + 1) % 256} - {data[i]}:
            changed = data[:i] + bytes([value]) + data[i + 1 :]
            try:
                q = decode(changed)
            except InputError:
                continue
            accepted += 1
            assert encode(q) == changed
    assert accepted > 0


@examples(300)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=6), st.integers(0, 400))
@example([(0, 0)], 0)
def test_mutations_never_crash(changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(encode(program()))
    for at, value in changes:
        data[at % len(data)] = value
    del data[len(data) - cut % 8 :]
    try:
        q = decode(bytes(data))
    except InputError:
        return
    assert encode(q) == bytes(data)


@given(st.binary(max_size=200))
def test_random_bytes_never_crash(tail: bytes) -> None:
    for data in (tail, MAGIC + b"\x02" + tail, MAGIC + b"\x01\x01p" + tail):
        with contextlib.suppress(InputError):
            assert encode(decode(data)) == data


def ill_formed(*code: Instruction, **changes) -> str:
    p = program()
    fields = {f: getattr(p, f) for f in ("name", "inputs", "params", "luts", "outputs", "code", "data")}
    if code:
        fields["code"] = (*code, Instruction("halt", None, ()))
        fields["outputs"] = ()
    with pytest.raises(InputError) as e:
        decode(encode(Program(**(fields | changes))))
    assert e.value.code == "I123"
    return e.value.message


I16 = assemble(".input x : i16[] public\nhalt\n").inputs[0].type.dtype


@pytest.mark.parametrize(
    ("instruction", "message"),
    [
        (Instruction("reveal", None, ("nothing",)), "unknown name 'r0'"),
        (Instruction("reveal", "d", ("x",)), "reveal has no destination"),
        (Instruction("reveal", None, ("x", "x")), "reveal takes 1 operands, not 2"),
        (Instruction("reveal", None, ()), "reveal takes 1 operands, not 0"),
        (Instruction("rescale", None, ("x",), (("dtype", I16), ("shift", 2))), "rescale needs destination"),
        (Instruction("rescale", "x", ("x",), (("dtype", I16), ("shift", 2))), "'x' is an input or a param"),
        (Instruction("rescale", "y", ("x",), (("dtype", I16),)), "rescale needs attribute shift"),
        (Instruction("rescale", "y", ("x",), (("shift", 2), ("dtype", I16))), "are not sorted and distinct"),
        (Instruction("rescale", "y", ("x",), (("dtype", I16), ("mult", 1), ("shift", 2))), "repeats its default"),
        (Instruction("rescale", "sq", ("x",), (("dtype", I16), ("shift", 2))), "'sq' is a table"),
        (Instruction("repeat", None, (), (("count", 0),)), "repeat count 0 is outside"),
        (Instruction("repeat", None, (), (("count", 3),)), "halt inside a block"),
        (Instruction("repeat", None, (), (("count", 3), ("counter", "x"))), "'x' is a loop counter and something"),
        (Instruction("end", None, ()), "end without repeat"),
        (Instruction("halt", None, ()), "halt is not the last instruction"),
    ],
)
def test_ill_formed_instructions_are_refused(instruction: Instruction, message: str) -> None:
    assert message in ill_formed(instruction)


def test_ill_formed_declarations_are_refused() -> None:
    p = program()
    x, w, b, t = p.inputs[0], p.params[0], p.params[1], p.luts[0]
    from dataclasses import replace

    assert "is declared twice" in ill_formed(inputs=(x, x))
    assert "cannot name a program" in ill_formed(name="a b")
    assert "cannot be a name" in ill_formed(inputs=(replace(x, name="i8"), *p.inputs))
    assert "not an interval" in ill_formed(inputs=(replace(x, type=replace(x.type, hi=128)), *p.inputs[1:]))
    assert "not an interval" in ill_formed(inputs=(replace(x, type=replace(x.type, lo=10)), *p.inputs[1:]))
    assert "every length" in ill_formed(inputs=(replace(x, type=replace(x.type, shape=(0,))), *p.inputs[1:]))
    assert "outside its bounds" in ill_formed(params=(w, replace(b, type=replace(b.type, hi=69999))))
    assert "above its bound 70000" in ill_formed(params=(w, replace(b, l1=(((1,), 70000),))))
    assert "sorted axes" in ill_formed(params=(replace(w, l1=(((1, 0), 5),)), b))
    assert "sorted axes" in ill_formed(params=(replace(w, l1=(((2,), 5),)), b))
    assert "leaves i8" in ill_formed(luts=(replace(t, lo=126),))
    assert "at most" in ill_formed(inputs=(replace(x, type=replace(x.type, shape=(2**16, 2**16))), *p.inputs[1:]))
    assert "never written" in ill_formed(Instruction("reveal", None, ("x",)), outputs=(p.outputs[0],))


def test_programs_that_no_bytes_stand_for() -> None:
    p = program()
    for code, data in [
        ((Instruction("nope", None, ()),), p.data),
        ((Instruction("repeat", None, (), (("count", "3"),)),), p.data),
        ((Instruction("repeat", None, (), (("what", 3),)),), p.data),
        (p.code, {}),
        (p.code, {"b": np.array([[1, 2**40]])}),
    ]:
        with pytest.raises(InputError) as e:
            encode(Program(p.name, p.inputs, p.params, p.luts, p.outputs, code, data))
        assert e.value.code == "I120"


JUMPS = """
.input x : i16[3] private
.input c : i8[] private in 0..1
.ram kv : i16[4, 3]
.ram a : i16[3] = x
    repeat 2
again:
        load y, a[c]
        bnz c, again
        bz c, next
next:
    end
    call f
    halt
f:
    store kv[c], x
    ret
"""


def test_jumps_and_buffers_keep_their_form() -> None:
    p = assemble(JUMPS)
    data = encode(p)
    assert (decode(data).code, decode(data).rams) == (renamed(p, "r{}".format).code, p.rams)
    assert blake3(data).hexdigest()[:32] == "657ab30e6d5c2bee477f0dbe97abfadb"
    changes = [("bnz c, again", "bnz c, next"), ("bz c, next", "bnz c, next"), ("i16[4, 3]", "i16[5, 3]"), ("= x", ""),
               ("kv", "vk"), ("i16[4", "i32[4"), ("y, a", "y, kv"), ("repeat 2\n", "repeat 2\n label:")]  # fmt: skip
    others = [encode(assemble(JUMPS.replace(a, b))) for a, b in changes]
    assert others.pop() == data  # a label that nothing leads to
    assert len({*others, data}) == len(changes)
    for i in range(len(data)):
        for value in {data[i] ^ 1, data[i] ^ 0x80, 0, 255, (data[i] + 1) % 256} - {data[i]}:
            changed = data[:i] + bytes([value]) + data[i + 1 :]
            with contextlib.suppress(InputError):
                assert encode(decode(changed)) == changed


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ([("jmp", 7)], "jmp leads to instruction 7"),
        ([("repeat", 2), ("jmp", 3), ("end", None)], "jmp enters or leaves"),
        ([("jmp", 2), ("repeat", 2), ("end", None)], "jmp enters or leaves"),
        ([("repeat", 2), ("jmp", 0), ("end", None)], "jmp enters or leaves"),
        ([("call", 2), ("repeat", 2), ("end", None)], "begins inside a repeat"),
        ([("repeat", 2), ("ret", None), ("end", None)], "ret inside a block"),
        ([("halt", None)], "halt is not the last"),
    ],
)
def test_ill_formed_jumps_are_refused(code: list[tuple[str, int | None]], message: str) -> None:
    names = {"jmp": "target", "call": "target", "repeat": "count"}
    assert message in ill_formed(
        *(Instruction(op, None, (), ((names[op], v),) if op in names else ()) for op, v in code)
    )


def test_ill_formed_buffers_are_refused() -> None:
    p = program()
    x = p.inputs[0]
    ram = Ram("m", x.type.dtype, x.type.shape, x.name)
    for bad, message in [
        (Ram("x", x.type.dtype, (2,)), "declared twice"),
        (Ram("m", x.type.dtype, ()), "has no axis"),
        (Ram("m", x.type.dtype, (2, 0)), "every length"),
        (Ram("m", x.type.dtype, (9,), x.name), "cannot fill"),
        (Ram("m", x.type.dtype, x.type.shape, "nothing"), "is no input or param"),
        (Ram("a b", x.type.dtype, (2,)), "cannot be a name"),
    ]:
        assert message in ill_formed(rams=(bad,))
    load = Instruction("load", "y", (x.name,), (("buffer", "n"),))
    assert "unknown buffer 'n'" in ill_formed(load, rams=(ram,))
    assert "is a tensor" in ill_formed(Instruction("load", "y", (x.name,), (("buffer", x.name),)), rams=(ram,))
    assert "is a buffer" in ill_formed(Instruction("mov", "m", (x.name,)), rams=(ram,))
    assert "is a buffer" in ill_formed(Instruction("mov", "y", ("m",)), rams=(ram,))


LOOPS = """
.input x : i16[4, 4] private
.output s public
    mov s, x[0, 0]
    repeat 2, i
        repeat 2, j
            slice row, x, axis=0, start=2*i + j
            slice v, row, axis=0, start=1 + i
            add s, s, v
            cast s, s, i16
        end
    end
    halt
"""


def test_names_of_registers_and_counters_are_no_part_of_a_program() -> None:
    p = assemble(LOOPS)
    data = encode(p)
    names = ["zz", "a", "row.2", "b", "x9", "x1", "c", "d", "e"]
    assert encode(renamed(p, names.__getitem__)) == data
    assert encode(renamed(p, lambda k: f"n{99 - k}")) == data  # so that counters sort the other way round
    assert encode(assemble(LOOPS.replace("2*i + j", "2*j + i"))) != data
    assert encode(assemble(LOOPS.replace("add s, s, v", "add s, s, s"))) != data
    starts = [ins.get("start") for ins in decode(data).code]
    assert Affine(0, (("r2", 2), ("r3", 1))) in starts


def test_registers_are_numbered_in_one_way() -> None:
    p = assemble(".input x : i8[] public\n.output y public\n mov a, x\n mov b, a\n add y, a, b\n halt\n")
    data = encode(p)
    a, b = data.index(b"\x03mov\x01\x01"), data.index(b"\x03mov\x01\x02")  # mov, with a destination, the register
    assert code_of(data[: a + 5] + b"\x02" + data[a + 6 :]) == "I122"
    assert code_of(data[: b + 5] + b"\x03" + data[b + 6 :]) == "I122"
    assert code_of(data[: b + 5] + b"\x00\x01q" + data[b + 6 :]) == "I123"  # a name that nothing declares
