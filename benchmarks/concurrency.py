"""What validation costs on an event loop and on several threads.

1. Inline on the loop, beside the same call handed to a thread: what a hop would cost.
2. How late the loop is for others while 1 and 100 tasks validate: the longest turn, against the same tasks doing a bare verify.
3. The same number of validations on 1, 2 and 4 threads: the wall time, against one thread.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import jwt

from benchmarks.validation import AUDIENCE, USUAL, bare_verify, token_of
from keyturn import TokenValidator
from keyturn.testing import FakeIssuer

CALLS = 2_000
ROUNDS = 9
TASKS = (1, 100)
THREADS = (1, 2, 4)


@dataclass(frozen=True)
class Concurrency:
    """Medians over the rounds.

    Attributes:
        inline: `await validate_async()`, as a ratio to `validate()`.
        hop: `await asyncio.to_thread(validate)`, as a ratio to `validate()`.
        lag: Longest turn of the loop by tasks, as a ratio to the longest turn with bare verifies.
        threads: Wall time of as many validations by threads, as a ratio to one thread.
    """

    inline: float
    hop: float
    lag: dict[int, float]
    threads: dict[int, float]


def measure() -> Concurrency:
    """Measure all three."""
    issuer = FakeIssuer("https://issuer.test", algorithm="RS256", audience=AUDIENCE)
    token = token_of(issuer, USUAL)
    validator = TokenValidator(issuer.issuer, audience=AUDIENCE, fetcher=issuer.fetcher())
    validator.validate(token)
    (entry,) = issuer.jwks()["keys"]
    bare = bare_verify("RS256", jwt.PyJWK(entry).key, token)
    rounds = [asyncio.run(_costs(validator, token)) for _ in range(ROUNDS)]
    return Concurrency(
        inline=statistics.median(inline / call for call, inline, _ in rounds),
        hop=statistics.median(hop / call for call, _, hop in rounds),
        lag={tasks: _lag_ratio(lambda: validator.validate(token), bare, tasks) for tasks in TASKS},
        threads=_thread_ratios(lambda: validator.validate(token)),
    )


async def _costs(validator: TokenValidator, token: str) -> tuple[float, float, float]:
    start = time.perf_counter()
    for _ in range(CALLS):
        validator.validate(token)
    inline = time.perf_counter()
    for _ in range(CALLS):
        await validator.validate_async(token)
    hop = time.perf_counter()
    for _ in range(CALLS // 10):
        await asyncio.to_thread(validator.validate, token)
    end = time.perf_counter()
    return inline - start, hop - inline, (end - hop) * 10


def _lag_ratio(ours: Callable[[], object], bare: Callable[[], object], tasks: int) -> float:
    pairs = [(asyncio.run(_lag(ours, tasks)), asyncio.run(_lag(bare, tasks))) for _ in range(ROUNDS)]
    return statistics.median(mine / theirs for mine, theirs in pairs)


async def _lag(call: Callable[[], object], tasks: int) -> float:
    """Return the 99th percentile of a turn of the loop while *tasks* call, each giving way after each call."""
    turns: list[float] = []

    async def work() -> None:
        for _ in range(CALLS // tasks):
            call()
            await asyncio.sleep(0)

    async def watch() -> None:
        while True:
            start = time.perf_counter()
            await asyncio.sleep(0)
            turns.append(time.perf_counter() - start)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(work() for _ in range(tasks)))
    watching.cancel()
    return statistics.quantiles(turns, n=100)[98] if len(turns) > 1 else max(turns)


def _thread_ratios(call: Callable[[], object]) -> dict[int, float]:
    rounds = [{count: _wall(call, count) for count in THREADS} for _ in range(ROUNDS)]
    return {count: statistics.median(found[count] / found[1] for found in rounds) for count in THREADS}


def _wall(call: Callable[[], object], count: int) -> float:
    def work() -> None:
        for _ in range(CALLS // count):
            call()

    threads = [threading.Thread(target=work) for _ in range(count)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start
