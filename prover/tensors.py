"""The secret half of a tensor commitment (public half: protocol/tensors.py): the tensor, and what hides it.

``seal`` commits: the rows of the tensor with random coefficients from 32 bytes of the operating system, into which
dtype, shape, meaning and values are hashed, so that no two commitments ever share any. The file keeps the seed:
everything else is computed again when it is loaded, and its root compared. Only its owner may read it.

Each proof opens columns of the matrix, so the file beside it, ``X.opening.used``, counts them as that of a proving key
does (prover/allowance.py): locked, written and brought to disk before a proof exists. Copies of an opening share what
is promised, not the count: who hands one on must divide the proofs between them.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from syurmy.isa.arrays import I64, Integers
from syurmy.isa.errors import InputError
from syurmy.isa.refusal import refusing
from syurmy.isa.summary import Summary
from syurmy.isa.types import DType
from syurmy.prover.allowance import TENSOR, Allowance
from syurmy.prover.commitment import ParamsCommitment, commit_params, in_rows
from syurmy.prover.protocol.description import Quantity
from syurmy.prover.protocol.key import PROTOCOL_VERSION, Mode, refuse_version
from syurmy.prover.protocol.tensors import NAME, TensorCommitment, meaning_digest, possible, tensor_layout
from syurmy.prover.secrets import SEED, Secrets

MAGIC = b"SYURMYTO"
_HEAD = struct.Struct("<HI")


@dataclass(frozen=True, eq=False, repr=False)
class TensorOpening(Summary):
    """``values``: int64, the batch first; ``matrix``: what was committed; ``allowance``: where the commitment hides."""

    commitment: TensorCommitment
    values: I64
    matrix: ParamsCommitment
    seed: bytes
    allowance: Allowance | None

    def summary(self) -> list[tuple[str, str]]:
        """Nothing of its values."""
        left = []
        if self.allowance is not None:
            left = [("positions left", f"{self.allowance.limit - self.allowance.used:,} of {self.allowance.limit:,}")]
        return [*self.commitment.summary(), *left]

    def save(self, path: str | Path) -> None:
        """Write one file, complete or not at all, which only its owner may read; and before it the count of what was
        opened, to ``PATH.used``."""
        from syurmy.files import write_whole

        path = Path(path)
        if self.allowance is not None:
            self.allowance.create(used_path(path))
        public = self.commitment.to_bytes()
        values = np.ascontiguousarray(self.values).astype(f"<i{self.commitment.dtype.bits // 8}").tobytes()
        data = MAGIC + _HEAD.pack(PROTOCOL_VERSION, len(public)) + public + self.seed + values
        write_whole(path, data, mode=0o600)

    @staticmethod
    def load(path: str | Path) -> TensorOpening:
        """The opening that ``save`` wrote. Raises ``InputError`` if the file is damaged or none."""
        path = Path(path)
        damaged = InputError(f"{path} is not an opening, or is damaged", code="K173", help="make the commitment again")
        try:
            data = path.read_bytes()
        except OSError as e:
            raise InputError(f"cannot read {path}: {e.strerror or e}", code="K173") from e
        at = len(MAGIC) + _HEAD.size
        if data[: len(MAGIC)] != MAGIC or len(data) < at:
            raise damaged
        version, length = _HEAD.unpack_from(data, len(MAGIC))
        refuse_version(str(path), version, "commit", "K171")
        if len(data) < at + length:
            raise damaged
        with refusing(lambda reason: damaged):
            public = TensorCommitment.from_bytes(data[at : at + length])
            seed_size = SEED if public.mode.hiding else 0
            seed, rest = data[at + length : at + length + seed_size], data[at + length + seed_size :]
            values = np.frombuffer(rest, f"<i{public.dtype.bits // 8}").astype(np.int64).reshape(public.shape)
        opening = sealed_with(seed, values, public.dtype, public.mode, public.described)
        if opening.commitment.digest() != public.digest():
            raise damaged
        if opening.allowance is None:
            return opening
        limit = opening.allowance.limit
        allowance = Allowance(public.digest(), limit, used_path(path), subject=TENSOR)
        return TensorOpening(opening.commitment, opening.values, opening.matrix, seed, allowance)


def used_path(opening: Path) -> Path:
    """Beside an opening: the count of what was opened of its tensor."""
    return opening.with_name(opening.name + ".used")


def seal(values: Integers, dtype: DType, mode: Mode, meaning: Quantity | None = None) -> TensorOpening:
    """A new commitment to ``values``, the batch first; ``mode``: does it hide them, and in how many proofs;
    ``meaning``: what they stand for. Raises ``InputError`` for what cannot be committed so."""
    given = np.asarray(values)
    if not possible(given.shape, mode):
        raise InputError(
            f"no commitment to a tensor of shape {list(given.shape)} for {mode.proofs} proofs",
            code="K174",
            help="1 to 1024 proofs, at most 2^28 entries",
        )
    if given.size and (int(given.min()) < dtype.lo or int(given.max()) > dtype.hi):  # before 2^64 - 1 becomes -1
        raise InputError(f"the tensor to commit does not fit {dtype}", code="K175")
    return sealed_with(os.urandom(SEED) if mode.hiding else b"", given.astype(np.int64), dtype, mode, meaning)


def sealed_with(seed: bytes, values: I64, dtype: DType, mode: Mode, meaning: Quantity | None) -> TensorOpening:
    """The opening that a seed gives, where nothing is hidden an empty one: it counts in memory."""
    layout = tensor_layout(values.shape, mode)
    secrets = None
    if mode.hiding:
        bound = [b"tensor", repr((str(dtype), values.shape, mode)).encode(), meaning_digest(meaning)]
        secrets = Secrets.seeded(seed, [*bound, np.ascontiguousarray(values).tobytes()])
    matrix = commit_params(in_rows({NAME: values}, layout), layout.shape, secrets)
    public = TensorCommitment(dtype, values.shape, mode, matrix.commitment.root, meaning_digest(meaning), meaning)
    allowance = Allowance(public.digest(), layout.shape.tail - 1, subject=TENSOR) if mode.hiding else None
    return TensorOpening(public, values, matrix, seed, allowance)
