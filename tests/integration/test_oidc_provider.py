"""Rollover against oidc-provider, a certified OpenID provider that others wrote, on loopback.

What the rules promise is checked from both ends: what the validator answers, and what the issuer was asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from tests.integration.idp.callers import AsyncioLoop, EventLog, Stream, TrioLoop, signed_with_public_key, until
from tests.integration.idp.processes import Counts, RealIssuer, oidc_provider

from keyturn import RolloverPolicy, TokenValidator, ValidatedToken
from keyturn.clock import SystemClock
from keyturn.errors import DisallowedAlgorithmError, KeysUnavailableError, RevokedKeyError, UnknownKeyError
from keyturn.events import KeyDropped, KeySetChanged, KeyVanished
from keyturn.testing import FakeClock

DAY = 86400.0
GRACE = 7200.0
ALLOWANCE = 300.0
LONGEST_BACKOFF = 300.0


@pytest.fixture
def provider() -> Iterator[RealIssuer]:
    """A provider with one RSA key, for this test alone."""
    with oidc_provider() as issuer:
        yield issuer


@pytest.fixture
def clock() -> FakeClock:
    """A clock that a test moves by hours; it starts now, because the provider's tokens are of now."""
    return FakeClock(wall=SystemClock().wall())


@pytest.fixture
def validator(provider: RealIssuer, clock: FakeClock) -> TokenValidator:
    """A validator as a user writes it, but for the clock."""
    return TokenValidator(provider.issuer, audience=provider.audience, clock=clock)


class TestFirstToken:
    """A validator that knows nothing but the issuer."""

    def test_is_accepted_after_one_request_for_each_document(self, provider: RealIssuer) -> None:
        """The defaults are enough for a real provider: one discovery document, one key set."""
        validator = TokenValidator(provider.issuer, audience=provider.audience)

        token = validator.validate(provider.token())

        assert Counts(discovery=1, jwks=1) == provider.counts()
        assert (provider.issuer, provider.client_id, provider.client_id) == (token.issuer, token.subject, token.client_id)
        assert {provider.scope} == set(token.scopes)
        assert provider.signing_kid() == token.key_id

    def test_holds_to_the_profile_for_access_tokens(self, provider: RealIssuer) -> None:
        """The provider's access tokens are those of RFC 9068, which `token_type="at+jwt"` asks for in full."""
        validator = TokenValidator(provider.issuer, audience=provider.audience, token_type="at+jwt")

        assert provider.client_id == validator.validate(provider.token()).subject

    def test_is_unavailable_not_refused_while_the_key_set_cannot_be_read(
        self, provider: RealIssuer, validator: TokenValidator, clock: FakeClock
    ) -> None:
        """A start in the issuer's outage says 503, and needs no restart to recover (R8, R9)."""
        token = provider.token()
        with provider.fault("error"), pytest.raises(KeysUnavailableError) as caught:
            validator.validate(token)
        assert caught.value.retry_after is not None

        clock.advance(LONGEST_BACKOFF)

        assert provider.client_id == validator.validate(token).subject


class TestRollover:
    """The issuer changes its keys while the service runs."""

    @pytest.mark.parametrize("change", [RealIssuer.rotate, RealIssuer.cut_over])
    def test_refuses_no_token_of_a_stream(self, provider: RealIssuer, change: Callable[[RealIssuer], str]) -> None:
        """Tokens of the old and the new key pass before, during and after, for exactly one more fetch (R4, R10)."""
        validator = TokenValidator(provider.issuer, audience=provider.audience)

        with Stream(validator, provider.token()) as stream:
            stream.wait_for_more()
            change(provider)
            stream.wait_for_more()
            stream.add(provider.token())
            stream.wait_for_more()

        assert [] == stream.refused
        assert Counts(discovery=1, jwks=2) == provider.counts()

    @pytest.mark.parametrize("algorithm", ["RS256", "ES256", "Ed25519", "PS256"])
    def test_one_second_after_start_up_costs_one_fetch(
        self, provider: RealIssuer, validator: TokenValidator, clock: FakeClock, algorithm: str
    ) -> None:
        """The fetch of the start does not spend the allowance, and a new kind of key is nothing special (R5)."""
        old = provider.token()
        validator.validate(old)
        clock.advance(1)
        kid = provider.rotate(algorithm)

        token = validator.validate(provider.token())

        assert (kid, algorithm) == (token.key_id, token.header["alg"])
        assert Counts(discovery=1, jwks=2) == provider.counts()
        validator.validate(old)

    def test_from_one_kind_of_key_to_the_next_keeps_all_of_them(self, provider: RealIssuer, validator: TokenValidator, clock: FakeClock) -> None:
        """An issuer that moves on, three times, costs three fetches, and each of its keys serves as long as it is published (R1)."""
        tokens = [provider.token()]
        validator.validate(tokens[0])
        for algorithm in ("ES256", "Ed25519", "PS256"):
            clock.advance(ALLOWANCE)
            provider.rotate(algorithm)
            tokens.append(provider.token())
            validator.validate(tokens[-1])

        assert ["RS256", "ES256", "Ed25519", "PS256"] == [validator.validate(token).header["alg"] for token in tokens]
        assert Counts(discovery=1, jwks=4) == provider.counts()

    def test_published_but_not_promoted_costs_nothing(self, provider: RealIssuer, validator: TokenValidator) -> None:
        """As long as the old key signs, nobody needs to look (R7)."""
        old = provider.token()
        validator.validate(old)
        provider.publish("ES256")

        for token in (old, provider.token()):
            validator.validate(token)

        assert Counts(discovery=1, jwks=1) == provider.counts()

    def test_promoted_after_the_schedule_has_read_the_key_costs_nothing(
        self, provider: RealIssuer, validator: TokenValidator, clock: FakeClock
    ) -> None:
        """A rotation that gives its clients a day is never noticed (R3)."""
        old = provider.token()
        validator.validate(old)
        kid = provider.publish("ES256")
        clock.advance(DAY)
        validator.validate(old)
        assert Counts(discovery=2, jwks=2) == provider.counts()
        provider.promote(kid)

        token = validator.validate(provider.token())

        assert kid == token.key_id
        assert Counts(discovery=2, jwks=2) == provider.counts()

    def test_twice_within_five_minutes_waits_for_the_allowance(self, provider: RealIssuer, validator: TokenValidator, clock: FakeClock) -> None:
        """The second new key is refused with the seconds to wait, and accepted after them (R5)."""
        validator.validate(provider.token())
        provider.rotate()
        validator.validate(provider.token())
        clock.advance(1)
        provider.rotate()
        newest = provider.token()

        with pytest.raises(UnknownKeyError) as caught:
            validator.validate(newest)

        assert ALLOWANCE - 1 == caught.value.retry_after
        assert Counts(discovery=1, jwks=2) == provider.counts()
        clock.advance(ALLOWANCE - 1)
        validator.validate(newest)
        assert Counts(discovery=1, jwks=3) == provider.counts()

    @pytest.mark.parametrize("loop", [AsyncioLoop, TrioLoop])
    def test_on_an_event_loop_costs_one_fetch_for_all_its_tasks(self, provider: RealIssuer, loop: type[AsyncioLoop | TrioLoop]) -> None:
        """Twenty tasks with the new key share one fetch, and the old key serves beside it (R4)."""
        validator = TokenValidator(provider.issuer, audience=provider.audience)
        accepted: list[ValidatedToken] = []

        async def main() -> None:
            old = await loop.in_thread(provider.token)
            accepted.append(await validator.validate_async(old))
            kid = await loop.in_thread(lambda: provider.rotate("ES256"))
            new = await loop.in_thread(provider.token)
            accepted.extend(await loop.all([partial(validator.validate_async, text) for text in [new] * 20 + [old] * 20]))
            assert [kid] * 20 == [token.key_id for token in accepted[1:21]]

        loop.run(main)

        assert 41 == len(accepted)
        assert Counts(discovery=1, jwks=2) == provider.counts()


class TestAlgorithms:
    """What the header says about the signature."""

    def test_left_out_of_the_list_is_named(self, provider: RealIssuer) -> None:
        """A rollover to an algorithm that is not allowed is told as such, not as an unknown key, and spends no fetch (R6)."""
        validator = TokenValidator(provider.issuer, audience=provider.audience, algorithms=["RS256", "ES256"])
        validator.validate(provider.token())
        provider.rotate("Ed25519")

        with pytest.raises(DisallowedAlgorithmError, match="Ed25519"):
            validator.validate(provider.token())

        assert Counts(discovery=1, jwks=1) == provider.counts()

    def test_hmac_over_the_public_key_is_refused(self, provider: RealIssuer, validator: TokenValidator) -> None:
        """A published key is no secret: whoever signs with it is refused, in every form of the key (RFC 8725, section 2.1)."""
        token = provider.token()
        validator.validate(token)

        for forged in signed_with_public_key(token, provider.keys()[0]).values():
            with pytest.raises(DisallowedAlgorithmError, match="HS256"):
                validator.validate(forged)


class TestFaults:
    """The key set's address answers, but not with a key set."""

    @pytest.mark.parametrize("kind", ["error", "truncated", "empty", "html"])
    def test_harm_no_known_key_and_are_asked_for_once(self, provider: RealIssuer, validator: TokenValidator, clock: FakeClock, kind: str) -> None:
        """A bad answer changes nothing: known keys serve, the new one is 503 until the issuer recovers (R8, R12)."""
        old = provider.token()
        validator.validate(old)
        provider.rotate()
        new = provider.token()

        with provider.fault(kind):
            for _ in range(5):
                with pytest.raises(KeysUnavailableError) as caught:
                    validator.validate(new)
                assert caught.value.retry_after is not None
                validator.validate(old)
            assert 2 == provider.counts().jwks

        clock.advance(LONGEST_BACKOFF)
        validator.validate(new)
        assert 3 == provider.counts().jwks

    def test_known_keys_pass_while_the_answer_is_held_back(self, provider: RealIssuer) -> None:
        """Who has a key does not wait for those who have none (R7)."""
        validator = TokenValidator(provider.issuer, audience=provider.audience, policy=RolloverPolicy(deadline=30))
        old = provider.token()
        validator.validate(old)
        kid = provider.rotate()
        new = provider.token()
        accepted: list[ValidatedToken] = []
        waiting = threading.Thread(target=lambda: accepted.append(validator.validate(new)))

        with provider.fault("hold"):
            waiting.start()
            until(lambda: 2 == provider.counts().jwks)
            validator.validate(old)
            assert [] == accepted

        waiting.join(30)
        assert [kid] == [token.key_id for token in accepted]
        assert Counts(discovery=1, jwks=2) == provider.counts()


class TestRemoval:
    """A key leaves the set."""

    def test_by_retirement_ends_with_the_grace(self, provider: RealIssuer, clock: FakeClock) -> None:
        """The retired key serves for two hours from the first answer without it, then no more, and both are told (R10)."""
        events = EventLog()
        validator = TokenValidator(provider.issuer, audience=provider.audience, clock=clock, on_event=[events])
        old, old_kid = provider.token(), provider.signing_kid()
        provider.rotate()
        new = provider.token()
        validator.validate(old)
        provider.retire(old_kid)
        clock.advance(DAY)

        validator.validate(new)

        assert old_kid == events.next(KeyVanished).kid
        clock.advance(GRACE - 1)
        assert old_kid == validator.validate(old).key_id
        clock.advance(1)
        with pytest.raises(UnknownKeyError):
            validator.validate(old)
        assert old_kid == events.next(KeyDropped).kid
        validator.validate(new)

    def test_by_cut_over_ends_with_the_grace(self, provider: RealIssuer, clock: FakeClock) -> None:
        """An issuer that replaces its whole set is believed and reported; its old tokens live for the grace (R10, R12)."""
        events = EventLog()
        validator = TokenValidator(provider.issuer, audience=provider.audience, clock=clock, on_event=[events])
        old, old_kid = provider.token(), provider.signing_kid()
        validator.validate(old)
        events.next(KeySetChanged)
        provider.cut_over("ES256")

        validator.validate(provider.token())

        assert Counts(discovery=1, jwks=2) == provider.counts()
        assert events.next(KeySetChanged).nothing_in_common
        assert old_kid == events.next(KeyVanished).kid
        assert old_kid == validator.validate(old).key_id
        clock.advance(GRACE)
        with pytest.raises(UnknownKeyError):
            validator.validate(old)

    def test_under_the_strict_policy_ends_at_once(self, provider: RealIssuer, clock: FakeClock) -> None:
        """Who puts revocation first has no grace: the first answer without the key ends it (`RolloverPolicy.strict()`)."""
        validator = TokenValidator(provider.issuer, audience=provider.audience, clock=clock, policy=RolloverPolicy.strict())
        old = provider.token()
        validator.validate(old)
        provider.cut_over()
        validator.validate(provider.token())

        with pytest.raises(UnknownKeyError):
            validator.validate(old)

    def test_by_an_operator_needs_no_issuer(self, provider: RealIssuer, validator: TokenValidator) -> None:
        """A revoked key is refused at once although it is still published, also after the next answer (R11)."""
        old, old_kid = provider.token(), provider.signing_kid()
        validator.validate(old)
        validator.client.revoke(kid=old_kid)
        provider.rotate()
        validator.validate(provider.token())

        with pytest.raises(RevokedKeyError):
            validator.validate(old)
