"""Writes nodes of the default domain in the spelling of any opset from 7 on: what an operator takes as an attribute in
one version is an input in the next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, helper, numpy_helper

from syurmy.compiler.errors import Unsupported
from syurmy.isa.arrays import Array


@dataclass(frozen=True)
class Known:
    """What is known of a tensor: ONNX's number of the dtype (0 if unknown), and the dimensions (None if unknown)."""

    dtype: int
    shape: tuple[int | None, ...] | None


class Unknown(Exception):
    """Raised where a body needs the shape or dtype of a tensor that nothing tells yet; its argument is the name."""


class Writer:
    """The node to replace, what is known of its inputs, and the nodes of its body as they are written."""

    def __init__(
        self,
        node: NodeProto,
        opset: int,
        types: Mapping[str, Known],
        values: Mapping[str, onnx.TensorProto],
        taken: set[str],
    ) -> None:
        self.node = node
        self.opset = opset
        self.constants: list[onnx.TensorProto] = []
        self._types, self._values, self._taken = types, values, taken
        self._attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        self._label = next((o for o in node.output if o), node.name or node.op_type)
        self._nodes: list[NodeProto] = []

    # ---- the node --------------------------------------------------------------------------------------------------

    def has(self, i: int) -> bool:
        return i < len(self.node.input) and self.node.input[i] != ""

    def input(self, i: int) -> str:
        """The name of input i; '' if it is absent."""
        return self.node.input[i] if i < len(self.node.input) else ""

    def wants(self, i: int) -> bool:
        """Whether output i has a name."""
        return i < len(self.node.output) and self.node.output[i] != ""

    def attr(self, name: str, default: Any = None) -> Any:
        value = self._attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def refuse(self, i: int, what: str) -> None:
        """Refuses the node if input i is there."""
        if self.has(i):
            raise Unsupported(what, "a model without")

    def shape(self, name: str) -> tuple[int, ...]:
        """All dimensions. Raises ``Unknown``."""
        found = self._shape(name)
        if any(d is None for d in found):
            raise Unknown(name)
        return tuple(d for d in found if d is not None)

    def rank(self, name: str) -> int:
        return len(self._shape(name))

    def dim(self, name: str, axis: int) -> int:
        d = self._shape(name)[axis]
        if d is None:
            raise Unknown(name)
        return d

    def _shape(self, name: str) -> tuple[int | None, ...]:
        known = self._types.get(name)
        if known is None or known.shape is None:
            raise Unknown(name)
        return known.shape

    def dtype(self, name: str) -> np.dtype[Any]:
        known = self._types.get(name)
        if known is None or not known.dtype:
            raise Unknown(name)
        return np.dtype(helper.tensor_dtype_to_np_dtype(known.dtype))

    def value(self, name: str) -> Array | None:
        """The array of a constant, or None."""
        t = self._values.get(name)
        return None if t is None else np.asarray(numpy_helper.to_array(t))

    def fixed(self, i: int, what: str) -> Array:
        """Input i as a constant. Refuses data."""
        found = self.value(self.input(i))
        if found is None:
            raise Unsupported(f"{what} is computed from the input", "a constant")
        return found

    # ---- nodes -----------------------------------------------------------------------------------------------------

    def fresh(self, label: str) -> str:
        base = f"{self._label}/{label}"
        name, k = base, 2
        while name in self._taken:
            name, k = f"{base}_{k}", k + 1
        self._taken.add(name)
        return name

    def __call__(self, op: str, *inputs: str, **attributes: Any) -> str:
        """One node with one output."""
        return self.several(op, 1, *inputs, **attributes)[0]

    def several(self, op: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        """One node with ``count`` outputs. Refuses an operator that the model's opset does not have."""
        try:
            onnx.defs.get_schema(op, self.opset)
        except onnx.defs.SchemaError as e:
            raise Unsupported(f"its body needs {op}, which opset {self.opset} lacks", "a newer opset") from e
        names = [self.fresh(op) for _ in range(count)]
        kept = {k: v for k, v in attributes.items() if v is not None}
        while inputs and inputs[-1] == "":
            inputs = inputs[:-1]
        self._nodes.append(helper.make_node(op, list(inputs), names, name=names[0], **kept))
        return names

    def const(self, x: npt.ArrayLike, dtype: npt.DTypeLike | None = None) -> str:
        name = self.fresh("constant")
        self.constants.append(numpy_helper.from_array(np.array(x, dtype), name))
        return name

    def finished(self, names: Mapping[str, str]) -> list[NodeProto]:
        """The body's nodes that an output needs, where outputs have the names that the model reads: ``names[output]``
        was made for each."""
        made = {o for n in self._nodes for o in n.output}
        renamed: dict[str, str] = {}
        for output, name in names.items():
            if not output:
                continue
            if name in made and name not in renamed:
                renamed[name] = output
            else:
                self._nodes.append(helper.make_node("Identity", [name], [output], name=self.fresh("Identity")))
        needed, kept = {o for o in names if o}, []
        for n in reversed(self._nodes):
            for side in (n.input, n.output):
                for k, name in enumerate(side):
                    side[k] = renamed.get(name, name)
            if needed.intersection(n.output):
                needed.update(n.input)
                kept.append(n)
                while n.output[-1] not in needed:
                    del n.output[-1]
        self.constants = [t for t in self.constants if t.name in needed]
        return kept[::-1]

    # ---- operators whose form changed ------------------------------------------------------------------------------

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        return self("Reshape", x, self.const(shape, np.int64))

    def unsqueeze(self, x: str, *axes: int) -> str:
        return self._axes("Unsqueeze", 13, x, axes)

    def squeeze(self, x: str, *axes: int) -> str:
        return self._axes("Squeeze", 13, x, axes)

    def reduce(self, op: str, x: str, axes: Sequence[int] | None, keepdims: bool) -> str:
        """A reduction: its axes are an input from opset 18 on (of ReduceSum from 13)."""
        return self._axes(op, 13 if op == "ReduceSum" else 18, x, axes, keepdims=int(keepdims))

    def _axes(self, op: str, since: int, x: str, axes: Sequence[int] | None, **attributes: Any) -> str:
        if self.opset < since or axes is None:
            return self(op, x, axes=None if axes is None else list(axes), **attributes)
        return self(op, x, self.const(axes, np.int64), **attributes)

    def split(self, x: str, sizes: Sequence[int], axis: int) -> list[str]:
        if self.opset < 13:
            return self.several("Split", len(sizes), x, split=list(sizes), axis=axis)
        return self.several("Split", len(sizes), x, self.const(sizes, np.int64), axis=axis)

    def part(self, x: str, axis: int, start: int, end: int) -> str:
        """``x[start:end]`` along an axis."""
        if self.opset < 10:
            return self("Slice", x, starts=[start], ends=[end], axes=[axis])
        return self("Slice", x, *(self.const([v], np.int64) for v in (start, end, axis)))

    def clip(self, x: str, lo: float, hi: float) -> str:
        """Reals cut at both ends."""
        if self.opset < 11:
            return self("Clip", x, min=float(lo), max=float(hi))
        return self("Clip", x, *(self.number(v) if math.isfinite(v) else "" for v in (lo, hi)))

    def cast(self, x: str, dtype: npt.DTypeLike) -> str:
        return self("Cast", x, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    # ---- arithmetic ------------------------------------------------------------------------------------------------

    @property
    def real(self) -> np.dtype[Any]:
        """The dtype in which the node computes: that of its first real input, float32 where nothing tells it."""
        for name in self.node.input:
            known = self._types.get(name)
            if known is not None and known.dtype and self.dtype(name).kind not in "iub":
                return self.dtype(name)
        return np.dtype(np.float32)

    def number(self, x: npt.ArrayLike) -> str:
        """A constant in that dtype."""
        return self.const(x, self.real)

    def times(self, x: str, factor: float) -> str:
        return x if factor == 1.0 else self("Mul", x, self.number(factor))

    def total(self, *names: str) -> str:
        """The sum of those that are there."""
        there = [n for n in names if n]
        y = there[0]
        for x in there[1:]:
            y = self("Add", y, x)
        return y

    def transposed(self, x: str, *perm: int) -> str:
        return x if list(perm) == sorted(perm) else self("Transpose", x, perm=list(perm))
