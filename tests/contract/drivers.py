"""Three ways to call one client at once: threads, tasks on asyncio, tasks on trio.

Rules of this file:

1. Nothing sleeps for a result: whoever waits, waits for an event or for a condition, and fails after `PATIENCE` real seconds.
2. Every caller's outcome is kept in its place: what it returned, what it raised, or `CANCELLED`.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NoReturn, Protocol

import trio

from keyturn import KeySetClient, TokenValidator
from keyturn.client import _alive
from keyturn.clock import Deadline
from keyturn.fetching import FetchedDocument
from keyturn.testing import FakeClock, FakeIssuer

PATIENCE = 20.0
"""Real seconds after which a wait of a test has failed; no test that passes comes near."""

AUDIENCE = "api://test"
CANCELLED = "cancelled"


def until(condition: Callable[[], object], what: str = "a condition") -> None:
    """Wait until *condition* holds; fail if it does not in time."""
    deadline, turn = Deadline(PATIENCE), threading.Event()
    while not condition():
        assert not deadline.over(), f"expected {what} in time, it never came"
        turn.wait(0.001)


def waiting(client: KeySetClient, count: int) -> None:
    """Wait until *count* callers wait for a key that is not held."""

    def enough() -> bool:
        flight = client._keeper._process().flight
        return flight is not None and flight.waiters >= count

    until(enough, f"{count} waiting callers")


def quiet(before: Iterable[threading.Thread] = ()) -> None:
    """Wait until no refresh runs and every thread of the library is gone, those of *before* apart."""
    known = set(before)

    def still() -> bool:
        # A thread is listed only once it is up; until then its client says that it is at work.
        for client in list(_alive):
            if not client._is_idle():
                return False
        return not [thread for thread in threading.enumerate() if thread.name.startswith("keyturn-") and thread not in known]

    until(still, "the end of every thread of the library")


class World:
    """An issuer, a client of it and its validator, on a clock that stands still."""

    def __init__(self, **settings: Any) -> None:
        self.clock = FakeClock()
        self.issuer = FakeIssuer(clock=self.clock)
        settings.setdefault("fetcher", self.issuer.fetcher())
        self.client = KeySetClient(self.issuer.issuer, clock=self.clock, **settings)
        self.validator = TokenValidator(self.client, audience=AUDIENCE)

    def warm(self) -> World:
        """Read the keys once, and forget the requests of it."""
        self.validator.validate(self.issuer.token())
        self.issuer.fetches.clear()
        return self

    def roll(self, kid: str = "k2") -> str:
        """Roll the key over; return a token that the new one signed."""
        self.issuer.publish(kid)
        self.issuer.promote(kid)
        return self.issuer.token()


class Scripted:
    """A fetcher that does what a test says before it reads the issuer."""

    def __init__(self, issuer: FakeIssuer, before: Callable[[], object]) -> None:
        self.before = before
        self._inner = issuer.fetcher()

    def fetch(self, url: str, **limits: Any) -> FetchedDocument:
        """Do it, then read *url*."""
        self.before()
        return self._inner.fetch(url, **limits)


def scripted(before: Callable[[], object], **settings: Any) -> tuple[World, Scripted]:
    """Return a world whose fetcher calls *before* first."""
    issuer = FakeIssuer()
    fetcher = Scripted(issuer, before)
    world = World(fetcher=fetcher, **settings)
    fetcher._inner = world.issuer.fetcher()
    return world, fetcher


def raiser(error: BaseException) -> Callable[[], NoReturn]:
    """Return a function that raises *error*."""

    def throw() -> NoReturn:
        raise error

    return throw


class Calls:
    """Callers that run, and what becomes of each."""

    def __init__(self, count: int) -> None:
        self.outcomes: list[Any] = [None] * count
        self.threads: list[threading.Thread] = []
        self.turns = 0
        self.cancel: Callable[[int], None] = lambda number: None

    def done(self) -> list[Any]:
        """Return every outcome, once all are there."""
        for thread in self.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), f"callers still wait: {self.outcomes}"
        return self.outcomes


class Driver(Protocol):
    """One way to call."""

    def start(self, validator: TokenValidator, tokens: Sequence[str]) -> Calls:
        """Validate each of *tokens* at once, without waiting for any."""
        ...


def run(driver: Driver, validator: TokenValidator, token: str) -> Any:
    """Return what one call of *driver* comes to."""
    return driver.start(validator, [token]).done()[0]


class Threads:
    """A thread for each caller."""

    def start(self, validator: TokenValidator, tokens: Sequence[str]) -> Calls:
        """Validate each of *tokens* on a thread of its own."""
        calls = Calls(len(tokens))
        for number, token in enumerate(tokens):
            calls.threads.append(threading.Thread(target=self._call, args=(calls, number, validator, token), daemon=True))
        for thread in calls.threads:
            thread.start()
        return calls

    @staticmethod
    def _call(calls: Calls, number: int, validator: TokenValidator, token: str) -> None:
        try:
            calls.outcomes[number] = validator.validate(token)
        except BaseException as error:
            calls.outcomes[number] = error


class Asyncio:
    """A task for each caller, on one asyncio loop."""

    def start(self, validator: TokenValidator, tokens: Sequence[str]) -> Calls:
        """Validate each of *tokens* in a task of its own."""
        calls = Calls(len(tokens))
        begun = threading.Event()
        calls.threads.append(threading.Thread(target=lambda: asyncio.run(self._main(calls, begun, validator, tokens)), daemon=True))
        calls.threads[0].start()
        assert begun.wait(PATIENCE)
        return calls

    async def _main(self, calls: Calls, begun: threading.Event, validator: TokenValidator, tokens: Sequence[str]) -> None:
        loop = asyncio.get_running_loop()
        tasks = [asyncio.create_task(self._call(calls, number, validator, token)) for number, token in enumerate(tokens)]
        calls.cancel = lambda number: loop.call_soon_threadsafe(tasks[number].cancel)
        begun.set()
        counting = asyncio.create_task(_count(calls, functools.partial(asyncio.sleep, 0.001)))
        await asyncio.wait(tasks)
        counting.cancel()

    @staticmethod
    async def _call(calls: Calls, number: int, validator: TokenValidator, token: str) -> None:
        try:
            calls.outcomes[number] = await validator.validate_async(token)
        except asyncio.CancelledError:
            calls.outcomes[number] = CANCELLED
        except BaseException as error:
            calls.outcomes[number] = error


class Trio:
    """A task for each caller, in one trio run."""

    def start(self, validator: TokenValidator, tokens: Sequence[str]) -> Calls:
        """Validate each of *tokens* in a task of its own."""
        calls = Calls(len(tokens))
        begun = threading.Event()
        calls.threads.append(threading.Thread(target=trio.run, args=(self._main, calls, begun, validator, tokens), daemon=True))
        calls.threads[0].start()
        assert begun.wait(PATIENCE)
        return calls

    async def _main(self, calls: Calls, begun: threading.Event, validator: TokenValidator, tokens: Sequence[str]) -> None:
        entry = trio.lowlevel.current_trio_token()
        scopes = [trio.CancelScope() for _ in tokens]
        calls.cancel = lambda number: entry.run_sync_soon(scopes[number].cancel)
        async with trio.open_nursery() as counting:
            counting.start_soon(_count, calls, functools.partial(trio.sleep, 0.001))
            async with trio.open_nursery() as nursery:
                for number, token in enumerate(tokens):
                    nursery.start_soon(self._call, calls, number, validator, token, scopes[number])
                begun.set()
            counting.cancel_scope.cancel()

    @staticmethod
    async def _call(calls: Calls, number: int, validator: TokenValidator, token: str, scope: trio.CancelScope) -> None:
        with scope:
            try:
                calls.outcomes[number] = await validator.validate_async(token)
            except Exception as error:
                calls.outcomes[number] = error
        if scope.cancelled_caught:
            calls.outcomes[number] = CANCELLED


async def _count(calls: Calls, pause: Callable[[], Awaitable[None]]) -> None:
    """Count the turns of a loop that nobody blocks."""
    while True:
        calls.turns += 1
        await pause()


DRIVERS: dict[str, Driver] = {"thread": Threads(), "asyncio": Asyncio(), "trio": Trio()}
LOOPS: dict[str, Driver] = {name: driver for name, driver in DRIVERS.items() if name != "thread"}
