"""Programs cut into segments compute what they compute in one piece, integer for integer and type for type."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import syurmy
from syurmy.isa.encoding import decode, encode
from syurmy.isa.errors import InputError
from syurmy.isa.inference import infer_types
from syurmy.isa.program import Program
from syurmy.isa.segments import Seams, cut
from tests.bundles import CUTS, INPUTS, SOURCE
from tests.drawing import SEEDS, examples

OPS = ("add {}, {}, {}", "sub {}, {}, {}", "mul {}, {}, 3", "min {}, {}, {}", "rescale {}, {}, 4, i8", "mov {}, {}")


def drawn(seed: int) -> Program:
    """A program of vectors: straight code with a loop in it, registers that are read late, outputs of all kinds."""
    draw = np.random.default_rng(seed)
    names = ["x", "p", "v"]
    code = []
    for k in range(int(draw.integers(4, 14))):
        a, b = (names[int(i)] for i in draw.integers(len(names), size=2))
        code.append(OPS[int(draw.integers(len(OPS)))].format(f"r{k}", a, b))
        code.append(f"clamp s{k}, r{k}, -100, 100")
        names += [f"s{k}"]
        if draw.random() < 0.2:
            code += [
                f"cast l{k}, s{k}, i64",
                "repeat 3",
                f"    sub m{k}, l{k}, v",
                f"    clamp l{k}, m{k}, -50, 50",
                "end",
            ]
            names.append(f"l{k}")
    outs = draw.choice(names[3:], min(3, len(names) - 3), replace=False)
    kinds = draw.choice(["public", "private", "committed"], len(outs))
    declared = [f".output {o} {kind}" for o, kind in zip(outs, kinds, strict=True)]
    head = [".program drawn", ".input x : i8[3] private", ".input p : i8[3] public", ".input u : i8[2] private in 0..5"]
    head.append(".param v : i8[3] committed = {1, -2, 3}")
    return syurmy.assemble("\n".join([*head, *declared, *code, "halt"]))


def joint(segments: tuple[Program, ...], inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The plain meaning of segments: each runs on what is known so far."""
    known = dict(inputs)
    for p in segments:
        known |= syurmy.run(p, {i.name: known[i.name] for i in p.inputs}).outputs
    return known


@given(SEEDS, st.data())
@examples(25)
def test_segments_compute_the_whole(seed: int, data: st.DataObject) -> None:
    program = drawn(seed)
    places = Seams(program).positions
    at = sorted(data.draw(st.sets(st.sampled_from(places), max_size=4))) if places else []
    segments = cut(program, at)
    draw = np.random.default_rng(seed + 1)
    inputs = {"x": draw.integers(-128, 128, 3), "p": draw.integers(-128, 128, 3), "u": draw.integers(0, 6, 2)}
    trace = syurmy.run(program, inputs)
    known = joint(segments, inputs)
    assert all(np.array_equal(known[name], x) for name, x in trace.outputs.items())
    types = [t for p in segments for t in infer_types(p).results[:-1]]
    assert types == infer_types(program).results[:-1]
    for p in segments:  # a verifier gets them as bytes
        bare = decode(encode(p))
        assert encode(bare) == encode(p)
    declared = [i for p in segments for i in p.inputs]
    assert {i.name for i in declared} >= {"x", "p", "u"}
    for i in declared:
        assert i.public == (i.name == "p" or (i.name in trace.outputs and i.public))


def test_what_crosses() -> None:
    """A private input of two segments is committed in both; a public output stays public; others are committed."""
    segments = cut(syurmy.assemble(SOURCE), CUTS)
    said = [({i.name: i.visibility for i in p.inputs}, {o.name: o.visibility for o in p.outputs}) for p in segments]
    assert said == [
        ({"x": "committed", "n": "public"}, {"big": "public", "a": "committed", "b": "committed"}),
        ({"x": "committed", "b": "committed"}, {"f": "committed"}),
        ({"z": "committed", "f": "committed", "a": "committed"}, {"c": "committed", "d": "private"}),
        ({"c": "committed", "big": "public"}, {"y": "public"}),
    ]
    assert [[p.name for p in s.params] for s in segments] == [["w"], ["w"], [], ["number.40"]]
    known = joint(segments, INPUTS)
    whole = syurmy.run(syurmy.assemble(SOURCE), INPUTS)
    assert all(np.array_equal(known[name], x) for name, x in whole.outputs.items())


def test_where_no_cut_is_possible() -> None:
    program = syurmy.assemble(SOURCE)
    inside = [k for k in range(len(program.code)) if k not in Seams(program).positions]
    assert inside == [0, len(program.code) - 1]
    loop = """.program l
.input x : i8[] private
.output y public
    cast  y, x, i64
    repeat 3
        add   t, y, 1
        clamp y, t, 0, 9
    end
    add   z, y, y
    clamp y, z, 0, 9
    halt
"""
    assert Seams(syurmy.assemble(loop)).positions == []  # y is written before, in and behind the loop
    buffer = """.program b
.input x : i8[] private in 0..3
.output d public
.ram m : i8[4]
    add   a, x, 1
    store m[x], x
    add   b, x, 2
    load  y, m[x]
    add   c, a, b
    add   d, c, y
    halt
"""
    assert Seams(syurmy.assemble(buffer)).positions == [1, 4, 5]
    for at in ([0], [3, 3], [5, 2], [len(program.code) - 1], [99]):
        with pytest.raises(InputError) as e:
            cut(program, at)
        assert e.value.code == "I160"


def test_too_many_tensors_cross() -> None:
    rows = "\n".join(f"add r{k}, x, {k}" for k in range(17))
    sums = "\n".join(f"add s{k}, r{k}, {f's{k - 1}' if k else 'x'}" for k in range(17))
    program = syurmy.assemble(f".program many\n.input x : i8[] public\n.output s16 public\n{rows}\n{sums}\nhalt")
    with pytest.raises(InputError, match="17 tensors cross") as e:
        cut(program, [17])
    assert e.value.code == "I160"
