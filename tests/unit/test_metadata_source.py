"""A client and fixed keys over federation metadata: settings, what is asked for, and what an issuer's name may be (C40, C70)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.metadata import Fixed, MetadataIssuer

from keyturn import ConfigurationError, InvalidKeySetError, KeySetClient, StaticKeySet, TokenValidator
from keyturn._reading import source_of
from keyturn.testing import FakeClock

NAME = "https://rollover.test"


class TestSettings:
    """One location of one kind (C40)."""

    @pytest.mark.parametrize("other", ["jwks_url", "discovery_url"])
    def test_locations_exclude_each_other(self, other: str) -> None:
        """At most one of them; the message names those that were given."""
        with pytest.raises(ConfigurationError) as caught:
            KeySetClient(NAME, metadata_url=f"{NAME}/m.xml", **{other: f"{NAME}/x"})  # type: ignore[arg-type]
        assert other in str(caught.value)
        assert "metadata_url" in str(caught.value)

    @pytest.mark.parametrize("name", ["http://fs.example.com/adfs/services/trust", "urn:federation:example", "example"])
    def test_the_issuer_is_a_name(self, name: str) -> None:
        """With a location beside it any text may be one."""
        assert name == KeySetClient(name, metadata_url=f"{NAME}/m.xml").issuer

    @pytest.mark.parametrize("url", ["http://fs.example.com/m.xml", "m.xml", "", 5, "file:///etc/passwd"])
    def test_a_location_that_cannot_be_used(self, url: Any) -> None:
        """It is judged as any location is (R16)."""
        with pytest.raises(ConfigurationError, match="setting: metadata_url"):
            KeySetClient(NAME, metadata_url=url)

    def test_what_is_asked_for(self) -> None:
        """The request says that XML is wanted, and a cache in between is asked for a fresh answer."""
        issuer = MetadataIssuer(NAME, clock=FakeClock())
        fetcher = Fixed(issuer.metadata().decode())
        KeySetClient(NAME, metadata_url=issuer.metadata_url, fetcher=fetcher, clock=issuer.clock).refresh()
        (headers,) = fetcher.asked
        assert headers["Accept"].startswith("application/samlmetadata+xml")
        assert "no-cache" == headers["Cache-Control"]

    def test_a_source_says_what_it_is(self) -> None:
        """Two clients of one location and two kinds are two sources."""
        fetcher = Fixed("")
        kinds = [source_of(NAME, discovery=None, **{"jwks": None, setting: f"{NAME}/x"}, fetcher=fetcher).kind for setting in ("jwks", "metadata")]
        assert ["jwks", "metadata"] == kinds


class TestFixedKeys:
    """Metadata from a file."""

    def test_a_validator_over_a_document(self) -> None:
        """The issuer is known from the document, so the validator needs no other setting."""
        issuer = MetadataIssuer(NAME)
        source = StaticKeySet.from_metadata(issuer.metadata(), issuer=NAME)
        assert NAME == source.issuer
        assert [issuer.x5t("k1")] == [key.kid for key in source.snapshot().keys]
        assert "alice" == TokenValidator(source, audience="api://test").validate(issuer.token()).subject

    def test_a_document_of_another_issuer(self) -> None:
        """It is refused as a fetched one is."""
        with pytest.raises(InvalidKeySetError, match="urn:other"):
            StaticKeySet.from_metadata(MetadataIssuer(NAME).metadata(), issuer="urn:other")
