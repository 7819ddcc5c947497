"""The adapter of FastMCP, behind uvicorn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fastmcp import FastMCP
from fastmcp.server.dependencies import get_access_token
from starlette.applications import Starlette
from tests.web.conformance import Case, Kind, Subject, check, table
from tests.web.mcp.mcp_subject import WITHOUT, served

from keyturn.integrations import BearerGuard
from keyturn.integrations.fastmcp import BearerAnswers, GuardedAccessToken, KeyturnAuth


def application(guard: BearerGuard) -> Starlette:
    """Return a server with one tool, which says whose token came."""
    server = FastMCP("orders", auth=KeyturnAuth(guard))

    @server.tool
    async def me() -> str:
        token = get_access_token()
        assert isinstance(token, GuardedAccessToken)
        return f'{{"subject": "{token.subject}", "key": "{token.validated.key_id}"}}'

    app = server.http_app(json_response=True, stateless_http=True)
    app.add_middleware(BearerAnswers, guard=guard, readiness_path="/ready")
    return app


@contextmanager
def make(guard: BearerGuard) -> Iterator[Subject]:
    """Run the server."""
    with served(guard, application) as subject:
        yield subject


KINDS = [Kind("FastMCP", make, without=WITHOUT)]


@pytest.mark.parametrize(("kind", "case"), table(KINDS))
def test_table(kind: Kind, case: Case) -> None:
    """The table of cases."""
    check(kind, case)
