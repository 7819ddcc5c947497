"""Several issuers behind one door: exactly one validator judges, with its own keys and rules (AT31)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.material import AUDIENCE, with_claims, without_claim

from keyturn import (
    ConfigurationError,
    DisallowedAlgorithmError,
    InvalidAudienceError,
    InvalidIssuerError,
    InvalidSignatureError,
    IssuerRouter,
    KeyturnError,
    MalformedTokenError,
    MissingClaimError,
    StaticKeySet,
    TokenTypeError,
    TokenValidator,
    UnknownKeyError,
    by_issuer,
)
from keyturn.testing import FakeClock, FakeIssuer

CLOCK = FakeClock()


def issuers() -> tuple[FakeIssuer, FakeIssuer]:
    """Return two issuers whose keys have the same kid."""
    return FakeIssuer("https://a.test", clock=CLOCK), FakeIssuer("https://b.test", clock=CLOCK)


def validator(issuer: FakeIssuer, **settings: Any) -> TokenValidator:
    """Return a validator of one issuer."""
    return TokenValidator(issuer.issuer, **{"audience": AUDIENCE, "fetcher": issuer.fetcher(), "clock": CLOCK, **settings})


def test_each_token_goes_to_its_issuer() -> None:
    """Both are accepted, with equal kids, and each issuer is asked for its own keys alone."""
    a, b = issuers()
    router = IssuerRouter(validator(a), validator(b))
    assert "https://a.test" == router.validate(a.token()).issuer
    b.fetches.expect(discovery=0, jwks=0)
    assert "https://b.test" == asyncio.run(router.validate_async(b.token())).issuer
    a.fetches.expect(discovery=1, jwks=1)
    b.fetches.expect(discovery=1, jwks=1)


def test_a_key_of_one_issuer_is_no_key_of_another() -> None:
    """Same kid, other key: A's signature under B's name is refused by B, whose keys alone are tried (R15)."""
    a, b = issuers()
    router = IssuerRouter(validator(a), validator(b))
    with pytest.raises(InvalidSignatureError):
        router.validate(a.token(iss="https://b.test"))
    a.fetches.expect(discovery=0, jwks=0)
    with pytest.raises(UnknownKeyError):
        router.validate(a.token(iss="https://b.test", headers={"kid": "other"}))


def test_the_rules_are_those_of_the_issuer() -> None:
    """Audience, algorithms and kind of A mean nothing for a token of B."""
    a, b = issuers()
    router = IssuerRouter(
        validator(a, audience="api://a", algorithms=["ES256"]),
        validator(b, audience="api://b", algorithms=["RS256"], token_type="at+jwt"),
    )
    assert router.validate(a.token(audience="api://a"))
    b.publish("rsa", "RS256")
    for token, error in (
        (b.token(audience="api://a", key="rsa", headers={"typ": "at+jwt"}), InvalidAudienceError),
        (b.token(audience="api://b"), DisallowedAlgorithmError),
        (b.token(audience="api://b", key="rsa"), TokenTypeError),
        (a.token(audience="api://b"), InvalidAudienceError),
    ):
        with pytest.raises(error):
            router.validate(token)
    b.fetches.expect(discovery=0, jwks=0)


@pytest.mark.parametrize(
    "name", ["https://c.test", "https://a.test/", "https://A.test", "", "*", 1, True, [], ["https://a.test"], {}, {"iss": "https://a.test"}]
)
def test_an_issuer_of_nobody(name: Any) -> None:
    """It is refused without a request, and the message says whom the router knows."""
    a, b = issuers()
    router = IssuerRouter(validator(a), validator(b))
    with pytest.raises(InvalidIssuerError, match='expected "https://a.test" or "https://b.test" .setting: validators.'):
        router.validate(with_claims(a, iss=name))
    for issuer in (a, b):
        issuer.fetches.expect(discovery=0, jwks=0)


def test_no_issuer_at_all() -> None:
    """Absent and null are missing."""
    a, _ = issuers()
    router = IssuerRouter(validator(a))
    for token in (without_claim(a, "iss"), with_claims(a, iss=None)):
        with pytest.raises(MissingClaimError):
            router.validate(token)


def test_a_text_that_is_no_token() -> None:
    """Form is judged before the route is read."""
    a, _ = issuers()
    for token in ("", "a.b", None, "x" * 300_000):
        with pytest.raises(MalformedTokenError):
            IssuerRouter(validator(a)).validate(token)  # type: ignore[arg-type]


def test_the_longest_token_of_any_validator_is_read_and_judged_by_its_own() -> None:
    """A limit that one validator raised does not hold for another."""
    a, b = issuers()
    router = IssuerRouter(validator(a, max_token_bytes=500), validator(b, max_token_bytes=5_000))
    long = {"pad": "x" * 1_000}
    assert router.validate(b.token(**long))
    with pytest.raises(MalformedTokenError, match="500 are allowed"):
        router.validate(a.token(**long))
    with pytest.raises(MalformedTokenError, match="5000 are allowed"):
        router.validate(b.token(pad="x" * 5_000))


def test_a_route_of_several_claims() -> None:
    """A preset may add a claim; the validator is found by both, and what a hostile token puts there finds nobody (B2C's `tfp`)."""
    a, _ = issuers()
    source = StaticKeySet.from_jwks(a.jwks())
    routed = {"https://a.test": ("https://a.test", "sign-in")}
    router = IssuerRouter(
        TokenValidator(source, audience=AUDIENCE, issuer="https://a.test", clock=CLOCK),
        route=lambda claims: (claims["iss"], claims.get("tfp", routed[claims["iss"]][1])),
    )
    assert router.validate(a.token(tfp="sign-in"))
    hostile: list[Any] = ["sign-up", ["sign-in"], {}, {"a": []}, [[]], 1, True, None]
    for value in hostile:
        with pytest.raises(InvalidIssuerError):
            router.validate(with_claims(a, tfp=value))


@pytest.mark.parametrize("found", [None, 1, True, [], {}, b"https://a.test", frozenset()])
def test_a_route_that_is_no_name(found: Any) -> None:
    """A route is text, or a tuple of what tells validators apart; anything else finds nobody."""
    a, _ = issuers()
    router = IssuerRouter(validator(a), route=lambda claims: claims["iss"] if len(claims) == 1 else found)
    with pytest.raises(InvalidIssuerError):
        router.validate(a.token())


def test_one_validator_for_several_names() -> None:
    """A preset may list several names for one key set; the router knows each."""
    a, _ = issuers()
    both = TokenValidator(StaticKeySet.from_jwks(a.jwks()), audience=AUDIENCE, issuer=["https://a.test", "https://other.test"], clock=CLOCK)
    router = IssuerRouter(both)
    assert "https://other.test" == router.validate(a.token(iss="https://other.test")).issuer
    assert {"https://a.test", "https://other.test"} == set(router.status())


def test_mistakes_of_configuration() -> None:
    """No validator, two with one route, and what is no validator, are found at construction."""
    a, b = issuers()
    for validators, says in (
        ((), "no validator"),
        ((validator(a), validator(b), validator(a)), "two validators are for"),
        (("https://a.test",), "expected a TokenValidator"),
    ):
        with pytest.raises(ConfigurationError, match=f"{says}.*setting: validators"):
            IssuerRouter(*validators)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="two validators"):
        IssuerRouter(validator(a), validator(b), route=lambda _: "one")
    with pytest.raises(ConfigurationError, match="setting: route"):
        IssuerRouter(validator(a), route="iss")  # type: ignore[arg-type]


def test_the_nonce_reaches_the_judge() -> None:
    """It is compared by the validator that judges."""
    a, _ = issuers()
    router = IssuerRouter(validator(a, token_type="id"))
    assert router.validate(a.token(nonce="n"), nonce="n")
    with pytest.raises(KeyturnError, match="nonce"):
        router.validate(a.token(nonce="n"), nonce="m")


def test_the_default_route() -> None:
    """Validators are told apart by `iss`."""
    assert "x" == by_issuer({"iss": "x"})
    assert None is by_issuer({})
