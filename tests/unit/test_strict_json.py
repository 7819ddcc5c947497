"""JSON that no second parser could read differently."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn._core.strict_json import MAX_DEPTH, MAX_DIGITS, NotStrictJSONError, RepeatedMember, parse_document, parse_token_part

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**29), 10**29) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
).filter(lambda value: _depth(value) <= MAX_DEPTH)
HOSTILE = st.binary(max_size=40) | st.text(alphabet='{}[]",:\\u0d8e19-+.eNaInfityrulsT \n', max_size=60).map(str.encode)


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max((_depth(each) for each in inner), default=0)


@pytest.mark.parametrize("parse", [parse_token_part, parse_document])
@given(value=VALUES)
def test_what_json_prints_is_read(parse, value: Any) -> None:
    """Parse, print, parse is stable, with escapes and without (RFC 8259)."""
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        assert value == parse(text.encode())
        assert value == parse(json.dumps(parse(text.encode())).encode())


@given(HOSTILE)
def test_whatever_is_accepted_the_standard_library_reads_the_same(data: bytes) -> None:
    """The strict reader accepts a part of what the lenient one accepts, gives the same value, and raises nothing else."""
    try:
        value = parse_token_part(data)
    except NotStrictJSONError:
        return
    assert json.loads(data.decode()) == value


@given(HOSTILE)
def test_a_document_raises_nothing_else(data: bytes) -> None:
    """Whatever an issuer sends, one error comes out, and it holds nothing of the text."""
    message = ""
    try:
        parse_document(data)
    except NotStrictJSONError as error:
        message = str(error)
    assert len(data) < 12 or data.decode("latin-1") not in message


@pytest.mark.parametrize("text", [b'{"a":1,"a":1}', b'{"a":1,"\\u0061":2}', b'{"b":{"a":1,"a":2}}', b'[{"":0,"":0}]', b'{"a":1,"b":2,"a":3}'])
def test_a_repeated_member_refuses_a_token(text: bytes) -> None:
    """At any depth, in any spelling (2)."""
    with pytest.raises(NotStrictJSONError, match="occurs twice"):
        parse_token_part(text)


def test_a_repeated_member_spoils_its_own_object_alone() -> None:
    """In a document the objects beside it are read as ever (2)."""
    read = parse_document(b'{"keys":[{"a":1},{"a":1,"a":2},{"b":{"c":1,"c":1}}]}')
    assert {"a": 1} == read["keys"][0]
    assert isinstance(read["keys"][1], RepeatedMember)
    assert isinstance(read["keys"][2]["b"], RepeatedMember)
    assert isinstance(parse_document(b'{"a":1,"a":2}'), RepeatedMember)


def test_a_lone_surrogate_beside_a_repeated_member_refuses() -> None:
    """The check of surrogates walks past the stand-in of a spoiled object."""
    assert isinstance(parse_document(b'[{"a":"\\u0041","a":2}]')[0], RepeatedMember)
    with pytest.raises(NotStrictJSONError, match="surrogate"):
        parse_document(b'[{"a":1,"a":2},"\\ud800"]')


@pytest.mark.parametrize("depth", [1, MAX_DEPTH - 1, MAX_DEPTH])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_the_deepest_nesting_is_read(depth: int, opening: str, closing: str) -> None:
    """Sixteen levels are read (3)."""
    assert depth == _depth(parse_token_part((opening * depth + ("1" if "{" in opening else "") + closing * depth).encode()))


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 1_000, 1_000_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ("[", ""), ('[{"a":', ""), (' [ "\\"]" , ', "")])
def test_deeper_nesting_refuses_before_anything_is_parsed(depth: int, opening: str, closing: str) -> None:
    """The seventeenth level refuses, even in a text that never ends (3)."""
    for parse in (parse_token_part, parse_document):
        with pytest.raises(NotStrictJSONError, match="nesting deeper than 16"):
            parse((opening * depth + closing * depth).encode())


@pytest.mark.parametrize(
    "text",
    [
        '"' + "[" * 5_000 + '"',
        '"' + '\\"[' * 5_000 + '"',
        '["' + "{" * 100 + '\\\\",[]]',
        "[" + ",".join(["[]"] * 500) + "]",
        '[{"]":"["},' + '"[[",' * 50 + "1]",
    ],
)
def test_brackets_in_strings_and_side_by_side_do_not_nest(text: str) -> None:
    """Depth is measured outside strings (3)."""
    assert json.loads(text) == parse_token_part(text.encode())


@pytest.mark.parametrize("before", ["[],", "{},", "[[]],", '[{"a":[]}],'])
def test_what_was_closed_counts_no_more(before: str) -> None:
    """Depth is measured from what is open: siblings make a text neither deeper nor less deep."""
    for inner in (MAX_DEPTH - 1, MAX_DEPTH):
        nested = "[" * inner + "]" * inner
        data = f"[{before * 20}{nested}]".encode()
        if inner < MAX_DEPTH:
            assert json.loads(data) == parse_token_part(data)
        else:
            with pytest.raises(NotStrictJSONError, match="nesting"):
                parse_token_part(data)


@pytest.mark.parametrize("text", ["[" * 20 + '"', '"' + "[" * 30, "]" * 30 + "[" * 17, "[" * 15 + '"\\' + "[" * 20, "}{" * 20])
def test_broken_structure_refuses(text: str) -> None:
    """A text whose brackets make no sense refuses, whatever its depth is taken for."""
    with pytest.raises(NotStrictJSONError):
        parse_token_part(text.encode())


@pytest.mark.parametrize("text", ["1" * MAX_DIGITS, "-" + "1" * MAX_DIGITS, "0." + "1" * (MAX_DIGITS - 2), "-1e" + "0" * (MAX_DIGITS - 2)])
def test_the_longest_number_is_read(text: str) -> None:
    """Thirty characters, the sign apart (3)."""
    assert json.loads(text) == parse_token_part(text.encode())
    assert json.loads(text) == parse_document(text.encode())


@pytest.mark.parametrize("text", ["1" * 31, "-" + "1" * 31, "0." + "1" * 29, "1e" + "0" * 29, "1" * 200_000, "-1." + "0" * 200_000])
def test_a_longer_number_refuses(text: str) -> None:
    """It refuses before it becomes a number (3)."""
    for parse in (parse_token_part, parse_document):
        with pytest.raises(NotStrictJSONError, match="more than 30 digits"):
            parse(f"[{text}]".encode())


@pytest.mark.parametrize("name", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_refuses(name: str) -> None:
    """These three are no JSON (3)."""
    with pytest.raises(NotStrictJSONError, match=f"{name}, which is not JSON"):
        parse_token_part(f"[{name}]".encode())


@pytest.mark.parametrize(
    "text",
    [b"\xef\xbb\xbf{}", "{}".encode("utf-16"), "{}".encode("utf-32"), b'"\xe9"', b'"\xed\xa0\x80"', b'"\xc0\x80"', b"\xff", b'"\xf4\x90\x80\x80"'],
)
def test_other_encodings_refuse(text: bytes) -> None:
    """UTF-8 without a byte order mark, and nothing else (1)."""
    for parse in (parse_token_part, parse_document):
        with pytest.raises(NotStrictJSONError):
            parse(text)


@pytest.mark.parametrize("text", ['"\\ud800"', '"\\udfff"', '{"\\ud800":1}', '["x\\ude00\\ud83d"]', '{"a":{"b":["\\ud800x"]}}'])
def test_half_a_surrogate_pair_refuses(text: str) -> None:
    """It has no UTF-8, so two parsers would differ (3)."""
    with pytest.raises(NotStrictJSONError, match="surrogate"):
        parse_token_part(text.encode())


def test_a_whole_surrogate_pair_is_one_character() -> None:
    """An escaped pair is what it spells."""
    assert "\U0001f511" == parse_token_part(b'"\\ud83d\\udd11"')


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"\n\t\r ",
        b"{",
        b'{"a"}',
        b"{a:1}",
        b"[1,]",
        b'{"a":1,}',
        b"'a'",
        b"tru",
        b'"\n"',
        b'"\\x"',
        b"01",
        b"+1",
        b".5",
        b"1.",
        b"/**/1",
        b"\0",
        b"-",
        b'"',
    ],
)
def test_what_is_not_json_refuses(text: bytes) -> None:
    """No leniency (RFC 8259)."""
    for parse in (parse_token_part, parse_document):
        with pytest.raises(NotStrictJSONError):
            parse(text)


@pytest.mark.parametrize("tail", [b"x", b"{}", b",", b"\0", b"\x0c", b"\xc2\xa0", b"\xe2\x80\xa8", b"1"])
def test_data_after_the_text_refuses(tail: bytes) -> None:
    """One value, and nothing after it but blanks (1)."""
    with pytest.raises(NotStrictJSONError, match="data after the JSON text"):
        parse_token_part(b"[1]" + tail)


@pytest.mark.parametrize("blank", [b" ", b"\t", b"\r\n", b" \n\t\r "])
def test_blanks_around_are_none_of_the_value(blank: bytes) -> None:
    """The four blanks of JSON may stand around the value (RFC 8259, section 2)."""
    assert [1] == parse_token_part(blank + b"[1]" + blank) == parse_document(blank + b"[1]" + blank)


@pytest.mark.parametrize("content_type", ["text/html", "TEXT/HTML; charset=utf-8", " text/html ;x", "application/xhtml+xml"])
def test_a_page_is_told_by_its_type(content_type: str) -> None:
    """An HTML page is no document, even if its text were JSON."""
    with pytest.raises(NotStrictJSONError, match="HTML or XML page"):
        parse_document(b"{}", content_type)


@pytest.mark.parametrize("text", [b"<html>", b"\n  <!doctype html>", b"<?xml version='1.0'?><a/>"])
def test_a_page_is_told_by_its_first_character(text: bytes) -> None:
    """A page of a proxy often comes under a type of its own."""
    with pytest.raises(NotStrictJSONError, match="HTML or XML page"):
        parse_document(text, "application/json")


@pytest.mark.parametrize(
    "content_type", ["", "application/json", "application/jwk-set+json; charset=utf-8", "text/plain", "application/octet-stream", "htmlish"]
)
def test_other_types_decide_nothing(content_type: str) -> None:
    """Issuers name many types for one and the same thing."""
    assert {} == parse_document(b"{}", content_type)


def test_an_empty_body_is_named() -> None:
    """An empty answer is a fault of its own kind."""
    with pytest.raises(NotStrictJSONError, match="an empty body"):
        parse_document(b" \n")


def test_an_infinite_real_is_left_to_the_claims() -> None:
    """1e400 is JSON, so it is read; what it means is judged where it is used."""
    assert float("inf") == parse_token_part(b"1e400")
    assert "\x7f" == parse_token_part(b'"\\u007f"')
    assert [float("inf"), "A"] == parse_token_part(b'[1e400,"\\u0041"]')
