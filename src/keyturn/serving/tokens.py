"""The token endpoint: the client-credentials grant (RFC 6749, section 4.4), with an audience (RFC 8707).

Rules of this file:

1. Unless one client was configured, every client is accepted, with whatever secret or with none.
2. A client names itself in `Authorization` or in the body, never in both (RFC 6749, section 2.3).
3. A parameter without a value is none; one that is repeated is an error, `resource` and `audience` apart (RFC 6749, section 3.2;
   RFC 8707, section 2).
4. An answer with a token or an error is kept by no cache (RFC 6749, section 5.1).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlsplit

from keyturn.errors import quoted
from keyturn.serving.exchange import RefusedError, Request
from keyturn.serving.issuer import GRANT, ServedIssuer

FORM = "application/x-www-form-urlencoded"

ANYBODY = "test-client"
"""Name of a client that gives none."""

_MOST_PARAMETERS = 100
_LONGEST = 2048
_REPEATABLE = {"resource", "audience"}
# A scope is made of names with one blank between them (RFC 6749, section 3.3).
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*")


@dataclass(frozen=True, slots=True)
class Client:
    """The one client that may ask for tokens.

    Attributes:
        id: Its name.
        secret: Its password.
    """

    id: str
    secret: str


def grant(request: Request, issuer: ServedIssuer, *, client: Client | None, lifetime: int) -> dict[str, Any]:
    """Return the body of a successful answer (RFC 6749, section 5.1).

    Args:
        request: What was asked of the token endpoint.
        issuer: Who signs.
        client: The only client that is accepted; None accepts all (1).
        lifetime: Seconds for which the token is good.

    Raises:
        RefusedError: As RFC 6749, section 5.2, and RFC 8707, section 2, name it.
    """
    form = _form(request)
    name = _client(request, form, client)
    grant_type = _one(form, "grant_type")
    if grant_type is None:
        raise _refused("invalid_request", f"grant_type is missing, expected {GRANT}")
    if grant_type != GRANT:
        raise _refused("unsupported_grant_type", f"grant_type is {quoted(grant_type)}, expected {GRANT}")
    scope = _scope(_one(form, "scope"))
    token = issuer.token(subject=name, client_id=name, audience=_audience(form), scopes=scope, lifetime=lifetime, jti=secrets.token_urlsafe(12))
    answer = {"access_token": token, "token_type": "Bearer", "expires_in": lifetime}
    return answer if scope is None else {**answer, "scope": scope}


def _form(request: Request) -> dict[str, list[str]]:
    if request.method != "POST":
        raise RefusedError(405, "invalid_request", f"method is {quoted(request.method)}, expected POST", {"allow": "POST, OPTIONS"})
    if request.media_type != FORM:
        raise _refused("invalid_request", f"Content-Type is {quoted(request.headers.get('content-type', ''))}, expected {FORM}")
    if request.query:
        raise _refused("invalid_request", "the URL has a query, expected every parameter in the body")
    try:
        pairs = parse_qsl(request.body.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_PARAMETERS, errors="strict")
    except ValueError:
        raise _refused("invalid_request", f"body cannot be read, expected at most {_MOST_PARAMETERS} parameters as {FORM} in UTF-8") from None
    form: dict[str, list[str]] = {}
    for parameter, value in pairs:
        if len(value) > _LONGEST:
            raise _refused("invalid_request", f"{quoted(parameter)} has {len(value)} characters, expected at most {_LONGEST}")
        if value:
            form.setdefault(parameter, []).append(value)
    for parameter, values in form.items():
        if len(values) > 1 and parameter not in _REPEATABLE:
            raise _refused("invalid_request", f"{quoted(parameter)} is repeated, expected it once")
    return form


def _client(request: Request, form: Mapping[str, list[str]], wanted: Client | None) -> str:
    name, secret = _one(form, "client_id"), _one(form, "client_secret")
    field = request.headers.get("authorization")
    if field is not None:
        if secret is not None:
            raise _refused("invalid_request", "the client names itself in Authorization and in the body, expected one of them")
        basic_name, secret = _basic(field)
        if name not in {None, basic_name}:
            raise _refused("invalid_request", "client_id differs from Authorization, expected the same name or none")
        name = basic_name
    if wanted is None:
        return name or ANYBODY
    # Both are compared, so that the time tells nothing of which was wrong.
    right = [hmac.compare_digest((given or "").encode(), expected.encode()) for given, expected in ((name, wanted.id), (secret, wanted.secret))]
    if not all(right):
        raise _no_client("the client is unknown or its secret is wrong, expected those of --client-id and --client-secret")
    return wanted.id


def _basic(field: str) -> tuple[str, str]:
    """Return name and secret of an Authorization field (RFC 6749, section 2.3.1; RFC 7617)."""
    scheme, _, credentials = field.partition(" ")
    if scheme.lower() != "basic":
        raise _no_client(f"Authorization has the scheme {quoted(scheme)}, expected Basic")
    try:
        name, colon, secret = base64.b64decode(credentials.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise _no_client("Authorization cannot be read, expected Basic with base64 of name and secret") from None
    if not colon:
        raise _no_client("Authorization has no colon between name and secret")
    return unquote_plus(name), unquote_plus(secret)


def _scope(scope: str | None) -> str | None:
    if scope is not None and not _SCOPE.fullmatch(scope):
        raise _refused("invalid_scope", f"scope is {quoted(scope)}, expected names with one blank between them")
    return scope


def _audience(form: Mapping[str, list[str]]) -> str | list[str] | None:
    resources = form.get("resource", [])
    for resource in resources:
        if not _is_resource(resource):
            raise _refused("invalid_target", f"resource is {quoted(resource)}, expected an absolute URI without a fragment")
    several = list(dict.fromkeys([*form.get("audience", []), *resources]))
    return several if len(several) > 1 else several[0] if several else None


def _is_resource(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return bool(parts.scheme) and bool(parts.netloc or parts.path) and "#" not in text


def _one(form: Mapping[str, list[str]], parameter: str) -> str | None:
    return form.get(parameter, [None])[0]


def _refused(code: str, message: str) -> RefusedError:
    return RefusedError(400, code, message, {"pragma": "no-cache"})


def _no_client(message: str) -> RefusedError:
    return RefusedError(401, "invalid_client", message, {"pragma": "no-cache", "www-authenticate": 'Basic realm="keyturn serve", charset="UTF-8"'})
