"""Callers who leave a wait: cancelled, out of patience, or interrupted. Each leaves alone (F62-F64, F78).

Rules of this file:

1. The issuer's gate is closed while somebody leaves, so nobody leaves because the answer was there.
2. Nothing is over by time but what a row is about: the deadline is longer than any test.
"""

from __future__ import annotations

import asyncio
import ctypes
import signal
import threading
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
import trio
from tests.contract.drivers import AUDIENCE, CANCELLED, PATIENCE, Threads, World, run, until, waiting
from tests.faults.harness import CASES, Case, Scene

from keyturn import KeySetClient, KeysUnavailableError, RolloverPolicy, TokenValidator, ValidatedToken
from keyturn import _keeper as keeper_module
from keyturn.events import FetchFailed, FetchSucceeded
from keyturn.testing import FakeClock, FakeIssuer

ROOMY = RolloverPolicy(deadline=60.0)
IMPATIENT = 0.01
"""Real seconds after which a caller of F64 leaves; the gate is closed for longer whatever the machine does."""

on_loops = pytest.mark.parametrize("case", [case for case in CASES if case.driver != "thread"], ids=lambda case: case.name)
in_every_way = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


class TimeLimitError(BaseException):
    """What a worker's time limit throws into a request."""


def prepared(scene: Scene) -> tuple[list[str], str]:
    """Return the tokens that are held, if this case is warm, and one of a new key."""
    held = [scene.warm()] if scene.case.warm else []
    return held, scene.roll()


def kept(scene: Scene, token: str, before: int) -> None:
    """Demand that the one refresh since *before* succeeded, and that its result is used without another request."""
    scene.settle()
    assert [type(event) for event in scene.events if isinstance(event, (FetchFailed, FetchSucceeded))] == [FetchSucceeded]
    requests = scene.requests()
    scene.accepts(token)
    assert (scene.attempts, scene.requests()) == (before + 1, requests)
    scene.refused_whatever_happens(scene.issuer.forge())


@on_loops
def test_f62_cancelled_caller_leaves_alone(case: Case) -> None:
    """It alone sees its cancellation; the others, one of them on a thread, get their answer from the same refresh."""
    with Scene(case, policy=ROOMY) as scene:
        held, new = prepared(scene)
        before = scene.attempts
        with scene.issuer.gate() as gate:
            calls = case.calling.start(scene.validator, [new] * case.callers)
            waiting(scene.client, case.callers)
            other = Threads().start(scene.validator, [new])
            waiting(scene.client, case.callers + 1)
            calls.cancel(0)
            until(lambda: calls.outcomes[0] == CANCELLED, "the cancellation")
            assert calls.outcomes[1:] == [None] * (case.callers - 1)
            assert other.outcomes == [None]
            for token in held:
                scene.accepts(token)
            gate.open()
            outcomes = calls.done()[1:] + other.done()
        assert all(isinstance(outcome, ValidatedToken) for outcome in outcomes)
        kept(scene, new, before)


@on_loops
def test_f62_cancelled_caller_leaves_its_place(case: Case) -> None:
    """Cancelled callers count no more against `max_waiting`: as many may wait again."""
    with Scene(case, policy=RolloverPolicy(deadline=60.0, max_waiting=case.callers)) as scene:
        _, new = prepared(scene)
        before = scene.attempts
        with scene.issuer.gate() as gate:
            first = case.calling.start(scene.validator, [new] * case.callers)
            waiting(scene.client, case.callers)
            for number in range(case.callers):
                first.cancel(number)
            assert first.done() == [CANCELLED] * case.callers
            second = case.calling.start(scene.validator, [new] * case.callers)
            waiting(scene.client, case.callers)
            gate.open()
            assert all(isinstance(outcome, ValidatedToken) for outcome in second.done())
        kept(scene, new, before)


@on_loops
def test_f63_result_is_kept_although_everybody_was_cancelled(case: Case) -> None:
    """Nobody waits any more: the refresh goes on, and whoever comes next finds its result."""
    with Scene(case, policy=ROOMY) as scene:
        _, new = prepared(scene)
        before = scene.attempts
        with scene.issuer.gate() as gate:
            everybody_is_cancelled(scene, new)
            gate.open()
            kept(scene, new, before)


@on_loops
def test_f63_failure_is_booked_although_everybody_was_cancelled(case: Case) -> None:
    """The refresh that nobody waits for fails: the pause after a failure is kept, and then it is made again."""
    with Scene(case, policy=ROOMY) as scene:
        _, new = prepared(scene)
        before = scene.attempts
        with scene.issuer.down(), scene.issuer.gate() as gate:
            everybody_is_cancelled(scene, new)
            gate.open()
            assert [event.code for event in scene.told(FetchFailed)] == ["fetch_failed"]
            scene.refuses(KeysUnavailableError, new)
        assert scene.attempts == before + 1
        scene.heals(new)


@pytest.mark.parametrize("driver", ["asyncio", "trio"])
def test_f63_refresh_that_nobody_waits_for_ends_within_its_deadline(driver: str) -> None:
    """Over a socket, with a gate that never opens: the refresh ends by itself, and closes what it had opened."""
    issuer = FakeIssuer(clock=FakeClock())
    # Cancelled long before the deadline, which is the one of the refresh alone from then on.
    with issuer.serve(), Scene(Case(driver, 1, warm=False), issuer, policy=RolloverPolicy(deadline=2.0)) as scene:
        token = scene.token()
        with issuer.gate(document="both") as gate:
            calls = scene.case.calling.start(scene.validator, [token])
            assert gate.wait_for_arrival(PATIENCE)
            calls.cancel(0)
            assert calls.done() == [CANCELLED]
            assert [event.code for event in scene.told(FetchFailed)] == ["fetch_failed"]
            assert gate.arrived == 1
        scene.heals(token)


def everybody_is_cancelled(scene: Scene, token: str) -> None:
    """Let the callers of the case wait, and cancel every one of them."""
    calls = scene.case.calling.start(scene.validator, [token] * scene.case.callers)
    waiting(scene.client, scene.case.callers)
    for number in range(scene.case.callers):
        calls.cancel(number)
    assert calls.done() == [CANCELLED] * scene.case.callers


@in_every_way
def test_f64_caller_with_a_timeout_of_its_own(case: Case) -> None:
    """Its own time-out is shorter than the fetch: it leaves with that, and the result is kept for others."""
    with Scene(case, policy=ROOMY) as scene:
        held, new = prepared(scene)
        before = scene.attempts
        with scene.issuer.gate() as gate:
            finish = TIMEOUTS[case.driver](scene.validator, [new] * case.callers)
            assert gate.wait_for_arrival(PATIENCE)
            for token in held:
                scene.accepts(token)
            gate.open()
            finish()
            kept(scene, new, before)


def on_threads(validator: TokenValidator, tokens: list[str]) -> Callable[[], object]:
    """Let whoever asked give each thread up; a thread that was given up brings its answer to nobody, once the gate is open."""
    calls = Threads().start(validator, tokens)
    for thread in calls.threads:
        thread.join(IMPATIENT)
        assert thread.is_alive()
    return calls.done


def on_asyncio(validator: TokenValidator, tokens: list[str]) -> Callable[[], object]:
    """Let each task run into a time-out of asyncio, and end the loop."""

    async def leave(token: str) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(validator.validate_async(token), IMPATIENT)

    async def main() -> None:
        await asyncio.gather(*map(leave, tokens))

    asyncio.run(main())
    return lambda: None


def on_trio(validator: TokenValidator, tokens: list[str]) -> Callable[[], object]:
    """Let each task run into a time-out of trio, and end the run."""

    async def leave(token: str) -> None:
        with pytest.raises(trio.TooSlowError), trio.fail_after(IMPATIENT):
            await validator.validate_async(token)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for token in tokens:
                nursery.start_soon(leave, token)

    trio.run(main)
    return lambda: None


TIMEOUTS: dict[str, Callable[[TokenValidator, list[str]], Callable[[], object]]] = {"thread": on_threads, "asyncio": on_asyncio, "trio": on_trio}


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="this system sends no signal to a thread")
@pytest.mark.parametrize(("name", "error"), [("SIGINT", KeyboardInterrupt), ("SIGALRM", TimeLimitError), ("SIGUSR1", TimeLimitError)])
def test_f78_signal_ends_the_wait_of_its_thread_alone(name: str, error: type[BaseException]) -> None:
    """An exception out of a signal handler leaves the waiting main thread; another caller and the refresh go on."""
    main, number = threading.main_thread().ident, getattr(signal, name)
    assert main is not None

    def handler(number: int, frame: object) -> NoReturn:
        raise error

    previous = signal.signal(number, handler)
    try:
        with Scene(policy=ROOMY) as scene:
            new = scene.token()
            with scene.issuer.gate() as gate:
                other = Threads().start(scene.validator, [new])
                waiting(scene.client, 1)
                helper = threading.Thread(target=lambda: (waiting(scene.client, 2), signal.pthread_kill(main, number)), daemon=True)
                helper.start()
                with pytest.raises(error):
                    scene.validator.validate(new)
                helper.join(PATIENCE)
                assert other.outcomes == [None]
                gate.open()
                assert isinstance(other.done()[0], ValidatedToken)
            kept(scene, new, 0)
    finally:
        signal.signal(number, previous)


def test_f78_time_limit_thrown_into_a_waiting_thread() -> None:
    """A worker's time limit is an exception set from outside: its thread ends with that, the others with their answer."""
    with Scene(policy=ROOMY) as scene:
        new = scene.token()
        with scene.issuer.gate() as gate:
            late = Threads().start(scene.validator, [new])
            waiting(scene.client, 1)
            others = Threads().start(scene.validator, [new] * 5)
            waiting(scene.client, 6)
            ident = ctypes.c_ulong(late.threads[0].ident or 0)
            assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(TimeLimitError)) == 1
            gate.open()
            assert isinstance(late.done()[0], TimeLimitError)
            assert all(isinstance(outcome, ValidatedToken) for outcome in others.done())
        kept(scene, new, 0)


class BrokenClock:
    """A clock that raises once, where a signal handler would: under the lock."""

    def __init__(self, clock: FakeClock) -> None:
        self.error: BaseException | None = None
        self.wall, self.wait = clock.wall, clock.wait
        self._clock = clock

    def monotonic(self) -> float:
        """Raise, or tell the time."""
        error, self.error = self.error, None
        if error is not None:
            raise error
        return self._clock.monotonic()


def test_f78_lock_is_free_after_an_interrupt_under_it() -> None:
    """The exception leaves, and other threads are answered: a lock that stayed taken would hang every one of them."""
    world = World()
    clock = BrokenClock(world.clock)
    client = KeySetClient(world.issuer.issuer, fetcher=world.issuer.fetcher(), clock=clock)
    validator = TokenValidator(client, audience=AUDIENCE)
    clock.error = TimeLimitError()
    with pytest.raises(TimeLimitError):
        client.revoke(kid="other")
    assert isinstance(run(Threads(), validator, world.issuer.token()), ValidatedToken)


def test_f78_refresh_that_was_interrupted_at_its_beginning_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt that was stamped but never started blocks nobody for longer than a deadline."""
    with Scene() as scene:
        scene.warm()
        new = scene.roll()
        with monkeypatch.context() as patch:
            patch.setattr(keeper_module, "Flight", _interrupt)
            with pytest.raises(TimeLimitError):
                scene.validator.validate(new)
        scene.refuses(KeysUnavailableError, new)
        scene.clock.advance(scene.client.policy.deadline)
        scene.accepts(new)


def _interrupt(*args: Any, **kwargs: Any) -> NoReturn:
    raise TimeLimitError
