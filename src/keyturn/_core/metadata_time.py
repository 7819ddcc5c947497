"""Instants and durations as XML Schema writes them (XML Schema, part 2, sections 3.2.6 and 3.2.7).

Rules of this file:

1. An instant without a zone is in UTC, as SAML wants it (SAML Core, section 1.3.3); one that cannot be read refuses.
2. A duration is a hint: one that cannot be read says nothing, and one that is negative or endless is cut to what can be counted.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from keyturn.errors import InvalidKeySetError, quoted

LONGEST_DURATION = 2.0**31
"""Seconds that stand for a duration too long to count, as with `max-age` (RFC 9111, section 1.2.2)."""

_INSTANT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,20})?(Z|[+-]\d\d:\d\d)?", re.ASCII)
_DURATION = re.compile(
    r"(-?)P(?=[\dT])(?:(\d{1,12})Y)?(?:(\d{1,12})M)?(?:(\d{1,12})D)?(?:T(?=\d)(?:(\d{1,12})H)?(?:(\d{1,12})M)?(?:(\d{1,12})(?:\.\d{1,20})?S)?)?",
    re.ASCII,
)
_SECONDS = (31_536_000, 2_592_000, 86_400, 3_600, 60, 1)


def instant(text: str) -> float:
    """Return an instant as seconds since the epoch; fractions of a second are left off.

    Raises:
        InvalidKeySetError: It cannot be read.
    """
    match = _INSTANT.fullmatch(text.strip(" \t\r\n"))
    if match is not None:
        whole, _, zone = match.groups()
        try:
            # In UTC it has to be an instant that can be shown, too: with its zone the first day of year 1 lies before there are dates.
            return datetime.fromisoformat(whole + (zone or "Z")).astimezone(UTC).timestamp()
        except (ValueError, OverflowError):
            pass
    raise InvalidKeySetError(f"the federation metadata has the validUntil {quoted(text)}, expected an instant such as 2030-01-31T12:00:00Z")


def duration(text: str) -> float | None:
    """Return a duration in seconds, within [0, 2^31]; a year has 365 days and a month 30. None if it cannot be read."""
    match = _DURATION.fullmatch(text.strip(" \t\r\n"))
    if match is None:
        return None
    sign, *counts = match.groups()
    seconds = sum(int(count or 0) * each for count, each in zip(counts, _SECONDS, strict=True))
    return 0.0 if sign else min(float(seconds), LONGEST_DURATION)


def shown(seconds: float) -> str:
    """Return an instant as a message shows it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
