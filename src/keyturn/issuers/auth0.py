"""Auth0 tenants.

The issuer ends in a slash. With role-based access control on, permissions stand in `permissions` (Auth0 documentation, "Validate access
tokens" and "Enable role-based access control for APIs").
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Unpack

from keyturn import readings
from keyturn.dialect import Dialect
from keyturn.issuers._preset import Kind, build, host
from keyturn.issuers.settings import Settings
from keyturn.validator import TokenValidator


def validator(
    domain: str,
    *,
    audience: str | Collection[str],
    token_type: Kind = "access",  # noqa: S107 - a kind of token, not a secret
    rbac: bool = False,
    **settings: Unpack[Settings],
) -> TokenValidator:
    """Return the validator of one tenant.

    Args:
        domain: Its domain, or its custom domain, for example `example.eu.auth0.com`.
        audience: Identifier of the API, or the client id for ID tokens.
        token_type: `"access"`, or `"id"` for a login.
        rbac: Whether `ValidatedToken.scopes` reads `permissions`, which the user has, in the place of `scope`, which the client asked for.
        **settings: Settings that every preset takes.

    Raises:
        ConfigurationError: A setting is wrong.
    """
    dialect = Dialect(scopes=readings.PERMISSIONS if rbac else readings.SCOPE)
    issuer = f"https://{host(domain, 'domain', 'example.eu.auth0.com')}/"
    return build(issuer, audience=audience, token_type=token_type, dialect=dialect, **settings)
