"""What operators see of one issuer's keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from keyturn._core.acceptance import grace_until
from keyturn._core.jwk import SigningKey
from keyturn._core.key_set import KeySet, SkippedKey
from keyturn._core.policy import RolloverPolicy
from keyturn._core.state import KeySetState
from keyturn.clock import Instant


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """One key that is held, or would be if it were not revoked.

    Attributes:
        kid: Key id as published, or None.
        thumbprint: RFC 7638 thumbprint, base64url.
        algorithms: Algorithms that it verifies, sorted.
        state: `current` is published, `vanished` serves out its grace (R10), `revoked` is refused (R11).
        first_seen: Seconds since the epoch.
        last_seen: Seconds since the epoch; when the last answer with it was asked for.
        last_used: Seconds since the epoch, to the minute, of the last token that it verified here, or None.
        until: Seconds since the epoch at which the grace of a vanished key ends, or None.
        remarks: What is odd about its entry.
    """

    kid: str | None
    thumbprint: str
    algorithms: tuple[str, ...]
    state: Literal["current", "vanished", "revoked"]
    first_seen: float | None
    last_seen: float | None
    last_used: float | None
    until: float | None
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeySetStatus:
    """Where a key source stands at one instant.

    Attributes:
        issuer: The configured issuer.
        location: Where its keys are published, or where fixed keys came from.
        ready: Whether a token could be judged now.
        stale: Whether the keys are past their due time.
        age: Seconds since the last good answer was asked for, or None without one.
        generation: Number of the set in this process; every change raises it.
        next_refresh: Seconds until the next scheduled refresh or retry, or None where nothing is ever refreshed.
        keys: Every key, in the order of thumbprints.
        skipped: Published entries that cannot be used, with reasons.
        last_error: Text of the last failure, or None after a success.
        last_error_code: Its code, or None.
        failures: Failures in a row.
    """

    issuer: str
    location: str
    ready: bool
    stale: bool
    age: float | None
    generation: int
    next_refresh: float | None
    keys: tuple[KeyStatus, ...]
    skipped: tuple[SkippedKey, ...]
    last_error: str | None = None
    last_error_code: str | None = None
    failures: int = 0


def status_of(state: KeySetState, policy: RolloverPolicy, now: Instant, location: str, last_used: Mapping[str, int]) -> KeySetStatus:
    """Return the status of a client whose state is *state*."""
    keys = sorted(state.held.keys + state.banned.keys, key=lambda key: (key.thumbprint, key.kid or ""))
    age = None if state.asked_at is None else state.age(now)
    return KeySetStatus(
        issuer=state.issuer,
        location=location,
        ready=state.usable(policy, now) and bool(state.held.keys),
        stale=age is not None and age >= state.interval,
        age=age,
        generation=state.generation,
        next_refresh=state.backoff_left(now) if age is None or state.failures else max(0.0, state.line - age),
        keys=tuple(_key_status(key, state, policy, now, last_used) for key in keys),
        skipped=state.current.skipped if state.current else (),
        last_error=state.failure.message if state.failure else None,
        last_error_code=state.failure.code if state.failure else None,
        failures=state.failures,
    )


def fixed_status(issuer: str, location: str, keys: KeySet) -> KeySetStatus:
    """Return the status of keys that never change."""
    return KeySetStatus(
        issuer=issuer,
        location=location,
        ready=bool(keys.keys),
        stale=False,
        age=None,
        generation=1,
        next_refresh=None,
        keys=tuple(
            KeyStatus(key.kid, key.thumbprint, tuple(sorted(key.algorithms)), "current", None, None, None, None, key.remarks) for key in keys.keys
        ),
        skipped=keys.skipped,
    )


def _key_status(key: SigningKey, state: KeySetState, policy: RolloverPolicy, now: Instant, last_used: Mapping[str, int]) -> KeyStatus:
    gone = state.vanished.get(key.name)
    seen = gone.seen_at if gone else state.asked_at
    minute = last_used.get(key.thumbprint)
    return KeyStatus(
        kid=key.kid,
        thumbprint=key.thumbprint,
        algorithms=tuple(sorted(key.algorithms)),
        state="revoked" if state.is_revoked(key) else "vanished" if gone else "current",
        first_seen=state.first_seen.get(key.name),
        last_seen=seen.wall if seen else None,
        last_used=None if minute is None else minute * 60.0,
        until=grace_until(gone, policy, now) if gone else None,
        remarks=key.remarks,
    )
