"""Handing events to handlers and to the log (F77, I5)."""

from __future__ import annotations

import _thread
import logging
import sys
import threading
from typing import Any, NoReturn

import pytest

from keyturn import ConfigurationError
from keyturn._delivery import MOST_WAITING, Delivery, handlers_of
from keyturn.clock import Deadline
from keyturn.events import (
    ClockJumped,
    Event,
    FetchFailed,
    FetchSucceeded,
    KeyName,
    KeySetChanged,
    KeyVanished,
    StaleKeysServed,
    StoreFailed,
    UnknownKey,
)

HEAD: dict[str, Any] = {"issuer": "https://login.example.com", "at": 1_800_000_000.0}
SUCCEEDED = FetchSucceeded(**HEAD, document="https://login.example.com/keys", duration=0.25, bytes=10, status=200, reason="start")
FAILED = FetchFailed(**HEAD, document="", code="fetch_failed", message="no\nanswer", reason="start", retry_in=1.0, failures=1)
JUMPED = ClockJumped(**HEAD, seconds=3600.0)


def changed(*, nothing_in_common: bool = False, **odd: Any) -> KeySetChanged:
    """Return a change of the set."""
    names, oddities = (KeyName("k1", "thumbprint"),), {"skipped": (), "ambiguous": (), **odd}
    return KeySetChanged(**HEAD, generation=2, added=names, removed=(), replaced=(), nothing_in_common=nothing_in_common, **oddities)


def tell(deliver: Delivery, *events: Event) -> None:
    """Hand over *events*, and wait until they were delivered on their own thread."""
    deliver(events)
    deadline, turn = Deadline(10), threading.Event()
    while not deliver.is_idle():
        assert not deadline.over(), "the events were not delivered in time"
        turn.wait(0.001)


class TestHandlers:
    """What may be given as `on_event`."""

    def test_one_function_is_a_handler(self) -> None:
        """A function stands for a list of one."""
        assert handlers_of(print) == (print,)

    def test_several_are_kept_in_order(self) -> None:
        """Any iterable, read once."""
        assert handlers_of(iter([print, len])) == (print, len)
        assert handlers_of(()) == ()

    @pytest.mark.parametrize("wrong", ["text", [None], [print, 1]])
    def test_what_cannot_be_called_is_refused(self, wrong: Any) -> None:
        """At construction, and the message names the setting."""
        with pytest.raises(ConfigurationError, match="on_event"):
            handlers_of(wrong)


class TestDelivery:
    """Every handler gets every event."""

    def test_order_is_kept(self) -> None:
        """Events in their order, to each handler."""
        first: list[Event] = []
        second: list[Event] = []
        tell(Delivery((first.append, second.append)), SUCCEEDED, FAILED, JUMPED)
        assert first == second == [SUCCEEDED, FAILED, JUMPED]

    def test_handler_that_raises_keeps_nobody(self, caplog: pytest.LogCaptureFixture) -> None:
        """The next handler and the next event come all the same; it is logged once, with its traceback, for each handler."""
        told: list[Event] = []

        def fail(event: Event) -> NoReturn:
            raise ValueError("text of the handler")

        def fail_too(event: Event) -> NoReturn:
            raise KeyError

        deliver = Delivery((fail, fail_too, told.append))
        tell(deliver, SUCCEEDED, FAILED)
        tell(deliver, JUMPED)
        assert told == [SUCCEEDED, FAILED, JUMPED]
        failures = [record for record in caplog.records if "a handler of events failed" in record.message]
        assert [ValueError, KeyError] == [record.exc_info[0] for record in failures if record.exc_info]

    def test_slow_handler_keeps_nobody(self) -> None:
        """Whoever hands over an event goes on at once; later events wait behind it, in their order (F77)."""
        gate, told = threading.Event(), list[Event]()

        def slow(event: Event) -> None:
            gate.wait(10)
            told.append(event)

        deliver = Delivery((slow,))
        deliver([SUCCEEDED])
        deliver([FAILED])
        assert (told, deliver.is_idle()) == ([], False)
        gate.set()
        tell(deliver, JUMPED)
        assert told == [SUCCEEDED, FAILED, JUMPED]

    def test_events_that_nobody_takes_are_given_up(self) -> None:
        """Behind a handler that hangs memory stays flat: the oldest events leave."""
        gate, entered, told = threading.Event(), threading.Event(), list[Event]()

        def hanging(event: Event) -> None:
            entered.set()
            gate.wait(10)
            told.append(event)

        deliver = Delivery((hanging,))
        deliver([SUCCEEDED])
        assert entered.wait(10)
        deliver([FAILED] * MOST_WAITING)
        deliver([JUMPED])
        gate.set()
        tell(deliver)
        assert told == [SUCCEEDED, *[FAILED] * (MOST_WAITING - 1), JUMPED]

    def test_without_threads_it_is_done_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where no thread can be started, the events are delivered before the call returns (F65)."""
        monkeypatch.setattr(_thread, "start_new_thread", refuse)
        told: list[Event] = []
        Delivery((told.append,))([SUCCEEDED, FAILED])
        assert told == [SUCCEEDED, FAILED]

    def test_handler_that_ends_its_thread_ends_nothing_else(self, caplog: pytest.LogCaptureFixture) -> None:
        """A SystemExit out of a handler is logged like any error, and the next event comes."""
        told: list[Event] = []
        deliver = Delivery((lambda _: sys.exit(1), told.append))
        tell(deliver, SUCCEEDED, FAILED)
        assert told == [SUCCEEDED, FAILED]
        assert "a handler of events failed" in caplog.text


def refuse(*_: object) -> NoReturn:
    """Stand for a system that allows no further thread."""
    raise RuntimeError("can't start new thread")


class TestLog:
    """What operators read without any handler."""

    @pytest.mark.parametrize(
        ("event", "level"),
        [
            (SUCCEEDED, logging.INFO),
            (changed(skipped=(("k2", "is for encryption"),)), logging.INFO),
            (UnknownKey(**HEAD, action="fetched", count=1, retry_after=None), logging.INFO),
            (KeyVanished(**HEAD, kid="k1", thumbprint="t", until=1.0), logging.INFO),
            (changed(nothing_in_common=True), logging.WARNING),
            (changed(ambiguous=("k1",)), logging.WARNING),
            (changed(skipped=((None, "is secret"),), exposed=(None,)), logging.WARNING),
            (FAILED, logging.WARNING),
            (StaleKeysServed(**HEAD, age=90_000.0, until=1.0), logging.WARNING),
            (StoreFailed(**HEAD, operation="load", message="gone"), logging.WARNING),
            (JUMPED, logging.WARNING),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, Event) else str(value),
    )
    def test_level_says_who_should_act(self, caplog: pytest.LogCaptureFixture, event: Event, level: int) -> None:
        """What an operator should know of is a warning, the rest is information."""
        caplog.set_level(logging.INFO, "keyturn")
        tell(Delivery(()), event)
        assert [(level, type(event).__name__)] == [(record.levelno, record.message.partition(" ")[0]) for record in caplog.records]

    def test_line_is_one_line(self, caplog: pytest.LogCaptureFixture) -> None:
        """Foreign text is escaped and cut, so that no message can pose as two."""
        tell(Delivery(()), FAILED)
        (record,) = caplog.records
        assert "\n" not in record.message
        assert 'message="no\\nanswer"' in record.message
        assert "retry_in=1.000" in record.message

    def test_lists_are_counted(self, caplog: pytest.LogCaptureFixture) -> None:
        """A set of 500 keys is not 500 names in a line."""
        caplog.set_level(logging.INFO, "keyturn")
        tell(Delivery(()), changed())
        assert "added=1 of them removed=none" in caplog.text

    def test_silent_log_costs_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        """A line that nobody reads is not written."""
        caplog.set_level(logging.ERROR, "keyturn")
        tell(Delivery(()), FAILED, SUCCEEDED)
        assert not caplog.records
