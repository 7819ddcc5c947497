"""The events of one client: those that requests give rise to are held down to a rate that a log survives (R4, R9, R14).

An attacker can provoke them. Every method is called under the keeper's lock and returns what is to be told, if anything is.
"""

from __future__ import annotations

from typing import Literal

from keyturn._core.policy import RolloverPolicy
from keyturn._core.state import Failure, KeySetState
from keyturn.clock import Instant
from keyturn.events import ClockJumped, Event, FetchFailed, RefreshReason, StaleKeysServed, UnknownKey

Action = Literal["fetched", "joined", "refused"]

UNKNOWN_KEYS_EVERY = 1.0
"""Seconds between two events of one action; each says for how many tokens it stands."""

STALENESS_EVERY = 60.0
"""Seconds between two events that say that stale keys are served."""

CLOCKS_MAY_DIFFER = 60.0
"""Seconds by which wall and monotonic clock may move apart before it is reported."""


class Telling:
    """What one client has told, and when.

    Args:
        now: The instant from which on the clocks are compared; None leaves that to the first look, for the child of a fork, where the
            clock of a thread that is gone may not be asked.
    """

    def __init__(self, now: Instant | None) -> None:
        self._unknown: dict[Action, tuple[Instant, int]] = {}
        self._stale: Instant | None = None
        self._offset = None if now is None else now.wall - now.monotonic

    def unknown_key(self, state: KeySetState, now: Instant, action: Action, retry_after: int | None) -> list[Event]:
        """Tell that a token named a key that is not held."""
        told_at, silent = self._unknown.get(action, (None, 0))
        if told_at is not None and now.since(told_at) < UNKNOWN_KEYS_EVERY:
            self._unknown[action] = (told_at, silent + 1)
            return []
        self._unknown[action] = (now, 0)
        return [UnknownKey(issuer=state.issuer, at=now.wall, action=action, count=silent + 1, retry_after=retry_after)]

    def staleness(self, state: KeySetState, policy: RolloverPolicy, now: Instant) -> list[Event]:
        """Tell that keys past their due time serve because the refresh failed."""
        age = state.age(now)
        if age < state.interval or not state.failures or (self._stale is not None and now.since(self._stale) < STALENESS_EVERY):
            return []
        self._stale = now
        until = now.wall + policy.refresh_interval + policy.max_stale - age
        return [StaleKeysServed(issuer=state.issuer, at=now.wall, age=age, until=until)]

    def clocks(self, state: KeySetState, now: Instant) -> list[Event]:
        """Tell that one clock went further than the other."""
        offset = now.wall - now.monotonic
        if self._offset is None:
            self._offset = offset
        jump = offset - self._offset
        if abs(jump) <= CLOCKS_MAY_DIFFER:
            return []
        self._offset = offset
        return [ClockJumped(issuer=state.issuer, at=now.wall, seconds=jump)]


def fetch_failed(state: KeySetState, reason: RefreshReason, failure: Failure, now: Instant) -> FetchFailed:
    """Return what tells of a failed refresh; *state* is the one after it."""
    return FetchFailed(
        issuer=state.issuer,
        at=now.wall,
        document=failure.document,
        code=failure.code,
        message=failure.message,
        reason=reason,
        retry_in=state.backoff_left(now),
        failures=state.failures,
    )
