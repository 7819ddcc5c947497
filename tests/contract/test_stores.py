"""One suite for every store that comes with the library: what `Store` promises, and rows F86 and F88 of the fault matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from keyturn._core.revocation import Revocation
from keyturn.stores.file import FileStore
from keyturn.stores.memory import MemoryStore
from keyturn.stores.store import Snapshot, Store, source_id
from keyturn.testing.clock import FakeClock

ISSUER = "https://login.example.com"
LOCATION = "https://login.example.com/keys"
SOURCE = source_id(ISSUER, LOCATION)
OTHER = source_id("https://login.example.org", LOCATION)
NOW_MS = 1_800_000_000_000
TICK = 0.001

SNAPSHOT = Snapshot(ISSUER, LOCATION, LOCATION, asked_at=1_799_999_990.25, body=b'{"keys":[]}\n\x00\xff', max_age=300.0)
NEWER = replace(SNAPSHOT, asked_at=1_800_000_050.0, body=b'{"keys":[{}]}', max_age=None)
REVOKED = Revocation("thumbprint", "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", 1000, "revoked", kid="2026-é")
TAKEN_BACK = replace(REVOKED, sequence=2000, state="reinstated")


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that stands still."""
    return FakeClock()


@pytest.fixture(params=["memory", "sealed files", "unsealed files"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    """Yield an empty store of each kind."""
    match request.param:
        case "memory":
            yield MemoryStore(clock=clock)
        case "sealed files":
            yield FileStore(tmp_path / "store", secret="0123456789abcdef", clock=clock)
        case _:
            yield FileStore(tmp_path / "store", unsealed=True, clock=clock)


def test_store_has_every_method_of_the_protocol(store: Store) -> None:
    """Every store is a `Store`."""
    assert isinstance(store, Store)


def test_empty_store_has_nothing(store: Store) -> None:
    """Nothing published is None, nothing recorded is empty."""
    assert (None, []) == (store.load(SOURCE), list(store.revocations(SOURCE)))


@pytest.mark.parametrize("snapshot", [SNAPSHOT, NEWER, replace(SNAPSHOT, body=b"", asked_at=0.0, max_age=0.0)])
def test_what_was_published_is_loaded_unchanged(store: Store, snapshot: Snapshot) -> None:
    """Every field comes back as it was, the instant of the question among them: a restart makes nothing younger (F82)."""
    assert store.publish(SOURCE, snapshot, 7)
    loaded = store.load(SOURCE)
    assert loaded is not None
    assert (snapshot, 7) == (loaded.snapshot, loaded.fence)


def test_newer_fence_replaces(store: Store) -> None:
    """A newer fence publishes over an older one."""
    store.publish(SOURCE, SNAPSHOT, 7)
    assert store.publish(SOURCE, NEWER, 8)
    loaded = store.load(SOURCE)
    assert loaded is not None
    assert (NEWER, 8) == (loaded.snapshot, loaded.fence)


@pytest.mark.parametrize("late", [0, 6, 7])
def test_older_or_equal_fence_is_refused(store: Store, late: int) -> None:
    """The last fetched wins, not the last written (F86)."""
    store.publish(SOURCE, NEWER, 7)
    assert not store.publish(SOURCE, SNAPSHOT, late)
    loaded = store.load(SOURCE)
    assert loaded is not None
    assert (NEWER, 7) == (loaded.snapshot, loaded.fence)


def test_sources_are_islands(store: Store) -> None:
    """Documents, leases and revocations of one source are nothing to another (R15)."""
    store.publish(SOURCE, SNAPSHOT, 7)
    store.record(SOURCE, REVOKED)
    assert store.lease(SOURCE, 5) is not None
    assert (None, []) == (store.load(OTHER), list(store.revocations(OTHER)))
    assert store.lease(OTHER, 5) is not None


def test_lease_keeps_others_out_until_its_end(store: Store, clock: FakeClock) -> None:
    """A lease of 5 s covers [t, t+5) and ends by itself, as its holder may have died (F87)."""
    assert store.lease(SOURCE, 5) is not None
    clock.advance(5 - TICK)
    assert store.lease(SOURCE, 5) is None
    clock.advance(TICK)
    assert store.lease(SOURCE, 5) is not None


def test_released_lease_is_free(store: Store) -> None:
    """After `release()` the next one gets the lease at once."""
    lease = store.lease(SOURCE, 5)
    assert lease is not None
    lease.release()
    assert store.lease(SOURCE, 5) is not None


def test_only_the_owner_releases(store: Store, clock: FakeClock) -> None:
    """A release that comes after the end leaves the successor's lease alone; a second release does nothing."""
    late = store.lease(SOURCE, 5)
    assert late is not None
    clock.advance(5)
    successor = store.lease(SOURCE, 5)
    assert successor is not None
    late.release()
    assert store.lease(SOURCE, 5) is None
    successor.release()
    successor.release()
    assert store.lease(SOURCE, 5) is not None


def test_lease_ends_when_the_clock_is_set_back(store: Store, clock: FakeClock) -> None:
    """A clock that is set back by a day does not make a lease of 5 s last for a day (R14)."""
    assert store.lease(SOURCE, 5) is not None
    clock.step_wall(-86_400)
    clock.advance(5)
    assert store.lease(SOURCE, 5) is not None


def test_fence_is_the_time_in_milliseconds(store: Store) -> None:
    """A store that lost everything issues fences above those it issued before."""
    lease = store.lease(SOURCE, 5)
    assert lease is not None
    assert NOW_MS == lease.fence


def test_fences_grow_although_time_does_not(store: Store, clock: FakeClock) -> None:
    """Each fence exceeds every earlier one, within one millisecond and after the clock was set back (F86)."""
    fences = []
    for step in (0, 0, -3600, 0):
        clock.step_wall(step)
        lease = store.lease(SOURCE, 5)
        assert lease is not None
        fences.append(lease.fence)
        lease.release()
    assert [NOW_MS, NOW_MS + 1, NOW_MS + 2, NOW_MS + 3] == fences


def test_fence_exceeds_what_was_published(store: Store) -> None:
    """Whoever gets a lease can publish, although a clock that runs ahead published before."""
    store.publish(SOURCE, SNAPSHOT, NOW_MS + 5000)
    lease = store.lease(SOURCE, 5)
    assert lease is not None
    assert NOW_MS + 5001 == lease.fence
    assert store.publish(SOURCE, NEWER, lease.fence)


def test_late_write_of_a_lease_that_ended_is_refused(store: Store, clock: FakeClock) -> None:
    """The holder that was paused through its lease cannot publish over its successor (F86, F87)."""
    paused = store.lease(SOURCE, 5)
    clock.advance(5)
    successor = store.lease(SOURCE, 5)
    assert paused is not None
    assert successor is not None
    assert store.publish(SOURCE, NEWER, successor.fence)
    assert not store.publish(SOURCE, SNAPSHOT, paused.fence)


@pytest.mark.parametrize("entries", [[REVOKED, TAKEN_BACK], [TAKEN_BACK, REVOKED]])
def test_highest_sequence_wins_in_any_order(store: Store, entries: list[Revocation]) -> None:
    """A process with an old view does not lower what is recorded (R11, F88)."""
    for entry in entries:
        store.record(SOURCE, entry)
    assert [TAKEN_BACK] == list(store.revocations(SOURCE))


@pytest.mark.parametrize("order", [1, -1])
def test_revocation_wins_a_draw(store: Store, order: int) -> None:
    """Of two entries with one sequence the revocation holds, in whatever order they come."""
    for entry in [REVOKED, replace(REVOKED, state="reinstated")][::order]:
        store.record(SOURCE, entry)
    assert [REVOKED] == list(store.revocations(SOURCE))


def test_subjects_and_kinds_are_kept_apart(store: Store) -> None:
    """A kid that reads like a thumbprint is another subject."""
    kid = Revocation("kid", REVOKED.subject, 500, "revoked")
    other = Revocation("thumbprint", "other", 1, "revoked")
    for entry in (REVOKED, kid, other):
        store.record(SOURCE, entry)
    assert {REVOKED, kid, other} == set(store.revocations(SOURCE))


def test_publishing_leaves_revocations_alone(store: Store) -> None:
    """No document lowers a revocation (R11, F88)."""
    store.record(SOURCE, REVOKED)
    store.publish(SOURCE, SNAPSHOT, 7)
    store.publish(SOURCE, NEWER, 8)
    assert [REVOKED] == list(store.revocations(SOURCE))


def test_recording_leaves_the_document_alone(store: Store) -> None:
    """A revocation does not touch the document, nor its fence."""
    store.publish(SOURCE, SNAPSHOT, 7)
    store.record(SOURCE, REVOKED)
    loaded = store.load(SOURCE)
    assert loaded is not None
    assert (SNAPSHOT, 7) == (loaded.snapshot, loaded.fence)
