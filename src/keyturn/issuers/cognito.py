"""Amazon Cognito user pools.

Access tokens have no `aud`: they name the app client in `client_id`. `token_use` tells access tokens from ID tokens, and groups stand in
`cognito:groups` (Amazon Cognito Developer Guide, "Understanding user pool JSON web tokens").
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Unpack

from keyturn import readings
from keyturn.dialect import Dialect
from keyturn.issuers._preset import Kind, build, one_of, word
from keyturn.issuers.settings import Settings
from keyturn.validator import TokenValidator


def validator(
    region: str,
    user_pool: str,
    *,
    audience: str | Collection[str],
    token_type: Kind = "access",  # noqa: S107 - a kind of token, not a secret
    **settings: Unpack[Settings],
) -> TokenValidator:
    """Return the validator of one user pool.

    Args:
        region: Its region, for example `eu-central-1`.
        user_pool: Its id, for example `eu-central-1_A1b2C3d4E`.
        audience: Ids of the app clients whose tokens are accepted: `client_id` of access tokens, `aud` of ID tokens.
        token_type: `"access"`, or `"id"` for a login.
        **settings: Settings that every preset takes.

    Raises:
        ConfigurationError: A setting is wrong.
    """
    issuer = f"https://cognito-idp.{word(region, 'region', 'eu-central-1')}.amazonaws.com/{word(user_pool, 'user_pool', 'eu-central-1_A1b2C3d4E')}"
    dialect = Dialect(
        audience_claim="client_id" if token_type == "access" else "aud",  # noqa: S105 - a kind of token, not a secret
        roles=readings.COGNITO_GROUPS,
        checks=(one_of("token_use", {token_type}, "token_type", kind=True),),
    )
    return build(issuer, audience=audience, token_type=token_type, dialect=dialect, **settings)
