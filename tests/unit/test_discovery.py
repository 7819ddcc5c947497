"""The discovery document: of exactly the configured issuer, or not used at all (OpenID Connect Discovery, section 4.3)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from tests.strategies import ANY_JSON
from tests.unit.attacks_by_documents import BAD_PLACES, DISCOVERY, ISSUER, JWKS
from tests.unit.material import AUDIENCE, entry, key_set

from keyturn import DiscoveryDocument, DiscoveryError, KeyturnError, TokenValidator
from keyturn._core.discovery import discovery_url
from keyturn.testing import FakeClock, FakeIssuer


def parsed(body: bytes, **settings: Any) -> DiscoveryDocument:
    """Read *body* for the issuer of this file."""
    return DiscoveryDocument.parse(body, **{"issuers": (ISSUER,), **settings})


def refused(body: bytes, **settings: Any) -> DiscoveryError:
    """Return the error that *body* meets."""
    with pytest.raises(DiscoveryError) as caught:
        parsed(body, **settings)
    return caught.value


@pytest.mark.parametrize(
    ("issuer", "url"),
    [
        ("https://a.test", "https://a.test/.well-known/openid-configuration"),
        ("https://a.test/", "https://a.test/.well-known/openid-configuration"),
        ("https://a.test/t/v2.0", "https://a.test/t/v2.0/.well-known/openid-configuration"),
        ("https://a.test//", "https://a.test//.well-known/openid-configuration"),
    ],
)
def test_where_a_document_stands(issuer: str, url: str) -> None:
    """The path is appended after one final slash was removed (C42)."""
    assert url == discovery_url(issuer)


def test_what_is_read() -> None:
    """Issuer and location are what the document says; the rest is kept and not shown."""
    document = parsed(json.dumps({"issuer": ISSUER, "jwks_uri": JWKS, "extra": {"a": 1}}).encode())
    assert (ISSUER, JWKS, {"a": 1}) == (document.issuer, document.jwks_uri, document.metadata["extra"])
    assert "extra" not in repr(document)


def test_one_of_several_names() -> None:
    """A preset may list several names for one key set, and the document says one of them (C41)."""
    body = json.dumps({"issuer": ISSUER, "jwks_uri": JWKS}).encode()
    assert ISSUER == parsed(body, issuers=("accounts.test", ISSUER)).issuer
    assert '"a" or "b"' in str(refused(body, issuers=("a", "b")))


@pytest.mark.parametrize("name", DISCOVERY)
def test_the_classes_of_documents(name: str) -> None:
    """Every case of AD1 and AD5 to AD11 is refused with one error, or used unchanged."""
    for case in DISCOVERY[name]():
        if case.good:
            assert ISSUER == parsed(case.body, content_type=case.content_type).issuer, case.label
        else:
            assert str(refused(case.body, content_type=case.content_type)).isprintable(), case.label


@pytest.mark.parametrize("stated", ["https://issuer.test/", "https://issuer.test//"])
def test_a_slash_is_named_and_not_repaired(stated: str) -> None:
    """The hint says what to set (C41)."""
    error = refused(json.dumps({"issuer": stated, "jwks_uri": JWKS}).encode())
    assert "final slash alone" in error.hint
    assert "final slash" not in refused(b'{"issuer":"https://other.test"}').hint
    assert "final slash" not in refused(b'{"issuer":1}').hint


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (key_set(entry()), "`jwks_url` instead of `discovery_url`"),
        (b"[]", "`discovery_url` to where"),
        (b"<html>", "`discovery_url` to where"),
        (json.dumps({"issuer": ISSUER}).encode(), "set `jwks_url`"),
    ],
)
def test_the_hint_says_what_to_set(body: bytes, says: str) -> None:
    """Whoever configured the wrong place learns which setting is meant."""
    assert says in refused(body).hint


@given(ANY_JSON | ANY_JSON.map(lambda value: {"issuer": value, "jwks_uri": JWKS}) | ANY_JSON.map(lambda value: {"issuer": ISSUER, "jwks_uri": value}))
def test_any_document_is_ours_or_refused(value: Any) -> None:
    """Nothing else comes out, and what is used names our issuer and a location."""
    try:
        document = parsed(json.dumps(value).encode())
    except DiscoveryError:
        return
    assert ISSUER == document.issuer
    assert isinstance(document.jwks_uri, str)


def _validated(issuer: FakeIssuer, document: dict[str, Any]) -> KeyturnError | None:
    validator = TokenValidator(issuer.issuer, audience=AUDIENCE, fetcher=issuer.fetcher(), clock=issuer.clock)
    with issuer.answer(json.dumps({**issuer.discovery(), **document}).encode(), document="discovery"):
        try:
            validator.validate(issuer.token())
        except KeyturnError as error:
            return error
    return None


@pytest.mark.parametrize("place", BAD_PLACES)
def test_a_place_that_must_not_be_read(place: str) -> None:
    """AD2 to AD4: a public issuer may not lead there, and nothing is sent (R16)."""
    issuer = FakeIssuer(clock=FakeClock())
    error = _validated(issuer, {"jwks_uri": place})
    assert DiscoveryError is type(error)
    assert 503 == DiscoveryError.http_status
    assert ["discovery"] == [request.document for request in issuer.fetches.requests]


@pytest.mark.parametrize("stated", ["https://issuer.test/", "https://evil.example", None])
def test_of_another_issuers_document_nothing_is_used(stated: Any) -> None:
    """AD1: its key set is not even asked for (M52)."""
    issuer = FakeIssuer(clock=FakeClock())
    assert DiscoveryError is type(_validated(issuer, {"issuer": stated}))
    assert 0 == issuer.fetches.jwks


def test_algorithm_lists_widen_nothing() -> None:
    """AD6: `none` and HMAC in the document let nobody in, and a list without ours keeps nobody out (C45)."""
    issuer = FakeIssuer(clock=FakeClock())
    for algorithms in (["none", "HS256"], ["RS256"], "none"):
        assert None is _validated(issuer, {"id_token_signing_alg_values_supported": algorithms})
