"""The instruction families. Importing this package fills ``isa.instruction.REGISTRY``."""

from isa.ops import control, narrow

__all__ = ["control", "narrow"]
