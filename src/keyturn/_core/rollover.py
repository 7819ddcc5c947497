"""Whether to ask the issuer now, to answer from memory, or to say no.

The rules, by the numbers that tests and documentation use:

R1.  Every published key is kept. A set is replaced whole, after all of it has parsed, in one assignment.
R2.  Order means nothing: every key that fits is tried (`key_set.py`).
R3.  Schedule: refreshed in the background from a line a little before it is due. A set past due that nobody has tried to
     refresh since the line is refreshed before it is used, once.
R4.  A token with an unknown kid waits for one shared refresh and is judged again. At most `max_waiting` wait.
R5.  At most one on-demand refresh in `on_demand_interval`, stamped before it starts. Start-up and schedule neither spend nor
     block it. A kid refused for want of allowance leaves a refresh owed.
R6.  Cheap checks first (`validator.py`).
R7.  Held keys never wait, R3's one wait apart.
R8.  Failures back off, for every kind of refresh; `Retry-After` is obeyed within [1 s, 1 h]. A failed refresh is retried under
     this rule alone.
R9.  Keys serve on for `max_stale` past due while they cannot be refreshed; then nobody knows.
R10. A vanished key serves on for `removed_key_grace` after the first answer without it, and never longer than
     `refresh_interval + removed_key_grace` after it was last seen.
R11. Revocation wins (`revocations.py`).
R12. A failed refresh changes no key. A set with nothing in common is accepted, and reported.
R13. A kid looked up in vain is asked for again after 300 s, 600 s, then every 900 s, until the set changes.
R14. Two clocks; the larger age counts (`clock.py`).
R15. One state for one issuer and location; a key is named by kid and thumbprint.
R16. Limits (`fetching.py`, `policy.py`).

Rules of this file:

1. Every decision to fetch is made here and nowhere else.
2. Nothing here reads a clock, a socket, a lock, a log or the environment; *now* and the random draws are handed in.
3. A period of N seconds that starts at t covers [t, t+N): at t+N it is over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from keyturn._core.policy import RolloverPolicy
from keyturn._core.state import ON_DEMAND, Attempt, Failure, KeySetState, Wanted
from keyturn.clock import Instant
from keyturn.events import RefreshReason

RETRY_AFTER_BOUNDS = (1.0, 3_600.0)
"""What we obey of a `Retry-After`: no pause at all would hammer, and more than an hour would lock a service out (R8)."""

LONGEST_NAP = 60.0
"""An attempt between whose start and end more than this went by was slept through: the process, not the issuer, was at fault."""

RefuseCode = Literal["unknown_key", "keys_unavailable"]


@dataclass(frozen=True, slots=True)
class Serve:
    """Answer from what is held; start *refresh* in the background if it names a reason."""

    refresh: RefreshReason | None = None


@dataclass(frozen=True, slots=True)
class Join:
    """Wait for the refresh that is running."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """Start a refresh and wait for it."""

    reason: RefreshReason


@dataclass(frozen=True, slots=True)
class Refuse:
    """Say no now.

    Attributes:
        code: Whether the key is unknown, or we cannot know.
        retry_after: Seconds until asking again makes sense.
        owes: Whether a refresh is owed for it (R5).
        refresh: Refresh to start in the background all the same.
    """

    code: RefuseCode
    retry_after: float
    owes: bool = False
    refresh: RefreshReason | None = None


Decision = Serve | Join | Fetch | Refuse


@dataclass(frozen=True, slots=True)
class LookUp:
    """What is remembered of a kid that was looked up, or refused (R13).

    Attributes:
        times: How often it was looked up in vain since the set last changed.
        asked_at: Start of the last such refresh, or None while it was only refused.
        owed: Whether it was refused for want of allowance since.
    """

    times: int = 0
    asked_at: Instant | None = None
    owed: bool = False

    def pause_left(self, policy: RolloverPolicy, now: Instant) -> float:
        """Return the seconds until this kid may order a refresh again: 300, 600, then 900 after each (R13)."""
        if self.asked_at is None:
            return 0.0
        # The exponent is bounded: a kid that is asked for over years must not make the power outgrow a float.
        pause = min(policy.on_demand_interval * 2.0 ** min(self.times - 1, 64), policy.on_demand_interval_max)
        return max(0.0, pause - now.since(self.asked_at))


def decide_held(state: KeySetState, policy: RolloverPolicy, now: Instant) -> Decision:
    """Decide what a token leads to whose key is held (R3, R7, R9), or a look at readiness."""
    if not state.usable(policy, now):
        return _without_usable_set(state, now)
    if state.untried(now):
        if state.attempt is not None:
            # The refresh that began before the set was due is the schedule's: it keeps nobody (R7).
            return Join() if state.attempt.while_overdue else Serve()
        if not state.backoff_left(now):
            return Fetch("schedule")
    return Serve(background_refresh(state, policy, now))


def decide_missing(state: KeySetState, policy: RolloverPolicy, now: Instant, *, look_up: LookUp | None, waiting: int) -> Join | Fetch | Refuse:
    """Decide what a token leads to whose key is not held, or verifies under none that is (R4, R5, R13).

    Args:
        state: The issuer's keys and the marks of the last attempts.
        policy: The limits to keep.
        now: One instant for the whole decision.
        look_up: What is remembered of the token's kid; None if nothing is, or if it names none.
        waiting: Callers that wait for a refresh already.
    """
    if not state.usable(policy, now):
        return _without_usable_set(state, now)
    decision = _missing_with_usable_set(state, policy, now, look_up)
    if isinstance(decision, (Join, Fetch)) and waiting >= policy.max_waiting and not state.untried(now):
        return Refuse("keys_unavailable" if state.failures else "unknown_key", 1.0)
    return decision


def decide_vanished(state: KeySetState, policy: RolloverPolicy, now: Instant, look_up: LookUp | None) -> RefreshReason | None:
    """Decide whether the verified use of a vanished key asks for a refresh in the background (R10)."""
    if state.attempt is not None or state.failures or state.allowance_left(policy, now):
        return None
    return None if look_up is not None and look_up.pause_left(policy, now) else "vanished_key"


def background_refresh(state: KeySetState, policy: RolloverPolicy, now: Instant) -> RefreshReason | None:
    """Return why a refresh should start that nobody waits for, or None (R3, R5, R8)."""
    if state.attempt is not None or state.backoff_left(now):
        return None
    if not state.usable(policy, now):
        return "start"
    if state.age(now) >= state.line:
        return "schedule"
    if state.failures:
        return "retry"
    return "unknown_key" if state.owed and not state.allowance_left(policy, now) else None


def begin(state: KeySetState, now: Instant, reason: RefreshReason, wanted: Wanted | None = None) -> KeySetState:
    """Return *state* with a refresh begun: the attempt is stamped before anything is fetched (R5)."""
    attempt = Attempt(
        number=state.attempts + 1,
        reason=reason,
        started=now,
        wanted=wanted,
        while_overdue=state.untried(now),
        demanded_before=state.demanded_at,
    )
    demanded_at = now if reason in ON_DEMAND else state.demanded_at
    return replace(state, attempt=attempt, attempts=attempt.number, demanded_at=demanded_at, owed=False)


def fail(state: KeySetState, policy: RolloverPolicy, now: Instant, failure: Failure, draw: float) -> KeySetState:
    """Return *state* after the running refresh failed: no key is touched (R12), the backoff is armed (R8).

    Args:
        state: A state with an attempt.
        policy: The limits to keep.
        now: When it ended.
        failure: Why it failed.
        draw: Random number in [0, 1) for the jitter of the backoff.
    """
    attempt = state.attempt
    if attempt is not None and now.since(attempt.started) > LONGEST_NAP:
        # The issuer may have been asked all the same, so the allowance stays spent (R5).
        return replace(not_made(state), demanded_at=state.demanded_at)
    failures = state.failures + 1
    # Doubling is bounded before it is done: 2.0 ** 1100 would not fit a float.
    most = min(policy.retry_min * 2.0 ** min(failures - 1, 64), policy.retry_max)
    pause = policy.retry_min + draw * (most - policy.retry_min)
    if failure.retry_after is not None:
        low, high = RETRY_AFTER_BOUNDS
        pause = max(pause, min(max(failure.retry_after, low), high))
    return replace(
        state,
        attempt=None,
        attempted_at=attempt.started if attempt else state.attempted_at,
        failures=failures,
        failed_at=now,
        pause=pause,
        failure=failure,
    )


def not_made(state: KeySetState) -> KeySetState:
    """Return *state* as if the running refresh had not been made, but is owed: the process slept or was forked meanwhile."""
    if state.attempt is None:
        return state
    return replace(state, attempt=None, demanded_at=state.attempt.demanded_before, owed=True)


def look_again(state: KeySetState, policy: RolloverPolicy, now: Instant, at_most: float) -> Instant:
    """Return the instant before which a held key is served without another decision.

    Args:
        state: The state that was just decided on.
        policy: The limits to keep.
        now: The instant of that decision.
        at_most: Seconds after which to look again whatever the state says.
    """
    flips = [now.shifted(at_most)]
    if state.attempt is None:
        flips += _due_instants(state, policy)
    if state.asked_at is not None:
        flips += [state.asked_at.shifted(seconds) for seconds in (state.interval, policy.refresh_interval + policy.max_stale)]
    for gone in state.vanished.values():
        flips += [
            gone.missed_at.shifted(policy.removed_key_grace),
            gone.seen_at.shifted(policy.refresh_interval + policy.removed_key_grace),
        ]
    # An instant that has passed flipped something already; each clock is looked at by itself, since either may be ahead.
    monotonic = min((flip.monotonic for flip in flips if flip.monotonic > now.monotonic and flip.wall > now.wall), default=now.monotonic)
    wall = min((flip.wall for flip in flips if flip.monotonic > now.monotonic and flip.wall > now.wall), default=now.wall)
    return Instant(monotonic, wall)


def _due_instants(state: KeySetState, policy: RolloverPolicy) -> list[Instant]:
    """Return when a background refresh may become due, if none is running."""
    if state.failed_at is not None:
        return [state.failed_at.shifted(state.pause)]
    due = [] if state.asked_at is None else [state.asked_at.shifted(state.line)]
    if state.owed and state.demanded_at is not None:
        due.append(state.demanded_at.shifted(policy.on_demand_interval))
    return due


def _without_usable_set(state: KeySetState, now: Instant) -> Join | Fetch | Refuse:
    if state.attempt is not None:
        return Join()
    left = state.backoff_left(now)
    return Refuse("keys_unavailable", left) if left else Fetch("start")


def _missing_with_usable_set(state: KeySetState, policy: RolloverPolicy, now: Instant, look_up: LookUp | None) -> Join | Fetch | Refuse:
    if state.attempt is not None:
        return Join()
    backoff = state.backoff_left(now)
    if backoff:
        return Refuse("keys_unavailable", backoff)
    if state.failures or state.age(now) >= state.line:
        return Fetch("schedule" if state.age(now) >= state.line else "retry")
    return _by_allowance(state, policy, now, look_up)


def _by_allowance(state: KeySetState, policy: RolloverPolicy, now: Instant, look_up: LookUp | None) -> Fetch | Refuse:
    pause = look_up.pause_left(policy, now) if look_up else 0.0
    if pause:
        return Refuse("unknown_key", pause, refresh=background_refresh(state, policy, now))
    allowance = state.allowance_left(policy, now)
    return Refuse("unknown_key", allowance, owes=True) if allowance else Fetch("unknown_key")
