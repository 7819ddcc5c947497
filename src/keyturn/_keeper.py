"""State, lock and single flight of one issuer's keys: where the pure rules meet threads.

Rules of this file:

1. The lock is held to decide and to assign, never for I/O, a callback, a log line, a thread start or a wake-up. It is an RLock,
   because signal handlers enter here too.
2. A key that is held is served without the lock, until the instant at which something may flip.
3. Whether to fetch is decided under the lock, again after it was waited for: so one refresh runs at a time (R4).
4. A refresh counts only while it is the current one. One that is over its deadline is settled as failed by whoever looks first.
5. A child of a fork starts with a lock and a jitter of its own and no refresh running; what ran is owed.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterable, Mapping
from contextvars import Context, copy_context
from dataclasses import replace
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from cachetools import LRUCache

from keyturn._core.acceptance import accept, drawn_line, drop_expired
from keyturn._core.jwk import SigningKey
from keyturn._core.key_set import Candidates, Handle
from keyturn._core.policy import RolloverPolicy
from keyturn._core.revoking import Change, resolve
from keyturn._core.rollover import (
    Fetch,
    Join,
    LookUp,
    Refuse,
    Serve,
    begin,
    decide_held,
    decide_missing,
    decide_vanished,
    fail,
    look_again,
    not_made,
)
from keyturn._core.state import ON_DEMAND, Answer, Failure, KeySetState, Wanted
from keyturn._flight import Flight
from keyturn._threads import start
from keyturn.clock import Clock, Instant, read
from keyturn.errors import whole_seconds
from keyturn.events import ClockJumped, Event, FetchFailed, RefreshReason, StaleKeysServed, UnknownKey

LOOK_AT_LEAST_EVERY = 60.0
"""Seconds after which a client in use looks at its state again: "last used" and staleness are told to the minute."""

CLOCKS_MAY_DIFFER = 60.0
"""Seconds by which wall and monotonic clock may move apart before it is reported (R14)."""

_NEVER = Instant(float("-inf"), float("-inf"))
_INTERRUPTED = Refuse("keys_unavailable", 1.0)
"""For a signal handler that came in between the two assignments that begin a refresh."""

Action = Literal["fetched", "joined", "refused"]


Memory = dict[tuple[Any, Any], tuple[SigningKey, ...]]


class Match(NamedTuple):
    """The keys that fit one header.

    Attributes:
        held: Those that may verify.
        banned: Those that were revoked.
        memory: Where the first may be remembered as long as nothing changes.
    """

    held: Candidates
    banned: Candidates
    memory: Memory


class _Process:
    """What belongs to one process and must not be inherited by its child."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.flight: Flight | None = None


class _Step:
    """One stay under the lock; what it ordered is carried out after it is left."""

    def __init__(self, keeper: Keeper, process: _Process) -> None:
        self._keeper = keeper
        self.process = process
        self.now = _NEVER
        self.events: list[Event] = []
        self.settled: list[Flight] = []
        self.launches: list[Flight] = []

    def __enter__(self) -> Self:
        self.process.lock.acquire()
        self.now = read(self._keeper.clock)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.process.lock.release()
        for flight in self.settled:
            flight.latch.set()
        for flight in self.launches:
            self._keeper.launch(flight)
        if self.events:
            self._keeper.deliver(self.events)


class Keeper:
    """Keeps one issuer's state, and decides with the pure rules what each caller gets."""

    def __init__(
        self,
        state: KeySetState,
        policy: RolloverPolicy,
        clock: Clock,
        *,
        deliver: Callable[[Iterable[Event]], None],
        run: Callable[[Flight], None],
        renewed: Callable[[], None],
    ) -> None:
        self.policy = policy
        self.clock = clock
        self.deliver = deliver
        self.state = state
        self.last_used: dict[str, int] = {}
        self._run = run
        self._renewed = renewed
        self._monotonic, self._wall = clock.monotonic, clock.wall
        self._look = _NEVER
        self._fits: Memory = {}
        self._look_ups: LRUCache[Wanted, LookUp] = LRUCache(policy.max_unknown_kids)
        self._told: dict[Action, tuple[float, int]] = {}
        self._stale_told: Instant | None = None
        first = read(clock)
        self._clock_offset = first.wall - first.monotonic
        self._processes = {os.getpid(): _Process()}
        # Not for secrets: a fleet must not draw the same jitter, so the generator of the application is left alone.
        self._random = random.SystemRandom()

    def step(self) -> _Step:
        """Return a context in which the state may be read and replaced; the flight's deadline and both clocks were looked at."""
        return _Step(self, self._process())

    # Serving held keys.

    def held_now(self, kid: object, algorithm: str) -> tuple[SigningKey, ...] | None:
        """Return the keys of *kid* without the lock, or None if a decision is due or nothing is known of it."""
        look = self._look
        if kid is None or self._monotonic() >= look.monotonic or self._wall() >= look.wall:
            return None
        return self._fits.get((kid, algorithm))

    def matching(self, header: Mapping[str, Any]) -> Match:
        """Return the keys that fit *header*."""
        # The memory is taken before the state is read: what is remembered of an older state then lands in a memory that
        # a newer state has thrown away, never the other way round.
        memory, state, limit = self._fits, self.state, self.policy.max_candidates
        held = state.held.candidates(header, limit=limit)
        return Match(held, state.banned.candidates(header, limit=limit), memory)

    def remember(self, header: Mapping[str, Any], match: Match) -> None:
        """Let `held_now` answer for this kid and algorithm, until anything changes."""
        kid = header.get("kid")
        # Only what is held is remembered, so the memory is bounded by the set and not by what tokens say.
        if kid is not None and match.held.keys:
            match.memory[kid, header.get("alg")] = match.held.keys

    def used(self, key: SigningKey) -> None:
        """Note that *key* verified a token: to the minute, and for a vanished key it asks for a refresh (R10)."""
        minute = int(self._wall()) // 60
        if self.last_used.get(key.thumbprint) != minute:
            self.last_used[key.thumbprint] = minute
        vanished = self.state.vanished
        if vanished and key.name in vanished:
            self._ask_for_vanished(key)

    def ask_held(self) -> Flight | Refuse | None:
        """Decide for a token whose key is held: None serves it, a flight is to be waited for (R3, R9)."""
        with self.step() as step:
            self._look_at_clocks(step)
            decision = decide_held(self.state, self.policy, step.now)
            if isinstance(decision, Refuse):
                return decision
            if isinstance(decision, Join):
                return step.process.flight or _INTERRUPTED
            if isinstance(decision, Fetch):
                return self._begin(step, decision.reason, None, awaited=True)
            self._tell_staleness(step)
            self._serve(step, decision)
            return None

    # Asking for keys that are not held.

    def ask_missing(self, handle: Handle) -> Flight | Refuse:
        """Decide for a token whose key is not held, or that verifies under none of the keys that fit (R4, R5, R13)."""
        wanted = None if handle.member is None else (handle.member, handle.value)
        with self.step() as step:
            self._look_at_clocks(step)
            look_up = self._look_ups.get(wanted) if wanted else None
            flight = step.process.flight
            waiting = flight.waiters if flight else 0
            decision = decide_missing(self.state, self.policy, step.now, look_up=look_up, waiting=waiting)
            if isinstance(decision, Fetch):
                self._tell_unknown(step, "fetched", None)
                flight = self._begin(step, decision.reason, wanted, awaited=True)
                flight.waiters += 1
                return flight
            if isinstance(decision, Join):
                if flight is None:
                    return _INTERRUPTED
                self._tell_unknown(step, "joined", None)
                flight.waiters += 1
                return flight
            self._tell_unknown(step, "refused", whole_seconds(decision.retry_after))
            if decision.owes:
                self._owe(step, wanted, look_up)
            if decision.refresh:
                self._begin(step, decision.refresh, None, awaited=False)
            return decision

    def left(self, flight: Flight) -> None:
        """Count a caller no more that waited for an unknown key."""
        with self._process().lock:
            flight.waiters -= 1

    @property
    def attempts(self) -> int:
        """Number of the last refresh that was ordered."""
        return self.state.attempts

    # Refreshes.

    def order(self, reason: RefreshReason) -> tuple[Flight, bool]:
        """Start a refresh whatever the rules say; return it, or the one that is running, and whether it is the caller's own."""
        with self.step() as step:
            self._look_at_clocks(step)
            if step.process.flight is not None:
                return step.process.flight, False
            return self._begin(step, reason, None, awaited=True), True

    def look(self) -> float:
        """Start what is due in the background; return the seconds until to look again (readiness, `keep_fresh()`)."""
        with self.step() as step:
            self._look_at_clocks(step)
            decision = decide_held(self.state, self.policy, step.now)
            if isinstance(decision, Fetch):
                self._begin(step, decision.reason, None, awaited=False)
            elif isinstance(decision, Serve):
                self._serve(step, decision)
            again = look_again(self.state, self.policy, step.now, LOOK_AT_LEAST_EVERY)
            return max(1.0, min(again.monotonic - step.now.monotonic, again.wall - step.now.wall))

    def launch(self, flight: Flight) -> None:
        """Start the thread of *flight*; called without the lock."""
        # A refresh that a request waits for belongs to the request's trace; one in the background to nobody's.
        context = copy_context() if flight.awaited else Context()
        try:
            start(lambda: self._run(flight), f"keyturn-refresh-{flight.number}", context)
        except RuntimeError:
            flight.unstarted = True
            if not flight.awaited:
                self.settle(flight, None)

    def settle(self, flight: Flight, outcome: Answer | Failure | None, events: Iterable[Event] = ()) -> None:
        """End *flight* with its outcome; None says that it was not made. Late outcomes change nothing."""
        with self.step() as step:
            self._settle(step, flight, outcome, events)

    def adopt(self, flight: Flight, answer: Answer) -> None:
        """Take an answer out of the store into force while *flight* goes on."""
        with self.step() as step:
            if step.process.flight is flight:
                before = self.state
                kept = {name: getattr(before, name) for name in ("attempt", "attempted_at", "failures", "failed_at", "pause", "failure")}
                self._assign(step, replace(self._accepted(step, flight, answer), **kept))

    def change(self, transition: Callable[[KeySetState, Instant], Change]) -> Change:
        """Apply a transition of revocations and tell of it."""
        with self.step() as step:
            change = transition(self.state, step.now)
            self._assign(step, change.state)
            step.events += change.events
            return change

    def renew(self) -> None:
        """Start anew in the child of a fork: nothing that ran in the parent runs here."""
        self._processes = {os.getpid(): _Process()}
        state = not_made(self.state)
        self.state = replace(state, line=drawn_line(self.policy, state.interval, self._draw()))
        self._look = _NEVER
        self._renewed()

    # Under the lock.

    def _process(self) -> _Process:
        process = self._processes.get(os.getpid())
        if process is None:
            # A server that forks without the interpreter's knowledge runs no hook in the child.
            self.renew()
            process = self._processes[os.getpid()]
        return process

    def _begin(self, step: _Step, reason: RefreshReason, wanted: Wanted | None, *, awaited: bool) -> Flight:
        self._assign(step, begin(self.state, step.now, reason, wanted))
        flight = Flight(self.state.attempts, reason, wanted, step.now, self.policy.deadline, awaited=awaited)
        step.process.flight = flight
        step.launches.append(flight)
        return flight

    def _serve(self, step: _Step, decision: Serve) -> None:
        if decision.refresh is not None:
            self._begin(step, decision.refresh, None, awaited=False)
        self._look = look_again(self.state, self.policy, step.now, LOOK_AT_LEAST_EVERY)

    def _ask_for_vanished(self, key: SigningKey) -> None:
        wanted = ("vanished", key.thumbprint)
        with self.step() as step:
            if decide_vanished(self.state, self.policy, step.now, self._look_ups.get(wanted)):
                self._begin(step, "vanished_key", wanted, awaited=False)

    def _settle(self, step: _Step, flight: Flight, outcome: Answer | Failure | None, events: Iterable[Event]) -> None:
        if step.process.flight is not flight:
            return
        step.process.flight = None
        step.settled.append(flight)
        before = self.state
        if isinstance(outcome, Answer):
            flight.succeeded = True
            step.events += events
            after = self._accepted(step, flight, outcome)
            self._note_look_ups(flight, before, after)
        elif outcome is None:
            after = not_made(before)
        else:
            flight.failure = outcome
            after = fail(before, self.policy, step.now, outcome, self._draw())
            step.events.append(_failed(after, flight, outcome, step.now))
        self._assign(step, after)

    def _accepted(self, step: _Step, flight: Flight, answer: Answer) -> KeySetState:
        """Return the state with *answer* in force, and every key that was revoked before it came revoked in the same step (R11)."""
        state, events = accept(self.state, self.policy, step.now, answer, self._draw())
        change = resolve(state, step.now)
        flight.entries += change.entries
        step.events += [*events, *change.events]
        return change.state

    def _look_at_clocks(self, step: _Step) -> None:
        """Settle a refresh that is over its deadline, end graces that are over, report a clock that jumped."""
        flight = step.process.flight
        if flight is not None and flight.deadline.over() and not flight.latch.is_set:
            message = f"the refresh was not over within {self.policy.deadline:g} s (setting: deadline)"
            self._settle(step, flight, Failure("fetch_failed", message, "", ""), ())
        state, events = drop_expired(self.state, self.policy, step.now)
        if events:
            self._assign(step, state)
            step.events += events
        offset = step.now.wall - step.now.monotonic
        if abs(offset - self._clock_offset) > CLOCKS_MAY_DIFFER:
            step.events.append(ClockJumped(issuer=self.state.issuer, at=step.now.wall, seconds=offset - self._clock_offset))
            self._clock_offset = offset

    def _assign(self, step: _Step, state: KeySetState) -> None:
        changed = state.generation != self.state.generation
        self.state = state
        if changed:
            # After the state, see `matching`.
            self._fits = {}
            held = {key.thumbprint for key in (*state.held.keys, *state.banned.keys)}
            self.last_used = {thumbprint: minute for thumbprint, minute in dict(self.last_used).items() if thumbprint in held}
        usable = state.usable(self.policy, step.now) and not state.untried(step.now)
        self._look = look_again(state, self.policy, step.now, LOOK_AT_LEAST_EVERY) if usable else _NEVER

    def _note_look_ups(self, flight: Flight, before: KeySetState, after: KeySetState) -> None:
        """Remember what an on-demand refresh looked up in vain; a change of the set forgets everything else (R13)."""
        changed = after.generation != before.generation
        vain = {flight.wanted}
        if changed:
            earlier = dict.fromkeys(vain, LookUp())
            self._look_ups.clear()
        else:
            vain |= {wanted for wanted, look_up in self._look_ups.items() if look_up.owed}
            earlier = {wanted: self._look_ups.get(wanted, LookUp()) if wanted else LookUp() for wanted in vain}
        if flight.reason not in ON_DEMAND:
            return
        for wanted in vain:
            if wanted is not None and not (changed and _is_held(after, wanted)):
                self._look_ups[wanted] = LookUp(times=earlier[wanted].times + 1, asked_at=flight.started)

    def _owe(self, step: _Step, wanted: Wanted | None, look_up: LookUp | None) -> None:
        self._assign(step, replace(self.state, owed=True))
        if wanted is not None:
            self._look_ups[wanted] = replace(look_up or LookUp(), owed=True)

    def _tell_unknown(self, step: _Step, action: Action, retry_after: int | None) -> None:
        if not self.state.usable(self.policy, step.now):
            return
        # An attacker can provoke these: one a second for each action, with the number of tokens that it stands for.
        told_at, count = self._told.get(action, (float("-inf"), 0))
        if step.now.monotonic - told_at < 1.0:
            self._told[action] = (told_at, count + 1)
            return
        self._told[action] = (step.now.monotonic, 0)
        step.events.append(UnknownKey(issuer=self.state.issuer, at=step.now.wall, action=action, count=count + 1, retry_after=retry_after))

    def _tell_staleness(self, step: _Step) -> None:
        age = self.state.age(step.now)
        if age < self.state.interval or not self.state.failures:
            return
        if self._stale_told is None or step.now.since(self._stale_told) >= LOOK_AT_LEAST_EVERY:
            self._stale_told = step.now
            until = step.now.wall + self.policy.refresh_interval + self.policy.max_stale - age
            step.events.append(StaleKeysServed(issuer=self.state.issuer, at=step.now.wall, age=age, until=until))

    def _draw(self) -> float:
        return self._random.random()


def _is_held(state: KeySetState, wanted: Wanted) -> bool:
    kind, value = wanted
    if kind == "vanished":
        return all(gone.key.thumbprint != value for gone in state.vanished.values())
    member = {"kid": "kid", "x5t": "x5t", "x5t#S256": "x5t_s256"}[kind]
    return any(getattr(key, member) == value for key in (*state.held.keys, *state.banned.keys))


def _failed(state: KeySetState, flight: Flight, failure: Failure, now: Instant) -> FetchFailed:
    return FetchFailed(
        issuer=state.issuer,
        at=now.wall,
        document=failure.document,
        code=failure.code,
        message=failure.message,
        reason=flight.reason,
        retry_in=state.backoff_left(now),
        failures=state.failures,
    )
