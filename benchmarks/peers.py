"""The same token judged by other libraries, each as its documentation says: signature, expiry, audience and issuer.

Peers are optional: `requirements/peers.txt` installs them, and one that is missing, or does not know an algorithm, is left out by name.
A contestant enters only after it has accepted the token and refused a forged one.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from typing import Any

import jwt

from keyturn.testing import FakeIssuer
from keyturn.testing.server import IssuerServer

Judge = Callable[[str], object]
"""Takes a token; raises for a bad one."""

PACKAGES = ("PyJWT", "joserfc", "Authlib", "python-jose", "jwtoxide")


@dataclass(frozen=True)
class Terms:
    """What every contestant is given.

    Attributes:
        algorithm: The one allowed algorithm.
        jwk: The issuer's one key.
        audience: The expected audience.
        issuer: The expected issuer.
        jwks_url: Where the key set is served.
    """

    algorithm: str
    jwk: Mapping[str, Any]
    audience: str
    issuer: str
    jwks_url: str

    @classmethod
    def of(cls, issuer: FakeIssuer, server: IssuerServer) -> Terms:
        """Return the terms of an issuer with one key."""
        (key,) = issuer.jwks()["keys"]
        return cls(key["alg"], key, str(issuer.audience), issuer.issuer, server.jwks_url)


def pyjwt_held_key(terms: Terms) -> Judge:
    """PyJWT with a key that was made ready before: what a program that never rolls over could do."""
    key = jwt.PyJWK(dict(terms.jwk), algorithm=terms.algorithm).key
    return lambda token: jwt.decode(token, key, algorithms=[terms.algorithm], audience=terms.audience, issuer=terms.issuer)


def pyjwt_client(terms: Terms, lifespan: float = 300) -> Judge:
    """PyJWT as its documentation shows it for an issuer: `PyJWKClient` and `decode`."""
    client = jwt.PyJWKClient(terms.jwks_url, lifespan=lifespan)

    def judge(token: str) -> object:
        key = client.get_signing_key_from_jwt(token).key
        return jwt.decode(token, key, algorithms=[terms.algorithm], audience=terms.audience, issuer=terms.issuer)

    return judge


def joserfc(terms: Terms) -> Judge:
    """Joserfc with an imported key and its claims registry."""
    from joserfc import jwk, jwt  # noqa: PLC0415 - a peer is optional

    key = jwk.import_key(dict(terms.jwk))
    registry = jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": terms.issuer}, aud={"essential": True, "value": terms.audience}, exp={"essential": True}
    )

    def judge(token: str) -> object:
        decoded = jwt.decode(token, key, algorithms=[terms.algorithm])
        registry.validate(decoded.claims)
        return decoded

    return judge


def authlib(terms: Terms) -> Judge:
    """Authlib's `JsonWebToken` with an imported key."""
    from authlib.jose import JsonWebKey, JsonWebToken  # noqa: PLC0415 - a peer is optional

    key = JsonWebKey.import_key(dict(terms.jwk))
    reader = JsonWebToken([terms.algorithm])
    options = {"iss": {"essential": True, "value": terms.issuer}, "aud": {"essential": True, "value": terms.audience}, "exp": {"essential": True}}

    def judge(token: str) -> object:
        claims = reader.decode(token, key, claims_options=options)
        claims.validate()
        return claims

    return judge


def python_jose(terms: Terms) -> Judge:
    """python-jose with the key as a mapping, as its documentation shows it."""
    from jose import jwt  # noqa: PLC0415 - a peer is optional

    key = dict(terms.jwk)
    return lambda token: jwt.decode(token, key, algorithms=[terms.algorithm], audience=terms.audience, issuer=terms.issuer)


def jwtoxide(terms: Terms) -> Judge:
    """Jwtoxide, in Rust, with a key made ready before."""
    import jwtoxide as oxide  # noqa: PLC0415 - a peer is optional

    key = oxide.DecodingKey.from_jwk(oxide.Jwk.from_json(json.dumps(dict(terms.jwk))))
    options = oxide.ValidationOptions(aud={terms.audience}, iss={terms.issuer}, required_spec_claims={"exp"}, algorithms=[terms.algorithm])
    return lambda token: oxide.decode(token, key, options)


ALL: Mapping[str, Callable[[Terms], Judge]] = {
    "PyJWT, key at hand": pyjwt_held_key,
    # The issuer is gone while this is timed, so what was read is kept for the whole time.
    "PyJWT, PyJWKClient": partial(pyjwt_client, lifespan=86_400),
    "joserfc": joserfc,
    "Authlib": authlib,
    "python-jose": python_jose,
    "jwtoxide (Rust)": jwtoxide,
}


def entered(terms: Terms, good: str, forged: str) -> tuple[dict[str, Judge], dict[str, str]]:
    """Return the peers that judge both tokens rightly, and why the others are left out."""
    # They advise against what they are asked here: an older name of an algorithm, an older entrance.
    warnings.filterwarnings("ignore", module="(joserfc|authlib|benchmarks)")
    judges: dict[str, Judge] = {}
    left_out: dict[str, str] = {}
    for name, build in ALL.items():
        try:
            judge = build(terms)
            judge(good)
        except Exception as error:  # noqa: BLE001 - whatever a peer raises, it is left out by name
            left_out[name] = f"{type(error).__name__}"
            continue
        try:
            judge(forged)
        except Exception:  # noqa: BLE001 - that is the right verdict
            judges[name] = judge
        else:
            left_out[name] = "accepted a forged token"
    return judges, left_out


def versions() -> dict[str, str]:
    """Return the version of every peer that is installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version_of(package)
        except PackageNotFoundError:
            continue
    return found
