"""The closing account of `keyturn demo`: what was accepted and refused, what was asked of the issuer, and whether the promises held.

Rules of this file:

1. Everything is computed from the record of the stage; no number and no verdict is known beforehand.
2. A promise is judged against what the rules said before each token was judged, and against the spacing of refreshes that the policy
   in force allows.
3. A promise without evidence is not kept: a story that tests nothing proves nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from keyturn._core.policy import RolloverPolicy
from keyturn.cli.stage import Outcome, Record, Sort, Stage, clock_text
from keyturn.events import FetchFailed, FetchSucceeded, RefreshReason

Refresh = FetchSucceeded | FetchFailed

ON_DEMAND: tuple[RefreshReason, ...] = ("unknown_key", "vanished_key")
"""Refreshes that tokens order (R5)."""


@dataclass(frozen=True, slots=True)
class Refreshes:
    """Refreshes of one kind.

    Attributes:
        kind: Which.
        made: How many there were.
        allowed: How many the rules allow at most in the time of the story.
        rule: The rule in a few words.
        closest: Virtual seconds between the two that were closest, or None with fewer than two.
    """

    kind: str
    made: int
    allowed: int
    rule: str
    closest: float | None


@dataclass(frozen=True, slots=True)
class PromiseKept:
    """One promise and its evidence.

    Attributes:
        promise: The promise.
        kept: Whether it was kept in this run.
        evidence: What shows it, in sentences.
    """

    promise: str
    kept: bool
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Account:
    """The account of one run.

    Attributes:
        seconds: Virtual seconds that the story took.
        outcomes: Tokens by what came.
        refused: (outcome, code, why) and how many, the most frequent first.
        requests: Requests that reached the issuer, by document.
        refreshes: Refreshes by kind.
        events: Events by name.
        promises: The three promises.
    """

    seconds: float
    outcomes: dict[Outcome, int]
    refused: tuple[tuple[tuple[Outcome, str, str], int], ...]
    requests: dict[str, int]
    refreshes: tuple[Refreshes, ...]
    events: dict[str, int]
    promises: tuple[PromiseKept, ...]

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return all(promise.kept for promise in self.promises)

    @property
    def sent(self) -> int:
        """How many tokens there were."""
        return sum(self.outcomes.values())

    def record(self) -> dict[str, Any]:
        """Return the account for JSON."""
        return {
            "type": "account",
            "kept": self.kept,
            "virtual_seconds": self.seconds,
            "tokens": {"sent": self.sent, **self.outcomes},
            "refused": [{"outcome": outcome, "code": code, "why": why, "count": count} for (outcome, code, why), count in self.refused],
            "requests": self.requests,
            "refreshes": [
                {"kind": kind.kind, "made": kind.made, "allowed": kind.allowed, "closest_seconds": kind.closest, "rule": kind.rule}
                for kind in self.refreshes
            ],
            "events": self.events,
            "promises": [{"promise": each.promise, "kept": each.kept, "evidence": list(each.evidence)} for each in self.promises],
        }


def account_of(stage: Stage) -> Account:
    """Return the account of everything that happened on *stage*."""
    record, policy, seconds = stage.record, stage.policy, stage.now
    outcomes: dict[Outcome, int] = {"accepted": 0, "refused": 0, "unavailable": 0}
    refused: Counter[tuple[Outcome, str, str]] = Counter()
    for sort, count in record.sorts.items():
        outcomes[sort.outcome] += count
        if sort.outcome != "accepted":
            refused[sort.outcome, sort.code, sort.why] += count
    requests = {"jwks": stage.issuer.fetches.jwks, "discovery": stage.issuer.fetches.discovery}
    return Account(
        seconds,
        outcomes,
        tuple(refused.most_common()),
        requests,
        _refreshes(record.refreshes, policy, seconds),
        dict(sorted(record.events.items())),
        (nobody_in(record), nobody_out(record, policy), never_hammered(record.refreshes, policy, requests, seconds)),
    )


# The promises.


def nobody_in(record: Record) -> PromiseKept:
    """Judge the first promise: what does not belong, or may not be trusted any more, is never accepted."""
    wrong = _count(record, lambda sort: sort.promise in {"refused", "unavailable"})
    slipped = _count(record, lambda sort: sort.promise in {"refused", "unavailable"} and sort.outcome == "accepted")
    sorts = len({sort.why for sort in record.sorts if sort.promise in {"refused", "unavailable"}})
    evidence = (f"{wrong:,} tokens of {sorts} sorts that must not be let in were sent; {slipped:,} were accepted",)
    return PromiseKept("Nobody in who does not belong.", wrong > 0 and not slipped, evidence)


def nobody_out(record: Record, policy: RolloverPolicy) -> PromiseKept:
    """Judge the second promise: what belongs is accepted, and an outage is told as 503."""
    good = _count(record, lambda sort: sort.promise == "accepted")
    lost = _count(record, lambda sort: sort.promise == "accepted" and sort.outcome != "accepted")
    outage = _count(record, lambda sort: sort.promise == "unavailable")
    blamed = _count(record, lambda sort: sort.promise == "unavailable" and sort.outcome == "refused")
    soon = _count(record, lambda sort: sort.promise == "accepted soon" and sort.outcome != "accepted")
    untold = _count(record, lambda sort: sort.promise == "accepted soon" and sort.outcome != "accepted" and not sort.later)
    longest = max((wait.until - wait.since for wait in record.waits.values() if wait.until is not None), default=0.0)
    never = [kid for kid, wait in record.waits.items() if wait.until is None]
    limit = policy.on_demand_interval
    kept = good > 0 and not lost and not blamed and not untold and not never and longest <= limit
    return PromiseKept(
        "Nobody out who belongs.",
        kept,
        (
            f"{good:,} tokens that the rules promise to accept were sent; {lost:,} were not accepted",
            f"{outage:,} came while nobody could know; {blamed:,} of them were told that they are bad",
            f"{soon:,} of a new key were told to come back, since the allowance was spent, for {longest:g} s; {limit:g} s are allowed",
        ),
    )


def never_hammered(refreshes: Sequence[Refresh], policy: RolloverPolicy, requests: dict[str, int], seconds: float) -> PromiseKept:
    """Judge the third promise: no refresh came before its time, and the issuer saw no request beside them."""
    early = _too_early(refreshes, policy)
    kinds = _refreshes(refreshes, policy, seconds)
    beside = max(0, *(count - len(refreshes) for count in requests.values()))
    within = all(kind.made <= kind.allowed for kind in kinds)
    on_demand = next(kind for kind in kinds if kind.kind == "on demand")
    closest = "" if on_demand.closest is None else f"; on demand {on_demand.closest:g} s apart or more, {policy.on_demand_interval:g} s is the rule"
    return PromiseKept(
        "The issuer is never hammered.",
        bool(refreshes) and not early and not beside and within,
        (
            f"{len(refreshes):,} refreshes in {clock_text(seconds).removeprefix('T+')} h of virtual time; {len(early):,} came too early{closest}",
            f"the issuer counted {requests['jwks']:,} requests for keys and {requests['discovery']:,} for discovery; {beside:,} beside the refreshes",
        ),
    )


def _count(record: Record, which: Callable[[Sort], bool]) -> int:
    return sum(count for sort, count in record.sorts.items() if which(sort))


# The refreshes.


def _refreshes(refreshes: Sequence[Refresh], policy: RolloverPolicy, seconds: float) -> tuple[Refreshes, ...]:
    line = policy.refresh_interval * (1 - policy.refresh_jitter)
    failures = sum(isinstance(refresh, FetchFailed) for refresh in refreshes)
    after_failure = {id(later) for earlier, later in pairwise(refreshes) if isinstance(earlier, FetchFailed)}
    planned = [refresh for refresh in refreshes if id(refresh) not in after_failure]
    demand = [refresh for refresh in planned if refresh.reason in ON_DEMAND]
    schedule = [refresh for refresh in planned if refresh.reason == "schedule"]
    starts = [refresh for refresh in planned if refresh.reason not in {*ON_DEMAND, "schedule"}]
    again = [refresh for refresh in refreshes if id(refresh) in after_failure]
    return (
        Refreshes("start", len(starts), 1, "once", _closest(starts)),
        Refreshes("schedule", len(schedule), int(seconds // line), f"not before the keys are {line / 3600:g} h old", _closest(schedule)),
        Refreshes(
            "on demand", len(demand), 1 + int(seconds // policy.on_demand_interval), f"once in {policy.on_demand_interval:g} s", _closest(demand)
        ),
        Refreshes("after a failure", len(again), failures, "one for each failure, after its pause", _closest(again)),
    )


def _closest(refreshes: Sequence[Refresh]) -> float | None:
    return min((later.at - earlier.at for earlier, later in pairwise(refreshes)), default=None)


def _too_early(refreshes: Sequence[Refresh], policy: RolloverPolicy) -> list[Refresh]:
    """Return the refreshes that no rule allowed at their time."""
    early = []
    line = policy.refresh_interval * (1 - policy.refresh_jitter)
    demanded = confirmed = float("-inf")
    for number, refresh in enumerate(refreshes):
        before = refreshes[number - 1] if number else None
        if isinstance(before, FetchFailed):
            # After a failure its pause alone decides, for every kind of refresh (R8).
            allowed = refresh.at >= before.at + before.retry_in
        elif refresh.reason in ON_DEMAND:
            allowed = refresh.at - demanded >= policy.on_demand_interval
        elif refresh.reason == "schedule":
            allowed = refresh.at - confirmed >= line
        else:
            allowed = before is None
        if not allowed:
            early.append(refresh)
        if refresh.reason in ON_DEMAND:
            demanded = refresh.at
        if isinstance(refresh, FetchSucceeded):
            confirmed = refresh.at
    return early
