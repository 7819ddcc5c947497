"""Faults of the fake issuer as a service: every kind, one at a time, until told otherwise or for some seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from keyturn import KeySetClient, KeysUnavailableError
from keyturn.serving.control import Control
from keyturn.serving.exchange import RefusedError, Request
from keyturn.serving.faults import KINDS, daemon_timer
from keyturn.serving.issuer import Settings
from keyturn.testing.faults import Sender, SenderLeft


class FakeTimer:
    """A timer that the test lets go off."""

    def __init__(self, seconds: float, call: Callable[[], None]) -> None:
        self.seconds, self.call, self.started, self.cancelled = seconds, call, False, False

    def start(self) -> None:
        self.started = True

    def cancel(self) -> None:
        self.cancelled = True


@pytest.fixture
def timers() -> list[FakeTimer]:
    """Every timer that was made."""
    return []


@pytest.fixture
def control(timers: list[FakeTimer]) -> Control:
    """A control API whose timers the test lets go off."""

    def later(seconds: float, call: Callable[[], None]) -> FakeTimer:
        timers.append(FakeTimer(seconds, call))
        return timers[-1]

    return Control(Settings("https://issuer.test"), later=later)


def status(control: Control, document: str = "jwks") -> int | None:
    """Return the status of a document, or None if the connection is dropped."""
    path = "/jwks.json" if document == "jwks" else "/.well-known/openid-configuration"
    answer = control.issuer.documents_at(Request("GET", path))
    return answer and answer.status


def read(control: Control, document: str) -> None:
    """Read one document or both as keyturn does."""
    issuer = control.issuer
    source = {"jwks_url": issuer.jwks_url} if document == "jwks" else {}
    KeySetClient(issuer.issuer, fetcher=issuer.fetcher(), **source).refresh()


def seen(control: Control) -> str:
    """Return the key set as it is answered."""
    answer = control.issuer.documents_at(Request("GET", "/jwks.json"))
    assert answer is not None
    return answer.body.decode()


def held(control: Control, document: str) -> bool:
    """Return whether a sender without patience leaves before it has a document whole."""
    path, sender = "/.well-known/openid-configuration" if document == "discovery" else "/jwks.json", Sender(0)
    try:
        answer = control.issuer.documents_at(Request("GET", path, sender=sender))
        assert answer is not None
        list(answer.pieces(sender))
    except SenderLeft:
        return True
    return False


@pytest.mark.parametrize(("kind", "document"), [(name, document) for name, kind in KINDS.items() for document in kind.documents])
def test_every_kind_works_with_its_defaults(control: Control, kind: str, document: str) -> None:
    """Each is in force for what it says, is told with what it is for, and is gone when it has ended."""
    state = control.act("fault", {"kind": kind, "document": document})
    assert {"kind": kind, "document": document, "ends_at": None} == state["fault"]
    if kind in {"gate", "slow", "drip"}:
        assert held(control, document)
    elif kind == "bad_entry":
        assert "broken" in seen(control)
        read(control, document)  # A bad entry takes no good one along (R1).
    else:
        with pytest.raises(KeysUnavailableError):
            read(control, document)
    assert None is control.act("fault", {"kind": None})["fault"]
    read(control, document)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"kind": "down", "status": 418}, 418),
        ({"kind": "down", "status": None}, 503),
        ({"kind": "redirect", "to": "https://elsewhere.test/", "status": 307}, 307),
        ({"kind": "drop_connection"}, None),
        ({"kind": "not_modified"}, 304),
    ],
)
def test_a_fault_takes_its_settings(control: Control, values: dict[str, Any], expected: int | None) -> None:
    """What the body says is what the caller of the document gets; the key set is meant unless it says otherwise."""
    control.act("fault", values)
    assert (expected, 200) == (status(control), status(control, "discovery"))


def test_details_are_told(control: Control) -> None:
    """The state says how the issuer fails."""
    fault = control.act("fault", {"kind": "down", "status": 429, "retry_after": 30})["fault"]
    assert {"kind": "down", "document": "jwks", "status": 429, "retry_after": 30, "ends_at": None} == fault


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"kind": "up"},
        {"kind": 7},
        {"kind": None, "document": "jwks"},
        {"kind": "down", "status": 200},
        {"kind": "down", "status": 503.5},
        {"kind": "down", "document": "metadata"},
        {"kind": "down", "seconds": 0},
        {"kind": "down", "seconds": -1},
        {"kind": "down", "seconds": 1e9},
        {"kind": "down", "delay": 1},
        {"kind": "slow", "delay": 1e6},
        {"kind": "huge", "size": 1e9},
        {"kind": "redirect", "to": "a\r\nset-cookie: b"},
        {"kind": "wrong_issuer", "document": "jwks"},
        {"kind": "bad_entry", "document": "both"},
    ],
)
def test_a_fault_that_cannot_be_is_refused(control: Control, values: dict[str, Any]) -> None:
    """It is told what is wrong, and the fault in force stays."""
    before = control.act("fault", {"kind": "empty"})["fault"]
    with pytest.raises(RefusedError) as caught:
        control.act("fault", values)
    assert (400, before) == (caught.value.status, control.state()["fault"])


def test_a_new_fault_takes_the_place_of_the_one_before(control: Control) -> None:
    """One is in force at a time."""
    control.act("fault", {"kind": "drop_connection", "document": "both"})
    control.act("fault", {"kind": "down", "status": 500})
    assert (500, 200) == (status(control), status(control, "discovery"))
    assert "fault down has ended" == control.act("fault", {"kind": None})["done"]
    assert (200, "there was no fault to end") == (status(control), control.act("fault", {"kind": None})["done"])


def test_a_fault_ends_by_itself(control: Control, timers: list[FakeTimer]) -> None:
    """After the seconds that it was given, and not before; the steps say so."""
    state = control.act("fault", {"kind": "down", "seconds": 30})
    (timer,) = timers
    assert (30, True, False) == (timer.seconds, timer.started, timer.cancelled)
    assert 30 == pytest.approx(state["fault"]["ends_at"] - state["steps"][-1]["at"], abs=5)
    assert 503 == status(control)
    timer.call()
    assert (200, None) == (status(control), control.state()["fault"])
    assert "fault down has ended by itself" == control.state()["steps"][-1]["done"]


def test_a_timer_that_comes_late_ends_nothing_else(control: Control, timers: list[FakeTimer]) -> None:
    """A timer whose fault was replaced or has ended leaves the one after it alone."""
    control.act("fault", {"kind": "down", "seconds": 30})
    control.act("fault", {"kind": "down", "status": 500})
    assert timers[0].cancelled
    timers[0].call()
    assert 500 == status(control)


@pytest.mark.parametrize("operation", ["reset", "close"])
def test_a_reset_and_the_end_let_everybody_go(control: Control, timers: list[FakeTimer], operation: str) -> None:
    """No fault and no timer is left behind."""
    control.act("fault", {"kind": "down", "seconds": 30})
    control.act("reset", {}) if operation == "reset" else control.close()
    assert timers[0].cancelled
    assert (None, 200) == (control.state()["fault"], status(control))


def test_a_timer_keeps_no_process_alive() -> None:
    """The real one runs on a daemon thread and can be called off."""
    timer = daemon_timer(1000, lambda: None)
    assert timer.daemon
    timer.start()
    timer.cancel()
    timer.join(60)
    assert not timer.is_alive()
