"""Rollover through federation metadata: the same client, schedule, unknown-key rule, retention and limits as with a key set (C72, C73, C76)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.rollover.helpers import DAY, DEFAULTS, HOUR, NAME, World, after
from tests.unit.metadata import Fixed, MetadataIssuer, der_of, descriptor, entity, role, signed, text_of, x5t, x5t_s256

from keyturn import (
    ConfigurationError,
    InvalidKeySetError,
    KeySetClient,
    KeysUnavailableError,
    MemoryStore,
    RevokedKeyError,
    RolloverPolicy,
    Snapshot,
    TokenValidator,
    UnknownKeyError,
)
from keyturn.clock import read
from keyturn.events import FetchFailed, FetchSucceeded, KeySetChanged, KeyVanished, StoreFailed
from keyturn.stores.store import source_id
from keyturn.testing import FakeClock


class MetadataWorld(World):
    """An issuer that publishes federation metadata, and one client of it."""

    issuer: MetadataIssuer

    def restart(self, revoked: Sequence[str] = ()) -> None:
        """Start a new process that reads the metadata."""
        if not isinstance(self.issuer, MetadataIssuer):
            self.issuer = MetadataIssuer(NAME, clock=self.clock)
        self.client = KeySetClient(
            NAME,
            metadata_url=self.issuer.metadata_url,
            policy=self.policy,
            fetcher=self.issuer.fetcher(),
            store=self.store,
            clock=self.clock,
            revoked=revoked,
            on_event=self._handlers,
        )
        self.client._keeper._draw = lambda: self.draw
        self.validator = TokenValidator(self.client, audience="api://test")

    def held(self) -> set[str | None]:
        """Return the kids that are held."""
        return {key.kid for key in self.client.snapshot().keys}


def expired(world: MetadataWorld, until: str) -> bytes:
    """Return the issuer's document with an end."""
    return world.issuer.metadata().replace(b" entityID=", f' validUntil="{until}" entityID='.encode(), 1)


class TestRollover:
    """No good token is refused, and one request is enough."""

    def test_a_planned_rollover(self) -> None:
        """The successor is published before it signs and read by schedule: no token waits, and nothing beside the schedule is asked."""
        world = MetadataWorld().warm()
        old = world.issuer.signing_kid
        world.issuer.publish("k2")
        world.clock.advance(DAY)
        world.accept(world.issuer.token())
        world.issuer.promote("k2")
        world.accept(world.issuer.token())
        world.clock.advance(DAY)
        world.issuer.retire(old)
        world.accept(world.issuer.token())
        world.accept(world.issuer.token(key=old))
        assert 3 >= world.requests
        assert [] == world.told(FetchFailed)

    def test_an_unannounced_rollover(self) -> None:
        """The first token of a new certificate makes one request, and is accepted on the same call (R4); the old key keeps its grace (R10)."""
        world = MetadataWorld().warm()
        world.issuer.cut_over("k2")
        for _ in range(20):
            world.accept(world.issuer.token())
            world.accept(world.issuer.token(key="k1"))
        assert 1 == world.requests
        (changed,) = world.told(KeySetChanged)
        assert changed.nothing_in_common
        assert 1 == len(world.told(KeyVanished))
        world.clock.advance(DEFAULTS.removed_key_grace)
        assert isinstance(world.refusal(world.issuer.token(key="k1")), UnknownKeyError)

    def test_the_secondary_certificate_of_ad_fs(self) -> None:
        """A secondary certificate appears, becomes the primary one, and the old one goes, in either order of the document (U33)."""
        world = MetadataWorld().warm()
        world.issuer.publish("k2")
        for seed in range(4):
            world.issuer.shuffle(seed)
            world.clock.advance(HOUR)
            world.accept(world.issuer.token())
        world.issuer.promote("k2")
        world.accept(world.issuer.token())
        assert 1 == world.requests
        assert {world.issuer.x5t("k1"), world.issuer.x5t("k2")} == world.held()

    def test_a_token_that_names_its_certificate_alone(self) -> None:
        """`x5t` chooses where there is no kid, and an unknown one is looked for (C38)."""
        world = MetadataWorld().warm()
        world.issuer.cut_over("k2")
        world.client.refresh()
        world.accept(world.issuer.token(headers={"kid": None}))
        world.accept(world.issuer.token(headers={"kid": None, "x5t": None, "x5t#S256": x5t_s256(world.issuer.certificate("k2"))}))
        assert isinstance(world.refusal(world.issuer.token(headers={"kid": None, "x5t": x5t(b"")})), UnknownKeyError)

    def test_made_up_names_ask_once(self) -> None:
        """The allowance is that of a key set (R5)."""
        world = MetadataWorld().warm()
        for number in range(50):
            assert isinstance(world.refusal(world.issuer.forge(key=f"made-up-{number}", headers={"kid": f"made-up-{number}"})), UnknownKeyError)
        assert 1 == world.requests

    def test_revocation_by_every_thumbprint(self) -> None:
        """The key's own, and those of its certificate (R11)."""
        for name in (lambda world: world.client.snapshot().keys[0].thumbprint, lambda world: x5t_s256(world.issuer.certificate("k1"))):
            world = MetadataWorld().warm()
            world.client.revoke(thumbprint=name(world))
            assert isinstance(world.refusal(world.issuer.token()), RevokedKeyError)
        world = MetadataWorld().warm()
        world.client.revoke(kid=world.issuer.x5t("k1"))
        assert isinstance(world.refusal(world.issuer.token()), RevokedKeyError)


class TestBadAnswers:
    """A bad document is a failed refresh, and the old set stays (F48, R12)."""

    @pytest.mark.parametrize(
        "body",
        [
            b"<html/>",
            b"",
            b"<!DOCTYPE a>",
            b'{"keys":[]}',
            entity(entity_id=NAME).encode(),
            entity(role(descriptor("!")), entity_id="urn:other").encode(),
        ],
    )
    def test_the_set_stays(self, body: bytes) -> None:
        """Whatever comes, it is told and nothing changes."""
        world = MetadataWorld().warm()
        with world.issuer.answer(body):
            world.clock.advance(DAY)
            world.accept(world.issuer.token())
            (failed,) = world.told(FetchFailed)
        assert ("invalid_key_set", world.issuer.metadata_url) == (failed.code, failed.document)
        assert {world.issuer.x5t("k1")} == world.held()

    def test_a_cold_client_says_what_came(self) -> None:
        """The error of the first token names the reason and the status 503."""
        world = MetadataWorld()
        with world.issuer.answer(b"<!DOCTYPE a><a/>"):
            error = world.refusal(world.issuer.token())
        assert isinstance(error, InvalidKeySetError)
        assert (503, True) == (error.http_status, "DOCTYPE" in str(error))

    def test_an_expired_document_changes_nothing(self) -> None:
        """`validUntil` in the past is a failed refresh; keys that are held serve on as in any outage (C73, R9)."""
        world = MetadataWorld().warm()
        with world.issuer.answer(expired(world, "2020-01-01T00:00:00Z")):
            world.clock.advance(DAY)
            world.accept(world.issuer.token())
            world.clock.advance(DAY - 1)
            world.accept(world.issuer.token())
            world.clock.advance(2)
            assert isinstance(world.refusal(world.issuer.token()), KeysUnavailableError)

    def test_a_document_that_ends_while_it_is_held(self) -> None:
        """The end is judged when a document is read: between two refreshes its keys serve on, and the schedule is the same."""
        world = MetadataWorld()
        with world.issuer.answer(expired(world, "2099-01-01T00:00:00Z")):
            world.accept(world.issuer.token())
        world.forget()
        world.clock.advance(DAY - 1)
        world.accept(world.issuer.token())
        assert 0 == world.requests

    def test_max_keys_and_max_document_bytes(self) -> None:
        """The limits of a key set are those of metadata (R16)."""
        for policy, named in ((RolloverPolicy(max_keys=1), "max_keys"), (RolloverPolicy(max_document_bytes=1024), "max_document_bytes")):
            world = MetadataWorld(policy)
            world.issuer.publish("k2")
            assert named in str(world.refusal(world.issuer.token()))


class TestHints:
    """`cacheDuration` is a hint like Cache-Control: followed only if asked, and clamped (C73, C51)."""

    @pytest.mark.parametrize(
        ("stated", "follow", "seconds"),
        [
            ("PT1H", False, DAY),
            ("PT1H", True, HOUR),
            ("PT1S", True, 300.0),
            ("-PT1H", True, 300.0),
            ("PT1613149788S", True, DAY),
            ("soon", True, DAY),
        ],
    )
    def test_when_it_is_read_again(self, stated: str, follow: bool, seconds: float) -> None:
        """Not before the clamped duration, and not after it."""
        world = MetadataWorld(RolloverPolicy(follow_cache_control=follow))
        body = world.issuer.metadata().replace(b" entityID=", f' cacheDuration="{stated}" entityID='.encode(), 1)
        with world.issuer.answer(body):
            world.accept(world.issuer.token())
            world.forget()
            world.clock.advance(seconds - 1)
            world.accept(world.issuer.token())
            assert 0 == world.requests
            world.clock.advance(1)
            world.accept(world.issuer.token())
            assert 1 == world.requests

    def test_the_shorter_of_two_hints(self) -> None:
        """The answer's header and the document each may say."""
        world = MetadataWorld(RolloverPolicy(follow_cache_control=True))
        body = world.issuer.metadata().replace(b" entityID=", b' cacheDuration="PT2H" entityID=', 1)
        with world.issuer.answer(body, headers={"cache-control": "max-age=3600"}):
            world.accept(world.issuer.token())
        assert HOUR == world.client._keeper.state.interval


class TestStores:
    """What a store keeps is read again as what it is (R15)."""

    def test_a_restart_without_the_issuer(self) -> None:
        """The document comes out of the store, and its keys serve."""
        clock = FakeClock()
        world = MetadataWorld(store=MemoryStore(clock=clock)).warm()
        world.restart()
        with world.issuer.down():
            world.accept(world.issuer.token())
        assert ["store"] == [event.reason for event in world.told(FetchSucceeded)]
        assert {world.issuer.x5t("k1")} == world.held()

    def test_a_document_that_has_ended_meanwhile(self) -> None:
        """It is judged as of when it was asked for: a restart serves neither longer nor shorter than the process before it."""
        world = MetadataWorld(store=MemoryStore(clock=FakeClock()))
        until = datetime.fromtimestamp(world.clock.wall() + HOUR, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        with world.issuer.answer(expired(world, until)):
            world.accept(world.issuer.token())
        world.clock.advance(2 * HOUR)
        with world.issuer.down():
            world.accept(world.issuer.token())
            world.restart()
            world.accept(world.issuer.token())
        assert [] == world.told(StoreFailed)

    def test_a_document_that_had_ended_before(self) -> None:
        """What no process can have accepted is not accepted out of a store."""
        world = MetadataWorld(store=MemoryStore(clock=FakeClock()))
        body = expired(world, "2020-01-01T00:00:00Z")
        forged = Snapshot(NAME, world.issuer.metadata_url, world.issuer.metadata_url, world.clock.wall(), body)
        world.store.publish(_id(world), forged, 0)  # type: ignore[union-attr]
        world.accept(world.issuer.token())
        assert 1 == world.requests
        (failed,) = world.told(StoreFailed)
        assert "valid until" in failed.message

    def test_a_key_set_is_never_read_as_metadata(self) -> None:
        """One location read as two kinds of document has two places in the store, so neither is ever taken for the other."""
        issuer = MetadataIssuer(NAME, clock=FakeClock())
        assert source_id(NAME, issuer.metadata_url) != source_id(NAME, issuer.metadata_url, "metadata")
        world = MetadataWorld(store=MemoryStore(clock=FakeClock()))
        key_set = Snapshot(NAME, world.issuer.metadata_url, world.issuer.metadata_url, read(world.clock).wall, json.dumps(issuer.jwks()).encode())
        world.store.publish(source_id(NAME, world.issuer.metadata_url), key_set, 99)  # type: ignore[union-attr]
        world.accept(world.issuer.token())
        assert 1 == world.requests
        assert [] == world.told(StoreFailed)

    def test_a_forged_body_is_told_and_not_used(self) -> None:
        """A key set in the place of metadata is refused like any bad document, and the issuer is asked."""
        world = MetadataWorld(store=MemoryStore(clock=FakeClock()))
        body = json.dumps(world.issuer.jwks()).encode()
        forged = Snapshot(NAME, world.issuer.metadata_url, world.issuer.metadata_url, read(world.clock).wall, body)
        world.store.publish(_id(world), forged, 0)  # type: ignore[union-attr]
        world.accept(world.issuer.token())
        assert 1 == world.requests
        assert ["got JSON" in failed.message for failed in world.told(StoreFailed)] == [True]


def _id(world: MetadataWorld) -> str:
    return source_id(NAME, world.issuer.metadata_url, "metadata")


class TestPinnedSigner:
    """Metadata that a certificate must have signed, of which the client knows the thumbprint."""

    def test_only_signed_documents_count(self) -> None:
        """The client accepts the signed document, and an unsigned one or one of another signer changes nothing."""
        issuer = MetadataIssuer(NAME, clock=FakeClock())
        good = signed(_entity(issuer), number=5)
        client = _pinned(issuer, good)
        assert {issuer.x5t("k1")} == {key.kid for key in client.snapshot().keys}
        for body in (
            _entity(issuer),
            signed(_entity(issuer), number=6),
            good.replace(text_of(issuer.certificate("k1")), text_of(der_of("ES256", 9))),
        ):
            with pytest.raises(InvalidKeySetError, match="metadata_signer"):
                _pinned(issuer, body)

    @pytest.mark.parametrize("location", [{"jwks_url": f"{NAME}/jwks.json"}, {"discovery_url": f"{NAME}/d"}, {}])
    def test_a_signer_belongs_to_metadata(self, location: dict[str, Any]) -> None:
        """A key set has no signature, so a pin that would be ignored is refused."""
        with pytest.raises(ConfigurationError, match="metadata_signer"):
            KeySetClient(NAME, **location, metadata_signer=x5t_s256(b""))


def _entity(issuer: MetadataIssuer) -> str:
    return entity(role(descriptor(text_of(issuer.certificate("k1")))), entity_id=NAME, attributes='ID="_a"')


def _pinned(issuer: MetadataIssuer, body: str) -> KeySetClient:
    client = KeySetClient(
        NAME, metadata_url=issuer.metadata_url, metadata_signer=x5t_s256(der_of("ES256", 5)), fetcher=Fixed(body), clock=issuer.clock
    )
    client.refresh()
    return client


def test_time_of_the_rules_decides() -> None:
    """`validUntil` is judged by the client's clock, not by the machine's (R14)."""
    world = MetadataWorld()
    world.clock.advance(100 * 365 * DAY)
    with world.issuer.answer(expired(world, "2099-01-01T00:00:00Z")):
        assert "valid until 2099" in str(world.refusal(world.issuer.token()))
    assert after(read(world.clock), 0.0).wall > 4_070_908_800
