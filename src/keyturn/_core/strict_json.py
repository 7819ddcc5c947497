"""JSON read so that no second parser could read it differently (RFC 8259; RFC 7515, section 4; RFC 8725, section 2.6).

Rules of this file:

1. UTF-8 without a byte order mark, one value, nothing after it.
2. A repeated member name refuses a token at any depth. In a document it spoils the object that repeats it, and nothing else,
   so that one bad key never takes good ones along (R1).
3. NaN, Infinity, lone surrogates, numbers over 30 digits and nesting over 16 are refused. Depth is measured before anything
   is parsed, because parsers recurse.
4. A parser that cannot see repeated names may read a token first, where one is installed that is quicker even so. Its value counts
   only where the text proves that the strict parser would have read the same; everywhere else the strict one reads the text, and says
   what is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from keyturn._core import speed

MAX_DEPTH = 16
"""Deepest nesting of arrays and objects: real tokens and documents stay below 6."""

_BACKSLASH = 0x5C
"""As a number: to look for a byte of one takes half the time of looking for a text of one byte."""

MAX_DIGITS = 30
"""Longest number in characters, sign apart: an instant has 10, and no claim counts further than 128 bits hold."""

_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)


class NotStrictJSONError(ValueError):
    """The text is not JSON as this file wants it; the message says why and holds none of it."""


class RepeatedMember:
    """Stands in a document for an object that names a member twice."""


def parse_token_part(data: bytes) -> Any:
    """Return the value of a decoded header or payload; a repeated member name refuses it at any depth.

    Raises:
        NotStrictJSONError: By the rules of this file.
    """
    value = None if speed.compiled_json is None else _read_quickly(speed.compiled_json, data)
    return _parse(data, _scan_token) if value is None else value


def reader_of(data: bytes) -> Callable[[bytes], Any]:
    """Return the quickest way to read once more what `parse_token_part()` has read: the proof (4) need not be made twice."""
    compiled = speed.compiled_json
    return parse_token_part if compiled is None or _read_quickly(compiled, data) is None else compiled.read


def parse_document(data: bytes, content_type: str = "") -> Any:
    """Return the value of a fetched document; an object that repeats a name becomes a `RepeatedMember`.

    Args:
        data: The body.
        content_type: Content-Type as sent; only HTML decides, since issuers name many types.

    Raises:
        NotStrictJSONError: By the rules of this file, or an HTML page.
    """
    if content_type.partition(";")[0].strip().lower() in {"text/html", "application/xhtml+xml"} or data.lstrip()[:1] == b"<":
        raise NotStrictJSONError("an HTML or XML page instead of JSON")
    if not data.strip():
        raise NotStrictJSONError("an empty body")
    return _parse(data, _scan_document)


def _parse(data: bytes, scan: Callable[[str, int], tuple[Any, int]]) -> Any:
    if _may_be_deep(data):
        _refuse_depth(data)
    refusal, value, text, end = "", None, "", 0
    try:
        text = data.decode()
        value, end = scan(text, 0) if text[:1] == "{" else scan(text, len(text) - len(text.lstrip(" \t\r\n")))
    except NotStrictJSONError:
        raise
    except UnicodeDecodeError:
        refusal = "bytes that are not UTF-8"
    except (ValueError, StopIteration, RecursionError):
        refusal = "text that is not JSON"
    if refusal:
        # Not while the other error is handled: those of the standard library keep the whole text that they failed on, and an error
        # that is raised meanwhile keeps them.
        raise NotStrictJSONError(refusal)
    if end != len(text) and text[end:].strip(" \t\r\n"):
        raise NotStrictJSONError("data after the JSON text")
    if _BACKSLASH in data:
        _refuse_lone_surrogates(value)
    return value


def _read_quickly(compiled: speed.CompiledJSON, data: bytes) -> dict[str, Any] | None:
    """Return the object that *data* holds, or None where that must be left to the strict parser (4).

    The proof: the text is, byte for byte, what a serializer writes for the value that was read. So no name occurs twice, no number was
    rounded and nothing was left out; compact JSON without escapes, as issuers send it, passes.
    """
    if _BACKSLASH in data or _may_be_deep(data):
        return None
    try:
        value = compiled.read(data)
        proven = type(value) is dict and compiled.write(value) == data
    except (ValueError, TypeError):
        return None
    return value if proven else None


def _may_be_deep(data: bytes) -> bool:
    # To look for a second bracket is quicker than to count them, and most tokens have no second object and one array at most.
    several = data.find(b"{", 1) > 0 or data.find(b"[") != data.rfind(b"[")
    return several and data.count(b"{") + data.count(b"[") > MAX_DEPTH


def _refuse_depth(data: bytes) -> None:
    """Refuse nesting over the limit; brackets inside strings do not count."""
    depth = 0
    for match in _STRUCTURE.finditer(data):
        symbol = match[0]
        if symbol in (b"{", b"["):
            depth += 1
            if depth > MAX_DEPTH:
                raise NotStrictJSONError(f"nesting deeper than {MAX_DEPTH} levels")
        elif symbol in (b"}", b"]"):
            depth -= 1


def _refuse_lone_surrogates(value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False, default=lambda _: None).encode()
    except UnicodeEncodeError:
        pass
    else:
        return
    raise NotStrictJSONError("half of a surrogate pair")


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise NotStrictJSONError("a member name that occurs twice")
    return members


def _marked_members(pairs: list[tuple[str, Any]]) -> dict[str, Any] | RepeatedMember:
    members = dict(pairs)
    return members if len(members) == len(pairs) else RepeatedMember()


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        _refuse_length(digits)
    return int(digits)


def _real(digits: str) -> float:
    if len(digits) > MAX_DIGITS:
        _refuse_length(digits)
    return float(digits)


def _refuse_length(digits: str) -> None:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise NotStrictJSONError(f"a number of more than {MAX_DIGITS} digits")


def _constant(name: str) -> float:
    raise NotStrictJSONError(f"{name}, which is not JSON")


def _scanner(members: Callable[[list[tuple[str, Any]]], Any]) -> Callable[[str, int], tuple[Any, int]]:
    decoder = json.JSONDecoder(object_pairs_hook=members, parse_int=_integer, parse_float=_real, parse_constant=_constant)
    scan: Callable[[str, int], tuple[Any, int]] = decoder.scan_once  # type: ignore[attr-defined]  # part of json.JSONDecoder, but not of its stubs
    return scan


_scan_token = _scanner(_unique_members)
_scan_document = _scanner(_marked_members)
