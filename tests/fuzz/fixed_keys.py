"""Private keys that are the same in every process, so that a find can be found again.

None of them is written down: each is worked out from a name. Signatures are deterministic where the algorithm allows it, so that
"did the key sign this?" is answered by signing once more and comparing every bit. PSS is the exception: its salt is drawn.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from tests.unit.material import DIGESTS, order_of

from keyturn.testing.keys import mint

RSA_NAMES = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
_SMALL_PRIMES = tuple(number for number in range(3, 2_000, 2) if all(number % divisor for divisor in range(3, int(number**0.5) + 1, 2)))
_PRIME_BITS = 1_024


class FixedKey:
    """A key that a name stands for.

    Args:
        name: Equal names of one algorithm mean equal keys.
        algorithm: What it is made for; an RSA or Edwards key signs under every name of its kind.

    Attributes:
        algorithm: The name that `sign()` signs under.
        algorithms: Every name that it can sign under.
    """

    def __init__(self, name: str, algorithm: str) -> None:
        self.algorithm = algorithm
        self.algorithms = _family(algorithm)
        self._key = _raw(name, algorithm)
        # One that is made for tests writes the public members; only its secret is another one.
        self._public: Any = mint("Ed25519" if algorithm == "EdDSA" else algorithm, owner=self)
        self._public._key = self._key

    def sign(self, signing_input: bytes) -> bytes:
        """Return a signature under `algorithm`, as a token carries it."""
        return self.sign_as(self.algorithm, signing_input)

    def sign_as(self, algorithm: str, signing_input: bytes) -> bytes:
        """Return a signature under *algorithm*, one of `algorithms`."""
        if algorithm in RSA_NAMES:
            digest = DIGESTS[algorithm[2:]]
            return self._key.sign(signing_input, _scheme(algorithm), digest)
        if algorithm in _CURVES:
            half = (_CURVES[algorithm].key_size + 7) // 8
            pair = decode_dss_signature(self._key.sign(signing_input, ec.ECDSA(DIGESTS[_digest(algorithm)], deterministic_signing=True)))
            return b"".join(number.to_bytes(half) for number in pair)
        return self._key.sign(signing_input)

    def signed(self, algorithm: str, signing_input: bytes, signature: bytes) -> bool:
        """Return whether this key signed *signing_input* so, found out without the code that is tested."""
        if algorithm not in self.algorithms:
            return False
        if algorithm.startswith("PS"):
            return self._pss_fits(algorithm, signing_input, signature)
        ours = self.sign_as(algorithm, signing_input)
        return signature == ours or (algorithm in _CURVES and signature == _negated(algorithm, ours))

    def public_members(self) -> dict[str, str]:
        """Return `kty` and the public numbers of a JWK."""
        return self._public.public_members()

    def _pss_fits(self, algorithm: str, signing_input: bytes, signature: bytes) -> bool:
        try:
            self._key.public_key().verify(signature, signing_input, _scheme(algorithm), DIGESTS[algorithm[2:]])
        except InvalidSignature:
            return False
        return True


def _family(algorithm: str) -> tuple[str, ...]:
    if algorithm in RSA_NAMES:
        return RSA_NAMES
    return (algorithm,) if algorithm in _CURVES else ("EdDSA", "Ed448" if algorithm == "Ed448" else "Ed25519")


def _scheme(algorithm: str) -> padding.AsymmetricPadding:
    digest = DIGESTS[algorithm[2:]]
    return padding.PSS(padding.MGF1(digest), digest.digest_size) if algorithm.startswith("PS") else padding.PKCS1v15()


def _digest(algorithm: str) -> str:
    return algorithm[2:]


def _negated(algorithm: str, signature: bytes) -> bytes:
    """Return the other signature that everybody can make of one of ECDSA: (r, n - s) verifies wherever (r, s) does."""
    half = len(signature) // 2
    return signature[:half] + (order_of(algorithm) - int.from_bytes(signature[half:])).to_bytes(half)


def _octets(name: str, count: int) -> bytes:
    return hashlib.shake_256(name.encode()).digest(count)


@functools.cache
def _raw(name: str, algorithm: str) -> Any:
    if algorithm in _CURVES:
        return ec.derive_private_key(int.from_bytes(_octets(f"{name} {algorithm}", 24)), _CURVES[algorithm])
    if algorithm in RSA_NAMES:
        return _rsa(name)
    if algorithm == "Ed448":
        return ed448.Ed448PrivateKey.from_private_bytes(_octets(name, 57))
    return ed25519.Ed25519PrivateKey.from_private_bytes(_octets(name, 32))


def _rsa(name: str) -> rsa.RSAPrivateKey:
    exponent = 65_537
    p, q = (_prime(f"{name} {which}") for which in "pq")
    d = pow(exponent, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(exponent, p * q)
    return rsa.RSAPrivateNumbers(p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q), public).private_key()


def _prime(name: str) -> int:
    """Return the first number that passes for a prime, from a start that *name* gives; the two highest bits are set."""
    start = int.from_bytes(_octets(name, _PRIME_BITS // 8)) | 0b11 << (_PRIME_BITS - 2) | 1
    return next(number for number in itertools.count(start, 2) if all(number % small for small in _SMALL_PRIMES) and pow(2, number - 1, number) == 1)
