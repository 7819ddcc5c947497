"""What all web adapters hold: judging, answering, metadata, readiness and start (RFC 6750, RFC 9728)."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
import trio

from keyturn import (
    ConfigurationError,
    InsufficientScopeError,
    InvalidAudienceError,
    IssuerRouter,
    KeySetClient,
    KeysUnavailableError,
    StaticKeySet,
    TokenValidator,
    UnknownKeyError,
)
from keyturn.errors import FetchError, InvalidRequestError, KeyturnError, MissingTokenError
from keyturn.integrations import BearerGuard, Needs, any_of
from keyturn.testing import FakeClock, FakeIssuer

CLOCK = FakeClock()


def issuer(name: str = "https://login.example.com") -> FakeIssuer:
    """Return an issuer on the tests' clock."""
    return FakeIssuer(name, clock=CLOCK, audience="api://orders")


def validator(source: FakeIssuer) -> TokenValidator:
    """Return a validator of its tokens."""
    return TokenValidator(source.issuer, audience="api://orders", fetcher=source.fetcher(), clock=CLOCK)


def both(guard: BearerGuard, headers: list[str], needs: Needs | None = None, **more: Any) -> Any:
    """Return what the sync and the async way agree on: a subject, or a kind of error."""
    arguments = (headers,) if needs is None else (headers, needs)
    outcomes = []
    for ask in (lambda: guard.check(*arguments, **more), lambda: asyncio.run(guard.check_async(*arguments, **more))):
        try:
            outcomes.append(ask().subject)
        except Exception as error:
            outcomes.append(type(error))
    assert outcomes[0] == outcomes[1]
    return outcomes[0]


def test_both_ways_judge_alike() -> None:
    """The sync and the async way take the same token out of the same header, with the same needs."""
    source = issuer()
    guard = BearerGuard(validator(source), scopes="orders:read")
    good = f"Bearer {source.token(scopes='orders:read orders:write')}"
    assert "alice" == both(guard, [good])
    assert "alice" == both(guard, [good], Needs("orders:write"))
    assert InsufficientScopeError == both(guard, [good], Needs("orders:delete"))
    assert InsufficientScopeError == both(guard, [f"Bearer {source.token()}"])
    assert MissingTokenError == both(guard, [])
    assert InvalidRequestError == both(guard, [good, good])
    assert InvalidRequestError == both(guard, [good], query=b"access_token=x")
    assert InvalidAudienceError == both(guard, [f"Bearer {source.token(audience='api://billing')}"])


def test_the_challenge_names_the_needs_of_all_and_of_the_place() -> None:
    """Both together, each once, those of every request first."""
    guard = BearerGuard(validator(issuer()), scopes="a b")
    value = guard.answer(MissingTokenError("x"), Needs(any_of("c", "d"))).headers["WWW-Authenticate"]
    assert 'Bearer scope="a b c"' == value


def test_why_is_in_the_log_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Clients are told a fixed sentence; the log says more, and never holds the token."""
    source = issuer()
    guard, text = BearerGuard(validator(source)), source.token(audience="api://billing")
    with caplog.at_level(logging.DEBUG, "keyturn.integrations"):
        with pytest.raises(InvalidAudienceError) as refused:
            guard.check([f"Bearer {text}"])
        answer = guard.answer(refused.value)
    assert "api://billing" in caplog.text
    assert "api://billing" not in repr(answer)
    assert text not in caplog.text


@pytest.mark.parametrize(
    ("error", "level"),
    [(ConfigurationError("x"), "ERROR"), (FetchError("x"), "DEBUG"), (InvalidRequestError("x"), "DEBUG"), (MissingTokenError("x"), "DEBUG")],
)
def test_a_fault_of_our_own_is_an_error_in_the_log(caplog: pytest.LogCaptureFixture, error: KeyturnError, level: str) -> None:
    """A 500 is for the operator, and no junk that is sent causes one; refusals and outages are told at DEBUG here."""
    with caplog.at_level(logging.DEBUG, "keyturn.integrations"):
        BearerGuard(validator(issuer())).answer(error)
    assert [level] == [record.levelname for record in caplog.records]


def test_of_takes_a_guard_or_a_judge() -> None:
    """A guard is taken as it is, and a validator or router is given every default."""
    judge = validator(issuer())
    guard = BearerGuard(judge, realm="x")
    assert guard is BearerGuard.of(guard)
    assert judge is BearerGuard.of(judge).validator
    router = IssuerRouter(judge)
    assert router is BearerGuard.of(router).validator


@pytest.mark.parametrize("given", [None, "https://login.example.com", StaticKeySet.from_jwks(issuer().jwks()), object()])
def test_what_cannot_judge_is_refused(given: Any) -> None:
    """It is a mistake of configuration at construction, and not an AttributeError at the first request."""
    with pytest.raises(ConfigurationError, match="expected a TokenValidator"):
        BearerGuard.of(given)


def test_metadata_names_issuers_and_scopes() -> None:
    """Every issuer of a router, the scopes of every request and the further ones (RFC 9728, section 2)."""
    router = IssuerRouter(validator(issuer("https://a.test")), validator(issuer("https://b.test")))
    guard = BearerGuard(router, scopes="orders:read", resource="https://api.example.com/v1", supported_scopes=["orders:write"])
    document = guard.metadata()
    assert ["https://a.test", "https://b.test"] == document["authorization_servers"]
    assert ["orders:read", "orders:write"] == document["scopes_supported"]
    assert "https://api.example.com/v1" == document["resource"] == guard.resource
    assert "/.well-known/oauth-protected-resource/v1" == guard.metadata_path
    challenge = guard.answer(MissingTokenError("x")).headers["WWW-Authenticate"]
    assert 'resource_metadata="https://api.example.com/.well-known/oauth-protected-resource/v1"' in challenge


def test_issuers_of_the_metadata_can_be_named() -> None:
    """Where clients get tokens elsewhere than keys say, the configuration names the place."""
    guard = BearerGuard(validator(issuer()), resource="https://api.test", authorization_servers=["https://front.test"])
    assert ["https://front.test"] == guard.metadata()["authorization_servers"]


def test_without_a_resource_there_is_no_metadata() -> None:
    """Asking for it all the same names the setting."""
    guard = BearerGuard(validator(issuer()))
    assert guard.resource is None
    for ask in (guard.metadata, lambda: guard.metadata_path):
        with pytest.raises(ConfigurationError, match="setting: resource"):
            ask()


def test_the_discovery_document_of_one_issuer() -> None:
    """Descriptions of an API name it where there is exactly one issuer that stands at an https URL."""
    one = validator(issuer())
    assert "https://login.example.com/.well-known/openid-configuration" == BearerGuard(one).discovery_url
    assert BearerGuard(IssuerRouter(one, validator(issuer("https://b.test")))).discovery_url is None
    named = TokenValidator(StaticKeySet.from_jwks(issuer().jwks()), audience="x", issuer="urn:issuer")
    assert BearerGuard(named).discovery_url is None


def test_readiness_of_one_and_of_all() -> None:
    """One issuer that can be judged is enough unless all are asked for; no look waits, and what it says is JSON (R15)."""
    up, down = issuer("https://a.test"), issuer("https://b.test")
    first, second = validator(up), validator(down)
    guard = BearerGuard(IssuerRouter(first, second))
    with down.down(document="both"):
        first.client.refresh()
        with pytest.raises(KeysUnavailableError):
            second.client.refresh()
        status, headers, body = guard.readiness()
        assert (200, {"Cache-Control": "no-store"}) == (status, headers)
        assert {"https://a.test": True, "https://b.test": False} == {name: each["ready"] for name, each in body["issuers"].items()}
        assert "fetch_failed" == body["issuers"]["https://b.test"]["last_error"]
        assert 503 == guard.readiness(require_all=True).status
    json.dumps(body, allow_nan=False)


def test_fixed_keys_are_ready() -> None:
    """A source that fetches nothing has no age and no next refresh, and is ready."""
    fixed = TokenValidator(StaticKeySet.from_jwks(issuer().jwks()), audience="x", issuer="urn:issuer")
    assert 200 == BearerGuard(fixed).readiness().status
    json.dumps(BearerGuard(fixed).readiness().body, allow_nan=False)


@pytest.mark.parametrize("run", [asyncio.run, lambda work: trio.run(lambda: work)], ids=["asyncio", "trio"])
def test_running_reads_the_keys_of_every_issuer(run: Any) -> None:
    """Inside the context each client has read its keys once, two validators of one client included."""
    up, other = issuer("https://a.test"), issuer("https://b.test")
    client = KeySetClient(up.issuer, fetcher=up.fetcher(), clock=CLOCK)
    validators = (TokenValidator(client, audience="x", clock=CLOCK), validator(other))
    guard = BearerGuard(IssuerRouter(*validators))

    async def start() -> bool:
        async with guard.running():
            return bool(guard.readiness(require_all=True).body["ready"])

    assert run(start())
    for source in (up, other):
        source.fetches.expect(discovery=1, jwks=1)


def test_an_issuer_that_is_down_does_not_stop_the_start(caplog: pytest.LogCaptureFixture) -> None:
    """The application starts without its keys, says so, and reads them later."""
    source = issuer()
    guard = BearerGuard(validator(source))

    async def start() -> None:
        with source.down(document="both"):
            async with guard.running():
                assert 503 == guard.readiness().status

    asyncio.run(start())
    assert "starts without keys" in caplog.text
    with pytest.raises((KeysUnavailableError, UnknownKeyError)):
        guard.check([f"Bearer {source.token()}"])


def test_running_leaves_fixed_keys_alone() -> None:
    """A source that fetches nothing has nothing to keep fresh."""
    fixed = TokenValidator(StaticKeySet.from_jwks(issuer().jwks()), audience="x", issuer="urn:issuer")

    async def start() -> int:
        async with BearerGuard(fixed).running():
            return BearerGuard(fixed).readiness().status

    assert 200 == asyncio.run(start())


def test_a_router_names_each_validator_once() -> None:
    """A validator that stands for several issuers is one judge."""
    source = issuer("https://a.test")
    names = ["https://a.test", "https://also-a.test"]
    wide = TokenValidator(source.issuer, issuer=names, audience="x", fetcher=source.fetcher(), clock=CLOCK)
    other = validator(issuer("https://b.test"))
    assert (wide, other) == IssuerRouter(wide, other).validators
