"""The Quart decorator, in front of async and sync views and of WebSockets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from quart import Blueprint, Quart, g, websocket
from tests.web.asgi.serving import by_hypercorn, by_uvicorn
from tests.web.conformance import Case, Kind, Subject, World, bearer, challenge_of, check, table

from keyturn import InsufficientScopeError, KeyturnError
from keyturn.integrations import BearerGuard, Needs, any_of
from keyturn.integrations.asgi import BearerMiddleware
from keyturn.integrations.quart import Bearer, current_token


def told() -> dict[str, Any]:
    """Return what `/me` answers."""
    return {"subject": current_token.subject, "key": current_token.key_id}


async def async_view() -> dict[str, Any]:
    """Say whose token came."""
    return told()


def application(guard: BearerGuard, *, sync: bool = False) -> Quart:
    """Return the application of the table, with sync or async views."""
    app, bearer = Quart("orders"), Bearer(guard)
    places = {
        "/me": bearer.requires(),
        "/orders": bearer.requires("orders:read"),
        "/any": bearer.requires(any_of("a", "b")),
        "/role": bearer.requires(roles="admin"),
    }
    for path, decorate in places.items():
        app.add_url_rule(path, path, decorate(told if sync else async_view))

    @app.get("/optional")
    @bearer.requires(optional=True)
    async def optional() -> dict[str, Any]:
        return {"subject": g.token and g.token.subject}

    @app.websocket("/ws")
    @bearer.requires()
    async def ws() -> None:
        await websocket.accept()
        await websocket.send_json(told())

    app.add_url_rule("/ready", view_func=bearer.readiness)
    return app


@contextmanager
def on_hypercorn(guard: BearerGuard) -> Iterator[Subject]:
    """Serve async views with hypercorn."""
    with by_hypercorn(application(guard)) as served:
        yield served


@contextmanager
def on_uvicorn(guard: BearerGuard) -> Iterator[Subject]:
    """Serve sync views with uvicorn."""
    with by_uvicorn(application(guard, sync=True)) as served:
        yield served


KINDS = [Kind("Quart, async", on_hypercorn), Kind("Quart, sync", on_uvicorn)]


@pytest.mark.parametrize(("kind", "case"), table(KINDS))
def test_the_decorator_conforms(kind: Kind, case: Case) -> None:
    """It passes every case of the table."""
    check(kind, case)


def test_a_protected_application_has_no_open_view() -> None:
    """Every view needs a good token, a WebSocket and a path that nobody knows included."""
    world = World()
    app = Quart("orders")
    Bearer(world.guard()).protect(app, "a")
    app.add_url_rule("/", "index", async_view)

    @app.websocket("/ws")
    async def ws() -> None:
        await websocket.send_json(told())

    with by_uvicorn(app) as served:
        for path in ("/", "/unknown"):
            assert (401, "a") == (served.get(path, []).status, challenge_of(served.get(path, []))["scope"])
        good = bearer(world.issuer.token(scopes="a"))
        assert (200, 404) == (served.get("/", good).status, served.get("/unknown", good).status)
        assert 403 == served.get("/", bearer(world.issuer.token())).status
        assert 1 == len(served.connect("/ws", good))
        reply = served.connect("/ws", [])
        assert not isinstance(reply, list)
        assert 401 == reply.status


def test_a_protected_blueprint_leaves_others_alone() -> None:
    """Only its own views need a token, and one of them may need more."""
    world = World()
    app, orders, protect = Quart("orders"), Blueprint("orders", "orders"), Bearer(world.guard())
    protect.protect(orders)
    orders.add_url_rule("/orders", "orders", protect.requires("a")(async_view))
    app.register_blueprint(orders)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {}

    with by_uvicorn(app) as served:
        assert (200, 401) == (served.get("/health", []).status, served.get("/orders", []).status)
        assert 403 == served.get("/orders", bearer(world.issuer.token())).status
        assert 200 == served.get("/orders", bearer(world.issuer.token(scopes="a"))).status


@pytest.mark.parametrize("target", ["/orders", "orders", "x:/orders", "http:orders", "//orders"])
@pytest.mark.parametrize("by", [by_uvicorn, by_hypercorn])
def test_no_writing_of_a_path_opens_the_middleware_before_it(by: Any, target: str) -> None:
    """Quart routes a target without a slash, or with a scheme, by the rest; both servers hand it on."""
    world, app = World(), Quart("orders")

    @app.get("/orders")
    async def orders() -> dict[str, Any]:
        return {}

    with by(BearerMiddleware(app, world.guard(), rules={"/": None, "/orders": Needs("orders:read")})) as served:
        assert 401 == served.get(target, []).status
        assert 403 == served.get(target, bearer(world.issuer.token())).status


def test_a_view_without_a_token_is_told_so() -> None:
    """Reading the token where nothing was judged is a mistake of the application, and says what is missing."""
    app = Quart("orders")

    @app.get("/")
    async def index() -> dict[str, Any]:
        with pytest.raises(RuntimeError, match="bearer.requires"):
            told()
        return {}

    with by_uvicorn(app) as served:
        assert 200 == served.get("/", []).status


def test_errors_of_views_are_answered() -> None:
    """What a view raises itself is answered like a refusal."""
    world = World()
    app, protect = Quart("orders"), Bearer(world.guard())
    app.register_error_handler(KeyturnError, protect.handler)

    @app.get("/")
    @protect.requires()
    async def delete() -> None:
        raise InsufficientScopeError("the token lacks a scope", required=("orders:delete",))

    with by_uvicorn(app) as served:
        reply = served.get("/", bearer(world.issuer.token()))
        assert (403, "orders:delete") == (reply.status, challenge_of(reply)["scope"])


def test_lifespan_and_metadata() -> None:
    """The keys are read before the first request; the metadata stands where refusals point."""
    world = World()
    app, protect = Quart("orders"), Bearer(world.guard(resource="https://api.example.com"))
    app.while_serving(protect.lifespan)
    app.add_url_rule(protect.guard.metadata_path, view_func=protect.metadata)
    with by_uvicorn(app) as served:
        world.issuer.fetches.expect(discovery=1, jwks=1)
        assert "https://api.example.com" == served.get("/.well-known/oauth-protected-resource", []).json()["resource"]
