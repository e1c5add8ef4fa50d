"""``syurmy-vm devices``: what this machine can compute proofs on."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from syurmy.commands.common import Debug, Json, print_json
from syurmy.outcome import DONE, UNUSABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from syurmy.gpu.grid import Device

PACKAGES = ("numba", "numba-cuda", "cuda-bindings")


def devices(json: Json = False, debug: Debug = False) -> int:
    """The graphics cards that the kernels could run on, each with a self-test: a small proof made there must be that of
    the CPU, byte by byte. Commands prove on the CPU unless --device or SYURMY_DEVICE says otherwise. Exit code 2 if a
    card fails."""
    from syurmy import host
    from syurmy.gpu import cuda

    found: list[dict[str, Any]] = []
    for card in cuda.cards():
        failure = self_test(partial(cuda.Cuda, card.index))
        capability = ".".join(map(str, card.capability))
        found.append({"device": f"cuda:{card.index}", "name": card.name, "capability": capability,
                      "memory": card.memory, "failure": failure})  # fmt: skip
    versions = {name: host.version(name) for name in PACKAGES}
    why = cuda.missing()
    result: dict[str, Any] = {"cores": host.cores(), "cards": found, "missing": why or None, "packages": versions}
    failed = any(card["failure"] for card in found)
    if json:
        print_json(result | {"ok": not failed})
        return UNUSABLE if failed else DONE
    print(f"cpu: {host.cores()} cores, on which commands prove unless told otherwise")
    for c in found:
        print(f"{c['device']}: {c['name']}, compute capability {c['capability']}, {c['memory'] / 2**30:.0f} GiB")
        if c["failure"]:
            print(f"error[X180]: {c['device']} fails its self-test: {c['failure']}", file=sys.stderr)
        else:
            print("  self-test: a small proof made on it is that of the CPU, byte by byte")
    if why:
        print(f"cuda: none: {why}")
    print(", ".join(f"{name} {version or 'missing'}" for name, version in versions.items()))
    return UNUSABLE if failed else DONE


def self_test(device: Callable[[], Device]) -> str:
    """What is wrong with a device, '' if nothing is; ``device`` makes it."""
    try:
        return "" if _proof(device()) == _proof(None) else "a proof made on it is not that of the CPU"
    except Exception as e:  # whatever is wrong with a driver
        return f"{type(e).__name__}: {e}"


def _proof(device: Device | None) -> bytes:
    """A small proof that draws nothing at random, made on a device, or on the CPU."""
    import numpy as np

    import syurmy
    from syurmy import gpu
    from syurmy.commands.doctor import program
    from syurmy.device import used
    from syurmy.gpu.grid import Grid
    from syurmy.prover.kernels.grid import FORMS

    trace = syurmy.run(program(), {"x": np.arange(32).reshape(4, 8) - 16})
    with used("cpu"):
        if device is not None:
            gpu.select(Grid(device, FORMS, gpu.current(), least=0))
        return syurmy.prove(syurmy.setup(trace.program, zk=False)[0], trace).to_bytes()
