"""The keys of a fake issuer: which ones are published, which one signs, and the steps of a rollover.

Rules of this file:

1. A key is known by the kid that it was made under, wherever it stands: unpublished, published, withheld or retired.
2. Signing and publishing are two things: `promote()` changes what signs, the other steps change what is published,
   `cut_over()` and `emergency()` alone change both.
3. A step that makes no sense raises ValueError, so that no test proves something about a rollover that never took place.
4. Each step and each reading is one instant: no reader sees half of a cut-over.
"""

from __future__ import annotations

import copy
import json
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from keyturn.errors import quoted
from keyturn.testing.keys import RSA_BITS, PrivateKey, base64url, forged, mint, without_none
from keyturn.testing.stolen import StolenKey

_State = Literal["unpublished", "published", "withheld", "retired"]


@dataclass(slots=True, eq=False)
class _Key:
    kid: str
    private: PrivateKey
    given: dict[str, Any] = field(default_factory=dict)
    members: dict[str, Any] = field(default_factory=dict)
    state: _State = "unpublished"

    def entry(self) -> dict[str, Any]:
        ours = {"kid": self.kid, "use": "sig", "alg": self.private.algorithm, **self.private.public_members()}
        return without_none({**ours, **self.given, **self.members})

    def header(self) -> dict[str, Any]:
        return {"alg": self.private.algorithm, "typ": "JWT", "kid": {"kid": self.kid, **self.given, **self.members}["kid"]}


@dataclass(slots=True, eq=False)
class _RawEntry:
    value: Any


class KeyRing:
    """An issuer's keys, with the steps of a rollover; the first key is published and signs.

    Args:
        kid: Kid of the first key.
        algorithm: Algorithm of keys that name none; one of `ALGORITHMS`.
        rsa_bits: Size of its RSA keys.
        members: Members of every entry, added or in place of ours; None leaves one out.

    Raises:
        ValueError: *algorithm* is unknown.
    """

    def __init__(self, kid: str, *, algorithm: str, rsa_bits: int = RSA_BITS, members: Mapping[str, Any] | None = None) -> None:
        self._algorithm = algorithm
        self._rsa_bits = rsa_bits
        self._members = dict(members or {})
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

    @property
    def known_kids(self) -> tuple[str, ...]:
        """Kids of all keys that were ever made, wherever they stand."""
        with self._lock:
            return tuple(self._keys)

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

    def emergency(self, kid: str | None = None, *, successor: str | None = None) -> StolenKey:
        """Take a compromised key out of the published set at once, and sign with another from then on (R10, R11).

        Args:
            kid: Kid of the compromised key; None means the signing key.
            successor: Kid of the key that signs from now on, a published one or a new one, which is published in the same instant.
                None means the signing key if it is another one, else the published key that came last, else a new one, which is
                called after the compromised key: `k1-successor`. Only a key that signs needs a successor.

        Returns:
            The stolen key, to forge tokens with.

        Raises:
            ValueError: The key is neither published nor withheld and does not sign, or the successor is neither published nor new.
        """
        with self._lock:
            compromised = self._find(kid)
            if compromised.state == "retired" and compromised is not self._signing:
                self._in_state(compromised.kid, "published", "only a key that is in use can be compromised")
            stolen = StolenKey(compromised.kid, compromised.private, compromised.entry(), owner=self)
            if successor is not None or compromised is self._signing:
                self._signing = self._successor(compromised, successor)
            if compromised in self._set:
                self._remove(compromised)
            compromised.state = "retired"
            return stolen

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
            key.given = self._given(key.private)

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
        """Publish a raw entry at the end of the set, broken ones included; it stays until `drop_entries()` or `cut_over()`.

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

    def drop_entries(self) -> None:
        """Take every raw entry out of the set; keys stay."""
        with self._lock:
            self._set = [entry for entry in self._set if isinstance(entry, _Key)]

    def encode(
        self, header: Mapping[str, Any] | bytes, payload: Mapping[str, Any] | bytes, *, key: str | None = None, signature: bytes | None = None
    ) -> str:
        """Return a compact token of exactly these parts, for tokens that no issuer would write (RFC 7515, section 7.1).

        Args:
            header: Header; bytes go in as they are. Nothing is added, and its `alg` does not choose how to sign.
            payload: Payload; bytes go in as they are.
            key: Kid of the key to sign with; None means the signing key.
            signature: Signature to put instead; `b""` leaves the part empty.

        Raises:
            ValueError: *key* is unknown.
        """
        signing_input = ".".join(base64url(part if isinstance(part, bytes) else _json(part)) for part in (header, payload))
        if signature is None:
            with self._lock:
                signature = self._find(key).private.sign(signing_input.encode())
        return f"{signing_input}.{base64url(signature)}"

    def signed(self, payload: Mapping[str, Any], *, key: str | None = None, headers: Mapping[str, Any] | None = None) -> str:
        """Return a token of these claims with the header of its key.

        Args:
            payload: Claims; None leaves one out.
            key: Kid of the key to sign with, published or not; None means the signing key.
            headers: Header parameters, added or in place of `alg`, `typ` ("JWT") and `kid`; None leaves one out.

        Raises:
            ValueError: *key* is unknown.
        """
        with self._lock:
            header = {**self._find(key).header(), **(headers or {})}
            return self.encode(without_none(header), without_none(dict(payload)), key=key)

    def disguised(self, make: Callable[..., str], *, key: str | None, headers: Mapping[str, Any] | None, **token: Any) -> str:
        """Return a token that *make* makes of the further arguments, signed by a stranger in the name of *key*.

        Args:
            make: Makes a good token.
            key: Kid to claim, known or not; None means the signing key. An unknown one goes with the algorithm of the ring.
            headers: Header parameters, as for `signed()`.
            **token: Whatever else *make* takes.
        """
        with self._lock:
            named = self._signing.kid if key is None else key
            known = named in self._keys
            algorithm = self._keys[named].private.algorithm if known else self._algorithm
        # Outside the lock, because *make* may take others.
        ours = {} if known else {"alg": algorithm, "kid": named}
        return forged(make(key=named if known else None, headers={**ours, **(headers or {})}, **token), algorithm)

    def _given(self, private: PrivateKey) -> dict[str, Any]:  # noqa: ARG002 - a ring with certificates makes one for it
        """Return what the entry of a new key has beside its kid, use, algorithm and numbers, or in place of them."""
        return copy.deepcopy(self._members)

    def _successor(self, compromised: _Key, kid: str | None) -> _Key:
        """Return the key that signs in the place of a compromised one; a new one is published."""
        if kid == compromised.kid:
            raise ValueError(f"kid {quoted(kid)} is compromised, expected another key as its successor")
        others = [key for key in self._set if isinstance(key, _Key) and key.state == "published" and key is not compromised]
        if kid is None and others:
            return others[-1]
        if kid in self._keys and self._keys[kid].state != "retired":
            return self._in_state(kid, "published", "only a key that is published, or a new one, can sign next")
        new = self._new(kid or f"{compromised.kid}-successor", None)
        new.state = "published"
        self._set.append(new)
        return new

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
        private = mint(algorithm or self._algorithm, owner=self, rsa_bits=self._rsa_bits)
        key = _Key(kid, private, self._given(private))
        self._keys[kid] = key
        return key

    def _remove(self, key: _Key) -> None:
        key.state = "retired"
        self._set.remove(key)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
