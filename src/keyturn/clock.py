"""The only place that reads a clock.

Ages are measured by two clocks at once, because each lies in its own way: the monotonic clock may stand still while
a machine is suspended, the wall clock may be set back (R14). The larger age counts. Deadlines are real time whatever
clock was handed in, since a virtual clock that stands still must not let a slow server run on (R16).
"""

from __future__ import annotations

import threading
import time
from typing import NamedTuple, Protocol, runtime_checkable


@runtime_checkable
class Clock(Protocol):
    """Time as the rules see it: ages, ``exp``, allowance and backoff. The deadline alone is real time."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        ...

    def wall(self) -> float:
        """Return seconds since the epoch."""
        ...

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait for *event*, at most *seconds* of this clock; return whether it is set."""
        ...


class SystemClock:
    """The clocks of this machine."""

    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait for *event*, at most *seconds*; return whether it is set."""
        return event.wait(seconds)


class Instant(NamedTuple):
    """One moment on both clocks.

    Attributes:
        monotonic: Seconds on the monotonic clock of this process.
        wall: Seconds since the epoch.
    """

    monotonic: float
    wall: float

    def since(self, earlier: Instant) -> float:
        """Return the seconds from *earlier* to this instant: the larger of both clocks (R14)."""
        return max(self.monotonic - earlier.monotonic, self.wall - earlier.wall)

    def shifted(self, seconds: float) -> Instant:
        """Return the instant *seconds* later on both clocks."""
        return Instant(self.monotonic + seconds, self.wall + seconds)


def read(clock: Clock) -> Instant:
    """Read both clocks, once per operation, so that one operation sees one instant."""
    return Instant(clock.monotonic(), clock.wall())


def real_seconds() -> float:
    """Return real monotonic seconds, for deadlines alone."""
    return time.monotonic()


class Deadline:
    """A moment of real time by which a refresh or a wait is over."""

    __slots__ = ("at",)

    def __init__(self, seconds: float) -> None:
        self.at = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left, never below zero."""
        return max(0.0, self.at - time.monotonic())

    def over(self) -> bool:
        """Return whether nothing is left."""
        return time.monotonic() >= self.at
