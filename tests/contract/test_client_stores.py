"""A client and its store: restarts, fleets, and stores that fail (R11; F80, F82, F84, F86-F89, B23, U36)."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.contract.drivers import AUDIENCE, PATIENCE, Threads, quiet, until, waiting

from keyturn import FileStore, KeySetClient, KeysUnavailableError, KeyturnError, MemoryStore, RevokedKeyError, RolloverPolicy, TokenValidator
from keyturn.events import Event, FetchSucceeded, KeyRevoked, StoreFailed
from keyturn.stores.store import Snapshot, Store, Stored, source_id
from keyturn.testing import FakeClock, FakeIssuer

DAY = 86_400.0


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """No thread outlives its work (I5)."""
    before = threading.enumerate()
    yield
    quiet(before)


HERE = ("https://issuer.test", "https://issuer.test/.well-known/openid-configuration", "https://issuer.test/jwks.json")
"""Issuer, location and address of the keys, as a snapshot of the fleet's own issuer names them."""


class Fleet:
    """One issuer, one store, and the processes that use them."""

    def __init__(self, store: Callable[[FakeClock], Any]) -> None:
        self.clock = FakeClock()
        self.issuer = FakeIssuer(clock=self.clock)
        self.store = store(self.clock)
        self.source = source_id(self.issuer.issuer, self.issuer.discovery_url)
        self.events: list[Event] = []
        self.clients: list[KeySetClient] = []

    def process(self, **settings: Any) -> TokenValidator:
        """Return the validator of a new process."""
        settings.setdefault("store", self.store)
        client = KeySetClient(self.issuer.issuer, fetcher=self.issuer.fetcher(), clock=self.clock, on_event=self.events.append, **settings)
        self.clients.append(client)
        return TokenValidator(client, audience=AUDIENCE)

    def snapshot(self, asked_at: float, **changes: Any) -> Snapshot:
        """Return what a process would have published that asked at *asked_at*."""
        body = json.dumps(self.issuer.jwks()).encode()
        good = Snapshot(self.issuer.issuer, self.issuer.discovery_url, self.issuer.jwks_url, asked_at, body)
        return replace(good, **changes)

    def told(self, kind: type[Event]) -> list[Any]:
        """Return the events of one kind, once all have been delivered."""
        until(lambda: all(client._keeper.deliver.is_idle() for client in self.clients), "the delivery of events")
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture(params=["memory", "files"])
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Fleet:
    """A fleet with each kind of store."""
    if request.param == "memory":
        return Fleet(lambda clock: MemoryStore(clock=clock))
    return Fleet(lambda clock: FileStore(tmp_path / "store", secret="0123456789abcdef", clock=clock))


@pytest.fixture
def memory() -> Fleet:
    """A fleet with a store in memory."""
    return Fleet(lambda clock: MemoryStore(clock=clock))


def verdict(validator: TokenValidator, token: str) -> str:
    """Validate, wait until everything that it started is over, and return `accepted` or the code of the error."""
    try:
        validator.validate(token)
    except KeyturnError as error:
        return error.code
    finally:
        quiet()
    return "accepted"


class TestRestart:
    """What a new process finds."""

    def test_restart_needs_no_request(self, fleet: Fleet) -> None:
        """A new process starts from the store, with the issuer down."""
        token = fleet.issuer.token()
        assert verdict(fleet.process(), token) == "accepted"
        fleet.issuer.fetches.clear()
        with fleet.issuer.down(document="both"):
            assert verdict(fleet.process(), token) == "accepted"
        fleet.issuer.fetches.expect(discovery=0, jwks=0)
        assert "store" in {event.reason for event in fleet.told(FetchSucceeded)}

    def test_restart_makes_nothing_younger(self, fleet: Fleet) -> None:
        """The age is that of the fetch: the new process asks on the day after it, not on the day after its own start (F82)."""
        assert verdict(fleet.process(), fleet.issuer.token()) == "accepted"
        fleet.clock.advance(DAY / 2)
        fleet.issuer.fetches.clear()
        restarted = fleet.process()
        assert verdict(restarted, fleet.issuer.token()) == "accepted"
        assert restarted.status().age == DAY / 2
        fleet.issuer.fetches.expect(jwks=0)
        fleet.clock.advance(DAY / 2)
        assert verdict(restarted, fleet.issuer.token()) == "accepted"
        fleet.issuer.fetches.expect(jwks=1)

    def test_revocation_holds_over_a_restart(self, fleet: Fleet) -> None:
        """The operator's word is in the store when `revoke()` returns, and is read before any key is taken into force (R11)."""
        first, token = fleet.process(), fleet.issuer.token()
        assert verdict(first, token) == "accepted"
        first.client.revoke(kid="k1")
        assert verdict(first, token) == "revoked_key"
        assert verdict(fleet.process(), token) == "revoked_key"

    def test_reinstating_holds_over_a_restart(self, fleet: Fleet) -> None:
        """Taking back is a further entry with a higher sequence, in the same millisecond too."""
        first, token = fleet.process(), fleet.issuer.token()
        assert verdict(first, token) == "accepted"
        first.client.revoke(kid="k1")
        first.client.reinstate(kid="k1")
        assert verdict(first, token) == "accepted"
        assert verdict(fleet.process(), token) == "accepted"

    def test_revocation_before_any_key_holds_over_a_restart(self, fleet: Fleet) -> None:
        """A kid that was revoked on a cold client refuses the first key that appears under it, in a later process too."""
        fleet.process().client.revoke(kid="k1")
        token = fleet.issuer.token()
        assert verdict(fleet.process(), token) == "revoked_key"
        assert verdict(fleet.process(), token) == "revoked_key"

    @pytest.mark.parametrize(
        ("age", "expected"), [(DAY, "accepted"), (2 * DAY - 1, "accepted"), (2 * DAY, "fetch_failed"), (50 * 3600, "fetch_failed")]
    )
    def test_old_snapshot_with_the_issuer_down(self, fleet: Fleet, age: float, expected: str) -> None:
        """Past due it is served once the refresh has failed; from 48 h on it is none (F82, U36)."""
        assert fleet.store.publish(fleet.source, fleet.snapshot(fleet.clock.wall() - age), 1)
        with fleet.issuer.down(document="both"):
            assert verdict(fleet.process(), fleet.issuer.token()) == expected
        fleet.issuer.fetches.expect(discovery=1)

    def test_old_snapshot_is_refreshed_before_it_is_used(self, fleet: Fleet) -> None:
        """Between 24 and 48 h the issuer is asked first: a key that it withdrew meanwhile has no more than its grace (F82)."""
        assert fleet.store.publish(fleet.source, fleet.snapshot(fleet.clock.wall() - 30 * 3600), 1)
        process = fleet.process()
        with fleet.issuer.gate(document="both") as gate:
            calls = Threads().start(process, [fleet.issuer.token()] * 3)
            assert gate.wait_for_arrival(PATIENCE)
            until(lambda: process.client.snapshot().keys, "the old set")
            late = Threads().start(process, [fleet.issuer.token()])
            # The late caller would be back by now if it were served: it is the only one that could end.
            until(lambda: any(frame_waits(thread) for thread in late.threads), "the wait of the late caller")
            assert [*calls.outcomes, *late.outcomes] == [None] * 4
            gate.open()
            assert all(not isinstance(outcome, Exception) for outcome in (*calls.done(), *late.done()))
        fleet.issuer.fetches.expect(discovery=1, jwks=1)

    @pytest.mark.parametrize(("ahead", "age"), [(60.0, 0.0), (61.0, None)])
    def test_snapshot_from_the_future(self, fleet: Fleet, ahead: float, age: float | None) -> None:
        """A minute ahead is skew between hosts, and age 0; more is ignored and told (B23)."""
        assert fleet.store.publish(fleet.source, fleet.snapshot(fleet.clock.wall() + ahead), 1)
        with fleet.issuer.down(document="both"):
            process = fleet.process()
            assert verdict(process, fleet.issuer.token()) == ("fetch_failed" if age is None else "accepted")
            assert process.status().age == age
        assert len(fleet.told(StoreFailed)) == (age is None)

    @pytest.mark.parametrize("change", [{"issuer": "https://other.test"}, {"location": "https://issuer.test/other"}, {"body": b"<html>"}])
    def test_foreign_or_broken_snapshot_is_ignored_and_told(self, memory: Fleet, change: dict[str, Any]) -> None:
        """A snapshot of another issuer or location, or one that is no key set, is as if there were none (F80)."""
        assert memory.store.publish(memory.source, memory.snapshot(memory.clock.wall(), **change), 1)
        assert verdict(memory.process(), memory.issuer.token()) == "accepted"
        memory.issuer.fetches.expect(discovery=1, jwks=1)
        assert ["load"] == [event.operation for event in memory.told(StoreFailed)]

    def test_revoked_by_configuration_is_not_for_the_store(self, memory: Fleet) -> None:
        """What one process is configured to refuse is its own affair: the others go on, and it ends with the setting."""
        token = memory.issuer.token()
        thumbprint = memory.process(store=None).client.refresh().keys[0].thumbprint
        configured = KeySetClient(memory.issuer.issuer, fetcher=memory.issuer.fetcher(), clock=memory.clock, store=memory.store, revoked=[thumbprint])
        assert verdict(TokenValidator(configured, audience=AUDIENCE), token) == "revoked_key"
        assert not memory.store.revocations(memory.source)
        assert verdict(memory.process(), token) == "accepted"


def frame_waits(thread: threading.Thread) -> bool:
    """Return whether *thread* waits for a refresh."""
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        if frame.f_code.co_name == "_patiently":
            return True
        frame = frame.f_back
    return False


class TestFleet:
    """Several processes with one store."""

    def test_one_process_asks_for_all(self, fleet: Fleet) -> None:
        """Two cold processes at once: the holder of the lease asks, the other takes what it publishes (F87)."""
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

    def test_store_is_looked_at_again_under_the_lease(self, memory: Fleet) -> None:
        """Another process published between the look into the store and the lease: nobody asks twice (F87)."""

        def publish() -> None:
            memory.store.publish(memory.source, memory.snapshot(memory.clock.wall()), 1)

        assert verdict(memory.process(store=Faulty(memory.store, publish, "lease")), memory.issuer.token()) == "accepted"
        memory.issuer.fetches.expect(discovery=0, jwks=0)
        assert memory.store.lease(memory.source, 5) is not None

    def test_new_key_is_found_in_the_store(self, fleet: Fleet) -> None:
        """A rollover is asked for once: the second process looks into the store before it asks the issuer (F87)."""
        first, second = fleet.process(), fleet.process()
        for process in (first, second):
            assert verdict(process, fleet.issuer.token()) == "accepted"
        fleet.issuer.publish("k2")
        fleet.issuer.promote("k2")
        fleet.clock.advance(1)
        for process in (first, second):
            assert verdict(process, fleet.issuer.token()) == "accepted"
        fleet.issuer.fetches.expect(discovery=1, jwks=2)

    def test_operator_asks_the_issuer_itself(self, fleet: Fleet) -> None:
        """`refresh()` returns what was asked for after the call, whatever the store has (U35)."""
        process = fleet.process()
        for count in (1, 2):
            process.client.refresh()
            fleet.issuer.fetches.expect(jwks=count)

    def test_dead_holder_is_succeeded_when_its_lease_ends(self, fleet: Fleet) -> None:
        """Its holder died: others wait for the end of the lease, and are 503 until then, never 401 (F87)."""
        assert fleet.store.lease(fleet.source, 5) is not None
        process = fleet.process(policy=RolloverPolicy(deadline=0.4))
        assert verdict(process, fleet.issuer.token()) == "fetch_failed"
        fleet.issuer.fetches.expect(discovery=0, jwks=0)
        fleet.clock.advance(5)
        assert verdict(process, fleet.issuer.token()) == "accepted"

    def test_lease_is_given_back(self, fleet: Fleet) -> None:
        """After a refresh, a failed one too, the next process may ask at once."""
        with fleet.issuer.down():
            assert verdict(fleet.process(), fleet.issuer.token()) == "fetch_failed"
        lease = fleet.store.lease(fleet.source, 5)
        assert lease is not None
        lease.release()
        assert verdict(fleet.process(), fleet.issuer.token()) == "accepted"
        assert fleet.store.lease(fleet.source, 5) is not None

    def test_late_write_is_refused(self, fleet: Fleet) -> None:
        """A holder that was paused through its lease brings an older answer last: what the successor published stays (F86)."""
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

    def test_older_snapshot_never_replaces_a_newer_answer(self, memory: Fleet) -> None:
        """A reader does not go back either, whatever the store says (F86, M49)."""
        process = memory.process()
        old = memory.snapshot(memory.clock.wall())
        memory.clock.advance(400)
        memory.issuer.publish("k2")
        memory.issuer.promote("k2")
        assert verdict(process, memory.issuer.token()) == "accepted"
        stored = memory.store.load(memory.source)
        assert memory.store.publish(memory.source, old, stored.fence + 10_000_000)
        assert verdict(process, memory.issuer.forge(key="k3")) == "unknown_key"
        assert ["k1", "k2"] == sorted(key.kid for key in process.client.snapshot().keys)

    @pytest.mark.parametrize("fresh", [False, True], ids=["traffic", "keep_fresh"])
    def test_revocation_of_another_process_is_found(self, fleet: Fleet, fresh: bool) -> None:
        """A process in use looks at the store at least every 300 s although its keys are held and nothing is fetched (F89)."""
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

    def test_losing_the_store_lowers_nothing(self, fleet: Fleet) -> None:
        """The store loses its entries: they hold on in the process, the loss is told, and they are written back (F88)."""
        process, token = fleet.process(), fleet.issuer.token()
        assert verdict(process, token) == "accepted"
        process.client.revoke(kid="k1")
        lose(fleet)
        assert not fleet.store.revocations(fleet.source)
        assert verdict(process, token) == "revoked_key"
        fleet.clock.advance(300)
        assert verdict(process, token) == "revoked_key"
        assert any("lost" in event.message for event in fleet.told(StoreFailed))
        assert len(fleet.store.revocations(fleet.source)) == 1
        assert verdict(fleet.process(), token) == "revoked_key"


def lose(fleet: Fleet) -> None:
    """Take everything out of the store."""
    if isinstance(fleet.store, MemoryStore):
        fleet.store._shelves.clear()
        return
    for path in Path(fleet.store._folder.path).iterdir():
        path.unlink()


class Faulty:
    """A store of which one method, or each, does what a test says first."""

    def __init__(self, inner: Store, act: Callable[[], object], operation: str | None = None) -> None:
        self._inner, self.act, self._operation = inner, act, operation
        self.calls: list[str] = []

    def _do(self, operation: str, *arguments: Any) -> Any:
        self.calls.append(operation)
        if self._operation in {None, operation}:
            answer = self.act()
            if answer is not None:
                return answer
        return getattr(self._inner, operation)(*arguments)

    def load(self, source: str) -> Any:
        """Act, then load."""
        return self._do("load", source)

    def publish(self, source: str, snapshot: Snapshot, fence: int) -> Any:
        """Act, then publish."""
        return self._do("publish", source, snapshot, fence)

    def lease(self, source: str, seconds: float) -> Any:
        """Act, then lease."""
        return self._do("lease", source, seconds)

    def revocations(self, source: str) -> Any:
        """Act, then list."""
        return self._do("revocations", source)

    def record(self, source: str, entry: Any) -> Any:
        """Act, then record."""
        return self._do("record", source, entry)


OPERATIONS = ["revocations", "load", "lease", "publish"]


def raising(error: BaseException) -> Callable[[], None]:
    """Return a function that raises *error*."""

    def throw() -> None:
        raise error

    return throw


def stuck(free: threading.Event, entered: threading.Event | None = None) -> Callable[[], None]:
    """Return a function that tells that it was *entered*, and hangs until it is *free*."""

    def hang() -> None:
        if entered is not None:
            entered.set()
        free.wait(PATIENCE)

    return hang


class TestFailingStore:
    """A store is an accelerator: nothing depends on it (F84)."""

    @pytest.mark.parametrize("error", [OSError("gone"), ValueError("text"), SystemExit(1)], ids=lambda error: type(error).__name__)
    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_store_that_raises_is_passed_by(self, memory: Fleet, operation: str, error: BaseException) -> None:
        """The issuer is asked directly, the failure is told once, and the store is left alone for 30 s."""
        store = Faulty(memory.store, raising(error), operation)
        process = memory.process(store=store)
        assert verdict(process, memory.issuer.token()) == "accepted"
        memory.issuer.fetches.expect(discovery=1, jwks=1)
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
        assert ["revocations", "load", "lease", "load", "publish"] == store.calls[calls:]

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_store_that_hangs_is_left_behind(self, memory: Fleet, operation: str) -> None:
        """A call that is not over within its budget is given up: the issuer is asked within the same wait."""
        free = threading.Event()
        process = memory.process(store=Faulty(memory.store, stuck(free), operation))
        try:
            process.validate(memory.issuer.token())
            until(lambda: memory.told(StoreFailed), "the event")
        finally:
            free.set()
        memory.issuer.fetches.expect(discovery=1, jwks=1)
        assert [operation] == [event.operation for event in memory.told(StoreFailed)]

    def test_lease_that_comes_too_late_is_given_back(self, memory: Fleet) -> None:
        """A store that grants a lease after its budget would keep the whole fleet waiting for nobody."""
        free = threading.Event()
        process = memory.process(store=Faulty(memory.store, stuck(free), "lease"))
        process.validate(memory.issuer.token())
        free.set()
        quiet()
        assert memory.store.lease(memory.source, 5) is not None

    def test_stuck_store_calls_keep_no_fetch_back(self, memory: Fleet) -> None:
        """However many calls of a store hang, the issuer is asked."""
        free = threading.Event()
        process = memory.process(store=Faulty(memory.store, stuck(free)))
        try:
            for number in range(6):
                process.client.refresh()
                memory.clock.advance(31)
                memory.issuer.fetches.expect(jwks=number + 1)
        finally:
            free.set()

    @pytest.mark.parametrize(
        ("operation", "garbage"),
        [
            ("revocations", [1, 2]),
            ("revocations", 7),
            ("load", "text"),
            ("load", Stored(None, 1)),  # type: ignore[arg-type]
            ("load", Stored(Snapshot(*HERE, float("nan"), b"{}"), 1)),
            ("load", Stored(Snapshot(*HERE, 1.0, "{}"), 1)),  # type: ignore[arg-type]
            ("load", Stored(Snapshot(*HERE, "now", b"{}"), 1)),  # type: ignore[arg-type]
            ("lease", "yes"),
        ],
    )
    def test_garbage_is_told_and_the_issuer_asked(self, memory: Fleet, operation: str, garbage: Any) -> None:
        """What a store returns is judged: nothing that is not whole is used, and nothing of it breaks a refresh."""
        process = memory.process(store=Faulty(memory.store, lambda: garbage, operation))
        assert verdict(process, memory.issuer.token()) == "accepted"
        memory.issuer.fetches.expect(discovery=1, jwks=1)
        messages = [event.message for event in memory.told(StoreFailed)]
        assert messages
        assert operation != "load" or "expected a snapshot" in messages[0]

    def test_held_keys_never_wait_for_the_store(self, memory: Fleet) -> None:
        """A look for revocations that hangs keeps no token (F84)."""
        free = threading.Event()
        store = Faulty(memory.store, lambda: None, "revocations")
        process, token = memory.process(store=store), memory.issuer.token()
        assert verdict(process, token) == "accepted"
        store.act = stuck(free)
        memory.clock.advance(300)
        calls = store.calls.count("revocations")
        try:
            for _ in range(50):
                process.validate(token)
            until(lambda: store.calls.count("revocations") == calls + 1, "one look")
        finally:
            free.set()

    def test_store_that_calls_back_fails_at_once(self, memory: Fleet) -> None:
        """A store that asks the client that it serves is told so (driver, trap 23)."""
        told: list[str] = []

        def ask() -> None:
            with pytest.raises(KeysUnavailableError) as caught:
                process.client.keys_for({"alg": "ES256", "kid": "k1"})
            told.append(str(caught.value))

        process = memory.process(store=Faulty(memory.store, ask, "load"), policy=RolloverPolicy(deadline=60.0))
        assert verdict(process, memory.issuer.token()) == "accepted"
        assert all("waits for itself" in text for text in told)
        assert told
        assert not memory.told(StoreFailed)

    @pytest.mark.parametrize("error", [OSError("full"), SystemExit(1)], ids=lambda error: type(error).__name__)
    def test_revocation_is_kept_until_the_store_takes_it(self, memory: Fleet, error: BaseException) -> None:
        """`revoke()` counts at once although the store fails, and is written with a later refresh (F83)."""
        store = Faulty(memory.store, raising(error), "record")
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

    def test_slow_write_of_an_operator_keeps_no_refresh(self, memory: Fleet) -> None:
        """While `revoke()` waits for the store, a refresh does not."""
        free, entered = threading.Event(), threading.Event()
        store = Faulty(memory.store, stuck(free, entered), "record")
        process = memory.process(store=store)
        assert verdict(process, memory.issuer.token()) == "accepted"
        operator = threading.Thread(target=lambda: process.client.revoke(kid="other"), daemon=True)
        operator.start()
        assert entered.wait(PATIENCE)
        try:
            assert process.client.refresh().ready
            assert operator.is_alive()
        finally:
            free.set()
        operator.join(PATIENCE)

    def test_revocation_is_told_where_it_is_found(self, memory: Fleet) -> None:
        """The process that learns of a revocation out of the store tells of it once."""
        first, second, token = memory.process(), memory.process(), memory.issuer.token()
        for process in (first, second):
            assert verdict(process, token) == "accepted"
        first.client.revoke(kid="k1")
        memory.clock.advance(300)
        for _ in range(3):
            verdict(second, token)
        assert len(memory.told(KeyRevoked)) == 2
