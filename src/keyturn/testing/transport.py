"""The fake issuer as a transport of httpx, or of a library with the same classes.

Rules of this file:

1. The library is handed in as a module and used by its classes' names, so that httpx and httpx2 serve alike; nothing here loads one.
2. A request takes the one way through account and faults, and its outcome is told in the library's own errors.
3. An asynchronous client never blocks its event loop: whatever may be held runs on a thread, which its end releases.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from keyturn.testing.faults import Answer, Faults, Sender, SenderLeft
from keyturn.testing.server import Respond


def mock_transport(library: Any, respond: Respond, faults: Faults, origin: Callable[[], str]) -> Any:
    """Return a `MockTransport` of *library* whose requests *respond* answers; *origin* says what the issuer's own is called now."""
    return _transport_class(library)(_Exchange(library, respond, faults, origin), faults)


class _Exchange:
    """Turns a request of a library into an answer of it."""

    def __init__(self, library: Any, respond: Respond, faults: Faults, origin: Callable[[], str]) -> None:
        self._library = library
        self._respond = respond
        self._faults = faults
        self._origin = origin

    def __call__(self, request: Any, sender: Sender | None = None) -> Any:
        library, waiting = self._library, sender or sender_of(request)
        if request.method != "GET":
            return library.Response(501, request=request)
        try:
            answer = self._respond(self._location(request.url), dict(request.headers), waiting)
        except SenderLeft:
            raise library.ReadTimeout("the fake issuer gave no answer within the read timeout", request=request) from None
        if answer is None:
            raise library.ReadError("the fake issuer dropped the connection before it answered", request=request)
        stream = _stream_class(library)(library, answer, waiting, request, self._faults)
        return library.Response(answer.status, headers=answer.fields(), stream=stream, request=request)

    def _location(self, url: Any) -> str:
        """Return a location as the issuer writes it: libraries leave out a port that goes without saying, and write hosts in lower case."""
        origin = self._origin()
        ours = self._library.URL(origin)
        same = (url.scheme, url.host, url.port) == (ours.scheme, ours.host, ours.port)
        return origin + url.raw_path.decode("ascii") if same else str(url)


def sender_of(request: Any) -> Sender:
    """Return who sent a request; it waits as long as the client's read timeout says."""
    patience = request.extensions.get("timeout", {}).get("read")
    return Sender(math.inf if patience is None else patience)


def _bytes_of(library: Any, answer: Answer, sender: Sender, request: Any) -> Iterator[bytes]:
    """Yield a body as a socket would give it."""
    if answer.status in {204, 304}:
        return
    left = sys.maxsize if answer.declared is None else answer.declared
    try:
        for piece in answer.pieces(sender):
            # Nobody reads on behind the length that was declared.
            yield piece[:left]
            left -= len(piece[:left])
            # The read timeout is one between two bytes.
            sender.wait_anew()
    except SenderLeft:
        raise library.ReadTimeout("the fake issuer gave no answer within the read timeout", request=request) from None
    if answer.is_cut:
        message = f"the fake issuer broke off after {len(answer.body)} of {answer.declared} bytes"
        raise library.RemoteProtocolError(message, request=request)


@functools.cache
def _stream_class(library: Any) -> Callable[..., Any]:
    class Body(library.SyncByteStream, library.AsyncByteStream):  # type: ignore[misc]  # the library is known when it runs
        def __init__(self, library: Any, answer: Answer, sender: Sender, request: Any, faults: Faults) -> None:
            self._pieces = _bytes_of(library, answer, sender, request)
            self._sender = sender
            self._faults = faults

        def __iter__(self) -> Iterator[bytes]:
            return self._pieces

        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                while (piece := await _on_a_thread(next, self._pieces, None)) is not None:
                    yield piece
            finally:
                _release(self._sender, self._faults)

    return Body


@functools.cache
def _transport_class(library: Any) -> Callable[..., Any]:
    class IssuerTransport(library.MockTransport):  # type: ignore[misc]  # the library is known when it runs
        def __init__(self, exchange: _Exchange, faults: Faults) -> None:
            super().__init__(exchange)
            self._exchange = exchange
            self._faults = faults

        async def handle_async_request(self, request: Any) -> Any:
            await request.aread()
            sender = sender_of(request)
            try:
                return await _on_a_thread(self._exchange, request, sender)
            except BaseException:
                _release(sender, self._faults)
                raise

    return IssuerTransport


def _release(sender: Sender, faults: Faults) -> None:
    """Let the thread go that waited in the place of *sender*, who was cancelled or has read all."""
    sender.leave()
    faults.look_again()


async def _on_a_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    from anyio import to_thread  # noqa: PLC0415 - it comes with the library, whose event loop it asks for

    return await to_thread.run_sync(function, *arguments, abandon_on_cancel=True)
