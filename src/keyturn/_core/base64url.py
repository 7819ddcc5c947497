"""Base64url as JOSE has it: without padding, without anything around it, one spelling for each value (RFC 7515, section 2).

A value with two spellings gives one token several texts, which breaks deny lists and caches; so unused trailing bits
must be zero, although RFC 4648, section 3.5, leaves that to the decoder.
"""

from __future__ import annotations

from binascii import b2a_base64

from keyturn._core import speed

_PADDING = (b"", b"", b"==", b"=")

# The last character of a text of 4n+2 carries four unused bits, of 4n+3 two.
_LAST = (frozenset(range(256)), frozenset[int](), frozenset(speed.ALPHABET[::16]), frozenset(speed.ALPHABET[::4]))


def decode(text: bytes) -> bytes:
    """Return the bytes that *text* spells.

    Raises:
        ValueError: *text* has a character outside the alphabet, padding, an impossible length or non-zero unused bits.
    """
    if b"+" in text or b"/" in text or b"=" in text:
        raise ValueError("a character outside the base64url alphabet")
    return decode_part(text)


def decode_part(text: bytes) -> bytes:
    """Do the same as `decode()` for a part of a text that is known to hold no `+`, `/` and `=`, the marks of other kinds of base64.

    Raises:
        ValueError: *text* has a character outside the alphabet, padding, an impossible length or non-zero unused bits.
    """
    rest = len(text) & 3
    if rest and text[-1] not in _LAST[rest]:
        raise ValueError("impossible length" if rest == 1 else "unused trailing bits are not zero")
    try:
        return speed.decode_base64(text + _PADDING[rest] if rest else text, b"-_", True)
    except ValueError:
        raise ValueError("a character outside the base64url alphabet") from None


def encode(data: bytes) -> str:
    """Return *data* as base64url without padding."""
    return b2a_base64(data, newline=False).rstrip(b"=").replace(b"+", b"-").replace(b"/", b"_").decode("ascii")
