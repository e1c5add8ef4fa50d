"""The instruction families. Importing this package fills ``isa.instruction.REGISTRY``."""

from isa.ops import bitwise, compare, control, divide, narrow, pointwise, reduce

__all__ = ["bitwise", "compare", "control", "divide", "narrow", "pointwise", "reduce"]
