"""The socket before the application.

Rules of this file:

1. It listens where it is told to, and nowhere else; the default is the loopback of this machine.
2. One request for each connection, one daemon thread for each connection, and at most `MOST_CONNECTIONS` of them.
3. Heads and bodies are bounded, and whoever says nothing for `PATIENCE` seconds is cut off.
4. At most `MOST_HELD` requests for documents are under way; a further one gets 503, so that a fault that holds requests never holds
   tokens and the control API as well.
5. A request whose end two readers could see in two places is refused: two lengths, a length that is no number, a coded body
   (RFC 9112, section 6.3), a head with a line that is no header field and might hide those after it (section 5).
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import re
import socket
import socketserver
import ssl
import struct
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, BinaryIO

from keyturn.errors import ConfigurationError, quoted
from keyturn.serving.application import Application, is_own
from keyturn.serving.exchange import RefusedError, Request
from keyturn.testing.faults import Answer, Sender, SenderLeft

MOST_CONNECTIONS = 192
"""Connections at once: three times the requests that a fault may hold, so that the control API stays within reach."""

MOST_HELD = 64
"""Requests for documents that may be under way at once."""

PATIENCE = 20.0
"""Real seconds of silence after which a connection is cut off."""

LONGEST_HOLD = 600.0
"""Real seconds after which a request that a fault holds is given up: whoever sent it may have left long ago."""

LARGEST_HEAD = 32_768
"""Bytes of a request line and its header fields."""

LARGEST_BODY = 65_536
"""Bytes of a body."""

_DRAINED = 1_048_576  # Bytes that are read and thrown away, since whoever still sends may never read the refusal.
# Folded lines are none (RFC 9112, section 5.2), nor is a CR that ends nothing (section 2.2).
_FIELD_LINE = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*)?\r?\n")
_ONCE = {"host", "origin", "content-type", "content-length", "authorization", "sec-fetch-site"}

Make = Callable[[str], Application]
"""Makes what answers, for the origin that a server is reached at."""

Told = Callable[[Request, str], None]
"""Is told of each request, with what became of it."""


def is_loopback(host: str) -> bool:
    """Return whether nobody but this machine can reach *host*, an address or "localhost"."""
    return host == "localhost" or ipaddress.ip_address(host).is_loopback


def authority(host: str, port: int) -> str:
    """Return host and port as a URL has them, for somebody on this machine."""
    if host == "localhost":
        return f"localhost:{port}"
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        return f"127.0.0.1:{port}" if address.version == 4 else f"[::1]:{port}"  # noqa: PLR2004 - IPv4
    return f"{address}:{port}" if address.version == 4 else f"[{address}]:{port}"  # noqa: PLR2004 - IPv4


class Server(ThreadingHTTPServer):
    """Listens from its construction on; answers once `serve_forever()` runs.

    Args:
        host: Address to listen at, or "localhost".
        port: Port to listen at; 0 means any that is free.
        make: Makes the application.
        context: Makes it https.
        told: Is told of each request.

    Attributes:
        url: Origin that it is reached at from this machine.
        application: What answers.

    Raises:
        ConfigurationError: The address or the port cannot be listened at.
    """

    daemon_threads = True
    request_queue_size = 128
    # On Windows this would let two servers have one port.
    allow_reuse_address = os.name == "posix"

    def __init__(self, host: str, port: int, make: Make, *, context: ssl.SSLContext | None = None, told: Told = lambda *_: None) -> None:
        if host != "localhost" and not _is_address(host):
            raise ConfigurationError(f'host is {quoted(host)}, expected an address such as "127.0.0.1" or "0.0.0.0" (setting: --host)')
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.told = told
        self._context = context
        self._room = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._room_for_held = threading.BoundedSemaphore(MOST_HELD)
        self._senders: set[Sender] = set()
        self._lock = threading.Lock()
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise _cannot_listen(host, port, error) from None
        self.url = f"{'http' if context is None else 'https'}://{authority(host, self.server_port)}"
        try:
            self.application = make(self.url)
        except BaseException:
            self.server_close()
            raise

    def close(self) -> None:
        """Listen no longer, and let go of every request that is held; called when `serve_forever()` does not run, or from another thread."""
        self.server_close()
        with self._lock:
            for sender in self._senders:
                sender.leave()
        self.application.close()

    def server_bind(self) -> None:
        """Bind without asking for the name of this machine, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]  # str for an Internet address

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection on a thread of its own, or close it where there are too many (2)."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands on the connection's own thread, where nobody else waits for it."""
        request.settimeout(PATIENCE)
        if self._context is not None:
            with self._context.wrap_socket(request, server_side=True) as secured:
                super().finish_request(secured, client_address)
        else:
            super().finish_request(request, client_address)

    @contextlib.contextmanager
    def under_way(self, request: Request) -> Iterator[None]:
        """Count a request until its answer is sent.

        Raises:
            RefusedError: Too many are under way already (4).
        """
        never_held = is_own(request.path) or request.path == self.application.control.issuer.token_path
        if not never_held and not self._room_for_held.acquire(blocking=False):
            raise RefusedError(503, "too_many_held", f"{MOST_HELD} requests are under way, expected fewer")
        with self._lock:
            self._senders.add(request.sender)
        try:
            yield
        finally:
            with self._lock:
                self._senders.discard(request.sender)
            if not never_held:
                self._room_for_held.release()

    def respond(self, request: Request) -> Answer | None:
        """Answer a request; None drops the connection."""
        try:
            return self.application.respond(request)
        except SenderLeft:
            return None
        except Exception:  # noqa: BLE001 - the caller must hear that the fault is ours, and the next one must be served
            self.handle_error(None, None)
            return RefusedError(500, "server_error", "keyturn serve failed; its standard error says where").answer()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over clients that go away; a fault of ours is told."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _StrictHead:
    """Reads lines until a head has had all the bytes that it may have, and refuses what is no header field; the body is read past it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._left = LARGEST_HEAD
        self._began = False

    def readline(self, limit: int = -1) -> bytes:
        line = self._stream.readline(self._left + 1 if limit < 0 else min(limit, self._left + 1))
        self._left -= len(line)
        if self._left < 0:
            raise RefusedError(431, "too_large", f"the head has more than {LARGEST_HEAD} bytes, expected at most as many")
        if self._began and not line:
            raise ConnectionAbortedError("the head ended early")
        if self._began and not _FIELD_LINE.fullmatch(line):
            raise RefusedError(400, "invalid_request", "the head has a line that is no header field, expected a name, a colon and a value")
        self._began = True
        return line

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server
    close_connection = True

    def setup(self) -> None:
        super().setup()
        self.rfile = _StrictHead(self.rfile)  # type: ignore[assignment,arg-type]  # passes on whatever is no line

    def handle(self) -> None:
        """Serve one request (2)."""
        try:
            self.handle_one_request()
        except RefusedError as refused:
            self.request_version, self.command = self.protocol_version, ""
            self._send(refused.answer(), Sender())

    def do_GET(self) -> None:
        """Serve a request of any method that has an answer."""
        path, _, query = self.path.partition("?")
        request = Request(self.command, path, query, {name.lower(): value for name, value in self.headers.items()}, sender=Sender(LONGEST_HOLD))
        try:
            request = replace(request, body=self._body())
            with self.server.under_way(request):
                self._answer(request, self.server.respond(request))
        except RefusedError as refused:
            self._answer(request, refused.answer())

    def _answer(self, request: Request, answer: Answer | None) -> None:
        # Told first: whoever has the answer finds the request in the log.
        self.server.told(request, "connection dropped" if answer is None else f"{answer.status}, {len(answer.body)} bytes")
        if answer is None:
            self._reset()
            return
        try:
            self._send(answer, request.sender)
        except SenderLeft:
            self._reset()

    do_HEAD = do_POST = do_OPTIONS = do_GET  # noqa: N815 - the base class looks for these names

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002 - as the base class calls it
        """Refuse what the base class cannot read."""
        # What it could not read it takes for HTTP/0.9, which has no head.
        self.request_version = self.protocol_version
        self._send(RefusedError(int(code), "invalid_request", message or "the request cannot be read").answer(), Sender())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
        """Say nothing: the server's own line says it better."""

    def _body(self) -> bytes:
        fields = Counter(name.lower() for name in self.headers)
        for name in _ONCE:
            if fields[name] > 1:
                raise RefusedError(400, "invalid_request", f"header field {name} is repeated, expected it once")
        if fields["transfer-encoding"]:
            raise RefusedError(411, "length_required", "the body has a Transfer-Encoding, expected a Content-Length")
        length = self.headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit() and len(length) <= 18):  # noqa: PLR2004 - fits any counter
            raise RefusedError(400, "invalid_request", f"Content-Length is {quoted(length)}, expected a number")
        if int(length) > LARGEST_BODY:
            self._drain(min(int(length), _DRAINED))
            raise RefusedError(413, "too_large", f"the body has {int(length)} bytes, expected at most {LARGEST_BODY}")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ConnectionAbortedError("the body ended early")
        return body

    def _drain(self, length: int) -> None:
        while length > 0:
            read = len(self.rfile.read(min(length, LARGEST_BODY)))
            if not read:
                return
            length -= read

    def _send(self, answer: Answer, sender: Sender) -> None:
        self.close_connection = True
        self.send_response_only(answer.status)
        # These two end with their head (RFC 9110, section 6.4.1).
        own = answer.headers if answer.status in {204, 304} else answer.fields()
        for name, value in {"date": self.date_time_string(), "connection": "close", **own}.items():
            self.send_header(name, value)
        self.end_headers()
        if answer.status not in {204, 304} and self.command != "HEAD":
            for piece in answer.pieces(sender):
                self.wfile.write(piece)

    def _reset(self) -> None:
        # Closing with a linger time of zero sends a reset instead of an orderly end; Windows has shorter fields in its record.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if os.name == "nt" else "ii", 1, 0))
        self.rfile.close()
        self.connection.close()
        self.close_connection = True


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _cannot_listen(host: str, port: int, error: Exception) -> ConfigurationError:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return ConfigurationError(f"port {port} of {host} is in use, expected a free one (setting: --port)", hint="--port 0 takes any that is free.")
    if number == errno.EADDRNOTAVAIL:
        return ConfigurationError(f"host {quoted(host)} is no address of this machine, expected one of its own (setting: --host)")
    if number == errno.EACCES:
        return ConfigurationError(f"port {port} of {host} is not for everybody, expected one above 1023 (setting: --port)")
    return ConfigurationError(f"port {port} of {host} cannot be listened at: {quoted(str(error))} (setting: --port)")
