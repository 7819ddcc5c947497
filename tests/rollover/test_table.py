"""The table of boundaries: each instant at which a decision changes, one step before it, at it, and one step beyond (Z1).

Nothing here has a thread, a socket or a clock. Ages are made by both clocks together and by each alone, since the larger counts (R14).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.rollover.helpers import CLOCKS, DAY, DEFAULTS, HOUR, NAME, START, TICK, after, published

from keyturn import RolloverPolicy
from keyturn._core.acceptance import drawn_line
from keyturn._core.rollover import (
    Decision,
    Fetch,
    Join,
    LookUp,
    Refuse,
    Serve,
    background_refresh,
    begin,
    decide_held,
    decide_missing,
    decide_vanished,
    fail,
    not_made,
)
from keyturn._core.state import Failure, KeySetState, with_keys
from keyturn.clock import Instant
from keyturn.testing import FakeIssuer

COLD = KeySetState(NAME, DAY, DAY)
WARM = replace(with_keys(COLD, current=published(FakeIssuer())), asked_at=START)
LINE = 0.9 * DAY
EARLY = replace(WARM, line=LINE)
TOO_OLD = 2 * DAY
DOWN = Failure("fetch_failed", "no answer", "", NAME)


def tried(state: KeySetState, age: float, draw: float = 0.0) -> KeySetState:
    """Return *state* after a scheduled refresh that failed at *age*."""
    now = after(START, age)
    return fail(begin(state, now, "schedule"), DEFAULTS, now, DOWN, draw)


def missing(state: KeySetState, now: Instant, *, look_up: LookUp | None = None, waiting: int = 0, policy: RolloverPolicy = DEFAULTS) -> Decision:
    """Decide for a key that is not held."""
    return decide_missing(state, policy, now, look_up=look_up, waiting=waiting)


OVERDUE = [
    (WARM, DAY - TICK, Serve()),
    (WARM, DAY, Fetch("schedule")),
    (WARM, DAY + TICK, Fetch("schedule")),
    (WARM, TOO_OLD - TICK, Fetch("schedule")),
    (EARLY, LINE - TICK, Serve()),
    (EARLY, LINE, Serve("schedule")),
    (EARLY, LINE + TICK, Serve("schedule")),
    (EARLY, DAY - TICK, Serve("schedule")),
    (EARLY, DAY, Fetch("schedule")),
    (tried(EARLY, LINE - TICK), DAY, Fetch("schedule")),
    (tried(EARLY, LINE), DAY, Serve("schedule")),
    (tried(EARLY, LINE + TICK), DAY, Serve("schedule")),
    (tried(WARM, DAY), DAY, Serve()),
    (tried(WARM, DAY), DAY + 1 - TICK, Serve()),
    (tried(WARM, DAY), DAY + 1, Serve("schedule")),
    (tried(WARM, DAY), DAY + 1 + TICK, Serve("schedule")),
]


@pytest.mark.parametrize("clocks", CLOCKS)
@pytest.mark.parametrize(("state", "age", "expected"), OVERDUE)
def test_schedule(state: KeySetState, age: float, expected: Decision, clocks: str) -> None:
    """B1, B2: nothing before the line; from it a refresh in the background; a set past due that nobody tried to refresh since the
    line is refreshed before it is used, and after an attempt it serves at once (R3).
    """
    assert decide_held(state, DEFAULTS, after(START, age, clocks)) == expected


def test_a_refresh_of_before_the_line_keeps_nobody() -> None:
    """A refresh that began before the set was due lets held keys serve (R7); one that began past due is waited for (R3)."""
    before, past = after(START, LINE), after(START, DAY)
    assert decide_held(begin(EARLY, before, "schedule"), DEFAULTS, past) == Serve()
    assert decide_held(begin(EARLY, past, "schedule"), DEFAULTS, past) == Join()


def test_overdue_within_the_backoff_serves() -> None:
    """A failure just before the line keeps the issuer in peace past due as well; after it the set is refreshed before use (R8, R3)."""
    state = fail(begin(WARM, after(START, DAY - 1), "retry"), DEFAULTS, after(START, DAY - 1), replace(DOWN, retry_after=10.0), 0.0)
    assert decide_held(state, DEFAULTS, after(START, DAY + 9 - TICK)) == Serve()
    assert decide_held(state, DEFAULTS, after(START, DAY + 9)) == Fetch("schedule")


@pytest.mark.parametrize("draw", [0.0, 0.25, 1.0])
def test_jitter_only_makes_earlier(draw: float) -> None:
    """The line lies up to `refresh_jitter` before the interval, never after it (R3, Z2)."""
    assert drawn_line(DEFAULTS, DAY, draw) == DAY - draw * 0.1 * DAY


@pytest.mark.parametrize("clocks", CLOCKS)
@pytest.mark.parametrize(
    ("age", "held", "absent", "background"),
    [
        (TOO_OLD - TICK, Serve("schedule"), Fetch("schedule"), "schedule"),
        (TOO_OLD, Fetch("start"), Fetch("start"), "start"),
        (TOO_OLD + TICK, Fetch("start"), Fetch("start"), "start"),
    ],
)
def test_too_old(age: float, held: Decision, absent: Decision, background: str, clocks: str) -> None:
    """B3: at `refresh_interval + max_stale`, counted from the answer, the set vouches for nobody (R9)."""
    state, now = tried(WARM, DAY), after(START, age, clocks)
    assert decide_held(state, DEFAULTS, now) == held
    assert missing(state, now) == absent
    assert background_refresh(state, DEFAULTS, now) == background


def test_max_stale_of_nothing() -> None:
    """With `max_stale=0` a set ends with its interval (R9, Z1)."""
    policy = RolloverPolicy(max_stale=0)
    assert decide_held(WARM, policy, after(START, DAY - TICK)) == Serve()
    assert decide_held(WARM, policy, after(START, DAY)) == Fetch("start")


def test_cold() -> None:
    """Without a usable set everybody waits for one shared refresh, or is told when to ask again (R8)."""
    assert decide_held(COLD, DEFAULTS, START) == missing(COLD, START) == Fetch("start")
    running = begin(COLD, START, "start")
    assert decide_held(running, DEFAULTS, START) == missing(running, START, waiting=10_000) == Join()
    assert background_refresh(running, DEFAULTS, START) is None
    failed = fail(running, DEFAULTS, START, replace(DOWN, retry_after=8.0), 0.0)
    assert decide_held(failed, DEFAULTS, after(START, 3)) == missing(failed, after(START, 3)) == Refuse("keys_unavailable", 5.0)
    assert background_refresh(failed, DEFAULTS, after(START, 8 - TICK)) is None
    assert background_refresh(failed, DEFAULTS, after(START, 8)) == "start"
    assert missing(failed, after(START, 8)) == Fetch("start")


SPENT = replace(WARM, demanded_at=START)


@pytest.mark.parametrize("clocks", CLOCKS)
@pytest.mark.parametrize(
    ("since", "absent", "background"),
    [
        (300 - TICK, Refuse("unknown_key", TICK, owes=True), None),
        (300, Fetch("unknown_key"), "unknown_key"),
        (300 + TICK, Fetch("unknown_key"), "unknown_key"),
        (600, Fetch("unknown_key"), "unknown_key"),
    ],
)
def test_allowance(since: float, absent: Decision, background: str | None, clocks: str) -> None:
    """B5: 300 s after its stamp the allowance is back, for the kid itself and for the owed refresh of any token (R5)."""
    now = after(START, since, clocks)
    assert missing(SPENT, now) == absent
    assert decide_held(replace(SPENT, owed=True), DEFAULTS, now) == Serve(background)  # type: ignore[arg-type]
    assert decide_held(SPENT, DEFAULTS, now) == Serve()


def test_two_periods_give_one_refresh() -> None:
    """B5: an allowance that was not used does not add up."""
    later = after(START, 600)
    assert isinstance(missing(begin(SPENT, later, "unknown_key"), later), Join)
    assert missing(replace(begin(SPENT, later, "unknown_key"), attempt=None), later) == Refuse("unknown_key", 300.0, owes=True)


@pytest.mark.parametrize(
    ("reason", "spends"),
    [("start", False), ("schedule", False), ("retry", False), ("operator", False), ("unknown_key", True), ("vanished_key", True)],
)
def test_only_tokens_spend_the_allowance(reason: Any, spends: bool) -> None:
    """The stamp is made when the refresh begins, and only by a refresh that a token orders (R5)."""
    begun = begin(WARM, START, reason, ("kid", "k9"))
    assert begun.demanded_at == (START if spends else None)
    assert begun.attempt is not None
    assert (begun.attempts, begun.attempt.number, begun.attempt.wanted, begun.owed) == (1, 1, ("kid", "k9"), False)
    earlier = after(START, -100)
    assert begin(replace(WARM, demanded_at=earlier), START, reason).demanded_at == (START if spends else earlier)


def test_backoff_doubles() -> None:
    """B6, Z6: the n-th pause is drawn between 1 s and min(2^(n-1), 300) s and counts from the failure; nothing starts before it."""
    upper = [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    high = low = half = WARM
    now = START
    for number, pause in enumerate(upper, 1):
        high, low, half = (fail(begin(state, now, "retry"), DEFAULTS, now, DOWN, draw) for state, draw in ((high, 1.0), (low, 0.0), (half, 0.5)))
        assert (high.failures, high.pause, low.pause, half.pause) == (number, pause, 1.0, 1 + (pause - 1) / 2)
        before, at = after(now, pause - TICK), after(now, pause)
        assert background_refresh(high, DEFAULTS, before) is None
        assert missing(high, before) == Refuse("keys_unavailable", TICK)
        assert decide_held(high, DEFAULTS, before) == Serve()
        assert background_refresh(high, DEFAULTS, at) == "retry"
        assert missing(high, at) == Fetch("retry")
        assert decide_held(high, DEFAULTS, at) == Serve("retry")
        now = at
    assert now == after(START, sum(upper))


def test_backoff_of_years() -> None:
    """Ever more failures do not outgrow a float (R8)."""
    state = replace(begin(WARM, START, "retry"), failures=5_000)
    assert fail(state, DEFAULTS, START, DOWN, 1.0).pause == 300.0


@pytest.mark.parametrize("clocks", CLOCKS)
def test_backoff_by_either_clock(clocks: str) -> None:
    """The pause is over when either clock says so (R14)."""
    state = fail(begin(WARM, START, "retry"), DEFAULTS, START, replace(DOWN, retry_after=100.0), 0.0)
    assert background_refresh(state, DEFAULTS, after(START, 100 - TICK, clocks)) is None
    assert background_refresh(state, DEFAULTS, after(START, 100, clocks)) == "retry"


@pytest.mark.parametrize(
    ("asked", "pause"), [(0.0, 1.0), (1.0, 1.0), (1.5, 1.5), (3_599.0, 3_599.0), (3_600.0, 3_600.0), (3_601.0, 3_600.0), (1e9, 3_600.0)]
)
def test_retry_after(asked: float, pause: float) -> None:
    """B8: `Retry-After` is obeyed within [1 s, 1 h] (R8)."""
    assert fail(begin(WARM, START, "retry"), DEFAULTS, START, replace(DOWN, retry_after=asked), 0.0).pause == pause


def test_the_later_of_backoff_and_retry_after() -> None:
    """Z7: both are obeyed, so the later one counts."""
    state = replace(begin(WARM, START, "retry"), failures=6)
    assert fail(state, DEFAULTS, START, replace(DOWN, retry_after=10.0), 1.0).pause == 64.0
    assert fail(state, DEFAULTS, START, replace(DOWN, retry_after=100.0), 1.0).pause == 100.0


def test_a_failure_touches_no_key() -> None:
    """A failed refresh arms the backoff, is stamped with its start, and leaves every key and every other mark as it was (R12)."""
    began, ended = after(START, 50), after(START, 53)
    failed = fail(begin(SPENT, began, "schedule"), DEFAULTS, ended, DOWN, 0.0)
    assert failed == replace(SPENT, attempts=1, attempted_at=began, failures=1, failed_at=ended, pause=1.0, failure=DOWN)
    assert fail(SPENT, DEFAULTS, ended, DOWN, 0.0).attempted_at is None


def test_a_failed_refresh_on_demand_is_retried_without_allowance() -> None:
    """Z4: it has spent its allowance, stays owed, and is retried under the backoff alone."""
    failed = fail(begin(WARM, START, "unknown_key"), DEFAULTS, START, DOWN, 0.0)
    assert failed.demanded_at == START
    assert missing(failed, after(START, 1 - TICK)) == Refuse("keys_unavailable", TICK)
    assert missing(failed, after(START, 1)) == Fetch("retry")
    assert begin(failed, after(START, 1), "retry").demanded_at == START


@pytest.mark.parametrize("clocks", CLOCKS)
def test_an_attempt_that_was_slept_through(clocks: str) -> None:
    """Z18: more than 60 s between start and end by either clock: as if not made, but owed; the issuer may have been asked, so the
    allowance stays spent. What was never begun, or is left to a parent process, gives it back.
    """
    earlier = after(START, -1_000)
    state = begin(replace(WARM, demanded_at=earlier), START, "unknown_key")
    assert fail(state, DEFAULTS, after(START, 60, clocks), DOWN, 0.0).failures == 1
    slept = fail(state, DEFAULTS, after(START, 60 + TICK, clocks), DOWN, 0.0)
    assert slept == replace(WARM, attempts=1, demanded_at=START, owed=True)
    assert not_made(state) == replace(WARM, attempts=1, demanded_at=earlier, owed=True)
    assert not_made(WARM) is WARM


def test_a_set_past_due_whose_attempt_was_slept_through() -> None:
    """Z18: the next caller asks again before the set is used."""
    due = after(START, DAY)
    woken = after(due, 8 * HOUR)
    assert decide_held(fail(begin(WARM, due, "schedule"), DEFAULTS, woken, DOWN, 0.0), DEFAULTS, woken) == Fetch("schedule")


PAUSES = [(0, 0.0), (1, 300.0), (2, 600.0), (3, 900.0), (4, 900.0), (100_000, 900.0)]


@pytest.mark.parametrize("clocks", CLOCKS)
@pytest.mark.parametrize(("times", "pause"), PAUSES[1:])
def test_pause_of_a_kid_looked_up_in_vain(times: int, pause: float, clocks: str) -> None:
    """B14: it may order a refresh again 300 s after the stamp, then 600 s, then every 900 s; nothing is owed for it before (R13)."""
    look_up = LookUp(times, START)
    before, at = after(START, pause - TICK, clocks), after(START, pause, clocks)
    assert look_up.pause_left(DEFAULTS, before) == TICK
    assert look_up.pause_left(DEFAULTS, at) == look_up.pause_left(DEFAULTS, after(at, TICK)) == 0.0
    assert missing(WARM, before, look_up=look_up) == Refuse("unknown_key", TICK)
    assert missing(WARM, at, look_up=look_up) == Fetch("unknown_key")


def test_a_kid_that_was_only_refused_has_no_pause() -> None:
    """What was not looked up was not looked up in vain (R13)."""
    assert LookUp(owed=True).pause_left(DEFAULTS, START) == 0.0


def test_a_pause_starts_what_is_owed_to_others() -> None:
    """A kid inside its pause orders nothing, but an owed refresh starts with any token (R5, R13)."""
    owed, now = replace(SPENT, owed=True), after(START, 300)
    assert missing(owed, now, look_up=LookUp(2, START)) == Refuse("unknown_key", 300.0, refresh="unknown_key")


def test_order_of_the_reasons() -> None:
    """A failure outweighs allowance and pause (Z5); the line outweighs a retry; what runs is joined."""
    look_up = LookUp(3, START)
    failed = fail(begin(SPENT, START, "schedule"), DEFAULTS, START, DOWN, 0.0)
    assert missing(failed, START, look_up=look_up) == Refuse("keys_unavailable", 1.0)
    assert missing(failed, after(START, 1), look_up=look_up) == Fetch("retry")
    assert missing(replace(failed, line=1.0), after(START, 1), look_up=look_up) == Fetch("schedule")
    assert missing(begin(SPENT, START, "operator"), START, look_up=look_up) == Join()


@pytest.mark.parametrize(("waiting", "expected"), [(99, Join()), (100, Refuse("unknown_key", 1.0)), (101, Refuse("unknown_key", 1.0))])
def test_most_callers_that_wait(waiting: int, expected: Decision) -> None:
    """B24: the hundredth waits, the hundred and first is answered as if the allowance were spent (R4)."""
    assert missing(begin(WARM, START, "unknown_key"), START, waiting=waiting) == expected


def test_who_is_not_counted() -> None:
    """Z20, Z5: start-up and an idle process's one wait have no bound; after a failure the refusal is no verdict on the token."""
    due = after(START, DAY)
    assert missing(begin(WARM, due, "schedule"), due, waiting=10_000) == Join()
    assert missing(WARM, due, waiting=10_000) == Fetch("schedule")
    failed = fail(begin(WARM, START, "schedule"), DEFAULTS, START, DOWN, 0.0)
    retry = begin(failed, after(START, 1), "retry")
    assert missing(retry, after(START, 1), waiting=100) == Refuse("keys_unavailable", 1.0)


@pytest.mark.parametrize(
    ("state", "look_up", "expected"),
    [
        (WARM, None, "vanished_key"),
        (SPENT, None, None),
        (replace(SPENT, demanded_at=after(START, -300)), None, "vanished_key"),
        (replace(SPENT, demanded_at=after(START, -300 + TICK)), None, None),
        (begin(WARM, START, "schedule"), None, None),
        (replace(WARM, failures=1), None, None),
        (WARM, LookUp(1, after(START, -300 + TICK)), None),
        (WARM, LookUp(1, after(START, -300)), "vanished_key"),
    ],
)
def test_use_of_a_vanished_key(state: KeySetState, look_up: LookUp | None, expected: str | None) -> None:
    """Z15: it asks within the allowance and in the rhythm of R13; a failure is retried under R8 alone."""
    assert decide_vanished(state, DEFAULTS, START, look_up) == expected
