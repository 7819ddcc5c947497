"""How an answer goes out over ASGI: to a request, and to a WebSocket that is not accepted."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from keyturn.integrations._bearer import Answer

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

REFUSED: Final = 1008
"""Close code of a refusal (RFC 6455, section 7.4.1)."""

TRY_AGAIN_LATER: Final = 1013
"""Close code where nobody can know (registered with IANA)."""

_UNAVAILABLE = 503


def close_code(answer: Answer) -> int:
    """Return the close code that says the same as *answer*, where a server can send no HTTP answer."""
    return TRY_AGAIN_LATER if answer.status == _UNAVAILABLE else REFUSED


async def refuse(scope: Scope, receive: Receive, send: Send, answer: Answer) -> None:
    """Answer a request, or refuse a WebSocket: with a whole HTTP answer where the server can send one, else by closing it unaccepted."""
    if scope["type"] == "http":
        await send_answer(send, answer)
        return
    if (await receive())["type"] != "websocket.connect":
        return
    if answers_websockets(scope):
        await send_answer(send, answer, "websocket.http.response")
    else:
        await closing(answer)(scope, receive, send)


def answers_websockets(scope: Scope) -> bool:
    """Return whether the server can refuse a WebSocket with a whole HTTP answer."""
    return "websocket.http.response" in (scope.get("extensions") or {})


def closing(answer: Answer) -> Application:
    """Return an application that closes a WebSocket, accepted or not, with what *answer* says."""

    async def close(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await send({"type": "websocket.close", "code": close_code(answer), "reason": answer.body["error"]})

    return close


async def send_answer(send: Send, answer: Answer, kind: str = "http.response") -> None:
    """Send *answer* as JSON, with messages of this *kind*."""
    body = json.dumps(answer.body).encode()
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body)), **answer.headers}
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields.items()]
    await send({"type": f"{kind}.start", "status": answer.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})
