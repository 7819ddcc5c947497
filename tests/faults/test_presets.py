"""The rows that only an issuer preset or the token cache can play: F47 (clouds), F54 (a cache of our own), F74 (any tenant)."""

from __future__ import annotations

import uuid

import pytest
from tests.contract.drivers import AUDIENCE
from tests.faults.harness import UNHURRIED, Scene

from keyturn import InvalidIssuerError, InvalidTokenError, RevokedKeyError, TokenValidator, UnknownKeyError
from keyturn.issuers import entra
from keyturn.testing import FakeClock, FakeEntra
from keyturn.testing.entra import APP, TENANT

TENANTS = 2_000


def test_f47_key_of_another_cloud() -> None:
    """With `check_cloud` a key that names another cloud vouches for nobody, cold and held; without it it does."""
    fake = FakeEntra(clock=FakeClock())
    fake.keys.publish("elsewhere", cloud_instance_name="microsoftonline.us")
    settings = {"audience": APP, "fetcher": fake.fetcher(), "clock": fake.clock}
    strict, lenient = entra.validator(TENANT, check_cloud=True, **settings), entra.validator(TENANT, **settings)
    for _ in range(2):
        with pytest.raises(InvalidIssuerError, match="setting: check_cloud"):
            strict.validate(fake.token(key="elsewhere"))
    assert strict.validate(fake.token())
    assert lenient.validate(fake.token(key="elsewhere"))


def test_f54_remembered_token_ends_with_its_key() -> None:
    """The cache of accepted tokens belongs to one validator, and every hit asks whether the key serves now (R10, R11)."""
    with Scene(policy=UNHURRIED) as scene:
        scene.validator = TokenValidator(scene.client, audience=AUDIENCE, token_cache_size=10)
        token, other = scene.token(lifetime=86_400), TokenValidator(scene.client, audience="api://other", token_cache_size=10)
        for _ in range(3):
            scene.accepts(token)
            with pytest.raises(InvalidTokenError):
                other.validate(token)
        scene.issuer.cut_over("k2")
        scene.client.refresh()
        scene.accepts(token)
        scene.clock.advance(UNHURRIED.removed_key_grace)
        scene.refuses(UnknownKeyError, token)
        new = scene.token(lifetime=86_400)
        scene.accepts(new)
        scene.client.revoke(kid="k2")
        scene.refuses(RevokedKeyError, new)


def test_f74_tenants_out_of_tokens_in_any_tenant_mode() -> None:
    """Two thousand tenants that nobody configured cost what one issuer costs: nothing that a token says makes a client or a request."""
    fake = FakeEntra(clock=FakeClock())
    validator = entra.validator(entra.ANY_TENANT, audience=APP, fetcher=fake.fetcher(), clock=fake.clock)
    assert validator.validate(fake.token())
    read = len(fake.fetches.requests)
    for _ in range(TENANTS):
        assert validator.validate(fake.token(tenant=str(uuid.uuid4())))
        with pytest.raises(InvalidTokenError):
            validator.validate(fake.forge(tenant=str(uuid.uuid4())))
    assert len(fake.fetches.requests) - read <= 1
