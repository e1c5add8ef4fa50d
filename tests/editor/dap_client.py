"""A client of the debug adapter: a process, or a socket, that it asks and whose events it waits for."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "syurmy", "dap"]
SUMS = Path(__file__).with_name("sums.tasm")
PATIENCE = 60  # seconds

Body = dict[str, Any]


class Failed(Exception):
    """An answer without success."""


class Client:
    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self.source, self.sink = source, sink
        self.seq = 0
        self.events: list[Body] = []
        self.answers: dict[int, Body] = {}
        self.ended = False
        self._news = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                header = self.source.readline()
                if not header:
                    break
                assert header.startswith(b"Content-Length: ")
                self.source.readline()
                message = json.loads(self.source.read(int(header.split()[1])))
            except (OSError, ValueError):
                break
            with self._news:
                if message["type"] == "event":
                    self.events.append(message)
                else:
                    self.answers[message["request_seq"]] = message
                self._news.notify_all()
        with self._news:
            self.ended = True
            self._news.notify_all()

    def _await(self, ready: Callable[[], Any]) -> Any:
        with self._news:
            while not (found := ready()):
                assert not self.ended, f"the adapter left: {self.events}"
                assert self._news.wait(PATIENCE), f"nothing came: {self.events}"
            return found

    # ---- messages ------------------------------------------------------------------------------------------------

    def raw(self, body: bytes) -> None:
        self.sink.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.sink.flush()

    def send(self, command: str, **arguments: Any) -> int:
        self.seq += 1
        message = {"seq": self.seq, "type": "request", "command": command, "arguments": arguments}
        self.raw(json.dumps(message).encode())
        return self.seq

    def answer(self, seq: int) -> Body:
        """The body of an answer. Raises ``Failed``."""
        answer: Body = self._await(lambda: self.answers.get(seq))
        if not answer["success"]:
            raise Failed(answer["message"])
        return answer.get("body", {})

    def ask(self, command: str, **arguments: Any) -> Body:
        return self.answer(self.send(command, **arguments))

    def event(self, name: str, **wanted: Any) -> Body:
        """The body of the next event of a name (with such a content), and of those before it no more is known."""

        def ready() -> Body | None:
            for k, e in enumerate(self.events):
                if e["event"] == name and all(e.get("body", {}).get(key) == value for key, value in wanted.items()):
                    del self.events[: k + 1]
                    return {"found": True, **e.get("body", {})}
            return None

        return self._await(ready)

    # ---- sessions ------------------------------------------------------------------------------------------------

    def begin(self, program: Path = SUMS, inputs: Any = ("x=[1,2,3,4]", "n=3"), **options: Any) -> None:
        """Up to where breakpoints are set."""
        self.ask("initialize", adapterID="tasm", linesStartAt1=True, columnsStartAt1=True)
        launched = self.send("launch", program=str(program), inputs=[*inputs], **options)
        self.event("initialized")
        self.answer(launched)

    def start(self, **options: Any) -> Body:
        """Stands before the first instruction."""
        self.begin(**options)
        self.ask("configurationDone")
        return self.event("stopped")

    def move(self, command: str, **arguments: Any) -> Body:
        self.ask(command, threadId=1, **arguments)
        return self.event("stopped")

    def place(self) -> tuple[str, int]:
        """Name and line of the innermost level."""
        top = self.ask("stackTrace", threadId=1)["stackFrames"][0]
        return top["name"], top["line"]

    def value(self, expression: str) -> str:
        return self.ask("evaluate", expression=expression)["result"]


def process() -> tuple[Client, subprocess.Popen[bytes]]:
    made = subprocess.Popen(COMMAND, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert made.stdin is not None
    assert made.stdout is not None
    return Client(made.stdout, made.stdin), made
