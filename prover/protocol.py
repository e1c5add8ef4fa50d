"""What both sides of the protocol share besides the plan: the statement's bytes, the soundness budget, grinding."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from blake3 import blake3

from isa.control import DEFAULT_MAX_STEPS, Path
from isa.graph import ParamTensor, Public
from isa.program import I64
from prover import soundness
from prover.claims import Term
from prover.code import MatrixShape
from prover.contraction import Contraction
from prover.plan import Plan
from prover.soundness import Budget
from prover.transcript import Transcript
from prover.verifier.key import PROTOCOL_VERSION, VerifyingKey

if TYPE_CHECKING:
    from prover.witness import Witness

MAGIC = b"SYURMYPF" + struct.pack("<H", PROTOCOL_VERSION)
PARAMETERS = b"goldilocks u^2-7; blake3; ligero rho 1/4 unique decoding; 100 bits"

GRINDING_BITS = 16
GRINDING_LEAVES = 2**24  # more leaves than this need the grinding bits to stay at 100


def needs_grinding(plan: Plan) -> bool:
    return plan.used_leaves > GRINDING_LEAVES


def encode_path(path: Path) -> bytes:
    """The batch, then per conditional branch (in order of instruction) its bits as run lengths.

    Runs of 0 and 1 in turn, the first possibly empty; all numbers LEB128.
    """
    out = bytearray(_uint(path.batch))
    branches = sorted((pc, bits) for pc, bits in path.bits.items() if len(bits))
    out += _uint(len(branches))
    for pc, bits in branches:
        runs = [0]
        current = 0
        for bit in bits:
            if bit != current:
                runs.append(0)
                current = bit
            runs[-1] += 1
        out += _uint(pc) + _uint(len(runs)) + b"".join(_uint(r) for r in runs)
    return bytes(out)


def decode_path(data: bytes, max_steps: int = DEFAULT_MAX_STEPS) -> Path:
    """The path of these bytes.

    Raises ``ValueError`` for any bytes that ``encode_path`` does not write, and for paths longer than ``max_steps``.
    """
    at = 0

    def uint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at] if at < len(data) and shift < 63 else -1
            if byte < 0:
                raise ValueError("truncated number")
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    batch = uint()
    bits: dict[int, list[int]] = {}
    budget = max_steps
    for _ in range(min(uint(), max_steps)):
        pc, count = uint(), uint()
        dealt: list[int] = []
        for k in range(min(count, max_steps)):
            run = uint()
            budget -= run
            if budget < 0:
                raise ValueError("more branches than steps are allowed")
            dealt += [k & 1] * run
        bits[pc] = dealt
    path = Path(batch, bits)
    if not 1 <= batch <= max_steps or encode_path(path) != data:
        raise ValueError("not in canonical form")
    return path


def _uint(v: int) -> bytes:
    out = bytearray()
    while v > 127:
        out.append(v & 127 | 128)
        v >>= 7
    out.append(v)
    return bytes(out)


def statement_size(plan: Plan) -> int:
    """Bytes of an encoded statement."""
    return sum(8 * node.size for node in plan.system.publics)


def encode_statement(plan: Plan, values: Witness | Mapping[Public, I64]) -> bytes:
    """Public inputs, reveals and outputs in canonical order, little-endian int64."""
    get = values.__getitem__ if isinstance(values, Mapping) else values
    return b"".join(np.ascontiguousarray(get(n), dtype="<i8").tobytes() for n in plan.system.publics)


def decode_statement(plan: Plan, data: bytes) -> dict[Public, I64]:
    """The inverse; the size has been checked."""
    out: dict[Public, I64] = {}
    at = 0
    for n in plan.system.publics:
        out[n] = np.frombuffer(data, "<i8", n.size, at).astype(np.int64).reshape(n.shape)
        at += 8 * n.size
    return out


def start_transcript(transcript: Transcript) -> None:
    """Version and parameters come first."""
    transcript.absorb("protocol", MAGIC + PARAMETERS)


def absorb_statement(transcript: Transcript, plan: Plan, vk: VerifyingKey) -> None:
    """After the root, key digest and statement: the program's digest and one zero byte per trace cell (protocol
    section 7)."""
    transcript.absorb("program", blake3(b"syurmy-vm program" + vk.program).digest())
    transcript.absorb_zeros("trace cells", plan.trace_cells)


def grinding_nonce(transcript: Transcript, bits: int) -> bytes:
    """The smallest nonce that the transcript's state accepts."""
    seed = transcript.challenge("grinding seed")
    nonce = 0
    while not grinding_holds((seed.a, seed.b), nonce.to_bytes(8, "little"), bits):
        nonce += 1
    return nonce.to_bytes(8, "little")


def grinding_holds(seed: tuple[int, int], nonce: bytes, bits: int) -> bool:
    digest = blake3(struct.pack("<QQ", *seed) + nonce).digest()
    return int.from_bytes(digest[:8], "little") & ((1 << bits) - 1) == 0


def budget(
    plan: Plan,
    contractions: Sequence[Contraction],
    param_claims: int,
    reduced: Mapping[ParamTensor, Sequence[Term]],
) -> Budget:
    """All errors of a proof but the queries; ``query_counts`` adds those."""
    b = Budget()
    if plan.blocks:
        b.add("logup", soundness.logup(plan.used_leaves, plan.width, GRINDING_BITS if needs_grinding(plan) else 0))
        b.add("gkr", soundness.gkr(plan.log_leaves))
    b.add("equations at a point", soundness.sumcheck(1, plan.point_length))
    b.add("claims (gamma)", soundness.batching(2 + len(plan.equations)))
    if contractions:
        rounds = max(c.variables for c in contractions)
        b.add("contraction", soundness.sumcheck(max(c.degree for c in contractions), rounds))
        b.add("operands (eta)", soundness.batching(2 * len(contractions)))
    b.add("opening", soundness.sumcheck(2, plan.witness.log_entries))
    b.add("witness proximity", soundness.proximity(plan.witness.shape))
    if reduced and plan.params is not None:
        rounds = max(plan.params.places[p.name].log_size for p in reduced)
        b.add("params reduction", soundness.sumcheck(2, rounds))
    if param_claims and plan.params is not None:
        b.add("params claims (gamma, delta)", soundness.batching(2 * param_claims))
        b.add("params opening", soundness.sumcheck(2, plan.params.shape.log_cols))
        b.add("params proximity", soundness.proximity(plan.params.shape, param_claims))
    return b


def query_counts(plan: Plan, b: Budget, param_claims: int) -> list[int]:
    """Queries for the witness and, with claims on params, the params matrix; their errors join the budget.

    Raises ``soundness.InsufficientSoundness``.
    """
    shapes: list[MatrixShape] = [plan.witness.shape]
    if param_claims and plan.params is not None:
        shapes.append(plan.params.shape)
    counts = soundness.queries_for(b, shapes)
    for name, shape, count in zip(("witness queries", "params queries"), shapes, counts, strict=False):
        b.add(f"{name} ({count})", soundness.query(shape, count))
    return counts
