"""Keys, paths, statements and the names of commitments, as bytes (sections 0, 2 and 11.1)."""

from __future__ import annotations

from dataclasses import dataclass

from syurmy.isa.encoding import decode
from syurmy.isa.errors import SyurmyError
from syurmy.isa.graph import External
from syurmy.isa.path import Path
from syurmy.isa.program import Program
from syurmy.isa.types import DType
from tests.reference_verifier.errors import Rejected, require
from tests.reference_verifier.transcript import digest

VERSION = 3
MAX_STEPS = 2**24
MAX_PROOFS = 2**14
MAX_TENSOR_PROOFS = 2**10
DTYPES = (DType.I8, DType.I16, DType.I32, DType.I64)


class Bytes:
    """Reads what a file consists of. ``step``: what a refusal names."""

    def __init__(self, data: bytes, step: str) -> None:
        self.data, self.at, self.step = data, 0, step

    def take(self, count: int) -> bytes:
        require(self.at + count <= len(self.data), self.step, "it ends too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def leb128(self) -> int:
        value = shift = 0
        while True:
            byte = self.number(1)
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                require(byte > 0 or shift == 7, self.step, "a number is not in its shortest form")
                require(value < 2**64, self.step, "a number is too large")
                return value
            require(shift < 70, self.step, "a number is too long")

    def text(self) -> str:
        try:
            return self.take(self.leb128()).decode()
        except UnicodeDecodeError:
            raise Rejected(self.step, "a name is not UTF-8") from None

    def end(self) -> None:
        require(self.at == len(self.data), self.step, "there are bytes too many")


@dataclass(frozen=True)
class Key:
    """A verifying key. ``encoded``: the program's bytes."""

    hiding: bool
    proofs: int
    max_steps: int
    encoded: bytes
    program: Program
    root: bytes | None
    digest: bytes


def read_key(data: bytes) -> Key:
    f = Bytes(data, "key")
    require(f.take(8) == b"SYURMYVK", "key", "this is no verifying key")
    require(f.number(2) == VERSION, "key", "it is of another version")
    mode, proofs, max_steps = f.number(1), f.number(4), f.number(8)
    require(mode <= 1, "key", "the mode is none")
    hiding = mode == 1
    require(1 <= max_steps <= MAX_STEPS, "key", "the step limit is out of range")
    encoded = f.take(f.number(8))
    flag = f.number(1)
    require(flag <= 1, "key", "it has a root or has none")
    root = f.take(32) if flag else None
    decisive = data[: f.at]
    description = f.take(f.number(4))
    f.end()
    try:
        program = decode(encoded)
    except SyurmyError as e:
        raise Rejected("key", f"its program is refused: {e}") from None
    require((root is not None) == any(p.committed for p in program.params), "key", "a root and params go together")
    counted = hiding and root is not None
    require(1 <= proofs <= MAX_PROOFS if counted else proofs == 0, "key", "the number of proofs is out of range")
    name = digest(b"syurmy-vm verifying key" + decisive + digest(b"syurmy-vm description" + description))
    return Key(hiding, proofs, max_steps, encoded, program, root, name)


def read_path(data: bytes, max_steps: int) -> Path:
    f = Bytes(data, "path")
    batch = f.leb128()
    require(1 <= batch <= max_steps, "path", "the batch is out of range")
    bits: dict[int, list[int]] = {}
    last, room = -1, max_steps
    for _ in range(f.leb128()):
        pc = f.leb128()
        require(pc > last, "path", "branches do not ascend")
        last = pc
        runs = f.leb128()
        require(runs >= 1, "path", "a branch has no bits")
        bits[pc] = []
        for k in range(runs):
            run = f.leb128()
            require(run > 0 or k == 0, "path", "a run is empty")
            require(run <= room, "path", "there are more bits than steps")
            room -= run
            bits[pc] += [k % 2] * run
        require(len(bits[pc]) > 0, "path", "a branch has no bits")
    f.end()
    return Path(batch, bits)


def value_bytes(lo: int, hi: int) -> int:
    """How wide the values of a tensor of this interval are in a statement."""
    found = next((w for w in range(1, 9) if -(256**w) <= 2 * lo and 2 * hi < 256**w), None)
    require(found is not None, "statement", "a tensor's interval is too wide")
    return found


@dataclass(frozen=True)
class Values:
    """A tensor of the statement: its name, shape and entries in C order."""

    source: str
    name: str
    shape: tuple[int, ...]
    entries: list[int]


def read_values(f: Bytes, source: str, name: str, shape: tuple[int, ...], interval: tuple[int, int]) -> Values:
    lo, hi = interval
    width = value_bytes(lo, hi)
    count = 1
    for d in shape:
        count *= d
    data = f.take(width * count)
    entries = [int.from_bytes(data[i : i + width], "little", signed=True) for i in range(0, len(data), width)]
    require(all(lo <= v <= hi for v in entries), "statement", f"a value of {name} is outside its interval")
    return Values(source, name, shape, entries)


@dataclass(frozen=True)
class Commitment:
    """The record of a commitment to a tensor, and the digest that names it."""

    proofs: int
    meaning: bytes
    root: bytes

    @property
    def record(self) -> bytes:
        return self.proofs.to_bytes(4, "little") + self.meaning + self.root

    def digest(
        self, of: External, hiding: bool, log_columns: int, log_blowup: int, rows: int, zero: int, t: int
    ) -> bytes:
        """``log_columns`` to ``t``: the shape of its matrix (section 2)."""
        out = b"SYURMYTC" + VERSION.to_bytes(2, "little") + bytes([hiding]) + self.proofs.to_bytes(4, "little")
        out += bytes([DTYPES.index(of.dtype), len(of.shape)])
        out += b"".join(d.to_bytes(4, "little") for d in of.shape)
        out += bytes([log_columns, log_blowup])
        out += b"".join(n.to_bytes(4, "little") for n in (rows, zero, t))
        return digest(b"syurmy-vm tensor commitment" + out + self.meaning + self.root)


RECORD = 68


def read_commitment(data: bytes, hiding: bool) -> Commitment:
    made = Commitment(int.from_bytes(data[:4], "little"), data[4:36], data[36:])
    inside = 1 <= made.proofs <= MAX_TENSOR_PROOFS if hiding else made.proofs == 0
    require(inside, "statement", "the number of proofs is out of range")
    return made
