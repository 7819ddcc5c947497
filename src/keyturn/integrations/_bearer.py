"""The shared answer of all adapters: header to token, error to answer (RFC 6750, section 3; RFC 9110, section 11; RFC 9728).

Rules of this file:

1. It is pure: text in, text out. Adapters translate between it and their framework, and decide nothing.
2. Whatever stands in a header was checked at construction, so that nothing is escaped at run time and no header can be split.
3. An answer never repeats text of the token: its description is a fixed sentence for each kind of error.
4. Nobody can know is 503, never 401: a client that gets a 401 throws a good token away and runs to the issuer that is down.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, urlsplit

from keyturn.errors import (
    ConfigurationError,
    InsufficientScopeError,
    InvalidRequestError,
    InvalidTokenError,
    KeysUnavailableError,
    KeyturnError,
    MissingTokenError,
    quoted,
)
from keyturn.validated_token import ValidatedToken

RETRY_AFTER: Final = 5
"""Seconds after which to ask again where the error names none: one refresh of a slow issuer (R16)."""

_SCOPE_NAME = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
_QUOTABLE = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]*")
# Some servers join repeated fields with commas, so that the second token hides behind the first credentials.
_JOINED = re.compile(r",[ \t]*bearer(?:[ \t]|$)", re.IGNORECASE)

_DESCRIPTIONS: Mapping[str, str] = {
    "invalid_request": "The request must carry exactly one access token, as one word after Bearer in one Authorization header",
    "insufficient_scope": "The access token lacks a scope or a role that is needed here",
    "expired_token": "The access token expired",
    "not_yet_valid": "The access token is not valid yet",
    "malformed_token": "The access token is malformed",
    "disallowed_algorithm": "The access token is signed with an algorithm that is not accepted here",
    "invalid_signature": "The signature of the access token does not verify",
    "unknown_key": "The access token is signed with a key that its issuer does not publish",
    "revoked_key": "The access token is signed with a revoked key",
    "invalid_issuer": "The access token was issued by somebody else",
    "invalid_audience": "The access token was issued for somebody else",
    "graph_token": "The access token was issued for Microsoft Graph",
    "missing_claim": "The access token lacks a claim that is needed here",
    "wrong_token_type": "The token is not an access token",
    "invalid_token": "The access token is not accepted here",
    "keys_unavailable": "The token cannot be judged at the moment",
    "server_error": "The server is not set up to judge tokens",
}
"""What clients are told; details are for the log. Without quote or backslash, at most 120 characters (RFC 6750, section 3)."""


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Names of which one is enough. Made by `any_of()`.

    Attributes:
        names: The names; the first is what a challenge tells clients to ask for.

    Raises:
        ConfigurationError: No name, or one that is none.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check the names, since they end up in a header."""
        if not self.names:
            raise ConfigurationError("any_of() was given no name, expected at least one")
        object.__setattr__(self, "names", _checked(self.names, "any_of"))


def any_of(*names: str) -> AnyOf:
    """Return a rule that one of *names* satisfies; the first is what a challenge tells clients to ask for.

    Raises:
        ConfigurationError: No name, or one that is none.
    """
    return AnyOf(names)


Names = str | Collection[str] | AnyOf
"""What is needed: names joined by blanks or in a collection, all of them; or `any_of(...)`."""


class Needs:
    """What a place asks of a token: scopes and roles, each all of several names or any of them.

    Args:
        scopes: Names joined by blanks, or a collection: all of them are needed. `any_of(...)`: one of them.
        roles: The same for roles.

    Raises:
        ConfigurationError: A name is empty, or holds what a challenge cannot (RFC 6749, section 3.3).
    """

    __slots__ = ("roles", "scopes")

    def __init__(self, scopes: Names = (), roles: Names = ()) -> None:
        self.scopes = _rule(scopes, "scopes")
        self.roles = _rule(roles, "roles")

    def __repr__(self) -> str:
        return f"Needs(scopes={self.scopes!r}, roles={self.roles!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Needs) or isinstance(other, Every):
            return NotImplemented
        return (self.scopes, self.roles) == (other.scopes, other.roles)

    def __hash__(self) -> int:
        return hash((self.scopes, self.roles))

    def check(self, token: ValidatedToken) -> None:
        """Return if *token* grants what is needed.

        Raises:
            InsufficientScopeError: It does not (403).
        """
        for rule, kind, held in ((self.scopes, "scope", token.scopes), (self.roles, "role", token.roles)):
            if not _met(rule, held):
                raise InsufficientScopeError(f"the token lacks a {kind}, expected {_told(rule)}", required=self.challenge)

    @property
    def challenge(self) -> tuple[str, ...]:
        """The scopes that a client is told to ask for."""
        return self.scopes.names[:1] if isinstance(self.scopes, AnyOf) else self.scopes


class Every(Needs):
    """What several places need together; `scopes` and `roles` of it are only what a challenge tells."""

    __slots__ = ("parts",)

    def __init__(self, *parts: Needs) -> None:
        super().__init__(tuple(dict.fromkeys(name for part in parts for name in part.challenge)))
        self.parts = parts

    def __repr__(self) -> str:
        return f"Every({', '.join(map(repr, self.parts))})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Every) and self.parts == other.parts

    def __hash__(self) -> int:
        return hash(self.parts)

    def check(self, token: ValidatedToken) -> None:
        """Return if *token* grants what each part needs.

        Raises:
            InsufficientScopeError: It does not (403).
        """
        for part in self.parts:
            part.check(token)


class Answer(NamedTuple):
    """What goes back to the client instead of the resource.

    Attributes:
        status: HTTP status.
        headers: Header fields, `Cache-Control: no-store` among them.
        body: To be sent as JSON; of a refusal `error` and `error_description`.
    """

    status: int
    headers: Mapping[str, str]
    body: Mapping[str, Any]


class Challenge:
    """What an answer says about this service, checked once.

    Args:
        realm: The part of the service that the token is for, for people (RFC 9110, section 11.5).
        resource_metadata: Absolute URL of the RFC 9728 document.

    Raises:
        ConfigurationError: One of them does not fit into a header.
    """

    def __init__(self, realm: str | None = None, resource_metadata: str | None = None) -> None:
        given = {"realm": realm, "resource_metadata": resource_metadata}
        for name, value in given.items():
            if value is not None and not (isinstance(value, str) and _QUOTABLE.fullmatch(value)):
                raise ConfigurationError(f"{name} is {quoted(value)}, expected printable ASCII without quote and backslash (setting: {name})")
        self._given = {name: value for name, value in given.items() if value is not None}

    def answer(self, error: KeyturnError, scopes: tuple[str, ...] = ()) -> Answer:
        """Return what *error* is answered with, by the table of RFC 6750, section 3.1.

        Args:
            error: Why the resource is not given.
            scopes: The scopes that a client is told to ask for, already checked.
        """
        code, told = _code(error), _told_of(error)
        headers = {"Cache-Control": "no-store"}
        retry_after = error.retry_after or (RETRY_AFTER if error.http_status == KeysUnavailableError.http_status else None)
        if retry_after is not None:
            headers["Retry-After"] = str(retry_after)
        if error.http_status < KeyturnError.http_status:
            # A handler's own error may need more than its place does.
            headers["WWW-Authenticate"] = self._challenge(code, told, tuple(dict.fromkeys((*scopes, *_scopes(error)))))
        return Answer(error.http_status, headers, {"error": code or "missing_token", "error_description": told})

    def _challenge(self, code: str | None, told: str, scopes: tuple[str, ...]) -> str:
        # Without credentials there is no error to tell (RFC 6750, section 3).
        parameters = {
            "realm": self._given.get("realm"),
            "scope": " ".join(scopes) or None,
            "error": code,
            "error_description": told if code else None,
            "resource_metadata": self._given.get("resource_metadata"),
        }
        listed = ", ".join(f'{name}="{value}"' for name, value in parameters.items() if value is not None)
        return f"Bearer {listed}".rstrip()


def token_of(values: Iterable[str | bytes], query: str | bytes = "") -> str:
    """Return the token of a request.

    Args:
        values: Every value of the `Authorization` header field, one for each time it was sent.
        query: The query string of the URL. A token in it is never read (RFC 9700, section 4.3.2); beside another it is a fault.

    Raises:
        MissingTokenError: No credentials, or of another scheme (401, without an error code).
        InvalidRequestError: Not exactly one token, sent in one way (400).
    """
    several = [value.decode("latin-1") if isinstance(value, bytes) else value for value in values]
    if not several:
        raise MissingTokenError("the request has no Authorization header")
    if len(several) > 1:
        raise InvalidRequestError(f"the request has {len(several)} Authorization headers, expected one")
    if _JOINED.search(several[0]):
        raise InvalidRequestError("the Authorization header holds several credentials joined by a comma, expected one")
    scheme, _, word = several[0].strip(" \t").partition(" ")
    if scheme.lower() != "bearer":
        raise MissingTokenError("the request authorizes by another scheme, expected Bearer")
    token = word.strip(" ")
    if not token or " " in token or "\t" in token:
        raise InvalidRequestError("the Authorization header holds no token, or more than one word after Bearer")
    if _has_token(query):
        raise InvalidRequestError("the request has a token in its header and another in its URL, expected one")
    return token


def metadata_location(resource: str) -> str:
    """Return where the RFC 9728 document of *resource* is: between its host and its path (RFC 9728, section 3.1).

    Raises:
        ConfigurationError: *resource* is no absolute http(s) URL, or has a fragment (RFC 9728, section 1.2).
    """
    parts = _url(resource)
    if parts is None:
        raise ConfigurationError(f'resource is {quoted(resource)}, expected a URL such as "https://api.example.com" (setting: resource)')
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}/.well-known/oauth-protected-resource{parts.path.rstrip('/')}{query}"


def metadata_document(resource: str, issuers: Iterable[str], scopes: Iterable[str]) -> dict[str, Any]:
    """Return the protected resource metadata (RFC 9728, section 2).

    Args:
        resource: The URL by which clients know the service.
        issuers: Every issuer whose tokens are accepted.
        scopes: The scopes that the service knows; none are listed if it is empty.
    """
    document = {
        "resource": resource,
        "authorization_servers": sorted(set(issuers)),
        "bearer_methods_supported": ["header"],
        "scopes_supported": sorted(set(scopes)),
    }
    return {name: value for name, value in document.items() if value}


def _code(error: KeyturnError) -> str | None:
    if isinstance(error, MissingTokenError):
        return None
    if isinstance(error, InvalidTokenError):
        return InvalidTokenError.code
    if isinstance(error, KeysUnavailableError):
        return "temporarily_unavailable"
    return error.code if isinstance(error, (InvalidRequestError, InsufficientScopeError)) else "server_error"


def _told_of(error: KeyturnError) -> str:
    if isinstance(error, MissingTokenError):
        return "An access token is needed here"
    if isinstance(error, KeysUnavailableError):
        return _DESCRIPTIONS["keys_unavailable"]
    fallback = "invalid_token" if isinstance(error, InvalidTokenError) else "server_error"
    return _DESCRIPTIONS.get(error.code, _DESCRIPTIONS[fallback])


def _scopes(error: KeyturnError) -> tuple[str, ...]:
    # A handler's own error may hold any text, which would otherwise meet the header unchecked.
    required = error.required if isinstance(error, InsufficientScopeError) else ()
    return tuple(name for name in required if _SCOPE_NAME.fullmatch(name))


def _has_token(query: str | bytes) -> bool:
    text = query.decode("latin-1") if isinstance(query, bytes) else query
    return "access_token" in text and any(name == "access_token" for name, _ in parse_qsl(text, keep_blank_values=True))


def _url(text: object) -> SplitResult | None:
    """Return the parts of an absolute http(s) URL without a fragment that fits into a header, or None."""
    if not isinstance(text, str) or not _QUOTABLE.fullmatch(text) or " " in text or "#" in text:
        return None
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    return parts if parts.scheme in {"https", "http"} and parts.hostname else None


def _rule(names: Names, setting: str) -> tuple[str, ...] | AnyOf:
    return names if isinstance(names, AnyOf) else _checked(names.split() if isinstance(names, str) else names, setting)


def _checked(names: Collection[str], setting: str) -> tuple[str, ...]:
    if not isinstance(names, Iterable) or isinstance(names, (bytes, Mapping)):
        raise ConfigurationError(f"{setting} is {quoted(names)}, expected names joined by blanks, or a list of them (setting: {setting})")
    # Read once: whatever gives its names a single time would pass the check and need nothing.
    names = tuple(names)
    for name in names:
        if not isinstance(name, str) or not _SCOPE_NAME.fullmatch(name):
            expected = "printable ASCII without blank, quote and backslash"
            raise ConfigurationError(f"{setting} holds {quoted(name)}, expected {expected} (RFC 6749, section 3.3; setting: {setting})")
    return tuple(dict.fromkeys(names))


def _met(rule: tuple[str, ...] | AnyOf, held: frozenset[str]) -> bool:
    return not held.isdisjoint(rule.names) if isinstance(rule, AnyOf) else held.issuperset(rule)


def _told(rule: tuple[str, ...] | AnyOf) -> str:
    return "one of " + ", ".join(rule.names) if isinstance(rule, AnyOf) else " and ".join(rule)


NOTHING: Final = Needs()
"""A good token is enough."""
