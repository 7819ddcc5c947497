"""Interleaved rounds, so that a machine whose speed drifts slows all contestants alike.

A round runs every contestant once, in a new order. What is reported is the median over the rounds of the ratio within one
round: two absolute times of a noisy machine say little, two times of the same tenth of a second say more.
"""

from __future__ import annotations

import gc
import random
import resource
import statistics
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

ROUND_SECONDS = 0.016
"""Time that one contestant gets in one round: long against the clock's resolution, short against the machine's moods."""

WARM_UP = 10
"""For so many timed calls one comes before them untimed."""


@dataclass(frozen=True)
class Series:
    """Seconds per call, one figure for each round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Seconds per call in the median round."""
        return statistics.median(self.seconds)

    def ratio_to(self, other: Series) -> float:
        """Return the median of the ratios within each round."""
        return statistics.median(mine / theirs for mine, theirs in zip(self.seconds, other.seconds, strict=True))


@dataclass(frozen=True)
class Contestant:
    """What is timed.

    Attributes:
        call: Called over and over.
        prepare: Called before each stretch of calls, untimed.
    """

    call: Callable[[], object]
    prepare: Callable[[], object] = lambda: None


def interleaved(contestants: Mapping[str, Callable[[], object] | Contestant], rounds: int) -> dict[str, Series]:
    """Time every contestant in every round, in a shuffled order; the garbage collector runs between rounds and not within."""
    entered = {name: one if isinstance(one, Contestant) else Contestant(one) for name, one in contestants.items()}
    counts = {name: _calls_for(one) for name, one in entered.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    order = list(contestants)
    shuffle = random.Random(1).shuffle  # noqa: S311 - an order, not a secret
    for _ in range(rounds):
        shuffle(order)
        for name in order:
            gc.collect()
            entered[name].prepare()
            seconds[name].append(_timed(entered[name].call, counts[name]))
    return {name: Series(tuple(found)) for name, found in seconds.items()}


class Latencies:
    """Seconds of single calls on one thread, without those in which the system gave the processor to another process.

    A wait for a lock, the interpreter's own included, is the thread's own doing and counts. Where the system does not say how often it
    took the processor away from a thread, every call counts.

    Attributes:
        seconds: One figure for each call that counts.
        set_aside: Calls that do not.
    """

    def __init__(self) -> None:
        self.seconds = array("d")
        self.set_aside = 0

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Time what is done inside."""
        before = _taken_away()
        start = time.perf_counter()
        yield
        seconds = time.perf_counter() - start
        if _taken_away() == before:
            self.seconds.append(seconds)
        else:
            self.set_aside += 1

    def cuts(self) -> tuple[float, float]:
        """Return p50 and p99."""
        cuts = statistics.quantiles(self.seconds, n=100)
        return cuts[49], cuts[98]


def _taken_away() -> int:
    """Return how often the system took the processor away from this thread."""
    return resource.getrusage(_THREAD).ru_nivcsw if _THREAD is not None else 0


_THREAD: int | None = getattr(resource, "RUSAGE_THREAD", None)


def _calls_for(contestant: Contestant) -> int:
    contestant.prepare()
    contestant.call()
    once = min(_timed(contestant.call, 1) for _ in range(5))
    return max(1, int(ROUND_SECONDS / once))


def _timed(call: Callable[[], object], count: int) -> float:
    gc.disable()
    try:
        # Whoever ran before has left its own code and data in the caches; a service finds its own there.
        for _ in range(count // WARM_UP):
            call()
        start = time.perf_counter()
        for _ in range(count):
            call()
        return (time.perf_counter() - start) / count
    finally:
        gc.enable()
