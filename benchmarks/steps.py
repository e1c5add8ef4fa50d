"""What a long loop costs: ``python -m benchmarks.steps [STEPS ...]``, 10^4 to 10^6 unless given, at most 2^24.

One loop of two instructions, run, proven and verified in a process of its own; wall-clock seconds of a single run, as
the VM takes most of them.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import syurmy
from benchmarks.measure import child, machine
from syurmy.assembler import assemble
from syurmy.host import peak_mb

SOURCE = """
.program loop
.input x : i16[] private in 0..1000
.output s public
    mov s, x
    repeat {rounds}
        xor s, s, x
        cast s, s, i16
    end
    halt
"""


def measured(steps: int) -> dict[str, Any]:
    """Seconds, bytes and peak memory (MiB) of a run of about so many instructions, in this process."""
    took: dict[str, float] = {}

    def timed(name: str, work: Any) -> Any:
        start = time.perf_counter()
        out = work()
        took[name] = time.perf_counter() - start
        return out

    program = assemble(SOURCE.format(rounds=steps // 3), max_steps=2 * steps)
    key, verifying_key = timed("setup", lambda: syurmy.setup(program, max_steps=max(steps + 10, 1000)))
    trace = timed("execute", lambda: syurmy.run(program, {"x": 5}, max_steps=steps + 10))
    syurmy.prove(*_small())  # loads the kernels
    proof = timed("prove", lambda: syurmy.prove(key, trace))
    timed("verify", lambda: syurmy.verify(verifying_key, proof.to_bytes()))
    return {"steps": len(trace.path), "bytes": len(proof.to_bytes()), "peak_mb": peak_mb(), "seconds": took}


def _small() -> tuple[syurmy.ProvingKey, syurmy.Trace]:
    program = assemble(SOURCE.format(rounds=100))
    return syurmy.setup(program)[0], syurmy.run(program, {"x": 5})


def alone(steps: int) -> dict[str, Any]:
    """``measured`` in a process of its own. Raises ``Failed``."""
    found: dict[str, Any] = child(["-m", "benchmarks.steps", "--child", str(steps)])
    return found


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--child"]:
        print(json.dumps(measured(int(arguments[1]))))
        return
    print(json.dumps(machine()))
    for steps in map(int, arguments or ["10000", "100000", "1000000"]):
        print(json.dumps(alone(steps)))


if __name__ == "__main__":
    main(sys.argv[1:])
