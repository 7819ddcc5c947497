"""The interceptors of gRPC, on both kinds of server."""

from __future__ import annotations

import json

import pytest
from tests.web.conformance import REALM, Case, Kind, World, bearer, challenge_of, check, table
from tests.web.mcp.grpc_subject import OverGrpc, Threaded, on_asyncio, threaded

from keyturn import ConfigurationError
from keyturn.integrations import Needs
from keyturn.integrations.grpc import AsyncBearerInterceptor, BearerInterceptor, current_token

WITHOUT = {
    "optional": "a method needs a token or none at all",
    "readiness": "the health service of gRPC has a protocol of its own",
    "websocket": "gRPC has no WebSockets",
}
SERVERS = {"gRPC, threads": threaded, "gRPC, asyncio": on_asyncio}
KINDS = [Kind(name, make, challenge=False, without=WITHOUT) for name, make in SERVERS.items()]


@pytest.mark.parametrize(("kind", "case"), table(KINDS))
def test_table(kind: Kind, case: Case) -> None:
    """The table of cases."""
    check(kind, case)


@pytest.mark.parametrize("make", SERVERS.values(), ids=SERVERS)
class TestCalls:
    """What is gRPC's own."""

    @pytest.mark.parametrize("method", ["one_many", "many_one", "many_many"])
    def test_streams(self, make, method: str) -> None:
        """Calls with streams are judged as others are, and their handlers find the token for as long as they run."""
        world = World()
        with make(world.guard()) as subject:
            said = subject.collect(method, bearer(world.issuer.token()))
            assert [{"subject": "alice", "key": "k1"}] * (1 if method == "many_one" else 2) == [json.loads(each) for each in said]
            refused = subject.collect(method, bearer(world.issuer.token(lifetime=-3600)))
            assert 401 == refused.status
            assert "invalid_token" == challenge_of(refused)["error"]

    def test_a_retry_waits_for_the_issuer(self, make) -> None:
        """Where nobody can know the server says when to try again, in the field that retrying clients obey, and no challenge."""
        world = World()
        with make(world.guard()) as subject, world.issuer.down(document="both", retry_after=20):
            reply = subject.get("/me", bearer(world.issuer.token()))
        assert (503, ["20000"], ["20"]) == (reply.status, reply.values("grpc-retry-pushback-ms"), reply.values("retry-after"))
        assert [] == reply.values("www-authenticate")
        assert b"The token cannot be judged at the moment" == reply.body

    def test_the_challenge_goes_along(self, make) -> None:
        """A refusal says in trailing metadata what `WWW-Authenticate` says in HTTP, and retrying clients are told nothing."""
        world = World()
        with make(world.guard()) as subject:
            reply = subject.get("/orders", bearer(world.issuer.token()))
        challenge = challenge_of(reply)
        assert (403, REALM, "insufficient_scope", "orders:read") == (reply.status, challenge["realm"], challenge["error"], challenge["scope"])
        assert [] == reply.values("grpc-retry-pushback-ms")

    def test_a_public_method(self, make) -> None:
        """A public method is served whatever its metadata, and costs no fetch."""
        world = World()
        with make(world.guard()) as subject:
            assert 200 == subject.get("/ready", bearer("nonsense")).status
        world.issuer.fetches.expect(discovery=0, jwks=0)

    def test_an_unknown_method(self, make) -> None:
        """A method that nobody serves stays unknown, and costs no fetch."""
        world = World()
        with make(world.guard()) as subject:
            assert 404 == subject.get("/nothing", bearer(world.issuer.token())).status
        world.issuer.fetches.expect(discovery=0, jwks=0)

    def test_calls_have_tokens_of_their_own(self, make) -> None:
        """A thread or a loop that serves one call after the other keeps no token of the one before."""
        world = World()
        with make(world.guard()) as subject:
            keeps_no_token(subject, world)


def keeps_no_token(subject: OverGrpc, world: World) -> None:
    """Check calls that follow each other, public ones between them."""
    for name in ("bob", "carol", "dave", "eve"):
        assert name == subject.get("/me", bearer(world.issuer.token(subject=name))).json()["subject"]
        assert b"nobody" == subject.get("/ready", bearer(world.issuer.token(subject=name))).body


@pytest.mark.parametrize("method", ["one_many", "many_one", "many_many"])
def test_handlers_on_threads_of_an_asyncio_server(method: str) -> None:
    """A handler that is no coroutine runs on a thread of the server, and finds its token there, too, and no other one's."""
    world = World()
    with on_asyncio(world.guard(), Threaded()) as subject:
        keeps_no_token(subject, world)
        said = subject.collect(method, bearer(world.issuer.token()))
        assert [{"subject": "alice", "key": "k1"}] * (1 if method == "many_one" else 2) == [json.loads(each) for each in said]


def test_no_token_outside_of_a_call() -> None:
    """Whoever asks where nothing was judged is told so, and gets no empty token."""
    with pytest.raises(LookupError, match="no interceptor of keyturn"):
        current_token()


@pytest.mark.parametrize("interceptor", [BearerInterceptor, AsyncBearerInterceptor])
def test_settings_are_judged_at_once(interceptor) -> None:
    """A rule that is none is found when the server is built."""
    with pytest.raises(ConfigurationError, match="rules name"):
        interceptor(World().guard(), rules={"orders.Orders": Needs()})
    with pytest.raises(ConfigurationError, match="validator is"):
        interceptor("https://login.example.com")
