"""How a fake issuer publishes: documents at locations, read without a socket or from a loopback server, counted, and failing when told to.

Rules of this file:

1. What is published where is the issuer's own affair; every request for it takes the one way through account and faults.
2. Dates in answers come from the issuer's clock.
"""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from email.utils import formatdate
from typing import Any
from urllib.parse import urlsplit

from keyturn._core import answer as http_answer
from keyturn.clock import Clock, SystemClock
from keyturn.errors import FetchError, quoted
from keyturn.fetching import FetchedDocument, Fetcher
from keyturn.testing.account import Document, Fetches
from keyturn.testing.server import Affected, Answer, Delay, Faults, Gate, IssuerServer, Replacement, Respond, Sender, SenderLeft

JSON = {"content-type": "application/json"}

Publication = tuple[Document | None, Answer]
"""An answer, and which document it is; None where there is none."""


class Publisher(ABC):
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

    def down(self, status: int = 503, retry_after: float | str | None = None, *, document: Affected = "jwks") -> AbstractContextManager[object]:
        """Answer with an error.

        Args:
            status: HTTP status.
            retry_after: Retry-After field: seconds, or text that is sent as it is (RFC 9110, section 10.2.3).
            document: What it is for.
        """
        headers = {} if retry_after is None else {"retry-after": str(retry_after)}
        return self.answer(b'{"error":"down"}', status, headers, document=document)

    def answer(
        self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None, *, document: Affected = "jwks"
    ) -> AbstractContextManager[object]:
        """Answer with this, whatever is published.

        Args:
            body: The bytes.
            status: HTTP status.
            headers: Header fields, added or in place of `content-type` (`application/json`) and `date` (by the issuer's clock).
            document: What it is for.
        """
        fields = {**JSON, **{name.lower(): value for name, value in (headers or {}).items()}}
        return self._faults.during(Replacement(document, Answer(status, fields, body)))

    def drop_connection(self, *, document: Affected = "jwks") -> AbstractContextManager[object]:
        """Reset the connection instead of answering."""
        return self._faults.during(Replacement(document, None))

    def slow(self, seconds: float, *, document: Affected = "jwks") -> AbstractContextManager[object]:
        """Hold every request for so many seconds of real time; leaving the context lets them go."""
        return self._faults.during(Delay(document, seconds))

    def gate(self, *, document: Affected = "jwks") -> AbstractContextManager[Gate]:
        """Block every request until the gate is opened or the context ends.

        The answer then says what was published when the request came, as one does that was long under way.
        """
        return self._faults.during(Gate(document))

    def fetcher(self) -> Fetcher:
        """Return a fetcher that reads this issuer without a socket; any other location answers 404."""
        return InProcessFetcher(self._respond, self.clock)

    @contextmanager
    def serve(self) -> Iterator[IssuerServer]:
        """Serve the documents on a free port of 127.0.0.1 until the context ends.

        A `FakeIssuer` that was made without a name is called `server.url` meanwhile. Any other issuer keeps its name: its
        documents announce that name, and a fetcher that is to reach them maps `origin` to `server.url` (`HttpxFetcher(rewrite=...)`).

        Raises:
            ValueError: It is being served already.
        """
        with self._serving:
            if self._server is not None:
                raise ValueError(f"{self!r} is being served already, at {self._server.url}")
            discovery_path, jwks_path = (urlsplit(url).path for url in self._served())
            self._server = server = IssuerServer(self._respond_to_path, self._faults, discovery_path=discovery_path, jwks_path=jwks_path)
        try:
            yield server
        finally:
            try:
                server.close()
            finally:
                self._server = None

    def _respond_to_path(self, path: str, headers: Mapping[str, str], sender: Sender) -> Answer | None:
        return self._respond(self.origin + path, headers, sender)

    def _respond(self, url: str, headers: Mapping[str, str], sender: Sender) -> Answer | None:
        document, published = self._published(url)
        number = self.fetches.arrived(document, url, headers)
        outcome = "not answered: the sender left first"
        try:
            answer = published if document is None else self._faults.meet(document, published, sender)
            outcome = "connection dropped" if answer is None else f"{answer.status}, {len(answer.body)} bytes"
        finally:
            self.fetches.ended(number, outcome)
        # A date in Retry-After is read against the Date of its answer, so both must come from one clock.
        return answer and replace(answer, headers={"date": formatdate(self.clock.wall(), usegmt=True), **answer.headers})


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
        place = quoted(url)
        try:
            answer = self._respond(url, headers, Sender(deadline))
        except SenderLeft:
            raise FetchError(f"{place} gave no whole answer within {deadline:g} s (setting: deadline)") from None
        if answer is None:
            raise FetchError(f"{place} dropped the connection before it answered")
        refusal = http_answer.refusal(place, answer.status, answer.headers, max_bytes=max_bytes, wall=self._clock.wall())
        if refusal is None and len(answer.body) > max_bytes:
            refusal = http_answer.too_long(place, max_bytes, f"answered with {len(answer.body)} bytes")
        if refusal is not None:
            raise refusal
        return FetchedDocument(answer.body, dict(answer.headers), None, answer.status)
