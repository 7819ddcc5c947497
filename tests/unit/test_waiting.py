"""A latch that threads, asyncio and trio wait on at the same time (driver, traps 4, 6, 8, 10, 17)."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio
import trio.testing

from keyturn import _waiting
from keyturn._waiting import Latch, on_event_loop

PATIENCE = 20.0
RUN: dict[str, Callable[..., Any]] = {"asyncio": lambda call, *args: asyncio.run(call(*args)), "trio": trio.run}


@pytest.fixture(params=RUN)
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Each way to run a coroutine."""
    return RUN[request.param]


class Waiters:
    """Threads that wait for one latch, in whatever way."""

    def __init__(self) -> None:
        self.results: list[bool] = []
        self._threads: list[threading.Thread] = []

    def start(self, wait: Callable[[], bool]) -> None:
        """Wait on a thread of its own."""
        thread = threading.Thread(target=lambda: self.results.append(wait()), daemon=True)
        self._threads.append(thread)
        thread.start()

    def done(self) -> list[bool]:
        """Return what every wait came to."""
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a waiter was not woken"
        return self.results


def registered(latch: Latch, count: int) -> None:
    """Wait until *count* wakers are there."""
    turn = threading.Event()
    for _ in range(int(PATIENCE * 1000)):
        if len(latch._wakers) >= count:
            return
        turn.wait(0.001)
    raise AssertionError(f"expected {count} waiters")


def test_set_wakes_every_kind_of_waiter() -> None:
    """Threads, asyncio and trio wait for one latch, and one call wakes all."""
    latch, waiters = Latch(), Waiters()
    for wait in (
        lambda: latch.wait(PATIENCE),
        lambda: asyncio.run(latch.wait_async(PATIENCE)),
        lambda: trio.run(latch.wait_async, PATIENCE),
        lambda: latch.wait(PATIENCE),
    ):
        waiters.start(wait)
    registered(latch, 4)
    latch.set()
    assert waiters.done() == [True] * 4


def test_set_is_for_ever(run: Callable[..., Any]) -> None:
    """Who comes later does not wait."""
    latch = Latch()
    latch.set()
    assert latch.wait(PATIENCE)
    assert run(latch.wait_async, PATIENCE)


def test_wait_ends_at_its_time_out(run: Callable[..., Any]) -> None:
    """Nobody sets the latch: every wait ends for itself, and says so."""
    latch = Latch()
    assert not latch.wait(0.01)
    assert not run(latch.wait_async, 0.01)
    assert not latch.wait(0)
    assert not run(latch.wait_async, 0)


def test_waiters_that_left_do_no_harm(run: Callable[..., Any]) -> None:
    """Time-outs, and loops that are closed by now, leave wakers behind: the others are woken all the same."""
    latch, waiters = Latch(), Waiters()
    latch.wait(0.01)
    run(latch.wait_async, 0.01)
    waiters.start(lambda: latch.wait(PATIENCE))
    waiters.start(lambda: run(latch.wait_async, PATIENCE))
    registered(latch, 4)
    latch.set()
    assert waiters.done() == [True] * 2


def test_waker_that_fails_keeps_nobody() -> None:
    """Each waker has a `try` of its own."""

    def fail() -> None:
        raise RuntimeError("event loop is closed")

    latch, waiters = Latch(), Waiters()
    latch._wakers.append(fail)
    waiters.start(lambda: latch.wait(PATIENCE))
    registered(latch, 2)
    latch.set()
    assert waiters.done() == [True]


def test_no_wake_up_falls_between() -> None:
    """A waiter registers first and looks second: set in between, it does not wait."""

    class Between(Latch):
        __slots__ = ()

    latch = Between()

    class Wakers:
        def append(self, waker: Callable[[], object]) -> None:
            latch.is_set = True

    latch._wakers = Wakers()  # type: ignore[assignment]
    assert latch.wait(PATIENCE)
    assert asyncio.run(asyncio.wait_for(latch.wait_async(PATIENCE), PATIENCE))


def test_waiters_of_one_loop_take_one_wake_up(run: Callable[..., Any]) -> None:
    """However many tasks wait, their loop is called once."""
    latch = Latch()

    async def together() -> None:
        if run is RUN["trio"]:
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(latch.wait_async, PATIENCE)
                await trio.testing.wait_all_tasks_blocked()
                assert len(latch._wakers) == 1
                latch.set()
            return
        tasks = [asyncio.create_task(latch.wait_async(PATIENCE)) for _ in range(20)]
        await asyncio.sleep(0)
        assert len(latch._wakers) == 1
        latch.set()
        assert await asyncio.gather(*tasks) == [True] * 20

    run(together)


def test_cancelled_waiter_leaves_alone(run: Callable[..., Any]) -> None:
    """One task is cancelled: it is forgotten, and the other one is woken."""
    latch = Latch()

    def forgotten() -> bool:
        return [len(group) for group in latch._groups.values()] == [1]

    async def on_asyncio() -> None:
        first, second = (asyncio.create_task(latch.wait_async(PATIENCE)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert forgotten()
        latch.set()
        assert await second

    async def on_trio() -> None:
        results: list[bool] = []

        async def wait() -> None:
            results.append(await latch.wait_async(PATIENCE))

        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def cancelled() -> None:
                with scope:
                    await wait()

            nursery.start_soon(cancelled)
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            await trio.testing.wait_all_tasks_blocked()
            assert forgotten()
            latch.set()
        assert results == [True]

    run(on_trio if run is RUN["trio"] else on_asyncio)


def test_no_loop_outlives_its_latch(run: Callable[..., Any]) -> None:
    """A latch that is gone keeps no loop alive, and a future that nobody awaits makes no noise."""
    seen: list[weakref.ref[Any]] = []

    async def wait() -> None:
        latch = Latch()
        await latch.wait_async(0.01)
        seen.append(weakref.ref(next(iter(latch._groups))))

    run(wait)
    gc.collect()
    assert seen[0]() is None


class Suspended:
    """A clock of a process that slept through the time-out of its first wait."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, slept: float) -> None:
        readings: Iterator[float] = iter([0.0, slept])
        monkeypatch.setattr(_waiting, "real_seconds", lambda: next(readings))


@pytest.mark.parametrize(("slept", "waits"), [(0.01, 1), (0.06, 1), (0.1, 2), (3600.0, 2)])
def test_suspended_process_waits_a_moment_more(monkeypatch: pytest.MonkeyPatch, run: Callable[..., Any], slept: float, waits: int) -> None:
    """A time-out that was overslept is followed by 0.25 s more, because the answer may be there; any other is the end."""
    asked: list[float] = []
    latch = Latch()
    Suspended(monkeypatch, slept=slept)
    assert not latch._patiently(asked.append, 0.01)
    assert asked == [0.01, 0.25][:waits]

    asked.clear()

    async def wait(seconds: float) -> None:
        asked.append(seconds)

    class Patched(Latch):
        _wait_asyncio = _wait_trio = staticmethod(wait)

    Suspended(monkeypatch, slept=slept)
    assert not run(Patched().wait_async, 0.01)
    assert asked == [0.01, 0.25][:waits]


def test_thread_without_a_loop_is_on_none() -> None:
    """Neither asyncio nor trio runs here."""
    assert not on_event_loop()


def test_thread_with_a_loop_is_on_one(run: Callable[..., Any]) -> None:
    """Both kinds are seen, and another thread is on none meanwhile."""
    seen: list[bool] = []

    async def look() -> None:
        seen.append(on_event_loop())
        thread = threading.Thread(target=lambda: seen.append(on_event_loop()))
        thread.start()
        thread.join(PATIENCE)

    run(look)
    assert seen == [True, False]


def test_half_imported_libraries_are_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may be importing asyncio or trio right now: the module is there, and its parts are not."""
    for name in ("asyncio", "trio"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    assert not on_event_loop()


def test_trio_in_guest_mode_is_trio() -> None:
    """Both loops run on this thread; a task of trio must wait in trio's way (driver, trap 9)."""
    latch = Latch()
    outcomes: list[bool] = []

    async def task() -> None:
        outcomes.append(await latch.wait_async(PATIENCE))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        trio.lowlevel.start_guest_run(
            task, run_sync_soon_threadsafe=loop.call_soon_threadsafe, done_callback=lambda outcome: ended.set_result(outcome.unwrap())
        )
        threading.Thread(target=lambda: (registered(latch, 1), latch.set()), daemon=True).start()
        await asyncio.wait_for(ended, PATIENCE)

    asyncio.run(main())
    assert outcomes == [True]


def test_nothing_here_waits_on_a_shared_future() -> None:
    """A condition, an event or a shared future breaks under an interrupt or a cancellation: none is used (driver, traps 6 and 7)."""
    source = inspect.getsource(_waiting)
    for name in ("Condition(", "threading.Event", "wrap_future", "to_thread", "run_in_executor", "concurrent"):
        assert name not in source
