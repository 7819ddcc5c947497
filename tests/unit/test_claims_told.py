"""What the errors of claims tell, word for word: whoever reads one must know which claim, what was expected, and what came.

Each row stands for a change of the source that no other test noticed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from keyturn import ClaimError, ExpiredTokenError, InvalidAudienceError, NotYetValidError, TokenTypeError
from keyturn._core import claims as check
from keyturn._core.token import check_media_type

ID: dict[str, Any] = {"sub": "alice", "iat": 1, "aud": "app"}
OURS = frozenset({"app"})

Row = tuple[Callable[[], object], type[ClaimError], str, str, str, str, str]
ROWS: list[Row] = [
    (
        lambda: check.check_id({**ID, "events": {}}, OURS),
        TokenTypeError,
        "the token has the claim events, which ID tokens do not have (setting: token_type)",
        "events",
        "absent",
        "present",
        "",
    ),
    (
        lambda: check.check_id({**ID, "aud": ["app", "other"], "azp": "app"}, OURS),
        InvalidAudienceError,
        'audience is ["app", "other"], expected nobody but "app" (setting: audience)',
        "aud",
        '"app"',
        '["app", "other"]',
        "An ID token for several clients is taken only if each of them is listed.",
    ),
    (
        lambda: check.check_id({**ID, "azp": "other"}, OURS),
        ClaimError,
        'azp is "other", expected "app" (setting: audience)',
        "azp",
        '"app"',
        '"other"',
        "",
    ),
    (
        lambda: check.check_nonce({"nonce": "theirs"}, "ours"),
        ClaimError,
        "nonce is not the one that was sent",
        "nonce",
        "the nonce of this login",
        '"theirs"',
        "",
    ),
    (
        lambda: check.check_shapes({"jti": 7}),
        ClaimError,
        "jti is 7, expected a string that is not empty",
        "jti",
        "a string that is not empty",
        "7",
        "",
    ),
    (
        lambda: check.check_expiry({"exp": "soon"}, 0.0, 0.0),
        ClaimError,
        'exp is "soon", expected a number of seconds',
        "exp",
        "a number of seconds",
        '"soon"',
        "",
    ),
    (
        lambda: check.check_expiry({"exp": 100}, 171.0, 60.0),
        ExpiredTokenError,
        "token expired 71 s ago; leeway is 60 s (setting: leeway)",
        "exp",
        "> 111",
        "100",
        ExpiredTokenError.hint,
    ),
    (
        lambda: check.check_start({"nbf": 0, "iat": 171}, 100.0, 60.0),
        NotYetValidError,
        "iat lies 71 s ahead; leeway is 60 s (setting: leeway)",
        "iat",
        "<= 160",
        "171",
        NotYetValidError.hint,
    ),
    (
        lambda: check.check_audience({"aud": "other"}, OURS),
        InvalidAudienceError,
        'audience is "other", expected "app" (setting: audience)',
        "aud",
        '"app"',
        '"other"',
        "",
    ),
    (
        lambda: check.check_shapes({"scope": None, "scp": "a", "roles": 7}),
        ClaimError,
        "roles is 7, expected a string or a list of strings",
        "roles",
        "a string or a list of strings",
        "7",
        "",
    ),
    (
        lambda: check.check_binding({"cnf": {}}),
        ClaimError,
        'the token is bound to its sender (claim "cnf"), and nobody here checks the binding (setting: required_claims)',
        "cnf",
        "no cnf",
        "present",
        'If your service checks the binding, name "cnf" in required_claims.',
    ),
    (
        lambda: check.check_access({"s_hash": "x", "at_hash": "x"}),
        TokenTypeError,
        "the token has the claim at_hash, which access tokens do not have (setting: token_type)",
        "at_hash",
        "absent",
        "present",
        "An ID token or a logout token was sent to an API.",
    ),
    (
        lambda: check.check_access({"s_hash": "x", "events": {}}),
        TokenTypeError,
        "the token has the claim events, which access tokens do not have (setting: token_type)",
        "events",
        "absent",
        "present",
        "An ID token or a logout token was sent to an API.",
    ),
    (
        lambda: check_media_type({"typ": "at+jwt"}, {"application/jwt"}, '"JWT"'),
        TokenTypeError,
        'typ is "at+jwt", expected "JWT" (setting: token_type)',
        "typ",
        '"JWT"',
        '"at+jwt"',
        "A token of another kind was sent: an ID token to an API, an access token to a login, or a logout token.",
    ),
]


@pytest.mark.parametrize(("judge", "kind", "message", "claim", "expected", "actual", "hint"), ROWS, ids=[f"{row[3]}-{row[4]}" for row in ROWS])
def test_what_an_error_tells(
    *, judge: Callable[[], object], kind: type[ClaimError], message: str, claim: str, expected: str, actual: str, hint: str
) -> None:
    """Message, claim, what was expected and what came; a hint where somebody can act (U23)."""
    with pytest.raises(kind) as caught:
        judge()
    error = caught.value
    assert (message, claim, expected, actual, hint) == (error.message, error.claim, error.expected, error.actual, error.hint)


@pytest.mark.parametrize(
    ("count", "listed"),
    [
        (1, '"a0"'),
        (5, '"a0" or "a1" or "a2" or "a3" or "a4"'),
        (6, '"a0" or "a1" or "a2" or "a3" or "a4" or 1 more'),
    ],
)
def test_names_that_are_listed(count: int, listed: str) -> None:
    """Five of them are shown, and how many more there are; of five, nobody is left out."""
    with pytest.raises(InvalidAudienceError) as caught:
        check.check_audience({"aud": "b"}, frozenset(f"a{number}" for number in range(count)))
    assert listed == caught.value.expected


@pytest.mark.parametrize(
    ("stated", "hint"),
    [
        (
            "https://a.test/",
            "The two differ by a final slash alone. Issuers are compared character by character: set `issuer` to what the tokens say.",
        ),
        ("https://a.testX", ""),
    ],
)
def test_a_final_slash_is_named(stated: str, hint: str) -> None:
    """It is what is wrong most often; another last letter is another issuer (C41)."""
    with pytest.raises(ClaimError) as caught:
        check.check_issuer({"iss": stated}, frozenset({"https://a.test"}))
    assert hint == caught.value.hint


def test_a_configured_name_that_ends_in_a_letter() -> None:
    """Only slashes are left out of that comparison."""
    with pytest.raises(ClaimError) as caught:
        check.check_issuer({"iss": "https://a.test"}, frozenset({"https://a.testX"}))
    assert "" == caught.value.hint


def test_scopes_are_divided_at_spaces_alone() -> None:
    """A tab or a line break is a part of a name, whatever Python would divide at (RFC 6749, section 3.3)."""
    assert {"a\tb", "c\nd", "e"} == check.names_of("a\tb c\nd  e")
