"""What users of a client would have seen before it was put right: revocations that got lost, keys and callers that were kept (R7, R11, R14).

Rules of this file:

1. Each test is named for what went wrong for somebody, and plays it with no more than the public calls need.
2. A signal handler runs on the thread that it interrupts, so it is played by a call in the midst of the step that it comes into.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import pytest
from tests.contract.drivers import AUDIENCE, PATIENCE, Threads, World, quiet
from tests.faults.fleet import Fleet, verdict
from tests.faults.scripted_store import ScriptedStore, raising

import keyturn._keeper as keeper_module
import keyturn.client as client_module
from keyturn import ConfigurationError, FileStore, KeySetClient, MemoryStore, Revocation, StaticKeySet, TokenValidator
from keyturn.events import ClockJumped, Event, StoreFailed
from keyturn.stores.store import Stored
from keyturn.testing import FakeIssuer


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """No thread outlives its work (I5)."""
    before = threading.enumerate()
    yield
    quiet(before)


@pytest.fixture
def memory() -> Fleet:
    """A fleet with a store in memory, and an issuer that publishes two keys."""
    fleet = Fleet(lambda clock: MemoryStore(clock=clock))
    fleet.issuer.publish("k2")
    return fleet


class TimeLimitError(BaseException):
    """What a signal handler throws into a worker that took too long."""


def throw(*args: object, **kwargs: object) -> NoReturn:
    """Do what such a handler does."""
    raise TimeLimitError


def interrupted(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, handler: Callable[[], object]) -> None:
    """Let *handler* come in where the function *name*, as *module* calls it, has computed its result, once."""
    real = getattr(module, name)

    def compute(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(module, name, real)
        result = real(*args, **kwargs)
        handler()
        return result

    monkeypatch.setattr(module, name, compute)


def entries_of(fleet: Fleet) -> set[tuple[str, str]]:
    """Return kind and state of every entry in the store."""
    return {(entry.kind, entry.state) for entry in fleet.store.revocations(fleet.source)}


class TestRevocationIsNotLost:
    """After `revoke()` has returned, the key is refused, here and after a restart (R11)."""

    def test_in_a_signal_handler_that_comes_into_a_refresh(self, memory: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
        """The refresh that was about to begin is begun from a state that holds the revocation."""
        process, token = memory.process(), memory.issuer.token()
        assert verdict(process, token) == "accepted"
        interrupted(monkeypatch, keeper_module, "begin", lambda: process.client.revoke(kid="k1"))
        assert verdict(process, memory.issuer.forge(key="other")) == "unknown_key"
        assert verdict(process, token) == "revoked_key"
        assert verdict(memory.process(), token) == "revoked_key"

    @pytest.mark.parametrize(("module", "where"), [(client_module, "revoke"), (keeper_module, "merged")], ids=["made", "taken in"])
    def test_in_a_signal_handler_that_comes_into_another_one(
        self, memory: Fleet, monkeypatch: pytest.MonkeyPatch, module: ModuleType, where: str
    ) -> None:
        """Both hold, wherever in the first the second comes in: where its entry was made, or where it was put beside those that hold."""
        process, tokens = memory.process(), [memory.issuer.token(key=kid) for kid in ("k1", "k2")]
        assert verdict(process, tokens[0]) == "accepted"
        interrupted(monkeypatch, module, where, lambda: process.client.revoke(kid="k1"))
        process.client.revoke(kid="k2")
        assert [verdict(process, token) for token in tokens] == ["revoked_key"] * 2
        assert [verdict(memory.process(), token) for token in tokens] == ["revoked_key"] * 2

    def test_while_the_store_is_passed_by(self, memory: Fleet) -> None:
        """A store that failed a moment ago is written to all the same: the operator would not be told otherwise."""
        store = ScriptedStore(memory.store, lambda: None, "revocations")
        process, token = memory.process(store=store), memory.issuer.token()
        assert verdict(process, token) == "accepted"
        store.act = raising(OSError("away"))
        memory.clock.advance(300)
        assert verdict(process, token) == "accepted"
        assert len(memory.told(StoreFailed)) == 1
        store.act = lambda: None
        memory.clock.advance(5)
        process.client.revoke(kid="k1")
        assert entries_of(memory) == {("thumbprint", "revoked")}
        assert verdict(memory.process(), token) == "revoked_key"

    def test_behind_an_entry_that_the_store_cannot_take(self, memory: Fleet) -> None:
        """The entry that it refuses waits in memory, and the next one is written."""

        class Picky(MemoryStore):
            def record(self, source: str, entry: Revocation) -> None:
                """Refuse one kid."""
                if entry.subject == "refused":
                    raise ValueError("cannot be kept")
                super().record(source, entry)

        memory.store = Picky(clock=memory.clock)
        process, token = memory.process(), memory.issuer.token()
        assert verdict(process, token) == "accepted"
        process.client.revoke(kid="refused")
        process.client.revoke(kid="k1")
        assert verdict(memory.process(), token) == "revoked_key"
        assert {event.operation for event in memory.told(StoreFailed)} == {"record"}

    def test_after_a_kid_that_is_no_text(self, tmp_path: Path) -> None:
        """A kid that no file can hold is refused at once, and stands in nobody's way."""
        fleet = Fleet(lambda clock: FileStore(tmp_path / "store", unsealed=True, clock=clock))
        process, token = fleet.process(), fleet.issuer.token()
        assert verdict(process, token) == "accepted"
        with pytest.raises(ConfigurationError, match="expected Unicode text.*setting: kid"):
            process.client.revoke(kid="typo\ud800")
        process.client.revoke(kid="k1")
        assert not fleet.told(StoreFailed)
        assert verdict(fleet.process(), token) == "revoked_key"

    def test_by_a_process_whose_clock_is_behind(self, memory: Fleet) -> None:
        """It outranks what was reinstated before it by a host whose clock is ahead, here and in the fleet."""
        first, token = memory.process(), memory.issuer.token()
        assert verdict(first, token) == "accepted"
        (key,) = (key for key in first.client.snapshot().keys if key.kid == "k1")
        first.client.revoke(kid="k1")
        memory.clock.advance(5)
        first.client.reinstate(kid="k1")
        memory.clock.step_wall(-30)
        operator = memory.process()
        operator.client.revoke(thumbprint=key.thumbprint)
        assert verdict(operator, token) == "revoked_key"
        memory.clock.advance(300)
        verdict(first, token)
        assert verdict(first, token) == "revoked_key"

    def test_of_a_kid_that_was_found_in_an_old_snapshot(self, memory: Fleet) -> None:
        """The refresh fails after the snapshot was taken in: that the kid has found its key is in the store all the same."""
        token = memory.issuer.token(lifetime=200_000)
        assert verdict(memory.process(), token) == "accepted"
        memory.clock.advance(hours=25)
        process = memory.process()
        process.client.revoke(kid="k1")
        with memory.issuer.down(document="both"):
            assert verdict(process, token) == "revoked_key"
        assert entries_of(memory) == {("thumbprint", "revoked"), ("kid", "reinstated")}

    def test_to_a_state_that_nobody_knows(self, memory: Fleet) -> None:
        """An entry of a later version, or of a broken store, lets no key in: what is not reinstated is revoked."""
        (key,) = (key for key in memory.process(store=None).client.refresh().keys if key.kid == "k1")
        odd = Revocation("thumbprint", key.thumbprint, 2 * 10**15, "REVOKED")  # type: ignore[arg-type]
        process = memory.process(store=ScriptedStore(memory.store, lambda: [odd], "revocations"))
        assert verdict(process, memory.issuer.token()) == "revoked_key"
        assert verdict(process, memory.issuer.token(key="k2")) == "accepted"

    def test_in_the_child_of_a_fork_that_came_into_it(self) -> None:
        """Another thread forked between the two assignments of a revocation: what the child remembers of the key is of no use to it."""
        world = World()
        world.issuer.publish("k2")
        world.warm()
        token = world.issuer.token()
        assert verdict(world.validator, token) == "accepted"
        _forked_after_the_state(world.client)
        with pytest.raises(TimeLimitError):
            world.client.revoke(kid="k1")
        # The thread that revoked is not in the child, so nothing else of the revocation happens there.
        world.client._keeper.renew()
        for _ in range(2):
            assert verdict(world.validator, token) == "revoked_key"
            # This one brings a decision, after which held keys are served without one.
            assert verdict(world.validator, world.issuer.token(key="k2")) == "accepted"

    def test_for_a_fleet_whose_member_was_interrupted_before_its_look(self, memory: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
        """An exception is thrown into the caller that starts a look into the store: the next look finds the revocation."""
        first, second, token = memory.process(), memory.process(), memory.issuer.token()
        for process in (first, second):
            assert verdict(process, token) == "accepted"
        memory.clock.advance(300)
        with monkeypatch.context() as patch:
            patch.setattr(second.client, "_run_errand", throw)
            with pytest.raises(TimeLimitError):
                second.validate(token)
        first.client.revoke(kid="k1")
        memory.clock.advance(300)
        verdict(second, token)
        assert verdict(second, token) == "revoked_key"


def _forked_after_the_state(client: KeySetClient) -> None:
    """End the thread that changes the state of *client* as soon as the state is assigned, once."""
    keeper = client._keeper
    whole = type(keeper)

    class Broken(whole):  # type: ignore[misc, valid-type]
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if name == "state":
                self.__class__ = whole
                throw()

    keeper.__class__ = Broken


class TestNewKeyIsFound:
    """A key that the issuer publishes is accepted with its first token (R4), whatever store and clock say."""

    def test_after_the_wall_clock_was_set_back(self, memory: Fleet) -> None:
        """The process does not take its own snapshot for what another one has published since."""
        process = memory.process()
        assert verdict(process, memory.issuer.token()) == "accepted"
        memory.clock.advance(10)
        memory.clock.step_wall(-50)
        memory.issuer.cut_over("k3")
        assert verdict(process, memory.issuer.token()) == "accepted"
        memory.issuer.fetches.expect(discovery=1, jwks=2)

    def test_after_a_restart_from_a_store_that_does_not_have_it(self, memory: Fleet) -> None:
        """The start reads ten hours old keys out of the store, and the same request goes on to the issuer."""
        assert verdict(memory.process(), memory.issuer.token()) == "accepted"
        memory.clock.advance(hours=10)
        memory.issuer.cut_over("k3")
        restarted = memory.process()
        assert verdict(restarted, memory.issuer.token()) == "accepted"
        memory.issuer.fetches.expect(jwks=2)

    def test_while_every_call_of_the_store_hangs(self, memory: Fleet) -> None:
        """The process was warm for hours with such a store: held keys, look-ups and a rollover go on."""
        free = threading.Event()
        process = memory.process(store=ScriptedStore(memory.store, lambda: free.wait(PATIENCE) and None))
        try:
            assert process.validate(memory.issuer.token()).key_id == "k1"
            for _ in range(6):
                memory.clock.advance(901)
                assert process.validate(memory.issuer.token()).key_id == "k1"
            memory.issuer.cut_over("k3")
            assert process.validate(memory.issuer.token()).key_id == "k3"
        finally:
            free.set()

    @pytest.mark.parametrize("odd", [("thumbprint", "a", "9", "revoked"), ("odd", ["a"], 9, "revoked"), ("kid", None, 9.5, None), (1, 2, 3, 4)])
    def test_beside_a_store_of_odd_entries(self, memory: Fleet, odd: tuple[Any, ...]) -> None:
        """What looks like an entry and holds other types breaks no refresh, alone or beside good ones."""
        entries = [Revocation("thumbprint", "a", 8, "revoked"), Revocation(*odd), Revocation(*odd)]
        process = memory.process(store=ScriptedStore(memory.store, lambda: entries, "revocations"))
        assert verdict(process, memory.issuer.token()) == "accepted"
        memory.issuer.cut_over("k3")
        assert verdict(process, memory.issuer.token()) == "accepted"

    @pytest.mark.parametrize(
        "change",
        [
            *({"asked_at": value} for value in ("now", None, float("nan"), float("-inf"))),
            *({"body": value} for value in ("{}", None, {})),
            *({"max_age": value} for value in ("x", b"1", float("nan"), float("inf"))),
        ],
        ids=str,
    )
    def test_beside_a_store_of_odd_snapshots(self, memory: Fleet, change: dict[str, Any]) -> None:
        """A snapshot that is ours but for one member is told as none, and the issuer is asked."""
        stored = Stored(replace(memory.snapshot(memory.clock.wall()), **change), 1)
        process = memory.process(store=ScriptedStore(memory.store, lambda: stored, "load"))
        assert verdict(process, memory.issuer.token()) == "accepted"
        memory.issuer.fetches.expect(discovery=1, jwks=1)
        (told,) = memory.told(StoreFailed)
        assert told.message.startswith("expected a snapshot")


class TestNobodyIsKept:
    """What is no business of a caller does not keep it (R7)."""

    def test_look_at_readiness_by_a_slow_handler(self) -> None:
        """The look finds that the clock jumped, and is answered while a handler still works on that."""
        free, blocked = threading.Event(), threading.Event()

        def block(event: Event) -> None:
            if isinstance(event, ClockJumped):
                blocked.set()
                assert free.wait(PATIENCE)

        world = World(on_event=block).warm()
        quiet()
        world.clock.step_wall(100)
        answered = threading.Event()
        looking = threading.Thread(target=lambda: world.client.status().ready and answered.set(), daemon=True)
        looking.start()
        try:
            assert blocked.wait(PATIENCE)
            assert answered.wait(PATIENCE)
        finally:
            free.set()
            looking.join(PATIENCE)

    def test_operator_keeps_no_new_key(self, memory: Fleet) -> None:
        """While `revoke()` waits for a slow store, a token with a new key is looked up and accepted."""
        free, entered = threading.Event(), threading.Event()

        def hang() -> None:
            entered.set()
            free.wait(PATIENCE)

        process = memory.process(store=ScriptedStore(memory.store, hang, "record"))
        assert verdict(process, memory.issuer.token()) == "accepted"
        operator = threading.Thread(target=lambda: process.client.revoke(kid="k2"), daemon=True)
        operator.start()
        assert entered.wait(PATIENCE)
        try:
            memory.issuer.cut_over("k3")
            assert process.validate(memory.issuer.token()).key_id == "k3"
            assert operator.is_alive()
        finally:
            free.set()
            operator.join(PATIENCE)


class TestKeyOfBefore:
    """A key serves exactly as long as the rules say, and for whom they say it."""

    def test_grace_that_ends_while_a_refresh_runs(self) -> None:
        """The vanished key is not served on for a minute because nobody looked at its end (R10)."""
        world = World().warm()
        world.issuer.publish("k2")
        world.issuer.promote("k2")
        token = world.issuer.token(key="k1", lifetime=20_000)
        world.client.refresh()
        world.issuer.retire("k1")
        world.client.refresh()
        world.clock.advance(7_190)
        assert verdict(world.validator, token) == "accepted"
        with world.issuer.gate() as gate:
            refreshing = threading.Thread(target=world.client.refresh, daemon=True)
            refreshing.start()
            assert gate.wait_for_arrival(PATIENCE)
            assert Threads().start(world.validator, [token]).done()[0].key_id == "k1"
            world.clock.advance(11)
            gate.open()
            refreshing.join(PATIENCE)
        quiet()
        assert verdict(world.validator, token) == "unknown_key"

    @pytest.mark.parametrize("order", [1, -1])
    def test_key_that_two_issuers_share_in_a_fixed_set(self, order: int) -> None:
        """The same material is published for each of two issuers: a token of either is accepted, in whatever order they stand."""
        issuer = FakeIssuer()
        (entry,) = issuer.jwks()["keys"]
        names = ["https://a.test", "https://b.test"]
        source = StaticKeySet.from_jwks({"keys": [{**entry, "issuer": name} for name in names][::order]})
        for name in names:
            validator = TokenValidator(source, audience=AUDIENCE, issuer=name, clock=issuer.clock)
            assert validator.validate(issuer.token(iss=name)).issuer == name
