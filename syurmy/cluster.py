"""Proofs made by the workers of a Dask cluster (extra ``cluster``): each proof is a task.

    tcp://HOST:PORT, tls://HOST:PORT    a scheduler that runs
    local:N                             N workers on this machine, for as long as the command runs

A task carries the digest of the key that is meant and where it is, the inputs, and the openings of what is committed;
it returns the proof, which is verified here. Keys are read where this process has them, in a folder that all share
under one path, or from a store (``stores.py``), where a worker fetches each once. The counts of what may be opened of
keys and commitments stay here: a proof that begins asks for its share, so one that is begun again takes another.

So a worker sees the weights and the values of what it proves, and the openings that it uses; the scheduler sees the
inputs and openings on their way. A task whose worker dies is given to another one, and has cost its own proof only.
Clear proofs are the same bytes wherever they are made; hiding ones draw their randomness on the worker.
"""

from __future__ import annotations

import logging
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from syurmy.isa.arrays import I64
from syurmy.isa.errors import InputError, SyurmyError
from syurmy.prover.allowance import Allowance
from syurmy.prover.protocol.key import PROTOCOL_VERSION, Mode
from syurmy.stores import Store

if TYPE_CHECKING:
    from syurmy.isa.program import Program
    from syurmy.isa.types import DType
    from syurmy.prover.keys import ProvingKey
    from syurmy.prover.protocol.description import Quantity
    from syurmy.prover.protocol.proof import Report
    from syurmy.prover.tensors import TensorOpening

PATIENCE = 30  # seconds for a scheduler to answer, for a worker to be there, for a count to be told
MEMORY = "MEMORY"  # the resource of workers, in bytes, that proofs take
SAME_VERSION = "install the same version of syurmy-vm on all machines"


# ---- what a task carries ---------------------------------------------------------------------------------------------


class Asking(Allowance):
    """A count that is kept by who gave out the work, and is asked there."""

    def __init__(self, kept: Allowance, ask: Callable[[bytes, int], None]) -> None:
        self.subject, self.digest, self.limit, self.path, self._own = kept.subject, kept.digest, kept.limit, None, None
        self.ask = ask

    def take(self, positions: int) -> None:
        self.ask(self.digest, positions)


@dataclass(frozen=True)
class Sealed:
    """What an opening is made of."""

    values: I64
    dtype: DType
    mode: Mode
    seed: bytes
    described: Quantity | None

    @staticmethod
    def of(opening: TensorOpening) -> Sealed:
        c = opening.commitment
        return Sealed(opening.values, c.dtype, c.mode, opening.seed, c.described)

    def open(self, ask: Callable[[bytes, int], None]) -> TensorOpening:
        from syurmy.prover.tensors import sealed_with

        opening = sealed_with(self.seed, self.values, self.dtype, self.mode, self.described)
        return opening if opening.allowance is None else replace(opening, allowance=Asking(opening.allowance, ask))


@dataclass(frozen=True)
class Files:
    """A program and its proving key in files that this process and the workers have under the same path."""

    program: Path
    key: Path

    def load(self, digest: bytes) -> ProvingKey:
        import syurmy
        from syurmy.prover.keys import ProvingKey

        key = ProvingKey.load(self.key, syurmy.load(self.program))
        if key.verifying_key.digest() != digest:
            help = "share one folder, under one path, or give a --store"
            raise InputError(f"{self.key} is another key on a worker", code="X162", help=help)
        return key


@dataclass(frozen=True)
class Stored:
    """A program and its proving key in a store, by the key's digest."""

    store: Store

    def load(self, digest: bytes) -> ProvingKey:
        from distributed import get_worker

        return self.store.load(digest, Path(get_worker().local_directory) / "syurmy-vm")


@dataclass(frozen=True)
class Part:
    """What a worker needs to make one proof. ``inputs``: those that no opening holds; ``counts``: the queue of those
    who ask for their share of a count."""

    number: int
    key: Files | Stored
    digest: bytes
    inputs: Mapping[str, I64]
    openings: Mapping[str, Sealed]
    batch: bool
    certificate: bytes | None = None
    counts: str = ""
    version: int = PROTOCOL_VERSION


@dataclass(frozen=True)
class Task:
    """A part, the counts that its proof takes from, about how many bytes it takes, asked for where that is of use, and
    what is done before it is sent. ``name``: what it is called in errors and on the dashboard."""

    part: Part
    name: str
    allowances: Sequence[Allowance]
    memory: Callable[[], int]
    prepare: Callable[[], None]


# ---- on a worker -----------------------------------------------------------------------------------------------------

_loaded: dict[bytes, ProvingKey] = {}  # the last key: proofs of one program follow each other


def prove_part(part: Part) -> tuple[bytes, Report]:
    """A worker's task. Raises ``InputError``: X162 where the worker has another version or another key, or as running
    and proving do."""
    import syurmy

    if part.version != PROTOCOL_VERSION:
        message = f"a worker speaks protocol version {PROTOCOL_VERSION}, not {part.version}"
        raise InputError(message, code="X162", help=SAME_VERSION)

    def ask(digest: bytes, positions: int) -> None:
        _ask(part.counts, digest, positions)

    try:
        key = _key(part)
        if key.allowance is not None:
            key = replace(key, allowance=Asking(key.allowance, ask))
        openings = {name: sealed.open(ask) for name, sealed in part.openings.items()}
        read = {i.name for i in key.program.inputs}
        inputs = {n: o.values if part.batch else o.values[0] for n, o in openings.items() if n in read}
        limit = key.verifying_key.max_steps
        trace = syurmy.run(key.program, {**part.inputs, **inputs}, batch=part.batch, max_steps=limit)
        made = syurmy.prove(key, trace, commitments=openings, certificate=part.certificate)
    except SyurmyError as e:  # one of a kind that can be sent
        raise InputError(e.message, code=e.code, help=e.help) from None
    return made.data, made.report


def _key(part: Part) -> ProvingKey:
    found = _loaded.get(part.digest)
    if found is None:
        _loaded.clear()  # before there is another one in memory
        found = _loaded[part.digest] = part.key.load(part.digest)
    return found


def _ask(counts: str, digest: bytes, positions: int) -> None:
    from distributed import Queue

    reply = f"{counts}-{uuid.uuid4().hex}"
    Queue(counts).put([digest.hex(), positions, reply])
    refused = Queue(reply).get(timeout=PATIENCE)
    if refused is not None:
        message, code, help = refused
        raise InputError(message, code=code, help=help)


# ---- here ------------------------------------------------------------------------------------------------------------

Work = Callable[[Part], "tuple[bytes, Report]"]


@dataclass(frozen=True)
class Cluster:
    """A client of Dask. ``address``: of the scheduler, for errors; ``store``: where keys are published, if not read
    from shared files."""

    client: Any
    address: str
    store: Store | None = None
    work: Work = field(default=prove_part, repr=False)

    def task(
        self,
        number: int,
        name: str,
        at: tuple[Program, Path],
        key: tuple[bytes, Path],
        inputs: Mapping[str, I64],
        openings: Mapping[str, TensorOpening],
        batch: bool,
        certificate: bytes | None = None,
    ) -> Task:
        """The proof of a run as a task. ``at``: the program and its file; ``key``: digest and file of the proving key,
        which is published if there is a store. Raises ``InputError``."""
        from syurmy.prover.keys import counted

        (program, file), (digest, path) = at, key
        own = counted(path)[0]
        allowances = [a for a in (own, *(o.allowance for o in openings.values())) if a is not None]
        store = self.store
        where = Files(file.resolve(), path.resolve()) if store is None else Stored(store)
        sealed = {n: Sealed.of(opening) for n, opening in openings.items()}
        given = {i.name: inputs[i.name] for i in program.inputs if i.name not in openings}
        part = Part(number, where, digest, given, sealed, batch, certificate)
        count = len(next(iter(inputs.values()))) if batch and inputs else 1

        def publish() -> None:
            if store is not None:
                store.publish(program, path, digest)

        return Task(part, name, allowances, lambda: memory(program, count), publish)

    def proven(self, tasks: Sequence[Task]) -> Iterator[tuple[int, bytes, Report]]:
        """Proofs as they finish: number, bytes, what it took. What a task raises is raised here, at once. A worker that
        dies costs its task only, which another one takes, as often as Dask allows
        (``distributed.scheduler.allowed-failures``). Raises ``InputError`` X162 where that is too often, where the
        scheduler is gone, or where no worker has the memory."""
        try:
            yield from self._proven(tasks)
        except (GeneratorExit, KeyboardInterrupt, SyurmyError):
            raise
        except BaseException as e:  # Dask's cancelled tasks are no Exception
            raise self._failed(e) from e

    def _proven(self, tasks: Sequence[Task]) -> Iterator[tuple[int, bytes, Report]]:
        from distributed import as_completed
        from distributed.scheduler import KilledWorker

        allowances = {a.digest: a for task in tasks for a in task.allowances}
        resources = self._resources(tasks)
        futures: dict[Any, Task] = {}
        with _counting(self.client, allowances) as counts:
            try:
                for task in tasks:
                    task.prepare()
                    name = f"{task.name.replace(' ', '_')}-{uuid.uuid4().hex}"  # what is before the dash is displayed
                    with warnings.catch_warnings():
                        warnings.filterwarnings("ignore", "Sending large graph")  # its inputs are what they are
                        future = self.client.submit(
                            self.work, replace(task.part, counts=counts), key=name, resources=resources.get(task.name)
                        )
                    futures[future] = task
                for future in as_completed(list(futures)):
                    try:
                        data, report = future.result()
                    except KilledWorker as e:
                        message = f"the workers that had {futures[future].name} died again and again"
                        raise InputError(message, code="X162", help="most often for want of memory") from e
                    yield futures[future].part.number, data, report
            finally:
                with suppress(Exception):  # a scheduler that is gone has forgotten them
                    self.client.cancel(list(futures))

    def _failed(self, e: BaseException) -> InputError:
        """What Dask, or a worker that is unlike this process, raised."""
        lost = type(e).__name__ in ("CancelledError", "FutureCancelledError", "CommClosedError")
        if lost or self.client.status != "running":
            return InputError(
                f"the scheduler at {self.address} is gone",
                code="X162",
                help="proofs that came back are kept; the same command goes on from there",
            )
        return InputError(f"a worker failed: {type(e).__name__}: {e}", code="X162", help=SAME_VERSION)

    def _resources(self, tasks: Sequence[Task]) -> dict[str, dict[str, int] | None]:
        """What each task takes of the workers' memory, if they say what they have. Raises ``InputError`` X162 for more
        than any has."""

        def resources(dask_scheduler: Any) -> list[dict[str, float]]:
            return [dict(w.resources) for w in dask_scheduler.workers.values()]

        offered = [r[MEMORY] for r in self.client.run_on_scheduler(resources) if MEMORY in r]
        if not offered:
            return {}
        needed = {task.name: task.memory() for task in tasks}
        name, most = max(needed.items(), key=lambda x: x[1], default=("", 0))
        if most > max(offered):
            message = f"{name} takes about {most / 1e9:.1f} GB, the workers offer {max(offered) / 1e9:.1f} GB"
            raise InputError(message, code="X162", help=f"more segments, or a worker with --resources {MEMORY}=BYTES")
        return {name: {MEMORY: size} for name, size in needed.items()}


def memory(program: Program, batch: int) -> int:
    """About how many bytes a proof takes (syurmy/memory.py), 0 where only the run shows that."""
    from syurmy.isa.path import Path as ExecutedPath
    from syurmy.memory import of_plan
    from syurmy.prover.protocol.key import Mode
    from syurmy.prover.protocol.plan import Plan, branches

    if branches(program):
        return 0
    return of_plan(Plan.of(program, ExecutedPath(batch=batch), mode=Mode.of(program))).prove


@contextmanager
def connected(scheduler: str, store: str | None = None) -> Iterator[Cluster]:
    """A cluster with at least one worker. Raises ``InputError``: X150 without the extra, X162 where no scheduler
    answers, has no workers, or some that have another version."""
    try:
        from distributed import Client, LocalCluster
    except ModuleNotFoundError as e:
        message = f"proving on a cluster needs the package {e.name}"
        raise InputError(message, code="X150", help="pip install 'syurmy-vm[cluster]'") from e
    for part in ("client", "core"):
        logging.getLogger(f"distributed.{part}").setLevel(logging.CRITICAL)  # what is wrong is said here
    local, _, count = scheduler.partition(":")
    place = None if store is None else Store(store)
    if local != "local":
        try:
            client = Client(scheduler, timeout=PATIENCE)
        except (OSError, ValueError, TypeError) as e:
            message = f"no scheduler answers at {scheduler}: {str(e).partition(chr(10))[0]}"
            raise InputError(message, code="X162", help="tcp://HOST:PORT of a running one, or local:N") from e
        with client:
            _check_workers(client, scheduler)
            yield Cluster(client, scheduler, place)
        return
    if not count.isdecimal() or not 1 <= int(count) <= 1024:
        raise InputError(f"--scheduler {scheduler} says no number of workers", code="X162", help="for example local:4")
    workers = LocalCluster(n_workers=int(count), threads_per_worker=1, processes=True, dashboard_address=None)
    with workers, Client(workers) as client:
        yield Cluster(client, scheduler, place)


def _check_workers(client: Any, scheduler: str) -> None:
    """Raises ``InputError`` X162 where there is no worker, or one of another version or without this package."""

    def version() -> int:  # sent as code, as a worker may not have this file
        from syurmy.prover.protocol.key import PROTOCOL_VERSION

        return PROTOCOL_VERSION

    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError as e:
        raise InputError(f"the scheduler at {scheduler} has no workers", code="X162", help="dask worker ADDRESS") from e
    for worker, found in client.run(version, on_error="return").items():
        if isinstance(found, BaseException):
            help = SAME_VERSION if isinstance(found, ImportError) else "it, or the scheduler, may be gone"
            raise InputError(f"the worker {worker} cannot be used: {found}", code="X162", help=help)
        if found != PROTOCOL_VERSION:
            message = f"the worker {worker} speaks protocol version {found}, not {PROTOCOL_VERSION}"
            raise InputError(message, code="X162", help=SAME_VERSION)


@contextmanager
def _counting(client: Any, allowances: Mapping[bytes, Allowance]) -> Iterator[str]:
    """Answers those who ask for a share of a count, as long as the block runs; the name of the queue to ask in."""
    from distributed import Queue

    name = f"syurmy-counts-{uuid.uuid4().hex}"
    asked = Queue(name, client)
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            try:
                digest, positions, reply = asked.get(timeout=1)
            except TimeoutError:
                continue
            except Exception:  # the scheduler is gone, or the command ends
                return
            refused = None
            try:
                allowances[bytes.fromhex(digest)].take(positions)
            except SyurmyError as e:
                refused = [e.message, e.code, e.help]
            except KeyError:
                refused = ["a worker asked for a count that is not its part's", "X162", ""]
            with suppress(Exception):
                Queue(reply, client).put(refused)

    if not allowances:
        yield name
        return
    server = threading.Thread(target=serve, daemon=True)
    server.start()
    try:
        yield name
    finally:
        over.set()
        server.join(timeout=5)
