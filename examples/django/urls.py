"""Two views of Django itself, sync and async, and one of the REST framework."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, JsonResponse
from django.urls import path
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from keyturn.integrations.django import readiness, requires
from keyturn.integrations.drf import requires as permission

_orders: dict[str, list[str]] = {"alice": ["17 teapots", "1 kettle"]}


class Orders(APIView):
    """The orders of whoever asks."""

    def get_permissions(self) -> list[Any]:
        """Ask for another scope to write than to read."""
        return [permission("orders:read" if self.request.method == "GET" else "orders:write")()]

    def get(self, request: Request) -> Response:
        """List them."""
        return Response({"orders": _orders.get(request.user.name, [])})

    def post(self, request: Request) -> Response:
        """Order what the body says."""
        mine = _orders.setdefault(request.user.name, [])
        mine.append(str(request.data))
        return Response({"orders": mine}, status=201)


@requires()
def me(request: HttpRequest) -> JsonResponse:
    """Tell whoever asks who that is."""
    return JsonResponse({"name": request.user.name, "key": request.auth.key_id})


@requires(optional=True)
async def greet(request: HttpRequest) -> JsonResponse:
    """Greet whoever comes, with a name where there is one."""
    return JsonResponse({"hello": (await request.auser()).name if request.auth else "stranger"})


urlpatterns = [path("", greet), path("me", me), path("orders", Orders.as_view()), path("ready", readiness)]
