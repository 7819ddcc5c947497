"""An MCP server whose tools need a token: what you would write, with your own issuer.

`python -m examples.mcp` starts it before a fake issuer.
"""

from __future__ import annotations

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from starlette.applications import Starlette

from keyturn import InsufficientScopeError, TokenValidator, ValidatedToken
from keyturn.integrations import BearerGuard, Needs
from keyturn.integrations.mcp import BearerAnswers, GuardedAccessToken, KeyturnVerifier, auth_settings

CANCEL = Needs(scopes="orders:cancel")
ORDERS = {"alice": ["17 teapots", "1 kettle"]}


def application(issuer: str, url: str) -> Starlette:
    """Return the server as an ASGI application.

    Args:
        issuer: Who issues its tokens.
        url: Where clients reach it, which is also what its tokens are for (`aud`).
    """
    guard = BearerGuard(TokenValidator(issuer, audience=url), resource=url, scopes="orders:read", supported_scopes=["orders:cancel"])
    server = MCPServer("orders", token_verifier=KeyturnVerifier(guard), auth=auth_settings(guard), log_level="WARNING")
    server.tool()(list_orders)
    server.tool()(cancel_order)
    app = server.streamable_http_app()
    app.add_middleware(BearerAnswers, guard=guard, readiness_path="/ready")
    return app


async def list_orders() -> list[str]:
    """List the orders of whoever asks."""
    return ORDERS.get(_token().subject or "", [])


async def cancel_order(number: int) -> str:
    """Cancel an order; needs the scope orders:cancel."""
    token = _token()
    try:
        CANCEL.check(token)
    except InsufficientScopeError as error:
        # Other errors reach the client without their text.
        raise ToolError(error.message) from error
    return f"order {number} of {token.subject} is cancelled"


def _token() -> ValidatedToken:
    token = get_access_token()
    if not isinstance(token, GuardedAccessToken):
        raise TypeError("this server has no KeyturnVerifier")
    return token.validated
