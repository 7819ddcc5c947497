"""Federation metadata built at test time: documents of an issuer as Entra, AD FS and others publish them, and ones that nobody should.

Nothing here is a test. The certificates are those of `material.py`.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lxml import etree
from signxml import XMLSigner
from signxml.algorithms import CanonicalizationMethod, SignatureConstructionMethod
from tests.unit import material
from tests.unit.material import DIGESTS, certificate, raw_private, rsa_key

from keyturn import FederationMetadataDocument, FetchedDocument
from keyturn.testing import FakeIssuer, federation_metadata
from keyturn.testing.certificates import self_signed
from keyturn.testing.federation_metadata import DS, FED, MD, PATH, XSI
from keyturn.testing.keys import PrivateKey, base64url
from keyturn.testing.publisher import Publication, published_xml

ISSUER = "http://fs.example.com/adfs/services/trust"
NOW = 1_800_000_000.0
LONG_AGO, LATER = "2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"


@functools.cache
def der_of(algorithm: str = "ES256", number: int = 0, *, expired: bool = False) -> bytes:
    """Return a certificate of `private_key()`, the same one each time: an ECDSA signature is another one each time it is made."""
    return material.der_of(algorithm, number, expired=expired)


def text_of(der: bytes) -> str:
    """Return a certificate as such documents hold it."""
    return base64.b64encode(der).decode()


def x5t(der: bytes) -> str:
    """Return the SHA-1 thumbprint of a certificate."""
    return base64url(hashlib.sha1(der).digest())


def x5t_s256(der: bytes) -> str:
    """Return the SHA-256 thumbprint of a certificate."""
    return base64url(hashlib.sha256(der).digest())


@functools.cache
def rsa_certificate(bits: int) -> bytes:
    """Return a certificate of an RSA key of *bits*."""
    return certificate(rsa_key(bits), digest=DIGESTS["256"])


CERT = text_of(der_of("ES256", 0))
"""The issuer's certificate, where a test needs no particular one."""

OTHER = text_of(der_of("ES256", 1))
"""A certificate that must not be used."""


def key_info(*certificates: str) -> str:
    """Return a KeyInfo of certificates, each in an element of its own."""
    inner = "".join(f"<ds:X509Certificate>{text}</ds:X509Certificate>" for text in certificates)
    return f"<ds:KeyInfo><ds:X509Data>{inner}</ds:X509Data></ds:KeyInfo>"


def descriptor(*certificates: str, use: str | None = "signing") -> str:
    """Return a KeyDescriptor."""
    stated = "" if use is None else f' use="{use}"'
    return f"<KeyDescriptor{stated}>{key_info(*certificates)}</KeyDescriptor>"


def role(*parts: str, name: str = "IDPSSODescriptor", attributes: str = "") -> str:
    """Return a role of SAML."""
    return f'<{name} protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol" {attributes}>{"".join(parts)}</{name}>'


def typed_role(*parts: str, kind: str = "fed:SecurityTokenServiceType", namespaces: Mapping[str, str] | None = None, attributes: str = "") -> str:
    """Return a role of WS-Federation."""
    bound = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in (namespaces or {"fed": FED}).items())
    return f'<RoleDescriptor xmlns:xsi="{XSI}" {bound} xsi:type="{kind}" {attributes}>{"".join(parts)}</RoleDescriptor>'


def entity(*roles: str, entity_id: str = ISSUER, attributes: str = "") -> str:
    """Return an EntityDescriptor."""
    return f'<EntityDescriptor xmlns="{MD}" xmlns:ds="{DS}" entityID="{entity_id}" {attributes}>{"".join(roles)}</EntityDescriptor>'


def entities(*inner: str, attributes: str = "") -> str:
    """Return an EntitiesDescriptor."""
    return f'<EntitiesDescriptor xmlns="{MD}" xmlns:ds="{DS}" {attributes}>{"".join(inner)}</EntitiesDescriptor>'


def issuing(*certificates: str) -> str:
    """Return an entity that issues tokens, with these certificates, or with `CERT`."""
    return entity(role(descriptor(*(certificates or (CERT,)))))


def parsed(document: str | bytes, **settings: Any) -> FederationMetadataDocument:
    """Read a document for the issuer of this file."""
    body = document.encode() if isinstance(document, str) else document
    return FederationMetadataDocument.parse(body, **{"entity_ids": ISSUER, "now": NOW, **settings})


def signed(document: str, algorithm: str = "ES256", number: int = 0, *, within: str | None = None, **settings: Any) -> str:
    """Return a document whose root, or the entity *within* it, carries a signature over itself as metadata has it (SAML Metadata, section 3)."""
    root = etree.fromstring(document.encode())
    target = root
    if within is not None:
        (target,) = (each for each in root.iter(f"{{{MD}}}EntityDescriptor") if each.get("entityID") == within)
        parent, place = target.getparent(), target.getparent().index(target)
    done = signer(algorithm, **settings).sign(
        etree.fromstring(etree.tostring(target, with_tail=False)),
        key=raw_private(algorithm, number),
        cert=pem_of(algorithm, number),
        reference_uri=target.get("ID"),
        id_attribute="ID",
    )
    if within is None:
        return etree.tostring(done).decode()
    parent[place] = done
    return etree.tostring(root).decode()


def signer(algorithm: str, **settings: Any) -> XMLSigner:
    """Return what signs as metadata is signed."""
    defaults: dict[str, Any] = {
        "method": SignatureConstructionMethod.enveloped,
        "signature_algorithm": "ecdsa-sha256" if algorithm == "ES256" else "rsa-sha256",
        "digest_algorithm": "sha256",
        "c14n_algorithm": CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
    }
    return XMLSigner(**{**defaults, **settings})


def pem_of(algorithm: str, number: int) -> str:
    """Return a certificate of `private_key()` in PEM."""
    text = text_of(der_of(algorithm, number))
    lines = "\n".join(text[place : place + 64] for place in range(0, len(text), 64))
    return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"


@dataclass(frozen=True, slots=True)
class Case:
    """One document.

    Attributes:
        label: What is odd about it.
        body: The document.
        keys: Certificates whose keys must come out; none where the document must be refused.
        says: Words of the refusal, or of a reason for which an entry is skipped.
        settings: What it is read with.
    """

    label: str
    body: bytes = field(repr=False)
    keys: tuple[str, ...] = ()
    says: str = ""
    settings: dict[str, Any] = field(default_factory=dict)


Cases = Iterator[Case]


def refused_case(label: str, document: str | bytes, says: str = "", **settings: Any) -> Case:
    """Return a document that must be refused, with words of the reason."""
    return Case(label, document.encode() if isinstance(document, str) else document, (), says, settings)


def used_case(label: str, document: str | bytes, *keys: str, says: str = "", **settings: Any) -> Case:
    """Return a document that must give these keys, or that of `CERT`, with words of the reason why something else is skipped."""
    return Case(label, document.encode() if isinstance(document, str) else document, keys or (CERT,), says, settings)


class Fixed:
    """A fetcher of one document, whatever is asked for; it keeps the header fields that it was asked with."""

    def __init__(self, document: str) -> None:
        self.document = document
        self.asked: list[Mapping[str, str]] = []

    def fetch(self, url: str, *, headers: Mapping[str, str], max_bytes: int, deadline: float) -> FetchedDocument:
        """Answer with the document."""
        self.asked.append(headers)
        return FetchedDocument(self.document.encode(), {"content-type": "text/xml"})


class MetadataIssuer(FakeIssuer):
    """A fake issuer that publishes its keys as certificates in federation metadata, and names them in its tokens by `x5t`.

    Faults and counts of its key set are those of the metadata.
    """

    def certificate(self, kid: str) -> bytes:
        """Return the certificate of one of its keys, the same one each time."""
        return _certificate(self._find(kid).private)

    def x5t(self, kid: str) -> str:
        """Return the name by which its tokens call a key."""
        return x5t(self.certificate(kid))

    def metadata(self) -> bytes:
        """Return the document as published now."""
        certificates = [self.certificate(kid) for kid in self.published_kids]
        place = f"{self.origin}/ls"
        return federation_metadata.document(
            self.issuer, federation_metadata.token_service(certificates, place), federation_metadata.identity_provider(certificates, place)
        )

    def token(self, *, key: str | None = None, headers: Mapping[str, Any] | None = None, **token: Any) -> str:
        """Return a token whose kid is the thumbprint of its key's certificate."""
        name = self.x5t(key or self.signing_kid)
        return super().token(key=key, headers={"kid": name, "x5t": name, **(headers or {})}, **token)

    @property
    def metadata_url(self) -> str:
        """Where the document stands."""
        return self.issuer + PATH

    def _published(self, location: str) -> Publication:
        if location == self.metadata_url:
            return "jwks", published_xml(self.metadata())[1]
        return super()._published(location)


@functools.cache
def _certificate(key: PrivateKey) -> bytes:
    return self_signed(key, subject="made for a test", start=NOW, seconds=86_400.0)
