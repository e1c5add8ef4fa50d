"""How fast this machine proves beside the one that estimates were fitted on: measured / estimated seconds, the median
of the last proofs that the command line made here.

Machines differ by more than the estimates do between programs, so the ratio of one proof is a good guess for the next.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from syurmy import files, fitted, host
from syurmy.isa.errors import SyurmyError

LAST = 9  # proofs; odd, so that one which other work slowed down does not count


def factor() -> float:
    """What estimated seconds are to be multiplied by on this machine; 1 before the first proof."""
    known = _known()
    return sorted(known)[len(known) // 2] if known else 1.0


def record(estimated: float, measured: float) -> None:
    """A proof was estimated (without ``factor``) to take so many seconds, and took so many."""
    folder = host.cache_folder()
    with suppress(OSError, SyurmyError):  # what cannot be kept is estimated as before
        folder.mkdir(parents=True, exist_ok=True)
        kept = [*_known(), round(measured / estimated, 9)][-LAST:]
        files.write_whole(_path(), json.dumps(kept).encode())


def _path() -> Path:
    """What was measured beside other constants says nothing of those of today."""
    return host.cache_folder() / f"pace-{fitted.DATE}-{host.threads()}.json"


def _known() -> list[float]:
    """Of the last proofs, the oldest first; what is not such a list is none."""
    with suppress(OSError, ValueError, RecursionError):
        kept = json.loads(_path().read_bytes())
        if isinstance(kept, list) and all(type(x) in (int, float) and 0 < x < 1e6 for x in kept):
            return kept[-LAST:]
    return []
