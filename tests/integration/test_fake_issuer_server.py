"""The fake issuer on a loopback socket and between threads."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest

from keyturn.errors import FetchError
from keyturn.testing import FakeClock, FakeIssuer, IssuerServer

PATIENCE = 20.0
"""Real seconds after which a test that should have gone on fails; none of them waits for it to pass."""


def get(url: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """Ask as a plain client does: no proxy, no redirect, one connection."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.netloc, timeout=PATIENCE)
    try:
        connection.request(method, place.path)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def threads_of_the_kit() -> list[str]:
    """Name the threads that the kit has started and not ended."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("keyturn-fake-issuer")]


@pytest.fixture
def issuer() -> FakeIssuer:
    """An issuer on a clock that stands still."""
    return FakeIssuer(clock=FakeClock())


@pytest.fixture
def server(issuer: FakeIssuer, capfd: pytest.CaptureFixture[str]) -> Iterator[IssuerServer]:
    """A server of the issuer, which leaves no thread behind and prints nothing."""
    with issuer.serve() as server:
        yield server
    assert ([], "", "") == (threads_of_the_kit(), *capfd.readouterr())


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads for callers."""
    with ThreadPoolExecutor(8) as pool:
        yield pool


class TestServer:
    """What a client sees."""

    def test_serves_both_documents(self, issuer: FakeIssuer, server: IssuerServer) -> None:
        """Both documents are served as they are published, as JSON, dated by the issuer's clock, and counted."""
        for url, document in ((server.discovery_url, issuer.discovery()), (server.jwks_url, issuer.jwks())):
            status, headers, body = get(url)
            assert (200, "application/json", document) == (status, headers["content-type"], json.loads(body))
            assert "Fri, 15 Jan 2027 08:00:00 GMT" == headers["date"]
        issuer.fetches.expect(discovery=1, jwks=1)

    def test_issuer_without_a_name_takes_the_servers(self) -> None:
        """Tokens and documents name the server while it runs, and the old name afterwards."""
        issuer = FakeIssuer()
        with issuer.serve() as server:
            assert f"http://127.0.0.1:{urlsplit(server.url).port}" == server.url
            assert (server.url, server.discovery_url, server.jwks_url) == (issuer.issuer, issuer.discovery_url, issuer.jwks_url)
            claims = jwt.decode(issuer.token(), options={"verify_signature": False})
            document = json.loads(get(server.discovery_url)[2])
            assert (server.url, server.url, server.jwks_url) == (claims["iss"], document["issuer"], document["jwks_uri"])
        assert ("https://issuer.test", "https://issuer.test/jwks.json") == (issuer.issuer, issuer.jwks_url)

    def test_issuer_with_a_name_keeps_it(self) -> None:
        """A server of a named issuer announces the public name under the same path, so that its origin can be rewritten."""
        issuer = FakeIssuer("https://login.test/tenant")
        with issuer.serve() as server:
            document = json.loads(get(server.discovery_url)[2])
            assert ("https://login.test/tenant", "https://login.test/tenant/jwks.json") == (document["issuer"], document["jwks_uri"])
            assert server.url + "/tenant/jwks.json" == server.jwks_url
            assert issuer.jwks() == json.loads(get(server.jwks_url)[2])
            assert ["https://login.test/tenant/jwks.json"] == [r.url for r in issuer.fetches.requests if r.document == "jwks"]

    def test_follows_the_steps(self, issuer: FakeIssuer, server: IssuerServer) -> None:
        """A running server publishes what is published now."""
        issuer.cut_over("k2")
        assert ["k2"] == [entry["kid"] for entry in json.loads(get(server.jwks_url)[2])["keys"]]

    def test_other_locations(self, issuer: FakeIssuer, server: IssuerServer) -> None:
        """Other paths are not found, other methods not known; neither counts for a document."""
        assert (404, 501) == (get(server.url + "/other")[0], get(server.jwks_url, "POST")[0])
        issuer.fetches.expect(discovery=0, jwks=0)

    def test_served_once_at_a_time(self, issuer: FakeIssuer, server: IssuerServer) -> None:
        """A second server of one issuer would leave its name open, so there is none."""
        with pytest.raises(ValueError, match="is being served already"), issuer.serve():
            pass
        assert 200 == get(server.jwks_url)[0]

    def test_can_be_served_again(self, issuer: FakeIssuer) -> None:
        """An issuer outlives its servers, with its keys."""
        before = issuer.jwks()
        for _ in range(2):
            with issuer.serve() as server:
                assert before == json.loads(get(server.jwks_url)[2])

    def test_without_a_socket_at_the_same_time(self, issuer: FakeIssuer, server: IssuerServer) -> None:
        """The fetcher without a socket reads the same issuer under the name that it has now."""
        answer = issuer.fetcher().fetch(issuer.jwks_url, headers={}, max_bytes=10_000, deadline=PATIENCE)
        assert get(server.jwks_url)[2] == answer.body
        issuer.fetches.expect(jwks=2)

    def test_many_at_once(self, issuer: FakeIssuer, server: IssuerServer, pool: ThreadPoolExecutor) -> None:
        """Requests are answered side by side, and each is counted once."""
        with issuer.gate() as gate:
            answers = [pool.submit(get, server.jwks_url) for _ in range(8)]
            assert gate.wait_for_arrival(PATIENCE, count=8)
            gate.open()
            assert {200} == {answer.result(PATIENCE)[0] for answer in answers}
        issuer.fetches.expect(jwks=8)
        assert list(range(1, 9)) == [request.number for request in issuer.fetches.requests]


class TestFaults:
    """Faults on the wire."""

    def test_down(self, issuer: FakeIssuer, server: IssuerServer) -> None:
        """An outage is a status and, if asked for, a Retry-After field; the other document is not touched."""
        with issuer.down(429, retry_after=120):
            status, headers, _ = get(server.jwks_url)
            assert (429, "120", 200) == (status, headers["retry-after"], get(server.discovery_url)[0])
        assert 200 == get(server.jwks_url)[0]

    def test_drop_connection(self, issuer: FakeIssuer, server: IssuerServer) -> None:
        """The client sees a reset and not one byte of an answer."""
        with issuer.drop_connection(), pytest.raises(ConnectionResetError):
            get(server.jwks_url)
        assert ["connection dropped"] == [request.outcome for request in issuer.fetches.requests]

    @pytest.mark.parametrize("status", [204, 304])
    def test_answers_without_a_body(self, issuer: FakeIssuer, server: IssuerServer, status: int) -> None:
        """An answer that ends with its head sends nothing behind it (RFC 9110, section 6.4.1)."""
        with issuer.answer(b"body", status), socket.create_connection(("127.0.0.1", urlsplit(server.url).port), PATIENCE) as wire:
            wire.sendall(b"GET /jwks.json HTTP/1.1\r\nHost: x\r\n\r\n")
            received = b"".join(iter(lambda: wire.recv(4096), b""))
        assert (True, True) == (received.startswith(b"HTTP/1.1 %d " % status), received.endswith(b"\r\n\r\n"))

    def test_any_answer(self, issuer: FakeIssuer, server: IssuerServer) -> None:
        """Body and headers go out as told."""
        with issuer.answer(b"<html>", headers={"Content-Type": "text/html", "X-Odd": "1"}):
            status, headers, body = get(server.jwks_url)
        assert (200, "text/html", "1", b"<html>") == (status, headers["content-type"], headers["x-odd"], body)

    def test_wrong_length(self, issuer: FakeIssuer, server: IssuerServer) -> None:
        """A Content-Length that was given is sent, so that a body can end too early."""
        with issuer.answer(b"{", headers={"Content-Length": "10"}), pytest.raises(http.client.IncompleteRead):
            get(server.jwks_url)

    def test_slow(self, issuer: FakeIssuer, server: IssuerServer, pool: ThreadPoolExecutor) -> None:
        """A slow answer is on its way until its delay ends, here with its context."""
        with issuer.slow(3600):
            answer = pool.submit(get, server.jwks_url)
            wait_until(lambda: issuer.fetches.jwks == 1)
            assert ("under way", False) == (issuer.fetches.requests[0].outcome, answer.done())
        assert 200 == answer.result(PATIENCE)[0]


class TestGate:
    """A gate between threads, without a socket."""

    def ask(self, issuer: FakeIssuer, pool: ThreadPoolExecutor) -> Future[Any]:
        return pool.submit(issuer.fetcher().fetch, issuer.jwks_url, headers={}, max_bytes=100_000, deadline=PATIENCE)

    def test_blocks_until_opened(self, issuer: FakeIssuer, pool: ThreadPoolExecutor) -> None:
        """Every request waits at the gate; opening it lets all of them through, and later ones too."""
        with issuer.gate() as gate:
            answers = [self.ask(issuer, pool) for _ in range(5)]
            assert gate.wait_for_arrival(PATIENCE, count=5)
            assert ([False] * 5, 5) == ([answer.done() for answer in answers], gate.arrived)
            gate.open()
            assert {200} == {answer.result(PATIENCE).status for answer in answers}
            assert (200, 6) == (self.ask(issuer, pool).result(PATIENCE).status, gate.arrived)

    def test_end_of_the_context_opens(self, issuer: FakeIssuer, pool: ThreadPoolExecutor) -> None:
        """A test that forgets to open leaves nobody behind."""
        with issuer.gate() as gate:
            answer = self.ask(issuer, pool)
            assert gate.wait_for_arrival(PATIENCE)
        assert 200 == answer.result(PATIENCE).status

    def test_answers_what_was_published_on_arrival(self, issuer: FakeIssuer, pool: ThreadPoolExecutor) -> None:
        """A rollover behind the back of a request does not reach its answer."""
        with issuer.gate() as gate:
            answer = self.ask(issuer, pool)
            assert gate.wait_for_arrival(PATIENCE)
            issuer.cut_over("k2")
            gate.open()
            assert ["k1"] == [entry["kid"] for entry in json.loads(answer.result(PATIENCE).body)["keys"]]

    def test_clear_forgets_a_request_under_way(self, issuer: FakeIssuer, pool: ThreadPoolExecutor) -> None:
        """A request that ends after the account was cleared stays forgotten."""
        with issuer.gate() as gate:
            answer = self.ask(issuer, pool)
            assert gate.wait_for_arrival(PATIENCE)
            issuer.fetches.clear()
        answer.result(PATIENCE)
        issuer.fetches.expect(jwks=0)

    def test_deadline_ends_the_wait(self, issuer: FakeIssuer) -> None:
        """At the deadline, in real time, the caller is back although the gate is closed and the clock stands still."""
        with issuer.gate() as gate:
            with pytest.raises(FetchError, match="no whole answer"):
                issuer.fetcher().fetch(issuer.jwks_url, headers={}, max_bytes=100, deadline=0.05)
            assert 1 == gate.arrived


class TestClosing:
    """Nothing is left behind."""

    def test_ends_requests_under_way(self, issuer: FakeIssuer, pool: ThreadPoolExecutor) -> None:
        """Closing resets a request that stands at a gate, and no thread outlives it."""
        with issuer.gate() as gate:
            with issuer.serve() as server:
                answer = pool.submit(get, server.jwks_url)
                assert gate.wait_for_arrival(PATIENCE)
            assert not threads_of_the_kit()
            with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
                answer.result(PATIENCE)
        assert ["not answered: the sender left first"] == [request.outcome for request in issuer.fetches.requests]

    def test_ends_idle_connections(self, issuer: FakeIssuer) -> None:
        """A client that connects and says nothing does not hold the server up."""
        with issuer.serve() as server:
            silent = socket.create_connection(("127.0.0.1", urlsplit(server.url).port), PATIENCE)
            get(server.jwks_url)
        with silent:
            assert b"" == silent.recv(1)
        assert not threads_of_the_kit()

    def test_port_is_free_again(self, issuer: FakeIssuer) -> None:
        """After the context nobody listens."""
        with issuer.serve() as server:
            assert 200 == get(server.jwks_url)[0]
        with pytest.raises(ConnectionRefusedError):
            get(server.jwks_url)

    def test_closes_after_an_exception(self, issuer: FakeIssuer) -> None:
        """A failing test leaves no server behind, and the issuer has its own name again."""
        with pytest.raises(ZeroDivisionError), issuer.serve():
            raise ZeroDivisionError
        assert ([], "https://issuer.test") == (threads_of_the_kit(), issuer.issuer)

    def test_client_that_leaves_is_no_news(self, issuer: FakeIssuer, capfd: pytest.CaptureFixture[str]) -> None:
        """A client that gives up on a held request prints nothing."""
        with issuer.serve() as server:
            place = ("127.0.0.1", urlsplit(server.url).port)
            # The client is gone before the gate opens: contexts end from the right to the left.
            with issuer.answer(b"x" * 5_000_000), issuer.gate() as gate, socket.create_connection(place, PATIENCE) as wire:
                wire.sendall(b"GET /jwks.json HTTP/1.1\r\nHost: x\r\n\r\n")
                assert gate.wait_for_arrival(PATIENCE)
            wait_until(lambda: "keyturn-fake-issuer-http" not in threads_of_the_kit())
        assert ("", "") == tuple(capfd.readouterr())

    def test_thread_that_does_not_end_is_told(self, issuer: FakeIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
        """A server that cannot be closed whole fails loudly, and the issuer has its own name again."""
        entered, leave, published = threading.Event(), threading.Event(), issuer._published
        monkeypatch.setattr("keyturn.testing.server._LONGEST_CLOSING", 0.05)
        monkeypatch.setattr(issuer, "_published", lambda location: (entered.set(), leave.wait(PATIENCE), published(location))[2])
        serving = issuer.serve()
        with socket.create_connection(("127.0.0.1", urlsplit(serving.__enter__().url).port), PATIENCE) as wire:
            wire.sendall(b"GET /jwks.json HTTP/1.1\r\nHost: x\r\n\r\n")
            assert entered.wait(PATIENCE)
            with pytest.raises(RuntimeError, match="did not end"):
                serving.__exit__(None, None, None)
            leave.set()
        wait_until(lambda: not threads_of_the_kit())
        assert "https://issuer.test" == issuer.issuer

    def test_own_faults_are_news(self, issuer: FakeIssuer, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        """A fault of the kit itself is printed, not hidden as a dropped connection."""
        monkeypatch.setattr(issuer, "_published", lambda location: 1 / 0)
        with issuer.serve() as server, pytest.raises(ConnectionError):
            get(server.jwks_url)
        assert "ZeroDivisionError" in capfd.readouterr().err


class TestClockBetweenThreads:
    """A thread that sleeps on the clock of the test."""

    def test_advance_wakes(self, pool: ThreadPoolExecutor) -> None:
        """A thread sleeps until the test has moved the clock far enough, then goes on although its event is not set."""
        clock, asleep = FakeClock(), ArrivalEvent()
        sleeper = pool.submit(clock.wait, asleep, 60.0)
        assert asleep.arrived.wait(PATIENCE)
        clock.advance(59)
        assert not sleeper.done()
        clock.advance(1)
        assert sleeper.result(PATIENCE) is False

    def test_event_wakes(self, pool: ThreadPoolExecutor) -> None:
        """A set event wakes the thread although the clock stands still."""
        clock, asleep = FakeClock(), ArrivalEvent()
        sleeper = pool.submit(clock.wait, asleep, 60.0)
        assert asleep.arrived.wait(PATIENCE)
        asleep.set()
        assert sleeper.result(PATIENCE) is True


class ArrivalEvent(threading.Event):
    """Tells when somebody waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        self.arrived.set()
        return super().wait(timeout)


def wait_until(condition: Callable[[], bool]) -> None:
    """Look again until *condition* holds; for what has no event of its own."""
    looked = threading.Event()
    for _ in range(int(PATIENCE / 0.01)):
        if condition():
            return
        looked.wait(0.01)
    raise AssertionError("what was waited for did not happen")


def test_steps_from_many_threads(issuer: FakeIssuer, pool: ThreadPoolExecutor) -> None:
    """No reader sees half of a step: a set read during cut-overs holds exactly one key."""
    done = threading.Event()

    def read() -> set[int]:
        seen = set()
        while not done.is_set():
            seen.add(len(issuer.jwks()["keys"]))
        return seen

    readers = [pool.submit(read) for _ in range(2)]
    try:
        for number in range(200):
            issuer.cut_over(f"n{number}")
    finally:
        done.set()
    assert {1} == set().union(*(reader.result(PATIENCE) for reader in readers))


def test_import_is_light() -> None:
    """Importing the kit loads no test framework and no HTTP client."""
    code = "import sys, keyturn.testing; print(*sorted({'pytest', 'httpx', 'httpx2', 'respx', 'trustme'} & set(sys.modules)))"
    assert "" == subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60).stdout.strip()
