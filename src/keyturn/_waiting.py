"""A latch that threads, asyncio and trio wait on at the same time, each in its own way.

Rules of this file:

1. Every waiter has a lock or a future of its own: what ends one wait ends no other.
2. A waiter registers first and looks second, so that no wake-up falls between.
3. Nothing of an event loop outlives the wait: a group of waiters belongs to its latch, and the latch to one refresh.
4. Waiting ends for good at its own time-out, whoever was to wake the waiter. Only a process that was suspended meanwhile gets a
   moment more, because its answer may be there already.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from keyturn.clock import real_seconds

AFTER_SUSPENSION = 0.25
"""Real seconds that a wait goes on after a time-out that was overslept."""

_OVERSLEPT = 0.05


class Latch:
    """Set once, and then for ever."""

    __slots__ = ("_groups", "_wakers", "is_set")

    def __init__(self) -> None:
        self.is_set = False
        self._wakers: deque[Callable[[], object]] = deque()
        self._groups: dict[Any, dict[Any, None]] = {}

    def set(self) -> None:
        """Wake every waiter."""
        self.is_set = True
        while self._wakers:
            waker = self._wakers.popleft()
            try:
                waker()
            except RuntimeError:
                # The waiter's loop was closed, or its lock was released by its own time-out: nobody waits there any more.
                continue

    def wait(self, seconds: float) -> bool:
        """Wait on this thread; return whether the latch is set."""
        # A plain lock: an interrupt inside a condition variable would leave the condition's own lock taken.
        gate = threading.Lock()
        gate.acquire()
        self._wakers.append(gate.release)
        return self._patiently(lambda timeout: self.is_set or gate.acquire(timeout=timeout), seconds)

    async def wait_async(self, seconds: float) -> bool:
        """Wait on the running event loop, asyncio's or trio's; return whether the latch is set."""
        wait = self._wait_trio if _library() == "trio" else self._wait_asyncio
        expected = real_seconds() + seconds
        await wait(seconds)
        if not self.is_set and real_seconds() > expected + _OVERSLEPT:
            await wait(AFTER_SUSPENSION)
        return self.is_set

    def _patiently(self, wait: Callable[[float], object], seconds: float) -> bool:
        expected = real_seconds() + seconds
        wait(seconds)
        if not self.is_set and real_seconds() > expected + _OVERSLEPT:
            wait(AFTER_SUSPENSION)
        return self.is_set

    async def _wait_asyncio(self, seconds: float) -> None:
        import asyncio  # noqa: PLC0415 - a service without an event loop never loads it

        loop = asyncio.get_running_loop()
        mine = loop.create_future()
        group = self._group(loop, loop.call_soon_threadsafe, lambda future: future.done() or future.set_result(None))
        group[mine] = None
        try:
            if not self.is_set:
                await asyncio.wait([mine], timeout=seconds)
        finally:
            group.pop(mine, None)

    async def _wait_trio(self, seconds: float) -> None:
        import trio  # noqa: PLC0415 - loaded already, or this loop would not be trio's

        token = trio.lowlevel.current_trio_token()
        mine = trio.Event()
        group = self._group(token, token.run_sync_soon, lambda event: event.set())
        group[mine] = None
        try:
            if not self.is_set:
                with trio.move_on_after(seconds):
                    await mine.wait()
        finally:
            group.pop(mine, None)

    def _group(self, loop: Any, call_soon: Callable[..., object], wake: Callable[[Any], object]) -> dict[Any, None]:
        """Return the waiters of one loop; they are woken by one call into it, however many they are."""
        group = self._groups.get(loop)
        if group is None:
            group = self._groups[loop] = {}
            waiters = group
            self._wakers.append(lambda: call_soon(lambda: [wake(waiter) for waiter in list(waiters)]))
        return group


def _library() -> str:
    # Asking asyncio first would be wrong in trio's guest mode, where both are running.
    sniffio = sys.modules.get("sniffio")
    if sniffio is None:
        return "asyncio"
    try:
        return str(sniffio.current_async_library())
    except sniffio.AsyncLibraryNotFoundError:
        return "asyncio"


def on_event_loop() -> bool:
    """Return whether this thread runs an event loop, which a wait would block."""
    # Another thread may be importing these libraries right now, so that parts of them are missing.
    running = getattr(sys.modules.get("asyncio"), "_get_running_loop", None)
    if running is not None and running() is not None:
        return True
    in_trio = getattr(getattr(sys.modules.get("trio"), "lowlevel", None), "in_trio_run", None)
    return in_trio is not None and bool(in_trio())
