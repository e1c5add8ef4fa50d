"""The one place where whatever goes wrong on a stranger's key, proof or model becomes a refusal.

Checks refuse with reasons of their own. What they do not foresee (recursion, memory, a shape that does not fit) is
still no reason to accept and none to crash: it refuses, with the original error as its cause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from syurmy.isa.errors import SyurmyError


@contextmanager
def refusing(refusal: Callable[[str], SyurmyError]) -> Iterator[None]:
    """Raises ``refusal(reason)`` for any exception inside that is not a ``SyurmyError``."""
    try:
        yield
    except (SyurmyError, OSError):  # a file that cannot be read has an error of its own
        raise
    except MemoryError as e:
        raise refusal("it needs more memory than there is") from e
    except RecursionError as e:
        raise refusal("it nests too deeply") from e
    except Exception as e:
        raise refusal(f"it cannot be processed ({type(e).__name__}: {e})") from e
