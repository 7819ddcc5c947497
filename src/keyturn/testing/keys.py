"""The keys that a fake issuer signs with, and how they are made.

Rules of this file:

1. Nothing secret leaves the kit: a key signs, and tells its public members (RFC 7518, section 6; RFC 8037, section 2).
2. Two living owners never share a key. RSA keys are slow to make, so they are lent: those of an owner that is gone are used again.
3. A stranger's key is one that no issuer of this process ever publishes.
4. Signing goes straight to `cryptography`, which knows every algorithm here, the names of RFC 9864 included.
"""

from __future__ import annotations

import base64
import functools
import weakref
from collections import deque
from typing import Any, Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from keyturn.errors import quoted

RSA_BITS = 2048
"""Size of an RSA key: the smallest that validators accept (RFC 7518, section 3.3), since larger ones only cost time."""

_HASHES: dict[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_CURVES: dict[str, tuple[str, ec.EllipticCurve]] = {
    "ES256": ("P-256", ec.SECP256R1()),
    "ES384": ("P-384", ec.SECP384R1()),
    "ES512": ("P-521", ec.SECP521R1()),
}

ALGORITHMS = ("ES256", "ES384", "ES512", "Ed25519", "Ed448", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512")
"""What a fake issuer can sign with; `EdDSA` means Ed25519 (RFC 8037), the other two names are those of RFC 9864."""


class PrivateKey(Protocol):
    """A key that signs.

    Attributes:
        algorithm: Its name in a token's header (RFC 7518, section 3.1; RFC 8037; RFC 9864).
    """

    algorithm: str

    def sign(self, signing_input: bytes) -> bytes:
        """Return the signature as a token carries it, before base64url."""
        ...

    def public_members(self) -> dict[str, str]:
        """Return `kty` and the public numbers of a JWK, without names and uses."""
        ...

    def crypto_key(self) -> CertificateIssuerPrivateKeyTypes:
        """Return the key itself, for signatures in other forms than a token's: certificates and XML."""
        ...


class _RsaKey:
    def __init__(self, algorithm: str, key: rsa.RSAPrivateKey) -> None:
        self.algorithm = algorithm
        self._key = key
        self._hash = _HASHES[algorithm[2:]]
        self._padding: padding.AsymmetricPadding = padding.PKCS1v15()
        if algorithm.startswith("PS"):
            # The salt is as long as the hash (RFC 7518, section 3.5).
            self._padding = padding.PSS(padding.MGF1(self._hash), self._hash.digest_size)

    def sign(self, signing_input: bytes) -> bytes:
        return self._key.sign(signing_input, self._padding, self._hash)

    def public_members(self) -> dict[str, str]:
        numbers = self._key.public_key().public_numbers()
        return {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}

    def crypto_key(self) -> rsa.RSAPrivateKey:
        return self._key


class _EcKey:
    def __init__(self, algorithm: str) -> None:
        self.algorithm = algorithm
        self._crv, curve = _CURVES[algorithm]
        self._key = ec.generate_private_key(curve)
        self._hash = _HASHES[algorithm[2:]]
        self._length = (curve.key_size + 7) // 8

    def sign(self, signing_input: bytes) -> bytes:
        # A token holds both numbers at full length, not the DER that signers produce (RFC 7518, section 3.4).
        r, s = decode_dss_signature(self._key.sign(signing_input, ec.ECDSA(self._hash)))
        return r.to_bytes(self._length, "big") + s.to_bytes(self._length, "big")

    def public_members(self) -> dict[str, str]:
        numbers = self._key.public_key().public_numbers()
        return {"kty": "EC", "crv": self._crv, "x": _number(numbers.x, self._length), "y": _number(numbers.y, self._length)}

    def crypto_key(self) -> ec.EllipticCurvePrivateKey:
        return self._key


class _EdwardsKey:
    def __init__(self, algorithm: str) -> None:
        self.algorithm = algorithm
        self._crv = "Ed448" if algorithm == "Ed448" else "Ed25519"
        self._key = ed448.Ed448PrivateKey.generate() if algorithm == "Ed448" else ed25519.Ed25519PrivateKey.generate()

    def sign(self, signing_input: bytes) -> bytes:
        return self._key.sign(signing_input)

    def public_members(self) -> dict[str, str]:
        return {"kty": "OKP", "crv": self._crv, "x": base64url(self._key.public_key().public_bytes_raw())}

    def crypto_key(self) -> ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey:
        return self._key


def mint(algorithm: str, *, owner: object, rsa_bits: int = RSA_BITS) -> PrivateKey:
    """Return a key that nobody but *owner* holds.

    Args:
        algorithm: One of `ALGORITHMS`.
        owner: Who holds it; once it is gone, an RSA key may be lent to the next one.
        rsa_bits: Length of the modulus if it is an RSA key.

    Raises:
        ValueError: *algorithm* is not one of `ALGORITHMS`.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm is {quoted(algorithm)}, expected one of {', '.join(ALGORITHMS)}")
    if algorithm in _CURVES:
        return _EcKey(algorithm)
    if algorithm.startswith("Ed"):
        return _EdwardsKey(algorithm)
    return _RsaKey(algorithm, _lent_rsa_key(owner, rsa_bits))


class _Stranger:
    """Somebody whose keys no issuer publishes."""


_STRANGER = _Stranger()


@functools.cache
def stranger_key(algorithm: str) -> PrivateKey:
    """Return a key for *algorithm* that no issuer of this process publishes, to forge with."""
    return mint(algorithm, owner=_STRANGER)


def forged(token: str, algorithm: str) -> str:
    """Return *token* with the signature of a stranger."""
    signing_input = token.rpartition(".")[0]
    return f"{signing_input}.{base64url(stranger_key(algorithm).sign(signing_input.encode()))}"


def base64url(data: bytes) -> str:
    """Return *data* in base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def without_none(mapping: dict[str, Any]) -> dict[str, Any]:
    """Return *mapping* without the members that are None."""
    return {name: value for name, value in mapping.items() if value is not None}


def _number(value: int, length: int | None = None) -> str:
    """Return *value* as base64url of its big-endian bytes: the fewest (RFC 7518, section 6.3.1.1), or *length* (section 6.2.1.2)."""
    return base64url(value.to_bytes(length or (value.bit_length() + 7) // 8, "big"))


# A deque gives and takes in one step each: owners may be collected on any thread, even while this code runs.
_free_rsa_keys: dict[int, deque[rsa.RSAPrivateKey]] = {}


def _lent_rsa_key(owner: object, bits: int) -> rsa.RSAPrivateKey:
    free = _free_rsa_keys.setdefault(bits, deque())
    try:
        key = free.popleft()
    except IndexError:
        key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    weakref.finalize(owner, free.append, key).atexit = False
    return key
