"""A resolver that hangs: name resolution stands outside every time-out of the HTTP client (F1, Z19; driver, trap 18)."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from keyturn import HttpxFetcher, KeysUnavailableError, RolloverPolicy, TokenValidator
from keyturn._threads import MOST_ABANDONED
from keyturn.testing import FakeClock, FakeIssuer

HOST = "login.stuck.test"
PATIENCE = 30.0


class Resolver:
    """Holds every question for `HOST` until the test lets go; others are answered as ever."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = threading.Semaphore(0)
        self.let_go = threading.Event()
        self.left = 0
        self._answer = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host: Any, *arguments: Any, **keywords: Any) -> Any:
        if host not in {HOST, HOST.encode()}:
            return self._answer(host, *arguments, **keywords)
        self.asked.release()
        self.let_go.wait(PATIENCE)
        self.left += 1
        raise socket.gaierror(socket.EAI_AGAIN, "temporary failure in name resolution")


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    """A resolver that hangs for the length of the test, and whose threads have ended after it."""
    stuck = Resolver(monkeypatch)
    yield stuck
    stuck.let_go.set()
    for thread in threading.enumerate():
        if thread.name.startswith("keyturn-"):
            thread.join(PATIENCE)
            assert not thread.is_alive()


def validator_of(issuer: FakeIssuer) -> TokenValidator:
    """Return a validator that asks the issuer by its name, within a second and a half."""
    fetcher = HttpxFetcher(trust_env=False)
    return TokenValidator(issuer.issuer, audience=issuer.audience, fetcher=fetcher, clock=issuer.clock, policy=RolloverPolicy(deadline=1.5))


@pytest.mark.parametrize("loop", [False, True], ids=["thread", "asyncio"])
def test_every_caller_has_an_answer_while_the_resolver_hangs(resolver: Resolver, loop: bool) -> None:
    """Cold: the deadline ends the wait with a 503 although the resolver hangs on, and the backoff spares it the next question."""
    issuer = FakeIssuer(f"https://{HOST}", clock=FakeClock())
    validator = validator_of(issuer)
    token = issuer.token()
    for _ in range(2):
        with pytest.raises(KeysUnavailableError) as refused:
            asyncio.run(validator.validate_async(token)) if loop else validator.validate(token)
        assert refused.value.http_status == 503
        assert refused.value.retry_after is not None
    assert resolver.left == 0
    assert resolver.asked.acquire(timeout=PATIENCE)
    assert not resolver.asked.acquire(blocking=False)


def test_stuck_threads_do_not_pile_up(resolver: Resolver) -> None:
    """However often the backoff allows another try, few threads are left behind; after that a try fails without one."""
    issuer = FakeIssuer(f"https://{HOST}", clock=FakeClock())
    validator = validator_of(issuer)
    token = issuer.token(lifetime=86_400)
    for _ in range(8):
        with pytest.raises(KeysUnavailableError):
            validator.validate(token)
        issuer.clock.advance(301)
    stuck = [thread for thread in threading.enumerate() if thread.name.startswith("keyturn-fetch")]
    assert len(stuck) == MOST_ABANDONED
