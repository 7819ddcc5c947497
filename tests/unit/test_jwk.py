"""One entry of a key set: a key that serves, or the reason why it cannot (RFC 7517, RFC 7518, RFC 8037)."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import ANY_JSON, GOOD_ENTRIES, ODD_ENTRIES
from tests.unit.material import entry, number, raw_private, rsa_entry, rsa_key

from keyturn._core.jwk import UnusableKeyError, published_kid, signing_key
from keyturn.testing.keys import base64url

TYPES = ("ES256", "ES384", "ES512", "Ed25519", "Ed448", "RS256")
SECRET = "c2VjcmV0LXNlY3JldC1zZWNyZXQ"


def refused(given: Any) -> str:
    """Return the reason why *given* cannot serve."""
    with pytest.raises(UnusableKeyError) as caught:
        signing_key(given)
    return str(caught.value)


@pytest.mark.parametrize(
    ("algorithm", "kty", "curve", "size"),
    [
        ("RS256", "RSA", None, 2048),
        ("ES256", "EC", "P-256", 256),
        ("ES384", "EC", "P-384", 384),
        ("ES512", "EC", "P-521", 521),
        ("Ed25519", "OKP", "Ed25519", 256),
        ("Ed448", "OKP", "Ed448", 456),
    ],
)
def test_what_a_key_is(algorithm: str, kty: str, curve: str | None, size: int) -> None:
    """Type, curve and size come from the key's own numbers."""
    key = signing_key(entry(algorithm, kid="k", use="sig", alg=algorithm))
    assert (kty, curve, size, "k", "sig", algorithm) == (key.kty, key.curve, key.size, key.kid, key.use, key.alg)
    assert ("k", key.thumbprint) == key.name
    assert {key.thumbprint} == key.handles
    assert () == key.remarks


@pytest.mark.parametrize("algorithm", TYPES)
def test_the_thumbprint_is_that_of_the_required_members(algorithm: str) -> None:
    """Required members alone, in lexical order, without blanks (RFC 7638, section 3)."""
    required = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n")}
    published = entry(algorithm, kid="k", use="sig", unknown=1)
    text = json.dumps({name: published[name] for name in required[published["kty"]]}, separators=(",", ":"))
    assert base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode() == signing_key(published).thumbprint


@given(GOOD_ENTRIES | ODD_ENTRIES)
def test_what_is_printed_is_read_again(published: dict[str, Any]) -> None:
    """The printed key is the same key, with public members alone; printing it again changes nothing."""
    key = signing_key(published)
    printed = key.public_jwk()
    again = signing_key(printed)
    assert (key.name, key.algorithms) == (again.name, again.algorithms)
    assert printed == again.public_jwk()
    assert set(printed) <= {"kty", "crv", "x", "y", "n", "e", "kid", "alg", "use"}


@given(GOOD_ENTRIES, st.text(max_size=8), ANY_JSON)
def test_an_unknown_value_never_widens(published: dict[str, Any], name: str, value: Any) -> None:
    """Whatever is added to or changed in an entry, its key verifies no algorithm that it did not before."""
    before = signing_key(published)
    try:
        after = signing_key({**published, name: value})
    except UnusableKeyError:
        return
    if "alg" in published and name != "alg":
        assert after.algorithms <= before.algorithms
    assert after.algorithms <= signing_key({member: text for member, text in published.items() if member != "alg"}).algorithms


@given(
    ANY_JSON | st.dictionaries(st.sampled_from(["kty", "crv", "x", "y", "n", "e", "kid", "use", "alg", "key_ops", "x5c", "x5t", "issuer"]), ANY_JSON)
)
def test_any_json_is_a_key_or_a_reason(value: Any) -> None:
    """Nothing but the one error comes out, and it can be shown."""
    reason = "no reason"
    try:
        assert signing_key(value).algorithms
    except UnusableKeyError as error:
        reason = str(error)
    assert reason.isprintable()
    assert published_kid(value) is None or isinstance(value["kid"], str)


@pytest.mark.parametrize("member", ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"])
@pytest.mark.parametrize("algorithm", TYPES)
def test_private_members_refuse_and_are_not_shown(member: str, algorithm: str) -> None:
    """The reason names the member and holds no value (RFC 7517, section 9.2)."""
    for value in (SECRET, None, "", [SECRET], {"x": SECRET}):
        reason = refused(entry(algorithm, **{member: value} if value is not None else {}) | {member: value})
        assert f'member "{member}"' in reason
        assert SECRET not in reason


def test_symmetric_keys_refuse() -> None:
    """They never come from a public document (C27)."""
    for symmetric in ({"kty": "oct", "k": SECRET}, {"kty": "oct"}, entry(kty="oct")):
        assert "symmetric key" in refused(symmetric)


@pytest.mark.parametrize("value", [None, "text", 1, True, [], [{}], {}])
def test_what_is_no_entry(value: Any) -> None:
    """An entry is an object with a key type."""
    assert refused(value) in {"is not a JSON object, or names a member twice", 'lacks the member "kty"'}


@pytest.mark.parametrize("kty", ["ec", "rsa", "Rsa", "EC ", "", "unknown", "RSA-HSM"])
def test_an_unknown_type_is_named(kty: str) -> None:
    """Types are compared exactly (RFC 7517, section 4.1)."""
    assert f'has key type "{kty}"' in refused(entry(kty=kty))


@pytest.mark.parametrize("alg", ["ML-DSA-44", "ML-DSA-65", "ML-DSA-87"])
def test_an_algorithm_of_tomorrow_is_named(alg: str) -> None:
    """The reason names what cannot be verified yet (C26)."""
    assert f'"{alg}"' in refused({"kty": "AKP", "alg": alg, "pub": "AAAA", "kid": "k"})
    assert "null" in refused({"kty": "AKP", "pub": "AAAA"})
    assert "private key material" in refused({"kty": "AKP", "alg": alg, "priv": SECRET})


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"use": "enc"}, 'has use "enc"'),
        ({"use": "SIG"}, 'has use "SIG"'),
        ({"use": ""}, "has use"),
        ({"use": ["sig"]}, "has use"),
        ({"use": 1}, "has use 1"),
        ({"key_ops": []}, 'without "verify"'),
        ({"key_ops": ["sign"]}, 'without "verify"'),
        ({"key_ops": ["Verify"]}, 'without "verify"'),
        ({"use": "sig", "key_ops": ["encrypt"]}, 'without "verify"'),
        ({"use": "enc", "key_ops": ["verify"]}, 'has use "enc"'),
        ({"key_ops": ["verify", "verify"]}, "names an operation of key_ops twice"),
        ({"key_ops": "verify"}, "not a list of strings"),
        ({"key_ops": {"verify": 1}}, "not a list of strings"),
        ({"key_ops": ["verify", 1]}, "not a list of strings"),
        ({"key_ops": [["verify"]]}, "not a list of strings"),
        ({"alg": "HS256"}, "is for algorithm"),
        ({"alg": "none"}, "is for algorithm"),
        ({"alg": "RSA-OAEP"}, "is for algorithm"),
        ({"alg": "es256"}, "is for algorithm"),
        ({"alg": ["ES256"]}, "is for algorithm"),
        ({"alg": 1}, "is for algorithm 1"),
        ({"alg": "ES384"}, "is for ES384, but its type is EC P-256"),
        ({"alg": "RS256"}, "is for RS256, but its type is EC P-256"),
        ({"alg": "EdDSA"}, "is for EdDSA, but its type is EC P-256"),
        ({"kid": 1}, "has a kid that is not a string: 1"),
        ({"kid": ["k"]}, "has a kid that is not a string"),
        ({"kid": "k" * 257}, "has a kid of 257 characters; 256 are allowed"),
        ({"kty": 1}, 'has a member "kty" that is not a string'),
        ({"kty": ["EC"]}, 'has a member "kty" that is not a string'),
        ({"crv": 1}, 'has a member "crv" that is not a string'),
        ({"crv": "secp256k1"}, "is on curve"),
        ({"crv": "Ed25519"}, "is on curve"),
        ({"crv": "brainpoolP256r1"}, "is on curve"),
        ({"x": 1}, 'has a member "x"'),
        ({"y": "!"}, "that is not base64url"),
        ({"x": "\u00e9"}, "that is not base64url"),
        ({"issuer": 1}, 'has a member "issuer" that is not a string'),
        ({"issuer": ["https://a"]}, 'has a member "issuer" that is not a string'),
        ({"cloud_instance_name": {}}, 'has a member "cloud_instance_name" that is not a string'),
    ],
)
def test_members_that_refuse(members: dict[str, Any], reason: str) -> None:
    """Use, operations, algorithm, type, curve: each alone is enough (R2, AK6)."""
    assert reason in refused({**entry(), **members})


@pytest.mark.parametrize("member", ["use", "key_ops", "kid", "alg", "issuer", "cloud_instance_name"])
def test_null_is_not_absent(member: str) -> None:
    """An entry that says null says something, and nothing that could be understood."""
    assert refused({**entry(), member: None})


@pytest.mark.parametrize("member", ["kty", "crv", "x", "y"])
def test_a_missing_member_is_named(member: str) -> None:
    """The reason says what is lacking."""
    assert f'lacks the member "{member}"' in refused(entry(**{member: None}))


@pytest.mark.parametrize("ops", [["verify"], ["verify", "sign"], ["encrypt", "verify"]])
def test_operations_with_verify(ops: list[str]) -> None:
    """`verify` among the operations is enough (RFC 7517, section 4.3)."""
    assert signing_key(entry(key_ops=ops)).use is None


@pytest.mark.parametrize("kid", ["", "0", " ", "k" * 256, "\u00e9", "e\u0301", "\0", "\x1b[2J"])
def test_a_kid_is_kept_as_it_is(kid: str) -> None:
    """Any text, the empty one included, which is not an absent one (AK18)."""
    assert kid == signing_key(entry(kid=kid)).kid == published_kid({"kid": kid})


def test_the_kid_of_a_broken_entry() -> None:
    """It is shown beside the reason where it can be (Z12)."""
    assert [None, None, None, "k"] == [published_kid(value) for value in ("k", {"kid": 1}, {"kid": "k" * 257}, {"kid": "k"})]


class TestRsa:
    """Sizes are checked before any arithmetic is done on the numbers (C19, R16)."""

    @pytest.mark.parametrize("bits", [0, 1, 8, 512, 1024, 2047, 16_385, 131_072])
    def test_other_sizes_refuse(self, bits: int) -> None:
        """The reason names the size (B18)."""
        modulus = (1 << (bits - 1)) | 1 if bits else 0
        assert f"is an RSA key of {bits} bits" in refused(rsa_entry(modulus))

    @pytest.mark.parametrize("bits", [2048, 2049, 3072, 4096, 16_384])
    def test_sizes_within_serve(self, bits: int) -> None:
        """From 2,048 to 16,384 bits, bit by bit (B18)."""
        assert bits == signing_key(rsa_entry((1 << (bits - 1)) | 1)).size

    def test_an_even_modulus_refuses(self) -> None:
        """It is no product of two large primes."""
        assert "even RSA modulus" in refused(rsa_entry(1 << 2047))

    @pytest.mark.parametrize("exponent", [0, 1, 2, 4, 65_536, 1 << 32, (1 << 32) + 1, (1 << 2048) + 1])
    def test_other_exponents_refuse(self, exponent: int) -> None:
        """Even, below 3 or above 32 bits (B19, AK9)."""
        assert "RSA exponent" in refused(rsa_entry((1 << 2047) | 1, exponent))

    @pytest.mark.parametrize("exponent", [3, 17, 65_537, (1 << 32) - 1])
    def test_exponents_within_serve(self, exponent: int) -> None:
        """The smallest, the usual and the largest (B19)."""
        assert signing_key(rsa_entry((1 << 2047) | 1, exponent)).algorithms

    @pytest.mark.parametrize("zeros", [1, 2, 100])
    def test_leading_zeros_are_the_same_key(self, zeros: int) -> None:
        """They are shipped in the wild; thumbprint, size and printed form do not change (C23)."""
        plain = signing_key(entry("RS256"))
        numbers = raw_private("RS256").public_key().public_numbers()
        padded = {"kty": "RSA", "n": base64url(b"\0" * zeros + numbers.n.to_bytes(256)), "e": base64url(b"\0" * zeros + b"\1\0\1")}
        key = signing_key(padded)
        assert (plain.thumbprint, plain.size, plain.public_jwk()) == (key.thumbprint, key.size, key.public_jwk())

    @pytest.mark.parametrize("member", ["n", "e"])
    @pytest.mark.parametrize("value", ["", "AQAB=", "AQ AB", "!", 65_537, None, ["AQAB"]])
    def test_odd_numbers_refuse(self, member: str, value: Any) -> None:
        """Padding and other types are no base64url (C23)."""
        assert refused({**entry("RS256"), member: value})

    def test_a_megabyte_refuses(self) -> None:
        """A member as long as a document is measured and not computed with (AK14)."""
        assert "bits" in refused({"kty": "RSA", "n": "A" + "f" * 999_999, "e": "AQAB"})
        assert "RSA exponent" in refused({**entry("RS256"), "e": "f" * 100_000})


class TestCurves:
    """Points are of full length and on their curve (C22, C24)."""

    @pytest.mark.parametrize(("algorithm", "length"), [("ES256", 32), ("ES384", 48), ("ES512", 66)])
    @pytest.mark.parametrize("member", ["x", "y"])
    def test_coordinates_have_full_length(self, algorithm: str, length: int, member: str) -> None:
        """One octet less or more refuses, zeros included (RFC 7518, section 6.2.1.2)."""
        for wrong in (length - 1, length + 1, 0, 1):
            assert f"of {wrong} octets" in refused(entry(algorithm, **{member: base64url(bytes(wrong))}))

    @pytest.mark.parametrize(("algorithm", "length"), [("ES256", 32), ("ES384", 48), ("ES512", 66)])
    def test_points_off_the_curve_refuse(self, algorithm: str, length: int) -> None:
        """Zero, swapped coordinates, a coordinate beyond the prime, and one bit off."""
        good = entry(algorithm)
        ones = base64url(b"\xff" * length)
        cases = [{"x": good["y"], "y": good["x"]}, {"x": base64url(bytes(length)), "y": base64url(bytes(length))}, {"x": ones}, {"y": ones}]
        cases.append({"y": number(int.from_bytes(base64.urlsafe_b64decode(good["y"] + "==")) ^ 1, length)})
        for case in cases:
            assert "is not a valid EC public key" == refused({**good, **case})

    @pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512"])
    def test_the_curve_is_the_points_own(self, algorithm: str) -> None:
        """The name of another curve refuses by length, or because the point is not on it."""
        for curve in {"P-256", "P-384", "P-521"} - {signing_key(entry(algorithm)).curve}:
            assert refused(entry(algorithm, crv=curve))

    @pytest.mark.parametrize("curve", ["X25519", "X448", "ed25519", "P-256", ""])
    def test_curves_that_do_not_sign(self, curve: str) -> None:
        """They agree on keys, and never verify (RFC 8037, section 3.2)."""
        assert "which does not sign" in refused({"kty": "OKP", "crv": curve, "x": base64url(bytes(32))})

    @pytest.mark.parametrize(("algorithm", "length"), [("Ed25519", 32), ("Ed448", 57)])
    def test_edwards_points_have_full_length(self, algorithm: str, length: int) -> None:
        """One octet less or more refuses."""
        for wrong in (0, 31, 33, 56, 58, length - 1, length + 1):
            if wrong != length:
                assert f"of {wrong} octets" in refused(entry(algorithm, x=base64url(bytes([2]) * wrong)))

    @pytest.mark.parametrize(("curve", "length"), [("Ed25519", 32), ("Ed448", 57)])
    @pytest.mark.parametrize("first", [0, 1])
    def test_points_of_small_order_refuse(self, curve: str, length: int, first: int) -> None:
        """Anybody could sign under them (AK11)."""
        assert "small order" in refused({"kty": "OKP", "crv": curve, "x": base64url(bytes([first]) + bytes(length - 1))})


def test_a_key_shows_no_numbers() -> None:
    """`repr` holds thumbprints and names, no member and no verifier."""
    published = entry(kid="k")
    assert published["x"] not in repr(signing_key(published))


def test_issuer_and_cloud_are_kept() -> None:
    """What Microsoft Entra writes beside a key is there for whoever enforces it (C32)."""
    key = signing_key(entry(issuer="https://a.test", cloud_instance_name="cloud.test"))
    assert ("https://a.test", "cloud.test") == (key.issuer, key.cloud)
    assert key.identity != signing_key(entry()).identity


def test_keys_of_odd_exponents_verify() -> None:
    """An exponent of 3 is legal, and such a key works."""
    private = rsa_key(2048, 3)
    key = signing_key(rsa_entry(private.public_key().public_numbers().n, 3))
    from cryptography.hazmat.primitives.asymmetric import padding

    assert key.verifies("RS256", private.sign(b"data", padding.PKCS1v15(), hashes.SHA256()), b"data")
