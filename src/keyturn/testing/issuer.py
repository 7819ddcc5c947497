"""An issuer for tests: it publishes keys, rolls them over, signs tokens, and fails when told to.

Rules of this file:

1. Its keys and their steps are those of `ring.py`, its faults, account and server those of `publisher.py`; here they become one issuer.
2. A token is good unless the caller says otherwise; everything in it can be replaced or left out.
3. Without a name of its own an issuer is called `https://issuer.test`, and while it is served what its server is called.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from keyturn.clock import Clock
from keyturn.errors import quoted
from keyturn.testing.claims import audience_of, listed, spaced, validity
from keyturn.testing.keys import ALGORITHMS, RSA_BITS
from keyturn.testing.publisher import Publication, Publisher, missing, published
from keyturn.testing.ring import KeyRing

DEFAULT_ISSUER = "https://issuer.test"
"""Name of an issuer that was given none and is not served; `.test` never resolves (RFC 6761, section 6.2)."""


class FakeIssuer(KeyRing, Publisher):
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
        KeyRing.__init__(self, kid, algorithm=algorithm, rsa_bits=rsa_bits)
        Publisher.__init__(self, clock)
        self.audience = audience
        self._given_name = issuer

    def __repr__(self) -> str:
        return f"<FakeIssuer {self.issuer} signing={self.signing_kid!r} published={list(self.published_kids)!r}>"

    @property
    def issuer(self) -> str:
        """The name that its tokens and its discovery document carry."""
        server = self._server
        return self._given_name or (server.url if server else DEFAULT_ISSUER)

    @property
    def origin(self) -> str:
        """Scheme and host of its documents, under its public name."""
        name = urlsplit(self.issuer)
        return f"{name.scheme}://{name.netloc}"

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
        payload = {
            "iss": self.issuer,
            "sub": subject,
            "aud": audience_of(self.audience if audience is None else audience),
            **validity(self.clock, lifetime),
            "scope": spaced(scopes),
            "roles": listed(roles),
        }
        return self.signed({**payload, **claims}, key=key, headers=headers)

    def forge(self, *, key: str | None = None, headers: Mapping[str, Any] | None = None, **token: Any) -> str:
        """Return a token that names a key, but is signed with one that no issuer of this process publishes.

        Args:
            key: Kid to claim, known or not; None means the signing key. An unknown one goes with the issuer's algorithm.
            headers: As for `token()`.
            **token: Whatever else `token()` takes.
        """
        return self.disguised(self.token, key=key, headers=headers, **token)

    def _served(self) -> tuple[str, str]:
        return self.discovery_url, self.jwks_url

    def _published(self, location: str) -> Publication:
        # A query does not hide a document, as at issuers that take an application's id there.
        place = location.partition("?")[0]
        if place == self.discovery_url:
            return published("discovery", self.discovery())
        if place == self.jwks_url:
            return published("jwks", self.jwks())
        return missing()
