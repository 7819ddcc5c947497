"""`keyturn serve` as a process of its own, ended by its own process id."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

SOURCE = Path(__file__).parent.parent.parent / "src"
LONGEST = 60.0
"""Real seconds for anything that a test waits for; only a test that fails waits so long."""


def environment() -> dict[str, str]:
    """Return an environment without proxies and colours of the developer's own."""
    unwanted = {"no_color", "force_color", "term", "http_proxy", "https_proxy", "all_proxy"}
    return {name: value for name, value in os.environ.items() if name.lower() not in unwanted} | {"PYTHONPATH": str(SOURCE)}


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start `python -m keyturn serve`."""
    command = [sys.executable, "-m", "keyturn", "serve", *arguments]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8")


@dataclass
class Serving:
    """A running process and what it announced."""

    process: subprocess.Popen[str]
    said: dict[str, Any]
    web: httpx.Client

    def act(self, operation: str, **values: Any) -> dict[str, Any]:
        """Use the control API."""
        answer = self.web.post(self.said["control_url"] + operation, json=values)
        assert 200 == answer.status_code, answer.text
        return answer.json()

    def state(self) -> dict[str, Any]:
        """Return the state."""
        return self.web.get(self.said["control_url"] + "state").json()

    def token(self, **form: str) -> str:
        """Return a token of the token endpoint."""
        answer = self.web.post(self.said["token_endpoint"], data={"grant_type": "client_credentials", **form})
        assert 200 == answer.status_code, answer.text
        return answer.json()["access_token"]


@contextmanager
def serving(*arguments: str) -> Iterator[Serving]:
    """Run `keyturn serve --json` until the context ends."""
    with start("--json", *arguments) as process, httpx.Client(trust_env=False, timeout=LONGEST, verify=False) as web:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, process.communicate(timeout=LONGEST)
            yield Serving(process, json.loads(line), web)
        finally:
            process.terminate()
            process.communicate(timeout=LONGEST)


def port_of(serving: Serving) -> int:
    """Return the port of a process."""
    return urlsplit(serving.said["control_url"]).port or 0
