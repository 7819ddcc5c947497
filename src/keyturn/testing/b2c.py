"""Azure AD B2C for tests.

Rules of this file:

1. Policies of B2C share nothing but the name of the issuer: each has documents and keys of its own. Their keys name neither an issuer
   nor a certificate.
2. Names are Microsoft's own, and the documents stand where they stand: a validator is pointed at the fake by its fetcher alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any, Final

from keyturn.clock import Clock
from keyturn.errors import quoted
from keyturn.testing import entra_shapes as shapes
from keyturn.testing.claims import audience_of, spaced, validity
from keyturn.testing.entra import APP, CLIENT, SCOPES, TENANT
from keyturn.testing.keys import RSA_BITS
from keyturn.testing.publisher import Publication, Publisher, missing, published
from keyturn.testing.ring import KeyRing

POLICY: Final = "B2C_1_sign_in"
"""The policy of a `FakeB2c` that was given none."""


class FakeB2c(Publisher):
    """One tenant of Azure AD B2C.

    Args:
        name: Its name, the `contoso` of `contoso.onmicrosoft.com`.
        policies: Its policies (user flows); the first one is meant where none is named.
        tenant: Its GUID.
        app: Client id of the API that its tokens are for.
        custom_domain: Host of documents and issuers, if it is not `<name>.b2clogin.com`.
        issuer_with_policy: Whether issuers name their policy (the claim compatibility setting `tfp`).
        clock: Clock of its tokens and of its account; None means the machine's. Hand the same one to the validator.
        rsa_bits: Size of its RSA keys.

    Attributes:
        policies: Its policies.
        clock: Clock of its tokens and of its account.
        fetches: What was asked of it.

    Raises:
        ValueError: There is no policy.
    """

    def __init__(
        self,
        name: str = "contoso",
        policies: str | Collection[str] = POLICY,
        *,
        tenant: str = TENANT,
        app: str = APP,
        custom_domain: str | None = None,
        issuer_with_policy: bool = False,
        clock: Clock | None = None,
        rsa_bits: int = RSA_BITS,
    ) -> None:
        super().__init__(clock)
        self.policies = (policies,) if isinstance(policies, str) else tuple(policies)
        if not self.policies:
            raise ValueError(f'policies is empty, expected names such as "{POLICY}"')
        self._name, self._tenant, self._app = name, tenant, app
        self._host, self._with_policy = custom_domain or f"{name}.b2clogin.com", issuer_with_policy
        # Policies are compared without regard to letter case; so is the path that names one.
        self._rings = {policy.lower(): KeyRing("k1", algorithm="RS256", rsa_bits=rsa_bits, members={"alg": None}) for policy in self.policies}

    def __repr__(self) -> str:
        return f"<FakeB2c {self._host} policies={list(self.policies)!r}>"

    @property
    def origin(self) -> str:
        """Scheme and host of its documents, such as `https://contoso.b2clogin.com`."""
        return f"https://{self._host}"

    def keys(self, policy: str | None = None) -> KeyRing:
        """Return the keys of a policy; None means the first one. The first of them is called `k1`, in every policy.

        Raises:
            ValueError: There is no such policy.
        """
        return self._rings[self._resolved(policy).lower()]

    def issuer(self, policy: str | None = None) -> str:
        """Return the issuer of a policy's tokens; it names the policy only with *issuer_with_policy*."""
        middle = f"tfp/{self._tenant}/{self._resolved(policy)}" if self._with_policy else self._tenant
        return f"{self.origin}/{middle}/v2.0/"

    def discovery_url(self, policy: str | None = None) -> str:
        """Return where the discovery document of a policy stands."""
        return f"{self._base(policy)}/v2.0/.well-known/openid-configuration"

    def jwks_url(self, policy: str | None = None) -> str:
        """Return where the key set of a policy stands."""
        return f"{self._base(policy)}/discovery/v2.0/keys"

    def discovery(self, policy: str | None = None) -> dict[str, Any]:
        """Return the discovery document of a policy as published now."""
        return shapes.discovery(self.issuer(policy), self.jwks_url(policy), base=f"{self._base(policy)}/oauth2/v2.0")

    def jwks(self, policy: str | None = None) -> dict[str, Any]:
        """Return the key set of a policy as published now."""
        return self.keys(policy).jwks()

    def token(
        self,
        policy: str | None = None,
        *,
        subject: str | None = "alice",
        audience: str | Collection[str] | None = None,
        scopes: str | Collection[str] | None = SCOPES,
        lifetime: float | timedelta = 3600,
        key: str | None = None,
        headers: Mapping[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """Return an access token of a policy; it names the policy in `tfp`, and its tenant nowhere.

        Args:
            policy: The policy; None means the first one.
            subject: `sub`.
            audience: `aud`; None means the API that tokens are for.
            scopes: `scp`, in one string.
            lifetime: Seconds from `iat` to `exp`, or a timedelta; negative for a token that has expired.
            key: Kid of the key to sign with; None means the policy's signing key.
            headers: Header parameters, added or in place of ours; None leaves one out.
            **claims: Claims, added or in place of ours; None leaves one out. Older flows have `tfp=None, acr="..."`.

        Raises:
            ValueError: *policy* or *key* is unknown.
        """
        times = validity(self.clock, lifetime)
        payload = {
            "iss": self.issuer(policy),
            "sub": subject,
            "aud": audience_of(self._app if audience is None else audience),
            **times,
            "nbf": times["iat"],
            "azp": CLIENT,
            "scp": spaced(scopes),
            "tfp": self._resolved(policy),
            "ver": "1.0",
        }
        return self.keys(policy).signed({**payload, **claims}, key=key, headers=headers)

    def forge(self, policy: str | None = None, *, key: str | None = None, headers: Mapping[str, Any] | None = None, **token: Any) -> str:
        """Return a token that names a key, but is signed with one that nobody of this process publishes; the arguments are those of `token()`."""
        return self.keys(policy).disguised(self.token, key=key, headers=headers, policy=policy, **token)

    def _resolved(self, policy: str | None) -> str:
        if policy is None:
            return self.policies[0]
        for known in self.policies:
            if known.lower() == policy.lower():
                return known
        raise ValueError(f"policy is {quoted(policy)}, expected one of {', '.join(map(quoted, self.policies))}")

    def _base(self, policy: str | None) -> str:
        return f"{self.origin}/{self._name}.onmicrosoft.com/{self._resolved(policy)}"

    def _served(self) -> tuple[str, str]:
        return self.discovery_url(), self.jwks_url()

    def _published(self, location: str) -> Publication:
        place = location.partition("?")[0].lower()
        for policy in self.policies:
            if place == self.discovery_url(policy).lower():
                return published("discovery", self.discovery(policy))
            if place == self.jwks_url(policy).lower():
                return published("jwks", self.jwks(policy))
        return missing()
