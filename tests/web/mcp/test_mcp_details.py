"""What is MCP's own: verifiers without the middleware, what the access token says, and what the middleware leaves alone."""

from __future__ import annotations

import asyncio
import importlib
from types import ModuleType
from typing import Any

import pytest
from fastmcp.server.auth import MultiAuth
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from tests.web.conformance import World, bearer
from tests.web.mcp.test_fastmcp import application as fastmcp_application
from tests.web.mcp.test_mcp import application as mcp_application

from keyturn import ConfigurationError, IssuerRouter, KeysUnavailableError, TokenValidator
from keyturn.integrations import BearerGuard, any_of
from keyturn.integrations.fastmcp import KeyturnAuth
from keyturn.integrations.fastmcp import KeyturnVerifier as FastMcpVerifier
from keyturn.integrations.mcp import BearerAnswers, auth_settings
from keyturn.testing import FakeIssuer

URL = "https://mcp.example.com/mcp"


@pytest.fixture(params=["mcp", "fastmcp"])
def adapter(request: pytest.FixtureRequest) -> ModuleType:
    """Return each of the two adapters."""
    return importlib.import_module(f"keyturn.integrations.{request.param}")


def judged(adapter: ModuleType, guard: BearerGuard, token: str) -> Any:
    """Return what the adapter's verifier says, without the middleware."""
    return asyncio.run(adapter.KeyturnVerifier(guard).verify_token(token))


class TestVerifier:
    """A verifier alone, as somebody has it who did not add the middleware."""

    def test_refusals(self, adapter: ModuleType) -> None:
        """Nobody gets in: a bad token, a missing scope and a missing role are None, which is a 401."""
        world = World()
        assert judged(adapter, world.guard(), world.issuer.forge()) is None
        assert judged(adapter, world.guard(), f"{world.issuer.token()} x") is None
        assert judged(adapter, world.guard(scopes="orders:read"), world.issuer.token()) is None
        assert judged(adapter, world.guard(roles="admin"), world.issuer.token(scopes="admin")) is None

    def test_nobody_can_know(self, adapter: ModuleType) -> None:
        """What cannot be known is an exception, never a None: a 401 would cost the client its good token."""
        world = World()
        with world.issuer.down(document="both"), pytest.raises(KeysUnavailableError):
            judged(adapter, world.guard(), world.issuer.token())

    def test_what_is_granted(self, adapter: ModuleType) -> None:
        """The access token has what the SDK asks for, and the whole token besides."""
        world = World()
        text = world.issuer.token(scopes="b a", roles=["admin"], client_id="web")
        token = judged(adapter, world.guard(), text)
        assert (text, "web", ["a", "b"], "alice") == (token.token, token.client_id, token.scopes, token.subject)
        assert (world.issuer.issuer, token.validated.expires_at) == (token.claims["iss"], token.expires_at)
        assert {"admin"} == token.validated.roles

    @pytest.mark.parametrize(
        ("claims", "client"),
        [
            ({"client_id": "a", "azp": "b"}, "a"),
            ({"azp": "b", "appid": "c"}, "b"),
            ({"appid": "c", "cid": "d"}, "c"),
            ({"cid": "d"}, "d"),
            ({"cid": 1}, "alice"),
            ({"subject": None}, ""),
        ],
    )
    def test_the_client(self, adapter: ModuleType, claims: dict[str, Any], client: str) -> None:
        """The client is never missing, wherever its issuer writes it."""
        world = World()
        assert client == judged(adapter, world.guard(), world.issuer.token(**claims)).client_id

    @pytest.mark.parametrize(
        ("audience", "resource"),
        [
            (URL, URL),
            (["https://other.example.com", "https://MCP.example.com:443/mcp/"], "https://MCP.example.com:443/mcp/"),
            ("https://mcp.example.com/mcp/x", None),
            ("https://mcp.example.com:x/mcp", None),
            ("https://[mcp/mcp", None),
            ("http://mcp.example.com/mcp", None),
            ("api://orders", None),
        ],
    )
    def test_the_resource(self, adapter: ModuleType, audience: Any, resource: str | None) -> None:
        """The resource is the audience that names this server, compared as URLs (RFC 8707)."""
        issuer = FakeIssuer("https://login.example.com", audience=audience)
        names = [audience] if isinstance(audience, str) else audience
        guard = BearerGuard(TokenValidator(issuer.issuer, audience=names, fetcher=issuer.fetcher()), resource=URL)
        assert resource == judged(adapter, guard, issuer.token()).resource

    def test_it_is_fit_for_logs(self, adapter: ModuleType) -> None:
        """Whoever prints the access token shows neither the token nor a claim."""
        world = World()
        text = world.issuer.token(email="alice@example.com")
        shown = repr(judged(adapter, world.guard(), text))
        assert "example.com/" not in shown
        assert "alice@" not in shown
        assert text.split(".")[1] not in shown


class TestSettings:
    """What the SDK and FastMCP are told of the guard."""

    def test_the_sdk(self) -> None:
        """Issuer, resource and scopes come from the guard; the audience has been checked, so it is not compared with the URL."""
        settings = auth_settings(World().guard(resource=URL, scopes="b a"), service_documentation_url="https://docs.example.com")
        assert ("https://login.example.com", URL) == (str(settings.issuer_url), str(settings.resource_server_url))
        assert (["b", "a"], False) == (settings.required_scopes, settings.validate_token_resource)
        assert "https://docs.example.com" == str(settings.service_documentation_url)
        assert auth_settings(World().guard(resource=URL, scopes=any_of("a", "b"))).required_scopes is None

    def test_one_issuer_is_named(self) -> None:
        """The SDK names one issuer in its metadata, so which one has to be said."""
        one, other = World().validator(), TokenValidator("https://other.example.com", audience="a")
        router = IssuerRouter(one, other)
        with pytest.raises(ConfigurationError, match="setting: authorization_servers"):
            auth_settings(BearerGuard(router, resource=URL))
        named = BearerGuard(router, resource=URL, authorization_servers=["https://other.example.com"])
        assert "https://other.example.com" == str(auth_settings(named).issuer_url)

    @pytest.mark.parametrize("make", [auth_settings, KeyturnAuth])
    def test_a_resource_is_needed(self, make: Any) -> None:
        """Without the URL of the server there is no metadata to serve."""
        with pytest.raises(ConfigurationError, match="setting: resource"):
            make(World().guard())

    def test_fastmcp(self) -> None:
        """Every issuer is named, and scopes of which one is enough are asked for by the first, as the guard does."""
        router = IssuerRouter(World().validator(), TokenValidator("https://other.example.com", audience="a"))
        auth = KeyturnAuth(BearerGuard(router, resource=URL, scopes=any_of("a", "b"), supported_scopes=["c"]))
        assert ["https://login.example.com", "https://other.example.com"] == [str(name).rstrip("/") for name in auth.authorization_servers]
        assert (["a"], [], ["a", "c"]) == (auth.challenge_scopes, auth.required_scopes, auth.scopes_supported)

    def test_fastmcp_at_another_path(self) -> None:
        """A server at another path than the guard's URL is a mistake, found when the application is made."""
        with pytest.raises(ConfigurationError, match="setting: resource"):
            fastmcp_application(World().guard(resource="https://mcp.example.com/other"))

    @pytest.mark.parametrize("application", [mcp_application, fastmcp_application], ids=["mcp", "fastmcp"])
    def test_the_metadata_is_served(self, application: Any) -> None:
        """The document that refusals name is there, to scripts of other origins, too (RFC 9728)."""
        guard = World().guard(resource="https://mcp.example.com/a/mcp", scopes="orders:read") if application is fastmcp_application else None
        guard = guard or World().guard(resource=URL, scopes="orders:read")
        answer = TestClient(application(guard)).get(guard.metadata_path, headers={"Origin": "https://inspector.example.com"})
        document = answer.json()
        assert (200, "*") == (answer.status_code, answer.headers["access-control-allow-origin"])
        assert (guard.resource, ["orders:read"]) == (document["resource"], document["scopes_supported"])
        assert ["https://login.example.com"] == [name.rstrip("/") for name in document["authorization_servers"]]


class TestAnswers:
    """The middleware before other things than an MCP server."""

    def test_public_routes_stay_public(self) -> None:
        """A route without authentication is served whatever the request carries, and its own refusals are its own."""

        async def public(request: Request) -> PlainTextResponse:
            return PlainTextResponse("hello")

        async def refused(request: Request) -> JSONResponse:
            return JSONResponse({"own": True}, 401, {"WWW-Authenticate": "Basic"})

        app = Starlette(routes=[Route("/", public), Route("/refused", refused)])
        app.add_middleware(BearerAnswers, guard=World().guard())
        client = TestClient(app)
        assert "hello" == client.get("/", headers=bearer("nonsense") + bearer("nonsense")).text
        assert {"own": True} == client.get("/refused").json()

    def test_the_one_that_cannot_know_decides(self) -> None:
        """Of several verifiers one may have the token's keys and not know it now: the answer is 503, in either order."""
        unreachable, other = World(), FakeIssuer("https://other.example.com", audience="api://other")
        stranger = TokenValidator(other.issuer, audience="api://other", fetcher=other.fetcher())
        guards = [unreachable.guard(resource=URL), BearerGuard(stranger, resource=URL)]
        for order in (guards, guards[::-1]):
            with unreachable.issuer.down(document="both", retry_after=20):
                answer = TestClient(_several(order)).post("/mcp", headers=bearer(unreachable.issuer.token()))
            assert (503, "temporarily_unavailable") == (answer.status_code, answer.json()["error"])
            unreachable.clock.advance(3600)

    def test_the_lifespan_reads_the_keys(self) -> None:
        """The keys are there before the first request, and a start without the issuer goes on."""
        world = World()
        with TestClient(mcp_application(world.guard(resource=URL))):
            world.issuer.fetches.expect(discovery=1, jwks=1)
        unreachable = World()
        with unreachable.issuer.down(document="both"), TestClient(mcp_application(unreachable.guard(resource=URL))) as client:
            assert 503 == client.get("/ready").status_code

    def test_a_path_that_is_none(self) -> None:
        """A path for readiness that no request could have is told at once."""
        with pytest.raises(ConfigurationError, match="setting: readiness_path"):
            BearerAnswers(None, World().guard(), readiness_path="ready")


def _several(guards: list[BearerGuard]) -> Starlette:
    """Return a FastMCP server with a verifier for each guard."""
    from fastmcp import FastMCP

    server = FastMCP("orders", auth=MultiAuth(verifiers={str(number): FastMcpVerifier(guard) for number, guard in enumerate(guards)}))
    app = server.http_app(json_response=True, stateless_http=True)
    app.add_middleware(BearerAnswers, guard=guards[0], keep_fresh=False)
    return app
