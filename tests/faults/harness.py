"""What every row of the fault matrix is proved with: one client under one fault, watched from all sides.

A row says what happens to a caller whose key is not held while the fault lasts. `Scene.fails()` and `Scene.works()` play the row for
one way to call, one number of callers, cold or warm; whatever the row, `Scene.close()` then asserts the five invariants.

Rules of this file:

1. Time passes on the virtual clock alone. Only the deadline of a refresh is real, and short.
2. Nobody in (I1): every token that was forged here is put to the client during the fault and after it.
3. Nobody out (I2): a held key serves during the fault, and the new key does as soon as the fault is over and the pause has passed.
4. The issuer is not hammered (I3): refreshes are counted where they begin, requests where they arrive.
5. Bounded (I4): a caller with a held key asks nothing and waits for nothing.
6. Nothing leaks (I5): only `KeyturnError`, no thread, no socket, and no text of a token in an error, an event or a log line.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.contract.drivers import AUDIENCE, DRIVERS, Driver, quiet, until

from keyturn import Event, InvalidTokenError, KeySetClient, KeysUnavailableError, KeyturnError, RolloverPolicy, TokenValidator, ValidatedToken
from keyturn.events import FetchFailed
from keyturn.testing import FakeClock, FakeIssuer

QUICK = RolloverPolicy(deadline=0.5, connect_timeout=0.15)
"""The default numbers, with a deadline and a connect time-out that tests can wait out."""

PATIENT = RolloverPolicy()
"""The default numbers: five seconds in all."""

UNHURRIED = RolloverPolicy(deadline=15.0)
"""The default numbers for rows in which nothing is ever waited for in vain, so that a busy machine breaks none of them."""

REQUESTS_A_REFRESH = 2
HEALING_TRIES = 8
"""A machine that is busy may miss half a second; the fault itself would last for ever."""


class Case(NamedTuple):
    """How a row is played.

    Attributes:
        driver: Name of the way to call: `thread`, `asyncio` or `trio`.
        callers: Callers at once.
        warm: Whether the keys were read before the fault began.
    """

    driver: str
    callers: int
    warm: bool

    @property
    def name(self) -> str:
        """What pytest shows."""
        return f"{self.driver}-{self.callers}-{'warm' if self.warm else 'cold'}"

    @property
    def calling(self) -> Driver:
        """The way to call."""
        return DRIVERS[self.driver]


CASES = [Case(*parts) for parts in itertools.product(DRIVERS, (1, 50), (False, True))]
"""Every way to play a row about callers."""

ONE_EACH = [Case("thread", 1, warm=False), Case("asyncio", 50, warm=True)]
"""For the second and later variants of a row whose first was played in every way."""

Fault = Callable[[], AbstractContextManager[object]]


class Scene:
    """One client of one issuer, watched; a context manager that asserts the invariants at its end.

    Args:
        case: How to play.
        issuer: Mints the tokens, and says what is published; its clock is the client's.
        policy: The numbers.
        requests: Returns how many requests arrived so far; those of the issuer's in-process fetcher unless given.
        **client: Further settings of the client; `fetcher` is the issuer's in-process one unless given.
    """

    def __init__(
        self,
        case: Case = CASES[0],
        issuer: FakeIssuer | None = None,
        *,
        policy: RolloverPolicy = QUICK,
        requests: Callable[[], int] | None = None,
        **client: Any,
    ) -> None:
        self.case = case
        self.issuer = issuer or FakeIssuer(clock=FakeClock())
        assert isinstance(self.issuer.clock, FakeClock), "expected an issuer on a virtual clock"
        self.clock = self.issuer.clock
        self.events: list[Event] = []
        self.accepted: list[str] = []
        self.refusals: list[BaseException] = []
        self._tokens: list[str] = []
        self._bad: list[str] = []
        self._logged: list[str] = []
        self._threads = threading.enumerate()
        self._files = open_files()
        self._began = self.clock.monotonic()
        client.setdefault("fetcher", self.issuer.fetcher())
        handlers = client.pop("on_event", ())
        self.client = KeySetClient(self.issuer.issuer, policy=policy, clock=self.clock, on_event=(self.events.append, *handlers), **client)
        self.validator = TokenValidator(self.client, audience=AUDIENCE)
        self.requests = requests or (lambda: len(self.issuer.fetches.requests))
        self._first_requests = self.requests()

    # Tokens.

    def token(self, **token: Any) -> str:
        """Return a good token of the signing key."""
        self._tokens.append(self.issuer.token(**token))
        return self._tokens[-1]

    def bad(self, token: str) -> str:
        """Take note of a token that nobody may ever accept; return it."""
        self._tokens.append(token)
        self._bad.append(token)
        return token

    def roll(self, kid: str = "k2") -> str:
        """Publish a new key and sign with it; return a token of it."""
        self.issuer.publish(kid)
        self.issuer.promote(kid)
        return self.token()

    # Calling.

    def call(self, *tokens: str, callers: int | None = None) -> list[Any]:
        """Return what becomes of each token, all put at once; a single one is put by every caller of the case."""
        many = list(tokens) if len(tokens) > 1 else list(tokens) * (callers or self.case.callers)
        outcomes = self.case.calling.start(self.validator, many).done()
        for token, outcome in zip(many, outcomes, strict=True):
            assert isinstance(outcome, (ValidatedToken, KeyturnError)), f"expected a verdict, got {outcome!r}"
            if isinstance(outcome, ValidatedToken):
                self.accepted.append(token)
            else:
                self.refusals.append(outcome)
        return outcomes

    def accepts(self, *tokens: str, callers: int | None = None) -> list[ValidatedToken]:
        """Call, and demand that everybody is let in."""
        outcomes = self.call(*tokens, callers=callers)
        assert all(isinstance(outcome, ValidatedToken) for outcome in outcomes), f"expected good verdicts, got {_kinds(outcomes)}"
        return outcomes

    def refuses(self, kinds: type[KeyturnError] | tuple[type[KeyturnError], ...], *tokens: str, callers: int | None = None) -> list[Any]:
        """Call, and demand that everybody is refused with an error of exactly this class, or of one of these."""
        expected = kinds if isinstance(kinds, tuple) else (kinds,)
        outcomes = self.call(*tokens, callers=callers)
        names = " or ".join(kind.__name__ for kind in expected)
        assert all(type(outcome) in expected for outcome in outcomes), f"expected {names}, got {_kinds(outcomes)}"
        return outcomes

    def warm(self) -> str:
        """Read the keys, and forget what it took; return a token of the key that is now held."""
        held = self.token()
        for _ in range(HEALING_TRIES):
            if isinstance(self.call(held, callers=1)[0], ValidatedToken):
                break
            self.clock.advance(self.pause)
        else:
            raise AssertionError(f"the keys could not be read: {self.client.status().last_error}")
        self.settle()
        self.events.clear()
        return held

    # Watching.

    @property
    def attempts(self) -> int:
        """How many refreshes were begun."""
        return self.client._keeper.attempts

    @property
    def pause(self) -> float:
        """Seconds until the next attempt is allowed after the failures so far."""
        self.settle()
        failed = self.told(FetchFailed)
        return failed[-1].retry_in if failed else 1.0

    def told(self, kind: type[Any]) -> list[Any]:
        """Return the events of one kind so far."""
        self.settle()
        return [event for event in self.events if isinstance(event, kind)]

    def settle(self) -> None:
        """Wait until no thread of the client is at work."""
        until(self.client._is_idle, "an idle client")

    # Rows.

    def fails(self, fault: Fault, error: type[KeysUnavailableError], *, publish: Callable[[], object] = lambda: None) -> list[Any]:
        """Play a row under which every refresh fails; return what the callers got whose key is not held.

        Args:
            fault: Makes the fault, until its context ends.
            error: The class that a caller gets whose key is not held.
            publish: Called after the rollover, where the issuer's documents have to be carried to a server.
        """
        held = self.warm() if self.case.warm else None
        forged = self.bad(self.issuer.forge())
        with fault():
            new = self.roll()
            publish()
            before, requests = self.attempts, self.requests()
            # A caller who comes a moment later finds the pause after the failure, and does not ask (R8).
            outcomes = self.refuses((error, KeysUnavailableError), new)
            # On a busy machine a caller's own time may be over before the refresh that it waits for has said why it failed (Z19).
            assert error in {type(outcome) for outcome in outcomes} or all("(setting: deadline)" in str(outcome) for outcome in outcomes)
            self.settle()
            # One refresh for all of them, and no immediate second try.
            assert self.attempts == before + 1
            assert self.requests() - requests <= REQUESTS_A_REFRESH
            assert [event.code for event in self.told(FetchFailed)] == [error.code] * len(self.told(FetchFailed)) != []
            requests = self.requests()
            self.refuses(KeysUnavailableError, new, callers=1)
            if held is not None:
                self.accepts(held)
            self.refused_whatever_happens(forged)
            assert (self.attempts, self.requests()) == (before + 1, requests), "a pause after a failure was not kept"
        self.heals(new)
        self.refused_whatever_happens(forged)
        return outcomes

    def works(self, fault: Fault, *, publish: Callable[[], object] = lambda: None) -> str:
        """Play a row that no caller notices; return a token of the new key."""
        held = self.warm() if self.case.warm else None
        with fault():
            new = self.roll()
            publish()
            before = self.attempts
            self.accepts(new)
            self.settle()
            assert self.attempts == before + 1
            if held is not None:
                self.accepts(held)
            self.refused_whatever_happens(self.bad(self.issuer.forge()))
        return new

    def heals(self, token: str) -> None:
        """Demand that a good token passes once the pause is over (I2)."""
        for _ in range(HEALING_TRIES):
            self.clock.advance(self.pause)
            if isinstance(self.call(token, callers=1)[0], ValidatedToken):
                return
        raise AssertionError(f"a good token is still refused: {self.client.status().last_error}")

    def refused_whatever_happens(self, token: str) -> None:
        """Demand that a bad token stays out, whatever the reason given (I1)."""
        (outcome,) = self.call(self.bad(token), callers=1)
        assert isinstance(outcome, (InvalidTokenError, KeysUnavailableError)), f"expected a refusal, got {outcome!r}"

    # The invariants.

    def __enter__(self) -> Self:
        self._handler = _Kept(self._logged)
        logging.getLogger("keyturn").addHandler(self._handler)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            logging.getLogger("keyturn").removeHandler(self._handler)

    def close(self) -> None:
        """Assert the invariants over all that happened."""
        self.settle()
        assert not set(self.accepted) & set(self._bad), "somebody was let in who does not belong (I1)"
        self._assert_not_hammered()
        quiet(self._threads)
        until(lambda: open_files() <= self._files, "every socket and file to be closed (I5)")
        self._assert_nothing_told()

    def _assert_not_hammered(self) -> None:
        """Count against I3; failures are retried after one second of the virtual clock at the earliest (R8)."""
        policy, passed = self.client.policy, self.clock.monotonic() - self._began
        on_demand = 1 + passed // policy.on_demand_interval
        scheduled = 1 + passed // ((1 - policy.refresh_jitter) * policy.refresh_interval)
        retries = min(self.client._keeper.attempts, passed // policy.retry_min)
        allowed = 1 + on_demand + scheduled + retries
        assert self.attempts <= allowed, f"{self.attempts} refreshes in {passed} s, expected at most {allowed} (I3)"
        assert self.requests() - self._first_requests <= REQUESTS_A_REFRESH * self.attempts, "a refresh sent more than two requests (I3)"

    def _assert_nothing_told(self) -> None:
        """Search everything that was told for every part of a token that is worth stealing."""
        texts = [*self._logged, *(repr(event) for event in self.events), repr(self.client), repr(self.validator), repr(self.client.status())]
        texts += [text for error in self.refusals for text in (str(error), repr(error), *map(str, error.args))]
        told = "\n".join(texts)
        for token in self._tokens:
            _, _, signature = token.rpartition(".")
            assert token not in told, "the text of a token was told (I5)"
            assert len(signature) < 16 or signature not in told, "the text of a token was told (I5)"


class _Kept(logging.Handler):
    """Keeps every line that is logged."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line as it would be written."""
        self._lines.append(self.format(record))


def open_files() -> int:
    """Return how many files and sockets this process has open; 0 where the system does not tell."""
    try:
        return len(list(Path("/proc/self/fd").iterdir()))
    except OSError:
        return 0


def _kinds(outcomes: Sequence[Any]) -> list[str]:
    return sorted({f"{type(outcome).__name__}: {outcome}" for outcome in outcomes})


@contextmanager
def nothing() -> Iterator[None]:
    """No fault at all, for the row's own check that the scene notices a difference."""
    yield
