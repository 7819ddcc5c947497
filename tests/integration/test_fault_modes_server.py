"""The faults of a fake issuer over a real socket, its https server, and several issuers on one port."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import sys
import threading
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from tests.unit.failing import BRIEF, FAULTS

from keyturn import ConfigurationError, FetchedDocument, FetchError, HttpxFetcher, InvalidIssuerError, IssuerRouter, TokenValidator
from keyturn.testing import FakeClock, FakeIssuer, IssuerServer, fake_issuer
from keyturn.testing.faults import Sender
from keyturn.testing.server import _HttpServer

PATIENCE = 20.0
"""Real seconds after which a test that should have gone on fails; none of them waits for it to pass."""


@pytest.fixture
def issuer() -> FakeIssuer:
    """An issuer on a clock that stands still."""
    return FakeIssuer(clock=FakeClock())


def fetcher_of(server: IssuerServer) -> HttpxFetcher:
    """Return the default fetcher, which trusts the server's CA if it has one."""
    return HttpxFetcher(trust_env=False, ca=None if server.ca_pem is None else server.ssl_context)


def fetch(server: IssuerServer, url: str, deadline: float = PATIENCE) -> FetchedDocument:
    """Read a document with the default fetcher."""
    return fetcher_of(server).fetch(url, headers={}, max_bytes=524_288, deadline=deadline)


def ask(server: IssuerServer) -> socket.socket:
    """Connect and ask for the key set by hand."""
    place = urlsplit(server.jwks_url)
    wire = socket.create_connection((place.hostname, place.port), PATIENCE)
    wire.sendall(f"GET {place.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return wire


def threads_of_the_kit() -> list[str]:
    """Name the threads that the kit has started and not ended."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("keyturn-fake-issuer")]


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_fetch_fails_as_without_a_socket(issuer: FakeIssuer, name: str, tls: bool) -> None:
    """Over a socket, with TLS or without, a fault is the same failed fetch and the same line of the account."""
    fault = FAULTS[name]
    with issuer.serve(tls=tls) as server:
        with fault.enter(issuer), pytest.raises(FetchError, match=fault.says):
            fetch(server, server.jwks_url, BRIEF * 5 if fault.endless else PATIENCE)
        assert re.search(fault.outcome, issuer.fetches.requests[0].outcome)
        assert issuer.jwks() == json.loads(fetch(server, server.jwks_url).body)
    assert [] == threads_of_the_kit()


def test_a_truncated_body_is_short(issuer: FakeIssuer) -> None:
    """The head promises the whole document, and the connection ends after half of it."""
    with issuer.serve() as server, issuer.truncated(), ask(server) as wire:
        answer = http.client.HTTPResponse(wire)
        answer.begin()
        with pytest.raises(http.client.IncompleteRead):
            answer.read()


def test_a_drip_is_bytes_on_the_wire(issuer: FakeIssuer) -> None:
    """Blanks arrive one after the other, and the document once the context has ended."""
    with issuer.serve() as server:
        with issuer.drip(0.001):
            wire = ask(server)
            answer = http.client.HTTPResponse(wire)
            answer.begin()
            assert [b" "] * 3 == [answer.read(1) for _ in range(3)]
        assert issuer.jwks() == json.loads(answer.read())
        answer.close()
        wire.close()


def test_a_drip_ends_with_its_peer(issuer: FakeIssuer, capfd: pytest.CaptureFixture[str]) -> None:
    """A peer that goes is no news, and closing the server ends whatever drips."""
    with issuer.drip(0.001):
        with issuer.serve() as server:
            ask(server).close()
            staying = ask(server)
            assert b"HTTP/1.1 200" == staying.recv(12)
        staying.close()
    assert ([], "", "") == (threads_of_the_kit(), *capfd.readouterr())


def test_a_compressed_body_is_gzip(issuer: FakeIssuer) -> None:
    """The bytes on the wire are gzip."""
    with issuer.serve() as server, issuer.compressed(), ask(server) as wire:
        answer = http.client.HTTPResponse(wire)
        answer.begin()
        assert ("gzip", b"\x1f\x8b") == (answer.getheader("content-encoding"), answer.read()[:2])


class TestHttps:
    """A server with TLS and a CA of its own."""

    def test_a_validator_by_its_url(self, issuer: FakeIssuer) -> None:
        """The issuer is called by its https URL, and whoever trusts its CA validates its tokens."""
        with issuer.serve(tls=True) as server:
            assert (True, server.url) == (server.url.startswith("https://127.0.0.1:"), issuer.issuer)
            validator = TokenValidator(server.url, audience="api://test", fetcher=fetcher_of(server), clock=issuer.clock)
            assert "alice" == validator.validate(issuer.token()).subject

    def test_nobody_else_trusts_it(self, issuer: FakeIssuer) -> None:
        """A client with the usual CAs refuses the certificate, and the CA of one server does not vouch for another."""
        other = FakeIssuer()
        with issuer.serve(tls=True) as server, other.serve(tls=True) as second:
            for ca in (None, second.ssl_context):
                with pytest.raises(FetchError, match=r"(?i)certificate"):
                    HttpxFetcher(trust_env=False, ca=ca).fetch(server.jwks_url, headers={}, max_bytes=9_999, deadline=PATIENCE)

    def test_ca_for_other_clients(self, issuer: FakeIssuer) -> None:
        """Its CA is given as PEM, too, for clients of any kind."""
        with issuer.serve(tls=True) as server:
            assert server.ca_pem is not None
            context = ssl.create_default_context(cadata=server.ca_pem.decode())
            connection = http.client.HTTPSConnection(urlsplit(server.url).netloc, timeout=PATIENCE, context=context)
            connection.request("GET", "/jwks.json")
            assert issuer.jwks() == json.loads(connection.getresponse().read())
            connection.close()

    def test_clear_text_has_no_context(self, issuer: FakeIssuer) -> None:
        """A server without TLS has no CA, and says so."""
        with issuer.serve() as server:
            assert server.ca_pem is None
            with pytest.raises(ValueError, match="speaks clear text"):
                _ = server.ssl_context

    def test_closing_ends_a_handshake_that_never_comes(self, issuer: FakeIssuer) -> None:
        """A client that connects and says nothing does not hold the server up."""
        with issuer.serve(tls=True) as server:
            silent = socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0), PATIENCE)
            fetch(server, server.jwks_url)
        silent.close()
        assert [] == threads_of_the_kit()

    def test_closing_before_a_handshake_has_begun(self, issuer: FakeIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
        """A connection that would be wrapped in TLS in the moment in which the server hangs up does not hold the server up."""
        secure, leave = _HttpServer._secured, Sender.leave
        accepted, hanging_up, secured = threading.Event(), threading.Event(), threading.Event()

        def late(server: _HttpServer, context: ssl.SSLContext, request: socket.socket) -> ssl.SSLSocket:
            accepted.set()
            assert hanging_up.wait(PATIENCE)
            connection = secure(server, context, request)
            secured.set()
            return connection

        def slowly(sender: Sender) -> None:
            leave(sender)
            hanging_up.set()
            secured.wait(0.1)

        monkeypatch.setattr(_HttpServer, "_secured", late)
        monkeypatch.setattr(Sender, "leave", slowly)
        with issuer.serve(tls=True) as server:
            silent = socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0), PATIENCE)
            assert accepted.wait(PATIENCE)
        silent.close()
        assert [] == threads_of_the_kit()

    def test_clear_text_to_it_is_no_news(self, issuer: FakeIssuer, capfd: pytest.CaptureFixture[str]) -> None:
        """A client that speaks no TLS gets nothing, and nothing is printed about it."""
        with issuer.serve(tls=True) as server, ask(server) as wire:
            received = b""
            with suppress(ConnectionError):
                received = wire.recv(4_096)
            assert not received.startswith(b"HTTP")
        assert ("", "") == tuple(capfd.readouterr())

    def test_the_missing_extra_is_named(self, issuer: FakeIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without trustme the error names the extra, and the issuer can be served without TLS afterwards."""
        monkeypatch.setitem(sys.modules, "trustme", None)
        with pytest.raises(ConfigurationError, match="trustme") as caught, issuer.serve(tls=True):
            pass
        assert 'pip install "keyturn[testing]"' in str(caught.value.hint)
        with issuer.serve() as server:
            assert issuer.jwks() == json.loads(fetch(server, server.jwks_url).body)


class TestSeveral:
    """Several issuers on one port."""

    def test_each_under_its_path(self) -> None:
        """Issuers without a name are called by port and path, may share a kid, and keep apart (R15)."""
        clock = FakeClock()
        first, second = FakeIssuer(clock=clock), FakeIssuer(clock=clock, audience="api://second")
        with first.serve() as server, second.serve(on=server, path="/second") as beside:
            assert (server.url, f"{server.url}/second", beside.url) == (first.issuer, second.issuer, second.issuer)
            fetcher = HttpxFetcher(trust_env=False)
            router = IssuerRouter(
                TokenValidator(first.issuer, audience="api://test", fetcher=fetcher, clock=clock),
                TokenValidator(second.issuer, audience="api://second", fetcher=fetcher, clock=clock),
            )
            assert [first.issuer, second.issuer] == [router.validate(issuer.token()).issuer for issuer in (first, second)]
            for issuer in (first, second):
                issuer.fetches.expect(discovery=1, jwks=1)
            with pytest.raises(InvalidIssuerError):
                router.validate(first.foreign())
        assert ("https://issuer.test", None) == (second.issuer, second.server)

    def test_leaving_and_staying(self) -> None:
        """One that joined goes alone; its path is free again, and the server goes on."""
        first, second, third = FakeIssuer(), FakeIssuer(), FakeIssuer("https://login.test/tenant")
        with first.serve() as server:
            with second.serve(on=server, path="/a/b") as beside:
                assert second.jwks() == json.loads(fetch(server, beside.jwks_url).body)
                with (
                    pytest.raises(ValueError, match='path is "/a/b", and another issuer is served there'),
                    FakeIssuer().serve(on=server, path="/a/b"),
                ):
                    pass
            with pytest.raises(FetchError, match="404"):
                fetch(server, beside.jwks_url)
            with third.serve(on=server) as named:
                assert (f"{server.url}/tenant/jwks.json", server.url) == (named.jwks_url, named.url)
                assert third.jwks() == json.loads(fetch(server, named.jwks_url).body)

    def test_leaving_with_a_request_under_way(self) -> None:
        """A request that one who left still holds does not hold up the server when that one closes."""
        first, second = FakeIssuer(), FakeIssuer()
        with second.gate() as gate:
            with first.serve() as server, second.serve(on=server, path="/a") as beside:
                wire = ask(beside)
                assert gate.wait_for_arrival(PATIENCE)
            wire.close()
            assert [] == threads_of_the_kit()

    def test_longest_path_wins(self) -> None:
        """Whole segments are compared: /second-hand is not below /second."""
        first, second = FakeIssuer(), FakeIssuer()
        with first.serve() as server, second.serve(on=server, path="/second"):
            with pytest.raises(FetchError, match="404"):
                fetch(server, f"{server.url}/second-hand/jwks.json")
            first.fetches.expect(jwks=0)
            assert 1 == len(first.fetches.requests)
            assert () == second.fetches.requests

    def test_nobody_at_the_root(self) -> None:
        """What belongs to nobody is 404, on nobody's account."""
        issuer = FakeIssuer()
        with issuer.serve(path="/only") as server:
            with pytest.raises(FetchError, match="404"):
                fetch(server, server.url.removesuffix("/only") + "/jwks.json")
            assert ((), f"{server.url}/jwks.json") == (issuer.fetches.requests, server.jwks_url)

    @pytest.mark.parametrize("path", ["second", "/second/", "/", "/a?b", "//a", "/a b"])
    def test_a_path_that_cannot_be(self, path: str) -> None:
        """A path begins with a slash and has no other at its end."""
        with pytest.raises(ValueError, match='expected one such as "/second"'), FakeIssuer().serve(path=path):
            pass

    def test_a_name_is_a_place(self) -> None:
        """An issuer with a name of its own is served where the name says."""
        with pytest.raises(ValueError, match="this issuer has a name"), FakeIssuer("https://login.test").serve(path="/a"):
            pass

    def test_the_server_decides_about_port_and_tls(self) -> None:
        """Whoever joins a server takes its port and its TLS."""
        with FakeIssuer().serve(tls=True) as server:
            with pytest.raises(ValueError, match="those of the server to join"), FakeIssuer().serve(on=server, tls=True, path="/a"):
                pass
            with FakeIssuer().serve(on=server, path="/a") as beside:
                assert (server.ca_pem, True) == (beside.ca_pem, beside.url.startswith("https://"))
                assert 200 == fetch(beside, beside.jwks_url).status


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_served_for_a_block(tls: bool) -> None:
    """`fake_issuer(serve=True)` serves its issuer for the time of the block, and leaves nothing behind."""
    with fake_issuer(serve=True, tls=tls) as issuer:
        server = issuer.server
        assert server is not None
        assert issuer.issuer == server.url
        assert ("https" if tls else "http", issuer.jwks()) == (urlsplit(server.url).scheme, json.loads(fetch(server, server.jwks_url).body))
    assert (None, []) == (issuer.server, threads_of_the_kit())


def test_one_block_within_another() -> None:
    """What `fake_issuer()` returned can be entered again within itself: each block ends the server of its own issuer alone."""
    context = fake_issuer(serve=True)
    with context as outer:
        with context as inner:
            assert outer.issuer != inner.issuer
        assert inner.server is None
        assert outer.server is not None
        assert outer.jwks() == json.loads(fetch(outer.server, outer.server.jwks_url).body)
    assert (None, []) == (outer.server, threads_of_the_kit())


def test_tls_alone_means_served() -> None:
    """Whoever asks for https asks for a server."""
    with fake_issuer(tls=True) as issuer:
        assert issuer.issuer.startswith("https://127.0.0.1:")
