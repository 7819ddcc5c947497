"""Bad tokens that want another key, algorithm or signature than the issuer's."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyturn.errors import DisallowedAlgorithmError, InvalidSignatureError, UnknownKeyError
from keyturn.testing.attacks.bad_token import CURVE, RSA, SCOPED, SECOND, SMALL, TRIVIAL, WEAK, Case, Material, case, choice, entry
from keyturn.testing.certificates import DAY, self_signed
from keyturn.testing.keys import base64url, stranger_key

_EVIL: Final = "https://attacker.invalid/jwks.json"
_SHA256_INFO: Final = bytes.fromhex("3031300d060960864801650304020105000420")


def _public_pem(good: Material) -> bytes:
    return good.key.crypto_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _entry_text(good: Material) -> bytes:
    return json.dumps(good.key.public_members(), separators=(",", ":")).encode()


def _hmac(good: Material, secret: bytes) -> str:
    """Return a token signed with a shared secret that anybody can know."""
    return good.signed_by(lambda data: hmac.digest(secret, data, hashlib.sha256), alg="HS256")


def _stranger(good: Material, algorithm: str | None = None, **parameters: Any) -> str:
    """Return a token signed with a key that nobody publishes; *parameters* change its header, None leaves one out."""
    key = stranger_key(algorithm or good.algorithm)
    return good.signed_by(key.sign, **{"alg": key.algorithm, **parameters})


def _embedded(good: Material, **parameters: Any) -> str:
    key = stranger_key(good.algorithm)
    return _stranger(good, jwk={"kid": good.kid, **key.public_members()}, **parameters)


def _chain(good: Material, **parameters: Any) -> str:
    der = self_signed(stranger_key(good.algorithm), subject="attacker.invalid", start=good.now - DAY, seconds=365 * DAY)
    return _stranger(good, x5c=[b64encode(der).decode()], **parameters)


def _another_type(good: Material) -> str:
    return good.with_header(alg="ES256" if good.algorithm[:2] in {"RS", "PS", "Ed"} else "RS256")


def _other_case(kid: str) -> str:
    return kid.swapcase() if kid.swapcase() != kid else f"{kid}A"


def _constant(good: Material) -> bytes:
    """Return a signature that broken arithmetic takes for good: R and S of one for an elliptic curve, else the neutral element."""
    length = len(good.key.sign(b""))
    if good.algorithm.startswith("ES"):
        return (bytes(length // 2 - 1) + b"\1") * 2
    return b"\1" + bytes(length - 1)


def _other_claims(good: Material) -> str:
    return good.with_segment(1, lambda _: base64url(json.dumps({**good.claims, "sub": "mallory"}).encode()))


def _der(signature: bytes) -> bytes:
    """Return the two halves of a signature as DER, as signers of elliptic curves produce them (RFC 7518, section 3.4)."""
    half = len(signature) // 2
    return encode_dss_signature(int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))


def _pss(good: Material, mask: hashes.HashAlgorithm, salt: int) -> str:
    """Return a token whose PSS signature has another mask or another salt than PS256 says (RFC 7518, section 3.5)."""
    key = good.rsa_key(RSA)
    return good.signed_by(lambda data: key.sign(data, padding.PSS(padding.MGF1(mask), salt), hashes.SHA256()), kid=RSA, alg="PS256")


def _pkcs1(good: Material, algorithm: str) -> str:
    """Return a token with a good RS256 signature by the key of `bad-rsa`, under the name of *algorithm*."""
    key = good.rsa_key(RSA)
    return good.signed_by(lambda data: key.sign(data, padding.PKCS1v15(), hashes.SHA256()), kid=RSA, alg=algorithm)


def _without_a_key(good: Material) -> str:
    """Return a token with the signature that anybody can make for a key with the exponent 1: the padded hash itself (RFC 8017, section 9.2)."""

    def sign(data: bytes) -> bytes:
        digest_info = _SHA256_INFO + hashlib.sha256(data).digest()
        length = good.rsa_key(RSA).key_size // 8
        return b"\0\1" + b"\xff" * (length - len(digest_info) - 3) + b"\0" + digest_info

    return good.signed_by(sign, kid=TRIVIAL, alg="RS256")


TRUST: Final[tuple[Case, ...]] = (
    case(
        "hmac-pem",
        "AT4",
        DisallowedAlgorithmError,
        "It is signed by HMAC, with the PEM text of the public key as the secret.",
        lambda good: _hmac(good, _public_pem(good)),
    ),
    case(
        "hmac-jwk",
        "AT4",
        DisallowedAlgorithmError,
        "It is signed by HMAC, with the published entry of the key as the secret.",
        lambda good: _hmac(good, _entry_text(good)),
    ),
    case(
        "hmac-weak", "AT5", DisallowedAlgorithmError, "It is signed by HMAC, with the word secret as the secret.", lambda good: _hmac(good, b"secret")
    ),
    case("hmac-empty", "AT5", DisallowedAlgorithmError, "It is signed by HMAC, with an empty secret.", lambda good: _hmac(good, b"")),
    case("alg-of-another-type", "AT6", UnknownKeyError, "Its algorithm is one for another type of key than the kid names.", _another_type),
    entry(case("alg-in-family", "AT6", UnknownKeyError, "An RS256 signature is sent as PS384.", lambda good: _pkcs1(good, "PS384"))),
    entry(
        choice(
            "alg-not-of-entry",
            "AT7",
            UnknownKeyError,
            "The signature is right, and the published entry is for PS256 alone.",
            lambda good: _pkcs1(good, "RS256"),
        )
    ),
    case(
        "alg-in-lower-case",
        "AT8",
        DisallowedAlgorithmError,
        "Its algorithm is in lower case (RFC 7515, section 4.1.1).",
        lambda good: good.with_header(alg=good.algorithm.swapcase()),
    ),
    case(
        "alg-unknown",
        "AT8",
        DisallowedAlgorithmError,
        "Its algorithm is a hash that nobody may sign with any more.",
        lambda good: good.with_header(alg="RS1"),
    ),
    case("embedded-key", "AT9", InvalidSignatureError, "It brings the key to verify it with, under a published kid.", _embedded),
    case(
        "embedded-key-own-kid",
        "AT9",
        UnknownKeyError,
        "It brings the key to verify it with, under a kid of its own.",
        lambda good: _embedded(good, kid=good.unknown_kid("attacker")),
    ),
    case("jku", "AT10", InvalidSignatureError, "It says where its key can be fetched.", lambda good: _stranger(good, jku=_EVIL)),
    case(
        "x5u",
        "AT10",
        UnknownKeyError,
        "It says where its certificate can be fetched, under a kid of its own.",
        lambda good: _stranger(good, kid=good.unknown_kid("attacker"), x5u=_EVIL),
    ),
    case("x5c", "AT11", InvalidSignatureError, "It brings a certificate that the attacker signed.", _chain),
    case(
        "x5c-no-kid",
        "AT11",
        InvalidSignatureError,
        "It brings a certificate that the attacker signed, and no kid.",
        lambda good: _chain(good, kid=None),
    ),
    entry(
        choice(
            "x5t-of-nobody",
            "AT11",
            UnknownKeyError,
            "The signature is right, and the thumbprint is that of no published certificate.",
            lambda good: good.signed_by(good.key.sign, kid=None, x5t=base64url(bytes(20))),
        )
    ),
    case("kid-path", "AT26", UnknownKeyError, "Its kid is a path to an empty file.", lambda good: _stranger(good, kid="../../../../dev/null")),
    case("kid-sql", "AT26", UnknownKeyError, "Its kid is a piece of SQL.", lambda good: _stranger(good, kid="x' UNION SELECT 'secret';--")),
    case(
        "kid-line-break",
        "AT26",
        UnknownKeyError,
        "Its kid would begin a new line in a log or in an answer.",
        lambda good: _stranger(good, kid="k1\r\nSet-Cookie: admin=1"),
    ),
    choice(
        "kid-in-other-case",
        "AT28",
        UnknownKeyError,
        "The signature is right, and the kid is the published one in another case.",
        lambda good: good.with_header(kid=good.unknown_kid(_other_case(good.kid))),
    ),
    choice(
        "kid-with-blank",
        "AT28",
        UnknownKeyError,
        "The signature is right, and a blank stands behind the kid.",
        lambda good: good.with_header(kid=good.unknown_kid(f"{good.kid} ")),
    ),
    entry(
        choice(
            "kid-of-another-key",
            "AT29",
            InvalidSignatureError,
            "Another published key signed than the kid names.",
            lambda good: good.with_header(kid=SECOND),
        )
    ),
    choice(
        "kid-of-nobody",
        "AT30",
        UnknownKeyError,
        "The signature is right, and the kid is that of no published key.",
        lambda good: good.with_header(kid=good.unknown_kid("nobody")),
    ),
    case("forged", "AT30", InvalidSignatureError, "A stranger signed in the name of a published key.", _stranger),
    case(
        "forged-unknown-kid",
        "AT30",
        UnknownKeyError,
        "A stranger signed under a kid that nobody publishes.",
        lambda good: _stranger(good, kid=good.unknown_kid("nobody")),
    ),
    case("forged-no-kid", "AT30", InvalidSignatureError, "A stranger signed, and named no key.", lambda good: _stranger(good, kid=None)),
    entry(
        choice(
            "key-of-another-issuer",
            "AT33",
            UnknownKeyError,
            "The entry of its key says that it is another issuer's.",
            lambda good: good.signed_by(good.companion(SCOPED).sign, kid=SCOPED, alg="ES256"),
        )
    ),
    case(
        "signature-of-zeros",
        "AT35",
        InvalidSignatureError,
        "Every octet of the signature is zero.",
        lambda good: good.with_signature(lambda signature: bytes(len(signature))),
    ),
    case(
        "signature-constant",
        "AT35",
        InvalidSignatureError,
        "The signature is a constant that broken arithmetic takes for good.",
        lambda good: good.with_signature(lambda _: _constant(good)),
    ),
    case(
        "signature-cut",
        "AT36",
        InvalidSignatureError,
        "The last octet of the signature is missing.",
        lambda good: good.with_signature(lambda signature: signature[:-1]),
    ),
    case(
        "signature-extended",
        "AT36",
        InvalidSignatureError,
        "An octet stands behind the signature.",
        lambda good: good.with_signature(lambda signature: signature + b"\0"),
    ),
    case(
        "signature-der",
        "AT36",
        InvalidSignatureError,
        "The signature is two numbers in DER (RFC 7518, section 3.4).",
        lambda good: good.with_signature(_der),
    ),
    case("signature-of-another", "AT36", InvalidSignatureError, "The claims are another subject's than those that were signed.", _other_claims),
    entry(
        case(
            "wrong-curve",
            "AT38",
            UnknownKeyError,
            "A key of the curve P-384 signed, and the algorithm is that of P-256.",
            lambda good: good.signed_by(good.companion(CURVE).sign, kid=CURVE, alg="ES256"),
        )
    ),
    entry(case("exponent-one", "AT39", UnknownKeyError, "The exponent of its published key is 1, so that anybody can sign.", _without_a_key)),
    entry(
        choice(
            "small-order",
            "AT39",
            UnknownKeyError,
            "Its published key is of small order, so that a constant can be a signature.",
            lambda good: good.signed_by(lambda _: b"\1" + bytes(63), kid=SMALL, alg="EdDSA"),
        )
    ),
    entry(
        case(
            "rsa-1024",
            "AT40",
            UnknownKeyError,
            "Its published key has 1024 bits (RFC 7518, section 3.3).",
            lambda good: good.signed_by(good.companion(WEAK).sign, kid=WEAK, alg="RS256"),
        )
    ),
    entry(
        case(
            "pss-salt",
            "AT41",
            InvalidSignatureError,
            "Its PSS signature has no salt (RFC 7518, section 3.5).",
            lambda good: _pss(good, hashes.SHA256(), 0),
        )
    ),
    entry(
        case(
            "pss-mask",
            "AT41",
            InvalidSignatureError,
            "Its PSS signature is masked with another hash (RFC 7518, section 3.5).",
            lambda good: _pss(good, hashes.SHA512(), 32),
        )
    ),
)
"""The cases of this file."""
