"""What a drill comes to: a result for each scenario, and a conclusion.

Rules of this file:

1. A finding counts whatever could not be judged beside it; what could not be judged counts before what passed.
2. A service that accepts everything or nothing proves nothing, and then nothing else is said about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from keyturn.drill.observations import Played
from keyturn.drill.plays import EXPIRED, FORGED, GOOD, NO_JWT, NO_TOKEN
from keyturn.drill.scenarios import Scenario
from keyturn.drill.settings import Settings
from keyturn.drill.verdict import LEVELS, Level, Verdict

Conclusion = Literal["passed", "findings", "proves nothing", "could not know"]
"""What a whole drill comes to."""

EXIT_CODES: Final[dict[Conclusion, int]] = {"passed": 0, "findings": 1, "proves nothing": 3, "could not know": 3}
"""Exit code of each conclusion."""

_WRONG = (NO_TOKEN, NO_JWT, FORGED, EXPIRED)


@dataclass(frozen=True, slots=True)
class Result:
    """One scenario.

    Attributes:
        scenario: Which.
        verdict: What is to be thought of it.
        played: What was seen.
        seconds: How long it took in all, start and waiting included.
        output: The last lines that the service wrote, if it did not start.
    """

    scenario: Scenario
    verdict: Verdict
    played: Played
    seconds: float
    output: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DrillResult:
    """A whole drill.

    Attributes:
        settings: How it was run.
        name: What the service is called in reports.
        results: Scenarios that were played, in order.
        conclusion: What it comes to.
        why: That in words.
        seconds: How long it took.
        left_out: Names of scenarios that were not played, since nothing would have been proved.
    """

    settings: Settings
    name: str
    results: tuple[Result, ...]
    conclusion: Conclusion
    why: str
    seconds: float
    left_out: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[Level, int]:
        """How many scenarios there are of each level."""
        return {level: sum(result.verdict.level == level for result in self.results) for level in LEVELS}

    @property
    def exit_code(self) -> int:
        """0 if all passed, 1 with findings, 3 if nobody can know."""
        return EXIT_CODES[self.conclusion]


def useless(baseline: Played) -> str:
    """Return why nothing can be learned from a service that answered the first scenario so, or an empty string (2)."""
    good = baseline.track(GOOD)
    if not good:
        return ""
    if not any(ask.accepted for ask in good):
        answered = [ask.answer for ask in good if ask.answer.status is not None]
        if not answered:
            return ""
        return f"the service accepts no token: {len(good)} good ones were sent, its last answer was {answered[-1].told}, so the drill proves nothing"
    if all(ask.accepted for track in _WRONG for ask in baseline.track(track)):
        return "the service accepts everything, even requests without a token, so the drill proves nothing"
    return ""


def concluded(results: tuple[Result, ...]) -> tuple[Conclusion, str]:
    """Return what *results* come to, and why (1)."""
    by_level = {level: [result.scenario.name for result in results if result.verdict.level == level] for level in LEVELS}
    if by_level["fail"]:
        return "findings", f"failed: {', '.join(by_level['fail'])}"
    if by_level["unknown"]:
        return "could not know", f"not judged: {', '.join(by_level['unknown'])}"
    return "passed", "every scenario passed" + (f", with a note on {', '.join(by_level['note'])}" if by_level["note"] else "")
