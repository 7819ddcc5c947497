"""One fetch's connection, held to its deadline and its addresses, with streams that are none (R16)."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from keyturn._connection import ConnectionGuard
from keyturn.clock import Deadline


class Stream:
    """A stream over one end of a socket pair, as an HTTP library would tell of it."""

    def __init__(self, sock: socket.socket, address: str = "10.0.0.5") -> None:
        self.sock, self.address, self.closed, self.timeouts = sock, address, False, list[float | None]()

    def get_extra_info(self, name: str) -> Any:
        return {"socket": self.sock, "server_addr": (self.address, 443)}[name]

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self.timeouts.append(timeout)
        return b""

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def ends() -> Any:
    """Yield both ends of a socket pair."""
    here, there = socket.socketpair()
    with here, there:
        yield here, there


def connect(guard: ConnectionGuard, stream: Stream, host: str = "keys.example") -> None:
    """Tell *guard* of a connection to *host*."""
    guard.trace("connection.connect_tcp.started", {"host": host, "port": 443})
    guard.trace("connection.connect_tcp.complete", {"return_value": stream})


def test_a_direct_connection_is_judged(ends: Any) -> None:
    """The address is noted and judged as soon as it is connected to (F17)."""
    judged: list[str] = []
    with ConnectionGuard(Deadline(60), judged.append) as guard:
        guard.expect("keys.example", 443)
        connect(guard, Stream(ends[0]))

    assert (["10.0.0.5"], "10.0.0.5", True, False) == (judged, guard.address, guard.connected, guard.cut)


def test_a_connection_to_elsewhere_is_one_to_a_proxy(ends: Any) -> None:
    """The address of a proxy is the user's choice, and not the document's address (F16, F17)."""
    judged: list[str] = []
    with ConnectionGuard(Deadline(60), judged.append) as guard:
        guard.expect("keys.example", 443)
        connect(guard, Stream(ends[0]), "proxy.internal")

    assert ([], None, True) == (judged, guard.address, guard.connected)


def test_a_refused_stream_is_closed(ends: Any) -> None:
    """The library has not seen the stream yet, so nobody else would close it (I5)."""

    def refuse(address: str) -> None:
        raise ValueError(address)

    stream = Stream(ends[0])
    with ConnectionGuard(Deadline(60), refuse) as guard:
        guard.expect("keys.example", 443)
        with pytest.raises(ValueError, match=r"10\.0\.0\.5"):
            connect(guard, stream)

    assert stream.closed


def test_the_deadline_shuts_the_connection_down(ends: Any) -> None:
    """A read that waits is ended at the deadline, while the descriptor stays its reader's (R16)."""
    here, _ = ends
    with ConnectionGuard(Deadline(0.05), lambda _: None) as guard:
        connect(guard, Stream(here))
        here.settimeout(30)

        assert b"" == here.recv(1)
    assert guard.cut
    assert here.fileno() >= 0


def test_a_connection_after_the_deadline_is_not_used(ends: Any) -> None:
    """What connects too late is closed unused (Z19)."""
    stream = Stream(ends[0])
    with ConnectionGuard(Deadline(0), lambda _: None) as guard, pytest.raises(TimeoutError):
        connect(guard, stream)

    assert stream.closed


def test_the_watch_ends_with_the_fetch(ends: Any) -> None:
    """No thread of a guard outlives it, and it shuts nothing down afterwards (I5)."""
    before = set(threading.enumerate())
    with ConnectionGuard(Deadline(60), lambda _: None) as guard:
        connect(guard, Stream(ends[0]))
        (watch,) = set(threading.enumerate()) - before

    assert not watch.is_alive()
    ends[1].send(b"x")
    assert b"x" == ends[0].recv(1)


def test_without_a_thread_every_read_is_bounded(ends: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No read gets more than what is left, before and after TLS; none is begun after the deadline (F65)."""

    def start(_: threading.Timer) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Timer, "start", start)
    plain, tls = Stream(ends[0]), Stream(ends[0])
    with ConnectionGuard(Deadline(60), lambda _: None) as guard:
        connect(guard, plain)
        guard.trace("connection.start_tls.complete", {"return_value": tls})
        for stream in (plain, tls):
            stream.read(1, timeout=600)
            stream.read(1)
        guard.deadline = Deadline(0)
        late = Stream(ends[0])
        guard.trace("connection.start_tls.complete", {"return_value": late})
        with pytest.raises(TimeoutError):
            late.read(1)

    assert [True] * 4 == [timeout is not None and timeout <= 60 for timeout in plain.timeouts + tls.timeouts]
    assert [] == late.timeouts
