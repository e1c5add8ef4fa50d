"""``python -m tests.gpu``: all that wants a graphics card: kernels and proofs on it, its sanitizer, its times.

Exit code 3 where there is no card, and it says why; otherwise 0, or that of the first part that fails.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from syurmy.gpu import cuda

PARTS = ["-m", "pytest", "tests/gpu"], ["-m", "tests.gpu.sanitized"], ["-m", "benchmarks.gpu"]
ROOT = Path(__file__).resolve().parents[2]
NO_CARD = 3


def main() -> int:
    if why := cuda.missing():
        print(f"no card: {why}", file=sys.stderr)
        return NO_CARD
    codes = (subprocess.run([sys.executable, *part], cwd=ROOT, check=False).returncode for part in PARTS)
    return next(filter(None, codes), 0)


if __name__ == "__main__":
    sys.exit(main())
