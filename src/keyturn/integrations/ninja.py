"""Bearer tokens for Django Ninja: an `auth=` object for sync and async operations, with its error handlers.

Rules of this file:

1. One object serves both kinds of operation: it waits on the event loop where there is one, and on the thread elsewhere.
2. Nothing of a request is logged; Ninja's own `HttpBearer` writes other schemes' credentials to the log of a project with `DEBUG`.
3. Ninja takes a value that is false for a refusal, so an optional token that is missing is `ANONYMOUS`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError
from ninja.security.http import HttpAuthBase

from keyturn.errors import KeyturnError, MissingTokenError
from keyturn.integrations._bearer import NOTHING, Every, Names, Needs
from keyturn.integrations._django import current_guard, judge, judge_async, response
from keyturn.validated_token import ValidatedToken

__all__ = ["ANONYMOUS", "Anonymous", "Bearer", "BearerRefusal", "add_error_handlers"]

_ASKED = "_keyturn_needs"


class Anonymous:
    """What `request.auth` is where a token may be missing and is.

    Attributes:
        is_authenticated: False.
        is_anonymous: True.
        subject: None.
    """

    is_authenticated: Final = False
    is_anonymous: Final = True
    subject: Final = None

    def __repr__(self) -> str:
        return "ANONYMOUS"


ANONYMOUS: Final = Anonymous()
"""The one `Anonymous`."""


class BearerRefusal(HttpError):  # noqa: N818 - an answer more than an error; FastAPI and DRF have one of this name
    """A refusal on its way to the handlers of `add_error_handlers()`; without them Ninja sends its status alone.

    Attributes:
        error: Why the request may not pass.
        needs: What the operation needs.
    """

    def __init__(self, error: KeyturnError, needs: Needs) -> None:
        super().__init__(error.http_status, error.code)
        self.error = error
        self.needs = needs


class Bearer(HttpAuthBase):
    """The `auth=` of an API, a router or an operation: `@api.get("/orders", auth=bearer.needing("orders:read"))`.

    With a good token `request.auth` is the `ValidatedToken`, and `request.user` that or what `KEYTURN_USER_FROM_TOKEN` makes of it. Without
    credentials the next entry of a list such as `auth=[bearer, django_auth]` is asked.

    Args:
        needs: What is needed; `needing()` says it more shortly.
        optional: Whether a request without credentials passes, too, with `ANONYMOUS`; a bad token is refused all the same.
    """

    openapi_scheme: str = "bearer"
    openapi_bearerFormat: str = "JWT"  # noqa: N815 - OpenAPI's name

    def __init__(self, needs: Needs = NOTHING, *, optional: bool = False) -> None:
        super().__init__()
        self.needs = needs
        self.optional = optional
        # Async operations then call it on their event loop and await what it returns.
        self.is_async = True

    def needing(self, scopes: Names = (), roles: Names = (), *, optional: bool = False) -> Bearer:
        """Return one that needs more.

        Args:
            scopes: Names joined by blanks, or a collection: all of them are needed. `any_of(...)`: one of them.
            roles: The same for roles.
            optional: As for the class.
        """
        return type(self)(Every(self.needs, Needs(scopes, roles)), optional=optional)

    def __call__(self, request: HttpRequest) -> ValidatedToken | Anonymous | Awaitable[ValidatedToken | Anonymous | None] | None:
        """Return the token; `ANONYMOUS` or None without credentials.

        Raises:
            BearerRefusal: The request may not pass.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            # A sync operation, on a thread of its own: its verdict needs no second event loop.
            return self._judge(request)
        return self._judge_async(request)

    def _judge(self, request: HttpRequest) -> ValidatedToken | Anonymous | None:
        try:
            return judge(request, self.needs)
        except KeyturnError as error:
            return self._refuse(request, error)

    async def _judge_async(self, request: HttpRequest) -> ValidatedToken | Anonymous | None:
        try:
            return await judge_async(request, self.needs)
        except KeyturnError as error:
            return self._refuse(request, error)

    def _refuse(self, request: HttpRequest, error: KeyturnError) -> Anonymous | None:
        if not isinstance(error, MissingTokenError):
            raise BearerRefusal(error, self.needs) from error
        setattr(request, _ASKED, self.needs)
        return ANONYMOUS if self.optional else None


def add_error_handlers(api: NinjaAPI) -> None:
    """Have *api* answer refusals with their challenge, and errors of keyturn that operations raise themselves."""

    def refused(request: HttpRequest, error: BearerRefusal) -> HttpResponse:
        del request
        return response(current_guard().answer(error.error, error.needs))

    def failed(request: HttpRequest, error: KeyturnError) -> HttpResponse:
        del request
        return response(current_guard().answer(error))

    def unauthenticated(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
        needs = getattr(request, _ASKED, None)
        if needs is None:
            return api.create_response(request, {"detail": str(error)}, status=error.status_code)
        return response(current_guard().answer(MissingTokenError("the request has no token"), needs))

    handlers: dict[type[Any], Any] = {BearerRefusal: refused, KeyturnError: failed, AuthenticationError: unauthenticated}
    for kind, handler in handlers.items():
        api.add_exception_handler(kind, handler)
