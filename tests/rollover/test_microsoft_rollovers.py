"""Rollovers of Entra and AD FS through key sets and through federation metadata: no good token is refused, and one request is enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from tests.rollover.helpers import DAY, World

from keyturn import FetchFailed, KeySetClient, KeyVanished, TokenValidator, UnknownKeyError
from keyturn.issuers import adfs as adfs_preset
from keyturn.issuers import entra as entra_preset
from keyturn.testing import FakeAdfs, FakeB2c, FakeClock, FakeEntra, FakeExternalId, KeyRing
from keyturn.testing.entra import APP, TENANT
from keyturn.testing.publisher import Publisher

AUDIENCES = (APP, f"api://{APP}", "api://test")
PLANNED = 3
"""Requests of a rollover that is read by schedule alone: one a day."""


@dataclass(frozen=True)
class Source:
    """Where one validator's keys come from.

    Attributes:
        make: Returns the issuer on a clock.
        keys: Returns the keys that roll over.
        validator: Returns the validator, pointed at the issuer.
        token: Returns a token, of the key that steps call by name, or of the signing key.
        counted: Which documents are counted.
    """

    make: Callable[[FakeClock], Any]
    keys: Callable[[Any], KeyRing]
    validator: Callable[..., TokenValidator]
    token: Callable[..., str]
    counted: str = "jwks"


def entra_of(clock: FakeClock) -> FakeEntra:
    """Return an Entra."""
    return FakeEntra(clock=clock)


def over_discovery(issuer: str, url: str, **settings: Any) -> TokenValidator:
    """Return a validator over a discovery document that does not stand where its issuer says."""
    return TokenValidator(KeySetClient(issuer, discovery_url=url, **settings), audience=AUDIENCES)


def over_metadata(issuer: str, url: str, **settings: Any) -> TokenValidator:
    """Return a validator over federation metadata."""
    return TokenValidator(KeySetClient(issuer, metadata_url=url, **settings), audience=AUDIENCES)


def with_own_keys(clock: FakeClock) -> FakeEntra:
    """Return an Entra in which the API has keys of its own."""
    entra = FakeEntra(clock=clock)
    entra.app_keys()
    return entra


SOURCES = {
    "entra v1": Source(
        entra_of,
        lambda entra: entra.keys,
        lambda entra, **settings: entra_preset.validator(TENANT, audience=AUDIENCES, version=1, **settings),
        lambda entra, **token: entra.token(version=1, **token),
    ),
    "entra v2": Source(
        entra_of,
        lambda entra: entra.keys,
        lambda entra, **settings: entra_preset.validator(TENANT, audience=AUDIENCES, **settings),
        lambda entra, **token: entra.token(**token),
    ),
    "entra, any tenant": Source(
        entra_of,
        lambda entra: entra.keys,
        lambda entra, **settings: entra_preset.validator(entra_preset.ANY_TENANT, audience=AUDIENCES, **settings),
        lambda entra, **token: entra.token(tenant="f645ad92-e38d-4d1a-b510-d1b09a74a8ca", **token),
    ),
    "entra, personal accounts": Source(
        entra_of,
        lambda entra: entra.personal_keys,
        lambda entra, **settings: entra_preset.validator(entra_preset.ANY_TENANT, audience=AUDIENCES, **settings),
        lambda entra, **token: entra.token(tenant=entra_preset.PERSONAL_ACCOUNTS, **token),
    ),
    "entra, an application": Source(
        with_own_keys,
        lambda entra: entra.app_keys(),
        lambda entra, **settings: entra_preset.validator(TENANT, audience=AUDIENCES, appid=APP, **settings),
        lambda entra, **token: entra.token(**token),
    ),
    "entra, metadata": Source(
        entra_of,
        lambda entra: entra.keys,
        lambda entra, **settings: over_metadata(entra.issuer(version=1), entra.metadata_url("common"), **settings),
        lambda entra, **token: entra.token(version=1, **token),
        "metadata",
    ),
    "b2c": Source(
        lambda clock: FakeB2c(clock=clock),
        lambda b2c: b2c.keys(),
        lambda b2c, **settings: over_discovery(b2c.issuer(), b2c.discovery_url(), **settings),
        lambda b2c, **token: b2c.token(**token),
    ),
    "external id": Source(
        lambda clock: FakeExternalId(clock=clock),
        lambda issuer: issuer.keys,
        lambda issuer, **settings: entra_preset.external_id("contoso", TENANT, audience=AUDIENCES, **settings),
        lambda issuer, **token: issuer.token(**token),
    ),
    "ad fs": Source(
        lambda clock: FakeAdfs(clock=clock, audience=APP),
        lambda adfs: adfs.keys,
        lambda adfs, **settings: adfs_preset.validator(adfs.issuer, audience=AUDIENCES, **settings),
        lambda adfs, **token: adfs.token(**token),
    ),
    "ad fs, x5t alone": Source(
        lambda clock: FakeAdfs(clock=clock, audience=APP),
        lambda adfs: adfs.keys,
        lambda adfs, **settings: adfs_preset.validator(adfs.issuer, audience=AUDIENCES, **settings),
        lambda adfs, **token: adfs.token(x5t_only=True, **token),
    ),
    "ad fs, metadata": Source(
        lambda clock: FakeAdfs(clock=clock, audience=APP),
        lambda adfs: adfs.keys,
        lambda adfs, **settings: over_metadata(adfs.identifier, adfs.metadata_url, **settings),
        lambda adfs, **token: adfs.token(**token),
        "metadata",
    ),
}


class MicrosoftWorld(World):
    """One of those issuers, and one client of it."""

    issuer: Any

    def __init__(self, source: Source, issuer: Publisher | None = None) -> None:
        self.source, self._given = source, issuer
        super().__init__(clock=FakeClock() if issuer is None else issuer.clock)  # type: ignore[arg-type]

    def restart(self, revoked: Sequence[str] = ()) -> None:
        """Start a new process that reads the issuer's documents."""
        self.issuer = self._given or self.source.make(self.clock)
        self.validator = self.source.validator(self.issuer, clock=self.clock, fetcher=self.issuer.fetcher(), on_event=self._handlers)
        self.client = self.validator.client  # type: ignore[assignment]
        self.client._keeper._draw = lambda: self.draw

    @property
    def keys(self) -> KeyRing:
        """The keys that roll over."""
        return self.source.keys(self.issuer)

    def token(self, **token: Any) -> str:
        """Return a good token."""
        return self.source.token(self.issuer, **token)

    def warm(self) -> MicrosoftWorld:
        """Read the keys once, and forget the requests and events of it."""
        self.accept(self.token())
        self.forget()
        return self

    @property
    def requests(self) -> int:
        """How often keys were asked for."""
        return int(getattr(self.issuer.fetches, self.source.counted))


every_source = pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
both_of_ad_fs = pytest.mark.parametrize("source", [SOURCES["ad fs"], SOURCES["ad fs, metadata"]], ids=["key set", "metadata"])


@every_source
def test_an_unannounced_rollover(source: Source) -> None:
    """The first token of a new key makes one request and is accepted on the same call (R4); tokens of the old key pass on (R10)."""
    world = MicrosoftWorld(source).warm()
    world.keys.cut_over("k2")
    for _ in range(5):
        world.accept(world.token())
        world.accept(world.token(key="k1"))
    assert 1 == world.requests
    assert [] == world.told(FetchFailed)
    assert 1 == len(world.told(KeyVanished))


@every_source
def test_a_rollover_by_steps(source: Source) -> None:
    """A key that is published and signs before anybody read it costs one request, in any order of the document (R2)."""
    world = MicrosoftWorld(source).warm()
    world.keys.publish("k2")
    world.keys.shuffle(1)
    world.keys.promote("k2")
    for seed in range(5):
        world.keys.shuffle(seed)
        world.accept(world.token())
        world.accept(world.token(key="k1"))
    assert 1 == world.requests


@every_source
def test_a_planned_rollover(source: Source) -> None:
    """A key that is published a day before it signs is read by schedule: no token waits, and nothing beside the schedule is asked (R3)."""
    world = MicrosoftWorld(source).warm()
    for step in (lambda: world.keys.publish("k2"), lambda: world.keys.promote("k2"), lambda: world.keys.retire("k1")):
        step()
        world.accept(world.token())
        world.clock.advance(DAY)
        world.accept(world.token())
    assert world.requests == PLANNED
    assert [] == world.told(FetchFailed)


@every_source
def test_a_withdrawn_key_is_refused_in_the_end(source: Source) -> None:
    """After its grace nobody gets in by it: the tests above would pass if keys were kept for ever (R10)."""
    world = MicrosoftWorld(source).warm()
    world.keys.cut_over("k2")
    world.accept(world.token())
    world.clock.advance(world.client._keeper.policy.removed_key_grace)
    assert isinstance(world.refusal(world.token(key="k1")), UnknownKeyError)


def before_the_rollover(source: Source) -> MicrosoftWorld:
    """Return a warm client of an AD FS one day before it makes a secondary certificate."""
    clock = FakeClock()
    issuer = source.make(clock)
    clock.advance(days=344)
    return MicrosoftWorld(source, issuer).warm()


@both_of_ad_fs
def test_a_rollover_of_ad_fs_by_its_calendar(source: Source) -> None:
    """From the day before the secondary is made until the old certificate has expired every token passes, by the schedule's requests alone."""
    world = before_the_rollover(source)
    signed_by = []
    for _ in range(30):
        world.clock.advance(DAY)
        world.accept(world.token())
        signed_by.append(world.issuer.primary)
    assert (["k1"] * 5 + ["k2"] * 25, 30) == (signed_by, world.requests)
    assert [] == world.told(FetchFailed)
    assert world.issuer.keys.not_after("k1") < world.clock.wall()
    # An expired certificate is a container of a key that is still published.
    world.accept(world.token(key="k1"))


@both_of_ad_fs
def test_a_client_that_slept_through_the_calendar(source: Source) -> None:
    """A process that was idle for the five days of notice reads the keys once, and refuses nothing (R3)."""
    world = before_the_rollover(source)
    world.clock.advance(days=7)
    assert ("k2", ("k1",)) == (world.issuer.primary, world.issuer.secondary)
    for _ in range(5):
        world.accept(world.token())
        world.accept(world.token(key="k1"))
    assert 1 == world.requests


@both_of_ad_fs
def test_an_urgent_rollover_of_ad_fs(source: Source) -> None:
    """Two new certificates without notice cost one request, and so does the removal of the compromised one, by thumbprint, at once (R11)."""
    world = MicrosoftWorld(source).warm()
    old = world.token()
    thumbprint = world.issuer.keys.x5t("k1")
    world.issuer.update_certificate()
    world.issuer.update_certificate()
    world.accept(world.token())
    assert 1 == world.requests
    world.client.revoke(thumbprint=thumbprint)
    assert "revoked_key" == world.verdict(old)
    world.accept(world.token())
    assert 1 == world.requests
