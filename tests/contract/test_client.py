"""One suite over three drivers: how callers share a refresh and wait for it (R4, R7, R8)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
from tests.contract.drivers import DRIVERS, LOOPS, PATIENCE, Driver, Threads, World, quiet, run, until, waiting

from keyturn import FetchError, KeysUnavailableError, KeyturnError, RolloverPolicy, UnknownKeyError, ValidatedToken

SHORT = RolloverPolicy(deadline=0.4)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """No thread outlives its work (I5)."""
    before = threading.enumerate()
    yield
    quiet(before)


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> Driver:
    """Each way to call."""
    return DRIVERS[request.param]


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> Driver:
    """Each way to call on an event loop."""
    return LOOPS[request.param]


def accepted(outcomes: list[Any]) -> bool:
    """Return whether every caller got its token."""
    return all(isinstance(outcome, ValidatedToken) for outcome in outcomes)


class TestOneRefreshForAll:
    """Whoever misses at the same time shares one refresh, and what comes of it (R4)."""

    @pytest.mark.parametrize("count", [1, 50])
    def test_cold_callers_share_the_start(self, driver: Driver, count: int) -> None:
        """Callers of a cold client make one discovery and one key-set request."""
        world = World()
        with world.issuer.gate() as gate:
            calls = driver.start(world.validator, [world.issuer.token()] * count)
            waiting(world.client, count)
            gate.open()
            assert accepted(calls.done())
        world.issuer.fetches.expect(discovery=1, jwks=1)

    @pytest.mark.parametrize("count", [1, 50])
    def test_callers_at_rollover_share_one_request(self, driver: Driver, count: int) -> None:
        """Callers with a new kid make one key-set request, and are accepted on the same call."""
        world = World().warm()
        token = world.roll()
        with world.issuer.gate() as gate:
            calls = driver.start(world.validator, [token] * count)
            waiting(world.client, count)
            gate.open()
            assert accepted(calls.done())
        world.issuer.fetches.expect(discovery=0, jwks=1)

    @pytest.mark.parametrize("at_gate", [True, False])
    def test_mixed_callers_share_every_round(self, at_gate: bool) -> None:
        """Threads, asyncio and trio on one client: one request in each of 20 rounds, with a slow fetch and with an instant one."""
        world = World(policy=RolloverPolicy(refresh_interval=2_592_000.0))
        token = world.issuer.token()
        for number in range(20):
            with world.issuer.gate() if at_gate else nullcontext() as gate:
                several = [each.start(world.validator, [token] * count) for each, count in zip(DRIVERS.values(), (20, 15, 15), strict=True)]
                if gate is not None:
                    waiting(world.client, 50)
                    gate.open()
                assert all(accepted(calls.done()) for calls in several)
            world.issuer.fetches.expect(discovery=1, jwks=number + 1)
            world.clock.advance(300)
            token = world.roll(f"round-{number}")

    @pytest.mark.parametrize("warm", [False, True])
    def test_refresh_that_ends_between_look_and_lock_is_the_only_one(self, driver: Driver, warm: bool) -> None:
        """A caller looked in vain, and before it has the lock somebody else's refresh brings the key: it looks again (M4, M5)."""
        world = World().warm() if warm else World()
        token = world.roll()
        keeper = world.client._keeper
        look = keeper.matching

        def look_slowly(header: Any) -> Any:
            match = look(header)
            keeper.matching = look
            assert accepted([run(Threads(), world.validator, token)])
            return match

        keeper.matching = look_slowly
        assert accepted([run(driver, world.validator, token)])
        world.issuer.fetches.expect(jwks=1)

    @pytest.mark.parametrize("count", [1, 50])
    @pytest.mark.parametrize("warm", [False, True])
    def test_failure_is_shared(self, driver: Driver, count: int, warm: bool) -> None:
        """Every waiter gets the one failure, in an exception of its own; nobody asks again (R8)."""
        world = World().warm() if warm else World()
        token = world.roll()
        with world.issuer.down(), world.issuer.gate() as gate:
            calls = driver.start(world.validator, [token] * count)
            waiting(world.client, count)
            gate.open()
            outcomes = calls.done()
        assert all(isinstance(outcome, FetchError) and outcome.retry_after is not None for outcome in outcomes)
        assert count == len({id(outcome) for outcome in outcomes})
        world.issuer.fetches.expect(jwks=1)

    def test_waiters_share_no_traceback(self) -> None:
        """An exception that several callers raised would grow an entry with each of them."""
        world = World()
        with world.issuer.down(), world.issuer.gate() as gate:
            calls = Threads().start(world.validator, [world.issuer.token()] * 2)
            waiting(world.client, 2)
            gate.open()
            first, second = calls.done()
        assert str(first) == str(second)
        assert first.__traceback__ is not second.__traceback__

    def test_joined_refresh_that_is_too_old_is_followed_by_one_more(self, driver: Driver) -> None:
        """The running refresh read the set a moment before the rollover: one on-demand refresh follows on the same call (Z10)."""
        world = World().warm()
        with world.issuer.gate() as gate:
            operator = threading.Thread(target=world.client.refresh, daemon=True)
            operator.start()
            assert gate.wait_for_arrival(PATIENCE)
            calls = driver.start(world.validator, [world.roll()])
            waiting(world.client, 1)
            gate.open()
            assert accepted(calls.done())
        operator.join(PATIENCE)
        world.issuer.fetches.expect(jwks=2)

    def test_joined_refresh_is_followed_within_the_allowance_alone(self, driver: Driver) -> None:
        """The same with the allowance spent: 401 with the time to wait, and no request beyond the running one (Z10, R5)."""
        world = World().warm()
        world.validator.validate(world.roll("k2"))
        with world.issuer.gate() as gate:
            operator = threading.Thread(target=world.client.refresh, daemon=True)
            operator.start()
            assert gate.wait_for_arrival(PATIENCE)
            calls = driver.start(world.validator, [world.roll("k3")])
            waiting(world.client, 1)
            gate.open()
            (outcome,) = calls.done()
        operator.join(PATIENCE)
        assert isinstance(outcome, UnknownKeyError)
        assert outcome.retry_after == 300
        world.issuer.fetches.expect(jwks=2)


class TestHeldKeys:
    """A key that is held is served while somebody else's refresh runs (R7)."""

    @pytest.mark.parametrize("count", [1, 50])
    def test_held_key_passes_a_closed_gate(self, driver: Driver, count: int) -> None:
        """The refresh is blocked at the gate, and callers of the held key are back before it opens (I4)."""
        world = World().warm()
        held = world.issuer.token()
        with world.issuer.gate() as gate:
            stuck = Threads().start(world.validator, [world.roll()])
            assert gate.wait_for_arrival(PATIENCE)
            assert accepted(driver.start(world.validator, [held] * count).done())
            assert stuck.outcomes == [None]
            gate.open()
            assert accepted(stuck.done())

    def test_loop_turns_while_its_callers_wait(self, loop: Driver) -> None:
        """A coroutine that waits does not block its loop: other tasks go on."""
        world = World()
        with world.issuer.gate() as gate:
            calls = loop.start(world.validator, [world.issuer.token()] * 5)
            waiting(world.client, 5)
            turns = calls.turns
            until(lambda: calls.turns >= turns + 5, "five turns of the loop")
            gate.open()
            assert accepted(calls.done())

    def test_set_past_due_is_refreshed_once_before_it_is_used(self, driver: Driver) -> None:
        """An idle process asks first; callers who come meanwhile join, and all are judged after it (R3)."""
        world = World().warm()
        world.clock.advance(86_400)
        with world.issuer.gate() as gate:
            calls = driver.start(world.validator, [world.issuer.token()] * 20)
            assert gate.wait_for_arrival(PATIENCE)
            gate.open()
            assert accepted(calls.done())
        world.issuer.fetches.expect(discovery=1, jwks=1)

    def test_set_past_due_is_served_after_the_try_failed(self, driver: Driver) -> None:
        """The one refresh fails: the old keys serve on, for those who waited and for those who come later (R9)."""
        world = World().warm()
        world.clock.advance(86_400)
        token = world.issuer.token()
        with world.issuer.down(document="both"), world.issuer.gate(document="both") as gate:
            calls = driver.start(world.validator, [token] * 20)
            assert gate.wait_for_arrival(PATIENCE)
            gate.open()
            assert accepted(calls.done())
            assert accepted([run(driver, world.validator, token)])


class TestBounds:
    """A wait is bounded in time and in number (R4, R16)."""

    @pytest.mark.parametrize("warm", [False, True])
    def test_deadline_ends_every_wait(self, driver: Driver, warm: bool) -> None:
        """The gate stays closed: every caller is back with 503, and the precise error wins the race against the time-out (B9)."""
        world = World(policy=SHORT)
        if warm:
            world.warm()
        token = world.roll()
        with world.issuer.gate() as gate:
            outcomes = driver.start(world.validator, [token] * 10).done()
            assert gate.arrived == 1
        assert all(type(outcome) is FetchError and "deadline" in str(outcome) for outcome in outcomes)

    def test_stuck_thread_is_left_behind(self, driver: Driver) -> None:
        """A fetcher that ignores its deadline keeps nobody: the callers are back, and what it brings later changes nothing (Z19)."""
        stuck, entered = threading.Event(), threading.Event()
        inner = World()

        class Stuck:
            def fetch(self, url: str, **limits: Any) -> Any:
                entered.set()
                stuck.wait(PATIENCE)
                return inner.issuer.fetcher().fetch(url, **limits)

        world = World(fetcher=Stuck(), policy=SHORT)
        outcomes = driver.start(world.validator, [world.issuer.token()] * 5).done()
        assert entered.is_set()
        assert all(isinstance(outcome, KeysUnavailableError) for outcome in outcomes)
        stuck.set()
        quiet()
        assert not world.client.snapshot().keys

    @pytest.mark.parametrize("bound", [1, 10])
    def test_waiters_are_bounded_while_a_set_is_held(self, driver: Driver, bound: int) -> None:
        """The last one within the bound waits; the next is refused at once, with the gate still closed (B24)."""
        world = World(policy=RolloverPolicy(max_waiting=bound)).warm()
        token = world.roll()
        with world.issuer.gate() as gate:
            calls = driver.start(world.validator, [token] * bound)
            waiting(world.client, bound)
            refused = run(driver, world.validator, token)
            assert type(refused) is UnknownKeyError
            assert refused.retry_after == 1
            assert calls.outcomes == [None] * bound
            gate.open()
            assert accepted(calls.done())
        world.issuer.fetches.expect(jwks=1)

    def test_start_has_no_such_bound(self, driver: Driver) -> None:
        """Nobody is refused at start-up because others wait (Z20)."""
        world = World(policy=RolloverPolicy(max_waiting=1))
        with world.issuer.gate() as gate:
            calls = driver.start(world.validator, [world.issuer.token()] * 10)
            waiting(world.client, 10)
            gate.open()
            assert accepted(calls.done())


@pytest.mark.parametrize("fault", ["down", "drop_connection"])
def test_outage_is_never_a_bad_token(driver: Driver, fault: str) -> None:
    """Cold with the issuer down: 503 at once and during the backoff, and accepted after it (U11, U12)."""
    world = World()
    context: AbstractContextManager[object] = getattr(world.issuer, fault)(document="both")
    with context:
        for _ in range(2):
            outcome = run(driver, world.validator, world.issuer.token())
            assert isinstance(outcome, KeyturnError)
            assert outcome.http_status == 503
            assert outcome.retry_after is not None
    world.issuer.fetches.expect(discovery=1)
    world.clock.advance(1)
    assert accepted([run(driver, world.validator, world.issuer.token())])
