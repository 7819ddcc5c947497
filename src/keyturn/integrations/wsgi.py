"""Bearer tokens for any WSGI application: a middleware that judges before the application is asked.

Rules of this file:

1. The application finds the token in `environ["keyturn.token"]` and its subject in `REMOTE_USER`; on a public path there is no token.
2. What a server or another middleware wrote there before does not survive a judgement.
3. A server joins repeated header fields with a comma; the guard takes that for what it is, two tokens (400).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from keyturn.errors import KeyturnError
from keyturn.integrations._bearer import Answer, Needs
from keyturn.integrations._guard import BearerGuard, Judge
from keyturn.integrations._own_routes import OwnRoutes
from keyturn.integrations._paths import PathRules
from keyturn.validated_token import ValidatedToken

__all__ = ["TOKEN", "BearerMiddleware"]

TOKEN = "keyturn.token"  # noqa: S105 - a name
"""Name of the `ValidatedToken` in the environ."""

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


class BearerMiddleware:
    """Lets requests with a good token pass to *app*, and answers all others itself.

    Where the guard has a `resource`, its metadata is served as well (RFC 9728). Put the middleware of CORS outside of this one,
    because a preflight request carries no token.

    Args:
        app: The application behind.
        guard: Judges requests; a validator or router alone will do.
        rules: What paths need, by their beginning: `{"/orders": Needs(scopes="orders:read"), "/health": None}`. None means no token.
            The longest one wins; what no rule names needs a good token.
        readiness_path: Path that tells whether tokens can be judged, without a token; None for no such path.

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
    ) -> None:
        self.app: Application = app
        self.guard = BearerGuard.of(guard)
        self._rules = PathRules(rules or {})
        self._own = OwnRoutes(self.guard, readiness_path)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        path = _text(environ.get("PATH_INFO", ""))
        if (own := self._own.answer(path, _text(environ.get("SCRIPT_NAME", "")) + path)) is not None:
            return _send(own, environ, start_response)
        needs, token = self._rules.needs(path, _raw_path(environ)), None
        if needs is not None:
            try:
                token = self._judge(environ, needs)
            except KeyturnError as error:
                return _send(self.guard.answer(error, needs), environ, start_response)
        _hand_over(environ, token)
        return self.app(environ, start_response)

    def _judge(self, environ: Environ, needs: Needs) -> ValidatedToken:
        value = environ.get("HTTP_AUTHORIZATION")
        return self.guard.check([] if value is None else [value], needs, query=environ.get("QUERY_STRING", ""))


def _hand_over(environ: Environ, token: ValidatedToken | None) -> None:
    environ.pop(TOKEN, None)
    if token is None:
        return
    environ[TOKEN] = token
    environ["AUTH_TYPE"] = "Bearer"
    environ.pop("REMOTE_USER", None)
    # An application that trusts REMOTE_USER must not take a token without a subject for a user without a name.
    if token.subject:
        environ["REMOTE_USER"] = token.subject


def _send(answer: Answer, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    body = json.dumps(answer.body).encode()
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body)), **answer.headers}
    start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", list(fields.items()))
    # Some servers send what they are given, and an answer to HEAD has no body.
    return [] if environ.get("REQUEST_METHOD") == "HEAD" else [body]


def _text(native: str) -> str:
    """Return a path of the environ as text: its characters stand for bytes (PEP 3333, "Unicode Issues")."""
    return native.encode("latin-1", "replace").decode("utf-8", "replace")


def _raw_path(environ: Environ) -> bytes:
    """Return the path as it was sent, where the server tells: gunicorn's and Werkzeug's name, or that of uWSGI and mod_wsgi."""
    raw = environ.get("RAW_URI") or environ.get("REQUEST_URI") or ""
    return str(raw).partition("?")[0].encode("latin-1", "replace")
