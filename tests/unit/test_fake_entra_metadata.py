"""Federation metadata of the fake Entra, and how each of its documents fails for itself."""

from __future__ import annotations

import base64
import hashlib

import pytest

from keyturn import FederationMetadataDocument, FetchError
from keyturn.testing import FakeClock, FakeEntra
from keyturn.testing.entra import APP, TENANT

F = "f645ad92-e38d-4d1a-b510-d1b09a74a8ca"
L, S = "https://login.microsoftonline.com", "https://sts.windows.net"
NOW = 1_800_000_000


@pytest.fixture
def entra() -> FakeEntra:
    """An Entra of two tenants on a clock that stands still."""
    return FakeEntra((TENANT, F), domains={"contoso.test": F}, clock=FakeClock())


def read(entra: FakeEntra, url: str) -> bytes:
    """Return a document without a socket."""
    return entra.fetcher().fetch(url, headers={}, max_bytes=524_288, deadline=60.0).body


def x5t_s256(der: bytes) -> str:
    """Return the SHA-256 thumbprint of a certificate."""
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


class TestMetadata:
    """Federation metadata."""

    @pytest.mark.parametrize("path", ["FederationMetadata/2007-06/FederationMetadata.xml", "federationmetadata/2007-06/federationmetadata.xml"])
    @pytest.mark.parametrize(("tenant", "entity_id"), [(F, f"{S}/{F}/"), ("contoso.test", f"{S}/{F}/"), ("common", f"{S}/{{tenantid}}/")])
    def test_places_and_names(self, entra: FakeEntra, path: str, tenant: str, entity_id: str) -> None:
        """It stands below every tenant in any letter case, and is of its issuer of version 1, a template where it is of no tenant."""
        document = read(entra, f"{L}/{tenant}/{path}")
        assert document.startswith(b"\xef\xbb\xbf<EntityDescriptor ")
        assert entity_id == FederationMetadataDocument.read(document, now=NOW).entity_id
        entra.fetches.expect(metadata=1, discovery=0, jwks=0)

    def test_keys_and_roles(self, entra: FakeEntra) -> None:
        """Both roles that issue tokens hold every published key; that of an application holds them again, for nothing."""
        entra.keys.publish("k2")
        found = FederationMetadataDocument.parse(entra.metadata(F), entity_ids=f"{S}/{F}/", now=NOW)
        assert {entra.keys.x5t(), entra.keys.x5t("k2")} == {key.kid for key in found.keys.keys}
        assert [("ApplicationServiceType", 0), ("IDPSSODescriptor", 2), ("SecurityTokenServiceType", 2)] == [
            (role.name, len(role.keys.keys)) for role in found.roles
        ]

    def test_keys_of_an_application(self, entra: FakeEntra) -> None:
        """With an application's id it holds that application's keys."""
        own = entra.app_keys()
        assert entra.metadata_url(app=APP).endswith(f"?appid={APP}")
        found = FederationMetadataDocument.parse(read(entra, entra.metadata_url(app=APP)), entity_ids=entra.issuer(version=1), now=NOW)
        assert [own.x5t()] == [key.kid for key in found.keys.keys]

    @pytest.mark.parametrize("signer", ["k1", "k2"])
    def test_it_is_signed_by_one_of_its_keys(self, entra: FakeEntra, signer: str) -> None:
        """The key that signs tokens signs the document, wherever it stands among the others."""
        entra.keys.publish("k2")
        entra.keys.promote(signer)
        pinned = x5t_s256(entra.keys.certificate(signer))
        found = FederationMetadataDocument.parse(entra.metadata(), entity_ids=entra.issuer(version=1), now=NOW, signers=[pinned])
        assert (True, pinned) == (found.signed, found.signer)

    def test_unsigned(self) -> None:
        """It is not signed where that was not wanted."""
        entra = FakeEntra(sign_metadata=False, clock=FakeClock())
        assert not FederationMetadataDocument.read(entra.metadata(), now=NOW).signed

    def test_the_same_keys_give_the_same_document(self, entra: FakeEntra) -> None:
        """Nothing in it changes but by a step."""
        before = entra.metadata()
        assert before == entra.metadata()
        entra.keys.publish("k2")
        assert before != entra.metadata()


class TestFailing:
    """Faults and counts are those of every fake issuer."""

    def test_each_document_fails_for_itself(self, entra: FakeEntra) -> None:
        """A fault of one document leaves the others alone."""
        urls = {"discovery": entra.discovery_url(), "jwks": entra.jwks_url(), "metadata": entra.metadata_url()}
        for failing in urls:
            with entra.down(document=failing):  # type: ignore[arg-type]
                for name, url in urls.items():
                    if name == failing:
                        with pytest.raises(FetchError, match="answered 503"):
                            read(entra, url)
                    else:
                        read(entra, url)
        entra.fetches.expect(discovery=3, jwks=3, metadata=3)
        assert 3 == entra.fetches.metadata

    def test_both_means_discovery_and_key_set(self, entra: FakeEntra) -> None:
        """Metadata is another source of keys, with faults of its own."""
        with entra.drop_connection(document="both"):
            read(entra, entra.metadata_url())
            for url in (entra.discovery_url(), entra.jwks_url()):
                with pytest.raises(FetchError, match="dropped"):
                    read(entra, url)

    def test_repr(self, entra: FakeEntra) -> None:
        """A failing test shows which Entra it was."""
        assert f"<FakeEntra login.microsoftonline.com tenants=['{TENANT}', '{F}'] signing='k1'>" == repr(entra)
