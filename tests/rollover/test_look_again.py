"""Until when a held key is served without another decision: the lock-free way must say what the decision would say."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.rollover.helpers import DAY, DEFAULTS, NAME, START, TICK, after, only, published

from keyturn._core.acceptance import drop_expired
from keyturn._core.rollover import Serve, begin, decide_held, fail, look_again
from keyturn._core.state import Failure, KeySetState, VanishedKey, with_keys
from keyturn.clock import Instant
from keyturn.testing import FakeIssuer

COLD = KeySetState(NAME, DAY, DAY)
WARM = replace(with_keys(COLD, current=published(FakeIssuer())), asked_at=START)
LINE = 0.9 * DAY
EARLY = replace(WARM, line=LINE)
SPENT = replace(WARM, demanded_at=START)
DOWN = Failure("fetch_failed", "no answer", "", NAME)
GONE = only(published(FakeIssuer(kid="k9")), "k9")


def test_look_again_in_the_order_of_the_flips() -> None:
    """The next look is due at the first of: the given time, the line, the due time, the too-old time, the end of a grace, of the
    allowance while a refresh is owed, of the backoff.
    """
    failed = fail(begin(WARM, START, "schedule"), DEFAULTS, START, DOWN, 0.0)

    def at(state: KeySetState, now: Instant = START) -> float:
        return look_again(state, DEFAULTS, now, 10 * DAY).monotonic - START.monotonic

    assert look_again(WARM, DEFAULTS, START, 60.0) == after(START, 60)
    assert at(EARLY) == LINE
    assert at(begin(EARLY, START, "schedule")) == DAY
    assert at(begin(EARLY, START, "schedule"), after(START, DAY)) == 2 * DAY
    assert at(replace(SPENT, owed=True)) == 300
    assert at(SPENT) == DAY
    assert at(failed) == 1.0
    assert at(COLD) == 10 * DAY
    assert at(replace(COLD, owed=True)) == 10 * DAY
    assert at(with_keys(WARM, vanished={GONE.name: VanishedKey(GONE, after(START, -100), after(START, -200))})) == 7_100
    assert at(with_keys(WARM, vanished={GONE.name: VanishedKey(GONE, START, after(START, -DAY))})) == 7_200
    assert at(with_keys(WARM, vanished={GONE.name: VanishedKey(GONE, START, after(START, -DAY - 1))})) == 7_199


def test_look_again_takes_each_clock_by_itself() -> None:
    """After a step of the wall clock the flips come in another order on either clock; what has passed on one has passed (R14)."""
    stepped = Instant(START.monotonic + 10, START.wall + 1_000)
    state = replace(WARM, demanded_at=stepped, owed=True)
    look = look_again(state, DEFAULTS, stepped, 10 * DAY)
    assert look == Instant(stepped.monotonic + 300, stepped.wall + 300)


def test_look_again_takes_the_earliest_of_each_clock() -> None:
    """A wall clock that ran ahead brings the due time before the end of a pause, and the monotonic clock does not (R14)."""
    ahead = replace(WARM, asked_at=Instant(START.monotonic, START.wall - DAY + 1_000))
    state = fail(begin(ahead, START, "retry"), DEFAULTS, START, replace(DOWN, retry_after=3_600.0), 0.0)
    assert look_again(state, DEFAULTS, START, 10 * DAY) == Instant(START.monotonic + 3_600, START.wall + 1_000)


AGES = st.sampled_from(
    [-TICK, 0.0, 1.0, 59.0, 299.0, 300.0, 301.0, 7_199.0, 7_200.0, LINE, DAY - 1, DAY, DAY + 7_199, DAY + 7_200, 2 * DAY - 1, 2 * DAY]
)
STEPS = st.sampled_from([0.0, TICK, 1.0, 60.0, 299.0, 300.0, 600.0, 7_199.0, 7_200.0, DAY])


@st.composite
def instants(draw: st.DrawFn) -> Instant:
    """Some instant before the start, by each clock for itself."""
    return Instant(START.monotonic - draw(AGES), START.wall - draw(AGES))


@st.composite
def states(draw: st.DrawFn) -> KeySetState:
    """A state of any past, reachable or not."""
    state = replace(EARLY, asked_at=draw(instants()), demanded_at=draw(st.none() | instants()), owed=draw(st.booleans()))
    if draw(st.booleans()):
        state = with_keys(state, vanished={GONE.name: VanishedKey(GONE, draw(instants()), draw(instants()))})
    if draw(st.booleans()):
        state = replace(
            state, attempted_at=draw(instants()), failures=1, failed_at=draw(instants()), pause=draw(st.sampled_from([1.0, 300.0, 3_600.0]))
        )
    return begin(state, draw(instants()), "schedule") if draw(st.booleans()) else state


@settings(max_examples=300, derandomize=True, database=None)
@given(states(), STEPS, STEPS)
def test_nothing_changes_before_the_next_look(state: KeySetState, monotonic: float, wall: float) -> None:
    """What is served without another decision would be served by it: before the next look no decision and no grace changes."""
    state, _ = drop_expired(state, DEFAULTS, START)
    assume(decide_held(state, DEFAULTS, START) == Serve())
    look = look_again(state, DEFAULTS, START, 10 * DAY)
    later = Instant(min(START.monotonic + monotonic, look.monotonic - TICK), min(START.wall + wall, look.wall - TICK))
    assert decide_held(state, DEFAULTS, later) == Serve()
    assert drop_expired(state, DEFAULTS, later) == (state, [])
