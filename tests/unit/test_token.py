"""Reading a compact token strictly (RFC 7515, section 5.2). Hostile tokens in numbers stand in test_attack_classes.py."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import HEADERS

from keyturn import DEFAULT_ALGORITHMS, DisallowedAlgorithmError, MalformedTokenError, TokenTypeError
from keyturn._core.jwk import MAX_KID
from keyturn._core.token import check_header, check_media_type, media_type, read_token
from keyturn.testing import FakeClock, FakeIssuer

ISSUER = FakeIssuer(clock=FakeClock())
LIMIT = 16_384


def read(token: object, **settings: Any) -> Any:
    """Read *token* as a validator does by default."""
    return read_token(token, **{"algorithms": frozenset(DEFAULT_ALGORITHMS), "max_bytes": LIMIT, **settings})


def test_the_parts_of_a_good_token() -> None:
    """Header, claims and signature are what was signed, and the signing input is the text before the second dot (RFC 7515, section 5.2)."""
    token = ISSUER.token(subject="alice")
    unverified = read(token)
    assert {"alg": "ES256", "typ": "JWT", "kid": "k1"} == unverified.unverified_header
    assert "alice" == unverified.unverified_claims["sub"]
    assert 64 == len(unverified.signature)
    assert token.rpartition(".")[0].encode() == unverified.signing_input


@pytest.mark.parametrize("limit", [1, 100])
def test_length_is_measured_first(limit: int) -> None:
    """A text over the limit is refused for that, whatever else is wrong with it (C4)."""
    for token in ("." * (limit + 1), "\u20ac" * (limit + 1), "x" * (limit + 1)):
        with pytest.raises(MalformedTokenError, match=f"{limit} are allowed .setting: max_token_bytes."):
            read(token, max_bytes=limit)
    with pytest.raises(MalformedTokenError, match="three segments"):
        read("x" * limit, max_bytes=limit)


@pytest.mark.parametrize(("dots", "count"), [(0, "1"), (1, "2"), (3, "4"), (5, "6"), (10_000, "10001")])
def test_segments_are_counted(dots: int, count: str) -> None:
    """The message says what came, and nothing is split to tell (C3)."""
    with pytest.raises(MalformedTokenError, match=f"divided by dots, got {count}$"):
        read("." * dots)


def test_five_segments_are_named() -> None:
    """An encrypted token has a message of its own (C3)."""
    with pytest.raises(MalformedTokenError, match="encrypted .JWE"):
        read("a.b.c.d.e")


@pytest.mark.parametrize("token", ["Bearer x", "bearer a.b.c", "Bearer " + ISSUER.token()])
def test_a_scheme_in_front_is_named(token: str) -> None:
    """Whoever hands over the whole header field is told so."""
    with pytest.raises(MalformedTokenError) as caught:
        read(token)
    assert 'without "Bearer"' in caught.value.hint


@pytest.mark.parametrize("token", ["x", "DPoP a.b.c", "Bearerx", "a.b"])
def test_other_texts_have_no_such_hint(token: str) -> None:
    """A hint that does not fit would lead astray."""
    with pytest.raises(MalformedTokenError) as caught:
        read(token)
    assert "" == caught.value.hint


@pytest.mark.parametrize("part", [0, 1, 2])
def test_the_message_names_the_part(part: int) -> None:
    """Whoever looks for the fault knows in which segment it stands."""
    segments = ISSUER.token().split(".")
    segments[part] += "*"
    with pytest.raises(MalformedTokenError, match=f"the {('header', 'payload', 'signature')[part]} is not base64url"):
        read(".".join(segments))


@pytest.mark.parametrize("whole", [b"[]", b'"x"', b"1", b"null"])
def test_header_and_payload_are_objects(whole: bytes) -> None:
    """Any other JSON is no JOSE header and no claims set (RFC 7519, section 7.2)."""
    with pytest.raises(MalformedTokenError, match="the header is not a JSON object"):
        read(ISSUER.encode(whole, b"{}"))
    with pytest.raises(MalformedTokenError, match="the payload is not a JSON object"):
        read(ISSUER.encode({"alg": "ES256"}, whole))


def test_algorithms_are_compared_exactly() -> None:
    """The allow-list is what the caller said, case included (RFC 7515, section 4.1.1)."""
    assert read(ISSUER.token(), algorithms=["ES256"]).signature
    for allowed in ([], ["es256"], ["RS256", "ES384"]):
        with pytest.raises(DisallowedAlgorithmError, match="setting: algorithms"):
            read(ISSUER.token(), algorithms=allowed)


def test_the_longest_kid() -> None:
    """A kid of 256 characters is read, of 257 refused (B20)."""
    check_header({"alg": "ES256", "kid": "k" * MAX_KID}, ["ES256"])
    with pytest.raises(MalformedTokenError, match="257 characters; 256 are allowed"):
        check_header({"alg": "ES256", "kid": "k" * (MAX_KID + 1)}, ["ES256"])


@given(HEADERS)
def test_a_header_is_accepted_or_one_error_comes_out(header: dict[str, Any]) -> None:
    """Whatever JSON can say, a header passes only with an allowed algorithm, texts where texts belong, and nothing to be understood."""
    try:
        check_header(header, frozenset(DEFAULT_ALGORITHMS))
    except (MalformedTokenError, DisallowedAlgorithmError):
        return
    assert header["alg"] in DEFAULT_ALGORITHMS
    assert not {"crit", "b64", "zip"} & set(header)
    assert all(isinstance(header.get(name, ""), str) for name in ("kid", "typ", "cty", "x5t", "x5t#S256"))


@given(st.text(max_size=20))
def test_a_media_type_is_whole_and_in_lower_case(typ: str) -> None:
    """Without a slash it stands for `application/` and itself (RFC 7515, section 4.1.9)."""
    assert "/" in media_type(typ)
    assert media_type(typ) == media_type(media_type(typ))


@pytest.mark.parametrize(("typ", "fits"), [("JWT", True), ("application/jwt", True), (None, False), ("at+jwt", False), ("", False)])
def test_a_media_type_is_one_of_the_allowed(typ: str | None, *, fits: bool) -> None:
    """None has to be allowed by name, like any other."""
    header = {} if typ is None else {"typ": typ}
    if fits:
        check_media_type(header, {"application/jwt"}, "a JWT")
        return
    with pytest.raises(TokenTypeError, match="expected a JWT .setting: token_type.") as caught:
        check_media_type(header, {"application/jwt"}, "a JWT")
    assert "typ" == caught.value.claim
    check_media_type({}, {None}, "none")


@given(st.binary(max_size=60) | st.text(max_size=60) | st.lists(st.sampled_from(ISSUER.token().split(".")), max_size=6).map(".".join))
def test_any_text_and_any_bytes(token: object) -> None:
    """Whatever is handed over, one of two errors comes out, or the good token."""
    try:
        assert "ES256" == read(token).unverified_header["alg"]
    except (MalformedTokenError, DisallowedAlgorithmError):
        return


@pytest.mark.parametrize(
    ("token", "message", "hint"),
    [
        (7, "expected the token as str, got int", ""),
        ("e30.e30.", "the token has no signature", ""),
        ("e30.e30.a+b", "the token has characters outside base64url and dots", ""),
        ("Bearer e30.e30.é", "the token has characters outside base64url and dots", 'Hand over the token alone, without "Bearer" in front of it.'),
        ("Bearer-e30.e30.é", "the token has characters outside base64url and dots", ""),
        ("e30.e30.a", "the signature is not base64url: impossible length", ""),
        ("e30.e.YQ", "the payload is not base64url: impossible length", ""),
    ],
)
def test_what_is_told_of_a_text_that_is_no_token(token: object, message: str, hint: str) -> None:
    """Each says what is wrong, word for word, and a scheme in front of the token is named (U23)."""
    with pytest.raises(MalformedTokenError) as caught:
        read_token(token, algorithms={"ES256"}, max_bytes=100, known={b"e30": Remembered()})
    assert (message, hint) == (caught.value.message, caught.value.hint)


class Remembered:
    """A header that was judged before, so that what follows it is reached."""

    header: ClassVar[dict[str, str]] = {"alg": "ES256"}
