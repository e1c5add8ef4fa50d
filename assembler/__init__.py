"""Tensor assembly: text to ``isa.program.Program`` and back, with diagnostics that name the place."""

from syurmy.assembler.assembler import assemble, assemble_file, with_bounds
from syurmy.assembler.diagnostics import AssemblyErrors, render
from syurmy.assembler.disassembler import disassemble

__all__ = ["AssemblyErrors", "assemble", "assemble_file", "disassemble", "render", "with_bounds"]
