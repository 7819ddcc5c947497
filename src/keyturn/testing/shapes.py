"""What tokens and documents of well-known issuers look like, as far as it matters to whoever validates them.

Rules of this file:

1. It is data. A shape changes names, places and constants; steps, faults and tokens are those of every fake issuer.
2. What a preset of `keyturn.issuers` asks for is there, so that a token of the shape passes the preset.
3. Issuers with several tenants, certificates or key sets have fakes of their own: `FakeEntra`, `FakeAdfs`, `FakeB2c`, `FakeExternalId`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from keyturn.errors import quoted
from keyturn.testing.claims import audience_of, listed, spaced


@dataclass(frozen=True, slots=True)
class Shape:
    """How one issuer differs from a plain one.

    Attributes:
        issuer: Its name.
        audience: Audience of tokens that name none.
        algorithm: Algorithm of its keys.
        jwks: Where its key set stands, as seen from below the issuer.
        members: Members of every entry of its key set, added or in place of ours; None leaves one out.
        headers: Header parameters of its tokens, likewise.
        claims: What every token claims besides.
        audience_claim: The claim that names the audience.
        scopes_claim: The claim that names the scopes.
        scopes_listed: Whether scopes are a list, not one text.
        scopes: Scopes of tokens that name neither scopes nor roles.
        roles_path: Where the roles stand: a claim, or a member of one.
    """

    issuer: str
    audience: str | tuple[str, ...] = "api://test"
    algorithm: str = "RS256"
    jwks: str = "jwks.json"
    members: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, Any] = field(default_factory=dict)
    claims: Mapping[str, Any] = field(default_factory=dict)
    audience_claim: str = "aud"
    scopes_claim: str = "scope"
    scopes_listed: bool = False
    scopes: str | None = None
    roles_path: tuple[str, ...] = ("roles",)

    def claims_of(self, audience: Any, scopes: Any, roles: Any) -> dict[str, Any]:
        """Return the claims of a token that are not the same at every issuer; a claim that is None is to be left out."""
        text = spaced(self.scopes if scopes is None and roles is None else scopes)
        written = text.split() if text is not None and self.scopes_listed else text
        held: Any = listed(roles)
        for name in reversed(self.roles_path[1:]):
            held = None if held is None else {name: held}
        return {**self.claims, self.audience_claim: audience_of(audience), self.scopes_claim: written, self.roles_path[0]: held}


PLAIN: Final = Shape("https://issuer.test", algorithm="ES256")
"""An issuer that does what the standards say and nothing besides."""

_TENANT: Final = "7e57ab1e-0000-4000-8000-000000000001"

SHAPES: Final[Mapping[str, Shape]] = {
    # Microsoft identity platform, "Access tokens", version 2.0: no alg in the key set, an issuer for each key.
    "entra": Shape(
        f"https://login.microsoftonline.com/{_TENANT}/v2.0",
        audience="7e57ab1e-0000-4000-8000-0000000000a1",
        jwks="../discovery/v2.0/keys",
        members={"alg": None, "issuer": f"https://login.microsoftonline.com/{_TENANT}/v2.0"},
        claims={
            "azp": "7e57ab1e-0000-4000-8000-0000000000c1",
            "azpacr": "1",
            "oid": "7e57ab1e-0000-4000-8000-0000000000d1",
            "tid": _TENANT,
            "ver": "2.0",
        },
        scopes_claim="scp",
        scopes="access_as_user",
    ),
    # Keycloak, Server Administration Guide: a path in the issuer, the kind of token in the payload, roles of the realm.
    "keycloak": Shape(
        "https://sso.keycloak.test/realms/shop",
        audience=("api://test", "account"),
        jwks="protocol/openid-connect/certs",
        claims={"typ": "Bearer", "azp": "web", "sid": "7e57ab1e-0000-4000-8000-0000000000e1", "acr": "1"},
        scopes="profile email",
        roles_path=("realm_access", "roles"),
    ),
    # Auth0, "Access tokens": the issuer ends in a slash.
    "auth0": Shape(
        "https://tenant.auth0.test/",
        audience=("api://test", "https://tenant.auth0.test/userinfo"),
        jwks=".well-known/jwks.json",
        claims={"azp": "web"},
        scopes="openid profile",
        roles_path=("permissions",),
    ),
    # Okta, "Access tokens" of a custom authorization server: scopes in a list, client in cid, no type in the header.
    "okta": Shape(
        "https://org.okta.test/oauth2/default",
        audience="api://default",
        jwks="v1/keys",
        headers={"typ": None},
        claims={"ver": 1, "cid": "0oa1", "uid": "00u1"},
        scopes_claim="scp",
        scopes_listed=True,
        scopes="openid",
        roles_path=("groups",),
    ),
    # Amazon Cognito, "Understanding the access token": no audience, the app client in client_id, no type in the header.
    "cognito": Shape(
        "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_A1b2C3d4E",
        audience="1h57kf5cpq17m0eml12EXAMPLE",
        jwks=".well-known/jwks.json",
        headers={"typ": None},
        claims={"token_use": "access", "version": 2, "username": "alice"},
        audience_claim="client_id",
        scopes="aws.cognito.signin.user.admin",
        roles_path=("cognito:groups",),
    ),
    # Google Identity, "OpenID Connect": ID tokens alone, keys at another host.
    "google": Shape(
        "https://accounts.google.com",
        audience="1234.apps.googleusercontent.com",
        jwks="https://www.googleapis.com/oauth2/v3/certs",
        claims={"azp": "1234.apps.googleusercontent.com", "email": "alice@example.test", "email_verified": True},
    ),
    # GitHub, "OpenID Connect reference": the workflow's repository by name and by number.
    "github-actions": Shape(
        "https://token.actions.githubusercontent.com",
        audience="api://deploy",
        jwks=".well-known/jwks",
        claims={
            "repository": "octo-org/octo-repo",
            "repository_id": "74",
            "repository_owner": "octo-org",
            "repository_owner_id": "65",
            "ref": "refs/heads/main",
        },
    ),
    # Kubernetes, "Service account token projection": the audience in a list, no type in the header.
    "kubernetes": Shape(
        "https://kubernetes.default.svc",
        audience=("api://test",),
        jwks="openid/v1/jwks",
        headers={"typ": None},
        claims={"kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "web"}}},
    ),
}
"""Issuers by name."""


def shape_of(name: str) -> Shape:
    """Return the shape of a well-known issuer.

    Raises:
        ValueError: There is none of this name.
    """
    if name not in SHAPES:
        raise ValueError(f"there is no shape {quoted(name)}, expected one of {', '.join(map(quoted, SHAPES))}")
    return SHAPES[name]
