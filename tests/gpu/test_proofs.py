"""A proof does not depend on the device: key and proof through the CUDA sources are those of the CPU, byte by byte."""

from __future__ import annotations

import pytest

from syurmy import gpu
from syurmy.gpu.emulator import Emulator
from syurmy.prover import commitment
from tests.gpu.common import PROGRAMS, few, on, proven

pytestmark = pytest.mark.slow  # compiling thirty kernels


@pytest.fixture(scope="module")
def device() -> Emulator:
    return Emulator(backwards=True, checked=True)


@pytest.mark.parametrize(("name", "zk"), [*((name, True) for name in PROGRAMS), (PROGRAMS[0], False)])
def test_the_proof_is_that_of_the_cpu(name: str, zk: bool, device: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = proven(name, zk, gpu.current(), monkeypatch)
    device.launched.clear()
    if not zk:
        few(monkeypatch)
        monkeypatch.setattr(commitment, "KEPT", 0)
    assert proven(name, zk, on(device), monkeypatch) == expected
    assert (
        zk
        or {"logup_next_round", "sumcheck_round_all", "sumcheck_fold_tables", "moves_evaluate_kernel"}
        <= device.launched.keys()
    )
    assert {
        "ntt_pass",
        "hash_messages",
        "transpose",
        "lookup_tail",
        "product_tail",
    } <= device.launched.keys()
