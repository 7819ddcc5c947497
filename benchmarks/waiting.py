"""What a held key costs while a refresh hangs: the issuer is blocked at a gate, and the same calls are timed as in a quiet run."""

from __future__ import annotations

import statistics
import threading
import time
from dataclasses import dataclass

from keyturn import RolloverPolicy, TokenValidator
from keyturn.errors import KeyturnError
from keyturn.testing import FakeIssuer

CALLS = 2_000


@dataclass(frozen=True)
class Waiting:
    """p50 and p99 of a held key while a refresh hangs, as ratios to the same run with none; calls that were answered meanwhile."""

    p50: float
    p99: float
    answered_while_blocked: int


def measure() -> Waiting:
    """Measure; medians of five pairs of runs."""
    pairs = [_pair() for _ in range(5)]
    return Waiting(
        p50=statistics.median(hung[0] / quiet[0] for quiet, hung in pairs),
        p99=statistics.median(hung[1] / quiet[1] for quiet, hung in pairs),
        answered_while_blocked=CALLS * len(pairs),
    )


def _pair() -> tuple[tuple[float, float], tuple[float, float]]:
    issuer = FakeIssuer(algorithm="RS256")
    validator = TokenValidator(issuer.issuer, audience=issuer.audience, fetcher=issuer.fetcher(), policy=RolloverPolicy(deadline=30))
    token = issuer.token()
    validator.validate(token)
    quiet = _run(validator, token)
    issuer.cut_over("next")
    unknown = issuer.token()
    with issuer.gate() as gate:
        waiter = threading.Thread(target=_ignoring_refusal, args=(validator, unknown), daemon=True)
        waiter.start()
        gate.wait_for_arrival()
        hung = _run(validator, token)
    waiter.join()
    return quiet, hung


def _run(validator: TokenValidator, token: str) -> tuple[float, float]:
    seconds = []
    for _ in range(CALLS):
        start = time.perf_counter()
        validator.validate(token)
        seconds.append(time.perf_counter() - start)
    cuts = statistics.quantiles(seconds, n=100)
    return cuts[49], cuts[98]


def _ignoring_refusal(validator: TokenValidator, token: str) -> None:
    try:
        validator.validate(token)
    except KeyturnError:
        return
