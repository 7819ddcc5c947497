"""Two decoders in C: those of the extra `keyturn[speed]` where it is installed, the standard library's elsewhere.

Which of them is used changes no verdict: what base64url is says `base64url.py`, what JSON may be says `strict_json.py`.
"""

from __future__ import annotations

import json
from binascii import a2b_base64
from collections.abc import Callable
from typing import Any

_MAX_INTEGER = 20
"""Characters of the longest integer that both readers of JSON read alike: the extra's one makes a float of more than 64 bits."""

Base64 = Callable[[bytes, bytes], bytes]
"""Decodes a text of the base64url alphabet and the padding that it lacks. Raises ValueError for any other text."""

JSON = Callable[[bytes], Any]
"""Reads UTF-8 JSON, at whatever nesting its caller allows, and of a repeated name the last member. Raises ValueError."""


def _small_integer(digits: str) -> int:
    if len(digits) > _MAX_INTEGER:
        raise ValueError
    return int(digits)


def _no_constant(_: str) -> None:
    raise ValueError


_decoder = json.JSONDecoder(parse_int=_small_integer, parse_constant=_no_constant)
_scan: Callable[[str, int], tuple[Any, int]] = _decoder.scan_once  # type: ignore[attr-defined]  # part of json.JSONDecoder, but not of its stubs


def standard_json(data: bytes) -> Any:
    """Read JSON with the standard library; blanks around it are refused."""
    text = data.decode()
    try:
        value, end = _scan(text, 0)
    except StopIteration:
        raise ValueError from None
    if end != len(text):
        raise ValueError
    return value


_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

# Everything outside the alphabet becomes a byte that the strict decoder in C refuses, "+", "/" and "=" among it.
_TO_STANDARD = bytes({ord("-"): ord("+"), ord("_"): ord("/")}.get(byte, byte) if byte in _ALPHABET else 0 for byte in range(256))


def standard_base64(text: bytes, padding: bytes) -> bytes:
    """Decode base64url with the standard library."""
    # Letters and digits, of which the segments of plain ASCII claims consist, are the same in both alphabets.
    standard = text if text.isalnum() else text.translate(_TO_STANDARD)
    return a2b_base64(standard + padding, strict_mode=True)


try:
    import pybase64

    def decode_base64(text: bytes, padding: bytes) -> bytes:
        """Decode base64url with the extra, which by itself would take the other alphabet and padding as well."""
        if b"+" in text or b"/" in text or b"=" in text:
            raise ValueError
        decoded: bytes = pybase64.b64decode(text + padding, b"-_", validate=True)
        return decoded
except ImportError:
    decode_base64 = standard_base64

try:
    import orjson

    read_json: JSON = orjson.loads
except ImportError:
    read_json = standard_json
