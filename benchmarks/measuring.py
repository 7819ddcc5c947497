"""Interleaved rounds, so that a machine whose speed drifts slows all contestants alike.

A round runs every contestant once, in a new order. Each contestant's own quickest fifth of the rounds counts, and what is reported is the
ratio of two medians of these: whoever else uses the processor slows an interpreter more than a signature, so that a disturbed round says as
much about the neighbour as about the contestant.
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

ROUND_SECONDS = 0.005
"""Time that one contestant gets in one round: long against the clock's resolution, short against the machine's moods."""

WARM_UP = 4
"""For so many timed calls one comes before them untimed."""

COUNTED = 5
"""Of so many rounds one counts, the quickest."""


@dataclass(frozen=True)
class Series:
    """Seconds per call, one figure for each round."""

    seconds: tuple[float, ...]

    @property
    def quick(self) -> float:
        """Seconds per call in the median of the rounds that count."""
        return statistics.median(sorted(self.seconds)[: -(-len(self.seconds) // COUNTED)])

    @property
    def median(self) -> float:
        """Seconds per call in the median of all rounds: far above the other, it tells of a machine that was not quiet."""
        return statistics.median(self.seconds)

    def ratio_to(self, other: Series) -> float:
        """Return how many times as long as *other* it took in the rounds that count."""
        return self.quick / other.quick

    def median_ratio_to(self, other: Series) -> float:
        """Return the median of the ratios within each round, of all rounds: neighbours of the machine are in it."""
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


class Race:
    """Contestants that are timed side by side, in any number of rounds, at any time apart."""

    def __init__(self, contestants: Mapping[str, Callable[[], object] | Contestant]) -> None:
        self._entered = {name: one if isinstance(one, Contestant) else Contestant(one) for name, one in contestants.items()}
        self._counts = {name: _calls_for(one) for name, one in self._entered.items()}
        self._rounds: list[dict[str, float]] = []
        self._order = list(contestants)
        self._shuffle = random.Random(1).shuffle  # noqa: S311 - an order, not a secret

    def run(self) -> None:
        """Run one round: every contestant once, in a new order; the garbage collector runs before it, and never while one is timed."""
        self._shuffle(self._order)
        gc.collect()
        found = {}
        for name in self._order:
            self._entered[name].prepare()
            found[name] = _timed(self._entered[name].call, self._counts[name])
        self._rounds.append(found)

    def results(self) -> dict[str, Series]:
        """Return the figures of each contestant."""
        return {name: Series(tuple(found[name] for found in self._rounds)) for name in self._entered}


def interleaved(contestants: Mapping[str, Callable[[], object] | Contestant], rounds: int) -> dict[str, Series]:
    """Return what contestants take in so many rounds."""
    race = Race(contestants)
    for _ in range(rounds):
        race.run()
    return race.results()


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
        for _ in range(-(-count // WARM_UP)):
            call()
        start = time.perf_counter()
        for _ in range(count):
            call()
        return (time.perf_counter() - start) / count
    finally:
        gc.enable()
