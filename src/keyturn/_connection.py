"""What may happen on the connection of one fetch: to whom it leads, and until when.

Rules of this file:

1. The time-outs of HTTP libraries count for one operation; here one deadline counts for all of them (R16).
2. At the deadline a duplicate of the socket is shut down, which ends a handshake, a read or a write at once. Nothing that
   another thread reads is ever closed from outside: its descriptor may be somebody else's by then.
3. An address is judged as soon as it is connected to, before anything is sent.
4. The library is watched through its documented trace extension, never through private attributes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from keyturn.clock import Deadline

if TYPE_CHECKING:
    import socket


class ConnectionGuard:
    """Holds one fetch to its deadline and to the addresses that it may reach; a context manager.

    Attributes:
        deadline: When everything must be over.
        address: IP address that was connected to, or None before that and where a proxy stands between.
        connected: Whether a connection was seen at all.
        cut: Whether the time ran out while the guard was held, so that a connection may have been shut down.
    """

    def __init__(self, deadline: Deadline, judge: Callable[[str], None]) -> None:
        """Build a guard.

        Args:
            deadline: When everything must be over.
            judge: Called with the address of a direct connection; raises if it may not be used.
        """
        self.deadline = deadline
        self.address: str | None = None
        self.connected = False
        self.cut = False
        self._judge = judge
        self._target: tuple[str, int] | None = None
        self._direct = True
        self._lock = threading.Lock()
        self._duplicates: list[socket.socket] = []
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Self:
        timer = threading.Timer(self.deadline.left(), self._cut)
        timer.daemon = True
        # Where no thread can be started, reads are bounded one by one (`_bound_reads`).
        with suppress(RuntimeError):
            timer.start()
            self._timer = timer
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()
        for duplicate in self._duplicates:
            duplicate.close()
        self._duplicates.clear()

    def expect(self, host: str, port: int) -> None:
        """Say where a direct connection leads; a connection to anywhere else is one to a proxy.

        Args:
            host: Host as the HTTP library will write it.
            port: Port, the default one included.
        """
        self._target = (host, port)

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Take an event of the HTTP library's trace extension."""
        if event.endswith("connect_tcp.started"):
            self._direct = self._target == (info["host"], info["port"])
        elif event.endswith("connect_tcp.complete"):
            stream = info["return_value"]
            try:
                self._connected(stream)
            except BaseException:
                # The library does not know this stream yet, and nobody else reads it.
                stream.close()
                raise
        elif event.endswith("start_tls.complete") and self._timer is None:
            _bound_reads(info["return_value"], self.deadline)

    def _connected(self, stream: Any) -> None:
        self.connected = True
        if self._timer is None:
            _bound_reads(stream, self.deadline)
        else:
            # Duplicated before TLS is spoken over it: a socket of the ssl module cannot be.
            self._hold(stream.get_extra_info("socket").dup())
        if self._direct:
            self.address = stream.get_extra_info("server_addr")[0]
            self._judge(self.address)
        if self.cut or self.deadline.over():
            # Name resolution cannot be interrupted; after a late one nothing may be sent any more.
            raise TimeoutError("connected too late")

    def _hold(self, duplicate: socket.socket) -> None:
        with self._lock:
            self._duplicates.append(duplicate)

    def _cut(self) -> None:
        from socket import SHUT_RDWR  # noqa: PLC0415 - loaded long since by whoever connected; importing keyturn must not load it

        with self._lock:
            self.cut = True
            for duplicate in self._duplicates:
                with suppress(OSError):
                    duplicate.shutdown(SHUT_RDWR)


def _bound_reads(stream: Any, deadline: Deadline) -> None:
    """Give every read of *stream* no more than what is left of *deadline*."""
    read = stream.read

    def bounded(max_bytes: int, timeout: float | None = None) -> Any:  # noqa: ARG001 - the library's own time-out is longer
        if deadline.over():
            raise TimeoutError("the deadline is over")
        return read(max_bytes, deadline.left())

    stream.read = bounded
