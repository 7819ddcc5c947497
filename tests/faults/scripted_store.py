"""A store of ours that does what a test says: it is slow, raises, lies, or loses what it had. Underneath lies a `MemoryStore`.

Rules of this file:

1. What is slow is held at a gate that the test opens; nothing sleeps.
2. An act runs before the call that it stands for. What it returns is the answer, unless it is None: then the store answers.
3. `release` is an operation like the others, although it is called on the lease.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from tests.contract.drivers import PATIENCE, quiet

from keyturn import MemoryStore
from keyturn.stores.store import Lease, Snapshot

Act = Callable[[], object]

READING = ("revocations", "load", "lease")
"""What is called before the issuer is asked."""

OPERATIONS = (*READING, "publish", "release")
"""What a refresh calls, in this order."""


class ScriptedStore:
    """A store of which one operation, or each, does what a test says first.

    Args:
        inner: What lies underneath.
        act: Runs before a call; may be changed at any time.
        operation: The operation that it stands for; every one if it is None.

    Attributes:
        act: As given.
        operation: As given.
        calls: Every operation that was called, in order.
    """

    def __init__(self, inner: MemoryStore, act: Act = lambda: None, operation: str | None = None) -> None:
        self.inner = inner
        self.act = act
        self.operation = operation
        self.calls: list[str] = []

    @contextmanager
    def during(self, act: Act, operation: str | None = None) -> Iterator[None]:
        """Have *act* run before *operation* until the context ends, and nothing after it; calls that run now are over by then."""
        quiet()
        self.act, self.operation = act, operation
        try:
            yield
        finally:
            self.act = lambda: None

    def load(self, source: str) -> Any:
        """Act, then load."""
        return self._do("load", lambda: self.inner.load(source))

    def publish(self, source: str, snapshot: Snapshot, fence: int) -> Any:
        """Act, then publish."""
        return self._do("publish", lambda: self.inner.publish(source, snapshot, fence))

    def lease(self, source: str, seconds: float) -> Any:
        """Act, then lease."""
        lease = self._do("lease", lambda: self.inner.lease(source, seconds))
        return ScriptedLease(self, lease) if hasattr(lease, "fence") else lease

    def revocations(self, source: str) -> Any:
        """Act, then list."""
        return self._do("revocations", lambda: self.inner.revocations(source))

    def record(self, source: str, entry: Any) -> Any:
        """Act, then record."""
        return self._do("record", lambda: self.inner.record(source, entry))

    def lose(self) -> None:
        """Lose everything, as a cache does that evicts."""
        self.inner._shelves.clear()

    def lose_lease(self) -> None:
        """Lose every lease: the next one who asks gets it, while the holder believes that it has it."""
        for shelf in self.inner._shelves.values():
            shelf.lease = None

    def lose_revocations(self) -> None:
        """Lose the list of revocations, and keep the document."""
        for shelf in self.inner._shelves.values():
            shelf.revocations = {}

    def _do(self, operation: str, call: Callable[[], Any]) -> Any:
        self.calls.append(operation)
        if self.operation in {None, operation}:
            answer = self.act()
            if answer is not None:
                return answer
        return call()


class ScriptedLease:
    """A lease of a scripted store.

    Attributes:
        fence: That of the lease underneath.
    """

    def __init__(self, store: ScriptedStore, inner: Lease) -> None:
        self.fence = inner.fence
        self._store = store
        self._inner = inner

    def release(self) -> None:
        """Act, then release."""
        self._store._do("release", self._inner.release)


class OddError(Exception):
    """An error that cannot even say what it is."""

    def __str__(self) -> NoReturn:
        raise RuntimeError("no text")


def raising(error: BaseException) -> Act:
    """Return an act that raises *error*."""

    def throw() -> NoReturn:
        raise error

    return throw


def stuck(free: threading.Event, entered: threading.Event | None = None) -> Act:
    """Return an act that tells that it was *entered*, and hangs until it is *free*."""

    def hang() -> None:
        if entered is not None:
            entered.set()
        free.wait(PATIENCE)

    return hang
