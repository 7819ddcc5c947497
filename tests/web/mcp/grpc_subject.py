"""A gRPC server under the table of cases, on threads and on asyncio, with handlers of every kind and without generated code.

What a call ends with is told as the HTTP answer that it corresponds to: its status as a number, its trailing metadata as header fields.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio
from tests.web.conformance import PATIENCE, Headers, Reply, Subject
from tests.web.serving import on_loop

from keyturn.integrations import BearerGuard, Needs, any_of
from keyturn.integrations.grpc import AsyncBearerInterceptor, BearerInterceptor, current_token

SERVICE = "orders.Orders"
RULES = {
    f"/{SERVICE}/orders": Needs(scopes="orders:read"),
    f"/{SERVICE}/any": Needs(scopes=any_of("a", "b")),
    f"/{SERVICE}/role": Needs(roles="admin"),
    f"/{SERVICE}/ready": None,
}
STATUS = {
    grpc.StatusCode.OK: 200,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.UNIMPLEMENTED: 404,
    grpc.StatusCode.UNAVAILABLE: 503,
}


def nobody() -> bytes:
    """Return what a handler of a public method is given."""
    try:
        return str(current_token().subject).encode()
    except LookupError:
        return b"nobody"


def who() -> bytes:
    """Return what a handler was given."""
    token = current_token()
    return json.dumps({"subject": token.subject, "key": token.key_id}).encode()


class Threaded:
    """Handlers of a server on threads."""

    def one(self, request: bytes, context: Any) -> bytes:
        return who()

    def public(self, request: bytes, context: Any) -> bytes:
        return nobody()

    def one_many(self, request: bytes, context: Any) -> Iterator[bytes]:
        for _ in range(2):
            yield who()

    def many_one(self, requests: Iterator[bytes], context: Any) -> bytes:
        assert [b"x", b"x"] == list(requests)
        return who()

    def many_many(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        for _ in requests:
            yield who()


class OnLoop:
    """The same handlers of a server on asyncio."""

    async def one(self, request: bytes, context: Any) -> bytes:
        return who()

    async def public(self, request: bytes, context: Any) -> bytes:
        return nobody()

    async def one_many(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        for _ in range(2):
            yield who()

    async def many_one(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        assert [b"x", b"x"] == [request async for request in requests]
        return who()

    async def many_many(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for _ in requests:
            yield who()


def handlers(of: Threaded | OnLoop) -> tuple[grpc.GenericRpcHandler, ...]:
    """Return the service."""
    one = grpc.unary_unary_rpc_method_handler
    methods = {name: one(of.one) for name in ("me", "orders", "any", "role")}
    methods |= {
        "ready": one(of.public),
        "one_many": grpc.unary_stream_rpc_method_handler(of.one_many),
        "many_one": grpc.stream_unary_rpc_method_handler(of.many_one),
        "many_many": grpc.stream_stream_rpc_method_handler(of.many_many),
    }
    return (grpc.method_handlers_generic_handler(SERVICE, methods),)


class OverGrpc(Subject):
    """A client of a gRPC server on 127.0.0.1."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel

    def get(self, path: str, headers: Headers) -> Reply:
        """Call a method with one request and one answer."""
        return self._called(lambda: self.channel.unary_unary(f"/{SERVICE}{path}").with_call(b"x", **_with(headers)))

    def collect(self, kind: str, headers: Headers) -> Reply | list[bytes]:
        """Call the method of another kind: return every answer, or how it was refused."""
        if kind == "many_one":
            reply = self._called(lambda: self.channel.stream_unary(f"/{SERVICE}/{kind}").with_call(iter([b"x", b"x"]), **_with(headers)))
            return [reply.body] if reply.status == 200 else reply
        make = self.channel.unary_stream if kind == "one_many" else self.channel.stream_stream
        call = make(f"/{SERVICE}/{kind}")(b"x" if kind == "one_many" else iter([b"x", b"x"]), **_with(headers))
        try:
            return list(call)
        except grpc.RpcError as error:
            return _refusal(error)

    def _called(self, call: Callable[[], tuple[bytes, Any]]) -> Reply:
        try:
            body, ended = call()
        except grpc.RpcError as error:
            return _refusal(error)
        return Reply(STATUS[ended.code()], _fields(ended.trailing_metadata()), body)


def _with(headers: Headers) -> Mapping[str, Any]:
    return {"metadata": [(name.lower(), value) for name, value in headers], "timeout": PATIENCE}


def _refusal(error: Any) -> Reply:
    return Reply(STATUS[error.code()], _fields(error.trailing_metadata()), error.details().encode())


def _fields(metadata: Any) -> Headers:
    return [(name, value) for name, value in metadata or ()]


@contextmanager
def connected(port: int) -> Iterator[OverGrpc]:
    """Open a channel, without the retries that gRPC makes by itself."""
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_retries", 0)]) as channel:
        yield OverGrpc(channel)


@contextmanager
def threaded(guard: BearerGuard) -> Iterator[OverGrpc]:
    """Run a server on threads."""
    with ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool, handlers=handlers(Threaded()), interceptors=[BearerInterceptor(guard, rules=RULES)])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            with connected(port) as subject:
                yield subject
        finally:
            server.stop(None).wait(PATIENCE)


@contextmanager
def on_asyncio(guard: BearerGuard, of: Threaded | OnLoop | None = None) -> Iterator[OverGrpc]:
    """Run a server on an event loop, with handlers that are coroutines unless others are given."""

    async def main(serving: Callable[[int], None], stop: asyncio.Event) -> None:
        server = grpc.aio.server(ThreadPoolExecutor(2), handlers=handlers(of or OnLoop()), interceptors=[AsyncBearerInterceptor(guard, rules=RULES)])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        serving(port)
        await stop.wait()
        await server.stop(None)

    with on_loop(main) as port, connected(port) as subject:
        yield subject
