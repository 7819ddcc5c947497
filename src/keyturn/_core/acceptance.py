"""What an accepted answer, and time alone, do to the keys that are held (R1, R10, R12).

Each function returns the new state and the events that tell of it; nothing is delivered here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from keyturn._core.jwk import SigningKey
from keyturn._core.key_set import KeySet, KeySetDifference
from keyturn._core.policy import RolloverPolicy
from keyturn._core.state import Answer, KeyKey, KeySetState, VanishedKey, with_keys
from keyturn.clock import Instant
from keyturn.events import Event, KeyDropped, KeyName, KeyReplaced, KeyReturned, KeySetChanged, KeyVanished

MOST_REMEMBERED = 2_000
"""Keys of the past whose first sight is remembered, so that one that comes back is told from a new one."""

SHORTEST_FOLLOWED = 300.0
"""Least interval that a Cache-Control may ask for: real headers say 0 and 15 s (R3)."""


def accept(state: KeySetState, policy: RolloverPolicy, now: Instant, answer: Answer, draw: float) -> tuple[KeySetState, list[Event]]:
    """Return *state* with the running refresh ended well and *answer* in force.

    Args:
        state: The state before; its attempt, if any, ends.
        policy: The limits to keep.
        now: When the answer had parsed.
        answer: The key set, and when it was asked for.
        draw: Random number in [0, 1): this process's share of the jitter (R3).
    """
    settled = replace(
        state,
        attempt=None,
        attempted_at=state.attempt.started if state.attempt else state.attempted_at,
        failures=0,
        failed_at=None,
        pause=0.0,
        failure=None,
    )
    if state.asked_at is not None and answer.asked_at.since(state.asked_at) < 0:
        # An answer that was asked for earlier never replaces one that was asked for later.
        return settled, []
    interval = _interval(policy, answer.max_age)
    timed = replace(settled, asked_at=answer.asked_at, interval=interval, line=drawn_line(policy, interval, draw))
    return _replace_keys(state, timed, policy, now, answer)


def drawn_line(policy: RolloverPolicy, interval: float, draw: float) -> float:
    """Return the age at which this process begins to ask: up to `refresh_jitter` earlier than *interval* (R3)."""
    return interval * (1.0 - policy.refresh_jitter * draw)


def drop_expired(state: KeySetState, policy: RolloverPolicy, now: Instant) -> tuple[KeySetState, list[Event]]:
    """Return *state* without the vanished keys whose grace is over (R10)."""
    kept = {name: gone for name, gone in state.vanished.items() if _in_grace(gone, policy, now)}
    if len(kept) == len(state.vanished):
        return state, []
    dropped = [gone.key for name, gone in state.vanished.items() if name not in kept]
    events: list[Event] = [KeyDropped(issuer=state.issuer, at=now.wall, kid=key.kid, thumbprint=key.thumbprint) for key in dropped]
    return with_keys(state, vanished=kept), events


def grace_until(gone: VanishedKey, policy: RolloverPolicy, now: Instant) -> float:
    """Return the wall-clock second at which the grace of a vanished key ends."""
    left = min(
        policy.removed_key_grace - now.since(gone.missed_at),
        policy.refresh_interval + policy.removed_key_grace - now.since(gone.seen_at),
    )
    return now.wall + left


def _in_grace(gone: VanishedKey, policy: RolloverPolicy, now: Instant) -> bool:
    return grace_until(gone, policy, now) > now.wall


def _interval(policy: RolloverPolicy, max_age: float | None) -> float:
    if not policy.follow_cache_control or max_age is None:
        return policy.refresh_interval
    return min(max(max_age, min(SHORTEST_FOLLOWED, policy.refresh_interval)), policy.refresh_interval)


def _replace_keys(before: KeySetState, state: KeySetState, policy: RolloverPolicy, now: Instant, answer: Answer) -> tuple[KeySetState, list[Event]]:
    # A set that had become too old vouches for nobody, so it leaves no vanished keys behind (R9).
    older = before.current if before.usable(policy, now) else None
    difference = answer.keys.diff(older)
    vanished = _vanished(before, answer, difference) if older else {}
    state = replace(state, first_seen=_first_seen(before, answer, now))
    same = older is not None and older.identity == answer.keys.identity and vanished.keys() == before.vanished.keys()
    if same:
        # The keys are the same ones, but their seen-at instant moved with `asked_at`.
        return drop_expired(replace(state, current=before.current), policy, now)
    changed = with_keys(state, current=answer.keys, vanished=vanished)
    events = _events(before, changed, policy, now, difference)
    changed, dropped = drop_expired(changed, policy, now)
    return changed, events + dropped


def _vanished(before: KeySetState, answer: Answer, difference: KeySetDifference) -> dict[KeyKey, VanishedKey]:
    published = {key.name for key in answer.keys.keys}
    # A grace that runs goes on: more answers without the key do not restart it.
    kept = {name: gone for name, gone in before.vanished.items() if name not in published}
    seen_at = before.asked_at or answer.asked_at
    missed = {key.name: VanishedKey(key, answer.asked_at, seen_at) for key in difference.removed}
    return {**kept, **missed}


def _first_seen(before: KeySetState, answer: Answer, now: Instant) -> Mapping[KeyKey, float]:
    known = dict(before.first_seen)
    for key in answer.keys.keys:
        known.setdefault(key.name, now.wall)
    excess = len(known) - MOST_REMEMBERED
    for name in [name for name in known if name not in {key.name for key in answer.keys.keys}][: max(0, excess)]:
        del known[name]
    return MappingProxyType(known)


def _events(before: KeySetState, state: KeySetState, policy: RolloverPolicy, now: Instant, difference: KeySetDifference) -> list[Event]:
    issuer, at = state.issuer, now.wall
    current = state.current or KeySet()
    # The old material may have left in an earlier answer, and be in its grace.
    earlier = {left.key.kid: left.key for left in before.vanished.values() if left.key.kid is not None}
    replaced = {key.name: earlier[key.kid] for key in difference.added if key.kid in earlier}
    replaced |= {newer.name: older for older, newer in difference.replaced}
    listed = {key.name for key in before.current.keys} if before.current else set()
    events: list[Event] = []
    if before.current is None or before.current.identity != current.identity:
        events.append(
            KeySetChanged(
                issuer=issuer,
                at=at,
                generation=state.generation,
                added=_names(difference.added),
                removed=_names(difference.removed),
                replaced=_names(newer for _, newer in difference.replaced),
                skipped=tuple((entry.kid or None, entry.reason) for entry in current.skipped),
                exposed=tuple(entry.kid or None for entry in current.skipped if entry.secret),
                ambiguous=current.ambiguous_kids,
                nothing_in_common=difference.nothing_in_common,
            )
        )
    for name, gone in state.vanished.items():
        if name not in before.vanished:
            until = grace_until(gone, policy, now)
            events.append(KeyVanished(issuer=issuer, at=at, kid=gone.key.kid, thumbprint=gone.key.thumbprint, until=until))
    for key in difference.added:
        if key.name in before.first_seen and key.name not in listed:
            events.append(KeyReturned(issuer=issuer, at=at, kid=key.kid, thumbprint=key.thumbprint))
        elif key.name in replaced:
            previous = replaced[key.name].thumbprint
            events.append(KeyReplaced(issuer=issuer, at=at, kid=key.kid, thumbprint=key.thumbprint, previous_thumbprint=previous))
    return events


def _names(keys: Iterable[SigningKey]) -> tuple[KeyName, ...]:
    return tuple(KeyName(key.kid, key.thumbprint) for key in keys)
