"""Made-up histories with the habits of real issuers, by name.

The numbers are those of the public records that "Defaults and their reasons" names; what is left to chance follows the seed alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from types import MappingProxyType
from typing import Final

from keyturn.errors import ConfigurationError, quoted
from keyturn.simulation.history import History, Observation, Signing

_START = datetime(2025, 1, 1, tzinfo=UTC).timestamp()
_MINUTE, _HOUR, _DAY = 60.0, 3_600.0, 86_400.0

_GAPS = ((5, 30, 46), (30, 60, 22), (60, 120, 10), (120, 360, 8), (360, 510, 1))
"""Minutes from and to, and how many gaps of that length Entra's keys showed in the week that was sampled every 5 to 30 minutes."""

_MISSING = 0.03
"""Part of its life that a key of Entra was missing."""


@dataclass(frozen=True, slots=True)
class Synthetic:
    """A made-up history.

    Attributes:
        summary: What happens, in a few words.
        make: Returns the history for a source of random numbers.
    """

    summary: str
    make: Callable[[random.Random], History]


def synthetic_history(name: str, seed: int) -> History:
    """Return the made-up history *name* for *seed*.

    Raises:
        ConfigurationError: There is none of that name.
    """
    if name not in SYNTHETIC:
        raise ConfigurationError(f"synthetic history is {quoted(name)}, expected one of {', '.join(SYNTHETIC)}")
    # Not for secrets: the same seed has to give the same history.
    return SYNTHETIC[name].make(random.Random(f"{name}/{seed}"))  # noqa: S311


@dataclass(frozen=True, slots=True)
class _Life:
    """One stay of a key in the set, in seconds since the start."""

    kid: str
    start: float
    end: float


def _history(name: str, lives: list[_Life], days: float, signing: list[tuple[float, str]] | None = None) -> History:
    """Return the history in which each key is published during its lives."""
    end = days * _DAY
    times = sorted({0.0, end, *(instant for life in lives for instant in (life.start, life.end) if 0 < instant < end)})
    return History(
        f"synthetic:{name}",
        # The last observation says nothing new: a history ends at its last one.
        tuple(Observation(_START + time, frozenset(life.kid for life in lives if life.start <= min(time, times[-2]) < life.end)) for time in times),
        f"https://{name}.test",
        tuple(Signing(_START + time, kid) for time, kid in signing or ()),
    )


def _planned(chance: random.Random) -> History:
    """Every 27 days a new key, ten days of overlap, signing from the middle of them: Battle.net's rhythm."""
    every, overlap = 27 * _DAY, 10 * _DAY
    born = [-every, *(number * every + chance.uniform(0, _DAY) for number in range(3))]
    lives = [_Life(f"k{number}", start, (*born, 3 * every)[number + 1] + overlap) for number, start in enumerate(born)]
    signing = [(max(0.0, life.start + overlap / 2), life.kid) for life in lives]
    return _history("planned", lives, 70, signing)


def _emergency(chance: random.Random) -> History:
    """The signing key is withdrawn without notice; one that was published all along takes over, so no new key tells of it."""
    stolen, days = 3 * _DAY + chance.uniform(0, _DAY), 8.0
    lives = [_Life("k1", 0, stolen), *(_Life(kid, 0, days * _DAY) for kid in ("k2", "k3")), _Life("k4", stolen + 2 * _DAY, days * _DAY)]
    return _history("emergency", lives, days, [(0, "k1"), (stolen, "k2")])


def _hard_cut_over(chance: random.Random) -> History:
    """About every two weeks the one key of the set is replaced, and the new one signs in the same second."""
    cuts = [0.0, *(14 * _DAY * number + chance.uniform(-_DAY, _DAY) for number in range(1, 5)), 70 * _DAY]
    lives = [_Life(f"k{number + 1}", start, end) for number, (start, end) in enumerate(pairwise(cuts))]
    return _history("hard-cut-over", lives, 70, [(life.start, life.kid) for life in lives])


def _flapping_replicas(chance: random.Random) -> History:
    """Keys that live for five weeks, a new one every four to five days, each missing 3 % of the time: Microsoft Entra."""
    days, every, life = 60.0, 4.6 * _DAY, 36 * _DAY
    lives: list[_Life] = []
    for number in range(-7, 14):
        start = number * every + chance.uniform(0, _DAY)
        lives += _with_gaps(chance, f"k{number + 8}", start, start + life)
    return _history("flapping-replicas", [life for life in lives if life.end > 0], days)


def _with_gaps(chance: random.Random, kid: str, start: float, end: float) -> list[_Life]:
    weights = [count for _, _, count in _GAPS]
    average = sum((low + high) / 2 * count for low, high, count in _GAPS) / sum(weights) * _MINUTE
    lives: list[_Life] = []
    since = start
    while True:
        # Never shorter than a minute: two gaps that touch would be one.
        until = since + max(_MINUTE, chance.expovariate(_MISSING / (average * (1 - _MISSING))))
        ((low, high, _),) = chance.choices(_GAPS, weights)
        back = until + chance.uniform(low, high) * _MINUTE
        if back >= end:
            return [*lives, _Life(kid, since, end)]
        lives.append(_Life(kid, since, until))
        since = back


def _weekly(chance: random.Random) -> History:
    """Of three keys the oldest leaves each week in the very second in which a new one comes: Spotify's rhythm."""
    steps = [number * 7 * _DAY + chance.uniform(0, _HOUR) for number in range(-3, 14)]
    lives = [_Life(f"k{number + 1}", steps[number], steps[number + 3]) for number in range(len(steps) - 3)]
    return _history("weekly", lives, 65)


SYNTHETIC: Final[Mapping[str, Synthetic]] = MappingProxyType(
    {
        "planned": Synthetic("a new key every 27 days, published 5 days before it signs, 10 days of overlap", _planned),
        "emergency": Synthetic("the signing key is withdrawn without notice, a published one takes over", _emergency),
        "hard-cut-over": Synthetic("every two weeks one key replaces the other and signs in the same second", _hard_cut_over),
        "flapping-replicas": Synthetic("keys vanish for minutes to hours and return, 3 % of the time in all", _flapping_replicas),
        "weekly": Synthetic("of three keys the oldest is replaced each week, in one step", _weekly),
    }
)
"""The made-up histories by their names."""
