"""The FastAPI dependency, in front of sync and async handlers and of WebSockets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi import Depends, FastAPI, Request, Security, WebSocket
from tests.web.asgi.serving import by_hypercorn, by_uvicorn, in_process
from tests.web.asgi.test_asgi_more import sent
from tests.web.asgi.test_asgi_more import websocket as asgi_websocket
from tests.web.conformance import Case, Kind, Subject, World, bearer, challenge_of, check, table

from keyturn import ConfigurationError, InsufficientScopeError, IssuerRouter, TokenValidator, ValidatedToken
from keyturn.integrations import BearerGuard, any_of
from keyturn.integrations.fastapi import Bearer, add_error_handler
from keyturn.testing import FakeIssuer


def told(token: ValidatedToken) -> dict[str, Any]:
    """Return what `/me` answers."""
    return {"subject": token.subject, "key": token.key_id}


def application(guard: BearerGuard, *, sync: bool = False) -> FastAPI:
    """Return the application of the table, with sync or async handlers."""
    bearer = Bearer(guard)
    places = {
        "/me": Depends(bearer),
        "/orders": Security(bearer, scopes=["orders:read"]),
        "/any": Depends(bearer.needing(scopes=any_of("a", "b"))),
        "/role": Depends(bearer.needing(roles="admin")),
    }
    app = FastAPI()
    for path, place in places.items():
        app.add_api_route(path, _handler(place, sync=sync))

    maybe = Depends(bearer.needing(auto_error=False))

    async def optional(token: Any = maybe) -> dict[str, Any]:
        return {"subject": token and token.subject}

    async def ws(websocket: WebSocket, token: Any = places["/me"]) -> None:
        await websocket.accept()
        await websocket.send_json(told(token))
        await websocket.close()

    app.add_api_route("/optional", optional)
    app.add_api_route("/ready", bearer.readiness)
    app.add_api_websocket_route("/ws", ws)
    return app


def _handler(place: Any, *, sync: bool) -> Any:
    def handler(token: Any = place) -> dict[str, Any]:
        return told(token)

    async def async_handler(token: Any = place) -> dict[str, Any]:
        return told(token)

    return handler if sync else async_handler


@contextmanager
def on_uvicorn(guard: BearerGuard) -> Iterator[Subject]:
    """Serve async handlers with uvicorn."""
    with by_uvicorn(application(guard)) as served:
        yield served


@contextmanager
def in_test_client(guard: BearerGuard) -> Iterator[Subject]:
    """Run sync handlers in the test client."""
    with in_process(application(guard, sync=True)) as client:
        yield client


KINDS = [Kind("FastAPI, async", on_uvicorn, detail=True), Kind("FastAPI, sync", in_test_client, detail=True)]


@pytest.mark.parametrize(("kind", "case"), table(KINDS))
def test_the_dependency_conforms(kind: Kind, case: Case) -> None:
    """It passes every case of the table."""
    check(kind, case)


def with_route(dependency: Any, path: str = "/") -> FastAPI:
    """Return an application with one place."""
    app = FastAPI()
    app.add_api_route(path, _handler(dependency, sync=False))
    return app


def test_the_scheme_and_its_scopes_stand_in_openapi() -> None:
    """Documentation pages find the issuer's discovery document, and the scopes of each place (OpenAPI 3.1, section 4.8.27)."""
    guard = World().guard()
    schema = with_route(Security(Bearer(guard), scopes=["orders:read"])).openapi()
    url = "https://login.example.com/.well-known/openid-configuration"
    assert {"Bearer": {"type": "openIdConnect", "openIdConnectUrl": url}} == schema["components"]["securitySchemes"]
    assert [{"Bearer": ["orders:read"]}] == schema["paths"]["/"]["get"]["security"]


def test_the_scheme_can_be_described() -> None:
    """Name, description and location can be given; one scheme serves every variation of it."""
    bearer_of = Bearer(World().guard(), scheme_name="Login", description="Ours.", open_id_connect_url="https://front.test/config")
    app = with_route(Depends(bearer_of))
    app.add_api_route("/role", _handler(Depends(bearer_of.needing(roles="admin")), sync=False))
    scheme = {"type": "openIdConnect", "openIdConnectUrl": "https://front.test/config", "description": "Ours."}
    assert {"Login": scheme} == app.openapi()["components"]["securitySchemes"]


def test_several_issuers_are_a_plain_bearer_scheme() -> None:
    """OpenAPI has one location for each scheme, and several issuers have several."""
    world, other = World(), FakeIssuer("https://b.test")
    router = IssuerRouter(world.validator(), TokenValidator(other.issuer, audience="x", fetcher=other.fetcher()))
    scheme = with_route(Depends(Bearer(router))).openapi()["components"]["securitySchemes"]["Bearer"]
    assert {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"} == scheme


def test_scopes_of_outer_dependencies_count() -> None:
    """A place needs the scopes of every dependency on the way to it, and is told all of them."""
    world = World()
    inner = Security(Bearer(world.guard()), scopes=["a"])

    async def outer(token: Any = inner) -> Any:
        return token

    with in_process(with_route(Security(outer, scopes=["b"]))) as client:
        assert 200 == client.get("/", bearer(world.issuer.token(scopes="a b"))).status
        for scopes in ("a", "b"):
            reply = client.get("/", bearer(world.issuer.token(scopes=scopes)))
            assert (403, {"a", "b"}) == (reply.status, set(challenge_of(reply)["scope"].split()))


def test_needs_add_up() -> None:
    """`needing()` of `needing()` asks for both, beside what every request needs; the first one is left as it was."""
    world = World()
    first = Bearer(world.guard(scopes="a")).needing(scopes=any_of("b", "c"))
    second = first.needing(roles="admin")
    app = with_route(Depends(first))
    app.add_api_route("/both", _handler(Depends(second), sync=False))
    with in_process(app) as client:
        for claims, status, both in (({"scopes": "a c"}, 200, 403), ({"scopes": "a b", "roles": ["admin"]}, 200, 200), ({"scopes": "c"}, 403, 403)):
            token = bearer(world.issuer.token(**claims))
            assert (status, both) == (client.get("/", token).status, client.get("/both", token).status), claims


def test_the_token_is_in_the_state() -> None:
    """Middleware and other dependencies find it, and find none where nothing was judged."""
    world = World()
    app = FastAPI(dependencies=[Depends(Bearer(world.guard()).needing(auto_error=False))])

    @app.get("/")
    async def state(request: Request) -> Any:
        token = getattr(request.state, "token", None)
        return token and token.subject

    with in_process(app) as client:
        assert "alice" == client.get("/", bearer(world.issuer.token())).json()
        assert client.get("/", []).json() is None


@pytest.mark.parametrize("down", [False, True])
def test_a_websocket_of_a_server_without_the_extension_is_closed(down: bool) -> None:
    """Where the server can send no HTTP answer the codes are those of the middleware, before the WebSocket is accepted."""
    world = World()
    app, bearer_ = FastAPI(), Bearer(world.guard())

    @app.websocket("/ws", dependencies=[Depends(bearer_)])
    async def ws(websocket: WebSocket) -> None:
        await websocket.accept()

    if down:
        with world.issuer.down(document="both"):
            answers = sent(app, asgi_websocket(bearer(world.issuer.token())))
        assert [{"type": "websocket.close", "code": 1013, "reason": "temporarily_unavailable"}] == answers
    else:
        assert [{"type": "websocket.close", "code": 1008, "reason": "missing_token"}] == sent(app, asgi_websocket())


@pytest.mark.parametrize("by", [by_uvicorn, by_hypercorn])
def test_an_error_of_a_handler_closes_an_accepted_websocket(by: Any) -> None:
    """It is too late for an HTTP answer there; before it is accepted it gets one."""
    world, app = World(), FastAPI()
    add_error_handler(app, world.guard())

    @app.websocket("/{accepting}")
    async def ws(websocket: WebSocket, accepting: str) -> None:
        if accepting == "late":
            await websocket.accept()
        raise InsufficientScopeError("the token lacks a scope", required=("a",))

    with by(app) as served:
        assert [] == served.connect("/late", [])
        assert (1008, "insufficient_scope") == served.closed
        assert 403 == served.connect("/early", []).status


def test_errors_of_handlers_are_answered() -> None:
    """What a handler raises itself is answered as a refusal, in FastAPI's own form."""
    world = World()
    app = FastAPI()
    add_error_handler(app, world.guard())

    @app.get("/")
    async def delete() -> None:
        raise InsufficientScopeError("the token lacks a scope", required=("orders:delete",))

    with in_process(app) as client:
        reply = client.get("/", [])
        assert (403, "orders:delete", ["no-store"]) == (reply.status, challenge_of(reply)["scope"], reply.values("Cache-Control"))
        assert {"detail": "The access token lacks a scope or a role that is needed here"} == reply.json()


def test_a_scope_that_is_none_is_a_mistake_of_the_configuration() -> None:
    """It is a 500 and a message that names the setting, and lets nobody in."""
    world = World()
    with in_process(with_route(Security(Bearer(world.guard()), scopes=['a"b']))) as client:
        assert 500 == client.get("/", bearer(world.issuer.token())).status
    with pytest.raises(ConfigurationError):
        Bearer(world.guard()).needing(scopes='a"b')


def test_lifespan_and_metadata() -> None:
    """The keys are read before the first request; the metadata stands where refusals point."""
    world = World()
    bearer_of = Bearer(world.guard(resource="https://api.example.com"))
    app = FastAPI(lifespan=bearer_of.lifespan)
    app.add_api_route(bearer_of.guard.metadata_path, bearer_of.metadata)
    with in_process(app) as client:
        world.issuer.fetches.expect(discovery=1, jwks=1)
        assert "https://api.example.com" == client.get("/.well-known/oauth-protected-resource", []).json()["resource"]
