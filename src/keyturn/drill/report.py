"""A drill as text and as JSON.

Rules of this file:

1. Text shows one scenario in a line or two: verdict, name, reason; then what could be learned beside it.
2. JSON holds every figure; it holds no token.
"""

from __future__ import annotations

from typing import Any, Final

from keyturn.drill.observations import OUTCOMES, tally
from keyturn.drill.results import DrillResult, Result
from keyturn.drill.scenarios import PROMISES, Scenario
from keyturn.drill.verdict import Level
from keyturn.errors import quoted

WORDS: Final[dict[Level, str]] = {"pass": "passed", "note": "note", "unknown": "not judged", "fail": "FAILED"}
"""What reports call each level."""

_MINUTE = 60.0
_SECONDS_UP_TO = 120.0


def duration(seconds: float) -> str:
    """Return *seconds* in the unit in which they are easy to read."""
    return f"{seconds:.0f} s" if seconds < _SECONDS_UP_TO else f"{seconds / _MINUTE:.0f} min"


def printable(text: str) -> str:
    """Return foreign text as it may stand in a report: escaped, and cut."""
    return quoted(text)[1:-1]


def scenario_lines(result: Result) -> list[str]:
    """Return the lines below the verdict of a scenario: its reason, other findings that are no pass, and the service's last words (1)."""
    verdict = result.verdict
    lines = [verdict.reason]
    lines += [f"{WORDS[each.level]}: {each.text}" for each in verdict.findings if each.level not in {verdict.level, "pass"}]
    if result.output:
        lines += ["the service wrote at last:", *(f"  {line}" for line in result.output)]
    return lines


def requests_told(result: Result) -> str:
    """Return how often the issuer was asked while a scenario was played."""
    count = len(result.played.requests)
    return f"{count} request{'' if count == 1 else 's'} to the issuer"


def total(drill: DrillResult) -> str:
    """Return the line with the counts."""
    counts = drill.counts
    parts = [f"{counts[level]} {words}" for level, words in _TOTALS.items() if counts[level]]
    return f"{len(drill.results)} scenarios in {duration(drill.seconds)}: {', '.join(parts)}."


_TOTALS: Final[dict[Level, str]] = {"pass": "passed", "note": "with a note", "unknown": "not judged", "fail": "failed"}


def scenario_record(scenario: Scenario) -> dict[str, Any]:
    """Return what a scenario is, for JSON."""
    return {
        "name": scenario.name,
        "promise": scenario.promise,
        "plays": scenario.plays,
        "expects": scenario.expects,
        "why": scenario.why,
    }


def record(drill: DrillResult) -> dict[str, Any]:
    """Return the drill for JSON (2)."""
    settings = drill.settings
    return {
        "type": "drill",
        "name": drill.name,
        "target": settings.url,
        "method": settings.method,
        "started": bool(settings.start),
        "audience": settings.audience,
        "algorithm": settings.algorithm,
        "watch": settings.watch,
        "pause": None if settings.start else settings.pause,
        "seconds": round(drill.seconds, 3),
        "conclusion": drill.conclusion,
        "why": drill.why,
        "counts": dict(drill.counts),
        "left_out": list(drill.left_out),
        "promises": dict(PROMISES),
        "scenarios": [_result_record(result) for result in drill.results],
    }


def _result_record(result: Result) -> dict[str, Any]:
    played = result.played
    return {
        **scenario_record(result.scenario),
        "verdict": result.verdict.level,
        "reason": result.verdict.reason,
        "findings": [{"level": finding.level, "text": finding.text} for finding in result.verdict.findings],
        "seconds": round(result.seconds, 3),
        "issuer_requests": {
            "total": len(played.requests),
            **{name: sum(request.document == name for request in played.requests) for name in ("jwks", "discovery")},
        },
        "steps": [{"at": round(step.at, 3), "what": step.what} for step in played.steps],
        "tokens": [_track_record(result, track) for track in played.tracks],
        "output": list(result.output),
    }


def _track_record(result: Result, track: str) -> dict[str, Any]:
    asks = result.played.track(track)
    seen = tally(asks)
    return {
        "sort": track,
        "asked": seen.asked,
        **{outcome.replace(" ", "_"): seen.outcomes.get(outcome, 0) for outcome in OUTCOMES},
        "statuses": sorted({ask.answer.status for ask in asks if ask.answer.status is not None}),
        "first_accepted_seconds": None if seen.first_accepted is None else round(seen.first_accepted, 3),
        "slowest_seconds": round(seen.slowest, 3),
        "accepted_labels": {label: result.played.facts.get(label, "") for label in seen.accepted},
    }
