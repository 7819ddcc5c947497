"""Bearer tokens for Litestar: a plugin that judges before guards run, and a guard for scopes and roles.

Rules of this file:

1. The needs of all `requires(...)` guards of a route are known before the token is judged, so that the challenge names all scopes.
2. A WebSocket is refused before it is accepted, with a whole HTTP answer where the server can send one.
3. Without credentials a route of `opt={"optional_token": True}` gets None; a bad token is refused all the same.
"""

from __future__ import annotations

from copy import copy
from typing import Any, Final

from litestar import Request, Response, get
from litestar.config.app import AppConfig
from litestar.connection import ASGIConnection
from litestar.enums import HttpMethod, ScopeType
from litestar.exceptions import WebSocketException
from litestar.handlers import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult, DefineMiddleware
from litestar.openapi.spec import Components, SecurityScheme
from litestar.plugins import InitPlugin
from litestar.routes import http as routes_of_requests
from litestar.types import ASGIApp, Receive, Scope, Send

from keyturn.errors import KeyturnError, MissingTokenError
from keyturn.integrations._bearer import Answer, Every, Names, Needs
from keyturn.integrations._guard import BearerGuard, Judge
from keyturn.integrations._paths import PathRules
from keyturn.integrations._sending import REFUSED, refuse
from keyturn.validated_token import ValidatedToken

__all__ = ["BearerPlugin", "requires"]

OPTIONAL: Final = "optional_token"
"""Name of the entry of a route's `opt` that makes a token optional there."""


class Requires:
    """A guard. Made by `requires()`."""

    def __init__(self, needs: Needs) -> None:
        self.needs = needs

    async def __call__(self, connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        """Return if the connection's token grants what is needed, also where the middleware was left out.

        Raises:
            KeyturnError: It does not, or there is none; the plugin answers it.
            WebSocketException: The same for a WebSocket.
        """
        del handler
        try:
            token = connection.scope.get("user")
            if not isinstance(token, ValidatedToken):
                raise MissingTokenError("the request has no token")
            self.needs.check(token)
        except KeyturnError as error:
            if connection.scope["type"] == ScopeType.WEBSOCKET:
                raise WebSocketException(detail=error.code, code=REFUSED) from error
            raise


def requires(scopes: Names = (), roles: Names = ()) -> Requires:
    """Return a guard that lets a good token with these scopes and roles through: `@get("/", guards=[requires("orders:read")])`.

    Args:
        scopes: Names joined by blanks, or a collection: all of them are needed. `any_of(...)`: one of them.
        roles: The same for roles.
    """
    return Requires(Needs(scopes, roles))


class BearerPlugin(InitPlugin):
    """Fills `request.user` and `request.auth` with the `ValidatedToken` on every route: `Litestar(plugins=[BearerPlugin(guard)])`.

    A route with `opt={"exclude_from_auth": True}` needs no token, as with Litestar's own security. Where the guard has a `resource`,
    its metadata is served as well (RFC 9728). The scheme stands in OpenAPI.

    Args:
        guard: Judges requests; a validator or router alone will do.
        public: Paths that need no token, nor does what is below them, such as `["/schema"]`.
        readiness_path: Path that tells whether tokens can be judged, without a token; None for no such path.
        keep_fresh: Whether the keys are read when the application starts, and kept fresh while it runs.
        scheme_name: Name of the scheme in OpenAPI.
    """

    def __init__(
        self,
        guard: BearerGuard | Judge,
        *,
        public: tuple[str, ...] | list[str] = (),
        readiness_path: str | None = None,
        keep_fresh: bool = True,
        scheme_name: str = "Bearer",
    ) -> None:
        self.guard = BearerGuard.of(guard)
        self._public = PathRules(dict.fromkeys(public))
        self._readiness_path = readiness_path
        self._keep_fresh = keep_fresh
        self._scheme_name = scheme_name

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Put everything into the application."""
        app_config.middleware.insert(0, DefineMiddleware(_Authentication, plugin=self))
        app_config.exception_handlers = {KeyturnError: self.handler, **app_config.exception_handlers}
        if self._keep_fresh:
            app_config.lifespan = [*(app_config.lifespan or ()), lambda _app: self.guard.running()]
        for path, answer in self._own():
            app_config.route_handlers.append(path_handler(path, answer))
        self._describe(app_config)
        return app_config

    def handler(self, request: Request[Any, Any, Any], error: KeyturnError) -> Response[Any]:
        """Answer an error that a guard or a handler raised."""
        del request
        return _response(self.guard.answer(error))

    async def judge(self, connection: ASGIConnection[Any, Any, Any, Any]) -> ValidatedToken | None:
        """Return the token of a connection, or None where it needs none.

        Raises:
            Refusal: It may not pass.
        """
        scope, handler = connection.scope, connection.scope["route_handler"]
        if all(self._public.needs(path, scope.get("raw_path") or b"") is None for path in _paths(scope)):
            return None
        needs = Every(*(guard.needs for guard in handler.resolve_guards() if isinstance(guard, Requires)))
        try:
            return await self.guard.check_async(connection.headers.getall("authorization", []), needs, query=scope.get("query_string", b""))
        except KeyturnError as error:
            if isinstance(error, MissingTokenError) and handler.opt.get(OPTIONAL):
                return None
            raise Refusal(self.guard.answer(error, needs)) from error

    def _own(self) -> list[tuple[str, Any]]:
        readiness = [] if self._readiness_path is None else [(self._readiness_path, self.guard.readiness)]
        if self.guard.resource is None:
            return [*readiness]
        return [*readiness, (self.guard.metadata_path.partition("?")[0], lambda: Answer(200, {}, self.guard.metadata()))]

    def _describe(self, app_config: AppConfig) -> None:
        if app_config.openapi_config is None:
            return
        url = self.guard.discovery_url
        scheme = (
            SecurityScheme(type="openIdConnect", open_id_connect_url=url)
            if url
            else SecurityScheme(type="http", scheme="Bearer", bearer_format="JWT")
        )
        config = app_config.openapi_config = copy(app_config.openapi_config)
        known = config.components if isinstance(config.components, list) else [config.components]
        config.components = [Components(security_schemes={self._scheme_name: scheme}), *known]
        config.security = [*(config.security or ()), {self._scheme_name: []}]


class Refusal(Exception):  # noqa: N818 - It is a turn of events, not a fault.
    """A refusal on its way out of Litestar's authentication middleware."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class _Authentication(AbstractAuthenticationMiddleware):
    """Litestar's middleware, which leaves out what a route's `opt` excludes."""

    def __init__(self, app: ASGIApp, plugin: BearerPlugin) -> None:
        # Litestar leaves out OPTIONS everywhere, also where a handler or a mounted application answers it.
        super().__init__(app, exclude_http_methods=())
        self._plugin = plugin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A public route finds no user, rather than none being set.
        scope.setdefault("user", None)
        scope.setdefault("auth", None)
        try:
            await (self.app if _is_automatic(scope) else super().__call__)(scope, receive, send)
        except Refusal as refusal:
            await refuse(scope, receive, send, refusal.answer)  # type: ignore[arg-type]

    async def authenticate_request(self, connection: ASGIConnection[Any, Any, Any, Any]) -> AuthenticationResult:
        """Return the token as user and as credentials."""
        token = await self._plugin.judge(connection)
        return AuthenticationResult(user=token, auth=token)


def _is_automatic(scope: Scope) -> bool:
    # It tells the methods of a route, and runs nothing of the application.
    return scope.get("method") == HttpMethod.OPTIONS and getattr(scope["route_handler"].fn, "__module__", None) == routes_of_requests.__name__


def _paths(scope: Scope) -> list[str]:
    """Return where a connection may go: for an application that is mounted Litestar tells only the part below, not for which mount."""
    handler = scope["route_handler"]
    if not getattr(handler, "is_mount", False):
        return [scope["path"]]
    return [route.path + scope["path"] for route in scope["litestar_app"].routes if getattr(route, "route_handler", None) is handler]


def path_handler(path: str, answer: Any) -> Any:
    """Return a route of *path* that needs no token and says what *answer* returns."""

    @get(path, opt={"exclude_from_auth": True}, include_in_schema=False, sync_to_thread=False)
    def own() -> Response[Any]:
        return _response(answer())

    return own


def _response(answer: Answer) -> Response[Any]:
    return Response(dict(answer.body), status_code=answer.status, headers=dict(answer.headers), media_type="application/json")
