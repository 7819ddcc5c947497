"""What both MCP adapters share: the judgement of one request, and the middleware that answers with it.

Rules of this file:

1. A verifier of MCP can only say yes or no, and no means 401. What it found out is kept beside the request, and the middleware puts the
   right answer in the place of the 401: 503 where nobody can know, 403 for a missing scope, 400 for two tokens.
2. Without the middleware nobody gets in who should not. "Nobody can know" is then an exception and a 500, which keeps a good token alive.
3. The middleware replaces refusals of bearer tokens, and nothing else; a public route is served whatever its request carries.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from keyturn.errors import ConfigurationError, InvalidRequestError, KeysUnavailableError, KeyturnError, quoted
from keyturn.integrations._bearer import token_of
from keyturn.integrations._guard import BearerGuard, Judge
from keyturn.integrations._paths import below
from keyturn.integrations._sending import Application, Receive, Scope, Send, send_answer
from keyturn.validated_token import ValidatedToken

_REFUSALS = frozenset({401, 403})
_DEFAULT_PORTS = {"https": 443, "http": 80}


@dataclass
class Judgement:
    """What was found out about one request.

    Attributes:
        error: Why it may not pass; None as long as nothing speaks against it.
    """

    error: KeyturnError | None = None

    def note(self, error: KeyturnError) -> None:
        """Keep *error*; of several verifiers the one that cannot know decides, because the token may be its own."""
        if not isinstance(self.error, KeysUnavailableError):
            self.error = error


_judgement: ContextVar[Judgement | None] = ContextVar("keyturn_mcp_judgement", default=None)


async def judge(guard: BearerGuard, token: str) -> ValidatedToken | None:
    """Return what *token* is to *guard*; None if it is refused.

    Raises:
        KeysUnavailableError: Nobody can know, and no `BearerAnswers` is there to say so.
    """
    judgement = _judgement.get()
    if judgement is not None and isinstance(judgement.error, InvalidRequestError):
        # There were several tokens, and a verifier is handed the first alone.
        return None
    try:
        return await guard.check_async([f"Bearer {token}"])
    except KeyturnError as error:
        if judgement is not None:
            judgement.note(error)
        elif isinstance(error, KeysUnavailableError):
            raise
    return None


def access(token: ValidatedToken, guard: BearerGuard, text: str) -> dict[str, Any]:
    """Return the fields of an `AccessToken` of the SDK.

    Args:
        token: What was validated.
        guard: Whose `resource` is looked for among the audiences (RFC 8707, section 2).
        text: The token as it was sent.
    """
    return {
        "token": text,
        "client_id": client_of(token),
        "scopes": sorted(token.scopes),
        "expires_at": int(token.expires_at),
        "resource": next((name for name in token.audience if guard.resource is not None and _same_url(name, guard.resource)), None),
        "subject": token.subject,
        "claims": dict(token.claims),
        "validated": token,
    }


def client_of(token: ValidatedToken) -> str:
    """Return the client, which must not be missing in MCP: as the dialect reads it, else `appid`, else `cid`, else the subject."""
    named = (token.client_id, token.claims.get("appid"), token.claims.get("cid"), token.subject)
    return next((name for name in named if isinstance(name, str) and name), "")


class BearerAnswers:
    """Puts the answers of a guard in the place of the refusals of the MCP SDK and of FastMCP. An ASGI middleware.

    Add it to the finished application, `app.add_middleware(BearerAnswers, guard=guard)`, so that it stands outside of the authentication.

    Args:
        app: The application behind.
        guard: The guard of its verifier; a validator or router alone will do.
        readiness_path: Path that tells whether tokens can be judged, without a token; None for no such path.
        keep_fresh: Whether the keys are read when the application starts, and kept fresh while it runs. Where the application is mounted
            in another one the lifespan is that one's, and `guard.running()` belongs there.

    Raises:
        ConfigurationError: The path is none.
    """

    def __init__(self, app: Any, guard: BearerGuard | Judge, *, readiness_path: str | None = None, keep_fresh: bool = True) -> None:
        self.app: Application = app
        self.guard = BearerGuard.of(guard)
        if readiness_path is not None and not readiness_path.startswith("/"):
            raise ConfigurationError(f'readiness_path is {quoted(readiness_path)}, expected a path such as "/ready" (setting: readiness_path)')
        self._readiness_path = readiness_path
        self._keep_fresh = keep_fresh

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan" and self._keep_fresh:
            async with self.guard.running():
                await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if below(scope["path"], scope.get("root_path", "")) == self._readiness_path:
            await send_answer(send, self.guard.readiness())
            return
        judgement = Judgement(_fault_of(scope))
        mark = _judgement.set(judgement)
        try:
            await self.app(scope, receive, self._corrected(send, judgement))
        finally:
            _judgement.reset(mark)

    def _corrected(self, send: Send, judgement: Judgement) -> Send:
        replaced = False

        async def corrected(message: MutableMapping[str, Any]) -> None:
            nonlocal replaced
            if judgement.error is not None and _is_refusal(message):
                replaced = True
                await send_answer(send, self.guard.answer(judgement.error))
            elif not replaced:
                await send(message)

        return corrected


def _fault_of(scope: Scope) -> KeyturnError | None:
    try:
        token_of([value for name, value in scope["headers"] if name.lower() == b"authorization"], scope.get("query_string", b""))
    except KeyturnError as error:
        return error
    return None


def _is_refusal(message: MutableMapping[str, Any]) -> bool:
    return (
        message["type"] == "http.response.start"
        and message["status"] in _REFUSALS
        and any(name.lower() == b"www-authenticate" and value.lower().startswith(b"bearer") for name, value in message["headers"])
    )


def _same_url(one: str, other: str) -> bool:
    """Compare as URLs: case of scheme and host, the port that goes without saying, and a slash at the end make no difference."""
    return _normal(one) == _normal(other)


def _normal(url: str) -> tuple[object, ...]:
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return (url,)
    return parts.scheme, parts.hostname, port, parts.path.removesuffix("/"), parts.query, parts.fragment
