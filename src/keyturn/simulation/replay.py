"""One history replayed under one policy: the client's own rules on a clock that jumps from step to step.

Rules of this file:

1. Nothing is decided here: every token goes to the keeper and the inquiry that serve real ones, and the pure rules tell when the
   next decision is due. Only the thread of a refresh is left out: a refresh runs at once, and takes no time.
2. One good token of every key in use comes at each step. Steps at which nothing can change are passed over, and count all the same.
3. The client started before the history did, so that its schedule stands at *phase*; what was published then is what was seen first.
4. A key is a name and a thumbprint: a signature that belongs to its key needs no arithmetic to be told.
5. Every random number is handed in.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from keyturn._core import base64url
from keyturn._core.acceptance import drop_expired
from keyturn._core.jwk import SigningKey
from keyturn._core.key_set import KeySet
from keyturn._core.policy import RolloverPolicy
from keyturn._core.rollover import look_again
from keyturn._core.state import Answer, Failure, KeySetState
from keyturn._delivery import Delivery
from keyturn._flight import Flight
from keyturn._inquiry import Inquiry
from keyturn._keeper import Keeper
from keyturn.clock import Clock, read
from keyturn.errors import InvalidTokenError, KeysUnavailableError
from keyturn.events import Event, RefreshReason
from keyturn.simulation.history import History

STEP = 60.0
"""Seconds between two tokens of one key, unless told otherwise."""

Verdict = Literal["accepted", "refused", "unavailable"]
"""What a good token met: 200, 401 or 503."""

_ALGORITHM = "EdDSA"
_LOCATION = "https://simulation.invalid/keys"
_REAL_DEADLINE = 60.0
"""A refresh takes no virtual time, so its deadline, which is real time, is as long as a policy allows."""

_ROUNDING = 1e-6
"""Part of a step by which a step may be looked at too early: floats are not exact, and one look too many changes nothing."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """One request for the key set.

    Attributes:
        at: Seconds since the epoch.
        reason: Why it was made.
        succeeded: Whether a key set came.
    """

    at: float
    reason: RefreshReason
    succeeded: bool


@dataclass(frozen=True, slots=True)
class Span:
    """One or more steps that went alike.

    Attributes:
        start: Second of the first step.
        steps: How many.
        verdicts: What good tokens of each key in use met.
        trusted: Keys whose tokens are accepted after the step.
        in_grace: Those of them that the last answer lacked (R10).
    """

    start: float
    steps: int
    verdicts: Mapping[str, Verdict]
    trusted: frozenset[str]
    in_grace: frozenset[str]


class Replay:
    """A client of one policy in one history.

    Args:
        history: What the issuer published.
        policy: The numbers of rollover.
        step: Seconds between two tokens of one key.
        phase: Part of the refresh interval that had passed since the last refresh when the history begins, in [0, 1).
        draw: Returns the random numbers in [0, 1) for jitter and backoff.

    Attributes:
        fetches: Requests since the history began.
    """

    def __init__(
        self, history: History, policy: RolloverPolicy, *, step: float = STEP, phase: float = 0.0, draw: Callable[[], float] = lambda: 0.0
    ) -> None:
        self.fetches: list[Fetch] = []
        self.step = step
        self._history = history
        self._policy = replace(policy, deadline=_REAL_DEADLINE)
        self._clock = _VirtualClock(history.start - phase * policy.refresh_interval)
        state = KeySetState(history.issuer or history.name, policy.refresh_interval, policy.refresh_interval)
        self._keeper = _Synchronous(state, self._policy, self._clock, self._refresh, draw)
        self._changes = sorted({instant for use in history.uses for instant in (use.start, use.end)})
        self._trusted: tuple[int, frozenset[str]] = (-1, frozenset())

    def spans(self) -> Iterator[Span]:
        """Play the history; yield what happened, in order and without a gap."""
        self._keeper.order("start")
        self.fetches.clear()
        number, count = 0, math.ceil((self._history.end - self._history.start) / self.step - _ROUNDING)
        while number < count:
            self._clock.now = self._instant(number)
            verdicts = {kid: self._judge(kid) for kid in self._in_use()}
            trusted, in_grace = self._held()
            following = min(count, self._following(number, verdicts, in_grace))
            yield Span(self._clock.now, following - number, verdicts, trusted, in_grace)
            number = following

    def _instant(self, number: int) -> float:
        return self._history.start + number * self.step

    def _in_use(self) -> list[str]:
        now = self._clock.now
        return sorted({use.kid for use in self._history.uses if use.start <= now < use.end})

    def _judge(self, kid: str) -> Verdict:
        """Ask for the key of a good token, as a validator does."""
        for key, _ in self._keeper.held_now(kid, _ALGORITHM):
            self._keeper.used(key)
            return "accepted"
        inquiry = Inquiry(self._keeper, {"alg": _ALGORITHM, "kid": kid}, _LOCATION, lambda _: True)
        try:
            while (flight := inquiry.step()) is not None:
                inquiry.woken(flight)
        except KeysUnavailableError:
            return "unavailable"
        except InvalidTokenError:
            return "refused"
        return "accepted"

    def _refresh(self, flight: Flight) -> None:
        """Answer a refresh with what the history says of this instant."""
        now = read(self._clock)
        outage, kids = self._history.outage_at(now.wall), self._history.published_at(now.wall)
        outcome: Answer | Failure
        if outage is not None:
            outcome = Failure("fetch_failed", f"the issuer answered {outage.status}" if outage.status else "the issuer did not answer", "", _LOCATION)
        elif not kids:
            # What `KeySet.from_jwks` makes of an empty set (R12).
            outcome = Failure("invalid_key_set", "the key set is empty", "", _LOCATION)
        else:
            outcome = Answer(_key_set(kids), now)
            flight.is_news = True
        self.fetches.append(Fetch(now.wall, flight.reason, isinstance(outcome, Answer)))
        self._keeper.settle(flight, outcome)

    def _held(self) -> tuple[frozenset[str], frozenset[str]]:
        """Return the keys whose tokens would be accepted now, and those of them that are in their grace."""
        now = read(self._clock)
        state, _ = drop_expired(self._keeper.state, self._policy, now)
        if not state.usable(self._policy, now):
            return frozenset(), frozenset()
        if state is not self._keeper.state or self._trusted[0] != state.generation:
            # A state that only this look made has a generation that the keeper will give to another one.
            known = state.generation if state is self._keeper.state else -1
            self._trusted = (known, frozenset(key.kid for key in state.held.keys if key.kid is not None))
        return self._trusted[1], frozenset(gone.key.kid for gone in state.vanished.values() if gone.key.kid is not None)

    def _following(self, number: int, verdicts: Mapping[str, Verdict], in_grace: frozenset[str]) -> int:
        """Return the next step at which something may change (2)."""
        if any(verdict != "accepted" for verdict in verdicts.values()) or not in_grace.isdisjoint(verdicts):
            # Each token of such a key may ask again: when, only the rules know.
            return number + 1
        now = read(self._clock)
        flip = look_again(self._keeper.state, self._policy, now, math.inf)
        change = next((instant for instant in self._changes if instant > now.wall), math.inf)
        until = min(flip.monotonic, flip.wall, change, self._history.end)
        return max(number + 1, math.ceil((until - self._history.start) / self.step - _ROUNDING))


class _VirtualClock:
    """Both clocks of a machine that sleeps between the steps; a `keyturn.clock.Clock`."""

    def __init__(self, now: float) -> None:
        self.now = now

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Let *seconds* pass at once; return whether *event* is set."""
        self.now += seconds
        return event.is_set()


class _Unheard(Delivery):
    """Drops every event: what a replay is told as is counted, and a log of virtual days would help nobody."""

    def __call__(self, events: Iterable[Event]) -> None:
        """Deliver nothing."""

    def later(self, events: Iterable[Event]) -> None:
        """Deliver nothing, and start no thread for it."""


class _Synchronous(Keeper):
    """A keeper whose refreshes run where they are ordered, with random numbers that are handed in (1, 5)."""

    def __init__(self, state: KeySetState, policy: RolloverPolicy, clock: Clock, run: Callable[[Flight], None], draw: Callable[[], float]) -> None:
        super().__init__(state, policy, clock, deliver=_Unheard(()), run=run, renewed=lambda: None)
        self._handed_in = draw

    def launch(self, flight: Flight) -> None:
        self._run(flight)

    def _draw(self) -> float:
        return self._handed_in()


@lru_cache(maxsize=4096)
def _key_set(kids: frozenset[str]) -> KeySet:
    return KeySet(_key(kid) for kid in kids)


@lru_cache(maxsize=4096)
def _key(kid: str) -> SigningKey:
    """Return a key that is told by its kid alone (4)."""
    thumbprint = base64url.encode(hashlib.sha256(kid.encode()).digest())
    return SigningKey(kid=kid, kty="OKP", curve="Ed25519", size=256, alg=None, use="sig", algorithms=frozenset({_ALGORITHM}), thumbprint=thumbprint)
