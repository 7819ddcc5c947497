"""The Litestar plugin and its guard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from litestar import Controller, Litestar, Request, WebSocket, asgi, get, route, websocket
from starlette.testclient import TestClient
from tests.web.asgi.serving import by_uvicorn, in_process
from tests.web.conformance import Case, Kind, Subject, World, bearer, challenge_of, check, table

from keyturn import InsufficientScopeError, IssuerRouter, TokenValidator
from keyturn.integrations import BearerGuard, any_of
from keyturn.integrations.litestar import BearerPlugin, requires
from keyturn.testing import FakeIssuer


def told(connection: Any) -> dict[str, Any]:
    """Return what `/me` answers."""
    return {"subject": connection.user.subject, "key": connection.user.key_id}


def handler(path: str, *guards: Any, sync: bool) -> Any:
    """Return a route that says whose token came."""

    def sync_view(request: Request[Any, Any, Any]) -> dict[str, Any]:
        return told(request)

    async def async_view(request: Request[Any, Any, Any]) -> dict[str, Any]:
        return told(request)

    return get(path, guards=list(guards), sync_to_thread=True)(sync_view) if sync else get(path, guards=list(guards))(async_view)


@get("/optional", opt={"optional_token": True})
async def optional(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Say whose token came, if one did."""
    return {"subject": request.user and request.user.subject}


@websocket("/ws")
async def ws(socket: WebSocket[Any, Any, Any]) -> None:
    """Say whose token came."""
    await socket.accept()
    await socket.send_json(told(socket))
    await socket.close()


def application(guard: BearerGuard, *, sync: bool = False) -> Litestar:
    """Return the application of the table."""
    routes = [
        handler("/me", sync=sync),
        handler("/orders", requires("orders:read"), sync=sync),
        handler("/any", requires(any_of("a", "b")), sync=sync),
        handler("/role", requires(roles="admin"), sync=sync),
        optional,
        ws,
    ]
    return Litestar(routes, plugins=[BearerPlugin(guard, readiness_path="/ready", keep_fresh=False)])


@contextmanager
def on_uvicorn(guard: BearerGuard) -> Iterator[Subject]:
    """Serve async handlers with uvicorn."""
    with by_uvicorn(application(guard)) as served:
        yield served


@contextmanager
def in_test_client(guard: BearerGuard) -> Iterator[Subject]:
    """Run sync handlers in a test client."""
    with in_process(application(guard, sync=True)) as client:
        yield client


KINDS = [Kind("Litestar, async", on_uvicorn), Kind("Litestar, sync", in_test_client)]


@pytest.mark.parametrize(("kind", "case"), table(KINDS))
def test_the_plugin_conforms(kind: Kind, case: Case) -> None:
    """It passes every case of the table."""
    check(kind, case)


def plugged(world: World, *routes: Any, **settings: Any) -> Litestar:
    """Return an application with the plugin."""
    return Litestar(list(routes), plugins=[BearerPlugin(world.guard(), **settings)])


def test_guards_of_every_layer_count() -> None:
    """A controller's needs and its routes' own are asked for together, and told together."""
    world = World()

    class Orders(Controller):
        path = "/orders"
        guards = (requires("a"),)

        @get("/", guards=[requires("b")])
        async def orders(self, request: Request[Any, Any, Any]) -> dict[str, Any]:
            return told(request)

    with in_process(plugged(world, Orders)) as client:
        assert "a b" == challenge_of(client.get("/orders", []))["scope"]
        assert 403 == client.get("/orders", bearer(world.issuer.token(scopes="a"))).status
        assert 200 == client.get("/orders", bearer(world.issuer.token(scopes="a b"))).status


def test_public_routes() -> None:
    """A route that is excluded, and a path that is public, need no token and find none; a guard there refuses all the same."""
    world = World()

    @get(["/closed", "/health", "/healthz"])
    async def user(request: Request[Any, Any, Any]) -> bool:
        return request.user is None

    @get("/open", opt={"exclude_from_auth": True})
    async def opened(request: Request[Any, Any, Any]) -> bool:
        return request.user is None

    guarded = handler("/health/guarded", requires("a"), sync=False)
    with in_process(plugged(world, user, opened, guarded, public=["/health"])) as client:
        for path in ("/health", "/open"):
            assert (200, True) == (client.get(path, bearer("junk")).status, client.get(path, []).json())
        assert 401 == client.get("/closed", []).status
        assert 401 == client.get("/healthz", []).status
        refused = client.get("/health/guarded", bearer(world.issuer.token(scopes="a")))
        assert (401, None) == (refused.status, challenge_of(refused).get("error"))


@asgi("/admin", is_mount=True, copy_scope=True)
async def mounted(scope: Any, receive: Any, send: Any) -> None:
    """Answer anything; an application that Litestar knows nothing of."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


def test_a_public_path_is_not_public_below_a_mount() -> None:
    """Litestar cuts a mounted application's place off the path, so that `/admin/health` would look like `/health`."""
    world = World()
    with in_process(plugged(world, mounted, public=["/health"])) as client:
        assert 401 == client.get("/admin/health", []).status
        assert 200 == client.get("/admin/health", bearer(world.issuer.token())).status
    with in_process(plugged(world, mounted, public=["/admin/health"])) as client:
        assert (200, b"/health/") == client.get("/admin/health", [])[::2]
        assert 401 == client.get("/admin", []).status
        assert 401 == client.get("/admin/healthz", []).status


def test_a_method_opens_no_route() -> None:
    """OPTIONS needs a token where the application answers it; Litestar's own answer, the list of methods, needs none."""
    world = World()

    @route("/both", http_method=["GET", "OPTIONS"])
    async def both() -> str:
        return "secret"

    with TestClient(plugged(world, both, mounted, optional)) as client:
        assert 401 == client.options("/both").status_code
        assert 401 == client.options("/admin/x").status_code
        assert 200 == client.options("/both", headers=dict(bearer(world.issuer.token()))).status_code
        listed = client.options("/optional")
        assert (204, "GET, OPTIONS") == (listed.status_code, listed.headers["Allow"])


def test_a_websocket_whose_guard_alone_refuses_is_closed() -> None:
    """Where the plugin leaves a WebSocket alone its guard closes it before it is accepted."""
    world = World()
    closed = websocket("/ws", guards=[requires("a")], opt={"exclude_from_auth": True})(_never)
    with by_uvicorn(plugged(world, closed)) as served:
        reply = served.connect("/ws", bearer(world.issuer.token()))
        assert not isinstance(reply, list)
        assert 403 == reply.status


async def _never(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()


def test_a_websocket_is_told_what_its_guards_need() -> None:
    """Needs of guards are judged before the WebSocket is accepted, with the whole answer."""
    world = World()
    with by_uvicorn(plugged(world, websocket("/ws", guards=[requires("a")])(_never))) as served:
        reply = served.connect("/ws", bearer(world.issuer.token()))
        assert not isinstance(reply, list)
        assert (403, "a") == (reply.status, challenge_of(reply)["scope"])


def test_errors_of_handlers_are_answered() -> None:
    """What a handler raises itself is answered like a refusal."""
    world = World()

    @get("/")
    async def delete() -> None:
        raise InsufficientScopeError("the token lacks a scope", required=("orders:delete",))

    with in_process(plugged(world, delete)) as client:
        reply = client.get("/", bearer(world.issuer.token()))
        assert (403, "orders:delete") == (reply.status, challenge_of(reply)["scope"])


def test_the_scheme_stands_in_openapi() -> None:
    """Documentation pages find the issuer's discovery document; several issuers are a plain bearer scheme."""
    world, other = World(), FakeIssuer("https://b.test")
    schema = plugged(world, optional).openapi_schema.to_schema()
    url = "https://login.example.com/.well-known/openid-configuration"
    assert {"type": "openIdConnect", "openIdConnectUrl": url} == schema["components"]["securitySchemes"]["Bearer"]
    assert {"Bearer": []} in schema["security"]
    router = IssuerRouter(world.validator(), TokenValidator(other.issuer, audience="x", fetcher=other.fetcher()))
    schema = Litestar([optional], plugins=[BearerPlugin(router, scheme_name="Login")]).openapi_schema.to_schema()
    assert "http" == schema["components"]["securitySchemes"]["Login"]["type"]
    assert Litestar([optional], openapi_config=None, plugins=[BearerPlugin(router)]).openapi_config is None


def test_lifespan_and_metadata() -> None:
    """The keys are read before the first request; the metadata stands where refusals point."""
    world = World()
    app = Litestar([optional], plugins=[BearerPlugin(world.guard(resource="https://api.example.com/v1"), readiness_path="/ready")])
    with in_process(app) as client:
        world.issuer.fetches.expect(discovery=1, jwks=1)
        assert 200 == client.get("/ready", []).status
        assert "https://api.example.com/v1" == client.get("/.well-known/oauth-protected-resource/v1", []).json()["resource"]
