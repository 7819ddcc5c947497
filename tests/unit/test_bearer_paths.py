"""Rules for paths: no writing of a protected path makes it public, whoever reads it behind."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn import ConfigurationError, InsufficientScopeError, ValidatedToken
from keyturn.integrations import NOTHING, Needs, any_of
from keyturn.integrations._paths import PathRules, below

READ, ADMIN = Needs("orders:read"), Needs(roles="admin")
RULES = PathRules({"/orders": READ, "/orders/admin/": ADMIN, "/orders/public": None, "/health": None})


@pytest.mark.parametrize(
    ("path", "needs"),
    [
        ("/orders", READ),
        ("/orders/", READ),
        ("/orders/7", READ),
        ("/orders/admin", ADMIN),
        ("/orders/admin/x/y", ADMIN),
        ("/orders/administration", READ),
        ("/orders/public", None),
        ("/orders/public/a.b", None),
        ("/orders/publicity", READ),
        ("/health", None),
        ("/health/", None),
        ("/health/live", None),
        ("/healthz", NOTHING),
        ("/Health", NOTHING),
        ("/", NOTHING),
        ("", NOTHING),
        ("/ordersx", NOTHING),
        ("/...", NOTHING),
        ("/health/...", None),
        ("/health/.well-known", None),
        ("/health/a%20b", None),
    ],
)
def test_the_longest_prefix_wins(path: str, needs: Needs | None) -> None:
    """Prefixes end at the end of a segment; what no rule names needs a good token."""
    assert needs is RULES.needs(path)


def test_a_rule_for_everything() -> None:
    """A rule for "/" is the one that all others are exceptions from."""
    rules = PathRules({"/": None, "/orders": READ})
    assert rules.needs("/anything") is None
    assert rules.needs("/") is None
    assert READ is rules.needs("/orders/7")


AMBIGUOUS = [
    "/health/../orders",
    "/health/..",
    "/../health",
    "/health/./x",
    "/health/.",
    "//health",
    "/health//",
    "/health//../orders",
    "/health\\..\\orders",
    "/health/%2e%2e/orders",
    "/health/%2E./orders",
    "/health%2forders",
    "/health%5c..",
    "/health/%252e%252e/orders",
    "/health/..;/orders",
    "/health/..;x=y/orders",
    "/health/.;/x",
    "/health/.\t./orders",
    "/health/\n../orders",
    "/health/\x00",
    "/health/\x7f",
    "orders",
    "health",
    "x:/orders",
    "http:/orders",
    "*",
    "/health/%6frders",
    "/%6Frders",
    "/orders%5fx",
]


@pytest.mark.parametrize("path", AMBIGUOUS)
def test_an_ambiguous_path_is_never_public(path: str) -> None:
    """What somebody behind may read as another path needs what all rules together need."""
    needs = RULES.needs(path)
    assert needs is not None
    needs.check(_token(scope="orders:read", roles=["admin"]))
    for claims in ({"scope": "orders:read"}, {"roles": ["admin"]}, {}):
        with pytest.raises(InsufficientScopeError):
            needs.check(_token(**claims))


@pytest.mark.parametrize("raw", [b"/health%2Forders", b"/health/..%2forders", b"/health%5Corders"])
def test_a_slash_that_was_sent_encoded_is_ambiguous(raw: bytes) -> None:
    """A server decodes it before anybody sees it; an application that routes by the raw path reads one segment."""
    assert RULES.needs("/health/orders", raw) is not None
    assert RULES.needs("/health/orders", b"/health/orders") is None


def _token(**claims: Any) -> ValidatedToken:
    return ValidatedToken({"iss": "https://a.test", "exp": 1, **claims}, {}, "k1")


READERS: list[Callable[[str], str]] = [
    posixpath.normpath,
    lambda path: posixpath.normpath(unquote(path)),
    lambda path: posixpath.normpath(unquote(unquote(path))),
    lambda path: posixpath.normpath(path.replace("\\", "/")),
    lambda path: posixpath.normpath(re.sub(r";[^/]*", "", path)),
    lambda path: posixpath.normpath(re.sub(r"[\t\r\n]", "", path)),
    lambda path: re.sub(r"/+", "/", path),
]
PIECES = ["/", "//", "health", "orders", ".", "..", "...", "%2e", "%2F", "%252e", "%5c", "\\", ";", "\t", "\n", "x", " "]


@given(st.lists(st.sampled_from(PIECES), max_size=8).map(lambda pieces: "/" + "".join(pieces)))
def test_no_reader_behind_reaches_a_protected_path(path: str) -> None:
    """Whatever is public stays below a public prefix, however an application behind normalises it."""
    if RULES.needs(path) is not None:
        return
    for read in READERS:
        assert read(path).rstrip("/").startswith(("/health", "/orders/public")), (path, read(path))


@pytest.mark.parametrize("path", ["", "orders", "/a//b", "/a/../b", "/a\\b", "/a%2Fb", 5, None])
def test_a_path_of_a_rule_must_be_plain(path: Any) -> None:
    """A rule that no request could meet is a mistake."""
    with pytest.raises(ConfigurationError, match="setting: rules"):
        PathRules({path: None})


@pytest.mark.parametrize("rule", ["orders:read", True, ["a"], any_of("a")])
def test_a_rule_is_needs_or_none(rule: Any) -> None:
    """Anything else would be read as something it does not say."""
    with pytest.raises(ConfigurationError, match=r"expected Needs\(\.\.\.\) or None"):
        PathRules({"/orders": rule})


def test_one_rule_for_a_path() -> None:
    """With and without a slash at its end a path is the same."""
    with pytest.raises(ConfigurationError, match='two rules are for "/orders"'):
        PathRules({"/orders": None, "/orders/": READ})


@pytest.mark.parametrize(
    ("path", "mounted", "rest"),
    [
        ("/v1/orders", "/v1", "/orders"),
        ("/v1/orders", "/v1/", "/orders"),
        ("/v1", "/v1", "/"),
        ("/v1x/orders", "/v1", "x/orders"),
        ("/v1orders", "/v1", "orders"),
        ("/health/v1/orders", "/v1", "health/v1/orders"),
        ("/orders", "/v1", "/orders"),
        ("/orders", "", "/orders"),
    ],
)
def test_the_part_below_a_mounted_application(path: str, mounted: str, rest: str) -> None:
    """Rules are written from the application's own root, wherever it is mounted; where frameworks differ the rest begins with no slash."""
    assert rest == below(path, mounted)
