"""Segments proven by the workers of a Dask cluster (extra ``cluster``): each proof is a task.

    tcp://HOST:PORT, tls://HOST:PORT    a scheduler that runs
    local:N                             N workers on this machine, for as long as the command runs

Programs, keys and the openings of what crosses are read by the workers where this process has them: the folder is
shared by all, under one path, with locks that work (the counts of what was opened lie in it). A task carries paths, the
digest of the key that is meant, and the segment's inputs, and returns the proof, which is verified here. So a worker
sees the weights and the values of its segments, and the openings that it uses; the scheduler sees the inputs on their
way.

A task whose worker dies is given to another one, and has cost its own proof only. Clear proofs are the same bytes
wherever they are made; hiding ones draw their randomness on the worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from syurmy.isa.arrays import I64
from syurmy.isa.errors import InputError
from syurmy.prover.protocol.key import PROTOCOL_VERSION, Mode

if TYPE_CHECKING:
    from syurmy.isa.types import DType
    from syurmy.prover.protocol.description import Quantity
    from syurmy.prover.protocol.proof import Report
    from syurmy.prover.tensors import TensorOpening

PATIENCE = 30  # seconds for a scheduler to answer


@dataclass(frozen=True)
class Sealed:
    """An opening on its way to a worker: its file, or, where it hides nothing, what it is made of."""

    path: Path | None
    values: I64 | None = None
    dtype: DType | None = None
    described: Quantity | None = None

    @staticmethod
    def of(opening: TensorOpening) -> Sealed:
        if opening.allowance is None:
            c = opening.commitment
            return Sealed(None, opening.values, c.dtype, c.described)
        counted = opening.allowance.path
        if counted is None:
            raise InputError("an opening that is in no file cannot be used by a cluster", code="X162")
        return Sealed(counted.with_name(counted.name.removesuffix(".used")).resolve())

    def open(self) -> TensorOpening:
        from syurmy.prover.tensors import TensorOpening, seal

        if self.path is not None:
            return TensorOpening.load(self.path)
        assert self.values is not None
        assert self.dtype is not None
        return seal(self.values, self.dtype, Mode(False), self.described)


@dataclass(frozen=True)
class Part:
    """What a worker needs to prove one segment."""

    number: int
    program: Path
    key: Path
    digest: bytes
    inputs: Mapping[str, I64]
    openings: Mapping[str, Sealed]
    batch: bool
    version: int = PROTOCOL_VERSION


def prove_part(part: Part) -> tuple[bytes, Report]:
    """A worker's task. Raises ``InputError`` X162 where the worker has another version or another key."""
    import syurmy
    from syurmy.prover.keys import ProvingKey

    if part.version != PROTOCOL_VERSION:
        raise InputError(
            f"a worker speaks protocol version {PROTOCOL_VERSION}, not {part.version}",
            code="X162",
            help="install the same version of syurmy-vm on all machines",
        )
    key = ProvingKey.load(part.key, syurmy.load(part.program))
    if key.verifying_key.digest() != part.digest:
        raise InputError(f"{part.key} is another key on a worker", code="X162", help="share one folder, under one path")
    limit = key.verifying_key.max_steps
    trace = syurmy.run(key.program, part.inputs, batch=part.batch, max_steps=limit)
    made = syurmy.prove(key, trace, commitments={name: sealed.open() for name, sealed in part.openings.items()})
    return made.data, made.report


@contextmanager
def connected(scheduler: str) -> Iterator[Any]:
    """A client of the cluster. Raises ``InputError`` X150 without the extra, X162 where no scheduler answers."""
    try:
        from distributed import Client, LocalCluster
    except ModuleNotFoundError as e:
        message = f"proving on a cluster needs the package {e.name}"
        raise InputError(message, code="X150", help="pip install 'syurmy-vm[cluster]'") from e
    local, _, count = scheduler.partition(":")
    if local != "local":
        try:
            client = Client(scheduler, timeout=PATIENCE)
        except (OSError, ValueError, TypeError) as e:
            message = f"no scheduler answers at {scheduler}"
            raise InputError(message, code="X162", help="tcp://HOST:PORT of a running one, or local:N") from e
        with client:
            yield client
        return
    if not count.isdecimal() or not 1 <= int(count) <= 1024:
        raise InputError(f"--scheduler {scheduler} says no number of workers", code="X162", help="for example local:4")
    workers = LocalCluster(n_workers=int(count), threads_per_worker=1, processes=True, dashboard_address=None)
    with workers, Client(workers) as client:
        yield client


Work = Callable[[Part], "tuple[bytes, Report]"]


def proven(client: Any, parts: Sequence[Part], work: Work = prove_part) -> Iterator[tuple[int, bytes, Report]]:
    """Proofs as they finish: number, bytes, what it took. What a task raises is raised here, at once: every proof that
    is begun takes its share of what may be opened. A worker that dies costs its task only, which another one takes, as
    often as Dask allows (``distributed.scheduler.allowed-failures``)."""
    from distributed import as_completed
    from distributed.scheduler import KilledWorker

    futures = {client.submit(work, part, pure=False): part.number for part in parts}
    try:
        for future in as_completed(list(futures)):
            try:
                data, report = future.result()
            except KilledWorker as e:
                message = f"the workers that had segment {futures[future]} died again and again"
                raise InputError(message, code="X162", help="most often for want of memory") from e
            yield futures[future], data, report
    finally:
        client.cancel(list(futures))
