"""Bearer tokens for Quart: a decorator for views of requests and WebSockets, and the same for whole applications and blueprints.

Rules of this file:

1. A refusal is returned, not raised, so that it needs no error handler; a WebSocket gets it before it is accepted.
2. The token is `g.token`, and `current_token` reads it there.
"""

from __future__ import annotations

import functools
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any, TypeVar, cast

from quart import Blueprint, Quart, Response, current_app, g, has_websocket_context, request, websocket
from werkzeug.local import LocalProxy

from keyturn.errors import KeyturnError, MissingTokenError
from keyturn.integrations._bearer import Answer, Names, Needs
from keyturn.integrations._guard import BearerGuard, Judge
from keyturn.validated_token import ValidatedToken

__all__ = ["Bearer", "current_token"]

View = TypeVar("View", bound=Callable[..., Any])


def _token() -> ValidatedToken:
    if g.get("token") is None:
        raise RuntimeError("this view has no token; expected @bearer.requires() above it, or bearer.protect() for its application")
    return cast("ValidatedToken", g.token)


current_token: ValidatedToken = cast("ValidatedToken", LocalProxy(_token))
"""The token of the request or WebSocket that is being served; reading it where there is none is a `RuntimeError`."""


class Bearer:
    """Guards views: `@app.get("/orders")` and below it `@bearer.requires("orders:read")`.

    Args:
        guard: Judges requests; a validator or router alone will do.
    """

    def __init__(self, guard: BearerGuard | Judge) -> None:
        self.guard = BearerGuard.of(guard)

    def requires(self, scopes: Names = (), roles: Names = (), *, optional: bool = False) -> Callable[[View], View]:
        """Return a decorator for views, async or sync, of requests or WebSockets, that lets only a good token through.

        Args:
            scopes: Names joined by blanks, or a collection: all of them are needed. `any_of(...)`: one of them.
            roles: The same for roles.
            optional: Whether a request without credentials passes, too, with `g.token` None; a bad token is refused all the same.
        """
        needs = Needs(scopes, roles)

        def decorate(view: View) -> View:
            @functools.wraps(view)
            async def guarded(*args: Any, **kwargs: Any) -> Any:
                refusal = await self._judge(needs, optional=optional)
                return await current_app.ensure_async(view)(*args, **kwargs) if refusal is None else refusal

            return guarded  # type: ignore[return-value]

        return decorate

    def protect(self, app: Quart | Blueprint, scopes: Names = (), roles: Names = ()) -> None:
        """Have every view of an application or blueprint, WebSockets and unknown paths included, need a good token.

        Args:
            app: What to protect.
            scopes: As for `requires()`.
            roles: As for `requires()`.
        """
        needs = Needs(scopes, roles)

        async def judge() -> Response | None:
            return await self._judge(needs, optional=False)

        app.before_request(judge)
        app.before_websocket(judge)

    def handler(self, error: KeyturnError) -> Response:
        """Answer an error that a view raised itself: `app.register_error_handler(KeyturnError, bearer.handler)`."""
        return _response(self.guard.answer(error))

    async def readiness(self) -> Response:
        """View that tells whether tokens can be judged: `app.add_url_rule("/ready", view_func=bearer.readiness)`."""
        return _response(self.guard.readiness())

    async def metadata(self) -> Response:
        """View of the protected resource metadata: `app.add_url_rule(guard.metadata_path, view_func=bearer.metadata)` (RFC 9728)."""
        return _response(Answer(200, {}, self.guard.metadata()))

    async def lifespan(self) -> AsyncGenerator[None, None]:
        """Read the keys when the application starts, and keep them fresh: `app.while_serving(bearer.lifespan)`."""
        async with self.guard.running():
            yield

    async def _judge(self, needs: Needs, *, optional: bool) -> Response | None:
        asked = websocket if has_websocket_context() else request
        g.token = None
        try:
            g.token = await self.guard.check_async(asked.headers.getlist("Authorization"), needs, query=asked.query_string)
        except KeyturnError as error:
            if isinstance(error, MissingTokenError) and optional:
                return None
            return _response(self.guard.answer(error, needs))
        return None


def _response(answer: Answer) -> Response:
    return Response(json.dumps(answer.body), answer.status, dict(answer.headers), content_type="application/json")
