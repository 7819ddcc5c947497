"""Microsoft Entra External ID for tests: one external tenant on ciamlogin.com.

Rules of this file:

1. Its issuer is called after the tenant's GUID or after the subdomain, its documents stand at the subdomain either way.
2. Its keys are its own: the same tenant on login.microsoftonline.com is a `FakeEntra` with others.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from keyturn._core.tenant import is_guid
from keyturn.clock import Clock
from keyturn.errors import quoted
from keyturn.testing import entra_shapes as shapes
from keyturn.testing.certificates import CertifiedKeys
from keyturn.testing.claims import audience_of, listed, spaced, validity
from keyturn.testing.entra import APP, CLIENT, SCOPES, TENANT
from keyturn.testing.keys import RSA_BITS
from keyturn.testing.publisher import Publication, Publisher, missing, published


class FakeExternalId(Publisher):
    """One external tenant (Microsoft Entra External ID).

    Args:
        subdomain: The `contoso` of `contoso.ciamlogin.com`.
        tenant: Its GUID.
        app: Client id of the API that its tokens are for.
        named_by_subdomain: Whether its issuer is called after the subdomain, and not after the GUID.
        clock: Clock of its tokens, certificates and account; None means the machine's. Hand the same one to the validator.
        rsa_bits: Size of its RSA keys.

    Attributes:
        keys: Its keys.
        tenant: Its GUID.
        clock: Clock of its tokens, certificates and account.
        fetches: What was asked of it.

    Raises:
        ValueError: *tenant* is no GUID.
    """

    def __init__(
        self,
        subdomain: str = "contoso",
        *,
        tenant: str = TENANT,
        app: str = APP,
        named_by_subdomain: bool = False,
        clock: Clock | None = None,
        rsa_bits: int = RSA_BITS,
    ) -> None:
        super().__init__(clock)
        if not is_guid(tenant):
            raise ValueError(f'tenant is {quoted(tenant)}, expected a GUID such as "{TENANT}"')
        self.tenant, self._app, self._subdomain = tenant.lower(), app, subdomain
        self._named = subdomain if named_by_subdomain else self.tenant
        self.keys = CertifiedKeys(
            now=self.clock.wall, subject=f"{subdomain}.ciamlogin.com", rsa_bits=rsa_bits, members={"alg": None, "issuer": self.issuer}
        )

    def __repr__(self) -> str:
        return f"<FakeExternalId {self._subdomain}.ciamlogin.com signing={self.keys.signing_kid!r}>"

    @property
    def origin(self) -> str:
        """Scheme and host of its documents, such as `https://contoso.ciamlogin.com`."""
        return f"https://{self._subdomain}.ciamlogin.com"

    @property
    def issuer(self) -> str:
        """The name that its tokens and its discovery document carry."""
        return f"https://{self._named}.ciamlogin.com/{self.tenant}/v2.0"

    @property
    def discovery_url(self) -> str:
        """Where its discovery document stands."""
        return f"{self.origin}/{self.tenant}/v2.0/.well-known/openid-configuration"

    @property
    def jwks_url(self) -> str:
        """Where its key set stands."""
        return f"{self.origin}/{self.tenant}/discovery/v2.0/keys"

    def discovery(self) -> dict[str, Any]:
        """Return the discovery document as published now."""
        return shapes.discovery(self.issuer, self.jwks_url, base=f"{self.origin}/{self.tenant}/oauth2/v2.0")

    def jwks(self) -> dict[str, Any]:
        """Return the key set as published now."""
        return self.keys.jwks()

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
        """Return an access token.

        Args:
            subject: `sub`.
            audience: `aud`; None means the API that tokens are for.
            scopes: `scp`, in one string; `access_as_user` unless there are roles.
            roles: `roles`, as a list.
            lifetime: Seconds from `iat` to `exp`, or a timedelta; negative for a token that has expired.
            key: Kid of the key to sign with, as steps call it; None means the signing key.
            headers: Header parameters, added or in place of ours; None leaves one out.
            **claims: Claims, added or in place of ours; None leaves one out.

        Raises:
            ValueError: *key* is unknown.
        """
        times = validity(self.clock, lifetime)
        scp = SCOPES if scopes is None and roles is None else spaced(scopes)
        payload = {
            "iss": self.issuer,
            "aud": audience_of(self._app if audience is None else audience),
            **times,
            "nbf": times["iat"],
            **shapes.access_claims(2, client=CLIENT, subject=subject, scopes=scp, roles=listed(roles), tenant=self.tenant),
        }
        return self.keys.signed({**payload, **claims}, key=key, headers=headers)

    def forge(self, *, key: str | None = None, headers: Mapping[str, Any] | None = None, **token: Any) -> str:
        """Return a token that names a key, but is signed with one that nobody of this process publishes; the arguments are those of `token()`."""
        return self.keys.disguised(self.token, key=key, headers=headers, **token)

    def _served(self) -> tuple[str, str]:
        return self.discovery_url, self.jwks_url

    def _published(self, location: str) -> Publication:
        place = re.sub(rf"^/{re.escape(self._subdomain)}\.onmicrosoft\.com/", f"/{self.tenant}/", urlsplit(location).path, flags=re.IGNORECASE)
        if not location.startswith(f"{self.origin}/"):
            return missing()
        if self.origin + place == self.discovery_url:
            return published("discovery", self.discovery())
        if self.origin + place == self.jwks_url:
            return published("jwks", self.jwks())
        return missing()
