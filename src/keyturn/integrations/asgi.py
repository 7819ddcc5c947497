"""Bearer tokens for any ASGI application: a middleware that judges before the application is asked.

Rules of this file:

1. `http` and `websocket` are judged; every other kind of scope passes untouched.
2. A WebSocket is judged before it is accepted, and refused with a whole HTTP answer where the server can send one.
3. The application finds the token in `scope["user"]` and `scope["state"]["token"]`; a public path finds none.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

from keyturn.clock import Clock, SystemClock
from keyturn.errors import KeyturnError
from keyturn.integrations._bearer import NOTHING, Needs
from keyturn.integrations._guard import BearerGuard, Judge
from keyturn.integrations._own_routes import OwnRoutes
from keyturn.integrations._paths import PathRules, below
from keyturn.integrations._sending import REFUSED, Application, Receive, Scope, Send, refuse, send_answer
from keyturn.integrations._websockets import WebSocketOptions, ended_in_time, values
from keyturn.validated_token import ValidatedToken

__all__ = ["BearerMiddleware", "WebSocketOptions"]


class BearerMiddleware:
    """Lets requests with a good token pass to *app*, and answers all others itself.

    Where the guard has a `resource`, its metadata is served as well (RFC 9728). Put the middleware of CORS outside of this one,
    because a preflight request carries no token. An application that sets a `root_path` of its own (`FastAPI(root_path=...)`) takes
    it off unseen by what stands outside: put the middleware inside (`app.add_middleware`), or have the server set the path.

    Args:
        app: The application behind.
        guard: Judges requests; a validator or router alone will do.
        rules: What paths need, by their beginning: `{"/orders": Needs(scopes="orders:read"), "/health": None}`. None means no token.
            The longest one wins; what no rule names needs a good token.
        readiness_path: Path that tells whether tokens can be judged, without a token; None for no such path.
        websockets: How browsers may send a token, and how long a connection may last.
        clock: Tells when a connection's token expires; the machine's unless given.

    Raises:
        ConfigurationError: A rule or a path is none.
    """

    def __init__(
        self,
        app: Any,
        guard: BearerGuard | Judge,
        *,
        rules: Mapping[str, Needs | None] | None = None,
        readiness_path: str | None = None,
        websockets: WebSocketOptions | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.app: Application = app
        self.guard = BearerGuard.of(guard)
        self._rules = PathRules(rules or {})
        self._own = OwnRoutes(self.guard, readiness_path)
        self._websockets = websockets or WebSocketOptions()
        self._clock = clock or SystemClock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        path = below(scope["path"], scope.get("root_path", ""))
        if scope["type"] == "http" and (own := self._own.answer(path, scope["path"])) is not None:
            await send_answer(send, own)
            return
        needs = self._rules.needs(path, scope.get("raw_path") or b"")
        inner, token = dict(scope), None
        try:
            credentials = self._credentials(inner, judged=needs is not None)
            if needs is not None:
                token = await self.guard.check_async(credentials, needs, query=scope.get("query_string", b""))
        except KeyturnError as error:
            await refuse(scope, receive, send, self.guard.answer(error, needs or NOTHING))
            return
        if token is not None:
            inner |= {"user": token, "state": {**scope.get("state", {}), "token": token}}
        await self._pass_on(inner, receive, send, token)

    def _credentials(self, scope: dict[str, Any], *, judged: bool) -> list[bytes]:
        sent = values(scope, b"authorization")
        if scope["type"] != "websocket":
            return sent
        # Taken out on a public path, too; a cookie goes along from anywhere, and harms nobody there.
        found = sent + self._websockets.from_subprotocols(scope)
        return self._websockets.from_cookie(scope) if judged and not found else found

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, token: ValidatedToken | None) -> None:
        if token is None or scope["type"] != "websocket" or not self._websockets.close_at_expiry:
            await self.app(scope, receive, send)
            return
        closed = False

        async def noting(message: MutableMapping[str, Any]) -> None:
            nonlocal closed
            closed = closed or message["type"] in {"websocket.close", "websocket.http.response.start"}
            await send(message)

        left = max(0.0, token.expires_at - self._clock.wall())
        if not await ended_in_time(self.app(scope, receive, noting), left) and not closed:
            await send({"type": "websocket.close", "code": REFUSED, "reason": "expired_token"})
