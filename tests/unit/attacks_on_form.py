"""Hostile tokens whose form is wrong: classes AT1 to AT25 (but for those of `attacks_on_json.py`), and AT53."""

from __future__ import annotations

import hashlib
import hmac
import json
import zlib
from collections.abc import Iterator
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.unit.attacks import Attack, Attacks
from tests.unit.material import good_parts, parts, with_header

from keyturn import DisallowedAlgorithmError, MalformedTokenError
from keyturn.testing import FakeIssuer
from keyturn.testing.keys import base64url

_NOT_STRINGS: tuple[Any, ...] = (None, 0, 1, 1.5, True, False, [], ["none"], {}, {"alg": "none"})
_BOM = b"\xef\xbb\xbf"


def _segments(issuer: FakeIssuer) -> list[str]:
    return issuer.token().split(".")


def none_algorithm(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT1: `alg: none` in every spelling."""
    spellings = [
        "none",
        "None",
        "NONE",
        "nOnE",
        " none",
        "none ",
        "\tnone",
        "none\n",
        "none\0",
        '"none"',
        "'none'",
        "n\u043ene",
        "",
        " ",
        "null",
        "\uff4eone",
    ]
    header, payload = good_parts(issuer)
    for spelling in spellings:
        for signature in (b"", b"\0", None):
            token = issuer.encode({**json.loads(header), "alg": spelling}, payload, signature=signature)
            yield Attack(f"alg {spelling!r}, signature {signature!r}", token, DisallowedAlgorithmError)
    for value in _NOT_STRINGS:
        yield Attack(f"alg {value!r}", with_header(issuer, alg=value), MalformedTokenError)
    yield Attack("no alg", issuer.token(headers={"alg": None}), MalformedTokenError)
    yield Attack("Alg instead of alg", issuer.token(headers={"alg": None, "Alg": "ES256"}), MalformedTokenError)


def swapped_for_none(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT2: a valid token whose header was swapped for one with `none`."""
    _, payload, signature = _segments(issuer)
    for header in ({"alg": "none"}, {"alg": "none", "typ": "JWT", "kid": "k1"}, {"typ": "JWT", "alg": "NONE"}):
        yield Attack(str(header), f"{base64url(json.dumps(header).encode())}.{payload}.{signature}", DisallowedAlgorithmError)


def without_signature(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT3: the signature is missing, with its dot or without."""
    header, payload, _ = _segments(issuer)
    for label, token in (("empty", f"{header}.{payload}."), ("no dot", f"{header}.{payload}"), ("dots alone", ".."), ("header alone", f"{header}..")):
        yield Attack(label, token, MalformedTokenError)


def hmac_with_public_key(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT4: HMAC whose secret is a published key, in any text or bytes."""
    for kid, algorithm in (("k1", None), ("rsa", "RS256"), ("ed", "Ed25519")):
        if algorithm:
            issuer.publish(kid, algorithm)
        public = issuer._find(kid).private._key.public_key()  # type: ignore[attr-defined]
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        entry = next(entry for entry in issuer.jwks()["keys"] if entry["kid"] == kid)
        secrets = [
            pem,
            pem.strip(),
            b" " + pem,
            pem.replace(b"\n", b"\r\n"),
            _BOM + pem,
            public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        ]
        secrets += [json.dumps(entry).encode(), json.dumps(issuer.jwks()).encode(), entry.get("n", entry.get("x")).encode(), b"", b"\0"]
        if algorithm == "RS256":
            secrets += [public.public_bytes(encoding, PublicFormat.PKCS1) for encoding in (Encoding.PEM, Encoding.DER)]
        yield from _hmac(issuer, kid, secrets)


def hmac_with_weak_secret(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT5: HMAC whose secret stands in a dictionary, or is blank."""
    yield from _hmac(issuer, "k1", [b"secret", b"changeme", b"your-256-bit-secret", b"password", b" ", b"null", b"undefined"])


def _hmac(issuer: FakeIssuer, kid: str, secrets: list[bytes]) -> Iterator[Attack]:
    _, payload = good_parts(issuer)
    for number, secret in enumerate(secrets):
        for bits in (256, 384, 512):
            signing_input = issuer.encode({"alg": f"HS{bits}", "typ": "JWT", "kid": kid}, payload, signature=b"").rpartition(".")[0]
            signature = hmac.digest(secret, signing_input.encode(), getattr(hashlib, f"sha{bits}"))
            yield Attack(f"HS{bits} under {kid}, secret {number}", f"{signing_input}.{base64url(signature)}", DisallowedAlgorithmError)


def critical_extensions(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT12: `crit`, whatever it holds."""
    for value in (["exp"], [], "exp", None, {}, 0, True, ["alg"], ["b64"], ["a", "a"], [1], ["http://example.com/UNDEFINED"]):
        yield Attack(f"crit {value!r}", with_header(issuer, crit=value), MalformedTokenError)
    yield Attack("crit names what is there", with_header(issuer, crit=["x"], x=1), MalformedTokenError)


def unencoded_payload(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT13: `b64`, with and without `crit`."""
    for value in (False, True, None, "false", 0):
        yield Attack(f"b64 {value!r}", with_header(issuer, b64=value), MalformedTokenError)
        yield Attack(f"b64 {value!r} with crit", with_header(issuer, b64=value, crit=["b64"]), MalformedTokenError)


def compressed(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT14: `zip`, small and as a bomb; nothing is inflated."""
    header, payload, _ = parts(issuer.token())
    for label, body in (("small", json.dumps(payload).encode()), ("bomb", b" " * 5_000_000)):
        packed = zlib.compress(body, 9)[2:-4]
        yield Attack(label, issuer.encode({**header, "zip": "DEF"}, packed), MalformedTokenError, says="compressed")
    for value in ("def", None, "", 1):
        yield Attack(f"zip {value!r}", with_header(issuer, zip=value), MalformedTokenError)


def padding(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT18: padding behind any segment."""
    for place in range(3):
        for pad in ("=", "==", "===", "%3D", "%3d"):
            segments = _segments(issuer)
            segments[place] += pad
            yield Attack(f"{pad} behind segment {place}", ".".join(segments), MalformedTokenError)


def malleable(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT19: second spellings of the same octets, and what lenient decoders skip."""
    header, payload = good_parts(issuer)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for extra in (b"", b" ", b"  "):
        segments = issuer.encode(header + extra, payload + extra).split(".")
        for place, segment in enumerate(segments):
            unused = {2: 16, 3: 4}.get(len(segment) % 4, 1)
            for step in range(1, unused):
                changed = segment[:-1] + alphabet[alphabet.index(segment[-1]) + step]
                yield Attack(
                    f"trailing bits {step} of segment {place}", ".".join([*segments[:place], changed, *segments[place + 1 :]]), MalformedTokenError
                )
    for place in range(3):
        for odd in ("+", "/", " ", "\n", "\r\n", "\t", "\0", "-_+", "%", "\x7f", "*", "~", ","):
            for position in (0, 5, 9_999):
                segments = _segments(issuer)
                segments[place] = segments[place][:position] + odd + segments[place][position:]
                yield Attack(f"{odd!r} at {position} of segment {place}", ".".join(segments), MalformedTokenError)
        segments = _segments(issuer)
        segments[place] = segments[place][: len(segments[place]) // 4 * 4] + "A"
        yield Attack(f"impossible length of segment {place}", ".".join(segments), MalformedTokenError)


def wrong_number_of_segments(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT20: not three segments, or empty ones; splitting is bounded."""
    token = issuer.token()
    header, payload, signature = token.split(".")
    cases = ["", ".", "..", "...", "....", ".....", "." * 100, "." * 16_384, "." * 100_000, header, f"{header}.{payload}", f"{token}.", f".{token}"]
    cases += [
        f"{token}.{signature}",
        f"{token}.{signature}.{signature}.{signature}",
        f"{header}..{signature}",
        f".{payload}.{signature}",
        f"{token}.{token}",
    ]
    for number, case in enumerate(cases):
        yield Attack(f"case {number}: {case.count('.')} dots", case, MalformedTokenError)


def oversized(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT21: too long, measured before anything is decoded."""
    header, payload = good_parts(issuer)
    members = json.dumps({**json.loads(payload), **{f"m{n}": n for n in range(100_000)}}).encode()
    cases = [
        issuer.token(headers={"kid": "k" * 100_000}),
        issuer.encode(header, members),
        issuer.token(pad="x" * 12_200),
        "A" * 1_000_000,
        "\u20ac" * 20_000,
    ]
    cases += [".".join("A" * 1_000_000 if place == wanted else text for place, text in enumerate(_segments(issuer))) for wanted in range(3)]
    for number, case in enumerate(cases):
        yield Attack(f"case {number}: {len(case)} characters", case, MalformedTokenError, says="max_token_bytes")


def encrypted(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT23: JWE, however costly its header would be."""
    headers: list[dict[str, Any]] = [
        {"alg": "dir", "enc": "A128GCM"},
        {"alg": "PBES2-HS512+A256KW", "enc": "A256GCM", "p2c": 2_147_483_647, "p2s": "AAAA"},
        {"alg": "RSA-OAEP", "enc": "A256GCM", "zip": "DEF"},
        {"alg": "none", "enc": "A128GCM"},
    ]
    for header in headers:
        for rest in (".AA.AA.AA.AA", "....", "..AA.AA.AA"):
            yield Attack(f"{header['alg']} {rest}", base64url(json.dumps(header).encode()) + rest, MalformedTokenError, says="JWE")


def nested(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT24: a token inside a token."""
    inner = issuer.encode({"alg": "none"}, good_parts(issuer)[1], signature=b"")
    for cty in ("JWT", "jwt", "Jwt", "application/jwt", "APPLICATION/JWT"):
        yield Attack(f"cty {cty}", with_header(issuer, cty=cty), MalformedTokenError)
    for cty in (None, 1, ["JWT"], {}):
        yield Attack(f"cty {cty!r}", with_header(issuer, cty=cty), MalformedTokenError)
    for token in (inner, issuer.token(), json.dumps(issuer.token())):
        yield Attack("a token as payload", issuer.encode({**parts(issuer.token())[0], "cty": "JWT"}, token.encode()), MalformedTokenError)
        yield Attack("a token as payload, no cty", issuer.encode(parts(issuer.token())[0], token.encode()), MalformedTokenError)
    yield Attack("another cty", with_header(issuer, cty="json"), None, cheap=False)


def json_serialisations(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT25: JSON serialisations, and texts that are both."""
    header, payload, signature = _segments(issuer)
    flattened = {"protected": header, "payload": payload, "signature": signature}
    general = {"payload": payload, "signatures": [{"protected": header, "signature": signature}]}
    unprotected = {"payload": payload, "header": {"alg": "ES256", "kid": "k1"}, "signature": signature}
    for document in (flattened, general, unprotected):
        text = json.dumps(document)
        for case in (text, f"{text}.{payload}.{signature}", f" {text}", json.dumps([document])):
            yield Attack(case[:30], case, MalformedTokenError)
    for case in (
        f'{{"  {header}.{payload}.{signature}":"x"}}',
        f'{{"a.{payload}.b":1}}',
        f"{header}.{payload}.{signature}{{}}",
        f"[{issuer.token()}]",
        f'"{issuer.token()}"',
    ):
        yield Attack(case[:30], case, MalformedTokenError)


def not_text(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT53: what is no string, or a string that no token is."""
    token = issuer.token()
    cases: list[Any] = [
        token.encode(),
        bytearray(token.encode()),
        memoryview(token.encode()),
        None,
        0,
        1.5,
        True,
        [],
        [token],
        {},
        {"token": token},
        object(),
    ]
    for case in cases:
        yield Attack(type(case).__name__, case, MalformedTokenError)
    for case in (
        "\ud800",
        f"{token}\udcff",
        token.replace(".", "\uff0e"),
        f"\ufeff{token}",
        f"{token}\u00e9",
        token.replace("e", "\u0435"),
        "\U0001f511",
    ):
        yield Attack(repr(case[:8]), case, MalformedTokenError)
    for prefix in ("Bearer ", "bearer ", "BEARER ", "Bearer  ", "Bearer\t", "Bearer", "DPoP ", "Authorization: Bearer ", " ", "\n"):
        says = "Bearer" if prefix.lower() == "bearer " else ""
        yield Attack(f"prefix {prefix!r}", prefix + token, MalformedTokenError, says=says)
    for suffix in (" ", "\n", "\r\n", "\0", ";", ",", "#"):
        yield Attack(f"suffix {suffix!r}", token + suffix, MalformedTokenError)


FORM: dict[str, Attacks] = {
    "AT1": none_algorithm,
    "AT2": swapped_for_none,
    "AT3": without_signature,
    "AT4": hmac_with_public_key,
    "AT5": hmac_with_weak_secret,
    "AT12": critical_extensions,
    "AT13": unencoded_payload,
    "AT14": compressed,
    "AT18": padding,
    "AT19": malleable,
    "AT20": wrong_number_of_segments,
    "AT21": oversized,
    "AT23": encrypted,
    "AT24": nested,
    "AT25": json_serialisations,
    "AT53": not_text,
}
"""The classes of this file by name."""
