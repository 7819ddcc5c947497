"""The samples below examples/drill are services as the drill expects them, each a process of its own before a fake issuer on loopback.

What is not installed is a skip that names it, and the command that installs it.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

import httpx
import pytest

from keyturn.clock import Deadline
from keyturn.testing import FakeIssuer

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "examples" / "drill"
NAMES = ("keyturn_fastapi", "pyjwkclient", "daily_refresh", "node_jose")
PYTHON_VARIABLE = "KEYTURN_DRILL_PYTHON"
AUDIENCE = "api://drill"
READY_SECONDS = 60.0
END_SECONDS = 10.0


def command(name: str) -> list[str]:
    """Return what starts the sample *name*; skip by name what is missing."""
    if name != "node_jose":
        return [python(), str(SAMPLES / name / "app.py")]
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    if not (SAMPLES / name / "node_modules" / "jose").is_dir():
        pytest.skip(f"jose is not installed: run `make integration`, or `npm ci --ignore-scripts` in {(SAMPLES / name).relative_to(ROOT)}")
    return [node, str(SAMPLES / name / "server.mjs")]


def python() -> str:
    """Return the interpreter that has what the samples import."""
    named = os.environ.get(PYTHON_VARIABLE)
    if named:
        return named
    folder, name = ("Scripts", "python.exe") if sys.platform == "win32" else ("bin", "python")
    interpreter = ROOT / ".venv-drill" / folder / name
    if not interpreter.exists():
        pytest.skip(f"FastAPI and uvicorn are not installed: run `make integration`, or name an interpreter that has them in {PYTHON_VARIABLE}")
    return str(interpreter)


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Service:
    """One running sample."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def status(self, token: str | None) -> int:
        """Return the status of a request for /orders, with *token* if there is one."""
        return self.answer(token).status_code

    def answer(self, token: str | None) -> httpx.Response:
        """Return the answer to a request for /orders, with *token* if there is one."""
        return self._http.get("/orders", headers={} if token is None else {"Authorization": f"Bearer {token}"})


@contextmanager
def process(name: str, issuer: FakeIssuer) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run the sample *name* before *issuer*, which is being served; hand over its process and its port."""
    port = free_port()
    settings = {
        "KEYTURN_DRILL_ISSUER": issuer.issuer,
        "KEYTURN_DRILL_JWKS_URI": issuer.jwks_url,
        "KEYTURN_DRILL_AUDIENCE": AUDIENCE,
        "KEYTURN_DRILL_HOST": "127.0.0.1",
        "KEYTURN_DRILL_PORT": str(port),
    }
    with TemporaryFile() as log, subprocess.Popen(command(name), env={**os.environ, **settings}, stdout=log, stderr=log) as started:
        try:
            yield started, port
        finally:
            started.terminate()
            with suppress(subprocess.TimeoutExpired):
                started.wait(END_SECONDS)
            started.kill()


@contextmanager
def running(name: str, issuer: FakeIssuer) -> Iterator[Service]:
    """Run the sample *name* before *issuer* and hand it over once it listens."""
    with process(name, issuer) as (started, port):
        deadline = Deadline(READY_SECONDS)
        while not listens(port):
            assert not deadline.over(), f"expected {name} to listen within {READY_SECONDS:g} s"
            with suppress(subprocess.TimeoutExpired):
                pytest.fail(f"expected {name} to listen, it ended with exit code {started.wait(0.05)}")
        # No proxy of the environment stands between a test and loopback.
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as http:
            yield Service(http)


def listens(port: int) -> bool:
    """Return whether somebody listens on *port*."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.fixture(params=["RS256", "ES256"])
def issuer(request: pytest.FixtureRequest) -> Iterator[FakeIssuer]:
    """An issuer that is served, on the machine's clock, because the samples know no other."""
    issuer = FakeIssuer(audience=AUDIENCE, algorithm=request.param)
    with issuer.serve():
        yield issuer


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_tells_good_tokens_from_bad_ones(name: str, issuer: FakeIssuer) -> None:
    """A good token is served as JSON; none, and one that is expired, forged, of another issuer or for another audience is a 401."""
    bad = {
        "none": None,
        "no token at all": "x",
        "expired": issuer.token(lifetime=-3600),
        "forged": issuer.forge(),
        "for another audience": issuer.token(audience="api://other"),
        "of another issuer": issuer.token(iss="https://other.test"),
        "of an unknown key": issuer.forge(key="made-up"),
    }
    with running(name, issuer) as service:
        answer = service.answer(issuer.token())

        assert (200, {"for": "alice"}) == (answer.status_code, answer.json())
        assert dict.fromkeys(bad, 401) == {what: service.status(token) for what, token in bad.items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_takes_a_second_key_that_was_published_when_it_started(name: str, issuer: FakeIssuer) -> None:
    """None of them holds one key alone: a rollover that was announced in time is served by all."""
    issuer.publish("k2")
    with running(name, issuer) as service:
        assert [200, 200] == [service.status(issuer.token()), service.status(issuer.token(key="k2"))]


@pytest.mark.parametrize("issuer", ["RS256"], indirect=True)
def test_keyturn_accepts_a_token_of_a_cut_over_key(issuer: FakeIssuer) -> None:
    """The first token of a key that replaced all others without notice is served, for one more request to the issuer (R4)."""
    with running("keyturn_fastapi", issuer) as service:
        old = issuer.token()
        assert 200 == service.status(old)
        issuer.cut_over("k2")
        asked = issuer.fetches.jwks

        assert [200, 200, 200] == [service.status(issuer.token()), service.status(issuer.token()), service.status(old)]
        assert asked + 1 == issuer.fetches.jwks


@pytest.mark.parametrize("issuer", ["RS256"], indirect=True)
def test_keyturn_says_503_when_it_starts_while_the_issuer_is_down(issuer: FakeIssuer) -> None:
    """A start in an outage is no bad token (R9)."""
    with issuer.down(document="both"), running("keyturn_fastapi", issuer) as service:
        assert 503 == service.status(issuer.token())


@pytest.mark.parametrize("issuer", ["RS256"], indirect=True)
def test_daily_refresh_reads_the_keys_once(issuer: FakeIssuer) -> None:
    """As its source does, it reads nothing for a kid that it does not hold."""
    with running("daily_refresh", issuer) as service:
        old = issuer.token()
        issuer.cut_over("k2")

        assert [200, 401] == [service.status(old), service.status(issuer.token())]
        assert 1 == issuer.fetches.jwks


@pytest.mark.parametrize("issuer", ["RS256"], indirect=True)
def test_daily_refresh_does_not_start_without_keys(issuer: FakeIssuer) -> None:
    """As its source does at start-up, it ends where the keys cannot be read."""
    with issuer.down(document="both"), process("daily_refresh", issuer) as (started, _port):
        assert 0 != started.wait(READY_SECONDS)


@pytest.mark.parametrize("name", ["pyjwkclient", "node_jose"])
@pytest.mark.parametrize("issuer", ["RS256"], indirect=True)
def test_a_sample_that_reads_keys_late_says_503_while_the_issuer_is_down(name: str, issuer: FakeIssuer) -> None:
    """Where a library tells an outage from a bad token, its sample does, too."""
    with issuer.down(document="both"), running(name, issuer) as service:
        assert 503 == service.status(issuer.token())
