"""What a replay comes to: how often good tokens were turned away, how long a removed key was trusted, what was asked of the issuer.

Rules of this file:

1. A refusal is a 401 to a good token; a 503 is counted by itself, since it blames nobody.
2. Times are counted in steps: what is refused at a step is refused until the next one.
3. A key is trusted until the last step after which a token of it would still be accepted, whether anybody sends one or not.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from statistics import fmean

from keyturn._core.policy import RolloverPolicy
from keyturn.simulation.history import History
from keyturn.simulation.replay import STEP, Replay, Span

_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one replay.

    Attributes:
        tokens: Good tokens that came.
        refused: Those that were answered with 401.
        refused_share: Their part of all: the part of live key-time that was refused.
        refused_seconds: Seconds in which good tokens of at least one key were refused.
        longest_refusal: Seconds of the longest refusal of one key.
        unavailable: Good tokens that were answered with 503.
        unavailable_seconds: Seconds in which at least one was.
        longest_trust: Seconds for which a key was trusted after it was removed for good; None if none was removed.
        fetches_per_day: Requests for the key set in a day, on the average.
        most_fetches_in_a_day: The most in one of the days since the history began.
    """

    tokens: int
    refused: int
    refused_share: float
    refused_seconds: float
    longest_refusal: float
    unavailable: int
    unavailable_seconds: float
    longest_trust: float | None
    fetches_per_day: float
    most_fetches_in_a_day: int


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over several replays.

    Attributes:
        mean: The average.
        least: The smallest.
        most: The largest.
    """

    mean: float
    least: float
    most: float


Spreads = dict[str, Spread | None]
"""The spread of every figure by its name; None for one that has no value in this history."""


def figures_of(replay: Replay, history: History, watch: Callable[[Span], None] = lambda _: None) -> Figures:
    """Play *replay* to its end and return its figures.

    Args:
        replay: A replay that has not been played yet.
        history: Its history.
        watch: Called with every span.
    """
    tally = _Tally(history, replay.step)
    for span in replay.spans():
        tally.add(span)
        watch(span)
    days = Counter(int((fetch.at - history.start) // _DAY) for fetch in replay.fetches)
    return Figures(
        tokens=tally.tokens,
        refused=tally.refused,
        refused_share=tally.refused / tally.tokens if tally.tokens else 0.0,
        refused_seconds=tally.refused_steps * replay.step,
        longest_refusal=tally.longest_refusal * replay.step,
        unavailable=tally.unavailable,
        unavailable_seconds=tally.unavailable_steps * replay.step,
        longest_trust=tally.longest_trust if history.removed else None,
        fetches_per_day=len(replay.fetches) * _DAY / (history.end - history.start),
        most_fetches_in_a_day=max(days.values(), default=0),
    )


def replay_of(history: History, policy: RolloverPolicy, *, step: float = STEP, seed: int = 1, phase: int = 0) -> Replay:
    """Return the replay number *phase* of those that *seed* stands for: its schedule begins anywhere in the interval."""
    # Not for secrets: the same seed has to give the same replay.
    chance = random.Random(f"{seed}/{phase}")  # noqa: S311
    return Replay(history, policy, step=step, phase=chance.random(), draw=chance.random)


def spreads(figures: Sequence[Figures]) -> Spreads:
    """Return average, least and most of every figure."""
    columns = {field.name: [getattr(each, field.name) for each in figures] for field in fields(Figures)}
    return {name: None if None in values else Spread(fmean(values), min(values), max(values)) for name, values in columns.items()}


class _Tally:
    """Adds the spans of one replay up."""

    def __init__(self, history: History, step: float) -> None:
        self.tokens = self.refused = self.unavailable = 0
        self.refused_steps = self.unavailable_steps = self.longest_refusal = 0
        self.longest_trust = 0.0
        self._removed = history.removed
        self._step = step
        self._runs: dict[str, int] = {}

    def add(self, span: Span) -> None:
        verdicts = span.verdicts.values()
        refused, unavailable = (sum(each == verdict for each in verdicts) for verdict in ("refused", "unavailable"))
        self.tokens += len(verdicts) * span.steps
        self.refused += refused * span.steps
        self.unavailable += unavailable * span.steps
        self.refused_steps += bool(refused) * span.steps
        self.unavailable_steps += bool(unavailable) * span.steps
        self._runs = {kid: self._runs.get(kid, 0) + span.steps for kid, verdict in span.verdicts.items() if verdict == "refused"}
        self.longest_refusal = max([self.longest_refusal, *self._runs.values()])
        last = span.start + (span.steps - 1) * self._step
        for kid in span.trusted & self._removed.keys():
            self.longest_trust = max(self.longest_trust, last - self._removed[kid])
