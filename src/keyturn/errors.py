"""Every error that leaves keyturn, drawn once.

Rules of this file:

1. The class says whose fault it was; an adapter needs nothing but `http_status` to answer.
2. `code` is stable over releases, messages are not.
3. Text that came from a token, an issuer or a store goes through `quoted()` before it enters a message.
4. No error holds a token, a signature or a claims mapping.

```
KeyturnError
├── ConfigurationError               500   raised at construction, never at the first request
├── KeysUnavailableError             503   we cannot know: the token is not at fault
│   └── FetchError  DiscoveryError  InvalidKeySetError
├── InsufficientScopeError           403
├── MissingTokenError                401   about the request: it has no token
├── InvalidRequestError              400   about the request: not exactly one token
└── InvalidTokenError                401   the token is at fault
    ├── MalformedTokenError  DisallowedAlgorithmError  InvalidSignatureError
    ├── UnknownKeyError  RevokedKeyError
    └── ClaimError(claim, expected, actual)
        └── ExpiredTokenError  NotYetValidError  InvalidIssuerError  InvalidAudienceError (GraphTokenError)
            MissingClaimError  TokenTypeError
```
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

LONGEST_QUOTE = 80
"""Characters of foreign text that a message shows: enough for a kid or an issuer, too few for a token."""

_LONGEST_INTEGER = 256
_LISTED = 4


def quoted(value: object) -> str:
    """Return *value* as text that is safe in a message, a log line and a terminal: escaped, at most 80 characters in all."""
    if isinstance(value, str):
        # Cut first as well: escaping a megabyte to show eighty characters of it would be work for an attacker's sake.
        return f'"{_cut(_escaped(value[:LONGEST_QUOTE]), LONGEST_QUOTE - 2)}"'
    if isinstance(value, (list, tuple)):
        shown = ", ".join(quoted(item) for item in value[:_LISTED])
        return _cut(f"[{shown}{', …' if len(value) > _LISTED else ''}]")
    return _plain(value)


def _plain(value: object) -> str:
    """Return a number as JSON writes it, and of anything else its kind alone."""
    if value is None:
        return "null"
    if isinstance(value, (bool, float)):
        return repr(value).lower()
    if isinstance(value, int):
        # Decimal text of a huge integer takes quadratic time, and Python refuses it beyond 4,300 digits.
        return repr(value) if value.bit_length() <= _LONGEST_INTEGER else f"an integer of {value.bit_length()} bits"
    return "an object" if isinstance(value, dict) else _cut(_escaped(type(value).__name__))


def _escaped(text: str) -> str:
    if text.isprintable() and '"' not in text and "\\" not in text:
        # Nearly always: every refusal shows such texts, and whoever sends junk pays less for a token than we would for each character.
        return text
    return "".join(c if c.isprintable() and c not in '"\\' else f"\\{c}" if c in '"\\' else c.encode("unicode_escape").decode() for c in text)


def _cut(text: str, longest: int = LONGEST_QUOTE) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def whole_seconds(seconds: float) -> int:
    """Round *seconds* up to a whole number of at least 1, as `Retry-After` wants it (RFC 9110, section 10.2.3)."""
    return max(1, math.ceil(seconds))


class KeyturnError(Exception):
    """Base of every error that a public method raises on bad input.

    Attributes:
        code: Stable name of the kind of error, for logs, metrics and tests.
        http_status: Status that a web service answers with.
        hint: A sentence for the person who can act, or an empty string.
        retry_after: Whole seconds after which the same request may succeed, or None.
    """

    code: ClassVar[str] = "keyturn"
    http_status: ClassVar[int] = 500
    hint: str = ""

    def __init__(self, message: str, *, hint: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint
        self.retry_after = None if retry_after is None else whole_seconds(retry_after)

    @property
    def message(self) -> str:
        """What was expected, what came and which setting to change."""
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        # Subclasses take keywords, which pickling an exception does not know; worker processes send errors home.
        return _restore, (type(self), self.args, self.__dict__.copy())


def _restore(kind: type[KeyturnError], args: tuple[Any, ...], state: dict[str, Any]) -> KeyturnError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigurationError(KeyturnError):
    """A setting is wrong. Raised at construction, so that no request ever meets it."""

    code = "configuration"


class KeysUnavailableError(KeyturnError):
    """We cannot know whether the token is good: no keys yet, keys too old, or the look-up failed."""

    code = "keys_unavailable"
    http_status = 503
    hint = "The issuer's keys could not be read; the token is not at fault and may be sent again."


class FetchError(KeysUnavailableError):
    """A document could not be fetched within the limits (R16)."""

    code = "fetch_failed"


class DiscoveryError(KeysUnavailableError):
    """The discovery document is unreadable, of another issuer, or leads to a place that is not allowed."""

    code = "discovery_failed"


class InvalidKeySetError(KeysUnavailableError):
    """The answer is not a key set, or holds no usable key (RFC 7517, section 5)."""

    code = "invalid_key_set"


class InsufficientScopeError(KeyturnError):
    """The token is good, but lacks a scope or a role (RFC 6750, section 3.1).

    Attributes:
        required: The scopes that the resource asks for.
    """

    code = "insufficient_scope"
    http_status = 403

    def __init__(self, message: str, *, required: tuple[str, ...] = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.required = required


class MissingTokenError(KeyturnError):
    """The request has no token, or credentials of another scheme (RFC 6750, section 3)."""

    code = "missing_token"
    http_status = 401


class InvalidRequestError(KeyturnError):
    """The request does not carry exactly one token in exactly one way (RFC 6750, sections 2 and 3.1)."""

    code = "invalid_request"
    http_status = 400


class InvalidTokenError(KeyturnError):
    """The token is at fault."""

    code = "invalid_token"
    http_status = 401


class MalformedTokenError(InvalidTokenError):
    """The text is not a compact JWS of a JWT, read strictly (RFC 7515, section 5.2; RFC 7519, section 7.2)."""

    code = "malformed_token"


class DisallowedAlgorithmError(InvalidTokenError):
    """The header's ``alg`` is not one of the allowed algorithms (RFC 8725, section 3.1)."""

    code = "disallowed_algorithm"


class InvalidSignatureError(InvalidTokenError):
    """No key that fits the token verifies its signature."""

    code = "invalid_signature"


class UnknownKeyError(InvalidTokenError):
    """The issuer publishes no key that fits the token."""

    code = "unknown_key"


class RevokedKeyError(InvalidTokenError):
    """The token was signed with a key that was revoked here (R11)."""

    code = "revoked_key"
    hint = "An operator revoked this key; `reinstate()` takes it back."


class ClaimError(InvalidTokenError):
    """A claim is not what it must be.

    Attributes:
        claim: Name of the claim, or of the header parameter.
        expected: What was asked for, as text.
        actual: What came, as escaped text of at most 80 characters; never an object out of the token.
    """

    code = "invalid_claim"

    def __init__(self, message: str, *, claim: str, expected: str, actual: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.claim = claim
        self.expected = expected
        self.actual = actual


class ExpiredTokenError(ClaimError):
    """The ``exp`` of the token has passed, leeway included (RFC 7519, section 4.1.4)."""

    code = "expired_token"
    hint = "The client must fetch a new token. Seen on fresh tokens: compare the clocks of both machines."


class NotYetValidError(ClaimError):
    """The ``nbf`` or ``iat`` of the token lies in the future, beyond the leeway (RFC 7519, section 4.1.5)."""

    code = "not_yet_valid"
    hint = "Compare the clocks of both machines."


class InvalidIssuerError(ClaimError):
    """The ``iss`` of the token is not the issuer that is expected here (RFC 8725, section 3.8)."""

    code = "invalid_issuer"


class InvalidAudienceError(ClaimError):
    """The ``aud`` of the token names somebody else (RFC 7519, section 4.1.3)."""

    code = "invalid_audience"


class GraphTokenError(InvalidAudienceError):
    """The token was issued for Microsoft Graph: nobody but Graph can or may validate it."""

    code = "graph_token"


class MissingClaimError(ClaimError):
    """A required claim is absent."""

    code = "missing_claim"


class TokenTypeError(ClaimError):
    """The token is of another kind: an ID token for an API, an access token for a login (RFC 8725, section 3.11)."""

    code = "wrong_token_type"
