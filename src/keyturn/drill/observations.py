"""What a drill sees: answers of the service, steps of the issuer, requests to the issuer. Plain data, without a clock or a socket.

Rules of this file:

1. Instants are seconds since the scenario began to play; durations are seconds.
2. An answer is sorted by its status alone. Whatever is not accepted keeps nobody in, and what was answered is told as it is.
3. No token is kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Outcome = Literal["accepted", "refused", "unavailable", "error", "other", "no answer"]
"""What became of a request: 2xx (or what `--accept` says); 401 or 403; 503; another 5xx; any other status; no status at all."""

OUTCOMES: Final[tuple[Outcome, ...]] = ("accepted", "refused", "unavailable", "error", "other", "no answer")
"""Every outcome, in the order in which reports show them."""

DEFAULT_ACCEPT: Final = frozenset(range(200, 300))
"""Statuses that mean that a token was accepted, unless the caller says otherwise."""

_REFUSALS = (401, 403)
_UNAVAILABLE = 503
_SERVER_ERRORS = 500


def outcome_of(status: int | None, accept: Collection[int] = DEFAULT_ACCEPT) -> Outcome:
    """Return what *status* says about a token (2); None means that no answer came.

    Args:
        status: HTTP status.
        accept: Statuses that mean that it was accepted.
    """
    if status is None:
        return "no answer"
    if status in accept:
        return "accepted"
    if status in _REFUSALS:
        return "refused"
    if status == _UNAVAILABLE:
        return "unavailable"
    return "error" if status >= _SERVER_ERRORS else "other"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service made of one request.

    Attributes:
        outcome: What became of it.
        status: HTTP status, or None.
        seconds: How long the answer took.
        why: Why there was none, or an empty string.
    """

    outcome: Outcome
    status: int | None
    seconds: float
    why: str = ""

    @property
    def told(self) -> str:
        """The answer in a few words."""
        return f"no answer: {self.why}" if self.status is None else f"{self.status} {self.outcome}" if self.outcome != "other" else str(self.status)


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to the service.

    Attributes:
        track: Which sort of token was sent.
        at: When it was sent.
        answer: What came.
        label: Which one of its sort it was, or an empty string.
    """

    track: str
    at: float
    answer: Answer
    label: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the token was accepted."""
        return self.answer.outcome == "accepted"


@dataclass(frozen=True, slots=True)
class Step:
    """Something that the issuer did.

    Attributes:
        at: When.
        what: What, in words.
    """

    at: float
    what: str


@dataclass(frozen=True, slots=True)
class IssuerRequest:
    """A request of the service to the issuer.

    Attributes:
        at: When it came.
        document: What was asked for.
        outcome: What the issuer answered, in words.
    """

    at: float
    document: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Played:
    """Everything that was seen while one scenario was played.

    Attributes:
        asks: Requests to the service, in the order in which they were sent.
        steps: What the issuer did.
        requests: What was asked of the issuer since the scenario began to play.
        read_before: How often the key set was read between its preparation and then: at the start of the service.
        seconds: How long it took.
        watch: For how long times were watched at most.
        trouble: Why the scenario could not be played to its end, or an empty string.
        prepared: Whether the issuer published an unusual set already when the service was started.
        facts: What is known about labels beside their answers.
    """

    asks: tuple[Ask, ...] = ()
    steps: tuple[Step, ...] = ()
    requests: tuple[IssuerRequest, ...] = ()
    read_before: int = 0
    seconds: float = 0.0
    watch: float = 60.0
    trouble: str = ""
    prepared: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)

    def track(self, name: str) -> tuple[Ask, ...]:
        """Return the requests with tokens of one sort."""
        return tuple(ask for ask in self.asks if ask.track == name)

    @property
    def tracks(self) -> tuple[str, ...]:
        """Every sort of token that was sent, in the order of their first request."""
        return tuple(dict.fromkeys(ask.track for ask in self.asks))

    @property
    def reads(self) -> int:
        """How often the key set was asked for since the scenario began to play."""
        return sum(request.document == "jwks" for request in self.requests)


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the tokens of one sort.

    Attributes:
        asked: How many were sent.
        outcomes: How many of them came to what; outcomes that did not occur are left out.
        first_accepted: Seconds from the first request to the one that was accepted first, or None.
        slowest: Seconds of the slowest answer.
        accepted: Labels of those that were accepted, if they have labels.
    """

    asked: int
    outcomes: Mapping[Outcome, int]
    first_accepted: float | None
    slowest: float
    accepted: tuple[str, ...]


def tally(asks: Iterable[Ask]) -> Tally:
    """Return what became of *asks*."""
    everything = tuple(asks)
    counts = {outcome: sum(ask.answer.outcome == outcome for ask in everything) for outcome in OUTCOMES}
    accepted = [ask for ask in everything if ask.accepted]
    return Tally(
        len(everything),
        {outcome: count for outcome, count in counts.items() if count},
        accepted[0].at - everything[0].at if accepted else None,
        max((ask.answer.seconds for ask in everything), default=0.0),
        tuple(dict.fromkeys(ask.label for ask in accepted if ask.label)),
    )
