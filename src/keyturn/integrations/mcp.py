"""Bearer tokens for servers of the MCP SDK (Model Context Protocol, "Authorization").

Rules of this file:

1. Every setting stands on the guard; `auth_settings()` writes down what the SDK wants to know of it.
2. `KeyturnVerifier` judges, `BearerAnswers` answers: the SDK itself knows only 401 and 403, and takes the first of two tokens.
3. A tool finds the whole token in `get_access_token().validated`.
"""

from __future__ import annotations

from typing import Any

from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from pydantic import ConfigDict, Field, SkipValidation

from keyturn.errors import ConfigurationError, quoted
from keyturn.integrations._guard import BearerGuard, Judge
from keyturn.integrations._mcp import BearerAnswers, access, judge
from keyturn.validated_token import ValidatedToken

__all__ = ["BearerAnswers", "GuardedAccessToken", "KeyturnVerifier", "auth_settings"]


class GuardedAccessToken(AccessToken):
    """What `get_access_token()` returns in a tool: the SDK's own fields, and the token that was validated.

    Attributes:
        validated: The token as keyturn's other adapters hand it over, with its roles and its key.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    # Out of logs: whoever prints the object shows no token and no claim.
    token: str = Field(repr=False)
    claims: dict[str, Any] | None = Field(default=None, repr=False)
    validated: SkipValidation[ValidatedToken] = Field(exclude=True)


class KeyturnVerifier:
    """A `TokenVerifier` of the SDK.

    Args:
        guard: Judges tokens; a validator or router alone will do.

    Attributes:
        guard: Judges tokens.
    """

    def __init__(self, guard: BearerGuard | Judge) -> None:
        self.guard = BearerGuard.of(guard)

    async def verify_token(self, token: str) -> GuardedAccessToken | None:
        """Return what *token* grants; None if it is refused.

        Raises:
            KeysUnavailableError: Nobody can know, and the application has no `BearerAnswers`, which would answer 503.
        """
        validated = await judge(self.guard, token)
        return None if validated is None else GuardedAccessToken(**access(validated, self.guard, token))


def auth_settings(guard: BearerGuard, **settings: Any) -> AuthSettings:
    """Return the `AuthSettings` that go with *guard*.

    The audience is checked by the validator, whatever name the issuer knows this service by, so `validate_token_resource` is False.

    Args:
        guard: Has a `resource`, the URL of the MCP endpoint, and one authorization server, because the SDK names one.
        **settings: Other settings of `AuthSettings`, or in the place of those.

    Raises:
        ConfigurationError: *guard* has no resource, or not exactly one authorization server.
    """
    metadata = guard.metadata()
    servers = metadata.get("authorization_servers", [])
    if "issuer_url" not in settings and len(servers) != 1:
        raise ConfigurationError(
            f"the guard names {quoted(servers)} as authorization servers, expected one (setting: authorization_servers)",
            hint="The MCP SDK names one issuer in its metadata; tokens of all issuers are accepted nevertheless.",
        )
    given = {
        "issuer_url": next(iter(servers), None),
        "resource_server_url": guard.resource,
        "required_scopes": list(guard.needs.scopes) if isinstance(guard.needs.scopes, tuple) else None,
        "validate_token_resource": False,
    }
    return AuthSettings(**{**given, **settings})
