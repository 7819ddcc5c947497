"""A million hostile tokens beside valid traffic, against one validator that follows one issuer.

What is compared is the same valid traffic while another thread hands the same hostile tokens to a neighbour: a second validator that is
built alike and shares nothing with the first. So both kinds of round load the machine and the interpreter alike, and what is left is
what one validator's junk does to its own valid traffic: by its locks, its state and its refreshes. With nothing on the other thread, or
valid tokens, the figure would tell what a busy thread costs in Python, where each signature lets the other thread have the interpreter.
Both kinds of round take turns, and the ratio is the median over the pairs.

Valid tokens come one by one with a pause between, as requests do, so that what is timed is the call and not the wait for the
interpreter's lock after it. The clock of rule R5 is a fake one, on which two hours pass for a million tokens, whatever the machine needs
for them: long enough for two dozen refreshes that hostile tokens may ask for, and short enough that the one decision a minute that a
held key takes under the lock stays as rare beside the calls as it is in service.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import resource
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import Latencies
from keyturn import RolloverPolicy, TokenValidator
from keyturn.errors import InvalidTokenError, KeyturnError
from keyturn.testing import FakeIssuer
from keyturn.testing.keys import base64url

TOKENS = 1_000_000
ROUNDS = 10
LOOP_PART = 10
"""The variant on an event loop gets a tenth of the tokens."""

QUIET_PART = 4
"""A quiet round works through a quarter of the tokens of a hostile one: enough calls for a percentile."""

PAUSE = 0.0005
"""Seconds between two valid tokens."""

SECONDS_PER_TOKEN = 0.0072
"""Time that passes for the rules with each token that is not of the valid traffic."""

STEP = 100
"""Tokens between two steps of the clock."""

P99_GOAL = 1.5
MEMORY_GOAL = 2 * 2**20
_STATM = Path("/proc/self/statm")


@dataclass(frozen=True)
class Hostile:
    """The figures.

    Attributes:
        tokens: Hostile tokens in all, threads and event loop together.
        refused: How many were refused, by the code of the error.
        accepted: How many were accepted.
        valid_refused: How many valid tokens were refused.
        valid_calls: Calls of valid traffic that were timed.
        set_aside: Calls of valid traffic in which the system gave the processor to another process; they are in no percentile.
        virtual_seconds: Time that passed for the rules, quiet rounds included.
        elapsed_seconds: Time that passed on the machine.
        requests: Requests to the issuer.
        requests_bound: What R3 and R5 allow in that time.
        memory_growth: Bytes of resident memory, from the end of the first pair of rounds to the end of the last.
        p50: Median over the pairs of the ratio of medians, threads.
        p99: The same of the 99th percentiles.
        loop_p50: As `p50`, on one event loop.
        loop_p99: As `p99`, on one event loop.
    """

    tokens: int
    refused: Mapping[str, int]
    accepted: int
    valid_refused: int
    valid_calls: int
    set_aside: int
    virtual_seconds: float
    elapsed_seconds: float
    requests: int
    requests_bound: int
    memory_growth: int
    p50: float
    p99: float
    loop_p50: float
    loop_p99: float

    @property
    def missed(self) -> tuple[str, ...]:
        """The goals that were missed, in words."""
        goals = {
            "a hostile token was accepted": self.accepted == 0,
            "a valid token was refused": self.valid_refused == 0,
            "the issuer was asked too often": self.requests <= self.requests_bound,
            f"memory grew by more than {MEMORY_GOAL / 2**20:.0f} MB": self.memory_growth < MEMORY_GOAL,
            f"the p99 of valid tokens rose above {P99_GOAL}x": self.p99 <= P99_GOAL and self.loop_p99 <= P99_GOAL,
        }
        return tuple(goal for goal, met in goals.items() if not met)


class _Clock:
    """A clock that the benchmark moves. It has no lock, other than the one for tests: who reads it must not wait for another reader."""

    def __init__(self) -> None:
        self.passed = 0.0

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return 1_000.0 + self.passed

    def wall(self) -> float:
        """Return seconds since the epoch."""
        return 1_800_000_000.0 + self.passed

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait for *event*; nothing here waits for this clock itself."""
        return event.wait(seconds)


class _Stage:
    """One issuer, one validator, and the account of what was said."""

    def __init__(self) -> None:
        self.clock = _Clock()
        self.issuer, self.validator = self._pair()
        self.neighbours_issuer, self.neighbour = self._pair()
        self.valid = [
            self.issuer.token(key=kid, subject=f"user-{number}", lifetime=10 * 86_400) for kid in ("k1", "k2", "k3") for number in range(20)
        ]
        self.refused: Counter[str] = Counter()
        self.accepted = self.valid_refused = self.valid_calls = self.set_aside = 0
        self.validator.validate(self.valid[0])
        self.neighbour.validate(self.neighbours_issuer.token())

    def _pair(self) -> tuple[FakeIssuer, TokenValidator]:
        issuer = FakeIssuer(clock=self.clock, algorithm="RS256")
        for kid in ("k2", "k3"):
            issuer.publish(kid)
        return issuer, TokenValidator(issuer.issuer, audience=issuer.audience, fetcher=issuer.fetcher(), clock=self.clock)

    def valid_tokens(self) -> Iterator[str]:
        """Yield valid tokens for ever."""
        return itertools.cycle(self.valid)

    def taken(self, latencies: Latencies) -> tuple[float, float]:
        """Take the calls of one round into the account; return their p50 and p99."""
        self.valid_calls += len(latencies.seconds)
        self.set_aside += latencies.set_aside
        return latencies.cuts()

    def note(self, victim: TokenValidator, code: str | None) -> None:
        """Take the verdict on a hostile token into the account; the neighbour's are not counted, but none may be accepted there either."""
        if code is None:
            self.accepted += 1
        elif victim is self.validator:
            self.refused[code] += 1

    def step(self, number: int) -> None:
        """Let time pass for the rules."""
        if number % STEP == 0:
            self.clock.passed += STEP * SECONDS_PER_TOKEN

    def bound(self) -> int:
        """Return how many requests R3 and R5 allow in the time that has passed."""
        policy, passed = RolloverPolicy(), self.clock.passed
        # Start-up and schedule read two documents each, and no line is drawn earlier than the jitter allows; an on-demand refresh reads one.
        scheduled = 1 + int(passed / (policy.refresh_interval * (1 - policy.refresh_jitter)))
        return 2 * scheduled + 1 + int(passed / policy.on_demand_interval)


def measure(tokens: int = TOKENS, rounds: int = ROUNDS) -> Hostile:
    """Measure.

    Args:
        tokens: Hostile tokens on the thread; a tenth of as many more come on the event loop.
        rounds: Pairs of rounds that they are divided into; the first one warms up as far as memory is concerned.
    """
    begun = time.perf_counter()
    stage, count = _Stage(), tokens // rounds
    junk = hostile_tokens(stage.issuer, random.Random(1))  # noqa: S311 - junk, not secrets
    pairs, warm = [], 0
    for number in range(rounds):
        quiet = _threads(stage, stage.neighbour, junk, count // QUIET_PART)
        pairs.append((quiet, _threads(stage, stage.validator, junk, count)))
        warm = resident() if number == 0 else warm
    loops = [
        (
            asyncio.run(_loop(stage, stage.neighbour, junk, count // LOOP_PART // QUIET_PART)),
            asyncio.run(_loop(stage, stage.validator, junk, count // LOOP_PART)),
        )
        for _ in range(rounds)
    ]
    growth = resident() - warm
    requests = len(stage.issuer.fetches.requests)
    return Hostile(
        tokens=sum(stage.refused.values()) + stage.accepted,
        refused=dict(stage.refused.most_common()),
        accepted=stage.accepted,
        valid_refused=stage.valid_refused,
        valid_calls=stage.valid_calls,
        set_aside=stage.set_aside,
        virtual_seconds=stage.clock.passed,
        elapsed_seconds=time.perf_counter() - begun,
        requests=requests,
        requests_bound=stage.bound(),
        memory_growth=growth,
        p50=statistics.median(hostile[0] / quiet[0] for quiet, hostile in pairs),
        p99=statistics.median(hostile[1] / quiet[1] for quiet, hostile in pairs),
        loop_p50=statistics.median(hostile[0] / quiet[0] for quiet, hostile in loops),
        loop_p99=statistics.median(hostile[1] / quiet[1] for quiet, hostile in loops),
    )


def hostile_tokens(issuer: FakeIssuer, chance: random.Random) -> Iterator[str]:
    """Yield hostile tokens for ever, of every kind in turn; each but those of the stuck client is a text of its own."""
    now = int(issuer.clock.wall())
    good = {"iss": issuer.issuer, "sub": "mallory", "aud": issuer.audience, "iat": now, "exp": now + 10 * 86_400}
    claims = {name: _segment({**good, **more}) for name, more in _FAULTS.items()}

    def token(header: Mapping[str, Any], payload: str = "none") -> str:
        return f"{_segment(header)}.{claims[payload]}.{base64url(chance.randbytes(256))}"

    def unknown() -> dict[str, str]:
        return {"alg": "RS256", "typ": "JWT", "kid": f"{chance.getrandbits(64):016x}"}

    kinds: tuple[Callable[[], str], ...] = (
        lambda: token(unknown()),
        lambda: token({"alg": "RS256", "typ": "JWT", "kid": chance.choice(("k1", "k2", "k3"))}),
        lambda: token({"alg": "RS256", "typ": "JWT"}),
        lambda: token({"alg": "RS256", "typ": "JWT", "kid": "a stuck client's"}),
        lambda: token(unknown(), chance.choice(tuple(_FAULTS)[1:])),
        lambda: token({**unknown(), **chance.choice(({"alg": "none"}, {"alg": "HS256"}, {"crit": ["x"]}, {"typ": "logout+jwt"}))}),
        lambda: token(unknown())[: chance.randrange(600)],
        lambda: chance.choice(("", "Bearer ", ".", "\0")) + base64url(chance.randbytes(chance.choice((10, 1_000, 15_000)))),
    )
    for kind in itertools.cycle(kinds):
        yield kind()


_FAULTS: Mapping[str, Mapping[str, Any]] = {
    "none": {},
    "issuer": {"iss": "https://issuer.test.evil.example"},
    "audience": {"aud": ["api://other"]},
    "expiry": {"exp": 1_000_000_000},
    "type": {"exp": "4102444800"},
    "binding": {"cnf": {"jkt": "x"}},
}
"""What is wrong with the claims."""


def resident() -> int:
    """Return the bytes of memory that the process holds now; where the system does not tell, the most that it ever held."""
    if _STATM.exists():
        return int(_STATM.read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1_024)


def _segment(part: Mapping[str, Any]) -> str:
    return base64url(json.dumps(part).encode())


def _threads(stage: _Stage, victim: TokenValidator, junk: Iterator[str], count: int) -> tuple[float, float]:
    """Return p50 and p99 of valid tokens on this thread while another one hands *count* hostile tokens to *victim*."""
    worker = threading.Thread(target=_attack, args=(stage, victim, junk, count), daemon=True)
    valid, latencies = stage.valid_tokens(), Latencies()
    worker.start()
    while worker.is_alive():
        token = next(valid)
        with latencies.timed():
            try:
                stage.validator.validate(token)
            except KeyturnError:
                stage.valid_refused += 1
        time.sleep(PAUSE)
    worker.join()
    return stage.taken(latencies)


def _attack(stage: _Stage, victim: TokenValidator, junk: Iterator[str], count: int) -> None:
    for number in range(count):
        stage.step(number)
        try:
            victim.validate(next(junk))
        except InvalidTokenError as error:
            stage.note(victim, error.code)
        else:
            stage.note(victim, None)


async def _loop(stage: _Stage, victim: TokenValidator, junk: Iterator[str], count: int) -> tuple[float, float]:
    """Return the same of valid tokens on an event loop, beside a task that hands *count* hostile tokens to *victim*."""

    async def attack() -> None:
        for number in range(count):
            stage.step(number)
            try:
                await victim.validate_async(next(junk))
            except InvalidTokenError as error:
                stage.note(victim, error.code)
            else:
                stage.note(victim, None)
            await asyncio.sleep(0)

    worker = asyncio.create_task(attack())
    valid, latencies = stage.valid_tokens(), Latencies()
    while not worker.done():
        token = next(valid)
        with latencies.timed():
            try:
                await stage.validator.validate_async(token)
            except KeyturnError:
                stage.valid_refused += 1
        await asyncio.sleep(0)
    await worker
    return stage.taken(latencies)
