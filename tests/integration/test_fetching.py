"""The default fetcher against a server that misbehaves by script: limits, statuses and odd answers (R16, F2-F5, F8-F15, F18-F25)."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from tests.integration.fault_server import Connection, FaultServer, Script, answer, sends

from keyturn.errors import FetchError
from keyturn.fetching import FetchedDocument, Fetcher, HttpxFetcher

SHORT = 0.4
BODY = b'{"keys": []}'
PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the proxy variables of the machine out of the tests."""
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(params=[httpx.Client, httpx2.Client], ids=["httpx", "httpx2"])
def factory(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Return the client class of each library."""
    return request.param


@pytest.fixture
def fetcher(factory: Callable[..., Any]) -> HttpxFetcher:
    """Return a fetcher over each library."""
    return HttpxFetcher(client_factory=factory)


def read(fetcher: Fetcher, url: str, *, max_bytes: int = 1000, deadline: float = 10.0) -> FetchedDocument:
    """Read *url* with limits of the tests."""
    return fetcher.fetch(url, headers={}, max_bytes=max_bytes, deadline=deadline)


def refused(fetcher: Fetcher, url: str, *, max_bytes: int = 1000, deadline: float = 10.0) -> FetchError:
    """Return the error that reading *url* raises; nothing of the exchange hangs on it."""
    with pytest.raises(FetchError) as caught:
        read(fetcher, url, max_bytes=max_bytes, deadline=deadline)
    cause = caught.value.__cause__
    while cause is not None:
        assert cause.__traceback__ is None
        cause = cause.__cause__ or cause.__context__
    return caught.value


def fields(request: bytes) -> dict[str, str]:
    """Return the header fields of a request's head, names in lower case."""
    lines = request.decode().strip().split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


def test_a_document_is_read(fetcher: HttpxFetcher) -> None:
    """Body, header fields and the address that was connected to come back as they were."""
    with FaultServer(sends(answer(BODY, "X-Odd: a", "X-Odd: b", "Content-Type: text/plain"))) as server:
        document = read(fetcher, server.url())

    assert (BODY, 200, "127.0.0.1") == (document.body, document.status, document.address)
    assert ("a, b", "text/plain") == (document.headers["x-odd"], document.headers["content-type"])


def test_what_is_asked(fetcher: HttpxFetcher) -> None:
    """A plain agent of our own, no encoding, a fresh answer, and no condition (F27, U17)."""
    with FaultServer(sends(answer())) as server:
        fetcher.fetch(server.url("/keys?x=1"), headers={"X-Reason": "test"}, max_bytes=1000, deadline=10)

    (request,) = server.requests
    asked = fields(request)
    assert request.startswith(b"GET /keys?x=1 HTTP/1.1\r\n")
    assert ("identity", "no-cache", "test") == (asked["accept-encoding"], asked["cache-control"], asked["x-reason"])
    assert asked["user-agent"].split("/")[0] == "keyturn"
    assert asked["accept"].startswith("application/json")
    assert not {"if-none-match", "if-modified-since", "cookie", "authorization"} & asked.keys()


def test_own_headers_come_first(factory: Callable[..., Any]) -> None:
    """Header fields of the constructor replace ours and the caller's, in whatever case they are written (U17)."""
    fetcher = HttpxFetcher(client_factory=factory, headers={"USER-AGENT": "Mozilla/5.0", "X-Key": "mine"})
    with FaultServer(sends(answer())) as server:
        fetcher.fetch(server.url(), headers={"x-key": "theirs"}, max_bytes=1000, deadline=10)

    (request,) = server.requests
    assert ("Mozilla/5.0", "mine") == (fields(request)["user-agent"], fields(request)["x-key"])


def test_a_firewall_lets_us_through(fetcher: HttpxFetcher) -> None:
    """A firewall that refuses the usual Python agents and a missing Accept takes our request (U17)."""

    def firewall(connection: Connection) -> None:
        asked = fields(connection.request())
        agent = asked.get("user-agent", "").lower()
        suspect = not agent or "accept" not in asked or any(name in agent for name in ("python", "httpx", "urllib", "requests", "curl"))
        connection.send(answer(status="403 Forbidden") if suspect else answer(BODY))

    with FaultServer(firewall) as server:
        assert BODY == read(fetcher, server.url()).body


def test_refused_connection(fetcher: HttpxFetcher) -> None:
    """A closed port fails at once as what it is (F3)."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))

        error = refused(fetcher, f"http://127.0.0.1:{closed.getsockname()[1]}/keys")

    assert "could not be read: ConnectError" in error.message


@pytest.fixture
def black_hole() -> Iterator[int]:
    """Yield a port where connections are neither accepted nor refused, since its queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, socket.socket() as first, socket.socket() as second:
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def resolve(monkeypatch: pytest.MonkeyPatch, *ports: int) -> None:
    """Make every name resolve to these ports of loopback, in this order."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port)) for port in ports]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


def test_a_black_hole(factory: Callable[..., Any], black_hole: int) -> None:
    """An address that does not answer gets its own time-out, which the message names (F4)."""
    error = refused(HttpxFetcher(client_factory=factory, connect_timeout=0.1), f"http://127.0.0.1:{black_hole}/keys")

    assert "(setting: connect_timeout)" in error.message


def test_a_dead_address_and_a_good_one(factory: Callable[..., Any], black_hole: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead address does not eat the deadline: the next one is tried inside it (F2)."""
    fetcher = HttpxFetcher(client_factory=factory, connect_timeout=0.1, http_hosts=["keys.example"])
    with FaultServer(sends(answer(BODY))) as server:
        resolve(monkeypatch, black_hole, server.port)

        assert BODY == read(fetcher, "http://keys.example/keys").body


def test_no_request_after_a_late_resolution(factory: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Name resolution cannot be interrupted, but nothing is sent after one that outlived the deadline (Z19)."""
    fetcher = HttpxFetcher(client_factory=factory, http_hosts=["keys.example"])
    with FaultServer(sends(answer(BODY))) as server:
        found = [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", server.port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: threading.Event().wait(SHORT) or found)

        error = refused(fetcher, "http://keys.example/keys", deadline=SHORT / 4)

        assert ["left"] == server.wait_ended()
    assert "was not read whole within 0.1 s (setting: deadline)" in error.message
    assert [] == server.requests


def drips(head: bytes, pieces: Callable[[], Iterator[bytes]]) -> Script:
    """Return a script that sends *head*, then one piece per tick without end."""

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(head)
        connection.drip(pieces())

    return script


DRIPS = {
    "status line": drips(b"HTTP/1.1 2", lambda: itertools.repeat(b"0")),
    "headers": drips(b"HTTP/1.1 200 OK\r\n", lambda: (b"X-%d: y\r\n" % n for n in itertools.count())),
    "informational answers": drips(b"", lambda: itertools.repeat(b"HTTP/1.1 103 Early Hints\r\n\r\n")),
    "body with length": drips(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", lambda: itertools.repeat(b" ")),
    "body in chunks": drips(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", lambda: itertools.repeat(b"1\r\n \r\n")),
    "body until the end": drips(b"HTTP/1.1 200 OK\r\n\r\n{}", lambda: itertools.repeat(b" ")),
    "nothing": lambda connection: connection.request() and connection.stall(),
}


@pytest.mark.parametrize("what", DRIPS)
def test_one_deadline_for_everything(fetcher: HttpxFetcher, what: str) -> None:
    """An answer whose pieces each come in time is ended in the middle, and nothing of it is used (F8, F9, B9)."""
    with FaultServer(DRIPS[what]) as server:
        error = refused(fetcher, server.url(), max_bytes=100_000, deadline=SHORT)

        assert ["left"] == server.wait_ended()
    assert "was not read whole within 0.4 s (setting: deadline)" in error.message
    assert 1 == server.connections


@pytest.mark.parametrize("what", DRIPS)
def test_the_deadline_needs_no_thread(fetcher: HttpxFetcher, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started, the deadline holds all the same (F65)."""

    def start(_: threading.Timer) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Timer, "start", start)
    with FaultServer(DRIPS[what]) as server:
        error = refused(fetcher, server.url(), max_bytes=100_000, deadline=SHORT)

        assert ["left"] == server.wait_ended()
    assert "(setting: deadline)" in error.message


@pytest.mark.parametrize("head", [b"X: y\r\n" * 20_000, b"X: " + b"y" * 1_000_000 + b"\r\n"], ids=["many", "long"])
def test_too_many_headers(fetcher: HttpxFetcher, head: bytes) -> None:
    """The library's limit ends headers without end, long before the deadline (F8)."""

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\n" + head)
        connection.stall()

    with FaultServer(script) as server:
        assert "could not be read" in refused(fetcher, server.url(), deadline=60).message


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nc\r\n" + BODY + b"\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nContent-Length: 13\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nContent-Len",
        b"not HTTP at all\r\n\r\n",
        b"",
    ],
)
def test_answers_without_an_end(fetcher: HttpxFetcher, data: bytes) -> None:
    """A part of an answer is no answer, and there is no second try (F10)."""
    with FaultServer(sends(data)) as server:
        assert "could not be read" in refused(fetcher, server.url()).message

    assert 1 == server.connections


def test_reset_in_the_body(fetcher: HttpxFetcher) -> None:
    """A connection that is reset in the middle fails, and there is no second try (F10)."""

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(answer(BODY)[:-1])
        connection.reset()

    with FaultServer(script) as server:
        assert "could not be read" in refused(fetcher, server.url()).message

    assert 1 == server.connections


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("size", "taken"), [(999, True), (1000, True), (1001, False)])
def test_byte_cap(fetcher: HttpxFetcher, size: int, taken: bool, chunked: bool) -> None:
    """A body of exactly the limit is read, one byte more is refused, declared or not (F11, B10)."""
    body = size * b" "
    framed = answer(b"%x\r\n%s\r\n0\r\n\r\n" % (size, body), "Transfer-Encoding: chunked", length=False) if chunked else answer(body)
    with FaultServer(sends(framed)) as server:
        if taken:
            assert body == read(fetcher, server.url()).body
        else:
            assert "expected at most 1000 (setting: max_document_bytes)" in refused(fetcher, server.url()).message


@pytest.mark.parametrize(
    ("head", "most"),
    [
        # What one read may take and what the buffers of both ends hold is all that can be sent.
        (b"HTTP/1.1 200 OK\r\n\r\n", 20_000_000),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n", 20_000_000),
    ],
    ids=["undeclared", "declared"],
)
def test_a_body_without_end_is_left(fetcher: HttpxFetcher, head: bytes, most: int) -> None:
    """Of 100 MB no more is taken than the limit and what the network holds already (F11)."""
    seen: list[Connection] = []

    def script(connection: Connection) -> None:
        seen.append(connection)
        connection.request()
        connection.send(head)
        for _ in range(1600):
            connection.send(65_536 * b" ")

    with FaultServer(script) as server:
        error = refused(fetcher, server.url(), max_bytes=524_288, deadline=60)

        assert ["left"] == server.wait_ended()
    assert "expected at most 524288" in error.message
    assert seen[0].sent < most


def test_a_declared_length_is_refused_unread(fetcher: HttpxFetcher) -> None:
    """A length over the cap is refused although not one byte of the body has come (F11)."""

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n")
        connection.stall()

    with FaultServer(script) as server:
        assert "announced 1001 bytes" in refused(fetcher, server.url(), deadline=60).message


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip", "br", "zstd", "deflate"])
def test_encodings_are_refused_before_the_body(fetcher: HttpxFetcher, encoding: str) -> None:
    """A compressed answer is refused by its header; not one byte of its body is waited for (F12)."""

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: 100\r\n\r\n".encode())
        connection.stall()

    with FaultServer(script) as server:
        assert "content encoding" in refused(fetcher, server.url(), deadline=60).message


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"<html>", b'{"error": "x"}', b'{"keys": [', b"\xff\xfe{\x00"])
@pytest.mark.parametrize("content_type", ["text/html", "application/json; charset=utf-8", None])
def test_content_is_not_judged_here(fetcher: HttpxFetcher, body: bytes, content_type: str | None) -> None:
    """Whatever whole body comes is handed on as it is, with its type, for the parser to refuse (F13, F14, F25)."""
    named = [] if content_type is None else [f"Content-Type: {content_type}"]
    with FaultServer(sends(answer(body, *named))) as server:
        document = read(fetcher, server.url())

    assert (body, content_type) == (document.body, document.headers.get("content-type"))


@pytest.mark.parametrize(
    "data",
    [
        answer(BODY, version="HTTP/1.0"),
        answer(BODY, length=False, version="HTTP/1.0"),
        answer(BODY, length=False),
        answer(BODY, "Connection: close"),
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + answer(BODY),
        answer(b'6;a=b\r\n{"keys\r\n6\r\n": []}\r\n0\r\nX: y\r\n\r\n', "Transfer-Encoding: chunked", "Trailer: X", length=False),
    ],
    ids=["1.0", "1.0 until the end", "until the end", "close", "1xx", "trailers"],
)
def test_odd_but_whole_answers(fetcher: HttpxFetcher, data: bytes) -> None:
    """Old, chatty and chunked servers are understood (F15)."""
    with FaultServer(sends(data)) as server:
        assert BODY == read(fetcher, server.url()).body


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_redirects_are_not_followed(fetcher: HttpxFetcher, status: str) -> None:
    """The message shows where a redirect points; nobody is asked there (F18)."""
    with FaultServer(sends(answer())) as other, FaultServer(sends(answer(BODY, f"Location: {other.url('/next')}", status=status))) as server:
        error = refused(fetcher, server.url())

        assert 0 == other.connections
    assert f'points to "{other.url("/next")}"' in error.message
    assert "(settings: discovery_url, jwks_url, metadata_url)" in error.message
    assert 1 == server.connections


@pytest.mark.parametrize("place", ["/keys", "http://[", "file:///etc/passwd", "//169.254.169.254/", "https://user@evil.example/\x01"])
def test_odd_redirects(fetcher: HttpxFetcher, place: str) -> None:
    """A loop, another scheme and what is no URL at all are failed fetches like any other redirect (F18)."""
    with FaultServer(sends(answer(BODY, f"Location: {place}", status="302 Found"))) as server:
        refused(fetcher, server.url())

    assert 1 == server.connections


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified", "401 x", "403 x", "404 x", "410 x", "429 x", "500 x", "503 x"])
def test_other_statuses(fetcher: HttpxFetcher, status: str) -> None:
    """Whatever is not 200 is a failed fetch, asked once, and `Retry-After` comes out of it (F20-F23)."""
    head = f"HTTP/1.1 {status}\r\nRetry-After: 120\r\n\r\n".encode()
    with FaultServer(sends(head)) as server:
        error = refused(fetcher, server.url())

    assert f"answered {status[:3]}, expected 200" in error.message
    assert (120, 1) == (error.retry_after, server.connections)


def held() -> tuple[int, int]:
    """Return how many threads and descriptors this process holds, once the servers' own have gone."""
    for thread in threading.enumerate():
        if "_serve" in thread.name:
            thread.join(10)
    return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors can only be counted where the system lists them")
def test_nothing_is_left_behind(fetcher: HttpxFetcher) -> None:
    """Neither threads nor sockets outlive a fetch, failed or not (I5)."""
    with FaultServer(DRIPS["headers"]) as server, FaultServer(sends(answer(BODY))) as good:
        read(fetcher, good.url())
        good.wait_ended()
        before = held()
        for _ in range(3):
            refused(fetcher, server.url(), deadline=SHORT / 4)
        read(fetcher, good.url())
        server.wait_ended(3)
        good.wait_ended(2)

        assert before == held()
