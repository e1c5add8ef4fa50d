"""What proofs are made on: ``--device`` of the commands that prove, and ``SYURMY_DEVICE``, which the library reads too.

    cpu         this machine's processor: what is used where nothing is said
    cuda[:N]    a graphics card, the first unless a number is given
    auto        the first graphics card, the processor where there is none

Proofs are the same byte by byte, but for what is drawn at random.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "SYURMY_DEVICE"
CPU, AUTO = "cpu", "auto"
_log = logging.getLogger("syurmy")
_chosen: list[str] = []  # by --device, or once by the environment


@contextmanager
def used(name: str | None) -> Iterator[None]:
    """Proofs inside are made on this device; None: as the environment says. Raises ``InputError`` X181 for a device
    that there is not."""
    if name is None:
        yield
        return
    from syurmy import gpu
    from syurmy.prover import kernels  # noqa: F401  (selects the processor)

    before, chosen = gpu.current(), [*_chosen]
    _select(name, "--device")
    try:
        yield
    finally:
        gpu.select(before)
        _chosen[:] = chosen


def settle() -> None:
    """Choose what the environment names, unless there was a choice already. Raises as ``used``."""
    if not _chosen and (name := os.environ.get(VARIABLE)):
        _select(name, VARIABLE)


def _select(name: str, said: str) -> None:
    from syurmy import gpu
    from syurmy.isa.errors import InputError
    from syurmy.prover.kernels import pool

    if not re.fullmatch(r"cpu|auto|cuda(:\d{1,4})?", name):
        raise InputError(f"{said} {name} is no device", code="X181", help="cpu, cuda, cuda:N or auto")
    backend: gpu.Backend = pool.CPU
    if name != CPU:
        from syurmy.gpu import cuda
        from syurmy.gpu.grid import Grid
        from syurmy.prover.kernels.grid import FORMS

        if name != AUTO or not cuda.missing():
            try:
                backend = Grid(cuda.Cuda(int(name.partition(":")[2] or 0)), FORMS, pool.CPU)
            except RuntimeError as e:
                help = "cpu proves everywhere; syurmy-vm devices shows what there is"
                raise InputError(f"{said} {name}: {e}", code="X181", help=help) from e
            _log.info("proofs are made on %s", backend.name)
    gpu.select(backend)
    _chosen[:] = [name]
