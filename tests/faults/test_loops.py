"""Event loops that come and go, and one validator in several of them at once (F67, F68), however threads are switched (F75)."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import trio
from tests.contract.drivers import DRIVERS, PATIENCE, Asyncio, Calls, World, quiet, waiting

from keyturn import RolloverPolicy, ValidatedToken


def on_uvloop(call: Callable[..., Any], *args: Any) -> Any:
    """Run a coroutine on a loop of uvloop."""
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(call(*args))


ROOMY = RolloverPolicy(deadline=60.0)

LOOPS: dict[str, Callable[..., Any]] = {"asyncio": lambda call, *args: asyncio.run(call(*args)), "trio": trio.run, "uvloop": on_uvloop}


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


def test_f67_twenty_loops_in_sequence(on_loop: Callable[..., Any]) -> None:
    """One validator over 20 loops with a rollover each; pytest turns a ResourceWarning into a failure."""
    world = World()
    for number in range(20):
        world.clock.advance(300)
        assert on_loop(world.validator.validate_async, world.roll(f"loop-{number}")).subject == "alice"
    gc.collect()
    world.issuer.fetches.expect(discovery=1, jwks=20)


@pytest.mark.parametrize("name", LOOPS)
def test_f67_loop_that_ends_during_the_fetch(name: str) -> None:
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


async def _leave_asyncio(world: World) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(world.validator.validate_async(world.issuer.token()), 0.05)


async def _leave_trio(world: World) -> None:
    with pytest.raises(trio.TooSlowError), trio.fail_after(0.05):
        await world.validator.validate_async(world.issuer.token())


_leaving: dict[str, Callable[[World], Awaitable[None]]] = {"asyncio": _leave_asyncio, "trio": _leave_trio, "uvloop": _leave_asyncio}
"""A caller whose own time-out is shorter than the fetch."""


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_f68_three_loops_and_threads_at_once(warm: bool) -> None:
    """Two asyncio loops, trio and threads wait for one refresh, at the start and at a rollover, and are all answered by it."""
    world = World(policy=ROOMY).warm() if warm else World(policy=ROOMY)
    token = world.roll()
    with world.issuer.gate() as gate:
        several: list[Calls] = [each.start(world.validator, [token] * 5) for each in (*DRIVERS.values(), Asyncio())]
        waiting(world.client, 20)
        gate.open()
        assert all(isinstance(outcome, ValidatedToken) for calls in several for outcome in calls.done())
    world.issuer.fetches.expect(discovery=int(not warm), jwks=1)


def test_f75_threads_that_are_switched_at_every_step() -> None:
    """The same verdicts as one after the other, over ten rollovers; where an interpreter has no GIL, threads really run at once."""
    world = World(policy=ROOMY).warm()
    tokens = {
        "good": world.issuer.token(),
        "wrong_audience": world.issuer.token(audience="api://other"),
        "expired": world.issuer.token(lifetime=-3600),
    }
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for number in range(10):
            tokens |= {"new": world.roll(f"round-{number}"), "forged": world.issuer.forge(), "forged_old": world.issuer.forge(key="k1")}
            several = [each.start(world.validator, [*tokens.values()] * 4) for each in DRIVERS.values()]
            outcomes = [["accepted" if isinstance(one, ValidatedToken) else one.code for one in calls.done()] for calls in several]
            expected = ["accepted", "invalid_audience", "expired_token", "accepted", "invalid_signature", "invalid_signature"]
            assert outcomes == [expected * 4] * len(DRIVERS)
            world.clock.advance(300)
    finally:
        sys.setswitchinterval(interval)
    world.issuer.fetches.expect(jwks=10)
