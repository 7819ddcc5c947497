"""Base64url as JOSE has it: without padding, without anything around it, one spelling for each value (RFC 7515, section 2).

A value with two spellings gives one token several texts, which breaks deny lists and caches; so unused trailing bits
must be zero, although RFC 4648, section 3.5, leaves that to the decoder.
"""

from __future__ import annotations

from binascii import b2a_base64

from keyturn._core import speed

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

# Everything outside the alphabet becomes a byte that the strict decoder in C refuses, "+", "/" and "=" among it.
_TO_STANDARD = bytes({ord("-"): ord("+"), ord("_"): ord("/")}.get(byte, byte) if byte in _ALPHABET else 0 for byte in range(256))
_PADDING = (b"", b"", b"==", b"=")

# The last character of a text of 4n+2 carries four unused bits, of 4n+3 two.
_LAST = (frozenset(range(256)), frozenset[int](), frozenset(_ALPHABET[::16]), frozenset(_ALPHABET[::4]))


def decode(text: bytes) -> bytes:
    """Return the bytes that *text* spells.

    Raises:
        ValueError: *text* has a character outside the alphabet, padding, an impossible length or non-zero unused bits.
    """
    rest = len(text) & 3
    if rest and text[-1] not in _LAST[rest]:
        raise ValueError("impossible length" if rest == 1 else "unused trailing bits are not zero")
    try:
        # Letters and digits, of which the segments of plain ASCII claims consist, are the same in both alphabets.
        standard = text if text.isalnum() else text.translate(_TO_STANDARD)
        return speed.decode_base64(standard + _PADDING[rest] if rest else standard)
    except ValueError:
        raise ValueError("a character outside the base64url alphabet") from None


def encode(data: bytes) -> str:
    """Return *data* as base64url without padding."""
    return b2a_base64(data, newline=False).rstrip(b"=").replace(b"+", b"-").replace(b"/", b"_").decode("ascii")
