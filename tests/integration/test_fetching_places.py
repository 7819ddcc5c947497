"""To whom the default fetcher speaks: certificates, proxies, addresses and origins that are reached elsewhere (R16, F5-F7, F16, F17, U22)."""

from __future__ import annotations

import datetime as dt
import re
import shutil
import socket
import ssl
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
import trustme
from tests.integration.fault_server import Connection, FaultServer, answer, sends

from keyturn._core.location import Reach
from keyturn.errors import DiscoveryError, FetchError
from keyturn.fetching import FetchedDocument, Fetcher, HttpxFetcher

BODY = b'{"keys": []}'
SHORT = 0.4
NAME = "keys.example"
YEAR = dt.timedelta(days=365)
NOW = dt.datetime.now(dt.UTC)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the variables of the machine out of the tests."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(params=[httpx.Client, httpx2.Client], ids=["httpx", "httpx2"])
def make(request: pytest.FixtureRequest) -> Callable[..., HttpxFetcher]:
    """Return what makes a fetcher over each library."""
    return lambda **settings: HttpxFetcher(client_factory=request.param, **settings)


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    """Return the CA of the tests."""
    return trustme.CA()


@pytest.fixture
def ca_file(ca: trustme.CA, tmp_path: Path) -> Path:
    """Return the CA's certificate as a file."""
    path = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(path)
    return path


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every name lead to loopback, as a name server in the hands of an attacker could."""

    def resolve(_: str, port: int, *__: object, **___: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def read(fetcher: Fetcher, url: str, *, deadline: float = 10.0) -> FetchedDocument:
    """Read *url* with limits of the tests."""
    return fetcher.fetch(url, headers={}, max_bytes=1000, deadline=deadline)


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """Return a server's context with *certificate*."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@pytest.mark.parametrize("kind", ["file", "path", "context"])
def test_a_private_ca(make: Callable[..., HttpxFetcher], ca: trustme.CA, ca_file: Path, kind: str) -> None:
    """A CA of one's own is given as a file or as a context, and is then trusted."""
    given = {"file": str(ca_file), "path": ca_file, "context": ssl.create_default_context(cafile=ca_file)}[kind]
    fetcher = make(ca=given)
    with FaultServer(sends(answer(BODY)), tls=server_context(ca.issue_cert("127.0.0.1"))) as server:
        assert (BODY, "127.0.0.1") == ((document := read(fetcher, server.url())).body, document.address)
        assert BODY == read(fetcher, server.url()).body


@pytest.mark.parametrize(
    ("issue", "reason"),
    [
        (lambda ca: ca.issue_cert("127.0.0.1", not_before=NOW - 2 * YEAR, not_after=NOW - YEAR), "expired"),
        (lambda ca: ca.issue_cert("127.0.0.1", not_before=NOW + YEAR, not_after=NOW + 2 * YEAR), "not yet valid"),
        (lambda ca: ca.issue_cert("login.example.com"), "not valid for '127.0.0.1'"),
        (lambda _: trustme.CA().issue_cert("127.0.0.1"), "unable to get local issuer"),
    ],
    ids=["expired", "not yet valid", "wrong host", "unknown CA"],
)
def test_bad_certificates(make: Callable[..., HttpxFetcher], ca: trustme.CA, ca_file: Path, issue: Callable[..., Any], reason: str) -> None:
    """Every failed check is named, with the setting; nothing is sent, and there is no second try without verification (F6)."""
    with FaultServer(sends(answer(BODY)), tls=server_context(issue(ca))) as server, pytest.raises(FetchError, match=reason) as caught:
        read(make(ca=ca_file), server.url())

    assert "(setting: ca)" in caught.value.message
    assert "HttpxFetcher(ca=" in caught.value.hint
    assert ([], 1) == (server.requests, server.connections)


def test_a_self_signed_certificate(make: Callable[..., HttpxFetcher], ca: trustme.CA) -> None:
    """A certificate that vouches for itself is refused by the CAs that are trusted by default (F6)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with trustme.Blob(ca.private_key_pem.bytes() + ca.cert_pem.bytes()).tempfile() as chain:
        context.load_cert_chain(chain)
    with FaultServer(sends(answer(BODY)), tls=context) as server, pytest.raises(FetchError, match="self-signed"):
        read(make(), server.url())


def test_a_replaced_ca_file_is_read_again(make: Callable[..., HttpxFetcher], ca: trustme.CA, ca_file: Path, tmp_path: Path) -> None:
    """After a refused certificate the file of CAs is read anew, so that a CA's rollover needs no restart."""
    stale = tmp_path / "stale.pem"
    trustme.CA().cert_pem.write_to_path(stale)
    fetcher = make(ca=stale)
    with FaultServer(sends(answer(BODY)), tls=server_context(ca.issue_cert("127.0.0.1"))) as server:
        with pytest.raises(FetchError):
            read(fetcher, server.url())
        shutil.copy(ca_file, stale)

        assert BODY == read(fetcher, server.url()).body


def test_a_ca_file_that_went_away(make: Callable[..., HttpxFetcher], ca_file: Path) -> None:
    """A file of CAs that cannot be loaded is a failed fetch that names the setting."""
    fetcher = make(ca=ca_file)
    ca_file.write_text("no certificates")

    with pytest.raises(FetchError, match=re.escape("(setting: ca)")):
        read(fetcher, "https://127.0.0.1:1/keys")


def test_old_tls(make: Callable[..., HttpxFetcher], ca: trustme.CA, ca_file: Path) -> None:
    """TLS 1.1 is refused (F7)."""
    context = server_context(ca.issue_cert("127.0.0.1"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        lenient = ssl.create_default_context(cafile=ca_file)
        lenient.minimum_version = ssl.TLSVersion.TLSv1
    for one in (context, lenient):
        one.set_ciphers("ALL:@SECLEVEL=0")
    with FaultServer(sends(answer(BODY)), tls=context) as server:
        try:
            with socket.create_connection(("127.0.0.1", server.port)) as plain, lenient.wrap_socket(plain, server_hostname="127.0.0.1"):
                pass
        except ssl.SSLError:
            pytest.skip("this OpenSSL no longer speaks TLS 1.1")
        with pytest.raises(FetchError):
            read(make(ca=ca_file), server.url())

    assert [] == server.requests


def test_a_handshake_that_stalls(make: Callable[..., HttpxFetcher]) -> None:
    """A handshake that never ends counts towards the deadline (F5)."""
    with FaultServer(lambda connection: connection.stall()) as server:
        with pytest.raises(FetchError):
            read(make(), f"https://127.0.0.1:{server.port}/keys", deadline=SHORT)

        assert ["left"] == server.wait_ended()


def test_a_body_that_drips_over_tls(make: Callable[..., HttpxFetcher], ca: trustme.CA, ca_file: Path) -> None:
    """The deadline ends a read inside TLS too (F9)."""

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        connection.drip(iter(1000 * [b" "]))

    with FaultServer(script, tls=server_context(ca.issue_cert("127.0.0.1"))) as server:
        with pytest.raises(FetchError, match=re.escape("(setting: deadline)")):
            read(make(ca=ca_file), server.url(), deadline=SHORT)

        assert ["left"] == server.wait_ended()


def test_a_body_that_drips_over_tls_without_threads(
    make: Callable[..., HttpxFetcher], ca: trustme.CA, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no thread can be started, the deadline holds inside TLS too (F65)."""

    def start(_: threading.Timer) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Timer, "start", start)
    test_a_body_that_drips_over_tls(make, ca, ca_file)


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize("by", ["argument", "environment"])
def test_a_proxy_is_used(make: Callable[..., HttpxFetcher], monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    """The proxy of the setting or of the environment is asked; the address is its own then, so none is told (F16)."""
    with FaultServer(sends(answer(BODY))) as proxy:
        if by == "environment":
            monkeypatch.setenv("http_proxy", proxy.url(""))
        fetcher = make(http_hosts=[NAME], proxy=proxy.url("") if by == "argument" else None)

        assert (BODY, None) == ((document := read(fetcher, f"http://{NAME}/keys")).body, document.address)
    assert proxy.requests[0].startswith(b"GET http://keys.example/keys HTTP/1.1\r\n")


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize("why", ["trust_env", "no_proxy"])
def test_a_proxy_is_not_used(make: Callable[..., HttpxFetcher], monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    """Without `trust_env`, and for hosts of NO_PROXY, the issuer is asked directly (F16)."""
    with FaultServer(sends(answer(BODY))) as proxy, FaultServer(sends(answer(BODY))) as server:
        monkeypatch.setenv("http_proxy", proxy.url(""))
        monkeypatch.setenv("no_proxy", NAME if why == "no_proxy" else "")
        fetcher = make(http_hosts=[NAME], trust_env=why != "trust_env")

        assert "127.0.0.1" == read(fetcher, server.url(host=NAME)).address
    assert ([], 1) == (proxy.requests, len(server.requests))


@pytest.mark.usefixtures("named")
def test_behind_a_proxy_only_the_text_is_judged(make: Callable[..., HttpxFetcher]) -> None:
    """The proxy resolves, so a name passes; a literal address and `localhost` are refused without a request (F17, AD3)."""
    with FaultServer(sends(answer(BODY))) as proxy:
        fetcher = make(http_hosts=[NAME, "127.0.0.1", "10.0.0.5", "localhost"], proxy=proxy.url("")).within(Reach.PUBLIC)

        assert BODY == read(fetcher, f"http://{NAME}/keys").body
        for host in ("127.0.0.1", "2130706433", "0x7f.1", "10.0.0.5", "localhost"):
            with pytest.raises(DiscoveryError):
                read(fetcher, f"http://{host}/keys")
    assert 1 == proxy.connections


def test_a_proxy_that_drips(make: Callable[..., HttpxFetcher]) -> None:
    """The deadline counts for the answer of a proxy too (F9, F16)."""

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\n")
        connection.drip(iter(1000 * [b"X: y\r\n"]))

    with FaultServer(script) as proxy:
        with pytest.raises(FetchError, match=re.escape("(setting: deadline)")):
            read(make(proxy=proxy.url("")), f"https://{NAME}/keys", deadline=SHORT)

        assert ["left"] == proxy.wait_ended()
    assert proxy.requests[0].startswith(b"CONNECT keys.example:443 HTTP/1.1\r\n")


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize("reach", [Reach.PUBLIC, Reach.PRIVATE])
@pytest.mark.parametrize("tls", [False, True])
def test_a_name_that_leads_to_loopback(make: Callable[..., HttpxFetcher], ca: trustme.CA, ca_file: Path, reach: Reach, tls: bool) -> None:
    """The address that was connected to is judged before anything is sent: neither a request nor a handshake (F17)."""
    context = server_context(ca.issue_cert(NAME)) if tls else None
    with FaultServer(sends(answer(BODY)), tls=context) as server:
        fetcher = make(http_hosts=[NAME], ca=ca_file).within(reach)
        with pytest.raises(DiscoveryError, match=re.escape("(setting: private_hosts)")) as caught:
            read(fetcher, server.url(host=NAME))

        assert ["left"] == server.wait_ended()
    assert 'the address "127.0.0.1" is loopback' in caught.value.message
    assert ([], 1) == (server.requests, server.connections)


@pytest.mark.parametrize("reach", [Reach.PUBLIC, Reach.PRIVATE])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433"])
def test_a_url_that_says_loopback(make: Callable[..., HttpxFetcher], reach: Reach, host: str) -> None:
    """What the text says already is refused without a connection (F17, AD3)."""
    with FaultServer(sends(answer(BODY))) as server, pytest.raises(DiscoveryError):
        read(make(http_hosts=[host]).within(reach), server.url(host=host))

    assert 0 == server.connections


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize(
    ("reach", "settings", "allowed"),
    [
        (Reach.LOOPBACK, {"http_hosts": [NAME]}, True),
        (Reach.LOOPBACK, {}, False),
        (Reach.PUBLIC, {"http_hosts": [NAME], "private_hosts": [NAME]}, True),
        (Reach.PUBLIC, {"private_hosts": [NAME]}, False),
        (Reach.PUBLIC, {"http_hosts": [NAME], "private_hosts": ["other.example"]}, False),
    ],
)
def test_permissions_are_separate(make: Callable[..., HttpxFetcher], reach: Reach, settings: dict[str, Any], allowed: bool) -> None:
    """`http_hosts` permits clear text, `private_hosts` an address; what needs both needs both settings (F17)."""
    with FaultServer(sends(answer(BODY))) as server:
        fetcher = make(**settings).within(reach)
        if allowed:
            assert BODY == read(fetcher, server.url(host=NAME)).body
        else:
            with pytest.raises(DiscoveryError):
                read(fetcher, server.url(host=NAME))

    assert int(allowed) == len(server.requests)


def test_an_issuer_on_loopback(make: Callable[..., HttpxFetcher]) -> None:
    """A development issuer on loopback may name clear text on loopback; nobody has to set anything (F17, AD2)."""
    with FaultServer(sends(answer(BODY))) as server:
        assert BODY == read(make().within(Reach.LOOPBACK), server.url()).body


@pytest.mark.parametrize("url", ["ftp://login.example.com/keys", "http://login.example.com/keys", "https://a@b.example/", "", None])
def test_locations_that_cannot_be_read(make: Callable[..., HttpxFetcher], url: Any) -> None:
    """A location of the wrong form is a failed fetch if configured, and a bad document if named (AD2, AD4)."""
    with pytest.raises(FetchError):
        read(make(), url)
    with pytest.raises(DiscoveryError):
        read(make().within(Reach.PUBLIC), url)


@pytest.mark.parametrize("reach", [None, Reach.PUBLIC])
def test_rewrite(make: Callable[..., HttpxFetcher], reach: Reach | None) -> None:
    """A rewritten origin is read at its target, in clear text and at a private address if the user says so (U22)."""
    with FaultServer(sends(answer(BODY))) as server:
        fetcher = make(rewrite={"https://auth.example.com": server.url("")})

        assert BODY == read(fetcher.within(reach) if reach else fetcher, "https://AUTH.example.com:443/realms/x?y=z").body
    assert server.requests[0].startswith(b"GET /realms/x?y=z HTTP/1.1\r\n")


def test_rewrite_of_one_origin_only(make: Callable[..., HttpxFetcher]) -> None:
    """What is granted to the target belongs to that origin: others, and the target under its own name, are judged as ever."""
    with FaultServer(sends(answer(BODY))) as server:
        fetcher = make(rewrite={"https://auth.example.com": server.url("")}).within(Reach.PUBLIC)
        for url in (server.url(), f"https://auth.example.com:{server.port}/keys", "https://auth.example.com/keys#x"):
            with pytest.raises((DiscoveryError, FetchError)):
                read(fetcher, url, deadline=SHORT)

    assert [] == server.requests


def test_errors_name_both_places(make: Callable[..., HttpxFetcher]) -> None:
    """An operator reads what was asked for and where it was looked for."""
    with FaultServer(sends(answer(status="404 Not Found"))) as server, pytest.raises(FetchError) as caught:
        read(make(rewrite={"https://auth.example.com": server.url("")}), "https://auth.example.com/keys")

    assert f'"https://auth.example.com/keys" (read at "{server.url()}") answered 404, expected 200' == caught.value.message
