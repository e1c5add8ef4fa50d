"""``python -m syurmy`` is ``syurmy-vm``."""

import os
import sys

from syurmy.interrupts import ended_at_once


def main() -> None:
    """Entry point of ``syurmy-vm``."""
    ended_at_once()
    if sys.argv[1:2] == ["verify"]:
        from syurmy.verify_main import of_whole

        if (code := of_whole(sys.argv[2:])) is not None:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # nothing is left to do but to free objects one by one, which takes as long as reading a key
    from syurmy.cli import main as run

    run()


if __name__ == "__main__":
    main()
