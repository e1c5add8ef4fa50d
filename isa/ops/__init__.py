"""The instruction families. Importing this package fills ``isa.instruction.REGISTRY``."""

from syurmy.isa.ops import (
    bitwise,
    compare,
    control,
    divide,
    linear,
    memory,
    narrow,
    order,
    pointwise,
    product,
    reduce,
    view,
)

__all__ = [
    "bitwise",
    "compare",
    "control",
    "divide",
    "linear",
    "memory",
    "narrow",
    "order",
    "pointwise",
    "product",
    "reduce",
    "view",
]
