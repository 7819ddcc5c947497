"""Revoking and reinstating keys that are held, and the entries that make it last (R11).

Rules of this file:

1. A revocation of a held key is kept under its RFC 7638 thumbprint, whatever it was named by, so that the same material under
   another kid or certificate stays revoked.
2. What names no held key is kept as it was named, until the first answer with a key of that name: that key gets an entry of its
   own, and the name is closed, so that a later key under it is another key.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from keyturn._core.jwk import SigningKey
from keyturn._core.revocation import Kind, Revocation, Revocations, State, merged
from keyturn._core.state import KeySetState, with_keys
from keyturn.clock import Instant
from keyturn.events import Event, KeyRevoked


@dataclass(frozen=True, slots=True)
class Change:
    """What a revocation leads to.

    Attributes:
        state: The state after it.
        entries: Entries to be kept by the store.
        events: Events that tell of it.
    """

    state: KeySetState
    entries: tuple[Revocation, ...] = ()
    events: tuple[Event, ...] = ()


def revoke(state: KeySetState, now: Instant, *, kid: str | None = None, thumbprint: str | None = None) -> Change:
    """Revoke the key that *thumbprint* names, or every key held under *kid*; the name alone if nothing is held under it.

    Args:
        state: The state before.
        now: The instant of the revocation.
        kid: A key id.
        thumbprint: A thumbprint in its normal form.
    """
    named = [key for key in _keys(state) if (thumbprint in key.handles if thumbprint is not None else key.kid == kid)]
    subjects = _subjects(named) or {_name_of(kid, thumbprint): kid}
    return _apply(state, now, subjects, "revoked")


def reinstate(state: KeySetState, now: Instant, *, kid: str | None = None, thumbprint: str | None = None) -> Change:
    """Take a revocation back, of a key that is held or of one that is not.

    Args:
        state: The state before.
        now: The instant of it.
        kid: A key id.
        thumbprint: A thumbprint in its normal form.
    """
    held = {key.thumbprint for key in _keys(state) if (thumbprint in key.handles if thumbprint is not None else key.kid == kid)}
    subjects = {
        (entry.kind, entry.subject): entry.kid
        for entry in state.revocations.values()
        if entry.state != "reinstated" and (_is_named(entry, kid, thumbprint) or (entry.kind == "thumbprint" and entry.subject in held))
    }
    return _apply(state, now, subjects, "reinstated")


def take_in(state: KeySetState, now: Instant, entries: Iterable[Revocation]) -> Change:
    """Take in entries of a store or of the configuration; for one subject the highest sequence wins."""
    revocations = merged(state.revocations, entries)
    if revocations is state.revocations:
        return Change(state)
    events = tuple(
        _event(state, now, entry) for subject, entry in revocations.items() if _is_news(state.revocations.get(subject), entry, revocations)
    )
    change = resolve(with_keys(state, revocations=revocations), now)
    return Change(change.state, change.entries, events + change.events)


def _is_news(known: Revocation | None, entry: Revocation, revocations: Revocations) -> bool:
    if known is not None and known.state == entry.state:
        return False
    # A kid that was closed, because its key has an entry of its own now, was not taken back.
    return not (entry.kind == "kid" and entry.state == "reinstated" and _revokes_under(entry.subject, revocations))


def _revokes_under(kid: str, revocations: Revocations) -> bool:
    return any(entry.kind == "thumbprint" and entry.kid == kid and entry.state != "reinstated" for entry in revocations.values())


def resolve(state: KeySetState, now: Instant) -> Change:
    """Give every held key that was revoked under its kid or its certificate's thumbprint an entry of its own (rule 2)."""
    if not state.revocations:
        return Change(state)
    revoked: dict[tuple[Kind, str], str | None] = {}
    closed: dict[tuple[Kind, str], str | None] = {}
    for key in _keys(state):
        for name in _pending_names(state, key):
            revoked["thumbprint", key.thumbprint] = key.kid
            closed[name] = key.kid
    if not revoked:
        return Change(state)
    change = _apply(state, now, revoked, "revoked")
    closing = _apply(change.state, now, closed, "reinstated")
    # Closing a name takes nothing back, so no event tells of it.
    return Change(closing.state, change.entries + closing.entries, change.events)


def _pending_names(state: KeySetState, key: SigningKey) -> list[tuple[Kind, str]]:
    names: list[tuple[Kind, str]] = [("thumbprint", handle) for handle in key.handles if handle != key.thumbprint]
    if key.kid is not None:
        names.append(("kid", key.kid))
    return [name for name in names if (entry := state.revocations.get(name)) is not None and entry.state != "reinstated"]


def _keys(state: KeySetState) -> tuple[SigningKey, ...]:
    return state.held.keys + state.banned.keys


def _subjects(keys: Iterable[SigningKey]) -> dict[tuple[Kind, str], str | None]:
    return {("thumbprint", key.thumbprint): key.kid for key in keys}


def _name_of(kid: str | None, thumbprint: str | None) -> tuple[Kind, str]:
    return ("thumbprint", thumbprint) if thumbprint is not None else ("kid", kid or "")


def _is_named(entry: Revocation, kid: str | None, thumbprint: str | None) -> bool:
    if thumbprint is not None:
        return entry.kind == "thumbprint" and entry.subject == thumbprint
    return entry.kid == kid or (entry.kind == "kid" and entry.subject == kid)


def _apply(state: KeySetState, now: Instant, subjects: dict[tuple[Kind, str], str | None], outcome: State) -> Change:
    entries = tuple(Revocation(kind, subject, _next_sequence(state, kind, subject, now), outcome, kid) for (kind, subject), kid in subjects.items())
    if not entries:
        return Change(state)
    after = with_keys(state, revocations=merged(state.revocations, entries))
    return Change(after, entries, tuple(_event(state, now, entry) for entry in entries))


def _next_sequence(state: KeySetState, kind: Kind, subject: str, now: Instant) -> int:
    # Milliseconds make a later word of another process win; one more than the last keeps a clock that was set back from losing.
    known = state.revocations.get((kind, subject))
    return max(int(now.wall * 1000), known.sequence + 1 if known else 0)


def _event(state: KeySetState, now: Instant, entry: Revocation) -> KeyRevoked:
    thumbprint = entry.subject if entry.kind == "thumbprint" else None
    kid = entry.subject if entry.kind == "kid" else entry.kid
    return KeyRevoked(issuer=state.issuer, at=now.wall, kid=kid, thumbprint=thumbprint, state=entry.state)
