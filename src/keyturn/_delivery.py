"""Handing events to whoever wants them: the handlers of the user, and the log. Never called under a lock."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextvars import Context
from dataclasses import fields

from keyturn._threads import start
from keyturn.clock import Deadline
from keyturn.errors import ConfigurationError, quoted
from keyturn.events import (
    ClockJumped,
    Event,
    EventHandler,
    FetchFailed,
    KeySetChanged,
    StaleKeysServed,
    StoreFailed,
)

logger = logging.getLogger("keyturn")
logger.addHandler(logging.NullHandler())

MOST_WAITING = 1_000
"""Events that wait for a handler that is slow; beyond that the oldest are given up, so that memory stays flat."""

_WARNINGS = (FetchFailed, StaleKeysServed, StoreFailed, ClockJumped)


def handlers_of(on_event: EventHandler | Iterable[EventHandler]) -> tuple[EventHandler, ...]:
    """Return *on_event* as a tuple of handlers.

    Raises:
        ConfigurationError: Something in it cannot be called.
    """
    if callable(on_event):
        return (on_event,)
    if not isinstance(on_event, Iterable):
        raise ConfigurationError(f"on_event is {quoted(on_event)}, expected a function or several (setting: on_event)")
    handlers = tuple(on_event)
    for handler in handlers:
        if not callable(handler):
            raise ConfigurationError(f"expected a function that takes an event, got {quoted(handler)} (setting: on_event)")
    return handlers


class Delivery:
    """Delivers events one by one, in their order, on a thread of their own.

    So no handler, however slow, keeps a request, an event loop, or a refresh that still has the store's lease. What a handler raises
    is logged once and goes no further.
    """

    def __init__(self, handlers: tuple[EventHandler, ...]) -> None:
        self._handlers = handlers
        self._failed: set[int] = set()
        self._queue: deque[Event] = deque(maxlen=MOST_WAITING)
        self._delivering = threading.Lock()

    def __call__(self, events: Iterable[Event]) -> None:
        """Have *events* delivered; where no thread can be started, that is done here."""
        self._queue.extend(events)
        try:
            start(self._deliver, "keyturn-events", Context())
        except RuntimeError:
            self._deliver()

    def queue(self, events: Iterable[Event]) -> None:
        """Take *events* in, to be delivered with the next call: whoever is woken first finds them waiting."""
        self._queue.extend(events)

    def finish(self, seconds: float) -> None:
        """Wait until every event has been delivered, at most *seconds*: for a program that ends after its last call."""
        deadline, turn = Deadline(seconds), threading.Event()
        while not self.is_idle() and not deadline.over():
            turn.wait(0.005)

    def is_idle(self) -> bool:
        """Return whether every event has been delivered."""
        return not self._queue and not self._delivering.locked()

    def renewed(self) -> Delivery:
        """Return the same with a lock and a queue of its own, for the child of a fork."""
        return Delivery(self._handlers)

    def _deliver(self) -> None:
        # Whoever delivers already takes these along; whoever adds some after its last look finds the lock free again.
        while self._queue and self._delivering.acquire(blocking=False):
            try:
                self._deliver_each()
            finally:
                self._delivering.release()

    def _deliver_each(self) -> None:
        while self._queue:
            event = self._queue.popleft()
            _log(event)
            for number, handler in enumerate(self._handlers):
                self._hand(number, handler, event)

    def _hand(self, number: int, handler: Callable[[Event], object], event: Event) -> None:
        try:
            handler(event)
        except (Exception, SystemExit):
            if number not in self._failed:
                self._failed.add(number)
                logger.exception("a handler of events failed; it is called on, and not logged again (setting: on_event)")


def _log(event: Event) -> None:
    level = logging.WARNING if isinstance(event, _WARNINGS) or _is_odd(event) else logging.INFO
    if logger.isEnabledFor(level):
        logger.log(level, "%s %s", type(event).__name__, _line(event))


def _is_odd(event: Event) -> bool:
    return isinstance(event, KeySetChanged) and bool(event.nothing_in_common or event.ambiguous or event.exposed)


def _line(event: Event) -> str:
    # Kids and messages may hold what an issuer made up: they are escaped, so that no line can pose as two.
    return " ".join(f"{field.name}={_shown(getattr(event, field.name))}" for field in fields(event) if field.name != "at")


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, tuple):
        return f"{len(value)} of them" if value else "none"
    return quoted(value)
