"""The statement on the wire and in the transcript: version, key, program, public values, trace cells (section 7)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.isa.graph import Public
from syurmy.prover.protocol.key import PROTOCOL_VERSION, VerifyingKey
from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.tensors import TensorCommitment
from syurmy.prover.protocol.transcript import Transcript

if TYPE_CHECKING:
    from syurmy.prover.witness import Witness

MAGIC = b"SYURMYPF" + struct.pack("<H", PROTOCOL_VERSION)
CERTIFICATE_MAGIC = b"SYURMYCT" + struct.pack("<H", PROTOCOL_VERSION)
NO_CERTIFICATE = bytes(32)  # what a proof names that rests on none
PARAMETERS = b"goldilocks u^2-7; blake3, digests of 25 bytes; reed-solomon ladder, unique decoding; 100 bits"


def width(node: Public) -> int:
    """Bytes of a value, 1 to 8: the fewest that hold the tensor's interval, with the sign."""
    return min(8, (max(node.hi, ~node.lo, 0).bit_length() + 8) // 8)


def statement_size(plan: Plan) -> int:
    """Bytes of an encoded statement."""
    return sum(width(node) * node.size for node in plan.system.publics)


def encode_statement(plan: Plan, values: Witness | Mapping[Public, I64]) -> bytes:
    """Public inputs, reveals and outputs in canonical order, little-endian, signed, each as wide as its interval."""
    get = values.__getitem__ if isinstance(values, Mapping) else values
    wide = ((width(n), np.ascontiguousarray(get(n), "<i8").reshape(-1, 1).view(np.uint8)) for n in plan.system.publics)
    return b"".join(a[:, :size].tobytes() for size, a in wide)


def decode_statement(plan: Plan, data: bytes) -> dict[Public, I64]:
    """The inverse; the size has been checked. The caller checks that every value is inside its interval."""
    out: dict[Public, I64] = {}
    at = 0
    for n in plan.system.publics:
        size = width(n)
        whole = 4 if size <= 4 else 8
        wide = np.zeros((n.size, whole), np.uint8)  # the value's bytes are the upper ones: the shift has its sign
        wide[:, whole - size :] = np.frombuffer(data, np.uint8, size * n.size, at).reshape(n.size, size)
        words = wide.view(f"<i{whole}")
        words >>= 8 * (whole - size)
        out[n] = words.astype(np.int64, copy=False).reshape(n.shape)
        at += size * n.size
    return out


def start_transcript(transcript: Transcript, magic: bytes = MAGIC) -> None:
    """Version and parameters come first; ``magic``: of what begins like this."""
    transcript.absorb("protocol", magic + PARAMETERS)


def absorb_statement(
    transcript: Transcript, plan: Plan, vk: VerifyingKey, commitments: Mapping[str, TensorCommitment] | None = None
) -> None:
    """After the root, key digest and statement: the digests of the commitments, if there are any, the program's digest
    and one zero byte per trace cell (protocol section 7)."""
    if commitments:
        transcript.absorb("commitment digests", b"".join(c.digest() for c in commitments.values()))
    transcript.absorb("program", vk.program_digest)
    transcript.absorb_zeros("trace cells", plan.trace_cells)
