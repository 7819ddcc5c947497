"""The numbers of rollover that an operator may want to change, and the worst cases that follow from them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from keyturn.errors import ConfigurationError, quoted

_DAY = 86_400.0
_HOUR = 3_600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloverPolicy:
    """How often to ask the issuer, how long to trust what it said, and what one refresh may cost.

    Durations are in seconds. Every default has its reason in the documentation ("Defaults and their reasons").

    Attributes:
        refresh_interval: Age at which the keys are asked for again (R3).
        refresh_jitter: Part of the interval by which a process may ask earlier, so that a fleet does not ask at once (R3).
        on_demand_interval: Least time between two refreshes that tokens order (R5).
        on_demand_interval_max: Longest pause of a kid that was looked up in vain (R13).
        retry_min: First upper bound of the pause after a failure, and the least pause (R8).
        retry_max: Longest pause after failures, `Retry-After` apart (R8).
        max_stale: How long past their due time keys serve on while they cannot be refreshed (R9).
        removed_key_grace: How long a key serves on after the first answer without it (R10).
        max_unknown_kids: Kids looked up in vain that are remembered (R13).
        max_candidates: Keys that one token is tried against (R2).
        max_waiting: Callers that may wait for an unknown key while others are held (R4).
        deadline: Real time that one refresh, and one caller's wait, may take (R16).
        connect_timeout: Real time for one address of the issuer, so that a dead one does not use up the deadline (R16);
            never more than a third of what is left of it. A fetcher of your own has its own.
        max_document_bytes: Longest document that is read (R16).
        max_keys: Most entries of a key set (R16).
        follow_cache_control: Whether `max-age` may shorten the refresh interval; it never lengthens it.

    Raises:
        ConfigurationError: A number is out of its range, or two contradict each other.
    """

    refresh_interval: float = _DAY
    refresh_jitter: float = 0.1
    on_demand_interval: float = 300.0
    on_demand_interval_max: float = 900.0
    retry_min: float = 1.0
    retry_max: float = 300.0
    max_stale: float = _DAY
    removed_key_grace: float = 7_200.0
    max_unknown_kids: int = 1_024
    max_candidates: int = 16
    max_waiting: int = 100
    deadline: float = 5.0
    connect_timeout: float = 1.5
    max_document_bytes: int = 524_288
    max_keys: int = 500
    follow_cache_control: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            _check(field.name, getattr(self, field.name))
        for smaller, larger in _ORDERED:
            if getattr(self, smaller) > getattr(self, larger):
                raise ConfigurationError(
                    f"{smaller} is {getattr(self, smaller):g}, expected at most {larger}, which is {getattr(self, larger):g} (setting: {smaller})"
                )

    @classmethod
    def strict(cls) -> RolloverPolicy:
        """Return a policy for those who put revocation before availability.

        It asks every 5 minutes, gives a removed key no grace, and serves stale keys for an hour. Real issuers drop keys
        for minutes and bring them back: on Microsoft Entra 3 to 5 % of a key's life was spent unpublished in the week
        that was watched, and this policy refuses its tokens for as long.
        """
        return cls(refresh_interval=300.0, removed_key_grace=0.0, max_stale=_HOUR)

    @property
    def longest_trust_after_removal(self) -> float:
        """Seconds until a key that the issuer removed without a word is refused, while the issuer can be reached."""
        return self.refresh_interval + self.removed_key_grace

    @property
    def longest_trust_in_outage(self) -> float:
        """The same over the longest outage that is tolerated."""
        return self.longest_trust_after_removal + self.max_stale

    @property
    def longest_outage_served(self) -> float:
        """Seconds after the last good answer until tokens are answered with 503."""
        return self.refresh_interval + self.max_stale

    @property
    def longest_wait_for_new_key(self) -> float:
        """Seconds until a new key is accepted when the allowance has just been spent and the issuer answers."""
        return self.on_demand_interval + self.deadline


_ORDERED = (
    ("on_demand_interval", "on_demand_interval_max"),
    ("retry_min", "retry_max"),
)

# Lower bound, upper bound. Below a second between requests, "never hammered" would be an empty promise.
_RANGES: dict[str, tuple[float, float]] = {
    "refresh_interval": (1.0, 30 * _DAY),
    "refresh_jitter": (0.0, 0.5),
    "on_demand_interval": (1.0, _DAY),
    "on_demand_interval_max": (1.0, _DAY),
    "retry_min": (1.0, _HOUR),
    "retry_max": (1.0, _DAY),
    "max_stale": (0.0, 30 * _DAY),
    "removed_key_grace": (0.0, 30 * _DAY),
    "max_unknown_kids": (1, 1_000_000),
    "max_candidates": (1, 500),
    "max_waiting": (1, 100_000),
    "deadline": (0.05, 60.0),
    "connect_timeout": (0.01, 60.0),
    "max_document_bytes": (1_024, 64 * 1_048_576),
    "max_keys": (1, 10_000),
}
_COUNTS = {"max_unknown_kids", "max_candidates", "max_waiting", "max_document_bytes", "max_keys"}


def _check(name: str, value: Any) -> None:
    if name == "follow_cache_control":
        if not isinstance(value, bool):
            raise ConfigurationError(f"{name} is {quoted(value)}, expected True or False (setting: {name})")
        return
    low, high = _RANGES[name]
    whole = name in _COUNTS
    fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    # NaN is between no bounds.
    if not (fits and low <= value <= high):
        noun = "a whole number" if whole else "a number"
        raise ConfigurationError(f"{name} is {quoted(value)}, expected {noun} from {low:g} to {high:g} (setting: {name})")
