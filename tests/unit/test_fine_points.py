"""What the larger tests of the core leave out: each row stands for a change of the source that no other test noticed."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tests.unit.material import entry, header_of, keys_of

from keyturn import ConfigurationError, FetchError, InvalidKeySetError, KeySet, MalformedTokenError, RolloverPolicy
from keyturn._core.answer import refusal, retry_after_of
from keyturn._core.freshness import freshness
from keyturn._core.revocation import normal_thumbprint
from keyturn._core.token import read_token

PLACE = '"https://issuer.test/keys"'
TOO_LONG = "A key set of hundreds of keys is far shorter: check that the location is right before the limit is raised."


def refused(status: int = 200, max_bytes: int = 1000, **headers: str) -> FetchError | None:
    """Judge the head of an answer; `_` in a name stands for `-`."""
    return refusal(PLACE, status, {name.replace("_", "-"): value for name, value in headers.items()}, max_bytes=max_bytes, wall=0.0)


class TestAnswers:
    """The head of an answer (R16)."""

    def test_an_encoding_that_is_none_in_two_ways(self) -> None:
        """`identity` beside an empty part of the list is still no encoding."""
        assert refused(content_encoding="identity,") is None

    def test_why_an_encoding_is_refused(self) -> None:
        """The hint says what to switch off."""
        error = refused(content_encoding="gzip")
        assert error is not None
        assert error.hint == "Identity was asked for: switch compression off for this location, at the issuer or at the proxy before it."

    @pytest.mark.parametrize(("declared", "taken"), [("0000001000", True), ("00000001000", False)])
    def test_a_length_of_many_digits(self, declared: str, taken: bool) -> None:
        """Ten digits are counted; more are never made a number of."""
        assert taken is (refused(content_length=declared) is None)

    def test_why_a_length_is_refused(self) -> None:
        """Place, size, limit and setting, and what to check first."""
        error = refused(content_length="1001")
        assert error is not None
        assert error.message == f"{PLACE} announced 1001 bytes, expected at most 1000 (setting: max_document_bytes)"
        assert error.hint == TOO_LONG

    @pytest.mark.parametrize(("status", "redirects"), [(299, False), (300, True), (399, True), (400, False)])
    def test_what_is_a_redirect(self, status: int, redirects: bool) -> None:
        """Only a status of 300 to 399 points elsewhere, whatever fields come with another."""
        error = refused(status, location="https://other.test")
        assert error is not None
        assert redirects is ("points to" in error.message)

    def test_why_a_redirect_is_refused(self) -> None:
        """Where it points, which settings name a place, and when it may be asked again (R8)."""
        error = refused(302, location="https://other.test", retry_after="120")
        assert error is not None
        assert error.message == (
            f'{PLACE} answered 302 and points to "https://other.test"; redirects are never followed (settings: discovery_url, jwks_url, metadata_url)'
        )
        assert error.hint == "Give the final location as discovery_url, jwks_url or metadata_url, if it is the right one."
        assert error.retry_after == 120

    def test_a_pause_of_ten_digits(self) -> None:
        """It is a number like any other."""
        assert retry_after_of({"retry-after": "0000000005"}, 0.0) == 5.0

    def test_a_date_is_in_greenwich(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Wherever the machine stands, an HTTP date means GMT (RFC 9110, section 5.6.7)."""
        try:
            monkeypatch.setenv("TZ", "UTC+5")
            time.tzset()
            assert retry_after_of({"retry-after": "Thu, 01 Jan 1970 00:10:00 GMT"}, 0.0) == 600.0
        finally:
            monkeypatch.undo()
            time.tzset()


@pytest.mark.parametrize(
    ("stated", "seconds"),
    [
        ("max-age=1=2", 0.0),
        ("max-age=X60X", 0.0),
        ("max-age", 0.0),
        ("max-age=9999999999", 9_999_999_999.0),
        ("max-age=99999999999", 2.0**31),
    ],
)
def test_odd_statements_of_age(stated: str, seconds: float) -> None:
    """What is no number of seconds means zero, and a number too long to count a very long time (RFC 9111, section 1.2.2)."""
    assert freshness({"cache-control": stated}) == seconds


class TestWords:
    """Hints and reasons, word for word."""

    @pytest.mark.parametrize(
        ("token", "message", "hint"),
        [
            ("a.b.c.d.e", "the token is encrypted (JWE, five segments); a signed one (JWS) has three", ""),
            ("Bearer a", "expected three segments divided by dots, got 1", 'Hand over the token alone, without "Bearer" in front of it.'),
        ],
    )
    def test_of_tokens(self, token: str, message: str, hint: str) -> None:
        """The two commonest mistakes are named."""
        with pytest.raises(MalformedTokenError) as caught:
            read_token(token, algorithms=("ES256",), max_bytes=100)
        assert (message, hint) == (caught.value.message, caught.value.hint)

    @pytest.mark.parametrize(("count", "more"), [(5, ""), (6, "; and 1 more")])
    def test_of_key_sets(self, count: int, more: str) -> None:
        """Five reasons are shown, and how many more there are; the hint says where to see them all."""
        with pytest.raises(InvalidKeySetError) as caught:
            keys_of(*[{"kty": "none", "kid": str(number)} for number in range(count)])
        reasons = "; ".join(f'"{number}" has key type "none"; RSA, EC and OKP verify signatures' for number in range(5))
        assert caught.value.message == f"the key set has {count} entries and no usable key: {reasons}{more}"
        assert caught.value.hint == "The keys that are held stay. `keyturn keys` shows every entry with its reason."

    @pytest.mark.parametrize(
        ("document", "message"),
        [
            ({"keys": {1}}, "expected a JWK Set, got something that is not JSON"),
            (b'{"keys": [], "keys": []}', "the key set names a member twice"),
            (b"{}", 'expected a JWK Set, a JSON object with the member "keys" (RFC 7517, section 5)'),
            (b'{"keys": "k"}', 'the member "keys" is not a list, but "k"'),
        ],
    )
    def test_of_what_is_no_key_set(self, document: Any, message: str) -> None:
        """What was expected, and what came."""
        with pytest.raises(InvalidKeySetError) as caught:
            KeySet.from_jwks(document)
        assert message == caught.value.message

    def test_of_an_empty_key_set(self) -> None:
        """It is named as what it is, without reasons of entries that are not there."""
        with pytest.raises(InvalidKeySetError) as caught:
            keys_of()
        assert caught.value.message == "the key set is empty"

    def test_of_a_key_for_other_algorithms(self) -> None:
        """What the key is for, divided by commas, and what the token says."""
        assert keys_of(entry("Ed25519", kid="k")).why_not(header_of("k", "ES256")) == 'is for Ed25519, EdDSA, and the token says "ES256"'

    def test_of_thumbprints(self) -> None:
        """What came, and where the right ones are printed."""
        with pytest.raises(ConfigurationError) as caught:
            normal_thumbprint("k1")
        assert caught.value.message == 'expected a thumbprint of 20 or 32 bytes in base64url or hex, got "k1" (setting: thumbprint)'
        assert caught.value.hint == "`keyturn keys ISSUER` prints the thumbprints of the published keys."

    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ({"follow_cache_control": 1}, "follow_cache_control is 1, expected True or False (setting: follow_cache_control)"),
            ({"max_keys": 1.5}, "max_keys is 1.5, expected a whole number from 1 to 10000 (setting: max_keys)"),
            ({"deadline": 61.5}, "deadline is 61.5, expected a number from 0.05 to 60 (setting: deadline)"),
        ],
    )
    def test_of_policies(self, setting: dict[str, Any], message: str) -> None:
        """What came, what is expected, and the setting to change."""
        with pytest.raises(ConfigurationError) as caught:
            RolloverPolicy(**setting)
        assert message == caught.value.message
