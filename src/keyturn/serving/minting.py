"""Tokens on demand for tests: any claims, any header, any key, or one of the kit's bad tokens.

Rules of this file:

1. A good token is what `FakeIssuer.token()` makes of the members.
2. A bad token comes from the kit's catalogue, with the error that a validator of keyturn answers it with. Those that need a strange
   entry in the key set publish it.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

from keyturn._core.base64url import decode
from keyturn.errors import quoted
from keyturn.serving.issuer import ServedIssuer
from keyturn.serving.members import LARGEST_NUMBER, LONGEST_KID, Members, bad
from keyturn.testing.attacks.catalogue import BAD_TOKENS
from keyturn.testing.issuer import FakeIssuer

# A claim that is called as a parameter of the kit is would be taken for that parameter.
_TAKEN = tuple(name for name, parameter in inspect.signature(FakeIssuer.token).parameters.items() if parameter.kind is not parameter.VAR_KEYWORD)


def mint(issuer: ServedIssuer, values: Mapping[str, Any], *, lifetime: float) -> dict[str, Any]:
    """Return a token as the body of a request describes it.

    Args:
        issuer: Whose token it is.
        values: The members of the body.
        lifetime: Seconds from `iat` to `exp` unless the body says otherwise.

    Returns:
        `token`; of a good one also `header` and `claims`, of a bad one `bad`, `error` and `why`.

    Raises:
        RefusedError: The body says something wrong.
        ValueError: The issuer has no such key.
    """
    members = Members(values)
    name = members.one_of("bad", BAD_TOKENS)
    if name is not None:
        members.finish()
        return _bad(issuer, name)
    token = _good(issuer, members, lifetime)
    header, claims, _ = token.split(".")
    return {"token": token, "header": _part(header), "claims": _part(claims)}


def _good(issuer: ServedIssuer, members: Members, lifetime: float) -> str:
    wanted: dict[str, Any] = {
        "subject": members.text("subject") or "alice",
        "audience": members.texts("audience"),
        "scopes": members.texts("scopes"),
        "roles": _roles(members),
        "key": members.text("key", longest=LONGEST_KID),
        "headers": members.object("headers"),
    }
    seconds = members.number("lifetime", low=-LARGEST_NUMBER)
    claims = members.object("claims")
    members.finish()
    for name in _TAKEN:
        if name in claims:
            raise bad(f"claims has {quoted(name)}, which is no name for a claim here, expected another one")
    return issuer.token(lifetime=lifetime if seconds is None else seconds, **wanted, **claims)


def _roles(members: Members) -> list[str] | None:
    roles = members.texts("roles")
    return [roles] if isinstance(roles, str) else roles


def _bad(issuer: ServedIssuer, name: str) -> dict[str, Any]:
    for publish in (False, True):
        for case in issuer.bad_tokens(publish=publish):
            if case.name == name:
                return {"token": case.token, "bad": name, "error": case.error.code, "why": case.why}
    raise AssertionError(f"the catalogue names {name} and does not make it")


def _part(segment: str) -> Any:
    return json.loads(decode(segment.encode()))
