"""Tokens whose JSON two parsers could read differently: classes AT15 to AT17 and AT22; and odd tokens that are good."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.unit.attacks import Attack, Attacks
from tests.unit.material import good_parts, inserted, with_claims

from keyturn import MalformedTokenError
from keyturn.testing import FakeIssuer

_BOM = b"\xef\xbb\xbf"


def _raw(issuer: FakeIssuer, *, header: bytes | None = None, payload: bytes | None = None) -> str:
    good_header, good_payload = good_parts(issuer)
    return issuer.encode(good_header if header is None else header, good_payload if payload is None else payload)


def _both(issuer: FakeIssuer, label: str, change: Any) -> Iterator[Attack]:
    """Yield *change* made to the JSON text of the header, then of the payload."""
    header, payload = good_parts(issuer)
    yield Attack(f"{label}, header", _raw(issuer, header=change(header)), MalformedTokenError)
    yield Attack(f"{label}, payload", _raw(issuer, payload=change(payload)), MalformedTokenError)


def repeated_members(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT15: a member name twice, in whatever spelling and depth."""
    header, payload = good_parts(issuer)
    for name in ("alg", "kid", "typ"):
        for value in (json.dumps(json.loads(header)[name]), '"other"', "null"):
            for spelled in (f'"{name}"', '"' + "".join(f"\\u{ord(c):04x}" for c in name) + '"'):
                yield Attack(f"{spelled} {value}", _raw(issuer, header=inserted(header, f"{spelled}:{value}".encode())), MalformedTokenError)
    for name in ("iss", "sub", "aud", "exp", "iat"):
        for value in (json.dumps(json.loads(payload)[name]), '"other"', "[]"):
            for spelled in (f'"{name}"', f'"\\u{ord(name[0]):04x}{name[1:]}"'):
                yield Attack(f"{spelled} {value}", _raw(issuer, payload=inserted(payload, f"{spelled}:{value}".encode())), MalformedTokenError)
    for nested in (b'"a":{"b":1,"b":1}', b'"a":[{"b":1,"b":2}]', b'"a":{"":0,"":0}', b'"x":1,"x":1'):
        yield from _both(issuer, nested.decode(), lambda text, nested=nested: inserted(text, nested))


def encodings(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT16: text that is not UTF-8, or not without a byte order mark."""
    for name in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"):
        yield from _both(issuer, name, lambda text, name=name: text.decode().encode(name))
    yield from _both(issuer, "byte order mark", lambda text: _BOM + text)
    for odd in (b'"a":"\xe9"', b'"a":"\xc0\xaf"', b'"a":"\xed\xa0\x80"', b'"a":"\xff"', b'"a":"\xf4\x90\x80\x80"', b'"a":"\xe2\x82"'):
        yield from _both(issuer, repr(odd), lambda text, odd=odd: inserted(text, odd))
    for half in (b'"a":"\\ud800"', b'"a":"\\udc00"', b'"\\ud800":1', b'"a":["\\udfffx"]', b'"a":{"b":"\\ud83dx"}', b'"a":"\\ude00\\ud83d"'):
        yield from _both(issuer, half.decode(), lambda text, half=half: inserted(text, half))


def not_quite_json(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT17: what lenient parsers take for JSON, and JSON that is not an object."""
    for tail in (b"x", b"{}", b",", b"\0", b"\x0b", b"\xc2\xa0", b"//", b"]", b"}", b" null"):
        yield from _both(issuer, f"tail {tail!r}", lambda text, tail=tail: text + tail)
    for member in (
        b'"a":NaN',
        b'"a":Infinity',
        b'"a":-Infinity',
        b'"a":01',
        b'"a":+1',
        b'"a":1.',
        b'"a":.5',
        b'"a":0x1',
        b"'a':1",
        b"a:1",
        b'"a":"\x01"',
        b'"a":"\n"',
        b'"a":tru',
    ):
        yield from _both(issuer, member.decode(), lambda text, member=member: inserted(text, member))
    yield from _both(issuer, "comment", lambda text: text[:-1] + b"/* */}")
    yield from _both(issuer, "trailing comma", lambda text: text[:-1] + b",}")
    yield from _both(issuer, "not closed", lambda text: text[:-1])
    yield from _both(issuer, "single quotes", lambda text: text.replace(b'"', b"'"))
    for whole in (b"", b" ", b"[]", b'["a"]', b'"text"', b"1", b"null", b"true", b"[{}]", b"\0", b"{", b'{"a"}', b"<html>"):
        yield from _both(issuer, f"the text {whole!r}", lambda _, whole=whole: whole)


def deep_and_long(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT22: nesting beyond 16 and numbers beyond 30 digits."""
    for depth in (16, 17, 1_000, 5_000, 100_000):
        for opening, closing in ((b"[", b"]"), (b'{"a":', b"}"), (b"[", b""), (b'{"a":', b"")):
            nested = b'"a":' + opening * depth + b"1" + closing * depth
            yield Attack(f"{opening!r} {depth} deep", _raw(issuer, payload=inserted(good_parts(issuer)[1], nested)), MalformedTokenError)
    yield Attack("header 17 deep", _raw(issuer, header=inserted(good_parts(issuer)[0], b'"a":' + b"[" * 16 + b"]" * 16)), MalformedTokenError)
    for digits in (31, 310, 4_301, 9_000, 100_000):
        for number in (b"1" * digits, b"-" + b"1" * digits, b"1." + b"0" * digits, b"1e" + b"0" * digits, b"0." + b"1" * digits):
            yield Attack(
                f"{digits} digits, {number[:3]!r}", _raw(issuer, payload=inserted(good_parts(issuer)[1], b'"a":' + number)), MalformedTokenError
            )


def odd_but_good(issuer: FakeIssuer) -> Iterator[Attack]:
    """What looks like an attack and is a good token, so that nobody refuses it by mistake."""
    header, payload = good_parts(issuer)
    for label, token in (
        ("blanks around", _raw(issuer, header=b" \t\r\n" + header + b"\n ", payload=b"\n" + payload + b" ")),
        ("unknown members", with_claims(issuer, unknown={"a": [None, 1.5, True, "\u00e9", "\U0001f511"]})),
        ("a surrogate pair in escapes", _raw(issuer, payload=inserted(payload, b'"a":"\\ud83d\\udd11"'))),
        ("depth 16", _raw(issuer, payload=inserted(payload, b'"a":' + b"[" * 15 + b"]" * 15))),
        ("brackets in a string", with_claims(issuer, a="[" * 5_000)),
        ("30 digits", _raw(issuer, payload=inserted(payload, b'"a":-' + b"1" * 30))),
        ("padded exactly to the limit", _of_length(issuer, 16_384)),
    ):
        yield Attack(label, token, None, cheap=False)


def _of_length(issuer: FakeIssuer, length: int) -> str:
    """Return a good token of exactly *length* characters; some lengths need a longer header, since no segment has 4n+1."""
    for more in range(1, 4):
        for fill in range(length * 3 // 4 - 500, length * 3 // 4):
            token = issuer.token(headers={"pad": "x" * more}, pad="x" * fill)
            if len(token) >= length:
                break
        if len(token) == length:
            return token
    raise ValueError(f"no token of {length} characters can be made by padding")


JSON: dict[str, Attacks] = {
    "AT15": repeated_members,
    "AT16": encodings,
    "AT17": not_quite_json,
    "AT22": deep_and_long,
    "good": odd_but_good,
}
"""The classes of this file by name."""
