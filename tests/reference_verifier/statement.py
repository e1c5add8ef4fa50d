"""Keys, paths and the statement as bytes (protocol, sections 0 and 11.1)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from blake3 import blake3

from syurmy.isa.encoding import decode
from syurmy.isa.errors import SyurmyError
from syurmy.isa.graph import External, Public
from syurmy.isa.path import Path
from syurmy.isa.program import Program
from syurmy.isa.types import DType, smallest_dtype
from tests.reference_verifier.codes import least_log_tensor, tensor_code
from tests.reference_verifier.layout import Matrix
from tests.reference_verifier.transcript import Rejected

VERSION = 2
MAGIC = b"SYURMYPF" + struct.pack("<H", VERSION)
CERTIFICATE_MAGIC = b"SYURMYCT" + struct.pack("<H", VERSION)
PARAMETERS = b"goldilocks u^2-7; blake3, digests of 25 bytes; reed-solomon ladder, unique decoding; 100 bits"
MAX_STEPS = 2**24
MAX_PROOFS = 2**14


@dataclass(frozen=True)
class Key:
    """A verifying key. ``digest``: what proofs name."""

    program: Program
    encoded: bytes
    hiding: bool
    proofs: int
    max_steps: int
    root: bytes
    digest: bytes
    more: int = 0


def read_key(data: bytes) -> Key:
    """The description is for people: it counts by its digest alone."""
    if data[:8] != b"SYURMYVK" or len(data) < 31:
        raise Rejected("key", "not a verifying key")
    version, modes, proofs, max_steps, size = struct.unpack_from("<HBIQQ", data, 8)
    encoded, tail = data[31 : 31 + size], data[31 + size :]
    if version != VERSION or not 1 <= max_steps <= MAX_STEPS or not tail or tail[0] > 1:
        raise Rejected("key", "a verifying key that cannot be used")
    root, rest = tail[1 : 1 + 32 * tail[0]], tail[1 + 32 * tail[0] :]
    if len(root) != 32 * tail[0] or len(rest) < 4 or len(rest) != 4 + int.from_bytes(rest[:4], "little"):
        raise Rejected("key", "a verifying key that is damaged at its end")
    hiding, more = modes & 1, modes >> 1
    if more > 6 or proofs > MAX_PROOFS or (proofs > 0) != (hiding == 1 and tail[0] == 1):
        raise Rejected("key", "a verifying key that does not say what its proofs hide")
    try:
        program = decode(encoded)
    except SyurmyError as e:
        raise Rejected("key", f"a verifying key without a program: {e}") from e
    if any(p.committed for p in program.params) != (tail[0] == 1):
        raise Rejected("key", "a verifying key with a root too many or too few")
    described = blake3(b"syurmy-vm description" + rest[4:]).digest()
    decisive = data[: len(data) - len(rest)]
    digest = blake3(b"syurmy-vm verifying key" + decisive + described).digest()
    return Key(program, encoded, hiding == 1, proofs, max_steps, root, digest, more)


def uint(v: int) -> bytes:
    """LEB128, shortest form."""
    out = b""
    while v > 127:
        out, v = out + bytes([v & 127 | 128]), v >> 7
    return out + bytes([v])


def encode_path(path: Path) -> bytes:
    """The batch, and per branch with bits its runs of equal bits, zeros first."""
    branches = sorted((pc, bits) for pc, bits in path.bits.items() if bits)
    out = uint(path.batch) + uint(len(branches))
    for pc, bits in branches:
        runs, current = [0], 0
        for bit in bits:
            if bit != current:
                runs.append(0)
                current = bit
            runs[-1] += 1
        out += uint(pc) + uint(len(runs)) + b"".join(map(uint, runs))
    return out


def decode_path(data: bytes, max_steps: int) -> Path:
    """The only path with this encoding, of at most so many inputs and bits."""

    def numbers() -> Iterator[int]:
        value = shift = 0
        for byte in data:
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                yield value
                value = shift = 0
        raise Rejected("path", "a path that is cut short")

    read = numbers()
    batch, bits, left = next(read), {}, max_steps
    for _ in range(next(read)):
        pc, found = next(read), []
        for k in range(next(read)):
            run = next(read)
            left -= run
            if left < 0:
                raise Rejected("path", "a path with more bits than steps")
            found += [k & 1] * run
        bits[pc] = found
    path = Path(batch, bits)
    if not 1 <= batch <= max_steps or encode_path(path) != data:
        raise Rejected("path", "a path that is not canonical")
    return path


@dataclass(frozen=True)
class Commitment:
    """What a proof names in place of an input or output: where the tensor lies, and the digest of all that is said."""

    matrix: Matrix
    proofs: int
    root: bytes
    digest: bytes


RECORD = 4 + 32 + 32  # bytes of a commitment in a statement


def read_commitments(nodes: list[External], hiding: bool, data: bytes) -> list[Commitment]:
    """Proofs, meaning and root of each; the program has the rest of what the digest is of."""
    out = []
    for i, n in enumerate(nodes):
        record = data[RECORD * i : RECORD * (i + 1)]
        proofs = int.from_bytes(record[:4], "little")
        if (not 1 <= proofs <= 1024) if hiding else proofs:
            raise Rejected("statement", f"a commitment for {proofs} proofs")
        choose = partial(tensor_code, hiding=hiding, proofs=proofs)
        matrix = Matrix([(n, n.shape)], least_log_tensor(hiding, proofs), choose)
        code, dtype = matrix.code, list(DType).index(n.dtype)
        head = b"SYURMYTC" + struct.pack("<HBIBB", VERSION, hiding, proofs, dtype, len(n.shape))
        head += struct.pack(f"<{len(n.shape)}I", *n.shape)
        head += struct.pack("<BBIII", code.log_cols, code.log_blowup, code.rows, code.aux, code.tail)
        digest = blake3(b"syurmy-vm tensor commitment" + head + record[4:]).digest()
        out.append(Commitment(matrix, proofs, record[36:], digest))
    return out


def width(node: Public) -> int:
    """Bytes of a value: the narrowest dtype that holds the interval."""
    dtype = smallest_dtype(node.lo, node.hi)
    return 8 if dtype is None else dtype.bits // 8


def read_values(nodes: list[Public], data: bytes) -> dict[Public, list[int]]:
    """Signed, little-endian, tensor after tensor; each value in its interval."""
    out, at = {}, 0
    for n in nodes:
        w = width(n)
        values = [int.from_bytes(data[at + w * i : at + w * i + w], "little", signed=True) for i in range(n.size)]
        if any(not n.lo <= v <= n.hi for v in values):
            raise Rejected("statement", f"a value of {n.name} is outside its interval")
        out[n], at = values, at + w * n.size
    return out
