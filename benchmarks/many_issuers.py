"""Five hundred issuers in one process, all cold, one of them hanging: what the others notice of it (R15).

Callers of the hanging issuer have threads of their own, as a web server has more than one worker; they wait for its answer while the
others start, and while the others are then used. The same is measured with nobody hanging; both kinds take turns, and the ratios are
medians over the pairs.
"""

from __future__ import annotations

import contextlib
import itertools
import statistics
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.measuring import Latencies
from keyturn import IssuerRouter, RolloverPolicy, TokenValidator
from keyturn.errors import KeyturnError
from keyturn.testing import FakeIssuer

ISSUERS = 500
PAIRS = 7
WORKERS = 8
CALLERS = 4
"""Callers that wait for the hanging issuer."""

CALLS = 4_000
"""Calls that are timed afterwards, over the other issuers in turn."""

GOAL = 1.5

_runs = itertools.count()


@dataclass(frozen=True)
class ManyIssuers:
    """The figures; ratios are those of a process in which one issuer hangs, to the same with none that does.

    Attributes:
        issuers: How many there are.
        start: Seconds until each of the others had accepted its first token, without a hanging one.
        start_ratio: Ratio of the same.
        first_p50: Ratio of the median time of a first token.
        p50: Ratio of the medians afterwards.
        p99: Ratio of the 99th percentiles afterwards.
        requests: The least and the most requests that one of the others got in one run.
        requests_hanging: The most requests that the hanging one got in one run, its answer included.
        waited: Callers of the hanging issuer that got their token accepted once it answered.
        callers: Callers of the hanging issuer.
    """

    issuers: int
    start: float
    start_ratio: float
    first_p50: float
    p50: float
    p99: float
    requests: tuple[int, int]
    requests_hanging: int
    waited: int
    callers: int

    @property
    def missed(self) -> tuple[str, ...]:
        """The goals that were missed, in words."""
        goals = {
            f"the others started more than {GOAL}x slower beside a hanging issuer": self.start_ratio <= GOAL and self.first_p50 <= GOAL,
            f"the p99 of the others rose above {GOAL}x beside a hanging issuer": self.p99 <= GOAL,
            "an issuer was asked more than once for a document": self.requests == (2, 2) and self.requests_hanging <= 2,  # noqa: PLR2004
            "a caller of the hanging issuer was lost": self.waited == self.callers,
        }
        return tuple(goal for goal, met in goals.items() if not met)


@dataclass(frozen=True)
class _Run:
    start: float
    first: float
    p50: float
    p99: float
    requests: tuple[int, int]
    requests_hanging: int
    waited: int


def measure(issuers: int = ISSUERS, pairs: int = PAIRS) -> ManyIssuers:
    """Measure *pairs* of runs."""
    runs = [(_run(issuers, hanging=False), _run(issuers, hanging=True)) for _ in range(pairs)]
    every = [run for pair in runs for run in pair]

    def ratio(figure: str) -> float:
        return statistics.median(getattr(hung, figure) / getattr(quiet, figure) for quiet, hung in runs)

    return ManyIssuers(
        issuers=issuers,
        start=statistics.median(quiet.start for quiet, _ in runs),
        start_ratio=ratio("start"),
        first_p50=ratio("first"),
        p50=ratio("p50"),
        p99=ratio("p99"),
        requests=(min(run.requests[0] for run in every), max(run.requests[1] for run in every)),
        requests_hanging=max(run.requests_hanging for run in every),
        waited=sum(run.waited for run in every),
        callers=CALLERS * len(every),
    )


def _run(count: int, *, hanging: bool) -> _Run:
    run = next(_runs)
    stuck, *others = [FakeIssuer(f"https://issuer-{number}.run-{run}.test") for number in range(count)]
    # Nobody gives up while we measure: whoever hangs is let go at the end, and its callers must then be served.
    policy = RolloverPolicy(deadline=60)
    router = IssuerRouter(
        *(TokenValidator(issuer.issuer, audience=issuer.audience, fetcher=issuer.fetcher(), policy=policy) for issuer in (stuck, *others))
    )
    accepted: list[str] = []
    with contextlib.ExitStack() as hold:
        gate = hold.enter_context(stuck.gate(document="discovery")) if hanging else None
        callers = [threading.Thread(target=_call, args=(router, stuck.token(), accepted), daemon=True) for _ in range(CALLERS)]
        for caller in callers:
            caller.start()
        if gate is not None:
            gate.wait_for_arrival()
        start, first = _cold_start(router, others)
        p50, p99 = _used(router, others)
    for caller in callers:
        caller.join()
    asked = [len(issuer.fetches.requests) for issuer in others]
    return _Run(start, first, p50, p99, (min(asked), max(asked)), len(stuck.fetches.requests), len(accepted))


def _call(router: IssuerRouter, token: str, accepted: list[str]) -> None:
    with contextlib.suppress(KeyturnError):
        accepted.append(router.validate(token).issuer)


def _cold_start(router: IssuerRouter, issuers: list[FakeIssuer]) -> tuple[float, float]:
    """Return the seconds until every issuer's first token was accepted, and the median of one."""
    waiting = deque(issuer.token() for issuer in issuers)
    seconds: list[float] = []

    def work() -> None:
        for token in _taken(waiting):
            begun = time.perf_counter()
            router.validate(token)
            seconds.append(time.perf_counter() - begun)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(WORKERS)]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if len(seconds) != len(issuers):
        raise RuntimeError(f"{len(seconds)} of {len(issuers)} issuers had their first token accepted")
    return time.perf_counter() - start, statistics.median(seconds)


def _taken(waiting: deque[str]) -> Iterator[str]:
    with contextlib.suppress(IndexError):
        while True:
            yield waiting.popleft()


def _used(router: IssuerRouter, issuers: list[FakeIssuer]) -> tuple[float, float]:
    tokens = [issuer.token() for issuer in issuers]
    latencies = Latencies()
    for token in itertools.islice(itertools.cycle(tokens), CALLS):
        with latencies.timed():
            router.validate(token)
    return latencies.cuts()
