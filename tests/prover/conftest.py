"""The tests of this folder share kernels of few items between threads, which would not pay."""

import pytest

from syurmy.prover import layers, lookup, sumcheck
from syurmy.prover.kernels import compiled, pool

FEW = 256


@pytest.fixture(autouse=True)
def _shared_by_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pool.for_ranges.__kwdefaults__, "min_chunk", FEW)
    for module in (pool, compiled):
        monkeypatch.setattr(module, "MIN_CHUNK", FEW)
    for module in (layers, lookup, sumcheck):
        monkeypatch.setattr(module, "_CHUNK", FEW)
