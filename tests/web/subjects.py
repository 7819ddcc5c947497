"""What the table of cases talks to: an issuer, an application behind one adapter, and what comes back.

1. A subject sends requests as they are given, each header field on a line of its own, from many threads at once.
2. A challenge is read strictly: every parameter quoted, known, and there once.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any, NamedTuple

from keyturn import KeySetClient, TokenValidator
from keyturn.integrations import BearerGuard
from keyturn.testing import FakeClock, FakeIssuer

PATIENCE = 20.0
"""Real seconds after which a wait of a test has failed; no test that passes comes near."""

AT_ONCE = 200
"""Requests of the case that sends many."""

REALM = "orders"
Headers = list[tuple[str, str]]


class Reply(NamedTuple):
    """What a client sees."""

    status: int
    headers: Headers
    body: bytes

    def values(self, name: str) -> list[str]:
        """Return every value of a header field."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


class Subject(ABC):
    """An application behind one adapter, running."""

    pool: ThreadPoolExecutor
    """Set by `check()`; ends with the case."""

    @abstractmethod
    def get(self, path: str, headers: Headers) -> Reply:
        """Send one request, on this thread; called from many threads at once."""

    def connect(self, path: str, headers: Headers) -> Reply | list[str]:
        """Open a WebSocket: return the refusal, or every message up to its end."""
        raise AssertionError(f"{type(self).__name__} has no WebSockets, so {path} must not be asked for")

    def start(self, path: str, headers: Headers) -> Future[Reply]:
        """Send one request, and do not wait for its answer."""
        return self.pool.submit(self.get, path, headers)

    def concurrently(self, requests: Sequence[tuple[str, Headers]]) -> list[Future[Reply]]:
        """Send all of *requests* at once."""
        return [self.start(path, headers) for path, headers in requests]


class OverHttp(Subject):
    """An application on a port of 127.0.0.1; every request takes a connection of its own."""

    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str, headers: Headers) -> Reply:
        """Send a request, each header field on a line of its own."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.putrequest("GET", path)
            for name, value in headers:
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            return Reply(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()


Make = Callable[[BearerGuard], AbstractContextManager[Subject]]


@dataclass(frozen=True)
class Kind:
    """An adapter and one way to use it.

    Attributes:
        name: As in the documentation, such as "FastAPI, async".
        make: Builds the application around a guard and runs it until the context ends.
        detail: Whether a refusal's body is `{"detail": ...}` instead of `{"error": ..., "error_description": ...}`.
        challenge: Whether a refusal can carry `WWW-Authenticate`, `Cache-Control` and a body of ours; gRPC's cannot.
        without: For the name of a case why this adapter cannot be asked it.
    """

    name: str
    make: Make
    detail: bool = False
    challenge: bool = True
    without: Mapping[str, str] = field(default_factory=dict)


class World:
    """An issuer that needs no socket, one client of it, and a clock that stands still."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.issuer = FakeIssuer("https://login.example.com", clock=self.clock, audience="api://orders")
        self.client = KeySetClient(self.issuer.issuer, fetcher=self.issuer.fetcher(), clock=self.clock)

    def validator(self) -> TokenValidator:
        """Return a validator of the issuer's tokens, over the one client."""
        return TokenValidator(self.client, audience="api://orders", clock=self.clock)

    def guard(self, **settings: Any) -> BearerGuard:
        """Return a guard with these settings."""
        return BearerGuard(self.validator(), **{"realm": REALM, **settings})

    def warm(self) -> None:
        """Read the keys, and forget the requests for them."""
        self.client.refresh()
        self.issuer.fetches.clear()


def bearer(token: str, scheme: str = "Bearer") -> Headers:
    """Return the header fields of a request with *token*."""
    return [("Authorization", f"{scheme} {token}")]


# Reading an answer.

_PARAMETER = r'([a-z_]+)="([\x20\x21\x23-\x5b\x5d-\x7e]*)"'
_KNOWN = {"realm", "scope", "error", "error_description", "resource_metadata"}


def challenge_of(reply: Reply) -> dict[str, str]:
    """Return the parameters of the one challenge, which must be Bearer's, each quoted and there once (RFC 9110, section 11.6.1)."""
    (value,) = reply.values("WWW-Authenticate")
    assert re.fullmatch(rf"Bearer(?: {_PARAMETER}(?:, {_PARAMETER})*)?", value), value
    pairs = re.findall(_PARAMETER, value)
    assert len(dict(pairs)) == len(pairs), value
    assert set(dict(pairs)) <= _KNOWN, value
    return dict(pairs)
