"""Clocks that jump, machines that sleep, children of a fork: ages by the larger of both clocks (R14), and what was slept through."""

from __future__ import annotations

import threading
from contextlib import nullcontext

import pytest
from tests.rollover.helpers import DAY, HOUR, LONG, TICK, Caller, World

from keyturn import ClockJumped, FetchFailed, FetchSucceeded, KeysUnavailableError, MemoryStore, RolloverPolicy, StaleKeysServed
from keyturn.clock import read


def passes(world: World, clocks: str, seconds: float) -> None:
    """Let time pass on both clocks, or on one of them alone."""
    if clocks == "wall":
        world.clock.suspend(seconds)
    else:
        world.clock.advance(seconds)
    if clocks == "monotonic":
        world.clock.step_wall(-seconds)


@pytest.mark.parametrize("clocks", ["both", "wall", "monotonic"])
def test_no_clock_makes_a_key_immortal(clocks: str) -> None:
    """F69, R14: whichever clock moves, the set is due after 24 h, ends after 48 h, and a vanished key after its grace (M24, M25)."""
    world = World()
    world.issuer.publish("k2")
    world.warm()
    world.issuer.promote("k2")
    world.issuer.retire("k1")
    world.client.refresh()
    passes(world, clocks, 7_200 - TICK)
    assert world.verdict(world.issuer.token(key="k1")) == "accepted"
    passes(world, clocks, TICK)
    assert world.verdict(world.issuer.token(key="k1")) == "unknown_key"
    world.client.refresh()
    world.forget()
    with world.issuer.down():
        passes(world, clocks, DAY - TICK)
        assert (world.verdict(world.issuer.token()), world.requests) == ("accepted", 0)
        passes(world, clocks, TICK)
        assert (world.verdict(world.issuer.token()), world.requests) == ("accepted", 1)
        passes(world, clocks, DAY - TICK)
        assert world.verdict(world.issuer.token()) == "accepted"
        passes(world, clocks, TICK)
        assert world.refusal(world.issuer.token()).http_status == 503


@pytest.mark.parametrize("step", [2 * HOUR, -2 * HOUR, -1_700_000_000.0])
def test_a_step_of_the_wall_clock(step: float) -> None:
    """F69: forward, one early refresh at most; back, none and no longer life; a difference over 60 s is reported once."""
    world = World(RolloverPolicy(refresh_interval=HOUR)).warm()
    world.clock.step_wall(step)
    world.clock.advance(60)
    for _ in range(5):
        assert world.verdict(world.issuer.token()) == "accepted"
    assert world.requests == int(step > 0)
    assert [event.seconds for event in world.told(ClockJumped)] == [step]
    world.clock.advance(HOUR)
    assert (world.verdict(world.issuer.token()), world.requests) == ("accepted", 1 + int(step > 0))
    world.clock.step_wall(-step)
    world.clock.advance(60)
    assert world.verdict(world.issuer.token()) == "accepted"
    assert [event.seconds for event in world.told(ClockJumped)] == [step, -step]


def test_the_allowance_by_either_clock() -> None:
    """A suspended machine does not keep the allowance spent (R14)."""
    world = World().warm()
    world.verdict(world.unknown("junk"))
    world.issuer.cut_over("k2")
    world.clock.suspend(300 - TICK)
    assert world.verdict(world.issuer.token()) == "unknown_key"
    world.clock.suspend(TICK)
    assert world.verdict(world.issuer.token()) == "accepted"


@pytest.mark.parametrize("clocks", ["both", "wall"])
def test_suspended_for_10_hours(clocks: str) -> None:
    """F70, U36: not due, served at once; a key rotated meanwhile is accepted after one refresh."""
    world = World().warm()
    passes(world, clocks, 10 * HOUR)
    assert (world.verdict(world.issuer.token()), world.requests) == ("accepted", 0)
    world.issuer.cut_over("k2")
    assert (world.verdict(world.issuer.token()), world.requests) == ("accepted", 1)


@pytest.mark.parametrize("clocks", ["both", "wall"])
@pytest.mark.parametrize("down", [False, True])
def test_suspended_for_30_hours(clocks: str, down: bool) -> None:
    """F70: past due, so refreshed first; served with the old set if that fails, and from then on attempts run in the background."""
    world = World().warm()
    passes(world, clocks, 30 * HOUR)
    with world.issuer.gate() as gate, world.issuer.down() if down else nullcontext():
        caller = Caller(lambda: world.validator.validate(world.issuer.token()).key_id)
        if not down:
            assert gate.wait_for_arrival()
            assert caller.is_alive()
            gate.open()
        assert caller.outcome() == "k1"
        world.idle()
        assert (world.requests, len(world.told(FetchFailed)), len(world.told(StaleKeysServed))) == (1, int(down), int(down))
        world.clock.advance(1)
        assert world.validator.validate(world.issuer.token())
        world.idle()
        assert world.requests == 1 + down


def test_suspended_for_50_hours() -> None:
    """F70: too old, so refreshed first, and 503 if that fails."""
    world = World().warm()
    world.clock.suspend(50 * HOUR)
    with world.issuer.down():
        assert world.refusal(world.issuer.token()).code == "fetch_failed"
    world.clock.advance(1)
    assert world.verdict(world.issuer.token()) == "accepted"


SHORT = RolloverPolicy(deadline=0.2, connect_timeout=0.1)


def test_an_attempt_that_was_slept_through() -> None:
    """Z18: it counts as not made: no step of the backoff, and the set is asked for again before it is used."""
    world = World(SHORT, draw=1.0).warm()
    world.clock.advance(DAY)
    with world.issuer.gate() as gate:
        world.client.status()
        assert gate.wait_for_arrival()
        world.clock.suspend(10 * HOUR)
        world.idle()
    assert [(event.failures, event.retry_in) for event in world.told(FetchFailed)] == [(0, 0.0)]
    assert world.client._keeper.state.untried(read(world.clock))
    world.issuer.cut_over("k2")
    assert (world.verdict(world.issuer.token()), world.requests) == ("accepted", 2)


def test_a_look_up_that_was_slept_through() -> None:
    """Z18, R5: it is owed, its allowance stays spent, and the first token of any kind after that returns starts it."""
    world = World(SHORT).warm()
    with world.issuer.gate() as gate:
        assert world.client._inquiry({"alg": "ES256", "kid": "k2"}, None).step() is not None
        assert gate.wait_for_arrival()
        world.clock.suspend(60 + TICK)
        world.idle()
    assert [event.failures for event in world.told(FetchFailed)] == [0]
    world.issuer.cut_over("k2")
    assert (world.refusal(world.issuer.token()).retry_after, world.requests) == (240, 1)
    world.clock.advance(240 - TICK)
    assert (world.verdict(world.issuer.token(key="k1")), world.requests) == ("accepted", 2)
    assert (world.verdict(world.issuer.token()), world.requests) == ("accepted", 2)


def test_a_refresh_that_is_not_over_at_its_deadline() -> None:
    """Z19: whoever looks first books it as failed, and the thread that is left behind changes nothing any more."""
    world = World().warm()
    with world.issuer.gate() as gate:
        flight = world.client._inquiry({"alg": "ES256", "kid": "k2"}, None).step()
        assert flight is not None
        assert gate.wait_for_arrival()
        world.issuer.cut_over("k2")
        flight.deadline.at = 0.0
        with pytest.raises(KeysUnavailableError):
            world.validator.validate(world.issuer.token())
        assert [event.failures for event in world.told(FetchFailed)] == [1]
        before = world.client._keeper.state
        gate.open()
        world.idle()
    assert world.client._keeper.state == before


def test_a_child_of_a_fork() -> None:
    """F66: the keys stay usable, what ran in the parent is owed, the jitter is drawn anew, and the child refreshes on its own."""
    world = World(SHORT, draw=1.0).warm()
    with world.issuer.gate() as gate:
        assert world.client._inquiry({"alg": "ES256", "kid": "k2"}, None).step() is not None
        assert gate.wait_for_arrival()
        world.draw = 0.5
        world.client._keeper.renew()
        state = world.client._keeper.state
        assert (state.attempt, state.owed, state.demanded_at, state.line) == (None, True, None, 0.95 * DAY)
        assert world.validator.validate(world.issuer.token())
        assert gate.wait_for_arrival(count=2)
        gate.open()
        world.idle()
    assert (world.client._keeper.state.owed, reasons(world), world.requests) == (False, ["unknown_key"], 2)
    world.clock.advance(0.95 * DAY)
    assert (world.verdict(world.issuer.token()), world.requests) == ("accepted", 3)


def reasons(world: World) -> list[str]:
    """Return why each good refresh was made."""
    return [event.reason for event in world.told(FetchSucceeded)]


@pytest.mark.parametrize("owed", [False, True])
def test_keep_fresh(owed: bool) -> None:
    """R3, R5, M43: with `keep_fresh()` what is due or owed starts without a token."""
    refreshed = threading.Event()
    world = World(on_event=[lambda event: refreshed.set() if isinstance(event, FetchSucceeded) else None]).warm()
    if owed:
        world.verdict(world.unknown("junk"))
        world.verdict(world.unknown("more"))
        world.forget()
    refreshed.clear()
    with world.client.keep_fresh():
        world.clock.advance(300 if owed else DAY)
        assert refreshed.wait(LONG)
    world.idle()
    assert world.requests == 1


def test_an_overdue_snapshot_is_not_used_while_it_is_refreshed() -> None:
    """F82: a set of 30 h out of the store is past due and untried, so everybody waits for the refresh that found it."""
    world = World(store=MemoryStore()).warm()
    world.clock.advance(30 * HOUR)
    world.restart()
    with world.issuer.gate() as gate:
        first = Caller(lambda: world.validator.validate(world.issuer.token()).key_id)
        assert gate.wait_for_arrival()
        second = Caller(lambda: world.validator.validate(world.issuer.token()).key_id)
        second.join(0.05)
        assert second.is_alive()
        gate.open()
        assert (first.outcome(), second.outcome()) == ("k1", "k1")
    assert world.client.status().age == 0.0


def test_a_snapshot_is_no_younger_than_its_fetch() -> None:
    """F82, M51: a restart makes nothing younger: the old set is served as stale to its 48 h, and not beyond."""
    world = World(store=MemoryStore()).warm()
    world.clock.advance(47 * HOUR)
    world.restart()
    with world.issuer.down():
        assert world.verdict(world.issuer.token()) == "accepted"
        assert world.client.status().age == 47 * HOUR
        assert len(world.told(StaleKeysServed)) == 1
        world.clock.advance(HOUR)
        assert world.refusal(world.issuer.token()).http_status == 503
        world.restart()
        assert world.refusal(world.issuer.token()).http_status == 503


def test_a_store_makes_nothing_younger_after_a_step_back() -> None:
    """R14: the set that is held is not taken for a newer one because the wall clock was set back and the store tells the time of day."""
    world = World(store=MemoryStore()).warm()
    world.clock.advance(10 * HOUR)
    world.clock.step_wall(-9 * HOUR)
    with world.issuer.down():
        assert world.verdict(world.unknown("junk")) == "fetch_failed"
    assert world.client.status().age == 10 * HOUR


def test_a_snapshot_of_a_host_whose_clock_runs_ahead() -> None:
    """Z17, Z10: what lies in the store when a question is asked is no answer to it, though its clock says so."""
    world = World(store=MemoryStore()).warm()
    ahead = World(store=world.store)
    ahead.clock.advance(30)
    ahead.issuer._keys, ahead.issuer._set = world.issuer._keys, world.issuer._set
    ahead.client.refresh()
    ahead.idle()
    world.clock.advance(10)
    world.issuer.cut_over("k2")
    assert (world.verdict(world.issuer.token()), world.requests) == ("accepted", 1)
