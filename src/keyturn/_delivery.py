"""Handing events to whoever wants them: the handlers of the user, and the log. Never called under a lock."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import fields

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

_WARNINGS = (FetchFailed, StaleKeysServed, StoreFailed, ClockJumped)


def handlers_of(on_event: EventHandler | Iterable[EventHandler]) -> tuple[EventHandler, ...]:
    """Return *on_event* as a tuple of handlers.

    Raises:
        ConfigurationError: Something in it cannot be called.
    """
    handlers = (on_event,) if callable(on_event) else tuple(on_event)
    for handler in handlers:
        if not callable(handler):
            raise ConfigurationError(f"expected a function that takes an event, got {quoted(handler)} (setting: on_event)")
    return handlers


class Delivery:
    """Delivers events one by one; what a handler raises is logged once and goes no further."""

    def __init__(self, handlers: tuple[EventHandler, ...]) -> None:
        self._handlers = handlers
        self._failed: set[int] = set()

    def __call__(self, events: Iterable[Event]) -> None:
        """Deliver *events* in their order."""
        for event in events:
            _log(event)
            for number, handler in enumerate(self._handlers):
                self._hand(number, handler, event)

    def _hand(self, number: int, handler: Callable[[Event], object], event: Event) -> None:
        try:
            handler(event)
        except Exception:
            if number not in self._failed:
                self._failed.add(number)
                logger.exception("a handler of events failed; it is called on, and not logged again (setting: on_event)")


def _log(event: Event) -> None:
    level = logging.WARNING if isinstance(event, _WARNINGS) or (isinstance(event, KeySetChanged) and event.nothing_in_common) else logging.INFO
    if logger.isEnabledFor(level):
        logger.log(level, "%s %s", type(event).__name__, _line(event))


def _line(event: Event) -> str:
    # Kids and messages may hold what an issuer made up: they are escaped, so that no line can pose as two.
    return " ".join(f"{field.name}={_shown(getattr(event, field.name))}" for field in fields(event) if field.name != "at")


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, tuple):
        return f"{len(value)} of them" if value else "none"
    return quoted(value)
