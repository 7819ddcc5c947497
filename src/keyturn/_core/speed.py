"""Compiled decoders: those of the extra `keyturn[speed]` where it is installed.

Which of them is used changes no verdict: what base64url is says `base64url.py`, what JSON may be says `strict_json.py`.
"""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Callable
from typing import Any

Base64 = Callable[[bytes, bytes, bool], bytes]
"""Decodes base64url with padding; called with the two letters of that alphabet and True, for strictly. Raises ValueError for any other
text, but may take "+" and "/" for those letters: whoever calls it has looked for these."""

JSON = Callable[[bytes], Any]
"""Reads UTF-8 JSON, and of a repeated name the last member. Raises ValueError, for nesting that its stack has no room for too."""

ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
"""The letters of base64url, in the order of what they stand for (RFC 4648, section 5)."""

# Everything outside the alphabet and the padding becomes a byte that the strict decoder in C refuses, "+" and "/" among it.
_TO_STANDARD = bytes({ord("-"): ord("+"), ord("_"): ord("/")}.get(byte, byte) if byte in ALPHABET or byte == ord("=") else 0 for byte in range(256))


def standard_base64(text: bytes, _letters: bytes, _strictly: bool) -> bytes:  # noqa: FBT001 - as the extra has it
    """Decode base64url with the standard library."""
    # Letters and digits, of which the segments of plain ASCII claims consist, are the same in both alphabets.
    return a2b_base64(text if text.isalnum() else text.translate(_TO_STANDARD), strict_mode=True)


try:
    import pybase64

    decode_base64: Base64 = pybase64.b64decode
except ImportError:
    decode_base64 = standard_base64

try:
    import orjson

    read_json: JSON | None = orjson.loads
except ImportError:
    read_json = None
