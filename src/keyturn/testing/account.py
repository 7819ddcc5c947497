"""What was asked of a fake issuer, and what became of it.

Rules of this file:

1. Every request is counted when it arrives, whatever becomes of it.
2. The times in the account come from the issuer's clock.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from keyturn.clock import Clock

Document = Literal["discovery", "jwks", "metadata"]
"""The documents that an issuer publishes."""


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """One request in the account.

    Attributes:
        number: Place in the order of arrival, from 1.
        at: Seconds on the issuer's wall clock since the issuer was made.
        document: What was asked for; "unknown" for any other location.
        url: Location as asked for, under the issuer's public name.
        headers: Header fields as sent, names in lower case.
        outcome: What became of it, for people: a status and a length, or why there was no answer.
    """

    number: int
    at: float
    document: Document | Literal["unknown"]
    url: str
    headers: Mapping[str, str] = field(repr=False)
    outcome: str = "under way"


class Fetches:
    """The account of what was asked of an issuer, answered or not; safe to read from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._start = clock.wall()
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._requests: dict[int, ReceivedRequest] = {}

    @property
    def requests(self) -> tuple[ReceivedRequest, ...]:
        """Every request since the start or the last `clear()`, in order of arrival."""
        with self._lock:
            return tuple(self._requests.values())

    @property
    def discovery(self) -> int:
        """How often the discovery document was asked for."""
        return sum(request.document == "discovery" for request in self.requests)

    @property
    def jwks(self) -> int:
        """How often the key set was asked for."""
        return sum(request.document == "jwks" for request in self.requests)

    @property
    def metadata(self) -> int:
        """How often federation metadata was asked for."""
        return sum(request.document == "metadata" for request in self.requests)

    def expect(self, *, discovery: int | None = None, jwks: int | None = None, metadata: int | None = None) -> None:
        """Check the counts that are given.

        Raises:
            AssertionError: A count differs; the text lists every request.
            ValueError: No count was given, so nothing would be checked.
        """
        __tracebackhide__ = True
        expectations = {"discovery": discovery, "jwks": jwks, "metadata": metadata}
        if not any(expected is not None for expected in expectations.values()):
            raise ValueError("expect() was given no count, expected discovery=, jwks=, metadata= or several of them")
        requests = self.requests
        wrong = [
            f"expected {expected} {document} request{'' if expected == 1 else 's'}, got {got}"
            for document, expected in expectations.items()
            if expected is not None and expected != (got := sum(request.document == document for request in requests))
        ]
        if wrong:
            raise AssertionError("; ".join(wrong) + "\n" + _table(requests))

    def clear(self) -> None:
        """Forget every request so far, those under way included."""
        with self._lock:
            self._requests.clear()

    def arrived(self, document: Document | None, url: str, headers: Mapping[str, str]) -> int:
        """Enter a request; return its number."""
        lower = {name.lower(): value for name, value in headers.items()}
        at = self._clock.wall() - self._start
        with self._lock:
            number = next(self._numbers)
            self._requests[number] = ReceivedRequest(number, at, document or "unknown", url, lower)
        return number

    def ended(self, number: int, outcome: str) -> None:
        """Enter what became of request *number*, unless it was forgotten meanwhile."""
        with self._lock:
            if number in self._requests:
                self._requests[number] = replace(self._requests[number], outcome=outcome)


def _table(requests: tuple[ReceivedRequest, ...]) -> str:
    if not requests:
        return "no request was received"
    lines = [f"{r.number:>4}  {r.at:>+12.3f} s  {r.document:<9}  {r.outcome}" for r in requests]
    return "\n".join([f"{len(requests)} received (number, seconds since the issuer was made, document, outcome):", *lines])
