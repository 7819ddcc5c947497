"""The keys of a fake issuer: how they are made, which ones are published, and which one signs.

Rules of this file:

1. Nothing secret leaves: a key signs, and tells its public members (RFC 7518, section 6; RFC 8037, section 2).
2. Two living owners never share a key. RSA keys are slow to make, so they are lent: those of an owner that is gone are used again.
3. A stranger's key is one that no issuer of this process ever publishes.
4. Signing goes straight to `cryptography`, which knows every algorithm here, the names of RFC 9864 included.
5. A key is known by the kid that it was made under, wherever it stands: unpublished, published, withheld or retired.
6. Signing and publishing are two things: `promote()` changes what signs, the other steps change what is published,
   and `cut_over()` alone changes both.
7. A step that makes no sense raises ValueError, so that no test proves something about a rollover that never took place.
8. Each step and each reading is one instant: no reader sees half of a cut-over.
"""

from __future__ import annotations

import base64
import copy
import functools
import json
import random
import threading
import weakref
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from keyturn.errors import quoted

RSA_BITS = 2048
"""Size of an RSA key: the smallest that validators accept (RFC 7518, section 3.3), since larger ones only cost time."""

_HASHES: dict[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_CURVES: dict[str, tuple[str, ec.EllipticCurve]] = {
    "ES256": ("P-256", ec.SECP256R1()),
    "ES384": ("P-384", ec.SECP384R1()),
    "ES512": ("P-521", ec.SECP521R1()),
}

ALGORITHMS = ("ES256", "ES384", "ES512", "Ed25519", "Ed448", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512")
"""What a fake issuer can sign with; `EdDSA` means Ed25519 (RFC 8037), the other two names are those of RFC 9864."""


class PrivateKey(Protocol):
    """A key that signs.

    Attributes:
        algorithm: Its name in a token's header (RFC 7518, section 3.1; RFC 8037; RFC 9864).
    """

    algorithm: str

    def sign(self, signing_input: bytes) -> bytes:
        """Return the signature as a token carries it, before base64url."""
        ...

    def public_members(self) -> dict[str, str]:
        """Return `kty` and the public numbers of a JWK, without names and uses."""
        ...


class _RsaKey:
    def __init__(self, algorithm: str, key: rsa.RSAPrivateKey) -> None:
        self.algorithm = algorithm
        self._key = key
        self._hash = _HASHES[algorithm[2:]]
        self._padding: padding.AsymmetricPadding = padding.PKCS1v15()
        if algorithm.startswith("PS"):
            # The salt is as long as the hash (RFC 7518, section 3.5).
            self._padding = padding.PSS(padding.MGF1(self._hash), self._hash.digest_size)

    def sign(self, signing_input: bytes) -> bytes:
        return self._key.sign(signing_input, self._padding, self._hash)

    def public_members(self) -> dict[str, str]:
        numbers = self._key.public_key().public_numbers()
        return {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}


class _EcKey:
    def __init__(self, algorithm: str) -> None:
        self.algorithm = algorithm
        self._crv, curve = _CURVES[algorithm]
        self._key = ec.generate_private_key(curve)
        self._hash = _HASHES[algorithm[2:]]
        self._length = (curve.key_size + 7) // 8

    def sign(self, signing_input: bytes) -> bytes:
        # A token holds both numbers at full length, not the DER that signers produce (RFC 7518, section 3.4).
        r, s = decode_dss_signature(self._key.sign(signing_input, ec.ECDSA(self._hash)))
        return r.to_bytes(self._length, "big") + s.to_bytes(self._length, "big")

    def public_members(self) -> dict[str, str]:
        numbers = self._key.public_key().public_numbers()
        return {"kty": "EC", "crv": self._crv, "x": _number(numbers.x, self._length), "y": _number(numbers.y, self._length)}


class _EdwardsKey:
    def __init__(self, algorithm: str) -> None:
        self.algorithm = algorithm
        self._crv = "Ed448" if algorithm == "Ed448" else "Ed25519"
        self._key = ed448.Ed448PrivateKey.generate() if algorithm == "Ed448" else ed25519.Ed25519PrivateKey.generate()

    def sign(self, signing_input: bytes) -> bytes:
        return self._key.sign(signing_input)

    def public_members(self) -> dict[str, str]:
        return {"kty": "OKP", "crv": self._crv, "x": base64url(self._key.public_key().public_bytes_raw())}


def mint(algorithm: str, *, owner: object, rsa_bits: int = RSA_BITS) -> PrivateKey:
    """Return a key that nobody but *owner* holds.

    Args:
        algorithm: One of `ALGORITHMS`.
        owner: Who holds it; once it is gone, an RSA key may be lent to the next one.
        rsa_bits: Length of the modulus if it is an RSA key.

    Raises:
        ValueError: *algorithm* is not one of `ALGORITHMS`.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm is {quoted(algorithm)}, expected one of {', '.join(ALGORITHMS)}")
    if algorithm in _CURVES:
        return _EcKey(algorithm)
    if algorithm.startswith("Ed"):
        return _EdwardsKey(algorithm)
    return _RsaKey(algorithm, _lent_rsa_key(owner, rsa_bits))


class _Stranger:
    """Somebody whose keys no issuer publishes."""


_STRANGER = _Stranger()


@functools.cache
def stranger_key(algorithm: str) -> PrivateKey:
    """Return a key for *algorithm* that no issuer of this process publishes, to forge with."""
    return mint(algorithm, owner=_STRANGER)


def base64url(data: bytes) -> str:
    """Return *data* in base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def without_none(mapping: dict[str, Any]) -> dict[str, Any]:
    """Return *mapping* without the members that are None."""
    return {name: value for name, value in mapping.items() if value is not None}


def _number(value: int, length: int | None = None) -> str:
    """Return *value* as base64url of its big-endian bytes: the fewest (RFC 7518, section 6.3.1.1), or *length* (section 6.2.1.2)."""
    return base64url(value.to_bytes(length or (value.bit_length() + 7) // 8, "big"))


# A deque gives and takes in one step each: owners may be collected on any thread, even while this code runs.
_free_rsa_keys: dict[int, deque[rsa.RSAPrivateKey]] = {}


def _lent_rsa_key(owner: object, bits: int) -> rsa.RSAPrivateKey:
    free = _free_rsa_keys.setdefault(bits, deque())
    try:
        key = free.popleft()
    except IndexError:
        key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    weakref.finalize(owner, free.append, key).atexit = False
    return key


_State = Literal["unpublished", "published", "withheld", "retired"]


@dataclass(slots=True, eq=False)
class _Key:
    kid: str
    private: PrivateKey
    members: dict[str, Any] = field(default_factory=dict)
    state: _State = "unpublished"

    def entry(self) -> dict[str, Any]:
        ours = {"kid": self.kid, "use": "sig", "alg": self.private.algorithm, **self.private.public_members()}
        return without_none({**ours, **self.members})

    def header(self) -> dict[str, Any]:
        return {"alg": self.private.algorithm, "typ": "JWT", "kid": self.members.get("kid", self.kid)}


@dataclass(slots=True, eq=False)
class _RawEntry:
    value: Any


class KeyRing:
    """An issuer's keys, with the steps of a rollover; the first key is published and signs.

    Args:
        kid: Kid of the first key.
        algorithm: Algorithm of keys that name none; one of `ALGORITHMS`.
        rsa_bits: Size of its RSA keys.

    Raises:
        ValueError: *algorithm* is unknown.
    """

    def __init__(self, kid: str, *, algorithm: str, rsa_bits: int = RSA_BITS) -> None:
        self._algorithm = algorithm
        self._rsa_bits = rsa_bits
        # Readings use each other, and each is one instant to everybody else.
        self._lock = threading.RLock()
        self._keys: dict[str, _Key] = {}
        self._set: list[_Key | _RawEntry] = []
        self.cut_over(kid)

    @property
    def signing_kid(self) -> str:
        """Kid of the key that signs, published or not."""
        with self._lock:
            return self._signing.kid

    @property
    def published_kids(self) -> tuple[str, ...]:
        """Kids of the keys that are published now, in the order of the set; raw entries are not among them."""
        with self._lock:
            return tuple(key.kid for key in self._set if isinstance(key, _Key) and key.state == "published")

    def jwks(self) -> dict[str, Any]:
        """Return the key set as published now (RFC 7517, section 5)."""
        with self._lock:
            entries = [e.value if isinstance(e, _RawEntry) else e.entry() for e in self._set if isinstance(e, _RawEntry) or e.state == "published"]
            return {"keys": copy.deepcopy(entries)}

    def publish(self, kid: str, /, algorithm: str | None = None, **jwk_members: Any) -> None:
        """Publish a key at the end of the set; it does not sign yet.

        A key of `sign_unpublished()` is published as it is. A retired kid that no longer signs gets a new key.

        Args:
            kid: Its kid.
            algorithm: One of `ALGORITHMS`; None means the issuer's.
            **jwk_members: Members of its entry, added or in place of ours; None leaves one out. Tokens carry the kid of
                the entry, so `kid=None` gives both without one.

        Raises:
            ValueError: The kid is taken, or belongs to an unpublished key of another algorithm.
        """
        with self._lock:
            key = self._keys.get(kid)
            if key is None or key.state != "unpublished":
                key = self._new(kid, algorithm)
            elif algorithm not in {None, key.private.algorithm}:
                raise ValueError(f"kid {quoted(kid)} signs with {key.private.algorithm} already, expected that algorithm or none")
            key.members = copy.deepcopy(jwk_members)
            key.state = "published"
            self._set.append(key)

    def promote(self, kid: str) -> None:
        """Sign with a published key from now on.

        Raises:
            ValueError: The key is not published.
        """
        with self._lock:
            self._signing = self._in_state(kid, "published", "publish() it first, or use sign_unpublished()")

    def retire(self, kid: str) -> None:
        """Take a key out of the published set for good; if it signs, it signs on.

        Raises:
            ValueError: The key is neither published nor withheld.
        """
        with self._lock:
            key = self._find(kid)
            if key.state != "withheld":
                self._in_state(kid, "published", "only a key that is published can be retired")
            self._remove(key)

    def cut_over(self, kid: str, /, algorithm: str | None = None, **jwk_members: Any) -> None:
        """Publish a new key alone and sign with it, from one instant to the next; everything else leaves the set.

        Args:
            kid: Its kid.
            algorithm: One of `ALGORITHMS`; None means the issuer's.
            **jwk_members: As for `publish()`.

        Raises:
            ValueError: The kid is taken.
        """
        with self._lock:
            new = self._new(kid, algorithm)
            for key in [key for key in self._set if isinstance(key, _Key)]:
                self._remove(key)
            new.members, new.state = copy.deepcopy(jwk_members), "published"
            self._set = [new]
            self._signing = new

    def withhold(self, kid: str) -> None:
        """Leave a published key out of the set until `restore()`; if it signs, it signs on (R10).

        Raises:
            ValueError: The key is not published.
        """
        with self._lock:
            self._in_state(kid, "published", "only a key that is published can be withheld").state = "withheld"

    def restore(self, kid: str) -> None:
        """Publish a withheld key again, in its old place (R10).

        Raises:
            ValueError: The key is not withheld.
        """
        with self._lock:
            self._in_state(kid, "withheld", "only a key that is withheld can be restored").state = "published"

    def replace_material(self, kid: str) -> None:
        """Put another key of the same algorithm under a kid (R12); where it stands and whether it signs stays.

        Raises:
            ValueError: The kid is unknown.
        """
        with self._lock:
            key = self._find(kid)
            key.private = mint(key.private.algorithm, owner=self, rsa_bits=self._rsa_bits)

    def sign_unpublished(self, kid: str, algorithm: str | None = None) -> None:
        """Sign with a new key that is not published yet; `publish()` publishes it later.

        Args:
            kid: Its kid.
            algorithm: One of `ALGORITHMS`; None means the issuer's.

        Raises:
            ValueError: The kid is taken.
        """
        with self._lock:
            self._signing = self._new(kid, algorithm)

    def shuffle(self, seed: int) -> None:
        """Change the order of the published set as *seed* says (R2)."""
        with self._lock:
            random.Random(seed).shuffle(self._set)  # noqa: S311 - An order that tests can repeat.

    def add_entry(self, entry: Any) -> None:
        """Publish a raw entry at the end of the set, broken ones included; it stays until `cut_over()`.

        Args:
            entry: A JWK, or anything else that JSON can express.

        Raises:
            ValueError: JSON cannot express it.
        """
        try:
            value = json.loads(json.dumps(entry))
        except (TypeError, ValueError) as error:
            raise ValueError(f"entry is not JSON: {error}") from error
        with self._lock:
            self._set.append(_RawEntry(value))

    def _find(self, kid: str | None) -> _Key:
        if kid is None:
            return self._signing
        if kid not in self._keys:
            raise ValueError(f"kid {quoted(kid)} is unknown, expected one of {', '.join(map(quoted, self._keys))}")
        return self._keys[kid]

    def _in_state(self, kid: str, state: _State, advice: str) -> _Key:
        key = self._find(kid)
        if key.state != state:
            raise ValueError(f"kid {quoted(kid)} is {key.state}, expected {state}: {advice}")
        return key

    def _new(self, kid: str, algorithm: str | None) -> _Key:
        old = self._keys.get(kid)
        if old and (old.state != "retired" or old is self._signing):
            signs = " and signs" if old is self._signing else ""
            raise ValueError(f"kid {quoted(kid)} is taken by a key that is {old.state}{signs}, expected a new kid")
        key = _Key(kid, mint(algorithm or self._algorithm, owner=self, rsa_bits=self._rsa_bits))
        self._keys[kid] = key
        return key

    def _remove(self, key: _Key) -> None:
        key.state = "retired"
        self._set.remove(key)
