"""The one place where whatever goes wrong on a stranger's key, proof or model becomes a refusal.

Checks refuse with reasons of their own. What they do not foresee (recursion, memory, a shape that does not fit) is
still no reason to accept and none to crash: it refuses, with the original error as its cause. A name that does not
exist, a call that does not fit and their like are mistakes in this software, whatever the data. Nobody shall take them
for a bad key: they are raised as they are, or refused under their own name by who promises an answer to any bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from syurmy.isa.errors import SyurmyError

MISTAKES = (AttributeError, ImportError, NameError, NotImplementedError, SyntaxError, TypeError)

OURS = ("syurmy.",)
STRICT = False  # tests and fuzzing set it: every mistake of ours is raised


@contextmanager
def refusing(refusal: Callable[[str], SyurmyError], mistakes: bool = False) -> Iterator[None]:
    """Raises ``refusal(reason)`` for any exception inside that is not a ``SyurmyError``, an error of a file, or, unless
    ``mistakes`` are refused too, a mistake of ours."""
    try:
        yield
    except (SyurmyError, OSError):  # a file that cannot be read has an error of its own
        raise
    except MemoryError as e:
        raise refusal("it needs more memory than there is") from e
    except RecursionError as e:
        raise refusal("it nests too deeply") from e
    except Exception as e:
        if isinstance(e, MISTAKES) and _ours(e):
            if STRICT or not mistakes:
                raise
            raise refusal(f"a mistake in this software, please report it ({type(e).__name__}: {e})") from e
        raise refusal(f"it cannot be processed ({type(e).__name__}: {e})") from e


def _ours(error: BaseException) -> bool:
    """Whether it was raised by a line of this software; libraries raise such errors on bad data."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return at is not None and str(at.tb_frame.f_globals.get("__name__")).startswith(OURS)
