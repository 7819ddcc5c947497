"""An issuer for tests: it publishes keys, rolls them over, signs tokens, and fails when told to.

Rules of this file:

1. Its keys and their steps are those of `keys.py`, its faults and its account those of `server.py`; here they become one issuer.
2. A token is good unless the caller says otherwise; everything in it can be replaced or left out.
3. Without a name of its own an issuer is called `https://issuer.test`, and while it is served what its server is called.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import timedelta
from email.utils import formatdate
from typing import Any
from urllib.parse import urlsplit

from keyturn._core import answer as http_answer
from keyturn.clock import Clock, SystemClock
from keyturn.errors import FetchError, quoted
from keyturn.fetching import FetchedDocument, Fetcher
from keyturn.testing.keys import ALGORITHMS, RSA_BITS, KeyRing, base64url, stranger_key, without_none
from keyturn.testing.server import (
    Affected,
    Answer,
    Delay,
    Document,
    Faults,
    Fetches,
    Gate,
    IssuerServer,
    Replacement,
    Respond,
    Sender,
    SenderLeft,
)

DEFAULT_ISSUER = "https://issuer.test"
"""Name of an issuer that was given none and is not served; `.test` never resolves (RFC 6761, section 6.2)."""

_JSON = {"content-type": "application/json"}


class FakeIssuer(KeyRing):
    """An issuer with one key, published and signing.

    Args:
        issuer: Its http(s) URL. None means `https://issuer.test`, and while it is served the server's URL; a URL that is
            given stays, so that a served issuer can be known by one name and reached by another.
        clock: Clock of its tokens and of its account; None means the machine's. Hand the same one to the validator.
        audience: Audience of tokens that name none.
        algorithm: Algorithm of keys that name none; one of `keyturn.testing.keys.ALGORITHMS`.
        kid: Kid of the first key.
        rsa_bits: Size of its RSA keys.

    Attributes:
        clock: Clock of its tokens and of its account.
        audience: Audience of tokens that name none.
        fetches: What was asked of it.

    Raises:
        ValueError: *issuer* is no http(s) URL, or *algorithm* is unknown.
    """

    def __init__(
        self,
        issuer: str | None = None,
        *,
        clock: Clock | None = None,
        audience: str | Collection[str] = "api://test",
        algorithm: str = "ES256",
        kid: str = "k1",
        rsa_bits: int = RSA_BITS,
    ) -> None:
        if issuer is not None and (urlsplit(issuer).scheme not in {"https", "http"} or not urlsplit(issuer).netloc):
            raise ValueError(f'issuer is {quoted(issuer)}, expected a URL such as "{DEFAULT_ISSUER}"')
        super().__init__(kid, algorithm=algorithm, rsa_bits=rsa_bits)
        self.clock: Clock = clock or SystemClock()
        self.audience = audience
        self.fetches = Fetches(self.clock)
        self._given_name = issuer
        self._server: IssuerServer | None = None
        self._faults = Faults()

    def __repr__(self) -> str:
        return f"<FakeIssuer {self.issuer} signing={self.signing_kid!r} published={list(self.published_kids)!r}>"

    @property
    def issuer(self) -> str:
        """The name that its tokens and its discovery document carry."""
        server = self._server
        return self._given_name or (server.url if server else DEFAULT_ISSUER)

    @property
    def discovery_url(self) -> str:
        """Where its discovery document is, under its public name (OpenID Connect Discovery, section 4.1)."""
        return self.issuer.removesuffix("/") + "/.well-known/openid-configuration"

    @property
    def jwks_url(self) -> str:
        """Where its key set is, under its public name."""
        return self.issuer.removesuffix("/") + "/jwks.json"

    def discovery(self) -> dict[str, Any]:
        """Return the discovery document (OpenID Connect Discovery, section 3)."""
        base = self.issuer.removesuffix("/")
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{base}/authorize",
            "token_endpoint": f"{base}/token",
            "jwks_uri": self.jwks_url,
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": list(ALGORITHMS),
        }

    def token(
        self,
        *,
        subject: str | None = "alice",
        audience: str | Collection[str] | None = None,
        scopes: str | Collection[str] | None = None,
        roles: Collection[str] | None = None,
        lifetime: float | timedelta = 3600,
        key: str | None = None,
        headers: Mapping[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """Return a signed token, good from now on by the issuer's clock, in whole seconds.

        Args:
            subject: `sub`.
            audience: `aud`; None means the issuer's.
            scopes: `scope`, in one string (RFC 8693, section 4.2); none is written by default.
            roles: `roles`, as a list; none is written by default.
            lifetime: Seconds from `iat` to `exp`, or a timedelta; negative for a token that has expired.
            key: Kid of the key to sign with, published or not; None means the signing key.
            headers: Header parameters, added or in place of `alg`, `typ` ("JWT") and `kid`; None leaves one out.
            **claims: Claims, added or in place of those above; None leaves one out.

        Raises:
            ValueError: *key* is unknown.
        """
        now = math.floor(self.clock.wall())
        seconds = lifetime.total_seconds() if isinstance(lifetime, timedelta) else lifetime
        aud = self.audience if audience is None else audience
        payload = {
            "iss": self.issuer,
            "sub": subject,
            "aud": aud if isinstance(aud, str) else list(aud),
            "iat": now,
            "exp": now + (int(seconds) if seconds == int(seconds) else seconds),
            "scope": scopes if scopes is None or isinstance(scopes, str) else " ".join(scopes),
            "roles": None if roles is None else list(roles),
        }
        with self._lock:
            header = {**self._find(key).header(), **(headers or {})}
            return self.encode(without_none(header), without_none({**payload, **claims}), key=key)

    def forge(self, *, key: str | None = None, headers: Mapping[str, Any] | None = None, **token: Any) -> str:
        """Return a token that names a key, but is signed with one that no issuer of this process publishes.

        Args:
            key: Kid to claim, known or not; None means the signing key. An unknown one goes with the issuer's algorithm.
            headers: As for `token()`.
            **token: Whatever else `token()` takes.
        """
        with self._lock:
            known = key is None or key in self._keys
            ours = {} if known else {"alg": self._algorithm, "kid": key}
            algorithm = self._find(key).private.algorithm if known else self._algorithm
            genuine = self.token(key=key if known else None, headers={**ours, **(headers or {})}, **token)
        signing_input = genuine.rpartition(".")[0]
        return f"{signing_input}.{base64url(stranger_key(algorithm).sign(signing_input.encode()))}"

    def encode(
        self, header: Mapping[str, Any] | bytes, payload: Mapping[str, Any] | bytes, *, key: str | None = None, signature: bytes | None = None
    ) -> str:
        """Return a compact token of exactly these parts, for tokens that no issuer would write (RFC 7515, section 7.1).

        Args:
            header: Header; bytes go in as they are. Nothing is added, and its `alg` does not choose how to sign.
            payload: Payload; bytes go in as they are.
            key: Kid of the key to sign with; None means the signing key.
            signature: Signature to put instead; `b""` leaves the part empty.

        Raises:
            ValueError: *key* is unknown.
        """
        signing_input = ".".join(base64url(part if isinstance(part, bytes) else _json(part)) for part in (header, payload))
        if signature is None:
            with self._lock:
                signature = self._find(key).private.sign(signing_input.encode())
        return f"{signing_input}.{base64url(signature)}"

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
        fields = {**_JSON, **{name.lower(): value for name, value in (headers or {}).items()}}
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

        An issuer that was made without a name is called `server.url` meanwhile. One with a name keeps it: its documents
        announce that name, and a fetcher that is to reach them maps the name's origin to `server.url`.

        Raises:
            ValueError: It is being served already.
        """
        with self._lock:
            if self._server is not None:
                raise ValueError(f"{self.issuer} is being served already, at {self._server.url}")
            discovery_path, jwks_path = (urlsplit(url).path for url in (self.discovery_url, self.jwks_url))
            self._server = server = IssuerServer(self._respond_to_path, self._faults, discovery_path=discovery_path, jwks_path=jwks_path)
        try:
            yield server
        finally:
            try:
                server.close()
            finally:
                self._server = None

    def _respond_to_path(self, path: str, headers: Mapping[str, str], sender: Sender) -> Answer | None:
        name = urlsplit(self.issuer)
        return self._respond(f"{name.scheme}://{name.netloc}{path}", headers, sender)

    def _respond(self, url: str, headers: Mapping[str, str], sender: Sender) -> Answer | None:
        with self._lock:
            document, published = self._published(url.partition("?")[0])
        number = self.fetches.arrived(document, url, headers)
        outcome = "not answered: the sender left first"
        try:
            answer = published if document is None else self._faults.meet(document, published, sender)
            outcome = "connection dropped" if answer is None else f"{answer.status}, {len(answer.body)} bytes"
        finally:
            self.fetches.ended(number, outcome)
        # A date in Retry-After is read against the Date of its answer, so both must come from one clock.
        return answer and replace(answer, headers={"date": formatdate(self.clock.wall(), usegmt=True), **answer.headers})

    def _published(self, location: str) -> tuple[Document | None, Answer]:
        if location == self.discovery_url:
            return "discovery", Answer(200, _JSON, _json(self.discovery()))
        if location == self.jwks_url:
            return "jwks", Answer(200, _JSON, _json(self.jwks()))
        return None, Answer(404, _JSON, b'{"error":"not_found"}')


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


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
