"""The Starlette backend, its `requires` and its error handler."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.authentication import requires as starlette_requires
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from tests.web.asgi.serving import by_hypercorn, by_uvicorn, in_process
from tests.web.conformance import Case, Kind, Subject, World, bearer, challenge_of, check, table

from keyturn import InsufficientScopeError, KeyturnError
from keyturn.integrations import BearerGuard, any_of
from keyturn.integrations.starlette import BearerBackend


def application(guard: BearerGuard, *, sync: bool = False) -> Starlette:
    """Return the application of the table, with sync or async endpoints."""
    backend = BearerBackend(guard)

    def told(request: Request | WebSocket) -> dict[str, object]:
        return {"subject": request.user.subject, "key": request.user.key_id}

    def sync_answer(request: Request) -> Response:
        return JSONResponse(told(request))

    async def async_answer(request: Request) -> Response:
        return JSONResponse(told(request))

    answer = sync_answer if sync else async_answer

    class Orders(HTTPEndpoint):
        @backend.requires("orders:read")
        async def get(self, request: Request) -> Response:
            return JSONResponse(told(request))

    async def optional(request: Request) -> Response:
        return JSONResponse({"subject": request.user.subject if request.user.is_authenticated else None})

    @backend.requires()
    async def ws(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_json(told(websocket))
        await websocket.close()

    routes = [
        Route("/me", backend.requires()(answer)),
        Route("/orders", backend.requires("orders:read")(answer) if sync else Orders),
        Route("/any", backend.requires(any_of("a", "b"))(answer)),
        Route("/role", backend.requires(roles="admin")(answer)),
        Route("/optional", optional),
        Route("/ready", backend.readiness),
        WebSocketRoute("/ws", ws),
    ]
    return Starlette(routes=routes, middleware=[backend.middleware])


@contextmanager
def on_uvicorn(guard: BearerGuard) -> Iterator[Subject]:
    """Serve async endpoints with uvicorn."""
    with by_uvicorn(application(guard)) as served:
        yield served


@contextmanager
def in_test_client(guard: BearerGuard) -> Iterator[Subject]:
    """Run sync endpoints in Starlette's test client."""
    with in_process(application(guard, sync=True)) as client:
        yield client


KINDS = [Kind("Starlette, async", on_uvicorn), Kind("Starlette, sync", in_test_client)]


@pytest.mark.parametrize(("kind", "case"), table(KINDS))
def test_the_backend_conforms(kind: Kind, case: Case) -> None:
    """It passes every case of the table."""
    check(kind, case)


async def who(request: Request) -> Response:
    """Say who asks, and with which scopes."""
    return JSONResponse([request.user.is_authenticated, request.user.display_name, sorted(request.auth.scopes)])


def test_the_user_is_the_token() -> None:
    """`request.user` answers what Starlette asks of a user, `request.auth` has the scopes; without credentials it is Starlette's own user."""
    world = World()
    app = Starlette(routes=[Route("/", who)], middleware=[BearerBackend(world.guard()).middleware])
    with in_process(app) as client:
        assert [True, "alice", ["a", "authenticated", "b"]] == client.get("/", bearer(world.issuer.token(scopes="b a"))).json()
        assert [False, "", []] == client.get("/", []).json()
        assert 401 == client.get("/", bearer("junk")).status


def test_starlette_s_own_requires_goes_on_working() -> None:
    """Applications that use it keep it: it reads the same scopes, and sends no challenge."""
    world = World()
    app = Starlette(routes=[Route("/", starlette_requires("a")(who))], middleware=[BearerBackend(world.guard()).middleware])
    with in_process(app) as client:
        assert 200 == client.get("/", bearer(world.issuer.token(scopes="a"))).status
        refused = client.get("/", bearer(world.issuer.token(scopes="b")))
        assert (403, []) == (refused.status, refused.values("WWW-Authenticate"))


def test_starlette_s_own_middleware_answers_by_on_error() -> None:
    """With `on_error` its answers to requests are those of the backend's own middleware, outages included."""
    world = World()
    backend = BearerBackend(world.guard())
    own = Middleware(AuthenticationMiddleware, backend=backend, on_error=backend.on_error)
    with in_process(Starlette(routes=[Route("/", who)], middleware=[own])) as client:
        with world.issuer.down(document="both", retry_after=20):
            reply = client.get("/", bearer(world.issuer.token()))
            assert (503, ["20"]) == (reply.status, reply.values("Retry-After"))
        reply = client.get("/", bearer("junk"))
        assert (401, "invalid_token") == (reply.status, challenge_of(reply)["error"])


def test_another_error_is_a_500() -> None:
    """An authentication error that is none of ours says nothing about the token."""
    backend = BearerBackend(World().guard())
    assert 500 == backend.on_error(None, ValueError("x")).status_code  # type: ignore[arg-type]
    assert 500 == backend.handler(None, ValueError("x")).status_code  # type: ignore[arg-type]


def test_errors_of_endpoints_are_answered() -> None:
    """What an endpoint raises itself is answered like a refusal, with what it asks for."""
    world = World()
    backend = BearerBackend(world.guard())

    @backend.requires("a")
    async def delete(request: Request) -> Response:
        raise InsufficientScopeError("the token lacks a scope", required=("orders:delete",))

    app = Starlette(routes=[Route("/", delete)], middleware=[backend.middleware], exception_handlers={KeyturnError: backend.handler})
    with in_process(app) as client:
        reply = client.get("/", bearer(world.issuer.token(scopes="a")))
        assert (403, "orders:delete") == (reply.status, challenge_of(reply)["scope"])


@pytest.mark.parametrize("by", [by_uvicorn, by_hypercorn])
def test_an_error_of_an_endpoint_closes_an_accepted_websocket(by: Any) -> None:
    """It is too late for an HTTP answer there; before it is accepted it gets one."""
    world = World()
    backend = BearerBackend(world.guard())

    async def late(websocket: WebSocket) -> None:
        await websocket.accept()
        await early(websocket)

    async def early(websocket: WebSocket) -> None:
        raise InsufficientScopeError("the token lacks a scope", required=("a",))

    routes = [WebSocketRoute("/late", late), WebSocketRoute("/early", early)]
    with by(Starlette(routes=routes, exception_handlers={KeyturnError: backend.handler})) as served:
        assert [] == served.connect("/late", [])
        assert (1008, "insufficient_scope") == served.closed
        assert 403 == served.connect("/early", []).status


def test_requires_without_the_middleware_lets_nobody_in() -> None:
    """A forgotten middleware is a 401 for everybody, and never an open door."""
    world = World()
    with in_process(Starlette(routes=[Route("/", BearerBackend(world.guard()).requires()(who))])) as client:
        assert 401 == client.get("/", bearer(world.issuer.token())).status


def test_a_websocket_without_requires_refuses_bad_tokens() -> None:
    """A WebSocket without credentials is anonymous like a request; a bad token gets the whole answer."""
    world = World()

    async def ws(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_json(websocket.user.is_authenticated)
        await websocket.close()

    with in_process(Starlette(routes=[WebSocketRoute("/", ws)], middleware=[BearerBackend(world.guard()).middleware])) as client:
        assert ["false"] == client.connect("/", [])
        assert ["true"] == client.connect("/", bearer(world.issuer.token()))
        reply = client.connect("/", bearer("junk"))
        assert not isinstance(reply, list)
        assert "invalid_token" == challenge_of(reply)["error"]


def test_lifespan_and_metadata() -> None:
    """The keys are read before the first request; the metadata stands where refusals point."""
    world = World()
    backend = BearerBackend(world.guard(resource="https://api.example.com"))
    routes = [Route("/ready", backend.readiness), Route(backend.guard.metadata_path, backend.metadata)]
    with in_process(Starlette(routes=routes, lifespan=backend.lifespan)) as client:
        world.issuer.fetches.expect(discovery=1, jwks=1)
        assert 200 == client.get("/ready", []).status
        assert "https://api.example.com" == client.get("/.well-known/oauth-protected-resource", []).json()["resource"]


def test_the_error_on_its_way_holds_no_token() -> None:
    """Starlette's own middleware without `on_error` sends the error's text, which repeats nothing of the token."""
    world = World()
    world.warm()
    own = Middleware(AuthenticationMiddleware, backend=BearerBackend(world.guard()))
    with in_process(Starlette(routes=[Route("/", who)], middleware=[own])) as client:
        assert (400, b"unknown_key") == client.get("/", bearer(world.issuer.forge(key="made-up")))[::2]
        assert (400, b"invalid_audience") == client.get("/", bearer(world.issuer.token(audience="made-up")))[::2]
