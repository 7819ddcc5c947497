"""Plays the scenarios one after the other, and gathers what they come to.

Rules of this file:

1. The first scenario decides whether the rest is worth playing.
2. A scenario that cannot be played is a result, too; the others are played all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from keyturn.clock import real_seconds
from keyturn.drill.observations import Ask, Played
from keyturn.drill.plays import GOOD
from keyturn.drill.results import Conclusion, DrillResult, Result, concluded, useless
from keyturn.drill.scenarios import BASELINE, Scenario
from keyturn.drill.scenes import Scene, Scenes, Tell, scenes_of
from keyturn.drill.settings import Settings
from keyturn.drill.verdict import judged

_START_SECONDS = 1.5


class Listener(Protocol):
    """Is told how a drill goes."""

    def begins(self, number: int, scenario: Scenario) -> None:
        """Take in that the scenario of this number, from 1, begins."""
        ...

    def happens(self, what: str) -> None:
        """Take in what happens in it."""
        ...

    def ends(self, result: Result) -> None:
        """Take in what it came to."""
        ...


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long a drill takes.

    Attributes:
        least: Seconds that it takes at least.
        most: Seconds that it takes if every time is watched to its end, and a service that runs on has to be waited for twice each time.
        pauses: How many pauses are part of that.
    """

    least: float
    most: float
    pauses: int


def estimated(scenarios: Sequence[Scenario], settings: Settings) -> Estimate:
    """Return how long *scenarios* take; the time that a service needs to start is taken to be short."""
    pauses = 0 if settings.start else sum(scenario.refresh for scenario in scenarios)
    least = sum(scenario.seconds for scenario in scenarios) + pauses * settings.pause
    least += _START_SECONDS * len(scenarios) if settings.start else 0.0
    # A service whose keys are due after the pause reads them while it is brought to the known state, and is waited for once more.
    again = 0 if settings.start else 1 + sum(scenario.refresh and scenario.prepare is None for scenario in scenarios)
    most = least + sum(scenario.watches for scenario in scenarios) * settings.watch + again * settings.pause
    return Estimate(least, most, pauses)


def run_drill(settings: Settings, scenarios: Sequence[Scenario], listener: Listener, name: str = "") -> DrillResult:
    """Play *scenarios*, of which the first is the baseline, and return what they come to.

    Args:
        settings: How.
        scenarios: What.
        listener: Is told how it goes.
        name: What the service is called in reports; its URL unless given.

    Raises:
        ConfigurationError: A port is not free, or the command cannot be run.
    """
    begun = real_seconds()
    results: list[Result] = []
    conclusion: Conclusion | None = None
    why = ""
    with scenes_of(settings) as scenes:
        for number, scenario in enumerate(scenarios, 1):
            listener.begins(number, scenario)
            result, reachable = _played(scenario, scenes, settings, listener.happens)
            results.append(result)
            listener.ends(result)
            if scenario.name == BASELINE:
                conclusion, why = _after_baseline(result, reachable=reachable)
                if conclusion is not None:
                    break
    if conclusion is None:
        conclusion, why = concluded(tuple(results))
    left_out = tuple(scenario.name for scenario in scenarios[len(results) :])
    return DrillResult(settings, name or settings.url, tuple(results), conclusion, why, real_seconds() - begun, left_out)


def _played(scenario: Scenario, scenes: Scenes, settings: Settings, tell: Tell) -> tuple[Result, bool]:
    begun = real_seconds()
    with scenes.scene(scenario, tell) as scene:
        if not scene.trouble:
            scenario.play(scene.stage)
        played = _seen(scene, prepared=scenario.prepare is not None and bool(settings.start))
    result = Result(scenario, judged(played, scenario.checks), played, real_seconds() - begun, scene.output)
    return result, scene.reachable and not _silent(played.track(GOOD))


def _seen(scene: Scene, *, prepared: bool) -> Played:
    played = scene.stage.played(prepared=prepared, trouble=scene.trouble)
    code = scene.ended()
    return replace(played, trouble=f"the service ended with exit code {code}") if code is not None and not played.trouble else played


def _silent(asks: Sequence[Ask]) -> bool:
    return bool(asks) and all(ask.answer.status is None for ask in asks)


def _after_baseline(result: Result, *, reachable: bool) -> tuple[Conclusion | None, str]:
    if not reachable:
        return "could not know", result.verdict.reason
    why = useless(result.played)
    return ("proves nothing", why) if why else (None, "")
