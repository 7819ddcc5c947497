"""An issuer for tests: it publishes keys, rolls them over, signs tokens, and fails when told to.

Rules of this file:

1. Its keys and their steps are those of `ring.py`, its faults, account and server those of `publisher.py`; here they become one issuer.
2. A token is good unless the caller says otherwise; everything in it can be replaced or left out.
3. Without a name of its own an issuer is called `https://issuer.test`, and while it is served what its server is called.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

from keyturn.clock import Clock
from keyturn.errors import quoted
from keyturn.testing.attacks.bad_token import BadToken
from keyturn.testing.attacks.catalogue import bad_tokens
from keyturn.testing.claims import seconds_of, validity
from keyturn.testing.keys import ALGORITHMS, RSA_BITS
from keyturn.testing.publisher import Publication, Publisher, missing, published
from keyturn.testing.ring import KeyRing
from keyturn.testing.shapes import PLAIN, Shape, shape_of

DEFAULT_ISSUER = "https://issuer.test"
"""Name of an issuer that was given none and is not served; `.test` never resolves (RFC 6761, section 6.2)."""

FOREIGN_ISSUER = "https://other-issuer.test"
"""Name of the other issuer whose tokens `FakeIssuer.foreign()` makes."""


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
        self._init(PLAIN, issuer, clock=clock, audience=audience, algorithm=algorithm, kid=kid, rsa_bits=rsa_bits)

    def _init(self, shape: Shape, issuer: str | None, *, clock: Clock | None, audience: str | Collection[str], **ring: Any) -> None:
        KeyRing.__init__(self, members=shape.members, **ring)
        Publisher.__init__(self, clock)
        self.audience = audience
        self._given_name, self._shape = issuer, shape

    @classmethod
    def like(
        cls,
        name: str,
        *,
        clock: Clock | None = None,
        audience: str | Collection[str] | None = None,
        algorithm: str | None = None,
        kid: str = "k1",
        rsa_bits: int = RSA_BITS,
    ) -> Self:
        """Return an issuer whose name, documents and tokens look like a well-known one's.

        Its token passes the preset of `keyturn.issuers` for it. `FakeEntra`, `FakeAdfs`, `FakeB2c` and `FakeExternalId` go further:
        tenants, certificates, federation metadata.

        Args:
            name: `"entra"`, `"keycloak"`, `"auth0"`, `"okta"`, `"cognito"`, `"google"`, `"github-actions"` or `"kubernetes"`.
            clock: Clock of its tokens and of its account; None means the machine's.
            audience: Audience of tokens that name none; None means that of the shape.
            algorithm: Algorithm of keys that name none; None means that of the shape, RS256.
            kid: Kid of the first key.
            rsa_bits: Size of its RSA keys.

        Raises:
            ValueError: There is no shape of this name, or *algorithm* is unknown.
        """
        shape = shape_of(name)
        made = cls.__new__(cls)
        made._init(  # noqa: SLF001 - a second constructor
            shape,
            shape.issuer,
            clock=clock,
            audience=shape.audience if audience is None else audience,
            algorithm=algorithm or shape.algorithm,
            kid=kid,
            rsa_bits=rsa_bits,
        )
        return made

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
        return urljoin(self.issuer.removesuffix("/") + "/", self._shape.jwks)

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
            scopes: `scope`, in one string (RFC 8693, section 4.2), or what `like()` has instead; none is written by default.
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
            **validity(self.clock, lifetime),
            **self._shape.claims_of(self.audience if audience is None else audience, scopes, roles),
        }
        return self.signed({**payload, **claims}, key=key, headers={**self._shape.headers, **(headers or {})})

    def forge(self, *, key: str | None = None, headers: Mapping[str, Any] | None = None, **token: Any) -> str:
        """Return a token that names a key, but is signed with one that no issuer of this process publishes.

        Args:
            key: Kid to claim, known or not; None means the signing key. An unknown one goes with the issuer's algorithm.
            headers: As for `token()`.
            **token: Whatever else `token()` takes.
        """
        return self.disguised(self.token, key=key, headers=headers, **token)

    def expired(self, ago: float | timedelta = 3600, **token: Any) -> str:
        """Return a token that was good for an hour and expired.

        Args:
            ago: Seconds since it expired, or a timedelta; more than the leeway of whoever is to refuse it.
            **token: Whatever else `token()` takes.
        """
        lapsed = seconds_of(ago)
        return self.token(**{"iat": math.floor(self.clock.wall() - lapsed) - 3600, "lifetime": -lapsed, **token})

    def foreign(self, issuer: str = FOREIGN_ISSUER, *, key: str = "foreign-1", **token: Any) -> str:
        """Return a token of another issuer, signed with a key that no issuer of this process publishes.

        Args:
            issuer: Name of the other issuer.
            key: Kid of its key; one of this issuer's makes it a collision (R15).
            **token: Whatever else `token()` takes.
        """
        return self.forge(key=key, **{"iss": issuer, **token})

    def bad_tokens(self, *, publish: bool = True) -> tuple[BadToken, ...]:
        """Return a catalogue of bad tokens: named attacks, each with the error that must come out of a validator with default settings.

        They are made now, by the issuer's clock and with the key that signs now. Some attacks need an entry of the key set that no
        issuer should publish, a key of 1024 bits for example. Those entries are published beside the issuer's keys, under kids that
        begin with `bad-`, and stay until `cut_over()`; good tokens stay good. A validator that holds keys already has to read them again.

        Args:
            publish: Whether such entries are published; False leaves the tokens out that need one.

        Raises:
            ValueError: The key that signs is not published, so that every token would be refused for that alone.
        """
        return bad_tokens(self, publish=publish)

    def bad_token(self, name: str) -> BadToken:
        """Return one bad token of the catalogue, as `bad_tokens()` does.

        Args:
            name: Its name, one of `keyturn.testing.BAD_TOKENS`.

        Raises:
            ValueError: There is no bad token of this name, or the key that signs is not published.
        """
        for bad in self.bad_tokens():
            if bad.name == name:
                return bad
        raise ValueError(f"there is no bad token {quoted(name)}, expected one of keyturn.testing.BAD_TOKENS")

    @property
    def _takes_path(self) -> bool:
        return self._given_name is None

    @property
    def _own_path(self) -> str:
        return urlsplit(self._given_name or "").path.removesuffix("/")

    def _served(self) -> tuple[str, str]:
        return self.discovery_url, self.jwks_url

    def _published(self, location: str) -> Publication:
        # A query does not hide a document, as at issuers that take an application's id there.
        place = location.partition("?")[0]
        if place == self.discovery_url:
            return published("discovery", self.discovery())
        # A server has one origin, also for an issuer whose key set stands at another host.
        if place in {self.jwks_url, self.origin + urlsplit(self.jwks_url).path}:
            return published("jwks", self.jwks())
        return missing()
