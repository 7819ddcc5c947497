"""How a fake issuer publishes: documents at locations, read without a socket or from a loopback server, counted, and failing when told to.

Rules of this file:

1. What is published where is the issuer's own affair; every request for it takes the one way through account and faults.
2. Dates in answers come from the issuer's clock.
"""

from __future__ import annotations

import json
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from email.utils import formatdate
from typing import Any
from urllib.parse import urlsplit

from keyturn._core import answer as http_answer
from keyturn.clock import Clock, SystemClock
from keyturn.errors import FetchError, quoted
from keyturn.fetching import FetchedDocument, Fetcher
from keyturn.testing.account import Document, Fetches
from keyturn.testing.fault_modes import JSON, FaultModes
from keyturn.testing.faults import Answer, Faults, Sender, SenderLeft
from keyturn.testing.server import IssuerServer, Mount, Respond, open_server
from keyturn.testing.transport import mock_transport

Publication = tuple[Document | None, Answer]
"""An answer, and which document it is; None where there is none."""


_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")


class Publisher(FaultModes, ABC):
    """Whatever publishes documents.

    Args:
        clock: Clock of the account and of the answers; None means the machine's.

    Attributes:
        clock: That clock.
        fetches: What was asked of it.
    """

    def __init__(self, clock: Clock | None) -> None:
        self.clock: Clock = clock or SystemClock()
        self.fetches = Fetches(self.clock)
        self._faults = Faults()
        self._serving = threading.Lock()
        self._server: IssuerServer | None = None

    @property
    @abstractmethod
    def origin(self) -> str:
        """Scheme and host of its documents, under its public name."""

    @abstractmethod
    def _served(self) -> tuple[str, str]:
        """Return the locations of the discovery document and the key set that a server of it names."""

    @abstractmethod
    def _published(self, location: str) -> Publication:
        """Return what stands at a location now, query included."""

    def fetcher(self) -> Fetcher:
        """Return a fetcher that reads this issuer without a socket; any other location answers 404."""
        return InProcessFetcher(self._respond, self.clock)

    def transport(self, library: Any = None) -> Any:
        """Return a transport for clients of httpx or httpx2 that reads this issuer without a socket; any other location answers 404.

        It is the library's own `MockTransport`, for clients and asynchronous clients alike. Faults and account are those of this
        issuer: a dropped connection is the library's `ReadError`, a document that breaks off its `RemoteProtocolError`, and what
        is held for longer than the client's read timeout its `ReadTimeout`.

        Args:
            library: The module; httpx unless given.
        """
        if library is None:
            import httpx as library  # noqa: PLC0415 - the kit must not load it
        return mock_transport(library, self._respond, self._faults, lambda: self.origin)

    @property
    def server(self) -> IssuerServer | None:
        """The server that it is reached at now; None while it is not served."""
        return self._server

    @contextmanager
    def serve(self, port: int = 0, *, tls: bool = False, on: IssuerServer | None = None, path: str = "") -> Iterator[IssuerServer]:
        """Serve the documents on 127.0.0.1 until the context ends.

        A `FakeIssuer` that was made without a name is called `server.url` meanwhile. Any other issuer keeps its name: its
        documents announce that name, and a fetcher that is to reach them maps `origin` to `server.url` (`HttpxFetcher(rewrite=...)`).

        Args:
            port: Port to listen on; 0 means a free one.
            tls: Whether it speaks https, with a certificate for 127.0.0.1 and localhost of a CA that is made on the spot and lives
                no longer than the server: `HttpxFetcher(ca=server.ssl_context)` trusts it. Needs `keyturn[testing]`.
            on: Server of another issuer to join, in place of one of its own; it goes when that one goes.
            path: Path that an issuer without a name of its own is served under, such as `/second`.

        Raises:
            ValueError: It is being served already, the path cannot be used, or is taken on the server to join.
            ConfigurationError: `keyturn[testing]` is not installed.
            OSError: The port is not free.
        """
        with self._serving:
            if self._server is not None:
                raise ValueError(f"{self!r} is being served already, at {self._server.url}")
            if on is not None and (port or tls):
                raise ValueError("port and tls are those of the server to join, expected on= without them")
            self._server = server = self._opened(port, tls, on, _checked_path(path, free=self._takes_path))
        try:
            yield server
        finally:
            try:
                server.close()
            finally:
                self._server = None

    def _opened(self, port: int, tls: bool, on: IssuerServer | None, path: str) -> IssuerServer:  # noqa: FBT001 - handed on
        discovery_path, jwks_path = (path + urlsplit(url).path for url in self._served())
        mount = Mount(path or self._own_path, self._respond_to_path, self._faults)
        if on is not None:
            return on.beside(mount, url_path=path, discovery_path=discovery_path, jwks_path=jwks_path)
        return open_server(mount, url_path=path, discovery_path=discovery_path, jwks_path=jwks_path, port=port, tls=tls)

    @property
    def _takes_path(self) -> bool:
        """Whether it can be served under a path of the caller's choice: only without a name of its own."""
        return False

    @property
    def _own_path(self) -> str:
        """What the paths of all of its documents begin with."""
        return ""

    def _respond_to_path(self, path: str, headers: Mapping[str, str], sender: Sender) -> Answer | None:
        return self._respond(self.origin + path, headers, sender)

    def _respond(self, url: str, headers: Mapping[str, str], sender: Sender) -> Answer | None:
        document, published = self._published(url)
        number = self.fetches.arrived(document, url, headers)
        outcome = "not answered: the sender left first"
        try:
            answer = published if document is None else self._faults.meet(document, published, sender)
            outcome = _outcome(answer)
        finally:
            self.fetches.ended(number, outcome)
        # A date in Retry-After is read against the Date of its answer, so both must come from one clock.
        return answer and replace(answer, headers={"date": formatdate(self.clock.wall(), usegmt=True), **answer.headers})


def _outcome(answer: Answer | None) -> str:
    if answer is None:
        return "connection dropped"
    of = f" of {answer.declared}" if answer.is_cut else ""
    return f"{answer.status}, {len(answer.body)}{of} bytes" + (" after a drip" if answer.drip else "")


def _checked_path(path: str, *, free: bool) -> str:
    """Return a path to serve an issuer under.

    Raises:
        ValueError: It cannot be used.
    """
    if path and not free:
        raise ValueError(f"path is {quoted(path)}, expected none: this issuer has a name, and its documents stand where the name says")
    if path and not _PATH.fullmatch(path):
        raise ValueError(f'path is {quoted(path)}, expected one such as "/second"')
    return path


def published(document: Document, value: Any, headers: Mapping[str, str] | None = None) -> Publication:
    """Return a document that is published, written as JSON.

    Args:
        document: Which it is.
        value: What it says.
        headers: Header fields beside `content-type`, names in lower case.
    """
    return document, Answer(200, {**JSON, **(headers or {})}, json.dumps(value, separators=(",", ":")).encode())


def published_xml(body: bytes) -> Publication:
    """Return federation metadata that is published."""
    return "metadata", Answer(200, {"content-type": "application/samlmetadata+xml"}, body)


def missing(status: int = 404, error: str = "not_found") -> Publication:
    """Return the answer where there is no document."""
    return None, Answer(status, JSON, json.dumps({"error": error}, separators=(",", ":")).encode())


class InProcessFetcher:
    """Reads an issuer's documents without a socket; a `keyturn.fetching.Fetcher` that judges answers as a real one does."""

    def __init__(self, respond: Respond, clock: Clock) -> None:
        self._respond = respond
        self._clock = clock

    def fetch(self, url: str, *, headers: Mapping[str, str], max_bytes: int, deadline: float) -> FetchedDocument:
        """Read *url* whole.

        Args:
            url: Location of one of the issuer's documents.
            headers: Header fields; they are only entered in the account.
            max_bytes: Length above which the body is refused.
            deadline: Real seconds after which a request that a fault holds is given up.

        Raises:
            FetchError: No status 200, too slow, too large, compressed, or no such document (404).
        """
        place, sender = quoted(url), Sender(deadline)
        try:
            answer = self._respond(url, headers, sender)
            if answer is None:
                raise FetchError(f"{place} dropped the connection before it answered")
            return FetchedDocument(self._body(place, answer, max_bytes, sender), dict(answer.headers), None, answer.status)
        except SenderLeft:
            raise FetchError(f"{place} gave no whole answer within {deadline:g} s (setting: deadline)") from None

    def _body(self, place: str, answer: Answer, max_bytes: int, sender: Sender) -> bytes:
        """Return the body of an answer, once its head was judged; in the order in which a socket would tell."""
        refusal = http_answer.refusal(place, answer.status, answer.headers, max_bytes=max_bytes, wall=self._clock.wall())
        if refusal is None and len(answer.body) > max_bytes:
            refusal = http_answer.too_long(place, max_bytes, f"answered with {len(answer.body)} bytes")
        if refusal is not None:
            raise refusal
        body = b"".join(answer.pieces(sender))
        if answer.is_cut:
            raise FetchError(f"{place} broke off after {len(body)} of {answer.declared} bytes")
        return body[: answer.declared]
