"""What one client has to do with its store: asked within a budget, believed in nothing, never waited for.

Rules of this file:

1. A store is given a tenth of a second for each call; one that fails or takes longer is passed by for half a minute, and the issuer
   is asked directly. Its calls that are stuck do not count against the fetches.
2. What it returns is checked like anything from outside. What is no good is told of once and counts as none, so that the next answer
   of the issuer takes its place; the store itself is not passed by for it.
3. A revocation stays in memory until the store has taken it; one that it had and lost is told and written back (R11).
4. An operator's own word is recorded even while the store is passed by, and outranks what the store held for that key before.
5. A lease is given back whatever else failed, because others wait for its holder.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from threading import Lock
from typing import TypeVar, get_args

from keyturn._core.revocation import Kind, Revocation, Revocations, merged
from keyturn._core.revoking import take_in
from keyturn._core.state import Answer
from keyturn._keeper import Keeper
from keyturn._reading import Source, keys_of
from keyturn._threads import AbandonedError, BoundedCalls, ThreadEndedError
from keyturn.clock import Instant, read
from keyturn.errors import KeysUnavailableError, quoted
from keyturn.events import StoreFailed
from keyturn.stores.envelope import EnvelopeError
from keyturn.stores.store import Lease, Snapshot, Store, Stored, source_id

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

_LONGER = 4
"""Times by which a document may grow when it is written without what only its issuer may know, every character escaped."""

_LARGEST_NUMBER = 2**63 - 1
"""Largest number that an entry or a snapshot may hold: no instant comes near it, and every store can keep it."""


class SharedStore:
    """A store as one client uses it. Every method is called on a thread of ours."""

    def __init__(self, source: Source, store: Store) -> None:
        self._source = source
        self._store = store
        self._id = source_id(source.issuer, source.location, source.kind)
        self._calls = BoundedCalls()
        self._unrecorded: list[Revocation] = []
        self._recorded: Revocations = {}
        self._complaints: dict[str, str] = {}
        self._passed_by: Instant | None = None
        self._looked_at: Instant | None = None
        self._writing = Lock()

    def renewed(self) -> SharedStore:
        """Return the same with locks and threads of its own, for the child of a fork."""
        child = SharedStore(self._source, self._store)
        child._unrecorded, child._recorded = list(self._unrecorded), self._recorded
        return child

    # Revocations.

    def is_time_to_look(self, now: Instant) -> bool:
        """Return whether to call `take_revocations()` now; once for each time, give or take two threads at the same instant."""
        if self._looked_at is not None and now.since(self._looked_at) < STORE_LOOK_EVERY:
            return False
        self._looked_at = now
        return True

    def take_revocations(self, keeper: Keeper) -> None:
        """Take in what other processes revoked, and write back what the store lost."""
        known = self._recorded
        answer = self._ask(keeper, "revocations", self._entries)
        if answer is None:
            # Looked at again as soon as the store is asked again.
            self._looked_at = read(keeper.clock).shifted(STORE_PASSED_BY - STORE_LOOK_EVERY)
            return
        self._take_in(keeper, known, *answer)

    def take_revocations_now(self, keeper: Keeper, seconds: float) -> None:
        """Do the same within *seconds* for an operator, whatever the store did before."""
        known = self._recorded
        with suppress(Exception):  # Told already.
            self._take_in(keeper, known, *self._call(keeper, "revocations", self._entries, seconds))

    def _take_in(self, keeper: Keeper, known: Revocations, entries: Revocations, complaint: str) -> None:
        self._looked_at = now = read(keeper.clock)
        self._complain(keeper, now, "revocations", complaint)
        # Of what was known before the list was read: what another thread records meanwhile is not lost.
        lost = _missing(known, entries)
        if lost:
            self._tell(keeper, now, "revocations", f"the store lost {len(lost)} entries of revocations; they hold on here, and are written back")
        self._recorded = merged(self._recorded, entries.values())
        change = keeper.change(lambda state, now: take_in(state, now, entries.values()))
        self.record(keeper, (*lost, *change.entries))

    def record(self, keeper: Keeper, entries: Iterable[Revocation]) -> None:
        """Keep *entries*, and those that the store did not take before, as far as it is asked at all."""
        self._remember(entries)
        if self._unrecorded and not self._is_passed_by(keeper):
            self._write(keeper, STORE_BUDGET)

    def record_now(self, keeper: Keeper, entries: tuple[Revocation, ...], seconds: float) -> None:
        """Keep an operator's *entries* within *seconds*, whatever the store did before."""
        self._remember(self._outranking(keeper, entries, seconds))
        self._write(keeper, seconds)

    def _remember(self, entries: Iterable[Revocation]) -> None:
        # A store that loses entries and takes none back would otherwise have the same ones added with every look.
        self._unrecorded += [entry for entry in entries if entry not in self._unrecorded]

    def _outranking(self, keeper: Keeper, entries: tuple[Revocation, ...], seconds: float) -> tuple[Revocation, ...]:
        """Return *entries*, raised above what the store holds: a host whose clock is behind must not lose to its past."""
        try:
            stored, _ = self._call(keeper, "revocations", self._entries, seconds)
        except Exception:  # noqa: BLE001 - told already; without the store's word ours stands as it is
            return entries
        raised = tuple(
            replace(entry, sequence=older.sequence + 1)
            for entry in entries
            if (older := stored.get((entry.kind, entry.subject))) is not None and older.state != entry.state and older.sequence >= entry.sequence
        )
        if raised:
            keeper.change(lambda state, now: take_in(state, now, raised))
        return entries + raised

    def _write(self, keeper: Keeper, seconds: float) -> None:
        # Whoever writes already takes ours along, so that a refresh does not wait for as long as an operator does. An entry that comes
        # while others are written is written in the next round.
        while self._unrecorded and self._writing.acquire(timeout=seconds):
            try:
                if not self._write_each(keeper, seconds):
                    return
            finally:
                self._writing.release()

    def _write_each(self, keeper: Keeper, seconds: float) -> bool:
        """Return whether the store took every entry that there was. One that it cannot take does not keep the others."""
        took_all = True
        for entry in list(self._unrecorded):
            try:
                self._call(keeper, "record", functools.partial(self._record, entry), seconds)
            except AbandonedError:
                return False
            except Exception:  # noqa: BLE001 - told already
                took_all = False
                continue
            self._recorded = merged(self._recorded, [entry])
            self._unrecorded.remove(entry)
        return took_all

    def _record(self, entry: Revocation, store: Store) -> None:
        store.record(self._id, entry)

    def _entries(self, store: Store) -> tuple[Revocations, str]:
        """Return the entries of the store, and what is wrong with the others."""
        try:
            listed = list(store.revocations(self._id))
        except EnvelopeError as error:
            # A list that nobody can read is as good as lost: what is known here is written back.
            return {}, str(error)
        whole = [entry for entry in listed if _is_entry(entry)]
        odd = len(listed) - len(whole)
        return merged({}, whole), f"{odd} of {len(listed)} stored revocations are no entries, and are left out" if odd else ""

    # Snapshots.

    def newer_answer(self, keeper: Keeper) -> Answer | None:
        """Return what another process published, if it is ours to use and newer than what is held."""
        loaded = self._ask(keeper, "load", lambda store: self._load(keeper, store))
        if loaded is None:
            return None
        stored, complaint = loaded
        now = read(keeper.clock)
        self._complain(keeper, now, "load", complaint)
        if stored is None or complaint:
            return None
        snapshot, held = stored.snapshot, keeper.state.asked_at
        age = max(0.0, now.wall - snapshot.asked_at)
        if age >= keeper.policy.refresh_interval + keeper.policy.max_stale:
            return None
        # A store knows the wall clock alone, so walls are compared: after a step back the larger of two clocks would make a snapshot
        # look younger than the answer that it is a copy of (R14).
        if held is not None and snapshot.asked_at <= held.wall:
            return None
        try:
            # Judged as of when it was asked for, so that a restart serves neither longer nor shorter than the process before it.
            keys, _ = keys_of(self._source, snapshot.body, max_keys=keeper.policy.max_keys, now=snapshot.asked_at)
        except KeysUnavailableError as error:
            self._complain(keeper, now, "content", f"the snapshot holds no keys: {error}")
            return None
        self._complain(keeper, now, "content", "")
        return Answer(keys, Instant(now.monotonic - age, snapshot.asked_at), snapshot.max_age)

    def _load(self, keeper: Keeper, store: Store) -> tuple[Stored | None, str]:
        """Return what lies in the store, and what is wrong with it."""
        try:
            stored = store.load(self._id)
        except EnvelopeError as error:
            return None, str(error)
        return stored, "" if stored is None else self._refusal(keeper, stored)

    def _refusal(self, keeper: Keeper, stored: Stored) -> str:
        if not _is_whole(stored):
            return f"expected a snapshot, got {quoted(stored)}"
        snapshot, limit = stored.snapshot, _LONGER * keeper.policy.max_document_bytes
        if (snapshot.issuer, snapshot.location) != (self._source.issuer, self._source.location):
            return "the snapshot is of another issuer or location"
        if snapshot.asked_at > keeper.clock.wall() + CLOCK_SKEW:
            return "the snapshot comes from the future"
        if len(snapshot.body) > limit:
            return f"the snapshot has {len(snapshot.body)} bytes, expected at most {limit}, {_LONGER} times max_document_bytes"
        return ""

    def lease(self, keeper: Keeper) -> tuple[Lease | None] | None:
        """Return a lease, or that another process has it; None if the store is passed by."""
        granted: list[Lease] = []
        given_up: list[bool] = []

        def take(store: Store) -> tuple[Lease | None]:
            lease = store.lease(self._id, keeper.policy.deadline)
            if lease is not None:
                granted.append(lease)
                if given_up:
                    # Nobody would fetch under a lease that came too late, and others would wait for it.
                    lease.release()
            return (lease,)

        answer = self._ask(keeper, "lease", take)
        if answer is None:
            given_up.append(True)
            # It may have come between the end of the wait and the line above.
            for lease in granted:
                self.release(keeper, lease)
        return answer

    def publish(self, keeper: Keeper, snapshot: Snapshot, lease: Lease) -> None:
        """Keep *snapshot* for other processes and for a restart."""
        self._ask(keeper, "publish", lambda store: store.publish(self._id, snapshot, lease.fence))

    def release(self, keeper: Keeper, lease: Lease) -> None:
        """Give *lease* back, to a store that failed meanwhile too: others would wait for its holder, who is done."""
        if not self._is_passed_by(keeper):
            self._ask(keeper, "release", lambda _: lease.release())
            return
        with suppress(Exception):  # A store that is passed by was told of already, and stays passed by.
            self._run(keeper, "release", lambda _: lease.release(), STORE_BUDGET)

    # Asking.

    def _is_passed_by(self, keeper: Keeper) -> bool:
        return self._passed_by is not None and read(keeper.clock).since(self._passed_by) < STORE_PASSED_BY

    def _ask(self, keeper: Keeper, operation: str, call: Callable[[Store], T]) -> T | None:
        """Return what the store answers, or None if it is passed by."""
        if self._is_passed_by(keeper):
            return None
        try:
            return self._call(keeper, operation, call, STORE_BUDGET)
        except Exception:  # noqa: BLE001 - a store may fail in any way, and must not take a login along
            return None

    def _call(self, keeper: Keeper, operation: str, call: Callable[[Store], T], seconds: float) -> T:
        """Return what the store answers, or tell that it failed, pass it by and raise."""
        try:
            answer = self._run(keeper, operation, call, seconds)
        except Exception as error:
            self._passed_by = now = read(keeper.clock)
            self._tell(keeper, now, operation, _described(error))
            raise
        self._passed_by = None
        return answer

    def _run(self, keeper: Keeper, operation: str, call: Callable[[Store], T], seconds: float) -> T:
        return self._calls.run(lambda: keeper.inside.run(lambda: call(self._store)), seconds, f"keyturn-store-{operation}")

    def _complain(self, keeper: Keeper, now: Instant, subject: str, complaint: str) -> None:
        """Tell what is wrong with what lies in the store, unless that was told last; an empty text says that it is good."""
        # Whoever waits for a lease looks many times a second, and tells of it once.
        if complaint and complaint != self._complaints.get(subject):
            self._tell(keeper, now, "load" if subject == "content" else subject, complaint)
        self._complaints[subject] = complaint

    def _tell(self, keeper: Keeper, now: Instant, operation: str, message: str) -> None:
        keeper.deliver([StoreFailed(issuer=self._source.issuer, at=now.wall, operation=operation, message=message)])


def _is_whole(stored: Stored) -> bool:
    """Return whether a store returned what it promises: anybody may write one."""
    snapshot = stored.snapshot if isinstance(stored, Stored) else None
    return (
        isinstance(snapshot, Snapshot)
        and isinstance(snapshot.body, bytes)
        and _is_number(snapshot.asked_at)
        and (snapshot.max_age is None or _is_number(snapshot.max_age))
    )


def _is_number(number: object) -> bool:
    # Not a number compares as false, and an integer may be too large for a float.
    return isinstance(number, (int, float)) and 0 <= number <= _LARGEST_NUMBER


def _is_entry(entry: object) -> bool:
    """Return whether *entry* is one that can be compared and kept: a sequence that is not a number would never be outranked."""
    return (
        isinstance(entry, Revocation)
        and entry.kind in get_args(Kind)
        and isinstance(entry.subject, str)
        and type(entry.sequence) is int
        and 0 <= entry.sequence <= _LARGEST_NUMBER
        and isinstance(entry.state, str)  # One that nobody knows counts as revoked.
        and (entry.kid is None or isinstance(entry.kid, str))
    )


def _described(error: Exception) -> str:
    """Return the kind and the text of an error: our own and the system's as they are, others cut and escaped."""
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - an error of a store may be as broken as the store
        return name
    own = isinstance(error, (AbandonedError, EnvelopeError, OSError, ThreadEndedError))
    return f"{name}: {text if own else quoted(text)}" if text else name


def _missing(known: Revocations, entries: Revocations) -> tuple[Revocation, ...]:
    """Return what is known to have been stored and is not, or only in an older state."""
    return tuple(entry for subject, entry in known.items() if subject not in entries or entries[subject].sequence < entry.sequence)
