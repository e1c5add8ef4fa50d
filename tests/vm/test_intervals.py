"""Random programs on extreme inputs never leave their static intervals, so nothing can overflow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from syurmy.isa.arrays import I64
from syurmy.isa.errors import Trap, TypeRuleError
from syurmy.isa.inference import infer_types
from syurmy.isa.instruction import REGISTRY, AttrSpec, Call, Op
from syurmy.isa.program import Affine, Input, Instruction, Lut, Output, Param, Program, Ram
from syurmy.isa.types import DType, TensorType
from syurmy.vm import Executed, Trapped, run
from syurmy.vm.events import Event

PROGRAMS = 600
LENGTH = 12
SHAPES: list[tuple[int, ...]] = [(), (3,), (2, 3), (3, 2), (3, 3), (1, 3), (2, 1, 3), (1, 2, 4, 4), (2, 2, 2, 2)]
LUTS = (Lut("t8", DType.I8, DType.I16, -128, tuple(x * x - 9 for x in range(-128, 128))),)
RAMS = (Ram("m1", DType.I16, (3,)), Ram("m2", DType.I64, (2, 3)))
SPECS = ("ij,jk->ik", "ij->ji", "ij->", "i,i->i", "ij->i", "abij,abij->ab", "i,ij->j")
DTYPES = list(DType)


class Generator:
    """Grows a program one accepted instruction at a time: what ``infer`` refuses is drawn again."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.types: dict[str, TensorType] = {}
        self.code: list[Instruction] = []
        self.luts = {t.name: t for t in LUTS}
        self.rams = {r.name: r for r in RAMS}
        self.inputs = [Input(f"x{i}", self.type(), False) for i in range(4)]
        values = self.rng.integers(-(2**15), 2**15, self.pick([s for s in SHAPES if s]))
        bounds = TensorType(DType.I16, values.shape, int(values.min()), int(values.max()))
        self.param = Param("w", bounds, True)
        self.data = {"w": values.astype(np.int16)}
        self.types |= {i.name: i.type for i in self.inputs} | {"w": bounds}

    def pick(self, values: Sequence[Any]) -> Any:
        return values[int(self.rng.integers(len(values)))]

    def type(self) -> TensorType:
        dtype = self.pick(DTYPES)
        ends = [dtype.lo, dtype.hi, -1, 0, 1, 2, int(self.rng.integers(dtype.lo, dtype.hi))]
        lo, hi = sorted((self.pick(ends), self.pick(ends)))
        return TensorType(dtype, self.pick(SHAPES), lo, hi)

    def value(self, t: TensorType) -> I64:
        """Ends of the interval, values around zero, and anything between."""
        kind = self.rng.integers(0, 4, t.shape)
        near = np.clip(self.rng.integers(-2, 3, t.shape), t.lo, t.hi)
        between = self.rng.integers(t.lo, t.hi, t.shape, endpoint=True)
        return np.asarray(np.choose(kind, [np.full(t.shape, t.lo), np.full(t.shape, t.hi), near, between]))

    def program(self) -> Program:
        while len(self.code) < LENGTH:
            self.grow()
        straight = self.built([*self.code, Instruction("halt", None, ())])
        for _ in range(5):
            looped = self.built(self.with_loop())
            try:
                infer_types(looped)
            except TypeRuleError:
                continue
            return looped
        return straight

    def built(self, code: Sequence[Instruction]) -> Program:
        last = next((i.dst for i in reversed(code) if i.dst), None)
        outputs = (Output(last, True),) if last else ()
        return Program("random", tuple(self.inputs), (self.param,), LUTS, outputs, tuple(code), self.data, RAMS)

    def with_loop(self) -> list[Instruction]:
        start = int(self.rng.integers(LENGTH))
        end = int(self.rng.integers(start, LENGTH)) + 1
        head = Instruction("repeat", None, (), (("count", int(self.rng.integers(1, 4))), ("counter", "n")))
        body = [*(self.with_counter(ins) for ins in self.code[start:end]), Instruction("end", None, ())]
        return [*self.code[:start], head, *body, *self.code[end:], Instruction("halt", None, ())]

    def with_counter(self, ins: Instruction) -> Instruction:
        """``ins``, or a version that reads the counter ``n`` as an operand or in an affine attribute."""
        affine = {s.name for s in REGISTRY[ins.op].attributes if s.kind == "affine"}
        counter = Affine(0, (("n", 1),))
        attrs = tuple((k, counter if k in affine and self.rng.random() < 0.5 else v) for k, v in ins.attrs)
        src = tuple("n" if name != ins.dst and self.rng.random() < 0.1 else name for name in ins.src)
        return Instruction(ins.op, ins.dst, src, attrs)

    def grow(self) -> None:
        op = self.pick([o for o in REGISTRY.values() if not (o.control or o.branch)])
        for _ in range(20):
            names = [self.pick(list(self.types)) for _ in range(len(op.sources) + op.reads_dst)]
            if op.reads_dst and not names[0].startswith("r"):
                continue
            ins = Instruction(op.name, None, tuple(names), self.attributes(op, [self.types[n] for n in names]))
            try:
                new = op.infer(Call(ins, self.luts, rams=self.rams), [self.types[n] for n in names])
            except TypeRuleError:
                continue
            dst = names[0] if op.reads_dst else f"r{self.rng.integers(6)}" if op.has_dst else None
            self.code.append(Instruction(op.name, dst, ins.src, ins.attrs))
            if dst is not None:
                self.types[dst] = new
            return

    def attributes(self, op: Op, types: Sequence[TensorType]) -> tuple[tuple[str, Any], ...]:
        shape = types[0].shape if types else ()
        rank = len(shape)
        chosen = {}
        axes = tuple(sorted(self.rng.permutation(rank)[: self.rng.integers(rank + 1)].tolist()))
        for spec in op.attributes:
            if (spec.default is not None or spec.optional) and self.rng.random() < 0.5:
                continue
            chosen[spec.name] = self.attribute(op, spec, shape, axes)
        return tuple(sorted(chosen.items()))

    def attribute(self, op: Op, spec: AttrSpec, shape: tuple[int, ...], axes: tuple[int, ...]) -> Any:
        if spec.kind == "dtype":
            return self.pick(DTYPES)
        if spec.kind == "bool":
            return bool(self.rng.integers(2))
        if spec.kind == "lut":
            return self.pick(LUTS).name
        if spec.kind == "str":
            return self.pick(SPECS)
        if spec.kind == "ram":
            return self.pick(RAMS).name
        if spec.kind == "ints":
            if spec.name in ("axes", "axis"):
                return axes
            if spec.name in ("before", "after"):
                return tuple(self.rng.integers(0, 3, len(axes)).tolist())
            if spec.name == "perm":
                return tuple(self.rng.permutation(len(shape)).tolist())
            if spec.name == "shape":
                return (2, *shape) if op.name == "broadcast" else tuple(self.rng.permutation(shape).tolist())
            return tuple(self.rng.integers(1, 3, 2).tolist())
        if spec.name == "axis":
            return int(self.rng.integers(-len(shape), len(shape))) if shape else 0
        wide = [-(2**62), -(2**31), 2**31 - 1, 2**62]
        return (
            self.pick([*range(-2, 9), *wide]) if spec.name in ("value", "lo", "hi") else int(self.rng.integers(0, 12))
        )


@pytest.mark.slow
def test_random_programs_stay_inside_their_intervals() -> None:
    executed: Counter[str] = Counter()
    finished = loops = 0
    for seed in range(PROGRAMS):
        generator = Generator(seed)
        program = generator.program()
        loops += any(ins.op == "repeat" for ins in program.code)

        def count(event: Event, program: Program = program) -> None:
            if isinstance(event, Executed | Trapped):
                executed[program.code[event.index].op] += 1

        for _ in range(2):
            inputs = {i.name: generator.value(i.type) for i in program.inputs}
            try:
                run(program, inputs, listeners=[count], check_intervals=True)
                finished += 1
            except Trap:
                pass
            except (AssertionError, RuntimeWarning) as e:
                raise AssertionError(f"seed {seed}: {e}\n{program.code}") from e
    unseen = {name for name, op in REGISTRY.items() if not (op.control or op.branch)} - set(executed)
    assert not unseen, f"never executed: {unseen}"
    assert finished > PROGRAMS // 4
    assert loops > PROGRAMS // 4
