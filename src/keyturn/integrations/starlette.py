"""Bearer tokens for Starlette: an authentication backend with an error handler and a `requires` that can send challenges.

Rules of this file:

1. Without credentials a request goes on with an anonymous user, as Starlette has it; `requires` refuses it. A bad token is refused anywhere.
2. Starlette's own `requires` and error handler send no challenge, and its middleware closes WebSockets unread; the ones here stand in for them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from inspect import iscoroutinefunction
from typing import Any, TypeVar

from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, UnauthenticatedUser
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketState

from keyturn.errors import KeyturnError, MissingTokenError
from keyturn.integrations._bearer import Answer, Names, Needs
from keyturn.integrations._guard import BearerGuard, Judge
from keyturn.integrations._sending import Application, answers_websockets, closing, refuse
from keyturn.validated_token import ValidatedToken

__all__ = ["BearerBackend", "BearerError"]

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class BearerError(AuthenticationError):
    """A refusal on its way through Starlette's authentication middleware, where any other exception would be a 500.

    Attributes:
        error: Why the request may not pass.
    """

    def __init__(self, error: KeyturnError) -> None:
        # Starlette's own middleware sends this text without `on_error`, and the message may quote the token.
        super().__init__(error.code)
        self.error = error


class BearerBackend(AuthenticationBackend):
    """Fills `request.user` with the `ValidatedToken`, and `request.auth.scopes` with its scopes and "authenticated".

    ```python
    backend = BearerBackend(guard)
    app = Starlette(routes=routes, middleware=[backend.middleware], lifespan=backend.lifespan)
    ```

    Args:
        guard: Judges requests; a validator or router alone will do.
    """

    def __init__(self, guard: BearerGuard | Judge) -> None:
        self.guard = BearerGuard.of(guard)

    @property
    def middleware(self) -> Middleware:
        """The entry for `Starlette(middleware=[...])`."""
        return Middleware(_Authentication, backend=self)

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, Any] | None:
        """Return the scopes and the token, or None if there are no credentials.

        Raises:
            BearerError: The token is bad, or nobody can know; `on_error` answers it.
        """
        try:
            token = await self.guard.check_async(conn.headers.getlist("authorization"), query=conn.scope.get("query_string", b""))
        except MissingTokenError:
            return None
        except KeyturnError as error:
            raise BearerError(error) from error
        return AuthCredentials(["authenticated", *sorted(token.scopes)]), token

    def on_error(self, conn: HTTPConnection, exc: Exception) -> JSONResponse:
        """Answer a refusal; for Starlette's own `AuthenticationMiddleware(backend=..., on_error=...)`, which has no answer for WebSockets."""
        del conn
        return _response(self.guard.answer(exc.error if isinstance(exc, BearerError) else KeyturnError(type(exc).__name__)))

    def handler(self, request: HTTPConnection, exc: Exception) -> JSONResponse | Application:
        """Answer an error that an endpoint raised itself; for `Starlette(exception_handlers={KeyturnError: backend.handler})`.

        A WebSocket that is accepted, or whose server can send no HTTP answer, is closed.
        """
        answer = self.guard.answer(exc if isinstance(exc, KeyturnError) else KeyturnError(type(exc).__name__))
        if isinstance(request, WebSocket):
            accepted = request.application_state is WebSocketState.CONNECTED
            if accepted or not answers_websockets(request.scope):
                return closing(answer)
        return _response(answer)

    def requires(self, scopes: Names = (), roles: Names = ()) -> Callable[[Endpoint], Endpoint]:
        """Return a decorator for endpoints, sync or async, of requests or WebSockets, that lets only a good token through.

        Args:
            scopes: Names joined by blanks, or a collection: all of them are needed. `any_of(...)`: one of them.
            roles: The same for roles.
        """
        needs = Needs(scopes, roles)

        def decorate(endpoint: Endpoint) -> Endpoint:
            @functools.wraps(endpoint)
            async def guarded(*args: Any, **kwargs: Any) -> Any:
                conn = next(each for each in (*args, *kwargs.values()) if isinstance(each, HTTPConnection))
                answer = self._refusal(conn, needs)
                if answer is None:
                    # Starlette runs sync endpoints on threads, and must not be told otherwise by this wrapper.
                    work = endpoint(*args, **kwargs) if iscoroutinefunction(endpoint) else run_in_threadpool(endpoint, *args, **kwargs)
                    return await work
                if conn.scope["type"] == "http":
                    return _response(answer)
                # Told apart by their type: only a WebSocket receives and sends by itself.
                return await refuse(conn.scope, conn.receive, conn.send, answer)  # type: ignore[attr-defined]

            return guarded  # type: ignore[return-value]

        return decorate

    async def readiness(self, request: Request) -> JSONResponse:
        """Endpoint that tells whether tokens can be judged: `Route("/ready", backend.readiness)`."""
        del request
        return _response(self.guard.readiness())

    async def metadata(self, request: Request) -> JSONResponse:
        """Endpoint of the protected resource metadata: `Route(guard.metadata_path, backend.metadata)` (RFC 9728)."""
        del request
        return JSONResponse(dict(self.guard.metadata()))

    def lifespan(self, app: Any) -> AbstractAsyncContextManager[None]:
        """Read the keys when the application starts, and keep them fresh: `Starlette(lifespan=backend.lifespan)`."""
        del app
        return self.guard.running()

    def _refusal(self, conn: HTTPConnection, needs: Needs) -> Answer | None:
        token = conn.scope.get("user")
        try:
            if not isinstance(token, ValidatedToken):
                raise MissingTokenError("the request has no token")
            needs.check(token)
        except KeyturnError as error:
            return self.guard.answer(error, needs)
        return None


class _Authentication:
    """What Starlette's `AuthenticationMiddleware` does, with answers for WebSockets: it closes a refused one without a word."""

    def __init__(self, app: ASGIApp, backend: BearerBackend) -> None:
        self.app = app
        self.backend = backend

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in {"http", "websocket"}:
            try:
                found = await self.backend.authenticate(HTTPConnection(scope))
            except BearerError as refused:
                await refuse(scope, receive, send, self.backend.guard.answer(refused.error))
                return
            scope["auth"], scope["user"] = found or (AuthCredentials(), UnauthenticatedUser())
        await self.app(scope, receive, send)


def _response(answer: Answer) -> JSONResponse:
    return JSONResponse(dict(answer.body), answer.status, dict(answer.headers))
