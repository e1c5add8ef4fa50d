"""What a key says to people: a title, the digest of the model's file, and what inputs and outputs stand for.

Nothing of a proof depends on it. It is part of the key's digest, so whoever compares digests compares it too; that it
is true is the word of the key's maker. Which values a proof shows is not said here: the program says it.

    description = version title:text source inputs:list outputs:list          source = length, 0 or 32 bytes (SHA-256)
    quantity = name:text shown:text form dtype scales:list unit:text columns:flag labels:list(text)
    scale = odd:uint divisor:uint exponent:sint                               odd * 2^exponent / divisor, coprime, odd

Integers and texts are coded as in a program (``isa.encoding``). ``decode`` accepts exactly the image of ``encode``.
Texts are printable, so that none can pass for a line that the verifier prints.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from syurmy.isa import reals
from syurmy.isa.arrays import I64
from syurmy.isa.encoding import Reader, Writer
from syurmy.isa.errors import InputError
from syurmy.isa.program import Program
from syurmy.isa.records import cached_property, dataclass

VERSION = 1
MAX_BYTES = 2**20
MAX_TEXT = 200  # characters
MAX_LABELS = 2**16  # of one tensor; of its scales as well
SOURCE_BYTES = 32
EXPONENTS = (-1100, 800)  # every float64 from the least to 2^800: the real of a machine integer is a float64
INTEGER, REAL, CODE, RANK = "integer", "real", "code", "rank"
FORMS = (INTEGER, REAL, CODE, RANK)
DTYPES = (
    *("float16", "float32", "float64", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16"),
    *("uint32", "uint64"),
)


@dataclass(frozen=True)
class Quantity:
    """What an input or output of the program stands for.

    ``name``: in the program; ``shown``: the name to show, '' for the same. ``form``: an integer; a real by ``scales``
    (one, or one for each position of the last axis); the code of a float (``isa.reals``); or its rank among places that
    the key does not tell. ``dtype``: of the values meant, NumPy's name. ``unit``: such as EUR. ``labels``: what the
    integers 0, 1, ... stand for, or with ``columns`` the positions of the last axis. Raises ``InputError`` K124.
    """

    name: str
    shown: str = ""
    form: str = INTEGER
    dtype: str = "int64"
    scales: tuple[Fraction, ...] = ()
    unit: str = ""
    columns: bool = False
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for what in (self.name, self.shown, self.unit, *self.labels):
            checked_text(what)
        if self.shown == self.name or not self.name:
            raise wrong(f"a name to show that is the program's, or none: '{self.name}'")
        if self.form not in FORMS or self.dtype not in DTYPES:
            raise wrong(f"'{self.name}' is {self.form} of {self.dtype}")
        if (self.dtype[0] == "f") != (self.form != INTEGER) or (self.form, self.dtype) == (CODE, "float64"):
            raise wrong(f"'{self.name}' cannot be {self.form} of {self.dtype}")
        if (self.form == REAL) != bool(self.scales) or max(len(self.scales), len(self.labels)) > MAX_LABELS:
            raise wrong(f"'{self.name}' has {len(self.scales)} scales, {len(self.labels)} labels")
        for scale in self.scales:
            _parts(scale)
        if self.columns and not self.labels:
            raise wrong(f"'{self.name}' has columns without labels")

    @property
    def title(self) -> str:
        """The name to show."""
        return self.shown or self.name

    def problem(self, shape: Sequence[int]) -> str:
        """Why a tensor of this shape (without the batch) cannot be meant; '' if it can."""
        last = shape[-1] if shape else 0
        if len(self.scales) > 1 and len(self.scales) != last:
            return f"{len(self.scales)} scales for '{self.title}' of shape {list(shape)}"
        if self.columns and len(self.labels) != last:
            return f"{len(self.labels)} labels for the columns of '{self.title}' of shape {list(shape)}"
        return ""

    def reals(self, q: I64) -> npt.NDArray[Any]:
        """The values that the program's integers stand for, before they are rounded to ``dtype``."""
        if self.form == REAL:
            return reals.reals(q, self.scales)
        return reals.decode(q, np.dtype(self.dtype)) if self.form == CODE else q

    def values(self, q: I64) -> npt.NDArray[Any]:
        """The values that the program's integers stand for, in ``dtype``; of ranks the ranks."""
        if self.form == RANK:
            return q
        with np.errstate(over="ignore"):
            return self.reals(q).astype(self.dtype)

    def label(self, value: int) -> str | None:
        """What an integer stands for, if that is said."""
        return self.labels[value] if not self.columns and 0 <= value < len(self.labels) else None


@dataclass(frozen=True)
class Description:
    """``title``; ``source``: SHA-256 of the model's file, or nothing; ``inputs``, ``outputs``: those that something is
    said of, in the program's order. Raises ``InputError`` K124."""

    title: str = ""
    source: bytes = b""
    inputs: tuple[Quantity, ...] = ()
    outputs: tuple[Quantity, ...] = ()

    def __post_init__(self) -> None:
        checked_text(self.title)
        if len(self.source) not in (0, SOURCE_BYTES):
            raise wrong("the model's digest has not 32 bytes")
        for quantities in (self.inputs, self.outputs):
            if len({x.title for x in quantities}) != len(quantities):
                raise wrong("two tensors are shown under one name")

    def check(self, program: Program) -> None:
        """Raises ``InputError`` K124 if this does not describe the program."""
        shapes = {i.name: i.type.shape for i in program.inputs}
        for x in self.inputs:
            if x.name in shapes and (problem := x.problem(shapes[x.name])):
                raise wrong(problem)
        for mine, theirs in ((self.inputs, program.inputs), (self.outputs, program.outputs)):
            named = {x.name for x in mine}
            names = [t.name for t in theirs]
            if [x.name for x in mine] != [name for name in names if name in named]:
                raise wrong(f"it tells of {', '.join(x.name for x in mine)}, the program has {', '.join(names)}")
            titles = {x.name: x.title for x in mine}
            if len({titles.get(name, name) for name in names}) != len(names):
                raise wrong("two tensors are shown under one name")

    @cached_property
    def _named(self) -> tuple[dict[str, Quantity], dict[str, Quantity]]:
        return {x.name: x for x in self.inputs}, {x.name: x for x in self.outputs}

    def input(self, name: str) -> Quantity:
        """What the program's input of this name stands for."""
        return self._named[0].get(name) or Quantity(name)

    def output(self, name: str) -> Quantity:
        """What the program's output of this name stands for."""
        return self._named[1].get(name) or Quantity(name)

    def input_values(self, integers: Mapping[str, I64]) -> dict[str, npt.NDArray[Any]]:
        """What inputs stand for, under the names to show."""
        return {(x := self.input(name)).title: x.values(q) for name, q in integers.items()}

    def output_values(self, integers: Mapping[str, I64]) -> dict[str, npt.NDArray[Any]]:
        """What outputs stand for, under the names to show."""
        return {(x := self.output(name)).title: x.values(q) for name, q in integers.items()}

    def to_bytes(self) -> bytes:
        return self._encoded

    @cached_property
    def _encoded(self) -> bytes:
        w = Writer()
        w.uint(VERSION)
        w.text(self.title)
        w.uint(len(self.source))
        w.out += self.source
        for quantities in (self.inputs, self.outputs):
            w.uint(len(quantities))
            for x in quantities:
                _write(w, x)
        if len(w.out) > MAX_BYTES:
            raise wrong(f"it has {len(w.out)} bytes, at most {MAX_BYTES} are kept in a key")
        return bytes(w.out)

    @staticmethod
    def from_bytes(data: bytes) -> Description:
        """Raises ``InputError`` on anything that ``to_bytes`` did not write."""
        if len(data) > MAX_BYTES:
            raise wrong("it is too long")
        r = Reader(data)
        try:
            if (version := r.uint()) != VERSION:
                raise wrong(f"its version is {version}, this program knows {VERSION}")
            title = r.text()
            source = r.take(r.uint(SOURCE_BYTES))
            found = Description(title, source, r.list(lambda: _read(r)), r.list(lambda: _read(r)))
        except InputError as e:
            raise e if e.code == CODE_OF_ERRORS else wrong("its bytes are malformed") from e
        if r.position != len(data) or found.to_bytes() != data:
            raise wrong("its bytes are not in canonical form")
        return found


CODE_OF_ERRORS = "K124"


def wrong(reason: str) -> InputError:
    """The refusal of a description."""
    return InputError(f"the description cannot be used: {reason}", code=CODE_OF_ERRORS)


def checked_text(text: str) -> str:
    """``text``, if it can be printed on a line of its own. Raises ``InputError`` K124."""
    if not isinstance(text, str) or len(text) > MAX_TEXT or not text.isprintable():
        raise wrong(f"{text!r:.60} is no text of printable characters, at most {MAX_TEXT}")
    return text


def printable(text: str) -> str:
    """``text`` as it may stand in a description: what cannot be printed is spelt out, what is too long is cut."""
    spelt = text if text.isprintable() else text.encode("unicode_escape").decode()
    return spelt if len(spelt) <= MAX_TEXT else spelt[: MAX_TEXT - 1] + "…"


def _parts(scale: Fraction) -> tuple[int, int, int]:
    """Numerator and denominator without their factors of two, and the exponent of two."""
    n, d = scale.as_integer_ratio()
    if n > 0:
        up, down = (n & -n).bit_length() - 1, (d & -d).bit_length() - 1
        odd, divisor, exponent = n >> up, d >> down, up - down
        if max(odd, divisor) < 2**64 and EXPONENTS[0] <= exponent <= EXPONENTS[1]:
            return odd, divisor, exponent
    raise wrong("a scale is not positive, too large, too small, or has too many digits")


def _write(w: Writer, x: Quantity) -> None:
    w.text(x.name)
    w.text(x.shown)
    w.uint(FORMS.index(x.form))
    w.uint(DTYPES.index(x.dtype))
    w.uint(len(x.scales))
    for scale in x.scales:
        odd, divisor, exponent = _parts(scale)
        w.uint(odd)
        w.uint(divisor)
        w.sint(exponent)
    w.text(x.unit)
    w.flag(x.columns)
    w.uint(len(x.labels))
    for label in x.labels:
        w.text(label)


def _read(r: Reader) -> Quantity:
    def scale() -> Fraction:
        odd, divisor, exponent = r.uint(), r.uint(), r.sint()
        if not (odd and divisor and EXPONENTS[0] <= exponent <= EXPONENTS[1]):
            raise wrong("a scale is not a number of its kind")
        return Fraction(odd, divisor) * Fraction(2) ** exponent

    name, shown = r.text(), r.text()
    form, dtype = FORMS[r.uint(len(FORMS) - 1)], DTYPES[r.uint(len(DTYPES) - 1)]
    scales = r.list(scale, MAX_LABELS)
    return Quantity(name, shown, form, dtype, scales, r.text(), r.flag(), r.list(r.text, MAX_LABELS))


def scale_of(value: float) -> Fraction:
    """A float as a scale, exactly. Raises ``InputError`` K124 for what is none."""
    if not (math.isfinite(value) and value > 0):
        raise wrong(f"a scale is {value}")
    return Fraction(value)
