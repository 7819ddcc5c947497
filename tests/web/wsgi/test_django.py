"""What is Django's own: its settings, users, sessions, CSRF tokens, classes of views, and the event loop."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction
from django.contrib.auth import aauthenticate, authenticate
from django.contrib.auth.signals import user_login_failed
from django.core.exceptions import SynchronousOnlyOperation
from django.core.handlers.asgi import ASGIHandler
from django.test import AsyncClient, RequestFactory, override_settings
from django.utils.asyncio import async_unsafe
from tests.web.conformance import AT_ONCE, PATIENCE, World, bearer
from tests.web.wsgi.django_project import OPTIONAL, REQUIRED, ask, by_asgi

from keyturn import ConfigurationError, KeysUnavailableError
from keyturn.integrations import BearerGuard
from keyturn.integrations import django as adapter
from keyturn.integrations.django import BearerMiddleware, RequiredBearerMiddleware, requires

KNOWN = "tests.web.wsgi.test_django.guard"
guard: Any = None
"""What KEYTURN_GUARD names in tests of the dotted path."""


@pytest.fixture
def world() -> World:
    """Return an issuer and a client of it."""
    return World()


class User:
    """A model's instance, as far as the framework asks."""

    def __init__(self, name: str | None, *, is_active: bool = True) -> None:
        self.name = name
        self.pk = name
        self.is_active = is_active
        self.is_authenticated = True


def user_of(token: Any) -> User | None:
    """Return the user of a token, from a database: not on an event loop."""
    return _ask_database(token.subject)


async def user_of_later(token: Any) -> User | None:
    """Return the user of a token, from an async service."""
    await asyncio.sleep(0)
    return None if token.subject == "nobody" else User(token.subject, is_active=token.subject != "retired")


@async_unsafe
def _ask_database(subject: str) -> User | None:
    return None if subject == "nobody" else User(subject, is_active=subject != "retired")


@pytest.fixture(params=["sync", "async"])
def anyhow(request: pytest.FixtureRequest, world: World) -> Any:
    """Return a function that sends a request over WSGI or ASGI, with the middleware in front."""

    def over_asgi(path: str, token: str | None = None, *, method: str = "GET", **settings: Any) -> Any:
        async def send() -> Any:
            client = AsyncClient(enforce_csrf_checks=True, raise_request_exception=False)
            return await client.generic(method, path, headers={"authorization": f"Bearer {token}"} if token else {})

        with override_settings(**settings):
            answer = asyncio.run(send())
        return SimpleNamespace(status=answer.status_code, json=lambda: __import__("json").loads(answer.content), headers=answer.headers)

    send = ask if request.param == "sync" else over_asgi
    return lambda *arguments, **settings: send(*arguments, **{"KEYTURN_GUARD": world.guard(), "MIDDLEWARE": OPTIONAL, **settings})


def test_the_middleware_fits_both_worlds(world: World) -> None:
    """Django asks these marks whether it has to put a thread between (Django, "Asynchronous support")."""

    async def later(request: Any) -> None:
        return None

    with override_settings(KEYTURN_GUARD=world.guard()):
        for kind in (BearerMiddleware, RequiredBearerMiddleware):
            assert (True, True) == (kind.sync_capable, kind.async_capable)
            assert not iscoroutinefunction(kind(lambda request: None))
            assert iscoroutinefunction(kind(later))
        assert iscoroutinefunction(RequiredBearerMiddleware(later).process_view)


def test_no_request_of_an_async_project_takes_a_thread(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Under ASGI Django adapts nothing but `process_exception`, which is sync by its own rule."""
    caplog.set_level(logging.DEBUG, "django.request")
    with override_settings(KEYTURN_GUARD=world.guard(), MIDDLEWARE=REQUIRED, DEBUG=True):
        ASGIHandler()
    assert [] == [record.getMessage() for record in caplog.records if "adapted" in record.getMessage()]


def test_without_credentials_a_request_goes_on(anyhow: Any) -> None:
    """The middleware refuses a bad token anywhere, and leaves it to views whether one is needed."""
    assert {"user": "None", "token": False} == anyhow("/plain/who").json()
    assert 401 == anyhow("/plain/who", "junk").status
    assert 401 == anyhow("/sync/me").status


def test_a_good_token_is_the_user(anyhow: Any, world: World) -> None:
    """Views without a decorator find it in `request.user`, `request.auth` and `request.auser()`."""
    token = world.issuer.token()
    assert "alice" == anyhow("/plain/me", token).json()["subject"]
    assert "alice" == anyhow("/plain/later", token).json()["subject"]


def test_everything_is_refused_but_what_is_public(anyhow: Any, world: World) -> None:
    """With `RequiredBearerMiddleware` views need a mark to be public; an unknown path tells nothing but 404."""
    for path, status in {"/plain/me": 401, "/plain/later": 401, "/plain/open": 200, "/sync/ready": 503, "/nowhere": 404}.items():
        assert status == anyhow(path, MIDDLEWARE=REQUIRED).status, path
    assert (200, 200) == tuple(anyhow(path, world.issuer.token(), MIDDLEWARE=REQUIRED).status for path in ("/plain/me", "/plain/later"))


def test_errors_of_views_are_answered(anyhow: Any, world: World) -> None:
    """What a view raises is answered by the middleware as a refusal is."""
    assert 403 == anyhow("/plain/strict", world.issuer.token()).status
    reply = anyhow("/plain/down")
    assert (503, "7", "no-store") == (reply.status, dict(reply.headers)["Retry-After"], dict(reply.headers)["Cache-Control"])


@pytest.mark.parametrize("hook", ["tests.web.wsgi.test_django.user_of", "tests.web.wsgi.test_django.user_of_later", user_of])
def test_a_hook_makes_the_user(anyhow: Any, world: World, hook: Any) -> None:
    """`KEYTURN_USER_FROM_TOKEN` may be sync, for a database, or async, over WSGI and ASGI alike."""
    settings = {"KEYTURN_USER_FROM_TOKEN": hook}
    assert {"user": "alice", "token": True} == anyhow("/plain/who", world.issuer.token(), **settings).json()
    for subject in ("nobody", "retired"):
        assert 401 == anyhow("/plain/who", world.issuer.token(subject=subject), **settings).status


def test_the_fake_database_minds_event_loops() -> None:
    """The hook of these tests would fail on an event loop, as Django's models do."""

    async def on_loop() -> None:
        user_of(SimpleNamespace(subject="alice"))

    with pytest.raises(SynchronousOnlyOperation):
        asyncio.run(on_loop())


@pytest.mark.parametrize("path", ["/sync/class", "/async/class"])
@pytest.mark.parametrize("middleware", [[], OPTIONAL])
def test_classes_of_views_are_decorated(anyhow: Any, world: World, path: str, middleware: list[str]) -> None:
    """`method_decorator` on `dispatch` guards sync and async classes: an async one is never judged in the middle of the loop."""
    assert 401 == anyhow(path, MIDDLEWARE=middleware).status
    assert 403 == anyhow(path, world.issuer.token(), MIDDLEWARE=middleware).status
    assert 200 == anyhow(path, world.issuer.token(scopes="orders:read"), MIDDLEWARE=middleware).status


def test_an_async_class_does_not_stop_the_loop(world: World) -> None:
    """While its `dispatch` waits for keys another view of the same loop is served."""
    world.warm()
    with by_asgi(world.guard(), "/async") as subject, ThreadPoolExecutor(AT_ONCE) as pool:
        subject.pool = pool
        with world.issuer.gate() as gate:
            held = subject.start("/class", bearer(world.issuer.forge(key="k9")))
            assert gate.wait_for_arrival(PATIENCE)
            assert 200 == subject.get("/me", bearer(world.issuer.token())).status
            assert not held.done()
            gate.open()
            assert 401 == held.result(PATIENCE).status


@pytest.mark.parametrize("path", ["/sync/me", "/async/me", "/plain/me", "/drf/me", "/ninja/sync/me", "/ninja/async/me"])
def test_a_second_token_in_the_url_is_one_too_many(anyhow: Any, world: World, path: str) -> None:
    """A token in the query string is never read, and beside another it is a fault (RFC 6750, section 2; RFC 9700, section 4.3.2)."""
    token = world.issuer.token()
    assert (400, 401) == tuple(anyhow(f"{path}?access_token={token}", sent, MIDDLEWARE=REQUIRED).status for sent in (token, None))


@pytest.mark.parametrize(
    ("path", "middleware"),
    [
        *((path, []) for path in ("/sync/orders", "/async/orders", "/sync/optional", "/sync/class", "/async/class", "/drf/orders")),
        *(("/plain/me", middleware) for middleware in (OPTIONAL, REQUIRED)),
    ],
)
def test_no_cache_serves_an_answer_to_others(anyhow: Any, world: World, path: str, middleware: list[str]) -> None:
    """An answer to a token names the header that it depends on, by which Django's cache and others keep it apart (RFC 9111, section 4.1)."""
    reply = anyhow(path, world.issuer.token(scopes="orders:read"), MIDDLEWARE=middleware)
    assert 200 == reply.status
    assert "Authorization" in dict(reply.headers)["Vary"].split(", ")


CSRF = "django.middleware.csrf.CsrfViewMiddleware"


@pytest.mark.parametrize("middleware", [[CSRF], [CSRF, *OPTIONAL], [*OPTIONAL, CSRF]])
def test_a_token_needs_no_csrf_token(world: World, middleware: list[str]) -> None:
    """No browser adds the header by itself, so POST with a token passes; views that a session may enter keep their check without one."""
    settings = {"KEYTURN_GUARD": world.guard(), "MIDDLEWARE": middleware}
    token = world.issuer.token(scopes="orders:read")
    for path in ("/sync/class", "/async/class", "/sync/me", "/async/me"):
        assert 200 == ask(path, token, method="POST", **settings).status, path
    assert 403 == ask("/sync/optional", method="POST", **settings).status
    assert 403 == ask("/plain/who", method="POST", **settings).status
    if OPTIONAL[0] in middleware:
        assert 200 == ask("/plain/who", token, method="POST", **settings).status


SESSIONS = ["django.contrib.sessions.middleware.SessionMiddleware", "django.contrib.auth.middleware.AuthenticationMiddleware"]


@pytest.mark.parametrize("ours", [OPTIONAL, REQUIRED])
def test_the_user_is_that_of_the_token(world: World, ours: list[str]) -> None:
    """In front of sessions the session's user would stand beside somebody else's token, so that place is refused when the server starts."""
    token, settings = world.issuer.token(), {"KEYTURN_GUARD": world.guard(), "KEYTURN_USER_FROM_TOKEN": user_of}
    assert {"user": "alice", "token": True} == ask("/plain/who", token, MIDDLEWARE=[*SESSIONS, *ours], **settings).json()
    with pytest.raises(ConfigurationError, match="before AuthenticationMiddleware"):
        ask("/plain/who", token, MIDDLEWARE=[*ours, *SESSIONS], **settings)


def test_a_session_is_no_token(world: World) -> None:
    """Whoever is logged in otherwise is not let into a view that needs a token."""
    request = RequestFactory().get("/")
    request.user = request.auth = User("alice")
    with override_settings(KEYTURN_GUARD=world.guard()):
        assert 401 == requires()(lambda request: None)(request).status_code


def test_login_required_knows_the_user(world: World) -> None:
    """Django's own middleware asks `request.user.is_authenticated`, and finds the token."""
    chain = [*OPTIONAL, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    settings = {"KEYTURN_GUARD": world.guard(), "MIDDLEWARE": chain}
    assert 200 == ask("/plain/me", world.issuer.token(), **settings).status


def test_the_guard_is_found_by_its_name(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is looked up at each use, so a test may put another guard in its place; a validator alone will do."""
    monkeypatch.setitem(globals(), "guard", world.validator())
    assert 200 == ask("/sync/me", world.issuer.token(), KEYTURN_GUARD=KNOWN).status
    monkeypatch.setitem(globals(), "guard", world.guard(scopes="orders:read"))
    assert 403 == ask("/sync/me", world.issuer.token(), KEYTURN_GUARD=KNOWN).status


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "KEYTURN_GUARD is missing"),
        ({"KEYTURN_GUARD": "tests.web.wsgi.test_django.no_such_guard"}, "KEYTURN_GUARD is .* cannot be imported"),
        ({"KEYTURN_GUARD": 5}, "expected a TokenValidator or an IssuerRouter"),
        ({"KEYTURN_GUARD": KNOWN, "KEYTURN_USER_FROM_TOKEN": "no.such.function"}, "KEYTURN_USER_FROM_TOKEN is .* cannot be imported"),
        ({"KEYTURN_GUARD": KNOWN, "KEYTURN_USER_FROM_TOKEN": 5}, "KEYTURN_USER_FROM_TOKEN is 5, expected a function"),
    ],
)
def test_a_wrong_setting_is_told_at_the_start(world: World, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], told: str) -> None:
    """The middleware reads the settings when the server starts, so that no client meets a mistake."""
    monkeypatch.setitem(globals(), "guard", world.guard())
    with override_settings(**settings), pytest.raises(ConfigurationError, match=told):
        BearerMiddleware(lambda request: None)  # type: ignore[arg-type, return-value]


BACKEND = {"AUTHENTICATION_BACKENDS": ["keyturn.integrations.django.BearerBackend"], "KEYTURN_USER_FROM_TOKEN": user_of}


def both(**credentials: Any) -> list[Any]:
    """Return what `authenticate()` and `aauthenticate()` say."""
    return [authenticate(None, **credentials), asyncio.run(aauthenticate(None, **credentials))]


def test_the_backend_takes_a_token(world: World) -> None:
    """Code that calls `authenticate()` gets the user of a good token and None for a bad one; other credentials are not for it."""
    with override_settings(KEYTURN_GUARD=world.guard(), **BACKEND):
        assert ["alice", "alice"] == [user.name for user in both(token=world.issuer.token())]
        for bad in (world.issuer.token(lifetime=-3600), world.issuer.token(subject="nobody"), "junk", "two words", ""):
            assert [None, None] == both(token=bad)
        assert [None, None] == both(username="alice", password="made up")
        assert adapter.BearerBackend().get_user("alice") is None


def test_the_backend_asks_what_the_guard_asks(world: World) -> None:
    """A token without the scope that every request needs logs nobody in."""
    with override_settings(KEYTURN_GUARD=world.guard(scopes="orders:read"), **BACKEND):
        assert [None, None] == both(token=world.issuer.token())


def test_the_backend_tells_an_outage(world: World) -> None:
    """Nobody can know is no refusal: it goes up, and the middleware answers it with 503."""
    with override_settings(KEYTURN_GUARD=world.guard(), **BACKEND), world.issuer.down(document="both"):
        token = world.issuer.token()
        with pytest.raises(KeysUnavailableError):
            authenticate(None, token=token)
        with pytest.raises(KeysUnavailableError):
            asyncio.run(aauthenticate(None, token=token))


def test_the_backend_needs_a_hook(world: World) -> None:
    """Django writes the backend's name into the user, and a token cannot be written to."""
    with override_settings(KEYTURN_GUARD=world.guard(), **{**BACKEND, "KEYTURN_USER_FROM_TOKEN": None}):
        with pytest.raises(ConfigurationError, match="KEYTURN_USER_FROM_TOKEN"):
            authenticate(None, token=world.issuer.token())
        with pytest.raises(ConfigurationError, match="KEYTURN_USER_FROM_TOKEN"):
            asyncio.run(aauthenticate(None, token=world.issuer.token()))


def test_the_backend_hides_the_token(world: World) -> None:
    """Receivers of Django's signal, and with them logs, see no token: its name is one that Django blanks."""
    seen: list[Any] = []

    def receive(sender: Any, credentials: Any, **more: Any) -> None:
        seen.append(credentials)

    user_login_failed.connect(receive)
    try:
        with override_settings(KEYTURN_GUARD=world.guard(), **BACKEND):
            both(token=world.issuer.token(lifetime=-3600))
    finally:
        user_login_failed.disconnect(receive)
    assert ["*" * 20] * 2 == [credentials["token"] for credentials in seen]


def test_metadata_is_a_view(world: World) -> None:
    """The document of RFC 9728 stands where clients look for it, and needs no token."""
    guard = BearerGuard(world.validator(), resource="https://api.example.com")
    reply = ask("/.well-known/oauth-protected-resource", KEYTURN_GUARD=guard, MIDDLEWARE=REQUIRED)
    assert (200, "https://api.example.com") == (reply.status, reply.json()["resource"])
