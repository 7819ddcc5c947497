"""Processes that fork, end, and are looked at from inside: what a child inherits, and what a refresher leaves (F66, U29; driver, trap 13)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.contract.drivers import World, quiet

import keyturn
from keyturn.testing import FakeIssuer
from keyturn.testing.server import Gate

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

PATIENCE = 60.0
SCRIPT = Path(__file__).parent / "forking.py"


class Forking:
    """A service that forks, in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def expect(self, text: str) -> None:
        """Read its next line."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == text

    def tell(self, text: str) -> None:
        """Send it a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(text + "\n")
        self._process.stdin.flush()

    def ended(self) -> list[str]:
        """Wait for its end, which must be a good one; return the lines that were not read."""
        out, err = self._process.communicate(timeout=PATIENCE)
        assert (self._process.returncode, err) == (0, "")
        return out.splitlines()


@contextmanager
def forking(scenario: str, issuer: FakeIssuer, token: str) -> Iterator[Forking]:
    """Run *scenario* of the script."""
    environment = {**os.environ, "PYTHONPATH": str(Path(keyturn.__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-W", "error", str(SCRIPT), scenario, issuer.issuer, token],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    with process:
        try:
            yield Forking(process)
        finally:
            process.kill()


@pytest.fixture
def issuer() -> Iterator[FakeIssuer]:
    """An issuer on a loopback port."""
    issuer = FakeIssuer()
    with issuer.serve():
        yield issuer


def roll(issuer: FakeIssuer) -> str:
    """Roll the key over; return a token of the new one."""
    issuer.publish("k2")
    issuer.promote("k2")
    return issuer.token()


def test_f66_client_built_in_the_master_and_still_cold(issuer: FakeIssuer) -> None:
    """Preloaded and cold: nothing is shared but the settings, so each of four workers reads the keys once."""
    with forking("preload", issuer, issuer.token()) as service:
        assert service.ended() == []
    issuer.fetches.expect(discovery=4, jwks=4)


def test_f66_workers_of_a_warm_master_refresh_by_themselves(issuer: FakeIssuer) -> None:
    """The master's keys serve in each of four workers; no socket is shared; each finds the new key, and draws a jitter of its own."""
    with forking("workers", issuer, issuer.token()) as service:
        service.expect("warm")
        service.tell(roll(issuer))
        lines = service.ended()
    assert len(set(lines)) == len(lines) == 4
    issuer.fetches.expect(discovery=1, jwks=5)


def test_f66_lock_that_was_held_at_the_fork(issuer: FakeIssuer) -> None:
    """The thread that held it does not exist in the child: no deadlock."""
    with forking("held-lock", issuer, issuer.token()) as service:
        service.expect("warm")
        service.tell(roll(issuer))
        assert service.ended() == []
    issuer.fetches.expect(jwks=2)


def test_f66_refresh_that_ran_at_the_fork(issuer: FakeIssuer) -> None:
    """The child waits for nobody: it serves what is held, and its own refresh is not refused for that of its parent."""
    with forking("running-refresh", issuer, issuer.token()) as service:
        service.expect("warm")
        with issuer.gate() as gate:
            service.tell(roll(issuer))
            assert gate.wait_for_arrival(PATIENCE)
            service.tell("fork")
            service.expect("child serves")
            _second(gate)
            gate.open()
            assert service.ended() == []
    issuer.fetches.expect(jwks=3)


def _second(gate: Gate) -> None:
    assert gate.wait_for_arrival(PATIENCE, count=2)


def test_f66_refresher_runs_in_the_child_too(issuer: FakeIssuer) -> None:
    """`keep_fresh()` of the master is started anew in its child, and reads a new key there although no token comes."""
    with forking("keep-fresh", issuer, issuer.token()) as service:
        service.expect("warm")
        service.tell("fork")
        service.expect("child")
        issuer.publish("k2")
        assert service.ended() == []


def test_f66_fork_that_nobody_announced(issuer: FakeIssuer) -> None:
    """Without the interpreter's hooks the child starts anew all the same, once for all its threads."""
    with forking("without-hooks", issuer, issuer.token()) as service:
        service.expect("warm")
        service.tell(roll(issuer))
        assert service.ended() == []
    issuer.fetches.expect(jwks=2)


def test_f66_no_process_id_is_asked_for_where_a_key_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way of a held key makes no system call to find out whether it is in a child; a key that is not held asks."""
    world = World().warm()
    held, asked = world.issuer.token(), []
    world.validator.validate(held)
    real = os.getpid
    monkeypatch.setattr(os, "getpid", lambda: asked.append("asked") or real())
    for _ in range(10):
        assert world.validator.validate(held).subject == "alice"
    assert asked == []
    assert world.validator.validate(world.roll()).subject == "alice"
    assert asked
    quiet()
