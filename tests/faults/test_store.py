"""A shared store whose content is old, foreign, late or lost: rows F80, F82, F85, F86, F88 and F89 of the fault matrix."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest
from tests.contract.drivers import PATIENCE, Threads, quiet, until
from tests.faults.fleet import DAY, Fleet, verdict
from tests.faults.scripted_store import ScriptedStore

from keyturn import RevokedKeyError
from keyturn.events import FetchSucceeded, KeyRevoked, StaleKeysServed, StoreFailed


@pytest.mark.parametrize("change", [{"issuer": "https://other.test"}, {"location": "https://issuer.test/other"}, {"body": b"<html>"}], ids=str)
def test_f80_foreign_or_broken_snapshot_is_ignored_and_told(fleet: Fleet, change: dict[str, Any]) -> None:
    """A snapshot of another issuer or location, or one that is no key set, is as if there were none; the next answer takes its place."""
    assert fleet.store.publish(fleet.source, fleet.snapshot(fleet.clock.wall(), **change), 1)
    assert verdict(fleet.process(), fleet.issuer.token()) == "accepted"
    fleet.issuer.fetches.expect(discovery=1, jwks=1)
    assert ["load"] == [event.operation for event in fleet.told(StoreFailed)]
    with fleet.issuer.down(document="both"):
        assert verdict(fleet.process(), fleet.issuer.token()) == "accepted"


def test_f80_snapshot_beyond_the_limit_is_not_parsed(memory: Fleet) -> None:
    """Content out of a store is bounded by the setting that bounds an answer of the issuer."""
    huge = memory.snapshot(memory.clock.wall(), body=b" " * 3_000_000 + memory.snapshot(0).body)
    assert memory.store.publish(memory.source, huge, 1)
    assert verdict(memory.process(), memory.issuer.token()) == "accepted"
    memory.issuer.fetches.expect(discovery=1, jwks=1)
    (told,) = memory.told(StoreFailed)
    assert "max_document_bytes" in told.message


def test_f82_restart_makes_nothing_younger(fleet: Fleet) -> None:
    """The instant of the fetch is stored: the new process asks on the day after it, not on the day after its own start."""
    assert verdict(fleet.process(), fleet.issuer.token()) == "accepted"
    fleet.clock.advance(DAY / 2)
    fleet.issuer.fetches.clear()
    restarted = fleet.process()
    assert verdict(restarted, fleet.issuer.token()) == "accepted"
    assert restarted.status().age == DAY / 2
    assert fleet.told(FetchSucceeded)[-1].reason == "store"
    fleet.issuer.fetches.expect(jwks=0)
    fleet.clock.advance(DAY / 2)
    assert verdict(restarted, fleet.issuer.token()) == "accepted"
    fleet.issuer.fetches.expect(jwks=1)


@pytest.mark.parametrize(("age", "expected"), [(DAY, "accepted"), (2 * DAY - 1, "accepted"), (2 * DAY, "fetch_failed"), (50 * 3600, "fetch_failed")])
def test_f82_old_snapshot_with_the_issuer_down(fleet: Fleet, age: float, expected: str) -> None:
    """Past due it is served as stale once the refresh has failed, and that is told; from 48 h on it is none."""
    assert fleet.store.publish(fleet.source, fleet.snapshot(fleet.clock.wall() - age), 1)
    with fleet.issuer.down(document="both"):
        assert verdict(fleet.process(), fleet.issuer.token()) == expected
    fleet.issuer.fetches.expect(discovery=1)
    assert [round(event.age) for event in fleet.told(StaleKeysServed)] == ([age] if expected == "accepted" else [])


def test_f82_old_snapshot_is_refreshed_before_it_is_used(fleet: Fleet) -> None:
    """Between 24 and 48 h the issuer is asked first: a key that it withdrew meanwhile has no more than its grace."""
    assert fleet.store.publish(fleet.source, fleet.snapshot(fleet.clock.wall() - 30 * 3600), 1)
    process = fleet.process()
    with fleet.issuer.gate(document="both") as gate:
        calls = Threads().start(process, [fleet.issuer.token()] * 3)
        assert gate.wait_for_arrival(PATIENCE)
        until(lambda: process.client.snapshot().keys, "the old set")
        late = Threads().start(process, [fleet.issuer.token()])
        # The late caller would be back by now if it were served: it is the only one that could end.
        until(lambda: all(waits(thread) for thread in late.threads), "the wait of the late caller")
        assert [*calls.outcomes, *late.outcomes] == [None] * 4
        gate.open()
        assert all(not isinstance(outcome, Exception) for outcome in (*calls.done(), *late.done()))
    fleet.issuer.fetches.expect(discovery=1, jwks=1)


def waits(thread: threading.Thread) -> bool:
    """Return whether *thread* waits for a refresh."""
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        if frame.f_code.co_name == "_patiently":
            return True
        frame = frame.f_back
    return False


@pytest.mark.parametrize(("ahead", "age"), [(60.0, 0.0), (61.0, None), (10 * DAY, None)])
def test_f82_snapshot_from_the_future(fleet: Fleet, ahead: float, age: float | None) -> None:
    """A minute ahead is skew between hosts, and age 0, never less; more is ignored and told."""
    assert fleet.store.publish(fleet.source, fleet.snapshot(fleet.clock.wall() + ahead), 1)
    with fleet.issuer.down(document="both"):
        process = fleet.process()
        assert verdict(process, fleet.issuer.token()) == ("fetch_failed" if age is None else "accepted")
        assert process.status().age == age
    assert len(fleet.told(StoreFailed)) == (age is None)


def test_f82_snapshot_from_the_future_grows_old_all_the_same(fleet: Fleet) -> None:
    """What came from a host whose clock is ahead is due a day after it was taken in, not later."""
    assert fleet.store.publish(fleet.source, fleet.snapshot(fleet.clock.wall() + 60), 1)
    process = fleet.process()
    assert verdict(process, fleet.issuer.token()) == "accepted"
    fleet.clock.advance(DAY)
    assert verdict(process, fleet.issuer.token()) == "accepted"
    fleet.issuer.fetches.expect(discovery=1, jwks=1)


def test_f85_snapshot_that_was_moved_from_another_issuer(fleet: Fleet) -> None:
    """An entry that was published for another issuer lets none of its keys in here (R15)."""
    other = Fleet(lambda _: fleet.store)
    stolen = other.snapshot(fleet.clock.wall(), issuer="https://evil.test", location="https://evil.test/keys")
    assert fleet.store.publish(fleet.source, stolen, 1)
    process = fleet.process()
    assert verdict(process, other.issuer.token()) == "invalid_signature"
    assert verdict(process, fleet.issuer.token()) == "accepted"
    assert {event.operation for event in fleet.told(StoreFailed)} == {"load"}


def test_f86_late_write_is_refused(fleet: Fleet) -> None:
    """A holder that was paused through its lease brings an older answer last: what the successor published stays."""
    slow = fleet.process()
    with fleet.issuer.gate() as gate:
        paused = Threads().start(slow, [fleet.issuer.token()])
        assert gate.wait_for_arrival(PATIENCE)
        fleet.clock.advance(5)
        successor = fleet.store.lease(fleet.source, 5)
        newer = fleet.snapshot(fleet.clock.wall())
        assert fleet.store.publish(fleet.source, newer, successor.fence)
        gate.open()
        paused.done()
    quiet()
    assert newer == fleet.store.load(fleet.source).snapshot


def test_f86_older_snapshot_never_replaces_a_newer_answer(fleet: Fleet) -> None:
    """A reader does not go back either, whatever fence an older fetch was written under."""
    process = fleet.process()
    old = fleet.snapshot(fleet.clock.wall())
    fleet.clock.advance(400)
    new = fleet.roll()
    assert verdict(process, new) == "accepted"
    stored = fleet.store.load(fleet.source)
    assert fleet.store.publish(fleet.source, old, stored.fence + 10_000_000)
    assert verdict(process, fleet.issuer.forge(key="k3")) == "unknown_key"
    assert ["k1", "k2"] == sorted(key.kid for key in process.client.snapshot().keys)


def test_f88_losing_the_list_lowers_nothing(fleet: Fleet) -> None:
    """The store loses its entries: they hold on in the process, the loss is told, and they are written back."""
    process, token = fleet.process(), fleet.issuer.token()
    assert verdict(process, token) == "accepted"
    process.client.revoke(kid="k1")
    fleet.lose()
    assert not fleet.store.revocations(fleet.source)
    assert verdict(process, token) == "revoked_key"
    fleet.clock.advance(300)
    assert verdict(process, token) == "revoked_key"
    assert any("lost" in event.message for event in fleet.told(StoreFailed))
    assert len(fleet.store.revocations(fleet.source)) == 1
    restarted = fleet.process()
    assert verdict(restarted, token) == "revoked_key"
    assert verdict(restarted, fleet.roll()) == "accepted"


def test_f88_process_with_an_old_view_wipes_nothing(fleet: Fleet) -> None:
    """A process that never saw the revocation refreshes and publishes: the entry stands, and every later process reads it."""
    first, behind, token = fleet.process(), fleet.process(), fleet.issuer.token()
    for process in (first, behind):
        assert verdict(process, token) == "accepted"
    first.client.revoke(kid="k1")
    entries = set(fleet.store.revocations(fleet.source))
    fleet.clock.advance(1)
    assert verdict(behind, fleet.roll()) == "accepted"
    assert set(fleet.store.revocations(fleet.source)) == entries
    assert verdict(behind, token) == "revoked_key"
    assert verdict(fleet.process(), token) == "revoked_key"


def test_f88_older_entry_does_not_win(fleet: Fleet) -> None:
    """A word that was given earlier, and comes later, takes nothing back: the highest sequence wins."""
    process, token = fleet.process(), fleet.issuer.token()
    assert verdict(process, token) == "accepted"
    process.client.revoke(kid="k1")
    process.client.reinstate(kid="k1")
    (taken_back,) = fleet.store.revocations(fleet.source)
    fleet.clock.advance(1)
    process.client.revoke(kid="k1")
    fleet.lose()
    fleet.store.record(fleet.source, taken_back)
    fleet.clock.advance(300)
    for _ in range(2):
        assert verdict(process, token) == "revoked_key"
    assert [entry.state for entry in fleet.store.revocations(fleet.source)] == ["revoked"]
    assert any("lost" in event.message for event in fleet.told(StoreFailed))


def test_f88_store_that_loses_entries_and_takes_none_back_fills_no_memory(memory: Fleet) -> None:
    """However long a list stays lost and cannot be written, what waits for it does not grow (I5)."""
    store = ScriptedStore(memory.store)
    process, token = memory.process(store=store), memory.issuer.token()
    assert verdict(process, token) == "accepted"
    process.client.revoke(kid="k1")
    store.lose_revocations()

    def full() -> None:
        raise OSError("no space left")

    with store.during(full, "record"):
        for _ in range(5):
            memory.clock.advance(300)
            assert verdict(process, token) == "revoked_key"
        assert len(process.client._refreshing._store._unrecorded) == 1
    memory.clock.advance(300)
    assert verdict(process, token) == "revoked_key"
    assert len(memory.store.revocations(memory.source)) == 1


def test_f88_entry_that_is_recorded_while_the_list_is_read_is_not_lost(memory: Fleet) -> None:
    """An operator's word that comes between the reading of the list and the look at it raises no false alarm."""
    store = ScriptedStore(memory.store)
    process, token = memory.process(store=store), memory.issuer.token()
    assert verdict(process, token) == "accepted"

    def read_and_be_overtaken() -> tuple[()]:
        store.act = lambda: None
        operator = threading.Thread(target=lambda: process.client.revoke(kid="k1"))
        operator.start()
        operator.join(PATIENCE)
        return ()

    memory.clock.advance(300)
    with store.during(read_and_be_overtaken, "revocations"):
        verdict(process, token)
    assert verdict(process, token) == "revoked_key"
    assert len(memory.store.revocations(memory.source)) == 1
    assert not memory.told(StoreFailed)


@pytest.mark.parametrize("fresh", [False, True], ids=["traffic", "keep_fresh"])
def test_f89_revocation_of_another_process_is_found(fleet: Fleet, fresh: bool) -> None:
    """A process in use looks at the store at least every 300 s although its keys are held and nothing is fetched."""
    first, second, token = fleet.process(), fleet.process(), fleet.issuer.token()
    for process in (first, second):
        assert verdict(process, token) == "accepted"
    first.client.revoke(kid="k1")
    seen = []
    if fresh:
        keeping = second.client.keep_fresh()
        keeping.__enter__()
    try:
        for _ in range(30):
            fleet.clock.advance(10)
            if fresh:
                second.client._keeper.look()
            try:
                second.validate(token)
            except RevokedKeyError:
                break
            until(second.client._is_idle, "the end of a look")
            seen.append("accepted")
    finally:
        if fresh:
            keeping.__exit__(None, None, None)
    assert verdict(second, token) == "revoked_key"
    assert 20 < len(seen) <= 30
    fleet.issuer.fetches.expect(discovery=1, jwks=1)


def test_f89_revocation_is_told_where_it_is_found(fleet: Fleet) -> None:
    """The process that learns of a revocation out of the store tells of it once; its other keys serve on."""
    first, second, token = fleet.process(), fleet.process(), fleet.issuer.token()
    fleet.issuer.publish("k2")
    for process in (first, second):
        assert verdict(process, token) == "accepted"
    first.client.revoke(kid="k1")
    fleet.clock.advance(300)
    for _ in range(3):
        verdict(second, token)
    assert len(fleet.told(KeyRevoked)) == 2
    assert verdict(second, fleet.issuer.token(key="k2")) == "accepted"


def test_f89_revocation_is_found_with_every_refresh(fleet: Fleet) -> None:
    """A refresh for any reason reads the list before it takes keys into force."""
    first, second, token = fleet.process(), fleet.process(), fleet.issuer.token()
    for process in (first, second):
        assert verdict(process, token) == "accepted"
    first.client.revoke(kid="k1")
    fleet.clock.advance(1)
    assert verdict(second, fleet.roll()) == "accepted"
    assert verdict(second, token) == "revoked_key"


def test_f89_what_nobody_here_knew_of_can_be_taken_back(fleet: Fleet) -> None:
    """`reinstate()` reads the list first: a program that an operator runs for this one call takes back what another process revoked."""
    serving, token = fleet.process(), fleet.issuer.token()
    assert verdict(serving, token) == "accepted"
    serving.client.revoke(kid="k1")
    fleet.clock.advance(1)
    fleet.process().client.reinstate(kid="k1")
    fleet.clock.advance(300)
    verdict(serving, token)
    assert verdict(serving, token) == "accepted"
