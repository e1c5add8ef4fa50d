"""Random well-typed programs over the whole registry."""

import numpy as np
from hypothesis import strategies as st

import syurmy.isa.ops  # noqa: F401
from syurmy.assembler import with_bounds
from syurmy.isa.errors import SyurmyError
from syurmy.isa.instruction import REGISTRY
from syurmy.isa.program import Affine, Input, Instruction, Lut, Output, Param, Program, Ram
from syurmy.isa.types import DType, TensorType
from syurmy.isa.wellformed import problems

SHAPES = [(), (2,), (2, 3), (3, 2), (1, 1, 4, 4), (2, 1, 3, 3)]
SPECS = ["ij,jk->ik", "ij,ij->i", "ij->ji", "ij,kj->ik", "i,i->"]
NARROW = [DType.I8, DType.I16, DType.I32]


@st.composite
def tensor_type(draw) -> TensorType:
    dtype, shape = draw(st.sampled_from(NARROW)), draw(st.sampled_from(SHAPES))
    if draw(st.booleans()):
        return TensorType.full(dtype, shape)
    lo = draw(st.integers(-100, 100))
    return TensorType(dtype, shape, lo, draw(st.integers(lo, 127)))


@st.composite
def attribute(draw, spec, counters):
    small = st.integers(-1, 4)
    match spec.kind:
        case "int":
            return draw(small | st.integers(-200, 200))
        case "ints":
            return tuple(draw(st.lists(small, min_size=0, max_size=3)))
        case "bool":
            return draw(st.booleans())
        case "dtype":
            return draw(st.sampled_from(DType))
        case "str":
            return draw(st.sampled_from(SPECS))
        case "lut":
            return draw(st.sampled_from(["f", "g"]))
        case "ram":
            return draw(st.sampled_from(["m", "x.rows"]))
        case "affine":
            constant = draw(small)
            terms = {c: draw(st.integers(-2, 2)) for c in counters if draw(st.booleans())}
            kept = tuple(sorted((c, k) for c, k in terms.items() if k))
            return Affine(constant, kept) if kept else constant
    raise AssertionError(f"no values for attributes of kind {spec.kind}")


@st.composite
def instruction(draw, known, counters):
    """A candidate, or None where there is nothing to write over."""
    ops = [o for o in REGISTRY.values() if not (o.control or o.branch)]
    op = draw(st.sampled_from(ops + 4 * [o for o in ops if o.indexed]))
    count = len(op.sources) + (draw(st.integers(0, 2)) if op.variadic else 0)
    src = tuple(draw(st.sampled_from(sorted(known))) for _ in range(count))
    registers = sorted(n for n in known if n.startswith("r"))
    dst = draw(st.sampled_from([*registers, f"r{len(registers)}"])) if op.has_dst else None
    if op.reads_dst:
        if not registers:
            return None
        dst = draw(st.sampled_from(registers))
        src = (dst, *src)
    attrs = {}
    for a in op.attributes:
        if (a.default is not None or a.optional) and draw(st.booleans()):
            continue
        value = draw(attribute(a, counters))
        if value != a.default:
            attrs[a.name] = value
    return Instruction(op.name, dst, src, tuple(sorted(attrs.items())))


@st.composite
def narrowing_loop(draw, kinds) -> list[Instruction]:
    """A loop after which r0, and r1 that is a step ahead of it, lie in less than they do in its first round."""
    source = draw(st.integers(0, len(kinds) - 1))
    lo = draw(st.integers(-9, 9))
    bounds = (("hi", draw(st.integers(lo, 300))), ("lo", lo))
    step = draw(st.sampled_from(["addi", "muli"]))
    return [
        Instruction("mov", "r0", (f"x{source}",)),
        Instruction("repeat", None, (), (("count", draw(st.integers(2, 3))),)),
        Instruction(step, "r1", ("r0",), (("value", draw(st.integers(1, 3))),)),
        Instruction("clamp", "r0", ("r1",), bounds),
        Instruction("cast", "r0", ("r0",), (("dtype", kinds[source].dtype),)),
        Instruction("end", None, ()),
    ]


@st.composite
def programs(draw, narrowing: bool = False) -> Program:
    """``narrowing``: the program begins with a loop that narrows registers, and one input can be wide."""
    kinds = draw(st.lists(tensor_type(), min_size=1, max_size=3))
    if narrowing:
        most = 2 ** draw(st.integers(8, 59))
        kinds.insert(0, TensorType(DType.I64, draw(st.sampled_from(SHAPES)), draw(st.sampled_from([1, -most])), most))
    inputs = tuple(Input(f"x{i}", t, draw(st.booleans())) for i, t in enumerate(kinds))
    params, data = [], {}
    for i, t in enumerate(draw(st.lists(tensor_type(), max_size=2))):
        values = draw(st.lists(st.integers(t.lo, t.hi), min_size=t.size, max_size=t.size))
        data[f"w{i}"] = np.array(values, dtype=np.int64).reshape(t.shape)
        params.append(Param(f"w{i}", t, draw(st.booleans())))
    f = tuple(draw(st.lists(st.integers(-128, 127), min_size=256, max_size=256)))
    lo = draw(st.integers(-5, 5))
    g = tuple(draw(st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1, max_size=9)))
    luts = (Lut("f", DType.I8, DType.I8, -128, f), Lut("g", DType.I16, DType.I16, lo, g))
    halt = Instruction("halt", None, ())
    inputs += (Input("bit", TensorType(DType.I8, (), 0, 1), False),)
    first = kinds[0]
    shape = first.shape or (2,)
    prelude = draw(narrowing_loop(kinds)) if narrowing else []
    rams = (Ram("m", DType.I16, (5,)), Ram("x.rows", first.dtype, shape, "x0" if first.shape else None))
    program = Program(
        draw(st.sampled_from(["p", "net.v2", "_a"])), inputs, tuple(params), luts, (), (halt,), data, rams
    )
    known = {i.name for i in inputs} | {p.name for p in params}
    code: list[Instruction] = []
    if prelude and well_typed(replace_code(program, [*prelude, halt])):
        code = prelude
        known |= {"r0", "r1"}
    counters: list[str] = []
    for _ in range(draw(st.integers(1, 10))):
        if len(counters) < 2 and draw(st.integers(0, 4)) == 0:
            name = draw(st.sampled_from(["t", "u", None]))
            if name is None or name not in counters:
                attrs = (("count", draw(st.integers(1, 4))), *([("counter", name)] if name else []))
                code.append(Instruction("repeat", None, (), attrs))
                counters.append(name)
        elif counters and draw(st.integers(0, 3)) == 0:
            code.append(Instruction("end", None, ()))
            counters.pop()
        ins = draw(instruction(known | {c for c in counters if c}, [c for c in counters if c]))
        if ins is None:
            continue
        ends = [Instruction("end", None, ())] * len(counters)
        if not well_typed(replace_code(program, [*code, ins, *ends, halt])):
            continue
        code.append(ins)
        known |= {ins.dst} if ins.dst else set()
    code += [Instruction("end", None, ())] * len(counters)
    written = sorted({i.dst for i in code if i.dst})
    outputs = tuple(Output(n, draw(st.booleans())) for n in written if draw(st.booleans()))
    final = replace_code(program, [*code, halt])
    straight = with_bounds(Program(final.name, inputs, final.params, luts, outputs, final.code, data, rams))
    return draw(jumping(straight))


@st.composite
def jumping(draw, program: Program) -> Program:
    """The program with jumps, or as it was if the drawn jumps make none."""
    for _ in range(draw(st.integers(0, 3))):
        code = list(program.code)
        at = draw(st.integers(0, len(code) - 1))
        op = draw(st.sampled_from(["bz", "bnz", "jmp", "call"]))
        target = draw(st.integers(at + 1 if op == "jmp" else 0, len(code)))
        src = ("bit",) if op in ("bz", "bnz") else ()
        code.insert(at, Instruction(op, None, src, (("target", target),)))
        if op == "call":
            code += [Instruction("mov", "called", ("bit",)), Instruction("ret", None, ())]
        for i, ins in enumerate(code):
            t = ins.get("target")
            if i != at and t is not None and t >= at:
                code[i] = Instruction(ins.op, None, ins.src, (("target", t + 1),))
        if op == "call":
            code[at] = Instruction(op, None, src, (("target", len(code) - 2),))
        candidate = replace_code(program, code)
        if next(problems(candidate), None) is not None:
            continue
        try:
            program = with_bounds(candidate)
        except SyurmyError:
            continue
    return program


def well_typed(p: Program) -> bool:
    try:
        with_bounds(p)
    except SyurmyError:
        return False
    return True


def replace_code(p: Program, code: list[Instruction]) -> Program:
    return Program(p.name, p.inputs, p.params, p.luts, p.outputs, tuple(code), p.data, p.rams)
