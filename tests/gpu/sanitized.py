"""``python -m tests.gpu.sanitized``: every form, on a card, under NVIDIA's compute-sanitizer: indices and alignment
(memcheck), threads that do not meet at a barrier (synccheck), shared memory that two of them use at once (racecheck),
and memory that is read before it is written (initcheck). Exit code 1 where it finds something or is not installed, 3
where there is no card: it would have nothing to look at."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

from syurmy.gpu import cuda

TOOLS = "memcheck", "synccheck", "racecheck", "initcheck"
TESTS = "tests/gpu/test_cuda.py::test_a_card_gives_the_bits_of_the_cpu"
ROOT = Path(__file__).resolve().parents[2]


def sanitizer() -> str | None:
    """The program: that on the path, or of the installed wheel."""
    if found := shutil.which("compute-sanitizer"):
        return found
    wheels = importlib.util.find_spec("nvidia")
    for folder in wheels.submodule_search_locations or () if wheels is not None else ():
        for path in sorted(Path(folder).glob("*/bin/compute-sanitizer")):
            return str(path)
    return None


def main() -> int:
    if why := cuda.missing():
        print(f"no card: {why}", file=sys.stderr)
        return 3
    program = sanitizer()
    if program is None:
        print("compute-sanitizer is not installed: pip install nvidia-cuda-sanitizer-api", file=sys.stderr)
        return 1
    for tool in TOOLS:
        print(f"{tool}:", flush=True)
        command = [program, "--tool", tool, "--error-exitcode", "1", sys.executable, "-m", "pytest", "-q", TESTS]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
