"""A shared store that is down, slow, lies or evicts: row F84 of the fault matrix. Nothing depends on a store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.contract.drivers import DRIVERS, PATIENCE, quiet, until
from tests.faults.fleet import Fleet, hasty, verdict
from tests.faults.harness import CASES, ONE_EACH, PATIENT, Case, Scene
from tests.faults.scripted_store import OPERATIONS, READING, OddError, ScriptedStore, raising, stuck

from keyturn import KeysUnavailableError, MemoryStore, RolloverPolicy
from keyturn._core.revocation import Revocation
from keyturn._threads import MOST_ABANDONED
from keyturn.events import FetchSucceeded, KeyRevoked, StoreFailed
from keyturn.stores.store import Snapshot, Stored
from keyturn.testing import FakeClock, FakeIssuer

ERRORS = [OSError("gone"), ValueError("text"), SystemExit(1), OddError(), RuntimeError("password=hunter2\n" * 100)]
HERE = ("https://issuer.test", "https://issuer.test/.well-known/openid-configuration", "https://issuer.test/jwks.json")
"""Issuer, location and address of the keys, as a snapshot of the fleet's own issuer names them."""
MANY = 20


def at_store(case: Case) -> tuple[Scene, ScriptedStore]:
    """Return a scene of one client, and its store."""
    clock = FakeClock()
    store = ScriptedStore(MemoryStore(clock=clock))
    return Scene(case, FakeIssuer(clock=clock), policy=PATIENT, store=store), store


@pytest.fixture
def free() -> Iterator[threading.Event]:
    """An event that whatever hangs waits for; set at the end."""
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_f84_store_is_down(case: Case) -> None:
    """At the start and during use: nobody notices, one refresh serves all, and the failure is told once."""
    scene, store = at_store(case)
    with scene:
        scene.works(lambda: store.during(raising(OSError("gone"))))
        (told,) = scene.told(StoreFailed)
        assert (told.operation, told.message) == ("revocations", "OSError: gone")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_f84_store_is_slow(case: Case, free: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that is not over within its budget is given up, and the issuer is asked within the same wait."""
    hasty(monkeypatch)
    scene, store = at_store(case)
    with scene:
        scene.works(lambda: store.during(stuck(free)))
        told = scene.told(StoreFailed)
        assert told[0].operation == "revocations"
        assert all("not over within 0.1 s" in event.message for event in told)
        free.set()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_f84_one_operation_raises(operation: str, error: BaseException) -> None:
    """Whatever any call raises, the new key is served; the text of a stranger is told escaped and cut."""
    scene, store = at_store(ONE_EACH[0])
    with scene:
        scene.works(lambda: store.during(raising(error), operation))
        until(lambda: scene.told(StoreFailed), "the event")
        # The forged token's refresh may have come to the same call before the first one failed there.
        for told in scene.told(StoreFailed):
            assert told.operation == operation
            assert type(error).__name__ in told.message
            assert len(told.message) < 120
            assert "\n" not in told.message


@pytest.mark.parametrize("operation", OPERATIONS)
def test_f84_one_operation_hangs(operation: str, free: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever call hangs, the new key is served."""
    hasty(monkeypatch)
    scene, store = at_store(ONE_EACH[1])
    with scene:
        scene.works(lambda: store.during(stuck(free), operation))
        until(lambda: scene.told(StoreFailed), "the event")
        assert {operation} == {event.operation for event in scene.told(StoreFailed)}
        free.set()


@pytest.mark.parametrize(
    ("operation", "garbage"),
    [
        ("revocations", [1, 2]),
        ("revocations", 7),
        ("revocations", [Revocation("thumbprint", "a", float("nan"), "reinstated")]),  # type: ignore[arg-type]
        ("load", "text"),
        ("load", Stored(None, 1)),  # type: ignore[arg-type]
        ("load", Stored(Snapshot(*HERE, float("nan"), b"{}"), 1)),
        ("load", Stored(Snapshot(*HERE, 10**400, b"{}"), 1)),
        ("load", Stored(Snapshot(*HERE, 1.0, b"{}", max_age=10**400), 1)),
        ("load", Stored(Snapshot(*HERE, -1.0, b"{}"), 1)),
        ("load", Stored(Snapshot(*HERE, 1.0, "{}"), 1)),  # type: ignore[arg-type]
        ("load", Stored(Snapshot(*HERE, "now", b"{}"), 1)),  # type: ignore[arg-type]
        ("lease", "yes"),
    ],
    ids=repr,
)
def test_f84_garbage_is_told_and_the_issuer_asked(operation: str, garbage: Any) -> None:
    """What a store returns is judged: nothing that is not whole is used, and nothing of it breaks a refresh."""
    for case in ONE_EACH:
        scene, store = at_store(case)
        with scene:
            scene.works(lambda store=store: store.during(lambda: garbage, operation))
            until(lambda scene=scene: scene.told(StoreFailed), "the event")
            for told in scene.told(StoreFailed):
                assert operation != "load" or told.message.startswith("expected a snapshot")


@pytest.mark.parametrize("sequence", [float("nan"), float("inf"), "5", None, True, -1, 2**63, 10**400], ids=repr)
@pytest.mark.parametrize("state", ["revoked", "reinstated"])
def test_f84_entry_that_no_sequence_can_outrank_stands_in_nobodys_way(memory: Fleet, sequence: Any, state: Any) -> None:
    """An entry whose sequence is no number that can be kept is left out: the operator's word counts, here and in the store (I1)."""
    token = memory.issuer.token()
    subject = memory.process(store=None).client.refresh().keys[0].thumbprint
    store = ScriptedStore(memory.store, lambda: [Revocation("thumbprint", subject, sequence, state)], "revocations")
    process = memory.process(store=store)
    assert verdict(process, token) == "accepted"
    process.client.revoke(kid="k1")
    assert verdict(process, token) == "revoked_key"
    assert [entry.state for entry in memory.store.revocations(memory.source)] == ["revoked"]


def test_f84_odd_entry_hides_no_good_one(memory: Fleet) -> None:
    """Beside what is no entry the good ones count, and what was left out is told once, however often it is seen."""
    good, token = memory.process(), memory.issuer.token()
    assert verdict(good, token) == "accepted"
    good.client.revoke(kid="k1")
    (entry,) = memory.store.revocations(memory.source)
    store = ScriptedStore(memory.store, lambda: [7, entry, replace(entry, sequence="9")], "revocations")
    process = memory.process(store=store)
    for _ in range(3):
        assert verdict(process, token) == "revoked_key"
        memory.clock.advance(300)
        verdict(process, token)
    assert ["2 of 3 stored revocations are no entries, and are left out"] == [event.message for event in memory.told(StoreFailed)]


@pytest.mark.parametrize("case", ONE_EACH, ids=lambda case: case.name)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_f84_store_evicts(operation: str, case: Case) -> None:
    """Everything is gone between any two calls: nobody notices, and what is fetched next is kept again."""
    scene, store = at_store(case)
    with scene:
        scene.works(lambda: store.during(store.lose, operation))
        scene.clock.advance(PATIENT.on_demand_interval)
        scene.accepts(scene.roll("k3"))
        until(lambda: "k3" in repr([shelf.stored.snapshot.body for shelf in store.inner._shelves.values() if shelf.stored]), "the new snapshot")
        assert not scene.told(StoreFailed)


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name != "release"])
def test_f84_store_is_passed_by_for_30_s(memory: Fleet, operation: str) -> None:
    """It is left alone for half a minute after a failure, and then asked for everything again."""
    store = ScriptedStore(memory.store, raising(OSError("gone")), operation)
    process = memory.process(store=store)
    assert verdict(process, memory.issuer.token()) == "accepted"
    assert [operation] == [event.operation for event in memory.told(StoreFailed)]
    calls = len(store.calls)
    memory.clock.advance(29.9)
    process.client.refresh()
    quiet()
    assert calls == len(store.calls)
    store.act = lambda: None
    memory.clock.advance(0.2)
    process.client.refresh()
    quiet()
    assert ["revocations", "load", "lease", "load", "publish", "release"] == store.calls[calls:]


def test_f84_no_fetch_is_kept_back_by_stuck_calls(memory: Fleet, free: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many calls of a store hang, the issuer is asked, and the threads that hang are bounded (I5)."""
    hasty(monkeypatch)
    store = ScriptedStore(memory.store, stuck(free))
    process = memory.process(store=store)
    for number in range(10):
        process.client.refresh()
        memory.clock.advance(301)
        memory.issuer.fetches.expect(jwks=number + 1)
    hanging = [thread for thread in threading.enumerate() if thread.name == "keyturn-store-revocations"]
    # A refresh and a look may count at the same instant.
    assert 0 < len(hanging) <= MOST_ABANDONED + 1
    free.set()


@pytest.mark.parametrize("driver", DRIVERS)
def test_f84_held_key_never_waits_for_the_store(memory: Fleet, free: threading.Event, driver: str) -> None:
    """A look for revocations that hangs keeps no token, however long its budget."""
    store = ScriptedStore(memory.store)
    process, token = memory.process(store=store), memory.issuer.token()
    assert verdict(process, token) == "accepted"
    memory.clock.advance(300)
    calls = store.calls.count("revocations")
    with store.during(stuck(free), "revocations"):
        outcomes = DRIVERS[driver].start(process, [token] * MANY).done()
        assert {outcome.key_id for outcome in outcomes} == {"k1"}
        until(lambda: store.calls.count("revocations") == calls + 1, "one look")
        free.set()


def test_f84_revocation_of_a_store_that_was_down_at_the_start_is_found(memory: Fleet) -> None:
    """A process that could not read the list goes on without it, and looks again as soon as the store is asked again."""
    first, token = memory.process(), memory.issuer.token()
    assert verdict(first, token) == "accepted"
    first.client.revoke(kid="k1")
    store = ScriptedStore(memory.store, raising(OSError("gone")))
    process = memory.process(store=store)
    assert verdict(process, token) == "accepted"
    store.act = lambda: None
    memory.clock.advance(90)
    verdict(process, token)
    assert verdict(process, token) == "revoked_key"
    assert len(memory.told(KeyRevoked)) == 2


@pytest.mark.parametrize("error", [OSError("full"), SystemExit(1)], ids=lambda error: type(error).__name__)
def test_f84_revocation_is_kept_until_the_store_takes_it(memory: Fleet, error: BaseException) -> None:
    """`revoke()` counts at once although the store fails, and is written with a later refresh."""
    store = ScriptedStore(memory.store, raising(error), "record")
    process, token = memory.process(store=store), memory.issuer.token()
    assert verdict(process, token) == "accepted"
    process.client.revoke(kid="k1")
    assert verdict(process, token) == "revoked_key"
    assert not memory.store.revocations(memory.source)
    store.act = lambda: None
    memory.clock.advance(31)
    process.client.refresh()
    quiet()
    assert len(memory.store.revocations(memory.source)) == 1


def test_f84_slow_write_of_an_operator_keeps_no_refresh(memory: Fleet, free: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """While `revoke()` waits for the store, a refresh does not; what others had recorded meanwhile is written in the same go."""
    hasty(monkeypatch)
    entered = threading.Event()
    store = ScriptedStore(memory.store, stuck(free, entered), "record")
    process = memory.process(store=store, policy=RolloverPolicy(deadline=PATIENCE))
    assert verdict(process, memory.issuer.token()) == "accepted"
    operator = threading.Thread(target=lambda: process.client.revoke(kid="other"), daemon=True)
    operator.start()
    assert entered.wait(PATIENCE)
    assert process.client.refresh().ready
    assert operator.is_alive()
    second = threading.Thread(target=lambda: process.client.revoke(kid="another"), daemon=True)
    second.start()
    until(lambda: len(process.client._refreshing._store._unrecorded) == 2, "the second entry")
    free.set()
    for thread in (operator, second):
        thread.join(PATIENCE)
    assert {entry.subject for entry in memory.store.revocations(memory.source)} == {"other", "another"}


def test_f84_store_that_calls_back_fails_at_once(memory: Fleet) -> None:
    """A store that asks the client that it serves is told so, instead of waiting for itself."""
    told: list[str] = []

    def ask() -> None:
        with pytest.raises(KeysUnavailableError) as caught:
            process.client.keys_for({"alg": "ES256", "kid": "k1"})
        told.append(str(caught.value))

    process = memory.process(store=ScriptedStore(memory.store, ask, "load"), policy=RolloverPolicy(deadline=60.0))
    assert verdict(process, memory.issuer.token()) == "accepted"
    assert all("waits for itself" in text for text in told)
    assert told
    assert not memory.told(StoreFailed)


def older(fleet: Fleet) -> Callable[[], object]:
    """Return an act that answers with what was published a day and a half ago."""
    stored = Stored(fleet.snapshot(fleet.clock.wall() - 1.5 * 86_400), 10**18)
    return lambda: stored


def test_f84_store_that_always_answers_with_the_past_keeps_nobody_out(memory: Fleet) -> None:
    """A store that is stuck at an old answer delays nothing: each rollover is served on the first request."""
    store = ScriptedStore(memory.store, older(memory), "load")
    process = memory.process(store=store)
    for number in range(3):
        assert verdict(process, memory.roll(f"new-{number}")) == "accepted"
        memory.clock.advance(PATIENT.on_demand_interval)
    assert not [event for event in memory.told(FetchSucceeded) if event.reason == "store"]
    assert set(READING) <= set(store.calls)
