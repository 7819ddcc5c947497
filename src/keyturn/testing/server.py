"""The loopback server before fake issuers: one listener, one port, any number of issuers.

Rules of this file:

1. It listens on 127.0.0.1 and nowhere else.
2. A request belongs to the issuer whose path is the longest that its own begins with, whole segments compared.
3. Closing leaves nothing behind: no thread, no connection, no port.
4. A fault means here what it means without a socket; `faults.py` says what.
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from keyturn.clock import Deadline
from keyturn.errors import quoted
from keyturn.testing.faults import Affected, Answer, Faults, Gate, Sender, SenderLeft
from keyturn.testing.private_ca import PrivateCa

__all__ = ["Affected", "Answer", "Gate", "IssuerServer", "Mount", "Respond", "Sender", "SenderLeft", "open_server"]

_LONGEST_CLOSING = 10.0  # Real seconds: long enough for a loaded machine.
_NOT_FOUND = Answer(404, {"content-type": "application/json"}, b'{"error":"not_found"}')

Respond = Callable[[str, Mapping[str, str], Sender], Answer | None]
"""Answers a request for a location or a path; None drops the connection, SenderLeft says that nobody waits for it."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One issuer on a server.

    Attributes:
        path: What the paths of its documents begin with; empty for all that nobody else has.
        respond: Answers a request for a path.
        faults: Its faults.
    """

    path: str
    respond: Respond
    faults: Faults


class IssuerServer:
    """A running loopback server, as one issuer sees it; made by `serve()`.

    Attributes:
        url: Where the issuer is reached, such as `http://127.0.0.1:49152`; with the path that it was given.
        discovery_url: Where it serves the discovery document.
        jwks_url: Where it serves the key set.
        ca_pem: The private CA that made the server's certificate, as PEM; None without TLS.
    """

    def __init__(self, listener: _Listener, mount: Mount, *, url: str, discovery_path: str, jwks_path: str, owner: bool) -> None:
        self._listener, self._mount, self._owner = listener, mount, owner
        self.url = url
        self.discovery_url = listener.origin + discovery_path
        self.jwks_url = listener.origin + jwks_path
        self.ca_pem = None if listener.ca is None else listener.ca.pem

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """A context of its own for a client, which trusts this server's CA and nobody else.

        Raises:
            ValueError: The server speaks clear text.
        """
        if self._listener.ca is None:
            raise ValueError(f"the server at {self.url} speaks clear text, expected one that was made by serve(tls=True)")
        return self._listener.ca.client_context()

    def beside(self, mount: Mount, *, url_path: str, discovery_path: str, jwks_path: str) -> IssuerServer:
        """Return this server as another issuer sees it, which is served from now on as well; `serve(on=...)` calls it."""
        self._listener.add(mount)
        url = self._listener.origin + url_path
        return IssuerServer(self._listener, mount, url=url, discovery_path=discovery_path, jwks_path=jwks_path, owner=False)

    def close(self) -> None:
        """Serve the issuer no longer. The server that others joined stops listening, ends every request, and waits for all threads.

        Raises:
            RuntimeError: A thread could not be ended.
        """
        if self._owner:
            self._listener.close()
        else:
            self._listener.remove(self._mount)


def open_server(mount: Mount, *, url_path: str, discovery_path: str, jwks_path: str, port: int = 0, tls: bool = False) -> IssuerServer:
    """Listen on 127.0.0.1 and serve one issuer.

    Args:
        mount: The issuer.
        url_path: Path of its name.
        discovery_path: Path of its discovery document.
        jwks_path: Path of its key set.
        port: Port to listen on; 0 means a free one.
        tls: Whether it speaks https.

    Raises:
        ConfigurationError: The extra for TLS is missing.
        OSError: The port is not free.
    """
    listener = _Listener(mount, port, PrivateCa() if tls else None)
    return IssuerServer(listener, mount, url=listener.origin + url_path, discovery_path=discovery_path, jwks_path=jwks_path, owner=True)


class _Listener:
    """The port, its thread, and who is served on it."""

    def __init__(self, mount: Mount, port: int, ca: PrivateCa | None) -> None:
        self.ca = ca
        self._lock = threading.Lock()
        self._mounts = {mount.path: mount}
        self._faults = [mount.faults]
        self._http = _HttpServer(self._respond, port, None if ca is None else ca.server_context())
        self.origin = f"{'http' if ca is None else 'https'}://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True, name="keyturn-fake-issuer")
        self._thread.start()

    def add(self, mount: Mount) -> None:
        """Serve another issuer.

        Raises:
            ValueError: Its path is taken.
        """
        with self._lock:
            if mount.path in self._mounts:
                raise ValueError(f"path is {quoted(mount.path)}, and another issuer is served there at {self.origin}, expected another path")
            self._mounts[mount.path] = mount
            self._faults.append(mount.faults)

    def remove(self, mount: Mount) -> None:
        """Serve an issuer no longer."""
        with self._lock:
            self._mounts.pop(mount.path, None)

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        threads = (self._thread, *self._http.hang_up())
        with self._lock:
            # Those of issuers that have left may still hold requests.
            faults = tuple(self._faults)
        for each in faults:
            each.look_again()
        deadline = Deadline(_LONGEST_CLOSING)
        for thread in threads:
            thread.join(deadline.left())
            if thread.is_alive():
                raise RuntimeError(f"thread {thread.name} of the fake issuer did not end within {_LONGEST_CLOSING:g} s")

    def _respond(self, target: str, headers: Mapping[str, str], sender: Sender) -> Answer | None:
        place = target.partition("?")[0] + "/"
        with self._lock:
            fitting = [mount for path, mount in self._mounts.items() if place.startswith(f"{path}/")]
        if not fitting:
            return _NOT_FOUND
        return max(fitting, key=lambda mount: len(mount.path)).respond(target, headers, sender)


class _HttpServer(ThreadingHTTPServer):
    """One daemon thread for each connection, each of them known, so that closing leaves none behind."""

    daemon_threads = True
    request_queue_size = 128  # With the five of the base class a burst of callers is dropped and asks again a second later.

    def __init__(self, respond: Respond, port: int, context: ssl.SSLContext | None) -> None:
        self.respond = respond
        self._context = context
        self._lock = threading.Lock()
        self._open: dict[threading.Thread, tuple[socket.socket, Sender]] = {}
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(target=self.process_request_thread, args=(request, client_address), daemon=True, name="keyturn-fake-issuer-http")
        with self._lock:
            # A thread is forgotten only once it is gone, so that closing waits for its last step too.
            self._open = {other: opened for other, opened in self._open.items() if other.is_alive()}
            self._open[thread] = (request, Sender())
        thread.start()

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self._context is None:
            super().finish_request(request, client_address)
            return
        with self._secured(self._context, request) as secured:
            secured.do_handshake()
            super().finish_request(secured, client_address)

    def _secured(self, context: ssl.SSLContext, request: socket.socket) -> ssl.SSLSocket:
        """Return the connection with TLS around it; whoever hangs up from now on shuts this one down, since the other is empty."""
        with self._lock:
            thread = threading.current_thread()
            sender = self._open[thread][1]
            if not sender.left():
                raise ConnectionAbortedError("the server is closing")
            secured = context.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
            self._open[thread] = (secured, sender)
        return secured

    def sender(self) -> Sender:
        """Return the sender whose connection the current thread serves."""
        with self._lock:
            return self._open[threading.current_thread()][1]

    def hang_up(self) -> tuple[threading.Thread, ...]:
        """End every conversation; return the threads, which end on their own."""
        with self._lock:
            conversations = dict(self._open)
            # Under the lock, so that nobody begins TLS on a connection that is shut down below without it.
            for _, sender in conversations.values():
                sender.leave()
        for connection, _ in conversations.values():
            # Shut down rather than closed: a closed descriptor may be somebody else's by the time its thread reads from it.
            with suppress(OSError):
                # Below TLS, which would wait for its own thread.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
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
        try:
            self._send(answer)
        except SenderLeft:
            self._reset()

    def _send(self, answer: Answer) -> None:
        self.send_response_only(answer.status)
        for name, value in {"connection": "close", **answer.fields()}.items():
            self.send_header(name, value)
        self.end_headers()
        if answer.status not in {204, 304}:  # These two end with their head (RFC 9110, section 6.4.1).
            for piece in answer.pieces(self.server.sender()):
                self.wfile.write(piece)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - The base class calls it so.
        """Say nothing: the account of the issuer has it all."""

    def _reset(self) -> None:
        # Closing with a linger time of zero sends a reset instead of an orderly end; Windows has shorter fields in its record.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if os.name == "nt" else "ii", 1, 0))
        self.rfile.close()
        self.connection.close()
        self.close_connection = True
