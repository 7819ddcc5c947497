"""Federation metadata as a source of keys: the catalogue of attacks, and what the documents of real issuers look like (C70 to C76)."""

from __future__ import annotations

import itertools
import random
import sys
import tracemalloc
from base64 import b64decode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.attacks_by_metadata import METADATA
from tests.unit.material import DIGESTS, certificate, header_of, private_key, raw_private
from tests.unit.metadata import (
    CERT,
    FED,
    ISSUER,
    LATER,
    MD,
    NOW,
    OTHER,
    Case,
    der_of,
    descriptor,
    entities,
    entity,
    issuing,
    parsed,
    role,
    text_of,
    typed_role,
    x5t,
    x5t_s256,
)

from keyturn import ConfigurationError, FederationMetadataDocument, InvalidKeySetError, KeySet, KeyturnError
from keyturn._core.metadata_time import duration, instant

TENANT = "0b0c8a2b-6f1d-4f3c-9a4e-1c2d3e4f5a6b"
ANOTHER = "11111111-2222-3333-4444-555555555555"


def refused(document: str | bytes, **settings: Any) -> InvalidKeySetError:
    """Return the error that a document meets."""
    with pytest.raises(InvalidKeySetError) as caught:
        parsed(document, **settings)
    return caught.value


def told(document: FederationMetadataDocument) -> tuple[object, ...]:
    """Return everything that a reader of a document could tell apart."""
    keys = [(key.identity, key.use) for key in document.keys.keys]
    roles = [(each.name, each.issues_tokens, each.keys.identity) for each in document.roles]
    return document.entity_id, keys, document.keys.skipped, roles, document.valid_until, document.cache_duration


def judge(case: Case) -> None:
    """Assert that a document of the catalogue comes to what its class says."""
    __tracebackhide__ = True
    if not case.keys:
        error = refused(case.body, **case.settings)
        assert case.says in f"{error} {error.hint}", f"{case.label}: {error}"
        assert f"{error} {error.hint}".isprintable(), case.label
        assert error.__cause__ is None, case.label
        return
    found = parsed(case.body, **case.settings)
    assert {x5t(b64decode(text)) for text in case.keys} == {key.kid for key in found.keys.keys}, case.label
    assert any(case.says in entry.reason for entry in found.keys.skipped) or not case.says, f"{case.label}: {found.keys.skipped}"


class TestAttacks:
    """The catalogue: AX1 to AX16."""

    @pytest.mark.parametrize("name", METADATA)
    def test_the_classes_of_documents(self, name: str) -> None:
        """Each document is refused with the words of its class, or gives exactly the keys that it publishes."""
        for case in METADATA[name]():
            judge(case)

    def test_every_class_is_in_the_catalogue(self) -> None:
        """No class is missing, and none is empty."""
        assert [f"AX{number}" for number in range(1, 17)] == list(METADATA)
        assert [] == [name for name, cases in METADATA.items() if len(list(itertools.islice(cases(), 2))) < 2]

    @pytest.mark.parametrize("name", ["AX1", "AX2", "AX3"])
    def test_nothing_is_opened(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever a document names, no file and no connection is opened for it."""
        parsed(issuing())
        opened: list[str] = []
        watching = [True]
        sys.addaudithook(lambda event, _: opened.append(event) if watching[0] and event in {"open", "socket.connect", "socket.getaddrinfo"} else None)
        try:
            for case in METADATA[name]():
                judge(case)
        finally:
            watching[0] = False
        assert [] == opened

    def test_a_bomb_takes_no_memory(self) -> None:
        """The DOCTYPE is refused where it stands, so nothing that it declares is ever built (AX2)."""
        (bomb,) = (case for case in METADATA["AX2"]() if case.label == "exponential")
        refused(bomb.body)
        tracemalloc.start()
        try:
            refused(bomb.body)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 200_000


class TestRealShapes:
    """What documents of Entra and AD FS have in them."""

    def test_a_document_of_ad_fs(self) -> None:
        """Two signing certificates in two roles, an encryption certificate, and a service provider of its own: two keys, by `x5t`."""
        keys = [text_of(der_of("RS256", number)) for number in range(2)]
        encryption, provider = (text_of(der_of("RS256", number)) for number in (2, 3))
        found = parsed(
            "\ufeff"
            + entity(
                "<ds:Signature/>",
                typed_role(descriptor(encryption, use="encryption"), kind="fed:ApplicationServiceType"),
                typed_role(*(descriptor(key) for key in keys)),
                role(descriptor(encryption, use="encryption"), descriptor(provider), name="SPSSODescriptor"),
                role(descriptor(encryption, use="encryption"), *(descriptor(key) for key in reversed(keys))),
                attributes='ID="_a"',
            )
        )
        assert {x5t(der_of("RS256", number)) for number in range(2)} == {key.kid for key in found.keys.keys}
        assert [True, True, False, False] == sorted((each.issues_tokens for each in found.roles), reverse=True)
        assert {"ApplicationServiceType", "IDPSSODescriptor", "SPSSODescriptor", "SecurityTokenServiceType"} == {each.name for each in found.roles}
        assert found.signed
        assert (None, None, None) == (found.valid_until, found.cache_duration, found.signer)
        assert x5t(der_of("RS256", 3)) in {entry.kid for entry in found.keys.skipped}
        assert all(not each.keys.keys for each in found.roles if not each.issues_tokens)

    def test_a_key_is_named_by_its_certificate(self) -> None:
        """Its kid is `x5t`; both thumbprints are handles beside the key's own, and the dates are reported (C76)."""
        der = der_of("RS256", 0)
        (key,) = parsed(entity(role(descriptor(text_of(der))))).keys.keys
        assert (x5t(der), x5t(der), x5t_s256(der), "sig", None) == (key.kid, key.x5t, key.x5t_s256, key.use, key.alg)
        assert {key.thumbprint, x5t(der), x5t_s256(der)} == key.handles
        assert key.certificate is not None
        assert key.certificate.not_before < NOW < key.certificate.not_after
        assert "RS256" in key.algorithms
        assert "ES256" not in key.algorithms

    @pytest.mark.parametrize("algorithm", ["RS256", "ES256", "ES384", "ES512", "Ed25519", "Ed448"])
    def test_a_token_verifies(self, algorithm: str) -> None:
        """A key of any type that may be published verifies what its owner signed."""
        der = der_of(algorithm, 0)
        (key,) = parsed(entity(role(descriptor(text_of(der))))).keys.candidates(header_of(x5t(der), algorithm)).keys
        assert key.verifies(algorithm, private_key(algorithm).sign(b"data"), b"data")
        assert not key.verifies(algorithm, private_key(algorithm).sign(b"other"), b"data")

    def test_all_certificates_count(self) -> None:
        """Every certificate of every issuing role, not the first of the first: that is what depended on the order (C76)."""
        texts = [text_of(der_of("ES256", number)) for number in range(4)]
        found = parsed(entity(typed_role(descriptor(*texts[:2])), typed_role(descriptor(texts[2])), role(descriptor(texts[3]))))
        assert 4 == len(found.keys.keys)

    def test_one_key_in_two_certificates_is_one_candidate(self) -> None:
        """A renewed certificate of the same key has a name of its own; without a name the key is tried once (C76)."""
        key = raw_private("ES256", 0)
        first, second = der_of("ES256", 0), certificate(key, expired=True, digest=DIGESTS["256"])
        keys = parsed(entity(role(descriptor(text_of(first)), descriptor(text_of(second))))).keys
        assert {x5t(first), x5t(second)} == {each.kid for each in keys.keys}
        assert 1 == len({each.thumbprint for each in keys.keys})
        assert [1, 1, 1] == [keys.candidates(header_of(name, "ES256")).total for name in (x5t(first), x5t(second), None)]

    def test_a_certificate_of_a_key_that_signs_no_tokens(self) -> None:
        """It is skipped with the reason (C74)."""
        brainpool, other = ec.generate_private_key(ec.BrainpoolP256R1()), dsa.generate_private_key(2048)
        texts = [text_of(certificate(key, digest=DIGESTS["256"])) for key in (brainpool, other)]
        reasons = [entry.reason for entry in parsed(entity(role(descriptor(CERT, *texts)))).keys.skipped]
        assert any("curve" in reason for reason in reasons)
        assert any("DSA" in reason for reason in reasons)


class TestTheIssuer:
    """Exactly one entity, by exactly its name (C70)."""

    @pytest.mark.parametrize("name", [ISSUER, "https://fs.example.com/adfs/services/trust", "urn:federation:example", "example", "urn:caf\u00e9"])
    def test_any_name(self, name: str) -> None:
        """The name is read and never built: any text may be one (C40)."""
        assert name == parsed(entity(role(descriptor(CERT)), entity_id=name), entity_ids=name).entity_id

    def test_one_of_several_names(self) -> None:
        """Configuration may list several names for one issuer, and exactly one entity has one of them."""
        names = (ISSUER, "urn:other")
        assert "urn:other" == parsed(entity(role(descriptor(CERT)), entity_id="urn:other"), entity_ids=names).entity_id
        both = entities(issuing(CERT), entity(role(descriptor(OTHER)), entity_id="urn:other"))
        assert "2 times" in str(refused(both, entity_ids=names))

    @pytest.mark.parametrize("template", ["https://sts.windows.net/{tenantid}/", "https://sts.windows.net/{tenant}/"])
    def test_a_template(self, template: str) -> None:
        """The document for every tenant names a placeholder; it stands for the GUID of the configured issuer, in both spellings."""
        document = entity(typed_role(descriptor(CERT)), entity_id=template)
        name = f"https://sts.windows.net/{TENANT}/"
        assert name == parsed(document, entity_ids=name).entity_id

    @pytest.mark.parametrize(
        ("entity_id", "issuer"),
        [
            ("https://sts.windows.net/{tenantid}/", f"https://sts.windows.net/{TENANT}"),
            ("https://sts.windows.net/{tenantid}/", f"https://sts.windows.net.evil.example/{TENANT}/"),
            ("https://sts.windows.net/{tenantid}/", f"https://sts.windows.net/{TENANT}/x/"),
            ("https://sts.windows.net/{tenantid}/", "https://sts.windows.net/common/"),
            ("https://sts.windows.net/{tenantid}/", "https://sts.windows.net//"),
            ("https://sts.windows.net/{tenantid}/", f"https://sts.windows.net/{TENANT}\n/"),
            ("https://sts.windows.net/{TENANTID}/", f"https://sts.windows.net/{TENANT}/"),
            ("https://sts.windows.net/{anything}/", f"https://sts.windows.net/{TENANT}/"),
            ("https://sts.windows.net/.*/", f"https://sts.windows.net/{TENANT}/"),
            ("https://sts.windows.net/{tenantid}{tenant}/", f"https://sts.windows.net/{TENANT}{TENANT}/"),
            ("https://{tenantid}/{tenantid}/", f"https://{TENANT}/{TENANT}/"),
            (f"https://sts.windows.net/{ANOTHER}/", f"https://sts.windows.net/{TENANT}/"),
            (f"https://sts.windows.net/{TENANT}/", "https://sts.windows.net/{tenantid}/"),
        ],
    )
    def test_what_is_no_template_of_it(self, entity_id: str, issuer: str) -> None:
        """One placeholder for one GUID, everything else code point by code point; a tenant's own document never stands for another."""
        refused(entity(typed_role(descriptor(CERT)), entity_id=entity_id), entity_ids=issuer)

    @pytest.mark.parametrize("other", [f"{ISSUER}/", ISSUER.replace("http:", "https:")])
    def test_a_near_miss_is_named(self, other: str) -> None:
        """AD FS is asked for with and without a final slash, as http and as https: the hint says that this is all."""
        error = refused(entity(role(descriptor(CERT)), entity_id=other))
        assert "scheme or a final slash" in error.hint
        assert "(setting: issuer)" in str(error)
        assert "scheme" not in refused(entity(role(descriptor(CERT)), entity_id="urn:other")).hint

    def test_a_long_list_is_cut(self) -> None:
        """An aggregate of a federation names thousands."""
        error = refused(entities(*(entity(entity_id=f"urn:{number}") for number in range(50))))
        assert "and 45 more" in str(error)
        assert len(str(error)) < 400

    def test_a_document_is_read_for_whoever_looks(self) -> None:
        """Without a name the one entity is shown, without a usable key, too; of several none is chosen."""
        found = FederationMetadataDocument.read(entity(role(descriptor("!")), entity_id="urn:any").encode(), now=NOW)
        assert ("urn:any", 0, 1) == (found.entity_id, len(found.keys.keys), len(found.keys.skipped))
        with pytest.raises(InvalidKeySetError, match="2 entities, expected one"):
            FederationMetadataDocument.read(entities(issuing(), issuing()).encode(), now=NOW)


class TestTimes:
    """`validUntil` refuses, `cacheDuration` is a hint (C73)."""

    def test_valid_until_the_last_second(self) -> None:
        """At the stated instant the document holds no longer."""
        document = entity(role(descriptor(CERT)), attributes='validUntil="2027-01-15T08:00:00Z"')
        assert NOW == parsed(document, now=NOW - 1).valid_until
        assert "2027-01-15T08:00:00Z" in str(refused(document, now=NOW))

    def test_the_least_of_several(self) -> None:
        """The entity and what stands around it each may say; the shortest holds."""
        inner = entity(role(descriptor(CERT)), attributes=f'validUntil="{LATER}" cacheDuration="PT2H"')
        found = parsed(entities(inner, attributes='validUntil="2050-01-01T00:00:00Z" cacheDuration="P1D"'))
        assert (instant("2050-01-01T00:00:00Z"), 7200.0) == (found.valid_until, found.cache_duration)

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("PT1H", 3600.0),
            ("P1DT1S", 86_401.0),
            ("P1Y", 31_536_000.0),
            ("P1M", 2_592_000.0),
            ("PT1M", 60.0),
            ("PT1613149788S", 1_613_149_788.0),
            ("P999999999999Y", 2.0**31),
            ("-PT1H", 0.0),
            ("PT0.5S", 0.0),
            (" PT6H\n", 21_600.0),
            ("P1W", None),
            ("1H", None),
            ("PT", None),
            ("P", None),
            ("PT1H1H", None),
            ("PT1H ago", None),
            ("P9999999999999Y", None),
        ],
    )
    def test_durations(self, text: str, seconds: float | None) -> None:
        """As XML Schema writes them, within what can be counted; others say nothing."""
        assert seconds == duration(text)

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("1970-01-01T00:00:01Z", 1.0),
            ("1970-01-01T00:00:01", 1.0),
            ("1970-01-01T01:00:01.75+01:00", 1.0),
            ("1969-12-31T23:00:01-01:00", 1.0),
        ],
    )
    def test_instants(self, text: str, seconds: float) -> None:
        """In UTC unless a zone is given; fractions are left off."""
        assert seconds == instant(text)


class TestReading:
    """The order of a document means nothing, and what it holds besides its keys, too (R2)."""

    @given(st.randoms(use_true_random=False), st.integers(0, 3), st.booleans())
    def test_reordering_changes_nothing(self, chance: random.Random, unknown: int, commented: bool) -> None:
        """Certificates, descriptors, roles and entities in any order, among elements and attributes that nobody knows, are one document."""
        expected = told(parsed(_document(None, 0, commented=False)))
        assert expected == told(parsed(_document(chance, unknown, commented=commented)))

    @given(st.binary(max_size=200))
    def test_any_bytes(self, data: bytes) -> None:
        """One error comes out for anything that is no such document."""
        with pytest.raises(KeyturnError) as caught:
            parsed(data)
        assert type(caught.value) is InvalidKeySetError

    @given(st.data())
    def test_a_damaged_document(self, data: st.DataObject) -> None:
        """A document with bytes changed gives keys of its certificates alone, or one error."""
        whole = bytearray(entity(typed_role(descriptor(CERT)), role(descriptor(CERT))).encode())
        for _ in range(data.draw(st.integers(1, 3))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        try:
            found = parsed(bytes(whole))
        except InvalidKeySetError:
            return
        published = {key.thumbprint for key in parsed(issuing(CERT)).keys.keys}
        assert found.entity_id == ISSUER
        assert {key.thumbprint for key in found.keys.keys} <= published

    def test_reading_twice_gives_equal_sets(self) -> None:
        """Two answers that say the same are the same set, so nothing is told as a change."""
        first, second = (parsed(issuing(*texts)).keys for texts in ((CERT, OTHER), (OTHER, CERT)))
        assert first.identity == second.identity
        assert not KeySet.diff(first, second).added

    @pytest.mark.parametrize("signers", ["short", ["x" * 43 + "!"], [x5t(b"")], b"bytes", 1, {"a": "b"}, [None]])
    def test_signers_that_are_none(self, signers: Any) -> None:
        """Thumbprints of SHA-256 are asked for; SHA-1 names a certificate, and is too weak to pin one."""
        with pytest.raises(ConfigurationError, match="setting: metadata_signer"):
            parsed(issuing(), signers=signers)


def _document(chance: random.Random | None, unknown: int, *, commented: bool) -> bytes:
    """Return the document of one issuer, in an order that *chance* makes, with so many unknown elements in each place."""

    def mixed(parts: list[str]) -> list[str]:
        filled = [*parts, *['<x:unknown xmlns:x="urn:x" a="b"><x:b/></x:unknown>'] * unknown, *["<!-- a -->"] * commented]
        if chance is not None:
            chance.shuffle(filled)
        return filled

    texts = [text_of(der_of("ES256", number)) for number in range(4)]
    services = [descriptor(texts[0]), descriptor(texts[1], use=None), descriptor(texts[2], use="encryption"), descriptor("!")]
    providers = [descriptor(texts[3]), descriptor(texts[1]), "<KeyDescriptor/>"]
    receivers = [descriptor(text_of(der_of("ES384"))), descriptor(texts[0], use="encryption")]
    roles = [typed_role(*mixed(services)), role(*mixed(providers)), role(*mixed(receivers), name="SPSSODescriptor"), typed_role(descriptor(texts[2]))]
    ours = entity(*mixed(roles), attributes='cacheDuration="PT1H"')
    others = [entity(role(descriptor(OTHER)), entity_id=f"urn:{number}") for number in range(2)]
    return entities(*mixed([ours, *others]), attributes=f'validUntil="{LATER}" xmlns:fed="{FED}" xmlns:md="{MD}"').encode()
