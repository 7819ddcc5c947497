"""Verdicts of the drill follow from what was seen, and from nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from keyturn.drill.observations import OUTCOMES, Answer, Ask, IssuerRequest, Outcome, Played, outcome_of, tally
from keyturn.drill.plays import EXPIRED, FORGED, GOOD, NO_JWT, NO_TOKEN
from keyturn.drill.results import Result, concluded, useless
from keyturn.drill.scenarios import BASELINE, PROMISES, SCENARIOS, chosen
from keyturn.drill.verdict import (
    Check,
    Finding,
    Level,
    Verdict,
    answered_within,
    becomes_accepted,
    each_accepted,
    ends_accepted,
    judged,
    never_accepted,
    requests_at_most,
    retry_after_obeyed,
    set_was_taken,
    stays_accepted,
    tells_no_errors,
    told_for_information,
    told_if_unasked,
)
from keyturn.errors import ConfigurationError

STATUS: dict[Outcome, int | None] = {"accepted": 200, "refused": 401, "unavailable": 503, "error": 500, "other": 404, "no answer": None}
LETTERS: dict[str, Outcome] = {"a": "accepted", "r": "refused", "u": "unavailable", "e": "error", "o": "other", "n": "no answer"}


def asks(track: str, outcomes: str, *, every: float = 1.0, seconds: float = 0.01, labels: Sequence[str] = ()) -> tuple[Ask, ...]:
    """Return requests whose outcomes are the letters of *outcomes*, one after the other."""
    answers = [Answer(LETTERS[letter], STATUS[LETTERS[letter]], seconds, "ReadTimeout" if letter == "n" else "") for letter in outcomes]
    return tuple(Ask(track, number * every, answer, labels[number] if labels else "") for number, answer in enumerate(answers))


def seen(outcomes: str, *, requests: int = 0, watch: float = 60.0, **more: object) -> Played:
    """Return what was seen of one sort of token, `t`."""
    asked = tuple(IssuerRequest(number * 0.1, "jwks", "200, 400 bytes") for number in range(requests))
    return Played(asks("t", outcomes), requests=asked, watch=watch, **more)


def verdict(check: Check, played: Played) -> Verdict:
    """Return the verdict of one check."""
    return judged(played, [check])


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        *((200, "accepted"), (204, "accepted"), (301, "other"), (400, "other"), (401, "refused"), (403, "refused"), (404, "other")),
        *((429, "other"), (500, "error"), (502, "error"), (503, "unavailable"), (None, "no answer")),
    ],
)
def test_an_answer_is_sorted_by_its_status(status: int | None, outcome: Outcome) -> None:
    """2xx is accepted, 401 and 403 are refused, 503 is unavailable, other 5xx are errors."""
    assert outcome == outcome_of(status)


def test_other_statuses_can_mean_accepted() -> None:
    """`--accept` decides first, so that a service that answers 404 or 403 to a good request can be drilled."""
    accept = frozenset({404, 403})
    assert ["accepted", "accepted", "other", "refused"] == [outcome_of(status, accept) for status in (404, 403, 200, 401)]


@pytest.mark.parametrize(
    ("check", "outcomes", "level"),
    [
        (stays_accepted("t"), "aaa", "pass"),
        (stays_accepted("t"), "aar", "fail"),
        (stays_accepted("t"), "u", "fail"),
        (stays_accepted("t"), "ana", "fail"),
        (stays_accepted("t"), "", "unknown"),
        (becomes_accepted("t"), "a", "pass"),
        (becomes_accepted("t"), "aaa", "pass"),
        (becomes_accepted("t"), "rra", "note"),
        (becomes_accepted("t"), "uua", "note"),
        (becomes_accepted("t"), "rrr", "fail"),
        (becomes_accepted("t"), "n", "fail"),
        (becomes_accepted("t"), "rar", "fail"),
        (becomes_accepted("t"), "ara", "fail"),
        (becomes_accepted("t"), "", "unknown"),
        (never_accepted("t"), "rueo", "pass"),
        (never_accepted("t"), "rn", "unknown"),
        (never_accepted("t"), "na", "fail"),
        (never_accepted("t", silent="note"), "rn", "note"),
        (never_accepted("t"), "rra", "fail"),
        (never_accepted("t", level="note"), "a", "note"),
        (never_accepted("t"), "", "unknown"),
        (tells_no_errors("t"), "e", "note"),
        (ends_accepted("t"), "aar", "pass"),
        (ends_accepted("t"), "r", "pass"),
        (ends_accepted("t"), "anr", "pass"),
        (ends_accepted("t"), "ana", "note"),
        (ends_accepted("t"), "ann", "unknown"),
        (ends_accepted("t"), "aaa", "note"),
        (ends_accepted("t"), "", "unknown"),
        (told_for_information("t"), "a", "pass"),
        (told_for_information("t"), "r", "pass"),
        (answered_within("t", 0.5), "a", "pass"),
        (answered_within("t", 0.005), "a", "fail"),
        (set_was_taken("t"), "ra", "pass"),
        (set_was_taken("t"), "rr", "unknown"),
        (set_was_taken("t"), "", "unknown"),
    ],
)
def test_each_check_judges_what_was_seen(check: Check, outcomes: str, level: Level) -> None:
    """The level of the finding follows from the outcomes, in their order."""
    assert level == verdict(check, seen(outcomes)).level


def test_a_time_is_measured_or_longer_than_what_was_watched() -> None:
    """A key that is accepted late is told with its time; one that never was, with the time watched, and how often the issuer was asked."""
    late, never = verdict(becomes_accepted("t"), seen("rrra")), verdict(becomes_accepted("t"), seen("rrr", requests=2, watch=7.5))
    assert "t: accepted after 3.0 s; 3 good tokens were turned away until then (401 refused)" == late.reason
    assert "t: not within 7.5 s (last answer: 401 refused; the issuer was asked twice for its keys)" == never.reason
    assert "t: refused after 2.0 s (401 refused)" == verdict(ends_accepted("t"), seen("aar")).reason
    assert "t: still accepted; refused not within 7.5 s" == verdict(ends_accepted("t"), seen("aaa", watch=7.5)).reason


def test_bad_tokens_that_were_accepted_are_named_with_what_is_wrong() -> None:
    """Few are explained, many are only named; those that were refused are not."""
    names = ["alg-none", "expired", "utf-16", "no-exp", "twice"]
    facts = {name: f"It is {name}." for name in names}
    two = Played(asks("t", "arrar", labels=names), facts=facts)
    assert "t: 2 of 5 accepted, although none may be: alg-none (It is alg-none), no-exp (It is no-exp)" == verdict(never_accepted("t"), two).reason
    five = Played(asks("t", "aaaaa", labels=names), facts=facts)
    assert verdict(never_accepted("t"), five).reason.endswith(": alg-none, expired, utf-16, no-exp, twice")


def test_what_was_turned_away_is_named() -> None:
    """Of labelled tokens the last answer counts, and those that were not accepted are named."""
    played = Played(asks("t", "rarr", labels=["k1", "k1", "k2", "k3"]))
    assert "t: 2 of 3 turned away (401 refused): k2, k3" == verdict(each_accepted("t"), played).reason
    assert "pass" == verdict(each_accepted("t"), Played(asks("t", "ra", labels=["k1", "k1"]))).level


@pytest.mark.parametrize(
    ("outcomes", "requests", "level"),
    [
        *(("rrrrrr", 0, "pass"), ("rrrrrr", 5, "pass"), ("rrrrrr", 6, "fail")),
        # Each of the five may have cost a request: that is within the bound for want of tokens.
        *(("rrrrr", 5, "unknown"), ("rrrrrnnnnn", 5, "unknown"), ("", 0, "unknown"), ("rrr", 6, "fail")),
    ],
)
def test_the_issuer_is_asked_within_the_bound(outcomes: str, requests: int, level: Level) -> None:
    """The bound is stated, and itself allowed; it is judged only if more tokens than that were answered."""
    found = verdict(requests_at_most("t", 5, 10.0), seen(outcomes, requests=requests))
    assert level == found.level
    assert "at most 5 allowed" in found.reason


def test_bad_tokens_without_an_answer_are_named() -> None:
    """Silence is no refusal: whoever reads the report knows which tokens were not judged, and why."""
    played = Played(asks("t", "rnr", labels=["alg-none", "expired", "utf-16"]))
    assert "t: 1 of 3 not judged (no answer: ReadTimeout): expired" == verdict(never_accepted("t"), played).reason


def test_a_retry_after_is_obeyed_if_nothing_is_asked_twice() -> None:
    """One request for each document finds out; a second one for the same is a note."""
    assert () == tuple(retry_after_obeyed(60)(seen("r", requests=1)))
    both = Played(asks("t", "r"), requests=(IssuerRequest(0, "discovery", "429"), IssuerRequest(0, "jwks", "429"), IssuerRequest(1, "jwks", "429")))
    (finding,) = retry_after_obeyed(60)(both)
    assert Finding("note", "asked once again before the issuer's Retry-After of 60 s was over") == finding


def test_an_issuer_that_was_not_asked_is_told() -> None:
    """An outage that nobody felt is no plain pass."""
    (finding,) = told_if_unasked(seen("a"))
    assert ("note", True) == (finding.level, finding.text.startswith("the issuer was not asked meanwhile"))
    assert [] == list(told_if_unasked(seen("a", requests=1)))


def test_an_order_that_changed_unseen_is_no_plain_pass() -> None:
    """A service that did not read the set again was judged by its first reading alone."""
    (scenario,) = (each for each in SCENARIOS if each.name == "reordered-set")
    taken, order = asks("another new key", "a"), asks("keys of the set", "aa", labels=["k1", "k2"])
    assert "note" == judged(Played(taken + order + asks("new key", "rr")), scenario.checks).level
    assert "pass" == judged(Played(taken + order + asks("new key", "ra")), scenario.checks).level


def test_a_set_that_was_read_and_not_used_is_a_failure() -> None:
    """Only a set that was never asked for cannot be judged, whether it was read at the start or later."""
    assert "fail" == verdict(set_was_taken("t"), seen("r", requests=1)).level
    assert "fail" == verdict(set_was_taken("t"), seen("r", read_before=1)).level


def test_the_worst_finding_decides() -> None:
    """Fail, unknown, note, pass, in this order; the reason is that of the worst level alone, the rest stands beside it."""
    order: list[Level] = ["pass", "note", "unknown", "fail"]
    for worst in range(4):
        found = judged(seen("a"), [lambda _played, level=level: [Finding(level, f"it is {level}")] for level in order[: worst + 1]])
        assert (order[worst], f"it is {order[worst]}", worst + 1) == (found.level, found.reason, len(found.findings))


def test_a_scenario_that_saw_nothing_is_unknown() -> None:
    """No finding is no pass."""
    assert "unknown" == judged(Played(), []).level


def test_a_service_that_does_not_start_fails_only_over_what_the_issuer_published() -> None:
    """Before an ordinary key set it could not be judged; before a set that a scenario prepared it failed that scenario."""
    assert ("unknown", "it died") == (judged(Played(trouble="it died"), [stays_accepted("t")]).level, judged(Played(trouble="it died"), []).reason)
    assert "fail" == judged(Played(trouble="it died", prepared=True), [stays_accepted("t")]).level
    # It ended while it was asked: that is a failure whatever was prepared.
    assert "fail" == judged(seen("a", trouble="it died"), [stays_accepted("t")]).level


def test_a_tally_counts_every_outcome_once() -> None:
    """The sum of the outcomes is what was asked; the first acceptance is measured from the first request."""
    counted = tally(asks("t", "rueona"))
    assert dict.fromkeys(OUTCOMES, 1) == dict(counted.outcomes)
    assert (6, 5.0) == (counted.asked, counted.first_accepted)
    assert (0, None) == (tally(()).asked, tally(()).first_accepted)


def baseline(good: str, *wrong: str) -> Played:
    """Return what a baseline saw: outcomes of good tokens, and one outcome each of the four wrong requests."""
    tracks = (NO_TOKEN, NO_JWT, FORGED, EXPIRED)
    return Played(asks(GOOD, good) + tuple(ask for track, outcome in zip(tracks, wrong, strict=True) for ask in asks(track, outcome)))


def test_a_service_that_tells_nothing_apart_is_useless() -> None:
    """All accepted, or no good token accepted: nothing is proved. One wrong request refused is enough to go on."""
    assert "accepts everything" in useless(baseline("a", "a", "a", "a", "a"))
    assert "accepts no token" in useless(baseline("rr", "r", "r", "r", "r"))
    assert "its last answer was 401 refused" in useless(baseline("rrn", "r", "r", "r", "r"))
    assert "" == useless(baseline("nn", "n", "n", "n", "n"))
    assert "" == useless(baseline("a", "a", "a", "r", "a"))
    assert "" == useless(baseline("a", "r", "r", "r", "r"))
    assert "fail" == judged(baseline("a", "a", "a", "r", "a"), SCENARIOS[0].checks).level


def result(name: str, level: Level) -> Result:
    """Return a result of this level."""
    (scenario,) = (each for each in SCENARIOS if each.name == name)
    return Result(scenario, Verdict(level, "because", ()), Played(), 1.0)


@pytest.mark.parametrize(
    ("levels", "conclusion"),
    [
        (("pass", "pass"), "passed"),
        (("pass", "note"), "passed"),
        (("note", "unknown"), "could not know"),
        (("unknown", "fail"), "findings"),
    ],
)
def test_the_conclusion_follows_from_all_results(levels: tuple[Level, Level], conclusion: str) -> None:
    """A failure counts before what could not be judged, and that before what passed; a note is no failure. The scenarios are named."""
    got, why = concluded((result("cut-over", levels[0]), result("no-alg", levels[1])))
    assert conclusion == got
    assert "pass" == levels[1] or "no-alg" in why


def test_scenarios_have_names_of_their_own_and_one_promise_each() -> None:
    """The first is the baseline; every promise is tested by some scenario."""
    names = [scenario.name for scenario in SCENARIOS]
    assert len(names) == len(set(names))
    assert BASELINE == names[0]
    assert set(PROMISES) == {scenario.promise for scenario in SCENARIOS}


def test_chosen_scenarios_are_played_behind_the_baseline_in_their_order() -> None:
    """Without it nothing would be proved; the order of the call means nothing, and no choice is all."""
    assert ["baseline", "cut-over", "no-alg"] == [scenario.name for scenario in chosen(["no-alg", "cut-over"])]
    assert SCENARIOS == chosen([])


def test_an_unknown_scenario_is_refused_by_name() -> None:
    """The message names it, the hint says where names are."""
    with pytest.raises(ConfigurationError, match="no-such") as refused:
        chosen(["cut-over", "no-such"])
    assert "--list" in refused.value.hint
