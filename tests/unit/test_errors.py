"""Errors: whose fault it was, safe texts, and the way through a pickle."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import ANY_JSON

from keyturn import errors
from keyturn.errors import LONGEST_QUOTE, ClaimError, InsufficientScopeError, KeyturnError, quoted, whole_seconds

CODES = {
    "KeyturnError": ("keyturn", 500),
    "ConfigurationError": ("configuration", 500),
    "KeysUnavailableError": ("keys_unavailable", 503),
    "FetchError": ("fetch_failed", 503),
    "DiscoveryError": ("discovery_failed", 503),
    "InvalidKeySetError": ("invalid_key_set", 503),
    "InsufficientScopeError": ("insufficient_scope", 403),
    "MissingTokenError": ("missing_token", 401),
    "InvalidRequestError": ("invalid_request", 400),
    "InvalidTokenError": ("invalid_token", 401),
    "MalformedTokenError": ("malformed_token", 401),
    "DisallowedAlgorithmError": ("disallowed_algorithm", 401),
    "InvalidSignatureError": ("invalid_signature", 401),
    "UnknownKeyError": ("unknown_key", 401),
    "RevokedKeyError": ("revoked_key", 401),
    "ClaimError": ("invalid_claim", 401),
    "ExpiredTokenError": ("expired_token", 401),
    "NotYetValidError": ("not_yet_valid", 401),
    "InvalidIssuerError": ("invalid_issuer", 401),
    "InvalidAudienceError": ("invalid_audience", 401),
    "GraphTokenError": ("graph_token", 401),
    "MissingClaimError": ("missing_claim", 401),
    "TokenTypeError": ("wrong_token_type", 401),
}
CLASSES = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, KeyturnError)}


def made(kind: type[KeyturnError], **more: Any) -> KeyturnError:
    """Return an error of *kind*."""
    if issubclass(kind, ClaimError):
        more = {"claim": "aud", "expected": '"a"', "actual": '"b"', **more}
    return kind("something is wrong (setting: x)", **more)


def test_every_class_has_its_code_and_status() -> None:
    """Codes are stable over releases, and a status says whose fault it was (1, 2)."""
    assert CODES == {name: (kind.code, kind.http_status) for name, kind in CLASSES.items()}
    assert len(CLASSES) == len({kind.code for kind in CLASSES.values()})


@pytest.mark.parametrize("name", CODES)
def test_a_malformed_token_is_never_unavailable(name: str) -> None:
    """503 means that we cannot know, 401 that the token is at fault, or that there is none; no class is both (M45)."""
    kind = CLASSES[name]
    assert issubclass(kind, errors.KeysUnavailableError) == (503 == kind.http_status)
    assert issubclass(kind, (errors.InvalidTokenError, errors.MissingTokenError)) == (401 == kind.http_status)


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize(
    "travel", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error, 0))]
)
def test_an_error_travels(name: str, travel) -> None:
    """Class, message and every attribute arrive in another process; worker pools send errors home."""
    more = {"required": ("a", "b")} if name == "InsufficientScopeError" else {} if issubclass(CLASSES[name], ClaimError) else {"retry_after": 4.2}
    error = made(CLASSES[name], hint="Do this.", **more)
    error.add_note("seen on the way")
    arrived = travel(error)
    assert type(error) is type(arrived)
    assert vars(error) == vars(arrived)
    assert error.args == arrived.args
    assert "something is wrong (setting: x)" == arrived.message == str(arrived)
    assert ("Do this.", CODES[name][0]) == (arrived.hint, arrived.code)


def test_a_hint_of_the_class_stays_until_one_is_given() -> None:
    """None keeps it, an empty one removes it."""
    assert "fetch a new token" in made(errors.ExpiredTokenError).hint
    assert "" == made(errors.ExpiredTokenError, hint="").hint
    assert "" == made(errors.InvalidTokenError).hint


@pytest.mark.parametrize(("seconds", "whole"), [(0, 1), (-5, 1), (0.2, 1), (1, 1), (1.0001, 2), (299.5, 300), (300, 300)])
def test_seconds_are_rounded_up(seconds: float, whole: int) -> None:
    """`Retry-After` is whole and at least 1, so that no client comes too early (RFC 9110, section 10.2.3)."""
    assert whole == whole_seconds(seconds)
    assert whole == made(errors.FetchError, retry_after=seconds).retry_after
    assert None is made(errors.FetchError).retry_after


def test_required_scopes() -> None:
    """They are there for the answer's header (RFC 6750, section 3.1)."""
    assert ("a",) == InsufficientScopeError("x", required=("a",)).required
    assert () == InsufficientScopeError("x").required


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("k1", '"k1"'),
        ("", '""'),
        ('a"b', '"a\\"b"'),
        ("a\nb\r\t\0", '"a\\nb\\r\\t\\x00"'),
        ("\x1b[31m", '"\\x1b[31m"'),
        ("\u202ek\u200b", '"\\u202ek\\u200b"'),
        ("\ud800", '"\\ud800"'),
        ("\u00e9\U0001f511", '"\u00e9\U0001f511"'),
        ("x" * 78, '"' + "x" * 78 + '"'),
        ("x" * 79, '"' + "x" * 77 + '…"'),
        ("\0" * 79, '"' + "\\x00" * 19 + "\\" + '…"'),
        ("a\\nb", '"a\\\\nb"'),
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (1.5, "1.5"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (7, "7"),
        (-(2**256) + 1, str(-(2**256) + 1)),
        (2**256, "an integer of 257 bits"),
        pytest.param(10**5_000, "an integer of 16610 bits", id="huge"),
        ({"a": 1}, "an object"),
        ({}, "an object"),
        ([], "[]"),
        (["a", 1, None], '["a", 1, null]'),
        (("a", "b"), '["a", "b"]'),
        ([1, 2, 3, 4], "[1, 2, 3, 4]"),
        ([1, 2, 3, 4, 5], "[1, 2, 3, 4, …]"),
        ([["x" * 50, "y" * 50]], '[["' + "x" * 50 + '", "' + "y" * 22 + "…"),
        (b"secret", "bytes"),
        (object(), "object"),
    ],
)
def test_what_a_value_looks_like(value: object, text: str) -> None:
    """Escaped, cut, and of an object nothing but that it is one."""
    assert text == quoted(value)


@given(ANY_JSON | st.text() | st.binary() | st.integers() | st.floats())
def test_a_quote_is_safe_and_short(value: object) -> None:
    """It never holds what a terminal obeys or a log takes for a new line, and has at most 80 characters in all (C17)."""
    text = quoted(value)
    assert text.isprintable()
    assert len(text) <= LONGEST_QUOTE
    if isinstance(value, str):
        assert '"' not in text[1:-1].replace("\\\\", "").replace('\\"', "")


def test_a_huge_text_is_cut_before_it_is_escaped() -> None:
    """The same text comes out for a hundred characters and for a million; the work is that of eighty."""

    class Counted(str):
        """Text that knows how often it was walked over."""

        __slots__ = ()

        walks = 0

        def __iter__(self):
            Counted.walks += 1
            return super().__iter__()

    huge = Counted("\x1b" * 1_000_000)
    assert quoted("\x1b" * 100) == quoted(huge)
    assert 0 == Counted.walks


def test_a_class_of_a_hostile_name_is_escaped() -> None:
    """The name of a type is foreign text, too."""
    assert "a\\nb" == quoted(type("a\nb", (), {})())
    assert LONGEST_QUOTE == len(quoted(type("x" * 200, (), {})()))
