"""A scene whose issuer stands on the rig: real sockets, real TLS, and the default fetcher between client and issuer.

Rules of this file:

1. The issuer's documents are carried to the rig with every rollover; what the rig serves meanwhile is the row's fault.
2. Requests are counted where they arrive, in the rig's process.
3. A row whose answers come at once is played with `PATIENT`, so that a busy machine does not turn them into time-outs; one whose fault is
   that nothing comes is played with `QUICK`, and waits half a second.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from tests.faults.harness import CASES, PATIENT, Case, Fault, Scene
from tests.faults.rig import BOTH, JWKS, Action, Answering, Counts, Rig, always

from keyturn import FetchFailed, FetchSucceeded, HttpxFetcher, KeysUnavailableError, RolloverPolicy
from keyturn.testing import FakeClock, FakeIssuer


class RigScene(Scene):
    """One client of an issuer on the rig, watched.

    Args:
        rig: The process that serves.
        case: How to play.
        policy: The numbers.
        host: Name or address in the issuer's URL.
        plain: Whether it is served in clear text; the fetcher is then told that this is meant.
        fetching: Further settings of the fetcher, or replacements.
        **client: Further settings of the client.

    Attributes:
        place: Where it is served.
        met: What the rig saw while the fault of `fails()` or `works()` lasted.
    """

    met: Counts

    def __init__(
        self,
        rig: Rig,
        case: Case = CASES[0],
        *,
        policy: RolloverPolicy = PATIENT,
        host: str = "127.0.0.1",
        plain: bool = False,
        fetching: dict[str, Any] | None = None,
        **client: Any,
    ) -> None:
        self.rig = rig
        self._odd: dict[str, Answering] = {}
        self.place = rig.listen(plain=plain)
        issuer = FakeIssuer(self.place.url(host=host), clock=FakeClock())
        settings = {"ca": rig.ca_file, "trust_env": False, "connect_timeout": policy.connect_timeout, "http_hosts": [host] if plain else []}
        client.setdefault("fetcher", HttpxFetcher(**{**settings, **(fetching or {})}))
        super().__init__(case, issuer, policy=policy, requests=self.place.requests, **client)
        self.publish()

    def publish(self, *fields: str) -> None:
        """Carry the issuer's documents to the rig, with further header fields."""
        self.place.publish(self.issuer, *fields, odd=self._odd)

    def document(self, path: str) -> bytes:
        """Return the issuer's document of a path as it is now."""
        return json.dumps(self.issuer.jwks() if path == JWKS else self.issuer.discovery()).encode()

    def roll(self, kid: str = "k2") -> str:
        """Publish a new key, here and on the rig, and sign with it; return a token of it."""
        token = super().roll(kid)
        self.publish()
        return token

    # Faults.

    def answering(self, *actions: Action, on: tuple[str, ...] = BOTH) -> Fault:
        """Return the fault that every request for these paths meets these actions."""
        return functools.partial(self.place.during, {path: always(*actions) for path in on})

    @contextmanager
    def _spoiling(self, spoil: Answering, on: tuple[str, ...]) -> Iterator[None]:
        self._odd = dict.fromkeys(on, spoil)
        self.publish()
        try:
            yield
        finally:
            self._odd = {}
            self.publish()

    def spoiling(self, spoil: Answering, *, on: tuple[str, ...] = BOTH) -> Fault:
        """Return the fault that does something odd with what is published; a reader who overlooks it would find the new key."""
        return functools.partial(self._spoiling, spoil, on)

    # Rows.

    def fails(self, fault: Fault, error: type[KeysUnavailableError], *, publish: Callable[[], object] = lambda: None) -> list[Any]:
        """Play a row under which every refresh fails, and note in `met` what the rig saw of it."""
        return super().fails(self._noted(fault), error, publish=publish)

    def works(self, fault: Fault, *, publish: Callable[[], object] = lambda: None) -> str:
        """Play a row that no caller notices, note in `met` what the rig saw of it, and demand that nothing failed."""
        token = super().works(self._noted(fault), publish=publish)
        assert not self.told(FetchFailed)
        assert self.told(FetchSucceeded)
        return token

    def _noted(self, fault: Fault) -> Fault:
        @contextmanager
        def noted() -> Iterator[None]:
            before = self.place.counts()
            with fault():
                yield
                self.met = self.place.counts().since(before)

        return noted

    def asked(self, path: str) -> int:
        """Return how often a path was asked for."""
        return self.place.counts().requests.get(path, 0)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            self.place.__exit__()


def told_why(outcomes: list[Any]) -> str:
    """Return the message of a refusal that names the fault; others came a moment later and found the pause after it."""
    return str(next((error for error in outcomes if error.code != "keys_unavailable"), outcomes[0]))
