"""A drop-in for Authlib's `JWTBearerTokenValidator`, for its `ResourceProtector` in Flask, Django and elsewhere.

Rules of this file:

1. keyturn judges the whole token first. Authlib then judges its claims, scopes and groups as before (RFC 9068, section 2.2).
2. An error is still of Authlib's own class, and its answer the guard's: challenge, `Retry-After`, body; 503 where nobody can know.
3. `get_jwks()` is for code that asks for the keys. Nothing here is judged by what it returns, so that no token waits for a refresh of it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6750.errors import InsufficientScopeError, InvalidTokenError
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from authlib.oauth2.rfc9068.claims import JWTAccessTokenClaims
from joserfc.jwk import KeySet, import_key

from keyturn import errors
from keyturn.errors import ConfigurationError, KeyturnError, quoted
from keyturn.integrations._bearer import Answer
from keyturn.integrations._guard import BearerGuard, Judge
from keyturn.integrations._held import Held, held_keys
from keyturn.validator import TokenValidator

__all__ = ["AnsweredError", "BearerTokenValidator", "KeysNotKnownError", "ScopeMissingError", "TokenRefusedError"]

ESSENTIAL: Final = ("iss", "exp", "aud", "sub", "client_id", "iat", "jti")
"""Claims that an access token must have (RFC 9068, section 2.2), as Authlib asks for them."""


class AnsweredError(OAuth2Error):  # type: ignore[misc]  # Authlib has no types
    """An error of Authlib that is answered as the guard says.

    Attributes:
        answer: Status, headers and body.
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer
        self.error = answer.body["error"]
        self.description = answer.body["error_description"]
        self.status_code = answer.status

    def get_headers(self) -> list[tuple[str, str]]:
        """Return the header fields of the answer."""
        return [("Content-Type", "application/json"), *self.answer.headers.items()]

    def get_body(self) -> list[tuple[str, Any]]:
        """Return the body of the answer."""
        return list(self.answer.body.items())


class TokenRefusedError(AnsweredError, InvalidTokenError):  # type: ignore[misc]  # Authlib has no types
    """The token is at fault (401)."""


class ScopeMissingError(AnsweredError, InsufficientScopeError):  # type: ignore[misc]  # Authlib has no types
    """The token is good, but lacks a scope (403); the challenge names what to ask for."""


class KeysNotKnownError(AnsweredError):
    """Nobody can know whether the token is good (503)."""


_KINDS: Final = (
    (errors.InvalidTokenError, TokenRefusedError),
    (errors.InsufficientScopeError, ScopeMissingError),
    (errors.KeysUnavailableError, KeysNotKnownError),
    (KeyturnError, AnsweredError),
)


class BearerTokenValidator(JWTBearerTokenValidator):  # type: ignore[misc]  # Authlib has no types
    """Stands where a `JWTBearerTokenValidator` stood: `require_oauth.register_token_validator(BearerTokenValidator(guard))`.

    Args:
        guard: Judges tokens; a validator alone will do. Its issuer and audience stand in the place of `issuer` and `resource_server`.

    Raises:
        ConfigurationError: It is a router: `get_jwks()` would mix the keys of several issuers (R15).

    Attributes:
        guard: Judges tokens.
    """

    def __init__(self, guard: BearerGuard | Judge) -> None:
        self.guard = BearerGuard.of(guard)
        judge = self.guard.validator
        if not isinstance(judge, TokenValidator) or not isinstance(judge.client, Held):
            raise ConfigurationError(f"guard judges by {quoted(judge)}, expected one TokenValidator over keys that can be shown (setting: guard)")
        self._source = judge.client
        super().__init__(issuer=min(judge.issuers), resource_server=self.guard.resource, realm=self.guard.realm)

    def get_jwks(self) -> KeySet:
        """Return the keys that are held, read first if none is, or if they are due.

        Raises:
            KeysNotKnownError: Nobody can know (503).
        """
        try:
            return KeySet([import_key({**key.public_jwk()}) for key in held_keys(self._source)])
        except KeyturnError as error:
            raise self._told(error) from error

    def authenticate_token(self, token_string: str) -> JWTAccessTokenClaims:
        """Return the claims of a token that keyturn has judged; Authlib's rules about claims come next, in `validate_token()`.

        Raises:
            TokenRefusedError: The token is at fault (401).
            ScopeMissingError: It lacks what the guard asks of every request (403).
            KeysNotKnownError: Nobody can know (503).
        """
        try:
            token = self.guard.check([f"Bearer {token_string}"])
        except KeyturnError as error:
            raise self._told(error) from error
        return JWTAccessTokenClaims(dict(token.claims), dict(token.header), {name: {"essential": True} for name in ESSENTIAL})

    def validate_token(self, token: JWTAccessTokenClaims, scopes: Collection[str] | None, request: Any, **needed: Any) -> None:
        """Judge claims, scopes, groups, roles and entitlements by Authlib's rules.

        Raises:
            TokenRefusedError: A claim is missing, or a group, role or entitlement, as Authlib tells it (401).
            ScopeMissingError: A scope is missing (403).
        """
        try:
            super().validate_token(token, scopes, request, **needed)
        except InsufficientScopeError as error:
            # Of several alternatives the first is what clients are told to ask for.
            first = tuple(str(next(iter(scopes or ()), "")).split())
            raise self._told(errors.InsufficientScopeError("the token lacks a scope", required=first)) from error
        except InvalidTokenError as error:
            raise self._told(errors.InvalidTokenError("the token lacks what Authlib asks for")) from error

    def _told(self, error: KeyturnError) -> AnsweredError:
        kind = next(theirs for ours, theirs in _KINDS if isinstance(error, ours))
        return kind(self.guard.answer(error))
