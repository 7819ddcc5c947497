"""Which algorithm a key verifies, and the verify call itself, bound once per key (RFC 7518, section 3; RFC 8037; RFC 9864).

There is no `none` and no HMAC here, and no table to which a caller could add one. PyJWT's global registry is not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

Verify = Callable[[bytes, bytes], bool]
"""Takes signature and signing input; returns whether they fit. It raises nothing for any signature."""


class KeyShape(NamedTuple):
    """What the choice of an algorithm depends on: type, curve, bits."""

    kty: str
    curve: str | None
    size: int


class _Algorithm(NamedTuple):
    kty: str
    curve: str | None
    bind: Callable[[Any], Verify]


def _pkcs1(digest: hashes.HashAlgorithm) -> Callable[[Any], Verify]:
    scheme = padding.PKCS1v15()
    return lambda public_key: _rsa(public_key, scheme, digest)


def _pss(digest: hashes.HashAlgorithm) -> Callable[[Any], Verify]:
    # The salt is as long as the hash, and MGF1 uses the same hash (RFC 7518, section 3.5).
    scheme = padding.PSS(mgf=padding.MGF1(digest), salt_length=digest.digest_size)
    return lambda public_key: _rsa(public_key, scheme, digest)


def _rsa(public_key: Any, scheme: padding.AsymmetricPadding, digest: hashes.HashAlgorithm) -> Verify:
    raw_verify = public_key.verify
    length = (public_key.key_size + 7) // 8

    def verify(signature: bytes, signing_input: bytes) -> bool:
        # A signature is as long as the modulus (RFC 8017, sections 8.1.2 and 8.2.2). OpenSSL reads a PSS signature as a number,
        # so that one in 256 would still verify without its leading zero: a second text of the same token.
        if len(signature) != length:
            return False
        try:
            raw_verify(signature, signing_input, scheme, digest)
        except InvalidSignature:
            return False
        return True

    return verify


def _ecdsa(digest: hashes.HashAlgorithm, half: int) -> Callable[[Any], Verify]:
    scheme = ec.ECDSA(digest)

    def bind(public_key: Any) -> Verify:
        raw_verify = public_key.verify

        def verify(signature: bytes, signing_input: bytes) -> bool:
            # R and S have a fixed length; a DER signature is another format and is not accepted (RFC 7518, section 3.4).
            if len(signature) != 2 * half:
                return False
            r, s = int.from_bytes(signature[:half]), int.from_bytes(signature[half:])
            try:
                raw_verify(encode_dss_signature(r, s), signing_input, scheme)
            except InvalidSignature:
                return False
            return True

        return verify

    return bind


def _eddsa(public_key: Any) -> Verify:
    raw_verify = public_key.verify

    def verify(signature: bytes, signing_input: bytes) -> bool:
        try:
            raw_verify(signature, signing_input)
        except InvalidSignature:
            return False
        return True

    return verify


_TABLE: Mapping[str, tuple[_Algorithm, ...]] = {
    "RS256": (_Algorithm("RSA", None, _pkcs1(hashes.SHA256())),),
    "RS384": (_Algorithm("RSA", None, _pkcs1(hashes.SHA384())),),
    "RS512": (_Algorithm("RSA", None, _pkcs1(hashes.SHA512())),),
    "PS256": (_Algorithm("RSA", None, _pss(hashes.SHA256())),),
    "PS384": (_Algorithm("RSA", None, _pss(hashes.SHA384())),),
    "PS512": (_Algorithm("RSA", None, _pss(hashes.SHA512())),),
    "ES256": (_Algorithm("EC", "P-256", _ecdsa(hashes.SHA256(), 32)),),
    "ES384": (_Algorithm("EC", "P-384", _ecdsa(hashes.SHA384(), 48)),),
    "ES512": (_Algorithm("EC", "P-521", _ecdsa(hashes.SHA512(), 66)),),
    "EdDSA": (_Algorithm("OKP", "Ed25519", _eddsa), _Algorithm("OKP", "Ed448", _eddsa)),
    "Ed25519": (_Algorithm("OKP", "Ed25519", _eddsa),),
    "Ed448": (_Algorithm("OKP", "Ed448", _eddsa),),
}

ALGORITHMS = frozenset(_TABLE)
"""Every algorithm that keyturn verifies."""

DEFAULT_ALGORITHMS: tuple[str, ...] = tuple(_TABLE)
"""The algorithms that a validator takes unless told otherwise: all of them.

An issuer that moves from RS256 to ES256 rolls over too. Keys are typed and bound to their algorithms, so a wide list lets
nothing in that a narrow one would keep out.
"""


def algorithms_of(shape: KeyShape) -> frozenset[str]:
    """Return the algorithms that a key of *shape* can verify."""
    return frozenset(name for name, kinds in _TABLE.items() if any((kind.kty, kind.curve) == shape[:2] for kind in kinds))


def verifiers(public_key: Any, algorithms: Iterable[str]) -> Mapping[str, Verify]:
    """Bind *public_key* to its verify call for each of *algorithms*."""
    return {name: _TABLE[name][0].bind(public_key) for name in algorithms}
