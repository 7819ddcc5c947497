"""What the ASGI middleware does beside the table: its own paths, what it leaves alone, and WebSockets of browsers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import trio
from tests.web.asgi.serving import Served, by_uvicorn
from tests.web.conformance import Headers, Reply, World, bearer, challenge_of

from keyturn import ConfigurationError
from keyturn.integrations import Needs
from keyturn.integrations.asgi import BearerMiddleware, WebSocketOptions

Messages = list[dict[str, Any]]
APP = "https://app.example.com"


class Recorder:
    """An application that remembers what it was asked, and answers with nothing."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})


def http(path: str, headers: Headers = (), **more: Any) -> dict[str, Any]:  # type: ignore[assignment]
    """Return the scope of a request."""
    raw = [(name.lower().encode(), value.encode("utf-8", "replace")) for name, value in headers]
    return {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": raw, **more}


def websocket(headers: Headers = (), subprotocols: list[str] | None = None, **more: Any) -> dict[str, Any]:  # type: ignore[assignment]
    """Return the scope of a WebSocket, whose server offers no HTTP answer."""
    named = [("Sec-WebSocket-Protocol", ", ".join(subprotocols))] if subprotocols else []
    return {**http("/ws", [*headers, *named]), "type": "websocket", "subprotocols": subprotocols or [], **more}


def sent(app: Any, scope: dict[str, Any], run: Callable[..., Any] = asyncio.run, messages: Messages | None = None) -> Messages:
    """Return what *app* sends on a connection of *scope*."""
    coming = iter(messages or [{"type": f"{scope['type']}.connect"}])
    answers: Messages = []

    async def receive() -> Any:
        return next(coming)

    async def send(message: Any) -> None:
        answers.append(message)

    async def work() -> None:
        await app(scope, receive, send)

    run(work() if run is asyncio.run else work)
    return answers


def status(app: Any, scope: dict[str, Any]) -> int:
    """Return the status of an answer."""
    return int(sent(app, scope)[0]["status"])


@pytest.mark.parametrize("kind", ["lifespan", "something.new"])
def test_other_scopes_pass_untouched(kind: str) -> None:
    """What is neither a request nor a WebSocket is the application's own, the very same object."""
    inner, scope = Recorder(), {"type": kind}
    sent(BearerMiddleware(inner, World().guard()), scope)
    assert inner.scopes[0] is scope


def test_the_server_s_scope_is_left_alone() -> None:
    """The token is put into a copy, beside the state of the lifespan."""
    world, inner = World(), Recorder()
    scope = http("/", bearer(world.issuer.token()), state={"pool": 1})
    sent(BearerMiddleware(inner, world.guard()), scope)
    assert {"pool": 1} == scope["state"]
    assert "user" not in scope
    assert {"pool": 1, "token": inner.scopes[0]["user"]} == inner.scopes[0]["state"]


def test_it_runs_on_trio() -> None:
    """Nothing in it needs asyncio."""
    world = World()
    app = BearerMiddleware(Recorder(), world.guard())
    assert 204 == sent(app, http("/", bearer(world.issuer.token())), trio.run)[0]["status"]


def test_public_paths_need_no_token_and_find_none() -> None:
    """A bad token there harms nobody, and a good one is not read: it was not asked for."""
    world, inner = World(), Recorder()
    app = BearerMiddleware(inner, world.guard(), rules={"/health": None})
    for headers in ([], bearer("junk"), bearer(world.issuer.token())):
        assert 204 == status(app, http("/health", headers))
        assert "user" not in inner.scopes[-1]
    assert 401 == status(app, http("/healthz"))
    assert 401 == status(app, http("/health/../orders"))


def test_an_encoded_slash_opens_no_public_path() -> None:
    """The server decodes `%2F`, the raw path tells (the application behind may route by either)."""
    app = BearerMiddleware(Recorder(), World().guard(), rules={"/health": None})
    assert 401 == status(app, http("/health/x", raw_path=b"/health%2Fx"))
    assert 204 == status(app, http("/health/x", raw_path=None))


@pytest.mark.parametrize(("path", "root"), [("orders", ""), ("x:/orders", ""), ("/v1orders", "/v1"), ("/health/v1/orders", "/v1"), ("/%6frders", "")])
def test_a_path_that_frameworks_read_differently_is_not_public(path: str, root: str) -> None:
    """Servers hand such paths on, and some frameworks route them to `/orders`."""
    world = World()
    app = BearerMiddleware(Recorder(), world.guard(), rules={"/": None, "/orders": Needs("orders:read")})
    assert 401 == status(app, http(path, root_path=root))
    assert 403 == status(app, http(path, bearer(world.issuer.token()), root_path=root))
    assert 204 == status(app, http(path, bearer(world.issuer.token(scopes="orders:read")), root_path=root))


def test_rules_count_from_where_the_application_is_mounted() -> None:
    """Below a mount point the application's own root counts (`root_path`)."""
    world = World()
    app = BearerMiddleware(Recorder(), world.guard(), rules={"/orders": Needs("orders:read")}, readiness_path="/ready")
    token = bearer(world.issuer.token())
    assert 403 == status(app, http("/v1/orders", token, root_path="/v1"))
    assert 204 == status(app, http("/v1/other", token, root_path="/v1"))
    assert 200 == status(app, http("/v1/ready", root_path="/v1"))


def test_metadata_is_served_where_refusals_point() -> None:
    """With a resource the document stands at the place that the challenge names, without a token, wherever the application is mounted."""
    guard = World().guard(resource="https://api.example.com/v1")
    app = BearerMiddleware(Recorder(), guard)
    path = "/.well-known/oauth-protected-resource/v1"
    for scope in (http(path), http(path, root_path="/v1"), http("/v1" + path, root_path="/v1")):
        start, body = sent(app, scope)
        assert (200, b"application/json") == (start["status"], dict(start["headers"])[b"content-type"])
        assert b'"resource": "https://api.example.com/v1"' in body["body"]
    assert 401 == status(app, http(path + "/x"))
    escaped = BearerMiddleware(Recorder(), World().guard(resource="https://api.example.com/a%20b"))
    assert 200 == status(escaped, http("/.well-known/oauth-protected-resource/a b"))
    assert 401 == status(BearerMiddleware(Recorder(), World().guard()), http(path))


@pytest.mark.parametrize(
    "settings", [{"readiness_path": "ready"}, {"readiness_path": ""}, {"rules": {"orders": None}}, {"rules": {"/orders": "orders:read"}}]
)
def test_bad_settings(settings: dict[str, Any]) -> None:
    """They are found when the application is built."""
    with pytest.raises(ConfigurationError):
        BearerMiddleware(Recorder(), World().guard(), **settings)


# WebSockets.


@pytest.mark.parametrize("down", [False, True])
def test_without_the_extension_a_refusal_is_a_close(down: bool) -> None:
    """1008 for a refusal, 1013 where nobody can know, with the code as reason and nothing of the token."""
    world = World()
    app = BearerMiddleware(Recorder(), world.guard())
    if down:
        with world.issuer.down(document="both"):
            answers = sent(app, websocket(bearer(world.issuer.token())))
        assert [{"type": "websocket.close", "code": 1013, "reason": "temporarily_unavailable"}] == answers
    else:
        answers = sent(app, websocket(bearer(world.issuer.token(lifetime=-3600))))
        assert [{"type": "websocket.close", "code": 1008, "reason": "invalid_token"}] == answers


def test_a_client_that_left_is_not_answered() -> None:
    """Whoever is gone before the answer gets none."""
    assert [] == sent(BearerMiddleware(Recorder(), World().guard()), websocket(), messages=[{"type": "websocket.disconnect"}])


def test_ways_of_browsers_are_off() -> None:
    """Neither a subprotocol nor a cookie nor the query string counts unless it is switched on; the query string never does."""
    world = World()
    token = world.issuer.token()
    app = BearerMiddleware(Recorder(), world.guard())
    for scope in (
        websocket(subprotocols=[f"bearer.{token}"]),
        websocket([("Cookie", f"token={token}"), ("Origin", APP)]),
        websocket(query_string=f"access_token={token}".encode()),
    ):
        assert "missing_token" == sent(app, scope)[0]["reason"]


def options(world: World, inner: Any = None, **settings: Any) -> BearerMiddleware:
    """Return a middleware with these options for WebSockets."""
    return BearerMiddleware(inner or Recorder(), world.guard(), websockets=WebSocketOptions(**settings), clock=world.clock)


def test_a_subprotocol_is_never_seen_behind() -> None:
    """The entry with the token lets the connection in, and is gone from the list and from the field before the application chooses."""
    world, inner = World(), Recorder()
    token = world.issuer.token()
    app = options(world, inner, subprotocol="bearer.")
    assert [] == sent(app, websocket(subprotocols=["chat", f"bearer.{token}", "v2"]))
    (scope,) = inner.scopes
    assert "alice" == scope["user"].subject
    assert ["chat", "v2"] == scope["subprotocols"]
    assert [b"chat, v2"] == [value for name, value in scope["headers"] if name == b"sec-websocket-protocol"]
    assert token not in repr({name: value for name, value in scope.items() if name != "user"})


def test_a_subprotocol_alone_leaves_none_behind() -> None:
    """Where nothing else is offered, the field is gone; on a public path the token is taken out as well."""
    world, inner = World(), Recorder()
    app = BearerMiddleware(inner, world.guard(), rules={"/ws": None}, websockets=WebSocketOptions(subprotocol="bearer."))
    sent(app, websocket(subprotocols=[f"bearer.{world.issuer.token()}"]))
    assert ([], []) == (inner.scopes[0]["subprotocols"], inner.scopes[0]["headers"])


@pytest.mark.parametrize("headers", [[], [("Authorization", "Bearer other")]])
def test_two_tokens_are_not_one(headers: Headers) -> None:
    """Two entries, or one beside a header, are no request that can be judged."""
    world = World()
    token = world.issuer.token()
    offered = [f"bearer.{token}"] if headers else [f"bearer.{token}", f"bearer.{token}"]
    assert "invalid_request" == sent(options(world, subprotocol="bearer."), websocket(headers, offered))[0]["reason"]


def test_an_empty_entry_is_no_token() -> None:
    """The beginning without a token behind it cannot be judged."""
    world = World()
    assert "invalid_request" == sent(options(world, subprotocol="bearer."), websocket(subprotocols=["bearer."]))[0]["reason"]


def test_a_cookie_counts_from_a_listed_origin_alone() -> None:
    """Any page of the world can open a WebSocket with the visitor's cookies: one listed origin, sent once, is needed."""
    world = World()
    app = options(world, cookie="token", origins=[APP])
    cookie = ("Cookie", f"a=b; token={world.issuer.token()}")
    assert [] == sent(app, websocket([cookie, ("Origin", APP)]))
    for origins in ([], ["https://evil.example.com"], [APP + ".evil.com"], [APP.upper()], ["null"], [APP, "https://evil.example.com"]):
        assert "missing_token" == sent(app, websocket([cookie, *[("Origin", origin) for origin in origins]]))[0]["reason"], origins


def test_a_cookie_closes_no_public_path() -> None:
    """Where no token is needed the visitor's cookie is not read, wherever the page is from."""
    world, inner = World(), Recorder()
    ways = WebSocketOptions(cookie="token", origins=[APP])
    app = BearerMiddleware(inner, world.guard(), rules={"/ws": None}, websockets=ways)
    assert [] == sent(app, websocket([("Cookie", "token=x"), ("Origin", "https://evil.example.com")]))
    assert 1 == len(inner.scopes)


@pytest.mark.parametrize("entry", ["bearer.\u1234", "bearer.\udcff"])
def test_an_entry_that_no_header_can_hold_is_malformed(entry: str) -> None:
    """However a server decodes the field, junk in it is refused, and is no error of the service."""
    assert "invalid_token" == sent(options(World(), subprotocol="bearer."), websocket(subprotocols=["\u1234", entry]))[0]["reason"]


def test_two_cookies_are_not_one() -> None:
    """A cookie that is there twice may have been planted from a neighbouring host."""
    world = World()
    app, token = options(world, cookie="token", origins=[APP]), world.issuer.token()
    for headers in ([("Cookie", f"token={token}; token={token}")], [("Cookie", f"token={token}"), ("Cookie", "token=x")]):
        assert "invalid_request" == sent(app, websocket([*headers, ("Origin", APP)]))[0]["reason"]


def test_a_header_is_taken_before_a_cookie() -> None:
    """A browser sends its cookies whether a page wants it or not, so what was sent on purpose counts alone."""
    world, inner = World(), Recorder()
    app = options(world, inner, cookie="token", origins=[APP])
    cookie = [("Cookie", f"token={world.issuer.token(subject='bob')}")]
    assert [] == sent(app, websocket([*bearer(world.issuer.token()), *cookie]))
    assert "alice" == inner.scopes[0]["user"].subject


def test_a_request_has_no_such_ways() -> None:
    """The options are for WebSockets; a request with a cookie has no token."""
    world = World()
    app = options(world, cookie="token", origins=[APP])
    assert 401 == status(app, http("/", [("Cookie", f"token={world.issuer.token()}"), ("Origin", APP)]))


@pytest.mark.parametrize(
    "settings",
    [
        {"cookie": "token"},
        {"origins": [APP]},
        {"cookie": "token", "origins": APP},
        {"cookie": "token", "origins": ["app.example.com"]},
        {"cookie": "token", "origins": [APP + "/"]},
        {"cookie": "token", "origins": ["*"]},
        {"cookie": "a b", "origins": [APP]},
        {"cookie": "", "origins": [APP]},
        {"subprotocol": ""},
        {"subprotocol": "bearer "},
        {"subprotocol": "a,b"},
    ],
)
def test_bad_options(settings: dict[str, Any]) -> None:
    """A cookie without origins would let any page in; names must fit into their fields."""
    with pytest.raises(ConfigurationError):
        WebSocketOptions(**settings)


class Waiting:
    """An application that accepts, waits for a message that never comes, and tells whether it was cancelled."""

    def __init__(self, wait: Callable[[], Any]) -> None:
        self.wait = wait
        self.ended = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        try:
            await self.wait()
        except BaseException:
            self.ended = "cancelled"
            raise


@pytest.mark.parametrize(("run", "wait"), [(asyncio.run, lambda: asyncio.Event().wait()), (trio.run, trio.sleep_forever)], ids=["asyncio", "trio"])
def test_a_connection_ends_with_its_token(run: Callable[..., Any], wait: Callable[[], Any]) -> None:
    """At expiry the handler is cancelled and the connection closed with 1008, on both kinds of event loop."""
    world, inner = World(), Waiting(wait)
    app = options(world, inner, close_at_expiry=True)
    token = world.issuer.token(lifetime=10)
    world.warm()
    world.clock.advance(9.99)
    answers = sent(app, websocket(bearer(token)), run)
    assert [{"type": "websocket.accept"}, {"type": "websocket.close", "code": 1008, "reason": "expired_token"}] == answers
    assert "cancelled" == inner.ended


def test_a_connection_that_ended_is_not_closed_again() -> None:
    """An application that is done before its token expires says the last word, and so does one that closed and dawdles."""
    world = World()

    async def closing(scope: Any, receive: Any, send: Any) -> None:
        await send(last)
        if dawdling:
            await asyncio.Event().wait()

    for last in ({"type": "websocket.close", "code": 1000}, {"type": "websocket.http.response.start", "status": 404, "headers": []}):
        for dawdling in (False, True):
            app = options(world, closing, close_at_expiry=True)
            token = world.issuer.token(lifetime=-59 if dawdling else 3600)
            assert [last] == sent(app, websocket(bearer(token)))


def test_an_application_s_own_time_out_is_its_own() -> None:
    """A TimeoutError that the application raises is not taken for the end of its token."""
    world = World()

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        raise TimeoutError("of the application")

    with pytest.raises(TimeoutError, match="of the application"):
        sent(options(world, failing, close_at_expiry=True), websocket(bearer(world.issuer.token())))


def test_connections_outlive_their_token_unless_asked() -> None:
    """The option is off by default: an application that has no end is not cancelled."""
    world, inner = World(), Recorder()
    app = BearerMiddleware(inner, world.guard(), clock=world.clock)
    assert [] == sent(app, websocket(bearer(world.issuer.token(lifetime=-30))))
    assert 1 == len(inner.scopes)


async def chat(scope: Any, receive: Any, send: Any) -> None:
    """Accept the first subprotocol that is offered, say whose token came, and wait for the end."""
    await receive()
    await send({"type": "websocket.accept", "subprotocol": next(iter(scope["subprotocols"]), None)})
    await send({"type": "websocket.send", "text": scope["user"].subject})
    await receive()


def test_a_browser_on_a_real_server() -> None:
    """The token goes in as a subprotocol, another one comes back, and the connection ends with code 1008 (RFC 6455, section 4.2.2)."""
    world = World()
    app = options(world, chat, subprotocol="bearer.", close_at_expiry=True)
    token = world.issuer.token(lifetime=10)
    world.warm()
    with by_uvicorn(app, lifespan="off") as served:
        world.clock.advance(9.9)
        assert isinstance(served, Served)
        assert ["alice"] == served.connect("/ws", [], subprotocols=["bearer." + token, "chat"])
        assert "chat" == served.subprotocol
        assert (1008, "expired_token") == served.closed
        refused = served.connect("/ws", [], subprotocols=["chat"])
        assert isinstance(refused, Reply)
        assert (401, None) == (refused.status, challenge_of(refused).get("error"))
