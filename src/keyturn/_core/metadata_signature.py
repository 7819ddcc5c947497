"""Federation metadata that must be signed by a pinned certificate (SAML V2.0 Metadata, section 3; XML Signature 1.1).

Rules of this file:

1. Only what was signed is handed on. The signature is a direct child of the root, or, where the root has none, of the one entity that is
   wanted; it signs exactly its parent. Nothing outside that element is read, so nothing can be moved, copied or wrapped into sight.
2. The signer is known beforehand by the SHA-256 thumbprint of its certificate. A certificate inside the document only says which one.
3. RSA and ECDSA with SHA-2, exclusive canonicalization, and the enveloped signature are what metadata uses (section 3.1); anything else
   refuses. The dates of the signer's certificate decide nothing, as with every certificate here.
4. The document has passed `strict_xml.py` before: no DOCTYPE, no entity, no processing instruction and no comment in a certificate.
5. Exclusive canonicalization leaves out a prefix that stands in the value of `xsi:type` alone: its spelling is signed, and its namespace
   is not. Whoever could change it could hide a role of WS-Federation, and not make an issuer of one whose type is called otherwise.

This file needs `keyturn[saml]`: canonical XML must not be code of our own.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode
from collections.abc import Callable, Collection, Iterator
from typing import Any

from cryptography.x509 import Certificate, load_der_x509_certificate
from lxml import etree
from signxml.algorithms import DigestAlgorithm, SignatureMethod
from signxml.verifier import SignatureConfiguration, XMLVerifier

from keyturn._core import base64url
from keyturn.errors import InvalidKeySetError, quoted

_DS = "{http://www.w3.org/2000/09/xmldsig#}"
_ENTITY = "{urn:oasis:names:tc:SAML:2.0:metadata}EntityDescriptor"
_TRANSFORMS = {"http://www.w3.org/2000/09/xmldsig#enveloped-signature", "http://www.w3.org/2001/10/xml-exc-c14n#"}
_METHODS = frozenset(
    getattr(SignatureMethod, name) for name in ("RSA_SHA256", "RSA_SHA384", "RSA_SHA512", "ECDSA_SHA256", "ECDSA_SHA384", "ECDSA_SHA512")
)
_DIGESTS = frozenset({DigestAlgorithm.SHA256, DigestAlgorithm.SHA384, DigestAlgorithm.SHA512})
_HINT = "Metadata of another signer is never used. If the issuer has changed its signer, set `metadata_signer` to the new thumbprint as well."


def signed_part(document: bytes, signers: Collection[str], *, wanted: Callable[[str], bool]) -> tuple[bytes, str]:
    """Return the part of a document that a pinned certificate signed, as a document of its own, and the thumbprint of that certificate.

    Args:
        document: A document that `strict_xml.parse_document()` has passed.
        signers: SHA-256 thumbprints of certificates, base64url.
        wanted: Whether an entityID is that of the issuer.

    Raises:
        InvalidKeySetError: Not signed, signed by somebody else, or not in a way that this file knows.
    """
    root = _parsed(document)
    element = _signed_element(root, wanted)
    # A copy of its own, with the namespaces of what stood around it: nothing outside can be meant by a reference or be read afterwards.
    part: bytes = etree.tostring(element, encoding="utf-8", with_tail=False)
    alone = _parsed(part)
    _check_shape(alone)
    certificate, thumbprint = _signer(alone, signers)
    _verify(part, certificate)
    return part, thumbprint


def _parsed(document: bytes) -> Any:
    try:
        return etree.fromstring(document, _parser())
    except etree.XMLSyntaxError:
        # The strict reader leaves the name of a namespace alone, and this one wants it to be a URI.
        raise _refused("cannot be read by what verifies its signature") from None


def _parser() -> etree.XMLParser:
    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)


def _signed_element(root: Any, wanted: Callable[[str], bool]) -> Any:
    if root.find(f"{_DS}Signature") is not None:
        return root
    found = [element for element in root.iter(_ENTITY) if wanted(element.get("entityID", "")) and element.find(f"{_DS}Signature") is not None]
    if len(found) != 1:
        raise InvalidKeySetError(
            f"the federation metadata has {len(found)} signatures of the issuer's entity, expected one (setting: metadata_signer)", hint=_HINT
        )
    return found[0]


def _check_shape(element: Any) -> None:
    """Refuse a signature that might sign anything but exactly its parent."""
    signatures = element.findall(f"{_DS}Signature")
    if len(signatures) != 1:
        raise _refused(f"has {len(signatures)} signatures, expected one")
    references = signatures[0].findall(f"{_DS}SignedInfo/{_DS}Reference")
    if len(references) != 1:
        raise _refused(f"has a signature over {len(references)} parts, expected one")
    uri, own = references[0].get("URI"), element.get("ID")
    if uri != "" and (not own or uri != f"#{own}"):
        raise _refused("has a signature over another element than its own")
    names = [value for each in element.iter(etree.Element) for name, value in each.attrib.items() if etree.QName(name).localname.lower() == "id"]
    if own and names.count(own) != 1:
        raise _refused(f"has {names.count(own)} elements with one ID, expected one")
    transforms = [transform.get("Algorithm", "") for transform in references[0].iter(f"{_DS}Transform")]
    if sorted(transforms) != sorted(_TRANSFORMS):
        raise _refused(f"has a signature with the transforms {quoted(transforms)}, expected the enveloped signature and exclusive canonicalization")


def _signer(element: Any, signers: Collection[str]) -> tuple[Certificate, str]:
    """Return the certificate by which the signature says that it was made, if it is pinned."""
    named = dict(_named(element))
    for thumbprint in sorted(named.keys() & set(signers)):
        try:
            return load_der_x509_certificate(named[thumbprint]), thumbprint
        except ValueError:
            continue
    shown = ", ".join(quoted(thumbprint) for thumbprint in sorted(named)) or "no certificate"
    raise _refused(f"is signed by {shown}, expected {' or '.join(quoted(signer) for signer in sorted(signers))}")


def _named(element: Any) -> Iterator[tuple[str, bytes]]:
    for certificate in element.iterfind(f"{_DS}Signature/{_DS}KeyInfo/{_DS}X509Data/{_DS}X509Certificate"):
        try:
            der = b64decode(re.sub(r"[ \t\r\n]+", "", "".join(certificate.itertext())), validate=True)
        except ValueError:
            continue
        yield base64url.encode(hashlib.sha256(der).digest()), der


def _verify(part: bytes, certificate: Certificate) -> None:
    expected = SignatureConfiguration(
        location="./",
        expect_references=1,
        signature_methods=_METHODS,
        digest_algorithms=_DIGESTS,
        verification_time=certificate.not_valid_before_utc,
    )
    try:
        XMLVerifier().verify(part, x509_cert=certificate, parser=_parser(), id_attribute="ID", expect_config=expected)
    except Exception as error:  # noqa: BLE001 - whatever a verifier stumbles over was not signed as it must be
        raise _refused(f"has a signature that does not verify: {type(error).__name__}") from None


def _refused(reason: str) -> InvalidKeySetError:
    return InvalidKeySetError(f"the federation metadata {reason} (setting: metadata_signer)", hint=_HINT)
