"""Federation metadata: the XML that an issuer, or whoever stands in its place, publishes, with a pinned signer and without.

Rules of this file:

1. What is accepted is of the configured issuer, and each of its keys stands where another reader of XML finds the issuer's keys.
2. Printed by that reader and read again, a document says the same.
3. With a pinned signer no key is accepted but those that the signer signed.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import random
from collections.abc import Iterator
from typing import Any

from lxml import etree
from tests.fuzz import xml_edits
from tests.fuzz.fixed_keys import FixedKey
from tests.fuzz.target import Native, Target, outcome, require
from tests.unit.attacks_by_metadata import METADATA
from tests.unit.material import DIGESTS, certificate
from tests.unit.metadata import (
    DS,
    FED,
    ISSUER,
    LATER,
    LONG_AGO,
    MD,
    NOW,
    XSI,
    descriptor,
    entities,
    entity,
    role,
    signer,
    text_of,
    typed_role,
    x5t,
    x5t_s256,
)

from keyturn import FederationMetadataDocument

LONGEST = 65_536
ODDS_OF_BLIND = 0.25
_ROLES = "self::md:IDPSSODescriptor or self::md:RoleDescriptor"
_KEYS = f"descendant-or-self::md:EntityDescriptor[@entityID='{ISSUER}']/*[{_ROLES}]/md:KeyDescriptor[not(@use) or @use='signing']"
_CERTIFICATES = etree.XPath(f"{_KEYS}/ds:KeyInfo/ds:X509Data/ds:X509Certificate", namespaces={"md": MD, "ds": DS})

WORDS = (
    *("entityID", "use", "signing", "encryption", "validUntil", "cacheDuration", "ID", "xsi:type", "xmlns", "xmlns:ds", "xmlns:fed", "xmlns:xsi"),
    *("fed:SecurityTokenServiceType", "a:SecurityTokenServiceType", "IDPSSODescriptor", "RoleDescriptor", "SPSSODescriptor", "KeyDescriptor"),
    *(MD, DS, FED, XSI, ISSUER, f"{ISSUER}/", LONG_AGO, LATER, "PT6H", "P1D", "P9999999999D", "-P1D", "#a", "", "<!-- -->", "<![CDATA[AA]]>"),
    *("<!DOCTYPE a>", "<?a b?>", "&lt;", "&#0;", "&#x41;", "&a;", "\ufeff", "http://fs.example.com/{tenantid}/", "unqualified", "Algorithm", "URI"),
)


@functools.cache
def certificates() -> dict[str, str]:
    """Return certificates by the name of their key, as documents hold them; the same in every process, since RSA signs in one way."""
    return {name: text_of(certificate(_key(name), digest=DIGESTS["256"])) for name in ("issuer", "signer", "mallory")}


@functools.cache
def pinned() -> str:
    """Return the SHA-256 thumbprint of the signer's certificate."""
    return x5t_s256(base64.b64decode(certificates()["signer"]))


def read(data: bytes) -> Any:
    """Hand bytes to the reader of metadata, without a pinned signer and with one."""
    plain = outcome(lambda: FederationMetadataDocument.parse(data, entity_ids=ISSUER, now=NOW))
    signed = outcome(lambda: FederationMetadataDocument.parse(data, entity_ids=ISSUER, now=NOW, signers=[pinned()]))
    return plain, signed


def check(data: bytes) -> bool:
    """Judge bytes as federation metadata, by the rules of this file."""
    plain, signed = read(data)
    if isinstance(signed, FederationMetadataDocument):
        require(_kids(signed) == {x5t(base64.b64decode(certificates()["issuer"]))}, "a key was accepted that the pinned signer did not sign")
    if not isinstance(plain, FederationMetadataDocument):
        return False
    require(plain.entity_id == ISSUER and plain.keys.keys, "another issuer's document was accepted, or one without keys")
    try:
        root = etree.fromstring(data, etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True))
    except etree.XMLSyntaxError:
        # The other reader refuses what it does not like, such as a namespace that is no URI; it sees nothing else in it than we do.
        return True
    require(_kids(plain) <= {_thumbprint(element) for element in _CERTIFICATES(root)}, "a key was accepted that another reader does not find")
    again = FederationMetadataDocument.parse(etree.tostring(root, encoding="utf-8"), entity_ids=ISSUER, now=NOW)
    require(again.keys.identity == plain.keys.identity, "a document that was printed reads differently")
    return True


def _kids(document: FederationMetadataDocument) -> set[str | None]:
    return {key.kid for key in document.keys.keys}


def _thumbprint(element: Any) -> str:
    try:
        der = base64.b64decode("".join("".join(element.itertext()).split()))
    except ValueError:
        return ""
    return x5t(der)


def _key(name: str) -> Any:
    return FixedKey(f"metadata of {name}", "RS256")._key


def seeds() -> Iterator[bytes]:
    """Yield documents that are signed by the pinned signer, and the catalogue."""
    ours, evil = certificates()["issuer"], certificates()["mallory"]
    good = entity(role(descriptor(ours)), typed_role(descriptor(ours)), attributes='ID="a"')
    yield _signed(good, "signer")
    yield _signed(good, "mallory")
    yield _signed(good, "signer").replace(ours.encode(), evil.encode(), 1)
    inner = _signed(good, "signer").decode()
    yield entities(inner, entity(role(descriptor(evil)), entity_id="urn:other")).encode()
    for cases in METADATA.values():
        yield from (case.body for case in cases() if len(case.body) <= LONGEST)


def _signed(document: str, name: str) -> bytes:
    text = certificates()[name]
    lines = "\n".join(text[place : place + 64] for place in range(0, len(text), 64))
    pem = f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"
    root = etree.fromstring(document.encode())
    return etree.tostring(signer("RS256").sign(root, key=_key(name), cert=pem, reference_uri=root.get("ID"), id_attribute="ID"))


def mutate(data: bytes, limit: int, chance: random.Random, native: Native) -> bytes:
    """Change the document as XML, or blindly."""
    if chance.random() < ODDS_OF_BLIND:
        return native(data, limit)
    text = data.decode("utf-8", "surrogateescape")
    return xml_edits.edited(text, chance, WORDS, _fragments()).encode("utf-8", "surrogateescape")[:limit]


@functools.cache
def _fragments() -> tuple[str, ...]:
    evil = descriptor(certificates()["mallory"])
    return (
        *(evil, role(evil), typed_role(evil), role(evil, name="SPSSODescriptor"), entity(role(evil)), f"<Extensions>{role(evil)}</Extensions>"),
        *(f"<!-- {evil} -->", f"<![CDATA[{evil}]]>", "<a/>", f'<a xmlns="{DS}"/>', hashlib.sha256(evil.encode()).hexdigest()),
    )


TARGET = Target("metadata", read, check, seeds, mutate, WORDS, LONGEST)
