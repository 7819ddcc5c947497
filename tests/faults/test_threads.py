"""The thread of a refresh dies, never runs, or cannot be started at all (F65)."""

from __future__ import annotations

import _thread
import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import pytest
import trio
from tests.contract.drivers import Scripted, World, quiet, raiser, scripted
from tests.faults.harness import ONE_EACH, Case, Scene

from keyturn import FetchError, KeysUnavailableError, RolloverPolicy
from keyturn import _keeper as keeper_module
from keyturn import _refreshing as refreshing_module
from keyturn.events import FetchFailed
from keyturn.testing import FakeClock, FakeIssuer

LOOPS: dict[str, Callable[..., Any]] = {"asyncio": lambda call, *args: asyncio.run(call(*args)), "trio": trio.run}


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """No thread outlives its work (I5)."""
    before = threading.enumerate()
    yield
    quiet(before)


@pytest.fixture(params=LOOPS)
def on_loop(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Each way to run a coroutine on this thread."""
    return LOOPS[request.param]


class OddError(BaseException):
    """What no `except Exception` sees."""


DEATHS = [
    *(ValueError("text"), KeyError("key"), StopIteration(), MemoryError(), RecursionError(), asyncio.CancelledError()),
    *(SystemExit(3), KeyboardInterrupt(), GeneratorExit(), OddError()),
]


@pytest.mark.parametrize("case", ONE_EACH, ids=lambda case: case.name)
@pytest.mark.parametrize("error", DEATHS, ids=lambda error: type(error).__name__)
def test_f65_fetcher_that_ends_its_thread(case: Case, error: BaseException) -> None:
    """Whatever it raises is a failed refresh that names the kind of error; the waiters are woken, the next call starts another."""
    issuer = FakeIssuer(clock=FakeClock())
    fetcher = Scripted(issuer, lambda: None)

    @contextmanager
    def dying() -> Iterator[None]:
        fetcher.before = raiser(error)
        yield
        fetcher.before = lambda: None

    with Scene(case, issuer, fetcher=fetcher) as scene:
        outcomes = scene.fails(dying, FetchError)
        assert type(error).__name__ in " ".join(map(str, outcomes))


@pytest.mark.parametrize("case", [*ONE_EACH, Case("trio", 1, warm=True)], ids=lambda case: case.name)
@pytest.mark.parametrize("error", [ZeroDivisionError(), SystemExit(3)], ids=lambda error: type(error).__name__)
def test_f65_fault_of_our_own(monkeypatch: pytest.MonkeyPatch, case: Case, error: BaseException) -> None:
    """An exception in our own part of the refresh ends its thread: the same, and nobody waits for it until the deadline."""

    @contextmanager
    def broken() -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(refreshing_module.Refreshing, "_obtain", lambda *args: raiser(error)())
            yield

    with Scene(case, policy=RolloverPolicy(deadline=60.0)) as scene:
        scene.fails(broken, FetchError)


@pytest.mark.parametrize("case", ONE_EACH, ids=lambda case: case.name)
def test_f65_thread_that_never_runs(monkeypatch: pytest.MonkeyPatch, case: Case) -> None:
    """The thread was started and is never seen again: every caller is back at the deadline, and a later one starts another."""
    with Scene(case) as scene:
        held = [scene.warm()] if case.warm else []
        with monkeypatch.context() as patch:
            patch.setattr(keeper_module, "start", lambda *args: None)
            new = scene.roll()
            before = scene.attempts
            # Whoever looks first after the deadline books the failure; that may be the next caller (Z19).
            scene.refuses((FetchError, KeysUnavailableError), new)
            scene.refuses((FetchError, KeysUnavailableError), new, callers=1)
            assert [event.code for event in scene.told(FetchFailed)] == ["fetch_failed"]
            assert (scene.attempts, scene.requests()) == (before + 1, 2 * case.warm)
            for token in held:
                scene.accepts(token)
        scene.heals(new)


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that makes every start of a thread fail from then on, as in uWSGI without `enable-threads`."""

    def refuse(*args: object, **kwargs: object) -> NoReturn:
        raise RuntimeError("can't start new thread")

    def take_away() -> None:
        monkeypatch.setattr(_thread, "start_new_thread", refuse)
        for name in ("_start_new_thread", "_start_joinable_thread"):
            # The second name is that of Python 3.13 and newer.
            monkeypatch.setattr(threading, name, refuse, raising=False)

    return take_away


def test_f65_without_threads_a_caller_runs_the_refresh_itself(no_threads: Callable[[], None]) -> None:
    """The fetch runs on the caller's own thread, cold and at rollover, and its answer is used."""
    idents: list[int] = []
    world, _ = scripted(lambda: idents.append(threading.get_ident()))
    no_threads()
    assert world.validator.validate(world.issuer.token()).subject == "alice"
    assert world.validator.validate(world.roll()).subject == "alice"
    assert [threading.get_ident()] * 3 == idents


def test_f65_only_the_second_start_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread comes up, but cannot start a proper one: it does the work itself (driver, trap 2)."""

    class Refused(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    world = World()
    monkeypatch.setattr(threading, "Thread", Refused)
    assert world.validator.validate(world.issuer.token()).subject == "alice"


def test_f65_without_threads_an_operators_refresh_runs_itself(no_threads: Callable[[], None]) -> None:
    """`refresh()` works, and its failure is raised as always."""
    world = World()
    no_threads()
    assert world.client.refresh().ready
    with world.issuer.down(), pytest.raises(FetchError):
        world.client.refresh()


def test_f65_without_threads_a_coroutine_without_keys_is_told(no_threads: Callable[[], None], on_loop: Callable[..., Any]) -> None:
    """A coroutine must not block its loop with a fetch, so it gets 503 with the cure; a thread is served right after it."""
    world = World()
    no_threads()
    with pytest.raises(KeysUnavailableError, match="no thread can be started") as caught:
        on_loop(world.validator.validate_async, world.issuer.token())
    assert "enable-threads" in caught.value.hint
    world.issuer.fetches.expect(discovery=0, jwks=0)
    assert world.validator.validate(world.issuer.token()).subject == "alice"


def test_f65_without_threads_a_coroutine_with_an_unknown_kid_is_told(no_threads: Callable[[], None], on_loop: Callable[..., Any]) -> None:
    """The same while other keys are held: 503, since nobody could look."""
    world = World().warm()
    no_threads()
    with pytest.raises(KeysUnavailableError, match="no thread can be started"):
        on_loop(world.validator.validate_async, world.roll())


@pytest.mark.parametrize("age", [86_399, 86_400, 172_799])
def test_f65_without_threads_a_coroutine_is_served_with_held_keys(no_threads: Callable[[], None], on_loop: Callable[..., Any], age: float) -> None:
    """Keys that cannot be refreshed serve on, as after any failed refresh (R9)."""
    world = World().warm()
    world.clock.advance(age)
    no_threads()
    for _ in range(2):
        assert on_loop(world.validator.validate_async, world.issuer.token()).subject == "alice"


def test_f65_without_threads_what_runs_in_the_background_is_left_out(no_threads: Callable[[], None], caplog: pytest.LogCaptureFixture) -> None:
    """Past the line, revoking, a look at readiness, `keep_fresh()`: nobody is kept, and nothing raises."""
    world = World().warm()
    world.clock.advance(86_399)
    no_threads()
    assert world.validator.validate(world.issuer.token()).subject == "alice"
    assert world.client.status().ready
    world.client.revoke(kid="other")
    with world.client.keep_fresh():
        pass
    assert "keep_fresh() does nothing" in caplog.text
    world.issuer.fetches.expect(jwks=0)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), OddError()], ids=lambda error: type(error).__name__)
def test_f65_without_threads_an_interrupt_of_the_caller_is_the_callers(no_threads: Callable[[], None], error: BaseException) -> None:
    """What ends the thread that fetches for itself is not told as an outage, and the client works on (F78)."""
    world, fetcher = scripted(raiser(error))
    no_threads()
    with pytest.raises(type(error)):
        world.validator.validate(world.issuer.token())
    fetcher.before = lambda: None
    world.clock.advance(1)
    assert world.validator.validate(world.issuer.token()).subject == "alice"


def test_f65_without_threads_a_call_back_fails_at_once(no_threads: Callable[[], None]) -> None:
    """The caller that fetches for itself cannot wait for itself either; afterwards its thread is an ordinary one."""
    world, fetcher = scripted(lambda: None)

    def ask() -> None:
        with pytest.raises(KeysUnavailableError, match="waits for itself"):
            world.client.keys_for({"alg": "ES256", "kid": "k1"})

    fetcher.before = ask
    no_threads()
    assert world.validator.validate(world.issuer.token()).subject == "alice"
    fetcher.before = lambda: None
    assert world.validator.validate(world.roll()).subject == "alice"
