"""A store in the memory of this process: one fetch for several clients of one issuer, and nothing after a restart.

Rules of this file:

1. Nothing is sealed, since nobody else can write here.
2. A fence is the time in milliseconds, raised where needed to exceed every earlier one of its source.
3. A lease of N seconds covers [t, t+N); by both clocks, the larger age counts (R14).
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field

from keyturn._core.revocation import Revocation, Revocations, merged
from keyturn.clock import Clock, Instant, SystemClock, read
from keyturn.stores.store import Snapshot, Stored


@dataclass(slots=True)
class _Shelf:
    """What is kept for one source."""

    stored: Stored | None = None
    revocations: Revocations = field(default_factory=dict)
    issued: int = 0
    lease: MemoryLease | None = None


class MemoryLease:
    """The right to ask the issuer, within this process.

    Attributes:
        fence: Number under which the answer may be published.
    """

    __slots__ = ("_seconds", "_store", "_taken", "fence")

    def __init__(self, store: MemoryStore, fence: int, taken: Instant, seconds: float) -> None:
        self.fence = fence
        self._store = store
        self._taken = taken
        self._seconds = seconds

    def is_over(self, now: Instant) -> bool:
        """Return whether the lease has ended by itself at *now*."""
        return now.since(self._taken) >= self._seconds

    def release(self) -> None:
        """Give the right back; a lease that has ended is left alone."""
        self._store._release(self)  # noqa: SLF001 - a lease is a part of its store


class MemoryStore:
    """Keeps everything in this process; may be shared by clients, threads and event loops.

    Args:
        clock: Clock of the leases; the machine's by default.
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._shelves: dict[str, _Shelf] = {}
        self._locks: dict[int, threading.RLock] = {}

    def load(self, source: str) -> Stored | None:
        """Return what was published last, or None."""
        with self._lock():
            return self._shelf(source).stored

    def publish(self, source: str, snapshot: Snapshot, fence: int) -> bool:
        """Keep *snapshot*; return False if this or a newer fence is there already."""
        with self._lock():
            shelf = self._shelf(source)
            if shelf.stored is not None and fence <= shelf.stored.fence:
                return False
            shelf.stored = Stored(snapshot, fence)
            return True

    def lease(self, source: str, seconds: float) -> MemoryLease | None:
        """Return the right to fetch for at most *seconds*, or None while somebody else has it."""
        now = read(self._clock)
        with self._lock():
            shelf = self._shelf(source)
            if shelf.lease is not None and not shelf.lease.is_over(now):
                return None
            published = 0 if shelf.stored is None else shelf.stored.fence
            shelf.issued = max(int(now.wall * 1000), shelf.issued + 1, published + 1)
            shelf.lease = MemoryLease(self, shelf.issued, now, seconds)
            return shelf.lease

    def revocations(self, source: str) -> tuple[Revocation, ...]:
        """Return the winning entry of each subject."""
        with self._lock():
            return tuple(self._shelf(source).revocations.values())

    def record(self, source: str, entry: Revocation) -> None:
        """Keep *entry*; for one subject the highest sequence wins."""
        with self._lock():
            shelf = self._shelf(source)
            shelf.revocations = merged(shelf.revocations, [entry])

    def _release(self, lease: MemoryLease) -> None:
        with self._lock():
            for shelf in self._shelves.values():
                if shelf.lease is lease:
                    shelf.lease = None

    def _shelf(self, source: str) -> _Shelf:
        return self._shelves.setdefault(source, _Shelf())

    def _lock(self) -> threading.RLock:
        # A child process gets a lock of its own: the parent's may have been held by a thread that the child lacks.
        # It can be entered again, because a signal handler may call in while this thread is inside.
        return self._locks.setdefault(os.getpid(), threading.RLock())
