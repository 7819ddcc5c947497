"""Bearer tokens for aiohttp's server: a decorator for handlers, and a middleware for whole applications.

Rules of this file:

1. A refusal is returned before a WebSocket is prepared, so that its client gets a whole HTTP answer.
2. The token is `request[TOKEN]`.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from aiohttp import web

from keyturn.errors import KeyturnError, MissingTokenError
from keyturn.integrations._bearer import Answer, Names, Needs
from keyturn.integrations._guard import BearerGuard, Judge
from keyturn.integrations._paths import PathRules
from keyturn.validated_token import ValidatedToken

__all__ = ["TOKEN", "Bearer"]

TOKEN: Final = web.RequestKey("token", ValidatedToken)
"""Where a handler finds its token: `request[TOKEN]`; where it is optional, `request.get(TOKEN)`."""

Handler = TypeVar("Handler", bound=Callable[..., Awaitable[Any]])
Middleware = Callable[[web.Request, Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[web.StreamResponse]]


class Bearer:
    """Guards handlers: `@bearer.requires("orders:read")`.

    Args:
        guard: Judges requests; a validator or router alone will do.
    """

    def __init__(self, guard: BearerGuard | Judge) -> None:
        self.guard = BearerGuard.of(guard)

    def requires(self, scopes: Names = (), roles: Names = (), *, optional: bool = False) -> Callable[[Handler], Handler]:
        """Return a decorator for handlers, functions or methods of a `web.View`, that lets only a good token through.

        Args:
            scopes: Names joined by blanks, or a collection: all of them are needed. `any_of(...)`: one of them.
            roles: The same for roles.
            optional: Whether a request without credentials passes, too; a bad token is refused all the same.
        """
        needs = Needs(scopes, roles)

        def decorate(handler: Handler) -> Handler:
            @functools.wraps(handler)
            async def guarded(*args: Any, **kwargs: Any) -> Any:
                refusal = await self._judge(_request(args), needs, optional=optional)
                return await handler(*args, **kwargs) if refusal is None else refusal

            return guarded  # type: ignore[return-value]

        return decorate

    def middleware(self, rules: Mapping[str, Needs | None] | None = None) -> Middleware:
        """Return a middleware by which every request needs a good token: `web.Application(middlewares=[bearer.middleware()])`.

        Args:
            rules: What paths need, by their beginning: `{"/orders": Needs(scopes="orders:read"), "/health": None}`. None means no token.
                They count from the root of the host in a sub-application, too.
        """
        paths = PathRules(rules or {})

        @web.middleware
        async def judge(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
            needs = paths.needs(request.path, request.raw_path.partition("?")[0].encode())
            refusal = None if needs is None else await self._judge(request, needs, optional=False)
            return await handler(request) if refusal is None else refusal

        return judge

    @property
    def errors(self) -> Middleware:
        """A middleware that answers errors of keyturn that handlers raise themselves, such as `InsufficientScopeError`."""

        @web.middleware
        async def answer(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
            try:
                return await handler(request)
            except KeyturnError as error:
                return _response(self.guard.answer(error))

        return answer

    async def readiness(self, request: web.Request) -> web.Response:
        """Handler that tells whether tokens can be judged: `app.router.add_get("/ready", bearer.readiness)`."""
        del request
        return _response(self.guard.readiness())

    async def metadata(self, request: web.Request) -> web.Response:
        """Handler of the protected resource metadata: `app.router.add_get(guard.metadata_path, bearer.metadata)` (RFC 9728)."""
        del request
        return _response(Answer(200, {}, self.guard.metadata()))

    async def lifespan(self, app: web.Application) -> AsyncGenerator[None, None]:
        """Read the keys when the application starts, and keep them fresh: `app.cleanup_ctx.append(bearer.lifespan)`."""
        del app
        async with self.guard.running():
            yield

    async def _judge(self, request: web.Request, needs: Needs, *, optional: bool) -> web.Response | None:
        try:
            values = request.headers.getall("Authorization", [])
            request[TOKEN] = await self.guard.check_async(values, needs, query=request.query_string)
        except KeyturnError as error:
            if isinstance(error, MissingTokenError) and optional:
                return None
            return _response(self.guard.answer(error, needs))
        return None


def _request(args: tuple[Any, ...]) -> web.Request:
    found = next(each for each in args if isinstance(each, (web.Request, web.View)))
    return found.request if isinstance(found, web.View) else found


def _response(answer: Answer) -> web.Response:
    return web.json_response(answer.body, status=answer.status, headers=answer.headers)
