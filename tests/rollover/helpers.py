"""What the tests of rollover share: one client of a fake issuer on a clock that stands still, and the pure rules' material.

Rules of this file:

1. Nothing sleeps: whoever must wait for a refresh waits for its latch, and then for its thread.
2. The draws of the keeper are handed in: 0.0 is no jitter and the shortest pause, 1.0 the longest of both.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from keyturn import (
    Event,
    EventHandler,
    KeySet,
    KeySetClient,
    KeyturnError,
    RolloverPolicy,
    SigningKey,
    Store,
    TokenValidator,
    ValidatedToken,
)
from keyturn.clock import Deadline, Instant
from keyturn.testing import FakeClock, FakeIssuer

T = TypeVar("T")

NAME = "https://rollover.test"
OURS = ("keyturn-refresh", "keyturn-store", "keyturn-events")
"""Names of the threads that end by themselves."""

LONG = 20.0
"""Real seconds after which a wait of a test has failed; no test that passes comes near."""

TICK = 2.0**-10
"""The smallest step: every sum of it with the seconds of these tests is exact."""

DAY, HOUR = 86_400.0, 3_600.0
DEFAULTS = RolloverPolicy()
START = Instant(1_000.0, 1_800_000_000.0)
CLOCKS = ("both", "monotonic", "wall")


def after(start: Instant, seconds: float, clocks: str = "both") -> Instant:
    """Return *start* with one clock, or both, moved on."""
    return Instant(start.monotonic + (clocks != "wall") * seconds, start.wall + (clocks != "monotonic") * seconds)


def published(issuer: FakeIssuer) -> KeySet:
    """Return what *issuer* publishes now, parsed."""
    return KeySet.from_jwks(issuer.jwks())


def only(keys: KeySet, kid: str | None) -> SigningKey:
    """Return the one key of *kid*."""
    (key,) = (key for key in keys.keys if key.kid == kid)
    return key


class World:
    """An issuer, one client of it and its validator, on one clock.

    Args:
        policy: The numbers of rollover.
        draw: What the keeper draws, each time.
        store: What survives `restart()`.
        revoked: Thumbprints that the configuration revokes.
        on_event: Called with every event, after it was noted.
        name: The issuer's name.
        clock: The clock of issuer and client; None means one of their own.
        **issuer: Settings of the fake issuer.
    """

    def __init__(
        self,
        policy: RolloverPolicy = DEFAULTS,
        *,
        draw: float = 0.0,
        store: Store | None = None,
        revoked: Sequence[str] = (),
        on_event: Sequence[EventHandler] = (),
        name: str = NAME,
        clock: FakeClock | None = None,
        **issuer: Any,
    ) -> None:
        self.clock = clock or FakeClock()
        self.issuer = FakeIssuer(name, clock=self.clock, **issuer)
        self.policy, self.draw, self.store = policy, draw, store
        self.events: list[Event] = []
        self._handlers = (self.events.append, *on_event)
        self.restart(revoked)

    def restart(self, revoked: Sequence[str] = ()) -> None:
        """Start a new process: nothing but the store survives."""
        self.client = KeySetClient(
            self.issuer.issuer,
            policy=self.policy,
            fetcher=self.issuer.fetcher(),
            store=self.store,
            clock=self.clock,
            revoked=revoked,
            on_event=self._handlers,
        )
        self.client._keeper._draw = lambda: self.draw
        self.validator = TokenValidator(self.client, audience="api://test")

    def warm(self) -> World:
        """Read the keys once, and forget the requests and events of it."""
        self.accept(self.issuer.token())
        return self.forget()

    def forget(self) -> World:
        """Forget the requests and the events so far."""
        self.idle()
        self.issuer.fetches.clear()
        self.events.clear()
        return self

    def idle(self) -> None:
        """Wait until no refresh runs and everything that it tells has been told."""
        deadline, turn = Deadline(LONG), threading.Event()
        # A refresh delivers its events and fills the store after it has woken its waiters.
        while not self.client._is_idle() or any(thread.name.startswith(OURS) for thread in threading.enumerate()):
            assert not deadline.over(), f"{[thread.name for thread in threading.enumerate()]} did not end in time"
            turn.wait(0.0005)

    def accept(self, token: str) -> ValidatedToken:
        """Validate a good token, and let what it started in the background end."""
        validated = self.validator.validate(token)
        self.idle()
        return validated

    def refusal(self, token: str) -> KeyturnError:
        """Validate a token that is refused; return why."""
        try:
            self.validator.validate(token)
        except KeyturnError as error:
            self.idle()
            return error
        raise AssertionError("the token was accepted, expected a refusal")

    def verdict(self, token: str) -> str:
        """Validate a token; return `accepted`, or the code of its error."""
        try:
            self.validator.validate(token)
        except KeyturnError as error:
            return error.code
        finally:
            self.idle()
        return "accepted"

    def unknown(self, kid: str) -> str:
        """Return a well-formed token with a kid that nobody publishes."""
        return self.issuer.forge(key=kid)

    @property
    def requests(self) -> int:
        """How often the key set was asked for."""
        return self.issuer.fetches.jwks

    @property
    def remembered(self) -> set[str]:
        """Kids and thumbprints that the client remembers as looked up or refused (R13)."""
        return {value for _, value in self.client._keeper._look_ups._known}

    def told(self, kind: type[T]) -> list[T]:
        """Return the events of one kind, in their order, once all have been delivered."""
        return [event for event in self.delivered() if isinstance(event, kind)]

    def delivered(self) -> list[Event]:
        """Return every event, once all have been delivered; those of a request are delivered on a thread of their own."""
        deadline, turn = Deadline(LONG), threading.Event()
        while not self.client._keeper.deliver.is_idle():
            assert not deadline.over(), "the events were not delivered in time"
            turn.wait(0.001)
        return self.events


class Caller(threading.Thread):
    """A call on a thread of its own, for tests in which it waits at a gate."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._call = call
        self._outcome: Any = None
        self.start()

    def run(self) -> None:
        """Make the call, and keep what it returns or raises."""
        try:
            self._outcome = self._call()
        except Exception as error:
            self._outcome = error

    def outcome(self) -> Any:
        """Return what the call returned or raised."""
        self.join(LONG)
        assert not self.is_alive(), "the call is still waiting"
        return self._outcome


def wait_for_callers(world: World, count: int) -> None:
    """Wait until *count* callers wait for a key that is not held; they are counted under the lock, so a look is enough."""
    turn = threading.Event()
    for _ in range(int(LONG * 1000)):
        flight = world.client._keeper._process().flight
        if flight is not None and flight.waiters >= count:
            return
        turn.wait(0.001)
    raise AssertionError(f"{count} callers did not come to wait")
