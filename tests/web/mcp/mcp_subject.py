"""An MCP server under the table of cases: each path is a server of its own, because the needs of MCP stand on the whole server.

`get("/orders", ...)` calls the tool `me` of the server at `/orders/mcp`, as a client of the protocol does, and gives back what the tool said.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from http.client import HTTPConnection
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import mcp.server.auth.middleware.bearer_auth as sdk
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.web.conformance import PATIENCE, REALM, Headers, OverHttp, Reply
from tests.web.serving import by_uvicorn

from keyturn.integrations import BearerGuard, any_of

NEEDS: Mapping[str, Mapping[str, Any]] = {
    "/me": {},
    "/orders": {"scopes": "orders:read"},
    "/any": {"scopes": any_of("a", "b")},
    "/role": {"roles": "admin"},
}
WITHOUT = {
    "optional": "an MCP endpoint needs a token or none at all",
    "websocket": "MCP has no WebSockets",
}
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "me", "arguments": {}}}
SPOKEN = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18"}
MakeApp = Callable[[BearerGuard], Starlette]


class OverMcp(OverHttp):
    """MCP servers on a port of 127.0.0.1."""

    def get(self, path: str, headers: Headers) -> Reply:
        """Call the tool, or ask for readiness."""
        if path == "/ready":
            return super().get("/me/ready", headers)
        reply = self.post(f"{path}/mcp", headers, CALL)
        if reply.status != 200:
            return reply
        said = reply.json()["result"]["content"][0]["text"]
        return Reply(200, reply.headers, said.encode())

    def post(self, path: str, headers: Headers, message: Mapping[str, Any]) -> Reply:
        """Send one message of the protocol, each header field on a line of its own."""
        body = json.dumps(message).encode()
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.putrequest("POST", path)
            for name, value in (*SPOKEN.items(), ("Content-Length", str(len(body))), *headers):
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return Reply(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()


def host(guard: BearerGuard, make: MakeApp) -> Starlette:
    """Return one application that holds a server for each path, every one with its own needs."""
    apps = {
        path: make(BearerGuard(guard.validator, realm=REALM, resource=f"https://mcp.example.com{path}/mcp", **needs)) for path, needs in NEEDS.items()
    }

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for app in apps.values():
                await stack.enter_async_context(app.router.lifespan_context(app))
            yield

    return Starlette(routes=[Mount(path, app=app) for path, app in apps.items()], lifespan=lifespan)


@contextmanager
def served(guard: BearerGuard, make: MakeApp) -> Iterator[OverMcp]:
    """Serve the servers with uvicorn; the SDK, which looks at a clock of its own, is given the issuer's."""
    clock = SimpleNamespace(time=guard.validator.client._clock.wall)
    with ExitStack() as stack:
        stack.enter_context(patch.object(sdk, "time", clock))
        yield OverMcp(stack.enter_context(by_uvicorn(host(guard, make), ws="none")))
