"""A compact JWS read strictly, and its signature checked (RFC 7515, section 5.2; RFC 7519, section 7.2; RFC 8725).

Rules of this file:

1. Compact serialization only: three segments of base64url. Size is measured before anything is split or decoded.
2. One failed step refuses everything. The names say `unverified` until a key has verified the signature.
3. A key, or a place to fetch one from, in the header (`jwk`, `jku`, `x5u`, `x5c`) is never looked at (RFC 7515, section 10.3).
4. No extension is implemented, so any `crit`, `b64` or `zip` refuses (RFC 7515, section 4.1.11; RFC 7797, section 7).
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, NamedTuple, Protocol

from keyturn._core import base64url
from keyturn._core.jwk import MAX_KID
from keyturn._core.strict_json import NotStrictJSONError, parse_token_part
from keyturn.errors import DisallowedAlgorithmError, MalformedTokenError, TokenTypeError, quoted

_JWE_SEGMENTS = 5
_DOT = 0x2E
_REFUSED_PARAMETERS = {
    "crit": "names extensions that must be understood (crit), and none is implemented",
    "b64": "carries an unencoded payload (b64), which is not supported",
    "zip": "is compressed (zip), which a signed token must not be",
}
_STRING_PARAMETERS = ("kid", "typ", "cty", "x5t", "x5t#S256")


class UnverifiedToken(NamedTuple):
    """What a token says, before any key has vouched for it.

    Attributes:
        unverified_header: The JOSE header.
        unverified_claims: The payload.
        signature: The decoded signature.
        signing_input: Header and payload as they were signed.
        header_segment: The header as sent, under which it may be remembered once a key has verified the token.
        known: What was remembered of the header, or None.
    """

    unverified_header: Mapping[str, Any]
    unverified_claims: dict[str, Any]
    signature: bytes
    signing_input: bytes
    header_segment: bytes
    known: Any = None


_unverified = UnverifiedToken._make
"""Makes one at half the price of a call by names."""


class Known(Protocol):
    """A header that was read and judged before."""

    @property
    def header(self) -> Mapping[str, Any]:
        """As parsed."""


_NOTHING_KNOWN: Mapping[bytes, Known] = {}


def read_token(token: object, algorithms: Container[str], max_bytes: int, known: Mapping[bytes, Known] = _NOTHING_KNOWN) -> UnverifiedToken:
    """Read a compact token.

    Args:
        token: The text, without a scheme in front of it.
        algorithms: Allowed values of `alg`, compared exactly (RFC 7515, section 4.1.1).
        max_bytes: Length above which the token is refused.
        known: Headers that were read and judged before, by their text: an issuer sends the same few over and over.

    Raises:
        MalformedTokenError: By the rules of this file.
        DisallowedAlgorithmError: The header's `alg` is not allowed.
    """
    data = _ascii(token, max_bytes)
    signing_input, _, last = data.rpartition(b".")
    first, dot, middle = signing_input.partition(b".")
    if not dot or _DOT in middle:
        raise _wrong_form(data)
    before = known.get(first)
    if before is None:
        header: Mapping[str, Any] = _object(first, "header")
        check_header(header, algorithms)
    else:
        header = before.header
    claims = _object(middle, "payload")
    try:
        signature = base64url.decode_part(last)
    except ValueError as error:
        raise _not_base64url(last, "signature", error) from None
    if not signature:
        raise MalformedTokenError("the token has no signature")
    return _unverified((header, claims, signature, signing_input, first, before))


def check_header(header: Mapping[str, Any], algorithms: Container[str]) -> None:
    """Judge a JOSE header alone.

    Raises:
        MalformedTokenError: A parameter is missing, of the wrong type, or asks for something that is not implemented.
        DisallowedAlgorithmError: `alg` is not allowed.
    """
    algorithm = header.get("alg")
    if not isinstance(algorithm, str):
        raise MalformedTokenError(f'the header has no "alg" that is a string: {quoted(algorithm)}')
    if algorithm not in algorithms:
        raise DisallowedAlgorithmError(
            f"algorithm {quoted(algorithm)} is not allowed (setting: algorithms)",
            hint="Only asymmetric signature algorithms can be allowed; compare the setting with what the issuer signs with.",
        )
    for parameter, reason in _REFUSED_PARAMETERS.items():
        if parameter in header:
            raise MalformedTokenError(f"the token {reason}")
    for parameter in _STRING_PARAMETERS:
        if parameter in header and not isinstance(header[parameter], str):
            raise MalformedTokenError(f"the header parameter {parameter} is not a string: {quoted(header[parameter])}")
    if len(header.get("kid", "")) > MAX_KID:
        raise MalformedTokenError(f"the kid has {len(header['kid'])} characters; {MAX_KID} are allowed")
    if "cty" in header and media_type(header["cty"]) == "application/jwt":
        raise MalformedTokenError("the token holds another token (cty: JWT), which is not supported")


def check_media_type(header: Mapping[str, Any], allowed: Container[str | None], expected: str) -> None:
    """Judge the header's `typ`, which tells kinds of token apart (RFC 7515, section 4.1.9; RFC 8725, section 3.11).

    Args:
        header: The JOSE header.
        allowed: Full media types in lower case; None allows that there is none.
        expected: What is allowed, in words.

    Raises:
        TokenTypeError: Another type.
    """
    stated = header.get("typ")
    if (None if stated is None else media_type(stated)) not in allowed:
        raise TokenTypeError(
            f"typ is {quoted(stated)}, expected {expected} (setting: token_type)",
            claim="typ",
            expected=expected,
            actual=quoted(stated),
            hint="A token of another kind was sent: an ID token to an API, an access token to a login, or a logout token.",
        )


def media_type(typ: str) -> str:
    """Return `typ` or `cty` in full and lower case: without a slash it stands for `application/` and itself."""
    lowered = typ.lower()
    return lowered if "/" in lowered else f"application/{lowered}"


def _ascii(token: object, max_bytes: int) -> bytes:
    if not isinstance(token, str):
        raise MalformedTokenError(f"expected the token as str, got {type(token).__name__}")
    if len(token) > max_bytes:
        raise MalformedTokenError(f"the token has {len(token)} characters; {max_bytes} are allowed (setting: max_token_bytes)")
    # Asked before encoding: the error of a failed encoding would keep the whole token. The three marks belong to other kinds of base64,
    # which a quick decoder may take for ours; whatever else is wrong is found segment by segment.
    if not token.isascii() or "+" in token or "/" in token or "=" in token:
        raise MalformedTokenError("the token has characters outside base64url and dots", hint=_scheme_hint(token[:7].encode("ascii", "replace")))
    return token.encode("ascii")


def _wrong_form(data: bytes) -> MalformedTokenError:
    count = data.count(b".") + 1
    if count == _JWE_SEGMENTS:
        return MalformedTokenError("the token is encrypted (JWE, five segments); a signed one (JWS) has three")
    return MalformedTokenError(f"expected three segments divided by dots, got {count}", hint=_scheme_hint(data))


def _scheme_hint(text: bytes) -> str | None:
    return 'Hand over the token alone, without "Bearer" in front of it.' if text[:7].lower() == b"bearer " else None


def _object(segment: bytes, part: str) -> dict[str, Any]:
    try:
        value = parse_token_part(base64url.decode_part(segment))
    except NotStrictJSONError as error:
        raise MalformedTokenError(f"the {part} is {error}") from None
    except ValueError as error:
        raise _not_base64url(segment, part, error) from None
    if not isinstance(value, dict):
        raise MalformedTokenError(f"the {part} is not a JSON object")
    return value


def _not_base64url(segment: bytes, part: str, error: ValueError) -> MalformedTokenError:
    return MalformedTokenError(f"the {part} is not base64url: {error}", hint=_scheme_hint(segment))
