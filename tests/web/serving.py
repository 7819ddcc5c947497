"""Running an application on a port of 127.0.0.1, on threads of this process: on an event loop with uvicorn, or on a thread for each request."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from tests.web.conformance import PATIENCE

BACKLOG = 512


@contextmanager
def on_loop(main: Callable[[Callable[[int], None], asyncio.Event], Coroutine[Any, Any, None]]) -> Iterator[int]:
    """Run *main* on an event loop of its own thread; it calls with its port once it serves, and ends when the event is set."""
    ready, failed, ports, stops = threading.Event(), [], [], []

    async def run() -> None:
        stop = asyncio.Event()
        stops.append((asyncio.get_running_loop(), stop))

        def serving(port: int) -> None:
            ports.append(port)
            ready.set()

        await main(serving, stop)

    def work() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=work, name="served")
    thread.start()
    assert ready.wait(PATIENCE), "the server never served"
    try:
        if ports:
            yield ports[0]
    finally:
        if stops and thread.is_alive():
            loop, stop = stops[0]
            loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE)
    assert not thread.is_alive(), "the server never ended"
    if failed:
        raise failed[0]


@contextmanager
def by_uvicorn(app: Any, **settings: Any) -> Iterator[int]:
    """Serve *app* with uvicorn; the context is its port."""
    import uvicorn

    async def main(serving: Callable[[int], None], stop: asyncio.Event) -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listening:
            server = uvicorn.Server(uvicorn.Config(app, log_level="error", **settings))
            # Signals belong to the test.
            task = asyncio.create_task(server._serve([listening]))
            while not server.started and not task.done():  # noqa: ASYNC110 - it offers no event
                await asyncio.sleep(0)
            serving(listening.getsockname()[1])
            await asyncio.wait([task, asyncio.ensure_future(stop.wait())], return_when=asyncio.FIRST_COMPLETED)
            server.should_exit = True
            await task

    with on_loop(main) as port:
        yield port


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = BACKLOG


class _Quiet(WSGIRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def by_wsgiref(app: Any) -> Iterator[int]:
    """Serve *app* with the standard library's server, on a thread for each request; the context is its port."""
    with make_server("127.0.0.1", 0, app, server_class=_Server, handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, name="served")
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join(PATIENCE)
