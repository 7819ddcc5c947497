"""The places of the table in Django Ninja, with sync and async operations."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import path
from ninja import NinjaAPI

from keyturn import KeysUnavailableError
from keyturn.integrations import any_of
from keyturn.integrations.django import readiness
from keyturn.integrations.ninja import ANONYMOUS, Bearer, add_error_handlers

bearer = Bearer()
PLACES: dict[str, Bearer] = {
    "me": bearer,
    "orders": bearer.needing("orders:read"),
    "any": bearer.needing(any_of("a", "b")),
    "role": bearer.needing(roles="admin"),
}


def told(request: HttpRequest) -> dict[str, Any]:
    """Say whose token came."""
    assert request.user is request.auth
    return {"subject": request.auth.subject, "key": request.auth.key_id}


async def told_later(request: HttpRequest) -> dict[str, Any]:
    """Say the same, on the event loop."""
    return told(request)


def optional(request: HttpRequest) -> dict[str, Any]:
    """Say whose token came, if one did."""
    assert request.auth.is_authenticated == (request.auth is not ANONYMOUS)
    return {"subject": request.auth.subject}


async def optional_later(request: HttpRequest) -> dict[str, Any]:
    """Say the same, on the event loop."""
    return optional(request)


def by_key(request: HttpRequest) -> str | None:
    """Let in whoever knows the word."""
    return "by key" if request.GET.get("key") == "sesame" else None


def api_of(name: str, view: Any, optional_view: Any) -> NinjaAPI:
    """Return an API with an operation for each place."""
    api = NinjaAPI(urls_namespace=name, title=name)
    add_error_handlers(api)
    for place, auth in PLACES.items():
        api.get(f"/{place}", auth=auth, operation_id=f"{name}_{place}")(view)
    api.get("/optional", auth=bearer.needing(optional=True))(optional_view)
    return api


sync_api, async_api, bare_api = api_of("sync", told, optional), api_of("async", told_later, optional_later), NinjaAPI(urls_namespace="bare")


@sync_api.get("/either", auth=[bearer.needing("orders:read"), by_key])
def either(request: HttpRequest) -> dict[str, Any]:
    """Let in a token or a key."""
    return {"auth": str(request.auth)}


@sync_api.get("/key", auth=by_key)
def key(request: HttpRequest) -> dict[str, Any]:
    """Let in a key alone."""
    return {}


@sync_api.get("/down")
def down(request: HttpRequest) -> dict[str, Any]:
    """Find that nobody can know."""
    raise KeysUnavailableError("the keys of another service cannot be had", retry_after=7)


@bare_api.get("/me", auth=bearer)
def me(request: HttpRequest) -> dict[str, Any]:
    """Say whose token came, of an API without handlers for refusals."""
    return told(request)


urls = [
    path("ninja/sync/ready", readiness),
    path("ninja/async/ready", readiness),
    path("ninja/sync/", sync_api.urls),
    path("ninja/async/", async_api.urls),
    path("ninja/bare/", bare_api.urls),
]
