"""The executed path on the wire: a batch and, per conditional branch, its bits as run lengths (protocol section 7)."""

from __future__ import annotations

from syurmy.isa.path import DEFAULT_MAX_STEPS, Path


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
