"""The places of the table in Django: decorated views, views behind the middleware, classes, REST framework and Ninja."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View
from tests.web.wsgi.drf_views import urls as drf_urls
from tests.web.wsgi.ninja_apis import urls as ninja_urls

from keyturn import KeysUnavailableError
from keyturn.integrations import Needs, any_of
from keyturn.integrations.django import metadata, public, readiness, requires

PLACES: dict[str, dict[str, Any]] = {
    "me": {},
    "orders": {"scopes": "orders:read"},
    "any": {"scopes": any_of("a", "b")},
    "role": {"roles": "admin"},
}


def told(request: HttpRequest) -> JsonResponse:
    """Say whose token came."""
    assert request.user is request.auth
    return JsonResponse({"subject": request.auth.subject, "key": request.auth.key_id})


async def told_later(request: HttpRequest) -> JsonResponse:
    """Say the same, on the event loop."""
    assert await request.auser() is request.auth
    return told(request)


def optional(request: HttpRequest) -> JsonResponse:
    """Say whose token came, if one did."""
    return JsonResponse({"subject": request.auth and request.auth.subject})


async def optional_later(request: HttpRequest) -> JsonResponse:
    """Say the same, on the event loop."""
    return optional(request)


def who(request: HttpRequest) -> JsonResponse:
    """Say who the framework takes the user for."""
    user = getattr(request, "user", None)
    return JsonResponse({"user": str(getattr(user, "name", user)), "token": getattr(request, "auth", None) is not None})


def strict(request: HttpRequest) -> JsonResponse:
    """Ask for more than the decorator could."""
    Needs(roles="admin").check(request.auth)
    return JsonResponse({})


def down(request: HttpRequest) -> JsonResponse:
    """Find that nobody can know."""
    raise KeysUnavailableError("the keys of another service cannot be had", retry_after=7)


@method_decorator(requires("orders:read"), name="dispatch")
class Orders(View):
    """A class of sync views."""

    def get(self, request: HttpRequest) -> JsonResponse:
        return told(request)

    post = get


@method_decorator(requires("orders:read"), name="dispatch")
class OrdersLater(View):
    """A class of async views."""

    async def get(self, request: HttpRequest) -> JsonResponse:
        return await told_later(request)

    post = get


urlpatterns = [
    *(path(f"sync/{place}", requires(**needs)(told)) for place, needs in PLACES.items()),
    *(path(f"async/{place}", requires(**needs)(told_later)) for place, needs in PLACES.items()),
    path("sync/optional", requires(optional=True)(optional)),
    path("async/optional", requires(optional=True)(optional_later)),
    path("sync/ready", readiness),
    path("async/ready", readiness),
    # Behind the middleware alone.
    path("plain/me", told),
    path("plain/later", told_later),
    path("plain/open", public(who)),
    path("plain/who", who),
    path("plain/strict", strict),
    path("plain/down", down),
    path("sync/class", Orders.as_view()),
    path("async/class", OrdersLater.as_view()),
    path(".well-known/oauth-protected-resource", metadata),
    *drf_urls,
    *ninja_urls,
]
