"""A certificate as a published key, where a document publishes certificates alone (SAML V2.0 Metadata Interoperability Profile, section 2.3).

Rules of this file:

1. The certificate is a container: its key is read as strictly as one of a key set, and its dates decide nothing (RFC 7517, section 4.7).
2. The key is named by its certificate: its kid is `x5t`, the SHA-1 thumbprint, as issuers with such documents write it into headers.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509 import load_der_x509_certificate
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import InvalidKeyError

from keyturn._core import base64url
from keyturn._core.jwk import SigningKey, UnusableKeyError, signing_key

LONGEST_CERTIFICATE = 32_768
"""Bytes of DER: the largest key that may verify takes 2 KiB of them, and its signature as much (R16)."""

_CONVERTERS: tuple[tuple[tuple[type, ...], Any], ...] = (
    ((rsa.RSAPublicKey,), RSAAlgorithm),
    ((ec.EllipticCurvePublicKey,), ECAlgorithm),
    ((ed25519.Ed25519PublicKey, ed448.Ed448PublicKey), OKPAlgorithm),
)


def sha1_thumbprint(der: bytes) -> str:
    """Return `x5t` of a certificate (RFC 7515, section 4.1.7); it names, and protects nothing."""
    return base64url.encode(hashlib.sha1(der, usedforsecurity=False).digest())


def certified_key(der: bytes, *, use: str | None) -> SigningKey:
    """Return the key of a certificate.

    Args:
        der: The certificate.
        use: `sig`, or None where the document does not say.

    Raises:
        UnusableKeyError: It cannot serve; others may.
    """
    if len(der) > LONGEST_CERTIFICATE:
        raise UnusableKeyError(f"has a certificate of {len(der)} bytes; {LONGEST_CERTIFICATE} are allowed")
    entry = {**_members(der), "kid": sha1_thumbprint(der), "x5c": [b64encode(der).decode()]}
    return signing_key(entry if use is None else {**entry, "use": use})


def _members(der: bytes) -> dict[str, str]:
    """Return the public members of the certificate's key, as a JWK has them."""
    try:
        public_key = load_der_x509_certificate(der).public_key()
    except Exception:  # noqa: BLE001 - whatever is wrong with a certificate, it holds no key that could be read
        raise UnusableKeyError("has a certificate that cannot be read") from None
    for kinds, converter in _CONVERTERS:
        if isinstance(public_key, kinds):
            return _converted(converter, public_key)
    raise UnusableKeyError(f"has a certificate with a key of type {type(public_key).__name__.removesuffix('PublicKey')}, which signs no tokens")


def _converted(converter: Any, public_key: object) -> dict[str, str]:
    try:
        members: dict[str, str] = converter.to_jwk(public_key, as_dict=True)
    except InvalidKeyError:
        raise UnusableKeyError("has a certificate with a key on a curve that verifies no tokens") from None
    return {name: members[name] for name in ("kty", "crv", "n", "e", "x", "y") if name in members}
