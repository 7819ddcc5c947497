"""What invariants I1 to I3 allow, worked out from outside: from what the issuer answered and when, not from what the client thinks.

The model is told of every request for the key set (the fake issuer counts them) with the instant and the outcome, and keeps what
follows: which keys may verify, when the next request is allowed, and when a published key must pass.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from keyturn import RolloverPolicy

Published = dict[str, set[str]]
"""Thumbprints by kid."""

NAP, LONGEST_RETRY_AFTER = 60.0, 3_600.0


class Moment(NamedTuple):
    """What both clocks show."""

    monotonic: float
    wall: float

    def since(self, earlier: Moment) -> float:
        """Return the seconds from *earlier* to this moment: either clock may lie, so the larger counts (R14)."""
        return max(self.monotonic - earlier.monotonic, self.wall - earlier.wall)


@dataclass
class Gone:
    """A key that an answer lacked."""

    missed: Moment
    seen: Moment


@dataclass
class Model:
    """One process of one client, as the contract describes it."""

    policy: RolloverPolicy
    draw: float = 0.0
    answered: Moment | None = None
    published: Published = field(default_factory=dict)
    gone: dict[str, Gone] = field(default_factory=dict)
    lapsed: set[str] = field(default_factory=set)
    revoked: set[str] = field(default_factory=set)
    awaited_kids: set[str] = field(default_factory=set)
    tried: Moment | None = None
    demanded: Moment | None = None
    failed: Moment | None = None
    failures: int = 0
    pause: float = 0.0
    longest_pause: float = 0.0
    vain: set[str] = field(default_factory=set)
    owed: set[str] = field(default_factory=set)

    # Safety: which keys may verify.

    @property
    def current(self) -> set[str]:
        """The keys of the last answer."""
        return set().union(*self.published.values())

    def is_usable(self, now: Moment) -> bool:
        """Whether the last answer may vouch for anybody (R9)."""
        return self.answered is not None and now.since(self.answered) < self.policy.refresh_interval + self.policy.max_stale

    def allows(self, thumbprint: str | None, now: Moment) -> bool:
        """Whether a token of this key may pass (I1)."""
        if thumbprint is None or not self.is_usable(now) or thumbprint in self.revoked:
            return False
        return thumbprint in self.current or self.in_grace(thumbprint, now)

    def holds(self, thumbprint: str | None, now: Moment) -> bool:
        """Whether a token of this key has to pass: a grace that was seen to be over does not begin again because a clock was set back."""
        return self.allows(thumbprint, now) and thumbprint not in self.lapsed - self.current

    def looks(self, now: Moment) -> None:
        """Note which graces are over at a moment at which the client looks."""
        self.lapsed |= {key for key in self.gone if not self.in_grace(key, now)}

    def in_grace(self, thumbprint: str, now: Moment) -> bool:
        """Whether a key that an answer lacked serves on (R10)."""
        gone, grace = self.gone.get(thumbprint), self.policy.removed_key_grace
        return gone is not None and now.since(gone.missed) < grace and now.since(gone.seen) < self.policy.refresh_interval + grace

    # What requests do.

    def request(self, now: Moment, *, by_operator: bool) -> None:
        """Check that a request may be made at *now*, and note what kind it is (I3)."""
        if by_operator:
            return
        assert self.failed is None or now.since(self.failed) >= self.pause, "a request within the backoff (R8)"
        if self.is_due(now) or self.failed is not None:
            return
        assert self.has_allowance(now), "a request without allowance (R5)"
        self.demanded = now

    def takes(self, published: Published, asked: Moment, now: Moment) -> bool:
        """Take a good answer; return whether it brought other keys."""
        keys = set().union(*published.values())
        changed = keys != self.current
        if not self.is_usable(now):
            self.gone = {}
        elif self.answered is not None:
            self.gone.update({key: Gone(asked, self.answered) for key in self.current - keys})
        self.gone = {key: gone for key, gone in self.gone.items() if key not in keys and self.in_grace(key, now)}
        self.lapsed &= self.gone.keys()
        self.published, self.answered, self.tried, self.failed, self.failures = published, asked, asked, None, 0
        for kid in self.awaited_kids & published.keys():
            self.revoked |= published[kid]
        self.awaited_kids -= published.keys()
        # A refresh that found no change looked up in vain whatever was owed; a change ends every pause (R13).
        self.vain, self.owed = (set() if changed else self.vain | self.owed), set()
        return changed

    def fails(self, asked: Moment, now: Moment, retry_after: float | None) -> None:
        """Note a request that failed: the shortest and the longest pause after it (R8), none if the process slept through it (Z18)."""
        if now.since(asked) > NAP:
            return
        self.failed, self.tried, self.failures = now, asked, self.failures + 1
        told = 0.0 if retry_after is None else min(max(retry_after, 1.0), LONGEST_RETRY_AFTER)
        self.pause = max(self.policy.retry_min, told)
        self.longest_pause = max(min(self.policy.retry_min * 2 ** (self.failures - 1), self.policy.retry_max), told)

    def refuses(self, kid: str | None, *, looked_up: bool) -> None:
        """Note that a token of *kid* was refused: looked up in vain, or owed a look (R5, R13)."""
        if kid is not None:
            (self.vain if looked_up else self.owed).add(kid)

    # Liveness: when a published key must pass.

    def is_due(self, now: Moment) -> bool:
        """Whether the schedule's line is crossed, or nothing is held (R3)."""
        line = self.policy.refresh_interval * (1 - self.policy.refresh_jitter * self.draw)
        return self.answered is None or now.since(self.answered) >= line

    def is_untried(self, now: Moment) -> bool:
        """Whether the set is past due and nobody has tried to refresh it since the line (R3)."""
        if self.answered is None or now.since(self.answered) < self.policy.refresh_interval:
            return False
        return self.tried is None or not self.is_due(self.tried)

    def asks_first(self, now: Moment) -> bool:
        """Whether the set is not used before a refresh (R3)."""
        return self.is_untried(now) and not self.may_pause(now)

    def may_pause(self, now: Moment) -> bool:
        """Whether a failure may still keep the next request off, by the longest draw."""
        return self.failed is not None and now.since(self.failed) < self.longest_pause

    def has_allowance(self, now: Moment) -> bool:
        """Whether a token may order a refresh (R5)."""
        return self.demanded is None or now.since(self.demanded) >= self.policy.on_demand_interval

    def must_pass(self, kid: str | None, now: Moment) -> bool:
        """Whether a published key of *kid* must pass on its first request, if the issuer answers (I2)."""
        if self.may_pause(now):
            return False
        return self.is_due(now) or self.failed is not None or (kid not in self.vain and self.has_allowance(now))

    def longest_wait(self, kid: str | None, now: Moment) -> float:
        """Return the seconds after which it must pass at the latest, if the issuer answers (I2, U12)."""
        pause = self.policy.on_demand_interval_max if kid in self.vain else self.policy.on_demand_interval
        return max(pause, self.longest_pause if self.may_pause(now) else 0.0)
