"""The clock of the test kit: it moves when the test says so, and only then."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest

from keyturn.clock import Clock, Instant, read
from keyturn.testing import FakeClock


class MovingEvent(threading.Event):
    """Takes a step of the clock whenever somebody waits for it, and can be set on the way."""

    def __init__(self, *steps: Callable[[], None], set_at: int | None = None) -> None:
        super().__init__()
        self.steps, self.set_at = steps, set_at
        self.looks = 0

    def wait(self, timeout: float | None = None) -> bool:
        self.looks += 1
        for step in self.steps:
            step()
        if self.looks == self.set_at:
            self.set()
        return super().wait(0)


def test_is_a_clock() -> None:
    """It can stand wherever a clock is asked for."""
    assert isinstance(FakeClock(), Clock)


def test_stands_still() -> None:
    """Two reads without a step between them agree, and show what the clock was built with."""
    clock = FakeClock(monotonic=5.0, wall=7.0)
    assert [Instant(5.0, 7.0)] * 2 == [read(clock), read(clock)]


@pytest.mark.parametrize(
    ("step", "seconds"),
    [
        (lambda clock: clock.advance(90), 90.0),
        (lambda clock: clock.advance(minutes=2), 120.0),
        (lambda clock: clock.advance(hours=1, minutes=59), 7140.0),
        (lambda clock: clock.advance(1, minutes=1, hours=1, days=1), 90061.0),
        (lambda clock: clock.advance(timedelta(days=2, seconds=3)), 172803.0),
        (lambda clock: clock.advance(), 0.0),
    ],
)
def test_advance_moves_both(step, seconds: float) -> None:
    """Time that passes is seen on both clocks, whatever unit it is given in."""
    clock = FakeClock()
    before = read(clock)
    step(clock)
    assert before.shifted(seconds) == read(clock)


@pytest.mark.parametrize("seconds", [-7200, 7200, timedelta(hours=-2)])
def test_step_wall_moves_the_wall_clock_alone(seconds: float | timedelta) -> None:
    """A clock step is seen on the wall clock only, in both directions (R14)."""
    clock = FakeClock(monotonic=1000.0, wall=50_000.0)
    clock.step_wall(seconds)
    moved = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
    assert Instant(1000.0, 50_000.0 + moved) == read(clock)


def test_suspend_leaves_the_monotonic_clock() -> None:
    """A suspended machine wakes with a monotonic clock that stood still (R14)."""
    clock = FakeClock(monotonic=1000.0, wall=50_000.0)
    clock.suspend(timedelta(hours=10))
    assert Instant(1000.0, 86_000.0) == read(clock)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (lambda: FakeClock().advance(-1), "advance by -1 s, expected 0 or more"),
        (lambda: FakeClock().advance(5, minutes=-1), "advance by -55 s"),
        (lambda: FakeClock().suspend(-1), "suspend by -1 s"),
        (lambda: FakeClock().advance(math.nan), "advance is nan"),
        (lambda: FakeClock().step_wall(math.inf), "step_wall is inf"),
        (lambda: FakeClock(wall=math.inf), "wall is inf"),
        (lambda: FakeClock(monotonic=math.nan), "monotonic is nan"),
    ],
)
def test_refuses_impossible_steps(step, words: str) -> None:
    """Time that goes back or nowhere is a mistake of the test, and is told as one."""
    with pytest.raises(ValueError, match=words):
        step()


def test_wait_ends_when_the_clock_has_moved_far_enough() -> None:
    """A wait of 60 s is over at its last instant, not a step before."""
    clock = FakeClock()
    event = MovingEvent(lambda: clock.advance(20))
    assert not clock.wait(event, 60.0)
    assert 3 == event.looks


def test_wait_ends_when_the_event_is_set() -> None:
    """A set event ends the wait although the clock has not come far enough."""
    clock = FakeClock()
    event = MovingEvent(lambda: clock.advance(1), set_at=2)
    assert clock.wait(event, 60.0)
    assert 1002.0 == clock.monotonic()


def test_wait_counts_on_the_monotonic_clock() -> None:
    """A suspended machine ends no wait: only time that the monotonic clock has seen does."""
    clock = FakeClock()
    event = MovingEvent(lambda: clock.advance(30), lambda: clock.suspend(10_000))
    assert not clock.wait(event, 60.0)
    assert 2 == event.looks


@pytest.mark.parametrize(("is_set", "seconds"), [(True, 0.0), (False, 0.0), (False, -5.0), (True, 60.0)])
def test_wait_without_anything_to_wait_for(is_set: bool, seconds: float) -> None:
    """A wait of no length, or for an event that is set, returns at once and tells the event's state."""
    event = threading.Event()
    if is_set:
        event.set()
    assert is_set == FakeClock().wait(event, seconds)


def test_repr_shows_both_clocks() -> None:
    """A failing test shows what time it was."""
    assert "<FakeClock monotonic=1.0 wall=2.5>" == repr(FakeClock(1.0, 2.5))
