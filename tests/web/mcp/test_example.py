"""The example is started by its one command, and used by the SDK's own client over HTTP."""

from __future__ import annotations

import asyncio
import http.client
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client
from tests.web.conformance import PATIENCE

ROOT = Path(__file__).parents[3]


class Example:
    """The running example.

    Attributes:
        url: Where its server is.
        token: The last token that it printed.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.url = self._line().split()[4].rstrip(".")
        self.token = self._line().split()[-1]

    def roll_over(self) -> None:
        """Have the issuer sign with a new key, and no longer publish the old one."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self.token = self._line().split()[-1]

    def status(self, path: str) -> int:
        """Return how a request without a token is answered."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=PATIENCE)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        finally:
            connection.close()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextmanager
def example() -> Iterator[Example]:
    """Run it on a free port; it must end with its input, and tell of no error."""
    command = [sys.executable, "-m", "examples.mcp", "0"]
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PYTHONUNBUFFERED": "1"}, stdin=-1, stdout=-1, stderr=-1, text=True, encoding="utf-8"
    ) as process:
        try:
            yield Example(process)
            _, complaints = process.communicate(timeout=PATIENCE)
            assert 0 == process.returncode
            assert [] == [word for word in ("ERROR", "Traceback", "Unclosed") if word in complaints], complaints
        finally:
            process.kill()


@asynccontextmanager
async def session(url: str, client: httpx2.AsyncClient) -> Any:
    """Open a session of the protocol."""
    async with streamable_http_client(url, http_client=client) as (reading, writing), ClientSession(reading, writing) as opened:
        await opened.initialize()
        yield opened


def test_a_session_outlives_a_rollover() -> None:
    """The SDK's client lists and calls tools; in mid-session the issuer rolls over, and tokens of both keys go on working."""

    async def use(running: Example) -> None:
        old = running.token
        headers = {"Authorization": f"Bearer {old}"}
        async with httpx2.AsyncClient(headers=headers, timeout=PATIENCE) as client, session(running.url, client) as opened:
            assert ["list_orders", "cancel_order"] == [tool.name for tool in (await opened.list_tools()).tools]
            for _ in range(2):
                said = await opened.call_tool("list_orders", {})
                assert ["17 teapots", "1 kettle"] == [part.text for part in said.content]
                running.roll_over()
                client.headers["Authorization"] = f"Bearer {running.token}"
            client.headers["Authorization"] = f"Bearer {old}"
            lacking = await opened.call_tool("cancel_order", {"number": 1})
            assert lacking.is_error
            assert "the token lacks a scope, expected orders:cancel" in lacking.content[0].text

    with example() as running:
        asyncio.run(use(running))


def test_a_client_without_a_token_is_told_where_to_get_one() -> None:
    """Without a token the server names its metadata, and that names the issuer."""
    with example() as running:
        answer = httpx2.post(running.url, json={}, trust_env=False)
        challenge = answer.headers["WWW-Authenticate"]
        assert (401, True) == (answer.status_code, 'scope="orders:read"' in challenge)
        metadata = challenge.partition('resource_metadata="')[2].partition('"')[0]
        document = httpx2.get(metadata, trust_env=False).json()
        assert running.url == document["resource"]
        assert 1 == len(document["authorization_servers"])
        assert 200 == running.status("/ready")
