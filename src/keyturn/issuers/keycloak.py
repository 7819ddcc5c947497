"""Keycloak realms.

The claim `typ` of the payload tells kinds of token apart: `Bearer` (bound ones `DPoP`), `ID`, `Refresh`, `Logout`. Roles of the realm stand
in `realm_access`, those of a client in `resource_access` (Keycloak Server Administration Guide, "OIDC token and SAML assertion mappings").
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Unpack

from keyturn import readings
from keyturn.dialect import Dialect
from keyturn.errors import ConfigurationError, quoted
from keyturn.issuers._preset import Kind, build, one_of, texts, word
from keyturn.issuers.settings import Settings
from keyturn.validator import TokenValidator

_TYPES = {"access": ("Bearer", "DPoP"), "id": ("ID",)}


def validator(
    url: str,
    realm: str,
    *,
    audience: str | Collection[str],
    token_type: Kind = "access",  # noqa: S107 - a kind of token, not a secret
    roles_of: str | None = None,
    **settings: Unpack[Settings],
) -> TokenValidator:
    """Return the validator of one realm.

    Args:
        url: Where Keycloak is, for example `https://sso.example.com`; older ones end in `/auth`.
        realm: The realm.
        audience: Who this service is. A client scope with an audience mapper puts it into access tokens.
        token_type: `"access"`, or `"id"` for a login.
        roles_of: Client id whose roles `ValidatedToken.roles` reads; the realm's unless given.
        **settings: Settings that every preset takes.

    Raises:
        ConfigurationError: A setting is wrong.
    """
    if not isinstance(url, str) or not url.strip() or url.endswith("/"):
        raise ConfigurationError(
            f'url is {quoted(url)}, expected a URL without a slash at the end, for example "https://sso.example.com" (setting: url)'
        )
    if roles_of is not None:
        texts(roles_of, "roles_of", "orders-api")
    dialect = Dialect(
        roles=readings.KEYCLOAK_REALM_ROLES if roles_of is None else readings.keycloak_client_roles(roles_of),
        checks=(one_of("typ", _TYPES.get(token_type, ()), "token_type", kind=True),),
    )
    return build(f"{url}/realms/{word(realm, 'realm', 'shop')}", audience=audience, token_type=token_type, dialect=dialect, **settings)
