"""What several replays are told as: a row of a table for each policy, or an object for JSON.

Rules of this file:

1. A figure is the average over the phases; where they differ, least and most stand behind it.
2. JSON holds every figure in seconds and counts, the table rounds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keyturn._core.policy import RolloverPolicy
from keyturn.simulation.figures import Spread, Spreads
from keyturn.simulation.history import History
from keyturn.simulation.policies import FELT

HEAD = ("POLICY", "REFUSED", "SHARE", "REFUSED FOR", "LONGEST", "503", "503 FOR", "TRUST AFTER REMOVAL", "FETCHES/DAY", "MOST IN A DAY")
"""Names of the columns."""

_MINUTE, _HOUR, _DAY = 60.0, 3_600.0, 86_400.0
_SECONDS_UP_TO, _MINUTES_UP_TO = 10 * _MINUTE, 2 * _HOUR
_SMALL, _LARGE = 10, 100


@dataclass(frozen=True, slots=True)
class Setting:
    """How the replays were made.

    Attributes:
        step: Seconds between two tokens of one key.
        phases: How many replays with schedules of their own.
        seed: What their random numbers follow.
    """

    step: float
    phases: int
    seed: int


@dataclass(frozen=True, slots=True)
class Result:
    """One policy in one history.

    Attributes:
        history: The history.
        name: The policy as it was asked for.
        policy: Its numbers.
        figures: What came of it.
    """

    history: History
    name: str
    policy: RolloverPolicy
    figures: Spreads

    @property
    def served_all(self) -> bool:
        """Whether no good token was turned away, in any phase."""
        return not any(spread is not None and spread.most for spread in (self.figures["refused"], self.figures["unavailable"]))


def title(history: History) -> str:
    """Return one line about *history*."""
    keys = f"{len(history.kids)} keys, {len(history.removed)} of them removed for good"
    outages = f", {len(history.outages)} outages" if history.outages else ""
    return f"{history.name}: {(history.end - history.start) / _DAY:.1f} days, {keys}{outages}"


def row(result: Result) -> tuple[str, ...]:
    """Return the row of *result* below `HEAD`."""
    figures = result.figures
    return (
        result.name,
        _cell(figures["refused"], _count),
        _cell(figures["refused_share"], _percent),
        _cell(figures["refused_seconds"], duration),
        _cell(figures["longest_refusal"], duration),
        _cell(figures["unavailable"], _count),
        _cell(figures["unavailable_seconds"], duration),
        _cell(figures["longest_trust"], duration),
        _cell(figures["fetches_per_day"], _count),
        _cell(figures["most_fetches_in_a_day"], _count),
    )


def record(result: Result, setting: Setting) -> dict[str, Any]:
    """Return *result* for JSON."""
    history = result.history
    return {
        "type": "result",
        "history": history.name,
        "issuer": history.issuer,
        "seconds": history.end - history.start,
        "keys": len(history.kids),
        "removed": len(history.removed),
        "policy": result.name,
        "settings": {name: getattr(result.policy, name) for name in FELT},
        "step": setting.step,
        "phases": setting.phases,
        "seed": setting.seed,
        "figures": {name: spread and {"mean": spread.mean, "least": spread.least, "most": spread.most} for name, spread in result.figures.items()},
    }


def duration(seconds: float) -> str:
    """Return *seconds* in the unit in which they are easy to read."""
    if seconds < _SECONDS_UP_TO:
        return f"{seconds:.0f} s" if seconds else "0"
    return f"{seconds / _MINUTE:.0f} min" if seconds < _MINUTES_UP_TO else f"{seconds / _HOUR:.1f} h"


def _cell(spread: Spread | None, show: Callable[[float], str]) -> str:
    if spread is None:
        return "-"
    mean, least, most = (show(value) for value in (spread.mean, spread.least, spread.most))
    return mean if least == most else f"{mean} ({least} to {most})"


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= _LARGE or value == int(value) else f"{value:.1f}" if value >= _SMALL else f"{value:.2f}"


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %" if value else "0"
