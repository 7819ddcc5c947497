"""Where issuers write scopes, roles and the client: data for `Dialect`, by name.

```python
Dialect(roles=KEYCLOAK_REALM_ROLES)
Dialect(scopes=PERMISSIONS, clients=AZP)
Dialect(roles=GROUPS + ROLES)  # the first of them that a token has
```

Rules of this file:

1. A reading says where a value stands, and nothing is taken together: of several paths the first that is there is read. What a user
   consented to (scopes) and what somebody may (roles) come from different claims (RFC 9068, sections 2.2.3 and 2.2.3.1).
2. How a value is read is the same everywhere: a string is divided at blanks, a list is taken as it is, anything else refuses the token.
"""

from __future__ import annotations

from typing import Final

from keyturn.dialect import Path
from keyturn.errors import ConfigurationError, quoted

Paths = tuple[Path, ...]
"""Paths to a value, of which the first that is there is read."""

SCOPE: Final[Paths] = (("scope",),)
"""What OAuth 2 says (RFC 8693, section 4.2; RFC 9068): Auth0, Keycloak, Cognito."""

SCP: Final[Paths] = (("scp",),)
"""Microsoft Entra, as one string; Okta, as a list."""

PERMISSIONS: Final[Paths] = (("permissions",),)
"""Auth0 with role-based access control: what the user may do, where `scope` is what the client asked for."""

ROLES: Final[Paths] = (("roles",),)
"""Microsoft Entra, and RFC 9068."""

GROUPS: Final[Paths] = (("groups",),)
"""Okta, and RFC 9068. Microsoft Entra writes ids of groups there, and leaves them out where they are too many."""

ENTITLEMENTS: Final[Paths] = (("entitlements",),)
"""RFC 9068."""

COGNITO_GROUPS: Final[Paths] = (("cognito:groups",),)
"""Amazon Cognito: the user's groups in the pool."""

KEYCLOAK_REALM_ROLES: Final[Paths] = (("realm_access", "roles"),)
"""Keycloak: roles of the realm."""

CLIENT_ID: Final[Paths] = (("client_id",),)
"""RFC 9068, and Cognito."""

AZP: Final[Paths] = (("azp",),)
"""OpenID Connect: Microsoft Entra in version 2, Auth0, Keycloak."""

APPID: Final[Paths] = (("appid",),)
"""Microsoft Entra in version 1, and AD FS."""

CID: Final[Paths] = (("cid",),)
"""Okta."""


def keycloak_client_roles(client: str) -> Paths:
    """Return where Keycloak writes the roles of one client.

    Args:
        client: Its client id; a dot in it is a part of the name.

    Raises:
        ConfigurationError: It is empty, or no text.
    """
    if not isinstance(client, str) or not client.strip():
        raise ConfigurationError(f'client is {quoted(client)}, expected a client id such as "orders-api" (setting: client)')
    return (("resource_access", client, "roles"),)
