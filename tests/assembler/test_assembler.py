"""What the text form means: declarations, data, constants, macros, includes, attributes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from syurmy.assembler import AssemblyErrors, assemble, assemble_file, disassemble
from syurmy.assembler.source import LIBRARY
from syurmy.isa.encoding import encode
from syurmy.isa.program import Affine, Input, Lut, Output, Ram
from syurmy.isa.types import DType, TensorType


def const(expression: str) -> int:
    return assemble(f".const N = {expression}\n.input x : i32[] public in N..N\nhalt\n").inputs[0].type.lo


def test_declarations() -> None:
    p = assemble("""
.program net
.const N = 4
.input x : i8[1, N*N] private in -3..N
.input k : i32[] public
.param w : i16[2, 2] committed = {{1, -2}, {N, 3}}
.param b : i32[] public = {7}
.lut sq : i8 -> i16 in -1..1 = {1, 0, 1}
.output k public
.output x private
    halt
""")
    assert p.name == "net"
    assert p.inputs == (
        Input("x", TensorType(DType.I8, (1, 16), -3, 4), False),
        Input("k", TensorType.full(DType.I32, ()), True),
    )
    assert [(q.name, q.type, q.committed, q.l1) for q in p.params] == [
        ("w", TensorType(DType.I16, (2, 2), -2, 4), True, ()),
        ("b", TensorType(DType.I32, (), 7, 7), False, ()),
    ]
    assert p.data["w"].tolist() == [[1, -2], [4, 3]]
    assert p.luts == (Lut("sq", DType.I8, DType.I16, -1, (1, 0, 1)),)
    assert p.outputs == (Output("k", True), Output("x", False))


@pytest.mark.parametrize(
    ("text", "value"),
    [("2+3*4", 14), ("(2+3)*4", 20), ("-2**2", -4), ("2**-(-3)", 8), ("2**3**2 % 1000", 512), ("-7//2", -4),
     ("-7 % 3", 2), ("7-3-2", 2), ("0x1f", 31), ("64//4//2", 8), ("- -3", 3)],
)  # fmt: skip
def test_constant_expressions(text: str, value: int) -> None:
    assert const(text) == value


@given(st.recursive(st.integers(0, 99).map(str), lambda e: st.tuples(e, st.sampled_from("+-*"), e).map(
    lambda t: f"({t[0]}){t[1]}{t[2]}"), max_leaves=6))  # fmt: skip
def test_expressions_agree_with_python(text: str) -> None:
    value = eval(text)
    if abs(value) < 2**31:
        assert const(text) == value


def test_affine_attributes_and_canonical_form() -> None:
    p = assemble("""
.const N = 2
.input x : i8[16] public
    repeat 2, t
        repeat 3, u
            slice y, x, axis=0, start=(t+u)*N - t + 1 - u*2, len=N
            slice y, x, axis=0, start=t-t, len=N, step=1
        end
    end
    halt
""")
    first, second = p.code[2], p.code[3]
    assert first.attrs == (("axis", 0), ("len", 2), ("start", Affine(1, (("t", 1),))))
    assert second.attrs == (("axis", 0), ("len", 2))
    assert first.span is not None
    assert (first.span.line, first.span.column) == (6, 13)


def test_data_files(tmp_path: Path) -> None:
    w = np.array([[1, 2], [3, -4]], dtype=np.int16)
    np.save(tmp_path / "w.npy", w)
    np.savez(tmp_path / "w.npz", w=w.astype(np.int64), f=np.arange(3, dtype=np.uint8))
    save_file({"w": w}, tmp_path / "w.safetensors")
    source = """
.param a : i16[2, 2] committed = "w.npy"
.param b : i16[2, 2] committed = "w.npz":"w"
.param c : i16[2, 2] public = "w.npz:w"
.param d : i8[2, 2] committed = "w.safetensors:w"
.lut f : i8 -> i8 in 0..2 = "w.npz:f"
    halt
"""
    p = assemble(source, data_root=tmp_path)
    assert all(np.array_equal(p.data[n], w) for n in "abcd")
    assert p.data["d"].dtype == np.int8
    assert p.luts[0].values == (0, 1, 2)
    (tmp_path / "p.tasm").write_text(source, encoding="utf-8")
    assert encode(assemble_file(tmp_path / "p.tasm")) == encode(assemble(str(tmp_path / "p.tasm"))) == encode(p)
    text = disassemble(p, data_file="w.npz").replace("w.npz:a", "w.npz:w").replace("w.npz:b", "w.npz:w")
    again = assemble(text.replace("w.npz:d", "w.npz:w"), data_root=tmp_path)
    assert encode(again) == encode(p)
    assert np.array_equal(again.data["a"], w)


def test_macros_are_hygienic() -> None:
    p = assemble("""
.macro twice(dst, src, shift=1, to=i8)
    rescale %t, src, shift, to
    rescale dst, %t, shift*2, to
.endmacro
.macro both(dst, src)
    repeat 2, %i
        twice %t, src, 1 + 1
        twice dst, %t, to=i16
    end
.endmacro
.input x : i32[2] public
    rescale twice.1.t, x, 0, i32   ; the name is taken, so expansion skips number 1
    both y, x
    both z, x
    reveal twice.1.t
    halt
""")
    assert [i.dst for i in p.code if i.dst] == [
        "twice.1.t",
        *["twice.2.t", "both.1.t", "twice.3.t", "y"],
        *["twice.4.t", "both.2.t", "twice.5.t", "z"],
    ]
    assert [dict(i.attrs)["shift"] for i in p.code if i.op == "rescale"] == [0, 2, 4, 1, 2, 2, 4, 1, 2]
    assert p.code[1].get("counter") == "both.1.i"
    assert p.code[4].get("dtype") is DType.I16


def test_includes(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a.tasm").write_text('.include "b.tasm"\n.const A = B + 1\n', encoding="utf-8")
    (tmp_path / "lib" / "b.tasm").write_text(".const B = 1\n", encoding="utf-8")
    source = '.include "a.tasm"\n.include "b.tasm"\n.input x : i8[A, B] public\n    halt\n'
    assert assemble(source, include_paths=[tmp_path / "lib"]).inputs[0].type.shape == (2, 1)
    (tmp_path / "lib" / "b.tasm").write_text(".const B = C\n", encoding="utf-8")
    with pytest.raises(AssemblyErrors, match=r"lib/b\.tasm:1:12: error\[A120\]: unknown constant 'C'"):
        assemble(source, include_paths=[tmp_path / "lib"])


SOFTMAX = """
.include "nn.tasm"
.lut exp : i32 -> i16 in -65535..0 = "tables.npz:exp"
.input x : i16[4] private
.output y public
    softmax y, x, exp
    halt
"""


def test_the_library_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.tasm").write_text(SOFTMAX, encoding="utf-8")
    from_file, from_text = assemble(Path("a.tasm")), assemble(SOFTMAX, data_root=tmp_path)
    assert encode(from_file) == encode(from_text)
    assert from_file.luts[0].name == "exp"
    # a file beside the program comes first
    (tmp_path / "nn.tasm").write_text(".macro softmax(dst, src, t)\n    lut dst, src, t\n.endmacro\n", encoding="utf-8")
    np.savez(tmp_path / "tables.npz", exp=np.arange(65536) % 7)
    assert [i.op for i in assemble(Path("a.tasm")).code] == ["lut", "halt"]
    assert assemble(Path("a.tasm")).luts[0].values[:9] == (0, 1, 2, 3, 4, 5, 6, 0, 1)


def test_the_library_is_one_file_by_any_name() -> None:
    source = '.include "lib/nn.tasm"\n.include "nn.tasm"\n.input x : i8[2] private\n.output x public\n    halt\n'
    assemble(source, include_paths=[LIBRARY.parent])  # twice defined macros would be refused


def test_declared_bounds() -> None:
    p = assemble(".param w : i16[2, 3] committed bounds -12..37 l1 (1)=40, (0,1)=99\n.output w private\n    halt\n")
    assert p.params[0].type.interval == (-12, 37)
    assert p.params[0].l1 == (((0, 1), 99), ((1,), 40))
    assert not p.data


def test_l1_bounds_are_those_that_typing_asks_for() -> None:
    p = assemble("""
.input x : i8[1, 2] public
.param w : i16[2, 2] committed = {{1, -2}, {3, 40}}
    matmul y, x, w
    halt
""")
    assert dict(p.params[0].l1)[(0,)] == 42


def test_comments_and_braces_over_lines() -> None:
    p = assemble('.param w : i8[3] public = {1, ; one\n  2,\n\n  3} ; "three"\n.output w public\n    halt ; stop\n')
    assert p.data["w"].tolist() == [1, 2, 3]


def test_labels_stand_alone_or_before_an_instruction() -> None:
    p = assemble("""
.input c : i8[] private in 0..1
.output c private
first: second:
    jmp c
c:  bnz c, first
    repeat 2
        bz c, next          ; a label before end: the next round
        call routine
    next:
    end
    halt
routine: last: ret
""")
    targets = [ins.get("target") for ins in p.code]
    assert targets == [1, 0, None, 5, 7, None, None, None]
    text = disassemble(p)
    assert "L5:\n    end\n    halt\nL7:\n    ret\n" in text
    assert encode(assemble(text)) == encode(p)


def test_buffers_and_rows() -> None:
    p = assemble("""
.input x : i16[4, 2] private
.input i : i32[] private in 0..3
.const N = 4
.ram kv : i16[2*N, 2]
.ram a : i16[N, 2] = x
    load y, a[i]
    store kv[i], y
    gather z, x[i]
    halt
""")
    assert p.rams == (Ram("kv", DType.I16, (8, 2)), Ram("a", DType.I16, (4, 2), "x"))
    assert [(c.op, c.dst, c.src, c.attrs) for c in p.code[:3]] == [
        ("load", "y", ("i",), (("buffer", "a"),)),
        ("store", None, ("i", "y"), (("buffer", "kv"),)),
        ("gather", "z", ("x", "i"), ()),
    ]
    text = disassemble(p)
    assert ".ram kv : i16[8, 2]\n.ram a : i16[4, 2] = x\n" in text
    assert "load y, a[i]\n    store kv[i], y\n    gather z, x[i]\n" in text
    assert encode(assemble(text)) == encode(p)


def test_labels_and_rows_in_macros() -> None:
    p = assemble("""
.macro drop(rows, c, out)
%again:
    load %x, rows
    reveal %x
    bz c, out
    bnz c, %again
.endmacro
.input c : i8[] private in 0..1
.ram a : i16[2]
    drop a[c], c, done
    drop a[c], c, done
done:
    halt
""")
    assert [ins.get("target") for ins in p.code if ins.op in ("bz", "bnz")] == [8, 0, 8, 4]
    assert [ins.dst for ins in p.code if ins.op == "load"] == ["drop.1.x", "drop.2.x"]


@pytest.mark.parametrize(
    "kept",
    ["damaged", *(pytest.param(k, marks=pytest.mark.slow) for k in ("nothing", "of another grammar", "no folder"))],
)
def test_the_parser_is_made_where_it_is_not_kept(kept, tmp_path):
    folder = tmp_path / "cache"
    if kept == "no folder":
        folder.write_text("a file")
    elif kept != "nothing":
        folder.mkdir()
        (folder / "grammar").write_bytes(b"\x80\x04" if kept == "damaged" else b"0" * 64 + b"\n" + b"garbage")
    code = "from syurmy.assembler import assemble; print(assemble('.program kept\\n    halt\\n').name)"
    for _ in range(2):  # the second process may find what the first has kept
        environment = os.environ | {"SYURMY_CACHE": str(folder)}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert (done.stdout, done.stderr) == ("kept\n", "")
    assert kept == "no folder" or (folder / "grammar").stat().st_size > 1000
