"""Key sets in the shape of those that real issuers publish, with keys made at test time; no published key is copied.

Each shape says which of its keys sign tokens, and which entries cannot serve.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tests.unit.material import der_of, entry, raw_private, rsa_entry, rsa_key, x5c

from keyturn.testing.keys import base64url


@dataclass(frozen=True, slots=True)
class Signer:
    """One key of a shape that signs tokens.

    Attributes:
        kid: What its tokens name; None where they name nothing.
        algorithm: What it signs with.
        key: Algorithm and number of its private key (`material.private_key()`).
    """

    kid: str | None
    algorithm: str
    key: tuple[str, int]


@dataclass(frozen=True, slots=True)
class Shape:
    """One issuer's way of writing a key set.

    Attributes:
        document: The key set.
        signers: Keys that sign.
        skipped: Kids of the entries that cannot serve, each with a piece of its reason.
        remarks: Kids of the entries that serve with a remark.
    """

    document: dict[str, Any]
    signers: tuple[Signer, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()


def _thumbprint(der: bytes) -> str:
    return base64url(hashlib.sha1(der, usedforsecurity=False).digest())


def _rsa(number: int, *, zeros: int = 0, **members: Any) -> dict[str, Any]:
    modulus = raw_private("RS256", number).public_key().public_numbers().n
    return {"kty": "RSA", "n": base64url(bytes(zeros) + modulus.to_bytes(256)), "e": "AQAB", **members}


def _signers(*given: tuple[str | None, str, int]) -> tuple[Signer, ...]:
    return tuple(Signer(kid, algorithm, ("RS256" if algorithm[0] in "RP" else algorithm, number)) for kid, algorithm, number in given)


def _keys(entries: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return {"keys": list(entries)}


def entra() -> Shape:
    """No `alg`; kid, `x5t` and certificate of one key; an issuer and a cloud beside it, of another tenant for one of them."""
    entries = []
    for number in range(3):
        der = der_of("RS256", number)
        scope = "https://login.microsoftonline.test/other/v2.0" if number == 2 else "https://issuer.test"
        entries.append(
            _rsa(
                number, use="sig", kid=f"entra{number}", x5t=_thumbprint(der), x5c=x5c(der), issuer=scope, cloud_instance_name="microsoftonline.test"
            )
        )
    return Shape(_keys(entries), _signers(("entra0", "RS256", 0), ("entra1", "RS256", 1)), (("entra2", "is published for issuer"),))


def google() -> Shape:
    """Two RSA keys with kid, use and alg, hex kids."""
    kids = (hashlib.sha1(b"0", usedforsecurity=False).hexdigest(), hashlib.sha1(b"1", usedforsecurity=False).hexdigest())
    return Shape(
        _keys(_rsa(n, kid=kid, use="sig", alg="RS256") for n, kid in enumerate(kids)), _signers(*((kid, "RS256", n) for n, kid in enumerate(kids)))
    )


def okta() -> Shape:
    """`alg`, `use`, and kids in base64url with dashes."""
    return Shape(
        _keys([_rsa(0, alg="RS256", use="sig", kid="-okta_Key-0"), _rsa(1, alg="RS256", use="sig", kid="_okta-1")]),
        _signers(("-okta_Key-0", "RS256", 0), ("_okta-1", "RS256", 1)),
    )


def keycloak() -> Shape:
    """A signing key beside one for encryption, each with a certificate and both thumbprints."""
    entries = []
    for number, (kid, alg, use) in enumerate((("kc-sig", "RS256", "sig"), ("kc-enc", "RSA-OAEP", "enc"))):
        der = der_of("RS256", number)
        both = {"x5t": _thumbprint(der), "x5t#S256": base64url(hashlib.sha256(der).digest())}
        entries.append(_rsa(number, kid=kid, alg=alg, use=use, x5c=x5c(der), **both))
    return Shape(_keys(entries), _signers(("kc-sig", "RS256", 0)), (("kc-enc", 'has use "enc"'),))


def cognito() -> Shape:
    """One key for ID tokens and one for access tokens, kids in padded base64."""
    kids = ("abcdefghijklmnopqrstuvexyzABCDEFGHIJKLMNOPQ=", "/+fghijklmnopqrstuvexyzABCDEFGHIJKLMNOPQab=")
    return Shape(
        _keys(_rsa(n, alg="RS256", kid=kid, use="sig") for n, kid in enumerate(kids)), _signers(*((kid, "RS256", n) for n, kid in enumerate(kids)))
    )


def apple() -> Shape:
    """Several RSA keys with short kids."""
    return Shape(
        _keys(_rsa(n, kid=f"fh6Bs8{n}", use="sig", alg="RS256") for n in range(3)), _signers(*((f"fh6Bs8{n}", "RS256", n) for n in range(3)))
    )


def yahoo() -> Shape:
    """An RSA key of 1,024 bits beside a good P-256, and kids of one digit."""
    weak = rsa_entry(rsa_key(1024).public_key().public_numbers().n, kid="0", alg="RS256", use="sig")
    return Shape(
        _keys([weak, entry("ES256", 0, kid="4", alg="ES256", use="sig")]), _signers(("4", "ES256", 0)), (("0", "is an RSA key of 1024 bits"),)
    )


def kubernetes() -> Shape:
    """`use`, kid, `alg`; and an older key that is published without a kid."""
    return Shape(
        _keys([_rsa(0, use="sig", kid="kube", alg="RS256"), _rsa(1, use="sig", kid="", alg="RS256")]),
        _signers(("kube", "RS256", 0), ("", "RS256", 1), (None, "RS256", 0)),
    )


def adfs() -> Shape:
    """Kid and `x5t` are the same text, with a certificate that expired; tokens may carry `x5t` alone."""
    der = der_of("RS256", 0, expired=True)
    return Shape(
        _keys([_rsa(0, kty="RSA", use="sig", alg="RS256", kid=_thumbprint(der), x5t=_thumbprint(der), x5c=x5c(der))]),
        _signers((_thumbprint(der), "RS256", 0)),
    )


def paypal() -> Shape:
    """RS256 and PS256, several P-256 without `alg` and `use`, leading zeros, an X25519 key, and a member of its own."""
    entries = [_rsa(0, zeros=1, kid="rs", alg="RS256", use="sig", acr="x"), _rsa(1, kid="ps", alg="PS256", use="sig")]
    entries += [entry("ES256", n, kid=f"ec{n}", acr=["urn:acr"]) for n in range(7)]
    entries.append({"kty": "OKP", "crv": "X25519", "kid": "agree", "x": base64url(b"\x09" + bytes(31))})
    signers = _signers(("rs", "RS256", 0), ("ps", "PS256", 1), *((f"ec{n}", "ES256", n) for n in range(7)))
    return Shape(_keys(entries), signers, (("agree", "which does not sign"),))


def klarna() -> Shape:
    """Each key twice, under two kids, with the same public material and nothing private."""
    kids = ("public:6f3a", "private:6f3a")
    return Shape(_keys(entry("ES256", 0, kid=kid, use="sig", alg="ES256") for kid in kids), _signers(*((kid, "ES256", 0) for kid in kids)))


def docker() -> Shape:
    """Kid and `x5t` both present and different, and an `x5t` that is not of this certificate."""
    der = der_of("RS256", 0)
    entries = [
        _rsa(0, kid="docker", use="sig", alg="RS256", x5t=base64url(b"\1" * 20), x5c=x5c(der)),
        _rsa(1, kid="plain", x5t=base64url(b"\2" * 20)),
    ]
    return Shape(_keys(entries), _signers(("docker", "RS256", 0), ("plain", "RS256", 1)), remarks=("docker",))


def mojeid() -> Shape:
    """Neither `alg` nor `use`, several algorithms in use."""
    return Shape(
        _keys([_rsa(0, kid="rsa"), entry("ES256", 0, kid="ec"), entry("Ed25519", 0, kid="ed")]),
        _signers(("rsa", "RS512", 0), ("rsa", "PS256", 0), ("ec", "ES256", 0), ("ed", "Ed25519", 0)),
    )


SHAPES: dict[str, Callable[[], Shape]] = {
    shape.__name__: shape for shape in (entra, google, okta, keycloak, cognito, apple, yahoo, kubernetes, adfs, paypal, klarna, docker, mojeid)
}
"""Every shape by the issuer that writes so."""
