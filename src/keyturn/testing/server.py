"""How a fake issuer answers: how it fails, and the loopback server before it.

Rules of this file:

1. An answer says what was published when its request arrived; a fault can delay or replace it, never refresh it.
2. The fault that was entered last meets a request first: `gate()` and `slow()` hold it and pass it on outwards, any other fault answers it.
3. The loopback server and the fetcher without a socket take the same way, so a fault means the same in both.
4. Deadlines and delays are real time.
"""

from __future__ import annotations

import math
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, TypeVar

from keyturn.clock import Deadline
from keyturn.errors import quoted
from keyturn.testing.account import Document

Affected = Literal["discovery", "jwks", "metadata", "both"]
"""The documents that a fault is for; "both" means discovery document and key set."""

_LONGEST_CLOSING = 10.0  # Real seconds: long enough for a loaded machine.


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the sender; names of *headers* are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class SenderLeft(Exception):  # noqa: N818 - It is a turn of events, not a fault.
    """Nobody waits for the answer any more."""


class Sender:
    """Whoever waits for an answer.

    Args:
        patience: Real seconds that it waits.
    """

    def __init__(self, patience: float = math.inf) -> None:
        self._deadline = Deadline(patience)

    def leave(self) -> None:
        """Wait no longer."""
        self._deadline = Deadline(0)

    def left(self) -> float:
        """Return the real seconds that it will wait, 0 if it is gone."""
        return self._deadline.left()


class Fault:
    """One way to fail, for as long as its context lasts."""

    def __init__(self, document: Affected) -> None:
        if document not in {"discovery", "jwks", "metadata", "both"}:
            raise ValueError(f'document is {quoted(document)}, expected "jwks", "discovery" or "both", or "metadata"')
        self.documents = ("discovery", "jwks") if document == "both" else (document,)


class Replacement(Fault):
    """Another answer; None drops the connection."""

    def __init__(self, document: Affected, answer: Answer | None) -> None:
        super().__init__(document)
        self.answer = answer


class Delay(Fault):
    """Holds requests for *seconds* of real time, or until its context ends."""

    def __init__(self, document: Affected, seconds: float) -> None:
        super().__init__(document)
        if not seconds >= 0:
            raise ValueError(f"seconds is {quoted(seconds)}, expected 0 or more")
        self._seconds = seconds
        self.changed = threading.Condition()
        self._arrived = 0
        self._over = False

    def hold(self, sender: Sender) -> None:
        """Keep *sender* waiting.

        Raises:
            SenderLeft: The sender's patience ended first.
        """
        with self.changed:
            self._arrived += 1
            self.changed.notify_all()
            until = Deadline(self._seconds)
            while not self._over and not until.over():
                if not sender.left():
                    raise SenderLeft
                self.changed.wait(min(until.left(), sender.left(), threading.TIMEOUT_MAX))

    def end(self) -> None:
        """Let everybody go, those who come later included."""
        with self.changed:
            self._over = True
            self.changed.notify_all()


class Gate(Delay):
    """Blocks every request until it is opened or its context ends."""

    def __init__(self, document: Affected) -> None:
        super().__init__(document, math.inf)

    @property
    def arrived(self) -> int:
        """How many requests have come to the gate, those that it has let through included."""
        with self.changed:
            return self._arrived

    def open(self) -> None:
        """Let every request through, now and later."""
        self.end()

    def wait_for_arrival(self, timeout: float = 5.0, *, count: int = 1) -> bool:
        """Wait until *count* requests have come to the gate.

        Args:
            timeout: Real seconds to wait at most.
            count: Requests to wait for, earlier ones included.

        Returns:
            Whether they came in time.
        """
        with self.changed:
            return self.changed.wait_for(lambda: self._arrived >= count, timeout)


_F = TypeVar("_F", bound=Fault)


class Faults:
    """The faults in force, innermost last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stack: tuple[Fault, ...] = ()

    @contextmanager
    def during(self, fault: _F) -> Iterator[_F]:
        """Put *fault* in force until the context ends."""
        with self._lock:
            self._stack += (fault,)
        try:
            yield fault
        finally:
            with self._lock:
                self._stack = tuple(other for other in self._stack if other is not fault)
            if isinstance(fault, Delay):
                fault.end()

    def meet(self, document: Document, answer: Answer, sender: Sender) -> Answer | None:
        """Send a request past the faults; return what they make of *answer*, None for a dropped connection.

        Raises:
            SenderLeft: The sender left while a fault held it.
        """
        for fault in reversed(self._stack):
            if document not in fault.documents:
                continue
            if isinstance(fault, Replacement):
                return fault.answer
            if isinstance(fault, Delay):
                fault.hold(sender)
        return answer

    def look_again(self) -> None:
        """Wake every request that a fault holds, so that it sees that its sender left."""
        for fault in self._stack:
            if isinstance(fault, Delay):
                with fault.changed:
                    fault.changed.notify_all()


Respond = Callable[[str, Mapping[str, str], Sender], Answer | None]
"""Answers a request for a location or a path; None drops the connection, SenderLeft says that nobody waits for it."""


class IssuerServer:
    """A running loopback server of one issuer; made by `serve()`.

    Attributes:
        url: Origin that it is reached at, such as `http://127.0.0.1:49152`.
        discovery_url: Where it serves the discovery document.
        jwks_url: Where it serves the key set.
    """

    def __init__(self, respond: Respond, faults: Faults, *, discovery_path: str, jwks_path: str) -> None:
        self._faults = faults
        self._http = _HttpServer(respond)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self.discovery_url = self.url + discovery_path
        self.jwks_url = self.url + jwks_path
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True, name="keyturn-fake-issuer")
        self._thread.start()

    def close(self) -> None:
        """Stop listening, end every request that is under way, and wait for all threads.

        Raises:
            RuntimeError: A thread could not be ended.
        """
        self._http.shutdown()
        self._http.server_close()
        threads = (self._thread, *self._http.hang_up())
        self._faults.look_again()
        deadline = Deadline(_LONGEST_CLOSING)
        for thread in threads:
            thread.join(deadline.left())
            if thread.is_alive():
                raise RuntimeError(f"thread {thread.name} of the fake issuer did not end within {_LONGEST_CLOSING:g} s")


class _HttpServer(ThreadingHTTPServer):
    """One daemon thread for each connection, each of them known, so that closing leaves none behind."""

    daemon_threads = True
    request_queue_size = 128  # With the five of the base class a burst of callers is dropped and asks again a second later.

    def __init__(self, respond: Respond) -> None:
        self.respond = respond
        self._lock = threading.Lock()
        self._open: dict[threading.Thread, tuple[socket.socket, Sender]] = {}
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(target=self.process_request_thread, args=(request, client_address), daemon=True, name="keyturn-fake-issuer-http")
        with self._lock:
            # A thread is forgotten only once it is gone, so that closing waits for its last step too.
            self._open = {other: opened for other, opened in self._open.items() if other.is_alive()}
            self._open[thread] = (request, Sender())
        thread.start()

    def sender(self) -> Sender:
        """Return the sender whose connection the current thread serves."""
        with self._lock:
            return self._open[threading.current_thread()][1]

    def hang_up(self) -> tuple[threading.Thread, ...]:
        """End every conversation; return the threads, which end on their own."""
        with self._lock:
            conversations = dict(self._open)
        for connection, sender in conversations.values():
            sender.leave()
            # Shut down rather than closed: a closed descriptor may be somebody else's by the time its thread reads from it.
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        return tuple(conversations)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that goes away is no news; a fault in this file is.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _HttpServer

    def do_GET(self) -> None:
        try:
            answer = self.server.respond(self.path, dict(self.headers), self.server.sender())
        except SenderLeft:
            answer = None
        if answer is None:
            self._reset()
            return
        self.send_response_only(answer.status)
        for name, value in {"content-length": str(len(answer.body)), "connection": "close", **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if answer.status not in {204, 304}:  # These two end with their head (RFC 9110, section 6.4.1).
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - The base class calls it so.
        """Say nothing: the account of the issuer has it all."""

    def _reset(self) -> None:
        # Closing with a linger time of zero sends a reset instead of an orderly end; Windows has shorter fields in its record.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if os.name == "nt" else "ii", 1, 0))
        self.rfile.close()
        self.connection.close()
        self.close_connection = True
