"""What we know of one issuer's keys: one frozen record, replaced whole and never changed in place.

One field, one meaning: `asked_at` is the age of the answer, `line` and `interval` are the schedule, `demanded_at` is the
allowance, `failed_at` and `pause` are the backoff, `attempt` is the refresh that is running.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from keyturn._core.jwk import SigningKey
from keyturn._core.key_set import KeySet
from keyturn._core.policy import RolloverPolicy
from keyturn._core.revocation import Revocations
from keyturn.clock import Instant
from keyturn.events import RefreshReason

ON_DEMAND: Final = frozenset({"unknown_key", "vanished_key"})
"""Refreshes that spend the allowance (R5)."""

KeyKey = tuple[str | None, str]
"""Kid and thumbprint: what tells keys of one issuer apart (R15)."""

Wanted = tuple[str, str]
"""What a look-up was made for: (`kid`, its value), (`x5t`, its value), (`vanished`, a thumbprint)."""


@dataclass(frozen=True, slots=True)
class VanishedKey:
    """A key that an answer lacked.

    Attributes:
        key: The key.
        missed_at: When the first answer without it was asked for.
        seen_at: When the last answer with it was asked for.
    """

    key: SigningKey
    missed_at: Instant
    seen_at: Instant


@dataclass(frozen=True, slots=True)
class Attempt:
    """A refresh that is running.

    Attributes:
        number: Counts the refreshes of this process.
        reason: Why it is made.
        started: When it began.
        wanted: What the token named that ordered it, or None.
        while_overdue: Whether it began when the set was past due and nobody had tried (R3).
        demanded_before: The allowance's stamp before this attempt, to be given back if it is not made after all.
    """

    number: int
    reason: RefreshReason
    started: Instant
    wanted: Wanted | None
    while_overdue: bool
    demanded_before: Instant | None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the last refresh failed.

    Attributes:
        code: Code of its error.
        message: Text of its error.
        hint: Hint of its error.
        document: Location that was asked.
        retry_after: Seconds that the issuer asked us to wait, or None.
    """

    code: str
    message: str
    hint: str
    document: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A key set that has parsed.

    Attributes:
        keys: The set.
        asked_at: When it was asked for.
        max_age: Seconds of its Cache-Control, or None.
    """

    keys: KeySet
    asked_at: Instant
    max_age: float | None = None


@dataclass(frozen=True, slots=True)
class KeySetState:
    """Everything that a decision depends on.

    Attributes:
        issuer: The configured issuer, for events.
        interval: Age at which the set is due.
        line: Age at which this process begins to ask, somewhat earlier (R3).
        current: The last accepted answer.
        asked_at: When it was asked for.
        generation: Raised by every change of what is held.
        vanished: Keys that answers lacked, within their grace.
        revocations: The winning entry of every subject (R11).
        held: Keys that may verify: published or within their grace, and not revoked.
        banned: Revoked keys of the same; they can only lead to `RevokedKeyError`.
        first_seen: Wall-clock second at which a key was first published to this process.
        attempt: The refresh that is running.
        attempts: Number of the last refresh.
        attempted_at: Start of the last refresh that ended and counts.
        demanded_at: Start of the last on-demand refresh (R5).
        owed: Whether a kid was refused for want of allowance (R5).
        failures: Failures in a row (R8).
        failed_at: When the last one ended.
        pause: Seconds that must pass after it.
        failure: What it was.
    """

    issuer: str
    interval: float
    line: float
    current: KeySet | None = None
    asked_at: Instant | None = None
    generation: int = 0
    vanished: Mapping[KeyKey, VanishedKey] = field(default_factory=lambda: MappingProxyType({}))
    revocations: Revocations = field(default_factory=lambda: MappingProxyType({}))
    held: KeySet = field(default_factory=KeySet)
    banned: KeySet = field(default_factory=KeySet)
    first_seen: Mapping[KeyKey, float] = field(default_factory=lambda: MappingProxyType({}))
    attempt: Attempt | None = None
    attempts: int = 0
    attempted_at: Instant | None = None
    demanded_at: Instant | None = None
    owed: bool = False
    failures: int = 0
    failed_at: Instant | None = None
    pause: float = 0.0
    failure: Failure | None = None

    def age(self, now: Instant) -> float:
        """Return the seconds since the last good answer was asked for; infinite if there is none (R14)."""
        return float("inf") if self.asked_at is None else now.since(self.asked_at)

    def usable(self, policy: RolloverPolicy, now: Instant) -> bool:
        """Return whether the set may vouch for anybody (R9)."""
        return self.current is not None and self.age(now) < policy.refresh_interval + policy.max_stale

    def backoff_left(self, now: Instant) -> float:
        """Return the seconds until the next attempt may start after a failure (R8)."""
        return 0.0 if self.failed_at is None else max(0.0, self.pause - now.since(self.failed_at))

    def allowance_left(self, policy: RolloverPolicy, now: Instant) -> float:
        """Return the seconds until the next on-demand refresh is allowed (R5)."""
        return 0.0 if self.demanded_at is None else max(0.0, policy.on_demand_interval - now.since(self.demanded_at))

    def untried(self, now: Instant) -> bool:
        """Return whether the set is past due and nobody has tried to refresh it since the line (R3)."""
        if self.asked_at is None or self.age(now) < self.interval:
            return False
        return self.attempted_at is None or self.attempted_at.since(self.asked_at) < self.line

    def is_revoked(self, key: SigningKey) -> bool:
        """Return whether an operator revoked *key* (R11)."""
        entry = self.revocations.get(("thumbprint", key.thumbprint))
        # Anything but a word that takes it back holds: what we do not know fails closed.
        return entry is not None and entry.state != "reinstated"


def with_keys(
    state: KeySetState,
    *,
    current: KeySet | None = None,
    vanished: Mapping[KeyKey, VanishedKey] | None = None,
    revocations: Revocations | None = None,
) -> KeySetState:
    """Return *state* with other keys or revocations, and `held` and `banned` made from them in the same step."""
    current = state.current if current is None else current
    vanished = state.vanished if vanished is None else vanished
    revocations = state.revocations if revocations is None else revocations
    changed = replace(state, current=current, vanished=MappingProxyType(dict(vanished)), revocations=MappingProxyType(dict(revocations)))
    every = [*(current.keys if current else ()), *(gone.key for gone in vanished.values())]
    return replace(
        changed,
        generation=state.generation + 1,
        held=KeySet((key for key in every if not changed.is_revoked(key)), current.skipped if current else ()),
        banned=KeySet(key for key in every if changed.is_revoked(key)),
    )
