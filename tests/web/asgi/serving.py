"""Subjects of the table with WebSockets: an ASGI application on uvicorn, on hypercorn, and in Starlette's test client."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import hypercorn.asyncio
from hypercorn.config import Config
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect
from tests.web import serving
from tests.web.conformance import PATIENCE, Headers, OverHttp, Reply, Subject
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect


class Served(OverHttp):
    """An application on a port, with WebSockets.

    Attributes:
        closed: Code and reason of the last WebSocket that ended.
        subprotocol: What the server chose for the last WebSocket.
    """

    closed: tuple[int, str] = (0, "")
    subprotocol: str | None = None

    def connect(self, path: str, headers: Headers, *, subprotocols: list[str] | None = None) -> Reply | list[str]:
        """Open a WebSocket: return the refusal, or every message up to its end."""
        address, messages = f"ws://127.0.0.1:{self.port}{path}", []
        try:
            with connect(address, additional_headers=headers, subprotocols=subprotocols, open_timeout=PATIENCE, proxy=None) as connection:
                self.subprotocol = connection.subprotocol
                try:
                    while True:
                        messages.append(str(connection.recv(PATIENCE)))
                except ConnectionClosed as closed:
                    self.closed = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (0, "")
                    return messages
        except InvalidStatus as refused:
            response = refused.response
            return Reply(response.status_code, list(response.headers.raw_items()), response.body)


@contextmanager
def by_uvicorn(app: Any, **settings: Any) -> Iterator[Served]:
    """Serve *app* with uvicorn."""
    with serving.by_uvicorn(app, ws="websockets-sansio", **settings) as port:
        yield Served(port)


@contextmanager
def by_hypercorn(app: Any) -> Iterator[Served]:
    """Serve *app* with hypercorn."""

    async def main(ready: Callable[[int], None], stop: asyncio.Event) -> None:
        listening = socket.create_server(("127.0.0.1", 0), backlog=serving.BACKLOG)
        port = listening.getsockname()[1]
        config = Config()
        # It closes what it is given.
        config.bind = [f"fd://{listening.detach()}"]
        config.loglevel = "ERROR"
        config.graceful_timeout = 1
        ready(port)
        await hypercorn.asyncio.serve(app, config, shutdown_trigger=stop.wait)

    with serving.on_loop(main) as port:
        yield Served(port)


class InProcess(Subject):
    """An application in Starlette's test client, which runs it on an event loop of a thread."""

    def __init__(self, client: TestClient) -> None:
        self._client = client

    def get(self, path: str, headers: Headers) -> Reply:
        """Send a request."""
        answer = self._client.get(path, headers=headers)
        return Reply(answer.status_code, answer.headers.multi_items(), answer.content)

    def connect(self, path: str, headers: Headers) -> Reply | list[str]:
        """Open a WebSocket: return the refusal, or every message up to its end."""
        messages: list[str] = []
        try:
            with self._client.websocket_connect(path, headers=type(self._client.headers)(headers)) as connection:
                while True:
                    messages.append(connection.receive_text())
        except WebSocketDenialResponse as refused:
            return Reply(refused.status_code, refused.headers.multi_items(), refused.content)
        except WebSocketDisconnect:
            return messages


@contextmanager
def in_process(app: Any) -> Iterator[InProcess]:
    """Run *app* in Starlette's test client."""
    with TestClient(app, raise_server_exceptions=False) as client:
        yield InProcess(client)
