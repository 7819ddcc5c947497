"""Start a real OpenID provider, roll its keys over from outside, and be sure that it ends.

1. A provider is one process with two servers on loopback: the issuer, and a control server that only the test knows.
2. It says on one line of stdout that it is ready and ends when its stdin closes, so that it never outlives the test.
3. What is not installed is a skip that names it, and the command that installs it.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import httpx
import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
NODE_FOLDER = HERE / "oidc-provider"
PYTHON_VARIABLE = "KEYTURN_IDP_PYTHON"
READY_SECONDS = 60.0
END_SECONDS = 10.0


@dataclass(frozen=True)
class Counts:
    """Requests that the issuer has answered so far.

    Attributes:
        discovery: Requests below `/.well-known/` for a discovery document.
        jwks: Requests for the key set.
    """

    discovery: int
    jwks: int


class RealIssuer:
    """What a test can do with one running provider.

    Attributes:
        issuer: The issuer's identifier.
        audience: Audience of its access tokens.
        scope: The one scope that its client may ask for.
        client_id: The client that asks for tokens.
    """

    def __init__(self, ready: dict[str, str], http: httpx.Client) -> None:
        self.issuer = ready["issuer"]
        self.audience = ready["audience"]
        self.scope = ready["scope"]
        self.client_id = ready["client_id"]
        self._token_url = ready["token_url"]
        self._secret = ready["client_secret"]
        self._control = ready["control"]
        self._http = http

    def token(self) -> str:
        """Return a new access token, signed by the key that signs now."""
        form = {"grant_type": "client_credentials", "scope": self.scope}
        return str(self._asked_for_tokens(self.client_id, form)["access_token"])

    def counts(self) -> Counts:
        """Return how often the documents were asked for."""
        return Counts(**self._state()["counts"])

    def signing_kid(self) -> str:
        """Return the kid of the key that signs now."""
        return str(self._state()["signing"])

    def keys(self) -> list[dict[str, Any]]:
        """Return the published keys in their order, without asking for the key set."""
        return list(self._state()["keys"])

    def publish(self, algorithm: str = "RS256") -> str:
        """Publish a new key that does not sign yet, as the last of the set; return its kid."""
        return str(self._do("publish", alg=algorithm)["keys"][-1]["kid"])

    def promote(self, kid: str) -> None:
        """Let the published key *kid* sign from now on."""
        self._do("promote", kid=kid)

    def rotate(self, algorithm: str = "RS256") -> str:
        """Publish a new key that signs at once and keep the others published; return its kid."""
        return str(self._do("rotate", alg=algorithm)["signing"])

    def retire(self, kid: str) -> None:
        """Leave the key *kid* out of the set."""
        self._do("retire", kid=kid)

    def cut_over(self, algorithm: str = "RS256") -> str:
        """Publish nothing but a new key, which signs; return its kid."""
        return str(self._do("cut-over", alg=algorithm)["signing"])

    @contextmanager
    def fault(self, kind: str) -> Iterator[None]:
        """Spoil every answer for the key set inside the block: `error`, `hold`, `truncated`, `empty` or `html`.

        What `hold` kept waiting is answered properly when the block ends.
        """
        self._do("fault", kind=kind)
        try:
            yield
        finally:
            self._do("fault", kind=None)

    def _asked_for_tokens(self, client_id: str, form: dict[str, str]) -> dict[str, Any]:
        return self._checked(self._http.post(self._token_url, data=form, auth=(client_id, self._secret)))

    def _state(self) -> dict[str, Any]:
        return self._checked(self._http.get(self._control))

    def _do(self, command: str, **settings: str | None) -> dict[str, Any]:
        return self._checked(self._http.post(f"{self._control}/{command}", json=settings))

    @staticmethod
    def _checked(answer: httpx.Response) -> dict[str, Any]:
        assert answer.status_code == httpx.codes.OK, answer.text
        return dict(answer.json())


class ToolkitIssuer(RealIssuer):
    """django-oauth-toolkit, which also signs people in.

    Attributes:
        web_client_id: The web site that people sign in to: the audience of their ID tokens.
    """

    def __init__(self, ready: dict[str, str], http: httpx.Client) -> None:
        super().__init__(ready, http)
        self.web_client_id = ready["web_client_id"]
        self._ready = ready

    def id_token(self, nonce: str) -> str:
        """Sign a person in by the code flow and return the ID token."""
        self._http.get(self._ready["sign_in_url"]).raise_for_status()
        callback = self._ready["callback"]
        asked = {"response_type": "code", "client_id": self.web_client_id, "redirect_uri": callback, "scope": "openid", "nonce": nonce}
        redirect = self._http.get(self._ready["authorize_url"], params=asked)
        code = httpx.URL(redirect.headers["location"]).params["code"]
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": callback}
        return str(self._asked_for_tokens(self.web_client_id, form)["id_token"])


@contextmanager
def oidc_provider() -> Iterator[RealIssuer]:
    """Run oidc-provider under Node; skip by name what is missing."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    if not (NODE_FOLDER / "node_modules" / "oidc-provider").is_dir():
        pytest.skip(f"oidc-provider is not installed: run `make integration`, or `npm ci --ignore-scripts` in {NODE_FOLDER.relative_to(ROOT)}")
    with _running([node, "server.mjs"], NODE_FOLDER) as (ready, http):
        yield RealIssuer(ready, http)


@contextmanager
def oauth_toolkit() -> Iterator[ToolkitIssuer]:
    """Run django-oauth-toolkit under an interpreter of its own; skip by name what is missing."""
    with _running([_toolkit_python(), "oauth_toolkit.py"], HERE) as (ready, http):
        yield ToolkitIssuer(ready, http)


def _toolkit_python() -> str:
    named = os.environ.get(PYTHON_VARIABLE)
    if named:
        # The process starts in another folder, to which a relative name would not lead.
        return str(Path(shutil.which(named) or named).absolute())
    folder, name = ("Scripts", "python.exe") if sys.platform == "win32" else ("bin", "python")
    python = ROOT / ".venv-idp" / folder / name
    if not python.exists():
        pytest.skip(f"django-oauth-toolkit is not installed: run `make integration`, or name an interpreter that has it in {PYTHON_VARIABLE}")
    return str(python)


@contextmanager
def _running(command: Sequence[str], folder: Path) -> Iterator[tuple[dict[str, str], httpx.Client]]:
    pipe = subprocess.PIPE
    with TemporaryFile() as log, subprocess.Popen(command, cwd=folder, stdin=pipe, stdout=pipe, stderr=log) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            ready = _first_line(process.stdout)
            if not ready:
                log.seek(0)
                pytest.fail(f"expected a line that says ready from {command}, got none; it wrote:\n{log.read().decode()}")
            # No proxy of the environment stands between a test and loopback.
            with httpx.Client(trust_env=False, timeout=30) as http:
                yield json.loads(ready), http
        finally:
            process.stdin.close()
            _end(process)


def _first_line(stream: IO[bytes]) -> bytes:
    """Return the first line, or nothing if none came in time; a pipe has no time-out of its own."""
    lines: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=lambda: lines.put(stream.readline()), daemon=True).start()
    try:
        return lines.get(timeout=READY_SECONDS)
    except queue.Empty:
        return b""


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
