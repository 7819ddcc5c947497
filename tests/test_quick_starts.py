"""The applications of README.md answer as they should, whoever serves them.

They run on stand-ins for FastAPI and Flask that know just what the snippets use, so that neither has to be installed. Each snippet
meets the same cases, in this order: one fake issuer, one virtual clock.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest
from tests.test_docs import snippet

from keyturn import InsufficientScopeError, TokenValidator
from keyturn.testing import FakeClock, FakeIssuer


class Reply(NamedTuple):
    """What a client sees."""

    status: int
    body: Any
    headers: dict[str, str]


Client = Callable[[dict[str, str]], Reply]
"""Sends a request for /orders with these header fields."""


class HTTPException(Exception):  # noqa: N818 - FastAPI calls it so.
    """A refusal of the application's own."""

    def __init__(self, status_code: int, detail: str, headers: dict[str, str]) -> None:
        self.reply = Reply(status_code, {"detail": detail}, headers)


class Application:
    """Remembers what it is given under each decorator, as both frameworks do."""

    def __init__(self, _name: str = "") -> None:
        self.routes: dict[str, Any] = {}
        self.handlers: dict[type, Any] = {}
        self.before: list[Any] = []

    def get(self, path: str) -> Callable[[Any], Any]:
        return lambda function: self.routes.setdefault(path, function)

    def errorhandler(self, kind: type) -> Callable[[Any], Any]:
        return lambda function: self.handlers.setdefault(kind, function)

    exception_handler = errorhandler

    def before_request(self, function: Any) -> Any:
        self.before.append(function)
        return function

    def handler_of(self, error: Exception) -> Any:
        return next(self.handlers[kind] for kind in type(error).__mro__ if kind in self.handlers)


def module(name: str, **members: Any) -> ModuleType:
    """Return a module with these members."""
    made = ModuleType(name)
    vars(made).update(members)
    return made


def fastapi_modules() -> dict[str, ModuleType]:
    """Return stand-ins for FastAPI, as far as the snippet uses it."""
    depends = lambda function: SimpleNamespace(function=function)  # noqa: E731 - a class would say less
    response = lambda content, status_code, headers: Reply(status_code, content, headers)  # noqa: E731
    api = module("fastapi", FastAPI=Application, Depends=depends, HTTPException=HTTPException, Request=SimpleNamespace)
    return {"fastapi": api, "fastapi.responses": module("fastapi.responses", JSONResponse=response)}


def fastapi_client(names: dict[str, Any]) -> Client:
    """Return a client of the FastAPI snippet."""
    app = names["app"]

    async def serve(headers: dict[str, str]) -> Reply:
        request = SimpleNamespace(headers=headers)
        route = app.routes["/orders"]
        needed = {name: parameter.default.function for name, parameter in inspect.signature(route).parameters.items()}
        try:
            return Reply(200, await route(**{name: await function(request) for name, function in needed.items()}), {})
        except HTTPException as refused:
            return refused.reply
        except Exception as error:
            reply: Reply = await app.handler_of(error)(request, error)
            return reply

    return lambda headers: asyncio.run(serve(headers))


def flask_modules() -> dict[str, ModuleType]:
    """Return a stand-in for Flask, as far as the snippet uses it."""
    return {"flask": module("flask", Flask=Application, g=SimpleNamespace(), jsonify=dict, request=SimpleNamespace(headers={}))}


def flask_client(names: dict[str, Any]) -> Client:
    """Return a client of the Flask snippet."""
    app = names["app"]

    def serve(headers: dict[str, str]) -> Reply:
        names["request"].headers = headers
        try:
            answers = (function() for function in (*app.before, app.routes["/orders"]))
            answer = next(answer for answer in answers if answer is not None)
        except Exception as error:
            answer = app.handler_of(error)(error)
        body, status, fields = answer if isinstance(answer, tuple) else (answer, 200, {})
        return Reply(status, body, fields)

    return serve


FRAMEWORKS = {"fastapi": (fastapi_modules, fastapi_client), "flask": (flask_modules, flask_client)}


@pytest.fixture(params=FRAMEWORKS)
def names(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The namespace of one snippet that ran."""
    modules, client = FRAMEWORKS[request.param]
    for name, stand_in in modules().items():
        monkeypatch.setitem(sys.modules, name, stand_in)
    names: dict[str, Any] = {"__name__": "app"}
    exec(compile(snippet(request.param), request.param, "exec", dont_inherit=True), names)
    names["client"] = client(names)
    return names


@pytest.fixture
def issuer(names: dict[str, Any]) -> FakeIssuer:
    """The issuer that the snippet's validator reads."""
    clock = FakeClock()
    issuer = FakeIssuer("https://login.example.com", clock=clock, audience="api://orders")
    assert {issuer.issuer} == names["validator"].issuers
    names["validator"] = TokenValidator(issuer.issuer, audience="api://orders", clock=clock, fetcher=issuer.fetcher())
    return issuer


def send(names: dict[str, Any], token: str, scheme: str = "Bearer") -> Reply:
    """Send a request with a token."""
    reply: Reply = names["client"]({"Authorization": f"{scheme} {token}"})
    return reply


def test_a_good_token_is_served(names: dict[str, Any], issuer: FakeIssuer) -> None:
    """The handler gets what was validated; the scheme's name is read without regard to case (RFC 9110, section 11.1)."""
    assert Reply(200, {"for": "alice"}, {}) == send(names, issuer.token(subject="alice"))
    assert Reply(200, {"for": "alice"}, {}) == send(names, issuer.token(subject="alice"), "bearer")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic YWxpY2U6"}])
def test_no_token_is_asked_for_one(names: dict[str, Any], issuer: FakeIssuer, headers: dict[str, str]) -> None:
    """A request without a token is told the scheme, and no error code (RFC 6750, section 3.1)."""
    reply = names["client"](headers)
    assert (401, "Bearer") == (reply.status, reply.headers["WWW-Authenticate"])


def test_a_bad_token_is_refused(names: dict[str, Any], issuer: FakeIssuer) -> None:
    """A token that is at fault gets 401 with its error code (RFC 6750, section 3.1)."""
    headers = {"Cache-Control": "no-store", "WWW-Authenticate": 'Bearer error="invalid_token"'}
    assert Reply(401, {"error": "expired_token"}, headers) == send(names, issuer.token(lifetime=-3600))
    assert Reply(401, {"error": "malformed_token"}, headers) == send(names, "")


def test_an_outage_is_never_told_as_a_bad_token(names: dict[str, Any], issuer: FakeIssuer) -> None:
    """Where nobody can know the answer is 503, with when to ask again, and without a challenge."""
    with issuer.down(document="both", retry_after=20):
        assert Reply(503, {"error": "fetch_failed"}, {"Cache-Control": "no-store", "Retry-After": "20"}) == send(names, issuer.token())


def test_a_spent_allowance_says_when_to_ask_again(names: dict[str, Any], issuer: FakeIssuer) -> None:
    """An unknown key that may not be asked for now is a 401 with Retry-After (R5)."""
    send(names, issuer.token())
    first, second = (send(names, issuer.forge(key=f"made-up-{number}")) for number in range(2))
    assert (401, None) == (first.status, first.headers.get("Retry-After"))
    assert (401, "300") == (second.status, second.headers.get("Retry-After"))


def test_a_missing_scope_is_forbidden(names: dict[str, Any], issuer: FakeIssuer) -> None:
    """A good token that lacks a scope gets 403 (RFC 6750, section 3.1)."""

    class Strict(TokenValidator):
        def validate(self, token: str, *, nonce: str | None = None) -> Any:
            raise InsufficientScopeError("the scope orders:read is needed")

        async def validate_async(self, token: str, *, nonce: str | None = None) -> Any:
            return self.validate(token)

    names["validator"] = Strict(issuer.issuer, audience="api://orders")
    headers = {"Cache-Control": "no-store", "WWW-Authenticate": 'Bearer error="insufficient_scope"'}
    assert Reply(403, {"error": "insufficient_scope"}, headers) == send(names, issuer.token())
