"""The ASGI middleware, before a bare application, on two servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.web.asgi.serving import by_hypercorn, by_uvicorn
from tests.web.conformance import Case, Kind, Subject, check, table

from keyturn.integrations import BearerGuard, Needs, any_of
from keyturn.integrations.asgi import BearerMiddleware

RULES = {
    "/orders": Needs(scopes="orders:read"),
    "/any": Needs(scopes=any_of("a", "b")),
    "/role": Needs(roles="admin"),
}


async def bare(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Say whose token came; an application that knows ASGI and nothing else."""
    token = scope["user"]
    assert token is scope["state"]["token"]
    said = json.dumps({"subject": token.subject, "key": token.key_id}).encode()
    if scope["type"] == "websocket":
        assert "websocket.connect" == (await receive())["type"]
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": said.decode()})
        await send({"type": "websocket.close"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": said})


def protected(guard: BearerGuard) -> BearerMiddleware:
    """Return the bare application behind the middleware."""
    return BearerMiddleware(bare, guard, rules=RULES, readiness_path="/ready")


@contextmanager
def on_uvicorn(guard: BearerGuard) -> Iterator[Subject]:
    """Serve it with uvicorn."""
    with by_uvicorn(protected(guard), lifespan="off") as served:
        yield served


@contextmanager
def on_hypercorn(guard: BearerGuard) -> Iterator[Subject]:
    """Serve it with hypercorn."""
    with by_hypercorn(protected(guard)) as served:
        yield served


WITHOUT = {"optional": "a path is public or not; there the framework's own adapter is the better place"}
KINDS = [
    Kind("ASGI middleware, uvicorn", on_uvicorn, without=WITHOUT),
    Kind("ASGI middleware, hypercorn", on_hypercorn, without=WITHOUT),
]


@pytest.mark.parametrize(("kind", "case"), table(KINDS))
def test_the_middleware_conforms(kind: Kind, case: Case) -> None:
    """It passes every case of the table."""
    check(kind, case)
