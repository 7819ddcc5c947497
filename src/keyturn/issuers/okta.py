"""Okta authorization servers.

Access tokens name scopes as a list in `scp` and the client in `cid`. Those of the org authorization server, whose issuer is the domain alone,
are for Okta and must not be validated by anybody else (Okta developer documentation, "Validate access tokens").
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Unpack

from keyturn import readings
from keyturn.dialect import Dialect
from keyturn.errors import ConfigurationError
from keyturn.issuers._preset import Kind, build, host, word
from keyturn.issuers.settings import Settings
from keyturn.validator import TokenValidator

_DIALECT = Dialect(scopes=readings.SCP, roles=readings.GROUPS, clients=readings.CID)


def validator(
    domain: str,
    *,
    audience: str | Collection[str],
    server: str | None = "default",
    token_type: Kind = "access",  # noqa: S107 - a kind of token, not a secret
    **settings: Unpack[Settings],
) -> TokenValidator:
    """Return the validator of one authorization server.

    Args:
        domain: Domain of the org, for example `example.okta.com`.
        audience: Audience of the authorization server, or the client id for ID tokens.
        server: Id of the authorization server; None for the org's own, which has ID tokens alone.
        token_type: `"access"`, or `"id"` for a login.
        **settings: Settings that every preset takes.

    Raises:
        ConfigurationError: A setting is wrong.
    """
    issuer = f"https://{host(domain, 'domain', 'example.okta.com')}"
    if server is not None:
        issuer += f"/oauth2/{word(server, 'server', 'default')}"
    elif token_type != "id":  # noqa: S105 - a kind of token, not a secret
        raise ConfigurationError(
            'server is None, expected the id of an authorization server, for example "default" (setting: server)',
            hint="Access tokens of the org authorization server are for Okta's own APIs, and change without notice.",
        )
    return build(issuer, audience=audience, token_type=token_type, dialect=_DIALECT, **settings)
