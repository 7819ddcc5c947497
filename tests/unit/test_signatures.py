"""Which algorithm a key verifies, and that nothing else verifies."""

from __future__ import annotations

from typing import Any

import jwt.api_jws
import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.material import entry, order_of, pkcs1, private_key, raw_private, rsa_entry, rsa_key

from keyturn import DEFAULT_ALGORITHMS
from keyturn._core.jwk import signing_key
from keyturn._core.signatures import ALGORITHMS, KeyShape, algorithms_of
from keyturn._core.small_order import has_small_order
from keyturn.testing.keys import ALGORITHMS as SIGNED

DATA = b"header.payload"
RSA = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}


def test_the_table_holds_asymmetric_algorithms_alone() -> None:
    """Twelve names, among them neither none nor HMAC (C10, C28)."""
    assert RSA | {"ES256", "ES384", "ES512", "EdDSA", "Ed25519", "Ed448"} == set(ALGORITHMS)
    assert set(DEFAULT_ALGORITHMS) == set(ALGORITHMS) == set(SIGNED)


@pytest.mark.parametrize("algorithm", SIGNED)
def test_a_signature_verifies_under_its_own_algorithm_alone(algorithm: str) -> None:
    """The signer's algorithm verifies; every other one of the table does not, except where two names mean one (RFC 9864)."""
    key = signing_key(entry(algorithm))
    signature = private_key(algorithm).sign(DATA)
    same = {"EdDSA", "Ed25519"} if algorithm in {"EdDSA", "Ed25519"} else {"EdDSA", "Ed448"} if algorithm == "Ed448" else {algorithm}
    assert same == {name for name in (*ALGORITHMS, "none", "HS256", "") if key.verifies(name, signature, DATA)}
    assert not key.verifies(algorithm, signature, DATA + b"x")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (KeyShape("RSA", None, 2048), RSA),
        (KeyShape("EC", "P-256", 256), {"ES256"}),
        (KeyShape("EC", "P-384", 384), {"ES384"}),
        (KeyShape("EC", "P-521", 521), {"ES512"}),
        (KeyShape("EC", "secp256k1", 256), set()),
        (KeyShape("OKP", "Ed25519", 256), {"EdDSA", "Ed25519"}),
        (KeyShape("OKP", "Ed448", 456), {"EdDSA", "Ed448"}),
        (KeyShape("OKP", "X25519", 256), set()),
        (KeyShape("oct", None, 256), set()),
    ],
)
def test_algorithms_follow_from_type_and_curve(shape: KeyShape, expected: set[str]) -> None:
    """The header never decides what a key is for (C18)."""
    assert expected == algorithms_of(shape)


@pytest.mark.parametrize("algorithm", SIGNED)
@given(signature=st.binary(max_size=300), data=st.binary(max_size=20))
def test_no_signature_makes_it_raise(algorithm: str, signature: bytes, data: bytes) -> None:
    """Any octets are a wrong signature and nothing worse."""
    assert not signing_key(entry(algorithm)).verifies(algorithm, signature, data)


@pytest.mark.parametrize(("algorithm", "half"), [("ES256", 32), ("ES384", 48), ("ES512", 66)])
def test_r_and_s_have_a_fixed_length(algorithm: str, half: int) -> None:
    """DER, short and long forms of a good signature do not verify; the mirrored S does (RFC 7518, section 3.4)."""
    key = signing_key(entry(algorithm))
    signature = private_key(algorithm).sign(DATA)
    r, s = int.from_bytes(signature[:half]), int.from_bytes(signature[half:])
    assert key.verifies(algorithm, r.to_bytes(half) + (order_of(algorithm) - s).to_bytes(half), DATA)
    for other in (encode_dss_signature(r, s), r.to_bytes(half + 1) + s.to_bytes(half + 1), b"\0" + signature, signature + b"\0", signature[:-1]):
        assert not key.verifies(algorithm, other, DATA)


@pytest.mark.parametrize(("algorithm", "half"), [("ES256", 32), ("ES384", 48), ("ES512", 66)])
def test_a_zero_before_s_is_another_text(algorithm: str, half: int) -> None:
    """Read as numbers it would be the same signature, and one token would have two texts (C21)."""
    signature = private_key(algorithm).sign(DATA)
    assert not signing_key(entry(algorithm)).verifies(algorithm, signature[:half] + b"\0" + signature[half:], DATA)


def test_an_s_without_its_leading_zero_is_too_short() -> None:
    """A number that happens to be short keeps its full length (C21)."""
    signature = next(made for made in iter(lambda: private_key("ES512").sign(DATA), None) if made[66] == 0)
    assert signing_key(entry("ES512")).verifies("ES512", signature, DATA)
    assert not signing_key(entry("ES512")).verifies("ES512", signature[:66] + signature[67:], DATA)


@pytest.mark.parametrize("algorithm", sorted(RSA))
def test_an_rsa_signature_without_its_leading_zero_is_too_short(algorithm: str) -> None:
    """A signature is as long as the modulus: OpenSSL alone would take the shorter text of a PSS signature as well (RFC 8017, section 8.1.2)."""
    signer, key = private_key(algorithm), signing_key(entry(algorithm))
    data, signature = next((data, made) for data in map(str.encode, map(str, range(100_000))) if (made := signer.sign(data))[0] == 0)
    assert key.verifies(algorithm, signature, data)
    assert not key.verifies(algorithm, signature[1:], data)
    assert not key.verifies(algorithm, b"\0" + signature, data)


def test_an_rsa_signature_of_a_modulus_that_ends_within_an_octet_verifies() -> None:
    """The length in octets is rounded up (RFC 8017, section 8.1.2)."""
    odd = rsa_key(2049)
    numbers = odd.public_key().public_numbers()
    key = signing_key(rsa_entry(numbers.n, numbers.e))
    assert key.verifies("RS256", pkcs1(odd, DATA), DATA)


def test_an_algorithm_that_the_key_does_not_have_verifies_nothing() -> None:
    """An entry that names one algorithm verifies that one, though the material could do more (RFC 8725, section 3.1)."""
    fixed = signing_key(entry("RS256", alg="RS256"))
    free = signing_key(entry("RS256"))
    assert RSA == free.algorithms
    assert {"RS256"} == fixed.algorithms
    signature = raw_private("RS256").sign(DATA, *_pss())
    assert free.verifies("PS256", signature, DATA)
    assert not fixed.verifies("PS256", signature, DATA)


def test_the_registry_of_pyjwt_is_not_touched() -> None:
    """PyJWT's own table has not learnt a name from us."""
    assert set() == {"Ed25519", "Ed448"} & set(jwt.api_jws.PyJWS().get_algorithms())


def _pss() -> tuple[Any, Any]:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    return padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256()


# Arithmetic of the curves, to find every point of small order instead of copying a list of them (RFC 8032, sections 5.1 and 5.2).
P25519, P448 = 2**255 - 19, 2**448 - 2**224 - 1
D25519, D448 = -121665 * pow(121666, -1, P25519) % P25519, -39081 % P448


def _add(curve: str, first: tuple[int, int], second: tuple[int, int]) -> tuple[int, int]:
    p, a, d = (P25519, -1, D25519) if curve == "Ed25519" else (P448, 1, D448)
    (x1, y1), (x2, y2) = first, second
    product = d * x1 * x2 * y1 * y2
    return (x1 * y2 + x2 * y1) * pow(1 + product, -1, p) % p, (y1 * y2 - a * x1 * x2) * pow(1 - product, -1, p) % p


def _x_of(curve: str, y: int) -> int | None:
    p, a, d = (P25519, -1, D25519) if curve == "Ed25519" else (P448, 1, D448)
    square = (1 - y * y) * pow(a - d * y * y, -1, p) % p
    root = pow(square, (p + 3) // 8 if curve == "Ed25519" else (p + 1) // 4, p)
    if root * root % p != square:
        root = root * pow(2, (p - 1) // 4, p) % p
    return root if root * root % p == square else None


def _torsion(curve: str, count: int) -> set[tuple[int, int]]:
    """Return the points of small order: sums of what is left of points at large after the prime order took its part."""
    order = (
        2**252 + 27742317777372353535851937790883648493 if curve == "Ed25519" else 2**446 - 0x8335DC163BB124B65129C96FDE933D8D723A70AADC873D6D54A7BB0D
    )
    found: set[tuple[int, int]] = set()
    for y in range(2, 40):
        x = _x_of(curve, y)
        if x is None or len(found) == count:
            continue
        point, result, rest = (x, y), (0, 1), order
        while rest:
            result, point, rest = (_add(curve, result, point) if rest & 1 else result), _add(curve, point, point), rest >> 1
        found.add(result)
        for _ in range(3):
            found |= {_add(curve, one, other) for one in tuple(found) for other in tuple(found)}
    return found


@pytest.mark.parametrize(("curve", "count", "length", "prime"), [("Ed25519", 8, 32, P25519), ("Ed448", 4, 57, P448)], ids=["Ed25519", "Ed448"])
def test_every_point_of_small_order_is_known(curve: str, count: int, length: int, prime: int) -> None:
    """All of them, with either sign, and in encodings that are not the shortest (RFC 8032, sections 5.1.3 and 5.2.3)."""
    points = _torsion(curve, count)
    assert count == len(points)
    for _, y in points:
        for encoded in {y, y + prime} if y + prime < 1 << (8 * length - 1) else {y}:
            for sign in (0, 0x80):
                octets = bytearray(encoded.to_bytes(length, "little"))
                octets[-1] |= sign
                assert has_small_order(curve, bytes(octets)), (curve, y)


@pytest.mark.parametrize(("curve", "algorithm"), [("Ed25519", "Ed25519"), ("Ed448", "Ed448")])
def test_ordinary_points_have_none(curve: str, algorithm: str) -> None:
    """Keys as they are made, and the base point's neighbours, are not refused."""
    for number in range(8):
        assert not has_small_order(curve, private_key(algorithm, number)._key.public_key().public_bytes_raw())  # type: ignore[attr-defined]
    for y in (2, 3, 4, 5):
        assert not has_small_order(curve, y.to_bytes(32 if curve == "Ed25519" else 57, "little"))


def test_a_small_point_would_verify_what_nobody_signed() -> None:
    """Why they are refused: under the neutral element the crypto library takes a signature that needs no private key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    neutral = b"\1" + bytes(31)
    Ed25519PublicKey.from_public_bytes(neutral).verify(neutral + bytes(32), b"anything")
    assert has_small_order("Ed25519", neutral)
