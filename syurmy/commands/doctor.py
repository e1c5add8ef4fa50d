"""``syurmy-vm doctor`` and ``syurmy-vm warmup``: is this machine ready to prove?"""

from __future__ import annotations

import importlib.util
import platform
import sys
import time
from typing import TYPE_CHECKING, Any

import syurmy
from syurmy.commands.common import Debug, Json, print_json
from syurmy.outcome import DONE, UNUSABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = ("numpy", "numba", "llvmlite", "lark", "blake3", "safetensors", "typer", "rich")
OPTIONAL = {"onnx": "compiling models", "onnxslim": "compiling models", "onnxruntime": "compiling models"}
PROGRAM = """\
.program doctor
.input   x : i8[4, 8]  private
.param   w : i8[8, 4]  committed = {SEVENS}
.output  y  public
    matmul  h, x, w
    rescale y, h, 3, i8
    halt
"""  # a product with committed params, lookups, an opening; larger programs compile a few kernels more


def warmup(json: Json = False, debug: Debug = False) -> None:
    """Compile most kernels that proving needs, once on a machine, by proving a small program."""
    from syurmy import display

    result = _proved()
    if json:
        print_json(result)
    else:
        counts = f"{result['compiled']} kernels compiled, {result['loaded']} loaded"
        print(f"{result['cache']}: {counts}, {display.seconds_text(result['seconds']['proof'])}")


def doctor(json: Json = False, debug: Debug = False) -> int:
    """Versions, cores, the kernels' cache, a small proof made and verified, and what is missing. Exit code 2 if
    something is."""
    from syurmy import display, host

    names = (*PACKAGES, *OPTIONAL)
    found = {name: (host.version(name) or "?") if importlib.util.find_spec(name) else None for name in names}
    missing = [f"{name} is not installed" for name in PACKAGES if found[name] is None]
    absent = {name: use for name, use in OPTIONAL.items() if found[name] is None}
    result: dict[str, Any] = {
        "syurmy": syurmy.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": host.cores(),
        "packages": found,
        "optional_missing": absent,
        "proof": None,
    }
    if not missing:
        try:
            result["proof"] = _proved()
        except Exception as e:  # whatever is wrong with this machine
            missing.append(f"a small program cannot be proven: {type(e).__name__}: {e}")
    folder = host.cache_folder()
    sizes = [p.stat().st_size for p in folder.rglob("*") if p.is_file()] if folder.is_dir() else []
    result["cache"] = {"folder": str(folder), "files": len(sizes), "bytes": sum(sizes)}
    if result["proof"] and not result["proof"]["cache"].startswith(str(folder)):
        missing.append(f"the kernels' cache {folder} cannot be written: kernels are compiled in every process")
    result["problems"] = missing
    if json:
        print_json(result | {"ok": not missing})
        return UNUSABLE if missing else DONE
    print(f"syurmy-vm {result['syurmy']}, Python {result['python']}, {result['system']}, {result['cores']} cores")
    print(", ".join(f"{name} {version or 'missing'}" for name, version in found.items()))
    print(f"kernels' cache {folder}: {len(sizes)} files, {display.bytes_text(sum(sizes))}")
    if result["proof"]:
        p = result["proof"]
        took = display.seconds_text(p["seconds"]["proof"])
        print(f"a small proof: made and verified, {took}, {p['compiled']} kernels compiled, {p['loaded']} loaded")
    for name, use in absent.items():
        print(f"optional: {name}, for {use} (pip install 'syurmy-vm[onnx]')")
    for problem in missing:
        print(f"error[X180]: {problem}", file=sys.stderr)
    print("not ready" if missing else "ready")
    return UNUSABLE if missing else DONE


def program() -> syurmy.Program:
    """The small program."""
    return syurmy.assemble(PROGRAM.replace("SEVENS", ", ".join(["{7, -7, 5, 1}"] * 8)))


def _proved() -> dict[str, Any]:
    """Set up, prove and verify the small program, alone and in a batch, hiding and not; what its kernels took."""
    import numpy as np

    start = time.perf_counter()
    small = program()
    x = np.arange(32).reshape(4, 8) - 16
    for key, verifying_key in (syurmy.setup(small, zk=zk) for zk in (True, False)):
        for inputs, batch in _runs(x):
            trace = syurmy.run(small, {"x": inputs}, batch=batch)
            statement = syurmy.verify(verifying_key, syurmy.prove(key, trace).to_bytes())
            if not np.array_equal(statement.outputs["y"], trace.outputs["y"]):
                raise ValueError("the proof shows other outputs than the run")
    from syurmy.prover.kernels import CACHE_DIR, cache

    return {"cache": str(CACHE_DIR), **cache.counted, "seconds": {"proof": time.perf_counter() - start}}


def _runs(x: Any) -> Iterator[tuple[Any, bool]]:
    yield x, False
    yield [x, x, x], True
