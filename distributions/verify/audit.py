"""Write the counts of lines in docs/audit.md: ``python distributions/verify/audit.py``, or ``make audit``."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "audit.md"
ROW = re.compile(r"^\| `([^`]+\.py)` \| (\d+) \| (\S.*) \|$", re.MULTILINE)


def lines(name: str) -> int:
    """Lines of a file, named from the top of the repository."""
    return len((REPOSITORY / name).read_text(encoding="utf-8").splitlines())


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(ROW.sub(lambda m: f"| `{m[1]}` | {lines(m[1])} | {m[3]} |", text), encoding="utf-8")
