"""The adapter of the MCP SDK, behind uvicorn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.mcpserver import MCPServer
from starlette.applications import Starlette
from tests.web.conformance import Case, Kind, Subject, check, table
from tests.web.mcp.mcp_subject import WITHOUT, served

from keyturn.integrations import BearerGuard
from keyturn.integrations.mcp import BearerAnswers, GuardedAccessToken, KeyturnVerifier, auth_settings


def application(guard: BearerGuard) -> Starlette:
    """Return a server with one tool, which says whose token came."""
    server = MCPServer("orders", token_verifier=KeyturnVerifier(guard), auth=auth_settings(guard))

    @server.tool()
    async def me() -> str:
        token = get_access_token()
        assert isinstance(token, GuardedAccessToken)
        return f'{{"subject": "{token.subject}", "key": "{token.validated.key_id}"}}'

    app = server.streamable_http_app(json_response=True, stateless_http=True)
    app.add_middleware(BearerAnswers, guard=guard, readiness_path="/ready")
    return app


@contextmanager
def make(guard: BearerGuard) -> Iterator[Subject]:
    """Run the server."""
    with served(guard, application) as subject:
        yield subject


KINDS = [Kind("MCP SDK", make, without=WITHOUT)]


@pytest.mark.parametrize(("kind", "case"), table(KINDS))
def test_table(kind: Kind, case: Case) -> None:
    """The table of cases."""
    check(kind, case)
