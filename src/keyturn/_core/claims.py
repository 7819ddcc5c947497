"""The claims of a token, one small function each (RFC 7519, section 4.1; RFC 9068; OpenID Connect Core, section 3.1.3.7).

Rules of this file:

1. Types first: a number in a string, a boolean as a number, a list where a string belongs refuse the token.
2. Texts are compared code point by code point; there is no prefix, no pattern and no normal form (RFC 8725, section 3.8).
3. A period is over at its last instant. `now` and the leeway are handed in, in seconds.
4. An error holds the escaped text of the one value that it is about, and nothing else of the token.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from keyturn.errors import (
    ClaimError,
    ExpiredTokenError,
    InvalidAudienceError,
    InvalidIssuerError,
    MissingClaimError,
    NotYetValidError,
    TokenTypeError,
    quoted,
)

Claims = Mapping[str, Any]
Check = Callable[[Claims], None]
"""A check that depends on nothing but the claims."""

_FOREIGN_TO_ACCESS = ("at_hash", "c_hash", "events", "s_hash")
_AT_JWT_REQUIRED = ("sub", "client_id", "iat", "jti")
_ID_REQUIRED = ("sub", "iat")
_SHOWN = 5


def check_issuer(claims: Claims, issuers: Collection[str]) -> None:
    """Judge `iss`: exactly one of the configured names of the issuer whose keys are used (RFC 7519, section 4.1.1)."""
    issuer = claims.get("iss")
    if isinstance(issuer, str) and issuer in issuers:
        return
    _required(claims, "iss")
    raise InvalidIssuerError(
        f"issuer is {quoted(issuer)}, expected {_one_of(issuers)} (setting: issuer)",
        claim="iss",
        expected=_one_of(issuers),
        actual=quoted(issuer),
        hint=_slash_hint(issuer, issuers),
    )


def check_audience(claims: Claims, audiences: Collection[str]) -> None:
    """Judge `aud`: a string or a list of strings, one of them exactly ours (RFC 7519, section 4.1.3)."""
    audience = claims.get("aud")
    if isinstance(audience, str):
        if audience in audiences:
            return
    elif isinstance(audience, list) and all(isinstance(entry, str) for entry in audience) and any(entry in audiences for entry in audience):
        return
    _required(claims, "aud")
    raise InvalidAudienceError(
        f"audience is {quoted(audience)}, expected {_one_of(audiences)} (setting: audience)",
        claim="aud",
        expected=_one_of(audiences),
        actual=quoted(audience),
    )


def check_expiry(claims: Claims, now: float, leeway: float) -> None:
    """Judge `exp`: accepted while `now < exp + leeway` (RFC 7519, section 4.1.4)."""
    expiry = claims.get("exp")
    if type(expiry) is not int:
        expiry = _instant(claims, "exp", _required(claims, "exp"))
    if now >= expiry + leeway:
        raise ExpiredTokenError(
            f"token expired {now - expiry:.0f} s ago; leeway is {leeway:.0f} s (setting: leeway)",
            claim="exp",
            expected=f"> {now - leeway:.0f}",
            actual=quoted(expiry),
        )


def check_start(claims: Claims, now: float, leeway: float) -> None:
    """Judge `nbf` and `iat`: neither may lie further ahead than the leeway (RFC 7519, sections 4.1.5 and 4.1.6)."""
    for claim in ("nbf", "iat"):
        if claim not in claims:
            continue
        start = claims[claim]
        if type(start) is not int:
            start = _instant(claims, claim, start)
        if now < start - leeway:
            raise NotYetValidError(
                f"{claim} lies {start - now:.0f} s ahead; leeway is {leeway:.0f} s (setting: leeway)",
                claim=claim,
                expected=f"<= {now + leeway:.0f}",
                actual=quoted(start),
            )


def check_shapes(claims: Claims) -> None:
    """Judge the claims that `ValidatedToken` reads, so that reading them later cannot fail (RFC 7519, sections 4.1.2 and 4.1.7)."""
    for claim in ("sub", "jti", "client_id"):
        if claim in claims:
            _text(claims, claim)
    for claim in ("scope", "scp", "roles"):
        if claim in claims:
            value = claims[claim]
            if value is None or isinstance(value, str) or (isinstance(value, list) and all(isinstance(name, str) for name in value)):
                continue
            raise _wrong_type(claims, claim, "a string or a list of strings")


def check_required(claims: Claims, required: Collection[str]) -> None:
    """Judge presence: every name of *required* is there and not null."""
    for claim in required:
        if claims.get(claim) is None:
            raise _missing(claim)


def check_binding(claims: Claims) -> None:
    """Refuse a token that is bound to a key or a certificate (`cnf`): a bearer check would ignore the binding.

    Whoever checks it says so by naming `cnf` in `required_claims` (RFC 8705, section 3; RFC 9449, section 6).
    """
    if "cnf" in claims:
        raise ClaimError(
            'the token is bound to its sender (claim "cnf"), and nobody here checks the binding (setting: required_claims)',
            claim="cnf",
            expected="no cnf",
            actual="present",
            hint='If your service checks the binding, name "cnf" in required_claims.',
        )


def check_access(claims: Claims) -> None:
    """Refuse what exists only in ID, logout and event tokens. `nonce`, `azp`, `auth_time` and `sid` decide nothing."""
    for claim in _FOREIGN_TO_ACCESS:
        if claim in claims:
            raise foreign(claim, "access", "An ID token or a logout token was sent to an API.")


def check_at_jwt(claims: Claims) -> None:
    """Judge what an RFC 9068 access token must hold (RFC 9068, section 2.2)."""
    check_access(claims)
    for claim in _AT_JWT_REQUIRED:
        _required(claims, claim)


def check_id(claims: Claims, audiences: Collection[str]) -> None:
    """Judge an ID token: no audience but ours, and `azp` is ours (OpenID Connect Core, sections 2 and 3.1.3.7)."""
    for claim in _ID_REQUIRED:
        _required(claims, claim)
    if "events" in claims:
        raise foreign("events", "ID")
    for claim in ("at_hash", "c_hash"):
        if claim in claims:
            _text(claims, claim)
    named = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    if not all(audience in audiences for audience in named):
        raise InvalidAudienceError(
            f"audience is {quoted(claims['aud'])}, expected nobody but {_one_of(audiences)} (setting: audience)",
            claim="aud",
            expected=_one_of(audiences),
            actual=quoted(claims["aud"]),
            hint="An ID token for several clients is taken only if each of them is listed.",
        )
    if len(named) > 1 or "azp" in claims:
        party = _required(claims, "azp")
        if not isinstance(party, str) or party not in audiences:
            raise ClaimError(
                f"azp is {quoted(party)}, expected {_one_of(audiences)} (setting: audience)",
                claim="azp",
                expected=_one_of(audiences),
                actual=quoted(party),
            )


def check_nonce(claims: Claims, nonce: str) -> None:
    """Judge `nonce` against what the login sent (OpenID Connect Core, section 3.1.3.7)."""
    if _required(claims, "nonce") != nonce:
        raise ClaimError("nonce is not the one that was sent", claim="nonce", expected="the nonce of this login", actual=quoted(claims["nonce"]))


def foreign(claim: str, kind: str, hint: str | None = None) -> TokenTypeError:
    """Return the error for a claim that tokens of this kind do not have."""
    return TokenTypeError(
        f"the token has the claim {claim}, which {kind} tokens do not have (setting: token_type)",
        claim=claim,
        expected="absent",
        actual="present",
        hint=hint,
    )


def names_of(value: object) -> frozenset[str]:
    """Return scopes or roles: a string is divided at spaces (RFC 6749, section 3.3), a list is taken name by name."""
    names = value.split(" ") if isinstance(value, str) else value if isinstance(value, list) else ()
    return frozenset(name for name in names if name)


def _required(claims: Claims, claim: str) -> Any:
    value = claims.get(claim)
    if value is None:
        raise _missing(claim)
    return value


def _missing(claim: str) -> MissingClaimError:
    return MissingClaimError(f"the claim {claim} is missing", claim=claim, expected="present", actual="absent")


def _instant(claims: Claims, claim: str, value: object) -> float:
    # A boolean is an int to Python, and 1e400 reads as infinity: neither is an instant.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise _wrong_type(claims, claim, "a number of seconds")
    return value


def _text(claims: Claims, claim: str) -> str:
    value = claims[claim]
    if not isinstance(value, str) or not value:
        raise _wrong_type(claims, claim, "a string that is not empty")
    return value


def _wrong_type(claims: Claims, claim: str, expected: str) -> ClaimError:
    actual = quoted(claims.get(claim))
    return ClaimError(f"{claim} is {actual}, expected {expected}", claim=claim, expected=expected, actual=actual)


def _one_of(names: Collection[str]) -> str:
    shown = [quoted(name) for name in sorted(names)[:_SHOWN]]
    return " or ".join(shown) + (f" or {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _slash_hint(issuer: object, issuers: Collection[str]) -> str | None:
    if isinstance(issuer, str) and any(issuer.rstrip("/") == name.rstrip("/") for name in issuers):
        return "The two differ by a final slash alone. Issuers are compared character by character: set `issuer` to what the tokens say."
    return None
