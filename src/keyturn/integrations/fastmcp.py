"""Bearer tokens for FastMCP servers.

Rules of this file:

1. Every setting stands on the guard, and `KeyturnAuth` alone is handed to FastMCP; it serves the metadata, too (RFC 9728).
2. `KeyturnVerifier` takes the place of `JWTVerifier`, and wraps nothing of it. It goes into `MultiAuth` beside others.
3. `BearerAnswers` answers: FastMCP itself knows only 401 and 403, and takes the first of two tokens.
4. A tool finds the whole token in `get_access_token().validated`.
"""

from __future__ import annotations

from typing import Any

from fastmcp.server.auth import AccessToken, RemoteAuthProvider, TokenVerifier
from pydantic import AnyHttpUrl, ConfigDict, Field, SkipValidation

from keyturn.errors import ConfigurationError, quoted
from keyturn.integrations._guard import BearerGuard, Judge
from keyturn.integrations._mcp import BearerAnswers, access, judge
from keyturn.validated_token import ValidatedToken

__all__ = ["BearerAnswers", "GuardedAccessToken", "KeyturnAuth", "KeyturnVerifier"]


class GuardedAccessToken(AccessToken):
    """What `get_access_token()` returns in a tool: FastMCP's own fields, and the token that was validated.

    Attributes:
        validated: The token as keyturn's other adapters hand it over, with its roles and its key.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    # Out of logs: whoever prints the object shows no token and no claim.
    token: str = Field(repr=False)
    claims: dict[str, Any] = Field(default_factory=dict, repr=False)
    validated: SkipValidation[ValidatedToken] = Field(exclude=True)


class KeyturnVerifier(TokenVerifier):
    """A `TokenVerifier` of FastMCP, for `MultiAuth` and for providers of your own.

    Args:
        guard: Judges tokens; a validator or router alone will do.

    Attributes:
        guard: Judges tokens.
    """

    def __init__(self, guard: BearerGuard | Judge) -> None:
        self.guard = BearerGuard.of(guard)
        scopes = self.guard.needs.scopes
        super().__init__(base_url=self.guard.resource, required_scopes=list(scopes) if isinstance(scopes, tuple) else None)

    async def verify_token(self, token: str) -> GuardedAccessToken | None:
        """Return what *token* grants; None if it is refused.

        Raises:
            KeysUnavailableError: Nobody can know, and the application has no `BearerAnswers`, which would answer 503.
        """
        validated = await judge(self.guard, token)
        return None if validated is None else GuardedAccessToken(**access(validated, self.guard, token))


class KeyturnAuth(RemoteAuthProvider):
    """Whom a FastMCP server lets in, and where its clients get tokens: `FastMCP("orders", auth=KeyturnAuth(guard))`.

    Args:
        guard: Has a `resource`, the URL of the MCP endpoint as clients know it.

    Raises:
        ConfigurationError: *guard* has no resource; or, once the application is made, it is served under another path.
    """

    def __init__(self, guard: BearerGuard) -> None:
        metadata = guard.metadata()
        super().__init__(
            KeyturnVerifier(guard),
            authorization_servers=[AnyHttpUrl(name) for name in metadata.get("authorization_servers", [])],
            base_url=metadata["resource"],
            scopes_supported=metadata.get("scopes_supported", []),
            challenge_scopes=list(guard.needs.challenge),
        )

    def _get_resource_url(self, path: str | None = None) -> AnyHttpUrl | None:
        # The guard knows the whole URL, and FastMCP would put the path behind it once more.
        if path is not None and not str(self.base_url).rstrip("/").endswith(path.rstrip("/")):
            raise ConfigurationError(f"resource is {quoted(str(self.base_url))}, expected a URL that ends in {quoted(path)} (setting: resource)")
        return self.base_url
