"""Keys, paths and the statement as bytes (protocol, sections 0 and 11.1)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from blake3 import blake3

from syurmy.isa.encoding import decode
from syurmy.isa.errors import SyurmyError
from syurmy.isa.graph import Public
from syurmy.isa.path import Path
from syurmy.isa.program import Program
from syurmy.isa.types import smallest_dtype
from tests.reference_verifier.transcript import Rejected

VERSION = 2
MAGIC = b"SYURMYPF" + struct.pack("<H", VERSION)
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


def read_key(data: bytes) -> Key:
    """The description is for people: it counts by its digest alone."""
    if data[:8] != b"SYURMYVK" or len(data) < 31:
        raise Rejected("key", "not a verifying key")
    version, hiding, proofs, max_steps, size = struct.unpack_from("<HBIQQ", data, 8)
    encoded, tail = data[31 : 31 + size], data[31 + size :]
    if version != VERSION or not 1 <= max_steps <= MAX_STEPS or not tail or tail[0] > 1:
        raise Rejected("key", "a verifying key that cannot be used")
    root, rest = tail[1 : 1 + 32 * tail[0]], tail[1 + 32 * tail[0] :]
    if len(root) != 32 * tail[0] or len(rest) < 4 or len(rest) != 4 + int.from_bytes(rest[:4], "little"):
        raise Rejected("key", "a verifying key that is damaged at its end")
    if hiding > 1 or proofs > MAX_PROOFS or (proofs > 0) != (hiding == 1 and tail[0] == 1):
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
    return Key(program, encoded, hiding == 1, proofs, max_steps, root, digest)


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
