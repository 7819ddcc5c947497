"""Judging one token: settings, order of judgement, and the two ways to the key. Attacks stand in test_attack_classes.py."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest
from tests.unit.material import AUDIENCE, with_claims

from keyturn import (
    DEFAULT_ALGORITHMS,
    ClaimError,
    ConfigurationError,
    DisallowedAlgorithmError,
    ExpiredTokenError,
    FetchError,
    InvalidAudienceError,
    InvalidIssuerError,
    InvalidSignatureError,
    KeySetClient,
    KeysUnavailableError,
    KeyturnError,
    MalformedTokenError,
    MemoryStore,
    MissingClaimError,
    NotYetValidError,
    RolloverPolicy,
    StaticKeySet,
    TokenTypeError,
    TokenValidator,
    UnknownKeyError,
)
from keyturn.testing import FakeClock, FakeIssuer


class World:
    """One issuer, its clock, and validators over it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.issuer = FakeIssuer(clock=self.clock)

    def following(self, **settings: Any) -> TokenValidator:
        """Return a validator that follows the issuer."""
        return TokenValidator(self.issuer.issuer, **{"audience": AUDIENCE, "fetcher": self.issuer.fetcher(), "clock": self.clock, **settings})

    def fixed(self, **settings: Any) -> TokenValidator:
        """Return a validator over the keys that are published now."""
        source = StaticKeySet.from_jwks(self.issuer.jwks())
        return TokenValidator(source, **{"audience": AUDIENCE, "issuer": self.issuer.issuer, "clock": self.clock, **settings})


@pytest.fixture
def world() -> World:
    """Return a fresh world."""
    return World()


class TestSettings:
    """A wrong setting is found at construction, never at the first request."""

    @pytest.mark.parametrize(
        ("setting", "value"),
        [
            *(("audience", value) for value in ("", " ", [], [""], ["a", 1], None, 1, b"a", {"a": 1}, [None], ())),
            *(("issuer", value) for value in ("", "  ", [], [1], 1, b"a", {"a": 1})),
            *(
                ("algorithms", value)
                for value in ([], ["none"], ["HS256"], ["ES256", "HS256"], ["es256"], "none", [1], None, [""], {"ES256": 1}, b"ES256")
            ),
            *(("leeway", value) for value in (-1, -0.001, 300.001, 301, float("nan"), float("inf"), "60", None, True, [])),
            *(("token_type", value) for value in ("", "jwt", "ID", "refresh", None, 1, ["id"], {})),
            *(("required_claims", value) for value in ("", " ", ["a", ""], [1], 1, b"a", {"a": 1})),
            *(("max_token_bytes", value) for value in (0, -1, 262_145, float("nan"), "1", None, True, float("inf"))),
        ],
    )
    def test_a_wrong_setting(self, world: World, setting: str, value: Any) -> None:
        """The message names the setting."""
        with pytest.raises(ConfigurationError, match=f"setting: {setting}"):
            world.fixed(**{setting: value}) if setting == "issuer" else world.following(**{setting: value})

    @pytest.mark.parametrize(
        "settings",
        [
            {"leeway": 0},
            {"leeway": 300},
            {"max_token_bytes": 262_144},
            {"algorithms": "ES256"},
            {"algorithms": ("ES256", "RS256")},
            {"algorithms": iter(["ES256"])},
            {"audience": {"x", AUDIENCE}},
            {"audience": (name for name in (AUDIENCE,))},
            {"required_claims": "sub"},
            {"required_claims": ["sub", "iat"]},
            {"required_claims": ()},
        ],
    )
    def test_a_right_setting(self, world: World, settings: dict[str, Any]) -> None:
        """Bounds are inclusive, and one text stands for a list of one (B17)."""
        assert "alice" == world.fixed(**settings).validate(world.issuer.token()).subject

    @pytest.mark.parametrize("source", [None, 1, b"https://a.test", object(), ["https://a.test"]])
    def test_what_is_no_source(self, source: Any) -> None:
        """An issuer is text, a source knows keys."""
        with pytest.raises(ConfigurationError, match="setting: source"):
            TokenValidator(source, audience=AUDIENCE)

    @pytest.mark.parametrize(
        "source",
        ["", " ", "issuer.test", "http://issuer.test", "https://issuer.test?a", "https://u@issuer.test", "https://issuer.test#a", "https://"],
    )
    def test_an_issuer_that_leads_nowhere(self, source: str) -> None:
        """Without a location the issuer is an https URL (AD13, C40)."""
        with pytest.raises(ConfigurationError, match="setting: issuer"):
            TokenValidator(source, audience=AUDIENCE)

    @pytest.mark.parametrize("setting", ["policy", "fetcher", "store", "on_event"])
    def test_settings_of_the_source(self, world: World, setting: str) -> None:
        """They belong to the source that was handed in, where they would be lost without a word."""
        value = {"policy": RolloverPolicy(), "fetcher": world.issuer.fetcher(), "store": MemoryStore(), "on_event": print}[setting]
        with pytest.raises(ConfigurationError, match=f"{setting} belongs to the source of keys .*setting: {setting}"):
            world.fixed(**{setting: value})

    def test_fixed_keys_need_an_issuer(self, world: World) -> None:
        """A key set does not say whose it is."""
        with pytest.raises(ConfigurationError, match="setting: issuer"):
            TokenValidator(StaticKeySet.from_jwks(world.issuer.jwks()), audience=AUDIENCE)

    def test_the_source_knows_its_issuer_and_clock(self, world: World) -> None:
        """A client that is handed in brings both."""
        client = KeySetClient(world.issuer.issuer, fetcher=world.issuer.fetcher(), clock=world.clock)
        validator = TokenValidator(client, audience=AUDIENCE)
        assert client is validator.client
        assert validator.validate(world.issuer.token())

    def test_its_repr(self, world: World) -> None:
        """Issuer and audience, escaped."""
        assert '<TokenValidator of "https://issuer.test" for "api://test">' == repr(world.fixed())
        assert repr(world.fixed(audience="a\nb")).isprintable()

    def test_all_algorithms_by_default(self, world: World) -> None:
        """An issuer that moves to another algorithm rolls over, too."""
        for algorithm in DEFAULT_ALGORITHMS:
            world.issuer.cut_over(algorithm, algorithm)
            assert algorithm == world.fixed().validate(world.issuer.token()).key_id


class TestOrderOfJudgement:
    """The first failure is the error, in the order of README: form, header, payload, issuer, claims, key, signature."""

    FAULTS = (
        ("form", MalformedTokenError),
        ("alg", DisallowedAlgorithmError),
        ("typ", TokenTypeError),
        ("iss", InvalidIssuerError),
        ("aud", InvalidAudienceError),
        ("exp", ExpiredTokenError),
        ("nbf", NotYetValidError),
        ("sub", ClaimError),
        ("kid", UnknownKeyError),
        ("signature", InvalidSignatureError),
    )

    @pytest.mark.parametrize("first", range(len(FAULTS)))
    def test_the_first_fault_is_the_error(self, world: World, first: int) -> None:
        """A token with every fault from here on meets the error of the first."""
        faults = {name for name, _ in self.FAULTS[first:]}
        header = {name: value for name, value in {"alg": "HS256", "typ": "dpop+jwt", "kid": "nobody"}.items() if name in faults}
        now = world.clock.wall()
        claims = {"iss": "https://other.test", "aud": "other", "exp": now - 9_999, "nbf": now + 9_999, "sub": 1}
        token = world.issuer.forge(headers=header, **{name: value for name, value in claims.items() if name in faults})
        if "form" in faults:
            token += "=" + "x" * 20_000
        for validator in (world.fixed(), world.following()):
            with pytest.raises(self.FAULTS[first][1]) as caught:
                validator.validate(token)
            assert self.FAULTS[first][1] is type(caught.value)


class TestTime:
    """`exp`, `nbf` and `iat` use the wall clock, whatever the monotonic one shows (R14)."""

    def test_the_wall_clock_decides(self, world: World) -> None:
        """A machine whose wall clock is set on or back judges by it; one that merely runs long does not (M26)."""
        validator, token = world.fixed(leeway=0), world.issuer.token(lifetime=100)
        assert validator.validate(token)
        world.clock.step_wall(99)
        assert validator.validate(token)
        world.clock.step_wall(1)
        with pytest.raises(ExpiredTokenError):
            validator.validate(token)
        world.clock.step_wall(-100)
        assert validator.validate(token)
        world.clock.step_wall(-1)
        with pytest.raises(NotYetValidError):
            validator.validate(token)

    def test_a_token_of_today_on_a_machine_that_has_just_started(self) -> None:
        """A monotonic clock near zero, or far ahead, changes nothing (M26)."""
        for monotonic in (0.0, 4_000_000_000.0):
            clock = FakeClock(monotonic=monotonic)
            issuer = FakeIssuer(clock=clock)
            validator = TokenValidator(issuer.issuer, audience=AUDIENCE, fetcher=issuer.fetcher(), clock=clock)
            assert validator.validate(issuer.token(lifetime=5))
            with pytest.raises(ExpiredTokenError):
                validator.validate(issuer.token(lifetime=-61))

    @pytest.mark.parametrize("leeway", [0, 60, 300])
    def test_leeway_at_its_boundary(self, world: World, leeway: int) -> None:
        """The last instant is out (B15, B16)."""
        validator = world.fixed(leeway=leeway)
        assert validator.validate(world.issuer.token(lifetime=1 - leeway))
        with pytest.raises(ExpiredTokenError):
            validator.validate(world.issuer.token(lifetime=-leeway))
        now = int(world.clock.wall())
        assert validator.validate(world.issuer.token(nbf=now + leeway))
        with pytest.raises(NotYetValidError):
            validator.validate(world.issuer.token(nbf=now + leeway + 1))

    def test_a_token_that_expires_while_it_waits_for_its_key(self, world: World) -> None:
        """The claims are judged again after a wait (README, order of judgement)."""

        class Slow:
            """Takes an hour of the clock."""

            def fetch(self, url: str, **settings: Any):
                world.clock.advance(3_600)
                return world.issuer.fetcher().fetch(url, **settings)

        validator = world.following(fetcher=Slow(), leeway=0)
        with pytest.raises(ExpiredTokenError):
            validator.validate(world.issuer.token(lifetime=1_800))


class TestKindsOfToken:
    """`access`, `at+jwt` and `id` exclude each other (C67)."""

    AT_JWT: ClassVar = {"client_id": "app", "jti": "1", "headers": {"typ": "at+jwt"}}

    def test_an_at_jwt(self, world: World) -> None:
        """It is accepted as such and as an access token, and never as an ID token (RFC 9068)."""
        token = world.issuer.token(**self.AT_JWT)
        assert world.fixed(token_type="at+jwt").validate(token)
        assert world.fixed().validate(token)
        with pytest.raises(TokenTypeError):
            world.fixed(token_type="id").validate(token)
        with pytest.raises(MissingClaimError, match="jti"):
            world.fixed(token_type="at+jwt").validate(world.issuer.token(**{**self.AT_JWT, "jti": None}))

    def test_an_id_token(self, world: World) -> None:
        """It is accepted as such, and its hash gives it away elsewhere."""
        token = world.issuer.token(at_hash="x", nonce="n")
        assert world.fixed(token_type="id").validate(token, nonce="n")
        for kind in ("access", "at+jwt"):
            with pytest.raises(TokenTypeError):
                world.fixed(token_type=kind).validate(token)

    @pytest.mark.parametrize("azp", [["app"], {"a": 1}, [], {}, 1])
    def test_an_authorised_party_of_any_type_is_our_error(self, world: World, azp: Any) -> None:
        """Nobody needs a signature to send one, so it must not be an error of Python's."""
        with pytest.raises(ClaimError):
            world.fixed(token_type="id").validate(world.issuer.forge(azp=azp))

    def test_a_nonce_is_for_id_tokens(self, world: World) -> None:
        """Elsewhere a nonce that is handed in would be compared with nothing."""
        with pytest.raises(ConfigurationError, match="token_type"):
            world.fixed().validate(world.issuer.token(), nonce="n")
        for token, error in (
            (world.issuer.token(nonce="m"), ClaimError),
            (world.issuer.token(), MissingClaimError),
            (with_claims(world.issuer, nonce=1), ClaimError),
        ):
            with pytest.raises(error):
                world.fixed(token_type="id").validate(token, nonce="n")

    def test_required_claims(self, world: World) -> None:
        """Each one must be there, beside what the kind asks for."""
        validator = world.fixed(required_claims=["jti", "tenant"])
        assert validator.validate(world.issuer.token(jti="1", tenant=0))
        with pytest.raises(MissingClaimError, match="tenant"):
            validator.validate(world.issuer.token(jti="1"))


class TestKeys:
    """A token is verified with a key of its own issuer, and nothing is remembered but what the header says."""

    def test_threads_and_coroutines_share_one_key_set(self, world: World) -> None:
        """One fetch serves both."""
        validator = world.following()
        assert "k1" == asyncio.run(validator.validate_async(world.issuer.token())).key_id
        assert "k1" == validator.validate(world.issuer.token()).key_id
        assert "k1" == asyncio.run(validator.validate_async(world.issuer.token())).key_id
        world.issuer.fetches.expect(discovery=1, jwks=1)
        assert validator.status().ready

    def test_fixed_keys_in_a_coroutine(self, world: World) -> None:
        """The same verdicts as on a thread."""
        assert asyncio.run(world.fixed().validate_async(world.issuer.token())).subject
        with pytest.raises(InvalidSignatureError):
            asyncio.run(world.fixed().validate_async(world.issuer.forge()))

    def test_a_key_without_kid_is_known_by_its_thumbprint(self, world: World) -> None:
        """`key_id` always says which key it was."""
        world.issuer.cut_over("k", kid=None)
        validator = world.fixed()
        assert (
            StaticKeySet.from_jwks(world.issuer.jwks()).snapshot().keys[0].thumbprint
            == validator.validate(world.issuer.token(headers={"kid": None})).key_id
        )

    @pytest.mark.parametrize("count", [2, 16])
    def test_every_key_of_a_kid_is_tried(self, world: World, count: int) -> None:
        """Decoys under the same kid, in any order, change no verdict (R2, M15)."""
        for number in range(count - 1):
            world.issuer.publish(f"decoy{number}", kid="k1")
        kids = ["k1", *(f"decoy{number}" for number in range(count - 1))]
        for seed in range(2):
            world.issuer.shuffle(seed)
            for kid in kids:
                # A client of its own for each, because one that knows the kid takes another path.
                for validator in (world.following(), world.fixed()):
                    assert "k1" == validator.validate(world.issuer.token(key=kid)).key_id

    def test_a_header_that_was_accepted_once_changes_nothing(self, world: World) -> None:
        """Other claims and another signature under the same header are judged as if it were the first token."""
        for validator in (world.fixed(), world.following()):
            assert validator.validate(world.issuer.token())
            assert "bob" == validator.validate(world.issuer.token(subject="bob")).subject
            for token, error in (
                (world.issuer.forge(), InvalidSignatureError),
                (world.issuer.token(audience="other"), InvalidAudienceError),
                (world.issuer.token(lifetime=-100), ExpiredTokenError),
                (world.issuer.token().rpartition(".")[0] + ".", MalformedTokenError),
                (world.issuer.token() + "=", MalformedTokenError),
            ):
                with pytest.raises(error):
                    validator.validate(token)

    def test_many_headers(self, world: World) -> None:
        """Far more headers than are remembered are judged alike."""
        validator = world.fixed()
        for number in range(300):
            read = validator.validate(world.issuer.token(headers={"n": str(number)}))
            assert str(number) == read.header["n"]
        for number in range(300):
            with pytest.raises(InvalidSignatureError):
                validator.validate(world.issuer.forge(headers={"n": str(number)}))

    def test_what_a_handler_does_to_one_token_is_not_seen_by_the_next(self, world: World) -> None:
        """Header and claims of one validated token are its own."""
        validator, token = world.fixed(), world.issuer.token(headers={"list": ["a"]}, roles=["user"])
        first = validator.validate(token)
        first.header["list"].append("b")
        first.claims["roles"].append("admin")
        second = validator.validate(token)
        assert (["a"], {"user"}) == (second.header["list"], second.roles)

    def test_an_outage_is_never_told_as_a_bad_token(self, world: World) -> None:
        """A good token and a forged one are answered with 503 while nobody can know, a malformed one with 401 (M44, M45)."""
        with world.issuer.down(document="both"):
            for token in (world.issuer.token(), world.issuer.forge(), world.issuer.forge(key="nobody")):
                with pytest.raises(KeysUnavailableError) as caught:
                    world.following().validate(token)
                assert FetchError is type(caught.value)
                assert 503 == caught.value.http_status
            validator = world.following()
            for text in ("", "a.b.c", None, world.issuer.token() + "=", world.issuer.token(audience="x"), world.issuer.token(lifetime=-100)):
                with pytest.raises(KeyturnError) as refused:
                    validator.validate(text)  # type: ignore[arg-type]
                assert 401 == refused.value.http_status

    def test_a_key_of_another_issuer_scope(self, world: World) -> None:
        """Fixed keys may hold a key that is published for one issuer alone; it serves that one (AT33, M33)."""
        world.issuer.cut_over("scoped", issuer="https://other.test")
        with pytest.raises(InvalidIssuerError, match='published for "https://other.test" alone'):
            world.fixed().validate(world.issuer.token())
        assert world.fixed(issuer="https://other.test").validate(world.issuer.token(iss="https://other.test"))
