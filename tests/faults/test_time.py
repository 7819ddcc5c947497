"""Clocks that step, machines that sleep, processes that stand still (F69-F71, U36).

Rules of this file:

1. Hours pass on the virtual clock: both clocks, or the wall clock alone, as a suspended machine does.
2. A real process is stopped for a second or two only; what it comes to does not depend on how long it took.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from tests.contract.drivers import PATIENCE, until, waiting
from tests.faults.harness import Case, Scene

import keyturn
from keyturn import KeysUnavailableError, RolloverPolicy, ValidatedToken
from keyturn.errors import FetchError
from keyturn.events import ClockJumped, FetchFailed, FetchSucceeded, StaleKeysServed
from keyturn.testing import FakeIssuer

HOUR = 3_600.0
ROOMY = RolloverPolicy(deadline=60.0)

in_one_way_each = pytest.mark.parametrize("case", [Case("thread", 1, warm=True), Case("asyncio", 20, warm=True)], ids=lambda case: case.name)


def passes(scene: Scene, clocks: str, seconds: float) -> None:
    """Let time pass on both clocks, or on the wall clock alone."""
    if clocks == "both":
        scene.clock.advance(seconds)
    else:
        scene.clock.suspend(seconds)


@pytest.mark.parametrize("step", [2 * HOUR, -2 * HOUR, -1_700_000_000.0], ids=["forward", "back", "to-1970"])
def test_f69_step_of_the_wall_clock(step: float) -> None:
    """Forward, one early refresh at most; back, none and no longer life; it is reported once; claims follow the wall clock."""
    with Scene(policy=RolloverPolicy(refresh_interval=HOUR, deadline=60.0)) as scene:
        old = scene.warm()
        before = scene.attempts
        scene.clock.step_wall(step)
        scene.clock.advance(60)
        for _ in range(5):
            scene.accepts(scene.token())
            scene.settle()
        assert scene.attempts == before + (step > 0)
        assert [event.seconds for event in scene.told(ClockJumped)] == [step]
        scene.refuses(keyturn.ExpiredTokenError if step > 0 else keyturn.NotYetValidError, old)
        scene.clock.advance(HOUR)
        scene.accepts(scene.token())
        scene.settle()
        assert scene.attempts == before + 1 + (step > 0)
        with scene.issuer.down(document="both"):
            scene.clock.advance(24 * HOUR)
            scene.accepts(scene.token())
            scene.clock.advance(HOUR)
            scene.refuses((FetchError, KeysUnavailableError), scene.token())


@pytest.mark.parametrize("step", [2 * HOUR, -2 * HOUR, -1_700_000_000.0], ids=["forward", "back", "to-1970"])
@in_one_way_each
def test_f69_step_of_the_wall_clock_during_a_fetch(case: Case, step: float) -> None:
    """The answer counts from when it was asked for, by the larger clock; the callers get it; nothing is asked for twice."""
    with Scene(case, policy=RolloverPolicy(refresh_interval=HOUR, deadline=60.0)) as scene:
        scene.warm()
        new = scene.roll()
        before = scene.attempts
        with scene.issuer.gate() as gate:
            calls = case.calling.start(scene.validator, [new] * case.callers)
            waiting(scene.client, case.callers)
            assert gate.wait_for_arrival(PATIENCE)
            scene.clock.step_wall(step)
            gate.open()
            outcomes = calls.done()
        # What waited is judged by the clock as it then stands: after a step the claims of this token are over, or not begun.
        assert {getattr(outcome, "code", "accepted") for outcome in outcomes} == {"expired_token" if step > 0 else "not_yet_valid"}
        scene.clock.advance(60)
        scene.accepts(scene.token())
        scene.settle()
        assert scene.attempts == before + 1 + (step > 0)
        assert [event.seconds for event in scene.told(ClockJumped)] == [step]
        assert not scene.told(FetchFailed)


@pytest.mark.parametrize("clocks", ["both", "wall"])
@in_one_way_each
def test_f70_suspended_for_10_hours(case: Case, clocks: str) -> None:
    """Not due: served at once. A key rotated meanwhile is accepted after one refresh."""
    with Scene(case) as scene:
        scene.warm()
        passes(scene, clocks, 10 * HOUR)
        before, requests = scene.attempts, scene.requests()
        scene.accepts(scene.token())
        assert (scene.attempts, scene.requests()) == (before, requests)
        assert len(scene.told(ClockJumped)) == (clocks == "wall")
        scene.accepts(scene.roll())
        assert scene.attempts == before + 1


@pytest.mark.parametrize("clocks", ["both", "wall"])
@pytest.mark.parametrize("down", [False, True], ids=["up", "down"])
@in_one_way_each
def test_f70_suspended_for_30_hours(case: Case, down: bool, clocks: str) -> None:
    """Past due: refreshed before the keys are used; served with the old set if that fails, and attempts run in the background then."""
    with Scene(case, policy=ROOMY) as scene:
        scene.warm()
        passes(scene, clocks, 30 * HOUR)
        before, token = scene.attempts, scene.token()
        with scene.issuer.down() if down else nullcontext():
            with scene.issuer.gate() as gate:
                calls = case.calling.start(scene.validator, [token] * case.callers)
                assert gate.wait_for_arrival(PATIENCE)
                assert calls.outcomes == [None] * case.callers
                gate.open()
                assert all(isinstance(outcome, ValidatedToken) for outcome in calls.done())
            assert (len(scene.told(FetchFailed)), len(scene.told(StaleKeysServed))) == (down, down)
            assert scene.attempts == before + 1
            # From now on nobody waits: the caller is back while the next attempt is at the gate.
            scene.clock.advance(1)
            with scene.issuer.gate() as gate:
                scene.accepts(token)
                assert not down or gate.wait_for_arrival(PATIENCE)
            scene.settle()
            assert scene.attempts == before + 1 + down


@pytest.mark.parametrize("clocks", ["both", "wall"])
@in_one_way_each
def test_f70_suspended_for_50_hours(case: Case, clocks: str) -> None:
    """Too old: refreshed first, 503 if that fails, served again after the first good answer."""
    with Scene(case) as scene:
        scene.warm()
        passes(scene, clocks, 50 * HOUR)
        before, token = scene.attempts, scene.token()
        with scene.issuer.down(document="both"):
            scene.refuses((keyturn.FetchError, keyturn.DiscoveryError, KeysUnavailableError), token)
            assert scene.attempts == before + 1
            assert not scene.told(StaleKeysServed)
        scene.heals(token)


@in_one_way_each
def test_f71_pause_of_30_seconds_during_a_fetch(case: Case) -> None:
    """Everything stands still for 30 s while the answer is under way: no second refresh, no failure, the answer is used."""
    with Scene(case, policy=ROOMY) as scene:
        scene.warm()
        new = scene.roll()
        before = scene.attempts
        with scene.issuer.gate() as gate:
            calls = case.calling.start(scene.validator, [new] * case.callers)
            waiting(scene.client, case.callers)
            scene.clock.advance(30)
            gate.open()
            assert all(isinstance(outcome, ValidatedToken) for outcome in calls.done())
        assert (len(scene.told(FetchSucceeded)), scene.told(FetchFailed), scene.attempts) == (1, [], before + 1)


@pytest.mark.parametrize("seconds", [0.0, 0.6], ids=["at-once", "beyond-the-deadline"])
def test_f71_loop_that_is_blocked_during_a_fetch(seconds: float) -> None:
    """Somebody blocks the loop while the answer comes, for longer than a caller may wait: the answer is there, and is used."""
    with Scene() as scene:
        scene.warm()
        new = scene.roll()
        before = scene.attempts

        async def main() -> ValidatedToken:
            task = asyncio.create_task(scene.validator.validate_async(new))
            await asyncio.sleep(0)
            # From here on nothing runs on this loop.
            scene.settle()
            threading.Event().wait(seconds)
            assert not task.done()
            return await task

        assert asyncio.run(main()).key_id == "k2"
        assert (len(scene.told(FetchSucceeded)), scene.told(FetchFailed), scene.attempts) == (1, [], before + 1)


SERVICE = """
import sys
from keyturn import KeyturnError, RolloverPolicy, TokenValidator

validator = TokenValidator(sys.argv[1], audience="api://test", policy=RolloverPolicy(deadline=1.0))
for line in sys.stdin:
    try:
        print(validator.validate(line.strip()).subject, flush=True)
    except KeyturnError as error:
        print(error.http_status, validator.client.status().failures, flush=True)
"""
STOPPED = 1.5
"""Real seconds that a process stands still: longer than its deadline of one."""


class Standing:
    """A service in a process that can be stopped."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def send(self, token: str) -> None:
        """Hand it a token."""
        assert self._process.stdin is not None
        self._process.stdin.write(token + "\n")
        self._process.stdin.flush()

    def answer(self) -> str:
        """Read its next line."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Let the process stand still, for longer than its deadline."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            # The signal is on its way until the process is seen to stand.
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)
            yield
            threading.Event().wait(STOPPED)
        finally:
            self._process.send_signal(signal.SIGCONT)


@pytest.fixture
def issuer() -> Iterator[FakeIssuer]:
    """An issuer on a loopback port."""
    issuer = FakeIssuer()
    with issuer.serve():
        yield issuer


@pytest.fixture
def standing(issuer: FakeIssuer) -> Iterator[Standing]:
    """A service that has read the keys."""
    environment = {**os.environ, "PYTHONPATH": str(Path(keyturn.__file__).parents[1])}
    command = [sys.executable, "-W", "error", "-c", SERVICE, issuer.issuer]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            service = Standing(process)
            for _ in range(PATIENT_TRIES):
                service.send(issuer.token())
                if service.answer() == "alice":
                    break
            issuer.fetches.clear()
            yield service
        finally:
            process.kill()


posix = pytest.mark.skipif(not hasattr(os, "waitid"), reason="this system does not stop processes")
PATIENT_TRIES = 20_000
"""A process that was refused asks again at once; the first pause after a failure is a second of real time."""


@posix
def test_f70_process_that_stands_still_while_idle(issuer: FakeIssuer, standing: Standing) -> None:
    """A held key serves after it as before, without a request."""
    with standing.stopped():
        standing.send(issuer.token())
    assert standing.answer() == "alice"
    issuer.fetches.expect(discovery=0, jwks=0)


@posix
def test_f71_process_that_stands_still_while_the_answer_comes(issuer: FakeIssuer, standing: Standing) -> None:
    """The deadline passes meanwhile, but the answer lies there when the process goes on: it is used, and nothing failed."""
    issuer.cut_over("k2")
    with issuer.gate() as gate:
        standing.send(issuer.token())
        assert gate.wait_for_arrival(PATIENCE)
        with standing.stopped():
            gate.open()
            until(lambda: issuer.fetches.requests[-1].outcome.startswith("200"), "the whole answer to be sent")
    assert standing.answer() == "alice"
    issuer.fetches.expect(jwks=1)


@posix
def test_f71_process_that_stands_still_beyond_the_fetch(issuer: FakeIssuer, standing: Standing) -> None:
    """No answer came while it stood still: one failure is booked and no more, and the token passes once the pause is over."""
    issuer.cut_over("k2")
    with issuer.gate() as gate:
        standing.send(issuer.token())
        assert gate.wait_for_arrival(PATIENCE)
        with standing.stopped():
            pass
        assert standing.answer() == "503 1"
    for _ in range(PATIENT_TRIES):
        standing.send(issuer.token())
        if (answer := standing.answer()) == "alice":
            break
        assert answer == "503 1"
    issuer.fetches.expect(jwks=2)
