"""Judges what a scenario saw: checks that are pure functions, and the verdict that follows from their findings.

Rules of this file:

1. A check reads observations and returns findings; nothing here asks, waits or reads a clock.
2. The worst finding decides: fail, then unknown, then note, then pass. A scenario without a finding passed nothing and is unknown.
3. A good token that was turned away within the time that was watched, and accepted later, is a note with its time; never accepted, a fail.
4. Where a standard or a library leaves a choice, the finding is a note.
5. Silence refuses nothing: a bad token without an answer, or an issuer that was not asked because hardly a token was judged, is no pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from keyturn.drill.observations import Ask, Played

Level = Literal["pass", "note", "unknown", "fail"]
"""How bad a finding is; "unknown" says that it could not be judged."""

LEVELS: Final[tuple[Level, ...]] = ("pass", "note", "unknown", "fail")
"""Every level, the worst last."""

_NAMED = 40
_EXPLAINED = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        level: How bad it is.
        text: What was seen, in one line.
    """

    level: Level
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be thought of a scenario.

    Attributes:
        level: The worst level of its findings.
        reason: The findings of that level, in one line.
        findings: All of them.
    """

    level: Level
    reason: str
    findings: tuple[Finding, ...]


Check = Callable[[Played], Iterable[Finding]]
"""Reads observations and says what it finds."""


def judged(played: Played, checks: Iterable[Check]) -> Verdict:
    """Return the verdict of *checks* on what was seen (2)."""
    if played.trouble and not played.asks:
        return _verdict([Finding("fail" if played.prepared else "unknown", played.trouble)])
    findings = [Finding("fail", played.trouble)] if played.trouble else []
    return _verdict([*findings, *(finding for check in checks for finding in check(played))])


def _verdict(findings: Sequence[Finding]) -> Verdict:
    if not findings:
        return Verdict("unknown", "nothing was seen", ())
    level = max((finding.level for finding in findings), key=LEVELS.index)
    return Verdict(level, "; ".join(finding.text for finding in findings if finding.level == level), tuple(findings))


# Good tokens.


def stays_accepted(track: str) -> Check:
    """Return the check that every token of *track* was accepted; one that was not is a fail."""

    def check(played: Played) -> list[Finding]:
        asks = played.track(track)
        lost = [ask for ask in asks if not ask.accepted]
        if not asks:
            return [_unasked(track)]
        if not lost:
            return [Finding("pass", f"{track}: accepted {_times(len(asks))}")]
        return [
            Finding("fail", f"{track}: {len(lost)} of {len(asks)} turned away, first after {lost[0].at:.1f} s ({lost[0].answer.told}){_of(lost)}")
        ]

    return check


def becomes_accepted(track: str) -> Check:
    """Return the check that tokens of *track* are accepted at the first request, or within the time watched (3), and from then on."""

    def check(played: Played) -> list[Finding]:
        asks = played.track(track)
        if not asks:
            return [_unasked(track)]
        before = [ask for ask in asks[: _first_accepted(asks)] if not ask.accepted]
        after = asks[len(before) :]
        if not after:
            asked = f"the issuer was asked {_times(played.reads)} for its keys"
            return [Finding("fail", f"{track}: not within {played.watch:g} s (last answer: {asks[-1].answer.told}; {asked})")]
        lost = [ask for ask in after if not ask.accepted]
        findings = [_waited(track, before, after[0])]
        if lost:
            findings.append(Finding("fail", f"{track}: accepted, then {len(lost)} of {len(after) - 1} turned away ({lost[0].answer.told})"))
        return findings

    return check


def _first_accepted(asks: Sequence[Ask]) -> int:
    return next((number for number, ask in enumerate(asks) if ask.accepted), len(asks))


def _waited(track: str, before: Sequence[Ask], first: Ask) -> Finding:
    if not before:
        return Finding("pass", f"{track}: accepted at the first request, in {first.answer.seconds:.2f} s")
    waited = first.at - before[0].at
    return Finding("note", f"{track}: accepted after {waited:.1f} s; {_good(len(before))} turned away until then ({before[0].answer.told})")


def each_accepted(track: str) -> Check:
    """Return the check that each label of *track* was accepted at its last request; others are a fail that names them."""

    def check(played: Played) -> list[Finding]:
        last = {ask.label: ask for ask in played.track(track)}
        if not last:
            return []
        lost = [ask for ask in last.values() if not ask.accepted]
        if not lost:
            return [Finding("pass", f"{track}: each of {len(last)} accepted")]
        return [Finding("fail", f"{track}: {len(lost)} of {len(last)} turned away ({lost[0].answer.told}){_of(lost)}")]

    return check


def answered_within(track: str, seconds: float) -> Check:
    """Return the check that no answer to a token of *track* took longer than *seconds*."""

    def check(played: Played) -> list[Finding]:
        asks = played.track(track)
        slow = [ask for ask in asks if ask.answer.seconds > seconds]
        slowest = max((ask.answer.seconds for ask in asks), default=0.0)
        if slow:
            return [Finding("fail", f"{track}: {len(slow)} of {len(asks)} answers took longer than {seconds:g} s, the slowest {slowest:.1f} s")]
        return [Finding("pass", f"{track}: slowest answer {slowest:.2f} s")] if asks else []

    return check


# Bad tokens.


def never_accepted(track: str, *, level: Level = "fail", told: str = "accepted, although none may be", silent: Level = "unknown") -> Check:
    """Return the check that no token of *track* was accepted; the finding of *level* names those that were.

    Args:
        track: The sort of token.
        level: How bad it is if one was accepted.
        told: What is said of those.
        silent: How bad it is if one got no answer (5).
    """

    def check(played: Played) -> list[Finding]:
        asks = played.track(track)
        if not asks:
            return [_unasked(track)]
        slipped, mute = [ask for ask in asks if ask.accepted], [ask for ask in asks if ask.answer.status is None]
        findings = [Finding(level, f"{track}: {len(slipped)} of {len(asks)} {told}{_of(slipped, played)}")] if slipped else []
        if mute:
            findings.append(Finding(silent, f"{track}: {len(mute)} of {len(asks)} not judged ({mute[0].answer.told}){_of(mute)}"))
        return findings or [Finding("pass", f"{track}: none of {len(asks)} accepted")]

    return check


def tells_no_errors(track: str) -> Check:
    """Return the check that no token of *track* was answered with a server error other than 503; one is a note."""

    def check(played: Played) -> list[Finding]:
        errors = [ask for ask in played.track(track) if ask.answer.outcome == "error"]
        return [Finding("note", f"{track}: {len(errors)} answered with a server error ({errors[0].answer.told}){_of(errors)}")] if errors else []

    return check


def told_for_information(track: str) -> Check:
    """Return the check that says what became of *track*, where good services differ; never worse than a note (4)."""

    def check(played: Played) -> list[Finding]:
        asks = played.track(track)
        if not asks:
            return []
        words = "still accepted" if asks[-1].accepted else f"no longer accepted ({asks[-1].answer.told})"
        return [Finding("pass", f"{track}: {words}")]

    return check


def ends_accepted(track: str) -> Check:
    """Return the check that says when tokens of *track* were refused; a service that still accepts them earns a note (4)."""

    def check(played: Played) -> list[Finding]:
        asks = played.track(track)
        if not asks:
            return [_unasked(track)]
        refused = next((ask for ask in asks if not ask.accepted and ask.answer.status is not None), None)
        if refused is None and not asks[-1].accepted:
            return [Finding("unknown", f"{track}: not judged ({asks[-1].answer.told})")]
        if refused is None:
            return [Finding("note", f"{track}: still accepted; refused not within {played.watch:g} s")]
        return [Finding("pass", f"{track}: refused after {refused.at - asks[0].at:.1f} s ({refused.answer.told})")]

    return check


# The issuer.


def requests_at_most(track: str, limit: int, seconds: float) -> Check:
    """Return the check that the issuer was asked at most *limit* times; more is a fail.

    Args:
        track: The sort of token whose keys nobody has; as few of them answered as requests are allowed show nothing (5).
        limit: Requests for any document.
        seconds: How long tokens were sent, for the text.
    """

    def check(played: Played) -> list[Finding]:
        made, asks = len(played.requests), played.track(track)
        answered = sum(ask.answer.status is not None for ask in asks)
        text = f"issuer asked {_times(made)} in {seconds:g} s of unknown keys, at most {limit} allowed"
        if made <= limit and answered <= limit:
            return [Finding("unknown", f"not judged: {text}, but only {answered} of them got an answer")]
        return [Finding("fail" if made > limit else "pass", text)]

    return check


def retry_after_obeyed(seconds: int) -> Check:
    """Return the check that nothing was asked for again while the issuer's Retry-After of *seconds* ran; more is a note."""

    def check(played: Played) -> list[Finding]:
        documents = [request.document for request in played.requests]
        again = len(documents) - len(set(documents))
        return [Finding("note", f"asked {_times(again)} again before the issuer's Retry-After of {seconds} s was over")] if again else []

    return check


def told_if_unasked(played: Played) -> Iterable[Finding]:
    """Say that the service did not ask the issuer at all, so that its state could not be felt: a note, for nothing else was seen (5)."""
    if not played.requests:
        yield Finding("note", "the issuer was not asked meanwhile, so what the service does when it asks in vain was not seen")


def set_was_taken(track: str) -> Check:
    """Return the check that the service reads a set and accepts the good key of it; a set that it never asked for is unknown."""

    def check(played: Played) -> list[Finding]:
        asks = played.track(track)
        if not asks:
            return [_unasked(track)]
        if asks[-1].accepted:
            return [Finding("pass", f"{track}: accepted")]
        if not played.reads + played.read_before:
            return [Finding("unknown", f"not judged: the service did not ask for the new set within {played.watch:g} s")]
        return [Finding("fail", f"{track}: the service read the set, and turns a good key of it away ({asks[-1].answer.told})")]

    return check


def _unasked(track: str) -> Finding:
    return Finding("unknown", f"{track}: no token was sent")


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _good(count: int) -> str:
    return "1 good token was" if count == 1 else f"{count} good tokens were"


def _of(asks: Iterable[Ask], played: Played | None = None) -> str:
    """Return the labels of *asks*, behind a colon, with what is known about them."""
    labels = list(dict.fromkeys(ask.label for ask in asks if ask.label))
    if not labels:
        return ""
    facts = {} if played is None else played.facts
    explained = len(labels) <= _EXPLAINED
    shown = [f"{label} ({facts[label].rstrip('.')})" if explained and label in facts else label for label in labels[:_NAMED]]
    more = f" and {len(labels) - _NAMED} more" if len(labels) > _NAMED else ""
    return ": " + ", ".join(shown) + more
