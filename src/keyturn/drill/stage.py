"""What a scenario plays on: the issuer, the service, and the record of what was seen.

Rules of this file:

1. Every request is recorded with its sort, and everything that the issuer does is a step.
2. A wait ends as soon as what is waited for was seen.
3. Nothing is judged here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

from keyturn.clock import Deadline, real_seconds
from keyturn.drill.observations import Answer, Ask, IssuerRequest, Played, Step
from keyturn.drill.target import Target
from keyturn.testing.issuer import FakeIssuer

_SOON, _LATER, _SLOWER = 0.25, 1.0, 1.5
"""Seconds between two looks for something: at first, at most, and by what they grow."""

WORKERS: Final = 8
"""Requests that are under way at once where a flood is played."""


class DrillIssuer(FakeIssuer):
    """A fake issuer whose tokens hold further claims.

    Args:
        audience: Audience of its tokens.
        algorithm: Algorithm of its keys.
        kid: Kid of its first key.
        claims: Claims of every token that names none of that name.

    Attributes:
        algorithm: Algorithm of its keys.
        made: When it was made, on its wall clock.
    """

    def __init__(self, *, audience: str, algorithm: str, kid: str, claims: Mapping[str, Any]) -> None:
        super().__init__(audience=audience, algorithm=algorithm, kid=kid)
        self._more = dict(claims)
        self.algorithm = algorithm
        self.made = self.clock.wall()

    def token(self, **token: Any) -> str:
        """Return a token as `FakeIssuer.token()` does, with the further claims."""
        return super().token(**{**self._more, **token})

    def down_for_all(self, status: int, retry_after: int | None = None) -> Any:
        """Answer requests for both documents with an error."""
        return self.down(status, retry_after, document="both")


class Stage:
    """One scenario on its way.

    Args:
        issuer: The issuer, being served.
        target: The service.
        kids: New kids.
        base: Kid of the key that the service accepts when the scenario begins to play.
        watch: Seconds for which times are watched at most.
        tell: Called with what happens, for progress.

    Attributes:
        issuer: The issuer.
        base: Kid of the key that the service accepts.
        watch: Seconds for which times are watched at most.
        keys: Kids by the names that the preparation gave them.
        facts: What is known about labels beside their answers.
    """

    def __init__(self, issuer: DrillIssuer, target: Target, kids: Iterator[str], base: str, *, watch: float, tell: Callable[[str], None]) -> None:
        self.issuer, self.base, self.watch = issuer, base, watch
        self.keys: dict[str, str] = {}
        self.facts: dict[str, str] = {}
        self._target, self._kids, self._tell = target, kids, tell
        self._lock = threading.Lock()
        self._asks: list[Ask] = []
        self._steps: list[Step] = []
        self._made = real_seconds()
        self._reads_made = issuer.fetches.jwks
        self.begin()

    def begin(self) -> None:
        """Begin to play: instants and requests count from here."""
        self._zero = real_seconds()
        self._zero_of_issuer = self.issuer.clock.wall() - self.issuer.made
        self._read_before = self.issuer.fetches.jwks - self._reads_made
        self._earlier = len(self.issuer.fetches.requests)

    def played(self, *, prepared: bool, trouble: str = "") -> Played:
        """Return everything that was seen so far.

        Args:
            prepared: Whether the issuer published an unusual set already when the service was started.
            trouble: Why the scenario could not be played to its end.
        """
        with self._lock:
            asks, steps = sorted(self._asks, key=lambda ask: ask.at), tuple(self._steps)
        requests = self.issuer.fetches.requests[self._earlier :]
        seen = tuple(IssuerRequest(max(0.0, each.at - self._zero_of_issuer), each.document, each.outcome) for each in requests)
        return Played(tuple(asks), steps, seen, self._read_before, self._now(), self.watch, trouble, prepared, dict(self.facts))

    # The issuer.

    def step(self, what: str) -> None:
        """Record what the issuer does now."""
        with self._lock:
            self._steps.append(Step(self._now(), what))
        self._tell(what)

    def new_kid(self) -> str:
        """Return a kid that was never used before."""
        return next(self._kids)

    def publish_new(self, algorithm: str | None = None, **members: Any) -> str:
        """Publish a new key, which does not sign yet; return what steps call it."""
        kid = self.new_kid()
        self.issuer.publish(kid, algorithm, **members)
        return kid

    # The service.

    def ask(self, track: str, token: str | None, label: str = "") -> Answer:
        """Send a request and record what came."""
        at = self._now()
        answer = self._target.ask(token)
        with self._lock:
            self._asks.append(Ask(track, at, answer, label))
        return answer

    def ask_key(self, track: str, kid: str, label: str = "") -> Answer:
        """Send a good token of a key."""
        return self.ask(track, self.issuer.token(key=kid), label)

    def until_accepted(self, track: str, kid: str, limit: float | None = None) -> bool:
        """Send good tokens of a key until one is accepted, for *limit* seconds at most; return whether one was."""
        return self._until(lambda: self.ask_key(track, kid).outcome == "accepted", limit)

    def until_turned_away(self, track: str, kid: str, limit: float | None = None) -> bool:
        """Send tokens of a key until one is answered and not accepted, for *limit* seconds at most; return whether one was."""
        return self._until(lambda: self.ask_key(track, kid).outcome not in {"accepted", "no answer"}, limit)

    def ask_once(self, kid: str) -> Answer:
        """Send a good token of a key, unrecorded, before the scenario begins to play."""
        return self._target.ask(self.issuer.token(key=kid))

    def warm(self, limit: float | None = None) -> Answer:
        """Send tokens of the base key, unrecorded, until one is accepted; return the last answer."""
        answers: list[Answer] = []

        def look() -> bool:
            answers.append(self.ask_once(self.base))
            return answers[-1].outcome == "accepted"

        self._until(look, limit)
        return answers[-1]

    def keep_asking(self, tracks: Mapping[str, str], seconds: float, *, every: float = 0.2) -> None:
        """Send good tokens of some keys in turn.

        Args:
            tracks: Kids by track.
            seconds: For how long.
            every: Seconds from one round to the next.
        """
        until = Deadline(seconds)
        while True:
            following = Deadline(every)
            for track, kid in tracks.items():
                self.ask_key(track, kid)
            if until.left() <= following.left():
                pause(until.left())
                return
            pause(following.left())

    @contextmanager
    def meanwhile(self, track: str, tokens: Sequence[str], seconds: float) -> Iterator[None]:
        """Send tokens from several threads, evenly spread over *seconds*, while the context lasts; what is not sent by its end is left out."""
        over, begun = threading.Event(), real_seconds()

        def send(number: int, token: str) -> None:
            over.wait(max(0.0, begun + number * seconds / len(tokens) - real_seconds()))
            if not over.is_set():
                self.ask(track, token)

        with ThreadPoolExecutor(WORKERS, thread_name_prefix="keyturn-drill") as pool:
            try:
                for number, token in enumerate(tokens):
                    pool.submit(send, number, token)
                yield
            finally:
                over.set()

    def made_up(self, count: int) -> list[str]:
        """Return tokens that name keys that nobody has, each another one."""
        return [self.issuer.forge(key=self.new_kid()) for _ in range(count)]

    def _until(self, seen: Callable[[], bool], limit: float | None) -> bool:
        until, between = Deadline(self.watch if limit is None else min(limit, self.watch)), _SOON
        while True:
            if seen():
                return True
            if until.over():
                return False
            pause(min(between, until.left()))
            between = min(_LATER, between * _SLOWER)

    def _now(self) -> float:
        return real_seconds() - self._zero


def pause(seconds: float) -> None:
    """Do nothing for some seconds."""
    if seconds > 0:
        threading.Event().wait(seconds)
