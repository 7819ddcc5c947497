"""A clock that stands still until the test moves it.

Rules of this file:

1. Nothing but the test moves time; two reads without a step between them agree.
2. Wall clock and monotonic clock can be moved apart, as clock steps and suspended machines do (R14).
3. The monotonic clock never goes back.
4. Whoever waits on this clock waits in virtual time; real time alone never ends a wait.
"""

from __future__ import annotations

import math
import threading
from datetime import timedelta

from keyturn.errors import quoted

LOOK_AGAIN = 0.005
"""Real seconds between two looks of a waiting thread at the clock: short for a person, long for a processor."""


class FakeClock:
    """Both clocks of a machine, for issuer and validator alike; a `keyturn.clock.Clock`.

    Args:
        monotonic: Seconds that the monotonic clock shows first.
        wall: Seconds since the epoch that the wall clock shows first; the default lies in January 2027.

    Raises:
        ValueError: A number is not finite.
    """

    def __init__(self, monotonic: float = 1000.0, wall: float = 1_800_000_000.0) -> None:
        self._lock = threading.Lock()
        self._monotonic = _finite("monotonic", monotonic)
        self._wall = _finite("wall", wall)

    def __repr__(self) -> str:
        with self._lock:
            return f"<FakeClock monotonic={self._monotonic!r} wall={self._wall!r}>"

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        with self._lock:
            return self._monotonic

    def wall(self) -> float:
        """Return seconds since the epoch."""
        with self._lock:
            return self._wall

    def advance(self, seconds: float | timedelta = 0, *, minutes: float = 0, hours: float = 0, days: float = 0) -> None:
        """Let time pass: move both clocks forward by the sum of what is given.

        Args:
            seconds: Seconds, or a timedelta.
            minutes: Minutes to add.
            hours: Hours to add.
            days: Days to add.

        Raises:
            ValueError: The sum is negative or not finite; `step_wall()` sets the wall clock back.
        """
        passed = _forward("advance", _seconds(seconds) + 60 * minutes + 3600 * hours + 86400 * days)
        with self._lock:
            self._monotonic += passed
            self._wall += passed

    def step_wall(self, seconds: float | timedelta) -> None:
        """Set the wall clock alone forward, or back if *seconds* is negative, as an operator or NTP does (R14).

        Raises:
            ValueError: *seconds* is not finite.
        """
        step = _finite("step_wall", _seconds(seconds))
        with self._lock:
            self._wall += step

    def suspend(self, seconds: float | timedelta) -> None:
        """Suspend the machine: the wall clock goes on, the monotonic clock stands still (R14).

        Raises:
            ValueError: *seconds* is negative or not finite.
        """
        slept = _forward("suspend", _seconds(seconds))
        with self._lock:
            self._wall += slept

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait until *event* is set or the monotonic clock has moved on by *seconds*; return whether *event* is set.

        Setting the event wakes the thread at once. A step of the clock is seen within a few milliseconds of real time:
        a thread can sleep on one thing only, and nothing tells an event's owner that somebody waits for a clock as well.
        """
        until = self.monotonic() + seconds
        while self.monotonic() < until:
            if event.wait(LOOK_AGAIN):
                return True
        return event.is_set()


def _seconds(value: float | timedelta) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else value


def _finite(name: str, seconds: float) -> float:
    if not math.isfinite(seconds):
        raise ValueError(f"{name} is {quoted(seconds)}, expected a finite number of seconds")
    return seconds


def _forward(name: str, seconds: float) -> float:
    if _finite(name, seconds) < 0:
        raise ValueError(f"{name} by {seconds:g} s, expected 0 or more: time does not go back; step_wall() sets the wall clock back")
    return seconds
