"""Whether the head of an HTTP answer promises a document that may be read (R16).

Rules of this file:

1. Status 200 alone is an answer; nothing is followed, and nothing was asked for under a condition.
2. A body in another encoding, or declared longer than the limit, is refused before it is read.
3. `Retry-After` is obeyed on any failed answer, within [1 s, 1 h] (R8).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from keyturn.errors import FetchError, quoted

SHORTEST_RETRY_AFTER = 1.0
"""Seconds: an issuer that answers "0" still gets a pause (R8)."""

LONGEST_RETRY_AFTER = 3600.0
"""Seconds: a wrong or hostile value may not keep us from new keys for longer than this (R8)."""

_SECONDS = re.compile(r"[0-9]+")
_MANY_DIGITS = 10
_DATE = re.compile(
    r"[A-Z][a-z]{2}, (?P<day>[0-9]{2}) (?P<month>[A-Z][a-z]{2}) (?P<year>[0-9]{4}) (?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2}) GMT"
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_HINTS = {
    304: "Nothing was asked for under a condition: look at the cache between here and the issuer.",
    401: "The firewall before the issuer may dislike the request: try another User-Agent with HttpxFetcher(headers=...).",
    404: "Check the location: issuer, discovery_url, jwks_url or metadata_url.",
    407: "The proxy asks for a user name: give it in HttpxFetcher(proxy=...) or in the proxy variables of the environment.",
}
_HINTS |= {403: _HINTS[401], 406: _HINTS[401], 410: _HINTS[404]}


def refusal(place: str, status: int, headers: Mapping[str, str], *, max_bytes: int, wall: float) -> FetchError | None:
    """Return the error that the head of an answer stands for, or None if its body may be read.

    Args:
        place: The location as a message shows it.
        status: HTTP status.
        headers: Header fields, names in lower case.
        max_bytes: Length above which a body is refused.
        wall: Seconds since the epoch, for a date in `Retry-After`.
    """
    if status != 200:  # noqa: PLR2004 - the one status of an answer
        return _failed(place, status, headers, retry_after_of(headers, wall))
    encoding = headers.get("content-encoding", "")
    # A few bytes of a compressed body may stand for gigabytes, so none is ever decompressed.
    if not {part.strip().lower() for part in encoding.split(",")} <= {"", "identity"}:
        return FetchError(
            f"{place} answered with the content encoding {quoted(encoding)}, expected none",
            hint="Identity was asked for: switch compression off for this location, at the issuer or at the proxy before it.",
        )
    declared = headers.get("content-length", "")
    if _SECONDS.fullmatch(declared) and (len(declared) > _MANY_DIGITS or int(declared) > max_bytes):
        return too_long(place, max_bytes, f"announced {declared[:_MANY_DIGITS]} bytes")
    return None


def too_long(place: str, max_bytes: int, got: str) -> FetchError:
    """Return the error for a body that is longer than *max_bytes*."""
    return FetchError(
        f"{place} {got}, expected at most {max_bytes} (setting: max_document_bytes)",
        hint="A key set of hundreds of keys is far shorter: check that the location is right before the limit is raised.",
    )


def _failed(place: str, status: int, headers: Mapping[str, str], retry_after: float | None) -> FetchError:
    if 300 <= status < 400 and "location" in headers:  # noqa: PLR2004 - the range of redirects
        return FetchError(
            f"{place} answered {status} and points to {quoted(headers['location'])}; redirects are never followed "
            "(settings: discovery_url, jwks_url, metadata_url)",
            hint="Give the final location as discovery_url, jwks_url or metadata_url, if it is the right one.",
            retry_after=retry_after,
        )
    return FetchError(f"{place} answered {status}, expected 200", hint=_HINTS.get(status), retry_after=retry_after)


def retry_after_of(headers: Mapping[str, str], wall: float) -> float | None:
    """Return the seconds that `Retry-After` asks to wait (RFC 9110, section 10.2.3), within [1, 3600]; None where it says nothing usable.

    A date is compared with the `Date` of the same answer, so that our own clock may be wrong; without one with *wall*.
    """
    text = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(text):
        seconds = float(text) if len(text) <= _MANY_DIGITS else LONGEST_RETRY_AFTER
    else:
        then, now = _date(text), _date(headers.get("date", ""))
        if then is None:
            return None
        seconds = then - (wall if now is None else now)
        if seconds < 0:
            return None
    return min(max(seconds, SHORTEST_RETRY_AFTER), LONGEST_RETRY_AFTER)


def _date(text: str) -> float | None:
    """Return the seconds since the epoch of an HTTP date in the one form that may be sent (RFC 9110, section 5.6.7)."""
    match = _DATE.fullmatch(text.strip())
    if match is None or match["month"] not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(match[name]) for name in ("day", "year", "hour", "minute", "second"))
    try:
        return datetime(year, _MONTHS.index(match["month"]) + 1, day, hour, minute, second, tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return None
