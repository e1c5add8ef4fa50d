"""The arithmetic of vectors behind one interface: two modules with the same functions and the same results.

``protocol/plain.py`` is NumPy: it is what a verifier uses, can be read in one sitting, and needs no compiler.
``prover/kernels/compiled.py`` calls the prover's kernels; importing ``prover.kernels`` selects it for the process, so a
process that proves verifies with it too. ``using`` chooses for the calls inside it, in the calling thread or task.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from syurmy.isa.arrays import I64, U8
from syurmy.prover.field import U64, Ext
from syurmy.prover.protocol import plain


class Arithmetic(Protocol):
    """What protocol and verifier compute with. Arrays are contiguous and canonical; callers have checked the shapes.

    The functions are documented where they are defined, in ``plain``.
    """

    name: str

    def eq_vector(self, point: U64, size: int) -> U64: ...
    def dot(self, a: U64, b: U64) -> Ext: ...
    def dot_base(self, w: U64, v: U64) -> Ext: ...
    def dot_int(self, w: U64, v: I64) -> Ext: ...
    def multiply(self, a: U64, b: U64) -> U64: ...
    def outer(self, a: U64, b: U64) -> U64: ...
    def add(self, a: U64, b: U64) -> U64: ...
    def combination(self, arrays: Sequence[U64], factors: U64) -> U64: ...
    def sum_middle(self, a: U64) -> U64: ...
    def scatter_add(self, a: U64, index: I64, size: int) -> U64: ...
    def hash_messages(self, messages: U8, key: bytes) -> U8: ...
    def bind_columns(self, matrix: U64, weights: U64) -> U64: ...
    def encode_ext(self, row: U64, log_blowup: int) -> U64: ...


_selected: list[Arithmetic] = [plain]
_inside: ContextVar[Arithmetic | None] = ContextVar("arithmetic", default=None)


def current() -> Arithmetic:
    """The arithmetic to compute with, here and now."""
    return _inside.get() or _selected[0]


def select(arithmetic: Arithmetic) -> None:
    """Use ``arithmetic`` in this process from now on, wherever ``using`` says nothing else."""
    _selected[:] = [arithmetic]


@contextmanager
def using(arithmetic: Arithmetic) -> Iterator[None]:
    """Use ``arithmetic`` inside the block."""
    token = _inside.set(arithmetic)
    try:
        yield
    finally:
        _inside.reset(token)
