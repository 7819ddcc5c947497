"""The decorator and the middleware for aiohttp's server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from aiohttp import web
from tests.web.asgi.serving import Served
from tests.web.conformance import Case, Kind, Subject, World, bearer, challenge_of, check, table
from tests.web.serving import BACKLOG, on_loop

from keyturn import InsufficientScopeError
from keyturn.integrations import BearerGuard, Needs, any_of
from keyturn.integrations.aiohttp import TOKEN, Bearer


def told(request: web.Request) -> dict[str, Any]:
    """Return what `/me` answers."""
    return {"subject": request[TOKEN].subject, "key": request[TOKEN].key_id}


async def view(request: web.Request) -> web.Response:
    """Say whose token came."""
    return web.json_response(told(request))


async def ws(request: web.Request) -> web.WebSocketResponse:
    """Say whose token came."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.send_json(told(request))
    await socket.close()
    return socket


def decorated(guard: BearerGuard) -> web.Application:
    """Return the application of the table, with decorators."""
    app, bearer = web.Application(), Bearer(guard)

    @bearer.requires(optional=True)
    async def optional(request: web.Request) -> web.Response:
        token = request.get(TOKEN)
        return web.json_response({"subject": token and token.subject})

    class Orders(web.View):
        @bearer.requires("orders:read")
        async def get(self) -> web.Response:
            return await view(self.request)

    app.router.add_get("/me", bearer.requires()(view))
    app.router.add_view("/orders", Orders)
    app.router.add_get("/any", bearer.requires(any_of("a", "b"))(view))
    app.router.add_get("/role", bearer.requires(roles="admin")(view))
    app.router.add_get("/optional", optional)
    app.router.add_get("/ws", bearer.requires()(ws))
    app.router.add_get("/ready", bearer.readiness)
    return app


def behind_middleware(guard: BearerGuard) -> web.Application:
    """Return the application of the table, behind the middleware."""
    bearer = Bearer(guard)
    rules = {
        "/orders": Needs(scopes="orders:read"),
        "/any": Needs(scopes=any_of("a", "b")),
        "/role": Needs(roles="admin"),
        "/ready": None,
    }
    app = web.Application(middlewares=[bearer.middleware(rules)])
    for path in ("/me", "/orders", "/any", "/role"):
        app.router.add_get(path, view)
    app.router.add_get("/ws", ws)
    app.router.add_get("/ready", bearer.readiness)
    return app


@contextmanager
def serving(app: web.Application) -> Iterator[Served]:
    """Serve *app* with aiohttp's own server."""

    async def main(ready: Callable[[int], None], stop: asyncio.Event) -> None:
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=BACKLOG)
        await site.start()
        ready(runner.addresses[0][1])
        await stop.wait()
        await runner.cleanup()

    with on_loop(main) as port:
        yield Served(port)


@contextmanager
def with_decorators(guard: BearerGuard) -> Iterator[Subject]:
    """Serve handlers that are decorated one by one."""
    with serving(decorated(guard)) as served:
        yield served


@contextmanager
def with_middleware(guard: BearerGuard) -> Iterator[Subject]:
    """Serve handlers behind the middleware."""
    with serving(behind_middleware(guard)) as served:
        yield served


KINDS = [
    Kind("aiohttp, decorator", with_decorators),
    Kind("aiohttp, middleware", with_middleware, without={"optional": "a path is public or not; the decorator offers it"}),
]


@pytest.mark.parametrize(("kind", "case"), table(KINDS))
def test_the_adapter_conforms(kind: Kind, case: Case) -> None:
    """It passes every case of the table."""
    check(kind, case)


def test_a_method_of_a_class_is_a_handler_too() -> None:
    """The request is found wherever it stands among the arguments."""
    world = World()
    protect = Bearer(world.guard())

    class Handlers:
        @protect.requires()
        async def me(self, request: web.Request) -> web.Response:
            return await view(request)

    app = web.Application()
    app.router.add_get("/", Handlers().me)
    with serving(app) as served:
        assert (401, 200) == (served.get("/", []).status, served.get("/", bearer(world.issuer.token())).status)


@pytest.mark.parametrize("path", ["/health/../me", "/health%2F..%2Fme", "/health%2fme", "//health", "/health/%2e%2e/me", "/me", "/unknown"])
def test_no_writing_of_a_path_opens_the_middleware(path: str) -> None:
    """Only what is plainly below the public path is public; an unknown path needs a token, too."""
    world = World()
    app = web.Application(middlewares=[Bearer(world.guard()).middleware({"/health": None})])
    app.router.add_get("/me", view)
    app.router.add_get("/health", _healthy)
    with serving(app) as served:
        assert 200 == served.get("/health", []).status
        assert 401 == served.get(path, []).status


def test_rules_of_a_sub_application_count_from_the_root_of_the_host() -> None:
    """The middleware sees the path that was sent, wherever its application stands."""
    world = World()
    inner = web.Application(middlewares=[Bearer(world.guard()).middleware({"/me": None, "/api/health": None})])
    inner.router.add_get("/health", _healthy)
    inner.router.add_get("/me", view)
    app = web.Application()
    app.add_subapp("/api", inner)
    with serving(app) as served:
        assert (200, 401) == (served.get("/api/health", []).status, served.get("/api/me", []).status)


async def _healthy(request: web.Request) -> web.Response:
    return web.Response()


def test_errors_of_handlers_are_answered() -> None:
    """What a handler raises itself is answered like a refusal."""
    world = World()
    protect = Bearer(world.guard())

    async def delete(request: web.Request) -> web.Response:
        raise InsufficientScopeError("the token lacks a scope", required=("orders:delete",))

    app = web.Application(middlewares=[protect.errors])
    app.router.add_get("/", delete)
    app.router.add_get("/me", protect.requires()(view))
    with serving(app) as served:
        reply = served.get("/", [])
        assert (403, "orders:delete") == (reply.status, challenge_of(reply)["scope"])
        assert 200 == served.get("/me", bearer(world.issuer.token())).status


def test_lifespan_and_metadata() -> None:
    """The keys are read before the first request; the metadata stands where refusals point."""
    world = World()
    app, protect = web.Application(), Bearer(world.guard(resource="https://api.example.com"))
    app.cleanup_ctx.append(protect.lifespan)
    app.router.add_get(protect.guard.metadata_path, protect.metadata)
    with serving(app) as served:
        world.issuer.fetches.expect(discovery=1, jwks=1)
        assert "https://api.example.com" == served.get("/.well-known/oauth-protected-resource", []).json()["resource"]
