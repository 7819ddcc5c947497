"""Federation metadata as issuers of SAML and WS-Federation publish it (SAML V2.0 Metadata; WS-Federation 1.2, section 3).

Rules of this file:

1. An issuer of tokens has two roles with the same keys: SecurityTokenServiceType of WS-Federation, and IDPSSODescriptor of SAML. What
   else stands in a document holds keys that sign no tokens.
2. A signature stands first in the root, over the whole document, by exclusive canonicalization and SHA-256 (SAML Metadata, section 3).
   It is made with `signxml`, which `keyturn[saml]` brings.
3. The same keys give the same document but for the signature of an elliptic curve, which is another one each time.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable, Iterable
from html import escape
from importlib.util import find_spec
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from keyturn.errors import ConfigurationError, quoted
from keyturn.testing.keys import PrivateKey

PATH: Final = "/FederationMetadata/2007-06/FederationMetadata.xml"
"""Where Entra and AD FS publish the document, below a tenant or at the root; any letter case is in use."""

MD: Final = "urn:oasis:names:tc:SAML:2.0:metadata"
DS: Final = "http://www.w3.org/2000/09/xmldsig#"
FED: Final = "http://docs.oasis-open.org/wsfed/federation/200706"
WSA: Final = "http://www.w3.org/2005/08/addressing"
XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"

_BOM = b"\xef\xbb\xbf"
_PLACEHOLDER = '<ds:Signature Id="placeholder"/>'
_NEEDED = ("lxml", "signxml")


def descriptor(certificate: bytes, *, use: str = "signing") -> str:
    """Return a KeyDescriptor of one certificate."""
    text = b64encode(certificate).decode()
    info = f"<ds:KeyInfo><ds:X509Data><ds:X509Certificate>{text}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>"
    return f'<KeyDescriptor use="{use}">{info}</KeyDescriptor>'


def token_service(certificates: Iterable[bytes], address: str) -> str:
    """Return the role that issues tokens by WS-Federation, at an address of passive requestors."""
    place = f"<wsa:EndpointReference><wsa:Address>{escape(address)}</wsa:Address></wsa:EndpointReference>"
    endpoints = "".join(f"<fed:{name}>{place}</fed:{name}>" for name in ("SecurityTokenServiceEndpoint", "PassiveRequestorEndpoint"))
    return _typed("SecurityTokenServiceType", "".join(descriptor(each) for each in certificates) + endpoints)


def application(*descriptors: str) -> str:
    """Return the role of an application, which receives tokens."""
    return _typed("ApplicationServiceType", "".join(descriptors))


def identity_provider(certificates: Iterable[bytes], address: str) -> str:
    """Return the role that issues tokens by SAML, at an address for logins and logouts."""
    binding = 'Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"'
    places = "".join(f'<{name} {binding} Location="{escape(address)}"/>' for name in ("SingleLogoutService", "SingleSignOnService"))
    return _saml("IDPSSODescriptor", "".join(descriptor(each) for each in certificates) + places)


def service_provider(*descriptors: str) -> str:
    """Return the role of a service that receives SAML tokens."""
    return _saml("SPSSODescriptor", "".join(descriptors))


def document(entity_id: str, *roles: str, signer: tuple[PrivateKey, bytes] | None = None) -> bytes:
    """Return a document of one entity, with a byte order mark, as Entra and AD FS send it.

    Args:
        entity_id: The issuer.
        *roles: What it is.
        signer: Key and certificate that sign the document; None leaves it unsigned.

    Raises:
        ConfigurationError: `keyturn[saml]` is not installed, or the key is of a kind that signs no metadata.
    """
    inner = "".join(roles)
    name = "_" + hashlib.sha256(f"{entity_id} {inner}".encode()).hexdigest()[:32]
    spaces = f'xmlns="{MD}" xmlns:ds="{DS}" xmlns:fed="{FED}" xmlns:wsa="{WSA}" xmlns:xsi="{XSI}"'
    place = "" if signer is None else _PLACEHOLDER
    text = f'<EntityDescriptor {spaces} ID="{name}" entityID="{escape(entity_id)}">{place}{inner}</EntityDescriptor>'
    return _BOM + (text.encode() if signer is None else _signed(text, name, *signer))


def chosen_signer(sign: bool | None, lend: Callable[[], tuple[PrivateKey, bytes]]) -> tuple[PrivateKey, bytes] | None:  # noqa: FBT001 - a setting handed on
    """Return who signs a document: None where nobody does.

    Args:
        sign: Whether it must be signed; None means if `keyturn[saml]` is installed and the key is of a kind that signs metadata.
        lend: Returns the key that would, with its certificate.

    Raises:
        ConfigurationError: It must be signed, and cannot be.
    """
    if sign is False:
        return None
    signer = lend()
    refusal = _refusal(signer[0])
    if refusal is None:
        return signer
    if sign:
        raise refusal
    return None


def _refusal(private: PrivateKey) -> ConfigurationError | None:
    """Return why a key cannot sign a document now, or None if it can."""
    absent = [name for name in _NEEDED if find_spec(name) is None]
    if absent:
        return ConfigurationError(
            f"metadata is signed by signxml and lxml, of which {quoted(absent[0])} is not installed (setting: sign_metadata)",
            hint='They come with an extra: pip install "keyturn[saml]". With sign_metadata=None or False the document is published unsigned.',
        )
    if not isinstance(private.crypto_key(), (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)):
        return ConfigurationError(
            f"metadata is signed with an RSA or elliptic-curve key, got one of {private.algorithm} (setting: sign_metadata)",
            hint="Sign with another key, or publish the document unsigned with sign_metadata=False.",
        )
    return None


def _signed(text: str, name: str, private: PrivateKey, certificate: bytes) -> bytes:
    refusal = _refusal(private)
    if refusal is not None:
        raise refusal
    from lxml import etree  # noqa: PLC0415 - only the extra brings it
    from signxml.algorithms import CanonicalizationMethod, SignatureConstructionMethod  # noqa: PLC0415 - as above
    from signxml.signer import XMLSigner  # noqa: PLC0415 - as above

    key = private.crypto_key()
    signer = XMLSigner(
        method=SignatureConstructionMethod.enveloped,
        signature_algorithm="rsa-sha256" if isinstance(key, rsa.RSAPrivateKey) else "ecdsa-sha256",
        digest_algorithm="sha256",
        c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
    )
    signed = signer.sign(
        etree.fromstring(text.encode()),
        key=key,  # type: ignore[arg-type]  # An Edwards key was refused above.
        cert=[x509.load_der_x509_certificate(certificate)],
        reference_uri=name,
        id_attribute="ID",
    )
    body: bytes = etree.tostring(signed, encoding="utf-8", xml_declaration=False)
    return body


def _typed(kind: str, inner: str) -> str:
    return f'<RoleDescriptor xsi:type="fed:{kind}" protocolSupportEnumeration="{FED}">{inner}</RoleDescriptor>'


def _saml(name: str, inner: str) -> str:
    return f'<{name} protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">{inner}</{name}>'
