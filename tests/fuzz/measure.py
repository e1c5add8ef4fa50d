"""What answering keys and paths of strangers takes: processor time and memory of a verifier in a process of its own.

Processor time, not the clock's, so that other work on the machine does not decide; see ``growth`` for the goal.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import multiprocessing.connection
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from syurmy.host import peak_mb
from syurmy.isa.encoding import encode
from syurmy.isa.errors import SyurmyError
from syurmy.isa.path import Path
from syurmy.isa.program import Program
from syurmy.prover.protocol.key import VerifyingKey
from syurmy.prover.protocol.path import encode_path
from syurmy.prover.protocol.statement import MAGIC, NO_CERTIFICATE
from syurmy.prover.verifier.verify import Verifier
from tests.fuzz import growth
from tests.fuzz.growth import FAMILIES

KEY = 10**6  # bytes
MEMORY = 8 << 30
SECONDS = 60
GOAL_SECONDS, GOAL_MEGABYTES = 10, 2048
HONEST = 10  # times the processor time of an honest prover


def key_of(p: Program) -> VerifyingKey:
    return VerifyingKey(encode(p), bytes(32) if any(q.committed for q in p.params) else None)


def head(vk: VerifyingKey, path: Path) -> bytes:
    """The first bytes of a proof with this path: all that a stranger needs to make the verifier plan."""
    wire = encode_path(path)
    return MAGIC + bytes(32) + vk.digest() + NO_CERTIFICATE + len(wire).to_bytes(4, "little") + wire


def answer(key: bytes, path: Path) -> str:
    """What a verifier with the limits of the command says to this key and the first bytes of a proof."""
    try:
        vk = VerifyingKey.from_bytes(key)
        verifier = Verifier(vk)
    except SyurmyError as e:
        return f"key: {e.code} {e.message[:60]}"
    try:
        verifier.verify(head(vk, path) + bytes(10**6))
    except SyurmyError as e:
        return f"proof: {e.message[:60]}"
    return "accepted"


def largest(name: str) -> int:
    """The size of the largest member whose key fits."""
    make, most = FAMILIES[name]
    lo, hi = 1, 2
    while hi < most and len(encode(make(hi)[0])) < KEY:
        lo, hi = hi, 2 * hi
    hi = min(hi, most + 1)
    while hi - lo > max(1, lo // 16):
        mid = (lo + hi) // 2
        lo, hi = (mid, hi) if len(encode(make(mid)[0])) < KEY else (lo, mid)
    return lo


@dataclass(frozen=True)
class Cost:
    """What answering one member took. ``seconds`` of processor time; infinite where there was no answer."""

    family: str
    size: int
    key: int = 0  # bytes
    seconds: float = math.inf
    megabytes: int = MEMORY >> 20
    answer: str = f"no answer within {SECONDS} s and {MEMORY >> 30} GiB"

    def problem(self, slack: float = 1) -> str | None:
        """How the goal is missed, if it is, with so many times the time and memory allowed."""
        if self.megabytes > slack * GOAL_MEGABYTES:
            return f"{self.megabytes} MB"
        if self.seconds <= slack * GOAL_SECONDS:
            return None
        if math.isinf(self.seconds):
            return self.answer
        limit = self.seconds / (slack * HONEST)
        done = in_a_process(_proven, limit, self.family, self.size, math.ceil(limit) + 1)
        if done is None or done >= limit:
            return None  # the honest prover takes longer than a tenth, if it has not been stopped before its end
        return f"{self.seconds:.1f} s, {done:.1f} s for an honest prover"


def cost(family: str, size: int) -> Cost:
    """What a verifier in a process of its own takes to answer."""
    found = in_a_process(_measured, None, family, size)
    return Cost(family, size) if found is None else Cost(family, size, *found)


def in_a_process(target: Callable[..., None], stopped: Any, *arguments: Any) -> Any:
    """What ``target(*arguments, pipe)`` sends, from a process with a memory of its own; ``stopped`` if it sends
    nothing."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe(duplex=False)
    child = spawn.Process(target=target, args=(*arguments, theirs))
    child.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        return stopped
    finally:
        child.join()


def _limited(seconds: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))


def _measured(name: str, n: int, pipe: multiprocessing.connection.Connection) -> None:
    p, path = FAMILIES[name][0](n)
    key = key_of(p).to_bytes()
    _limited(SECONDS)
    start = time.process_time()
    said = answer(key, path)
    pipe.send((len(key), time.process_time() - start, round(peak_mb()), said))


def _proven(name: str, n: int, seconds: int, pipe: multiprocessing.connection.Connection) -> None:
    """Sends how long an honest prover takes; 0 where there is no honest proof."""
    from syurmy.prover.keys import setup
    from syurmy.prover.prove import prove
    from syurmy.vm.machine import run, run_batch

    p, path = FAMILIES[name][0](n)
    data = {q.name: np.zeros(q.type.shape, np.int64) for q in p.params}
    p = replace(p, data=data)
    zeros = {i.name: np.full(i.type.shape, min(max(i.type.lo, 0), i.type.hi), np.int64) for i in p.inputs}
    _limited(seconds + int(time.process_time()))
    start = time.process_time()
    try:
        if path.batch > 1:
            trace = run_batch(p, {name: np.stack([x] * path.batch) for name, x in zeros.items()})
        else:
            trace = run(p, zeros)
        prove(setup(p), trace)
    except SyurmyError:
        pipe.send(0.0)
        return
    pipe.send(time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.growth", description=growth.__doc__)
    parser.add_argument("families", nargs="*")
    parser.add_argument("--check", action="store_true", help="fail where the goal is missed")
    arguments = parser.parse_args()
    missed = 0
    print(f"{'family':42s} {'size':>8s} {'key':>8s} {'s':>6s} {'MB':>5s}  answer")
    for text in arguments.families or sorted(FAMILIES):
        name, _, size = text.partition(":")
        c = cost(name, int(size or largest(name)))
        print(f"{name:42s} {c.size:8d} {c.key:8d} {c.seconds:6.1f} {c.megabytes:5d}  {c.answer}", flush=True)
        if arguments.check and (problem := c.problem()) is not None:
            print(f"{name}: {problem}", file=sys.stderr, flush=True)
            missed += 1
    sys.exit(f"{missed} families miss the goal" if missed else 0)
