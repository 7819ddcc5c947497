"""What is Django Ninja's own: lists of authenticators, its handlers, its log, its throttles and OpenAPI."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest
from django.test import AsyncClient, RequestFactory, override_settings
from ninja.throttling import UserRateThrottle
from tests.web.conformance import World, challenge_of
from tests.web.wsgi.django_project import OPTIONAL, ask
from tests.web.wsgi.ninja_apis import async_api, bearer, sync_api

from keyturn.integrations.ninja import ANONYMOUS


@pytest.fixture
def world() -> Iterator[World]:
    """Return an issuer and a client of it, whose guard judges for the project."""
    world = World()
    with override_settings(KEYTURN_GUARD=world.guard()):
        yield world


def test_the_next_of_a_list_is_asked(world: World) -> None:
    """Without credentials another authenticator has its turn; if none lets the request in, the challenge is ours."""
    assert {"auth": "by key"} == ask("/ninja/sync/either?key=sesame").json()
    reply = ask("/ninja/sync/either")
    assert (401, "orders:read") == (reply.status, challenge_of(reply)["scope"])
    assert 401 == ask("/ninja/sync/either?key=sesame", "junk").status


def test_other_authenticators_keep_their_answer(world: World) -> None:
    """Where no token was asked for, Ninja's own 401 stays as it is."""
    reply = ask("/ninja/sync/key")
    assert (401, {"detail": "Unauthorized"}, []) == (reply.status, reply.json(), reply.values("WWW-Authenticate"))


def test_without_handlers_the_status_is_right(world: World) -> None:
    """An API that was not given our handlers sends no challenge, but never 500 and never lets anybody in."""
    assert (401, 401, 200) == tuple(ask("/ninja/bare/me", token).status for token in (None, "junk", world.issuer.token()))
    with world.issuer.down(document="both"):
        assert 503 == ask("/ninja/bare/me", world.issuer.forge(key="k9")).status


def test_errors_of_operations_are_answered(world: World) -> None:
    """What an operation raises is answered as a refusal is."""
    reply = ask("/ninja/sync/down")
    assert (503, ["7"]) == (reply.status, reply.values("Retry-After"))


@pytest.mark.parametrize("prefix", ["/ninja/sync", "/ninja/async"])
def test_nothing_is_written_to_the_log(world: World, caplog: pytest.LogCaptureFixture, prefix: str) -> None:
    """With DEBUG Ninja's own class logs the credentials of other schemes; this one logs none, whatever came."""
    caplog.set_level(logging.DEBUG)
    secret = "YWxpY2U6c2VjcmV0"
    with override_settings(DEBUG=True):
        from django.test import Client

        reply = Client(raise_request_exception=False).get(f"{prefix}/me", HTTP_AUTHORIZATION=f"Basic {secret}")
        junk = ask(f"{prefix}/me", secret)
    assert (401, 401) == (reply.status_code, junk.status)
    assert secret not in caplog.text
    assert secret.encode() not in reply.content + junk.body


def test_throttles_know_the_user(world: World) -> None:
    """Ninja's `UserRateThrottle` asks `request.user.pk`; its `AuthRateThrottle` asks for `str(request.auth)`, which changes with the token."""
    requests = [RequestFactory().get("/", HTTP_AUTHORIZATION=f"Bearer {world.issuer.token(lifetime=seconds)}") for seconds in (60, 600)]
    assert all(bearer(request) for request in requests)
    assert 1 == len({UserRateThrottle("1/s").get_cache_key(request) for request in requests})


def test_behind_the_middleware_it_asks_for_more(world: World) -> None:
    """A token that the middleware let in is still asked for the scopes of the operation."""
    with override_settings(MIDDLEWARE=OPTIONAL):
        assert (403, 200) == tuple(ask("/ninja/sync/orders", world.issuer.token(scopes=scopes)).status for scopes in ("a", "orders:read"))


def test_sync_and_async_share_one_object(world: World) -> None:
    """Where no event loop runs, as in a sync operation, it gives a verdict and no coroutine."""
    request = RequestFactory().get("/")
    assert bearer(request) is None
    assert bearer.needing(optional=True)(request) is ANONYMOUS
    assert "ANONYMOUS" == repr(ANONYMOUS)


def test_an_async_operation_takes_no_thread(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its token is judged on the event loop: the way of threads is never gone."""
    gone: list[str] = []
    monkeypatch.setattr("keyturn.integrations.ninja.judge", lambda *arguments: gone.append("thread"))
    token = world.issuer.token()
    answer = asyncio.run(AsyncClient().get("/ninja/async/me", headers={"authorization": f"Bearer {token}"}))
    assert (200, []) == (answer.status_code, gone)
    ask("/ninja/sync/me", token)
    assert ["thread"] == gone


def test_needs_add_up(world: World) -> None:
    """What `needing` returns needs what it was called on, too."""
    both = bearer.needing("orders:read").needing(roles="admin")
    request = RequestFactory().get("/", HTTP_AUTHORIZATION=f"Bearer {world.issuer.token(roles=['admin'])}")
    with pytest.raises(Exception, match="insufficient_scope"):
        both(request)


@pytest.mark.parametrize("api", [sync_api, async_api])
def test_openapi_names_the_scheme(api: object) -> None:
    """The scheme stands in the document of the API, as a bearer token in the form of a JWT."""
    schemes = api.get_openapi_schema()["components"]["securitySchemes"]  # type: ignore[attr-defined]
    assert {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"} == schemes["Bearer"]
