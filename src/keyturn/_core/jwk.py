"""One published key: a `SigningKey`, or the reason why it cannot be one (RFC 7517, RFC 7518, RFC 8037).

Rules of this file:

1. Nothing secret enters: symmetric and private keys are refused, and the reason holds no value (RFC 7517, section 9.2).
2. Sizes are checked before any arithmetic is done on the numbers (R16).
3. A key knows its algorithms from its type and curve; `alg`, `use` and `key_ops` only narrow (RFC 8725, section 3.1).
4. The certificate is a container: it must carry this very key, its dates decide nothing (RFC 7517, section 4.7).
"""

from __future__ import annotations

import hashlib
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import InvalidKeyError

from keyturn._core import base64url
from keyturn._core.signatures import ALGORITHMS, KeyShape, Verify, algorithms_of, verifiers
from keyturn._core.small_order import has_small_order
from keyturn.errors import quoted

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

MAX_KID = 256
"""Characters of a kid: the longest seen is a SHA-256 in hex with a prefix (R16)."""

RSA_BITS = (2048, 16384)
"""Smallest modulus that RFC 7518, section 3.3, allows, and the largest whose verification stays below a millisecond or two."""

_PRIVATE_MEMBERS = ("d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv")
_EC_CURVES = {"P-256": 32, "P-384": 48, "P-521": 66}
_OKP_CURVES = {"Ed25519": 32, "Ed448": 57}
_MOST_EXPONENT_BYTES = 4


class UnusableKeyError(ValueError):
    """The entry cannot serve; the message says why and holds no key material."""


class SecretKeyError(UnusableKeyError):
    """The entry holds what only its issuer may know."""


@dataclass(frozen=True, slots=True)
class CertificateDates:
    """When the certificate beside a key says that it is valid; reported, never enforced.

    Attributes:
        not_before: Seconds since the epoch.
        not_after: Seconds since the epoch.
    """

    not_before: float
    not_after: float


@dataclass(frozen=True, slots=True, eq=False)
class SigningKey:
    """One public key that an issuer signs with.

    Attributes:
        kid: Key id as published, or None (RFC 7517, section 4.5).
        kty: Key type: `RSA`, `EC` or `OKP`.
        curve: Curve of an EC or OKP key, or None.
        size: Bits of the modulus or of the curve.
        alg: Algorithm that the entry names, or None.
        use: `sig`, or None where the entry does not say.
        algorithms: Algorithms that this key verifies.
        thumbprint: RFC 7638 thumbprint with SHA-256, base64url. Leading zeros of the modulus do not change it.
        x5t: SHA-1 thumbprint of its certificate, base64url, or None.
        x5t_s256: SHA-256 thumbprint of its certificate, base64url, or None.
        certificate: Dates of its certificate, or None.
        issuer: Issuer that the entry names (Microsoft Entra), or None.
        cloud: Cloud that the entry names (Microsoft Entra), or None.
        remarks: What is odd about the entry, but no reason to leave it out.
    """

    kid: str | None
    kty: str
    curve: str | None
    size: int
    alg: str | None
    use: str | None
    algorithms: frozenset[str]
    thumbprint: str
    x5t: str | None = None
    x5t_s256: str | None = None
    certificate: CertificateDates | None = None
    issuer: str | None = None
    cloud: str | None = None
    remarks: tuple[str, ...] = ()
    _members: Mapping[str, str] = field(default_factory=dict, repr=False)
    _verifiers: Mapping[str, Verify] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> tuple[str | None, str]:
        """What tells keys of one issuer apart: kid and thumbprint, never the kid alone (R15)."""
        return self.kid, self.thumbprint

    @property
    def id(self) -> str:
        """What people call it: its kid, or its thumbprint where it has none."""
        return self.thumbprint if self.kid is None else self.kid

    @property
    def handles(self) -> frozenset[str]:
        """Every thumbprint that names this key."""
        return frozenset(handle for handle in (self.thumbprint, self.x5t, self.x5t_s256) if handle)

    @property
    def identity(self) -> tuple[object, ...]:
        """Everything that a verdict could depend on; two answers with equal identities are the same set."""
        return (self.kid, self.thumbprint, self.algorithms, self.x5t, self.x5t_s256, self.issuer, self.cloud)

    def public_jwk(self) -> dict[str, str]:
        """Return the key as a JWK with its public members alone (RFC 7517, section 4)."""
        named = {"kid": self.kid, "alg": self.alg, "use": self.use}
        return {**self._members, **{name: value for name, value in named.items() if value is not None}}

    def verifies(self, algorithm: str, signature: bytes, signing_input: bytes) -> bool:
        """Return whether *signature* over *signing_input* is this key's, by *algorithm* (RFC 7515, section 5.2).

        An algorithm that the key does not have is never verified, whatever the header says (RFC 8725, section 3.1).
        """
        return self.verifier(algorithm)(signature, signing_input)

    def verifier(self, algorithm: str) -> Verify:
        """Return the verify call for *algorithm*, bound to this key; for an algorithm that it does not have, one that always refuses."""
        return self._verifiers.get(algorithm, _never)


def _never(_signature: bytes, _signing_input: bytes) -> bool:
    return False


def signing_key(entry: object) -> SigningKey:
    """Read one entry of a key set.

    Raises:
        UnusableKeyError: The entry cannot serve; the others may.
    """
    if not isinstance(entry, dict):
        raise UnusableKeyError("is not a JSON object, or names a member twice")
    _refuse_secrets(entry)
    kid = _kid(entry)
    use = _use(entry)
    public_key, shape, members = _READERS.get(_text(entry, "kty"), _unknown_type)(entry)
    algorithms = _algorithms(entry, shape)
    handles, dates, remarks = _certificate(entry, public_key)
    return SigningKey(
        kid=kid,
        kty=shape.kty,
        curve=shape.curve,
        size=shape.size,
        alg=entry.get("alg"),
        use=use,
        algorithms=algorithms,
        thumbprint=_thumbprint(members),
        x5t=handles.get("x5t"),
        x5t_s256=handles.get("x5t#S256"),
        certificate=dates,
        issuer=_optional_text(entry, "issuer"),
        cloud=_optional_text(entry, "cloud_instance_name"),
        remarks=remarks,
        _members=members,
        _verifiers=verifiers(public_key, algorithms),
    )


def published_kid(entry: object) -> str | None:
    """Return the kid of an entry that may be broken, for its reason."""
    kid = entry.get("kid") if isinstance(entry, dict) else None
    return kid if isinstance(kid, str) and len(kid) <= MAX_KID else None


def without_secrets(entry: object) -> object:
    """Return an entry with null in the place of what only its issuer may know; it is skipped for the same reason (RFC 7517, section 9.2)."""
    if not isinstance(entry, dict) or entry.keys().isdisjoint(_PRIVATE_MEMBERS):
        return entry
    return {**entry, **{member: None for member in _PRIVATE_MEMBERS if member in entry}}


def _refuse_secrets(entry: Mapping[str, Any]) -> None:
    if entry.get("kty") == "oct":
        raise SecretKeyError("is a symmetric key, which never comes from a key set")
    for member in _PRIVATE_MEMBERS:
        if member in entry:
            raise SecretKeyError(f'publishes private key material (member "{member}"): the issuer must replace this key at once')


def _kid(entry: Mapping[str, Any]) -> str | None:
    if "kid" not in entry:
        return None
    kid = entry["kid"]
    if not isinstance(kid, str):
        raise UnusableKeyError(f"has a kid that is not a string: {quoted(kid)}")
    if len(kid) > MAX_KID:
        raise UnusableKeyError(f"has a kid of {len(kid)} characters; {MAX_KID} are allowed")
    return kid


def _use(entry: Mapping[str, Any]) -> str | None:
    use = entry.get("use")
    if "use" in entry and use != "sig":
        raise UnusableKeyError(f'has use {quoted(use)}; only "sig" verifies')
    operations = entry.get("key_ops")
    if "key_ops" in entry:
        if not isinstance(operations, list) or not all(isinstance(operation, str) for operation in operations):
            raise UnusableKeyError("has key_ops that are not a list of strings")
        if len(set(operations)) != len(operations):
            raise UnusableKeyError("names an operation of key_ops twice")
        if "verify" not in operations:
            raise UnusableKeyError(f'has key_ops {quoted(operations)} without "verify"')
    return use


def _text(entry: Mapping[str, Any], member: str) -> str:
    value = entry.get(member)
    if not isinstance(value, str):
        raise UnusableKeyError(f'lacks the member "{member}"' if member not in entry else f'has a member "{member}" that is not a string')
    return value


def _optional_text(entry: Mapping[str, Any], member: str) -> str | None:
    return _text(entry, member) if member in entry else None


def _octets(entry: Mapping[str, Any], member: str) -> bytes:
    text = _text(entry, member)
    try:
        return base64url.decode(text.encode("ascii"))
    except (ValueError, UnicodeEncodeError):
        raise UnusableKeyError(f'has a member "{member}" that is not base64url without padding') from None


def _unknown_type(entry: Mapping[str, Any]) -> tuple[Any, KeyShape, dict[str, str]]:
    if entry["kty"] == "AKP":
        raise UnusableKeyError(f"is for {quoted(entry.get('alg'))}, which keyturn does not verify yet")
    raise UnusableKeyError(f"has key type {quoted(entry['kty'])}; RSA, EC and OKP verify signatures")


def _rsa(entry: Mapping[str, Any]) -> tuple[Any, KeyShape, dict[str, str]]:
    # Leading zeros are shipped in the wild; sizes come from the octets, before any big number is made of them.
    modulus, exponent = (_octets(entry, member).lstrip(b"\0") for member in ("n", "e"))
    bits = len(modulus) * 8 - (8 - modulus[0].bit_length()) if modulus else 0
    if not RSA_BITS[0] <= bits <= RSA_BITS[1]:
        raise UnusableKeyError(f"is an RSA key of {bits} bits; {RSA_BITS[0]} to {RSA_BITS[1]} are allowed")
    if not modulus[-1] & 1:
        raise UnusableKeyError("has an even RSA modulus")
    if len(exponent) > _MOST_EXPONENT_BYTES or int.from_bytes(exponent) < 3 or not exponent[-1] & 1:  # noqa: PLR2004 - RFC 7518 leaves the bound to us
        raise UnusableKeyError("has an RSA exponent that is even, below 3 or above 2^32")
    members = {"e": base64url.encode(exponent), "kty": "RSA", "n": base64url.encode(modulus)}
    return _converted(RSAAlgorithm, members), KeyShape("RSA", None, bits), members


def _ec(entry: Mapping[str, Any]) -> tuple[Any, KeyShape, dict[str, str]]:
    curve = _text(entry, "crv")
    if curve not in _EC_CURVES:
        raise UnusableKeyError(f"is on curve {quoted(curve)}; {', '.join(_EC_CURVES)} verify signatures")
    members = {"crv": curve, "kty": "EC"}
    for member in ("x", "y"):
        coordinate = _octets(entry, member)
        if len(coordinate) != _EC_CURVES[curve]:
            raise UnusableKeyError(f'has a coordinate "{member}" of {len(coordinate)} octets; {curve} has {_EC_CURVES[curve]}')
        members[member] = base64url.encode(coordinate)
    return _converted(ECAlgorithm, members), KeyShape("EC", curve, int(curve.removeprefix("P-"))), members


def _okp(entry: Mapping[str, Any]) -> tuple[Any, KeyShape, dict[str, str]]:
    curve = _text(entry, "crv")
    if curve not in _OKP_CURVES:
        raise UnusableKeyError(f"is on curve {quoted(curve)}, which does not sign; {', '.join(_OKP_CURVES)} do")
    point = _octets(entry, "x")
    if len(point) != _OKP_CURVES[curve]:
        raise UnusableKeyError(f'has a member "x" of {len(point)} octets; {curve} has {_OKP_CURVES[curve]}')
    if has_small_order(curve, point):
        raise UnusableKeyError("is a point of small order, under which anybody can sign")
    members = {"crv": curve, "kty": "OKP", "x": base64url.encode(point)}
    return _converted(OKPAlgorithm, members), KeyShape("OKP", curve, len(point) * 8), members


_READERS = {"RSA": _rsa, "EC": _ec, "OKP": _okp}


def _converted(algorithm: Any, members: dict[str, str]) -> Any:
    try:
        return algorithm.from_jwk(members)
    except (InvalidKeyError, ValueError) as error:
        raise UnusableKeyError(f"is not a valid {members['kty']} public key") from error


def _algorithms(entry: Mapping[str, Any], shape: KeyShape) -> frozenset[str]:
    possible = algorithms_of(shape)
    if "alg" not in entry:
        return possible
    alg = entry["alg"]
    if not isinstance(alg, str) or alg not in ALGORITHMS:
        raise UnusableKeyError(f"is for algorithm {quoted(alg)}, which is not one that keyturn verifies")
    if alg not in possible:
        raise UnusableKeyError(f"is for {alg}, but its type is {shape.kty} {shape.curve or shape.size}")
    # EdDSA and the fully specified name of RFC 9864 are the same algorithm on one curve.
    return possible if shape.kty == "OKP" else frozenset({alg})


def _thumbprint(members: Mapping[str, str]) -> str:
    """Return the RFC 7638 thumbprint; *members* are the required ones, in lexical order."""
    canonical = "{" + ",".join(f'"{name}":"{members[name]}"' for name in sorted(members)) + "}"
    return base64url.encode(hashlib.sha256(canonical.encode()).digest())


def _certificate(entry: Mapping[str, Any], public_key: Any) -> tuple[dict[str, str], CertificateDates | None, tuple[str, ...]]:
    """Return certificate thumbprints by member name, the certificate's dates, and remarks."""
    remarks: list[str] = []
    computed: dict[str, str] = {}
    dates = None
    if "x5c" in entry:
        der = _first_certificate(entry["x5c"])
        certificate = der and _loaded(der)
        if not (der and certificate):
            remarks.append("its certificate cannot be read and is ignored")
        else:
            if _encoded(certificate.public_key()) != _encoded(public_key):
                raise UnusableKeyError("comes with a certificate of another key (RFC 7517, section 4.7)")
            computed = {name: base64url.encode(hashlib.new(digest, der).digest()) for name, digest in _DIGESTS.items()}
            dates = CertificateDates(certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp())
    handles: dict[str, str] = {}
    for name, digest in _DIGESTS.items():
        named = entry.get(name)
        if name in entry and (not _is_digest(named, digest) or computed.get(name, named) != named):
            remarks.append(f"its {name} does not fit its certificate and is ignored")
            named = None
        handle = named or computed.get(name)
        if handle is not None:
            handles[name] = handle
    return handles, dates, tuple(remarks)


_DIGESTS = {"x5t": "sha1", "x5t#S256": "sha256"}


def _first_certificate(chain: object) -> bytes | None:
    # The chain is standard base64 with padding, unlike everything else in a JWK (RFC 7517, section 4.7).
    if not isinstance(chain, list) or not chain or not isinstance(chain[0], str):
        return None
    try:
        return b64decode(chain[0], validate=True)
    except ValueError:
        return None


def _loaded(der: bytes) -> Certificate | None:
    from cryptography.x509 import load_der_x509_certificate  # noqa: PLC0415 - most key sets have no certificate, and the module is large

    try:
        certificate = load_der_x509_certificate(der)
        certificate.public_key()
        certificate.not_valid_after_utc  # noqa: B018 - dates are parsed when they are read
    except Exception:  # noqa: BLE001 - whatever is wrong with a certificate, the key came without it (rule 4)
        return None
    return certificate


def _encoded(public_key: Any) -> bytes:
    try:
        encoded: bytes = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (AttributeError, ValueError, TypeError):
        return b""
    return encoded


def _is_digest(value: object, digest: str) -> bool:
    if not isinstance(value, str):
        return False
    try:
        return len(base64url.decode(value.encode("ascii"))) == hashlib.new(digest).digest_size
    except (ValueError, UnicodeEncodeError):
        return False
