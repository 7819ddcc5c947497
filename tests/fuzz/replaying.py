"""Every kept input once more, without instrumentation: how long it takes, and how much memory.

Rules of this file:

1. Slow is what takes `MOST_SECONDS` in the best of five; only what keyturn does is timed, not the check of it.
2. Memory is what Python allocates: at most `MOST_BYTES` for one input, and a second round over all of them leaves at most
   `MOST_LEFT` behind.
3. Who is over a bound is written down as a find, and so is whoever breaks a promise here alone.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.folders import Folders
from tests.fuzz.target import Target

MOST_SECONDS = 0.05
MOST_BYTES = 64 * 2**20
MOST_LEFT = 2**20
TRIES = 5
FAST = MOST_SECONDS / 10
"""What is faster than this at the first try is not tried again."""


@dataclass(slots=True)
class Replay:
    """What came of it.

    Attributes:
        inputs: Inputs that were replayed.
        slowest: Seconds of the slowest, best of five.
        largest: Bytes that the one which allocates most had allocated at once.
        left: Bytes that a second round over all inputs left behind.
        finds: Files of those over a bound.
    """

    inputs: int = 0
    slowest: float = 0.0
    largest: int = 0
    left: int = 0
    finds: list[Path] = field(default_factory=list)


def replay(target: Target, folders: Folders) -> Replay:
    """Replay every seed and every kept input of *target*."""
    inputs = [path.read_bytes()[: target.longest] for path in folders.inputs()]
    found = Replay(len(inputs))
    broken = dict(_broken(target, inputs))
    found.finds += [folders.keep(kind, data) for data, kind in broken.items()]
    inputs = [data for data in inputs if data not in broken]
    _time(target, inputs, found, folders)
    _weigh(target, inputs, found, folders)
    return found


def _broken(target: Target, inputs: Sequence[bytes]) -> Iterator[tuple[bytes, str]]:
    for data in inputs:
        try:
            target.check(data)
        except Exception as error:
            yield data, type(error).__name__.lower()


def _time(target: Target, inputs: Sequence[bytes], found: Replay, folders: Folders) -> None:
    for data in inputs:
        seconds = best_time(target, data)
        found.slowest = max(found.slowest, seconds)
        if seconds > MOST_SECONDS:
            found.finds.append(folders.keep("slow", data))


def best_time(target: Target, data: bytes) -> float:
    """Return the seconds that *data* takes, best of five; of one that is fast at once, those of the first try."""
    best = float("inf")
    for _ in range(TRIES):
        start = time.perf_counter()
        target.read(data)
        best = min(best, time.perf_counter() - start)
        if best < FAST:
            break
    return best


def _weigh(target: Target, inputs: Sequence[bytes], found: Replay, folders: Folders) -> None:
    tracemalloc.start()
    try:
        for data in inputs:
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            target.read(data)
            peak = tracemalloc.get_traced_memory()[1] - before
            found.largest = max(found.largest, peak)
            if peak > MOST_BYTES:
                found.finds.append(folders.keep("large", data))
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for data in inputs:
            target.read(data)
        gc.collect()
        found.left = max(0, tracemalloc.get_traced_memory()[0] - before)
    finally:
        tracemalloc.stop()
