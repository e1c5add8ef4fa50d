"""The debug adapter: one client on standard input and output, or several, one session each, on a TCP port of this
machine alone.

A thread reads requests while another carries them out, so that ``pause`` reaches a run that is under way. Requests that
come while it runs interrupt it; unless it was to pause, it goes on behind them. A client on TCP that goes without
saying so leaves its session to the next one that attaches.
"""

from __future__ import annotations

import logging
import queue
import socket
import threading
import traceback
from typing import Any

from syurmy import display
from syurmy.debugging.session import Session
from syurmy.editor.adapter import Adapter
from syurmy.editor.arguments import Refused
from syurmy.editor.streams import own_streams
from syurmy.editor.wire import Lost, Malformed, Wire
from syurmy.isa.errors import SyurmyError

HOST = "127.0.0.1"
PROMPT = 0.02  # seconds between attempts to interrupt a run
_log = logging.getLogger("syurmy.dap")


class Connection:
    """One client. ``kept``: the session of a client that left, to be attached to."""

    def __init__(self, wire: Wire, kept: Session | None = None) -> None:
        self._wire = wire
        self._requests: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._adapter = Adapter(self._event)
        self._adapter.session = kept
        self._lock = threading.Lock()
        self._urgent = 0  # requests that have come and end whatever motion is under way

    def serve(self) -> Session | None:
        """Until the client leaves; returns the session that it left behind, if it did not end it."""
        threading.Thread(target=self._read, daemon=True).start()
        while not self._adapter.over and (message := self._requests.get()) is not None:
            self._answer(message)
            while self._adapter.moving:
                self._run()
        return None if self._adapter.over else self._adapter.session

    def _read(self) -> None:
        while True:
            try:
                message = self._wire.read()
            except Malformed as e:
                self._tell(str(e))
                continue
            except (Lost, OSError, ValueError) as e:
                self._tell(str(e))
                message = None
            if _ends_motion(message):
                self._count(1)
            self._requests.put(message)
            if message is None:
                return

    def _count(self, by: int) -> None:
        with self._lock:
            self._urgent += by

    def _run(self) -> None:
        """One motion. A thread interrupts it when a request waits: going on is taken up again, a step only gives way
        to requests that end it."""
        a = self._adapter
        resuming, done, motion = a.resuming, threading.Event(), a.motion()
        interrupting = threading.Thread(target=self._interrupt, args=(done, resuming), daemon=True)
        interrupting.start()
        try:
            stop = motion()
        except SyurmyError as e:
            self._tell(display.error_text(e))
            stop, resuming = a.standing(), False
        finally:
            done.set()
            interrupting.join()
        if stop.reason == "pause":
            while not (a.moving or a.over or self._requests.empty()):
                message = self._requests.get()
                if message is None:
                    self._requests.put(None)
                    return
                self._answer(message)
            if a.moving or a.over or a.ended:  # another motion takes its place
                return
            if resuming:
                a.resume()
                return
        a.told(stop)

    def _interrupt(self, done: threading.Event, resuming: bool) -> None:
        while not done.wait(PROMPT):
            if self._urgent or (resuming and not self._requests.empty()):
                self._adapter.interrupt()

    # ---- messages ------------------------------------------------------------------------------------------------

    def _answer(self, message: dict[str, Any]) -> None:
        command, seq, arguments = message.get("command"), message.get("seq"), message.get("arguments")
        if _ends_motion(message):
            self._count(-1)
        if message.get("type") == "response":
            return
        if not isinstance(command, str) or not isinstance(seq, int):
            self._tell("a message is no request: it needs a seq and a command")
            return
        answer: dict[str, Any] = {"type": "response", "request_seq": seq, "command": command, "success": True}
        after: list[tuple[str, dict[str, Any]]] = []
        self._adapter.send = lambda name, body: after.append((name, body))  # events follow the answer
        try:
            if arguments is not None and not isinstance(arguments, dict):
                raise Refused("'arguments' is no object")
            if body := self._adapter.request(command, arguments or {}):
                answer["body"] = body
        except Refused as e:
            answer |= _failure(str(e))
        except SyurmyError as e:
            answer |= _failure(display.error_text(e))
        except Exception as e:  # a defect of ours does not end the session
            _log.debug("%s", traceback.format_exc())
            place = traceback.extract_tb(e.__traceback__)[-1]
            answer |= _failure(
                f"internal error at {place.name}:{place.lineno}: {type(e).__name__}: {e}; please report it"
            )
        finally:
            self._adapter.send = self._event
        self._wire.write(answer)
        for name, body in after:
            self._event(name, body)

    def _event(self, name: str, body: dict[str, Any]) -> None:
        self._wire.write({"type": "event", "event": name, "body": body})

    def _tell(self, text: str) -> None:
        self._event("output", {"category": "important", "output": text + "\n"})


def _ends_motion(message: dict[str, Any] | None) -> bool:
    return message is None or message.get("command") in ("pause", "terminate", "disconnect")


def _failure(text: str) -> dict[str, Any]:
    error = {"id": 1, "format": text.replace("{", "(").replace("}", ")"), "showUser": True}
    return {"success": False, "message": text, "body": {"error": error}}


def serve() -> None:
    """One client on standard input and output, until it leaves."""
    Connection(Wire(*own_streams())).serve()


class Server:
    """Clients on a TCP port of this machine. ``port`` 0 takes a free one."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_server((HOST, port))
        self.port: int = self._socket.getsockname()[1]
        self._kept: Session | None = None
        self._lock = threading.Lock()

    def serve(self) -> None:
        """For ever."""
        while True:
            client, _ = self._socket.accept()
            threading.Thread(target=self._client, args=(client,), daemon=True).start()

    def _client(self, client: socket.socket) -> None:
        with client, client.makefile("rb") as source, client.makefile("wb") as sink:
            with self._lock:
                kept, self._kept = self._kept, None
            left = Connection(Wire(source, sink), kept).serve()
            if left is not None:
                with self._lock:
                    self._kept = left
                _log.info("a client left; its session can be attached to")
