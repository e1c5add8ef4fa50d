"""Families of keys and paths that ask for ever more work; ``measure`` says what answering the largest of each takes.

``python -m tests.fuzz.growth [FAMILY ...]`` makes the member of every family whose key has at most a megabyte (or the
largest that makes sense), hands key and path to a verifier in a process of its own, and prints the processor time
and memory of the answer. ``FAMILY:N`` takes the member of size N. Goal: at most 10 s and 2 GB, or ten times what an
honest prover works on the same program, whichever is more. With ``--check`` a family that misses it is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from syurmy.isa.path import Path
from syurmy.isa.program import Affine, Attr, Input, Instruction, Lut, Output, Param, Program, Ram
from syurmy.isa.types import DType, TensorType

Member = tuple[Program, Path]
FAMILIES: dict[str, tuple[Callable[[int], Member], int]] = {}  # with the largest size that makes sense

X = Input("x", TensorType.full(DType.I8, ()), False)
V = Input("v", TensorType.full(DType.I8, (1,)), False)
W = Input("w", TensorType(DType.I8, (1,), 0, 0), False)
I = Input("i", TensorType(DType.I32, (), 0, 1), False)  # noqa: E741
HALT = Instruction("halt", None, ())
END = Instruction("end", None, ())


def op(name: str, dst: str | None, *src: str, **attrs: Attr) -> Instruction:
    return Instruction(name, dst, src, tuple(sorted(attrs.items())))


def repeat(count: int, body: Sequence[Instruction], counter: str | None = None) -> list[Instruction]:
    named: dict[str, Attr] = {} if counter is None else {"counter": counter}
    return [op("repeat", None, count=count, **named), *body, END]


def program(
    code: Sequence[Instruction],
    *,
    inputs: Sequence[Input] = (X, V, W, I),
    params: Sequence[Param] = (),
    luts: Sequence[Lut] = (),
    outputs: Sequence[str] = (),
    rams: Sequence[Ram] = (),
    path: Path = Path(),
    public: bool = False,
) -> Member:
    """``path``: with a batch of more inputs than one can run, the largest that the step limit allows is meant."""
    data = {p.name: np.zeros(p.type.shape, np.int64) for p in params if not p.committed}
    out = tuple(Output(name, public) for name in outputs)
    last = () if code and code[-1].op in ("halt", "ret") else (HALT,)
    return (
        Program("stranger", tuple(inputs), tuple(params), tuple(luts), out, (*code, *last), data, tuple(rams)),
        path,
    )


def family(largest: int = 2**20) -> Callable[[Callable[[int], Member]], Callable[[int], Member]]:
    def add(make: Callable[[int], Member]) -> Callable[[int], Member]:
        FAMILIES[make.__name__] = make, largest
        return make

    return add


# ---- views -----------------------------------------------------------------------------------------------------------


def view(name: str, length: int, part: str = "v") -> list[Instruction]:
    """A register that holds a view: a long vector of which one position was replaced."""
    return [op("broadcast", name, part, shape=(length,)), op("put", name, name, part)]


@family(2**22)
def a_view_read_in_rounds(n: int, rounds: int = 300_000) -> Member:
    """One view of n positions, read by every round of a long loop."""
    return program([*view("y", n), *repeat(rounds, [op("slice", "s", "y", axis=0, len=1)])])


@family(2**22)
def views_that_change_places(n: int, rounds: int = 150_000) -> Member:
    """Two views of n positions, read in turn by every round."""
    body = [op("mov", "c", "a"), op("mov", "a", "b"), op("mov", "b", "c"), op("slice", "s", "a", axis=0, len=1)]
    return program([*view("a", n), *view("b", n, "w"), *repeat(rounds, body)])


@family(2**22)
def equal_views_that_change_places(n: int, rounds: int = 150_000) -> Member:
    """Views that are equal and not the same object are compared."""
    code = [*view("a", n), op("mov", "b", "a"), op("put", "a", "a", "v"), op("put", "b", "b", "v")]
    body = [op("mov", "c", "a"), op("mov", "a", "b"), op("mov", "b", "c"), op("slice", "s", "a", axis=0, len=1)]
    return program([*code, *repeat(rounds, body)])


@family()
def views_read_by_many(n: int, length: int = 2**22) -> Member:
    """n instructions that read one of two equal views in either of two rounds."""
    code = [*view("a", length), op("mov", "b", "a"), op("put", "a", "a", "v"), op("put", "b", "b", "v")]
    body = [*(op("slice", "s", "a", axis=0, len=1) for _ in range(n)), op("mov", "a", "b")]
    return program([*code, *repeat(2, body)])


@family(2**22)
def a_view_and_a_write_in_turn(n: int, rounds: int = 150_000) -> Member:
    """Reads that see a view and a value of its own in turn."""
    code = [*view("a", n), op("broadcast", "b", "v", shape=(n,))]
    body = [op("mov", "c", "a"), op("mov", "a", "b"), op("mov", "b", "c"), op("slice", "s", "a", axis=0, len=1)]
    return program([*code, *repeat(rounds, body)])


@family(2**18)
def puts_in_rounds(n: int) -> Member:
    body = [op("put", "y", "y", "v", at=Affine(0, (("t", 1),)))]
    return program([op("broadcast", "y", "v", shape=(n,)), *repeat(n, body, "t")])


@family(60_000)
def puts_that_are_read(n: int, length: int = 2**16) -> Member:
    """Every round makes a view and reads it twice."""
    part = op("slice", "s", "y", axis=0, start=Affine(1, (("t", 1),)), len=1)
    body = [op("put", "y", "y", "v", at=Affine(0, (("t", 1),))), part, op("add", "q", "s", "s")]
    return program([op("broadcast", "y", "v", shape=(length,)), *repeat(min(n, length - 2), body, "t")])


@family(2**14)
def vectors_that_are_padded(n: int, length: int = 2**20) -> Member:
    code = []
    for k in range(n):
        code += [op("pad", "y", "v", axis=(0,), before=(length + k,), after=(3,)), op("sum", "z", "y", axes=(0,))]
        code += [op("relu", "z", "z")]
    return program(code)


@family()
def axes_that_change_places(n: int) -> Member:
    a = Input("a", TensorType.full(DType.I8, (2,) * 8), False)
    turn = op("transpose", "y", "y", perm=(*range(1, 8), 0))
    return program([op("mov", "y", "a"), *[turn] * n, op("relu", "y", "y")], inputs=(a,))


@family()
def shapes_that_change(n: int) -> Member:
    a = Input("a", TensorType.full(DType.I8, (6, 10, 15)), False)
    there = [op("reshape", "y", "y", shape=(4, 9, 25)), op("transpose", "y", "y", perm=(2, 0, 1))]
    back = [op("reshape", "y", "y", shape=(6, 10, 15)), op("transpose", "y", "y", perm=(2, 1, 0))]
    again = [*there, *back, op("reshape", "y", "y", shape=(6, 10, 15))]
    return program([op("mov", "y", "a"), *again * n, op("relu", "y", "y")], inputs=(a,))


@family()
def selects_in_a_row(n: int) -> Member:
    a = Input("a", TensorType(DType.I8, (256,), 0, 1), False)
    return program([op("mov", "y", "a"), *[op("select", "y", "a", "y", "a")] * n], inputs=(a,))


@family(400)
def derived_rounds_with_views(n: int) -> Member:
    """Inner loops that read a view and are derived anew in every round of an outer one that is not."""
    inner = repeat(2000, [op("slice", "s", "y", axis=0, len=1)])
    outer = repeat(n, [*inner, op("put", "z", "z", "v")])
    return program([*view("y", 2), *view("z", 2), *outer])


@family(249_000)
def views_of_a_batch(n: int) -> Member:
    return program([*view("y", 2), op("slice", "s", "y", axis=0, len=1)], path=Path(n))


# ---- batches ---------------------------------------------------------------------------------------------------------


@family()
def a_batch_that_jumps_over_code(n: int, batch: int = 300_000) -> Member:
    """Two steps an input, in a program of n instructions; a ``put`` that is not reached keeps inputs from repeating."""
    code = [op("jmp", None, target=n + 1), op("put", "v0", "v0", "v"), *[op("mov", "y", "x")] * (n - 1)]
    return program([op("mov", "v0", "v"), *code], path=Path(batch))


@family()
def a_batch_that_branches_over_code(n: int, batch: int = 300_000) -> Member:
    code = [op("bz", None, "b", target=n + 1), *[op("mov", "y", "x")] * n]
    b = Input("b", TensorType(DType.I8, (), 0, 1), True)
    return program(code, inputs=(X, b), path=Path(batch, {0: [0] * batch}))


@family()
def a_batch_of_outputs(n: int) -> Member:
    names = [f"r{k}" for k in range(n)]
    return program([op("mov", r, "x") for r in names], outputs=names, path=Path(10**6 // (n + 1)))


@family()
def a_batch_of_named_inputs(n: int, batch: int = 500_000) -> Member:
    inputs = [Input(f"x{k}", X.type, False) for k in range(n)]
    return program([], inputs=inputs, outputs=[i.name for i in inputs], path=Path(batch))


@family()
def a_batch_of_named_inputs_that_branches(n: int, batch: int = 300_000) -> Member:
    inputs = [Input(f"x{k}", TensorType(DType.I8, (), 0, 1), False) for k in range(n)]
    code = [op("bz", None, "x0", target=1)]
    return program(code, inputs=inputs, outputs=[i.name for i in inputs], path=Path(batch, {0: [0] * batch}))


@family()
def a_batch_of_buffers(n: int) -> Member:
    rams = [Ram(f"m{k}", DType.I8, (2,)) for k in range(n)]
    code = [op("load", "y", "i", buffer=f"m{k}") for k in range(n)]
    return program(code, rams=rams, path=Path(10**6 // (n + 1)))


@family()
def a_batch_of_buffers_that_branches(n: int, batch: int = 300_000) -> Member:
    rams = [Ram(f"m{k}", DType.I8, (2,)) for k in range(n)]
    b = Input("b", TensorType(DType.I8, (), 0, 1), True)
    return program([op("bz", None, "b", target=1)], inputs=(b,), rams=rams, path=Path(batch, {0: [0] * batch}))


# ---- jumps, routines, blocks -----------------------------------------------------------------------------------------


@family()
def branches_far_ahead(n: int) -> Member:
    """n branches, each to a place of its own behind all of them."""
    code = [op("bz", None, "b", target=n + k) for k in range(n)] + [op("mov", "y", "b")] * n
    b = Input("b", TensorType(DType.I8, (), 0, 1), True)
    return program(code, inputs=(b,), path=Path(1, {k: [1] for k in range(n)}))


@family()
def branches_that_meet_with_registers(n: int) -> Member:
    code = [op("mov", f"r{k}", "b") for k in range(n)]
    code += [op("bz", None, "b", target=n + k + 1) for k in range(n)]
    b = Input("b", TensorType(DType.I8, (), 0, 1), True)
    return program(code, inputs=(b,), path=Path(1, {n + k: [1] for k in range(n)}))


@family()
def branches_back(n: int) -> Member:
    """Loops by jumps around one another, in which an interval grows."""
    code = [op("mov", "y", "x")]
    code += [ins for k in range(n) for ins in (op("add", "y", "y", "x"), op("cast", "y", "y", dtype=DType.I32))]
    code += [op("bz", None, "b", target=1 + k) for k in range(n)]
    b = Input("b", TensorType(DType.I8, (), 0, 1), True)
    return program(code, inputs=(X, b))


@family(200)
def branches_of_a_batch(n: int, branches: int = 2000) -> Member:
    """Every input takes all branches, the other side of each in turn."""
    b = Input("b", TensorType(DType.I8, (), 0, 1), True)
    code = [ins for k in range(branches) for ins in (op("bz", None, "b", target=2 * k + 2), op("mov", f"r{k}", "b"))]
    return program(code, inputs=(b,), path=Path(n, {2 * k: ([0, 1] * n)[:n] for k in range(branches)}))


@family(300_000)
def a_loop_by_branches(n: int) -> Member:
    code = [op("mov", "y", "b"), op("bz", None, "b", target=0)]
    b = Input("b", TensorType(DType.I8, (), 0, 1), True)
    return program(code, inputs=(b,), path=Path(1, {1: [0] * (n - 1) + [1]}))


@family()
def routines_called_in_a_row(n: int) -> Member:
    calls = [op("call", None, target=n + 1 + 2 * k) for k in range(n)]
    routines = [ins for _ in range(n) for ins in (op("mov", "y", "x"), op("ret", None))]
    return program([*calls, HALT, *routines])


@family(10**6)
def one_routine_called_in_rounds(n: int) -> Member:
    return program([*repeat(n // 4, [op("call", None, target=4)]), HALT, op("mov", "y", "x"), op("ret", None)])


@family(64)
def routines_with_registers(n: int) -> Member:
    """Chains of routines, entered with many registers."""
    many = [op("mov", f"r{k}", "x") for k in range(30_000)]
    at = len(many) + 2
    code = [*many, op("call", None, target=at), HALT]
    for k in range(n):
        code += [op("call", None, target=at + 2 * (k + 1)) if k + 1 < n else op("mov", "y", "x"), op("ret", None)]
    return program(code)


@family(64)
def nested_blocks(n: int) -> Member:
    code: list[Instruction] = [op("mov", "y", "x")]
    for k in range(n):
        code = repeat(2, [*code, op("mov", "z", "y")], f"c{k}")
    return program(code)


@family(64)
def counters_of_nested_blocks(n: int) -> Member:
    """A long loop inside as many blocks as may be nested: every step has all their counters."""
    code = repeat(300_000, [op("mov", "y", "t")], "t")
    for k in range(n - 1):
        code = repeat(1, code, f"c{k}")
    return program(code)


@family()
def blocks_in_a_row(n: int) -> Member:
    body = [ins for k in range(n) for ins in repeat(5, [op("mov", f"r{k % 7}", "x")])]
    return program(repeat(7, body))


@family(10**6)
def a_loop_that_is_derived(n: int) -> Member:
    return program(repeat(n // 4, [op("add", "y", "x", "x"), op("relu", "y", "y")]))


@family(10**6)
def a_loop_with_many_operands(n: int, rounds: int = 300_000) -> Member:
    names = ["v"] * n
    return program(repeat(rounds, [op("concat", "y", *names)]))


@family()
def blocks_that_jump_over_code(n: int, rounds: int = 60_000) -> Member:
    """Short rounds in a long block that is entered again and again, by an outer block that is followed."""
    inner = repeat(5, [op("jmp", None, target=n + 3), *[op("mov", "y", "x")] * n])
    return program([op("mov", "z", "v"), *repeat(rounds, [*inner, op("put", "z", "z", "v")])])


@family(10**6)
def operands_in_growing_loops(n: int) -> Member:
    """Long lists of operands in blocks whose types do not come to rest soon."""
    body = [op("concat", "y", *["z"] * n), op("slice", "s", "y", axis=0, len=1), op("add", "z", "s", "v")]
    return program([op("add", "z", "v", "v"), *repeat(200_000, body)])


@family(10**6)
def an_operand_list(n: int) -> Member:
    return program([op("concat", "y", *["v"] * n)])


@family(50_000)
def a_loop_that_is_followed(n: int) -> Member:
    """Registers are passed on through so many moves that no round repeats the one before."""
    names = [f"r{k}" for k in range(20)]
    code = [op("add", r, "x", "x") for r in names]
    body = [op("add", "q", names[0], "x"), op("cast", "q", "q", dtype=DType.I16), op("clamp", "q", "q", lo=0, hi=9)]
    body = [op("sign", "q", names[0]), *(op("mov", a, b) for a, b in pairwise(names))]
    return program([*code, *repeat(n, [*body, op("mov", names[-1], "q")])])


@family(10**6)
def registers_and_blocks(n: int) -> Member:
    """Every block is entered with many registers."""
    many = [op("mov", f"r{k}", "x") for k in range(n)]
    return program([*many, *(ins for _ in range(n) for ins in repeat(2, [op("mov", "y", "x")]))])


# ---- declarations ----------------------------------------------------------------------------------------------------


@family()
def straight_code(n: int) -> Member:
    return program([op("add", f"r{k}", "x", "x") for k in range(n)])


@family()
def lookups(n: int) -> Member:
    return program([op("relu", f"r{k}", "x") for k in range(n)])


@family()
def a_long_chain(n: int) -> Member:
    return program([op("mov", "y", "x"), *[op("sign", "y", "y")] * n])


@family()
def a_linear_chain(n: int) -> Member:
    return program([op("mov", "y", "v"), *[op("flip", "y", "y", axis=0), op("neg", "y", "y")] * n])


@family()
def products(n: int) -> Member:
    return program([op("mul", f"r{k}", "x", "x") for k in range(n)])


@family()
def quotients(n: int) -> Member:
    d = Input("d", TensorType(DType.I32, (), 1, 2**30), False)
    return program([op("div", f"r{k}", "x", "d") for k in range(n)], inputs=(X, d))


@family()
def private_inputs(n: int) -> Member:
    inputs = [Input(f"x{k}", X.type, False) for k in range(n)]
    return program([op("mov", "y", "x0")], inputs=inputs)


@family()
def public_inputs(n: int) -> Member:
    inputs = [Input(f"x{k}", X.type, True) for k in range(n)]
    return program([op("add", "y", "y" if k else "x0", i.name) for k, i in enumerate(inputs)], inputs=inputs)


@family()
def committed_params(n: int) -> Member:
    params = [Param(f"p{k}", X.type, True) for k in range(n)]
    return program([op("add", "y", p.name, "x") for p in params], params=params)


@family()
def committed_params_in_products(n: int) -> Member:
    params = [Param(f"p{k}", TensorType.full(DType.I8, (3,)), True) for k in range(n)]
    a = Input("a", TensorType.full(DType.I8, (3,)), False)
    return program([op("dot", "y", p.name, "a") for p in params], inputs=(a,), params=params)


@family()
def large_committed_params(n: int) -> Member:
    params = [Param(f"p{k}", TensorType.full(DType.I8, (2**31 - 1,)), True) for k in range(n)]
    return program([], params=params)


@family()
def public_params(n: int) -> Member:
    params = [Param(f"p{k}", X.type, False) for k in range(n)]
    return program([op("add", "y", p.name, "x") for p in params], params=params)


@family()
def outputs(n: int) -> Member:
    names = [f"r{k}" for k in range(n)]
    return program([op("mov", r, "x") for r in names], outputs=names, public=True)


@family()
def buffers(n: int) -> Member:
    rams = [Ram(f"m{k}", DType.I8, (2,)) for k in range(n)]
    return program([op("load", "y", "i", buffer=f"m{k}") for k in range(n)], rams=rams)


@family()
def buffers_with_contents(n: int) -> Member:
    inputs = [I, *(Input(f"x{k}", TensorType.full(DType.I8, (2,)), False) for k in range(n))]
    rams = [Ram(f"m{k}", DType.I8, (2,), f"x{n - 1 - k}") for k in range(n)]
    return program([op("load", "y", "i", buffer=f"m{k}") for k in range(n)], inputs=inputs, rams=rams)


@family(20)
def a_wide_buffer(n: int) -> Member:
    return program([op("load", "y", "i", buffer="m")], rams=[Ram("m", DType.I8, (2**n, 128))])


@family(200_000)
def accesses_in_rounds(n: int) -> Member:
    return program(repeat(n, [op("load", "y", "i", buffer="m")]), rams=[Ram("m", DType.I8, (4, 4))])


@family()
def accesses_in_a_row(n: int) -> Member:
    return program([op("load", "y", "i", buffer="m")] * n, rams=[Ram("m", DType.I8, (4,))])


@family()
def tables(n: int) -> Member:
    luts = [Lut(f"t{k}", DType.I8, DType.I8, -128, (k % 100, *[0] * 255)) for k in range(n)]
    return program([op("lut", "y", "x", table=t.name) for t in luts], luts=luts)


@family()
def tables_of_one_row(n: int) -> Member:
    luts = [Lut(f"t{k}", DType.I8, DType.I8, 0, (k % 100,)) for k in range(n)]
    z = Input("z", TensorType(DType.I8, (), 0, 0), False)
    return program([op("lut", "y", "z", table=t.name) for t in luts], inputs=(z,), luts=luts)


@family()
def names(n: int) -> Member:
    return program([op("mov", f"r{k}", f"r{k - 1}" if k else "x") for k in range(n)])


@family()
def conditions(n: int) -> Member:
    return program([op("reveal", None, "x"), op("gt", "c", "x", "x"), op("assert", None, "c")] * n)


# ---- shapes ----------------------------------------------------------------------------------------------------------


def wide(n: int) -> Input:
    return Input("a", TensorType.full(DType.I8, (2 ** (n // 2), 2 ** (n - n // 2))), False)


def _shape(name: str, *code: Instruction) -> None:
    def make(n: int) -> Member:
        return program(code, inputs=(wide(n), X, I))

    FAMILIES[f"a_large_{name}"] = make, 28


for _op in ("relu", "neg", "sort", "argsort", "abs"):
    _shape(_op, op(_op, "y", "a"))
_shape("product", op("mul", "y", "a", "a"))
_shape("square", op("transpose", "b", "a", perm=(1, 0)), op("matmul", "y", "a", "b"))
_shape("flip", op("flip", "y", "a", axis=0), op("relu", "y", "y"))
_shape("sum", op("sum", "y", "a", axes=(0, 1)), op("sign", "y", "y"))
_shape("maximum", op("reduce_max", "y", "a", axis=0))
_shape("argmax", op("argmax", "y", "a", axis=1))
_shape("topk", op("topk", "y", "a", k=2))
_shape("window", op("reshape", "b", "a", shape=(1, -1)), op("im2col", "y", "a", kernel=(9, 9)), op("relu", "y", "y"))
_shape("row", op("slice", "b", "a", axis=0, len=1), op("gather", "y", "a", "i"))
_shape("pad", op("pad", "y", "a", axis=(0,), before=(1,), after=(1,)), op("relu", "y", "y"))


@family()
def flips_of_a_vector(n: int) -> Member:
    long = Input("a", TensorType.full(DType.I8, (2**16,)), False)
    code = [op("mov", "y", "a"), *[op("flip", "y", "y", axis=0)] * n, op("sum", "s", "y", axes=(0,))]
    return program([*code, op("sign", "s", "s")], inputs=(long,))


@family()
def slices_of_a_vector(n: int) -> Member:
    long = Input("a", TensorType.full(DType.I8, (2**20,)), False)
    return program([op("slice", "y", "a", axis=0, start=k + 1, len=1) for k in range(n)], inputs=(long,))


@family()
def broadcasts_of_a_public_param(n: int) -> Member:
    p = Param("p", V.type, False)
    code = [ins for _ in range(n) for ins in (op("broadcast", "b", "p", shape=(2**20,)), op("relu", "y", "b"))]
    return program(code, params=(p,))


@family()
def sums_of_shifts(n: int) -> Member:
    a = Input("a", TensorType(DType.I8, (64,), 0, 1), False)
    code = [op("mov", "y", "a")]
    for k in range(n):
        s = 1 + k % 63
        code += [op("slice", "b", "a", axis=0, len=64 - s), op("pad", "b", "b", axis=(0,), before=(s,), after=(0,))]
        code += [op("add", "y", "y", "b")]
    return program([*code, op("mul", "z", "y", "a")], inputs=(a,))


if __name__ == "__main__":
    from tests.fuzz import measure

    measure.main()
