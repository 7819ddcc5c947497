"""An orders API with FastAPI: what you would write, with your own issuer.

`python -m examples.fastapi` starts it before a fake issuer.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Security, WebSocket

from keyturn import TokenValidator, ValidatedToken
from keyturn.integrations import BearerGuard
from keyturn.integrations.fastapi import Bearer

AUDIENCE = "api://orders"

_orders: dict[str, list[str]] = {"alice": ["17 teapots", "1 kettle"]}


def create_app(issuer: str) -> FastAPI:
    """Return the application for tokens of *issuer*."""
    bearer = Bearer(BearerGuard(TokenValidator(issuer, audience=AUDIENCE), realm="orders"))
    app = FastAPI(title="Orders", lifespan=bearer.lifespan)
    app.include_router(_routes(bearer))
    app.add_api_route("/ready", bearer.readiness)
    return app


def _routes(bearer: Bearer) -> APIRouter:
    router = APIRouter()
    reader, writer = Security(bearer, scopes=["orders:read"]), Security(bearer, scopes=["orders:write"])
    anybody = Depends(bearer.needing(auto_error=False))

    @router.get("/orders")
    async def list_orders(token: ValidatedToken = reader) -> dict[str, Any]:
        """List the orders of whoever asks."""
        return {"orders": _orders.get(token.subject or "", [])}

    @router.post("/orders", status_code=201)
    async def order(request: Request, token: ValidatedToken = writer) -> dict[str, Any]:
        """Order what the body says."""
        mine = _orders.setdefault(token.subject or "", [])
        mine.append((await request.body()).decode())
        return {"orders": mine}

    @router.get("/")
    async def greet(token: ValidatedToken | None = anybody) -> dict[str, Any]:
        """Greet whoever comes, with a name where there is one."""
        return {"hello": token.subject if token else "stranger"}

    @router.websocket("/news")
    async def news(websocket: WebSocket, token: ValidatedToken = reader) -> None:
        """Tell how many orders there are, as a first piece of news."""
        await websocket.accept()
        await websocket.send_json({"orders": len(_orders.get(token.subject or "", []))})
        await websocket.close()

    return router
