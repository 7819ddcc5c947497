"""Parts of the user that raise, answer oddly, block, or call back: fetchers and handlers of events (F77)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.contract.drivers import DRIVERS, PATIENCE, Driver, Scripted, World, quiet, run, scripted, until
from tests.faults.harness import ONE_EACH, Case, Scene

from keyturn import Event, FetchError, KeySetClient, KeysUnavailableError, RolloverPolicy, ValidatedToken
from keyturn.events import FetchSucceeded, StaleKeysServed, UnknownKey
from keyturn.fetching import FetchedDocument
from keyturn.testing import FakeClock, FakeIssuer


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


@pytest.mark.parametrize("case", ONE_EACH, ids=lambda case: case.name)
def test_f77_fetcher_that_blocks(case: Case) -> None:
    """It is left behind at the deadline: a failed refresh, and what it brings later changes nothing."""
    issuer, free = FakeIssuer(clock=FakeClock()), threading.Event()
    fetcher = Scripted(issuer, lambda: None)

    @contextmanager
    def blocking() -> Iterator[None]:
        fetcher.before = lambda: free.wait(PATIENCE)
        yield
        fetcher.before = lambda: None

    with Scene(case, issuer, fetcher=fetcher) as scene:
        scene.fails(blocking, FetchError)
        keys = scene.client.snapshot().keys
        free.set()
        quiet()
        assert scene.client.snapshot().keys == keys


@pytest.mark.parametrize(
    "answer",
    [None, b"{}", FetchedDocument("{}"), FetchedDocument(b"{}", None), FetchedDocument(b"{}", {"content-type": 3}), FetchedDocument(b"\xff")],
    ids=["none", "bytes", "text", "no headers", "odd header", "no JSON"],
)
def test_f77_whatever_a_fetcher_returns_is_a_failed_refresh(answer: Any) -> None:
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
def test_f77_fetcher_that_calls_back_into_its_own_client(driver: Driver, call: Callable[[KeySetClient], object]) -> None:
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


def test_f77_fetcher_that_asks_for_what_is_held() -> None:
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


def test_f77_fetcher_with_a_client_of_its_own() -> None:
    """A fetcher that validates with another client, for example for its own credentials, is served."""
    inner = World()
    world, _ = scripted(lambda: inner.validator.validate(inner.issuer.token()))
    assert world.validator.validate(world.issuer.token()).subject == "alice"


def test_f77_handler_that_raises_is_logged_once(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
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


def test_f77_handler_that_blocks_keeps_nobody(driver: Driver) -> None:
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
def test_f77_handler_that_blocks_keeps_not_the_request_that_it_hears_of(driver: Driver, kind: type[Event]) -> None:
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


def test_f77_handler_may_use_the_client() -> None:
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
