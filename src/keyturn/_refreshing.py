"""One refresh on its own thread: the store first, then the issuer, and back to the store.

Rules of this file:

1. The refresh thread waits and decides; I/O happens on threads that may be left behind (`_threads.py`).
2. A store is given a tenth of a second for each call; one that fails or takes longer is passed by for half a minute, and the issuer
   is asked directly. Nothing depends on it.
3. Revocations are read before any key is taken into force, so that a restart cannot serve a revoked key while the store answers.
4. Of several processes with one store, the holder of the lease asks the issuer and the others wait for what it publishes.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from keyturn._core.key_set import KeySet
from keyturn._core.revocation import Revocation
from keyturn._core.revoking import take_in
from keyturn._core.state import Answer, Failure
from keyturn._flight import Flight
from keyturn._keeper import Keeper
from keyturn._reading import Place, ReadError, Reading, Source, read_documents
from keyturn._threads import AbandonedError, BoundedCalls
from keyturn.clock import Deadline, Instant, read
from keyturn.errors import FetchError, KeysUnavailableError, quoted
from keyturn.events import FetchSucceeded, RefreshReason, StoreFailed
from keyturn.fetching import Fetcher
from keyturn.stores.store import Lease, Snapshot, Store, source_id

T = TypeVar("T")

STORE_BUDGET = 0.1
"""Real seconds that one call of a store may take."""

STORE_PASSED_BY = 30.0
"""Seconds for which a store that failed is not asked."""

STORE_LOOK_EVERY = 240.0
"""Seconds after which a client looks for revocations that other processes recorded; with the minute after which a client in use looks
at itself, five minutes at most."""

CLOCK_SKEW = 60.0
"""Seconds by which the clocks of two hosts may differ: a snapshot from further ahead is ignored."""

_POLL = 0.05
_ALWAYS_DISCOVER: frozenset[RefreshReason] = frozenset({"start", "schedule", "retry", "operator"})


class Refreshing:
    """Carries out refreshes for one keeper."""

    def __init__(self, source: Source, fetcher: Fetcher, store: Store | None) -> None:
        self.source = source
        self._fetcher = fetcher
        self._store = store
        self._id = source_id(source.issuer, source.location)
        self._calls = BoundedCalls()
        self._place: Place | None = None
        self._discovery_due = True
        self._unrecorded: list[Revocation] = []
        self._passed_by: Instant | None = None
        self._looked_at: Instant | None = None
        self._looking = threading.Lock()
        self._writing = threading.Lock()

    def run(self, keeper: Keeper, flight: Flight) -> None:
        """Carry out *flight*; whatever happens, it is settled."""
        flight.threads.add(threading.get_ident())
        try:
            self._obtain(keeper, flight)
            self.record(keeper, flight.entries, STORE_BUDGET)
        except ReadError as failed:
            keeper.settle(flight, _failure(failed.document, failed.error))
        except AbandonedError as late:
            message = f"{quoted(self.source.location)} gave no answer: {late} (setting: deadline)"
            keeper.settle(flight, Failure("fetch_failed", message, "", self.source.location))
        except BaseException as error:  # noqa: BLE001 - whatever ends this thread, the waiters must not wait for it
            message = f"the refresh of {quoted(self.source.location)} ended with {type(error).__name__}"
            keeper.settle(flight, Failure("fetch_failed", message, "", self.source.location))

    def record(self, keeper: Keeper, entries: tuple[Revocation, ...], seconds: float) -> None:
        """Keep *entries* in the store, now if it answers within *seconds*, else with the next refresh."""
        if self._store is not None and entries:
            self._write_back(keeper, entries, seconds)

    def renewed(self) -> Refreshing:
        """Return the same with locks and threads of its own, for the child of a fork."""
        child = Refreshing(self.source, self._fetcher, self._store)
        child._place, child._discovery_due, child._unrecorded = self._place, self._discovery_due, self._unrecorded
        return child

    def is_time_to_look(self, keeper: Keeper) -> bool:
        """Return whether to call `read_revocations` now, once for each time; a client without keys reads them with its first refresh."""
        if self._store is None or keeper.state.asked_at is None:
            return False
        now = read(keeper.clock)
        if self._looked_at is not None and now.since(self._looked_at) < STORE_LOOK_EVERY:
            return False
        if not self._looking.acquire(blocking=False):
            return False
        self._looked_at = now
        return True

    def read_revocations(self, keeper: Keeper) -> None:
        """Take in what other processes revoked; runs on a thread of its own."""
        try:
            self._take_revocations(keeper)
        finally:
            self._looking.release()

    # The store.

    def _ask(self, keeper: Keeper, operation: str, call: Callable[[Store], T], seconds: float = STORE_BUDGET) -> T | None:
        """Return what the store answers, or None if it is passed by; a failure is told once and passes it by."""
        store, now = self._store, read(keeper.clock)
        if store is None or (self._passed_by is not None and now.since(self._passed_by) < STORE_PASSED_BY):
            return None
        try:
            answer = self._calls.run(lambda: call(store), seconds, f"keyturn-store-{operation}")
        except Exception as error:  # noqa: BLE001 - a store may fail in any way, and must not take a login along
            self._passed_by = now
            message = f"{type(error).__name__}: {error}"
            keeper.deliver([StoreFailed(issuer=self.source.issuer, at=now.wall, operation=operation, message=message)])
            return None
        self._passed_by = None
        return answer

    def _take_revocations(self, keeper: Keeper) -> None:
        entries = self._ask(keeper, "revocations", lambda store: tuple(store.revocations(self._id)))
        self._looked_at = read(keeper.clock)
        change = keeper.change(lambda state, now: take_in(state, now, entries or ()))
        self._write_back(keeper, change.entries, STORE_BUDGET)

    def _write_back(self, keeper: Keeper, entries: Iterable[Revocation], seconds: float) -> None:
        """Keep *entries*, and those that the store did not take before: they stay in memory until it does."""
        with self._writing:
            self._unrecorded += entries
            while self._unrecorded:
                record: Callable[[Store], bool] = functools.partial(_record, self._id, self._unrecorded[0])
                if not self._ask(keeper, "record", record, seconds):
                    return
                del self._unrecorded[0]

    def _stored(self, keeper: Keeper) -> tuple[Answer, Place] | None:
        """Return the newest answer of the store, if it is one of ours and newer than what is held."""
        stored = self._ask(keeper, "load", lambda store: store.load(self._id))
        if stored is None:
            return None
        snapshot, now = stored.snapshot, read(keeper.clock)
        if (snapshot.issuer, snapshot.location) != (self.source.issuer, self.source.location):
            self._distrust(keeper, now, "the snapshot is of another issuer or location")
            return None
        if snapshot.asked_at > now.wall + CLOCK_SKEW:
            self._distrust(keeper, now, "the snapshot comes from the future")
            return None
        age = max(0.0, now.wall - snapshot.asked_at)
        asked_at = Instant(now.monotonic - age, now.wall - age)
        held = keeper.state.asked_at
        if age >= keeper.policy.refresh_interval + keeper.policy.max_stale or (held is not None and asked_at.since(held) <= 0):
            return None
        try:
            keys = KeySet.from_jwks(snapshot.body, max_keys=keeper.policy.max_keys, issuer=self.source.issuer)
        except KeysUnavailableError as error:
            self._distrust(keeper, now, f"the snapshot is no key set: {error}")
            return None
        return Answer(keys, asked_at, snapshot.max_age), Place(snapshot.keys_url)

    def _distrust(self, keeper: Keeper, now: Instant, message: str) -> None:
        keeper.deliver([StoreFailed(issuer=self.source.issuer, at=now.wall, operation="load", message=message)])

    # The refresh.

    def _obtain(self, keeper: Keeper, flight: Flight) -> None:
        if self._store is not None:
            self._take_revocations(keeper)
            if self._from_store(keeper, flight):
                return
        lease = self._leased(keeper, flight)
        if flight.latch.is_set:
            return
        try:
            self._from_issuer(keeper, flight, lease)
        finally:
            if lease is not None:
                self._ask(keeper, "release", lambda _: lease.release())

    def _from_store(self, keeper: Keeper, flight: Flight) -> bool:
        """Settle *flight* with what another process published, if that is what was asked for; take it in either way."""
        found = self._stored(keeper)
        if found is None:
            return False
        answer, _ = found
        if not _answers(keeper, flight, answer):
            keeper.adopt(flight, answer)
            return False
        told = self._succeeded(keeper, flight, reason="store", document=self.source.location, size=0, status=0)
        keeper.settle(flight, answer, (told,))
        return True

    def _leased(self, keeper: Keeper, flight: Flight) -> Lease | None:
        """Return the right to ask the issuer, or None if there is nobody to ask for it, or if another process answered."""
        while self._store is not None:
            answer = self._ask(keeper, "lease", lambda store: (store.lease(self._id, keeper.policy.deadline),))
            if answer is None or answer[0] is not None:
                return answer[0] if answer else None
            if self._from_store(keeper, flight):
                return None
            if flight.deadline.left() < 4 * _POLL:
                raise ReadError(self.source.location, FetchError("another process has the lease of the store, and published nothing in time"))
            threading.Event().wait(_POLL)
        return None

    def _from_issuer(self, keeper: Keeper, flight: Flight, lease: Lease | None) -> None:
        margin = min(0.2, keeper.policy.deadline / 5)
        asked_at = read(keeper.clock)
        discovery = flight.reason in _ALWAYS_DISCOVER or self._discovery_due

        def call() -> Reading:
            flight.threads.add(threading.get_ident())
            # The fetch ends a little before its callers do, so that its own error reaches them and not a time-out.
            deadline = Deadline(max(0.0, flight.deadline.left() - margin))
            return read_documents(self.source, self._fetcher, keeper.policy, known=self._place, discovery=discovery, deadline=deadline)

        reading = self._calls.run(call, max(0.0, flight.deadline.left() - margin / 2), f"keyturn-fetch-{flight.number}")
        self._place, self._discovery_due = reading.place, reading.discovery_due
        told = self._succeeded(keeper, flight, reason=flight.reason, document=reading.place.url, size=len(reading.body), status=reading.status)
        keeper.settle(flight, Answer(reading.keys, asked_at, reading.max_age), (told,))
        if lease is not None:
            self._publish(keeper, reading, asked_at, lease)

    def _publish(self, keeper: Keeper, reading: Reading, asked_at: Instant, lease: Lease) -> None:
        snapshot = Snapshot(
            issuer=self.source.issuer,
            location=self.source.location,
            keys_url=reading.place.url,
            asked_at=asked_at.wall,
            body=reading.body,
            max_age=reading.max_age,
        )
        self._ask(keeper, "publish", lambda store: store.publish(self._id, snapshot, lease.fence))

    def _succeeded(self, keeper: Keeper, flight: Flight, *, reason: RefreshReason, document: str, size: int, status: int) -> FetchSucceeded:
        return FetchSucceeded(
            issuer=self.source.issuer,
            at=keeper.clock.wall(),
            document=document,
            duration=keeper.policy.deadline - flight.deadline.left(),
            bytes=size,
            status=status,
            reason=reason,
        )


def _answers(keeper: Keeper, flight: Flight, answer: Answer) -> bool:
    """Return whether an answer out of the store is what *flight* was ordered for."""
    if flight.reason == "operator":
        return False
    if answer.asked_at.wall >= flight.started.wall:
        return True
    if flight.wanted is not None and flight.reason in {"unknown_key", "retry"}:
        kind, value = flight.wanted
        return kind == "kid" and any(key.kid == value for key in answer.keys.keys)
    return flight.reason in {"start", "schedule", "retry"} and flight.started.since(answer.asked_at) < keeper.state.line


def _record(source: str, entry: Revocation, store: Store) -> bool:
    store.record(source, entry)
    return True


def _failure(document: str, error: KeysUnavailableError) -> Failure:
    retry_after = None if error.retry_after is None else float(error.retry_after)
    return Failure(error.code, error.message, error.hint, document, retry_after)
