"""The statement on the wire and in the transcript: version, key, program, public values, trace cells (section 7)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.isa.graph import Public
from syurmy.isa.types import smallest_dtype
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
    """Bytes of a value: those of the narrowest dtype that holds the tensor's interval."""
    dtype = smallest_dtype(node.lo, node.hi)
    return 8 if dtype is None else dtype.bits // 8


def statement_size(plan: Plan) -> int:
    """Bytes of an encoded statement."""
    return sum(width(node) * node.size for node in plan.system.publics)


def encode_statement(plan: Plan, values: Witness | Mapping[Public, I64]) -> bytes:
    """Public inputs, reveals and outputs in canonical order, little-endian, signed, each as wide as its dtype."""
    get = values.__getitem__ if isinstance(values, Mapping) else values
    return b"".join(np.ascontiguousarray(get(n)).astype(f"<i{width(n)}").tobytes() for n in plan.system.publics)


def decode_statement(plan: Plan, data: bytes) -> dict[Public, I64]:
    """The inverse; the size has been checked. The caller checks that every value is inside its interval."""
    out: dict[Public, I64] = {}
    at = 0
    for n in plan.system.publics:
        out[n] = np.frombuffer(data, f"<i{width(n)}", n.size, at).astype(np.int64).reshape(n.shape)
        at += width(n) * n.size
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
