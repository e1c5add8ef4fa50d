"""What a user can get wrong: one exception family with a code, a sentence, a place and what to do."""

from __future__ import annotations

from syurmy.isa.records import dataclass


@dataclass(frozen=True)
class Span:
    """A place in a source file; lines and columns count from 1. ``length`` characters are underlined."""

    file: str
    line: int
    column: int
    length: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class SyurmyError(Exception):
    """Base of all errors that are shown to users. ``code`` is stable; the command line's exit codes follow from it."""

    code = "E000"

    def __init__(self, message: str, *, code: str | None = None, span: Span | None = None, help: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.span = span
        self.help = help


class InputError(SyurmyError):
    """A file, an input tensor or an option cannot be used."""

    code = "I100"


class AssemblyError(SyurmyError):
    """One diagnostic of the assembler."""

    code = "A100"


class TypeRuleError(AssemblyError):
    """An instruction's typing rule refuses its operands (dtype, shape, interval or attribute)."""

    code = "A200"


class ConstraintError(SyurmyError):
    """A program cannot be proven: an equation over the integers would not follow from the one over the field."""

    code = "C100"


class Trap(SyurmyError):
    """Execution stops: division by zero, value outside a table, failed assert, step limit."""

    code = "T100"

    def __init__(self, message: str, *, element: tuple[int, ...] | None = None, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.element = element
        self.instruction: int | None = None  # index of the static instruction; the machine sets it and the span
