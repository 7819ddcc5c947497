"""Keys with a certificate each, as issuers publish them that name keys by thumbprint.

Rules of this file:

1. A certificate is made with its key, signed by that key, and stays the same; new material under a kid has a new one.
2. A key is still known by the kid that it was made under; its entry and its tokens call it by `x5t`, the SHA-1 thumbprint of its
   certificate (RFC 7517, section 4.8).
3. No chain, no authority: verifiers take the certificate as a container of its key.
"""

from __future__ import annotations

import datetime as dt
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from keyturn._core.certificate import sha1_thumbprint
from keyturn.testing.keys import RSA_BITS, PrivateKey
from keyturn.testing.ring import KeyRing

DAY = 86_400.0


def self_signed(private: PrivateKey, *, subject: str, start: float, seconds: float) -> bytes:
    """Return a certificate of a key, signed by the key itself, in DER.

    Args:
        private: The key.
        subject: Its common name.
        start: Seconds since the epoch at which it begins to be valid.
        seconds: How long it is valid.
    """
    key = private.crypto_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    begin = dt.datetime.fromtimestamp(int(start), dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), begin, begin + dt.timedelta(seconds=seconds))
    digest = None if isinstance(key, (Ed25519PrivateKey, Ed448PrivateKey)) else hashes.SHA256()
    return builder.sign(key, digest).public_bytes(Encoding.DER)


def certified_members(der: bytes) -> dict[str, Any]:
    """Return the members of a key's entry that come of its certificate: `kid`, `x5t` and `x5c`."""
    thumbprint = sha1_thumbprint(der)
    return {"kid": thumbprint, "x5t": thumbprint, "x5c": [b64encode(der).decode()]}


class CertifiedKeys(KeyRing):
    """Keys with certificates, and the steps of a rollover; the first key is published and signs.

    A step names a key by the kid that it was made under (`k1`); its entry and its tokens call it by the thumbprint of its certificate.

    Args:
        kid: What steps call the first key.
        now: Returns the seconds since the epoch at which the certificate of a new key begins.
        subject: Common name of the certificates.
        lifetime: Seconds for which they are valid.
        algorithm: Algorithm of keys that name none; one of `keyturn.testing.keys.ALGORITHMS`.
        rsa_bits: Size of its RSA keys.
        members: Members of every entry, added or in place of ours; None leaves one out.

    Raises:
        ValueError: *algorithm* is unknown.
    """

    def __init__(
        self,
        kid: str = "k1",
        *,
        now: Callable[[], float],
        subject: str,
        lifetime: float = 5 * 365 * DAY,
        algorithm: str = "RS256",
        rsa_bits: int = RSA_BITS,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        # The first key is made at once, and its certificate with it.
        self._now, self._subject, self._lifetime = now, subject, lifetime
        super().__init__(kid, algorithm=algorithm, rsa_bits=rsa_bits, members=members)

    def certificate(self, kid: str | None = None) -> bytes:
        """Return the certificate of a key in DER, published or not; None means the signing key.

        Raises:
            ValueError: *kid* is unknown.
        """
        with self._lock:
            (text,) = self._find(kid).given["x5c"]
        return b64decode(text)

    def x5t(self, kid: str | None = None) -> str:
        """Return the SHA-1 thumbprint by which tokens call a key, base64url; None means the signing key (RFC 7515, section 4.1.7).

        Raises:
            ValueError: *kid* is unknown.
        """
        return sha1_thumbprint(self.certificate(kid))

    def not_after(self, kid: str | None = None) -> float:
        """Return the seconds since the epoch at which the certificate of a key expires; None means the signing key.

        Raises:
            ValueError: *kid* is unknown.
        """
        return x509.load_der_x509_certificate(self.certificate(kid)).not_valid_after_utc.timestamp()

    def certificates(self) -> tuple[bytes, ...]:
        """Return the certificates of the keys that are published now, in the order of the set."""
        with self._lock:
            return tuple(self.certificate(kid) for kid in self.published_kids)

    def lend(self, kid: str | None = None) -> tuple[PrivateKey, bytes]:
        """Return a key and its certificate, for a signature in another form than a token's; None means the signing key.

        Raises:
            ValueError: *kid* is unknown.
        """
        with self._lock:
            return self._find(kid).private, self.certificate(kid)

    def _given(self, private: PrivateKey) -> dict[str, Any]:
        der = self_signed(private, subject=self._subject, start=self._now(), seconds=self._lifetime)
        return {**certified_members(der), **super()._given(private)}
