"""Tensor commitments: a tensor that is committed once, outside of proofs, and named by the statements of any of them.

    bytes  = "SYURMYTC" version hiding proofs dtype rank dims log_cols log_blowup rows aux tail meaning root
    digest = BLAKE3("syurmy-vm tensor commitment" || bytes)

The shape of the tensor has the batch as its first axis. It is laid out as a matrix of its own (protocol/layout.py),
whose shape follows from that of the tensor, from whether it hides, and in how many proofs; the digest binds it all the
same, and the dtype, so that one root cannot be read as two tensors. ``meaning``: BLAKE3 of what the committer says that
the integers stand for (a scale, say); nothing proves it.

A statement has of every committed input and output what its program does not say: proofs, meaning, root.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

from blake3 import blake3

from syurmy.isa.errors import InputError
from syurmy.isa.graph import External
from syurmy.isa.records import dataclass
from syurmy.isa.refusal import refusing
from syurmy.isa.source import Source, content, other_kind
from syurmy.isa.summary import Summary
from syurmy.isa.types import MAX_ENTRIES, MAX_RANK, DType
from syurmy.prover.protocol.description import Description, Quantity
from syurmy.prover.protocol.key import PROTOCOL_VERSION, Mode, refuse_version
from syurmy.prover.protocol.layout import MatrixLayout
from syurmy.prover.protocol.shapes import choose_tensor_shape, min_tensor_log_entries

MAGIC = b"SYURMYTC"
CONTEXT = b"syurmy-vm tensor commitment"
NO_MEANING = bytes(32)
NAME = "tensor"  # in a description
MAX_TENSOR_PROOFS = 1 << 10
_HEAD = struct.Struct("<HBIBB")
_SHAPE = struct.Struct("<BBIII")
_NAMED = struct.Struct("<I32s32s")  # in a statement
_DTYPES = tuple(DType)


@dataclass(frozen=True, repr=False)
class TensorCommitment(Summary):
    """A commitment to integers of ``dtype``, in ``shape``, the batch first. ``mode``: does it hide them, and in how
    many proofs; ``meaning``: the digest of what they stand for, or zeros; ``root``: of the matrix."""

    dtype: DType
    shape: tuple[int, ...]
    mode: Mode
    root: bytes
    meaning: bytes = NO_MEANING
    described: Quantity | None = None  # what ``meaning`` is the digest of, where it is known

    @property
    def layout(self) -> MatrixLayout:
        return tensor_layout(self.shape, self.mode)

    def _decisive(self) -> bytes:
        mode, shape = self.mode, self.layout.shape
        head = _HEAD.pack(PROTOCOL_VERSION, mode.hiding, mode.proofs, _DTYPES.index(self.dtype), len(self.shape))
        dims = struct.pack(f"<{len(self.shape)}I", *self.shape)
        matrix = _SHAPE.pack(shape.log_cols, shape.log_blowup, shape.rows, shape.aux, shape.tail)
        return MAGIC + head + dims + matrix + self.meaning + self.root

    def digest(self) -> bytes:
        """32 bytes that fix the tensor: what proofs and people call it."""
        return blake3(CONTEXT + self._decisive()).digest()

    def to_bytes(self) -> bytes:
        """The file: what the digest is of, and what the integers stand for."""
        described = _described(self.described)
        return self._decisive() + struct.pack("<I", len(described)) + described

    @staticmethod
    def from_bytes(data: bytes) -> TensorCommitment:
        """Raises ``InputError`` on anything that ``to_bytes`` did not write."""
        if data[:8] != MAGIC or len(data) < 8 + _HEAD.size:
            raise InputError("this is not a commitment", code="K170")
        version, hiding, proofs, dtype, rank = _HEAD.unpack_from(data, 8)
        refuse_version("the commitment", version, "commit", "K171")
        at = 8 + _HEAD.size
        end = at + 4 * rank + _SHAPE.size + 64
        if rank > MAX_RANK + 1 or dtype >= len(_DTYPES) or hiding > 1 or len(data) < end + 4:
            raise damaged()
        dims = struct.unpack_from(f"<{rank}I", data, at)
        mode = Mode(hiding == 1, proofs)
        if not possible(dims, mode):
            raise damaged()
        length, text = int.from_bytes(data[end : end + 4], "little"), data[end + 4 :]
        if len(text) != length:
            raise damaged()
        with refusing(lambda reason: damaged()):
            meaning = Description.from_bytes(text).inputs[0] if text else None
        out = TensorCommitment(_DTYPES[dtype], dims, mode, data[end - 32 : end], data[end - 64 : end - 32], meaning)
        if out.meaning != meaning_digest(meaning) or out.to_bytes() != data:
            raise damaged()
        return out

    @staticmethod
    def load(source: TensorCommitment | Source) -> TensorCommitment:
        """The commitment in a file, or in bytes; a commitment itself is as it is. Raises ``InputError``."""
        if isinstance(source, TensorCommitment):
            return source
        if hasattr(source, "summary"):
            raise other_kind(source, "a commitment")
        return TensorCommitment.from_bytes(content(source, "a commitment"))

    def save(self, path: str | Path) -> None:
        """Write the file, whole or not at all."""
        from syurmy.files import write_whole

        write_whole(Path(path), self.to_bytes())

    def summary(self) -> list[tuple[str, str]]:
        batch, *shape = self.shape
        hides = f"hidden in {self.mode.proofs} proofs" if self.mode.hiding else "hides nothing"
        rows = [("digest", f"{self.digest().hex()[:16]}…"), ("of", f"{self.dtype}{shape}"), ("mode", hides)]
        return rows + ([("batch", str(batch))] if batch > 1 else [])


def meaning_of(quantity: Quantity) -> Quantity | None:
    """What a commitment says of a tensor that a key describes so: all but its name, which may differ from program to
    program. None where nothing is said."""
    plain = replace(quantity, name=NAME, shown="")
    return None if plain == Quantity(NAME) else plain


def same_meaning(a: Quantity, b: Quantity) -> bool:
    """Do equal integers stand for equal values?"""
    return (a.form, a.scales, a.unit) == (b.form, b.scales, b.unit)


def told(meaning: Quantity) -> str:
    """A meaning in words."""
    if not meaning.scales:
        return f"{meaning.form} {meaning.unit}".strip()
    first = f"{float(meaning.scales[0]):.6g}"
    return f"{meaning.form} of scale {first}{', ...' if len(meaning.scales) > 1 else ''} {meaning.unit}".strip()


def _described(meaning: Quantity | None) -> bytes:
    return b"" if meaning is None else Description(inputs=(meaning,)).to_bytes()


def meaning_digest(meaning: Quantity | None) -> bytes:
    """What a commitment has of what its integers stand for."""
    return NO_MEANING if meaning is None else blake3(b"syurmy-vm meaning" + _described(meaning)).digest()


def damaged() -> InputError:
    return InputError("the commitment is damaged", code="K172", help="get its file again from who made it")


def possible(shape: Sequence[int], mode: Mode) -> bool:
    """Can there be a commitment to a tensor of this shape, in this mode?"""
    size = 1
    for d in shape:
        size *= d
        if d < 1 or size > MAX_ENTRIES:
            return False
    in_range = 1 <= mode.proofs <= MAX_TENSOR_PROOFS if mode.hiding else mode.proofs == 0
    return in_range and 1 <= len(shape) <= MAX_RANK + 1


@lru_cache(maxsize=1 << 10)
def tensor_layout(shape: tuple[int, ...], mode: Mode) -> MatrixLayout:
    """The matrix of a committed tensor."""
    choose = partial(choose_tensor_shape, mode=mode)
    return MatrixLayout([(NAME, shape)], min_tensor_log_entries(mode), choose)


def named(externals: Sequence[External], commitments: Mapping[str, TensorCommitment]) -> bytes:
    """What a statement has of its commitments, in canonical order."""
    found = [commitments[e.name] for e in externals]
    return b"".join(_NAMED.pack(c.mode.proofs, c.meaning, c.root) for c in found)


def named_size(externals: Sequence[External]) -> int:
    """Bytes of what ``named`` gives."""
    return _NAMED.size * len(externals)


def read_named(externals: Sequence[External], hiding: bool, data: bytes) -> dict[str, TensorCommitment]:
    """The inverse, under a key of this mode. ``ValueError`` where there can be no such commitment."""
    out = {}
    for i, e in enumerate(externals):
        proofs, meaning, root = _NAMED.unpack_from(data, _NAMED.size * i)
        mode = Mode(hiding, proofs)
        if not possible(e.shape, mode):
            raise ValueError(f"the commitment to '{e.name}' is for {proofs} proofs")
        out[e.name] = TensorCommitment(e.dtype, e.shape, mode, root, meaning)
    return out
