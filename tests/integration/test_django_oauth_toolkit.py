"""Rollover against django-oauth-toolkit, an OpenID provider that others wrote, on loopback.

It differs from the other real provider: its issuer has a path, a kid is the key's thumbprint, its key set says
`max-age=60`, its discovery document lists `HS256` beside `RS256`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.integration.idp.callers import AsyncioLoop, EventLog, Stream, TrioLoop, signed_with_public_key
from tests.integration.idp.processes import Counts, ToolkitIssuer, oauth_toolkit

from keyturn import RolloverPolicy, TokenValidator
from keyturn.clock import SystemClock
from keyturn.errors import ClaimError, DisallowedAlgorithmError, TokenTypeError, UnknownKeyError
from keyturn.events import KeyDropped, KeyVanished
from keyturn.testing import FakeClock

DAY = 86400.0
GRACE = 7200.0
MAX_AGE = 60.0
SHORTEST_INTERVAL = 300.0


@pytest.fixture
def provider() -> Iterator[ToolkitIssuer]:
    """A provider with one RSA key, for this test alone."""
    with oauth_toolkit() as issuer:
        yield issuer


@pytest.fixture
def clock() -> FakeClock:
    """A clock that a test moves by hours; it starts now, because the provider's tokens are of now."""
    return FakeClock(wall=SystemClock().wall())


@pytest.fixture
def validator(provider: ToolkitIssuer, clock: FakeClock) -> TokenValidator:
    """A validator as a user writes it, but for the clock."""
    return TokenValidator(provider.issuer, audience=provider.audience, clock=clock)


def test_first_token_is_accepted_after_one_request_for_each_document(provider: ToolkitIssuer) -> None:
    """An issuer with a path is found by the defaults: one discovery document, one key set."""
    validator = TokenValidator(provider.issuer, audience=provider.audience)

    token = validator.validate(provider.token())

    assert Counts(discovery=1, jwks=1) == provider.counts()
    assert (provider.issuer, provider.client_id) == (token.issuer, token.subject)
    assert {provider.scope} == set(token.scopes)
    assert provider.signing_kid() == token.key_id


def test_rotation_refuses_no_token_of_a_stream(provider: ToolkitIssuer) -> None:
    """Tokens of the old and the new key pass before, during and after, for exactly one more fetch (R4)."""
    validator = TokenValidator(provider.issuer, audience=provider.audience)

    with Stream(validator, provider.token()) as stream:
        stream.wait_for_more()
        provider.rotate()
        stream.wait_for_more()
        stream.add(provider.token())
        stream.wait_for_more()

    assert [] == stream.refused
    assert Counts(discovery=1, jwks=2) == provider.counts()


@pytest.mark.parametrize("loop", [AsyncioLoop, TrioLoop])
def test_rotation_on_an_event_loop_costs_one_fetch(provider: ToolkitIssuer, loop: type[AsyncioLoop | TrioLoop]) -> None:
    """Twenty tasks with the new key share one fetch (R4)."""
    validator = TokenValidator(provider.issuer, audience=provider.audience)
    kids: list[str | None] = []

    async def main() -> None:
        await validator.validate_async(await loop.in_thread(provider.token))
        await loop.in_thread(provider.rotate)
        new = await loop.in_thread(provider.token)
        kids.extend(token.key_id for token in await loop.all([lambda: validator.validate_async(new)] * 20))

    loop.run(main)

    assert [provider.signing_kid()] * 20 == kids
    assert Counts(discovery=1, jwks=2) == provider.counts()


def test_published_then_promoted_with_a_day_between_is_never_noticed(provider: ToolkitIssuer, validator: TokenValidator, clock: FakeClock) -> None:
    """A key that the schedule has read serves from its first token on (R3)."""
    old = provider.token()
    validator.validate(old)
    kid = provider.publish()
    validator.validate(old)
    assert Counts(discovery=1, jwks=1) == provider.counts()
    clock.advance(DAY)
    validator.validate(old)
    provider.promote(kid)

    token = validator.validate(provider.token())

    assert kid == token.key_id
    assert Counts(discovery=2, jwks=2) == provider.counts()


def test_retired_key_ends_with_the_grace(provider: ToolkitIssuer, clock: FakeClock) -> None:
    """The retired key serves for two hours from the first answer without it, then no more, and both are told (R10)."""
    events = EventLog()
    validator = TokenValidator(provider.issuer, audience=provider.audience, clock=clock, on_event=[events])
    old, old_kid = provider.token(), provider.signing_kid()
    validator.validate(old)
    provider.rotate()
    provider.retire(old_kid)

    validator.validate(provider.token())

    assert old_kid == events.next(KeyVanished).kid
    clock.advance(GRACE - 1)
    assert old_kid == validator.validate(old).key_id
    clock.advance(1)
    with pytest.raises(UnknownKeyError):
        validator.validate(old)
    assert old_kid == events.next(KeyDropped).kid


def test_cache_header_does_not_shorten_the_schedule(provider: ToolkitIssuer, validator: TokenValidator, clock: FakeClock) -> None:
    """`max-age=60` leads to no fetch a minute, nor to one in half a day (R3)."""
    token = provider.token()
    validator.validate(token)

    for _ in range(int(DAY / 2 / MAX_AGE)):
        clock.advance(MAX_AGE)
        validator.validate(token)

    assert Counts(discovery=1, jwks=1) == provider.counts()


def test_cache_header_is_followed_if_asked_but_not_below_five_minutes(provider: ToolkitIssuer, clock: FakeClock) -> None:
    """With `follow_cache_control` the sixty seconds become three hundred, the least that is granted (R3)."""
    policy = RolloverPolicy(follow_cache_control=True, refresh_jitter=0)
    validator = TokenValidator(provider.issuer, audience=provider.audience, clock=clock, policy=policy)
    token = provider.token()
    validator.validate(token)
    for _ in range(4):
        clock.advance(MAX_AGE)
        validator.validate(token)
    assert Counts(discovery=1, jwks=1) == provider.counts()

    clock.advance(SHORTEST_INTERVAL)
    validator.validate(token)

    assert Counts(discovery=2, jwks=2) == provider.counts()


def test_hmac_over_the_public_key_is_refused_although_the_issuer_lists_it(provider: ToolkitIssuer, validator: TokenValidator) -> None:
    """What discovery lists is what the issuer can do, not what we accept (RFC 8725, section 3.1)."""
    token = provider.token()
    validator.validate(token)

    for forged in signed_with_public_key(token, provider.keys()[0]).values():
        with pytest.raises(DisallowedAlgorithmError, match="HS256"):
            validator.validate(forged)


def test_id_tokens_of_both_keys_are_accepted_for_a_login(provider: ToolkitIssuer) -> None:
    """A web site that signs people in lives through a rollover as an API does (R4; OpenID Connect Core, section 3.1.3.7)."""
    validator = TokenValidator(provider.issuer, audience=provider.web_client_id, token_type="id")
    validator.validate(provider.id_token("one"), nonce="one")
    kid = provider.rotate()

    token = validator.validate(provider.id_token("two"), nonce="two")

    assert (kid, "two") == (token.key_id, token.claims["nonce"])
    assert Counts(discovery=1, jwks=2) == provider.counts()


def test_id_token_of_another_login_is_refused(provider: ToolkitIssuer) -> None:
    """The nonce ties an ID token to one login (OpenID Connect Core, section 3.1.3.7)."""
    validator = TokenValidator(provider.issuer, audience=provider.web_client_id, token_type="id")

    with pytest.raises(ClaimError) as caught:
        validator.validate(provider.id_token("theirs"), nonce="ours")

    assert "nonce" == caught.value.claim


def test_id_token_is_no_access_token(provider: ToolkitIssuer) -> None:
    """An API that takes the web site's audience still refuses its ID tokens (RFC 8725, section 3.11)."""
    validator = TokenValidator(provider.issuer, audience=provider.web_client_id)

    with pytest.raises(TokenTypeError):
        validator.validate(provider.id_token("one"))
