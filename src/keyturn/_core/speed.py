"""Two decoders in C: those of the extra `keyturn[speed]` where it is installed, the standard library's elsewhere.

Neither decides anything: what base64url is says `base64url.py`, what JSON may be says `strict_json.py`, whichever decoder they use.
"""

from __future__ import annotations

import json
from binascii import a2b_base64
from collections.abc import Callable
from functools import partial
from typing import Any

_MAX_INTEGER = 20
"""Characters of the longest integer that both readers of JSON read alike: the extra's one makes a float of more than 64 bits."""

Base64 = Callable[[bytes], bytes]
"""Decodes standard base64 with padding. Raises ValueError for any other text."""

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


standard_base64: Base64 = partial(a2b_base64, strict_mode=True)

try:
    import pybase64

    decode_base64: Base64 = partial(pybase64.b64decode, validate=True)
except ImportError:
    decode_base64 = standard_base64

try:
    import orjson

    read_json: JSON = orjson.loads
except ImportError:
    read_json = standard_json
