"""What a bad token of the catalogue is, and the material that its makers work with.

Rules of this file:

1. A bad token is a good one with one fault: whatever the fault does not touch is as the issuer would write it.
2. Each of them is printable ASCII, so that it can stand in an `Authorization` field as it is.
3. Keys that an attack needs beside the issuer's are made once for each issuer; their kids begin with `bad-`.
4. Whatever the issuer, its audiences and its keys are called, a token that is bad for a wrong name carries another one.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, cast
from weakref import WeakKeyDictionary

from cryptography.hazmat.primitives.asymmetric import rsa

from keyturn.errors import InvalidTokenError
from keyturn.testing.keys import RSA_BITS, PrivateKey, base64url, mint

if TYPE_CHECKING:
    from keyturn.testing.issuer import FakeIssuer

SECOND: Final = "bad-second"
RSA: Final = "bad-rsa"
CURVE: Final = "bad-curve"
SCOPED: Final = "bad-scoped"
TRIVIAL: Final = "bad-e1"
WEAK: Final = "bad-1024"
SMALL: Final = "bad-small"
"""Kids of the entries that attacks need beside the issuer's keys."""

OTHER_ISSUER: Final = "https://other.test"
"""Name of another issuer."""


@dataclass(frozen=True, slots=True)
class BadToken:
    """One bad token of the catalogue; `str()` gives its name, as test ids want it.

    Attributes:
        name: What the catalogue calls it; the same for every issuer.
        token: The token. It is printable ASCII, and never part of `repr`.
        error: The exact class that `TokenValidator` raises with its default settings; every one of them means status 401.
        why: What is wrong with it, one sentence.
        classes: The classes of attacks that it stands for, such as `("AT1",)`.
        universal: Whether no validator may accept it, in whatever language: it would let in somebody who does not belong, or read a
            token in a way that a standard rules out. Otherwise validators differ about it, and refusing it is keyturn's stricter choice.
        needs_entry: Whether it needs an entry of the key set that `bad_tokens()` publishes beside the issuer's keys.
    """

    name: str
    token: str = field(repr=False)
    error: type[InvalidTokenError]
    why: str
    classes: tuple[str, ...]
    universal: bool = True
    needs_entry: bool = False

    def __str__(self) -> str:
        return self.name


class Material:
    """What bad tokens of one issuer are made of.

    Args:
        issuer: The issuer; its signing key is published.

    Attributes:
        issuer: The issuer.
        header: Header of a good token.
        claims: Claims of a good token.
        kid: Kid of its signing key as tokens carry it.
        audience: One audience of a good token.
        audiences: All of them.
        kids: Kids of all keys that are known or published.
        audience_claim: The claim that names it.
        now: Seconds since the epoch at which the good token was issued.
        good: A good token.
    """

    def __init__(self, issuer: FakeIssuer) -> None:
        self.issuer = issuer
        self.good = issuer.token()
        self.header, self.claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in self.good.split(".")[:2])
        self.kid: str = self.header.get("kid", "k1")
        self.audience_claim: str = issuer._shape.audience_claim  # noqa: SLF001 - issuer and catalogue are one kit
        audience = self.claims[self.audience_claim]
        self.audiences: tuple[str, ...] = (audience,) if isinstance(audience, str) else tuple(audience)
        self.audience: str = self.audiences[0]
        self.kids = {*issuer.known_kids, *(entry.get("kid") for entry in issuer.jwks()["keys"] if isinstance(entry, dict))}
        self.now: int = self.claims["iat"]

    # Texts.

    @property
    def segments(self) -> list[str]:
        """The three segments of a good token."""
        return self.good.split(".")

    @property
    def header_text(self) -> bytes:
        """Header of a good token as JSON."""
        return _json(self.header)

    @property
    def claims_text(self) -> bytes:
        """Claims of a good token as JSON."""
        return _json(self.claims)

    # Tokens that the signing key signs.

    def with_header(self, **parameters: Any) -> str:
        """Return a signed token with header *parameters* added or replaced; None is written as null."""
        return self.encode(header={**self.header, **parameters})

    def with_claims(self, **claims: Any) -> str:
        """Return a signed token with *claims* added or replaced; None is written as null."""
        return self.encode(payload={**self.claims, **claims})

    def with_audience(self, audience: Any) -> str:
        """Return a signed token for another audience; a text that is one of the good ones is made longer (4)."""
        other = unlike(audience, self.audiences) if isinstance(audience, str) else audience
        return self.with_claims(**{self.audience_claim: other})

    def with_issuer(self, name: str) -> str:
        """Return a signed token of another issuer; a name that is the good one is made longer (4)."""
        return self.with_claims(iss=unlike(name, {self.claims["iss"]}))

    def unknown_kid(self, kid: str) -> str:
        """Return a kid that no key has: this one, or one that begins like it (4)."""
        return unlike(kid, self.kids)

    def without(self, claim: str) -> str:
        """Return a signed token that lacks a claim."""
        return self.encode(payload={name: value for name, value in self.claims.items() if name != claim})

    def encode(
        self, *, header: Mapping[str, Any] | bytes | None = None, payload: Mapping[str, Any] | bytes | None = None, signature: bytes | None = None
    ) -> str:
        """Return a token of these parts, those of a good one where none is given; the signing key signs unless there is a signature."""
        return self.issuer.encode(self.header if header is None else header, self.claims if payload is None else payload, signature=signature)

    # Tokens that somebody else signs, or nobody.

    def signed_by(self, sign: Callable[[bytes], bytes], **parameters: Any) -> str:
        """Return a token with good claims whose header is changed by *parameters* (None leaves one out), signed by *sign*."""
        header = {name: value for name, value in {**self.header, **parameters}.items() if value is not None}
        signing_input = self.encode(header=header, signature=b"").removesuffix(".")
        return f"{signing_input}.{base64url(sign(signing_input.encode()))}"

    def with_signature(self, change: Callable[[bytes], bytes]) -> str:
        """Return a good token whose signature is changed."""
        signing_input, _, last = self.good.rpartition(".")
        return f"{signing_input}.{base64url(change(base64.urlsafe_b64decode(last + '==')))}"

    def with_segment(self, place: int, change: Callable[[str], str]) -> str:
        """Return a good token with one segment changed as text."""
        segments = self.segments
        segments[place] = change(segments[place])
        return ".".join(segments)

    # Keys.

    @property
    def key(self) -> PrivateKey:
        """The signing key."""
        return self.issuer._find(None).private  # noqa: SLF001 - issuer and catalogue are one kit

    @property
    def algorithm(self) -> str:
        """Algorithm of the signing key."""
        return self.key.algorithm

    def companion(self, kid: str) -> PrivateKey:
        """Return the key of one of the entries that attacks need; it is made at the first call."""
        keys = _companions.setdefault(self.issuer, {})
        if kid not in keys:
            keys[kid] = mint(_algorithm_of(kid, self.algorithm), owner=self.issuer, rsa_bits=_WEAK_BITS if kid == WEAK else RSA_BITS)
        return keys[kid]

    def rsa_key(self, kid: str) -> rsa.RSAPrivateKey:
        """Return the key of an RSA entry, to sign by hand with."""
        return cast("rsa.RSAPrivateKey", self.companion(kid).crypto_key())

    def entries(self) -> list[dict[str, Any]]:
        """Return the entries that attacks need beside the issuer's keys (RFC 7517, section 5)."""
        modulus = self.companion(RSA).public_members()["n"]
        return [
            {"kid": SECOND, "use": "sig", "alg": self.algorithm, "x5t": base64url(b"\2" * 20), **self.companion(SECOND).public_members()},
            {"kid": RSA, "use": "sig", "alg": "PS256", **self.companion(RSA).public_members()},
            {"kid": CURVE, "use": "sig", **self.companion(CURVE).public_members()},
            {"kid": SCOPED, "use": "sig", "issuer": unlike(OTHER_ISSUER, {self.claims["iss"]}), **self.companion(SCOPED).public_members()},
            {"kid": TRIVIAL, "use": "sig", "kty": "RSA", "n": modulus, "e": "AQ"},
            {"kid": WEAK, "use": "sig", **self.companion(WEAK).public_members()},
            # The neutral element of the curve: under it a constant is a signature of anything.
            {"kid": SMALL, "use": "sig", "kty": "OKP", "crv": "Ed25519", "x": base64url(b"\1" + bytes(31))},
        ]


_companions: WeakKeyDictionary[FakeIssuer, dict[str, PrivateKey]] = WeakKeyDictionary()
_WEAK_BITS: Final = 1024


def unlike(text: str, taken: Collection[str | None]) -> str:
    """Return *text*, made longer as long as it is one of *taken*."""
    while text in taken:
        text += "x"
    return text


def _algorithm_of(kid: str, signing: str) -> str:
    return {RSA: "PS256", CURVE: "ES384", WEAK: "RS256", SCOPED: "ES256"}.get(kid, signing)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


Make = Callable[[Material], str]
"""Makes the token of a case."""


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the catalogue; the attributes are those of `BadToken`, and how its token is made."""

    name: str
    classes: tuple[str, ...]
    error: type[InvalidTokenError]
    why: str
    make: Make
    universal: bool = True
    needs_entry: bool = False

    def against(self, material: Material) -> BadToken:
        """Return the bad token of one issuer."""
        return BadToken(self.name, self.make(material), self.error, self.why, self.classes, self.universal, self.needs_entry)


def case(name: str, classes: str, error: type[InvalidTokenError], why: str, make: Make) -> Case:
    """Return a case that every correct validator refuses; *classes* are divided by blanks."""
    return Case(name, tuple(classes.split()), error, why, make)


def choice(name: str, classes: str, error: type[InvalidTokenError], why: str, make: Make) -> Case:
    """Return a case that keyturn refuses by its own choice; *classes* are divided by blanks."""
    return Case(name, tuple(classes.split()), error, why, make, universal=False)


def entry(plain: Case) -> Case:
    """Return a case that needs an entry of the key set beside the issuer's keys."""
    return replace(plain, needs_entry=True)
