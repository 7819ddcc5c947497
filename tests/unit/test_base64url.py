"""Base64url without padding, one spelling for each value (RFC 7515, section 2)."""

from __future__ import annotations

import base64
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn._core import base64url

ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@given(st.binary(max_size=200))
def test_what_is_encoded_is_decoded(data: bytes) -> None:
    """Encoding agrees with the standard library's, padding apart, and decoding takes it back."""
    text = base64url.encode(data)
    assert base64.urlsafe_b64encode(data).rstrip(b"=").decode() == text
    assert data == base64url.decode(text.encode())


@given(st.binary(max_size=12) | st.text(alphabet=ALPHABET.decode() + "=+/ \n", max_size=12).map(str.encode))
def test_a_value_has_one_spelling(text: bytes) -> None:
    """Whatever is decoded at all is the one spelling of its value (C5)."""
    try:
        value = base64url.decode(text)
    except ValueError:
        return
    assert text == base64url.encode(value).encode()


def test_every_pair_of_octets_is_judged_rightly() -> None:
    """Of all texts of two octets exactly 256 spell a value, one for each octet."""
    spelled = []
    for pair in itertools.product(range(256), repeat=2):
        try:
            spelled.append(base64url.decode(bytes(pair)))
        except ValueError:
            continue
    assert {bytes([octet]) for octet in range(256)} == set(spelled)
    assert 256 == len(spelled)


def test_every_last_character_of_three_is_judged_rightly() -> None:
    """A text of three characters carries two unused bits, and they are zero (RFC 4648, section 3.5)."""
    good = [last for last in ALPHABET if not _refused(b"AA" + bytes([last]))]
    assert list(ALPHABET[::4]) == good


@pytest.mark.parametrize("octet", [octet for octet in range(256) if octet not in ALPHABET])
def test_a_foreign_octet_refuses(octet: int) -> None:
    """Nothing is skipped, wherever it stands (C2)."""
    for text in (b"%cAAA", b"AA%cA", b"AAA%c", b"AAAA%c", b"AAAA%cA", b"AAAA%cAA", b"AAAAA%c", b"AAAAAA%c"):
        assert _refused(text % octet), text


@pytest.mark.parametrize("text", [b"A", b"AAAAA", b"A" * 4097, b"=", b"A===", b"AA==", b"AAA=", b"AAAA=", b"AAAA====", b"AB", b"AAB"])
def test_lengths_padding_and_bits(text: bytes) -> None:
    """Impossible lengths, padding and unused bits refuse."""
    with pytest.raises(ValueError, match=r"length|alphabet|trailing bits"):
        base64url.decode(text)


def test_nothing_spells_nothing() -> None:
    """The empty text is the empty value."""
    assert b"" == base64url.decode(b"")
    assert "" == base64url.encode(b"")


def test_the_message_holds_nothing_of_the_text() -> None:
    """The text may be a secret, so the message says what is wrong and no more."""
    with pytest.raises(ValueError) as caught:
        base64url.decode(b"c2VjcmV0IQ*")
    assert "c2V" not in str(caught.value)


def _refused(text: bytes) -> bool:
    try:
        base64url.decode(text)
    except ValueError:
        return True
    return False
