"""More of what a fake issuer can do: an emergency with a stolen key, expired and foreign tokens, and the shapes of well-known issuers."""

from __future__ import annotations

import base64
import gc
import json
import pickle
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from keyturn import (
    ExpiredTokenError,
    InvalidIssuerError,
    InvalidSignatureError,
    InvalidTokenError,
    RevokedKeyError,
    TokenValidator,
    UnknownKeyError,
    ValidatedToken,
)
from keyturn.issuers import auth0, cognito, entra, github_actions, google, keycloak, kubernetes, okta
from keyturn.testing import FakeAdfs, FakeClock, FakeEntra, FakeIssuer, KeyRing
from keyturn.testing.shapes import SHAPES


def read(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims of a token."""
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2])
    return header, claims


@pytest.fixture
def issuer() -> FakeIssuer:
    """An issuer on a clock that stands still."""
    return FakeIssuer(clock=FakeClock())


def validator_of(issuer: FakeIssuer, **settings: Any) -> TokenValidator:
    """Return a validator of the issuer's tokens."""
    return TokenValidator(issuer.issuer, audience="api://test", fetcher=issuer.fetcher(), clock=issuer.clock, **settings)


class TestEmergency:
    """A key is stolen."""

    def test_the_key_leaves_and_another_signs(self, issuer: FakeIssuer) -> None:
        """From one instant to the next the compromised key is gone, and a published one signs."""
        issuer.publish("k2")
        stolen = issuer.emergency("k1")
        assert (("k2",), "k2", "k1", "ES256") == (issuer.published_kids, issuer.signing_kid, stolen.kid, stolen.algorithm)
        assert "k2" == validator_of(issuer).validate(issuer.token()).key_id

    @pytest.mark.parametrize(
        ("kid", "successor", "published", "signing"),
        [
            (None, None, ("k2", "k3"), "k3"),
            ("k1", "k2", ("k2", "k3"), "k2"),
            ("k1", "new", ("k2", "k3", "new"), "new"),
            ("k2", None, ("k1", "k3"), "k1"),
            ("k2", "k3", ("k1", "k3"), "k3"),
        ],
    )
    def test_who_signs_next(self, issuer: FakeIssuer, kid: str | None, successor: str | None, published: tuple[str, ...], signing: str) -> None:
        """The successor is the one that is named, published or new; unnamed it is the one that came last, and a key that does not sign needs none."""
        issuer.publish("k2")
        issuer.publish("k3")
        issuer.emergency(kid, successor=successor)
        assert (published, signing) == (issuer.published_kids, issuer.signing_kid)

    def test_the_only_key(self, issuer: FakeIssuer) -> None:
        """Where no other key is published, a new one is published in the same instant."""
        issuer.emergency()
        assert (("k1-successor",), "k1-successor") == (issuer.published_kids, issuer.signing_kid)
        issuer.emergency()
        assert (("k1-successor-successor",), "k1-successor-successor") == (issuer.published_kids, issuer.signing_kid)

    @pytest.mark.parametrize("step", ["withhold", "retire"])
    def test_a_key_that_signs_in_hiding(self, issuer: FakeIssuer, step: str) -> None:
        """A key that signs can be compromised wherever it stands."""
        getattr(issuer, step)("k1")
        stolen = issuer.emergency("k1", successor="k2")
        assert ("k1", ("k2",), "k2") == (stolen.kid, issuer.published_kids, issuer.signing_kid)

    def test_forging(self, issuer: FakeIssuer) -> None:
        """What the thief signs passes where the key is still trusted, until somebody revokes it (R10, R11)."""
        validator = validator_of(issuer)
        validator.validate(issuer.token())
        stolen = issuer.emergency("k1")
        forged = stolen.forge(issuer.token(subject="mallory"))
        assert ("mallory", "k1") == (validator.validate(forged).subject, read(forged)[0]["kid"])
        validator.client.revoke(kid="k1")
        with pytest.raises(RevokedKeyError):
            validator.validate(forged)
        with pytest.raises(UnknownKeyError):
            validator_of(issuer).validate(forged)

    def test_the_thief_keeps_the_old_key(self, issuer: FakeIssuer) -> None:
        """A new key under the old kid is not the stolen one."""
        stolen = issuer.emergency("k1")
        issuer.publish("k1")
        with pytest.raises(InvalidSignatureError):
            validator_of(issuer).validate(stolen.forge(issuer.token()))

    def test_the_stolen_key_is_nobody_elses(self) -> None:
        """Keys of issuers that are gone are lent again, but one that a thief still holds is not."""
        stolen = FakeIssuer(algorithm="RS256", rsa_bits=1040).emergency()
        gc.collect()
        others = [FakeIssuer(algorithm="RS256", rsa_bits=1040, clock=FakeClock()) for _ in range(2)]
        signature = base64.urlsafe_b64decode(stolen.forge(others[0].token()).rpartition(".")[2] + "==")
        numbers = [base64.urlsafe_b64decode(other.jwks()["keys"][0]["n"] + "==") for other in others]
        # What e = 65537 makes of the signature begins with 00 01 ff under its own modulus alone (RFC 8017, section 9.2).
        opened = [pow(int.from_bytes(signature), 65537, int.from_bytes(number)).to_bytes(130) for number in numbers]
        assert [False, False] == [text.startswith(b"\0\1\xff") for text in opened]

    def test_headers_of_a_forged_token(self, issuer: FakeIssuer) -> None:
        """Header parameters can be added, replaced and left out; what the token had besides stays."""
        stolen = issuer.emergency("k1")
        header = read(stolen.forge(issuer.token(headers={"typ": "at+jwt"}), headers={"kid": None, "x": 1}))[0]
        assert {"alg": "ES256", "typ": "at+jwt", "x": 1} == header

    def test_a_certificate_goes_along(self) -> None:
        """Where tokens name certificates, those of the thief name the stolen key's."""
        adfs = FakeAdfs(clock=FakeClock(), auto_rollover=False)
        thumbprint = adfs.keys.x5t()
        stolen = adfs.keys.emergency()
        assert {thumbprint} == {read(stolen.forge(adfs.token()))[0][name] for name in ("kid", "x5t")}
        entra_stolen = FakeEntra(clock=FakeClock()).keys.emergency()
        assert "x5t" not in read(entra_stolen.forge(FakeEntra(clock=FakeClock()).token()))[0]

    def test_the_key_is_not_told(self, issuer: FakeIssuer) -> None:
        """Neither repr nor pickle gives the key away."""
        stolen = issuer.emergency("k1")
        assert "<StolenKey 'k1' ES256>" == repr(stolen)
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(stolen)

    @pytest.mark.parametrize(
        ("step", "words"),
        [
            (lambda i: i.emergency("k9"), 'kid "k9" is unknown'),
            (lambda i: i.emergency("k0"), 'kid "k0" is retired, expected published: only a key that is in use can be compromised'),
            (lambda i: i.emergency("k1", successor="k1"), 'kid "k1" is compromised, expected another key'),
            (lambda i: i.emergency("k1", successor="k2"), 'kid "k2" is withheld, expected published'),
        ],
    )
    def test_misuse(self, issuer: FakeIssuer, step: Callable[[KeyRing], object], words: str) -> None:
        """An emergency that makes no sense is told, and changes nothing."""
        for kid in ("k0", "k2"):
            issuer.publish(kid)
        issuer.retire("k0")
        issuer.withhold("k2")
        before = issuer.jwks(), issuer.signing_kid
        with pytest.raises(ValueError, match=words):
            step(issuer)
        assert before == (issuer.jwks(), issuer.signing_kid)


class TestTokens:
    """Tokens that are good but for one thing."""

    @pytest.mark.parametrize(("ago", "seconds"), [(3600, 3600), (timedelta(days=2), 172_800), (61, 61)])
    def test_expired(self, issuer: FakeIssuer, ago: float | timedelta, seconds: int) -> None:
        """An expired token was good for an hour, and takes what any token takes."""
        token = issuer.expired(ago, subject="bob")
        claims = read(token)[1]
        now = int(issuer.clock.wall())
        assert (now - seconds - 3600, now - seconds, "bob") == (claims["iat"], claims["exp"], claims["sub"])
        with pytest.raises(ExpiredTokenError):
            validator_of(issuer).validate(token)

    def test_foreign(self, issuer: FakeIssuer) -> None:
        """A foreign token is refused for its issuer; with the issuer's name and kid it is a forged one."""
        assert ("foreign-1", "https://other-issuer.test") == (read(issuer.foreign())[0]["kid"], read(issuer.foreign())[1]["iss"])
        with pytest.raises(InvalidIssuerError):
            validator_of(issuer).validate(issuer.foreign())
        with pytest.raises(InvalidSignatureError):
            validator_of(issuer).validate(issuer.foreign(issuer.issuer, key="k1"))


PRESETS: dict[str, Callable[..., TokenValidator]] = {
    "entra": lambda issuer, **more: entra.validator("7e57ab1e-0000-4000-8000-000000000001", audience=issuer.audience, **more),
    "keycloak": lambda issuer, **more: keycloak.validator("https://sso.keycloak.test", "shop", audience="api://test", **more),
    "auth0": lambda issuer, **more: auth0.validator("tenant.auth0.test", audience="api://test", rbac=True, **more),
    "okta": lambda issuer, **more: okta.validator("org.okta.test", audience=issuer.audience, **more),
    "cognito": lambda issuer, **more: cognito.validator("eu-central-1", "eu-central-1_A1b2C3d4E", audience=issuer.audience, **more),
    "google": lambda issuer, **more: google.validator(audience=issuer.audience, **more),
    "github-actions": lambda issuer, **more: github_actions.validator(audience=issuer.audience, repository_ids="74", **more),
    "kubernetes": lambda issuer, **more: kubernetes.validator(issuer.issuer, audience="api://test", discovery_url=issuer.discovery_url, **more),
}
NARROWER = {
    "entra": {"alg-of-another-type", "alg-in-family", "key-of-another-issuer", "wrong-curve", "small-order", "pss-salt", "pss-mask"},
}
"""Bad tokens that a preset refuses earlier, since it allows fewer algorithms."""


def preset_of(issuer: FakeIssuer, name: str) -> TokenValidator:
    """Return the validator that a user of the preset has."""
    return PRESETS[name](issuer, fetcher=issuer.fetcher(), clock=issuer.clock)


class TestShapes:
    """`FakeIssuer.like()`."""

    def test_every_shape_has_its_preset(self) -> None:
        """No shape is untested."""
        assert set(SHAPES) == set(PRESETS)

    @pytest.mark.parametrize("name", SHAPES)
    def test_its_token_passes_the_preset(self, name: str) -> None:
        """A token of the shape is accepted by the preset, with its subject, before and after a rollover."""
        issuer = FakeIssuer.like(name, clock=FakeClock())
        validator = preset_of(issuer, name)
        first = validator.validate(issuer.token())
        assert ("alice", "k1") == (first.subject, first.key_id)
        issuer.cut_over("k2")
        assert "k2" == validator.validate(issuer.token()).key_id

    @pytest.mark.parametrize("name", sorted(set(SHAPES) - {"google", "github-actions", "kubernetes", "auth0"}))
    def test_scopes_and_roles_stand_where_the_preset_reads_them(self, name: str) -> None:
        """Scopes and roles that a test asks for are those that the validator finds."""
        issuer = FakeIssuer.like(name, clock=FakeClock())
        token: ValidatedToken = preset_of(issuer, name).validate(issuer.token(scopes=["a", "b"], roles=["admin"]))
        assert ({"a", "b"}, {"admin"}) == (token.scopes, token.roles)

    def test_permissions_of_auth0(self) -> None:
        """At Auth0 roles of the kit are permissions, which the preset reads as scopes."""
        issuer = FakeIssuer.like("auth0", clock=FakeClock())
        assert {"read:orders"} == preset_of(issuer, "auth0").validate(issuer.token(roles=["read:orders"])).scopes

    @pytest.mark.parametrize("name", sorted(set(SHAPES) - {"google"}))
    def test_bad_tokens_of_a_shape(self, name: str) -> None:
        """The catalogue is as good against a preset: each is refused, with the same error unless the preset refuses it earlier."""
        issuer = FakeIssuer.like(name, clock=FakeClock())
        bad_tokens = issuer.bad_tokens()
        validator, earlier = preset_of(issuer, name), NARROWER.get(name, set())
        for bad in bad_tokens:
            with pytest.raises(InvalidTokenError if bad.name in earlier else bad.error):
                validator.validate(bad.token)

    def test_quirks(self) -> None:
        """What makes an issuer special is there: a slash, a path, keys without alg, keys elsewhere, no audience, lists."""
        assert FakeIssuer.like("auth0").issuer.endswith("/")
        assert "https://tenant.auth0.test/.well-known/openid-configuration" == FakeIssuer.like("auth0").discovery_url
        assert "https://sso.keycloak.test/realms/shop/protocol/openid-connect/certs" == FakeIssuer.like("keycloak").jwks_url
        (entry,) = FakeIssuer.like("entra").jwks()["keys"]
        assert ("RSA", False, True) == (entry["kty"], "alg" in entry, "issuer" in entry)
        assert "https://login.microsoftonline.com/7e57ab1e-0000-4000-8000-000000000001/discovery/v2.0/keys" == FakeIssuer.like("entra").jwks_url
        assert "https://www.googleapis.com/oauth2/v3/certs" == FakeIssuer.like("google").discovery()["jwks_uri"]
        header, claims = read(FakeIssuer.like("cognito").token())
        assert ({"alg", "kid"}, False) == (set(header), "aud" in claims)
        assert ["a"] == read(FakeIssuer.like("okta").token(scopes="a"))[1]["scp"]

    def test_settings(self) -> None:
        """Clock, audience, algorithm and kid can be others."""
        clock = FakeClock()
        issuer = FakeIssuer.like("okta", clock=clock, audience="api://other", algorithm="ES256", kid="z")
        header, claims = read(issuer.token())
        assert ("ES256", "z", "api://other", clock) == (header["alg"], header["kid"], claims["aud"], issuer.clock)

    def test_an_unknown_shape(self) -> None:
        """A name that nobody has is told, with those that there are."""
        with pytest.raises(ValueError, match='there is no shape "nonsense", expected one of "entra", "keycloak"'):
            FakeIssuer.like("nonsense")

    def test_a_key_set_at_another_host_is_served(self) -> None:
        """One server serves both hosts: the key set answers under the issuer's origin as well."""
        issuer = FakeIssuer.like("google", clock=FakeClock())
        fetcher = issuer.fetcher()
        bodies = [
            fetcher.fetch(f"{origin}/oauth2/v3/certs", headers={}, max_bytes=9_999, deadline=9).body
            for origin in ("https://www.googleapis.com", "https://accounts.google.com")
        ]
        assert bodies[0] == bodies[1]
