"""Fetching one document within limits (R16): the protocol, and the default fetcher over httpx.

Rules of the default fetcher:

1. One deadline of real time for all of it; a cap on raw bytes; no encoding, no redirect, no condition, no second try.
2. A location that the user configured may lie at any address. One that a document names is read through `within()`, which
   judges its text, and its address before anything is sent.
3. Every fetch has a client of its own: nothing is pooled, so nothing belongs to a loop, a thread or a process.
4. The library is used by the shape of its client; none of its classes is named, so that httpx and httpx2 serve alike.
5. `import keyturn` does not load it; `prepare()` does, on the thread of the caller.
6. Whatever it raises leaves as `FetchError`, with its cause but without the frames of it, which would keep sockets alive.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from keyturn._connection import ConnectionGuard
from keyturn._core import answer, location
from keyturn._core.location import Reach
from keyturn.clock import Deadline, SystemClock
from keyturn.errors import ConfigurationError, DiscoveryError, FetchError, KeyturnError, quoted

if TYPE_CHECKING:
    import ssl

CONNECT_TIMEOUT = 1.5
"""Seconds that each address of a host gets, so that one dead address does not eat the whole deadline (R16)."""

_PROXY = re.compile(r"(?:https?|socks5h?)://[!-~]+", re.IGNORECASE)
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\t -~]*")


@dataclass(frozen=True, slots=True)
class FetchedDocument:
    """One whole answer with status 200.

    Attributes:
        body: The bytes as sent; nothing was decompressed.
        headers: Header fields, names in lower case.
        address: IP address that was connected to, or None where a proxy or no socket stood between.
        status: HTTP status.
    """

    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    address: str | None = None
    status: int = 200


@runtime_checkable
class Fetcher(Protocol):
    """Reads documents. Called on a thread of ours, never on an event loop."""

    def fetch(self, url: str, *, headers: Mapping[str, str], max_bytes: int, deadline: float) -> FetchedDocument:
        """Read *url* whole.

        Args:
            url: Location as configured, or as a discovery document names it.
            headers: Header fields to send.
            max_bytes: Length above which the body is refused.
            deadline: Real seconds in which everything must be over, name resolution included.

        Raises:
            FetchError: No status 200, too slow, too large, compressed, redirected, or not allowed.
        """
        ...


class HttpxFetcher:
    """The default fetcher, over httpx or a library with the same client.

    Args:
        client_factory: Makes a client from httpx's keywords; httpx's own unless given. ``httpx2.Client`` uses httpx2.
        ca: Path of a PEM file with the CAs that alone are trusted, or an `ssl.SSLContext` that verifies; the library's default
            unless given. A file is read again after a certificate was refused, so that it may be replaced.
        proxy: URL of a proxy for every request, or None.
        trust_env: Whether the proxy and CA variables of the environment count; *proxy* and *ca* come first.
        headers: Header fields for every request, in place of ours; they also go to hosts that a document names.
        http_hosts: Hosts at which clear text is allowed, at whatever address their rules permit.
        private_hosts: Hosts that may lie at any address although a document names them.
        rewrite: Where an origin is reached: ``{"https://auth.example.com": "http://keycloak:8080"}``. Grants clear text and
            any address for that target.
        connect_timeout: Seconds for each address of a host; at most a third of the deadline.

    Raises:
        ConfigurationError: A setting is wrong. Nothing is connected to.
    """

    def __init__(
        self,
        *,
        client_factory: Callable[..., Any] | None = None,
        ca: str | os.PathLike[str] | ssl.SSLContext | None = None,
        proxy: str | None = None,
        trust_env: bool = True,
        headers: Mapping[str, str] | None = None,
        http_hosts: Collection[str] = (),
        private_hosts: Collection[str] = (),
        rewrite: Mapping[str, str] | None = None,
        connect_timeout: float = CONNECT_TIMEOUT,
    ) -> None:
        if client_factory is not None and not callable(client_factory):
            raise ConfigurationError(f"expected a class of HTTP clients, got {quoted(client_factory)} (setting: client_factory)")
        if not connect_timeout > 0:
            raise ConfigurationError(f"expected seconds above 0, got {quoted(connect_timeout)} (setting: connect_timeout)")
        self._client_factory = client_factory
        self._ca = _checked_ca(ca)
        self._proxy = _checked_proxy(proxy)
        self._trust_env = trust_env
        self._headers = _checked_headers(headers or {})
        self._http_hosts = location.checked_hosts(http_hosts, "http_hosts")
        self._private_hosts = location.checked_hosts(private_hosts, "private_hosts")
        self._rewrite = location.checked_rewrite(rewrite or {})
        self._connect_timeout = connect_timeout
        self._context: ssl.SSLContext | None = None

    def prepare(self) -> None:
        """Load the HTTP library, so that no refresh thread does: a process that forks during an import can hang in its child."""
        for module in ("encodings.idna", "socket", "ssl"):
            importlib.import_module(module)
        _user_agent()
        self._factory()

    def check_location(self, url: object, setting: str) -> None:
        """Check a location that the user configured, before it is needed; opens nothing.

        Args:
            url: The location, or the issuer from which it is derived.
            setting: Name of the setting that holds it; for ``"issuer"`` the rules of a derived location are added.

        Raises:
            ConfigurationError: The location cannot be used.
        """
        hosts = self._clear_text_hosts(url)
        if setting == "issuer":
            location.check_issuer_url(url, http_hosts=hosts)
        else:
            location.check_configured(url, setting=setting, http_hosts=hosts)

    def fetch(self, url: str, *, headers: Mapping[str, str], max_bytes: int, deadline: float) -> FetchedDocument:
        """Read a location that the user configured, at whatever address it lies.

        Args:
            url: The location: https, or http on loopback, at one of *http_hosts* or rewritten.
            headers: Header fields to send; those of the constructor come first.
            max_bytes: Length above which the body is refused.
            deadline: Real seconds in which everything must be over. A stuck name resolution alone lasts longer; nothing is sent after it.

        Raises:
            FetchError: No status 200, too slow, too large, compressed, redirected, or not allowed.
        """
        reason = location.configured_refusal(url, http_hosts=self._clear_text_hosts(url))
        if reason:
            raise FetchError(f"{quoted(url)} cannot be read: {reason}")
        return self._fetch(url, headers, max_bytes, deadline, _any_address)

    def within(self, reach: Reach) -> Fetcher:
        """Return a fetcher for the URLs that a document names which was itself reached at *reach*.

        What such a document may not lead to raises `DiscoveryError`, before anything is sent (R16). Where a proxy connects in our
        place, only what the URL itself says can be judged.
        """
        return _Within(self, reach)

    def _fetch_named(self, url: str, headers: Mapping[str, str], max_bytes: int, deadline: float, reach: Reach) -> FetchedDocument:
        if self._rewritten(url):
            # The user said where this origin is reached, so neither its form nor its address is the document's choice.
            return self._fetch(url, headers, max_bytes, deadline, _any_address)
        reason = location.named_refusal(url, reach, http_hosts=self._http_hosts, private_hosts=self._private_hosts)
        if reason:
            raise DiscoveryError(f"a document names {quoted(url)}, which may not be read: {reason}")
        permitted = location.host_of(url) in self._private_hosts
        judge = _any_address if permitted else functools.partial(_judge_address, quoted(url), reach)
        return self._fetch(url, headers, max_bytes, deadline, judge)

    def _rewritten(self, url: object) -> str | None:
        """Return where *url* is reached instead, or None where the user said nothing about its origin."""
        if not isinstance(url, str) or location.url_refusal(url, http_allowed=True):
            return None
        origin = self._rewrite.get(location.origin_of(url))
        return None if origin is None else location.moved(url, origin)

    def _clear_text_hosts(self, url: object) -> frozenset[str]:
        return self._http_hosts | {location.host_of(str(url))} if self._rewritten(url) else self._http_hosts

    def _fetch(self, url: str, headers: Mapping[str, str], max_bytes: int, deadline: float, judge: Callable[[str], None]) -> FetchedDocument:
        target = self._rewritten(url) or url
        place = quoted(url) if target == url else f"{quoted(url)} (read at {quoted(target)})"
        guard = ConnectionGuard(Deadline(deadline), judge)
        try:
            with guard:
                return self._exchange(place, target, headers, max_bytes, guard)
        except KeyturnError as error:
            raise _without_frames(error)  # noqa: B904 - it is the same error
        except Exception as cause:  # noqa: BLE001 - no class of the HTTP library is named here (rule 4)
            raise self._explained(place, cause, guard, deadline) from _without_frames(cause)

    def _exchange(self, place: str, target: str, headers: Mapping[str, str], max_bytes: int, guard: ConnectionGuard) -> FetchedDocument:
        left = guard.deadline.left()
        with self._factory()(verify=self._tls(), proxy=self._proxy, trust_env=self._trust_env) as client:
            request = client.build_request(
                "GET",
                target,
                headers=self._all_headers(headers),
                timeout=(min(self._connect_timeout, left / 3), left, left, left),
                extensions={"trace": guard.trace},
            )
            guard.expect(request.url.raw_host.decode("ascii"), request.url.port or (443 if request.url.scheme == "https" else 80))
            response = client.send(request, stream=True, follow_redirects=False)
            try:
                return _document(place, response, max_bytes, guard)
            finally:
                response.close()

    def _factory(self) -> Callable[..., Any]:
        if self._client_factory is not None:
            return self._client_factory
        import httpx  # noqa: PLC0415 - importing keyturn must not load it (rule 5)

        return httpx.Client

    def _tls(self) -> ssl.SSLContext:
        # Loading the CAs takes longer than many a fetch, so the context is shared; two threads may build it twice without harm.
        context = self._context
        if context is None:
            context = self._context = self._new_context()
        return context

    def _new_context(self) -> ssl.SSLContext:
        import ssl  # noqa: PLC0415 - importing keyturn must not load it (rule 5)

        if isinstance(self._ca, ssl.SSLContext):
            return self._ca
        if self._ca is not None:
            try:
                context = ssl.create_default_context(cafile=self._ca)
            except OSError as cause:
                raise FetchError(f"the file {quoted(self._ca)} holds no CAs that can be read: {quoted(str(cause))} (setting: ca)") from cause
        else:
            context = self._library_context()
        context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
        return context

    def _library_context(self) -> ssl.SSLContext:
        """Return what the library itself would trust: certifi's CAs for httpx, the system's for httpx2."""
        import ssl  # noqa: PLC0415 - importing keyturn must not load it (rule 5)

        factory = self._factory()
        library = sys.modules.get(factory.__module__.partition(".")[0]) if isinstance(factory, type) else None
        make = getattr(library, "create_ssl_context", None)
        context: ssl.SSLContext = make(trust_env=self._trust_env) if make else ssl.create_default_context()
        return context

    def _all_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        ours = {
            "User-Agent": _user_agent(),
            "Accept": "application/json, application/jwk-set+json, */*;q=0.5",
            "Accept-Encoding": "identity",
            # An old key set out of a cache is what a refresh is meant to end (RFC 9111, section 5.2.1.4).
            "Cache-Control": "no-cache",
        }
        merged = {name.lower(): (name, value) for fields in (ours, headers, self._headers) for name, value in fields.items()}
        return dict(merged.values())

    def _explained(self, place: str, cause: Exception, guard: ConnectionGuard, deadline: float) -> FetchError:
        import ssl  # noqa: PLC0415 - importing keyturn must not load it (rule 5)

        refused = next((error for error in _chain(cause) if isinstance(error, ssl.SSLCertVerificationError)), None)
        if refused is not None:
            # The file of CAs may have been replaced since it was read.
            self._context = None
            return FetchError(
                f"{place} has a certificate that was refused: {quoted(getattr(refused, 'verify_message', '') or str(refused))} (setting: ca)",
                hint="Where the issuer's certificate comes from a private CA, give that CA's PEM file as HttpxFetcher(ca=...).",
            )
        if guard.cut or guard.deadline.over():
            return FetchError(f"{place} was not read whole within {deadline:.3g} s (setting: deadline)")
        setting = " (setting: connect_timeout)" if "ConnectTimeout" in type(cause).__name__ else ""
        return FetchError(f"{place} could not be read: {type(cause).__name__}: {quoted(str(cause))}{setting}")


@dataclass(frozen=True, slots=True)
class _Within:
    """Reads the URLs that a document of one reach names."""

    fetcher: HttpxFetcher
    reach: Reach

    def fetch(self, url: str, *, headers: Mapping[str, str], max_bytes: int, deadline: float) -> FetchedDocument:
        """Read *url* whole, if a document of this reach may lead there."""
        return self.fetcher._fetch_named(url, headers, max_bytes, deadline, self.reach)  # noqa: SLF001 - one idea, two faces


def _document(place: str, response: Any, max_bytes: int, guard: ConnectionGuard) -> FetchedDocument:
    if not guard.connected and response.extensions.get("network_stream") is not None:
        # Only a mock has no connection to tell of; an unwatched real one would have neither deadline nor judged address.
        raise FetchError(f"{place} was read by a client that hides its connections (setting: client_factory)")
    headers = {name.lower(): value for name, value in response.headers.items()}
    refused = answer.refusal(place, response.status_code, headers, max_bytes=max_bytes, wall=SystemClock.wall())
    if refused is not None:
        raise refused
    body = bytearray()
    # The answers of mocks come read; of them and of an answer without encoding, `iter_bytes` gives what was sent.
    for piece in response.iter_bytes() if response.is_stream_consumed else response.iter_raw():
        body += piece
        if len(body) > max_bytes:
            raise answer.too_long(place, max_bytes, f"sent {len(body)} bytes or more")
        if guard.cut and not guard.connected:
            # A mock has no connection that could be ended.
            raise TimeoutError("the deadline is over")
    if guard.cut and "content-length" not in headers and "transfer-encoding" not in headers:
        # Such a body ends with its connection, which was ended by us.
        raise TimeoutError("the deadline is over")
    return FetchedDocument(bytes(body), headers, guard.address, response.status_code)


def _any_address(_: str) -> None:
    """Accept the address of a location that the user configured."""


def _judge_address(place: str, reach: Reach, address: str) -> None:
    reason = location.address_refusal(address, reach)
    if reason:
        raise DiscoveryError(f"a document names {place}, which may not be read: {reason}")


_Error = TypeVar("_Error", bound=BaseException)


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in chain:
        chain.append(following)
        following = following.__cause__ or following.__context__
    return chain


def _without_frames(error: _Error) -> _Error:
    for link in _chain(error):
        link.__traceback__ = None
    return error


@functools.cache
def _user_agent() -> str:
    import importlib.metadata  # noqa: PLC0415 - slow to load, and needed once

    # A plain name of our own: some firewalls refuse the names of Python's HTTP libraries.
    try:
        return f"keyturn/{importlib.metadata.version('keyturn')}"
    except importlib.metadata.PackageNotFoundError:
        return "keyturn"


def _checked_ca(ca: object) -> str | ssl.SSLContext | None:
    if ca is None:
        return None
    import ssl  # noqa: PLC0415 - importing keyturn must not load it (rule 5)

    if isinstance(ca, ssl.SSLContext):
        if ca.verify_mode is not ssl.CERT_REQUIRED or not ca.check_hostname or ca.minimum_version < ssl.TLSVersion.TLSv1_2:
            raise ConfigurationError(
                "expected an SSLContext that checks certificates and host names and speaks TLS 1.2 or later (setting: ca)",
                hint="`ssl.create_default_context(cafile=...)` makes one.",
            )
        return ca
    if not isinstance(ca, (str, os.PathLike)) or not Path(ca).is_file():
        raise ConfigurationError(
            f"expected the path of a PEM file or an SSLContext, got {quoted(ca if isinstance(ca, str) else str(ca))} (setting: ca)",
            hint="A directory of CAs can be given as `ssl.create_default_context(capath=...)`.",
        )
    return str(Path(ca))


def _checked_proxy(proxy: object) -> str | None:
    if proxy is None or (isinstance(proxy, str) and _PROXY.fullmatch(proxy)):
        return proxy
    # Not quoted: the URL of a proxy may hold a password.
    raise ConfigurationError('expected the URL of a proxy, such as "http://proxy.internal:3128" (setting: proxy)')


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        # Not quoted: a value may be a credential.
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name) or not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            raise ConfigurationError(f"expected names and values of header fields in ASCII text, got another at {quoted(name)} (setting: headers)")
    return dict(headers)
