"""A dialect adds rules to the one validator, and takes none away."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any

import pytest
from tests.unit.entra_documents import API, T2, F, M, common, v2
from tests.unit.material import AUDIENCE

from keyturn import (
    ClaimError,
    ConfigurationError,
    Dialect,
    ExpiredTokenError,
    InvalidAudienceError,
    InvalidIssuerError,
    IssuerRouter,
    MissingClaimError,
    StaticKeySet,
    TokenTypeError,
    TokenValidator,
)
from keyturn.issuers import entra
from keyturn.testing import FakeClock, FakeIssuer

CLOCK = FakeClock()
ISSUER = FakeIssuer(clock=CLOCK)


def validator(dialect: Dialect, **settings: Any) -> TokenValidator:
    """Return a validator over fixed keys that speaks *dialect*."""
    source = StaticKeySet.from_jwks(ISSUER.jwks())
    return TokenValidator(source, **{"audience": AUDIENCE, "issuer": ISSUER.issuer, "clock": CLOCK, "dialect": dialect, **settings})


def refuse_guests(claims: Mapping[str, Any]) -> None:
    """Refuse guests."""
    if claims.get("guest"):
        raise ClaimError("guests are not served", claim="guest", expected="absent", actual="present")


def test_the_general_rules_hold() -> None:
    """A dialect that says nothing changes no verdict."""
    judge = validator(Dialect())
    assert "alice" == judge.validate(ISSUER.token()).subject
    for token, error in (
        (ISSUER.token(lifetime=-100), ExpiredTokenError),
        (ISSUER.token(iss="https://other.test"), InvalidIssuerError),
        (ISSUER.token(audience="other"), InvalidAudienceError),
        (ISSUER.token(at_hash="x"), TokenTypeError),
    ):
        with pytest.raises(error):
            judge.validate(token)


def test_a_check_of_ones_own() -> None:
    """It is made after the general checks."""
    judge = validator(Dialect(checks=(refuse_guests,)))
    assert judge.validate(ISSUER.token())
    with pytest.raises(ClaimError, match="guests"):
        judge.validate(ISSUER.token(guest=True))
    with pytest.raises(ExpiredTokenError):
        judge.validate(ISSUER.token(guest=True, lifetime=-100))


def test_claims_are_read_where_the_dialect_says() -> None:
    """The first path that is there counts, and names may hold dots."""
    dialect = Dialect(scopes=(("https://example.com/scopes",), ("scp",)), roles=(("app", "roles"),), clients=(("cid",), ("app", "id")))
    token = validator(dialect).validate(
        ISSUER.token(scp="b", app={"roles": ["r"], "id": "client"}, **{"https://example.com/scopes": ["a"]}, scope="s", client_id="c")
    )
    assert ({"a"}, {"r"}, "client", (AUDIENCE,)) == (token.scopes, token.roles, token.client_id, token.audience)
    bare = validator(dialect).validate(ISSUER.token(audience=[AUDIENCE, "other"]))
    assert (frozenset(), frozenset(), None, (AUDIENCE, "other")) == (bare.scopes, bare.roles, bare.client_id, bare.audience)
    assert validator(dialect).validate(ISSUER.token(cid=["x"])).client_id is None


@pytest.mark.parametrize("value", [1, {}, [1], [["a"]], True])
def test_a_value_that_cannot_be_read(value: Any) -> None:
    """It refuses the token: an empty set of scopes would end as a puzzling 403."""
    with pytest.raises(ClaimError, match="app.roles is"):
        validator(Dialect(roles=(("app", "roles"),))).validate(ISSUER.token(app={"roles": value}))


def test_a_token_of_a_dialect_is_like_any() -> None:
    """It is equal by what it says, cannot be changed, and goes to other processes with its reading."""
    judge, signed = validator(Dialect(scopes=(("scp",),))), ISSUER.token(scp="a", scope="b")
    token = judge.validate(signed)
    assert (token, hash(token)) == (judge.validate(signed), hash(judge.validate(signed)))
    again = pickle.loads(pickle.dumps(token))
    assert (token, {"a"}) == (again, again.scopes)
    assert "alice" not in repr(token)
    with pytest.raises(AttributeError):
        token.scopes = frozenset()  # type: ignore[misc]


def test_another_claim_names_the_audience() -> None:
    """It must be there, one text, and one of ours."""
    judge = validator(Dialect(audience_claim="client_id"), audience=["a", "b"])
    assert ("b",) == judge.validate(ISSUER.token(client_id="b")).audience
    with pytest.raises(InvalidAudienceError, match='client_id is "c", expected "a" or "b" .setting: audience.'):
        judge.validate(ISSUER.token(client_id="c", aud="a"))
    with pytest.raises(MissingClaimError):
        judge.validate(ISSUER.token(aud="a"))


def test_keys_of_another_issuer_stay_out() -> None:
    """Without a tenant's claim nothing is filled in: a key vouches for the names of its validator alone."""
    (entry,) = ISSUER.jwks()["keys"]
    for named, fits in ((ISSUER.issuer, True), ("https://other.test", False), (T2, False), ("", True)):
        source = StaticKeySet.from_jwks({"keys": [{**entry, "issuer": named}]})
        judge = TokenValidator(source, audience=AUDIENCE, issuer=ISSUER.issuer, clock=CLOCK, dialect=Dialect())
        if fits:
            assert judge.validate(ISSUER.token())
        else:
            with pytest.raises(InvalidIssuerError, match="is published for"):
                judge.validate(ISSUER.token())


def test_fixed_keys_of_two_issuers() -> None:
    """Of two entries with one key the one that fits vouches, in either order (R2)."""
    document = common(CLOCK, issuer=v2(M))
    (entry,) = document.jwks()["keys"]
    entries = [entry, {**entry, "issuer": T2}]
    for keys in (entries, entries[::-1]):
        source = StaticKeySet.from_jwks({"keys": keys})
        judge = TokenValidator(source, audience=API, issuer=T2, clock=CLOCK, dialect=Dialect(tenant_claim="tid", cloud="other"))
        assert [F, M] == [judge.validate(document.access(name)).claims["tid"] for name in (F, M)]


def test_a_rule_of_one_issuer_is_none_of_another() -> None:
    """Behind one router, what Entra's dialect refuses in a header says nothing about another issuer's token (R15)."""
    plain = TokenValidator(StaticKeySet.from_jwks(ISSUER.jwks()), audience=AUDIENCE, issuer=ISSUER.issuer, clock=CLOCK)
    router = IssuerRouter(entra.validator(F, audience=API, clock=CLOCK), plain)
    assert router.validate(ISSUER.token(headers={"nonce": "x"}))
    assert router.validate(ISSUER.token(audience=[AUDIENCE, "https://graph.microsoft.com"]))


def test_what_is_no_dialect() -> None:
    """It is found at construction."""
    with pytest.raises(ConfigurationError, match="setting: dialect"):
        validator("entra")  # type: ignore[arg-type]
