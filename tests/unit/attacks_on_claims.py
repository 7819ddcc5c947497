"""Hostile tokens with a good signature and bad claims: classes AT42 to AT49."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.unit.attacks import Attack, Attacks
from tests.unit.material import AUDIENCE, good_parts, inserted, parts, with_claims, with_header, without_claim

from keyturn import (
    ClaimError,
    ExpiredTokenError,
    InvalidAudienceError,
    MalformedTokenError,
    MissingClaimError,
    NotYetValidError,
    TokenTypeError,
)
from keyturn.testing import FakeIssuer

_NOT_INSTANTS: tuple[Any, ...] = ("9999999999", "", True, False, [], [9_999_999_999], {}, {"exp": 9_999_999_999}, "NaN")


def expiry(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT42: `exp` of odd types and values."""
    for value in _NOT_INSTANTS:
        yield Attack(f"exp {value!r}", with_claims(issuer, exp=value), ClaimError)
    for label, token in (("absent", without_claim(issuer, "exp")), ("null", with_claims(issuer, exp=None))):
        yield Attack(label, token, MissingClaimError)
    for value in (0, -1, -1e9, 0.5, 1_799_999_940, 1_799_999_939.5, -(10**29)):
        yield Attack(f"exp {value}", with_claims(issuer, exp=value), ExpiredTokenError, says="setting: leeway")
    yield Attack("exp in the leeway", with_claims(issuer, exp=1_799_999_941), None, cheap=False)
    header, payload = good_parts(issuer.__class__(issuer.issuer, clock=issuer.clock))
    bare = inserted(payload.replace(b'"exp"', b'"exq"'), b'"exp":%s')
    for number, error in (
        (b"1e400", ClaimError),
        (b"-1e400", ClaimError),
        (b"NaN", MalformedTokenError),
        (b"Infinity", MalformedTokenError),
        (b"-0", ExpiredTokenError),
    ):
        yield Attack(f"exp {number.decode()}", issuer.encode(header, bare % number), error)


def start(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT43: `nbf` and `iat` of odd types, and ahead of the leeway."""
    for claim in ("nbf", "iat"):
        for value in (*_NOT_INSTANTS, None):
            yield Attack(f"{claim} {value!r}", with_claims(issuer, **{claim: value}), ClaimError)
        for value in (1_800_000_061, 1_800_000_060.5, 10**12, 10**29, 1e300):
            yield Attack(f"{claim} {value}", with_claims(issuer, **{claim: value}), NotYetValidError, says="setting: leeway")
        for value in (0, -1, 1_800_000_060):
            yield Attack(f"{claim} {value}", with_claims(issuer, **{claim: value}), None, cheap=False)


def audience(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT44: `aud` that names somebody else, nobody or everybody."""
    for label, token in (("absent", without_claim(issuer, "aud")), ("null", with_claims(issuer, aud=None))):
        yield Attack(label, token, MissingClaimError)
    values: list[Any] = [
        "*",
        "",
        "api://tes",
        "api://test/",
        "API://TEST",
        " api://test",
        "api://test ",
        "api://test api://x",
        "api://test,api://x",
        "api://other",
    ]
    values += [
        [],
        [[]],
        [[AUDIENCE]],
        {},
        {"aud": AUDIENCE},
        {AUDIENCE: 1},
        1,
        True,
        0,
        [1, AUDIENCE],
        [AUDIENCE, None],
        [AUDIENCE, [AUDIENCE]],
        [None],
        ["*"],
        [""],
        ["a"] * 3_000,
    ]
    for value in values:
        yield Attack(f"aud {str(value)[:40]}", with_claims(issuer, aud=value), InvalidAudienceError, says="setting: audience")
    for value in ([AUDIENCE], ["x", AUDIENCE], [AUDIENCE, AUDIENCE]):
        yield Attack(f"aud {value}", with_claims(issuer, aud=value), None, cheap=False)


def odd_shapes(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT45: claims that are read later are refused now, if reading them would fail."""
    for claim in ("sub", "jti", "client_id"):
        for value in ("", 1, 1.5, True, [], ["alice"], {}, None):
            yield Attack(f"{claim} {value!r}", with_claims(issuer, **{claim: value}), ClaimError)
    for claim in ("scope", "scp", "roles"):
        for value in (1, 1.5, True, False, {}, {"a": 1}, [1], ["a", None], [["a"]], [{}], 0):
            yield Attack(f"{claim} {value!r}", with_claims(issuer, **{claim: value}), ClaimError)
        for value in ("", [], None, "a b", ["a"], [""]):
            yield Attack(f"{claim} {value!r}", with_claims(issuer, **{claim: value}), None, cheap=False)


def kinds_mixed_up(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT46: an ID token for an API, an access token for a login; and what only looks like it."""
    for claim in ("at_hash", "c_hash", "s_hash"):
        for value in ("x", None, "", 1):
            yield Attack(f"{claim} {value!r}", with_claims(issuer, **{claim: value}), TokenTypeError)
    for claims in ({"nonce": "n"}, {"azp": "app"}, {"auth_time": 1}, {"sid": "s"}, {"nonce": 1, "azp": [], "auth_time": {}, "sid": None}):
        yield Attack(f"access with {claims}", with_claims(issuer, **claims), None, cheap=False)
    for typ in (None, "JWT", "jwt", "application/jwt", "id", "at+jwtx", "logout+jwt"):
        yield Attack(f"at+jwt as {typ}", issuer.token(headers={"typ": typ}), TokenTypeError, settings={"token_type": "at+jwt"})
    for typ in ("at+jwt", "AT+JWT", "application/at+jwt", "logout+jwt"):
        yield Attack(f"id as {typ}", issuer.token(headers={"typ": typ}), TokenTypeError, settings={"token_type": "id"})


def other_kinds(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT47: logout tokens, security events, proofs, assertions and refresh tokens."""
    logout = {"http://schemas.openid.net/event/backchannel-logout": {}}
    for events in (logout, {}, None, [], "x"):
        yield Attack(f"events {events}", with_claims(issuer, events=events), TokenTypeError)
    for typ in (
        "logout+jwt",
        "secevent+jwt",
        "dpop+jwt",
        "client-authentication+jwt",
        "oauth-authz-req+jwt",
        "rt+jwt",
        "Refresh",
        "ID",
        "kb+jwt",
        "token-introspection+jwt",
    ):
        yield Attack(f"typ {typ}", with_header(issuer, typ=typ), TokenTypeError, says="token_type")


def tricky_types(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT48: `typ` in equal meanings, and in others."""
    for typ in ("JWT", "jwt", "Jwt", "application/jwt", "Application/JWT", "at+jwt", "AT+JWT", "application/at+jwt", "APPLICATION/AT+JWT"):
        yield Attack(f"typ {typ}", with_header(issuer, typ=typ), None, cheap=False)
    yield Attack("no typ", issuer.token(headers={"typ": None}), None, cheap=False)
    odd = [
        "JWT ",
        " JWT",
        "JWT; charset=utf-8",
        "",
        "/",
        "application/",
        "application/application/jwt",
        "text/jwt",
        "x/at+jwt",
        "JOSE",
        "JWT\0",
        "\uff2aWT",
        "at jwt",
        "JWT,at+jwt",
        "x" * 5_000,
    ]
    for typ in odd:
        yield Attack(f"typ {typ[:30]!r}", with_header(issuer, typ=typ), TokenTypeError)
    for value in (None, 1, True, ["JWT"], {}, 0):
        yield Attack(f"typ {value!r}", with_header(issuer, typ=value), MalformedTokenError)


def bound(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT49: a token that is bound to its sender, for a service that checks no binding."""
    for value in ({"jkt": "x"}, {"x5t#S256": "x"}, {}, None, [], "x", 0):
        yield Attack(f"cnf {value!r}", with_claims(issuer, cnf=value), ClaimError, says="required_claims")
    yield Attack("declared", with_claims(issuer, cnf={"jkt": "x"}), None, cheap=False, settings={"required_claims": ["cnf"]})
    yield Attack("declared and absent", issuer.token(), MissingClaimError, settings={"required_claims": ["cnf"]})


def junk(issuer: FakeIssuer, count: int) -> Iterator[str]:
    """AT51: yield *count* tokens, each of which fails one cheap check; none is signed, since nobody should get that far."""
    header, payload, _ = parts(issuer.token())
    now = payload["iat"]
    faults: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {"iss": "https://other.test"}),
        ({}, {"aud": "api://other"}),
        ({}, {"exp": now - 61}),
        ({}, {"nbf": now + 61}),
        ({}, {"iat": now + 61}),
        ({}, {"sub": 1}),
        ({}, {"cnf": {}}),
        ({}, {"at_hash": "x"}),
        ({"alg": "HS256"}, {}),
        ({"typ": "dpop+jwt"}, {}),
        ({"crit": ["x"]}, {}),
        ({"kid": 1}, {}),
    ]
    for number in range(count):
        head, claims = faults[number % len(faults)]
        yield issuer.encode({**header, "kid": f"junk-{number}", **head}, {**payload, **claims}, signature=b"x" * 64)


CLAIMS: dict[str, Attacks] = {
    "AT42": expiry,
    "AT43": start,
    "AT44": audience,
    "AT45": odd_shapes,
    "AT46": kinds_mixed_up,
    "AT47": other_kinds,
    "AT48": tricky_types,
    "AT49": bound,
}
"""The classes of this file by name."""
