"""Standard input and output for a protocol alone: what anything else prints goes to standard error."""

from __future__ import annotations

import os
import sys
from typing import BinaryIO


def own_streams() -> tuple[BinaryIO, BinaryIO]:
    """Standard input and output of this process, which from now on has others under these names."""
    sys.stdout.flush()
    streams = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return streams
