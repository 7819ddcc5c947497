"""The settings of a validator, judged when it is built: a wrong one is told at once, with its name, and never at the first request."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from keyturn._core.signatures import DEFAULT_ALGORITHMS
from keyturn.errors import ConfigurationError, quoted


def names(value: object, setting: str, example: str) -> frozenset[str]:
    """Return one text or a list of texts as a set; *example* is shown to whoever gave neither."""
    given = (value,) if isinstance(value, str) else value
    if isinstance(given, Iterable) and not isinstance(given, (bytes, Mapping)):
        listed = list(given)
        if listed and all(isinstance(name, str) and name.strip() for name in listed):
            return frozenset(listed)
    raise ConfigurationError(f'{setting} is {quoted(value)}, expected text or a list of texts, for example "{example}" (setting: {setting})')


def claim_names(value: Collection[str]) -> frozenset[str]:
    """Return the names of required claims, of which there may be none."""
    return frozenset() if not isinstance(value, str) and not value else names(value, "required_claims", "jti")


def allowed(algorithms: Collection[str]) -> frozenset[str]:
    """Return the allowed algorithms, each of which must be one of ours (RFC 8725, section 3.1)."""
    found = names(algorithms, "algorithms", "RS256")
    for name in found:
        if name not in DEFAULT_ALGORITHMS:
            raise ConfigurationError(
                f"algorithm {quoted(name)} is not one of {', '.join(DEFAULT_ALGORITHMS)} (setting: algorithms)",
                hint="There is no none and no HMAC: keys come from a public document, and a public key is no secret.",
            )
    return found


def within(value: Any, low: float, high: float, setting: str) -> float:
    """Return a number that lies from *low* to *high*."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ConfigurationError(f"{setting} is {quoted(value)}, expected a number from {low:g} to {high:g} (setting: {setting})")
    return value
