"""What happened, as frozen records for operators.

Rules of this file:

1. Names are in the past tense; every record has the configured *issuer* and *at*, seconds since the epoch.
2. No record holds text of a token. Kids stand here only where the issuer published them or an operator named them.
3. They are delivered in their order, on a thread of their own, after the waiters were woken and never under a lock (`_delivery.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

RefreshReason = Literal["start", "schedule", "unknown_key", "vanished_key", "retry", "operator", "store"]
"""Why a refresh was made: by its rule, not by its caller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events.

    Attributes:
        issuer: The configured issuer.
        at: Seconds since the epoch.
    """

    issuer: str
    at: float


@dataclass(frozen=True, slots=True)
class KeyName:
    """One key as a person would name it.

    Attributes:
        kid: Key id as published, or None.
        thumbprint: RFC 7638 thumbprint, base64url.
    """

    kid: str | None
    thumbprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchSucceeded(Event):
    """A refresh confirmed or changed what we have.

    Attributes:
        document: Location that was read.
        duration: Real seconds that the whole refresh took.
        bytes: Length of the key set's document.
        status: HTTP status, or 0 where no HTTP was spoken.
        reason: Why it was made.
    """

    document: str
    duration: float
    bytes: int
    status: int
    reason: RefreshReason


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchFailed(Event):
    """A refresh failed; the keys we have stay (R12).

    Attributes:
        document: Location that was asked.
        code: Code of the error (`errors.py`).
        message: The error's text.
        reason: Why it was made.
        retry_in: Seconds until the next attempt may start (R8).
        failures: Failures in a row, this one included.
    """

    document: str
    code: str
    message: str
    reason: RefreshReason
    retry_in: float
    failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySetChanged(Event):
    """A different set of keys is in force.

    Attributes:
        generation: Number of the set in this process; every change raises it.
        added: Keys that the previous answer did not hold.
        removed: Keys that only the previous answer held.
        replaced: Added keys that took over the kid of a removed one.
        skipped: (kid, reason) of published entries that cannot be used.
        exposed: Kids of those that publish secret key material, which their issuer must replace at once.
        ambiguous: Kids that name several keys of one kind; each is tried.
        nothing_in_common: Whether old and new answer share no key (R12).
    """

    generation: int
    added: tuple[KeyName, ...]
    removed: tuple[KeyName, ...]
    replaced: tuple[KeyName, ...]
    skipped: tuple[tuple[str | None, str], ...]
    exposed: tuple[str | None, ...] = ()
    ambiguous: tuple[str, ...]
    nothing_in_common: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEvent(Event):
    """Base of the events about one key.

    Attributes:
        kid: Key id as published, or None.
        thumbprint: RFC 7638 thumbprint, base64url.
    """

    kid: str | None
    thumbprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyVanished(KeyEvent):
    """A key is missing from the answer; it serves on for its grace (R10).

    Attributes:
        until: Seconds since the epoch at which the grace ends.
    """

    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyReturned(KeyEvent):
    """A key that had vanished is published again (R10)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyReplaced(KeyEvent):
    """A kid names new key material (R12).

    Attributes:
        previous_thumbprint: The key that the kid named before.
    """

    previous_thumbprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDropped(KeyEvent):
    """The grace of a vanished key is over (R10)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRevoked(Event):
    """A key, or a kid before its key, was revoked or reinstated (R11).

    Attributes:
        kid: Key id, or None.
        thumbprint: Thumbprint that was named or found, or None while only a kid is known.
        state: What holds from now on.
    """

    kid: str | None
    thumbprint: str | None
    state: Literal["revoked", "reinstated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleKeysServed(Event):
    """Keys past their due time served because the refresh failed (R9). At most once a minute.

    Attributes:
        age: Seconds since the last good answer was asked for.
        until: Seconds since the epoch at which they stop to serve.
    """

    age: float
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownKey(Event):
    """Tokens named a key that is not held (R4). At most once a second for each action; *count* says how many.

    Attributes:
        action: What it led to.
        count: Tokens since the last event of this action.
        retry_after: Seconds that the last one was told to wait, or None.
    """

    action: Literal["fetched", "joined", "refused"]
    count: int
    retry_after: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudMismatch(KeyEvent):
    """A key names another cloud than its document. Told by the Entra preset while it does not check clouds.

    Attributes:
        expected: Cloud of the discovery document.
        actual: Cloud of the key.
    """

    expected: str
    actual: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFailed(Event):
    """The store failed, was too slow, or held something unusable; the issuer is asked directly.

    Attributes:
        operation: Which call it was.
        message: What went wrong.
    """

    operation: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockJumped(Event):
    """Wall clock and monotonic clock moved apart by more than 60 s (R14).

    Attributes:
        seconds: How much further the wall clock went; negative if it was set back.
    """

    seconds: float


EventHandler = Callable[[Event], object]
"""Called with every event; what it raises is logged once and goes no further."""
