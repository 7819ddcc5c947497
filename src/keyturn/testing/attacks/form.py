"""Bad tokens whose form is wrong: encodings, JSON, segments and header parameters."""

from __future__ import annotations

import json
import zlib
from typing import Final

from keyturn.errors import DisallowedAlgorithmError, MalformedTokenError
from keyturn.testing.attacks.bad_token import Case, Material, case, choice
from keyturn.testing.keys import base64url

_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_TOO_LONG: Final = 16_384


def _insert(text: bytes, member: bytes) -> bytes:
    """Return a JSON object with a member written before its end."""
    return text[:-1] + b"," + member + b"}"


def _payload(good: Material, member: bytes) -> str:
    return good.encode(payload=_insert(good.claims_text, member))


def _flattened(good: Material) -> str:
    header, payload, signature = good.segments
    return json.dumps({"protected": header, "payload": payload, "signature": signature})


def _deflated(good: Material) -> str:
    return good.encode(header={**good.header, "zip": "DEF"}, payload=zlib.compress(good.claims_text, 9)[2:-4])


def _second_spelling(good: Material) -> str:
    """Return a good token whose claims end in bits that no octet uses (RFC 4648, section 3.5)."""
    for blanks in range(3):
        payload = base64url(good.claims_text + b" " * blanks)
        if len(payload) % 4:
            break
    changed = payload[:-1] + _ALPHABET[_ALPHABET.index(payload[-1]) + 1]
    first = good.segments[0]
    return f"{first}.{changed}.{base64url(good.key.sign(f'{first}.{changed}'.encode()))}"


def _encrypted(header: dict[str, object]) -> str:
    return base64url(json.dumps(header).encode()) + ".AAAA.AAAA.AAAA.AAAA"


FORM: Final[tuple[Case, ...]] = (
    case("no-signature", "AT3", MalformedTokenError, "The signature is empty.", lambda good: good.good.rpartition(".")[0] + "."),
    case("two-segments", "AT3 AT20", MalformedTokenError, "The signature is cut off with its dot.", lambda good: good.good.rpartition(".")[0]),
    case("one-segment", "AT20", MalformedTokenError, "There is a header and nothing else.", lambda good: good.segments[0]),
    case("four-segments", "AT20", MalformedTokenError, "The signature stands there twice.", lambda good: f"{good.good}.{good.segments[2]}"),
    case("empty-payload", "AT20", MalformedTokenError, "The segment of the claims is empty.", lambda good: good.with_segment(1, lambda _: "")),
    case("dots-alone", "AT20", MalformedTokenError, "All segments are empty.", lambda _: ".."),
    case(
        "crit-unknown",
        "AT12",
        MalformedTokenError,
        "A critical extension is named that nobody knows (RFC 7515, section 4.1.11).",
        lambda good: good.with_header(crit=["keyturn.test"], **{"keyturn.test": 1}),
    ),
    choice(
        "crit-empty",
        "AT12",
        MalformedTokenError,
        "The list of critical extensions is empty (RFC 7515, section 4.1.11).",
        lambda good: good.with_header(crit=[]),
    ),
    case(
        "b64-false",
        "AT13",
        MalformedTokenError,
        "The payload is declared unencoded (RFC 7797, section 7).",
        lambda good: good.with_header(b64=False, crit=["b64"]),
    ),
    choice(
        "b64-not-critical",
        "AT13",
        MalformedTokenError,
        "The payload is declared unencoded, and the declaration is not critical.",
        lambda good: good.with_header(b64=False),
    ),
    case("compressed", "AT14", MalformedTokenError, "The claims are compressed, which a signed token cannot be.", _deflated),
    choice("zip-declared", "AT14", MalformedTokenError, "The claims are declared compressed, and are not.", lambda good: good.with_header(zip="DEF")),
    choice(
        "exp-twice",
        "AT15",
        MalformedTokenError,
        "The expiry stands there twice; the last one is good (RFC 7519, section 4).",
        lambda good: good.encode(payload=b'{"exp":%d,' % (good.now - 3600) + good.claims_text[1:]),
    ),
    case(
        "audience-twice",
        "AT15",
        MalformedTokenError,
        "The audience stands there twice; the last one is another service.",
        lambda good: _payload(good, b'"%s":"api://other.test"' % good.audience_claim.encode()),
    ),
    choice(
        "alg-twice",
        "AT15",
        MalformedTokenError,
        "The algorithm stands there twice, first as none (RFC 7515, section 4).",
        lambda good: good.encode(header=b'{"alg":"none",' + good.header_text[1:]),
    ),
    choice(
        "name-escaped",
        "AT15",
        MalformedTokenError,
        "The subject stands there twice, once spelled with an escape.",
        lambda good: good.encode(payload=b'{"\\u0073ub":"mallory",' + good.claims_text[1:]),
    ),
    case(
        "utf-16",
        "AT16",
        MalformedTokenError,
        "The claims are UTF-16 (RFC 7519, section 7.2).",
        lambda good: good.encode(payload=good.claims_text.decode().encode("utf-16")),
    ),
    case(
        "latin-1",
        "AT16",
        MalformedTokenError,
        "The claims hold an octet that is not UTF-8 (RFC 7519, section 7.2).",
        lambda good: _payload(good, b'"name":"\xe9"'),
    ),
    choice(
        "byte-order-mark",
        "AT16",
        MalformedTokenError,
        "The claims begin with a byte order mark (RFC 8259, section 8.1).",
        lambda good: good.encode(payload=b"\xef\xbb\xbf" + good.claims_text),
    ),
    choice(
        "half-a-surrogate",
        "AT16",
        MalformedTokenError,
        "The claims hold half of a surrogate pair (RFC 8259, section 8.2).",
        lambda good: _payload(good, b'"name":"\\ud800"'),
    ),
    case(
        "data-behind",
        "AT17",
        MalformedTokenError,
        "Something follows the object of the claims (RFC 7519, section 7.2).",
        lambda good: good.encode(payload=good.claims_text + b"{}"),
    ),
    case(
        "comment",
        "AT17",
        MalformedTokenError,
        "The claims hold a comment, which JSON does not have.",
        lambda good: good.encode(payload=good.claims_text[:-1] + b"/* */}"),
    ),
    case(
        "not-a-number",
        "AT17 AT42",
        MalformedTokenError,
        "The expiry is NaN, which JSON does not have.",
        lambda good: good.encode(payload=good.claims_text.replace(b'"exp":%d' % good.claims["exp"], b'"exp":NaN')),
    ),
    case(
        "claims-in-a-list",
        "AT17",
        MalformedTokenError,
        "The claims are a list with an object in it.",
        lambda good: good.encode(payload=b"[" + good.claims_text + b"]"),
    ),
    case(
        "padding-in-claims",
        "AT18",
        MalformedTokenError,
        "The claims are padded behind the back of the signature (RFC 7515, section 2).",
        lambda good: good.with_segment(1, lambda text: text + "="),
    ),
    choice(
        "padding-in-signature",
        "AT18",
        MalformedTokenError,
        "The signature is padded (RFC 7515, section 2).",
        lambda good: good.with_segment(2, lambda text: text + "=="),
    ),
    choice("trailing-bits", "AT19", MalformedTokenError, "The claims end in bits that no octet uses (RFC 4648, section 3.5).", _second_spelling),
    case(
        "blank-inside",
        "AT19",
        MalformedTokenError,
        "A blank stands in the claims (RFC 7515, section 5.2).",
        lambda good: good.with_segment(1, lambda text: f"{text[:4]} {text[4:]}"),
    ),
    case(
        "impossible-length",
        "AT19",
        MalformedTokenError,
        "The signature has a length that base64url cannot have.",
        lambda good: good.with_segment(2, lambda text: text[: len(text) // 4 * 4] + "A"),
    ),
    choice("too-long", "AT21", MalformedTokenError, "The token has more than 16,384 characters.", lambda good: good.with_claims(pad="x" * _TOO_LONG)),
    choice(
        "too-deep",
        "AT22",
        MalformedTokenError,
        "A claim is nested 2,000 levels deep.",
        lambda good: _payload(good, b'"a":' + b"[" * 2_000 + b"]" * 2_000),
    ),
    choice(
        "too-many-digits", "AT22", MalformedTokenError, "A claim is a number of 5,000 digits.", lambda good: _payload(good, b'"a":' + b"1" * 5_000)
    ),
    case(
        "encrypted",
        "AT23",
        MalformedTokenError,
        "It is an encrypted token, not a signed one.",
        lambda _: _encrypted({"alg": "dir", "enc": "A128GCM"}),
    ),
    case(
        "encrypted-costly",
        "AT23",
        MalformedTokenError,
        "It asks for two thousand million rounds of a password hash.",
        lambda _: _encrypted({"alg": "PBES2-HS512+A256KW", "enc": "A256GCM", "p2c": 2_147_483_647, "p2s": "AAAA"}),
    ),
    # Whoever supports nested tokens goes on with the inner one, which is good (RFC 7519, section 7.2).
    choice(
        "nested",
        "AT24",
        MalformedTokenError,
        "The payload is another token.",
        lambda good: good.encode(header={**good.header, "cty": "JWT"}, payload=good.good.encode()),
    ),
    choice(
        "nested-declared", "AT24", MalformedTokenError, "The payload is declared another token, and is not.", lambda good: good.with_header(cty="JWT")
    ),
    case(
        "json-serialization",
        "AT25",
        MalformedTokenError,
        "It is the JSON form of a signature, which tokens do not have (RFC 7519, section 1).",
        _flattened,
    ),
    case(
        "compact-and-json",
        "AT25",
        MalformedTokenError,
        "It reads as a compact token and as JSON, depending on who reads.",
        lambda good: f'{{"  {good.good}":"x"}}',
    ),
    case("scheme-in-front", "AT53", MalformedTokenError, "The word Bearer stands in front of the token.", lambda good: f"Bearer {good.good}"),
    choice("kid-a-number", "AT27", MalformedTokenError, "The kid is a number (RFC 7515, section 4.1.4).", lambda good: good.with_header(kid=1)),
    choice("kid-too-long", "AT27", MalformedTokenError, "The kid has 257 characters.", lambda good: good.with_header(kid="k" * 257)),
    case(
        "alg-none",
        "AT1",
        DisallowedAlgorithmError,
        "It says that it is not signed, and it is not.",
        lambda good: good.encode(header={**good.header, "alg": "none"}, signature=b""),
    ),
    case(
        "alg-none-spelled",
        "AT1",
        DisallowedAlgorithmError,
        "It says in another spelling that it is not signed.",
        lambda good: good.encode(header={**good.header, "alg": "nOnE"}, signature=b""),
    ),
    case("alg-null", "AT1", MalformedTokenError, "Its algorithm is null (RFC 7515, section 4.1.1).", lambda good: good.with_header(alg=None)),
    case(
        "alg-none-left-over",
        "AT2",
        DisallowedAlgorithmError,
        "It says that it is not signed, and carries the signature of a good token.",
        lambda good: good.with_segment(0, lambda _: base64url(json.dumps({**good.header, "alg": "none"}).encode())),
    ),
)
"""The cases of this file."""
