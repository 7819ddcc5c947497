"""How long an answer says that it stays fresh (RFC 9111, section 4.2). Followed only if the policy says so, and clamped there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

_SECONDS = re.compile(r"[0-9]+\Z")
_DIGITS = 10
_FOR_EVER = 2.0**31
"""What a number of seconds that is too long to count stands for (RFC 9111, section 1.2.2)."""


def freshness(headers: Mapping[str, str]) -> float | None:
    """Return the seconds for which an answer with *headers* stays fresh, or None where it does not say.

    `no-store`, `no-cache`, a `max-age` that cannot be read and an `Expires` in the past all mean zero (RFC 9111, section 4.2.1).
    """
    directives = [part.strip().lower() for part in headers.get("cache-control", "").split(",")]
    if "no-store" in directives or "no-cache" in directives:
        return 0.0
    stated = [part.partition("=")[2].strip().strip('"') for part in directives if part.partition("=")[0].strip() == "max-age"]
    if stated:
        # Two statements that differ are a fault of somebody in between: the shorter one is the safe reading.
        return max(0.0, min(_number(text) for text in stated) - _number(headers.get("age", "0")))
    return _expiry(headers)


def _expiry(headers: Mapping[str, str]) -> float | None:
    if "expires" not in headers:
        return None
    try:
        expires, date = (parsedate_to_datetime(headers[name]).replace(tzinfo=UTC) for name in ("expires", "date"))
    except (KeyError, ValueError, OverflowError):
        return 0.0
    return max(0.0, (expires - date).total_seconds())


def _number(text: str) -> float:
    if not _SECONDS.match(text):
        return 0.0
    return float(text) if len(text) <= _DIGITS else _FOR_EVER
