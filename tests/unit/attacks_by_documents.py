"""Hostile key sets and discovery documents: classes AK1 to AK20 and AD1 to AD11.

What concerns HTTP (compression, redirects) and series over time stands with the fetcher and with rollover: AK16, AK19, AD12, AD13.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.unit.material import der_of, entry, key_set, rsa_entry, x5c

from keyturn.testing.keys import base64url

Cases = Iterator[tuple[str, Any]]
"""Label and document, or label and entry."""

ISSUER = "https://issuer.test"
JWKS = "https://issuer.test/jwks.json"


def no_key_set() -> Cases:
    """AK1 and AK2: documents that are no key set, and sets without a list of entries."""
    for body in (
        b"<html><body>login</body></html>",
        b"<?xml version='1.0'?><keys/>",
        b"",
        b" \n",
        b"null",
        b"[]",
        b'"keys"',
        b"1",
        b"true",
        b'{"error":"server_error"}',
        b"{",
        b"keys",
        b"\0",
    ):
        yield repr(body[:20]), body
    for document in (
        {},
        {"keys": None},
        {"keys": {}},
        {"keys": ""},
        {"keys": 1},
        {"keys": []},
        {"KEYS": [entry()]},
        {"Keys": [entry()]},
        {"keys ": [entry()]},
        {"keys": {"0": entry()}},
        [entry()],
        entry(),
    ):
        yield str(document)[:30], json.dumps(document).encode()
    yield "no usable key", key_set(None, {"kty": "oct", "k": "AAAA"}, rsa_entry(35), entry(use="enc"))


def too_much() -> Cases:
    """AK14 and AK15: sizes, depth and numbers beyond the limits."""
    good = json.dumps(entry()).encode()
    yield "501 entries", key_set(*[entry(kid="k")] * 501)
    yield "10,000 entries", key_set(*[1] * 10_000)
    yield "200,000 levels", b'{"keys":[' + good + b"]" + b',"a":' + b"[" * 200_000
    yield "closed levels", b'{"keys":[' + good + b'],"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    yield "a number of 200 KB", b'{"keys":[' + good + b'],"a":' + b"1" * 200_000 + b"}"
    yield "NaN", b'{"keys":[' + good + b'],"a":NaN}'
    yield "Infinity inside an entry", b'{"keys":[{"a":Infinity},' + good + b"]}"


def other_texts() -> Cases:
    """AK17: encodings, and members named twice at the top."""
    good = key_set(entry(kid="caf\u00e9"))
    for name in ("utf-16", "utf-16-le", "utf-32", "utf-8-sig"):
        yield name, good.decode().encode(name)
    yield "Latin-1", json.dumps({"keys": [entry(kid="caf\u00e9")]}, ensure_ascii=False).encode("latin-1")
    yield "keys twice", good[:-1] + b',"keys":[]}'
    yield "keys twice, escaped", good[:-1] + b',"\\u006beys":[]}'
    yield "another member twice", good[:-1] + b',"a":1,"a":1}'
    yield "half a surrogate pair", good[:-1] + b',"a":"\\ud800"}'
    yield "data after it", good + b"{}"
    yield "a comment", good[:-1] + b"/**/}"
    yield "cut", good[:-1]


def bad_entries() -> Cases:
    """AK3, AK5 to AK13, AK18, AK20: entries that never serve, beside good ones."""
    for value in (None, 1, 1.5, "text", True, [], [entry()], {}, {"kid": "k"}):
        yield f"AK3 {str(value)[:20]}", value
    for member in ("kty", "crv", "x", "y"):
        yield f"AK3 without {member}", entry(**{member: None})
        for value in (1, None, [], {}, "", "!", "A=", True):
            yield f"AK3 {member} {value!r}", {**entry(), member: value}
    yield "AK5 oct", {"kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "kid": "k"}
    for member in ("d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"):
        for algorithm in ("ES256", "RS256", "Ed25519"):
            yield f"AK5 {algorithm} with {member}", entry(algorithm, **{member: "c2VjcmV0"})
    for more in (
        {"use": "enc"},
        {"use": "x"},
        {"use": "sig", "key_ops": ["encrypt"]},
        {"key_ops": []},
        {"key_ops": ["verify"] * 2},
        {"alg": "RS256"},
        {"alg": "ES384"},
        {"alg": "ECDH-ES"},
        {"alg": None},
        {"use": None},
    ):
        yield f"AK6 {more}", {**entry(), **more}
    yield from _bad_numbers()
    yield from _odd_kinds()


def _bad_numbers() -> Cases:
    """AK7 to AK11: sizes, exponents and points."""
    for bits in (0, 512, 1024, 2047, 16_385, 131_072):
        yield f"AK7 {bits} bits", rsa_entry((1 << (bits - 1)) | 1 if bits else 0)
    yield "AK7 even", rsa_entry(1 << 2047)
    yield "AK8 padded", {**entry("RS256"), "e": "AQAB=="}
    for exponent in (0, 1, 2, 65_536, 1 << 32, (1 << 32) + 1, 1 << 4_096):
        yield f"AK9 e = {exponent % 10**12}", rsa_entry((1 << 2047) | 1, exponent)
    for octets in (b"", bytes(31), bytes(32), bytes(33), b"\xff" * 32):
        yield f"AK10 x of {len(octets)}", entry(x=base64url(octets))
        yield f"AK10 y of {len(octets)}", entry(y=base64url(octets))
    for curve in ("P-384", "secp256k1", "p-256", "Ed25519"):
        yield f"AK10 curve {curve}", entry(crv=curve)
    for curve, octets in (
        ("X25519", b"\x09" + bytes(31)),
        ("X448", b"\5" + bytes(55)),
        ("Ed25519", bytes(32)),
        ("Ed25519", b"\1" + bytes(31)),
        ("Ed25519", b"\2" * 31),
        ("Ed448", bytes(57)),
        ("Ed448", b"\2" * 56),
    ):
        yield f"AK11 {curve} {octets[:2]!r}", {"kty": "OKP", "crv": curve, "x": base64url(octets)}


def _odd_kinds() -> Cases:
    """AK12, AK13, AK18, AK20: types of tomorrow, certificates, kids and issuers."""
    for alg, length in (("ML-DSA-44", 1312), ("ML-DSA-65", 1952), ("ML-DSA-87", 2592), ("ML-DSA-65", 5), (None, 1952)):
        yield f"AK12 {alg} of {length}", {"kty": "AKP", "pub": base64url(bytes(length)), **({"alg": alg} if alg else {})}
    yield "AK13 another key's certificate", entry(x5c=x5c(der_of("ES384")))
    yield "AK13 a certificate alone", {"kty": "EC", "x5c": x5c(der_of())}
    yield "AK13 a certificate with kty RSA alone", {"kty": "RSA", "x5c": x5c(der_of("RS256"))}
    for kid in (1, None, True, [], {}, "k" * 257, "k" * 100_000):
        yield f"AK18 kid {str(kid)[:10]}", {**entry(), "kid": kid}
    for value in (1, None, [], {}, [ISSUER], True):
        yield f"AK20 issuer {value!r}", {**entry(), "issuer": value}


def odd_entries() -> Cases:
    """AK3, AK8, AK13, AK18: entries that serve although they are odd."""
    yield "AK8 leading zeros", {"kty": "RSA", "n": base64url(bytes(9) + ((1 << 2047) | 1).to_bytes(256)), "e": base64url(b"\0\1\0\1")}
    for label, chain in (("of garbage", ["!"]), ("empty", []), ("of text", "text"), ("null", None), ("in base64url", [base64url(der_of())])):
        yield f"AK13 x5c {label}", {**entry(), "x5c": chain}
    yield "AK13 expired", entry(x5c=x5c(der_of(expired=True)))
    yield "AK13 x5t of another", entry(x5t=base64url(bytes(20)), x5c=x5c(der_of()))
    yield "AK13 x5u", entry(x5u="http://169.254.169.254/")
    for kid in ("", " ", "\0", "\x1b[2J", "cafe\u0301", "k" * 256, "__proto__"):
        yield f"AK18 kid {kid[:10]!r}", entry(kid=kid)
    for name in ("nbf", "exp", "acr", "endorsements", "spiffe_sequence", "unknown"):
        yield f"AK3 with {name}", entry(**{name: [{"a": 1}]})


@dataclass(frozen=True, slots=True)
class Discovery:
    """One discovery document.

    Attributes:
        label: What is odd about it.
        body: The document.
        good: Whether it must be used.
        content_type: Content-Type that comes with it.
    """

    label: str
    body: bytes = field(repr=False)
    good: bool = False
    content_type: str = "application/json"


def _discovery(**members: Any) -> bytes:
    stated = {"issuer": ISSUER, "jwks_uri": JWKS, **members}
    return json.dumps({name: value for name, value in stated.items() if value != "absent"}).encode()


def other_issuer() -> Iterator[Discovery]:
    """AD1, AD9, AD11: the document is another issuer's, or a template."""
    names: list[Any] = [
        f"{ISSUER}/",
        f"{ISSUER}//",
        ISSUER.upper(),
        "https://Issuer.test",
        "http://issuer.test",
        f"{ISSUER}:443",
        f"{ISSUER}/tenant",
        "https://user@issuer.test",
    ]
    names += [
        "https://issuer.tes",
        "https://issuer.test.evil.example",
        "https://xissuer.test",
        "https://issuer%2Etest",
        "https://\u0456ssuer.test",
        f"{ISSUER} ",
        f" {ISSUER}",
        f"{ISSUER}\0",
        "",
    ]
    names += [
        "https://issuer.test/{tenantid}/v2.0",
        "{tenantid}",
        "https://evil.example",
        None,
        1,
        True,
        [],
        [ISSUER],
        {},
        {"issuer": ISSUER},
        "absent",
    ]
    for name in names:
        yield Discovery(f"AD1 issuer {name!r}", _discovery(issuer=name))


def unusable_document() -> Iterator[Discovery]:
    """AD7, AD10, AD11: what is no discovery document at all, and one without `jwks_uri`."""
    good = _discovery()
    for value in (None, 1, True, [], [JWKS], {}, "absent"):
        yield Discovery(f"AD4 jwks_uri {value!r}", _discovery(jwks_uri=value))
    for member in (
        b'"issuer":"https://evil.example"',
        b'"issuer":"https://issuer.test"',
        b'"jwks_uri":"https://evil.example"',
        b'"\\u0069ssuer":"x"',
        b'"a":1,"a":1',
    ):
        yield Discovery(f"AD7 {member!r}", good[:-1] + b"," + member + b"}")
    for name in ("utf-16", "utf-32", "utf-8-sig"):
        yield Discovery(f"AD10 {name}", good.decode().encode(name))
    yield Discovery("AD10 depth", good[:-1] + b',"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    yield Discovery("AD10 number", good[:-1] + b',"a":' + b"1" * 10_000 + b"}")
    yield Discovery("AD10 NaN", good[:-1] + b',"a":NaN}')
    yield Discovery("AD10 tail", good + b"x")
    for body in (key_set(entry()), b"[]", b'["a"]', b'"text"', b"null", b"1", b"", b"<html>", b"{", b"{}"):
        yield Discovery(f"AD11 {body[:10]!r}", body)
    yield Discovery("AD11 a page by its type", good, content_type="text/html; charset=utf-8")


def usable_document() -> Iterator[Discovery]:
    """AD5, AD6, AD8: what changes nothing."""
    algorithms: list[Any] = [["none"], ["HS256"], "RS256", None, [], ["x"] * 10_000, {"a": 1}, [1]]
    for value in algorithms:
        yield Discovery(f"AD6 {str(value)[:20]}", _discovery(id_token_signing_alg_values_supported=value), good=True)
    yield Discovery("AD5 another host", _discovery(jwks_uri="https://www.googleapis.test/oauth2/v3/certs"), good=True)
    yield Discovery("AD8 signed_metadata", _discovery(signed_metadata="eyJhbGciOiJub25lIn0.eyJqd2tzX3VyaSI6Imh0dHBzOi8vZXZpbCJ9."), good=True)
    yield Discovery("keys beside the issuer", _discovery(keys=[entry()]), good=True)
    yield Discovery("an odd type of content", _discovery(), good=True, content_type="text/plain")


BAD_PLACES = (
    *(
        "http://issuer.test/jwks",
        "file:///etc/passwd",
        "ftp://issuer.test/jwks",
        "data:application/json,{}",
        "javascript:alert(1)",
        "",
        "/jwks",
        "jwks.json",
        "//issuer.test/jwks",
    ),
    *(
        "https://127.0.0.1/jwks",
        "https://localhost/jwks",
        "https://[::1]/jwks",
        "https://169.254.169.254/",
        "https://10.0.0.1/jwks",
        "https://192.168.1.1/",
        "https://[fe80::1]/",
        "https://224.0.0.1/",
    ),
    *(
        "https://0x7f000001/",
        "https://2130706433/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://[::ffff:127.0.0.1]/",
        "https://0.0.0.0/",
        "https://100.64.0.1/",
        "https://[fd00:ec2::254]/",
    ),
    *(
        "https://user@issuer.test/jwks",
        "https://user:word@issuer.test/",
        "https://issuer.test\\@evil.example/",
        "https://issuer.test/\r\nHost: evil",
        "https://issuer.test/ jwks",
        "https://issuer.test/#a",
    ),
    *(
        "https://issuer.test,evil.example/",
        "https://issuer.test/" + "a" * 5_000,
        "https://issuer.test:0/",
        "https://issuer.test:99999/",
        "https://issuer.test:x/",
        "https://",
        "https:///jwks",
        "https://\u0456ssuer.test/",
    ),
)
"""AD2 to AD4: where a public issuer's `jwks_uri` may not lead."""

REFUSED_SETS: dict[str, Callable[[], Cases]] = {"AK1, AK2": no_key_set, "AK14, AK15": too_much, "AK17": other_texts}
DISCOVERY: dict[str, Callable[[], Iterator[Discovery]]] = {
    "AD1, AD9": other_issuer,
    "AD7, AD10, AD11": unusable_document,
    "AD5, AD6, AD8": usable_document,
}
