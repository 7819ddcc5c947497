"""In which order a client asks, parses, replaces and counts, seen from outside while something is held up (R1, R3, R5, R12; F29, F63)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.contract.drivers import CANCELLED, DRIVERS, LOOPS, PATIENCE, Driver, Threads, World, quiet, run, waiting

from keyturn import InvalidKeySetError, RolloverPolicy, SigningKey, UnknownKeyError, ValidatedToken
from keyturn._core import key_set
from keyturn._core.state import Answer
from keyturn.clock import read


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


def kids(world: World) -> list[str]:
    """Return the kids that are held."""
    return sorted(key.kid or "" for key in world.client.snapshot().keys)


def test_caller_that_crosses_the_line_does_not_wait(driver: Driver) -> None:
    """From the line on the refresh runs in the background: whoever crosses it is back while the gate is closed (R3)."""
    world = World().warm()
    world.clock.advance(86_400 - 1)
    with world.issuer.gate() as gate:
        assert isinstance(run(driver, world.validator, world.issuer.token()), ValidatedToken)
        # Whoever had waited would be back only once the refresh has failed at its deadline.
        assert world.client.status().failures == 0
        assert gate.wait_for_arrival(PATIENCE)
        gate.open()


def test_reader_during_a_blocked_parse_sees_the_whole_old_set(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the last entry has parsed the old keys serve and no new one does; then all of them do, in one step (R1, R12)."""
    parsed, go_on = threading.Event(), threading.Event()
    usable = key_set._usable

    def slowly(entry: Any, issuer: str | None) -> SigningKey:
        if entry["kid"] == "k3":
            parsed.set()
            assert go_on.wait(PATIENCE)
        return usable(entry, issuer)

    world = World().warm()
    old = world.issuer.token()
    world.issuer.publish("k2")
    new = world.roll("k3")
    monkeypatch.setattr(key_set, "_usable", slowly)
    calls = driver.start(world.validator, [new])
    try:
        assert parsed.wait(PATIENCE)
        assert kids(world) == ["k1"]
        assert isinstance(run(driver, world.validator, old), ValidatedToken)
    finally:
        go_on.set()
    assert isinstance(calls.done()[0], ValidatedToken)
    assert kids(world) == ["k1", "k2", "k3"]


def test_look_up_that_everybody_left_has_spent_its_allowance(loop: Driver) -> None:
    """The caller is cancelled during the fetch; the allowance counts from the beginning of that look-up all the same (R5, F63)."""
    world = World().warm()
    with world.issuer.gate() as gate:
        calls = loop.start(world.validator, [world.issuer.forge(key="k2")])
        waiting(world.client, 1)
        calls.cancel(0)
        assert calls.done() == [CANCELLED]
        world.clock.advance(50)
        gate.open()
        quiet()
    refused = run(loop, world.validator, world.issuer.forge(key="k3"))
    assert isinstance(refused, UnknownKeyError)
    assert refused.retry_after == 250
    world.issuer.fetches.expect(jwks=1)


@pytest.mark.parametrize("body", [b'{"keys": []}', b'{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "k2"}]}'], ids=["empty", "unusable"])
def test_set_without_a_key_changes_nothing(driver: Driver, body: bytes) -> None:
    """It is a failed refresh: who asked for a key is told of an outage, and the old keys serve on (R12, F34)."""
    world = World().warm()
    old = world.issuer.token()
    with world.issuer.answer(body):
        assert isinstance(run(driver, world.validator, world.issuer.forge(key="k2")), InvalidKeySetError)
    assert isinstance(run(driver, world.validator, old), ValidatedToken)
    assert kids(world) == ["k1"]


def test_answer_of_an_earlier_question_replaces_no_newer_one() -> None:
    """Whatever brings it late, a set that was asked for before the one in force changes nothing (F29)."""
    world = World(policy=RolloverPolicy(removed_key_grace=0)).warm()
    keeper = world.client._keeper
    earlier = Answer(world.client.snapshot(), read(world.clock))
    world.clock.advance(300)
    token = world.roll()
    assert isinstance(run(Threads(), world.validator, token), ValidatedToken)
    with world.issuer.gate() as gate:
        flight, _ = keeper.order("operator")
        assert gate.wait_for_arrival(PATIENCE)
        keeper.settle(flight, earlier)
        assert kids(world) == ["k1", "k2"]
        assert isinstance(run(Threads(), world.validator, token), ValidatedToken)
        gate.open()
