"""The account of `keyturn demo`: a broken promise is found, whatever else went well."""

from __future__ import annotations

import pytest

from keyturn._core.policy import RolloverPolicy
from keyturn.cli.account import PromiseKept, never_hammered, nobody_in, nobody_out
from keyturn.cli.stage import Outcome, Promise, Record, Sort, Wait, clock_text
from keyturn.events import FetchFailed, FetchSucceeded, RefreshReason

POLICY = RolloverPolicy()
DAY = 86_400.0


def record(*sorts: tuple[Promise, Outcome], later: bool = False) -> Record:
    """Return a record of one token of each sort."""
    return Record(sorts={Sort(promise, outcome, "", later, f"token {number}"): 1 for number, (promise, outcome) in enumerate(sorts)})


def succeeded(at: float, reason: RefreshReason) -> FetchSucceeded:
    """Return a refresh that brought keys."""
    return FetchSucceeded(issuer="", at=at, document="", duration=0.0, bytes=1, status=200, reason=reason)


def failed(at: float, reason: RefreshReason, retry_in: float) -> FetchFailed:
    """Return a refresh that failed."""
    return FetchFailed(issuer="", at=at, document="", code="", message="", reason=reason, retry_in=retry_in, failures=1)


def hammered(*refreshes: FetchSucceeded | FetchFailed, jwks: int | None = None, seconds: float = 2 * DAY) -> PromiseKept:
    """Judge refreshes; the issuer counted one request for each unless told otherwise."""
    return never_hammered(refreshes, POLICY, {"jwks": len(refreshes) if jwks is None else jwks, "discovery": 0}, seconds)


@pytest.mark.parametrize(
    ("sorts", "kept"),
    [
        ([("refused", "refused")], True),
        ([("refused", "unavailable")], True),
        ([("unavailable", "unavailable"), ("accepted", "accepted")], True),
        ([("refused", "refused"), ("refused", "accepted")], False),
        ([("refused", "refused"), ("unavailable", "accepted")], False),
        ([("accepted", "accepted")], False),
        ([], False),
    ],
)
def test_nobody_in(sorts: list[tuple[Promise, Outcome]], kept: bool) -> None:
    """One wrong token that is accepted breaks the first promise; without wrong tokens nothing is shown."""
    assert kept is nobody_in(record(*sorts)).kept


@pytest.mark.parametrize(
    ("sorts", "kept"),
    [
        ([("accepted", "accepted"), ("unavailable", "unavailable")], True),
        ([("accepted", "accepted"), ("accepted", "refused")], False),
        ([("accepted", "accepted"), ("accepted", "unavailable")], False),
        ([("accepted", "accepted"), ("unavailable", "refused")], False),
        ([("accepted", "accepted"), ("accepted soon", "refused")], False),
        ([("refused", "refused")], False),
    ],
)
def test_nobody_out(sorts: list[tuple[Promise, Outcome]], kept: bool) -> None:
    """A good token that is lost, an outage told as 401, or a refusal without "come back" breaks the second promise."""
    assert kept is nobody_out(record(*sorts), POLICY).kept


@pytest.mark.parametrize(("until", "kept"), [(300.0, True), (301.0, False), (None, False)])
def test_a_new_key_is_waited_for_no_longer_than_the_allowance(until: float | None, kept: bool) -> None:
    """Tokens that may be told to come back must be accepted within the on-demand interval, and some day at all (R5)."""
    told = record(("accepted", "accepted"), ("accepted soon", "refused"), later=True)
    told.waits["k2"] = Wait(0.0, until)
    assert kept is nobody_out(told, POLICY).kept


@pytest.mark.parametrize(
    ("refreshes", "kept"),
    [
        ([succeeded(0, "start")], True),
        ([succeeded(0, "start"), succeeded(1, "unknown_key"), succeeded(301, "vanished_key")], True),
        ([succeeded(0, "start"), succeeded(1, "unknown_key"), succeeded(300, "unknown_key")], False),
        ([succeeded(0, "start"), succeeded(0.9 * DAY, "schedule")], True),
        ([succeeded(0, "start"), succeeded(0.9 * DAY - 1, "schedule")], False),
        ([succeeded(0, "start"), succeeded(DAY, "start")], False),
        ([succeeded(0, "start"), succeeded(DAY, "operator")], False),
        ([failed(0, "start", 5.0), succeeded(5, "start")], True),
        ([failed(0, "start", 5.0), succeeded(4, "start")], False),
        ([succeeded(0, "start"), failed(9, "unknown_key", 2.0), succeeded(11, "retry"), succeeded(308, "unknown_key")], False),
        ([], False),
    ],
)
def test_each_refresh_must_have_been_due(refreshes: list[FetchSucceeded | FetchFailed], kept: bool) -> None:
    """On demand once in 300 s (R5), on schedule not before the line (R3), after a failure not before its pause (R8)."""
    assert kept is hammered(*refreshes).kept


@pytest.mark.parametrize(("requests", "kept"), [(1, True), (2, False)])
def test_the_issuer_s_own_count_is_compared(requests: int, kept: bool) -> None:
    """A request beside the refreshes that the client tells of breaks the third promise."""
    assert kept is hammered(succeeded(0, "start"), jwks=requests).kept


def test_virtual_time_is_told_in_hours_and_minutes() -> None:
    """Hours go on beyond a day."""
    assert ("T+00:00", "T+92:10", "T+100:00") == tuple(map(clock_text, (0.0, 92 * 3600 + 659.0, 360_000.0)))
