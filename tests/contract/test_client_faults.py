"""What a client leaves behind, what operators ask of it, how it is warned about, and its refresher (traps 20, 21, 27; U9, U35).

Its faults at run time (F62-F78) stand with the fault matrix.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest
import trio
from tests.contract.drivers import AUDIENCE, PATIENCE, Threads, World, quiet, run, scripted, until

from keyturn import Event, FetchError, KeySetClient, KeysUnavailableError, RolloverPolicy, TokenValidator, UnknownKeyError, ValidatedToken
from keyturn.events import FetchFailed, StaleKeysServed
from keyturn.testing import FakeClock, FakeIssuer

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


class TestFetcher:
    """What is left of a fetch, and whose it is."""

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
    """A loop is not to be blocked (U8)."""

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

    def test_clients_on_a_clock_of_a_test_are_not_reported(self, caplog: pytest.LogCaptureFixture) -> None:
        """Each test of a suite builds a client of the same issuer on its own clock, as the fixtures of the pytest plugin do."""
        for _ in range(100):
            issuer = FakeIssuer("https://tested-over-and-over.test", clock=FakeClock())
            KeySetClient(issuer.issuer, fetcher=issuer.fetcher(), clock=issuer.clock)
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

    def test_it_does_not_sleep_over_the_end_of_a_refresh(self) -> None:
        """While a refresh runs it looks again every second, and after a failure when the pause is over: a failed start is soon made good (R8)."""
        told: list[Event] = []
        world = World(on_event=told.append)
        world.client._keeper._draw = lambda: 1.0
        with world.issuer.down(document="both"):
            for pause in (1.0, 2.0, 4.0):
                with world.issuer.gate(document="both"):
                    assert (world.client._keeper.look(), world.client._keeper.look()) == (1.0, 1.0)
                quiet()
                assert world.client._keeper.look() == pause == told[-1].retry_in
                world.clock.advance(pause)

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
