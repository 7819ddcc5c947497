"""How long an answer says that it stays fresh (RFC 9111, section 4.2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn._core.freshness import freshness

DATE = "Fri, 15 Jan 2027 08:00:00 GMT"
LATER = "Fri, 15 Jan 2027 09:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"cache-control": ""}, None),
        ({"cache-control": "public, must-revalidate"}, None),
        ({"cache-control": "max-age=300"}, 300.0),
        ({"cache-control": "public, max-age=300, stale-while-revalidate=60"}, 300.0),
        ({"cache-control": "PUBLIC,MAX-AGE=300"}, 300.0),
        ({"cache-control": " max-age = 300 "}, 300.0),
        ({"cache-control": 'max-age="300"'}, 300.0),
        ({"cache-control": "max-age=0"}, 0.0),
        ({"cache-control": "max-age=300, max-age=60"}, 60.0),
        ({"cache-control": "max-age=9999999999"}, 9_999_999_999.0),
        ({"cache-control": "max-age=300", "age": "100"}, 200.0),
        ({"cache-control": "max-age=300", "age": "300"}, 0.0),
        ({"cache-control": "max-age=300", "age": "9999"}, 0.0),
        ({"cache-control": "max-age=300", "age": "-5"}, 300.0),
        ({"cache-control": "max-age=300", "age": "text"}, 300.0),
        ({"cache-control": "max-age=300", "expires": "0"}, 300.0),
        ({"cache-control": "s-maxage=5"}, None),
        ({"cache-control": "no-store"}, 0.0),
        ({"cache-control": "no-cache"}, 0.0),
        ({"cache-control": "max-age=300, No-Store"}, 0.0),
        ({"cache-control": "no-cache, no-store, must-revalidate", "expires": "0"}, 0.0),
        ({"cache-control": 'private="no-store"'}, None),
        ({"expires": LATER, "date": DATE}, 3600.0),
        ({"expires": DATE, "date": LATER}, 0.0),
        ({"expires": DATE, "date": DATE}, 0.0),
        ({"expires": "0", "date": DATE}, 0.0),
        ({"expires": "-1", "date": DATE}, 0.0),
        ({"expires": LATER}, 0.0),
        ({"expires": LATER, "date": "yesterday"}, 0.0),
        ({"expires": "Fri, 15 Jan 2027 99:00:00 GMT", "date": DATE}, 0.0),
        ({"expires": "", "date": DATE}, 0.0),
    ],
)
def test_what_headers_say(headers: dict[str, str], expected: float | None) -> None:
    """`max-age` comes before `Expires`, two that differ mean the shorter, and what cannot be read is stale (RFC 9111, section 4.2.1)."""
    assert expected == freshness(headers)


@pytest.mark.parametrize("text", ["", "x", "-1", "+1", "1.5", "1e3", "0x10", "\u0663", "1 000", "'300'", "\u00b2"])
def test_an_unreadable_age_is_stale(text: str) -> None:
    """Only plain ASCII digits are seconds."""
    assert 0.0 == freshness({"cache-control": f"max-age={text}"})


@given(
    st.dictionaries(
        st.sampled_from(["cache-control", "age", "expires", "date"]),
        st.text(max_size=30)
        | st.lists(st.sampled_from(["max-age", "=", "300", ",", "no-store", " ", '"', DATE, LATER, "Jan", "00:00", "-0000", "+9999", "99"])).map(
            "".join
        ),
    )
)
def test_any_header_is_a_number_or_nothing(headers: dict[str, str]) -> None:
    """Whatever a server sends, seconds come out or nothing."""
    seconds = freshness(headers)
    assert seconds is None or 0.0 <= seconds < float("inf")
