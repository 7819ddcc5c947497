"""With and without the extra `keyturn[speed]` every verdict is the same: the extra reads bytes, and decides nothing.

1. The whole catalogue of hostile tokens meets the same error, with the same text, and what is accepted has the same claims.
2. Whatever the quick reader returns, the strict one returns too, member by member and type by type; what it does not vouch for is
   read by the strict one.
3. A proof that never says yes would be safe and useless, so the tokens of every day must be read quickly.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.attacks import Attack
from tests.unit.test_attack_classes import ALL, cases, fixed, verdict

from keyturn._core import base64url, speed, strict_json
from keyturn._core.speed import CompiledJSON
from keyturn._core.strict_json import MAX_DEPTH, NotStrictJSONError, parse_token_part, reader_of
from keyturn.testing import FakeIssuer

ORJSON = pytest.importorskip("orjson", reason="the extra keyturn[speed] is not installed (orjson)")
pytest.importorskip("pybase64", reason="the extra keyturn[speed] is not installed (pybase64)")
EXTRA_BASE64 = speed.decode_base64
COMPILED = CompiledJSON(ORJSON.loads, ORJSON.dumps)


def exactly(value: Any) -> str:
    """Return a text that is equal for values that are equal in value, type and order."""
    return repr(value)


def strictly(data: bytes) -> Any:
    """Return what the strict parser reads, or its refusal."""
    try:
        return strict_json._parse(data, strict_json._scan_token)
    except NotStrictJSONError as error:
        return str(error)


def quickly(data: bytes) -> Any:
    """Return what the token's reader reads, or its refusal."""
    try:
        return parse_token_part(data)
    except NotStrictJSONError as error:
        return str(error)


def outcome(issuer: FakeIssuer, attack: Attack) -> tuple[str, ...]:
    """Return all that a caller sees of a verdict."""
    validator = fixed(issuer, **attack.settings)
    error = verdict(validator, attack)
    if error is None:
        validated = validator.validate(attack.token)
        return ("accepted", exactly(dict(validated.claims)), exactly(dict(validated.header)))
    return (type(error).__name__, str(error), error.hint or "")


@pytest.mark.parametrize("name", ALL)
def test_the_catalogue_meets_the_same_verdict(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every hostile token, and every odd good one, ends alike with the extra, without it, and with the strict parser alone."""
    issuer, attacks = cases(name)
    seen: dict[str, list[tuple[str, ...]]] = {}
    for form, read, decode in (("extra", COMPILED, EXTRA_BASE64), ("standard", None, speed.standard_base64)):
        monkeypatch.setattr(speed, "decode_base64", decode)
        monkeypatch.setattr(speed, "compiled_json", read)
        seen[form] = [outcome(issuer, attack) for attack in attacks]
    assert seen["standard"] == seen["extra"]


def test_this_machine_uses_the_extra() -> None:
    """Where the extra is installed it is used."""
    assert speed.compiled_json == CompiledJSON(ORJSON.loads, ORJSON.dumps)
    assert speed.decode_base64 is not speed.standard_base64


NUMBERS = ["1", "-0", "0", "9223372036854775807", "18446744073709551615", "18446744073709551616", "-9223372036854775809", "1" * 30, "1" * 31]
NUMBERS += ["1.0", "1e2", "1E400", "-1e-400", "1.5", "NaN", "Infinity", "-Infinity", "01", "1.", ".5", "+1", "0x1", "1_0"]
TEXTS = ['""', '"a"', '"\\u0061"', '"\\ud800"', '"\\ud83d\\udd11"', '"\\""', '":"', '"{"', '"\u00e9"', '"\U0001f511"', '"\x7f"', '"\x01"', '"a\nb"']
BLANKS = ["", " ", "\t", "\n", "\r\n", "\x0b", "\u00a0", "\ufeff"]
ODD_OBJECTS = [
    "{}",
    '{"a":1,"a":1}',
    '{"a" :1,"a":1}',
    '{"a":1,"a" :1}',
    '{"a"\n:1,"a"\t:2}',
    '{"a":{"b":1,"b":2}}',
    '{"a":[{"b":1},{"b":1,"b":2}]}',
    '{"a":{"b":1},"a":{"b":1}}',
    '{"a":"x","a":"y"}',
    '{"a":["x"],"a":[]}',
    '{"a":[],"a":["x","y"]}',
    '{"a":1,"\\u0061":2}',
    '{"":1,"":2}',
    '{"a":1,"b":"a"}',
    '{"a":1,}',
    '{"a" 1}',
    "{a:1}",
    "{'a':1}",
    '{"a":1}{"b":1}',
    '{"a":1} x',
    '[{"a":1}]',
    '"a"',
    "null",
    "{" * 3,
    '{"a":' * MAX_DEPTH + "1" + "}" * MAX_DEPTH,
    '{"a":' * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1),
    '{"a":' + "[" * MAX_DEPTH + "]" * MAX_DEPTH + "}",
    '{"a":[' + ",".join(["[]"] * 30) + "]}",
]
PLACED = [f'{{"a":{value},"b":[{value}],"c":{{"d":{value}}}}}' for value in NUMBERS + TEXTS]
SURROUNDED = [f'{blank}{{"a"{blank}:{blank}1}}{blank}' for blank in BLANKS]


@pytest.mark.parametrize("text", [*ODD_OBJECTS, *PLACED, *SURROUNDED], ids=range(len(ODD_OBJECTS) + len(PLACED) + len(SURROUNDED)))
def test_odd_texts_are_read_alike(text: str) -> None:
    """Numbers, blanks, escapes, repeated names and depth end as the strict parser ends them."""
    data = text.encode("utf-8", "surrogatepass")
    assert exactly(strictly(data)) == exactly(quickly(data))


def test_bytes_that_are_no_text_are_refused_alike() -> None:
    """UTF-8 that is overlong, cut, or spells a surrogate, and other encodings, are refused by both."""
    for text in (b'{"a":"\xc0\xaf"}', b'{"a":"\xe2\x82"}', b'{"a":"\xed\xa0\x80"}', b'{"a":"\xff"}', '{"a":1}'.encode("utf-16"), b""):
        assert isinstance(strictly(text), str)
        assert strictly(text) == quickly(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**24), 10**24) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def written(draw: st.DrawFn) -> bytes:
    """Return an object as some issuer might write it: with blanks or without, escaped or not, a name repeated here and there."""
    members = draw(st.lists(st.tuples(st.sampled_from(["a", "b", "c", "\u00e9", 'q"', ""]), json_values), max_size=5))
    ascii_only, blank = draw(st.booleans()), draw(st.sampled_from(["", " ", "\n", "\t "]))
    texts = [
        f"{blank}{json.dumps(name, ensure_ascii=ascii_only)}{blank}:{blank}{json.dumps(value, ensure_ascii=ascii_only)}" for name, value in members
    ]
    return ("{" + f"{blank},".join(texts) + "}").encode("utf-8", "surrogatepass")


@given(written())
def test_whatever_is_written_is_read_alike(data: bytes) -> None:
    """No text is found that the two parsers read differently."""
    assert exactly(strictly(data)) == exactly(quickly(data))


@given(st.binary(max_size=40))
def test_any_bytes_are_decoded_alike(data: bytes) -> None:
    """Base64url has one meaning, whoever decodes it: the other alphabet and padding are refused by both."""
    good = base64url.encode(data).encode()
    texts = [data, good, good + b"=", good + b"==", good.replace(b"-", b"+"), good.replace(b"_", b"/"), b"+" + good[1:], good[:1] + b"\n" + good[1:]]
    for text in texts:
        results = []
        for decode in (speed.standard_base64, EXTRA_BASE64):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(speed, "decode_base64", decode)
                results.append(_decoded(text))
        assert results[0] == results[1]


def _decoded(text: bytes) -> object:
    try:
        return base64url.decode(text)
    except ValueError as error:
        return str(error)


EVERYDAY = [
    b'{"iss":"https://a.test","aud":["x","y"],"exp":1,"scope":"a b","email_verified":true,"act":{"sub":"z"},"n":null}',
    b'{"iss":"https://a.test/","aud":"x","exp":1800000000,"realm_access":{"roles":["a","b"]},"amount":1.5}',
    '{"name":"Zoë Müller","sub":"é"}'.encode(),
    b"{}",
]


@pytest.mark.parametrize("data", EVERYDAY)
def test_tokens_of_every_day_are_read_quickly(data: bytes) -> None:
    """The proof holds for what issuers write: nested objects, lists, fractions, text beyond ASCII."""
    assert strict_json._read_quickly(COMPILED, data) == json.loads(data)
    assert reader_of(data) is ORJSON.loads


@pytest.mark.parametrize("data", [b'{"a":"\\/"}', b'{"a": 1}', b'{"a":1.50}', b'{"a":-0}', b'{"a":1e2,"a":1}', b'{"a":1,"a":2}', b"[1]", b' {"a"'])
def test_what_cannot_be_proven_is_left_to_the_strict_parser(data: bytes) -> None:
    """Escapes, blanks, numbers in another spelling, repeated names and whatever is no object take the slower way."""
    assert strict_json._read_quickly(COMPILED, data) is None
    assert reader_of(data) is parse_token_part


def test_without_the_extra_the_standard_library_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the extra is not installed, nothing is missing."""
    for name in ("orjson", "pybase64"):
        monkeypatch.setitem(sys.modules, name, None)
    spec = importlib.util.spec_from_file_location("speed_without_the_extra", speed.__file__)
    assert spec is not None
    assert spec.loader is not None
    alone = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(alone)
    assert alone.compiled_json is None
    assert alone.decode_base64 is alone.standard_base64
    assert b"a" == alone.decode_base64(b"YQ==", b"-_", True)
