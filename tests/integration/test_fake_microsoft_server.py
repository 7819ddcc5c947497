"""The fakes of Microsoft's issuers over a socket: the default fetcher reaches them under their public names."""

from __future__ import annotations

from typing import Any

import pytest

from keyturn import HttpxFetcher, KeySetClient, TokenValidator
from keyturn.issuers import adfs as adfs_preset
from keyturn.issuers import entra as entra_preset
from keyturn.testing import FakeAdfs, FakeB2c, FakeEntra, FakeExternalId
from keyturn.testing.entra import APP, TENANT
from keyturn.testing.publisher import Publisher
from keyturn.testing.server import IssuerServer


def fetcher(issuer: Publisher, server: IssuerServer) -> HttpxFetcher:
    """Return the default fetcher, which reaches the server in the issuer's place."""
    return HttpxFetcher(rewrite={issuer.origin: server.url})


def test_entra() -> None:
    """Both versions, an application's keys and federation metadata are served, queries included, and names stay Entra's."""
    entra = FakeEntra()
    audience = (APP, f"api://{APP}")
    with entra.serve() as server:
        fetch = fetcher(entra, server)
        router = entra_preset.router(TENANT, audience=audience, fetcher=fetch)
        for version in (1, 2):
            assert "alice" == router.validate(entra.token(version=version)).subject
        client = KeySetClient(entra.issuer(version=1), metadata_url=entra.metadata_url(), fetcher=fetch)
        assert "alice" == TokenValidator(client, audience=audience).validate(entra.token(version=1)).subject
        entra.app_keys()
        own = entra_preset.validator(TENANT, audience=audience, appid=APP, fetcher=fetch)
        assert "alice" == own.validate(entra.token()).subject
        assert f"{server.url}/{TENANT}/v2.0/.well-known/openid-configuration" == server.discovery_url
        entra.fetches.expect(discovery=3, jwks=3, metadata=1)
        with pytest.raises(ValueError, match=r"<FakeEntra login\.microsoftonline\.com .* is being served already"), entra.serve():
            pass


@pytest.mark.parametrize(
    ("issuer", "validator"),
    [
        (FakeB2c(), lambda b2c, **settings: entra_preset.b2c("contoso", TENANT, b2c.policies, audience=APP, **settings)),
        (FakeExternalId(), lambda _, **settings: entra_preset.external_id("contoso", TENANT, audience=APP, **settings)),
        (FakeAdfs(audience=APP), lambda adfs, **settings: adfs_preset.validator(adfs.issuer, audience=APP, **settings)),
    ],
    ids=["b2c", "external id", "ad fs"],
)
def test_others(issuer: Any, validator: Any) -> None:
    """Each is served as it is read without a socket."""
    with issuer.serve() as server:
        assert "alice" == validator(issuer, fetcher=fetcher(issuer, server)).validate(issuer.token()).subject
        assert server.jwks_url.startswith(server.url)
        issuer.fetches.expect(discovery=1, jwks=1)
