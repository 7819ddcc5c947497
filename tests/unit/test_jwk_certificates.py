"""The certificate beside a key: a container that must carry this very key, and whose dates decide nothing (RFC 7517, section 4.7)."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, x25519
from tests.unit.material import certificate, der_of, entry, raw_private, x5c

from keyturn import CertificateDates, SigningKey
from keyturn._core import jwk
from keyturn._core.jwk import UnusableKeyError, signing_key
from keyturn.testing.keys import base64url

TYPES = ("ES256", "ES384", "ES512", "Ed25519", "Ed448", "RS256")


def refused(given: Any) -> str:
    """Return the reason why *given* cannot serve."""
    with pytest.raises(UnusableKeyError) as caught:
        signing_key(given)
    return str(caught.value)


class TestCertificates:
    """A certificate is a container for its key (C35, F43)."""

    @pytest.mark.parametrize("algorithm", TYPES)
    def test_its_own_certificate_gives_handles_and_dates(self, algorithm: str) -> None:
        """Both thumbprints are computed, and dates are reported (RFC 7517, sections 4.8 and 4.9)."""
        der = der_of(algorithm)
        key = signing_key(entry(algorithm, x5c=x5c(der)))
        assert base64url(hashlib.sha1(der).digest()) == key.x5t
        assert base64url(hashlib.sha256(der).digest()) == key.x5t_s256
        assert {key.thumbprint, key.x5t, key.x5t_s256} == key.handles
        assert CertificateDates(1_577_836_800.0, 1_577_836_800.0 + 36_500 * 86_400) == key.certificate
        assert () == key.remarks

    def test_an_expired_certificate_decides_nothing(self) -> None:
        """Its dates are those of a container."""
        assert () == signing_key(entry(x5c=x5c(der_of(expired=True)))).remarks

    @pytest.mark.parametrize("other", ["ES256", "ES384", "Ed25519", "RS256"])
    def test_a_certificate_of_another_key_refuses(self, other: str) -> None:
        """The entry contradicts itself (RFC 7517, section 4.7)."""
        assert "certificate of another key" in refused(entry("ES256", x5c=x5c(der_of(other, 1))))

    def test_only_the_first_certificate_counts(self) -> None:
        """The rest of the chain belongs to others."""
        key = signing_key(entry(x5c=[*x5c(der_of()), "!", 1, *x5c(der_of("RS256"))]))
        assert key.x5t is not None

    def test_a_certificate_with_leading_zeros_in_the_entry(self) -> None:
        """The key is compared by number and not by text."""
        numbers = raw_private("RS256").public_key().public_numbers()
        key = signing_key({"kty": "RSA", "n": base64url(b"\0" + numbers.n.to_bytes(256)), "e": "AQAB", "x5c": x5c(der_of("RS256"))})
        assert key.x5t is not None

    @pytest.mark.parametrize(
        "chain",
        [
            [],
            [""],
            ["!"],
            [1],
            [None],
            [["x"]],
            "text",
            {},
            None,
            1,
            ["AAAA"],
            [base64url(der_of())],
            ["\u00e9"],
            [base64.b64encode(b"0" * 5_000).decode()],
            ["-----BEGIN CERTIFICATE-----"],
        ],
    )
    def test_an_unreadable_certificate_is_ignored_and_said(self, chain: Any) -> None:
        """The key came without it."""
        key = signing_key({**entry(), "x5c": chain})
        assert (None, None, None) == (key.x5t, key.x5t_s256, key.certificate)
        assert ("its certificate cannot be read and is ignored",) == key.remarks

    def test_a_damaged_certificate_is_ignored(self) -> None:
        """Each cut and each changed octet of a certificate is ignored, refuses, or leaves it readable; nothing else comes out."""
        der = der_of()
        for place in range(0, len(der), 7):
            for damaged in (der[:place], der[:place] + bytes([der[place] ^ 0xFF]) + der[place + 1 :]):
                reason = "another key"
                try:
                    assert isinstance(signing_key(entry(x5c=x5c(damaged))), SigningKey)
                except UnusableKeyError as error:
                    reason = str(error)
                assert "another key" in reason

    def test_a_certificate_of_a_key_that_does_not_sign(self) -> None:
        """A DSA key, or one for key agreement, is another key."""
        dsa_key = dsa.generate_parameters(1024).generate_private_key()
        assert "another key" in refused(entry(x5c=x5c(certificate(dsa_key, digest=hashes.SHA256()))))
        assert jwk._encoded(x25519.X25519PrivateKey.generate().public_key())
        assert b"" == jwk._encoded(object())

    def test_a_certificate_on_a_curve_of_explicit_parameters_or_none(self) -> None:
        """A curve that the crypto library knows and JOSE does not is another key, too."""
        assert "another key" in refused(entry(x5c=x5c(certificate(ec.generate_private_key(ec.SECP256K1()), digest=hashes.SHA256()))))

    @pytest.mark.parametrize(("member", "length"), [("x5t", 20), ("x5t#S256", 32)])
    def test_thumbprints_without_a_certificate_are_handles(self, member: str, length: int) -> None:
        """What the entry says is taken where nothing contradicts it."""
        value = base64url(b"\5" * length)
        key = signing_key(entry(**{member: value}))
        assert value == (key.x5t if member == "x5t" else key.x5t_s256)
        assert value in key.handles

    @pytest.mark.parametrize(("member", "length"), [("x5t", 20), ("x5t#S256", 32)])
    def test_thumbprints_that_do_not_fit_are_ignored_and_said(self, member: str, length: int) -> None:
        """Another length, another type, another certificate: that handle is ignored, the key and the computed one stay."""
        for value in (1, None, "", "!", "\u00e9", base64url(b"\5" * (length - 1)), "ab" * length, ["x"], base64url(b"\5" * length) + "="):
            key = signing_key({**entry(), member: value})
            assert (f"its {member} does not fit its certificate and is ignored",) == key.remarks
            assert (None, None) == (key.x5t, key.x5t_s256)
        chain = x5c(der_of())
        key = signing_key(entry(x5c=chain, **{member: base64url(b"\5" * length)}))
        assert 1 == len(key.remarks)
        assert key.handles == signing_key(entry(x5c=chain)).handles

    def test_a_place_to_fetch_from_is_nothing(self) -> None:
        """`x5u` is a member like any unknown one (C32)."""
        assert () == signing_key(entry(x5u="https://evil.example/cert.pem")).remarks
