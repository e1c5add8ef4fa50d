"""The canonical binary form of a program and its digest, the program's identity.

    program = "syurmyP" version name inputs params luts rams outputs code
    uint    = LEB128, shortest form, < 2^64      sint = zigzag uint      list = uint count, items
    text    = uint length, UTF-8                 type = dtype shape:list(uint) lo:sint hi:sint
    visibility of an input or output = uint: 0 private, 1 public, 2 committed
    operand = 0 text, a declared name, or 1 + k: the register or loop counter that is the k-th to appear in the code

Values of public params and tables follow their declaration, little-endian in their dtype. The values of committed
params, source positions and the names of registers and counters that are no outputs are not part of it: renaming a
register leaves the program what it is. Integer attributes are coded by the kind that the registry states.
``decode`` accepts exactly the image of ``encode``: for every accepted b, ``encode(decode(b)) == b``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from blake3 import blake3

import syurmy.isa.ops  # noqa: F401  (fills the registry)
from syurmy.isa.arrays import Integers
from syurmy.isa.errors import InputError
from syurmy.isa.instruction import REGISTRY
from syurmy.isa.program import Affine, Attr, Input, Instruction, Lut, Output, Param, Program, Ram
from syurmy.isa.types import MAX_RANK, DType, TensorType
from syurmy.isa.wellformed import MAX_NAME, MAX_SIZE, MAX_TABLE, of_kind, problems

MAGIC = b"syurmyP"
VERSION = 2
MAX_ITEMS = 2**20
CONTEXT = "syurmy-vm 2026 program digest v1"

_DTYPES = tuple(DType)
T = TypeVar("T")


def encode(program: Program) -> bytes:
    """The canonical bytes. Raises ``InputError`` I120 for a program that no bytes stand for."""
    w = Writer(_declared(program))
    w.out += MAGIC
    w.uint(VERSION)
    w.text(program.name)
    w.uint(len(program.inputs))
    for i in program.inputs:
        w.text(i.name)
        w.type(i.type)
        w.visibility(i)
    w.uint(len(program.params))
    for p in program.params:
        w.text(p.name)
        w.type(p.type)
        w.flag(p.committed)
        w.uint(len(p.l1))
        for axes, bound in p.l1:
            w.uint(len(axes))
            for a in axes:
                w.uint(a)
            w.uint(bound)
        if not p.committed:
            if p.name not in program.data:
                raise InputError(f"public param '{p.name}' has no data", code="I120")
            w.array(np.asarray(program.data[p.name]), p.type.dtype)
    w.uint(len(program.luts))
    for t in program.luts:
        w.text(t.name)
        w.uint(_DTYPES.index(t.source))
        w.uint(_DTYPES.index(t.target))
        w.sint(t.lo)
        w.uint(len(t.array))
        w.array(t.array, t.target)
    w.uint(len(program.rams))
    for m in program.rams:
        w.text(m.name)
        w.uint(_DTYPES.index(m.dtype))
        w.uint(len(m.shape))
        for d in m.shape:
            w.uint(d)
        w.flag(m.init is not None)
        if m.init is not None:
            w.text(m.init)
    w.uint(len(program.outputs))
    for o in program.outputs:
        w.text(o.name)
        w.visibility(o)
    w.uint(len(program.code))
    for ins in program.code:
        w.instruction(ins)
    return bytes(w.out)


def decode(data: bytes) -> Program:
    """The program of these bytes; committed params have no values, registers and counters are named r0, r1, ... in the
    order of their appearance. Raises ``InputError`` on any other bytes:
    I121 not a program or another version, I122 malformed, I123 well-formed bytes of an ill-formed program."""
    r = Reader(data)
    if r.take(len(MAGIC)) != MAGIC:
        raise InputError("these bytes are not a program", code="I121")
    if (version := r.uint()) != VERSION:
        raise InputError(f"program format {version} is not supported, only {VERSION}", code="I121")
    name = r.text()
    values: dict[str, Integers] = {}

    def param() -> Param:
        p = Param(r.text(), r.type(), r.flag(), r.list(lambda: (tuple(r.list(r.uint, MAX_RANK)), r.uint()), 64))
        if not p.committed:
            values[p.name] = r.array(p.type.shape, p.type.dtype)
        return p

    def lut() -> Lut:
        text, source, target, lo = r.text(), r.dtype(), r.dtype(), r.sint()
        return Lut(text, source, target, lo, r.array((r.uint(MAX_TABLE),), target))

    def ram() -> Ram:
        text, dtype, shape = r.text(), r.dtype(), r.list(lambda: r.uint(MAX_SIZE), MAX_RANK)
        return Ram(text, dtype, shape, r.text() if r.flag() else None)

    declared = Program(
        name,
        inputs=r.list(lambda: Input(r.text(), r.type(), *r.visibility())),
        params=r.list(param),
        luts=r.list(lut),
        rams=r.list(ram),
        outputs=r.list(lambda: Output(r.text(), *r.visibility())),
        code=(),
        data=values,
    )
    r.declared = _declared(declared)
    program = replace(declared, code=r.list(r.instruction))
    if r.position != len(data):
        raise _malformed(f"{len(data) - r.position} bytes too many")
    problem = next(problems(program), None)
    if problem is not None:
        raise InputError(f"ill-formed program: {problem.message}", code="I123", help="assemble it again")
    return program


def digest(program: Program) -> bytes:
    """32 bytes: BLAKE3 of the encoding under a derivation context of its own."""
    return bytes(blake3(encode(program), derive_key_context=CONTEXT).digest())


def _declared(program: Program) -> frozenset[str]:
    """Names that the program's readers know, and that are part of it wherever they stand."""
    lists = program.inputs, program.params, program.luts, program.rams, program.outputs
    return frozenset(d.name for declarations in lists for d in declarations)


def _malformed(message: str) -> InputError:
    return InputError(f"malformed program: {message}", code="I122", help="the file is damaged; assemble it again")


class Writer:
    def __init__(self, declared: frozenset[str] = frozenset()) -> None:
        self.out = bytearray()
        self._declared = declared
        self._numbers: dict[str, int] = {}  # of registers and counters

    def uint(self, v: int) -> None:
        if not 0 <= v < 2**64:
            raise InputError(f"{v} does not fit the program format", code="I120")
        while v > 127:
            self.out.append(v & 127 | 128)
            v >>= 7
        self.out.append(v)

    def sint(self, v: int) -> None:
        self.uint(2 * v if v >= 0 else -2 * v - 1)

    def flag(self, v: bool) -> None:
        self.uint(int(v))

    def visibility(self, of: Input | Output) -> None:
        self.uint(2 if of.committed else int(of.public))

    def text(self, v: str) -> None:
        raw = v.encode()
        self.uint(len(raw))
        self.out += raw

    def _number(self, name: str) -> int:
        return 0 if name in self._declared else self._numbers.setdefault(name, 1 + len(self._numbers))

    def operand(self, name: str) -> None:
        self.uint(number := self._number(name))
        if number == 0:
            self.text(name)

    def type(self, t: TensorType) -> None:
        self.uint(_DTYPES.index(t.dtype))
        self.uint(len(t.shape))
        for d in t.shape:
            self.uint(d)
        self.sint(t.lo)
        self.sint(t.hi)

    def array(self, values: Integers, dtype: DType) -> None:
        if values.size and (int(values.min()) < dtype.lo or int(values.max()) > dtype.hi):
            raise InputError(f"values {values.min()}..{values.max()} leave {dtype}", code="I120")
        self.out += values.astype(f"<i{dtype.bits // 8}").tobytes()

    def instruction(self, ins: Instruction) -> None:
        op = REGISTRY.get(ins.op)
        if op is None:
            raise InputError(f"unknown instruction '{ins.op}'", code="I120")
        self.text(ins.op)
        self.flag(ins.dst is not None)
        if ins.dst is not None:
            self.operand(ins.dst)
        self.uint(len(ins.src))
        for s in ins.src:
            self.operand(s)
        specs = {s.name: s for s in op.attributes}
        self.uint(len(ins.attrs))
        for name, value in ins.attrs:
            if name not in specs or not of_kind(specs[name], value):
                raise InputError(f"attribute {name} of {ins.op} cannot be {value!r}", code="I120")
            self.text(name)
            self.attribute(specs[name].kind, value)

    def attribute(self, kind: str, value: Any) -> None:
        match kind:
            case "int":
                self.sint(value)
            case "ints":
                self.uint(len(value))
                for v in value:
                    self.sint(v)
            case "label":
                self.uint(value)
            case "dtype":
                self.uint(_DTYPES.index(value))
            case "bool":
                self.flag(value)
            case "affine":
                a = value if isinstance(value, Affine) else Affine(value)
                self.sint(a.constant)
                self.uint(len(a.terms))
                for name, c in sorted(a.terms, key=lambda term: (self._number(term[0]), term[0])):
                    self.operand(name)
                    self.sint(c)
            case "name":
                self.operand(value)
            case _:
                self.text(value)


class Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0
        self.declared: frozenset[str] = frozenset()
        self._locals: list[str] = []  # registers and counters so far

    def take(self, n: int) -> bytes:
        if n > len(self._data) - self.position:
            raise _malformed("it ends too early")
        self.position += n
        return self._data[self.position - n : self.position]

    def uint(self, limit: int = 2**64 - 1) -> int:
        at = self.position
        if at < len(self._data) and (value := self._data[at]) < 128:  # as nearly all are
            self.position = at + 1
            if value > limit:
                raise _malformed(f"{value} is above the limit {limit}")
            return value
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
            if shift > 63:
                raise _malformed("a number is too long")
        if byte == 0 and shift > 7:
            raise _malformed("a number is not in its shortest form")
        if value > limit:
            raise _malformed(f"{value} is above the limit {limit}")
        return value

    def sint(self) -> int:
        v = self.uint()
        return -(v + 1) // 2 if v & 1 else v // 2

    def flag(self) -> bool:
        return self.uint(1) == 1

    def visibility(self) -> tuple[bool, bool]:
        """Is it public, is it committed?"""
        code = self.uint(2)
        return code == 1, code == 2

    def list(self, item: Callable[[], T], limit: int = MAX_ITEMS) -> tuple[T, ...]:
        return tuple(item() for _ in range(self.uint(limit)))

    def text(self) -> str:
        raw = self.take(self.uint(4 * MAX_NAME))
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise _malformed("a name is not UTF-8") from None

    def operand(self) -> str:
        return self._numbered()[1]

    def _numbered(self) -> tuple[int, str]:
        number = self.uint()
        if number == 0:
            name = self.text()
            if name not in self.declared:
                raise InputError(f"ill-formed program: unknown name '{name[:40]}'", code="I123")
            return 0, name
        if number > 1 + len(self._locals):
            raise _malformed("registers are not numbered in the order of their appearance")
        if number == 1 + len(self._locals):
            name = f"r{len(self._locals)}"
            while name in self.declared:
                name += "_"
            self._locals.append(name)
        return number, self._locals[number - 1]

    def dtype(self) -> DType:
        return _DTYPES[self.uint(len(_DTYPES) - 1)]

    def type(self) -> TensorType:
        return TensorType(self.dtype(), self.list(lambda: self.uint(MAX_SIZE), MAX_RANK), self.sint(), self.sint())

    def array(self, shape: tuple[int, ...], dtype: DType) -> Integers:
        size = 1
        for d in shape:  # a product of lengths below 2^31, stopped before it grows large
            size *= d
            if size > MAX_SIZE:
                raise _malformed("a tensor is too large")
        raw = self.take(size * dtype.bits // 8)
        return np.frombuffer(raw, dtype=f"<i{dtype.bits // 8}").reshape(shape)

    def instruction(self) -> Instruction:
        op = self.text()
        if op not in REGISTRY:
            raise InputError(f"ill-formed program: unknown instruction '{op[:40]}'", code="I123")
        dst = self.operand() if self.flag() else None
        src = self.list(self.operand)
        kinds = {s.name: s.kind for s in REGISTRY[op].attributes}

        def attribute() -> tuple[str, Attr]:
            name = self.text()
            if name not in kinds:
                raise InputError(f"ill-formed program: {op} has no attribute '{name[:40]}'", code="I123")
            return name, self.attribute(kinds[name])

        return Instruction(op, dst, src, self.list(attribute, len(kinds)))

    def attribute(self, kind: str) -> Attr:
        match kind:
            case "int":
                return self.sint()
            case "ints":
                return self.list(self.sint, 64)
            case "label":
                return self.uint()
            case "dtype":
                return self.dtype()
            case "bool":
                return self.flag()
            case "affine":
                constant, terms = self.sint(), self.list(lambda: (self._numbered(), self.sint()), 64)
                if [n for n, _ in terms] != sorted({n for n, _ in terms}):
                    raise _malformed("counters of an expression are not sorted and distinct")
                return Affine(constant, tuple(sorted((name, c) for (_, name), c in terms))) if terms else constant
            case "name":
                return self.operand()
            case _:
                return self.text()
