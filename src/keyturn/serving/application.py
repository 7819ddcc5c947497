"""Which request gets which answer, without a socket.

| path | method | for whom |
|---|---|---|
| `/` | GET | the page, for a person |
| `.well-known/openid-configuration`, `jwks.json` below the issuer | GET | everybody, past the fault in force |
| `token` below the issuer | POST | everybody |
| `/control/state` | GET | the page and programs |
| `/control/mint`, `/control/OPERATION` | POST | the page and programs |

Rules of this file:

1. The page and the control API answer under a name of this machine alone; documents and tokens under any, because a container has
   names that nobody can list.
2. Documents and tokens answer pages of every origin (Fetch standard, CORS); the control API answers no question of that kind.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from keyturn.errors import quoted
from keyturn.serving.control import Control
from keyturn.serving.exchange import RefusedError, Request, json_answer
from keyturn.serving.guard import Guard
from keyturn.serving.members import read_members
from keyturn.serving.page import page
from keyturn.serving.tokens import Client, grant
from keyturn.testing.faults import Answer

CONTROL = "/control/"
"""Where the control API is."""

_SHARED = {
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "Date, Retry-After, WWW-Authenticate",
    "x-content-type-options": "nosniff",
}
_PRIVATE = {"cross-origin-resource-policy": "same-origin", "x-content-type-options": "nosniff"}
_READING = ("GET", "HEAD")


class Application:
    """Answers requests.

    Args:
        control: The issuer and what can be done to it.
        names: Host names under which page and control API answer, in lower case, beside addresses and localhost.
        scheme: "http" or "https".
        client: The only client of the token endpoint; None accepts all.
    """

    def __init__(self, control: Control, *, names: Collection[str] = (), scheme: str = "http", client: Client | None = None) -> None:
        self.control = control
        self._guard = Guard(names, scheme)
        self._client = client

    def respond(self, request: Request) -> Answer | None:
        """Answer a request; None drops the connection.

        Raises:
            SenderLeft: The sender left while a fault held it.
        """
        own = is_own(request.path)
        try:
            answer = self._own(request) if own else self._shared(request)
        except RefusedError as refused:
            answer = refused.answer()
        return answer and replace(answer, headers={**(_PRIVATE if own else _SHARED), **answer.headers})

    def close(self) -> None:
        """Let go of every request that a fault holds."""
        self.control.close()

    def _own(self, request: Request) -> Answer:
        if request.path == "/":
            self._guard.check_host(request)
            _need(request, *_READING)
            return page()
        self._guard.check_control(request)
        operation = request.path.removeprefix(CONTROL)
        if operation == "state":
            _need(request, *_READING)
            return json_answer(self.control.state())
        if operation != "mint" and operation not in self.control.operations:
            expected = ", ".join(("state", "mint", *self.control.operations))
            raise RefusedError(404, "not_found", f"there is no {quoted(request.path)}, expected {CONTROL} and one of {expected}")
        _need(request, "POST")
        values = read_members(request.body)
        return json_answer(self.control.mint(values) if operation == "mint" else self.control.act(operation, values))

    def _shared(self, request: Request) -> Answer | None:
        issuer = self.control.issuer
        if request.method == "OPTIONS":
            return Answer(204, _preflight(), b"")
        if request.path == issuer.token_path:
            body = grant(request, issuer, client=self._client, lifetime=self.control.lifetime)
            self.control.granted()
            return json_answer(body, headers={"pragma": "no-cache"})
        _need(request, *_READING)
        return issuer.documents_at(request)


def is_own(path: str) -> bool:
    """Return whether *path* belongs to the page or the control API, which no fault meets."""
    return path == "/" or path.startswith(CONTROL)


def _need(request: Request, *methods: str) -> None:
    if request.method not in methods:
        raise RefusedError(405, "method_not_allowed", f"method is {quoted(request.method)}, expected {methods[0]}", {"allow": ", ".join(methods)})


def _preflight() -> Mapping[str, str]:
    return {
        "access-control-allow-methods": "GET, POST",
        "access-control-allow-headers": "Authorization, Content-Type",
        "access-control-max-age": "600",
    }
