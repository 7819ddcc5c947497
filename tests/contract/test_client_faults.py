"""What a client makes of faults around it: fetchers, handlers, refused threads, interrupts, ends of loops (F65, F67, F68, F77, F78)."""

from __future__ import annotations

import _thread
import asyncio
import contextvars
import gc
import logging
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NoReturn

import pytest
import trio
from tests.contract.drivers import AUDIENCE, DRIVERS, PATIENCE, Asyncio, Calls, Driver, Threads, World, quiet, run, until, waiting

from keyturn import Event, FetchError, KeySetClient, KeysUnavailableError, RolloverPolicy, TokenValidator, UnknownKeyError, ValidatedToken
from keyturn import _keeper as keeper_module
from keyturn.events import FetchFailed, FetchSucceeded, StaleKeysServed, UnknownKey
from keyturn.fetching import FetchedDocument
from keyturn.testing import FakeIssuer

LOOPS: dict[str, Callable[..., Any]] = {"asyncio": lambda call, *args: asyncio.run(call(*args)), "trio": trio.run}


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """No thread outlives its work (I5)."""
    before = threading.enumerate()
    yield
    quiet(before)


@pytest.fixture(params=LOOPS)
def on_loop(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Each way to run a coroutine on this thread."""
    return LOOPS[request.param]


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> Driver:
    """Each way to call."""
    return DRIVERS[request.param]


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


class OddError(BaseException):
    """What no `except Exception` sees."""


class TestFetcher:
    """Whatever a fetcher does is a failed refresh at most (F65, F77)."""

    @pytest.mark.parametrize(
        "error",
        [
            ValueError("text"),
            KeyError("key"),
            StopIteration(),
            MemoryError(),
            RecursionError(),
            asyncio.CancelledError(),
            SystemExit(3),
            KeyboardInterrupt(),
            GeneratorExit(),
            OddError(),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_whatever_it_raises_is_a_failed_refresh(self, driver: Driver, error: BaseException) -> None:
        """Every waiter gets 503 that names the kind of error; after the backoff the next call succeeds."""
        world, fetcher = scripted(raiser(error))
        outcomes = driver.start(world.validator, [world.issuer.token()] * 3).done()
        assert all(isinstance(outcome, KeysUnavailableError) for outcome in outcomes)
        assert type(error).__name__ in str(world.client.status().last_error)
        fetcher.before = lambda: None
        world.clock.advance(1)
        assert isinstance(run(driver, world.validator, world.issuer.token()), ValidatedToken)

    @pytest.mark.parametrize(
        "answer",
        [None, b"{}", FetchedDocument("{}"), FetchedDocument(b"{}", None), FetchedDocument(b"{}", {"content-type": 3}), FetchedDocument(b"\xff")],
        ids=["none", "bytes", "text", "no headers", "odd header", "no JSON"],
    )
    def test_whatever_it_returns_is_a_failed_refresh(self, answer: Any) -> None:
        """An answer that is none ends in 503, not in a thread that nobody hears of."""

        class Odd:
            def fetch(self, url: str, **limits: Any) -> Any:
                return answer

        world = World(fetcher=Odd())
        with pytest.raises(KeysUnavailableError):
            world.validator.validate(world.issuer.token())
        assert world.client.status().failures == 1

    @pytest.mark.parametrize(
        "call",
        [
            lambda client: client.keys_for({"alg": "ES256", "kid": "k1"}),
            lambda client: asyncio.run(client.keys_for_async({"alg": "ES256", "kid": "k1"})),
            lambda client: client.refresh(),
            lambda client: asyncio.run(client.refresh_async()),
        ],
        ids=["keys_for", "keys_for_async", "refresh", "refresh_async"],
    )
    def test_call_back_into_its_own_client_fails_at_once(self, driver: Driver, call: Callable[[KeySetClient], object]) -> None:
        """A fetcher that asks the client that it serves is told so, instead of waiting for itself until the deadline."""
        told: list[str] = []

        def ask() -> None:
            with pytest.raises(KeysUnavailableError) as caught:
                call(world.client)
            told.append(str(caught.value))

        world, _ = scripted(ask, policy=RolloverPolicy(deadline=60.0))
        assert isinstance(run(driver, world.validator, world.issuer.token()), ValidatedToken)
        assert ["a refresh waits for itself: its fetcher or store asked the client that it serves"] * 2 == told
        world.issuer.fetches.expect(discovery=1, jwks=1)

    def test_call_back_for_what_is_held_is_answered(self) -> None:
        """A fetcher may look at what is there: the keys that are held, the snapshot and the status."""
        world, fetcher = scripted(lambda: None)
        world.warm()
        seen: list[object] = []

        def look() -> None:
            seen.append(len(world.client.keys_for({"alg": "ES256", "kid": "k1"})) + len(world.client.snapshot().keys))
            seen.append(world.client.status().ready)

        fetcher.before = look
        world.client.refresh()
        assert [2, True] * 2 == seen

    def test_client_of_its_own_is_no_call_back(self) -> None:
        """A fetcher that validates with another client, for example for its own credentials, is served."""
        inner = World()
        world, _ = scripted(lambda: inner.validator.validate(inner.issuer.token()))
        assert world.validator.validate(world.issuer.token()).subject == "alice"

    def test_error_is_not_kept_alive(self) -> None:
        """An exception of the fetcher is let go with the refresh: kept, it would keep every local of the fetch (driver, trap 20)."""
        references: list[weakref.ref[BaseException]] = []

        class WatchedError(Exception):
            def __init__(self) -> None:
                references.append(weakref.ref(self))

        def throw() -> NoReturn:
            raise WatchedError

        world, _ = scripted(throw)
        gc.disable()
        try:
            with pytest.raises(FetchError):
                world.validator.validate(world.issuer.token())
            quiet()
            assert references[0]() is None
        finally:
            gc.enable()

    def test_refresh_that_a_request_waits_for_is_in_its_context(self) -> None:
        """An on-demand fetch belongs to the trace of its request, one in the background to nobody's (driver, trap 21)."""
        trace = contextvars.ContextVar("trace", default="none")
        seen: list[str] = []
        world, _ = scripted(lambda: seen.append(trace.get()))
        trace.set("request")
        world.warm()
        world.clock.advance(86_399)
        world.validator.validate(world.issuer.token())
        quiet()
        assert ["request"] * 2 + ["none"] * 2 == seen


class TestHandlers:
    """What a handler of events does is its own affair (F77)."""

    def test_handler_that_raises_is_logged_once(self, driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
        """Nobody else notices, and later events are handed to it all the same."""
        told: list[Event] = []

        def fail(event: Event) -> None:
            told.append(event)
            raise ValueError("text")

        world = World(on_event=fail)
        assert isinstance(run(driver, world.validator, world.issuer.token()), ValidatedToken)
        world.clock.advance(300)
        assert isinstance(run(driver, world.validator, world.roll()), ValidatedToken)
        until(lambda: sum(isinstance(event, FetchSucceeded) for event in told) == 2, "both events")
        quiet()
        assert 1 == sum("a handler of events failed" in record.message for record in caplog.records)

    def test_handler_that_blocks_keeps_nobody(self, driver: Driver) -> None:
        """It blocks on the first refresh: those who waited are back, and the next refresh runs and is used."""
        free, blocked = threading.Event(), threading.Event()

        def block(event: Event) -> None:
            if isinstance(event, FetchSucceeded):
                blocked.set()
                assert free.wait(PATIENCE)

        world = World(on_event=block)
        try:
            assert isinstance(run(driver, world.validator, world.issuer.token()), ValidatedToken)
            assert blocked.wait(PATIENCE)
            assert isinstance(run(driver, world.validator, world.roll()), ValidatedToken)
            assert isinstance(run(driver, world.validator, world.issuer.token()), ValidatedToken)
        finally:
            free.set()

    @pytest.mark.parametrize("kind", [UnknownKey, StaleKeysServed])
    def test_handler_that_blocks_keeps_not_the_request_that_it_hears_of(self, driver: Driver, kind: type[Event]) -> None:
        """It blocks on an event that a token gave rise to: that token is answered, on its loop or thread, while it blocks (R7)."""
        free, blocked = threading.Event(), threading.Event()

        def block(event: Event) -> None:
            if isinstance(event, kind):
                blocked.set()
                assert free.wait(PATIENCE)

        world = World(on_event=block)
        try:
            assert isinstance(run(driver, world.validator, world.issuer.token()), ValidatedToken)
            world.clock.advance(86_400)
            with world.issuer.down(document="both"):
                assert isinstance(run(driver, world.validator, world.issuer.token()), ValidatedToken)
                assert isinstance(run(driver, world.validator, world.issuer.forge(key="other")), KeysUnavailableError)
            assert blocked.wait(PATIENCE)
        finally:
            free.set()

    def test_handler_may_use_the_client(self) -> None:
        """A handler runs outside the lock: it may look, revoke, and validate with held keys."""
        seen: list[object] = []

        def use(event: Event) -> None:
            if isinstance(event, FetchSucceeded):
                seen.append(world.client.status().ready)
                seen.append(world.validator.validate(token).subject)

        world = World(on_event=use)
        token = world.issuer.token()
        world.validator.validate(token)
        until(lambda: len(seen) == 2, "the handler")
        assert [True, "alice"] == seen


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that makes every start of a thread fail from then on, as in uWSGI without `enable-threads`."""

    def refuse(*args: object, **kwargs: object) -> NoReturn:
        raise RuntimeError("can't start new thread")

    def take_away() -> None:
        monkeypatch.setattr(_thread, "start_new_thread", refuse)
        for name in ("_start_new_thread", "_start_joinable_thread"):
            # The second name is that of Python 3.13 and newer.
            monkeypatch.setattr(threading, name, refuse, raising=False)

    return take_away


class TestWithoutThreads:
    """Where no thread can be started (F65)."""

    def test_thread_that_waits_runs_the_refresh_itself(self, no_threads: Callable[[], None]) -> None:
        """The fetch runs on the caller's own thread, cold and at rollover, and its answer is used."""
        idents: list[int] = []
        world, _ = scripted(lambda: idents.append(threading.get_ident()))
        no_threads()
        assert world.validator.validate(world.issuer.token()).subject == "alice"
        assert world.validator.validate(world.roll()).subject == "alice"
        assert [threading.get_ident()] * 3 == idents

    def test_only_the_second_start_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The thread comes up, but cannot start a proper one: it does the work itself (driver, trap 2)."""

        class Refused(threading.Thread):
            def start(self) -> None:
                raise RuntimeError("can't start new thread")

        world = World()
        monkeypatch.setattr(threading, "Thread", Refused)
        assert world.validator.validate(world.issuer.token()).subject == "alice"

    def test_refresh_of_an_operator_runs_itself(self, no_threads: Callable[[], None]) -> None:
        """`refresh()` works, and its failure is raised as always."""
        world = World()
        no_threads()
        assert world.client.refresh().ready
        with world.issuer.down(), pytest.raises(FetchError):
            world.client.refresh()

    def test_coroutine_without_keys_is_told(self, no_threads: Callable[[], None], on_loop: Callable[..., Any]) -> None:
        """A coroutine must not block its loop with a fetch, so it gets 503 with the cure; a thread is served right after it."""
        world = World()
        no_threads()
        with pytest.raises(KeysUnavailableError, match="no thread can be started") as caught:
            on_loop(world.validator.validate_async, world.issuer.token())
        assert "enable-threads" in caught.value.hint
        world.issuer.fetches.expect(discovery=0, jwks=0)
        assert world.validator.validate(world.issuer.token()).subject == "alice"

    def test_coroutine_with_an_unknown_kid_is_told(self, no_threads: Callable[[], None], on_loop: Callable[..., Any]) -> None:
        """The same while other keys are held: 503, since nobody could look."""
        world = World().warm()
        no_threads()
        with pytest.raises(KeysUnavailableError, match="no thread can be started"):
            on_loop(world.validator.validate_async, world.roll())

    @pytest.mark.parametrize("age", [86_399, 86_400, 172_799])
    def test_coroutine_is_served_with_held_keys(self, no_threads: Callable[[], None], on_loop: Callable[..., Any], age: float) -> None:
        """Keys that cannot be refreshed serve on, as after any failed refresh (R9)."""
        world = World().warm()
        world.clock.advance(age)
        no_threads()
        for _ in range(2):
            assert on_loop(world.validator.validate_async, world.issuer.token()).subject == "alice"

    def test_what_runs_in_the_background_is_left_out(self, no_threads: Callable[[], None], caplog: pytest.LogCaptureFixture) -> None:
        """Past the line, revoking, a look at readiness, `keep_fresh()`: nobody is kept, and nothing raises."""
        world = World().warm()
        world.clock.advance(86_399)
        no_threads()
        assert world.validator.validate(world.issuer.token()).subject == "alice"
        assert world.client.status().ready
        world.client.revoke(kid="other")
        with world.client.keep_fresh():
            pass
        assert "keep_fresh() does nothing" in caplog.text
        world.issuer.fetches.expect(jwks=0)

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), OddError()], ids=lambda error: type(error).__name__)
    def test_interrupt_of_the_caller_is_the_callers(self, no_threads: Callable[[], None], error: BaseException) -> None:
        """What ends the thread that fetches for itself is not told as an outage, and the client works on (F78)."""
        world, fetcher = scripted(raiser(error))
        no_threads()
        with pytest.raises(type(error)):
            world.validator.validate(world.issuer.token())
        fetcher.before = lambda: None
        world.clock.advance(1)
        assert world.validator.validate(world.issuer.token()).subject == "alice"

    def test_call_back_fails_at_once(self, no_threads: Callable[[], None]) -> None:
        """The caller that fetches for itself cannot wait for itself either; afterwards its thread is an ordinary one."""
        world, fetcher = scripted(lambda: None)

        def ask() -> None:
            with pytest.raises(KeysUnavailableError, match="waits for itself"):
                world.client.keys_for({"alg": "ES256", "kid": "k1"})

        fetcher.before = ask
        no_threads()
        assert world.validator.validate(world.issuer.token()).subject == "alice"
        fetcher.before = lambda: None
        assert world.validator.validate(world.roll()).subject == "alice"


class BrokenClock:
    """A clock that raises once, where a signal handler would: under the lock."""

    def __init__(self, world: World) -> None:
        self.error: BaseException | None = None
        self._clock = world.clock

    def monotonic(self) -> float:
        """Raise, or tell the time."""
        error, self.error = self.error, None
        if error is not None:
            raise error
        return self._clock.monotonic()

    def wall(self) -> float:
        """Tell the time."""
        return self._clock.wall()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait in virtual time."""
        return self._clock.wait(event, seconds)


class TestInterrupts:
    """An exception that a signal handler throws into our own code leaves nothing broken (F78)."""

    def test_lock_is_free_after_an_interrupt_under_it(self) -> None:
        """The exception leaves, and other threads are answered: a lock that stayed taken would hang every one of them."""
        world = World()
        clock = BrokenClock(world)
        client = KeySetClient(world.issuer.issuer, fetcher=world.issuer.fetcher(), clock=clock)
        validator = TokenValidator(client, audience=AUDIENCE)
        clock.error = OddError()
        with pytest.raises(OddError):
            client.revoke(kid="other")
        assert isinstance(run(Threads(), validator, world.issuer.token()), ValidatedToken)

    def test_refresh_that_was_interrupted_at_its_beginning_is_made_anew(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An attempt that was stamped but never started blocks nobody for longer than a deadline."""
        world = World().warm()
        token = world.roll()
        with monkeypatch.context() as patch:
            patch.setattr(keeper_module, "Flight", _interrupted)
            with pytest.raises(OddError):
                world.validator.validate(token)
        assert isinstance(run(Threads(), world.validator, token), KeysUnavailableError)
        world.clock.advance(5)
        assert isinstance(run(Threads(), world.validator, token), ValidatedToken)


def _interrupted(*args: object, **kwargs: object) -> NoReturn:
    raise OddError


class TestOperators:
    """`refresh()` asks whatever the rules say (U35)."""

    @pytest.fixture(params=["refresh", "refresh on asyncio", "refresh on trio"])
    def refresh(self, request: pytest.FixtureRequest) -> Callable[[KeySetClient], Any]:
        """Each door."""
        return {
            "refresh": lambda client: client.refresh(),
            "refresh on asyncio": lambda client: asyncio.run(client.refresh_async()),
            "refresh on trio": lambda client: trio.run(client.refresh_async),
        }[request.param]

    def test_it_ignores_a_spent_allowance(self, refresh: Callable[[KeySetClient], Any]) -> None:
        """The allowance is spent, and the operator gets the new set; the allowance stays spent."""
        world = World().warm()
        world.validator.validate(world.roll("k2"))
        token = world.roll("k3")
        assert refresh(world.client).ready
        assert world.validator.validate(token).subject == "alice"
        outcome = run(Threads(), world.validator, world.issuer.forge(key="k4"))
        assert isinstance(outcome, UnknownKeyError)
        assert outcome.retry_after == 300
        world.issuer.fetches.expect(jwks=2)

    def test_it_ignores_backoff_and_retry_after(self, refresh: Callable[[KeySetClient], Any]) -> None:
        """The issuer asked for an hour; the operator knows better. Success ends the backoff."""
        world = World()
        with world.issuer.down(retry_after=3600), pytest.raises(FetchError):
            refresh(world.client)
        with pytest.raises(KeysUnavailableError):
            world.validator.validate(world.issuer.token())
        status = refresh(world.client)
        assert (status.ready, status.failures, status.age) == (True, 0, 0.0)
        assert world.validator.validate(world.issuer.token()).subject == "alice"

    def test_it_raises_what_went_wrong(self, refresh: Callable[[KeySetClient], Any]) -> None:
        """The error of the fetch, while the keys stay."""
        world = World().warm()
        with world.issuer.answer(b"<html>"), pytest.raises(KeysUnavailableError) as caught:
            refresh(world.client)
        assert caught.value.code == "invalid_key_set"
        assert world.validator.validate(world.issuer.token()).subject == "alice"

    def test_it_follows_a_running_refresh_with_its_own(self, refresh: Callable[[KeySetClient], Any]) -> None:
        """What it returns was asked for after the call: the running one may have read the old set."""
        world = World().warm()
        outcomes: list[Any] = []
        with world.issuer.gate() as gate:
            stuck = Threads().start(world.validator, [world.issuer.forge(key="other")])
            assert gate.wait_for_arrival(PATIENCE)
            token = world.roll()
            operator = threading.Thread(target=lambda: outcomes.append(refresh(world.client)), daemon=True)
            operator.start()
            gate.open()
            operator.join(PATIENCE)
            stuck.done()
        assert ["k1", "k2"] == sorted(key.kid for key in outcomes[0].keys)
        world.issuer.fetches.expect(jwks=2)
        assert world.validator.validate(token).subject == "alice"
        world.issuer.fetches.expect(jwks=2)

    def test_it_gives_up_at_the_deadline(self, refresh: Callable[[KeySetClient], Any]) -> None:
        """A closed gate keeps an operator no longer than anybody else."""
        world = World(policy=RolloverPolicy(deadline=0.2))
        with world.issuer.gate(document="both"), pytest.raises(FetchError):
            refresh(world.client)


class TestLoops:
    """Nothing of ours belongs to a loop (F67, U28)."""

    def test_twenty_loops_in_sequence(self, on_loop: Callable[..., Any]) -> None:
        """One validator over 20 loops with a rollover each; pytest turns a ResourceWarning into a failure."""
        world = World()
        for number in range(20):
            world.clock.advance(300)
            assert on_loop(world.validator.validate_async, world.roll(f"loop-{number}")).subject == "alice"
        gc.collect()
        world.issuer.fetches.expect(discovery=1, jwks=20)

    def test_three_loops_at_once(self) -> None:
        """Two asyncio loops and trio wait for one refresh."""
        world = World()
        with world.issuer.gate() as gate:
            several: list[Calls] = [each.start(world.validator, [world.issuer.token()] * 5) for each in (Asyncio(), Asyncio(), DRIVERS["trio"])]
            waiting(world.client, 15)
            gate.open()
            assert all(isinstance(outcome, ValidatedToken) for calls in several for outcome in calls.done())
        world.issuer.fetches.expect(discovery=1, jwks=1)

    @pytest.mark.parametrize("name", LOOPS)
    def test_loop_that_ends_during_the_fetch(self, name: str) -> None:
        """A loop is closed while its caller's refresh runs: the refresh goes on, and the next loop finds its result."""
        world = World()
        with world.issuer.gate() as gate:
            LOOPS[name](_leaving[name], world)
            assert gate.wait_for_arrival(PATIENCE)
            gate.open()
            quiet()
        assert LOOPS[name](world.validator.validate_async, world.issuer.token()).subject == "alice"
        gc.collect()
        world.issuer.fetches.expect(discovery=1, jwks=1)

    def test_sync_call_that_waits_on_a_loop_warns_once(self, on_loop: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
        """`validate()` on a loop's thread names `validate_async()`, once; a held key is served without a word (U8)."""
        world = World()

        async def call(token: str) -> ValidatedToken:
            return world.validator.validate(token)

        def warnings() -> int:
            return sum("validate_async()" in record.message and record.levelno == logging.WARNING for record in caplog.records)

        world.warm()
        on_loop(call, world.issuer.token())
        assert warnings() == 0
        for number in range(3):
            world.clock.advance(300)
            on_loop(call, world.roll(f"sync-{number}"))
        assert warnings() == 1


async def _leave_asyncio(world: World) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(world.validator.validate_async(world.issuer.token()), 0.05)


async def _leave_trio(world: World) -> None:
    with pytest.raises(trio.TooSlowError), trio.fail_after(0.05):
        await world.validator.validate_async(world.issuer.token())


_leaving: dict[str, Callable[[World], Awaitable[None]]] = {"asyncio": _leave_asyncio, "trio": _leave_trio}
"""A caller whose own time-out is shorter than the fetch (F64)."""


class TestManyClients:
    """One client is meant to be shared (U9)."""

    def test_equal_clients_are_reported_once(self, caplog: pytest.LogCaptureFixture) -> None:
        """A thousand clients of one issuer: one warning that says what to do, and not one request."""
        issuer = FakeIssuer("https://built-over-and-over.test")
        for _ in range(1000):
            KeySetClient(issuer.issuer, fetcher=issuer.fetcher())
        assert 1 == sum("build one, and share it" in record.message for record in caplog.records)
        issuer.fetches.expect(discovery=0, jwks=0)

    def test_different_issuers_are_not_reported(self, caplog: pytest.LogCaptureFixture) -> None:
        """A client for each of many issuers is what a router has."""
        for number in range(100):
            KeySetClient(f"https://tenant-{number}.test", fetcher=FakeIssuer().fetcher())
        assert "share it" not in caplog.text

    def test_many_validators_share_one_client(self) -> None:
        """A thousand validators over one client: one fetch."""
        world = World()
        token = world.issuer.token()
        for _ in range(1000):
            assert TokenValidator(world.client, audience=AUDIENCE).validate(token).subject == "alice"
        world.issuer.fetches.expect(discovery=1, jwks=1)


class TestKeepFresh:
    """`keep_fresh()` keeps an idle process fresh, by the same rules as traffic (R3, R5, R8)."""

    def test_schedule_is_kept_without_a_token(self) -> None:
        """The keys are read on entry, and again each day; after the end nobody asks."""
        world = World()
        with world.client.keep_fresh():
            for day in range(3):
                until(lambda count=day + 1: world.issuer.fetches.jwks == count, "the refresh of the day")
                until(lambda: world.client.status().age == 0.0, "its answer")
                world.clock.advance(86_399)
            until(lambda: world.issuer.fetches.jwks == 4, "the last refresh")
        quiet()
        world.clock.advance(86_399)
        world.issuer.fetches.expect(discovery=4, jwks=4)

    @pytest.mark.parametrize("name", LOOPS)
    def test_async_context(self, name: str) -> None:
        """`async with` does the same, and its end waits for nothing."""
        world = World()

        async def main() -> None:
            async with world.client.keep_fresh():
                while not world.client.snapshot().keys:
                    if name == "asyncio":
                        await asyncio.sleep(0.001)
                    else:
                        await trio.sleep(0.001)

        LOOPS[name](main)
        world.issuer.fetches.expect(discovery=1, jwks=1)

    def test_owed_refresh_is_made_without_a_token(self) -> None:
        """A kid was refused for want of allowance: it is looked up as soon as the allowance is back (R5)."""
        world = World().warm()
        world.validator.validate(world.roll("k2"))
        assert isinstance(run(Threads(), world.validator, world.roll("k3")), UnknownKeyError)
        with world.client.keep_fresh():
            world.clock.advance(299)
            world.issuer.fetches.expect(jwks=1)
            world.clock.advance(1)
            until(lambda: any(key.kid == "k3" for key in world.client.snapshot().keys), "the owed refresh")
        world.issuer.fetches.expect(jwks=2)

    def test_failures_back_off(self) -> None:
        """An issuer that is down is asked by the backoff, not in a loop (R8)."""
        told: list[Event] = []
        world = World(on_event=told.append)
        with world.issuer.down(document="both"), world.client.keep_fresh():
            until(lambda: told and isinstance(told[-1], FetchFailed), "the first failure")
        world.issuer.fetches.expect(discovery=1, jwks=0)

    def test_it_can_be_entered_again(self) -> None:
        """An end and a new beginning leave one thread, not two."""
        world = World().warm()
        fresh = world.client.keep_fresh()
        for _ in range(5):
            with fresh:
                pass
        with fresh:
            until(lambda: 1 == sum(thread.name == "keyturn-keep-fresh" for thread in threading.enumerate()), "one thread")

    def test_stale_keys_are_told_of_although_somebody_else_looks(self) -> None:
        """Looks at readiness do not keep tokens from telling of stale keys (B4)."""
        told: list[Event] = []
        world = World(on_event=told.append).warm()
        world.client._keeper._draw = lambda: 0.0
        world.clock.advance(86_400)
        with world.issuer.down(document="both"):
            world.validator.validate(world.issuer.token())
            for _ in range(30):
                world.clock.advance(10)
                world.client.status()
                quiet()
                world.validator.validate(world.issuer.token())
        quiet()
        assert sum(isinstance(event, StaleKeysServed) for event in told) == 6
