"""One refresh that is running, and the waiting that belongs to it."""

from __future__ import annotations

import threading

from keyturn._core.revocation import Revocation
from keyturn._core.state import Failure, Wanted
from keyturn._waiting import Latch
from keyturn.clock import Deadline, Instant
from keyturn.events import RefreshReason


class Flight:
    """A refresh from its order to its outcome.

    Attributes:
        number: Counts the refreshes of this process; a caller who came before it may take its answer as final.
        reason: Why it is made.
        wanted: What the token named that ordered it, or None.
        started: When it was ordered.
        deadline: Real time at which it is over, whatever became of its threads.
        awaited: Whether the caller who ordered it waits for it.
        waiters: Callers that wait for it because their key is unknown (R4).
        latch: Set when its outcome is in force.
        succeeded: Whether it brought a key set.
        is_news: Whether that set was asked for after this refresh was ordered; one out of a store may be older.
        failure: Why it failed, or None. Neither: it was not made after all.
        entries: Revocations that its answer led to, to be kept by the store (R11).
        unstarted: Whether no thread could be started for it.
    """

    __slots__ = (
        "_claimed",
        "awaited",
        "deadline",
        "entries",
        "failure",
        "is_news",
        "latch",
        "number",
        "reason",
        "started",
        "succeeded",
        "unstarted",
        "waiters",
        "wanted",
    )

    def __init__(self, number: int, reason: RefreshReason, wanted: Wanted | None, started: Instant, seconds: float, *, awaited: bool) -> None:
        self.number = number
        self.reason = reason
        self.wanted = wanted
        self.started = started
        self.deadline = Deadline(seconds)
        self.awaited = awaited
        self.waiters = 0
        self.latch = Latch()
        self.succeeded = False
        self.is_news = False
        self.failure: Failure | None = None
        self.entries: tuple[Revocation, ...] = ()
        self.unstarted = False
        self._claimed = threading.Lock()

    def claim(self) -> bool:
        """Return True to the one caller who is to run a flight for which no thread could be started."""
        return self._claimed.acquire(blocking=False)
