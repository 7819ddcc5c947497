"""One refresh on its own thread: the store first, then the issuer, and back to the store.

Rules of this file:

1. The refresh thread waits and decides; I/O happens on threads that may be left behind (`_threads.py`).
2. Revocations are read before any key is taken into force, so that a restart cannot serve a revoked key while the store answers.
3. Of several processes with one store, the holder of the lease asks the issuer and the others wait for what it publishes. Who waited
   for a whole refresh in vain does not wait again: a store that never grants a lease must not keep the issuer's answer from anybody.
4. Whatever happens, the flight is settled: nobody waits for a thread that has ended.
"""

from __future__ import annotations

import threading

from keyturn._core.key_set import storable
from keyturn._core.revocation import Revocation
from keyturn._core.state import Answer, Failure
from keyturn._flight import Flight
from keyturn._keeper import Keeper
from keyturn._reading import Place, ReadError, Reading, Source, read_documents
from keyturn._shared_store import SharedStore
from keyturn._threads import AbandonedError, BoundedCalls, ThreadEndedError
from keyturn.clock import Deadline, Instant, read
from keyturn.errors import FetchError, KeysUnavailableError, quoted
from keyturn.events import FetchSucceeded, RefreshReason
from keyturn.fetching import Fetcher
from keyturn.stores.store import Lease, Snapshot, Store

_POLL = 0.05
_ALWAYS_DISCOVER: frozenset[RefreshReason] = frozenset({"start", "schedule", "retry", "operator"})


class Refreshing:
    """Carries out refreshes for one keeper."""

    def __init__(self, source: Source, fetcher: Fetcher, store: Store | None) -> None:
        self.source = source
        self._fetcher = fetcher
        self._store = None if store is None else SharedStore(source, store)
        self._calls = BoundedCalls()
        self._place: Place | None = None
        self._discovery_due = True
        self._waited_in_vain = False

    @property
    def has_store(self) -> bool:
        """Whether anything survives a restart."""
        return self._store is not None

    def renewed(self) -> Refreshing:
        """Return the same with locks and threads of its own, for the child of a fork."""
        child = Refreshing(self.source, self._fetcher, None)
        child._store = self._store and self._store.renewed()
        child._place, child._discovery_due = self._place, self._discovery_due
        return child

    def run(self, keeper: Keeper, flight: Flight) -> None:
        """Carry out *flight*; whatever happens, it is settled."""
        keeper.inside.run(lambda: self._run(keeper, flight))

    def record_now(self, keeper: Keeper, entries: tuple[Revocation, ...]) -> None:
        """Keep an operator's entries in the store; runs on a thread of its own."""
        if self._store is not None:
            self._store.record_now(keeper, entries, keeper.policy.deadline)

    def is_time_to_look(self, keeper: Keeper) -> bool:
        """Return whether to call `take_revocations` now; a client without keys reads them with its first refresh."""
        return self._store is not None and keeper.state.asked_at is not None and self._store.is_time_to_look(read(keeper.clock))

    def take_revocations(self, keeper: Keeper) -> None:
        """Take in what other processes revoked; runs on a thread of its own."""
        if self._store is not None:
            self._store.take_revocations(keeper)

    def take_revocations_now(self, keeper: Keeper) -> None:
        """Take in what other processes revoked, before an operator takes something back; runs on a thread of its own."""
        if self._store is not None:
            self._store.take_revocations_now(keeper, keeper.policy.deadline)

    def _run(self, keeper: Keeper, flight: Flight) -> None:
        try:
            try:
                self._obtain(keeper, flight)
            finally:
                # What an answer revoked is kept even if the refresh failed after it.
                if self._store is not None and flight.entries:
                    self._store.record(keeper, flight.entries)
        except ReadError as failed:
            keeper.settle(flight, _failure(failed.document, failed.error))
        except AbandonedError as late:
            message = f"{quoted(self.source.location)} gave no answer: {late} (setting: deadline)"
            keeper.settle(flight, Failure("fetch_failed", message, "", self.source.location))
        except BaseException as error:
            # Whatever ends this thread, the waiters must not wait for it.
            name = str(error) if isinstance(error, ThreadEndedError) else type(error).__name__
            message = f"the refresh of {quoted(self.source.location)} ended with {name}"
            keeper.settle(flight, Failure("fetch_failed", message, "", self.source.location))
            if flight.unstarted and not isinstance(error, Exception):
                # The caller runs this itself, and somebody ends the caller's thread.
                raise

    def _obtain(self, keeper: Keeper, flight: Flight) -> None:
        if self._store is None:
            self._from_issuer(keeper, flight)
            return
        self._store.take_revocations(keeper)
        if self._from_store(self._store, keeper, flight, waited=False):
            return
        lease, waited = self._leased(self._store, keeper, flight)
        try:
            # Between the last look into the store and the lease another process may have published what we want.
            if not flight.latch.is_set and not (lease is not None and self._from_store(self._store, keeper, flight, waited=waited)):
                snapshot = self._from_issuer(keeper, flight)
                if lease is not None:
                    self._store.publish(keeper, snapshot, lease)
        finally:
            if lease is not None:
                self._store.release(keeper, lease)

    def _from_store(self, store: SharedStore, keeper: Keeper, flight: Flight, *, waited: bool) -> bool:
        """Settle *flight* with what another process published, if that is what was asked for; take it in either way."""
        answer = store.newer_answer(keeper)
        if answer is None:
            return False
        # What lay there before anybody was waited for is older than the question, whatever the clock of another host says.
        flight.is_news = waited and answer.asked_at.wall >= flight.started.wall
        if not _answers(keeper, flight, answer):
            keeper.adopt(flight, answer)
            return False
        told = self._succeeded(keeper, flight, reason="store", document=self.source.location, size=0, status=0)
        keeper.settle(flight, answer, (told,))
        return True

    def _leased(self, store: SharedStore, keeper: Keeper, flight: Flight) -> tuple[Lease | None, bool]:
        """Return the right to ask the issuer, and whether it was waited for.

        It is None if there is nobody to ask for it, if another process answered, or if it was waited for in vain before.
        """
        waited = False
        while True:
            answer = store.lease(keeper)
            if answer is None or answer[0] is not None:
                self._waited_in_vain = False
                return answer and answer[0], waited
            waited = True
            if self._from_store(store, keeper, flight, waited=True):
                self._waited_in_vain = False
                return None, True
            if self._waited_in_vain:
                return None, True
            if flight.deadline.left() < 4 * _POLL:
                self._waited_in_vain = True
                raise ReadError(self.source.location, FetchError("another process has the lease of the store, and published nothing in time"))
            threading.Event().wait(_POLL)

    def _from_issuer(self, keeper: Keeper, flight: Flight) -> Snapshot:
        margin = min(0.2, keeper.policy.deadline / 5)
        asked_at = read(keeper.clock)
        discovery = flight.reason in _ALWAYS_DISCOVER or self._discovery_due

        def call() -> Reading:
            # The fetch ends a little before its callers do, so that its own error reaches them and not a time-out.
            deadline = Deadline(max(0.0, flight.deadline.left() - margin))
            return read_documents(
                self.source, self._fetcher, keeper.policy, known=self._place, discovery=discovery, deadline=deadline, now=asked_at.wall
            )

        reading = self._calls.run(lambda: keeper.inside.run(call), max(0.0, flight.deadline.left() - margin / 2), f"keyturn-fetch-{flight.number}")
        self._place, self._discovery_due = reading.place, reading.discovery_due
        flight.is_news = True
        told = self._succeeded(keeper, flight, reason=flight.reason, document=reading.place.url, size=len(reading.body), status=reading.status)
        keeper.settle(flight, Answer(reading.keys, asked_at, reading.max_age), (told,))
        return self._snapshot(reading, asked_at)

    def _snapshot(self, reading: Reading, asked_at: Instant) -> Snapshot:
        return Snapshot(
            issuer=self.source.issuer,
            location=self.source.location,
            keys_url=reading.place.url,
            asked_at=asked_at.wall,
            body=storable(reading.body),
            max_age=reading.max_age,
        )

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
    if flight.is_news:
        return True
    if flight.wanted is not None and flight.reason in {"unknown_key", "retry"}:
        kind, value = flight.wanted
        return kind == "kid" and any(key.kid == value for key in answer.keys.keys)
    return flight.reason in {"start", "schedule", "retry"} and flight.started.since(answer.asked_at) < keeper.state.line


def _failure(document: str, error: KeysUnavailableError) -> Failure:
    retry_after = None if error.retry_after is None else float(error.retry_after)
    return Failure(error.code, error.message, error.hint, document, retry_after)
