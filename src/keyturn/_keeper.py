"""State, lock and single flight of one issuer's keys: where the pure rules meet threads.

Rules of this file:

1. The lock is held to decide and to assign, never for I/O, a callback, a log line, a thread start or a wake-up. It is an RLock,
   because signal handlers enter here too. It is held by a `with` statement of its own: an exception that a signal handler throws
   between an `acquire()` and the `try` after it would leave it locked for ever.
2. A key that is held is served without the lock, until the instant at which something may flip.
3. Whether to fetch is decided under the lock, again after it was waited for: so one refresh runs at a time (R4).
4. A refresh counts only while it is the current one. One that is over its deadline is settled as failed by whoever looks first,
   and one whose beginning was interrupted counts as not made.
5. A child of a fork starts with a lock and a jitter of its own and no refresh running; what ran is owed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextvars import Context, copy_context
from dataclasses import replace
from typing import Any, NamedTuple

from keyturn._core.acceptance import accept, drawn_line, drop_expired
from keyturn._core.jwk import SigningKey
from keyturn._core.key_set import Candidates, Handle
from keyturn._core.policy import RolloverPolicy
from keyturn._core.revocation import Revocations, merged
from keyturn._core.revoking import Change, resolve
from keyturn._core.rollover import (
    Fetch,
    Join,
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
from keyturn._core.signatures import Verify
from keyturn._core.state import Answer, Failure, KeySetState, Wanted, with_keys
from keyturn._delivery import Delivery
from keyturn._flight import Flight
from keyturn._look_ups import LookUps
from keyturn._steps import Process, Step
from keyturn._telling import Action, Telling, fetch_failed
from keyturn._threads import Inside, start
from keyturn.clock import Clock, Instant, read
from keyturn.errors import KeysUnavailableError, quoted, whole_seconds
from keyturn.events import Event, RefreshReason

LOOK_AT_LEAST_EVERY = 60.0
"""Seconds after which a client in use looks at its state again: "last used" and staleness are told to the minute."""

_NEVER = Instant(float("-inf"), float("-inf"))
_INTERRUPTED = Refuse("keys_unavailable", 1.0)
"""For a signal handler that came in between the two assignments that begin a refresh."""

Memory = dict[tuple[Any, Any], tuple[tuple[SigningKey, Verify], ...]]
"""The keys that fit a kid and an algorithm, each with its verify call."""


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


class Keeper:
    """Keeps one issuer's state, and decides with the pure rules what each caller gets."""

    def __init__(
        self,
        state: KeySetState,
        policy: RolloverPolicy,
        clock: Clock,
        *,
        deliver: Delivery,
        run: Callable[[Flight], None],
        renewed: Callable[[], None],
    ) -> None:
        self.policy = policy
        self.clock = clock
        self.deliver = deliver
        self.state = state
        self.inside = Inside()
        self.last_used: dict[str, int] = {}
        self._noted: set[str] = set()
        self._run = run
        self._renewed = renewed
        self._monotonic, self._wall = clock.monotonic, clock.wall
        self._look = _NEVER
        self.memory: Memory = {}
        self._look_ups = LookUps(policy.max_unknown_kids)
        self._telling = Telling(read(clock))
        self._processes = {os.getpid(): Process()}

    def step(self) -> Step:
        """Return what one stay under `step.process.lock` is made with."""
        return Step(self, self._process())

    # Serving held keys.

    def is_due(self) -> bool:
        """Return whether a decision is due before any key may serve; no lock."""
        monotonic, wall = self._look
        return self._monotonic() >= monotonic or self._wall() >= wall

    def held_now(self, kid: object, algorithm: str) -> tuple[tuple[SigningKey, Verify], ...]:
        """Return the keys of *kid* without the lock; nothing if a decision is due, or if nothing is known of it yet."""
        return () if self.is_due() else self.memory.get((kid, algorithm), ())

    def holds(self, key: SigningKey) -> bool:
        """Return whether *key* may serve now, after the decision that any use of a key is due to (R3, R9, R10, R11).

        Where the decision is to wait or to refuse, the answer is no and nothing begins: a refresh that began here would be older than
        the question of whoever then asks for the key, who would take it for one that ran already and order a second one (R4).
        """
        with self.step() as step, step.process.lock:
            self._look_at_clocks(step)
            decision = decide_held(self.state, self.policy, step.now)
            if not isinstance(decision, Serve):
                return False
            self._serve(step, decision)
        return any(key.identity == held.identity for held in self.state.held.keys)

    def matching(self, header: Mapping[str, Any]) -> Match:
        """Return the keys that fit *header*."""
        # The memory is taken before the state is read: what is remembered of an older state then lands in a memory that
        # a newer state has thrown away, never the other way round.
        memory, state, limit = self.memory, self.state, self.policy.max_candidates
        held = state.held.candidates(header, limit=limit)
        return Match(held, state.banned.candidates(header, limit=limit), memory)

    def remember(self, header: Mapping[str, Any], match: Match) -> None:
        """Let `held_now` answer for this kid and algorithm, until anything changes."""
        kid = header.get("kid")
        # Only what is held is remembered, so the memory is bounded by the set and not by what tokens say.
        if kid is not None and match.held.keys:
            algorithm = header["alg"]
            match.memory[kid, algorithm] = tuple((key, key.verifier(algorithm)) for key in match.held.keys)

    def used(self, key: SigningKey) -> None:
        """Note that *key* verified a token: to the minute, and for a vanished key it asks for a refresh (R10)."""
        noted = self._noted
        if key.thumbprint in noted:
            return
        self.last_used[key.thumbprint] = int(self._wall()) // 60
        if key.name in self.state.vanished:
            self._ask_for_vanished(key)
        else:
            noted.add(key.thumbprint)

    def ask_held(self) -> Flight | Refuse | None:
        """Decide for a token whose key is held: None serves it, a flight is to be waited for (R3, R9)."""
        with self.step() as step, step.process.lock:
            self._look_at_clocks(step)
            decision = decide_held(self.state, self.policy, step.now)
            if isinstance(decision, Refuse):
                return decision
            if isinstance(decision, Join):
                return step.process.flight or _INTERRUPTED
            if isinstance(decision, Fetch):
                return self._begin(step, decision.reason, None, awaited=True)
            self._serve(step, decision)
            return None

    # Asking for keys that are not held.

    def ask_missing(self, handle: Handle, seen: Match) -> Flight | Refuse | None:
        """Decide for a token whose key is not held, or that verifies under none of the keys that fit (R4, R5, R13).

        Args:
            handle: What the token names.
            seen: Where the caller looked in vain; if the set has changed since, the answer is None: look again.
        """
        wanted = None if handle.member is None else (handle.member, handle.value)
        with self.step() as step, step.process.lock:
            self._look_at_clocks(step)
            if seen.memory is not self.memory:
                # A refresh that was over between the look and the lock may have brought the key: a second one would be one too many.
                return None
            flight = step.process.flight
            waiting = flight.waiters if flight else 0
            decision = decide_missing(self.state, self.policy, step.now, look_up=self._look_ups.get(wanted), waiting=waiting)
            self._tell_unknown(step, decision)
            if isinstance(decision, Refuse):
                self._refuse(step, decision, wanted)
                return decision
            if isinstance(decision, Fetch):
                flight = self._begin(step, decision.reason, wanted, awaited=True)
            if flight is None:
                return _INTERRUPTED
            flight.waiters += 1
            return flight

    def left(self, flight: Flight) -> None:
        """Count a caller no more that waited for an unknown key."""
        with self._process().lock:
            flight.waiters -= 1

    def is_usable(self) -> bool:
        """Return whether the set may vouch for anybody now (R9)."""
        return self.state.usable(self.policy, read(self.clock))

    @property
    def attempts(self) -> int:
        """Number of the last refresh that was ordered."""
        return self.state.attempts

    # Refreshes.

    def order(self, reason: RefreshReason) -> tuple[Flight, bool]:
        """Start a refresh whatever the rules say; return it, or the one that is running, and whether it is the caller's own.

        Raises:
            KeysUnavailableError: The refresh that is running asks.
        """
        self.refuse_itself()
        with self.step() as step, step.process.lock:
            self._look_at_clocks(step)
            if step.process.flight is not None:
                return step.process.flight, False
            return self._begin(step, reason, None, awaited=True), True

    def refuse_itself(self) -> None:
        """Refuse a wait on a thread that works for this client: it would wait for itself.

        Raises:
            KeysUnavailableError: This is such a thread.
        """
        if self.inside.here:
            raise KeysUnavailableError(
                "a refresh waits for itself: its fetcher or store asked the client that it serves", hint="Give the fetcher a client of its own."
            )

    def look(self) -> float:
        """Start what is due in the background; return the seconds until to look again (readiness, `keep_fresh()`)."""
        with self.step() as step, step.process.lock:
            self._look_at_clocks(step)
            decision = decide_held(self.state, self.policy, step.now)
            if isinstance(decision, Fetch):
                self._begin(step, decision.reason, None, awaited=False)
            elif isinstance(decision, Serve) and decision.refresh is not None:
                # When tokens look again stays as it is: a look at readiness tells nobody of stale keys, and reads no store.
                self._begin(step, decision.refresh, None, awaited=False)
            # What is to be done after a refresh is known at its end alone, so until then it is looked for every second.
            at_most = 1.0 if self.state.attempt is not None else LOOK_AT_LEAST_EVERY
            again = look_again(self.state, self.policy, step.now, at_most)
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
        with self.step() as step, step.process.lock:
            self._settle(step, flight, outcome, events)

    def put_off(self, flight: Flight, failure: Failure) -> bool:
        """End *flight*, which could not be started, and return whether there are keys that serve on as after any failure (R9)."""
        with self.step() as step, step.process.lock:
            usable = self.state.usable(self.policy, step.now)
            self._settle(step, flight, failure if usable else None, ())
            return usable

    def adopt(self, flight: Flight, answer: Answer) -> None:
        """Take an answer out of the store into force while *flight* goes on."""
        with self.step() as step, step.process.lock:
            if step.process.flight is flight:
                before = self.state
                kept = {name: getattr(before, name) for name in ("attempted_at", "failures", "failed_at", "pause", "failure")}
                adopted = replace(self._accepted(step, flight, answer), **kept)
                # A set past its due time is refreshed before it is used, so whoever comes now waits for this refresh (R3).
                attempt = before.attempt and replace(before.attempt, while_overdue=adopted.untried(step.now))
                self._assign(step, replace(adopted, attempt=attempt))

    def change(self, transition: Callable[[KeySetState, Instant], Change]) -> Change:
        """Apply a transition of revocations and tell of it."""
        with self.step() as step, step.process.lock:
            # A key whose grace is over is not held any more, whether a token came since or not.
            self._look_at_clocks(step)
            change = transition(self.state, step.now)
            self._assign(step, change.state)
            step.events += change.events
            return change

    def renew(self) -> None:
        """Start anew in the child of a fork: nothing that ran in the parent runs here."""
        self._processes = {os.getpid(): Process()}
        self._start_anew()

    def _start_anew(self) -> None:
        state = not_made(self.state)
        self.state = replace(state, line=drawn_line(self.policy, state.interval, self._draw()))
        self._look = _NEVER
        # Another thread of the parent may have been at work on these when the child was born.
        self.memory = {}
        self._look_ups = LookUps(self.policy.max_unknown_kids)
        self._telling = Telling(None)
        self.inside.forget()
        self._renewed()

    # Under the lock.

    def _process(self) -> Process:
        pid = os.getpid()
        process = self._processes.get(pid)
        if process is None:
            # A server that forks without the interpreter's knowledge runs no hook in the child. Of several threads the first one
            # starts anew, and the others wait for its lock.
            fresh = Process()
            with fresh.lock:
                process = self._processes.setdefault(pid, fresh)
                if process is fresh:
                    self._start_anew()
        return process

    def _begin(self, step: Step, reason: RefreshReason, wanted: Wanted | None, *, awaited: bool) -> Flight:
        self._assign(step, begin(self.state, step.now, reason, wanted))
        flight = Flight(self.state.attempts, reason, wanted, step.now, self.policy.deadline, awaited=awaited)
        step.process.flight = flight
        step.launches.append(flight)
        return flight

    def _serve(self, step: Step, decision: Serve) -> None:
        step.events += self._telling.staleness(self.state, self.policy, step.now)
        if decision.refresh is not None:
            self._begin(step, decision.refresh, None, awaited=False)
        # A look comes every minute at least, so what was noted since the last one is noted anew.
        self._noted = set()
        self._look = look_again(self.state, self.policy, step.now, LOOK_AT_LEAST_EVERY)

    def _refuse(self, step: Step, decision: Refuse, wanted: Wanted | None) -> None:
        if decision.owes:
            self._look_ups.owe(wanted)
            if not self.state.owed:
                self._assign(step, replace(self.state, owed=True))
        if decision.refresh:
            self._begin(step, decision.refresh, None, awaited=False)

    def _tell_unknown(self, step: Step, decision: Join | Fetch | Refuse) -> None:
        if not self.state.usable(self.policy, step.now):
            # Without keys every key is unknown; the failure of the refresh says more.
            return
        action: Action = "refused" if isinstance(decision, Refuse) else "fetched" if isinstance(decision, Fetch) else "joined"
        retry_after = whole_seconds(decision.retry_after) if isinstance(decision, Refuse) else None
        step.events += self._telling.unknown_key(self.state, step.now, action, retry_after)

    def _ask_for_vanished(self, key: SigningKey) -> None:
        wanted = ("vanished", key.thumbprint)
        with self.step() as step, step.process.lock:
            if decide_vanished(self.state, self.policy, step.now, self._look_ups.get(wanted)):
                self._begin(step, "vanished_key", wanted, awaited=False)

    def _settle(self, step: Step, flight: Flight, outcome: Answer | Failure | None, events: Iterable[Event]) -> None:
        if step.process.flight is not flight:
            return
        step.process.flight = None
        step.settled.append(flight)
        before = self.state
        if isinstance(outcome, Answer):
            flight.succeeded = True
            step.events += events
            after = self._accepted(step, flight, outcome)
            self._look_ups.note(flight, before, after)
        elif outcome is None:
            after = not_made(before)
        else:
            flight.failure = outcome
            after = fail(before, self.policy, step.now, outcome, self._draw())
            step.events.append(fetch_failed(after, flight.reason, outcome, step.now))
        self._assign(step, after)

    def _accepted(self, step: Step, flight: Flight, answer: Answer) -> KeySetState:
        """Return the state with *answer* in force, and every key that was revoked before it came revoked in the same step (R11)."""
        state, events = accept(self.state, self.policy, step.now, answer, self._draw())
        change = resolve(state, step.now)
        flight.entries += change.entries
        step.events += [*events, *change.events]
        return change.state

    def _look_at_clocks(self, step: Step) -> None:
        """Settle a refresh that is over its deadline, end graces that are over, report a clock that jumped."""
        flight = step.process.flight
        if flight is not None and flight.deadline.over() and not flight.latch.is_set:
            message = f"the refresh of {quoted(self.state.issuer)} was not over within {self.policy.deadline:g} s (setting: deadline)"
            self._settle(step, flight, Failure("fetch_failed", message, "", ""), ())
        attempt = self.state.attempt
        if step.process.flight is None and attempt is not None and step.now.since(attempt.started) >= self.policy.deadline:
            # An exception out of a signal handler came between the two assignments that begin a refresh.
            self._assign(step, not_made(self.state))
        state, events = drop_expired(self.state, self.policy, step.now)
        if events:
            self._assign(step, state)
            step.events += events
        step.events += self._telling.clocks(self.state, step.now)

    def _assign(self, step: Step, state: KeySetState) -> None:
        seen: Revocations | None = None
        while self.state.revocations is not seen:
            # Looked at again, because a signal handler may come in while the last one's word is put beside ours.
            seen = self.state.revocations
            if seen is not state.revocations:
                state = self._with_all_revocations(step, state, seen)
        changed = state.generation != self.state.generation
        self.state = state
        if changed:
            # After the state, see `matching`.
            self.memory = {}
            self._noted = set()
            held = {key.thumbprint for key in (*state.held.keys, *state.banned.keys)}
            self.last_used = {thumbprint: minute for thumbprint, minute in dict(self.last_used).items() if thumbprint in held}
        # Only a decision knows until when nothing flips (`_serve`): what ended or fell due while a refresh ran, such as a grace, has
        # passed for `look_again`, and would be served on for a minute.
        self._look = _NEVER

    def _with_all_revocations(self, step: Step, state: KeySetState, others: Revocations) -> KeySetState:
        """Return *state* with what a signal handler revoked while it was made: the lock lets this thread's own handlers in (R11)."""
        known = merged(state.revocations, others.values())
        return state if known is state.revocations else resolve(with_keys(state, revocations=known), step.now).state

    def _draw(self) -> float:
        # Not for secrets: a fleet must not draw the same jitter, and the application's own generator, seeded or not, is left alone.
        return int.from_bytes(os.urandom(6)) / 2**48
