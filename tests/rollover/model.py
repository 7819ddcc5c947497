"""What invariants I1 to I3 allow, worked out from outside: from what the issuer answered and when, not from what the client thinks.

The model is told of every request for the key set (the fake issuer counts them) with the instant and the outcome, and keeps the three
things that follow: which keys may verify, when the next request is allowed, and of what kind the last one was.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from keyturn import RolloverPolicy
from keyturn.clock import Instant

Published = dict[str, set[str]]
"""Thumbprints by kid."""


@dataclass
class Gone:
    """A key that an answer lacked."""

    missed: Instant
    seen: Instant


@dataclass
class Model:
    """One process of one client, as the contract describes it."""

    policy: RolloverPolicy
    answered: Instant | None = None
    current: set[str] = field(default_factory=set)
    gone: dict[str, Gone] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    awaited_kids: set[str] = field(default_factory=set)
    demanded: Instant | None = None
    failed: Instant | None = None
    pause: float = 0.0

    def is_usable(self, now: Instant) -> bool:
        """Whether the last answer may vouch for anybody (R9)."""
        return self.answered is not None and now.since(self.answered) < self.policy.refresh_interval + self.policy.max_stale

    def allows(self, thumbprint: str, now: Instant) -> bool:
        """Whether a token of this key may pass (I1)."""
        if not self.is_usable(now) or thumbprint in self.revoked:
            return False
        return thumbprint in self.current or self.in_grace(thumbprint, now)

    def in_grace(self, thumbprint: str, now: Instant) -> bool:
        """Whether a key that an answer lacked serves on (R10)."""
        gone, grace = self.gone.get(thumbprint), self.policy.removed_key_grace
        return gone is not None and now.since(gone.missed) < grace and now.since(gone.seen) < self.policy.refresh_interval + grace

    def takes(self, published: Published, asked: Instant, now: Instant) -> None:
        """Take a good answer."""
        keys = set().union(*published.values())
        if not self.is_usable(now):
            self.gone = {}
        elif self.answered is not None:
            self.gone.update({key: Gone(asked, self.answered) for key in self.current - keys})
        self.gone = {key: gone for key, gone in self.gone.items() if key not in keys and self.in_grace(key, now)}
        self.current, self.answered, self.failed = keys, asked, None
        for kid in self.awaited_kids & published.keys():
            self.revoked |= published[kid]
        self.awaited_kids -= published.keys()

    def request(self, now: Instant, *, by_operator: bool) -> None:
        """Check that a request may be made at *now*, and note what kind it is (I3)."""
        if by_operator:
            return
        assert self.failed is None or now.since(self.failed) >= self.pause, "a request within the backoff (R8)"
        due = self.answered is None or now.since(self.answered) >= self.policy.refresh_interval * (1 - self.policy.refresh_jitter)
        if due or self.failed is not None:
            return
        assert self.demanded is None or now.since(self.demanded) >= self.policy.on_demand_interval, "a request without allowance (R5)"
        self.demanded = now

    def fails(self, now: Instant, retry_after: float | None) -> None:
        """Note a failed request: the least pause, or what the issuer asked for."""
        self.failed, self.pause = now, max(self.policy.retry_min, min(retry_after or 0.0, 3_600.0))

    def longest_wait(self, now: Instant) -> float:
        """Return the seconds within which a healthy issuer's key must pass (I2, U12)."""
        backoff = 0.0 if self.failed is None else max(self.policy.retry_max, self.pause)
        return max(self.policy.on_demand_interval_max, self.policy.on_demand_interval, backoff)
