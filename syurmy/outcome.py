"""How a command ends: with an exit code, and where something is wrong with one coded error as text and as JSON."""

from __future__ import annotations

import json as json_format
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from syurmy.isa.errors import SyurmyError

NOT_PRIVATE = "not zero-knowledge: private values are not sent, not hidden"
TRUSTED = "params: trusted from set-up"


def exit_code(work: Callable[[], int], json: bool, debug: bool) -> int:
    """What ``work`` returns, or the exit code of what it raises, once that is reported."""
    from syurmy.isa.errors import InputError, SyurmyError

    try:
        code = work()
        sys.stdout.flush()
        return code
    except SyurmyError as e:
        return report(e, json, debug, e.exit_code)
    except BrokenPipeError:
        sys.stderr.close()  # the reader left: nothing to say, nobody to say it to
        return 1
    except KeyboardInterrupt:
        return report(InputError("interrupted; nothing was written", code="X130"), json, debug, 130)
    except MemoryError:
        return report(InputError("not enough memory", code="X140"), json, debug, 2)
    except OSError as e:
        return report(InputError(f"{e.filename or 'file'}: {e.strerror or e}", code="F100"), json, debug, 2)


def report(error: SyurmyError, json: bool, debug: bool, code: int) -> int:
    """Print the error: a line or more on stderr, with ``json`` an object on stdout, with ``debug`` the traceback."""
    from syurmy import display

    if debug:
        traceback.print_exc()
    print(display.error_text(error), file=sys.stderr)
    if json:
        print_json({"error": display.error_json(error)})
    return code


def print_json(value: dict[str, Any]) -> None:
    from syurmy.display import plain

    print(json_format.dumps(plain(value)))
