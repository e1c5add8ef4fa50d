"""Messages of the Debug Adapter Protocol on a stream of bytes: a header with a length, then JSON.

What is no message is told (``Malformed``) and skipped, so that the next one can be read; where a stream cannot be
followed any further (``Lost``), or speaks another protocol, it is given up.
"""

from __future__ import annotations

import json
import threading
from typing import Any, BinaryIO

MAX_BODY = 16 * 2**20  # bytes of one message
MAX_HEADER = 4096  # bytes of one line of a header


class Malformed(Exception):
    """One message that is none; the stream goes on behind it."""


class Lost(Exception):
    """The stream holds no messages."""


class Wire:
    """Reads on one thread, writes on any."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source, self._sink = source, sink
        self._lock = threading.Lock()
        self._seq = 0

    def read(self) -> dict[str, Any] | None:
        """The next message; None where the stream ends. Raises ``Malformed``, ``Lost``."""
        length: int | None = None
        while True:
            line = self._source.readline(MAX_HEADER)
            if not line:
                return None
            name, colon, value = line.strip().partition(b":")
            if not name and not colon:
                if length is not None:
                    break
                continue  # a blank line between messages
            if not line.endswith(b"\n") or not colon or name.lower() not in (b"content-length", b"content-type"):
                raise Lost(f"this is no header of a message: {line[:60]!r}")
            if name.lower() == b"content-length":
                if not value.strip().isdigit():
                    raise Lost(f"this is no length: {value[:60]!r}")
                length = int(value)
        if length > MAX_BODY:
            raise Lost(f"a message of {length} bytes, at most {MAX_BODY} are read")
        body = self._source.read(length)
        if len(body) < length:
            return None
        try:
            message = json.loads(body)
        except (ValueError, RecursionError):
            raise Malformed(f"a message is no JSON: {body[:60]!r}") from None
        if not isinstance(message, dict):
            raise Malformed(f"a message is no object: {body[:60]!r}")
        return message

    def write(self, message: dict[str, Any]) -> None:
        """Sends a message; its ``seq`` is set here. A client that has left is no fault."""
        with self._lock:
            self._seq += 1
            body = json.dumps({"seq": self._seq, **message}).encode()
            try:
                self._sink.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
                self._sink.flush()
            except (OSError, ValueError):
                return
