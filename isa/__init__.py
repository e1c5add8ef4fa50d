"""The tensor instruction set: types, programs, definitions of instructions, and the constraint system they build."""

import syurmy.isa.ops  # noqa: F401  (fills the registry before anything reads it)
