"""From header to token, and from error to answer: what every web adapter stands on (RFC 6750; RFC 9110, section 11)."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn import ConfigurationError, InsufficientScopeError, KeysUnavailableError, KeyturnError, UnknownKeyError, ValidatedToken, errors
from keyturn.errors import InvalidRequestError, InvalidTokenError, MissingTokenError
from keyturn.integrations import NOTHING, AnyOf, Needs, any_of
from keyturn.integrations._bearer import _DESCRIPTIONS, Challenge, Every, metadata_document, metadata_location, token_of

LONGEST_DESCRIPTION = 120
_CHALLENGE = re.compile(r'Bearer(?: (?:[a-z_]+="[\x20\x21\x23-\x5b\x5d-\x7e]*"(?:, |$))*)?')


def token(**claims: Any) -> ValidatedToken:
    """Return a token with these claims."""
    return ValidatedToken({"iss": "https://a.test", "sub": "alice", "exp": 1, **claims}, {}, "k1")


def raised(kind: type[KeyturnError]) -> KeyturnError:
    """Return an error of *kind*, whose texts hold what must never reach a client."""
    arguments = {name: 'SECRET"\r\n' for name in ("claim", "expected", "actual") if name in inspect.signature(kind.__init__).parameters}
    return kind('SECRET"\r\nX: y', **arguments)


KINDS = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, KeyturnError)]


# Header to token.


@pytest.mark.parametrize(
    "value", ["Bearer abc", "bearer abc", "BEARER abc", "Bearer    abc", " Bearer abc ", "\tBearer abc\t", b"Bearer abc", b"bEARER abc"]
)
def test_one_word_after_the_scheme_is_the_token(value: str | bytes) -> None:
    """The scheme is read without regard to case, with one or more spaces behind it (RFC 9110, section 11.1)."""
    assert "abc" == token_of([value])


@pytest.mark.parametrize(
    "values", [[], [""], ["Basic YWxpY2U6"], ["Bearerabc"], ["DPoP abc"], ["abc"], ["Bearer\tabc"], ["Negotiate"], [b"\xff\xfe"]]
)
def test_other_credentials_are_none(values: list[str | bytes]) -> None:
    """Another scheme, or no header, asks for a token, without an error code (RFC 6750, section 3)."""
    with pytest.raises(MissingTokenError):
        token_of(values)


@pytest.mark.parametrize(
    "values",
    [
        ["Bearer a", "Bearer a"],
        ["Basic YWxpY2U6", "Bearer a"],
        ["", ""],
        ["Bearer"],
        ["Bearer "],
        ["Bearer a b"],
        ["Bearer a\tb"],
        ["Bearer a,Bearer b"],
        ["Bearer a, bearer b"],
        ["Basic YWxpY2U6,Bearer a"],
        ["Basic YWxpY2U6, BEARER\ta"],
        ["Basic YWxpY2U6,Bearer"],
        [b"Digest a=b,\tbearer c"],
    ],
)
def test_anything_but_one_token_is_refused(values: list[str | bytes]) -> None:
    """Which of two tokens was meant is nobody's to guess, also where a server joined them (RFC 6750, section 2)."""
    with pytest.raises(InvalidRequestError):
        token_of(values)


@pytest.mark.parametrize("query", ["access_token=x", "a=b&access_token=", b"access_token=x", "a=1&access_token=y&b=2"])
def test_a_second_token_in_the_url_is_refused(query: str | bytes) -> None:
    """A token in the URL beside one in the header is a fault, and alone it is never read (RFC 6750, section 2; RFC 9700, section 4.3.2)."""
    with pytest.raises(InvalidRequestError):
        token_of(["Bearer a"], query)
    with pytest.raises(MissingTokenError):
        token_of([], query)


@pytest.mark.parametrize("query", ["", "x=access_token", "my_access_token=x", "access_token_hint=x", b"\xff=\xfe", "%zz=%", "=&=&"])
def test_other_queries_are_nobody_s_business(query: str | bytes) -> None:
    """A value, or a longer name, is no token, and bytes that are no text do no harm."""
    assert "a" == token_of(["Bearer a"], query)


@given(st.lists(st.text() | st.binary(), max_size=3), st.text() | st.binary())
def test_no_header_breaks_the_reading(values: list[str | bytes], query: str | bytes) -> None:
    """Whatever is sent, the outcome is one word or one of two refusals."""
    try:
        word = token_of(values, query)
    except (MissingTokenError, InvalidRequestError):
        return
    assert word
    assert not set(word) & set(" \t")


# What a place needs.


def test_all_of_several_names() -> None:
    """A string is divided at blanks; every name is needed (RFC 6749, section 3.3)."""
    for needs in (Needs("a b"), Needs(["a", "b"]), Needs({"a": 1, "b": 2}.keys()), Needs(name for name in ("a", "b"))):
        needs.check(token(scope="c b a"))
        with pytest.raises(InsufficientScopeError):
            needs.check(token(scope="a"))


def test_one_of_several_names() -> None:
    """With `any_of()` one name is enough, and none is not."""
    needs = Needs(any_of("a", "b"), roles=any_of("x", "y"))
    needs.check(token(scope="b", roles=["y"]))
    for claims in ({"scope": "a"}, {"roles": ["x"]}, {"scope": "x", "roles": ["a"]}):
        with pytest.raises(InsufficientScopeError):
            needs.check(token(**claims))


def test_scopes_and_roles_are_never_merged() -> None:
    """A role of an application is no consent of a user, and the other way round."""
    with pytest.raises(InsufficientScopeError):
        Needs("admin").check(token(roles=["admin"]))
    with pytest.raises(InsufficientScopeError):
        Needs(roles="admin").check(token(scope="admin"))


def test_the_error_names_all_that_is_needed() -> None:
    """A client that is told half of it would come back in vain; of several that will do the first is named."""
    with pytest.raises(InsufficientScopeError) as refused:
        Needs("a b").check(token(scope="a"))
    assert ("a", "b") == refused.value.required
    assert ("a",) == Needs(any_of("a", "b")).challenge
    assert () == Needs(roles="admin").challenge
    assert ("a", "b", "c") == Every(Needs("a b"), Needs(any_of("c", "d")), Needs("b")).challenge


def test_needs_of_several_places_are_all_asked_for() -> None:
    """What several places need together is every part of it, `any_of()` included."""
    every = Every(Needs(any_of("a", "b")), Needs(roles="admin"), NOTHING)
    every.check(token(scope="b", roles=["admin"]))
    for claims in ({"scope": "b"}, {"roles": ["admin"]}):
        with pytest.raises(InsufficientScopeError):
            every.check(token(**claims))


BAD_NAMES: list[Any] = ['a"b', "a\\b", "a\nb", "ä", "", 5, None]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize(
    "build",
    [lambda name: Needs([name]), lambda name: Needs(roles=[name]), lambda name: any_of("a", name), lambda name: Needs(AnyOf((name,)))],
    ids=["scopes", "roles", "any_of", "AnyOf"],
)
def test_names_that_do_not_fit_into_a_header(name: Any, build: Any) -> None:
    """They are refused when they are written down, whatever they are wrapped in (RFC 6749, section 3.3)."""
    with pytest.raises(ConfigurationError):
        build(name)


@pytest.mark.parametrize("names", [None, 5, b"abc", {"a": "b"}, 1.5])
def test_what_is_no_list_of_names(names: Any) -> None:
    """It is a mistake of configuration, and never "nothing is needed"."""
    with pytest.raises(ConfigurationError, match=r"scopes (is|holds)"):
        Needs(names)


@pytest.mark.parametrize("build", [any_of, lambda: AnyOf(())])
def test_any_of_nothing(build: Any) -> None:
    """A rule that nobody could meet is a mistake."""
    with pytest.raises(ConfigurationError, match="no name"):
        build()


def test_needs_compare_by_what_they_ask() -> None:
    """Equal needs are equal keys, and show what they are."""
    assert Needs("a b") == Needs(["a", "b", "a"])
    assert 1 == len({Needs("a"), Needs(["a"])})
    assert Needs("a") != Needs(any_of("a"))
    assert Needs("a") != "a"
    assert "Needs(scopes=('a',), roles=())" == repr(Needs("a"))
    assert Every(Needs(any_of("a", "b"))) != Every(Needs("a"))
    assert Every(Needs("a")) == Every(Needs("a"))
    assert 1 == len({Every(Needs("a")), Every(Needs("a"))})
    assert Every(Needs("a")) != Needs("a")
    assert Needs("a") != Every(Needs("a"))
    assert "Every(Needs(scopes=('a',), roles=()))" == repr(Every(Needs("a")))


# Error to answer.


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_has_its_answer(kind: type[KeyturnError]) -> None:
    """Status by the error, a challenge below 500 alone, `Retry-After` with 503, and never a text of the error's own (RFC 6750, section 3.1)."""
    error = raised(kind)
    status, headers, body = Challenge("orders").answer(error, ("a", "b"))
    assert error.http_status == status
    assert "no-store" == headers["Cache-Control"]
    assert ("WWW-Authenticate" in headers) == (status < 500)
    assert (headers.get("Retry-After") == "5") == (status == 503)
    assert {"error", "error_description"} == set(body)
    assert "SECRET" not in repr((headers, body))
    if "WWW-Authenticate" in headers:
        assert _CHALLENGE.fullmatch(headers["WWW-Authenticate"])
        assert 'realm="orders", scope="a b"' in headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MissingTokenError("x"), None),
        (InvalidRequestError("x"), "invalid_request"),
        (InvalidTokenError("x"), "invalid_token"),
        (UnknownKeyError("x"), "invalid_token"),
        (InsufficientScopeError("x"), "insufficient_scope"),
    ],
)
def test_the_error_codes_of_the_challenge(error: KeyturnError, code: str | None) -> None:
    """Only the codes that the standard has, and none without credentials (RFC 6750, section 3.1)."""
    (value,) = [value for name, value in Challenge().answer(error).headers.items() if name == "WWW-Authenticate"]
    assert [code] if code else [] == re.findall(r'error="([^"]*)"', value)
    assert ("error_description" in value) == (code is not None)


def test_a_bare_challenge_is_the_scheme_alone() -> None:
    """Without settings and credentials nothing stands behind the scheme, not even a blank."""
    assert "Bearer" == Challenge().answer(MissingTokenError("x")).headers["WWW-Authenticate"]


def test_retry_after_is_the_error_s_own() -> None:
    """An unknown key says when to ask again although it is a 401; so does an outage (R5, R8)."""
    assert "300" == Challenge().answer(UnknownKeyError("x", retry_after=299.5)).headers["Retry-After"]
    assert "20" == Challenge().answer(KeysUnavailableError("x", retry_after=20)).headers["Retry-After"]
    assert "Retry-After" not in Challenge().answer(UnknownKeyError("x")).headers


def test_scopes_of_the_error_are_told_beside_those_of_the_place() -> None:
    """A handler's own error may need more; what does not fit into a header is left out."""
    error = InsufficientScopeError("x", required=("b", "c", 'd"', "e\r\nX: y"))
    assert 'scope="a b c"' in Challenge().answer(error, ("a", "b")).headers["WWW-Authenticate"]


def test_descriptions_fit_into_a_header() -> None:
    """Printable ASCII without quote and backslash, at most 120 characters (RFC 6750, section 3)."""
    bad = [text for text in _DESCRIPTIONS.values() if not re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+", text) or len(text) > LONGEST_DESCRIPTION]
    assert [] == bad


@pytest.mark.parametrize("value", ['a"b', "a\\b", "a\r\nX: y", "ä", 5, b"a"])
@pytest.mark.parametrize("setting", ["realm", "resource_metadata"])
def test_settings_that_do_not_fit_into_a_header(setting: str, value: Any) -> None:
    """They are found at construction, so that no request ever meets them."""
    with pytest.raises(ConfigurationError, match=f"setting: {setting}"):
        Challenge(**{setting: value})


# Protected resource metadata.


@pytest.mark.parametrize(
    ("resource", "location"),
    [
        ("https://api.example.com", "https://api.example.com/.well-known/oauth-protected-resource"),
        ("https://api.example.com/", "https://api.example.com/.well-known/oauth-protected-resource"),
        ("https://api.example.com/mcp", "https://api.example.com/.well-known/oauth-protected-resource/mcp"),
        ("https://api.example.com:8443/a/b?c=d", "https://api.example.com:8443/.well-known/oauth-protected-resource/a/b?c=d"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/.well-known/oauth-protected-resource"),
    ],
)
def test_metadata_stands_between_host_and_path(resource: str, location: str) -> None:
    """The well-known part comes right behind the host (RFC 9728, section 3.1)."""
    assert location == metadata_location(resource)


@pytest.mark.parametrize(
    "resource",
    [
        "",
        "api://orders",
        "api.example.com",
        "https://",
        "https://api.example.com/#x",
        "https://api.example.com/#",
        "https://a b",
        'https://a"',
        "https://[",
        5,
        None,
        b"https://a",
    ],
)
def test_a_resource_that_is_no_url(resource: Any) -> None:
    """It is a mistake of configuration, whatever it is (RFC 9728, section 1.2)."""
    with pytest.raises(ConfigurationError, match="setting: resource"):
        metadata_location(resource)


def test_metadata_lists_what_there_is() -> None:
    """Every issuer once, sorted; no empty lists (RFC 9728, section 2)."""
    document = metadata_document("https://api.test", ["https://b.test", "https://a.test", "https://a.test"], [])
    assert ["https://a.test", "https://b.test"] == document["authorization_servers"]
    assert "scopes_supported" not in document
    assert ["header"] == document["bearer_methods_supported"]
