"""Bad tokens with a good signature and bad claims, and tokens of another kind."""

from __future__ import annotations

from typing import Any, Final

from keyturn.errors import (
    ClaimError,
    ExpiredTokenError,
    InvalidAudienceError,
    InvalidIssuerError,
    MalformedTokenError,
    MissingClaimError,
    NotYetValidError,
    TokenTypeError,
)
from keyturn.testing.attacks.bad_token import OTHER_ISSUER, Case, Make, Material, case, choice

_HOUR: Final = 3600


def _claims(**claims: Any) -> Make:
    return lambda good: good.with_claims(**claims)


def _issuer(change: str) -> Make:
    """Return the maker of a token whose issuer is *change*, with the good one in the place of `{}`."""
    return lambda good: good.with_issuer(change.format(good.claims["iss"]))


def _slash(good: Material) -> str:
    name: str = good.claims["iss"]
    return good.with_claims(iss=name.removesuffix("/") if name.endswith("/") else f"{name}/")


def _infinite(good: Material) -> str:
    return good.encode(payload=good.claims_text.replace(b'"exp":%d' % good.claims["exp"], b'"exp":1e400'))


CLAIMS: Final[tuple[Case, ...]] = (
    case(
        "expired", "AT42", ExpiredTokenError, "It expired an hour ago.", lambda good: good.with_claims(iat=good.now - 2 * _HOUR, exp=good.now - _HOUR)
    ),
    choice("no-expiry", "AT42", MissingClaimError, "It never expires.", lambda good: good.without("exp")),
    choice(
        "expiry-a-text", "AT42", ClaimError, "Its expiry is a text (RFC 7519, section 2).", lambda good: good.with_claims(exp=str(good.claims["exp"]))
    ),
    case("expiry-true", "AT42", ClaimError, "Its expiry is true, not a number (RFC 7519, section 2).", _claims(exp=True)),
    choice("expiry-infinite", "AT42", ClaimError, "Its expiry is a number beyond all numbers.", _infinite),
    case("not-yet-valid", "AT43", NotYetValidError, "It becomes valid in an hour.", lambda good: good.with_claims(nbf=good.now + _HOUR)),
    choice("start-a-text", "AT43", ClaimError, "Its start is a text (RFC 7519, section 2).", lambda good: good.with_claims(nbf=str(good.now))),
    choice("issued-in-future", "AT43", NotYetValidError, "It was issued an hour ahead of now.", lambda good: good.with_claims(iat=good.now + _HOUR)),
    case("other-audience", "AT44", InvalidAudienceError, "It is for another service.", lambda good: good.with_audience("api://other.test")),
    case("no-audience", "AT44", MissingClaimError, "It is for nobody in particular.", lambda good: good.without(good.audience_claim)),
    case("audience-any", "AT44", InvalidAudienceError, "Its audience is a star.", lambda good: good.with_audience("*")),
    case(
        "audience-begins-alike",
        "AT44",
        InvalidAudienceError,
        "Its audience is the beginning of ours.",
        lambda good: good.with_audience(good.audience[:-1]),
    ),
    case(
        "audience-other-case",
        "AT44",
        InvalidAudienceError,
        "Its audience is ours in another case.",
        lambda good: good.with_audience(good.audience.swapcase()),
    ),
    case("audience-empty-list", "AT44", InvalidAudienceError, "Its list of audiences is empty.", lambda good: good.with_audience([])),
    case(
        "audience-nested",
        "AT44",
        InvalidAudienceError,
        "Its audience stands in a list in a list.",
        lambda good: good.with_audience([[good.audience]]),
    ),
    case("other-issuer", "AT32", InvalidIssuerError, "It is another issuer's, signed with this one's key.", _issuer(OTHER_ISSUER)),
    case("no-issuer", "AT32", MissingClaimError, "It names no issuer.", lambda good: good.without("iss")),
    case("issuer-slash", "AT34", InvalidIssuerError, "Its issuer differs by a final slash.", _slash),
    case("issuer-longer", "AT34", InvalidIssuerError, "Its issuer begins like ours.", _issuer("{}.attacker.invalid")),
    case(
        "issuer-other-case",
        "AT34",
        InvalidIssuerError,
        "Its issuer is ours in capitals.",
        lambda good: good.with_issuer(good.claims["iss"].upper()),
    ),
    case("issuer-userinfo", "AT34", InvalidIssuerError, "Its issuer is a user name before another host.", _issuer("{}@attacker.invalid")),
    case(
        "issuer-list",
        "AT34",
        InvalidIssuerError,
        "Its issuer is a list (RFC 7519, section 4.1.1).",
        lambda good: good.with_claims(iss=[good.claims["iss"]]),
    ),
    choice("subject-a-number", "AT45", ClaimError, "Its subject is a number (RFC 7519, section 4.1.2).", _claims(sub=7)),
    choice("subject-empty", "AT45", ClaimError, "Its subject is empty.", _claims(sub="")),
    choice("scope-an-object", "AT45", ClaimError, "Its scope is an object.", _claims(scope={"admin": True})),
    choice("roles-of-numbers", "AT45", ClaimError, "Its roles are numbers.", _claims(roles=[1])),
    choice(
        "id-token",
        "AT46",
        TokenTypeError,
        "It is an ID token: it has the hash of an access token.",
        _claims(at_hash="MTIzNDU2Nzg5MDEyMzQ1Ng", nonce="n"),
    ),
    choice("id-token-of-code", "AT46", TokenTypeError, "It is an ID token: it has the hash of a code.", _claims(c_hash="MTIzNDU2Nzg5MDEyMzQ1Ng")),
    choice(
        "logout-token", "AT47", TokenTypeError, "It is a logout token.", _claims(events={"http://schemas.openid.net/event/backchannel-logout": {}})
    ),
    choice("dpop-proof", "AT47", TokenTypeError, "It says that it is a proof of possession.", lambda good: good.with_header(typ="dpop+jwt")),
    choice("refresh-token", "AT47", TokenTypeError, "It says that it is a refresh token.", lambda good: good.with_header(typ="rt+jwt")),
    choice("typ-with-parameter", "AT48", TokenTypeError, "Its type has a parameter.", lambda good: good.with_header(typ="JWT; charset=utf-8")),
    choice("typ-a-list", "AT48", MalformedTokenError, "Its type is a list.", lambda good: good.with_header(typ=["JWT"])),
    choice(
        "bound-to-a-key",
        "AT49",
        ClaimError,
        "It is bound to a key of its sender, which a bearer check does not look at.",
        _claims(cnf={"jkt": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}),
    ),
    choice(
        "bound-to-a-certificate",
        "AT49",
        ClaimError,
        "It is bound to a certificate of its sender, which a bearer check does not look at.",
        _claims(cnf={"x5t#S256": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}),
    ),
)
"""The cases of this file."""
