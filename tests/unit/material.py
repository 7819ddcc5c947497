"""Keys, entries and tokens that no issuer would make, built at test time.

Nothing here is a test. RSA keys are slow to make, so those that need not differ are made once.
"""

from __future__ import annotations

import base64
import datetime as dt
import functools
import json
from collections.abc import Mapping
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from keyturn import KeySet
from keyturn.testing import FakeIssuer
from keyturn.testing.keys import PrivateKey, base64url, mint

AUDIENCE = "api://test"


class _Owner:
    """Whoever holds the keys of this file."""


_OWNER = _Owner()


@functools.cache
def _minted(algorithm: str, number: int) -> PrivateKey:
    return mint(algorithm, owner=_OWNER)


def private_key(algorithm: str, number: int = 0) -> PrivateKey:
    """Return the key *number* for *algorithm*, the same one each time."""
    return _minted(algorithm, number)


def entry(algorithm: str = "ES256", number: int = 0, **members: Any) -> dict[str, Any]:
    """Return the entry of a key that serves; None leaves a member out."""
    made = {**private_key(algorithm, number).public_members(), **members}
    return {name: value for name, value in made.items() if value is not None}


def key_set(*entries: Any, **more: Any) -> bytes:
    """Return a JWK Set of *entries* as an issuer sends it."""
    return json.dumps({"keys": list(entries), **more}).encode()


def keys_of(*entries: Any) -> KeySet:
    """Return the key set that *entries* make."""
    return KeySet.from_jwks(key_set(*entries))


def number(value: int, octets: int | None = None) -> str:
    """Return *value* as base64url of its big-endian octets."""
    return base64url(value.to_bytes(octets or max(1, (value.bit_length() + 7) // 8), "big"))


@functools.cache
def rsa_key(bits: int, exponent: int = 65537) -> rsa.RSAPrivateKey:
    """Return a real RSA key of *bits*."""
    return rsa.generate_private_key(exponent, bits)


def rsa_entry(modulus: int, exponent: int = 65537, **members: Any) -> dict[str, Any]:
    """Return an RSA entry of these numbers, whether they make a key or not."""
    return {"kty": "RSA", "n": number(modulus), "e": number(exponent), **members}


def raw_private(algorithm: str = "ES256", which: int = 0) -> Any:
    """Return the crypto library's object behind `private_key()`."""
    return private_key(algorithm, which)._key  # type: ignore[attr-defined]


def certificate(key: Any, *, expired: bool = False, digest: Any = None) -> bytes:
    """Return a self-signed certificate for *key* in DER; the digest of an Edwards key is built in."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "made for a test")])
    start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    end = start + dt.timedelta(days=1 if expired else 36_500)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    return builder.not_valid_before(start).not_valid_after(end).sign(key, digest).public_bytes(Encoding.DER)


def der_of(algorithm: str = "ES256", which: int = 0, *, expired: bool = False) -> bytes:
    """Return a certificate of `private_key()` in DER."""
    digest = None if algorithm.startswith("Ed") else hashes.SHA256()
    return certificate(raw_private(algorithm, which), expired=expired, digest=digest)


def x5c(der: bytes) -> list[str]:
    """Return a chain of one certificate as a JWK has it: standard base64 with padding (RFC 7517, section 4.7)."""
    return [base64.b64encode(der).decode()]


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """Take a token apart: header, claims, signature."""
    header, payload, signature = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in token.split("."))
    return json.loads(header), json.loads(payload), signature


def with_claims(issuer: FakeIssuer, **claims: Any) -> str:
    """Return a signed token with *claims* added or replaced; None is written as null."""
    header, payload, _ = parts(issuer.token())
    return issuer.encode(header, {**payload, **claims})


def without_claim(issuer: FakeIssuer, *names: str) -> str:
    """Return a signed token that lacks the claims *names*."""
    header, payload, _ = parts(issuer.token())
    return issuer.encode(header, {name: value for name, value in payload.items() if name not in names})


def with_header(issuer: FakeIssuer, **parameters: Any) -> str:
    """Return a signed token with header *parameters* added or replaced; None is written as null."""
    header, payload, _ = parts(issuer.token())
    return issuer.encode({**header, **parameters}, payload)


def resigned(token: str, key: Any, sign: Any) -> str:
    """Return *token* with the signature that *sign* makes with *key*."""
    signing_input = token.rpartition(".")[0]
    return f"{signing_input}.{base64url(sign(key, signing_input.encode()))}"


def good_parts(issuer: FakeIssuer) -> tuple[bytes, bytes]:
    """Return header and payload of a good token as JSON text."""
    header, payload, _ = parts(issuer.token())
    return json.dumps(header).encode(), json.dumps(payload).encode()


def inserted(text: bytes, member: bytes) -> bytes:
    """Return the JSON object *text* with *member* written before its end."""
    return text[:-1] + b"," + member + b"}"


def header_of(kid: str | None = None, algorithm: str = "ES256", **more: Any) -> Mapping[str, Any]:
    """Return a JOSE header; a kid of None leaves it out."""
    return {"alg": algorithm, **({} if kid is None else {"kid": kid}), **more}


def order_of(algorithm: str) -> int:
    """Return the order of the base point of an algorithm's curve."""
    return {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}[algorithm].group_order


DIGESTS: dict[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
"""Hashes by the number in an algorithm's name (RFC 7518, section 3.1)."""


def pkcs1(key: Any, data: bytes, digest: hashes.HashAlgorithm = DIGESTS["256"]) -> bytes:
    """Return a signature by RSASSA-PKCS1-v1_5."""
    return key.sign(data, padding.PKCS1v15(), digest)


def pss(
    key: Any, data: bytes, digest: hashes.HashAlgorithm = DIGESTS["256"], salt: int | None = None, mgf: hashes.HashAlgorithm | None = None
) -> bytes:
    """Return a signature by RSASSA-PSS; salt and mask are those of RFC 7518, section 3.5, unless given."""
    return key.sign(data, padding.PSS(padding.MGF1(mgf or digest), digest.digest_size if salt is None else salt), digest)


def unsigned(issuer: FakeIssuer, algorithm: str, kid: str | None, **header: Any) -> str:
    """Return a token with good claims, this header and a signature that is none."""
    named = {} if kid is None else {"kid": kid}
    return issuer.encode({"alg": algorithm, "typ": "JWT", **named, **header}, good_parts(issuer)[1], signature=b"x")
