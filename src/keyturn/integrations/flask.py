"""Bearer tokens for Flask: a decorator for views, and the same for whole applications and blueprints.

Rules of this file:

1. A refusal is returned, not raised, so that it needs no error handler; errors that a view raises itself are answered by one.
2. The token is `g.token`, and `current_token` reads it of the request that is being served, behind the WSGI middleware, too.
3. The challenge is the guard's own text: Werkzeug's `WWWAuthenticate` leaves out quotes that clients look for.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Collection
from inspect import iscoroutinefunction
from typing import Any, TypeVar, cast

from flask import Blueprint, Flask, Response, current_app, g, has_request_context, request
from werkzeug.local import LocalProxy

from keyturn.errors import ConfigurationError, KeyturnError, MissingTokenError
from keyturn.integrations._bearer import Answer, Names, Needs
from keyturn.integrations._guard import BearerGuard, Judge
from keyturn.validated_token import ValidatedToken

__all__ = ["Bearer", "current_token", "register_error_handlers"]

EXTENSION = "keyturn"
"""Name of the guard in `app.extensions`."""

# Where the WSGI middleware puts it, too. An application context, and `g` with it, may outlive a request.
_TOKEN = "keyturn.token"  # noqa: S105 - a name

View = TypeVar("View", bound=Callable[..., Any])


def _token() -> ValidatedToken:
    token = request.environ.get(_TOKEN) if has_request_context() else None
    if token is None:
        raise RuntimeError("this view has no token; expected @bearer.requires() above it, or bearer.protect() for its application")
    return cast("ValidatedToken", token)


current_token: ValidatedToken = cast("ValidatedToken", LocalProxy(_token))
"""The token of the request that is being served; false where there is none, and reading it there is a `RuntimeError`."""


class Bearer:
    """Guards views: `@app.get("/orders")` and below it `@bearer.requires("orders:read")`.

    Args:
        guard: Judges requests; a validator or router alone will do. An application that is made by a factory hands it to `init_app()`.
    """

    def __init__(self, guard: BearerGuard | Judge | None = None) -> None:
        self._guard = None if guard is None else BearerGuard.of(guard)

    def init_app(self, app: Flask, guard: BearerGuard | Judge | None = None) -> None:
        """Have *app* answer errors of keyturn that views raise themselves, and tell it its guard.

        Args:
            app: The application.
            guard: Judges its requests, for a `Bearer()` that was made without one.

        Raises:
            ConfigurationError: There is no guard, or there are two.
        """
        if (self._guard is None) == (guard is None):
            given = "no guard is given" if guard is None else "two guards are given"
            raise ConfigurationError(f"{given}, expected Bearer(guard) or init_app(app, guard) (setting: guard)")
        if guard is not None:
            app.extensions[EXTENSION] = BearerGuard.of(guard)
        register_error_handlers(app, app.extensions[EXTENSION] if self._guard is None else self._guard)

    @property
    def guard(self) -> BearerGuard:
        """Judges requests: that of this object, else the one that `init_app()` told the application.

        Raises:
            ConfigurationError: There is none.
        """
        found = self._guard or (current_app.extensions.get(EXTENSION) if current_app else None)
        if found is None:
            raise ConfigurationError("the application has no guard, expected bearer.init_app(app, guard) (setting: guard)")
        return cast("BearerGuard", found)

    def requires(self, scopes: Names = (), roles: Names = (), *, optional: bool = False) -> Callable[[View], View]:
        """Return a decorator for views, sync or async, that lets only a good token through.

        Args:
            scopes: Names joined by blanks, or a collection: all of them are needed. `any_of(...)`: one of them.
            roles: The same for roles.
            optional: Whether a request without credentials passes, too, with `g.token` None; a bad token is refused all the same.
        """
        needs = Needs(scopes, roles)

        def decorate(view: View) -> View:
            @functools.wraps(view)
            def guarded(*args: Any, **kwargs: Any) -> Any:
                refusal = self._judge(needs, optional=optional)
                return view(*args, **kwargs) if refusal is None else refusal

            @functools.wraps(view)
            async def guarded_async(*args: Any, **kwargs: Any) -> Any:
                refusal = await self._judge_async(needs, optional=optional)
                return await view(*args, **kwargs) if refusal is None else refusal

            return cast("View", guarded_async if iscoroutinefunction(view) else guarded)

        return decorate

    def protect(self, app: Flask | Blueprint, scopes: Names = (), roles: Names = (), *, public: Collection[str] = ()) -> None:
        """Have every view of an application or blueprint, and paths that the application does not know, need a good token.

        `OPTIONS` that Flask answers by itself passes, because a preflight request carries no token.

        Args:
            app: What to protect.
            scopes: As for `requires()`.
            roles: As for `requires()`.
            public: Endpoints that need no token, such as "static", or "orders.index" of a blueprint.
        """
        needs, open_to_all = Needs(scopes, roles), frozenset(public)

        @app.before_request
        def judge() -> Response | None:
            if request.endpoint in open_to_all or _answers_itself():
                # Under an application context that outlives requests `g` would still hold the token of the last one.
                g.token = request.environ.get(_TOKEN)
                return None
            return self._judge(needs, optional=False)

    def readiness(self) -> Response:
        """View that tells whether tokens can be judged: `app.add_url_rule("/ready", view_func=bearer.readiness)`."""
        return _response(self.guard.readiness())

    def metadata(self) -> Response:
        """View of the protected resource metadata: `app.add_url_rule(guard.metadata_path, view_func=bearer.metadata)` (RFC 9728)."""
        return _response(Answer(200, {}, self.guard.metadata()))

    def _judge(self, needs: Needs, *, optional: bool) -> Response | None:
        _remember(None)
        try:
            _remember(self.guard.check(request.headers.getlist("Authorization"), needs, query=request.query_string))
        except KeyturnError as error:
            return self._refusal(error, needs, optional=optional)
        return None

    async def _judge_async(self, needs: Needs, *, optional: bool) -> Response | None:
        _remember(None)
        try:
            _remember(await self.guard.check_async(request.headers.getlist("Authorization"), needs, query=request.query_string))
        except KeyturnError as error:
            return self._refusal(error, needs, optional=optional)
        return None

    def _refusal(self, error: KeyturnError, needs: Needs, *, optional: bool) -> Response | None:
        return None if optional and isinstance(error, MissingTokenError) else _response(self.guard.answer(error, needs))


def register_error_handlers(app: Flask | Blueprint, guard: BearerGuard | Judge) -> None:
    """Have *app* answer errors of keyturn that views raise themselves, such as `InsufficientScopeError`, as it answers refusals."""
    known = BearerGuard.of(guard)

    def answer(error: KeyturnError) -> Response:
        return _response(known.answer(error))

    app.register_error_handler(KeyturnError, answer)


def _remember(token: ValidatedToken | None) -> None:
    g.token = request.environ[_TOKEN] = token


def _answers_itself() -> bool:
    """Return whether Flask answers this request without a view."""
    return request.method == "OPTIONS" and bool(getattr(request.url_rule, "provide_automatic_options", False))


def _response(answer: Answer) -> Response:
    return Response(json.dumps(answer.body), answer.status, dict(answer.headers), content_type="application/json")
