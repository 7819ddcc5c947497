"""The stage of `keyturn demo`: a fake issuer, a validator over real HTTP, a clock that only the demo moves, and what became of all tokens.

Rules of this file:

1. Whether a token belongs is said before it is judged, by what the rules promise at that instant; what came of it is never assumed.
2. Requests are counted by the issuer, not by the client that made them.
3. Time moves only while no refresh is under way, so that nothing depends on how fast this machine is. What the client leaves to chance,
   its jitter, differs from run to run, and no promise may depend on it.
4. Waiting for a background refresh is bounded in real time; a refresh that is late is an error and no result.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from keyturn._core.policy import RolloverPolicy
from keyturn.client import KeySetClient
from keyturn.errors import InvalidTokenError, KeysUnavailableError, KeyturnError
from keyturn.events import Event, FetchFailed, FetchSucceeded
from keyturn.fetching import Fetcher, HttpxFetcher
from keyturn.testing.clock import FakeClock
from keyturn.testing.issuer import FakeIssuer
from keyturn.validator import TokenValidator

AUDIENCE = "api://orders"
"""Who the demo's service is."""

PATIENCE = 30.0
"""Real seconds that a refresh on loopback may take, on a machine however busy."""

Promise = Literal["accepted", "refused", "unavailable", "accepted soon"]
"""What the rules promise for a token at this instant: 200; 401 (503 would do); 503; or 200 unless the allowance is spent (R5)."""

Outcome = Literal["accepted", "refused", "unavailable"]
"""What came: 200, 401, 503."""


@dataclass(frozen=True, slots=True)
class Sort:
    """A sort of tokens of which any number was judged the same way.

    Attributes:
        promise: What the rules promised.
        outcome: What came.
        code: Code of the error, or an empty string.
        later: Whether the caller was told to come back (Retry-After).
        why: What these tokens are.
    """

    promise: Promise
    outcome: Outcome
    code: str
    later: bool
    why: str


@dataclass(slots=True)
class Tally:
    """What became of the tokens of one step."""

    accepted: int = 0
    refused: int = 0
    unavailable: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count one token."""
        setattr(self, outcome, getattr(self, outcome) + 1)

    @property
    def sent(self) -> int:
        """How many there were."""
        return self.accepted + self.refused + self.unavailable


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the timeline.

    Attributes:
        at: Virtual seconds since the start.
        what: What happened.
        tally: What became of the step's tokens.
        fetches: Requests for the key set that reached the issuer in this step.
    """

    at: float
    what: str
    tally: Tally
    fetches: int

    @property
    def time(self) -> str:
        """The time as T+hh:mm."""
        return clock_text(self.at)


@dataclass(slots=True)
class Wait:
    """How long a key was waited for whose tokens are good: virtual seconds since the start."""

    since: float
    until: float | None = None


@dataclass(slots=True)
class Record:
    """All that happened.

    Attributes:
        sorts: How many tokens of each sort there were.
        refreshes: Every refresh, in the order in which they ended.
        waits: By kid, how long good tokens were told to come back.
        events: How many events of each kind there were, by name.
    """

    sorts: dict[Sort, int] = field(default_factory=dict)
    refreshes: list[FetchSucceeded | FetchFailed] = field(default_factory=list)
    waits: dict[str, Wait] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)


class Stage:
    """An issuer, a service that validates its tokens, and the time of both.

    Args:
        issuer: The issuer, with a `FakeClock`.
        fetcher: How the service reaches it.
        clock: The clock of both.
        seed: Seed of what is left to chance.
        progress: Called now and then with the number of tokens sent in this step.

    Attributes:
        issuer: The issuer.
        client: The service's key client.
        clock: The clock of both.
        policy: The rules in force.
        random: What is left to chance.
        record: All that happened.
    """

    def __init__(
        self,
        issuer: FakeIssuer,
        fetcher: Fetcher,
        clock: FakeClock,
        *,
        seed: int = 0,
        progress: Callable[[int], object] = lambda _: None,
    ) -> None:
        self.issuer = issuer
        self.clock = clock
        # The deadline alone is real time: nothing of the story depends on how fast this machine is.
        self.policy = RolloverPolicy(deadline=PATIENCE, connect_timeout=PATIENCE / 3)
        self.client = KeySetClient(issuer.issuer, policy=self.policy, fetcher=fetcher, clock=clock, on_event=self._seen)
        self.random = random.Random(seed)  # noqa: S311 - a story that can be told again, not a secret
        self.record = Record()
        self._validator = TokenValidator(self.client, audience=AUDIENCE)
        self._progress = progress
        self._start = clock.wall()
        self._refreshed = threading.Condition()
        self._tally = Tally()
        self._fetches_told = 0

    @property
    def now(self) -> float:
        """Virtual seconds since the start."""
        return self.clock.wall() - self._start

    def advance(self, seconds: float) -> None:
        """Let virtual time pass, once nothing is under way (3)."""
        self._settle()
        self.clock.advance(seconds)

    def send(self, count: int, why: str, promise: Promise, make: Callable[[], str] | None = None, *, key: str | None = None) -> None:
        """Have tokens judged, and note what came.

        Args:
            count: How many.
            why: What they are.
            promise: What the rules promise for them now.
            make: Makes one; a good one of *key* unless given.
            key: Kid that signs; the issuer's signing key unless given.
        """
        for _ in range(count):
            token = make() if make else self.issuer.token(key=key)
            self._note(why, promise, self._judged(token), key)
        self._settle()

    def tell(self, what: str) -> Step:
        """End a step."""
        self._settle()
        fetches = self.issuer.fetches.jwks
        step = Step(self.now, what, self._tally, fetches - self._fetches_told)
        self._tally, self._fetches_told = Tally(), fetches
        return step

    def key_age(self) -> float:
        """Return the virtual seconds since the keys were last confirmed."""
        confirmed = [refresh.at for refresh in self.record.refreshes if isinstance(refresh, FetchSucceeded)]
        return self.clock.wall() - max(confirmed)

    def _judged(self, token: str) -> KeyturnError | None:
        try:
            self._validator.validate(token)
        except (InvalidTokenError, KeysUnavailableError) as error:
            return error
        return None

    def _note(self, why: str, promise: Promise, error: KeyturnError | None, key: str | None) -> None:
        outcome: Outcome = "accepted" if error is None else "unavailable" if isinstance(error, KeysUnavailableError) else "refused"
        sort = Sort(promise, outcome, error.code if error else "", bool(error and error.retry_after), why)
        self.record.sorts[sort] = self.record.sorts.get(sort, 0) + 1
        if key is not None and promise == "accepted soon" and outcome != "accepted":
            self.record.waits.setdefault(key, Wait(self.now))
        if key in self.record.waits and outcome == "accepted" and self.record.waits[key].until is None:
            self.record.waits[key].until = self.now
        self._tally.add(outcome)
        if self._tally.sent % 50 == 0:
            self._progress(self._tally.sent)

    def _seen(self, event: Event) -> None:
        with self._refreshed:
            name = type(event).__name__
            self.record.events[name] = self.record.events.get(name, 0) + 1
            if isinstance(event, (FetchSucceeded, FetchFailed)):
                self.record.refreshes.append(event)
                self._refreshed.notify_all()

    def _settle(self) -> None:
        """Wait until every refresh that was ordered has told how it ended (4)."""
        keeper = self.client._keeper  # noqa: SLF001 - nothing public says that a refresh was ordered and has not begun yet
        with self._refreshed:
            if not self._refreshed.wait_for(lambda: len(self.record.refreshes) >= keeper.attempts, PATIENCE * 2):
                raise TimeoutError(f"a refresh did not end within {PATIENCE * 2:g} s of real time")


@contextmanager
def served_stage(*, seed: int, progress: Callable[[int], object]) -> Iterator[Stage]:
    """Yield a stage whose issuer is served on loopback, and asked with the default fetcher."""
    clock = FakeClock()
    issuer = FakeIssuer(clock=clock, audience=AUDIENCE)
    with issuer.serve():
        # A proxy of the environment would not find a server of this machine.
        yield Stage(issuer, HttpxFetcher(trust_env=False), clock, seed=seed, progress=progress)


def clock_text(seconds: float) -> str:
    """Return virtual *seconds* since the start as T+hh:mm."""
    hours, minutes = divmod(int(seconds) // 60, 60)
    return f"T+{hours:02}:{minutes:02}"
