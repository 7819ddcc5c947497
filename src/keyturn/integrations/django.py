"""Bearer tokens for Django: a middleware, a decorator for views, and a backend for code that calls `authenticate()`.

Rules of this file:

1. The setting `KEYTURN_GUARD` names who judges: a `BearerGuard`, validator or router, or the dotted path of one.
2. With a good token `request.auth` is the `ValidatedToken`, and `request.user` that or what `KEYTURN_USER_FROM_TOKEN` makes of it.
3. Async views, under ASGI and WSGI, wait for keys on their event loop and never block it.
4. Whoever authorizes by this header needs no CSRF token: no browser adds the header by itself.
5. What is answered depends on the header and says so (`Vary`), so that no cache serves it to others (RFC 9111, section 4.1).
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.contrib.auth.backends import BaseBackend
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.utils.cache import patch_vary_headers
from django.views.decorators.debug import sensitive_variables

from keyturn.errors import ConfigurationError, InsufficientScopeError, InvalidRequestError, InvalidTokenError, KeyturnError, MissingTokenError
from keyturn.integrations._bearer import NOTHING, Answer, Names, Needs
from keyturn.integrations._django import current_guard, judge, judge_async, remembered, response, user_hook, user_of, user_of_async

__all__ = ["BearerBackend", "BearerMiddleware", "RequiredBearerMiddleware", "metadata", "public", "readiness", "requires"]

View = TypeVar("View", bound=Callable[..., Any])

_PUBLIC = "keyturn_public"
_SESSIONS = "django.contrib.auth.middleware.AuthenticationMiddleware"


class BearerMiddleware:
    """Gives requests with a good token their user, and refuses those with a bad one.

    Without credentials a request goes on as it is, with `request.auth` None: `requires` refuses it, or a session's user is let in.
    Its place is behind `AuthenticationMiddleware`, where there is one. Errors of keyturn that views raise themselves are answered, too.

    Args:
        get_response: The rest of Django, sync or async.

    Raises:
        ConfigurationError: A setting is wrong, or the place among the middleware is.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self._async = iscoroutinefunction(get_response)
        if self._async:
            markcoroutinefunction(self)
        # A mistake is told when the server starts, not to the first client.
        current_guard()
        user_hook()
        _expect_place(type(self))

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Serve one request."""
        return self._serve_async(request) if self._async else self._serve(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> JsonResponse | None:
        """Answer an error of keyturn that a view raised."""
        del request
        return response(current_guard().answer(exception)) if isinstance(exception, KeyturnError) else None

    def _serve(self, request: HttpRequest) -> HttpResponseBase:
        refusal = _refusal(request, NOTHING, optional=True)
        _exempt(request)
        return _varied(self.get_response(request)) if refusal is None else refusal

    async def _serve_async(self, request: HttpRequest) -> HttpResponseBase:
        refusal = await _refusal_async(request, NOTHING, optional=True)
        _exempt(request)
        return _varied(await self.get_response(request)) if refusal is None else refusal


class RequiredBearerMiddleware(BearerMiddleware):
    """Does the same, and refuses requests without credentials, too, but for views with `@public`."""

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        super().__init__(get_response)
        # It never waits; Django would run it on a thread if it did not call it async.
        self.process_view = self._require_async if self._async else self._require

    def _require(self, request: HttpRequest, view: Callable[..., Any], *arguments: Any) -> JsonResponse | None:
        del arguments
        if getattr(view, _PUBLIC, False) or remembered(request) is not None:
            return None
        return _answered(MissingTokenError("the request has no token"), NOTHING)

    async def _require_async(self, request: HttpRequest, view: Callable[..., Any], *arguments: Any) -> JsonResponse | None:
        return self._require(request, view, *arguments)


def public(view: View) -> View:
    """Mark a view as one that needs no token, for `RequiredBearerMiddleware`.

    For classes: `path("", public(Index.as_view()))`.
    """
    setattr(view, _PUBLIC, True)
    return view


def requires(scopes: Names = (), roles: Names = (), *, optional: bool = False) -> Callable[[View], View]:
    """Return a decorator for views, sync or async, that lets only a good token through, with or without the middleware.

    For classes: `@method_decorator(requires("orders:read"), name="dispatch")`. The session's user, if there is one, is no token.

    Args:
        scopes: Names joined by blanks, or a collection: all of them are needed. `any_of(...)`: one of them.
        roles: The same for roles.
        optional: Whether a request without credentials passes, too, with `request.auth` None; a bad token is refused all the same.
    """
    needs = Needs(scopes, roles)

    def decorate(view: View) -> View:
        async def guarded_async(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            refusal = await _refusal_async(request, needs, optional=optional)
            if refusal is not None:
                return refusal
            return _varied(await view(request, *args, **kwargs))

        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            refusal = _refusal(request, needs, optional=optional)
            return _varied(view(request, *args, **kwargs)) if refusal is None else refusal

        made = functools.wraps(view)(guarded_async if _is_async(view) else guarded)
        if not optional:
            made.csrf_exempt = True  # type: ignore[attr-defined]
        return cast("View", made)

    return decorate


@public
def readiness(request: HttpRequest) -> JsonResponse:
    """View that tells whether tokens can be judged: `path("ready", readiness)`."""
    del request
    return response(current_guard().readiness())


@public
def metadata(request: HttpRequest) -> JsonResponse:
    """View of the protected resource metadata: `path(guard.metadata_path.lstrip("/"), metadata)` (RFC 9728)."""
    del request
    return response(Answer(200, {}, current_guard().metadata()))


class BearerBackend(BaseBackend):
    """An entry of `AUTHENTICATION_BACKENDS`, for code that calls `authenticate(request, token=...)`.

    It needs `KEYTURN_USER_FROM_TOKEN`, because Django marks the user with the backend's name. A session never comes back through it:
    the session would outlive the token.
    """

    # Reports of errors would show the token as a local variable. Django asks the backends that take the credentials' names, hence `token`.
    @sensitive_variables()
    def authenticate(self, request: HttpRequest | None, token: str) -> Any:  # type: ignore[override]
        """Return the user, or None if the token is refused.

        Raises:
            KeysUnavailableError: Nobody can know; the middleware answers it with 503.
            ConfigurationError: `KEYTURN_USER_FROM_TOKEN` is missing.
        """
        del request
        _expect_hook()
        try:
            return user_of(current_guard().check([f"Bearer {token}"]))
        except _REFUSALS:
            return None

    @sensitive_variables()
    async def aauthenticate(self, request: HttpRequest | None, token: str) -> Any:  # type: ignore[override]
        """Do the same as `authenticate()`, without blocking the event loop."""
        del request
        _expect_hook()
        try:
            return await user_of_async(await current_guard().check_async([f"Bearer {token}"]))
        except _REFUSALS:
            return None


_REFUSALS = (InvalidTokenError, InvalidRequestError, InsufficientScopeError)


def _expect_place(kind: type) -> None:
    """Refuse a place in front of sessions, whose user would stand in `request.user` beside the token of somebody else."""
    listed, own = list(settings.MIDDLEWARE), f"{kind.__module__}.{kind.__qualname__}"
    if own in listed and _SESSIONS in listed[listed.index(own) :]:
        raise ConfigurationError(f"{kind.__qualname__} stands before AuthenticationMiddleware, expected it behind (setting: MIDDLEWARE)")


def _expect_hook() -> None:
    if user_hook() is None:
        expected = 'expected a function such as "myproject.auth.user_of"'
        raise ConfigurationError(f"KEYTURN_USER_FROM_TOKEN is missing, {expected} (setting: KEYTURN_USER_FROM_TOKEN)")


def _refusal(request: HttpRequest, needs: Needs, *, optional: bool) -> JsonResponse | None:
    try:
        judge(request, needs)
    except KeyturnError as error:
        if not optional or not isinstance(error, MissingTokenError):
            return _answered(error, needs)
        request.auth = None  # type: ignore[attr-defined]
    return None


async def _refusal_async(request: HttpRequest, needs: Needs, *, optional: bool) -> JsonResponse | None:
    try:
        await judge_async(request, needs)
    except KeyturnError as error:
        if not optional or not isinstance(error, MissingTokenError):
            return _answered(error, needs)
        request.auth = None  # type: ignore[attr-defined]
    return None


def _answered(error: KeyturnError, needs: Needs) -> JsonResponse:
    return response(current_guard().answer(error, needs))


def _varied(answer: Any) -> Any:
    # Releases of Django's cache that do not look at the header by themselves would serve it to whoever asks next.
    if isinstance(answer, HttpResponseBase):
        patch_vary_headers(answer, ("Authorization",))
    return answer


def _exempt(request: HttpRequest) -> None:
    if remembered(request) is not None:
        # The name that CsrfViewMiddleware looks at; the exemption of a view would be too much, because sessions use the same views.
        request._dont_enforce_csrf_checks = True  # type: ignore[attr-defined]  # noqa: SLF001


def _is_async(view: Callable[..., Any]) -> bool:
    # `method_decorator` hands over the bound `dispatch` of an object, which is no coroutine function even where all handlers are.
    owner = getattr(getattr(view, "func", None), "__self__", None)
    return iscoroutinefunction(view) or bool(getattr(owner, "view_is_async", False))
