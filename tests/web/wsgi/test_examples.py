"""The examples are started by their one command, and asked what the printed request asks."""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.web.conformance import PATIENCE, Headers, bearer

ROOT = Path(__file__).parents[3]


class Example:
    """The running example.

    Attributes:
        url: What it says it serves.
        token: The last token that it printed.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.url = self._line().split()[4].rstrip(".")
        self.token = self._token()

    def roll_over(self) -> None:
        """Have the issuer sign with a new key, and no longer publish the old one."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self.token = self._token()

    def ask(self, path: str, token: str | None = None, *, method: str = "GET", body: str | None = None) -> tuple[int, Any]:
        """Return status and body of the answer."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=PATIENCE)
        headers: Headers = [] if token is None else bearer(token)
        try:
            connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json", **dict(headers)})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def _token(self) -> str:
        curl, _, _, authorization, url = shlex.split(self._line())
        assert ("curl", self.url) == (curl, url)
        (token,) = re.findall(r"^Authorization: Bearer (\S+)$", authorization)
        return token

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextmanager
def example(name: str) -> Iterator[Example]:
    """Run it on a free port; it must end with its input, and tell of no error."""
    command = [sys.executable, "-m", f"examples.{name}", "0"]
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PYTHONUNBUFFERED": "1"}, stdin=-1, stdout=-1, stderr=-1, text=True, encoding="utf-8"
    ) as process:
        try:
            yield Example(process)
            _, complaints = process.communicate(timeout=PATIENCE)
            assert 0 == process.returncode, complaints
            assert [] == [word for word in ("ERROR", "Traceback", "Unclosed") if word in complaints], complaints
        finally:
            process.kill()


@pytest.mark.parametrize("name", ["flask", "django"])
def test_an_example_lives_through_a_rollover(name: str) -> None:
    """The printed request is answered; after a rollover the new token passes at once, and the old one goes on passing (R4, R10)."""
    orders = (200, {"orders": ["17 teapots", "1 kettle"]})
    with example(name) as running:
        old = running.token
        assert orders == running.ask("/orders", old)
        running.roll_over()
        assert old != running.token
        assert orders == running.ask("/orders", running.token)
        assert orders == running.ask("/orders", old)
        assert 200 == running.ask("/ready")[0]


@pytest.mark.parametrize("name", ["flask", "django"])
def test_an_example_asks_for_scopes(name: str) -> None:
    """Reading needs a token with its scope, writing another one; greetings need none."""
    with example(name) as running:
        assert (200, {"hello": "stranger"}) == running.ask("/")
        assert (200, {"hello": "alice"}) == running.ask("/", running.token)
        assert (401, 401) == (running.ask("/orders")[0], running.ask("/orders", "junk")[0])
        assert 403 == running.ask("/orders", running.token, method="POST", body="1 cup")[0]


def test_the_django_example_has_a_user() -> None:
    """Its hook makes a customer of a token."""
    with example("django") as running:
        assert (200, {"name": "alice", "key": "k1"}) == running.ask("/me", running.token)
