"""A server on loopback that answers by script, down to the byte.

1. A script is called with every connection; what it does not send is not sent. It runs on a thread of the connection.
2. Requests and connections are counted, so that a test can say that somebody was never asked.
3. Nothing sleeps: what has to last waits for `closing`, which the end of the test sets.
4. `ended` tells how a script's connection ended: whether it sent all that it had, or the peer went away before.

The rig of the fault matrix (`tests/faults/rig_server.py`) runs it in a process of its own, with scripts that are data.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Literal, Self

TICK = 0.02
"""Seconds between two pieces of a dripping answer."""


class PeerLeftError(Exception):
    """The client went away while the script had more to send."""


class Connection:
    """One accepted connection.

    Attributes:
        sent: Bytes that were handed to the operating system.
    """

    def __init__(self, sock: socket.socket, server: FaultServer) -> None:
        self.sock = sock
        self.sent = 0
        self._server = server

    def request(self) -> bytes:
        """Read one request head; note it with the server, unless the peer leaves before its end."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self.sock.recv(1)
            if not byte:
                raise PeerLeftError
            head += byte
        self._server.requests.append(head)
        return head

    def send(self, data: bytes) -> None:
        """Send *data* whole."""
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise PeerLeftError from error
        self.sent += len(data)

    def drip(self, pieces: Iterator[bytes]) -> None:
        """Send one piece per tick until the peer leaves or the server closes."""
        for piece in pieces:
            if self._server.closing.wait(TICK):
                return
            self.send(piece)

    def stall(self) -> None:
        """Send nothing, until the peer leaves."""
        with contextlib.suppress(OSError):
            while self.sock.recv(4096):
                pass
        raise PeerLeftError

    def reset(self) -> None:
        """End the connection with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


Script = Callable[[Connection], None]


class FaultServer:
    """Answers by *script*; a context manager.

    Args:
        script: Called with every connection, after the handshake if there is one.
        tls: What a handshake is made with; None speaks plain text.
        opening: Called with every connection before its handshake.
        port: A port that the caller holds with `SO_REUSEPORT`; a free one unless given.

    Attributes:
        requests: Heads of the requests that were read.
        connections: Connections that were accepted.
        ended: How the connections ended, in the order in which they did.
        closing: Set when the test is over.
        tls: As given; may be replaced, and counts for the next connection.
    """

    def __init__(self, script: Script, *, tls: ssl.SSLContext | None = None, opening: Script | None = None, port: int | None = None) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.ended: list[Literal["sent", "left"]] = []
        self.closing = threading.Event()
        self.tls = tls
        self._script = script
        self._opening = opening
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", port or 0), reuse_port=port is not None)
        self.port: int = self._listener.getsockname()[1]

    def url(self, path: str = "/keys", host: str = "127.0.0.1") -> str:
        """Return the URL of *path* here, under the name *host*."""
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{path}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        # Wakes accept(), which closing the listener does not do everywhere.
        with contextlib.suppress(OSError), socket.socket() as waker:
            waker.connect(("127.0.0.1", self.port))
        for sock in list(self._sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(10)
            assert not thread.is_alive()
        self._listener.close()

    def wait_ended(self, count: int = 1) -> list[Literal["sent", "left"]]:
        """Wait until *count* connections have ended; return how they did."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.ended) >= count, timeout=10)
            return list(self.ended)

    def _start(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            if self.closing.is_set():
                sock.close()
                return
            self.connections += 1
            self._sockets.append(sock)
            self._start(self._serve, sock)

    def _serve(self, plain: socket.socket) -> None:
        how: Literal["sent", "left"] = "left"
        sock = plain
        with contextlib.suppress(PeerLeftError, OSError):
            if self._opening is not None:
                self._opening(Connection(plain, self))
            if self.tls is not None:
                sock = self.tls.wrap_socket(plain, server_side=True)
            self._script(Connection(sock, self))
            how = "sent"
        sock.close()
        plain.close()
        with self._changed:
            self.ended.append(how)
            self._changed.notify_all()


def answer(body: bytes = b'{"keys": []}', *fields: str, status: str = "200 OK", length: bool = True, version: str = "HTTP/1.1") -> bytes:
    """Return the bytes of a whole answer."""
    named = [*([f"Content-Length: {len(body)}"] if length else []), *fields]
    return "\r\n".join([f"{version} {status}", *named, "", ""]).encode() + body


def sends(data: bytes) -> Script:
    """Return a script that reads a request, sends *data* and closes."""

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(data)

    return script
