"""What the adapters of Django, its REST framework and Ninja share: the settings, and what a request is given.

Rules of this file:

1. The setting `KEYTURN_GUARD` is read at each use and never at import, so that tests may replace it.
2. A token that the middleware found good is not judged again on the same request.
3. Whoever `KEYTURN_USER_FROM_TOKEN` does not know, or knows as not active, is refused (401).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.utils.module_loading import import_string

from keyturn.errors import ConfigurationError, InvalidTokenError, quoted
from keyturn.integrations._bearer import Answer, Needs
from keyturn.integrations._guard import BearerGuard
from keyturn.validated_token import ValidatedToken

_TOKEN = "_keyturn_token"  # noqa: S105 - a name


def current_guard() -> BearerGuard:
    """Return what the setting `KEYTURN_GUARD` names.

    Raises:
        ConfigurationError: It names nothing that judges tokens.
    """
    found = _setting("KEYTURN_GUARD")
    if found is None:
        raise ConfigurationError('KEYTURN_GUARD is missing, expected a name such as "myproject.auth.guard" (setting: KEYTURN_GUARD)')
    return BearerGuard.of(found)


def user_hook() -> Callable[[ValidatedToken], Any] | None:
    """Return what the setting `KEYTURN_USER_FROM_TOKEN` names, or None.

    Raises:
        ConfigurationError: It names nothing that can be called.
    """
    found = _setting("KEYTURN_USER_FROM_TOKEN")
    if found is not None and not callable(found):
        shown = f"KEYTURN_USER_FROM_TOKEN is {quoted(found)}"
        raise ConfigurationError(f'{shown}, expected a function such as "myproject.auth.user_of" (setting: KEYTURN_USER_FROM_TOKEN)')
    return cast("Callable[[ValidatedToken], Any] | None", found)


def credentials(request: HttpRequest) -> dict[str, Any]:
    """Return what a guard wants to know of *request*. Servers join a repeated header field with commas, and so does Django."""
    value = request.META.get("HTTP_AUTHORIZATION")
    return {"authorization": [] if value is None else [value], "query": request.META.get("QUERY_STRING", "")}


def judge(request: HttpRequest, needs: Needs) -> ValidatedToken:
    """Return the token of a request that may pass, and remember it with its user.

    Raises:
        KeyturnError: It may not pass.
    """
    token = remembered(request)
    if token is not None:
        needs.check(token)
        return token
    token = current_guard().check(**credentials(request), needs=needs)
    return _remember(request, token, user_of(token))


async def judge_async(request: HttpRequest, needs: Needs) -> ValidatedToken:
    """Do the same as `judge()`, without blocking the event loop."""
    token = remembered(request)
    if token is not None:
        needs.check(token)
        return token
    token = await current_guard().check_async(**credentials(request), needs=needs)
    return _remember(request, token, await user_of_async(token))


def remembered(request: HttpRequest) -> ValidatedToken | None:
    """Return the token that this request was found to have, or None."""
    return getattr(request, _TOKEN, None)


def user_of(token: ValidatedToken) -> Any:
    """Return who stands in `request.user`: what the hook makes of *token*, or *token*.

    Raises:
        InvalidTokenError: The hook knows nobody, or somebody who is not active.
    """
    hook = user_hook()
    if hook is None:
        return token
    return _known(async_to_sync(hook)(token) if iscoroutinefunction(hook) else hook(token))


async def user_of_async(token: ValidatedToken) -> Any:
    """Do the same as `user_of()`; a hook that is not async runs on a thread, where it may ask the database."""
    hook = user_hook()
    if hook is None:
        return token
    return _known(await (hook(token) if iscoroutinefunction(hook) else sync_to_async(hook)(token)))


def response(answer: Answer) -> JsonResponse:
    """Return *answer* as Django sends it."""
    return JsonResponse(dict(answer.body), status=answer.status, headers=dict(answer.headers))


def _setting(name: str) -> Any:
    given = getattr(settings, name, None)
    if not isinstance(given, str):
        return given
    try:
        return import_string(given)
    except ImportError as error:
        raise ConfigurationError(f"{name} is {quoted(given)}, which cannot be imported: {quoted(str(error))} (setting: {name})") from error


def _known(user: Any) -> Any:
    if user is None or not getattr(user, "is_active", True):
        raise InvalidTokenError("the token is good, but KEYTURN_USER_FROM_TOKEN knows nobody, or nobody active, by it")
    return user


def _remember(request: HttpRequest, token: ValidatedToken, user: Any) -> ValidatedToken:
    async def auser() -> Any:
        return user

    given = {"user": user, "auser": auser, "auth": token, _TOKEN: token}
    for name, value in given.items():
        setattr(request, name, value)
    return token
