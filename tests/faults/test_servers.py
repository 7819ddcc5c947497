"""Real web servers whose workers share a validator that their master built (F66, U29).

Rules of this file:

1. The issuer's gate is closed while the first tokens of a new key come: a worker that waits takes no second request, so every
   worker has one, and makes its own refresh.
2. A server that is not installed is a skip that names it.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest
from tests.contract.drivers import until

import keyturn
from keyturn.testing import FakeIssuer

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

PATIENCE = 60.0
WORKERS = 4
HERE = Path(__file__).parent


@pytest.fixture
def issuer() -> Iterator[FakeIssuer]:
    """An issuer on a loopback port."""
    issuer = FakeIssuer()
    with issuer.serve():
        yield issuer


class Served:
    """A server that runs."""

    def __init__(self, port: int) -> None:
        self._port = port

    def ask(self, token: str) -> dict[str, Any]:
        """Return what one request with *token* is answered."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        try:
            connection.request("GET", "/", headers={"authorization": f"Bearer {token}"})
            response = connection.getresponse()
            assert response.status == 200
            return json.loads(response.read())
        finally:
            connection.close()

    def ask_at_once(self, token: str, count: int) -> tuple[list[dict[str, Any]], list[threading.Thread]]:
        """Send *count* requests at once; return where their answers will be, and the threads that wait for them."""
        answers: list[dict[str, Any]] = []
        threads = [threading.Thread(target=lambda: answers.append(self.ask(token)), daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        return answers, threads


@contextmanager
def served(command: Sequence[str], listener: socket.socket, issuer: FakeIssuer, **told: str) -> Iterator[Served]:
    """Run a server that inherits *listener*; requests wait there until a worker is up. It must end well, and without a traceback."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(keyturn.__file__).parents[1]), str(HERE)])}
    environment |= {"ISSUER": issuer.issuer, **told}
    with TemporaryFile() as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, pass_fds=[listener.fileno()], start_new_session=True)
        try:
            yield Served(listener.getsockname()[1])
            process.send_signal(signal.SIGTERM)
            status = process.wait(PATIENCE)
        finally:
            if process.poll() is None:
                # Its workers are of its session alone.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(PATIENCE)
            log.seek(0)
            logged = log.read().decode()
            sys.stdout.write(logged)
    assert "Traceback" not in logged
    assert status == 0


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A loopback port that a server inherits."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield listener


def by_everybody(server: Served, issuer: FakeIssuer, token: str, each: int = 1) -> None:
    """Have every worker accept *token*, whose key none of them holds, after one refresh of its own.

    Args:
        server: Runs `WORKERS` workers.
        issuer: Blocks until each of them asks.
        token: Signed with a key that is published.
        each: Requests that one worker works on at a time.
    """
    with issuer.gate() as gate:
        answers, threads = server.ask_at_once(token, WORKERS * each)
        assert gate.wait_for_arrival(PATIENCE, count=WORKERS)
        gate.open()
        for thread in threads:
            thread.join(PATIENCE)
    assert [answer["verdict"] for answer in answers] == ["alice"] * (WORKERS * each)
    assert len({answer["pid"] for answer in answers}) == WORKERS


def rolls_over(server: Served, issuer: FakeIssuer, each: int = 1) -> None:
    """Roll over: every worker goes on with the keys that it has, and accepts the new one after one refresh of its own."""
    held = issuer.token()
    assert server.ask(held)["verdict"] == "alice"
    before = issuer.fetches.jwks
    issuer.publish("k2")
    issuer.promote("k2")
    new = issuer.token()
    by_everybody(server, issuer, new, each)
    for _ in range(2 * WORKERS):
        assert [server.ask(token)["verdict"] for token in (held, new)] == ["alice"] * 2
    assert server.ask(issuer.token(audience="api://other"))["verdict"] == "invalid_audience"
    issuer.fetches.expect(jwks=before + WORKERS)


@pytest.mark.skipif(importlib.util.find_spec("gunicorn") is None, reason="gunicorn is not installed")
@pytest.mark.parametrize("threads", [1, 2], ids=["sync", "gthread"])
def test_f66_gunicorn_with_preload(issuer: FakeIssuer, listener: socket.socket, threads: int, tmp_path: Path) -> None:
    """Gunicorn forks four workers after the master has read the keys: each refreshes by itself, once."""
    options = {
        "--bind": f"fd://{listener.fileno()}",
        "--workers": WORKERS,
        "--worker-class": "sync" if threads == 1 else "gthread",
        "--threads": threads,
        # A worker takes as many connections as it has threads, so that the next one goes to another worker.
        "--worker-connections": threads,
        "--keep-alive": 0,
        "--timeout": int(PATIENCE),
    }
    command = [sys.executable, "-m", "gunicorn", "--preload", *(str(part) for option in options.items() for part in option), "serving:application"]
    # Newer versions leave a control socket in the home of whoever runs them.
    with served(command, listener, issuer, WARM=issuer.token(), HOME=str(tmp_path)) as server:
        rolls_over(server, issuer, threads)
    issuer.fetches.expect(discovery=1, jwks=1 + WORKERS)


def uwsgi() -> str:
    """Return the uWSGI to use: one that was built for this version of Python; skip by name without."""
    program = shutil.which("uwsgi", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if program is None:
        pytest.skip("uwsgi is not installed")
    version = subprocess.run([program, "--python-version"], capture_output=True, text=True, timeout=PATIENCE, check=False).stdout.strip()
    if version.split(".")[:2] != [str(part) for part in sys.version_info[:2]]:
        pytest.skip(f"uwsgi is built for Python {version}, expected {sys.version_info[0]}.{sys.version_info[1]}")
    return program


@pytest.mark.parametrize(("warm", "threads"), [(False, False), (True, True)], ids=["cold", "enable-threads-and-post-fork-hook"])
def test_f66_uwsgi(issuer: FakeIssuer, listener: socket.socket, warm: bool, threads: bool) -> None:
    """The interpreter hears nothing of its forks: the validator of the master serves in four workers, which refresh by themselves.

    Its workers hang if its master forks while another thread of the master holds the interpreter, so nothing is read before the fork.
    """
    options = {"--http-socket": f"fd://{listener.fileno()}", "--processes": WORKERS, "--virtualenv": sys.prefix, "--module": "serving"}
    command = [uwsgi(), "--master", "--need-app", "--die-on-term", *(str(part) for option in options.items() for part in option)]
    told = {"WARM_WORKERS": issuer.token()} if warm else {}
    with served([*command, *(["--enable-threads"] if threads else [])], listener, issuer, **told) as server:
        if warm:
            until(lambda: issuer.fetches.jwks == WORKERS, "the keys in every worker")
        else:
            by_everybody(server, issuer, issuer.token())
        rolls_over(server, issuer)
    issuer.fetches.expect(discovery=WORKERS, jwks=2 * WORKERS)
