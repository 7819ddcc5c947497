"""Hostile tokens whose signature is forged, bent, or made with a key that is worth nothing: classes AT35 to AT41."""

from __future__ import annotations

import json
from collections.abc import Iterator

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from tests.unit.attacks import Attack, Attacks
from tests.unit.material import DIGESTS, order_of, parts, pkcs1, pss, raw_private, resigned, rsa_entry, rsa_key, unsigned

from keyturn import InvalidSignatureError, UnknownKeyError
from keyturn.testing import FakeIssuer
from keyturn.testing.keys import base64url


def psychic(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT35: signatures that broken arithmetic takes for good."""
    for algorithm, half in (("ES256", 32), ("ES384", 48), ("ES512", 66)):
        kid = f"psychic{half}"
        issuer.publish(kid, algorithm)
        order = order_of(algorithm)
        top = (1 << (8 * half)) - 1
        for r, s in (
            (0, 0),
            (0, 1),
            (1, 0),
            (1, 1),
            (order, order),
            (order, 1),
            (1, order),
            (order - 1, order - 1),
            (order + 1, order + 1),
            (top, top),
        ):
            token = resigned(unsigned(issuer, algorithm, kid), (r, s, half), lambda numbers, _: b"".join(n.to_bytes(numbers[2]) for n in numbers[:2]))
            yield Attack(f"{algorithm}, r {r:x}, s {s:x}", token, InvalidSignatureError, cheap=False)
    for kid, algorithm, length in (("ed", "Ed25519", 64), ("ed448", "Ed448", 114), ("rsa", "RS256", 256), ("pss", "PS256", 256)):
        issuer.publish(kid, algorithm)
        for fill in (b"\0", b"\1", b"\xff"):
            yield Attack(
                f"{algorithm}, all {fill!r}",
                resigned(unsigned(issuer, algorithm, kid), None, lambda _, __, sig=fill * length: sig),
                InvalidSignatureError,
                cheap=False,
            )
        # The neutral element as R with S = 0 verifies under a key of small order, which is never admitted.
        neutral = b"\1" + bytes(length - 1)
        yield Attack(
            f"{algorithm}, neutral",
            resigned(unsigned(issuer, algorithm, kid), None, lambda _, __, sig=neutral: sig),
            InvalidSignatureError,
            cheap=False,
        )


def wrong_signature_shape(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT36: DER instead of R and S; cut, extended, doubled; an RSA signature plus its modulus."""
    for algorithm, kid in (("ES256", "k1"), ("RS256", "rsa"), ("Ed25519", "ed"), ("PS256", "pss")):
        if kid != "k1":
            issuer.publish(kid, algorithm)
        signature = parts(issuer.token(key=kid))[2]
        token = issuer.token(key=kid)
        changed = [
            signature[:-1],
            signature[1:],
            signature + b"\0",
            b"\0" + signature,
            signature * 2,
            signature[::-1],
            signature[:1],
            b"\0",
            signature[: len(signature) // 2],
        ]
        if algorithm == "ES256":
            r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
            changed += [
                encode_dss_signature(r, s),
                r.to_bytes(33) + s.to_bytes(33),
                r.to_bytes(66) + s.to_bytes(66),
                r.to_bytes(32) + s.to_bytes(33),
                s.to_bytes(32) + r.to_bytes(32),
            ]
        if algorithm == "RS256":
            modulus = issuer._find(kid).private._key.public_key().public_numbers().n  # type: ignore[attr-defined]
            changed.append((int.from_bytes(signature) + modulus).to_bytes(257))
        for number, case in enumerate(changed):
            yield Attack(f"{algorithm}, shape {number}", resigned(token, None, lambda _, __, sig=case: sig), InvalidSignatureError, cheap=False)


def mirrored(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT37: S replaced by order minus S is good by the standard."""
    for algorithm, half in (("ES256", 32), ("ES384", 48), ("ES512", 66)):
        issuer.publish(algorithm, algorithm)
        token = issuer.token(key=algorithm)
        signature = parts(token)[2]
        mirror = signature[:half] + (order_of(algorithm) - int.from_bytes(signature[half:])).to_bytes(half)
        yield Attack(algorithm, resigned(token, None, lambda _, __, sig=mirror: sig), None, cheap=False)


def wrong_curve(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT38: the algorithm is of another curve than the key, or the curve does not sign."""
    for kid, algorithm in (("p384", "ES384"), ("p521", "ES512"), ("ed", "Ed25519"), ("ed448", "Ed448")):
        issuer.publish(kid, algorithm, alg=None)
        for claimed in {"ES256", "ES384", "ES512", "Ed25519", "Ed448", "RS256"} - {algorithm}:
            yield Attack(f"{claimed} under {kid}", issuer.token(key=kid, headers={"alg": claimed}), UnknownKeyError, cheap=False)
    issuer.add_entry({"kty": "OKP", "crv": "X25519", "kid": "x", "x": base64url(b"\x09" + bytes(31))})
    issuer.add_entry({"kty": "EC", "crv": "secp256k1", "kid": "koblitz", "x": base64url(bytes(32)), "y": base64url(bytes(32))})
    for kid, claimed in (("x", "Ed25519"), ("x", "EdDSA"), ("koblitz", "ES256")):
        yield Attack(f"{claimed} under {kid}", issuer.token(headers={"alg": claimed, "kid": kid}), UnknownKeyError, cheap=False)


def trivial_key(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT39 and AT40: keys under which anybody can sign, or that are too weak, were never admitted."""
    strong = rsa_key(2048).public_key().public_numbers().n
    entries = {
        "e1": rsa_entry(strong, 1),
        "even": rsa_entry(strong & ~1),
        "tiny": rsa_entry(35, 5),
        "rsa512": rsa_entry((1 << 511) | 1),
        "rsa2047": rsa_entry((1 << 2046) | 1),
        "small": {"kty": "OKP", "crv": "Ed25519", "x": base64url(b"\1" + bytes(31))},
        "small448": {"kty": "OKP", "crv": "Ed448", "x": base64url(b"\1" + bytes(56))},
    }
    for kid, entry in entries.items():
        issuer.add_entry({**entry, "kid": kid})
    digest_info = bytes.fromhex("3031300d060960864801650304020105000420")
    for kid in ("e1", "even", "tiny", "rsa512", "rsa2047"):
        token = unsigned(issuer, "RS256", kid)
        digest = hashes.Hash(hashes.SHA256())
        digest.update(token.rpartition(".")[0].encode())
        padded = digest_info + digest.finalize()
        # With e = 1 the padded digest is its own signature.
        forged = b"\0\1" + b"\xff" * (256 - 3 - len(padded)) + b"\0" + padded
        yield Attack(kid, resigned(token, None, lambda _, __, sig=forged: sig), UnknownKeyError, cheap=False)
    for kid, name, length in (("small", "Ed25519", 64), ("small448", "Ed448", 114)):
        # R is the neutral element and S is 0: good under any key of small order whose order divides the challenge.
        yield Attack(kid, resigned(unsigned(issuer, name, kid), None, lambda _, __, n=length: b"\1" + bytes(n - 1)), UnknownKeyError, cheap=False)
    weak = rsa_key(1024)
    issuer.add_entry(rsa_entry(weak.public_key().public_numbers().n, kid="rsa1024"))
    yield Attack("rsa1024", resigned(unsigned(issuer, "RS256", "rsa1024"), weak, pkcs1), UnknownKeyError, cheap=False)


def salt_and_mask(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT41: PSS with another salt length, or another hash in the mask."""
    issuer.add_entry(rsa_entry(raw_private("RS256").public_key().public_numbers().n, kid="pss"))
    key = raw_private("RS256")
    for bits, digest in DIGESTS.items():
        token = unsigned(issuer, f"PS{bits}", "pss")
        yield Attack(f"PS{bits} as it should be", resigned(token, key, lambda key, data, d=digest: pss(key, data, d)), None, cheap=False)
        for salt in (0, 20, digest.digest_size - 1, digest.digest_size + 1, 256 - digest.digest_size - 2):
            signed = resigned(token, key, lambda key, data, d=digest, s=salt: pss(key, data, d, s))
            yield Attack(f"PS{bits}, salt of {salt}", signed, InvalidSignatureError, cheap=False)
        for other in (hashes.SHA1(), *(each for each in DIGESTS.values() if each is not digest)):
            signed = resigned(token, key, lambda key, data, d=digest, o=other: pss(key, data, d, mgf=o))
            yield Attack(f"PS{bits}, mask by {other.name}", signed, InvalidSignatureError, cheap=False)


def altered(issuer: FakeIssuer) -> Iterator[Attack]:
    """A good token whose content was changed after it was signed."""
    header, payload, signature = issuer.token().split(".")
    for change in ({"sub": "mallory"}, {"scope": "admin"}, {"extra": 1}):
        changed = base64url(json.dumps({**parts(issuer.token())[1], **change}).encode())
        yield Attack(str(change), f"{header}.{changed}.{signature}", InvalidSignatureError, cheap=False)
    yield Attack(
        "header spaced",
        f"{base64url(json.dumps(parts(issuer.token())[0], indent=1).encode())}.{payload}.{signature}",
        InvalidSignatureError,
        cheap=False,
    )


SIGNATURES: dict[str, Attacks] = {
    "AT35": psychic,
    "AT36": wrong_signature_shape,
    "AT37": mirrored,
    "AT38": wrong_curve,
    "AT39, AT40": trivial_key,
    "AT41": salt_and_mask,
    "altered": altered,
}
"""The classes of this file by name."""
