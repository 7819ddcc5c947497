"""Bearer tokens for FastAPI: one dependency for requests and WebSockets, which stands in OpenAPI with its scopes.

Rules of this file:

1. A refusal is an `HTTPException` with a whole answer, so that it needs no handler; a WebSocket gets it before it is accepted.
2. Scopes come from `Security(bearer, scopes=[...])`, all of them needed; roles and `any_of(...)` from `bearer.needing(...)`.
3. Without credentials `auto_error=False` gives None; a bad token is refused all the same.
"""

# Annotations are values here, not texts: FastAPI reads those of a callable object, which has no module to resolve a text in.

import copy
import functools
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Self

from fastapi import FastAPI, HTTPException, WebSocketException
from fastapi.openapi.models import HTTPBearer, OpenIdConnect
from fastapi.openapi.models import SecurityBase as SchemeModel
from fastapi.responses import JSONResponse
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket, WebSocketState

from keyturn.errors import KeyturnError, MissingTokenError
from keyturn.integrations._bearer import NOTHING, Answer, Every, Names, Needs
from keyturn.integrations._guard import BearerGuard, Judge
from keyturn.integrations._sending import answers_websockets, close_code, closing
from keyturn.validated_token import ValidatedToken

__all__ = ["Bearer", "BearerRefusal", "add_error_handler"]


class BearerRefusal(HTTPException):
    """A refusal with its answer; FastAPI sends it as `{"detail": ...}`.

    Attributes:
        error: Why the request may not pass.
    """

    def __init__(self, error: KeyturnError, answer: Answer) -> None:
        super().__init__(answer.status, answer.body["error_description"], dict(answer.headers))
        self.error = error


class Bearer(SecurityBase):
    """The dependency: `token: Annotated[ValidatedToken, Security(bearer, scopes=["orders:read"])]`.

    The token is in `request.state.token` as well, for middleware and other dependencies.

    Args:
        guard: Judges requests; a validator or router alone will do.
        auto_error: Whether a request without credentials is refused; if not, the value is None.
        needs: What this place needs beside the scopes of `Security(...)`; `needing()` says it more shortly.
        scheme_name: Name of the scheme in OpenAPI.
        description: What OpenAPI says about it.
        open_id_connect_url: Where clients find the issuer's discovery document; the one of the issuer's name unless given. A guard of
            several issuers without it stands in OpenAPI as a plain bearer scheme.
    """

    def __init__(
        self,
        guard: BearerGuard | Judge,
        *,
        auto_error: bool = True,
        needs: Needs = NOTHING,
        scheme_name: str = "Bearer",
        description: str | None = None,
        open_id_connect_url: str | None = None,
    ) -> None:
        self.guard = BearerGuard.of(guard)
        self.auto_error = auto_error
        self.needs = needs
        self.scheme_name = scheme_name
        url = open_id_connect_url or self.guard.discovery_url
        self.model: SchemeModel = (
            OpenIdConnect(openIdConnectUrl=url, description=description) if url else HTTPBearer(bearerFormat="JWT", description=description)
        )

    def needing(self, *, scopes: Names = (), roles: Names = (), auto_error: bool | None = None) -> Self:
        """Return a dependency of the same scheme that needs more: `Depends(bearer.needing(roles="admin"))`.

        Args:
            scopes: Names joined by blanks, or a collection: all of them are needed. `any_of(...)`: one of them.
            roles: The same for roles.
            auto_error: As for the dependency itself; its own unless given.
        """
        other = copy.copy(self)
        other.needs = Every(self.needs, Needs(scopes, roles))
        other.auto_error = self.auto_error if auto_error is None else auto_error
        return other

    async def __call__(self, connection: HTTPConnection, scopes: SecurityScopes) -> ValidatedToken | None:
        """Return the token of a request or WebSocket, or None if there may be none.

        Raises:
            BearerRefusal: It may not pass.
            WebSocketException: The same for a WebSocket whose server can send no HTTP answer.
        """
        needs = Every(_needs(tuple(scopes.scopes)), self.needs)
        try:
            values = connection.headers.getlist("authorization")
            token = await self.guard.check_async(values, needs, query=connection.scope.get("query_string", b""))
        except KeyturnError as error:
            if isinstance(error, MissingTokenError) and not self.auto_error:
                return None
            answer = self.guard.answer(error, needs)
            if connection.scope["type"] == "websocket" and not answers_websockets(connection.scope):
                # Starlette would send the answer to a server that does not know its messages.
                raise WebSocketException(close_code(answer), answer.body["error"]) from error
            raise BearerRefusal(error, answer) from error
        connection.state.token = token
        return token

    async def readiness(self) -> JSONResponse:
        """Endpoint that tells whether tokens can be judged: `app.add_api_route("/ready", bearer.readiness)`."""
        answer = self.guard.readiness()
        return JSONResponse(dict(answer.body), answer.status, dict(answer.headers))

    async def metadata(self) -> JSONResponse:
        """Endpoint of the protected resource metadata: `app.add_api_route(guard.metadata_path, bearer.metadata)` (RFC 9728)."""
        return JSONResponse(dict(self.guard.metadata()))

    def lifespan(self, app: Any) -> AbstractAsyncContextManager[None]:
        """Read the keys when the application starts, and keep them fresh: `FastAPI(lifespan=bearer.lifespan)`."""
        del app
        return self.guard.running()


def add_error_handler(app: FastAPI, guard: BearerGuard | Judge) -> None:
    """Have *app* answer errors of keyturn that handlers raise themselves, such as `InsufficientScopeError`, as it answers refusals."""
    known = BearerGuard.of(guard)

    async def handler(connection: HTTPConnection, error: Exception) -> Any:
        answer = known.answer(error if isinstance(error, KeyturnError) else KeyturnError(type(error).__name__))
        if isinstance(connection, WebSocket):
            accepted = connection.application_state is WebSocketState.CONNECTED
            if accepted or not answers_websockets(connection.scope):
                return closing(answer)
        return JSONResponse({"detail": answer.body["error_description"]}, answer.status, dict(answer.headers))

    app.add_exception_handler(KeyturnError, handler)


@functools.lru_cache(maxsize=1024)
def _needs(scopes: Sequence[str]) -> Needs:
    # The scopes of one place never change, and every request comes with them.
    return Needs(scopes)
