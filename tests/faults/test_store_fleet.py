"""Many workers with one store: row F87 of the fault matrix. One of them asks the issuer, and whoever dies at it is succeeded."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from tests.contract.drivers import PATIENCE, Calls, Threads, quiet, until, waiting
from tests.faults.fleet import Fleet, hasty, verdict
from tests.faults.harness import PATIENT
from tests.faults.scripted_store import ScriptedStore, raising, stuck

from keyturn import RolloverPolicy
from keyturn.events import Event, KeySetChanged
from keyturn.stores.store import Snapshot

WORKERS = 200
SHORT = RolloverPolicy(deadline=1.0)
UNAVAILABLE = {"fetch_failed", "keys_unavailable"}
"""A busy machine may miss the deadline before the refresh has said why it failed; both are a 503."""


class Crowd:
    """Two hundred workers of one fleet, each with the keys that the store had when it was made."""

    def __init__(self, fleet: Fleet, store: Any) -> None:
        self.events: list[Event] = []
        self.workers = fleet.crowd(WORKERS, store=store, on_event=self.events.append)

    def call(self, token: str) -> list[Calls]:
        """Have each worker asked once, all at the same time; return as soon as all wait."""
        calls = [Threads().start(worker, [token]) for worker in self.workers]
        for worker in self.workers:
            waiting(worker.client, 1)
        return calls

    def accepts(self, calls: list[Calls], kid: str) -> None:
        """Demand that every caller was let in with the key *kid*."""
        outcomes = Counter(getattr(call.done()[0], "key_id", repr(call.done()[0])) for call in calls)
        assert outcomes == {kid: WORKERS}
        quiet()


@pytest.fixture
def scripted(memory: Fleet) -> Iterator[ScriptedStore]:
    """The scripted store of the fleet."""
    store = ScriptedStore(memory.store)
    yield store
    quiet()


def warmed(fleet: Fleet, store: ScriptedStore) -> Crowd:
    """Return a crowd that holds the first key; one of it asked the issuer for all."""
    crowd, token = Crowd(fleet, store), fleet.issuer.token()
    for worker in crowd.workers:
        worker.validate(token)
    quiet()
    fleet.issuer.fetches.expect(discovery=1, jwks=1)
    fleet.issuer.fetches.clear()
    crowd.events.clear()
    fleet.clock.advance(1)
    return crowd


def test_f87_200_workers_ask_once(memory: Fleet, scripted: ScriptedStore) -> None:
    """One rollover: the holder of the lease asks, the others wait and take what it publishes; each tells of its new set."""
    crowd = warmed(memory, scripted)
    new = memory.roll()
    with memory.issuer.gate() as gate:
        calls = crowd.call(new)
        assert gate.wait_for_arrival(PATIENCE)
        assert gate.arrived == 1
        gate.open()
        crowd.accepts(calls, "k2")
    memory.issuer.fetches.expect(jwks=1)
    assert sum(isinstance(event, KeySetChanged) for event in crowd.events) == WORKERS
    # Whoever holds the lease gives it back.
    assert memory.store.lease(memory.source, 5) is not None


def test_f87_dead_holder_of_200_is_succeeded_when_its_lease_ends(memory: Fleet, scripted: ScriptedStore) -> None:
    """The holder died: the others wait, nobody asks; when the lease ends one of them asks for all, and a late write is refused."""
    crowd = warmed(memory, scripted)
    new = memory.roll()
    late = memory.snapshot(memory.clock.wall())
    dead = memory.store.lease(memory.source, 5)
    assert dead is not None
    calls = crowd.call(new)
    until(lambda: scripted.calls.count("lease") > 2 * WORKERS, "some rounds of waiting")
    memory.issuer.fetches.expect(discovery=0, jwks=0)
    with memory.issuer.gate() as gate:
        memory.clock.advance(5)
        assert gate.wait_for_arrival(PATIENCE)
        assert not memory.store.publish(memory.source, late, 0)
        gate.open()
        crowd.accepts(calls, "k2")
    memory.issuer.fetches.expect(jwks=1)
    kept = memory.store.load(memory.source)
    assert not memory.store.publish(memory.source, late, dead.fence)
    assert memory.store.load(memory.source) == kept


def test_f87_without_a_store_the_schedule_is_spread(memory: Fleet) -> None:
    """Two hundred workers that started in the same second draw their lines over the last tenth of the day."""
    workers = memory.crowd(WORKERS, store=None)
    for worker in workers:
        worker.client.refresh()
    lines = Counter(worker.client._keeper.state.line // 60 for worker in workers)
    assert min(lines) >= 0.9 * 86_400 // 60
    assert max(lines) <= 86_400 // 60
    assert max(lines.values()) < WORKERS / 10


def test_f87_one_process_asks_for_all(fleet: Fleet) -> None:
    """Two cold processes at once, with a real store: the holder of the lease asks, the other takes what it publishes."""
    token = fleet.issuer.token()
    with fleet.issuer.gate(document="both") as gate:
        first = Threads().start(fleet.process(), [token] * 3)
        assert gate.wait_for_arrival(PATIENCE)
        process = fleet.process()
        second = Threads().start(process, [token] * 3)
        waiting(process.client, 3)
        gate.open()
        assert all(not isinstance(outcome, Exception) for outcome in (*first.done(), *second.done()))
    fleet.issuer.fetches.expect(discovery=1, jwks=1)


def test_f87_new_key_is_found_in_the_store(fleet: Fleet) -> None:
    """A worker looks there before it asks the issuer, so that one rollover is asked for once."""
    first, second = fleet.process(), fleet.process()
    for process in (first, second):
        assert verdict(process, fleet.issuer.token()) == "accepted"
    new = fleet.roll()
    fleet.clock.advance(1)
    for process in (first, second):
        assert verdict(process, new) == "accepted"
    fleet.issuer.fetches.expect(discovery=1, jwks=2)


def test_f87_store_is_looked_at_again_under_the_lease(memory: Fleet, scripted: ScriptedStore) -> None:
    """Another process published between the look into the store and the lease: nobody asks twice."""

    def publish() -> None:
        memory.store.publish(memory.source, memory.snapshot(memory.clock.wall()), 1)

    scripted.act, scripted.operation = publish, "lease"
    assert verdict(memory.process(store=scripted), memory.issuer.token()) == "accepted"
    memory.issuer.fetches.expect(discovery=0, jwks=0)
    assert memory.store.lease(memory.source, 5) is not None


def test_f87_answer_that_was_waited_for_counts_under_the_lease_too(memory: Fleet, scripted: ScriptedStore) -> None:
    """The holder published and gave the lease back between two looks of a waiter, who then does not ask again for the same."""
    process = memory.process(store=scripted)
    assert verdict(process, memory.issuer.token()) == "accepted"
    memory.clock.advance(10)
    memory.issuer.fetches.clear()
    turns: list[Any] = [memory.store.lease(memory.source, 5)]

    def publish_at_the_second_turn() -> None:
        turns.append(None)
        if len(turns) == 3:
            assert memory.store.publish(memory.source, memory.snapshot(memory.clock.wall()), turns[0].fence)
            turns[0].release()

    scripted.act, scripted.operation = publish_at_the_second_turn, "lease"
    assert verdict(process, memory.issuer.forge(key="k7")) == "unknown_key"
    assert len(turns) == 3
    memory.issuer.fetches.expect(discovery=0, jwks=0)


def test_f87_dead_holder_is_succeeded_when_its_lease_ends(fleet: Fleet) -> None:
    """Its holder died before anybody else came: others wait for the end of the lease, and are 503 until then, never 401."""
    assert fleet.store.lease(fleet.source, 5) is not None
    scene = fleet.scene(policy=SHORT)
    assert verdict(scene.validator, fleet.issuer.token()) in UNAVAILABLE
    fleet.issuer.fetches.expect(discovery=0, jwks=0)
    fleet.clock.advance(5)
    scene.heals(fleet.issuer.token())
    quiet()
    assert fleet.store.load(fleet.source) is not None


def test_f87_lease_that_nobody_ever_gets_keeps_no_key_out(memory: Fleet, scripted: ScriptedStore) -> None:
    """A store that says for ever that another process has the lease costs one refresh; the next one asks the issuer without it."""
    lost = memory.store.lease(memory.source, 10**9)
    assert lost is not None
    scene = memory.scene(store=scripted, policy=SHORT)
    token = memory.issuer.token()
    assert verdict(scene.validator, token) in UNAVAILABLE
    memory.issuer.fetches.expect(discovery=0, jwks=0)
    scene.heals(token)
    memory.clock.advance(PATIENT.on_demand_interval)
    scene.heals(memory.roll())
    # Nothing is published without the lease, and once it is given back it is used again.
    assert memory.store.load(memory.source) is None
    lost.release()
    memory.clock.advance(PATIENT.on_demand_interval)
    scene.heals(memory.roll("k3"))
    quiet()
    assert memory.store.load(memory.source) is not None


@pytest.mark.parametrize("operation", ["publish", "load"])
def test_f87_lease_is_given_back_whatever_else_fails(memory: Fleet, scripted: ScriptedStore, operation: str) -> None:
    """A store that fails after the lease was granted is passed by, but the lease goes back: the next process asks at once."""
    granted: list[str] = []

    def fail_once_granted() -> None:
        if "lease" in scripted.calls:
            granted.append("lease")
            raise OSError("gone")

    scripted.act, scripted.operation = fail_once_granted, operation
    assert verdict(memory.process(store=scripted), memory.issuer.token()) == "accepted"
    assert granted
    assert memory.store.lease(memory.source, 5) is not None


def test_f87_lease_is_given_back_after_a_failed_refresh(fleet: Fleet) -> None:
    """The issuer failed: the next process may ask at once."""
    with fleet.issuer.down():
        assert verdict(fleet.process(), fleet.issuer.token()) == "fetch_failed"
    lease = fleet.store.lease(fleet.source, 5)
    assert lease is not None
    lease.release()
    assert verdict(fleet.process(), fleet.issuer.token()) == "accepted"
    assert fleet.store.lease(fleet.source, 5) is not None


def test_f87_lease_that_comes_too_late_is_given_back(memory: Fleet, scripted: ScriptedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that grants a lease after its budget would keep the whole fleet waiting for nobody."""
    hasty(monkeypatch)
    free = threading.Event()
    process = memory.process(store=scripted)
    scripted.act, scripted.operation = stuck(free), "lease"
    process.validate(memory.issuer.token())
    free.set()
    quiet()
    assert memory.store.lease(memory.source, 5) is not None


def test_f87_lease_that_comes_as_it_is_given_up_is_given_back(memory: Fleet, scripted: ScriptedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait for the store ended in the moment in which it had granted the lease: nobody holds it then."""
    process = memory.process(store=scripted)
    calls = process.client._refreshing._store._calls
    real = calls.run

    def too_late(call: Any, seconds: float, name: str) -> Any:
        answer = real(call, seconds, name)
        if name == "keyturn-store-lease":
            raise TimeoutError("not over")
        return answer

    monkeypatch.setattr(calls, "run", too_late)
    assert verdict(process, memory.issuer.token()) == "accepted"
    memory.issuer.fetches.expect(discovery=1, jwks=1)
    assert memory.store.lease(memory.source, 5) is not None


def test_f87_store_that_loses_the_lease_lets_nothing_older_win(memory: Fleet, scripted: ScriptedStore) -> None:
    """Two processes believe that they hold the lease: the one that asked later wins, in whatever order they write."""
    token = memory.issuer.token()
    first, second = memory.process(store=scripted), memory.process(store=scripted)
    with memory.issuer.gate(document="both") as gate:
        early = Threads().start(first, [token])
        assert gate.wait_for_arrival(PATIENCE)
        scripted.lose_lease()
        memory.clock.advance(1)
        later = Threads().start(second, [token])
        assert gate.wait_for_arrival(PATIENCE, count=2)
        gate.open()
        early.done()
        later.done()
    quiet()
    memory.issuer.fetches.expect(discovery=2, jwks=2)
    snapshot: Snapshot = memory.store.load(memory.source).snapshot
    assert snapshot.asked_at == memory.clock.wall()


def test_f87_operator_asks_the_issuer_itself(fleet: Fleet) -> None:
    """`refresh()` returns what was asked for after the call, whatever the store has."""
    process = fleet.process()
    for count in (1, 2):
        process.client.refresh()
        fleet.issuer.fetches.expect(jwks=count)


def test_f87_failure_of_the_holder_is_not_that_of_the_others(memory: Fleet, scripted: ScriptedStore) -> None:
    """The holder's own fetch fails, the lease goes back, and who waited asks for itself within the same wait."""
    token = memory.issuer.token()
    holder, waiter = memory.process(store=scripted), memory.process(store=scripted, policy=RolloverPolicy(deadline=PATIENCE))
    with memory.issuer.gate(document="both") as gate:
        fetch = holder.client._fetcher.fetch
        holder.client._fetcher.fetch = lambda *args, **settings: (fetch(*args, **settings), raising(OSError("cut"))())
        failing = Threads().start(holder, [token])
        assert gate.wait_for_arrival(PATIENCE)
        waits = Threads().start(waiter, [token])
        waiting(waiter.client, 1)
        gate.open()
        assert isinstance(failing.done()[0], Exception)
        assert waits.done()[0].key_id == "k1"
