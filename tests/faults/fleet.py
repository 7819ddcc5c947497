"""Processes that share a store: one issuer, one store, and a `Scene` around each client, so that the invariants hold for every one.

Rules of this file:

1. A process is a client of its own; what they share is the store and the clock.
2. The budget of a store's call is as long as a test's patience, because a busy machine is no fault of a store; `hasty` gives a test
   the real one back.
3. At the end a forged token is put to every process (I1), and every scene asserts its invariants.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from tests.contract.drivers import AUDIENCE, PATIENCE, quiet, until
from tests.faults.harness import PATIENT, Scene

from keyturn import Event, FileStore, KeySetClient, KeyturnError, MemoryStore, RolloverPolicy, TokenValidator
from keyturn import _shared_store as shared_store
from keyturn.fetching import FetchedDocument, Fetcher
from keyturn.stores.store import Snapshot, source_id
from keyturn.testing import FakeClock, FakeIssuer

DAY = 86_400.0
SECRET = "0123456789abcdef"
REAL_BUDGET = shared_store.STORE_BUDGET
UNHURRIED = RolloverPolicy(deadline=PATIENCE)
"""The default numbers for callers who wait for many others of one machine."""


class Counted:
    """A fetcher that counts what one process asks of the issuer.

    Attributes:
        requests: How many requests were sent.
    """

    def __init__(self, inner: Fetcher) -> None:
        self.requests = 0
        self._inner = inner

    def fetch(self, url: str, *, headers: Mapping[str, str], max_bytes: int, deadline: float) -> FetchedDocument:
        """Count, then fetch."""
        self.requests += 1
        return self._inner.fetch(url, headers=headers, max_bytes=max_bytes, deadline=deadline)


class Fleet:
    """One issuer, one store, and the processes that use them; a context manager that asserts the invariants at its end.

    Args:
        store: Makes the store, on the clock of the issuer.

    Attributes:
        clock: The clock of all.
        issuer: The issuer of all.
        store: The store of all.
        source: The name under which the store keeps what is theirs.
        scenes: One for each process that was made.
    """

    def __init__(self, store: Callable[[FakeClock], Any]) -> None:
        self.clock = FakeClock()
        self.issuer = FakeIssuer(clock=self.clock)
        self.store = store(self.clock)
        self.source = source_id(self.issuer.issuer, self.issuer.discovery_url)
        self.scenes: list[Scene] = []
        self._open: ExitStack | None = None

    def scene(self, policy: RolloverPolicy = PATIENT, **settings: Any) -> Scene:
        """Return the scene of a new process."""
        settings.setdefault("store", self.store)
        counted = Counted(self.issuer.fetcher())
        scene = Scene(issuer=self.issuer, policy=policy, fetcher=counted, requests=lambda: counted.requests, **settings)
        self.scenes.append(scene)
        if self._open is not None:
            self._open.enter_context(scene)
        return scene

    def process(self, **settings: Any) -> TokenValidator:
        """Return the validator of a new process."""
        return self.scene(**settings).validator

    def crowd(self, count: int, policy: RolloverPolicy = UNHURRIED, **settings: Any) -> list[TokenValidator]:
        """Return the validators of many new processes, whose invariants the test has to look after itself."""
        settings = {"store": self.store, "clock": self.clock, "policy": policy, **settings}
        clients = [KeySetClient(self.issuer.issuer, fetcher=self.issuer.fetcher(), **settings) for _ in range(count)]
        return [TokenValidator(client, audience=AUDIENCE) for client in clients]

    def roll(self, kid: str = "k2") -> str:
        """Publish a new key and sign with it; return a token of it."""
        self.issuer.publish(kid)
        self.issuer.promote(kid)
        return self.issuer.token()

    def snapshot(self, asked_at: float, **changes: Any) -> Snapshot:
        """Return what a process would have published that asked at *asked_at*."""
        body = json.dumps(self.issuer.jwks()).encode()
        good = Snapshot(self.issuer.issuer, self.issuer.discovery_url, self.issuer.jwks_url, asked_at, body)
        return replace(good, **changes)

    def told(self, kind: type[Event]) -> list[Any]:
        """Return the events of one kind, once all have been delivered."""
        until(lambda: all(scene.client._is_idle() for scene in self.scenes), "the delivery of events")
        return [event for scene in self.scenes for event in scene.events if isinstance(event, kind)]

    def lose(self) -> None:
        """Take everything out of the store."""
        if isinstance(self.store, MemoryStore):
            self.store._shelves.clear()
            return
        for path in Path(self.store._folder.path).iterdir():
            path.unlink()

    def __enter__(self) -> Self:
        self._open = ExitStack()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        assert self._open is not None
        try:
            if kind is None:
                self._put_forged_tokens()
        except BaseException as failed:
            self._open.__exit__(type(failed), failed, failed.__traceback__)
            raise
        self._open.__exit__(kind, error, traceback)

    def _put_forged_tokens(self) -> None:
        quiet()
        # The allowance has returned by then, so that what this asks for is within the bounds.
        self.clock.advance(PATIENT.on_demand_interval)
        for scene in self.scenes:
            scene.refused_whatever_happens(self.issuer.forge())
        quiet()


def verdict(validator: TokenValidator, token: str) -> str:
    """Validate, wait until everything that it started is over, and return `accepted` or the code of the error."""
    try:
        validator.validate(token)
    except KeyturnError as error:
        return error.code
    finally:
        quiet()
    return "accepted"


def in_memory() -> Fleet:
    """Return a fleet with a store in memory."""
    return Fleet(lambda clock: MemoryStore(clock=clock))


def in_files(folder: Path) -> Fleet:
    """Return a fleet with a store in files."""
    return Fleet(lambda clock: FileStore(folder / "store", secret=SECRET, clock=clock))


def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every call of a store as long as a test waits (rule 2)."""
    monkeypatch.setattr(shared_store, "STORE_BUDGET", PATIENCE)


def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every call of a store its real budget."""
    monkeypatch.setattr(shared_store, "STORE_BUDGET", REAL_BUDGET)
