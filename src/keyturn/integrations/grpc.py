"""Bearer tokens for gRPC servers: an interceptor for threads, and one for asyncio.

Rules of this file:

1. The token is metadata, `authorization: Bearer ...`. The status says whose fault it was: `INVALID_ARGUMENT` (two tokens),
   `UNAUTHENTICATED`, `PERMISSION_DENIED`, and `UNAVAILABLE` with `grpc-retry-pushback-ms` where nobody can know (gRPC A6). What HTTP
   says in `WWW-Authenticate` and `Retry-After` goes along as trailing metadata.
2. A server of threads asks its interceptors on the one thread that serves every connection. So nothing is judged there, but in front of
   the handler, on the handler's thread.
3. A handler finds the token by `current_token()`, in the context of its own call.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextvars import Context, ContextVar, copy_context
from typing import Any, Final, TypeAlias

import grpc
import grpc.aio

from keyturn.errors import KeyturnError
from keyturn.integrations._bearer import Needs
from keyturn.integrations._guard import BearerGuard, Judge
from keyturn.integrations._paths import PathRules
from keyturn.validated_token import ValidatedToken

__all__ = ["AsyncBearerInterceptor", "BearerInterceptor", "current_token"]

# The classes are generic in their type stubs alone.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Details: TypeAlias = "grpc.HandlerCallDetails"

_CODES: Final[Mapping[int, grpc.StatusCode]] = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    503: grpc.StatusCode.UNAVAILABLE,
}
_KINDS: Final[Mapping[tuple[bool, bool], str]] = {
    (False, False): "unary_unary",
    (False, True): "unary_stream",
    (True, False): "stream_unary",
    (True, True): "stream_stream",
}

_END: Final = object()
_token: ContextVar[ValidatedToken | None] = ContextVar("keyturn_grpc_token", default=None)


def current_token() -> ValidatedToken:
    """Return the token of the call that is being handled.

    Raises:
        LookupError: There is none: its method is public, or no interceptor of this module judged it.
    """
    token = _token.get()
    if token is None:
        raise LookupError("this call has no token: its method is public, or no interceptor of keyturn judged it")
    return token


class _Interceptor:
    def __init__(self, guard: BearerGuard | Judge, *, rules: Mapping[str, Needs | None] | None = None) -> None:
        self.guard = BearerGuard.of(guard)
        self._rules = PathRules(rules or {})

    def _refusal(self, error: KeyturnError, needs: Needs) -> tuple[grpc.StatusCode, str, tuple[tuple[str, str], ...]]:
        """Return status, text and trailing metadata."""
        answer = self.guard.answer(error, needs)
        trailing = [(name.lower(), answer.headers[name]) for name in ("WWW-Authenticate", "Retry-After") if name in answer.headers]
        code = _CODES.get(answer.status, grpc.StatusCode.INTERNAL)
        if code is grpc.StatusCode.UNAVAILABLE:
            # Clients that retry by themselves obey this one alone.
            trailing.append(("grpc-retry-pushback-ms", f"{answer.headers['Retry-After']}000"))
        return code, answer.body["error_description"], tuple(trailing)


class BearerInterceptor(_Interceptor, grpc.ServerInterceptor):
    """Lets calls with a good token pass to their handlers, on a server of threads.

    Args:
        guard: Judges calls; a validator or router alone will do.
        rules: What methods need, by the name of a service or method: `{"/orders.Orders/List": Needs(scopes="orders:read"),
            "/grpc.health.v1.Health": None}`. None means no token. The longest one wins; what no rule names needs a good token.

    Raises:
        ConfigurationError: A rule is none.
    """

    def intercept_service(self, continuation: Callable[[Details], Handler | None], handler_call_details: Details) -> Handler | None:
        """Return the handler with a judgement in front of it."""
        handler, needs = continuation(handler_call_details), self._rules.needs(handler_call_details.method)
        if handler is None or needs is None:
            return handler
        authorization = _authorization(handler_call_details)
        behaviour = getattr(handler, _KINDS[handler.request_streaming, handler.response_streaming])

        # Some servers read settings from attributes of the handler.
        @functools.wraps(behaviour)
        def judged(request: Any, context: grpc.ServicerContext, *more: Any) -> Any:
            try:
                token = self.guard.check(authorization, needs)
            except KeyturnError as error:
                code, told, trailing = self._refusal(error, needs)
                context.set_trailing_metadata(trailing)
                context.abort(code, told)
            _token.set(token)
            return behaviour(request, context, *more)

        return _like(handler, judged)


class AsyncBearerInterceptor(_Interceptor, grpc.aio.ServerInterceptor):
    """Lets calls with a good token pass to their handlers, on a server of asyncio.

    Args:
        guard: Judges calls; a validator or router alone will do.
        rules: As for `BearerInterceptor`.

    Raises:
        ConfigurationError: A rule is none.
    """

    async def intercept_service(self, continuation: Callable[[Details], Awaitable[Handler | None]], handler_call_details: Details) -> Handler | None:
        """Return the handler, or one that refuses."""
        handler, needs = await continuation(handler_call_details), self._rules.needs(handler_call_details.method)
        if handler is None or needs is None:
            return handler
        try:
            _token.set(await self.guard.check_async(_authorization(handler_call_details), needs))
        except KeyturnError as error:
            return _like(handler, _refusing(*self._refusal(error, needs)))
        behaviour = getattr(handler, _KINDS[handler.request_streaming, handler.response_streaming])
        if inspect.iscoroutinefunction(behaviour) or inspect.isasyncgenfunction(behaviour):
            return handler
        return _like(handler, _carried(behaviour, handler.response_streaming, copy_context()))


def _refusing(code: grpc.StatusCode, told: str, trailing: tuple[tuple[str, str], ...]) -> Callable[[Any, Any], Awaitable[None]]:
    async def refuse(_request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await context.abort(code, told, trailing)

    return refuse


def _carried(behaviour: Callable[..., Any], streaming: bool, context: Context) -> Callable[..., Any]:  # noqa: FBT001 - gRPC's own flag
    """Return *behaviour* so that it runs in *context* on a thread of the server, which has a context that outlives the call."""

    def steps(request: Any, call: Any) -> Iterator[Any]:
        answers = iter(context.run(behaviour, request, call))
        while (answer := context.run(next, answers, _END)) is not _END:
            yield answer

    def once(request: Any, call: Any) -> Any:
        return context.run(behaviour, request, call)

    return steps if streaming else once


def _like(handler: Handler, behaviour: Callable[..., Any]) -> Handler:
    """Return a handler of the same kind as *handler*: another kind would break the call."""
    make = getattr(grpc, f"{_KINDS[handler.request_streaming, handler.response_streaming]}_rpc_method_handler")
    made: Handler = make(behaviour, handler.request_deserializer, handler.response_serializer)
    return made


def _authorization(details: Details) -> Iterable[str | bytes]:
    return [value for key, value in details.invocation_metadata or () if key == "authorization"]
