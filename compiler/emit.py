"""Instructions as they are emitted: typed at once by the instruction set's own rules, executed at once on the samples.

A ``Tensor`` is a register (or input, or param) of the program that stands for real numbers, ``real = scale * integer``,
zero point 0. Its static type (with the interval that the proof enforces) and its integers on every calibration sample
are known when it is made: numeric decisions need no second pass, and what is measured is the program's own arithmetic.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import syurmy.isa.ops  # noqa: F401  (fills the registry)
from syurmy.assembler.disassembler import instruction_text
from syurmy.compiler.errors import Unsupported
from syurmy.compiler.kept import GONE, Kept, Store
from syurmy.compiler.saturation import OUTSIDE, RANGE, End
from syurmy.compiler.stepping import Stepped
from syurmy.compiler.undecided import Decision, off, units_of
from syurmy.isa.arrays import F64, I64, Array
from syurmy.isa.errors import Trap, TypeRuleError
from syurmy.isa.instruction import REGISTRY, Call, L1Bounds
from syurmy.isa.program import Attr, Instruction, Lut, visibility
from syurmy.isa.types import MAX_RANK, DType, TensorType, smallest_dtype
from syurmy.isa.wellformed import MAX_NAME, MAX_TABLE, RESERVED, l1_bound

BOUNDED = 8  # what is bounded is so much less off than the bound, where rounding is known
LONGEST = MAX_NAME - 40  # with what makes it unique
MAX_LABEL = 60
STACKED, MOST_STACKED = {"matmul", "conv2d"}, 2**22  # entries of an operand that are worth stacking
HEADER = "Compiled from an ONNX model. real = scale * integer for every register; scales stand in the comments."


class Constant(Sequence[I64]):
    """The integers of a param on all samples: one array, in 64 bits where somebody asks for them."""

    def __init__(self, narrow: Array, count: int, like: Constant | None = None) -> None:
        self.narrow = narrow
        self._count = count
        self._wide: list[I64] = [] if like is None else like._wide

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, k: Any) -> Any:
        if not self._wide:
            self._wide.append(self.narrow.astype(np.int64))
        return self._wide[0] if k in range(-self._count, self._count) else ([self._wide[0]] * self._count)[k]


@dataclass(frozen=True, eq=False)
class Tensor:
    """``values[k]`` are the integers on sample k (int64, of the type's shape)."""

    name: str
    type: TensorType
    scale: float
    values: Sequence[I64] = field(repr=False)

    def of(self, k: int, narrow: bool) -> I64:
        """The integers on sample k, a constant's in its own dtype where ``narrow``."""
        return self.values.narrow if narrow and isinstance(self.values, Constant) else self.values[k]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape

    @property
    def bound(self) -> int:
        """The largest magnitude that the proof admits."""
        return max(-self.type.lo, self.type.hi)

    @property
    def peak(self) -> int:
        """The largest magnitude on the samples."""
        if isinstance(self.values, Constant):
            return self.bound
        return max((int(np.abs(v).max()) for v in self.values if v.size), default=0)

    def scaled(self, scale: float) -> Tensor:
        """The same integers, standing for other reals."""
        return replace(self, scale=scale)

    @property
    def bare(self) -> Tensor:
        """Without what it was on the samples."""
        return replace(self, values=GONE)


class _L1(L1Bounds):
    def __init__(self, data: Mapping[str, Array]) -> None:
        self._data = data
        self._known: dict[tuple[str, tuple[int, ...]], int] = {}

    def __call__(self, name: str, axes: tuple[int, ...]) -> int | None:
        if name not in self._data:
            return None
        if (name, axes) not in self._known:
            self._known[name, axes] = l1_bound(self._data[name], axes)
        return self._known[name, axes]


class Emitter:
    """Collects declarations and instructions. ``samples``: how many calibration samples every tensor carries;
    ``commit_inputs``, ``commit_outputs``: the model's names of those that are declared committed; ``store``: where
    integers on samples are; ``narrow``: see ``Options.narrow_weights``."""

    def __init__(
        self,
        name: str,
        samples: int,
        committed: bool = True,
        commit_inputs: Sequence[str] = (),
        commit_outputs: Sequence[str] = (),
        store: Store | None = None,
        narrow: bool = False,
    ) -> None:
        self.narrow = narrow
        self.store = store or Store()
        self.commit_inputs, self.commit_outputs = frozenset(commit_inputs), frozenset(commit_outputs)
        self.name = identifier(name)
        if self.name in RESERVED:  # a graph called true
            self.name += "_"
        self.samples = samples
        self.committed = committed
        self.prefix = "t"
        self.inputs: list[str] = []
        self.params: dict[str, Array] = {}
        self.luts: dict[str, Lut] = {}
        self.outputs: list[str] = []
        self.code: list[Instruction] = []
        self.comments: dict[int, list[str]] = {}  # before instruction i
        self.scales: dict[int, float] = {}
        self.ends: dict[int, End] = {}  # where values beyond the samples are cut off
        self.cut: set[int] = set()  # where values of the samples are
        self.wraps: dict[tuple[str, str], None] = {}  # nodes (and operators) whose int32 wrap where onnxruntime's end
        self.node = ("", "")  # of the float model that is being lowered: its name and operator
        self.open: set[str] = set()  # params that are public whatever the others are
        self.decisions: list[Decision] = []  # where reals are told apart
        self.steps: list[Stepped] = []  # where reals become integers of the model
        self.rests: dict[str, list[float]] = {}  # what rounding took from entries of small params and tables
        self.near = 0  # decisions on the samples by less than the program is off
        self._names: set[str] = set()
        self._shared: dict[tuple[Any, ...], Tensor] = {}
        self._l1 = _L1(self.params)
        self._rounds: dict[str, int] = {}  # of the open block: its counter and how often it runs
        self.types: dict[str, TensorType] = {}  # of the last write to every register

    # ---- declarations --------------------------------------------------------------------------------------------

    def fresh(self, label: str) -> str:
        """A name that is not taken, close to ``label``."""
        base = identifier(label)
        name, k = base, 2
        while name in self._names or name in RESERVED or name in REGISTRY:
            name, k = f"{base}_{k}", k + 1
        self._names.add(name)
        return name

    def input(self, label: str, t: TensorType, scale: float, values: Iterable[I64], public: bool = False) -> Tensor:
        name = self.fresh(label)
        within = "" if t.interval == (t.dtype.lo, t.dtype.hi) else f" in {t.lo}..{t.hi}"
        seen = visibility(public, label in self.commit_inputs)
        self.inputs.append(f".input   {name} : {t} {seen}{within} ; scale {scale:.9g}")
        return Tensor(name, t, scale, Kept(self.store, values))

    def param(self, values: Array, scale: float = 1.0, label: str = "c") -> Tensor:
        """A constant tensor of integers (whole reals) in the narrowest dtype; equal ones are declared once."""
        lo, hi = (int(values.min()), int(values.max())) if values.size else (0, 0)
        dtype = smallest_dtype(lo, hi)
        if not values.size or dtype is None:
            raise Unsupported(f"a constant of shape {list(values.shape)} in [{lo}, {hi}]", "1 or more entries in i64")
        array = np.array(values, f"<i{dtype.bits // 8}", order="C")
        key = ("param", array.dtype.str, array.shape, hashlib.blake2b(array.data, digest_size=32).digest())
        if key not in self._shared:
            name = self.fresh(label)
            self.params[name] = array
            t = TensorType(dtype, array.shape, lo, hi)
            self._shared[key] = Tensor(name, t, 1.0, Constant(array, 1))
        made = self._shared[key]
        assert isinstance(made.values, Constant)
        return replace(made, scale=scale, values=Constant(array, self.samples, made.values))

    def lut(self, lo: int, values: I64, label: str) -> str:
        """A table on ``lo ..``; equal ones are declared once."""
        if not 1 <= len(values) <= MAX_TABLE:
            raise Unsupported(f"a table of {len(values)} rows", f"at most {MAX_TABLE}")
        source = smallest_dtype(lo, lo + len(values) - 1)
        target = smallest_dtype(int(values.min()), int(values.max()))
        assert source is not None
        assert target is not None
        for t in self.luts.values():
            if t.lo == lo and np.array_equal(t.array, values):
                return t.name
        name = self.fresh(label)
        self.luts[name] = Lut(name, source, target, lo, values)
        return name

    def check(self, x: Tensor) -> None:
        """What every run must make 1; it is on the samples."""
        if not all((v == 1).all() for v in x.values):
            raise ValueError("an assertion does not hold on the samples")
        self.code.append(Instruction("assert", None, (x.name,)))

    def output(self, label: str, x: Tensor, scale: str = "") -> Tensor:
        """``scale``: what to say of it instead of its scale."""
        name = self.fresh(label)
        out = self.op("mov", [x], x.scale, name)
        seen = visibility(True, label in self.commit_outputs)
        self.outputs.append(f".output  {name} {seen} ; scale {scale or f'{x.scale:.9g}'}")
        return out

    # ---- instructions --------------------------------------------------------------------------------------------

    def comment(self, text: str) -> None:
        clean = "".join(c if c.isprintable() else "?" for c in text)
        self.comments.setdefault(len(self.code), []).append(clean)

    def op(
        self,
        op: str,
        sources: Iterable[Tensor],
        scale: float,
        name: str | None = None,
        attrs: Mapping[str, Attr] | None = None,
    ) -> Tensor:
        """Emits one instruction; its result is a new register. Raises ``Unsupported`` where the typing rule refuses
        it, or where it traps on a sample."""
        given, operands = attrs or {}, list(sources)
        defaults = {s.name: s.default for s in REGISTRY[op].attributes}
        kept = tuple(sorted((k, v) for k, v in given.items() if v is not None and defaults.get(k) != v))
        dst = name or self.fresh(f"{self.prefix}.{op}")
        ins = Instruction(op, dst, tuple(t.name for t in operands), kept)
        call = Call(ins, self.luts, self._l1)
        rounds, narrow = self._rounds, call.op.narrow_params
        call.counter_ranges = dict(rounds)
        try:
            t = call.op.infer(call, [o.type for o in operands])
            values = self._together(call, operands) or Kept(
                self.store,
                (
                    self._executed(call, [o.of(k, narrow) for o in operands], {i: k % n for i, n in rounds.items()})
                    for k in range(self.samples)
                ),
            )
            if len(t.shape) > MAX_RANK:
                raise Unsupported(f"{op}: a tensor with {len(t.shape)} axes", f"{MAX_RANK} axes at most")
        except TypeRuleError as e:
            raise Unsupported(f"{op}: {e.message}", e.help) from e
        except Trap as e:
            raise Unsupported(f"{op} traps on a calibration sample: {e.message}") from e
        self.scales[len(self.code)] = scale
        self.code.append(ins)
        self.types[dst] = t
        return Tensor(dst, t, scale, values)

    def _together(self, call: Call, operands: Sequence[Tensor]) -> Kept | None:
        """A product with a constant, on many samples at once: what is known of the constant is computed once. None for
        what is no such product."""
        constant = [isinstance(o.values, Constant) for o in operands]
        if call.op.name not in STACKED or sum(constant) != 1:
            return None
        at = constant.index(False)
        x, w = operands[at], operands[1 - at]
        assert isinstance(w.values, Constant)
        joined = call.op.name == "conv2d"
        if (joined and (at or len(x.shape) != 4)) or (not joined and not 2 <= len(w.shape) <= len(x.shape)):
            return None
        many = max(1, MOST_STACKED // max(x.type.size, 1))  # samples
        found = Kept(self.store)
        for first in range(0, self.samples, many):
            part = [x.values[k] for k in range(first, min(first + many, self.samples))]
            stack = np.concatenate(part) if joined else np.stack(part)
            y = self._executed(call, [stack, w.values.narrow] if at == 0 else [w.values.narrow, stack], {})
            for k in range(len(part)):
                found.append(y[k * x.shape[0] : (k + 1) * x.shape[0]] if joined else y[k])
        return found

    @staticmethod
    def _executed(call: Call, operands: Sequence[I64], counters: Mapping[str, int]) -> I64:
        call.counters = counters
        return np.asarray(call.op.execute(call, operands), np.int64)

    @property
    def executions(self) -> int:
        """How often a run executes what is emitted now."""
        return math.prod(self._rounds.values())

    # ---- loops (see ``compiler.loops``) ----------------------------------------------------------------------------

    def begin(self, rounds: int, counter: str) -> None:
        """Opens a block; from here on every tensor has its integers on every sample and round."""
        if self._rounds:
            raise ValueError("blocks do not nest here")
        self.code.append(Instruction("repeat", None, (), (("count", rounds), ("counter", counter))))
        self._rounds = {counter: rounds}
        self.samples *= rounds

    def end(self) -> None:
        """Closes the block."""
        (rounds,) = self._rounds.values()
        self.code.append(Instruction("end", None, ()))
        self.samples //= rounds
        self._rounds = {}

    def rerun(
        self, first: int, rounds: int, counter: str, held: Mapping[str, Tensor], names: Sequence[str]
    ) -> dict[str, tuple[I64, ...]]:
        """The block from instruction ``first`` on the samples, from what registers ``held`` before it: the integers
        that ``names`` hold behind it."""
        body = self.code[first + 1 : -1]
        calls = [Call(ins, self.luts, self._l1) for ins in body]
        params = {name: x.astype(np.int64) for name, x in self.params.items()}
        found: dict[str, list[I64]] = {name: [] for name in names}
        for k in range(self.samples):
            registers = params | {name: x.values[k] for name, x in held.items()}
            for t in range(rounds):
                registers[counter] = np.array(t)
                for ins, call in zip(body, calls, strict=True):
                    assert ins.dst is not None
                    registers[ins.dst] = self._executed(call, [registers[i] for i in ins.src], {counter: t})
            for name in names:
                found[name].append(registers[name])
        return {name: tuple(values) for name, values in found.items()}

    def cuts_off(
        self,
        x: Tensor,
        source: Tensor,
        lo: int | None,
        hi: int | None,
        below: int | None = None,
        above: int | None = None,
        cause: str = RANGE,
    ) -> None:
        """Notes that the last instruction, which made ``x``, cuts off what lies beyond ``lo`` and ``hi``, and has no
        value for sources up to ``below`` and from ``above`` on. What it cuts off of the samples is in their range: then
        it is not told at run time. ``cause``: see ``compiler.saturation``."""
        least = min((int(s.min()) for s in source.values if s.size), default=0)
        most = max((int(s.max()) for s in source.values if s.size), default=0)
        below, above = (
            None if below is None or least <= below else below,
            None if above is None or most >= above else above,
        )
        if lo is None and hi is None and below is None and above is None:
            return
        index, ins = len(self.code) - 1, self.code[-1]
        end = End(index, lo, hi, below, above, cause)
        if any(end.cut(ins, s, v) for s, v in zip(source.values, x.values, strict=True)):
            self.cut.add(index)
        else:
            self.ends[index] = end

    def within(self, index: Tensor, length: int) -> None:
        """Notes that indices should be from 0 to ``length`` - 1, if they need not be and the last instruction made
        them; a run tells how many are not."""
        if self.code and self.code[-1].dst == index.name and not 0 <= index.type.lo <= index.type.hi < length:
            self.cuts_off(index, index, -1, length, cause=OUTSIDE)

    def rounds(self, name: str, rest: F64) -> None:
        """Notes what rounding took from the entries of a param or table, in its units; not what was cut off, nor where
        reals of several params are the same integers."""
        kept = np.round(np.where(np.abs(rest) <= 1, rest, 0.0), 4).tolist()
        if any(kept) or name in self.rests:
            self.rests[name] = kept if self.rests.get(name, kept) == kept else []

    def decides(
        self,
        kind: str,
        operands: Sequence[Tensor],
        reals: Sequence[Sequence[Array]],
        blur: float = 0.0,
        counts: bool = False,
        **what: Any,
    ) -> None:
        """Notes that the last instruction that reads the first of ``operands`` tells apart what they stand for, which
        is ``reals`` in the float model on the samples (``compiler.undecided``: ``kind``, and ``what`` further). It does
        not see them, but what is made of them in steps of ``2 blur`` units. ``counts``: samples that are near ask for a
        finer program."""
        error = 0.0
        for x, floats in zip(operands, reals, strict=True):
            if isinstance(x.values, Constant):
                error = max(error, min(off(x.values[0], floats[0], x.scale), 0.5))
            else:
                error = max(error, *(off(q, f, x.scale) for q, f in zip(x.values, floats, strict=True)))
        if error or blur:
            self._decides(kind, operands, units_of(error, blur), reals, counts, what)

    def decides_within(self, kind: str, x: Tensor, error: float, counts: bool = False, **what: Any) -> None:
        """The same of what is at most about ``error`` units off, usually far less."""
        if error:
            units = units_of(error)
            self._decides(kind, [x], units, None, counts, {**what, "rest": units // BOUNDED})

    def _decides(
        self,
        kind: str,
        operands: Sequence[Tensor],
        units: int,
        reals: Sequence[Sequence[Array]] | None,
        counts: bool,
        what: Mapping[str, Any],
    ) -> None:
        name = operands[0].name
        index = next((k for k in reversed(range(len(self.code))) if name in self.code[k].src), None)
        if index is None:
            return
        ins = self.code[index]
        node, op = self.node
        d = Decision(index, units, kind, node, op, ins.src.index(name), **what)
        swapped = kind == "pair" and d.at == 1
        ties = equal = 0
        seen = [] if reals is None else [x.values for x in operands]
        for k in range(len(seen[0]) if seen else 0):
            q, f = [x[k] for x in seen], [x[k] for x in reals or ()]
            found = d.gaps(ins, q[::-1] if swapped else q)
            real = [np.asarray(r, np.float64) / x.scale for r, x in zip(f, operands, strict=True)]
            real = [r.reshape(x.shape) if r.size == x.type.size else r for r, x in zip(real, operands, strict=True)]
            tie = found == 0
            ties += int(np.count_nonzero(tie))
            if tie.any():
                equal += int(np.count_nonzero(tie & (d.gaps(ins, real[::-1] if swapped else real) == 0)))
        d = replace(d, exact=what.get("exact", 0 < ties == equal))
        if counts:
            ours = zip(*(reversed(seen) if swapped else seen), strict=True) if seen else ()
            self.near += sum(d.near(ins, q) for q in ours)
        self.decisions.append(d)

    def scale_of(self, name: str) -> float:
        """Of the last instruction that wrote a register; 0 for what none did."""
        index = next((k for k in reversed(range(len(self.code))) if self.code[k].dst == name), None)
        return 0.0 if index is None else self.scales.get(index, 0.0)

    # ---- files ---------------------------------------------------------------------------------------------------

    def text(self, weights: str, tables: str) -> str:
        """The program's source. ``weights``: the safetensors file; ``tables``: the folder of the tables."""
        lines = [f"; {HEADER}", "", f".program {self.name}", "", *self.inputs]
        for name, x in self.params.items():
            visibility = "committed" if self.committed and name not in self.open else "public"
            dtype = DType(f"i{x.dtype.itemsize * 8}")
            lines.append(f'.param   {name} : {TensorType.full(dtype, x.shape)} {visibility} = "{weights}:{name}"')
        for t in self.luts.values():
            full = (t.lo, t.hi) == (t.source.lo, t.source.hi)
            within = "" if full else f" in {t.lo}..{t.hi}"
            lines.append(f'.lut     {t.name} : {t.source} -> {t.target}{within} = "{tables}/{t.name}.npy"')
        lines += self.outputs
        for i, ins in enumerate(self.code):
            if i in self.comments:
                lines += ["", *(f"; {c}" for c in self.comments[i])]
            scale = f" ; scale {self.scales[i]:.6g}" if i in self.scales else ""
            lines.append(f"    {instruction_text(ins):<76}{scale}".rstrip())
        return "\n".join([*lines, "", "    halt", ""])

    def close(self) -> None:
        """Lets go of params, which are written."""
        self.params.clear()
        self._shared.clear()

    def write(self, folder: Path, weights: str, tables: str) -> None:
        """``model.tasm``, the weights and the tables into ``folder``."""
        from safetensors.numpy import save_file

        (folder / tables).mkdir(exist_ok=True)
        save_file(self.params, str(folder / weights))
        for t in self.luts.values():
            np.save(folder / tables / f"{t.name}.npy", t.array.astype(f"<i{t.target.bits // 8}"))
        (folder / "model.tasm").write_text(self.text(weights, tables))


def narrowest(shape: tuple[int, ...], lo: int, hi: int) -> TensorType:
    """The type of the least dtype that holds the interval."""
    dtype = smallest_dtype(lo, hi)
    assert dtype is not None
    return TensorType(dtype, shape, lo, hi)


def identifier(label: str) -> str:
    """``label`` as a name of the assembler's."""
    parts = [re.sub(r"[^A-Za-z0-9_]+", "_", p)[:MAX_LABEL] for p in label.split(".") if p]
    name = ".".join(parts) or "t"
    if len(name) > LONGEST:  # passes name what they make after all that it is made of
        name = f"{name[: LONGEST - MAX_LABEL].rstrip('.')}.{parts[-1]}"
    return name if name[0].isalpha() or name[0] == "_" else f"t{name}"
