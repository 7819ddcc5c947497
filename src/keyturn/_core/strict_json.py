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

MAX_DIGITS = 30
"""Longest number in characters, sign apart: an instant has 10, and no claim counts further than 128 bits hold."""

_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)


class NotStrictJSONError(ValueError):
    """The text is not JSON as this file wants it; the message says why and holds none of it."""


class _DoubtError(ValueError):
    """What a quick parser may read differently: a float, since one makes them of integers beyond 64 bits, or what is nested too deep.

    The class is raised, and so made anew each time: one error for all would keep the frames, and with them the texts, of every time.
    """


class RepeatedMember:
    """Stands in a document for an object that names a member twice."""


def parse_token_part(data: bytes) -> Any:
    """Return the value of a decoded header or payload; a repeated member name refuses it at any depth.

    Raises:
        NotStrictJSONError: By the rules of this file.
    """
    value = _read_quickly(data)
    return _parse(data, _scan_token) if value is None else value


def reader_of(data: bytes) -> Callable[[bytes], Any]:
    """Return the quickest way to read once more what `parse_token_part()` has read: the proof (4) need not be made twice."""
    return parse_token_part if speed.read_json is None or _read_quickly(data) is None else speed.read_json


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
    if data.count(b"{") + data.count(b"[") > MAX_DEPTH:
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
    if b"\\" in data:
        _refuse_lone_surrogates(value)
    return value


def _read_quickly(data: bytes) -> dict[str, Any] | None:
    """Return the object that *data* holds, or None where that must be left to the strict parser (4).

    The proof: without a backslash quotation marks stand around strings and nowhere else, and a string is a value or the name of a
    member. So a name that occurs twice leaves more strings in the text than there are in what was read.
    """
    if speed.read_json is None or b"\\" in data:
        return None
    try:
        value = speed.read_json(data)
        proven = type(value) is dict and data.count(b'"') == 2 * _strings_in(value, 1)
    except ValueError:
        return None
    return value if proven else None


def _strings_in(value: dict[str, Any], depth: int) -> int:
    """Count the strings of what was read, names of members among them; *depth* is its own."""
    if depth > MAX_DEPTH:
        raise _DoubtError
    strings = len(value)
    for item in value.values():
        kind = type(item)
        if kind is str:
            strings += 1
        elif kind is list:
            strings += _strings_of(item, depth + 1)
        elif kind is dict:
            strings += _strings_in(item, depth + 1)
        elif kind is float:
            raise _DoubtError
    return strings


def _strings_of(items: list[Any], depth: int) -> int:
    """Count the strings of an array: they are nearly always all that it holds, and then counted in C."""
    if depth > MAX_DEPTH:
        raise _DoubtError
    kinds = list(map(type, items))
    strings = kinds.count(str)
    if strings == len(kinds):
        return strings
    if float in kinds:
        raise _DoubtError
    for item in items:
        if isinstance(item, (dict, list)):
            strings += _strings_in(item, depth + 1) if isinstance(item, dict) else _strings_of(item, depth + 1)
    return strings


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
