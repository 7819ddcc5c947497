"""The head of an HTTP answer, judged before its body is read (R16, F11, F12, F18, F20-F23)."""

from __future__ import annotations

import re

import pytest

from keyturn._core.answer import refusal, retry_after_of
from keyturn.errors import FetchError

PLACE = '"https://login.example.com/keys"'
SUNDAY = 784111777.0
"""Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110's examples, in seconds since the epoch."""


def judged(status: int = 200, headers: dict[str, str] | None = None, max_bytes: int = 1000) -> FetchError | None:
    """Return the error for one answer, or None."""
    return refusal(PLACE, status, headers or {}, max_bytes=max_bytes, wall=SUNDAY)


@pytest.mark.parametrize(
    "headers",
    [{}, {"content-encoding": "identity"}, {"content-encoding": ""}, {"content-encoding": "Identity, identity"}, {"content-length": "1000"}],
)
def test_answers_that_may_be_read(headers: dict[str, str]) -> None:
    """Status 200, no encoding, and no declared length above the limit (R16)."""
    assert judged(headers=headers) is None


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "zstd", "deflate", "gzip, gzip", "identity, gzip", "x-unknown"])
def test_encodings_are_refused(encoding: str) -> None:
    """Nothing is ever decompressed (F12)."""
    error = judged(headers={"content-encoding": encoding})

    assert error is not None
    assert f'content encoding "{encoding}"' in error.message


@pytest.mark.parametrize("length", ["1001", "104857600", 30 * "9"])
def test_declared_lengths_above_the_limit(length: str) -> None:
    """A body that says it is too long is not read; the message names the setting (F11)."""
    error = judged(headers={"content-length": length})

    assert error is not None
    assert "expected at most 1000 (setting: max_document_bytes)" in error.message


@pytest.mark.parametrize("status", [201, 204, 206, 300, 304, 400, 401, 403, 404, 410, 418, 429, 500, 502, 503, 504, 999])
def test_only_200_is_an_answer(status: int) -> None:
    """Whatever is not 200 is a failed fetch (F20-F22)."""
    error = judged(status)

    assert error is not None
    assert f"{PLACE} answered {status}, expected 200" == error.message


@pytest.mark.parametrize(
    ("status", "hint"),
    [(401, "User-Agent"), (403, "User-Agent"), (406, "User-Agent"), (404, "discovery_url"), (410, "jwks_url"), (304, "cache"), (407, "proxy")],
)
def test_hints_name_what_can_be_done(status: int, hint: str) -> None:
    """Firewalls that dislike an agent, wrong locations and caches are told apart (F20-F22, U17)."""
    error = judged(status)

    assert error is not None
    assert hint in error.hint


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_say_where_they_point(status: int) -> None:
    """A redirect is shown, escaped, and never followed (F18)."""
    error = judged(status, {"location": "https://evil.example/\x1b[31m"})

    assert error is not None
    assert f'{PLACE} answered {status} and points to "https://evil.example/\\x1b[31m"; redirects are never followed' in error.message
    assert "discovery_url" in error.message
    assert "jwks_url" in error.message


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "120"}, 120),
        ({"retry-after": " 120 "}, 120),
        ({"retry-after": "0"}, 1),
        ({"retry-after": "1"}, 1),
        ({"retry-after": "3600"}, 3600),
        ({"retry-after": "3601"}, 3600),
        ({"retry-after": "1000000000"}, 3600),
        ({"retry-after": 400 * "9"}, 3600),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "1.5"}, None),
        ({"retry-after": "٣"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "120, 240"}, None),
        ({"retry-after": "Sun, 06 Nov 1994 08:51:37 GMT"}, 120),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}, 1),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:36 GMT"}, None),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, 3600),
        ({"retry-after": "Sun, 31 Feb 1995 08:49:37 GMT"}, None),
        ({"retry-after": "Sun, 06 Nox 1994 08:51:37 GMT"}, None),
        ({"retry-after": "Sun, 06 Nov 1994 08:51:37 +0100"}, None),
        # The issuer's clock is its own: both dates come from it.
        ({"retry-after": "Tue, 01 Jan 2030 00:02:00 GMT", "date": "Tue, 01 Jan 2030 00:00:00 GMT"}, 120),
        ({"retry-after": "Sun, 06 Nov 1994 08:51:37 GMT", "date": "today"}, 120),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: int | None) -> None:
    """Seconds and dates within [1 s, 1 h]; what is negative or unreadable says nothing (F23, B8, Z7)."""
    error = judged(503, headers)

    assert error is not None
    assert (seconds, seconds) == (retry_after_of(headers, SUNDAY), error.retry_after)


def test_foreign_text_is_escaped() -> None:
    """Whatever a header holds enters a message quoted and cut."""
    error = judged(headers={"content-encoding": "\x1b]0;x\x07" + 500 * "y"})

    assert error is not None
    assert re.search(r"[\x00-\x1f]", error.message) is None
    assert len(error.message) < 250
