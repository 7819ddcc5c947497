"""Claims as tokens of fake issuers carry them."""

from __future__ import annotations

import math
from collections.abc import Collection
from datetime import timedelta

from keyturn.clock import Clock


def validity(clock: Clock, lifetime: float | timedelta) -> dict[str, float]:
    """Return `iat` and `exp` of a token that is issued now, in whole seconds where *lifetime* is whole (RFC 7519, section 4.1)."""
    now = math.floor(clock.wall())
    seconds = seconds_of(lifetime)
    return {"iat": now, "exp": now + (int(seconds) if seconds == int(seconds) else seconds)}


def seconds_of(duration: float | timedelta) -> float:
    """Return a duration in seconds."""
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


def audience_of(audience: str | Collection[str]) -> str | list[str]:
    """Return `aud`: one text as it is, several as a list (RFC 7519, section 4.1.3)."""
    return audience if isinstance(audience, str) else list(audience)


def spaced(names: str | Collection[str] | None) -> str | None:
    """Return names in one text, with spaces between them (RFC 8693, section 4.2)."""
    return names if names is None or isinstance(names, str) else " ".join(names)


def listed(names: Collection[str] | None) -> list[str] | None:
    """Return names as a list."""
    return None if names is None else list(names)
