"""One small function per claim: boundaries, kinds of token, and what an error says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import ANY_JSON

from keyturn import (
    ClaimError,
    ExpiredTokenError,
    InvalidAudienceError,
    InvalidIssuerError,
    MissingClaimError,
    NotYetValidError,
    TokenTypeError,
)
from keyturn._core import claims as check

NOW = 1_800_000_000.0
STEP = 2.0**-22
LEEWAY = 60.0
OURS = frozenset({"app"})
ID = {"iss": "https://issuer.test", "sub": "alice", "aud": "app", "exp": NOW + 1, "iat": NOW}


@pytest.mark.parametrize("expiry", [NOW, NOW + 0.5, int(NOW)])
@pytest.mark.parametrize("leeway", [0.0, 60.0, 300.0])
def test_expiry_is_over_at_its_last_instant(expiry: float, leeway: float) -> None:
    """A step before `exp + leeway` is in time, that instant is not (B15, RFC 7519, section 4.1.4)."""
    check.check_expiry({"exp": expiry}, expiry + leeway - STEP, leeway)
    for late in (0.0, STEP, 1e9):
        with pytest.raises(ExpiredTokenError, match=f"leeway is {leeway:.0f} s .setting: leeway."):
            check.check_expiry({"exp": expiry}, expiry + leeway + late, leeway)


@pytest.mark.parametrize("claim", ["nbf", "iat"])
@pytest.mark.parametrize("leeway", [0.0, 60.0, 300.0])
def test_start_counts_from_its_first_instant(claim: str, leeway: float) -> None:
    """A step before `nbf - leeway` is too early, that instant is not (B16, RFC 7519, section 4.1.5)."""
    check.check_start({claim: NOW}, NOW - leeway, leeway)
    with pytest.raises(NotYetValidError) as caught:
        check.check_start({claim: NOW}, NOW - leeway - STEP, leeway)
    assert claim == caught.value.claim


def test_start_needs_neither() -> None:
    """`nbf` and `iat` are optional."""
    check.check_start({}, NOW, 0.0)


@pytest.mark.parametrize("value", ["1", True, False, [], {}, float("nan"), float("inf"), -float("inf"), [1]])
@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
def test_an_instant_is_a_finite_number(claim: str, value: Any) -> None:
    """Nothing is converted (C60)."""
    with pytest.raises(ClaimError, match=f"{claim} is .*, expected a number of seconds") as caught:
        check.check_expiry({"exp": value}, NOW, 0.0) if claim == "exp" else check.check_start({claim: value}, NOW, 0.0)
    assert ClaimError is type(caught.value)


@given(name=st.text(min_size=1, max_size=30), edit=st.sampled_from(["{}/", " {}", "{} ", "{}x", "x{}", "{}\0"]))
def test_an_issuer_is_compared_exactly(name: str, edit: str) -> None:
    """Nothing before, behind or inside may differ (C57)."""
    check.check_issuer({"iss": name}, {name})
    other = edit.format(name)
    with pytest.raises(InvalidIssuerError):
        check.check_issuer({"iss": other}, {name})
    with pytest.raises(InvalidIssuerError):
        check.check_issuer({"iss": name}, {other})


@pytest.mark.parametrize(
    ("stated", "configured", "hinted"),
    [("https://a/", "https://a", True), ("https://a", "https://a/", True), ("https://b", "https://a", False), (1, "https://a", False)],
)
def test_a_final_slash_is_named_and_not_repaired(stated: Any, configured: str, *, hinted: bool) -> None:
    """The hint says so where a slash is all the difference (C41)."""
    with pytest.raises(InvalidIssuerError) as caught:
        check.check_issuer({"iss": stated}, {configured})
    assert hinted == ("final slash" in caught.value.hint)
    assert configured in str(caught.value)


def test_one_of_several_issuers() -> None:
    """A preset may list several names for one key set; the message shows five of them and counts the rest (C57)."""
    names = {f"https://{number}.test" for number in range(7)}
    check.check_issuer({"iss": "https://6.test"}, names)
    with pytest.raises(InvalidIssuerError, match=r'expected "https://0.test" or .* or "https://4.test" or 2 more'):
        check.check_issuer({"iss": "https://7.test"}, names)


@pytest.mark.parametrize("claim", ["iss", "aud", "exp"])
@pytest.mark.parametrize("claims", [{}, {"iss": None, "aud": None, "exp": None}])
def test_what_is_absent_or_null_is_missing(claim: str, claims: dict[str, Any]) -> None:
    """Absence has a class of its own."""
    judges = {
        "iss": lambda: check.check_issuer(claims, OURS),
        "aud": lambda: check.check_audience(claims, OURS),
        "exp": lambda: check.check_expiry(claims, NOW, 0.0),
    }
    with pytest.raises(MissingClaimError, match=f"the claim {claim} is missing") as caught:
        judges[claim]()
    assert (claim, "present", "absent") == (caught.value.claim, caught.value.expected, caught.value.actual)


@given(ANY_JSON)
def test_an_audience_is_ours_by_an_exact_match_alone(value: Any) -> None:
    """Whatever JSON says, acceptance means a string that is ours, or a list of strings with one of ours (C58)."""
    try:
        check.check_audience({"aud": value}, OURS)
    except (InvalidAudienceError, MissingClaimError):
        return
    assert value == "app" or (all(isinstance(name, str) for name in value) and "app" in value)


@pytest.mark.parametrize("value", ["app", ["app"], ["x", "app"], ["app", "app"]])
def test_an_audience_in_a_list(value: Any) -> None:
    """One match is enough for an access token."""
    check.check_audience({"aud": value}, OURS)


@pytest.mark.parametrize("value", [["app", 1], ["app", None], [["app"]], {"app": 1}, "App", "app ", [], ""])
def test_an_audience_of_another_shape(value: Any) -> None:
    """A list with anything but strings is no audience, even with ours in it."""
    with pytest.raises(InvalidAudienceError):
        check.check_audience({"aud": value}, OURS)


@given(
    st.dictionaries(
        st.sampled_from(["sub", "jti", "client_id", "scope", "scp", "roles", "azp", "nonce", "at_hash", "events", "cnf", "iat", "aud"]), ANY_JSON
    )
)
def test_no_check_raises_anything_else(claims: dict[str, Any]) -> None:
    """Whatever an unverified payload holds, only our errors come out of any check (I5)."""
    claims = {"aud": "app", **claims}
    judges = [check.check_shapes, check.check_binding, check.check_access, check.check_at_jwt]
    judges += [
        lambda c: check.check_audience(c, OURS) or check.check_id(c, OURS),
        lambda c: check.check_nonce(c, "n"),
        lambda c: check.check_required(c, ["sub", "x"]),
    ]
    judges += [lambda c: check.check_start(c, NOW, LEEWAY), lambda c: check.check_issuer(c, OURS)]
    passed = 0
    for judge in judges:
        try:
            judge(claims)
            passed += 1
        except ClaimError:
            continue
    assert passed < len(judges)


@pytest.mark.parametrize("party", [["app"], {"app": 1}, [], {}, 1, True, "other", "", "App"])
def test_an_authorised_party_of_any_type(party: Any) -> None:
    """`azp` is ours, as a string, or the token is refused; an object there is no way to another error (C59)."""
    with pytest.raises(ClaimError, match="azp is") as caught:
        check.check_id({**ID, "azp": party}, OURS)
    assert "azp" == caught.value.claim


@pytest.mark.parametrize("audience", ["app", ["app"]])
def test_an_id_token_for_one(audience: Any) -> None:
    """One audience needs no `azp`; one that is there is ours (OpenID Connect Core, section 3.1.3.7)."""
    check.check_id({**ID, "aud": audience}, OURS)
    check.check_id({**ID, "aud": audience, "azp": "app"}, OURS)


def test_an_id_token_for_several() -> None:
    """Each audience is ours, and then `azp` says which (C59)."""
    both = frozenset({"app", "web"})
    check.check_id({**ID, "aud": ["app", "web"], "azp": "web"}, both)
    with pytest.raises(MissingClaimError, match="azp"):
        check.check_id({**ID, "aud": ["app", "web"]}, both)
    with pytest.raises(InvalidAudienceError, match="nobody but"):
        check.check_id({**ID, "aud": ["app", "web"], "azp": "app"}, OURS)


@pytest.mark.parametrize("claim", ["sub", "iat"])
@pytest.mark.parametrize("value", ["absent", None])
def test_an_id_token_says_who_and_when(claim: str, value: Any) -> None:
    """`sub` and `iat` are required (C63)."""
    claims = {name: stated for name, stated in ID.items() if name != claim} if value == "absent" else {**ID, claim: None}
    with pytest.raises(MissingClaimError, match=claim):
        check.check_id(claims, OURS)


@pytest.mark.parametrize("claim", ["at_hash", "c_hash"])
def test_a_hash_in_an_id_token_is_text(claim: str) -> None:
    """Another type refuses (C63)."""
    check.check_id({**ID, claim: "x"}, OURS)
    for value in (1, None, "", [], {}):
        with pytest.raises(ClaimError, match=claim):
            check.check_id({**ID, claim: value}, OURS)


def test_an_event_is_no_id_token() -> None:
    """Logout tokens have the shape of ID tokens (OpenID Connect Back-Channel Logout, section 2.4)."""
    with pytest.raises(TokenTypeError, match="events"):
        check.check_id({**ID, "events": {}}, OURS)


@pytest.mark.parametrize("claim", ["sub", "client_id", "iat", "jti"])
def test_an_at_jwt_holds_what_it_must(claim: str) -> None:
    """Each of the required claims is required (RFC 9068, section 2.2)."""
    claims = {"sub": "a", "client_id": "c", "iat": NOW, "jti": "j"}
    check.check_at_jwt(claims)
    for broken in ({name: value for name, value in claims.items() if name != claim}, {**claims, claim: None}):
        with pytest.raises(MissingClaimError, match=claim):
            check.check_at_jwt(broken)
    with pytest.raises(TokenTypeError):
        check.check_at_jwt({**claims, "at_hash": "x"})


@pytest.mark.parametrize("claim", ["at_hash", "c_hash", "s_hash", "events"])
def test_what_exists_elsewhere_alone(claim: str) -> None:
    """Each of the four refuses, whatever it holds (C67)."""
    for value in ("x", None, {}):
        with pytest.raises(TokenTypeError, match=f"the claim {claim}, which access tokens do not have"):
            check.check_access({claim: value})


@pytest.mark.parametrize("claim", ["nonce", "azp", "auth_time", "sid", "acr", "amr", "scope"])
def test_what_decides_nothing(claim: str) -> None:
    """Keycloak writes `nonce` into access tokens, and others `azp` (C67)."""
    check.check_access({claim: "x"})


def test_the_nonce_of_this_login() -> None:
    """It is compared exactly, and absence is no match."""
    check.check_nonce({"nonce": "n"}, "n")
    for value in ("N", "n ", "", 1, [], {}):
        with pytest.raises(ClaimError, match="not the one that was sent"):
            check.check_nonce({"nonce": value}, "n")
    for claims in ({}, {"nonce": None}):
        with pytest.raises(MissingClaimError):
            check.check_nonce(claims, "n")


@pytest.mark.parametrize("value", [None, "absent"])
def test_a_required_claim_is_there(value: Any) -> None:
    """Null is not there (RFC 7519, section 4.1)."""
    check.check_required({"a": 0, "b": False, "c": ""}, ["a", "b", "c"])
    with pytest.raises(MissingClaimError, match="the claim z is missing"):
        check.check_required({} if value else {"z": value}, ["z"])


@pytest.mark.parametrize("value", [{}, {"jkt": "x"}, None, ""])
def test_a_bound_token_is_refused(value: Any) -> None:
    """Whatever `cnf` holds, a bearer check would ignore it (C66)."""
    check.check_binding({})
    with pytest.raises(ClaimError, match="required_claims") as caught:
        check.check_binding({"cnf": value})
    assert ("cnf", "no cnf", "present") == (caught.value.claim, caught.value.expected, caught.value.actual)


def test_shapes_that_are_read_later() -> None:
    """`sub`, `jti` and `client_id` are texts where they are there; `scope`, `scp` and `roles` are text, a list of texts, null or absent."""
    for claim in ("sub", "jti", "client_id"):
        for odd in ("", None, 1, True, [], ["a"], {}):
            with pytest.raises(ClaimError, match=f"{claim} is .*, expected a string that is not empty"):
                check.check_shapes({claim: odd})
    for claim in ("scope", "scp", "roles"):
        for value in ("a b", "", [], ["a"], None):
            check.check_shapes({claim: value})
        for value in (1, {}, ["a", 1], [None], True):
            with pytest.raises(ClaimError, match="a string or a list of strings"):
                check.check_shapes({claim: value})
    check.check_shapes({"sub": "s", "jti": "j", "client_id": "c"})


@pytest.mark.parametrize(
    ("value", "names"), [("a  b", {"a", "b"}), ("", set()), (["a b", "c"], {"a b", "c"}), (None, set()), (1, set()), ({"a": 1}, set())]
)
def test_names_are_divided_in_texts_alone(value: Any, names: set[str]) -> None:
    """A list is taken name by name, and what is neither names nothing, so that nothing unknown widens."""
    assert names == check.names_of(value)


@given(ANY_JSON)
def test_an_error_shows_one_value_escaped(value: Any) -> None:
    """No object of the token leaves, and no character that a terminal would obey (C17)."""
    with pytest.raises(ClaimError) as caught:
        check.check_audience({"aud": value, "secret": "do not show"}, ["\0"])
    error = caught.value
    assert isinstance(error.actual, str)
    assert f"{error}{error.actual}".isprintable()
    assert "do not show" not in repr(vars(error)) + str(error)
