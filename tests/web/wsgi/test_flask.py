"""The Flask decorator, in front of sync and async views, and the same for whole applications."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Blueprint, Flask, g
from flask.views import MethodView
from tests.web.conformance import Case, Headers, Kind, OverHttp, Reply, Subject, World, bearer, check, table
from tests.web.serving import by_wsgiref

from keyturn import ConfigurationError, KeysUnavailableError
from keyturn.integrations import BearerGuard, Needs, any_of
from keyturn.integrations.flask import Bearer, current_token, register_error_handlers
from keyturn.integrations.wsgi import BearerMiddleware


def told() -> dict[str, Any]:
    """Return what `/me` answers."""
    return {"subject": current_token.subject, "key": current_token.key_id}


async def told_later() -> dict[str, Any]:
    """Return the same, from a coroutine."""
    return told()


def application(guard: BearerGuard, *, sync: bool = True) -> Flask:
    """Return the application of the table, with sync or async views."""
    app, bearer = Flask("orders"), Bearer(guard)
    places = {
        "/me": bearer.requires(),
        "/orders": bearer.requires("orders:read"),
        "/any": bearer.requires(any_of("a", "b")),
        "/role": bearer.requires(roles="admin"),
    }
    for path, decorate in places.items():
        app.add_url_rule(path, path, decorate(told if sync else told_later))

    @app.get("/optional")
    @bearer.requires(optional=True)
    def optional() -> dict[str, Any]:
        assert bool(current_token) == (g.token is not None)
        return {"subject": g.token and g.token.subject}

    app.add_url_rule("/ready", view_func=bearer.readiness)
    return app


class InTestClient(Subject):
    """An application in Flask's test client, a client for each request."""

    def __init__(self, app: Flask) -> None:
        self.app = app

    def get(self, path: str, headers: Headers) -> Reply:
        """Send a request; a header field that is there twice arrives joined, as from a server."""
        joined: dict[str, str] = {}
        for name, value in headers:
            joined[name] = f"{joined[name]},{value}" if name in joined else value
        answer = self.app.test_client().get(path, headers=joined)
        return Reply(answer.status_code, list(answer.headers), answer.data)


@contextmanager
def on_wsgiref(guard: BearerGuard) -> Iterator[Subject]:
    """Serve sync views, on a thread for each request."""
    with by_wsgiref(application(guard)) as port:
        yield OverHttp(port)


@contextmanager
def in_test_client(guard: BearerGuard) -> Iterator[Subject]:
    """Run async views in the test client."""
    yield InTestClient(application(guard, sync=False))


WITHOUT = {"websocket": "Flask has none"}
KINDS = [Kind("Flask, sync", on_wsgiref, without=WITHOUT), Kind("Flask, async", in_test_client, without=WITHOUT)]


@pytest.mark.parametrize(("kind", "case"), table(KINDS))
def test_the_decorator_conforms(kind: Kind, case: Case) -> None:
    """It passes every case of the table."""
    check(kind, case)


@pytest.fixture
def world() -> World:
    """Return an issuer and a client of it."""
    return World()


def ask(app: Flask, path: str, token: str | None = None) -> Reply:
    """Send a request to *app*."""
    return InTestClient(app).get(path, [] if token is None else bearer(token))


def test_everything_is_protected_but_what_is_named(world: World) -> None:
    """Views without a decorator and paths that nobody knows need a token, too; a public endpoint does not."""
    app, guard = Flask("orders"), Bearer(world.guard())
    guard.protect(app, "orders:read", public=["readiness"])
    app.add_url_rule("/ready", view_func=guard.readiness)
    app.add_url_rule("/me", "me", told)
    world.warm()
    token = world.issuer.token(scopes="orders:read")
    assert (401, 401, 401, 200) == tuple(ask(app, path).status for path in ("/me", "/nowhere", "/static/x", "/ready"))
    assert (200, 404, 403) == (ask(app, "/me", token).status, ask(app, "/nowhere", token).status, ask(app, "/me", world.issuer.token()).status)


def test_a_blueprint_is_protected_alone(world: World) -> None:
    """What stands beside the blueprint is not touched."""
    app, bearer, blueprint = Flask("orders"), Bearer(world.guard()), Blueprint("orders", "orders")
    bearer.protect(blueprint, public=["orders.index"])
    blueprint.add_url_rule("/me", "me", told)
    blueprint.add_url_rule("/", "index", dict)
    app.register_blueprint(blueprint, url_prefix="/v1")
    app.add_url_rule("/", "home", dict)
    assert (401, 200, 200) == tuple(ask(app, path).status for path in ("/v1/me", "/v1/", "/"))


def test_a_preflight_request_passes(world: World) -> None:
    """Browsers send OPTIONS without a token; Flask answers it by itself, and a view of OPTIONS stays protected."""
    app, bearer = Flask("orders"), Bearer(world.guard())
    bearer.protect(app)
    app.add_url_rule("/me", "me", told)
    app.add_url_rule("/own", "own", told, methods=["OPTIONS"])
    client = app.test_client()
    assert (200, 401, 401) == (client.options("/me").status_code, client.options("/own").status_code, client.options("/nowhere").status_code)


def test_a_class_of_views_is_decorated(world: World) -> None:
    """`decorators` of a `MethodView` take it, with async methods, too."""
    bearer = Bearer(world.guard())

    class Me(MethodView):
        decorators = (bearer.requires(),)

        async def get(self) -> dict[str, Any]:
            return told()

    app = Flask("orders")
    app.add_url_rule("/me", view_func=Me.as_view("me"))
    assert (401, 200) == (ask(app, "/me").status, ask(app, "/me", world.issuer.token()).status)


@pytest.mark.parametrize("sync", [True, False])
def test_a_second_token_in_the_url_is_one_too_many(world: World, *, sync: bool) -> None:
    """A token in the query string is never read, and beside another it is a fault (RFC 6750, section 2; RFC 9700, section 4.3.2)."""
    app, token = application(world.guard(), sync=sync), world.issuer.token()
    assert (400, 401) == tuple(ask(app, f"/me?access_token={token}", sent).status for sent in (token, None))


def test_parameters_are_quoted(world: World) -> None:
    """Simple clients look for quotes, which Werkzeug's own header leaves out (RFC 6750, section 3)."""
    (value,) = ask(application(world.guard()), "/me", "made.up.token").values("WWW-Authenticate")
    assert value.startswith('Bearer realm="orders", error="invalid_token", error_description="')


def test_errors_of_views_are_answered(world: World) -> None:
    """What a view raises is answered as a refusal is, once the application was told to."""
    app, guard = Flask("orders"), world.guard()
    bearer = Bearer(guard)

    @app.get("/strict")
    @bearer.requires()
    def strict() -> dict[str, Any]:
        Needs(roles="admin").check(current_token)
        return {}

    @app.get("/down")
    def down() -> dict[str, Any]:
        raise KeysUnavailableError("the keys of another service cannot be had", retry_after=7)

    bearer.init_app(app)
    reply = ask(app, "/strict", world.issuer.token())
    assert (403, "insufficient_scope") == (reply.status, reply.json()["error"])
    assert (503, ["7"]) == (ask(app, "/down").status, ask(app, "/down").values("Retry-After"))


def test_a_blueprint_answers_its_errors(world: World) -> None:
    """Handlers may be registered for a part of an application."""
    blueprint = Blueprint("orders", "orders")
    register_error_handlers(blueprint, world.validator())

    @blueprint.get("/down")
    def down() -> dict[str, Any]:
        raise KeysUnavailableError("nobody can know")

    app = Flask("orders")
    app.register_blueprint(blueprint)
    assert 503 == ask(app, "/down").status


def test_a_factory_hands_the_guard_over(world: World) -> None:
    """Views are decorated at import; each application that is made later has a guard of its own."""
    bearer = Bearer()

    def create(guard: BearerGuard) -> Flask:
        app = Flask("orders")
        bearer.init_app(app, guard)
        app.add_url_rule("/me", "me", bearer.requires()(told))
        return app

    plain, strict = create(world.guard()), create(world.guard(scopes="orders:read"))
    assert (200, 403) == (ask(plain, "/me", world.issuer.token()).status, ask(strict, "/me", world.issuer.token()).status)


def test_exactly_one_guard_is_given(world: World) -> None:
    """Without a guard nothing is guarded, and two would leave open which one counts."""
    with pytest.raises(ConfigurationError, match="no guard"):
        Bearer().init_app(Flask("orders"))
    with pytest.raises(ConfigurationError, match="two guards"):
        Bearer(world.guard()).init_app(Flask("orders"), world.guard())
    with pytest.raises(ConfigurationError, match="init_app"):
        Bearer().guard  # noqa: B018 - reading it is the test
    app = Flask("orders")
    app.add_url_rule("/me", "me", Bearer().requires()(told))
    app.testing = True
    with pytest.raises(ConfigurationError, match="init_app"):
        ask(app, "/me")


def test_there_is_no_token_without_a_request(world: World) -> None:
    """`current_token` is false and cannot be read where nobody was let in."""
    app = Flask("orders")
    assert not current_token
    with app.test_request_context("/"):
        assert not current_token
        with pytest.raises(RuntimeError, match="requires"):
            current_token.subject  # noqa: B018 - reading it is the test


def test_no_token_outlives_its_request(world: World) -> None:
    """An application context that spans requests, as in tests and commands, hands no token on to the next one."""
    app, bearer = Flask("orders"), Bearer(world.guard())
    app.add_url_rule("/me", "me", bearer.requires()(told))
    app.add_url_rule("/open", "open", lambda: {"known": bool(current_token)})
    with app.app_context():
        assert 200 == ask(app, "/me", world.issuer.token()).status
        assert {"known": False} == ask(app, "/open").json()


def test_a_public_view_finds_no_token_of_another_request(world: World) -> None:
    """Under such a context `g` is one for all requests, so what `protect()` lets pass finds no token of the request before."""
    app, bearer = Flask("orders"), Bearer(world.guard())
    bearer.protect(app, public={"open"})
    app.add_url_rule("/me", "me", told)
    app.add_url_rule("/open", "open", lambda: {"known": getattr(g, "token", None) is not None})
    with app.app_context():
        assert 200 == ask(app, "/me", world.issuer.token()).status
        assert {"known": False} == ask(app, "/open").json()


def test_the_middleware_tells_its_token(world: World) -> None:
    """Behind the WSGI middleware `current_token` needs no decorator."""
    app = Flask("orders")
    app.add_url_rule("/me", "me", told)
    app.wsgi_app = BearerMiddleware(app.wsgi_app, world.guard())  # type: ignore[method-assign]
    assert (401, 200) == (ask(app, "/me").status, ask(app, "/me", world.issuer.token()).status)


def test_metadata_is_a_view(world: World) -> None:
    """The document of RFC 9728 stands where clients look for it."""
    app, guard = Flask("orders"), world.guard(resource="https://api.example.com")
    app.add_url_rule(guard.metadata_path, view_func=Bearer(guard).metadata)
    assert "https://api.example.com" == ask(app, "/.well-known/oauth-protected-resource").json()["resource"]
