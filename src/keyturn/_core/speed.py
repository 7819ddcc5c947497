"""Compiled decoders: those of the extra `keyturn[speed]` where it is installed.

Which of them is used changes no verdict: what base64url is says `base64url.py`, what JSON may be says `strict_json.py`.
"""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Callable
from typing import Any, NamedTuple

Base64 = Callable[[bytes, bytes, bool], bytes]
"""Decodes base64url with padding; called with the two letters of that alphabet and True, for strictly. Raises ValueError for any other
text, but may take "+" and "/" for those letters: whoever calls it has looked for these."""


class CompiledJSON(NamedTuple):
    """A compiled reader and writer of JSON.

    Attributes:
        read: Reads UTF-8 JSON, and of a repeated name the last member. Raises ValueError, for nesting that its stack has no room for too.
        write: Writes a value as compact UTF-8 JSON, members in the order in which they were read. Raises TypeError for what it cannot.
    """

    read: Callable[[bytes], Any]
    write: Callable[[Any], bytes]


ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
"""The letters of base64url, in the order of what they stand for (RFC 4648, section 5)."""


def standard_base64(text: bytes, _letters: bytes, _strictly: bool) -> bytes:  # noqa: FBT001 - as the extra has it
    """Decode base64url with the standard library."""
    return a2b_base64(text.replace(b"-", b"+").replace(b"_", b"/"), strict_mode=True)


try:
    import pybase64

    decode_base64: Base64 = pybase64.b64decode
except ImportError:
    decode_base64 = standard_base64

try:
    import orjson

    compiled_json: CompiledJSON | None = CompiledJSON(orjson.loads, orjson.dumps)
except ImportError:
    compiled_json = None
