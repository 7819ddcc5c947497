"""What a handler gets: immutable, comparable, and silent about what it holds."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from keyturn import ValidatedToken

CLAIMS = {"iss": "https://issuer.test", "sub": "alice", "aud": "api://test", "exp": 1_800_000_000, "secret": "do not show"}
HEADER = {"alg": "ES256", "kid": "k1"}


def token(**claims: Any) -> ValidatedToken:
    """Return a validated token with *claims* added."""
    return ValidatedToken({**CLAIMS, **claims}, HEADER, "k1")


def test_what_it_says() -> None:
    """Each property reads its claim."""
    read = token(iat=1_799_999_000, client_id="app", scope="a b", roles=["admin"])
    assert ("https://issuer.test", "alice", ("api://test",), "app") == (read.issuer, read.subject, read.audience, read.client_id)
    assert ({"a", "b"}, {"admin"}) == (read.scopes, read.roles)
    assert (1_800_000_000.0, 1_799_999_000.0, "k1") == (read.expires_at, read.issued_at, read.key_id)
    assert "do not show" == read.claims["secret"]
    assert HEADER == read.header


def test_what_is_absent_is_none_or_empty() -> None:
    """Nothing is made up."""
    read = ValidatedToken({name: value for name, value in CLAIMS.items() if name != "sub"}, HEADER, "k1")
    assert (None, None, None) == (read.subject, read.client_id, read.issued_at)
    assert (frozenset(), frozenset()) == (read.scopes, read.roles)


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": "a b"}, {"a", "b"}),
        ({"scope": ["a b", "c"]}, {"a b", "c"}),
        ({"scp": "a b"}, {"a", "b"}),
        ({"scp": ["a"]}, {"a"}),
        ({"scope": "a", "scp": "b"}, {"a"}),
        ({"scope": "", "scp": "b"}, set()),
        ({"scope": [], "scp": "b"}, set()),
        ({"scope": None, "scp": "b"}, {"b"}),
        ({"scope": None, "scp": None}, set()),
    ],
)
def test_scopes(claims: dict[str, Any], scopes: set[str]) -> None:
    """`scope`, else `scp`; an empty one that is there is empty, so that nothing is widened by looking further."""
    assert scopes == token(**claims).scopes


@pytest.mark.parametrize(
    ("claims", "client"),
    [
        ({"client_id": "c", "azp": "a"}, "c"),
        ({"azp": "a"}, "a"),
        ({"client_id": None, "azp": "a"}, "a"),
        ({"azp": ["a"]}, None),
        ({"azp": 1}, None),
        ({}, None),
    ],
)
def test_the_client(claims: dict[str, Any], client: str | None) -> None:
    """`client_id`, else `azp`, and only as text."""
    assert client == token(**claims).client_id


def test_an_audience_is_a_tuple() -> None:
    """One or several, the type is the same."""
    assert ("a", "b") == token(aud=["a", "b"]).audience


def test_it_cannot_be_changed() -> None:
    """What was verified stays as it was."""
    read = token()
    for change in (
        lambda: setattr(read, "subject", "mallory"),
        lambda: setattr(read, "_claims", {}),
        lambda: setattr(read, "new", 1),
        lambda: delattr(read, "_claims"),
        lambda: read.claims.__setitem__("sub", "mallory"),  # type: ignore[attr-defined]
        lambda: read.header.__setitem__("alg", "none"),  # type: ignore[attr-defined]
    ):
        with pytest.raises(AttributeError):
            change()
    with pytest.raises(TypeError):
        read.claims["sub"] = "mallory"  # type: ignore[index]
    assert "alice" == read.subject


def test_equality_and_hash() -> None:
    """Two that say the same under the same key are equal; one difference anywhere is a difference."""
    assert token() == token()
    assert 1 == len({token(), token()})
    others = [token(sub="bob"), token(extra=1), ValidatedToken(CLAIMS, {"alg": "ES256"}, "k1"), ValidatedToken(CLAIMS, HEADER, "k2")]
    assert all(token() != other for other in others)
    assert token() != "token"
    assert token() != CLAIMS


def test_it_travels() -> None:
    """Pickles and copies are equal; there is no token and no signature in them."""
    read = token()
    for travelled in (pickle.loads(pickle.dumps(read)), copy.copy(read), copy.deepcopy(read)):
        assert read == travelled
        assert ValidatedToken is type(travelled)


def test_its_repr_shows_no_claim() -> None:
    """Users log `request.user`; issuer and key are escaped."""
    assert '<ValidatedToken issuer="https://issuer.test" key_id="k1" expires_at=1800000000>' == repr(token())
    for name in ("alice", "do not show", "api://test"):
        assert name not in repr(token()) + str(token())
    assert repr(ValidatedToken({**CLAIMS, "iss": "a\nb"}, HEADER, "k\x1b")).isprintable()


def user_of(**claims: Any) -> ValidatedToken:
    """Return a token without a subject, unless *claims* name one."""
    given = {name: value for name, value in CLAIMS.items() if name != "sub"}
    return ValidatedToken({**given, **claims}, HEADER, "k1")


def test_it_stands_in_request_user() -> None:
    """It answers what frameworks ask of a user, as somebody who is known, and never as somebody without a name."""
    user = user_of(sub="alice")
    assert (True, True, False) == (user.is_authenticated, user.is_active, user.is_anonymous)
    assert ("alice", "alice") == (user.identity, user.display_name)
    assert ("", "") == (user_of().identity, user_of().display_name)


def test_its_key_is_nobody_else_s() -> None:
    """Issuer and subject together tell users apart; a client that has no subject is no user of that name. It fits into a cache's key."""
    tokens = [
        user_of(sub="a"),
        user_of(sub="b"),
        user_of(client_id="a"),
        user_of(),
        user_of(iss="https://issuer.test/", sub="a"),
        user_of(sub='","a'),
    ]
    keys = [token.pk for token in tokens]
    assert len(tokens) == len(set(keys))
    assert keys[0] == user_of(sub="a", exp=1, scope="x").pk
    assert all(len(key) == 64 and key.isalnum() for key in keys)
