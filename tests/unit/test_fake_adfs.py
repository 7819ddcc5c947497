"""The fake AD FS: its documents, its two names, tokens that name a certificate, and the calendar of its certificates day by day."""

from __future__ import annotations

import json
from typing import Any

import pytest
from defusedxml.ElementTree import fromstring
from tests.unit.material import parts

from keyturn import (
    ConfigurationError,
    FederationMetadataDocument,
    FetchError,
    InvalidIssuerError,
    InvalidSignatureError,
    KeySetClient,
    TokenValidator,
    UnknownKeyError,
)
from keyturn.issuers import adfs as preset
from keyturn.testing import FakeAdfs, FakeClock, FakeEntra, federation_metadata
from keyturn.testing.adfs import CLIENT

HOST = "https://fs.keyturn.test"
TRUST = "http://fs.keyturn.test/adfs/services/trust"
PATH = "/FederationMetadata/2007-06/FederationMetadata.xml"
NOW = 1_800_000_000
DAY = 86_400.0


@pytest.fixture
def adfs() -> FakeAdfs:
    """An AD FS on a clock that stands still."""
    return FakeAdfs(clock=FakeClock())


def clock_of(issuer: FakeAdfs) -> FakeClock:
    """Return the clock that only the test moves."""
    assert isinstance(issuer.clock, FakeClock)
    return issuer.clock


def read(adfs: FakeAdfs, url: str) -> bytes:
    """Return a document without a socket."""
    return adfs.fetcher().fetch(url, headers={}, max_bytes=524_288, deadline=60.0).body


class TestDocuments:
    """What stands where."""

    def test_discovery(self, adfs: FakeAdfs) -> None:
        """It states the issuer of ID tokens, the name in access tokens, and where the keys stand."""
        document = json.loads(read(adfs, f"{HOST}/adfs/.well-known/openid-configuration"))
        stated = [document[name] for name in ("issuer", "access_token_issuer", "jwks_uri", "id_token_signing_alg_values_supported")]
        assert [f"{HOST}/adfs", TRUST, f"{HOST}/adfs/discovery/keys", ["RS256"]] == stated

    def test_key_set(self, adfs: FakeAdfs) -> None:
        """Kid and thumbprint are one text, with the certificate beside them."""
        (entry,) = json.loads(read(adfs, f"{HOST}/adfs/discovery/keys"))["keys"]
        assert {"kty", "use", "alg", "kid", "x5t", "n", "e", "x5c"} == set(entry)
        assert (adfs.keys.x5t(), adfs.keys.x5t(), "RS256") == (entry["kid"], entry["x5t"], entry["alg"])

    @pytest.mark.parametrize("path", [PATH, PATH.lower()])
    def test_metadata(self, adfs: FakeAdfs, path: str) -> None:
        """It is of the name in access tokens; two roles issue tokens, and the certificate for encryption is the key of nothing."""
        adfs.keys.publish("k2")
        found = FederationMetadataDocument.parse(read(adfs, HOST + path), entity_ids=TRUST, now=NOW)
        assert {adfs.keys.x5t("k1"), adfs.keys.x5t("k2")} == {key.kid for key in found.keys.keys}
        keys = {role.name: (role.issues_tokens, len(role.keys.keys)) for role in found.roles}
        without, issuing = (False, 0), (True, 2)
        assert keys == {
            "ApplicationServiceType": without,
            "SPSSODescriptor": without,
            "IDPSSODescriptor": issuing,
            "SecurityTokenServiceType": issuing,
        }
        adfs.fetches.expect(metadata=1)

    @pytest.mark.parametrize("algorithm", ["RS256", "ES256", "ES384"])
    def test_the_primary_signs_the_metadata(self, algorithm: str) -> None:
        """The signature verifies for the primary's certificate, and for no other that is listed."""
        adfs = FakeAdfs(algorithm=algorithm, clock=FakeClock())
        adfs.keys.publish("k2")
        found = FederationMetadataDocument.read(adfs.metadata(), now=NOW)
        hexes = {kid: [key.x5t_s256 for key in found.keys.keys if key.kid == adfs.keys.x5t(kid)] for kid in ("k1", "k2")}
        client = {kid: _pinned(adfs, thumbprint) for kid, (thumbprint,) in hexes.items()}
        assert 2 == len(client["k1"].refresh().keys)
        with pytest.raises(Exception, match="metadata_signer"):
            client["k2"].refresh()

    def test_the_signature_stands_first(self, adfs: FakeAdfs) -> None:
        """Where schemas of metadata want it: before every role (SAML Metadata, section 2.3.2)."""
        root = fromstring(adfs.metadata())
        assert "{http://www.w3.org/2000/09/xmldsig#}Signature" == root[0].tag
        assert 4 == sum(child.tag.endswith("Descriptor") for child in root[1:])

    def test_unsigned(self) -> None:
        """It is not signed where that was not wanted, nor by a kind of key that signs no metadata."""
        for settings in ({"sign_metadata": False}, {"algorithm": "Ed25519"}):
            document = FakeAdfs(clock=FakeClock(), **settings).metadata()  # type: ignore[arg-type]
            assert not FederationMetadataDocument.read(document, now=NOW).signed

    def test_a_signature_that_cannot_be(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever asks for one is told what is missing; without the extra everybody else gets the document unsigned."""
        with pytest.raises(ConfigurationError, match="got one of Ed25519"):
            FakeAdfs(algorithm="Ed25519", sign_metadata=True).metadata()
        with pytest.raises(ConfigurationError, match="got one of Ed448"):
            federation_metadata.document(TRUST, signer=FakeAdfs(algorithm="Ed448").keys.lend())
        monkeypatch.setattr(federation_metadata, "find_spec", lambda name: None)
        for issuer in (FakeAdfs(sign_metadata=True), FakeEntra(sign_metadata=True)):
            with pytest.raises(ConfigurationError, match='"lxml" is not installed') as caught:
                issuer.metadata()
            assert "keyturn[saml]" in caught.value.hint
        assert not FederationMetadataDocument.read(FakeAdfs(clock=FakeClock()).metadata(), now=NOW).signed

    @pytest.mark.parametrize("url", [HOST, f"{HOST}/adfs", f"http://fs.keyturn.test{PATH}", TRUST])
    def test_elsewhere_is_nothing(self, adfs: FakeAdfs, url: str) -> None:
        """Its names are no places."""
        with pytest.raises(FetchError, match="answered 404"):
            read(adfs, url)

    def test_repr(self, adfs: FakeAdfs) -> None:
        """A failing test shows which certificates were in play."""
        adfs.keys.publish("k2")
        assert "<FakeAdfs fs.keyturn.test primary='k1' secondary=['k2']>" == repr(adfs)


def _pinned(adfs: FakeAdfs, thumbprint: str | None) -> KeySetClient:
    assert thumbprint is not None
    fetcher, clock = adfs.fetcher(), adfs.clock
    return KeySetClient(TRUST, metadata_url=adfs.metadata_url, metadata_signer=thumbprint, fetcher=fetcher, clock=clock)


class TestTokens:
    """What tokens claim, and who accepts them."""

    def test_access_token(self, adfs: FakeAdfs) -> None:
        """It carries the name of AD FS as issuer, and its header names the certificate twice."""
        header, claims, _ = parts(adfs.token(scopes=["openid", "orders"]))
        assert {"alg": "RS256", "typ": "JWT", "kid": adfs.keys.x5t(), "x5t": adfs.keys.x5t()} == header
        expected = {"iss": TRUST, "sub": "alice", "aud": "api://test", "iat": NOW, "exp": NOW + 3600}
        assert {**expected, "apptype": "Confidential", "appid": CLIENT, "ver": "1.0", "scp": "openid orders"} == claims

    def test_x5t_alone(self, adfs: FakeAdfs) -> None:
        """There are tokens without a kid."""
        assert {"alg": "RS256", "typ": "JWT", "x5t": adfs.keys.x5t()} == parts(adfs.token(x5t_only=True))[0]

    def test_another_identifier(self) -> None:
        """What AD FS calls itself is configuration."""
        adfs = FakeAdfs(identifier="urn:keyturn:fs", clock=FakeClock())
        assert "urn:keyturn:fs" == parts(adfs.token())[1]["iss"] == adfs.discovery()["access_token_issuer"]
        assert "urn:keyturn:fs" == FederationMetadataDocument.read(adfs.metadata(), now=NOW).entity_id

    @pytest.mark.parametrize("x5t_only", [False, True])
    def test_by_the_preset(self, adfs: FakeAdfs, x5t_only: bool) -> None:
        """Access tokens pass with kid or `x5t`, ID tokens at a login, and neither in the place of the other."""
        settings: dict[str, Any] = {"clock": adfs.clock, "fetcher": adfs.fetcher()}
        api = preset.validator(adfs.issuer, audience="api://test", **settings)
        login = preset.validator(adfs.issuer, audience=CLIENT, token_type="id", **settings)
        assert CLIENT == api.validate(adfs.token(x5t_only=x5t_only)).client_id
        assert "alice" == login.validate(adfs.id_token(nonce="n"), nonce="n").subject
        for validator, token in ((api, adfs.id_token()), (login, adfs.token())):
            with pytest.raises(InvalidIssuerError):
                validator.validate(token)

    def test_by_a_plain_validator(self, adfs: FakeAdfs) -> None:
        """The name is the issuer, and the keys come from the key set, the discovery document or the metadata."""
        for location in ({"jwks_url": adfs.jwks_url}, {"metadata_url": adfs.metadata_url}):
            client = KeySetClient(TRUST, clock=adfs.clock, fetcher=adfs.fetcher(), **location)
            assert "alice" == TokenValidator(client, audience="api://test").validate(adfs.token()).subject
        client = KeySetClient(adfs.issuer, clock=adfs.clock, fetcher=adfs.fetcher())
        assert "alice" == TokenValidator(client, audience="api://test", issuer=TRUST).validate(adfs.token()).subject

    def test_forged_tokens(self, adfs: FakeAdfs) -> None:
        """One under a real name fails at its signature, one under a made-up name at its key."""
        validator = preset.validator(adfs.issuer, audience="api://test", clock=adfs.clock, fetcher=adfs.fetcher())
        with pytest.raises(InvalidSignatureError):
            validator.validate(adfs.forge())
        with pytest.raises(UnknownKeyError):
            validator.validate(adfs.forge(key="nobody"))

    def test_misuse(self, adfs: FakeAdfs) -> None:
        """A key that there is not is told."""
        with pytest.raises(ValueError, match='kid "k9" is unknown'):
            adfs.token(key="k9")


def roles_on(day: int) -> tuple[str, tuple[str, ...]]:
    """Return primary and secondary on a day, by the published calendar; certificates are made on day 0, 345, 690, ..."""
    made = day // 345
    if made == 0:
        return "k1", ()
    promoted = day - 345 * made >= 5
    return (f"k{made + 1}", (f"k{made}",)) if promoted else (f"k{made}", (f"k{made + 1}",))


class TestCalendar:
    """A secondary 20 days before the primary expires, primary 5 days later."""

    def test_day_by_day(self, adfs: FakeAdfs) -> None:
        """For two years every day is as the calendar says, in `keys`, in both documents and in tokens."""
        for day in range(731):
            primary, secondary = roles_on(day)
            assert (primary, secondary) == (adfs.primary, adfs.secondary), day
            if day % 5 == 0 or 340 <= day % 345:
                assert adfs.keys.x5t(primary) == parts(adfs.token())[0]["kid"], day
                kids = {adfs.keys.x5t(kid) for kid in (primary, *secondary)}
                found = FederationMetadataDocument.parse(adfs.metadata(), entity_ids=TRUST, now=adfs.clock.wall())
                assert kids == {entry["kid"] for entry in adfs.jwks()["keys"]} == {key.kid for key in found.keys.keys}, day
            clock_of(adfs).advance(days=1)

    def test_the_instants(self, adfs: FakeAdfs) -> None:
        """Not a second before: 20 days before NotAfter, and 5 days after that, 15 days before NotAfter."""
        expiry, seen = adfs.keys.not_after(), []
        assert NOW + 365 * DAY == expiry
        for instant in (expiry - 20 * DAY - 1, expiry - 20 * DAY, expiry - 15 * DAY - 1, expiry - 15 * DAY, expiry + 1):
            clock_of(adfs).advance(instant - adfs.clock.wall())
            seen.append((adfs.primary, adfs.secondary))
        assert [("k1", ()), ("k1", ("k2",)), ("k1", ("k2",)), ("k2", ("k1",)), ("k2", ("k1",))] == seen
        assert expiry + 345 * DAY == adfs.keys.not_after("k2")

    @pytest.mark.parametrize("days", [344, 345, 349, 350, 689, 690, 695, 1400])
    def test_what_nobody_looked_at_has_happened(self, adfs: FakeAdfs, days: int) -> None:
        """Months that pass in one step end as they would day by day, each certificate made at its own instant."""
        clock_of(adfs).advance(days=days)
        assert roles_on(days) == (adfs.primary, adfs.secondary)
        assert NOW + (365 + 345 * (int(adfs.primary[1:]) - 1)) * DAY == adfs.keys.not_after()

    @pytest.mark.parametrize("order", [["k1", "k2"], ["k2", "k1"]])
    def test_either_order(self, adfs: FakeAdfs, order: list[str]) -> None:
        """The order of the documents changes nothing in who signs."""
        clock_of(adfs).advance(days=345)
        seed = next(seed for seed in range(100) if (adfs.keys.shuffle(seed), list(adfs.keys.published_kids) == order)[1])
        assert seed < 100
        assert [adfs.keys.x5t(kid) for kid in order] == [entry["kid"] for entry in adfs.jwks()["keys"]]
        assert ("k1", ("k2",)) == (adfs.primary, adfs.secondary)
        clock_of(adfs).advance(days=5)
        assert ("k2", ("k1",)) == (adfs.primary, adfs.secondary)

    def test_numbers_of_ones_own(self) -> None:
        """The thresholds are settings, as they are of AD FS."""
        adfs = FakeAdfs(certificate_duration=30, generation_threshold=10, promotion_threshold=2, clock=FakeClock())
        seen = []
        for days in (19, 1, 1, 1):
            clock_of(adfs).advance(days=days)
            seen.append((adfs.primary, adfs.secondary))
        assert [("k1", ()), ("k1", ("k2",)), ("k1", ("k2",)), ("k2", ("k1",))] == seen

    @pytest.mark.parametrize("numbers", [(365, 5, 20), (20, 20, 5), (365, 20, -1)])
    def test_numbers_that_make_no_calendar(self, numbers: tuple[int, int, int]) -> None:
        """Thresholds that would roll over for ever, or never, are refused."""
        duration, generation, promotion = numbers
        with pytest.raises(ValueError, match="certificate_duration"):
            FakeAdfs(certificate_duration=duration, generation_threshold=generation, promotion_threshold=promotion)

    def test_without_it(self) -> None:
        """With AutoCertificateRollover off a certificate expires, and stays."""
        adfs = FakeAdfs(auto_rollover=False, clock=FakeClock())
        clock_of(adfs).advance(days=400)
        assert ("k1", ()) == (adfs.primary, adfs.secondary)
        assert adfs.keys.not_after() < adfs.clock.wall()


class TestByHand:
    """What an operator does."""

    def test_urgent(self, adfs: FakeAdfs) -> None:
        """A new certificate signs at once, and the old one stays until it is taken out; an emergency makes two."""
        assert ["k2", "k3"] == [adfs.update_certificate(), adfs.update_certificate()]
        assert ("k3", ("k1", "k2")) == (adfs.primary, adfs.secondary)
        adfs.keys.retire("k1")
        assert ("k3", ("k2",)) == (adfs.primary, adfs.secondary)

    def test_urgent_while_a_secondary_waits(self, adfs: FakeAdfs) -> None:
        """What waited for its promotion is not promoted over a newer one."""
        clock_of(adfs).advance(days=346)
        assert "k3" == adfs.update_certificate()
        clock_of(adfs).advance(days=30)
        assert ("k3", ("k1", "k2")) == (adfs.primary, adfs.secondary)

    @pytest.mark.parametrize(
        ("step", "primary"),
        [(lambda keys: keys.promote("k2"), "k2"), (lambda keys: keys.retire("k2"), "k3"), (lambda keys: keys.cut_over("own"), "own")],
    )
    def test_steps_before_the_promotion(self, adfs: FakeAdfs, step: Any, primary: str) -> None:
        """A secondary that was promoted, taken out or replaced by hand is not promoted again; a missing one is made anew."""
        clock_of(adfs).advance(days=346)
        step(adfs.keys)
        clock_of(adfs).advance(days=10)
        assert primary == adfs.primary

    def test_new_material_under_an_old_name(self, adfs: FakeAdfs) -> None:
        """Another key has another certificate, which documents, tokens and validators agree on (R12)."""
        validator = preset.validator(adfs.issuer, audience="api://test", clock=adfs.clock, fetcher=adfs.fetcher())
        old = validator.validate(adfs.token()).key_id
        adfs.keys.replace_material("k1")
        assert old != adfs.keys.x5t("k1") == validator.validate(adfs.token()).key_id
        found = FederationMetadataDocument.parse(adfs.metadata(), entity_ids=TRUST, now=NOW)
        assert [adfs.keys.x5t("k1")] == [key.kid for key in found.keys.keys]

    def test_a_name_that_is_taken(self, adfs: FakeAdfs) -> None:
        """The calendar makes no step of the operator's fail."""
        adfs.keys.publish("k3")
        clock_of(adfs).advance(days=345)
        assert ("k1", ("k4",)) == (adfs.primary, adfs.secondary)
