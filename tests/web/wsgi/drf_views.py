"""The places of the table in Django REST framework, and views for its traps."""

from __future__ import annotations

from typing import Any

from django.urls import path
from rest_framework.authentication import BasicAuthentication
from rest_framework.decorators import api_view, permission_classes
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import UserRateThrottle
from rest_framework.views import APIView

from keyturn import KeysUnavailableError
from keyturn.integrations import any_of
from keyturn.integrations.django import readiness
from keyturn.integrations.drf import BearerAuthentication, Requires, exception_handler, requires


class Told(APIView):
    """Says whose token came."""

    permission_classes = (Requires,)

    def get(self, request: Request) -> Response:
        return Response({"subject": request.auth.subject, "key": request.auth.key_id})

    post = get


class Optional(APIView):
    """Says whose token came, if one did."""

    permission_classes = ()

    def get(self, request: Request) -> Response:
        return Response({"subject": request.auth and request.auth.subject})


class Friday(BasePermission):
    """Lets in whoever asks on a Friday, as the request says."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return request.query_params.get("day") == "friday"


class Composed(Told):
    """Asks for one of two things."""

    permission_classes = (requires("orders:read") | Friday,)


class PerMethod(Told):
    """Chooses its permissions late, by the user."""

    def get_permissions(self) -> list[Any]:
        assert self.request.user is not None
        return [requires("orders:read")()]


class BasicFirst(Told):
    """Tries another scheme first."""

    authentication_classes = (BasicAuthentication, BearerAuthentication)


class Twice(UserRateThrottle):
    """Serves each user twice a day."""

    rate = "2/day"


class Throttled(Told):
    """Counts requests of each user."""

    throttle_classes = (Twice,)


class Down(Told):
    """Finds that nobody can know, and has it answered."""

    def get_exception_handler(self) -> Any:
        return exception_handler

    def get(self, request: Request) -> Response:
        if request.query_params:
            raise ZeroDivisionError
        raise KeysUnavailableError("the keys of another service cannot be had", retry_after=7)


@api_view(["GET"])
@permission_classes([requires("orders:read")])
def orders(request: Request) -> Response:
    """Say whose token came."""
    return Response({"subject": request.auth.subject, "key": request.auth.key_id})


urls = [
    path("drf/me", Told.as_view()),
    path("drf/orders", orders),
    path("drf/any", Told.as_view(permission_classes=[requires(any_of("a", "b"))])),
    path("drf/role", Told.as_view(permission_classes=[requires(roles="admin")])),
    path("drf/optional", Optional.as_view()),
    path("drf/ready", readiness),
    path("drf/composed", Composed.as_view()),
    path("drf/per-method", PerMethod.as_view()),
    path("drf/basic-first", BasicFirst.as_view()),
    path("drf/throttled", Throttled.as_view()),
    path("drf/down", Down.as_view()),
]
