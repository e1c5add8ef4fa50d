"""Every kernel of a proof compiles for three generations of GPUs, within its registers and without spilling.

Nothing here runs on a GPU. ``python -m tests.gpu.test_ptx`` writes the limits anew, with a tenth of room.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from syurmy import gpu
from syurmy.gpu import ptx
from syurmy.prover import commitment
from tests.gpu.common import PROGRAMS, Recorder, few, proven
from tests.gpu.test_forms import CASES, found

LIMITS = Path(__file__).with_name("registers.json")
SHARED = 48 * 1024  # bytes that a block may declare
STACK = 1024  # bytes of local arrays: a hash keeps finished subtrees
Launch = tuple[Callable[..., None], tuple[Any, ...]]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("numba_cuda") is None or ptx.assembler() is None,
        reason="the extra cuda-check is not installed",
    ),
]


@cache
def launches() -> dict[str, list[Launch]]:
    """What proofs and the cases of forms launch, by the kernel's name."""
    device = Recorder()
    with pytest.MonkeyPatch.context() as patch:
        for name in PROGRAMS:
            proven(name, True, device, patch)
            few(patch)
            patch.setattr(commitment, "KEPT", 0)
            proven(name, False, device, patch)
    before = gpu.current()
    gpu.select(device)
    try:
        for case in CASES:
            found(case)
    finally:
        gpu.select(before)
    out: dict[str, list[Launch]] = {}
    for (name, _), launch in device.seen.items():
        out.setdefault(name, []).append(launch)
    return out


def needed(name: str, capability: tuple[int, int]) -> list[ptx.Assembled]:
    return [ptx.assembled(ptx.compiled(*launch, capability), capability) for launch in launches()[name]]


@pytest.mark.parametrize("capability", ptx.CAPABILITIES, ids=lambda c: f"sm_{c[0]}{c[1]}")
def test_every_kernel_compiles_within_its_limits(capability: tuple[int, int]) -> None:
    limits = json.loads(LIMITS.read_text())
    assert gpu.current().name == "cpu"
    assert set(launches()) <= limits.keys(), "a new kernel: python -m tests.gpu.test_ptx"
    over = []
    for name in launches():
        for used in needed(name, capability):
            assert used.spilled == 0, name
            assert used.shared <= SHARED, name
            assert used.stack <= STACK, name
            if used.registers > limits[name]:
                over.append((name, used.registers, limits[name]))
    assert not over


if __name__ == "__main__":
    most = {n: max(a.registers for c in ptx.CAPABILITIES for a in needed(n, c)) for n in sorted(launches())}
    LIMITS.write_text(json.dumps({n: min(255, r + r // 10) for n, r in most.items()}, indent=2) + "\n")
