"""Credentials of browsers' WebSockets, which cannot set `Authorization`, and connections that end with their token.

Rules of this file:

1. Each way is off until it is switched on by name. The query string is none of them: URLs end up in logs (RFC 9700, section 4.3.2).
2. The application behind never sees a token among the subprotocols, so that it cannot choose it and send it back.
3. A cookie goes along without anybody's doing, so it counts only from an origin that is listed, and only where nothing else is sent.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Collection
from dataclasses import dataclass
from typing import Any

from keyturn.errors import ConfigurationError, MissingTokenError, quoted

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ORIGIN = re.compile(r"https?://[^/?#\s]+")


@dataclass(frozen=True)
class WebSocketOptions:
    """How browsers may send a token, beside `Authorization`, and how long a connection may last.

    Attributes:
        subprotocol: Beginning of the entry of `Sec-WebSocket-Protocol` that holds the token, such as `"bearer."`. The page opens
            `new WebSocket(url, ["chat", "bearer." + token])`, and the application answers with `"chat"`: it never sees the other entry.
        cookie: Name of the cookie that holds the token; only with *origins*.
        origins: Origins whose pages may send the cookie, such as `"https://app.example.com"`.
        close_at_expiry: Whether a connection is closed, with code 1008, when its token expires. The handler is cancelled there.

    Raises:
        ConfigurationError: A name does not fit into its field, or a cookie has no origins.
    """

    subprotocol: str | None = None
    cookie: str | None = None
    origins: Collection[str] = ()
    close_at_expiry: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        for setting, value in (("subprotocol", self.subprotocol), ("cookie", self.cookie)):
            if value is not None and not _TOKEN.fullmatch(value):
                raise ConfigurationError(f"{setting} is {quoted(value)}, expected letters, digits and -._ (setting: {setting})")
        if (self.cookie is None) != (not self.origins):
            raise ConfigurationError("expected both cookie and origins, or neither: a cookie alone would let any page in (settings: cookie, origins)")
        for origin in (self.origins,) if isinstance(self.origins, str) else self.origins:
            if isinstance(self.origins, str) or not _ORIGIN.fullmatch(origin):
                raise ConfigurationError(f'origins hold {quoted(origin)}, expected a list such as ["https://app.example.com"] (setting: origins)')

    def from_subprotocols(self, scope: dict[str, Any]) -> list[bytes]:
        """Return the tokens among a connection's subprotocols as values of `Authorization`, and take them out of its scope.

        Args:
            scope: The connection's ASGI scope, a copy of the middleware's own.
        """
        prefix = self.subprotocol
        if prefix is None:
            return []
        offered = [str(name) for name in scope.get("subprotocols") or ()]
        harmless = [name for name in offered if not name.startswith(prefix)]
        scope["subprotocols"] = harmless
        # The field itself goes on without the token, too: some frameworks read it instead.
        rest = [(name, value) for name, value in scope["headers"] if name.lower() != b"sec-websocket-protocol"]
        scope["headers"] = rest + ([(b"sec-websocket-protocol", _encoded(", ".join(harmless)))] if harmless else [])
        return [b"Bearer " + _encoded(name[len(prefix) :]) for name in offered if name.startswith(prefix)]

    def from_cookie(self, scope: dict[str, Any]) -> list[bytes]:
        """Return the tokens among a connection's cookies as values of `Authorization`; for a connection that sent no other.

        Raises:
            MissingTokenError: One came from an origin that is not listed.
        """
        if self.cookie is None:
            return []
        pairs = [pair.strip().partition(b"=") for field in values(scope, b"cookie") for pair in field.split(b";")]
        found = [b"Bearer " + value.strip(b'"') for name, _, value in pairs if name == self.cookie.encode()]
        if found and [origin.decode("latin-1") for origin in values(scope, b"origin")] not in [[origin] for origin in self.origins]:
            raise MissingTokenError("a cookie came from an origin that is not listed, so it does not count (setting: origins)")
        return found


def _encoded(name: str) -> bytes:
    # What no header can hold is no token either, and is refused as one that is malformed.
    return name.encode("latin-1", "replace")


def values(scope: dict[str, Any], name: bytes) -> list[bytes]:
    """Return every value of a header field, whose *name* is given in lower case."""
    return [value for key, value in scope["headers"] if key.lower() == name]


async def ended_in_time(work: Awaitable[None], seconds: float) -> bool:
    """Await *work* and return True; after so many seconds cancel it and return False (asyncio or trio)."""
    if _in_asyncio():
        try:
            async with asyncio.timeout(seconds) as limit:
                await work
        except TimeoutError:
            if not limit.expired():
                raise
        return not limit.expired()
    import trio  # noqa: PLC0415 - loaded already, or this loop would not be trio's

    with trio.move_on_after(seconds) as trio_limit:
        await work
    return not trio_limit.cancelled_caught


def _in_asyncio() -> bool:
    # Where trio runs as a guest there is a loop of asyncio, but no task of it.
    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return False
