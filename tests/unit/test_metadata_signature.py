"""Federation metadata with a pinned signer: only what was signed is read, whatever else stands in the document (AX7)."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from signxml.algorithms import CanonicalizationMethod
from tests.unit.metadata import (
    CERT,
    DS,
    ISSUER,
    LONG_AGO,
    MD,
    OTHER,
    der_of,
    descriptor,
    entities,
    entity,
    issuing,
    parsed,
    role,
    signed,
    text_of,
    typed_role,
    x5t_s256,
)

from keyturn import ConfigurationError, InvalidKeySetError, StaticKeySet

OURS = x5t_s256(der_of("ES256", 5))
SOMEBODY = x5t_s256(der_of("ES256", 6))
EVIL = text_of(der_of("ES256", 7))
ID = 'ID="_a"'


def plain(*certificates: str, attributes: str = ID, entity_id: str = ISSUER) -> str:
    """Return an entity that may be signed."""
    return entity(role(descriptor(*(certificates or (CERT,)))), attributes=attributes, entity_id=entity_id)


def ours(document: str, **settings: Any) -> str:
    """Return *document* signed by the pinned signer."""
    return signed(document, number=5, **settings)


def signature_of(document: str) -> str:
    """Return the signature of a document as text."""
    return document[document.index("<ds:Signature") : document.index("</ds:Signature>") + len("</ds:Signature>")]


def refused(document: str, **settings: Any) -> str:
    """Return why a document is refused with the pinned signer."""
    with pytest.raises(InvalidKeySetError) as caught:
        parsed(document, **{"signers": [OURS], **settings})
    return str(caught.value)


def kids(document: str, **settings: Any) -> set[str | None]:
    """Return the keys that a document gives with the pinned signer."""
    return {key.kid for key in parsed(document, **{"signers": [OURS], **settings}).keys.keys}


GOOD = {key.kid for key in parsed(issuing()).keys.keys}


class TestWhoSigned:
    """The signer is known beforehand."""

    @pytest.mark.parametrize("form", [OURS, [OURS], (SOMEBODY, OURS), {OURS}], ids=["text", "list", "tuple", "set"])
    def test_the_pinned_signer(self, form: Any) -> None:
        """One of the pinned certificates signed, and is told."""
        found = parsed(ours(plain()), signers=form)
        assert (OURS, True) == (found.signer, found.signed)
        assert GOOD == {key.kid for key in found.keys.keys}

    def test_a_thumbprint_in_hex(self) -> None:
        """As certificate dialogs show it."""
        import base64

        spelled = base64.urlsafe_b64decode(OURS + "=").hex(":").upper()
        assert OURS == parsed(ours(plain()), signers=spelled).signer

    def test_an_expired_certificate_signs(self) -> None:
        """The dates of a pinned certificate decide nothing, as with every certificate (C74)."""
        assert OURS == parsed(ours(plain()), signers=[OURS], now=0.0).signer

    @pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
    @pytest.mark.parametrize("digest", ["256", "384", "512"])
    def test_algorithms(self, algorithm: str, digest: str) -> None:
        """RSA and ECDSA with SHA-2."""
        name = f"{'ecdsa' if algorithm == 'ES256' else 'rsa'}-sha{digest}"
        document = signed(plain(), algorithm, 1, signature_algorithm=name, digest_algorithm=f"sha{digest}")
        assert GOOD == kids(document, signers=[x5t_s256(der_of(algorithm, 1))])

    def test_nobody_signed(self) -> None:
        """A stripped signature is none."""
        assert "0 signatures" in refused(plain())

    def test_somebody_else_signed(self) -> None:
        """A signature of a listed key of the issuer proves nothing about the pinned one."""
        message = refused(signed(plain(), number=6))
        assert SOMEBODY in message
        assert OURS in message
        assert "(setting: metadata_signer)" in message

    def test_somebody_else_signed_in_the_name_of_ours(self) -> None:
        """The certificate inside the document only says which one: the signature must verify under it."""
        lines = etree.fromstring(signed(plain(), number=6).encode())
        named = lines.find(f"{{{DS}}}Signature//{{{DS}}}X509Certificate")
        named.text = text_of(der_of("ES256", 5))
        assert "does not verify" in refused(etree.tostring(lines).decode())

    def test_a_signature_without_a_certificate(self) -> None:
        """Nothing says who signed."""
        root = etree.fromstring(ours(plain()).encode())
        info = root.find(f"{{{DS}}}Signature/{{{DS}}}KeyInfo")
        info.getparent().remove(info)
        assert "signed by no certificate" in refused(etree.tostring(root).decode())

    def test_certificates_that_are_none(self) -> None:
        """Text that is no certificate beside the one that counts changes nothing."""
        root = etree.fromstring(ours(plain()).encode())
        data = root.find(f"{{{DS}}}Signature//{{{DS}}}X509Data")
        for text in ("!", text_of(b"certificate")):
            etree.SubElement(data, f"{{{DS}}}X509Certificate").text = text
        assert GOOD == kids(etree.tostring(root).decode())

    def test_bytes_that_hash_as_pinned_and_are_no_certificate(self) -> None:
        """Whoever pins garbage trusts nobody."""
        root = etree.fromstring(ours(plain()).encode())
        etree.SubElement(root.find(f"{{{DS}}}Signature//{{{DS}}}X509Data"), f"{{{DS}}}X509Certificate").text = text_of(b"garbage")
        assert "is signed by" in refused(etree.tostring(root).decode(), signers=[x5t_s256(b"garbage")])


class TestWhatWasSigned:
    """Only what was signed is read."""

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (CERT, OTHER),
            (f'entityID="{ISSUER}"', f'entityID="{ISSUER}"  validUntil="2099-01-01T00:00:00Z"'),
            ('use="signing"', ""),
            ("</IDPSSODescriptor>", f"{descriptor(EVIL)}</IDPSSODescriptor>"),
            ("</EntityDescriptor>", f"{role(descriptor(EVIL))}</EntityDescriptor>"),
            ('ID="_a"', 'ID="_b"'),
        ],
    )
    def test_a_change_is_seen(self, old: str, new: str) -> None:
        """Anything that is read was signed."""
        document = ours(plain())
        assert old in document
        assert "metadata_signer" in refused(document.replace(old, new, 1))

    def test_a_forgery_around_the_original(self) -> None:
        """A forged root with the signed original inside: the root is not signed, and what is, says another thing or is used alone."""
        original = ours(plain())
        for where in (f"<Extensions>{original}</Extensions>", f"<ds:Signature><ds:Object>{original}</ds:Object></ds:Signature>"):
            forged = entity(where, role(descriptor(EVIL)))
            try:
                assert GOOD == kids(forged)
            except InvalidKeySetError as error:
                assert "metadata_signer" in str(error)  # noqa: PT017

    def test_the_signature_moved_to_a_forgery(self) -> None:
        """A signature that signs another element than its own parent."""
        original = ours(plain())
        signature = signature_of(original)
        stripped = original.replace(signature, "")
        moved = entity(signature, f"<Extensions>{stripped}</Extensions>", role(descriptor(EVIL)), attributes='ID="_evil"')
        assert "another element" in refused(moved)
        assert "2 elements with one ID" in refused(moved.replace("_evil", "_a"))
        nameless = entity(signature, f"<Extensions>{stripped}</Extensions>", role(descriptor(EVIL)))
        assert "another element" in refused(nameless)
        assert "2 elements" in refused(moved.replace('ID="_evil"', 'ID="_a"').replace("<EntityDescriptor xmlns", "<EntityDescriptor a='1' xmlns", 1))

    def test_doubled_signatures(self) -> None:
        """Which of two counts is a question that nobody may have to answer."""
        document = ours(plain())
        signature = signature_of(document)
        assert "2 signatures" in refused(document.replace(signature, signature * 2))
        assert "metadata_signer" in refused(document.replace(signature, signature_of(signed(plain(EVIL), number=6)) + signature))

    def test_several_references(self) -> None:
        """One reference, to the whole element."""
        root = etree.fromstring(ours(plain()).encode())
        info = root.find(f".//{{{DS}}}SignedInfo")
        reference = info.find(f"{{{DS}}}Reference")
        info.append(etree.fromstring(etree.tostring(reference)))
        assert "2 parts" in refused(etree.tostring(root).decode())
        for each in info.findall(f"{{{DS}}}Reference"):
            info.remove(each)
        assert "0 parts" in refused(etree.tostring(root).decode())

    def test_the_whole_document_as_reference(self) -> None:
        """An empty reference means the document, which is the element alone."""
        document = ours(plain(attributes=""))
        assert 'URI=""' in document
        assert GOOD == kids(document)

    @pytest.mark.parametrize(
        "settings",
        [
            {"c14n_algorithm": CanonicalizationMethod.CANONICAL_XML_1_0},
            {"c14n_algorithm": CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0_WITH_COMMENTS},
        ],
    )
    def test_other_transforms(self, settings: dict[str, Any]) -> None:
        """The two that metadata uses, and no other."""
        assert "transforms" in refused(ours(plain(), **settings))

    def test_weak_algorithms(self) -> None:
        """SHA-1 and HMAC are refused whoever made them."""
        document = ours(plain())
        for old, new in (
            ("http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256", "http://www.w3.org/2000/09/xmldsig#hmac-sha1"),
            ("http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256", "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha1"),
            ("http://www.w3.org/2001/04/xmlenc#sha256", "http://www.w3.org/2000/09/xmldsig#sha1"),
        ):
            assert old in document
            assert "does not verify" in refused(document.replace(old, new))

    @given(st.data())
    def test_a_damaged_document(self, data: st.DataObject) -> None:
        """Whatever is changed, the keys of the signed document come out, or none."""
        whole = bytearray(_SAMPLE)
        for _ in range(data.draw(st.integers(1, 2))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        try:
            found = parsed(bytes(whole), signers=[OURS])
        except InvalidKeySetError:
            return
        assert GOOD == {key.kid for key in found.keys.keys}


_SAMPLE = ours(plain()).encode()


def test_what_the_verifier_cannot_read() -> None:
    """The strict reader takes any text for a namespace, and the verifier wants a URI: what either refuses is not used."""
    document = ours(plain()).replace("<EntityDescriptor", '<EntityDescriptor xmlns:a="http://[/"', 1)
    assert parsed(document).signed
    assert "cannot be read" in refused(document)


class TestAggregates:
    """The signature of a federation, or of one entity in it."""

    def test_a_signed_aggregate(self) -> None:
        """It covers every entity."""
        document = ours(entities(plain(), plain(EVIL, entity_id="urn:other", attributes=""), attributes='ID="_all"'))
        assert GOOD == kids(document)
        assert "urn:third" in refused(document, entity_ids="urn:third")

    def test_a_signed_entity(self) -> None:
        """In an aggregate that is not signed the wanted entity must be, and nothing around it is read."""
        aggregate = entities(plain(EVIL, entity_id="urn:other", attributes=""), plain(), attributes=f'validUntil="{LONG_AGO}"')
        assert GOOD == kids(ours(aggregate, within=ISSUER))

    def test_a_signed_entity_beside_a_forgery(self) -> None:
        """One that nobody signed is not read, whatever its name; of two that are signed none is chosen."""
        aggregate = ours(entities(plain(), plain(EVIL, attributes="", entity_id="urn:other")), within=ISSUER)
        assert GOOD == kids(aggregate.replace("urn:other", ISSUER))
        twice = etree.fromstring(aggregate.encode())
        twice.append(etree.fromstring(ours(plain(EVIL)).encode()))
        assert "2 signatures" in refused(etree.tostring(twice).decode())

    def test_a_signed_entity_of_another_name(self) -> None:
        """A genuine signature over another entity of the federation is none of the issuer's."""
        aggregate = entities(plain(attributes=""), plain(EVIL, entity_id="urn:other"))
        assert "0 signatures" in refused(ours(aggregate, within="urn:other"))

    def test_the_namespaces_of_the_aggregate_hold(self) -> None:
        """A type whose prefix is bound around the entity keeps its meaning."""
        typed = entity(typed_role(descriptor(CERT)), attributes=ID).replace(' xmlns:fed="http://docs.oasis-open.org/wsfed/federation/200706"', "")
        aggregate = entities(typed, attributes='xmlns:fed="http://docs.oasis-open.org/wsfed/federation/200706"')
        assert GOOD == kids(ours(aggregate, within=ISSUER))


class TestWithoutTheExtra:
    """What the extra brings may be missing."""

    @pytest.mark.parametrize("missing", ["lxml", "signxml.algorithms"])
    def test_a_signer_cannot_be_pinned(self, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
        """It is said at construction, with what to install."""
        monkeypatch.delitem(sys.modules, "keyturn._core.metadata_signature")
        monkeypatch.setitem(sys.modules, missing, None)
        with pytest.raises(ConfigurationError, match=missing) as caught:
            StaticKeySet.from_metadata(issuing().encode(), issuer=ISSUER, signers=OURS)
        assert "keyturn[saml]" in caught.value.hint

    def test_everything_else_works(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Documents are read without it."""
        monkeypatch.setitem(sys.modules, "lxml", None)
        monkeypatch.setitem(sys.modules, "signxml", None)
        assert GOOD == {key.kid for key in parsed(f"{issuing()}<!-- {MD} -->").keys.keys}
