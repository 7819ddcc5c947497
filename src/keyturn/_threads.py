"""Threads that no caller waits for: short-lived, daemonic, and given up when they are late.

A name resolver cannot be interrupted, so a thread that is stuck in one is left behind; what it brings later is thrown away.
"""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from typing import Any, Generic, TypeVar

from keyturn._waiting import Latch

T = TypeVar("T")

MOST_ABANDONED = 4
"""Threads of one client that may be stuck at a time; beyond that a call fails at once instead of adding one more."""


class AbandonedError(Exception):
    """The call was not over in time and was left behind."""


class ThreadEndedError(Exception):
    """The call ended its thread, for example with a SystemExit; nobody else's thread ends with it."""


class Inside:
    """The threads that work for one client now, so that what they call is told at once that it would wait for itself."""

    def __init__(self) -> None:
        self._idents: set[int] = set()

    @property
    def here(self) -> bool:
        """Whether the calling thread is one of them."""
        return threading.get_ident() in self._idents

    def run(self, call: Callable[[], T]) -> T:
        """Return what *call* returns; while it runs, this thread is one of them."""
        ident = threading.get_ident()
        if ident in self._idents:
            return call()
        self._idents.add(ident)
        try:
            return call()
        finally:
            # The next thread may get the same ident.
            self._idents.discard(ident)

    def forget(self) -> None:
        """Forget the threads of the parent, in the child of a fork."""
        self._idents.clear()


def start(run: Callable[[], object], name: str, context: Context) -> None:
    """Run *run* on a daemon thread of its own, without waiting for the thread to come up.

    Raises:
        RuntimeError: No thread can be started here.
    """

    def boot() -> None:
        # A thread object waits for its thread to come up, which under load takes longer than a caller should spend.
        try:
            threading.Thread(target=context.run, args=(run,), name=name, daemon=True).start()
        except RuntimeError:
            context.run(run)

    _thread.start_new_thread(boot, ())


class _Call(Generic[T]):
    """One call on another thread."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self.done = Latch()
        self.value: list[T] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.value.append(self._call())
        except BaseException as error:  # noqa: BLE001 - a SystemExit in a fetcher is a failed fetch, not the end of a thread nobody joins
            self.error = error
        finally:
            self.done.set()


class BoundedCalls:
    """Runs calls that may hang, each for a bounded time."""

    def __init__(self) -> None:
        self._abandoned: list[_Call[object]] = []

    def run(self, call: Callable[[], T], seconds: float, name: str) -> T:
        """Return what *call* returns, or raise what it raises.

        Args:
            call: Runs on a daemon thread, or here where none can be started.
            seconds: Real seconds after which it is left behind.
            name: Name of the thread.

        Raises:
            AbandonedError: It was not over in time, or too many earlier ones still are not.
            ThreadEndedError: It ended its thread.
        """
        for over in [left for left in self._abandoned if left.done.is_set]:
            # One by one: another thread may add to the list meanwhile, or take the same one out.
            with suppress(ValueError):
                self._abandoned.remove(over)
        if len(self._abandoned) >= MOST_ABANDONED:
            raise AbandonedError(f"{len(self._abandoned)} earlier calls are still stuck")
        task = _Call(call)
        context = copy_context()
        if not _started(threading.Thread(target=context.run, args=(task.run,), name=name, daemon=True)):
            # This is the caller's own thread, so what ends it is the caller's own too.
            return call()
        if not task.done.wait(seconds):
            self._abandoned.append(task)  # type: ignore[arg-type]
            raise AbandonedError(f"not over within {seconds:.3g} s")
        if task.error is not None:
            raise _own(task)
        return task.value[0]


def _started(thread: threading.Thread) -> bool:
    try:
        thread.start()
    except RuntimeError:
        return False
    return True


def _own(task: _Call[Any]) -> Exception:
    """Take the error out of *task*: an error that its own traceback leads back to would keep the call's locals alive."""
    error, task.error = task.error, None
    return error if isinstance(error, Exception) else ThreadEndedError(type(error).__name__)
