"""What is Django REST framework's own: who is asked for a challenge, expressions of permissions, throttles, and its error handler."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.test import override_settings
from rest_framework.test import APIRequestFactory
from tests.web.conformance import Reply, World, challenge_of
from tests.web.wsgi.django_project import OPTIONAL, ask

from keyturn.integrations.drf import BearerAuthentication, BearerRefusal, Requires, requires


@pytest.fixture
def world() -> Iterator[World]:
    """Return an issuer and a client of it, whose guard judges for the project."""
    world = World()
    with override_settings(KEYTURN_GUARD=world.guard()):
        yield world


def test_the_first_class_tells_the_challenge(world: World) -> None:
    """The framework asks the first authentication class alone, so another one in front hides the scheme; a token passes all the same."""
    assert "Basic" in ask("/drf/basic-first").values("WWW-Authenticate")[0]
    assert 200 == ask("/drf/basic-first", world.issuer.token()).status
    assert 401 == ask("/drf/basic-first", world.issuer.token(lifetime=-3600)).status


def test_without_a_challenge_it_would_be_403(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The framework's own rule, which `authenticate_header` is there for; the test would tell if it went."""
    assert 401 == ask("/drf/me").status
    monkeypatch.setattr(BearerAuthentication, "authenticate_header", lambda self, request: None)
    assert 403 == ask("/drf/me").status


def test_a_missing_scope_is_told_with_its_challenge(world: World) -> None:
    """A 403 names the scopes that are needed, which the framework's own permissions cannot."""
    reply = ask("/drf/orders", world.issuer.token())
    assert (403, "orders:read") == (reply.status, challenge_of(reply)["scope"])
    assert "orders:read" == challenge_of(ask("/drf/orders", world.issuer.token(lifetime=-3600)))["scope"]


def test_permissions_are_composed(world: World) -> None:
    """In an expression a missing scope asks on; what nobody lets in is 403."""
    plain, scoped = world.issuer.token(), world.issuer.token(scopes="orders:read")
    assert (200, 200) == (ask("/drf/composed", scoped).status, ask("/drf/composed?day=friday", plain).status)
    assert 403 == ask("/drf/composed?day=monday", plain).status


def test_permissions_may_be_chosen_late(world: World) -> None:
    """A view that looks at its user to choose permissions is served: none are asked for before there is a user."""
    assert 200 == ask("/drf/per-method", world.issuer.token(scopes="orders:read")).status
    assert "orders:read" == challenge_of(ask("/drf/per-method", world.issuer.token()))["scope"]
    assert (401, 401) == (ask("/drf/per-method").status, ask("/drf/per-method", world.issuer.token(lifetime=-3600)).status)


def test_a_client_is_told_all_that_it_needs(world: World) -> None:
    """The scopes of every request and those of a permission chosen late stand in one challenge."""
    with override_settings(KEYTURN_GUARD=world.guard(scopes="api")):
        assert "api orders:read" == challenge_of(ask("/drf/per-method", world.issuer.token(scopes="api")))["scope"]


def test_posts_need_no_csrf_token(world: World) -> None:
    """The framework exempts its views, and only its session class asks."""
    with override_settings(MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"]):
        assert 200 == ask("/drf/me", world.issuer.token(), method="POST").status


def test_users_are_throttled_apart(world: World) -> None:
    """`UserRateThrottle` asks `request.user.pk`, which no two subjects share and which outlives a token."""
    cache.clear()

    def statuses(subject: str) -> list[int]:
        return [ask("/drf/throttled", world.issuer.token(subject=subject, lifetime=3600 + n)).status for n in range(3)]

    assert [200, 200, 429] == statuses("alice")
    assert [200, 200, 429] == statuses("bob")


def test_a_hook_makes_the_user(world: World) -> None:
    """`KEYTURN_USER_FROM_TOKEN` is asked here, too, and may refuse."""

    def user_of(token: Any) -> Any:
        return None if token.subject == "nobody" else token

    with override_settings(KEYTURN_USER_FROM_TOKEN=user_of):
        assert (200, 401) == (ask("/drf/me", world.issuer.token()).status, ask("/drf/me", world.issuer.token(subject="nobody")).status)


def test_a_token_is_judged_once(world: World) -> None:
    """Behind the middleware the token is not judged again: the hook, which may ask a database, is called once."""
    asked: list[Any] = []

    def user_of(token: Any) -> Any:
        asked.append(token)
        return token

    with override_settings(KEYTURN_USER_FROM_TOKEN=user_of, MIDDLEWARE=OPTIONAL):
        assert 200 == ask("/drf/me", world.issuer.token()).status
    assert 1 == len(asked)


def test_errors_of_views_are_answered(world: World) -> None:
    """With our `EXCEPTION_HANDLER` an error that a view raises is answered as a refusal is; others stay the framework's."""
    reply = ask("/drf/down", world.issuer.token())
    assert (503, ["7"], ["no-store"]) == (reply.status, reply.values("Retry-After"), reply.values("Cache-Control"))
    assert {"detail": "The token cannot be judged at the moment"} == reply.json()
    assert 500 == ask("/drf/down?boom=1", world.issuer.token()).status


def test_a_refusal_needs_no_view(world: World) -> None:
    """Code that authenticates a request by itself, without a view, gets the refusal alone."""
    from rest_framework.request import Request

    request = Request(APIRequestFactory().get("/", HTTP_AUTHORIZATION="Bearer junk"))
    with pytest.raises(BearerRefusal) as refused:
        BearerAuthentication().authenticate(request)
    assert (401, None) == (refused.value.status_code, refused.value.wait)
    assert "Bearer" in BearerAuthentication().authenticate_header(request)


def test_a_bare_permission_asks_for_a_token_alone(world: World) -> None:
    """`Requires` lets any good token in, and `requires(...)` is a kind of it."""
    assert issubclass(requires("orders:read"), Requires)
    reply: Reply = ask("/drf/me", world.issuer.token())
    assert 200 == reply.status
