"""The issuer that is served: the kit's own, with a token endpoint in its documents, a view of its keys, and an account that forgets.

Rules of this file:

1. At most `MOST_KEYS` keys are known at once; the retired ones among them are forgotten, the oldest first, to make room for new ones.
2. The account holds the last `MOST_REQUESTS` requests and counts them all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from keyturn._core.jwk import signing_key
from keyturn.clock import Clock
from keyturn.serving.exchange import RefusedError, Request
from keyturn.testing.account import Document, Fetches
from keyturn.testing.faults import Answer
from keyturn.testing.issuer import FakeIssuer

MOST_KEYS = 100
"""Keys that are known at once, in whatever state."""

MOST_MADE = 10_000
"""Keys that are made from one reset to the next: RSA keys stay in memory as long as their issuer does."""

MOST_REQUESTS = 100
"""Requests that the account shows."""

GRANT = "client_credentials"
"""The only grant of the token endpoint."""

SCOPES = ("read", "write")
"""Scopes that the discovery document names; the token endpoint writes any other as well."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What an issuer is made of, and made of again by a reset.

    Attributes:
        issuer: Name in its tokens and documents.
        audience: Audience of tokens that name none.
        algorithm: Algorithm of keys that name none.
        kid: Kid of the first key.
    """

    issuer: str
    audience: str | tuple[str, ...] = "api://test"
    algorithm: str = "ES256"
    kid: str = "k1"


class RecentFetches(Fetches):
    """An account that forgets old requests, and counts them.

    Attributes:
        start: When it began, in seconds since the epoch.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.start = clock.wall()
        self._counts: Counter[str] = Counter()

    def arrived(self, document: Document | None, url: str, headers: Mapping[str, str]) -> int:  # noqa: ARG002 - callers have them at hand
        """Enter a request without its header fields; return its number."""
        number = super().arrived(document, url, {})
        with self._lock:
            self._counts[document or "unknown"] += 1
            for old in list(self._requests)[:-MOST_REQUESTS]:
                del self._requests[old]
        return number

    def counts(self) -> dict[str, int]:
        """Return how often each document was asked for since the start."""
        with self._lock:
            return {document: self._counts[document] for document in ("discovery", "jwks", "unknown")}


class ServedIssuer(FakeIssuer):
    """One issuer of `keyturn serve`.

    Args:
        settings: What it is made of.

    Raises:
        ValueError: A setting cannot be used.
    """

    _made = 0

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.issuer, audience=settings.audience, algorithm=settings.algorithm, kid=settings.kid)
        self.fetches: RecentFetches = RecentFetches(self.clock)

    @property
    def token_path(self) -> str:
        """Path of its token endpoint."""
        return urlsplit(self.issuer).path.removesuffix("/") + "/token"

    def discovery(self) -> dict[str, Any]:
        """Return the discovery document, with what its token endpoint can do (RFC 8414, section 2)."""
        return {
            **super().discovery(),
            "grant_types_supported": [GRANT],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
            "scopes_supported": list(SCOPES),
        }

    def documents_at(self, request: Request) -> Answer | None:
        """Answer a request for a document, past the faults; None drops the connection.

        Raises:
            SenderLeft: The sender left while a fault held it.
        """
        query = f"?{request.query}" if request.query else ""
        return self._respond(self.origin + request.path + query, request.headers, request.sender)

    def keys(self) -> list[dict[str, Any]]:
        """Return every known key for people: kid, type, algorithm, state, whether it signs, thumbprint."""
        with self._lock:
            rows = [(key.kid, key.state, key is self._signing, signing_key(key.entry())) for key in self._keys.values()]
        return [
            {"kid": kid, "kty": key.kty, "curve": key.curve, "alg": key.alg, "state": state, "signs": signs, "thumbprint": key.thumbprint}
            for kid, state, signs, key in rows
        ]

    def next_kid(self) -> str:
        """Return a kid that no key has: `k2`, `k3` and so on."""
        number = self._made + 1
        while f"k{number}" in self.known_kids:
            number += 1
        return f"k{number}"

    def _new(self, kid: str, algorithm: str | None) -> Any:
        """Make one more key, where there is room (1).

        Raises:
            RefusedError: There are too many.
            ValueError: The kid is taken.
        """
        retired = [key.kid for key in self._keys.values() if key.state == "retired" and key is not self._signing]
        if self._made >= MOST_MADE:
            raise RefusedError(409, "too_many_keys", f"{MOST_MADE} keys were made since the last reset, expected fewer; POST /control/reset")
        if len(self._keys) >= MOST_KEYS and not retired:
            raise RefusedError(409, "too_many_keys", f"{MOST_KEYS} keys are known and none is retired, expected room for one more")
        key = super()._new(kid, algorithm)
        self._made += 1
        if len(self._keys) > MOST_KEYS:
            del self._keys[retired[0]]
        return key

    def hang_up(self) -> None:
        """Wake every request that a fault holds, so that it sees that its sender left."""
        self._faults.look_again()


def names_of(audience: str | Collection[str]) -> list[str]:
    """Return an audience as a list."""
    return [audience] if isinstance(audience, str) else list(audience)
