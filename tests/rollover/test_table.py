"""The table of boundaries of decisions: each instant at which one changes, one step before it, at it, and one step beyond (Z1).

The other rows stand in `test_boundaries.py`, which checks that none is missing. Nothing here has a thread, a socket or a clock. Ages are
made by both clocks together and by each alone, since the larger counts (R14).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.rollover.boundaries import row
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
    row("b01", "before", "due", WARM, DAY - TICK, Serve()),
    row("b01", "at", "due", WARM, DAY, Fetch("schedule")),
    row("b01", "beyond", "due", WARM, DAY + TICK, Fetch("schedule")),
    row("b01", "beyond", "due-for-long", WARM, TOO_OLD - TICK, Fetch("schedule")),
    row("b01", "at", "due-and-tried", tried(WARM, DAY), DAY, Serve()),
    row("b01", "before", "retry", tried(WARM, DAY), DAY + 1 - TICK, Serve()),
    row("b01", "at", "retry", tried(WARM, DAY), DAY + 1, Serve("schedule")),
    row("b01", "beyond", "retry", tried(WARM, DAY), DAY + 1 + TICK, Serve("schedule")),
    row("b02", "before", "line", EARLY, LINE - TICK, Serve()),
    row("b02", "at", "line", EARLY, LINE, Serve("schedule")),
    row("b02", "beyond", "line", EARLY, LINE + TICK, Serve("schedule")),
    row("b02", "before", "due", EARLY, DAY - TICK, Serve("schedule")),
    row("b02", "at", "due", EARLY, DAY, Fetch("schedule")),
    row("b02", "before", "tried", tried(EARLY, LINE - TICK), DAY, Fetch("schedule")),
    row("b02", "at", "tried", tried(EARLY, LINE), DAY, Serve("schedule")),
    row("b02", "beyond", "tried", tried(EARLY, LINE + TICK), DAY, Serve("schedule")),
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
        row("b03", "before", "too-old", TOO_OLD - TICK, Serve("schedule"), Fetch("schedule"), "schedule"),
        row("b03", "at", "too-old", TOO_OLD, Fetch("start"), Fetch("start"), "start"),
        row("b03", "beyond", "too-old", TOO_OLD + TICK, Fetch("start"), Fetch("start"), "start"),
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
        row("b05", "before", "300-s", 300 - TICK, Refuse("unknown_key", TICK, owes=True), None),
        row("b05", "at", "300-s", 300, Fetch("unknown_key"), "unknown_key"),
        row("b05", "beyond", "300-s", 300 + TICK, Fetch("unknown_key"), "unknown_key"),
        row("b05", "beyond", "two-periods", 600, Fetch("unknown_key"), "unknown_key"),
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


STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300)
"""Upper ends of the pauses after the first failure, the second, and so on."""


def failing(times: int, draw: float) -> tuple[KeySetState, Instant]:
    """Return the state after so many failures in a row, each at the end of the longest pause, and the instant of the last."""
    state, now = WARM, START
    for step in (0, *STEPS[: times - 1]):
        now = after(now, step)
        state = fail(begin(state, now, "retry"), DEFAULTS, now, DOWN, draw)
    return state, now


@pytest.mark.parametrize(
    ("times", "since", "is_over"),
    [
        row("b06", where, f"failure-{times}", times, step + beyond * TICK, beyond >= 0)
        for times, step in enumerate(STEPS, 1)
        for beyond, where in ((-1, "before"), (0, "at"), (1, "beyond"))
    ],
)
def test_backoff_doubles(times: int, since: float, is_over: bool) -> None:
    """B6, Z6: the n-th pause is at most min(2^(n-1), 300) s long, counts from the failure, and nothing starts before its end."""
    state, failed = failing(times, draw=1.0)
    now = after(failed, since)
    assert state.failures == times
    assert background_refresh(state, DEFAULTS, now) == ("retry" if is_over else None)
    assert missing(state, now) == (Fetch("retry") if is_over else Refuse("keys_unavailable", TICK))
    assert decide_held(state, DEFAULTS, now) == Serve("retry" if is_over else None)


@pytest.mark.parametrize(("times", "step"), list(enumerate(STEPS, 1)))
def test_backoff_is_drawn(times: int, step: float) -> None:
    """Z6: the n-th pause is drawn between 1 s and its upper end."""
    assert [failing(times, draw)[0].pause for draw in (0.0, 0.5, 1.0)] == [1.0, 1 + (step - 1) / 2, step]


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
    ("asked", "pause"),
    [
        row("b08", "before", "nothing", 0.0, 1.0),
        row("b08", "before", "least", 1.0 - TICK, 1.0),
        row("b08", "at", "least", 1.0, 1.0),
        row("b08", "beyond", "least", 1.5, 1.5),
        row("b08", "before", "most", 3_600.0 - TICK, 3_600.0 - TICK),
        row("b08", "at", "most", 3_600.0, 3_600.0),
        row("b08", "beyond", "most", 3_601.0, 3_600.0),
        row("b08", "beyond", "years", 1e9, 3_600.0),
    ],
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


@pytest.mark.parametrize("clocks", CLOCKS)
@pytest.mark.parametrize(
    ("times", "since", "left"),
    [
        row("b14", where, f"look-up-{times}", times, pause + beyond * TICK, max(0.0, -beyond * TICK))
        for times, pause in ((1, 300.0), (2, 600.0), (3, 900.0), (4, 900.0), (100_000, 900.0))
        for beyond, where in ((-1, "before"), (0, "at"), (1, "beyond"))
    ],
)
def test_pause_of_a_kid_looked_up_in_vain(times: int, since: float, left: float, clocks: str) -> None:
    """B14: it may order a refresh again 300 s after the stamp, then 600 s, then every 900 s; nothing is owed for it before (R13)."""
    look_up, now = LookUp(times, START), after(START, since, clocks)
    assert look_up.pause_left(DEFAULTS, now) == left
    assert missing(WARM, now, look_up=look_up) == (Refuse("unknown_key", left) if left else Fetch("unknown_key"))


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


@pytest.mark.parametrize(
    ("waiting", "expected"),
    [
        row("b24", "before", "99th", 98, Join()),
        row("b24", "at", "100th", 99, Join()),
        row("b24", "beyond", "101st", 100, Refuse("unknown_key", 1.0)),
        row("b24", "beyond", "102nd", 101, Refuse("unknown_key", 1.0)),
    ],
)
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
