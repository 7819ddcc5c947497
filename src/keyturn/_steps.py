"""One stay under the lock of a keeper: what is decided there is carried out after it was left.

So no I/O, callback, log line, thread start or wake-up happens under the lock.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self

from keyturn._flight import Flight
from keyturn.clock import Instant, read
from keyturn.events import Event

if TYPE_CHECKING:
    from keyturn._keeper import Keeper


class Process:
    """What belongs to one process and must not be inherited by its child.

    Attributes:
        lock: Held to decide and to assign.
        flight: The refresh that is running, or None.
        steps: Stays under the lock whose orders are not all carried out, so that a test can wait for them.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.flight: Flight | None = None
        self.steps: set[Step] = set()


class Step:
    """One stay under the lock of its process; what it ordered is carried out after it is left."""

    def __init__(self, keeper: Keeper, process: Process) -> None:
        self._keeper = keeper
        self.process = process
        self._now: Instant | None = None
        self.events: list[Event] = []
        self.settled: list[Flight] = []
        self.launches: list[Flight] = []

    @property
    def now(self) -> Instant:
        """The instant of this step: read once, under the lock."""
        if self._now is None:
            self._now = read(self._keeper.clock)
        return self._now

    def __enter__(self) -> Self:
        self.process.steps.add(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            self._keeper.deliver.queue(self.events)
            for flight in self.settled:
                flight.latch.set()
            for flight in self.launches:
                self._keeper.launch(flight)
            if self.events:
                self._keeper.deliver(())
        finally:
            self.process.steps.discard(self)
